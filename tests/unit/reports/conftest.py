"""A study of two people in miniature: sub-01 with everything, sub-02 with a T1w alone."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.files import write_json, write_tsv
from neurobraid.images.transforms import write_affines

SHAPE = (16, 19, 14)
AFFINE = np.array([[10.0, 0, 0, -75], [0, 10, 0, -105], [0, 0, 10, -60], [0, 0, 0, 1]])
NASTY = '<script>alert("x")</script>'
REGIONS = ["LH_a", "RH_a", "SubLH_b"]


def _image(values, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    return str(path)


def _table(rows, path):
    write_tsv(pd.DataFrame(rows), path)
    return str(path)


def _json(content, path):
    write_json(content, path)
    return str(path)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Write the files below the working directory; return (inputs of sub-01, inputs of the study page)."""
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    rng = np.random.default_rng(3)
    root, index, raw = Path("results/derivatives"), Path("results/index"), Path("bids")
    anat, func, pet, group = root / "sub-01/anat", root / "sub-01/func", root / "sub-01/pet", root / "group"
    head = np.zeros(SHAPE, np.float32)
    head[3:13, 3:16, 3:12] = 100 + 20 * rng.random((10, 13, 9))
    tissue = np.zeros(SHAPE, np.int16)
    tissue[3:13, 3:16, 3:12] = 1
    tissue[5:11, 6:13, 5:9] = 2
    tissue[7:9, 8:11, 6:8] = 3
    base = {"session_id": "n/a", "events": "n/a", "sidecars": "n/a", "run": "n/a"}

    def row(person, suffix, scan, task="n/a", trc="n/a"):
        folder = {"T1w": "anat", "bold": "func", "pet": "pet"}[suffix]
        return {
            "scan": scan, "participant_id": person, "visit": person, "datatype": folder, "suffix": suffix,
            "task": task, "trc": trc, "path": f"{person}/{folder}/{scan}_{suffix}.nii.gz", **base,
        }  # fmt: skip

    scans = [
        row("sub-01", "T1w", "sub-01"),
        row("sub-01", "bold", "sub-01_task-motor", "motor"),
        row("sub-01", "bold", "sub-01_task-rest", "rest"),
        row("sub-01", "pet", "sub-01_trc-RAC", trc="RAC"),
        row("sub-02", "T1w", "sub-02"),
    ]
    pairing = [
        {"scan": r["scan"], "suffix": r["suffix"], "t1w_scan": "sub-01", "t1w_visit": "sub-01",
         "rule": "same-session", "days": "n/a", "reason": "T1w of the same participant"}
        for r in scans if r["suffix"] != "T1w"
    ]  # fmt: skip
    excluded = [
        {"scan": "sub-02_trc-RAC", "suffix": "pet", "participant_id": "sub-02", "session_id": "n/a",
         "path": "sub-02/pet/x", "rule": "listed", "reason": f"listed in index.exclude {NASTY} /data/ada/secret/list.txt"},
        {"scan": "n/a", "suffix": "n/a", "participant_id": "sub-03", "session_id": "n/a", "path": "n/a",
         "rule": "no-data", "reason": "the folder holds no T1w, BOLD or PET image"},
    ]  # fmt: skip
    people = [
        {
            "participant_id": "sub-01",
            "age": "91",
            "sex": NASTY,
            "name": "Ada L.",
            "scan_date": "2021-03-04",
            "diagnosis": "patient",
        },
        {
            "participant_id": "sub-02",
            "age": "40",
            "sex": "F",
            "name": "Bo M.",
            "scan_date": "2021-03-05",
            "diagnosis": "control",
        },
    ]
    shared = {
        "scans": _table(scans, index / "scans.tsv"),
        "pairing": _table(pairing, index / "pairing.tsv"),
        "exclusions": _table(excluded, index / "exclusions.tsv"),
        "participants": _table(people, raw / "participants.tsv"),
        "participants_json": _json({"age": {"Units": "year"}}, raw / "participants.json"),
        "atlas_tables": [
            _table(
                {"index": [1, 300, 1000], "name": REGIONS, "hemisphere": ["L", "R", "L"], "y": [1.0, 1.0, 5.0],
                 "structure": ["cortex", "cortex", "subcortex"]},
                root / "atlases/tpl-MNI152NLin2009aSym_atlas-mini_dseg.tsv",
            )
        ],
    }  # fmt: skip
    volumes = 12
    series = head[..., None] * (1 + 0.02 * rng.standard_normal((*SHAPE, volumes)))
    confounds = {
        **{f"trans_{a}": rng.standard_normal(volumes) / 10 for a in "xyz"},
        **{f"rot_{a}": rng.standard_normal(volumes) / 1000 for a in "xyz"},
        "framewise_displacement": [np.nan, 0.7, *np.full(volumes - 2, 0.1)],
        "std_dvars": [np.nan, *np.full(volumes - 1, 1.1)],
    }
    frames = {"frame_start": [30.0, 600.0, 1200.0, 2400.0], "frame_end": [600.0, 1200.0, 2400.0, 3600.0]}
    curves = {
        **frames,
        "LH_a": [9.0, 8.0, 7.0, 6.0],
        "RH_a": [8.0, 7.5, 6.5, 5.0],
        "SubLH_b": [9.0, 12.0, 13.0, 11.0],
    }
    kinetics = {
        "name": REGIONS, "R1": [1.0, 1.0, 0.9], "k2": [0.1] * 3, "k2a": [0.09, 0.08, 0.03], "BPND": [0.2, np.nan, 2.5],
        "BPND_se": [0.01, np.nan, 0.1], "flag": ["ok", "no data", "ok"],
    }  # fmt: skip
    matrix = {"Node": REGIONS, "LH_a": [1, 0.5, np.nan], "RH_a": [0.5, 1, np.nan], "SubLH_b": [np.nan] * 3}
    mni = "space-MNI152NLin2009aSym"
    z = np.where(head > 0, rng.standard_normal(SHAPE) * 3, 0).astype(np.float32)

    def per_run(maker):
        return [maker(f"sub-01_task-{task}") for task in ("motor", "rest")]

    def transform(path):
        write_affines(np.eye(4), path)
        return str(path)

    person = {
        **shared,
        "raw_bold": per_run(
            lambda s: _image(series.astype(np.float32), raw / f"sub-01/func/{s}_bold.nii.gz")
        ),
        "raw_t1w": _image(head, raw / "sub-01/anat/sub-01_T1w.nii.gz"),
        "t1w": _image(head, anat / "sub-01_desc-preproc_T1w.nii.gz"),
        "brain": _image((tissue > 0).astype(np.uint8), anat / "sub-01_desc-brain_mask.nii.gz"),
        "dseg": _image(tissue, anat / "sub-01_dseg.nii.gz"),
        "t1w_mni": _image(head, anat / f"sub-01_{mni}_desc-preproc_T1w.nii.gz"),
        "anat_qc": _json({"brain_volume_ml": 1401.5}, anat / "sub-01_desc-anat_qc.json"),
        "boldref": per_run(lambda s: _image(head, func / f"{s}_desc-coreg_boldref.nii.gz")),
        "boldref_xfm": per_run(
            lambda s: transform(func / f"{s}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt")
        ),
        "bold_mask": per_run(
            lambda s: _image((tissue > 0).astype(np.uint8), func / f"{s}_desc-brain_mask.nii.gz")
        ),
        "bold_json": per_run(
            lambda s: _json(
                {"RepetitionTime": 1.5, "SliceTimingCorrected": False},
                func / f"{s}_{mni}_desc-preproc_bold.json",
            )
        ),
        "confounds": per_run(lambda s: _table(confounds, func / f"{s}_desc-confounds_timeseries.tsv")),
        "bold_qc": per_run(
            lambda s: _json({"tsnr": 55.5, "dvars_std": 1.1}, func / f"{s}_desc-bold_qc.json")
        ),
        "activation": _image(z, func / f"sub-01_task-motor_{mni}_contrast-left_stat-z_statmap.nii.gz"),
        "relmat": _table(matrix, func / "sub-01_task-rest_atlas-mini_stat-pearsoncorrelation_relmat.tsv"),
        "coverage": _table(
            {"index": [1, 300, 1000], "name": REGIONS, "coverage": [1, 0.9, 0.1]},
            func / "sub-01_task-rest_atlas-mini_stat-coverage_bold.tsv",
        ),
        "petref": _image(head, pet / "sub-01_trc-RAC_petref.nii.gz"),
        "petref_xfm": transform(pet / "sub-01_trc-RAC_from-petref_to-T1w_mode-image_desc-coreg_xfm.txt"),
        "pet_frames": _table(frames, pet / "sub-01_trc-RAC_desc-frames_timeseries.tsv"),
        "pet_confounds": _table(
            {"trans_x": [0.1, 0, 0.2, 0], "framewise_displacement": [np.nan, 0.1, 0.3, 0.1]},
            pet / "sub-01_trc-RAC_desc-confounds_timeseries.tsv",
        ),
        "pet_qc": _json(
            {"frames": 4, "fd_mean_mm": 0.2, "warnings": ["starts late"]},
            pet / "sub-01_trc-RAC_desc-pet_qc.json",
        ),
        "tacs": _table(curves, pet / "sub-01_trc-RAC_seg-mini_desc-preproc_tacs.tsv"),
        "fits": _table(
            {**curves, "reference": [7.0, 5, 4, 3]},
            pet / "sub-01_trc-RAC_seg-mini_model-SRTM_desc-fit_tacs.tsv",
        ),
        "kinpar": _table(kinetics, pet / "sub-01_trc-RAC_seg-mini_model-SRTM_kinpar.tsv"),
        "kinpar_json": _json(
            {"ReferenceRegions": ["CerebLH_c"]}, pet / "sub-01_trc-RAC_seg-mini_model-SRTM_kinpar.json"
        ),
        "curves_qc": _json({"tail_noise": 0.034}, pet / "sub-01_trc-RAC_desc-curves_qc.json"),
        "uncorrected": _image(head, pet / "sub-01_trc-RAC_desc-uncorrected_petref.nii.gz"),
        "profiles": _table(
            {
                "correction": ["before"] * 6 + ["after"] * 6,
                "axis": list("xxyyzz") * 2,
                "position_mm": [0.0, 3.0] * 6,
                **{f"frame_{n}": np.arange(12.0) + n for n in range(4)},
            },
            pet / "sub-01_trc-RAC_desc-profiles_table.tsv",
        ),
        "pet_maps": _image(np.abs(z), pet / "sub-01_trc-RAC_space-T1w_model-SRTM_meas-BPND_mimap.nii.gz"),
        "pet_valid": _image(
            (z > 0).astype(np.uint8), pet / "sub-01_trc-RAC_space-T1w_model-SRTM_desc-validity_mask.nii.gz"
        ),
        "group_maps": _image(np.abs(z), pet / f"sub-01_trc-RAC_{mni}_model-SRTM_meas-BPND_mimap.nii.gz"),
    }
    clusters = {
        "cluster_id": ["1", "1a"], "x": [-40.0, -32], "y": [20.0, 22], "z": [5.0, 9], "peak_z": [5.1, 4.2],
        "peak_effect": [1.2, 0.9], "cluster_size_mm3": [8000.0, np.nan], "n_voxels": [8.0, np.nan],
        "region": ["LH_a", "n/a"], "region_overlap": ["LH_a 80 %; RH_a 10 %", "n/a"],
    }  # fmt: skip
    features = [
        {"participant_id": p, "session_id": "n/a", "region": r, "modality": m, "measure": e, "value": 1.5, "unit": u, "coverage": 1,
         "source": "bids::x"}
        for p, m, e, u in (("sub-01", "pet", "BPND", "1"), ("sub-01", "anat", "volume", "mL"), ("sub-02", "anat", "volume", "mL"))
        for r in REGIONS
    ]  # fmt: skip
    score = {"mean": 0.8, "low": 0.4, "high": 1.3, "folds": 5}
    summary = {
        "name": "diag", "status": "DEMONSTRATION", "reason": "12 participants: a demonstration.", "primary_metric": "auc",
        "settings": {"target": "diagnosis", "kind": "classification", "estimator": "ridge", "groups": "participant_id"},
        "participants": 12, "classes": ["control", "patient"], "features": {"fmri": 3, "pet": 3},
        "folds": {"outer": 5, "inner": 5, "repeats": 2}, "warnings": [f"site and target are associated {NASTY}"],
        "flow": [{"step": "participants in the table", "left": 12}],
        "metrics": {n: {"auc": score, "brier": {"mean": 0.2, "low": "n/a", "high": "n/a", "folds": 5}}
                    for n in ("fmri", "pet", "fused", "demographics", "dummy")},
        "permutation": {"count": 99, "p": {"fused": 0.04, "fmri": 0.2}, "null_mean": {"fused": 0.49}},
        "comparisons": [{"first": "fused", "second": "fmri", "metric": "auc", "difference": 0.05, "t": 0.4, "p": 0.7}],
    }  # fmt: skip
    predictions = [
        {"participant_id": f"sub-{n:02d}", "session_id": "n/a", "feature_set": "fused", "repeat": 1, "fold": 1 + n % 5,
         "target": "patient" if n % 2 else "control", "score": 0.1 * n, "prediction": (0.3 + 0.4 * (n % 2))}
        for n in range(12)
    ]  # fmt: skip
    whole = {
        **shared,
        **{k: person[k] for k in ("confounds", "bold_json", "bold_qc", "pet_qc", "anat_qc", "kinpar", "kinpar_json", "group_maps")},
        "validation": _table([{"file": "bids/sub-02/x.json", "field": "SliceTiming", "found": NASTY}], index / "validation.tsv"),
        "group_z": _image(z, group / f"task-motor_contrast-left_{mni}_stat-z_statmap.nii.gz"),
        "clusters": _table(clusters, group / "task-motor_contrast-left_desc-clusters_table.tsv"),
        "thresholds": _json(
            {"Status": "available", "NumberOfParticipants": 12, "HeightControl": "fdr", "ClusterThresholdZ": 2.5, "ClusterCount": 1,
             "Contrast": "left", "Thresholds": {"fdr": {"Rule": "false discovery rate 0.05", "Z": 2.5}, "uncorrected": {"Z": 3.29}}},
            group / "task-motor_contrast-left_desc-thresholds_summary.json",
        ),
        "group_relmat": _table(matrix, group / "task-rest_atlas-mini_stat-pearsoncorrelation_relmat.tsv"),
        "features": _table(features, group / "atlas-mini_desc-fusion_features.tsv"),
        "summaries": _json(summary, group / "model-diag_summary.json"),
        "predictions": _table(predictions, group / "model-diag_desc-predictions_predictions.tsv"),
    }  # fmt: skip
    return person, whole


@pytest.fixture
def config():
    """Settings with one task, one contrast and rest."""
    return {
        "title": f"A study {NASTY}",
        "bids": "/data/secret/bids",
        "atlases": [{"name": "mini"}],
        "bold": {"fd_threshold_mm": 0.5, "std_dvars_threshold": 1.5, "resolution": 3},
        "activation": {
            "tasks": [{"task": "motor", "contrasts": [{"name": "left", "weights": {"left": 1, "right": -1}}]}],
            "group": {"min_participants": 3, "alpha": 0.05, "height_control": "fdr", "cluster_voxels": 10},
            "smoothing_mm": 6, "noise_model": "ar1", "high_pass_hz": 0.0078125, "confounds": ["csf"],
        },
        "connectivity": {"tasks": ["rest"], "measures": ["pearsoncorrelation"], "min_coverage": 0.5, "band_hz": [0.01, 0.1]},
        "pet": {"models": ["SRTM"], "reference": ["cerebellum"]},
        "report": {"contrast_threshold_z": 3.1},
    }  # fmt: skip
