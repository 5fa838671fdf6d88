"""What a model rests on: features of a region, a network or a modality permuted among the people tested, and null patterns.

Permuted is what the estimator sees, after imputation, harmonisation, removal of confounds and scaling, so that the drop is that of
the features and not of the confounds that travel with them. A linear score is a sum over features: only the partial sum of a
group changes places, and hundreds of groups cost no more than one.
"""

import numpy as np
from sklearn.base import clone

from neurobraid.prediction.estimators import standard
from neurobraid.prediction.labels import choose_columns, ridge_columns
from neurobraid.prediction.metrics import corrected_interval
from neurobraid.prediction.permutation import exchange_units, fold_metric, permuted_rows
from neurobraid.prediction.steps import prepare, present_columns, trailing
from neurobraid.stats.discovery import benjamini_hochberg

#: Between the two ends of an edge in the name of a feature.
EDGE = "--"
#: People below whom the pattern of a model is not reliable (Chen et al. 2023, NeuroImage 274:120115).
RELIABLE = 500
#: Relative penalties among which the regression of a group on the rest chooses, by generalised cross-validation.
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
#: Regions of a summary; the table has all.
LISTED = 15

IMPORTANCE_COLUMNS = {
    "level": "modality, network or region",
    "feature_set": "Feature set whose columns were permuted; all where the group has columns in several",
    "name": "Modality, network or region; an edge belongs to both of its ends",
    "features": "Columns permuted together",
    "drop": "Mean loss of the primary metric over folds; what the model rests on is above 0",
    "low": "Lower end of the corrected resampled 95 % interval of the drop",
    "high": "Upper end",
    "conditional_drop": "The same with only what the rest of the features does not predict permuted; n/a unless asked for",
    "conditional_low": "Lower end of its interval",
    "conditional_high": "Upper end",
    "folds": "Folds with a drop",
}
PATTERN_COLUMNS = {
    "feature_set": "Feature set",
    "modality": "Modality of the feature",
    "measure": "Measure",
    "region": "Region or pair",
    "pattern": "Haufe pattern: correlation of the feature with the score of its feature set, mean over folds",
    "sign": "Share of folds with the sign of the mean",
    "folds": "Folds that kept the feature",
    "z": "Pattern of the ridge model against patterns of models with permuted labels, in SD of these",
    "p": "Two-sided permutation p, (1 + b) / (1 + nulls); n/a without null models",
    "p_fdr": "The same, adjusted within the feature set (Benjamini-Hochberg)",
    "p_fwe": "p of the largest z of the feature set (maximum statistic)",
}


def parts_of(feature):
    """Modality, measure and ends of a feature by its name.

    Examples
    --------
    >>> parts_of("fmri-rest connectivity Vis--Default")
    ('fmri-rest', 'connectivity', ('Vis', 'Default'))
    >>> parts_of("anat volume Left Thalamus")
    ('anat', 'volume', ('Left Thalamus',))
    """
    modality, measure, region = [*str(feature).split(" ", 2), "", ""][:3]
    return modality, measure, tuple(dict.fromkeys(region.split(EDGE)))


def groups_of(names, networks=None):
    """Columns of every modality, network and region.

    Parameters
    ----------
    names : dict of str to list of str
        Feature names of every feature set.
    networks : dict of str to str, optional
        Network of every region, from the table of the atlas.

    Returns
    -------
    list of tuple
        (level, feature set or ``all``, name, dict of feature set to numpy.ndarray of int). ``all`` only where a group has
        columns in several sets. A region that is alone in its feature set stands for it and is left out.
    """
    found = {}
    for name, columns in names.items():
        found["modality", name] = {name: range(len(columns))}
        for place, column in enumerate(columns):
            ends = parts_of(column)[2]
            for level, labels in (("region", ends), ("network", {(networks or {}).get(e) for e in ends})):
                for label in labels:
                    if isinstance(label, str) and label and label != "n/a":
                        found.setdefault((level, label), {}).setdefault(name, []).append(place)
    order = {"modality": 0, "network": 1, "region": 2}
    out = []
    for (level, label), members in sorted(found.items(), key=lambda item: order[item[0][0]]):
        taken = {name: np.asarray(columns, dtype=int) for name, columns in members.items()}
        if len(taken) > 1:
            out.append((level, "all", label, taken))
        out.extend(
            (level, name, label, {name: columns})
            for name, columns in taken.items()
            if level == "modality" or len(columns) < len(names[name])
        )
    return out


