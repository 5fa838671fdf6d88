"""One declared brain age from tables to gaps: controls train, accuracy is that of raw predictions, gaps are compared."""

from types import SimpleNamespace

import numpy as np

from neurobraid.errors import InputError, ProblemList
from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.prediction import audit
from neurobraid.prediction.brain_age import accuracy, bias_line, gaps, refuse_corrected
from neurobraid.prediction.dataset import build, encode
from neurobraid.prediction.estimators import RidgePath, TunedModel, make_pipeline
from neurobraid.prediction.folds import Unavailable, make_folds, manifest
from neurobraid.prediction.harmonize import UNSEEN
from neurobraid.prediction.honest import pattern_summary
from neurobraid.prediction.kernels import GaussianProcessPath, KernelRidgePath
from neurobraid.prediction.labels import label_scores
from neurobraid.prediction.metrics import corrected_interval
from neurobraid.prediction.reliability import bands, icc, within_person_slope
from neurobraid.provenance import sidecar

#: Every key of a record of ``prediction.brain_age`` with its default; the schema says the same.
DEFAULTS = {
    "name": None,
    "table": "study",
    "atlas": "",
    "features": [],
    "age": "age",
    "visits": "",
    "controls": None,
    "rows": "participant",
    "covariates": ["sex"],
    "confounds": [],
    "groups": "participant_id",
    "site": "site",
    "motion": "mean_fd",
    "estimator": "ridge",
    "splits": "kfold",
    "harmonize": None,
    "min_coverage": 0.5,
    "min_present": 0.5,
    "min_participants": 20,
    "folds": {"outer": 5, "inner": 5},
    "repeats": 1,
    "permutations": 999,
    "seed": 1,
}
#: Penalties of ridge by half-decades: the error of age changes by several per cent within a decade of penalty.
PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
ESTIMATORS = ("ridge", "kernel-ridge", "gaussian-process")
#: Names of the gaps in tables: as predicted, and after the two corrections.
GAPS = ("raw", "cole", "delange")
#: A person of the reference group in tables.
CONTROL = "control"
#: Group of a person of whom the column of controls says nothing.
UNKNOWN = "n/a"

COLUMNS = {
    "participant_id": ("Person", None),
    "session_id": ("Visit; n/a where a row is a person", None),
    "site": ("Site", None),
    "group": (f"{CONTROL}: trained on, never in the fold that tests them; else the value of the column of controls", None),
    "repeat": ("Repeat of the cross-validation, from 1", None),
    "fold": ("Outer fold in which the row was tested, from 1", None),
    "age_years": ("Age at the visit", "years"),
    "predicted_age_years": ("Raw out-of-fold prediction of a model of training controls", "years"),
    "prediction_sd_years": ("Predictive SD, for a Gaussian process; else n/a", "years"),
    "gap_raw_years": ("Raw prediction minus age; depends on age by regression to the mean", "years"),
    "gap_cole_years": (
        "Gap after (prediction - intercept) / slope (Cole et al. 2018): keeps the size of an effect; n/a below a slope of 0.1",
        "years",
    ),
    "gap_delange_years": (
        "Raw gap minus what the line expects at this age (de Lange et al. 2019, Beheshti et al. 2019): contains the true age, so "
        "it is no prediction, and no accuracy may be computed from it",
        "years",
    ),
    "bias_slope": ("Slope of the line of this fold: inner out-of-fold predictions of training controls on their age", "1"),
    "bias_intercept_years": ("Intercept of that line", "years"),
}  # fmt: skip
FOLD_COLUMNS = ("participant_id", "session_id", "group", "repeat", "fold", "role", "inner_fold")
PATTERN_COLUMNS = {
    "feature": "Modality, measure and region",
    "pattern": "Mean over folds of the correlation of the feature with the inner out-of-fold prediction (Haufe et al. 2014)",
    "sign_consistency": "Share of folds with the sign of the mean",
    "sd": "SD of the pattern over folds",
    "folds": "Folds in which enough training controls had the feature",
}


