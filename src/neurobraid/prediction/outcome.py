"""One declared outcome over time: response to treatment where there is an untreated arm, otherwise prognosis.

What happened to people who were all treated is their course under treatment. How it would have been without, and for whom
treatment makes a difference, such data cannot say; without a second arm every output here is called prognosis.
"""

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.fusion.table import wide
from neurobraid.jobs import log
from neurobraid.prediction.audit import baseline as told_by
from neurobraid.prediction.audit import finding
from neurobraid.prediction.dataset import encode
from neurobraid.prediction.declared import merged
from neurobraid.prediction.folds import Unavailable, check_groups, make_folds, manifest
from neurobraid.prediction.response import (
    Trial,
    average_effect,
    contrasts,
    prognosis,
    response,
    uplift_curve,
)
from neurobraid.prediction.timeline import (
    ORDER,
    choose_visits,
    label_of,
    read_sessions,
    refuse_time_travel,
    time_travel,
    timeline,
    travel_finding,
)
from neurobraid.prediction.visits import wanted_rows, with_times
from neurobraid.provenance import sidecar

#: Every key of a record of ``prediction.outcomes`` with its default; the schema says the same.
OUTCOME = {
    "name": None,
    "table": "study",
    "atlas": "",
    "outcome": None,
    "better": "lower",
    "features": [],
    "treatment": None,
    "baseline": "",
    "followup": "",
    "markers": "",
    "time": "acq_time",
    "unit": "",
    "landmark": None,
    "per_year": False,
    "covariates": [],
    "site": "site",
    "groups": "participant_id",
    "grid": [100.0, 10.0, 1.0, 0.1, 0.01],
    "min_coverage": 0.5,
    "min_present": 0.5,
    "min_participants": 20,
    "folds": {"outer": 5, "inner": 5},
    "repeats": 2,
    "permutations": 999,
    "seed": 1,
}
#: Below this many people per arm an analysis of response is called a demonstration.
ENOUGH = 100
NO_ARM = (
    "There is no untreated arm. These are predictions of the course of people who were all treated alike (prognosis); "
    "they do not say what treatment did, nor whom it helps."
)
PEOPLE_COLUMNS = {
    "participant_id": "Person",
    "arm": "treated or control; n/a where there is one arm",
    "baseline": "The outcome at the baseline visit",
    "followup": "The outcome at the follow-up visit",
    "gap": "Years between the two; n/a where only the order of visits is known",
    "change": "Follow-up minus baseline (per year, if so declared)",
    "feature_set": "Markers used; all: every set, block-scaled",
    "adjusted": "yes: adjusted for the outcome at baseline inside the fold",
    "predicted_change": "Held-out prediction of the change in the person's own arm, mean over repeats",
    "predicted_effect": "Held-out prediction of treated minus control; n/a where there is one arm",
}
CONTRAST_COLUMNS = {
    "marker": "Feature set and feature",
    "adjusted": "yes: with the outcome at baseline (and its interaction with the arm) in the model",
    "estimate": "Difference of the effect of treatment, or with one arm of the change, per SD of the marker",
    "low": "Lower end of the 95 % interval",
    "high": "Upper end of the 95 % interval",
    "t": "t statistic",
    "p": "Two-sided p by permutation within arm and site",
    "p_fwe": "The same, corrected for all markers by the largest statistic",
    "people": "People with every marker",
}


def complete_outcome(record, **general):
    """Fill a record of ``prediction.outcomes`` with the defaults, and refuse what cannot be analysed.

    Parameters
    ----------
    record : dict
    **general
        Defaults of the stage (folds, repeats, permutations, seed); the record's own keys win.

    Returns
    -------
    dict

    Raises
    ------
    InputError
    """
    where = f"config: prediction.outcomes ({record.get('name')})"
    full = merged(record, OUTCOME, general, where)
    for key, options in (("table", ("study", "cohort", "trial")), ("better", ("lower", "higher"))):
        if full[key] not in options:
            raise InputError(where, key, full[key], ", ".join(options), f"choose one of them for {key}")
    names = [r.get("name") for r in full["features"]]
    if not names or len(set(names)) < len(names) or "all" in names:
        raise InputError(where, "features", names, "different names, none of them all", "rename them")
    if not full["outcome"]:
        raise InputError(where, "outcome", "missing", "a column of the sessions tables", "name the outcome")
    arms = full["treatment"]
    if arms is not None and not {"arm", "treated"} <= set(arms):
        raise InputError(
            where, "treatment", ", ".join(arms), "arm, treated and, if there is one, control", "complete it"
        )
    if arms and arms.get("control") == arms["treated"]:
        raise InputError(where, "treatment.control", arms["control"], "another arm", "correct the value")
    if full["per_year"] and full["time"] == ORDER:
        raise InputError(where, "time", ORDER, "a time, for a change per year", "name acq_time or a column")
    full["grid"] = tuple(sorted((float(v) for v in full["grid"] or OUTCOME["grid"]), reverse=True))
    if full["grid"][-1] <= 0:
        raise InputError(where, "grid", full["grid"], "positive numbers", "correct the grid")
    return full


