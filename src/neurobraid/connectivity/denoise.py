"""Denoising of regional series: every nuisance in one regression, with the cost in degrees of freedom counted."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neurobraid.bold import nuisance
from neurobraid.errors import InputError
from neurobraid.jobs import log

MIN_SEGMENT = 5
"""Shortest run of volumes between censored ones that is kept."""

FEW_DOF, FEW_MINUTES = 20, 4.0


@dataclass(frozen=True)
class Strategy:
    """What a denoising strategy removes.

    Attributes
    ----------
    groups : tuple of str
        Groups of `nuisance.GROUPS` or columns of the confounds table.
    fd_threshold_mm : float or None
        Volumes with more framewise displacement are censored.
    std_dvars_threshold : float or None
        Volumes with more standardised DVARS are censored.
    min_segment : int
        Stretches of fewer volumes between censored ones are censored too; only where a threshold is set.
    """

    groups: tuple
    fd_threshold_mm: float | None = None
    std_dvars_threshold: float | None = None
    min_segment: int = MIN_SEGMENT

    @property
    def censors(self):
        """Whether volumes are left out by a threshold."""
        return self.fd_threshold_mm is not None or self.std_dvars_threshold is not None


STRATEGIES = {
    "baseline": Strategy(()),
    "simple": Strategy(("motion24", "csfwm")),
    "simple+gsr": Strategy(("motion24", "csfwm", "global_signal")),
    "scrubbing.5": Strategy(("motion24", "csfwm8"), 0.5),
    "scrubbing.5+gsr": Strategy(("motion24", "csfwm8", "global_signal"), 0.5),
    "scrubbing.2": Strategy(("motion24", "csfwm8"), 0.2),
    "scrubbing.2+gsr": Strategy(("motion24", "csfwm8", "global_signal"), 0.2),
    "compcor": Strategy(("motion24", "compcor")),
    "compcor6": Strategy(("motion24", "compcor6")),
    "aroma": Strategy(("aroma", "csfwm")),
}
"""Strategies under the names of Wang et al. 2024 (PLoS Comput Biol 20:e1011942, table 2).

All have the same band and drift (`denoise`).

