"""A connectome on a circle: regions in their networks, left on the left, the strongest edges as arcs between them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from neurobraid.images.atlas import networks
from neurobraid.reports import style
from neurobraid.reports.connectome import read, shown, strongest
from neurobraid.reports.gather import entities_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Degrees left free at top and bottom, and between two networks.
GAP = 12.0
BETWEEN = 2.0
#: Points of the arc that a region needs for its name to be written.
ROOM = 4.6
#: A region nearer to the midline than this (mm) belongs to neither side.
MIDLINE = 2.0
COLOURS = (*style.CYCLE[:6], "#8c564b", style.YELLOW, "#5e3c99", "#7fbc41", "#1b3a57", "#b2182b", "#c7b299",
           "#4d4d4d", "#f4a3c0", "#999999")  # fmt: skip


def sides(regions: pd.DataFrame) -> np.ndarray:
    """``L``, ``R`` or an empty text for the midline, by the column hemisphere, else by x.

    Parameters
    ----------
    regions : pandas.DataFrame
        ``hemisphere`` or ``x`` (mm).

    Returns
    -------
    ndarray of str, (R,)
    """
    said = regions["hemisphere"].fillna("").astype(str).str.upper().str[:1].to_numpy() if "hemisphere" in regions else np.full(len(regions), "")  # fmt: skip
    x = regions["x"].to_numpy(float) if "x" in regions else np.zeros(len(regions))
    by_place = np.select([x < -MIDLINE, x > MIDLINE], ["L", "R"], "")
    return np.where(np.isin(said, ["L", "R"]), said, by_place).astype(str)


def places(groups, side, y) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """Angle of every region and of every block of the ring.

    Parameters
    ----------
    groups : sequence of str, (R,)
        Network of every region.
    side : sequence of {'L', 'R', ''}, (R,)
    y : ndarray, (R,)
        mm; within a network regions stand from front to back.

    Returns
    -------
    angles : ndarray, (R,)
        Degrees clockwise from the top: right 0 to 180, left 180 to 360; the midline at the bottom, between the two.
    blocks : list of (str, float, float)
        Network, and where its arc begins and ends.
    """
    groups, side = np.asarray(groups, str), np.asarray(side, str)
    order = list(dict.fromkeys(groups))
    y = np.nan_to_num(np.asarray(y, float))

    def sequence(which):
        found = np.flatnonzero(side == which)
        return sorted(found, key=lambda k: (order.index(groups[k]), -y[k], k))

    # one width of region for all, so that both halves can be read alike
    chains = {which: sequence(which) for which in ("R", "", "L")}
    middle = len(chains[""])
    half = max(len(chains["R"]), len(chains["L"]), 1)
    breaks = BETWEEN * max(max(len({groups[k] for k in chains[which]}) - 1, 0) for which in "LR")
    free = (
        GAP * (3 if middle else 2) + 2 * breaks + BETWEEN * max(len({groups[k] for k in chains[""]}) - 1, 0)
    )
    width = (360.0 - free) / (2 * half + middle)
    angles, blocks = np.full(len(groups), np.nan), []

    def lay(chain, at, step):
        last = None
        for k in chain:
            if last is not None and groups[k] != last:
                at += step * BETWEEN
            if groups[k] != last:
                blocks.append([groups[k], at, at])
            angles[k] = at + step * width / 2
            at += step * width
            blocks[-1][2] = at
            last = groups[k]
        return at

    lay(chains["R"], GAP / 2, 1.0)
    lay(chains["L"], 360.0 - GAP / 2, -1.0)
    if middle:
        count = len({groups[k] for k in chains[""]})
        lay(chains[""], 180.0 - (middle * width + (count - 1) * BETWEEN) / 2, 1.0)
    return angles, [(name, min(a, b), max(a, b)) for name, a, b in blocks]


def _point(angle, radius):
    """Degrees clockwise from the top to x, y."""
    turn = np.deg2rad(90.0 - np.asarray(angle, float))
    return radius * np.stack([np.cos(turn), np.sin(turn)], -1)


def _short(name: str) -> str:
    return re.sub(r"^(?:7|17)Networks_", "", str(name))


def figure(values: np.ndarray, regions: pd.DataFrame, groups, *, label: str = "r") -> Figure:
    """Draw the circle.

    Parameters
    ----------
    values : (R, R) ndarray
        NaN where a region is missing.
    regions : pandas.DataFrame
        ``name``, and ``hemisphere`` or ``x``; ``y``.
    groups : sequence of str, (R,)
        Network of every region.
    label : str
        Of the colour bar.

    Returns
    -------
    matplotlib.figure.Figure
    """
    with style.look():
        import matplotlib
        from matplotlib.patches import Patch, PathPatch, Wedge
        from matplotlib.path import Path

        rows, columns, limit = strongest(values)
        edges = values[rows, columns]
        top = float(np.abs(edges).max()) if len(edges) else 1.0
        norm, cmap = matplotlib.colors.Normalize(-top, top), matplotlib.colormaps["RdBu_r"]
        angles, blocks = places(
            groups, sides(regions), regions["y"] if "y" in regions else np.zeros(len(regions))
        )
        names = list(dict.fromkeys(groups))
        colour = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(names)}
        picture = style.new_figure(style.WIDTH, 8.2, layout="constrained")
        axes = picture.subplots()
        for name, start, end in blocks:
            axes.add_patch(
                Wedge((0, 0), 1.0, 90 - end, 90 - start, width=0.045, color=colour[name], linewidth=0)
            )
        ends = _point(angles, 0.945)
        for row, column, value in zip(rows, columns, edges, strict=True):
            # neighbours bow a little, opposites pass near the middle
            apart = abs((angles[row] - angles[column] + 180) % 360 - 180) / 180
            bend = (ends[row] + ends[column]) / 2 * (1 - apart) * 0.55
            path = Path([ends[row], bend, ends[column]], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
            width = 0.5 + 2.0 * (abs(value) - limit) / max(top - limit, 1e-9)
            axes.add_patch(
                PathPatch(path, fill=False, edgecolor=cmap(norm(value)), linewidth=width, alpha=0.85)
            )
        linked = np.zeros(len(values), bool)
        linked[rows] = linked[columns] = True
        axes.scatter(*ends[linked].T, s=9, color=style.INK, zorder=3, linewidths=0)
        # 2.9 inches: radius of the ring on paper
        room = 2 * np.pi * 2.9 * 72 * np.median(np.diff(np.sort(angles % 360))) / 360 if len(angles) > 1 else 99.0  # fmt: skip
        written = room >= ROOM
        if written:
            for k, name in enumerate(regions["name"]):
                turn = 90.0 - angles[k]
                flip = 90 < turn % 360 < 270
                axes.text(
                    *_point(angles[k], 1.02), _short(name), rotation=turn + 180 * flip, rotation_mode="anchor", va="center",
                    ha="right" if flip else "left", fontsize=min(7.0, 0.85 * room),
                    color=style.INK if linked[k] else "#8a96a1",
                )  # fmt: skip
        reach = 1.36 if written else 1.08
        for text, place in (("L", -1), ("R", 1)):
            axes.text(
                place * (reach - 0.04),
                reach - 0.06,
                text,
                fontsize=13,
                color=style.SOFT,
                ha="center",
                va="top",
            )
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-reach, reach)
        axes.set_aspect("equal")
        axes.set_axis_off()
        bar = matplotlib.cm.ScalarMappable(norm, cmap)
        picture.colorbar(bar, ax=axes, label=label, shrink=0.45, pad=0.01)
        if len(names) > 1:
            picture.legend(
                handles=[Patch(color=colour[name], label=name) for name in names], loc="outside lower center",
                ncols=min(len(names), 7), fontsize=8.5,
            )  # fmt: skip
        return picture


def block(inputs, gallery, path, stem: str, what: str):
    """Picture of the circle of a matrix file; None where `connectome.read` finds nothing to draw.

    Parameters
    ----------
    inputs : neurobraid.reports.gather.Inputs
        With kind ``atlas_tables``.
    gallery : neurobraid.reports.pages.Gallery
    path : path-like
        ``…_stat-pearsoncorrelation_relmat.tsv``.
    stem : str
        Start of the figure's name.
    what : str
        Start of the caption.
    """
    if (found := read(inputs, path)) is None:
        return None
    values, regions = found
    groups, by = networks(regions), "network"
    if groups is None:
        known = regions.get("structure")
        groups = ["region"] * len(regions) if known is None else known.fillna("n/a").astype(str)
        by = "structure"
    atlas = entities_of(path).get("atlas", "atlas")
    middle = " regions at the midline at the bottom," if (sides(regions) == "").any() else ""
    return gallery.show(
        figure(values, regions, list(groups), label="Pearson r"),
        f"{stem}_atlas-{atlas}_circle.png",
        f"Circle of {len(regions)} regions by {by} with the {len(strongest(values)[0])} strongest edges between them.",
        f"{what}, atlas {atlas}: {shown(values)}. Every region has its place on the circle, the left hemisphere on the left, the right on the "
        f"right,{middle} from the top down by {by} (colour of the ring), within each from front to back. Width and colour of an edge by r; "
        "names in grey: regions without an edge shown.",
    )
