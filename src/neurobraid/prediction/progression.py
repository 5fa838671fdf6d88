"""Visits and events as rows of a discrete-time hazard model, and as they stood at a landmark.

What is known changes from visit to visit. A row of a hazard model stands for one person and one interval, with what was
measured at or before the *start* of the interval: never what came later, and never what was seen after the event.
"""

import numpy as np

from neurobraid.errors import ProblemList

#: Columns that `person_period` and `at_landmark` add.
ADDED = ("interval", "start", "stop", "event", "measured", "time", "known")


def _check(visits, events, features):
    """All problems of the two tables at once."""
    problems = ProblemList()
    for table, name, needed in (
        (visits, "visits", ("participant_id", "time", *features)),
        (events, "events", ("participant_id", "time", "event")),
    ):
        for column in needed:
            if column not in table:
                problems.add(
                    name, "columns", ", ".join(table.columns), f"a column {column}", "add the column"
                )
    clash = sorted(set(features) & set(ADDED))
    if clash:
        problems.add("visits", "features", ", ".join(clash), f"none of {', '.join(ADDED)}", "rename them")
    problems.raise_errors()
    for row in visits[visits.duplicated(["participant_id", "time"])].itertuples():
        problems.add(
            "visits", f"time of {row.participant_id}", f"{row.time:g} twice", "one visit", "join the two"
        )
    for row in visits[~np.isfinite(visits["time"])].itertuples():
        problems.add(
            "visits",
            f"time of {row.participant_id}",
            row.time,
            "a number",
            "correct it or leave the visit out",
        )
    for row in events[events["participant_id"].duplicated()].itertuples():
        problems.add(
            "events", "participant_id", f"{row.participant_id} twice", "one row per person", "remove a row"
        )
    for row in events[~np.isfinite(events["time"])].itertuples():
        problems.add(
            "events", f"time of {row.participant_id}", row.time, "time of the event, or last time known without it",
            "correct it",
        )  # fmt: skip
    odd = events[~events["event"].isin([0, 1])]
    for row in odd.itertuples():
        problems.add("events", f"event of {row.participant_id}", row.event, "0 or 1", "correct it")
    for person in sorted(set(visits["participant_id"]) - set(events["participant_id"])):
        problems.add(
            "events", "participant_id", f"{person} missing", "everyone with visits", "add the person"
        )
    problems.raise_errors()


def latest(visits, ids, at, features):
    """What was known of people at given times: the last value of every feature measured at or before.

    Parameters
    ----------
    visits : pandas.DataFrame
        participant_id, time, and the features; NaN where a feature was not measured at that visit.
    ids : numpy.ndarray of str, (rows,)
    at : numpy.ndarray, (rows,)
    features : list of str

    Returns
    -------
    values : numpy.ndarray, (rows, features)
        NaN where nothing was measured yet.
    measured : numpy.ndarray, (rows,)
        Time of the newest of them; NaN where there is none.
    """
    values = np.full((len(ids), len(features)), np.nan)
    measured = np.full(len(ids), np.nan)
    rows_of = {person: part.sort_values("time") for person, part in visits.groupby("participant_id")}
    for person in np.unique(ids):
        part = rows_of.get(person)
        if part is None:
            continue
        mine = np.flatnonzero(ids == person)
        times = part["time"].to_numpy(dtype=np.float64)
        for place, name in enumerate(features):
            column = part[name].to_numpy(dtype=np.float64)
            known = np.isfinite(column)
            before = np.searchsorted(times[known], at[mine], side="right") - 1
            has = before >= 0
            values[mine[has], place] = column[known][before[has]]
            measured[mine[has]] = np.fmax(measured[mine[has]], times[known][before[has]])
    return values, measured


