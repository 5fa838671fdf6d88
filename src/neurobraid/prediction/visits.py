"""Several visits of a person as one row of a model: baseline, change, change per year, slope, normative change.

Baseline, change and change per year look at one person at a time. Slopes that borrow strength from other people, and
changes as z scores of controls, learn from people: they are steps of the pipeline, fitted on training people only.
"""

from dataclasses import dataclass, field

import numpy as np

from neurobraid.errors import InputError
from neurobraid.fusion.table import wide
from neurobraid.prediction.folds import Unavailable
from neurobraid.prediction.timeline import (
    ORDER,
    YEARS,
    choose_visits,
    first_visits,
    label_of,
    refuse_time_travel,
    time_travel,
    timeline,
    travel_finding,
)

USES = ("baseline", "change", "annualised", "slope", "normative")
#: Every key of ``visits`` with its default; the schema says the same.
VISITS = {
    "use": "baseline",
    "baseline": "",
    "followup": "",
    "time": "acq_time",
    "unit": "",
    "landmark": None,
    "late": "refuse",
    "outcome_time": "",
    "min_visits": 2,
    "controls": None,
}
#: Fewest control people with both visits for a normative change, in the whole study.
CONTROLS = 20


@dataclass
class Visits:
    """What becomes of several visits.

    Attributes
    ----------
    features : pandas.DataFrame
        In the form of the fusion table, one row per person and feature, without sessions.
    parts : list of pandas.DataFrame
        Further numbers that the fitted step needs of every feature, in the same form.
    shared : dict of str to pandas.Series
        Further numbers of every person, by participant_id.
    step : dict or None
        Settings of `neurobraid.prediction.visit_steps.VisitStep`.
    finding : dict
        Result of the check ``time travel``.
    summary : dict
        What was used, for the summary of the model.
    """

    features: object
    parts: list = field(default_factory=list)
    shared: dict = field(default_factory=dict)
    step: dict | None = None
    finding: dict = field(default_factory=dict)
    summary: dict = field(default_factory=dict)

    def beside(self, view, record, min_coverage):
        """Columns that stand beside the features of one feature set.

        Parameters
        ----------
        view : pandas.DataFrame
            Features of the set, index participant_id.
        record : dict
            Its record: ``modality``, ``measure``, ``region``.
        min_coverage : float

        Returns
        -------
        numpy.ndarray, (people, columns)
            Parts, one after the other in the order of the features, then the shared columns; NaN for a person without
            any feature of the set.
        """
        columns = []
        for part in self.parts:
            table = wide(
                part, record["modality"], measure=record.get("measure") or (), region=record.get("region") or (),
                min_coverage=min_coverage,
            )  # fmt: skip
            columns.append(table.reindex(index=view.index, columns=view.columns).to_numpy(dtype=np.float64))
        there = np.isfinite(view.to_numpy(dtype=np.float64)).any(axis=1)
        if self.parts:
            there = there | np.isfinite(columns[0]).any(axis=1)
        for values in self.shared.values():
            column = values.reindex(view.index).to_numpy(dtype=np.float64)
            columns.append(np.where(there, column, np.nan)[:, None])
        return np.concatenate(columns, axis=1) if columns else np.empty((len(view), 0))


def complete_visits(record, where):
    """Fill ``visits`` of a model with the defaults; None stays None.

    Raises
    ------
    InputError
        An unknown key or value; a use that lacks what it needs.
    """
    if not record:
        return None
    unknown = sorted(set(record) - set(VISITS))
    if unknown:
        raise InputError(where, "visits", unknown[0], ", ".join(VISITS), "remove or correct the key")
    full = {**VISITS, **record}
    for key, options in (("use", USES), ("late", ("refuse", "leave-out"))):
        if full[key] not in options:
            raise InputError(where, f"visits.{key}", full[key], ", ".join(options), "choose one of them")
    if full["time"] == ORDER and (full["use"] in ("annualised", "slope") or full["landmark"] is not None):
        need = "a landmark" if full["landmark"] is not None else full["use"]
        raise InputError(
            where,
            "visits.time",
            ORDER,
            f"a time, for {need}",
            "name acq_time or a column of the sessions tables",
        )
    if full["use"] == "normative" and not {"column", "value"} <= set(full["controls"] or {}):
        raise InputError(
            where, "visits.controls", full["controls"], "column and value", "say who the controls are"
        )
    return full


