"""Atlases: the built-in grey-matter parcellation, user atlases, and region means that never lose a region."""

import re

import numpy as np
import pandas as pd

from neurobraid.errors import ProblemList
from neurobraid.files import read_tsv
from neurobraid.images.transforms import apply_affine

COLUMNS = ["index", "name", "hemisphere", "x", "y", "z", "structure"]
#: Columns kept where an atlas has them.
MORE_COLUMNS = ["network"]
_YEO = re.compile(r"^(?:7|17)Networks_([LR])H_([A-Za-z]+)")

# Boxes in MNI mm that are safely inside a structure whatever the parcel borders. The tentorium is not a plane:
# below these limits there is no cerebral cortex at these y (Schmahmann et al. 1999, NeuroImage 10:233).
_CEREBELLUM = {"y": (-92.0, -38.0), "x": (0.0, 55.0)}


def _cerebellum(points):
    """Conservative test for cerebellar tissue: below a plane that falls from the tentorial notch to the side."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    roof = -22.0 - 0.30 * x + 0.10 * (y + 60.0)
    inside = (y > _CEREBELLUM["y"][0]) & (y < _CEREBELLUM["y"][1]) & (x < _CEREBELLUM["x"][1])
    return inside & (z < roof)


def _deep(points):
    """Deep grey matter: striatum, pallidum and thalamus lie in this box, insula and cingulate do not."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    return (x > 2) & (x < 31) & (y > -32) & (y < 22) & (z > -10) & (z < 18) & (x < 29 + 0.1 * np.abs(z))


def _kmeans(points, count, rounds=40):
    """Lloyd's algorithm from farthest-point seeds: deterministic, no random state, one answer on any machine."""
    center = points.mean(0)
    seeds = [points[np.argmax(((points - center) ** 2).sum(1))]]
    distance = ((points - seeds[0]) ** 2).sum(1)
    for _ in range(count - 1):
        seeds.append(points[np.argmax(distance)])
        distance = np.minimum(distance, ((points - seeds[-1]) ** 2).sum(1))
    from scipy.spatial import cKDTree

    centers = np.array(seeds)
    for _ in range(rounds):
        labels = cKDTree(centers).query(points)[1]
        sums = np.stack([np.bincount(labels, points[:, a], count) for a in range(3)], 1)
        new = sums / np.maximum(np.bincount(labels, minlength=count), 1)[:, None]
        if np.allclose(new, centers, atol=1e-6):
            break
        centers = new
    return labels


def default_parcellation(resolution=2.0, *, cortex=41, deep=5, cerebellum=4):
    """Parcellate the grey matter of the MNI152 template into compact regions, hemisphere by hemisphere.

    The atlas that needs no download. Regions are k-means clusters of grey-matter voxel coordinates; the right
    hemisphere mirrors the left, because the template is symmetric, so homologous regions have equal shape.
    Names carry hemisphere and centre, e.g. ``LH_-42_-60_30``; they make no anatomical claim.

    Parameters
    ----------
    resolution : float
        Voxel edge in mm of the template grid.
    cortex, deep, cerebellum : int
        Regions per hemisphere.

    Returns
    -------
    labels : numpy.ndarray of int32, (X, Y, Z)
        0 is background.
    affine : numpy.ndarray, (4, 4)
    table : pandas.DataFrame
        Columns index, name, hemisphere (L, R), x, y, z (centre, RAS mm), structure (cortex, subcortex,
        cerebellum); rows in label order, left hemisphere first.
    """
    from neurobraid.images.templates import grid, template

    shape, affine = grid(resolution)
    grey = np.asarray(template("GM", resolution).dataobj)
    white = np.asarray(template("WM", resolution).dataobj)
    voxels = np.argwhere((grey > 0.5) & (grey > white))
    points = apply_affine(affine, voxels)
    left = points[:, 0] < -0.5 * resolution
    voxels, points = voxels[left], points[left]
    # brainstem and the floor of the skull base: grey in the template, of no use as a region
    keep = ~((np.abs(points[:, 0]) < 14) & (points[:, 1] > -48) & (points[:, 1] < -8) & (points[:, 2] < -12))
    voxels, points = voxels[keep], points[keep]
    cerebellar = _cerebellum(points)
    subcortical = _deep(points) & ~cerebellar
    cortical = ~cerebellar & ~subcortical
    # parcels below the tentorium that the conservative test left out belong to no region
    fossa = (
        (points[:, 1] < -38) & (points[:, 2] < -24 - 0.1 * np.abs(points[:, 0])) & (np.abs(points[:, 0]) < 52)
    )
    # the upper vermis reaches above that roof near the midline
    fossa |= (np.abs(points[:, 0]) < 28) & (points[:, 1] > -78) & (points[:, 1] < -42) & (points[:, 2] < -13)
    cortical &= ~fossa
    labels = np.zeros(shape, np.int32)
    rows = []
    mirror = np.rint(apply_affine(np.linalg.inv(affine), points * [-1, 1, 1])).astype(int)
    mirror = np.clip(mirror, 0, np.array(shape) - 1)
    offset, half = 0, cortex + deep + cerebellum
    for structure, chosen, count in (
        ("cortex", cortical, cortex),
        ("subcortex", subcortical, deep),
        ("cerebellum", cerebellar, cerebellum),
    ):
        parcel = _kmeans(points[chosen], count)
        centers = np.stack([points[chosen][parcel == p].mean(0) for p in range(count)])
        # front to back, so that neighbours in the table are neighbours in the brain
        order = np.lexsort((centers[:, 2].round(3), -centers[:, 1].round(3)))
        rank = np.empty(count, int)
        rank[order] = np.arange(count)
        value = offset + 1 + rank[parcel]
        labels[tuple(mirror[chosen].T)] = value + half
        labels[tuple(voxels[chosen].T)] = value
        for p in order:
            rows.append((offset + 1 + rank[p], structure, *centers[p]))
        offset += count
    prefix = {"cortex": "", "subcortex": "Sub", "cerebellum": "Cereb"}
    table = []
    for side, sign, shift in (("L", 1.0, 0), ("R", -1.0, half)):
        for index, structure, x, y, z in rows:
            spot = np.rint([sign * x, y, z]).astype(int)
            name = f"{prefix[structure]}{side}H_{spot[0]}_{spot[1]}_{spot[2]}"
            table.append(
                (index + shift, name, side, *[round(float(v), 1) for v in (sign * x, y, z)], structure)
            )
    return labels, affine, pd.DataFrame(table, columns=COLUMNS).sort_values("index", ignore_index=True)


