"""Maps of resting activity by voxel: ReHo, ALFF and fALFF, strength, mirrored connectivity (VMHC), seeds."""

import numpy as np
from numba import njit

from neurobraid.bold import nuisance
from neurobraid.connectivity.denoise import denoise, retained, strategy
from neurobraid.errors import InputError
from neurobraid.files import read_json, write_json
from neurobraid.images.atlas import load_atlas
from neurobraid.images.io import data, load, save
from neurobraid.images.series import labels_on_grid, read_masked, with_signal
from neurobraid.images.smooth import smooth_in_mask
from neurobraid.images.transforms import apply_affine
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

KINDS = {
    "reho": "regional homogeneity: Kendall's W of the series of a voxel and its 26 neighbours (Zang et al. 2004, NeuroImage 22:394)",
    "alff": "amplitude of low-frequency fluctuations: mean amplitude in the band, percent (Zang et al. 2007, Brain Dev 29:83)",
    "falff": "amplitude in the band over that of all frequencies (Zou et al. 2008, J Neurosci Methods 172:137)",
    "strength": "positive connectivity strength: mean over the brain of the positive part of Fisher z (weighted global brain "
    "connectivity; Cole et al. 2010, NeuroImage 49:3132)",
    "vmhc": "Fisher z of the correlation with the mirrored voxel (Zuo et al. 2010, J Neurosci 30:15034)",
}
MIN_NEIGHBOURS = 7
#: Voxels beyond which strength is the mean over every second voxel of each direction: neighbours say nearly the same.
MOST_PARTNERS = 20_000


@njit(cache=True, nogil=True)
def _kendall(ranks, where, shape, least):
    """Kendall's W of every voxel's neighbourhood, (V,); NaN with fewer than `least` voxels of the mask in it.

    ranks : (V, T) float32, where : (V, 3) voxel indices of the mask.
    """
    count, volumes = ranks.shape
    at = np.full(shape, -1, np.int64)
    for v in range(count):
        at[where[v, 0], where[v, 1], where[v, 2]] = v
    out = np.full(count, np.nan, np.float64)
    total = np.empty(volumes, np.float64)
    for v in range(count):
        total[:] = 0.0
        k = 0
        for i in range(max(where[v, 0] - 1, 0), min(where[v, 0] + 2, shape[0])):
            for j in range(max(where[v, 1] - 1, 0), min(where[v, 1] + 2, shape[1])):
                for m in range(max(where[v, 2] - 1, 0), min(where[v, 2] + 2, shape[2])):
                    other = at[i, j, m]
                    if other >= 0:
                        k += 1
                        for t in range(volumes):
                            total[t] += ranks[other, t]
        if k < least:
            continue
        mean = k * (volumes + 1) / 2.0
        square = 0.0
        for t in range(volumes):
            square += (total[t] - mean) ** 2
        out[v] = 12.0 * square / (k * k * (float(volumes) ** 3 - volumes))
    return out


def reho(series, mask, *, least=MIN_NEIGHBOURS):
    """Regional homogeneity.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
        Denoised, not smoothed, without censored volumes; columns in C order of the mask.
    mask : numpy.ndarray of bool, (X, Y, Z)
    least : int
        Voxels of the mask a neighbourhood of 27 must hold.

    Returns
    -------
    numpy.ndarray, (V,)
        0 to 1.
    """
    ranks = np.empty(series.T.shape, np.float32)
    for start in range(0, series.shape[1], 4096):
        part = series[:, start : start + 4096].T
        ranks[start : start + 4096] = part.argsort(1, kind="stable").argsort(1, kind="stable") + 1
    return _kendall(ranks, np.argwhere(mask), mask.shape, least)


