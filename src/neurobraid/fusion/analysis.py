"""Latent fusion of a study: blocks of features from the fusion table, analysed with every guard, written as tables."""

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.fusion.coupling import covariate_design
from neurobraid.fusion.latent import METHODS, describe
from neurobraid.fusion.latent_covariates import WithoutCovariates, refuse_saturated, with_covariates
from neurobraid.fusion.table import wide
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

#: Fewest people for folds, halves and permutations to mean anything.
FEWEST = 16


def blocks_of(table, records, *, min_coverage=0.5):
    """Features of several blocks of the people who have all of them.

    Parameters
    ----------
    table : pandas.DataFrame
        Fusion table.
    records : sequence of mapping
        ``name``, ``modality`` (list) and, if wanted, ``measure`` and ``region`` (lists) of every block.
    min_coverage : float

    Returns
    -------
    X : numpy.ndarray, (N, P)
        Features that somebody lacks, or that do not vary, are left out.
    sizes : list of int
        Columns of every block.
    people : list of str
    names : list of str
        Columns.
    lost : list of int
        Features of every block that were left out.

    Raises
    ------
    InputError
        A block has no features.
    """
    views = []
    for record in records:
        view = wide(
            table, record["modality"], measure=record.get("measure", ()), region=record.get("region", ()),
            min_coverage=min_coverage,
        )  # fmt: skip
        if not view.shape[1]:
            raise InputError(
                "config", f"fusion.latent.blocks.{record['name']}", "no features", "measures of the fusion table",
                "name modalities and measures that the study has",
            )  # fmt: skip
        views.append(view)
    people = sorted(set.intersection(*(set(v.index) for v in views)))
    parts, lost = [], []
    for record, view in zip(records, views, strict=True):
        part = view.reindex(people)
        kept = part.notna().all() & (part.std() > 0) if people else part.notna().all()
        if people and not kept.any():
            raise InputError(
                "config", f"fusion.latent.blocks.{record['name']}", "no feature that everybody has", "at least one",
                "leave out participants with gaps, or take other regions",
            )  # fmt: skip
        parts.append(part.loc[:, kept])
        lost.append(int((~kept).sum()))
    X = np.concatenate([p.to_numpy(np.float64) for p in parts], axis=1)
    return X, [p.shape[1] for p in parts], people, [c for p in parts for c in p], lost


_COMPONENTS = {
    "component": "Component, strongest in the sample first",
    "r_in_sample": "Mean correlation between the blocks' scores in the people the component was fitted on; no finding by itself",
    "r_held_out": "The same in people that had no part in the fit, mean over repeats of cross-validation",
    "p": "Share of permutations (rows of all blocks but the first, full refit) whose held-out r is at least as large",
    "split_half": "Mean overlap of the weights of two halves of the people, 0 to 1",
    "split_half_null": "The same with permuted rows",
}
_WEIGHTS = {
    "feature": "Feature: modality, measure, region",
    "block": "Block",
    "component": "Component",
    "weight": "Weight; the weights of a component have unit length over all blocks",
    "bootstrap_ratio": "Weight over its standard deviation in bootstraps of people; beyond 3 it is stable",
}


def write_latent(features, participants, record, outputs, *, min_coverage=0.5):
    """Analyse one declared latent fusion and write its tables.

    Parameters
    ----------
    features : path-like
        Fusion table.
    participants : path-like or None
        participants.tsv, for ``groups``, ``within`` and ``covariates``.
    record : mapping
        One record of ``fusion.latent`` with its defaults.
    outputs : mapping
        ``components``, ``components_json``, ``weights``, ``weights_json``.
    min_coverage : float
    """
    import pandas as pd

    table = read_tsv(features, text=("unit", "measure", "modality"))
    X, sizes, people, names, lost = blocks_of(table, record["blocks"], min_coverage=min_coverage)
    everyone = read_tsv(participants) if participants else None
    design, used = covariate_design(everyone, people, record.get("covariates", ()))
    design = design[:, 1:]
    known = np.isfinite(design).all(axis=1)
    X, design, people = X[known], design[known], [p for p, ok in zip(people, known, strict=True) if ok]
    rows = everyone.set_index("participant_id").reindex(people) if participants else None
    levels = {}
    for key in ("groups", "within"):
        column = record[key]
        if column and column != "participant_id":
            if rows is None or column not in rows:
                raise InputError(
                    "config", f"fusion.latent.{record['name']}.{key}", column, "a column of participants.tsv",
                    "correct the name, or leave it empty",
                )  # fmt: skip
            levels[key] = rows[column].astype(str).to_numpy()
    owner = [b["name"] for b, size in zip(record["blocks"], sizes, strict=True) for _ in range(size)]
    reason = None
    if len(people) < FEWEST:
        reason = f"{len(people)} participants have all blocks; latent fusion needs at least {FEWEST}"
    elif design.shape[1]:
        reason = refuse_saturated(design, len(people))
    if reason:
        log.warning("%s: %s", record["name"], reason)
        components, weights = pd.DataFrame(columns=list(_COMPONENTS)), pd.DataFrame(columns=list(_WEIGHTS))
    else:
        count = design.shape[1]

        def make():
            latent = METHODS[record["method"]](tuple(sizes), record["components"], record["seed"])
            return WithoutCovariates(latent, tuple(sizes), count) if count else latent

        components, weights = describe(
            make, with_covariates(X, sizes, design) if count else X,
            permutations=record["permutations"], bootstraps=record["bootstraps"], seed=record["seed"], **levels,
        )  # fmt: skip
        weights = weights.assign(
            feature=[names[n] for n in weights["column"]], block=[owner[n] for n in weights["column"]]
        )[list(_WEIGHTS)]
    noted = {
        "Name": record["name"],
        "Method": record["method"],
        "Participants": len(people),
        "Blocks": {
            b["name"]: {"Features": size, "LeftOut": gone}
            for b, size, gone in zip(record["blocks"], sizes, lost, strict=True)
        },
        "Permutations": record["permutations"],
        "Bootstraps": record["bootstraps"],
        "Covariates": used or None,
        "Groups": record["groups"] or None,
        "PermutedWithin": record["within"] or None,
        "Seed": record["seed"],
        "Reason": reason,
    }
    sources = [features, *([participants] if participants else [])]
    write_tsv(components, outputs["components"])
    write_json(
        sidecar("Latent fusion: components.", sources, Columns=_COMPONENTS, **noted),
        outputs["components_json"],
    )
    write_tsv(weights, outputs["weights"])
    write_json(
        sidecar("Latent fusion: weights.", sources, Columns=_WEIGHTS, **noted), outputs["weights_json"]
    )