def load_atlas(image, table):
    """Read a user's atlas and check that image and table fit each other.

    Parameters
    ----------
    image : path-like
        3D label image; labels are whole numbers of any size, gaps allowed.
    table : path-like
        TSV with columns ``index`` and ``name``, optionally hemisphere, x, y, z, structure, network.

    Returns
    -------
    labels : numpy.ndarray of int32
    affine : numpy.ndarray, (4, 4)
    table : pandas.DataFrame
        Columns as `default_parcellation`, one row per region of the table, in its order.

    Raises
    ------
    InputErrors
        Column missing, names or labels doubled, fractional labels, a label of the table not in the image.
    """
    from neurobraid.images.io import data, load

    problems = ProblemList()
    listed = read_tsv(table, text=["name"])
    for column in ("index", "name"):
        if column not in listed:
            problems.add(table, "columns", list(listed.columns), "index and name", f"add a column {column}")
    opened = load(image)
    values = data(opened, np.float64)
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        problems.add(image, "dimensions", values.ndim, "3 (labels)", "give a label image, not maps")
    elif not np.array_equal(values, np.rint(values)):
        problems.add(
            image, "voxel values", "fractions", "whole numbers", "resample labels by nearest neighbour"
        )
    problems.raise_errors()
    labels = values.astype(np.int32)
    for column in ("index", "name"):
        for double in listed[column][listed[column].duplicated()].unique():
            problems.add(table, column, f"{double} twice", "every value once", "give each region its own row")
    present = set(np.unique(labels).tolist())
    # an atlas that index_atlas brought to the template grid says itself which regions were too small for it
    lost = listed["voxels"] == 0 if "voxels" in listed else [False] * len(listed)
    for index, name, gone in zip(listed["index"], listed["name"], lost, strict=True):
        if int(index) not in present and not gone:
            problems.add(
                image, f"label {int(index)} ({name})", "not in the image", "every label of the table",
                "remove the row from the table or give the image it belongs to",
            )  # fmt: skip
    problems.raise_errors()
    listed["index"] = listed["index"].astype(int)
    for column in COLUMNS:
        if column not in listed:
            listed[column] = np.nan if column in "xyz" else "n/a"
    if listed[["x", "y", "z"]].isna().any().any():
        from scipy import ndimage

        centers = np.array(ndimage.center_of_mass(labels > 0, labels, listed["index"].to_list()))
        listed[["x", "y", "z"]] = apply_affine(opened.affine, centers).round(1)
    return labels, opened.affine, listed[[*COLUMNS, *(c for c in MORE_COLUMNS if c in listed)]]


def networks(table):
    """Network of every region: the column ``network``, else what the names of the Schaefer atlases say.

    Parameters
    ----------
    table : pandas.DataFrame
        Regions of an atlas, with ``name``.

    Returns
    -------
    pandas.Series of str or None
        ``n/a`` for a region without one; None where no region has a network.

    Examples
    --------
    >>> list(networks(pd.DataFrame({"name": ["7Networks_LH_Vis_1", "17Networks_RH_DefaultA_PFCm_2"]})))
    ['Vis', 'DefaultA']
    """
    if "network" in table:
        found = table["network"].astype(object).where(table["network"].notna(), "n/a").astype(str)
    else:
        found = table["name"].astype(str).map(lambda n: m[2] if (m := _YEO.match(n)) else "n/a")
    return None if (found == "n/a").all() else found


