"""From the fusion table and the participants to the arrays of one model, joined by label, nobody lost silently."""

from dataclasses import dataclass, field

import numpy as np

from neurobraid.errors import InputError, ProblemList
from neurobraid.fusion.table import wide
from neurobraid.prediction.folds import Unavailable, check_groups
from neurobraid.prediction.steps import trailing
from neurobraid.prediction.survival import encode as signed
from neurobraid.prediction.visit_targets import join_sessions, varies_within


@dataclass
class Dataset:
    """Arrays of one model, rows sorted by participant and session.

    Attributes
    ----------
    tables : dict of str to numpy.ndarray, (rows, features + confounds)
        Feature columns first, confounds last; NaN where missing.
    names : dict of str to list of str
        Feature names of every modality.
    confounds : int
        Confound columns.
    demographics : numpy.ndarray, (rows, columns)
    y : numpy.ndarray, (rows,)
        -1 and 1, numbers, ranks from 1, or times (negative without the event).
    classes : list of str
        Names of -1 and 1, or of the ranks; empty for numbers and times.
    participants, sessions, groups, sites : numpy.ndarray of str, (rows,)
    flow : list of dict
        How many people were left out and why, in order.
    harmonize : dict or None
        See `neurobraid.prediction.steps.trailing`; its columns stand between features and confounds.
    reference : numpy.ndarray of bool, (rows,)
        People from whom an unseen site may be harmonised; never trained on, never tested.
    nuisance : dict of str to numpy.ndarray, (rows, columns)
        ``site``, ``demographics``, ``motion``, ``acquisition`` and ``missing`` as far as they are known: what the audit tries instead
        of images.
    slices : dict of str to numpy.ndarray of str, (rows,)
        Site, and every demographic column (numbers in bands): groups for whom results are reported apart.
    families : numpy.ndarray of str, (rows,)
        Column ``family_id`` if there is one, else the participants.
    visits : dict or None
        Settings of `neurobraid.prediction.visit_steps.VisitStep`; its further columns stand after the features.
    times : dict or None
        What the check ``time travel`` found.
    within : bool
        The target differs between visits of one person.
    kinds : dict of str to str
        What a feature set is: ``table``, or a kind of `neurobraid.prediction.sources.Source`.
    shapes : dict of str to tuple of int
        Shape of one person's features, for members that read maps or series.
    """

    tables: dict
    names: dict
    confounds: int
    demographics: np.ndarray
    y: np.ndarray
    classes: list
    participants: np.ndarray
    sessions: np.ndarray
    groups: np.ndarray
    sites: np.ndarray
    flow: list = field(default_factory=list)
    harmonize: dict | None = None
    reference: np.ndarray | None = None
    nuisance: dict = field(default_factory=dict)
    slices: dict = field(default_factory=dict)
    families: np.ndarray | None = None
    visits: dict | None = None
    times: dict | None = None
    within: bool = False
    kinds: dict = field(default_factory=dict)
    shapes: dict = field(default_factory=dict)

    @property
    def last(self):
        """Number of columns after the features."""
        return trailing(self.confounds, self.harmonize)

    @property
    def extra(self):
        """Reference rows."""
        return np.flatnonzero(self.reference) if self.reference is not None else np.empty(0, dtype=int)


def encode(table, columns, *, file):
    """Numbers as they are, categories as one column per level.

    Parameters
    ----------
    table : pandas.DataFrame
    columns : iterable of str
    file : str

    Returns
    -------
    numpy.ndarray, (rows, encoded), float64
        A missing category is NaN in all its columns; it is filled inside the fold.

    Raises
    ------
    InputError
        A column is not in the table.
    """
    import pandas as pd

    parts = [np.empty((len(table), 0))]
    for column in columns:
        if column not in table:
            raise InputError(file, "column", column, ", ".join(table.columns), "name a column of the table")
        numbers = pd.to_numeric(table[column], errors="coerce")
        if numbers.notna().sum() == table[column].notna().sum():
            parts.append(numbers.to_numpy(dtype=np.float64)[:, None])
            continue
        levels = sorted(table[column].dropna().astype(str).unique())
        coded = np.stack(
            [(table[column].astype(str) == level).to_numpy(dtype=np.float64) for level in levels], axis=1
        )
        coded[table[column].isna().to_numpy()] = np.nan
        parts.append(coded)
    return np.concatenate(parts, axis=1)


