"""Networks of the whole group on the study page: each component through its own peak."""

import nibabel as nib
import numpy as np

from neurobraid.files import write_json
from neurobraid.images.templates import template
from neurobraid.reports import components
from neurobraid.reports.gather import Inputs
from neurobraid.reports.pages import Fold, Gallery
from neurobraid.reports.participant import template_brain
from neurobraid.reports.planes import Volume, distance_from


def test_components_are_cut_through_their_peaks(tmp_path):
    affine = np.diag([8.0, 8, 8, 1])
    affine[:3, 3] = [-72, -104, -64]
    maps = np.zeros((19, 23, 19, 8), np.float32)
    for k in range(8):
        maps[4 + k, 10, 9, k] = -7.5 if k == 1 else 6.0
    path = tmp_path / "task-rest_space-MNI152NLin2009aSym_desc-components_boldmap.nii.gz"
    nib.save(nib.Nifti1Image(maps, affine), path)
    write_json(
        {"Method": "group ICA", "NumberOfScans": 12, "Strategy": "simple", "SmoothingFWHMmm": 6, "Seed": 3},
        str(path).replace(".nii.gz", ".json"),
    )
    back = Volume.of(template("T1w", 4.0)), distance_from(template_brain())
    gallery = Gallery(tmp_path / "figures", tmp_path / "index.html")
    heading, prose, fold = components.blocks(Inputs({"components": path}), gallery, back)
    assert "task rest" in heading.text and "8 components of 12 scans" in prose.paragraphs[0]
    assert isinstance(fold, Fold) and len(fold.blocks) == 8
    assert "largest value −7.5 SD at −32, −24, 8 mm" in fold.blocks[1].caption
    assert "2 SD" in fold.blocks[0].caption
    files = sorted(p.name for p in (tmp_path / "figures").iterdir())
    assert len(files) == 8 and files[0] == "study_task-rest_component01.png"
    before = (tmp_path / "figures" / files[1]).read_bytes()
    components.blocks(Inputs({"components": path}), gallery, back)
    assert (tmp_path / "figures" / files[1]).read_bytes() == before
    assert components.blocks(Inputs({}), gallery, back) == []
