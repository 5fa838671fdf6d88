"""Visits of a person as one row: times, slopes against planted truth, fitted steps, and no look into the future."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from neurobraid.errors import InputError, InputErrors
from neurobraid.prediction.dataset import build
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.members import fronts
from neurobraid.prediction.model import complete, cross_validate, fit_model
from neurobraid.prediction.permutation import statistics
from neurobraid.prediction.timeline import choose_visits, read_sessions, time_travel, timeline
from neurobraid.prediction.visit_steps import VisitStep, shrink, slope_model
from neurobraid.prediction.visits import person_slopes, visit_features
from neurobraid.synth.cohort import COLUMNS as COHORT_COLUMNS
from neurobraid.synth.trial import COLUMNS, UNITS, make_trial, write_trial

PET = [{"name": "pet", "modality": ["pet"]}]
DAYS = {"time": "days"}


def model(use="change", features=PET, **changes):
    visits = {"use": use, **DAYS, **changes.pop("visits", {})}
    base = {
        "name": "m",
        "table": "trial",
        "target": "group",
        "classes": ["control", "patient"],
        "permutations": 0,
    }
    return complete({**base, "features": features, "repeats": 1, "visits": visits, **changes})


def made(trial, record):
    return visit_features(trial.features, trial.participants, trial.sessions, UNITS, record)


def wide_of(features):
    return features.pivot(index="participant_id", columns="region", values="value")


@pytest.fixture(scope="module")
def trial():
    return make_trial(1, people=80, visits=3)


def test_columns_are_those_of_the_fusion_table():
    assert COLUMNS == COHORT_COLUMNS


def test_change_and_rate_by_hand(trial):
    features = trial.features[trial.features["modality"] == "pet"]
    person, region = "sub-007", "RH_Region04"
    own = features[(features["participant_id"] == person) & (features["region"] == region)].set_index(
        "session_id"
    )
    days = trial.sessions.set_index(["participant_id", "session_id"])["days"]
    change = own.loc["ses-3", "value"] - own.loc["ses-1", "value"]
    found = made(trial, model("change"))
    assert wide_of(found.features).loc[person, region] == pytest.approx(change)
    assert set(found.features["unit"]) == {"1"} and found.features["session_id"].isna().all()
    middle = made(trial, model("change", visits={"baseline": "2", "followup": "ses-3"})).features
    later = own.loc["ses-3", "value"] - own.loc["ses-2", "value"]
    assert wide_of(middle).loc[person, region] == pytest.approx(later)
    rate = made(trial, model("annualised"))
    assert wide_of(rate.features).loc[person, region] == pytest.approx(
        change / days[person, "ses-3"] * 365.25, rel=1e-6
    )
    assert set(rate.features["unit"]) == {"1/year"}
    assert rate.summary["gap_median_years"] == pytest.approx(2.4, abs=0.15)
    first = made(trial, model("baseline")).features
    assert wide_of(first).loc[person, region] == own.loc["ses-1", "value"]


def test_change_has_doubled_noise():
    """With no true change its spread is sqrt(2) of a visit's error."""
    still = make_trial(2, people=400, slope=0.0, slope_sd=0.0)
    change = wide_of(made(still, model("change")).features).to_numpy()
    assert change.std() / still.truth["visit_noise"] == pytest.approx(np.sqrt(2), rel=0.02)


def test_person_slopes_are_those_of_numpy(trial):
    rows = trial.features[trial.features["modality"] == "pet"].merge(
        trial.sessions, on=["participant_id", "session_id"]
    )
    found = person_slopes(rows.assign(years=rows["days"] / 365.25))
    one = found.iloc[37]
    part = rows[(rows["participant_id"] == one["participant_id"]) & (rows["region"] == one["region"])]
    t, v = part["days"].to_numpy() / 365.25, part["value"].to_numpy()
    line, rest, *_ = np.polyfit(t, v, 1, full=True)
    assert one["slope"] == pytest.approx(line[0])
    assert one["rest"] == pytest.approx(rest[0])
    assert one["spread"] == pytest.approx(np.sum((t - t.mean()) ** 2))
    assert one["freedom"] == 1 and one["visits"] == 3