def complete(record, **general):
    """Fill a record with the defaults and refuse what cannot be fitted; every problem at once.

    Parameters
    ----------
    record : dict
        One of ``prediction.brain_age``.
    **general
        Folds and seed of the stage; the record's own keys win.

    Returns
    -------
    dict
        With what `neurobraid.prediction.dataset.build` reads of a model.

    Raises
    ------
    InputErrors
    """
    where, problems = f"config: prediction.brain_age ({record.get('name')})", ProblemList()
    for key in sorted(set(record) - set(DEFAULTS)):
        problems.add(where, "key", key, ", ".join(DEFAULTS), "remove or correct the key")
    known = {k: v for k, v in record.items() if k in DEFAULTS}
    full = {**DEFAULTS, **{k: v for k, v in general.items() if k in DEFAULTS and v is not None}, **known}
    full["folds"] = {**DEFAULTS["folds"], **(general.get("folds") or {}), **(record.get("folds") or {})}
    for key, options in (
        ("table", ("study", "cohort")),
        ("rows", ("participant", "visit")),
        ("estimator", ESTIMATORS),
        ("splits", ("kfold", "leave-one-group-out")),
    ):
        if full[key] not in options:
            problems.add(where, key, full[key], ", ".join(options), f"choose one of them for {key}")
    names = [r.get("name") for r in full["features"]]
    if not names or len(set(names)) < len(names):
        problems.add(where, "features", names, "one or more, of different names", "name the features")
    for key in ("covariates", "confounds"):
        if full["age"] in full[key]:
            fix = "remove it: the age is in every analysis of gaps, and a feature without age predicts none"
            problems.add(where, key, full["age"], "columns other than the age", fix)
    if full["controls"] and not {"column", "value"} <= set(full["controls"]):
        problems.add(where, "controls", full["controls"], "column and value", "say who the controls are")
    if full["harmonize"]:
        full["harmonize"] = {"unseen": "error", "covariates": [], "reference": "", **full["harmonize"]}
        if full["harmonize"]["unseen"] not in UNSEEN:
            found = full["harmonize"]["unseen"]
            problems.add(where, "harmonize.unseen", found, ", ".join(UNSEEN), "choose a policy")
    problems.raise_errors()
    own = {full["site"], full["motion"]}
    return {
        **full,
        "target": full["age"],
        "kind": "regression",
        "missing_modality": "complete",
        "demographics": [c for c in full["covariates"] if c not in own],
    }


def _learner(name):
    if name == "ridge":
        return RidgePath(PENALTIES, "regression")
    return KernelRidgePath() if name == "kernel-ridge" else GaussianProcessPath()


def _controls(people, participants, wanted, file):
    """Group of every row: `CONTROL`, or the value of the column; without a column everybody is a control."""
    if not wanted:
        return np.full(len(people), CONTROL, dtype=object)
    column, value = wanted["column"], str(wanted["value"])
    if column not in participants:
        raise InputError(
            file, "controls.column", column, ", ".join(participants.columns), "name a column of the table"
        )
    labels = participants.set_index("participant_id")[column]
    # a column of whole numbers with a gap is read as 0.0 and 1.0
    labels = labels.map(lambda v: UNKNOWN if v != v else f"{v:g}" if isinstance(v, float) else str(v))
    if value not in set(labels):
        raise InputError(file, f"controls.value of {column}", value, ", ".join(sorted(set(labels))), "name a value of the column")  # fmt: skip
    found = labels.loc[people].to_numpy(dtype=object)
    return np.where(found == value, CONTROL, found)


def _visit_ages(data, path, column):
    """Age at every visit from a table; the one of participants.tsv is that of one visit."""
    table = read_tsv(path)
    missing = [c for c in ("participant_id", "session_id", column) if c not in table]
    if missing:
        raise InputError(
            path, "columns", ", ".join(table.columns), f"a column {missing[0]}", f"add {missing[0]}"
        )
    keys = list(zip(table["participant_id"], table["session_id"], strict=True))
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(
            path, "rows", f"{twice[0]}, {twice[1]} twice", "one row per visit", "drop the wrong row"
        )
    ages = dict(zip(keys, table[column].astype(float), strict=True))
    wanted = list(zip(data.participants, data.sessions, strict=True))
    lost = [" ".join(key) for key in wanted if not np.isfinite(ages.get(key, np.nan))]
    if lost:
        raise InputError(
            path, column, f"missing for {', '.join(lost[:5])}", "an age for every visit", "add the rows"
        )
    return np.array([ages[key] for key in wanted])


