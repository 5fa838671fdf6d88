"""Group designs: a dataset node of a Stats Model becomes a matrix over participants, with what is missing stated."""

import fnmatch
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurobraid.activation.statsmodel import SOFTWARE, contrasts_of
from neurobraid.errors import InputError

SMALLEST_GROUP = 3
ESTIMATORS = ("ols", "mixed")


@dataclass(frozen=True)
class GroupDesign:
    """A design over participants.

    Attributes
    ----------
    matrix : pandas.DataFrame, (N, P)
        Index participant_id; full column rank.
    contrasts : list of dict
        name, test (t or F), rows (numpy.ndarray, (Q, P)).
    estimator : {'ols', 'mixed'}
    missing : list of dict
        participant_id and reason of everyone who is not in the matrix.
    sizes : dict of str to int
        Participants per group label; empty without groups.
    """

    matrix: pd.DataFrame
    contrasts: list
    estimator: str
    missing: list
    sizes: dict

    def contrast(self, name):
        """Rows of one contrast, (Q, P)."""
        return next(c["rows"] for c in self.contrasts if c["name"] == name)


def read_participants(path):
    """Table of participants, index participant_id with its ``sub-``.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    pandas.DataFrame
    """
    from neurobraid.files import read_tsv

    table = read_tsv(path)
    if "participant_id" not in table:
        raise InputError(path, "columns", ", ".join(table), "participant_id", "add the column")
    doubled = table["participant_id"][table["participant_id"].duplicated()]
    if len(doubled):
        raise InputError(path, "participant_id", f"{doubled.iloc[0]} twice", "one row each", "remove a row")
    return table.set_index("participant_id")


def columns_needed(node):
    """Columns of ``participants.tsv`` that a dataset node needs, and which of them name groups.

    Returns
    -------
    groups, covariates : list of str
    """
    steps = (node.get("Transformations") or {}).get("Instructions") or []
    groups = [name for s in steps if s["Name"] == "Factor" for name in _listed(s["Input"])]
    entries = [entry for entry in node["Model"]["X"] if isinstance(entry, str)]
    covariates = [entry for entry in entries if entry.split(".")[0] not in groups]
    return groups, covariates


def _listed(value):
    return [value] if isinstance(value, str) else list(value)


def build(node, participants, people, *, file="participants.tsv", without=()):
    """Build the design of a dataset node.

    Groups are coded as one column per label (cell means), covariates as the node's transformations say. Demean and Scale
    act within the participants analysed, not within the table.

    Parameters
    ----------
    node : dict
        Dataset node of a Stats Model.
    participants : pandas.DataFrame
        From `read_participants`; may be empty for a design of the mean alone.
    people : list of str
        Participants who have the estimates, in order.
    file : str
        Named in errors.
    without : iterable of (str, str)
        Participants who have none, with the reason.

    Returns
    -------
    GroupDesign

    Raises
    ------
    InputError
        A column is not in the table, is no number or constant; a group is too small; columns cannot be told apart; a
        contrast names an unknown column.
    """
    name = node["Name"]
    groups, covariates = columns_needed(node)
    missing = [{"participant_id": person, "reason": reason} for person, reason in without]
    kept = []
    for column in [*groups, *covariates]:
        if column not in participants:
            raise InputError(
                file, "columns", ", ".join(map(str, participants.columns)) or "none", f"{column} (design {name})",
                "add the column, or correct the design",
            )  # fmt: skip
    for person in people:
        absent = [
            c
            for c in [*groups, *covariates]
            if person not in participants.index or _is_missing(participants.at[person, c])
        ]
        if absent:
            missing.append({"participant_id": person, "reason": f"no {', '.join(absent)} in {file}"})
        else:
            kept.append(person)
    if not kept:
        raise InputError(
            file, f"design {name}", "no participant with every column", "some", "complete the table"
        )
    columns, sizes = {}, {}
    for column in groups:
        labels = participants.loc[kept, column].map(_text)
        counts = labels.value_counts().sort_index()
        sizes |= counts.to_dict()
        small = counts[counts < SMALLEST_GROUP]
        if len(small):
            raise InputError(
                file, f"{column} (design {name})", f"{small.iloc[0]} participant(s) with {small.index[0]}",
                f"{SMALLEST_GROUP} or more per group", "merge groups, or leave the design out",
            )  # fmt: skip
        if len(counts) == 1:
            raise InputError(
                file, f"{column} (design {name})", f"only {counts.index[0]}", "two groups or more",
                "use a design of the mean, or correct the column",
            )  # fmt: skip
        columns |= {f"{column}.{label}": (labels == label).to_numpy(np.float64) for label in counts.index}
    for column in covariates:
        columns[column] = _numbers(participants.loc[kept, column], column, name, file)
    columns = _transformed(node, columns)
    matrix = _chosen(node, columns, kept, file)
    if len(matrix) - matrix.shape[1] < 1:
        raise InputError(
            file, f"design {name}", f"{len(matrix)} participants", f"more than {matrix.shape[1]} (columns)",
            "use fewer columns",
        )  # fmt: skip
    if np.linalg.matrix_rank(matrix.to_numpy()) < matrix.shape[1]:
        raise InputError(
            file, f"design {name}", f"columns {', '.join(matrix)} that imply one another", "independent columns",
            "take one out (a group of all participants and the mean are the same)",
        )  # fmt: skip
    estimator = ((node["Model"].get("Software") or {}).get(SOFTWARE) or {}).get("Estimator", "ols")
    if estimator not in ESTIMATORS:
        raise InputError(
            "model", f"{name}.Estimator", estimator, ", ".join(ESTIMATORS), "choose one of these"
        )
    return GroupDesign(matrix, _contrasts(node, matrix), estimator, missing, sizes)


