"""The run node of a Stats Model executed on one run: events and confounds become the columns of its design."""

import fnmatch
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurobraid.activation import design as designs
from neurobraid.activation.statsmodel import OPTIONAL, PREFIX, SOFTWARE, node_at
from neurobraid.bold import nuisance
from neurobraid.errors import InputError
from neurobraid.files import read_tsv

DENSE_HZ = 10.0
"""Sampling of events that a transformation needs as a series (pybids' default)."""


@dataclass(frozen=True)
class RunModel:
    """Columns of a run's design, before drift and constant.

    Attributes
    ----------
    task : neurobraid.activation.design.Task
    confounds : pandas.DataFrame, (T, K)
    intercept : bool
    """

    task: designs.Task
    confounds: pd.DataFrame
    intercept: bool


def settings_of(model, defaults):
    """Settings of the first level: those of the model, else those of the config.

    Parameters
    ----------
    model : dict
        Stats Model.
    defaults : dict
        noise_model, smoothing_mm, high_pass_hz, drift, scrub of the config.

    Returns
    -------
    dict
        The same keys.
    """
    content = node_at(model, "run")["Model"]
    own = (content.get("Software") or {}).get(SOFTWARE) or {}
    names = {
        "NoiseModel": "noise_model",
        "SmoothingFWHMmm": "smoothing_mm",
        "Drift": "drift",
        "Scrub": "scrub",
    }
    out = dict(defaults) | {names[k]: v for k, v in own.items() if k in names}
    cutoff = (content.get("Options") or {}).get("HighPassFilterCutoffHz")
    return out | ({"high_pass_hz": float(cutoff)} if cutoff else {})


def columns_used(node):
    """Columns of the events table that a node names: what must be there.

    Parameters
    ----------
    node : dict

    Returns
    -------
    list of str
        Inputs of transformations that no earlier transformation made; without wildcards.
    """
    steps = (node.get("Transformations") or {}).get("Instructions") or []
    made, wanted = set(), []
    for step in steps:
        for key in ("Input", "By", "Other", "Target"):
            given = step.get(key) or []
            for name in [given] if isinstance(given, str) else given:
                stem = name.split(".")[0]
                if not any(c in name for c in "*?[") and not {name, stem} & made and stem not in wanted:
                    wanted.append(stem)
        given = step.get("Output") or []
        made |= set([given] if isinstance(given, str) else given)
        made |= {str(step.get("Target"))} if step.get("Target") else set()
    return wanted


def run_model(node, events_path, table, frame_times, *, start_time=0.0, confounds_path="confounds"):
    """Make the columns of a run's design.

    Transformations are those of pybids (``pybids-transforms-v1``), except Convolve, which is done in closed form (see
    `designs.regressor`). Factor of ``trial_type`` followed by Convolve of all its levels needs no library; a test
    checks that both ways agree.

    Parameters
    ----------
    node : dict
        Run node of a Stats Model.
    events_path : path-like
    table : pandas.DataFrame, (T, columns)
        Confounds table.
    frame_times : numpy.ndarray, (T,)
        Time each volume stands for, in s.
    start_time : float
        Time of the first volume, in s.
    confounds_path : path-like
        Named in errors.

    Returns
    -------
    RunModel

    Raises
    ------
    InputError
        A column that neither events nor confounds have, a transformation that fails.
    """
    n_volumes = len(frame_times)
    tr = (frame_times[-1] - frame_times[0]) / (n_volumes - 1)
    steps = (node.get("Transformations") or {}).get("Instructions") or []
    x = [entry for entry in node["Model"]["X"] if entry != 1]
    plain = _plain_steps(steps)
    if plain:
        hrf, delays = plain
        events = designs.read_events(events_path, n_volumes, tr, start_time)
        task = designs.task_of_events(frame_times, events, hrf=hrf, fir_delays=delays)
        names = {f"{PREFIX}{c}": c for c in task.members}
        return _select(x, names, task, {}, table, 1 in node["Model"]["X"], events_path, confounds_path)
    collection, known = _collect(node, events_path, table, n_volumes, tr, start_time)
    convolved = {}
    for number, step in enumerate(steps, 1):
        if step["Name"] == "Convolve":
            _convolve(collection, step, frame_times, convolved, events_path)
        else:
            _apply(collection, step, number, events_path)
    made = _made(collection, known, convolved, frame_times, tr)
    return _select(x, made[0], made[1], made[2], table, 1 in node["Model"]["X"], events_path, confounds_path)


def _plain_steps(steps):
    """HRF and delays if the steps are the usual two, else None."""
    if len(steps) != 2 or [s["Name"] for s in steps] != ["Factor", "Convolve"]:
        return None
    first, second = steps
    inputs = [s["Input"] if isinstance(s["Input"], list) else [s["Input"]] for s in steps]
    if inputs != [["trial_type"], [f"{PREFIX}*"]] or set(first) > {"Name", "Input"}:
        return None
    return hrf_of(second)