def _pattern(fitted, X, blocks):
    """Correlation of every feature with the inner out-of-fold predictions of the training controls."""
    prepared, score = fitted.pipeline_[:-1].transform(X), fitted.inner_scores_
    out, start = [], 0
    for (_, steps, _), columns in zip(fitted.pipeline_[0].transformers_, blocks.values(), strict=False):
        keep = steps["covered"].keep_[: len(columns)]
        part = prepared[:, start : start + int(keep.sum())]
        start += int(keep.sum())
        pattern, spread = np.full(len(columns), np.nan), part.std(axis=0) * score.std()
        covariance = (part - part.mean(axis=0)).T @ (score - score.mean()) / len(score)
        pattern[keep] = np.where(spread > 1e-15, covariance / np.where(spread > 1e-15, spread, 1.0), 0.0)
        out.append(pattern)
    return np.concatenate(out)


def _joined(data):
    blocks, start, parts = {}, 0, []
    for name, table in data.tables.items():
        p = table.shape[1] - data.last
        parts.append(table[:, :p])
        blocks[name] = list(range(start, start + p))
        start += p
    parts.append(table[:, p:])
    return np.concatenate(parts, axis=1), blocks, list(range(start, start + data.last))


def predict_folds(data, control, folds, model):
    """Out-of-fold raw predictions and gaps of everybody, by models of training controls only.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    control : numpy.ndarray of bool, (rows,)
    folds : neurobraid.prediction.folds.Folds
    model : dict
        From `complete`.

    Returns
    -------
    rows : dict of str to numpy.ndarray
        row, repeat, fold, predicted, sd, slope, intercept, raw, cole, delange, train_mean, site_mean (mean age of training
        controls of the person's site, of all for a site without any): one entry per tested row and repeat.
    patterns : numpy.ndarray, (folds, features)
    """
    X, blocks, last = _joined(data)
    reference = X[data.extra]
    found, patterns = [], []
    for repeat, fold, train, test, inside in folds.splits():
        use = control[train]
        train, inside = train[use], inside[use]
        if np.unique(inside).size < 2:
            raise Unavailable("too few controls for a split inside the training people")
        pipeline = make_pipeline(
            blocks, last, _learner(model["estimator"]), model["min_present"], harmonize=data.harmonize
        )
        age = data.y[train]
        fitted = TunedModel(pipeline, "regression").fit(X[train], age, inside, reference)
        predicted = fitted.score_of(X[test], reference)
        # held-out predictions of training controls: no age of a tested person enters the line
        line = bias_line(age, fitted.inner_scores_)
        one = {"row": test, "predicted": predicted, **gaps(data.y[test], predicted, line)}
        sites = {s: age[data.sites[train] == s].mean() for s in np.unique(data.sites[train])}
        one["site_mean"] = np.array([sites.get(s, age.mean()) for s in data.sites[test]])
        same = {
            "repeat": repeat + 1,
            "fold": fold + 1,
            "slope": line[0],
            "intercept": line[1],
            "train_mean": age.mean(),
        }
        one |= {k: np.full(test.size, v) for k, v in same.items()}
        last_step = fitted.pipeline_[-1]
        one["sd"] = (
            last_step.deviation(_prepared(fitted, X[test], reference))
            if hasattr(last_step, "deviation")
            else np.full(test.size, np.nan)
        )
        found.append(one)
        patterns.append(_pattern(fitted, X[train], blocks))
    return {key: np.concatenate([one[key] for one in found]) for key in found[0]}, np.array(patterns)


def _prepared(fitted, X, extra):
    """Rows as the estimator sees them; `extra` as in `TunedModel.fit`."""
    rows = X if extra is None or not len(extra) else np.concatenate([X, extra])
    return fitted.pipeline_[:-1].transform(rows)[: len(X)]


