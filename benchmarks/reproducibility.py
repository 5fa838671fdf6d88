"""Are the results of preprocessing the same bytes on one core, on two, and a second time?

    python benchmarks/reproducibility.py [--volumes 60]

A simulated participant (`phantoms.py`) with two sessions, so that the sessions meet in a mean of their own; the first with a
multi-echo run and a phase-difference field map, the second with a single echo and distortion estimated without a field map.
The whole workflow, pages included, runs from nothing three times in folders of different names. Prints one tab-separated
line per figure: name, value, unit, goal, ok or short; which files differ is said on standard error.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from phantoms import TR, Person

from neurobraid.files import write_json
from neurobraid.synth.volumes import save_scaled

ROOT = Path(__file__).resolve().parents[1]
ECHOES_S = (0.014, 0.033, 0.052)
T2STAR_S = 0.045
CONFIG = """\
bids: bids
title: reproducibility
anat: {quality: fast}
bold: {distortion: fieldmapless}
connectivity: {tasks: [rest], band_hz: [0.008, 0.2]}
"""


def build(study, volumes, voxel=1.5):
    """Write the raw dataset and its config.

    Parameters
    ----------
    study : pathlib.Path
        Folder of the study, there already.
    volumes : int
        Of both BOLD runs; connectivity needs more than its confounds.
    voxel : float
        Edge of the T1w, mm.

    Returns
    -------
    Person
    """
    person = Person(1)
    bids = study / "bids"
    for folder in ("ses-1/anat", "ses-1/func", "ses-1/fmap", "ses-2/anat", "ses-2/func"):
        (bids / "sub-01" / folder).mkdir(parents=True)
    (study / "config").mkdir()
    (study / "config/config.yaml").write_text(CONFIG)
    write_json({"Name": "phantom", "BIDSVersion": "1.9.0"}, bids / "dataset_description.json")
    (bids / "participants.tsv").write_text("participant_id\nsub-01\n")

    def save(values, affine, name, about, tr=None, slope=1.0):
        stem = bids / "sub-01" / name
        save_scaled(values, affine, f"{stem}.nii.gz", slope=slope, **({"tr": tr} if tr else {}))
        write_json(about, f"{stem}.json")

    for session, noise in (("ses-1", 0.03), ("ses-2", 0.02)):
        image = person.t1w(voxel, noise=noise).image
        save(
            np.asarray(image.dataobj),
            image.affine,
            f"{session}/anat/sub-01_{session}_T1w",
            {"MagneticFieldStrength": 3},
        )
    plane = {
        "TaskName": "rest",
        "RepetitionTime": TR,
        "PhaseEncodingDirection": "j-",
        "TotalReadoutTime": 0.045,
    }
    run = person.bold(volumes)
    for number, echo in enumerate(ECHOES_S, 1):
        values = run.data * np.float32(np.exp((ECHOES_S[1] - echo) / T2STAR_S))
        name = f"ses-1/func/sub-01_ses-1_task-rest_echo-{number}_bold"
        save(values, run.affine, name, {**plane, "EchoTime": echo}, TR, 0.5)
    run = person.bold(volumes, jumps=2)
    save(run.data, run.affine, "ses-2/func/sub-01_ses-2_task-rest_bold", {**plane, "EchoTime": 0.03}, TR, 0.5)
    delta = 0.00246
    magnitude, phase, affine = person.fieldmap(delta)
    save(magnitude, affine, "ses-1/fmap/sub-01_ses-1_magnitude1", {"EchoTime": 0.00492})
    about = {
        "EchoTime1": 0.00492,
        "EchoTime2": 0.00492 + delta,
        "Units": "rad",
        "IntendedFor": [f"ses-1/func/sub-01_ses-1_task-rest_echo-{n}_bold.nii.gz" for n in (1, 2, 3)],
    }
    save(phase, affine, "ses-1/fmap/sub-01_ses-1_phasediff", about, slope=2e-4)
    return person


def run(study, cores):
    """Run the workflow; SHA-256 of every result by its name."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    environment["PYTHONPATH"] = str(ROOT / "src")
    command = [sys.executable, "-m", "snakemake", "--cores", cores, "--snakefile", ROOT / "Snakefile", "--directory", study]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the workflow failed:\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    files = (path for path in (study / "results").rglob("*") if path.is_file())
    return {str(p.relative_to(study)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def main():
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--volumes", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="neurobraid-") as folder:
        found = []
        for name, cores in (("one", 1), ("two", 2), ("again", 2)):
            study = Path(folder) / name
            study.mkdir()
            build(study, options.volumes)
            found.append(run(study, cores))
            print(f"{name}: {len(found[-1])} files", file=sys.stderr, flush=True)
    first = found[0]
    print(f"files of results\t{len(first)}\t1\t\tok")
    for other, words in (
        (found[1], "--cores 2 against --cores 1"),
        (found[2], "a second run against the first"),
    ):
        differing = sorted(n for n in first.keys() | other.keys() if first.get(n) != other.get(n))
        for name in differing:
            print(f"differs: {name}", file=sys.stderr)
        verdict = "short" if differing else "ok"
        print(f"files that differ, {words}\t{len(differing)}\t1\t0\t{verdict}", flush=True)


if __name__ == "__main__":
    main()
