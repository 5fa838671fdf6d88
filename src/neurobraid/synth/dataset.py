"""The files of the built-in study that belong to no single scan: descriptions, participants, group truth."""

import numpy as np
import pandas as pd

from neurobraid import __version__
from neurobraid.files import atomic, write_json, write_tsv
from neurobraid.images.io import save
from neurobraid.images.resample import grid_points
from neurobraid.images.templates import SPACE, template
from neurobraid.provenance import sidecar
from neurobraid.synth import plants
from neurobraid.synth.design import NO_PET, SESSION_DATES, TR, TWO_RUNS, TWO_SESSIONS, study_design

_README = """# A synthetic PET/MR study

Made by neurobraid {version} (size {size}, seed {seed}). Nobody was scanned. Each participant is the MNI152
template in a random shape inside an invented head, with structural, task, resting and dynamic PET scans whose
truth lies under `derivatives/truth/`: head motion, head positions, tissue, activation, networks, binding.

Real scans differ: there is no echo-planar distortion, one anatomy serves everybody before it is deformed,
attenuation and scatter are perfect, and the noise is the noise we thought of.

* `{two_runs}` did the motor task twice, `{two_sessions}` came twice (the second time without T1w and PET),
  `{no_pet}` has no PET.
* Site A and site B differ in image orientation, contrast, slice order and the zero of the PET clock.
"""

_PARTICIPANTS = {
    "participant_id": {"Description": "Identifier"},
    "age": {"Description": "Age at the first visit", "Units": "year"},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "body_weight": {"Description": "Body weight at the PET scan", "Units": "kg"},
    "site": {"Description": "Scanner", "Levels": {"A": "site A", "B": "site B"}},
    "diagnosis": {
        "Description": "Group",
        "Levels": {"control": "healthy volunteer", "patient": "participant with the invented condition"},
    },
    "clinical_score": {"Description": "Severity of symptoms, 0 to 40, higher is worse"},
}


def _text(content, path):
    with atomic(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def _smooth_truth(weights, shape, affine):
    points = grid_points(shape, affine)
    total = np.zeros(len(points), np.float32)
    for condition, weight in enumerate(weights):
        if weight:
            total += np.float32(weight) * plants.activation(points, condition)
    return total.reshape(shape)


def write_dataset(outputs, *, size, seed):
    """Write what belongs to the whole study.

    Parameters
    ----------
    outputs : mapping
        Paths by name: description, participants, participants_json, readme, motor, rest, sessions, truth,
        atlas, atlas_table, activation, kinetics, activation_json, networks, and ``map_<contrast>`` for each of `plants.CONTRASTS`.
    size : {'tiny', 'demo'}
    seed : int
    """
    from neurobraid.images.atlas import default_parcellation, region_means

    study = study_design(size, seed)
    made = [{"Name": "neurobraid", "Version": __version__}]
    write_json(
        {
            "Name": f"Synthetic PET/MR study ({size}, seed {seed})",
            "BIDSVersion": "1.10.0",
            "DatasetType": "raw",
            "License": "CC0",
            "Authors": ["The neurobraid developers", "Their random number generator"],
            "GeneratedBy": made,
        },
        outputs["description"],
    )
    write_json(
        {
            "Name": "Truth of the synthetic PET/MR study",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "License": "CC0",
            "GeneratedBy": made,
            "DatasetLinks": {"raw": "../.."},
        },
        outputs["truth"],
    )
    write_tsv(study.participants, outputs["participants"])
    write_json(_PARTICIPANTS, outputs["participants_json"])
    _text(
        _README.format(
            version=__version__,
            size=size,
            seed=seed,
            two_runs=TWO_RUNS,
            two_sessions=TWO_SESSIONS,
            no_pet=NO_PET,
        ),
        outputs["readme"],
    )
    sessions = pd.DataFrame({"session_id": list(SESSION_DATES), "acq_time": list(SESSION_DATES.values())})
    write_tsv(sessions, outputs["sessions"])
    shared = {"RepetitionTime": TR, "EchoTime": 0.03}
    write_json(
        {
            **shared,
            "TaskName": "motor",
            "TaskDescription": "Squeezing a ball with the left or the right hand while a cue is shown",
            "Instructions": "Squeeze with the hand that the arrow shows for as long as you see it.",
        },
        outputs["motor"],
    )
    write_json(
        {**shared, "TaskName": "rest", "Instructions": "Keep your eyes open and look at the cross."},
        outputs["rest"],
    )

    labels, affine, table = default_parcellation(2.0)
    shape = labels.shape
    save(labels, affine, outputs["atlas"], dtype=np.int32)
    write_tsv(table, outputs["atlas_table"])
    brain = np.asarray(template("brain", 2.0).dataobj) > 0.5
    truth = table[["index", "name"]].copy()
    for contrast, weights in plants.CONTRASTS.items():
        planted = _smooth_truth(weights, shape, affine) * brain
        save(planted, affine, outputs[f"map_{contrast}"])
        truth[contrast] = region_means(planted, labels, table)[0]
    write_tsv(truth, outputs["activation"])
    control = plants.binding(table, {"age": 45, "diagnosis": "control"}, None)
    patient = plants.binding(table, {"age": 45, "diagnosis": "patient"}, None)
    group = control.rename(columns={"BPND": "BPND_control"})
    group["BPND_patient"] = patient["BPND"]
    write_tsv(group, outputs["kinetics"])
    matrix = pd.DataFrame(plants.network_covariance(table, None), columns=table["name"].to_list())
    matrix.insert(0, "Node", table["name"].to_numpy())
    write_tsv(matrix, outputs["networks"])
    write_json(
        sidecar(
            "Planted activation: mean signal change of every region in percent of baseline at the plateau",
            [outputs["atlas"]],
            TemplateSpace=SPACE,
            Contrasts={
                name: dict(zip(("left", "right"), w, strict=True)) for name, w in plants.CONTRASTS.items()
            },
            Blobs=[
                dict(zip(("name", "x", "y", "z", "radius", "left", "right"), b, strict=True))
                for b in plants.BLOBS
            ],
        ),
        outputs["activation_json"],
    )
