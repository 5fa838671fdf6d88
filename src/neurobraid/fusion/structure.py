"""Grey-matter volume and density of every region of an atlas, from one T1w scan."""

import numpy as np

from neurobraid.files import write_json, write_tsv
from neurobraid.provenance import sidecar

#: Half the step, in mm, of the central difference that gives the local volume change.
STEP = 1.0


def volume_change(warp, points, step=STEP):
    """Local volume change of a map of points: the determinant of its Jacobian.

    Parameters
    ----------
    warp : neurobraid.images.transforms.Warp
    points : numpy.ndarray, (N, 3)
        RAS mm.
    step : float
        Half the step of the central difference, mm.

    Returns
    -------
    numpy.ndarray, (N,), float64
        Above 1 where the map enlarges.
    """
    columns = []
    for axis in np.eye(3):
        columns.append((warp.apply(points + step * axis) - warp.apply(points - step * axis)) / (2 * step))
    return np.linalg.det(np.stack(columns, axis=-1))


def region_structure(grey, affine, warp, labels, labels_affine, table, *, min_coverage=0.5):
    """Grey-matter volume, density and coverage per region (modulated volumes; Good et al. 2001).

    Every voxel of the atlas is carried into the person's own T1w; the grey-matter probability found there is
    weighed by how much the map enlarges or shrinks the voxel, so the volume is the person's, not the template's.

    Parameters
    ----------
    grey : numpy.ndarray, (X, Y, Z)
        Grey-matter probability in the T1w's own grid.
    affine : numpy.ndarray, (4, 4)
        Of `grey`.
    warp : neurobraid.images.transforms.Warp
        ``from-T1w_to-MNI…``: points of the template to points of the T1w.
    labels : numpy.ndarray of int
        Atlas; any numbers, gaps allowed.
    labels_affine : numpy.ndarray, (4, 4)
    table : pandas.DataFrame
        Columns index, name.
    min_coverage : float
        Regions with a smaller share inside the T1w's field of view get NaN.

    Returns
    -------
    pandas.DataFrame
        One row per region in the table's order: index, name, volume_ml (mL), density (mean probability),
        region_ml (mL of the region's own space, any tissue), coverage (0 to 1).
    """
    import pandas as pd

    from neurobraid.images.resample import sample
    from neurobraid.images.transforms import apply_affine

    index = table["index"].to_numpy(dtype=np.int64)
    order = np.argsort(index, kind="stable")
    chosen = np.flatnonzero(np.isin(labels, index))
    region = order[np.searchsorted(index[order], labels.ravel()[chosen])]
    ijk = np.stack(np.unravel_index(chosen, labels.shape), axis=1)
    points = apply_affine(labels_affine, ijk)
    there = apply_affine(np.linalg.inv(affine), warp.apply(points))
    inside = np.all((there > -0.5) & (there < np.array(grey.shape) - 0.5), axis=1)
    probability = np.where(inside, sample(np.nan_to_num(grey), there, order=1, fill=0.0), 0.0)
    voxel = abs(np.linalg.det(labels_affine[:3, :3])) * np.abs(volume_change(warp, points)) / 1000.0
    count = np.bincount(region, minlength=index.size)
    seen = np.bincount(region, weights=inside, minlength=index.size)
    coverage = np.where(count > 0, seen / np.maximum(count, 1), 0.0)
    space = np.bincount(region, weights=voxel * inside, minlength=index.size)
    volume = np.bincount(region, weights=voxel * probability, minlength=index.size)
    low = (coverage < min_coverage) | (space <= 0)
    density = np.where(low, np.nan, volume / np.where(low, 1.0, space))
    return pd.DataFrame(
        {
            "index": index,
            "name": table["name"].to_numpy(),
            "volume_ml": np.where(low, np.nan, volume),
            "density": density,
            "region_ml": np.where(low, np.nan, space),
            "coverage": coverage,
        }
    )


def write_structure(probseg, transform, atlas, atlas_table, output, output_json, *, min_coverage=0.5):
    """Read one T1w scan's grey matter, measure every region, write ``…_morph.tsv`` and its sidecar.

    Parameters
    ----------
    probseg : path-like
        ``…_label-GM_probseg.nii.gz`` in the T1w's own space.
    transform : path-like
        ``…_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.h5``.
    atlas, atlas_table : path-like
    output, output_json : path-like
    min_coverage : float
    """
    from neurobraid.images.atlas import load_atlas
    from neurobraid.images.io import data, load
    from neurobraid.images.transforms import read_warp

    image = load(probseg)
    labels, affine, table = load_atlas(atlas, atlas_table)
    result = region_structure(
        data(image), image.affine, read_warp(transform), labels, affine, table, min_coverage=min_coverage
    )
    write_tsv(result, output)
    write_json(
        sidecar(
            "Grey matter of every region: volume in the person's own brain and mean probability.",
            [probseg, transform, atlas],
            Columns={
                "index": "Label in the atlas image",
                "name": "Region",
                "volume_ml": "Grey-matter volume (mL): probability summed over the region, weighed by the Jacobian",
                "density": "Mean grey-matter probability in the region (0 to 1)",
                "region_ml": "Volume of the region in the person's own space, any tissue (mL)",
                "coverage": "Share of the region inside the field of view of the T1w (0 to 1)",
            },
            MinimumCoverage=min_coverage,
        ),
        output_json,
    )
