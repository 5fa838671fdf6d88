"""Connectivity against planted truth: motion that must be found and removed, and how many minutes an edge needs.

    python benchmarks/connectivity.py [--seeds 5] [--cohort FOLDER]

Prints one tab-separated line per figure: name, value, unit, goal, ok or short. About four minutes on one core; with
``--cohort`` (a folder of region series, see `neurobraid.bids.series`) also the cost of the matrices of a whole cohort.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from neurobraid.bold import nuisance
from neurobraid.connectivity import matrix, strategies

NODES, NETWORKS, TR = 60, 6, 2.0
BAND_HZ = (0.01, 0.1)
LOADING, INDIVIDUAL = 0.75, 0.12
REACH_MM = 30.0
SHAKE, GLOBAL, LINEAR = 3.0, 1.5, 2.0
COMPARED = ("baseline", "simple", "simple+gsr", "scrubbing.5", "scrubbing.5+gsr", "scrubbing.2")
RECOMMENDED = ("scrubbing.5", "scrubbing.5+gsr")
#: Minutes of data: edge r with a person's own matrix, r of her deviation from the group (design table, section 2.2).
RECOVERY = {4: (0.85, 0.66), 8: (0.92, 0.78), 16: (0.96, 0.86), 30: (0.98, 0.92)}


def report(name, value, unit, goal, good):
    """Print one line."""
    print(f"{name}\t{value:.4g}\t{unit}\t{goal}\t{'ok' if good else 'short'}", flush=True)


def covariance(rng, individual=INDIVIDUAL):
    """Correlation matrix of one person: six networks, loadings that differ between people."""
    load = np.zeros((NODES, NETWORKS))
    load[np.arange(NODES), np.arange(NODES) % NETWORKS] = LOADING
    load = load + individual * rng.standard_normal(load.shape)
    raw = load @ load.T + np.diag(1 - np.minimum((load**2).sum(1), 0.9))
    scale = np.sqrt(np.diag(raw))
    return raw / np.outer(scale, scale)


def band_limited(rng, volumes, width):
    """White noise between .01 and .1 Hz, unit variance, (T, width)."""
    spectrum = np.fft.rfft(rng.standard_normal((volumes, width)), axis=0)
    frequency = np.fft.rfftfreq(volumes, TR)
    spectrum[(frequency < BAND_HZ[0]) | (frequency > BAND_HZ[1])] = 0
    values = np.fft.irfft(spectrum, volumes, axis=0)
    return values / values.std(0)


def places(rng):
    """Centres of the regions in a head-sized ellipsoid, (NODES, 3) in mm."""
    points = rng.uniform(-1, 1, (20 * NODES, 3))
    return points[(points**2).sum(1) < 1][:NODES] * [65, 80, 60]


def head_motion(rng, volumes):
    """Position of a head that drifts, sways and jerks; the jerks are what censoring is for.

    Returns
    -------
    parameters : numpy.ndarray, (T, 6)
        mm and rad.
    jerk : numpy.ndarray, (T,)
        Size of the jerks in mm, 0 between them.
    """
    level = np.exp(rng.normal(np.log(0.18), 0.45))
    scale = np.array([1, 1, 1, 0.02, 0.02, 0.02])
    drift = np.cumsum(rng.standard_normal((volumes, 6)), 0) * 0.01 * level
    sway = 0.12 * level * rng.standard_normal((volumes, 6))
    count = min(rng.poisson(40 * level), 24)
    # apart from each other, or everything between them would be censored as well
    events = rng.choice(np.arange(3, volumes - 3, 6), min(count, (volumes - 6) // 6), replace=False)
    jerk = np.zeros(volumes)
    jerk[events] = rng.uniform(0.7, 1.6, len(events))
    direction = rng.standard_normal((volumes, 6))
    direction /= np.abs(direction[:, :3]).sum(1, keepdims=True) + 50 * 0.02 * np.abs(direction[:, 3:]).sum(
        1, keepdims=True
    )
    # there at once and back over the next volumes: only the volume of the jerk moves by more than the threshold
    steps = jerk[:, None] * direction
    decay = np.array([1.0, 0.75, 0.5, 0.25])
    moved = sum(np.roll(steps, lag, 0) * share for lag, share in enumerate(decay))
    return (drift + sway + moved) * scale, jerk


def motion_study(seed, *, people=100, volumes=240, planted=True):
    """A study at rest in which motion, and nothing else, makes connectivity differ between people who move and who do not.

    Parameters
    ----------
    seed : int
    people, volumes : int
    planted : bool
        Without: the same motion leaves no trace in the series.

    Returns
    -------
    scans : list of dict
        For `neurobraid.connectivity.strategies.compare`.
    regions : pandas.DataFrame
    """
    rng = np.random.default_rng(seed)
    where = places(rng)
    apart = np.linalg.norm(where[:, None] - where[None], axis=-1)
    near = np.exp(-((apart / REACH_MM) ** 2) / 2)
    smooth = np.linalg.cholesky(near + 1e-6 * np.eye(NODES))
    regions = pd.DataFrame(where, columns=["x", "y", "z"]).assign(name=[f"node{k:02d}" for k in range(NODES)])
    scans = []
    for k in range(people):
        signal = band_limited(rng, volumes, NODES) @ np.linalg.cholesky(covariance(rng)).T
        parameters, jerk = head_motion(rng, volumes)
        tissue = band_limited(rng, volumes, 2)
        series = signal + 0.4 * tissue @ rng.standard_normal((2, NODES))
        columns = dict(zip(nuisance.MOTION, parameters.T, strict=True))
        change = np.diff(parameters, axis=0, prepend=parameters[:1])
        change[:, 3:] *= 50.0
        fd = np.abs(change).sum(1)
        if planted:
            # linear in position: regression takes it; near regions are moved alike
            smoothed = parameters * [1, 1, 1, 50, 50, 50]
            series = series + LINEAR * smoothed @ (smooth @ rng.standard_normal((NODES, 6))).T
            # while the head jerks: every jerk has its own pattern, part of it the same everywhere; only censoring takes it
            hit = np.flatnonzero(jerk)
            pattern = (
                GLOBAL * rng.standard_normal((len(hit), 1))
                + rng.standard_normal((len(hit), NODES)) @ smooth.T
            )
            series[hit] += SHAKE * jerk[hit, None] * pattern
        table = pd.DataFrame({
            **columns, "csf": tissue[:, 0] + 0.2 * rng.standard_normal(volumes),
            "white_matter": tissue[:, 1] + 0.2 * rng.standard_normal(volumes), "global_signal": series.mean(1),
            "framewise_displacement": np.r_[np.nan, fd[1:]], "std_dvars": 1.0,
        })  # fmt: skip
        scans.append({
            "participant_id": f"sub-{k:03d}", "scan": f"sub-{k:03d}_task-rest", "series": 1000 + 10 * series,
            "confounds": table, "tr": TR, "file": f"sub-{k:03d}_task-rest_desc-confounds_timeseries.tsv",
        })  # fmt: skip
    return scans, regions


def motion(seeds):
    """Gate of section 2.1: the raw condition fails, the recommended strategies pass; a study without artefact is quiet."""
    tables = []
    for seed in range(seeds):
        scans, regions = motion_study(seed)
        if seed == 0:
            fd = np.median([s["confounds"]["framewise_displacement"].mean() for s in scans])
            print(f"# median mean FD of the planted study: {fd:.3f} mm", flush=True)
        tables.append(
            strategies.compare(scans, COMPARED, regions, band_hz=BAND_HZ)["table"].set_index("strategy")
        )
    mean = sum(t.select_dtypes("number") for t in tables) / len(tables)
    for name in COMPARED:
        row = mean.loc[name]
        limit = 1.15 * row["qcfc_expected"]
        quiet = row["qcfc_median_abs"] <= limit
        edges = 3 <= row["qcfc_edges_percent"] <= 7
        flat = abs(row["distance_dependence"]) < 0.08
        must = name in RECOMMENDED
        raw = name == "baseline"
        word = "must fail: " if raw else "" if must else "shown: "
        report(
            f"{name}: median |QC-FC|",
            row["qcfc_median_abs"],
            "r",
            f"{word}<= {limit:.4f}",
            quiet != raw if raw or must else True,
        )
        report(
            f"{name}: edges p < .05",
            row["qcfc_edges_percent"],
            "%",
            f"{word}3 to 7",
            edges != raw if raw or must else True,
        )
        report(
            f"{name}: distance r",
            row["distance_dependence"],
            "r",
            f"{word}-.08 to .08",
            flat != raw if raw or must else True,
        )
        for key, unit in (
            ("participants", "of 100"),
            ("dof_lost_percent", "%"),
            ("modularity", "Q"),
            ("split_half_r", "r"),
            ("split_half_icc", "ICC"),
        ):
            report(f"{name}: {key}", row[key], unit, "shown", True)
    scans, regions = motion_study(0, planted=False)
    row = strategies.compare(scans, ["baseline"], regions, band_hz=BAND_HZ)["table"].iloc[0]
    report(
        "no artefact, baseline: median |QC-FC|",
        row["qcfc_median_abs"],
        "r",
        f"<= {1.15 * row['qcfc_expected']:.4f}",
        row["qcfc_median_abs"] <= 1.15 * row["qcfc_expected"],
    )
    report(
        "no artefact, baseline: edges p < .05",
        row["qcfc_edges_percent"],
        "%",
        "3 to 7",
        3 <= row["qcfc_edges_percent"] <= 7,
    )


def recovery(people=40):
    """How well edges come back by minutes of clean data."""
    rng = np.random.default_rng(11)
    truth = [covariance(rng) for _ in range(people)]
    flat = np.stack([strategies.upper(t) for t in truth])
    names = [f"node{k:02d}" for k in range(NODES)]
    for minutes, (edge, own) in RECOVERY.items():
        volumes = int(minutes * 60 / TR)
        found, part = [], []
        for person in truth:
            series = pd.DataFrame(
                band_limited(rng, volumes, NODES) @ np.linalg.cholesky(person).T, columns=names
            )
            found.append(strategies.upper(matrix.estimate(series, "pearsoncorrelation")[0].to_numpy()))
            part.append(strategies.upper(matrix.estimate(series, "partialcorrelation")[0].to_numpy()))
        found, part = np.stack(found), np.stack(part)
        precision = [np.linalg.inv(t) for t in truth]
        true_part = np.stack(
            [strategies.upper(-p / np.sqrt(np.outer(np.diag(p), np.diag(p)))) for p in precision]
        )

        def mean_r(a, b):
            return float(np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]))

        value = mean_r(found, flat)
        report(
            f"{minutes} min: edge r with the person's matrix",
            value,
            "r",
            f">= {edge - 0.02:.2f}",
            value >= edge - 0.02,
        )
        value = mean_r(found - found.mean(0), flat - flat.mean(0))
        report(
            f"{minutes} min: r of the deviation from the group",
            value,
            "r",
            f">= {own - 0.03:.2f}",
            value >= own - 0.03,
        )
        report(f"{minutes} min: partial correlation, edge r", mean_r(part, true_part), "r", "shown", True)
        value = np.corrcoef(found.mean(0), flat.mean(0))[0, 1]
        report(f"{minutes} min: group mean, edge r", value, "r", "> .98", value > 0.98)


def cohort(folder):
    """Cost of the matrices of a cohort of region series, as the jobs of the workflow make them, and what became of empty regions."""
    from neurobraid.bids.series import find_series
    from neurobraid.connectivity import adopted

    measures = ["pearsoncorrelation", "partialcorrelation"]
    started, clock = time.process_time(), time.time()
    rows = find_series(folder).to_dict("records")
    with tempfile.TemporaryDirectory() as scratch:
        stems = [Path(scratch, row["scan"]) for row in rows]
        outputs = SimpleNamespace(
            matrices=[f"{s}_{m}.tsv" for s in stems for m in measures],
            sidecars=[f"{s}_{m}.json" for s in stems for m in measures],
            coverage=[f"{s}_coverage.tsv" for s in stems],
            table=Path(scratch, "table.tsv"),
        )
        adopted.run_batch(
            outputs,
            root=folder,
            rows=rows,
            paths=[r["path"] for r in rows],
            measures=measures,
            min_coverage=0.5,
        )
        table = pd.read_csv(outputs.table, sep="\t")
        spent, waited = time.process_time() - started, time.time() - clock
        lacking = table[table["regions_without_data"] > 0]
        whole = all(
            matrix.read_matrix(f"{Path(scratch, scan)}_{measures[0]}.tsv").isna().all().sum() == lost
            for scan, lost in zip(lacking["scan"], lacking["regions_without_data"], strict=True)
        )
    report(
        "cohort: scans used",
        (table["used"] == "yes").sum(),
        "scans",
        f"{len(rows)}",
        (table["used"] == "yes").all(),
    )
    report("cohort: people with regions without data", len(lacking), "people", "n/a in their matrices", whole)
    report("cohort: processor time", spent, "s", "< 300", spent < 300)
    report("cohort: time on the wall", waited, "s", "shown", True)
    report("cohort: memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MB", "< 1000", True)


def main():
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=["motion", "recovery", "cohort"], help="one part")
    parser.add_argument("--cohort", type=Path, help="folder of region series")
    options = parser.parse_args()
    if options.only in (None, "motion"):
        motion(options.seeds)
    if options.only in (None, "recovery"):
        recovery()
    if options.cohort and options.only in (None, "cohort"):
        cohort(options.cohort)


if __name__ == "__main__":
    main()
