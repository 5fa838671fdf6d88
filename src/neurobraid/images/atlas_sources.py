"""Where an atlas comes from: built in, the user's files, or a nilearn fetcher; all end as one checked label image."""

import numpy as np
import pandas as pd

from neurobraid.errors import InputError
from neurobraid.images.atlas import COLUMNS, default_parcellation, load_atlas
from neurobraid.images.templates import SPACE, grid, template

#: nilearn function and default arguments of the atlases that can be fetched by name.
FETCHERS = {
    "schaefer_2018": ("fetch_atlas_schaefer_2018", {"n_rois": 100, "yeo_networks": 7, "resolution_mm": 2}),
    "harvard_oxford": (
        "fetch_atlas_harvard_oxford",
        {"atlas_name": "cort-maxprob-thr25-2mm", "symmetric_split": True},
    ),
    "aal": ("fetch_atlas_aal", {"version": "SPM12"}),
    "destrieux_2009": ("fetch_atlas_destrieux_2009", {"lateralized": True}),
}
CONFIG = "config"
#: An atlas with fewer of its voxels inside the template's brain than this is not in template space.
LEAST_INSIDE = 0.6


def to_grid(labels, affine, shape, target):
    """Resample labels to another grid by nearest neighbour (centres of the target's voxels).

    Parameters
    ----------
    labels : numpy.ndarray of int, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    shape : tuple of int
    target : numpy.ndarray, (4, 4)
        Affine of the target grid.

    Returns
    -------
    numpy.ndarray of int32, `shape`
        0 outside the field of view of `labels`.
    """
    if labels.shape == tuple(shape) and np.allclose(affine, target, atol=1e-4):
        return labels.astype(np.int32)
    step = np.linalg.inv(affine) @ target
    ijk = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1).reshape(-1, 3)
    # the epsilon decides exact halves the same way on every processor
    source = np.floor(ijk @ step[:3, :3].T + step[:3, 3] + 0.5 - 1e-6).astype(np.int64)
    inside = ((source >= 0) & (source < labels.shape)).all(1)
    out = np.zeros(len(ijk), np.int32)
    out[inside] = labels[tuple(source[inside].T)]
    return out.reshape(shape)


