"""PET: agreement with other tools, accuracy on exact curves, and speed of every voxel model on one core.

    python benchmarks/pet.py [part ...] [--data FOLDER] [--peers PYTHON]

Parts: see `PARTS`; all of them by default. ``--data`` is the folder of real recordings (default ``$NEUROBRAID_DATA`` or
``../shared/data`` beside the project); parts that need it say so when it is absent. ``--peers`` is the Python of an
environment in which peers from PyPI are installed (``pip install niftypad``); without it their rows are left out.

Prints one tab-separated line per figure: name, value, unit, goal, ok or short. The goals of speed are for one core, wall
time, the fastest of three runs.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

# before numpy is imported: the goals are for one core
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

VOXELS = 230_000
"""Of a brain at 2 mm."""

RATES = {"SRTM": 200_000, "MRTM2": 300_000, "refLogan": 300_000}
"""Goals in voxels/s; for the others the time for a whole brain is the only one."""

BRAIN_S, BRAIN_MB = 3.0, 1000.0
BPND, K2PRIME = 1.5, 0.1

PEER = """
import json, sys, time
import numpy as np
from niftypad import basis, models
from niftypad.tac import Ref

given = json.load(sys.stdin)
dt = np.array(given["dt"])
curves = [np.array(c) for c in given["curves"]]
ref = Ref(np.array(given["reference"]), dt)
ref.interp_1()
common = {"dt": dt, "inputf1": ref.inputf1, "w": None, "fig": False}
start, end = given["tstar_s"], dt.max()
found = {}

def run(name, fit):
    fit(curves[0].copy())
    clock = time.perf_counter()
    values = [float(np.ravel(fit(c.copy())["bp"])[0]) for c in curves]
    found[name] = [len(curves) / (time.perf_counter() - clock), float(np.median(values))]

b = basis.make_basis(common["inputf1"], dt, beta_lim=[0.006 / 60, 0.6 / 60], n_beta=128)
run("SRTM", lambda c: models.srtmb_basis(c, b))
k2p = given["k2prime"] / 60
b2 = basis.make_basis(common["inputf1"], dt, beta_lim=[0.006 / 60, 0.6 / 60], n_beta=128, k2p=k2p)
run("SRTM2", lambda c: models.srtmb_k2p_basis(c, b2))
run("MRTM1", lambda c: models.mrtm(c, linear_phase_start=0, linear_phase_end=end, **common))
run("MRTM2", lambda c: models.mrtm_k2p(c, k2p=k2p, linear_phase_start=0, linear_phase_end=end, **common))
run("refLogan", lambda c: models.logan_ref_k2p(c, k2p=k2p, linear_phase_start=start, linear_phase_end=end, **common))
print(json.dumps(found))
"""
"""Run by the peers' Python: rate (voxels/s) and median BPND per model."""


def report(name, value, unit, goal="", good=None):
    """Print one line; `good` None is a figure without a goal."""
    verdict = {None: "", True: "ok", False: "short"}[None if good is None else bool(good)]
    print(name, f"{value:.4g}", unit, goal, verdict, sep="\t", flush=True)


def brain():
    """33 frames of 85 min, the reference, weights, and curves (V, 33) of BPND 1.5 with noise of 5 % in the last frame."""
    from neurobraid.pet import weights
    from neurobraid.pet.frames import Frames
    from tests.unit.pet.curves import pair

    # whole seconds: one peer takes no others
    duration = np.repeat([5.0, 15, 30, 60, 120, 240, 300], [3, 3, 4, 4, 4, 5, 10])
    start = np.concatenate([[0.0], np.cumsum(duration)[:-1]])
    frames = Frames(start, start + duration, np.ones(len(start)), 1.0, 109.77)
    reference, target = pair(frames.start, frames.end, 1.0, K2PRIME, BPND)
    w = weights.decay_counts(frames, target)
    sd = (0.05 * target[-1] * np.sqrt(w[-1] / w)).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal((VOXELS, len(start)), dtype=np.float32)
    return frames, reference, w, target.astype(np.float32) + noise * sd


