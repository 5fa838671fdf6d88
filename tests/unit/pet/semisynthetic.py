"""Semi-synthetic PET: real curves painted on a real head, then the workflow from the raw folder, against what was painted."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.images.io import data, load
from neurobraid.images.resample import grid_points
from neurobraid.images.templates import SPACE
from neurobraid.images.transforms import apply_affine, read_affines
from neurobraid.pet import constants, model, plasma
from neurobraid.synth import semisynthetic
from tests.workflow.helpers import snakemake

ATLAS = "braid100"
REFERENCE_MODELS = ("SRTM", "SRTM2", "MRTM1", "MRTM2", "refLogan", "refmlLogan")
PLASMA_MODELS = ("2TCM", "Logan", "MA1")
SCANS = {"RAC": "sub-02_trc-RAC", "MC1": "sub-02_trc-MC1"}
MAIN = {**dict.fromkeys(REFERENCE_MODELS, "BPND"), **dict.fromkeys(PLASMA_MODELS, "VT")}
LEAST_BPND = 0.15
"""Relative errors of less mean nothing."""


def simref_curves(folder, table, subject="hukw"):
    """Curves of a head from one person of simref: ROI1 to ROI3 and the reference, with their noise.

    High binding (ROI1) goes to deep nuclei, middle (ROI2) to frontal cortex, low (ROI3) to other cortex, the reference to
    the cerebellum. White matter, CSF and the head around the brain follow the reference at lower levels.
    """
    rows = pd.read_csv(folder / "pet-tacs/simref_tacs.tsv", sep="\t")
    rows = rows[(rows["subject"] == subject) & (rows["frame_duration_s"] > 0)]
    start = rows["frame_start_s"].to_numpy(float)
    out = {"frame_start": start, "frame_end": start + rows["frame_duration_s"].to_numpy(float)}
    for region in table.itertuples():
        kind = {"subcortex": "ROI1", "cerebellum": "Reference"}.get(
            region.structure, "ROI2" if region.y > 0 else "ROI3"
        )
        out[region.name] = rows[kind].to_numpy()
    out["grey matter"] = rows["ROI3"].to_numpy()
    for name, share in {"white matter": 0.75, "CSF": 0.25, "soft tissue": 0.6, "skull": 0.3}.items():
        out[name] = share * rows["Reference"].to_numpy()
    return pd.DataFrame(out)


def mc1_curves(folder, table, person="sub-01", session="ses-baseline"):
    """Curves of a head from one person of ds004869: FreeSurfer's regions, white matter, ventricle, skull and scalp.

    Cortical curves are given to the cortical regions of the same hemisphere in turn: where each goes does not matter.
    """
    (path,) = (folder / f"ds004869-pet-mc1/derivatives/petprep/{person}/{session}/pet").glob("*_tacs.tsv")
    rows = read_tsv(path)
    values = rows.drop(columns=["frame_start", "frame_end"]) / 1e3
    sides = {"L": ("lh", "Left"), "R": ("rh", "Right")}
    deep = ("Caudate", "Putamen", "Accumbens-area", "Thalamus", "Pallidum")
    out = {"frame_start": rows["frame_start"], "frame_end": rows["frame_end"]}
    turn = {}
    for region in table.itertuples():
        short, long = sides.get(region.hemisphere, sides["L"])
        choice = {
            "cortex": [name for name in values if name.startswith(f"ctx-{short}-")],
            "subcortex": [f"{long}-{name}" for name in deep],
            "cerebellum": [f"{long}-Cerebellum-Cortex"],
        }[region.structure]
        place = turn.get((region.structure, short), 0)
        turn[region.structure, short] = place + 1
        out[region.name] = values[choice[place % len(choice)]]
    out["grey matter"] = values.filter(like="ctx-").mean(axis=1)
    for name, column in {
        "white matter": "Left-Cerebral-White-Matter", "CSF": "Left-Lateral-Ventricle",
        "soft tissue": "Head-ExtraCerebral", "skull": "Skull",
    }.items():  # fmt: skip
        out[name] = values[column]
    return pd.DataFrame(out)


def base(study, kind):
    """Start of the names of a scan's derivatives (``results/derivatives``) or truth (``bids/derivatives/truth``)."""
    return {k: f"{study}/{root}/sub-02/pet/" for k, root in ROOTS.items()}[kind]


ROOTS = {"found": "results/derivatives", "truth": "bids/derivatives/truth"}


def configure(study, pvc="none", quality="standard"):
    """Write the config of the study."""
    (study / "config").mkdir(parents=True, exist_ok=True)
    config = {
        "bids": "bids",
        "anat": {"quality": quality},
        "pet": {
            "models": [*REFERENCE_MODELS, *PLASMA_MODELS], "pvc": pvc, "psf_fwhm_mm": [5.0],
        },
        "connectivity": {"tasks": []},
        "prediction": {"models": []},
    }  # fmt: skip
    (study / "config/config.yaml").write_text(yaml.safe_dump(config))


