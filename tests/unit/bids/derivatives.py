"""fMRIPrep derivatives beside a raw dataset, in the layouts of several versions: names from fMRIPrep, images of a few voxels.

`write_names` writes files that only have to be there and to have a header; tests of voxel values bring their own images.
"""

import json
import shutil
from pathlib import Path

from neurobraid.bids.fmriprep import CONFOUNDS
from tests.unit.bids.trees import SHAPE, VOLUMES, write_image

#: Names by layout: of the alignment, of the confounds, of the template resolution, of the run's own reference and mask.
LAYOUTS = {
    "20.2.7": {
        "coreg": "from-scanner_to-T1w_mode-image_xfm.txt",
        "confounds": "desc-confounds_timeseries",
        "mni": "space-MNI152NLin2009cAsym_res-2",
        "spaces": ("T1w", "mni"),
    },
    "20.0.7": {
        "coreg": "from-scanner_to-T1w_mode-image_xfm.txt",
        "confounds": "desc-confounds_regressors",
        "mni": "space-MNI152NLin2009cAsym",
        "spaces": ("mni",),
    },
    "25.2.0": {
        "coreg": "from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt",
        "confounds": "desc-confounds_timeseries",
        "mni": "space-MNI152NLin2009cAsym_res-native",
        "native": ("desc-coreg_boldref", "desc-brain_mask"),
        "spaces": ("T1w", "mni", "native"),
    },
    "26.0.0": {
        "coreg": "from-run_to-T1w_mode-image_desc-coreg_xfm.txt",
        "confounds": "desc-confounds_timeseries",
        "mni": "space-MNI152NLin2009cAsym_res-native",
        "native": ("space-run_boldref", "space-run_desc-brain_mask"),
        "spaces": ("mni",),
    },
}


def describe(root, version):
    """Write ``dataset_description.json`` as fMRIPrep does."""
    root.mkdir(parents=True, exist_ok=True)
    content = {
        "Name": "fMRIPrep - fMRI PREProcessing workflow",
        "BIDSVersion": "1.4.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "fMRIPrep", "Version": version}],
    }
    (root / "dataset_description.json").write_text(json.dumps(content))


def anatomy_names(stem):
    """Anatomical files of one participant or session, by role."""
    template = "MNI152NLin2009cAsym"
    return {
        "t1w": f"{stem}_desc-preproc_T1w.nii.gz",
        "mask": f"{stem}_desc-brain_mask.nii.gz",
        "gm": f"{stem}_label-GM_probseg.nii.gz",
        "wm": f"{stem}_label-WM_probseg.nii.gz",
        "csf": f"{stem}_label-CSF_probseg.nii.gz",
        "forward": f"{stem}_from-T1w_to-{template}_mode-image_xfm.h5",
        "inverse": f"{stem}_from-{template}_to-T1w_mode-image_xfm.h5",
    }


def run_names(stem, version, spaces=None):
    """Functional files of one run, by role; the series in the spaces of the layout or those given."""
    layout = LAYOUTS[version]
    found = {
        "confounds": f"{stem}_{layout['confounds']}.tsv",
        "confounds_json": f"{stem}_{layout['confounds']}.json",
        "coreg": f"{stem}_{layout['coreg']}",
    }
    for role, name in zip(("native_ref", "native_mask"), layout.get("native", ()), strict=False):
        found[role] = f"{stem}_{name}.nii.gz"
    for space in layout["spaces"] if spaces is None else spaces:
        part = {"mni": f"_{layout['mni']}", "native": "", "T1w": "_space-T1w"}.get(space, f"_space-{space}")
        found[f"{space}_bold"] = f"{stem}{part}_desc-preproc_bold.nii.gz"
        found[f"{space}_json"] = f"{stem}{part}_desc-preproc_bold.json"
        found[f"{space}_mask"] = f"{stem}{part}_desc-brain_mask.nii.gz"
        found[f"{space}_boldref"] = f"{stem}{part}_boldref.nii.gz"
    return found


def write_names(raw, root, version="25.2.0", people=None, per_session=True, spaces=None):
    """Derivatives for a raw dataset: whole by name and header, without meaning in the voxels.

    Parameters
    ----------
    raw : pathlib.Path
        From `tests.unit.bids.trees.write_tree`.
    root : pathlib.Path
    version : str
        Key of `LAYOUTS`.
    people : list of str, optional
        Labels; all by default.
    per_session : bool
        Anatomy of every session that has a T1w; else one of the participant.
    spaces : tuple of str, optional
        See `run_names`.

    Returns
    -------
    pathlib.Path
        `root`.
    """
    describe(root, version)
    for path in sorted(raw.glob("sub-*/**/*.nii.gz")):
        name, visit = path.name[:-7], path.parents[1].relative_to(raw)
        stem, _, suffix = name.rpartition("_")
        participant = visit.parts[0]
        if (people is not None and participant[4:] not in people) or suffix not in ("T1w", "bold"):
            continue
        if suffix == "T1w":
            folder = root / (visit if per_session else participant) / "anat"
            names = anatomy_names(stem if per_session else participant)
        else:
            folder, names = root / visit / "func", run_names(stem, version, spaces)
        folder.mkdir(parents=True, exist_ok=True)
        for role, file in names.items():
            target = folder / file
            if file.endswith("bold.nii.gz"):
                write_image(target, shape=(*SHAPE, VOLUMES), tr=2.0)
            elif file.endswith(".nii.gz"):
                write_image(target)
            elif role == "confounds":
                lines = ["\t".join(CONFOUNDS)] + ["\t".join("0.1" for _ in CONFOUNDS)] * VOLUMES
                target.write_text("\n".join(lines) + "\n")
            elif file.endswith(".json"):
                target.write_text(json.dumps({"RepetitionTime": 2.0, "SliceTimingCorrected": False}))
            else:
                target.write_text("transform\n")
    return root


def forget(root, pattern):
    """Remove files of a derivative by glob pattern; the number removed is at least one."""
    found = list(Path(root).glob(pattern))
    assert found, pattern
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
