"""The signal of a run's voxels as pictures: rows are voxels sorted by tissue, columns are volumes; and its map of tSNR.

Carpets after Power (2017), NeuroImage 154:150. A display, not a measurement: a few hundred voxels stand for all.
"""

from __future__ import annotations

import numpy as np

from neurobraid.reports.planes import Volume, sample

ROWS = 360
CLASSES = (1, 2, 3)


def pick_voxels(mask: Volume, tissue: Volume, rows: int = ROWS) -> tuple[np.ndarray, np.ndarray] | None:
    """Pick voxels evenly within every tissue.

    Parameters
    ----------
    mask : Volume
        Brain mask, 0 or 1.
    tissue : Volume
        Labels 1 grey matter, 2 white matter, 3 cerebrospinal fluid; its ``matrix`` maps points of the mask's space.
    rows : int
        Most voxels picked, give or take a few of a small tissue.

    Returns
    -------
    (V, 3) ndarray of int and (V,) ndarray of int, or None
        Voxels of the mask's grid and their tissue, sorted by tissue. None if no voxel of the mask has a tissue.
    """
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
    return ijk[np.concatenate(chosen)], np.concatenate(names)


def signals(
    series: np.ndarray, voxels: np.ndarray, affine: np.ndarray | None = None, motion: np.ndarray | None = None
) -> np.ndarray:
    """Read voxels over time, as recorded or where the head has moved to.

    Parameters
    ----------
    series : (I, J, K, T) ndarray
    voxels : (V, 3) ndarray of int
    affine : (4, 4) ndarray, optional
        Voxel to world, mm; needed with `motion`.
    motion : (T, 4, 4) ndarray, optional
        Points of the reference to points of every volume, mm; the volumes are then read between voxels (linearly).

    Returns
    -------
    (V, T) ndarray of float64
        0 where the series is not finite.
    """
    if motion is None:
        values = series[voxels[:, 0], voxels[:, 1], voxels[:, 2]].astype(np.float64)
        return np.where(np.isfinite(values), values, 0.0)
    from scipy.ndimage import map_coordinates

    to_voxel = np.linalg.inv(affine)
    values = np.empty((len(voxels), series.shape[3]))
    for number, moved in enumerate(motion):
        matrix = to_voxel @ moved @ affine
        where = voxels @ matrix[:3, :3].T + matrix[:3, 3]
        values[:, number] = map_coordinates(
            series[..., number], where.T, np.float64, order=1, mode="nearest", prefilter=False
        )
    return np.where(np.isfinite(values), values, 0.0)


def spread(values: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Standard deviation around the linear trend.

    Parameters
    ----------
    values : (V, T) ndarray
    keep : (T,) ndarray of bool
        Volumes that count (those in steady state).

    Returns
    -------
    (V, 1) ndarray of float64
        0 for a voxel that does not vary.
    """
    rest = _without(values, _trend(values.shape[1]), keep)[:, keep].std(axis=1, keepdims=True)
    # rounding errors of a constant voxel are no signal
    return np.where(rest > 1e-9 * np.abs(values).max(axis=1, keepdims=True), rest, 0.0)


def scaled(
    values: np.ndarray, unit: np.ndarray, keep: np.ndarray, regressors: np.ndarray | None = None
) -> np.ndarray:
    """Signals without linear trend, and perhaps without regressors, in a unit of their own for every voxel.

    Parameters
    ----------
    values : (V, T) ndarray
    unit : (V, 1) ndarray
        See `spread`; where it is 0, so is the result.
    keep : (T,) ndarray of bool
        Volumes from which trend and regression are estimated; all are returned.
    regressors : (T, K) ndarray, optional
        What is regressed out together with the trend.

    Returns
    -------
    (V, T) ndarray of float32
    """
    design = _trend(values.shape[1])
    if regressors is not None:
        centred = regressors - regressors.mean(axis=0)
        size = np.linalg.norm(centred, axis=0)
        design = np.column_stack([design, centred[:, size > 0] / size[size > 0]])
    rest = _without(values, design, keep)
    return np.divide(rest, unit, out=np.zeros_like(rest), where=unit > 0).astype(np.float32)


def _trend(count):
    return np.column_stack([np.ones(count), np.linspace(-1, 1, count)])


def _without(values, design, keep):
    # lstsq leaves out directions that repeat each other, such as cosines beside a trend over few volumes
    weights = np.linalg.lstsq(design[keep], values[:, keep].T, rcond=1e-8)[0]
    return values - (design @ weights).T


def temporal_snr(series: np.ndarray, mask: np.ndarray, keep: np.ndarray, offset: float = 0.0) -> np.ndarray:
    """Mean over time by the standard deviation around the linear trend, in every voxel of a mask.

    Parameters
    ----------
    series : (I, J, K, T) ndarray
        As stored; a scale factor of the file does not matter here.
    mask : (I, J, K) ndarray of bool
    keep : (T,) ndarray of bool
        Volumes in steady state.
    offset : float
        Intercept of the file divided by its slope.

    Returns
    -------
    (I, J, K) ndarray of float32
        NaN outside the mask and where nothing varies.
    """
    out = np.full(mask.shape, np.nan, dtype=np.float32)
    time = np.linspace(-1, 1, int(keep.sum()))
    for k in range(mask.shape[2]):
        # slice by slice: the whole run as floats would need as much memory again several times over
        values = series[:, :, k][mask[:, :, k]][:, keep].astype(np.float64) + offset
        mean = values.mean(axis=1)
        values -= mean[:, None]
        values -= np.outer(values @ time / (time @ time), time)
        spread = values.std(axis=1)
        good = np.isfinite(spread) & (spread > 1e-9 * np.abs(mean))
        out[:, :, k][mask[:, :, k]] = np.divide(mean, spread, out=np.full(len(mean), np.nan), where=good)
    return out
