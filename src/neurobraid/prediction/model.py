"""One declared model from tables to scores: nested grouped cross-validation, baselines, permutation, comparison."""

from dataclasses import dataclass, field

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.prediction import learners
from neurobraid.prediction.audit import SITE_LIMIT, association, audit, refuse_association
from neurobraid.prediction.dataset import build
from neurobraid.prediction.declared import INPUT, contradictions, merged
from neurobraid.prediction.deep import require_torch
from neurobraid.prediction.estimators import (
    GRIDS,
    Calibrator,
    GridPath,
    LateFusion,
    RidgePath,
    TunedModel,
    standard,
)
from neurobraid.prediction.folds import Unavailable, make_folds, manifest
from neurobraid.prediction.harmonize import METHODS, UNSEEN, HarmonizeTable, posthoc_confounds
from neurobraid.prediction.honest import (
    calibration,
    curves,
    decision_curve,
    learning_curve,
    pattern_summary,
    subgroups,
)
from neurobraid.prediction.importance import (
    IMPORTANCE_COLUMNS,
    PATTERN_COLUMNS,
    RELIABLE,
    Importance,
    null_patterns,
    pattern_table,
    summarise,
)
from neurobraid.prediction.kinds import LACKS, ORDERED, PATHS, PRIMARY, fold_metrics, plain, rank_metric
from neurobraid.prediction.labels import MANY, label_test
from neurobraid.prediction.latent_fusion import LATENT, latent_model, latent_sets
from neurobraid.prediction.members import MEMBER_GRIDS, fronts, make_member, member_pipeline
from neurobraid.prediction.metrics import (
    classification_metrics,
    corrected_interval,
    corrected_ttest,
    cramers_v,
    regression_metrics,
)
from neurobraid.prediction.nested import nested_intervals
from neurobraid.prediction.ood import cross_validated as cross_validated_distance
from neurobraid.prediction.permutation import FoldScores, fold_metric, fuse, permutation_test, questions
from neurobraid.prediction.plan import confirm, outside, plan_summary
from neurobraid.prediction.sources import check_record, of_table, read_sources
from neurobraid.prediction.stacking import Stacking
from neurobraid.prediction.steps import FillMedian, KeepCovered
from neurobraid.prediction.survival import risk_groups, split
from neurobraid.prediction.timeline import read_sessions
from neurobraid.prediction.visit_targets import exchangeable, few_arrangements, refuse_columns_of_visits
from neurobraid.prediction.visits import complete_visits, visit_features
from neurobraid.provenance import sidecar

#: Every key of a record of ``prediction.models`` with its default; the schema says the same.
DEFAULTS = {
    "name": None,
    "table": "study",
    "atlas": "",
    "target": None,
    "kind": "classification",
    "classes": [],
    "event": "",
    "features": [],
    "rows": "participant",
    "visits": None,
    "confounds": [],
    "demographics": ["age", "sex"],
    "groups": "participant_id",
    "site": "site",
    "estimator": "ridge",
    "grid": [],
    "kernels": ["linear"],
    "device": "cpu",
    "fusion": ["late"],
    "components": 4,
    "missing_modality": "complete",
    "harmonize": None,
    "splits": "kfold",
    "motion": "mean_fd",
    "acquisition": "acq_time",
    "learning_curve": False,
    "importance": {"repeats": 10, "conditional": False, "nulls": 199},
    "intervals": "nadeau-bengio",
    "accept_association": False,
    "profile": "exploratory",
    "save": False,
    "lockbox": 0.0,
    "open_lockbox": False,
    "reopen": "",
    "min_coverage": 0.5,
    "min_present": 0.5,
    "min_participants": 10,
    "folds": {"outer": 5, "inner": 5},
    "repeats": 2,
    "permutations": 99,
    "seed": 1,
}
INTERVALS = {
    "nadeau-bengio": "corrected resampled (Nadeau-Bengio), 95 %",
    "bates": "nested cross-validation (Bates) for the primary metric of images, 95 %; else corrected resampled (Nadeau-Bengio)",
}
#: Feature sets made of several modalities; see `main_set`.
FUSIONS = ("fused", "early", "stacking")
#: Regularisation tried by every estimator; for members with hidden units, how many.
ALL_GRIDS = {**GRIDS, **MEMBER_GRIDS}
#: Below this many people a summary says that it is a demonstration (Varoquaux 2018: +-10 points at n = 100).
ENOUGH = 100

PREDICTION_COLUMNS = {
    "participant_id": "Person",
    "session_id": "Visit; n/a where a row is a person",
    "feature_set": "Modality, fused (mean of standardised scores), early (block-scaled), stacking, a latent fusion, dummy "
    "or demographics",
    "repeat": "Repeat of the cross-validation, from 1",
    "fold": "Outer fold in which the row was tested, from 1",
    "target": "True class or value; a time with + where the event had not happened",
    "score": "Out-of-fold score, standardised by the training people's inner out-of-fold scores",
    "prediction": "Probability of the second class, the predicted value, the expected rank of ordered classes (from 1), "
    "or the expected time without the event up to the 90 % quantile of the training people's times",
}
SCORE_COLUMNS = {
    "feature_set": "As in the predictions",
    "repeat": "Repeat, from 1",
    "fold": "Outer fold, from 1",
    "metric": "auc, balanced_accuracy, brier; mae, r2 (by sums of squares against the training mean), r; spearman, "
    "kappa (quadratic weights), mae_rank; or cindex (Harrell), ibs (integrated Brier score)",
    "value": "Value on the fold's test people; n/a where it is not defined (one class, fewer than three people)",
}
FOLD_COLUMNS = {
    "participant_id": "Person",
    "session_id": "Visit; n/a where a row is a person",
    "group": "Rows with the same group stay together at both levels",
    "repeat": "Repeat, from 1",
    "fold": "Outer fold, from 1",
    "role": "test or train in this outer fold",
    "inner_fold": "Inner test fold of a training row, from 1; n/a for test rows",
}


