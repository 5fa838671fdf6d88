"""The figures of the report pages: arrays and tables in, a matplotlib ``Figure`` out; nothing is computed anew.

Every function draws from what a stage has already estimated. Units stand on the axes, thresholds in the colour bars.
Anatomical pictures have left on the left and are cut in millimetres (see `neurobraid.reports.planes`).
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from neurobraid.images.atlas import networks
from neurobraid.reports import style
from neurobraid.reports.planes import SHOWN_MM, Cut, Sheet, Volume, bounding_box, even_cuts, sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure

#: part of MNI space that holds the brain of the template, mm
MNI_BOX = np.array([[-80.0, -114.0, -72.0], [80.0, 80.0, 88.0]])
TISSUES = {"GM": (1, style.BLUE), "WM": (2, style.ORANGE), "CSF": (3, style.GREEN)}

#: the same colours, bright enough for thin lines on dark anatomy
LINES = {"GM": style.SKY, "WM": style.ORANGE, "CSF": style.LIME}


def _scale(values: np.ndarray, low: float = 1.0, high: float = 99.7) -> tuple[float, float]:
    """Display limits from percentiles of the positive finite values."""
    good = values[np.isfinite(values) & (values > 0)]
    if not good.size:
        return 0.0, 1.0
    bottom, top = np.percentile(good, [low, high])
    return (float(bottom), float(top)) if top > bottom else (float(bottom) - 1, float(top) + 1)


class _Canvas:
    """A figure holding sheets of cuts on black, stacked, with room on the right for colour bars."""

    def __init__(
        self, sheets: Sequence[Sheet], titles: Sequence[str] = (), bars: int = 0, width: float = style.WIDTH
    ):
        ratio = [s.shape[0] / s.shape[1] for s in sheets]
        strip = 0.85 * bool(bars)
        title = 0.24 if any(titles) else 0.0
        inner = width - strip
        heights = [inner * r for r in ratio]
        total = sum(heights) + title * len(sheets) + 0.05 * (len(sheets) - 1)
        self.figure = style.new_figure(width, total)
        self.axes, self.bars = [], []
        top = total
        for number, height in enumerate(heights):
            top -= title
            axes = self.figure.add_axes([0, (top - height) / total, inner / width, height / total])
            axes.set_facecolor("black")
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            if number < len(titles) and titles[number]:
                self.figure.text(
                    0.0, (top + 0.07) / total, titles[number], fontsize=9.5, weight="bold", va="bottom"
                )
            self.axes.append(axes)
            top -= height + 0.05
        for number in range(bars):
            share = 1 / bars
            bottom = 1 - (number + 1) * share + 0.12 * share
            self.bars.append(
                self.figure.add_axes([(inner + 0.12) / width, bottom, 0.14 / width, share * 0.7])
            )

    def grey(
        self,
        number: int,
        drawn: Sheet,
        volume: Volume,
        near: Volume,
        limits: tuple[float, float] | None = None,
        reach: float = SHOWN_MM,
    ) -> None:
        """Draw a volume in grey as far as it is near the brain (mm), and the names of the cuts.

        There is no way to draw a head without ``near``, so no figure can show a face.
        """
        values = np.where(drawn.near(near, min(reach, SHOWN_MM)), drawn.read(volume, fill=0.0), 0.0)
        bottom, top = limits or _scale(values)
        axes = self.axes[number]
        axes.imshow(values, cmap="gray", vmin=bottom, vmax=top, aspect="auto")
        self.name_cuts(number, drawn)

    def name_cuts(self, number: int, drawn: Sheet) -> None:
        """Write the position of every cut, and which side is which."""
        axes = self.axes[number]
        for row, column, cut in drawn.places:
            self._label(axes, column + 3, row + 3, cut.label, "top", "left")
        for row, left, right in drawn.rows():
            self._label(axes, left + 3, row - 3, "L", "bottom", "left")
            self._label(axes, right - 3, row - 3, "R", "bottom", "right")

    def legend(self, number: int, entries: Sequence[tuple[str, str]]) -> None:
        """Name the colours of a sheet's lines at the right end of its heading."""
        from matplotlib.lines import Line2D

        handles = [Line2D([], [], color=colour, linewidth=2.4, label=name) for name, colour in entries]
        self.axes[number].legend(
            handles=handles, ncols=len(handles), loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.15,
            borderpad=0.1, handlelength=1.4, columnspacing=1.4, fontsize=8.5,
        )  # fmt: skip

    @staticmethod
    def _label(axes, x: float, y: float, text: str, va: str, ha: str) -> None:
        from matplotlib.patheffects import withStroke

        # white on black rim: readable over air and over bright scalp
        rim = [withStroke(linewidth=2.2, foreground="black")]
        axes.text(x, y, text, color="white", fontsize=7, va=va, ha=ha, path_effects=rim)

    def contour(
        self, number: int, values: np.ndarray, colour: str, level: float = 0.5, width: float = 0.8
    ) -> None:
        """Outline where a canvas of values crosses a level; nothing is drawn if it never does."""
        values = np.nan_to_num(values)
        if values.max() > level > values.min():
            self.axes[number].contour(
                values, levels=[level], colors=[colour], linewidths=width, antialiased=True
            )


