"""The field map of a BOLD run: from phase images or a direct map to Hz on the grid of the run's reference.

Between two echo times the phase of a gradient echo grows by ``2 pi f dTE`` where the field is off by ``f`` Hz. Phase is known
up to whole turns; they are restored along the most reliable neighbours first [1]_.

References
----------
.. [1] Abdul-Rahman HS et al. (2007), Appl Opt 46:6623-6635.
"""

import logging
import re

import numpy as np
from numba import njit

from neurobraid.bold.distortion import phase_axis, undistort, voxel_shift
from neurobraid.errors import InputError
from neurobraid.files import read_json, write_json
from neurobraid.images.io import data, load, save
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

GAMMA_HZ_PER_T = 42.577478518e6  # proton, CODATA 2018
#: Units of a direct field map, and how many Hz one of them is.
UNITS = {"Hz": 1.0, "rad/s": 1.0 / (2.0 * np.pi), "T": GAMMA_HZ_PER_T}
#: What a method is called in reports.
METHODS = {
    "phasediff": "phase difference",
    "phase1phase2": "two phase images",
    "direct": "direct field map",
    "fieldmapless": "fieldmap-less registration",
}

# lowest and highest value, radians per unit, value that is no phase: Siemens as stored, Siemens as rescaled, 12 bits
# signed, thousandths of a radian (GE, Philips)
_SCANNER_RANGES = (
    (0.0, 4095.0, np.pi / 2048.0, 2048.0),
    (-2048.0, 2047.0, np.pi / 2048.0, 0.0),
    (-3142.0, 3142.0, 1e-3, 0.0),
    (-4096.0, 4095.0, np.pi / 4096.0, 0.0),
)
_COVERED = 0.8  # share of a scanner's range that an image must fill to be known by it
_LIMIT_MM, _LIMIT_DEG = 20.0, 20.0  # a field map of the same session lies nearer than this
_WIDER_MM = 8.0  # the head reaches further than its distorted image
_FWHM_MM = 3.0


def merged(sidecars, suffix=None):
    """Content of JSON files, later ones over earlier ones.

    Parameters
    ----------
    sidecars : iterable of path-like
    suffix : str, optional
        Only files whose name ends in ``suffix.json``, for example ``phasediff``.

    Returns
    -------
    dict
    """
    content = {}
    for path in sidecars:
        if suffix is None or re.search(rf"(^|[/_]){suffix}\.json$", str(path)):
            content.update(read_json(path))
    return content


def readout_time(metadata, shape):
    """``TotalReadoutTime`` of a run in s, or what follows from the echo spacing.

    Parameters
    ----------
    metadata : mapping
        Sidecar of the BOLD run, with ``PhaseEncodingDirection``.
    shape : tuple of int
        Of the BOLD image.

    Returns
    -------
    float
        ``EffectiveEchoSpacing * (ReconMatrixPE - 1)`` where it is not given (BIDS); the length of the phase-encoding axis
        stands in for ``ReconMatrixPE``.

    Raises
    ------
    InputError
        Neither is known, or the direction is none.
    """
    try:
        axis, _ = phase_axis(metadata.get("PhaseEncodingDirection"))
    except ValueError:
        raise InputError(
            "BOLD sidecar", "PhaseEncodingDirection", repr(metadata.get("PhaseEncodingDirection")),
            "i, j, k, i-, j-, k-", "add the direction of the scan protocol",
        ) from None  # fmt: skip
    if metadata.get("TotalReadoutTime"):
        return float(metadata["TotalReadoutTime"])
    if metadata.get("EffectiveEchoSpacing"):
        lines = int(metadata.get("ReconMatrixPE") or shape[axis])
        return float(metadata["EffectiveEchoSpacing"]) * (lines - 1)
    raise InputError(
        "BOLD sidecar", "TotalReadoutTime", "missing", "seconds, above 0", "add it, or EffectiveEchoSpacing"
    )