@dataclass
class Result:
    """Tables and summary of one model (pandas.DataFrame x 3, dict), and further tables by name."""

    predictions: object
    scores: object
    folds: object
    summary: dict
    extra: dict = field(default_factory=dict)


def complete(model, **general):
    """Fill a model's record with the defaults, and refuse what cannot be fitted.

    Parameters
    ----------
    model : dict
    **general
        Defaults of the whole stage (permutations, folds, repeats, seed); the record's own keys win.

    Returns
    -------
    dict

    Raises
    ------
    InputError
    """
    where = f"config: prediction.models ({model.get('name')})"
    full = merged(model, DEFAULTS, general, where)
    full["importance"] = {**DEFAULTS["importance"], **(model.get("importance") or {})}
    full["features"] = [check_record(record, where) for record in full["features"]]
    for key, options in (
        ("kind", tuple(PRIMARY)),
        ("table", ("study", "cohort", "trial")),
        ("rows", ("participant", "visit")),
        ("missing_modality", ("complete", "available", "impute")),
        ("splits", ("kfold", "leave-one-group-out", "within-site")),
        ("profile", ("exploratory", "confirmatory")),
        ("intervals", ("nadeau-bengio", "bates")),
    ):
        if full[key] not in options:
            raise InputError(where, key, full[key], ", ".join(options), f"choose one of them for {key}")
    full["visits"] = complete_visits(full["visits"], where)
    if not full["target"]:
        raise InputError(where, "target", "missing", "a column of participants.tsv", "name the target")
    if full["harmonize"]:
        usual = {"method": "combat", "unseen": "error", "covariates": [], "reference": ""}
        full["harmonize"] = {**usual, **full["harmonize"]}
        if full["harmonize"]["method"] not in METHODS:
            found = full["harmonize"]["method"]
            raise InputError(where, "harmonize.method", found, ", ".join(METHODS), "choose a method")
        if full["harmonize"]["unseen"] not in UNSEEN:
            found = full["harmonize"]["unseen"]
            raise InputError(where, "harmonize.unseen", found, ", ".join(UNSEEN), "choose a policy")
    for problem in contradictions(full):
        raise InputError(where, *problem)
    if full["estimator"] in INPUT:
        require_torch(full["estimator"])
    if full["lockbox"] and full["profile"] != "confirmatory":
        raise InputError(
            where,
            "lockbox",
            full["lockbox"],
            "0 in an exploratory model",
            "choose profile: confirmatory; without a locked plan nothing keeps the lockbox shut",
        )
    full["grid"] = [float(v) for v in (full["grid"] or ALL_GRIDS[full["estimator"]])]
    if min(full["grid"]) <= 0:
        raise InputError(where, "grid", full["grid"], "positive numbers", "correct the grid")
    return full


def _estimator(model, data=None, name=None):
    if model["estimator"] in MEMBER_GRIDS:
        return make_member(model, data, name)
    # strongest regularisation first: `choose` settles ties in favour of the first
    if model["estimator"] == "ridge":
        return RidgePath(tuple(sorted(model["grid"], reverse=True)), model["kind"])
    if model["estimator"] in learners.GRIDS:
        return learners.make_learner(model)
    if model["kind"] in PATHS:
        return PATHS[model["kind"]](tuple(sorted(model["grid"])))
    return GridPath(model["estimator"], model["kind"], tuple(sorted(model["grid"])))


def _pipeline(data, model, part, removed):
    """Pipeline of one or several feature sets (columns by name) or of the clinical columns."""
    name = next(iter(part)) if len(part) == 1 else None
    return member_pipeline(data, model, part, removed, _estimator(model, data, name))


def _joined(data):
    """One table of all modalities, confounds last, and the columns of each."""
    c = data.last
    blocks, start, parts = {}, 0, []
    for name, table in data.tables.items():
        p = table.shape[1] - c
        parts.append(table[:, :p])
        blocks[name] = list(range(start, start + p))
        start += p
    parts.append(table[:, p:])
    return np.concatenate(parts, axis=1), blocks, list(range(start, start + c))


def main_set(metrics, model):
    """Feature set that a model stands for: the first fusion it asks for, else its first feature set with a score."""
    names = [record["name"] for record in model["features"]]
    return next(name for name in (*FUSIONS, *latent_sets(model), *names) if name in metrics)


def cross_validate(data, folds, model):
    """Out-of-fold predictions of every feature set on the same folds; see `run_folds`."""
    return run_folds(data, folds, model)[:3]


