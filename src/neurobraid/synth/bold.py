"""BOLD scans: a head that moves while slices are taken one after the other, with activity planted in it."""

import numpy as np
import pandas as pd

from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.images.io import data, load
from neurobraid.images.resample import grid_points, sample
from neurobraid.images.transforms import apply_affine, write_affines
from neurobraid.provenance import sidecar
from neurobraid.synth import plants
from neurobraid.synth.anatomy import bias_field, head, head_grid, shape_of
from neurobraid.synth.design import CONDITIONS, TR, study_design
from neurobraid.synth.geometry import (
    composed_index,
    framewise_displacement,
    random_motion,
    random_pose,
    rigid,
    scanner_grid,
)
from neurobraid.synth.volumes import save_scaled

MOTION_COLUMNS = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
EVENT_SECONDS = 5.0
GAIN = 800.0
"""Signal of grey matter."""

# T2*-weighted signal relative to grey matter: inside for GM, WM, CSF; outside by material (anatomy.AIR, …)
_INSIDE = (1.0, 0.80, 1.30)
_OUTSIDE = (0.0, 0.02, 0.22, 0.20, 0.28, 0.22, 1.45, 0.4, 1.15, 0.8)

NOISE = {
    "thermal": 0.55,
    "physiological": 0.70,
    "drift": 0.8,
    "global": 0.20,
    "cardiac": 1.2,
    "respiration": 0.15,
}
"""Standard deviations in percent of grey-matter signal (thermal) or of local signal (the others)."""
AR = (0.35, 0.12)
"""Autoregression of the physiological noise from volume to volume."""
NETWORK_SD = 0.90
"""Standard deviation of the planted resting activity in percent of baseline."""
BAND = (0.01, 0.1)
"""Band of the planted resting activity in Hz."""


def hrf_integral(seconds):
    """Integral of the canonical double-gamma haemodynamic response from 0, 1 at infinity.

    Gamma densities with shape 6 and 16 and scale 1 s, undershoot 1/6 (Friston et al. 1998, NeuroImage 7:30).

    Parameters
    ----------
    seconds : numpy.ndarray

    Returns
    -------
    numpy.ndarray
    """
    from scipy.special import gammainc

    t = np.maximum(seconds, 0.0)
    return (gammainc(6.0, t) - gammainc(16.0, t) / 6.0) / (1 - 1 / 6.0)


def response(times, onsets, durations):
    """Response to events of height 1: their boxcar convolved with the canonical response, exactly.

    Parameters
    ----------
    times : numpy.ndarray, any shape
        s.
    onsets, durations : numpy.ndarray, (E,)
        s.

    Returns
    -------
    numpy.ndarray, shape of `times`
        1 is the plateau of an endless event.
    """
    out = np.zeros(np.shape(times))
    for onset, duration in zip(onsets, durations, strict=True):
        out += hrf_integral(times - onset) - hrf_integral(times - onset - duration)
    return out


def slice_times(slices, tr, site):
    """Acquisition time of every slice in s: site A odd slices first, site B two (or three) slices at once.

    Parameters
    ----------
    slices : int
    tr : float
        s.
    site : {'A', 'B'}

    Returns
    -------
    numpy.ndarray, (slices,)
    """
    band = 1 if site == "A" else 2 if slices % 2 == 0 else 3 if slices % 3 == 0 else 1
    shots = slices // band
    order = [*range(0, shots, 2), *range(1, shots, 2)]
    first = np.empty(shots)
    first[order] = np.arange(shots) * tr / shots
    return np.round(np.tile(first, band), 6)


def events_table(rng, count, seconds):
    """Events of one motor run.

    Parameters
    ----------
    rng : numpy.random.Generator
    count : int
        Events of each condition.
    seconds : float
        Length of the run.

    Returns
    -------
    pandas.DataFrame
        onset, duration (s), trial_type.
    """
    order = rng.permutation(np.repeat(CONDITIONS, count))
    # irregular gaps: with regular ones the sum of the two courses is nearly constant, and neither can be told
    # from the baseline
    slack = seconds - 20.0 - len(order) * (EVENT_SECONDS + 1.0)
    gaps = rng.exponential(size=len(order) + 1)
    gaps = np.cumsum(slack * gaps / gaps.sum())[:-1]
    onsets = 4.0 + gaps + np.arange(len(order)) * (EVENT_SECONDS + 1.0)
    return pd.DataFrame({"onset": np.round(onsets, 2), "duration": EVENT_SECONDS, "trial_type": order})