def _scores(data, control, rows):
    """Accuracy of raw predictions of controls beside baselines, mean over repeats."""
    parts = []
    for repeat in np.unique(rows["repeat"]):
        use = (rows["repeat"] == repeat) & control[rows["row"]]
        row, predicted = rows["row"][use], rows["predicted"][use]
        age = data.y[row]
        # what is reported is what was predicted: a correction by the true age stops here
        refuse_corrected(age, age + rows["raw"][use], predicted)
        one = accuracy(age, predicted, rows["train_mean"][use])
        site = accuracy(age, rows["site_mean"][use], rows["train_mean"][use])
        one |= {"mae_site_mean": site["mae"], "r2_site_mean": site["r2"], "people": int(row.size)}
        one["within_site_r"] = float(audit.within_site(data.y, predicted, row, data.sites, "regression"))
        parts.append(one)
    return {key: float(np.mean([p[key] for p in parts])) for key in parts[0]}


def _interval(data, control, rows, share):
    values = []
    for repeat, fold in sorted(set(zip(rows["repeat"].tolist(), rows["fold"].tolist(), strict=True))):
        use = (rows["repeat"] == repeat) & (rows["fold"] == fold) & control[rows["row"]]
        if use.any():
            values.append(float(np.mean(np.abs(rows["raw"][use]))))
    return corrected_interval(values, share)


def _folds(data, model, scheme, repeats):
    groups = data.sites if scheme == "leave-one-site-out" else data.groups
    by_site = scheme == "leave-one-site-out" or model["groups"] == model["site"]
    return make_folds(
        data.y,
        groups,
        kind="regression",
        outer=model["folds"]["outer"],
        inner=model["folds"]["inner"],
        repeats=repeats,
        seed=model["seed"],
        group_of_site=by_site,
        scheme="kfold" if scheme == "kfold" else "leave-one-group-out",
        untested=data.reference,
    )


def _schemes(data, control, model, own, label):
    """The same model within the pool and with every site left out, beside what the site alone predicts."""
    out = [{"scheme": label, "primary": True, **own}]
    by_site = label == "leave-one-site-out"
    other = "kfold" if by_site else "leave-one-site-out"
    if label == "leave-one-group-out" or np.unique(data.sites[control]).size < 3:
        return out
    if other == "leave-one-site-out" and data.harmonize and data.harmonize["unseen"] == "error":
        return out
    # random folds of people, where the record groups by site
    people = SimpleNamespace(**{**vars(data), "groups": data.participants}) if by_site else data
    changed = {**model, "groups": "participant_id"} if by_site else model
    try:
        folds = _folds(people, changed, other, 1)
        rows, _ = predict_folds(data, control, folds, model)
    except (Unavailable, InputError) as reason:
        log.info("%s: %s is not possible: %s", model["name"], other, reason)
        return out
    out.append({"scheme": other, "primary": False, **_scores(data, control, rows)})
    return out


def _subset(data, rows):
    """Rows of a dataset."""
    values = {}
    for key, value in vars(data).items():
        if isinstance(value, np.ndarray) and len(value) == data.y.size:
            values[key] = value[rows]
        elif key in ("tables", "nuisance", "slices"):
            values[key] = {k: v[rows] for k, v in value.items()}
        else:
            values[key] = value
    return type(data)(**values)