def run_folds(data, folds, model, watch=None):
    """Out-of-fold predictions of every feature set, and of the nested comparisons, on the same folds.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    folds : neurobraid.prediction.folds.Folds
    model : dict
        From `complete`.
    watch : neurobraid.prediction.importance.Importance, optional
        Sees the models of every fold.

    Returns
    -------
    predictions : list of tuple
        (feature_set, repeat, fold, row, score, prediction); repeat and fold from 1.
    scores : list of tuple
        (feature_set, repeat, fold, metric, value).
    chosen : dict of str to list of float
        Regularisation taken in every outer fold.
    nested : dict of tuple of str to list of float
        Primary metric per fold, keys (question, ``with`` or ``without``); see
        `neurobraid.prediction.permutation.questions`.
    patterns : dict of str to list of numpy.ndarray, (features,)
        Haufe pattern of every modality and fold.
    weights : numpy.ndarray, (folds, modalities)
        Of stacking, sum 1; empty without it.
    """
    kind = model["kind"]
    X, blocks, confounds = _joined(data)
    X = np.concatenate([X, data.demographics], axis=1)
    extra = list(range(X.shape[1] - data.demographics.shape[1], X.shape[1]))

    def tuned(part, removed):
        return TunedModel(_pipeline(data, model, part, removed), kind)

    indicator = model["missing_modality"] == "impute"
    images = {"harmonize": data.harmonize, "indicator": indicator, "fronts": fronts(data, model)}
    singles = {name: tuned({name: columns}, confounds) for name, columns in blocks.items()}
    present = {name: np.isfinite(X[:, columns]).any(axis=1) | indicator for name, columns in blocks.items()}
    predictions, scores, chosen, nested, patterns = [], [], {}, {}, {}
    weights = []
    reference = X[data.extra]
    asked = questions(list(singles), bool(extra))

    def record(name, repeat, fold, rows, train, score, predicted, curve=None):
        known = np.isfinite(predicted)
        rows, score, predicted = rows[known], score[known], predicted[known]
        predictions.extend(
            (name, repeat + 1, fold + 1, int(r), float(s), float(p))
            for r, s, p in zip(rows, score, predicted, strict=True)
        )
        if not rows.size:
            return
        y = data.y[rows]
        if kind in ORDERED:
            shown = None if curve is None else lambda times: curve(times)[known]
            values = fold_metrics(y, score, predicted, data.y[train], kind, shown)
        elif kind == "classification":
            values = classification_metrics(y, score, predicted, float(np.mean(data.y[train] > 0)))
        else:
            values = regression_metrics(y, predicted, float(data.y[train].mean()))
        scores.extend((name, repeat + 1, fold + 1, metric, value) for metric, value in values.items())

    for repeat, fold, train, test, inside in folds.splits():
        y = data.y[train]
        base = float(np.mean(y > 0)) if kind == "classification" else float(y.mean())
        flat, early, second = np.zeros(test.size), None, None
        if kind in ORDERED:
            guess = Calibrator(kind).fit(np.zeros(train.size), y)
            record("dummy", repeat, fold, test, train, flat, guess.apply(flat), _curve(guess, flat))
        else:
            record("dummy", repeat, fold, test, train, flat, flat + base)
        if extra:
            clinical = tuned({"demographics": extra}, []).fit(X[train], y, inside)
            _take(record, "demographics", clinical, repeat, fold, test, train, X[test], chosen, None)
        fused = LateFusion(singles, kind).fit(
            X[train], y, inside, {n: has[train] for n, has in present.items()}, reference
        )
        for name, fitted in fused.models_.items():
            patterns.setdefault(name, []).append(
                _pattern(fitted, X[train[present[name][train]]], len(data.names[name]), data.kinds.get(name))
            )
            there = test[present[name][test]]
            _take(
                record,
                name,
                fitted,
                repeat,
                fold,
                there,
                train[present[name][train]],
                X[there],
                chosen,
                reference,
            )
        if len(singles) > 1:
            if "late" in model["fusion"]:
                available = {n: has[test] for n, has in present.items()}
                raw = fused.score_of(X[test], available, reference)
                spread = fused.inner_scores_.std() or 1.0
                score = (raw - fused.inner_scores_.mean()) / spread
                record(
                    "fused",
                    repeat,
                    fold,
                    test,
                    train,
                    score,
                    fused.calibrator_.apply(raw),
                    _curve(fused.calibrator_, raw),
                )
            if "stacking" in model["fusion"]:
                second = Stacking(kind).fit(_together(fused.members_), y, inside)
                weights.append(second.weights_ / second.weights_.sum())
                one = _members(fused, None, X, train, test, present, reference)
                raw = second.score_of(_together({n: one.outer[n][:, 0] for n in singles}))
                center, spread = standard(second.inner_scores_)
                record(
                    "stacking", repeat, fold, test, train, (raw - center) / spread, second.calibrator_.apply(raw),
                    _curve(second.calibrator_, raw),
                )  # fmt: skip
            if "early" in model["fusion"]:
                early = tuned(blocks, confounds).fit(X[train], y, inside, reference)
                _take(record, "early", early, repeat, fold, test, train, X[test], chosen, reference)
            for name in latent_sets(model):
                fitted = latent_model(name, blocks, confounds, model, **images).fit(
                    X[train], y, inside, reference
                )
                _take(record, name, fitted, repeat, fold, test, train, X[test], chosen, reference)
        if watch is not None:
            # as `main_set`: late, then early, then stacked
            late = "late" in model["fusion"]
            watch.fold(
                train, test, X, fused, None if late else early, present,
                None if late or early is not None else second,
            )  # fmt: skip
        if asked:
            one = _members(fused, clinical if extra else None, X, train, test, present, reference)
            for name, (without, added) in asked.items():
                for key, members in (((name, "with"), [*without, *added]), ((name, "without"), without)):
                    score = fuse(one, members, data.y[:, None], kind)
                    value = fold_metric(data.y[test][:, None], score, data.y[train].mean(), kind)
                    nested.setdefault(key, []).append(float(value[0]))
    return predictions, scores, chosen, nested, patterns, np.array(weights)


