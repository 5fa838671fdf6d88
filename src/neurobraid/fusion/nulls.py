"""Surrogate maps that keep the spatial smoothness of a map: the null against which two brain maps are compared.

Neighbouring regions have similar values, so two unrelated smooth maps correlate by chance far more often than the
textbook p says (Markello & Misic 2021, NeuroImage 236:118052). Every function here takes a map (R,) and returns
surrogates (M, R).
"""

import numba
import numpy as np

#: Pairs of regions beyond which the variogram is taken from a random part of them.
MOST_PAIRS = 200_000
#: Neighbours that a variogram-matched surrogate is smoothed over at most.
MOST_NEIGHBOURS = 1000
#: Shares of all regions that a surrogate is smoothed over; the best one is taken.
SHARES = (0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
#: MNI152 from MNI305 (fsaverage), as published with FreeSurfer.
MNI305_TO_152 = np.array(
    [
        [0.9975, -0.0073, 0.0176, -0.0429],
        [0.0146, 1.0009, -0.0024, 1.5496],
        [-0.0130, -0.0093, 0.9971, 1.1840],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def distances(points):
    """Euclidean distances (mm) between all pairs of points (R, 3)."""
    points = np.asarray(points, dtype=np.float64)
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))


def moran_basis(distance):
    """Moran eigenvectors of inverse-distance weights.

    Parameters
    ----------
    distance : numpy.ndarray, (R, R)
        Distance between regions, mm; symmetric, zero only on the diagonal.

    Returns
    -------
    numpy.ndarray, (R, R - 1)
        Orthonormal maps of mean zero, from the smoothest to the roughest.

    Raises
    ------
    ValueError
        Two regions have the same place.
    """
    distance = np.asarray(distance, dtype=np.float64)
    off = ~np.eye(len(distance), dtype=bool)
    if (distance[off] <= 0).any():
        raise ValueError("two regions have the same place: distances between regions must be positive")
    weights = np.zeros_like(distance)
    weights[off] = 1.0 / distance[off]
    weights = (weights + weights.T) / 2
    centred = weights - weights.mean(0) - weights.mean(1)[:, None] + weights.mean()
    values, vectors = np.linalg.eigh(centred)
    # the constant map is the one eigenvector that is no deviation from the mean
    constant = np.argmax(np.abs(vectors.sum(0)))
    order = [n for n in np.argsort(values)[::-1] if n != constant]
    vectors = vectors[:, order] - vectors[:, order].mean(0)
    return vectors / np.linalg.norm(vectors, axis=0)


def moran_surrogates(values, basis, count, seed=0):
    """Moran spectral randomisation, singleton procedure (Wagner & Dray 2015, Methods Ecol Evol 6:1169).

    The sign of the map's share in every Moran eigenvector is drawn anew: mean, variance and Moran's I stay exactly.

    Parameters
    ----------
    values : numpy.ndarray, (R,)
        Finite.
    basis : numpy.ndarray, (R, K)
        From `moran_basis`.
    count : int
    seed : int

    Returns
    -------
    numpy.ndarray, (count, R)
    """
    values = np.asarray(values, dtype=np.float64)
    share = basis.T @ (values - values.mean())
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(count, len(share)))
    return values.mean() + (signs * share) @ basis.T


@numba.njit(cache=True, nogil=True)
def _variogram(values, first, second, weights):
    out = np.zeros(weights.shape[1])
    for p in range(first.size):
        step = values[first[p]] - values[second[p]]
        half = 0.5 * step * step
        for h in range(out.size):
            out[h] += weights[p, h] * half
    return out


@numba.njit(cache=True, nogil=True)
def _smooth(values, neighbours, weights, out):
    for r in range(out.size):
        total = 0.0
        for k in range(weights.shape[1]):
            total += weights[r, k] * values[neighbours[r, k]]
        out[r] = total