def _arms(matched, record, file):
    """1 treated, 0 control, NaN neither."""
    wanted = record["treatment"]
    if not wanted:
        return np.full(len(matched), 1.0)
    if wanted["arm"] not in matched:
        raise InputError(
            file, "treatment.arm", wanted["arm"], ", ".join(matched.columns), "name a column of the table"
        )
    text = matched[wanted["arm"]].astype(str)
    if not (text == str(wanted["treated"])).any():
        raise InputError(
            file, wanted["arm"], ", ".join(sorted(set(text))), f"some {wanted['treated']}",
            "name a value of the column in treatment.treated",
        )  # fmt: skip
    arm = np.where(text == str(wanted["treated"]), 1.0, np.nan)
    if wanted.get("control"):
        arm[(text == str(wanted["control"])).to_numpy()] = 0.0
    return arm


def _outcomes(line, record, where):
    """Outcome at both visits of everybody who has them."""
    import pandas as pd

    if record["outcome"] not in line.table:
        raise InputError(
            where, "outcome", record["outcome"], ", ".join(line.table.columns[2:]),
            "name a column of the sessions tables",
        )  # fmt: skip
    text = line.table[record["outcome"]]
    values = pd.to_numeric(text, errors="coerce")
    wrong = text[values.isna() & text.notna()]
    if len(wrong):
        raise InputError(line.file, record["outcome"], wrong.iloc[0], "a number or n/a", "correct it")
    keyed = line.table.assign(value=values).set_index(["participant_id", "session_id"])["value"]
    chosen = choose_visits(line, record)
    for name in ("baseline", "followup"):
        pairs = list(zip(chosen.index, chosen[name], strict=True))
        chosen[f"{name}_value"] = keyed.reindex(pairs).to_numpy()
    return chosen


def _markers(features, line, chosen, record, where):
    """Features of the visit at which markers were taken, without sessions, and the check of their times."""
    rows = wanted_rows(features, record["features"])
    rows = rows[rows["value"].notna() & ~(rows["coverage"] < record["min_coverage"])]
    rows = with_times(rows[rows["participant_id"].isin(chosen.index)], line, where)
    label = label_of(record["markers"])
    own = label if label else rows["participant_id"].map(chosen["baseline"]).to_numpy()
    rows = rows[rows["session_id"].to_numpy() == own]
    if not len(rows):
        raise Unavailable("nobody with the outcome has the markers")
    clock = "time" if line.timed else "place"
    times = line.table.set_index(["participant_id", "session_id"])[clock].astype(float)
    at = {
        name: times.reindex(list(zip(chosen.index, chosen[name], strict=True))).set_axis(chosen.index)
        for name in ("baseline", "followup")
    }
    unit = line.unit or "visit"
    used = rows.assign(feature=rows["modality"] + " " + rows["measure"], time=rows[clock].astype(float))
    used = used.drop_duplicates(["participant_id", "session_id", "feature"])
    used = used[["participant_id", "session_id", "feature", "time"]]
    landmark = record["landmark"]
    late = time_travel(used, at["baseline"] if landmark is None else landmark, at["followup"], unit)
    refuse_time_travel(late, unit, where=where)
    note = travel_finding(used, late, landmark, at["followup"], unit)
    return rows.assign(session_id=np.nan), note


