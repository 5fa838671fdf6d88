"""Nuisance regressors: fMRIPrep-style confound columns and cosine bases, for activation and for connectivity."""

import numpy as np
import pandas as pd

from neurobraid.errors import InputError
from neurobraid.files import read_tsv

MOTION = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
TISSUE = ["csf", "white_matter"]

GROUPS = {
    "motion6": (MOTION, ""),
    "motion12": (MOTION, "d"),
    "motion24": (MOTION, "dq"),
    "csf": (["csf"], ""),
    "white_matter": (["white_matter"], ""),
    "csfwm": (TISSUE, ""),
    "csfwm4": (TISSUE, "d"),
    "csfwm8": (TISSUE, "dq"),
    "global_signal": (["global_signal"], ""),
    "global_signal4": (["global_signal"], "dq"),
    "compcor": ("a_comp_cor_", ""),
    "compcor6": ("a_comp_cor_", "6"),
    "aroma": ("aroma_motion_", ""),
    "non_steady_state": ("non_steady_state_outlier", ""),
    "motion_outliers": ("motion_outlier", ""),
}
"""Names a config may use: columns (or a prefix of columns) and expansion (d: derivatives, q: squares of all, a number: so
many of the columns, the first in the order of their numbers)."""

OPTIONAL = ("non_steady_state", "motion_outliers")
"""Groups that may be empty: a run without such volumes has no such column."""


def read_confounds(path, n_volumes):
    """Read a confounds table and check that it fits its run.

    Parameters
    ----------
    path : path-like
        ``*_desc-confounds_timeseries.tsv``.
    n_volumes : int

    Returns
    -------
    pandas.DataFrame, (n_volumes, columns), float64
        ``n/a`` is NaN (derivatives and framewise displacement have none for the first volume).

    Raises
    ------
    InputError
        Another number of rows than volumes.
    """
    table = read_tsv(path)
    if len(table) != n_volumes:
        raise InputError(
            path,
            "rows",
            len(table),
            f"{n_volumes} (volumes of the run)",
            "make the confounds of this run again",
        )
    return table.astype(np.float64)


def one_mask(confounds, notes):
    """Leave out the anatomical components of single tissues that older tables number with those of the combined mask.

    fMRIPrep before 21 calls the components of CSF, of white matter and of both together ``a_comp_cor_NN`` alike, and only
    the JSON beside the table says which is which; later versions write ``c_`` and ``w_comp_cor_NN`` for the single tissues.

    Parameters
    ----------
    confounds : pandas.DataFrame
    notes : dict
        Content of ``*_desc-confounds_timeseries.json``; columns without an entry stay.

    Returns
    -------
    pandas.DataFrame
        Without the ``a_comp_cor_NN`` columns whose ``Mask`` is another than ``combined``.
    """
    single = [
        column
        for column in confounds
        if column.startswith("a_comp_cor_")
        and isinstance(notes.get(column), dict)
        and notes[column].get("Mask", "combined") != "combined"
    ]
    return confounds.drop(columns=single)


def expand(columns, derivatives=False, squares=False):
    """Add temporal derivatives and squares (the 24-parameter form of Friston et al. 1996, MRM 35:346).

    Parameters
    ----------
    columns : pandas.DataFrame, (T, C)
    derivatives : bool
        Backward differences, 0 for the first volume.
    squares : bool
        Squares of all columns, derivatives included.

    Returns
    -------
    pandas.DataFrame, (T, C), (T, 2C) or (T, 4C)
        fMRIPrep's names: ``x``, ``x_derivative1``, ``x_power2``, ``x_derivative1_power2``.
    """
    parts = [columns]
    if derivatives:
        parts.append(columns.diff().fillna(0.0).add_suffix("_derivative1"))
    if squares:
        parts += [(part**2).add_suffix("_power2") for part in list(parts)]
    return pd.concat(parts, axis=1)


def parse_groups(names):
    """Turn ``"motion6+csfwm"`` or a list of names into a list of names."""
    if isinstance(names, str):
        return [n.strip() for n in names.split("+") if n.strip()]
    return list(names)