def linear_weights(estimator, choice):
    """Weights of a fitted estimator on what it is given, (columns,), or None when it is not linear."""
    weights = getattr(estimator, "weights_", None)
    if isinstance(weights, np.ndarray) and weights.ndim == 2:
        return weights[:, choice]
    models = getattr(estimator, "models_", None)
    fitted = models[choice] if isinstance(models, list) and len(models) > choice else None
    if not hasattr(fitted, "coef_"):
        return None
    scale = getattr(estimator, "factor_", 1.0) * getattr(estimator, "unit_", 1.0)
    return np.ravel(fitted.coef_) * scale


def kept_columns(steps, count):
    """Feature behind every column that the steps of a block give, -1 for one that is no feature; None if unknown.

    Parameters
    ----------
    steps : sequence of (str, estimator)
        Fitted steps of one block, in order.
    count : int
        Features that enter.

    Returns
    -------
    numpy.ndarray of int, or None
    """
    columns = np.arange(count)
    for _, step in steps:
        if hasattr(step, "keep_"):
            columns = columns[step.keep_[:count]] if columns.size == count else columns
        elif getattr(step, "indicator", False):
            columns = np.r_[-1, columns]
        elif hasattr(step, "get_support"):
            support = np.asarray(step.get_support())
            if support.size != columns.size:
                return None
            columns = columns[support]
    return columns


class _Member:
    """One fitted pipeline of a fold: what its estimator sees, and how its score enters the model's."""

    def __init__(self, fitted, counts, scaled):
        self.estimator, self.choice = fitted.pipeline_[-1], fitted.choice_
        self.before = fitted.pipeline_[:-1]
        self.center, self.spread = standard(fitted.inner_scores_) if scaled else (0.0, 1.0)
        self.places, self.counts, self.kernels, start = {}, counts, [], 0
        for name, steps, columns in fitted.pipeline_[0].transformers_:
            if name not in counts:
                continue
            if "kernel" in getattr(steps, "named_steps", {}):
                self.kernels.append((steps[:-1], steps[-1], columns))
            known = kept_columns(getattr(steps, "steps", []), counts[name])
            self.places[name] = (start, known)
            start += 0 if known is None else known.size

    def transform(self, X, reference=None):
        """Prepared features of the rows of X; reference rows accompany those of an unseen site."""
        rows = X if reference is None or not len(reference) else np.concatenate([X, reference])
        if self.kernels:
            # similarities to training people are no features: stop before them, and make them anew in `score`
            ready = [np.asarray(steps.transform(rows[:, columns])) for steps, _, columns in self.kernels]
            self.widths = [part.shape[1] for part in ready]
            return np.concatenate(ready, axis=1)[: len(X)]
        return np.asarray(self.before.transform(rows), dtype=np.float64)[: len(X)]

    def score(self, Z):
        if self.kernels:
            parts = np.split(Z, np.cumsum(self.widths)[:-1], axis=1)
            made = [kernel.transform(part) for (_, kernel, _), part in zip(self.kernels, parts, strict=True)]
            Z = np.concatenate(made, axis=1)
        return (self.estimator.scores(Z)[:, self.choice] - self.center) / self.spread

    def columns(self, taken):
        """Columns of the prepared table that hold these features; None where a step does not say what it keeps."""
        found = []
        for name, wanted in taken.items():
            if name not in self.places:
                continue
            start, known = self.places[name]
            if known is None:
                return None
            # a modality as a whole takes its indicator of missing people along
            whole = wanted.size == self.counts[name]
            found.append(start + np.flatnonzero(np.isin(known, wanted) | (whole & (known < 0))))
        return np.concatenate(found) if found else np.empty(0, dtype=int)


