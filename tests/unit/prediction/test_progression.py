"""Rows of a hazard model: what was known at the start of an interval, nothing later."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputErrors
from neurobraid.prediction.progression import at_landmark, latest, person_period

VISITS = pd.DataFrame(
    {
        "participant_id": ["sub-1", "sub-1", "sub-1", "sub-2", "sub-3", "sub-3", "sub-4"],
        "time": [0.0, 1.0, 2.5, 0.0, 0.0, 1.5, 1.2],
        "amyloid": [1.0, 2.0, 3.0, 5.0, 7.0, np.nan, 9.0],
        "volume": [0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9],
    }
)
EVENTS = pd.DataFrame(
    {
        "participant_id": ["sub-1", "sub-2", "sub-3", "sub-4"],
        "time": [2.2, 1.5, 3.0, 2.0],
        "event": [1, 0, 0, 1],
    }
)
FEATURES = ["amyloid", "volume"]


def test_person_period_by_hand():
    table, left = person_period(VISITS, EVENTS, [0, 1, 2, 3], FEATURES)
    rows = table[["participant_id", "interval", "event", "measured", "amyloid", "volume"]].to_numpy().tolist()
    assert rows == [
        ["sub-1", 1, 0, 0.0, 1.0, 0.1],
        # the visit at 1.0 counts for the interval that starts at 1.0
        ["sub-1", 2, 0, 1.0, 2.0, 0.2],
        # the visit at 2.5 came after the start, and after the event: never seen
        ["sub-1", 3, 1, 1.0, 2.0, 0.2],
        ["sub-2", 1, 0, 0.0, 5.0, 0.5],
        ["sub-3", 1, 0, 0.0, 7.0, 0.7],
        ["sub-3", 2, 0, 0.0, 7.0, 0.7],
        # amyloid was not measured at 1.5: the last value stays
        ["sub-3", 3, 0, 1.5, 7.0, 0.8],
    ]
    # sub-2 is lost inside the second interval; sub-4 was first seen at 1.2, and had the event by the end of (1, 2]
    assert left == {"without a row": 1, "censored inside": 1, "before the first visit": 2}


def test_nothing_from_after_the_start_of_an_interval_changes_a_row():
    rng = np.random.default_rng(0)
    ids = [f"sub-{k:02d}" for k in range(40)]
    visits = pd.DataFrame(
        {
            "participant_id": np.repeat(ids, 5),
            "time": np.tile(np.arange(5.0), 40) + rng.random(200) * 0.9,
            "x": rng.normal(size=200),
        }
    )
    events = pd.DataFrame(
        {"participant_id": ids, "time": rng.uniform(0.5, 5, 40), "event": rng.integers(0, 2, 40)}
    )
    table, _ = person_period(visits, events, np.arange(6), ["x"])
    assert (table["measured"] <= table["start"]).all()
    late = visits.assign(x=np.where(visits["time"] > 2, 99.0, visits["x"]))
    again, _ = person_period(late, events, np.arange(6), ["x"])
    early = table["start"] <= 2
    pd.testing.assert_frame_equal(table[early], again[early])
    assert (again.loc[again["start"] >= 4, "x"] == 99).any()
    mixed, _ = person_period(
        visits.sample(frac=1, random_state=1), events.sample(frac=1, random_state=2), np.arange(6), ["x"]
    )
    pd.testing.assert_frame_equal(table, mixed)


def test_the_hazard_that_was_planted_is_recovered_from_time_varying_values():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    visits, events = [], []
    for k in range(1500):
        x = rng.normal() + np.cumsum(rng.normal(0, 0.7, 6))
        when, happened = 6.0, 0
        for t in range(6):
            visits.append((f"sub-{k}", float(t), x[t]))
            if rng.random() < 1 / (1 + np.exp(2.0 - 0.8 * x[t])):
                when, happened = t + rng.random() * 0.99 + 0.005, 1
                break
        events.append((f"sub-{k}", when, happened))
    visits = pd.DataFrame(visits, columns=["participant_id", "time", "x"])
    events = pd.DataFrame(events, columns=["participant_id", "time", "event"])
    table, left = person_period(visits, events, np.arange(7), ["x"])
    assert left["without a row"] == 0 and table["event"].sum() == events["event"].sum()
    fit = LogisticRegression(C=np.inf).fit(table[["x"]], table["event"])
    assert fit.coef_[0, 0] == pytest.approx(0.8, abs=0.08)
    assert fit.intercept_[0] == pytest.approx(-2.0, abs=0.1)


def test_landmark_by_hand():
    table = at_landmark(VISITS, EVENTS, 1.0, FEATURES, horizon=1.2)
    assert table["participant_id"].tolist() == ["sub-1", "sub-2", "sub-3"], "sub-4 was not seen yet"
    assert table["time"].tolist() == pytest.approx([1.2, 0.5, 1.2])
    assert table["event"].tolist() == [1, 0, 0]
    assert table["known"].tolist() == [1, 0, 1], "sub-2 is lost before the horizon"
    assert table["volume"].tolist() == [0.2, 0.5, 0.7]
    later = at_landmark(VISITS, EVENTS, 2.2, FEATURES)
    assert later["participant_id"].tolist() == ["sub-3"], "an event at the landmark is in the past"


def test_latest_takes_the_last_value_at_or_before():
    values, measured = latest(
        VISITS, np.array(["sub-3", "sub-3", "sub-9"]), np.array([1.5, 1.49, 3.0]), FEATURES
    )
    np.testing.assert_array_equal(values, [[7.0, 0.8], [7.0, 0.7], [np.nan, np.nan]])
    np.testing.assert_array_equal(measured, [1.5, 0.0, np.nan])


@pytest.mark.parametrize(
    ("visits", "events", "edges", "words"),
    [
        (VISITS, EVENTS.drop(columns="event"), [0, 1], "a column event"),
        (pd.concat([VISITS, VISITS.iloc[:1]]), EVENTS, [0, 1], "twice"),
        (VISITS, pd.concat([EVENTS, EVENTS.iloc[:1]]), [0, 1], "sub-1 twice"),
        (VISITS, EVENTS.iloc[1:], [0, 1], "sub-1 missing"),
        (VISITS, EVENTS.assign(event=[1, 0, 2, 0]), [0, 1], "0 or 1"),
        (VISITS, EVENTS, [0, 2, 1], "rising times"),
        (VISITS.assign(event=1), EVENTS, [0, 1], "rename them"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(visits, events, edges, words):
    features = ["event"] if "event" in visits else FEATURES
    with pytest.raises(InputErrors) as raised:
        person_period(visits, events, edges, features)
    assert words in str(raised.value)
