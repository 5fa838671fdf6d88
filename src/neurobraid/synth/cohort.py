"""A cohort of feature tables with known group differences: the test bed of fusion and prediction.

No images are made. Three modalities carry a difference between patients and controls of a known size, so the
best accuracy any model can reach, and the accuracy a linear learner reaches with this many people, are known
before a model is run.
"""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from neurobraid.files import write_json, write_tsv
from neurobraid.provenance import sidecar

NETWORKS = ("Vis", "SomMot", "Attn", "Limbic", "Cont", "Default")
PAIRS = tuple(f"{a}--{b}" for a, b in itertools.combinations_with_replacement(NETWORKS, 2))
REGIONS = tuple(f"{side}_Region{number:02d}" for side in ("LH", "RH") for number in range(1, 18))

#: Tidy columns, the same as those of the fusion table (a test holds the two together).
COLUMNS = (
    "participant_id",
    "session_id",
    "region",
    "modality",
    "measure",
    "value",
    "unit",
    "coverage",
    "source",
)


@dataclass(frozen=True)
class Block:
    """One modality of the cohort.

    Attributes
    ----------
    distance : float
        Mahalanobis distance D between the groups in this modality.
    mean, spread : float
        Mean and between-person SD of a feature in its unit.
    """

    modality: str
    measure: str
    regions: tuple
    distance: float
    mean: float
    spread: float
    unit: str


BLOCKS = (
    Block("fmri-rest", "connectivity", PAIRS, 1.0, 0.35, 0.15, "z"),
    Block("pet", "BPND", REGIONS, 0.9, 1.6, 0.20, "1"),
    Block("anat", "volume", REGIONS, 0.8, 12.0, 1.40, "mL"),
)


@dataclass
class Cohort:
    """Tables of one synthetic cohort.

    Attributes
    ----------
    features : pandas.DataFrame
        Tidy form, one row per person, visit and feature.
    participants : pandas.DataFrame
        One row per person: participant_id, family_id, site, diagnosis, age, sex, mean_fd, score.
    truth : dict
        Distances, Bayes AUCs, the finite-sample formula, and every knob.
    """

    features: object
    participants: object
    truth: dict = field(default_factory=dict)


