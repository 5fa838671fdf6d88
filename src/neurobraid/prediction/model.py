"""One declared model from tables to scores: nested grouped cross-validation, baselines, permutation, comparison."""

from dataclasses import dataclass

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.prediction.audit import SITE_LIMIT, association, audit, refuse_association
from neurobraid.prediction.dataset import build
from neurobraid.prediction.estimators import (
    GRIDS,
    GridPath,
    LateFusion,
    RidgePath,
    TunedModel,
    make_pipeline,
    standard,
)
from neurobraid.prediction.folds import Unavailable, make_folds, manifest
from neurobraid.prediction.harmonize import UNSEEN, HarmonizeTable, posthoc_confounds
from neurobraid.prediction.honest import (
    calibration,
    decision_curve,
    learning_curve,
    pattern_summary,
    subgroups,
)
from neurobraid.prediction.labels import MANY, label_test
from neurobraid.prediction.metrics import (
    classification_metrics,
    corrected_interval,
    corrected_ttest,
    cramers_v,
    regression_metrics,
)
from neurobraid.prediction.ood import cross_validated as cross_validated_distance
from neurobraid.prediction.permutation import FoldScores, fold_metric, fuse, permutation_test, questions
from neurobraid.prediction.plan import confirm, outside, plan_summary
from neurobraid.prediction.steps import FillMedian, KeepCovered
from neurobraid.provenance import sidecar

