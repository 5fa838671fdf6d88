"""A folded cortex with known activity, blurred exactly: what partial-volume correction has to undo."""

import numpy as np

from neurobraid.images.smooth import FWHM_PER_SIGMA
from neurobraid.pet import pvc

SECTORS = 8
"""Cortical regions; then two striata, white matter, CSF."""
NAMES = [*(f"cortex{i}" for i in range(SECTORS)), "caudate", "putamen", "white", "csf"]
ACTIVITY = np.array([2.0, 2.4, 1.8, 2.2, 2.6, 1.9, 2.1, 2.3, 4.0, 5.0, 0.8, 0.2, 0.1])
"""kBq/mL per region, the background last."""
CORTEX, STRIATUM, WHITE, CSF = slice(0, SECTORS), slice(SECTORS, SECTORS + 2), SECTORS + 2, SECTORS + 3


def labels(size=64, voxel_mm=2.5):
    """Region of every voxel, `SECTORS` + 4 for the background: a ribbon of 3.5 mm with folds, two spheres, a ventricle."""
    line = (np.arange(size) - (size - 1) / 2) * voxel_mm
    x, y, z = np.meshgrid(line, line * 1.03, line * 1.07, indexing="ij")
    r = np.sqrt(x**2 + y**2 + z**2) + 1e-9
    azimuth, polar = np.arctan2(y, x), np.arccos(z / r)
    scale = size * voxel_mm / 160.0
    surface = scale * (60 + 7 * np.cos(9 * azimuth) * np.sin(7 * polar))
    out = np.full(x.shape, len(NAMES))
    out[r < surface] = WHITE
    ribbon = (r < surface) & (r >= surface - 3.5)
    sector = (((azimuth + np.pi) / (2 * np.pi) * 4).astype(int) % 4) + 4 * (z > 0)
    out[ribbon] = sector[ribbon]
    for i, centre in enumerate(([-18, 10, 4], [18, 10, 4])):
        away = np.sqrt(sum((axis - scale * c) ** 2 for axis, c in zip((x, y, z), centre, strict=True)))
        out[away < scale * (9 + i)] = SECTORS + i
    out[(np.abs(x) < 4 * scale) & (np.abs(y + 15 * scale) < 15 * scale) & (np.abs(z) < 8 * scale)] = CSF
    return out


def blur(volume, fwhm_mm, voxel_mm):
    """Exact Gaussian by its transfer function, the volume in a wide empty margin."""
    pad = int(np.ceil(2.5 * max(fwhm_mm) / voxel_mm))
    wide = np.pad(volume, pad)
    transfer = np.fft.rfftn(wide)
    for axis, (n, fwhm) in enumerate(zip(wide.shape, fwhm_mm, strict=True)):
        f = (np.fft.rfftfreq if axis == 2 else np.fft.fftfreq)(n)
        sigma = fwhm / FWHM_PER_SIGMA / voxel_mm
        shape = [1, 1, 1]
        shape[axis] = len(f)
        transfer *= np.exp(-2 * (np.pi * sigma * f) ** 2).reshape(shape)
    return np.fft.irfftn(transfer, wide.shape)[pad:-pad, pad:-pad, pad:-pad]


def scan(regions, fwhm_mm=(6.0, 6.0, 6.0), voxel_mm=2.5, activity=ACTIVITY):
    """The phantom as the scanner sees it, float32. Activity outside the field of view is that of the background."""
    truth = activity[regions]
    return (activity[-1] + blur(truth - activity[-1], fwhm_mm, voxel_mm)).astype(np.float32)


def masks(regions, fwhm_mm=(6.0, 6.0, 6.0), voxel_mm=2.5, shift=(0, 0, 0)):
    """`pvc.Masks` of the phantom, one point per voxel, with a point spread that may be wrong."""
    inside = np.roll(regions, shift, (0, 1, 2))
    points = np.argwhere(inside < len(NAMES))
    found = inside[tuple(points.T)]
    covered = np.ones(regions.shape, bool)
    psf = np.asarray(fwhm_mm) / voxel_mm
    return pvc.build(points, found, np.ones(len(points)), len(NAMES), regions.shape, (1, 1, 1), psf, covered)


def errors(method, given, image, **options):
    """Relative error per region without the background."""
    values = image.ravel()[given.voxels][:, None]
    found = pvc.correct(method, given, values, white=WHITE, csf=CSF, **options)[0]
    return found[:-1, 0] / ACTIVITY[:-1] - 1
