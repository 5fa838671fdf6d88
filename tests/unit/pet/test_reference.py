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