#: Every key of a record of ``prediction.models`` with its default; the schema says the same.
DEFAULTS = {
    "name": None,
    "table": "study",
    "atlas": "",
    "target": None,
    "kind": "classification",
    "classes": [],
    "features": [],
    "rows": "participant",
    "confounds": [],
    "demographics": ["age", "sex"],
    "groups": "participant_id",
    "site": "site",
    "estimator": "ridge",
    "grid": [],
    "fusion": ["late"],
    "missing_modality": "complete",
    "harmonize": None,
    "splits": "kfold",
    "motion": "mean_fd",
    "learning_curve": False,
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
PRIMARY = {"classification": "auc", "regression": "r2"}
#: Below this many people a summary says that it is a demonstration (Varoquaux 2018: +-10 points at n = 100).
ENOUGH = 100

PREDICTION_COLUMNS = {
    "participant_id": "Person",
    "session_id": "Visit; n/a where a row is a person",
    "feature_set": "Modality, fused (mean of standardised scores), early (block-scaled), dummy or demographics",
    "repeat": "Repeat of the cross-validation, from 1",
    "fold": "Outer fold in which the row was tested, from 1",
    "target": "True class or value",
    "score": "Out-of-fold score, standardised by the training people's inner out-of-fold scores",
    "prediction": "Probability of the second class, or the predicted value",
}
SCORE_COLUMNS = {
    "feature_set": "As in the predictions",
    "repeat": "Repeat, from 1",
    "fold": "Outer fold, from 1",
    "metric": "auc, balanced_accuracy, brier; or mae, r2 (by sums of squares against the training mean), r",
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
    """Tables and summary of one model (pandas.DataFrame x 3, dict)."""

    predictions: object
    scores: object
    folds: object
    summary: dict


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
    unknown = sorted(set(model) - set(DEFAULTS))
    if unknown:
        raise InputError(where, "key", unknown[0], ", ".join(DEFAULTS), "remove or correct the key")
    full = {**DEFAULTS, **{k: v for k, v in general.items() if v is not None}, **model}
    full["folds"] = {**DEFAULTS["folds"], **(general.get("folds") or {}), **(model.get("folds") or {})}
    allowed = ("ridge", "svm") if full["kind"] == "regression" else tuple(GRIDS)
    for key, options in (
        ("kind", tuple(PRIMARY)),
        ("table", ("study", "cohort")),
        ("rows", ("participant", "visit")),
        ("missing_modality", ("complete", "available", "impute")),
        ("splits", ("kfold", "leave-one-group-out", "within-site")),
        ("profile", ("exploratory", "confirmatory")),
        ("estimator", allowed),
    ):
        if full[key] not in options:
            raise InputError(where, key, full[key], ", ".join(options), f"choose one of them for {key}")
    names = [record.get("name") for record in full["features"]]
    reserved = {"fused", "early", "dummy", "demographics"}
    if not names or len(set(names)) < len(names) or set(names) & reserved:
        raise InputError(
            where, "features", names, f"different names, none of {sorted(reserved)}", "rename them"
        )
    if not full["target"]:
        raise InputError(where, "target", "missing", "a column of participants.tsv", "name the target")
    if full["lockbox"] and full["profile"] != "confirmatory":
        raise InputError(
            where,
            "lockbox",
            full["lockbox"],
            "0 in an exploratory model",
            "choose profile: confirmatory; without a locked plan nothing keeps the lockbox shut",
        )
    if full["harmonize"]:
        full["harmonize"] = {"unseen": "error", "covariates": [], "reference": "", **full["harmonize"]}
        if full["harmonize"]["unseen"] not in UNSEEN:
            found = full["harmonize"]["unseen"]
            raise InputError(where, "harmonize.unseen", found, ", ".join(UNSEEN), "choose a policy")
    full["grid"] = [float(v) for v in (full["grid"] or GRIDS[full["estimator"]])]
    if min(full["grid"]) <= 0:
        raise InputError(where, "grid", full["grid"], "positive numbers", "correct the grid")
    return full


def _estimator(model):
    # strongest regularisation first: `choose` settles ties in favour of the first
    if model["estimator"] == "ridge":
        return RidgePath(tuple(sorted(model["grid"], reverse=True)), model["kind"])
    return GridPath(model["estimator"], model["kind"], tuple(sorted(model["grid"])))


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


def cross_validate(data, folds, model):
    """Out-of-fold predictions of every feature set on the same folds; see `run_folds`."""
    return run_folds(data, folds, model)[:3]


def run_folds(data, folds, model):
    """Out-of-fold predictions of every feature set, and of the nested comparisons, on the same folds.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    folds : neurobraid.prediction.folds.Folds
    model : dict
        From `complete`.

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
    """
    kind, estimator = model["kind"], _estimator(model)
    X, blocks, confounds = _joined(data)
    X = np.concatenate([X, data.demographics], axis=1)
    extra = list(range(X.shape[1] - data.demographics.shape[1], X.shape[1]))

    def tuned(part, removed):
        how = {"harmonize": data.harmonize, "indicator": indicator} if removed is confounds else {}
        return TunedModel(make_pipeline(part, removed, estimator, model["min_present"], **how), kind)

    indicator = model["missing_modality"] == "impute"
    singles = {name: tuned({name: columns}, confounds) for name, columns in blocks.items()}
    present = {name: np.isfinite(X[:, columns]).any(axis=1) | indicator for name, columns in blocks.items()}
    predictions, scores, chosen, nested, patterns = [], [], {}, {}, {}
    reference = X[data.extra]
    asked = questions(list(singles), bool(extra))

    def record(name, repeat, fold, rows, train, score, predicted):
        known = np.isfinite(predicted)
        rows, score, predicted = rows[known], score[known], predicted[known]
        predictions.extend(
            (name, repeat + 1, fold + 1, int(r), float(s), float(p))
            for r, s, p in zip(rows, score, predicted, strict=True)
        )
        if not rows.size:
            return
        y = data.y[rows]
        if kind == "classification":
            values = classification_metrics(y, score, predicted, float(np.mean(data.y[train] > 0)))
        else:
            values = regression_metrics(y, predicted, float(data.y[train].mean()))
        scores.extend((name, repeat + 1, fold + 1, metric, value) for metric, value in values.items())

    for repeat, fold, train, test, inside in folds.splits():
        y = data.y[train]
        base = float(np.mean(y > 0)) if kind == "classification" else float(y.mean())
        flat = np.zeros(test.size)
        record("dummy", repeat, fold, test, train, flat, flat + base)
        if extra:
            clinical = tuned({"demographics": extra}, []).fit(X[train], y, inside)
            _take(record, "demographics", clinical, repeat, fold, test, train, X[test], chosen, None)
        fused = LateFusion(singles, kind).fit(
            X[train], y, inside, {n: has[train] for n, has in present.items()}, reference
        )
        for name, fitted in fused.models_.items():
            patterns.setdefault(name, []).append(
                _pattern(fitted, X[train[present[name][train]]], len(blocks[name]))
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
                record("fused", repeat, fold, test, train, score, fused.calibrator_.apply(raw))
            if "early" in model["fusion"]:
                fitted = tuned(blocks, confounds).fit(X[train], y, inside, reference)
                _take(record, "early", fitted, repeat, fold, test, train, X[test], chosen, reference)
        if asked:
            one = _members(fused, clinical if extra else None, X, train, test, present, reference)
            for name, (without, added) in asked.items():
                for key, members in (((name, "with"), [*without, *added]), ((name, "without"), without)):
                    score = fuse(one, members, data.y[:, None], kind)
                    value = fold_metric(data.y[test][:, None], score, data.y[train].mean(), kind)
                    nested.setdefault(key, []).append(float(value[0]))
    return predictions, scores, chosen, nested, patterns


def _pattern(fitted, X, features):
    """Correlation of every feature, as the estimator saw it, with the score on the training people."""
    prepared = fitted.pipeline_[:-1].transform(X)
    score = fitted.pipeline_[-1].scores(prepared)[:, fitted.choice_]
    steps = fitted.pipeline_[0].transformers_[0][1]
    keep = steps["covered"].keep_[:features]
    prepared = prepared[:, -int(keep.sum()) :] if keep.any() else prepared[:, :0]
    out = np.full(features, np.nan)
    spread = prepared.std(axis=0) * score.std()
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = (prepared - prepared.mean(axis=0)).T @ (score - score.mean()) / max(len(score), 1)
        out[keep] = np.where(spread > 1e-15, covariance / spread, 0.0)
    return out


def _probe(data, folds, model):
    """What `audit.probe_fit` changes: the first modality's whole pipeline, fitted by row numbers."""
    name, table = next(iter(data.tables.items()))
    columns = list(range(table.shape[1] - data.last))
    nuisance = list(range(table.shape[1] - data.last, table.shape[1]))
    indicator = model["missing_modality"] == "impute"
    there = np.isfinite(table[:, columns]).any(axis=1) | indicator

    def fit(X, y, train):
        pipeline = make_pipeline(
            {name: columns},
            nuisance,
            _estimator(model),
            model["min_present"],
            harmonize=data.harmonize,
            indicator=indicator,
        )
        rows = train[there[train]]
        return pipeline.fit(X[rows], y[rows])

    return fit, table


def _harmonization(data, model):
    """Harmonisation of every modality fitted on everybody, for people of a later study; no score uses it."""
    if not data.harmonize:
        return None
    out = {}
    for name, table in data.tables.items():
        rows = table if data.reference is None else table[~data.reference]
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
    y, value = data.y[rows], part["score" if classes else "prediction"].to_numpy()
    slices = {name: levels[rows] for name, levels in data.slices.items()}
    out = {"main_set": main, "slices": subgroups(y, value, slices, model["kind"], seed=model["seed"])}
    if classes:
        probability = part["prediction"].to_numpy()
        out |= {"calibration": calibration(y, probability), "decision_curve": decision_curve(y, probability)}
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
    record(name, repeat, fold, test, train, score, fitted.calibrator_.apply(raw))
    chosen.setdefault(name, []).append(fitted.pipeline[-1].grid[fitted.choice_])


def _shares(values):
    return {f"{v:g}": values.count(v) for v in sorted(set(values))}


def _summaries(scores, folds):
    out = {}
    for (name, metric), part in scores.groupby(["feature_set", "metric"], sort=True):
        out.setdefault(name, {})[metric] = corrected_interval(part["value"], folds.test_share)
    return out


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
    main = next((n for n in ("fused", "early") if n in metrics), ranked[0])
    pairs = [(main, ranked[0])] if main not in singles else []
    pairs += [("early", ranked[0])] if "early" in metrics and main != "early" else []
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
        out["sets"][name] = posthoc_confounds(data.y[rows], mean.to_numpy(), columns[rows], model["kind"])
    return out


def _warnings(data, model, permuted):
    found = []
    v = cramers_v(data.sites, data.y) if model["kind"] == "classification" else 0.0
    if v > SITE_LIMIT:
        found.append(
            f"Site and target are associated (Cramer's V {v:.2f} > {SITE_LIMIT}): a model may read the site. "
            f"Leave sites out (groups: {model['site']}) or report within-site accuracy."
        )
    if model["estimator"] != "ridge" and model["permutations"]:
        found.append("The permutation test uses ridge for the real and for the permuted studies.")
    if permuted is not None and permuted["movable"] < data.y.size:
        found.append(
            f"{data.y.size - permuted['movable']} of {data.y.size} rows could not change places within their block "
            "in the permutation test."
        )
    return found


def fit_model(features, participants, model, *, file="participants.tsv"):
    """Fit one declared model.

    Parameters
    ----------
    features : pandas.DataFrame
        Fusion table.
    participants : pandas.DataFrame
    model : dict
        From `complete`.
    file : str
        Name of the participants table for messages.

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
        "interval": "corrected resampled (Nadeau-Bengio), 95 %",
    }
    flow = []
    try:
        data = build(features, participants, model, file=file)
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
                 (PREDICTION_COLUMNS, SCORE_COLUMNS, FOLD_COLUMNS)]  # fmt: skip
        return Result(*empty, summary)

    table, digest = manifest(folds, data.participants, data.sessions, data.groups)
    rows, scores, chosen, nested, patterns = run_folds(data, folds, model)
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
    }
    permuted = None
    if model["permutations"]:
        run = label_test if sum(map(len, data.names.values())) > MANY else permutation_test
        permuted = run(
            data.tables,
            data.y,
            folds,
            data.participants if by_site else data.groups,
            data.sites,
            count=model["permutations"],
            seed=model["seed"],
            **engine,
        )
    metrics = _summaries(scores, folds)
    main = next((n for n in ("fused", "early") if n in metrics), next(n for n in data.tables if n in metrics))
    notes = _warnings(data, model, permuted)
    if people < ENOUGH:
        summary["status"] = "DEMONSTRATION"
        summary["reason"] = (
            f"{people} participants: this shows that the pipeline works. Its numbers have no inferential value; "
            f"accuracy estimates from fewer than {ENOUGH} people are off by ten points or more."
        )
    first = next(folds.splits())
    summary.update(
        classes=data.classes,
        class_counts={c: int(np.sum(data.y == v)) for c, v in zip(data.classes, (-1, 1), strict=False)},
        rows=int(data.y.size),
        flow=flow,
        features={name: len(columns) for name, columns in data.names.items()},
        confound_columns=data.confounds,
        folds={
            "outer": int(folds.outer.max()) + 1,
            "inner": int(first[4].max()) + 1,
            "repeats": len(folds.outer),
            "sha256": digest,
        },
        chosen={name: _shares(values) for name, values in sorted(chosen.items())},
        metrics=metrics,
        comparisons=_compare(predictions, data, model, folds, metrics),
        permutation=None
        if permuted is None
        else {
            "count": model["permutations"],
            "statistic": f"mean {PRIMARY[model['kind']]} over folds",
            "learner": "ridge",
            "moved": "labels" if sum(map(len, data.names.values())) > MANY else "features",
            "blocks": model["site"] if np.unique(data.sites).size > 1 else "none",
            "units": "participant_id" if by_site else model["groups"],
            **{k: permuted[k] for k in ("observed", "p", "null_mean", "movable")},
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
                "reliable": people >= 500,
            }
            for name, values in sorted(patterns.items())
        },
        site_association=cramers_v(data.sites, data.y) if model["kind"] == "classification" else None,
        warnings=notes,
    )
    place = predictions["row"].to_numpy()
    target = data.y[place]
    if data.classes:
        target = np.where(target > 0, data.classes[1], data.classes[0])
    predictions = predictions.assign(
        participant_id=data.participants[place],
        session_id=pd.Series(data.sessions[place]).replace("", np.nan),
        target=target,
    )
    order = {
        name: number for number, name in enumerate(["dummy", "demographics", *data.tables, "fused", "early"])
    }
    predictions = predictions.iloc[
        np.lexsort((place, predictions["repeat"], predictions["feature_set"].map(order)))
    ].reset_index(drop=True)
    scores = scores.iloc[
        np.lexsort((np.arange(len(scores)), scores["repeat"], scores["feature_set"].map(order)))
    ].reset_index(drop=True)
    return Result(predictions[list(PREDICTION_COLUMNS)], scores, table, summary)


def write_model(features, participants, model, outputs, *, plan="", code="", **general):
    """Fit one declared model and write its tables, sidecars and summary.

    Parameters
    ----------
    features, participants : path-like
        Fusion table, ``participants.tsv``.
    model : dict
        One record of ``prediction.models``.
    outputs : dict
        Mapping: paths ``predictions``, ``scores``, ``folds``, each with ``…_json`` beside it, and ``summary``.
    plan : path-like, optional
        The lock of the study's plans; a confirmatory model runs only as it was locked, without its lockbox.
    code : str
        Digest of the code of the stage.
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
    table = read_tsv(features, text=("modality", "measure", "unit", "source"))
    file = str(participants).rsplit("/", 1)[-1]
    locked = confirm(table, people, full, plan=plan or None, code=code, file=file)
    everybody = len(people)
    people, table = outside(locked, people, table)
    result = fit_model(table, people, full, file=file)
    if locked:
        result.summary["plan"] = plan_summary(locked)
    if len(people) < everybody:
        first = {"step": "participants in the table", "left": everybody}
        result.summary["flow"][:1] = [first, {"step": "outside the lockbox", "left": len(people)}]
    sources = [features, participants]
    for key, columns, text in (
        ("predictions", PREDICTION_COLUMNS, "Out-of-fold predictions of every feature set."),
        ("scores", SCORE_COLUMNS, "Metrics of every feature set on every outer fold."),
        (
            "folds",
            FOLD_COLUMNS,
            "Who was trained on and tested in which fold; the same for all feature sets.",
        ),
    ):
        write_tsv(getattr(result, key), outputs[key])
        content = sidecar(text, sources, Columns={c: {"Description": d} for c, d in columns.items()})
        write_json(content, outputs[f"{key}_json"])
    write_json(sidecar("Result of one declared model.", sources, **result.summary), outputs["summary"])
    log.info("%s: %s %s", full["name"], result.summary["status"], result.summary["reason"])
    for name, metrics in result.summary["metrics"].items():
        log.info("%s %s %.3f", name, PRIMARY[full["kind"]], metrics[PRIMARY[full["kind"]]]["mean"])
