"""Latent fusion as a step of a model: what the modalities share is found in the training people, then ridge reads it.

No transformer here sees the target or the people tested, so a fused representation is one more feature set on the folds of
all others. It finds what modalities have in common, which need not be what predicts: the sets beside it say whether
it pays.
"""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import Pipeline

from neurobraid.fusion.latent import METHODS, SimilarityFusion
from neurobraid.prediction.estimators import GRIDS, RidgePath, TunedModel, make_pipeline
from neurobraid.prediction.steps import Standardize

#: Name in ``fusion`` of a model's record to a function of (blocks, components, seed).
LATENT = {**METHODS, "snf": lambda blocks, k, seed: SimilarityFusion(blocks, k)}


class LatentBlocks(TransformerMixin, BaseEstimator):
    """Prepare every modality, then project all of them onto what they share.

    Parameters
    ----------
    blocks : sklearn.compose.ColumnTransformer
        First step of `neurobraid.prediction.estimators.make_pipeline`.
    method : str
        Of `LATENT`.
    components : int
        At most; fewer where a modality has fewer features, or the training set fewer people.
    seed : int
        Of joint ICA.

    Attributes
    ----------
    latent_ : sklearn transformer or None
        None where fewer than two modalities have features left: those pass as they are.
    """

    def __init__(self, blocks, method, components=4, seed=0):
        self.blocks = blocks
        self.method = method
        self.components = components
        self.seed = seed

    def fit(self, X, y=None):
        """Fit on the training people; `y` is not used."""
        self.blocks_ = clone(self.blocks)
        ready = self.blocks_.fit_transform(X)
        places = [self.blocks_.output_indices_[name] for name, *_ in self.blocks_.transformers]
        sizes = [place.stop - place.start for place in places]
        self.used_ = np.concatenate(
            [np.arange(p.start, p.stop) for p, size in zip(places, sizes, strict=True) if size] or [np.empty(0, int)]
        ).astype(int)  # fmt: skip
        sizes = tuple(size for size in sizes if size)
        self.latent_ = None
        if len(sizes) > 1:
            count = max(1, min(self.components, min(sizes), len(X) - 3))
            self.latent_ = LATENT[self.method](sizes, count, self.seed).fit(ready[:, self.used_])
        self.n_samples_seen_ = len(X)
        return self

    def transform(self, X):
        """Scores of all components, (people, scores)."""
        ready = self.blocks_.transform(X)
        return ready if self.latent_ is None else self.latent_.transform(ready[:, self.used_])


def latent_sets(model):
    """Latent methods among the fusions of a model's record, in its order."""
    return [name for name in model["fusion"] if name in LATENT]


def latent_model(method, blocks, confounds, model, *, harmonize=None, indicator=False, fronts=None):
    """A tuned model on what the modalities share.

    Parameters
    ----------
    method : str
        Of `LATENT`.
    blocks, confounds, harmonize, indicator, fronts
        See `neurobraid.prediction.estimators.make_pipeline`.
    model : dict
        Record with its defaults: ``components``, ``grid`` where the estimator is ridge, ``kind``, ``min_present``, ``seed``.

    Returns
    -------
    neurobraid.prediction.estimators.TunedModel
        Preparation, latent fusion, scaling and ridge in one pipeline.
    """
    grid = model["grid"] if model["estimator"] == "ridge" else GRIDS["ridge"]
    ridge = RidgePath(tuple(sorted(grid, reverse=True)), model["kind"])
    first = make_pipeline(
        blocks,
        confounds,
        ridge,
        model["min_present"],
        harmonize=harmonize,
        indicator=indicator,
        fronts=fronts,
    )[0]
    steps = [
        ("latent", LatentBlocks(first, method, model["components"], model["seed"])),
        ("scale", Standardize()),
        ("estimator", ridge),
    ]
    return TunedModel(Pipeline(steps), model["kind"])