def hrf_of(step):
    """Response and number of delays that a Convolve step asks for."""
    hrf = str(step.get("Model", "spm")).lower()
    flags = [str(step.get(key, False)).lower() == "true" for key in ("Derivative", "Dispersion")]
    hrf += " + derivative" * (flags[0] or flags[1]) + " + dispersion" * flags[1]
    delays = step.get("FirDelays") or []
    delays = delays if isinstance(delays, list) else [delays]
    if delays and delays != list(range(len(delays))):
        raise InputError(
            "model",
            "Convolve.FirDelays",
            delays,
            "0, 1, 2, … without gaps (repetition times)",
            "list all delays",
        )
    designs.check_hrf(hrf)
    return hrf, len(delays)


def _collect(node, path, table, n_volumes, tr, start_time):
    """Collection of pybids with every column of events and confounds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bids.variables import BIDSRunVariableCollection, DenseRunVariable, SparseRunVariable
        from bids.variables.entities import RunInfo

    header = list(read_tsv(path))
    wanted = [c for c in columns_used(node) if c not in table]
    extra = [c for c in header if c not in ("onset", "duration")]
    missing = [c for c in wanted if c not in extra and c not in ("onset", "duration")]
    if missing:
        raise InputError(
            path, "columns", f"no {', '.join(missing)}", ", ".join(header),
            "add the column, or correct the transformations of the model",
        )  # fmt: skip
    events = designs.read_events(path, n_volumes, tr, start_time, columns=extra)
    # a hair short of the run, because pybids rounds the number of samples up
    info = RunInfo({"run": 1}, n_volumes * tr * (1 - 1e-9), tr, None, n_volumes)
    variables = []
    for name in extra:
        data = pd.DataFrame(
            {
                "onset": events["onset"].to_numpy(np.float64).copy(),
                "duration": events["duration"].to_numpy(np.float64).copy(),
                "amplitude": pd.Series(events[name].tolist(), dtype=_kind(events[name])),
            }
        )
        variables.append(SparseRunVariable(name, data, info, "events"))
    for name in table:
        if name not in extra:
            variables.append(
                DenseRunVariable(
                    name, table[name].fillna(0.0).to_numpy(), info, "regressors", float(1.0 / tr)
                )
            )
    return BIDSRunVariableCollection(variables, sampling_rate=DENSE_HZ), set(table)


def _kind(column):
    return np.float64 if pd.api.types.is_numeric_dtype(column) else object


def _apply(collection, step, number, path):
    """One transformation by pybids; its errors in our words."""
    from bids.modeling.transformations import TransformerManager

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TransformerManager(keep_history=False).transform(collection, [step])
    except Exception as error:
        raise InputError(
            path, f"transformation {number} ({step['Name']} of {step.get('Input')})", f"{error}",
            "a transformation that fits the events", f"correct it; columns: {', '.join(collection.variables)}",
        ) from error  # fmt: skip


def _events_of(variable):
    """Onsets, durations and amplitudes of a variable; samples of a series count as short events."""
    values = pd.to_numeric(pd.Series(variable.values.to_numpy().ravel()), errors="coerce").to_numpy(
        np.float64
    )
    if hasattr(variable, "onset"):
        onsets = np.asarray(variable.onset, np.float64)
        durations = np.asarray(variable.duration, np.float64)
    else:
        onsets = np.arange(len(values)) / variable.sampling_rate
        durations = np.full(len(values), 1.0 / variable.sampling_rate)
    used = np.isfinite(values) & (values != 0)
    return onsets[used], durations[used], values[used]


def _convolve(collection, step, frame_times, convolved, path):
    """Convolve variables in closed form and put them back as series of the run's volumes."""
    from bids.variables import DenseRunVariable

    hrf, delays = hrf_of(step)
    given = step["Input"] if isinstance(step["Input"], list) else [step["Input"]]
    names = [
        name
        for pattern in given
        for name in (
            sorted(fnmatch.filter(collection.variables, pattern))
            if any(c in pattern for c in "*?[")
            else [pattern]
        )
    ]
    tr = (frame_times[-1] - frame_times[0]) / (len(frame_times) - 1)
    for name in dict.fromkeys(names):
        if name not in collection.variables:
            raise InputError(
                path, "Convolve.Input", name, ", ".join(collection.variables),
                "name a trial type of the run, or exclude the run",
            )  # fmt: skip
        variable = collection.variables.pop(name)
        onsets, durations, amplitudes = _events_of(variable)
        if not len(onsets):
            raise InputError(
                path, name, "no event with a value other than 0", "one event or more",
                "correct the events or the transformations, or do not model the column",
            )  # fmt: skip
        ones = bool((amplitudes == 1).all())
        columns, peak = designs.event_columns(
            frame_times, onsets, durations, hrf, name=name, amplitudes=None if ones else amplitudes, fir_delays=delays
        )  # fmt: skip
        for column, values in columns.items():
            collection.variables[column] = DenseRunVariable(
                column, values, variable.run_info, "events", float(1.0 / tr)
            )
        convolved[name] = (columns, peak, len(onsets))


