"""Design matrix of one task run: events, response shape, drift, confounds, and what can be estimated from it."""

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


def read_events(path, n_volumes, tr, start_time=0.0):
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

    Returns
    -------
    pandas.DataFrame
        Columns onset, duration, trial_type; sorted by onset; rows without a trial_type left out.

    Raises
    ------
    InputError
        No events, a missing column, an onset or duration that is no number or negative, an onset after the scan.
    """
    events = read_tsv(path, text=["trial_type"])
    for column in ("onset", "duration", "trial_type"):
        if column not in events:
            raise InputError(
                path, "columns", ", ".join(events.columns), "onset, duration and trial_type", f"add {column}"
            )
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
    return events.sort_values("onset", kind="stable", ignore_index=True)[["onset", "duration", "trial_type"]]


def impulse_response(times, shape="spm"):
    """Haemodynamic response to an impulse, of unit area.

    Parameters
    ----------
    times : numpy.ndarray
        s after the impulse.
    shape : {'spm', 'glover'}

    Returns
    -------
    numpy.ndarray, 1/s
    """
    from scipy.special import gammaln

    def density(t, k, scale):
        t = np.maximum(t, 1e-300)
        return np.exp((k - 1) * np.log(t / scale) - t / scale - gammaln(k)) / scale

    times = np.asarray(times, np.float64)
    k1, s1, k2, s2, ratio = _SHAPES[shape]
    response = (density(times, k1, s1) - ratio * density(times, k2, s2)) / (1.0 - ratio)
    return np.where(times > 0, response, 0.0)


def step_response(times, shape="spm"):
    """Haemodynamic response to a stimulus that starts at 0 and stays: the integral of `impulse_response`."""
    from scipy.special import gammainc

    times = np.maximum(np.asarray(times, np.float64), 0.0)
    k1, s1, k2, s2, ratio = _SHAPES[shape]
    return (gammainc(k1, times / s1) - ratio * gammainc(k2, times / s2)) / (1.0 - ratio)


def regressor(times, onsets, durations, shape="spm"):
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

    Returns
    -------
    numpy.ndarray, (T,)
    """
    lag = np.subtract.outer(np.asarray(times, np.float64), np.asarray(onsets, np.float64))
    durations = np.asarray(durations, np.float64)
    boxcar = step_response(lag, shape) - step_response(lag - durations, shape)
    return np.where(durations > 0, boxcar, impulse_response(lag, shape)).sum(1)


def derivative(times, onsets, durations, shape="spm"):
    """Temporal derivative of `regressor` (1/s): takes up a response that comes earlier or later."""
    lag = np.subtract.outer(np.asarray(times, np.float64), np.asarray(onsets, np.float64))
    durations = np.asarray(durations, np.float64)
    boxcar = impulse_response(lag, shape) - impulse_response(lag - durations, shape)
    step = 1e-3
    impulse = (impulse_response(lag + step, shape) - impulse_response(lag - step, shape)) / (2 * step)
    return np.where(durations > 0, boxcar, impulse).sum(1)


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
    """Split ``"spm + derivative"`` into shape and flag."""
    shape, *extra = [part.strip() for part in str(hrf).lower().split("+")]
    if shape not in _SHAPES or extra not in ([], ["derivative"]):
        raise InputError(
            "config",
            "activation.hrf",
            hrf,
            "spm, glover, spm + derivative, glover + derivative",
            "choose one of these",
        )
    return shape, bool(extra)


