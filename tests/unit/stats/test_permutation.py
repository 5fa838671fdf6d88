"""The permutation engine against refits, parametric tests and the error rate it promises."""

import itertools

import numpy as np
import pytest
from scipy import ndimage, stats

from neurobraid.errors import InputError
from neurobraid.stats import permutation
from neurobraid.stats.exchange import exchange
from neurobraid.stats.graph import graph_of_mask

PEOPLE, ELEMENTS = 23, 70


@pytest.fixture
def study():
    rng = np.random.default_rng(0)
    group = np.repeat([0.0, 1.0, 2.0], [8, 9, 6])
    design = np.column_stack([group == 0, group == 1, group == 2, rng.standard_normal((PEOPLE, 2))]).astype(
        float
    )
    data = rng.standard_normal((PEOPLE, ELEMENTS)) + design @ rng.standard_normal((5, 1))
    return data, design


def refit(data, design, contrast):
    """T or F by a plain fit of the full model."""
    contrast = np.atleast_2d(contrast)
    beta, *_ = np.linalg.lstsq(design, data, rcond=None)
    dof = len(data) - design.shape[1]
    rss = ((data - design @ beta) ** 2).sum(0)
    spread = contrast @ np.linalg.inv(design.T @ design) @ contrast.T
    effect = contrast @ beta
    if len(contrast) == 1:
        return effect[0] / np.sqrt(spread[0, 0] * rss / dof)
    return np.einsum("rv,rv->v", effect, np.linalg.solve(spread, effect)) / len(contrast) / (rss / dof)


CONTRASTS = [
    [1.0, -1, 0, 0, 0],
    [0, 0, 0, 0, -2.0],
    [[1.0, -1, 0, 0, 0], [0, 1.0, -1, 0, 0]],
    [1.0, 1, 1, 0, 0],
]


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_statistics_are_those_of_a_full_fit(study, contrast):
    data, design = study
    model = permutation.prepare(data, design, contrast)
    np.testing.assert_allclose(permutation.statistic(model), refit(data, design, contrast), rtol=1e-10)
    assert model.kind == ("t" if np.ndim(contrast) == 1 else "F")
    assert model.needs_flips == (contrast == CONTRASTS[3])


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_rearranged_statistics_are_freedman_and_lane(study, contrast):
    """Residuals of the null model, rearranged, put back on its fit, and the full model fitted anew."""
    data, design = study
    rng = np.random.default_rng(1)
    model = permutation.prepare(data, design, contrast)
    null_design = permutation.partition(design, contrast)[1]
    fitted = null_design @ np.linalg.lstsq(null_design, data, rcond=None)[0]
    draws = [(rng.permutation(PEOPLE), rng.choice([-1.0, 1.0], PEOPLE)) for _ in range(20)]
    ours = permutation.statistic(model, draws)
    for values, (order, signs) in zip(ours, draws, strict=True):
        again = fitted + (data - fitted)[order] * signs[:, None]
        np.testing.assert_allclose(values, refit(again, design, contrast), rtol=1e-8, atol=1e-10)


def test_one_and_two_samples_equal_scipy(study):
    data, _ = study
    one = permutation.prepare(data, np.ones((PEOPLE, 1)), [1.0])
    known = stats.ttest_1samp(data, 0)
    np.testing.assert_allclose(permutation.statistic(one), known.statistic)
    np.testing.assert_allclose(permutation.tail(permutation.statistic(one), one), known.pvalue)
    two = np.column_stack([np.arange(PEOPLE) < 10, np.arange(PEOPLE) >= 10]).astype(float)
    model = permutation.prepare(data, two, [1.0, -1.0])
    np.testing.assert_allclose(permutation.statistic(model), stats.ttest_ind(data[:10], data[10:]).statistic)


