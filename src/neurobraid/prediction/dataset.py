"""From the fusion table and the participants to the arrays of one model, joined by label, nobody lost silently."""

from dataclasses import dataclass, field

import numpy as np

from neurobraid.errors import InputError
from neurobraid.fusion.table import wide
from neurobraid.prediction.folds import Unavailable, check_groups


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
        -1 and 1, or numbers.
    classes : list of str
        Names of -1 and 1; empty for a regression.
    participants, sessions, groups, sites : numpy.ndarray of str, (rows,)
    flow : list of dict
        How many people were left out and why, in order.
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
        raise InputError(file, "target", column, ", ".join(people.columns), f"name a column of {file}")
    values = people[column]
    if model["kind"] == "regression":
        numbers = pd.to_numeric(values, errors="coerce")
        wrong = values[numbers.isna() & values.notna()]
        if len(wrong):
            raise InputError(
                file, column, wrong.iloc[0], "a number or n/a", "correct it, or choose classification"
            )
        return numbers.to_numpy(dtype=np.float64), []
    text = values.astype("object").where(values.notna())
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


def build(features, participants, model, *, file="participants.tsv"):
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
    if model["target"] in [*model["confounds"], *model["demographics"]]:
        raise InputError(
            file, "confounds", model["target"], "columns other than the target", "remove the target"
        )
    people = participants.drop_duplicates("participant_id").set_index("participant_id", drop=False)
    if len(people) < len(participants):
        twice = participants["participant_id"][participants["participant_id"].duplicated()].iloc[0]
        raise InputError(
            file, "participant_id", f"{twice} twice", "every participant once", "remove the extra row"
        )
    rows = model["rows"]
    views, flow = {}, [{"step": "participants in the table", "left": len(people)}]
    for record in model["features"]:
        view = wide(
            features,
            record["modality"],
            measure=record.get("measure") or (),
            region=record.get("region") or (),
            rows=rows,
            min_coverage=model["min_coverage"],
        )
        if view.empty:
            raise Unavailable(
                f"nobody has the features of {record['name']} ({', '.join(record['modality'])})"
            )
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
    y, classes = _target(matched, model, file)
    use = np.isfinite(y)
    flow.append({"step": f"with the target {model['target']}", "left": int(np.unique(ids[use]).size)})
    index, ids, matched, y = index[use], ids[use], matched[use], y[use]
    if not len(index):
        raise Unavailable(f"no participant has the target {model['target']}")
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
    check_groups(ids.astype(str), groups, y, model["kind"], file=file, column=column)
    confounds = encode(matched, model["confounds"], file=file)
    tables = {
        n: np.concatenate([v.reindex(index).to_numpy(dtype=np.float64), confounds], axis=1)
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
    )
