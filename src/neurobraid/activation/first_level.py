"""First level: maps of contrasts, and region effects, of one task run."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurobraid.activation import amplitude, glm, statsmodel, transforms
from neurobraid.activation import design as designs
from neurobraid.activation import trials as single_trials
from neurobraid.activation.maps import F_STATS, F_UNITS, STATS, UNITS, triangle, write_maps
from neurobraid.bold import nuisance
from neurobraid.errors import InputError
from neurobraid.files import read_json, write_json, write_tsv
from neurobraid.images.atlas import load_atlas, region_means
from neurobraid.images.io import data, load, save
from neurobraid.images.series import labels_on_grid, read_masked, region_sizes, with_signal
from neurobraid.images.smooth import smooth_in_mask
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

MIN_SIGNAL_VOXELS = 10

MAX_SCRUBBED = 0.5
"""A run of which a larger part is scrubbed is refused."""

TISSUES = {1: "CSF", 2: "GM", 3: "WM"}
_CHUNK = 16384


@dataclass(frozen=True)
class FirstLevel:
    """Result of one run.

    Attributes
    ----------
    maps : dict of str to dict of str to numpy.ndarray, (X, Y, Z)
        Contrast, then statistic (effect, variance, t, z; F instead of t for an F contrast, with all its effects and the
        upper triangle of their covariance as volumes); 0 where there was no signal.
    affine : numpy.ndarray, (4, 4)
    design : pandas.DataFrame, (T, P)
    info : dict
        What the design's sidecar says.
    contrasts : dict of str to dict
        What the maps' sidecars say, by contrast.
    regions : dict of str to pandas.DataFrame
        Region table by atlas.
    whiteness : pandas.DataFrame
        Autocorrelation of the residuals by tissue and lag, before and after whitening.
    trials : tuple
        Where asked for: effects of single trials, (X, Y, Z, N), and their table.
    """

    maps: dict
    affine: np.ndarray
    design: pd.DataFrame
    info: dict
    contrasts: dict
    regions: dict
    whiteness: pd.DataFrame
    trials: tuple = ()


def percent(series):
    """Percent of each voxel's mean, 0 on average.

    Parameters
    ----------
    series : numpy.ndarray, (T, V), float32
        Positive means.

    Returns
    -------
    numpy.ndarray, (T, V), float32
    """
    mean = series.mean(0, dtype=np.float64)
    return (series * (100.0 / mean).astype(np.float32) - np.float32(100.0)).astype(np.float32, copy=False)


def timing(metadata, file):
    """Repetition time and start time from a BOLD sidecar, in s."""
    tr = metadata.get("RepetitionTime")
    if not isinstance(tr, int | float) or not tr > 0:
        raise InputError(file, "RepetitionTime", tr, "a number of seconds above 0", "add it to the sidecar")
    return float(tr), float(metadata.get("StartTime", 0.0))


def scrubbed_volumes(table, scrub, file="confounds"):
    """Volumes that are left out because the head moved or the signal jumped.

    Parameters
    ----------
    table : pandas.DataFrame, (T, columns)
        Confounds.
    scrub : dict or None
        fd_mm (framewise displacement), std_dvars: a volume above either goes.
    file : path-like
        Named in errors.

    Returns
    -------
    list of int

    Raises
    ------
    InputError
        A column is missing, or more than half of the volumes would go.
    """
    found = np.zeros(len(table), bool)
    for key, column in (("fd_mm", "framewise_displacement"), ("std_dvars", "std_dvars")):
        limit = (scrub or {}).get(key)
        if limit is None:
            continue
        if column not in table:
            raise InputError(
                file, "columns", f"no {column}", "a column to scrub by", f"take {key} off activation.scrub"
            )
        found |= table[column].fillna(0.0).to_numpy() > float(limit)
    if found.mean() > MAX_SCRUBBED:
        raise InputError(
            file, "volumes after scrubbing", f"{int((~found).sum())} of {len(found)}",
            f"{MAX_SCRUBBED:.0%} or more of the volumes", "exclude the run (index), or scrub less (activation.scrub)",
        )  # fmt: skip
    return np.flatnonzero(found).tolist()


def tissue_classes(shape, affine):
    """Tissue of every voxel by the template: see `TISSUES`; 0 outside the template's brain.

    Parameters
    ----------
    shape : tuple of 3 int
    affine : numpy.ndarray, (4, 4)
        Grid in template space.

    Returns
    -------
    numpy.ndarray of int8, `shape`
    """
    from neurobraid.images.templates import template

    grey, white, brain = (template(kind, 2.0) for kind in ("GM", "WM", "brain"))
    classes = np.where(data(brain) > 0.5, 1, 0).astype(np.int8)
    classes[data(grey) > 0.5], classes[data(white) > 0.5] = 2, 3
    return labels_on_grid(classes, brain.affine, shape, affine)


def expected_autocorrelation(design):
    """Autocorrelation that the residuals of white noise have at lags 1, 2, …: regressors take slow and fast noise out.

    Parameters
    ----------
    design : numpy.ndarray, (T, P)

    Returns
    -------
    numpy.ndarray, (LAGS,)
        Mostly slightly below 0.
    """
    basis = np.linalg.qr(design)[0]
    residual = np.eye(len(design)) - basis @ basis.T
    return np.array([np.trace(residual, offset=lag) for lag in range(1, glm.LAGS + 1)]) / np.trace(residual)


def _whiteness(fitted, tissue, design):
    """Table of the residuals' autocorrelation by tissue and lag."""
    rows = []
    expected = expected_autocorrelation(design)
    groups = [("brain", np.ones(len(tissue), bool)), *((name, tissue == k) for k, name in TISSUES.items())]
    moving = (fitted.acf != 0).any(0)
    for name, inside in groups:
        inside = inside & moving
        for lag in range(glm.LAGS):
            values = [part[lag, inside] for part in (fitted.acf_before, fitted.acf)]
            before, after = (float(v.mean()) if inside.any() else np.nan for v in values)
            wide = float(values[1].std()) if inside.any() else np.nan
            rows.append((name, lag + 1, before, after, expected[lag], wide, int(inside.sum())))
    columns = [
        "tissue", "lag", "autocorrelation_ols", "autocorrelation_whitened", "expected_if_white", "sd_whitened", "n_voxels",
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def temporal_snr(series):
    """Mean over standard deviation around the linear trend, per voxel.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
        Positive means.

    Returns
    -------
    numpy.ndarray, (V,)
        0 for a voxel that does not vary.
    """
    n = len(series)
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.arange(n)]))[0]
    out = np.empty(series.shape[1])
    for start in range(0, len(out), _CHUNK):
        part = series[:, start : start + _CHUNK].astype(np.float64)
        mean = part.mean(0)
        part -= basis @ (basis.T @ part)
        out[start : start + _CHUNK] = glm.ratio(mean, np.sqrt(np.einsum("tv,tv->v", part, part) / n))
    return out