def _orthogonal(box: np.ndarray, axial: int, coronal: int, sagittal: int, spacing: float = 1.0) -> Sheet:
    """Two rows: axial cuts, and coronal and sagittal cuts, of a box."""
    middle = _middle(box)
    # to the side of the midline: there is no cortex to judge in the fissure
    across = [
        Cut("x", middle + 8) if abs(cut.at - middle) < 8 else cut
        for cut in even_cuts(box, "x", sagittal, (0.24, 0.24))
    ]
    return sheet(
        [even_cuts(box, "z", axial), [*even_cuts(box, "y", coronal, (0.16, 0.16)), *across]], box, spacing
    )


def brain_outline(t1w: Volume, mask: Volume, near: Volume) -> Figure:
    """T1-weighted image with the outline of the brain mask, in three planes.

    Parameters
    ----------
    t1w : Volume
        Bias-corrected head.
    mask : Volume
        Brain mask, 0 or 1.
    near : Volume
        Distance from the brain mask, mm (`neurobraid.reports.planes.distance_from`); farther parts stay black.
    """
    with style.look():
        drawn = _orthogonal(bounding_box(mask, margin=13.0), 7, 4, 3)
        canvas = _Canvas([drawn], ["T1w"])
        canvas.grey(0, drawn, t1w, near)
        canvas.contour(0, drawn.read(mask, fill=0.0), style.ORANGE, width=1.1)
        canvas.legend(0, [("brain mask", style.ORANGE)])
        return canvas.figure


def tissue_outlines(t1w: Volume, mask: Volume, tissue: Volume, near: Volume) -> Figure:
    """T1-weighted image with the outlines of the three tissue classes, in three planes.

    Parameters
    ----------
    t1w : Volume
        Bias-corrected head.
    mask : Volume
        Brain mask, 0 or 1; sets the view.
    tissue : Volume
        Labels 1 grey matter, 2 white matter, 3 cerebrospinal fluid.
    near : Volume
        Distance from the brain mask, mm.
    """
    with style.look():
        drawn = _orthogonal(bounding_box(mask, margin=3.0), 5, 3, 2, spacing=0.8)
        canvas = _Canvas([drawn], ["T1w"])
        canvas.grey(0, drawn, t1w, near, reach=3.0)
        # outlines on top of each other are drawn from the outside in, so that the thin white matter is not hidden
        for name in ("CSF", "GM", "WM"):
            canvas.contour(
                0, drawn.read(labelled(tissue, TISSUES[name][0]), fill=0.0), LINES[name], width=0.9
            )
        canvas.legend(0, list(LINES.items()))
        return canvas.figure


def labelled(tissue: Volume, *values: int) -> Volume:
    """Return the voxels that carry one of some labels, as 0 or 1."""
    return tissue.with_data(np.isin(np.round(tissue.data), values).astype(np.float32))


def normalisation(t1w: Volume, template: Volume, edge: Volume, near: Volume) -> tuple[Figure, Figure]:
    """Normalised T1w, and the template in the same place, both under the outline of the template's white matter.

    Parameters
    ----------
    t1w : Volume
        T1w in template space.
    template : Volume
        Template T1w.
    edge : Volume
        Template white-matter probability, 0 to 1; outlined at 0.5.
    near : Volume
        Distance from the template's brain, mm.

    Returns
    -------
    Figure and Figure
        Of one size, to be shown in turn.
    """
    drawn = _orthogonal(MNI_BOX, 6, 3, 3)
    lines = [("template white matter", style.SKY, edge)]
    return (
        _overlay(t1w, "Participant's T1w in template space", drawn, near, lines),
        _overlay(template, "MNI152 template", drawn, near, lines),
    )


def registration(
    first: Volume,
    second: Volume,
    names: tuple[str, str],
    lines: Sequence[tuple[str, str, Volume]],
    mask: Volume,
    near: Volume,
    extra: Sequence[tuple[str, str, Volume]] = (),
) -> tuple[Figure, Figure]:
    """Two images in the space of the T1w under the same outlines.

    Parameters
    ----------
    first, second : Volume
        A reference image with its ``matrix`` (points of the T1w to points of the image), and the T1w; or one reference
        image before and after a correction.
    names : (str, str)
        Headings.
    lines : sequence of (str, str, Volume)
        Name, colour and a map, 0 to 1, whose edge is drawn on both.
    mask : Volume
        Brain mask of the T1w; sets the view.
    near : Volume
        Distance from that mask, mm.
    extra : sequence of (str, str, Volume)
        Edges drawn on the second image alone.

    Returns
    -------
    Figure and Figure
        Of one size, to be shown in turn.
    """
    drawn = _orthogonal(bounding_box(mask, margin=6.0), 6, 3, 3)
    return (
        _overlay(first, names[0], drawn, near, lines, reach=6.0),
        _overlay(second, names[1], drawn, near, [*lines, *extra], reach=6.0),
    )


def _overlay(volume: Volume, name: str, drawn: Sheet, near: Volume, lines, reach: float = SHOWN_MM) -> Figure:
    with style.look():
        canvas = _Canvas([drawn], [name])
        canvas.grey(0, drawn, volume, near, reach=reach)
        for _, colour, edge in lines:
            canvas.contour(0, drawn.read(edge, fill=0.0), colour, width=0.75)
        canvas.legend(0, [(label, colour) for label, colour, _ in lines])
        return canvas.figure


def _middle(box: np.ndarray) -> float:
    return float(np.round(box[:, 0].mean()))


def _round_up(value: float) -> float:
    """The next end of a colour bar whose quarters are short numbers."""
    step = 10.0 ** np.floor(np.log10(max(value, 1e-6)))
    return float(next(step * m for m in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10, 12) if step * m >= value))


