"""Intervals, stacking, further targets and flexible learners of the stage prediction, against planted truth.

    python benchmarks/prediction_kinds.py [--parts bates,stacking,ordinal,survival,nulls,covbat,learners] [--seeds 20]

Prints one tab-separated line per figure: name, value, unit, goal, ok or short. ``learners`` takes an hour of one core and is
only run when it is named.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.stats import kstest, norm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from neurobraid.prediction.dataset import build
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.harmonize import SiteHarmonizer
from neurobraid.prediction.labels import label_test
from neurobraid.prediction.metrics import corrected_interval
from neurobraid.prediction.model import complete, cross_validate, fit_model
from neurobraid.prediction.nested import bates_interval, bates_parts
from neurobraid.prediction.ordinal import spearman
from neurobraid.prediction.permutation import fold_scores, measure
from neurobraid.prediction.survival import concordance, encode
from neurobraid.synth.cohort import make_cohort

GRID = (100.0, 10.0, 1.0, 0.1, 0.01)
FEATURES = [
    {"name": "fmri", "modality": ["fmri-rest"]},
    {"name": "pet", "modality": ["pet"]},
    {"name": "structure", "modality": ["anat"]},
]
STAGES = ["none", "mild", "moderate", "severe"]


def report(name, value, unit, goal, good):
    """Print one line."""
    print(f"{name}\t{value:.4g}\t{unit}\t{goal}\t{'ok' if good else 'short'}", flush=True)


def record(**changes):
    base = {"name": "m", "table": "cohort", "target": "diagnosis", "permutations": 0, "repeats": 1}
    return complete({**base, "features": FEATURES, "demographics": [], "folds": {"inner": 3}, **changes})


def standard_error(values):
    return np.std(values, ddof=1) / np.sqrt(len(values))


def bates(options):
    """Coverage of the planted AUC at n = 100, five folds, of both intervals."""
    p, distance, n = 20, 1.2, 100

    def expected(people):
        return norm.cdf(distance**2 / (np.sqrt(2) * np.sqrt(distance**2 + 4 * p / people)))

    rng = np.random.default_rng(0)
    y = np.where(np.arange(n) % 2, 1.0, -1.0)
    found = []
    for _ in range(options.studies):
        X = rng.normal(size=(n, p)) + 0.5 * y[:, None] * distance / np.sqrt(p)

        def scores_of(folds, X=X):
            for _, _, train, test, _ in folds.splits():
                direction = X[train][y[train] > 0].mean(0) - X[train][y[train] < 0].mean(0)
                yield train, test, X[test] @ direction

        parts = []
        for _ in range(options.divisions):
            assigned = np.empty(n, dtype=int)
            assigned[0::2], assigned[1::2] = rng.permutation(n // 2) % 5, rng.permutation(n // 2) % 5
            parts.append(bates_parts(assigned, scores_of, y, "classification"))
        nested = bates_interval(parts)
        usual = corrected_interval(np.concatenate([q["outer"] for q in parts[:10]]), 0.25)
        row = []
        for one in (nested, usual):
            row += [one["low"] <= expected(people) <= one["high"] for people in (80, 100)]
            row.append(one["high"] - one["low"])
        found.append(row)
    share = np.mean(found, axis=0)
    for k, (name, goal) in enumerate((("nested (Bates)", 0.92), ("corrected (Nadeau-Bengio)", 0.85))):
        low = f">= {goal} of a nominal 0.95"
        report(f"{name}, coverage, trained on 80", share[3 * k], "share", low, share[3 * k] >= goal)
        report(f"{name}, coverage, trained on 100", share[3 * k + 1], "share", low, share[3 * k + 1] >= goal)
        report(f"{name}, width", share[3 * k + 2], "AUC", "for comparison", True)


def stacking(options):
    """Stacking against early and late fusion on the planted cohort of 240."""
    found = []
    for seed in range(options.seeds):
        cohort = make_cohort(seed)
        data = build(cohort.features, cohort.participants, record())
        folds = make_folds(data.y, data.groups, kind="classification", site=data.sites, repeats=1, seed=seed)
        done = fold_scores(
            data.tables,
            data.y,
            folds,
            confounds=0,
            grid=GRID,
            kind="classification",
            min_present=0.5,
            early=True,
        )
        sets = {"late": ["fmri", "pet", "structure"], "early": "early", "stacking": "stacking"}
        found.append([float(v[0]) for v in measure(done, data.y[:, None], "classification", sets).values()])
    late, early, stacked = np.transpose(found)
    for name, values in (("late", late), ("early", early)):
        report(f"{name} fusion, 240 people", values.mean(), "AUC", f"SE {standard_error(values):.3f}", True)
    least = early.mean() - 2 * standard_error(early)
    report(
        "stacking, 240 people",
        stacked.mean(),
        "AUC",
        f"early within 2 SE: {least:.3f}",
        stacked.mean() >= least,
    )


def staged(seed):
    """Cohort whose stage is the planted score with noise, cut in four; rank correlation that the score itself has."""
    cohort = make_cohort(seed)
    score = cohort.participants["score"].to_numpy()
    z = (score - score.mean()) / score.std()
    latent = 1.5 * z + np.random.default_rng(500 + seed).logistic(size=z.size)
    rank = np.searchsorted(np.quantile(latent, [0.4, 0.7, 0.9]), latent)
    cohort.participants["stage"] = np.array(STAGES)[rank]
    return cohort, spearman(rank.astype(float), z[:, None])[0]


def followed(seed):
    """Cohort whose hazard grows with the planted score; Harrell's C that the score itself has."""
    cohort = make_cohort(seed)
    score = cohort.participants["score"].to_numpy()
    z = (score - score.mean()) / score.std()
    rng = np.random.default_rng(700 + seed)
    times, end = rng.exponential(24 / np.exp(1.2 * z)), rng.uniform(6, 90, z.size)
    cohort.participants["months"] = np.maximum(np.minimum(times, end), 0.01)
    cohort.participants["converted"] = (times <= end).astype(int)
    return cohort, concordance(encode(np.minimum(times, end), times <= end), z[:, None])[0]


