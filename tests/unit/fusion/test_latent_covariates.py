"""Latent fusion without covariates: age in common is no finding, a true link stays, slopes come from the fit alone."""

import numpy as np
import pandas as pd

from neurobraid.files import read_json, read_tsv, write_tsv
from neurobraid.fusion import latent
from neurobraid.fusion.analysis import write_latent
from neurobraid.fusion.latent_covariates import WithoutCovariates, with_covariates

SIZES = (12, 9)


def blocks(people=80, age_effect=1.0, link=0.0, seed=0):
    rng = np.random.default_rng(seed)
    age, shared = rng.normal(size=people), rng.normal(size=people)
    parts = [
        rng.normal(size=(people, size)) + age_effect * age[:, None] + link * shared[:, None] for size in SIZES
    ]
    return np.concatenate(parts, axis=1), age[:, None]


def made():
    return WithoutCovariates(latent.PLSCorrelation(SIZES, 1), SIZES, 1)


def test_age_in_common_is_no_finding_and_a_true_link_stays():
    plain, without, true = [], [], []
    for seed in range(10):
        X, age = blocks(seed=seed)
        plain.append(latent.held_out(lambda: latent.PLSCorrelation(SIZES, 1), X, repeats=1)[0, 0])
        without.append(latent.held_out(made, with_covariates(X, SIZES, age), repeats=1)[0, 0])
        X, age = blocks(link=1.0, seed=seed)
        true.append(latent.held_out(made, with_covariates(X, SIZES, age), repeats=1)[0, 0])
    assert np.mean(plain) > 0.8
    # three standard errors of a mean of ten correlations of 80 people
    assert abs(np.mean(without)) < 3 / np.sqrt(80 * 10) + 0.05
    assert np.mean(true) > 0.75


def test_p_is_uniform_where_only_age_is_shared():
    p = []
    for seed in range(30):
        X, age = blocks(people=50, seed=100 + seed)
        table, weights = latent.describe(
            made,
            with_covariates(X, SIZES, age),
            permutations=19,
            bootstraps=0,
            halves=1,
            repeats=1,
            seed=seed,
        )
        p.append(table["p"][0])
        assert len(weights) == sum(SIZES)
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 30)
    assert 0.3 < np.mean(p) < 0.75


def test_slopes_are_those_of_the_rows_of_the_fit():
    X, age = blocks()
    joined = with_covariates(X, SIZES, age)
    other = joined.copy()
    other[60:] += 5
    first, second = made().fit(joined[:60]), made().fit(other[:60])
    assert all(np.array_equal(a, b) for a, b in zip(first.slopes_, second.slopes_, strict=True))
    design = np.column_stack([np.ones(60), age[:60]])
    expected = np.linalg.lstsq(design, X[:60], rcond=None)[0]
    assert np.allclose(np.concatenate(first.slopes_, axis=1), expected)
    # residuals of people outside the fit keep the deviation of their own values
    assert np.allclose(
        first.residual(joined[60:]), X[60:] - np.column_stack([np.ones(20), age[60:]]) @ expected
    )
    # a block goes with its own covariates when rows of the block are moved
    assert first.edges_.tolist() == [0, 13, 23] and (joined[:, 12] == joined[:, 22]).all()


def test_the_analysis_of_a_study_says_what_was_taken_out(tmp_path):
    X, age = blocks(people=30)
    names = [f"sub-{n:02d}" for n in range(30)]
    rows = [
        (name, np.nan, f"r{c}", "pet" if c < 12 else "anat", "BPND" if c < 12 else "volume", X[n, c], "1", 1.0, "x")
        for n, name in enumerate(names)
        for c in range(21)
    ]  # fmt: skip
    columns = ["participant_id", "session_id", "region", "modality", "measure", "value", "unit", "coverage", "source"]  # fmt: skip
    write_tsv(pd.DataFrame(rows, columns=columns), tmp_path / "features.tsv")
    ages = age[:, 0].tolist()
    ages[3] = np.nan
    write_tsv(pd.DataFrame({"participant_id": names, "age": ages}), tmp_path / "participants.tsv")
    outputs = {
        f"{name}{end}": tmp_path / f"{name}.{kind}"
        for name in ("components", "weights")
        for end, kind in (("", "tsv"), ("_json", "json"))
    }
    record = {
        "name": "m", "atlas": "", "method": "pls", "components": 1, "permutations": 9, "bootstraps": 5, "groups": "",
        "within": "", "seed": 1, "covariates": ["age"],
        "blocks": [{"name": "pet", "modality": ["pet"]}, {"name": "anat", "modality": ["anat"]}],
    }  # fmt: skip
    write_latent(tmp_path / "features.tsv", tmp_path / "participants.tsv", record, outputs)
    about = read_json(outputs["components_json"])
    assert about["Covariates"] == ["age"] and about["Participants"] == 29
    assert len(read_tsv(outputs["weights"])) == 21
    taken = read_tsv(outputs["components"])["r_held_out"][0]
    write_latent(
        tmp_path / "features.tsv", tmp_path / "participants.tsv", {**record, "covariates": []}, outputs
    )
    assert read_tsv(outputs["components"])["r_held_out"][0] > taken + 0.3