def signal_map(values: Volume, mask: Volume, *, label: str, count: int = 12) -> Figure:
    """Map of a signal property inside the brain, such as temporal signal-to-noise ratio.

    Parameters
    ----------
    values : Volume
        NaN outside the brain.
    mask : Volume
        Brain mask in the shown space; sets the view.
    label : str
        Colour-bar heading, with unit if there is one.
    count : int
        Axial cuts, in two rows.
    """
    with style.look():
        import matplotlib

        box = bounding_box(mask, margin=3.0)
        drawn = sheet(_two_rows(even_cuts(box, "z", count)), box)
        canvas = _Canvas([drawn], bars=1)
        picture = drawn.read(values, order=0)
        good = values.data[np.isfinite(values.data)]
        top = _round_up(float(np.percentile(good, 98))) if good.size else 1.0
        cmap = matplotlib.colormaps["viridis"]
        canvas.axes[0].imshow(picture, cmap=cmap, vmin=0, vmax=top, aspect="auto")
        canvas.name_cuts(0, drawn)
        bar = canvas.bars[0]
        bar.imshow(
            np.linspace(0, top, 256)[:, None], origin="lower", extent=(0, 1, 0, top), aspect="auto", cmap=cmap
        )
        _bar_ticks(bar, np.linspace(0, top, 5), label)
        return canvas.figure


def statistic_map(
    statistic: Volume,
    background: Volume,
    near: Volume,
    *,
    threshold: float,
    label: str = "z",
    limit: float | None = None,
    box: np.ndarray = MNI_BOX,
    cuts: Sequence[Cut] | None = None,
) -> Figure:
    """Signed statistic over anatomy, shown where its size reaches the threshold.

    Parameters
    ----------
    statistic : Volume
        z or t values; NaN and 0 mean outside the mask.
    background : Volume
        Anatomy.
    near : Volume
        Distance from the brain, mm; the anatomy is shown near it only.
    threshold : float
        Smallest absolute value shown; written on the colour bar.
    label : str
        Name of the statistic for the colour bar.
    limit : float, optional
        End of the colour bar; default the 99.9th percentile of the sizes shown, at least threshold + 1.
    box : (2, 3) ndarray
        View, mm.
    cuts : sequence of Cut, optional
        Default fourteen axial cuts.
    """
    with style.look():
        rows = [list(cuts)] if cuts else _two_rows(even_cuts(box, "z", 14, (0.16, 0.1)))
        drawn = sheet(rows, box)
        canvas = _Canvas([drawn], bars=1)
        canvas.grey(0, drawn, background, near)
        values = drawn.read(statistic, fill=0.0)
        size = np.abs(np.nan_to_num(statistic.data))
        shown = size[size >= threshold]
        top = limit or (
            max(float(np.percentile(shown, 99.9)), threshold + 1) if shown.size else threshold + 1
        )
        from matplotlib.colors import Normalize

        colours = style.signed_map()
        # the colour scale starts at the threshold on either side: half of the map for each sign
        scaled = np.where(values > 0, 0.5 + 0.5 * (values - threshold) / (top - threshold), np.nan)
        scaled = np.where(values < 0, 0.5 - 0.5 * (-values - threshold) / (top - threshold), scaled)
        scaled = np.where(np.abs(np.nan_to_num(values)) >= threshold, np.clip(scaled, 0, 1), np.nan)
        # values at the threshold must fall on their own side of the middle
        scaled = np.where(values > 0, np.maximum(scaled, 0.5001), np.minimum(scaled, 0.4999))
        canvas.axes[0].imshow(scaled, cmap=colours, norm=Normalize(0, 1), aspect="auto")
        bar = canvas.bars[0]
        gradient = np.linspace(-top, top, 256)
        picture = colours(
            np.where(
                gradient > 0,
                0.5 + 0.5 * (gradient - threshold) / (top - threshold),
                0.5 - 0.5 * (-gradient - threshold) / (top - threshold),
            )
        )
        picture[np.abs(gradient) < threshold] = (0.45, 0.45, 0.45, 1)
        bar.imshow(picture[:, None, :], origin="lower", extent=(0, 1, -top, top), aspect="auto")
        _bar_ticks(bar, [-top, -threshold, 0, threshold, top], label)
        return canvas.figure


def _two_rows(cuts: list[Cut]) -> list[list[Cut]]:
    half = (len(cuts) + 1) // 2
    return [cuts[:half], cuts[half:]]


def _bar_ticks(bar, ticks, label) -> None:
    bar.set_xticks([])
    bar.yaxis.tick_right()
    bar.set_yticks(ticks, [f"{t:.3g}".replace("-", "\N{MINUS SIGN}") for t in ticks], fontsize=7.5)
    bar.set_title(label, fontsize=8.5, loc="left")
    for spine in bar.spines.values():
        spine.set_visible(True)


