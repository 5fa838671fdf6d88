"""Awkward BIDS datasets as data, one per situation, and the function that writes them.

A spec is a dict. ``participants`` lists the visits: a key ``"01"`` or ``"01/1"`` (participant/session) maps to the images
of the visit, each a file name without participant and session, for example ``"task-rest_run-1_bold"``. Images are
valid NIfTI files of a few voxels with enough header and sidecar to pass `neurobraid.bids.check.check_structure`.

>>> spec = {"participants": {"01": ["T1w", "task-rest_bold"]}}
>>> write_tree(spec, tmp_path)                                                      # doctest: +SKIP
"""

import copy
import gzip
import json
import struct
from pathlib import Path

SHAPE = (5, 6, 7)  # unequal axes: a swapped axis shows
VOLUMES = 12
TR = 2.0
FOLDER = {
    "T1w": "anat",
    "T2w": "anat",
    "bold": "func",
    "sbref": "func",
    "pet": "pet",
    "dwi": "dwi",
    "epi": "fmap",
    "phasediff": "fmap",
    "phase1": "fmap",
    "phase2": "fmap",
    "fieldmap": "fmap",
    "magnitude": "fmap",
    "magnitude1": "fmap",
    "magnitude2": "fmap",
}

PET_SIDECAR = {
    "Manufacturer": "Siemens",
    "ManufacturersModelName": "Biograph mMR",
    "Units": "Bq/mL",
    "TracerName": "raclopride",
    "TracerRadionuclide": "C11",
    "InjectedRadioactivity": 350.0,
    "InjectedRadioactivityUnits": "MBq",
    "InjectedMass": 2.0,
    "InjectedMassUnits": "ug",
    "SpecificRadioactivity": 175.0,
    "SpecificRadioactivityUnits": "MBq/ug",
    "ModeOfAdministration": "bolus",
    "TimeZero": "13:00:00",
    "ScanStart": 0,
    "InjectionStart": 0,
    "FrameTimesStart": [0, 60, 120, 240],
    "FrameDuration": [60, 60, 120, 300],
    "AcquisitionMode": "list mode",
    "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0,
    "ReconMethodName": "OSEM",
    "ReconMethodParameterLabels": ["none"],
    "ReconFilterType": "none",
    "AttenuationCorrection": "UTE",
}
EVENTS = [("onset", "duration", "trial_type"), (2.0, 4.0, "left"), (10.0, 4.0, "right")]

FULL = ["T1w", "task-motor_bold", "task-rest_bold", "trc-RAC_pet"]