def _audit(data, model, schemes):
    """What else tells the age of controls: site, sex, motion, what is missing; and whether anything leaked."""
    y = data.y
    grid, settings = PENALTIES, {"kind": "regression"}
    by_site = model["groups"] == model["site"]
    try:
        people = data.participants if by_site else data.groups
        folds = make_folds(y, people, outer=5, inner=3, repeats=1, seed=model["seed"], **settings)
        own = _folds(
            data,
            model,
            "leave-one-site-out" if by_site and model["splits"] != "kfold" else model["splits"],
            1,
        )
    except Unavailable as reason:
        return {"checks": [audit.finding("all checks", "not possible", f"{reason}.")], "flags": []}
    identities = {"participant_id": data.participants}
    if data.families is not None and np.any(data.families != data.participants):
        identities["family_id"] = data.families
    checks = audit.straddling(own, identities)
    for name, table in data.tables.items():
        for found in audit.similar_rows(table[:, : table.shape[1] - data.last], own, data.participants):
            if found["status"] == "flag" or name == next(iter(data.tables)):
                checks.append({**found, "text": f"{name}: {found['text']}"})
    checks += [
        audit.target_like(data.tables, data.names, y, "regression"),
        audit.identifier_order(y, "regression"),
    ]
    if np.unique(data.sites).size > 1:
        eta = audit.association(data.sites, y, "regression")
        high = eta > audit.SITE_LIMIT
        text = f"Correlation ratio of site and age: {eta:.2f}."
        text += (
            " A model may read the site instead of the brain; believe the score with sites left out."
            if high
            else ""
        )
        checks.append(
            audit.finding(
                "association of site and age", "flag" if high else "ok", text, eta, audit.SITE_LIMIT
            )
        )
    meanings = {
        "site": "The site alone predicts the age: what scanners differ in will be used.",
        "motion": "Head motion alone predicts the age.",
        "missing": "What is missing predicts the age.",
        "demographics": "Other covariates alone predict the age.",
    }
    for name, columns in data.nuisance.items():
        checks.append(audit.baseline(name, columns, y, folds, "regression", grid, meanings[name]))
    pool = next((s for s in schemes if s["scheme"] == "kfold"), None)
    apart = next((s for s in schemes if s["scheme"] == "leave-one-site-out"), None)
    if pool is not None and np.unique(data.sites).size > 1:
        # a tenth more error than the brain's, or less: the random split cannot tell the two apart
        high = (
            pool["r2_site_mean"] > audit.MARGIN["regression"] and pool["mae_site_mean"] <= 1.1 * pool["mae"]
        )
        text = f"In random folds the mean age of the site misses by {pool['mae_site_mean']:.2f} y, the brain by {pool['mae']:.2f} y."
        text += " The score of random folds says little about the brain." if high else ""
        checks.append(
            audit.finding(
                "site against brain in random folds",
                "flag" if high else "ok",
                text,
                pool["mae_site_mean"],
                pool["mae"],
            )
        )
    if pool is not None and apart is not None:
        high = apart["mae"] > 1.1 * pool["mae"]
        text = f"Mean absolute error {pool['mae']:.2f} y in random folds, {apart['mae']:.2f} y with sites left out."
        text += " The model does worse on a new site: report the error with sites left out." if high else ""
        checks.append(
            audit.finding(
                "score on sites left out", "flag" if high else "ok", text, apart["mae"], 1.1 * pool["mae"]
            )
        )
    checks.append(_shuffled(data, own, model))
    X, blocks, last = _joined(data)

    def fit(table, target, train):
        return make_pipeline(
            blocks, last, RidgePath(grid, "regression"), model["min_present"], harmonize=data.harmonize
        ).fit(table[train], target[train])

    train, test = next((tr, te) for _, _, tr, te, _ in own.splits())
    checks.append(audit.probe_fit(fit, X, y, train, test, model["seed"]))
    return {"checks": checks, "flags": [c["check"] for c in checks if c["status"] == "flag"]}


def _shuffled(data, folds, model):
    """Ages shuffled over people: no score may be left."""
    if data.harmonize:
        return audit.finding("shuffled labels", "not possible", "Not tried together with harmonisation.")
    rng = np.random.default_rng(model["seed"])
    moved = np.column_stack([rng.permutation(data.y) for _ in range(5)])
    done = label_scores(
        data.tables, moved, folds, confounds=data.confounds, grid=PENALTIES, kind="regression",
        min_present=model["min_present"],
    )  # fmt: skip
    name, error, spread = next(iter(data.tables)), np.zeros(5), np.zeros(5)
    for fold in done:
        truth = moved[fold.test]
        error += ((truth - fold.raw[name]) ** 2).sum(axis=0)
        spread += ((truth - moved[fold.train].mean(axis=0)) ** 2).sum(axis=0)
    return audit.shuffled_labels(1 - error / spread, "regression")


