"""Confound time series with fMRIPrep's column names, and run-level quality numbers with MRIQC's."""

from __future__ import annotations

import logging

import numpy as np

log = logging.getLogger("neurobraid")

_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
_CUTOFF = 128.0  # s, period above which drifts are modelled by cosines
_HEAD_RADIUS, _BRAIN_RADIUS = 50.0, 80.0  # mm, as in Power 2012 and Jenkinson 1999


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
        Brain voxels.

    Returns
    -------
    plain : (T,) array
        In units of a run whose median intensity is 1000, NaN first.
    standardized : (T,) array
        Divided by what the voxels' robust variance and lag-one autocorrelation predict, NaN first.
        Nichols, "Notes on creating a standardized version of DVARS", 2013.
    """
    mean = series.mean(axis=0, dtype=np.float64)
    scale = 1000.0 / np.median(mean)
    steps = np.diff(series, axis=0)
    plain = np.full(len(series), np.nan)
    plain[1:] = scale * np.sqrt(np.mean(np.square(steps), axis=1, dtype=np.float64))
    low, high = np.percentile(series, [25, 75], axis=0)
    spread = (high - low) / 1.349
    centred = series - mean.astype(np.float32)
    power = np.einsum("tn,tn->n", centred, centred, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        lag = np.einsum("tn,tn->n", centred[1:], centred[:-1], dtype=np.float64) / power
    expected = np.sqrt(np.maximum(2.0 * (1.0 - lag), 0.0)) * spread
    alive = (spread > 0) & np.isfinite(expected)
    standardized = plain / (scale * expected[alive].mean()) if alive.any() else np.full(len(series), np.nan)
    return plain, standardized


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


def components(series, drift, share=0.5):
    """Principal time courses of a noise mask (aCompCor).

    Parameters
    ----------
    series : (T, N) array
        Voxels of the mask in steady state.
    drift : (T, K) array
        Orthonormal slow regressors, removed first.
    share : float
        Components are kept until they explain this share of the variance.

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
    kept = int(np.searchsorted(np.cumsum(explained), share)) + 1
    kept = min(kept, rank)
    courses = vectors[:, :kept]
    peak = courses[np.abs(courses).argmax(axis=0), np.arange(kept)]
    return courses * np.where(peak < 0, -1.0, 1.0), np.sqrt(weights), explained, kept


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
    series, masks, matrices, center, tr, *, non_steady=0, fd_threshold=0.5, dvars_threshold=1.5
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
    signals = {
        "global_signal": series.mean(axis=1, dtype=np.float64),
        "csf": series[:, masks["CSF"]].mean(axis=1, dtype=np.float64),
        "white_matter": series[:, masks["WM"]].mean(axis=1, dtype=np.float64),
        "csf_wm": series[:, both].mean(axis=1, dtype=np.float64),
    }
    words = {
        "global_signal": "Mean signal of the brain mask",
        "csf": "Mean signal of cerebrospinal fluid",
        "white_matter": "Mean signal of white matter",
        "csf_wm": "Mean signal of cerebrospinal fluid and white matter",
    }
    columns, description = {}, {}

    def add(name, values, text, units=None):
        columns[name] = np.asarray(values, dtype=np.float64)
        description[name] = {"Description": text} | ({"Units": units} if units else {})

    def add_expanded(name, values, text, units):
        change = np.full(total, np.nan)
        change[1:] = np.diff(values)
        add(name, values, text, units)
        add(f"{name}_derivative1", change, f"{text}: change from the volume before", units)
        add(f"{name}_power2", values**2, f"{text}: square", f"({units})^2")
        add(f"{name}_derivative1_power2", change**2, f"{text}: square of the change", f"({units})^2")

    for name, values in signals.items():
        add_expanded(name, values, words[name], "arbitrary")
    plain, standardized = dvars(series[non_steady:])
    lead = np.full(non_steady, np.nan)
    add("std_dvars", np.r_[lead, standardized], "Standardized DVARS (Nichols 2013), 1 is expected")
    add("dvars", np.r_[lead, plain], "Root mean square change, median intensity 1000")
    fd = framewise_displacement(motion)
    add("framewise_displacement", fd, "Framewise displacement (Power 2012), head radius 50 mm", "mm")
    add("rmsd", relative_rms(matrices, center), "Relative root mean square displacement (Jenkinson)", "mm")

    drift = cosines(total, tr, non_steady)
    for prefix, label, mask in (
        ("a", "combined", both),
        ("c", "CSF", masks["CSF"]),
        ("w", "WM", masks["WM"]),
    ):
        found, singular, explained, kept = components(series[non_steady:, mask], drift[non_steady:])
        total_explained = np.cumsum(explained)
        for n in range(len(singular)):
            name = f"{prefix}_comp_cor_{n:02d}" if n < kept else f"dropped_{prefix}{n - kept:03d}"
            if n < kept:
                padded = np.zeros(total)
                padded[non_steady:] = found[:, n]
                columns[name] = padded
            description[name] = {
                "CumulativeVarianceExplained": round(float(total_explained[n]), 9),
                "Mask": label,
                "Method": "aCompCor",
                "Retained": n < kept,
                "SingularValue": round(float(singular[n]), 6),
                "VarianceExplained": round(float(explained[n]), 9),
            }
    for n in range(drift.shape[1]):
        add(f"cosine{n:02d}", drift[:, n], f"Discrete cosine {n + 1} of the high-pass at {_CUTOFF:g} s")
    for n in range(non_steady):
        add(f"non_steady_state_outlier{n:02d}", np.eye(total)[n], f"Volume {n} is not in steady state")
    for axis, name in enumerate(_MOTION):
        units = "mm" if axis < 3 else "rad"
        kind = "Translation along" if axis < 3 else "Rotation about"
        add_expanded(name, motion[:, axis], f"{kind} {name[-1]} (RAS) from the reference", units)
    with np.errstate(invalid="ignore"):
        outliers = np.flatnonzero((fd > fd_threshold) | (columns["std_dvars"] > dvars_threshold))
    for n, t in enumerate(outliers):
        text = f"Volume {t}: framewise displacement > {fd_threshold:g} mm or std_dvars > {dvars_threshold:g}"
        add(f"motion_outlier{n:02d}", np.eye(total)[t], text)
    return pd.DataFrame(columns), description