def as_model(contrasts, **settings):
    """Stats Model of contrasts in the short form (see `statsmodel.translate`), for a single run."""
    return statsmodel.translate(settings, {"task": "task", "contrasts": contrasts})


def estimate(  # one argument per file or setting: the interface of the rule
    bold, mask, metadata, confounds, events, contrasts=None, *, model=None, atlases=None, hrf="spm", fir_delays=0,
    noise_model="ar1", drift="cosine", high_pass_hz=1 / 128, smoothing_mm=6.0, confound_names=("motion6", "csfwm"),
    scrub=None, trials="none",
):  # fmt: skip
    """Model one task run.

    Parameters
    ----------
    bold : path-like
        Preprocessed series, (X, Y, Z, T).
    mask : path-like
        Brain mask on its grid.
    metadata : path-like
        Sidecar of the series: RepetitionTime and StartTime (time of the first volume in s, 0 if absent).
    confounds : path-like
        Confounds table.
    events : path-like
        Events table.
    contrasts : list of dict, optional
        Records with name and weights (or rows, for an F test): the short form, when there is no model.
    model : dict, optional
        BIDS Stats Model; its run node is executed. What it does not state is taken from the other arguments.
    atlases : dict of str to (path-like, path-like), optional
        Label image and table by atlas name, for region effects.
    hrf, fir_delays, drift, high_pass_hz
        See `designs.make_design`.
    noise_model : str
        See `glm.noise_order`.
    smoothing_mm : float
        Full width at half maximum; region effects are always of unsmoothed data.
    confound_names : list of str
        Strategies, groups or columns; volumes marked as non-steady state always get a regressor of their own.
    scrub : dict, optional
        See `scrubbed_volumes`.
    trials : {'none', 'lsa', 'lss'}
        See `trials.trial_weights`.

    Returns
    -------
    FirstLevel
    """
    chosen = {"noise_model": noise_model, "drift": drift, "high_pass_hz": high_pass_hz, "smoothing_mm": smoothing_mm,
              "scrub": scrub}  # fmt: skip
    if model is None:
        model = as_model(contrasts, hrf=hrf, fir_delays=fir_delays, confounds=list(confound_names), **chosen)
    chosen = transforms.settings_of(model, chosen)
    node = statsmodel.node_at(model, "run")
    plan = statsmodel.plans(model)[0]
    wanted = plan.contrasts
    tr, start = timing(read_json(metadata), metadata)
    order = glm.noise_order(chosen["noise_model"], tr)
    noise = f"ar{order}" if order else "ols"
    brain = data(load(mask)) > 0.5
    series, image = read_masked(bold, brain)
    n_volumes = len(series)
    signal = with_signal(series)
    if signal.sum() < MIN_SIGNAL_VOXELS:
        raise InputError(
            bold, "signal", f"{signal.sum()} voxels", "a brain", "look at the series and its mask"
        )
    brain[brain] = signal
    series = series[:, signal] if not signal.all() else series
    log.info("%d volumes, TR %g s, start %g s, %d voxels", n_volumes, tr, start, series.shape[1])

    design, info, part = run_design(
        node,
        events,
        confounds,
        n_volumes,
        tr,
        start,
        chosen["drift"],
        chosen["high_pass_hz"],
        chosen["scrub"],
    )
    vectors, heights, joint = contrast_rows(design, part.task, wanted)
    extra, recipe = amplitude.parts(design, wanted) if plan.boosted else ((), {})
    rows = np.concatenate([vectors, extra]) if recipe else vectors
    boost = (len(vectors), recipe, heights)
    regions = _region_effects(series, brain, image.affine, atlases or {}, design, rows, wanted, noise, boost)
    smoothed = smooth_in_mask(series, brain, chosen["smoothing_mm"], image.header.get_zooms()[:3])
    smoothed = percent(smoothed)
    result = glm.fit(smoothed, design.to_numpy(), rows, noise, joint=list(joint.values()))
    median = np.median(result.rho.reshape(len(result.rho), -1), 0)
    log.info(
        "%s, median coefficients %s; whitened residuals at lag 1: %.3f",
        noise, ", ".join(f"{c:.2f}" for c in median), result.whiteness[0],
    )  # fmt: skip
    info |= {
        "RepetitionTime": tr,
        "StartTime": start,
        "HRF": hrf_text(node),
        "Drift": chosen["drift"],
        "HighPassHz": chosen["high_pass_hz"] if chosen["drift"] == "cosine" else None,
        "NoiseModel": noise,
        "NoiseModelNote": _noise_note(order),
        "SmoothingFWHMmm": chosen["smoothing_mm"],
        "Confounds": list(part.confounds.columns),
        "Scrub": chosen["scrub"] or None,
        "VoxelCount": int(series.shape[1]),
        "MedianAutocorrelation": float(median[0]),
        "MedianNoiseCoefficients": median if order > 1 else None,
        "ResidualAutocorrelation": result.whiteness.round(6),
    }
    maps, described = _maps_of(result, wanted, vectors, heights, joint, design, brain)
    boosted = amplitude.amplitudes(
        result.effect[len(vectors) :], recipe, heights, design, np.atleast_1d(median)
    )
    for name, flat in boosted.items():
        maps[name]["amplitude"] = np.zeros(brain.shape, np.float32)
        maps[name]["amplitude"][brain] = flat
        described[name]["Units"] = described[name]["Units"] | {"amplitude": amplitude.UNIT}
        described[name]["AmplitudeNote"] = amplitude.NOTE
    tissue = tissue_classes(brain.shape, image.affine)[brain]
    single = ()
    if trials != "none":
        effects, listed = single_trials.of_run(
            smoothed, design, part.task.columns, events, start + np.arange(n_volumes) * tr, tr=tr, start=start,
            method=trials, hrf=hrf_text(node),
        )  # fmt: skip
        volumes = np.zeros((*brain.shape, len(effects)), np.float32)
        volumes[brain] = effects.T
        single = (volumes, listed)
    return FirstLevel(
        maps,
        image.affine,
        design,
        info,
        described,
        regions,
        _whiteness(result, tissue, design.to_numpy()),
        single,
    )