def intensity_map(
    values: Volume,
    background: Volume,
    near: Volume,
    *,
    label: str,
    limits: tuple[float, float],
    box: np.ndarray = MNI_BOX,
    cmap: str = "inferno",
    show_from: float | None = None,
    count: int = 14,
) -> Figure:
    """Unsigned map (such as BPND) over anatomy.

    Parameters
    ----------
    values : Volume
    background : Volume
    near : Volume
        Distance from the brain, mm; the anatomy is shown near it only.
    label : str
        Colour-bar heading, with unit if there is one.
    limits : (float, float)
        Ends of the colour scale.
    box : (2, 3) ndarray
        mm.
    cmap : str
        A perceptually even map.
    show_from : float, optional
        Values below are left transparent; default the lower limit.
    count : int
        Number of axial cuts, in two rows.
    """
    with style.look():
        import matplotlib

        drawn = sheet(_two_rows(even_cuts(box, "z", count, (0.16, 0.1))), box)
        canvas = _Canvas([drawn], bars=1)
        canvas.grey(0, drawn, background, near)
        picture = drawn.read(values)
        start = limits[0] if show_from is None else show_from
        picture = np.where(picture > start, picture, np.nan)
        canvas.axes[0].imshow(
            picture, cmap=matplotlib.colormaps[cmap], vmin=limits[0], vmax=limits[1], aspect="auto"
        )
        gradient = np.linspace(limits[0], limits[1], 256)[:, None]
        bar = canvas.bars[0]
        bar.imshow(
            gradient, origin="lower", extent=(0, 1, *limits), aspect="auto", cmap=matplotlib.colormaps[cmap]
        )
        _bar_ticks(bar, np.linspace(limits[0], limits[1], 5), label)
        return canvas.figure


def motion(
    confounds: pd.DataFrame,
    *,
    seconds: np.ndarray,
    fd_threshold: float,
    dvars_threshold: float | None = None,
    carpets: Sequence[tuple[str, np.ndarray]] = (),
    tissue: np.ndarray | None = None,
) -> Figure:
    """Head motion of one BOLD run and its global signal, above the signal of its voxels.

    Parameters
    ----------
    confounds : pandas.DataFrame
        Columns ``trans_*`` (mm), ``rot_*`` (rad), ``framewise_displacement`` (mm), ``std_dvars``, ``global_signal``.
    seconds : (T,) ndarray
        Time of every volume, s.
    fd_threshold : float
        mm, drawn as a line.
    dvars_threshold : float, optional
        Standardised DVARS, drawn as a line.
    carpets : sequence of (str, (V, T) ndarray)
        Heading and signals in standard deviations, one picture each, in the order to be shown.
    tissue : (V,) ndarray of int, optional
        Tissue of each row of the carpets (1 GM, 2 WM, 3 CSF), sorted.
    """
    with style.look():
        from matplotlib.colors import Normalize

        heights = [1.0, 1.0, 0.8, 0.8, 0.8, *[1.7] * len(carpets)]
        figure = style.new_figure(
            style.WIDTH, 1.2 * sum(heights) + 0.4 + 0.15 * len(carpets), layout="constrained"
        )
        figure.get_layout_engine().set(h_pad=0.03, hspace=0.02)
        axes = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights})
        for row, (kind, word, unit, scale) in enumerate(
            [("trans", "shift", "mm", 1.0), ("rot", "turn", "degrees", np.rad2deg(1.0))]
        ):
            for name, colour in zip("xyz", (style.BLUE, style.VERMILION, style.GREEN), strict=True):
                if f"{kind}_{name}" in confounds:
                    axes[row].plot(
                        seconds, scale * confounds[f"{kind}_{name}"].to_numpy(float), color=colour, label=name
                    )
            axes[row].axhline(0, color=style.LINE, linewidth=0.8, zorder=0)
            axes[row].set_ylabel(f"{word}\n({unit})")
        if axes[0].lines[1:]:
            axes[0].legend(
                ncols=3, loc="lower left", bbox_to_anchor=(0, 0.97), borderaxespad=0, handlelength=1.6
            )
        _trace(axes[2], seconds, confounds, "framewise_displacement", "FD\n(mm)", fd_threshold, style.INK)
        _trace(axes[3], seconds, confounds, "std_dvars", "std. DVARS", dvars_threshold, style.INK)
        axes[4].set_ylabel("global signal\n(% of mean)")
        if "global_signal" in confounds and np.nanmean(confounds["global_signal"]) > 0:
            values = confounds["global_signal"].to_numpy(float)
            axes[4].plot(seconds, 100 * (values / np.nanmean(values) - 1), color=style.INK, linewidth=1)
            axes[4].axhline(0, color=style.LINE, linewidth=0.8, zorder=0)
        else:
            _absent(axes[4])
        step = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1.0
        for axis, (heading, values) in zip(axes[5:], carpets, strict=True):
            _carpet(axis, values, tissue, (seconds[0] - step / 2, seconds[-1] + step / 2), heading)
        if len(carpets):
            from matplotlib.cm import ScalarMappable

            greys = ScalarMappable(Normalize(-2, 2), cmap="gray")
            figure.colorbar(
                greys, ax=list(axes[5:]), pad=0.01, fraction=0.02, label="signal (SD)", ticks=[-2, 0, 2]
            )
        figure.align_ylabels(list(axes[:5]))
        axes[-1].set_xlabel("time (s)")
        axes[-1].set_xlim(seconds[0], seconds[-1])
        return figure


def _carpet(axes, values, tissue, span, heading) -> None:
    """Voxels by volumes in grey, with the tissues marked on the left."""
    axes.imshow(
        values,
        cmap="gray",
        vmin=-2,
        vmax=2,
        aspect="auto",
        extent=(*span, len(values), 0),
        interpolation="antialiased",
    )
    axes.set_title(heading, fontsize=9, pad=3)
    for spine in ("left", "bottom"):
        axes.spines[spine].set_visible(False)
    marks = []
    for name, (value, colour) in TISSUES.items():
        at = np.flatnonzero(tissue == value)
        if len(at):
            axes.plot(
                [-0.006] * 2,
                [at[0], at[-1] + 1],
                transform=axes.get_yaxis_transform(),
                color=colour,
                linewidth=6,
                clip_on=False,
                solid_capstyle="butt",
            )
            marks.append(((at[0] + at[-1]) / 2, name))
    axes.set_yticks([m for m, _ in marks], [n for _, n in marks])
    axes.tick_params(axis="y", length=0, pad=8)


