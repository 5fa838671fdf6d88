"""Preprocessing against known truth and beside its peers: accuracy, CPU seconds, memory.

    python benchmarks/preprocessing.py [--seeds 5] [--peers .venv-peers/bin/python] [--only NAME] [--quick]

Prints one tab-separated line per figure: name, value, unit, goal, ok or short. A figure without a goal is there to compare
with. Where the heads come from, and what they are not: `phantoms.py`. Every step that is timed runs alone in a process of
its own, on one thread, ours before and after each peer (mean of ours); imports, reading and the compilation of
neurobraid's kernels are left out by a warm-up. The peers (`make peers`) are antspyx, dipy, SimpleITK and nilearn.

About an hour and a half on one core; --quick measures every figure on one seed, on fewer volumes, without SyNRepro.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# before numpy is imported: the figures are for one core
os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")})
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from phantoms import BOLD_MM, TR, Person, template_warp

from neurobraid.images.resample import grid_points, resample_image, sample
from neurobraid.images.rigid import displacement
from neurobraid.images.templates import template
from neurobraid.images.transforms import apply_affine

ROOT = Path(__file__).resolve().parents[1]
GAMMA = (0.7, 1.4, 0.85, 1.2, 0.6)
"""Change of the T1w intensities in the normalisation, by seed."""


def report(name, value, unit, goal="", good=True):
    """Print one line."""
    print(f"{name}\t{value:.4g}\t{unit}\t{goal}\t{'ok' if good else 'short'}", flush=True)


def note(text):
    """Say what the table does not."""
    print(text, file=sys.stderr, flush=True)


def dice(a, b):
    """Dice coefficient of two masks."""
    return 2 * np.count_nonzero(a & b) / max(np.count_nonzero(a) + np.count_nonzero(b), 1)


class Bench:
    """Options, and the processes in which steps are measured."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.seeds = list(range(1, (1 if options.quick else options.seeds) + 1))
        self.quick = options.quick
        self.peers = options.peers
        self._anatomy, self._people = {}, {}

    def person(self, seed):
        """The person of a seed."""
        if seed not in self._people:
            self._people = {seed: Person(seed)}  # one is kept: each holds its head
        return self._people[seed]

    def step(self, name, **options):
        """Run one step of `_steps.py`; its results, or None where the peer is not there."""
        python = sys.executable if name.endswith("_ours") else self.peers
        if python is None:
            return None
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        environment["NUMBA_CACHE_DIR"] = str(self.folder / "numba")
        command = [python, ROOT / "benchmarks/_steps.py", name, self.folder, json.dumps(options)]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode:
            if name.endswith("_ours"):
                raise RuntimeError(f"{name} failed:\n{done.stderr[-3000:]}")
            note(f"{name} gave no result: {done.stderr.strip().splitlines()[-1:]}")
            return None
        with np.load(self.folder / f"{name}.npz") as stored:
            found = dict(stored)
        note(
            f"{name} {options or ''}: {found['cpu_s']:.2f} CPU s, {found['peak_mb']:.0f} MB, "
            f"machine loop {found['loop_s']:.3f} s"
        )
        return found

    def give(self, **arrays):
        """Write what the next steps read."""
        np.savez(self.folder / "inputs.npz", **arrays)

    def anatomy(self, seed):
        """Our own T1w chain of one person: corrected T1w, mask, posteriors, segmentation, forward warp, and the truth."""
        if seed not in self._anatomy:
            from neurobraid.anat import brain, normalize

            truth = self.person(seed).t1w()
            image = brain.conform(truth.image)
            corrected, mask, quality = brain.extract_brain(image)
            initial = np.array(quality["affine_to_template"])
            _, inverse = normalize.normalize(corrected, image.affine, mask, initial=initial)
            posteriors = normalize.tissues(corrected, image.affine, mask, inverse)
            self._anatomy[seed] = {
                "truth": truth,
                "affine": image.affine,
                "t1w": corrected,
                "mask": mask,
                "posteriors": posteriors,
                "labels": normalize.labels(posteriors, mask),
            }
        return self._anatomy[seed]


