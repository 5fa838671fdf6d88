"""Traces that preparation outside the folds leaves in a table of features, when nobody can be asked how it was made.

Standardising, harmonising, removing confounds or choosing features with everybody leaves numbers that people never have: means of
exactly 0, sites more alike than samples of one population, features that all just pass a threshold.
"""

import numpy as np

#: Features below which nothing can be said.
FEWEST = 5
#: Left-tail p below which groups are more alike than chance makes them.
ALIKE = 1e-4
#: A mean and an SD this close to 0 and 1, in nine of ten features, are no accident.
EXACT = 2e-3
#: Independent features above which equally sized t values are the mark of a choice.
INDEPENDENT = 8


def _complete(table, last):
    features = table[:, : table.shape[1] - last]
    spread = np.where(np.isfinite(features), features, 0.0).std(axis=0)
    use = np.isfinite(features).all(axis=0) & (spread > 1e-12)
    return features[:, use]


def independent(features):
    """Number of independent directions in correlated features: ``(sum of eigenvalues)^2 / sum of squares``.

    Parameters
    ----------
    features : numpy.ndarray, (rows, features)

    Returns
    -------
    float
    """
    z = (features - features.mean(axis=0)) / features.std(axis=0)
    small = z @ z.T if z.shape[0] < z.shape[1] else z.T @ z
    return float(np.trace(small) ** 2 / np.sum(small**2))


def alike(features, design, given=None):
    """Chance that groups (or any columns) explain as little of the features as they do.

    Parameters
    ----------
    features : numpy.ndarray, (rows, features)
    design : numpy.ndarray, (rows, columns)
        Groups as indicators, or numbers.
    given : numpy.ndarray, optional, (rows, columns)
        Taken out first.

    Returns
    -------
    float
        Left-tail p of the mean F ratio over features, with as many degrees of freedom as there are independent features;
        1 where it cannot be told.
    """
    from scipy.stats import chi2

    rows = len(features)
    base = np.ones((rows, 1)) if given is None else np.column_stack([np.ones(rows), given])
    full = np.column_stack([base, design])
    count = np.linalg.matrix_rank(full) - np.linalg.matrix_rank(base)
    left = rows - np.linalg.matrix_rank(full)
    if count < 1 or left < 5:
        return 1.0
    before = features - base @ np.linalg.lstsq(base, features, rcond=None)[0]
    after = features - full @ np.linalg.lstsq(full, features, rcond=None)[0]
    error = np.sum(after**2, axis=0)
    use = error > 1e-12 * np.maximum(np.sum(before**2, axis=0), 1e-300)
    if use.sum() < FEWEST:
        return 1.0
    ratio = np.mean((np.sum(before**2, axis=0)[use] - error[use]) / count / (error[use] / left))
    free = independent(features[:, use]) * count
    return float(chi2.cdf(free * ratio, free))


def standardised(features):
    """Were the features brought to mean 0 and SD 1, or to 0 to 1, with all rows?

    Parameters
    ----------
    features : numpy.ndarray, (rows, features)

    Returns
    -------
    str
        ``mean 0 and SD 1``, ``mean square 1`` (sizes of z scores), ``smallest 0 and largest 1``, or empty.
    """
    if features.shape[1] < FEWEST or len(features) < 10:
        return ""
    spread = [features.std(axis=0, ddof=d) for d in (0, 1)]
    near = np.any([np.abs(s - 1) < EXACT for s in spread], axis=0) & (np.abs(features.mean(axis=0)) < EXACT)
    if near.mean() >= 0.9:
        return "mean 0 and SD 1"
    # sizes of z scores: none is negative, their mean square is 1
    square = np.mean(features**2, axis=0)[:, None] * np.array([1.0, len(features) / (len(features) - 1)])
    if (features >= 0).all() and np.mean((np.abs(square - 1) < EXACT).any(axis=1)) >= 0.9:
        return "mean square 1"
    ends = (features.min(axis=0) == 0) & (features.max(axis=0) == 1)
    shares = np.mean((features > 0) & (features < 1), axis=0) > 0.5
    return "smallest 0 and largest 1" if np.mean(ends & shares) >= 0.9 else ""


