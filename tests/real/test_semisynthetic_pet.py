"""Raw PET of a real head to binding: simref's curves painted on a real T1w image, through the workflow."""

import numpy as np
import pytest

from tests.unit.pet import semisynthetic

pytestmark = [pytest.mark.real, pytest.mark.slow]
QUICK = {"recording": "studyforrest-localizer-small", "quality": "fast", "tracers": ["RAC"]}


@pytest.fixture(scope="module")
def study(real_data, tmp_path_factory):
    """A study of one scan on the small T1w image (3 mm), and its binding before and after correction."""
    home = tmp_path_factory.mktemp("semi") / "study"
    semisynthetic.make(real_data, home, step_mm=1.5, voxel_mm=3.0, noise=0.05, **QUICK)
    options = {"quality": "fast", "tracers": ["RAC"]}
    return home, {pvc: semisynthetic.analyse(home, pvc, **options) for pvc in ("none", "gtm")}


def test_head_is_followed_and_found(study):
    motion, coregistration, moved = semisynthetic.positions(study[0], "RAC")
    assert moved.max() > 2
    assert np.nanmax(motion) < 0.5
    assert coregistration < 1.5


@pytest.mark.parametrize("model", semisynthetic.REFERENCE_MODELS)
def test_binding_is_that_of_the_painted_curves_after_correction(study, model):
    home, found = study
    truth = semisynthetic.painted(home, ["RAC"])
    errors = {pvc: semisynthetic.errors(values, truth)["RAC", model] for pvc, values in found.items()}
    assert len(errors["gtm"]) > 80
    assert abs(errors["gtm"].mean()) < 5 and errors["gtm"].abs().mean() < 5
    # what the scanner's resolution takes is more than that
    assert errors["none"].abs().mean() > 2 * errors["gtm"].abs().mean()
