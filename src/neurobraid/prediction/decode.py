"""Decoding of what a person saw or did, with whole runs (or people) left out."""

import numpy as np

from neurobraid.prediction.folds import check_folds


def decode(X, labels, groups, folds, *, features=0, file="events.tsv", column="run"):
    """Accuracy of a linear support vector machine, with selection of features inside the fold.

    Parameters
    ----------
    X : numpy.ndarray, (samples, features)
        Volumes, or averages of blocks; standardised within each run beforehand, without labels.
    labels : numpy.ndarray of str, (samples,)
        Two or more conditions.
    groups : numpy.ndarray of str, (samples,)
        Run (within a person) or participant: samples of one group resemble each other by drift and slow response.
    folds : neurobraid.prediction.folds.Folds
        `make_folds` with ``scheme='leave-one-group-out'``, or a manifest.
    features : int
        Keep the best by analysis of variance on the training samples; 0 keeps all.
    file, column : str
        For messages.

    Returns
    -------
    dict
        accuracy (mean over folds), folds (per fold), chance (share of the commonest label), predicted.

    Raises
    ------
    InputError
        A group is on both sides of a split, as when volumes are shuffled.
    """
    from sklearn.feature_selection import SelectKBest, f_classif
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    groups = np.asarray(groups, dtype=str)
    check_folds(folds, groups, file=file, column=column)
    labels = np.asarray(labels, dtype=str)
    predicted, scores = np.full(labels.size, "", dtype=labels.dtype), []
    for _, _, train, test, _ in folds.splits():
        # voxels are not scaled again: those whose averages vary are those that respond
        steps = [SelectKBest(f_classif, k=min(features, X.shape[1]))] if features else []
        # one condition against the rest, strongly regularised: more features than samples
        learner = LinearSVC(C=0.01, dual=True, max_iter=5000, random_state=0)
        model = make_pipeline(*steps, learner).fit(X[train], labels[train])
        predicted[test] = model.predict(X[test])
        scores.append(float(np.mean(predicted[test] == labels[test])))
    counts = np.unique(labels, return_counts=True)[1]
    return {
        "accuracy": float(np.mean(scores)),
        "folds": scores,
        "chance": float(counts.max() / counts.sum()),
        "predicted": predicted,
    }
