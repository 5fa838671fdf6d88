"""Does a marker tell who changes, and who changes because of a treatment? Held-out estimates with permutation.

A marker that goes with the change of an outcome is *prognostic*; only one whose relation to the change differs between
a treated and an untreated arm says anything about *response*. Every estimate comes twice: as the change stands, and
adjusted for the outcome at baseline inside the fold (analysis of covariance). A high value at baseline falls by itself,
and so does whatever follows the baseline value: without the adjustment it seems to predict change (Vickers & Altman 2001,
BMJ 323:1123).
"""

from dataclasses import dataclass

import numpy as np

from neurobraid.prediction.labels import choose_columns, ridge_columns
from neurobraid.prediction.metrics import corrected_interval
from neurobraid.prediction.permutation import p_values
from neurobraid.prediction.steps import confound_fit, prepare
from neurobraid.stats import permutation as glm
from neurobraid.stats.exchange import exchange

#: Share of treated people in a site is kept within these limits when it is divided by.
SHARE = (0.05, 0.95)
#: Resamples of people for intervals of held-out quantities.
RESAMPLES = 1000


@dataclass
class Trial:
    """Arrays of one outcome analysis; rows are people.

    Attributes
    ----------
    tables : dict of str to numpy.ndarray, (people, features)
        Markers; NaN where missing.
    change : numpy.ndarray, (people,)
        Follow-up minus baseline, or that per year.
    start : numpy.ndarray, (people,)
        The outcome at baseline.
    arm : numpy.ndarray, (people,), or None
        1 treated, 0 control.
    nuisance : numpy.ndarray, (people, columns)
        Site and covariates, coded; no constant.
    sites, groups : numpy.ndarray of str, (people,)
    sign : float
        1 if larger changes are better, -1 if smaller.
    """

    tables: dict
    change: np.ndarray
    start: np.ndarray
    arm: np.ndarray | None
    nuisance: np.ndarray
    sites: np.ndarray
    groups: np.ndarray
    sign: float = 1.0

    def columns(self, adjusted):
        """Nuisance of an analysis: sites and covariates, and the baseline value if `adjusted`."""
        return np.concatenate([self.nuisance, self.start[:, None]], axis=1) if adjusted else self.nuisance

    @property
    def blocks(self):
        """Arm and site: rows with the same label may change places under the null."""
        arm = np.zeros(self.change.size) if self.arm is None else self.arm
        return np.array([f"{int(a)} {s}" for a, s in zip(arm, self.sites, strict=True)])

    @property
    def units(self):
        """Rows that change places as a whole: groups that lie in one arm and site (clusters), else single people."""
        pairs = {*zip(self.groups.tolist(), self.blocks.tolist(), strict=True)}
        whole = len(pairs) == np.unique(self.groups).size
        return self.groups if whole else np.arange(self.change.size).astype(str)


def _left(Y, columns, train):
    """What a linear model on nuisance, fitted on training people, leaves of every column of Y; (people, targets)."""
    if not columns.shape[1]:
        return Y - Y[train].mean(axis=0)
    center, scale, slopes = confound_fit(Y[train], columns[train])
    return Y - Y[train].mean(axis=0) - ((columns - center) / scale) @ slopes


def _ready(trial, names, columns, fitted, others, min_present):
    """Markers of some people prepared by others: covered, filled, without nuisance, scaled; blocks side by side."""
    parts = []
    for name in names:
        table = np.concatenate([trial.tables[name], columns], axis=1)
        parts.append(prepare(table[fitted], table[others], columns.shape[1], min_present))
    return [np.concatenate(side, axis=1) for side in zip(*parts, strict=True)]


def _ridge(ready, Y, train, inside, grid):
    """Ridge of every column of Y: held-out values inside the training people, and a function for others.

    Parameters
    ----------
    ready : callable
        ``ready(fitted, others)`` gives prepared markers.
    Y : numpy.ndarray, (people, targets)
    train, inside : numpy.ndarray of int
    grid : tuple of float

    Returns
    -------
    inner : numpy.ndarray, (train, targets)
    apply : callable
        ``apply(others)`` gives (others, targets).
    """
    columns = np.arange(Y.shape[1])
    inner = np.empty((len(grid), train.size, Y.shape[1]))
    for k in np.unique(inside):
        own, other = train[inside != k], train[inside == k]
        inner[:, inside == k] = ridge_columns(*ready(own, other), Y[own], grid, "regression")
    best = choose_columns(inner, Y[train], inside, "regression")

    def apply(others):
        found = ridge_columns(*ready(train, others), Y[train], grid, "regression")
        return found[best, :, columns].T

    return inner[best, :, columns].T, apply


