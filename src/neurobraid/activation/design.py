"""Design matrix of one task run: events, response shape, drift, confounds, and what can be estimated from it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurobraid.bold import nuisance
from neurobraid.errors import InputError
from neurobraid.files import read_tsv
from neurobraid.jobs import log

# peak shape, peak scale, undershoot shape, undershoot scale, undershoot ratio
_SHAPES = {
    "spm": (6.0, 1.0, 16.0, 1.0, 0.167),  # SPM's canonical response, as in nilearn
    "glover": (6.0 / 0.9, 0.9, 12.0 / 0.9, 0.9, 0.48),  # Glover 1999, NeuroImage 9:416
}

EPOCH_GAP_S = 1.0
"""Events of one condition with a shorter pause than this form one epoch when the response peak is measured."""

VIF_WARNING = 5.0

DISPERSION_STEP = 0.01
"""Widening of the response, s, whose effect is the dispersion derivative (SPM's and nilearn's step)."""

FIR_WINDOW_S = 20.0
"""Time after an event that a finite impulse response covers unless the number of delays is given."""

SAME_SHAPE = 1e-5
"""A condition of whose regressor less than this is left by drift and confounds cannot be estimated."""


def read_events(path, n_volumes, tr, start_time=0.0, *, columns=("trial_type",)):
    """Read and check the events of a run.

    Parameters
    ----------
    path : path-like
        ``*_events.tsv`` with columns onset, duration (s) and trial_type.
    n_volumes : int
    tr : float
        Repetition time in s.
    start_time : float
        Time of the first volume in s.
    columns : sequence of str
        Columns wanted besides onset and duration.

    Returns
    -------
    pandas.DataFrame
        Columns onset, duration and `columns`; sorted by onset; rows without a trial_type left out.

    Raises
    ------
    InputError
        No events, a missing column, an onset or duration that is no number or negative, an onset after the scan.
    """
    events = read_tsv(path, text=["trial_type"])
    wanted = ["onset", "duration", *columns]
    for column in wanted:
        if column not in events:
            raise InputError(
                path, "columns", ", ".join(events.columns), f"{', '.join(wanted[:-1])} and {wanted[-1]}",
                f"add {column}",
            )  # fmt: skip
    if "trial_type" in columns:
        events = events[events["trial_type"].notna()].copy()
    if events.empty:
        raise InputError(
            path, "rows", "no event with a trial_type", "one event or more", "give the events of the run"
        )
    end = start_time + n_volumes * tr
    for column in ("onset", "duration"):
        events[column] = pd.to_numeric(events[column], errors="coerce")
        wrong = events[~np.isfinite(events[column])]
        if len(wrong):
            raise InputError(
                path,
                f"{column} in line {wrong.index[0] + 2}",
                "no number",
                "seconds",
                "give the time or remove the row",
            )
        negative = events[events[column] < 0]
        if len(negative):
            fix = "count from the first stored volume and remove earlier events"
            raise InputError(
                path,
                f"{column} in line {negative.index[0] + 2}",
                f"{negative[column].iloc[0]:g} s",
                "0 or more",
                fix,
            )
    late = events[events["onset"] >= end]
    if len(late):
        raise InputError(
            path, f"onset in line {late.index[0] + 2}", f"{late['onset'].iloc[0]:g} s", f"before the scan ends ({end:g} s)",
            "remove the event, or check units (s, not ms), the repetition time and which run the file belongs to",
        )  # fmt: skip
    return events.sort_values("onset", kind="stable", ignore_index=True)[wanted]


def _parameters(shape, wider=0.0):
    """Gamma parameters of a response whose peak is `wider` seconds more dispersed, its mean delay the same (as SPM)."""
    k1, s1, k2, s2, ratio = _SHAPES[shape]
    return k1 * s1 / (s1 + wider), s1 + wider, k2, s2, ratio


def impulse_response(times, shape="spm", wider=0.0):
    """Haemodynamic response to an impulse, of unit area.

    Parameters
    ----------
    times : numpy.ndarray
        s after the impulse.
    shape : {'spm', 'glover'}
    wider : float
        Added to the dispersion of the peak's gamma function, s.

    Returns
    -------
    numpy.ndarray, 1/s
    """
    from scipy.special import gammaln

    def density(t, k, scale):
        t = np.maximum(t, 1e-300)
        return np.exp((k - 1) * np.log(t / scale) - t / scale - gammaln(k)) / scale

    times = np.asarray(times, np.float64)
    k1, s1, k2, s2, ratio = _parameters(shape, wider)
    response = (density(times, k1, s1) - ratio * density(times, k2, s2)) / (1.0 - ratio)
    return np.where(times > 0, response, 0.0)


def step_response(times, shape="spm", wider=0.0):
    """Haemodynamic response to a stimulus that starts at 0 and stays: the integral of `impulse_response`."""
    from scipy.special import gammainc

    times = np.maximum(np.asarray(times, np.float64), 0.0)
    k1, s1, k2, s2, ratio = _parameters(shape, wider)
    return (gammainc(k1, times / s1) - ratio * gammainc(k2, times / s2)) / (1.0 - ratio)


def regressor(times, onsets, durations, shape="spm", *, amplitudes=None, wider=0.0):
    """Predicted response to a series of events.

    The convolution of boxcar and response is written in closed form (incomplete gamma functions) instead of on a
    fine time grid, so onsets are not rounded. A sustained stimulus reaches 1. An event of no duration
    counts as an impulse of one second's area.

    Parameters
    ----------
    times : numpy.ndarray, (T,)
        s
    onsets, durations : numpy.ndarray, (E,)
        s
    shape : {'spm', 'glover'}
    amplitudes : numpy.ndarray, (E,), optional
        Height of every event (a parametric modulator); 1 by default.
    wider : float
        See `impulse_response`.

    Returns
    -------
    numpy.ndarray, (T,)
    """
    lag = np.subtract.outer(np.asarray(times, np.float64), np.asarray(onsets, np.float64))
    durations = np.asarray(durations, np.float64)
    boxcar = step_response(lag, shape, wider) - step_response(lag - durations, shape, wider)
    responses = np.where(durations > 0, boxcar, impulse_response(lag, shape, wider))
    return responses.sum(1) if amplitudes is None else responses @ np.asarray(amplitudes, np.float64)


def derivative(times, onsets, durations, shape="spm", *, amplitudes=None):
    """Temporal derivative of `regressor` (1/s): takes up a response that comes earlier or later."""
    lag = np.subtract.outer(np.asarray(times, np.float64), np.asarray(onsets, np.float64))
    durations = np.asarray(durations, np.float64)
    boxcar = impulse_response(lag, shape) - impulse_response(lag - durations, shape)
    step = 1e-3
    impulse = (impulse_response(lag + step, shape) - impulse_response(lag - step, shape)) / (2 * step)
    responses = np.where(durations > 0, boxcar, impulse)
    return responses.sum(1) if amplitudes is None else responses @ np.asarray(amplitudes, np.float64)


def dispersion(times, onsets, durations, shape="spm", *, amplitudes=None):
    """Dispersion derivative of `regressor` (1/s): takes up a response that is narrower or wider."""
    arguments = (times, onsets, durations, shape)
    narrow = regressor(*arguments, amplitudes=amplitudes)
    wide = regressor(*arguments, amplitudes=amplitudes, wider=DISPERSION_STEP)
    return (narrow - wide) / DISPERSION_STEP


def finite_impulse(times, onsets, delay, tr, *, amplitudes=None):
    """One column of a finite impulse response: volumes that lie `delay` to `delay` + 1 repetition times after an onset.

    Parameters
    ----------
    times : numpy.ndarray, (T,)
        s
    onsets : numpy.ndarray, (E,)
        s; the duration of the events is part of the response that is estimated.
    delay : int
    tr : float
        s

    Returns
    -------
    numpy.ndarray, (T,)
    """
    lag = np.subtract.outer(np.asarray(times, np.float64), np.asarray(onsets, np.float64))
    bins = np.floor(lag / tr + 1e-6)
    weights = np.ones(lag.shape[1]) if amplitudes is None else np.asarray(amplitudes, np.float64)
    return (bins == delay) @ weights


def event_columns(times, onsets, durations, hrf="spm", *, name, amplitudes=None, fir_delays=0):
    """All design columns of one condition or modulator.

    Parameters
    ----------
    times : numpy.ndarray, (T,)
        s
    onsets, durations : numpy.ndarray, (E,)
        s
    hrf : str
        See `check_hrf`.
    name : str
        Name of the first column; the others add _derivative, _dispersion or _delay_<n>.
    amplitudes : numpy.ndarray, (E,), optional
    fir_delays : int
        Columns of a finite impulse response; 0: as many as `FIR_WINDOW_S` holds.

    Returns
    -------
    columns : dict of str to numpy.ndarray, (T,)
    peak : float
        Height that turns an estimate into percent signal change (see `response_peak`); 1 for a finite impulse response.
    """
    shape, extras = check_hrf(hrf)
    if shape == "fir":
        tr = (times[-1] - times[0]) / (len(times) - 1)
        delays = range(fir_delays or max(round(FIR_WINDOW_S / tr), 1))
        columns = {
            f"{name}_delay_{d}": finite_impulse(times, onsets, d, tr, amplitudes=amplitudes) for d in delays
        }
        return columns, 1.0
    columns = {name: regressor(times, onsets, durations, shape, amplitudes=amplitudes)}
    for extra in extras:
        make = {"derivative": derivative, "dispersion": dispersion}[extra]
        column = make(times, onsets, durations, shape, amplitudes=amplitudes)
        # orthogonal to what stands before, so that the response itself keeps its meaning (as SPM and nilearn)
        for before in columns.values():
            column = column - before * (before @ column) / max(before @ before, 1e-300)
        columns[f"{name}_{extra}"] = column
    order = np.argsort(onsets, kind="stable")
    return columns, response_peak(np.asarray(onsets)[order], np.asarray(durations)[order], shape)


def response_peak(onsets, durations, shape="spm", gap=EPOCH_GAP_S):
    """Height of the predicted response to one typical epoch of a condition.

    The estimate of a regressor is the response to a sustained stimulus; times this peak it is the response that one
    sees. An epoch is an event, or a block of events that follow each other within `gap`: so a block of
    many pictures counts as a block. The height is taken without the overlap of other epochs and therefore does
    not change with the jitter of a run.

    Parameters
    ----------
    onsets, durations : numpy.ndarray, (E,)
        s, sorted by onset.
    shape : {'spm', 'glover'}
    gap : float
        s

    Returns
    -------
    float
        Median over epochs.
    """
    onsets, durations = np.asarray(onsets, np.float64), np.asarray(durations, np.float64)
    ends = np.maximum.accumulate(onsets + durations)
    first = np.r_[True, onsets[1:] - ends[:-1] > gap]
    peaks = []
    for chosen in np.split(np.arange(len(onsets)), np.flatnonzero(first)[1:]):
        start = onsets[chosen[0]]
        times = np.arange(0.0, ends[chosen[-1]] - start + 20.0, 0.05)
        peaks.append(regressor(times, onsets[chosen] - start, durations[chosen], shape).max())
    return float(np.median(peaks))


def check_hrf(hrf):
    """Split ``"spm + derivative + dispersion"`` into shape and extras.

    Returns
    -------
    shape : {'spm', 'glover', 'fir'}
    extras : list of {'derivative', 'dispersion'}
    """
    shape, *extras = [part.strip() for part in str(hrf).lower().split("+")]
    allowed = [[], ["derivative"], ["derivative", "dispersion"]]
    if not ((shape in _SHAPES and extras in allowed) or (shape == "fir" and not extras)):
        raise InputError(
            "config", "activation.hrf", hrf,
            "spm or glover, alone, + derivative or + derivative + dispersion; or fir", "choose one of these",
        )  # fmt: skip
    return shape, extras


@dataclass(frozen=True)
class Task:
    """The part of a design that the experiment gives.

    Attributes
    ----------
    columns : pandas.DataFrame, (T, K)
    members : dict of str to list of str
        Condition (or modulator) to the columns that a weight on it means.
    peaks : dict of str to float
        Height of its response (see `response_peak`).
    counts : dict of str to int
        Number of events.
    """

    columns: pd.DataFrame
    members: dict
    peaks: dict
    counts: dict


def task_of_events(frame_times, events, *, hrf="spm", fir_delays=0):
    """Convolve every trial type of an events table.

    Parameters
    ----------
    frame_times : numpy.ndarray, (T,)
        s
    events : pandas.DataFrame
        From `read_events`.
    hrf : str
    fir_delays : int
        See `event_columns`.

    Returns
    -------
    Task
    """
    columns, members, peaks, counts = {}, {}, {}, {}
    for condition, rows in events.groupby("trial_type", sort=True):
        made, peaks[condition] = event_columns(
            frame_times, rows["onset"].to_numpy(), rows["duration"].to_numpy(), hrf, name=condition,
            fir_delays=fir_delays,
        )  # fmt: skip
        columns |= made
        members[condition] = [condition] if condition in made else list(made)
        counts[condition] = len(rows)
    return Task(pd.DataFrame(columns), members, peaks, counts)


def make_design(
    frame_times, events, *, hrf="spm", drift="cosine", high_pass_hz=0.008, confounds=None, fir_delays=0
):
    """Build the design matrix of a run from its trial types (see `assemble`).

    Parameters
    ----------
    frame_times : numpy.ndarray, (T,)
        Time each volume stands for: start time + volume x TR, in s.
    events : pandas.DataFrame
        From `read_events`.
    hrf : str
        ``spm``, ``glover``, either ``+ derivative`` or ``+ derivative + dispersion``; or ``fir``.
    drift, high_pass_hz, confounds
        See `assemble`.
    fir_delays : int
        See `event_columns`.

    Returns
    -------
    design : pandas.DataFrame, (T, P)
    info : dict
    """
    task = task_of_events(frame_times, events, hrf=hrf, fir_delays=fir_delays)
    return assemble(frame_times, task, drift=drift, high_pass_hz=high_pass_hz, confounds=confounds)


def assemble(
    frame_times, task, *, drift="cosine", high_pass_hz=0.008, confounds=None, spikes=(), intercept=True
):
    """Join task, confounds, drift and constant to a design of full rank, or say why there is none.

    Parameters
    ----------
    frame_times : numpy.ndarray, (T,)
        s
    task : Task
    drift : {'cosine', 'polynomial', 'none'}
        polynomial: linear trend only.
    high_pass_hz : float
        Slowest frequency kept by the cosine drift.
    confounds : pandas.DataFrame, (T, K), optional
        Nuisance regressors in any unit.
    spikes : sequence of int
        Volumes that get a regressor of their own, which takes them out of every estimate (scrubbing).
    intercept : bool
        Whether the model has a constant.

    Returns
    -------
    design : pandas.DataFrame, (T, P)
        Full rank; conditions by name, (derivatives,) confounds (mean 0, SD 1), drift, constant.
    info : dict
        ResponsePeak, VarianceInflationFactor and EventCount by condition, DroppedRegressors, ConditionNumber,
        DegreesOfFreedom.

    Raises
    ------
    InputError
        Conditions without a response, or that cannot be told apart from one another or from the nuisance regressors, or
        no degrees of freedom left.
    """
    n_volumes = len(frame_times)
    tr = (frame_times[-1] - frame_times[0]) / (n_volumes - 1)
    if drift == "cosine":
        trend = nuisance.cosine_basis(n_volumes, tr, high_pass_hz).add_prefix("drift_")
        trend.columns = [f"drift_{k + 1}" for k in range(trend.shape[1])]
    elif drift == "polynomial":
        trend = pd.DataFrame({"drift_1": np.linspace(-1.0, 1.0, n_volumes)})
    elif drift == "none":
        trend = pd.DataFrame(index=range(n_volumes))
    else:
        raise InputError(
            "config", "activation.drift", drift, "cosine, polynomial, none", "choose one of these"
        )
    parts = [task.columns]
    if confounds is not None:
        parts.append(nuisance.standardize(confounds.reset_index(drop=True)))
    if len(spikes):
        marks = np.eye(n_volumes)[:, list(spikes)]
        parts.append(pd.DataFrame(marks, columns=[f"scrubbed_{volume}" for volume in spikes]))
    design = pd.concat([*parts, trend], axis=1)
    if intercept:
        design["constant"] = 1.0
    doubled = list(design.columns[design.columns.duplicated()])
    if doubled:
        raise InputError(
            "events", "trial_type", doubled[0], "another name than a confound's", "rename the trial type"
        )
    names = list(task.columns)
    kept, dropped = nuisance.independent(design, keep=[*names, "constant"])
    _refuse_lost(design, task, dropped)
    design = design[kept]
    dof = n_volumes - design.shape[1]
    if dof <= 0:
        raise InputError(
            "bold", "volumes", f"{n_volumes}{f', {len(spikes)} of them scrubbed' if len(spikes) else ''}",
            f"more than {design.shape[1]} (regressors)", "use fewer confounds or a longer run",
        )  # fmt: skip
    if dropped:
        log.info("left out of the design (no variance or not independent): %s", ", ".join(dropped))
    inflation = variance_inflation(design, [c for columns in task.members.values() for c in columns])
    for condition, value in inflation.items():
        if value > VIF_WARNING:
            log.warning(
                "condition %s: variance inflation %.1f; its effect is hard to tell from others",
                condition,
                value,
            )
    info = {
        "ResponsePeak": task.peaks,
        "VarianceInflationFactor": inflation,
        "EventCount": task.counts,
        "DroppedRegressors": dropped,
        "ConditionNumber": float(np.linalg.cond(design / np.linalg.norm(design, axis=0))),
        "DegreesOfFreedom": dof,
    }
    return design, info


def _refuse_lost(design, task, dropped):
    """Refuse conditions that have no response, equal others, or are made of nuisance regressors."""
    names = list(task.columns)
    flat = [c for c in names if not np.abs(design[c]).max() > 0]
    if flat:
        raise InputError(
            "events", f"trial_type {flat[0]}", "without response inside the scan (its regressor is all zero)",
            "events within the run", "remove the condition, or check onsets and which run the file belongs to",
        )  # fmt: skip
    lost = [c for c in names if c in dropped]
    if lost:
        raise InputError(
            "events", f"trial_type {lost[0]}", "without response inside the scan or equal to other conditions",
            "conditions that can be told apart", "merge or remove the condition",
        )  # fmt: skip
    others = design.drop(columns=names)
    if len(others.columns) >= len(others):
        return  # said by the count of regressors
    basis = np.linalg.qr(others.to_numpy())[0] if len(others.columns) else np.zeros((len(design), 0))
    for name in names:
        column = design[name].to_numpy()
        rest = column - basis @ (basis.T @ column)
        if np.linalg.norm(rest) < SAME_SHAPE * np.linalg.norm(column):
            raise InputError(
                "events", f"trial_type {name}", "a combination of confounds and drift",
                "a condition that can be told from them", "take the confound out, or do not model the condition",
            )  # fmt: skip


def variance_inflation(design, columns):
    """Variance inflation factor: 1 / (1 - R²) of each column on all others.

    Parameters
    ----------
    design : pandas.DataFrame, (T, P)
        With a constant.
    columns : list of str

    Returns
    -------
    dict of str to float
    """
    factors = {}
    for name in columns:
        y = design[name].to_numpy()
        others = design.drop(columns=name).to_numpy()
        rest = y - others @ np.linalg.lstsq(others, y, rcond=None)[0]
        total = ((y - y.mean()) ** 2).sum()
        factors[name] = float(total / max((rest**2).sum(), 1e-300))
    return factors


def contrast_vector(design, weights, *, name="contrast", conditions=None):
    """Weights of a contrast over the columns of a design.

    Parameters
    ----------
    design : pandas.DataFrame, (T, P)
    weights : dict of str to float
        Condition to weight; a condition of several columns (finite impulse response) means their average.
    name : str
        Named in errors.
    conditions : list of str or dict of str to list of str, optional
        Conditions that may be weighted (default: all columns), with their columns.

    Returns
    -------
    numpy.ndarray, (P,)

    Raises
    ------
    InputError
        A condition that the run does not have, or only zero weights.
    """
    members = conditions if isinstance(conditions, dict) else {c: [c] for c in conditions or design.columns}
    # single delays of a finite impulse response may be named too
    members = {c: [c] for columns in members.values() for c in columns} | members
    unknown = [c for c, w in weights.items() if c not in members and w != 0]
    if unknown:
        raise InputError(
            "events", f"conditions of contrast {name}", f"no trial_type {', '.join(unknown)}", ", ".join(members),
            "correct the weights in the config (activation.tasks), or exclude the run",
        )  # fmt: skip
    vector = np.zeros(len(design.columns))
    for condition, weight in weights.items():
        for column in members.get(condition, ()):
            vector[design.columns.get_loc(column)] += float(weight) / len(members[condition])
    if not vector.any():
        raise InputError(
            "config", f"contrast {name}", "only zero weights", "a weight other than 0", "give weights"
        )
    return vector


def joint_matrix(design, rows, *, name="contrast", conditions=None):
    """Rows of an F contrast over the columns of a design.

    Parameters
    ----------
    design : pandas.DataFrame, (T, P)
    rows : list of dict of str to float
        One set of weights per row; a condition of several columns in a row of its own means a row for each of them (so
        the F test of a finite impulse response asks for any response at all).
    name, conditions
        See `contrast_vector`.

    Returns
    -------
    numpy.ndarray, (Q, P)

    Raises
    ------
    InputError
        As `contrast_vector`, or rows that repeat each other.
    """
    members = conditions if isinstance(conditions, dict) else {}
    expanded = []
    for row in rows:
        only = [c for c, w in row.items() if w]
        if len(only) == 1 and len(members.get(only[0], ())) > 1:
            expanded += [{column: row[only[0]]} for column in members[only[0]]]
        else:
            expanded.append(row)
    matrix = np.array([contrast_vector(design, row, name=name, conditions=conditions) for row in expanded])
    if np.linalg.matrix_rank(matrix) < len(matrix):
        raise InputError(
            "config", f"contrast {name}", "rows that repeat each other", "rows that are independent",
            "remove the row that the others imply",
        )  # fmt: skip
    return matrix


def efficiency(design, vector):
    """Inverse of the variance of a contrast per unit of white noise: how much the design can tell about it.

    Parameters
    ----------
    design : pandas.DataFrame, (T, P)
    vector : numpy.ndarray, (P,)

    Returns
    -------
    float
    """
    values = design.to_numpy()
    inverse = np.linalg.pinv(values)
    return float(1.0 / max(vector @ inverse @ inverse.T @ vector, 1e-300))


def contrast_peak(weights, peaks):
    """Height that turns a contrast of estimates into percent signal change.

    One number per contrast, the mean peak of its conditions weighted by their absolute weights: the test is then the
    same as without it, also where conditions differ in duration.
    """
    size = sum(abs(w) for w in weights.values())
    return sum(abs(w) * peaks.get(c, 1.0) for c, w in weights.items() if w) / size
