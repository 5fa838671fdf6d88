"""Brain age: accuracy of raw predictions only, and a gap whose age bias is learned from training controls."""

import numpy as np

from neurobraid.errors import InputError
from neurobraid.prediction.metrics import regression_metrics


def bias_line(age, predicted):
    """Line ``predicted = slope * age + intercept`` of held-out predictions of training controls.

    Parameters
    ----------
    age, predicted : numpy.ndarray, (controls,)
        Years. Predictions made out of fold: fitted ones have less bias than new ones.

    Returns
    -------
    slope, intercept : float
    """
    if age.size < 3 or np.ptp(age) == 0:
        raise InputError(
            "brain age", "training controls", age.size, "three or more of different age", "add controls"
        )
    slope, intercept = np.polyfit(age, predicted, 1)
    return float(slope), float(intercept)


def gaps(age, predicted, line):
    """Brain age gap before and after both corrections.

    Parameters
    ----------
    age, predicted : numpy.ndarray, (people,)
        Years, people tested.
    line : tuple of float
        From `bias_line`, training controls.

    Returns
    -------
    dict of str to numpy.ndarray, (people,)
        ``raw``: predicted minus age. ``cole``: with (predicted - intercept) / slope (Cole et al. 2018, Mol Psychiatry
        23:1385): uses no age of the person tested; keeps the size of an effect; NaN where the slope is below 0.1.
        ``delange``: raw minus what the line expects at this age (de Lange et al. 2019; Beheshti et al. 2019):
        keeps the scale of the raw gap and contains the true age, so it is never a prediction.
    """
    slope, intercept = line
    cole = (predicted - intercept) / slope if slope > 0.1 else np.full(predicted.size, np.nan)
    return {"raw": predicted - age, "cole": cole - age, "delange": predicted - (slope * age + intercept)}


def accuracy(age, predicted, train_mean):
    """Accuracy of raw predictions with what nobody should be compared without.

    Parameters
    ----------
    age, predicted : numpy.ndarray, (people,)
    train_mean : float

    Returns
    -------
    dict
        mae, r2, r (see `regression_metrics`), mae of the mean age, age_low, age_high, age_sd.
    """
    return {
        **regression_metrics(age, predicted, train_mean),
        "mae_mean_age": float(np.mean(np.abs(age - train_mean))),
        "age_low": float(age.min()),
        "age_high": float(age.max()),
        "age_sd": float(age.std()),
    }


def refuse_corrected(age, raw, reported):
    """Name an accuracy that is computed after a correction by the true age.

    Parameters
    ----------
    age, raw, reported : numpy.ndarray, (people,)
        Years; `reported` is what the accuracy is to be computed from.

    Raises
    ------
    InputError
        What was added to the raw prediction follows the age: noise would reach R2 .88 (Butler et al. 2021, Hum Brain
        Mapp 42:4092).
    """
    added = reported - raw
    if np.std(added) > 1e-9 and np.std(age) > 0 and abs(np.corrcoef(added, age)[0, 1]) > 0.95:
        raise InputError(
            "brain age",
            "accuracy",
            "of predictions corrected by the age of the people tested",
            "raw predictions",
            "report MAE and R2 of raw predictions; use corrected gaps only to compare people",
        )


def adjusted_gap(gap, group, covariates):
    """Difference in the gap between two groups, adjusted.

    Parameters
    ----------
    gap : numpy.ndarray, (people,)
    group : numpy.ndarray, (people,)
        0 and 1.
    covariates : numpy.ndarray, (people, columns)
        Age always; sex, site and motion if known.

    Returns
    -------
    dict
        difference (years), se, t, p, people.
    """
    from scipy.stats import t

    centred = covariates - covariates.mean(axis=0)
    design = np.column_stack([group, np.ones(gap.size), centred])
    inverse = np.linalg.pinv(design.T @ design)
    weights = inverse @ design.T @ gap
    rest = gap - design @ weights
    free = gap.size - np.linalg.matrix_rank(design)
    error = float(np.sqrt(rest @ rest / free * inverse[0, 0]))
    value = float(weights[0] / error)
    return {
        "difference": float(weights[0]),
        "se": error,
        "t": value,
        "p": float(2 * t.sf(abs(value), free)),
        "people": int(gap.size),
    }