#: name -> spec. The dry-run workflow tests use these too.
TREES = {
    "no_sessions": {"participants": {"01": FULL, "02": FULL, "03": FULL}},
    "sessions": {
        "participants": {
            "01/1": FULL,
            "01/2": ["T1w", "task-rest_bold"],
            "02/1": FULL,
            "02/2": FULL,
        }
    },
    "mixed_sessions": {
        "participants": {"01/1": FULL, "01/2": ["task-motor_bold", "task-rest_bold"], "02": FULL, "03": FULL}
    },
    "missing_pet": {"participants": {"01": FULL, "02": FULL[:3], "03": FULL}},
    "two_tracers": {
        "participants": {
            "01": ["T1w", "task-rest_bold", "trc-RAC_pet", "trc-FDG_pet"],
            "02": ["T1w", "task-rest_bold", "trc-RAC_pet"],
            "03": ["T1w", "task-rest_bold", "trc-FDG_pet"],
        }
    },
    "multi_run": {
        "participants": {
            "01": ["T1w", "task-motor_run-1_bold", "task-motor_run-2_bold", "task-motor_run-10_bold", "trc-RAC_pet"],
            "02": ["T1w", "task-motor_run-1_bold", "task-motor_run-2_bold", "trc-RAC_pet"],
        }
    },
    "one_participant": {"participants": {"01": FULL}},
    "fmri_only": {"participants": {"02": ["T1w", "task-objectcategories_run-1_bold"]}},
    "pet_only": {"participants": {"01": ["T1w", "trc-RAC_pet"], "02": ["T1w", "trc-RAC_pet"]}},
    "derivatives_beside": {
        "participants": {"01": FULL, "02": FULL},
        "files": {
            "derivatives/fmriprep/dataset_description.json": {
                "Name": "x", "BIDSVersion": "1.8.0", "DatasetType": "derivative"
            },
            "derivatives/fmriprep/sub-01/func/sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz": "4d",
            "derivatives/fmriprep/sub-01/func/sub-01_task-rest_space-T1w_desc-preproc_bold.json": {"TR": 9},
            "sourcedata/sub-01/func/sub-01_task-rest_bold.nii.gz": "4d",
        },
    },
    "inherited": {
        # every sidecar above the images, one of them overridden below
        "participants": {"01/1": FULL, "02/1": FULL},
        "sidecars": False,
        "files": {
            "bold.json": {"RepetitionTime": TR, "Manufacturer": "GE"},
            "task-motor_bold.json": {"TaskName": "motor", "Manufacturer": "Siemens"},
            "task-rest_bold.json": {"TaskName": "rest"},
            "task-motor_events.tsv": "events",
            "trc-RAC_pet.json": PET_SIDECAR,
            "sub-02/sub-02_task-motor_bold.json": {"EchoTime": 0.02},
            "sub-02/ses-1/sub-02_ses-1_task-motor_bold.json": {"EchoTime": 0.03},
        },
    },
    "other_suffixes": {
        "participants": {
            "01": ["T1w", "T2w", "task-rest_bold", "task-rest_sbref", "dir-AP_epi", "dwi", "run-2_T1w"],
        }
    },
    "phasediff": {
        # one run with a field map by IntendedFor, one by B0FieldIdentifier, one without
        "participants": {
            "01/1": [*FULL, "magnitude1", "magnitude2", "phasediff", "run-2_magnitude1", "run-2_phasediff"],
            "02": FULL,
        },
        "files": {
            "bold.json": {"RepetitionTime": TR, "PhaseEncodingDirection": "j-", "TotalReadoutTime": 0.04},
            "phasediff.json": {"EchoTime1": 0.00492, "EchoTime2": 0.00738, "Units": "rad"},
            "sub-01/ses-1/fmap/sub-01_ses-1_phasediff.json": {
                "IntendedFor": ["ses-1/func/sub-01_ses-1_task-motor_bold.nii.gz"]
            },
            "sub-01/ses-1/fmap/sub-01_ses-1_run-2_phasediff.json": {"B0FieldIdentifier": "later"},
            "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.json": {
                "RepetitionTime": TR, "TaskName": "rest", "B0FieldSource": ["other", "later"]
            },
        },
    },
    "multi_echo": {
        # one run with every echo, one that has lost its first, one with a single echo left, and phase beside magnitude
        "participants": {
            "01": ["T1w", *(f"task-rest_echo-{e}_bold" for e in (1, 2, 3)), "task-motor_part-phase_bold",
                   "task-motor_part-mag_bold"],
            "02": ["T1w", "task-rest_run-1_echo-2_bold", "task-rest_run-1_echo-3_bold", "task-rest_run-2_echo-2_bold"],
        }
    },
}  # fmt: skip


def tree(name, **changes):
    """A copy of a spec with top-level keys replaced."""
    return {**copy.deepcopy(TREES[name]), **changes}


def nifti_bytes(shape=SHAPE, zooms=None, tr=TR, unit="sec", values=None):
    """Bytes of a small NIfTI-1 image, written without nibabel so that hundreds cost nothing.

    Parameters
    ----------
    shape : tuple of int
    zooms : tuple of float, optional
        Voxel sizes in mm; 3.0, 3.5, 4.0 by default.
    tr : float
        Fourth pixel dimension, for 4D images.
    unit : {'sec', 'msec', 'usec', 'unknown'}
    values : numpy.ndarray, optional
        float32 data of `shape`; a counter that differs in every voxel and volume by default.

    Returns
    -------
    bytes
    """
    zooms = zooms or (3.0, 3.5, 4.0)
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    code, bits = (4, 16) if values is None else (16, 32)
    struct.pack_into("<hh", header, 70, code, bits)
    struct.pack_into("<8f", header, 76, 1.0, *zooms, tr if len(shape) > 3 else 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, 352.0, 1.0, 0.0)
    header[123] = 2 | {"sec": 8, "msec": 16, "usec": 24, "unknown": 0}[unit]
    struct.pack_into("<hh", header, 252, 0, 1)
    for row in range(3):
        line = [0.0] * 4
        line[row], line[3] = zooms[row], -zooms[row] * (shape[row] - 1) / 2
        struct.pack_into("<4f", header, 280 + 16 * row, *line)
    header[344:348] = b"n+1\0"
    count = 1
    for length in shape:
        count *= length
    if values is None:
        data = struct.pack(f"<{count}h", *(100 + i % 1009 for i in range(count)))
    else:
        data = values.astype("<f4").tobytes(order="F")
    return bytes(header) + b"\0\0\0\0" + data


