"""What the built-in study consists of: who, which visits, which scans, on which grids.

Light on purpose (numpy and pandas only): the workflow asks for the scan table each time it is parsed, before any
image exists, so nothing here may open or import what the images need.
"""

import zlib
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import numpy as np
import pandas as pd

from neurobraid.bids.table import COLUMNS

TR = 2.0
"""Repetition time of every BOLD scan in s."""

CONDITIONS = ("left", "right")
"""Trial types of the motor task."""

TRACER = "RAC"
"""Label of the tracer entity: the scans resemble [11C]raclopride, they are not a model of it."""


@dataclass(frozen=True)
class Grid:
    """Voxels of one kind of scan.

    Attributes
    ----------
    shape : tuple of int
        Voxels along right, anterior and superior; how they lie in the array is the scanner's affair.
    voxel : float
        Edge in mm.
    volumes : dict
        Volumes by task (``"motor"``, ``"rest"``), empty for T1w and PET.
    """

    shape: tuple
    voxel: float
    volumes: dict


SIZES = {
    "tiny": {
        "participants": 5,
        "T1w": Grid((48, 60, 55), 4.0, {}),
        "bold": Grid((33, 38, 27), 6.0, {"motor": 80, "rest": 80}),
        "pet": Grid((36, 42, 35), 6.0, {}),
        "events": 7,
    },
    "demo": {
        "participants": 13,
        "T1w": Grid((96, 120, 110), 2.0, {}),
        "bold": Grid((48, 56, 40), 4.0, {"motor": 120, "rest": 180}),
        "pet": Grid((52, 62, 52), 4.0, {}),
        "events": 11,
    },
}
"""Sizes of the study. ``events`` counts the events of each condition in one motor run."""

TWO_RUNS, TWO_SESSIONS, NO_PET = "sub-02", "sub-03", "sub-04"
"""The three participants that keep the workflow honest. The second session of TWO_SESSIONS has only BOLD."""


@dataclass(frozen=True)
class Study:
    """Complete description of a built-in study.

    Attributes
    ----------
    size : {'tiny', 'demo'}
    seed : int
    participants : pandas.DataFrame
        Columns participant_id, age (years), sex, body_weight (kg), site, diagnosis, clinical_score.
    scans : pandas.DataFrame
        `COLUMNS` and n_volumes, tr; one row per scan.
    grids : dict of Grid
        By suffix.
    events : int
        Events of each condition in one motor run.
    """

    size: str
    seed: int
    participants: pd.DataFrame
    scans: pd.DataFrame
    grids: dict
    events: int

    def participant(self, participant_id):
        """Row of one participant.

        Raises
        ------
        KeyError
            No such participant.
        """
        rows = self.participants[self.participants["participant_id"] == participant_id]
        if rows.empty:
            raise KeyError(f"{participant_id} is not in the built-in study of size {self.size}")
        return rows.iloc[0]

    def scan(self, scan, suffix):
        """Row of one scan.

        Raises
        ------
        KeyError
            No such scan.
        """
        rows = self.scans[(self.scans["scan"] == scan) & (self.scans["suffix"] == suffix)]
        if rows.empty:
            raise KeyError(f"{scan}_{suffix} is not in the built-in study of size {self.size}")
        return rows.iloc[0]

    def random(self, *key):
        """Random generator of one purpose, independent of the order in which jobs run.

        Parameters
        ----------
        *key : str
            For instance the scan and the word ``"noise"``.

        Returns
        -------
        numpy.random.Generator
        """
        return np.random.default_rng([self.seed, *(zlib.crc32(part.encode()) for part in key)])


