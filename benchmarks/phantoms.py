"""Simulated participants with known truth for `preprocessing.py`: a warped template head, scanned in several ways.

Every phantom is a function of its seed alone. Points are RAS mm; ``a_from_b`` takes points of b to points of a.
"""

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from neurobraid.images.resample import grid_points, resample_image, sample, spline_coefficients
from neurobraid.images.templates import template
from neurobraid.images.transforms import Warp, apply_affine
from neurobraid.synth.anatomy import bias_field, head, head_grid
from neurobraid.synth.geometry import composed_index, random_deformation, random_motion, rigid, scanner_grid

TR = 2.0
BOLD_SHAPE, BOLD_MM = (64, 64, 36), 3.0
# Signal of GM, WM, CSF, and of the materials of neurobraid.synth.anatomy (air, bone, marrow, fat, muscle, skin, eye,
# lens, fluid, cord): T1-weighted with WM = 1, T2*-weighted with GM = 1.
_T1 = (0.66, 1.0, 0.20), (0.0, 0.06, 0.55, 1.12, 0.42, 0.50, 0.14, 0.35, 0.18, 0.85)
_T2 = (1.0, 0.80, 1.30), (0.0, 0.02, 0.22, 0.20, 0.28, 0.22, 1.45, 0.4, 1.15, 0.8)


@dataclass
class T1w:
    """A T1-weighted image and what is true of it: brain mask and labels (1 GM, 2 WM, 3 CSF, 0 outside the brain)."""

    image: nib.Nifti1Image
    brain: np.ndarray
    labels: np.ndarray


@dataclass
class Series:
    """A BOLD run. ``poses[t]`` takes points of the head at rest to where they are in volume t."""

    data: np.ndarray
    affine: np.ndarray
    poses: np.ndarray
    points: np.ndarray