def _noise_note(order):
    if not order:
        return None
    if order == 1:
        return "lag-1 autocorrelation per voxel, corrected for the design (Worsley et al. 2002), steps of .01"
    return "coefficients per voxel, corrected for the design (Worsley et al. 2002); not clustered, nothing is random"


def hrf_text(node):
    """Responses that a run node convolves with, as text: ``spm``, or by column where they differ."""
    steps = (node.get("Transformations") or {}).get("Instructions") or []
    found = {}
    for step in steps:
        if step["Name"] == "Convolve":
            given = step["Input"] if isinstance(step["Input"], list) else [step["Input"]]
            found |= dict.fromkeys(given, transforms.hrf_of(step)[0])
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return "; ".join(f"{name}: {hrf}" for name, hrf in found.items()) or None


def run_design(
    node, events, confounds, n_volumes, tr, start, drift="cosine", high_pass_hz=1 / 128, scrub=None
):
    """Design matrix of a run from a Stats Model's run node.

    Parameters
    ----------
    node : dict
    events, confounds : path-like
    n_volumes : int
    tr, start : float
        Repetition time and time of the first volume, s.
    drift, high_pass_hz
        See `designs.assemble`.
    scrub : dict, optional
        See `scrubbed_volumes`.

    Returns
    -------
    design : pandas.DataFrame, (T, P)
    info : dict
    part : transforms.RunModel
    """
    table = nuisance.read_confounds(confounds, n_volumes)
    frame_times = start + np.arange(n_volumes) * tr
    part = transforms.run_model(node, events, table, frame_times, start_time=start, confounds_path=confounds)
    spikes = scrubbed_volumes(table, scrub, confounds)
    design, info = designs.assemble(
        frame_times, part.task, drift=drift, high_pass_hz=high_pass_hz, confounds=part.confounds, spikes=spikes,
        intercept=part.intercept,
    )  # fmt: skip
    if scrub:
        info["ScrubbedVolumes"] = spikes
    return design, info, part