def chosen(features, y):
    """Were the features chosen by their relation to the target?

    Parameters
    ----------
    features : numpy.ndarray, (rows, features)
    y : numpy.ndarray, (rows,)

    Returns
    -------
    tuple of (bool, float)
        Whether all sizes of t stand just above one limit, and the smallest. Many independent features of which none is
        unrelated to the target, and half within 1.5 times the smallest t, are what a threshold leaves over.
    """
    rows = len(features)
    if features.shape[1] < INDEPENDENT or rows < 20 or np.ptp(y) == 0:
        return False, np.nan
    z = (features - features.mean(axis=0)) / features.std(axis=0)
    r = np.abs(z.T @ ((y - y.mean()) / y.std())) / rows
    r = np.minimum(r, 1 - 1e-12)
    t = r * np.sqrt((rows - 2) / (1 - r**2))
    least = float(t.min())
    picked = least > 2 and np.median(t) < 1.5 * least and independent(features) >= INDEPENDENT
    return bool(picked), least


def find(tables, last, y, columns):
    """All traces in the tables of a model.

    Parameters
    ----------
    tables : dict of str to numpy.ndarray, (rows, features + last)
    last : int
        Columns that are no features.
    y : numpy.ndarray, (rows,)
    columns : dict of str to numpy.ndarray, (rows, columns)
        Site, demographics, motion: what may have been taken out. Rows with a missing value are left out.

    Returns
    -------
    list of tuple of (str, bool, str)
        Name of the check, whether there is a trace, and a sentence.
    """
    scaled, picked, flat = [], [], []
    least, smallest = np.inf, 1.0
    for name, table in tables.items():
        whole = np.isfinite(table[:, : table.shape[1] - last]).any(axis=1)
        features = _complete(table[whole], last)
        if features.shape[1] < FEWEST or whole.sum() < 20:
            continue
        form = standardised(features)
        scaled += [f"{name} ({form} in every feature)"] if form else []
        if not form and np.unique(y).size == 2:
            form = next(filter(None, (standardised(features[y[whole] == c]) for c in np.unique(y))), "")
            scaled += [f"{name} ({form} in every feature among the people of one class)"] if form else []
        hit, t = chosen(features, y[whole])
        least = np.nanmin([least, t])
        picked += [f"{name} (|t| of {features.shape[1]} features from {t:.1f} on)"] if hit else []
        for what, design in columns.items():
            known = np.isfinite(design[whole]).all(axis=1)
            if known.sum() < 20:
                continue
            part, values, target = features[known], design[whole][known], y[whole][known]
            part = part[:, part.std(axis=0) > 1e-12]
            p, kept = alike(part, values), alike(part, values, target)
            smallest = min(smallest, p, kept)
            if min(p, kept) < ALIKE:
                how = ", with the target preserved" if kept < p else ""
                flat.append(f"{name} by {what}{how}")
    return [
        (
            "scaled with everybody",
            bool(scaled),
            f"{'; '.join(scaled)}: scaled with the people tested before the table was read. Scale inside the fold."
            if scaled
            else "No table has means and spreads that only scaling with everybody gives.",
        ),
        (
            "harmonised or adjusted with everybody",
            bool(flat),
            f"{'; '.join(flat)}: explains less of the features than chance would leave. This was taken out with the people "
            "tested before the table was read; scores may be far too low or, with the target preserved, too high."
            if flat
            else f"Site, demographics and motion explain no less of the features than chance leaves (smallest p {smallest:.2g}).",
        ),
        (
            "features chosen with the target",
            bool(picked),
            f"{'; '.join(picked)}: every feature is related to the target and half of them hardly more than the least. "
            "Chosen with the people tested? Choose inside the fold."
            if picked
            else f"The feature least related to the target has |t| {least:.2f}, as one that nobody chose."
            if np.isfinite(least)
            else "Too few features to tell.",
        ),
    ]