def test_the_slope_model_recovers_what_was_planted_and_shrinking_helps():
    trial = make_trial(3, people=500, visits=4, gap=0.6, visit_noise=0.5, slope=-0.2, slope_sd=0.25)
    rows = trial.features[trial.features["modality"] == "pet"].merge(
        trial.sessions, on=["participant_id", "session_id"]
    )
    found = person_slopes(rows.assign(years=rows["days"] / 365.25))
    parts = [found.pivot(index="participant_id", columns="region", values=k).to_numpy()
             for k in ("slope", "spread", "rest", "freedom")]  # fmt: skip
    mean, between, noise = slope_model(*parts)
    assert mean.mean() == pytest.approx(trial.truth["slope_per_year"], rel=0.05)
    assert np.sqrt(between).mean() == pytest.approx(trial.truth["slope_sd_per_year"], rel=0.08)
    assert np.sqrt(noise).mean() == pytest.approx(trial.truth["visit_noise"], rel=0.03)
    error = {
        "plain": parts[0] - trial.slopes,
        "shrunken": shrink(parts[0], parts[1], mean, between, noise) - trial.slopes,
    }
    size = {name: np.sqrt(np.mean(e**2)) for name, e in error.items()}
    # expected: sqrt of noise/spread, and of the posterior variance
    spread = parts[1]
    assert size["plain"] == pytest.approx(
        np.sqrt(np.mean(trial.truth["visit_noise"] ** 2 / spread)), rel=0.03
    )
    own = trial.truth["slope_sd_per_year"] ** 2
    posterior = 1 / (1 / own + spread / trial.truth["visit_noise"] ** 2)
    assert size["shrunken"] == pytest.approx(np.sqrt(posterior.mean()), rel=0.03)


def test_two_visits_are_not_shrunken_because_their_noise_is_unknown():
    trial = make_trial(4, people=40, visits=2)
    record = model("slope")
    parts = made(trial, record)
    data = build(parts.features, trial.participants, record, visits=parts)
    step = VisitStep(data.last, **data.visits)
    out = step.fit_transform(data.tables["pet"])
    assert np.isnan(step.noise_).all()
    rate = wide_of(made(trial, model("annualised")).features)
    np.testing.assert_allclose(out, rate.to_numpy(), atol=1e-9)


@pytest.mark.parametrize(("use", "columns"), [("slope", 80), ("normative", 42)])
def test_steps_learn_from_training_people_only(use, columns):
    trial = make_trial(5, people=120, visits=3, group_slope=0.5)
    record = model(
        use, visits={"controls": {"column": "group", "value": "control"}} if use == "normative" else {}
    )
    parts = made(trial, record)
    data = build(parts.features, trial.participants, record, visits=parts)
    table = data.tables["pet"]
    assert table.shape == (120, columns) and len(data.names["pet"]) == 20
    train, test = np.arange(80), np.arange(80, 120)
    step = VisitStep(data.last, **data.visits).fit(table[train])
    changed = table.copy()
    changed[test[1:]] = np.nan
    changed[test[1:], :20] = 99.0
    np.testing.assert_array_equal(step.transform(changed)[80], step.transform(table)[80])
    again = clone(step).fit(changed[train])
    for name in vars(step):
        if name.endswith("_") and isinstance(getattr(step, name), np.ndarray):
            np.testing.assert_array_equal(getattr(again, name), getattr(step, name))
    result = fit_model(trial.features, trial.participants, record, sessions=(trial.sessions, UNITS))
    probe = next(
        c for c in result.summary["audit"]["checks"] if c["check"] == "fitted steps that saw test rows"
    )
    assert probe["status"] == "ok", probe
    assert result.summary["visits"]["fitted_in_fold"]