def _target(people, model, file):
    import pandas as pd

    column = model["target"]
    if column not in people:
        raise InputError(
            file, "target", column, ", ".join(people.columns),
            f"name a column of {file}; one of the sessions tables, or session_id, needs rows: visit",
        )  # fmt: skip
    values = people[column]
    if model["kind"] == "regression":
        numbers = pd.to_numeric(values, errors="coerce")
        wrong = values[numbers.isna() & values.notna()]
        if len(wrong):
            raise InputError(
                file, column, wrong.iloc[0], "a number or n/a", "correct it, or choose classification"
            )
        return numbers.to_numpy(dtype=np.float64), []
    if model["kind"] == "survival":
        return _times(people, model, file), []
    text = values.astype("object").where(values.notna())
    if model["kind"] == "ordinal":
        classes = [str(c) for c in model["classes"]]
        absent = [c for c in classes if c not in set(text.dropna().astype(str))]
        if absent:
            found = sorted({str(v) for v in text.dropna()})
            raise InputError(
                file, f"{column}, classes", absent, f"values of the column: {found}", "correct classes"
            )
        ranks = {name: rank for rank, name in enumerate(classes, start=1)}
        return np.array([ranks.get(str(v), np.nan) for v in text], dtype=np.float64), classes
    found = sorted({str(v) for v in text.dropna()})
    classes = [str(c) for c in model.get("classes") or []]
    unknown = [c for c in classes if c not in found]
    if unknown or (classes and len(classes) != 2):
        raise InputError(file, "classes", classes, f"two of {found}", "name two values of the target")
    if not classes:
        if len(found) > 2:
            raise InputError(
                file, column, found, "two classes", "name two of them in classes: [first, second]"
            )
        if len(found) < 2:
            raise Unavailable(f"the target {column} has {len(found)} class(es); two are needed")
        classes = found
    codes = text.map(
        lambda v: (
            {classes[0]: -1.0, classes[1]: 1.0}.get(str(v), np.nan)
            if isinstance(v, str) or v == v
            else np.nan
        )
    )
    return codes.to_numpy(dtype=np.float64), classes


def _times(people, model, file):
    """Times and events as one number; see `neurobraid.prediction.survival.encode`."""
    import pandas as pd

    if model["event"] not in people:
        raise InputError(file, "event", model["event"], ", ".join(people.columns), f"name a column of {file}")
    times, events = (pd.to_numeric(people[c], errors="coerce") for c in (model["target"], model["event"]))
    text = people[model["event"]].astype(object).where(people[model["event"]].notna())
    events = events.where(events.notna(), text.map({"True": 1.0, "False": 0.0, True: 1.0, False: 0.0}))
    problems = ProblemList()
    for column, found, allowed, fix in (
        (model["event"], people[model["event"]][text.notna() & ~events.isin([0, 1])], "0, 1 or n/a",
         "write 1 where the event was seen and 0 where observation ended without it"),
        (model["target"], people[model["target"]][people[model["target"]].notna() & ~(times > 0)],
         "a time above 0, or n/a", "write the time from the start of observation to the event or to its end"),
    ):  # fmt: skip
        if len(found):
            problems.add(file, f"{column} of {found.index[0]}", found.iloc[0], allowed, fix)
    problems.raise_errors()
    return signed(times.to_numpy(dtype=np.float64), events.to_numpy(dtype=np.float64) > 0) * np.where(
        events.isna(), np.nan, 1.0
    )


def _bare(name):
    """Identifier without prefix and leading zeros, to find the same person under another form."""
    return str(name).removeprefix("sub-").lstrip("0")


def _check_features(features, people):
    """Refuse infinite values and identifiers of another form than those of the participants."""
    wrong = features[np.isinf(features["value"].to_numpy(dtype=np.float64))]
    if len(wrong):
        row = wrong.iloc[0]
        raise InputError(
            "fusion table", f"{row['modality']} {row['measure']} {row['region']} of {row['participant_id']}", "infinite",
            "finite numbers or n/a", "find the division by zero, or write n/a",
        )  # fmt: skip
    ids, known = set(features["participant_id"].astype(str)), set(people.index.astype(str))
    if ids and known and not ids & known and {_bare(i) for i in ids} & {_bare(k) for k in known}:
        raise InputError(
            "fusion table", "participant_id", min(ids), f"the form of participants.tsv, such as {min(known)}",
            "write identifiers the same way in both tables",
        )  # fmt: skip


