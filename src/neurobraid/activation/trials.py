"""Responses to single trials, for decoding: one model for all trials, or a model of its own for each."""

import numpy as np
import pandas as pd

from neurobraid.activation import design as designs
from neurobraid.errors import InputError

METHODS = ("lsa", "lss")
_CHUNK = 16384


def trial_weights(frame_times, events, nuisance, *, method="lss", hrf="spm"):
    """Weights over volumes that give the response to every trial.

    Parameters
    ----------
    frame_times : numpy.ndarray, (T,)
        s
    events : pandas.DataFrame
        onset, duration, trial_type.
    nuisance : numpy.ndarray, (T, K)
        Confounds, drift and constant.
    method : {'lsa', 'lss'}
        lsa: all trials in one model. lss: for each trial a model with the trial, the other trials of its condition, and
        the other conditions (Mumford et al. 2012, NeuroImage 59:2636); steadier where trials follow each other closely.
    hrf : str
        Without derivatives; see `designs.check_hrf`.

    Returns
    -------
    weights : numpy.ndarray, (N, T)
        Applied to a series in percent they give percent signal change at the peak of the response.
    table : pandas.DataFrame
        onset, duration, trial_type, variance_factor (variance of the estimate per unit of white noise variance).

    Raises
    ------
    InputError
        Trials that one model cannot tell apart, or more of them than volumes.
    """
    shape, _ = designs.check_hrf(hrf)
    if shape == "fir" or method not in METHODS:
        raise InputError(
            "config",
            "activation.trials",
            f"{method} with hrf {hrf}",
            "lsa or lss with spm or glover",
            "change one",
        )
    onsets, durations = events["onset"].to_numpy(), events["duration"].to_numpy()
    basis = np.linalg.qr(nuisance)[0]
    columns = np.stack(
        [designs.regressor(frame_times, [o], [d], shape) for o, d in zip(onsets, durations, strict=True)], 1
    )
    columns -= basis @ (basis.T @ columns)
    peaks = np.array([designs.response_peak([o], [d], shape) for o, d in zip(onsets, durations, strict=True)])
    condition = events["trial_type"].to_numpy()
    if method == "lsa":
        if np.linalg.matrix_rank(columns) < columns.shape[1]:
            raise InputError(
                "events", "onset", f"{len(events)} trials that one model cannot tell apart",
                "trials further apart, in a longer run", "use activation.trials: lss",
            )  # fmt: skip
        weights = np.linalg.pinv(columns)
    else:
        sums = {name: columns[:, condition == name].sum(1) for name in dict.fromkeys(condition)}
        weights = np.empty((len(events), len(frame_times)))
        for n, name in enumerate(condition):
            others = [total - columns[:, n] if key == name else total for key, total in sums.items()]
            others = [column for column in others if np.abs(column).max() > 1e-12]
            weights[n] = np.linalg.pinv(np.column_stack([columns[:, n], *others]))[0]
    weights = weights * peaks[:, None]
    weights -= (weights @ basis) @ basis.T
    table = events[["onset", "duration", "trial_type"]].reset_index(drop=True)
    table["variance_factor"] = (weights**2).sum(1)
    return weights, table


def trial_effects(series, weights):
    """Response to every trial.

    Parameters
    ----------
    series : numpy.ndarray, (T, V), float32
        Percent.
    weights : numpy.ndarray, (N, T)

    Returns
    -------
    numpy.ndarray, (N, V), float32
    """
    out = np.empty((len(weights), series.shape[1]), np.float32)
    for start in range(0, series.shape[1], _CHUNK):
        part = slice(start, start + _CHUNK)
        out[:, part] = weights @ series[:, part].astype(np.float64)
    return out


def of_run(series, design, task_columns, events_path, frame_times, *, tr, start, method, hrf):
    """Single-trial effects of one run.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
        Percent, smoothed or not.
    design : pandas.DataFrame, (T, P)
        Of the run; what is not in `task_columns` is nuisance.
    task_columns : list of str
    events_path : path-like
    frame_times : numpy.ndarray, (T,)
    tr, start : float
        s
    method, hrf
        See `trial_weights`.

    Returns
    -------
    effects : numpy.ndarray, (N, V)
    table : pandas.DataFrame
    """
    events = designs.read_events(events_path, len(frame_times), tr, start)
    nuisance = design.drop(columns=[c for c in design if c in set(task_columns)]).to_numpy()
    if not nuisance.shape[1]:
        nuisance = np.ones((len(design), 1))
    weights, table = trial_weights(
        frame_times, events, nuisance, method=method, hrf=hrf.split("+")[0].strip()
    )
    return trial_effects(series, weights), pd.DataFrame(table)
