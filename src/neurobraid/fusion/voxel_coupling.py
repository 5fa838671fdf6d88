"""Within one person, voxel by voxel: does the contrast follow the own binding or uptake inside grey matter?

Voxels are far from independent. Their correlation is told, and its p comes from blocks of voxels: means of cubes, with
Moran surrogates of the contrast over the cubes' centres.
"""

import numpy as np

from neurobraid.fusion.association import FEWEST_REGIONS, map_association
from neurobraid.fusion.table import name_entities
from neurobraid.jobs import log

#: Share of a full cube that must hold grey matter with both values.
FULL = 0.25
COLUMNS = {
    "voxels": "Voxels of the atlas's grey matter with both maps; n/a where a pair has no maps",
    "r_voxels": "Correlation over voxels",
    "blocks": "Cubes of voxels with both maps",
    "r_blocks": "Correlation over the means of the cubes",
    "p_blocks": "Two-sided p of r_blocks against Moran surrogates of the first map",
}


def blocks_of(inside, affine, width_mm):
    """Cube that every voxel belongs to.

    Parameters
    ----------
    inside : numpy.ndarray of bool, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    width_mm : float
        Edge of a cube, at least that of a voxel.

    Returns
    -------
    number : numpy.ndarray of int, (V,)
        -1 in cubes that are less than a quarter full.
    centres : numpy.ndarray, (B, 3)
        Mean place of the voxels of each cube, mm.
    """
    ijk = np.argwhere(inside)
    size = np.linalg.norm(affine[:3, :3], axis=0)
    step = np.maximum(np.rint(width_mm / size), 1).astype(int)
    _, number = np.unique(ijk // step, axis=0, return_inverse=True)
    number = number.ravel()
    count = np.bincount(number)
    kept = np.flatnonzero(count >= FULL * step.prod())
    place = np.full(count.size, -1)
    place[kept] = np.arange(kept.size)
    points = ijk @ affine[:3, :3].T + affine[:3, 3]
    centres = np.stack([np.bincount(number, points[:, k]) / count for k in range(3)], axis=1)[kept]
    return place[number], centres


def couple_voxels(first, second, inside, affine, *, width_mm=12.0, null="moran", surrogates=999, seed=0):
    """Correlation of two maps of one person inside grey matter.

    Parameters
    ----------
    first, second : numpy.ndarray, (X, Y, Z)
        NaN where there is no value.
    inside : numpy.ndarray of bool, (X, Y, Z)
        Grey matter.
    affine : numpy.ndarray, (4, 4)
    width_mm : float
        Edge of the cubes; several times the smoothness of the maps.
    null : {'moran', 'variogram'}
    surrogates, seed : int

    Returns
    -------
    dict
        Keys of `COLUMNS`; NaN with fewer than 8 cubes.
    """
    inside = inside & np.isfinite(first) & np.isfinite(second)
    out = {
        "voxels": int(inside.sum()),
        "r_voxels": np.nan,
        "blocks": 0,
        "r_blocks": np.nan,
        "p_blocks": np.nan,
    }
    if out["voxels"] < FEWEST_REGIONS:
        return out
    x, y = first[inside].astype(np.float64), second[inside].astype(np.float64)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return out
    out["r_voxels"] = float(np.corrcoef(x, y)[0, 1])
    number, centres = blocks_of(inside, affine, width_mm)
    out["blocks"] = len(centres)
    if len(centres) < FEWEST_REGIONS:
        return out
    used = number >= 0
    size = np.bincount(number[used], minlength=len(centres))
    a, b = (np.bincount(number[used], v[used], len(centres)) / size for v in (x, y))
    found = map_association(a, b, points=centres, null=null, count=surrogates, seed=seed)
    return out | {"r_blocks": found["r"], "p_blocks": found["p"]}


def _values(image):
    """A map's values with NaN in place of 0, which marks voxels without one."""
    from neurobraid.images.io import data

    values = data(image, np.float64).reshape(image.shape[:3])
    return np.where(np.isfinite(values) & (values != 0), values, np.nan)


def person_voxels(
    personal, contrasts, binding, atlas_image, *, width_mm=12.0, null="moran", surrogates=999, seed=1
):
    """Add the coupling by voxel to the table of persons.

    Parameters
    ----------
    personal : pandas.DataFrame
        ``participant_id``, ``first`` (``fmri-task <task>_<contrast>`` or ``fmri-rest strengthpositive``), ``second`` (``pet <measure>``, with ``_<tracer>`` of several).
    contrasts, binding : list of path-like
        Maps of the participants in template space; the first session of each. Contrasts, and maps of connectivity strength.
    atlas_image : path-like
        Its regions are the grey matter.
    width_mm, null, surrogates, seed
        See `couple_voxels`.

    Returns
    -------
    pandas.DataFrame
        `personal` with `COLUMNS`.
    """
    import pandas as pd

    from neurobraid.images.io import data, load
    from neurobraid.images.resample import resample_image

    functions, molecules = {}, {}
    resting = {name_entities(p).get("task") for p in contrasts if "_stat-strength_" in str(p)}
    for path in sorted(map(str, contrasts)):
        names = name_entities(path)
        measure = f"fmri-task {names.get('task')}_{names.get('contrast')}"
        if names.get("stat") == "strength":
            measure = "fmri-rest strengthpositive" + (f"_{names.get('task')}" if len(resting) > 1 else "")
        functions.setdefault((f"sub-{names['sub']}", measure), path)
    several = len({name_entities(p).get("trc") for p in binding}) > 1
    for path in sorted(map(str, binding)):
        names = name_entities(path)
        measure = f"pet {names.get('meas')}" + (f"_{names.get('trc')}" if several else "")
        molecules.setdefault((f"sub-{names['sub']}", measure), path)
    atlas, rows, grids = load(atlas_image), [], {}
    labels = (data(atlas, np.int32).reshape(atlas.shape[:3]), np.asarray(atlas.affine, float))
    for row in personal.itertuples():
        one, two = (
            functions.get((row.participant_id, row.first)),
            molecules.get((row.participant_id, row.second)),
        )
        if one is None or two is None:
            rows.append(dict.fromkeys(COLUMNS, np.nan))
            continue
        image = load(one)
        shape, affine = image.shape[:3], np.asarray(image.affine, float)
        key = (shape, affine.tobytes())
        if key not in grids:
            grids[key] = resample_image(labels, shape, affine, order=0) > 0
        other = load(two)
        values = _values(other)
        # linear over voxels with a value, so that the border of the map is not mixed with nothing
        share, total = (
            resample_image((part.astype(np.float32), np.asarray(other.affine, float)), shape, affine)
            for part in (np.isfinite(values), np.nan_to_num(values))
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            second = np.where(share > 0.5, total / share, np.nan)
        rows.append(
            couple_voxels(
                _values(image), second, grids[key], affine, width_mm=width_mm, null=null, surrogates=surrogates, seed=seed
            )
        )  # fmt: skip
    log.info(
        "coupling by voxel: %d of %d rows have maps",
        sum("p_blocks" in r and r["voxels"] == r["voxels"] for r in rows),
        len(rows),
    )
    added = pd.DataFrame(rows, columns=list(COLUMNS), index=personal.index)
    for name in ("voxels", "blocks"):
        added[name] = added[name].astype("Int64")
    return pd.concat([personal, added], axis=1)
