"""Grey matter, white matter and CSF by a Gaussian mixture with spatial priors and a smooth bias."""

import logging

import numpy as np

log = logging.getLogger("neurobraid")

#: Order of the last axis of all posteriors, and the labels 1, 2, 3 of the segmentation.
TISSUES = ("GM", "WM", "CSF")
# Share of the prior that says nothing of the place: the template of a group is no law for one person.
_FLAT = 0.15
_MRF = 0.6
# Share of the second tissue in the classes of mixed voxels, and their weight against the pure ones.
_SHARES = np.array([0.125, 0.375, 0.625, 0.875])
_MIXED = 1.0
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


def _components():
    """Content of the classes in the order of `TISSUES`, (11, 3): three pure, four mixed with CSF, four with WM."""
    mixed = [
        np.outer(_SHARES, one) + np.outer(1 - _SHARES, np.eye(3)[0]) for one in (np.eye(3)[2], np.eye(3)[1])
    ]
    return np.concatenate([np.eye(3), *mixed])


def _log_prior(prior):
    """Log prior of the eleven classes from that of the three tissues, (N, 11).

    A mixture is likely where both of its tissues are: ``4 p q``, which is 1 where they are equally likely.
    """
    gm, wm, csf = prior.T
    parts = [gm, wm, csf] + [_MIXED * 4 * gm * csf / len(_SHARES)] * len(_SHARES)
    parts += [_MIXED * 4 * gm * wm / len(_SHARES)] * len(_SHARES)
    out = np.stack(parts, -1)
    return np.log(out / out.sum(-1, keepdims=True))


def _log_likelihood(values, means, variances, content):
    """(N, K): log density of each value in each class; a mixture has the mixed mean and noise."""
    mean, variance = content @ means, content**2 @ variances
    return -0.5 * ((values[:, None] - mean) ** 2 / variance + np.log(variance))


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


def _start(values, prior):
    """First means and variances of the tissues, from the prior alone."""
    means = (prior**2).T @ values / (prior**2).sum(0)
    likely = values[prior[:, 2] > min(0.5, 0.9 * prior[:, 2].max())]
    # most voxels of likely CSF hold cortex too: its own signal is that of the darker ones
    means[2] = min(means[2], np.percentile(likely, 25))
    variances = np.array(
        [((values - m) ** 2 * p).sum() / p.sum() for m, p in zip(means, prior.T, strict=True)]
    )
    return means, np.minimum(variances, (0.15 * means[1]) ** 2)


def segment(values, mask, prior, *, bias_order=3, iterations=20):
    """Share of grey matter, white matter and CSF in every voxel.

    Expectation maximisation of a mixture with spatial priors and a smooth bias that is refitted in every
    iteration [1]_ [2]_. Beside the pure tissues there are voxels that two of them share, GM with CSF and GM with WM,
    in any proportion [3]_: without them cortex at the rim of a sulcus pulls the mean of CSF up, and half of the
    sulcus with it. Then two mean-field steps of a Markov field over the six neighbours. The result is the
    expected content of a voxel: its sum over voxels is a volume.

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
    .. [3] Shattuck DW et al. (2001), NeuroImage 13:856-876.
    """
    inside = values[mask].astype(np.float32)
    if len(inside) < 100 or np.ptp(inside) == 0:
        raise ValueError(f"brain mask of {len(inside)} voxels without contrast")
    y = np.clip(inside / np.percentile(inside, 95), 0.02, 4).astype(np.float32)
    points = np.argwhere(mask)
    low, high = points.min(0), points.max(0)
    content = _components()
    # every n-th voxel is enough for six parameters and a smooth field; a fixed step keeps it reproducible
    step = max(1, len(y) // _MAX_VOXELS)
    some = slice(step // 2, None, step)
    ys, ps = y[some].astype(np.float64), _log_prior(prior[some].astype(np.float64))
    basis = _basis(points[some], low, high, bias_order) if bias_order else None
    bias = np.zeros_like(ys)
    coefficients = None
    means, variances = _start(ys, prior[some].astype(np.float64))
    for _ in range(iterations):
        x = ys * np.exp(-bias)
        post = _softmax(_log_likelihood(x, means, variances, content) + ps)
        pure = post[:, :3]
        weight = pure.sum(0) + 1e-9
        means = (pure * x[:, None]).sum(0) / weight
        variances = np.maximum((pure * (x[:, None] - means) ** 2).sum(0) / weight, (0.02 * means[1]) ** 2)
        variances[2] = min(variances[2], 2 * max(variances[:2]))
        # on T1w the order of the tissues is known
        means[2] = min(means[2], 0.86 * means[0])
        if basis is not None:
            # CSF says nothing of the coil: its range is wide and its neighbours are mixed in
            inner = post @ (content[:, 2] < 0.3)
            expected = post @ (content @ means)
            w = inner * expected**2 / (post @ (content**2 @ variances))
            residual = np.log(ys) - np.log(expected)
            left = (basis * w[:, None]).T
            ridge = 1e-3 * w.sum() * np.eye(basis.shape[1])
            coefficients = np.linalg.solve(left @ basis + ridge, left @ residual)
            bias = basis @ coefficients
    if coefficients is not None:
        y = y * np.exp(-_field(mask.shape, low, high, bias_order, coefficients)[mask])
    log.info(
        "tissue signal (share of the 95th percentile): GM %.2f +- %.2f, WM %.2f +- %.2f, CSF %.2f +- %.2f",
        *np.stack([means, np.sqrt(variances)], -1).ravel(),
    )
    content = content.astype(np.float32)
    logits = _log_likelihood(y, means.astype(np.float32), variances.astype(np.float32), content)
    # brighter than grey matter is not CSF, however wide the class
    logits[y > means[0], 2] = -30
    logits += _log_prior(prior)
    post = _softmax(logits) @ content
    for _ in range(2):
        post = _softmax(logits + _MRF * _neighbours(post, mask) @ content.T) @ content
    return post.astype(np.float32)