def test_normative_change_of_controls_is_standard_and_patients_differ_as_planted():
    trial = make_trial(6, people=2000, visits=2, group_slope=0.4, slope_sd=0.3, visit_noise=0.4, gap_sd=0.3)
    record = model("normative", visits={"controls": {"column": "group", "value": "control"}})
    parts = made(trial, record)
    data = build(parts.features, trial.participants, record, visits=parts)
    z = VisitStep(data.last, **data.visits).fit_transform(data.tables["pet"])
    control = data.y < 0
    assert np.abs(z[control].mean(axis=0)).max() < 1e-9
    np.testing.assert_allclose(z[control].std(axis=0), 1.0, atol=0.01)
    # change after regression on the baseline: slopes over 1.2 years, errors of both visits less what the first tells
    sd = np.sqrt((0.3**2) * (1.2**2 + 0.3**2) + 2 * 0.4**2 - (0.4**2) ** 2 / (1 + 0.4**2))
    assert np.abs(z[~control].mean(axis=0)).mean() == pytest.approx(0.4 * 1.2 / sd, rel=0.06)


def test_pipelines_and_the_permutation_engine_agree_on_slopes_and_normative_changes():
    trial = make_trial(7, people=90, visits=3, group_slope=0.6)
    for use in ("slope", "normative"):
        record = model(use, fusion=["late", "early"], confounds=["age"], features=[
            {"name": "left", "modality": ["pet"], "region": [f"LH_Region{k:02d}" for k in range(1, 11)]},
            {"name": "right", "modality": ["pet"], "region": [f"RH_Region{k:02d}" for k in range(1, 11)]},
        ], visits={"controls": {"column": "group", "value": "control"}} if use == "normative" else {})  # fmt: skip
        parts = made(trial, record)
        data = build(parts.features, trial.participants, record, visits=parts)
        folds = make_folds(data.y, data.groups, kind="classification", outer=3, inner=3, repeats=1)
        scores = cross_validate(data, folds, record)[1]
        quick = statistics(
            data.tables, data.y, folds, confounds=data.confounds, grid=(100.0, 10.0, 1.0, 0.1, 0.01),
            kind="classification", min_present=0.5, early=True, fronts=fronts(data, record),
        )  # fmt: skip
        for name, value in quick.items():
            slow = np.mean([s[4] for s in scores if s[0] == name and s[3] == "auc"])
            assert value == pytest.approx(slow, abs=1e-10), (use, name)


def test_slopes_tell_groups_that_progress_differently_and_levels_do_not():
    values = {"slope": [], "baseline": []}
    for seed in range(3):
        trial = make_trial(
            seed, people=160, visits=4, gap=0.8, group_slope=0.12, visit_noise=0.3, slope_sd=0.2
        )
        for use, found in values.items():
            result = fit_model(
                trial.features, trial.participants, model(use), sessions=(trial.sessions, UNITS)
            )
            found.append(result.summary["metrics"]["pet"]["auc"]["mean"])
    assert np.mean(values["slope"]) > 0.8
    assert abs(np.mean(values["baseline"]) - 0.5) < 0.1


# ------------------------------------------------------------------ times


def lines(**columns):
    return pd.DataFrame(
        {"participant_id": ["sub-1"] * 3, "session_id": ["ses-1", "ses-2", "ses-10"], **columns}
    )


