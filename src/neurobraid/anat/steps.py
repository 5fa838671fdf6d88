"""The two jobs of stage anat: files in, files out."""

import logging

import numpy as np

from neurobraid.anat import brain, normalize
from neurobraid.anat.average import average
from neurobraid.anat.tissue import TISSUES
from neurobraid.files import read_json, write_json
from neurobraid.images.io import data, load, save
from neurobraid.images.templates import SPACE, grid
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

_LABELS = {str(n): name for n, name in enumerate(TISSUES, 1)}


def extract(sources, output, *, n4=True, user_mask=None):
    """Write the bias-corrected T1w in RAS and its brain mask.

    Parameters
    ----------
    sources : list of path-like
        Raw T1w; several runs of one visit are averaged first (`neurobraid.anat.average.average`).
    output : object with attributes ``t1w``, ``t1w_json``, ``mask``, ``mask_json``
        Paths. The sidecar of the mask carries how it was made and how far to trust it.
    n4 : bool
        Correct intensity non-uniformity.
    user_mask : path-like, optional
        Brain mask to use instead.

    Raises
    ------
    InputError
        See `neurobraid.anat.brain.conform` and `neurobraid.anat.brain.extract_brain`.
    """
    source, averaged = sources[0], None
    image = brain.conform(load(source), source)
    if len(sources) > 1:
        images = [image, *(brain.conform(load(path), path) for path in sources[1:])]
        image, averaged = average(images, sources)
        log.info("mean of %d of %d runs", sum(note["used"] for note in averaged), len(sources))
    given = load(user_mask) if user_mask else None
    corrected, mask, quality = brain.extract_brain(image, n4=n4, user_mask=given, name=source)
    log.info(
        "brain mask %.0f mL, agreement %.3f", quality["volume_brain_mask_ml"], quality["mask_agreement_dice"]
    )
    save(corrected, image.affine, output.t1w)
    save(mask, image.affine, output.mask, dtype=np.uint8)
    text = "T1-weighted image with axes turned to RAS" + (
        ", corrected for intensity bias by N4" if n4 else ""
    )
    more = {"Averaged": averaged} if averaged else {}
    if averaged:
        text += f", mean of {sum(note['used'] for note in averaged)} runs after rigid registration"
    write_json(
        sidecar(text + ".", sources, SkullStripped=False, BiasCorrection="N4" if n4 else "none", **more),
        output.t1w_json,
    )
    write_json(
        sidecar(
            "Brain mask with the CSF inside the skull's hull.",
            [user_mask] if user_mask else sources,
            Type="Brain",
            MaskSource=quality["mask_source"],
            AffineToTemplate=quality.pop("affine_to_template", None),
            Quality=quality,
            PlausibleVolumeMl=list(brain.PLAUSIBLE_ML),
        ),
        output.mask_json,
    )


def to_template(t1w, mask, mask_json, output, *, quality="standard", resolution=2.0, warps=None):
    """Write transforms, tissue maps in both spaces, the normalised T1w and the quality measures.

    Parameters
    ----------
    t1w, mask, mask_json : path-like
        From `extract`.
    output : object with path attributes
        ``forward``, ``inverse`` (composite transforms), ``dseg``, ``dseg_json``, ``probseg``, ``probseg_json`` (three
        each, in the order GM, WM, CSF), ``mni_t1w``, ``mni_t1w_json``, ``mni_mask``, ``mni_mask_json``,
        ``mni_probseg``, ``mni_probseg_json``, ``qc``.
    quality : {'fast', 'standard', 'high'}
    resolution : float
        Voxel edge in template space, mm.
    """
    from neurobraid.images.resample import grid_points, sample
    from neurobraid.images.transforms import apply_affine, write_warp

    image = load(t1w)
    values, affine = data(image), image.affine
    inside = data(load(mask), bool)
    about_mask = read_json(mask_json)
    initial = about_mask.get("AffineToTemplate")
    forward, inverse = warps or normalize.normalize(
        values, affine, inside, quality=quality, initial=None if initial is None else np.array(initial)
    )
    posteriors = normalize.tissues(values, affine, inside, inverse)
    segmentation = normalize.labels(posteriors, inside)
    write_warp(forward, output.forward)
    write_warp(inverse, output.inverse)

    common = {"SpatialReference": "orig", "Resolution": "that of the T1w"}
    save(segmentation, affine, output.dseg, dtype=np.uint8)
    write_json(
        sidecar("Most probable tissue.", [t1w, mask], Manual=False, LabelMap=_LABELS, **common),
        output.dseg_json,
    )
    for n, tissue in enumerate(TISSUES):
        save(posteriors[n], affine, output.probseg[n])
        text = f"Posterior probability of {tissue}: Gaussian mixture with the warped template as prior, voxels shared by two tissues included."
        write_json(
            sidecar(text, [t1w, mask], Manual=False, LabelMap=tissue, **common), output.probseg_json[n]
        )

    # one set of points for all images: each is interpolated once, straight from the T1w grid
    shape, target = grid(resolution)
    ijk = apply_affine(np.linalg.inv(affine), forward.apply(grid_points(shape, target)))
    normalised = np.maximum(sample(values, ijk, 3), 0).reshape(shape)
    common = {"SpatialReference": SPACE, "Resolution": f"{resolution:g} mm isotropic", "Quality": quality}
    save(normalised, target, output.mni_t1w)
    write_json(
        sidecar(
            "T1w in template space, one cubic interpolation.",
            [t1w, output.forward],
            SkullStripped=False,
            **common,
        ),
        output.mni_t1w_json,
    )
    mni_mask = (sample(inside.astype(np.float32), ijk, 1) > 0.5).reshape(shape)
    save(mni_mask, target, output.mni_mask, dtype=np.uint8)
    write_json(
        sidecar("Brain mask in template space.", [mask, output.forward], Type="Brain", **common),
        output.mni_mask_json,
    )
    for n, tissue in enumerate(TISSUES):
        save(sample(posteriors[n], ijk, 1).reshape(shape), target, output.mni_probseg[n])
        write_json(
            sidecar(
                f"Posterior probability of {tissue} in template space, one linear interpolation.",
                [output.probseg[n], output.forward],
                Manual=False,
                LabelMap=tissue,
                **common,
            ),
            output.mni_probseg_json[n],
        )

    found = dict(about_mask.get("Quality", {}))
    found |= normalize.measures(values, affine, segmentation, posteriors)
    found["registration_correlation"] = normalize.correlation(normalised * mni_mask, resolution)
    found["registration_quality"] = quality
    found["registration_through"] = "mean of the sessions" if warps else "the T1w itself"
    found["warnings"] = normalize.warnings_of(found)
    for text in found["warnings"]:
        log.warning("%s", text)
    write_json(found, output.qc)
