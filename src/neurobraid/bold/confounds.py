"""Confound time series with fMRIPrep's column names, and run-level quality numbers with MRIQC's."""

from __future__ import annotations

import logging

import numpy as np

log = logging.getLogger("neurobraid")

_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
_CUTOFF = 128.0  # s, period above which drifts are modelled by cosines
_HEAD_RADIUS, _BRAIN_RADIUS = 50.0, 80.0  # mm, as in Power 2012 and Jenkinson 1999
_EDGE_COMPONENTS = 24  # of the crown, as many as Patriat 2017 and fMRIPrep keep


def framewise_displacement(motion):
    """Sum of the absolute changes of the six parameters, rotations as arcs of 50 mm.

    Parameters
    ----------
    motion : (T, 6) array
        mm and rad.

    Returns
    -------
    (T,) array
        mm, NaN first. Power et al., NeuroImage 2012;59:2142-2154.
    """
    change = np.abs(np.diff(motion, axis=0))
    out = np.full(len(motion), np.nan)
    out[1:] = change[:, :3].sum(axis=1) + _HEAD_RADIUS * change[:, 3:].sum(axis=1)
    return out


def relative_rms(matrices, center):
    """Root mean square displacement between successive volumes in a sphere of 80 mm.

    Parameters
    ----------
    matrices : (T, 4, 4) array
        Reference to volume.
    center : (3,) array
        Centre of the sphere, mm.

    Returns
    -------
    (T,) array
        mm, NaN first. Jenkinson, FMRIB report TR99MJ1 (1999).
    """
    out = np.full(len(matrices), np.nan)
    for t in range(1, len(matrices)):
        change = matrices[t] @ np.linalg.inv(matrices[t - 1]) - np.eye(4)
        turn = change[:3, :3]
        shift = change[:3, 3] + turn @ center
        out[t] = np.sqrt(_BRAIN_RADIUS**2 / 5.0 * np.trace(turn.T @ turn) + shift @ shift)
    return out


def dvars(series):
    """Root mean square change of the brain's intensity from volume to volume.

    Parameters
    ----------
    series : (T, N) float32 array
        Brain voxels. Voxels whose quartiles are equal are left out.

    Returns
    -------
    plain : (T,) array
        In units of a run whose median over voxels and volumes is 1000, NaN first.
    standardized : (T,) array
        Divided by the mean over voxels of what each voxel's robust standard deviation and lag-one
        autocorrelation predict, NaN first.
    voxelwise : (T,) array
        The same with every voxel divided by its own prediction, NaN first.

    Notes
    -----
    Power et al., NeuroImage 2012;59:2142-2154; Nichols, "Notes on creating a standardized version of DVARS",
    2013 (arXiv 1704.01469). Quartiles are the lower order statistics, the autocorrelation is the Yule-Walker
    estimate, as in FSL and nipype.
    """
    total = len(series)
    scale = 1000.0 / float(np.median(series))
    low, high = np.percentile(series, [25, 75], axis=0, method="lower")
    alive = high > low
    series, spread = series[:, alive], (high - low)[alive].astype(np.float64) / 1.349
    empty = np.full((3, total), np.nan)
    if not alive.any():
        return tuple(empty)
    centred = series - series.mean(axis=0, dtype=np.float64).astype(np.float32)
    power = np.einsum("tn,tn->n", centred, centred, dtype=np.float64)
    lag = np.einsum("tn,tn->n", centred[1:], centred[:-1], dtype=np.float64) / power
    expected = np.sqrt(2.0 * (1.0 - lag)) * spread
    squares = np.square(np.diff(centred, axis=0))
    plain, standardized, voxelwise = empty
    plain[1:] = scale * np.sqrt(squares.mean(axis=1, dtype=np.float64))
    standardized[1:] = plain[1:] / (scale * expected.mean())
    voxelwise[1:] = np.sqrt(squares @ (1.0 / (len(expected) * expected**2)))
    return plain, standardized, voxelwise


def cosines(total, tr, skip=0, cutoff=_CUTOFF):
    """Discrete cosines of periods above `cutoff`; 0 in the first `skip` volumes.

    Parameters
    ----------
    total : int
        Volumes.
    tr : float
        s.
    skip : int
        Volumes not in steady state.
    cutoff : float
        s.

    Returns
    -------
    (T, K) float64 array
        Orthonormal over the volumes used, without the constant.
    """
    n = total - skip
    order = int(np.floor(2.0 * n * tr / cutoff))
    times = np.arange(n)[:, None] + 0.5
    out = np.zeros((total, max(order, 0)))
    out[skip:] = np.sqrt(2.0 / n) * np.cos(np.pi / n * times * np.arange(1, order + 1))
    return out


