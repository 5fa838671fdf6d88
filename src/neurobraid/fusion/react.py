"""Connectivity weighted by receptor maps, scan by scan (REACT; Dipasquale et al. 2019, NeuroImage 195:252)."""

import numpy as np

from neurobraid.bold import nuisance
from neurobraid.connectivity.denoise import denoise, retained, strategy
from neurobraid.errors import InputError
from neurobraid.files import read_json, write_json, write_tsv
from neurobraid.fusion.voxelwise import receptor_regression
from neurobraid.images.io import data, load, save
from neurobraid.images.resample import resample_image
from neurobraid.images.series import read_masked, with_signal
from neurobraid.images.smooth import smooth_in_mask
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

#: Name of the participant's own binding map among the maps.
OWN = "own"
#: Variance inflation above which the course of a map belongs to no single receptor.
COLLINEAR = 5.0


def with_background(values):
    """Map in which voxels of its most frequent value, if that is a twentieth of all or more, and zeros are NaN."""
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    found, counts = np.unique(values[finite], return_counts=True)
    outside = ~finite | (values == 0)
    if counts.size and counts.max() >= 0.05 * values.size:
        outside |= values == found[counts.argmax()]
    return np.where(outside, np.nan, values)


def clean_series(inputs, *, strategy_name, band_hz, own=()):
    """Denoised series of a scan inside its mask.

    Parameters
    ----------
    inputs : object with attributes bold, metadata, mask, confounds, confounds_json
    strategy_name : str
    band_hz : sequence of 2 float
    own : list of dict
        Strategies of the config.

    Returns
    -------
    series : numpy.ndarray, (T, V)
        Volumes that are kept.
    keep : numpy.ndarray of bool
        Those of the scan.
    mask : numpy.ndarray of bool, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    confounds : list of str
    """
    chosen = strategy(strategy_name, own)
    tr = float(read_json(inputs.metadata)["RepetitionTime"])
    brain = data(load(inputs.mask)) > 0.5
    values, image = read_masked(inputs.bold, brain)
    signal = with_signal(values)
    mask = np.zeros(brain.shape, bool)
    mask[brain] = signal
    confounds = nuisance.read_confounds(inputs.confounds, len(values))
    confounds = nuisance.one_mask(confounds, read_json(inputs.confounds_json))
    keep = retained(confounds, chosen, file=inputs.confounds)
    regressors = nuisance.select(confounds, list(chosen.groups), inputs.confounds)
    cleaned, _ = denoise(
        values[:, signal].astype(np.float64), regressors, tr, band_hz, keep, file=inputs.bold
    )
    return cleaned[keep], keep, mask, np.asarray(image.affine, float), list(regressors.columns)


def write_react(inputs, outputs, records, *, strategy_name, band_hz, smoothing_mm, units=None, strategies=()):
    """Time courses of receptor maps in one scan, and what every voxel does with them.

    Parameters
    ----------
    inputs : object with attributes bold, metadata, mask, confounds, confounds_json, maps, own
        ``maps`` are images in template space, ``own`` the participant's binding map or nothing.
    outputs : object with attributes weights, weights_json, courses, courses_json
    records : list of mapping
        ``name``, ``unit`` and ``source`` of every map, in order.
    strategy_name : str
    band_hz : sequence of 2 float
    smoothing_mm : float
        Full width at half maximum, of the series.
    units : str, optional
        Of the own map.
    strategies : list of dict
        Of the config.

    Raises
    ------
    InputError
        Maps that say the same, or too few volumes.
    """
    import pandas as pd

    series, keep, mask, affine, regressors = clean_series(
        inputs, strategy_name=strategy_name, band_hz=band_hz, own=strategies
    )
    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    if smoothing_mm:
        series = smooth_in_mask(series.astype(np.float32), mask, smoothing_mm, voxel).astype(np.float64)
    about = {r["name"]: {"Units": r["unit"], "Source": r["source"]} for r in records}
    paths = dict(zip(about, inputs.maps, strict=True))
    if inputs.own:
        paths[OWN] = next(iter(inputs.own))
        about[OWN] = {"Units": units or "1", "Source": "binding of this participant"}
    maps = []
    for path in paths.values():
        image = load(path)
        values = with_background(data(image).reshape(image.shape[:3]))
        # the mean over the voxels with a value: a border is not mixed with the background
        weight = resample_image(
            (np.isfinite(values).astype(np.float32), np.asarray(image.affine, float)), mask.shape, affine
        )
        total = resample_image(
            (np.nan_to_num(values).astype(np.float32), np.asarray(image.affine, float)), mask.shape, affine
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            maps.append(np.where(weight > 0.5, total / weight, np.nan)[mask])
    if not maps:
        raise InputError(
            inputs.bold, "receptor maps", "none for this participant", "a map of fusion.maps or an own binding map",
            "name maps in fusion.react.maps",
        )  # fmt: skip
    try:
        courses, weights, inflation = receptor_regression(series, np.array(maps))
    except ValueError as error:
        raise InputError(
            inputs.bold, "receptor maps", str(error), "maps that differ", "name fewer maps"
        ) from None
    volume = np.zeros((*mask.shape, len(maps)), np.float32)
    volume[mask] = np.nan_to_num(weights).T
    save(volume, affine, outputs.weights)
    table = pd.DataFrame(np.full((keep.size, len(maps)), np.nan), columns=list(paths))
    table.loc[np.flatnonzero(keep)] = courses
    write_tsv(table, outputs.courses)
    common = {
        "Maps": {
            name: {**about[name], "VarianceInflation": float(v), "Voxels": int(np.isfinite(one).sum())}
            for (name, v), one in zip(zip(paths, inflation, strict=True), maps, strict=True)
        },
        "Strategy": strategy_name,
        "Confounds": regressors,
        "BandHz": list(band_hz),
        "SmoothingFWHMmm": smoothing_mm,
        "Collinear": [n for n, v in zip(paths, inflation, strict=True) if v > COLLINEAR] or None,
    }
    sources = [inputs.bold, inputs.mask, inputs.confounds, *paths.values()]
    text = "Connectivity weighted by receptors: partial regression of every voxel on the time courses of the maps."
    units = "standard deviations of the voxel per standard deviation of the course; 0 outside the mask"
    write_json(
        sidecar(text, sources, Volumes=list(paths), Units=units, SkullStripped=True, **common),
        outputs.weights_json,
    )
    text = "Time courses of receptor maps (regression over voxels): mean 0 and standard deviation 1; n/a where a volume was censored."
    write_json(sidecar(text, sources, **common), outputs.courses_json)
    log.info("%d maps, largest variance inflation %.1f", len(maps), float(np.max(inflation)))
