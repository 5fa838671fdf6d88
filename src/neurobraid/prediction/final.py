"""The model that is kept: refitted on everybody by the same pipeline, and written without anybody in it."""

import numpy as np

from neurobraid import __version__
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json
from neurobraid.fusion.table import name_entities
from neurobraid.jobs import log
from neurobraid.prediction import ood
from neurobraid.prediction.dataset import build, encode
from neurobraid.prediction.estimators import LateFusion, TunedModel, make_pipeline
from neurobraid.prediction.folds import Unavailable, inner_folds
from neurobraid.prediction.model import _estimator, _joined, complete
from neurobraid.prediction.plan import confirm, outside
from neurobraid.prediction.store import Linear, pack, write_archive
from neurobraid.provenance import sha256, sidecar

#: Quantiles between which a new person's feature counts as ordinary.
ORDINARY = (0.01, 0.99)
#: Kinds of target whose models can be kept.
KINDS = ("classification", "regression")


def fit_main(data, model, rows, inner, main):
    """Fit one feature set of a model on some rows, as the cross-validation does.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    model : dict
        From `neurobraid.prediction.model.complete`.
    rows : numpy.ndarray of int
        Training rows.
    inner : numpy.ndarray of int, (training rows,)
    main : str
        ``fused``, ``early``, or a modality.

    Returns
    -------
    dict of str to TunedModel
        One per member of the fusion.
    LateFusion or None
        Their fusion.
    """
    X, blocks, confounds = _joined(data)
    kind, estimator = model["kind"], _estimator(model)
    indicator = model["missing_modality"] == "impute"

    def tuned(part):
        pipeline = make_pipeline(
            part, confounds, estimator, model["min_present"], harmonize=data.harmonize, indicator=indicator
        )
        return TunedModel(pipeline, kind)

    reference = X[data.extra]
    if main == "early":
        return {"early": tuned(blocks).fit(X[rows], data.y[rows], inner, reference)}, None
    names = list(blocks) if main == "fused" else [main]
    members = {name: tuned({name: blocks[name]}) for name in names}
    has = {name: ood.present(data, name, model)[rows] for name in names}
    fused = LateFusion(members, kind).fit(X[rows], data.y[rows], inner, has, reference)
    return fused.models_, fused if main == "fused" else None


def _steps(transformer):
    """Fitted steps of a pipeline or of a single transformer, in order."""
    return [step for _, step in transformer.steps] if hasattr(transformer, "steps") else [transformer]


def _scale(scores):
    spread = scores.std()
    return [float(scores.mean()), float(spread) if spread > 1e-12 else 1.0]


def _member(fitted, X, arrays, where):
    width = fitted.pipeline_[:-1].transform(X).shape[1]
    try:
        return {
            "blocks": {
                name: [pack(step, arrays) for step in _steps(steps)]
                for name, steps, _ in fitted.pipeline_[0].transformers_
                if name != "remainder"
            },
            "after": [pack(step, arrays) for step in fitted.pipeline_[1:-1]],
            "estimator": pack(Linear.of(fitted.pipeline_[-1], fitted.choice_, width, where), arrays),
            "calibrator": pack(fitted.calibrator_, arrays),
            "score": _scale(fitted.inner_scores_),
            "chosen": float(fitted.pipeline[-1].grid[fitted.choice_]),
        }
    except TypeError as error:
        raise InputError(
            where, "steps", error, "steps that can be stored", "set save: false, or change the model"
        ) from None


def _novelty(data, model, rows, inner, fitted, arrays):
    names = [
        name
        for one in fitted.values()
        for name, _, _ in one.pipeline_[0].transformers_
        if name in data.tables
    ]
    tables = {name: data.tables[name][rows] for name in names}
    there = {name: ood.present(data, name, model)[rows] | ("early" in fitted) for name in names}

    def blocks(name, train, others):
        return ood.prepare(data, ood.steps_of(data, model, name), name, rows[train], rows[others])

    found = ood.Novelty.fit(tables, there, inner, blocks)
    content = {
        "limit": found.limit,
        "held_out": found.people,
        "share": ood.SHARE,
        "spaces": {},
    }
    for name, space in found.spaces.items():
        arrays += [space.mean, space.components, space.spread]
        places = [len(arrays) - 3 + n for n in range(3)]
        content["spaces"][name] = {
            "arrays": places,
            "components": len(space.components),
            "scales": found.scales[name].tolist(),
        }
    return content