def amplitudes(series, times):
    """Amplitude of every frequency, by least squares on a cosine and a sine.

    Equals the discrete Fourier transform for volumes that follow each other, and the periodogram of Lomb (1976, Astrophys Space Sci
    39:447) and Scargle (1982, Astrophys J 263:835) where volumes are missing.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
        Kept volumes, any mean.
    times : numpy.ndarray, (T,)
        In s.

    Returns
    -------
    frequency : numpy.ndarray, (F,)
        In Hz, from one cycle per duration to half the sampling rate.
    amplitude : numpy.ndarray, (F, V)
        In the unit of the series.
    """
    gap = np.diff(times).min()
    span = times[-1] - times[0] + gap
    frequency = np.arange(1, int(np.floor(span / (2 * gap) + 1e-9)) + 1) / span
    centred = series - series.mean(0)
    angle = 2 * np.pi * frequency[:, None] * times
    # the shift that makes cosine and sine orthogonal on these times
    shift = np.arctan2(np.sin(2 * angle).sum(1), np.cos(2 * angle).sum(1)) / 2
    cosine, sine = np.cos(angle - shift[:, None]), np.sin(angle - shift[:, None])
    out = np.zeros((len(frequency), series.shape[1]))
    for wave in (cosine, sine):
        power = (wave**2).sum(1)
        ok = power > 1e-6 * len(times)
        out[ok] += (wave[ok] @ centred) ** 2 / power[ok, None] ** 2
    return frequency, np.sqrt(out)


def fluctuations(series, times, band_hz):
    """ALFF and fALFF of series that kept all their frequencies.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
        Denoised without a low-pass, percent of the mean, without censored volumes.
    times : numpy.ndarray, (T,)
        In s.
    band_hz : sequence of 2 float

    Returns
    -------
    alff, falff : numpy.ndarray, (V,)
        Percent; 0 to 1.

    Raises
    ------
    InputError
        No frequency in the band.
    """
    alff, falff = np.empty(series.shape[1]), np.empty(series.shape[1])
    for start in range(0, series.shape[1], 8192):
        frequency, amplitude = amplitudes(series[:, start : start + 8192], times)
        band = (frequency >= band_hz[0]) & (frequency <= band_hz[1])
        if not band.any():
            raise InputError(
                "config", "connectivity.band_hz", list(band_hz), f"frequencies from {frequency[0]:.4f} to {frequency[-1]:.3f} Hz",
                "widen the band or use a longer scan",
            )  # fmt: skip
        alff[start : start + 8192] = amplitude[band].mean(0)
        total = amplitude.sum(0)
        falff[start : start + 8192] = np.divide(
            amplitude[band].sum(0), total, out=np.full(total.shape, np.nan), where=total > 0
        )
    return alff, falff


def mirrored(series, mask, affine):
    """Series of the mirrored voxels, by linear interpolation along x.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
    mask : numpy.ndarray of bool, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
        Of a grid along the axes of a symmetric template.

    Returns
    -------
    other : numpy.ndarray, (T, V)
        NaN where the mirrored place is outside the mask.

    Raises
    ------
    InputError
        The grid is oblique.
    """
    if np.abs(affine[:3, :3] - np.diag(np.diag(affine[:3, :3]))).max() > 1e-4:
        raise InputError(
            "bold", "grid", "oblique", "along the axes of the template", "resample to template space"
        )
    at = np.full(mask.shape, -1)
    at[mask] = np.arange(int(mask.sum()))
    where = np.argwhere(mask)
    x = (-(affine[0, 0] * where[:, 0] + affine[0, 3]) - affine[0, 3]) / affine[0, 0]
    low = np.floor(x + 1e-6).astype(int)
    part = np.where(np.abs(x - np.rint(x)) < 1e-3, 0.0, x - low)
    out = np.zeros(series.shape)
    for index, weight in ((low, 1 - part), (low + 1, part)):
        inside = (index >= 0) & (index < mask.shape[0])
        found = np.full(len(where), -1)
        found[inside] = at[index[inside], where[inside, 1], where[inside, 2]]
        needed = weight > 0
        out[:, needed & (found < 0)] = np.nan
        ok = needed & (found >= 0)
        out[:, ok] += weight[ok] * series[:, found[ok]]
    return out