def components(series, drift, share=0.5, count=None):
    """Principal time courses of a noise mask (CompCor).

    Parameters
    ----------
    series : (T, N) array
        Voxels of the mask in steady state.
    drift : (T, K) array
        Orthonormal slow regressors, removed first.
    share : float
        Components are kept until they explain this share of the variance.
    count : int, optional
        So many are kept instead, whatever they explain.

    Returns
    -------
    courses : (T, C) float64 array
        Unit length; the largest weight in absolute value is positive.
    singular : (M,) array
        Singular values of all components.
    explained : (M,) array
        Share of variance of each.
    kept : int
        C.

    Notes
    -----
    Behzadi et al., NeuroImage 2007;37:90-101; the share of variance is Muschelli et al., NeuroImage
    2014;96:22-35. Every voxel is scaled to unit variance.
    """
    values = np.asarray(series, dtype=np.float64)
    values = values - values.mean(axis=0)
    values -= drift @ (drift.T @ values)
    spread = values.std(axis=0)
    values = values[:, spread > 1e-9] / spread[spread > 1e-9]
    if values.shape[1] == 0:
        return np.empty((len(series), 0)), np.empty(0), np.empty(0), 0
    weights, vectors = np.linalg.eigh(values @ values.T)
    weights, vectors = np.maximum(weights[::-1], 0.0), vectors[:, ::-1]
    rank = min(values.shape[1], len(values) - drift.shape[1] - 1)
    weights, vectors = weights[:rank], vectors[:, :rank]
    explained = weights / weights.sum()
    kept = int(np.searchsorted(np.cumsum(explained), share)) + 1 if count is None else count
    kept = min(kept, rank)
    courses = vectors[:, :kept]
    peak = courses[np.abs(courses).argmax(axis=0), np.arange(kept)]
    return courses * np.where(peak < 0, -1.0, 1.0), np.sqrt(weights), explained, kept


def temporal_mask(series, fraction=0.02):
    """Voxels that vary most in time, where temporal CompCor looks for noise.

    Parameters
    ----------
    series : (T, N) float32 array
        Brain voxels in steady state.
    fraction : float
        Share of the voxels to take.

    Returns
    -------
    (N,) bool array
        Standard deviation after removal of a quadratic trend at or above the percentile; voxels without
        variance never.

    Notes
    -----
    Behzadi et al., NeuroImage 2007;37:90-101 (tSTD).
    """
    times = np.linspace(-1.0, 1.0, len(series))
    slow = np.linalg.qr(np.stack([np.ones_like(times), times, times**2], axis=1))[0].astype(np.float32)
    centred = series - series.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread = (centred - slow @ (slow.T @ centred)).std(axis=0, dtype=np.float64)
    return (spread >= np.percentile(spread, 100.0 * (1.0 - fraction))) & (
        series.max(axis=0) > series.min(axis=0)
    )


def crown(brain, radius=2):
    """Thin band around the brain, where there is no neural signal but motion and spins flowing in.

    Parameters
    ----------
    brain : (X, Y, Z) bool array
        Whatever may be brain: where several masks disagree, their union.
    radius : int
        Voxels.

    Returns
    -------
    (X, Y, Z) bool array
        Dilated by a ball, minus the brain.

    Notes
    -----
    Patriat, Reynolds and Birn, NeuroImage 2017;144:74-82.
    """
    from scipy import ndimage

    reach = np.arange(-radius, radius + 1)
    ball = sum(g**2 for g in np.meshgrid(reach, reach, reach, indexing="ij")) <= radius**2
    return ndimage.binary_dilation(brain, ball) & ~brain


def noise_masks(probabilities, brain, minimum=20):
    """Voxels that are almost purely white matter or cerebrospinal fluid.

    Parameters
    ----------
    probabilities : dict of str to (N,) array
        GM, WM and CSF share of every brain voxel.
    brain : (N,) bool array
        Voxels with signal.
    minimum : int
        The threshold goes down from 0.95 in steps of 0.05 until so many voxels pass; below 0.5 the purest
        `minimum` voxels are taken.

    Returns
    -------
    masks : dict of str to (N,) bool array
        ``CSF`` and ``WM``.
    thresholds : dict of str to float
    """
    masks, thresholds = {}, {}
    for tissue in ("CSF", "WM"):
        share = np.where(brain, probabilities[tissue], 0.0)
        for threshold in np.arange(0.95, 0.45, -0.05):
            chosen = share >= threshold
            if chosen.sum() >= minimum:
                break
        else:
            threshold = float(np.sort(share)[-min(minimum, len(share))])
            chosen = (share >= threshold) & (share > 0)
            log.warning("%s: no %d voxels above 0.5; the purest are taken (%.2f)", tissue, minimum, threshold)
        masks[tissue], thresholds[tissue] = chosen, round(float(threshold), 4)
    return masks, thresholds


