"""One tiny study for all tests of the stage, and where its files lie."""

from types import SimpleNamespace

import pytest

from neurobraid.synth import plants
from neurobraid.synth.design import study_design

SIZE, SEED = "tiny", 3
MNI = "MNI152NLin2009aSym"


def paths(root, row=None):
    """Files of one scan (a row of the design), or of the whole study, by the names the functions use."""
    truth = root / "derivatives/truth"
    if row is None:
        maps = {
            f"map_{c}": truth / f"task-motor_space-{MNI}_contrast-{c}_desc-psc_statmap.nii.gz"
            for c in plants.CONTRASTS
        }
        return maps | {
            "description": root / "dataset_description.json",
            "readme": root / "README",
            "participants": root / "participants.tsv",
            "participants_json": root / "participants.json",
            "sessions": root / "sub-03/sub-03_sessions.tsv",
            "motor": root / "task-motor_bold.json",
            "rest": root / "task-rest_bold.json",
            "truth": truth / "dataset_description.json",
            "atlas": truth / f"tpl-{MNI}_atlas-braid100_dseg.nii.gz",
            "atlas_table": truth / f"tpl-{MNI}_atlas-braid100_dseg.tsv",
            "activation": truth / "atlas-braid100_desc-activation_truth.tsv",
            "activation_json": truth / "atlas-braid100_desc-activation_truth.json",
            "kinetics": truth / "atlas-braid100_desc-binding_truth.tsv",
            "networks": truth / "atlas-braid100_desc-networks_truth.tsv",
        }
    raw = root / row["visit"] / row["datatype"] / row["scan"]
    true = truth / row["visit"] / row["datatype"] / row["scan"]
    reference = "petref" if row["suffix"] == "pet" else "boldref"
    return {
        "image": f"{raw}_{row['suffix']}.nii.gz",
        "sidecar": f"{raw}_{row['suffix']}.json",
        "events": f"{raw}_events.tsv",
        "dseg": f"{true}_dseg.nii.gz",
        "to_t1w": f"{true}_from-{MNI}_to-T1w_mode-image_xfm.h5",
        "to_mni": f"{true}_from-T1w_to-{MNI}_mode-image_xfm.h5",
        "truth": f"{true}_desc-truth_{'T1w' if row['suffix'] == 'T1w' else 'motion'}.json",
        "motion": f"{true}_desc-truth_motion.tsv",
        "hmc": f"{true}_from-orig_to-{reference}_mode-image_desc-truth_xfm.txt",
        "coreg": f"{true}_from-{reference}_to-T1w_mode-image_desc-truth_xfm.txt",
        "planted": f"{true}_atlas-braid100_desc-planted_relmat.tsv",
        "realised": f"{true}_atlas-braid100_desc-realised_relmat.tsv",
        "kinetics": f"{true}_atlas-braid100_desc-truth_kinpar.tsv",
        "tacs": f"{true}_atlas-braid100_desc-truth_tacs.tsv",
    }


def make(row, root, atlas):
    """Make one scan below `root`; returns its paths."""
    from neurobraid.synth.anatomy import write_t1w
    from neurobraid.synth.bold import write_rest, write_task
    from neurobraid.synth.pet import write_pet

    out = paths(root, row)
    if row["suffix"] == "T1w":
        write_t1w(row["scan"], out, size=SIZE, seed=SEED)
    elif row["suffix"] == "pet":
        write_pet(row["scan"], atlas, out, size=SIZE, seed=SEED)
    elif row["task"] == "rest":
        write_rest(row["scan"], atlas, out, size=SIZE, seed=SEED)
    else:
        write_task(row["scan"], out, size=SIZE, seed=SEED)
    return out


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The tiny study on disk: root, design, shared files, and ``files(scan, suffix)``."""
    from neurobraid.synth.dataset import write_dataset

    root = tmp_path_factory.mktemp("synth") / "bids"
    design = study_design(SIZE, SEED)
    shared = paths(root)
    write_dataset(shared, size=SIZE, seed=SEED)
    for row in design.scans.to_dict("records"):
        make(row, root, shared)

    def files(scan, suffix):
        return paths(root, design.scan(scan, suffix))

    return SimpleNamespace(root=root, design=design, shared=shared, files=files, make=make)
