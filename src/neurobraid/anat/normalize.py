"""From brain to template: transforms, tissue maps in both spaces, and what the quality page shows."""

import logging

import nibabel as nib
import numpy as np

from neurobraid.anat.brain import AGREEMENT, PLAUSIBLE_ML, affine_to_template, to_work_grid
from neurobraid.anat.tissue import TISSUES, priors, segment

log = logging.getLogger("neurobraid")

#: Correlation of template and normalised brain below which the quality page warns.
CORRELATION = 0.60
#: Rotation between head and template that no head in a scanner has by itself, degrees.
TURNED_DEG = 90.0


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
    if initial is None:
        initial = affine_to_template(brain)
    matrix, score = register_affine(fixed, brain, metric="correlation", initial=initial)
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
    """Quality of a T1w image and its segmentation, with MRIQC's names and definitions.

    Parameters
    ----------
    values : numpy.ndarray, (X, Y, Z)
        T1w of the whole head, corrected for intensity bias.
    affine : numpy.ndarray, (4, 4)
    segmentation : numpy.ndarray, (X, Y, Z), uint8
    posteriors : numpy.ndarray, (3, X, Y, Z)

    Returns
    -------
    dict
        ``cjv``, ``cnr``, ``snr_gm``, ``snr_wm``, ``snr_csf``, ``snr_total``, ``snrd_gm``, … (against air), ``efc``,
        ``fber``, ``wm2max``, ``fwhm_x``, ``fwhm_y``, ``fwhm_z``, ``fwhm_avg`` (voxels), ``icvs_gm``, … (share of the
        intracranial volume), and ``volume_gm_ml``, …: sum of the posterior. NaN where there is no air to measure.

    Notes
    -----
    Definitions and papers: `neurobraid.images.quality`.
    """
    from neurobraid.images import quality as q

    millilitre = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    mask = segmentation > 0
    box = tuple(
        slice(found.min(initial=0), found.max(initial=0) + 1) for found in map(np.unique, np.nonzero(mask))
    )
    volume = {t: float(posteriors[n].sum(dtype=np.float64)) for n, t in enumerate(TISSUES)}
    total = sum(volume.values())
    tissue = {t: q.tissue_summary(values[box], posteriors[n][box]) for n, t in enumerate(TISSUES)}
    head, air = q.head_and_air(values, np.linalg.norm(affine[:3, :3], axis=0))
    noise = values[air]
    smoothness = q.fwhm(values[box], mask[box])
    out = {
        "cjv": q.cjv(tissue["WM"], tissue["GM"]),
        "cnr": q.cnr(tissue["WM"], tissue["GM"], float(noise.std()) if noise.size else np.nan),
        "efc": q.efc(values, head | air),
        "fber": q.fber(values, head, air),
        "fwhm_avg": float(smoothness.mean()),
        "wm2max": float(tissue["WM"]["median"] / np.percentile(values, 99.95)),
    }
    out |= {f"fwhm_{name}": float(value) for name, value in zip("xyz", smoothness, strict=True)}
    spread = q.robust_spread(noise)
    for name, found in tissue.items():
        out[f"snr_{name.lower()}"] = q.snr(found["median"], found["std"], found["n"])
        out[f"snrd_{name.lower()}"] = q.snr_dietrich(found["median"], spread)
        out[f"icvs_{name.lower()}"] = volume[name] / total if total else float("nan")
        out[f"volume_{name.lower()}_ml"] = volume[name] * millilitre
    for kind in ("snr", "snrd"):
        out[f"{kind}_total"] = float(np.mean([out[f"{kind}_{name.lower()}"] for name in TISSUES]))
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
    turned = found.get("rotation_to_template_deg")
    if isinstance(turned, float) and turned > TURNED_DEG:
        notes.append(
            f"the head lies {turned:.0f} degrees from what its header says: look at the conversion, left and right may be "
            "wrong too"
        )
    agreement = found.get("mask_agreement_dice")
    if isinstance(agreement, float) and agreement < AGREEMENT:
        notes.append(f"intensity and template disagree on the brain (Dice {agreement:.2f} < {AGREEMENT:.2f})")
    if not found["registration_correlation"] >= CORRELATION:
        notes.append(
            f"normalised T1w correlates with the template by {found['registration_correlation']:.2f} only"
        )
    return notes