def resting_series(rng, covariance, times):
    """Band-limited courses with a given covariance, at any times.

    Parameters
    ----------
    rng : numpy.random.Generator
    covariance : numpy.ndarray, (R, R)
    times : numpy.ndarray, (N,)
        s.

    Returns
    -------
    numpy.ndarray, (N, R)
        Variance 1 (expected) for a unit diagonal.
    """
    length = times.max() - times.min() + 20.0
    frequencies = np.arange(np.ceil(BAND[0] * length), np.floor(BAND[1] * length) + 1) / length
    # a little more power at low frequencies, as in grey matter
    weights = 1.0 / np.sqrt(frequencies + 0.03)
    weights /= np.sqrt((weights**2).sum())
    mixed = rng.standard_normal((2 * len(frequencies), len(covariance))) @ np.linalg.cholesky(covariance).T
    phase = 2 * np.pi * np.outer(times, frequencies)
    return np.hstack([np.cos(phase) * weights, np.sin(phase) * weights]) @ mixed


def _motion(study, row, person):
    """Motion parameters (T, 6) with a person's own median framewise displacement."""
    rng = study.random(row["scan"], "motion")
    volumes = int(row["n_volumes"])
    target = np.exp(np.log(0.13) + 0.35 * rng.standard_normal())
    target *= 1.25 if person["diagnosis"] == "patient" else 1.0
    motion = random_motion(rng, volumes, step=0.05, drift=0.25, jerks=0.02, jerk=0.35)
    # tremor and drift together are scaled, so that the median is as drawn and jerks stay in proportion
    return motion * np.clip(target / np.median(framewise_displacement(motion)[1:]), 0.3, 3.0)


def _double(volume):
    """Halve the voxel edge by cubic convolution, so that linear sampling later hardly blurs."""
    for axis in range(3):
        moved = np.moveaxis(volume, axis, 0)
        padded = np.concatenate([moved[:1], moved, moved[-1:], moved[-1:]])
        half = (9 * (padded[1:-2] + padded[2:-1]) - padded[:-3] - padded[3:]) / 16
        out = np.empty((2 * len(moved), *moved.shape[1:]), np.float32)
        out[0::2], out[1::2] = moved, half
        volume = np.moveaxis(out, 0, axis)
    return np.ascontiguousarray(volume)


