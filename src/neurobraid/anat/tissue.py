"""Grey matter, white matter and CSF by a Gaussian mixture with spatial priors and a smooth bias."""

import logging

import numpy as np

log = logging.getLogger("neurobraid")

#: Order of the last axis of all posteriors, and the labels 1, 2, 3 of the segmentation.
TISSUES = ("GM", "WM", "CSF")
# Share of the prior that says nothing of the place: the template of a group is no law for one person.
_FLAT = 0.15
_MRF = 0.35
_MAX_VOXELS = 30_000


def priors(gm, wm, mask):
    """Prior probabilities of the three tissues from warped template maps.

    Parameters
    ----------
    gm, wm : numpy.ndarray, (X, Y, Z)
        Probability, 0 to 1.
    mask : numpy.ndarray of bool

    Returns
    -------
    numpy.ndarray, (N, 3), float32
        For the N voxels of `mask` in C order; rows sum to 1. Order as `TISSUES`.
    """
    gm, wm = np.clip(gm[mask], 0, 1), np.clip(wm[mask], 0, 1)
    maps = np.stack([gm, wm, np.clip(1 - gm - wm, 0, 1)], -1).astype(np.float32)
    maps /= maps.sum(-1, keepdims=True)
    return (1 - _FLAT) * maps + _FLAT / 3


def _cosines(coordinates, low, high, order):
    """Cosines 0 to `order` over ``low`` to ``high``, (N, order + 1)."""
    scaled = (np.asarray(coordinates, np.float64) - low) / max(high - low, 1e-6)
    return np.cos(np.pi * scaled[:, None] * np.arange(order + 1))


def _basis(points, low, high, order):
    """Products of cosines along the three axes at some points, without the constant, (N, K)."""
    axes = [_cosines(points[:, a], low[a], high[a], order) for a in range(3)]
    return np.einsum("ni,nj,nk->nijk", *axes).reshape(len(points), -1)[:, 1:]


def _field(shape, low, high, order, coefficients):
    """The same sum of cosines on a whole grid, axis by axis, (X, Y, Z), float32."""
    cube = np.concatenate([[0.0], coefficients]).reshape((order + 1,) * 3)
    for axis in range(3):
        cosines = _cosines(np.arange(shape[axis]), low[axis], high[axis], order)
        cube = np.moveaxis(np.tensordot(cosines, cube, (1, axis)), 0, axis)
    return cube.astype(np.float32)


def _log_likelihood(values, means, variances):
    """(N, 3): log density of each value in each class."""
    return -0.5 * ((values[:, None] - means) ** 2 / variances + np.log(variances))


def _softmax(logits):
    logits = np.exp(logits - logits.max(-1, keepdims=True))
    return logits / logits.sum(-1, keepdims=True)


def _neighbours(post, mask):
    """Mean posterior of the six neighbours (those outside the mask count as 0), (N, 3)."""
    out = np.empty_like(post)
    volume = np.zeros(np.array(mask.shape) + 2, np.float32)
    core = volume[1:-1, 1:-1, 1:-1]
    for tissue in range(post.shape[1]):
        core[mask] = post[:, tissue]
        total = (
            volume[:-2, 1:-1, 1:-1]
            + volume[2:, 1:-1, 1:-1]
            + volume[1:-1, :-2, 1:-1]
            + volume[1:-1, 2:, 1:-1]
            + volume[1:-1, 1:-1, :-2]
            + volume[1:-1, 1:-1, 2:]
        )
        out[:, tissue] = total[mask]
    return out


def segment(values, mask, prior, *, bias_order=3, iterations=12):
    """Posterior probability of grey matter, white matter and CSF.

    Expectation maximisation of three Gaussians on log intensity, with spatial priors and a smooth bias that is refitted
    in every iteration [1]_ [2]_; then two mean-field steps of a Markov field over the six neighbours.

    Parameters
    ----------
    values : numpy.ndarray, (X, Y, Z)
        T1-weighted.
    mask : numpy.ndarray of bool
        Brain.
    prior : numpy.ndarray, (N, 3)
        From `priors`.
    bias_order : int
        Cosines per axis of what bias N4 has left; 0: none.
    iterations : int

    Returns
    -------
    numpy.ndarray, (N, 3), float32
        For the voxels of `mask`; rows sum to 1. Order as `TISSUES`.

    Raises
    ------
    ValueError
        Fewer than 100 voxels, or no contrast.

    References
    ----------
    .. [1] Van Leemput K et al. (1999), IEEE Trans Med Imaging 18:885-896.
    .. [2] Ashburner J, Friston KJ (2005), NeuroImage 26:839-851.
    """
    inside = values[mask].astype(np.float32)
    if len(inside) < 100 or np.ptp(inside) == 0:
        raise ValueError(f"brain mask of {len(inside)} voxels without contrast")
    scale = np.percentile(inside, 95)
    y = np.log(np.clip(inside / scale, 0.02, 4)).astype(np.float32)
    points = np.argwhere(mask)
    low, high = points.min(0), points.max(0)
    # every n-th voxel is enough for nine parameters and a smooth field; a fixed step keeps it reproducible
    step = max(1, len(y) // _MAX_VOXELS)
    some = slice(step // 2, None, step)
    ys, ps = y[some].astype(np.float64), np.log(prior[some].astype(np.float64))
    basis = _basis(points[some], low, high, bias_order) if bias_order else None
    post = prior[some].astype(np.float64)
    bias = np.zeros_like(ys)
    coefficients = None
    for _ in range(iterations):
        x = ys - bias
        weight = post.sum(0)
        means = (post * x[:, None]).sum(0) / weight
        variances = np.maximum((post * (x[:, None] - means) ** 2).sum(0) / weight, 1e-3)
        # on T1w the order of the tissues is known; CSF must not creep into the dark side of grey matter
        means[2] = min(means[2], means[0] - 0.15)
        post = _softmax(_log_likelihood(x, means, variances) + ps)
        if basis is not None:
            # CSF says nothing of the coil: its range is wide and its neighbours are mixed in
            precision = post[:, :2] / variances[:2]
            w = precision.sum(1)
            residual = ys - (precision @ means[:2]) / np.maximum(w, 1e-12)
            left = (basis * w[:, None]).T
            ridge = 1e-3 * w.sum() * np.eye(basis.shape[1])
            coefficients = np.linalg.solve(left @ basis + ridge, left @ residual)
            bias = basis @ coefficients
    if coefficients is not None:
        y = y - _field(mask.shape, low, high, bias_order, coefficients)[mask]
    log.info("tissue means (log of 95th percentile): GM %.2f, WM %.2f, CSF %.2f", *means)
    logits = _log_likelihood(y.astype(np.float32), means.astype(np.float32), variances.astype(np.float32))
    # brighter than white matter is not CSF, however wide the class
    logits[y > means[0], 2] = -30
    logits += np.log(prior)
    post = _softmax(logits)
    for _ in range(2):
        post = _softmax(logits + _MRF * _neighbours(post, mask))
    return post.astype(np.float32)
