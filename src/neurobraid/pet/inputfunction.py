"""Arterial input function: blood samples to parent tracer in plasma and whole blood on a fine grid.

Tables are those of bloodstream (``_inputfunction.tsv``: time in s, whole blood, plasma, parent fraction, AIF), so that either
program can go on from the other's.
"""

import logging
import math
import re
from pathlib import Path

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.pet import blood as blood_tables
from neurobraid.pet import plasma_models
from neurobraid.pet.plasma_models import Input
from neurobraid.pet.units import concentration_factor
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

PARENT_MODELS = ("power", "hill", "exponential", "gamma")
INTERPOLATIONS = ("linear", "exponential")
MIN_COVERED = 0.75
"""Share of the scan that samples have to reach; what is missing up to its end is extrapolated, and said."""

COLUMNS = ("time", "whole_blood_radioactivity", "plasma_radioactivity", "metabolite_parent_fraction", "AIF")
DELAY_RANGE_S = (-60.0, 60.0)
FORMULAS = {
    "power": "f0 / (1 + (t/a)^2)^b",
    "hill": "f0 (1 - a t^b / (t^b + c^b))",
    "exponential": "f0 (a exp(-b t) + (1 - a) exp(-c t))",
    "gamma": "f0 (1 - a P(b, t/c)), P the regularised lower incomplete gamma function",
    "interpolation": "straight lines between samples, 1 at the injection, the last value kept",
}

# start values and bounds; f0 first
_SETUP = {
    "power": ([[1, 20, 0.3], [1, 5, 0.15], [0.95, 60, 1.0]], [[0.5, 0.05, 0.0], [1.0, 2000, 20]]),
    "hill": ([[1, 0.8, 2, 15], [1, 0.95, 1.2, 40], [0.95, 0.6, 3, 5]], [[0.5, 0, 0.3, 0.1], [1, 1, 12, 1000]]),
    "exponential": ([[1, 0.5, 0.1, 0.005], [1, 0.2, 0.3, 0.01]], [[0.5, 0, 0.0, 0.0], [1, 1, 5, 1.0]]),
    "gamma": ([[1, 0.8, 2, 10], [1, 0.9, 1, 30], [0.95, 0.6, 4, 3]], [[0.5, 0, 0.3, 0.1], [1, 1, 12, 1000]]),
}  # fmt: skip


def parent_fraction(name, t, parameters):
    """Parent fraction of a model at times.

    Parameters
    ----------
    name : str
        Of `PARENT_MODELS`; the formulas are in `FORMULAS`.
    t : array-like
        Minutes after injection; before it the fraction is that at injection.
    parameters : array-like
        ``f0, a, b[, c]``.

    Returns
    -------
    numpy.ndarray
        0 to 1.
    """
    t = np.maximum(np.asarray(t, float), 0.0)
    f0, a, b, *rest = parameters
    if name == "power":
        return f0 / (1 + (t / a) ** 2) ** b
    c = rest[0]
    if name == "hill":
        with np.errstate(over="ignore"):
            return f0 * (1 - a * t**b / (t**b + c**b))
    if name == "exponential":
        return f0 * (a * np.exp(-b * t) + (1 - a) * np.exp(-c * t))
    if name == "gamma":
        from scipy.special import gammainc

        return f0 * (1 - a * gammainc(b, t / c))
    raise ValueError(f"unknown model {name!r}: {', '.join(PARENT_MODELS)}")


