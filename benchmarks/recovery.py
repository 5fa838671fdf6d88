"""How well the built-in study's truth is recovered. Run it in (or give it) a finished study folder.

    python benchmarks/recovery.py [study] [--seeds 20]

Prints one tab-separated line per figure: name, value, unit, goal, ok or short.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from neurobraid.files import read_tsv
from neurobraid.images.io import data, load
from neurobraid.images.resample import grid_points, resample_image, sample
from neurobraid.images.templates import SPACE, template
from neurobraid.images.transforms import apply_affine, read_affines, read_warp


def report(name, value, unit, goal, good):
    """Print one line."""
    print(f"{name}\t{value:.4g}\t{unit}\t{goal}\t{'ok' if good else 'short'}", flush=True)


def rigid_mean(matrices):
    """Mean of nearly equal rigid matrices."""
    mean = matrices.mean(0)
    u, _, vt = np.linalg.svd(mean[:3, :3])
    mean[:3, :3] = u @ vt
    return mean


def angle(matrix):
    """Rotation angle in degrees."""
    return np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1)))


def brain_points(study, row, step=97):
    """Some points of the T1w brain, RAS mm."""
    visit, t1w = row["t1w_visit"], row["t1w_scan"]
    mask = load(study / f"results/derivatives/{visit}/anat/{t1w}_desc-brain_mask.nii.gz")
    return grid_points(mask.shape, mask.affine, data(mask) > 0)[::step]


def alignment(study, truth, row, suffix, reference):
    """Motion error (mm, deg) relative to the reference, and error of the chain T1w -> raw volume (mm)."""
    folder = {"bold": "func", "pet": "pet"}[suffix]
    base = f"{row['visit']}/{folder}/{row['scan']}"
    hmc, coreg = f"from-orig_to-{reference}_mode-image_desc-", f"from-{reference}_to-T1w_mode-image_desc-"
    found = read_affines(study / f"results/derivatives/{base}_{hmc}hmc_xfm.txt")
    planted = read_affines(truth / f"{base}_{hmc}truth_xfm.txt")
    to_ref = read_affines(study / f"results/derivatives/{base}_{coreg}coreg_xfm.txt")[0]
    to_ref_true = read_affines(truth / f"{base}_{coreg}truth_xfm.txt")[0]
    points = brain_points(study, row)
    # the two references are the head in different volumes: a constant rigid change between them is no error
    constant = rigid_mean(np.linalg.inv(planted) @ found)
    head = apply_affine(to_ref, points)
    aligned = planted @ constant
    distance = [
        np.linalg.norm(apply_affine(f, head) - apply_affine(p, head), axis=1).mean()
        for f, p in zip(found, aligned, strict=True)
    ]
    turn = [angle(np.linalg.inv(p) @ f) for f, p in zip(found, aligned, strict=True)]
    chain = apply_affine(constant @ to_ref, points) - apply_affine(to_ref_true, points)
    return np.mean(distance), np.mean(turn), np.linalg.norm(chain, axis=1).mean()


def dice(a, b):
    """Dice coefficient of two masks."""
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def anatomy(study, truth, scans):
    """Dice of true tissue brought to the template with the template's tissue, and of brain masks and labels."""
    grey, white = (data(template(kind, 2.0)) for kind in ("GM", "WM"))
    hard = {"GM": (grey > 0.5) & (grey > white), "WM": (white > 0.5) & (white >= grey)}
    values = {name: [] for name in ("GM", "WM", "mask", "GM native", "WM native", "GM moved", "WM moved")}
    image = template("T1w", 2.0)
    classes = (hard["GM"] * 1 + hard["WM"] * 2).astype(np.int16)
    points = grid_points(image.shape, image.affine)
    for row in scans[scans["suffix"] == "T1w"].to_dict("records"):
        base = f"{row['visit']}/anat/{row['scan']}"
        labels = load(truth / f"{base}_dseg.nii.gz")
        warp = read_warp(study / f"results/derivatives/{base}_from-T1w_to-{SPACE}_mode-image_xfm.h5")
        true = data(labels, np.int16)
        moved = resample_image((true, labels.affine), image.shape, image.affine, warp, order=0)
        # the person's tissue is the template's, carried by the true deformation: no label image in between
        back = read_warp(truth / f"{base}_from-{SPACE}_to-T1w_mode-image_xfm.h5")
        ijk = apply_affine(np.linalg.inv(image.affine), back.apply(warp.apply(points)))
        carried = sample(classes, ijk, 0).reshape(image.shape)
        own = load(study / f"results/derivatives/{base}_dseg.nii.gz")
        seg = resample_image((data(own, np.int16), own.affine), true.shape, labels.affine, order=0)
        mask = load(study / f"results/derivatives/{base}_desc-brain_mask.nii.gz")
        mask = resample_image((data(mask, np.int16), mask.affine), true.shape, labels.affine, order=0)
        for number, name in ((1, "GM"), (2, "WM")):
            values[name].append(dice(carried == number, hard[name]))
            values[f"{name} moved"].append(dice(moved == number, hard[name]))
            values[f"{name} native"].append(dice(seg == number, true == number))
        # the drawn fluid rim belongs to no brain mask; ventricles and sulci do
        solid = np.pad((true == 1) | (true == 2), 8)
        reach = int(np.ceil(4 / np.linalg.norm(labels.affine[:3, 0])))
        solid = ndimage.binary_fill_holes(ndimage.binary_closing(solid, iterations=reach))
        values["mask"].append(dice(mask > 0, solid[8:-8, 8:-8, 8:-8]))
    report(
        "brain mask Dice with closed GM and WM",
        np.mean(values["mask"]),
        "",
        ">= 0.95",
        np.mean(values["mask"]) >= 0.95,
    )
    for name in ("GM", "WM"):
        mean = np.mean(values[name])
        report(f"{name} Dice after normalisation", mean, "", ">= 0.88", mean >= 0.88)
        mean = np.mean(values[f"{name} moved"])
        report(f"{name} Dice after normalisation, label image moved", mean, "", ">= 0.88", mean >= 0.88)
        native = np.mean(values[f"{name} native"])
        report(f"{name} Dice of the segmentation in T1w space", native, "", ">= 0.85", native >= 0.85)