def gap_tests(gap, age, group, participants, model, sites, *, file="participants.tsv"):
    """Differences and associations of gaps, age and all covariates in one linear model, permuted within site.

    Parameters
    ----------
    gap : dict of str to numpy.ndarray, (people,)
        `GAPS`, in years.
    age : numpy.ndarray, (people,)
    group : numpy.ndarray of str, (people,)
        `CONTROL` or another value.
    participants : pandas.DataFrame
        Rows in the order of `gap`.
    model : dict
    sites : numpy.ndarray of str, (people,)
    file : str

    Returns
    -------
    list of dict
        term (a group against controls, or a covariate), people, and for every gap estimate, se, t, p_parametric and p (Freedman-Lane,
        rearranged within site). A covariate of several levels has one row per level against its first; the site is
        a covariate and is never tested against itself.

    Raises
    ------
    Unavailable
        Too few people, or terms that add up to one another.
    """
    from scipy.stats import t as student

    from neurobraid.stats.exchange import exchange
    from neurobraid.stats.permutation import null, prepare, uncorrected

    terms = {
        f"{level} against {CONTROL}s": (group == level).astype(float)
        for level in sorted({*group} - {CONTROL, UNKNOWN})
    }
    columns = list(
        dict.fromkeys([*model["covariates"], *([model["motion"]] if model["motion"] in participants else [])])
    )
    for column in columns:
        if column == model["site"]:
            continue
        values = encode(participants, [column], file=file)
        if values.shape[1] == 1:
            terms[column] = values[:, 0]
            continue
        levels = sorted(participants[column].dropna().astype(str).unique())
        terms |= {f"{column}: {lv} against {levels[0]}": values[:, k] for k, lv in enumerate(levels) if k}
    tested = list(terms)
    own = np.unique(sites)
    nuisance = {"age": age, **{f"site {s}": (sites == s).astype(float) for s in own[1:]}}
    names = [k for k in GAPS if np.isfinite(gap[k]).all()]
    design = np.column_stack([*terms.values(), *nuisance.values(), np.ones(age.size)])
    # of whom the group is not known is predicted, and in no comparison
    known = np.isfinite(design).all(axis=1) & (group != UNKNOWN)
    design = design[known]
    # what does not vary among those left cannot be tested, and a site nobody is left of has no column
    keep = np.r_[np.ptp(design[:, :-1], axis=0) > 0, True] if len(design) else np.zeros(design.shape[1], bool)
    design, kept = design[:, keep], np.flatnonzero(keep)
    if len(design) < design.shape[1] + 3 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise Unavailable(
            f"{len(design)} people with every covariate, and terms that add up to one another (such as a site that "
            "holds one group only), cannot be told apart"
        )
    data = np.column_stack([gap[k][known] for k in names])
    inverse = np.linalg.inv(design.T @ design)
    weights = inverse @ design.T @ data
    free = len(design) - design.shape[1]
    noise = ((data - design @ weights) ** 2).sum(axis=0) / free
    out = []
    for number, name in enumerate(tested):
        if number not in kept:
            continue
        place = int(np.flatnonzero(kept == number)[0])
        contrast = np.zeros(design.shape[1])
        contrast[place] = 1
        permuted = np.full(len(names), np.nan)
        if model["permutations"]:
            try:
                allowed = exchange(len(design), blocks=sites[known])
                done = null(prepare(data, design, contrast), allowed, model["seed"], model["permutations"])
                permuted = uncorrected(done)
            except InputError as error:
                log.info("%s: %s is not permuted: %s", model["name"], name, error)
        one = {"term": name, "people": int(known.sum())}
        if name.endswith(f"against {CONTROL}s"):
            one["group_people"] = int(design[:, place].sum())
        for k, key in enumerate(names):
            se = float(np.sqrt(noise[k] * inverse[place, place]))
            value = float(weights[place, k] / se) if se > 0 else np.nan
            one[key] = {
                "estimate_years": float(weights[place, k]),
                "se_years": se,
                "t": value,
                "p_parametric": float(2 * student.sf(abs(value), free)),
                "p": float(permuted[k]),
            }
        out.append(one)
    return out


def _retest(table):
    """Agreement of the first two visits of people, and change of the raw prediction with a person's own age."""
    visits = table[table["session_id"].notna()]
    counts = visits.groupby("participant_id")["session_id"].transform("nunique")
    visits = visits[counts >= 2].sort_values(["participant_id", "age_years", "session_id"], kind="stable")
    if visits["participant_id"].nunique() < 3:
        return None
    grouped = visits.groupby("participant_id", sort=True)
    first, second = grouped.nth(0), grouped.nth(1)
    keys = {"predicted_age": "predicted_age_years", **{f"gap_{k}": f"gap_{k}_years" for k in GAPS}}
    found = {k: icc(first[c].to_numpy(float), second[c].to_numpy(float)) for k, c in keys.items()}
    slope = within_person_slope(
        visits["participant_id"].to_numpy(str),
        visits["age_years"].to_numpy(float),
        visits["predicted_age_years"].to_numpy(float),
    )
    return {"icc": found, "within_person_slope": slope, "people": int(visits["participant_id"].nunique())}