class Variogram:
    """Variogram-matched surrogates (Burt et al. 2020, NeuroImage 220:117038).

    A permuted map is smoothed over a share of each region's neighbours; the share and a mixture with white noise are
    chosen so that the variogram of the surrogate fits that of the map.

    Parameters
    ----------
    distance : numpy.ndarray, (R, R)
        mm.
    shares : sequence of float
        Shares of the regions to smooth over.
    bins : int
        Distances at which the variogram is taken.
    reach : float
        The longest of them, as a percentile of all distances.
    seed : int
        Choice of pairs where there are more than `MOST_PAIRS`.
    """

    def __init__(self, distance, *, shares=SHARES, bins=25, reach=25.0, seed=0):
        distance = np.asarray(distance, dtype=np.float64)
        count = len(distance)
        first, second = np.triu_indices(count, 1)
        apart = distance[first, second]
        longest = np.percentile(apart, reach)
        kept = np.flatnonzero(apart <= longest)
        if kept.size > MOST_PAIRS:
            kept = np.sort(np.random.default_rng(seed).choice(kept, MOST_PAIRS, replace=False))
        self.first, self.second = first[kept], second[kept]
        at = np.linspace(apart[kept].min(), longest, bins)
        width = 3.0 * (at[1] - at[0])
        # Gaussian whose quartiles lie a quarter of the width from its centre, as in the paper
        weights = np.exp(-((2.68 * (apart[kept, None] - at)) ** 2) / (2 * width**2))
        self.weights = weights / np.maximum(weights.sum(0), np.finfo(float).tiny)
        near = np.argsort(distance, axis=1, kind="stable")[:, : min(count, MOST_NEIGHBOURS + 1)]
        self.neighbours = np.ascontiguousarray(near)
        ranked = np.take_along_axis(distance, near, axis=1)
        self.kernels = []
        for share in shares:
            size = min(max(int(share * count), 2), near.shape[1])
            kernel = np.exp(-ranked[:, :size] / ranked[:, size - 1 : size])
            self.kernels.append(np.ascontiguousarray(kernel / kernel.sum(1, keepdims=True)))

    def of(self, values):
        """Semivariance of a map (R,) at the distances, (bins,)."""
        return _variogram(np.asarray(values, np.float64), self.first, self.second, self.weights)

    def surrogates(self, values, count, seed=0, *, ranked=False):
        """Draw surrogates of a map.

        Parameters
        ----------
        values : numpy.ndarray, (R,)
            Finite.
        count : int
        seed : int
        ranked : bool
            Give the surrogate the map's own values in the surrogate's order: the distribution is kept exactly, the
            variogram less well.

        Returns
        -------
        numpy.ndarray, (count, R)
        """
        values = np.asarray(values, dtype=np.float64)
        middle = values.mean()
        values = values - middle
        rng = np.random.default_rng(seed)
        target, ordered = self.of(values), np.sort(values)
        out, smooth = np.empty((count, values.size)), np.empty(values.size)
        for number in range(count):
            shuffled, best = rng.permutation(values), (np.inf, None)
            for kernel in self.kernels:
                _smooth(shuffled, self.neighbours, kernel, smooth)
                found = self.of(smooth)
                spread = found - found.mean()
                power = spread @ spread
                slope = spread @ (target - target.mean()) / power if power > 0 else 0.0
                start = target.mean() - slope * found.mean()
                # neither part of the mixture can have a negative variance
                if slope <= 0:
                    slope, start = 0.0, target.mean()
                elif start < 0:
                    slope, start = (found @ target) / (found @ found), 0.0
                error = ((target - start - slope * found) ** 2).sum()
                if error < best[0]:
                    best = (error, np.sqrt(slope) * smooth, np.sqrt(start))
            drawn = best[1] + best[2] * rng.standard_normal(values.size)
            if ranked:
                drawn = ordered[np.argsort(np.argsort(drawn))]
            out[number] = drawn + middle
        return out


def surface_parcels(labels, affine, table):
    """Give every vertex of fsaverage5 the region of a volume atlas that it lies in.

    Parameters
    ----------
    labels : numpy.ndarray of int, (X, Y, Z)
        Atlas in MNI152 space.
    affine : numpy.ndarray, (4, 4)
    table : pandas.DataFrame
        Column index.

    Returns
    -------
    dict of str to numpy.ndarray
        ``left`` and ``right``: place of the region in `table` for each of 10,242 vertices, -1 for none: the most
        frequent region between the white surface and the pial surface.
    """
    from nilearn.datasets import load_fsaverage

    from neurobraid.images.resample import sample
    from neurobraid.images.transforms import apply_affine

    meshes = load_fsaverage("fsaverage5")
    place = {int(value): number for number, value in enumerate(table["index"])}
    inverse = np.linalg.inv(affine) @ MNI305_TO_152
    found = {}
    for side in ("left", "right"):
        pial, white = (meshes[name].parts[side].coordinates for name in ("pial", "white_matter"))
        layers = []
        for depth in (0.1, 0.3, 0.5, 0.7, 0.9):
            points = apply_affine(inverse, np.asarray(white + depth * (pial - white), np.float64))
            layer = np.rint(sample(np.asarray(labels, np.float32), points, order=0)).astype(int)
            layers.append([place.get(value, -1) for value in layer])
        layers = np.array(layers)
        votes = np.stack([(layers == layer).sum(0) * (layer >= 0) for layer in layers])
        found[side] = np.take_along_axis(layers, votes.argmax(0)[None], 0)[0]
    return found


