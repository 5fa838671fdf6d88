"""Statistic maps on the inflated cortical surface, drawn as flat triangles: four views, no 3D library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurobraid.reports import style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

HEMISPHERES = {"L": "left", "R": "right"}
#: hemisphere, view, direction from which one looks along x
VIEWS = (("L", "lateral", -1), ("L", "medial", 1), ("R", "medial", -1), ("R", "lateral", 1))


def read_gifti(path) -> np.ndarray:
    """Values of the first array of a GIFTI file, (V,)."""
    import nibabel as nib

    return np.asarray(nib.load(path).darrays[0].data, np.float64)


def projected(points: np.ndarray, faces: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles that face a viewer on the x axis, farthest first.

    Parameters
    ----------
    points : (V, 3) ndarray
        mm.
    faces : (F, 3) ndarray of int
        Counter-clockwise seen from outside.
    side : {-1, 1}
        The viewer looks from negative or positive x.

    Returns
    -------
    corners : (N, 3, 2) ndarray
        In the picture: front of the head to the left from the left side, to the right from the right side.
    shown : (N,) ndarray of int
        Which faces.
    """
    corners = points[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.flatnonzero(side * normal[:, 0] > 0)
    order = facing[np.argsort(side * corners[facing, :, 0].mean(1), kind="stable")]
    flat = corners[order][:, :, 1:] * np.array([side, 1.0])
    return flat, order


def colours_of(values: np.ndarray, sulci: np.ndarray, threshold: float, top: float) -> np.ndarray:
    """Colour of every vertex: the statistic where it reaches the threshold, else grey by depth of the sulcus.

    Parameters
    ----------
    values, sulci : (V,) ndarray
    threshold, top : float
        Ends of the colour scale on either side.

    Returns
    -------
    (V, 4) ndarray
    """
    grey = np.where(sulci > 0, 0.62, 0.8)
    out = np.repeat(grey[:, None], 4, axis=1)
    out[:, 3] = 1.0
    over = np.abs(values) >= threshold
    scaled = np.clip((np.abs(values) - threshold) / max(top - threshold, 1e-9), 0.0, 1.0)
    place = np.where(
        values > 0, np.maximum(0.5 + 0.5 * scaled, 0.5001), np.minimum(0.5 - 0.5 * scaled, 0.4999)
    )
    out[over] = style.signed_map()(place[over])
    return out


def statistic_surface(maps: Mapping[str, np.ndarray], *, threshold: float, label: str = "z") -> Figure:
    """Signed statistic on both inflated hemispheres, from outside and from the middle.

    Parameters
    ----------
    maps : mapping of {'L', 'R'} to (V,) ndarray
        On fsaverage5; 0 where not covered.
    threshold : float
        Smallest absolute value shown; written below the picture.
    label : str
        Name of the statistic.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import ListedColormap, Normalize
    from nilearn.datasets import load_fsaverage, load_fsaverage_data

    meshes, depth = load_fsaverage("fsaverage5")["inflated"], load_fsaverage_data("fsaverage5")
    size = np.abs(np.concatenate(list(maps.values())))
    shown = size[size >= threshold]
    top = max(float(np.percentile(shown, 99.9)), threshold + 1) if shown.size else threshold + 1
    with style.look():
        figure = style.new_figure(style.WIDTH, 2.6, layout="constrained")
        panels = figure.subplots(1, 4)
        for axes, (hemisphere, view, side) in zip(panels, VIEWS, strict=True):
            part = meshes.parts[HEMISPHERES[hemisphere]]
            points, faces = np.asarray(part.coordinates), np.asarray(part.faces)
            sulci = np.asarray(depth.data.parts[HEMISPHERES[hemisphere]], np.float64).ravel()
            corners, chosen = projected(points, faces, side)
            colours = colours_of(maps[hemisphere], sulci, threshold, top)[faces[chosen]].mean(1)
            axes.add_collection(
                PolyCollection(
                    corners, facecolors=colours, edgecolors=colours, linewidths=0.2, rasterized=True
                )
            )
            axes.set_xlim(corners[..., 0].min() - 3, corners[..., 0].max() + 3)
            axes.set_ylim(corners[..., 1].min() - 3, corners[..., 1].max() + 3)
            axes.set_aspect("equal")
            axes.set_axis_off()
            axes.set_title(f"{HEMISPHERES[hemisphere]}, {view}", loc="center")
        steps = np.linspace(-top, top, 256)
        scale = colours_of(steps, np.full(256, 1.0), threshold, top)
        bar = figure.colorbar(
            ScalarMappable(Normalize(-top, top), ListedColormap(scale)), ax=panels, orientation="horizontal",
            fraction=0.05, aspect=60, pad=0.02,
        )  # fmt: skip
        bar.set_ticks(
            [-top, -threshold, 0, threshold, top],
            labels=[f"{v:.1f}" for v in (-top, -threshold, 0, threshold, top)],
        )
        bar.set_label(label)
        return figure
