"""Importance and null patterns on planted truth: what carries the effect is found, what does not is not."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.files import read_json, read_tsv, write_tsv
from neurobraid.images.io import load, save
from neurobraid.prediction import importance
from neurobraid.prediction.dataset import build
from neurobraid.prediction.estimators import ridge_path
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.importance import Importance, groups_of, null_patterns, parts_of
from neurobraid.prediction.maps import paint, region_values, write_map
from neurobraid.prediction.model import complete, fit_model, main_set, run_folds
from neurobraid.prediction.steps import prepare
from neurobraid.reports.study import main_set as main_shown
from neurobraid.synth.cohort import make_cohort

SETS = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]


def model(**changes):
    base = {"name": "m", "table": "cohort", "target": "diagnosis", "permutations": 0, "repeats": 1}
    return complete({**base, "features": SETS, **changes})


def tidy(values, modality, names, unit="1"):
    """Fusion table of one modality from an array, (people, regions)."""
    people, count = values.shape
    return pd.DataFrame(
        {
            "participant_id": np.repeat([f"sub-{k:03d}" for k in range(people)], count),
            "session_id": np.nan,
            "region": np.tile(names, people),
            "modality": modality,
            "measure": "m",
            "value": values.ravel(),
            "unit": unit,
            "coverage": 1.0,
        }
    )


def planted(seed=0, people=200, effect=0.9):
    """Regions a and b are near copies that carry the effect, c carries it alone, d to j carry nothing."""
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(people) % 2, 1.0, -1.0)
    X = rng.normal(size=(people, 10))
    X[:, 0] += effect * y
    X[:, 1] = X[:, 0] + 0.1 * rng.normal(size=people)
    X[:, 2] += 0.5 * effect * y
    table = tidy(X, "pet", list("abcdefghij"))
    persons = pd.DataFrame(
        {
            "participant_id": [f"sub-{k:03d}" for k in range(people)],
            "diagnosis": np.where(y > 0, "patient", "control"),
            "site": np.where(np.arange(people) % 4 < 2, "s1", "s2"),
            "score": 3 * X[:, 0] + X[:, 2] + rng.normal(size=people),
        }
    )
    return table, persons


def fit(table, persons, **changes):
    base = {"features": [{"name": "pet", "modality": ["pet"]}], "demographics": []}
    return fit_model(table, persons, model(**{**base, **changes}))


def drops(result, level="region", column="drop"):
    table = result.extra["importance"]
    part = table[table["level"] == level]
    return part.set_index(["feature_set", "name"])[column]


def test_names_of_features_give_their_groups():
    assert parts_of("fmri-rest connectivity Vis--Vis")[2] == ("Vis",)
    names = {"fmri": ["fmri-rest c A--B", "fmri-rest c B--C"], "pet": ["pet BPND A", "pet BPND D"]}
    found = {
        (g[0], g[1], g[2]): g[3] for g in groups_of(names, {"A": "one", "B": "one", "C": "two", "D": "n/a"})
    }
    assert found["region", "fmri", "A"]["fmri"].tolist() == [0]
    # B has a part in every edge of its set: it is that set
    assert ("region", "fmri", "B") not in found
    assert {k: v.tolist() for k, v in found["region", "all", "A"].items()} == {"fmri": [0], "pet": [0]}
    assert found["network", "fmri", "two"]["fmri"].tolist() == [1]
    assert not any(key[2] == "n/a" for key in found)


def test_what_carries_the_effect_costs_the_score_and_the_rest_does_not():
    result = fit(*planted(), importance={"conditional": True, "nulls": 0})
    marginal, given = drops(result)["pet"], drops(result, column="conditional_drop")["pet"]
    whole = drops(result, "modality")["pet", "pet"]
    auc = result.summary["metrics"]["pet"]["auc"]["mean"]
    assert whole == pytest.approx(auc - 0.5, abs=0.06)
    assert marginal[["a", "b", "c"]].min() > 3 * marginal[list("defghij")].abs().max()
    # a says nothing that b does not say; c does
    assert given[["a", "b"]].max() < 0.2 * marginal[["a", "b"]].min()
    assert given["c"] == pytest.approx(marginal["c"], abs=0.02)
    table = result.extra["importance"].set_index(["level", "name"])
    assert table.loc[("region", "c"), "low"] > 0
    assert (table.loc[[("region", k) for k in "defghij"], "low"] < 0).all()


def test_permutations_stay_within_sites():
    """A feature that is the site: permuted within sites, nothing changes."""
    table, persons = planted()
    site = (persons["site"] == "s1").to_numpy(dtype=float)
    persons["diagnosis"] = np.where(np.arange(len(persons)) % 10 < 8, np.where(site > 0, "patient", "control"),
                                    np.where(site > 0, "control", "patient"))  # fmt: skip
    rows = table["region"] == "d"
    table.loc[rows, "value"] = site
    result = fit(table, persons, importance={"nulls": 0})
    assert result.summary["metrics"]["pet"]["auc"]["mean"] > 0.7
    assert drops(result)["pet", "d"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"missing_modality": "available"},
        {"missing_modality": "impute", "harmonize": {"covariates": ["age"]}, "confounds": ["age"]},
        {"fusion": ["early"]},
        {"kind": "regression", "target": "score", "missing_modality": "available"},
        {"kind": "regression", "target": "score", "missing_modality": "available", "fusion": ["stacking"]},
        {"estimator": "kernel-sum", "missing_modality": "available", "fusion": ["stacking", "early"]},
        {"estimator": "kernel-sum", "kernels": ["rbf"], "fusion": ["stacking"], "grid": [1.0]},
        {"estimator": "svm", "grid": [0.1], "folds": {"outer": 3, "inner": 2}},
    ],
)
def test_partial_scores_are_the_permuted_tables_scored_again(changes, monkeypatch):
    cohort = make_cohort(3, people=80, missing_pet=0.3)
    settings = model(**changes, importance={"repeats": 3, "conditional": True})
    data = build(cohort.features, cohort.participants, settings)
    folds = make_folds(
        data.y, data.groups, kind=settings["kind"], outer=settings["folds"]["outer"],
        inner=settings["folds"]["inner"], repeats=1,
    )  # fmt: skip
    networks = {"Vis": "one", "SomMot": "one", "LH_Region01": "two", "RH_Region01": "two"}

    def run():
        watch = Importance(data, settings, networks)
        scores = run_folds(data, folds, settings, watch)[1]
        return watch.table(folds.test_share), scores

    fast, scores = run()
    monkeypatch.setattr(importance, "linear_weights", lambda *_: None)
    slow, _ = run()
    numbers = ["drop", "low", "conditional_drop", "conditional_high"]
    np.testing.assert_allclose(
        fast.sort_values(["level", "feature_set", "name"])[numbers],
        slow.sort_values(["level", "feature_set", "name"])[numbers],
        atol=1e-9,
    )
    assert fast["drop"].notna().all()
    assert {"modality", "network", "region"} == set(fast["level"])
    # the score that is permuted is the score of the model
    main = main_set({name: 0 for name, *_ in scores}, settings)
    metric = "r2" if settings["kind"] == "regression" else "auc"
    own = [s[4] for s in scores if s[0] == main and s[3] == metric]
    watch = Importance(data, settings)
    watch._metric = lambda train, test, scores, known, calibrator: seen.append(
        Importance._metric(watch, train, test, scores, known, calibrator)
    ) or np.zeros(scores.shape[1])  # fmt: skip
    seen = []
    run_folds(data, folds, settings, watch)
    np.testing.assert_allclose([v[0] for v in seen if v.size == 1], own, atol=1e-9)


def test_a_sum_of_linear_kernels_rests_on_what_ridge_rests_on():
    """The same model in another form: its features are permuted, not its similarities to training people."""
    table, persons = planted(people=80)
    few = {"importance": {"repeats": 3, "nulls": 0}, "folds": {"outer": 3, "inner": 2}}
    ridge, kernels = (drops(fit(table, persons, estimator=name, **few)) for name in ("ridge", "kernel-sum"))
    assert ridge["pet", "a"] > 0.02
    np.testing.assert_allclose(kernels.loc[ridge.index], ridge, atol=1e-9)


@pytest.mark.parametrize(
    ("fusion", "main", "permuted"),
    [
        (["stacking"], "stacking", "stacking"),
        (["stacking", "early"], "early", "early"),
        (["mcca", "pls"], "mcca", "fused"),
    ],
)
def test_the_model_stands_for_the_fusion_that_it_asks_for(fusion, main, permuted):
    cohort = make_cohort(1, people=60)
    few = {"repeats": 1, "nulls": 0}
    settings = model(fusion=fusion, importance=few, folds={"outer": 2, "inner": 2}, demographics=["age"])
    found = fit_model(cohort.features, cohort.participants, settings).summary
    assert found["main_set"] == main
    assert found["importance"]["feature_set"] == permuted
    assert found["comparisons"][0]["first"] == main
    assert main_shown(found) == main


def test_no_repeats_and_the_same_seed():
    cohort = make_cohort(4, people=60)
    none = fit_model(cohort.features, cohort.participants, model(importance={"repeats": 0, "nulls": 0}))
    assert none.extra["importance"]["drop"].isna().all()
    assert none.extra["pattern"]["p"].isna().all()
    assert none.summary["patterns"]["pet"]["nulls"] == 0
    assert "not reliable" in none.summary["importance"]["note"]
    settings = model(importance={"repeats": 3, "nulls": 9})
    first, second = (fit_model(cohort.features, cohort.participants, settings).extra for _ in range(2))
    for key in first:
        pd.testing.assert_frame_equal(first[key], second[key])


PLAIN = {"confounds": 0, "grid": (10.0, 0.1), "kind": "classification", "min_present": 0.5}


def test_the_first_pattern_is_that_of_the_real_labels():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 60)), np.where(np.arange(40) % 2, 1.0, -1.0)
    names = np.arange(40).astype(str)
    folds = make_folds(y, names, kind="classification", outer=3, inner=2, repeats=1)
    _, _, train, _, inside = next(folds.splits())
    found = importance._fold_patterns(
        X, y[:, None], train, inside, 0, 0, (1.0,), "classification", 0.5, None, False
    )
    Z, _ = prepare(X[train], X[train], 0, 0.5)
    weights, intercept = ridge_path(Z, y[train], (1.0,))
    score = (Z @ weights + intercept)[:, 0]
    expected = [np.corrcoef(Z[:, k], score)[0, 1] for k in range(60)]
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-10)


def test_null_patterns_are_even_under_the_null_and_find_the_planted_feature():
    p, least, fwe = [], [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        # correlated features of very different spread
        X = rng.normal(size=(60, 12)) @ rng.normal(size=(12, 12)) * np.exp(rng.normal(size=12))
        y = np.where(rng.permutation(60) % 2, 1.0, -1.0)
        names, site = np.arange(60).astype(str), (np.arange(60) % 2).astype(str)
        folds = make_folds(y, names, kind="classification", outer=3, inner=2, repeats=1, seed=seed)
        found = null_patterns({"x": X}, y, folds, names, site, count=49, seed=seed, **PLAIN)["x"]
        p.extend(found["p"])
        least.append(np.min(found["p_fwe"]))
        X[:, 3] = X[:, 3] / X[:, 3].std() + 1.2 * y
        fwe.append(
            null_patterns({"x": X}, y, folds, names, site, count=49, seed=seed, **PLAIN)["x"]["p_fwe"][3]
        )
    assert np.mean(np.array(p) <= 0.05) < 0.12
    assert np.mean(np.array(least) <= 0.05) <= 0.2
    assert np.mean(np.array(fwe) <= 0.05) >= 0.8


def test_folds_agree_on_patterns_of_shuffled_labels_too():
    """Stability over folds means little by itself: folds share most of their people."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(80, 30)), np.where(np.arange(80) % 2, 1.0, -1.0)
    names, blocks = np.arange(80).astype(str), np.full(80, "all")
    folds = make_folds(y, names, kind="classification", repeats=1)
    found = null_patterns({"x": X}, y, folds, names, blocks, count=99, seed=0, **PLAIN)["x"]
    assert found["stability"] > 0.4 and found["null_stability"] > 0.4 and found["stability_p"] > 0.05
    X[:, :3] += y[:, None]
    found = null_patterns({"x": X}, y, folds, names, blocks, count=99, seed=0, **PLAIN)["x"]
    assert found["stability"] > found["null_stability"] and found["stability_p"] <= 0.05
    fixed = null_patterns({"x": X}, y, folds, names, names, count=9, seed=0, **PLAIN)["x"]
    assert np.isnan(fixed["p"]).all()


