"""Prediction against what theory says it must reach, and the traps that make a careless analysis look good.

    python benchmarks/prediction_gates.py [--seeds 20] [--calibration 60] [--studies 200]

Prints one tab-separated line per figure: name, value, unit, goal, ok or short. About an hour on one core,
most of it the 200 null studies of 199 permutations.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from neurobraid.prediction.dataset import build
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.labels import label_test
from neurobraid.prediction.model import complete, cross_validate, fit_model
from neurobraid.prediction.permutation import permutation_test, statistics
from neurobraid.synth.cohort import make_cohort

FEATURES = [
    {"name": "fmri", "modality": ["fmri-rest"]},
    {"name": "pet", "modality": ["pet"]},
    {"name": "structure", "modality": ["anat"]},
]
KEYS = {"fmri": "fmri-rest", "pet": "pet", "structure": "anat", "fused": "fused"}
NUISANCE = {"site_shift": 0.5, "site_scale": 0.2, "age_effect": 0.3}


def report(name, value, unit, goal, good):
    """Print one line."""
    print(f"{name}\t{value:.4g}\t{unit}\t{goal}\t{'ok' if good else 'short'}", flush=True)


def model(**changes):
    base = {"name": "gate", "table": "cohort", "target": "diagnosis", "classes": ["control", "patient"]}
    return complete({**base, "features": FEATURES, "permutations": 0, **changes})


def folds_of(data, settings, groups=None):
    return make_folds(
        data.y,
        data.groups if groups is None else groups,
        kind="classification",
        site=data.sites,
        outer=settings["folds"]["outer"],
        inner=settings["folds"]["inner"],
        repeats=settings["repeats"],
        seed=settings["seed"],
        group_of_site=settings["groups"] == settings["site"],
    )


def fast(data, folds):
    return statistics(
        data.tables,
        data.y,
        folds,
        confounds=data.confounds,
        grid=(100.0, 10.0, 1.0, 0.1, 0.01),
        kind="classification",
        min_present=0.5,
    )


def accuracy(seeds, label, nuisance, confounds):
    """Mean AUC over cohorts against the finite-sample formula of `neurobraid.synth.cohort`."""
    found, brier = [], []
    for seed in range(seeds):
        cohort = make_cohort(seed, **nuisance)
        summary = fit_model(
            cohort.features, cohort.participants, model(seed=seed, confounds=confounds)
        ).summary
        found.append([summary["metrics"][name]["auc"]["mean"] for name in KEYS])
        brier.append(summary["metrics"]["fused"]["brier"]["mean"])
    found = np.array(found)
    mean, error = found.mean(0), found.std(0, ddof=1) / np.sqrt(seeds)
    for place, (name, key) in enumerate(KEYS.items()):
        goal, top = cohort.truth["expected_auc"][key], cohort.truth["bayes_auc"][key]
        gap = abs(mean[place] - goal)
        good = gap <= 0.03 and mean[place] <= top + 2 * error[place]
        report(f"{label} {name} AUC", mean[place], "AUC", f"{goal:.3f} +- 0.03, below Bayes {top:.3f}", good)
    gain = mean[3] - mean[:3].max()
    report(f"{label} fused minus best single", gain, "AUC", ">= 0.05", gain >= 0.05)
    report(f"{label} fused Brier score", np.mean(brier), "1", "<= 0.20", np.mean(brier) <= 0.20)


def shuffled(seeds, turns=10):
    """Mean AUC with labels shuffled within site, real cohorts."""
    values = []
    for seed in range(seeds):
        cohort = make_cohort(seed)
        settings = model(seed=seed)
        data = build(cohort.features, cohort.participants, settings)
        done = permutation_test(
            data.tables, data.y, folds_of(data, settings), data.groups, data.sites, count=turns, seed=seed,
            confounds=0, grid=(100.0, 10.0, 1.0, 0.1, 0.01), kind="classification", min_present=0.5,
        )  # fmt: skip
        values.append(done["null_mean"]["fused"])
    mean = float(np.mean(values))
    report("shuffled labels fused AUC", mean, "AUC", "0.48 to 0.52", 0.48 <= mean <= 0.52)


def speed():
    """CPU time of one full model with 99 permutations."""
    cohort = make_cohort(0, **NUISANCE)
    start = time.process_time()
    summary = fit_model(
        cohort.features, cohort.participants, model(confounds=["site", "age", "sex"], permutations=99)
    ).summary
    used = time.process_time() - start
    report("model with 99 permutations, 240 people", used, "CPU s", "< 60", used < 60)
    p = summary["permutation"]["p"]["fused"]
    report("permutation p of the planted effect", p, "p", "0.01 (the smallest)", p <= 0.0101)


def visits(seeds):
    """Two visits per person, no effect: plain folds against grouped folds."""
    wrong, right = [], []
    for seed in range(seeds):
        cohort = make_cohort(seed, people=100, effect=0.0, second_visit=1.0, retest=0.95)
        settings = model(rows="visit", seed=seed)
        data = build(cohort.features, cohort.participants, settings)
        each = np.array([f"{p} {s}" for p, s in zip(data.participants, data.sessions, strict=True)])
        wrong.append(fast(data, folds_of(data, settings, groups=each))["fused"])
        right.append(fast(data, folds_of(data, settings))["fused"])
    report(
        "trap repeated visits, plain folds", np.mean(wrong), "AUC", ">= 0.65 (false)", np.mean(wrong) >= 0.65
    )
    report(
        "repeated visits, grouped folds",
        np.mean(right),
        "AUC",
        "0.47 to 0.53",
        abs(np.mean(right) - 0.5) <= 0.03,
    )


def selection(seeds, people=100, features=5000, kept=20):
    """Noise, features chosen on everybody against nothing chosen outside the folds."""
    wrong, right = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(people, features)), np.where(np.arange(people) % 2, 1.0, -1.0)
        names = np.arange(people).astype(str)
        folds = make_folds(y, names, kind="classification", repeats=1, seed=seed)
        gap = np.abs(X[y > 0].mean(0) - X[y < 0].mean(0)) / X.std(0)
        settings = {"confounds": 0, "grid": (100.0, 1.0, 0.01), "kind": "classification", "min_present": 0.5}
        wrong.append(statistics({"noise": X[:, np.argsort(-gap)[:kept]]}, y, folds, **settings)["noise"])
        right.append(statistics({"noise": X}, y, folds, **settings)["noise"])
    report(
        "trap selection outside the folds", np.mean(wrong), "AUC", ">= 0.90 (false)", np.mean(wrong) >= 0.9
    )
    report(
        "all features, fitted in the folds",
        np.mean(right),
        "AUC",
        "0.46 to 0.54",
        abs(np.mean(right) - 0.5) <= 0.04,
    )


def sites(seeds):
    """Site and diagnosis associated (V 0.6), no effect: naive folds against leaving a site out."""
    wrong, right, removed, warned = [], [], [], 0
    for seed in range(seeds):
        cohort = make_cohort(seed, effect=0.0, association=0.6, **NUISANCE)
        for values, changes in ((wrong, {}), (right, {"groups": "site"}), (removed, {"confounds": ["site"]})):
            settings = model(seed=seed, **changes)
            data = build(cohort.features, cohort.participants, settings)
            values.append(fast(data, folds_of(data, settings))["fused"])
        warned += bool(
            fit_model(cohort.features, cohort.participants, model(seed=seed, repeats=1)).summary["warnings"]
        )
    report(
        "trap site association, naive folds", np.mean(wrong), "AUC", ">= 0.65 (false)", np.mean(wrong) >= 0.65
    )
    report(
        "site association, leave one site out",
        np.mean(right),
        "AUC",
        "0.46 to 0.54",
        abs(np.mean(right) - 0.5) <= 0.04,
    )
    report("site association, site removed in the fold", np.mean(removed), "AUC", "0.46 to 0.54", abs(np.mean(removed) - 0.5) <= 0.04)  # fmt: skip
    report("summaries that name the association", warned / seeds, "share", "1", warned == seeds)


def calibration(studies, turns=59):
    """Share of null studies with p <= 0.05: permuted within sites, and freely."""
    p = {"within": [], "free": []}
    for seed in range(studies):
        cohort = make_cohort(10_000 + seed, people=120, effect=0.0, association=0.6, **NUISANCE)
        settings = model(seed=seed, repeats=1, features=FEATURES[:1])
        data = build(cohort.features, cohort.participants, settings)
        folds = folds_of(data, settings)
        for name, blocks in (("within", data.sites), ("free", np.full(data.y.size, "all"))):
            done = permutation_test(
                data.tables, data.y, folds, data.groups, blocks, count=turns, seed=seed, confounds=0,
                grid=(100.0, 1.0, 0.01), kind="classification", min_present=0.5,
            )  # fmt: skip
            p[name].append(done["p"]["fmri"])
    within, free = (np.mean(np.array(p[name]) <= 0.05) for name in ("within", "free"))
    # three standard errors of the share at this number of studies
    top = 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)
    report("null studies with p <= .05, within sites", within, "share", f"<= {top:.2f}", within <= top)
    report("trap null studies with p <= .05, free permutation", free, "share", ">= 0.5 (false)", free >= 0.5)


def null_p(studies, turns=199):
    """P over studies without an effect, site and diagnosis associated (V 0.6): uniform within sites, not when free."""
    from scipy.stats import kstest

    p, named = {"within": [], "free": []}, []
    for seed in range(studies):
        cohort = make_cohort(20_000 + seed, people=120, effect=0.0, association=0.6, **NUISANCE)
        settings = model(seed=seed, repeats=1)
        data = build(cohort.features, cohort.participants, settings)
        folds = folds_of(data, settings)
        for name, blocks in (("within", data.sites), ("free", np.full(data.y.size, "all"))):
            done = label_test(
                data.tables, data.y, folds, data.groups, blocks, count=turns, seed=seed, confounds=0,
                grid=(100.0, 1.0, 0.01), kind="classification", min_present=0.5,
            )  # fmt: skip
            p[name].append(done["p"]["fused"])
        # the whole audit takes seconds: every twentieth study
        if seed % 20 == 0:
            flags = fit_model(cohort.features, cohort.participants, settings).summary["audit"]["flags"]
            named.append("association of site and target" in flags)
    shown = f"{studies} null studies x {turns} permutations"
    within, free = (np.array(p[name]) for name in ("within", "free"))
    share = np.mean(within <= 0.05)
    report(f"{shown}, within sites, p <= .05", share, "share", "0.02 to 0.09", 0.02 <= share <= 0.09)
    uniform = kstest(within, "uniform").pvalue
    report(f"{shown}, within sites, p against uniform (KS)", uniform, "p", "> 0.01", uniform > 0.01)
    share = np.mean(free <= 0.05)
    report(f"trap {shown}, free, p <= .05", share, "share", ">= 0.5 (false)", share >= 0.5)
    wrong = kstest(free, "uniform").pvalue
    report(f"trap {shown}, free, p against uniform (KS)", wrong, "p", "< 1e-6 (false)", wrong < 1e-6)
    report("audits that name the association behind it", np.mean(named), "share", "1", all(named))


def same_numbers():
    """Largest difference between the pipelines and the fast engine of the permutation test."""
    cohort = make_cohort(3, missing_pet=0.2, **NUISANCE)
    settings = model(confounds=["site", "age", "sex"], missing_modality="available", fusion=["late", "early"])
    data = build(cohort.features, cohort.participants, settings)
    folds = folds_of(data, settings)
    rows = [r for r in cross_validate(data, folds, settings)[1] if r[3] == "auc"]
    quick = statistics(
        data.tables, data.y, folds, confounds=data.confounds, grid=(100.0, 10.0, 1.0, 0.1, 0.01),
        kind="classification", min_present=0.5, early=True,
    )  # fmt: skip
    gap = max(abs(np.mean([r[4] for r in rows if r[0] == name]) - value) for name, value in quick.items())
    report("pipeline against permutation engine", gap, "AUC", "<= 1e-12", gap <= 1e-12)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20, help="cohorts per figure")
    parser.add_argument("--calibration", type=int, default=60, help="null studies; 0 leaves them out")
    parser.add_argument("--studies", type=int, default=200, help="null studies of the fast engine; 0: none")
    options = parser.parse_args()
    start = time.process_time()
    accuracy(options.seeds, "cohort", {}, [])
    accuracy(options.seeds, "cohort with sites and age", NUISANCE, ["site", "age", "sex"])
    shuffled(2 * options.seeds)
    speed()
    same_numbers()
    visits(min(options.seeds, 10))
    selection(min(options.seeds, 10))
    sites(min(options.seeds, 10))
    if options.calibration:
        calibration(options.calibration)
    if options.studies:
        null_p(options.studies)
    used = (time.process_time() - start) / 60
    report("all of the above", used, "CPU min", "< 15", used < 15)


if __name__ == "__main__":
    main()
