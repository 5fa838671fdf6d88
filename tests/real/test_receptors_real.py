"""Receptor maps of real people: the published regional means, similarity of regions, comparison of maps with nulls."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from neurobraid.fusion import association, nulls
from neurobraid.images.atlas import parcellate_map

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def folder(real_data):
    if not (real_data / "pet-receptor-maps").is_dir():
        pytest.skip("pet-receptor-maps is not there")
    return real_data


@pytest.fixture(scope="module")
def atlas(folder):
    """Schaefer's 200 regions: image, table, centres in mm."""
    image = nib.load(folder / "atlases-mni152/atlases/Schaefer200_space-MNI152NLin6_res-1x1x1.nii.gz")
    labels = np.asarray(image.dataobj).astype(int)
    index = np.arange(1, 201)
    middle = np.array(ndimage.center_of_mass(labels > 0, labels, index))
    table = pd.DataFrame({"index": index, "name": index.astype(str)})
    return image, table, middle @ image.affine[:3, :3].T + image.affine[:3, 3]


@pytest.fixture(scope="module")
def matrix(folder):
    return pd.read_csv(
        folder / "pet-receptor-maps/receptor_matrix_schaefer200.tsv", sep="\t", index_col="label"
    )


@pytest.fixture(scope="module")
def own(folder, atlas):
    """Regional means made here of the maps that have published ones, and those."""
    image, table, _ = atlas
    theirs = pd.read_csv(
        folder / "pet-receptor-maps/parcellated_schaefer200.tsv", sep="\t", index_col="label"
    )
    made = {
        name: parcellate_map(nib.load(folder / f"pet-receptor-maps/maps/{name}.nii.gz"), image, table)[
            "value"
        ].to_numpy()
        for name in theirs
    }
    return pd.DataFrame(made, index=theirs.index), theirs


def test_regional_means_and_similarity_are_the_published_ones(own):
    mine, theirs = own
    for name in theirs:
        ok = mine[name].notna() & (theirs[name] != 0)
        assert ok.sum() >= 199 and np.corrcoef(mine[name][ok], theirs[name][ok])[0, 1] > 0.9999, name
    similar = [association.similarity(t.where(mine.notna()).to_numpy()) for t in own]
    assert association.matrix_association(*similar) > 0.999


def test_similar_receptors_are_near_and_homologous(atlas, matrix):
    similar = association.similarity(matrix.to_numpy())
    _, fit = association.without_distance(similar, nulls.distances(atlas[2]))
    # receptor similarity falls with distance (Hansen et al. 2022)
    assert fit["amplitude"] > 0.2 and 10 < fit["length_mm"] < 200 and fit["r2"] > 0.05
    # regions of the two hemispheres that mirror one another are as alike as neighbours
    points = atlas[2]
    mirrored = np.linalg.norm(points[:100, None] * [-1, 1, 1] - points[None, 100:], axis=2).argmin(1)
    homologous = similar[np.arange(100), 100 + mirrored].mean()
    assert homologous > 0.6 > similar[:100, 100:].mean() + 0.3


def test_the_same_target_by_the_same_tracer_agrees_and_nulls_are_stricter_than_the_textbook(
    own, atlas, matrix
):
    points = atlas[2]
    for null in ("moran", "variogram"):
        found = association.map_association(
            own[0]["5HT1a_way_hc36_savli"].to_numpy(),
            matrix["5HT1a"].to_numpy(),
            points=points,
            null=null,
            count=199,
        )
        assert found["r"] > 0.8 and found["p"] <= 0.01
    names = list(matrix)[:8]
    pairs = [
        association.map_association(
            matrix[a].to_numpy(), matrix[b].to_numpy(), points=points, count=299, seed=1
        )
        for n, a in enumerate(names)
        for b in names[n + 1 :]
    ]
    naive, guarded = (np.mean([p[key] <= 0.05 for p in pairs]) for key in ("p_parametric", "p"))
    assert guarded < naive


def test_schaefer_regions_reach_the_surface_and_spin(folder, atlas, matrix):
    image, table, points = atlas
    parcels = nulls.surface_parcels(np.asarray(image.dataobj).astype(int), image.affine, table)
    both = np.concatenate([parcels["left"], parcels["right"]])
    assert len(np.unique(both[both >= 0])) == 200 and 0.75 < (both >= 0).mean() < 0.97
    # regions 1 to 100 are left
    assert (parcels["left"] < 100).mean() > 0.98 and (
        parcels["right"][parcels["right"] >= 0] >= 100
    ).mean() > 0.98
    found = association.map_association(
        matrix["5HT1a"].to_numpy(),
        matrix["5HT2a"].to_numpy(),
        points=points,
        null="spin",
        parcels=parcels,
        count=50,
    )
    assert found["surrogates"] == 50 and 0 < found["null_sd"] < 0.6


def test_dominance_of_all_nineteen_receptors_for_one_map(own, matrix):
    table, fit = association.dominance(
        matrix.to_numpy(), own[0]["D1_SCH23390_hc13_kaller"].to_numpy(), list(matrix)
    )
    assert table["total"].sum() == pytest.approx(fit["r2"]) and fit["r2"] > 0.95
    assert table.set_index("name")["total"].idxmax() == "D1"