def strength(series, mask, *, most=MOST_PARTNERS):
    """Mean over the brain of the positive part of the Fisher z correlation of every voxel.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
        Denoised; voxels in the order of `mask`.
    mask : numpy.ndarray of bool, (X, Y, Z)
    most : int
        With more voxels, the mean is over a grid of every second voxel in each direction.

    Returns
    -------
    numpy.ndarray, (V,), float64
        z; the voxel itself is no partner. NaN for constant voxels.
    """
    ijk = np.argwhere(mask)
    partner = np.ones(len(ijk), bool) if len(ijk) <= most else (ijk % 2 == 0).all(1)
    spread = series.std(0)
    good = spread > 0
    unit = np.zeros(series.shape, np.float32)
    unit[:, good] = (series[:, good] - series[:, good].mean(0)) / (spread[good] * np.sqrt(len(series)))
    partner &= good
    others = np.ascontiguousarray(unit[:, partner].T)
    out = np.full(len(ijk), np.nan)
    for start in range(0, len(ijk), 2048):
        rows = slice(start, start + 2048)
        z = others @ unit[:, rows]
        # a voxel with itself: 1, which has no z
        own = np.flatnonzero(partner[rows])
        place = np.cumsum(partner)[start : start + 2048] - 1
        z[place[own], own] = 0.0
        np.arctanh(np.clip(z, 0.0, 0.999999, out=z), out=z)
        out[rows] = z.sum(0, dtype=np.float64) / np.maximum(partner.sum() - partner[rows], 1)
    out[~good] = np.nan
    return out


def correlation_z(first, second):
    """Fisher z of the correlation of two sets of series, column by column; one of them may be a single series."""
    a, b = first - first.mean(0), second - second.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.arctanh(np.clip(r, -1 + 1e-7, 1 - 1e-7))


def seed_series(series, mask, affine, seed, regions=None):
    """Mean series of a seed.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
    mask : numpy.ndarray of bool, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    seed : dict
        ``name`` and either ``mm`` (x, y, z of a sphere in template space) with ``radius_mm``, or ``region`` (of the atlas).
    regions : (numpy.ndarray of int (X, Y, Z), pandas.DataFrame), optional
        Labels on the grid of the mask, and their table.

    Returns
    -------
    numpy.ndarray, (T, 1)

    Raises
    ------
    InputError
        No such region, or no voxel of the mask in the seed.
    """
    if seed.get("region"):
        labels, table = regions
        mine = table.loc[table["name"] == seed["region"], "index"]
        if not len(mine):
            raise InputError(
                "config", f"connectivity.seeds.{seed['name']}.region", seed["region"], "a region of the first atlas",
                "correct the name, or give mm",
            )  # fmt: skip
        chosen = labels[mask] == int(mine.iloc[0])
    else:
        places = apply_affine(affine, np.argwhere(mask))
        chosen = np.linalg.norm(places - np.asarray(seed["mm"], float), axis=1) <= seed.get("radius_mm", 6.0)
    if not chosen.any():
        raise InputError(
            "bold", f"seed {seed['name']}", "no voxel inside the brain mask", "1 or more",
            "move the seed, enlarge it, or exclude the scan",
        )  # fmt: skip
    return series[:, chosen].mean(1, keepdims=True)


