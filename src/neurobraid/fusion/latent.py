"""Latent fusion: what several modalities have in common over people, as transformers that are fitted inside a fold.

Every class takes one matrix (N, P) whose columns are blocks, one per modality, and is a scikit-learn transformer: means,
scales and weights come from the rows given to ``fit`` alone. `describe` turns any of them into an analysis with
permutation, bootstrap, split halves and held-out correlation: an in-sample correlation says nothing by itself (100 people
with 80 + 40 features of noise reach a canonical correlation of 1).
"""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted


class _Blocks(TransformerMixin, BaseEstimator):
    """Columns in blocks, z-scored on the training rows, every block scaled to unit total variance."""

    def _start(self, X):
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or sum(self.blocks) != X.shape[1]:
            raise ValueError(
                f"blocks {tuple(self.blocks)} add up to {sum(self.blocks)} columns; X has shape {X.shape}"
            )
        if not np.isfinite(X).all():
            raise ValueError("X has missing or infinite values: impute inside the fold, before latent fusion")
        if len(X) < 4:
            raise ValueError(f"{len(X)} rows are too few for latent fusion")
        self.n_features_in_ = X.shape[1]
        self.mean_ = X.mean(0)
        spread = X.std(0, ddof=1)
        self.scale_ = np.where(spread > 1e-12 * (1 + np.abs(self.mean_)), spread, np.inf)
        self.edges_ = np.concatenate([[0], np.cumsum(self.blocks)]).astype(int)
        return self._split(X)

    def _split(self, X):
        X = np.asarray(X, dtype=np.float64)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(f"X has {X.shape[1]} columns; {self.n_features_in_} were fitted")
        # a column that was constant in the training rows is 0 from then on
        z = (X - self.mean_) / self.scale_
        return [z[:, a:b] for a, b in zip(self.edges_[:-1], self.edges_[1:], strict=True)]

    def scores(self, X):
        """Scores of every block.

        Parameters
        ----------
        X : numpy.ndarray, (N, P)

        Returns
        -------
        list of numpy.ndarray, (N, K)
        """
        check_is_fitted(self, "weights_")
        return [z @ w for z, w in zip(self._split(X), self.weights_, strict=True)]

    def transform(self, X):
        """Scores of all blocks beside each other, (N, blocks x K)."""
        return np.concatenate(self.scores(X), axis=1)

    def get_feature_names_out(self, input_features=None):
        """Names ``block<b>_component<k>``."""
        return np.array(
            [f"block{b}_component{k}" for b, w in enumerate(self.weights_) for k in range(w.shape[1])],
            dtype=object,
        )

    def _orient(self):
        """Turn signs so that the largest weight of the first block is positive."""
        for k in range(self.weights_[0].shape[1]):
            if self.weights_[0][np.abs(self.weights_[0][:, k]).argmax(), k] < 0:
                for w in self.weights_:
                    w[:, k] *= -1


class PLSCorrelation(_Blocks):
    """Partial least squares correlation of two blocks (McIntosh & Lobaugh 2004, NeuroImage 23:S250).

    Parameters
    ----------
    blocks : sequence of int
        Columns of the two blocks.
    n_components : int

    Attributes
    ----------
    weights_ : list of numpy.ndarray, (P_b, K)
        Singular vectors of the cross-correlation matrix.
    strength_ : numpy.ndarray, (K,)
        Singular values.
    """

    def __init__(self, blocks, n_components=1):
        self.blocks = blocks
        self.n_components = n_components

    def fit(self, X, y=None):
        """Fit on the rows of a training set; `y` is not used."""
        if len(self.blocks) != 2:
            raise ValueError(f"PLS correlation joins 2 blocks, not {len(self.blocks)}")
        first, second = self._start(X)
        u, s, vt = np.linalg.svd(first.T @ second / (len(first) - 1), full_matrices=False)
        k = min(self.n_components, s.size)
        self.weights_, self.strength_ = [u[:, :k].copy(), vt[:k].T.copy()], s[:k]
        self._orient()
        return self


