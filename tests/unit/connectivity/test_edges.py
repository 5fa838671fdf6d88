"""Group comparison of edges: against statsmodels-free algebra, planted networks, and blocks."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from neurobraid.connectivity import edges, matrix
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.stats import permutation
from neurobraid.stats.exchange import exchange


def test_two_groups_equal_the_t_test_and_covariates_the_full_model():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((20, 6))
    group = np.repeat([0.0, 1.0], [8, 12])
    effect, model, _ = edges.fit(z, group, np.ones((20, 1)))
    t = permutation.statistic(model)
    expected = stats.ttest_ind(z[group == 1], z[group == 0])
    np.testing.assert_allclose(t, expected.statistic)
    np.testing.assert_allclose(effect, z[group == 1].mean(0) - z[group == 0].mean(0))
    age = rng.standard_normal(20)
    full = np.column_stack([group, np.ones(20), age])
    beta = np.linalg.lstsq(full, z, rcond=None)[0]
    rest = z - full @ beta
    se = np.sqrt((rest**2).sum(0) / 17 * np.linalg.inv(full.T @ full)[0, 0])
    effect, model, _ = edges.fit(z, group, full[:, 1:])
    np.testing.assert_allclose(permutation.statistic(model), beta[0] / se)
    np.testing.assert_allclose(effect, beta[0])
    assert model.dof == 17


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
    assert table.loc[table["component"] == 0, ["p_component", "component_mass"]].isna().all(None)
    assert info["DegreesOfFreedom"] == 28 and info["EdgesTested"] == 66
    assert info["Permutation"]["Permutations"] == 199 and info["Permutation"]["Elements"] == 66


@pytest.mark.parametrize("lacking", [0.0, 0.25])
def test_family_wise_error_of_null_studies_is_nominal(lacking):
    people, size, hits = 30, 12, {"p_max": 0, "p_component": 0, "p_component_mass": 0}
    x, age = np.repeat([0.0, 1.0], 15), np.random.default_rng(9).standard_normal(30)
    for seed in range(100):
        rng = np.random.default_rng(100 + seed)
        # covariate and a factor that all edges share: the null is not that of independent edges
        null = rng.standard_normal((people, 66)) + rng.standard_normal((people, 1)) + age[:, None]
        # whole regions are missing, more often among people of one group
        gone = rng.random((people, size)) < lacking * (0.5 + x[:, None])
        gone[:, size // 3 :] = False
        first, second = np.triu_indices(size, 1)
        null[gone[:, first] | gone[:, second]] = np.nan
        nuisance = np.column_stack([np.ones(people), age])
        table, _ = edges.compare(null, x, nuisance, size, permutations=99, threshold=2.0, seed=seed)
        for name in hits:
            hits[name] += bool((table[name] <= 0.05).any())
    # 5 of 100 expected; 12 or more happens once in 230 such tests (binomial)
    assert all(count <= 11 for count in hits.values()), hits
    assert max(hits.values()) > 0, "a test that never rejects is no test"


def test_edges_that_someone_lacks_are_tested_among_those_who_have_them():
    rng = np.random.default_rng(4)
    z, x = rng.standard_normal((16, 10)), np.repeat([0.0, 1.0], 8)
    z[:, 7] += 5 * x
    whole, complete = edges.compare(z, x, np.ones((16, 1)), 5, permutations=49)
    assert (
        complete["DegreesOfFreedom"] == 14 and complete["EdgesOfEverybody"] == complete["EdgesTested"] == 10
    )
    z[[2, 12], 3] = np.nan
    z[2, 4] = np.nan
    z[:9, 5] = np.nan  # fewer than half
    z[:7, 6] = np.nan  # one person of the first group: told apart, and the degrees of freedom say it
    table, info = edges.compare(z, x, np.ones((16, 1)), 5, permutations=49)
    assert (info["EdgesTested"], info["EdgesOfEverybody"], info["DegreesOfFreedom"]) == (9, 6, [7, 14])
    assert table["participants"].tolist() == [16, 16, 16, 14, 15, 7, 9, 16, 16, 16]
    assert table.loc[5, ["effect", "t", "p", "p_fdr", "p_max"]].isna().all()
    assert table.loc[5, "component"] == 0 and table["component"].dtype == int
    for k in (3, 4, 6):
        own = np.isfinite(z[:, k])
        expected = stats.ttest_ind(z[own & (x == 1), k], z[own & (x == 0), k])
        np.testing.assert_allclose(
            table.loc[k, ["t", "p"]].astype(float), [expected.statistic, expected.pvalue]
        )
        np.testing.assert_allclose(
            table.loc[k, "effect"], z[own & (x == 1), k].mean() - z[own & (x == 0), k].mean()
        )
    others = [0, 1, 2, 7, 8, 9]
    np.testing.assert_allclose(
        table.loc[others, ["effect", "t", "p"]], whole.loc[others, ["effect", "t", "p"]]
    )
    assert table.loc[7, "component_edges"] == 1 and table.loc[7, "p_max"] <= 0.05
    np.testing.assert_allclose(table.loc[7, "component_mass"], table.loc[7, "t"] - 3.1)
    # all people who have it are of one group
    z[:8, 0] = np.nan
    table, info = edges.compare(z, x, np.ones((16, 1)), 5, permutations=0)
    assert np.isnan(table.loc[0, "t"]) and info["EdgesTested"] == 8
    with pytest.raises(InputError, match=r"edges that 90 % of the people have"):
        edges.compare(
            np.where(rng.random((16, 10)) < 0.3, np.nan, z), x, np.ones((16, 1)), 5, min_present=0.9
        )


def test_a_site_that_lacks_a_region_takes_its_indicator_along():
    """Sites as covariate: where nobody of one site has an edge, the others are compared without its column."""
    rng = np.random.default_rng(5)
    site, x = np.repeat([0, 1, 2], 8), np.tile([0.0, 1.0], 12)
    z = rng.standard_normal((24, 3)) + 2.0 * site[:, None]
    z[site == 2, 1] = np.nan
    nuisance = np.column_stack([np.ones(24), site == 1, site == 2]).astype(float)
    table, info = edges.compare(z, x, nuisance, 3, blocks=site, permutations=49)
    assert info["EdgesTested"] == 3 and info["DegreesOfFreedom"] == [13, 20]
    own, other = site < 2, [0, 2]
    alone, short = edges.compare(z[own][:, [1]], x[own], nuisance[own][:, :2], 2, permutations=0)
    assert short["DegreesOfFreedom"] == 13
    np.testing.assert_allclose(
        table.loc[1, ["effect", "t", "p"]].astype(float), alone.loc[0, ["effect", "t", "p"]].astype(float)
    )
    effect, model, _ = edges.fit(z[:, other], x, nuisance)
    np.testing.assert_allclose(table.loc[other, "t"], permutation.statistic(model))
    np.testing.assert_allclose(table.loc[other, "effect"], effect)


def test_a_rearrangement_of_everybody_is_one_of_those_who_have_an_edge():
    """Among some rows it stays within blocks and is uniform: every order comes up as often as any other."""
    z, x = np.random.default_rng(0).standard_normal((8, 2)), np.tile([0.0, 1.0], 4)
    z[[1, 6], 1] = np.nan
    site = list("abababab")
    model, _ = permutation.prepare_incomplete(
        z, np.column_stack([x, np.ones(8), np.arange(8) % 3]), [1, 0, 0], blocks=site
    )
    (rows,) = (rows for _, rows, _ in model.parts if len(rows) < 8)
    allowed = exchange(8, blocks=site)
    seen = {}
    for index in range(1, 6001):
        order, signs = model.within(rows, allowed.draw(3, index))
        assert sorted(order) == list(range(6)) and len(signs) == 6
        assert all(site[rows[a]] == site[rows[b]] for a, b in enumerate(order))
        seen[tuple(order)] = seen.get(tuple(order), 0) + 1
    # three of each block: 36 orders
    assert len(seen) == 36 and stats.chisquare(list(seen.values())).pvalue > 1e-3
    order, _ = model.within(rows, allowed.draw(3, 0))
    assert order.tolist() == list(range(6))


def test_people_change_places_within_their_block_only():
    rng = np.random.default_rng(6)
    site = np.repeat(["a", "b"], 20)
    # the second site has other edges and more patients: nothing but the site is there to be found
    x = np.r_[np.repeat([0.0, 1.0], [17, 3]), np.repeat([0.0, 1.0], [3, 17])]
    z = rng.standard_normal((40, 45)) + 3 * (site == "b")[:, None]
    free, _ = edges.compare(z, x, np.ones((40, 1)), 10, permutations=199)
    kept, _ = edges.compare(z, x, np.ones((40, 1)), 10, blocks=site, permutations=199)
    assert (free["p_max"] <= 0.05).mean() > 0.5 and kept["p_max"].min() > 0.05
    assert kept["p_component"].min() > 0.05
    with pytest.raises(InputError, match="exchangeable units"):
        edges.compare(z, x, np.ones((40, 1)), 10, blocks=range(40), permutations=9)


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
    write_tsv(PEOPLE.assign(site=["n/a", *PEOPLE["site"][1:]]), tmp_path / "hole.tsv")
    holed = SimpleNamespace(**{**vars(inputs), "participants": tmp_path / "hole.tsv"})
    with pytest.raises(InputError, match=r"site.*sub-0"):
        edges.run(holed, outputs, record=record)
    with pytest.raises(InputError, match="without scanner"):
        edges.run(inputs, outputs, record={**record, "block": "scanner"})
    table, note = read_tsv(outputs.table), read_json(outputs.sidecar)
    assert len(table) == 6 and note["EdgesTested"] == 6 and note["NumberOfParticipants"] == 8
    assert note["DegreesOfFreedom"] == 5 and note["Block"] == "site" and note["LeftOut"] == []
    assert note["Permutation"]["Permutations"] == 19 and not note["Permutation"]["Complete"]