def run(inputs, outputs, *, kinds, seeds, strategy_name, band_hz, smoothing_mm, own=()):
    """Make the maps of a scan.

    Parameters
    ----------
    inputs : object with attributes bold, metadata, mask, confounds, confounds_json, atlas_image, atlas_table
    outputs : object with attributes maps, sidecars
        In the order of `kinds`, then of `seeds`.
    kinds : list of str
        Keys of `KINDS`.
    seeds : list of dict
        See `seed_series`.
    strategy_name : str
    band_hz : sequence of 2 float
    smoothing_mm : float
        Full width at half maximum: of the finished ReHo, ALFF, fALFF and strength maps, and of the series before VMHC and seeds.
    own : list of dict
        Strategies of the config.
    """
    chosen = strategy(strategy_name, own)
    tr = float(read_json(inputs.metadata)["RepetitionTime"])
    brain = data(load(inputs.mask)) > 0.5
    values, image = read_masked(inputs.bold, brain)
    signal = with_signal(values)
    mask = np.zeros(brain.shape, bool)
    mask[brain] = signal
    values = values[:, signal].astype(np.float64)
    confounds = nuisance.read_confounds(inputs.confounds, len(values))
    confounds = nuisance.one_mask(confounds, read_json(inputs.confounds_json))
    keep = retained(confounds, chosen, file=inputs.confounds)
    regressors = nuisance.select(confounds, list(chosen.groups), inputs.confounds)
    voxel = np.linalg.norm(image.affine[:3, :3], axis=0)
    banded, info = denoise(values, regressors, tr, band_hz, keep, file=inputs.bold)
    banded = banded[keep]
    found = {}

    def smooth(part):
        return smooth_in_mask(np.atleast_2d(part).astype(np.float32), mask, smoothing_mm, voxel)

    if "reho" in kinds:
        found["reho"] = reho(banded, mask)
    if {"alff", "falff"} & set(kinds):
        # the band is cut from the spectrum here, so only the drift leaves with the confounds
        broad, _ = denoise(values, regressors, tr, (band_hz[0], np.inf), keep, file=inputs.bold)
        found["alff"], found["falff"] = fluctuations(broad[keep], np.flatnonzero(keep) * tr, band_hz)
    if "strength" in kinds:
        found["strength"] = strength(banded, mask)
    for kind in ("reho", "alff", "falff", "strength"):
        if kind in kinds and smoothing_mm:
            filled = np.nan_to_num(found[kind])
            weight = smooth(np.isfinite(found[kind]).astype(float))[0]
            smoothed = smooth(filled)[0]
            found[kind] = np.divide(
                smoothed, weight, out=np.full(len(weight), np.nan, np.float32), where=weight > 0.01
            )
    if "vmhc" in kinds or seeds:
        wide = smooth(banded).astype(np.float64) if smoothing_mm else banded
        if "vmhc" in kinds:
            found["vmhc"] = correlation_z(wide, mirrored(wide, mask, image.affine))
        regions = None
        if any(seed.get("region") for seed in seeds):
            labels, grid, table = load_atlas(inputs.atlas_image, inputs.atlas_table)
            regions = labels_on_grid(labels, grid, mask.shape, image.affine), table
        for seed in seeds:
            # the seed itself is not smoothed: its mean must not reach beyond it
            found[f"seed {seed['name']}"] = correlation_z(
                wide, seed_series(banded, mask, image.affine, seed, regions)
            )
    order = [*kinds, *(f"seed {seed['name']}" for seed in seeds)]
    for name, path, note in zip(order, outputs.maps, outputs.sidecars, strict=True):
        volume = np.full(mask.shape, np.nan, np.float32)
        volume[mask] = found[name]
        save(volume, image.affine, path)
        seed = next((s for s in seeds if name == f"seed {s['name']}"), None)
        about = KINDS.get(name, "Fisher z of the correlation of every voxel with the mean series of the seed")
        content = sidecar(
            f"Map of one scan: {about}.", [inputs.bold, inputs.mask, inputs.confounds], Seed=seed, Strategy=strategy_name,
            Confounds=list(regressors.columns), BandHz=list(band_hz), SmoothingFWHMmm=smoothing_mm,
            FramewiseDisplacementThreshold=chosen.fd_threshold_mm, StdDvarsThreshold=chosen.std_dvars_threshold,
            MinSegmentVolumes=chosen.min_segment if chosen.censors else None,
            EffectiveDegreesOfFreedom=info["EffectiveDegreesOfFreedom"], CleanMinutes=info["CleanMinutes"], SkullStripped=True,
        )  # fmt: skip
        write_json(content, note)
    log.info("%s of %d voxels", ", ".join(order), int(mask.sum()))