def assemble(features, participants, sessions, units, record, *, file="participants.tsv"):
    """Arrays of one outcome analysis, joined by label, nobody lost silently.

    Parameters
    ----------
    features, participants : pandas.DataFrame
    sessions, units
        From `neurobraid.prediction.timeline.read_sessions`.
    record : dict
        From `complete_outcome`.
    file : str

    Returns
    -------
    trial : neurobraid.prediction.response.Trial
    about : dict
        ``participants``, ``gap``, ``followup`` (arrays), ``names``, ``flow``, ``checks``, ``demographics``.

    Raises
    ------
    InputError
    Unavailable
    """
    where = f"config: prediction.outcomes ({record['name']})"
    line = timeline(sessions, units, record, where=where)
    if participants["participant_id"].duplicated().any():
        twice = participants["participant_id"][participants["participant_id"].duplicated()].iloc[0]
        raise InputError(file, "participant_id", f"{twice} twice", "every participant once", "remove a row")
    people = participants.set_index("participant_id", drop=False)
    flow = [{"step": "participants in the table", "left": len(people)}]
    matched = people[np.isfinite(_arms(people, record, file))] if record["treatment"] else people
    if record["treatment"]:
        flow.append({"step": "in an arm of the comparison", "left": len(matched)})
    chosen = _outcomes(line, record, where)
    began = matched.index
    chosen = chosen[chosen.index.isin(matched.index)]
    chosen = chosen[chosen[["baseline_value", "followup_value"]].notna().all(axis=1)]
    flow.append({"step": f"with {record['outcome']} at baseline and follow-up", "left": len(chosen)})
    if not len(chosen):
        raise Unavailable(f"nobody has {record['outcome']} at baseline and follow-up")
    rows, travel = _markers(features, line, chosen, record, where)
    views = {
        r["name"]: wide(
            rows, r["modality"], measure=r.get("measure") or (), region=r.get("region") or (),
            min_coverage=record["min_coverage"],
        )
        for r in record["features"]
    }  # fmt: skip
    ids = chosen.index
    for name, view in views.items():
        ids = ids.intersection(view.index)
        flow.append({"step": f"with {name}", "left": len(ids)})
    ids = ids.sort_values()
    if len(ids) < record["min_participants"]:
        raise Unavailable(
            f"{len(ids)} participants have everything; min_participants is {record['min_participants']}"
        )
    matched, chosen = people.loc[ids], chosen.loc[ids]
    arm = _arms(matched, record, file)
    change = (chosen["followup_value"] - chosen["baseline_value"]).to_numpy()
    gap = chosen["gap"].to_numpy()
    if record["per_year"]:
        change = change / gap
    if np.ptp(change) == 0:
        raise Unavailable(f"the change of {record['outcome']} is the same for everybody")
    site = record["site"]
    sites = (
        matched[site].fillna("n/a").to_numpy().astype(str)
        if site in matched
        else np.full(len(ids), "one site")
    )
    column = record["groups"]
    if column not in matched:
        raise InputError(file, "groups", column, ", ".join(matched.columns), "name a column of the table")
    groups = matched[column].astype("object").where(matched[column].notna(), matched["participant_id"])
    groups = groups.to_numpy(dtype=object).astype(str)
    check_groups(ids.to_numpy(dtype=str), groups, change, "regression", file=file, column=column)
    dummies = (sites[:, None] == np.unique(sites)[1:]).astype(np.float64)
    covariates = encode(matched, record["covariates"], file=file)
    # a covariate is background, not the question: a missing one gets the mean
    covariates = np.where(np.isfinite(covariates), covariates, np.nan_to_num(np.nanmean(covariates, axis=0)))
    two = bool(np.ptp(arm) > 0)
    trial = Trial(
        {n: v.reindex(ids).to_numpy(dtype=np.float64) for n, v in views.items()},
        change,
        chosen["baseline_value"].to_numpy(),
        arm if two else None,
        np.concatenate([dummies, covariates], axis=1),
        sites,
        groups,
        1.0 if record["better"] == "higher" else -1.0,
    )
    about = {
        "participants": ids.to_numpy(dtype=str),
        "gap": gap,
        "followup": chosen["followup_value"].to_numpy(),
        "names": {n: list(v.columns) for n, v in views.items()},
        "flow": flow,
        "checks": [travel],
        "began": people.loc[began],
        "unit": units.get(record["outcome"], ""),
        "line": line,
    }
    return trial, about


def _attrition(about, record, file):
    """Whether arms differ in who came back."""
    from scipy.stats import fisher_exact

    arm = _arms(about["began"], record, file)
    stayed = np.isin(about["began"].index.to_numpy(dtype=str), about["participants"])
    counts = [[int(np.sum((arm == a) & (stayed == s))) for s in (True, False)] for a in (1, 0)]
    p = float(fisher_exact(counts)[1])
    lost = [
        f"{row[1]} of {sum(row)} {name}" for name, row in zip(("treated", "control"), counts, strict=True)
    ]
    text = f"Without outcome or markers: {' and '.join(lost)} (Fisher p {p:.3f})."
    if p < 0.05:
        text += " Arms that lose different people are no longer alike."
    return finding("loss to follow-up differs by arm", "flag" if p < 0.05 else "ok", text, p, 0.05)


