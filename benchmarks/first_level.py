"""First level against nilearn: agreement on a real run, and speed on 200 volumes at 2 mm.

    python benchmarks/first_level.py [--data DIR] [--repeats N] [--voxels N]

Prints one tab-separated line per figure: name, value, unit, goal, ok or short. Both run on one thread, in turns, in this
process; each time is CPU time, the best of the repeats. Agreement needs ``studyforrest-localizer-small`` in the data folder
(``$NEUROBRAID_DATA``) and is left out where it is not there.
"""

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import nibabel as nib
import numpy as np
import pandas as pd

from neurobraid.activation import design as designs
from neurobraid.activation import first_level, glm

warnings.filterwarnings("ignore")
ROOT = Path(__file__).resolve().parents[1]
TR, VOLUMES = 2.0, 200


def say(name, value, unit, goal, met):
    """Print one figure."""
    print(f"{name}\t{value}\t{unit}\t{goal}\t{'ok' if met else 'short'}", flush=True)


def agreement(folder):
    """The same design and series through nilearn's FirstLevelModel and through ours."""
    from nilearn.glm.first_level import FirstLevelModel

    stem = folder / "studyforrest-localizer-small/sub-02/func/sub-02_task-objectcategories_run-1"
    image = nib.load(f"{stem}_bold.nii.gz")
    values = np.asarray(image.dataobj, np.float32)
    mean = values.mean(-1)
    mask = mean > 0.3 * np.percentile(mean, 98)
    n = values.shape[3]
    events = designs.read_events(f"{stem}_events.tsv", n, 2.0)
    design, _ = designs.make_design(np.arange(n) * 2.0, events, hrf="glover", high_pass_hz=1 / 128)
    vector = designs.contrast_vector(design, {"face": 1, "house": -1 / 3, "scene": -1 / 3, "object": -1 / 3})
    series = np.ascontiguousarray(values[mask].T)
    marked = nib.Nifti1Image(mask.astype(np.uint8), image.affine)
    for noise in ("ar1", "ols"):
        ours = glm.fit(
            first_level.percent(series), design.to_numpy(), vector[None], noise, correct_bias=False
        )
        model = FirstLevelModel(
            t_r=2.0,
            mask_img=marked,
            noise_model=noise,
            signal_scaling=0,
            smoothing_fwhm=None,
            minimize_memory=False,
        )
        model.fit(image, design_matrices=[design])
        theirs = model.compute_contrast(vector, output_type="all")
        for kind, mine in (("effect_size", ours.effect), ("stat", ours.t), ("z_score", ours.z)):
            other = theirs[kind].get_fdata()[mask]
            r = np.corrcoef(mine[0], other)[0, 1]
            say(
                f"localizer run, {noise}, {kind}: r with nilearn",
                f"{r:.8f}",
                "r",
                ">= 0.999999",
                r >= 0.999999,
            )
    full = glm.fit(first_level.percent(series), design.to_numpy(), vector[None], "ar1")
    plain = glm.fit(first_level.percent(series), design.to_numpy(), vector[None], "ar1", correct_bias=False)
    r = np.corrcoef(full.z[0], plain.z[0])[0, 1]
    say(
        "localizer run, z with the correction of the autocorrelation: r with nilearn's way",
        f"{r:.5f}",
        "r",
        "-",
        True,
    )
    third = glm.fit(first_level.percent(series), design.to_numpy(), vector[None], "ar3")
    for label, fitted in (("ar1", full), ("ar3", third)):
        say(f"localizer run, {label}: largest residual autocorrelation at lags 1-5",
            f"{np.abs(fitted.whiteness).max():.4f}", "r", "-", True)  # fmt: skip