def fit_parent_fraction(t, values, models=PARENT_MODELS):
    """Fit models of the parent fraction and choose among them.

    Parameters
    ----------
    t, values : array-like, (N,)
        Minutes after injection, 0-1.
    models : iterable of str
        Of `PARENT_MODELS`, or ``("interpolation",)``.

    Returns
    -------
    name : str
        The model of lowest corrected Akaike criterion; ``interpolation`` where the samples are too few for any.
    parameters : numpy.ndarray
        Empty for the interpolation.
    criteria : dict
        AICc of every model that could be fitted.
    """
    from scipy.optimize import least_squares

    t, values = np.asarray(t, float), np.asarray(values, float)
    found, criteria = {}, {}
    for name in models:
        if name == "interpolation":
            continue
        starts, bounds = _SETUP[name]
        count = len(starts[0]) + 1
        if len(t) < count + 2:
            continue

        def misfit(parameters, name=name):
            return parent_fraction(name, t, parameters) - values

        fits = [
            least_squares(misfit, np.clip(start, np.array(bounds[0]) + 1e-9, np.array(bounds[1]) - 1e-9),
                          bounds=bounds, x_scale=np.maximum(np.abs(start), 0.05))
            for start in starts
        ]  # fmt: skip
        best = min(fits, key=_cost)
        n, rss = len(t), max(2 * best.cost, 1e-12)
        criteria[name] = float(n * math.log(rss / n) + 2 * count + 2 * count * (count + 1) / (n - count - 1))
        found[name] = best.x
    if not found:
        return "interpolation", np.empty(0), {}
    name = min(criteria, key=criteria.get)
    return name, found[name], criteria


def _cost(fit):
    return fit.cost


def interpolate(t, times, values, kind="linear"):
    """Values between samples; 0 at the injection, beyond the last sample its exponential tail.

    Parameters
    ----------
    t : array-like
        Minutes after injection.
    times, values : numpy.ndarray, (N,)
        Samples.
    kind : {'linear', 'exponential'}
        Exponential: straight lines of the logarithm after the peak, which do not overestimate the area where samples are few.

    Returns
    -------
    numpy.ndarray
    """
    t = np.asarray(t, float)
    after = times > 0
    knots, levels = np.append(0.0, times[after]), np.append(0.0, values[after])
    out = np.interp(t, knots, levels)
    peak = int(levels.argmax())
    if kind == "exponential" and (levels[peak:] > 0).all():
        later = t > knots[peak]
        out[later] = np.exp(np.interp(t[later], knots[peak:], np.log(levels[peak:])))
    beyond = t > knots[-1]
    if beyond.any():
        out[beyond] = levels[-1] * np.exp(-_tail_rate(knots, levels, peak) * (t[beyond] - knots[-1]))
    return out


def _tail_rate(times, values, peak):
    """Rate of decrease of the last samples, 1/min; 0 where they do not decrease."""
    last = np.arange(len(times))[max(peak, len(times) - 4) :]
    last = last[values[last] > 0]
    if len(last) < 2:
        return 0.0
    return max(-float(np.polyfit(times[last], np.log(values[last]), 1)[0]), 0.0)


def undisperse(times, values, tau_s):
    """Recording before its line smeared it, for a monoexponential dispersion: ``g + tau dg/dt``.

    Parameters
    ----------
    times, values : numpy.ndarray, (N,)
        Minutes, kBq/mL.
    tau_s : float

    Returns
    -------
    numpy.ndarray, (N,)
    """
    if tau_s <= 0 or len(times) < 3:
        return values
    return values + tau_s / 60.0 * np.gradient(values, times)


def grid(end_min):
    """Times (min) on which input functions are written: 1 s apart at first, 10 s at last."""
    parts = [
        np.arange(0, 300, 1.0), np.arange(300, 900, 2.0), np.arange(900, 1800, 5.0),
        np.arange(1800, max(end_min * 60, 1800) + 10, 10.0),
    ]  # fmt: skip
    return np.concatenate(parts) / 60.0


