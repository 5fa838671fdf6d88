"""T1-weighted head to bias-corrected image and brain mask.

The template in the nilearn wheel has no skull, so a head cannot be registered to it: the affine stretches the brain to
the scalp. The head is therefore stripped by intensity and morphology first, the rough brain is registered to the
template brain, and the template's mask, carried back, decides where the rough mask leaked or fell short.
"""

import logging

import nibabel as nib
import numpy as np

from neurobraid.errors import InputError

log = logging.getLogger("neurobraid")

#: Grid on which head and brain are worked on, mm. Coarser images are interpolated to it: the radii below then mean the
#: same for every head.
WORK_MM = 2.0
#: Brain volumes between which a mask is plausible, mL (adult brain with inner CSF).
PLAUSIBLE_ML = (900.0, 2000.0)
#: Dice of the two masks below which the log warns.
AGREEMENT = 0.90
#: Rotations (degrees) tried between brain and template.
STARTS = ((0.0, 0.0, 0.0), (20.0, 0.0, 0.0), (-20.0, 0.0, 0.0))
#: Half turns (about x, y, z) tried where the match is worse than `UPRIGHT`: a header may have the head upside down.
HALF_TURNS = ((180.0, 0.0, 0.0), (0.0, 180.0, 0.0), (0.0, 0.0, 180.0))
#: Squared correlation with the template that an upright brain reaches. Seen: 0.95 to 0.97; half a turn off, 0.75 to 0.90.
UPRIGHT = 0.93
#: Erosions tried, mm: the least that frees the brain from the head is best.
_RADII = (2.5, 3.5, 4.5, 5.5, 7.0)
# Largest brain in mm along R, A, S; a mask beyond it has kept skull, eyes or neck.
_EXTENT = (168.0, 205.0, 175.0)
_CROP_MM = 165.0
# Between the places that sform and qform give a corner of the image, mm: below it is rounding.
_TWO_PLACES_MM = 1.0
# CSF taken along with the rough mask when it is registered, mm.
_RIM = 2.5
# The part of its volume that a freed brain keeps under one erosion more.
_LEAK = 0.88


def _warn_two_places(image, name):
    """Say by how much the header's two descriptions of the image's place differ."""
    header = image.header
    if not hasattr(header, "get_sform"):
        return
    (sform, scode), (qform, qcode) = header.get_sform(coded=True), header.get_qform(coded=True)
    if not scode or not qcode:
        return
    corners = np.argwhere(np.ones((2, 2, 2))) * (np.array(image.shape[:3]) - 1)
    apart = np.linalg.norm(corners @ (sform - qform)[:3, :3].T + (sform - qform)[:3, 3], axis=1).max()
    if apart > _TWO_PLACES_MM:
        log.warning(
            "%s: sform (code %d) and qform (code %d) disagree by up to %.1f mm: the sform is taken",
            name,
            scode,
            qcode,
            apart,
        )


def conform(image, name="T1w"):
    """Check a T1-weighted image and turn its axes to RAS, keeping the grid (no interpolation).

    Where sform and qform disagree the sform is taken, with a warning that says by how many mm.

    Parameters
    ----------
    image : nibabel image
        Three-dimensional, or four-dimensional with one volume.
    name : path-like
        For the error message.

    Returns
    -------
    nibabel.Nifti1Image
        float32, axes nearest to R, A, S.

    Raises
    ------
    InputError
        Several volumes, a constant image, or voxels that are not finite.
    """
    from neurobraid.images.io import data

    _warn_two_places(image, name)
    if image.ndim == 4 and image.shape[3] == 1:
        image = nib.Nifti1Image(data(image)[..., 0], image.affine)
    if image.ndim != 3:
        raise InputError(
            name, "shape", image.shape, "three dimensions", "give one volume (average or choose one)"
        )
    if abs(np.linalg.det(image.affine[:3, :3])) < 1e-6:
        raise InputError(name, "affine", "singular", "an invertible affine", "convert the DICOM files again")
    values = data(image)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise InputError(
            name,
            "voxel values",
            f"{bad} of {values.size} are NaN or infinite",
            "finite values",
            "convert the file again",
        )
    if values.min() == values.max():
        raise InputError(name, "voxel values", f"all {values.flat[0]:g}", "an image", "check the conversion")
    turned = nib.as_closest_canonical(nib.Nifti1Image(values, image.affine))
    return nib.Nifti1Image(np.ascontiguousarray(turned.dataobj, dtype=np.float32), turned.affine)