def _harmonize(matched, sites, wanted, target, file):
    """Columns that the harmonisation needs, its settings, and the reference rows."""
    nobody = np.zeros(len(matched), dtype=bool)
    if not wanted:
        return np.empty((len(matched), 0)), None, nobody
    covariates = wanted.get("covariates") or []
    if target in covariates:
        raise InputError(
            file, "harmonize.covariates", target, "columns other than the target",
            "remove the target: to preserve it, the label of the person tested must be known",
        )  # fmt: skip
    columns, reference = encode(matched, covariates, file=file), nobody
    if wanted["unseen"] == "reference":
        name = wanted.get("reference") or ""
        if name not in matched:
            raise InputError(
                file,
                "harmonize.reference",
                name or "missing",
                ", ".join(matched.columns),
                "name a column of yes and no",
            )
        reference = matched[name].astype(str).str.lower().isin(["1", "1.0", "true", "yes"]).to_numpy()
    names = tuple(sorted(set(sites.tolist())))
    codes = np.array([names.index(s) for s in sites], dtype=np.float64)
    table = np.concatenate([columns, reference[:, None].astype(np.float64), codes[:, None]], axis=1)
    how = {"covariates": columns.shape[1], "unseen": wanted["unseen"], "names": names}
    return table, {**how, "method": wanted["method"]}, reference


def _bands(values):
    """Numbers as thirds of their distribution, categories as they are; for reports of subgroups."""
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().sum() < values.notna().sum() or numbers.nunique() < 6:
        return values.astype(object).where(values.notna(), "n/a").astype(str).to_numpy()
    low, high = np.quantile(numbers.dropna(), [1 / 3, 2 / 3])
    names = [f"below {low:.3g}", f"{low:.3g} to {high:.3g}", f"above {high:.3g}"]
    place = 1 + (numbers > high).to_numpy() * 1 - (numbers < low).to_numpy() * 1
    return np.where(numbers.isna(), "n/a", np.array(names)[place])


def _days(values):
    """Dates as days since the first, numbers as they are; (rows, 1)."""
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().sum() < values.notna().sum():
        dates = pd.to_datetime(values, errors="coerce", format="ISO8601", utc=True)
        numbers = (dates - dates.min()) / pd.Timedelta(days=1)
    return numbers.to_numpy(dtype=np.float64)[:, None]


def _nuisance(matched, views, index, model, sites, file):
    found = {}
    if np.unique(sites).size > 1:
        found["site"] = (sites[:, None] == np.unique(sites)).astype(np.float64)
    if model["demographics"]:
        found["demographics"] = encode(matched, model["demographics"], file=file)
    if model["motion"] in matched:
        found["motion"] = encode(matched, [model["motion"]], file=file)
    if model.get("acquisition") in matched:
        found["acquisition"] = _days(matched[model["acquisition"]])
    missing = np.concatenate(
        [~np.isfinite(v.reindex(index).to_numpy(dtype=np.float64)) for v in views.values()], axis=1
    )
    varied = np.unique(missing[:, missing.any(axis=0) & ~missing.all(axis=0)], axis=1)
    if varied.size:
        found["missing"] = varied.astype(np.float64)
    return found