def test_any_division_gives_the_same_bits():
    rng = np.random.default_rng(2)
    mask = ndimage.gaussian_filter(rng.standard_normal((9, 8, 7)), 1) > -0.05
    design = np.column_stack([np.ones(17), np.arange(17) < 8, rng.standard_normal(17)]).astype(float)
    model = permutation.prepare(rng.standard_normal((17, mask.sum())), design, [0, 1.0, 0])
    allowed = exchange(17, blocks=np.arange(17) % 2)
    height = permutation.forming_height(model, 0.001)
    tests = permutation.Tests(graph_of_mask(mask), height, {})
    whole = permutation.null(model, allowed, 5, 101, tests=tests)
    for cuts in ([1, 102], [1, 2, 3, 102], [1, 18, 50, 51, 97, 102]):
        parts = [
            permutation.null(model, allowed, 5, 101, start=a, stop=b, tests=tests)
            for a, b in itertools.pairwise(cuts)
        ]
        merged = permutation.merge(parts[::-1])
        np.testing.assert_array_equal(merged.index, whole.index)
        np.testing.assert_array_equal(merged.reached, whole.reached)
        for name in permutation.COLUMNS:
            np.testing.assert_array_equal(merged.values[name], whole.values[name])
    with pytest.raises(InputError, match="missing parts"):
        permutation.merge(parts[1:])
    with pytest.raises(InputError, match="missing parts"):
        permutation.merge([*parts, parts[0]])
    with pytest.raises(InputError, match="same settings"):
        permutation.merge([*parts[:-1], permutation.null(model, allowed, 6, 101, start=97, tests=tests)])


def test_units_and_blocks_stay_what_they_are():
    family = np.array(list("aabbccddeef"))
    site = np.array(list("11111122223"))
    both = exchange(11, permute=True, flip=True, units=family, blocks=site)
    assert both.possible == 2**6 * 6 * 2
    seen = set()
    for index in range(1, 400):
        order, signs = both.draw(3, index)
        assert sorted(order) == list(range(11))
        assert (site[order] == site).all()
        for member in np.unique(family):
            rows = np.flatnonzero(family == member)
            assert len(np.unique(signs[rows])) == 1
            assert (np.diff(order[rows]) == 1).all()
        seen.add((*order, *signs))
    assert len(seen) > 250
    inside = exchange(6, blocks=list("aabbcc"))
    assert inside.possible == 8
    assert {tuple(inside.nth(i)[0]) for i in range(8)} == {
        tuple(np.add([*a, *b, *c], [0, 0, 2, 2, 4, 4]))
        for a in ((0, 1), (1, 0)) for b in ((0, 1), (1, 0)) for c in ((0, 1), (1, 0))
    }  # fmt: skip


def test_few_rearrangements_are_all_taken_once():
    """With 5 people there are 32 sign patterns: the exact p of a two-sided test is a multiple of 2/32."""
    data = np.random.default_rng(4).standard_normal((5, 6)) + 0.8
    model = permutation.prepare(data, np.ones((5, 1)), [1.0])
    found = permutation.null(model, exchange(5, permute=False, flip=True), 0, 5000)
    assert found.settings["Complete"]
    assert len(found.index) == 31
    signs = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1)
    every = np.abs([stats.ttest_1samp(data * s[:, None], 0).statistic for s in signs.T])
    exact = (every >= np.abs(stats.ttest_1samp(data, 0).statistic) - 1e-9).mean(0)
    np.testing.assert_allclose(permutation.uncorrected(found), exact)
    peaks = every.max(1)
    np.testing.assert_allclose(
        permutation.corrected(permutation.statistic(model), found.values["peak"]),
        [(peaks >= v - 1e-9).mean() for v in every[-1]],
    )