# --------------------------------------------------------------------------- head motion


def relative(series, index):
    """True motion from the reference's pose, and the brain's points there."""
    home = series.poses[index]
    return series.poses @ np.linalg.inv(home), apply_affine(home, series.points)


def offset(found, truth):
    """Mean rigid difference (4 x 4) between found and true motion: where the reference itself was taken to be."""
    mean = (np.linalg.inv(truth) @ found).mean(0)
    left, _, right = np.linalg.svd(mean[:3, :3])
    mean[:3, :3] = left @ right
    return mean


def motion(bench):
    """Head motion: error of whole runs, then speed and error beside the peers on some volumes."""
    from neurobraid.bold.motion import head_motion
    from neurobraid.bold.reference import count_non_steady, make_reference
    from neurobraid.bold.series import Series

    volumes = 40 if bench.quick else 200
    errors = {0: [], 8: []}
    kept = None
    for seed in bench.seeds:
        for jumps in errors:
            run = bench.person(seed).bold(volumes, jumps=max(1, jumps * volumes // 200) if jumps else 0)
            series = Series(run.data, run.affine, TR)
            reference, index, mask = make_reference(series, count_non_steady(run.data))
            found = head_motion(run.data, run.affine, reference, mask)
            truth, points = relative(run, index)
            distance, angle = displacement(found, truth, points)
            start = displacement(np.tile(np.eye(4), (volumes, 1, 1)), truth, points)[0]
            moving = displacement(found, truth @ offset(found, truth), points)[0].mean()
            errors[jumps].append(
                (distance.mean(), angle.mean(), distance.max(), moving, start.mean(), start.max())
            )
            if kept is None:
                kept = run, reference, mask, truth, points
    for jumps, goal, words in ((0, 0.05, "typical motion"), (8, 0.15, "3 mm jumps")):
        mean, turn, worst, moving, start, leap = np.mean(errors[jumps], axis=0)
        report(f"head motion error, {words}", mean, "mm", f"<= {goal}", mean <= goal)
        report(f"head rotation error, {words}", turn, "deg")
        report(f"head motion error of the worst volume, {words}", worst, "mm")
        report(f"head motion error without the offset of the reference, {words}", moving, "mm")
        report(f"head motion before correction, {words}: mean", start, "mm")
        report(f"head motion before correction, {words}: largest", leap, "mm")

    run, reference, mask, truth, points = kept
    from scipy import ndimage

    for peer, words, count in (
        ("ants", "ants.motion_correction (BOLDRigid)", 10),
        ("sitk", "SimpleITK mean squares, rigid", 10),
        ("dipy", "dipy affine_registration, rigid", 3),
    ):
        some = np.linspace(1, volumes - 1, min(count, 3) if bench.quick else count).round().astype(int)
        inputs = {"affine": run.affine, "reference": reference}
        wide = ndimage.binary_dilation(mask, iterations=2)
        own = []
        for place in ("before", peer, "after"):
            # ours is timed on a whole run: on three volumes the reference's own preparation would count most
            part = some if place == peer else slice(None)
            bench.give(data=run.data[..., part], mask=wide if place == peer else mask, **inputs)
            if place == peer:
                other = bench.step(f"motion_{peer}")
            else:
                own.append(bench.step("motion_ours"))
        seconds = np.mean([o["cpu_s"] for o in own]) / volumes
        # the reference's own offset is the same for all, and no error of a method
        ours, theirs = (
            np.nan
            if found is None
            else displacement(found, truth[some] @ offset(found, truth[some]), points)[0].mean()
            for found in (own[0]["matrices"][some], other and other["matrices"])
        )
        if peer == "ants":
            report("head motion, neurobraid", seconds, "CPU s per volume")
            report("head motion, neurobraid: memory", own[0]["peak_mb"], "MB")
        if other is None:
            continue
        slower = other["cpu_s"] / len(some) / seconds
        report(f"head motion, {words}", other["cpu_s"] / len(some), "CPU s per volume")
        report(f"head motion, {words}: memory", other["peak_mb"], "MB")
        report(f"head motion error, {words}", theirs, "mm")
        report(
            f"head motion error on the same {len(some)} volumes, neurobraid",
            ours,
            "mm",
            f"<= {theirs:.4g}",
            ours <= theirs,
        )
        goal = ">= 50" if peer == "ants" else ""
        report(f"head motion, times faster than {words}", slower, "", goal, not goal or slower >= 50)


# --------------------------------------------------------------------------- anatomy


def anatomy(bench):
    """Brain mask and tissue of whole heads, end to end."""
    found = {"mask": [], "GM": [], "WM": [], "CSF": []}
    seconds = []
    for seed in bench.seeds:
        clock = time.process_time()
        own = bench.anatomy(seed)
        seconds.append(time.process_time() - clock)
        truth = own["truth"]
        found["mask"].append(dice(own["mask"], truth.brain))
        for number, name in enumerate(("GM", "WM", "CSF"), 1):
            found[name].append(dice(own["labels"] == number, truth.labels == number))
    mean = {name: np.mean(values) for name, values in found.items()}
    report("brain mask Dice", mean["mask"], "", ">= 0.98", mean["mask"] >= 0.98)
    report("brain mask Dice of the worst head", min(found["mask"]), "")
    for name, goal in (("GM", 0.90), ("WM", 0.90), ("CSF", 0.75)):
        report(f"{name} Dice at 3 % noise and 20 % bias", mean[name], "", f">= {goal}", mean[name] >= goal)
    note(f"T1w chain (phantom, N4, mask, standard normalisation, tissue): {np.round(seconds, 1)} CPU s")


def coregistration(bench):
    """BOLD reference to T1w, with our own mask and tissue."""
    import nibabel as nib

    from neurobraid.bold.coregister import coregister
    from neurobraid.bold.reference import brain_mask

    errors, turns, starts, seconds = [], [], [], []
    for seed in bench.seeds:
        own, person = bench.anatomy(seed), bench.person(seed)
        image, affine, truth = person.reference()
        mask = brain_mask(image, np.full(3, BOLD_MM))
        maps = [nib.Nifti1Image(np.asarray(v, np.float32), own["affine"]) for v in (own["t1w"], own["mask"])]
        maps += [nib.Nifti1Image(own["posteriors"][n], own["affine"]) for n in (1, 0)]
        clock = time.process_time()
        matrix, quality = coregister(image, affine, mask, *maps)
        seconds.append(time.process_time() - clock)
        points = person.brain_points()
        distance, angle = displacement(matrix[None], truth[None], points)
        note(f"coregistration {seed}: {distance[0]:.3f} mm, {angle[0]:.3f} deg, {quality}")
        errors.append(distance[0])
        turns.append(angle[0])
        starts.append(displacement(np.eye(4)[None], truth[None], points)[0][0])
    report("coregistration error", np.mean(errors), "mm", "<= 0.3", np.mean(errors) <= 0.3)
    report("coregistration rotation error", np.mean(turns), "deg")
    report("coregistration error of the worst head", np.max(errors), "mm")
    report("coregistration, distance at the start", np.mean(starts), "mm")
    report("coregistration, neurobraid", np.min(seconds), "CPU s")


# --------------------------------------------------------------------------- normalisation


def overlap(points, person, classes, truth_at):
    """Dice of GM: the person's tissue is the template's, carried by the true deformation."""
    image = template("T1w", 2.0)
    back = person.mni_from_t1w.apply(points)
    carried = sample(classes, apply_affine(np.linalg.inv(image.affine), back), 0)
    return dice(carried == 1, truth_at == 1), dice(carried == 2, truth_at == 2)


def normalisation(bench):
    """Target registration error and tissue overlap of our presets and ANTs on identical brains."""
    from neurobraid.anat.brain import log_bias
    from neurobraid.images.registration import ITERATIONS

    fixed = template("T1w", 2.0)
    values, inside = np.asarray(fixed.dataobj), np.asarray(template("brain", 2.0).dataobj) > 0.5
    points = grid_points(fixed.shape, fixed.affine, inside)
    grey, white = (np.asarray(template(kind, 2.0).dataobj) for kind in ("GM", "WM"))
    classes = (1 * ((grey > 0.5) & (grey > white)) + 2 * ((white > 0.5) & (white >= grey))).astype(np.int16)
    runs = [
        (f"neurobraid {q}", "normalise_ours", {"quality": q})
        for q in ("fast", "standard", "high")
        if q in ITERATIONS
    ]
    quick = ("ANTs SyNQuick[s]", "normalise_ants", {"type": "antsRegistrationSyNQuick[s]"})
    repro = ("ANTs SyNRepro[s]", "normalise_ants", {"type": "antsRegistrationSyNRepro[s]"})
    scores = {}
    for number, seed in enumerate(bench.seeds):
        person = bench.person(seed)
        truth = person.exact(points)
        scan = person.t1w(2.0, gamma=GAMMA[(seed - 1) % len(GAMMA)])
        image = np.asarray(scan.image.dataobj)
        image = image / np.exp(log_bias(image, scan.image.affine, scan.brain))
        moving = np.where(scan.brain, image, 0).astype(np.float32)
        bench.give(
            fixed=values * inside, fixed_affine=fixed.affine, moving=moving, moving_affine=scan.image.affine, points=points
        )  # fmt: skip
        order = [*runs, quick, *runs[1:2]]
        if number < 2 and not bench.quick:
            order += [repro]
        for name, step, options in order:
            found = bench.step(step, **options)
            if found is None:
                continue
            error = np.linalg.norm(found["points"] - truth, axis=1)
            gm, wm = overlap(found["points"], person, classes, classes[inside])
            row = (error.mean(), np.percentile(error, 95), gm, wm, found["cpu_s"], found["peak_mb"])
            scores.setdefault(name, {}).setdefault(seed, []).append(row)
            note(f"seed {seed}, {name}: TRE {row[0]:.3f} / {row[1]:.3f} mm, Dice GM {gm:.4f}, WM {wm:.4f}")
    tables = {name: np.array([np.mean(r, axis=0) for r in by.values()]) for name, by in scores.items()}
    for name, table in tables.items():
        mean = table.mean(0)
        report(f"normalisation TRE, {name}", mean[0], "mm")
        report(f"normalisation TRE, {name}: 95th percentile", mean[1], "mm")
        report(f"normalisation GM Dice, {name}", mean[2], "")
        report(f"normalisation WM Dice, {name}", mean[3], "")
        report(f"normalisation, {name}", mean[4], "CPU s")
        report(f"normalisation, {name}: memory", mean[5], "MB")
    ours, theirs = tables["neurobraid standard"].mean(0), tables.get(quick[0])
    if theirs is not None:
        theirs = theirs.mean(0)
        for column, unit, words in ((0, "mm", "TRE"), (4, "CPU s", "time")):
            good = ours[column] <= theirs[column]
            report(
                f"normalisation {words}, standard against SyNQuick[s]",
                ours[column],
                unit,
                f"<= {theirs[column]:.4g}",
                good,
            )
        report(
            "normalisation GM Dice, standard against SyNQuick[s]",
            ours[2],
            "",
            f">= {theirs[2]:.4g}",
            ours[2] >= theirs[2],
        )
    if repro[0] in tables:
        best = "neurobraid high" if "neurobraid high" in tables else "neurobraid standard"
        limit = tables[repro[0]].mean(0)[0] + 0.1
        value = tables[best][: len(tables[repro[0]])].mean(0)[0]
        report(
            f"normalisation TRE, {best} against SyNRepro[s] on the same heads",
            value,
            "mm",
            f"<= {limit:.4g}",
            value <= limit,
        )


# --------------------------------------------------------------------------- slice timing


def slice_orders():
    """Repetition time (s) and slice times (s) of an interleaved and a multiband acquisition."""
    order = [*range(0, 36, 2), *range(1, 36, 2)]
    one = np.empty(36)
    one[order] = np.arange(36) * 2.0 / 36
    shots = [*range(0, 12, 2), *range(1, 12, 2)]
    three = np.empty(12)
    three[shots] = np.arange(12) * 0.9 / 12
    return {"interleaved, TR 2 s": (2.0, one), "multiband 3, TR 0.9 s": (0.9, np.tile(three, 3))}


def phase_error(series, tr, start, frequency):
    """Largest error (s) over slices of the phase of a planted sine, after the correction to `start`."""
    times = np.arange(series.shape[3]) * tr + start
    design = np.stack(
        [np.sin(2 * np.pi * frequency * times), np.cos(2 * np.pi * frequency * times), np.ones_like(times)]
    )
    fit = np.linalg.lstsq(design.T, series.mean((0, 1)).T.astype(np.float64), rcond=None)[0]
    return np.abs(np.arctan2(fit[1], fit[0])).max() / (2 * np.pi * frequency)


def slicetiming(bench):
    """Phase of a planted 0.1 Hz signal in every slice, with noise, drift and another slow signal beside it."""
    from neurobraid.bold.slicetiming import correct_slice_timing

    for words, (tr, slice_times) in slice_orders().items():
        errors, before = [], []
        for seed in bench.seeds:
            rng = np.random.default_rng([seed, 11])
            times = np.arange(200)[None] * tr + slice_times[:, None]
            wave = (
                np.sin(2 * np.pi * 0.1 * times) + 0.5 * np.sin(2 * np.pi * 0.037 * times + 1) + 0.004 * times
            )
            series = 1000 + 10 * np.broadcast_to(wave, (24, 24, *wave.shape))
            series = series + 8 * rng.standard_normal(series.shape)
            series = np.asfortranarray(series, np.float32)
            before.append(phase_error(series, tr, 0.5 * tr, 0.1))
            start = correct_slice_timing(series, slice_times, 2, tr, reference=0.5)
            errors.append(phase_error(series, tr, start, 0.1))
        error, raw = 100 * np.mean(errors) / tr, 100 * np.mean(before) / tr
        report(f"slice timing phase error, {words}", error, "% of TR", "< 5", error < 5)
        report(f"slice timing phase error before correction, {words}", raw, "% of TR")


# --------------------------------------------------------------------------- distortion


def distortion(bench):
    """Residual displacement after correction by a phase-difference field map taken in another pose, with wraps and noise."""
    from neurobraid.bold.distortion import undistort, voxel_shift
    from neurobraid.bold.reference import brain_mask
    from neurobraid.files import write_json
    from neurobraid.images.io import save

    try:
        from neurobraid.bold.fieldmap import measured_field
    except ImportError:
        measured_field = None
        note("neurobraid.bold.fieldmap is not there: the field map's own error is not measured")
    readout, delta = 0.045, 0.00246
    names = ("mean", "p95", "far", "before", "same", "same_before")
    rows = []
    for seed in bench.seeds:
        person = bench.person(seed)
        image, affine, truth, brain = person.distorted(readout)
        mask = brain_mask(image, np.full(3, BOLD_MM))
        hz = truth
        if measured_field is not None:
            magnitude, phase, own = person.fieldmap(delta)
            base = bench.folder / "sub-01_"
            paths = [f"{base}{suffix}.nii.gz" for suffix in ("phasediff", "magnitude1")]
            for values, path in zip((phase, magnitude), paths, strict=True):
                save(values, own, path)
            sidecar = f"{base}phasediff.json"
            write_json({"Units": "rad", "EchoTime1": 0.00492, "EchoTime2": 0.00492 + delta}, sidecar)
            hz, _ = measured_field(
                "phasediff", paths, [sidecar], image, affine, mask, readout, "j-"
            )  # fmt: skip
        gap = np.abs(voxel_shift(hz, readout, "j-") - voxel_shift(truth, readout, "j-"))[brain]
        before = np.abs(voxel_shift(truth, readout, "j-"))[brain]
        # the same scan without distortion, for the look of the image
        plain = person.undistorted()
        flat = undistort(image, affine, hz, readout, "j-")
        same = [np.corrcoef(plain[brain], v[brain])[0, 1] for v in (flat, image)]
        rows.append((gap.mean(), np.percentile(gap, 95), gap[before > 2].mean(), before.mean(), *same))
    mean = dict(zip(names, np.mean(rows, axis=0), strict=True))
    if measured_field is not None:
        good = mean["mean"] < 0.3
        report(
            "distortion, residual displacement, phase-difference field map",
            mean["mean"],
            "voxel",
            "< 0.3",
            good,
        )
        report("distortion, residual displacement: 95th percentile", mean["p95"], "voxel")
        report("distortion, residual displacement where it was above 2 voxels", mean["far"], "voxel")
    report("distortion, displacement before correction", mean["before"], "voxel")
    words = "by the measured field" if measured_field is not None else "by the true field"
    better = mean["same"] > mean["same_before"]
    goal = f"> {mean['same_before']:.4g} (before)"
    report(
        f"distortion, correlation with the undistorted image, corrected {words}",
        mean["same"],
        "",
        goal,
        better,
    )


# --------------------------------------------------------------------------- resampling


def resampling(bench):
    """200 volumes to 2 mm template space through motion, coregistration and warp."""
    volumes = 40 if bench.quick else 200
    person = bench.person(1)
    run = person.bold(volumes)
    fixed = template("T1w", 2.0)
    warp = template_warp(person)
    # the rest pose of the run is the T1w pose
    inside = np.asarray(template("brain", 2.0).dataobj)
    mask = resample_image((inside, fixed.affine), run.data.shape[:3], run.affine, person.mni_from_t1w) > 0.5
    shared = {
        "fixed": np.asarray(fixed.dataobj), "fixed_affine": fixed.affine, "warp": warp.displacement,
        "warp_affine": warp.affine, "coreg": np.eye(4), "mask": mask, "affine": run.affine,
    }  # fmt: skip
    count = 3
    own, others = [], []
    peers = [
        ("ants.apply_transforms, cubic B-spline", "resample_ants", {"interpolator": "bSpline"}),
        ("ants.apply_transforms, linear", "resample_ants", {"interpolator": "linear"}),
        ("nilearn resample_img, cubic, affine only", "resample_nilearn", {}),
    ]
    bench.give(data=run.data, motion=run.poses, **shared)
    own.append(bench.step("resample_ours"))
    for _, step, options in peers:
        bench.give(data=np.ascontiguousarray(run.data[..., -count:]), motion=run.poses[-count:], **shared)
        others.append(bench.step(step, **options))
        bench.give(data=run.data, motion=run.poses, **shared)
        own.append(bench.step("resample_ours"))
    seconds, voxels = np.mean([o["cpu_s"] for o in own]) * 200 / volumes, int(own[0]["voxels"])
    report("resampling 200 volumes to 2 mm, neurobraid, cubic B-spline in the brain", seconds, "CPU s")
    report("resampling, neurobraid: per brain voxel and volume", 1e9 * seconds / 200 / voxels, "CPU ns")
    report("resampling, neurobraid: memory", own[0]["peak_mb"], "MB")
    for (words, step, _), other in zip(peers, others, strict=True):
        if other is None:
            continue
        whole = float(other["cpu_s"]) * 200 / count
        report(f"resampling 200 volumes to 2 mm, {words}, whole grid", whole, "CPU s")
        report(
            f"resampling, {words}: per voxel and volume", 1e9 * whole / 200 / int(other["voxels"]), "CPU ns"
        )
        report(f"resampling, {words}: memory", other["peak_mb"], "MB")
        if step == "resample_ants":
            # ANTs writes 0 beyond the field of view, ours goes on with the border
            both = (own[0]["last"] != 0) & (other["last"] != 0)
            same = np.corrcoef(other["last"][both], own[0]["last"][both])[0, 1]
            report(
                f"resampling, correlation of our last volume with that of {words}",
                same,
                "",
                "> 0.98",
                same > 0.98,
            )
        goal = "" if "linear" in words else ">= 8"
        report(
            f"resampling, times faster than {words}",
            whole / seconds,
            "",
            goal,
            not goal or whole / seconds >= 8,
        )


# --------------------------------------------------------------------------- a whole participant


def participant(bench):
    """The workflow on one person: T1w of 1 mm, two runs of 200 volumes at 3 mm, standard, two cores."""
    from neurobraid.files import write_json
    from neurobraid.synth.volumes import save_scaled

    study = bench.folder / "study"
    bids = study / "bids"
    for folder in (bids / "sub-01/anat", bids / "sub-01/func", study / "config"):
        folder.mkdir(parents=True)
    person = bench.person(1)
    volumes = 40 if bench.quick else 200
    write_json({"Name": "phantom", "BIDSVersion": "1.9.0"}, bids / "dataset_description.json")
    (bids / "participants.tsv").write_text("participant_id\nsub-01\n")
    image = person.t1w().image
    save_scaled(np.asarray(image.dataobj), image.affine, bids / "sub-01/anat/sub-01_T1w.nii.gz", slope=1.0)
    write_json({"MagneticFieldStrength": 3}, bids / "sub-01/anat/sub-01_T1w.json")
    slice_times = slice_orders()["interleaved, TR 2 s"][1]
    for number in (1, 2):
        run = person.bold(volumes, jumps=2 * (number - 1))
        name = bids / f"sub-01/func/sub-01_task-rest_run-{number}_bold"
        save_scaled(run.data, run.affine, f"{name}.nii.gz", slope=0.5, tr=TR)
        write_json(
            {"TaskName": "rest", "RepetitionTime": TR, "SliceTiming": slice_times.round(4).tolist()},
            f"{name}.json",
        )
    (study / "config/config.yaml").write_text(
        "bids: bids\ntitle: benchmark\nanat: {quality: standard}\nbold: {resolution: 2}\n"
        "connectivity: {tasks: [rest]}\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    environment["PYTHONPATH"] = str(ROOT / "src")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--snakefile", ROOT / "Snakefile", "--directory", study, "anat", "bold"]  # fmt: skip
    walls = []
    for attempt in ("with compilation", "compiled"):
        clock = time.monotonic()
        done = subprocess.run(
            list(map(str, [*command, *(["--forceall"] if walls else [])])),
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        walls.append((time.monotonic() - clock) / 60)
        if done.returncode:
            raise RuntimeError(f"the workflow failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
        jobs = {}
        for path in sorted((study / "logs/benchmarks").rglob("*.tsv")):
            header, values = (line.split("\t") for line in path.read_text().splitlines()[:2])
            row = dict(zip(header, values, strict=True))
            jobs[str(path.relative_to(study / "logs/benchmarks").with_suffix(""))] = row
        note(f"whole participant, {attempt}: {walls[-1]:.2f} min")
        for name, row in jobs.items():
            note(f"  {name}: {row['s']} s, {row['cpu_time']} CPU s, {row['max_rss']} MB")
    sizes = [float(row["max_rss"]) for row in jobs.values() if re.fullmatch(r"[\d.]+", row["max_rss"])]
    words = f"whole participant (1 mm T1w, 2 runs of {volumes}, standard, 2 cores)"
    report(f"{words}, first run of an installation", walls[0], "min", "< 6", walls[0] < 6)
    report(f"{words}, every later one", walls[1], "min", "< 6", walls[1] < 6)
    report(f"{words}, memory of the largest job", max(sizes) / 1024, "GB", "< 4", max(sizes) < 4096)


PARTS = {
    f.__name__: f
    for f in (
        motion,
        slicetiming,
        distortion,
        anatomy,
        coregistration,
        normalisation,
        resampling,
        participant,
    )
}


def main():
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="simulated participants per figure")
    parser.add_argument("--only", action="append", choices=PARTS, help="one part; may be repeated")
    parser.add_argument("--quick", action="store_true", help="one seed, fewer volumes, no SyNRepro")
    parser.add_argument(
        "--peers", default=str(ROOT / ".venv-peers/bin/python"), help="the peers' interpreter"
    )
    options = parser.parse_args()
    if not Path(options.peers).exists():
        note(f"no rows of peers: {options.peers} is missing (make peers)")
        options.peers = None
    with tempfile.TemporaryDirectory(prefix="neurobraid-") as folder:
        bench = Bench(options, Path(folder))
        for name in options.only or PARTS:
            PARTS[name](bench)


if __name__ == "__main__":
    main()