def _absent(axes) -> None:
    axes.text(0.5, 0.5, "not estimated", transform=axes.transAxes, ha="center", va="center", color=style.SOFT)


def _trace(axes, seconds, confounds, column, label, threshold, colour) -> None:
    axes.set_ylabel(label)
    if column not in confounds:
        _absent(axes)
        return
    values = confounds[column].to_numpy(dtype=float)
    axes.plot(seconds, values, color=colour, linewidth=1)
    top = np.nanmax(values) if np.isfinite(values).any() else 1.0
    if threshold is not None:
        axes.axhline(threshold, color=style.VERMILION, linewidth=0.9, linestyle=(0, (4, 2)))
        axes.text(
            1.005,
            threshold,
            f"{threshold:g}",
            transform=axes.get_yaxis_transform(),
            color=style.VERMILION,
            fontsize=8,
            va="center",
        )
        above = values > threshold
        axes.plot(seconds[above], values[above], "o", color=style.VERMILION, markersize=3)
        top = max(top, threshold)
    axes.set_ylim(0, top * 1.12 if top > 0 else 1)


def pet_motion(frames: pd.DataFrame, confounds: pd.DataFrame, fd_threshold: float | None = None) -> Figure:
    """Head motion between PET frames.

    Parameters
    ----------
    frames : pandas.DataFrame
        ``frame_start``, ``frame_end`` in s after injection.
    confounds : pandas.DataFrame
        One row per frame: ``trans_*`` (mm), ``rot_*`` (rad), ``framewise_displacement`` (mm).
    fd_threshold : float, optional
        mm.
    """
    with style.look():
        figure = style.new_figure(style.WIDTH, 2.6, layout="constrained")
        left, right = figure.subplots(1, 2)
        minutes = (frames["frame_start"].to_numpy(float) + frames["frame_end"].to_numpy(float)) / 120
        for name, colour in zip("xyz", (style.BLUE, style.VERMILION, style.GREEN), strict=True):
            if f"trans_{name}" in confounds:
                left.plot(
                    minutes,
                    confounds[f"trans_{name}"],
                    "o-",
                    color=colour,
                    markersize=2.5,
                    label=f"shift {name}",
                )
            if f"rot_{name}" in confounds:
                turn = np.rad2deg(confounds[f"rot_{name}"].to_numpy(float))
                left.plot(
                    minutes, turn, color=colour, label=f"turn {name}", linestyle=(0, (2, 1.2)), linewidth=1
                )
        left.set_ylabel("mm / degrees")
        left.set_xlabel("minutes after injection")
        left.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 0.98), borderaxespad=0)
        _trace(
            right,
            minutes,
            confounds,
            "framewise_displacement",
            "FD between frames (mm)",
            fd_threshold,
            style.INK,
        )
        right.set_xlabel("minutes after injection")
        return figure


def matrix(
    values: np.ndarray,
    regions: pd.DataFrame,
    *,
    label: str = "Pearson r",
    limit: float | None = None,
    size: float = 5.6,
) -> Figure:
    """Region-by-region matrix ordered by network or structure, hemisphere and front-to-back position.

    Parameters
    ----------
    values : (R, R) ndarray
        In the order of ``regions``; NaN where a region is missing (drawn grey).
    regions : pandas.DataFrame
        ``name``, ``hemisphere`` and, if known, ``structure`` and ``y`` (mm).
    label : str
    limit : float, optional
        End of the symmetric colour scale; default the 98th percentile of off-diagonal sizes, at least 0.05.
    size : float
        Height in inches.
    """
    with style.look():
        import matplotlib

        order, blocks = region_order(regions)
        shown = np.array(values, dtype=float)[np.ix_(order, order)]
        np.fill_diagonal(shown, np.nan)
        if limit is None:
            sizes = np.abs(shown[np.isfinite(shown)])
            limit = max(0.05, float(np.round(np.percentile(sizes, 98), 2))) if sizes.size else 1.0
        figure = style.new_figure(size * 1.28, size, layout="constrained")
        axes = figure.subplots()
        cmap = matplotlib.colormaps["RdBu_r"].with_extremes(bad="#c9ced4")
        image = axes.imshow(shown, cmap=cmap, vmin=-limit, vmax=limit)
        ticks, names = [], []
        start = 0
        for name, count in blocks:
            if start:
                axes.axhline(start - 0.5, color="white", linewidth=1.4)
                axes.axvline(start - 0.5, color="white", linewidth=1.4)
            ticks.append(start + count / 2 - 0.5)
            names.append(name)
            start += count
        axes.set_yticks(ticks, names)
        # upright names of neighbouring narrow blocks stand beside each other, slanted ones run into each other
        axes.set_xticks(ticks, names, rotation=90)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        figure.colorbar(image, ax=axes, label=label, shrink=0.7, pad=0.02)
        return figure


