"""Time to an event, seen or not: discrete-time hazard, Harrell's C, and the Brier score with censoring weights.

A target is one number per person: the time, negative where the event had not happened when observation ended. So a
time never parts from its event, whatever is shuffled or split.
"""

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator

from neurobraid.prediction.ordinal import newton, reduce

#: Most intervals of the discrete-time hazard.
INTERVALS = 10
#: Share of people still under observation below which no Brier score is computed.
LEFT = 0.1


def encode(times, events):
    """One number per person, (people,): time, with a minus where `events` (bool) is False."""
    return np.where(events, times, -times)


def split(y):
    """Times and events of `encode`."""
    return np.abs(y), y > 0


def kaplan_meier(times, events):
    """Share without the event (Kaplan & Meier 1958, JASA 53:457).

    Parameters
    ----------
    times : numpy.ndarray, (people,)
    events : numpy.ndarray of bool, (people,)

    Returns
    -------
    steps, survival : numpy.ndarray, (distinct event times,)
        The share drops to `survival` at `steps`.
    """
    steps = np.unique(times[events])
    ordered = np.sort(times)
    at_risk = len(times) - np.searchsorted(ordered, steps, side="left")
    happened = np.searchsorted(np.sort(times[events]), steps, "right") - np.searchsorted(
        np.sort(times[events]), steps, "left"
    )
    return steps, np.cumprod(1 - happened / at_risk)


def under_observation(times, events):
    """Probability of not being censored yet, as a step function of Kaplan-Meier form.

    Returns
    -------
    steps, share : numpy.ndarray
        Events come before censoring at the same time.
    """
    steps = np.unique(times[~events])
    ordered, happened = np.sort(times), np.sort(times[events])
    at_risk = (
        len(times)
        - np.searchsorted(ordered, steps, side="left")
        - (np.searchsorted(happened, steps, "right") - np.searchsorted(happened, steps, "left"))
    )
    lost = np.sort(times[~events])
    gone = np.searchsorted(lost, steps, "right") - np.searchsorted(lost, steps, "left")
    return steps, np.cumprod(1 - gone / np.maximum(at_risk, 1))


def step_value(steps, values, at, side="right"):
    """Value of a falling step function that starts at 1; ``side='left'`` gives the value just before."""
    place = np.searchsorted(steps, at, side=side)
    return np.concatenate([[1.0], values])[place]


def logrank_scores(y):
    """What every person adds to a log-rank test: event minus cumulative hazard at the person's time.

    Parameters
    ----------
    y : numpy.ndarray, (people,) or (people, columns)
        Of `encode`.

    Returns
    -------
    numpy.ndarray, like `y`
        Martingale residuals of the model without features (Therneau, Grambsch & Fleming 1990, Biometrika 77:147):
        the target of a fast ridge; high for early events. Sum 0.
    """
    if y.ndim == 2:
        return np.stack([logrank_scores(column) for column in y.T], axis=1)
    times, events = split(y)
    steps = np.unique(times[events])
    happened = np.bincount(np.searchsorted(steps, times[events]), minlength=steps.size)
    at_risk = len(times) - np.searchsorted(np.sort(times), steps, side="left")
    hazard = np.concatenate([[0.0], np.cumsum(happened / np.maximum(at_risk, 1))])
    return events - hazard[np.searchsorted(steps, times, side="right")]


def concordance(y, scores):
    """Harrell's C of every column (Harrell et al. 1982, JAMA 247:2543).

    Parameters
    ----------
    y : numpy.ndarray, (people,) or (people, columns)
        Of `encode`.
    scores : numpy.ndarray, (people, columns)
        Higher is a higher risk.

    Returns
    -------
    numpy.ndarray, (columns,)
        Pairs count when the earlier time is an event; a person censored at the time of another's event is later. Two
        events at one time do not count; equal scores count half. NaN without a pair.
    """
    if y.ndim == 2:
        return np.array([concordance(a, b[:, None])[0] for a, b in zip(y.T, scores.T, strict=True)])
    times, events = split(y)
    first, second = np.nonzero(
        events[:, None] & ((times[:, None] < times) | ((times[:, None] == times) & ~events))
    )
    if not first.size:
        return np.full(scores.shape[1], np.nan)
    out = np.empty(scores.shape[1])
    for column in range(scores.shape[1]):
        one, two = scores[first, column], scores[second, column]
        out[column] = np.mean(one > two) + 0.5 * np.mean(one == two)
    return out