def wanted_rows(features, records):
    """Rows of the fusion table that any feature set of a model takes.

    Parameters
    ----------
    features : pandas.DataFrame
    records : list of dict

    Returns
    -------
    pandas.DataFrame
    """
    keep = np.zeros(len(features), dtype=bool)
    for record in records:
        part = features["modality"].isin(list(record["modality"]))
        for column in ("measure", "region"):
            if record.get(column):
                part &= features[column].isin(list(record[column]))
        keep |= part.to_numpy()
    return features[keep]


def with_times(rows, line, where):
    """Rows with ``time`` (NaN where only the order is known) and ``place``; refuse sessions that no table knows."""
    # a person of whom no table knows a session came once; the others' values need one
    rows = rows[rows["session_id"].notna() | rows["participant_id"].isin(line.table["participant_id"])]
    bare = rows[rows["session_id"].isna()]
    if len(bare):
        row = bare.iloc[0]
        raise InputError(
            where, "session", f"n/a for {row['modality']} {row['measure']} of {row['participant_id']}",
            "a session for every feature", "a value that spans sessions has no time: leave it out, or remove visits",
        )  # fmt: skip
    rows = rows.assign(session_id=[label_of(s) for s in rows["session_id"]])
    joined = rows.merge(
        line.table[["participant_id", "session_id", "time", "place"]],
        on=["participant_id", "session_id"], how="left", validate="many_to_one",
    )  # fmt: skip
    lost = joined[joined["place"].isna()]
    if len(lost):
        row = lost.iloc[0]
        raise InputError(
            line.file, "session_id", f"{row['session_id']} of {row['participant_id']} missing",
            "every session that has features", "add the session with its time",
        )  # fmt: skip
    return joined


_KEY = ["participant_id", "modality", "measure", "region"]


def _pairs(rows, chosen):
    """Baseline and follow-up of every feature side by side."""
    rows = rows[rows["participant_id"].isin(chosen.index)]
    own = chosen.loc[rows["participant_id"]]
    session = rows["session_id"].to_numpy()
    first, last = (rows[session == own[name].to_numpy()] for name in ("baseline", "followup"))
    both = first.merge(
        last[[*_KEY, "value", "unit", "source"]], on=_KEY, suffixes=("", "_f"), validate="one_to_one"
    )
    odd = both[both["unit"] != both["unit_f"]]
    if len(odd):
        row = odd.iloc[0]
        raise InputError(
            "fusion table", f"unit of {row['measure']} of {row['participant_id']}",
            f"{row['unit']} and {row['unit_f']}", "one unit at all visits", "bring both visits to one unit",
        )  # fmt: skip
    return both


def _finish(frame, columns):
    return frame.assign(session_id=np.nan, coverage=1.0)[list(columns)].reset_index(drop=True)


