"""The part of the study page that shows what each denoising strategy does to this study's data."""

from __future__ import annotations

import numpy as np

from neurobraid.reports import style
from neurobraid.reports.gather import entities_of, sidecar_of, table
from neurobraid.reports.pages import Cell, Fold, Heading, Note, Table, number

#: Fewer people than this: the measures over people are too uncertain to choose by.
FEW = 30
#: Most strategies in one row of scatter plots.
ROW = 5

COLUMNS = (
    ("strategy", "Strategy", None),
    ("participants", "Participants kept", 0),
    ("qcfc_median_abs", "Median |QC-FC|", 3),
    ("qcfc_edges_percent", "Edges p < .05 (%)", 1),
    ("qcfc_edges_fdr_percent", "Edges FDR < .05 (%)", 1),
    ("distance_dependence", "Distance dependence (ρ)", 2),
    ("dof_lost_percent", "Degrees of freedom lost (%)", 0),
    ("censored_percent", "Volumes censored (%)", 1),
    ("clean_minutes", "Clean minutes", 1),
    ("modularity", "Modularity Q", 2),
    ("split_half_r", "Split-half r", 2),
    ("split_half_icc", "Split-half ICC", 2),
)

PANELS = (
    ("qcfc_median_abs", "median |QC-FC| (r)"),
    ("distance_dependence", "QC-FC with distance (ρ)"),
    ("dof_lost_percent", "degrees of freedom lost (%)"),
    ("split_half_r", "split-half reliability (r)"),
    ("modularity", "modularity (Q)"),
    ("participants", "participants kept"),
)


def summary_figure(found, people: int):
    """Six measures of every strategy as dots on a line each.

    Parameters
    ----------
    found : pandas.DataFrame
        ``…_desc-strategies_table.tsv``.
    people : int
        Participants of the study.
    """
    with style.look():
        names = list(found["strategy"])
        figure = style.new_figure(style.WIDTH, 1.5 + 0.42 * len(names), layout="constrained")
        axes = figure.subplots(2, 3, sharey=True).ravel()
        at = np.arange(len(names))[::-1]
        for axis, (key, label) in zip(axes, PANELS, strict=True):
            values = found[key].to_numpy(float)
            axis.hlines(at, 0, np.nan_to_num(values), color=style.LINE, linewidth=1.4)
            axis.plot(values, at, "o", color=style.BLUE, markersize=5)
            axis.axvline(0, color=style.SOFT, linewidth=0.7)
            axis.set_xlabel(label)
            axis.set_yticks(at, names)
            axis.set_ylim(-0.6, len(names) - 0.4)
            if key == "qcfc_median_abs" and found["qcfc_expected"].notna().any():
                chance = found["qcfc_expected"]
                axis.plot(chance, at, "|", color=style.VERMILION, markersize=11, markeredgewidth=1.6)
            if key == "participants":
                axis.axvline(people, color=style.SOFT, linestyle=(0, (4, 2)))
        return figure