class PCACCA(_Blocks):
    """Canonical correlation of the principal components of two or more blocks.

    Parameters
    ----------
    blocks : sequence of int
    n_components : int
    n_pca : int, optional
        Principal components of every block; default a tenth of the training rows, 2 to 10.

    Attributes
    ----------
    weights_ : list of numpy.ndarray, (P_b, K)
    strength_ : numpy.ndarray, (K,)
        Two blocks: in-sample canonical correlations. More: variance of the common components, MAXVAR (Kettenring 1971).
    """

    def __init__(self, blocks, n_components=1, n_pca=None):
        self.blocks = blocks
        self.n_components = n_components
        self.n_pca = n_pca

    def _whiten(self, z):
        u, s, vt = np.linalg.svd(z, full_matrices=False)
        keep = self.n_pca or int(np.clip(len(z) // 10, 2, 10))
        keep = max(1, min(keep, (s > 1e-9 * s[0]).sum(), len(z) - 2))
        return u[:, :keep], vt[:keep].T / s[:keep]

    def fit(self, X, y=None):
        """Fit on the rows of a training set; `y` is not used."""
        if len(self.blocks) < 2:
            raise ValueError("canonical correlation joins at least 2 blocks")
        parts = [self._whiten(z) for z in self._start(X)]
        s, vt = np.linalg.svd(np.concatenate([p[0] for p in parts], axis=1), full_matrices=False)[1:]
        k = min(self.n_components, s.size, min(p[0].shape[1] for p in parts))
        edges = np.concatenate([[0], np.cumsum([p[0].shape[1] for p in parts])])
        self.weights_ = []
        for (_, back), a, b in zip(parts, edges[:-1], edges[1:], strict=True):
            self.weights_.append(back @ vt[:k, a:b].T * np.sqrt(len(X) - 1))
        # with two whitened blocks the squared singular values are 1 + r
        self.strength_ = s[:k] ** 2 - 1 if len(parts) == 2 else s[:k] ** 2 / len(parts)
        self._orient()
        return self


class MultisetCCA(PCACCA):
    """Regularised canonical correlation of two or more blocks (MAXVAR on shrunk blocks).

    Parameters
    ----------
    blocks : sequence of int
    n_components : int
    shrinkage : float
        0 (canonical correlation) to 1 (partial least squares): share of the mean variance in each block's covariance.

    Attributes
    ----------
    weights_ : list of numpy.ndarray, (P_b, K)
    strength_ : numpy.ndarray, (K,)
        As in `PCACCA`, of the shrunk blocks.
    """

    def __init__(self, blocks, n_components=1, shrinkage=0.5):
        self.blocks = blocks
        self.n_components = n_components
        self.shrinkage = shrinkage

    def _whiten(self, z):
        u, s, vt = np.linalg.svd(z, full_matrices=False)
        good = s > 1e-9 * s[0]
        u, s, vt = u[:, good], s[good], vt[good]
        below = np.sqrt((1 - self.shrinkage) * s**2 + self.shrinkage * (s**2).mean())
        return u * (s / below), vt.T / below


class JointICA(_Blocks):
    """Joint independent components: maps of all blocks that vary together over people (Calhoun et al. 2006, NeuroImage 30:544).

    People are mixtures of joint maps, X = A S, with independent maps S. ``linked=True`` first finds each block's own
    mixing by multi-set canonical correlation, so that blocks may follow a component to different degrees (mCCA + jICA,
    Sui et al. 2011, NeuroImage 57:839).

    Parameters
    ----------
    blocks : sequence of int
    n_components : int
    linked : bool
    restarts : int
        Runs of ICA from other starts; the run whose components are found most often is kept.
    seed : int

    Attributes
    ----------
    maps_ : list of numpy.ndarray, (K, P_b)
        Components in z.
    stability_ : numpy.ndarray, (K,)
        Mean size of the correlation with the best match in the other runs, 0 to 1.
    strength_ : numpy.ndarray, (K,)
        Share of the training variance, in falling order.
    """

    def __init__(self, blocks, n_components=4, linked=False, restarts=5, seed=0):
        self.blocks = blocks
        self.n_components = n_components
        self.linked = linked
        self.restarts = restarts
        self.seed = seed

    def fit(self, X, y=None):
        """Fit on the rows of a training set; `y` is not used."""
        parts = self._start(X)
        # every modality has the same say, whatever its number of regions
        self.weight_ = [1 / max(np.linalg.norm(z), 1e-12) for z in parts]
        parts = [z * w for z, w in zip(parts, self.weight_, strict=True)]
        k = min(self.n_components, len(X) - 2, min(self.blocks))
        if self.linked:
            link = MultisetCCA(self.blocks, k).fit(X)
            mixing = [d / np.linalg.norm(d, axis=0) for d in link.scores(X)]
            reduced = np.concatenate(
                [np.linalg.pinv(d) @ z for d, z in zip(mixing, parts, strict=True)], axis=1
            )
        else:
            reduced = np.linalg.svd(np.concatenate(parts, axis=1), full_matrices=False)[2][:k]
        runs = [_independent(reduced, self.seed + n) for n in range(max(1, self.restarts))]
        match = np.array([[np.abs(np.corrcoef(a, b)[:k, k:]).max(1) for b in runs] for a in runs])
        best = int(match.mean((1, 2)).argmax())
        others = [n for n in range(len(runs)) if n != best]
        stability = match[best, others].mean(0) if others else np.full(k, np.nan)
        source = runs[best]
        loading = np.concatenate(parts, axis=1) @ np.linalg.pinv(source)
        power = (loading**2).sum(0) * (source**2).sum(1)
        order = np.argsort(power)[::-1]
        source = source[order]
        signs = np.sign(source[np.arange(k), np.abs(source).argmax(1)])
        source = source * signs[:, None]
        self.maps_ = [source[:, a:b] for a, b in zip(self.edges_[:-1], self.edges_[1:], strict=True)]
        self.stability_, self.strength_ = stability[order], power[order] / power.sum()
        self.weights_ = [w * np.linalg.pinv(m) for w, m in zip(self.weight_, self.maps_, strict=True)]
        self._joint = np.linalg.pinv(source)
        return self

    def transform(self, X):
        """Loadings: joint ones, (N, K); of every block beside each other with ``linked``."""
        if self.linked:
            return super().transform(X)
        parts = [z * w for z, w in zip(self._split(X), self.weight_, strict=True)]
        return np.concatenate(parts, axis=1) @ self._joint

    def get_feature_names_out(self, input_features=None):
        """Names ``component<k>``, or with the block where ``linked``."""
        if self.linked:
            return super().get_feature_names_out()
        return np.array([f"component{k}" for k in range(len(self.strength_))], dtype=object)


def _independent(reduced, seed):
    """Independent maps (K, P) of unit variance from reduced ones."""
    import warnings

    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    model = FastICA(len(reduced), whiten="unit-variance", random_state=seed, max_iter=500, tol=1e-4)
    with warnings.catch_warnings():
        # a run that does not settle finds other components than the rest: stability says so
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit_transform(reduced.T).T


class SimilarityFusion(_Blocks):
    """Similarity network fusion (Wang et al. 2014, Nat Methods 11:333) with a spectral embedding.

    Networks of people, one per block, exchange their neighbourhoods until they agree. New people are placed by their
    similarity to the training people (Nyström), who stay as they were.

    Parameters
    ----------
    blocks : sequence of int
    n_components : int
        Coordinates of the embedding.
    neighbours : int, optional
        Default a tenth of the training rows, at least 5.
    width : float
        Of the similarity kernel; 0.3 to 0.8.
    iterations : int

    Attributes
    ----------
    network_ : numpy.ndarray, (N, N)
        Fused similarity of the training rows; symmetric.
    strength_ : numpy.ndarray, (K,)
        Eigenvalues of the normalised network.
    """

    def __init__(self, blocks, n_components=2, neighbours=None, width=0.5, iterations=20):
        self.blocks = blocks
        self.n_components = n_components
        self.neighbours = neighbours
        self.width = width
        self.iterations = iterations

    def _similar(self, distance, near_rows, near_columns):
        middle = (near_rows[:, None] + near_columns[None] + distance) / 3
        return np.exp(-(distance**2) / np.maximum(2 * (self.width * middle) ** 2, 1e-12))

    def fit(self, X, y=None):
        """Fit on the rows of a training set; `y` is not used."""
        parts = self._start(X)
        count = len(X)
        size = min(self.neighbours or max(5, count // 10), count - 1)
        self._size, self._train, self._near, full, local = size, parts, [], [], []
        for z in parts:
            distance = _apart(z, z)
            near = np.sort(distance + np.diag(np.full(count, np.inf)), axis=1)[:, :size].mean(1)
            w = self._similar(distance, near, near)
            np.fill_diagonal(w, 0)
            self._near.append(near)
            full.append(_halved(w))
            rank = np.argsort(np.argsort(-w, axis=1, kind="stable"), axis=1)
            kept = np.where(rank < size, w, 0)
            local.append(kept / np.maximum(kept.sum(1, keepdims=True), 1e-300))
        for _ in range(self.iterations if len(parts) > 1 else 0):
            total = np.sum(full, axis=0)
            full = [
                _halved(s @ ((total - p) / (len(parts) - 1)) @ s.T) for p, s in zip(full, local, strict=True)
            ]
        self.network_ = np.mean(full, axis=0)
        self.network_ = (self.network_ + self.network_.T) / 2
        degree = self.network_.sum(1)
        values, vectors = np.linalg.eigh(self.network_ / np.sqrt(degree[:, None] * degree))
        k = min(self.n_components, count - 1)
        # the first eigenvector is the degree itself
        order = np.argsort(values)[::-1][1 : k + 1]
        self.strength_ = values[order]
        self.embedding_ = vectors[:, order] / np.sqrt(degree)[:, None]
        signs = np.sign(self.embedding_[np.abs(self.embedding_).argmax(0), np.arange(k)])
        self.embedding_ = self.embedding_ * signs
        self.weights_ = [self.embedding_]
        return self

    def scores(self, X):
        """Place of every person in the embedding, once: the blocks are fused."""
        rows = []
        for z, train, near in zip(self._split(X), self._train, self._near, strict=True):
            distance = _apart(z, train)
            own = np.sort(distance, axis=1)[:, : self._size].mean(1)
            w = self._similar(distance, own, near)
            rank = np.argsort(np.argsort(-w, axis=1, kind="stable"), axis=1)
            w = np.where(rank < self._size, w, 0)
            rows.append(w / np.maximum(w.sum(1, keepdims=True), 1e-300))
        return [np.mean(rows, axis=0) @ self.embedding_]

    def get_feature_names_out(self, input_features=None):
        """Names ``component<k>``."""
        return np.array([f"component{k}" for k in range(len(self.strength_))], dtype=object)


def _apart(a, b):
    square = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.sqrt(np.maximum(square, 0))


def _halved(w):
    """Rows whose off-diagonal part sums to one half, one half on the diagonal, made symmetric."""
    w = w - np.diag(np.diag(w))
    out = w / np.maximum(2 * w.sum(1, keepdims=True), 1e-300)
    np.fill_diagonal(out, 0.5)
    return (out + out.T) / 2


#: Method of the config to a function of (blocks, components, seed).
METHODS = {
    "pls": lambda blocks, k, seed: PLSCorrelation(blocks, k),
    "pcacca": lambda blocks, k, seed: PCACCA(blocks, k),
    "mcca": lambda blocks, k, seed: MultisetCCA(blocks, k),
    "jica": lambda blocks, k, seed: JointICA(blocks, k, seed=seed),
    "mccajica": lambda blocks, k, seed: JointICA(blocks, k, linked=True, seed=seed),
}


def _agreement(scores):
    """Mean correlation of every component between the blocks, (K,)."""
    k = scores[0].shape[1]
    out = np.full(k, np.nan)
    for component in range(k):
        columns = np.stack([s[:, component] for s in scores])
        if (columns.std(1) > 0).all():
            r = np.corrcoef(columns)
            out[component] = r[np.triu_indices(len(columns), 1)].mean()
    return out


def _folds(count, groups, folds, rng):
    """Test rows of every fold; rows of one group stay together."""
    groups = (
        np.arange(count)
        if groups is None
        else np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    )
    order = rng.permutation(groups.max() + 1)
    return [np.flatnonzero(np.isin(groups, part)) for part in np.array_split(order, min(folds, len(order)))]


def held_out(make, X, *, groups=None, folds=5, repeats=5, seed=0):
    """Agreement of the blocks' scores in people that had no part in the fit.

    Parameters
    ----------
    make : callable
        Returns a new estimator of this module.
    X : numpy.ndarray, (N, P)
    groups : numpy.ndarray, (N,), optional
        Rows that stay together (person, family).
    folds, repeats, seed : int

    Returns
    -------
    numpy.ndarray, (repeats, K)
        Scores are centred and scaled inside each fold before they are pooled.
    """
    rng, out = np.random.default_rng(seed), []
    for _ in range(repeats):
        pooled = None
        for test in _folds(len(X), groups, folds, rng):
            train = np.setdiff1d(np.arange(len(X)), test)
            scores = make().fit(X[train]).scores(X[test])
            scores = [(s - s.mean(0)) / np.where(s.std(0) > 0, s.std(0), 1) for s in scores]
            pooled = (
                scores if pooled is None else [np.vstack(pair) for pair in zip(pooled, scores, strict=True)]
            )
        out.append(_agreement(pooled))
    return np.array(out)


def _matched(weights, reference):
    """Weights (P, K) in the order and with the signs of a reference."""
    from scipy.optimize import linear_sum_assignment

    with np.errstate(invalid="ignore", divide="ignore"):
        unit = [w / np.linalg.norm(w, axis=0) for w in (weights, reference)]
    overlap = np.nan_to_num(unit[1].T @ unit[0])
    rows, columns = linear_sum_assignment(-np.abs(overlap))
    sign = np.where(overlap[rows, columns] < 0, -1.0, 1.0)
    return unit[0][:, columns] * sign, np.abs(overlap[rows, columns])


def describe(
    make, X, *, groups=None, within=None, permutations=199, bootstraps=100, halves=20, folds=5, repeats=5, seed=0
):  # fmt: skip
    """Analyse what blocks have in common, with everything that keeps an in-sample correlation honest.

    Parameters
    ----------
    make : callable
        Returns a new estimator of this module with two or more blocks of scores.
    X : numpy.ndarray, (N, P)
    groups : numpy.ndarray, (N,), optional
        Rows that stay together in folds, halves and bootstraps.
    within : numpy.ndarray, (N,), optional
        Permutations stay inside these levels (site).
    permutations, bootstraps, halves, folds, repeats, seed : int

    Returns
    -------
    components : pandas.DataFrame
        One row per component: ``component``, ``r_in_sample``, ``r_held_out`` (mean over repeats), ``p`` (rows of all blocks but
        the first permuted, full refit, of the held-out r of the component), ``split_half`` (mean overlap of the weights of
        two halves, 0 to 1), ``split_half_null`` (the same with permuted rows).
    weights : pandas.DataFrame
        ``column``, ``component``, ``weight`` (unit length over all blocks), ``bootstrap_ratio`` (weight over its bootstrap SD).
    """
    import pandas as pd

    X = np.asarray(X, np.float64)
    model = make().fit(X)
    edges = model.edges_
    reference = np.concatenate(model.weights_)
    reference = reference / np.linalg.norm(reference, axis=0)
    k = reference.shape[1]
    rng = np.random.default_rng(seed)
    inside = _agreement(model.scores(X))
    outside = held_out(make, X, groups=groups, folds=folds, repeats=repeats, seed=seed).mean(0)

    def shuffled():
        order = np.arange(len(X))
        levels = (
            np.zeros(len(X), int)
            if within is None
            else np.unique(np.asarray(within).astype(str), return_inverse=True)[1]
        )
        moved = X.copy()
        for block in range(1, len(edges) - 1):
            for level in np.unique(levels):
                rows = np.flatnonzero(levels == level)
                order[rows] = rng.permutation(rows)
            moved[:, edges[block] : edges[block + 1]] = X[order, edges[block] : edges[block + 1]]
        return moved

    def half_overlap(data, count):
        found = []
        for _ in range(count):
            first, second = _folds(len(data), groups, 2, rng)
            parts = [np.concatenate(make().fit(data[rows]).weights_) for rows in (first, second)]
            if parts[0].shape == parts[1].shape:
                found.append(_matched(*parts)[1])
        size = min((f.size for f in found), default=0)
        return np.mean([f[:size] for f in found], axis=0) if found else np.full(k, np.nan)

    # one repeat of the folds for data and permutations alike, so that the two are comparable
    observed = held_out(make, X, groups=groups, folds=folds, repeats=1, seed=seed)[0]
    hits = np.ones(k)
    for number in range(permutations):
        null = held_out(make, shuffled(), groups=groups, folds=folds, repeats=1, seed=seed + 1 + number)[0]
        hits += np.nan_to_num(null[:k], nan=-1) >= np.nan_to_num(observed, nan=-1) - 1e-12
    drawn = []
    level = (
        np.arange(len(X))
        if groups is None
        else np.unique(np.asarray(groups).astype(str), return_inverse=True)[1]
    )
    members = [np.flatnonzero(level == g) for g in range(level.max() + 1)]
    for _ in range(bootstraps):
        rows = np.concatenate([members[g] for g in rng.choice(len(members), len(members))])
        weights = np.concatenate(make().fit(X[rows]).weights_)
        if weights.shape == reference.shape:
            drawn.append(_matched(weights, reference)[0])
    spread = np.std(drawn, axis=0) if len(drawn) > 1 else np.full(reference.shape, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(spread > 0, reference / spread, np.nan)
    halved = half_overlap(X, halves)
    null_halved = half_overlap(shuffled(), halves)
    components = pd.DataFrame(
        {
            "component": np.arange(1, k + 1),
            "r_in_sample": inside,
            "r_held_out": outside,
            "p": hits / (1 + permutations),
            "split_half": np.resize(halved, k),
            "split_half_null": np.resize(null_halved, k),
        }
    )
    weights = pd.DataFrame(
        {
            "column": np.tile(np.arange(len(reference)), k),
            "component": np.repeat(np.arange(1, k + 1), len(reference)),
            "weight": reference.T.ravel(),
            "bootstrap_ratio": ratio.T.ravel(),
        }
    )
    return components, weights
