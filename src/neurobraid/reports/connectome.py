"""A connectome in a glass brain: the strongest edges between the centres of the regions, seen from three sides."""

from __future__ import annotations

import numpy as np

from neurobraid.reports import style
from neurobraid.reports.gather import entities_of, table
from neurobraid.reports.pages import number

#: Share of edges shown; the value where they begin is written into the caption.
SHOWN = 0.03
#: Most edges drawn: beyond it the picture is a blot.
MOST = 300
VIEWS = (("from the right", 1, 2, 0), ("from behind", 0, 2, 1), ("from above", 0, 1, 2))


def outline():
    """Silhouettes of the template brain in the three views.

    Returns
    -------
    list of (ndarray (A, B) of bool, (float, float, float, float))
        Projection of the brain along the view, and its extent in mm for a picture with the origin below.
    """
    from neurobraid.images.templates import template

    tissue = [template(name, 2.0) for name in ("GM", "WM")]
    affine = tissue[0].affine
    brain = sum(np.asarray(image.dataobj) for image in tissue) > 0.3
    found = []
    for _, across, up, through in VIEWS:
        flat = brain.any(through)
        ends = []
        for axis in (across, up):
            size, start = affine[axis, axis], affine[axis, 3]
            ends += [start - size / 2, start + size * (brain.shape[axis] - 0.5)]
        found.append((flat.T, tuple(ends)))
    return found


def strongest(values, share=SHOWN, most=MOST):
    """The strongest edges by size.

    Parameters
    ----------
    values : numpy.ndarray, (R, R)
    share : float
    most : int

    Returns
    -------
    rows, columns : numpy.ndarray of int
        Weakest first, so that the strongest are drawn on top.
    limit : float
        Smallest size shown.
    """
    rows, columns = np.triu_indices(len(values), 1)
    edges = values[rows, columns]
    ok = np.flatnonzero(np.isfinite(edges) & (edges != 0))
    count = min(max(round(share * len(ok)), 1), most, len(ok))
    order = ok[np.argsort(-np.abs(edges[ok]), kind="stable")[:count]][::-1]
    limit = float(np.abs(edges[order]).min()) if len(order) else float("nan")
    return rows[order], columns[order], limit


def figure(values, regions, *, label="r"):
    """Draw a connectome.

    Parameters
    ----------
    values : numpy.ndarray, (R, R)
    regions : pandas.DataFrame
        ``x``, ``y``, ``z`` in mm.
    label : str
        Of the colour bar.

    Returns
    -------
    matplotlib.figure.Figure
    """
    with style.look():
        import matplotlib
        from matplotlib.collections import LineCollection

        rows, columns, limit = strongest(values)
        where = regions[["x", "y", "z"]].to_numpy(float)
        edges = values[rows, columns]
        top = float(np.abs(edges).max()) if len(edges) else 1.0
        picture = style.new_figure(style.WIDTH, 3.3, layout="constrained")
        views = outline()
        # one scale and one height for the three, so that their titles stand on one line
        tall = max(extent[3] - extent[2] for _, extent in views)
        axes = picture.subplots(1, 3, width_ratios=[extent[1] - extent[0] for _, extent in views])
        norm = matplotlib.colors.Normalize(-top, top)
        cmap = matplotlib.colormaps["RdBu_r"]
        degree = np.bincount(np.r_[rows, columns], minlength=len(values))
        for axis, (flat, extent), (name, across, up, _) in zip(axes, views, VIEWS, strict=True):
            axis.contour(
                np.linspace(extent[0], extent[1], flat.shape[1]), np.linspace(extent[2], extent[3], flat.shape[0]), flat, levels=[0.5],
                colors=[style.SOFT], linewidths=0.8,
            )  # fmt: skip
            ends = np.stack([where[rows][:, [across, up]], where[columns][:, [across, up]]], 1)
            width = 0.4 + 1.8 * (np.abs(edges) - limit) / max(top - limit, 1e-9)
            axis.add_collection(LineCollection(ends, colors=cmap(norm(edges)), linewidths=width, alpha=0.85))
            seen = degree > 0
            axis.scatter(
                where[seen, across],
                where[seen, up],
                s=4 + 3 * degree[seen],
                color=style.INK,
                zorder=3,
                linewidths=0,
            )
            middle = (extent[2] + extent[3]) / 2
            axis.set_xlim(extent[0], extent[1])
            axis.set_ylim(middle - tall / 2, middle + tall / 2)
            axis.set_aspect("equal")
            axis.set_title(name)
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
        for axis, letters in ((axes[1], "LR"), (axes[2], "LR"), (axes[0], "PA")):
            axis.text(0.02, 0.03, letters[0], transform=axis.transAxes, color=style.SOFT)
            axis.text(0.98, 0.03, letters[1], transform=axis.transAxes, color=style.SOFT, ha="right")
        bar = matplotlib.cm.ScalarMappable(norm, cmap)
        picture.colorbar(bar, ax=axes, label=label, shrink=0.8, pad=0.01)
        return picture


def read(inputs, path):
    """A matrix of correlations with the regions it lies between.

    Parameters
    ----------
    inputs : neurobraid.reports.gather.Inputs
        With kind ``atlas_tables``.
    path : path-like
        ``…_stat-pearsoncorrelation_relmat.tsv``.

    Returns
    -------
    values : numpy.ndarray, (R, R)
    regions : pandas.DataFrame, R rows
        Of the atlas's table, with ``name``.
    None
        Where the atlas has no coordinates, the matrix is not a correlation, or it has no value.
    """
    names = entities_of(path)
    if names.get("stat") != "pearsoncorrelation":
        return None
    regions = table(inputs.find("atlas_tables", atlas=names.get("atlas", "atlas")))
    if regions is None or not {"x", "y", "z"} <= set(regions):
        return None
    matrix = table(path)
    matrix = matrix.set_index(matrix.columns[0])
    regions = regions.drop_duplicates("name").set_index("name").reindex([str(n) for n in matrix.index])
    if not np.isfinite(regions[["x", "y", "z"]].to_numpy(float)).all():
        return None
    values = matrix.to_numpy(float)
    return (values, regions.rename_axis("name").reset_index()) if len(strongest(values)[0]) else None


def shown(values) -> str:
    """Which edges a picture shows, in words, and that this is no test."""
    rows, _, limit = strongest(values)
    possible = int(np.isfinite(values[np.triu_indices(len(values), 1)]).sum())
    return f"the {len(rows)} strongest of {possible} edges, |r| ≥ {number(limit)}; this is a threshold for the eye, not a test"


def block(inputs, gallery, path, stem: str, what: str):
    """Picture of the connectome of a matrix file; None where `read` finds nothing to draw.

    Parameters
    ----------
    inputs, path
        See `read`.
    gallery : neurobraid.reports.pages.Gallery
    stem : str
        Start of the figure's name.
    what : str
        Start of the caption.
    """
    if (found := read(inputs, path)) is None:
        return None
    values, regions = found
    atlas = entities_of(path).get("atlas", "atlas")
    return gallery.show(
        figure(values, regions, label="Pearson r"),
        f"{stem}_atlas-{atlas}_connectome.png",
        f"Glass brain from the right, from behind and from above with the {len(strongest(values)[0])} strongest edges.",
        f"{what}, atlas {atlas}: {shown(values)}. Width and colour by r, dots by the number of edges shown. Left is on the left, from "
        "behind and from above.",
    )