def _ratio(found):
    """Plasma over whole blood: times, ratios and how they came about."""
    plasma, whole = found.plasma, found.whole_blood
    same, mine, other = np.intersect1d(plasma[0], whole[0], return_indices=True)
    keep = (plasma[1][mine] > 0.02 * plasma[1].max(initial=0)) & (whole[1][other] > 0)
    if keep.any():
        return same[keep], plasma[1][mine][keep] / whole[1][other][keep], "linear between the manual samples"
    if len(plasma[0]) and len(found.continuous[0]):
        inside = (plasma[0] >= found.continuous[0][0]) & (plasma[0] <= found.continuous[0][-1])
        level = np.interp(plasma[0][inside], *found.continuous) if inside.any() else np.empty(0)
        good = level > 0
        if good.any():
            return (
                plasma[0][inside][good],
                plasma[1][inside][good] / level[good],
                "plasma over the autosampler",
            )
    return np.array([0.0]), np.array([1.0]), "1, for want of samples of both"


def make(found, end_min, *, model="auto", interpolation="exponential"):
    """Input function of joined blood samples, not yet corrected for delay.

    Parameters
    ----------
    found : blood.Blood
    end_min : float
        End of the scan, min after injection.
    model : str
        Of the parent fraction: ``auto`` (lowest AICc), of `PARENT_MODELS`, or ``interpolation``.
    interpolation : {'linear', 'exponential'}
        See `interpolate`.

    Returns
    -------
    table : pandas.DataFrame
        Columns `COLUMNS`, time in s after injection.
    notes : dict
        For the sidecar: model and parameters of the parent fraction, ``Messages`` and ``Missing`` (reason why
        there is no input function, else None).
    """
    import pandas as pd

    messages = list(found.messages)
    notes = {"Messages": messages, "Missing": None}
    empty = pd.DataFrame(columns=list(COLUMNS))
    if not len(found.plasma[0]) and not (len(found.continuous[0]) or len(found.whole_blood[0])):
        return empty, {**notes, "Missing": "neither plasma nor whole blood was measured"}
    last = max(
        series[0][-1] for series in (found.plasma, found.whole_blood, found.continuous) if len(series[0])
    )
    if len(found.plasma[0]):
        last = found.plasma[0][-1]
    if last < MIN_COVERED * end_min:
        reason = (
            f"blood ends {last:.1f} min after injection, the scan {end_min:.1f} min: less than "
            f"{100 * MIN_COVERED:.0f} % is covered"
        )
        return empty, {**notes, "Missing": reason}
    if last < end_min - 1.0:
        messages.append(
            f"blood ends {last:.1f} min after injection, the scan {end_min:.1f} min: the last samples are continued as an "
            "exponential"
        )
    # two minutes more than the scan, so that a delay finds values
    t = grid(end_min + 2.0)
    samples = [series[0] for series in (found.plasma, found.whole_blood, found.continuous)]
    t = np.unique(np.concatenate([t, *[s[(s > 0) & (s < t[-1])] for s in samples]]))
    times, ratios, how = _ratio(found)
    ratio = np.interp(t, times, ratios)
    whole = found.whole_blood
    if len(found.continuous[0]):
        fast = found.continuous[0], undisperse(*found.continuous, found.dispersion_s)
        if found.dispersion_s:
            messages.append(f"the autosampler is corrected for dispersion, {found.dispersion_s:g} s")
        later = whole[0] > fast[0][-1]
        whole = np.append(fast[0], whole[0][later]), np.append(fast[1], whole[1][later])
    plasma = found.plasma
    if len(found.continuous[0]):
        # the autosampler resolves the peak, the centrifuge the tail
        later = plasma[0] > found.continuous[0][-1]
        early = found.continuous[0]
        plasma = (
            np.append(early, plasma[0][later]),
            np.append(undisperse(*found.continuous, found.dispersion_s) * np.interp(early, times, ratios), plasma[1][later]),
        )  # fmt: skip
    if not len(plasma[0]):
        messages.append("no plasma was measured: whole blood is taken for plasma")
        plasma, how = whole, "1, for want of plasma"
    total = interpolate(t, *plasma, interpolation)
    blood = interpolate(t, *whole, interpolation) if len(whole[0]) else total / ratio
    if not len(whole[0]):
        messages.append("no whole blood was measured: plasma is taken for it")
    name, parameters = "none: no metabolites were measured", np.empty(0)
    fraction = np.ones_like(t)
    if len(found.parent_fraction[0]):
        wanted = PARENT_MODELS if model == "auto" else (model,)
        name, parameters, criteria = fit_parent_fraction(*found.parent_fraction, wanted)
        if name == "interpolation":
            times, values = found.parent_fraction
            after = times > 0
            fraction = np.interp(t, np.append(0.0, times[after]), np.append(1.0, values[after]))
            if model not in ("auto", "interpolation"):
                messages.append(f"too few samples for the model {model} of the parent fraction: interpolated")
        else:
            fraction = parent_fraction(name, t, parameters)
        fitted = fraction[np.searchsorted(t, found.parent_fraction[0].clip(t[0], t[-1])).clip(0, len(t) - 1)]
        notes["ParentFractionResidualSD"] = float(np.std(fitted - found.parent_fraction[1]))
        notes["ParentFractionAICc"] = criteria
        notes["ParentFractionFormula"] = FORMULAS[name]
    else:
        messages.append("no metabolites were measured: all activity in plasma is taken for parent tracer")
    notes.update(
        ParentFractionModel=name,
        ParentFractionParameters=parameters,
        PlasmaOverBlood=how,
        Interpolation=interpolation,
        LastSampleMin=float(last),
    )
    table = pd.DataFrame(
        dict(zip(COLUMNS, (t * 60.0, blood, total, fraction, total * fraction), strict=True))
    )
    return table, notes


