"""Anatomy taken over from fMRIPrep: the same outputs as our own, in our template space.

fMRIPrep normalises to MNI152NLin2009cAsym. That template and ours (MNI152NLin2009aSym) are averages of the same people,
yet not the same image. The difference is estimated in every participant: the brain that fMRIPrep normalised is registered
to our template, and the transform found is put before fMRIPrep's own. Images are interpolated once, from the T1w grid.
"""

import logging

import nibabel as nib
import numpy as np

from neurobraid.anat import brain, normalize
from neurobraid.anat.tissue import TISSUES
from neurobraid.bids.fmriprep import TEMPLATE, read_version
from neurobraid.errors import InputError
from neurobraid.files import write_json
from neurobraid.images import templates
from neurobraid.images.compose import compose, compose_inverse, follow
from neurobraid.images.io import data, load, save
from neurobraid.images.resample import grid_points, resample_image, sample
from neurobraid.images.transforms import apply_affine, read_warp, write_warp
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

#: Displacement between the templates that is more than they differ by, mm: fMRIPrep's normalisation is then in doubt.
LARGE_MM = 6.0
_LABELS = {str(n): name for n, name in enumerate(TISSUES, 1)}


def read_matching(path, image, name):
    """Read an image that must lie on the grid of another, turned to the same axes.

    Parameters
    ----------
    path : path-like
    image : nibabel image
        On disk, before its axes were turned.
    name : path-like
        Of `image`, for the message.

    Returns
    -------
    numpy.ndarray, (X, Y, Z), float32
        Axes nearest to R, A, S; not finite values are 0.

    Raises
    ------
    InputError
        Another grid.
    """
    other = load(path)
    if other.shape[:3] != image.shape[:3] or not np.allclose(other.affine, image.affine, atol=1e-3):
        raise InputError(
            path, "grid", other.shape[:3], f"that of {name} {image.shape[:3]}",
            "take all files from one run of fMRIPrep",
        )  # fmt: skip
    values = data(other).reshape(other.shape[:3])
    turned = nib.as_closest_canonical(nib.Nifti1Image(np.nan_to_num(values), other.affine))
    return np.ascontiguousarray(turned.dataobj, dtype=np.float32)


def template_correction(values, affine, mask, to_t1w, *, quality="fast"):
    """What separates fMRIPrep's template from ours, seen in one normalised brain.

    Parameters
    ----------
    values : numpy.ndarray, (X, Y, Z)
        T1w.
    affine : numpy.ndarray, (4, 4)
    mask : numpy.ndarray of bool
        Brain.
    to_t1w : Warp
        fMRIPrep's ``from-T1w_to-MNI152NLin2009cAsym``: template points to T1w points.
    quality : {'fast', 'standard'}
        See `neurobraid.images.registration.register_nonlinear`.

    Returns
    -------
    forward : Warp
        ``from-MNI152NLin2009cAsym_to-MNI152NLin2009aSym``: points of our template to points of fMRIPrep's.
    inverse : Warp
    """
    from neurobraid.images.registration import register_affine, register_nonlinear

    fixed = templates.template("T1w", 2.0)
    # both template spaces have ICBM152 millimetres, so our grid holds the other one's brain
    moving = resample_image((np.where(mask, values, 0), affine), fixed.shape, fixed.affine, to_t1w, order=1)
    moving = nib.Nifti1Image(np.maximum(moving, 0), fixed.affine)
    if not np.asarray(moving.dataobj).any():
        raise InputError(
            "fMRIPrep's transform", "brain", "outside the template", "the brain on the template",
            f"check that from-T1w_to-{TEMPLATE} belongs to this T1w",
        )  # fmt: skip
    matrix, _ = register_affine(
        fixed, moving, metric="correlation", starts=((0.0, 0.0, 0.0),), initial=np.eye(4)
    )
    return register_nonlinear(fixed, moving, initial=matrix, quality=quality)