def to_radians(values, name, *, units=None, manufacturer=None):
    """Phase in radians, whatever the scanner wrote.

    Parameters
    ----------
    values : (X, Y, Z) array
        NaN is allowed.
    name : str
        How messages call the image.
    units : str, optional
        ``Units`` of its sidecar. Radians are also known by their range: more than half a turn, not more than one.
    manufacturer : str, optional
        Known to be Siemens, an image need not fill the scanner's range.

    Returns
    -------
    (X, Y, Z) float32 array
        Not wrapped anew: values beyond one turn stay.

    Raises
    ------
    InputError
        Neither the unit nor the range is one that is known: 0 to 4095, -4096 to 4094, -2048 to 2047 (one turn each), or
        thousandths of a radian.
    """
    values = np.asarray(values, np.float32)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    span = high - low
    one_turn = span <= 2.0 * np.pi * 1.001 and max(-low, high) <= 2.0 * np.pi * 1.001
    if (one_turn and (span > np.pi or (units == "rad" and span > 0))) or (units == "rad" and 0 < span < 100):
        return values
    siemens = "siemens" in str(manufacturer).lower() and span > 100
    ranges = sorted(_SCANNER_RANGES, key=lambda known: known[1] - known[0])
    for least, most, scale, zero in ranges:
        if least - 1 <= low and high <= most + 1 and span >= (0 if siemens else _COVERED) * (most - least):
            if siemens and scale == 1e-3:
                continue
            if units == "rad":
                log.warning("%s: Units is rad, but the values run from %g to %g", name, low, high)
            return ((values - np.float32(zero)) * np.float32(scale)).astype(np.float32)
    found = f"{units if units else 'missing'}, and the values run from {low:g} to {high:g}"
    allowed = "rad, or one turn as 0 to 4095, -4096 to 4094, -2048 to 2047, or thousandths of a radian"
    raise InputError(name, "Units", found, allowed, "convert the image to radians and write Units: rad")


@njit(nogil=True, cache=True)
def _wrap(angle):
    return angle - 2.0 * np.pi * np.floor(angle / (2.0 * np.pi) + 0.5)


@njit(nogil=True, cache=True)
def _roughness(phase, mask, out):
    """Sum of the squared second differences along the three axes; the highest value where a neighbour is missing."""
    nx, ny, nz = phase.shape
    for i in range(nx):
        for j in range(ny):
            for k in range(nz):
                if not mask[i, j, k]:
                    continue
                total = 0.0
                for axis in range(3):
                    a, b, c = i - (axis == 0), j - (axis == 1), k - (axis == 2)
                    d, e, f = i + (axis == 0), j + (axis == 1), k + (axis == 2)
                    if (
                        a < 0
                        or b < 0
                        or c < 0
                        or d >= nx
                        or e >= ny
                        or f >= nz
                        or not mask[a, b, c]
                        or not mask[d, e, f]
                    ):
                        total += 4.0 * np.pi**2
                    else:
                        bend = _wrap(phase[a, b, c] - phase[i, j, k]) - _wrap(phase[i, j, k] - phase[d, e, f])
                        total += bend * bend
                out[i, j, k] = total


@njit(nogil=True, cache=True)
def _find(parent, turns, node):
    """Root of a node, and the turns from the node to it; the path is shortened."""
    root, total = node, 0
    while parent[root] != root:
        total += turns[root]
        root = parent[root]
    left = total
    while parent[node] != root and parent[node] != node:
        step, after = turns[node], parent[node]
        parent[node], turns[node] = root, left
        left -= step
        node = after
    return root, total


@njit(nogil=True, cache=True)
def _join(first, second, jump, count):
    """Whole turns of every voxel, neighbours joined in the order given (groups with weighted union)."""
    parent, turns, size = np.arange(count), np.zeros(count, np.int64), np.ones(count, np.int64)
    for edge in range(len(first)):
        a, turns_a = _find(parent, turns, first[edge])
        b, turns_b = _find(parent, turns, second[edge])
        if a == b:
            continue
        step = turns_a + jump[edge] - turns_b
        if size[a] >= size[b]:
            parent[b], turns[b] = a, step
            size[a] += size[b]
        else:
            parent[a], turns[a] = b, -step
            size[b] += size[a]
    out = np.empty(count, np.int64)
    for node in range(count):
        _, out[node] = _find(parent, turns, node)
    return out


