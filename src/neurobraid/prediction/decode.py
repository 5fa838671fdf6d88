"""Decoding of what a person saw or did, with whole runs (or people) left out."""

import numpy as np

from neurobraid.errors import InputError
from neurobraid.prediction.folds import Folds, Unavailable, check_folds

#: Numbers of features that inner runs choose from; all features are tried, too.
COUNTS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
#: Regularisation of each estimator, strongest first. Rows have a mean squared length of 1, so that one grid suits all.
GRIDS = {
    "ridge": (100.0, 10.0, 1.0, 0.1, 0.01),
    "svm": (0.1, 1.0, 10.0, 100.0),
    "logistic": (0.1, 1.0, 10.0, 100.0),
}
#: Place in the grid without inner runs to choose from.
DEFAULT = {"ridge": 2, "svm": 2, "logistic": 2}


def group_folds(groups, inner=5):
    """Every group held out once; the groups trained on are dealt out to inner folds.

    Parameters
    ----------
    groups : numpy.ndarray of str, (samples,)
        Run, or person.
    inner : int
        Largest number of inner folds.

    Returns
    -------
    neurobraid.prediction.folds.Folds
        With two groups all inner folds are 0: there is nothing to choose settings from.

    Raises
    ------
    Unavailable
        One group only.
    """
    groups = np.asarray(groups, dtype=str)
    names = np.unique(groups)
    if names.size < 2:
        raise Unavailable("one run or person: nothing can be held out")
    place = np.searchsorted(names, groups)
    rows = []
    for fold in range(names.size):
        # neighbours in time go to different inner folds
        order = np.where(place < fold, place, place - 1) % max(min(inner, names.size - 1), 1)
        rows.append(np.where(place == fold, -1, order))
    return Folds(place[None], [rows])


def block_means(X, labels, groups):
    """Mean of all samples of a condition in a group.

    Parameters
    ----------
    X : numpy.ndarray, (samples, features)
    labels, groups : numpy.ndarray of str, (samples,)

    Returns
    -------
    X, labels, groups
        One row per group and condition that occurs in it, in sorted order.
    """
    keys = np.array([f"{g}\x00{c}" for g, c in zip(groups, labels, strict=True)])
    names, place = np.unique(keys, return_inverse=True)
    sums = np.zeros((names.size, X.shape[1]))
    np.add.at(sums, place, X)
    sums /= np.bincount(place)[:, None]
    parts = [name.split("\x00") for name in names]
    return sums, np.array([p[1] for p in parts]), np.array([p[0] for p in parts])


def center_groups(X, groups):
    """Samples minus the mean of their group: what differs between runs or people is no condition; labels are not used."""
    out = np.array(X, dtype=np.float64)
    for group in np.unique(groups):
        rows = groups == group
        out[rows] -= out[rows].mean(axis=0)
    return out


def anova(X, codes, classes):
    """F of every feature between conditions.

    Parameters
    ----------
    X : numpy.ndarray, (samples, features)
    codes : numpy.ndarray of int, (samples,)
    classes : int

    Returns
    -------
    numpy.ndarray, (features,)
        0 for a feature that does not vary.
    """
    hot = (codes[:, None] == np.arange(classes)).astype(np.float64)
    counts = hot.sum(axis=0)
    used = counts > 0
    centred = X - X.mean(axis=0)
    sums = hot[:, used].T @ centred
    between = (sums**2 / counts[used, None]).sum(axis=0)
    total = np.einsum("ij,ij->j", centred, centred)
    within = np.maximum(total - between, 0.0)
    free = (max(used.sum() - 1, 1), max(len(X) - used.sum(), 1))
    # rounding leaves something of a constant feature
    real = total > 1e-12 * max(total.max(initial=0.0), 1e-300)
    return np.where(real, (between / free[0]) / np.maximum(within / free[1], 1e-300), 0.0)


def _ridge(train, codes, test, classes, grid):
    """Scores of ridge regression on one indicator per condition for every penalty, (penalties, tests, classes)."""
    hot = np.where(codes[:, None] == np.arange(classes), 1.0, -1.0)
    mean = hot.mean(axis=0)
    values, vectors = np.linalg.eigh(train @ train.T if len(train) <= train.shape[1] else train.T @ train)
    values = np.maximum(values, 0.0)
    if len(train) <= train.shape[1]:
        target, link = vectors.T @ (hot - mean), test @ (train.T @ vectors)
    else:
        target, link = vectors.T @ (train.T @ (hot - mean)), test @ vectors
    return np.stack([link @ (target / (values + penalty)[:, None]) + mean for penalty in grid])


