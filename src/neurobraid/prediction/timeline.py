"""When every visit took place, which visits a model uses, and that none of them lies after the prediction.

Times come from the sessions tables of BIDS (``sub-<label>_sessions.tsv``). A feature measured after the time of the
prediction, or after the outcome, is knowledge of the future: it makes any score look good and nobody can have it.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neurobraid.errors import InputError, ProblemList
from neurobraid.files import read_json, read_tsv

#: Years in one unit of time, by the words that sidecars use.
YEARS = {"day": 1 / 365.25, "week": 7 / 365.25, "month": 1 / 12, "year": 1.0}
#: What a time column may be besides a column of numbers.
ORDER, DATES = "order", "acq_time"
TRAVEL = "time travel"


@dataclass
class Timeline:
    """Visits of everybody, in order of time.

    Attributes
    ----------
    table : pandas.DataFrame
        participant_id, session_id, ``time`` (in `unit`; NaN where only the order is known), ``place`` (from 0), and
        every column of the sessions tables; sorted by participant and time.
    unit : str
        Unit of ``time``: day, week, month or year; empty where only the order is known.
    column : str
        Where the times come from.
    file : str
        Name of the tables, for messages.
    """

    table: object
    unit: str
    column: str
    file: str = "sessions.tsv"
    notes: list = field(default_factory=list)

    @property
    def timed(self):
        """Whether times are known, not only the order."""
        return bool(self.unit)

    def lookup(self):
        """``time`` by participant and session, pandas.Series."""
        return self.table.set_index(["participant_id", "session_id"])["time"]


def label_of(session):
    """``ses-2`` from ``2`` or ``ses-2``; empty stays empty.

    Examples
    --------
    >>> label_of("2"), label_of("ses-2"), label_of("")
    ('ses-2', 'ses-2', '')
    """
    return f"ses-{session}" if session and not str(session).startswith("ses-") else str(session or "")


def read_sessions(paths):
    """Sessions tables of a study as one table.

    Parameters
    ----------
    paths : iterable of path-like
        ``sub-<label>_sessions.tsv`` of every participant, or one table with a column ``participant_id``, and their JSON
        sidecars in any order.

    Returns
    -------
    table : pandas.DataFrame
        participant_id, session_id and all other columns; rows in the order of the files.
    units : dict of str to str
        ``Units`` of the columns, from the sidecars.

    Raises
    ------
    InputErrors
        No session column, a session twice, sidecars that name different units.
    """
    import pandas as pd

    paths = sorted((Path(p) for p in paths), key=str)
    frames, units, problems = [], {}, ProblemList()
    for path in paths:
        if path.suffix == ".json":
            for column, about in read_json(path).items():
                unit = about.get("Units") if isinstance(about, dict) else None
                if unit and units.setdefault(column, unit) != unit:
                    problems.add(
                        path.name, f"Units of {column}", unit, f"{units[column]}, as in the other sidecars",
                        "bring all sessions tables to one unit",
                    )  # fmt: skip
            continue
        table = read_tsv(path, text=(DATES,))
        if "session_id" not in table:
            problems.add(path.name, "columns", ", ".join(table.columns), "a column session_id", "add it")
            continue
        if "participant_id" not in table:
            person = re.match(r"(sub-[a-zA-Z0-9+]+)_", path.name)
            if person is None:
                problems.add(
                    path.name, "participant_id", "missing", "a column, or a name sub-<label>_sessions.tsv",
                    "add the column",
                )  # fmt: skip
                continue
            table.insert(0, "participant_id", person.group(1))
        table["session_id"] = [label_of(s) for s in table["session_id"]]
        frames.append(table)
    if frames:
        table = pd.concat(frames, ignore_index=True)
        twice = table[table.duplicated(["participant_id", "session_id"])]
        for row in twice.itertuples():
            problems.add(
                "sessions.tsv", "session_id", f"{row.session_id} of {row.participant_id} twice",
                "every session of a person once", "remove the extra row",
            )  # fmt: skip
    else:
        table = pd.DataFrame(
            {"participant_id": pd.Series(dtype=object), "session_id": pd.Series(dtype=object)}
        )
    problems.raise_errors()
    return table, units


def _unit(word):
    """The key of `YEARS` that a word means, or None.

    Examples
    --------
    >>> _unit("years"), _unit("d"), _unit("mm")
    ('year', 'day', None)
    """
    short = {"d": "day", "w": "week", "wk": "week", "mo": "month", "a": "year", "y": "year", "yr": "year"}
    word = str(word or "").strip().lower()
    word = short.get(word, word)
    word = short.get(word.removesuffix("s"), word.removesuffix("s"))
    return word if word in YEARS else None


def timeline(sessions, units, settings, *, where="config", file="sessions.tsv"):
    """Times of all visits in one unit.

    Parameters
    ----------
    sessions : pandas.DataFrame
        From `read_sessions`.
    units : dict of str to str
    settings : dict
        ``time``: ``acq_time`` (days since the person's first session; BIDS lets dates be shifted as long as all of a
        person's are shifted alike), ``order`` (the order of the rows, no times), or a column of numbers on its own clock.
        ``unit``: of that column; empty: what the sidecar says.
    where, file : str
        For messages.

    Returns
    -------
    Timeline

    Raises
    ------
    InputError, InputErrors
        Column missing, unit unknown or contradicted, a time that is no time, two visits at the same time.
    """
    import pandas as pd

    column = settings.get("time") or DATES
    if not len(sessions):
        raise InputError(
            where, "visits", "declared", "a study with sessions tables",
            "add sub-<label>_sessions.tsv to the dataset, or remove visits",
        )  # fmt: skip
    table = sessions.copy()
    unit, problems = "", ProblemList()
    if column == ORDER:
        table["time"] = np.nan
    else:
        if column not in table:
            raise InputError(
                where, "time", column, ", ".join([ORDER, *table.columns[2:]]), f"name a column of {file}"
            )
        if column == DATES:
            unit = "day"
            moments = pd.to_datetime(table[column], errors="coerce", format="ISO8601", utc=True)
            first = moments.groupby(table["participant_id"]).transform("min")
            table["time"] = (moments - first).dt.total_seconds() / 86400
        else:
            table["time"] = pd.to_numeric(table[column], errors="coerce")
            said, asked = _unit(units.get(column)), settings.get("unit") or ""
            unit = _unit(asked) or said or ""
            if not unit or (said and asked and said != _unit(asked)):
                raise InputError(
                    where, f"unit of {column}", asked or units.get(column) or "missing",
                    f"{said} (the sidecar)" if said else ", ".join(YEARS),
                    "write unit in the config, or Units in the sidecar of the sessions tables",
                )  # fmt: skip
        for row in table[table["time"].isna() & table[column].notna()].itertuples():
            problems.add(
                file, f"{column} of {row.participant_id} {row.session_id}", getattr(row, column, "no time"),
                "a date" if column == DATES else "a number", "correct it, or write n/a",
            )  # fmt: skip
    table["row"] = np.arange(len(table))
    by = ["participant_id", "row"] if column == ORDER else ["participant_id", "time", "row"]
    table = table.sort_values(by, kind="stable", ignore_index=True)
    same = table[table.duplicated(["participant_id", "time"]) & table["time"].notna()]
    for row in same.itertuples():
        problems.add(
            file, f"{column} of {row.participant_id}", f"the same for {row.session_id} and the session before",
            "one time per session", f"correct it, or choose time: {ORDER}",
        )  # fmt: skip
    problems.raise_errors()
    table["place"] = table.groupby("participant_id").cumcount()
    return Timeline(table.drop(columns="row"), unit, column, file)


def choose_visits(line, settings):
    """The visit that counts as baseline and the one that counts as follow-up, of every person.

    Parameters
    ----------
    line : Timeline
    settings : dict
        ``baseline``, ``followup``: a session, or empty for the first and the last. With ``late: leave-out`` and a
        ``landmark`` the last one is sought among visits at or before it.

    Returns
    -------
    pandas.DataFrame
        Index participant_id; ``baseline``, ``followup`` (session_id), ``gap`` (years; NaN without times). A person
        without either, or whose follow-up is not after the baseline, is left out.
    """
    table = line.table
    limit = settings.get("landmark")
    if line.timed:
        table = table[table["time"].notna()]
        if limit is not None and settings.get("late") == "leave-out":
            table = table[table["time"] <= limit]

    def pick(name, take):
        wanted = label_of(settings.get(name))
        if wanted:
            return table[table["session_id"] == wanted].set_index("participant_id")
        return getattr(table.groupby("participant_id"), take)(1).set_index("participant_id")

    first, last = pick("baseline", "head"), pick("followup", "tail")
    both = first[["session_id", "time", "place"]].join(
        last[["session_id", "time", "place"]], lsuffix="_b", rsuffix="_f", how="inner"
    )
    both = both[both["place_f"] > both["place_b"]]
    out = both.rename(columns={"session_id_b": "baseline", "session_id_f": "followup"})
    out["gap"] = (out["time_f"] - out["time_b"]) * YEARS.get(line.unit, np.nan)
    return out[["baseline", "followup", "gap"]].sort_index()


def first_visits(line, settings):
    """The baseline visit of every person, also of those who came once; session_id by participant_id."""
    wanted = label_of(settings.get("baseline"))
    table = line.table if not line.timed else line.table[line.table["time"].notna()]
    if wanted:
        table = table[table["session_id"] == wanted]
    return table.groupby("participant_id").head(1).set_index("participant_id")["session_id"].sort_index()


# ------------------------------------------------------------------ landmark


def time_travel(used, landmark=None, outcome=None, unit="year"):
    """Features measured after the time of the prediction, or after the outcome.

    Parameters
    ----------
    used : pandas.DataFrame
        participant_id, session_id, ``feature``, ``time`` of everything that the model looks at.
    landmark : float or pandas.Series, optional
        Time of the prediction, for everybody or by participant; a feature of that very time is allowed.
    outcome : pandas.Series, optional
        Time of the outcome or event by participant; NaN where it has not happened.
    unit : str
        Of all times.

    Returns
    -------
    pandas.DataFrame
        The rows of `used` that are too late, with ``limit`` and ``what`` (``landmark`` or ``outcome``); sorted.
    """
    import pandas as pd

    found = []
    for what, limit in (("landmark", landmark), ("outcome", outcome)):
        if limit is None:
            continue
        own = limit if isinstance(limit, pd.Series) else None
        at = used["participant_id"].map(own).astype(float) if own is not None else float(limit)
        late = used.assign(limit=at, what=what)
        # a time of the same day that was rounded is not a leak
        late = late[late["time"] > late["limit"] + 1e-9 * (1 + late["limit"].abs())]
        found.append(late)
    columns = [*used.columns, "limit", "what"]
    late = pd.concat(found) if found else used.assign(limit=np.nan, what="").iloc[:0]
    return late.sort_values(["participant_id", "time", "feature"], kind="stable", ignore_index=True)[columns]


def untimed():
    """The check ``time travel`` of a model whose times nobody declared."""
    text = "No landmark and no time of the outcome is declared (visits.landmark, visits.outcome_time)."
    return {"check": TRAVEL, "status": "not possible", "value": None, "limit": None, "text": text}


def travel_finding(used, late, landmark=None, outcome=None, unit="year"):
    """What the leakage audit says about times.

    Parameters
    ----------
    used, late : pandas.DataFrame
        See `time_travel`.
    landmark, outcome, unit
        See `time_travel`.

    Returns
    -------
    dict
        A finding of the check ``time travel``; value: number of people with a feature from the future.
    """
    people = int(late["participant_id"].nunique())
    if people:
        row = late.iloc[0]
        text = (
            f"{people} people have features from after the {row['what']}: {row['participant_id']} {row['session_id']} "
            f"{row['feature']} at {row['time']:g} {unit}, {row['what']} {row['limit']:g} {unit}."
        )
        return {"check": TRAVEL, "status": "flag", "value": people, "limit": 0, "text": text}
    if landmark is None and outcome is None:
        return untimed()
    last = float(used["time"].max()) if len(used) else float("nan")
    until = "the outcome" if landmark is None else f"the landmark of {landmark:g} {unit}"
    text = f"The latest feature is from {last:g} {unit}; none is from after {until}."
    return {"check": TRAVEL, "status": "ok", "value": 0, "limit": 0, "text": text}


def refuse_time_travel(late, unit, *, where="config"):
    """Stop a model that looks into the future.

    Parameters
    ----------
    late : pandas.DataFrame
        From `time_travel`.
    unit : str
    where : str
        For the message.

    Raises
    ------
    InputError
        Names participant, session, feature, time and landmark (or the time of the outcome) of the first.
    """
    if not len(late):
        return
    row = late.iloc[0]
    others = len(late) - 1
    more = f" (and {others} further features)" if others else ""
    raise InputError(
        where,
        f"time of {row['feature']} of {row['participant_id']} {row['session_id']}",
        f"{row['time']:g} {unit}{more}",
        f"at most {row['limit']:g} {unit}, the {'landmark' if row['what'] == 'landmark' else 'time of the outcome'}",
        "name an earlier session, move the landmark, or set late: leave-out to use earlier visits only",
    )