def unwrap(phase, mask):
    """Restore the whole turns of a wrapped phase image, the most reliable neighbours first.

    Neighbours are joined in the order of their second differences, so that errors of noisy regions do not spread into
    good ones (Abdul-Rahman et al. 2007). The result differs from the input by whole turns only.

    Parameters
    ----------
    phase : (X, Y, Z) array
        Radians.
    mask : (X, Y, Z) bool array
        Only these voxels; separate pieces are unwrapped each by itself.

    Returns
    -------
    (X, Y, Z) float64 array
        Radians, 0 outside the mask; up to whole turns common to each piece.
    """
    mask = np.ascontiguousarray(mask, bool)
    phase = np.ascontiguousarray(np.where(mask, phase, 0.0), np.float64)
    rough = np.zeros(phase.shape)
    _roughness(phase, mask, rough)
    number = np.full(phase.shape, -1, np.int64)
    number[mask] = np.arange(np.count_nonzero(mask))
    firsts, seconds, jumps, costs = [], [], [], []
    for axis in range(3):
        a = tuple(slice(None, -1) if n == axis else slice(None) for n in range(3))
        b = tuple(slice(1, None) if n == axis else slice(None) for n in range(3))
        both = mask[a] & mask[b]
        firsts.append(number[a][both])
        seconds.append(number[b][both])
        jumps.append(np.rint((phase[a][both] - phase[b][both]) / (2.0 * np.pi)).astype(np.int64))
        costs.append(rough[a][both] + rough[b][both])
    order = np.argsort(np.concatenate(costs), kind="stable")
    edges = [np.concatenate(parts)[order] for parts in (firsts, seconds, jumps)]
    out = np.zeros(phase.shape)
    out[mask] = phase[mask] + 2.0 * np.pi * _join(*edges, int(np.count_nonzero(mask)))
    return out


def smooth_field(field, weight, zooms, *, fwhm=_FWHM_MM):
    """Smooth a field inside its mask and continue it smoothly outside.

    Each voxel takes the weighted mean around it (normalised convolution, Knutsson & Westin 1993); wider and wider Gaussians,
    each with a hundredth of the say of the one before, fill what lies beyond the reach of the narrower ones.

    Parameters
    ----------
    field : (X, Y, Z) array
    weight : (X, Y, Z) array
        0 outside the mask; inverse noise variance inside, up to a factor.
    zooms : (3,) array
        Voxel edges, mm.
    fwhm : float
        Full width at half maximum inside the mask, mm.

    Returns
    -------
    (X, Y, Z) float32 array
    """
    from scipy import ndimage

    weight = np.asarray(weight, np.float64)
    weight = weight / max(float(weight.max()), 1e-30)
    product = np.where(weight > 0, field, 0.0) * weight
    over, under, share = 0.0, 0.0, 1.0
    sigma = np.asarray(fwhm / 2.3548 / np.asarray(zooms, float))
    for step in range(6):
        wide = sigma * 2.0**step
        over = over + share * ndimage.gaussian_filter(product, wide, mode="constant", truncate=4.0)
        under = under + share * ndimage.gaussian_filter(weight, wide, mode="constant", truncate=4.0)
        share *= 0.01
    level = float(product.sum() / max(weight.sum(), 1e-30))
    return ((over + 1e-16 * level) / (under + 1e-16)).astype(np.float32)