`aroma` works for runs adopted from fMRIPrep before 23.1 that was run with ``--use-aroma``: only its tables have the series of the
components that ICA-AROMA called motion (``aroma_motion_NN``). They are regressed in the same fit, with white matter and CSF. That is the
aggressive form: variance that motion and signal components share goes too, and every component costs a degree of freedom, which is
counted. The benchmark took images denoised by the non-aggressive form (``_desc-smoothAROMAnonaggr_bold``, nilearn's
``ica_aroma="full"``), which keeps what is shared. Those images are smoothed by 6 mm and cannot be put into one fit with the band and the
other regressors; the mixing matrix that a non-aggressive fit needs (``_desc-MELODIC_mixing.tsv``) is not read. Figures of the two
forms are therefore not comparable. Without the columns the study stops and names them.
"""


def strategy(name, own=()):
    """Look up a strategy.

    Parameters
    ----------
    name : str
        Key of `STRATEGIES` or name of an own one.
    own : iterable of dict
        Strategies of the config: ``name``, ``confounds`` (groups or columns) and, where volumes are to be censored,
        ``fd_threshold_mm``, ``std_dvars_threshold``, ``min_segment``. One of the same name as a shipped one wins.

    Returns
    -------
    Strategy

    Raises
    ------
    InputError
        No such strategy.
    """
    mine = {
        record["name"]: Strategy(
            tuple(record["confounds"]),
            record.get("fd_threshold_mm"),
            record.get("std_dvars_threshold"),
            record.get("min_segment", MIN_SEGMENT),
        )
        for record in own
    }
    known = {**STRATEGIES, **mine}
    if name not in known:
        raise InputError("config", "connectivity.strategy", name, ", ".join(known), "choose one of these")
    return known[name]


def retained(confounds, chosen, *, file="confounds"):
    """Which volumes a strategy keeps: `retained_volumes` with its thresholds."""
    return retained_volumes(
        confounds,
        chosen.fd_threshold_mm,
        chosen.std_dvars_threshold,
        min_segment=chosen.min_segment,
        file=file,
    )


def retained_volumes(
    confounds, fd_threshold_mm=None, std_dvars_threshold=None, *, min_segment=MIN_SEGMENT, file="confounds"
):
    """Which volumes are kept.

    Left out: non-steady-state volumes at the start; volumes with more framewise displacement or standardised DVARS than
    the threshold; and, where volumes are censored, what is left between them if it is shorter than `min_segment`.

    Parameters
    ----------
    confounds : pandas.DataFrame, (T, columns)
    fd_threshold_mm : float, optional
    std_dvars_threshold : float, optional
    min_segment : int
    file : path-like
        Named in errors.

    Returns
    -------
    numpy.ndarray of bool, (T,)
    """
    keep = np.ones(len(confounds), bool)
    for column in [c for c in confounds if c.startswith("non_steady_state_outlier")]:
        keep &= ~(confounds[column].to_numpy() > 0)
    thresholds = {"framewise_displacement": fd_threshold_mm, "std_dvars": std_dvars_threshold}
    thresholds = {column: limit for column, limit in thresholds.items() if limit is not None}
    if not thresholds:
        return keep
    for column, limit in thresholds.items():
        if column not in confounds:
            raise InputError(
                file, "columns", f"no {column}", f"a column {column}",
                "choose a strategy without scrubbing or give the column",
            )  # fmt: skip
        # the first volume has no predecessor, hence no displacement
        keep &= ~(confounds[column].fillna(0.0).to_numpy() > limit)
    edges = np.flatnonzero(np.diff(np.r_[False, keep, False].astype(int)))
    for start, stop in edges.reshape(-1, 2):
        if stop - start < min_segment:
            keep[start:stop] = False
    return keep


def denoise(series, regressors, tr, band_hz, keep, *, file="bold"):
    """Remove confounds and everything outside a frequency band in one least-squares fit.

    Filtering and regression one after the other would bring removed components back (Lindquist et al. 2019, HBM
    40:2358); here the filter is a set of cosine regressors beside the confounds, and censored volumes take no part
    in the fit, which equals an indicator regressor for each.

    Parameters
    ----------
    series : numpy.ndarray, (T, R)
        Regional means; columns with NaN are left NaN.
    regressors : pandas.DataFrame, (T, K)
        Confounds in any unit.
    tr : float
        Repetition time in s.
    band_hz : sequence of 2 float
        Pass band in Hz; 0 or a value above half the sampling rate leaves that side open.
    keep : numpy.ndarray of bool, (T,)
    file : path-like
        Named in errors.

    Returns
    -------
    clean : numpy.ndarray, (T, R), float64
        Percent of the region's mean; NaN at censored volumes.
    info : dict
        Volumes, retained volumes, minutes, regressors by kind and effective degrees of freedom.

    Raises
    ------
    InputError
        No degrees of freedom are left.
    """
    n_volumes = len(series)
    low, high = (float(b) for b in band_hz)
    nyquist = 0.5 / tr
    basis = nuisance.cosine_basis(n_volumes, tr, low or None, high if high < nyquist else None)
    constant = pd.DataFrame({"constant": np.ones(n_volumes)})
    design = pd.concat([constant, basis, nuisance.standardize(regressors.reset_index(drop=True))], axis=1)
    kept, dropped = nuisance.independent(design[keep].reset_index(drop=True))
    retained = int(keep.sum())
    dof = retained - len(kept)
    # a column that is not independent any more once rows are gone costs nothing; an exhausted design costs everything
    if dof <= 0:
        raise InputError(
            file, "degrees of freedom", f"{retained} volumes for {design.shape[1]} regressors",
            "more volumes than regressors",
            "use a milder connectivity.strategy, a wider connectivity.band_hz, or exclude the scan",
        )  # fmt: skip
    matrix = np.linalg.qr(design.loc[keep, kept].to_numpy())[0]
    clean = np.full(series.shape, np.nan)
    valid = np.isfinite(series).all(0) & (np.nanmean(np.where(np.isfinite(series), series, 0), 0) > 0)
    values = series[:, valid]
    values = 100.0 * values / values[keep].mean(0)
    rows = values[keep]
    rest = rows - matrix @ (matrix.T @ rows)
    rest -= matrix @ (matrix.T @ rest)  # second pass: orthogonal to rounding error
    inside = np.full(values.shape, np.nan)
    inside[keep] = rest
    clean[:, valid] = inside
    info = {
        "NumberOfVolumes": n_volumes,
        "NumberOfRetainedVolumes": retained,
        "CleanMinutes": retained * tr / 60.0,
        "NumberOfRegressors": len(kept),
        "NumberOfFilterRegressors": int(sum(c in basis for c in kept)),
        "EffectiveDegreesOfFreedom": dof,
        "DroppedRegressors": dropped,
        "CensoredVolumes": np.flatnonzero(~keep),
    }
    if dof < FEW_DOF or info["CleanMinutes"] < FEW_MINUTES:
        log.warning(
            "only %d degrees of freedom and %.1f clean minutes: edges are uncertain",
            dof,
            info["CleanMinutes"],
        )
    return clean, info