def distance_figure(edges, names):
    """QC-FC of every edge against the distance of its regions, one panel per strategy, with the mean by distance.

    Parameters
    ----------
    edges : pandas.DataFrame
        ``…_desc-strategyedges_table.tsv``.
    names : list of str
        Strategies.
    """
    with style.look():
        rows = -(-len(names) // ROW)
        columns = -(-len(names) // rows)
        figure = style.new_figure(style.WIDTH, 0.5 + 2.1 * rows, layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)).ravel()
        distance = edges["distance_mm"].to_numpy(float)
        cuts = np.nanquantile(distance, np.linspace(0, 1, 13))
        size = float(np.nanquantile(np.abs(edges[names].to_numpy(float)), 0.999))
        for axis in axes[len(names) :]:
            axis.set_visible(False)
        for k, name in enumerate(names):
            axis, values = axes[k], edges[name].to_numpy(float)
            # a picture of dots keeps the file small however many edges there are
            axis.plot(distance, values, ".", color=style.SKY, markersize=1.2, alpha=0.5, rasterized=True)
            which = np.clip(np.searchsorted(cuts, distance, side="right") - 1, 0, len(cuts) - 2)
            ok = np.isfinite(values) & np.isfinite(distance)
            middle = [
                distance[ok & (which == b)].mean() if (ok & (which == b)).any() else np.nan
                for b in range(len(cuts) - 1)
            ]
            mean = [
                values[ok & (which == b)].mean() if (ok & (which == b)).any() else np.nan
                for b in range(len(cuts) - 1)
            ]
            axis.plot(middle, mean, color=style.VERMILION)
            axis.axhline(0, color=style.SOFT, linewidth=0.7)
            axis.set_title(name)
            if k % columns == 0:
                axis.set_ylabel("QC-FC (r)")
            if k + columns >= len(names):
                axis.set_xlabel("distance (mm)")
        axes[0].set_ylim(-1.05 * size, 1.05 * size)
        return figure


def similarity_figure(values, names):
    """How alike the mean matrices of the strategies are, as a small matrix with its numbers.

    Parameters
    ----------
    values : (S, S) ndarray
    names : list of str
    """
    with style.look():
        side = 1.9 + 0.5 * len(names)
        figure = style.new_figure(side * 1.15, side, layout="constrained")
        axis = figure.subplots()
        low = min(0.0, float(np.nanmin(values)))
        image = axis.imshow(values, cmap="cividis", vmin=low, vmax=1)
        for i, j in np.ndindex(values.shape):
            dark = values[i, j] < low + 0.6 * (1 - low)
            axis.text(
                j,
                i,
                number(values[i, j]),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else style.INK,
            )
        axis.set_xticks(range(len(names)), names, rotation=90)
        axis.set_yticks(range(len(names)), names)
        axis.tick_params(length=0)
        figure.colorbar(image, ax=axis, label="correlation over edges (r)", shrink=0.8)
        return figure


def blocks(inputs, gallery) -> list:
    """Blocks of the comparison for every task and atlas; empty where nothing was compared.

    Parameters
    ----------
    inputs : neurobraid.reports.gather.Inputs
        Kinds ``strategies`` (the tables), ``strategy_edges``, ``strategy_similarity``, ``strategy_scans``.
    gallery : neurobraid.reports.pages.Gallery
    """
    out = []
    for path in inputs.all("strategies"):
        labels = {key: entities_of(path).get(key) for key in ("task", "atlas")}
        found, note = table(path), sidecar_of(inputs, "strategies", **labels)
        people = int(note.get("NumberOfParticipants", 0))
        stem = f"study_task-{labels['task']}_atlas-{labels['atlas']}"
        names = list(found["strategy"])
        out.append(Heading(f"Denoising strategies compared: task {labels['task']}, atlas {labels['atlas']}"))
        if people < FEW:
            out.append(Note(
                f"With {people} participants the correlation of motion and connectivity over people is very uncertain (by chance its "
                f"median size is {number(float(found['qcfc_expected'].max()))}). Do not choose a strategy by it.", "warn",
            ))  # fmt: skip
        covariates = ", ".join(note.get("Covariates") or []) or "none"
        out.append(gallery.show(
            summary_figure(found, people), f"{stem}_strategies.svg",
            f"Dot plots of six measures for the strategies {', '.join(names)}.",
            "What each strategy leaves and costs. QC-FC: correlation of an edge with mean framewise displacement over participants "
            f"(covariates: {covariates}); the red mark is what chance gives. Distance dependence: Spearman correlation of QC-FC with the "
            "distance of the regions. Degrees of freedom lost: regressors, frequencies out of band and censored volumes. Split-half: "
            "edges of the first against the second half of each scan. Dashed: all participants of the study.",
        ))  # fmt: skip
        out.append(_table(found))
        edges = table(inputs.find("strategy_edges", **labels))
        if edges is not None and edges[names].notna().any().any():
            shown = [name for name in names if edges[name].notna().any()]
            out.append(gallery.show(
                distance_figure(edges, shown), f"{stem}_strategies_distance.png",
                "Scatter plots of QC-FC against distance for each strategy.",
                "QC-FC of every edge against the distance of its regions; red: mean of equal shares of the edges. A flat line at zero "
                "is what no motion looks like; a line that falls says that motion raises the connectivity of near regions most.",
            ))  # fmt: skip
        alike = table(inputs.find("strategy_similarity", **labels))
        if alike is not None and len(names) > 1:
            out.append(Fold("How alike the mean matrices are", [gallery.show(
                similarity_figure(alike[names].to_numpy(float), names), f"{stem}_strategies_similarity.svg",
                "Matrix of the correlations between the mean matrices of the strategies.",
                "Correlation over edges of the mean matrices (Fisher z) of each pair of strategies.",
            )]))  # fmt: skip
        out.extend(_left_out(table(inputs.find("strategy_scans", **labels))))
        out.append(Fold("What each strategy removes", [_settings(note)]))
        out.append(Note(
            "QC-FC assumes that people who move more do not differ in connectivity for another reason, and it rewards strong "
            "censoring, which makes each person's edges less certain. Weigh it against reliability and the participants kept; decide "
            "before looking at the effect of interest.",
        ))  # fmt: skip
    return out


def _table(found):
    rows = []
    for row in found.to_dict("records"):
        cells = []
        for key, _, digits in COLUMNS:
            value = row.get(key)
            tone = ""
            if key == "qcfc_median_abs" and value == value:
                tone = "good" if value <= 1.15 * row["qcfc_expected"] else "warn"
            cells.append(
                Cell(
                    str(value)
                    if digits is None
                    else number(int(value) if digits == 0 and value == value else value, digits),
                    tone=tone,
                )
            )
        rows.append(cells)
    heads = [label for _, label, _ in COLUMNS]
    stringent, minimal = (int(found[f"participants_{word}"].iloc[0]) for word in ("stringent", "minimal"))
    return Table(
        heads, rows,
        f"Measures of every strategy. Whatever the strategy, {stringent} participants meet the stringent motion criterion (mean FD "
        f"below 0.25 mm and at least 80 % of volumes at or below 0.2 mm) and {minimal} the minimal one (mean FD below 0.55 mm).",
        numeric=tuple(heads[1:]),
        note="Median |QC-FC|: green up to 1.15 times what chance gives.", compact=True,
    )  # fmt: skip


def _left_out(scans):
    if scans is None:
        return []
    gone = scans[scans["used"] == "no"]
    if not len(gone):
        return []
    rows = [[r["strategy"], r["scan"], str(r["reason"])] for r in gone.to_dict("records")]
    block = Table(["Strategy", "Scan", "Reason"], rows, "Scans that a strategy leaves too little of.")
    return [Fold(f"Scans left out by a strategy: {len(rows)}", [block])]


def _settings(note):
    words = {"FramewiseDisplacementThreshold": "mm", "StdDvarsThreshold": "", "MinSegmentVolumes": "volumes"}
    rows = []
    for name, setting in (note.get("Strategies") or {}).items():
        cells = [name, ", ".join(setting.get("Confounds") or []) or "none"]
        for key, unit in words.items():
            value = setting.get(key)
            cells.append("none" if value in (None, "n/a") else number(value, 2, unit))
        rows.append(cells)
    low, high = note.get("BandHz", [0, 0])
    return Table(
        ["Strategy", "Confounds", "FD above", "Standardised DVARS above", "Shortest stretch kept"], rows,
        f"Every strategy also removes drift and all frequencies outside {low:g} to {high:g} Hz, in the same regression.",
    )  # fmt: skip