def _is_missing(value):
    return value is None or value != value or (isinstance(value, str) and value.strip() in ("", "n/a"))


def _text(value):
    """Group label as text: 1.0 of a numeric column is 1."""
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)


def _numbers(values, column, design, file):
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(numbers).all():
        wrong = values[~np.isfinite(numbers)].iloc[0]
        raise InputError(
            file,
            f"{column} (design {design})",
            wrong,
            "a number",
            "list the column under groups, or correct it",
        )
    if np.ptp(numbers) <= 1e-12 * max(np.abs(numbers).max(), 1e-300):
        raise InputError(
            file, f"{column} (design {design})", f"{numbers[0]:g} for every participant", "a value that varies",
            "take the covariate out",
        )  # fmt: skip
    return numbers


def _transformed(node, columns):
    for step in (node.get("Transformations") or {}).get("Instructions") or []:
        if step["Name"] not in ("Demean", "Scale"):
            continue
        for name in _listed(step["Input"]):
            values = columns[name] - columns[name].mean()
            if step["Name"] == "Scale" and str(step.get("Rescale", True)).lower() == "true":
                values = values / columns[name].std(ddof=1)
            columns[name] = values
    return columns


def _chosen(node, columns, people, file):
    wanted = {}
    for entry in node["Model"]["X"]:
        if entry == 1:
            wanted["mean"] = np.ones(len(people))
            continue
        found = [c for c in columns if fnmatch.fnmatchcase(c, entry)]
        if not found:
            raise InputError(
                file, f"X of {node['Name']}", entry, ", ".join(columns), "name a group label or covariate"
            )
        wanted |= {c: columns[c] for c in found}
    return pd.DataFrame(wanted, index=pd.Index(people, name="participant_id"))


def _contrasts(node, matrix):
    out = []
    for record in contrasts_of(node):
        rows = np.zeros((len(record["rows"]), matrix.shape[1]))
        for place, row in enumerate(record["rows"]):
            for column, weight in row.items():
                column = "mean" if column == "1" else column
                if column not in matrix:
                    raise InputError(
                        "model", f"{node['Name']}.Contrasts.{record['name']}", column, ", ".join(matrix),
                        "weight columns of the design",
                    )  # fmt: skip
                rows[place, matrix.columns.get_loc(column)] = weight
        if np.linalg.matrix_rank(rows) < len(rows):
            raise InputError(
                "model", f"{node['Name']}.Contrasts.{record['name']}", "rows that repeat each other",
                "independent rows", "remove the row that the others imply",
            )  # fmt: skip
        out.append({"name": record["name"], "test": record["test"], "rows": rows})
    return out
