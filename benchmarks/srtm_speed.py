"""Speed of the voxelwise SRTM fit on one core: 64^3 curves of 26 frames with noise, 128 basis functions.

Prints one line: name, value, unit, goal, ok or short; tab-separated.
"""

import os
import sys
import time
from pathlib import Path

# before numpy is imported: the goal is for one core
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np

from neurobraid.pet import srtm
from neurobraid.pet.frames import Frames

GOAL = 200_000
VOXELS = 64**3


def main():
    """Fit the curves once and print the rate."""
    duration = np.repeat([10.0, 30.0, 60.0, 120.0, 300.0], [6, 4, 5, 1, 10])
    start = np.concatenate([[0.0], np.cumsum(duration)[:-1]])
    frames = Frames(start, start + duration, np.ones(len(start)), 1.0, 20.364)
    minutes = frames.mid / 60
    reference = 10 * (np.exp(-0.03 * minutes) - np.exp(-0.8 * minutes))
    shared = srtm.basis(frames, reference, frames.duration / frames.duration.mean())
    target = srtm.predict(shared, [1.0], [0.1], [0.04])[0]
    rng = np.random.default_rng(0)
    curves = (target * (1 + 0.05 * rng.standard_normal((VOXELS, len(target))))).astype(np.float32)
    srtm.fit_voxels(curves[:10_000], shared)
    clock = time.process_time()
    srtm.fit_voxels(curves, shared)
    rate = VOXELS / (time.process_time() - clock)
    print("srtm_voxels", f"{rate:.0f}", "voxels/s", GOAL, "ok" if rate >= GOAL else "short", sep="\t")


if __name__ == "__main__":
    main()