def _phi(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def bayes_auc(distance):
    """AUC of the best possible rule for two Gaussian groups `distance` apart (Mahalanobis).

    Examples
    --------
    >>> round(bayes_auc(1.0), 3)
    0.76
    """
    return _phi(distance / math.sqrt(2))


def expected_auc(distance, features, people):
    """AUC a mean-difference learner reaches when trained on a balanced sample.

    Parameters
    ----------
    distance : float
        Mahalanobis distance between the groups, isotropic noise.
    features : int
    people : int
        Size of the training sample.

    Returns
    -------
    float
        ``Phi(D^2 / (sqrt(2) sqrt(D^2 + 4 p / n)))``; it meets simulation of the mean-difference rule to .001.

    Examples
    --------
    >>> round(expected_auc(1.0, 21, 192), 3)
    0.722
    """
    return _phi(distance**2 / (math.sqrt(2) * math.sqrt(distance**2 + 4 * features / people)))


def _diagnoses(site, association, rng):
    """Balanced labels (0 control, 1 patient); `association` is Cramer's V of site and diagnosis."""
    label = np.zeros(site.size, dtype=int)
    names = np.unique(site)
    for number, name in enumerate(names):
        members = np.flatnonzero(site == name)
        share = 0.5 + (0.5 if number < len(names) / 2 else -0.5) * association
        count = round(share * members.size)
        label[rng.permutation(members)[:count]] = 1
    return label


def make_cohort(
    seed,
    *,
    people=240,
    sites=4,
    effect=1.0,
    association=0.0,
    site_shift=0.0,
    site_scale=0.0,
    age_effect=0.0,
    motion_effect=0.0,
    missing_pet=0.0,
    missing_by_site=False,
    families=0.0,
    family_share=0.5,
    second_visit=0.0,
    retest=0.9,
):
    """Draw one cohort.

    Parameters
    ----------
    seed : int
    people, sites : int
        People are spread evenly over sites.
    effect : float
        Multiplies the distance between the groups; 0 gives a null cohort.
    association : float
        Cramer's V between site and diagnosis, 0 to 1.
    site_shift, site_scale : float
        SD over sites of each feature's offset (in between-person SD) and of its log scale.
    age_effect : float
        Change of each feature over one SD of age, in SD, with a random sign per feature.
    motion_effect : float
        The same over one SD of log head motion, connectivity only. Patients always move more (d = 0.5).
    missing_pet : float
        Share of people without PET; at random, or all at the last sites with `missing_by_site`.
    families : float
        Share of people who are in a pair of siblings (same site; diagnoses drawn as for anyone else).
    family_share : float
        Part of the between-person variance that siblings share.
    second_visit : float
        Share of people with two visits (`ses-1`, `ses-2`); nobody has a session label when 0.
    retest : float
        Correlation of a feature between visits.

    Returns
    -------
    Cohort
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    site = np.arange(people) * sites // people
    label = _diagnoses(site, association, rng)
    # the order of rows must carry nothing: shuffle people once
    order = rng.permutation(people)
    site, label = site[order], label[order]
    ids = np.array([f"sub-{number:03d}" for number in range(1, people + 1)])

    family = np.arange(people)
    paired = rng.random(people) < families
    for name in range(sites):
        members = np.flatnonzero(paired & (site == name))
        for first, second in zip(members[0::2], members[1::2], strict=False):
            family[second] = first

    age = rng.uniform(20, 70, people)
    age_z = (age - 45) / (50 / math.sqrt(12))
    sex = rng.integers(0, 2, people)
    log_fd = rng.normal(0, 1, people) + 0.5 * label
    has_pet = np.ones(people, dtype=bool)
    if missing_pet > 0:
        count = round(missing_pet * people)
        rank = rng.permutation(people)
        if missing_by_site:
            rank = rank[np.argsort(-site[rank], kind="stable")]
        has_pet[rank[:count]] = False
    two = rng.random(people) < second_visit

    frames, distances, scores = [], {}, np.zeros(people)
    for block in BLOCKS:
        p = len(block.regions)
        delta = rng.normal(size=p)
        delta *= effect * block.distance / np.linalg.norm(delta)
        distances[block.modality] = effect * block.distance
        personal = rng.normal(size=(people, p))
        shared = rng.normal(size=(people, p))[family]
        in_family = np.bincount(family, minlength=people)[family] > 1
        mixed = math.sqrt(family_share) * shared + math.sqrt(1 - family_share) * personal
        personal = np.where(in_family[:, None], mixed, personal)
        offset = site_shift * rng.normal(size=(sites, p))
        scale = np.exp(site_scale * rng.normal(size=(sites, p)))
        by_age = age_effect * rng.choice([-1.0, 1.0], size=p)
        by_motion = motion_effect * rng.choice([-1.0, 1.0], size=p) * (block.modality == "fmri-rest")
        visit_noise = rng.normal(size=(2, people, p))
        signal = (label - 0.5)[:, None] * delta
        if block.distance and effect:
            scores += (personal + signal) @ delta
        for visit in range(2):
            noise = personal
            if second_visit > 0:
                noise = math.sqrt(retest) * personal + math.sqrt(1 - retest) * visit_noise[visit]
            z = (noise + signal) * scale[site] + offset[site]
            z = z + age_z[:, None] * by_age + log_fd[:, None] * by_motion
            seen = has_pet if block.modality == "pet" else np.ones(people, dtype=bool)
            rows = np.flatnonzero(seen & two if visit else seen)
            session = f"ses-{visit + 1}" if second_visit > 0 else np.nan
            frames.append(
                pd.DataFrame(
                    {
                        "participant_id": np.repeat(ids[rows], p),
                        "session_id": pd.Series([session] * (rows.size * p), dtype="object"),
                        "region": np.tile(block.regions, rows.size),
                        "modality": block.modality,
                        "measure": block.measure,
                        "value": (block.mean + block.spread * z[rows]).ravel(),
                        "unit": block.unit,
                        "coverage": 1.0,
                        "source": "synthetic",
                    }
                )
            )
    features = pd.concat([f for f in frames if len(f)], ignore_index=True)[list(COLUMNS)]
    features = features.sort_values(
        ["participant_id", "session_id", "modality", "measure", "region"], kind="stable", ignore_index=True
    )
    participants = pd.DataFrame(
        {
            "participant_id": ids,
            "family_id": [f"fam-{number + 1:03d}" for number in family],
            "site": [f"site{number + 1}" for number in site],
            "diagnosis": np.where(label == 1, "patient", "control"),
            "age": np.round(age, 1),
            "sex": np.where(sex == 1, "F", "M"),
            "mean_fd": np.round(0.18 * np.exp(0.4 * log_fd), 4),
            "score": np.round(20 + 4 * scores + 4 * rng.normal(size=people), 2),
        }
    )
    train = people * 4 // 5
    sizes = {block.modality: len(block.regions) for block in BLOCKS}
    total = math.sqrt(sum(d * d for d in distances.values()))
    truth = {
        "bayes_auc": {m: bayes_auc(d) for m, d in distances.items()} | {"fused": bayes_auc(total)},
        "expected_auc": {m: expected_auc(d, sizes[m], train) for m, d in distances.items()}
        | {"fused": expected_auc(total, sum(sizes.values()), train)},
        "expected_auc_formula": "Phi(D^2 / (sqrt(2) sqrt(D^2 + 4 p / n)))",
        "distance": distances | {"fused": total},
        "features": sizes | {"fused": sum(sizes.values())},
        "training_people": train,
        "settings": {
            "seed": seed,
            "people": people,
            "sites": sites,
            "effect": effect,
            "association": association,
            "site_shift": site_shift,
            "site_scale": site_scale,
            "age_effect": age_effect,
            "motion_effect": motion_effect,
            "missing_pet": missing_pet,
            "missing_by_site": missing_by_site,
            "families": families,
            "family_share": family_share,
            "second_visit": second_visit,
            "retest": retest,
        },
    }
    return Cohort(features, participants, truth)


def write_cohort(cohort, outputs):
    """Write the tables of a cohort, each with its sidecar, and the truth.

    Parameters
    ----------
    cohort : Cohort
    outputs : mapping
        Paths ``features``, ``features_json``, ``participants``, ``participants_json``, ``truth``.
    """
    write_tsv(cohort.features, outputs["features"])
    write_json(
        sidecar(
            "Synthetic regional features in the form of the fusion table (no images exist).", synthetic=True
        ),
        outputs["features_json"],
    )
    write_tsv(cohort.participants, outputs["participants"])
    write_json(
        {
            "participant_id": {"Description": "Person"},
            "family_id": {"Description": "Family; siblings share it"},
            "site": {"Description": "Scanner site"},
            "diagnosis": {"Description": "Group", "Levels": {"control": "control", "patient": "patient"}},
            "age": {"Description": "Age", "Units": "year"},
            "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
            "mean_fd": {"Description": "Mean framewise displacement of the resting run", "Units": "mm"},
            "score": {"Description": "Clinical score; rises with the planted pattern", "Units": "point"},
        },
        outputs["participants_json"],
    )
    write_json(cohort.truth, outputs["truth"])
