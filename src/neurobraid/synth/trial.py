"""A trial of feature tables with several visits: planted slopes, a planted interaction, and a marker that is a trap.

No images are made. Everything a longitudinal analysis may be fooled by is in it with a known size: noise of single
visits, unequal gaps between them, regression to the mean, and a treatment whose effect depends on some markers.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from neurobraid.files import write_json, write_tsv
from neurobraid.provenance import sidecar

#: Tidy columns, the same as those of the fusion table (a test holds the two together).
COLUMNS = (
    "participant_id", "session_id", "region", "modality", "measure", "value", "unit", "coverage", "source",
)  # fmt: skip
REGIONS = tuple(f"{side}_Region{number:02d}" for side in ("LH", "RH") for number in range(1, 11))
#: Mean and SD between people of a feature, in its unit.
MEAN, SPREAD = 1.6, 0.2
#: SD between people of the true severity at baseline, points.
SEVERITY = 8.0
#: Area between the curve of gain and treating at random, per SD of a normal effect that is predicted without error.
AREA = 1 / (2 * math.sqrt(math.pi))


@dataclass
class LongitudinalTrial:
    """Tables of one synthetic trial.

    Attributes
    ----------
    features : pandas.DataFrame
        Tidy form, one row per person, visit and feature: binding (``pet BPND``) and, in blood, the trap.
    participants : pandas.DataFrame
        participant_id, site, arm, group (control, patient), age, sex, outcome_days.
    sessions : pandas.DataFrame
        participant_id, session_id, days (since the first visit), score.
    truth : dict
        Every knob, and what a perfect analysis finds.
    effects : numpy.ndarray, (people,)
        Effect of treatment on the change of score, points.
    slopes : numpy.ndarray, (people, regions)
        Change of every feature per year, in its unit.
    """

    features: object
    participants: object
    sessions: object
    truth: dict = field(default_factory=dict)
    effects: np.ndarray | None = None
    slopes: np.ndarray | None = None


def make_trial(
    seed,
    *,
    people=240,
    sites=4,
    visits=2,
    treated=0.5,
    effect=-3.0,
    interaction=3.0,
    prognostic=2.0,
    modifiers=4,
    course_sd=4.0,
    noise=3.0,
    gap=1.2,
    gap_sd=0.25,
    visit_noise=0.4,
    slope=-0.1,
    slope_sd=0.3,
    group_slope=0.0,
    group_effect=0.0,
    trap_noise=2.0,
    dropout=0.0,
):
    """Draw one trial.

    Parameters
    ----------
    seed : int
    people, sites, visits : int
        The first visit is at 0 days; markers and score are taken at every visit. Visits 2 and later may be missed.
    treated : float
        Share of people in the treated arm, drawn within sites; 0 or 1: there is one arm.
    effect : float
        Mean effect of treatment on the change of score between first and last visit, points.
    interaction, prognostic : float
        SD of the part of the effect, and of the course without treatment, that markers at baseline tell, points.
    modifiers : int
        Regions that carry it, each region in one of the two roles.
    course_sd, noise : float
        SD of the rest of the course, and of the error of a score at one visit, points. The error is what makes high
        scores fall by themselves.
    gap, gap_sd : float
        Mean and SD of the years between visits (truncated at a quarter of the mean).
    visit_noise, slope, slope_sd : float
        Error of a feature at one visit, mean slope and SD of slopes between people, in SD of the feature (per year).
    group_slope, group_effect : float
        Difference of slope, and of the level, between patients and controls, in SD (per year), with a random sign per
        region. Half the people are patients. Markers of the treatment are the values at the first visit without that.
    trap_noise : float
        Error of the marker ``blood trap plasma``, which is the score at the visit plus noise, points.
    dropout : float
        Share of people who miss all visits but the first.

    Returns
    -------
    LongitudinalTrial
    """
    import pandas as pd

    rng = np.random.default_rng([seed, 4242])
    p = len(REGIONS)
    ids = np.array([f"sub-{number:03d}" for number in range(1, people + 1)])
    site = rng.permutation(np.arange(people) * sites // people)
    arm = np.zeros(people, dtype=int)
    for name in range(sites):
        members = rng.permutation(np.flatnonzero(site == name))
        arm[members[: round(treated * members.size)]] = 1
    group = rng.permutation(np.arange(people) % 2)
    age = rng.uniform(40, 75, people)
    sex = rng.integers(0, 2, people)
    years = np.zeros((people, visits))
    gaps = np.maximum(rng.normal(gap, gap_sd, (people, max(visits - 1, 1))), gap / 4)
    years[:, 1:] = np.cumsum(gaps, axis=1)[:, : visits - 1]
    stays = np.ones(people, dtype=bool)
    stays[rng.permutation(people)[: round(dropout * people)]] = False

    level = rng.normal(size=(people, p))
    sign = rng.choice([-1.0, 1.0], size=p)
    slopes = slope + slope_sd * rng.normal(size=(people, p)) + group[:, None] * group_slope * sign
    modify, predict = level[:, :modifiers], level[:, modifiers : 2 * modifiers]
    effects = effect + interaction * modify.sum(axis=1) / math.sqrt(modifiers)
    course = prognostic * predict.sum(axis=1) / math.sqrt(modifiers) + course_sd * rng.normal(size=people)
    severity = SEVERITY * rng.normal(size=people)

    frames, scores = [], []
    for visit in range(visits):
        here = np.flatnonzero(stays | (visit == 0))
        t = years[:, visit]
        done = t / np.maximum(years[:, -1], 1e-12)
        z = level + group[:, None] * group_effect * sign + slopes * t[:, None]
        z = z + visit_noise * rng.normal(size=(people, p))
        score = 40 + severity + done * (course + arm * effects) + noise * rng.normal(size=people)
        trap = score + trap_noise * rng.normal(size=people)
        session = f"ses-{visit + 1}"
        blocks = (
            ("pet", "BPND", REGIONS, MEAN + SPREAD * z, "1"),
            ("blood", "trap", ("plasma",), trap[:, None], "ng/mL"),
        )
        for modality, measure, names, values, unit in blocks:
            frames.append(
                pd.DataFrame(
                    {
                        "participant_id": np.repeat(ids[here], len(names)),
                        "session_id": session,
                        "region": np.tile(names, here.size),
                        "modality": modality,
                        "measure": measure,
                        "value": values[here].ravel(),
                        "unit": unit,
                        "coverage": 1.0,
                        "source": "synthetic",
                    }
                )
            )
        scores.append(
            pd.DataFrame(
                {
                    "participant_id": ids[here],
                    "session_id": session,
                    "days": np.round(t[here] * 365.25, 1),
                    "score": np.round(score[here], 3),
                }
            )
        )
    by = ["participant_id", "session_id", "modality", "measure", "region"]
    features = pd.concat(frames)[list(COLUMNS)].sort_values(by, kind="stable", ignore_index=True)
    sessions = pd.concat(scores).sort_values(by[:2], kind="stable", ignore_index=True)
    participants = pd.DataFrame(
        {
            "participant_id": ids,
            "site": [f"site{number + 1}" for number in site],
            "arm": np.where(arm == 1, "drug", "placebo"),
            "group": np.where(group == 1, "patient", "control"),
            "age": np.round(age, 1),
            "sex": np.where(sex == 1, "F", "M"),
            "outcome_days": np.round(years[:, -1] * 365.25, 1),
        }
    )
    reliability = SEVERITY**2 / (SEVERITY**2 + noise**2)
    truth = {
        "mean_effect": float(effects.mean()),
        "effect_sd": float(effects.std()),
        "best_auuc": AREA * interaction,
        "contrast_per_sd": interaction / math.sqrt(modifiers),
        "modifiers": [f"pet BPND {name}" for name in REGIONS[:modifiers]],
        "prognostic_markers": [f"pet BPND {name}" for name in REGIONS[modifiers : 2 * modifiers]],
        # of the change: its spread without treatment, and the part that the error of the first score makes
        "change_sd": math.sqrt(prognostic**2 + course_sd**2 + 2 * noise**2),
        "score_reliability": reliability,
        "baseline_change_r": -(noise**2)
        / math.sqrt((SEVERITY**2 + noise**2) * (prognostic**2 + course_sd**2 + 2 * noise**2)),
        "slope_per_year": slope * SPREAD,
        "slope_sd_per_year": slope_sd * SPREAD,
        "visit_noise": visit_noise * SPREAD,
        "settings": {
            "seed": seed, "people": people, "sites": sites, "visits": visits, "treated": treated, "effect": effect,
            "interaction": interaction, "prognostic": prognostic, "modifiers": modifiers, "course_sd": course_sd,
            "noise": noise, "gap": gap, "gap_sd": gap_sd, "visit_noise": visit_noise, "slope": slope,
            "slope_sd": slope_sd, "group_slope": group_slope, "group_effect": group_effect, "trap_noise": trap_noise,
            "dropout": dropout,
        },
    }  # fmt: skip
    return LongitudinalTrial(features, participants, sessions, truth, effects, SPREAD * slopes)


#: Units of the sessions table, as its sidecar says.
UNITS = {"days": "day", "score": "point"}


def write_trial(trial, outputs):
    """Write the tables of a trial, each with its sidecar, and the truth.

    Parameters
    ----------
    trial : LongitudinalTrial
    outputs : mapping
        Paths ``features``, ``participants``, ``sessions``, each with ``…_json`` beside it, and ``truth``.
    """
    write_tsv(trial.features, outputs["features"])
    about = "Synthetic regional features of every visit in the form of the fusion table (no images exist)."
    write_json(sidecar(about, synthetic=True), outputs["features_json"])
    write_tsv(trial.participants, outputs["participants"])
    write_json(
        {
            "participant_id": {"Description": "Person"},
            "site": {"Description": "Site of the trial"},
            "arm": {"Description": "Arm", "Levels": {"drug": "treated", "placebo": "control"}},
            "group": {"Description": "Group", "Levels": {"control": "control", "patient": "patient"}},
            "age": {"Description": "Age at the first visit", "Units": "year"},
            "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
            "outcome_days": {"Description": "Time of the last visit since the first", "Units": "day"},
        },
        outputs["participants_json"],
    )
    write_tsv(trial.sessions, outputs["sessions"])
    write_json(
        {
            "participant_id": {"Description": "Person"},
            "session_id": {"Description": "Visit"},
            "days": {"Description": "Time since the first visit", "Units": UNITS["days"]},
            "score": {"Description": "Clinical score, high is ill", "Units": UNITS["score"]},
        },
        outputs["sessions_json"],
    )
    write_json(trial.truth, outputs["truth"])