class Importance:
    """Drops of the primary metric, gathered fold by fold while a model is cross-validated.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    model : dict
        From `neurobraid.prediction.model.complete`; ``importance`` has ``repeats`` and ``conditional``.
    networks : dict of str to str, optional
        Network of every region.
    units : numpy.ndarray of str, optional, (rows,)
        People (or families) that change places as a whole; default the groups of the model.
    blocks : numpy.ndarray of str, optional, (rows,)
        They change places within a block; default the sites.
    """

    def __init__(self, data, model, networks=None, units=None, blocks=None):
        self.data, self.model = data, model
        self.settings = model["importance"]
        self.units = data.groups if units is None else units
        self.blocks = data.sites if blocks is None else blocks
        self.groups = groups_of(data.names, networks)
        self.counts = {name: len(columns) for name, columns in data.names.items()}
        self.drops, self.conditional = [], []
        self.turn = 0

    def fold(self, train, test, X, fused, early, present, second=None):
        """Permute in one fold of a model: `fused` is its `LateFusion`; `early`, or `second` (`Stacking`), where that is the model."""
        members, calibrator = fused.models_, fused.calibrator_
        if early is not None and len(members) > 1:
            members, calibrator = {"early": early}, early.calibrator_
            present = {"early": np.ones(len(X), dtype=bool)}
        elif len(members) == 1:
            calibrator = next(iter(members.values())).calibrator_
        elif second is not None:
            calibrator = second.calibrator_
        # where only the order of people counts, it is the same before and after calibration
        calibrator = calibrator if self.model["kind"] == "regression" else None
        weights = second.weights_ if second is not None and len(members) > 1 else None
        self.add(train, test, X, members, present, calibrator, weights)

    def add(self, train, test, X, fitted, present, calibrator=None, weights=None):
        """Permute on the people tested in one fold.

        Parameters
        ----------
        train, test : numpy.ndarray of int
        X : numpy.ndarray, (rows, columns)
            The table that the pipelines read.
        fitted : dict of str to TunedModel
            Members of the late fusion, or the one model.
        present : dict of str to numpy.ndarray of bool, (rows,)
            Who has which member.
        calibrator : object with ``apply``, optional
            From the fused score to the unit of the target.
        weights : numpy.ndarray, optional, (members,)
            Of every member's score; default all the same.
        """
        repeats = self.settings["repeats"]
        if not repeats or not test.size:
            return
        members = {name: _Member(one, self.counts, len(fitted) > 1) for name, one in fitted.items()}
        has = np.stack([present[name] for name in members])
        total, known = np.zeros(test.size), has[:, test].any(axis=0)
        count = np.maximum(has[:, test].sum(axis=0), 1)
        weights = np.ones(len(members)) if weights is None else weights
        weights = (weights / weights.sum())[:, None]
        # a member that a person lacks counts as the mean of the others
        share = dict(zip(members, weights + (weights * ~has[:, test]).sum(axis=0) / count, strict=True))
        tables = {}
        for place, (name, member) in enumerate(members.items()):
            rows = has[place][test]
            if not rows.any():
                continue
            Z = member.transform(X[test[rows]], X[self.data.extra])
            tables[name] = (rows, Z)
            total[rows] += member.score(Z) * share[name][rows]
        pattern = np.array(["".join("1" if one else "0" for one in column) for column in has[:, test].T])
        blocks = np.array([f"{s}|{p}" for s, p in zip(self.blocks[test], pattern, strict=True)])
        gathered = exchange_units(self.units[test], blocks)
        rng = np.random.default_rng([self.model["seed"], self.turn])
        self.turn += 1
        orders = [permuted_rows(gathered, test.size, rng) for _ in range(repeats)]
        base = self._metric(train, test, total[:, None], known, calibrator)[0]
        for conditional in (False, True)[: 1 + bool(self.settings["conditional"])]:
            rest = self._expectations(members, train, X, has) if conditional else None
            drops = np.full(len(self.groups), np.nan)
            for number, (_, _, _, taken) in enumerate(self.groups):
                changed = self._changed(members, tables, taken, orders, share, rest)
                if changed is not None:
                    values = self._metric(train, test, total[:, None] + changed, known, calibrator)
                    drops[number] = base - np.mean(values) if np.isfinite(values).all() else np.nan
            (self.conditional if conditional else self.drops).append(drops)

    def _metric(self, train, test, scores, known, calibrator):
        if calibrator is not None:
            scores = np.stack([calibrator.apply(column) for column in scores.T], axis=1)
        y, kind = self.data.y, self.model["kind"]
        values = fold_metric(y[test[known]][:, None], scores[known], np.mean(y[train], axis=0), kind)
        return np.asarray(values, dtype=np.float64)

    def _changed(self, members, tables, taken, orders, share, rest):
        """What permuting a group adds to the score of every person, (test, repeats); None if the group is unknown."""
        count = len(next(iter(share.values())))
        changed = np.zeros((count, len(orders)))
        touched = False
        for name, (rows, Z) in tables.items():
            member = members[name]
            columns = member.columns(taken)
            if columns is None:
                return None
            if not columns.size:
                continue
            touched = True
            expected = rest(name, columns, tables) if rest is not None else 0.0
            weights = None if member.kernels else linear_weights(member.estimator, member.choice)
            where = np.flatnonzero(rows)
            inverse = np.full(count, -1)
            inverse[where] = np.arange(where.size)
            free = Z[:, columns] - expected
            if weights is not None:
                partial = free @ weights[columns] / member.spread
                for turn, order in enumerate(orders):
                    moved = partial[inverse[order[where]]]
                    changed[where, turn] += (moved - partial) * share[name][where]
                continue
            before = member.score(Z)
            for turn, order in enumerate(orders):
                other = Z.copy()
                other[:, columns] = expected + free[inverse[order[where]]]
                changed[where, turn] += (member.score(other) - before) * share[name][where]
        return changed if touched else None

    def _expectations(self, members, train, X, has):
        """Regression of columns on all others, fitted on the training people."""
        ready, parts, start, first = [], {}, 0, {}
        for place, (name, member) in enumerate(members.items()):
            rows = np.flatnonzero(has[place][train])
            Z = member.transform(X[train[rows]])
            full = np.zeros((train.size, Z.shape[1]))
            full[rows] = Z
            ready.append(full)
            parts[name], first[name] = rows, start
            start += Z.shape[1]
        joined = np.concatenate(ready, axis=1)
        gram = joined @ joined.T

        def rest(name, columns, tables):
            rows, Z = tables[name]
            people, taken = parts[name], first[name] + columns
            target = joined[np.ix_(people, taken)]
            others = gram[np.ix_(people, people)] - target @ target.T
            tested = np.zeros((len(Z), joined.shape[1]))
            where = np.flatnonzero(rows)
            for other, (theirs, values) in tables.items():
                lookup = np.full(rows.size, -1)
                lookup[np.flatnonzero(theirs)] = np.arange(len(values))
                both = lookup[where]
                tested[both >= 0, first[other] : first[other] + values.shape[1]] = values[both[both >= 0]]
            cross = tested @ joined[people].T - tested[:, taken] @ target.T
            return expected(others, cross, target)

        return rest

    def table(self, test_share):
        """All groups with their drops.

        Parameters
        ----------
        test_share : float
            See `neurobraid.prediction.metrics.corrected_interval`.

        Returns
        -------
        pandas.DataFrame
            Columns of `IMPORTANCE_COLUMNS`; within a level and feature set the largest drop first.
        """
        import pandas as pd

        drops, conditional = np.array(self.drops), np.array(self.conditional)
        rows = []
        for number, (level, name, label, taken) in enumerate(self.groups):
            found = corrected_interval(drops[:, number], test_share) if drops.size else {}
            given = corrected_interval(conditional[:, number], test_share) if conditional.size else {}
            row = {
                "level": level,
                "feature_set": name,
                "name": label,
                "features": sum(map(len, taken.values())),
            }
            row |= {"drop": found.get("mean", np.nan)} | {k: found.get(k, np.nan) for k in ("low", "high")}
            row |= {"conditional_drop": given.get("mean", np.nan)}
            row |= {f"conditional_{k}": given.get(k, np.nan) for k in ("low", "high")}
            rows.append({**row, "folds": found.get("folds", 0)})
        table = pd.DataFrame(rows, columns=list(IMPORTANCE_COLUMNS))
        place = {key: k for k, key in enumerate(dict.fromkeys((g[0], g[1]) for g in self.groups))}
        first = [place[level, name] for level, name in zip(table["level"], table["feature_set"], strict=True)]
        order = np.lexsort((table["name"], -table["drop"].fillna(-np.inf), first))
        return table.iloc[order].reset_index(drop=True)