def _cached(make):
    """Prepared markers are asked for by every target of a fold: keep them."""
    known = {}

    def ready(fitted, others):
        key = (fitted.tobytes(), others.tobytes())
        if key not in known:
            known[key] = make(fitted, others)
        return known[key]

    return ready


def _treated_share(arm, sites, train):
    """Share of treated people by site, from training people; the overall share where a site has one arm.

    Returns
    -------
    numpy.ndarray, (people, columns of arm)
    """
    overall = arm[train].mean(axis=0)
    out = np.tile(overall, (len(arm), 1))
    for name in np.unique(sites):
        own = train[sites[train] == name]
        if own.size:
            share = arm[own].mean(axis=0)
            good = (share > 0) & (share < 1)
            out[sites == name] = np.where(good, share, overall)
    return np.clip(out, *SHARE)


# ------------------------------------------------------------------ prognosis


def null_changes(trial, adjusted, count, seed):
    """Changes in which markers say nothing beyond nuisance and arm (Freedman & Lane 1983).

    Parameters
    ----------
    trial : Trial
    adjusted : bool
    count, seed : int

    Returns
    -------
    numpy.ndarray, (people, 1 + count)
        The data first; then what the nuisance leaves, rearranged within arm and site, put back on what it explains.
    """
    columns = trial.columns(adjusted)
    if trial.arm is not None:
        columns = np.concatenate([columns, trial.arm[:, None]], axis=1)
    design = np.concatenate([np.ones((trial.change.size, 1)), columns], axis=1)
    explained = design @ np.linalg.lstsq(design, trial.change, rcond=1e-9)[0]
    left = trial.change - explained
    if not count:
        return trial.change[:, None]
    allowed = exchange(trial.change.size, units=trial.units, blocks=trial.blocks)
    orders = [order for order, _ in _draws(allowed, seed, count)]
    return np.stack([trial.change, *(explained + left[order] for order in orders)], axis=1)


def prognosis(trial, folds, names, *, adjusted, grid, min_present, count, seed):
    """Held-out prediction of change: what markers add to site, covariates, arm and, if adjusted, the baseline value.

    Parameters
    ----------
    trial : Trial
    folds : neurobraid.prediction.folds.Folds
    names : list of str
        Feature sets, early fusion of several.
    adjusted : bool
        For the baseline value of the outcome, inside the fold.
    grid : tuple of float
        Penalties, strongest first.
    min_present : float
    count, seed : int
        Permutations.

    Returns
    -------
    dict
        ``without``, ``with``: R2 by sums of squares of the model without and with markers; ``gain``, their difference;
        each with the corrected interval over folds. ``p`` of the gain (one-sided), ``null_mean``, ``predicted``:
        (people,) held-out change, mean over repeats.
    """
    columns = trial.columns(adjusted)
    fixed = columns if trial.arm is None else np.concatenate([columns, trial.arm[:, None]], axis=1)
    Y = null_changes(trial, adjusted, count, seed)
    without, both, out = [], [], np.zeros((trial.change.size, 2))
    for _, _, train, test, inside in folds.splits():
        left = _left(Y, fixed, train)
        ready = _cached(lambda a, b: _ready(trial, names, fixed, a, b, min_present))
        _, apply = _ridge(ready, left, train, inside, grid)
        rest = left[test] - apply(test)
        total = np.sum((Y[test] - Y[train].mean(axis=0)) ** 2, axis=0)
        without.append(1 - np.sum(left[test] ** 2, axis=0) / total)
        both.append(1 - np.sum(rest**2, axis=0) / total)
        out[test] += np.stack([trial.change[test] - rest[:, 0], np.ones(test.size)], axis=1)
    without, both = np.array(without), np.array(both)
    gain = both - without
    p = p_values({"gain": gain[:, 0].mean()}, {"gain": gain[:, 1:].mean(axis=0)}) if count else None
    share = folds.test_share
    return {
        "without": corrected_interval(without[:, 0], share),
        "with": corrected_interval(both[:, 0], share),
        "gain": corrected_interval(gain[:, 0], share),
        "p": p["p"]["gain"] if p else np.nan,
        "null_mean": p["null_mean"]["gain"] if p else np.nan,
        "predicted": np.where(out[:, 1] > 0, out[:, 0] / np.maximum(out[:, 1], 1), np.nan),
    }