def confound_table(
    series, masks, matrices, center, tr, *, edge=None, non_steady=0, fd_threshold=0.5, dvars_threshold=1.5
):
    """All confounds of one run.

    Parameters
    ----------
    series : (T, N) float32 array
        Brain voxels, corrected for head motion.
    masks : dict of str to (N,) bool array
        ``CSF`` and ``WM``.
    matrices : (T, 4, 4) array
        Head motion, reference to volume.
    center : (3,) array
        Centre of the brain, mm.
    tr : float
        s.
    edge : (T, M) float32 array, optional
        Voxels of the `crown`; without them there are no ``edge_comp`` columns.
    non_steady : int
        Volumes at the start not in steady state.
    fd_threshold : float
        mm; above it a volume gets a ``motion_outlier`` column.
    dvars_threshold : float
        The same for ``std_dvars``.

    Returns
    -------
    table : pandas.DataFrame, (T, columns)
        ``n/a`` (NaN) in the first row of every difference.
    description : dict
        JSON of the table: one entry per column, and one per dropped component.
    """
    import pandas as pd

    from neurobraid.images.rigid import parameters

    total = len(series)
    motion = parameters(matrices, center)
    both = masks["CSF"] | masks["WM"]
    varying = temporal_mask(series[non_steady:])
    signals = {
        "global_signal": (slice(None), "Mean signal of the brain mask"),
        "csf": (masks["CSF"], "Mean signal of cerebrospinal fluid"),
        "white_matter": (masks["WM"], "Mean signal of white matter"),
        "csf_wm": (both, "Mean signal of cerebrospinal fluid and white matter"),
        "tcompcor": (varying, "Mean signal of the voxels that vary most in time"),
    }
    columns, description = {}, {}

    def add(name, values, text, units=None, **more):
        columns[name] = np.asarray(values, dtype=np.float64)
        description[name] = {"Description": text} | ({"Units": units} if units else {}) | more

    def add_expansions(name, values, text, units):
        change = np.full(total, np.nan)
        change[1:] = np.diff(values)
        add(f"{name}_derivative1", change, f"{text}: change from the volume before", units)
        add(f"{name}_power2", values**2, f"{text}: square", f"({units})^2")
        add(f"{name}_derivative1_power2", change**2, f"{text}: square of the change", f"({units})^2")

    for name, (chosen, text) in signals.items():
        values = series[:, chosen].mean(axis=1, dtype=np.float64)
        add(name, values, text, "arbitrary", Method="Mean")
        if name != "tcompcor":
            add_expansions(name, values, text, "arbitrary")
    plain, standardized, _ = dvars(series[non_steady:])
    lead = np.full(non_steady, np.nan)
    add("std_dvars", np.r_[lead, standardized], "Standardized DVARS (Nichols 2013), 1 is expected")
    add("dvars", np.r_[lead, plain], "Root mean square change, median intensity 1000")
    fd = framewise_displacement(motion)
    add("framewise_displacement", fd, "Framewise displacement (Power 2012), head radius 50 mm", "mm")
    add("rmsd", relative_rms(matrices, center), "Relative root mean square displacement (Jenkinson)", "mm")

    drift = cosines(total, tr, non_steady)
    dropped = 0
    for prefix, method, label, voxels in (
        ("t_comp_cor", "tCompCor", None, series[:, varying]),
        ("a_comp_cor", "aCompCor", "combined", series[:, both]),
        ("c_comp_cor", "aCompCor", "CSF", series[:, masks["CSF"]]),
        ("w_comp_cor", "aCompCor", "WM", series[:, masks["WM"]]),
        ("edge_comp", "EdgeRegressor", "Edge", edge),
    ):
        if voxels is None:
            continue
        found, singular, explained, kept = components(
            voxels[non_steady:], drift[non_steady:], count=_EDGE_COMPONENTS if prefix == "edge_comp" else None
        )
        total_explained = np.cumsum(explained)
        for n in range(len(singular)):
            name = f"{prefix}_{n:02d}" if n < kept else f"dropped_{dropped}"
            if n < kept:
                padded = np.zeros(total)
                padded[non_steady:] = found[:, n]
                columns[name] = padded
            dropped += n >= kept
            description[name] = {
                "CumulativeVarianceExplained": round(float(total_explained[n]), 9),
                "Method": method,
                "Retained": n < kept,
                "SingularValue": round(float(singular[n]), 6),
                "VarianceExplained": round(float(explained[n]), 9),
            } | ({"Mask": label} if label else {})
    for n in range(drift.shape[1]):
        add(f"cosine{n:02d}", drift[:, n], f"Discrete cosine {n + 1} of the high-pass at {_CUTOFF:g} s")
    for n in range(non_steady):
        add(f"non_steady_state_outlier{n:02d}", np.eye(total)[n], f"Volume {n} is not in steady state")
    for axis, name in enumerate(_MOTION):
        units = "mm" if axis < 3 else "rad"
        kind = "Translation along" if axis < 3 else "Rotation about"
        text = f"{kind} {name[-1]} (RAS) from the reference"
        add(name, motion[:, axis], text, units)
        add_expansions(name, motion[:, axis], text, units)
    with np.errstate(invalid="ignore"):
        outliers = np.flatnonzero((fd > fd_threshold) | (columns["std_dvars"] > dvars_threshold))
    for n, t in enumerate(outliers):
        text = f"Volume {t}: framewise displacement > {fd_threshold:g} mm or std_dvars > {dvars_threshold:g}"
        add(f"motion_outlier{n:02d}", np.eye(total)[t], text)
    return pd.DataFrame(columns), description


