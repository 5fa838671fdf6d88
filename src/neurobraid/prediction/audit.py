"""The leakage audit: what a careful reviewer would try, tried on every model by itself.

Every check has a name, a value, a limit and a sentence. A flag does not prove a leak; it names what could explain
the score besides the brain.
"""

import re

import numpy as np
from sklearn.base import BaseEstimator, clone

from neurobraid.errors import InputError
from neurobraid.prediction import traces
from neurobraid.prediction.folds import Unavailable, check_folds, make_folds
from neurobraid.prediction.kinds import CHANCE, ORDERED, PRIMARY, WORD, plain, rank_metric, strength
from neurobraid.prediction.learners import flexible
from neurobraid.prediction.metrics import auc, corrected_interval, cramers_v
from neurobraid.prediction.permutation import (
    exchange_units,
    fold_metric,
    fold_scores,
    permuted_rows,
    statistics,
)
from neurobraid.prediction.timeline import untimed
from neurobraid.prediction.visit_targets import exchangeable

#: Association of site and target (Cramer's V, correlation ratio) above which a confirmatory model is stopped.
SITE_LIMIT = 0.3
#: Association of the letters of identifiers with the target above which they are named.
FORM_LIMIT = 0.5
#: Correlation of two rows above which they are called duplicates.
DUPLICATE = 0.999
#: AUC or absolute correlation of a single feature with the target that no brain measure has.
TARGET_LIKE = 0.98
#: What the baseline must exceed chance by, with its whole interval above chance, to be named.
MARGIN = {"classification": 0.05, "regression": 0.05, "ordinal": 0.1, "survival": 0.05}


#: Why a score of something that is no brain cannot be tried.
ABSENT = {
    "site": "There is one site, or no column names it.",
    "motion": "No column of head motion: name it in motion.",
    "missing": "Everybody has the same values: nothing is missing that could tell.",
    "demographics": "The model names no demographics.",
    "acquisition": "No column of the date of the scan: name it in acquisition.",
}


def finding(name, status, text, value=None, limit=None, **more):
    """One check: status ``ok``, ``flag``, or ``not possible``."""
    return {"check": name, "status": status, "value": value, "limit": limit, "text": text, **more}


def _json(value):
    return None if value is None or not np.isfinite(value) else float(value)


# ------------------------------------------------------------------ rows and splits


def straddling(folds, identities):
    """Names whose rows are on both sides of a split.

    Parameters
    ----------
    folds : neurobraid.prediction.folds.Folds
    identities : dict of str to numpy.ndarray of str, (rows,)
        ``participant_id``, ``family_id`` and so on.

    Returns
    -------
    list of dict
    """
    out = []
    for column, groups in identities.items():
        try:
            check_folds(folds, groups, file="folds", column=column)
        except InputError as error:
            found = error.problem
            text = f"{found.field} is {found.found}. {found.fix[:1].upper()}{found.fix[1:]}."
            out.append(finding(f"rows of one {column} on both sides", "flag", text, 1, 0))
        else:
            text = f"No {column} is on both sides of any split, at either level."
            out.append(finding(f"rows of one {column} on both sides", "ok", text, 0, 0))
    return out


