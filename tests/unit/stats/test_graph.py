"""Clusters and TFCE against nilearn, scipy, and the definition."""

import numpy as np
import pytest
from scipy import ndimage

from neurobraid.stats.graph import Enhancer, clusters, graph_of_edges, graph_of_mask, graph_of_pairs, network

SHAPE = (11, 13, 9)


def smooth_map(seed, shape=SHAPE):
    rng = np.random.default_rng(seed)
    values = ndimage.gaussian_filter(rng.standard_normal(shape), 1.1)
    mask = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5) > -0.05
    values *= 1.8 / values.std()
    values[~mask] = 0
    return values, mask


@pytest.mark.parametrize("dh", ["auto", 0.3])
@pytest.mark.parametrize("two_sided", [True, False])
def test_steps_equal_nilearn(dh, two_sided):
    from nilearn.mass_univariate._utils import calculate_tfce

    faces = ndimage.generate_binary_structure(3, 1)
    for seed in range(5):
        values, mask = smooth_map(seed)
        theirs = calculate_tfce(values[..., None], faces, dh=dh, two_sided_test=two_sided)[..., 0][mask]
        ours, top = Enhancer(graph_of_mask(mask), dh=dh)(values[mask], two_sided=two_sided)
        np.testing.assert_allclose(ours, theirs, atol=1e-12 * np.abs(theirs).max())
        assert top == np.abs(ours).max()


def by_definition(values, mask, extent, height):
    """Integral of extent^E h^H between consecutive heights, labelling the map anew at each."""
    out = np.zeros(values.shape)
    levels = np.unique(values[mask & (values > 0)])
    for low, high in zip(np.r_[0, levels[:-1]], levels, strict=True):
        label, count = ndimage.label(mask & (values >= high))
        size = np.bincount(label.ravel(), minlength=count + 1).astype(float)
        size[0] = 0
        out += size[label] ** extent * (high ** (height + 1) - low ** (height + 1)) / (height + 1)
    return out[mask]


@pytest.mark.parametrize(("extent", "height"), [(0.5, 2.0), (1.0, 1.0), (2 / 3, 2.5)])
def test_the_integral_is_exact(extent, height):
    values, mask = smooth_map(7, (6, 8, 7))
    ours, _ = Enhancer(graph_of_mask(mask), extent=extent, height=height)(values[mask])
    up, down = by_definition(values, mask, extent, height), by_definition(-values, mask, extent, height)
    np.testing.assert_allclose(ours, up - down, rtol=1e-10, atol=1e-12)


def test_fine_steps_converge_to_the_integral():
    values, mask = smooth_map(3)
    graph = graph_of_mask(mask)
    exact, top = Enhancer(graph)(values[mask])
    dh = np.abs(values).max() / 1000
    stepped, _ = Enhancer(graph, dh=dh)(values[mask])
    np.testing.assert_allclose(stepped * dh, exact, atol=3e-3 * top)


def test_equal_heights_and_empty_maps():
    mask = np.ones((4, 5, 6), bool)
    graph = graph_of_mask(mask)
    flat = np.full(mask.sum(), 2.0)
    np.testing.assert_allclose(Enhancer(graph)(flat)[0], np.sqrt(120) * 8 / 3)
    enhancer = Enhancer(graph)
    assert enhancer(np.zeros(120))[1] == 0
    assert Enhancer(graph, dh="auto")(np.zeros(120))[1] == 0
    # nothing of one map is left in the next
    values = np.random.default_rng(0).standard_normal(120)
    first = enhancer(values)[0]
    enhancer(-flat)
    np.testing.assert_array_equal(enhancer(values)[0], first)


@pytest.mark.parametrize(("connectivity", "structure"), [(6, 1), (18, 2), (26, 3)])
def test_clusters_equal_scipy(connectivity, structure):
    values, mask = smooth_map(11)
    label, sizes, masses = clusters(values[mask], graph_of_mask(mask, connectivity), 1.0)
    kernel = ndimage.generate_binary_structure(3, structure)
    assert len(sizes) == sum(ndimage.label(mask & (s * values > 1.0), kernel)[1] for s in (1, -1))
    for number in range(1, len(sizes) + 1):
        inside = values[mask][label == number]
        assert len(inside) == sizes[number - 1]
        assert len(np.unique(np.sign(inside))) == 1
        assert masses[number - 1] == pytest.approx((np.abs(inside) - 1.0).sum())


def test_a_ring_of_edges_is_a_graph_too():
    ring = graph_of_pairs(6, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5)])
    label, sizes, _ = clusters(np.array([3.0, 0, 3, 3, 0, 3]), ring, 1.0)
    assert sorted(sizes) == [2, 2]
    assert label[0] == label[5]
    enhanced, _ = Enhancer(ring)(np.array([3.0, 0, 3, 3, 0, 0]))
    assert enhanced[2] == pytest.approx(np.sqrt(2) * enhanced[0])


def test_clusters_of_edges_are_the_components_of_a_network():
    import networkx

    rng = np.random.default_rng(12)
    nodes = 14
    values = rng.standard_normal(nodes * (nodes - 1) // 2)
    graph = graph_of_edges(nodes)
    assert len(graph) == len(values)
    label, sizes, _ = clusters(values, graph, 1.3, two_sided=False)
    rows, columns = np.triu_indices(nodes, 1)
    over = values > 1.3
    found = networkx.Graph(list(zip(rows[over].tolist(), columns[over].tolist(), strict=True)))
    parts = list(networkx.connected_components(found))
    assert sorted(sizes) == sorted(found.subgraph(p).number_of_edges() for p in parts)
    for part in parts:
        inside = over & np.isin(rows, list(part))
        assert len(np.unique(label[inside])) == 1


def test_a_network_gives_the_clusters_of_its_list_of_neighbours():
    values = np.random.default_rng(13).standard_normal(15 * 14 // 2)
    for threshold in (0.5, 1.5, 9.0):
        ours, theirs = (
            clusters(values, network(15), threshold),
            clusters(values, graph_of_edges(15), threshold),
        )
        for mine, other in zip(ours[:2], theirs[:2], strict=True):
            np.testing.assert_array_equal(mine, other)
        np.testing.assert_allclose(ours[2], theirs[2])
    chosen = values < 2
    without = clusters(np.where(chosen, values, 0), network(15), 0.5)
    part = clusters(values[chosen], network(15, chosen), 0.5)
    np.testing.assert_array_equal(without[0][chosen], part[0])
    np.testing.assert_array_equal(without[1], part[1])


def test_unknown_connectivity_is_refused():
    with pytest.raises(ValueError, match="6, 18, 26"):
        graph_of_mask(np.ones((2, 2, 2), bool), 8)