# ------------------------------------------------------------------ response


def null_arms(trial, adjusted, count, seed):
    """Arms drawn anew within sites, and the changes these people would have had if the effect were the same for all.

    Parameters
    ----------
    trial : Trial
    adjusted : bool
    count, seed : int

    Returns
    -------
    arms, changes : numpy.ndarray, (people, 1 + count)
        The data first. The randomisation test of treatment effect variation with the estimated mean effect (Ding, Feller
        & Miratrix 2016, J R Stat Soc B 78:655); what markers say about the course stays.
    """
    effect, _ = average_effect(trial, adjusted)
    untreated = trial.change - effect * trial.arm
    arms = [trial.arm]
    if count:
        allowed = exchange(trial.change.size, units=trial.units, blocks=trial.sites)
        arms += [trial.arm[order] for order, _ in _draws(allowed, seed, count)]
    arms = np.stack(arms, axis=1)
    return arms, untreated[:, None] + effect * arms


def average_effect(trial, adjusted):
    """Mean effect of treatment on the change and its standard error, by least squares with the nuisance."""
    design = np.concatenate(
        [trial.arm[:, None], np.ones((trial.change.size, 1)), trial.columns(adjusted)], axis=1
    )
    weights = np.linalg.lstsq(design, trial.change, rcond=1e-9)[0]
    left = trial.change - design @ weights
    free = max(trial.change.size - np.linalg.matrix_rank(design), 1)
    error = np.sqrt(np.linalg.pinv(design.T @ design)[0, 0] * (left @ left) / free)
    return float(weights[0]), float(error)


def response(trial, folds, names, *, adjusted, grid, min_present, count, seed):
    """Held-out prediction of each person's effect of treatment, and whether it goes with the effect there is.

    The effect is learned by ridge on the transformed outcome ``(change - course) (arm - share) / (share (1 - share))``,
    whose mean given the markers is the effect (Athey & Imbens 2016, PNAS 113:7353; with the course taken out as in
    Nie & Wager 2021, Biometrika 108:299). Course, share, nuisance and penalty come from training people.

    Parameters
    ----------
    trial, folds, names, adjusted, grid, min_present, count, seed
        See `prognosis`.

    Returns
    -------
    dict
        ``slope``: of the effect on the predicted effect among held-out people (1: sizes are right, 0: no relation), with
        ``low``, ``high`` by resampling people given these models; ``t`` and ``p`` of that interaction (one-sided), predicted
        effects scaled in every fold;
        ``auuc``: area between the curve of gain by treating the best first and treating at random, in units of the
        outcome per person, with interval over folds, ``p``; ``effect`` (people,), predicted held-out effect, and
        ``score`` (people,), the transformed outcome, both mean over repeats.
    """
    columns = trial.columns(adjusted)
    arms, changes = null_arms(trial, adjusted, count, seed)
    n, targets = changes.shape
    values, folds_auuc, sums = [], [], np.zeros((n, 5))
    for repeat in sorted({r for r, *_ in folds.splits()}):
        pooled = {key: np.full((n, targets), np.nan) for key in ("effect", "unit", "left", "arm")}
        for number, _, train, test, inside in folds.splits():
            if number != repeat:
                continue
            share = _treated_share(arms, trial.sites, train)
            ready = _cached(lambda a, b: _ready(trial, names, columns, a, b, min_present))
            left = _left(changes, columns, train)
            own, apply = _ridge(ready, left, train, inside, grid)
            course = np.zeros_like(left)
            course[train], course[test] = own, apply(test)
            left = left - course
            shifted = arms - share
            score = left * shifted / (share * (1 - share))
            _, predict = _ridge(ready, score, train, inside, grid)
            effect = predict(test)
            spread = effect - effect.mean(axis=0)
            pooled["effect"][test], pooled["left"][test], pooled["arm"][test] = (
                spread, left[test], shifted[test],
            )  # fmt: skip
            place = _ranks(trial.sign * effect)
            area = trial.sign * (place - 0.5) * score[test]
            folds_auuc.append(area.mean(axis=0))
            size = spread.std(axis=0)
            # every fold speaks with the same voice in the test, however strong the penalty that it chose
            pooled["unit"][test] = spread / np.where(size > 1e-12, size, 1.0)
            sums[test] += np.stack(
                [effect[:, 0], spread[:, 0], left[test, 0], shifted[test, 0], np.ones(test.size)], axis=1
            )
        values.append(
            [
                _interaction(pooled[name], pooled["left"], pooled["arm"])[k]
                for k, name in enumerate(("effect", "unit"))
            ]
        )
    slope, t = (np.mean([v[k] for v in values], axis=0) for k in (0, 1))
    area = np.array(folds_auuc)
    tested = np.array([t, area.mean(axis=0)])
    p = p_values({"t": tested[0, 0], "auuc": tested[1, 0]}, {"t": tested[0, 1:], "auuc": tested[1, 1:]})
    seen = sums[:, 4] > 0
    mean = sums[:, :4] / np.maximum(sums[:, 4:], 1)
    low, high = _resample(trial, mean[seen, 1:], seen, seed)
    first = _treated_share(arms[:, :1], trial.sites, np.arange(n))[:, 0]
    return {
        "slope": float(slope[0]),
        "low": low,
        "high": high,
        "t": float(t[0]),
        "p": p["p"]["t"] if count else np.nan,
        "null_mean": p["null_mean"]["t"] if count else np.nan,
        "auuc": {
            **corrected_interval(area[:, 0], folds.test_share),
            "p": p["p"]["auuc"] if count else np.nan,
        },
        "effect": np.where(seen, mean[:, 0], np.nan),
        "score": np.where(seen, mean[:, 2] * mean[:, 3] / (first * (1 - first)), np.nan),
    }