def to_work_grid(values, affine, mm=WORK_MM):
    """Resample to isotropic voxels along the same axes (smoothed first where voxels become larger).

    Parameters
    ----------
    values : numpy.ndarray, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    mm : float

    Returns
    -------
    numpy.ndarray, float32
        The volume.
    numpy.ndarray, (4, 4)
        Its affine.
    """
    from scipy import ndimage

    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    step = mm / zooms
    if np.allclose(step, 1, atol=1e-3):
        return np.asarray(values, np.float32), affine
    shape = np.maximum(np.ceil(np.array(values.shape) / step - 1e-6).astype(int), 1)
    # both grids share their centre
    offset = (np.array(values.shape) - 1) / 2 - (shape - 1) / 2 * step
    if step.max() > 1.001:
        values = ndimage.gaussian_filter(
            np.asarray(values, np.float32), np.where(step > 1.001, 0.4 * step, 0)
        )
    work = ndimage.affine_transform(
        np.asarray(values, np.float32), step, offset, output_shape=tuple(shape), order=1, mode="nearest"
    )
    target = affine.copy()
    target[:3, :3] = affine[:3, :3] * step
    target[:3, 3] = affine[:3, :3] @ offset + affine[:3, 3]
    return work, target


def _from_work_grid(values, work_affine, shape, affine):
    """Linear interpolation from the work grid to the native one (same axes)."""
    from scipy import ndimage

    if values.shape == tuple(shape) and np.allclose(work_affine, affine):
        return values
    to_work = np.linalg.inv(work_affine) @ affine
    return ndimage.affine_transform(
        values, np.diag(to_work)[:3], to_work[:3, 3], output_shape=tuple(shape), order=1, mode="nearest"
    )


def _finer(mask, work_affine, shape, affine):
    """The mask on the native grid.

    Interpolated as it is, every point midway between in and out would be 0.5 exactly and go to one side: on a
    grid of half the voxel size 0.2 mm of brain all around. Smoothed a little, the surface lies between voxels.
    """
    from scipy import ndimage

    if mask.shape == tuple(shape) and np.allclose(work_affine, affine):
        return mask
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), 0.7)
    return _from_work_grid(smooth, work_affine, shape, affine) > 0.5


def log_bias(values, affine, mask=None, *, mm=8.0, iterations=(30, 30)):
    """Log of the smooth intensity bias, by N4 [1]_ on a coarse copy.

    Parameters
    ----------
    values : numpy.ndarray, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    mask : numpy.ndarray of bool, optional
        Where tissue is; default Otsu's threshold. In a brain mask the field is about twice as good as in a head.
    mm : float
        Voxel size of the copy.
    iterations : tuple of int
        Per level; the spline mesh doubles from level to level.

    Returns
    -------
    numpy.ndarray, (X, Y, Z), float32
        ``values / exp(log_bias)`` is the corrected image; mean 0 in the mask.

    References
    ----------
    .. [1] Tustison NJ et al. (2010), IEEE Trans Med Imaging 29:1310-1320.
    """
    import SimpleITK as sitk

    from neurobraid.images.registration import from_sitk, to_sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    full = to_sitk(np.asarray(values, np.float32), affine)
    small, small_affine = to_work_grid(values, affine, mm)
    coarse = to_sitk(small, small_affine)
    if mask is None:
        inside = sitk.OtsuThreshold(coarse, 0, 1, 200)
    else:
        inside = to_sitk(to_work_grid(mask.astype(np.float32), affine, mm)[0] > 0.7, small_affine)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(list(iterations))
    n4.SetConvergenceThreshold(1e-7)
    n4.SetNumberOfControlPoints([4, 4, 4])
    n4.SetBiasFieldFullWidthAtHalfMaximum(0.15)
    n4.SetWienerFilterNoise(0.01)
    n4.SetNumberOfHistogramBins(200)
    # N4 takes logarithms: background at or below zero would make the whole field NaN
    floor = max(float(small.max()) * 1e-5, 1e-6)
    n4.Execute(sitk.Cast(sitk.Maximum(coarse, floor), sitk.sitkFloat32), sitk.Cast(inside, sitk.sitkUInt8))
    field = from_sitk(n4.GetLogBiasFieldAsImage(full)).astype(np.float32)
    weight = mask if mask is not None else values > np.percentile(values, 80)
    return field - np.float32(field[weight].mean() if weight.any() else 0)