def _fitted(estimator, train, codes, test, classes, grid):
    """Scores of every condition for every value of the grid, (grid, tests, classes)."""
    if estimator == "ridge":
        # in units of the mean eigenvalue, as rows have mean squared length 1
        unit = len(train) / max(min(len(train) - 1, train.shape[1]), 1)
        return _ridge(train, codes, test, classes, [unit * p for p in grid])
    if estimator == "svm":
        from sklearn.svm import LinearSVC as Learner

        fixed = {"dual": True, "max_iter": 20000, "tol": 1e-4, "random_state": 0}
    else:
        from sklearn.linear_model import LogisticRegression as Learner

        fixed = {"max_iter": 2000}
    out = np.full((len(grid), len(test), classes), -np.inf)
    present = np.unique(codes)
    for k, c in enumerate(grid):
        score = Learner(C=c, **fixed).fit(train, codes).decision_function(test)
        out[k][:, present] = np.column_stack([-score, score]) if score.ndim == 1 else score
    return out


def noise_scale(X, codes):
    """SD of every feature within conditions, drawn towards the median feature where samples are few.

    Parameters
    ----------
    X : numpy.ndarray, (samples, features)
    codes : numpy.ndarray of int, (samples,)

    Returns
    -------
    numpy.ndarray, (features,)
        Ones where no condition has two samples. The SD over all samples would hide the effect itself: of two
        samples every feature would differ equally much.
    """
    names, place = np.unique(codes, return_inverse=True)
    free = len(X) - names.size
    if free < 1:
        return np.ones(X.shape[1])
    sums = np.zeros((names.size, X.shape[1]))
    np.add.at(sums, place, X)
    rest = X - (sums / np.bincount(place)[:, None])[place]
    within = np.einsum("ij,ij->j", rest, rest)
    real = within > 1e-12 * max(within.max(initial=0.0), 1e-300)
    prior = np.median(within[real]) / free if real.any() else 1.0
    # as if four more samples had the variance of the median feature
    return np.sqrt((within + 4 * prior) / (free + 4))


def _prepared(train, codes, test, scale):
    """Centred by the training samples, features to the same noise if asked, rows to a mean squared length of 1."""
    mean = train.mean(axis=0)
    train, test = train - mean, test - mean
    if scale:
        spread = noise_scale(train, codes)
        train, test = train / spread, test / spread
    length = np.sqrt(np.einsum("ij,ij->", train, train) / len(train)) or 1.0
    return train / length, test / length


def _candidates(train, codes, test, classes, counts, estimator, grid, scale):
    """Scores for every number of features and every value of the grid, (counts, grid, tests, classes)."""
    order = np.argsort(-anova(train, codes, classes), kind="stable") if min(counts) < train.shape[1] else None
    out = []
    for count in counts:
        keep = slice(None) if count >= train.shape[1] else np.sort(order[:count])
        one, other = _prepared(train[:, keep], codes, test[:, keep], scale)
        out.append(_fitted(estimator, one, codes, other, classes, grid))
    return np.array(out)


def counts_of(features, available):
    """Numbers of features to choose from: 0 all, a number itself, ``'inner'`` all of `COUNTS` below what there is."""
    if features == "inner":
        return [*(k for k in COUNTS if k < available), available]
    return [min(int(features), available) if features else available]


def _outer_fold(X, codes, classes, train, test, inside, counts, estimator, grid, scale):
    """Scores of the test samples of one outer fold, and the number of features and regularisation chosen inside."""
    inner = np.unique(inside)
    pick = (len(counts) - 1, DEFAULT[estimator] if len(grid) > 1 else 0)
    if len(counts) * len(grid) > 1 and inner.size > 1:
        hits = np.zeros((len(counts), len(grid)))
        for k in inner:
            fit, held = train[inside != k], train[inside == k]
            found = _candidates(X[fit], codes[fit], X[held], classes, counts, estimator, grid, scale)
            hits += (found.argmax(axis=-1) == codes[held]).sum(axis=-1)
        # ties go to fewer features and stronger regularisation, which stand first
        pick = np.unravel_index(int(np.argmax(hits)), hits.shape)
    count, value = counts[pick[0]], grid[pick[1]]
    score = _candidates(X[train], codes[train], X[test], classes, [count], estimator, (value,), scale)[0, 0]
    return score, count, value