def similar_rows(X, folds, people, labels=None):
    """Rows of different people that resemble each other more than people do.

    Parameters
    ----------
    X : numpy.ndarray, (rows, features)
    folds : neurobraid.prediction.folds.Folds
    people : numpy.ndarray of str, (rows,)
        Rows of one person are left to `straddling`.
    labels : numpy.ndarray of str, (rows,), optional
        Names for the text; default `people`.

    Returns
    -------
    list of dict
        ``near-duplicate rows``: correlation above .999 between a training and a test row. ``unusually similar
        rows``: correlations beyond any spread of the others (robust z of Fisher z above 6 and the Bonferroni limit),
        as of twins or of a person with two names.
    """
    from scipy.stats import norm

    labels = people if labels is None else labels
    name = "near-duplicate rows"
    whole = np.isfinite(X).all(axis=0)
    spread = np.zeros(X.shape[1])
    spread[whole] = X[:, whole].std(axis=0)
    use = spread > 0
    if use.sum() < 5 or len(X) < 4:
        return [finding(name, "not possible", "Fewer than five complete features.")]
    z = (X[:, use] - X[:, use].mean(axis=0)) / spread[use]
    z = z - z.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(z, axis=1, keepdims=True)
    similar = (z / np.where(norms > 0, norms, 1)) @ (z / np.where(norms > 0, norms, 1)).T
    apart = np.zeros(similar.shape, dtype=bool)
    for assigned in folds.outer:
        apart |= assigned[:, None] != assigned
    first, second = np.nonzero(np.triu(apart & (people[:, None] != people), 1))
    values = similar[first, second]
    out = []
    twins = np.flatnonzero(values > DUPLICATE)
    if twins.size:
        pairs = [f"{labels[first[k]]} and {labels[second[k]]}" for k in twins[:3]]
        text = (
            f"{twins.size} pair(s) of rows are the same to a correlation of {DUPLICATE}: {'; '.join(pairs)}."
        )
        out.append(finding(name, "flag", text, int(twins.size), 0))
    else:
        out.append(finding(name, "ok", "No two people have the same row.", 0, 0))
    fisher = np.arctanh(np.clip(values, -0.999999, 0.999999))
    middle = np.median(fisher)
    scale = 1.4826 * np.median(np.abs(fisher - middle))
    limit = max(6.0, norm.isf(0.005 / max(values.size, 1)))
    odd = np.flatnonzero(
        (fisher - middle > limit * max(scale, 1e-12)) & (values > 0.5) & (values <= DUPLICATE)
    )
    name = "unusually similar rows"
    if odd.size:
        odd = odd[np.argsort(-values[odd])]
        pairs = [f"{labels[first[k]]} and {labels[second[k]]} ({values[k]:.2f})" for k in odd[:3]]
        text = (
            f"{odd.size} pair(s) of rows of different people resemble each other far more than others do: "
            f"{'; '.join(pairs)}. Relatives, or one person under two names? Name them in the groups column."
        )
        out.append(finding(name, "flag", text, int(odd.size), 0))
    else:
        out.append(finding(name, "ok", "No two people resemble each other beyond the spread of all.", 0, 0))
    return out


def target_like(tables, names, y, kind):
    """Single features that are the target in other words.

    Among many features and few people some feature separates the classes by chance; where that is likely (exact
    probability of a perfect separation times the number of features above 1 %), the feature is told but not flagged.
    """
    from math import comb

    best, where = 0.0, None
    for name, table in tables.items():
        for column, label in enumerate(names[name]):
            values = table[:, column]
            known = np.isfinite(values)
            if known.sum() < 8 or np.ptp(values[known]) == 0 or np.ptp(y[known]) == 0:
                continue
            score = strength(y[known], values[known], kind)
            if score > best:
                best, where = float(score), f"{name}: {label}"
    word = {"classification": "AUC", "survival": WORD["survival"]}.get(kind, "correlation")
    count = sum(len(columns) for columns in names.values())
    if kind == "classification" and count * 2 / comb(y.size, int(np.sum(y > 0))) > 0.01:
        text = (
            f"The best single feature ({where}) has {word} {best:.2f}; among {count} features and {y.size} rows chance "
            "alone makes one that separates the classes."
        )
        return finding("feature that is the target", "ok", text, best, TARGET_LIKE)
    if best > TARGET_LIKE:
        text = f"{where} alone has {word} {best:.3f} with the target: it is the target in other words. Remove it."
        return finding("feature that is the target", "flag", text, best, TARGET_LIKE, feature=where)
    text = f"The best single feature ({where}) has {word} {best:.2f}."
    return finding("feature that is the target", "ok", text, best, TARGET_LIKE)