def _encoding(people, columns, file):
    """How columns became numbers, so that a later study's become the same, and their range."""
    import pandas as pd

    out = []
    for column in columns:
        coded = encode(people, [column], file=file)
        numbers = pd.to_numeric(people[column], errors="coerce")
        numeric = numbers.notna().sum() == people[column].notna().sum()
        entry = {"column": column, "levels": None, "low": None, "high": None}
        if numeric:
            entry |= {"low": float(np.nanmin(coded)), "high": float(np.nanmax(coded))}
        else:
            entry["levels"] = sorted(people[column].dropna().astype(str).unique().tolist())
        out.append(entry)
    return out


def _features(data, model, features, rows, arrays):
    units = features.drop_duplicates(["modality", "measure", "unit"])
    known = {}
    for modality, measure, unit in zip(units["modality"], units["measure"], units["unit"], strict=True):
        known.setdefault(f"{modality} {measure}", set()).add(unit if unit == unit else "n/a")
    out = []
    for record in model["features"]:
        name = record["name"]
        columns = [str(c) for c in data.names[name]]
        values = data.tables[name][rows][:, : len(columns)]
        with np.errstate(invalid="ignore"):
            low, high = np.nanquantile(np.where(np.isfinite(values), values, np.nan), ORDINARY, axis=0)
        arrays += [low, high]
        measures = sorted({" ".join(c.split(" ")[:2]) for c in columns})
        several = [m for m in measures if len(known[m]) > 1]
        if several:
            raise InputError(
                "fusion table",
                f"unit of {several[0]}",
                ", ".join(sorted(known[several[0]])),
                "one unit per measure",
                "convert the values of one of the tables",
            )
        out.append(
            {
                "name": name,
                "modality": list(record["modality"]),
                "measure": list(record.get("measure") or []),
                "region": list(record.get("region") or []),
                "columns": columns,
                "units": {m: next(iter(known[m])) for m in measures},
                "ordinary": [len(arrays) - 2, len(arrays) - 1],
            }
        )
    return out


def describe(features, participants, model, summary, *, atlas=None, file="participants.tsv", code=""):
    """Refit a model on everybody and put it into plain numbers.

    Parameters
    ----------
    features, participants : pandas.DataFrame
        Those who are held in a lockbox are left out by the caller.
    model : dict
        From `neurobraid.prediction.model.complete`.
    summary : dict
        Summary of the same model's cross-validation: its main feature set is the one that is kept.
    atlas : dict, optional
        ``name``, ``sha256`` of the region table, or None for a table without an atlas.
    file : str
    code : str
        Digest of the code of the stage.

    Returns
    -------
    header : dict
    arrays : list of numpy.ndarray

    Raises
    ------
    InputError
        The model cannot be kept without people's rows, or has a target of another kind.
    """
    from sklearn import __version__ as sklearn_version

    where = f"config: prediction.models ({model['name']})"
    header = {
        "name": model["name"],
        "status": summary["status"],
        "reason": summary.get("reason", ""),
        "versions": {
            "neurobraid": __version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn_version,
        },
        "code": code,
    }
    if model["kind"] not in KINDS:
        raise InputError(where, "save", model["kind"], " or ".join(KINDS), "set save: false")
    if summary["status"] == "UNAVAILABLE":
        return header, []
    main = summary["main_set"]
    if main not in ("fused", "early", *(record["name"] for record in model["features"])):
        raise InputError(where, "fusion", main, "late or early", "add late, or set save: false")
    data = build(features, participants, model, file=file)
    rows = np.flatnonzero(~data.reference)
    try:
        inner = inner_folds(
            data.y[rows],
            data.groups[rows],
            kind=model["kind"],
            site=data.sites[rows],
            count=model["folds"]["inner"],
            seed=model["seed"],
            group_of_site=model["groups"] == model["site"],
        )
    except Unavailable as reason:
        return {**header, "status": "UNAVAILABLE", "reason": str(reason)}, []
    fitted, fused = fit_main(data, model, rows, inner, main)
    X, arrays = _joined(data)[0][rows[:1]], []
    people = participants.set_index("participant_id", drop=False).loc[data.participants]
    wanted = model["harmonize"] or {}
    sites = sorted(np.unique(data.sites[rows]).tolist())
    header |= {
        "target": model["target"],
        "kind": model["kind"],
        "classes": data.classes,
        "range": None if data.classes else [float(data.y[rows].min()), float(data.y[rows].max())],
        "rows": model["rows"],
        "main_set": main,
        "missing_modality": model["missing_modality"],
        "min_coverage": float(model["min_coverage"]),
        "features": _features(data, model, features, rows, arrays),
        "atlas": atlas,
        "confounds": _encoding(people, model["confounds"], file),
        "harmonize": None
        if not wanted
        else {
            "unseen": wanted["unseen"],
            "reference": wanted.get("reference", ""),
            "covariates": _encoding(people, wanted.get("covariates") or [], file),
        },
        "site": model["site"] if model["site"] in people else "",
        "sites": sites if model["site"] in people else [],
        "members": {name: _member(one, X, arrays, where) for name, one in fitted.items()},
        "fusion": None
        if fused is None
        else {
            "calibrator": pack(fused.calibrator_, arrays),
            "score": _scale(fused.inner_scores_),
            "standard": {name: [float(v) for v in pair] for name, pair in fused.standard_.items()},
        },
        "novelty": _novelty(data, model, rows, inner, fitted, arrays),
        "training": {
            "people": int(np.unique(data.participants[rows]).size),
            "rows": int(rows.size),
            "class_counts": {
                c: int(np.sum(data.y[rows] == v)) for c, v in zip(data.classes, (-1, 1), strict=False)
            },
            "target_mean": float(np.mean(data.y[rows] > 0)) if data.classes else float(data.y[rows].mean()),
            "inner_folds": int(inner.max()) + 1,
            "estimator": model["estimator"],
            "seed": model["seed"],
            "manifest": summary["folds"]["sha256"],
        },
    }
    return header, arrays