class Scan:
    """Geometry and baseline of one BOLD scan.

    Parameters
    ----------
    scan : str
    size : {'tiny', 'demo'}
    seed : int
    """

    def __init__(self, scan, size, seed):
        from scipy.ndimage import binary_dilation, gaussian_filter

        self.study = study = study_design(size, seed)
        self.row = row = study.scan(scan, "bold")
        self.person = person = study.participant(row["participant_id"])
        self.volumes = int(row["n_volumes"])
        self.mni_from_t1w, t1w_from_mni = shape_of(size, seed, person["participant_id"])
        rng = study.random(scan, "pose")
        self.bold_from_t1w = random_pose(rng)
        grid = study.grids["bold"]
        middle = apply_affine(self.bold_from_t1w, t1w_from_mni.apply(np.array([[0.0, -18.0, 7.0]])))[0]
        self.center = np.round(middle, 1)
        self.shape, self.affine = scanner_grid(
            grid.shape,
            grid.voxel,
            "LAS" if person["site"] == "A" else "RAS",
            center=self.center + rng.uniform(-2, 2, 3),
            tilt=(rng.uniform(-12, 4), *rng.uniform(-2, 2, 2)),
        )
        self.motion = _motion(study, row, person)
        # volume_from_reference: the head's pose at zero parameters is its pose in the first volume
        self.poses = np.stack([rigid(p, self.center) for p in self.motion])
        self.slice_times = slice_times(self.shape[2], TR, person["site"])

        edge = 2.0 if grid.voxel < 5 else 3.0
        low = (-90.0, -124.0, -94.0)
        fine_shape, self.head_affine = head_grid(edge, low=low)
        self.anatomy = anatomy = head(self.mni_from_t1w, fine_shape, self.head_affine)
        baseline = anatomy.image(_INSIDE, _OUTSIDE)
        # signal lost above the sinuses and the ear canals, where the field is not homogeneous
        x, y, z = anatomy.mni.T
        lost = 0.55 * np.exp(-((x / 16) ** 2) - ((y - 38) / 16) ** 2 - ((z + 26) / 10) ** 2)
        lost += 0.40 * np.exp(-(((np.abs(x) - 48) / 10) ** 2) - ((y + 18) / 14) ** 2 - ((z + 36) / 9) ** 2)
        baseline *= 1 - lost.reshape(fine_shape)
        sigma = grid.voxel / 2.355 / edge
        self.baseline = _double(gaussian_filter(baseline * GAIN, sigma))
        self.baseline_affine = self.head_affine.copy()
        self.baseline_affine[:3, :3] /= 2

        coarse = np.empty(self.shape, np.float32).ravel()
        indices = grid_points(self.shape, np.eye(4))
        matrix = self._index(self.baseline_affine, 0)
        coarse = sample(self.baseline, apply_affine(matrix, indices), 1).reshape(self.shape)
        self.inside = binary_dilation(coarse > 0.04 * GAIN, iterations=1)
        self.voxels = np.argwhere(self.inside).astype(np.float64)
        self.receive = bias_field(
            study.random(scan, "receive"), apply_affine(self.affine, self.voxels) - self.center, 0.08
        )

    def _index(self, target, volume):
        """Voxel indices of the scan at one volume to voxel indices of a grid in T1w space."""
        return composed_index(
            target,
            [np.linalg.inv(self.bold_from_t1w), np.linalg.inv(self.poses[volume])],
            self.affine,
        )

    def times(self):
        """Acquisition times (T, S) of volumes and slices in s."""
        return np.arange(self.volumes)[:, None] * TR + self.slice_times[None]

    def nuisance_maps(self):
        """Weight of the cardiac pulsation at the scan's voxels: fluid, and vessels at the base of the brain."""
        csf = self.anatomy.fractions[2] + (self.anatomy.material == 8) * (1 - self.anatomy.fractions.sum(0))
        x, y, z = self.anatomy.mni.T
        base = np.exp(-(((x / 22) ** 2) + ((y + 20) / 30) ** 2 + ((z + 26) / 14) ** 2))
        weight = (0.15 + csf + 0.8 * base).astype(np.float32).reshape(self.anatomy.shape)
        return sample(weight, apply_affine(self._index(self.head_affine, 0), self.voxels), 1)

    def acquire(self, activity):
        """Take the series.

        Parameters
        ----------
        activity : callable
            ``activity(volume, index)`` gives the planted signal change at the scan's voxels in percent;
            `index` is the matrix from voxel indices to those of the head grid.

        Returns
        -------
        series : numpy.ndarray, (X, Y, Z, T), float32, Fortran order
        """
        from scipy.ndimage import gaussian_filter, gaussian_filter1d

        study, scan = self.study, self.row["scan"]
        rng = study.random(scan, "noise")
        times = self.times()
        depth = self.voxels[:, 2].astype(np.intp)
        voxels = self.voxels
        phase = rng.uniform(0, 2 * np.pi, 2)
        heart = 1.05 + 0.1 * rng.standard_normal()
        breath = 0.27 + 0.03 * rng.standard_normal()
        wander = gaussian_filter1d(rng.standard_normal((2, self.volumes)), 4, axis=1)[:, :, None] * 2.0
        cardiac = np.sqrt(2) * np.sin(2 * np.pi * heart * times + phase[0] + wander[0])
        respiration = np.sqrt(2) * np.sin(2 * np.pi * breath * times + phase[1] + wander[1])
        slow = gaussian_filter1d(rng.standard_normal(self.volumes), 3.0)
        slow *= NOISE["global"] / slow.std()
        common = slow[:, None] + NOISE["respiration"] * respiration
        pulse = NOISE["cardiac"] * cardiac
        pulse_map = self.nuisance_maps()
        line = np.linspace(-1, 1, self.volumes)
        trends = np.stack([line, np.cos(np.pi * (line + 1)), np.cos(1.5 * np.pi * (line + 1))])
        drift_maps = np.stack(
            [
                bias_field(study.random(scan, "drift", str(n)), apply_affine(self.affine, voxels), 1.0)
                for n in range(len(trends))
            ]
        )
        drift_maps = np.log(drift_maps) * NOISE["drift"] * np.array([[0.8], [0.5], [0.3]])
        drift_maps[0] += NOISE["drift"] * 0.5 * rng.standard_normal()
        spikes = np.zeros(times.shape)
        jerked = framewise_displacement(self.motion) > 0.5
        for t in np.flatnonzero((rng.random(self.volumes) < 0.012) | jerked):
            first = int(rng.integers(0, self.shape[2] - 4))
            spikes[t, first : first + int(rng.integers(4, self.shape[2]))] -= rng.uniform(0.8, 2.5)
        self.spikes = spikes.min(1)

        series = np.empty((*self.shape, self.volumes), np.float32, order="F")
        thermal = NOISE["thermal"] / 100 * GAIN
        before = [np.zeros(len(voxels), np.float32), np.zeros(len(voxels), np.float32)]
        where = tuple(np.argwhere(self.inside).T)
        # variance of the smoothed field, and of the autoregression it drives
        probe = np.zeros((15, 15, 15), np.float32)
        probe[7, 7, 7] = 1
        shrink = np.sqrt((gaussian_filter(probe, 0.65, truncate=2.5) ** 2).sum())
        a, b = AR
        stationary = np.sqrt((1 - b) / ((1 + b) * ((1 - b) ** 2 - a**2)))
        innovation = NOISE["physiological"] / (shrink * stationary)
        for t in range(-8, self.volumes):
            white = rng.standard_normal(self.shape, dtype=np.float32)
            fresh = gaussian_filter(white, 0.65, truncate=2.5)[where] * np.float32(innovation)
            fresh += np.float32(a) * before[0] + np.float32(b) * before[1]
            before = [fresh, before[0]]
            if t < 0:
                continue
            index = self._index(self.head_affine, t)
            signal = sample(self.baseline, apply_affine(self._index(self.baseline_affine, t), voxels), 1)
            change = activity(t, index) + fresh
            change += (common[t] + spikes[t])[depth].astype(np.float32)
            change += pulse_map * pulse[t][depth].astype(np.float32)
            change += (trends[:, t] @ drift_maps).astype(np.float32)
            signal *= self.receive * (1 + change / np.float32(100))
            volume = np.zeros(self.shape, np.float32)
            volume[where] = signal
            noise = rng.standard_normal((2, *self.shape), dtype=np.float32) * np.float32(thermal)
            volume += noise[0]
            series[..., t] = np.hypot(volume, noise[1])
        return series

    def write(self, series, outputs, *, description, **extra):
        """Write the raw files and the truth about positions."""
        save_scaled(series, self.affine, outputs["image"], slope=0.8, tr=TR)
        write_json(
            {
                "Manufacturer": "neurobraid",
                "ManufacturersModelName": f"Synth-{self.person['site']}",
                "MagneticFieldStrength": 3,
                "FlipAngle": 77,
                "PhaseEncodingDirection": "j-",
                "SliceEncodingDirection": "k",
                "SliceTiming": self.slice_times.tolist(),
                "NonlinearGradientCorrection": False,
            },
            outputs["sidecar"],
        )
        table = pd.DataFrame(self.motion, columns=MOTION_COLUMNS)
        table["framewise_displacement"] = framewise_displacement(self.motion)
        table["spike_percent"] = self.spikes
        write_tsv(table, outputs["motion"])
        write_affines(self.poses, outputs["hmc"])
        write_affines(self.bold_from_t1w, outputs["coreg"])
        write_json(
            sidecar(
                description,
                [outputs["image"]],
                Convention=(
                    "boldref is the pose of the head in the first volume. A point p of boldref (RAS mm) lies at"
                    " Rx Ry Rz (p - RotationCenter) + RotationCenter + translation in volume t; the same"
                    " matrices are in the file from-orig_to-boldref, one per volume."
                    " from-boldref_to-T1w maps points of the T1w image to points of boldref."
                ),
                RotationCenter=self.center.tolist(),
                Units={"trans": "mm", "rot": "rad", "framewise_displacement": "mm (radius 50)"},
                NoisePercent=NOISE,
                Autoregression=list(AR),
                **extra,
            ),
            outputs["truth"],
        )


