"""The brain of a real head: the failure that a simulated skull does not show."""

import numpy as np
import pytest

from neurobraid.anat import brain
from neurobraid.images.io import load

pytestmark = pytest.mark.real


def test_brain_of_a_real_defaced_head(real_data):
    source = real_data / "studyforrest-localizer-small/sub-02/anat/sub-02_T1w.nii.gz"
    image = brain.conform(load(source))
    corrected, mask, quality = brain.extract_brain(image, name=source.name)
    assert np.isfinite(corrected).all()
    # an outline of 1,580 mL was looked at and follows the brain; registering the whole head to the template gave 1,847
    assert 1500 < quality["volume_brain_mask_ml"] < 1660
    assert quality["mask_agreement_dice"] > 0.95
    voxel = np.linalg.norm(image.affine[:3, :3], axis=0)
    spans = [np.ptp(np.flatnonzero(mask.any(tuple({0, 1, 2} - {a})))) * voxel[a] for a in range(3)]
    # wider: scalp or muscle; longer: eyes; higher: neck
    assert spans[0] < 145 and spans[1] < 190 and spans[2] < 165