def quality(series, table, *, fd_threshold):
    """Run-level quality with MRIQC's names.

    Parameters
    ----------
    series : (T, N) array
        Brain voxels, corrected for head motion, in steady state only.
    table : pandas.DataFrame
        From `confound_table`.
    fd_threshold : float
        mm.

    Returns
    -------
    dict
        ``fd_mean`` mm, ``fd_num``, ``fd_perc`` %, ``fd_max`` mm, ``dvars_std``, ``dvars_nstd``, ``tsnr``
        (median over voxels, drift removed), ``gcor``.
    """
    fd = table["framewise_displacement"].to_numpy()[1:]
    slow = np.column_stack([np.ones(len(series)), np.linspace(-1, 1, len(series))])
    slow = np.linalg.qr(np.column_stack([slow, slow[:, 1] ** 2]))[0].astype(np.float32)
    rest = series - slow @ (slow.T @ series)
    spread = rest.std(axis=0, dtype=np.float64)
    alive = spread > 0
    mean = series.mean(axis=0, dtype=np.float64)
    unit = rest[:, alive] / (spread[alive] * np.sqrt(len(series))).astype(np.float32)
    common = unit.mean(axis=1, dtype=np.float64)
    return {
        "fd_mean": float(fd.mean()),
        "fd_max": float(fd.max()),
        "fd_num": int((fd > fd_threshold).sum()),
        "fd_perc": 100.0 * float((fd > fd_threshold).mean()),
        "dvars_std": float(np.nanmean(table["std_dvars"])),
        "dvars_nstd": float(np.nanmean(table["dvars"])),
        "tsnr": float(np.median(mean[alive] / spread[alive])),
        "gcor": float(common @ common),
    }