def _together(members):
    return np.stack(list(members.values()), axis=1)


def _curve(calibrator, raw):
    """Predicted survival of people with these raw scores, as a function of times; None for other kinds."""
    if calibrator.kind != "survival":
        return None
    return lambda times: calibrator.map_.curve(raw, times)


def _pattern(fitted, X, features, kind="table"):
    """Correlation of every feature, as the estimator saw it, with the score on the training people; none for series."""
    if kind == "series":
        return np.full(features, np.nan)
    score = fitted.score_of(X)
    _, steps, columns = fitted.pipeline_[0].transformers_[0]
    # a kernel may come after the scaling: patterns are of features
    prepared = steps[: list(steps.named_steps).index("scale") + 1].transform(X[:, columns])
    keep = steps["covered"].keep_[:features]
    prepared = prepared[:, -int(keep.sum()) :] if keep.any() else prepared[:, :0]
    out = np.full(features, np.nan)
    spread = prepared.std(axis=0) * score.std()
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = (prepared - prepared.mean(axis=0)).T @ (score - score.mean()) / max(len(score), 1)
        out[keep] = np.where(spread > 1e-15, covariance / spread, 0.0)
    return out


def _controls(data, folds, model, chosen):
    """Shuffled-feature control of a flexible learner, modality by modality; None for a linear one."""
    if not learners.flexible(model) or not data.confounds:
        return None
    made, place = {}, {}
    for name, table in data.tables.items():
        p = table.shape[1] - data.last
        made[name] = _pipeline(data, model, {name: list(range(p))}, list(range(p, table.shape[1])))
        # what a network cannot read stays with ridge, whose grid is another
        grid = made[name][-1].grid
        taken = chosen.get(name) or [grid[0]]
        place[name] = grid.index(max(grid, key=taken.count))
    return learners.controls(data, folds, model, made, place)


def _probe(data, folds, model):
    """What `audit.probe_fit` changes: every modality's whole pipeline, tuning, fusion and calibration of the first fold."""
    X, blocks, nuisance = _joined(data)
    indicator = model["missing_modality"] == "impute"
    has = {name: np.isfinite(X[:, columns]).any(axis=1) | indicator for name, columns in blocks.items()}
    inside = next(folds.splits())[4]

    def fit(X, y, train):
        members = {
            name: TunedModel(_pipeline(data, model, {name: columns}, nuisance), model["kind"])
            for name, columns in blocks.items()
        }
        there = {name: rows[train] for name, rows in has.items()}
        return LateFusion(members, model["kind"]).fit(X[train], y[train], inside, there, X[data.extra])

    return fit, X


def _harmonization(data, model):
    """Harmonisation of every modality fitted on everybody, for people of a later study; no score uses it."""
    if not data.harmonize:
        return None
    out = {}
    for name, table in data.tables.items():
        rows = table if data.reference is None else table[~data.reference]
        if name in fronts(data, model):
            rows = fronts(data, model)[name].fit_transform(rows)
        keep = KeepCovered(data.last, model["min_present"]).fit(rows)
        ready = FillMedian(data.last).fit_transform(keep.transform(rows))
        step = HarmonizeTable(data.confounds, **data.harmonize).fit(ready)
        kept = [str(n) for n, k in zip(data.names[name], keep.keep_, strict=False) if k]
        out[name] = {
            "features": kept,
            "covariates": model["harmonize"]["covariates"],
            **step.harmonizer_.parameters(),
        }
    return out


def _honest(predictions, data, model, main):
    """Calibration, net benefit and subgroups of the main feature set, predictions averaged over repeats."""
    part = predictions[predictions["feature_set"] == main].groupby("row")[["score", "prediction"]].mean()
    rows, classes = part.index.to_numpy(), model["kind"] == "classification"
    y, value = data.y[rows], part["prediction" if model["kind"] == "regression" else "score"].to_numpy()
    slices = {name: levels[rows] for name, levels in data.slices.items()}
    out = {"main_set": main, "slices": subgroups(y, value, slices, model["kind"], seed=model["seed"])}
    if classes:
        probability = part["prediction"].to_numpy()
        out |= {"calibration": calibration(y, probability), "decision_curve": decision_curve(y, probability)}
        out["curves"] = curves(y, value)
    if model["kind"] == "survival":
        out["risk_groups"] = risk_groups(y, value)
    out["not_for_this_kind"] = LACKS.get(model["kind"], {})
    return out


