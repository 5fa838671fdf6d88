"""Coupling of modalities: three questions kept apart, planted answers found, smooth noise not."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_tsv
from neurobraid.fusion import coupling
from tests.unit.fusion.test_association import smooth_maps

REGIONS, PEOPLE = 60, 30


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(5)
    out = rng.standard_normal((REGIONS, 3))
    return out / np.linalg.norm(out, axis=1, keepdims=True) * [62.0, 85.0, 58.0]


def test_partial_correlation_is_that_of_the_regression():
    rng = np.random.default_rng(0)
    age = rng.standard_normal(PEOPLE)
    a, b = (rng.standard_normal((PEOPLE, 5)) + 2 * age[:, None] for _ in range(2))
    a[:4, 2] = np.nan
    design = np.column_stack([np.ones(PEOPLE), age])
    found = coupling.across_people(a, b, design, permutations=99)
    from scipy import stats

    for region in range(5):
        ok = np.isfinite(a[:, region])
        ra, rb = (
            v[ok] - np.polyval(np.polyfit(age[ok], v[ok], 1), age[ok]) for v in (a[:, region], b[:, region])
        )
        r = np.corrcoef(ra, rb)[0, 1]
        assert found["r"][region] == pytest.approx(r)
        df = ok.sum() - 3
        assert found["df"][region] == df
        assert found["p"][region] == pytest.approx(2 * stats.t.sf(abs(r) * np.sqrt(df / (1 - r * r)), df))
    assert np.isnan(found["p_fwe"][2]) and np.isfinite(found["p_fwe"][[0, 1, 3, 4]]).all()
    # without the covariate both follow age: nothing else is shared
    assert (coupling.across_people(a, b, design[:, :1], permutations=9)["r"] > 0.5).all()


def test_across_people_keeps_its_error_rate_and_finds_what_is_planted():
    rng, hits = np.random.default_rng(1), 0
    design = np.column_stack([np.ones(PEOPLE), rng.standard_normal((PEOPLE, 2))])
    studies = 60
    for study in range(studies):
        a, b = rng.standard_normal((2, PEOPLE, 20)) + rng.standard_normal((2, PEOPLE, 1))
        hits += np.nanmin(coupling.across_people(a, b, design, permutations=99, seed=study)["p_fwe"]) <= 0.05
    assert hits / studies <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)
    a, b = rng.standard_normal((2, PEOPLE, 20))
    b[:, 7] = -a[:, 7] + 0.5 * b[:, 7]
    found = coupling.across_people(a, b, design, permutations=199)
    assert found["p_fwe"][7] <= 0.01 and found["r"][7] < -0.7 and (np.delete(found["p_fwe"], 7) > 0.05).all()


def test_smooth_maps_of_one_person_are_not_coupled_by_chance(points):
    a, b = smooth_maps(points, 200, 25, 1), smooth_maps(points, 200, 25, 2)
    found = coupling.within_person(a, b, points, surrogates=199)
    assert np.mean(found["p"] <= 0.05) <= 0.08 + 2 * np.sqrt(0.08 * 0.92 / 200)
    planted = coupling.within_person(a[:5], a[:5] + 0.4 * b[:5], points, surrogates=199)
    assert (planted["p"] <= 0.01).all() and (planted["r"] > 0.8).all()
    a[0, 5:] = np.nan
    assert np.isnan(coupling.within_person(a[:1], b[:1], points, surrogates=9)["r"][0])


def test_sign_flip_is_exact_for_few_and_uniform_under_the_null():
    assert coupling.sign_flip(np.ones(5)) == pytest.approx(2 / 32)
    assert np.isnan(coupling.sign_flip(np.ones(2)))
    rng = np.random.default_rng(0)
    p = [coupling.sign_flip(rng.standard_normal(20), count=199, seed=n) for n in range(200)]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.09


def test_covariance_network_without_covariates_and_its_perturbation():
    rng = np.random.default_rng(2)
    age = rng.standard_normal(80)
    shared = rng.standard_normal((80, 1))
    values = rng.standard_normal((80, 6)) + 3 * age[:, None]
    values[:, :3] += 2 * shared
    r, spread = coupling.covariance_network(values, np.column_stack([np.ones(80), age]), bootstraps=40)
    np.testing.assert_allclose(np.diag(r), 1)
    assert r[0, 1] > 0.6 and abs(r[0, 5]) < 0.3 and 0.02 < spread[0, 5] < 0.2
    assert coupling.covariance_network(values)[0][0, 5] > 0.6
    values[0, 4] = np.nan
    assert np.isnan(coupling.covariance_network(values)[0][4]).all()

    reference = np.random.default_rng(3).standard_normal((60, 4)) + np.random.default_rng(4).standard_normal(
        (60, 1)
    )
    usual, odd = reference.mean(0), reference.mean(0) + np.array([6.0, -6.0, 0.0, 0.0])
    z = coupling.perturbation_network(reference, odd)
    assert z[0, 1] < -5 and abs(z[2, 3]) < 1
    assert np.nanmax(np.abs(coupling.perturbation_network(reference, usual))) < 0.5
    table = coupling.deviation(np.vstack([reference, odd]), [f"sub-{n}" for n in range(61)])
    assert table["mean_z"].idxmax() == 60


def test_individual_network_joins_regions_of_like_distributions():
    rng = np.random.default_rng(0)
    labels = np.repeat([300, 7, 41, 5], [400, 500, 600, 4]).reshape(-1, 2)
    values = np.concatenate(
        [rng.normal(1, 0.2, 400), rng.normal(1, 0.2, 500), rng.normal(3, 0.2, 600), np.ones(4)]
    )
    values[3] = np.nan
    found = coupling.individual_network(values.reshape(-1, 2), labels, [300, 7, 41, 5])
    assert found[0, 1] > 0.8 and found[0, 2] < 0.1 and np.isnan(found[3]).all()
    np.testing.assert_allclose(np.diag(found)[:3], 1)
    np.testing.assert_allclose(found, found.T)


def study(points, *, people=PEOPLE, seed=0):
    """A fusion table in which binding follows connectivity: over regions, and over people in region r03."""
    rng = np.random.default_rng(seed)
    base, other = smooth_maps(points, 2, 25, 3)
    names = [f"r{n:02d}" for n in range(REGIONS)]
    rows = []
    for n in range(people):
        rest = base + 0.3 * rng.standard_normal(REGIONS)
        pet = 2 + base + 0.2 * other + 0.3 * rng.standard_normal(REGIONS)
        pet[3] = 2 + base[3] + 3 * (rest[3] - base[3])
        for modality, measure, unit, values in (
            ("fmri-rest", "strengthpositive", "z", rest),
            ("pet", "BPND", "1", pet),
        ):
            for name, value in zip(names, values, strict=True):
                rows.append((f"sub-{n:02d}", np.nan, name, modality, measure, value, unit, 1.0, "x"))
    columns = [
        "participant_id",
        "session_id",
        "region",
        "modality",
        "measure",
        "value",
        "unit",
        "coverage",
        "source",
    ]
    table = pd.DataFrame(rows, columns=columns).sample(frac=1, random_state=1)
    atlas = pd.DataFrame({"index": range(1, REGIONS + 1), "name": names})
    atlas[["x", "y", "z"]] = points
    ids = [f"sub-{n:02d}" for n in range(people)]
    frame = pd.DataFrame(
        {
            "participant_id": ids[::-1],
            "age": rng.uniform(20, 60, people),
            "sex": rng.choice(["F", "M"], people),
        }
    )
    return table, atlas, frame


def test_written_tables_answer_the_three_questions(tmp_path, points):
    table, atlas, people = study(points)
    for name, frame in (("features.tsv", table), ("atlas.tsv", atlas), ("participants.tsv", people)):
        write_tsv(frame, tmp_path / name)
    names = ("regional", "regional_json", "personal", "personal_json", "network", "network_json", "summary")
    settings = {"pairs": [], "covariates": ["age", "sex", "nonsense"], "permutations": 199, "surrogates": 199}
    settings |= {"min_coverage": 0.5, "seed": 1}
    bytes_ = []
    for turn in ("a", "b"):
        out = {n: tmp_path / turn / n for n in names}
        inputs = [tmp_path / n for n in ("features.tsv", "atlas.tsv", "participants.tsv")]
        coupling.write_coupling(*inputs, out, **settings)
        bytes_.append([out[n].read_bytes() for n in names])
    assert bytes_[0] == bytes_[1]
    [pair] = read_json(out["summary"])["Pairs"]
    assert (pair["First"], pair["Second"]) == ("fmri-rest strengthpositive", "pet BPND")
    assert pair["Covariates"] == ["age", "sex"] and pair["Participants"] == PEOPLE
    assert pair["MeanMaps"]["R"] > 0.9 and pair["MeanMaps"]["PSpatial"] <= 0.01
    assert pair["WithinPeople"]["MeanR"] > 0.7 and pair["WithinPeople"]["PSignFlip"] < 0.001
    regional = read_tsv(out["regional"], index="region")
    assert regional.loc["r03", "p_fwe"] <= 0.01 and regional["p_fwe"].drop("r03").min() > 0.05
    assert regional["df"].eq(PEOPLE - 4).all()
    network = read_tsv(out["network"], index="Node")
    assert list(network.columns) == list(network.index) == atlas["name"].to_list()
    assert len(read_json(out["network_json"])["Deviation"]) == PEOPLE


def test_too_few_people_get_maps_and_a_reason_but_no_statistic(points):
    table, atlas, people = study(points, people=5)
    regional, personal, [pair] = coupling.couple(
        table, atlas, people, covariates=["age", "sex"], surrogates=99
    )
    assert (
        "at least" in pair["Reason"] and regional["r"].isna().all() and regional["mean_first"].notna().all()
    )
    assert len(personal) == 5 and pair["MeanMaps"]["R"] > 0.8


def test_pairs_are_checked_and_measures_that_nobody_shares_are_said(points):
    table, atlas, _ = study(points, people=4)
    with pytest.raises(InputError, match="pet BPnd"):
        coupling.measures_of(table, [{"first": "fmri-rest strengthpositive", "second": "pet BPnd"}])
    again = table[table["modality"] == "pet"].assign(measure="BPND_SRTM2")
    pair = ("fmri-rest strengthpositive", "pet BPND")
    assert coupling.measures_of(pd.concat([table, again])) == [pair]
    pet = table[table["modality"] == "pet"]
    names = ("BPND_RAC", "BPND_MRTM2_RAC", "SUVR_RAC", "SUVR_FDG", "R1_RAC")
    several = pd.concat([table[table["modality"] != "pet"], *(pet.assign(measure=name) for name in names)])
    assert [second for _, second in coupling.measures_of(several)] == ["pet BPND_RAC", "pet SUVR_FDG"]
    apart = table[~((table["modality"] == "pet") & (table["participant_id"] < "sub-04"))]
    apart = pd.concat(
        [apart, table[table["modality"] == "pet"].assign(participant_id="sub-99").head(REGIONS)]
    )
    _, _, [pair] = coupling.couple(
        apart.drop_duplicates(["participant_id", "region", "modality"]), atlas, surrogates=9
    )
    assert pair["Participants"] == 0 and "nobody" in pair["Reason"]