def _auc(score, codes, classes):
    """One-against-the-rest area under the curve of every condition, mean over conditions that both sides have."""
    from neurobraid.prediction.metrics import auc

    values = []
    for c in range(classes):
        positive = codes == c
        if positive.any() and not positive.all():
            values.append(auc(np.where(positive, 1.0, -1.0), score[:, c]))
    return float(np.mean(values)) if values else np.nan


def decode(
    X, labels, groups, folds, *, estimator="svm", features=0, grid=None, scale=False, file="events.tsv", column="run"
):  # fmt: skip
    """Accuracy of a linear classifier, with features selected and settings chosen inside the fold.

    Parameters
    ----------
    X : numpy.ndarray, (samples, features)
        Volumes, responses to trials, or averages of blocks; free of what differs between runs (`center_groups`).
    labels : numpy.ndarray of str, (samples,)
        Two or more conditions.
    groups : numpy.ndarray of str, (samples,)
        Run (within a person) or participant: samples of one group resemble each other by drift and slow response.
    folds : neurobraid.prediction.folds.Folds
        `group_folds`, or a manifest.
    estimator : {'ridge', 'svm', 'logistic'}
        One condition against the rest; logistic regression is multinomial.
    features : int or 'inner'
        Keep the best by analysis of variance on the training samples; 0 keeps all; ``inner``: as many as classify most of
        the inner test folds, which never hold a sample of the outer one.
    grid : sequence of float, optional
        Regularisation that the inner folds choose from; default `GRIDS`.
    scale : bool
        Divide features by their noise in the training samples (`noise_scale`). Not needed where the noise of features
        is alike already.
    file, column : str
        For messages.

    Returns
    -------
    dict
        accuracy, balanced_accuracy, auc (one against the rest): means over folds; folds (list of dict: group, samples,
        the three, features and regularisation chosen); chance (share of the commonest label), conditions, confusion ((true,
        predicted), samples), predicted (labels), score ((samples, conditions)).

    Raises
    ------
    InputError
        A group is on both sides of a split, as when volumes are shuffled; a condition that no training fold has.
    """
    groups, labels = np.asarray(groups, dtype=str), np.asarray(labels, dtype=str)
    check_folds(folds, groups, file=file, column=column)
    conditions, codes = np.unique(labels, return_inverse=True)
    classes, grid = conditions.size, tuple(GRIDS[estimator] if grid is None else grid)
    if classes < 2:
        raise InputError(
            file, "trial_type", ", ".join(conditions), "two or more conditions", "name more conditions"
        )
    counts = counts_of(features, X.shape[1])
    scores, listed = np.full((labels.size, classes), np.nan), []
    for _, _, train, test, inside in folds.splits():
        lost = sorted(set(conditions) - set(labels[train]))
        if lost:
            where = ", ".join(np.unique(groups[test]))
            raise InputError(
                file, f"{lost[0]} outside {column} {where}", "no trial", "every condition in two groups or more",
                "take the condition out",
            )  # fmt: skip
        score, count, value = _outer_fold(
            X, codes, classes, train, test, inside, counts, estimator, grid, scale
        )
        scores[test] = score
        right = score.argmax(axis=1) == codes[test]
        recall = [right[codes[test] == c].mean() for c in np.unique(codes[test])]
        listed.append(
            {
                "group": ", ".join(np.unique(groups[test])),
                "samples": int(test.size),
                "accuracy": float(right.mean()),
                "balanced_accuracy": float(np.mean(recall)),
                "auc": _auc(score, codes[test], classes),
                "features": int(count),
                "regularisation": float(value),
            }
        )
    tested = np.isfinite(scores).any(axis=1)
    guess = np.where(tested, np.nan_to_num(scores, nan=-np.inf, neginf=-np.inf).argmax(axis=1), -1)
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (codes[tested], guess[tested]), 1)
    share = np.bincount(codes).max() / labels.size
    means = {
        k: [one[k] for one in listed if np.isfinite(one[k])] for k in ("accuracy", "balanced_accuracy", "auc")
    }
    return {
        **{k: float(np.mean(v)) if v else np.nan for k, v in means.items()},
        "folds": listed,
        "chance": float(share),
        "conditions": conditions.tolist(),
        "confusion": confusion,
        "predicted": np.where(guess >= 0, conditions[guess], ""),
        "score": scores,
    }


