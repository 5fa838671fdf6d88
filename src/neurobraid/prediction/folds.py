"""Folds made once for all feature sets, with groups kept whole at the outer and the inner level."""

import hashlib
import warnings
from dataclasses import dataclass

import numpy as np

from neurobraid.errors import InputError


class Unavailable(Exception):
    """The model cannot be fitted with these people; the reason goes into the summary."""


@dataclass(frozen=True)
class Folds:
    """Assignment of every row to test folds.

    Attributes
    ----------
    outer : numpy.ndarray of int, (repeats, rows)
        Outer test fold; -1 for rows that are never tested.
    inner : list of list of numpy.ndarray of int, [repeat][fold] -> (rows,)
        Inner test fold of the training rows of that outer fold; -1 for its test rows and for rows not used in it.
    """

    outer: np.ndarray
    inner: list

    def splits(self):
        """Yield repeat, fold, train rows, test rows, inner fold of the train rows."""
        for repeat, assigned in enumerate(self.outer):
            for fold in range(int(assigned.max()) + 1):
                inside = self.inner[repeat][fold]
                train = np.flatnonzero(inside >= 0)
                yield repeat, fold, train, np.flatnonzero(assigned == fold), inside[train]

    @property
    def test_share(self):
        """Test people per training person, mean over folds (for the corrected variance)."""
        return float(np.mean([len(test) / len(train) for _, _, train, test, _ in self.splits()]))


def check_groups(participants, groups, y, kind, *, file, column, within=False):
    """Refuse groups that would put the same person on both sides of a split.

    Parameters
    ----------
    participants, groups : numpy.ndarray of str, (rows,)
    y : numpy.ndarray, (rows,)
    kind : {'classification', 'regression'}
    file, column : str
        For the message.
    within : bool
        The target is of a visit, so that a person may have two classes.

    Raises
    ------
    InputError
        A person in two groups, or a person with two classes.
    """
    for person in np.unique(participants):
        rows = participants == person
        found = np.unique(groups[rows])
        if found.size > 1:
            raise InputError(
                file,
                f"{column} of {person}",
                ", ".join(found),
                "one group per participant",
                "correct the column, or choose groups: participant_id",
            )
        if kind == "classification" and not within and np.unique(y[rows]).size > 1:
            raise InputError(
                file,
                f"target of {person}",
                "two classes",
                "one class per participant",
                "correct the target column",
            )


def check_folds(folds, groups, *, file, column):
    """Refuse folds in which a group is on both sides, at either level.

    Parameters
    ----------
    folds : Folds
    groups : numpy.ndarray of str, (rows,)
    file, column : str
        For the message.

    Raises
    ------
    InputError
    """
    for repeat, fold, train, test, inside in folds.splits():
        torn = set(groups[train]) & set(groups[test])
        where = f"repeat {repeat + 1}, outer fold {fold + 1}"
        for k in np.unique(inside):
            if torn:
                break
            torn = set(groups[train][inside == k]) & set(groups[train][inside != k])
            where = f"repeat {repeat + 1}, outer fold {fold + 1}, inner fold {k + 1}"
        if torn:
            raise InputError(
                file,
                f"{column} {min(torn)}",
                f"on both sides of {where}",
                f"every {column} on one side",
                f"split by {column}: rows of one {column} resemble each other",
            )


