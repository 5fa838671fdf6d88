"""Group comparison of edges: against statsmodels-free algebra, planted networks, and blocks."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from neurobraid.connectivity import edges, matrix
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv


def test_two_groups_equal_the_t_test_and_covariates_the_full_model():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((20, 6))
    group = np.repeat([0.0, 1.0], [8, 12])
    effect, t, dof = edges.fit(z, group, np.ones((20, 1)))
    expected = stats.ttest_ind(z[group == 1], z[group == 0])
    np.testing.assert_allclose(t, expected.statistic)
    np.testing.assert_allclose(effect, z[group == 1].mean(0) - z[group == 0].mean(0))
    age = rng.standard_normal(20)
    full = np.column_stack([group, np.ones(20), age])
    beta = np.linalg.lstsq(full, z, rcond=None)[0]
    rest = z - full @ beta
    se = np.sqrt((rest**2).sum(0) / 17 * np.linalg.inv(full.T @ full)[0, 0])
    effect, t, dof = edges.fit(z, group, full[:, 1:])
    np.testing.assert_allclose(t, beta[0] / se)
    assert dof == 17


def test_planted_network_is_found_and_nulls_are_not():
    rng = np.random.default_rng(1)
    size, people = 12, 30
    x = np.repeat([0.0, 1.0], 15)
    rows, columns = np.triu_indices(size, 1)
    planted = (rows < 5) & (columns < 5)
    z = 0.3 * rng.standard_normal((people, len(rows)))
    z[:, planted] += 0.45 * x[:, None]
    table, info = edges.compare(z, x, np.ones((people, 1)), size, permutations=199, threshold=2.5)
    found = table["p_component"] < 0.05
    assert found[planted].mean() > 0.7 and found[~planted].mean() < 0.05
    assert (table.loc[planted, "component"] >= 0).all(), "the effect is positive"
    assert info == {"DegreesOfFreedom": 28, "EdgesTested": 66}
    hits = 0
    for seed in range(20):
        null = np.random.default_rng(100 + seed).standard_normal((people, len(rows)))
        table, _ = edges.compare(
            null, x, np.ones((people, 1)), size, permutations=99, threshold=2.5, seed=seed
        )
        hits += bool((table["p_max"] <= 0.05).any())
    assert hits <= 4


def test_permutations_stay_in_their_block():
    blocks = ["a", "b", "a", "b", "c", "a"]
    for order in edges.permute(6, 20, blocks=blocks, seed=3):
        assert [blocks[k] for k in order] == blocks and order[4] == 4


def test_components_of_either_sign_are_apart():
    t = np.zeros(10)
    rows, columns = np.triu_indices(5, 1)
    for a, b, value in ((0, 1, 4), (1, 2, 4), (3, 4, 4), (0, 4, -4)):
        t[(rows == a) & (columns == b)] = value
    labels, sizes = edges.components(t, 5, 3)
    assert sorted(sizes.values()) == [1, 1, 2] and sum(k < 0 for k in sizes) == 1
    assert labels[(rows == 0) & (columns == 1)] == labels[(rows == 1) & (columns == 2)]


PEOPLE = pd.DataFrame({
    "participant_id": [f"sub-{k}" for k in range(8)], "group": ["p", "c"] * 4, "age": [str(20 + k) for k in range(8)],
    "site": ["x", "x", "y", "y"] * 2, "same": ["1"] * 8, "three": list("abcabcab"),
})  # fmt: skip


def test_design_reads_groups_and_refuses_what_cannot_be_tested():
    who = [f"sub-{k}" for k in range(8)]
    x, nuisance, _rows, words = edges.design(PEOPLE, who, "group", ["age", "site"])
    assert x.tolist() == [1, 0] * 4 and nuisance.shape == (8, 3) and "p than in c" in words
    np.testing.assert_allclose(nuisance[:, 1].sum(), 0)
    gap = PEOPLE.assign(age=["n/a", *PEOPLE["age"][1:]])
    assert edges.design(gap, who, "group", ["age"])[2] == list(range(1, 8))
    for variable, covariates, match in (
        ("diagnosis", [], "no diagnosis"), ("same", [], "constant"), ("three", [], "3 groups"), ("group", ["group"], "combination of group"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=match):
            edges.design(PEOPLE, who, variable, covariates)


def test_whole_job(tmp_path):
    rng = np.random.default_rng(2)
    names = list("abcd")
    paths, notes = [], []
    for k in range(8):
        for run in range(1 + k % 2):
            series = pd.DataFrame(rng.standard_normal((50, 4)), columns=names)
            if k == 3 and run == 0:
                series["d"] = 1.0
            paths.append(tmp_path / f"sub-{k}_run-{run}.tsv")
            notes.append(tmp_path / f"sub-{k}_run-{run}.json")
            matrix.write_matrix(matrix.estimate(series, "pearsoncorrelation")[0], paths[-1])
            write_json({"CleanMinutes": 5.0, "MeanFramewiseDisplacement": 0.1 + 0.01 * k * k}, notes[-1])
    write_tsv(PEOPLE, tmp_path / "p.tsv")
    record = {
        "name": "g",
        "variable": "group",
        "covariates": ["mean_fd_mm"],
        "block": "site",
        "permutations": 19,
        "threshold_t": 2.0,
        "seed": 1,
    }
    inputs = SimpleNamespace(matrices=paths, sidecars=notes, participants=tmp_path / "p.tsv")
    outputs = SimpleNamespace(table=tmp_path / "e.tsv", sidecar=tmp_path / "e.json")
    edges.run(inputs, outputs, record=record)
    table, note = read_tsv(outputs.table), read_json(outputs.sidecar)
    assert len(table) == 6 and note["EdgesTested"] == 6 and note["NumberOfParticipants"] == 8
    assert note["DegreesOfFreedom"] == 5 and note["Block"] == "site" and note["LeftOut"] == []