def worker(model):
    """Fit the brain by one model; prints seconds, peak memory (MB) and median BPND as JSON."""
    from neurobraid.pet import maps

    frames, reference, w, curves = brain()
    shared = {
        "K2Prime1PerMin": K2PRIME,
        "TStarMin": dict.fromkeys(("refLogan", "refmlLogan", "refPatlak"), 30.0),
    }

    def fit(values):
        return maps.fit_voxels(model, values, frames, reference, w, shared, window_min=(40, 60))

    fit(curves[:5000])
    seconds = []
    for _ in range(3):
        clock = time.perf_counter()
        found = fit(curves)
        seconds.append(time.perf_counter() - clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([min(seconds), peak, float(np.nanmedian(found[maps.MEASURES[model][0]]))]))


def speed(options):
    """Voxels per second and peak memory of every voxel model, in a process each, and of peers on the same curves."""
    from neurobraid.pet.maps import MEASURES

    ours = {}
    for model in MEASURES:
        command = [sys.executable, __file__, "--worker", model]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, peak, value = json.loads(done.stdout)
        ours[model] = rate = VOXELS / seconds
        goal = RATES.get(model)
        report(
            f"{model}_rate", rate, "voxels/s", f">= {goal}" if goal else "", rate >= goal if goal else None
        )
        report(f"{model}_brain", seconds, "s", f"< {BRAIN_S:g}", seconds < BRAIN_S)
        report(f"{model}_memory", peak, "MB", f"< {BRAIN_MB:g}", peak < BRAIN_MB)
        if "BPND" in MEASURES[model]:
            report(
                f"{model}_bpnd_at_5_percent_noise", value, "1", f"{BPND:g} +- 0.03", abs(value - BPND) < 0.03
            )
    if not options.peers:
        return
    frames, reference, _, curves = brain()
    given = {
        "dt": [frames.start.astype(int).tolist(), frames.end.astype(int).tolist()],
        "reference": reference.tolist(), "curves": curves[:60].tolist(), "k2prime": K2PRIME, "tstar_s": 1800,
    }  # fmt: skip
    done = subprocess.run(
        [options.peers, "-c", PEER], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"peers\tfailed: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return
    for model, (rate, value) in json.loads(done.stdout.strip().splitlines()[-1]).items():
        report(f"niftypad_{model}_rate", rate, "voxels/s")
        report(f"niftypad_{model}_bpnd", value, "1")
        report(f"{model}_times_faster", ours[model] / rate, "x", ">= 100", ours[model] >= 100 * rate)


def simref(options):
    """Agreement with kinfitr on its own simulated curves, as a share of the tolerance of every value."""
    from tests.unit.pet import published

    table = published.simref(options.data)
    for model, rows in table.groupby("model", sort=False):
        report(f"simref_{model}_worst", rows["error"].max(), "tolerances", "<= 1", (rows["error"] <= 1).all())
    inside = int((table["error"] <= 1).sum())
    report("simref_rows_inside", inside, f"of {len(table)}", len(table), inside == len(table))


def exact(options):
    """Largest error of BPND on curves without noise."""
    from tests.unit.pet import published

    for (model, kind), rows in published.exact(options.data).groupby(["model", "kind"], sort=False):
        worst = 100 * rows["error"].max()
        report(f"exact_{model}_{kind}", worst, "%", "<= 0.5", worst <= 0.5)


def patlak(options):
    """Reference Patlak of a trapped tracer without noise, t* = 30 min."""
    from neurobraid.pet import linear_models
    from tests.unit.pet.curves import one_tissue, trapped

    frames, *_ = brain()
    reference = one_tissue(frames.start, frames.end, 0.1, 0.3)
    target = trapped(frames.start, frames.end, 0.1, 0.15, 0.08)
    shared = linear_models.prepare("refPatlak", frames, reference, tstar_min=30)
    found = linear_models.fit_regions([target], shared)[0]["Kref"][0]
    worst = 100 * abs(found / (0.1 * 0.08 / 0.23 / (0.1 / 0.3)) - 1)
    report("exact_refPatlak_region", worst, "%", "<= 1", worst <= 1)


def plasma(options):
    """Plasma input: error on exact curves, time of 100 regions, rates of voxels."""
    from neurobraid.pet import linear_models, plasma_models
    from tests.unit.pet import published
    from tests.unit.pet.curves import two_tissue

    table = published.plasma(options.data)
    for (model, fitted, kind), rows in table.groupby(["model", "fitted_vb", "kind"], sort=False):
        worst, goal = rows["error"].max(), {"Patlak": 0.01}.get(model, 1e-4)
        name = f"exact_{model}_{'vb_fitted' if fitted else 'vb_given'}_{kind}"
        region = kind == "region"
        report(name, worst, "relative", f"<= {goal:g}" if region else "", worst <= goal if region else None)
    frames, _, w, _ = brain()
    given = published.exact_input()
    target = 0.95 * two_tissue(frames.start, frames.end, 0.1, 0.15, 0.05, 0.03)
    sd = 0.05 * target[-1] * np.sqrt(w[-1] / w)
    curves = (target + np.random.default_rng(0).standard_normal((VOXELS, len(target))) * sd).astype(
        np.float32
    )
    for vb, text in ((None, "vb_fitted"), (0.05, "vb_given")):
        clock = time.perf_counter()
        shared = plasma_models.prepare("2TCM", frames, given, w, vb=vb)
        plasma_models.fit_regions(curves[:100], shared)
        seconds = time.perf_counter() - clock
        report(f"2TCM_100_regions_{text}", seconds, "s", "< 10", seconds < 10)
        clock = time.perf_counter()
        plasma_models.fit_voxels(curves[:8192], shared)
        report(f"2TCM_{text}_rate", 8192 / (time.perf_counter() - clock), "voxels/s")
    for model in linear_models.PLASMA:
        shared = plasma_models.prepare_linear(model, frames, given, w, tstar_min=30.0)
        clock = time.perf_counter()
        linear_models.fit_voxels(plasma_models.blood_corrected(curves, frames, given, 0.05), shared)
        seconds = time.perf_counter() - clock
        report(f"{model}_rate", VOXELS / seconds, "voxels/s")
        report(f"{model}_brain", seconds, "s", f"< {BRAIN_S:g}", seconds < BRAIN_S)


def mc1(options):
    """Real people: cortex/cerebellum ratio of VT before and after a COX-2 inhibitor, and twice without."""
    import logging
    import tempfile

    from tests.unit.pet import published

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        ratios = published.mc1(options.data, Path(folder))
    for model, rows in ratios.groupby("model"):
        wide = rows.droplevel("model").unstack("session_id")
        for name, goal, slack in (
            ("baseline", 1.27, 0.03), ("blocked", 0.99, 0.04), ("test", 1.27, 0.03), ("retest", 1.28, 0.03)
        ):  # fmt: skip
            mean = wide[f"ses-{name}"].mean()
            report(f"mc1_{model}_{name}", mean, "1", f"{goal} +- {slack}", abs(mean - goal) <= slack)
        pairs = wide[["ses-baseline", "ses-blocked"]].dropna()
        down = int((pairs["ses-blocked"] < pairs["ses-baseline"]).sum())
        report(f"mc1_{model}_down", down, "people", "6 of 6", down == len(pairs) == 6)
    # the goals are means over other people than these (10 with both scans of whom 6 are here, 17 of whom 10): the standard
    # error says how far that alone may lead, and the whole 120 min of the first group what the length of the scan does
    with tempfile.TemporaryDirectory() as folder:
        whole = published.mc1(options.data, Path(folder), end_min=None)
    for (model, session), rows in whole.groupby(["model", "session_id"]):
        name = f"mc1_{model}_{session.removeprefix('ses-')}_whole_scan"
        report(name, rows.mean(), "1")
        report(f"{name}_se", rows.std() / len(rows) ** 0.5, "1")


SPREAD = {"SRTM": (1.4, 5.2), "MRTM1": (1.4, 5.2), "MRTM2": (1.0, 3.4), "refLogan": (1.6, 5.4)}
"""Expected spread of BPND in % at 3 and 10 % noise in the last frame."""


def noise(options):
    """Bias and spread of BPND by region, 1,000 curves of each level of noise (C-11), and the standard errors' honesty."""
    from neurobraid.pet import linear_models, srtm, weights
    from neurobraid.pet.frames import Frames

    frames, reference, _, _ = brain()
    frames = Frames(frames.start, frames.end, frames.decay, 1.0, 20.364)
    target = srtm_target(frames)
    w = weights.decay_counts(frames, target)
    rng = np.random.default_rng(1)
    for level in (0.03, 0.10):
        sd = level * target[-1] * np.sqrt(w[-1] / w)
        curves = target + rng.standard_normal((1000, len(frames))) * sd
        for model, spreads in SPREAD.items():
            if model == "SRTM":
                table = srtm.fit_regions(curves, srtm.basis(frames, reference, w))
            else:
                start = 30.0 if model == "refLogan" else 0.0
                shared = linear_models.prepare(model, frames, reference, w, k2prime=K2PRIME, tstar_min=start)
                table, _ = linear_models.fit_regions(curves, shared)
            name = f"noise_{100 * level:.0f}_percent_{model}"
            bias = 100 * (table["BPND"].mean() / BPND - 1)
            small = level < 0.05
            report(
                f"{name}_bias", bias, "%", "within 0.5" if small else "", abs(bias) < 0.5 if small else None
            )
            found, goal = 100 * table["BPND"].std() / BPND, spreads[0 if small else 1]
            report(f"{name}_spread", found, "%", f"{goal} +- 25 %", abs(found / goal - 1) <= 0.25)
            ratio = table["BPND_se"].median() / table["BPND"].std()
            report(f"{name}_se_over_spread", ratio, "1", "1 +- 0.15", abs(ratio - 1) <= 0.15)


def srtm_target(frames):
    """Exact curve of R1 1, k2 0.1, BPND 1.5."""
    from tests.unit.pet.curves import pair

    return pair(frames.start, frames.end, 1.0, K2PRIME, BPND)[1]


def pvc(options):
    """Errors of corrected regions on a folded cortex: true point spread (6 mm), 1 mm too small and too large, shifted."""
    from neurobraid.pet import pvc as methods
    from tests.unit.pet import pvc_phantom as phantom

    regions = phantom.labels(80, 2.0)
    image = phantom.scan(regions, voxel_mm=2.0)
    clock = time.perf_counter()
    true = phantom.masks(regions, voxel_mm=2.0)
    report("pvc_masks", time.perf_counter() - clock, "s")
    seen = true.share @ image.ravel()[true.voxels] / true.size
    parts = {"cortex": phantom.CORTEX, "striatum": phantom.STRIATUM}
    for part, rows in parts.items():
        report(f"pvc_none_{part}", 100 * (seen[:-1] / phantom.ACTIVITY[:-1] - 1)[rows].mean(), "%")
    goals = {"gtm": 0.1, "labbe": 0.1, "rbv": 0.1, "iy": 1.5}
    for method in methods.METHODS:
        error = 100 * phantom.errors(method, true, image)
        for part, rows in parts.items():
            worst, goal = np.abs(error[rows]).max(), goals.get(method)
            report(
                f"pvc_{method}_{part}_worst",
                worst,
                "%",
                f"< {goal}" if goal else "",
                worst < goal if goal else None,
            )
    for count in (1, 3, 5, 20):
        error = 100 * phantom.errors("iy", true, image, iterations=count)
        for part, rows in parts.items():
            report(f"pvc_iy_{count}_iterations_{part}", error[rows].mean(), "%")
    wrong = {
        "psf_5_mm": phantom.masks(regions, (5.0,) * 3, 2.0),
        "psf_7_mm": phantom.masks(regions, (7.0,) * 3, 2.0),
        "shifted_2_mm": phantom.masks(regions, (6.0,) * 3, 2.0, shift=(1, 0, 0)),
    }
    for name, given in wrong.items():
        for method in methods.METHODS:
            error = 100 * phantom.errors(method, given, image)
            for part, rows in parts.items():
                report(f"pvc_{method}_{name}_{part}", error[rows].mean(), "%")


def receptors(options):
    """Regional means of eight published receptor maps against the authors' own values."""
    from tests.unit.images.receptors import compare

    for parcels in (200, 400):
        for row in compare(options.data, parcels).itertuples():
            report(f"receptors_{parcels}_{row.map}", row.r, "r", "1.00000", round(row.r, 5) == 1)


def semisynthetic(options):
    """Real curves painted on a real head (5 mm, noise, motion), through the whole workflow: position, BPND and VT."""
    import tempfile

    from tests.unit.pet import semisynthetic as painted

    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        painted.make(options.data, study)
        found = {pvc: painted.analyse(study, pvc) for pvc in ("none", "gtm", "rbv")}
        for tracer in painted.SCANS:
            motion, coregistration, moved = painted.positions(study, tracer)
            name = f"semisynthetic_{tracer}"
            report(f"{name}_head_moved", moved.max(), "mm")
            report(f"{name}_motion_mean", np.nanmean(motion), "mm", "< 0.5", np.nanmean(motion) < 0.5)
            report(f"{name}_motion_worst", np.nanmax(motion), "mm", "< 0.5", np.nanmax(motion) < 0.5)
            report(f"{name}_to_t1w", coregistration, "mm", "< 1.5", coregistration < 1.5)
        truth = painted.painted(study)
        for pvc, values in found.items():
            errors = painted.errors(values, truth)
            for (tracer, model), rows in errors.groupby(level=["tracer", "model"], sort=False):
                name = f"semisynthetic_{tracer}_{model}_{painted.MAIN[model]}_{pvc}"
                bias, away = rows.mean(), rows.abs().mean()
                goal = {"goal": "within 5"} if pvc != "none" else {}
                report(f"{name}_mean", bias, "%", **goal, good=abs(bias) < 5 if goal else None)
                report(f"{name}_mean_absolute", away, "%", **goal, good=away < 5 if goal else None)
                report(f"{name}_sd_of_regions", rows.std(), "%")
                report(f"{name}_worst_of_{len(rows)}_regions", rows.loc[rows.abs().idxmax()], "%")


PARTS = {
    "simref": simref,
    "exact": exact,
    "patlak": patlak,
    "plasma": plasma,
    "mc1": mc1,
    "noise": noise,
    "pvc": pvc,
    "receptors": receptors,
    "semisynthetic": semisynthetic,
    "speed": speed,
}
"""Name to function of the options; NEEDS_DATA are left out, with a line on stderr, where the recordings are absent."""

NEEDS_DATA = {"simref", "exact", "plasma", "mc1", "receptors", "semisynthetic"}


def main():
    """Run the parts asked for."""
    from tests.conftest import find_real_data

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--data", type=Path, default=find_real_data())
    parser.add_argument("--peers")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}: {', '.join(PARTS)}")
    for name in options.parts or PARTS:
        if name in NEEDS_DATA and options.data is None:
            print(f"{name}\tleft out: give --data or set NEUROBRAID_DATA", file=sys.stderr)
            continue
        PARTS[name](options)


if __name__ == "__main__":
    main()