def test_patterns_are_painted_into_the_regions_of_the_atlas(tmp_path):
    labels = np.zeros((7, 8, 9), np.int32)
    labels[1:3, 2, 3], labels[4, 5, 6], labels[5, 5, 6] = 300, 12, 7
    regions = pd.DataFrame(
        {
            "index": [300, 12, 7], "name": ["B", "A", "C"], "network": ["one", "two", "one"],
            "x": 0.0, "y": 0.0, "z": 0.0,
        }
    )  # fmt: skip
    rows = [("pet", "pet", "BPND", "A", 0.5), ("pet", "pet", "BPND", "B", -0.2),
            ("fc", "fmri-rest", "c", "A--B", 0.4), ("fc", "fmri-rest", "c", "B--C", 0.1),
            ("nets", "fmri-rest", "n", "one--one", 0.7), ("other", "blood", "m", "amyloid", 0.9)]  # fmt: skip
    pattern = pd.DataFrame(rows, columns=["feature_set", "modality", "measure", "region", "pattern"])
    pattern["p_fwe"] = [0.01, 0.5, 0.2, np.nan, 0.3, 0.1]
    drop = pd.DataFrame(
        {"level": "region", "feature_set": "pet", "name": ["A", "B"], "drop": [0.1, 0.0], "features": 1}
    )
    found = region_values(pattern, drop, regions)
    values = {
        k: part.set_index("name")["value"].to_dict()
        for k, part in found.groupby(["feature_set", "statistic"])
    }
    assert values["pet", "pattern"] == pytest.approx({"B": -0.2, "A": 0.5, "C": np.nan}, nan_ok=True)
    assert values["fc", "pattern"] == pytest.approx({"B": 0.25, "A": 0.4, "C": 0.1})
    assert values["nets", "pattern"] == pytest.approx({"B": 0.7, "A": np.nan, "C": 0.7}, nan_ok=True)
    assert values["pet", "drop"] == pytest.approx({"B": 0.0, "A": 0.1, "C": np.nan}, nan_ok=True)
    assert "other" not in set(found["feature_set"]), "a feature without a place is not painted"
    assert found[(found["feature_set"] == "fc") & (found["name"] == "B")]["p_fwe"].item() == pytest.approx(
        0.2
    )
    volume = found[(found["feature_set"] == "fc")]["volume"].iloc[0]
    image = paint(found, labels)
    assert image[1, 2, 3, volume] == pytest.approx(0.25)
    assert image[4, 5, 6, volume] == pytest.approx(0.4)
    assert np.isnan(image[0, 0, 0]).all()
    paths = {}
    for name, table in (("pattern", pattern), ("importance", drop), ("regions", regions)):
        paths[name] = tmp_path / f"{name}.tsv"
        write_tsv(table, paths[name])
    save(labels, np.eye(4), tmp_path / "atlas.nii.gz", dtype=np.int32)
    outputs = {"map": tmp_path / "o.nii.gz", "sidecar": tmp_path / "o.json", "table": tmp_path / "t.tsv",
               "table_json": tmp_path / "t.json"}  # fmt: skip
    write_map(paths["pattern"], paths["importance"], tmp_path / "atlas.nii.gz", paths["regions"], outputs)
    assert load(outputs["map"]).shape == (7, 8, 9, 4)
    listed = read_json(outputs["sidecar"])["Volumes"]
    assert [v["Statistic"] for v in listed] == ["pattern", "pattern", "pattern", "drop"]
    assert len(read_tsv(outputs["table"])) == 12
