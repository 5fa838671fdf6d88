"""Figures of a model's page: who is in it, how well it predicts whom, what it rests on, and how many people it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurobraid.reports import style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure

DASHED = (0, (4, 2))


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def flow(steps: Sequence[tuple[str, int]], last: Sequence[str]) -> Figure:
    """Boxes from everyone to those in the model, and beside them how many left at each step.

    Parameters
    ----------
    steps : sequence of (str, int)
        What is asked for, and how many people are left then.
    last : sequence of str
        What becomes of those who are left (classes, folds), in boxes below.
    """
    import textwrap

    with style.look():
        from matplotlib.patches import FancyBboxPatch

        rows = len(steps) + bool(last)
        figure = style.new_figure(style.WIDTH, 0.86 * rows + 0.1)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, 100)
        axes.set_ylim(rows, 0)
        axes.set_axis_off()

        def box(x, y, width, text, colour, weight="normal"):
            patch = FancyBboxPatch(
                (x, y + 0.14), width, 0.66, boxstyle="round,pad=0,rounding_size=0.08", facecolor=colour,
                edgecolor=style.LINE, linewidth=0.8, mutation_aspect=0.12,
            )  # fmt: skip
            axes.add_patch(patch)
            lines = textwrap.fill(text, max(int(width * 1.25), 12))
            axes.text(x + width / 2, y + 0.47, lines, ha="center", va="center", fontsize=9, fontweight=weight)

        def arrow(start, end):
            kind = {"arrowstyle": "-|>", "color": style.SOFT, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", end, start, arrowprops=kind)

        before = None
        for place, (words, left) in enumerate(steps):
            box(6, place, 52, f"{left} {words}", "#eef3f6", "bold" if place == len(steps) - 1 else "normal")
            if before is not None:
                arrow((32, place - 0.2), (32, place + 0.14))
                if before > left:
                    axes.plot([32, 68], [place - 0.02] * 2, color=style.SOFT, linewidth=1)
                    box(68, place - 0.5, 28, f"{before - left} left out: not {words}", "#fdf3e6")
            before = left
        for place, words in enumerate(last):
            width = (100 - 6) / len(last) - 3
            x = 3 + place * (width + 3)
            arrow((32, len(steps) - 0.2), (x + width / 2, len(steps) + 0.14))
            box(x, len(steps), width, words, "#e8f4ef")
        return figure


def forest(rows: Sequence[Mapping], *, label: str, line: float | None = None, words: str = "") -> Figure:
    """Values with intervals, one line each; further values of a line are drawn hollow below it.

    Parameters
    ----------
    rows : sequence of mapping
        ``name``, ``value``, ``low``, ``high``; optionally ``group`` (a heading before the first of a group), ``remark`` (right of
        the line) and ``second`` = (value, low, high).
    label : str
        Of the axis.
    line : float, optional
        Drawn dashed.
    words : str
        At the line.
    """
    with style.look():
        heads = []
        for number, row in enumerate(rows):
            if row.get("group") and (not number or rows[number - 1].get("group") != row["group"]):
                heads.append(number)
        height = 0.27 * (len(rows) + len(heads)) + 0.95
        figure = style.new_figure(style.WIDTH, height, layout="constrained")
        axes = figure.subplots()
        y, ticks, names = 0.0, [], []
        for number, row in enumerate(rows):
            if number in heads:
                axes.text(0, y, row["group"], transform=axes.get_yaxis_transform(), fontsize=8.5, fontweight="bold",
                          va="center", ha="left", color=style.SOFT, zorder=4,
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
                y += 1
            for (value, low, high), shift, face in (
                ((row["value"], row["low"], row["high"]), 0.0, style.BLUE),
                (row.get("second") or (np.nan,) * 3, 0.28, "white"),
            ):
                if not np.isfinite(value):
                    continue
                colour = style.BLUE if face != "white" else style.VERMILION
                if np.isfinite(low) and np.isfinite(high):
                    axes.plot([low, high], [y + shift] * 2, color=colour, linewidth=1.8, alpha=0.5,
                              solid_capstyle="butt")  # fmt: skip
                axes.plot(value, y + shift, "o", markersize=5, markerfacecolor=face, markeredgecolor=colour)
            if row.get("remark"):
                axes.text(1.01, y, row["remark"], transform=axes.get_yaxis_transform(), fontsize=7.5,
                          va="center", color=style.SOFT)  # fmt: skip
            ticks.append(y)
            names.append(row["name"])
            y += 1
        axes.set_yticks(ticks, names)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(y - 0.35, -0.75)
        axes.grid(axis="x")
        if line is not None:
            axes.axvline(line, color=style.VERMILION, linewidth=0.9, linestyle=DASHED)
            axes.text(line, -0.78, words, color=style.VERMILION, fontsize=8, ha="center", va="bottom")
        axes.set_xlabel(label)
        return figure


def roc_and_precision(curves: Mapping, *, positive: str) -> Figure:
    """ROC curve and precision-recall curve of held-out scores.

    Parameters
    ----------
    curves : mapping
        From the summary of a model.
    positive : str
        Name of the positive class.
    """
    with style.look():
        figure = style.new_figure(style.WIDTH, 4.0, layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], [0, 1], color=style.SOFT, linestyle=DASHED, linewidth=1)
        left.step(curves["false_positive"], curves["true_positive"], where="post", color=style.BLUE)
        left.set(xlabel="false-positive rate", ylabel="true-positive rate")
        left.set_title(f"ROC: area {curves['auc']:.2f}")
        left.text(0.62, 0.56, "no information", color=style.SOFT, fontsize=8, rotation=45, ha="center", va="center",
                  rotation_mode="anchor", transform_rotates_text=True)  # fmt: skip
        right.axhline(curves["prevalence"], color=style.SOFT, linestyle=DASHED, linewidth=1)
        right.text(
            0.02,
            curves["prevalence"] - 0.02,
            "no information (prevalence)",
            color=style.SOFT,
            fontsize=8,
            va="top",
        )
        right.step(
            [0.0, *curves["recall"]],
            [curves["precision"][0], *curves["precision"]],
            where="pre",
            color=style.BLUE,
        )
        right.set(
            xlabel=f"recall: share of {positive} found",
            ylabel=f"precision: share of {positive} among those called",
        )
        right.set_title(f"Precision and recall: area {curves['average_precision']:.2f}")
        for axes in (left, right):
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
            axes.grid()
        left.set_aspect("equal")
        return figure


def decision(points: Sequence[Mapping], *, positive: str) -> Figure:
    """Net benefit of acting on the prediction, on everybody and on nobody, by threshold.

    Parameters
    ----------
    points : sequence of mapping
        ``threshold``, ``model``, ``all``.
    positive : str
    """
    with style.look():
        figure = style.new_figure(style.WIDTH, 3.1, layout="constrained")
        axes = figure.subplots()
        x = [p["threshold"] for p in points]
        axes.axhline(0, color=style.SOFT, linewidth=1)
        axes.plot(
            x, [p["all"] for p in points], color=style.ORANGE, linestyle=DASHED, label="act on everybody"
        )
        axes.plot(
            x,
            [p["model"] for p in points],
            color=style.BLUE,
            marker="o",
            markersize=4,
            label="act on the model",
        )
        low = min(min(p["model"] for p in points), -0.05)
        axes.set_ylim(low - 0.05, max(max(p["model"], p["all"]) for p in points) + 0.05)
        axes.set_xlim(min(x), max(x))
        axes.text(max(x), 0.006, "act on nobody", ha="right", va="bottom", fontsize=8, color=style.SOFT)
        axes.set(
            xlabel=f"probability of {positive} from which one acts",
            ylabel="net benefit\n(true positives per person)",
        )
        axes.legend(loc="upper right")
        axes.grid()
        return figure


def learning(curve: Mapping, *, label: str, chance: float | None = None) -> Figure:
    """Score against the number of training people, with the inverse-power fit and the number that is needed.

    Parameters
    ----------
    curve : mapping
        ``points`` (people, score, low, high), ``ceiling``, ``b``, ``c``, ``needed``; the last four None without a fit.
    label : str
    chance : float, optional
    """
    with style.look():
        figure = style.new_figure(style.WIDTH, 3.4, layout="constrained")
        axes = figure.subplots()
        points = curve["points"]
        n, score = (np.array([float(p[k]) for p in points]) for k in ("people", "score"))
        last = n[-1]
        for p in points:
            low, high = p.get("low"), p.get("high")
            if isinstance(low, float) and isinstance(high, float) and np.isfinite(low) and np.isfinite(high):
                axes.plot([p["people"]] * 2, [low, high], color=style.BLUE, alpha=0.5, linewidth=2)
        axes.plot(n, score, "o", color=style.BLUE, markersize=6, markeredgecolor="white", label="measured")
        ends = [*score]
        if isinstance(curve.get("ceiling"), float):
            needed = float(curve["needed"])
            far = min(1.15 * needed, 20 * last)
            x = np.geomspace(n[0] * 0.8, far, 200)
            y = curve["ceiling"] - curve["b"] * x ** -curve["c"]
            inside = x <= last
            axes.plot(x[inside], y[inside], color=style.BLUE)
            axes.plot(
                x[~inside],
                y[~inside],
                color=style.BLUE,
                linestyle=DASHED,
                label="fit, beyond the data dashed",
            )
            axes.axhline(curve["ceiling"], color=style.GREEN, linewidth=1)
            axes.text(n[0] * 0.8, curve["ceiling"], f"ceiling {curve['ceiling']:.2f}", color=style.GREEN, fontsize=8,
                      va="bottom")  # fmt: skip
            ends.append(curve["ceiling"])
            if needed <= far:
                height = curve["ceiling"] - curve["b"] * needed ** -curve["c"]
                axes.plot(
                    needed,
                    height,
                    "D",
                    color=style.ORANGE,
                    markersize=6,
                    label=f"half of what is left: {needed:.0f}",
                )
            axes.set_xscale("log")
            ticks = [
                t for t in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if n[0] * 0.8 <= t <= far
            ]
            axes.set_xticks(ticks, [str(t) for t in ticks])
            axes.minorticks_off()
        if chance is not None:
            axes.axhline(chance, color=style.VERMILION, linewidth=0.9, linestyle=DASHED)
            axes.text(axes.get_xlim()[1], chance, f"no information: {chance:g} ", color=style.VERMILION, fontsize=8,
                      ha="right", va="bottom")  # fmt: skip
        axes.set(xlabel="training people", ylabel=label)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.grid()
        return figure


def null_distribution(
    null: np.ndarray, observed: float, *, label: str, chance: float | None = None
) -> Figure:
    """Scores with permuted labels, and the real one.

    Parameters
    ----------
    null : (M,) ndarray
    observed : float
    label : str
    chance : float, optional
    """
    with style.look():
        from matplotlib.ticker import MaxNLocator

        figure = style.new_figure(style.WIDTH, 2.7, layout="constrained")
        axes = figure.subplots()
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        null = null[np.isfinite(null)]
        # bars never thinner than a hundredth of the axis, however far the real score is
        share = np.ptp(null) / max(np.ptp(np.r_[null, observed]), 1e-12)
        bins = int(np.clip(min(len(null) / 5, 100 * share), 3, 40))
        axes.hist(
            null,
            bins=bins,
            color=style.SOFT,
            alpha=0.55,
            edgecolor="white",
            linewidth=0.5,
            label="labels permuted",
        )
        axes.axvline(
            observed, color=style.BLUE, linewidth=2, label=f"real labels: {_minus(f'{observed:.2f}')}"
        )
        if chance is not None:
            axes.axvline(
                chance,
                color=style.VERMILION,
                linewidth=0.9,
                linestyle=DASHED,
                label=f"no information: {chance:g}",
            )
        axes.set(xlabel=label, ylabel="permutations")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return figure


def patterns(panels: Sequence[tuple[str, Sequence[Mapping]]], *, count: int = 12) -> Figure:
    """The largest patterns of every feature set.

    Parameters
    ----------
    panels : sequence of (str, sequence of mapping)
        Name, and features with ``name``, ``pattern``, ``sign``, ``p_fwe``, largest first.
    count : int
        Features of a panel.
    """
    with style.look():
        columns = min(len(panels), 3)
        rows = -(-len(panels) // columns)
        tall = max(min(len(features), count) for _, features in panels)
        figure = style.new_figure(style.WIDTH, rows * (0.25 * tall + 0.9), layout="constrained")
        grid = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
        reach = max(abs(f["pattern"]) for _, features in panels for f in features[:count]) * 1.15
        for axes, (name, features) in zip(grid, panels, strict=False):
            shown = list(features[:count])
            for y, one in enumerate(shown):
                clear = np.isfinite(one["p_fwe"]) and one["p_fwe"] <= 0.05
                colour = style.VERMILION if one["pattern"] > 0 else style.BLUE
                axes.barh(y, one["pattern"], color=colour, alpha=1.0 if clear else 0.45, height=0.72)
                if clear:
                    side = 1 if one["pattern"] > 0 else -1
                    axes.text(
                        one["pattern"] + side * 0.02 * reach, y, "*", ha="center", va="center", fontsize=11
                    )
            axes.axvline(0, color=style.SOFT, linewidth=0.8)
            axes.set_yticks(range(len(shown)), [str(f["name"]) for f in shown], fontsize=7)
            axes.set_ylim(tall - 0.4, -0.6)
            axes.set_xlim(-reach, reach)
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.grid(axis="x")
            axes.set_title(name)
            axes.set_xlabel("pattern (r)")
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        return figure


def pairs(names: Sequence[str], values: np.ndarray, *, label: str) -> Figure:
    """Value of every pair of a few networks, as a matrix with its numbers.

    Parameters
    ----------
    names : sequence of str
    values : (N, N) ndarray
    label : str
        Of the colour bar.
    """
    with style.look():
        import matplotlib

        size = min(1.9 + 0.42 * len(names), 6.0)
        figure = style.new_figure(size * 1.25, size, layout="constrained")
        axes = figure.subplots()
        top = float(np.nanmax(np.abs(values))) or 1.0
        cmap = matplotlib.colormaps["RdBu_r"].with_extremes(bad="#c9ced4")
        image = axes.imshow(values, cmap=cmap, vmin=-top, vmax=top)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if len(names) <= 12:
            for (row, column), value in np.ndenumerate(values):
                if np.isfinite(value):
                    ink = "white" if abs(value) > 0.65 * top else style.INK
                    axes.text(
                        column, row, _minus(f"{value:.2f}"), ha="center", va="center", fontsize=7, color=ink
                    )
        figure.colorbar(image, ax=axes, label=label, shrink=0.8, pad=0.02)
        return figure