def to_input(table):
    """`plasma_models.Input` of an input-function table in kBq/mL."""
    time = table["time"].to_numpy(float) / 60.0
    return Input(time, table["AIF"].to_numpy(float), table["whole_blood_radioactivity"].to_numpy(float))


def fit_delay(given, frames, curve, weights=None, *, bounds_s=DELAY_RANGE_S, model="2TCM"):
    """Delay of the blood recording against the brain.

    Parameters
    ----------
    given : plasma_models.Input
    frames : Frames
    curve : array-like, (F,)
        Whole-brain curve, kBq/mL.
    weights : array-like, (F,), optional
    bounds_s : (float, float)
    model : str
        Compartment model of the brain; vB is fitted.

    Returns
    -------
    delay_s : float
        Positive: the blood was recorded late. 0 where it cannot be fitted.
    flag : str
        Empty, or why the delay is not to be believed.
    """
    curve = np.asarray(curve, float)
    if plasma_models.refusal(model, frames, given) or not np.isfinite(curve).all() or curve.max() <= 0:
        return 0.0, "not fitted: the whole-brain curve or the frames do not allow it"

    def misfit(delay_s):
        shared = plasma_models.prepare(
            model, frames, given.shifted(delay_s / 60.0), weights, vb=None, vb_range=(0.0, 0.3), table=90
        )
        root = np.sqrt(shared.weights)
        return float(plasma_models._search((curve * root)[None], shared, coarse=20, starts=2)[2][0])

    tried = np.linspace(*bounds_s, 13)
    scores = [misfit(d) for d in tried]
    low, high = bounds_s
    for step in (4.0, 1.0):
        centre = tried[int(np.argmin(scores))]
        more = np.unique((centre + step * np.arange(-2, 3)).clip(low, high))
        more = more[~np.isin(more, tried)]
        tried, scores = np.append(tried, more), [*scores, *[misfit(d) for d in more]]
    best = float(tried[int(np.argmin(scores))])
    flag = f"at its bound of {best:g} s: not determined" if best <= low or best >= high else ""
    return best, flag