def _regression_to_mean(trial):
    """How the change goes with the baseline value: the fall of high values by themselves."""
    r = float(np.corrcoef(trial.start, trial.change)[0, 1]) if np.ptp(trial.start) > 0 else 0.0
    text = f"Correlation of change and baseline value: {r:.2f}."
    strong = abs(r) > 0.3
    if strong:
        text += (
            " High values fall and low values rise by themselves; what follows the baseline value seems to predict "
            "change. Read the adjusted results."
        )
    return finding("change follows the baseline value", "flag" if strong else "ok", text, r, 0.3)


def fit_outcome(features, participants, sessions, units, record, *, file="participants.tsv"):
    """Analyse one declared outcome.

    Parameters
    ----------
    features, participants, sessions, units, record, file
        See `assemble`.

    Returns
    -------
    people, contrasts : pandas.DataFrame
        In the columns of `PEOPLE_COLUMNS` and `CONTRAST_COLUMNS`.
    summary : dict
        ``analysis`` is ``response`` or ``prognosis``; status UNAVAILABLE with a reason where there are too few people.
    """
    import pandas as pd

    summary = {
        "name": record["name"],
        "status": "OK",
        "reason": "",
        "analysis": "response" if record["treatment"] and record["treatment"].get("control") else "prognosis",
        "settings": {k: v for k, v in record.items() if k != "name"},
        "interval": "corrected resampled (Nadeau-Bengio), 95 %",
    }
    try:
        trial, about = assemble(features, participants, sessions, units, record, file=file)
        two = trial.arm is not None
        summary["analysis"] = "response" if two else "prognosis"
        if two and min(np.sum(trial.arm == a) for a in (0, 1)) < 5:
            raise Unavailable("an arm has fewer than five people with outcome and markers")
        # balanced by what was known before: folds that look at arm or change would fit the data better than rearranged ones
        folds = make_folds(
            trial.start,
            trial.groups,
            kind="regression",
            outer=record["folds"]["outer"],
            inner=record["folds"]["inner"],
            repeats=record["repeats"],
            seed=record["seed"],
        )
    except Unavailable as reason:
        summary |= {"status": "UNAVAILABLE", "reason": str(reason)}
        empty = (pd.DataFrame({c: [] for c in names}) for names in (PEOPLE_COLUMNS, CONTRAST_COLUMNS))
        return *empty, summary
    names = {n: [n] for n in trial.tables}
    if len(names) > 1:
        names["all"] = list(trial.tables)
    settings = {
        "grid": record["grid"],
        "min_present": record["min_present"],
        "count": record["permutations"],
        "seed": record["seed"],
    }
    course, effect, rows = {}, {}, []
    for name, members in names.items():
        for adjusted in (False, True):
            key = "adjusted" if adjusted else "unadjusted"
            one = prognosis(trial, folds, members, adjusted=adjusted, **settings)
            predicted = one.pop("predicted")
            course.setdefault(name, {})[key] = one
            own = np.full(trial.change.size, np.nan)
            if two:
                found = response(trial, folds, members, adjusted=adjusted, **settings)
                own, score = found.pop("effect"), found.pop("score")
                found["curve"] = uplift_curve(own, score, trial.sign)
                found["predicted_sd"] = float(np.nanstd(own))
                effect.setdefault(name, {})[key] = found
            rows.append(_people(trial, about, name, adjusted, predicted, own))
    table = pd.DataFrame(
        [
            one
            for adjusted in (False, True)
            for one in contrasts(
                trial, about["names"], adjusted=adjusted, count=record["permutations"], seed=record["seed"],
                min_present=record["min_present"],
            )
        ],
        columns=list(CONTRAST_COLUMNS),
    )  # fmt: skip
    table["adjusted"] = np.where(table["adjusted"].astype(bool), "yes", "no")
    checks = [*about["checks"], _regression_to_mean(trial)]
    if two:
        checks += [_attrition(about, record, file), *_balance(trial, folds, record)]
    count = int(trial.change.size)
    smallest = min(np.sum(trial.arm == a) for a in (0, 1)) if two else count
    if smallest < ENOUGH:
        summary["status"] = "DEMONSTRATION"
        word = "people in the smaller arm" if two else "people"
        summary["reason"] = (
            f"{int(smallest)} {word}: this shows that the pipeline works. With fewer than {ENOUGH} the estimates are too "
            "wide to act on."
        )
    _, digest = manifest(folds, about["participants"], np.full(count, ""), trial.groups)
    summary |= {
        "participants": count,
        "unit": about["unit"],
        "flow": about["flow"],
        "arms": {
            "treated": int(np.sum(trial.arm == 1)),
            "control": int(np.sum(trial.arm == 0)),
        }
        if two
        else {"one arm": count},
        "note": None if two else NO_ARM,
        "gap_median_years": float(np.nanmedian(about["gap"])) if np.isfinite(about["gap"]).any() else None,
        "mean_change": {
            "treated": float(trial.change[trial.arm == 1].mean()),
            "control": float(trial.change[trial.arm == 0].mean()),
        }
        if two
        else {"one arm": float(trial.change.mean())},
        "average_effect": _average(trial) if two else None,
        "prognosis": course,
        "response": effect if two else None,
        "checks": checks,
        "flags": [c["check"] for c in checks if c["status"] == "flag"],
        "folds": {
            "outer": int(folds.outer.max()) + 1,
            "repeats": len(folds.outer),
            "sha256": digest,
        },
        "permutation": {
            "count": record["permutations"],
            "prognosis": "what nuisance leaves of the change, within arm and site (Freedman-Lane)",
            "response": "arms drawn anew within site, mean effect kept" if two else None,
            "contrasts": "what nuisance leaves of the change, within arm and site (Freedman-Lane)",
        },
    }
    return pd.concat(rows, ignore_index=True), table, summary