def fit_brain_age(features, participants, model, *, file="participants.tsv"):
    """Fit one declared brain age.

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
    table, folds, patterns : pandas.DataFrame
        Columns `COLUMNS`, `FOLD_COLUMNS`, `PATTERN_COLUMNS`; empty where nothing can be fitted.
    summary : dict
        Accuracy is that of raw predictions of controls. Status UNAVAILABLE, with the reason, where nothing can be fitted.

    Raises
    ------
    InputError
        A column named in the record is missing, nobody is a control.
    """
    import pandas as pd

    summary = {"name": model["name"], "status": "OK", "reason": "", "flow": []}
    summary["settings"] = {k: model[k] for k in DEFAULTS if k not in ("name", "visits")}
    try:
        unknown = [c for c in model["covariates"] if c not in participants]
        if unknown:
            raise InputError(
                file, "covariates", unknown[0], ", ".join(participants.columns), "name a column of the table"
            )
        data = build(features, participants, model, file=file)
        summary["flow"] = data.flow
        group = _controls(data.participants, participants, model["controls"], file)
        control = group == CONTROL
        if model["visits"]:
            data.y = _visit_ages(data, model["visits"], model["age"])
        people = int(np.unique(data.participants[control]).size)
        if people < model["min_participants"]:
            raise Unavailable(f"{people} controls; min_participants is {model['min_participants']}")
        by_site = model["groups"] == model["site"]
        label = model["splits"]
        if label == "leave-one-group-out" and by_site:
            label = "leave-one-site-out"
        folds = _folds(data, model, label, model["repeats"])
        rows, patterns = predict_folds(data, control, folds, model)
    except Unavailable as reason:
        summary.update(status="UNAVAILABLE", reason=str(reason))
        empty = [pd.DataFrame(columns=list(c)) for c in (COLUMNS, FOLD_COLUMNS, PATTERN_COLUMNS)]
        return *empty, summary
    row = rows["row"]
    table = pd.DataFrame(
        {
            "participant_id": data.participants[row],
            "session_id": pd.Series(data.sessions[row]).replace("", np.nan),
            "site": data.sites[row],
            "group": group[row],
            "repeat": rows["repeat"],
            "fold": rows["fold"],
            "age_years": data.y[row],
            "predicted_age_years": rows["predicted"],
            "prediction_sd_years": rows["sd"],
            **{f"gap_{k}_years": rows[k] for k in GAPS},
            "bias_slope": rows["slope"],
            "bias_intercept_years": rows["intercept"],
        }
    )
    table = table.iloc[np.lexsort((row, rows["repeat"]))].reset_index(drop=True)
    own = _scores(data, control, rows)
    schemes = _schemes(data, control, model, own, label)
    mean = _first_visits(table)
    matched = participants.set_index("participant_id", drop=False).loc[mean["participant_id"]]
    shown = pattern_summary(patterns, [n for v in data.names.values() for n in v])
    tests, reason = [], ""
    try:
        tests = gap_tests(
            {k: mean[f"gap_{k}_years"].to_numpy() for k in GAPS},
            mean["age_years"].to_numpy(),
            mean["group"].to_numpy(str),
            matched,
            model,
            mean["site"].to_numpy(str),
            file=file,
        )
    except Unavailable as error:
        reason = str(error)
    by_age = bands(mean["age_years"].to_numpy(), {k: mean[f"gap_{k}_years"].to_numpy() for k in GAPS})
    summary.update(
        participants=int(np.unique(data.participants).size),
        controls=people,
        groups={str(g): int(np.unique(data.participants[group == g]).size) for g in np.unique(group)},
        sites=int(np.unique(data.sites).size),
        features={name: len(columns) for name, columns in data.names.items()},
        scheme=label,
        folds={
            "outer": int(folds.outer.max()) + 1,
            "repeats": len(folds.outer),
            "sha256": manifest(folds, data.participants, data.sessions, data.groups)[1],
        },
        accuracy={**own, "of": "raw predictions of controls", "mae_interval": _interval(data, control, rows, folds.test_share)},
        schemes=schemes,
        bias_line={
            "slope": float(np.mean(rows["slope"])),
            "intercept_years": float(np.mean(rows["intercept"])),
            "fitted_on": "inner out-of-fold predictions of the training controls of every fold",
        },
        gap_tests=tests,
        gap_tests_reason=reason,
        age_bands=by_age,
        retest=_retest(_mean_of_repeats(table)) if model["rows"] == "visit" else None,
        patterns={**shown, "reliable": people >= 500},
        audit=_audit(_subset(data, control), model, schemes),
        permutations={"count": model["permutations"], "blocks": model["site"] if np.unique(data.sites).size > 1 else "none"},
    )  # fmt: skip
    return (
        table,
        manifest(folds, data.participants, data.sessions, data.groups)[0],
        _patterns(patterns, data),
        summary,
    )