def read_inputfunction(path, sidecar_path):
    """Read an input function, ours or bloodstream's.

    Parameters
    ----------
    path, sidecar_path : path-like
        ``…_inputfunction.tsv`` and its JSON with the units.

    Returns
    -------
    table : pandas.DataFrame
        Columns `COLUMNS`; time in s, activity in kBq/mL. Without rows where there is none.
    notes : dict
        The sidecar.

    Raises
    ------
    InputError
        A column is missing, the unit is not known, times do not increase, or values are missing.
    """
    notes, table = read_json(sidecar_path), read_tsv(path)
    if "AIF" not in table and {"plasma_radioactivity", "metabolite_parent_fraction"} <= set(table.columns):
        table["AIF"] = table["plasma_radioactivity"] * table["metabolite_parent_fraction"]
    for column in ("time", "AIF"):
        if column not in table:
            raise InputError(
                path, "columns", ", ".join(table.columns), ", ".join(COLUMNS), f"add the column {column}"
            )
    if not len(table):
        return table, notes
    if "whole_blood_radioactivity" not in table:
        raise InputError(path, "columns", ", ".join(table.columns), ", ".join(COLUMNS), "add whole blood")
    unit = blood_tables._unit(notes, "time", sidecar_path, "s")
    if str(unit).lower() not in blood_tables.SECONDS:
        raise InputError(sidecar_path, "time.Units", repr(unit), "s", "state seconds or minutes")
    table["time"] = table["time"].astype(float) * blood_tables.SECONDS[str(unit).lower()]
    for column in ("whole_blood_radioactivity", "plasma_radioactivity", "AIF"):
        if column in table:
            entry = notes.get(column) or notes.get("plasma_radioactivity") or {}
            unit = str(entry.get("Units") or "")
            # bloodstream writes kBq for kBq/mL
            unit = {"kBq": "kBq/mL", "Bq": "Bq/mL"}.get(unit, unit)
            table[column] = table[column].astype(float) * concentration_factor(
                unit, f"{sidecar_path}, {column}"
            )
    for i in np.flatnonzero(np.diff(table["time"].to_numpy()) <= 0):
        raise InputError(
            path, f"time of row {i + 2}", table["time"][i + 1], "strictly increasing times", "order the rows"
        )
    if not np.isfinite(table[["time", "AIF", "whole_blood_radioactivity"]].to_numpy(float)).all():
        raise InputError(path, "values", "missing", "numbers in every row", "interpolate the input function")
    if table["time"].iloc[0] > 0:
        first = table.iloc[:1].copy()
        first[[c for c in table.columns if c not in ("metabolite_parent_fraction",)]] = 0.0
        import pandas as pd

        table = pd.concat([first, table], ignore_index=True)
    return table, notes


def load_input(path, sidecar_path):
    """`plasma_models.Input` of an input-function file and the reason why there is none (else an empty string)."""
    table, notes = read_inputfunction(path, sidecar_path)
    if not len(table):
        return None, str(notes.get("Missing") or "the input function is empty")
    return to_input(table), ""


def shift(table, delay_s):
    """The table as the tissue sees it, on its own times; see `plasma_models.Input.shifted`."""
    out = table.copy()
    at = table["time"].to_numpy(float) + delay_s
    for column in COLUMNS[1:]:
        out[column] = np.interp(at, table["time"], table[column], left=1.0 if "fraction" in column else 0.0)
    return out


def samples(found):
    """Samples behind an input function, as recorded: not yet corrected for delay.

    Parameters
    ----------
    found : blood.Blood

    Returns
    -------
    pandas.DataFrame
        ``time`` (s after injection, increasing), ``recording`` (manual or autosampler) and the measured columns of
        `COLUMNS`, kBq/mL decay-corrected to injection; NaN where a sample lacks one.
    """
    import pandas as pd

    parts = {}
    for recorded, column, (times, values) in (
        ("manual", COLUMNS[1], found.whole_blood),
        ("manual", COLUMNS[2], found.plasma),
        ("manual", COLUMNS[3], found.parent_fraction),
        ("autosampler", COLUMNS[1], found.continuous),
    ):
        for at, value in zip(times, values, strict=True):
            parts.setdefault((float(at), recorded), {})[column] = float(value)
    rows = [
        {"time": 60.0 * at, "recording": recorded, **parts[at, recorded]} for at, recorded in sorted(parts)
    ]
    return pd.DataFrame(rows, columns=["time", "recording", *COLUMNS[1:4]])


