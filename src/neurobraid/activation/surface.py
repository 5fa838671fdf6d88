"""First level on the cortical surface: series on fsaverage5, the same model, fixed effects over runs."""

import nibabel as nib
import numpy as np

from neurobraid.activation import first_level, glm, statsmodel, transforms
from neurobraid.activation.fixed import combine
from neurobraid.activation.maps import STATS, UNITS
from neurobraid.files import atomic, read_json, write_json
from neurobraid.images.io import data, load
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

MESH = "fsaverage5"
HEMISPHERES = {"L": "left", "R": "right"}
SAMPLES = 5
"""Places between white and pial surface that are averaged."""
COVERED = 0.5
"""A vertex counts where at least this part of its samples lies in the brain mask of the run."""
ROUND_VARIANCE = 3 / 7
"""Variance that averaging a vertex with its six neighbours adds along each direction, in squared edges."""
FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
SMOOTHING_NOTE = (
    "along the surface, rounds of averaging with neighbours (Hagler et al. 2006, NeuroImage 33:1093)"
)


def load_mesh(hemisphere):
    """White and pial surface of fsaverage5, which comes with nilearn.

    Parameters
    ----------
    hemisphere : {'L', 'R'}

    Returns
    -------
    white, pial : numpy.ndarray, (V, 3)
        mm, MNI space.
    faces : numpy.ndarray of int, (F, 3)
    """
    from nilearn.datasets import load_fsaverage

    meshes = load_fsaverage(MESH)
    white, pial = (meshes[kind].parts[HEMISPHERES[hemisphere]] for kind in ("white_matter", "pial"))
    return np.asarray(white.coordinates), np.asarray(pial.coordinates), np.asarray(pial.faces)


def sample(volumes, mask, affine, white, pial):
    """Mean of a series between white and pial surface, inside the brain mask.

    Parameters
    ----------
    volumes : numpy.ndarray, (X, Y, Z, T)
    mask : numpy.ndarray of bool, (X, Y, Z)
    affine : numpy.ndarray, (4, 4)
    white, pial : numpy.ndarray, (V, 3)
        mm.

    Returns
    -------
    series : numpy.ndarray, (T, V), float32
        0 where too few samples lie in the mask (`COVERED`).
    covered : numpy.ndarray of bool, (V,)
    """
    from scipy import sparse

    shape = np.array(volumes.shape[:3])
    inverse = np.linalg.inv(affine)
    weights = sparse.csr_matrix((len(white), int(shape.prod())))
    inside = np.zeros(len(white))
    for depth in np.linspace(0, 1, SAMPLES):
        points = (white + depth * (pial - white)) @ inverse[:3, :3].T + inverse[:3, 3]
        low = np.floor(points).astype(int)
        part = points - low
        for corner in np.ndindex(2, 2, 2):
            place = low + corner
            weight = np.prod(np.where(corner, part, 1 - part), axis=1)
            good = ((place >= 0) & (place < shape)).all(1)
            flat = np.ravel_multi_index(np.where(good[:, None], place, 0).T, tuple(shape))
            weight = np.where(good & mask.ravel()[flat], weight, 0.0)
            rows = np.arange(len(white))
            weights = weights + sparse.csr_matrix((weight, (rows, flat)), shape=weights.shape)
            inside += weight
    covered = inside >= COVERED * SAMPLES
    scale = sparse.diags(np.where(covered, 1.0 / np.maximum(inside, 1e-12), 0.0))
    flat = volumes.reshape(-1, volumes.shape[3])
    return np.ascontiguousarray((scale @ weights @ flat).T.astype(np.float32)), covered


def smooth(series, covered, points, faces, fwhm_mm):
    """Smooth along the surface by rounds of averaging with neighbours, never across the edge of what is covered.

    Parameters
    ----------
    series : numpy.ndarray, (T, V)
    covered : numpy.ndarray of bool, (V,)
    points : numpy.ndarray, (V, 3)
        mm; of the surface between white and pial.
    faces : numpy.ndarray of int, (F, 3)
    fwhm_mm : float

    Returns
    -------
    numpy.ndarray, (T, V), float32
    """
    from scipy import sparse

    if not fwhm_mm:
        return series
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1).mean()
    # variances add up; each round moves as much as is needed to meet the width exactly
    wanted = (fwhm_mm / FWHM_PER_SIGMA) ** 2 / (ROUND_VARIANCE * length**2)
    rounds = int(np.ceil(wanted))
    share = np.float32(wanted / rounds)
    count = series.shape[1]
    links = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count)).tocsr()
    links = ((links + links.T) > 0).astype(np.float32) + sparse.eye(count, dtype=np.float32)
    keep = sparse.diags(covered.astype(np.float32))
    links = keep @ links @ keep
    total = np.asarray(links.sum(1)).ravel()
    step = sparse.diags(np.where(total > 0, 1.0 / np.maximum(total, 1e-12), 0.0).astype(np.float32)) @ links
    values = np.ascontiguousarray(series.T)
    for _ in range(rounds):
        values = (1 - share) * values + share * (step @ values)
    return np.ascontiguousarray(values.T)


