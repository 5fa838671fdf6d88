"""The section of the study page on the coupling of function with binding or metabolism."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurobraid.files import read_json
from neurobraid.reports import figures, style
from neurobraid.reports.gather import entities_of, table
from neurobraid.reports.pages import Cell, Fold, Heading, Note, Prose, Table, number
from neurobraid.reports.planes import Volume

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Pairs of measures that get a figure; the tables hold all.
DRAWN = 6
#: Regions of the table of a pair.
LISTED = 10
#: Methods of latent fusion in words.
LATENT = {
    "pls": "PLS correlation",
    "pcacca": "CCA of principal components",
    "mcca": "regularised multi-set CCA",
    "jica": "joint ICA",
    "mccajica": "mCCA + joint ICA",
}
_WORDS = {
    "strengthpositive": "positive connectivity strength",
    "strengthnegative": "negative connectivity strength",
    "density": "grey-matter density",
}


def words(name: str) -> str:
    """A measure of the fusion table for people.

    Examples
    --------
    >>> words("fmri-rest strengthpositive"), words("fmri-task motor_left"), words("pet BPND_RAC")
    ('positive connectivity strength', 'activation motor left', 'BPND RAC')
    """
    modality, measure = name.split(" ", 1)
    base, _, rest = measure.partition("_")
    if modality == "fmri-task":
        return "activation " + measure.replace("_", " ")
    return " ".join([_WORDS.get(base, base), *rest.split("_")]).strip()


def _axis(name: str, unit: str) -> str:
    return words(name) + (f" ({unit})" if unit not in ("1", "", "nan") else "")


def pair_figure(regional: pd.DataFrame, personal: pd.DataFrame) -> Figure:
    """One pair of measures: mean maps, every person's correlation, correlation over people by region.

    Parameters
    ----------
    regional : pandas.DataFrame
        Rows of the pair in ``…_desc-coupling_table.tsv``.
    personal : pandas.DataFrame
        Rows of the pair in ``…_desc-personcoupling_table.tsv``.
    """
    first, second = (
        _axis(str(regional[k].iloc[0]), str(regional[f"unit_{k}"].iloc[0])) for k in ("first", "second")
    )
    across = regional["r"].to_numpy(float)
    with style.look():
        figure = style.new_figure(style.WIDTH, 3.5, layout="constrained")
        left, middle, right = figure.subplots(1, 3, width_ratios=[1.15, 1, 1])
        left.plot(
            regional["mean_second"], regional["mean_first"], "o", color=style.BLUE, markersize=4.5, alpha=0.7,
            markeredgecolor="white", markeredgewidth=0.4,
        )  # fmt: skip
        left.set(xlabel=f"mean {second}", ylabel=f"mean {first}", title="Mean maps: one dot per region")
        left.grid()

        shown = personal[np.isfinite(personal["r"].to_numpy(float))].sort_values("r", kind="stable")
        place = np.arange(len(shown))
        limit = shown["null_95"].to_numpy(float)
        middle.fill_between(
            place, -limit, limit, color=style.LINE, step="mid", label="smooth maps by chance (95 %)"
        )
        if len(shown) == 1:
            middle.bar([0], 2 * limit, bottom=-limit, width=0.8, color=style.LINE)
        tested = shown["p"].to_numpy(float) <= 0.05
        values = shown["r"].to_numpy(float)
        middle.plot(place[tested], values[tested], "o", color=style.VERMILION, markersize=5, label="p ≤ 0.05")
        middle.plot(place[~tested], values[~tested], "o", color=style.SOFT, markersize=5, label="p > 0.05")
        middle.axhline(0, color=style.SOFT, linewidth=0.8)
        middle.set(
            xlabel="participants, in order of r", ylabel="r over regions", xticks=[], ylim=(-1.05, 1.05),
            title="Within each participant",
        )  # fmt: skip
        middle.legend(fontsize=7.5, loc="lower right", framealpha=0.9)

        good = np.isfinite(across)
        sure = regional["p_fwe"].to_numpy(float) <= 0.05
        edges = np.linspace(-1, 1, 31)
        if good.any():
            right.hist([across[good & sure], across[good & ~sure]], bins=edges, stacked=True,
                       color=[style.VERMILION, style.SKY], label=["p(FWE) ≤ 0.05", "p(FWE) > 0.05 or none"])  # fmt: skip
            right.set_ylim(0, 1.3 * right.get_ylim()[1])
            right.legend(fontsize=7.5, loc="upper left", framealpha=0.9)
        else:
            right.text(
                0.5, 0.5, "too few participants", transform=right.transAxes, ha="center", color=style.SOFT
            )
        right.axvline(0, color=style.SOFT, linewidth=0.8)
        right.set(
            xlabel="partial r over participants", ylabel="regions", xlim=(-1, 1), title="Across participants"
        )
        return figure


def _r(value):
    """A correlation with two decimals, however small."""
    return number(value) if abs(value) >= 0.005 or not np.isfinite(value) else "0.00"


def _p(value, digits=3) -> str:
    try:
        value = float(value)
    except (TypeError, ValueError):
        return "n/a"
    return "n/a" if not np.isfinite(value) else ("< 0.001" if value < 0.001 else number(value, digits))


def _row(pair) -> list:
    within, means, across = (pair.get(k) or {} for k in ("WithinPeople", "MeanMaps", "AcrossPeople"))
    return [
        words(pair["First"]),
        words(pair["Second"]),
        str(pair["Participants"]),
        _r(_real(means.get("R"))),
        _p(means.get("PSpatial")),
        Cell(_p(means.get("PParametric")), tone="mute"),
        _r(_real(within.get("MeanR"))),
        _p(within.get("PSignFlip")),
        str(across["RegionsFWE05"]) if across else "–",
    ]


def _real(value) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def add_coupling(study, section) -> None:
    """Fill the section: what was asked, a table of all pairs, a figure of each, the covariance network.

    Parameters
    ----------
    study : object
        With ``inputs`` (`neurobraid.reports.gather.Inputs`), ``gallery`` and the anatomy under maps, ``_background()``.
    section : neurobraid.reports.pages.Section
    """
    paths = study.inputs.all("coupling")
    if not paths and not study.inputs.all("latent") and not study.inputs.all("voxelwise"):
        section.add(
            Note("Not estimated: it needs PET and fMRI in one study, and fusion.coupling.enabled.", "missing")
        )
        return
    for path in paths:
        summary = read_json(path)
        pairs, atlas = summary["Pairs"], entities_of(path).get("atlas", "")
        if not pairs:
            section.add(
                Note(f"Atlas {atlas}: the feature table has no pair of measures to couple.", "missing")
            )
            continue
        if len(paths) > 1:
            section.add(Heading(f"Atlas {atlas}"))
        section.add(
            Prose(
                [
                    "Three questions are kept apart. Mean maps: do regions with more of one measure have more of the other, in the "
                    "group's average? Within participants: does the same hold in each one? Across participants: does a person "
                    "with more of one measure in a region have more of the other there? The first two are judged against "
                    f"{summary['Surrogates']} surrogate maps as smooth as the real one, because neighbouring regions are alike: "
                    "the textbook p, in grey, takes them for independent and is too small. The third has p corrected over "
                    f"regions by {summary['Permutations']} permutations, with covariates taken out."
                ]
            )
        )
        heads = ["Function", "Molecules", "People", "r, mean maps", "p, spatial null", "textbook p", "mean r within", "p, sign flip",
                 "regions across, p(FWE) ≤ 0.05"]  # fmt: skip
        section.add(
            Table(
                heads,
                [_row(pair) for pair in pairs],
                f"Coupling of measures over the regions of atlas {atlas}; p are two-sided, and not corrected over the rows of this table.",
                numeric=tuple(heads[2:]),
            )
        )
        for reason in dict.fromkeys(pair["Reason"] for pair in pairs if pair.get("Reason")):
            section.add(Note(f"{reason[:1].upper()}{reason[1:]}.", "missing"))
        regional = table(study.inputs.find("coupling_table", atlas=atlas))
        personal = table(study.inputs.find("person_coupling", atlas=atlas))
        drawn = [pair for pair in pairs if pair["Participants"] and regional is not None]
        for count, pair in enumerate(drawn[:DRAWN]):
            _pair(study, section, pair, regional, personal, f"study_atlas-{atlas}_coupling{count + 1}")
        if len(drawn) > DRAWN:
            section.add(Note(f"{len(drawn) - DRAWN} more pairs are in the tables of the derivatives."))
        _network(study, section, atlas)
    for path in study.inputs.all("voxelwise"):
        _voxelwise(study, section, path)
    for path in study.inputs.all("latent"):
        _latent(section, path)


def _voxelwise(study, section, path) -> None:
    """One contrast regressed on binding at every voxel; without a voxel that survives, what is near is shown as such."""
    name = entities_of(path).get("model", "")
    about = read_json(str(path).replace("_stat-t_statmap.nii.gz", "_statmap.json"))
    if about.get("Reason"):
        section.add(Note(f"Voxelwise model {name}: {about['Reason']}.", "missing"))
        return
    free, count, threshold = about["DegreesOfFreedom"], about["VoxelsFWE05"], _real(about["ThresholdT"])
    statistic = Volume.read(path)
    peak = float(np.abs(statistic.data).max())
    rule = f"p ≤ 0.05 corrected over {about['Voxels']:,} voxels by {about['Permutations']} permutations"
    if not count:
        section.add(
            Note(
                f"Voxelwise model {name}: no voxel survives p ≤ 0.05 corrected over voxels (largest |t| {number(peak)}, needed "
                f"{number(threshold)}). The map shows p < 0.001 per voxel, not corrected, for orientation only.",
                "warn",
            )
        )
        rule = "p < 0.001 per voxel, not corrected"
        threshold = _t_at(0.001, free)
    section.add(
        study.gallery.show(
            figures.statistic_map(statistic, *study._background(), threshold=threshold, label="t"),
            f"study_model-{name}_t.png",
            f"t map of voxelwise model {name} on axial slices of the template.",
            f"{about['Description']} Model {name}, {len(about['Participants'])} participants, {free} degrees of freedom; covariates: "
            f"{', '.join(about['Covariates']) or 'none'}. Colours: |t| ≥ {number(threshold)} ({rule}); warm: more binding goes with "
            "more activation.",
        )
    )


def _t_at(p: float, free: int) -> float:
    from scipy.stats import t

    return float(t.isf(p / 2, free))


def _latent(section, path) -> None:
    """One latent fusion: what holds in people that had no part in the fit, never the fit alone."""
    about, rows = read_json(str(path).removesuffix(".tsv") + ".json"), table(path)
    name = about["Name"]
    if about.get("Reason"):
        section.add(Note(f"Latent fusion {name}: {about['Reason']}.", "missing"))
        return
    blocks = ", ".join(f"{block} ({size['Features']} features)" for block, size in about["Blocks"].items())
    covariates = about.get("Covariates") or []
    taken = f", {', '.join(covariates)} taken out inside every fit" if covariates else ""
    heads = ["Component", "r held out", "p", "r in the sample", "Overlap of halves", "Overlap by chance"]
    section.add(
        Table(
            heads,
            [
                [str(int(r.component)), _r(r.r_held_out), _p(r.p), Cell(_r(r.r_in_sample), tone="mute"),
                 _r(r.split_half), _r(r.split_half_null)]
                for r in rows.itertuples()
            ],
            f"Latent fusion {name} ({LATENT[about['Method']]}) of {blocks}; {about['Participants']} participants{taken}. r held out: "
            "correlation of the blocks' scores in people that had no part in the fit; p from "
            f"{about['Permutations']} permutations of participants with full refit. The correlation in the sample, in grey, is high "
            "for noise too. Overlap: how alike the weights of two halves of the participants are, 0 to 1.",
            numeric=tuple(heads[1:]),
        )
    )  # fmt: skip


def _pair(study, section, pair, regional, personal, stem) -> None:
    mine, people = (
        part[(part["first"] == pair["First"]) & (part["second"] == pair["Second"])]
        for part in (regional, personal)
    )
    first, second = words(pair["First"]), words(pair["Second"])
    covariates = ", ".join(pair.get("Covariates") or []) or "none"
    section.add(
        study.gallery.show(
            pair_figure(mine, people),
            f"{stem}.svg",
            f"{first} against {second}: mean maps, correlation within each participant, correlation across participants.",
            f"{first[:1].upper()}{first[1:]} and {second} of {pair['Participants']} participants. Left: mean of each region over "
            "participants. Middle: correlation over regions of each participant; the grey band holds 95 % of what smooth maps "
            "that have nothing to do with one another reach. Right: correlation over participants in each region, covariates "
            f"taken out: {covariates}.",
        )
    )
    if "r_voxels" in people and people["r_voxels"].notna().any():
        told = people[people["r_voxels"].notna()]
        section.add(
            Prose(
                [
                    f"By voxel, inside the atlas's grey matter, the two maps of the same person correlate with r from "
                    f"{_r(told['r_voxels'].min())} to {_r(told['r_voxels'].max())} ({len(told)} participants, median "
                    f"{_r(told['r_voxels'].median())}); over cubes of voxels, whose smoothness the null knows, p ≤ 0.05 in "
                    f"{int((told['p_blocks'] <= 0.05).sum())}."
                ]
            )
        )
    best = mine[np.isfinite(mine["p"].to_numpy(float))].sort_values("p", kind="stable").head(LISTED)
    if len(best):
        heads = ["Region", "n", "df", "partial r", "p", "p(FDR)", "p(FWE)"]
        rows = [
            [str(r.region), str(int(r.n)), str(int(r.df)), _r(r.r), _p(r.p), _p(r.p_fdr), _p(r.p_fwe)]
            for r in best.itertuples()
        ]
        section.add(
            Fold(
                f"Regions with the smallest p: {first} and {second}",
                [
                    Table(
                        heads,
                        rows,
                        "Partial correlation over participants.",
                        numeric=tuple(heads[1:]),
                        compact=True,
                    )
                ],
            )
        )


def _network(study, section, atlas) -> None:
    path = study.inputs.find("pet_covariance", atlas=atlas)
    known = table(study.inputs.find("atlas_tables", atlas=atlas))
    if path is None or known is None:
        return
    matrix, about = table(path), read_json(str(path).removesuffix(".tsv") + ".json")
    nodes = matrix["Node"].astype(str).to_list()
    values = matrix[nodes].to_numpy(float)
    if not np.isfinite(values).any():
        section.add(Note("No covariance network over participants: too few of them have PET.", "missing"))
        return
    regions = known.drop_duplicates("name").set_index("name").reindex(nodes).reset_index()
    measure, people = words(about["Measure"]), about["Participants"]
    section.add(
        study.gallery.show(
            figures.matrix(values, regions, label="r over participants", limit=1.0),
            f"study_atlas-{atlas}_petcovariance.png",
            f"Covariance network of {measure} over {people} participants, {len(nodes)} regions.",
            f"Covariance network of {measure}: correlation over {people} participants between every two regions; covariates taken out: "
            f"{', '.join(about['CovariatesUsed']) or 'none'}. Ordered by structure and hemisphere; regions that somebody lacks are grey. "
            "It describes the group, not a person, and with few participants most of it is noise.",
        )
    )