def contrast_rows(design, task, wanted):
    """Rows of all contrasts, scaled to percent signal change.

    Parameters
    ----------
    design : pandas.DataFrame, (T, P)
    task : designs.Task
    wanted : list of dict
        name, test, rows.

    Returns
    -------
    vectors : numpy.ndarray, (C, P)
        Of the t contrasts.
    heights : dict of str to list of float
        Response peak of every row, by contrast.
    joint : dict of str to numpy.ndarray, (Q, P)
        Of the F contrasts.
    """
    vectors, joint, heights = [], {}, {}
    for record in wanted:
        name, members = record["name"], task.members
        if record["test"] == "t":
            heights[name] = [designs.contrast_peak(record["rows"][0], task.peaks)]
            vector = designs.contrast_vector(design, record["rows"][0], name=name, conditions=members)
            vectors.append(vector * heights[name][0])
        else:
            matrix = designs.joint_matrix(design, record["rows"], name=name, conditions=members)
            scales = [designs.contrast_peak(row, task.peaks) for row in record["rows"]]
            heights[name] = scales if len(scales) == len(matrix) else [1.0] * len(matrix)
            joint[name] = matrix * np.array(heights[name])[:, None]
    return np.array(vectors).reshape(-1, design.shape[1]), heights, joint


def _maps_of(result, wanted, vectors, heights, joint, design, brain):
    """Volumes and sidecar content of every contrast."""

    def volume(flat):
        out = np.zeros((*brain.shape, *flat.shape[:-1]), np.float32)
        out[brain] = np.moveaxis(flat, -1, 0)
        return out

    t, z = result.t, result.z
    maps, described, row, block = {}, {}, 0, 0
    for record in wanted:
        name = record["name"]
        if record["test"] == "t":
            flat = (result.effect[row], result.variance[row], t[row], z[row])
            maps[name] = {stat: volume(part) for stat, part in zip(STATS, flat, strict=True)}
            shown = {
                "Weights": record["rows"][0], "Units": UNITS, "ResponsePeak": heights[name][0],
                "Efficiency": designs.efficiency(design, vectors[row] / heights[name][0]),
            }  # fmt: skip
            row += 1
        else:
            effect, covariance = result.joint[block]
            f = glm.f_statistic(effect, covariance)
            flat = (effect, triangle(covariance), f, glm.f_to_z(f, len(effect), result.dof))
            maps[name] = {stat: volume(part) for stat, part in zip(F_STATS, flat, strict=True)}
            shown = {
                "Weights": record["rows"], "Units": F_UNITS, "ResponsePeak": heights[name], "Test": "F",
                "NumeratorDegreesOfFreedom": len(effect),
                "Efficiency": [designs.efficiency(design, r / h) for r, h in
                               zip(joint[name], heights[name], strict=True)],
            }  # fmt: skip
            block += 1
        described[name] = {"Contrast": name, "DegreesOfFreedom": result.dof, **shown}
    return maps, described