def region_means(data, labels, table, *, mask=None, full=None):
    """Mean of every region of the atlas, in atlas order, missing regions kept as NaN.

    Parameters
    ----------
    data : numpy.ndarray, (X, Y, Z) or (X, Y, Z, T)
    labels : numpy.ndarray of int, (X, Y, Z)
        Atlas on the grid of `data`.
    table : pandas.DataFrame
        With columns index and name.
    mask : numpy.ndarray of bool, optional
        Voxels with data. Voxels that are not finite in any volume never count.
    full : numpy.ndarray or pandas.Series, optional
        Voxels each region has in the whole atlas on this grid, in table order; default: in `labels`.

    Returns
    -------
    means : numpy.ndarray, (T, R) or (R,), float64
    coverage : numpy.ndarray, (R,)
        Fraction of the region's voxels inside the mask.
    """
    data = np.asarray(data)
    volumes = data.reshape(*data.shape[:3], -1)
    index = np.asarray(table["index"], dtype=np.int64)
    order = np.argsort(index)
    place = np.searchsorted(index[order], labels.ravel())
    place = np.clip(place, 0, len(index) - 1)
    known = (labels.ravel() != 0) & (index[order][place] == labels.ravel())
    valid = known & np.isfinite(volumes).all(-1).ravel()
    if mask is not None:
        valid &= np.asarray(mask, bool).ravel()
    region = order[place]
    total = np.bincount(region[known], minlength=len(index)) if full is None else np.asarray(full)
    counted = np.bincount(region[valid], minlength=len(index))
    flat = volumes.reshape(-1, volumes.shape[-1])[valid]
    means = np.full((volumes.shape[-1], len(index)), np.nan)
    for t in range(volumes.shape[-1]):
        sums = np.bincount(region[valid], flat[:, t].astype(np.float64), len(index))
        np.divide(sums, counted, out=means[t], where=counted > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        coverage = np.where(total > 0, counted / np.maximum(total, 1), 0.0)
    return (means if data.ndim == 4 else means[0]), coverage


def parcellate_map(image, atlas, table, *, background="mode"):
    """Regional means of a map that comes without a mask: a receptor map, a parametric map of another study.

    The atlas is brought to the grid of the map by nearest neighbour, not the map to the atlas: the map's values stay as
    published, and no voxel is mixed with the background.

    Parameters
    ----------
    image : nibabel image
        3D map (or 4D of one volume) in the atlas's space, on any grid.
    atlas : nibabel image
        Labels.
    table : pandas.DataFrame
        Columns index and name.
    background : {'mode', 'zero', 'none'} or float
        Voxels that are no data: those of the map's most frequent value if that is at least a twentieth of all voxels
        (maps from filtered or shifted images have a small negative value where others have 0), exact zeros, none, or
        those of a given value. Not-finite voxels never count.

    Returns
    -------
    pandas.DataFrame
        ``index``, ``name``, ``value`` (NaN where no voxel is left), ``voxels`` (that count), ``coverage`` (their share of
        the region's voxels on the grid of the map), in the order of `table`.

    Raises
    ------
    ValueError
        `background` is none of these.
    """
    from neurobraid.images.io import data
    from neurobraid.images.resample import resample_image

    values = data(image)
    values = values.reshape(values.shape[:3])
    labels = resample_image(
        (data(atlas, np.int32).reshape(atlas.shape[:3]), np.asarray(atlas.affine, float)),
        values.shape,
        np.asarray(image.affine, float),
        order=0,
    )
    finite = np.isfinite(values)
    if background == "mode":
        found, counts = np.unique(values[finite], return_counts=True)
        frequent = len(counts) and counts.max() >= 0.05 * values.size
        outside = values == found[counts.argmax()] if frequent else ~finite
    elif background == "zero":
        outside = values == 0
    elif background == "none":
        outside = ~finite
    elif isinstance(background, int | float):
        outside = values == np.float32(background)
    else:
        raise ValueError(f"background is {background!r}; allowed: mode, zero, none or a number")
    means, coverage = region_means(values, labels, table, mask=~outside & finite)
    index = table["index"].to_numpy()
    present = labels[(labels != 0) & ~outside & finite]
    sizes = np.bincount(present, minlength=int(max(index.max(), present.max(initial=0))) + 1)
    return pd.DataFrame(
        {
            "index": index,
            "name": table["name"].to_numpy(),
            "value": means,
            "voxels": sizes[index],
            "coverage": coverage,
        }
    )