def _members(fused, clinical, X, train, test, present, reference):
    """Standardised scores of every member on one fold, for the nested comparison."""
    one = FoldScores(train, test)
    for name, fitted in fused.models_.items():
        has = present[name][test]
        mean, spread = fused.standard_[name]
        outer = np.full(test.size, np.nan)
        if has.any():
            outer[has] = (fitted.score_of(X[test[has]], reference) - mean) / spread
        one.outer[name], one.inner[name] = outer[:, None], fused.members_[name][:, None]
    if clinical is not None:
        mean, spread = standard(clinical.inner_scores_)
        one.outer["demographics"] = ((clinical.score_of(X[test]) - mean) / spread)[:, None]
        one.inner["demographics"] = ((clinical.inner_scores_ - mean) / spread)[:, None]
    return one


def _take(record, name, fitted, repeat, fold, test, train, X, chosen, reference):
    if not test.size:
        return
    raw = fitted.score_of(X, reference)
    spread = fitted.inner_scores_.std()
    score = (raw - fitted.inner_scores_.mean()) / (spread if spread > 1e-12 else 1.0)
    calibrator = fitted.calibrator_
    record(name, repeat, fold, test, train, score, calibrator.apply(raw), _curve(calibrator, raw))
    chosen.setdefault(name, []).append(fitted.pipeline[-1].grid[fitted.choice_])


def _counts(data, kind):
    if kind == "survival":
        return {"event": int(np.sum(data.y > 0)), "censored": int(np.sum(data.y < 0))}
    values = range(1, len(data.classes) + 1) if kind == "ordinal" else (-1, 1)
    return {c: int(np.sum(data.y == v)) for c, v in zip(data.classes, values, strict=False)}


def _weights(weights, names):
    """Mean, smallest and largest weight of every modality over folds; None without stacking."""
    if not weights.size:
        return None
    return {
        name: {"mean": float(w.mean()), "low": float(w.min()), "high": float(w.max())}
        for name, w in zip(names, weights.T, strict=True)
    }


def _shares(values):
    return {f"{v:g}": values.count(v) for v in sorted(set(values))}


def _summaries(scores, folds):
    out = {}
    for (name, metric), part in scores.groupby(["feature_set", "metric"], sort=True):
        out.setdefault(name, {})[metric] = corrected_interval(part["value"], folds.test_share)
    return out


def _bates(data, model, folds, engine, metrics, by_site):
    """Put nested intervals into `metrics` for the primary metric of every set the fast engine has; what they rest on."""
    primary = PRIMARY[model["kind"]]
    sets = {name: name for name in data.tables if name in metrics}
    if "fused" in metrics:
        sets["fused"] = list(data.tables)
    if "early" in metrics:
        sets["early"] = "early"
    try:
        found = nested_intervals(
            data.tables, data.y, data.groups, sets, outer=int(folds.outer.max()) + 1,
            site=None if by_site else data.sites, seed=model["seed"], untested=data.reference,
            **{**engine, "clinical": None, "early": "early" in sets},
        )  # fmt: skip
    except Unavailable as reason:
        return {"status": "not possible", "reason": str(reason)}
    for name, one in found.items():
        usual = metrics[name][primary]
        metrics[name][primary] = {
            **usual,
            "low": one["low"],
            "high": one["high"],
            "nadeau_bengio": [usual["low"], usual["high"]],
        }
    return {"status": "ok", "sets": found}


def _paired(predictions, data, model, first, second):
    """Fold differences of the primary metric on the rows that both feature sets predicted."""
    from neurobraid.prediction.metrics import auc

    one = predictions[predictions["feature_set"] == first].set_index(["repeat", "fold", "row"])
    two = predictions[predictions["feature_set"] == second].set_index(["repeat", "fold", "row"])
    both = one.join(two[["score", "prediction"]], rsuffix="_b", how="inner")
    differences = []
    for _, part in both.groupby(level=["repeat", "fold"], sort=True):
        rows = part.index.get_level_values("row").to_numpy()
        y = data.y[rows]
        if model["kind"] == "classification":
            differences.append(auc(y, part["score"].to_numpy()) - auc(y, part["score_b"].to_numpy()))
        elif model["kind"] in ORDERED:
            one, two = rank_metric(y, part[["score", "score_b"]].to_numpy(), model["kind"])
            differences.append(one - two)
        else:
            spread = np.sum((y - np.delete(data.y, rows).mean()) ** 2)
            error = [np.sum((y - part[c].to_numpy()) ** 2) for c in ("prediction", "prediction_b")]
            differences.append((error[1] - error[0]) / spread if spread > 0 else np.nan)
    return np.array(differences)


def _compare(predictions, data, model, folds, metrics):
    """Fusion against the best single modality, and against demographics."""
    primary = PRIMARY[model["kind"]]
    singles = [n for n in data.tables if n in metrics]
    ranked = sorted(singles, key=lambda n: -np.nan_to_num(metrics[n][primary]["mean"], nan=-np.inf))
    main = main_set(metrics, model)
    pairs = [(main, ranked[0])] if main not in singles else []
    pairs += [("early", ranked[0])] if "early" in metrics and main != "early" else []
    pairs += [("stacking", main)] if "stacking" in metrics and main != "stacking" else []
    pairs += [(name, ranked[0]) for name in metrics if name in LATENT and name != main]
    pairs += [(main, "demographics")] if "demographics" in metrics else []
    out = []
    for first, second in pairs:
        test = corrected_ttest(_paired(predictions, data, model, first, second), folds.test_share)
        out.append({"first": first, "second": second, "metric": primary, **test})
    return out


