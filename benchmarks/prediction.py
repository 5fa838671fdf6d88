"""Leak traps, real recordings and speed of the stage prediction.

    python benchmarks/prediction.py [--parts traps,intervals,missing,speed,abide,tangent,series,fcon,brainage,haxby,mc1]
        [--data FOLDER] [--seeds 5]

Prints one tab-separated line per figure: name, value, unit, goal, ok or short. Cohort accuracy and calibration of the
null are in ``prediction_gates.py``. ``--data`` is the folder of real recordings (default ``$NEUROBRAID_DATA`` or
``../shared/data``).
"""

import argparse
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from neurobraid.errors import InputError
from neurobraid.prediction import audit, traces
from neurobraid.prediction.brain_age import bias_line, gaps, refuse_corrected
from neurobraid.prediction.brain_age_model import complete, fit_brain_age
from neurobraid.prediction.decode import block_means, center_groups, decode, group_folds, searchlight
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.harmonize import SiteHarmonizer
from neurobraid.prediction.labels import label_scores, label_test
from neurobraid.prediction.metrics import auc, corrected_interval, corrected_ttest, regression_metrics
from neurobraid.prediction.permutation import statistics
from neurobraid.prediction.steps import confound_fit, confound_remove
from neurobraid.prediction.tangent import TangentSpace

ROOT = Path(__file__).resolve().parents[1]
GRID = (100.0, 10.0, 1.0, 0.1, 0.01)
PLAIN = {"confounds": 0, "grid": GRID, "kind": "classification", "min_present": 0.5}


def report(name, value, unit, goal, good):
    """Print one line."""
    print(f"{name}\t{value:.4g}\t{unit}\t{goal}\t{'ok' if good else 'short'}", flush=True)


def named(name, share):
    """Print how often the audit named a leak."""
    report(f"{name}: audit names it", share, "share", "1", share == 1)


def pair(name, wrong, right, least):
    """Print the wrong and the right way of one trap; the right way is chance within three standard errors."""
    bad = np.mean(wrong) >= least if least > 0.5 else np.mean(wrong) <= least
    most = max(0.02, 3 * np.std(right, ddof=1) / np.sqrt(len(right)))
    report(
        f"{name}, wrong way", np.mean(wrong), "AUC", f"{'>=' if least > 0.5 else '<='} {least} (false)", bad
    )
    good = abs(np.mean(right) - 0.5) <= most
    report(f"{name}, right way", np.mean(right), "AUC", f"0.5 +- {most:.3f} (3 SE)", good)


def noise(seed, people, features, repeats=1):
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(people) % 2, 1.0, -1.0)
    names = np.arange(people).astype(str)
    folds = make_folds(y, names, kind="classification", repeats=repeats, seed=seed)
    return rng, rng.normal(size=(people, features)), y, names, folds


def flagged(checks):
    return any(c["status"] == "flag" for c in checks)


def traced(X, y, check, **columns):
    """Whether the table alone, without the script that made it, gives a preparation with everybody away."""
    return any(hit for name, hit, _ in traces.find({"x": X}, 0, y, columns) if name == check)


def trap_selection(seeds):
    wrong, right, seen, read = [], [], [], []

    def select(X, y):
        return X[:, np.argsort(-np.abs(X[y > 0].mean(0) - X[y < 0].mean(0)) / X.std(0))[:20]]

    for seed in range(seeds):
        _, X, y, _, folds = noise(seed, 100, 5000)
        wrong.append(statistics({"x": select(X, y)}, y, folds, **PLAIN)["x"])
        _, _, train, test, _ = next(folds.splits())
        seen.append(flagged(audit.probe_preprocessing(select, X, y, train, test)))
        read.append(traced(select(X, y), y, "features chosen with the target"))
    # chance with so many features varies much from study to study: more studies
    for seed in range(4 * seeds):
        _, X, y, _, folds = noise(seed, 100, 5000)
        right.append(label_test_observed(X, y, folds))
    pair("selection outside the folds", wrong, right, 0.9)
    named("selection outside the folds", np.mean(seen))
    named("selection outside the folds, from the table alone", np.mean(read))


def label_test_observed(X, y, folds):
    fold = label_scores({"x": X}, y[:, None], folds, **PLAIN)
    return float(np.nanmean([auc(y[f.test], f.raw["x"][:, 0]) for f in fold]))


def trap_visits(seeds):
    wrong, right, seen = [], [], []
    for seed in range(seeds):
        rng, X, _, _, _ = noise(seed, 60, 300)
        y = np.repeat(np.where(np.arange(60) % 2, 1.0, -1.0), 2)
        X = np.repeat(X, 2, axis=0) + 0.3 * rng.normal(size=(120, 300))
        people, scans = np.repeat(np.arange(60), 2).astype(str), np.arange(120).astype(str)
        plain = make_folds(y, scans, kind="classification", repeats=1, seed=seed)
        grouped = make_folds(y, people, kind="classification", repeats=1, seed=seed)
        wrong.append(statistics({"x": X}, y, plain, **PLAIN)["x"])
        right.append(statistics({"x": X}, y, grouped, **PLAIN)["x"])
        torn = flagged(audit.straddling(plain, {"participant_id": people}))
        # and when the two scans go by different names
        hidden = flagged(audit.similar_rows(X, plain, scans))
        seen.append(torn and hidden and not flagged(audit.similar_rows(X, grouped, people)))
    pair("two scans per person in plain folds", wrong, right, 0.9)
    named("two scans per person in plain folds", np.mean(seen))