def expected(gram, cross, target):
    """Ridge prediction of columns from others, the penalty by generalised cross-validation.

    Parameters
    ----------
    gram : numpy.ndarray, (people, people)
        Products of the training people on the other columns.
    cross : numpy.ndarray, (tested, people)
        Products of the people tested with them.
    target : numpy.ndarray, (people, columns)

    Returns
    -------
    numpy.ndarray, (tested, columns)
    """
    people = len(gram)
    mean = target.mean(axis=0)
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)
    unit = max(values.sum() / max(people - 1, 1), 1e-300)
    turned = vectors.T @ (target - mean)
    best = None
    for penalty in PENALTIES:
        shrunk = values / (values + unit * penalty)
        left = np.sum((turned * (1 - shrunk)[:, None]) ** 2)
        score = left / max(1 - shrunk.sum() / people, 1e-6) ** 2
        if best is None or score < best[0]:
            best = score, penalty
    return mean + cross @ (vectors @ (turned / (values + unit * best[1])[:, None]))


def summarise(table, model, main, people):
    """What the summary of a model says about importance: modalities, networks and the first regions.

    Parameters
    ----------
    table : pandas.DataFrame
        From `Importance.table`.
    model : dict
    main : str
        Feature set whose columns were permuted.
    people : int

    Returns
    -------
    dict
    """
    top = table[table["level"] != "region"]
    regions = table[table["level"] == "region"].groupby("feature_set", sort=False).head(LISTED)
    rows = [*top.to_dict("records"), *regions.to_dict("records")]
    return {
        "feature_set": main,
        "repeats": model["importance"]["repeats"],
        "conditional": bool(model["importance"]["conditional"]),
        "permuted": f"among the people tested, within {model['site']}",
        "reliable": people >= RELIABLE,
        "note": ""
        if people >= RELIABLE
        else f"Fewer than {RELIABLE} people: which features a model rests on is not reliable from one sample to the next, even "
        "where its score is (Chen et al. 2023). Read patterns and importance as a description of this model.",
        "groups": [
            {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
            for row in rows
        ],
    }


# ------------------------------------------------------------------ null patterns


def _fold_patterns(
    table,
    Y,
    train,
    inside,
    last,
    confounds,
    grid,
    kind,
    min_present,
    harmonize=None,
    indicator=False,
    extra=(),
    front=None,
):
    """Patterns of one fold and modality for many targets, (features, targets), NaN for features not kept."""

    def fit(fitted, others):
        # reference people accompany the people of an unseen site
        rows = np.r_[others, np.asarray(extra, dtype=int)]
        ready = prepare(table[fitted], table[rows], confounds, min_present, harmonize, indicator, front)
        return ready[0], ridge_columns(*ready, Y[fitted], grid, kind)[:, : others.size]

    inner = np.empty((len(grid), train.size, Y.shape[1]))
    for k in np.unique(inside):
        inner[:, inside == k] = fit(train[inside != k], train[inside == k])[1]
    best = choose_columns(inner, Y[train], inside, kind)
    Z, scores = fit(train, train)
    scores = scores[best, :, np.arange(Y.shape[1])].T
    entered = table[train] if front is None else clone(front).fit_transform(table[train])
    features = entered.shape[1] - last
    keep = present_columns(entered[:, :features], min_present)
    Z = Z[:, Z.shape[1] - int(keep.sum()) :] if keep.any() else Z[:, :0]
    spread = Z.std(axis=0)[:, None] * scores.std(axis=0)
    product = (Z - Z.mean(axis=0)).T @ (scores - scores.mean(axis=0)) / train.size
    out = np.full((features, Y.shape[1]), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        out[keep] = np.where(spread > 1e-15, product / spread, 0.0)
    return out


def null_patterns(
    tables, y, folds, units, blocks, *, count, seed, confounds, grid, kind, min_present, harmonize=None,
    indicator=False, extra=(), fronts=None, **_,
):  # fmt: skip
    """Haufe patterns of the ridge model against those of models refitted to labels permuted within blocks.

    Parameters
    ----------
    tables, y, folds, confounds, grid, kind, min_present, harmonize, indicator, extra, fronts
        See `neurobraid.prediction.permutation.fold_scores`.
    units, blocks : numpy.ndarray of str, (rows,)
        See `neurobraid.prediction.permutation.exchange_units`.
    count, seed : int

    Returns
    -------
    dict of str to dict
        Per feature set ``z``, ``p``, ``p_fdr``, ``p_fwe``, (features,); ``stability`` of the real patterns (mean
        correlation between folds), ``null_stability`` and ``stability_p``: folds share people, so that patterns of
        shuffled labels agree over folds too. Without movable units p is NaN.

    Notes
    -----
    Haufe et al. 2014, NeuroImage 87:96; tuning and fit are repeated for every permutation. Under strong regularisation
    a null pattern follows the largest component of the data with either sign, so that p comes from ranks, not from z.
    """
    gathered = exchange_units(units, blocks)
    movable = any(len(members) > 1 for members in gathered)
    rng = np.random.default_rng(seed)
    turns = count if movable else 0
    Y = np.stack([y, *(y[permuted_rows(gathered, y.size, rng)] for _ in range(turns))], axis=1)
    last = trailing(confounds, harmonize)
    found = {}
    for name, table in tables.items():
        there = np.isfinite(table[:, : table.shape[1] - last]).any(axis=1) | indicator
        # a first step may make other features of the columns: of several visits fewer
        front = (fronts or {}).get(name)
        entered = table if front is None else clone(front).fit_transform(table[there])
        features = entered.shape[1] - last
        total, times = np.zeros((features, 1 + turns)), np.zeros((features, 1))
        direction, parts = np.zeros((features, 1 + turns)), 0
        for _, _, train, _, inside in folds.splits():
            has = there[train]
            if has.sum() < 4:
                continue
            one = _fold_patterns(
                table, Y, train[has], inside[has], last, confounds, grid, kind, min_present, harmonize, indicator,
                extra, front,
            )  # fmt: skip
            kept = np.isfinite(one[:, :1])
            one = np.where(kept, one, 0.0)
            total += one
            times += kept
            centred = np.where(kept, one - one.sum(axis=0) / max(kept.sum(), 1), 0.0)
            size = np.linalg.norm(centred, axis=0)
            direction += centred / np.where(size > 0, size, 1.0)
            parts += 1
        found[name] = _against(total / np.maximum(times, 1), times[:, 0] > 0, direction, parts)
    return found


def _against(patterns, known, direction, parts):
    real, null = patterns[:, 0], patterns[:, 1:]
    empty = np.full(real.size, np.nan)
    out = {"z": empty, "p": empty.copy(), "p_fdr": empty.copy(), "p_fwe": empty.copy()}
    agree = (np.sum(direction**2, axis=0) - parts) / max(parts * (parts - 1), 1)
    out |= {
        "stability": float(agree[0]) if parts > 1 else np.nan,
        "null_stability": np.nan,
        "stability_p": np.nan,
    }
    count = null.shape[1]
    if count < 2 or not known.any():
        return out
    mean, spread = null.mean(axis=1), null.std(axis=1, ddof=1)
    spread = np.where(spread > 1e-12, spread, np.nan)
    z = (real - mean) / spread
    nulls = (null - mean[:, None]) / spread[:, None]
    use = known & np.isfinite(z)
    if not use.any():
        return out
    size, sizes = np.abs(z[use]), np.abs(nulls[use])
    p = (1 + np.sum(sizes >= size[:, None] - 1e-12, axis=1)) / (1 + count)
    largest = sizes.max(axis=0)
    for key, values in (
        ("z", z[use]),
        ("p", p),
        ("p_fdr", benjamini_hochberg(p)),
        ("p_fwe", (1 + np.sum(largest >= size[:, None] - 1e-12, axis=1)) / (1 + count)),
    ):
        out[key] = np.where(use, 0.0, np.nan)
        out[key][use] = values
    if parts > 1:
        out["null_stability"] = float(agree[1:].mean())
        out["stability_p"] = float((1 + np.sum(agree[1:] >= agree[0] - 1e-12)) / (1 + count))
    return out


def pattern_table(patterns, names, nulls):
    """Every feature with its pattern, sign consistency and null.

    Parameters
    ----------
    patterns : dict of str to list of numpy.ndarray, (features,)
        Of every feature set and fold; NaN where a fold dropped the feature.
    names : dict of str to list of str
    nulls : dict or None
        From `null_patterns`.

    Returns
    -------
    pandas.DataFrame
        Columns of `PATTERN_COLUMNS`, largest pattern of a feature set first.
    """
    import pandas as pd

    frames = []
    for name, values in patterns.items():
        values = np.array(values)
        known = np.isfinite(values)
        count = known.sum(axis=0)
        mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1)
        agree = (known & (np.sign(np.where(known, values, 0.0)) == np.sign(mean))).sum(axis=0)
        parts = [parts_of(feature) for feature in names[name]]
        null = (nulls or {}).get(name) or {}
        frame = pd.DataFrame(
            {
                "feature_set": name,
                "modality": [p[0] for p in parts],
                "measure": [p[1] for p in parts],
                "region": [str(f).split(" ", 2)[-1] for f in names[name]],
                "pattern": np.where(count > 0, mean, np.nan),
                "sign": np.where(count > 0, agree / np.maximum(count, 1), np.nan),
                "folds": count,
                **{k: null.get(k, np.full(len(parts), np.nan)) for k in ("z", "p", "p_fdr", "p_fwe")},
            }
        )
        order = np.argsort(-np.abs(frame["pattern"].fillna(0).to_numpy()), kind="stable")
        frames.append(frame.iloc[order])
    if not frames:
        return pd.DataFrame({c: pd.Series(dtype="object") for c in PATTERN_COLUMNS})
    return pd.concat(frames, ignore_index=True)[list(PATTERN_COLUMNS)]