def make(
    folder, study, *, recording="studyforrest-localizer", quality="standard", tracers=tuple(SCANS), step_mm=1.0,
    **options,
):  # fmt: skip
    """Anatomy of the real T1w image by the workflow, then the raw scans painted on it.

    Parameters
    ----------
    folder : Path
        Real recordings.
    study : Path
        New folder of the study.
    recording : str
        Where the T1w image comes from.
    quality : str
        ``anat.quality``.
    tracers : sequence of str
        Of `SCANS`.
    step_mm : float
        See `semisynthetic.read_head`.
    **options
        Of `semisynthetic.write_scan`.
    """
    raw = study / "bids"
    shutil.copytree(folder / recording / "sub-02/anat", raw / "sub-02/anat")
    write_json({"Name": "semi-synthetic", "BIDSVersion": "1.8.0"}, raw / "dataset_description.json")
    (raw / "participants.tsv").write_text("participant_id\tbody_weight\nsub-02\t75\n")
    configure(study, quality=quality)
    anat = "results/derivatives/sub-02/anat/sub-02_"
    atlas = f"results/derivatives/atlases/tpl-{SPACE}_atlas-{ATLAS}_dseg"
    run(study, f"{anat}dseg.nii.gz", f"{atlas}.nii.gz")
    for path in (study / "config").glob("scans.*"):
        path.unlink()  # PET comes now
    head = semisynthetic.read_head(
        study / f"{anat}desc-preproc_T1w.nii.gz", study / f"{anat}desc-brain_mask.nii.gz",
        [study / f"{anat}label-{name}_probseg.nii.gz" for name in ("GM", "WM", "CSF")],
        study / f"{anat}from-{SPACE}_to-T1w_mode-image_xfm.h5", study / f"{atlas}.nii.gz", study / f"{atlas}.tsv",
        step_mm=step_mm,
    )  # fmt: skip
    table = read_tsv(study / f"{atlas}.tsv")
    for tracer in tracers:
        scan = SCANS[tracer]
        name, true = f"{raw}/sub-02/pet/{scan}", base(study, "truth") + scan
        out = {
            "image": f"{name}_pet.nii.gz", "sidecar": f"{name}_pet.json", "truth": f"{true}_desc-truth_pet.json",
            "hmc": f"{true}_from-orig_to-petref_mode-image_desc-truth_xfm.txt",
            "coreg": f"{true}_from-petref_to-T1w_mode-image_desc-truth_xfm.txt", "tacs": f"{true}_desc-truth_tacs.tsv",
        }  # fmt: skip
        for path in out.values():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        curves = (simref_curves if tracer == "RAC" else mc1_curves)(folder, table)
        # one scan corrected for decay to its late start, the other not corrected at all
        semisynthetic.write_scan(
            head,
            curves,
            out,
            tracer=tracer,
            corrected=tracer == "RAC",
            seed=len(tracer) + ord(tracer[0]),
            **options,
        )
        if tracer == "MC1":
            blood = folder / "ds004869-pet-mc1/sub-01/ses-baseline/pet"
            for end in ("tsv", "json"):
                (path,) = blood.glob(f"*_recording-manual_blood.{end}")
                shutil.copy(path, f"{name}_recording-manual_blood.{end}")
    run(study, "index")


def run(study, *targets):
    """Run the workflow for targets on one core."""
    return snakemake("--cores", 1, "--directory", study, *targets, timeout=3600)


def analyse(study, pvc="none", quality="standard", tracers=tuple(SCANS)):
    """Regional BPND and VT from the raw scans: series over tracer, model and region."""
    configure(study, pvc, quality)
    wanted, found = [], {}
    for tracer in tracers:
        name = f"results/derivatives/sub-02/pet/{SCANS[tracer]}_seg-{ATLAS}_model-"
        models = REFERENCE_MODELS if tracer == "RAC" else PLASMA_MODELS
        found |= {(tracer, m): f"{name}{m}_kinpar.tsv" for m in models}
        wanted += [f"{name}{models[0]}_kinpar.tsv"]
    run(study, *wanted)
    return pd.concat(
        {key: read_tsv(study / path, index="name")[MAIN[key[1]]] for key, path in found.items()},
        names=["tracer", "model"],
    )