def activation(study, truth):
    """Voxel AUC of the group z map for the planted activation."""
    from sklearn.metrics import roc_auc_score

    for path in sorted((study / "results/derivatives/group").glob("task-*_stat-z_statmap.nii.gz")):
        parts = dict(p.split("-", 1) for p in path.name.split("_") if "-" in p)
        name = f"task-{parts['task']}_space-{SPACE}_contrast-{parts['contrast']}_desc-psc_statmap.nii.gz"
        if not (truth / name).exists():
            continue
        z, planted = load(path), load(truth / name)
        on_grid = resample_image(planted, z.shape[:3], z.affine, order=1)
        values = data(z)
        brain = np.isfinite(values) & (values != 0)
        # active against silent: the faint rim of a blob is neither
        size = np.abs(on_grid)
        use = brain & ((size > 0.25 * size.max()) | (size < 0.01 * size.max()))
        score = np.where(on_grid[use] < 0, -values[use], values[use])
        auc = roc_auc_score(size[use] > 0.25 * size.max(), score)
        report(f"group activation voxel AUC, {parts['contrast']}", auc, "", ">= 0.95", auc >= 0.95)


def upper(matrix):
    """Values above the diagonal."""
    return matrix[np.triu_indices(len(matrix), 1)]


def connectivity(study, truth, scans):
    """Correlation of estimated and true edges."""
    found = {"planted": [], "realised": []}
    for row in scans[(scans["suffix"] == "bold") & (scans["task"] == "rest")].to_dict("records"):
        base = f"{row['visit']}/func/{row['scan']}_atlas-braid100"
        own = read_tsv(study / f"results/derivatives/{base}_stat-pearsoncorrelation_relmat.tsv", index="Node")
        for kind in found:
            true = read_tsv(truth / f"{base}_desc-{kind}_relmat.tsv", index="Node")
            true = true.loc[own.index, own.columns]
            a, b = upper(own.to_numpy(float)), upper(true.to_numpy(float))
            keep = np.isfinite(a)
            found[kind].append(np.corrcoef(a[keep], b[keep])[0, 1])
    mean = np.mean(found["planted"])
    report("edge r of connectivity with the planted matrix", mean, "", ">= 0.85", mean >= 0.85)
    report("edge r with the realised matrix", np.mean(found["realised"]), "", "", True)