def planted(options, make, kind, metric, changes, least):
    found = []
    for seed in range(options.seeds):
        cohort, best = make(seed)
        row = [best]
        for estimator in ("ridge", "ridge-logistic"):
            settings = record(kind=kind, estimator=estimator, **changes)
            data = build(cohort.features, cohort.participants, settings)
            folds = make_folds(data.y, data.groups, kind=kind, site=data.sites, inner=3, repeats=1, seed=seed)
            scores = cross_validate(data, folds, settings)[1]
            for name in ("pet", "fused"):
                row.append(np.mean([v for n, _, _, m, v in scores if (n, m) == (name, metric)]))
        found.append(row)
    best, *rest = np.mean(found, axis=0)
    report(f"{kind}: the planted score itself", best, metric, "upper bound", True)
    for k, estimator in enumerate(("ridge", "ridge-logistic")):
        single, fused = rest[2 * k : 2 * k + 2]
        report(f"{kind}, {estimator}, PET", single, metric, "below fused", single < fused)
        error = standard_error([r[2 + 2 * k] for r in found])
        report(
            f"{kind}, {estimator}, fused (SE {error:.3f})",
            fused,
            metric,
            f"{least} to bound",
            least <= fused <= best + 2 * error,
        )
    gap = abs(rest[3] - rest[1])
    report(f"{kind}: two estimators apart", gap, metric, "<= 0.03", gap <= 0.03)


def ordinal(options):
    """Four classes in order."""
    changes = {"target": "stage", "classes": STAGES}
    planted(options, staged, "ordinal", "spearman", changes, 0.3)


def survival(options):
    """Times to an event, a third censored."""
    changes = {"target": "months", "event": "converted"}
    planted(options, followed, "survival", "cindex", changes, 0.65)


