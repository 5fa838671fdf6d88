"""Mean matrix of a group: scans to participants, participants to the group, in Fisher z."""

import re

import numpy as np
import pandas as pd

from neurobraid.connectivity.matrix import BOUNDED, fisher_z, from_fisher_z, read_matrix, write_matrix
from neurobraid.errors import InputError
from neurobraid.files import read_json, write_json
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

WEIGHTING = "scans of a participant by minutes of clean data, participants equally"


def weighted_mean(stack, weights):
    """Mean over the first axis of the values that exist.

    Parameters
    ----------
    stack : numpy.ndarray, (N, ...)
        NaN: no value.
    weights : sequence of N float

    Returns
    -------
    numpy.ndarray, (...)
        NaN where nothing exists.
    """
    weights = np.asarray(weights, np.float64).reshape(-1, *[1] * (stack.ndim - 1))
    valid = np.isfinite(stack)
    total = (valid * weights).sum(0)
    sums = (np.where(valid, stack, 0.0) * weights).sum(0)
    return np.divide(sums, total, out=np.full(sums.shape, np.nan), where=total > 0)


def average(matrices, people, minutes, *, bounded=True):
    """Group mean of matrices.

    Parameters
    ----------
    matrices : list of pandas.DataFrame, (R, R)
        One per scan, the same regions in the same order.
    people : list of str
        Participant of every scan.
    minutes : list of float
        Clean minutes of every scan.
    bounded : bool
        Correlations, averaged in Fisher z; else the values themselves.

    Returns
    -------
    mean : pandas.DataFrame, (R, R)
        Every participant counts the same.
    participants : dict of str to pandas.DataFrame
        Mean of each participant.
    count : pandas.DataFrame of int, (R, R)
        Participants with that edge.
    """
    names = matrices[0].index
    for matrix in matrices[1:]:
        if not matrix.index.equals(names):
            raise InputError(
                "matrices", "regions", "different", "the same atlas for every scan", "make the matrices again"
            )
    into, back = (fisher_z, from_fisher_z) if bounded else (np.asarray, np.asarray)
    by_person = {}
    for person in dict.fromkeys(people):
        rows = [i for i, p in enumerate(people) if p == person]
        stack = np.stack([into(matrices[i].to_numpy(copy=True)) for i in rows])
        by_person[person] = weighted_mean(stack, [minutes[i] for i in rows])
    stack = np.stack(list(by_person.values()))
    frame = {"index": names, "columns": names}
    mean = pd.DataFrame(back(weighted_mean(stack, np.ones(len(stack)))), **frame)
    count = pd.DataFrame(np.isfinite(stack).sum(0), **frame)
    return mean, {p: pd.DataFrame(back(z), **frame) for p, z in by_person.items()}, count


def run(inputs, outputs, measures):
    """Average the matrices of a task and write one group matrix per measure.

    Parameters
    ----------
    inputs : object with attributes matrices, sidecars
        Of all scans, measure by measure.
    outputs : object with attributes matrices, sidecars
        Lists in the order of `measures`.
    measures : list of str
    """
    scans = len(inputs.matrices) // len(measures)
    for row, measure in enumerate(measures):
        paths = list(inputs.matrices)[row * scans : (row + 1) * scans]
        notes = [read_json(p) for p in list(inputs.sidecars)[row * scans : (row + 1) * scans]]
        people = [re.search(r"sub-[A-Za-z0-9+]+", str(path).rsplit("/", 1)[-1])[0] for path in paths]
        minutes = [float(note["CleanMinutes"]) for note in notes]
        mean, participants, count = average(
            [read_matrix(p) for p in paths], people, minutes, bounded=measure in BOUNDED
        )
        write_matrix(mean, list(outputs.matrices)[row])
        off = ~np.eye(len(mean), dtype=bool)
        content = sidecar(
            f"Group mean of region-by-region matrices{', averaged in Fisher z' if measure in BOUNDED else ''}.", paths, Measure=measure, Weighting=WEIGHTING,
            NumberOfParticipants=len(participants), NumberOfScans=scans, Strategy=notes[0].get("Strategy"),
            CleanMinutes={p: float(sum(m for q, m in zip(people, minutes, strict=True) if q == p)) for p in participants},
            ParticipantsPerEdge=[int(count.to_numpy()[off].min()), int(count.to_numpy()[off].max())],
        )  # fmt: skip
        write_json(content, list(outputs.sidecars)[row])
        log.info("%s: %d scans of %d participants", measure, scans, len(participants))