def _added_value(data, model, folds, nested, permuted):
    """Answers to `questions`: metric with and without, difference with interval, corrected t and permutation p."""
    out = []
    for name, (without, added) in questions(list(data.tables), data.demographics.shape[1] > 0).items():
        both, alone = (np.array(nested[name, side]) for side in ("with", "without"))
        out.append(
            {
                "added": added,
                "to": without,
                "metric": PRIMARY[model["kind"]],
                "with": corrected_interval(both, folds.test_share),
                "without": corrected_interval(alone, folds.test_share),
                **corrected_ttest(both - alone, folds.test_share),
                "permutation_p": permuted["added"]["p"].get(name) if permuted else None,
            }
        )
    return out


def _posthoc(predictions, data, model, metrics):
    """Post-hoc test of every imaging feature set, with the model's confounds or all that is known to disturb."""
    parts = {k: v for k, v in data.nuisance.items() if k != "missing"}
    if not parts and not data.confounds:
        return None
    columns = np.concatenate(list(parts.values()), axis=1) if parts else np.empty((data.y.size, 0))
    if data.confounds:
        first = next(iter(data.tables.values()))
        columns = np.concatenate([columns, first[:, first.shape[1] - data.confounds :]], axis=1)
    out = {"columns": [*sorted(parts), *model["confounds"]], "sets": {}}
    for name in metrics:
        if name in ("dummy", "demographics"):
            continue
        mean = predictions[predictions["feature_set"] == name].groupby("row")["score"].mean()
        rows = mean.index.to_numpy()
        target, kind = plain(data.y[rows], model["kind"])
        out["sets"][name] = posthoc_confounds(target, mean.to_numpy(), columns[rows], kind)
    return out


def _warnings(data, model, permuted, moved):
    found = []
    v = cramers_v(data.sites, data.y) if model["kind"] == "classification" else 0.0
    if v > SITE_LIMIT:
        found.append(
            f"Site and target are associated (Cramer's V {v:.2f} > {SITE_LIMIT}): a model may read the site. "
            f"Leave sites out (groups: {model['site']}) or report within-site accuracy."
        )
    if model["estimator"] != "ridge" and model["permutations"]:
        text = "The permutation test uses ridge for the real and for the permuted studies."
        if learners.flexible(model):
            text += f" Its p is of the linear signal, not of what {model['estimator']} found."
        found.append(text)
    if permuted is not None and permuted["movable"] < data.y.size:
        found.append(
            f"{data.y.size - permuted['movable']} of {data.y.size} rows could not change places within their block "
            "in the permutation test."
        )
    if permuted is not None and (text := few_arrangements(*moved, model["kind"])):
        found.append(text)
    return found