def nulls(options):
    """P of null studies of every kind: uniform, 2 to 9 % below .05."""
    for kind in ("ordinal", "survival"):
        p = []
        for seed in range(options.nulls):
            rng = np.random.default_rng(seed)
            X, names = rng.normal(size=(80, 40)), np.arange(80).astype(str)
            y = rng.integers(1, 5, 80).astype(float)
            if kind == "survival":
                y = encode(rng.exponential(size=80), rng.random(80) < 0.6)
            site = (np.arange(80) % 2).astype(str)
            folds = make_folds(y, names, kind=kind, site=site, inner=3, repeats=1, seed=seed)
            how = {"confounds": 0, "grid": GRID, "kind": kind, "min_present": 0.5}
            p.append(label_test({"x": X}, y, folds, names, site, count=99, seed=seed, **how)["p"]["x"])
        share, test = np.mean(np.array(p) <= 0.05), kstest(p, "uniform").pvalue
        report(
            f"{kind}, {len(p)} null studies, p <= .05", share, "share", "0.02 to 0.09", 0.02 <= share <= 0.09
        )
        report(f"{kind}, uniformity of p (Kolmogorov-Smirnov)", test, "p", "> 0.01", test > 0.01)


def covbat(options):
    """Sites that differ in covariance: a quadratic learner tells the site of held-out people."""
    from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

    found = {"raw": [], "combat": [], "covbat": []}
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        site = (np.arange(600) % 2).astype(str)
        X = rng.normal(size=(600, 10)) * rng.uniform(0.5, 2, (2, 10))[np.arange(600) % 2]
        X[site == "1"] += 1.5 * rng.normal(size=(300, 1)) * np.ones(10)
        train = np.arange(600) < 300
        for method, values in found.items():
            clean = X
            if method != "raw":
                step = SiteHarmonizer(method=method).fit(X[train], site=site[train])
                clean = step.transform(X, site=site)
            rule = QuadraticDiscriminantAnalysis(reg_param=0.01).fit(clean[train], site[train])
            values.append(rule.score(clean[~train], site[~train]))
    raw, combat, done = (np.mean(found[k]) for k in ("raw", "combat", "covbat"))
    report("site of held-out people, raw", raw, "accuracy", "> 0.8", raw > 0.8)
    report("site of held-out people, ComBat", combat, "accuracy", "> 0.65 (covariance stays)", combat > 0.65)
    report("site of held-out people, CovBat", done, "accuracy", f"< {combat - 0.1:.2f}", done < combat - 0.1)


def learners(options):
    """Every estimator on the planted cohort, and the control after removal of confounds."""
    for estimator in (
        "ridge",
        "elastic-net",
        "kernel-sum",
        "gaussian-process",
        "gradient-boosting",
        "mlp",
        "random-forest",
    ):
        found = []
        for seed in range(max(options.seeds // 5, 1)):
            cohort = make_cohort(seed)
            settings = record(estimator=estimator, confounds=["site", "age"])
            summary = fit_model(cohort.features, cohort.participants, settings).summary
            flags = [f for f in summary["audit"]["flags"] if f.startswith("shuffled features")]
            found.append([summary["metrics"]["fused"]["auc"]["mean"], len(flags)])
        auc, flags = np.mean(found, axis=0)
        report(
            f"{estimator}, fused, confounds of no effect",
            auc,
            "AUC",
            ">= 0.65, Bayes 0.866",
            0.65 <= auc <= 0.866,
        )
        report(f"{estimator}, control flagged", flags, "share", "0", flags == 0)


PARTS = {
    "bates": bates,
    "stacking": stacking,
    "ordinal": ordinal,
    "survival": survival,
    "nulls": nulls,
    "covbat": covbat,
    "learners": learners,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = ",".join(name for name in PARTS if name != "learners")
    parser.add_argument("--parts", default=usual, help="comma-separated; default all but learners")
    parser.add_argument("--seeds", type=int, default=20, help="cohorts per figure")
    parser.add_argument("--studies", type=int, default=400, help="studies for coverage")
    parser.add_argument("--divisions", type=int, default=10, help="divisions into folds for nested intervals")
    parser.add_argument("--nulls", type=int, default=200, help="null studies")
    options = parser.parse_args()
    for name in options.parts.split(","):
        PARTS[name](options)


if __name__ == "__main__":
    main()