def binding(study, truth, scans):
    """Relative error of regional BPND, against the truth seen through the PSF and against the plain truth."""
    import pandas as pd

    people = []
    for row in scans[scans["suffix"] == "pet"].to_dict("records"):
        base = f"{row['visit']}/pet/{row['scan']}"
        name = f"results/derivatives/{base}_seg-braid100_model-SRTM_kinpar.tsv"
        own = read_tsv(study / name, index="name")["BPND"]
        true = read_tsv(truth / f"{base}_atlas-braid100_desc-truth_kinpar.tsv", index="name")
        people.append(pd.DataFrame({"BPND": own, **true[["BPND", "BPND_psf"]].add_prefix("true ")}))
    if not people:
        return
    mean = sum(people) / len(people)
    for kind, words in (
        ("BPND_psf", "truth seen through the scanner's PSF"),
        ("BPND", "plain truth, no PVC"),
    ):
        for place, chosen in (("regional", mean["true BPND"] > 0.15), ("striatal", mean["true BPND"] > 1.2)):
            error = 100 * (mean["BPND"] / mean[f"true {kind}"] - 1)[chosen].abs().mean()
            report(f"{place} BPND error of the participants' mean, {words}", error, "%", "<= 5", error <= 5)
        one = [(p["BPND"] / p[f"true {kind}"] - 1)[p["true BPND"] > 0.15].abs().mean() for p in people]
        report(f"regional BPND error of one participant, {words}", 100 * np.mean(one), "%", "", True)


def main():
    """Measure a finished study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", default=".", type=Path)
    parser.add_argument("--seeds", type=int, default=20, help="cohorts simulated for the prediction figures")
    options = parser.parse_args()
    study, truth = options.study, options.study / "bids/derivatives/truth"
    scans = read_tsv(study / "results/index/scans.tsv", text=["trc", "visit"])
    pairs = read_tsv(study / "results/index/pairing.tsv", text=["t1w_visit", "t1w_scan"])
    paired = scans.merge(pairs[["scan", "suffix", "t1w_scan", "t1w_visit"]], on=["scan", "suffix"])
    for suffix, reference, words in (("bold", "boldref", "BOLD"), ("pet", "petref", "PET")):
        rows = paired[paired["suffix"] == suffix].to_dict("records")
        if not rows:
            continue
        errors = np.array([alignment(study, truth, row, suffix, reference) for row in rows])
        mean = errors.mean(0)
        goals = (0.15, 0.15, 1.0) if suffix == "bold" else (0.5, 0.5, 1.5)
        report(f"{words} head motion error", mean[0], "mm", f"<= {goals[0]}", mean[0] <= goals[0])
        report(f"{words} head rotation error", mean[1], "deg", f"<= {goals[1]}", mean[1] <= goals[1])
        report(f"{words}-to-T1w error", mean[2], "mm", f"<= {goals[2]}", mean[2] <= goals[2])
    anatomy(study, truth, scans)
    activation(study, truth)
    connectivity(study, truth, scans)
    binding(study, truth, scans)
    if options.seeds:
        import subprocess

        gates = Path(__file__).with_name("prediction_gates.py")
        subprocess.run([sys.executable, gates, "--seeds", str(options.seeds)], check=False)


if __name__ == "__main__":
    main()