def _thresholds(values, classes):
    """Otsu's thresholds between classes."""
    import SimpleITK as sitk

    line = sitk.GetImageFromArray(np.ascontiguousarray(values, np.float32).reshape(1, 1, -1))
    otsu = sitk.OtsuMultipleThresholdsImageFilter()
    otsu.SetNumberOfThresholds(classes - 1)
    otsu.SetNumberOfHistogramBins(256)
    otsu.Execute(line)
    return list(otsu.GetThresholds())


def _distance(mask, voxel):
    """Squared distance in mm2 of every voxel to the nearest one of the mask (exact; twice as fast as scipy's)."""
    import SimpleITK as sitk

    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(v) for v in voxel[::-1]])
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    square = sitk.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=True, useImageSpacing=True
    )
    return sitk.GetArrayFromImage(square)


def _grow(mask, mm, voxel):
    """Dilate by a ball."""
    return _distance(mask, voxel) <= mm * mm + 1e-3


def _shrink(mask, mm, voxel):
    """Erode by a ball; the edge of the array is no edge of the object."""
    return _distance(~mask, voxel) > mm * mm + 1e-3


def _close(mask, mm, voxel):
    """Fill sulci, fissures and ventricles up to twice ``mm`` wide."""
    from scipy import ndimage

    pad = [(int(np.ceil(mm / v)) + 1,) * 2 for v in voxel]
    grown = _grow(np.pad(mask, pad), mm, voxel)
    closed = _shrink(grown, mm, voxel)[tuple(slice(a, -b) for a, b in pad)]
    return ndimage.binary_fill_holes(closed | mask)


def _free(tissue, depth, radius, centre, voxel):
    """The piece of ``tissue`` around ``centre`` that hangs together after an erosion, grown back within tissue.

    Parameters
    ----------
    tissue : numpy.ndarray of bool
    depth : numpy.ndarray
        Squared distance to what is not tissue, mm2.
    radius : float
        mm: bridges thinner than twice this are cut.
    centre : numpy.ndarray, (3,)
        Voxel; pieces are weighed by volume and nearness to it.
    voxel : numpy.ndarray, (3,)
        mm.
    """
    from scipy import ndimage

    core = depth > radius * radius
    labels, count = ndimage.label(core)
    if count == 0:
        return core
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    largest = np.argsort(sizes)[::-1][:6] + 1
    centres = np.array(ndimage.center_of_mass(core, labels, largest))
    near = np.exp(-0.5 * (np.linalg.norm((centres - centre) * voxel, axis=1) / 40) ** 2)
    core = labels == largest[np.argmax(sizes[largest - 1] * near)]
    return _grow(core, radius + 1.0, voxel) & tissue


def upper_head(values, affine):
    """The upper 165 mm of the head: room for any brain, without most of face and neck.

    Parameters
    ----------
    values : numpy.ndarray, (X, Y, Z)
        Axes R, A, S.
    affine : numpy.ndarray, (4, 4)

    Returns
    -------
    head : numpy.ndarray of bool
        Everything that is not air.
    box : tuple of slice
        Around it, with a margin.
    """
    from scipy import ndimage

    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    head = values > 0.5 * _thresholds(values, 2)[0]
    labels, count = ndimage.label(head)
    if count == 0:
        return head, tuple(slice(0, n) for n in values.shape)
    head = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    area = head.sum((0, 1))
    top = int(np.flatnonzero(area > 0.2 * area.max())[-1])
    head[:, :, : max(0, int(top - _CROP_MM / voxel[2]))] = False
    margin = np.ceil(8.0 / voxel).astype(int)
    box = []
    for axis in range(3):
        found = np.flatnonzero(head.any(tuple({0, 1, 2} - {axis})))
        box.append(slice(max(0, int(found[0] - margin[axis])), int(found[-1] + 1 + margin[axis])))
    return head, tuple(box)


def _possible(volume, spans):
    """Whether a mask of so many mL and mm can be a brain and nothing else."""
    return volume <= 2200 and all(s <= limit for s, limit in zip(spans, _EXTENT, strict=True))