def timing(repeats, voxels):
    """A run of 200 volumes in a brain at 2 mm: both from the same array, both with AR(1) and one contrast."""
    from nilearn.glm.first_level import FirstLevelModel

    rng = np.random.default_rng(0)
    shape = (91, 109, 91)
    grid = np.indices(shape) - np.array([45, 56, 42])[:, None, None, None]
    radius = np.sqrt((grid**2 / np.array([34, 43, 36])[:, None, None, None] ** 2).sum(0))
    mask = radius <= np.quantile(radius, min(voxels / np.prod(shape), 1.0))
    noise = rng.standard_normal((VOLUMES, int(mask.sum())), dtype=np.float32)
    noise[1:] += 0.35 * noise[:-1]
    series = 1000 + 10 * noise
    volume = np.zeros((*shape, VOLUMES), np.float32)
    volume[mask] = series.T
    affine = np.diag([2.0, 2, 2, 1])
    image, marked = nib.Nifti1Image(volume, affine), nib.Nifti1Image(mask.astype(np.uint8), affine)
    onsets = np.arange(10, VOLUMES * TR - 20, 12.0)
    events = pd.DataFrame(
        {"onset": onsets, "duration": 2.0, "trial_type": np.resize(["a", "b"], len(onsets))}
    )
    confounds = pd.DataFrame(rng.standard_normal((VOLUMES, 8))).add_prefix("c")
    times = np.arange(VOLUMES) * TR

    def ours(model):
        design, _ = designs.make_design(times, events, high_pass_hz=0.01, confounds=confounds)
        data = np.ascontiguousarray(np.asarray(image.dataobj)[mask].T)
        vector = designs.contrast_vector(design, {"a": 1, "b": -1})
        return glm.fit(first_level.percent(data), design.to_numpy(), vector[None], model).z[0]

    def theirs(model):
        fitted = FirstLevelModel(
            t_r=TR, hrf_model="spm", mask_img=marked, noise_model=model, signal_scaling=0, minimize_memory=True,
            random_state=0,
        )  # fmt: skip
        fitted.fit(image, events=events, confounds=confounds)
        return fitted.compute_contrast("a - b", output_type="z_score").get_fdata()[mask]

    for model in ("ar1", "ar3"):
        best = {}
        for _ in range(repeats):
            for name, run in (("neurobraid", ours), ("nilearn", theirs)):
                start = time.process_time()
                z = run(model)
                best[name] = min(best.get(name, (np.inf, None))[0], time.process_time() - start), z
        for name in best:
            say(
                f"{model}, {mask.sum()} voxels x {VOLUMES} volumes: {name}",
                f"{best[name][0]:.2f}",
                "s",
                "-",
                True,
            )
        faster = best["nilearn"][0] / best["neurobraid"][0]
        say(f"{model}: times faster than nilearn", f"{faster:.2f}", "x", ">= 1", faster >= 1)
        r = np.corrcoef(best["neurobraid"][1], best["nilearn"][1])[0, 1]
        say(f"{model}: r of z with nilearn", f"{r:.5f}", "r", ">= 0.99", r >= 0.99)


def mixed_timing():
    """Runs of repetition time 2.0 and 0.8 s with their own start times, a planted response of 1.2 %."""
    for tr, start, volumes in ((2.0, 1.0, 160), (0.8, 0.36, 400)):
        rng = np.random.default_rng(1)
        times = start + np.arange(volumes) * tr
        onsets = np.sort(rng.uniform(4, times[-1] - 20, 22))
        events = pd.DataFrame({"onset": onsets, "duration": 1.5, "trial_type": "go"})
        height = designs.response_peak([0.0], [1.5])
        percent = 1.2 / height * designs.regressor(times, onsets, np.full(22, 1.5))
        series = percent[:, None] + 0.05 * rng.standard_normal((volumes, 500))
        for label, own in (
            ("its own", (tr, start)),
            ("those of the other run", (2.0, 1.0) if tr < 1 else (0.8, 0.36)),
        ):
            frame_times = own[1] + np.arange(volumes) * own[0]
            kept = events[events["onset"] < frame_times[-1] - 5]
            design, _ = designs.make_design(frame_times, kept, high_pass_hz=1 / 128)
            vector = designs.contrast_vector(design, {"go": 1}) * height
            found = glm.fit(series, design.to_numpy(), vector[None], "ar1").effect.mean()
            error = 100 * (found / 1.2 - 1)
            goal, met = ("within 1", abs(error) <= 1) if label == "its own" else ("beyond 1", abs(error) > 1)
            say(
                f"run of TR {tr:g} s, timing: {label}", f"{error:+.2f}", "% off the planted effect", goal, met
            )


def main():
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = ROOT.parent / "shared/data"
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("NEUROBRAID_DATA", shared)))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--voxels", type=int, default=230_000)
    options = parser.parse_args()
    mixed_timing()
    if (options.data / "studyforrest-localizer-small").is_dir():
        agreement(options.data)
    timing(options.repeats, options.voxels)


if __name__ == "__main__":
    main()
