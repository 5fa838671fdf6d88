"""The figures of the PET sections: tables and volumes that the stage wrote in, a matplotlib ``Figure`` out.

Nothing is estimated here. Times are minutes after injection, activity is in kBq/mL decay-corrected to injection.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from neurobraid.reports import style
from neurobraid.reports.figures import _bar_ticks, _Canvas, _orthogonal, _overlay, _round_up
from neurobraid.reports.planes import Volume, bounding_box, even_cuts, sheet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.figure import Figure

#: dashes that tell models apart beside their colours, for readers who see few colours and for print
DASHES = ((), (4, 1.5), (1.2, 1.2), (6, 1.5, 1.2, 1.5), (2.5, 2.5), (8, 2), (1, 2.5))


def minutes_of(frames: pd.DataFrame) -> np.ndarray:
    """Middle of every frame, min after injection, from ``frame_start`` and ``frame_end`` in s."""
    return (frames["frame_start"].to_numpy(float) + frames["frame_end"].to_numpy(float)) / 120


def _ends(axes, values: np.ndarray) -> None:
    top = np.nanmax(values) if np.isfinite(values).any() else 1.0
    low = min(0.0, float(np.nanmin(values)) if np.isfinite(values).any() else 0.0)
    axes.set_ylim(low * 1.05, top * 1.08 if top > 0 else 1.0)


def tac_fits(
    minutes: np.ndarray,
    regions: Sequence[tuple[str, np.ndarray, Mapping[str, np.ndarray]]],
    *,
    models: Sequence[str],
    reference: np.ndarray | None = None,
    tstars: Mapping[str, float] | None = None,
    unit: str = "kBq/mL",
) -> Figure:
    """Measured curves of regions with the curve of every model, and below them what the models leave over.

    Parameters
    ----------
    minutes : (F,) ndarray
        Middle of the frames after injection.
    regions : sequence of (str, (F,) ndarray, mapping of str to (F,) ndarray)
        Name, measured curve, and the curve of each model; NaN where a model has none.
    models : sequence of str
        Order and colours of the models.
    reference : (F,) ndarray, optional
        Curve of the reference region, drawn grey.
    tstars : mapping of str to float, optional
        t* of the models that have one (min); drawn as a line from the first frame used on.
    unit : str
    """
    with style.look():
        across = max(1, len(regions))
        figure = style.new_figure(style.WIDTH, 4.6, layout="constrained")
        grid = figure.subplots(
            2, across, squeeze=False, sharex=True, sharey="row", gridspec_kw={"height_ratios": [2.1, 1.0]}
        )
        looks = {
            m: {"color": style.CYCLE[n % len(style.CYCLE)], "dashes": DASHES[n % len(DASHES)]}
            for n, m in enumerate(models)
        }
        handles, left_over, height = {}, [], [np.zeros(1)]
        for column, (name, measured, fits) in enumerate(regions):
            above, below = grid[0, column], grid[1, column]
            if reference is not None:
                (line,) = above.plot(minutes, reference, color=style.SOFT, linewidth=0.9, zorder=1)
                handles.setdefault("reference region", line)
            (points,) = above.plot(
                minutes,
                measured,
                "o",
                color=style.INK,
                markersize=3.2,
                markerfacecolor="white",
                markeredgewidth=0.9,
                zorder=2,
            )
            handles.setdefault("measured", points)
            height.append(np.asarray(measured, float))
            for model in models:
                if model not in fits:
                    continue
                (line,) = above.plot(minutes, fits[model], linewidth=1.3, zorder=3, **looks[model])
                handles.setdefault(model, line)
                residual = np.asarray(measured, float) - np.asarray(fits[model], float)
                below.plot(minutes, residual, linewidth=1.0, **looks[model])
                left_over.append(residual)
            for value in sorted({v for m, v in (tstars or {}).items() if m in fits and v > 0}):
                for axes in (above, below):
                    axes.axvline(value, color=style.SOFT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
            above.set_title(textwrap.shorten(name, 26, placeholder="…"), fontsize=9)
            below.axhline(0, color=style.LINE, linewidth=0.8, zorder=0)
            above.grid(axis="y")
            below.set_xlabel("minutes after injection")
        _ends(grid[0, 0], np.concatenate(height))
        found = np.concatenate(left_over) if left_over else np.zeros(1)
        # the first frames of a bolus leave more than any other: they must not flatten the rest
        reach = float(np.nanpercentile(np.abs(found), 98)) if np.isfinite(found).any() else 1.0
        grid[1, 0].set_ylim(-1.35 * reach or -1, 1.35 * reach or 1)
        grid[0, 0].set_xlim(left=0)
        grid[0, 0].set_ylabel(f"activity ({unit})")
        grid[1, 0].set_ylabel(f"measured − fit\n({unit})")
        figure.legend(
            handles.values(), handles.keys(), loc="outside upper left", ncols=min(9, len(handles)),
            handlelength=2.4, columnspacing=1.4,
        )  # fmt: skip
        return figure


def graphical(
    panels: Sequence[tuple[str, str, str, float, Sequence[tuple[str, pd.DataFrame, float, float]]]],
) -> Figure:
    """Plots of the models that are read off a straight line: Logan, MA1, Patlak.

    Parameters
    ----------
    panels : sequence of (model, x label, y label, t*, regions)
        t* in min after injection; a region is its name, its points (``x``, ``y``, ``used``), and slope and intercept of
        its line, NaN where there is none.
    """
    with style.look():
        across = min(3, max(1, len(panels)))
        down = -(-len(panels) // across)
        figure = style.new_figure(style.WIDTH, 3.3 * down + 0.35, layout="constrained")
        grid = figure.subplots(down, across, squeeze=False)
        handles = {}
        for axes, (model, xlabel, ylabel, tstar, regions) in zip(grid.ravel(), panels, strict=False):
            corner = []
            for (name, points, slope, intercept), colour in zip(regions, style.CYCLE * 2, strict=False):
                x, y = points["x"].to_numpy(float), points["y"].to_numpy(float)
                used = (points["used"].to_numpy(int) == 1) & np.isfinite(x) & np.isfinite(y)
                early = ~used & np.isfinite(x) & np.isfinite(y)
                axes.plot(
                    x[early],
                    y[early],
                    "o",
                    color=colour,
                    markersize=3.2,
                    markerfacecolor="white",
                    markeredgewidth=0.8,
                )
                (line,) = axes.plot(x[used], y[used], "o", color=colour, markersize=3.6)
                handles.setdefault(name, line)
                if used.any():
                    corner.append((x[used].max(), y[used].max()))
                    if np.isfinite(slope) and np.isfinite(intercept):
                        ends = np.array([x[used].min(), x[used].max()])
                        axes.plot(ends, intercept + slope * ends, color=colour, linewidth=1.2)
            if corner:
                # points before t* of curves near zero may lie anywhere
                right, top = np.max(corner, axis=0)
                axes.set_xlim(0, 1.06 * right)
                axes.set_ylim(0, 1.1 * top)
            when = f", t* = {tstar:.1f} min" if np.isfinite(tstar) else ""
            axes.set_title(f"{model}{when}", fontsize=9.5)
            axes.set_xlabel(xlabel)
            axes.set_ylabel(ylabel)
            axes.grid()
        for axes in grid.ravel()[len(panels) :]:
            axes.set_axis_off()
        figure.legend(
            handles.values(), handles.keys(), loc="outside upper left", ncols=min(6, len(handles)),
            handlelength=1.2, columnspacing=1.4,
        )  # fmt: skip
        return figure


INPUT_LINES = (
    ("whole_blood_radioactivity", "whole blood", style.VERMILION, "s"),
    ("plasma_radioactivity", "plasma", style.BLUE, "o"),
    ("AIF", "plasma, parent tracer only", style.GREEN, ""),
)
#: end of the panel that shows the peak, min after injection
PEAK_MIN = 5.0


def input_function(
    table: pd.DataFrame, samples: pd.DataFrame | None = None, *, delay_s: float = 0.0, end_min: float = 90.0
) -> Figure:
    """Arterial input function: its peak, its whole course, and the parent fraction, with the samples behind them.

    Parameters
    ----------
    table : pandas.DataFrame
        ``time`` (s after injection), ``whole_blood_radioactivity``, ``plasma_radioactivity``, ``AIF`` (kBq/mL),
        ``metabolite_parent_fraction``.
    samples : pandas.DataFrame, optional
        The same columns as measured; drawn as points, earlier by the delay.
    delay_s : float
        Delay that was taken off, s.
    end_min : float
        End of the scan, min.
    """
    with style.look():
        figure = style.new_figure(style.WIDTH, 3.4, layout="constrained")
        peak, whole, parent = figure.subplots(1, 3)
        t = table["time"].to_numpy(float) / 60
        at = None if samples is None or not len(samples) else (samples["time"].to_numpy(float) - delay_s) / 60
        handles = {}
        for column, label, colour, marker in INPUT_LINES:
            if column not in table:
                continue
            values = table[column].to_numpy(float)
            for axes in (peak, whole):
                shown = values if axes is peak else np.where(values > 0, values, np.nan)
                (line,) = axes.plot(t, shown, color=colour, linewidth=1.3)
                handles.setdefault(label, line)
                if at is not None and marker and column in samples:
                    axes.plot(
                        at,
                        samples[column].to_numpy(float),
                        marker,
                        color=colour,
                        markersize=3.2,
                        markerfacecolor="white",
                        markeredgewidth=0.9,
                    )
        peak.set_xlim(0, PEAK_MIN)
        peak.set_ylim(bottom=0)
        peak.set_title("Peak", fontsize=9.5)
        whole.set_yscale("log")
        whole.set_xlim(0, end_min)
        late = table.loc[(t > 1) & (t <= end_min), [c for c, *_ in INPUT_LINES if c in table]].to_numpy(float)
        good = late[np.isfinite(late) & (late > 0)]
        if good.size:
            tops = [float(np.nanmax(table[c])) for c, *_ in INPUT_LINES if c in table]
            whole.set_ylim(0.7 * good.min(), 1.6 * max(tops))
            low, high = whole.get_ylim()
            steps = [m * 10.0**n for n in range(-3, 6) for m in (1, 2, 5)]
            steps = [s for s in steps if low <= s <= high]
            whole.set_yticks(steps, [f"{s:g}" for s in steps])
            whole.set_yticks([], minor=True)
        whole.set_title("Whole scan, logarithmic", fontsize=9.5)
        for axes in (peak, whole):
            axes.set_xlabel("minutes after injection")
            axes.set_ylabel("activity (kBq/mL)")
            axes.grid(axis="y")
        fraction = table.get("metabolite_parent_fraction")
        if fraction is not None and fraction.notna().any():
            parent.plot(t, fraction.to_numpy(float), color=style.GREEN)
            if at is not None and "metabolite_parent_fraction" in samples:
                parent.plot(
                    at,
                    samples["metabolite_parent_fraction"].to_numpy(float),
                    "o",
                    color=style.GREEN,
                    markersize=4,
                    markerfacecolor="white",
                )
        else:
            parent.text(
                0.5,
                0.5,
                "not measured",
                transform=parent.transAxes,
                ha="center",
                va="center",
                color=style.SOFT,
            )
        parent.set_xlim(0, end_min)
        parent.set_ylim(0, 1.05)
        parent.set_title("Parent fraction", fontsize=9.5)
        parent.set_xlabel("minutes after injection")
        parent.set_ylabel("share of plasma activity")
        parent.grid(axis="y")
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=len(handles))
        return figure


def before_and_after(
    before: pd.Series, after: pd.Series, *, label: str, names: tuple[str, str], count: int = 30
) -> Figure:
    """Regional values before and after a correction, joined by a line, the largest after it first.

    Parameters
    ----------
    before, after : pandas.Series
        Indexed by region.
    label : str
        Axis label with unit.
    names : (str, str)
        What the two are.
    count : int
        Regions shown.
    """
    with style.look():
        top = after.dropna().sort_values(ascending=False).head(count)
        first = before.reindex(top.index).to_numpy(float)
        figure = style.new_figure(style.WIDTH, 3.5, layout="constrained")
        axes = figure.subplots()
        x = np.arange(len(top))
        axes.vlines(x, first, top.to_numpy(float), color=style.SOFT, linewidth=1.2, zorder=1)
        axes.plot(
            x, first, "o", color=style.SOFT, markersize=4.2, markerfacecolor="white", label=names[0], zorder=2
        )
        axes.plot(x, top.to_numpy(float), "o", color=style.BLUE, markersize=4.8, label=names[1], zorder=3)
        axes.set_xticks(x, top.index, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
        axes.set_ylabel(label)
        axes.set_xlim(-0.8, len(top) - 0.2)
        axes.grid(axis="y")
        axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
        return figure


def motion_profiles(table: pd.DataFrame, frames: pd.DataFrame, fd: np.ndarray | None = None) -> Figure:
    """Activity along three lines through the head in every frame, before and after the correction of motion.

    Parameters
    ----------
    table : pandas.DataFrame
        ``correction`` (before, after), ``axis``, ``position_mm`` and one column per frame (``frame_0`` …), kBq/mL.
    frames : pandas.DataFrame
        ``frame_start``, ``frame_end`` in s after injection.
    fd : (F,) ndarray, optional
        Framewise displacement, mm, drawn below on the same axis of frames.
    """
    with style.look():
        columns = [c for c in table if c.startswith("frame_")]
        count = len(columns)
        figure = style.new_figure(style.WIDTH, 4.6 if fd is not None else 3.8, layout="constrained")
        figure.get_layout_engine().set(h_pad=0.03, w_pad=0.04)
        ratios = [1, 1, *([0.5] if fd is not None else [])]
        grid = figure.subplots(len(ratios), 3, sharex=True, gridspec_kw={"height_ratios": ratios})
        minutes = minutes_of(frames)
        ticks = np.unique(np.linspace(0, count - 1, min(count, 6)).astype(int))
        words = {"x": "x: left to right (mm)", "y": "y: back to front (mm)", "z": "z: foot to head (mm)"}
        for column, axis in enumerate("xyz"):
            mine = table[table["axis"] == axis]
            both = mine[columns].to_numpy(float)
            unit = np.maximum(np.nanpercentile(both, 98, axis=0), 1e-9)
            for row, kind in enumerate(("before", "after")):
                part = mine[mine["correction"] == kind]
                at = part["position_mm"].to_numpy(float)
                axes = grid[row, column]
                if not len(at):
                    axes.set_axis_off()
                    continue
                step = (at[-1] - at[0]) / max(len(at) - 1, 1)
                axes.imshow(
                    part[columns].to_numpy(float) / unit,
                    cmap="gray",
                    vmin=0,
                    vmax=1.05,
                    aspect="auto",
                    origin="lower",
                    extent=(-0.5, count - 0.5, at[0] - step / 2, at[-1] + step / 2),
                )
                axes.set_ylabel(words[axis], fontsize=8)
                for side in ("left", "bottom"):
                    axes.spines[side].set_visible(False)
                axes.set_title(f"{kind} correction", fontsize=8.5, weight="normal", pad=2)
            if fd is not None:
                axes = grid[2, column]
                axes.step(np.arange(count), fd[:count], where="mid", color=style.INK, linewidth=1)
                axes.set_ylabel("FD (mm)", fontsize=8)
                top = np.nanmax(fd) if np.isfinite(fd).any() else 1.0
                axes.set_ylim(0, 1.15 * top if top > 0 else 1)
                axes.grid(axis="y")
            last = grid[-1, column]
            last.set_xticks(
                ticks, [f"{minutes[n]:.0f}" if minutes[n] >= 1 else f"{minutes[n]:.1f}" for n in ticks]
            )
            last.set_xlabel("middle of the frame (min after injection)", fontsize=8)
        return figure


def both_ways(
    petref: Volume,
    t1w: Volume,
    names: tuple[str, str],
    lines: Sequence[tuple[str, str, Volume]],
    levels: Sequence[tuple[str, str, float]],
    mask: Volume,
    near: Volume,
) -> tuple[Figure, Figure]:
    """PET under the edges of the T1w, and the T1w under the edges of the PET.

    Parameters
    ----------
    petref : Volume
        With its ``matrix``: points of the T1w to points of the PET reference.
    t1w : Volume
    names : (str, str)
        Headings.
    lines : sequence of (str, str, Volume)
        Name, colour and a map, 0 to 1, of the T1w whose edge is drawn on the PET.
    levels : sequence of (str, str, float)
        Name, colour and activity of the edges of the PET drawn on the T1w.
    mask, near : Volume
        Brain mask of the T1w, which sets the view, and the distance from it, mm.

    Returns
    -------
    Figure and Figure
        Of one size, to be shown in turn.
    """
    drawn = _orthogonal(bounding_box(mask, margin=6.0), 6, 3, 3)
    # an edge is drawn where a map crosses one half
    edges = [(name, colour, petref.with_data(petref.data / (2 * level))) for name, colour, level in levels]
    return (
        _overlay(petref, names[0], drawn, near, lines, reach=6.0),
        _overlay(t1w, names[1], drawn, near, edges, reach=6.0),
    )


def edge_levels(petref: Volume, mask: Volume) -> tuple[float, float]:
    """Activity of the outer edge of the brain, and of the tissue that takes up most.

    Half of the median of the brain lies at its edge; the second is half-way between the median and the 99th percentile.

    Parameters
    ----------
    petref : Volume
        With its ``matrix``.
    mask : Volume
        Brain mask of the T1w.
    """
    from neurobraid.images.transforms import apply_affine
    from neurobraid.reports.planes import sample

    where = apply_affine(mask.affine, np.argwhere(np.nan_to_num(mask.data) > 0.5)[::7])
    values = sample(petref, where, fill=0.0) if len(where) else np.ones(1)
    middle, high = float(np.median(values)), float(np.percentile(values, 99))
    middle = middle if middle > 0 else max(high, 1e-6)
    return 0.5 * middle, max(0.5 * (middle + high), 1.2 * middle)


#: colour of voxels whose fit is not to be believed: none of the colours of the maps
INVALID = "#35d0ba"


def parametric_maps(
    rows: Sequence[tuple[str, Volume, Volume | None, str, tuple[float, float]]],
    background: Volume,
    mask: Volume,
    near: Volume,
    *,
    count: int = 8,
) -> Figure:
    """Maps over anatomy, one row with its own scale per map; voxels not to be believed in a colour of their own.

    Parameters
    ----------
    rows : sequence of (str, Volume, Volume or None, str, (float, float))
        Heading, map (0 where there is no value), mask of the voxels to be believed, colour-bar heading with unit, and the
        ends of the colour scale. Values below a twentieth of the scale are left transparent.
    background : Volume
    mask : Volume
        Brain mask; sets the view.
    near : Volume
        Distance from the brain, mm.
    count : int
        Axial cuts.
    """
    with style.look():
        import matplotlib
        from matplotlib.colors import ListedColormap

        box = bounding_box(mask, margin=3.0)
        drawn = sheet([even_cuts(box, "z", count, (0.2, 0.1))], box)
        canvas = _Canvas([drawn] * len(rows), [row[0] for row in rows], bars=len(rows))
        cmap, doubtful = matplotlib.colormaps["inferno"], ListedColormap([INVALID])
        inside = drawn.read(mask, fill=0.0) > 0.5
        for number, (_, values, valid, label, limits) in enumerate(rows):
            axes, bar = canvas.axes[number], canvas.bars[number]
            canvas.grey(number, drawn, background, near, reach=3.0)
            picture = drawn.read(values, fill=0.0)
            start = limits[0] + 0.05 * (limits[1] - limits[0])
            shown = np.where(inside & (picture > start), picture, np.nan)
            axes.imshow(shown, cmap=cmap, vmin=limits[0], vmax=limits[1], aspect="auto")
            if valid is not None:
                doubt = inside & (drawn.read(values, order=0, fill=0.0) != 0)
                doubt &= drawn.read(valid, order=0, fill=0.0) < 0.5
                axes.imshow(np.where(doubt, 1.0, np.nan), cmap=doubtful, vmin=0, vmax=1, aspect="auto")
            gradient = np.linspace(*limits, 256)[:, None]
            bar.imshow(gradient, origin="lower", extent=(0, 1, *limits), aspect="auto", cmap=cmap)
            _bar_ticks(bar, np.linspace(*limits, 3), label)
        return canvas.figure


def scale_of(
    volumes: Sequence[Volume], masks: Sequence[Volume | None], share: float = 99.5
) -> tuple[float, float]:
    """Ends of a colour scale that serves several maps: 0 and a round number above most of their valid voxels.

    Parameters
    ----------
    volumes : sequence of Volume
    masks : sequence of Volume or None
        Voxels to be believed, on the grid of their map.
    share : float
        Percentile of the positive voxels.
    """
    tops = []
    for volume, mask in zip(volumes, masks, strict=True):
        good = np.isfinite(volume.data) & (volume.data > 0)
        if mask is not None and mask.data.shape == volume.data.shape:
            good &= mask.data > 0.5
        if good.any():
            tops.append(float(np.percentile(volume.data[good], share)))
    # one model that went astray must not darken the others
    return 0.0, _round_up(float(np.median(tops))) if tops else 1.0
