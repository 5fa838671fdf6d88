"""The signal of a run's voxels as a picture: rows are voxels sorted by tissue, columns are volumes.

After Power (2017), NeuroImage 154:150. A display, not a measurement: a few hundred voxels stand for all.
"""

from __future__ import annotations

import numpy as np

from neurobraid.reports.planes import Volume, sample

ROWS = 360
CLASSES = (1, 2, 3)


def carpet(
    series: np.ndarray, mask: Volume, tissue: Volume, rows: int = ROWS
) -> tuple[np.ndarray, np.ndarray] | None:
    """Pick voxels evenly within every tissue and scale their signals.

    Parameters
    ----------
    series : (I, J, K, T) ndarray
        On the grid of ``mask``.
    mask : Volume
        Brain mask, 0 or 1.
    tissue : Volume
        Labels 1 grey matter, 2 white matter, 3 cerebrospinal fluid; its ``matrix`` maps points of the mask's space.
    rows : int
        Most voxels shown.

    Returns
    -------
    (V, T) ndarray of float32 and (V,) ndarray of int, or None
        Signals without linear trend in standard deviations; tissue of each row. None if the grids differ or nothing
        is left.
    """
    if series.ndim != 4 or series.shape[:3] != mask.data.shape or series.shape[3] < 3:
        return None
    ijk = np.argwhere(np.nan_to_num(mask.data) > 0.5)
    if not len(ijk):
        return None
    world = ijk @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    labels = sample(tissue, world, order=0, fill=0).astype(int)
    share = [np.count_nonzero(labels == value) for value in CLASSES]
    if not sum(share):
        return None
    chosen, names = [], []
    for value, count in zip(CLASSES, share, strict=True):
        wanted = min(count, max(round(rows * count / sum(share)), min(count, rows // 12)))
        if wanted:
            of_class = np.flatnonzero(labels == value)
            chosen.append(of_class[np.linspace(0, len(of_class) - 1, wanted).astype(int)])
            names.append(np.full(wanted, value))
    picked = ijk[np.concatenate(chosen)]
    values = series[picked[:, 0], picked[:, 1], picked[:, 2]].astype(np.float64)
    time = np.linspace(-1, 1, values.shape[1])
    values = np.where(np.isfinite(values), values, 0.0)
    values -= values.mean(axis=1, keepdims=True)
    values -= np.outer(values @ time / (time @ time), time)
    spread = values.std(axis=1, keepdims=True)
    values = np.divide(values, spread, out=np.zeros_like(values), where=spread > 0)
    return values.astype(np.float32), np.concatenate(names)
