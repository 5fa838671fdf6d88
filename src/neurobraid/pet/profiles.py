"""Activity along three lines through the brain, frame by frame, before and after the correction of motion.

A head that moved shows as an edge that jumps from one frame to the next; where the correction worked the edges are
straight. The profiles are small, so that a report shows the whole scan without reading its images.
"""

import numpy as np

HALF_WIDTH_MM = 10.0
"""Half the width of the square over which a profile is averaged across its line."""

ACROSS, STEP_MM, MARGIN_MM = 5, 3.0, 18.0
"""Points of a side of that square, step along the line, and how far the line reaches beyond the brain, mm."""

KINDS = ("before", "after")
AXES = ("x", "y", "z")
FRAME = "frame_"
"""Start of the names of the columns of frames, numbered from 0."""


def lines(points):
    """Points of three lines through the middle of a brain, along x, y and z.

    Parameters
    ----------
    points : numpy.ndarray, (N, 3)
        Of the brain, RAS mm.

    Returns
    -------
    list of (str, numpy.ndarray (L,), numpy.ndarray (L, `ACROSS` ** 2, 3))
        Axis, positions along it (mm) and the points that are averaged at each.
    """
    middle, low, high = points.mean(axis=0), points.min(axis=0), points.max(axis=0)
    side = np.linspace(-HALF_WIDTH_MM, HALF_WIDTH_MM, ACROSS)
    across = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    found = []
    for number, axis in enumerate(AXES):
        at = np.arange(np.floor(low[number] - MARGIN_MM), high[number] + MARGIN_MM, STEP_MM)
        where = np.tile(middle, (len(at), len(across), 1))
        where[..., number] = at[:, None]
        where[..., [n for n in range(3) if n != number]] += across
        found.append((axis, at, where))
    return found


def profiles(series, affine, matrices, coreg, points):
    """Profiles of all frames in the space of the T1w, as recorded and with the motion taken out.

    Parameters
    ----------
    series : numpy.ndarray, (X, Y, Z, F), float32
        kBq/mL.
    affine : numpy.ndarray, (4, 4)
    matrices : numpy.ndarray, (F, 4, 4)
        See `motion.estimate`.
    coreg : numpy.ndarray, (4, 4)
        Points of T1w to points of the PET reference.
    points : numpy.ndarray, (N, 3)
        Of the brain in the T1w, RAS mm.

    Returns
    -------
    pandas.DataFrame
        ``correction`` (of `KINDS`), ``axis``, ``position_mm`` and one column per frame: mean activity, kBq/mL to four
        digits, 0 outside the image.
    """
    import pandas as pd

    from neurobraid.images.resample import sample
    from neurobraid.images.transforms import apply_affine

    to_voxel, still = np.linalg.inv(affine), np.eye(4)
    drawn = lines(points)
    where = np.concatenate([part.reshape(-1, 3) for _, _, part in drawn])
    count = ACROSS**2
    values = {kind: [] for kind in KINDS}
    for frame, matrix in enumerate(matrices):
        volume = np.ascontiguousarray(np.nan_to_num(series[..., frame]), dtype=np.float32)
        for kind, moved in zip(KINDS, (still, matrix), strict=True):
            ijk = apply_affine(to_voxel @ moved @ coreg, where)
            values[kind].append(sample(volume, ijk, 1).reshape(-1, count).mean(axis=1))
    tables = []
    for kind in KINDS:
        columns = {f"{FRAME}{n}": _digits(column) for n, column in enumerate(values[kind])}
        head = {
            "correction": kind,
            "axis": np.concatenate([[axis] * len(at) for axis, at, _ in drawn]),
            "position_mm": np.concatenate([at for _, at, _ in drawn]),
        }
        tables.append(pd.DataFrame({**head, **columns}))
    return pd.concat(tables, ignore_index=True)


def _digits(values, digits=4):
    """Values rounded to significant digits: what a picture shows, in a fraction of the bytes."""
    values = np.asarray(values, float)
    size = np.floor(np.log10(np.maximum(np.abs(values), 1e-9)))
    step = 10.0 ** (size - digits + 1)
    return np.round(values / step) * step