def painted(study, tracers=tuple(SCANS)):
    """What the same models give for the painted curves themselves, in the form of `analyse`."""
    folder = study / "painted"
    folder.mkdir(exist_ok=True)
    out = {}
    for tracer in tracers:
        scan = SCANS[tracer]
        name, curves = (
            base(study, "found") + scan,
            read_tsv(base(study, "truth") + f"{scan}_desc-truth_tacs.tsv"),
        )
        table = read_tsv(study / f"results/derivatives/atlases/tpl-{SPACE}_atlas-{ATLAS}_dseg.tsv")
        times = curves[["frame_start", "frame_end"]]
        tacs, morph, reference = (folder / f"{scan}_{part}.tsv" for part in ("tacs", "morph", "reference"))
        write_tsv(times.join(curves[list(table["name"])]), tacs)
        write_tsv(table[["index", "name"]].assign(volume_mm3=1.0, coverage=1.0), morph)
        cerebellum = table.loc[table["structure"] == "cerebellum", "name"]
        weights, frames = f"{name}_desc-weights_weights.tsv", f"{name}_desc-frames_timeseries"
        if tracer == "RAC":
            write_tsv(times.assign(reference=curves[cerebellum.iloc[0]]), reference)
            side = f"{name}_label-reference_desc-preproc_tacs.json"
            common = (reference, side, weights, f"{frames}.tsv", f"{frames}.json")
            shared = folder / f"{scan}_constants.json"
            constants.estimate([tacs], [morph], *common, shared, models=REFERENCE_MODELS)
            paths = _outputs(folder, scan, REFERENCE_MODELS)
            model.model(
                tacs, morph, *common, paths, models=REFERENCE_MODELS, window_min=(30, 60), shared=[shared]
            )
        else:
            paths = _outputs(folder, scan, PLASMA_MODELS)
            given = [f"{name}_inputfunction.{end}" for end in ("tsv", "json")]
            plasma.model(
                tacs, morph, weights, f"{frames}.tsv", f"{frames}.json", given, paths, models=PLASMA_MODELS
            )
        for path, m in zip(paths["kinpar"], paths["models"], strict=True):
            out[tracer, m] = read_tsv(path, index="name")[MAIN[m]]
    return pd.concat(out, names=["tracer", "model"])


def _outputs(folder, scan, models):
    names = {"kinpar": "kinpar.tsv", "kinpar_json": "kinpar.json", "fits": "fit.tsv"}
    paths = {key: [folder / f"{scan}_{m}_{end}" for m in models] for key, end in names.items()}
    plots = [folder / f"{scan}_{m}_plot.tsv" for m in models if m in ("refLogan", "refPatlak")]
    return {**paths, "plots": plots, "models": models}


def errors(found, truth):
    """Relative errors in %, over tracer, model and region; regions that bind too little are left out."""
    truth = truth.reindex(found.index)
    little = truth.index.get_level_values("tracer").isin(["RAC"]) & (truth < LEAST_BPND)
    return (100 * (found / truth - 1))[~little & truth.notna()]


def positions(study, tracer):
    """Errors of position over voxels of the brain.

    Returns
    -------
    motion : numpy.ndarray, (F,)
        Mean distance by frame, mm: of frames that end after 2 min, NaN for others.
    coregistration : float
        Mean distance of the chain from T1w to the head at rest, mm.
    moved : numpy.ndarray, (F,)
        Mean distance that the head did move, mm.
    """
    scan = SCANS[tracer]
    found, true = base(study, "found") + scan, base(study, "truth") + scan
    hmc, coreg = "_from-orig_to-petref_mode-image_desc-", "_from-petref_to-T1w_mode-image_desc-"
    estimated, planted = (read_affines(f"{a}{hmc}{b}_xfm.txt") for a, b in ((found, "hmc"), (true, "truth")))
    to_ref = read_affines(f"{found}{coreg}coreg_xfm.txt")[0]
    to_ref_true = read_affines(f"{true}{coreg}truth_xfm.txt")[0]
    mask = load(study / "results/derivatives/sub-02/anat/sub-02_desc-brain_mask.nii.gz")
    points = grid_points(mask.shape, np.asarray(mask.affine, float), data(mask) > 0.5)[::97]
    frames = read_tsv(f"{found}_desc-frames_timeseries.tsv")
    late = frames["frame_end_s"].to_numpy() > 120
    # the reference of the estimate is the head somewhere within the scan: a constant change between the two is no error
    mean = (np.linalg.inv(planted) @ estimated)[late].mean(0)
    u, _, vt = np.linalg.svd(mean[:3, :3])
    mean[:3, :3] = u @ vt
    head = apply_affine(to_ref, points)

    def apart(one, other):
        return np.linalg.norm(apply_affine(one, head) - apply_affine(other, head), axis=1).mean()

    motion = np.array([apart(f, p @ mean) for f, p in zip(estimated, planted, strict=True)])
    moved = np.array([apart(p @ mean, np.eye(4)) for p in planted])
    chain = apply_affine(mean @ to_ref, points) - apply_affine(to_ref_true, points)
    return np.where(late, motion, np.nan), float(np.linalg.norm(chain, axis=1).mean()), moved


def condition(study, tracer, pvc):
    """Condition number of the correction."""
    side = f"{base(study, 'found')}{SCANS[tracer]}_seg-{ATLAS}_pvc-{pvc.upper()}_desc-preproc_tacs.json"
    return read_json(side)["ConditionNumber"]
