"""The synthetic cohort has what its truth says."""

import numpy as np
import pytest

from neurobraid.files import read_json, read_tsv
from neurobraid.fusion.table import wide
from neurobraid.prediction.metrics import cramers_v
from neurobraid.synth.cohort import bayes_auc, expected_auc, make_cohort, write_cohort


def arrays(cohort, modality, rows="participant"):
    view = wide(cohort.features, [modality], rows=rows)
    people = cohort.participants.set_index("participant_id").loc[
        view.index.get_level_values("participant_id")
    ]
    return view.to_numpy(), (people["diagnosis"] == "patient").to_numpy(), people


def test_planted_distance_and_bayes_auc():
    big = make_cohort(1, people=6000)
    for modality, features in (("fmri-rest", 21), ("pet", 34), ("anat", 34)):
        X, patient, _ = arrays(big, modality)
        assert X.shape == (6000, features)
        gap = X[patient].mean(0) - X[~patient].mean(0)
        pooled = 0.5 * (np.cov(X[patient].T) + np.cov(X[~patient].T))
        assert np.sqrt(gap @ np.linalg.solve(pooled, gap)) == pytest.approx(
            big.truth["distance"][modality], abs=0.06
        )
    assert big.truth["bayes_auc"]["fused"] == pytest.approx(0.866, abs=5e-4)


def test_formula_against_the_published_table():
    assert [round(expected_auc(d, p, 192), 3) for d, p in ((1.0, 21), (0.9, 34), (0.8, 34))] == [
        0.722,
        0.679,
        0.652,
    ]
    assert round(expected_auc(np.sqrt(1.0 + 0.81 + 0.64), 89, 192), 3) == 0.798
    assert bayes_auc(0.0) == 0.5


def test_null_cohort_has_no_difference():
    X, patient, _ = arrays(make_cohort(2, people=4000, effect=0.0), "pet")
    t = (X[patient].mean(0) - X[~patient].mean(0)) / (X.std(0) * np.sqrt(4 / 4000))
    assert np.abs(t).max() < 4


def test_sites_and_association():
    plain = make_cohort(3).participants
    assert cramers_v(plain["site"], plain["diagnosis"]) == pytest.approx(0.0)
    linked = make_cohort(3, association=0.6).participants
    assert cramers_v(linked["site"], linked["diagnosis"]) == pytest.approx(0.6, abs=0.02)
    assert (linked["diagnosis"] == "patient").sum() == 120
    shifted = make_cohort(3, people=4000, effect=0.0, site_shift=0.5)
    X, _, people = arrays(shifted, "anat")
    means = np.stack([X[(people["site"] == s).to_numpy()].mean(0) for s in sorted(people["site"].unique())])
    assert (means.std(0) / X.std(0)).mean() > 0.3


def test_missing_pet_is_absent_at_random_or_by_site():
    spread = make_cohort(4, missing_pet=0.15)
    assert wide(spread.features, ["pet"]).shape[0] == 204
    assert wide(spread.features, ["anat"]).shape[0] == 240
    sites = spread.participants.set_index("participant_id")["site"]
    lacking = sites.drop(wide(spread.features, ["pet"]).index)
    assert lacking.nunique() == 4
    gathered = make_cohort(4, missing_pet=0.15, missing_by_site=True)
    lacking = gathered.participants.set_index("participant_id")["site"].drop(
        wide(gathered.features, ["pet"]).index
    )
    assert lacking.unique().tolist() == ["site4"]


def test_second_visits_and_families_resemble_each_other():
    visits = make_cohort(5, people=1000, effect=0.0, second_visit=1.0, retest=0.8)
    view = wide(visits.features, ["anat"], rows="visit")
    first, second = (view.xs(s, level="session_id").to_numpy() for s in ("ses-1", "ses-2"))
    r = [np.corrcoef(first[:, k], second[:, k])[0, 1] for k in range(34)]
    assert np.mean(r) == pytest.approx(0.8, abs=0.03)
    kin = make_cohort(6, people=2000, effect=0.0, families=1.0, family_share=0.5)
    X, _, people = arrays(kin, "pet")
    pairs = [np.flatnonzero(people["family_id"] == f) for f in people["family_id"].value_counts().index[:800]]
    assert {p.size for p in pairs} == {2}
    a, b = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    assert np.mean([np.corrcoef(X[a, k], X[b, k])[0, 1] for k in range(34)]) == pytest.approx(0.5, abs=0.05)
    assert (people["site"].to_numpy()[a] == people["site"].to_numpy()[b]).all()


def test_same_seed_same_bytes(tmp_path):
    names = ("features", "features_json", "participants", "participants_json", "truth")
    for turn in "ab":
        write_cohort(make_cohort(7, people=40), {n: tmp_path / turn / n for n in names})
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert len(read_tsv(tmp_path / "a/participants")) == 40
    assert read_json(tmp_path / "a/truth")["settings"]["people"] == 40
    assert not make_cohort(8, people=40).features.equals(make_cohort(7, people=40).features)