def write_image(path, **options):
    """Write `nifti_bytes` to a ``.nii`` or ``.nii.gz`` path."""
    content = nifti_bytes(**options)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)


def _events_text(rows=EVENTS):
    return "".join("\t".join(str(v) for v in row) + "\n" for row in rows)


def write_file(path, content):
    """Write one extra file: dict as JSON, list of rows as TSV, ``"3d"``/``"4d"``/``"events"``, other text as is."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if content in ("3d", "4d"):
        write_image(path, shape=SHAPE if content == "3d" else (*SHAPE, VOLUMES))
    elif content == "events":
        path.write_text(_events_text())
    elif isinstance(content, dict):
        path.write_text(json.dumps(content))
    elif isinstance(content, list):
        path.write_text(_events_text(content))
    else:
        path.write_text(content)


def write_tree(spec, root):
    """Write a dataset.

    Parameters
    ----------
    spec : dict
        ``participants`` (see the module), and optionally ``sidecars`` (False: write no JSON beside the images and no
        events), ``files`` (relative path to content, see `write_file`), ``participants_tsv`` (list of rows with header, or
        None for no file), ``extension`` (``.nii.gz`` by default).
    root : path-like

    Returns
    -------
    pathlib.Path
        `root`.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    write_file(
        root / "dataset_description.json", {"Name": "test", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    )
    extension = spec.get("extension", ".nii.gz")
    labels = list(dict.fromkeys(key.partition("/")[0] for key in spec["participants"]))
    default = [("participant_id", "age", "sex"), *((f"sub-{p}", 30 + i, "F") for i, p in enumerate(labels))]
    table = spec.get("participants_tsv", default)
    if table is not None:
        write_file(root / "participants.tsv", table)
    cache = {}
    for key, images in spec["participants"].items():
        participant, _, session = key.partition("/")
        visit = f"sub-{participant}" + (f"/ses-{session}" if session else "")
        for image in images:
            suffix = image.rpartition("_")[2]
            folder = root / visit / FOLDER[suffix]
            folder.mkdir(parents=True, exist_ok=True)
            stem = f"{visit.replace('/', '_')}_{image}"
            volumes = {"bold": VOLUMES, "pet": len(PET_SIDECAR["FrameTimesStart"])}.get(suffix)
            shape = (*SHAPE, volumes) if volumes else SHAPE
            if shape not in cache:
                content = nifti_bytes(shape=shape, tr=TR if suffix == "bold" else 0.0)
                cache[shape] = gzip.compress(content, 1, mtime=0) if extension == ".nii.gz" else content
            (folder / f"{stem}{extension}").write_bytes(cache[shape])
            if not spec.get("sidecars", True):
                continue
            sidecar = {"Modality": "MR", "NonLinearGradientCorrection": True}
            if suffix == "bold":
                task = next(part[5:] for part in image.split("_") if part.startswith("task-"))
                sidecar |= {"RepetitionTime": TR, "TaskName": task}
                echo = next((int(part[5:]) for part in image.split("_") if part.startswith("echo-")), None)
                sidecar |= {"EchoTime": round(0.013 * echo, 4)} if echo else {}
                if task != "rest":
                    (folder / f"{stem.rpartition('_')[0]}_events.tsv").write_text(_events_text())
            elif suffix == "pet":
                sidecar = PET_SIDECAR
            (folder / f"{stem}.json").write_text(json.dumps(sidecar))
    for relative, content in spec.get("files", {}).items():
        write_file(root / relative, content)
    return root


def write_cohort(root, count=100):
    """A dataset of `count` participants with T1w, two BOLD runs and PET (for measuring speed)."""
    return write_tree({"participants": {f"{i:03d}": FULL for i in range(1, count + 1)}}, root)