def write_gifti(values, path):
    """Write a map of one hemisphere as GIFTI, the same bytes for the same values.

    Parameters
    ----------
    values : numpy.ndarray, (V,)
    path : path-like
        ``*.func.gii``.
    """
    array = nib.gifti.GiftiDataArray(np.asarray(values, np.float32), intent="NIFTI_INTENT_NONE")
    image = nib.gifti.GiftiImage(darrays=[array])
    with atomic(path) as temporary:
        temporary.write_bytes(image.to_bytes(mode="strict"))


def run_effects(bold, mask, metadata, confounds, events, model, settings, hemisphere):
    """Model one run on one hemisphere.

    Parameters
    ----------
    bold, mask, metadata, confounds, events : path-like
    model : dict
        Stats Model.
    settings : dict
        See `transforms.settings_of`.
    hemisphere : {'L', 'R'}

    Returns
    -------
    effect, variance : numpy.ndarray, (C, V)
        t contrasts; 0 where not covered.
    dof : int
    """
    chosen = transforms.settings_of(model, settings)
    node = statsmodel.node_at(model, "run")
    tr, start = first_level.timing(read_json(metadata), metadata)
    image = load(bold)
    order = glm.noise_order(chosen["noise_model"], tr)
    design, _, part = first_level.run_design(
        node,
        events,
        confounds,
        image.shape[3],
        tr,
        start,
        chosen["drift"],
        chosen["high_pass_hz"],
        chosen["scrub"],
    )
    wanted = [c for c in statsmodel.plans(model)[0].contrasts if c["test"] == "t"]
    vectors, _, _ = first_level.contrast_rows(design, part.task, wanted)
    white, pial, faces = load_mesh(hemisphere)
    series, covered = sample(
        np.asarray(data(image), np.float32), data(load(mask)) > 0.5, image.affine, white, pial
    )
    covered &= (series.mean(0) > 0) & (np.ptp(series, axis=0) > 0)
    series = smooth(series, covered, (white + pial) / 2, faces, chosen["smoothing_mm"])
    fitted = glm.fit(
        first_level.percent(series[:, covered]), design.to_numpy(), vectors, f"ar{order}" if order else "ols"
    )
    effect, variance = (np.zeros((len(vectors), len(covered))) for _ in range(2))
    effect[:, covered], variance[:, covered] = fitted.effect, fitted.variance
    return effect, variance, fitted.dof


def run(inputs, outputs, model, **settings):
    """Model all runs of a participant on the surface and write fixed effects.

    Parameters
    ----------
    inputs : object with attributes bold, mask, metadata, confounds, events
        Lists with one file per run.
    outputs : object with attributes maps, sidecar
        maps: contrast by contrast, hemisphere L then R, statistics as in `maps.STATS`.
    model : dict
        Stats Model.
    **settings
        noise_model, smoothing_mm, high_pass_hz, drift, scrub of the config.
    """
    names = [c["name"] for c in statsmodel.plans(model)[0].contrasts if c["test"] == "t"]
    columns = (inputs.bold, inputs.mask, inputs.metadata, inputs.confounds, inputs.events)
    runs = list(zip(*(list(c) for c in columns), strict=True))
    found, covered = {}, {}
    for hemisphere in HEMISPHERES:
        parts = [run_effects(*files, model, settings, hemisphere) for files in runs]
        *values, _ = combine(
            *(np.stack([part[k] for part in parts]) for k in range(2)), [p[2] for p in parts]
        )
        for row, name in enumerate(names):
            found[name, hemisphere] = [v[row] for v in values]
        covered[hemisphere] = float((values[1] > 0).all(0).mean()) if names else 0.0
        log.info("hemisphere %s: %.0f %% of vertices covered", hemisphere, 100 * covered[hemisphere])
    every = [v for name in names for hemisphere in HEMISPHERES for v in found[name, hemisphere]]
    for values, path in zip(every, outputs.maps, strict=True):
        write_gifti(values, path)
    write_json(
        sidecar(
            "Fixed effects over runs on the cortical surface.", list(inputs.bold), Mesh=MESH, Statistics=list(STATS),
            Units=UNITS, CoveredVertices=covered, SamplesBetweenWhiteAndPial=SAMPLES, NumberOfRuns=len(runs),
            SmoothingFWHMmm=transforms.settings_of(model, settings)["smoothing_mm"], SmoothingNote=SMOOTHING_NOTE,
        ),
        outputs.sidecar,
    )  # fmt: skip