def summary_of(header):
    """What a sidecar or a card shows of a stored model: everything but the numbers."""
    hidden = ("members", "fusion", "novelty")
    out = {key: value for key, value in header.items() if key not in hidden}
    if "members" in header:
        out["features"] = [
            {k: v for k, v in record.items() if k != "ordinary"} for record in header["features"]
        ]
        out["chosen"] = {name: member["chosen"] for name, member in header["members"].items()}
        out["novelty"] = {
            "held_out": header["novelty"]["held_out"],
            "share": header["novelty"]["share"],
            "components": {name: space["components"] for name, space in header["novelty"]["spaces"].items()},
        }
    return out


def write_final(features, participants, summary, model, outputs, *, atlas="", code="", plan="", **general):
    """Refit a declared model on everybody and write it.

    Parameters
    ----------
    features, participants, summary : path-like
        Fusion table, ``participants.tsv``, summary of the cross-validation.
    model : dict
        Record of ``prediction.models``.
    outputs : mapping
        Paths ``model`` (ZIP archive) and ``model_json``.
    atlas : path-like, optional
        Region table of the atlas of the fusion table.
    code : str
    plan : path-like, optional
        The lock of the plans: people of the lockbox take no part.
    **general
        See `neurobraid.prediction.model.complete`.
    """
    full = complete(model, **general)
    people = read_tsv(participants)
    table = read_tsv(features, text=("modality", "measure", "unit", "source"))
    file = str(participants).rsplit("/", 1)[-1]
    locked = confirm(table, people, full, plan=plan or None, code=code, file=file)
    people, table = outside(locked, people, table)
    label = name_entities(features).get("atlas", "")
    about = {"name": label, "sha256": sha256(atlas) if atlas else ""} if label else None
    header, arrays = describe(table, people, full, read_json(summary), atlas=about, file=file, code=code)
    write_archive(header, arrays, outputs["model"])
    content = summary_of(header)
    description = "A model refitted on everybody, for people of a later study (neurobraid predict). Holds no person and no code."
    write_json(
        sidecar(
            description, [features, participants, summary], Sha256=sha256(outputs["model"]), Model=content
        ),
        outputs["model_json"],
    )
    log.info("%s: %s, %d arrays", full["name"], header["status"], len(arrays))