def strip_head(values, affine, head):
    """Rough brain mask of a head by intensity and morphology.

    The head is split at Otsu's thresholds into dark (bone, CSF), grey and bright (brain, muscle, fat). The bright part is eroded until the brain hangs free, the piece nearest the centre of the upper head is grown
    back and closed. The least erosion is taken that gives a brain of possible size and beyond which little
    more comes off: a bridge to muscle or scalp, once cut, takes hundreds of mL with it.

    Parameters
    ----------
    values : numpy.ndarray, (X, Y, Z)
        Roughly bias-corrected, 2 mm, axes R, A, S.
    affine : numpy.ndarray, (4, 4)
    head : numpy.ndarray of bool
        From `upper_head`.

    Returns
    -------
    mask : numpy.ndarray of bool
        Empty where nothing was found.
    tissue_threshold : float
        Between CSF and brain tissue.
    """
    from scipy import ndimage

    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    threshold = _thresholds(values[head], 3)[0]
    tissue = head & (values > threshold)
    centre = np.array(ndimage.center_of_mass(head))
    litre = np.prod(voxel) / 1000
    depth = _distance(~tissue, voxel)
    best, before = np.zeros_like(tissue), float("inf")
    for radius in _RADII:
        mask = _close(_free(tissue, depth, radius, centre, voxel), 6.0, voxel)
        volume = mask.sum() * litre
        if volume == 0:
            break
        spans = [
            np.ptp(np.flatnonzero(mask.any(tuple({0, 1, 2} - {axis})))) * voxel[axis] for axis in range(3)
        ]
        log.info("erosion %.1f mm: %.0f mL, %.0f x %.0f x %.0f mm", radius, volume, *spans)
        if volume > _LEAK * before:
            # the erosion before this one had cut all there was to cut, and this one cuts cortex
            break
        best, before = mask, volume if _possible(volume, spans) else float("inf")
    return best, float(threshold)


def refine(values, affine, rough, carried, threshold):
    """Join the rough mask and the template's mask carried to the subject.

    Outside the carried mask grown by 4 mm nothing is brain; inside it shrunk by 3 mm everything is. Between the two the
    image decides.

    Parameters
    ----------
    values : numpy.ndarray, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    rough, carried : numpy.ndarray of bool
    threshold : float
        Between CSF and tissue.

    Returns
    -------
    numpy.ndarray of bool
    """
    from scipy import ndimage

    voxel = np.linalg.norm(affine[:3, :3], axis=0)
    sure = _shrink(carried, 3.0, voxel)
    room = _grow(carried, 4.0, voxel)
    tissue = (values > threshold) & room | sure
    free = _free(tissue, _distance(~tissue, voxel), 2.5, np.array(ndimage.center_of_mass(carried)), voxel)
    hull = _close(free | sure, 6.0, voxel) & room
    # sulcal CSF belongs to the mask, but only next to tissue
    mask = hull | (carried & _grow(free, 2.5, voxel))
    mask = _grow(_shrink(mask, 2.0, voxel), 2.0, voxel)
    labels, count = ndimage.label(mask)
    if count > 1:
        mask = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return ndimage.binary_fill_holes(mask)