def make_design(frame_times, events, *, hrf="spm", drift="cosine", high_pass_hz=0.008, confounds=None):
    """Build the design matrix of a run.

    Parameters
    ----------
    frame_times : numpy.ndarray, (T,)
        Time each volume stands for: start time + volume x TR, in s.
    events : pandas.DataFrame
        From `read_events`.
    hrf : str
        ``spm``, ``glover``, or either ``+ derivative``.
    drift : {'cosine', 'polynomial', 'none'}
        polynomial: linear trend only.
    high_pass_hz : float
        Slowest frequency kept by the cosine drift.
    confounds : pandas.DataFrame, (T, K), optional
        Nuisance regressors in any unit.

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
        Conditions that cannot be told apart, or no degrees of freedom left.
    """
    shape, with_derivative = check_hrf(hrf)
    n_volumes = len(frame_times)
    columns, peaks, counts = {}, {}, {}
    for condition, rows in events.groupby("trial_type", sort=True):
        onsets, durations = rows["onset"].to_numpy(), rows["duration"].to_numpy()
        columns[condition] = regressor(frame_times, onsets, durations, shape)
        if with_derivative:
            columns[f"{condition}_derivative"] = derivative(frame_times, onsets, durations, shape)
        peaks[condition] = response_peak(onsets, durations, shape)
        counts[condition] = len(rows)
    conditions = list(peaks)
    task = pd.DataFrame(columns)
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
    parts = [task]
    if confounds is not None:
        parts.append(nuisance.standardize(confounds.reset_index(drop=True)))
    design = pd.concat([*parts, trend], axis=1)
    design["constant"] = 1.0
    doubled = list(design.columns[design.columns.duplicated()])
    if doubled:
        raise InputError(
            "events", "trial_type", doubled[0], "another name than a confound's", "rename the trial type"
        )
    kept, dropped = nuisance.independent(design, keep=[*task.columns, "constant"])
    lost = [c for c in task if c in dropped]
    if lost:
        raise InputError(
            "events", f"trial_type {lost[0]}", "without response inside the scan or equal to other conditions",
            "conditions that can be told apart", "merge or remove the condition",
        )  # fmt: skip
    design = design[kept]
    dof = n_volumes - design.shape[1]
    if dof <= 0:
        raise InputError(
            "bold",
            "volumes",
            n_volumes,
            f"more than {design.shape[1]} (regressors)",
            "use fewer confounds or a longer run",
        )
    if dropped:
        log.info("left out of the design (no variance or not independent): %s", ", ".join(dropped))
    inflation = variance_inflation(design, conditions)
    for condition, value in inflation.items():
        if value > VIF_WARNING:
            log.warning(
                "condition %s: variance inflation %.1f; its effect is hard to tell from others",
                condition,
                value,
            )
    info = {
        "ResponsePeak": peaks,
        "VarianceInflationFactor": inflation,
        "EventCount": counts,
        "DroppedRegressors": dropped,
        "ConditionNumber": float(np.linalg.cond(design / np.linalg.norm(design, axis=0))),
        "DegreesOfFreedom": dof,
    }
    return design, info


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
        Condition to weight.
    name : str
        Named in errors.
    conditions : list of str, optional
        Columns that may be weighted (default: all).

    Returns
    -------
    numpy.ndarray, (P,)

    Raises
    ------
    InputError
        A condition that the run does not have, or only zero weights.
    """
    allowed = list(conditions if conditions is not None else design.columns)
    unknown = [c for c, w in weights.items() if c not in allowed and w != 0]
    if unknown:
        raise InputError(
            "events", f"conditions of contrast {name}", f"no trial_type {', '.join(unknown)}", ", ".join(allowed),
            "correct the weights in the config (activation.tasks), or exclude the run",
        )  # fmt: skip
    vector = np.array([float(weights.get(column, 0.0)) for column in design])
    if not vector.any():
        raise InputError(
            "config", f"contrast {name}", "only zero weights", "a weight other than 0", "give weights"
        )
    return vector


def contrast_peak(weights, peaks):
    """Height that turns a contrast of estimates into percent signal change.

    One number per contrast, the mean peak of its conditions weighted by their absolute weights: the test is then the
    same as without it, also where conditions differ in duration.
    """
    size = sum(abs(w) for w in weights.values())
    return sum(abs(w) * peaks[c] for c, w in weights.items() if w) / size