def strata(y, kind, site=None, *, folds=5, group_of_site=False):
    """Codes by which folds are balanced.

    Parameters
    ----------
    y : numpy.ndarray, (rows,)
    kind : {'classification', 'regression'}
    site : numpy.ndarray of str, optional
        Class by site when every combination has at least `folds` rows, else the class alone.
    folds : int
    group_of_site : bool
        Groups are the sites themselves: never balance by them.

    Returns
    -------
    numpy.ndarray of int, (rows,)
    """
    if kind == "ordinal":
        codes = np.unique(y, return_inverse=True)[1]
        if np.bincount(codes).max() >= folds:
            return codes
    if kind != "classification":
        # times carry a sign: people without the event are spread over folds apart from those with it
        bins = max(2, min(5, y.size // max(folds, 1)))
        rank = np.argsort(np.argsort(y, kind="stable"), kind="stable")
        return rank * bins // y.size
    base = (y > 0).astype(int)
    if site is None or group_of_site:
        return base
    both = np.unique(site, return_inverse=True)[1] * 2 + base
    return both if np.unique(both, return_counts=True)[1].min() >= folds else base


def _possible(codes, groups, wanted):
    """Number of folds that leaves every class of `codes` in every fold, as far as groups allow."""
    per_class = [np.unique(groups[codes == c]).size for c in np.unique(codes)]
    return int(min(wanted, *per_class))


def _split(codes, groups, count, seed):
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    assigned = np.full(codes.size, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for fold, (_, test) in enumerate(splitter.split(codes, codes, groups)):
            assigned[test] = fold
    return assigned


def make_folds(
    y, groups, *, kind, site=None, outer=5, inner=5, repeats=2, seed=0, group_of_site=False, scheme="kfold",
    untested=None,
):  # fmt: skip
    """Make the folds that every feature set of a model uses.

    Parameters
    ----------
    y : numpy.ndarray, (rows,)
        -1 and 1, numbers, ranks, or times with the sign of `neurobraid.prediction.survival.encode`.
    groups : numpy.ndarray of str, (rows,)
        Rows that must stay together.
    kind : {'classification', 'regression', 'ordinal', 'survival'}
    site : numpy.ndarray of str, optional
    outer, inner, repeats : int
        Fewer folds are made when a class has fewer groups.
    seed : int
    group_of_site : bool
    scheme : {'kfold', 'leave-one-group-out', 'within-site'}
        Repeated, stratified folds of whole groups; every group (a site, a run) is a test fold once; or training
        and test rows always from one and the same site, where sites too small to be split are not used.
    untested : numpy.ndarray of bool, (rows,), optional
        Rows that are never scored (reference people of an unseen site); `drop_untested` takes them out.

    Returns
    -------
    Folds

    Raises
    ------
    Unavailable
        Fewer than two folds are possible.
    """
    classes = (y > 0).astype(int) if kind == "classification" else np.zeros(y.size, dtype=int)
    if scheme == "within-site":
        folds = _within_sites(y, groups, kind, site, outer, inner, repeats, seed)
        check_folds(folds, groups, file="folds", column="group")
        return folds
    names = np.unique(groups)
    if scheme == "leave-one-group-out":
        if names.size < 3:
            raise Unavailable(f"leaving a group out needs three groups; there are {names.size}")
        # the outer folds are the groups: another repeat would be the same
        outer, repeats = names.size, 1
    else:
        outer = _possible(classes, groups, outer)
    if outer < 2:
        raise Unavailable("fewer than two groups in a class: no fold can be held out")
    assigned, nested = [], []
    for repeat in range(repeats):
        codes = strata(y, kind, site, folds=outer, group_of_site=group_of_site)
        if scheme == "leave-one-group-out":
            test_fold = np.searchsorted(names, groups)
        else:
            test_fold = _split(codes, groups, outer, seed + 1000 * repeat)
        within = []
        for fold in range(outer):
            train = np.flatnonzero(test_fold != fold)
            count = _possible(classes[train], groups[train], inner)
            if count < 2 or np.unique(classes[train]).size < np.unique(classes).size:
                raise Unavailable("too few groups in a class for a split inside the training people")
            part = strata(
                y[train],
                kind,
                None if site is None else site[train],
                folds=count,
                group_of_site=group_of_site,
            )
            row = np.full(y.size, -1)
            row[train] = _split(part, groups[train], count, seed + 1000 * repeat + fold + 1)
            within.append(row)
        assigned.append(test_fold)
        nested.append(within)
    folds = Folds(np.array(assigned), nested)
    check_folds(folds, groups, file="folds", column="group")
    return folds if untested is None else drop_untested(folds, untested)


def inner_folds(y, groups, *, kind, site=None, count=5, seed=0, group_of_site=False):
    """Folds over everybody, by which a model that is to be kept chooses its settings.

    Parameters
    ----------
    y, groups, kind, site, seed, group_of_site
        See `make_folds`.
    count : int
        Fewer folds are made when a class has fewer groups.

    Returns
    -------
    numpy.ndarray of int, (rows,)

    Raises
    ------
    Unavailable
        Fewer than two folds are possible.
    """
    classes = (y > 0).astype(int) if kind == "classification" else np.zeros(y.size, dtype=int)
    count = _possible(classes, groups, count)
    if count < 2:
        raise Unavailable("fewer than two groups in a class: nothing can be tuned")
    return _split(strata(y, kind, site, folds=count, group_of_site=group_of_site), groups, count, seed)


def drop_untested(folds, untested):
    """Folds in which some rows are neither trained on nor tested, (rows,) bool; they stay in the table."""
    outer = np.where(untested, -1, folds.outer)
    return Folds(outer, [[np.where(untested, -1, row) for row in rows] for rows in folds.inner])


def _within_sites(y, groups, kind, site, outer, inner, repeats, seed):
    """Folds whose training and test rows come from one site; rows of sites that cannot be split are -1."""
    assigned, nested = [], []
    for repeat in range(repeats):
        test_fold, rows_of = np.full(y.size, -1), []
        for name in np.unique(site):
            members = np.flatnonzero(site == name)
            try:
                part = make_folds(
                    y[members], groups[members], kind=kind, outer=outer, inner=inner, repeats=1,
                    seed=seed + 1000 * repeat,
                )  # fmt: skip
            except Unavailable:
                continue
            test_fold[members] = part.outer[0] + len(rows_of)
            for inside in part.inner[0]:
                row = np.full(y.size, -1)
                row[members] = inside
                rows_of.append(row)
        if not rows_of:
            raise Unavailable("no site has enough people of each class to be split by itself")
        assigned.append(test_fold)
        nested.append(rows_of)
    return Folds(np.array(assigned), nested)


def folds_from_manifest(table, participants, sessions, groups, *, file="folds.tsv"):
    """Folds of a table that `manifest` (or a colleague) wrote.

    Parameters
    ----------
    table : pandas.DataFrame
        participant_id, session_id, repeat, fold, role, inner_fold.
    participants, sessions, groups : numpy.ndarray of str, (rows,)
        Rows of the model, in order.
    file : str
        For messages.

    Returns
    -------
    Folds

    Raises
    ------
    InputError
        A row of the model is missing or twice, or a group is on both sides of a split.
    """
    keys = [f"{p} {s}".strip() for p, s in zip(participants, sessions, strict=True)]
    place = {key: number for number, key in enumerate(keys)}
    repeats = int(table["repeat"].max())
    outer = np.full((repeats, len(keys)), -1)
    inner = [[] for _ in range(repeats)]
    for (repeat, fold), part in table.groupby(["repeat", "fold"], sort=True):
        found = [
            f"{p} {s}".strip()
            for p, s in zip(part["participant_id"], part["session_id"].fillna(""), strict=True)
        ]
        if sorted(found) != sorted(keys):
            odd = next(iter(sorted(set(found) ^ set(keys))), "a row twice")
            raise InputError(
                file,
                f"rows of repeat {repeat}, fold {fold}",
                odd,
                "every row of the model once",
                "make the manifest again",
            )
        rows = np.array([place[key] for key in found])
        outer[int(repeat) - 1, rows[(part["role"] == "test").to_numpy()]] = int(fold) - 1
        row = np.full(len(keys), -1)
        train = (part["role"] == "train").to_numpy()
        row[rows[train]] = part["inner_fold"].to_numpy(dtype=float)[train].astype(int) - 1
        inner[int(repeat) - 1].append(row)
    folds = Folds(outer, inner)
    check_folds(folds, np.asarray(groups, dtype=str), file=file, column="group")
    return folds


def manifest(folds, participants, sessions, groups):
    """Table of who is where, and its digest.

    Parameters
    ----------
    folds : Folds
    participants, sessions, groups : sequence of str, (rows,)

    Returns
    -------
    table : pandas.DataFrame
        participant_id, session_id, group, repeat, fold (outer), role (train, test, unused), inner_fold (n/a unless train).
    digest : str
        SHA-256 of the assignments; the same in every summary that used these folds.
    """
    import pandas as pd

    parts = []
    count = len(participants)
    for repeat, assigned in enumerate(folds.outer):
        for fold in range(int(assigned.max()) + 1):
            inside = folds.inner[repeat][fold]
            parts.append(
                pd.DataFrame(
                    {
                        "participant_id": participants,
                        "session_id": [s or np.nan for s in sessions],
                        "group": groups,
                        "repeat": repeat + 1,
                        "fold": fold + 1,
                        "role": np.where(assigned == fold, "test", np.where(inside >= 0, "train", "unused")),
                        "inner_fold": pd.array(np.where(inside < 0, 0, inside + 1), dtype="Int64"),
                    },
                    index=range(count),
                )
            )
    table = pd.concat(parts, ignore_index=True)
    digest = hashlib.sha256(table.to_csv(sep="\t", index=False, lineterminator="\n", na_rep="n/a").encode())
    table["inner_fold"] = table["inner_fold"].where(table["role"] == "train")
    return table, digest.hexdigest()
