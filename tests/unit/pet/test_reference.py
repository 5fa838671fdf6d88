"""Tests of neurobraid.pet.reference."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.pet import reference

CORTEX = pd.DataFrame({"index": [1, 900], "name": ["LH_A", "RH_A"], "structure": ["cortex", "cortex"]})
WHOLE = pd.DataFrame(
    {
        "index": [7, 300, 12],
        "name": ["LH_A", "CerebLH", "CerebRH"],
        "structure": ["cortex", "cerebellum", "cerebellum"],
    }
)


def test_cerebellum_is_a_structure_of_the_first_atlas_that_has_it():
    assert reference.regions(["cerebellum"], {"schaefer": CORTEX, "braid": WHOLE}) == ("braid", [12, 300])


def test_names_of_one_atlas():
    assert reference.regions(["RH_A"], {"schaefer": CORTEX, "braid": WHOLE}) == ("schaefer", [900])
    assert reference.regions(["LH_A", "CerebRH"], {"schaefer": CORTEX, "braid": WHOLE}) == ("braid", [7, 12])


def test_unknown_names_get_the_nearest_one():
    with pytest.raises(InputError) as error:
        reference.regions(["CerebLX"], {"braid": WHOLE})
    assert error.value.problem.field == "pet.reference"
    assert "did you mean CerebLH?" in error.value.problem.fix
    with pytest.raises(InputError, match="use an atlas with cerebellar regions"):
        reference.regions(["cerebellum"], {"schaefer": CORTEX})


def test_erosion():
    mask = np.zeros((7, 8, 9), bool)
    mask[1:6, 1:7, 1:8] = True
    assert reference.erode(mask, 0) is mask
    assert reference.erode(mask, 1).sum() == 3 * 4 * 5
    with pytest.raises(ValueError, match="nothing is left"):
        reference.erode(mask, 3)


def test_masks_are_told_from_names():
    assert reference.is_mask("masks/cerebellum.nii.gz")
    assert not reference.is_mask("cerebellum")


class Points:
    """Three cerebellar points 10 mm apart, white matter between them, white matter far away, pons, cortex."""

    template = np.array(
        [
            [20.0, -70, -40], [30, -60, -35], [25, -80, -30], [25, -70, -36], [20, -20, 20], [0, -30, -35], [40, 20, 30],
            [2, -70, -36],
        ]
    )  # fmt: skip
    voxel = np.arange(8)
    points_per_voxel = 1


LABELS = {"braid": np.array([300, 12, 300, 0, 0, 55, 7, 0])}
WHITE = np.array([0.0, 0, 0, 1, 1, 0, 0, 1])
PONS = pd.concat([WHOLE, pd.DataFrame({"index": [55], "name": ["Pons_L"], "structure": ["brainstem"]})])


def where(name, **options):
    grey = np.array([True, True, False, False, False, False, True, False])
    covered = np.ones((2, 2, 2), bool)
    inside, atlas, described, limited = reference.locate(
        [name], Points, {"braid": PONS}, LABELS, grey, covered, white=WHITE, **options
    )
    return np.flatnonzero(inside).tolist(), atlas, described, limited


def test_tissues_and_words():
    assert where("cerebellum") == ([0, 1], "braid", ["CerebLH", "CerebRH"], True)
    found, _, described, limited = where("wholecerebellum")
    # white matter between cerebellar points counts, that of the midline (vermis, brainstem) and of the hemispheres does not
    assert found == [0, 1, 2, 3]
    assert described[-1] == "cerebellar white matter"
    assert not limited
    assert where("pons") == ([5], "braid", ["Pons_L"], False)
    assert where("whitematter") == ([4], "tissue", ["whitematter"], False)


def test_no_atlas_has_the_pons():
    with pytest.raises(InputError, match="region called pons"):
        reference.regions(["pons"], {"braid": WHOLE})