def build(
    features, participants, model, *, file="participants.tsv", visits=None, sessions=None, sources=None
):
    """Arrays of one model.

    Parameters
    ----------
    features : pandas.DataFrame
        Fusion table.
    participants : pandas.DataFrame
    model : dict
        One record of ``prediction.models`` with its defaults filled in.
    file : str
        Name of the participants table for messages.
    visits : neurobraid.prediction.visits.Visits, optional
        Where `features` are made from several visits.
    sessions : pandas.DataFrame, optional
        What is known of each visit, from `neurobraid.prediction.timeline.read_sessions`; used with ``rows`` visit, where
        the target, confounds and all other columns may be of the visit.
    sources : dict of str to neurobraid.prediction.sources.Source, optional
        Feature sets that are not in the fusion table.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        A column named in the model is missing, groups or targets contradict each other, the target is a confound.
    Unavailable
        No rows, or a single class.
    """
    for own in filter(None, (model["target"], model.get("event"))):
        if own in [*model["confounds"], *model["demographics"]]:
            raise InputError(file, "confounds", own, "columns other than the target", "remove the target")
    people = participants.drop_duplicates("participant_id").set_index("participant_id", drop=False)
    if len(people) < len(participants):
        twice = participants["participant_id"][participants["participant_id"].duplicated()].iloc[0]
        raise InputError(
            file, "participant_id", f"{twice} twice", "every participant once", "remove the extra row"
        )
    sources = sources or {}
    if len(features):
        _check_features(features, people)
    rows = model["rows"]
    views, flow = {}, [{"step": "participants in the table", "left": len(people)}]
    for record in model["features"]:
        if record["name"] in sources:
            view = sources[record["name"]].view
        else:
            view = wide(
                features,
                record["modality"],
                measure=record.get("measure") or (),
                region=record.get("region") or (),
                rows=rows,
                min_coverage=model["min_coverage"],
            )
        if view.empty:
            kind = record.get("series") or record.get("maps") or ", ".join(record.get("modality") or ())
            raise Unavailable(f"nobody has the features of {record['name']} ({kind})")
        views[record["name"]] = view
    index = None
    for view in views.values():
        if index is None:
            index = view.index
        else:
            index = (
                index.intersection(view.index)
                if model["missing_modality"] == "complete"
                else index.union(view.index)
            )
    index = index.sort_values()
    ids = index.get_level_values("participant_id").to_numpy(dtype=object)
    word = "every modality" if model["missing_modality"] == "complete" else "any modality"
    known = np.isin(ids, people.index.to_numpy(dtype=object))
    flow.append({"step": f"with {word}", "left": int(np.unique(ids[known]).size)})
    index, ids = index[known], ids[known]
    if not len(index):
        raise Unavailable(f"no participant has {word}")
    matched = people.loc[ids]
    if rows == "visit":
        matched = join_sessions(matched, index.get_level_values("session_id"), sessions)
    y, classes = _target(matched, model, file)
    use = np.isfinite(y)
    flow.append({"step": f"with the target {model['target']}", "left": int(np.unique(ids[use]).size)})
    index, ids, matched, y = index[use], ids[use], matched[use], y[use]
    if not len(index):
        raise Unavailable(f"no participant has the target {model['target']}")
    if model["kind"] == "survival" and not np.any(y > 0):
        raise Unavailable(f"nobody left has the event {model['event']}")
    if not classes and np.ptp(y) == 0:
        raise Unavailable(f"the target {model['target']} is the same for everybody")
    if classes and np.unique(y).size < 2:
        raise Unavailable(f"only one class of {model['target']} is left")
    sessions = (
        index.get_level_values("session_id").to_numpy(dtype=object)
        if rows == "visit"
        else np.full(len(ids), "", object)
    )
    column = model["groups"]
    if column not in matched:
        raise InputError(file, "groups", column, ", ".join(matched.columns), "name a column of the table")
    groups = matched[column].astype("object").where(matched[column].notna(), matched["participant_id"])
    groups = groups.to_numpy(dtype=object).astype(str)
    site = model["site"]
    sites = (
        matched[site].fillna("n/a").to_numpy().astype(str)
        if site in matched
        else np.full(len(ids), "one site")
    )
    check_groups(ids.astype(str), groups, y, model["kind"], file=file, column=column, within=rows == "visit")
    confounds = encode(matched, model["confounds"], file=file)
    before, harmonize, reference = _harmonize(matched, sites, model["harmonize"], model["target"], file)
    beside = {n: np.empty((len(index), 0)) for n in views}
    if visits is not None and visits.step:
        beside = {
            r["name"]: visits.beside(views[r["name"]].reindex(index), r, model["min_coverage"])
            for r in model["features"]
        }
    tables = {
        n: np.concatenate([v.reindex(index).to_numpy(dtype=np.float64), beside[n], before, confounds], axis=1)
        for n, v in views.items()
    }
    return Dataset(
        tables=tables,
        names={n: list(v.columns) for n, v in views.items()},
        confounds=confounds.shape[1],
        demographics=encode(matched, model["demographics"], file=file),
        y=y,
        classes=classes,
        participants=ids.astype(str),
        sessions=sessions.astype(str),
        groups=groups,
        sites=sites,
        flow=flow,
        harmonize=harmonize,
        reference=reference,
        nuisance=_nuisance(matched, views, index, model, sites, file),
        slices={
            **({model["site"]: sites} if np.unique(sites).size > 1 else {}),
            **{c: _bands(matched[c]) for c in model["demographics"]},
        },
        kinds={n: sources[n].kind if n in sources else "table" for n in views},
        shapes={n: sources[n].shape for n in views if n in sources},
        families=(
            matched["family_id"].astype(object).where(matched["family_id"].notna(), matched["participant_id"])
            if "family_id" in matched
            else matched["participant_id"]
        )
        .to_numpy()
        .astype(str),
        visits=visits.step if visits is not None else None,
        times=visits.finding if visits is not None else None,
        within=varies_within(ids.astype(str), y),
    )
