"""Response and prognosis: planted effects are found, regression to the mean is not taken for one, nulls are nulls."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.outcome import (
    CONTRAST_COLUMNS,
    OUTCOME,
    PEOPLE_COLUMNS,
    assemble,
    complete_outcome,
    fit_outcome,
    write_outcome,
)
from neurobraid.prediction.response import (
    Trial,
    average_effect,
    contrasts,
    null_arms,
    null_changes,
    prognosis,
    response,
    uplift_curve,
)
from neurobraid.synth.trial import AREA, UNITS, make_trial, write_trial

PET, TRAP = {"name": "pet", "modality": ["pet"]}, {"name": "trap", "modality": ["blood"]}
ARMS = {"arm": "arm", "treated": "drug", "control": "placebo"}
SETTINGS = {"grid": (100.0, 10.0, 1.0, 0.1), "min_present": 0.5, "seed": 1}


def record(**changes):
    base = {
        "name": "t",
        "table": "trial",
        "outcome": "score",
        "time": "days",
        "features": [PET],
        "treatment": ARMS,
    }
    return complete_outcome({**base, "repeats": 1, "permutations": 19, **changes})


def arrays(trial, **changes):
    return assemble(trial.features, trial.participants, trial.sessions, UNITS, record(**changes))


def folds_of(trial, seed=1):
    return make_folds(trial.start, trial.groups, kind="regression", repeats=1, inner=3, seed=seed)


@pytest.fixture(scope="module")
def strong():
    return make_trial(3, people=400, interaction=6.0)


def test_arrays_are_joined_by_label(strong):
    trial, about = arrays(strong)
    mixed = make_trial(3, people=400, interaction=6.0)
    again, _ = assemble(
        mixed.features.sample(frac=1, random_state=0), mixed.participants.sample(frac=1, random_state=1),
        mixed.sessions.sample(frac=1, random_state=2), UNITS, record(),
    )  # fmt: skip
    np.testing.assert_array_equal(trial.change, again.change)
    np.testing.assert_array_equal(trial.tables["pet"], again.tables["pet"])
    person = about["participants"].tolist().index("sub-031")
    score = strong.sessions.set_index(["participant_id", "session_id"])["score"]["sub-031"]
    assert trial.change[person] == pytest.approx(score["ses-2"] - score["ses-1"])
    assert trial.arm.tolist() == (strong.participants["arm"] == "drug").astype(float).tolist()


def test_the_average_effect_is_the_planted_one(strong):
    trial, _ = arrays(strong)
    for adjusted in (False, True):
        value, error = average_effect(trial, adjusted)
        assert abs(value - strong.truth["mean_effect"]) < 3 * error
    assert average_effect(trial, True)[1] < average_effect(trial, False)[1], (
        "the baseline value explains noise"
    )


def test_predicted_effects_go_with_the_planted_effects(strong):
    trial, _ = arrays(strong)
    found = response(trial, folds_of(trial), ["pet"], adjusted=True, count=19, **SETTINGS)
    assert np.corrcoef(found["effect"], strong.effects)[0, 1] > 0.6
    assert found["low"] < 1 < found["high"], "the sizes of the predicted effects are right"
    assert found["p"] == found["auuc"]["p"] == 0.05
    assert found["auuc"]["low"] < strong.truth["best_auuc"]
    # what the curve can gain at most: these people ranked by their true effects
    best = uplift_curve(strong.effects, strong.effects, -1.0, points=401)
    area = np.mean([p["gain"] - p["random"] for p in best])
    assert area == pytest.approx(AREA * strong.effects.std(), rel=0.03)
    assert found["auuc"]["mean"] < area
    curve = uplift_curve(found["effect"], found["score"], -1.0)
    assert curve[-1]["gain"] == pytest.approx(curve[-1]["random"]) and curve[0]["gain"] == 0
    assert curve[-1]["gain"] == pytest.approx(-average_effect(trial, True)[0], abs=0.5)


def test_contrasts_are_those_of_least_squares_and_name_the_planted_regions(strong):
    trial, about = arrays(strong)
    found = pd.DataFrame(contrasts(trial, about["names"], adjusted=True, count=99, seed=1)).set_index(
        "marker"
    )
    planted = [f"pet: {name}" for name in strong.truth["modifiers"]]
    assert (found.loc[planted, "p_fwe"] <= 0.05).sum() >= 3
    assert (found.drop(index=planted)["p_fwe"] <= 0.05).sum() == 0
    assert found.loc[planted, "estimate"].mean() == pytest.approx(strong.truth["contrast_per_sd"], rel=0.25)
    x = trial.tables["pet"][:, 0]
    x, a = (x - x.mean()) / x.std(), trial.arm
    design = np.column_stack([np.ones(400), trial.nuisance, trial.start, a, a * trial.start, x, a * x])
    fit = np.linalg.lstsq(design, trial.change, rcond=None)[0]
    assert found["estimate"].iloc[0] == pytest.approx(fit[-1])
    assert (found["p_fwe"] >= found["p"] - 1e-12).all()


def test_regression_to_the_mean_looks_like_prediction_until_the_baseline_is_in_the_model():
    """The trap is the score of its day plus noise and knows nothing about the course."""
    gains = {False: [], True: []}
    for seed in range(6):
        trial, _ = arrays(make_trial(seed, people=200, noise=8.0, course_sd=2.0), features=[TRAP])
        for adjusted, values in gains.items():
            found = prognosis(trial, folds_of(trial, seed), ["trap"], adjusted=adjusted, count=39, **SETTINGS)
            values.append((found["gain"]["mean"], found["p"]))
    plain, controlled = np.array(gains[False]), np.array(gains[True])
    assert plain[:, 0].mean() > 0.15 and (plain[:, 1] == 0.025).all()
    assert abs(controlled[:, 0].mean()) < 0.02 and (controlled[:, 1] <= 0.05).sum() <= 2


def test_planted_prognosis_is_found_with_and_without_the_baseline(strong):
    trial, _ = arrays(strong)
    for adjusted in (False, True):
        found = prognosis(trial, folds_of(trial), ["pet"], adjusted=adjusted, count=19, **SETTINGS)
        assert found["p"] == 0.05 and found["gain"]["low"] > 0
        assert found["with"]["mean"] - found["without"]["mean"] == pytest.approx(found["gain"]["mean"])
        assert np.isfinite(found["predicted"]).all()


def test_what_changes_places_stays_in_its_arm_and_site(strong):
    trial, _ = arrays(strong)
    changes = null_changes(trial, True, 5, 1)
    design = np.column_stack([np.ones(400), trial.columns(True), trial.arm])
    explained = design @ np.linalg.lstsq(design, trial.change, rcond=None)[0]
    np.testing.assert_array_equal(changes[:, 0], trial.change)
    for block in np.unique(trial.blocks):
        rows = trial.blocks == block
        left = changes[rows] - explained[rows, None]
        np.testing.assert_allclose(
            np.sort(left, axis=0), np.sort(left[:, :1], axis=0).repeat(6, axis=1), atol=1e-9
        )
    arms, drawn = null_arms(trial, True, 5, 1)
    effect = average_effect(trial, True)[0]
    for site in np.unique(trial.sites):
        assert np.ptp(arms[trial.sites == site].sum(axis=0)) == 0
    np.testing.assert_allclose(
        drawn - effect * arms, (trial.change - effect * trial.arm)[:, None].repeat(6, axis=1)
    )
    assert np.any(arms[:, 1] != arms[:, 0])


def test_clusters_move_as_a_whole():
    rng = np.random.default_rng(0)
    groups = np.repeat([f"ward{k}" for k in range(10)], 4)
    arm = np.repeat([0.0, 1.0] * 5, 4)
    site = np.full(40, "one")
    trial = Trial({}, rng.normal(size=40), rng.normal(size=40), arm, np.empty((40, 0)), site, groups)
    assert trial.units is groups
    arms, _ = null_arms(trial, False, 5, 1)
    assert np.ptp(arms.reshape(10, 4, 6), axis=1).max() == 0
    pairs = Trial({}, trial.change, trial.start, np.tile([0.0, 1.0], 20), trial.nuisance, site, groups)
    assert np.unique(pairs.units).size == 40


def test_held_out_predictions_do_not_know_the_people_tested(strong):
    trial, _ = arrays(strong)
    folds = folds_of(trial)
    before = response(trial, folds, ["pet"], adjusted=True, count=0, **SETTINGS)
    test = next(te for _, _, _, te, _ in folds.splits())
    other = Trial(
        trial.tables,
        trial.change.copy(),
        trial.start,
        trial.arm,
        trial.nuisance,
        trial.sites,
        trial.groups,
        trial.sign,
    )
    other.change[test] = np.random.default_rng(5).permutation(other.change[test]) * 10
    after = response(other, folds, ["pet"], adjusted=True, count=0, **SETTINGS)
    np.testing.assert_allclose(after["effect"][test], before["effect"][test], rtol=1e-9)
    assert not np.allclose(after["effect"], before["effect"])


# ------------------------------------------------------------------ declared outcomes


def test_without_an_untreated_arm_it_is_called_prognosis():
    trial = make_trial(5, people=120, treated=1.0)
    for treatment in (ARMS, {"arm": "arm", "treated": "drug"}, None):
        people, table, summary = fit_outcome(
            trial.features, trial.participants, trial.sessions, UNITS, record(treatment=treatment)
        )
        assert summary["analysis"] == "prognosis" and summary["response"] is None
        assert "no untreated arm" in summary["note"]
        assert people["predicted_effect"].isna().all() and people["arm"].eq("n/a").all()
        assert len(table) == 40


def test_what_is_written(tmp_path):
    trial = make_trial(6, people=90, dropout=0.1)
    paths = {
        f"{n}{end}": tmp_path / f"{n}{end}"
        for n in ("features", "participants", "sessions")
        for end in ("", "_json")
    }
    paths = {k: v.with_suffix(".json" if k.endswith("_json") else ".tsv") for k, v in paths.items()}
    write_trial(trial, {**paths, "truth": tmp_path / "truth.json"})
    texts = []
    for turn in range(2):
        outputs = {
            k: tmp_path / f"{turn}{k}"
            for k in ("people", "people_json", "contrasts", "contrasts_json", "summary")
        }
        raw = {
            k: v
            for k, v in record(features=[PET, TRAP], covariates=["age", "sex"], permutations=9).items()
            if k != "folds"
        }
        write_outcome(
            paths["features"], paths["participants"], [paths["sessions"], paths["sessions_json"]], raw, outputs,
            folds={"outer": 3, "inner": 3},
        )  # fmt: skip
        texts.append([path.read_bytes() for path in outputs.values()])
    assert texts[0] == texts[1]
    summary = read_json(outputs["summary"])
    assert summary["analysis"] == "response" and summary["unit"] == "point"
    assert summary["status"] == "DEMONSTRATION" and "smaller arm" in summary["reason"]
    assert summary["flow"][2] == {"step": "with score at baseline and follow-up", "left": 81}
    assert set(summary["response"]) == set(summary["prognosis"]) == {"pet", "trap", "all"}
    checks = {c["check"]: c["status"] for c in summary["checks"]}
    assert checks["time travel"] == "ok" and checks["markers tell the arm"] == "ok"
    people = read_tsv(outputs["people"])
    assert list(people) == list(PEOPLE_COLUMNS) and len(people) == 81 * 6
    assert list(read_tsv(outputs["contrasts"])) == list(CONTRAST_COLUMNS)
    assert read_json(outputs["people_json"])["Columns"]["change"]["Units"] == "point"


def test_arms_that_differ_at_the_start_or_in_who_stays_are_named():
    trial = make_trial(7, people=240)
    score = trial.features[
        (trial.features["region"] == "LH_Region10") & (trial.features["session_id"] == "ses-1")
    ]
    high = score.set_index("participant_id")["value"] > score["value"].median()
    chosen = trial.participants.assign(
        arm=np.where(high.reindex(trial.participants["participant_id"]), "drug", "placebo")
    )
    summary = fit_outcome(trial.features, chosen, trial.sessions, UNITS, record(permutations=0))[2]
    assert "markers tell the arm" in summary["flags"]
    treated = trial.participants.set_index("participant_id")["arm"].eq("drug")
    gone = treated[treated].index[::3]
    stayed = trial.sessions[
        ~(trial.sessions["participant_id"].isin(gone) & (trial.sessions["session_id"] == "ses-2"))
    ]
    summary = fit_outcome(trial.features, trial.participants, stayed, UNITS, record(permutations=0))[2]
    assert summary["flags"] == ["loss to follow-up differs by arm"]


def test_markers_from_after_the_baseline_stop_the_run(strong):
    with pytest.raises(InputError) as raised:
        arrays(strong, markers="ses-2")
    for word in ("pet BPND of sub-001 ses-2", "at most 0 day", "landmark"):
        assert word in str(raised.value)
    three = make_trial(8, people=60, visits=3)
    early, about = arrays(three, markers="ses-2", landmark=900, treatment=None)
    assert about["checks"][0]["status"] == "ok" and early.change.size == 60
    with pytest.raises(InputError, match="time of the outcome"):
        arrays(three, markers="ses-3", followup="ses-2", landmark=2000)
    ordered = three.sessions.drop(columns="days")
    with pytest.raises(InputError, match="2 visit"):
        assemble(three.features, three.participants, ordered, {}, record(time="order", markers="ses-3"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outcome": None}, "outcome"),
        ({"better": "more"}, "better"),
        ({"features": []}, "features"),
        ({"features": [{"name": "all", "modality": ["pet"]}]}, "all"),
        ({"treatment": {"arm": "arm"}}, "arm, treated"),
        ({"treatment": {"arm": "arm", "treated": "drug", "control": "drug"}}, "another arm"),
        ({"arms": 2}, "remove or correct"),
        ({"per_year": True, "time": "order"}, "a time"),
    ],
)
def test_declarations_that_lack_something_are_refused(changes, words):
    with pytest.raises(InputError) as raised:
        record(**changes)
    assert words in str(raised.value)


def test_tables_that_do_not_fit_are_refused_or_said():
    trial = make_trial(9, people=40)
    parts = (trial.features, trial.participants, trial.sessions, UNITS)
    for changes, words in (
        ({"outcome": "points"}, "outcome is points"),
        ({"treatment": {**ARMS, "arm": "group_of"}}, "treatment.arm"),
        ({"treatment": {**ARMS, "treated": "verum"}}, "some verum"),
        ({"groups": "ward"}, "groups is ward"),
    ):
        with pytest.raises(InputError) as raised:
            fit_outcome(*parts, record(**changes))
        assert words in str(raised.value)
    people, table, summary = fit_outcome(*parts, record(min_participants=50))
    assert summary["status"] == "UNAVAILABLE" and "40 participants" in summary["reason"]
    assert list(people) == list(PEOPLE_COLUMNS) and list(table) == list(CONTRAST_COLUMNS)


def test_the_schema_says_the_same_defaults():
    from pathlib import Path

    import yaml

    schema = yaml.safe_load((Path(__file__).parents[3] / "workflow/schemas/config.schema.yaml").read_text())
    item = schema["properties"]["prediction"]["properties"]["outcomes"]["items"]["properties"]
    assert set(item) == set(OUTCOME)
    for key, about in item.items():
        if "default" in about:
            assert about["default"] == OUTCOME[key], key