def fetch(fetcher, parameters=None):
    """Download a named atlas through nilearn, or read it from nilearn's cache.

    Parameters
    ----------
    fetcher : str
        Key of `FETCHERS`.
    parameters : mapping, optional
        Arguments that replace the defaults of `FETCHERS`.

    Returns
    -------
    labels : numpy.ndarray of int32
    affine : numpy.ndarray, (4, 4)
    table : pandas.DataFrame
        Columns index and name, without background.
    arguments : dict
        The arguments used.
    source_space : str
        Template the atlas was made in, as nilearn names it.

    Raises
    ------
    InputError
        Unknown name, refused argument, or no network.
    """
    import importlib

    import nibabel as nib

    if fetcher not in FETCHERS:
        raise InputError(
            CONFIG, "atlases.fetcher", fetcher, ", ".join(FETCHERS), "choose one, or give image and table"
        )
    function, defaults = FETCHERS[fetcher]
    arguments = {**defaults, **(parameters or {})}
    datasets = importlib.import_module("nilearn.datasets")
    try:
        atlas = getattr(datasets, function)(**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(
            CONFIG, "atlases.parameters", arguments, f"the arguments of nilearn's {function}", str(error)
        ) from error
    except Exception as error:  # requests, urllib and tarfile each have their own
        fix = "connect to the network once (nilearn keeps the files), or give image and table of the atlas (kind: files)"
        found = f"not available ({type(error).__name__}: {str(error)[:200]})"
        raise InputError(
            CONFIG, f"atlases.fetcher {fetcher}", found, "a download or a cached copy", fix
        ) from error
    image = atlas.maps if hasattr(atlas.maps, "dataobj") else nib.load(atlas.maps)
    labels = np.asarray(image.dataobj)
    labels = np.rint(labels.reshape(labels.shape[:3])).astype(np.int32)
    table = pd.DataFrame({"index": atlas.lut["index"].astype(int), "name": atlas.lut["name"].astype(str)})
    table = table[table["index"] != 0].reset_index(drop=True)
    return labels, image.affine, table, arguments, str(getattr(atlas, "template", "n/a"))


def _complete(labels, affine, table):
    """Fill the columns that a fetched table lacks."""
    from scipy import ndimage

    from neurobraid.images.transforms import apply_affine

    table = table.copy()
    centers = np.array(ndimage.center_of_mass(labels > 0, labels, table["index"].to_list()))
    table[["x", "y", "z"]] = apply_affine(affine, centers).round(1)
    sides = table["name"].str.extract(r"^(?:7|17)Networks_([LR])H_", expand=False)
    if sides.notna().any():
        table["hemisphere"] = sides.fillna("n/a")
    for column in COLUMNS:
        if column not in table:
            table[column] = "n/a"
    return table[COLUMNS]


def prepare_atlas(record, *, resolution=2.0, image=None, table=None):
    """Make the label image and table of one atlas record of the config.

    Parameters
    ----------
    record : mapping
        ``name``, ``kind`` (builtin, files, fetch), for fetch ``fetcher`` and ``parameters``.
    resolution : float
        Voxel edge in mm of the template grid the labels are brought to.
    image, table : path-like, optional
        Files of kind ``files``.

    Returns
    -------
    labels : numpy.ndarray of int32, on the template grid
    affine : numpy.ndarray, (4, 4)
    table : pandas.DataFrame
        Columns of `neurobraid.images.atlas.COLUMNS`, every region in its order, and ``voxels`` on the template grid (0 for
        a region too small for it).
    notes : dict
        What the sidecar says about the origin.

    Raises
    ------
    InputError, InputErrors
        A label of the table is not in the image (the label is named), the atlas does not lie on the template's brain, or
        it cannot be fetched.
    """
    kind = record.get("kind", "builtin")
    notes = {
        "Name": record["name"],
        "Kind": kind,
        "SpatialReference": SPACE,
        "Resolution": f"{resolution:g} mm isotropic",
    }
    shape, target = grid(resolution)
    if kind == "builtin":
        labels, affine, regions = default_parcellation(resolution)
        notes["License"] = "BSD-3-Clause (made from the ICBM 152 templates in nilearn)"
    elif kind == "files":
        labels, affine, regions = load_atlas(image, table)
        notes["SourceFiles"] = [str(image).rpartition("/")[2], str(table).rpartition("/")[2]]
    else:
        labels, affine, regions, arguments, space = fetch(record.get("fetcher"), record.get("parameters"))
        present = set(np.unique(labels).tolist())
        absent = regions[~regions["index"].isin(present)]
        regions = _complete(labels, affine, regions[regions["index"].isin(present)].reset_index(drop=True))
        notes.update(Fetcher=record.get("fetcher"), Parameters=arguments, SourceSpace=space)
        if len(absent):
            notes["LabelsWithoutVoxels"] = absent["name"].to_list()
    # values that no row names would otherwise count as regions without a name
    labels = np.where(np.isin(labels, regions["index"].to_numpy()), labels, 0)
    on_grid = to_grid(labels, affine, shape, target)
    brain = np.asarray(template("brain", resolution).dataobj) > 0
    labelled = on_grid > 0
    share = (labelled & brain).sum() / max(1, labelled.sum())
    if kind != "builtin" and share < LEAST_INSIDE:
        raise InputError(
            image or record.get("fetcher"),
            "position",
            f"{share:.0%} of its voxels inside the brain of {SPACE}",
            f"{LEAST_INSIDE:.0%} or more",
            "give an atlas in MNI152 space with a correct affine",
        )
    counts = pd.Series(on_grid[labelled]).value_counts()
    regions = regions.assign(voxels=regions["index"].map(counts).fillna(0).astype(int))
    lost = regions.loc[regions["voxels"] == 0, "name"].to_list()
    if lost:
        notes["RegionsLostByResampling"] = lost
    return on_grid, target, regions, notes