def region_order(regions: pd.DataFrame) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """Order regions for a matrix and name the blocks.

    Parameters
    ----------
    regions : pandas.DataFrame
        ``name``, ``hemisphere``, optionally ``network``, ``structure``, ``y``. Networks, where they are known, keep the order
        of the table and stand in the place of structures.

    Returns
    -------
    order : (R,) ndarray of int
        Positions in the table.
    blocks : list of (str, int)
        Heading and number of regions of each block.
    """
    import pandas as pd

    table = pd.DataFrame({"position": np.arange(len(regions))})
    structure = regions["structure"] if "structure" in regions else pd.Series("region", index=regions.index)
    hemisphere = regions["hemisphere"] if "hemisphere" in regions else pd.Series("", index=regions.index)
    rank = {"cortex": 0, "subcortex": 1, "cerebellum": 2, "brainstem": 3}
    named = networks(regions)
    if named is not None:
        structure = named.where(named != "n/a", structure.fillna("region").astype(str))
        rank = {name: at for at, name in enumerate(dict.fromkeys(structure))}
    table["structure"] = structure.fillna("region").astype(str).to_numpy()
    table["rank"] = table["structure"].map(rank).fillna(len(rank)).to_numpy()
    table["hemisphere"] = hemisphere.fillna("").astype(str).str.upper().str[:1].to_numpy()
    table["y"] = -regions["y"].to_numpy(float) if "y" in regions else 0.0
    table = table.sort_values(["rank", "structure", "hemisphere", "y", "position"], kind="stable")
    blocks = []
    for (name, side), part in table.groupby(["structure", "hemisphere"], sort=False):
        blocks.append((" ".join(t for t in (side, name) if t), len(part)))
    return table["position"].to_numpy(), blocks


def fd_distribution(runs: Sequence[tuple[str, str, np.ndarray]], threshold: float) -> Figure:
    """Framewise displacement of every run: box to the quartiles, whiskers to the 5th and 95th percentile.

    Parameters
    ----------
    runs : sequence of (participant, run label, (T,) ndarray)
        In the order to be shown; FD in mm, NaN ignored.
    threshold : float
        mm.
    """
    with style.look():
        tasks = list(dict.fromkeys(label for _, label, _ in runs))
        people = list(dict.fromkeys(person for person, _, _ in runs))
        place = {}
        figure = style.new_figure(style.WIDTH, 3.3, layout="constrained")
        axes = figure.subplots()
        handles = {}
        at = 0.0
        ticks = []
        whiskers = [np.nanpercentile(fd, 95) for _, _, fd in runs if np.isfinite(fd).any()]
        # a few jerks must not flatten everybody's boxes: points beyond the range sit on its edge
        top = 1.15 * max([2.0 * threshold, *whiskers])
        for person in people:
            mine = [(label, fd) for who, label, fd in runs if who == person]
            positions = at + 0.8 * np.arange(len(mine))
            for x, (label, fd) in zip(positions, mine, strict=True):
                colour = style.CYCLE[tasks.index(label) % len(style.CYCLE)]
                good = fd[np.isfinite(fd)]
                if not len(good):
                    continue
                drawn = axes.boxplot(
                    good,
                    positions=[x],
                    widths=0.55,
                    whis=(5, 95),
                    showfliers=False,
                    patch_artist=True,
                    boxprops={"facecolor": colour, "edgecolor": colour, "alpha": 0.55},
                    medianprops={"color": style.INK, "linewidth": 1.4},
                    whiskerprops={"color": colour},
                    capprops={"color": colour},
                    manage_ticks=False,
                )
                handles.setdefault(label, drawn["boxes"][0])
                over = good[good > threshold]
                axes.plot(
                    np.full(len(over), x),
                    np.minimum(over, top * 0.985),
                    ".",
                    color=style.VERMILION,
                    markersize=3,
                    alpha=0.6,
                    zorder=1,
                )
                if (over > top).any():
                    axes.text(
                        x,
                        top,
                        f"{over.max():.1f}",
                        color=style.VERMILION,
                        fontsize=6.5,
                        ha="center",
                        va="bottom",
                    )
            place[person] = positions
            ticks.append(positions.mean())
            at = positions[-1] + 1.5
        axes.axhline(threshold, color=style.VERMILION, linewidth=0.9, linestyle=(0, (4, 2)))
        axes.text(
            1.004,
            threshold,
            f"{threshold:g} mm",
            transform=axes.get_yaxis_transform(),
            color=style.VERMILION,
            fontsize=8,
            va="center",
        )
        # short names stand level as long as they fit beside each other
        level = max(map(len, people)) * len(people) <= 90
        axes.set_xticks(ticks, people, rotation=0 if level else 90)
        axes.set_ylabel("framewise displacement (mm)")
        axes.set_ylim(0, top)
        axes.set_xlim(-0.8, at - 0.7)
        axes.grid(axis="y")
        if handles:
            axes.legend(handles.values(), handles.keys(), ncols=6, loc="lower left", bbox_to_anchor=(0, 1.03))
        return figure


