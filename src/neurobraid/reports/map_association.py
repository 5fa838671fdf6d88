"""The part of the study page on the group's maps against reference maps."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from neurobraid.files import read_json
from neurobraid.reports import style
from neurobraid.reports.coupling import _p, _r, words
from neurobraid.reports.gather import entities_of, table
from neurobraid.reports.pages import Cell, Fold, Heading, Note, Prose, Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Surrogates in words.
NULLS = {
    "moran": "Moran spectral randomisation",
    "variogram": "matched variograms",
    "spin": "spins on fsaverage5 (cortex only)",
}
#: Dominance analyses drawn.
DRAWN = 4


def matrix_figure(rows: pd.DataFrame) -> Figure:
    """Correlation of every map of the group with every reference map.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of one null of ``…_desc-mapassociation_table.tsv``.
    """
    targets, maps = list(dict.fromkeys(rows["measure"])), list(dict.fromkeys(rows["map"]))
    keyed = rows.set_index(["measure", "map"])
    r = np.array([[keyed.loc[(t, m), "r"] for m in maps] for t in targets], dtype=float)
    sure = np.array([[keyed.loc[(t, m), "p_fdr"] for m in maps] for t in targets], dtype=float) <= 0.05
    limit = max(0.2, float(np.nanmax(np.abs(r), initial=0.0)))
    with style.look():
        figure = style.new_figure(style.WIDTH, 1.6 + 0.34 * len(targets), layout="constrained")
        axes = figure.subplots()
        shown = axes.imshow(r, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        for (i, j), value in np.ndenumerate(r):
            if np.isfinite(value):
                dark = abs(value) > 0.6 * limit
                axes.text(
                    j, i, f"{value:.2f}{'*' if sure[i, j] else ''}".replace("-", "−"), ha="center", va="center", fontsize=8,
                    color="white" if dark else "black", weight="bold" if sure[i, j] else "normal",
                )  # fmt: skip
        axes.set_xticks(range(len(maps)), maps, rotation=30, ha="right")
        axes.set_yticks(range(len(targets)), [words(t) for t in targets])
        axes.set(xlabel="reference map", ylabel="mean map of the group")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.colorbar(shown, ax=axes, label="r over regions", shrink=0.9)
        return figure


def dominance_figure(rows: pd.DataFrame, fits: dict) -> Figure:
    """How the R² of all reference maps is shared among them.

    Parameters
    ----------
    rows : pandas.DataFrame
        ``…_desc-mapdominance_table.tsv``.
    fits : dict of str to dict
        R² and p by measure.
    """
    targets = list(dict.fromkeys(rows["measure"]))[:DRAWN]
    count = rows["map"].nunique()
    with style.look():
        figure = style.new_figure(style.WIDTH, 1.4 + 0.26 * count, layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(targets), sharex=True, sharey=True))
        for axes, target in zip(panels, targets, strict=True):
            part = rows[rows["measure"] == target]
            place = np.arange(len(part))[::-1]
            axes.barh(place, part["total"], color=style.BLUE, height=0.6, label="shared out")
            axes.plot(part["alone"], place, "|", color=style.VERMILION, markersize=9, label="alone")
            axes.set_yticks(place, part["map"])
            axes.set_ylim(-0.7, len(part) - 0.3)
            axes.set(xlabel="R²")
            axes.locator_params(axis="x", nbins=3)
            axes.set_title(
                f"{fill(words(target), 22)}\nR² {fits[target]['r2']:.2f}, p {_p(fits[target]['p'])}",
                fontsize=8.5,
            )
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], fontsize=7.5, loc="outside lower center", ncols=2)
        return figure


def _sources(about) -> Table:
    rows = [[name, one["Units"], one["Source"]] for name, one in about["Maps"].items()]
    return Table(["Map", "Unit", "Source"], rows, "Reference maps, as declared.", compact=True)


def add_maps(study, section) -> None:
    """Fill the section: matrix of correlations, tables, dominance analysis.

    Parameters
    ----------
    study : object
        With ``inputs`` and ``gallery``.
    section : neurobraid.reports.pages.Section
    """
    for path in study.inputs.all("map_association"):
        about, rows, atlas = (
            read_json(str(path).removesuffix(".tsv") + ".json"),
            table(path),
            entities_of(path)["atlas"],
        )
        section.add(Heading(f"Maps of the group against reference maps, atlas {atlas}"))
        for reason in about.get("NotPossible") or []:
            section.add(Note(f"Not possible: {reason}.", "missing"))
        if not len(rows):
            section.add(
                Note("No reference map belongs to this atlas, or no measure has a mean map.", "missing")
            )
            continue
        nulls = list(dict.fromkeys(rows["null"]))
        explained = "; ".join(f"{null}: {NULLS[null]}" for null in nulls)
        section.add(
            Prose(
                [
                    "Does the group's map look like a map of others? A correlation over regions cannot be judged as if regions were "
                    f"independent: p is the share of {about['Surrogates']} surrogates of the group's map, as smooth as it is, that "
                    "reach the correlation in either direction, and is adjusted over the reference maps (false discovery rate). "
                    "An association says that two patterns are alike, not that a receptor causes an activation."
                ]
            )
        )
        first = rows[rows["null"] == nulls[0]]
        least, most = int(first["regions"].min()), int(first["regions"].max())
        size = f"{least} to {most}" if least < most else f"{most}"
        kind = {"pearson": "Pearson", "spearman": "Spearman, of ranks"}[about["Method"]]
        section.add(
            study.gallery.show(
                matrix_figure(first),
                f"study_atlas-{atlas}_maps.svg",
                f"Correlation of {first['measure'].nunique()} maps of the group with {first['map'].nunique()} reference maps.",
                f"Correlation over regions ({kind}) of the group's mean maps with reference maps; bold with *: "
                f"p(FDR) ≤ 0.05 against surrogates by {NULLS[nulls[0]]}. Regions per pair: {size}.",
            )
        )
        heads = [
            "Mean map of the group",
            "Reference map",
            "Surrogates",
            "Regions",
            "r",
            "p",
            "p(FDR)",
            "textbook p",
        ]
        body = [
            [words(r.measure), r.map, r.null, str(int(r.regions)), _r(r.r), _p(r.p), _p(r.p_fdr),
             Cell(_p(r.p_parametric), tone="mute")]
            for r in rows.itertuples()
        ]  # fmt: skip
        section.add(
            Fold(
                f"All {len(rows)} comparisons, atlas {atlas}",
                [
                    Table(
                        heads,
                        body,
                        f"p are two-sided. Surrogates by {explained}.",
                        numeric=tuple(heads[3:]),
                        compact=True,
                    ),
                    _sources(about),
                ],
            )
        )
        _dominance(study, section, atlas)
    _react(study, section)


def _react(study, section) -> None:
    """Which maps weighted the connectivity of which scan, and whether each course is that of one receptor."""
    paths = study.inputs.all("react")
    if not paths:
        return
    rows, doubtful = [], []
    for path in paths:
        about, scan = read_json(path), str(path).rsplit("/", 1)[-1].split("_space-")[0]
        for name, one in about["Maps"].items():
            source = "own binding" if name == "own" else one["Source"]
            rows.append(
                [scan, name, one["Units"], f"{one['Voxels']:,}", _r(one["VarianceInflation"]), source]
            )
        doubtful += [f"{scan} ({', '.join(about['Collinear'])})"] if about.get("Collinear") else []
    section.add(Heading("Connectivity weighted by receptor maps"))
    section.add(
        Prose(
            [
                "Each receptor map was regressed over voxels on every volume of a resting scan, and the time courses of all maps together "
                "on every voxel (REACT; Dipasquale et al. 2019). The maps of regression weights, one volume per receptor, and the "
                "courses are among the derivatives (stat-react_boldmap, desc-react_timeseries)."
            ]
        )
    )
    if doubtful:
        section.add(
            Note(
                f"Maps that resemble each other (variance inflation above 5) in {'; '.join(doubtful)}: their courses belong to no single "
                "receptor.",
                "warn",
            )
        )
    heads = ["Scan", "Map", "Unit", "Voxels", "Variance inflation", "Source"]
    section.add(
        Fold(
            f"Receptor maps by scan ({len(rows)})",
            [
                Table(
                    heads,
                    rows,
                    "Receptor maps by scan.",
                    numeric=("Voxels", "Variance inflation"),
                    compact=True,
                )
            ],
        )
    )


def _dominance(study, section, atlas) -> None:
    path = study.inputs.find("map_dominance", atlas=atlas)
    rows = table(path) if path is not None else None
    if rows is None:
        return
    fits = read_json(str(path).removesuffix(".tsv") + ".json")["Fits"]
    for target, fit in fits.items():
        if fit.get("reason"):
            section.add(Note(f"No dominance analysis of {words(target)}: {fit['reason']}.", "missing"))
    if not len(rows):
        return
    drawn = list(dict.fromkeys(rows["measure"]))
    more = f" {len(drawn) - DRAWN} more are in the table of the derivatives." if len(drawn) > DRAWN else ""
    section.add(
        study.gallery.show(
            dominance_figure(rows, fits),
            f"study_atlas-{atlas}_mapdominance.svg",
            f"Dominance analysis of {min(len(drawn), DRAWN)} maps of the group.",
            "How much of each map of the group the reference maps explain together (title, with p against Moran surrogates), shared "
            "out among them by dominance analysis (bars; they sum to R²), and what each explains alone (marks). Maps that are alike "
            f"share what they explain.{more}",
        )
    )