def write_task(scan, outputs, *, size, seed):
    """Make one run of the motor task and its truth.

    Parameters
    ----------
    scan : str
        E.g. ``"sub-02_task-motor_run-1"``.
    outputs : mapping
        Paths by name: image, sidecar, events, motion, hmc, coreg, truth.
    size : {'tiny', 'demo'}
    seed : int
    """
    bold = Scan(scan, size, seed)
    study, volumes = bold.study, bold.volumes
    events = events_table(study.random(scan, "events"), study.events, volumes * TR)
    factors = plants.blob_factors(study.random(bold.row["participant_id"], "blobs"))
    times = bold.times()
    courses, maps, active = [], [], np.zeros(len(bold.voxels), bool)
    start = apply_affine(bold._index(bold.head_affine, 0), bold.voxels)
    for number, condition in enumerate(CONDITIONS):
        chosen = events[events["trial_type"] == condition]
        courses.append(response(times, chosen["onset"].to_numpy(), chosen["duration"].to_numpy()))
        planted = plants.activation(bold.anatomy.mni, number, factors).reshape(bold.anatomy.shape)
        maps.append(planted)
        active |= sample(planted, start, 1) > 1e-3
    # a margin for the motion: voxels that come near a blob only later
    from scipy.ndimage import binary_dilation

    near = np.zeros(bold.shape, bool)
    near[bold.inside] = active
    near = np.flatnonzero(binary_dilation(near)[bold.inside])
    voxels, depth = bold.voxels[near], bold.voxels[near, 2].astype(np.intp)

    def activity(volume, index):
        change = np.zeros(len(bold.voxels), np.float32)
        ijk = apply_affine(index, voxels)
        for course, planted in zip(courses, maps, strict=True):
            change[near] += sample(planted, ijk, 1) * course[volume][depth].astype(np.float32)
        return change

    series = bold.acquire(activity)
    write_tsv(events, outputs["events"])
    bold.write(
        series,
        outputs,
        description="Head motion of the scan and what was planted in it",
        Blobs=[blob[0] for blob in plants.BLOBS],
        BlobFactors=factors.round(4).tolist(),
    )


