"""A made-up head: tissues, contrasts and grids from one formula, and the file names of the stage."""

import numpy as np

CENTER = np.array([2.0, -14.0, 6.0])
RADII = np.array([62.0, 76.0, 56.0])
TR, VOLUMES = 2.0, 40


def radius(points):
    """Elliptical distance from the centre, 1 at the brain's edge, with folds."""
    x, y, z = ((points - CENTER) / RADII).T
    r = np.sqrt(x**2 + y**2 + z**2) + 1e-9
    return r + 0.045 * np.sin(7 * x + 1) * np.sin(6 * y) * np.cos(7 * z + 0.5)


def tissues(points):
    """Shares of ventricle, white and grey matter at world points."""
    r = radius(points)
    edge = 40.0
    inside = lambda at: 1.0 / (1.0 + np.exp((r - at) * edge))  # noqa: E731
    brain, white, ventricle = inside(1.0), inside(0.78), inside(0.25)
    return ventricle, white - ventricle, brain - white


def bold_signal(points):
    csf, wm, gm = tissues(points)
    return 1100 * csf + 700 * wm + 850 * gm


def t1w_signal(points):
    csf, wm, gm = tissues(points)
    return 250 * csf + 1000 * wm + 650 * gm


def world(shape, affine):
    return np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]


def grid(zooms, shape, turn=0.0, flip=False):
    c, s = np.cos(turn), np.sin(turn)
    axes = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.diag(zooms)
    if flip:
        axes[:, 0] *= -1
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = CENTER - axes @ ((np.array(shape) - 1) / 2)
    return affine


def motion_names(folder, scan="sub-01_task-rest"):
    base = folder / scan
    return {
        "boldref": f"{base}_desc-hmc_boldref.nii.gz",
        "boldref_json": f"{base}_desc-hmc_boldref.json",
        "mask": f"{base}_desc-hmc_mask.nii.gz",
        "mask_json": f"{base}_desc-hmc_mask.json",
        "hmc": f"{base}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
    }


def output_names(folder, scan="sub-01_task-rest"):
    base = folder / scan
    return {
        "boldref": f"{base}_desc-coreg_boldref.nii.gz",
        "boldref_json": f"{base}_desc-coreg_boldref.json",
        "mask": f"{base}_desc-brain_mask.nii.gz",
        "mask_json": f"{base}_desc-brain_mask.json",
        "coreg": f"{base}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt",
        "confounds": f"{base}_desc-confounds_timeseries.tsv",
        "confounds_json": f"{base}_desc-confounds_timeseries.json",
        "qc": f"{base}_desc-bold_qc.json",
    }


def space_names(folder, spaces, scan="sub-01_task-rest"):
    names = {
        "bold": "desc-preproc_bold.nii.gz", "bold_json": "desc-preproc_bold.json", "boldref": "boldref.nii.gz",
        "boldref_json": "boldref.json", "mask": "desc-brain_mask.nii.gz", "mask_json": "desc-brain_mask.json",
    }  # fmt: skip
    return {key: [f"{folder}/{scan}_space-{s}_{end}" for s in spaces] for key, end in names.items()}