def quality_strips(panels: Sequence[tuple[str, Sequence[tuple[str, np.ndarray, Sequence[str]]]]]) -> Figure:
    """Every scan's value of every quality measure: one panel per measure, one box with its points per kind of scan.

    Parameters
    ----------
    panels : sequence of (label, kinds)
        Label of the measure with unit, and for each kind of scan its name, the values (N,) and a name for each point:
        empty for scans that do not stand out. NaN is ignored.
    """
    with style.look():
        across = 4
        down = -(-len(panels) // across)
        figure = style.new_figure(style.WIDTH, 1.9 * down + 0.1, layout="constrained")
        grid = np.atleast_1d(figure.subplots(down, across, squeeze=False)).ravel()
        for axes, (label, kinds) in zip(grid, panels, strict=False):
            for at, (_, values, names) in enumerate(kinds):
                good = np.isfinite(values)
                if not good.any():
                    continue
                colour = style.CYCLE[at % len(style.CYCLE)]
                axes.boxplot(
                    values[good],
                    positions=[at],
                    widths=0.5,
                    showfliers=False,
                    patch_artist=True,
                    boxprops={"facecolor": colour, "edgecolor": colour, "alpha": 0.25},
                    medianprops={"color": style.INK, "linewidth": 1.4},
                    whiskerprops={"color": colour},
                    capprops={"color": colour},
                    manage_ticks=False,
                )
                _strip(axes, at, values, names, colour)
            axes.set_title(textwrap.fill(label, 28), fontsize=8.5, weight="normal")
            axes.set_xlim(-0.6, len(kinds) - 0.1)
            axes.set_xticks(range(len(kinds)), [kind for kind, *_ in kinds], fontsize=7.5)
            axes.tick_params(axis="y", labelsize=7)
            axes.grid(axis="y")
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        return figure


def _strip(axes, at, values, names, colour) -> None:
    """Points beside each other by a fixed pattern; those with a name stand out and carry it."""
    spread = 0.16 * np.sin(2.4 * np.arange(len(values)))
    out = np.array([bool(name) for name in names]) & np.isfinite(values)
    axes.plot(at + spread[~out], values[~out], "o", color=colour, markersize=2.6, alpha=0.7)
    axes.plot(at + spread[out], values[out], "o", color=style.VERMILION, markersize=4)
    # names of points nearly on top of each other would hide each other: the farthest ones are written
    middle = np.nanmedian(values)
    reach = np.nanmax(np.abs(values - middle)) or 1.0
    taken: list[float] = []
    for n in sorted(np.flatnonzero(out), key=lambda n: -abs(values[n] - middle)):
        if all(abs(values[n] - other) > 0.16 * reach for other in taken):
            axes.text(at + spread[n] + 0.07, values[n], names[n], fontsize=6.5, color=style.INK, va="center")
            taken.append(values[n])


def regional_box(values: pd.DataFrame, *, label: str, count: int = 30) -> Figure:
    """Spread over participants of a regional measure, for the regions with the highest medians.

    Parameters
    ----------
    values : pandas.DataFrame
        One row per scan, one column per region.
    label : str
        Axis label with unit.
    count : int
        Number of regions shown.
    """
    with style.look():
        medians = values.median().dropna().sort_values(ascending=False).head(count)
        figure = style.new_figure(style.WIDTH, 3.6, layout="constrained")
        axes = figure.subplots()
        data = [values[name].dropna().to_numpy(float) for name in medians.index]
        if data:
            axes.boxplot(
                data,
                positions=np.arange(len(data)),
                widths=0.6,
                whis=(0, 100),
                showfliers=False,
                patch_artist=True,
                boxprops={"facecolor": style.SKY, "edgecolor": style.BLUE, "alpha": 0.5},
                medianprops={"color": style.INK, "linewidth": 1.4},
                whiskerprops={"color": style.BLUE},
                capprops={"color": style.BLUE},
                manage_ticks=False,
            )
            for x, points in enumerate(data):
                # a fixed spread, not a random one: the figure must be the same bytes each time
                spread = np.linspace(-0.16, 0.16, len(points)) if len(points) > 1 else [0.0]
                axes.plot(x + np.asarray(spread), points, "o", color=style.BLUE, markersize=2.2, alpha=0.75)
        axes.set_xticks(
            range(len(medians)), medians.index, rotation=60, ha="right", rotation_mode="anchor", fontsize=7
        )
        axes.set_ylabel(label)
        axes.set_xlim(-0.8, len(medians) - 0.2)
        axes.grid(axis="y")
        return figure


def regional_bars(values: pd.Series, errors: pd.Series | None, *, label: str, count: int = 30) -> Figure:
    """One participant's regional values with their standard errors, highest first.

    Parameters
    ----------
    values, errors : pandas.Series
        Indexed by region; errors may be None.
    label : str
    count : int
    """
    with style.look():
        top = values.dropna().sort_values(ascending=False).head(count)
        figure = style.new_figure(style.WIDTH, 3.1, layout="constrained")
        axes = figure.subplots()
        spread = None if errors is None else errors.reindex(top.index).to_numpy(float)
        axes.bar(range(len(top)), top, color=style.SKY, edgecolor=style.BLUE, linewidth=0.6, width=0.68)
        if spread is not None and np.isfinite(spread).any():
            axes.errorbar(
                range(len(top)),
                top,
                yerr=np.nan_to_num(spread),
                fmt="none",
                ecolor=style.INK,
                elinewidth=0.9,
                capsize=2,
            )
        axes.set_xticks(
            range(len(top)), top.index, rotation=60, ha="right", rotation_mode="anchor", fontsize=7
        )
        axes.set_ylabel(label)
        axes.set_xlim(-0.8, len(top) - 0.2)
        axes.grid(axis="y")
        return figure


def scores(rows: Sequence[dict], *, label: str, chance: float | None = None) -> Figure:
    """Score of every model and feature set as a point with its interval.

    Parameters
    ----------
    rows : sequence of dict
        ``name``, ``value``, ``low``, ``high`` (NaN if unknown), ``kind`` ('model' or 'baseline').
    label : str
        Axis label, such as ``AUC`` or ``mean absolute error (years)``.
    chance : float, optional
        Drawn as a line.
    """
    with style.look():
        figure = style.new_figure(style.WIDTH, 0.34 * len(rows) + 0.9, layout="constrained")
        axes = figure.subplots()
        for y, row in enumerate(rows):
            baseline = row.get("kind") == "baseline"
            colour = style.SOFT if baseline else style.BLUE
            low, high = row.get("low", np.nan), row.get("high", np.nan)
            if np.isfinite(low) and np.isfinite(high):
                axes.plot([low, high], [y, y], color=colour, linewidth=2.2, alpha=0.55, solid_capstyle="butt")
            axes.plot(
                row["value"], y, "D" if baseline else "o", color=colour, markersize=6, markeredgecolor="white"
            )
        axes.set_yticks(range(len(rows)), [r["name"] for r in rows])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x")
        if chance is not None:
            axes.axvline(chance, color=style.VERMILION, linewidth=0.9, linestyle=(0, (4, 2)))
            axes.text(
                chance,
                -0.62,
                f"no information: {chance:g}",
                color=style.VERMILION,
                fontsize=8,
                ha="center",
                va="bottom",
            )
        axes.set_xlabel(label)
        return figure


def calibration(
    truth: np.ndarray, probability: np.ndarray, *, positive: str, negative: str, bins: int = 5
) -> Figure:
    """Observed share of the positive class against predicted probability, in equally filled bins, and the scores by class.

    Parameters
    ----------
    truth : (N,) ndarray of bool
    probability : (N,) ndarray
        Held-out predicted probability of the positive class.
    positive, negative : str
        Names of the classes.
    bins : int
        At most; every bin holds at least five people, so a small study has fewer.
    """
    with style.look():
        figure = style.new_figure(style.WIDTH, 3.3, layout="constrained")
        left, right = figure.subplots(1, 2)
        bins = int(max(1, min(bins, len(truth) // 5)))
        order = np.argsort(probability, kind="stable")
        left.plot([0, 1], [0, 1], color=style.LINE, linewidth=1)
        for part in np.array_split(order, bins):
            n = len(part)
            if not n:
                continue
            share, mean = truth[part].mean(), probability[part].mean()
            # Wilson 95 % interval: stays inside 0..1 at the small counts of a bin
            centre = (share + 1.92 / n) / (1 + 3.84 / n)
            half = 1.96 * np.sqrt(share * (1 - share) / n + 0.96 / n**2) / (1 + 3.84 / n)
            left.plot([mean, mean], [centre - half, centre + half], color=style.BLUE, alpha=0.5, linewidth=2)
            left.plot(mean, share, "o", color=style.BLUE, markersize=6, markeredgecolor="white")
        left.set(
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            xlabel=f"predicted probability of {positive}",
            ylabel="observed share",
        )
        left.set_title("Calibration")
        for y, (flag, colour) in enumerate(((False, style.SOFT), (True, style.VERMILION))):
            mine = np.sort(probability[truth == flag])
            # steps of the golden ratio fill a band evenly, without chance
            spread = ((0.618 * np.arange(len(mine))) % 1 - 0.5) * 0.5
            right.plot(
                mine,
                y + spread,
                "o",
                color=colour,
                markersize=4,
                alpha=0.8,
                markeredgecolor="white",
                markeredgewidth=0.4,
            )
        right.set_yticks([0, 1], [negative, positive])
        right.set(xlim=(-0.02, 1.02), ylim=(-0.5, 1.5), xlabel=f"predicted probability of {positive}")
        right.set_title("Held-out predictions")
        right.grid(axis="x")
        return figure


def predicted_against_true(truth: np.ndarray, predicted: np.ndarray, *, label: str) -> Figure:
    """Held-out prediction against the true value.

    Parameters
    ----------
    truth, predicted : (N,) ndarray
    label : str
        Target with unit.
    """
    with style.look():
        figure = style.new_figure(5.0, 4.2, layout="constrained")
        axes = figure.subplots()
        low, high = np.nanmin([truth, predicted]), np.nanmax([truth, predicted])
        margin = 0.05 * (high - low or 1)
        axes.plot(
            [low - margin, high + margin],
            [low - margin, high + margin],
            color=style.SOFT,
            linestyle=(0, (4, 2)),
            linewidth=1,
        )
        axes.plot(truth, predicted, "o", color=style.BLUE, markersize=5, alpha=0.75, markeredgecolor="white")
        axes.set(
            xlabel=f"true {label}",
            ylabel=f"predicted {label}",
            xlim=(low - margin, high + margin),
            ylim=(low - margin, high + margin),
        )
        axes.set_aspect("equal")
        axes.grid()
        return figure


def availability(table: pd.DataFrame, *, label: str = "share with value") -> Figure:
    """Share of regions with a value, by participant (rows) and measure (columns).

    Parameters
    ----------
    table : pandas.DataFrame
        0 to 1; NaN where the participant has no such data (drawn grey).
    label : str
    """
    with style.look():
        import matplotlib

        rows, columns = table.shape
        figure = style.new_figure(style.WIDTH, min(9.0, 0.2 * rows + 1.7), layout="constrained")
        axes = figure.subplots()
        cmap = matplotlib.colormaps["viridis"].with_extremes(bad="#dfe3e8")
        image = axes.imshow(table.to_numpy(float), vmin=0, vmax=1, cmap=cmap, aspect="auto")
        axes.set_yticks(range(rows), table.index, fontsize=7.5)
        axes.set_xticks(
            range(columns), table.columns, rotation=30, ha="right", rotation_mode="anchor", fontsize=7.5
        )
        axes.tick_params(length=0)
        axes.set_xticks(np.arange(1, columns) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, rows) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="minor", length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        figure.colorbar(image, ax=axes, label=label, shrink=0.8, pad=0.01)
        return figure