def _participants(count, seed):
    rng = np.random.default_rng([seed, zlib.crc32(b"participants")])
    number = np.arange(count)
    ids = [f"sub-{n + 1:02d}" for n in number]
    patient = number % 2 == 1
    # crossed with diagnosis as far as an odd count allows, so that site is not diagnosis in disguise
    site = np.where((number // 2) % 2 == 0, "A", "B")
    female = rng.permutation(np.arange(count) % 2 == 0)
    age = np.clip(np.round(rng.permutation(np.linspace(24, 72, count)) + rng.normal(0, 2, count)), 20, 79)
    weight = np.round(np.where(female, 64, 79) + rng.normal(0, 8, count), 1)
    score = np.round(8 + 12 * patient + 0.08 * (age - 48) + rng.normal(0, 3, count), 1)
    return pd.DataFrame(
        {
            "participant_id": ids,
            "age": age.astype(int),
            "sex": np.where(female, "F", "M"),
            "body_weight": np.clip(weight, 45, 110),
            "site": site,
            "diagnosis": np.where(patient, "patient", "control"),
            "clinical_score": np.clip(score, 0, 40),
        }
    )


def _visit_scans(participant, session):
    """Yield (suffix, task, trc, run) of one visit."""
    first = session in ("n/a", "ses-1")
    if first:
        yield "T1w", "n/a", "n/a", "n/a"
    for run in ("1", "2") if participant == TWO_RUNS else ("n/a",):
        yield "bold", "motor", "n/a", run
    yield "bold", "rest", "n/a", "n/a"
    if first and participant != NO_PET:
        yield "pet", "n/a", TRACER, "n/a"


def _scans(participants, grids):
    datatypes = {"T1w": "anat", "bold": "func", "pet": "pet"}
    rows = []
    for participant in participants["participant_id"]:
        for session in ("ses-1", "ses-2") if participant == TWO_SESSIONS else ("n/a",):
            visit = participant if session == "n/a" else f"{participant}/{session}"
            for suffix, task, trc, run in _visit_scans(participant, session):
                entities = [participant, "" if session == "n/a" else session]
                entities += [
                    f"{k}-{v}" for k, v in (("task", task), ("trc", trc), ("run", run)) if v != "n/a"
                ]
                scan = "_".join(part for part in entities if part)
                stem = f"{visit}/{datatypes[suffix]}/{scan}_{suffix}"
                shared = f"task-{task}_bold.json;" if suffix == "bold" else ""
                rows.append(
                    {
                        "scan": scan,
                        "participant_id": participant,
                        "session_id": session,
                        "visit": visit,
                        "datatype": datatypes[suffix],
                        "suffix": suffix,
                        "task": task,
                        "trc": trc,
                        "run": run,
                        "path": f"{stem}.nii.gz",
                        "sidecars": f"{shared}{stem}.json",
                        "events": f"{stem.removesuffix('_bold')}_events.tsv" if task == "motor" else "n/a",
                        "n_volumes": grids[suffix].volumes.get(task, 26 if suffix == "pet" else 1),
                        "tr": TR if suffix == "bold" else np.nan,
                    }
                )
    return pd.DataFrame(rows)


@cache
def study_design(size="demo", seed=1):
    """Describe the built-in study; the same arguments always give the same study.

    Parameters
    ----------
    size : {'tiny', 'demo'}
    seed : int

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        Unknown size.

    Examples
    --------
    >>> study_design("tiny").scan("sub-02_task-motor_run-2", "bold")["path"]
    'sub-02/func/sub-02_task-motor_run-2_bold.nii.gz'
    """
    if size not in SIZES:
        raise ValueError(f"synth.size is {size!r}; allowed: {', '.join(SIZES)}")
    settings = SIZES[size]
    grids = {suffix: settings[suffix] for suffix in ("T1w", "bold", "pet")}
    participants = _participants(settings["participants"], int(seed))
    return Study(size, int(seed), participants, _scans(participants, grids), grids, settings["events"])


SESSION_DATES = {"ses-1": "2024-03-04T09:30:00", "ses-2": "2024-04-01T10:15:00"}
"""Start of the two sessions of TWO_SESSIONS (``acq_time`` of its sessions file)."""


def scan_dates(size="demo", seed=1):
    """Dates of the scans whose session has one, for the pairing of scans across sessions.

    Parameters
    ----------
    size : {'tiny', 'demo'}
    seed : int

    Returns
    -------
    dict of str to datetime.date
        By path of the scan table.
    """
    scans = study_design(size, seed).scans
    dated = scans[scans["session_id"].isin(list(SESSION_DATES))]
    days = {session: datetime.fromisoformat(start).date() for session, start in SESSION_DATES.items()}
    return {path: days[session] for path, session in zip(dated["path"], dated["session_id"], strict=True)}


def scan_table(size="demo", seed=1):
    """Scan table of the built-in study, known before its first file is written.

    Parameters
    ----------
    size : {'tiny', 'demo'}
    seed : int

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, all text, ``n/a`` where an entity is absent; paths relative to the dataset; sidecars from
        the most general to the most specific, joined by ``;``.
    """
    return study_design(size, seed).scans[list(COLUMNS)].astype(str).copy()