def fit_model(
    features, participants, model, *, networks=None, file="participants.tsv", sessions=None, sources=None
):
    """Fit one declared model.

    Parameters
    ----------
    features : pandas.DataFrame
        Fusion table.
    participants : pandas.DataFrame
    model : dict
        From `complete`.
    networks : dict of str to str, optional
        Network of every region, for the importance of networks.
    file : str
        Name of the participants table for messages.
    sessions : tuple of (pandas.DataFrame, dict), optional
        From `neurobraid.prediction.timeline.read_sessions`; needed by ``visits``, and for targets of a visit.
    sources : dict of str to neurobraid.prediction.sources.Source, optional
        Feature sets that are not in the fusion table.

    Returns
    -------
    Result
        When the model cannot be fitted, empty tables and a summary whose status is UNAVAILABLE, with the reason.
    """
    import pandas as pd

    summary = {
        "name": model["name"],
        "status": "OK",
        "reason": "",
        "settings": {k: v for k, v in model.items() if k != "name"},
        "primary_metric": PRIMARY[model["kind"]],
        "interval": INTERVALS[model["intervals"]],
    }
    flow, visits = [], None
    try:
        if model["visits"]:
            known = sessions or read_sessions([])
            visits = visit_features(features, participants, *known, model, file=file)
            features, summary["visits"] = visits.features, visits.summary
        data = build(
            features,
            participants,
            model,
            file=file,
            visits=visits,
            sessions=sessions[0] if sessions else None,
            sources=sources,
        )
        flow = data.flow
        refuse_association(association(data.sites, data.y, model["kind"]), model, file)
        people = int(np.unique(data.participants).size)
        summary["participants"] = people
        if people < model["min_participants"]:
            raise Unavailable(
                f"{people} participants have everything; min_participants is {model['min_participants']}"
            )
        by_site = model["groups"] == model["site"]
        folds = make_folds(
            data.y,
            data.groups,
            kind=model["kind"],
            site=data.sites,
            outer=model["folds"]["outer"],
            inner=model["folds"]["inner"],
            repeats=model["repeats"],
            seed=model["seed"],
            group_of_site=by_site,
            scheme=model["splits"],
            untested=data.reference,
        )
    except Unavailable as reason:
        summary.update(
            status="UNAVAILABLE", reason=str(reason), flow=flow, metrics={}, comparisons=[], warnings=[]
        )
        empty = [pd.DataFrame({c: pd.Series(dtype="object") for c in names}) for names in
                 (PREDICTION_COLUMNS, SCORE_COLUMNS, FOLD_COLUMNS, IMPORTANCE_COLUMNS, PATTERN_COLUMNS)]  # fmt: skip
        return Result(*empty[:3], summary, dict(zip(("importance", "pattern"), empty[3:], strict=True)))

    table, digest = manifest(folds, data.participants, data.sessions, data.groups)
    units = data.participants if by_site else data.groups
    moved = exchangeable(data, units, data.sites)
    watch = Importance(data, model, networks, *moved)
    rows, scores, chosen, nested, patterns, weights = run_folds(data, folds, model, watch)
    scores = pd.DataFrame(scores, columns=list(SCORE_COLUMNS))
    predictions = pd.DataFrame(rows, columns=["feature_set", "repeat", "fold", "row", "score", "prediction"])
    grid = model["grid"] if model["estimator"] == "ridge" else GRIDS["ridge"]
    engine = {
        "confounds": data.confounds,
        "grid": tuple(sorted(grid, reverse=True)),
        "kind": model["kind"],
        "min_present": model["min_present"],
        "early": "early" in model["fusion"],
        "clinical": data.demographics,
        "harmonize": data.harmonize,
        "indicator": model["missing_modality"] == "impute",
        "extra": data.extra,
        "fronts": fronts(data, model),
    }
    permuted = None
    if model["permutations"]:
        run = label_test if sum(map(len, data.names.values())) > MANY else permutation_test
        permuted = run(
            data.tables,
            data.y,
            folds,
            *moved,
            count=model["permutations"],
            seed=model["seed"],
            **({"stacking": "stacking" in model["fusion"]} if run is permutation_test else {}),
            **engine,
        )
    metrics = _summaries(scores, folds)
    nested_ones = None
    if model["intervals"] == "bates":
        nested_ones = _bates(data, model, folds, engine, metrics, by_site)
    main = main_set(metrics, model)
    explained, nulls = watch.table(folds.test_share), None
    if model["importance"]["nulls"] and model["kind"] in ("classification", "regression"):
        nulls = null_patterns(
            # one time point of a scan is no feature, and has no pattern
            {name: table for name, table in data.tables.items() if data.kinds.get(name) != "series"},
            data.y,
            folds,
            *moved,
            count=model["importance"]["nulls"],
            seed=model["seed"],
            **engine,
        )
    described = pattern_table(dict(sorted(patterns.items())), data.names, nulls)
    notes = _warnings(data, model, permuted, moved)
    if people < ENOUGH:
        summary["status"] = "DEMONSTRATION"
        summary["reason"] = (
            f"{people} participants: this shows that the pipeline works. Its numbers have no inferential value; "
            f"accuracy estimates from fewer than {ENOUGH} people are off by ten points or more."
        )
    first = next(folds.splits())
    summary.update(
        classes=data.classes,
        class_counts=_counts(data, model["kind"]),
        stacking_weights=_weights(weights, list(data.tables)),
        rows=int(data.y.size),
        flow=flow,
        features={name: len(columns) for name, columns in data.names.items()},
        feature_sources={
            name: {"kind": one.kind, "shape": list(one.shape), **one.notes} for name, one in sources.items()
        }
        if sources
        else {},
        confound_columns=data.confounds,
        folds={
            "outer": int(folds.outer.max()) + 1,
            "inner": int(first[4].max()) + 1,
            "repeats": len(folds.outer),
            "sha256": digest,
        },
        chosen={name: _shares(values) for name, values in sorted(chosen.items())},
        metrics=metrics,
        nested_intervals=nested_ones,
        comparisons=_compare(predictions, data, model, folds, metrics),
        permutation=None
        if permuted is None
        else {
            "count": model["permutations"],
            "statistic": f"mean {PRIMARY[model['kind']]} over folds",
            "learner": "ridge",
            "moved": "labels" if sum(map(len, data.names.values())) > MANY else "features",
            "blocks": "participant_id"
            if data.within
            else model["site"]
            if np.unique(data.sites).size > 1
            else "none",
            "units": "visit" if data.within else "participant_id" if by_site else model["groups"],
            **{k: permuted[k] for k in ("observed", "p", "null_mean", "movable")},
            "null": np.round(permuted["null"][main], 6) if main in permuted["null"] else None,
        },
        added_value=_added_value(data, model, folds, nested, permuted),
        posthoc_confounds=_posthoc(predictions, data, model, metrics),
        audit=audit(
            data,
            folds,
            model,
            metrics=metrics,
            predictions=predictions,
            permuted=permuted,
            settings=engine,
            main=main,
            fit=_probe(data, folds, model),
            controls=_controls(data, folds, model, chosen),
        ),
        ood=cross_validated_distance(data, folds, model),
        **_honest(predictions, data, model, main),
        learning_curve=learning_curve(
            data.tables,
            data.y,
            folds,
            data.groups,
            seed=model["seed"],
            **{**engine, "early": False, "clinical": None},
        )
        if model["learning_curve"]
        else None,
        harmonization=_harmonization(data, model),
        patterns={
            name: {
                **pattern_summary(np.array(values), data.names[name]),
                **{k: ((nulls or {}).get(name) or {}).get(k) for k in ("null_stability", "stability_p")},
                "nulls": model["importance"]["nulls"] if nulls else 0,
                "reliable": people >= RELIABLE,
            }
            for name, values in sorted(patterns.items())
        },
        importance=summarise(explained, model, "fused" if main in LATENT else main, people),
        site_association=cramers_v(data.sites, data.y) if model["kind"] == "classification" else None,
        warnings=notes,
    )
    place = predictions["row"].to_numpy()
    target = data.y[place]
    if model["kind"] == "ordinal":
        target = np.array(data.classes, dtype=object)[target.astype(int) - 1]
    elif model["kind"] == "survival":
        times, events = split(target)
        target = np.array(
            [f"{t:g}{'' if e else '+'}" for t, e in zip(times, events, strict=True)], dtype=object
        )
    elif data.classes:
        target = np.where(target > 0, data.classes[1], data.classes[0])
    predictions = predictions.assign(
        participant_id=data.participants[place],
        session_id=pd.Series(data.sessions[place]).replace("", np.nan),
        target=target,
    )
    order = {name: n for n, name in enumerate(["dummy", "demographics", *data.tables, *FUSIONS, *LATENT])}
    predictions = predictions.iloc[
        np.lexsort((place, predictions["repeat"], predictions["feature_set"].map(order)))
    ].reset_index(drop=True)
    scores = scores.iloc[
        np.lexsort((np.arange(len(scores)), scores["repeat"], scores["feature_set"].map(order)))
    ].reset_index(drop=True)
    extra = {"importance": explained, "pattern": described}
    return Result(predictions[list(PREDICTION_COLUMNS)], scores, table, summary, extra)