def identifier_form(names, y, kind):
    """Do the letters of the identifiers tell the target (``P01`` and ``C01``)?

    Parameters
    ----------
    names : numpy.ndarray of str, (rows,)
    y : numpy.ndarray, (rows,)
    kind : {'classification', 'regression'}

    Returns
    -------
    dict
    """
    name = "form of identifiers"
    letters = np.array([re.match(r"[A-Za-z]*", str(n).removeprefix("sub-")).group() for n in names])
    found, counts = np.unique(letters, return_counts=True)
    if found.size < 2 or found.size > y.size / 5:
        return finding(
            name,
            "ok",
            "The letters of identifiers are the same for everybody, or differ for all.",
            0.0,
            FORM_LIMIT,
        )
    value = association(letters, y, kind)
    text = f"Association of the letters of identifiers ({', '.join(found[np.argsort(-counts)][:5])}) with the target: {value:.2f}."
    if value > FORM_LIMIT:
        text += " Who knows the name knows the target: was the order of files, or a blind rating, made with these names?"
    return finding(name, "flag" if value > FORM_LIMIT else "ok", text, value, FORM_LIMIT)


def identifier_order(y, kind):
    """Does the order of the names tell the target? Rows are sorted by participant."""
    from scipy.stats import rankdata, spearmanr

    place = np.arange(y.size, dtype=float)
    if kind == "classification":
        n1 = int(np.sum(y > 0))
        n0 = y.size - n1
        z = (rankdata(place)[y > 0].sum() - n1 * (y.size + 1) / 2) / np.sqrt(n1 * n0 * (y.size + 1) / 12)
        value = auc(y, place)
    else:
        value = float(spearmanr(place, plain(y, kind)[0]).statistic)
        z = value * np.sqrt(max(y.size - 1, 1))
    text = f"{'AUC' if kind == 'classification' else 'Rank correlation'} of the order of identifiers: {value:.2f}."
    if abs(z) > 4:
        text += " The order tells the target: were groups recruited or named one after the other?"
    return finding("order of identifiers", "flag" if abs(z) > 4 else "ok", text, _json(value), z=_json(z))


def association(sites, y, kind):
    """Association of site and target: Cramer's V, or the correlation ratio eta of a number, rank or log-rank score."""
    y = plain(y, kind)[0]
    if kind == "classification":
        return cramers_v(sites, y)
    total = np.sum((y - y.mean()) ** 2)
    between = sum(np.sum(sites == s) * (y[sites == s].mean() - y.mean()) ** 2 for s in np.unique(sites))
    return float(np.sqrt(between / total)) if total > 0 else 0.0


# ------------------------------------------------------------------ fitted steps


def fitted_state(model, path=""):
    """Everything a fitted estimator has learned, by the name of its step.

    Parameters
    ----------
    model : object
        scikit-learn estimator, possibly nested.
    path : str

    Returns
    -------
    dict of str to object
        ``step.attribute`` to its value, for attributes that end with an underscore.
    """
    found = {}
    for name, value in sorted(vars(model).items()):
        label = f"{path}.{name}".lstrip(".")
        if isinstance(value, BaseEstimator) or (name.endswith("_") and _learned(value)):
            found.update(fitted_state(value, label))
        elif isinstance(value, dict) and name.endswith("_"):
            for key, part in sorted(value.items()):
                if isinstance(part, BaseEstimator) or _learned(part):
                    found.update(fitted_state(part, f"{label}.{key}"))
                else:
                    found[f"{label}.{key}"] = part
        elif isinstance(value, list) and name.endswith("_") and value and isinstance(value[0], BaseEstimator):
            for place, part in enumerate(value):
                found.update(fitted_state(part, f"{label}.{place}"))
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], tuple):
            for item in value:
                step = next((part for part in item if isinstance(part, BaseEstimator)), None)
                if step is not None:
                    found.update(fitted_state(step, f"{path}.{item[0]}".lstrip(".")))
        elif name.endswith("_") and not name.startswith("_"):
            found[label] = value
    return found


