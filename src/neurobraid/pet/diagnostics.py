"""When not to believe a fit: runs of residuals, parameters that the data do not determine, reasons in words."""

import math

import numpy as np

MAX_RELATIVE_SE = 0.5
"""A parameter whose standard error is more than half of it is not determined by the data."""


def runs_test(residuals):
    """Wald-Wolfowitz test of the order of residual signs.

    A model that does not describe the curve leaves residuals of one sign in a row. The distribution of the number of
    runs is exact (Wald & Wolfowitz 1940, Ann Math Stat 11:147), because curves have few frames.

    Parameters
    ----------
    residuals : array-like, (N, F)
        Rows with NaN give NaN; zeros are left out.

    Returns
    -------
    numpy.ndarray, (N,)
        Two-sided p: twice the smaller tail, at most 1. NaN where all signs are equal and nothing can be tested.

    Examples
    --------
    >>> runs_test([[1.0, 1, 1, 1, 1, -1, -1, -1, -1, -1]]).round(4)
    array([0.0159])
    """
    residuals = np.atleast_2d(np.asarray(residuals, float))
    out = np.full(len(residuals), np.nan)
    for i, row in enumerate(residuals):
        if not np.isfinite(row).all():
            continue
        signs = row[row != 0] > 0
        first, second = int(signs.sum()), int((~signs).sum())
        if first and second:
            out[i] = _runs_p(1 + int((signs[1:] != signs[:-1]).sum()), first, second)
    return out


def _runs_p(runs, first, second):
    total = math.comb(first + second, first)

    def ways(count):
        half, odd = divmod(count, 2)
        one, two = (math.comb(n - 1, half - 1) for n in (first, second))
        if not odd:
            return 2 * one * two
        return math.comb(first - 1, half) * two + one * math.comb(second - 1, half)

    most = 2 * min(first, second) + (first != second)
    lower = sum(ways(r) for r in range(2, runs + 1)) / total
    upper = sum(ways(r) for r in range(runs, most + 1)) / total
    return min(1.0, 2.0 * min(lower, upper))


def undetermined(table, parameters):
    """Names of the parameters of each region whose relative standard error exceeds `MAX_RELATIVE_SE`.

    BPND is judged by the error of ``1 + BPND``, the distribution volume ratio that is estimated: a region that binds
    nothing has a BPND near 0 whose relative error says nothing.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns of `parameters` and, where known, ``<parameter>_se``.
    parameters : iterable of str

    Returns
    -------
    list of str
        One text per row, names joined by a comma; empty where all are determined.
    """
    found = [[] for _ in range(len(table))]
    for name in parameters:
        if f"{name}_se" not in table:
            continue
        value = table[name].to_numpy(float) + (1.0 if name == "BPND" else 0.0)
        error = table[f"{name}_se"].to_numpy(float)
        for row in np.flatnonzero(error > MAX_RELATIVE_SE * np.abs(value)):
            found[row].append(name)
    return [",".join(names) for names in found]


def assess(table, residuals, parameters, main, flags=()):
    """Add the columns ``runs_p``, ``undetermined`` and ``flag`` to a table of fits.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per region, NaN in `main` where nothing was fitted.
    residuals : array-like, (N, F)
        Weighted residuals of the frames used.
    parameters : iterable of str
    main : str
        The parameter the model is fitted for.
    flags : iterable of (array of bool, str)
        Further reasons, the most serious first.

    Returns
    -------
    pandas.DataFrame
        ``flag`` is ``ok``, or why the main parameter is not to be believed.
    """
    table = table.copy()
    table["runs_p"] = runs_test(residuals)
    names = undetermined(table, parameters)
    table["undetermined"] = [text or "none" for text in names]
    loose = np.array([main in text.split(",") for text in names], bool)
    whole = "1 + BPND" if main == "BPND" else main
    reasons = [
        *flags,
        (table[main].isna().to_numpy(), "no data"),
        (loose, f"standard error above {100 * MAX_RELATIVE_SE:.0f} % of {whole}"),
    ]
    table["flag"] = np.select([mask for mask, _ in reasons], [text for _, text in reasons], "ok")
    return table