def permute_labels(labels, groups, rng):
    """Labels that changed places within their group."""
    out = labels.copy()
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        out[rows] = labels[rows[rng.permutation(rows.size)]]
    return out


def decoding_test(X, labels, groups, folds, *, count, seed, **settings):
    """Permutation test of the balanced accuracy, labels moved within groups, everything fitted again.

    Parameters
    ----------
    X, labels, groups, folds, **settings
        See `decode`. One sample per trial or block: single volumes of a block must not move apart.
    count, seed : int

    Returns
    -------
    dict
        p ((1 + b) / (1 + count)), null_mean, null_sd, null_high (95th percentile), count.
    """
    rng = np.random.default_rng(seed)
    observed = decode(X, labels, groups, folds, **settings)["balanced_accuracy"]
    null = np.array(
        [
            decode(X, permute_labels(labels, groups, rng), groups, folds, **settings)["balanced_accuracy"]
            for _ in range(count)
        ]
    )
    return {
        "p": float((1 + np.sum(null >= observed - 1e-12)) / (1 + count)),
        "null_mean": float(null.mean()),
        "null_sd": float(null.std(ddof=1)) if count > 1 else np.nan,
        "null_high": float(np.quantile(null, 0.95)),
        "count": int(count),
    }


def held_out_ridge(kernel, codes, classes, groups, penalty):
    """Scores of kernel ridge regression with every group held out, from one inverse per kernel.

    Parameters
    ----------
    kernel : numpy.ndarray, (spheres, samples, samples)
        Inner products of samples; a constant is added, which takes the place of an intercept.
    codes : numpy.ndarray of int, (samples,)
    classes : int
    groups : numpy.ndarray of int, (samples,)
    penalty : float
        In units of the mean diagonal.

    Returns
    -------
    numpy.ndarray, (spheres, samples, classes)
        Equal to fitting again without the group: with C = (K + penalty)^-1 the residuals of a held-out group g are
        C_gg^-1 (C y)_g.
    """
    n = kernel.shape[1]
    unit = np.trace(kernel, axis1=1, axis2=2)[:, None, None] / n
    unit = np.where(unit > 0, unit, 1.0)
    inverse = np.linalg.inv(kernel / unit + 10.0 + penalty * np.eye(n))
    hot = np.where(codes[:, None] == np.arange(classes), 1.0, -1.0)
    fitted = inverse @ hot
    out = np.empty(fitted.shape)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        block = inverse[:, rows[:, None], rows]
        out[:, rows] = hot[rows] - np.linalg.solve(block, fitted[:, rows])
    return out


def searchlight(X, labels, groups, positions, *, radius, penalty=0.1, centres=None):
    """Balanced accuracy in a sphere around every voxel, with every group (run) held out.

    Parameters
    ----------
    X : numpy.ndarray, (samples, voxels)
        See `decode`; features of a sphere are taken as they are.
    labels, groups : numpy.ndarray of str, (samples,)
    positions : numpy.ndarray, (voxels, 3)
        mm.
    radius : float
        mm.
    penalty : float
        Ridge penalty in units of the mean squared length of a sample; fixed, so that no sphere is tuned.
    centres : numpy.ndarray of int, optional
        Voxels in whose place a sphere is put; default all.

    Returns
    -------
    accuracy : numpy.ndarray, (centres,)
    voxels : numpy.ndarray of int, (centres,)
        In the sphere.
    """
    from scipy.spatial import cKDTree

    conditions, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    place = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    tree = cKDTree(positions)
    centres = np.arange(len(positions)) if centres is None else centres
    accuracy, sizes = np.empty(len(centres)), np.empty(len(centres), dtype=int)
    data = np.ascontiguousarray(X.T, dtype=np.float64)
    for start in range(0, len(centres), 64):
        part = centres[start : start + 64]
        near = tree.query_ball_point(positions[part], radius + 1e-6, return_sorted=True)
        kernel = np.stack([data[rows].T @ data[rows] for rows in near])
        guess = held_out_ridge(kernel, codes, conditions.size, place, penalty).argmax(axis=-1)
        right = guess == codes
        recall = [right[:, codes == c].mean(axis=1) for c in range(conditions.size)]
        accuracy[start : start + len(part)] = np.mean(recall, axis=0)
        sizes[start : start + len(part)] = [len(rows) for rows in near]
    return accuracy, sizes