def _average(trial):
    """Mean effect of treatment with interval, unadjusted and adjusted."""
    out = {}
    for key, adjusted in (("unadjusted", False), ("adjusted", True)):
        value, error = average_effect(trial, adjusted)
        out[key] = {"mean": value, "low": value - 1.96 * error, "high": value + 1.96 * error}
    return out


def _balance(trial, folds, record):
    """Whether markers or the baseline value tell the arm: then it was not given at random."""
    table = np.concatenate([*trial.tables.values(), trial.start[:, None]], axis=1)
    one = told_by(
        "arm", table, 2 * trial.arm - 1, folds, "classification", record["grid"],
        "Markers and baseline tell the arm: treatment was not given at random, and a difference between arms may come from "
        "who got it.",
    )  # fmt: skip
    return [{**one, "check": "markers tell the arm"}]


def _people(trial, about, name, adjusted, predicted, effect):
    import pandas as pd

    arm = np.full(trial.change.size, "n/a", dtype=object)
    if trial.arm is not None:
        arm = np.where(trial.arm == 1, "treated", "control")
    return pd.DataFrame(
        {
            "participant_id": about["participants"],
            "arm": arm,
            "baseline": trial.start,
            "followup": about["followup"],
            "gap": about["gap"],
            "change": trial.change,
            "feature_set": name,
            "adjusted": "yes" if adjusted else "no",
            "predicted_change": predicted,
            "predicted_effect": effect,
        }
    )[list(PEOPLE_COLUMNS)]


def write_outcome(features, participants, sessions, record, outputs, **general):
    """Analyse one declared outcome and write its tables, sidecars and summary.

    Parameters
    ----------
    features, participants : path-like
        Fusion table, ``participants.tsv``.
    sessions : iterable of path-like
        Sessions tables and their sidecars.
    record : dict
        One record of ``prediction.outcomes``.
    outputs : mapping
        Paths ``people``, ``contrasts``, each with ``…_json`` beside it, and ``summary``.
    **general
        See `complete_outcome`.
    """
    full = complete_outcome(record, **general)
    if not participants:
        raise InputError("participants.tsv", "file", "missing", "a table of the participants", "add it")
    known = read_sessions(sessions)
    table = read_tsv(features, text=("modality", "measure", "unit", "source"))
    people, contrast, summary = fit_outcome(
        table, read_tsv(participants), *known, full, file=str(participants).rsplit("/", 1)[-1]
    )
    sources = [features, participants, *sessions]
    word = "Response to treatment" if summary["analysis"] == "response" else "Prognosis"
    for key, content, columns, text in (
        ("people", people, PEOPLE_COLUMNS, f"{word}: held-out predictions of every person."),
        ("contrasts", contrast, CONTRAST_COLUMNS, f"{word}: every marker by itself."),
    ):
        write_tsv(content, outputs[key])
        about = {c: {"Description": d} for c, d in columns.items()}
        for column in ("baseline", "followup", "change", "predicted_change", "predicted_effect", "estimate"):
            if column in about and summary.get("unit"):
                per = "/year" if full["per_year"] and column not in ("baseline", "followup") else ""
                about[column]["Units"] = summary["unit"] + per
        write_json(
            sidecar(text, sources, Analysis=summary["analysis"], Columns=about), outputs[f"{key}_json"]
        )
    write_json(sidecar(f"{word}: result of one declared outcome.", sources, **summary), outputs["summary"])
    log.info("%s: %s, %s %s", full["name"], summary["analysis"], summary["status"], summary["reason"])