def select(confounds, names, file="confounds"):
    """Choose confound regressors by group names or column names.

    Parameters
    ----------
    confounds : pandas.DataFrame, (T, columns)
    names : str or list of str
        Keys of `GROUPS` or columns of the table; a text joins them by ``+``.
    file : path-like
        Named in errors.

    Returns
    -------
    pandas.DataFrame, (T, K), float64
        Raw units, constant columns included, no NaN.

    Raises
    ------
    InputError
        A column is missing or has a gap after the first volume.
    """
    chosen = []
    for name in parse_groups(names):
        source, how = GROUPS.get(name, ([name], ""))
        if isinstance(source, str):
            source = [c for c in confounds if c.startswith(source)]
            if how.isdigit():
                source = sorted(source)[: int(how)]
            if not source and name not in OPTIONAL:
                raise InputError(
                    file, "columns", f"none called {GROUPS[name][0]}*", f"columns for {name}",
                    f"take {name} off the confounds of the config or make a table that has them",
                )  # fmt: skip
        missing = [c for c in source if c not in confounds]
        if missing:
            raise InputError(
                file, "columns", f"no {', '.join(missing)}", f"columns of the table or groups {', '.join(GROUPS)}",
                "correct the confounds in the config",
            )  # fmt: skip
        if not source:
            continue
        columns = confounds[source].copy()
        # fMRIPrep has no derivative for the first volume: no change is the neutral value
        columns.iloc[0] = columns.iloc[0].fillna(0.0)
        gaps = [c for c in columns if not np.isfinite(columns[c]).all()]
        if gaps:
            raise InputError(
                file, f"column {gaps[0]}", "n/a after the first row", "a number for every volume",
                "make the confounds of this run again",
            )  # fmt: skip
        chosen.append(expand(columns, "d" in how, "q" in how))
    if not chosen:
        return pd.DataFrame(index=confounds.index)
    table = pd.concat(chosen, axis=1)
    return table.loc[:, ~table.columns.duplicated()]


def standardize(table):
    """Centre every column and scale it to unit variance; constant columns become 0.

    Least squares does not care about the scale of a nuisance regressor, matrix algebra does.
    """
    centred = table - table.mean()
    spread = table.std(ddof=0)
    return centred.div(spread.where(spread > 1e-12 * table.abs().max().clip(lower=1e-300), np.inf))


def cosine_basis(n_volumes, tr, high_pass_hz=None, low_pass_hz=None):
    """Discrete cosines below `high_pass_hz` and above `low_pass_hz`, without the constant.

    Parameters
    ----------
    n_volumes : int
    tr : float
        Repetition time in s.
    high_pass_hz : float, optional
        Slow cosines up to this frequency (SPM's and nilearn's drift model).
    low_pass_hz : float, optional
        Fast cosines above this frequency: with both, a band-pass as regressors, which is filtered in the same
        fit as the other confounds and cannot bring them back (Lindquist et al. 2019, HBM 40:2358).

    Returns
    -------
    pandas.DataFrame, (n_volumes, K), float64
        Orthonormal columns ``cosine00`` … in the order of frequency ``k / (2 n_volumes tr)``.
    """
    orders = np.arange(1, n_volumes)
    frequency = orders / (2.0 * n_volumes * tr)
    keep = np.zeros(len(orders), bool)
    tolerance = 1e-9
    if high_pass_hz:
        keep |= frequency <= high_pass_hz * (1 + tolerance)
    if low_pass_hz:
        keep |= frequency > low_pass_hz * (1 + tolerance)
    orders = orders[keep]
    times = np.arange(n_volumes) + 0.5
    values = np.sqrt(2.0 / n_volumes) * np.cos(np.pi / n_volumes * np.outer(times, orders))
    return pd.DataFrame(values, columns=[f"cosine{k:02d}" for k in range(len(orders))])


def independent(design, keep=(), tolerance=1e-8):
    """Columns that are not linear combinations of the ones before them.

    Parameters
    ----------
    design : pandas.DataFrame, (T, K)
    keep : iterable of str
        Columns that go first, so that the others give way to them.
    tolerance : float
        Smallest part of a column's norm that must be left when the earlier columns are removed.

    Returns
    -------
    kept, dropped : list of str
        In the design's order.
    """
    first = [c for c in design if c in set(keep)]
    order = first + [c for c in design if c not in set(keep)]
    basis = np.empty((len(design), 0))
    kept = set()
    for name in order:
        column = design[name].to_numpy(np.float64)
        rest = column
        for _ in range(2):  # twice is enough for Gram-Schmidt
            rest = rest - basis @ (basis.T @ rest)
        norm, left = np.linalg.norm(column), np.linalg.norm(rest)
        if norm > 0 and left > tolerance * norm and basis.shape[1] < len(design):
            basis = np.column_stack([basis, rest / left])
            kept.add(name)
    return [c for c in design if c in kept], [c for c in design if c not in kept]
