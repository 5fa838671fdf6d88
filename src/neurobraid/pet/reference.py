"""The reference region: atlas regions by name, all cerebellar regions of an atlas, or a mask in template space."""

from neurobraid.errors import InputError

CEREBELLUM = "cerebellum"


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
            if name == CEREBELLUM and not hit.any():
                hit = table["structure"] == CEREBELLUM
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
    if names == [CEREBELLUM]:
        fix = "use an atlas with cerebellar regions (the built-in one has them), name regions, or give a mask"
    raise InputError(
        "config",
        "pet.reference",
        ", ".join(names),
        "cerebellum, names of regions of one atlas, or one mask",
        fix,
    )


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