def write_model(
    features,
    participants,
    model,
    outputs,
    *,
    regions=None,
    sessions=(),
    plan="",
    code="",
    series=(),
    adopted=(),
    maps=(),
    root="derivatives/series",
    **general,
):
    """Fit one declared model and write its tables, sidecars and summary.

    Parameters
    ----------
    features, participants : path-like
        Fusion table (empty where no features are read from it), ``participants.tsv``.
    model : dict
        One record of ``prediction.models``.
    outputs : dict
        Mapping: paths ``predictions``, ``scores``, ``folds``, ``importance``, ``pattern``, each with ``…_json`` beside
        it, and ``summary``.
    regions : path-like, optional
        Table of the atlas; its column ``network`` groups the regions.
    sessions : iterable of path-like
        Sessions tables and their sidecars, for ``visits`` and for targets and covariates of a visit.
    plan : path-like, optional
        The lock of the study's plans; a confirmatory model runs only as it was locked, without its lockbox.
    code : str
        Digest of the code of the stage.
    series, adopted, maps, root
        See `neurobraid.prediction.sources.read_sources`.
    **general
        See `complete`.
    """
    full = complete(model, **general)
    if not participants:
        raise InputError(
            "participants.tsv",
            "file",
            "missing",
            f"a table with the target {full['target']}",
            "add it, or remove the model",
        )
    people = read_tsv(participants)
    if any(map(of_table, full["features"])):
        table = read_tsv(features, text=("modality", "measure", "unit", "source"))
    else:
        table = ()
    networks = {}
    if regions:
        known = read_tsv(regions, text=("name", "network"))
        networks = dict(zip(known["name"], known["network"], strict=True)) if "network" in known else {}
    known = read_sessions(sessions) if full["visits"] or full["rows"] == "visit" else None
    if full["rows"] == "visit" and (full["save"] or full["profile"] == "confirmatory"):
        refuse_columns_of_visits(full, known[0], file=str(participants).rsplit("/", 1)[-1])
    further = read_sources(full, series=series, adopted=adopted, root=root, maps=maps)
    file = str(participants).rsplit("/", 1)[-1]
    locked = confirm(table, people, full, plan=plan or None, code=code, file=file)
    everybody = len(people)
    people, table = outside(locked, people, table)
    result = fit_model(table, people, full, networks=networks, file=file, sessions=known, sources=further)
    if locked:
        result.summary["plan"] = plan_summary(locked)
    if len(people) < everybody:
        first = {"step": "participants in the table", "left": everybody}
        result.summary["flow"][:1] = [first, {"step": "outside the lockbox", "left": len(people)}]
    sources = [
        *([features] if features else []), participants, *sessions, *series, *maps,
        *(f"{root}/{row['path']}" for row in adopted),
    ]  # fmt: skip
    for key, columns, text in (
        ("predictions", PREDICTION_COLUMNS, "Out-of-fold predictions of every feature set."),
        ("scores", SCORE_COLUMNS, "Metrics of every feature set on every outer fold."),
        (
            "folds",
            FOLD_COLUMNS,
            "Who was trained on and tested in which fold; the same for all feature sets.",
        ),
        (
            "importance",
            IMPORTANCE_COLUMNS,
            f"Loss of {PRIMARY[full['kind']]} with groups of features permuted among the people tested.",
        ),
        (
            "pattern",
            PATTERN_COLUMNS,
            "Haufe patterns of every feature, with null patterns of permuted labels.",
        ),
    ):
        write_tsv(result.extra[key] if key in result.extra else getattr(result, key), outputs[key])
        content = sidecar(text, sources, Columns={c: {"Description": d} for c, d in columns.items()})
        write_json(content, outputs[f"{key}_json"])
    write_json(sidecar("Result of one declared model.", sources, **result.summary), outputs["summary"])
    log.info("%s: %s %s", full["name"], result.summary["status"], result.summary["reason"])
    for name, metrics in result.summary["metrics"].items():
        log.info("%s %s %.3f", name, PRIMARY[full["kind"]], metrics[PRIMARY[full["kind"]]]["mean"])