def _learned(value):
    """Is this an object of the project that keeps what it learned (a calibrator), and no array, number or text?"""
    return type(value).__module__.startswith("neurobraid") and any(n.endswith("_") for n in vars(value))


def _same(first, second):
    if isinstance(first, np.ndarray):
        return first.shape == second.shape and np.array_equal(
            first, second, equal_nan=first.dtype.kind == "f"
        )
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(_same(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, (int, float, str, bool, type(None))):
        return first == second
    return True


def _disturb(X, rows, seed):
    """Other values for some rows, of the same spread, missing where they were missing; integers are left alone."""
    rng = np.random.default_rng(seed)
    with np.errstate(invalid="ignore"):
        spread = np.where(np.isfinite(X), X, 0).std(axis=0)
        codes = np.array([np.isfinite(c).any() and np.all(np.mod(c[np.isfinite(c)], 1) == 0) for c in X.T])
    out = X.copy()
    out[rows] += np.where(codes, 0.0, 3 * spread) * rng.normal(size=(rows.size, X.shape[1]))
    return out


def probe_fit(fit, X, y, train, test, seed=0):
    """Steps of a model that learn from the rows tested, found by changing these rows and fitting again.

    Parameters
    ----------
    fit : callable
        ``fit(X, y, train)`` gets all rows and must return an estimator fitted on the rows `train`.
    X : numpy.ndarray, (rows, columns)
    y : numpy.ndarray, (rows,)
    train, test : numpy.ndarray of int
    seed : int

    Returns
    -------
    dict
        A finding; ``steps`` names what changed, or has ``n_samples_seen_`` above the number of training rows.
    """
    name = "fitted steps that saw test rows"
    flipped = y.copy()
    flipped[test] = y[test][::-1] if np.ptp(y[test]) == 0 else np.roll(y[test], 1)
    first, second = fitted_state(fit(X, y, train)), fitted_state(fit(_disturb(X, test, seed), flipped, train))
    changed = [key for key, value in first.items() if key not in second or not _same(value, second[key])]
    large = [k for k, v in first.items() if k.endswith("n_samples_seen_") and np.max(v) > train.size]
    steps = sorted({key.rsplit(".", 1)[0] for key in [*changed, *large]})
    if steps:
        text = f"{', '.join(steps)}: what was learned changes when only rows of the test fold change."
        return finding(name, "flag", text, len(steps), 0, steps=steps)
    text = f"Other test rows, same model: {len(first)} fitted numbers and arrays of the first fold are identical."
    return finding(name, "ok", text, 0, 0, steps=[])


def probe_preprocessing(prepare, X, y, train, test, seed=0):
    """Does a step done before the split carry test rows into training rows?

    Parameters
    ----------
    prepare : callable
        ``prepare(X, y)`` gives features of all rows, as a script would that runs before the model.
    X, y, train, test, seed
        See `probe_fit`.

    Returns
    -------
    list of dict
        Two findings: features of training rows that depend on values, and on labels, of test rows.
    """
    before = prepare(X, y)
    flipped = y.copy()
    rng = np.random.default_rng(seed)
    flipped[test] = rng.permutation(y)[: test.size] if y.dtype.kind == "f" else y[test][::-1]
    out = []
    for what, values, target in (("values", _disturb(X, test, seed), y), ("labels", X, flipped)):
        after = prepare(values, target)
        same = before.shape == after.shape and np.allclose(
            before[train], after[train], rtol=1e-9, atol=1e-12, equal_nan=True
        )
        name = f"preprocessing saw the {what} of test rows"
        text = (
            f"Training rows stay as they are when the {what} of the test rows change."
            if same
            else f"Training rows change when only the {what} of the test rows change: do this step inside the fold."
        )
        out.append(finding(name, "ok" if same else "flag", text, int(not same), 0))
    return out


# ------------------------------------------------------------------ scores that should be chance


def baseline(name, columns, y, folds, kind, grid, text):
    """Score of something that is no brain, on its own.

    Parameters
    ----------
    name : str
    columns : numpy.ndarray, (rows, columns)
    y, folds, kind, grid
        See `neurobraid.prediction.permutation.fold_scores`.
    text : str
        What it would mean.

    Returns
    -------
    dict
        A finding, flagged when the whole corrected interval is above chance and the mean by a margin.
    """
    done = fold_scores({"x": columns}, y, folds, confounds=0, grid=grid, kind=kind, min_present=0.0)
    values = [fold_metric(y[f.test][:, None], f.raw["x"], y[f.train].mean(), kind)[0] for f in done]
    found = corrected_interval(values, folds.test_share)
    tells = found["low"] > CHANCE[kind] and found["mean"] > CHANCE[kind] + MARGIN[kind]
    word = WORD[kind]
    shown = f"{word} {found['mean']:.2f} (95 % {found['low']:.2f} to {found['high']:.2f}). {text if tells else ''}"
    limit = CHANCE[kind] + MARGIN[kind]
    return finding(f"{name} only", "flag" if tells else "ok", shown.strip(), _json(found["mean"]), limit, **{
        k: _json(found[k]) for k in ("low", "high")
    })  # fmt: skip


def below_chance(metrics, primary, kind):
    """Feature sets whose whole interval is below chance: the mark of harmonisation or centring on everybody."""
    bad = [
        name
        for name, found in metrics.items()
        if name not in ("dummy", "demographics")
        and found[primary]["high"] < CHANCE[kind]
        and found[primary]["low"] < CHANCE[kind]
    ]
    if kind == "regression":
        # R2 below zero is ordinary for a useless model; a negative correlation is not
        bad = [
            n
            for n, found in metrics.items()
            if n not in ("dummy", "demographics") and found.get("r", {}).get("high", 1) < 0
        ]
    name = "below chance"
    if bad:
        text = (
            f"{', '.join(bad)}: reliably worse than a guess. Typical of data harmonised or centred with everybody, the "
            "people tested included, when groups differ by site; or of folds against which classes are matched."
        )
        return finding(name, "flag", text, len(bad), 0, sets=bad)
    return finding(name, "ok", "No feature set is reliably worse than a guess.", 0, 0)


def shuffled_labels(values, kind):
    """Mean of the permuted scores against chance."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    name = "shuffled labels"
    if values.size < 3:
        return finding(name, "not possible", "Too few permutations could be made.")
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(values.size)
    limit = CHANCE[kind] + max(0.03, 4 * error)
    text = f"Mean with shuffled labels {mean:.3f} ({values.size} runs)."
    if mean > limit:
        text += " The machinery finds something in nothing, or blocks of the permutation keep a difference."
    return finding(name, "flag" if mean > limit else "ok", text, _json(mean), limit)


def shuffled_features(score, features, rest, y, kind, runs=10, seed=0):
    """Features of other people, this person's confounds: what remains is made by removing the confounds.

    Parameters
    ----------
    score : callable
        ``score(table, y)`` gives the cross-validated primary metric; confounds are the last columns.
    features, rest : numpy.ndarray, (rows, features), (rows, others)
    y : numpy.ndarray, (rows,)
    kind : {'classification', 'regression'}
    runs, seed : int

    Returns
    -------
    dict
        A finding. Removing a target-like confound from features that know nothing writes the target into them, and
        a flexible learner reads it (Hamdan et al. 2023, GigaScience 12:giad071).
    """
    rng = np.random.default_rng(seed)
    values = [
        score(np.concatenate([features[rng.permutation(len(features))], rest], axis=1), y)
        for _ in range(runs)
    ]
    mean, error = np.nanmean(values), np.nanstd(values, ddof=1) / np.sqrt(runs)
    limit = CHANCE[kind] + max(0.05, 4 * error)
    name = "shuffled features after removal of confounds"
    text = f"Features of other people reach {mean:.3f} ({runs} runs)."
    if mean > limit:
        text += " The signal is made by the removal of the confounds; use a linear learner or leave the removal out."
    return finding(name, "flag" if mean > limit else "ok", text, _json(mean), limit)


def flexible_controls(data, controls, model):
    """The shuffled-feature control with the model's own flexible learner, one finding per modality.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    controls : dict of str to callable or None
        See `neurobraid.prediction.learners.controls`; None when no confound is removed.
    model : dict

    Returns
    -------
    list of dict
        With ``shown``: a page tells these findings whether they are flagged or not.
    """
    name = "shuffled features after removal of confounds"
    if controls is None:
        text = f"No confounds are removed from the features, so {model['estimator']} cannot read any back."
        return [finding(name, "not needed", text, shown=True)]
    out = []
    for modality, score in controls.items():
        table = data.tables[modality]
        cut = table.shape[1] - data.last
        found = shuffled_features(
            score, table[:, :cut], table[:, cut:], data.y, model["kind"], runs=5, seed=model["seed"]
        )
        found["text"] = f"{modality}, {model['estimator']}: {found['text']}"
        out.append({**found, "shown": True})
    return out


def within_site(y, score, rows, sites, kind):
    """Pooled AUC (correlation, Harrell's C) of held-out scores among people of the same site.

    Parameters
    ----------
    y : numpy.ndarray, (all rows,)
    score : numpy.ndarray, (scores,)
    rows : numpy.ndarray of int, (scores,)
    sites : numpy.ndarray of str, (all rows,)
    kind : {'classification', 'regression'}

    Returns
    -------
    float
        Weighted by pairs (AUC) or by people (r); NaN when no site has both classes or five people.
    """
    total, weight = 0.0, 0.0
    for name in np.unique(sites[rows]):
        here = sites[rows] == name
        target, values = y[rows][here], score[here]
        if kind == "classification":
            pairs = float(np.sum(target > 0) * np.sum(target <= 0))
            value = auc(target, values) if pairs else np.nan
        elif kind in ORDERED:
            pairs = float(here.sum())
            value = rank_metric(target, values[:, None], kind)[0] if pairs >= 5 else np.nan
        else:
            pairs = float(here.sum())
            good = pairs >= 5 and np.std(target) > 0 and np.std(values) > 0
            value = np.corrcoef(target, values)[0, 1] if good else np.nan
        if np.isfinite(value):
            total, weight = total + pairs * value, weight + pairs
    return total / weight if weight else np.nan


def schemes(data, model, settings, own, predictions, main):
    """The score within the pool, with every site left out once, and among people of one site.

    Returns
    -------
    dict
        ``within_pool`` (own score of the model), ``leave_one_site_out``, ``within_site``; None where impossible.
    """
    kind, out = model["kind"], {"within_pool": _json(own), "leave_one_site_out": None, "within_site": None}
    if np.unique(data.sites).size < 3:
        return out
    part = predictions[predictions["feature_set"] == main].groupby("row")["score"].mean()
    out["within_site"] = _json(within_site(data.y, part.to_numpy(), part.index.to_numpy(), data.sites, kind))
    if data.harmonize and data.harmonize["unseen"] == "error":
        return out
    try:
        folds = make_folds(
            data.y, data.sites, kind=kind, inner=3, repeats=1, seed=model["seed"], group_of_site=True,
            scheme="leave-one-group-out", untested=data.reference,
        )  # fmt: skip
        found = statistics(data.tables, data.y, folds, **{**settings, "early": False, "clinical": None})
    except (Unavailable, InputError):
        # too few sites of a class, or none of the reference people that the policy for unseen sites needs
        return out
    out["leave_one_site_out"] = _json(found.get("fused", next(iter(found.values()))))
    return out


def audit(
    data, folds, model, *, metrics, predictions, permuted, settings, main, fit=None, controls=None, more=()
):
    """All checks of one model.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    folds : neurobraid.prediction.folds.Folds
    model : dict
    metrics : dict
        Summaries of the feature sets.
    predictions : pandas.DataFrame
        feature_set, row, score.
    permuted : dict or None
        From `permutation_test`.
    settings : dict
        Of the ridge engine.
    main : str
        Feature set the model stands for.
    fit : tuple of (callable, numpy.ndarray), optional
        For `probe_fit`: the fit and its table.
    controls : dict of str to callable, optional
        Of a flexible learner; see `neurobraid.prediction.learners.controls`. A linear one is stood for by ridge.

    Returns
    -------
    dict
        ``checks``, ``flags`` (names), ``schemes``, ``site_association``.
    """
    kind, primary = model["kind"], PRIMARY[model["kind"]]
    grid, y = settings["grid"], data.y
    identities = {"participant_id": data.participants, "group": data.groups}
    if data.families is not None and np.any(data.families != data.participants):
        identities["family_id"] = data.families
    checks = straddling(folds, identities)
    for name, table in data.tables.items():
        for found in similar_rows(table[:, : len(data.names[name])], folds, data.participants):
            if found["status"] == "flag" or name == next(iter(data.tables)):
                checks.append({**found, "text": f"{name}: {found['text']}"})
    # one time point of a scan is no feature
    fixed = {name: table for name, table in data.tables.items() if data.kinds.get(name) != "series"}
    if fixed:
        checks.append(target_like(fixed, data.names, y, kind))
    checks.append(identifier_order(y, kind))
    checks.append(identifier_form(data.participants, y, kind))
    taken = {k: v for k, v in data.nuisance.items() if k in ("site", "demographics", "motion")}
    for name, trace, text in traces.find(data.tables, data.last, plain(y, kind)[0], taken):
        checks.append(finding(name, "flag" if trace else "ok", text))
    v = association(data.sites, y, kind) if np.unique(data.sites).size > 1 else 0.0
    word = "Cramer's V" if kind == "classification" else "Correlation ratio"
    text = f"{word} of site and target: {v:.2f}."
    if v > SITE_LIMIT:
        text += (
            " A model may read the site; believe the scores with sites left out, or among people of one site."
        )
    checks.append(
        finding("association of site and target", "flag" if v > SITE_LIMIT else "ok", text, v, SITE_LIMIT)
    )
    means = {
        "site": "The site alone predicts the target: what scanners differ in will be used.",
        "motion": "Head motion alone predicts the target.",
        "missing": "What is missing predicts the target: who has which scan is not random.",
        "demographics": "Demographics alone predict the target; images must add to them.",
        "acquisition": "The date of the scan alone predicts the target: what changes at the scanner will be used.",
    }
    for name, columns in data.nuisance.items():
        used = folds
        if name == "site":
            try:
                used = make_folds(
                    y, data.participants, kind=kind, site=data.sites, repeats=1, seed=model["seed"]
                )
            except Unavailable:
                checks.append(finding("site only", "not possible", "Too few people for folds."))
                continue
        checks.append(baseline(name, columns, y, used, kind, grid, means[name]))
    if fit is not None:
        train, test = next((tr, te) for _, _, tr, te, _ in folds.splits())
        checks.append(probe_fit(fit[0], fit[1], y, train, test, model["seed"]))
    for column in ("site", "motion", "missing", "demographics", "acquisition"):
        if column not in data.nuisance:
            checks.append(finding(f"{column} only", "not possible", ABSENT[column]))
    if data.harmonize and data.harmonize["unseen"] == "unlabelled":
        text = (
            "An unseen site is harmonised by the people tested, without their labels (transductive): say so."
        )
        checks.append(finding("harmonisation looks at the people tested", "flag", text, 1, 0))
    quiet = {**settings, "clinical": None, "early": False}
    if permuted is None and sum(t.shape[1] - data.last for t in data.tables.values()) <= 1000:
        runs = shuffle_run(data, folds, quiet, 5, model["seed"])
        checks.append(shuffled_labels(runs.get("fused", next(iter(runs.values()))), kind))
    elif permuted is None or not np.isfinite(permuted["null_mean"].get(main, np.nan)):
        checks.append(
            finding("shuffled labels", "not possible", "No permutations were asked for, or nothing can move.")
        )
    else:
        checks.append(shuffled_labels(permuted["null"][main], kind))
    if flexible(model):
        checks += flexible_controls(data, controls, model)
    elif data.confounds:
        name, table = next(iter(data.tables.items()))

        def engine(t, target):
            return statistics({name: t}, target, single, **quick)[name]

        # a reference of everybody knows no target, and this control takes the rows apart anyway: one fit instead of one a fold
        front = (quiet.get("fronts") or {}).get(name)
        table = table if front is None else clone(front).fit_transform(table)
        quick = {**quiet, "indicator": False, "fronts": None}
        one = next(iter([*folds.splits()]))[0]
        single = type(folds)(folds.outer[one : one + 1], folds.inner[one : one + 1])
        cut = table.shape[1] - data.confounds
        checks.append(
            shuffled_features(
                engine,
                table[:, :cut],
                table[:, cut:],
                y,
                kind,
                runs=5,
                seed=model["seed"],
            )
        )
    checks.append(below_chance(metrics, primary, kind))
    checks.append(data.times or untimed())
    found = schemes(data, model, settings, metrics[main][primary]["mean"], predictions, main)
    lost = found["leave_one_site_out"]
    if lost is not None and np.isfinite(metrics[main][primary]["mean"]) and y.size >= 100:
        gap = metrics[main][primary]["mean"] - lost
        limit = 0.05 if kind in ("classification", "survival") else 0.1
        text = f"Within the pool {metrics[main][primary]['mean']:.2f}, with sites left out {lost:.2f}."
        if gap > limit:
            text += " The model does worse on a new site: report the score with sites left out."
        checks.append(finding("score on sites left out", "flag" if gap > limit else "ok", text, gap, limit))
    return {
        "checks": checks,
        "flags": [c["check"] for c in checks if c["status"] == "flag"],
        "schemes": found,
        "site_association": float(v),
    }


def refuse_association(value, model, file):
    """Stop a confirmatory model whose target goes with the site.

    Raises
    ------
    InputError
        Unless ``accept_association`` is set, sites are left out whole, or people of one site are compared.
    """
    apart = model["splits"] == "within-site" or (
        model["splits"] == "leave-one-group-out" and model["groups"] == model["site"]
    )
    if (
        not apart
        and model["profile"] == "confirmatory"
        and value > SITE_LIMIT
        and not model["accept_association"]
    ):
        raise InputError(
            file,
            f"association of {model['site']} and {model['target']}",
            f"{value:.2f}",
            f"at most {SITE_LIMIT} in a confirmatory model",
            "choose splits: leave-one-group-out with groups: site, or set accept_association: true and say why",
        )


def shuffle_run(data, folds, settings, count, seed):
    """A few scores with people's features shuffled within sites, for models without a permutation test.

    Returns
    -------
    dict of str to numpy.ndarray, (count,)
    """
    rng = np.random.default_rng(seed)
    gathered = exchange_units(*exchangeable(data, data.groups, data.sites))
    runs = []
    for _ in range(count):
        rows = permuted_rows(gathered, data.y.size, rng)
        runs.append(statistics({n: t[rows] for n, t in data.tables.items()}, data.y, folds, **settings))
    return {name: np.array([run[name] for run in runs]) for name in runs[0]}