def sited(seed, n=240, p=250, strength=0.6, effect=0.0):
    """Diagnosis associated with site; features, as many as edges of 23 regions, shifted and scaled by site."""
    rng = np.random.default_rng(seed)
    site = np.arange(n) % 4
    y = np.full(n, -1.0)
    for s in range(4):
        rows = rng.permutation(np.flatnonzero(site == s))
        y[rows[: round((0.5 + (0.5 if s < 2 else -0.5) * strength) * rows.size)]] = 1.0
    X = (
        rng.normal(size=(n, p)) * np.exp(0.2 * rng.normal(size=(4, p)))[site]
        + 0.5 * rng.normal(size=(4, p))[site]
    )
    X[:, :10] += effect * y[:, None]
    return X, y, site.astype(str), np.arange(n).astype(str)


def trap_sites(seeds):
    found = {k: [] for k in ("naive", "left out", "all, diagnosis", "all", "in fold")}
    seen = {k: [] for k in ("naive", "all, diagnosis", "all")}
    read = {k: [] for k in ("untouched", "all, diagnosis", "all")}

    def combat(X, y, site):
        return SiteHarmonizer().fit(X, site=site).transform(X, site=site)

    def with_target(X, y, site):
        use = {"site": site, "covariates": y[:, None]}
        return SiteHarmonizer().fit(X, **use).transform(X, **use)

    for seed in range(seeds):
        X, y, site, names = sited(seed)
        folds = make_folds(y, names, kind="classification", site=site, repeats=1, seed=seed)
        loso = make_folds(
            y, site, kind="classification", inner=3, scheme="leave-one-group-out", group_of_site=True
        )
        codes = np.column_stack([X, np.zeros(y.size), site.astype(float)])
        harmonize = {"covariates": 0, "unseen": "error", "names": ("0", "1", "2", "3")}
        values = {
            "naive": statistics({"x": X}, y, folds, **PLAIN)["x"],
            "left out": statistics({"x": X}, y, loso, **PLAIN)["x"],
            "all, diagnosis": statistics({"x": with_target(X, y, site)}, y, folds, **PLAIN)["x"],
            "all": statistics({"x": combat(X, y, site)}, y, folds, **PLAIN)["x"],
            "in fold": statistics({"x": codes}, y, folds, **PLAIN, harmonize=harmonize)["x"],
        }
        for name, value in values.items():
            found[name].append(value)
        dummies = (site[:, None] == np.unique(site)).astype(float)
        alone = audit.baseline("site", dummies, y, folds, "classification", GRID, "")
        seen["naive"].append(
            audit.association(site, y, "classification") > audit.SITE_LIMIT and flagged([alone])
        )
        _, _, train, test, _ = next(folds.splits())
        made = {"untouched": X, "all, diagnosis": with_target(X, y, site), "all": combat(X, y, site)}
        for name, table in made.items():
            read[name].append(traced(table, y, "harmonised or adjusted with everybody", site=dummies))
        for name, step in (("all, diagnosis", with_target), ("all", combat)):
            checks = audit.probe_preprocessing(lambda a, b, s=step, z=site: s(a, b, z), X, y, train, test)
            seen[name].append(
                checks[0]["status"] == "flag" and (checks[1]["status"] == "flag") == (name != "all")
            )
    pair("site goes with diagnosis, naive folds", found["naive"], found["left out"], 0.75)
    named("site goes with diagnosis", np.mean(seen["naive"]))
    pair("ComBat on everybody, diagnosis preserved", found["all, diagnosis"], found["in fold"], 0.62)
    named("ComBat on everybody, diagnosis preserved", np.mean(seen["all, diagnosis"]))
    pair("ComBat on everybody, no diagnosis (below chance)", found["all"], found["in fold"], 0.35)
    named("ComBat on everybody, no diagnosis", np.mean(seen["all"]))
    named("ComBat on everybody, from the table alone", np.mean([read["all"], read["all, diagnosis"]]))
    false = np.mean(read["untouched"])
    report("untouched tables named as harmonised", false, "share", "0", false == 0)
    spread = np.std(found["all"], ddof=1) * np.sqrt(0.25)
    metrics = {
        "x": {"auc": {"mean": np.mean(found["all"]), "high": np.mean(found["all"]) + 2 * spread, "low": 0.0}}
    }
    named(
        "ComBat on everybody: below chance",
        float(flagged([audit.below_chance(metrics, "auc", "classification")])),
    )


def trap_forest(seeds):
    from sklearn.ensemble import RandomForestClassifier

    wrong, right, seen = [], [], []

    def run(learner, folds):
        def score(table, y):
            values = []
            for _, _, train, test, _ in folds.splits():
                fitted = confound_fit(table[train, :3], table[train, 3:])
                clean = confound_remove(table[:, :3], table[:, 3:], *fitted)
                values.append(auc(y[test], learner(clean[train], y[train], clean[test])))
            return float(np.mean(values))

        return score

    def forest(X, y, new):
        return (
            RandomForestClassifier(60, min_samples_leaf=3, random_state=0, n_jobs=1)
            .fit(X, y)
            .predict_proba(new)[:, 1]
        )

    for seed in range(seeds):
        rng, _, y, _, folds = noise(seed, 200, 1)
        X = rng.integers(0, 2, (200, 3)).astype(float)
        confound = (y + 0.8 * rng.normal(size=200))[:, None]
        wrong.append(run(forest, folds)(np.hstack([X, confound]), y))
        right.append(statistics({"x": np.hstack([X, confound])}, y, folds, **{**PLAIN, "confounds": 1})["x"])
        made = audit.shuffled_features(run(forest, folds), X, confound, y, "classification", runs=3)
        seen.append(flagged([made]))
    pair("removal of a target-like confound, then a forest", wrong, right, 0.65)
    named("removal of a target-like confound, then a forest", np.mean(seen))