def quality(series, table, reference, mask, affine, *, fd_threshold):
    """Run-level quality with MRIQC's names and definitions (`neurobraid.images.quality`).

    Parameters
    ----------
    series : (T, N) float32 array
        Brain voxels, corrected for head motion, in steady state only.
    table : pandas.DataFrame
        From `confound_table`.
    reference : (X, Y, Z) array
        Mean image of the run, with the air around the head.
    mask : (X, Y, Z) bool array
        Brain.
    affine : (4, 4) array
        Of the reference; x, y, z below are the array axes nearest to the world's.
    fd_threshold : float
        mm.

    Returns
    -------
    dict
        Of the series: ``fd_mean`` mm, ``fd_num``, ``fd_perc`` %, ``fd_max`` mm, ``dvars_std``, ``dvars_nstd``,
        ``dvars_vstd``, ``tsnr`` (median over voxels), ``gcor``, ``aor``, ``aqi``; ``dvars_vstd``, ``aor`` and ``aqi``
        from 10000 to 20000 voxels spread evenly where there are more. Of the reference: ``efc``,
        ``fber``, ``snr``, ``fwhm_x``, ``fwhm_y``, ``fwhm_z``, ``fwhm_avg`` (voxels), ``gsr_x``, ``gsr_y``.
    """
    import nibabel as nib

    from neurobraid.images import quality as q

    fd = table["framewise_displacement"].to_numpy()[1:]
    axes = [int(a) for a in np.argsort(nib.orientations.io_orientation(affine)[:, 0])]
    brain = q.tissue_summary(reference, mask)
    smoothness = q.fwhm(reference, mask)[axes]
    return {
        "aor": float(q.outlier_fraction(series).mean()),
        "aqi": float(q.quality_index(series).mean()),
        "dvars_nstd": float(np.nanmean(table["dvars"])),
        "dvars_std": float(np.nanmean(table["std_dvars"])),
        "dvars_vstd": float(np.nanmean(dvars(series[:, :: max(1, series.shape[1] // 10000)])[2])),
        "efc": q.efc(reference),
        "fber": q.fber(reference, mask),
        "fd_max": float(fd.max()),
        "fd_mean": float(fd.mean()),
        "fd_num": int((fd > fd_threshold).sum()),
        "fd_perc": 100.0 * float((fd > fd_threshold).sum()) / len(table),
        "fwhm_avg": float(smoothness.mean()),
        **{f"fwhm_{name}": float(value) for name, value in zip("xyz", smoothness, strict=True)},
        "gcor": q.global_correlation(series),
        **{f"gsr_{name}": q.gsr(reference, mask, axis) for name, axis in zip("xy", axes, strict=False)},
        "snr": q.snr(brain["median"], brain["std"], brain["n"]),
        "tsnr": float(np.median(q.temporal_snr(series))),
    }