def test_dates_numbers_and_order():
    dated = timeline(
        lines(acq_time=["1877-06-15T10:00:00", "1878-06-15", "1879-06-15"]), {}, {"time": "acq_time"}
    )
    assert dated.unit == "day" and dated.table["time"].tolist() == pytest.approx(
        [0, 364.58, 729.58], abs=0.01
    )
    ages = timeline(lines(age=[50.5, 51.0, 53.0]), {"age": "years"}, {"time": "age"})
    assert choose_visits(ages, {})["gap"].tolist() == [2.5]
    ordered = timeline(lines(), {}, {"time": "order"})
    chosen = choose_visits(ordered, {})
    assert chosen[["baseline", "followup"]].to_numpy().tolist() == [["ses-1", "ses-10"]]
    mixed = timeline(lines(months=[12, 0, 6]), {}, {"time": "months", "unit": "month"})
    assert choose_visits(mixed, {})[["baseline", "followup"]].to_numpy().tolist() == [["ses-2", "ses-1"]]
    assert choose_visits(mixed, {})["gap"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("columns", "units", "settings", "words"),
    [
        ({"days": [0, 1, 2]}, {}, {"time": "days"}, "unit of days"),
        ({"days": [0, 1, 2]}, {"days": "day"}, {"time": "days", "unit": "year"}, "day (the sidecar)"),
        ({"days": [0, 1, 1]}, {"days": "day"}, {"time": "days"}, "the same for ses-10"),
        ({"days": [0, "soon", 1]}, {"days": "day"}, {"time": "days"}, "soon"),
        ({"acq_time": ["2001-01-01", "next year", None]}, {}, {"time": "acq_time"}, "next year"),
        ({}, {}, {"time": "days"}, "time is days"),
    ],
)
def test_times_that_are_none_are_refused(columns, units, settings, words):
    with pytest.raises((InputError, InputErrors), match=r"Fix:") as raised:
        timeline(lines(**columns), units, settings)
    assert words in str(raised.value)


def test_tables_of_participants_and_their_sidecars_are_joined_by_name(tmp_path, trial):
    paths = {
        f"{n}{end}": tmp_path / f"{n}{end}"
        for n in ("features", "participants", "sessions")
        for end in ("", "_json")
    }
    write_trial(trial, {**paths, "truth": tmp_path / "truth.json"})
    for person, part in trial.sessions.groupby("participant_id"):
        (tmp_path / f"{person}_sessions.tsv").write_text(
            part.drop(columns="participant_id").to_csv(sep="\t", index=False)
        )
        (tmp_path / f"{person}_sessions.json").write_text('{"days": {"Units": "day"}}')
    table, units = read_sessions(sorted(tmp_path.glob("sub-*"), reverse=True))
    pd.testing.assert_frame_equal(table, trial.sessions)
    assert units == {"days": "day"}
    (tmp_path / "sub-001_sessions.json").write_text('{"days": {"Units": "year"}}')
    (tmp_path / "sub-002_sessions.tsv").write_text("session_id\tdays\nses-1\t0\nses-1\t1\n")
    with pytest.raises(InputErrors) as raised:
        read_sessions(tmp_path.glob("sub-*"))
    assert "Units of days" in str(raised.value) and "sub-002 twice" in str(raised.value)


# ------------------------------------------------------------------ landmark


def test_a_feature_from_after_the_landmark_stops_the_run(trial):
    late = model("change", visits={"landmark": 400})
    with pytest.raises(InputError) as raised:
        made(trial, late)
    text = str(raised.value)
    days = trial.sessions.set_index(["participant_id", "session_id"])["days"]
    for word in ("sub-001", "ses-3", "pet BPND", f"{days['sub-001', 'ses-3']:g} day", "400 day", "landmark"):
        assert word in text, word
    early = made(trial, model("slope", visits={"landmark": 700, "late": "leave-out"}))
    assert early.finding["status"] == "ok" and "700 day" in early.finding["text"]


def test_a_feature_from_after_the_outcome_stops_the_run_and_the_audit_says_what_was_checked(trial):
    people = trial.participants.assign(outcome_days=trial.participants["outcome_days"] - 100)
    record = model("change", visits={"outcome_time": "outcome_days"})
    with pytest.raises(InputError, match="the time of the outcome"):
        visit_features(trial.features, people, trial.sessions, UNITS, record)
    for visits, status in (
        ({"outcome_time": "outcome_days", "followup": "ses-2"}, "ok"),
        ({}, "not possible"),
    ):
        result = fit_model(
            trial.features, people, model("change", visits=visits), sessions=(trial.sessions, UNITS)
        )
        check = next(c for c in result.summary["audit"]["checks"] if c["check"] == "time travel")
        assert check["status"] == status


