"""Visits, slopes, response and regression to the mean against a trial whose truth is planted.

    python benchmarks/longitudinal.py [--parts slopes,normative,change,pooled,travel,mean,null,power] [--seeds 10] [--studies 200]

Prints one tab-separated line per figure: name, value, unit, goal, ok or short. ``--studies`` null studies give the rates of false
alarms (standard error of a rate of .05 over 200: .015). About 15 minutes on one core.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from neurobraid.errors import InputError
from neurobraid.prediction import audit
from neurobraid.prediction.dataset import build
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.model import complete, fit_model
from neurobraid.prediction.outcome import assemble, complete_outcome
from neurobraid.prediction.permutation import statistics
from neurobraid.prediction.response import Trial, average_effect, contrasts, prognosis, response
from neurobraid.prediction.visit_steps import VisitStep, shrink, slope_model
from neurobraid.prediction.visits import person_slopes, visit_features
from neurobraid.synth.trial import UNITS, make_trial

GRID = (100.0, 10.0, 1.0, 0.1)
PET, TRAP = {"name": "pet", "modality": ["pet"]}, {"name": "trap", "modality": ["blood"]}
SETTINGS = {"grid": GRID, "min_present": 0.5}
#: Region whose contrast is counted: one marker, so that the rate is that of a single test.
ONE = 1


def report(name, value, unit, goal, good):
    """Print one line."""
    print(f"{name}\t{value:.4g}\t{unit}\t{goal}\t{'ok' if good else 'short'}", flush=True)


def within(name, value, unit, goal, share):
    """Print a figure that must be within a share of its planted value."""
    report(name, value, unit, f"{goal:.4g} +- {100 * share:g} %", abs(value / goal - 1) <= share)


def rate(name, ps):
    """Print how often p is at most .05 where nothing is to be found."""
    value = float(np.mean(np.array(ps) <= 0.05))
    report(
        f"{name}: false alarms at .05, {len(ps)} studies",
        value,
        "share",
        "0.02 to 0.09",
        0.02 <= value <= 0.09,
    )


def model(use="", **changes):
    """A model of patients against controls; without `use` one row per visit."""
    own = {"visits": {"use": use, "time": "days", **changes.pop("visits", {})}} if use else {}
    base = {
        "name": "gate",
        "table": "trial",
        "target": "group",
        "classes": ["control", "patient"],
        "features": [PET],
    }
    return complete({**base, "permutations": 0, "repeats": 1, "demographics": [], **own, **changes})


def visits_of(trial, record):
    return visit_features(trial.features, trial.participants, trial.sessions, UNITS, record)


def arrays(trial, features=(PET,)):
    record = complete_outcome(
        {
            "name": "gate", "table": "trial", "outcome": "score", "time": "days", "features": list(features),
            "treatment": {"arm": "arm", "treated": "drug", "control": "placebo"},
        }
    )  # fmt: skip
    return assemble(trial.features, trial.participants, trial.sessions, UNITS, record)


def folds_of(trial, seed):
    return make_folds(trial.start, trial.groups, kind="regression", repeats=1, inner=3, seed=seed)


def slopes(seeds):
    """Slope model on four visits with unequal gaps."""
    found, last = [], None
    for seed in range(seeds):
        trial = make_trial(seed, people=300, visits=4, gap=0.7, visit_noise=0.5, slope=-0.2, slope_sd=0.25)
        rows = trial.features[trial.features["modality"] == "pet"]
        rows = rows.merge(trial.sessions, on=["participant_id", "session_id"])
        table = person_slopes(rows.assign(years=rows["days"] / 365.25))
        slope, spread, rest, freedom = (
            table.pivot(index="participant_id", columns="region", values=k).to_numpy()
            for k in ("slope", "spread", "rest", "freedom")
        )
        mean, between, noise = slope_model(slope, spread, rest, freedom)
        drawn = shrink(slope, spread, mean, between, noise)
        own, error = trial.truth["slope_sd_per_year"] ** 2, trial.truth["visit_noise"] ** 2
        found.append(
            [
                mean.mean(),
                np.sqrt(between.mean()),
                np.sqrt(noise.mean()),
                np.sqrt(np.mean((slope - trial.slopes) ** 2)),
                np.sqrt(np.mean((drawn - trial.slopes) ** 2)),
                np.sqrt(np.mean(1 / (1 / own + spread / error))),
            ]
        )
        last = trial.truth
    mean, sd, noise, plain, drawn, best = np.mean(found, axis=0)
    within("mean slope", mean, "1/year", last["slope_per_year"], 0.05)
    within("SD of people's slopes", sd, "1/year", last["slope_sd_per_year"], 0.05)
    within("noise of a visit", noise, "1", last["visit_noise"], 0.05)
    report("error of least-squares slopes", plain, "1/year", f"above {best:.4g}", plain > best)
    within("error of shrunken slopes", drawn, "1/year", best, 0.03)


def change(seeds):
    """Noise of a change, and what it costs."""
    ratio, values = [], {"baseline": [], "change": [], "slope": []}
    for seed in range(seeds):
        still = make_trial(seed, people=300, slope=0.0, slope_sd=0.0)
        made = visits_of(still, model("change")).features
        ratio.append(made["value"].var() / still.truth["visit_noise"] ** 2)
        # patients differ in level and not in slope: the change of two visits has noise and nothing else
        level = make_trial(seed, people=165, visits=2, group_effect=0.25, slope_sd=0.1)
        for use in ("baseline", "change"):
            values[use].append(_auc(level, use))
        course = make_trial(seed, people=165, visits=4, gap=0.8, group_slope=0.12, slope_sd=0.2)
        values["slope"].append(_auc(course, "slope"))
    within("variance of a change over the variance of a visit's error", float(np.mean(ratio)), "1", 2.0, 0.03)
    means = {use: float(np.mean(v)) for use, v in values.items()}
    report(
        "groups that differ in level: baseline", means["baseline"], "AUC", ">= 0.6", means["baseline"] >= 0.6
    )
    report("groups that differ in level: change alone", means["change"], "AUC", "0.46 to 0.54",
           abs(means["change"] - 0.5) <= 0.04)  # fmt: skip
    report("groups that differ in slope: slope", means["slope"], "AUC", ">= 0.7", means["slope"] >= 0.7)


def _auc(trial, use):
    result = fit_model(trial.features, trial.participants, model(use), sessions=(trial.sessions, UNITS))
    return result.summary["metrics"]["pet"]["auc"]["mean"]


def pooled(seeds):
    """Two visits of everybody as if they were other people (design: .76 pooled, .66 by person in real data)."""
    wrong, right, named = [], [], []
    plain = {"confounds": 0, "grid": (*GRID, 0.01), "kind": "classification", "min_present": 0.5}
    for seed in range(seeds):
        trial = make_trial(seed, people=165, visits=2, visit_noise=0.2, slope_sd=0.05, group_effect=0.2)
        data = build(trial.features, trial.participants, model(rows="visit"))
        each = np.arange(data.y.size).astype(str)
        torn = make_folds(data.y, each, kind="classification", repeats=1, seed=seed)
        whole = make_folds(data.y, data.groups, kind="classification", repeats=1, seed=seed)
        wrong.append(statistics(data.tables, data.y, torn, **plain)["pet"])
        right.append(statistics(data.tables, data.y, whole, **plain)["pet"])
        checks = audit.straddling(torn, {"participant_id": data.participants})
        named.append(checks[0]["status"] == "flag")
    gap = np.mean(wrong) - np.mean(right)
    report("visits pooled, plain folds", np.mean(wrong), "AUC", "false", gap > 0)
    report(
        "visits pooled, folds of people", np.mean(right), "AUC", "0.60 to 0.72", 0.6 <= np.mean(right) <= 0.72
    )
    report("visits pooled: gain by the leak", gap, "AUC", ">= 0.05 (false)", gap >= 0.05)
    report("visits pooled: audit names it", np.mean(named), "share", "1", np.mean(named) == 1)


def travel(seeds):
    """A feature of the visit at which the outcome was seen, and a landmark between visits."""
    stopped, named, earlier = [], [], []
    for seed in range(seeds):
        trial = make_trial(seed, people=60, visits=3)
        record = model("change", visits={"landmark": 400})
        try:
            visits_of(trial, record)
            stopped.append(False)
        except InputError as error:
            text = str(error)
            words = ("sub-", "ses-3", "pet BPND", "400 day", "landmark")
            stopped.append(all(w in text for w in words))
        after = trial.participants.assign(outcome_days=trial.participants["outcome_days"] - 1)
        try:
            visit_features(
                trial.features,
                after,
                trial.sessions,
                UNITS,
                model("change", visits={"outcome_time": "outcome_days"}),
            )
            named.append(False)
        except InputError as error:
            named.append("time of the outcome" in str(error))
        found = visits_of(trial, model("slope", visits={"landmark": 650, "late": "leave-out"})).finding
        earlier.append(found["check"] == "time travel" and found["status"] == "ok")
    report("feature after the landmark stops the run, named", np.mean(stopped), "share", "1", all(stopped))
    report("feature after the outcome stops the run, named", np.mean(named), "share", "1", all(named))
    report("earlier visits alone pass", np.mean(earlier), "share", "1", all(earlier))


def mean(studies):
    """A marker that is the baseline score plus noise: does it predict change?"""
    ps, gains = {False: [], True: []}, {False: [], True: []}
    for seed in range(studies):
        trial, _ = arrays(
            make_trial(20_000 + seed, people=120, interaction=0, prognostic=0, noise=6.0), [TRAP]
        )
        folds = folds_of(trial, seed)
        for adjusted in (False, True):
            found = prognosis(trial, folds, ["trap"], adjusted=adjusted, count=99, seed=seed, **SETTINGS)
            ps[adjusted].append(found["p"])
            gains[adjusted].append(found["gain"]["mean"])
    false = float(np.mean(np.array(ps[False]) <= 0.05))
    report(
        "regression to the mean, as it stands: called a predictor",
        false,
        "share",
        ">= 0.8 (false)",
        false >= 0.8,
    )
    report("regression to the mean, as it stands: gain", np.mean(gains[False]), "R2", ">= 0.05 (false)",
           np.mean(gains[False]) >= 0.05)  # fmt: skip
    report("regression to the mean, adjusted: gain", np.mean(gains[True]), "R2", "-0.02 to 0.005",
           -0.02 <= np.mean(gains[True]) <= 0.005)  # fmt: skip
    rate("regression to the mean, adjusted", ps[True])


def _tests(trial, seed, count=99):
    """P of the held-out interaction, of the gain, and of one marker by itself."""
    arrays_, about = arrays(trial)
    found = response(
        arrays_, folds_of(arrays_, seed), ["pet"], adjusted=True, count=count, seed=seed, **SETTINGS
    )
    alone = Trial(
        {"pet": arrays_.tables["pet"][:, :ONE]}, arrays_.change, arrays_.start, arrays_.arm, arrays_.nuisance,
        arrays_.sites, arrays_.groups, arrays_.sign,
    )  # fmt: skip
    names = {"pet": about["names"]["pet"][:ONE]}
    one = contrasts(alone, names, adjusted=True, count=count, seed=seed)[0]
    return found, one, average_effect(arrays_, True)


def null(studies):
    """Markers tell the course and say nothing about the effect of treatment."""
    ps, cover = {"interaction": [], "gain": [], "contrast": []}, []
    for seed in range(studies):
        trial = make_trial(10_000 + seed, people=160, interaction=0.0)
        found, one, effect = _tests(trial, seed)
        ps["interaction"].append(found["p"])
        ps["gain"].append(found["auuc"]["p"])
        ps["contrast"].append(one["p"])
        cover.append(abs(effect[0] - trial.truth["mean_effect"]) <= 1.96 * effect[1])
    rate("interaction of arm and held-out predicted effect", ps["interaction"])
    rate("gain over treating at random", ps["gain"])
    rate("interaction of arm and one marker", ps["contrast"])
    value = float(np.mean(cover))
    report("95 % interval of the mean effect holds it", value, "share", "0.91 to 0.98", 0.91 <= value <= 0.98)


def power(seeds):
    """Planted interactions: half and nearly all of the SD of the change."""
    for size, goal in ((3.0, 0.35), (5.0, 0.8)):
        hits, slope, right, single, share = [], [], [], [], []
        for seed in range(seeds):
            trial = make_trial(seed, people=240, interaction=size)
            found, one, _ = _tests(trial, seed)
            hits.append(found["p"] <= 0.05)
            single.append(one["p"] <= 0.05)
            slope.append(found["slope"])
            right.append(np.corrcoef(found["effect"], trial.effects)[0, 1])
            share.append(found["auuc"]["mean"] / trial.truth["best_auuc"])
        label = f"interaction of {size / trial.truth['change_sd']:.2f} SD of the change, 240 people"
        report(
            f"{label}: power of the held-out test",
            np.mean(hits),
            "share",
            f">= {goal}",
            np.mean(hits) >= goal,
        )
        report(
            f"{label}: power of one of its four markers",
            np.mean(single),
            "share",
            "> 0.05",
            np.mean(single) > 0.05,
        )
        report(
            f"{label}: r of predicted and planted effect", np.mean(right), "r", "> 0.3", np.mean(right) > 0.3
        )
        report(f"{label}: slope on the predicted effect, median", np.median(slope), "1", "0.6 to 1.4",
               0.6 <= np.median(slope) <= 1.4)  # fmt: skip
        report(
            f"{label}: gain of the gain possible", np.mean(share), "share", "0 to 1", 0 < np.mean(share) < 1
        )


def normative(seeds):
    """Z of the change of new controls is standard, also when norms come from other people."""
    spread, shift = [], []
    for seed in range(seeds):
        trial = make_trial(seed, people=400, visits=2, group_slope=0.0)
        record = model("normative", visits={"controls": {"column": "group", "value": "control"}})
        parts = visits_of(trial, record)
        data = build(parts.features, trial.participants, record, visits=parts)
        half = np.arange(400) % 4 < 2
        z = (
            VisitStep(data.last, **data.visits)
            .fit(data.tables["pet"][half])
            .transform(data.tables["pet"][~half])
        )
        spread.append(z.std())
        shift.append(abs(z.mean()))
    within("normative change of people not in the norms: SD", float(np.mean(spread)), "1", 1.0, 0.05)
    report(
        "normative change of people not in the norms: mean",
        np.mean(shift),
        "SD",
        "<= 0.05",
        np.mean(shift) <= 0.05,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="slopes,normative,change,pooled,travel,mean,null,power")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--studies", type=int, default=200)
    options = parser.parse_args()
    parts = {
        "slopes": lambda: slopes(options.seeds),
        "normative": lambda: normative(options.seeds),
        "change": lambda: change(options.seeds),
        "pooled": lambda: pooled(options.seeds),
        "travel": lambda: travel(options.seeds),
        "mean": lambda: mean(options.studies),
        "null": lambda: null(options.studies),
        "power": lambda: power(2 * options.seeds),
    }
    for name in options.parts.split(","):
        parts[name]()


if __name__ == "__main__":
    main()
