"""Measures of fusion: false positives of map comparison, latent fusion, real receptor maps.

    python benchmarks/fusion.py [--pairs 500] [--seeds 20]

Prints one tab-separated line per figure: name, value, unit, goal, ok or short. Receptor maps are read from
``$NEUROBRAID_DATA`` and left out where it is not there.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from neurobraid.fusion import association, latent, nulls
from neurobraid.images.atlas import default_parcellation

ROOT = Path(__file__).resolve().parents[1]
ALPHA = 0.05


def find_real_data():
    """Folder of real data: ``$NEUROBRAID_DATA``, else ``../shared/data`` beside the project; None without."""
    folder = Path(os.environ.get("NEUROBRAID_DATA", ROOT.parent / "shared/data"))
    return folder if folder.is_dir() else None


def report(name, value, unit, goal, good):
    """Print one line."""
    print(f"{name}\t{value:.4g}\t{unit}\t{goal}\t{'ok' if good else 'short'}", flush=True)


def smooth_maps(points, count, width, seed):
    """Independent maps with covariance exp(-d² / 2 width²)."""
    covariance = np.exp(-(nulls.distances(points) ** 2) / (2 * width**2))
    root = np.linalg.cholesky(covariance + 1e-6 * np.eye(len(points)))
    return np.random.default_rng(seed).standard_normal((count, len(points))) @ root.T


def centres(data, regions):
    """Centres of Schaefer's regions, of the built-in atlas where they are not there, mm."""
    folder = data / "atlases-mni152/atlases" if data else None
    if folder is None or not folder.is_dir():
        return default_parcellation(4.0)[2][["x", "y", "z"]].to_numpy()
    return schaefer(folder, regions)[1]


def schaefer(folder, regions):
    """Table with index and name, and centres (mm), of Schaefer's parcellation."""
    import nibabel as nib
    from scipy import ndimage

    image = nib.load(folder / f"Schaefer{regions}_space-MNI152NLin6_res-2x2x2.nii.gz")
    labels = np.asarray(image.dataobj).astype(int)
    index = np.unique(labels[labels > 0])
    middle = np.array(ndimage.center_of_mass(labels > 0, labels, index))
    points = middle @ image.affine[:3, :3].T + image.affine[:3, 3]
    return pd.DataFrame({"index": index, "name": index.astype(str)}), points