def write_inputfunction(
    blood, frames, frames_json, frame_weights, out, *, injection_s=0.0, delay="fit", parent_model="auto",
    interpolation="exponential", decay_corrected=True, glucose_mmol_l=math.nan, image_unit=None,
):  # fmt: skip
    """Write the input function of a scan.

    Parameters
    ----------
    blood : list of path-like
        Blood tables.
    frames, frames_json, frame_weights : path-like
        What `fit.fit` and `tacs.extract` wrote; the column ``brain`` of the weights serves the delay.
    out : mapping
        ``inputfunction`` and ``inputfunction_json``, and where wanted ``samples`` (see `samples`).
    injection_s : float or list of float
        ``InjectionStart`` of the scan, s after TimeZero; one per blood table where their clocks differ.
    delay : 'fit' or float
        s; positive when the recording is late.
    parent_model, interpolation
        See `make`.
    decay_corrected : bool
        See `blood.read_recording`.
    glucose_mmol_l : float
        Plasma glucose, for CMRglc.
    image_unit : str, optional
        Unit of the stored image, default what the frame table found.
    """
    from neurobraid.pet.resample import read_frame_table

    timing, content = read_frame_table(frames, frames_json)
    found = blood_tables.read_blood(
        blood, injections_s=np.broadcast_to(injection_s, len(blood)), half_life_min=timing.half_life_min, image_unit=image_unit or content.get("UnitsFound"),
        decay_corrected=decay_corrected,
    )  # fmt: skip
    table, notes = make(found, timing.end[-1] / 60.0, model=parent_model, interpolation=interpolation)
    if out.get("samples"):
        write_tsv(samples(found), out["samples"])
    flag, delay_s = "", 0.0
    if notes["Missing"] is None:
        rows = read_tsv(frame_weights)
        if delay == "fit":
            delay_s, flag = fit_delay(to_input(table), timing, rows["brain"], rows["weight"].to_numpy(float))
        else:
            delay_s = float(delay)
        if flag:
            notes["Messages"].append(f"delay {flag}")
        table = shift(table, delay_s)
    for text in [*notes["Messages"], *filter(None, [notes["Missing"]])]:
        log.warning(text)
    units = {"Units": "kBq/mL"}
    write_tsv(table, out["inputfunction"])
    write_json(
        sidecar(
            "Arterial input function: AIF is the parent tracer in plasma",
            [*blood, frames, frame_weights],
            time={"Units": "s", "Description": "after injection"},
            whole_blood_radioactivity=units,
            plasma_radioactivity=units,
            metabolite_parent_fraction={"Units": "1"},
            AIF=units,
            DecayCorrection="to injection",
            DelaySeconds=delay_s,
            DelaySource="fit" if delay == "fit" else "given",
            DelayFlag=flag or None,
            DelayBoundsSeconds=list(DELAY_RANGE_S),
            GlucoseMmolPerL=glucose_mmol_l,
            **notes,
        ),
        out["inputfunction_json"],
    )


def take_over(path, paths, *, glucose_mmol_l=math.nan):
    """Write an input function that bloodstream made in our terms.

    Parameters
    ----------
    path : path-like
        ``…_inputfunction.tsv`` with its JSON beside it.
    paths : (path-like, path-like)
        TSV and JSON to write.
    glucose_mmol_l : float
        Plasma glucose, for CMRglc.

    Returns
    -------
    dict
        Sidecar of the input function as it was.

    Raises
    ------
    InputError
        See `read_inputfunction`.
    """
    side = Path(path).with_suffix(".json")
    table, notes = read_inputfunction(path, side)
    write_tsv(table, paths[0])
    unit = {"Units": "kBq/mL"}
    write_json(
        sidecar(
            "Arterial input function of bloodstream in our terms", [path, side], time={"Units": "s"}, AIF=unit,
            whole_blood_radioactivity=unit, plasma_radioactivity=unit, DelaySource="as bloodstream left it",
            GlucoseMmolPerL=glucose_mmol_l, Missing=notes.get("Missing"),
        ),
        paths[1],
    )  # fmt: skip
    return notes