def _region_effects(series, brain, affine, atlases, design, vectors, wanted, noise_model, boost):
    """Fit the same model to the mean series of every region, unsmoothed; t contrasts only."""
    tables = {}
    snr = temporal_snr(series) if atlases else None
    names = [c["name"] for c in wanted if c["test"] == "t"]
    for name, (image, table) in atlases.items():
        labels, own, listed = load_atlas(image, table)
        labels = labels_on_grid(labels, own, brain.shape, affine)
        inside = labels[brain].reshape(-1, 1, 1)
        full = region_sizes(labels, listed)
        means, coverage = region_means(series.T.reshape(-1, 1, 1, len(series)), inside, listed, full=full)
        tsnr, _ = region_means(snr.reshape(-1, 1, 1, 1), inside, listed, full=full)
        seen = np.isfinite(means).all(0)
        result = glm.fit(percent(means[:, seen]), design.to_numpy(), vectors, noise_model)
        combined = amplitude.amplitudes(
            result.effect[boost[0] :], *boost[1:], design, amplitude.coefficients_of(result)
        )
        rows = []
        for row, contrast in enumerate(names):
            part = listed[["index", "name", "hemisphere"]].copy()
            part["contrast"] = contrast
            for column, values in (("effect", result.effect), ("variance", result.variance)):
                part[column] = np.nan
                part.loc[seen, column] = values[row]
            if contrast in combined:
                part["amplitude"] = np.nan
                part.loc[seen, "amplitude"] = combined[contrast]
            part["dof"] = result.dof
            part["n_voxels"] = np.rint(coverage * full).astype(int)
            part["coverage"] = coverage
            part["tsnr"] = np.asarray(tsnr).ravel()
            rows.append(part)
        tables[name] = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
    return tables


def run(inputs, outputs, contrasts, atlas_names, **settings):
    """Do the whole job of a run: read, model, write maps, design and region tables.

    Parameters
    ----------
    inputs, outputs : object with attributes
        Paths as the rule ``activation_first_level`` names them: maps (contrast by contrast, see `maps.write_maps`),
        sidecars and regions are lists in the order of the model's contrasts and of `atlas_names`.
    contrasts : list of dict or dict
        The short form, or a Stats Model.
    atlas_names : list of str
    **settings
        See `estimate`.
    """
    if not list(inputs.events):
        raise InputError(
            inputs.bold, "events", "no events file", "an events.tsv beside the raw run",
            "add it, or take the task off activation.tasks",
        )  # fmt: skip
    atlases = dict(zip(atlas_names, zip(inputs.atlas_images, inputs.atlas_tables, strict=True), strict=True))
    given = {"model": contrasts} if isinstance(contrasts, dict) else {"contrasts": contrasts}
    result = estimate(
        inputs.bold, inputs.mask, inputs.metadata, inputs.confounds, next(iter(inputs.events)), atlases=atlases,
        **given, **settings,
    )  # fmt: skip
    sources = [inputs.bold, inputs.mask, inputs.confounds, next(iter(inputs.events))]
    write_tsv(result.design, outputs.design)
    write_json(
        sidecar("Design matrix of the first level, one row per volume.", sources, **result.info),
        outputs.design_json,
    )
    if hasattr(outputs, "whiteness"):
        write_tsv(result.whiteness, outputs.whiteness)
        write_json(
            sidecar(
                "Autocorrelation of the residuals by tissue (of the template) and lag in volumes, mean over voxels: of "
                "ordinary least squares and after whitening by the noise model, which should leave what the residuals of white "
                "noise under this design have (expected_if_white).",
                sources, NoiseModel=result.info["NoiseModel"], RepetitionTime=result.info["RepetitionTime"],
            ),
            outputs.whiteness_json,
        )  # fmt: skip
    write_maps(result.maps, result.affine, outputs.maps)
    shared = {
        k: result.info[k]
        for k in ("HRF", "NoiseModel", "SmoothingFWHMmm", "HighPassHz", "RepetitionTime", "StartTime")
    }
    for path, described in zip(outputs.sidecars, result.contrasts.values(), strict=True):
        write_json(
            sidecar("Contrast of one run; statistics by stat entity.", sources, **shared, **described), path
        )
    for path, name in zip(outputs.regions, atlas_names, strict=True):
        write_tsv(result.regions[name], path)
    if result.trials:
        image, table, note = outputs.trials
        save(result.trials[0], result.affine, image)
        write_tsv(result.trials[1], table)
        content = sidecar(
            "Response to every trial, one volume each, in the order of the table.", sources, **shared,
            Method=settings["trials"], Units={"effect": UNITS["effect"]},
            MethodNote="ordinary least squares; lss: Mumford et al. 2012, lsa: all trials in one model",
        )  # fmt: skip
        write_json(content, note)
