"""Graph measures against networks whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.connectivity import graph


def ring(size, reach=1):
    """Every node tied to the `reach` nearest on each side."""
    a = np.zeros((size, size))
    for step in range(1, reach + 1):
        for i in range(size):
            a[i, (i + step) % size] = a[(i + step) % size, i] = 1
    return a


def blocks(sizes, inside=0.8, outside=0.1, seed=0):
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(sizes)), sizes)
    r = np.where(label[:, None] == label, inside, outside) + 0.05 * rng.standard_normal((len(label),) * 2)
    r = (r + r.T) / 2
    np.fill_diagonal(r, 1)
    return r, label


def test_lattice_has_the_textbook_values():
    lattice = ring(12, 2)
    # k = 4: C = 3 (k - 2) / (4 (k - 1)) = 1/2 (Watts & Strogatz 1998)
    np.testing.assert_allclose(graph.clustering(lattice), 0.5)
    steps = graph.distances(lattice > 0)
    assert steps[0, 6] == 3 and steps[0, 2] == 1 and steps.max() == 3
    circle = ring(6) > 0
    # in a ring of six a node stands between 2 (2 steps) and shares the opposite pairs: (n - 2)^2 / 8
    np.testing.assert_allclose(graph._betweenness(circle), 2.0)
    star = np.zeros((5, 5))
    star[0, 1:] = star[1:, 0] = 1
    np.testing.assert_allclose(graph._betweenness(star > 0), [6, 0, 0, 0, 0])
    assert graph._mean_inverse(graph.distances(star > 0)) == pytest.approx((4 + 6 * 0.5) / 10)
    np.testing.assert_allclose(graph.local_efficiency(star > 0), 0)
    np.testing.assert_allclose(graph.local_efficiency(np.ones((4, 4)) - np.eye(4) > 0), 1)


def test_parts_without_a_way_are_at_infinity():
    two = np.zeros((4, 4), bool)
    two[0, 1] = two[1, 0] = two[2, 3] = two[3, 2] = True
    assert graph.distances(two)[0, 2] == np.inf
    assert graph._mean_inverse(graph.distances(two)) == pytest.approx(4 / 12)


def test_louvain_finds_planted_blocks_and_the_known_modularity():
    r, label = blocks((7, 5, 9))
    found, best, mean = graph.louvain(r, restarts=5)
    assert len(set(zip(found, label, strict=True))) == 3
    assert best >= mean > 0
    cliques = np.kron(np.eye(4), np.ones((5, 5))) - np.eye(20)
    # four equal cliques without edges between: Q = 1 - 1/4
    assert graph.louvain(cliques, restarts=2)[1] == pytest.approx(0.75)
    split = np.block([[np.ones((5, 5)), -np.ones((5, 5))], [-np.ones((5, 5)), np.ones((5, 5))]])
    labels, best, _ = graph.louvain(split, restarts=2)
    assert len(set(labels[:5])) == 1 and labels[0] != labels[-1]
    # positive part 1/2, negative part 0.5 * v- / (v+ + v-) = 0.5 * 50 / 90 (Rubinov & Sporns 2011)
    assert best == pytest.approx(0.5 + 0.5 * 50 / 90)
    again = graph.louvain(r, restarts=5)
    assert (again[0] == found).all() and again[2] == mean


def test_nulls_keep_every_degree_and_lose_the_order():
    lattice = ring(40, 3) > 0
    random = graph.rewired(lattice, 10, 1)
    assert (random.sum(1) == 6).all() and (random == random.T).all() and not np.diag(random).any()
    assert (
        graph.clustering(random.astype(float)).mean() < 0.5 * graph.clustering(lattice.astype(float)).mean()
    )
    rng = np.random.default_rng(0)
    uneven = np.triu(rng.random((30, 30)) < rng.random(30)[:, None] * 0.5, 1)
    uneven = uneven | uneven.T
    assert (graph.rewired(uneven, 10, 2).sum(1) == uneven.sum(1)).all()


def test_threshold_keeps_the_strongest_positive_edges():
    r, _ = blocks((4, 4), 0.6, -0.2)
    kept = graph.threshold(r, 0.25)
    assert (kept > 0).sum() / 2 == 7 and (kept == kept.T).all()
    assert kept[kept > 0].min() >= np.sort(r[np.triu_indices(8, 1)])[-7]
    assert (graph.threshold(r, 1.0) > 0).sum() / 2 == 12, "negative edges are never kept"


def test_participation_is_low_inside_a_module_and_high_for_a_hub():
    r = np.kron(np.eye(3), np.ones((4, 4))) - np.eye(12)
    r[0, [4, 8]] = r[[4, 8], 0] = 3
    coefficient, _ = graph.participation(r, np.repeat([1, 2, 3], 4))
    assert coefficient[0] == pytest.approx(1 - 3 * (1 / 3) ** 2)
    assert coefficient[1] == 0


def test_sweep_tells_a_small_world_from_its_nulls_and_keeps_missing_regions():
    r, _label = blocks((10, 10, 10), 0.7, 0.2, seed=3)
    names = [f"n{k}" for k in range(31)]
    values = np.full((31, 31), np.nan)
    used = np.arange(31) != 4
    values[np.ix_(used, used)] = r
    table, nodes = graph.measure(pd.DataFrame(values, names, names), nulls=5, restarts=3)
    assert len(table) == len(graph.DENSITIES) + 1
    np.testing.assert_allclose(table["density"][:-1], graph.DENSITIES, atol=0.01)
    area = table.iloc[-1]
    assert np.isnan(area["density"]) and area["gamma"] > 1.3 and area["sigma"] > 1
    assert nodes.loc["n4"].isna().all() and nodes.drop("n4").notna().all().all()
    assert nodes.loc["n0", "strength_positive"] == pytest.approx(np.maximum(r[0], 0).sum() - 1)
    same, _ = graph.measure(pd.DataFrame(values, names, names), nulls=5, restarts=3)
    pd.testing.assert_frame_equal(table, same)