def _field_grid(resolution=2.0, margin=6):
    """Our template's grid and some voxels around it: the cerebellum of many people reaches below the template's edge."""
    shape, affine = templates.grid(resolution)
    affine = affine.copy()
    affine[:3, 3] -= margin * resolution
    return tuple(n + 2 * margin for n in shape), affine


def adopt(files, output, *, resolution=2.0, quality="fast"):
    """Write fMRIPrep's anatomy of one T1w under our names, in our template space too.

    Parameters
    ----------
    files : mapping of str to path-like
        ``t1w``, ``mask``, ``gm``, ``wm``, ``csf`` on the T1w grid; ``forward`` and ``inverse``, fMRIPrep's composite
        transforms from T1w to MNI152NLin2009cAsym and back; ``description``, its ``dataset_description.json``.
    output : object with path attributes
        Those of `neurobraid.anat.steps.extract` and `neurobraid.anat.steps.to_template`, and ``correction``, the transform
        between the templates.
    resolution : float
        Voxel edge in template space, mm.
    quality : {'fast', 'standard'}
        Of the registration between the templates.

    Raises
    ------
    InputError
        Grids disagree, or the transform does not carry the brain onto the template.

    Notes
    -----
    Labels of ``dseg`` follow the largest of the three probabilities, because their numbers in fMRIPrep's own ``dseg``
    depend on its version.
    """
    from pathlib import Path

    maker = f"fMRIPrep {read_version(Path(files['description']).parent)}"
    raw = load(files["t1w"])
    image = brain.conform(raw, files["t1w"])
    values, affine = data(image), image.affine
    inside = read_matching(files["mask"], raw, files["t1w"]) > 0.5
    if not inside.any():
        raise InputError(files["mask"], "voxels", "all 0", "a brain", "run fMRIPrep again")
    posteriors = np.stack(
        [np.clip(read_matching(files[tissue.lower()], raw, files["t1w"]), 0, 1) for tissue in TISSUES]
    )
    segmentation = np.where(posteriors.max(0) > 0, normalize.labels(posteriors, inside), 0).astype(np.uint8)

    to_t1w, from_t1w = read_warp(files["forward"]), read_warp(files["inverse"])
    correction, back = template_correction(values, affine, inside, to_t1w, quality=quality)
    shape, target = _field_grid()
    matrix = to_t1w.matrix @ correction.matrix
    forward = compose([correction, to_t1w], shape, target, matrix)
    inverse = compose_inverse([from_t1w, back], shape, target, np.linalg.inv(matrix))
    write_warp(correction, output.correction)
    write_warp(forward, output.forward)
    write_warp(inverse, output.inverse)

    made = {"PreprocessedBy": maker}
    native = {**made, "SpatialReference": "orig", "Resolution": "that of the T1w"}
    save(values, affine, output.t1w)
    about = "T1-weighted image preprocessed by fMRIPrep, axes turned to RAS without interpolation."
    write_json(sidecar(about, [files["t1w"]], SkullStripped=False, **made), output.t1w_json)
    save(inside, affine, output.mask, dtype=np.uint8)
    about = "Brain mask of fMRIPrep, axes turned to RAS."
    write_json(sidecar(about, [files["mask"]], Type="Brain", MaskSource=maker, **made), output.mask_json)
    save(segmentation, affine, output.dseg, dtype=np.uint8)
    maps = [files[tissue.lower()] for tissue in TISSUES]
    about = "Most probable tissue after fMRIPrep's probability maps."
    write_json(sidecar(about, maps, Manual=False, LabelMap=_LABELS, **native), output.dseg_json)
    for n, tissue in enumerate(TISSUES):
        save(posteriors[n], affine, output.probseg[n])
        about = f"Probability of {tissue} from fMRIPrep, axes turned to RAS."
        write_json(sidecar(about, [maps[n]], Manual=False, LabelMap=tissue, **native), output.probseg_json[n])

    shape, target = templates.grid(resolution)
    ijk = apply_affine(np.linalg.inv(affine), forward.apply(grid_points(shape, target)))
    common = {
        **made,
        "SpatialReference": templates.SPACE,
        "Resolution": f"{resolution:g} mm isotropic",
        "Normalisation": f"fMRIPrep's to {TEMPLATE}, after a registration of that space to {templates.SPACE} "
        f"({quality}) estimated in this participant; one interpolation",
    }
    normalised = np.maximum(sample(values, ijk, 3), 0).reshape(shape)
    save(normalised, target, output.mni_t1w)
    about = "T1w of fMRIPrep in our template space, one cubic interpolation."
    write_json(
        sidecar(about, [files["t1w"], output.forward], SkullStripped=False, **common), output.mni_t1w_json
    )
    mni_mask = (sample(inside.astype(np.float32), ijk, 1) > 0.5).reshape(shape)
    save(mni_mask, target, output.mni_mask, dtype=np.uint8)
    about = "Brain mask of fMRIPrep in our template space."
    write_json(sidecar(about, [files["mask"], output.forward], Type="Brain", **common), output.mni_mask_json)
    for n, tissue in enumerate(TISSUES):
        save(sample(posteriors[n], ijk, 1).reshape(shape), target, output.mni_probseg[n])
        about = f"Probability of {tissue} from fMRIPrep in our template space, one linear interpolation."
        write_json(
            sidecar(about, [maps[n], output.forward], Manual=False, LabelMap=tissue, **common),
            output.mni_probseg_json[n],
        )
    found = _quality(values, affine, inside, segmentation, posteriors, maker)
    found |= _distances(inside, affine, forward, inverse, correction, to_t1w)
    found["registration_correlation"] = normalize.correlation(normalised * mni_mask, resolution)
    found["registration_quality"] = maker
    found["warnings"] = normalize.warnings_of(found)
    if found["template_correction_mean_mm"] > LARGE_MM:
        found["warnings"].append(
            f"fMRIPrep's normalised brain lies {found['template_correction_mean_mm']:.1f} mm off our template on average; "
            "the templates differ by less"
        )
    for text in found["warnings"]:
        log.warning("%s", text)
    write_json(found, output.qc)


