"""Which rows of a model may change places or signs if the null hypothesis holds."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from neurobraid.errors import InputError

#: More rearrangements than this are not counted exactly.
MANY = 10**9


@dataclass(frozen=True)
class Exchange:
    """A set of allowed rearrangements of rows.

    Attributes
    ----------
    groups : tuple of tuple of numpy.ndarray of int
        Units that may change places with one another; a unit is the rows that move together, in their order.
    flips : tuple of numpy.ndarray of int
        Rows that change sign together; empty: no sign flips.
    rows : int
    possible : int
        Number of rearrangements, at most `MANY`.
    key : str
        Changes with what is allowed, so that parts of different tests are never merged.
    """

    groups: tuple
    flips: tuple
    rows: int
    possible: int
    key: str

    def draw(self, seed, index):
        """One rearrangement, the same for the same `seed` and `index` whatever else is drawn.

        Parameters
        ----------
        seed : int
        index : int
            0 is the data as they are.

        Returns
        -------
        order : numpy.ndarray of int, (rows,)
            Row i takes the values of row ``order[i]``.
        signs : numpy.ndarray of float, (rows,)
        """
        order, signs = np.arange(self.rows), np.ones(self.rows)
        if index == 0:
            return order, signs
        rng = np.random.default_rng([seed, index])
        for units in self.groups:
            for place, taken in enumerate(rng.permutation(len(units))):
                order[units[place]] = units[taken]
        if self.flips:
            for rows, sign in zip(self.flips, rng.integers(0, 2, len(self.flips)), strict=True):
                signs[rows] = 1.0 - 2.0 * sign
        return order, signs

    def nth(self, index):
        """Rearrangement number `index` of all of them; 0 is the data as they are. See `draw`."""
        order, signs = np.arange(self.rows), np.ones(self.rows)
        for rows in self.flips:
            index, sign = divmod(index, 2)
            signs[rows] = 1.0 - 2.0 * sign
        for units in self.groups:
            left = list(range(len(units)))
            for place in range(len(units)):
                index, taken = divmod(index, len(left))
                order[units[place]] = units[left.pop(taken)]
        return order, signs


def _labels(labels, rows, name):
    labels = np.arange(rows) if labels is None else np.asarray(labels)
    if len(labels) != rows:
        raise InputError(name, "length", len(labels), f"{rows}, one label per row", "give every row a label")
    return labels.astype(str)


def column_labels(table, people, column, *, setting):
    """Labels of participants from a column of the participants table.

    Parameters
    ----------
    table : pandas.DataFrame
        ``participants.tsv`` with the index participant_id.
    people : list of str
    column : str
        Empty: no labels.
    setting : str
        Key of the config that names the column, for errors.

    Returns
    -------
    list of str or None

    Raises
    ------
    InputError
        No such column; a participant without a value.
    """
    if not column:
        return None
    if column not in table:
        raise InputError(
            "participants.tsv", "columns", f"without {column}", ", ".join(table.columns), f"correct {setting}"
        )
    values = table[column].reindex(people)
    missing = values.isna() | values.isin(["n/a", ""])
    if missing.any():
        raise InputError(
            "participants.tsv", column, f"missing for {', '.join(values.index[missing])}", "a label for everyone",
            "fill in the column, or leave these participants out (index.exclude)",
        )  # fmt: skip
    return values.astype(str).to_list()


def exchange(rows, *, permute=True, flip=False, units=None, blocks=None):
    """Set up which rows may change places and signs (Winkler et al. 2014, NeuroImage 92:381).

    Parameters
    ----------
    rows : int
    permute, flip : bool
        Errors are exchangeable; errors are symmetric about 0. Both may hold.
    units : sequence of labels, (rows,), optional
        Rows of one unit (visits of a person, members of a family) move, or change sign, as a whole. Units change
        places only with units of the same number of rows. Without: every row is a unit.
    blocks : sequence of labels, (rows,), optional
        Units change places only within a block (site; with a person as block, repeated measures of the person).

    Returns
    -------
    Exchange

    Raises
    ------
    InputError
        A unit that lies in two blocks; nothing that can change.
    """
    units, blocks = (
        _labels(units, rows, "units"),
        _labels(np.zeros(rows) if blocks is None else blocks, rows, "blocks"),
    )
    members, gathered = [], {}
    for unit in dict.fromkeys(units.tolist()):
        own = np.flatnonzero(units == unit)
        where = np.unique(blocks[own])
        if len(where) > 1:
            raise InputError(
                "exchangeability", f"unit {unit}", f"in blocks {', '.join(where)}", "one block per unit",
                "put units that span blocks into one block, or leave the units out",
            )  # fmt: skip
        members.append(own)
        gathered.setdefault((where[0], len(own)), []).append(own)
    groups = tuple(tuple(g) for g in gathered.values() if len(g) > 1) if permute else ()
    flips = tuple(members) if flip else ()
    possible = math.prod([2 ** min(len(flips), 40), *(math.factorial(min(len(g), 30)) for g in groups)])
    if possible < 2:
        raise InputError(
            "exchangeability", "rearrangements", "none", "at least two exchangeable units in a block",
            "use larger blocks, or sign flips",
        )  # fmt: skip
    written = repr([permute, flip, units.tolist(), blocks.tolist()])
    return Exchange(
        groups, flips, rows, min(possible, MANY), hashlib.sha256(written.encode()).hexdigest()[:16]
    )
