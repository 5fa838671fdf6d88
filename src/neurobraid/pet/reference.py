"""The reference region: atlas regions by name, the cerebellum, the pons, white matter, or a mask in template space."""

import numpy as np

from neurobraid.errors import InputError

CEREBELLUM = "cerebellum"
WHOLE_CEREBELLUM = "wholecerebellum"
PONS = "pons"
WHITE_MATTER = "whitematter"
WORDS = {
    CEREBELLUM: "grey matter of all regions whose structure is cerebellum",
    WHOLE_CEREBELLUM: "the same regions and the white matter between them",
    PONS: "regions with pons in their name",
    WHITE_MATTER: "white matter above the anterior commissure",
}
WHITE_LEAST = 0.95
"""Probability a point of the white-matter reference needs."""

GREY_STRUCTURES = ("cortex", "cerebellum")
"""Structures restricted to grey matter. Deep nuclei are not: T1w contrast takes much of them for white matter."""


def is_mask(name):
    """Whether an entry of the setting is the path of a mask."""
    return str(name).endswith((".nii", ".nii.gz"))


def regions(names, tables):
    """Find the atlas and the regions that make up the reference.

    Parameters
    ----------
    names : list of str
        ``["cerebellum"]`` (all regions whose structure is ``cerebellum``) or names of regions of one atlas.
    tables : dict of str to pandas.DataFrame
        Atlas name to region table (columns index, name, structure), in the order of the config. The first atlas that
        has all of them is taken.

    Returns
    -------
    atlas : str
    index : list of int
        Labels of the regions.

    Raises
    ------
    InputError
        No atlas has them; names the nearest region names.
    """
    import difflib

    for atlas, table in tables.items():
        chosen = set()
        for name in names:
            hit = table["name"] == name
            if name in (CEREBELLUM, WHOLE_CEREBELLUM) and not hit.any():
                hit = table["structure"] == CEREBELLUM
            if name == PONS and not hit.any():
                hit = table["name"].str.contains(PONS, case=False, regex=False)
            if not hit.any():
                break
            chosen.update(int(i) for i in table.loc[hit, "index"])
        else:
            return atlas, sorted(chosen)
    known = [name for table in tables.values() for name in table["name"]]
    missing = [name for name in names if name not in known]
    near = [m for name in missing for m in difflib.get_close_matches(name, known, n=1)]
    fix = (
        f"did you mean {', '.join(near)}?"
        if near
        else "name regions of one atlas, or give the path of a mask"
    )
    if names == [PONS]:
        fix = "use an atlas with a region called pons, or give a mask in template space"
    if names in ([CEREBELLUM], [WHOLE_CEREBELLUM]):
        fix = "use an atlas with cerebellar regions (the built-in one has them), name regions, or give a mask"
    raise InputError(
        "config",
        "pet.reference",
        ", ".join(names),
        "cerebellum, names of regions of one atlas, or one mask",
        fix,
    )


def locate(names, part, tables, labels, grey_enough, covered, masks=(), erosion=0, white=None):
    """Points of the reference region.

    Parameters
    ----------
    names : list of str
        ``cerebellum`` (grey matter), ``wholecerebellum``, ``pons`` (where an atlas has it), ``whitematter``, names of
        regions of one atlas, or the path of one mask in template space.
    part : tacs.Partition
    tables : dict of str to pandas.DataFrame
        See `regions`.
    labels : dict of str to numpy.ndarray of int, (P,)
        Label of every point in every atlas.
    grey_enough : numpy.ndarray of bool, (P,)
        Points that count as grey matter.
    covered : numpy.ndarray of bool, (X, Y, Z)
        Voxels with data.
    masks : list of nibabel images
        The mask, when it is one.
    erosion : int
        Voxels of the PET grid to erode by.
    white : numpy.ndarray, (P,), optional
        Probability of white matter, for ``wholecerebellum`` and ``whitematter``.

    Returns
    -------
    inside : numpy.ndarray of bool, (P,)
    atlas : str
        Name of the atlas, ``mask`` or ``tissue``.
    described : list of str
        What the region is made of.
    grey : bool
        Whether it was restricted to grey matter.

    Raises
    ------
    InputError
        No such region, or nothing is left of it.
    """
    names, grey = list(names), False
    if names and is_mask(names[0]):
        volume = (np.asarray(masks[0].dataobj) > 0.5).astype(np.int32)
        inside = part.labels(volume, np.asarray(masks[0].affine, float)) > 0
        atlas, described = "mask", [str(names[0])]
    elif names == [WHITE_MATTER]:
        inside = (white >= WHITE_LEAST) & (part.template[:, 2] > 0)
        atlas, described = "tissue", [WHITE_MATTER]
    else:
        atlas, index = regions(names, tables)
        table = tables[atlas]
        inside = np.isin(labels[atlas], index)
        described = table.loc[table["index"].isin(index), "name"].tolist()
        structure = table.get("structure")
        grey = structure is not None and structure[table["index"].isin(index)].isin(GREY_STRUCTURES).all()
        if WHOLE_CEREBELLUM in names:
            grey = False
            inside |= _between(part, inside, white)
            described.append("cerebellar white matter")
        if grey:
            inside &= grey_enough
    if erosion and inside.any():
        shape = covered.shape
        whole = np.bincount(part.voxel[inside], minlength=covered.size).reshape(shape)
        try:
            kept = erode(whole * 2 >= part.points_per_voxel, erosion)
        except ValueError as error:
            raise InputError(
                "config", "pet.reference_erosion_voxels", erosion, "an erosion that leaves part of the region", str(error)
            ) from error  # fmt: skip
        inside = inside & kept.ravel()[part.voxel]
    return inside, atlas, described, bool(grey)


def _between(part, inside, white):
    """White matter below the roof of the cerebellum and within its outline: nearer than 8 mm to a cerebellar point."""
    from scipy.spatial import cKDTree

    points = part.template
    found = np.zeros(len(points), bool)
    if not inside.any():
        return found
    low, high = points[inside].min(0), points[inside].max(0)
    near = (white > 0.5) & (points > low).all(1) & (points < high).all(1)
    # the brainstem and its peduncles are no cerebellum
    near &= (points[:, 1] < -44) & (np.abs(points[:, 0]) > 6)
    away, _ = cKDTree(points[inside]).query(points[near], distance_upper_bound=8.0)
    found[np.flatnonzero(near)[np.isfinite(away)]] = True
    return found


def erode(mask, voxels):
    """Erode a mask by a number of voxels (6-neighbourhood), away from spill-in; 0 leaves it as it is.

    Returns
    -------
    numpy.ndarray of bool

    Raises
    ------
    ValueError
        Nothing is left.
    """
    if not voxels:
        return mask
    from scipy import ndimage

    smaller = ndimage.binary_erosion(mask, iterations=int(voxels))
    if not smaller.any():
        raise ValueError(f"nothing is left of the reference region after erosion by {voxels} voxels")
    return smaller
