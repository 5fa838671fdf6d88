"""Grey-matter volume and density of every region of an atlas, from one T1w scan."""

import numpy as np

from neurobraid.files import write_json, write_tsv
from neurobraid.provenance import sidecar

#: Voxels mapped at a time, to bound memory on large T1w images.
CHUNK = 500_000


def labels_in_person(shape, affine, to_person, to_template, labels, labels_affine):
    """Atlas labels on the grid of a T1w: every voxel takes the label that its centre has in the atlas.

    Parameters
    ----------
    shape : tuple of int
    affine : numpy.ndarray, (4, 4)
        Grid of the T1w.
    to_person, to_template : neurobraid.images.transforms.Warp
        ``from-T1w_to-MNI…`` maps points of the template to points of the T1w, ``from-MNI…_to-T1w`` the reverse.
    labels : numpy.ndarray of int
        Atlas; 0 is no region.
    labels_affine : numpy.ndarray, (4, 4)

    Returns
    -------
    numpy.ndarray of int32, `shape`
    """
    from neurobraid.images.resample import sample
    from neurobraid.images.transforms import apply_affine

    out = np.zeros(shape, np.int32)
    known = np.argwhere(labels != 0)
    there = apply_affine(np.linalg.inv(affine), to_person.apply(apply_affine(labels_affine, known)))
    # only the box of the T1w that the atlas reaches; an atlas voxel reaches half its edge past its centre
    edges = [np.linalg.norm(m[:3, :3], axis=0) for m in (labels_affine, affine)]
    margin = int(np.ceil(1.5 * edges[0].max() / edges[1].min())) + 1
    low = np.clip(np.floor(there.min(axis=0)).astype(int) - margin, 0, shape)
    high = np.clip(np.ceil(there.max(axis=0)).astype(int) + margin + 1, 0, shape)
    size = np.maximum(high - low, 0)
    inverse = np.linalg.inv(labels_affine)
    for start in range(0, int(size.prod()), CHUNK):
        flat = np.arange(start, min(start + CHUNK, int(size.prod())))
        ijk = np.stack(np.unravel_index(flat, size), axis=1) + low
        found = sample(labels, apply_affine(inverse, to_template.apply(apply_affine(affine, ijk))), order=0)
        out[tuple(ijk.T)] = found
    return out


def region_structure(grey, affine, to_person, placed, labels, labels_affine, table, *, min_coverage=0.5):
    """Grey-matter volume, density and coverage per region, in the person's own space.

    The probabilities are summed where they were estimated, so nothing is blurred by a second interpolation.

    Parameters
    ----------
    grey : numpy.ndarray, (X, Y, Z)
        Grey-matter probability in the T1w's own grid.
    affine : numpy.ndarray, (4, 4)
        Of `grey`.
    to_person : neurobraid.images.transforms.Warp
        ``from-T1w_to-MNI…``: points of the template to points of the T1w.
    placed : numpy.ndarray of int, (X, Y, Z)
        The atlas on the T1w's grid, from `labels_in_person`.
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
        region_ml (mL of the region in the person, any tissue), coverage (0 to 1).
    """
    import pandas as pd

    from neurobraid.images.transforms import apply_affine

    index = table["index"].to_numpy(dtype=np.int64)
    order = np.argsort(index, kind="stable")
    known = np.flatnonzero(np.isin(labels, index))
    region = order[np.searchsorted(index[order], labels.ravel()[known])]
    points = apply_affine(labels_affine, np.stack(np.unravel_index(known, labels.shape), axis=1))
    there = apply_affine(np.linalg.inv(affine), to_person.apply(points))
    inside = np.all((there > -0.5) & (there < np.array(grey.shape) - 0.5), axis=1)
    count = np.bincount(region, minlength=index.size)
    coverage = np.bincount(region, weights=inside, minlength=index.size) / np.maximum(count, 1)

    hit = np.flatnonzero(np.isin(placed, index))
    region = order[np.searchsorted(index[order], placed.ravel()[hit])]
    probability = np.nan_to_num(grey.ravel()[hit]).astype(np.float64)
    voxels = np.bincount(region, minlength=index.size)
    volume = np.bincount(region, weights=probability, minlength=index.size)
    unit = abs(np.linalg.det(affine[:3, :3])) / 1000.0
    lost = (coverage < min_coverage) | (voxels == 0)
    return pd.DataFrame(
        {
            "index": index,
            "name": table["name"].to_numpy(),
            "volume_ml": np.where(lost, np.nan, unit * volume),
            "density": np.where(lost, np.nan, volume / np.maximum(voxels, 1)),
            "region_ml": np.where(lost, np.nan, unit * voxels),
            "coverage": coverage,
        }
    )


def write_structure(probseg, to_person, to_template, atlas, atlas_table, outputs, *, min_coverage=0.5):
    """Measure the grey matter of every region of one T1w scan; write the table and the labels on the T1w's grid.

    Parameters
    ----------
    probseg : path-like
        ``…_label-GM_probseg.nii.gz`` in the T1w's own space.
    to_person, to_template : path-like
        ``…_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.h5`` and ``…_from-MNI152NLin2009aSym_to-T1w_….h5``.
    atlas, atlas_table : path-like
    outputs : mapping
        Paths ``table`` (``…_desc-structure_morph.tsv``), ``sidecar``, ``dseg`` (atlas on the T1w's grid), ``dseg_json``
        and ``dseg_tsv`` (names of the labels).
    min_coverage : float
    """
    from neurobraid.images.atlas import load_atlas
    from neurobraid.images.io import data, load, save
    from neurobraid.images.transforms import read_warp

    image = load(probseg)
    labels, affine, table = load_atlas(atlas, atlas_table)
    person = read_warp(to_person)
    placed = labels_in_person(image.shape, image.affine, person, read_warp(to_template), labels, affine)
    result = region_structure(
        data(image), image.affine, person, placed, labels, affine, table, min_coverage=min_coverage
    )
    write_tsv(result, outputs["table"])
    save(placed, image.affine, outputs["dseg"], dtype=np.int32)
    write_tsv(table, outputs["dseg_tsv"])
    write_json(
        sidecar(
            "Atlas on the grid of the T1w, nearest label through the inverse normalisation.",
            [atlas, to_template],
            Manual=False,
            SpatialReference="orig",
            Resolution="that of the T1w",
        ),
        outputs["dseg_json"],
    )
    write_json(
        sidecar(
            "Grey matter of every region: volume in the person's own brain and mean probability.",
            [probseg, to_person, to_template, atlas],
            Columns={
                "index": "Label in the atlas image",
                "name": "Region",
                "volume_ml": "Grey-matter volume (mL): probability summed over the region's voxels",
                "density": "Mean grey-matter probability in the region (0 to 1)",
                "region_ml": "Volume of the region in the person, any tissue (mL)",
                "coverage": "Share of the region inside the field of view of the T1w (0 to 1)",
            },
            MinimumCoverage=min_coverage,
        ),
        outputs["sidecar"],
    )