def echo_times(metadata, kind):
    """Echo times of a field map.

    Parameters
    ----------
    metadata : dict of str to mapping
        Sidecar of each image by suffix.
    kind : {'phasediff', 'phase1phase2'}

    Returns
    -------
    (float, float)
        s. ``EchoTime1`` and ``EchoTime2`` of ``phasediff`` (else ``EchoTime`` of the magnitude images), shorter first; ``EchoTime``
        of ``phase1`` and ``phase2``, as they are.

    Raises
    ------
    InputError
        Missing, equal, or no seconds.
    """
    if kind == "phasediff":
        places = [("phasediff", "EchoTime1", "magnitude1"), ("phasediff", "EchoTime2", "magnitude2")]
    else:
        places = [("phase1", "EchoTime", "magnitude1"), ("phase2", "EchoTime", "magnitude2")]
    times = []
    for suffix, key, other in places:
        value = metadata.get(suffix, {}).get(key, metadata.get(other, {}).get("EchoTime"))
        name, fix = f"{suffix} sidecar", "add the echo time of the scan protocol"
        if value is None:
            raise InputError(name, key, "missing", "seconds", fix)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise InputError(name, key, repr(value), "seconds, above 0 and below 1", fix)
        times.append(float(value))
    if times[0] == times[1]:
        found = f"{times[1]!r}, the same as the first echo"
        raise InputError(
            f"{places[1][0]} sidecar", places[1][1], found, "two different echo times", "correct it"
        )
    return tuple(sorted(times)) if kind == "phasediff" else tuple(times)


def read_images(paths):
    """Images of a field map by suffix, on one grid.

    Parameters
    ----------
    paths : iterable of path-like
        Names end in the suffix: ``…_phasediff.nii.gz``.

    Returns
    -------
    images : dict of str to (X, Y, Z) float32 array
    affine : (4, 4) array

    Raises
    ------
    InputError
        An image is not 3D, or another has a different grid.
    """
    from neurobraid.images.transforms import corners

    images, affine, first = {}, None, None
    for path in paths:
        image = load(path)
        values = data(image)
        shape = " x ".join(map(str, values.shape))
        if values.ndim > 3 and values.shape[3:] == (1,) * (values.ndim - 3):
            values = values.reshape(values.shape[:3])
        if values.ndim != 3:
            raise InputError(path, "dimensions", shape, "3D", "give one 3D image per file")
        if affine is None:
            affine, first = np.asarray(image.affine, float), values.shape
        elif values.shape != first:
            wanted = " x ".join(map(str, first))
            raise InputError(path, "dimensions", shape, wanted, "give the images of one acquisition")
        elif np.abs(corners(first, image.affine) - corners(first, affine)).max() > 1.0:
            raise InputError(
                path, "position", "more than 1 mm elsewhere", "one grid for all images of a field map",
                "give the images of one acquisition",
            )  # fmt: skip
        suffix = re.search(r"([A-Za-z0-9]+)\.nii(\.gz)?$", str(path)).group(1)
        images[suffix] = values
    return images, affine