# ------------------------------------------------------------------ discrete-time hazard


def intervals(y):
    """Upper ends of up to ten intervals that hold about as many events each, (intervals,)."""
    times, events = split(y)
    if not events.any():
        return np.empty(0)
    happened = np.sort(times[events])
    count = min(INTERVALS, happened.size)
    return np.unique(happened[np.ceil(np.arange(1, count + 1) * happened.size / count).astype(int) - 1])


def person_period(y, edges):
    """Who is at risk in which interval, and whose event falls into it.

    Parameters
    ----------
    y : numpy.ndarray, (people,)
    edges : numpy.ndarray, (intervals,)

    Returns
    -------
    at_risk, event : numpy.ndarray of bool, (people, intervals)
        A person who is censored counts in the intervals that were seen to their end.
    """
    times, events = split(y)
    here = np.arange(edges.size)
    last = np.searchsorted(edges, times, side="left")
    whole = np.searchsorted(edges, times, side="right")
    count = np.where(events & (last < edges.size), last + 1, whole)
    return here < count[:, None], (here == last[:, None]) & events[:, None]


def _hazard(Z, at_risk, event, strength):
    """Function for `newton`: penalised log likelihood of one level per interval and the weights."""
    j = at_risk.shape[1]

    def evaluate(theta):
        levels, weights = theta[:j], theta[j:]
        eta = levels + (Z @ weights)[:, None]
        value = np.sum((np.logaddexp(0, eta) - event * eta)[at_risk])
        # a very weak pull keeps an interval in which everybody has the event finite
        value += 0.5 * strength * weights @ weights + 5e-5 * levels @ levels
        p = expit(eta)
        rest = np.where(at_risk, p - event, 0.0)
        curve = np.where(at_risk, p * (1 - p), 0.0)
        gradient = np.r_[rest.sum(axis=0) + 1e-4 * levels, Z.T @ rest.sum(axis=1) + strength * weights]
        hessian = np.zeros((theta.size, theta.size))
        hessian[:j, :j] = np.diag(curve.sum(axis=0) + 1e-4)
        hessian[:j, j:] = curve.T @ Z
        hessian[j:, :j] = hessian[:j, j:].T
        hessian[j:, j:] = (Z * curve.sum(axis=1)[:, None]).T @ Z + strength * np.eye(Z.shape[1])
        return value, gradient, hessian

    return evaluate


def _levels(at_risk, event):
    share = (event.sum(axis=0) + 0.5) / (at_risk.sum(axis=0) + 1.0)
    return np.log(share / (1 - share))


class HazardPath(BaseEstimator):
    """Ridge-logistic hazard over intervals of time (Singer & Willett 1993, J Educ Stat 18:155), every penalty.

    The rows of a person, one per interval at risk, share the person's features: they are summed, never split.

    Parameters
    ----------
    grid : tuple of float
        C, the inverse strength, ascending.
    """

    def __init__(self, grid=(0.01, 1.0)):
        self.grid = grid

    def fit(self, X, y):
        """Fit every value on intervals made from the training people's events."""
        self.factor_, self.n_samples_seen_ = np.sqrt(max(X.shape[1], 1)), len(X)
        self.edges_ = intervals(y)
        self.weights_ = np.zeros((X.shape[1], len(self.grid)))
        if not self.edges_.size or not X.shape[1]:
            return self
        Z, back = reduce(X * self.factor_)
        at_risk, event = person_period(y, self.edges_)
        theta = np.r_[_levels(at_risk, event), np.zeros(Z.shape[1])]
        for place, c in enumerate(self.grid):
            theta = newton(theta, _hazard(Z, at_risk, event, 1 / c))
            weights = theta[self.edges_.size :]
            self.weights_[:, place] = weights if back is None else back @ weights
        return self

    def scores(self, X):
        """Scores, (people, grid): higher for a higher hazard."""
        return (X * self.factor_) @ self.weights_