def _mean_of_repeats(table):
    """One row per person and visit, numbers averaged over repeats."""
    keys = ["participant_id", "session_id", "site", "group"]
    return table.groupby(keys, sort=True, dropna=False).mean(numeric_only=True).reset_index()


def _first_visits(table):
    """One row per person: the first visit, so that no person counts twice in a test."""
    one = _mean_of_repeats(table).sort_values(["participant_id", "age_years", "session_id"], kind="stable")
    return one.drop_duplicates("participant_id").reset_index(drop=True)


def _patterns(patterns, data):
    import pandas as pd

    known = np.isfinite(patterns)
    count = known.sum(axis=0)
    mean = np.where(known, patterns, 0).sum(axis=0) / np.maximum(count, 1)
    spread = np.sqrt(np.where(known, (patterns - mean) ** 2, 0).sum(axis=0) / np.maximum(count - 1, 1))
    agree = ((np.sign(patterns) == np.sign(mean)) & known).sum(axis=0) / np.maximum(count, 1)
    names = [n for v in data.names.values() for n in v]
    out = pd.DataFrame(
        {"feature": names, "pattern": mean, "sign_consistency": agree, "sd": spread, "folds": count}
    )
    return out.iloc[np.argsort(-np.abs(mean), kind="stable")].reset_index(drop=True)


def write_brain_age(features, participants, record, outputs, **general):
    """Fit one declared brain age and write its tables, sidecars and summary.

    Parameters
    ----------
    features, participants : path-like
        Fusion table, ``participants.tsv``.
    record : dict
        One of ``prediction.brain_age``.
    outputs : mapping
        Paths ``table``, ``folds``, ``patterns``, each with ``…_json`` beside it, and ``summary``.
    **general
        See `complete`.
    """
    model = complete(record, **general)
    if not participants:
        raise InputError(
            "participants.tsv", "file", "missing", f"a table with the column {model['age']}", "add it, or remove the brain age"
        )  # fmt: skip
    people = read_tsv(participants)
    table = read_tsv(features, text=("modality", "measure", "unit", "source"))
    found, folds, patterns, summary = fit_brain_age(
        table, people, model, file=str(participants).rsplit("/", 1)[-1]
    )
    sources = [features, participants, *([model["visits"]] if model["visits"] else [])]
    write_tsv(found, outputs["table"])
    described = {c: {"Description": d} | ({"Units": u} if u else {}) for c, (d, u) in COLUMNS.items()}
    text = "Raw out-of-fold brain age and gaps of every person; accuracy may be computed from the raw prediction only."
    write_json(sidecar(text, sources, Columns=described), outputs["table_json"])
    write_tsv(folds, outputs["folds"])
    text = "Who was trained on and tested in which fold; of those trained on, only controls were used."
    write_json(sidecar(text, sources), outputs["folds_json"])
    write_tsv(patterns, outputs["patterns"])
    text = "Which features go with the predicted age, and how steadily over folds."
    columns = {c: {"Description": d} for c, d in PATTERN_COLUMNS.items()}
    write_json(sidecar(text, sources, Columns=columns), outputs["patterns_json"])
    write_json(sidecar("Result of one declared brain age.", sources, **summary), outputs["summary"])
    log.info("%s: %s %s", model["name"], summary["status"], summary["reason"])
    if "accuracy" in summary:
        log.info("%s mae %.2f years", model["name"], summary["accuracy"]["mae"])
