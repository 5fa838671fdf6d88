"""Published regional values of receptor maps against the project's own parcellation."""

import numpy as np
import pandas as pd

from neurobraid.files import read_tsv
from neurobraid.images.atlas import parcellate_map
from neurobraid.images.io import load


def compare(folder, parcels, background="mode"):
    """Agreement per map, see ``pet-receptor-maps/README.md`` of the recordings.

    Parameters
    ----------
    folder : pathlib.Path
        Real recordings.
    parcels : {200, 400}
    background : str
        See `parcellate_map`.

    Returns
    -------
    pandas.DataFrame
        ``map``, ``r``, ``largest`` (difference over the largest published value), ``empty`` (parcels without a voxel).
    """
    maps = folder / "pet-receptor-maps"
    published = read_tsv(maps / f"parcellated_schaefer{parcels}.tsv")
    atlas = load(folder / f"atlases-mni152/atlases/Schaefer{parcels}_space-MNI152NLin6_res-1x1x1.nii.gz")
    table = pd.DataFrame({"index": published["label"], "name": published["label"].astype(str)})
    rows = []
    for name in published.columns.drop("label"):
        found = parcellate_map(load(maps / f"maps/{name}.nii.gz"), atlas, table, background=background)
        # the authors wrote 0 where no voxel is left
        own, theirs = found["value"].fillna(0.0).to_numpy(), published[name].to_numpy()
        largest = np.abs(own - theirs).max() / np.abs(theirs).max()
        empty = int((found["voxels"] == 0).sum())
        rows.append((name, np.corrcoef(own, theirs)[0, 1], largest, empty))
    return pd.DataFrame(rows, columns=["map", "r", "largest", "empty"])