def _ranks(values):
    """Place of every row among the rows, 0 to 1, ties in the middle; (rows, columns)."""
    from scipy.stats import rankdata

    return (rankdata(values, axis=0) - 0.5) / len(values)


def _interaction(effect, left, arm):
    """Slope and t of (arm x predicted effect) on what is left of the change, by columns; 0 without spread."""
    known = np.isfinite(effect[:, 0])
    effect, left, arm = effect[known], left[known], arm[known]
    main = (arm * left).sum(axis=0) / np.maximum((arm**2).sum(axis=0), 1e-300)
    rest = left - arm * main
    x = arm * effect
    # the part of the product that the arm itself carries
    x = x - arm * ((arm * x).sum(axis=0) / np.maximum((arm**2).sum(axis=0), 1e-300))
    square = (x**2).sum(axis=0)
    flat = square < 1e-18 * np.maximum((rest**2).sum(axis=0), 1e-300)
    slope = (x * rest).sum(axis=0) / np.where(flat, 1.0, square)
    error = np.sqrt((x**2 * (rest - slope * x) ** 2).sum(axis=0)) / np.where(flat, 1.0, square)
    return np.where(flat, 0.0, slope), np.where(
        flat | (error <= 0), 0.0, slope / np.where(error > 0, error, 1.0)
    )


def _resample(trial, values, seen, seed):
    """Percentile interval of the slope over resampled people, within arm and site."""
    rng = np.random.default_rng([seed, 77])
    blocks = trial.blocks[seen]
    members = [np.flatnonzero(blocks == b) for b in np.unique(blocks)]
    rows = np.concatenate(
        [m[rng.integers(0, m.size, (RESAMPLES, m.size))] for m in members], axis=1
    ).T  # fmt: skip
    found = _interaction(*(values[:, k][rows] for k in range(3)))[0]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def uplift_curve(effect, score, sign, points=21):
    """Gain in outcome per person when the share with the largest predicted benefit is treated.

    Parameters
    ----------
    effect, score : numpy.ndarray, (people,)
        Predicted effect, and the transformed outcome of `response`; NaN for people never tested.
    sign : float
    points : int

    Returns
    -------
    list of dict
        ``share`` treated, ``gain`` by treating the best first, ``random`` gain with as many treated at random; positive
        is better.
    """
    known = np.isfinite(effect) & np.isfinite(score)
    order = np.argsort(-sign * effect[known], kind="stable")
    gained = np.concatenate([[0.0], np.cumsum(sign * score[known][order])]) / max(known.sum(), 1)
    share = np.linspace(0, 1, points)
    at = np.interp(share * known.sum(), np.arange(gained.size), gained)
    return [
        {"share": float(s), "gain": float(g), "random": float(s * gained[-1])}
        for s, g in zip(share, at, strict=True)
    ]


# ------------------------------------------------------------------ contrasts


