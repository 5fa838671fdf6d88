"""How far a value of a person can be trusted from visit to visit."""

import numpy as np


def icc(first, second):
    """Intraclass correlations of two visits (McGraw & Wong 1996, Psychol Methods 1:30).

    Parameters
    ----------
    first, second : numpy.ndarray, (people,)
        The same people in the same order.

    Returns
    -------
    dict
        ``agreement`` ICC(A,1), a shift between visits counts; ``consistency`` ICC(C,1), it does not; ``low``, ``high``: 95 %
        interval of the consistency; ``people``. NaN with fewer than three people or no spread.
    """
    from scipy.stats import f

    values = np.column_stack([first, second])
    values = values[np.isfinite(values).all(axis=1)]
    n, k = values.shape
    out = {"agreement": np.nan, "consistency": np.nan, "low": np.nan, "high": np.nan, "people": n}
    if n < 3:
        return out
    people, visits, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    rows = k * np.sum((people - mean) ** 2) / (n - 1)
    columns = n * np.sum((visits - mean) ** 2) / (k - 1)
    rest = np.sum((values - people[:, None] - visits + mean) ** 2) / ((n - 1) * (k - 1))
    if rows + rest <= 0:
        return out
    ratio = rows / rest if rest > 0 else np.inf
    low, high = ratio / f.ppf(0.975, n - 1, (n - 1) * (k - 1)), ratio * f.ppf(0.975, (n - 1) * (k - 1), n - 1)
    return {
        "agreement": float((rows - rest) / (rows + (k - 1) * rest + k * (columns - rest) / n)),
        "consistency": float((rows - rest) / (rows + (k - 1) * rest)),
        "low": float((low - 1) / (low + k - 1)) if np.isfinite(low) else 1.0,
        "high": float((high - 1) / (high + k - 1)) if np.isfinite(high) else 1.0,
        "people": n,
    }


def within_person_slope(people, time, value):
    """Change of a value per unit of time within people.

    Parameters
    ----------
    people : numpy.ndarray of str, (rows,)
    time, value : numpy.ndarray, (rows,)

    Returns
    -------
    dict
        slope, its standard error over people (cluster-robust), low and high (95 %, t with people - 1), people who have more
        than one time. NaN where nobody has.
    """
    from scipy.stats import t

    upper, lower, used = [], [], 0
    for person in np.unique(people):
        rows = people == person
        x, y = time[rows] - time[rows].mean(), value[rows] - value[rows].mean()
        if np.ptp(x) > 1e-6:
            used += 1
            upper.append(x @ y)
            lower.append(x @ x)
    if used < 3:
        return {"slope": np.nan, "se": np.nan, "low": np.nan, "high": np.nan, "people": used}
    upper, lower = np.array(upper), np.array(lower)
    slope = upper.sum() / lower.sum()
    error = np.sqrt(used / (used - 1) * np.sum((upper - slope * lower) ** 2)) / lower.sum()
    half = t.ppf(0.975, used - 1) * error
    return {
        "slope": float(slope),
        "se": float(error),
        "low": float(slope - half),
        "high": float(slope + half),
        "people": used,
    }


def bands(by, values, count=5):
    """Means of values in bands of equal numbers of people.

    Parameters
    ----------
    by : numpy.ndarray, (people,)
    values : dict of str to numpy.ndarray, (people,)
    count : int

    Returns
    -------
    list of dict
        low, high, mean (of `by`), people, and for every value its mean and ``…_se``.
    """
    edges = np.quantile(by, np.linspace(0, 1, count + 1))
    place = np.clip(np.searchsorted(edges, by, side="right") - 1, 0, count - 1)
    out = []
    for k in np.unique(place):
        rows = place == k
        one = {"low": float(by[rows].min()), "high": float(by[rows].max()), "people": int(rows.sum())}
        one["mean"] = float(by[rows].mean())
        for name, column in values.items():
            known = column[rows][np.isfinite(column[rows])]
            one[name] = float(known.mean()) if known.size else np.nan
            one[f"{name}_se"] = float(known.std(ddof=1) / np.sqrt(known.size)) if known.size > 1 else np.nan
        out.append(one)
    return out