def write_rest(scan, inputs, outputs, *, size, seed):
    """Make one resting scan and its truth.

    Parameters
    ----------
    scan : str
        E.g. ``"sub-03_ses-2_task-rest"``.
    inputs, outputs : mapping
        Paths by name. Inputs: atlas, atlas_table; outputs: image, sidecar, motion, hmc, coreg, planted,
        realised, truth.
    size : {'tiny', 'demo'}
    seed : int
    """
    bold = Scan(scan, size, seed)
    study = bold.study
    atlas, table = load(inputs["atlas"]), read_tsv(inputs["atlas_table"])
    labels = sample(
        data(atlas, np.int32), apply_affine(np.linalg.inv(atlas.affine), bold.anatomy.mni), 0
    ).reshape(bold.anatomy.shape)
    covariance = plants.network_covariance(
        table,
        study.random(bold.row["participant_id"], "networks"),
        patient=bold.person["diagnosis"] == "patient",
    )
    times = bold.times()
    courses = resting_series(study.random(scan, "networks"), covariance, times.ravel())
    lookup = np.zeros((*times.shape, int(table["index"].max()) + 1), np.float32)
    lookup[:, :, table["index"].to_numpy()] = NETWORK_SD * courses.reshape(*times.shape, -1)
    depth = bold.voxels[:, 2].astype(np.intp)

    def activity(volume, index):
        return lookup[volume][depth, sample(labels, apply_affine(index, bold.voxels), 0)]

    series = bold.acquire(activity)
    middle = courses.reshape(*times.shape, -1)[:, int(np.argmin(np.abs(bold.slice_times - TR / 2)))]
    for name, matrix in (("planted", covariance), ("realised", np.corrcoef(middle.T))):
        frame = pd.DataFrame(matrix, columns=table["name"].to_list())
        frame.insert(0, "Node", table["name"].to_numpy())
        write_tsv(frame, outputs[name])
    bold.write(
        series,
        outputs,
        description="Head motion of the scan and the networks planted in it",
        NetworkPercent=NETWORK_SD,
        Band=list(BAND),
        Networks=dict(zip(table["name"], plants.networks(table), strict=True)),
    )