def contrasts(trial, names, *, adjusted, count, seed, min_present=0.5):
    """Every marker by itself: how the effect of treatment (or, with one arm, the change) differs with it.

    Parameters
    ----------
    trial : Trial
    names : dict of str to list of str
        Names of the markers of every table.
    adjusted : bool
        With the baseline value of the outcome and, with two arms, its interaction with the arm in the model.
    count, seed : int
        Permutations (Freedman & Lane 1983 within arm and site, see `neurobraid.stats.permutation`).
    min_present : float

    Returns
    -------
    list of dict
        ``marker``, ``adjusted``, ``estimate`` (difference of the effect, or the change, per SD of the marker), ``low``,
        ``high`` (95 %), ``t``, ``p`` (two-sided, permutation), ``p_fwe`` (over all markers), ``people``.
    """
    from scipy.stats import t as student

    table = np.concatenate(list(trial.tables.values()), axis=1)
    labels = [f"{name}: {label}" for name in trial.tables for label in names[name]]
    keep = (np.isfinite(table).mean(axis=0) >= min_present) & (np.nanstd(table, axis=0) > 0)
    rows = np.isfinite(table[:, keep]).all(axis=1)
    labels = [label for label, k in zip(labels, keep, strict=True) if k]
    part = table[rows][:, keep]
    part = (part - part.mean(axis=0)) / np.where(part.std(axis=0) > 0, part.std(axis=0), 1.0)
    columns = trial.columns(adjusted)[rows]
    base = _independent(np.concatenate([np.ones((rows.sum(), 1)), columns], axis=1))
    arm = None
    if trial.arm is not None:
        # centred, so that the marker's own coefficient is its relation to the course at the mean share of treatment
        arm = trial.arm[rows] - trial.arm[rows].mean()
        base = np.concatenate([base, arm[:, None]], axis=1)
        if adjusted:
            start = trial.start[rows] - trial.start[rows].mean()
            base = np.concatenate([base, (arm * start)[:, None]], axis=1)
    draws = []
    if count:
        # the same rearrangements for every marker, so that the largest statistic over markers has a null
        allowed = exchange(int(rows.sum()), units=trial.units[rows], blocks=trial.blocks[rows])
        draws = _draws(allowed, seed, count)
    y, found, peaks = trial.change[rows][:, None], [], []
    for place, label in enumerate(labels):
        marker = part[:, place]
        tested = [marker] if arm is None else [marker, arm * marker]
        design = np.column_stack([base, *tested])
        one = {"marker": label, "adjusted": adjusted, "people": int(rows.sum())}
        if np.linalg.matrix_rank(design) < design.shape[1] or len(design) <= design.shape[1] + 1:
            nothing = dict.fromkeys(("estimate", "low", "high", "t", "p", "p_fwe"), np.nan)
            found.append({**one, **nothing})
            continue
        weight = np.zeros(design.shape[1])
        weight[-1] = 1.0
        inverse = np.linalg.inv(design.T @ design)
        fit = inverse @ design.T @ y[:, 0]
        left, free = y[:, 0] - design @ fit, len(design) - design.shape[1]
        error = np.sqrt(left @ left / free * inverse[-1, -1])
        half = student.ppf(0.975, free) * error
        one |= {"estimate": fit[-1], "low": fit[-1] - half, "high": fit[-1] + half, "t": fit[-1] / error}
        if count:
            null = np.abs(glm.statistic(glm.prepare(y, design, weight), draws)[:, 0])
            peaks.append(null)
            one["p"] = float((1 + np.sum(null >= abs(one["t"]) * (1 - glm.SLACK))) / (1 + null.size))
        found.append(one)
    largest = np.max(peaks, axis=0) if peaks else np.empty(0)
    for one in found:
        if "p" in one and np.isfinite(one["t"]):
            over = np.sum(largest >= abs(one["t"]) * (1 - glm.SLACK))
            one["p_fwe"] = float((1 + over) / (1 + largest.size))
        one.setdefault("p", np.nan)
        one.setdefault("p_fwe", np.nan)
    return found


def _draws(allowed, seed, count):
    """Rearrangements 1 to `count`, or all there are, if these are fewer."""
    if allowed.possible <= count + 1:
        return [allowed.nth(k) for k in range(1, allowed.possible)]
    return [allowed.draw(seed, k) for k in range(1, count + 1)]


def _independent(design):
    """Columns that add something to those before them."""
    kept = []
    for column in design.T:
        trial = np.column_stack([*kept, column])
        if np.linalg.matrix_rank(trial) == trial.shape[1]:
            kept.append(column)
    return np.column_stack(kept)