def _made(collection, known, convolved, frame_times, tr):
    """Columns that the transformations left: task, and series that were made of confounds."""
    columns, members, peaks, counts, names, rest = {}, {}, {}, {}, {}, {}
    inside = {column: name for name, (made, _, _) in convolved.items() for column in made}
    for name, variable in collection.variables.items():
        if hasattr(variable, "onset"):
            onsets, durations, amplitudes = _events_of_or_none(variable)
            if onsets is None:
                continue
            values = _boxcar(frame_times, onsets, durations, amplitudes, tr)
        else:
            values = variable.values.to_numpy(np.float64).ravel()
            if len(values) != len(frame_times):
                continue
        short = name.removeprefix(PREFIX)
        if name in inside:
            origin = inside[name]
            made, peak, count = convolved[origin]
            owner = origin.removeprefix(PREFIX)
            columns[short] = values
            members.setdefault(owner, []).append(short)
            # a series that was scaled or orthogonalised afterwards has another unit: its estimate is per unit
            peaks[owner] = (
                peak if np.array_equal(values, made[name]) and peaks.get(owner, peak) == peak else 1.0
            )
            counts[owner] = count
            names[origin] = owner
        elif name in known:
            rest[name] = values
        else:
            columns[short], members[short], peaks[short] = values, [short], 1.0
            counts[short] = int((values != 0).sum())
            names[name] = short
    for owner, made in members.items():
        if owner in made:  # a weight on a condition means its response, not its derivatives
            members[owner] = [owner]
    task = designs.Task(pd.DataFrame(columns), members, peaks, counts)
    return names, task, rest


def _events_of_or_none(variable):
    values = variable.values.to_numpy().ravel()
    try:
        values.astype(np.float64)
    except (TypeError, ValueError):
        return None, None, None
    return _events_of(variable)


def _boxcar(frame_times, onsets, durations, amplitudes, tr):
    """Events that no one convolved, as a series: their value while they last, at least one volume."""
    lag = np.subtract.outer(frame_times, onsets)
    return ((lag >= 0) & (lag < np.maximum(durations, tr))) @ amplitudes


def _select(x, names, task, changed, table, intercept, events_path, confounds_path):
    """Columns that X names.

    Parameters
    ----------
    names : dict of str to str
        Name in the model to condition of `task`.
    changed : dict of str to numpy.ndarray
        Confound columns as the transformations left them.
    """
    conditions, confounds = [], []
    for entry in x:
        wild = any(c in entry for c in "*?[")
        found = fnmatch.filter(names, entry) if wild else [n for n in names if n == entry]
        found += [] if wild else [n for n, c in names.items() if c == entry and n != entry]
        conditions += [names[n] for n in found]
        if found:
            continue
        # columns of one condition: a derivative, or a delay of a finite impulse response
        if entry.removeprefix(PREFIX) in task.columns:
            continue
        if wild:
            matched = fnmatch.filter(table, entry)
            if not matched and entry not in OPTIONAL and not entry.startswith(PREFIX):
                raise InputError(
                    confounds_path, "columns", f"none called {entry}", ", ".join(table)[:300],
                    "take it out of the model's X, or make a table that has them",
                )  # fmt: skip
            confounds += matched
        elif entry in table or _base(entry) in table:
            confounds.append(entry)
        else:
            near = (
                f"trial types: {', '.join(names)}"
                if entry.startswith(PREFIX)
                else "columns of events or confounds"
            )
            raise InputError(
                events_path if entry.startswith(PREFIX) else confounds_path, f"X of the model, {entry}",
                "not among the columns", near, "correct the model, or exclude the run",
            )  # fmt: skip
    conditions = list(dict.fromkeys(conditions))
    columns = [c for c in task.columns if _owner(c, task) in conditions]
    chosen = designs.Task(
        task.columns[columns],
        {c: task.members[c] for c in conditions},
        {c: task.peaks[c] for c in conditions},
        {c: task.counts[c] for c in conditions},
    )
    if not conditions:
        raise InputError(events_path, "trial_type", "no condition of the model", ", ".join(x), "correct X")
    return RunModel(chosen, _confounds(confounds, table, changed, confounds_path), intercept)


def _owner(column, task):
    for condition, members in task.members.items():
        if column == condition or column in members or _stem(column) == condition:
            return condition
    return None


def _stem(column):
    for end in ("_derivative", "_dispersion"):
        if column.endswith(end):
            return column.removesuffix(end)
    return column.rsplit("_delay_", 1)[0]


def _base(name):
    """Column that an expanded confound is made of: ``trans_x`` for ``trans_x_derivative1_power2``."""
    return name.removesuffix("_power2").removesuffix("_derivative1")


def _confounds(names, table, changed, path):
    """Confound columns; expansions that the table does not have are computed."""
    parts = []
    for name in dict.fromkeys(names):
        if name in changed and not np.array_equal(changed[name], table[name].fillna(0.0)):
            parts.append(pd.Series(changed[name], name=name))
            continue
        if name in table:
            parts.append(nuisance.select(table, [name], path)[name])
            continue
        base = nuisance.select(table, [_base(name)], path)
        parts.append(nuisance.expand(base, "_derivative1" in name, "_power2" in name)[name])
    return pd.concat(parts, axis=1) if parts else pd.DataFrame(index=table.index)