def write_missing(sources, paths, reason):
    """Write an input function without rows that tells why there is none.

    Parameters
    ----------
    sources : list of path-like
    paths : (path-like, path-like)
        TSV and JSON.
    reason : str
    """
    import pandas as pd

    log.warning(reason)
    write_tsv(pd.DataFrame(columns=list(COLUMNS)), paths[0])
    write_json(sidecar("Arterial input function: there is none", sources, Missing=reason), paths[1])


GLUCOSE = "plasma_glucose_mmol_l"
"""Column of ``participants.tsv`` from which CMRglc is computed."""


def sidecars_of(table, sidecars):
    """Sidecars of the run on whose clock a blood table counts.

    Parameters
    ----------
    table : path-like
        Blood table.
    sidecars : list of path-like
        Of the scan, in the order of its runs.

    Returns
    -------
    list of path-like
        Those of the run that the table names, else of the first run; all of a scan that is one run.

    Examples
    --------
    >>> sidecars_of("sub-1_recording-manual_blood.tsv", ["sub-1_run-1_pet.json", "sub-1_run-2_pet.json"])
    ['sub-1_run-1_pet.json']
    """

    def run(path):
        found = re.search(r"_run-([0-9]+)_", Path(path).name)
        return found[1] if found else None

    runs = dict.fromkeys(filter(None, map(run, sidecars)))
    if len(runs) < 2:
        return list(sidecars)
    own = run(table) if run(table) in runs else next(iter(runs))
    return [path for path in sidecars if run(path) in (None, own)]


def write_scan(
    blood,
    sidecars,
    participants,
    frames,
    frames_json,
    frame_weights,
    out,
    *,
    participant,
    given=(),
    **options,
):
    """`write_inputfunction` of a scan of the raw dataset, or the input function that bloodstream made of it.

    Parameters
    ----------
    blood : list of path-like
        Blood tables, and their sidecars (found beside them).
    sidecars : list of path-like
        PET-BIDS sidecars, the least specific first, for ``InjectionStart`` and ``Units``.
    participants : list of path-like
        ``participants.tsv`` for `GLUCOSE`, where it has it.
    frames, frames_json, frame_weights, out
        See `write_inputfunction`.
    participant : str
        ``sub-…``
    given : list of path-like
        Table and sidecar of an input function ready made: it comes before raw blood, with the delay it has.
    **options
        Of `write_inputfunction`.

    Raises
    ------
    InputError
        See `blood.read_recording`.
    """
    import pandas as pd

    from neurobraid.pet.fit import read_metadata
    from neurobraid.pet.frames import Sidecar

    glucose = math.nan
    for path in participants:
        if str(path).endswith(".tsv"):
            table = read_tsv(path)
            rows = table[table["participant_id"] == participant]
            if GLUCOSE in table and len(rows):
                glucose = float(rows[GLUCOSE].iloc[0])
    if len(given):
        take_over(given[0], [out["inputfunction"], out["inputfunction_json"]], glucose_mmol_l=glucose)
        if out.get("samples"):
            # bloodstream keeps the samples to itself
            write_tsv(pd.DataFrame(columns=["time", "recording", *COLUMNS[1:4]]), out["samples"])
        return
    tables = [path for path in blood if str(path).endswith(".tsv")]
    injections, fields = [], {}
    for table in tables:
        fields, side = read_metadata(sidecars_of(table, sidecars))
        injections.append(Sidecar(fields, side).number("InjectionStart", "write the start of the injection"))
    write_inputfunction(
        tables, frames, frames_json, frame_weights, out, injection_s=injections, glucose_mmol_l=glucose,
        image_unit=fields.get("Units"), **options,
    )  # fmt: skip
