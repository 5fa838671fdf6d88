"""How far a person lies from the training people, in the space that the estimator sees, with limits from people held out.

Two distances per modality after all steps of the model (filling, harmonisation, confounds, scaling): Mahalanobis within the
leading principal components of the training people, and the length of what these components do not explain (the T2 and Q
statistics of Jackson & Mudholkar 1979, Technometrics 21:341). Training people look nearer than they are, so limits come
from people held out by inner folds.
"""

from dataclasses import dataclass

import numpy as np

from neurobraid.prediction.estimators import RidgePath, make_pipeline
from neurobraid.prediction.members import fronts

#: Share of held-out training people that a limit lets pass.
SHARE = 0.975
#: Share of the variance that the components keep, and people per component.
VARIANCE, PER_COMPONENT = 0.9, 5


@dataclass
class Space:
    """Principal components of the training people in one modality.

    Attributes
    ----------
    mean : numpy.ndarray, (features,)
    components : numpy.ndarray, (kept, features)
    spread : numpy.ndarray, (kept,)
        SD of the training people along each component.
    """

    mean: np.ndarray
    components: np.ndarray
    spread: np.ndarray

    @classmethod
    def fit(cls, Z):
        """Learn from prepared features, (people, features)."""
        mean = Z.mean(axis=0)
        values, vectors = np.linalg.svd(Z - mean, full_matrices=False)[1:]
        variance = values**2 / max(len(Z) - 1, 1)
        total = variance.sum()
        usable = int(np.sum(variance > 1e-12 * max(total, 1e-300)))
        enough = int(np.searchsorted(np.cumsum(variance), VARIANCE * total) + 1)
        kept = min(usable, max(1, min(enough, len(Z) // PER_COMPONENT)))
        vectors = vectors[:kept]
        # the sign of a component is a matter of the library: fix it, so that equal models are equal files
        largest = np.abs(vectors).argmax(axis=1) if vectors.size else np.zeros(0, dtype=int)
        signs = np.sign(vectors[np.arange(kept), largest]) if vectors.size else np.ones(kept)
        return cls(mean, vectors * signs[:, None], np.sqrt(variance[:kept]))

    def leading(self, kept):
        """The same space with its first components only."""
        return Space(self.mean, self.components[:kept], self.spread[:kept])

    def distances(self, Z):
        """Mahalanobis distance within, and distance from, the components, (people, 2)."""
        centred = Z - self.mean
        along = centred @ self.components.T
        rest = centred - along @ self.components
        inside = np.sqrt(np.sum((along / np.where(self.spread > 0, self.spread, 1.0)) ** 2, axis=1))
        return np.column_stack([inside, np.linalg.norm(rest, axis=1)])


def combine(distances, scales):
    """Largest of a person's distances, each in units of its own limit; NaN for a person without any modality.

    Parameters
    ----------
    distances : dict of str to numpy.ndarray, (people, 2)
        NaN for people without the modality.
    scales : dict of str to numpy.ndarray, (2,)

    Returns
    -------
    numpy.ndarray, (people,)
    """
    ratios = np.concatenate([found / scales[name] for name, found in distances.items()], axis=1)
    known = np.isfinite(ratios).any(axis=1)
    return np.where(known, np.where(np.isfinite(ratios), ratios, -np.inf).max(axis=1), np.nan)


@dataclass
class Novelty:
    """Spaces of all modalities and the limits.

    Attributes
    ----------
    spaces : dict of str to Space
    scales : dict of str to numpy.ndarray, (2,)
        97.5 % quantile of each distance among people held out.
    limit : float
        Combined distance that 97.5 % of people held out stay below; distances are given in units of it.
    people : int
        People held out.
    """

    spaces: dict
    scales: dict
    limit: float
    people: int

    @classmethod
    def fit(cls, tables, present, inner, blocks):
        """Learn spaces from everybody, and limits from people held out.

        Parameters
        ----------
        tables : dict of str to numpy.ndarray, (people, columns)
        present : dict of str to numpy.ndarray of bool, (people,)
            Who has which modality.
        inner : numpy.ndarray of int, (people,)
            Inner test fold of every person.
        blocks : callable
            (name, train rows, other rows) to the prepared features of both: everything is fitted on the train rows.
        """
        spaces, scales, held = {}, {}, {}
        for name in tables:
            rows = np.flatnonzero(present[name])
            held[name] = np.full((len(inner), 2), np.nan)
            parts = []
            for k in np.unique(inner):
                train, test = rows[inner[rows] != k], rows[inner[rows] == k]
                if test.size and train.size > 1:
                    ready, others = blocks(name, train, test)
                    parts.append((Space.fit(ready), others, test))
            whole = Space.fit(blocks(name, rows, rows[:0])[0])
            # distances grow with the number of components: one number for all, or limits would not fit
            kept = min(len(space.components) for space in (whole, *(p[0] for p in parts)))
            for space, others, test in parts:
                held[name][test] = space.leading(kept).distances(others)
            spaces[name] = whole.leading(kept)
            found = held[name][np.isfinite(held[name]).all(axis=1)]
            scale = np.quantile(found, SHARE, axis=0) if len(found) else np.ones(2)
            scales[name] = np.where(scale > 1e-12, scale, 1.0)
        together = combine(held, scales)
        together = together[np.isfinite(together)]
        # the rank that people of the same kind exceed with probability 2.5 % (split conformal, Vovk et al. 2005); a
        # plain quantile of few people would be exceeded more often
        rank = min(together.size, int(np.ceil((together.size + 1) * SHARE)))
        limit = float(np.sort(together)[rank - 1]) if rank else 1.0
        return cls(spaces, scales, limit if limit > 0 else 1.0, int(together.size))

    def distance(self, prepared):
        """Combined distance in units of the limit: above 1 is unlike the training people.

        Parameters
        ----------
        prepared : dict of str to numpy.ndarray, (people, features)
            Rows of people without the modality are NaN.

        Returns
        -------
        numpy.ndarray, (people,)
        """
        found = {}
        for name, space in self.spaces.items():
            Z = prepared[name]
            known = np.isfinite(Z).all(axis=1)
            found[name] = np.full((len(Z), 2), np.nan)
            found[name][known] = space.distances(Z[known])
        return combine(found, self.scales) / self.limit


def steps_of(data, model, name):
    """Unfitted steps of one modality before the estimator; see `neurobraid.prediction.estimators.make_pipeline`."""
    features = data.tables[name].shape[1] - data.last
    nuisance = range(features, features + data.last)
    return make_pipeline(
        {name: range(features)},
        nuisance,
        RidgePath(),
        model["min_present"],
        harmonize=data.harmonize,
        indicator=model["missing_modality"] == "impute",
        fronts=fronts(data, model),
    )[:-1]


def cross_validated(data, folds, model):
    """How many people are flagged when neither space nor limit has seen them: about 2.5 % when folds are alike.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    folds : neurobraid.prediction.folds.Folds
        The first repeat is used.
    model : dict

    Returns
    -------
    dict
        people, flagged, share, expected, and per outer fold people and flagged (with the site where a fold is one).
    """
    there = {name: present(data, name, model) for name in data.tables}
    flagged, parts = [], []
    for repeat, fold, train, test, inside in folds.splits():
        if repeat:
            break

        def blocks(name, rows, others, train=train):
            return prepare(data, steps_of(data, model, name), name, train[rows], train[others])

        tables = {name: table[train] for name, table in data.tables.items()}
        novelty = Novelty.fit(tables, {n: has[train] for n, has in there.items()}, inside, blocks)
        ready = {}
        for name in data.tables:
            rows, others = train[there[name][train]], test[there[name][test]]
            done = prepare(data, steps_of(data, model, name), name, rows, others)[1]
            ready[name] = np.full((test.size, done.shape[1]), np.nan)
            ready[name][there[name][test]] = done
        distance = novelty.distance(ready)
        known = np.isfinite(distance)
        sites = np.unique(data.sites[test])
        parts.append(
            {
                "fold": fold + 1,
                "site": str(sites[0]) if sites.size == 1 and np.unique(data.sites).size > 1 else None,
                "people": int(known.sum()),
                "flagged": int(np.sum(distance[known] > 1)),
            }
        )
        flagged.append(distance[known] > 1)
    found = np.concatenate(flagged) if flagged else np.zeros(0, dtype=bool)
    return {
        "people": int(found.size),
        "flagged": int(found.sum()),
        "share": float(found.mean()) if found.size else None,
        "expected": 1 - SHARE,
        "folds": parts,
    }


def present(data, name, model):
    """Who has a modality, (rows,) bool; everybody where a missing one is filled in."""
    table = data.tables[name]
    features = table[:, : table.shape[1] - data.last]
    return np.isfinite(features).any(axis=1) | (model["missing_modality"] == "impute")


def prepare(data, steps, name, train, others):
    """Features of two groups of rows after steps fitted on the first; reference people accompany the second.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    steps : sklearn transformer
    name : str
        Modality.
    train, others : numpy.ndarray of int

    Returns
    -------
    train, others : numpy.ndarray, (rows, kept)
    """
    table = data.tables[name]
    fitted = steps.fit(table[train], data.y[train])
    ready = fitted.transform(table[train])
    if not others.size:
        return ready, np.empty((0, ready.shape[1]))
    return ready, fitted.transform(table[np.r_[others, data.extra]])[: others.size]