def _quality(values, affine, inside, segmentation, posteriors, maker):
    """Numbers of the quality file that need no template."""
    volume = float(inside.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)
    return {
        "mask_source": maker,
        "volume_brain_mask_ml": volume,
        "mask_plausible": bool(brain.PLAUSIBLE_ML[0] <= volume <= brain.PLAUSIBLE_ML[1]),
        **normalize.measures(values, affine, segmentation, posteriors),
    }


def _distances(inside, affine, forward, inverse, correction, to_t1w):
    """How far the templates lie apart in this brain, and what the stored transforms lose; mm.

    Parameters
    ----------
    inside : numpy.ndarray of bool
        Brain on the T1w grid.
    affine : numpy.ndarray, (4, 4)
    forward, inverse, correction, to_t1w : Warp

    Returns
    -------
    dict
        ``template_correction_mean_mm`` and ``_max_mm``: shift between the templates; ``composition_error_mm``: distance
        of the stored forward transform from the exact chain, 99th percentile; ``inverse_error_mm``: mean distance of a point from
        itself after there and back.
    """
    spots = np.argwhere(inside)
    spots = spots[:: max(1, len(spots) // 20000)]
    t1w = apply_affine(affine, spots)
    points = inverse.apply(t1w)
    shift = np.linalg.norm(correction.apply(points) - points, axis=1)
    chain = follow(points, [correction, to_t1w])
    stored = forward.apply(points)
    return {
        "template_correction_mean_mm": float(shift.mean()),
        "template_correction_max_mm": float(shift.max()),
        "composition_error_mm": float(np.percentile(np.linalg.norm(stored - chain, axis=1), 99)),
        "inverse_error_mm": float(np.linalg.norm(stored - t1w, axis=1).mean()),
    }
