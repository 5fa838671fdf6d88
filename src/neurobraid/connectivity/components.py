"""Networks of the whole group without an atlas: ICA or dictionary learning, then dual regression to every scan."""

from pathlib import Path

import numpy as np

from neurobraid.bold import nuisance
from neurobraid.connectivity.denoise import denoise, retained, strategy
from neurobraid.errors import InputError
from neurobraid.files import read_json, write_json, write_tsv
from neurobraid.images.io import data, load, save
from neurobraid.images.series import read_masked
from neurobraid.images.smooth import smooth_in_mask
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

METHODS = {
    "ica": "group ICA after canonical correlation analysis (Varoquaux et al. 2010, NeuroImage 51:288)",
    "dictionary": "sparse dictionary learning (Mensch et al. 2016, ISBI 1282)",
}


def reduce(series, count):
    """Principal components of a scan, scaled by their singular values: what the group decomposition reads instead of volumes.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
        Kept volumes.
    count : int

    Returns
    -------
    numpy.ndarray, (min(count, T - 1), V), float32
        Every row's largest entry in size is positive.
    """
    centred = series - series.mean(0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    keep = np.argsort(-values)[: min(count, len(series) - 1)]
    rows = vectors[:, keep].T @ centred
    peak = np.abs(rows).argmax(1)
    return (rows * np.sign(rows[np.arange(len(rows)), peak])[:, None]).astype(np.float32)


def decompose(reduced, mask, affine, count, method, *, seed=0):
    """Spatial components of a group.

    Parameters
    ----------
    reduced : list of numpy.ndarray, (K, V)
        Of `reduce`, one per scan.
    mask : numpy.ndarray of bool, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    count : int
    method : {'ica', 'dictionary'}
    seed : int

    Returns
    -------
    numpy.ndarray, (count, V), float64
        Zero mean, unit variance over voxels; the heavier tail of each is positive.
    """
    import nibabel as nib
    from nilearn.decomposition import CanICA, DictLearning

    def image(rows):
        # in single precision the dictionary's inner solver stops short of its tolerance
        volume = np.zeros((*mask.shape, len(rows)), np.float64)
        volume[mask] = rows.T
        return nib.Nifti1Image(volume, affine)

    shared = {
        "n_components": count, "mask": nib.Nifti1Image(mask.astype(np.uint8), affine), "smoothing_fwhm": None, "standardize": False,
        "detrend": False, "random_state": seed, "n_jobs": 1, "memory_level": 0, "verbose": 0,
    }  # fmt: skip
    if method == "ica":
        model = CanICA(**shared, n_init=5, threshold=None)
    elif method == "dictionary":
        model = DictLearning(**shared, n_epochs=1, alpha=10)
    else:
        raise InputError(
            "config", "connectivity.components.method", method, ", ".join(METHODS), "choose one of these"
        )
    model.fit([image(rows) for rows in reduced])
    maps = np.asarray(model.components_img_.dataobj)[mask].T.astype(np.float64)
    maps = maps - maps.mean(1, keepdims=True)
    spread = maps.std(1, keepdims=True)
    maps = maps / np.where(spread > 0, spread, 1.0)
    return maps * np.where((maps**3).sum(1, keepdims=True) < 0, -1.0, 1.0)


def dual_regression(series, maps):
    """Series and maps of the group's components in one scan (Nickerson et al. 2017, Front Neurosci 11:115).

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
        Kept volumes.
    maps : numpy.ndarray, (C, V)

    Returns
    -------
    times : numpy.ndarray, (T, C)
        Weight of every map in every volume, all maps at once, scaled to unit variance.
    own : numpy.ndarray, (C, V)
        Weight of every series in every voxel, all series at once, in the unit of the series.
    """
    centred = series - series.mean(0)
    spatial = maps - maps.mean(1, keepdims=True)
    volumes = centred - centred.mean(1, keepdims=True)
    times = np.linalg.lstsq(spatial.T, volumes.T, rcond=None)[0].T
    times = times - times.mean(0)
    spread = times.std(0)
    times = times / np.where(spread > 0, spread, 1.0)
    return times, np.linalg.lstsq(times, centred, rcond=None)[0]


def run(inputs, outputs, *, count, method, seed, strategy_name, band_hz, smoothing_mm, own=()):
    """Decompose all scans of a task and go back to every scan.

    Parameters
    ----------
    inputs : object with attributes bold, metadata, masks, confounds, confounds_json
        Lists scan by scan.
    outputs : object with attributes maps, sidecar, folder
        Into the folder go a map image and a table of series of every scan.
    count : int
    method : str
        Key of `METHODS`.
    seed : int
    strategy_name : str
    band_hz : sequence of 2 float
    smoothing_mm : float
    own : list of dict
        Strategies of the config.
    """
    import pandas as pd

    chosen = strategy(strategy_name, own)
    mask = np.all([data(load(path)) > 0.5 for path in inputs.masks], 0)
    if not mask.any():
        raise InputError(
            inputs.masks[0],
            "voxels that every scan has",
            0,
            "1 or more",
            "leave out scans of another part of the brain",
        )

    def cleaned(k):
        values, image = read_masked(inputs.bold[k], mask)
        tr = float(read_json(inputs.metadata[k])["RepetitionTime"])
        confounds = nuisance.read_confounds(inputs.confounds[k], len(values))
        confounds = nuisance.one_mask(confounds, read_json(inputs.confounds_json[k]))
        keep = retained(confounds, chosen, file=inputs.confounds[k])
        regressors = nuisance.select(confounds, list(chosen.groups), inputs.confounds[k])
        clean, _ = denoise(values.astype(np.float64), regressors, tr, band_hz, keep, file=inputs.bold[k])
        voxel = np.linalg.norm(image.affine[:3, :3], axis=0)
        rows = np.nan_to_num(clean[keep]).astype(np.float32)
        return smooth_in_mask(rows, mask, smoothing_mm, voxel).astype(np.float64), keep, image.affine

    reduced, affine = [], None
    for k in range(len(inputs.bold)):
        rows, _, affine = cleaned(k)
        reduced.append(reduce(rows, 2 * count))
    maps = decompose(reduced, mask, affine, count, method, seed=seed)
    names = [f"component{k + 1:02d}" for k in range(count)]
    shared = {
        "Method": METHODS[method], "NumberOfComponents": count, "Seed": seed, "Strategy": strategy_name, "BandHz": list(band_hz),
        "SmoothingFWHMmm": smoothing_mm, "FramewiseDisplacementThreshold": chosen.fd_threshold_mm,
        "StdDvarsThreshold": chosen.std_dvars_threshold, "NumberOfScans": len(inputs.bold), "ComponentsPerScan": 2 * count,
    }  # fmt: skip

    def write(rows, path):
        volume = np.zeros((*mask.shape, len(rows)), np.float32)
        volume[mask] = rows.T
        save(volume, affine, path)

    write(maps, outputs.maps)
    content = sidecar(
        "Spatial components of the group, one per volume; zero mean and unit variance over the voxels that every scan has.",
        list(inputs.bold), SkullStripped=True, **shared,
    )  # fmt: skip
    write_json(content, outputs.sidecar)
    folder = Path(outputs.folder)
    for k, path in enumerate(inputs.confounds):
        rows, keep, _ = cleaned(k)
        times, own_maps = dual_regression(rows, maps)
        stem = Path(path).name.split("_desc-confounds")[0]
        write(own_maps, folder / f"{stem}_desc-components_boldmap.nii.gz")
        table = folder / f"{stem}_desc-components_timeseries.tsv"
        full = np.full((len(keep), count), np.nan)
        full[keep] = times
        write_tsv(pd.DataFrame(full, columns=names), table)
    log.info("%d components of %d scans, %d voxels", count, len(inputs.bold), int(mask.sum()))
