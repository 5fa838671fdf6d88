"""What a small convolutional network sees that a linear model cannot, and what it makes of nothing.

    python benchmarks/deep.py [--edge 16] [--people 400] [--shuffles 3] [--seed 0]

Prints one tab-separated line per figure: name, value, unit, goal, ok or short. Phantom maps of smooth noise hold two
blobs whose signs are independent; the class is the product of the signs (no voxel and no linear sum of voxels knows it),
or one sign. Needs the extra ``[deep]``. The architecture and its settings are the defaults of ``DeepPath``, the same for
all tasks; they were set on phantoms of other seeds (100 and above).
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from neurobraid.prediction.deep import DeepPath, explain
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.metrics import auc
from neurobraid.prediction.permutation import statistics

GRID = (100.0, 10.0, 1.0, 0.1, 0.01)


def report(name, value, unit, goal, good):
    """Print one line."""
    print(f"{name}\t{value:.4g}\t{unit}\t{goal}\t{'ok' if good else 'short'}", flush=True)


def phantom(seed, people, edge, amplitude, effect="xor"):
    """Maps with two blobs of independent sign in smooth noise of SD 1.

    Parameters
    ----------
    seed, people, edge : int
        The number of people is a multiple of four; maps have ``edge`` voxels along every axis.
    amplitude : float
        Peak of a blob, SD of the noise.
    effect : {'xor', 'linear'}
        The class is the product of both signs, or the first sign.

    Returns
    -------
    X : numpy.ndarray, (people, edge ** 3)
    y : numpy.ndarray, (people,)
        -1 and 1.
    blobs : numpy.ndarray, (2, edge ** 3)
    """
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    grid = np.indices((edge,) * 3).reshape(3, -1)
    middle = edge // 2
    centers = np.array([[edge // 4, middle, middle], [edge - 1 - edge // 4, middle, middle]])
    blobs = np.exp(-((grid - centers[:, :, None]) ** 2).sum(axis=1) / (2 * 1.5**2))
    signs = rng.permutation(np.repeat([[-1, -1], [-1, 1], [1, -1], [1, 1]], people // 4, axis=0))
    noise = np.array([gaussian_filter(rng.normal(size=(edge,) * 3), 1.0).ravel() for _ in signs])
    y = (signs[:, 0] * signs[:, 1] if effect == "xor" else signs[:, 0]).astype(float)
    return noise / noise.std() + amplitude * signs @ blobs, y, blobs


def convolution(X, y, folds, edge):
    """Mean AUC over the outer folds; training stops on whole inner folds."""
    values = []
    for _, _, train, test, inside in folds.splits():
        model = DeepPath("conv3d", shape=(edge,) * 3).fit(X[train], y[train], inside)
        values.append(auc(y[test], model.scores(X[test])[:, 0]))
    return float(np.mean(values))


def ridge(X, y, folds):
    """Mean AUC of the tuned ridge on the same folds."""
    return statistics({"x": X}, y, folds, confounds=0, grid=GRID, kind="classification", min_present=0.0)["x"]


def folds_of(y, seed):
    names = np.arange(y.size).astype(str)
    return make_folds(y, names, kind="classification", outer=5, inner=5, repeats=1, seed=seed)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edge", type=int, default=16)
    parser.add_argument("--people", type=int, default=400)
    parser.add_argument("--shuffles", type=int, default=3)
    parser.add_argument("--nulls", type=int, default=0, help="shuffled runs of the explanation; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    start, clock = time.process_time(), time.time()

    X, y, blobs = phantom(options.seed, options.people, options.edge, 2.0)
    folds = folds_of(y, options.seed)
    linear = ridge(X, y, folds)
    report("product of two blobs, ridge", linear, "AUC", "0.45 to 0.55", abs(linear - 0.5) <= 0.05)
    deep = convolution(X, y, folds, options.edge)
    report("product of two blobs, Conv3D", deep, "AUC", "> 0.8", deep > 0.8)

    rng, found, plain = np.random.default_rng(options.seed), [], []
    for _ in range(options.shuffles):
        shuffled = rng.permutation(y)
        other = folds_of(shuffled, options.seed)
        found.append(convolution(X, shuffled, other, options.edge))
        plain.append(ridge(X, shuffled, other))
    name = f"labels shuffled ({options.shuffles} runs)"
    report(f"{name}, Conv3D", np.mean(found), "AUC", "0.45 to 0.55", abs(np.mean(found) - 0.5) <= 0.05)
    report(f"{name}, ridge", np.mean(plain), "AUC", "0.45 to 0.55", abs(np.mean(plain) - 0.5) <= 0.05)

    X, y, blobs = phantom(options.seed + 1, options.people, options.edge, 0.8, "linear")
    folds = folds_of(y, options.seed)
    linear = ridge(X, y, folds)
    report("sign of one blob, ridge", linear, "AUC", "for comparison", True)
    deep = convolution(X, y, folds, options.edge)
    report("sign of one blob, Conv3D", deep, "AUC", "for comparison", True)
    report("sign of one blob, Conv3D less ridge", deep - linear, "AUC", ">= -0.05", deep >= linear - 0.05)

    if options.nulls:
        splits = [(train, test) for _, _, train, test, _ in folds.splits()][:2]
        shown = explain(
            DeepPath("conv3d", shape=(options.edge,) * 3),
            X,
            y,
            splits,
            (options.edge,) * 3,
            nulls=options.nulls,
        )
        inside = blobs[0].reshape((options.edge,) * 3) > 0.5
        top = float(np.mean(inside[shown["map"] >= np.quantile(shown["map"], 1 - inside.mean())]))
        report("occlusion: hottest voxels inside the blob", top, "share", ">= 0.5", top >= 0.5)
        report("occlusion: mean z inside the blob", shown["z"][inside].mean(), "z", ">= 3",
               shown["z"][inside].mean() >= 3)  # fmt: skip
    report("all of this", (time.process_time() - start) / 60, "CPU min", "for comparison", True)
    print(f"# wall time {(time.time() - clock) / 60:.1f} min", file=sys.stderr)


if __name__ == "__main__":
    main()