def test_time_travel_names_the_rows():
    used = pd.DataFrame(
        {"participant_id": ["sub-1", "sub-1", "sub-2"], "session_id": ["ses-1", "ses-2", "ses-1"], "feature": "pet BPND",
         "time": [0.0, 2.0, 1.0]}
    )  # fmt: skip
    late = time_travel(used, 1.0, pd.Series({"sub-1": np.nan, "sub-2": 0.5}))
    assert late[["participant_id", "session_id", "what", "limit"]].to_numpy().tolist() == [
        ["sub-1", "ses-2", "landmark", 1.0],
        ["sub-2", "ses-1", "outcome", 0.5],
    ]


@pytest.mark.parametrize(
    ("visits", "words"),
    [
        ({"use": "trend"}, "visits.use"),
        ({"used": "slope"}, "visits"),
        ({"use": "slope", "time": "order"}, "a time, for slope"),
        ({"use": "normative"}, "visits.controls"),
        ({"use": "change", "time": "order", "landmark": 2}, "a landmark"),
    ],
)
def test_declarations_that_lack_something_are_refused(visits, words):
    with pytest.raises(InputError) as raised:
        complete({"name": "m", "target": "group", "features": PET, "visits": visits})
    assert words in str(raised.value)
    with pytest.raises(InputError, match="rows"):
        complete(
            {"name": "m", "target": "group", "features": PET, "rows": "visit", "visits": {"use": "change"}}
        )


def test_sessions_and_units_that_do_not_fit_are_refused(trial):
    record = model("change")
    lost = trial.sessions[
        ~((trial.sessions["participant_id"] == "sub-004") & (trial.sessions["session_id"] == "ses-2"))
    ]
    with pytest.raises(InputError, match="ses-2 of sub-004 missing"):
        visit_features(trial.features, trial.participants, lost, UNITS, record)
    other = trial.features.copy()
    other.loc[(other["session_id"] == "ses-3") & (other["modality"] == "pet"), "unit"] = "mL"
    with pytest.raises(InputError, match="1 and mL"):
        visit_features(other, trial.participants, trial.sessions, UNITS, record)
    whole = trial.features.assign(session_id=np.nan)
    with pytest.raises(InputError, match="spans sessions"):
        visit_features(whole, trial.participants, trial.sessions, UNITS, record)
    with pytest.raises(InputError, match="sessions tables"):
        fit_model(trial.features, trial.participants, record)
    few = model("normative", visits={"controls": {"column": "group", "value": "control"}})
    result = fit_model(
        trial.features, trial.participants.assign(group=["control"] * 10 + ["patient"] * 70), few,
        sessions=(trial.sessions, UNITS),
    )  # fmt: skip
    assert result.summary["status"] == "UNAVAILABLE" and "10 controls" in result.summary["reason"]


def test_people_who_came_once_are_left_out_and_counted(trial):
    """In a dataset with and without sessions, a person without any has no session to be named."""
    once = trial.features["participant_id"].isin(["sub-003", "sub-005"])
    features = trial.features[~(once & (trial.features["session_id"] != "ses-1"))].copy()
    features.loc[features["participant_id"] == "sub-005", "session_id"] = np.nan
    sessions = trial.sessions[trial.sessions["participant_id"] != "sub-005"]
    found = visit_features(features, trial.participants, sessions, UNITS, model("change"))
    assert found.summary["people"] == 78 and found.summary["without"] == 2
    assert not {"sub-003", "sub-005"} & set(found.features["participant_id"])
