"""First level: maps of contrasts, and region effects, of one task run."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurobraid.activation import design as designs
from neurobraid.activation import glm
from neurobraid.activation.maps import STATS, UNITS, write_maps
from neurobraid.bold import nuisance
from neurobraid.errors import InputError
from neurobraid.files import read_json, write_json, write_tsv
from neurobraid.images.atlas import load_atlas, region_means
from neurobraid.images.io import data, load
from neurobraid.images.series import labels_on_grid, read_masked, region_sizes, with_signal
from neurobraid.images.smooth import smooth_in_mask
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

MIN_SIGNAL_VOXELS = 10


@dataclass(frozen=True)
class FirstLevel:
    """Result of one run.

    Attributes
    ----------
    maps : dict of str to dict of str to numpy.ndarray, (X, Y, Z)
        Contrast, then statistic (effect, variance, t, z); 0 where there was no signal.
    affine : numpy.ndarray, (4, 4)
    design : pandas.DataFrame, (T, P)
    info : dict
        What the design's sidecar says.
    contrasts : dict of str to dict
        What the maps' sidecars say, by contrast.
    regions : dict of str to pandas.DataFrame
        Region table by atlas.
    """

    maps: dict
    affine: np.ndarray
    design: pd.DataFrame
    info: dict
    contrasts: dict
    regions: dict


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


def estimate(  # one argument per file or setting: the interface of the rule
    bold, mask, metadata, confounds, events, contrasts, *, atlases=None, hrf="spm", noise_model="ar1", drift="cosine",
    high_pass_hz=1 / 128, smoothing_mm=6.0, confound_names=("motion6", "csfwm"),
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
    contrasts : list of dict
        Records with name and weights.
    atlases : dict of str to (path-like, path-like), optional
        Label image and table by atlas name, for region effects.
    hrf, drift, high_pass_hz
        See `designs.make_design`.
    noise_model : {'ar1', 'ols'}
    smoothing_mm : float
        Full width at half maximum; region effects are always of unsmoothed data.
    confound_names : list of str
        Groups or columns; volumes marked as non-steady state always get a regressor of their own.

    Returns
    -------
    FirstLevel
    """
    tr, start = timing(read_json(metadata), metadata)
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

    names = [*nuisance.parse_groups(confound_names), "non_steady_state"]
    chosen = nuisance.select(nuisance.read_confounds(confounds, n_volumes), names, confounds)
    found = designs.read_events(events, n_volumes, tr, start)
    frame_times = start + np.arange(n_volumes) * tr
    design, info = designs.make_design(
        frame_times, found, hrf=hrf, drift=drift, high_pass_hz=high_pass_hz, confounds=chosen
    )
    peaks = info["ResponsePeak"]
    vectors, heights = [], []
    for record in contrasts:
        vector = designs.contrast_vector(
            design, record["weights"], name=record["name"], conditions=list(peaks)
        )
        heights.append(designs.contrast_peak(record["weights"], peaks))
        vectors.append(vector * heights[-1])

    regions = _region_effects(
        series, brain, image.affine, atlases or {}, design, vectors, contrasts, noise_model
    )
    smoothed = smooth_in_mask(series, brain, smoothing_mm, image.header.get_zooms()[:3])
    result = glm.fit(percent(smoothed), design.to_numpy(), np.array(vectors), noise_model)
    t, z = result.t, result.z
    log.info(
        "median autocorrelation %.2f, whitened residuals at lag 1: %.3f",
        np.median(result.rho),
        result.whiteness[0],
    )
    info |= {
        "RepetitionTime": tr,
        "StartTime": start,
        "HRF": hrf,
        "Drift": drift,
        "HighPassHz": high_pass_hz if drift == "cosine" else None,
        "NoiseModel": noise_model,
        "NoiseModelNote": "lag-1 autocorrelation per voxel, corrected for the design (Worsley et al. 2002), steps of .01"
        if noise_model == "ar1"
        else None,
        "SmoothingFWHMmm": smoothing_mm,
        "Confounds": list(chosen.columns),
        "VoxelCount": int(series.shape[1]),
        "MedianAutocorrelation": float(np.median(result.rho)),
        "ResidualAutocorrelation": result.whiteness.round(6),
    }
    maps, described = {}, {}
    for row, record in enumerate(contrasts):
        values = dict(zip(STATS, (result.effect[row], result.variance[row], t[row], z[row]), strict=True))
        maps[record["name"]] = {}
        for stat, flat in values.items():
            volume = np.zeros(brain.shape, np.float32)
            volume[brain] = flat
            maps[record["name"]][stat] = volume
        described[record["name"]] = {
            "Contrast": record["name"],
            "Weights": record["weights"],
            "Units": UNITS,
            "ResponsePeak": heights[row],
            "DegreesOfFreedom": result.dof,
        }
    return FirstLevel(maps, image.affine, design, info, described, regions)


def _region_effects(series, brain, affine, atlases, design, vectors, contrasts, noise_model):
    """Fit the same model to the mean series of every region, unsmoothed."""
    tables = {}
    for name, (image, table) in atlases.items():
        labels, own, listed = load_atlas(image, table)
        labels = labels_on_grid(labels, own, brain.shape, affine)
        inside = labels[brain].reshape(-1, 1, 1)
        full = region_sizes(labels, listed)
        means, coverage = region_means(series.T.reshape(-1, 1, 1, len(series)), inside, listed, full=full)
        seen = np.isfinite(means).all(0)
        result = glm.fit(percent(means[:, seen]), design.to_numpy(), np.array(vectors), noise_model)
        rows = []
        for row, record in enumerate(contrasts):
            part = listed[["index", "name", "hemisphere"]].copy()
            part["contrast"] = record["name"]
            for column, values in (("effect", result.effect), ("variance", result.variance)):
                part[column] = np.nan
                part.loc[seen, column] = values[row]
            part["dof"] = result.dof
            part["n_voxels"] = np.rint(coverage * full).astype(int)
            part["coverage"] = coverage
            rows.append(part)
        tables[name] = pd.concat(rows, ignore_index=True)
    return tables


def run(inputs, outputs, contrasts, atlas_names, **settings):
    """Do the whole job of a run: read, model, write maps, design and region tables.

    Parameters
    ----------
    inputs, outputs : object with attributes
        Paths as the rule ``activation_first_level`` names them: maps (contrast by contrast, see `maps.write_maps`),
        sidecars and regions are lists in the order of `contrasts` and `atlas_names`.
    contrasts : list of dict
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
    result = estimate(
        inputs.bold, inputs.mask, inputs.metadata, inputs.confounds, next(iter(inputs.events)), contrasts,
        atlases=atlases, **settings,
    )  # fmt: skip
    sources = [inputs.bold, inputs.mask, inputs.confounds, next(iter(inputs.events))]
    write_tsv(result.design, outputs.design)
    write_json(
        sidecar("Design matrix of the first level, one row per volume.", sources, **result.info),
        outputs.design_json,
    )
    write_maps(result.maps, result.affine, outputs.maps)
    shared = {
        k: result.info[k]
        for k in ("HRF", "NoiseModel", "SmoothingFWHMmm", "HighPassHz", "RepetitionTime", "StartTime")
    }
    for path, record in zip(outputs.sidecars, contrasts, strict=True):
        described = result.contrasts[record["name"]]
        write_json(
            sidecar("Contrast of one run; statistics by stat entity.", sources, **shared, **described), path
        )
    for path, name in zip(outputs.regions, atlas_names, strict=True):
        write_tsv(result.regions[name], path)
