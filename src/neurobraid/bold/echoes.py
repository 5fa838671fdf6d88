"""Several echoes of one run: the decay between them, and their combination by it.

References
----------
Posse S et al. (1999), Magn Reson Med 42:87-97: weights of the echoes. Kundu P et al. (2012), NeuroImage 60:1759-1770:
voxels whose later echoes have no signal left.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from neurobraid.bids.sidecars import applying
from neurobraid.bold.motion import check_volumes, read_motion
from neurobraid.bold.sampling import Sampler
from neurobraid.bold.series import merge_sidecars, open_series
from neurobraid.errors import InputError
from neurobraid.files import write_json
from neurobraid.images.io import data, load, save
from neurobraid.images.resample import grid_points, sample
from neurobraid.images.transforms import apply_affine
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

#: Plausible T2*, s: what lies outside is set to the nearer end.
LIMITS = (0.001, 0.5)
#: The combination in words, for sidecars.
COMBINATION = "weights proportional to TE exp(-TE / T2*) (Posse 1999)"


def echo_times(bold, sidecars):
    """Echo times of a run.

    Parameters
    ----------
    bold : list of path-like
        One image per echo, in order of echo time.
    sidecars : iterable of path-like
        JSON files of the whole run in inheritance order.

    Returns
    -------
    (E,) float64 array
        s.

    Raises
    ------
    InputError
        ``EchoTime`` is missing, is not in seconds, or does not increase from one image to the next.
    """
    times = []
    for path in bold:
        stated = merge_sidecars(applying(sidecars, path)).get("EchoTime")
        try:
            value = float(stated)
        except (TypeError, ValueError):
            value = float("nan")
        if not 0 < value < 1:
            found = "missing in the sidecar" if stated is None else stated
            raise InputError(path, "EchoTime", found, "seconds, 0 to 1", "write each echo's own time")
        if times and value <= times[-1]:
            found = f"{value:g} s after {times[-1]:g} s"
            raise InputError(path, "EchoTime", found, "a longer one in each echo", "correct the sidecars")
        times.append(value)
    return np.array(times)


def open_echoes(bold, sidecars):
    """Read the images of a run one after the other.

    Parameters
    ----------
    bold : list of path-like
        One image per echo.
    sidecars : iterable of path-like

    Yields
    ------
    neurobraid.bold.series.Series

    Raises
    ------
    InputError
        See `neurobraid.bold.series.read_series`; or an echo has another grid or repetition time than the first.
    """
    first = None
    for path in bold:
        series = open_series(path, sidecars)
        facts = series.data.shape, series.affine, series.tr
        if first is None:
            first = facts
        elif facts[0] != first[0] or not np.allclose(facts[1], first[1], atol=1e-3) or facts[2] != first[2]:
            raise InputError(
                path, "grid", f"{facts[0]}, repetition time {facts[2]:g} s",
                f"that of the first echo ({first[0]}, {first[2]:g} s, the same position)",
                "convert the run again, or exclude this echo (index.exclude)",
            )  # fmt: skip
        yield series


def good_echoes(means, brain):
    """How many echoes of a voxel have signal, counted from the first.

    Parameters
    ----------
    means : (E, N) array
        Mean signal of every echo.
    brain : (N,) bool array
        Where the first echo shows brain.

    Returns
    -------
    (N,) int array
        An echo counts while it is above a third of the 33rd percentile of that echo in the brain.
    """
    floor = np.percentile(means[:, brain], 33, axis=1) / 3.0
    return np.cumprod(means > np.maximum(floor, 0.0)[:, None], axis=0).sum(axis=0)


def fit_t2star(means, times, good):
    """Monoexponential decay through the echoes of every voxel.

    The logarithm of the signal is a straight line over echo time. Its points are weighted by the squared signal, which is
    the inverse variance of a logarithm when the noise of all echoes is one.

    Parameters
    ----------
    means : (E, N) array
        Mean signal of every echo.
    times : (E,) array
        s.
    good : (N,) int array
        See `good_echoes`. Only these echoes count, but never fewer than the first two.

    Returns
    -------
    (N,) float64 array
        T2*, s, inside `LIMITS`. Signal that does not fall gives the upper, a second echo without signal the lower end.
    """
    means = np.asarray(means, np.float64)
    count = np.clip(good, 2, len(times))
    used = (np.arange(len(times))[:, None] < count) & (means > 0)
    logs = np.log(np.where(used, means, 1.0))
    weights = np.where(used, means, 0.0) ** 2
    total = np.maximum(weights.sum(axis=0), 1e-300)
    middle = (weights * times[:, None]).sum(axis=0) / total
    level = (weights * logs).sum(axis=0) / total
    apart = times[:, None] - middle
    spread = (weights * apart**2).sum(axis=0)
    enough = used.sum(axis=0) > 1
    slope = (weights * apart * (logs - level)).sum(axis=0) / np.where(enough & (spread > 0), spread, 1.0)
    rate = np.clip(-slope, 1.0 / LIMITS[1], 1.0 / LIMITS[0])
    return np.where(enough, 1.0 / rate, LIMITS[0])


def echo_weights(t2star, times):
    """Share of each echo in the combination with the greatest contrast to noise.

    Parameters
    ----------
    t2star : (N,) array
        s, above 0.
    times : (E,) array
        s.

    Returns
    -------
    (E, N) float32 array
        ``TE exp(-TE / T2*)``, summing to 1 over the echoes.

    Examples
    --------
    >>> print(echo_weights(np.array([0.03]), np.array([0.03, 0.06])).round(3).ravel())
    [0.576 0.424]
    """
    times = np.asarray(times, np.float64)[:, None]
    # the first echo's decay is taken out of all: short T2* would give 0 / 0
    weights = times * np.exp(-(times - times[0]) / np.asarray(t2star, np.float64))
    return (weights / weights.sum(axis=0)).astype(np.float32)


@dataclass(frozen=True)
class Relaxation:
    """T2* of a run and its echo times: what the combination needs.

    Attributes
    ----------
    t2star : (X, Y, Z) float32 array
        s; 0 where there is none.
    affine : (4, 4) array
        Grid of the run's reference of head motion.
    times : (E,) array
        s.
    """

    t2star: np.ndarray
    affine: np.ndarray
    times: np.ndarray

    def weights(self, points):
        """Share of each echo at points.

        Parameters
        ----------
        points : (N, 3) array
            World of the reference of head motion, mm.

        Returns
        -------
        (E, N) float32 array
            Voxels without T2* do not count in the interpolation; where there is none around, the run's median stands in.
        """
        ijk = apply_affine(np.linalg.inv(self.affine), points)
        known = self.t2star > 0
        share = sample(known.astype(np.float32), ijk, 1)
        values = sample(self.t2star, ijk, 1)
        middle = float(np.median(self.t2star[known]))
        values = np.where(share > 0.05, values / np.maximum(share, 0.05), middle)
        return echo_weights(np.clip(values, *LIMITS), self.times)


def read_relaxation(files, bold, sidecars):
    """Read the T2* map of a multi-echo run.

    Parameters
    ----------
    files : sequence of path-like
        Nothing for a run of one echo, or the map of `echoes_run`.
    bold, sidecars : list of path-like
        Raw images and JSON files of the run.

    Returns
    -------
    Relaxation or None

    Raises
    ------
    InputError
        See `echo_times`; or a run of several echoes comes without map.
    """
    if len(bold) == 1:
        return None
    if not files:
        fix = "give the T2* map, or one echo"
        raise InputError(bold[0], "echoes", f"{len(bold)} without a T2* map", "a map", fix)
    image = load(files[0])
    return Relaxation(data(image), np.asarray(image.affine, np.float64), echo_times(bold, sidecars))


def echoes_run(bold, sidecars, estimated, outputs):
    """Estimate T2* of one multi-echo run, and its reference as the echoes show it together.

    Parameters
    ----------
    bold : list of path-like
        Raw ``*_bold.nii.gz``, one per echo in order of echo time.
    sidecars : list of path-like
        Their JSON files in inheritance order.
    estimated : dict of str to path-like
        ``boldref``, ``boldref_json``, ``mask``, ``hmc`` as written by `neurobraid.bold.motion.motion_run`.
    outputs : dict of str to path-like
        ``t2star``, ``boldref`` and their sidecars ``t2star_json``, ``boldref_json``.

    Raises
    ------
    InputError
        Fewer than two echoes; see `echo_times` and `open_echoes`.
    """
    from scipy import ndimage

    if len(bold) < 2:
        raise InputError(bold[0], "echoes", "one", "two or more", "a run of one echo has no T2* map")
    times = echo_times(bold, sidecars)
    reference, mask, motion, facts = read_motion(estimated)
    affine = load(estimated["boldref"]).affine
    steady = range(facts["NonSteadyStateVolumes"], len(motion))
    points = grid_points(reference.shape, affine)
    means = np.zeros((len(bold), len(points)))
    for echo, series in enumerate(open_echoes(bold, sidecars)):
        check_volumes(estimated["hmc"], motion, series.data.shape[3])
        sampler = Sampler(series.data, series.affine)
        for t in steady:
            means[echo] += sampler.volume(t, points, motion[t])
        means[echo] /= len(steady)
    np.maximum(means, 0.0, out=means)

    zooms = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    wide = ndimage.binary_dilation(mask, iterations=max(1, round(6.0 / zooms.min())))
    good = good_echoes(means, mask.ravel())
    inside = wide.ravel() & (means[0] > 0) & (mask.ravel() | (good > 0))
    t2star = np.zeros(len(points))
    t2star[inside] = fit_t2star(means[:, inside], times, good[inside])
    brain = t2star[mask.ravel() & inside]
    clipped = float(np.mean((brain <= LIMITS[0]) | (brain >= LIMITS[1])))
    log.info("T2* of the brain: median %.1f ms, %.1f %% at a limit", 1000 * np.median(brain), 100 * clipped)
    t2star = t2star.reshape(reference.shape).astype(np.float32)
    weights = Relaxation(t2star, affine, times).weights(points)
    combined = (weights * means).sum(axis=0).reshape(reference.shape)

    used = [*bold, *sidecars, estimated["hmc"]]
    settings = {"EchoTimes": times, "Volumes": len(steady), "LimitsT2star": LIMITS}
    save(t2star, affine, outputs["t2star"])
    write_json(
        sidecar(
            "T2* of the run: weighted log-linear fit to the mean of the realigned volumes; 0 outside the brain", used,
            Units="s", MedianInBrain=float(np.median(brain)), ShareAtLimit=clipped, **settings,
        ),
        outputs["t2star_json"],
    )  # fmt: skip
    save(combined, affine, outputs["boldref"])
    write_json(
        sidecar("Reference of the run from all echoes: mean of the realigned volumes", used,
                Combination=COMBINATION, SkullStripped=False, **settings),
        outputs["boldref_json"],
    )  # fmt: skip