class HazardCalibrator:
    """Scores to survival curves: a discrete-time hazard on the score alone, from inner scores."""

    def fit(self, scores, y):
        """Learn from inner out-of-fold scores (people,); a hazard that falls with the score is refused."""
        times, _ = split(y)
        self.edges_ = intervals(y)
        self.horizon_ = float(np.quantile(times, 0.9))
        spread = scores.std()
        self.center_, self.unit_ = scores.mean(), spread if spread > 1e-12 else 1.0
        z = ((scores - self.center_) / self.unit_)[:, None]
        at_risk, event = person_period(y, self.edges_)
        self.levels_, self.slope_ = _levels(at_risk, event), 0.0
        if self.edges_.size and spread > 1e-12:
            theta = newton(np.r_[self.levels_, 0.0], _hazard(z, at_risk, event, 1e-3))
            if theta[-1] > 0:
                self.levels_, self.slope_ = theta[:-1], float(theta[-1])
        return self

    def curve(self, scores, times):
        """Probability of no event by `times`, (people, times); the hazard is constant within an interval."""
        z = self.slope_ * (scores - self.center_) / self.unit_
        rate = np.logaddexp(0, self.levels_ + z[:, None])
        starts = np.concatenate([[0.0], self.edges_[:-1]]) if self.edges_.size else self.edges_
        width = self.edges_ - starts
        part = np.clip((times[:, None] - starts) / np.where(width > 0, width, 1.0), 0.0, 1.0)
        return np.exp(-rate @ part.T)

    def apply(self, scores):
        """Expected time without the event up to the training people's 90 % quantile of time, (people,)."""
        times = np.linspace(0, self.horizon_, 101)
        return np.trapezoid(self.curve(scores, times), times, axis=1)


def brier(y, curve, times, censoring):
    """Squared error of predicted survival at every time, weighted for censoring (Graf et al. 1999, Stat Med 18:2529).

    Parameters
    ----------
    y : numpy.ndarray, (people,)
    curve : numpy.ndarray, (people, times)
        Predicted probability of no event.
    times : numpy.ndarray, (times,)
    censoring : tuple of numpy.ndarray
        Of `under_observation`, from training people.

    Returns
    -------
    numpy.ndarray, (times,)
    """
    own, events = split(y)
    before = np.maximum(step_value(*censoring, own, side="left"), 1e-6)
    now = np.maximum(step_value(*censoring, times), 1e-6)
    happened = (own[:, None] <= times) & events[:, None]
    alive = own[:, None] > times
    return np.mean(happened * curve**2 / before[:, None] + alive * (1 - curve) ** 2 / now, axis=0)


def integrated_brier(y, curve, train):
    """Brier score averaged over time.

    Parameters
    ----------
    y : numpy.ndarray, (people,)
        People tested.
    curve : callable
        ``curve(times)`` gives predicted survival, (people, times).
    train : numpy.ndarray, (training people,)
        Their targets: weights for censoring, and the last time (a tenth of them must still be under observation).

    Returns
    -------
    float
        0 is perfect; 0.25 is a coin at every time.
    """
    times, events = split(train)
    censoring = under_observation(times, events)
    last = np.quantile(times, 1 - LEFT)
    enough = censoring[0][censoring[1] < LEFT]
    last = min(last, enough.min()) if enough.size else last
    grid = np.linspace(0, last, 101)
    return float(np.trapezoid(brier(y, curve(grid), grid, censoring), grid) / last)


def survival_metrics(y, score, curve, train):
    """Metrics of one test fold: cindex (Harrell's C) and ibs (integrated Brier score); see the functions."""
    return {
        "cindex": float(concordance(y, score[:, None])[0]),
        "ibs": integrated_brier(y, curve, train),
    }


def risk_groups(y, score, groups=3):
    """Survival of people by thirds of held-out risk, for a picture.

    Parameters
    ----------
    y, score : numpy.ndarray, (people,)
    groups : int

    Returns
    -------
    list of dict
        ``group``, ``people``, ``events``, ``times`` and ``survival`` (steps, beginning at 0 and 1, ending at the last
        time of the group).
    """
    place = np.argsort(np.argsort(score, kind="stable"), kind="stable") * groups // score.size
    names = ("lowest third", "middle third", "highest third") if groups == 3 else range(1, groups + 1)
    out = []
    for number, name in enumerate(names):
        times, events = split(y[place == number])
        if not times.size:
            continue
        steps, survival = kaplan_meier(times, events)
        out.append(
            {
                "group": str(name),
                "people": int(times.size),
                "events": int(events.sum()),
                "times": [0.0, *map(float, steps), float(times.max())],
                "survival": [1.0, *map(float, survival), float(np.r_[1.0, survival][-1])],
            }
        )
    return out
