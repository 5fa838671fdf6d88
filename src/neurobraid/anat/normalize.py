"""From brain to template: transforms, tissue maps in both spaces, and what the quality page shows."""

import logging

import nibabel as nib
import numpy as np

from neurobraid.anat.brain import AGREEMENT, PLAUSIBLE_ML, STARTS, to_work_grid
from neurobraid.anat.tissue import TISSUES, priors, segment

log = logging.getLogger("neurobraid")

#: Correlation of template and normalised brain below which the quality page warns.
CORRELATION = 0.60


def normalize(values, affine, mask, *, quality="standard", initial=None):
    """Register a brain to the template.

    Parameters
    ----------
    values : numpy.ndarray, (X, Y, Z)
        Bias-corrected T1w.
    affine : numpy.ndarray, (4, 4)
    mask : numpy.ndarray of bool
        Brain.
    quality : {'fast', 'standard', 'high'}
        See `neurobraid.images.registration.register_nonlinear`.
    initial : numpy.ndarray, (4, 4), optional
        Where to start: template points to T1w points.

    Returns
    -------
    forward : Warp
        ``from-T1w_to-MNI152NLin2009aSym``: template points to T1w points.
    inverse : Warp
        ``from-MNI152NLin2009aSym_to-T1w``.
    """
    from neurobraid.images.registration import register_affine, register_nonlinear
    from neurobraid.images.templates import template

    brain, grid = to_work_grid(np.where(mask, values, 0), affine)
    brain = nib.Nifti1Image(brain, grid)
    fixed = template("T1w", 2.0)
    matrix, score = register_affine(fixed, brain, metric="correlation", starts=STARTS, initial=initial)
    log.info("affine to template: squared correlation %.3f", score)
    return register_nonlinear(fixed, brain, initial=matrix, quality=quality)


def tissues(values, affine, mask, to_t1w):
    """Tissue posteriors on the T1w grid.

    Parameters
    ----------
    values : numpy.ndarray, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    mask : numpy.ndarray of bool
    to_t1w : Warp
        ``from-MNI152NLin2009aSym_to-T1w``.

    Returns
    -------
    numpy.ndarray, (3, X, Y, Z), float32
        GM, WM, CSF; sum 1 in the mask, 0 outside.
    """
    from neurobraid.images.resample import resample_image
    from neurobraid.images.templates import template

    maps = [
        resample_image(template(k, 2.0), values.shape, affine, to_t1w, order=1, mask=mask)
        for k in ("GM", "WM")
    ]
    post = segment(values, mask, priors(*maps, mask))
    out = np.zeros((len(TISSUES), *values.shape), np.float32)
    for n in range(len(TISSUES)):
        out[n][mask] = post[:, n]
    return out


def labels(posteriors, mask):
    """Most probable tissue: 1 GM, 2 WM, 3 CSF, 0 outside the mask; uint8."""
    return np.where(mask, posteriors.argmax(0) + 1, 0).astype(np.uint8)


def measures(values, affine, segmentation, posteriors):
    """Quality of a T1w image and its segmentation.

    Parameters
    ----------
    values : numpy.ndarray, (X, Y, Z)
        T1w.
    affine : numpy.ndarray, (4, 4)
    segmentation : numpy.ndarray, (X, Y, Z), uint8
    posteriors : numpy.ndarray, (3, X, Y, Z)

    Returns
    -------
    dict
        ``cjv``: coefficient of joint variation of GM and WM [1]_, lower is better; ``snr_gm``, ``snr_wm``,
        ``snr_csf``: mean over standard deviation within a tissue; ``volume_gm_ml``, …: sum of the posterior.

    References
    ----------
    .. [1] Ganzetti M et al. (2016), Front Neuroinform 10:10.
    """
    from scipy import ndimage

    millilitre = abs(np.linalg.det(affine[:3, :3])) / 1000
    out, mean, spread = {}, {}, {}
    for n, tissue in enumerate(TISSUES):
        where = segmentation == n + 1
        # away from borders, where two tissues share a voxel; a thin cortex on a coarse grid has nothing else
        inner = ndimage.binary_erosion(where) if tissue == "WM" else where & (posteriors[n] > 0.9)
        where = inner if inner.sum() > 50 else where
        found = values[where]
        mean[tissue] = float(found.mean()) if found.size else float("nan")
        spread[tissue] = float(found.std()) if found.size else float("nan")
        out[f"snr_{tissue.lower()}"] = mean[tissue] / spread[tissue] if spread[tissue] else float("nan")
        out[f"volume_{tissue.lower()}_ml"] = float(posteriors[n].sum(dtype=np.float64) * millilitre)
    contrast = abs(mean["WM"] - mean["GM"])
    out["cjv"] = (spread["WM"] + spread["GM"]) / contrast if contrast else float("nan")
    return out


def correlation(normalised, resolution):
    """Pearson correlation of the normalised brain with the template inside the template's brain."""
    from neurobraid.images.templates import template

    inside = np.asarray(template("brain", resolution).dataobj) > 0.5
    return float(
        np.corrcoef(normalised[inside], np.asarray(template("T1w", resolution).dataobj)[inside])[0, 1]
    )


def warnings_of(found):
    """What a person should look at, in words; empty when nothing stands out.

    Parameters
    ----------
    found : dict
        Content of the quality file.

    Returns
    -------
    list of str
    """
    notes = []
    if found.get("mask_plausible") is False:
        notes.append(
            f"brain mask of {found['volume_brain_mask_ml']:.0f} mL is outside "
            f"{PLAUSIBLE_ML[0]:.0f} to {PLAUSIBLE_ML[1]:.0f} mL"
        )
    agreement = found.get("mask_agreement_dice")
    if isinstance(agreement, float) and agreement < AGREEMENT:
        notes.append(f"intensity and template disagree on the brain (Dice {agreement:.2f} < {AGREEMENT:.2f})")
    if not found["registration_correlation"] >= CORRELATION:
        notes.append(
            f"normalised T1w correlates with the template by {found['registration_correlation']:.2f} only"
        )
    return notes