def person_slopes(rows):
    """Least-squares slope of every feature of every person over years, and what it rests on.

    Parameters
    ----------
    rows : pandas.DataFrame
        Fusion table with ``years``.

    Returns
    -------
    pandas.DataFrame
        The keys, ``slope`` (unit per year; NaN with one visit), ``spread`` (sum of squared deviations of the times,
        year^2), ``rest`` (residual sum of squares), ``freedom`` (visits - 2, at least 0), ``visits``, and unit and source.
    """
    keyed = rows.assign(t=rows["years"], tt=rows["years"] ** 2, v=rows["value"], tv=rows["years"] * rows["value"],
                        vv=rows["value"] ** 2, one=1.0)  # fmt: skip
    # deviations from the person's own means first: squares of large values would lose digits
    means = keyed.groupby(_KEY)[["t", "v"]].transform("mean")
    t, v = keyed["t"] - means["t"], keyed["v"] - means["v"]
    keyed = keyed.assign(tt=t * t, tv=t * v, vv=v * v)
    out = keyed.groupby(_KEY, sort=False).agg(
        spread=("tt", "sum"), tv=("tv", "sum"), vv=("vv", "sum"), visits=("one", "sum"),
        unit=("unit", "first"), source=("source", "first"), coverage=("coverage", "min"),
    )  # fmt: skip
    out = out.reset_index()
    some = out["spread"] > 1e-12
    out["slope"] = np.where(some, out["tv"] / out["spread"].where(some, 1.0), np.nan)
    rest = np.maximum(out["vv"] - np.where(some, out["tv"] ** 2 / out["spread"].where(some, 1.0), 0.0), 0.0)
    out["freedom"] = np.where(some, np.maximum(out["visits"] - 2, 0), 0.0)
    out["rest"] = np.where(out["freedom"] > 0, rest, 0.0)
    out["spread"] = np.where(some, out["spread"], 0.0)
    return out


def visit_features(features, participants, sessions, units, model, *, file="participants.tsv"):
    """Turn the visits of a fusion table into one row per person, as a model's ``visits`` says.

    Parameters
    ----------
    features : pandas.DataFrame
        Fusion table.
    participants : pandas.DataFrame
    sessions, units
        From `neurobraid.prediction.timeline.read_sessions`.
    model : dict
        With ``visits`` from `complete_visits`, ``features``, ``min_coverage``, ``name``.
    file : str
        Name of the participants table.

    Returns
    -------
    Visits

    Raises
    ------
    InputError
        A session without a time, a feature from after the landmark or the outcome, controls that do not exist.
    Unavailable
        Nobody has the visits.
    """
    settings, where = model["visits"], f"config: prediction.models ({model['name']})"
    line = timeline(sessions, units, settings, where=where)
    people = participants.drop_duplicates("participant_id").set_index("participant_id")
    known = features[features["participant_id"].isin(people.index) & features["value"].notna()]
    rows = wanted_rows(known, model["features"])
    wanted = int(rows["participant_id"].nunique())
    rows = with_times(rows[~(rows["coverage"] < model["min_coverage"])], line, where)
    if line.timed:
        rows = rows[rows["time"].notna()]
    use, columns = settings["use"], features.columns
    chosen = choose_visits(line, settings)
    out = Visits(known.iloc[:0])
    if use == "baseline":
        first = first_visits(line, settings)
        rows = rows[rows["session_id"].to_numpy() == rows["participant_id"].map(first).to_numpy()]
        out.features = _finish(rows, columns)
    elif use == "slope":
        rows = _within(rows, line, settings, chosen)
        rows = rows.assign(years=rows["time"] * YEARS[line.unit])
        found = person_slopes(rows)
        found = found[found["visits"] >= settings["min_visits"]]
        out.features = _finish(found.assign(value=found["slope"], unit=found["unit"] + "/year"), columns)
        out.parts = [
            _finish(found.assign(value=found[name]), columns) for name in ("spread", "rest", "freedom")
        ]
        out.step = {"use": "slope"}
    else:
        both = _pairs(rows, chosen)
        gap = chosen["gap"].reindex(both["participant_id"]).to_numpy()
        change = both["value_f"] - both["value"]
        source = both["source"] + " " + both["source_f"]
        unit = both["unit"]
        if use == "annualised":
            change, unit = change / gap, unit + "/year"
        out.features = _finish(both.assign(value=change, unit=unit, source=source), columns)
        rows = rows.merge(
            chosen.reset_index()[["participant_id", "baseline", "followup"]], on="participant_id"
        )
        rows = rows[(rows["session_id"] == rows["baseline"]) | (rows["session_id"] == rows["followup"])]
        if use == "normative":
            out.parts = [_finish(both, columns)]
            if line.timed:
                out.shared["gap"] = chosen["gap"]
            out.shared["control"] = controls(
                people, settings["controls"], both["participant_id"].unique(), file
            )
            out.step = {"use": "normative", "shared": len(out.shared)}
    if not len(out.features):
        raise Unavailable(f"nobody has the visits for {use}")
    _check_times(out, rows, people, line, settings, where, file)
    out.summary = {
        "use": use,
        "time": line.column,
        "unit": line.unit or "order of sessions",
        "people": int(out.features["participant_id"].nunique()),
        "without": wanted - int(out.features["participant_id"].nunique()),
        "landmark": settings["landmark"],
        "fitted_in_fold": out.step is not None,
    }
    gaps = chosen["gap"].reindex(out.features["participant_id"].unique()).dropna()
    if use not in ("baseline", "slope") and len(gaps):
        out.summary |= {"gap_median_years": float(gaps.median()), "gap_low_years": float(gaps.min()),
                        "gap_high_years": float(gaps.max())}  # fmt: skip
    if use == "slope":
        out.summary["visits_per_person"] = float(found.groupby("participant_id")["visits"].max().mean())
    return out