def person_period(visits, events, edges, features):
    """One row per person and interval at risk, with what was known at its start.

    Parameters
    ----------
    visits : pandas.DataFrame
        participant_id, ``time`` and the features, one row per visit, on one clock.
    events : pandas.DataFrame
        participant_id, ``time`` of the event or the last time known without it, ``event`` (1 or 0); same clock.
    edges : sequence of float
        Rising ends of the intervals; the first is the start of the first interval (the landmark, or 0).
    features : list of str

    Returns
    -------
    table : pandas.DataFrame
        participant_id, ``interval`` (from 1), ``start``, ``stop``, ``event`` (1 if it fell into (start, stop]),
        ``measured`` (time of the newest value) and the features; sorted. A person leaves with the event; an interval in
        which a person is lost without it is left out, as is one before the person's first visit (late entry).
    left_out : dict of str to int
        People ``without a row`` and intervals ``censored inside`` and ``before the first visit``.

    Raises
    ------
    InputErrors
        Columns missing, visits or people twice, times that are no numbers, edges that do not rise.

    Notes
    -----
    A logistic regression of ``event`` on interval and features is the discrete-time proportional-odds hazard model (Singer
    & Willett 1993, J Educ Stat 18:155). All rows of a person belong in one fold.
    """
    import pandas as pd

    _check(visits, events, features)
    edges = np.asarray(edges, dtype=np.float64)
    if edges.size < 2 or np.any(np.diff(edges) <= 0):
        problems = ProblemList()
        problems.add("intervals", "edges", edges.tolist(), "two or more rising times", "correct the edges")
        problems.raise_errors()
    events = events.sort_values("participant_id", ignore_index=True)
    end = events["time"].to_numpy(dtype=np.float64)[:, None]
    happened = events["event"].to_numpy(dtype=int)[:, None]
    start, stop = edges[:-1][None, :], edges[1:][None, :]
    inside = (end > start) & (end <= stop)
    risk = (end > start) & ((end >= stop) | (happened == 1))
    cut = int(np.sum(inside & (happened == 0) & (end < stop)))
    person, interval = np.nonzero(risk)
    ids = events["participant_id"].to_numpy(dtype=str)[person]
    values, measured = latest(visits, ids, edges[interval], list(features))
    seen = np.isfinite(measured)
    table = pd.DataFrame(
        {
            "participant_id": ids,
            "interval": interval + 1,
            "start": edges[interval],
            "stop": edges[interval + 1],
            "event": (inside & (happened == 1))[person, interval].astype(int),
            "measured": measured,
            **{name: values[:, place] for place, name in enumerate(features)},
        }
    )[seen].reset_index(drop=True)
    left_out = {
        "without a row": int(events["participant_id"].nunique() - table["participant_id"].nunique()),
        "censored inside": cut,
        "before the first visit": int(np.sum(~seen)),
    }
    return table, left_out


def at_landmark(visits, events, landmark, features, horizon=None):
    """People at risk at a landmark, what was known of them then, and what happened after.

    Parameters
    ----------
    visits, events, features
        See `person_period`.
    landmark : float
    horizon : float, optional
        Time after the landmark by which the event counts.

    Returns
    -------
    pandas.DataFrame
        participant_id, ``time`` (from the landmark to event or end of follow-up, at most `horizon`), ``event``, ``known``
        (1 if it is known whether the event came within the horizon), ``measured`` and the features; people who had the
        event, or were lost, at or before the landmark are not in it (van Houwelingen 2007, Scand J Stat 34:70).
    """
    _check(visits, events, features)
    risk = events[events["time"] > landmark].sort_values("participant_id", ignore_index=True)
    ids = risk["participant_id"].to_numpy(dtype=str)
    values, measured = latest(visits, ids, np.full(ids.size, float(landmark)), list(features))
    time = risk["time"].to_numpy(dtype=np.float64) - landmark
    event = risk["event"].to_numpy(dtype=int)
    known = np.ones(ids.size, dtype=int)
    if horizon is not None:
        # on the clock of the events: a difference of two times is rounded
        end, until = risk["time"].to_numpy(dtype=np.float64), landmark + horizon
        known = ((end >= until) | (event == 1)).astype(int)
        event = np.where(end <= until, event, 0)
        time = np.minimum(time, horizon)
    table = risk[["participant_id"]].assign(time=time, event=event, known=known, measured=measured)
    for place, name in enumerate(features):
        table[name] = values[:, place]
    return table[np.isfinite(measured)].reset_index(drop=True)