@pytest.mark.parametrize("kind", ["flip", "groups", "families"])
def test_family_wise_error_is_what_it_says(kind):
    """200 null studies of skewed, nuisance-ridden or clustered data: 5 % +- 3 standard errors find something."""
    hits, studies = 0, 200
    for seed in range(studies):
        rng = np.random.default_rng([7, seed])
        if kind == "flip":
            data = rng.laplace(size=(12, 40))
            model = permutation.prepare(data, np.ones((12, 1)), [1.0])
            allowed = exchange(12, permute=False, flip=True)
        elif kind == "groups":
            group = rng.permutation(np.arange(20) % 2).astype(float)
            age = rng.standard_normal(20) + group
            data = rng.standard_normal((20, 40)) + 2 * age[:, None]
            model = permutation.prepare(data, np.column_stack([np.ones(20), group, age]), [0, 1.0, 0])
            allowed = exchange(20)
        else:
            family = np.repeat(np.arange(12), 2)
            data = rng.standard_normal((12, 40))[family] + 0.4 * rng.standard_normal((24, 40))
            design = np.column_stack([np.ones(24), np.repeat(np.arange(12) % 2, 2)]).astype(float)
            model = permutation.prepare(data, design, [0, 1.0])
            allowed = exchange(24, units=family)
        found = permutation.null(model, allowed, seed, 99)
        hits += permutation.corrected(permutation.statistic(model), found.values["peak"]).min() <= 0.05
    assert abs(hits / studies - 0.05) < 3 * np.sqrt(0.05 * 0.95 / studies)


def test_ignoring_families_is_too_liberal():
    """The same data with every row free to move: the trap that units are there for."""
    hits = 0
    for seed in range(60):
        rng = np.random.default_rng([8, seed])
        family = np.repeat(np.arange(12), 2)
        data = rng.standard_normal((12, 40))[family] + 0.4 * rng.standard_normal((24, 40))
        design = np.column_stack([np.ones(24), np.repeat(np.arange(12) % 2, 2)]).astype(float)
        model = permutation.prepare(data, design, [0, 1.0])
        found = permutation.null(model, exchange(24), seed, 99)
        hits += permutation.corrected(permutation.statistic(model), found.values["peak"]).min() <= 0.05
    assert hits / 60 > 0.25


def test_bad_models_are_refused_with_the_reason(study):
    data, design = study
    with pytest.raises(InputError, match="independent columns"):
        permutation.prepare(data, np.column_stack([design, design[:, 0]]), [1.0, 0, 0, 0, 0, 0])
    with pytest.raises(InputError, match="one per column"):
        permutation.prepare(data, design, [1.0, 0])
    with pytest.raises(InputError, match="dependent or zero"):
        permutation.prepare(data, design, np.zeros(5))
    with pytest.raises(InputError, match="more than 5 columns"):
        permutation.prepare(data[:5], np.eye(5), [1.0, 0, 0, 0, 0])
    with pytest.raises(InputError, match="not finite"):
        permutation.prepare(np.where(data > 2, np.nan, data), design, CONTRASTS[0])
    with pytest.raises(InputError, match="as the design"):
        permutation.prepare(data[:-1], design, CONTRASTS[0])
    model = permutation.prepare(data, design, CONTRASTS[3])
    with pytest.raises(InputError, match="sign flips"):
        permutation.null(model, exchange(PEOPLE), 0, 10)
    for p in (0.0, 0.01):
        with pytest.raises(InputError, match=r"0\.001"):
            permutation.forming_height(model, p)
    with pytest.raises(InputError, match="in blocks 1, 2"):
        exchange(4, units=list("aabb"), blocks=list("1211"))
    with pytest.raises(InputError, match="at least two"):
        exchange(4, blocks=list("abcd"))
    with pytest.raises(InputError, match="one label per row"):
        exchange(4, units=list("abc"))


def test_an_element_without_data_never_counts():
    data = np.random.default_rng(9).standard_normal((8, 5))
    data[:, 2] = 0
    model = permutation.prepare(data, np.ones((8, 1)), [1.0])
    assert permutation.statistic(model)[2] == 0
    assert np.isfinite(permutation.statistic(model)).all()