def dice(first, second):
    """Dice overlap of two boolean arrays, NaN where both are empty."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else float("nan")


def affine_to_template(brain, name="T1w"):
    """Affine between the template and a brain, whichever way up its header has it.

    Brain masks look alike upside down, and so do their overlaps: only the match of the intensities tells.

    Parameters
    ----------
    brain : nibabel image
        0 outside the brain.
    name : path-like
        For the warning.

    Returns
    -------
    numpy.ndarray, (4, 4)
        Template points to points of the brain, RAS mm.
    """
    from neurobraid.images.registration import register_affine
    from neurobraid.images.templates import template

    fixed = template("T1w", 2.0)
    matrix, score = register_affine(fixed, brain, metric="correlation", starts=STARTS)
    log.info("affine to template: squared correlation %.3f", score)
    if score >= UPRIGHT:
        return matrix
    best = None
    for turn in HALF_TURNS:
        found, other = register_affine(fixed, brain, metric="correlation", starts=[turn])
        log.info("half a turn %s: squared correlation %.3f", turn, other)
        if other > score + 0.01:
            matrix, score, best = found, other, turn
    if best:
        axis = "xyz"[int(np.argmax(best))]
        log.warning(
            "%s: the head lies half a turn about %s from what its header says (squared correlation with the template "
            "%.2f): look at the conversion, left and right may be wrong too",
            name,
            axis,
            score,
        )
    return matrix


def rotation_deg(matrix):
    """Angle of the rotation in an affine (its polar factor), degrees."""
    left, _, right = np.linalg.svd(np.asarray(matrix, float)[:3, :3])
    return float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))


def extract_brain(image, *, n4=True, user_mask=None, name="T1w"):
    """Bias-corrected T1w and brain mask.

    Parameters
    ----------
    image : nibabel image
        From `conform`.
    n4 : bool
        Correct the intensity bias of the image that is returned. (The stripping always works on a corrected copy.)
    user_mask : nibabel image, optional
        A brain mask made elsewhere; used as it is, on any grid.
    name : path-like
        For messages.

    Returns
    -------
    corrected : numpy.ndarray, float32
        Native grid.
    mask : numpy.ndarray of bool
        Native grid.
    quality : dict
        ``mask_source``, ``mask_agreement_dice``, ``volume_brain_mask_ml``, ``volume_brain_rough_ml``,
        ``mask_plausible``; ``affine_to_template`` (4 x 4, template points to T1w points) and
        ``rotation_to_template_deg``, where a registration was made.

    Raises
    ------
    InputError
        No brain found, or a user mask that is empty.
    """
    from neurobraid.images.io import data
    from neurobraid.images.registration import register_nonlinear
    from neurobraid.images.resample import resample_image
    from neurobraid.images.templates import template

    native, affine = np.asarray(image.dataobj, np.float32), image.affine
    values, work = to_work_grid(native, affine)
    voxel_ml = np.prod(np.linalg.norm(work[:3, :3], axis=0)) / 1000
    quality = {"mask_agreement_dice": float("nan"), "volume_brain_rough_ml": float("nan")}

    if user_mask is not None:
        mask = resample_image((data(user_mask), user_mask.affine), values.shape, work, order=1) > 0.5
        if not mask.any():
            raise InputError(
                name, "anat.mask", "no voxel inside the T1w", "a brain mask of this T1w", "check the file"
            )
        quality["mask_source"] = "user"
        field = log_bias(values, work, mask) if n4 else 0
        values = values / np.exp(field)
    else:
        field = log_bias(values, work, iterations=(25, 15))
        values = values / np.exp(field)
        # the brightest 0.2 % (vessels, fat) would pull every threshold up
        clipped = np.clip(values, 0, np.percentile(values, 99.8))
        head, box = upper_head(clipped, work)
        part, corner = clipped[box], work.copy()
        corner[:3, 3] += work[:3, :3] @ [s.start for s in box]
        rough, threshold = strip_head(part, corner, head[box])
        if rough.sum() * voxel_ml < 200:
            raise InputError(
                name,
                "brain",
                f"{rough.sum() * voxel_ml:.0f} mL found by intensity",
                "a T1w of a whole adult head or brain",
                "look at the image; give a mask (anat.mask) if it is unusual",
            )
        # The template has a rim of CSF, the rough mask has not: without one the affine shrinks the template to the
        # cortex and the mask carried back is as short as the rough one. Marrow and dura, bright, stay out.
        voxel = np.linalg.norm(corner[:3, :3], axis=0)
        rim = _grow(rough, _RIM, voxel) & (part < threshold)
        brain = nib.Nifti1Image(np.where(rough | rim, part, 0).astype(np.float32), corner)
        fixed = template("T1w", 2.0)
        matrix = affine_to_template(brain, name)
        _, back = register_nonlinear(fixed, brain, initial=matrix, quality="fast")
        carried = resample_image(template("brain", 1.0), part.shape, corner, back, order=1) > 0.5
        mask = np.zeros(values.shape, bool)
        mask[box] = refine(part, corner, rough, carried, threshold)
        quality["mask_source"] = "intensity and template"
        quality["affine_to_template"] = matrix.tolist()
        quality["rotation_to_template_deg"] = rotation_deg(matrix)
        quality["mask_agreement_dice"] = dice(rough, carried)
        quality["volume_brain_rough_ml"] = float(rough.sum() * voxel_ml)

    volume = float(mask.sum() * voxel_ml)
    plausible = PLAUSIBLE_ML[0] <= volume <= PLAUSIBLE_ML[1]
    quality |= {"volume_brain_mask_ml": volume, "mask_plausible": plausible}
    if not plausible:
        log.warning(
            "%s: brain mask of %.0f mL is outside %.0f to %.0f mL: look at it", name, volume, *PLAUSIBLE_ML
        )
    if quality["mask_agreement_dice"] < AGREEMENT:
        log.warning(
            "%s: intensity and template disagree on the brain (Dice %.2f < %.2f): look at the mask",
            name,
            quality["mask_agreement_dice"],
            AGREEMENT,
        )
    corrected = native
    if n4:
        # Once more, in the brain only: the head's fat and bone no longer bend the field.
        field += log_bias(values, work, mask)
        corrected = native / np.exp(_from_work_grid(field, work, native.shape, affine))
    mask = _finer(mask, work, native.shape, affine)
    return corrected.astype(np.float32), mask, quality