def trap_age(seeds):
    raw, corrected, seen = [], [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        age, X, names = rng.uniform(20, 80, 300), rng.normal(size=(300, 20)), np.arange(300).astype(str)
        folds = make_folds(age, names, kind="regression", repeats=1, seed=seed)
        done = label_scores({"x": X}, age[:, None], folds, **{**PLAIN, "kind": "regression", "grid": (0.01,)})
        predicted = np.empty(300)
        for fold in done:
            predicted[fold.test] = fold.raw["x"][:, 0]
        fixed = age + gaps(age, predicted, bias_line(age, predicted))["delange"]
        raw.append(regression_metrics(age, predicted, age.mean())["r2"])
        corrected.append(regression_metrics(age, fixed, age.mean())["r2"])
        try:
            refuse_corrected(age, predicted, fixed)
            seen.append(False)
        except InputError:
            seen.append(True)
    report(
        "age-corrected accuracy of noise, wrong way",
        np.mean(corrected),
        "R2",
        ">= 0.8 (false)",
        np.mean(corrected) >= 0.8,
    )
    report("age-corrected accuracy of noise, raw", np.mean(raw), "R2", "<= 0", np.mean(raw) <= 0)
    named("age-corrected accuracy of noise", np.mean(seen))


def trap_more(seeds):
    """Oversampling before the split, and the threshold or features of test rows used."""
    wrong, right, copies, scaled = [], [], [], []
    for seed in range(seeds):
        rng, X, _, _, _ = noise(seed, 120, 120)
        y = np.where(np.arange(120) < 24, 1.0, -1.0)
        extra = rng.choice(24, 72)
        rows = np.r_[np.arange(120), extra]
        names = np.arange(rows.size).astype(str)
        folds = make_folds(y[rows], names, kind="classification", repeats=1, seed=seed)
        wrong.append(statistics({"x": X[rows]}, y[rows], folds, **PLAIN)["x"])
        plain = make_folds(y, names[:120], kind="classification", repeats=2, seed=seed)
        right.append(statistics({"x": X}, y, plain, **PLAIN)["x"])
        copies.append(flagged(audit.similar_rows(X[rows], folds, names)))
        _, _, train, test, _ = next(plain.splits())
        checks = audit.probe_preprocessing(lambda a, b: (a - a.mean(0)) / a.std(0), X, y, train, test)
        scaled.append(flagged(checks))
    pair("oversampling before the split", wrong, right, 0.8)
    named("oversampling before the split", np.mean(copies))
    named("normalising with test rows", np.mean(scaled))


def trap_norm(seeds):
    """Deviation from a norm of controls that holds the controls tested."""
    wrong, right, read = [], [], []
    for seed in range(2 * seeds):
        _, X, y, _, folds = noise(seed, 40, 500)

        def deviation(rows, X=X):
            return np.abs((X - X[rows].mean(0)) / X[rows].std(0))

        everybody = deviation(y < 0)
        wrong.append(statistics({"x": everybody.mean(axis=1)[:, None]}, y, folds, **PLAIN)["x"])
        read.append(traced(everybody, y, "scaled with everybody"))
        values = []
        for _, _, train, test, _ in folds.splits():
            values.append(auc(y[test], deviation(train[y[train] < 0]).mean(axis=1)[test]))
        right.append(float(np.mean(values)))
    pair("norm that holds the controls tested", wrong, right, 0.85)
    named("norm that holds the controls tested, from the table alone", np.mean(read))


def trap_calibration(seeds):
    """Calibration and threshold learned from the people tested."""
    from sklearn.isotonic import IsotonicRegression

    ranked, chosen, raw, fixed = [], [], [], []
    for seed in range(4 * seeds):
        _, X, y, _, folds = noise(seed, 200, 50)
        for fold in label_scores({"x": X}, y[:, None], folds, **PLAIN):
            score, positive = fold.raw["x"][:, 0], y[fold.test] > 0
            fitted = IsotonicRegression(out_of_bounds="clip").fit(score, positive)
            ranked.append(auc(y[fold.test], fitted.predict(score)))
            raw.append(auc(y[fold.test], score))
            chosen.append(
                max((np.mean(score[positive] > t) + np.mean(score[~positive] <= t)) / 2 for t in score)
            )
            fixed.append((np.mean(score[positive] > 0) + np.mean(score[~positive] <= 0)) / 2)
    pair("isotonic calibration on the people tested", ranked, raw, 0.58)
    pair("threshold chosen on the people tested (balanced accuracy)", chosen, fixed, 0.56)


def intervals(studies):
    """Coverage of intervals, and false differences of two equal models."""
    from scipy.stats import norm

    hit, hits, naive, fair = 0, 0, 0, 0
    rng = np.random.default_rng(0)
    p, D, n = 20, 1.2, 100
    delta = np.full(p, D / np.sqrt(p))
    for _ in range(studies):
        y = np.where(np.arange(n) % 2, 1.0, -1.0)
        X = rng.normal(size=(n, p)) + 0.5 * y[:, None] * delta
        values, others = [], []
        for fold in range(50):
            if fold % 5 == 0:
                # five folds with ten of each class; y alternates
                assigned = np.empty(n, dtype=int)
                assigned[0::2], assigned[1::2] = rng.permutation(n // 2) % 5, rng.permutation(n // 2) % 5
            train, test = np.flatnonzero(assigned != fold % 5), np.flatnonzero(assigned == fold % 5)
            w = X[train][y[train] > 0].mean(0) - X[train][y[train] < 0].mean(0)
            values.append(auc(y[test], X[test] @ w))
            half = [np.r_[0:10], np.r_[10:20]]
            one, two = (auc(y[test], X[test][:, h] @ w[h]) for h in half)
            others.append(one - two)
        # expected AUC of the rule trained on 80 people (finite-sample formula of `neurobraid.synth.cohort`)
        truth = norm.cdf(D**2 / (np.sqrt(2) * np.sqrt(D**2 + 4 * p / 80)))
        values, others = np.array(values), np.array(others)
        found = corrected_interval(values, 0.25)
        hit += found["low"] <= truth <= found["high"]
        first = values[:5]
        hits += abs(first.mean() - truth) <= 1.96 * first.std(ddof=1) / np.sqrt(5)
        fair += corrected_ttest(others, 0.25)["p"] <= 0.05
        naive += abs(others.mean() / (others.std(ddof=1) / np.sqrt(others.size))) > 2.01
    report("fold-SE interval, coverage", hits / studies, "share", "<= 0.85 (false)", hits / studies <= 0.85)
    report("corrected interval, coverage", hit / studies, "share", ">= 0.85", hit / studies >= 0.85)
    report("naive t of equal models", naive / studies, "share", ">= 0.3 (false)", naive / studies >= 0.3)
    report("corrected t of equal models", fair / studies, "share", "<= 0.15", fair / studies <= 0.15)


def missing(options):
    """People without PET: complete cases against late fusion over what is there, judged on people with everything."""
    from neurobraid.prediction.dataset import build
    from neurobraid.prediction.folds import Folds
    from neurobraid.prediction.model import complete
    from neurobraid.prediction.permutation import fold_metric, fold_scores, fuse
    from neurobraid.synth.cohort import make_cohort

    sets = [("fmri", "fmri-rest"), ("pet", "pet"), ("structure", "anat")]
    features = [{"name": name, "modality": [modality]} for name, modality in sets]
    found = {"complete": [], "available": []}
    for seed in range(options.seeds):
        cohort = make_cohort(seed, missing_pet=0.6)
        base = {"name": "m", "table": "cohort", "target": "diagnosis", "features": features}
        data = build(
            cohort.features, cohort.participants, complete({**base, "missing_modality": "available"})
        )
        whole = np.isfinite(data.tables["pet"]).any(axis=1)
        folds = make_folds(data.y, data.groups, kind="classification", site=data.sites, repeats=1, seed=seed)
        less = Folds(folds.outer, [[np.where(whole, inside, -1) for inside in rows] for rows in folds.inner])
        for name, split in (("complete", less), ("available", folds)):
            values = []
            for fold in fold_scores(data.tables, data.y, split, **PLAIN):
                rows = whole[fold.test]
                score = fuse(fold, list(data.tables), data.y[:, None], "classification")[rows]
                values.append(fold_metric(data.y[fold.test[rows]][:, None], score, 0.0, "classification")[0])
            found[name].append(np.nanmean(values))
    gain = np.mean(found["available"]) - np.mean(found["complete"])
    report("60 % without PET, complete cases", np.mean(found["complete"]), "AUC", "for comparison", True)
    report(
        "60 % without PET, fusion over what is there",
        np.mean(found["available"]),
        "AUC",
        "above complete cases",
        gain > 0,
    )


def traps(options):
    """Every leak that belongs to prediction."""
    for trap in (
        trap_selection, trap_visits, trap_sites, trap_forest, trap_age, trap_more, trap_norm, trap_calibration,
    ):  # fmt: skip
        trap(options.seeds)


def speed(options):
    """1,000 permutations with refit at every level of a nested model, 626 people, 6,105 features."""
    _, X, y, names, _ = noise(0, 626, 6105)
    site = (np.arange(626) % 14).astype(str)
    folds = make_folds(y, names, kind="classification", site=site, repeats=1)
    start, clock = time.process_time(), time.time()
    label_test({"fc": X}, y, folds, names, site, count=1000, seed=1, **PLAIN)
    used = time.process_time() - start
    report("1,000 permutations, 626 x 6,105, nested 5 x 5", used, "CPU s", "< 600", used < 600)
    print(f"# wall time {time.time() - clock:.0f} s on a machine that did other things", file=sys.stderr)
    plain = plain_fold(X, y, folds)
    ratio = plain * 5 * 1001 / used
    report(
        "the same through scikit-learn (one fold measured)",
        plain * 5 * 1001 / 3600,
        "h",
        "for comparison",
        True,
    )
    report("ratio to scikit-learn", ratio, "x", ">= 20", ratio >= 20)


def plain_fold(X, y, folds):
    """CPU time of one outer fold of one study through scikit-learn's grid search."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _, _, train, test, _ = next(folds.splits())
    start = time.process_time()
    model = make_pipeline(StandardScaler(), RidgeClassifier())
    search = GridSearchCV(
        model, {"ridgeclassifier__alpha": [6e5, 6e4, 6e3, 6e2, 60]}, cv=5, scoring="roc_auc"
    )
    search.fit(X[train], y[train]).score(X[test], y[test])
    return time.process_time() - start


# ------------------------------------------------------------------ real recordings


def pooled(done, y):
    """Accuracy and mean AUC of held-out scores; zero lies midway between the classes' training means."""
    raw = np.full(y.size, np.nan)
    for fold in done:
        raw[fold.test] = fold.raw["x"][:, 0]
    folds = [auc(y[f.test], f.raw["x"][:, 0]) for f in done]
    return float(np.mean((raw > 0) == (y > 0))), float(np.nanmean(folds))


def abide_series(data):
    from neurobraid.files import read_tsv

    folder = data / "abide-cpac-ho"
    people = read_tsv(folder / "participants.tsv")
    series = [
        np.loadtxt(
            folder / "timeseries" / f"{name}_atlas-HarvardOxford_timeseries.tsv.gz",
            skiprows=1,
            delimiter="\t",
        )
        for name in people["participant_id"]
    ]
    return people, series


def abide_folds(people):
    y = np.where(people["dx_group"].astype(float) == 1, 1.0, -1.0)
    site = people["site"].astype(str).to_numpy()
    names = people["participant_id"].to_numpy(dtype=str)
    ten = make_folds(y, names, kind="classification", site=None, outer=10, inner=5, repeats=1, seed=1)
    loso = make_folds(
        y, site, kind="classification", inner=5, scheme="leave-one-group-out", group_of_site=True
    )
    return y, site, names, ten, loso


def abide(options):
    """Autism from connectivity: 10-fold and leaving sites out."""
    people, series = abide_series(options.data)
    start = time.process_time()
    with np.errstate(invalid="ignore", divide="ignore"):
        X = np.array([np.corrcoef(s.T)[np.triu_indices(s.shape[1], 1)] for s in series])
    X = np.arctanh(np.clip(np.nan_to_num(X), -0.999999, 0.999999))
    y, site, names, ten, loso = abide_folds(people)
    for label, folds, goal in (("10-fold", ten, (0.70, 0.755)), ("sites left out", loso, (0.685, None))):
        accuracy, area = pooled(label_scores({"x": X}, y[:, None], folds, **PLAIN), y)
        report(
            f"ABIDE {label} accuracy", accuracy, "1", f"{goal[0]} +- 0.02", abs(accuracy - goal[0]) <= 0.02
        )
        good = goal[1] is None or abs(area - goal[1]) <= 0.02
        report(f"ABIDE {label} AUC", area, "AUC", f"{goal[1]} +- 0.02" if goal[1] else "for comparison", good)
    found = label_test({"x": X}, y, ten, names, site, count=options.permutations, seed=1, **PLAIN)
    report(
        "ABIDE labels permuted within site, AUC",
        found["null_mean"]["x"],
        "AUC",
        "0.47 to 0.53",
        abs(found["null_mean"]["x"] - 0.5) <= 0.03,
    )
    report(
        f"ABIDE p of {options.permutations} permutations",
        found["p"]["x"],
        "p",
        "the smallest",
        found["p"]["x"] <= 1.01 / (1 + options.permutations),
    )
    report("ABIDE all of this", (time.process_time() - start) / 60, "CPU min", "for comparison", True)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report("ABIDE memory", memory, "MiB", "for comparison", True)


def tangent(options):
    """The same in tangent space, the reference fitted on the training people of every fold."""
    from sklearn.covariance import ledoit_wolf

    people, series = abide_series(options.data)
    constant = np.mean([s.std(axis=0) < 1e-9 for s in series], axis=0)
    keep = constant <= 0.005
    whole = np.array([np.all(s[:, keep].std(axis=0) > 1e-9) for s in series])
    series = [s for s, good in zip(series, whole, strict=True) if good]
    rows, columns = np.triu_indices(int(keep.sum()))

    def covariance(s):
        z = s[:, keep]
        return ledoit_wolf((z - z.mean(0)) / z.std(0))[0][rows, columns]

    X = np.array([covariance(s) for s in series])
    y, _, _, ten, _ = abide_folds(people[whole].reset_index(drop=True))
    raw = np.full(y.size, np.nan)
    areas = []
    start = time.process_time()
    for _, _, train, test, _ in ten.splits():
        step = TangentSpace().fit(X[train])
        Z = step.transform(X)
        one = np.where(np.isin(np.arange(y.size), test), 0, 1)
        part = type(ten)(np.where(one == 0, 0, -1)[None], [[np.where(one == 0, -1, np.arange(y.size) % 5)]])
        score = label_scores({"x": Z}, y[:, None], part, **PLAIN)[0].raw["x"][:, 0]
        raw[test] = score
        areas.append(auc(y[test], score))
    accuracy = float(np.mean((raw > 0) == (y > 0)))
    goal = "0.67 to 0.73"
    report(
        f"ABIDE tangent in fold, {int(keep.sum())} regions, {y.size} people, accuracy",
        accuracy,
        "1",
        goal,
        0.66 <= accuracy <= 0.74,
    )
    report(
        "ABIDE tangent in fold, AUC",
        float(np.mean(areas)),
        "AUC",
        "0.71 to 0.77",
        0.71 <= np.mean(areas) <= 0.78,
    )
    report("ABIDE tangent in fold", (time.process_time() - start) / 60, "CPU min", "for comparison", True)


def series_model(options):
    """The same through the declared model: series as a feature source, the reference a step of its pipeline."""
    import pandas as pd

    from neurobraid.prediction.dataset import build
    from neurobraid.prediction.model import complete, run_folds
    from neurobraid.prediction.sources import series_source

    people, found = abide_series(options.data)
    names = [f"region{k:03d}" for k in range(found[0].shape[1])]
    scans = [
        (name, "", pd.DataFrame(values, columns=names), None)
        for name, values in zip(people["participant_id"], found, strict=True)
    ]
    start = time.process_time()
    record = {"name": "fc", "series": "HarvardOxford", "measure": "tangent"}
    model = complete({
        "name": "abide", "target": "dx_group", "features": [record], "demographics": [], "permutations": 0,
        "repeats": 1,
    })  # fmt: skip
    table = people.assign(dx_group=people["dx_group"].astype(str))
    data = build((), table, model, sources={"fc": series_source(scans, "tangent")})
    outer, inner = getattr(options, "folds", (10, 5))
    folds = make_folds(
        data.y, data.groups, kind="classification", outer=outer, inner=inner, repeats=1, seed=1
    )
    predictions, scores = run_folds(data, folds, model)[:2]
    rows = [(row, value) for name, _, _, row, _, value in predictions if name == "fc"]
    place, probability = map(np.array, zip(*rows, strict=True))
    accuracy = float(np.mean((probability > 0.5) == (data.y[place] > 0)))
    area = float(np.mean([v for name, _, _, metric, v in scores if name == "fc" and metric == "auc"]))
    label = f"ABIDE series as features, {data.y.size} people"
    report(f"{label}, accuracy", accuracy, "1", "0.67 to 0.73", 0.66 <= accuracy <= 0.74)
    report(f"{label}, AUC", area, "AUC", "0.71 to 0.77", 0.71 <= area <= 0.78)
    report(label, (time.process_time() - start) / 60, "CPU min", "for comparison", True)


def fcon(options):
    """Age from morphometry: random folds, sites left out, the site alone, and what the audit says."""
    import pandas as pd

    table = pd.read_csv(options.data / "fcon1000-morphometry" / "fcon1000.csv.gz")
    names = table["sub_id"].astype(str).to_numpy()
    site = np.array([n.split("_sub")[0] for n in names])
    X = (
        table.drop(columns=["sub_id", "age", "sex"])
        .apply(pd.to_numeric, errors="coerce")
        .to_numpy(dtype=float)
    )
    X = X[:, np.isfinite(X).all(axis=0)]
    age = table["age"].to_numpy(dtype=float)
    settings = {**PLAIN, "kind": "regression", "grid": (10.0, 3.0, 1.0, 0.3, 0.1, 0.03)}
    random = make_folds(age, names, kind="regression", outer=10, repeats=1, seed=1)
    loso = make_folds(age, site, kind="regression", inner=5, scheme="leave-one-group-out", group_of_site=True)
    dummies = (site[:, None] == np.unique(site)).astype(float)

    def error(values, folds):
        done = label_scores({"x": values}, age[:, None], folds, **settings)
        predicted = np.empty(age.size)
        for fold in done:
            predicted[fold.test] = fold.raw["x"][:, 0]
        found = regression_metrics(age, predicted, age.mean())
        return found["mae"], found["r2"]

    mae, r2 = error(X, random)
    report("FCON random folds", mae, "MAE years", "about 5.3", 4.8 <= mae <= 5.8)
    alone, site_r2 = error(dummies, random)
    report(
        "FCON the site alone, random folds",
        alone,
        "MAE years",
        "about 5.0 (the random split leaks site)",
        4.5 <= alone <= 5.5,
    )
    report("FCON random folds against the site alone", r2 - site_r2, "R2 gained", "for comparison", True)
    mae, r2 = error(X, loso)
    report("FCON sites left out", mae, "MAE years", "6.5 to 7.3", 6.5 <= mae <= 7.3)
    report("FCON sites left out", r2, "R2", "for comparison", True)
    checks = [
        audit.baseline(
            "site", dummies, age, random, "regression", settings["grid"], "The site tells the age."
        ),
        audit.finding(
            "association",
            "flag" if audit.association(site, age, "regression") > audit.SITE_LIMIT else "ok",
            "",
        ),
    ]
    named("FCON site", float(all(c["status"] == "flag" for c in checks)))
    report(
        "FCON correlation ratio of site and age",
        audit.association(site, age, "regression"),
        "eta",
        "> 0.3",
        True,
    )


def brainage(options):
    """The step brain age on morphometry: sites left out, random folds, the site alone, and the audit's words."""
    import pandas as pd

    table = pd.read_csv(options.data / "fcon1000-morphometry" / "fcon1000.csv.gz")
    names = "sub-" + table["sub_id"].str.replace("[^A-Za-z0-9]", "", regex=True)
    people = pd.DataFrame(
        {
            "participant_id": names,
            "age": table["age"],
            "sex": table["sex"],
            "site": table["sub_id"].str.split("_sub").str[0],
        }
    )
    values = table.drop(columns=["sub_id", "age", "sex", "site"], errors="ignore")
    values = values.apply(pd.to_numeric, errors="coerce").dropna(axis=1).assign(participant_id=names)
    features = values.melt("participant_id", var_name="region").assign(
        session_id=np.nan, modality="morphometry", measure="morphometry", unit="1", coverage=np.nan
    )
    record = {
        "name": "fcon", "features": [{"name": "all", "modality": ["morphometry"]}], "groups": "site",
        "splits": "leave-one-group-out", "permutations": 0,
    }  # fmt: skip
    start = time.process_time()
    summary = fit_brain_age(features, people, complete(record))[3]
    spent = time.process_time() - start
    apart, pool = summary["schemes"]
    report(
        "FCON brain age, sites left out", apart["mae"], "MAE years", "6.5 to 7.3", 6.5 <= apart["mae"] <= 7.3
    )
    report("FCON brain age, sites left out", apart["r2"], "R2", "for comparison", True)
    report("FCON brain age, within site", apart["within_site_r"], "r", "for comparison", True)
    report("FCON brain age, random folds", pool["mae"], "MAE years", "4.8 to 5.8", 4.8 <= pool["mae"] <= 5.8)
    alone = pool["mae_site_mean"]
    report("FCON mean age of the site, random folds", alone, "MAE years", "4.5 to 5.5", 4.5 <= alone <= 5.5)
    flags = set(summary["audit"]["flags"])
    named("FCON brain age: site", float({"site only", "site against brain in random folds"} <= flags))
    report("FCON brain age", spent, "CPU s", "for comparison", True)


def haxby(options):
    """Eight categories from one slice: runs left out whole, and shuffled volumes refused."""
    import nibabel as nib
    import pandas as pd

    folder = options.data / "haxby2001-oneslice" / "sub-1" / "func"
    volumes, blocks = [], []
    for number, path in enumerate(sorted(folder.glob("*_bold.nii*"))):
        series = np.asarray(nib.load(path).dataobj, dtype=np.float64).reshape(-1, 121).T
        t = np.linspace(-1, 1, 121)
        design = np.column_stack([np.ones(121), t, t**2])
        series = series - design @ np.linalg.lstsq(design, series, rcond=None)[0]
        spread = series.std(axis=0)
        volumes.append((series, spread > 1e-9))
        events = pd.read_csv(str(path).split("_bold")[0] + "_events.tsv", sep="\t")
        column = "trial_type" if "trial_type" in events else events.columns[-1]
        first = events.sort_values("onset").groupby(column, sort=False)["onset"].agg(["min", "max"])
        blocks.append((number, first))
    use = np.all([good for _, good in volumes], axis=0)
    X, labels, runs = [], [], []
    for (series, _), (number, first) in zip(volumes, blocks, strict=True):
        z = series[:, use] / series[:, use].std(axis=0)
        when = np.arange(121) * 2.5
        for kind, row in first.iterrows():
            # labels of the source have the haemodynamic delay in them already
            inside = (when >= row["min"]) & (when < row["max"] + 22.5)
            X.append(z[inside])
            labels += [kind] * int(inside.sum())
            runs += [f"{number + 1:02d}"] * int(inside.sum())
    X, labels, runs = np.concatenate(X), np.array(labels, dtype=str), np.array(runs, dtype=str)
    means, kinds, of_run = block_means(X, labels, runs)
    each, whole = group_folds(runs), group_folds(of_run)
    found = decode(X, labels, runs, each, estimator="ridge")["accuracy"]
    report(
        f"Haxby volumes, {X.shape[1]} voxels, ridge, runs left out",
        found,
        "1",
        "0.65 +- 0.03",
        abs(found - 0.65) <= 0.03,
    )
    for estimator in ("ridge", "svm"):
        found = decode(means, kinds, of_run, whole, estimator=estimator)["accuracy"]
        report(f"Haxby block averages, {estimator}", found, "1", "about 0.82", 0.77 <= found <= 0.87)
        start = time.process_time()
        chosen = decode(means, kinds, of_run, whole, estimator=estimator, features="inner")
        report(
            f"Haxby block averages, {estimator}, voxels chosen and counted by inner runs",
            chosen["accuracy"],
            "1",
            "0.90 to 0.96",
            0.90 <= chosen["accuracy"] <= 0.96,
        )
        report(f"Haxby the same, {estimator}", time.process_time() - start, "CPU s", "for comparison", True)
    found = decode(
        center_groups(means, of_run), kinds, of_run, whole, estimator="ridge", features="inner", scale=True
    )["accuracy"]
    report("Haxby the same as the workflow does it, scaled by noise", found, "1", ">= 0.90", found >= 0.90)
    two = np.isin(kinds, ["face", "house"])
    found = decode(
        means[two], kinds[two], of_run[two], group_folds(of_run[two]), estimator="ridge", features="inner"
    )["accuracy"]
    report("Haxby face against house, block averages", found, "1", "1.00", found == 1)
    alone = np.arange(runs.size).astype(str)
    rng = np.random.default_rng(0)
    shuffled = make_folds(rng.normal(size=runs.size), alone, kind="regression", outer=12, inner=2, repeats=1)
    found = decode(X, labels, alone, shuffled, estimator="ridge")["accuracy"]
    report("Haxby shuffled volumes, wrong way", found, "1", ">= 0.70 (false)", found >= 0.70)
    try:
        decode(X, labels, runs, shuffled, estimator="ridge")
        refused = 0.0
    except InputError as error:
        refused = 1.0
        print(f"# {error}", file=sys.stderr)
    report("Haxby shuffled volumes are refused", refused, "1", "1", refused == 1)
    haxby_searchlight(means, kinds, of_run, use)


def haxby_searchlight(X, labels, runs, use):
    """Time of the searchlight against nilearn's, on the same spheres and folds."""
    import warnings

    import nibabel as nib
    from nilearn.decoding import SearchLight
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import LeaveOneGroupOut

    mask, size = use.reshape(40, 20, 1), np.array([3.1, 3.75, 3.75])
    centred = center_groups(X, runs)
    start = time.process_time()
    own, _ = searchlight(centred, labels, runs, np.argwhere(mask) * size, radius=9.0)
    spent = time.process_time() - start
    volume = np.zeros((*mask.shape, len(X)))
    volume[mask] = centred.T
    affine = np.diag([*size, 1.0])
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = SearchLight(
            nib.Nifti1Image(mask.astype(np.int8), affine), radius=9.0, estimator=RidgeClassifier(),
            cv=LeaveOneGroupOut(), n_jobs=1,
        )  # fmt: skip
        other.fit(nib.Nifti1Image(volume, affine), labels, groups=runs)
    ratio = (time.process_time() - start) / spent
    report("Haxby searchlight, best sphere", own.max(), "1", ">= 0.5", own.max() >= 0.5)
    agree = np.corrcoef(own, other.scores_[mask])[0, 1]
    report("Haxby searchlight against nilearn's", agree, "r", ">= 0.9", agree >= 0.9)
    report("Haxby searchlight, nilearn's time over ours", ratio, "x", ">= 5", ratio >= 5)


def mc1(options):
    """PET and MRI before and after a drug, and twice without: the whole workflow on tables, target the session."""
    import subprocess
    import tempfile

    from neurobraid.files import read_json, read_tsv

    example = ROOT / "config/examples/petprep-tables"
    source = options.data / "ds004869-pet-mc1"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all", "--snakefile", ROOT / "Snakefile",
                "--directory", folder, "--configfile", example / "config.yaml", example / "prediction.yaml",
                # the blood of one scan runs backwards in time
                "--config", f"bids={source}", f"adopt={{petprep: {source}/derivatives/petprep}}",
                "index={exclude: [sub-13_ses-retest]}", "--", "prediction",
            ],
            check=True, cwd=ROOT,
        )  # fmt: skip
        group = Path(folder) / "results/derivatives/group"
        found = {name: read_json(group / f"model-{name}_summary.json") for name in ("drug", "order")}
        folds = {name: read_tsv(group / f"model-{name}_folds.tsv") for name in found}
    for name, summary in found.items():
        people, p = summary["participants"], summary["permutation"]["p"]
        report(f"mc1 {name}: people, a demonstration", people, "people", "6 and 10", people in (6, 10))
        for part in ("cortex", "vt", "fused", "volumes", "demographics"):
            value = summary["metrics"][part]["auc"]
            low, high = max(value["low"], 0), min(value["high"], 1)
            goal, good = ("reported", True)
            if part in ("volumes", "demographics"):
                goal, good = "0.5 exactly", value["mean"] == 0.5
            elif part == "cortex":
                # published: the ratio is down in everybody, and the same at test and retest
                goal, good = (
                    ("1", value["mean"] == 1)
                    if name == "drug"
                    else ("0.2 to 0.8", 0.2 <= value["mean"] <= 0.8)
                )
            report(f"mc1 {name}: {part}, leave one person out", value["mean"], "AUC", goal, good)
            report(f"mc1 {name}: {part}, 95 % interval from", low, "AUC", "reported", True)
            report(f"mc1 {name}: {part}, 95 % interval to", high, "AUC", "reported", True)
            if part in p:
                report(f"mc1 {name}: {part}, labels moved within a person", p[part], "p", "reported", True)
        torn = folds[name].groupby(["repeat", "fold", "participant_id"])["role"].nunique().gt(1).sum()
        report(f"mc1 {name}: pairs of visits on both sides", torn, "pairs", "0", torn == 0)


PARTS = {
    "traps": traps,
    "intervals": lambda options: intervals(options.studies),
    "missing": missing,
    "speed": speed,
    "abide": abide,
    "tangent": tangent,
    "series": series_model,
    "fcon": fcon,
    "brainage": brainage,
    "haxby": haxby,
    "mc1": mc1,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated; default all")
    parser.add_argument("--data", type=Path, default=None, help="folder of real recordings")
    parser.add_argument("--seeds", type=int, default=20, help="studies per trap")
    parser.add_argument("--studies", type=int, default=150, help="studies for intervals")
    parser.add_argument("--permutations", type=int, default=199, help="permutations on ABIDE")
    options = parser.parse_args()
    options.data = options.data or Path(os.environ.get("NEUROBRAID_DATA", ROOT.parent / "shared" / "data"))
    for name in options.parts.split(","):
        if (
            name in ("abide", "tangent", "series", "fcon", "brainage", "haxby", "mc1")
            and not options.data.is_dir()
        ):
            print(f"{name}\tleft out: give --data or set NEUROBRAID_DATA", file=sys.stderr)
            continue
        PARTS[name](options)


if __name__ == "__main__":
    main()