def on_surface(parcels, count):
    """Which of `count` regions have a vertex on the surface, (count,) bool; see `surface_parcels`."""
    return np.isin(np.arange(count), np.concatenate(list(parcels.values())))


def spin_surrogates(values, parcels, count, seed=0, *, spheres=None):
    """Spins: the cortex of both hemispheres is rotated on its sphere, the right as the mirror of the left.

    Every region takes the mean of the vertices that come to lie in it (Alexander-Bloch et al. 2018, NeuroImage 178:540;
    for regions Cornblath et al. 2020, Commun Biol 3:590). A vertex of the medial wall carries no value.

    Parameters
    ----------
    values : numpy.ndarray, (R,)
    parcels : dict of str to numpy.ndarray of int, (V,)
        Region of every vertex of ``left`` and ``right``, -1 for none.
    count : int
    seed : int
    spheres : dict of str to numpy.ndarray, (V, 3), optional
        Vertices on the sphere; default fsaverage5.

    Returns
    -------
    numpy.ndarray, (count, R)
        NaN for a region without a vertex, or on which only the medial wall fell.
    """
    from scipy.spatial import cKDTree
    from scipy.spatial.transform import Rotation

    if spheres is None:
        from nilearn.datasets import load_fsaverage

        mesh = load_fsaverage("fsaverage5")["sphere"]
        spheres = {side: np.asarray(mesh.parts[side].coordinates, np.float64) for side in ("left", "right")}
    values = np.asarray(values, dtype=np.float64)
    # four normal numbers are a quaternion of a rotation drawn evenly from all
    turns = Rotation.from_quat(np.random.default_rng(seed).standard_normal((count, 4))).as_matrix()
    mirror = np.diag([-1.0, 1.0, 1.0])
    total, hits = np.zeros((count, values.size)), np.zeros((count, values.size))
    for side, region in parcels.items():
        points = spheres[side] / np.linalg.norm(spheres[side], axis=1, keepdims=True)
        tree = cKDTree(points)
        inside = np.flatnonzero(region >= 0)
        own = np.where(region >= 0, values[region], np.nan)
        for number, turn in enumerate(turns):
            turned = mirror @ turn @ mirror if side == "right" else turn
            brought = own[tree.query(points[inside] @ turned)[1]]
            good = np.isfinite(brought)
            where = region[inside][good]
            total[number] += np.bincount(where, brought[good], values.size)
            hits[number] += np.bincount(where, minlength=values.size)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(hits > 0, total / hits, np.nan)


#: Kinds of surrogates.
NULLS = ("moran", "variogram", "spin")


def surrogate_maps(values, null, count, seed=0, *, points=None, parcels=None):
    """Surrogates of a map of which some regions may lack a value.

    Parameters
    ----------
    values : numpy.ndarray, (R,)
        NaN where a region has no value.
    null : {'moran', 'variogram', 'spin'}
    count, seed : int
    points : numpy.ndarray, (R, 3)
        Centres of the regions, mm; for all but spins.
    parcels : dict, optional
        From `surface_parcels`, for spins.

    Returns
    -------
    numpy.ndarray, (count, R)
        NaN where `values` has none; of a spin, also where only the medial wall fell on a region.

    Raises
    ------
    ValueError
        An unknown null, or spins without parcels.
    """
    values = np.asarray(values, dtype=np.float64)
    kept = np.isfinite(values)
    out = np.full((count, values.size), np.nan)
    if null == "spin":
        if parcels is None:
            raise ValueError("spins need the regions on fsaverage5 (surface_parcels)")
        out[:, kept] = spin_surrogates(values, parcels, count, seed)[:, kept]
        return out
    if null not in NULLS:
        raise ValueError(f"null is {null!r}; allowed: {', '.join(NULLS)}")
    apart = distances(np.asarray(points)[kept])
    if null == "moran":
        out[:, kept] = moran_surrogates(values[kept], moran_basis(apart), count, seed)
    else:
        out[:, kept] = Variogram(apart).surrogates(values[kept], count, seed)
    return out