def largest_piece(mask):
    """The largest connected piece of a mask (six neighbours)."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    return mask if count < 2 else labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))


def signal_mask(brain, magnitude, zooms):
    """Where a field map can be believed: near the brain and with signal.

    Parameters
    ----------
    brain : (X, Y, Z) bool array
        Brain of the (distorted) BOLD reference, on the grid of the field map.
    magnitude : (X, Y, Z) array or None
        None: the brain alone.
    zooms : (3,) array
        mm.

    Returns
    -------
    (X, Y, Z) bool array
        One connected piece.
    """
    from scipy import ndimage

    if magnitude is None or not brain.any():
        return largest_piece(brain)
    distance = ndimage.distance_transform_edt(~brain, sampling=zooms)
    even = ndimage.gaussian_filter(magnitude, 0.5)
    floor = 0.2 * float(np.median(even[brain]))
    return largest_piece((distance < _WIDER_MM) & (even > floor) & np.isfinite(magnitude))


def phase_to_hz(phase, mask, brain, seconds):
    """Field in Hz from a wrapped phase difference.

    Parameters
    ----------
    phase : (X, Y, Z) array
        Radians.
    mask, brain : (X, Y, Z) bool arrays
        Where to unwrap, and where the whole turns common to all voxels are taken from.
    seconds : float
        Difference of the echo times.

    Returns
    -------
    hz : (X, Y, Z) float64 array
    good : (X, Y, Z) bool array
        `mask` without voxels that differ by more than half a turn from the median of their neighbours.
    turns : int
        Common turns that were taken off, so that the brain's median is within half a turn of zero. A shift that is less than
        that is part of the field and stays.
    """
    from scipy import ndimage

    flat = unwrap(phase, mask)
    inside = mask & brain if (mask & brain).any() else mask
    turns = int(np.rint(np.median(flat[inside]) / (2.0 * np.pi)))
    flat = np.where(mask, flat - 2.0 * np.pi * turns, 0.0)
    around = ndimage.median_filter(np.where(mask, flat, np.median(flat[inside])), size=3)
    good = mask & (np.abs(flat - around) < np.pi)
    return flat / (2.0 * np.pi * seconds), good, turns


def field_in_hz(kind, images, metadata, mask, brain, name):
    """Field in Hz on the grid of the field map, where it was measured.

    Parameters
    ----------
    kind : {'phasediff', 'phase1phase2', 'direct'}
    images : dict of str to (X, Y, Z) array
        By suffix.
    metadata : dict of str to mapping
        Sidecars by suffix.
    mask, brain : (X, Y, Z) bool arrays
        See `phase_to_hz`.
    name : str
        How messages call the field map.

    Returns
    -------
    hz : (X, Y, Z) array
    good : (X, Y, Z) bool array
    facts : dict
        For the sidecar.

    Raises
    ------
    InputError
        Units or echo times that are not known.
    """
    if kind == "direct":
        units = metadata["fieldmap"].get("Units")
        if units not in UNITS:
            found = "missing" if units is None else repr(units)
            fix = "write the unit the map really has; it is never guessed"
            raise InputError(name, "Units", found, ", ".join(UNITS), fix)
        values = np.asarray(images["fieldmap"], np.float64) * UNITS[units]
        good = (
            mask & np.isfinite(values) & (values != 0)
        )  # zeros are how masked maps say that they do not know
        return np.where(good, values, 0.0), good, {"FieldmapUnits": units}
    times = echo_times(metadata, kind)

    def radians(suffix):
        meta = metadata.get(suffix, {})
        return to_radians(
            images[suffix],
            f"{name} ({suffix})",
            units=meta.get("Units"),
            manufacturer=meta.get("Manufacturer"),
        )

    if kind == "phasediff":
        phase = radians("phasediff")
    else:
        # a difference of two wrapped angles is an angle again: taken on the circle
        phase = np.angle(np.exp(1j * (radians("phase2").astype(np.float64) - radians("phase1"))))
    known = mask & np.isfinite(phase)
    wrapped = np.angle(np.exp(1j * np.where(known, phase, 0.0).astype(np.float64)))
    hz, good, turns = phase_to_hz(wrapped, largest_piece(known), brain, times[1] - times[0])
    return hz, good, {"FieldmapEchoTimes": list(times), "RemovedTurns": turns}


def place(reference, affine, mask, magnitude, magnitude_affine, start=None):
    """Rigid position of the field map relative to the BOLD reference.

    Parameters
    ----------
    reference, mask : (X, Y, Z) arrays
        BOLD reference and its brain.
    affine : (4, 4) array
    magnitude : (X', Y', Z') array
    magnitude_affine : (4, 4) array
    start : (4, 4) array, optional
        Else the headers and the centres of mass are tried.

    Returns
    -------
    matrix : (4, 4) array
        Points of the BOLD reference to points of the field map.
    score : float
        Mutual information, nats; NaN where the registration was refused and the headers are trusted.
    """
    import nibabel as nib
    from scipy import ndimage

    from neurobraid.bold.reference import brain_mask
    from neurobraid.images.registration import register_rigid
    from neurobraid.images.rigid import displacement
    from neurobraid.images.transforms import apply_affine

    zooms = np.sqrt((magnitude_affine[:3, :3] ** 2).sum(axis=0))
    wide = ndimage.binary_dilation(mask, iterations=2)
    fixed = nib.Nifti1Image(np.where(wide, reference, 0).astype(np.float32), affine)
    moving = np.nan_to_num(np.asarray(magnitude, np.float32))
    brain = ndimage.binary_dilation(brain_mask(moving, zooms), iterations=2)
    moving = nib.Nifti1Image(np.where(brain, moving, 0).astype(np.float32), magnitude_affine)
    points = apply_affine(affine, np.argwhere(mask))
    try:
        matrix, score = register_rigid(
            fixed, moving, fixed_mask=wide.astype(np.uint8), initial=start, starts=((0.0, 0.0, 0.0),)
        )
    except ValueError as error:
        log.warning("the field map could not be registered (%s): its header is trusted", error)
        return np.eye(4), float("nan")
    far, angle = displacement(matrix[None], np.eye(4)[None], points)
    if far[0] > _LIMIT_MM or angle[0] > _LIMIT_DEG:
        log.warning(
            "the registration moved the field map by %.0f mm and %.0f degrees: its header is trusted",
            far[0],
            angle[0],
        )
        return np.eye(4), float("nan")
    return matrix, float(score)


def on_grid(values, affine, shape, target, matrix):
    """Resample a smooth field; beyond its grid it keeps the value of the edge.

    Parameters
    ----------
    values : (X', Y', Z') array
    affine : (4, 4) array
        Its grid.
    shape : tuple of int
    target : (4, 4) array
        Grid wanted.
    matrix : (4, 4) array
        Points of the target to points of the field.

    Returns
    -------
    array of `shape`, float32
    """
    from neurobraid.images.resample import grid_points, sample
    from neurobraid.images.transforms import apply_affine

    ijk = apply_affine(np.linalg.inv(affine) @ matrix, grid_points(shape, target))
    ijk = np.clip(ijk, 0.0, np.array(values.shape, float) - 1.0)
    return sample(values, ijk, 3).reshape(shape[:3])


def measured_field(
    kind, paths, sidecars, reference, affine, mask, readout_s, direction, *, fwhm=_FWHM_MM, modulate=True
):
    """Field of a BOLD run from its field map.

    The magnitude image is registered to the distorted reference, and once more to the reference without its distortion, which
    the distortion no longer pulls away.

    Parameters
    ----------
    kind : {'phasediff', 'phase1phase2', 'direct'}
    paths, sidecars : iterable of path-like
        Images and JSON files of the field map; each JSON belongs to the image of its suffix.
    reference : (X, Y, Z) array
        BOLD reference, distorted.
    affine : (4, 4) array
    mask : (X, Y, Z) bool array
        Its brain.
    readout_s : float
        ``TotalReadoutTime``, s.
    direction : str
        ``PhaseEncodingDirection``.
    fwhm : float
        Smoothing of the field, mm.
    modulate : bool
        For the second registration.

    Returns
    -------
    hz : (X, Y, Z) float32 array
        On the grid of the reference.
    facts : dict
        For the sidecar.

    Raises
    ------
    InputError
        See `read_images`, `to_radians`, `echo_times`, `field_in_hz`.
    """
    from neurobraid.images.resample import resample_image
    from neurobraid.images.rigid import displacement
    from neurobraid.images.transforms import apply_affine

    images, own = read_images(paths)
    name = str(paths[0]).rpartition("/")[2]
    metadata = {suffix: merged(sidecars, suffix) for suffix in images}
    zooms = np.sqrt((own[:3, :3] ** 2).sum(axis=0))
    magnitudes = [np.nan_to_num(v) for s, v in images.items() if s.startswith("magnitude")]
    magnitude = np.sqrt(np.mean(np.square(magnitudes, dtype=np.float64), axis=0)) if magnitudes else None
    shape = next(iter(images.values())).shape
    matrix, score, hz, facts = np.eye(4), float("nan"), None, {}
    seen = np.asarray(reference, np.float32)
    for turn in range(2 if magnitude is not None else 1):
        if magnitude is not None:
            if turn:
                seen = undistort(reference, affine, hz, readout_s, direction, modulate=modulate)
            matrix, score = place(seen, affine, mask, magnitude, own, matrix if turn else None)
        brain = resample_image((mask.astype(np.float32), affine), shape, own, np.linalg.inv(matrix)) > 0.5
        if not brain.any():
            raise InputError(
                name, "position", "no overlap with the BOLD run", "the same head", "check both headers"
            )
        believed = signal_mask(brain, magnitude, zooms)
        measured, good, facts = field_in_hz(kind, images, metadata, believed, brain, name)
        if not good.any():
            raise InputError(
                name, "voxel values", "no field inside the brain", "a field map", "check the image"
            )
        weight = good.astype(np.float64)
        if magnitude is not None:
            weight *= (magnitude / np.median(magnitude[believed])).clip(0.0, 2.0) ** 2
        smooth = smooth_field(measured, weight, zooms, fwhm=fwhm)
        hz = on_grid(smooth, own, reference.shape, affine, matrix)
    points = apply_affine(affine, np.argwhere(mask))
    moved, angle = displacement(matrix[None], np.eye(4)[None], points)
    facts |= {
        "RegistrationScore": score,
        "FieldmapMoved": {"mm": float(moved[0]), "degrees": float(angle[0])},
        "SmoothingFWHM": fwhm,
    }
    return hz, facts


def write_fieldmap(
    method, boldref, mask, sidecars, outputs, *, paths=(), fieldmap_sidecars=(), anatomy=None, modulate=True
):
    """Estimate the field of one BOLD run by any method and write it.

    Parameters
    ----------
    method : str
        A key of `METHODS`.
    boldref, mask : path-like
        Reference of the run on its raw grid, and its brain mask.
    sidecars : list of path-like
        JSON files of the BOLD run, in inheritance order.
    outputs : dict of str to path-like
        ``fieldmap``, ``fieldmap_json``.
    paths, fieldmap_sidecars : list of path-like
        See `measured_field`.
    anatomy : dict of str to path-like, optional
        ``t1w``, ``brain_mask``, ``gm``, ``wm``, ``csf`` for the method without field map.
    modulate : bool
        Whether images undistorted by this field are corrected in brightness.

    Raises
    ------
    InputError
        See `readout_time` and `measured_field`.
    """
    from neurobraid.bold.fieldmapless import estimate

    image = load(boldref)
    reference, affine = data(image), np.asarray(image.affine, float)
    brain = data(load(mask)) > 0.5
    metadata = merged(sidecars)
    readout_s, direction = readout_time(metadata, reference.shape), metadata["PhaseEncodingDirection"]
    if method == "fieldmapless":
        maps = {name: load(path) for name, path in anatomy.items()}
        hz, facts = estimate(reference, affine, brain, maps, readout_s, direction, modulate=modulate)
        used = list(anatomy.values())
    else:
        hz, facts = measured_field(
            method,
            paths,
            fieldmap_sidecars,
            reference,
            affine,
            brain,
            readout_s,
            direction,
            modulate=modulate,
        )
        used = [*paths, *fieldmap_sidecars]
    shift = np.abs(voxel_shift(hz, readout_s, direction)[brain])
    step = float(np.linalg.norm(affine[:3, phase_axis(direction)[0]]))
    numbers = {
        "MaximumShiftVoxels": float(shift.max()),
        "MedianAbsoluteShiftMm": float(np.median(shift) * step),
    }
    log.info(
        "%s: shift up to %.2f voxels, median %.2f mm",
        METHODS[method],
        numbers["MaximumShiftVoxels"],
        numbers["MedianAbsoluteShiftMm"],
    )
    save(hz, affine, outputs["fieldmap"])
    description = sidecar(
        "Off-resonance of the run on the grid of its reference", [boldref, mask, *sidecars, *used],
        Method=METHODS[method], Units="Hz", TotalReadoutTime=readout_s, PhaseEncodingDirection=direction,
        Modulated=modulate, **numbers, **facts,
    )  # fmt: skip
    write_json(description, outputs["fieldmap_json"])