class Person:
    """A head in the shape of one random person.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed):
        self.seed = seed
        # velocity of 2.8 mm RMS per axis: residual misalignment of about 4 mm after an affine, as between adults
        self.mni_from_t1w, self.t1w_from_mni = random_deformation(
            self.random("shape"), amplitude=2.8, smoothness=15.0
        )

    def random(self, purpose):
        """Generator of random numbers for one purpose, independent of all others."""
        return np.random.default_rng([self.seed, *purpose.encode()])

    def exact(self, mni, iterations=16):
        """Points of the T1w space for template points, to a micrometre (fixed-point iteration)."""
        inverse = np.linalg.inv(self.mni_from_t1w.matrix)[:3, :3]
        points = self.t1w_from_mni.apply(mni)
        for _ in range(iterations):
            points -= (self.mni_from_t1w.apply(points) - mni) @ inverse.T
        return points

    def t1w(self, voxel=1.0, *, noise=0.03, bias=0.20, gamma=1.0):
        """Take a T1-weighted image.

        Parameters
        ----------
        voxel : float
            mm.
        noise : float
            Rician noise, SD in parts of the white-matter signal.
        bias : float
            Range of the multiplicative bias over the brain (0.20: 0.9 to 1.1, as BrainWeb counts).
        gamma : float
            Power to which the noise-free intensities are raised.

        Returns
        -------
        T1w
        """
        shape = tuple(round(n / voxel) for n in (176, 216, 184))
        middle = self.t1w_from_mni.apply(np.array([[0.0, -14.0, 3.0]]))[0]
        shape, affine = scanner_grid(shape, voxel, "RAS", center=middle)
        rng = self.random("t1w")
        anatomy = head(self.mni_from_t1w, shape, affine)
        image = anatomy.image(*_T1) ** gamma
        brain = resample_image(template("brain", 1.0), shape, affine, self.mni_from_t1w, order=1) > 0.5
        field = np.log(bias_field(rng, grid_points(shape, affine), 1.0)).reshape(shape)
        low, high = field[brain].min(), field[brain].max()
        image *= 1 + bias * np.clip((field - low) / (high - low) - 0.5, -1.0, 1.0)
        image += noise * rng.standard_normal(shape, dtype=np.float32)
        image = 800 * np.hypot(image, noise * rng.standard_normal(shape, dtype=np.float32))
        tissue = (anatomy.fractions.argmax(0) + 1).reshape(shape)
        return T1w(
            nib.Nifti1Image(image.astype(np.float32), affine),
            brain,
            np.where(brain, tissue, 0).astype(np.uint8),
        )

    @cached_property
    def _baseline(self):
        """Spline coefficients of the resting T2*-weighted head at 2 mm, blurred to the BOLD voxel, and its grid."""
        from scipy.ndimage import gaussian_filter

        shape, affine = head_grid(2.0)
        anatomy = head(self.mni_from_t1w, shape, affine)
        image = 800 * anatomy.image(*_T2)
        # signal lost above the sinuses and the ear canals
        x, y, z = anatomy.mni.T
        lost = 0.55 * np.exp(-((x / 16) ** 2) - ((y - 38) / 16) ** 2 - ((z + 26) / 10) ** 2)
        lost += 0.40 * np.exp(-(((np.abs(x) - 48) / 10) ** 2) - ((y + 18) / 14) ** 2 - ((z + 36) / 9) ** 2)
        image *= 1 - lost.reshape(shape)
        return spline_coefficients(gaussian_filter(image, BOLD_MM / 2.355 / 2.0)), affine

    def _scanner(self, purpose, spread):
        """Oblique BOLD grid around the brain."""
        rng = self.random(purpose)
        middle = self.t1w_from_mni.apply(np.array([[0.0, -18.0, 7.0]]))[0]
        return scanner_grid(
            BOLD_SHAPE,
            BOLD_MM,
            "LAS",
            center=middle + spread,
            tilt=(rng.uniform(-12, 4), *rng.uniform(-2, 2, 2)),
        )

    def _volume(self, affine, bold_from_head, receive):
        """Noise-free volume of the head in one pose."""
        coefficients, grid = self._baseline
        matrix = composed_index(grid, [np.linalg.inv(bold_from_head)], affine)
        ijk = apply_affine(matrix, grid_points(BOLD_SHAPE, np.eye(4)))
        return sample(coefficients, ijk, 3, prefiltered=True).reshape(BOLD_SHAPE) * receive

    def brain_points(self, count=4000):
        """Points of the brain in T1w space, (N, 3)."""
        coarse = template("brain", 4.0)
        points = self.exact(grid_points(coarse.shape, coarse.affine, np.asarray(coarse.dataobj) > 0.5))
        return points[:: max(1, len(points) // count)]

    def bold(self, volumes=200, *, jumps=0):
        """Take a BOLD run of a moving head.

        Autoregressive noise with smoothness, slow drifts of its own in every place, spikes in one slab of slices, and
        thermal (Rician) noise, in the strengths of `neurobraid.synth.bold`.

        Parameters
        ----------
        volumes : int
        jumps : int
            Jumps of 3 mm along a random direction with a turn of 2 degrees, from which the head mostly comes back.

        Returns
        -------
        Series
        """
        from scipy.ndimage import gaussian_filter

        rng = self.random(f"bold{jumps}")
        shape, affine = self._scanner("bold", (0.0, 0.0, 0.0))
        points = self.brain_points()
        center = points.mean(0)
        motion = random_motion(rng, volumes, step=0.05, drift=0.25, jerks=0.02, jerk=0.35)
        for start in rng.choice(np.arange(5, volumes - 5), jumps, replace=False):
            leap = np.concatenate([_direction(rng) * 3.0, _direction(rng) * np.deg2rad(2.0)])
            duration = int(rng.integers(1, 6))
            motion[start : start + duration] += leap
            motion[start + duration :] += 0.2 * leap
        poses = np.stack([rigid(p, center) for p in motion])
        where = grid_points(shape, affine) - center
        receive = bias_field(rng, where, 0.08).reshape(shape)
        line = np.linspace(-1, 1, volumes)
        trends = np.stack([line, np.cos(np.pi * (line + 1)), np.cos(1.5 * np.pi * (line + 1))])
        drifts = np.log([bias_field(rng, where, 1.0) for _ in trends]) * 0.8 * np.array([[0.8], [0.5], [0.3]])
        series = np.empty((*shape, volumes), np.float32, order="F")
        before = [np.zeros(shape, np.float32)] * 2
        for t in range(-8, volumes):
            fresh = 2.0 * gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.65, truncate=2.5)
            fresh += np.float32(0.35) * before[0] + np.float32(0.12) * before[1]
            before = [fresh, before[0]]
            if t < 0:
                continue
            change = fresh + (trends[:, t] @ drifts).reshape(shape).astype(np.float32)
            if rng.random() < 0.03:
                first = int(rng.integers(0, shape[2] - 4))
                change[:, :, first : first + int(rng.integers(4, shape[2]))] -= rng.uniform(0.8, 2.5)
            signal = self._volume(affine, poses[t], receive) * (1 + change / 100)
            noise = 4.4 * rng.standard_normal((2, *shape), dtype=np.float32)
            series[..., t] = np.hypot(signal + noise[0], noise[1])
        return Series(series, affine, poses, points)

    def field_hz(self, points):
        """Off-resonance in Hz at points of the T1w space: the sinus, the ear canals, and what shimming has left."""
        x, y, z = self.mni_from_t1w.apply(points).T
        sinus = 130 * np.exp(-((x / 20) ** 2) - ((y - 40) / 20) ** 2 - ((z + 28) / 16) ** 2)
        ears = -90 * np.exp(-(((np.abs(x) - 50) / 16) ** 2) - ((y + 18) / 16) ** 2 - ((z + 36) / 14) ** 2)
        return sinus + ears + 8 + 0.5 * y - 0.3 * x + 0.006 * (z * z - 900)

    def distorted(self, readout_s=0.045, sign=-1):
        """Take an echo-planar reference with the distortion of `field_hz` along its second axis.

        Every voxel reads the place whose shifted position it is, found by iteration, divided by the local stretch.

        Parameters
        ----------
        readout_s : float
            Total readout time, s.
        sign : {1, -1}
            1: phase encoding along growing index (``j``), -1: ``j-``.

        Returns
        -------
        image : (X, Y, Z) float32 array
        affine : (4, 4) array
        hz : (X, Y, Z) float32 array
            True field on the grid of the undistorted image.
        brain : (X, Y, Z) bool array
            On the same grid.
        """
        shape, affine = self._scanner("epi", (0.0, 0.0, 0.0))
        rng = self.random("epi")
        seen = grid_points(shape, np.eye(4))
        shift = lambda ijk: sign * readout_s * self.field_hz(apply_affine(affine, ijk))  # noqa: E731
        along, true = np.array([0.0, 1.0, 0.0]), seen.copy()
        for _ in range(30):
            true = seen - shift(true)[:, None] * along
        stretch = 1 + (shift(true + 0.05 * along) - shift(true - 0.05 * along)) / 0.1
        coefficients, grid = self._baseline
        ijk = apply_affine(np.linalg.inv(grid) @ affine, true)
        image = (sample(coefficients, ijk, 3, prefiltered=True) / np.clip(stretch, 0.2, None)).reshape(shape)
        noise = rng.standard_normal((2, *shape), dtype=np.float32)
        hz = self.field_hz(apply_affine(affine, seen)).reshape(shape).astype(np.float32)
        brain = resample_image(template("brain", 2.0), shape, affine, self.mni_from_t1w) > 0.5
        return np.hypot(image + noise[0], noise[1]).astype(np.float32), affine, hz, brain

    def undistorted(self):
        """The scan of `distorted` without distortion and noise, (X, Y, Z) float32."""
        return self._volume(self._scanner("epi", (0.0, 0.0, 0.0))[1], np.eye(4), np.float32(1.0))

    def fieldmap(self, seconds=0.00246):
        """Take the two gradient echoes of a phase-difference field map, the head having moved a little.

        Parameters
        ----------
        seconds : float
            Between the echoes.

        Returns
        -------
        magnitude : (X, Y, Z) float32 array
        phase : (X, Y, Z) float32 array
            Difference in rad, wrapped.
        affine : (4, 4) array
        """
        rng = self.random("fieldmap")
        center = self.brain_points().mean(0)
        pose = rigid(np.concatenate([_direction(rng) * 1.5, _direction(rng) * np.deg2rad(1.5)]), center)
        shape, affine = scanner_grid((68, 72, 48), 3.0, "RAS", center=center, tilt=(-5.0, 0.0, 1.0))
        home = apply_affine(np.linalg.inv(pose) @ affine, grid_points(shape, np.eye(4)))
        coefficients, grid = self._baseline
        magnitude = sample(coefficients, apply_affine(np.linalg.inv(grid), home), 3, prefiltered=True)
        echoes = 12.0 * (rng.standard_normal((2, len(home))) + 1j * rng.standard_normal((2, len(home))))
        echoes[0] += magnitude
        echoes[1] += 0.9 * magnitude * np.exp(2j * np.pi * seconds * self.field_hz(home))
        phase = np.angle(echoes[1] * np.conj(echoes[0])).reshape(shape)
        return np.abs(echoes[0]).reshape(shape).astype(np.float32), phase.astype(np.float32), affine

    def reference(self):
        """Take a BOLD reference of the head in another position than the T1w image.

        Returns
        -------
        image : (X, Y, Z) float32 array
            As clean as the mean of twenty volumes.
        affine : (4, 4) array
        bold_from_t1w : (4, 4) array
            5 to 10 mm and 5 to 10 degrees in random directions.
        """
        rng = self.random("reference")
        center = self.brain_points().mean(0)
        offset = np.concatenate(
            [_direction(rng) * rng.uniform(5, 10), _direction(rng) * np.deg2rad(rng.uniform(5, 10))]
        )
        pose = rigid(offset, center)
        shape, affine = self._scanner("reference", offset[:3] + rng.uniform(-2, 2, 3))
        receive = bias_field(rng, grid_points(shape, affine) - center, 0.08).reshape(shape)
        noise = rng.standard_normal((2, *shape), dtype=np.float32)
        return np.hypot(self._volume(affine, pose, receive) + noise[0], noise[1]), affine, pose


def _direction(rng):
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def template_warp(person):
    """Exact ``from-T1w_to-MNI`` of a person as a `Warp` on a 2 mm grid."""
    image = template("T1w", 2.0)
    points = grid_points(image.shape, image.affine)
    step = (person.exact(points) - points).reshape(*image.shape, 3).astype(np.float32)
    return Warp(np.eye(4), step, image.affine)
