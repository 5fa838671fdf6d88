"""Targets that belong to a visit, not to a person: a drug and its control, before and after.

Columns of the ``sub-<label>_sessions.tsv`` are joined by participant and session. Where a target differs between the visits
of one person, what is the same at all visits (age, sex, a volume measured once) can say nothing about it, and labels may
change places only within a person: that is the null of a design in which everybody is his own control.
"""

import math

import numpy as np

from neurobraid.errors import InputError
from neurobraid.prediction.permutation import exchange_units

#: Arrangements of labels below which a permutation test says how few there are.
FEW = 1000


def join_sessions(matched, sessions, table=None):
    """Rows of participants with what is known of each visit.

    Parameters
    ----------
    matched : pandas.DataFrame, (rows, columns)
        The participant of every row.
    sessions : sequence of str, (rows,)
        Session of every row; empty where a dataset has none.
    table : pandas.DataFrame, optional
        From `neurobraid.prediction.timeline.read_sessions`. A value of the visit takes the place of the participant's value of the same name.

    Returns
    -------
    pandas.DataFrame, (rows, columns)
        Same order and index, with ``session_id`` and the columns of `table`.
    """
    sessions = np.asarray(sessions, dtype=object)
    out = matched.copy()
    if table is not None and len(table):
        keys = list(zip(matched["participant_id"], sessions, strict=True))
        known = table.set_index(["participant_id", "session_id"]).reindex(keys)
        for column in known:
            values = known[column].to_numpy()
            if column in out:
                old = out[column].to_numpy(dtype=object)
                values = np.where(known[column].notna().to_numpy(), values.astype(object), old)
            out[column] = values
    out["session_id"] = [s or np.nan for s in sessions]
    return out


def refuse_columns_of_visits(model, table, *, file="participants.tsv"):
    """Refuse a plan, or a model to be kept, whose columns are of the visit: both read participants.tsv alone.

    Parameters
    ----------
    model : dict
        From `neurobraid.prediction.model.complete`.
    table : pandas.DataFrame
        From `neurobraid.prediction.timeline.read_sessions`.
    file : str
        For the message.

    Raises
    ------
    InputError
    """
    harmonize = model["harmonize"] or {}
    used = [
        model["target"], model["event"], model["groups"], model["site"], *model["confounds"], *model["demographics"],
        *(harmonize.get("covariates") or []),
    ]  # fmt: skip
    of_visits = ({"session_id"} | set(table.columns)) - {"participant_id"}
    found = [column for column in dict.fromkeys(used) if column in of_visits]
    if found:
        raise InputError(
            file, f"columns of model {model['name']}", f"{', '.join(found)} of the sessions tables",
            "columns of participants.tsv alone, for save or profile: confirmatory",
            "choose save: false and profile: exploratory, or columns of the person",
        )  # fmt: skip


def varies_within(participants, y):
    """Whether the target differs between the rows of at least one person.

    Parameters
    ----------
    participants : numpy.ndarray of str, (rows,)
    y : numpy.ndarray, (rows,)
    """
    return any(np.ptp(y[participants == person]) > 0 for person in np.unique(participants))


def exchangeable(data, units, blocks):
    """What may change places in a permutation test.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    units, blocks : numpy.ndarray of str, (rows,)
        Taken where the target is the same at all visits of a person.

    Returns
    -------
    units, blocks : numpy.ndarray of str, (rows,)
        Visits within a person where the target differs between them.
    """
    if not data.within:
        return units, blocks
    return np.array([f"{n}" for n in range(data.y.size)]), data.participants


def arrangements(units, blocks):
    """In how many ways exchangeable units can be arranged.

    Parameters
    ----------
    units, blocks : numpy.ndarray of str, (rows,)

    Returns
    -------
    float
        A number of ways; infinity beyond what a double holds.
    """
    log_ways = sum(math.lgamma(len(members) + 1) for members in exchange_units(units, blocks))
    return round(math.exp(log_ways)) if log_ways < math.log(1e15) else math.inf


def few_arrangements(units, blocks, kind):
    """A sentence for tests whose smallest p is set by the design and not by the number of permutations, else None.

    Parameters
    ----------
    units, blocks : numpy.ndarray of str, (rows,)
    kind : {'classification', 'regression'}
    """
    ways = arrangements(units, blocks)
    if ways >= FEW:
        return None
    pairs = all(len(members) == 2 for members in exchange_units(units, blocks) if len(members) > 1)
    # two classes that change names everywhere are told apart equally well
    least = (2 if pairs and kind == "classification" else 1) / ways
    return (
        f"Labels can be arranged in only {ways} ways, so p cannot fall below about {least:.2g} however many "
        "permutations are made."
    )