def _within(rows, line, settings, chosen):
    """Visits of a slope: from the named baseline to the named follow-up, and up to the landmark if asked."""
    if settings["landmark"] is not None and settings["late"] == "leave-out":
        rows = rows[rows["time"] <= settings["landmark"]]
    place = line.table.set_index(["participant_id", "session_id"])["place"]
    for name, keep in (("baseline", np.greater_equal), ("followup", np.less_equal)):
        if settings[name]:
            own = rows["participant_id"].map(chosen[name])
            rows = rows[own.notna()]
            pairs = list(zip(rows["participant_id"], own.dropna(), strict=True))
            rows = rows[keep(rows["place"].to_numpy(), place.reindex(pairs).to_numpy())]
    return rows


def controls(people, wanted, ids, file):
    """1 for control people, else 0; pandas.Series by participant_id.

    Parameters
    ----------
    people : pandas.DataFrame
        Index participant_id.
    wanted : dict
        ``column`` and ``value``.
    ids : iterable of str
        Who has both visits.
    file : str

    Raises
    ------
    InputError
        No such column or value.
    Unavailable
        Fewer than `CONTROLS` controls with both visits.
    """
    column, value = wanted["column"], str(wanted["value"])
    if column not in people:
        raise InputError(
            file, "visits.controls", column, ", ".join(people.columns), "name a column of the table"
        )
    text = people[column].astype(str)
    if value not in set(text):
        raise InputError(
            file, column, ", ".join(sorted(set(text))), f"some {value}", "name a value of the column"
        )
    count = int((text.reindex(ids) == value).sum())
    if count < CONTROLS:
        raise Unavailable(f"{count} controls have both visits; a normative change needs {CONTROLS}")
    return (text == value).astype(float)


def _check_times(out, rows, people, line, settings, where, file):
    """Fill the finding, and stop when a feature comes from the future."""
    import pandas as pd

    used = rows.assign(feature=rows["modality"] + " " + rows["measure"])
    used = used.drop_duplicates(["participant_id", "session_id", "feature"])
    used = used[["participant_id", "session_id", "feature", "time"]]
    after = None
    if settings["outcome_time"]:
        if settings["outcome_time"] not in people:
            raise InputError(
                file, "visits.outcome_time", settings["outcome_time"], ", ".join(people.columns),
                "name a column with the time of the outcome, on the clock of visits.time",
            )  # fmt: skip
        after = pd.to_numeric(people[settings["outcome_time"]], errors="coerce")
    late = time_travel(used, settings["landmark"], after, line.unit)
    refuse_time_travel(late, line.unit, where=where)
    out.finding = travel_finding(used, late, settings["landmark"], after, line.unit)
