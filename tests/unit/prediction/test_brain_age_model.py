"""Brain age as a step: planted gaps recovered, noise never made to look accurate, sites and visits told apart."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError, InputErrors
from neurobraid.files import read_json, read_tsv
from neurobraid.prediction.brain_age_model import CONTROL, complete, fit_brain_age, write_brain_age
from neurobraid.prediction.kernels import GaussianProcessPath, KernelRidgePath
from neurobraid.prediction.reliability import bands, icc, within_person_slope

FEATURES = [{"name": "thickness", "modality": ["thickness"]}]


def study(n=300, gap=6.0, signal=0.5, sites=1, visits=1, seed=0, regions=15):
    """Fusion table and participants; every third person is a patient whose brain is `gap` years older."""
    rng = np.random.default_rng(seed)
    site = rng.integers(0, sites, n)
    age = rng.uniform(20, 80, n)
    patient = np.arange(n) % 3 == 0
    names = np.array([f"sub-{k:04d}" for k in rng.permutation(n)])
    people = pd.DataFrame(
        {
            "participant_id": names,
            "age": age,
            "sex": np.where(rng.random(n) < 0.5, "F", "M"),
            "site": [f"s{k}" for k in site],
            "diagnosis": np.where(patient, "patient", "control"),
        }
    )
    load, rows, ages = rng.normal(size=regions), [], []
    person = 0.8 * rng.normal(size=(n, regions))
    for visit in range(visits):
        brain = (age + gap * patient + 2 * visit - 50) / 17
        X = signal * brain[:, None] * load + person + 0.6 * rng.normal(size=(n, regions))
        session = f"ses-{visit + 1}" if visits > 1 else np.nan
        for k in range(regions):
            rows.append(
                pd.DataFrame(
                    {
                        "participant_id": names,
                        "session_id": session,
                        "region": f"r{k:02d}",
                        "modality": "thickness",
                        "measure": "thickness",
                        "value": X[:, k],
                        "unit": "mm",
                        "coverage": np.nan,
                        "source": "x",
                    }
                )
            )
        ages.append(pd.DataFrame({"participant_id": names, "session_id": session, "age": age + 2 * visit}))
    return pd.concat(rows, ignore_index=True), people, pd.concat(ages, ignore_index=True)


def record(**changes):
    base = {"name": "x", "features": FEATURES, "permutations": 199}
    return complete({**base, **changes}, seed=1)


PATIENTS = {"column": "diagnosis", "value": "control"}


@pytest.fixture(scope="module")
def planted():
    features, people, _ = study(sites=3)
    model = record(controls=PATIENTS)
    return *fit_brain_age(features, people, model), people


def test_a_planted_gap_is_found_by_models_of_controls_only(planted):
    table, folds, _, summary, _ = planted
    assert (
        len(table) == 300
        and summary["controls"] == 200
        and summary["groups"] == {CONTROL: 200, "patient": 100}
    )
    test = next(t for t in summary["gap_tests"] if t["term"] == "patient against controls")
    # the correction of Cole keeps the size of the effect, the raw gap shrinks it
    assert test["cole"]["estimate_years"] == pytest.approx(6.0, abs=2.5 * test["cole"]["se_years"])
    assert test["raw"]["estimate_years"] < test["cole"]["estimate_years"]
    assert test["cole"]["p"] == 1 / 200 and test["group_people"] == 100
    sex = next(t for t in summary["gap_tests"] if t["term"].startswith("sex"))
    assert sex["delange"]["p"] > 0.01
    # nobody is trained on and tested in one fold, and the line of every fold is one line
    both = folds[folds["role"] == "test"].groupby("participant_id")["fold"].nunique()
    assert (both == 1).all()
    assert (table.groupby("fold")["bias_slope"].nunique() == 1).all()
    assert summary["bias_line"]["slope"] < 1
    controls = table[table["group"] == CONTROL]
    raw, fixed = (
        abs(np.corrcoef(controls["age_years"], controls[f"gap_{k}_years"])[0, 1]) for k in ("raw", "delange")
    )
    assert raw > 0.4 and fixed < 0.15


def test_accuracy_is_that_of_raw_predictions_of_controls(planted):
    table, _, _, summary, _ = planted
    controls = table[table["group"] == CONTROL]
    error = (controls["predicted_age_years"] - controls["age_years"]).abs().mean()
    assert summary["accuracy"]["mae"] == pytest.approx(error)
    assert summary["accuracy"]["mae"] < 0.8 * summary["accuracy"]["mae_mean_age"]
    assert {s["scheme"] for s in summary["schemes"]} == {"kfold", "leave-one-site-out"}


def numbers(content):
    """Every number of a JSON, whatever its depth."""
    if isinstance(content, dict):
        return [v for value in content.values() for v in numbers(value)]
    if isinstance(content, list):
        return [v for value in content for v in numbers(value)]
    return [float(content)] if isinstance(content, int | float) and not isinstance(content, bool) else []


def test_noise_looks_accurate_after_correction_and_no_output_says_so(tmp_path):
    features, people, _ = study(signal=0.0, gap=0.0)
    features.to_csv(tmp_path / "features.tsv", sep="\t", index=False, na_rep="n/a")
    people.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    keys = [k for base in ("table", "folds", "patterns") for k in (base, f"{base}_json")]
    outputs = {k: tmp_path / f"{k}.{'json' if k.endswith('json') else 'tsv'}" for k in keys}
    outputs["summary"] = tmp_path / "summary.json"
    wanted = {"name": "noise", "features": FEATURES, "controls": PATIENTS, "permutations": 19}
    write_brain_age(tmp_path / "features.tsv", tmp_path / "participants.tsv", wanted, outputs)
    table, summary = read_tsv(outputs["table"]), read_json(outputs["summary"])
    assert summary["accuracy"]["r2"] < 0.05
    # what must not be said: raw prediction plus correction, held against the true age
    for use in (table["group"] == CONTROL, table["group"] != ""):
        age, corrected = (
            table.loc[use, "age_years"],
            table.loc[use, "age_years"] + table.loc[use, "gap_delange_years"],
        )
        r2 = 1 - np.sum((age - corrected) ** 2) / np.sum((age - age.mean()) ** 2)
        r = np.corrcoef(age, corrected)[0, 1]
        assert r2 > 0.8
        for forbidden in (r2, r, r**2, np.mean(np.abs(age - corrected))):
            assert np.min(np.abs(np.array(numbers(summary)) - forbidden)) > 1e-4
    assert not [c for c in table if re.search("corrected|predicted", c) and c != "predicted_age_years"]
    assert "r2" not in json.dumps(summary["gap_tests"])
    # the same bytes again
    before = {k: p.read_bytes() for k, p in outputs.items()}
    write_brain_age(tmp_path / "features.tsv", tmp_path / "participants.tsv", wanted, outputs)
    assert before == {k: p.read_bytes() for k, p in outputs.items()}


def test_a_site_that_tells_the_age_is_flagged():
    rng = np.random.default_rng(3)
    features, people, _ = study(n=240, gap=0, sites=6)
    site = people["site"].str[1:].astype(int)
    moved = people.assign(age=20 + 9 * site + rng.uniform(0, 6, 240))
    # every feature tells the site, none the age
    code = people.set_index("participant_id")["site"].str[1:].astype(int)
    features["value"] = code.loc[features["participant_id"]].to_numpy() + rng.normal(size=len(features))
    summary = fit_brain_age(features, moved, record(permutations=0))[3]
    flags = summary["audit"]["flags"]
    assert {"site only", "association of site and age", "site against brain in random folds"} <= set(flags)
    pool = next(s for s in summary["schemes"] if s["scheme"] == "kfold")
    assert pool["mae_site_mean"] < pool["mae"] * 1.1 and abs(pool["within_site_r"]) < 0.2


def test_visits_give_agreement_and_a_slope(tmp_path):
    features, people, ages = study(visits=2, gap=0, signal=1.0)
    ages.to_csv(tmp_path / "ages.tsv", sep="\t", index=False)
    model = record(rows="visit", visits=str(tmp_path / "ages.tsv"), permutations=0)
    table, _, _, summary = fit_brain_age(features, people, model)
    assert len(table) == 600
    # visits of a person are never apart
    assert (table.groupby("participant_id")["fold"].nunique() == 1).all()
    retest = summary["retest"]
    assert retest["people"] == 300 and 0.2 < retest["icc"]["gap_delange"]["consistency"] < 1
    assert retest["icc"]["predicted_age"]["consistency"] > retest["icc"]["gap_raw"]["consistency"]
    slope = retest["within_person_slope"]
    assert 0.3 < slope["slope"] < 1.2 and slope["low"] > 0
    ages.iloc[1:].to_csv(tmp_path / "ages.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="an age for every visit"):
        fit_brain_age(features, people, model)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"covariates": ["age"]}, "columns other than the age"),
        ({"estimator": "forest"}, "kernel-ridge"),
        ({"confounds": ["age"], "splits": "shuffled"}, "leave-one-group-out"),
        ({"features": []}, "name the features"),
    ],
)
def test_bad_records_are_refused_at_once(changes, words):
    with pytest.raises(InputErrors, match=words):
        record(**changes)


def test_bad_tables_are_refused():
    features, people, _ = study(n=60)
    coded = people.assign(diagnosis=np.where(people["diagnosis"] == "patient", 1.0, 0.0))
    coded.loc[0, "diagnosis"] = np.nan
    known = record(controls={"column": "diagnosis", "value": "0"}, min_participants=6, permutations=0)
    groups = fit_brain_age(features, coded, known)[3]["groups"]
    assert set(groups) == {CONTROL, "1", "n/a"} and groups["n/a"] == 1
    with pytest.raises(InputError, match="name a value of the column"):
        fit_brain_age(features, people, record(controls={"column": "diagnosis", "value": "healthy"}))
    with pytest.raises(InputError, match="covariates"):
        fit_brain_age(features, people, record(covariates=["smoking"]))
    summary = fit_brain_age(features, people, record(min_participants=100))[3]
    assert summary["status"] == "UNAVAILABLE" and "min_participants" in summary["reason"]
    split = people.assign(site=np.where(people["diagnosis"] == "patient", "s1", "s2"))
    apart = fit_brain_age(features, split, record(controls=PATIENTS, min_participants=20))[3]
    assert apart["gap_tests"] == [] and "holds one group only" in apart["gap_tests_reason"]
    few = people.assign(age=30.0)
    assert fit_brain_age(features, few, record())[3]["status"] == "UNAVAILABLE"


def test_kernels_learn_a_curve_that_a_line_cannot():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3)) / np.sqrt(3)
    y = 50 + 10 * np.abs(X[:, 0]) * 3 + rng.normal(size=300)
    train, test = slice(0, 200), slice(200, 300)
    for learner in (KernelRidgePath(), GaussianProcessPath()):
        found = learner.fit(X[train], y[train]).scores(X[test])
        assert found.shape == (100, len(learner.grid))
        best = np.min(np.mean((found - y[test, None]) ** 2, axis=0))
        assert best < 0.35 * np.var(y[test])
    spread = GaussianProcessPath().fit(X[train], y[train]).deviation(np.vstack([X[test], X[test] + 20]))
    assert spread[100:].min() > spread[:100].mean()


def test_the_gaussian_process_equals_its_textbook_form():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    rng = np.random.default_rng(1)
    X, new = rng.normal(size=(60, 4)), rng.normal(size=(9, 4))
    y = X[:, 0] ** 2 + 0.3 * rng.normal(size=60)
    ours = GaussianProcessPath(((1.0, 1.0),)).fit(X, y)
    _, _, noise, signal = ours.kernel_
    kernel = ConstantKernel(signal) * RBF(np.sqrt(ours.unit_)) + WhiteKernel(signal * noise)
    theirs = GaussianProcessRegressor(kernel, optimizer=None).fit(X, y - y.mean())
    mean, sd = theirs.predict(new, return_std=True)
    np.testing.assert_allclose(ours.scores(new)[:, 0], mean + y.mean(), rtol=1e-8)
    np.testing.assert_allclose(ours.deviation(new), sd, rtol=1e-6)


def test_agreement_of_visits_on_planted_truth():
    rng = np.random.default_rng(0)
    true = rng.normal(size=4000)
    first, second = (true + rng.normal(size=4000) / np.sqrt(3) for _ in range(2))
    found = icc(first, second + 1)
    assert found["consistency"] == pytest.approx(0.75, abs=0.02)
    assert found["low"] < 0.75 < found["high"] and found["agreement"] < 0.6
    assert np.isnan(icc(first[:2], second[:2])["consistency"])
    people, time = np.repeat(np.arange(50), 3).astype(str), np.tile([0.0, 1.0, 3.0], 50)
    value = 0.7 * time + np.repeat(rng.normal(size=50), 3) + 0.1 * rng.normal(size=150)
    slope = within_person_slope(people, time, value)
    assert slope["low"] < 0.7 < slope["high"] and slope["high"] - slope["low"] < 0.1
    by = bands(time, {"v": value}, 3)
    assert sum(b["people"] for b in by) == 150