def false_positives(data, pairs):
    """Two independent smooth maps: how often each test calls them related."""
    for regions in (200, 400):
        points = centres(data, regions)
        for width in (15, 25):
            first, second = smooth_maps(points, pairs, width, 1), smooth_maps(points, pairs, width, 2)
            shown = f"{len(points)} regions, {width} mm"
            for null, count, used in (("moran", 999, pairs), ("variogram", 199, pairs // 5)):
                start = time.perf_counter()
                found = [
                    association.map_association(
                        first[n], second[n], points=points, null=null, count=count, seed=n
                    )
                    for n in range(used)
                ]
                seconds = (time.perf_counter() - start) / used
                rate = 100 * np.mean([f["p"] <= ALPHA for f in found])
                error = 100 * np.sqrt(0.05 * 0.95 / used)
                goal = f"<= 8 (SE {error:.1f}, {used} pairs)"
                report(f"false positives, {null}, {shown}", rate, "%", goal, rate <= 8)
                if null == "moran":
                    rate = 100 * np.mean([f["p_parametric"] <= ALPHA for f in found])
                    goal, good = ("> 12", rate > 12) if width == 25 else ("reported", True)
                    report(f"false positives, parametric, {shown}", rate, "%", goal, good)
                if width == 25:
                    report(
                        f"one comparison, {null}, {count} surrogates, {shown}",
                        seconds,
                        "s",
                        "< 5",
                        seconds < 5,
                    )


def power(data, pairs):
    """Two maps that share half of their variance: how often each test finds it."""
    points = centres(data, 200)
    shared, first, second = (smooth_maps(points, pairs // 5, 15, n) for n in (3, 4, 5))
    for null, count in (("moran", 499), ("variogram", 199)):
        found = [
            association.map_association(s + a, s + b, points=points, null=null, count=count, seed=n)
            for n, (s, a, b) in enumerate(zip(shared, first, second, strict=True))
        ]
        rate = 100 * np.mean([f["p"] <= ALPHA for f in found])
        report(f"power at r = 0.5, {null}, 200 regions, 15 mm", rate, "%", ">= 80", rate >= 80)


def spins(data, pairs):
    """Spins of smooth maps on fsaverage5 with real parcels."""
    import nibabel as nib

    folder = data / "atlases-mni152/atlases"
    image = nib.load(folder / "Schaefer200_space-MNI152NLin6_res-2x2x2.nii.gz")
    table, points = schaefer(folder, 200)
    parcels = nulls.surface_parcels(np.asarray(image.dataobj).astype(int), image.affine, table)
    seen = np.unique(np.concatenate([parcels["left"], parcels["right"]]))
    report(
        "Schaefer 200 regions found on fsaverage5",
        (seen >= 0).sum(),
        "regions",
        "200",
        (seen >= 0).sum() == 200,
    )
    share = 100 * np.mean(np.concatenate([parcels["left"], parcels["right"]]) >= 0)
    report("vertices of fsaverage5 with a region", share, "%", "80 to 95", 80 <= share <= 95)
    used, count = pairs // 25, 200
    first, second = smooth_maps(points, used, 25, 6), smooth_maps(points, used, 25, 7)
    start = time.perf_counter()
    found = [
        association.map_association(a, b, points=points, null="spin", parcels=parcels, count=count, seed=1)
        for a, b in zip(first, second, strict=True)
    ]
    report("one comparison, 200 spins", (time.perf_counter() - start) / used, "s", "< 30", True)
    rate = 100 * np.mean([f["p"] <= ALPHA for f in found])
    report(f"false positives, spin, 200 regions, 25 mm, {used} pairs", rate, "%", "<= 15", rate <= 15)


def latent_fusion(seeds):
    """In the sample and in held-out people: a planted latent variable, and nothing."""
    blocks, people = (80, 40), 100
    makers = {
        "PLS": lambda: latent.PLSCorrelation(blocks, 1),
        "PCA+CCA": lambda: latent.PCACCA(blocks, 1),
        "multi-set CCA, shrunk": lambda: latent.MultisetCCA(blocks, 1),
        "CCA": lambda: latent.MultisetCCA(blocks, 1, 0.0),
    }
    for name, make in makers.items():
        rows = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            noise = rng.standard_normal((people, sum(blocks)))
            shared = rng.standard_normal(people)
            planted = noise.copy()
            planted[:, :10] += shared[:, None]
            planted[:, 80:90] += shared[:, None]
            rows.append([f(make, d) for d in (noise, planted) for f in (in_sample, out_of_sample)])
        inside, outside, inside_true, outside_true = np.mean(rows, axis=0)
        report(f"{name}, noise, n 100: r in the sample", inside, "r", "reported", True)
        report(f"{name}, noise, n 100: r held out", outside, "r", "-0.15 to 0.15", abs(outside) <= 0.15)
        report(f"{name}, planted, n 100: r in the sample", inside_true, "r", "reported", True)
        goal, good = (">= 0.8", outside_true >= 0.8) if name != "CCA" else ("reported", True)
        report(f"{name}, planted, n 100: r held out", outside_true, "r", goal, good)


def in_sample(make, data):
    """Correlation of the first scores in the rows of the fit."""
    first, second = make().fit(data).scores(data)
    return np.corrcoef(first[:, 0], second[:, 0])[0, 1]


def out_of_sample(make, data):
    """The same in people that had no part in the fit."""
    return latent.held_out(make, data, repeats=2)[:, 0].mean()


def latent_null(studies):
    """P of PLS over studies of noise."""
    blocks = (20, 15)
    p = [
        latent.describe(
            lambda: latent.PLSCorrelation(blocks, 1), np.random.default_rng(seed).standard_normal((40, 35)),
            permutations=39, bootstraps=0, halves=1, repeats=1, seed=seed,
        )[0]["p"][0]
        for seed in range(studies)
    ]  # fmt: skip
    rate = 100 * np.mean(np.array(p) <= ALPHA)
    report(f"PLS: p <= 0.05 in {studies} studies of noise", rate, "%", "2 to 9", 1 <= rate <= 9)


def dominance_cost():
    """All subsets of 19 maps."""
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((400, 19)) + rng.standard_normal((400, 1))
    target = maps @ rng.standard_normal(19) + rng.standard_normal(400)
    association.dominance(maps[:, :3], target)
    start = time.perf_counter()
    table, fit = association.dominance(maps, target)
    report("dominance analysis of 19 maps (524,288 models)", time.perf_counter() - start, "s", "< 20", True)
    error = abs(table["total"].sum() - fit["r2"])
    report("dominance: sum of shares against R²", error, "1", "< 1e-6", error < 1e-6)


def receptors(data):
    """Real receptor maps: similarity of regions, maps against one another, dominance."""
    import nibabel as nib

    from neurobraid.images.atlas import parcellate_map

    folder = data / "pet-receptor-maps"
    table, points = schaefer(data / "atlases-mni152/atlases", 200)
    atlas = nib.load(data / "atlases-mni152/atlases/Schaefer200_space-MNI152NLin6_res-1x1x1.nii.gz")
    published = pd.read_csv(folder / "parcellated_schaefer200.tsv", sep="\t", index_col="label")
    matrix = pd.read_csv(folder / "receptor_matrix_schaefer200.tsv", sep="\t", index_col="label")
    own = pd.DataFrame(
        {
            name: parcellate_map(nib.load(next(folder.rglob(f"{name}.nii.gz"))), atlas, table)[
                "value"
            ].to_numpy()
            for name in published
        },
        index=table["index"],
    ).reindex(published.index)
    worst = min(
        np.corrcoef(own[c][ok], published[c][ok])[0, 1]
        for c in own
        for ok in [own[c].notna() & (published[c] != 0)]
    )
    report(
        "receptor maps, 8 of 8: smallest r with the published regional means",
        worst,
        "r",
        "> 0.9999",
        worst > 0.9999,
    )
    mine, theirs = association.similarity(own.to_numpy()), association.similarity(published.to_numpy())
    r = association.matrix_association(mine, theirs)
    report("receptor similarity, own maps against published means", r, "r", "> 0.99", r > 0.99)
    full = association.similarity(matrix.to_numpy())
    _, fit = association.without_distance(full, nulls.distances(points))
    report("receptor similarity of 19 maps: length of its fall with distance", fit["length_mm"], "mm", "10 to 200",
           10 < fit["length_mm"] < 200)  # fmt: skip
    z = (matrix - matrix.mean()) / matrix.std()
    names, naive, guarded = list(z), 0, 0
    total = 0
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            found = association.map_association(z[first], z[second], points=points, count=999, seed=i)
            naive, guarded, total = (
                naive + (found["p_parametric"] <= ALPHA),
                guarded + (found["p"] <= ALPHA),
                total + 1,
            )
    report("pairs of 19 receptors related at 0.05, parametric", 100 * naive / total, "%", "reported", True)
    report(
        "pairs of 19 receptors related at 0.05, Moran",
        100 * guarded / total,
        "%",
        "< parametric",
        guarded < naive,
    )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=500, help="pairs of independent maps")
    parser.add_argument("--seeds", type=int, default=20, help="simulated studies of latent fusion")
    arguments = parser.parse_args()
    data = find_real_data()
    false_positives(data, arguments.pairs)
    power(data, arguments.pairs)
    dominance_cost()
    latent_fusion(arguments.seeds)
    latent_null(400)
    if data:
        spins(data, arguments.pairs)
        receptors(data)


if __name__ == "__main__":
    main()
