"""Latent fusion: what is planted is found in people that had no part in the fit; noise is not."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from neurobraid.fusion import latent

BLOCKS = (80, 40)
EVERY = [
    lambda b: latent.PLSCorrelation(b, 2),
    lambda b: latent.PCACCA(b, 2),
    lambda b: latent.MultisetCCA(b, 2),
    lambda b: latent.JointICA(b, 3, restarts=2),
    lambda b: latent.JointICA(b, 3, linked=True, restarts=2),
    lambda b: latent.SimilarityFusion(b, 2),
]


def planted(people, blocks=BLOCKS, strength=1.0, seed=0):
    """Blocks that share one latent variable through their first ten columns; the latent variable."""
    rng = np.random.default_rng(seed)
    shared, parts = rng.standard_normal(people), []
    for size in blocks:
        part = rng.standard_normal((people, size))
        part[:, :10] += strength * shared[:, None]
        parts.append(part)
    return np.concatenate(parts, axis=1), shared


def noise(people, blocks=BLOCKS, seed=0):
    return np.random.default_rng(seed).standard_normal((people, sum(blocks)))


@pytest.mark.parametrize("make", EVERY)
def test_transformers_are_fitted_on_the_training_rows_alone(make):
    X, shared = planted(60)
    model = make(BLOCKS)
    train, test = np.arange(40), np.arange(40, 60)
    fitted = clone(model).fit(X[train])
    scores = fitted.transform(X[test])
    assert scores.shape == (20, len(fitted.get_feature_names_out()))
    # the scores of one new person do not depend on who else is new
    np.testing.assert_allclose(scores[3:4], fitted.transform(X[test][3:4]), atol=1e-10)
    changed = X.copy()
    changed[test] += 100
    np.testing.assert_array_equal(clone(model).fit(changed[train]).transform(X[test]), scores)
    line = make_pipeline(clone(model), Ridge()).fit(X[train], shared[train])
    assert np.corrcoef(line.predict(X[test]), shared[test])[0, 1] > 0.5
    with pytest.raises(ValueError, match="impute"):
        clone(model).fit(np.where(X > 2.5, np.nan, X))
    with pytest.raises(ValueError, match="add up to"):
        clone(model).fit(X[:, :-1])


def test_a_column_that_is_constant_in_the_training_rows_counts_for_nothing():
    X, _ = planted(40)
    X[:30, 5] = 3.0
    scores = latent.PLSCorrelation(BLOCKS).fit(X[:30]).transform(X[30:])
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("method", ["pls", "pcacca"])
def test_planted_latent_variable_holds_out_of_sample_and_noise_does_not(method):
    def make():
        return latent.METHODS[method](BLOCKS, 1, 0)

    true, null = [], []
    for seed in range(6):
        X, shared = planted(100, seed=seed)
        model = make().fit(X)
        assert abs(np.corrcoef(model.scores(X)[0][:, 0], shared)[0, 1]) > 0.85
        true.append(latent.held_out(make, X, repeats=1)[0, 0])
        null.append([f(noise(100, seed=seed)) for f in (lambda d: latent._agreement(make().fit(d).scores(d))[0],
                                                      lambda d: latent.held_out(make, d, repeats=1)[0, 0])])  # fmt: skip
    assert np.mean(true) > 0.8
    inside, outside = np.mean(null, axis=0)
    # in the sample noise looks like a finding, out of it there is nothing
    assert inside > 0.5 and abs(outside) < 0.15


def test_plain_canonical_correlation_overfits_where_shrinkage_does_not():
    def make(shrinkage):
        return lambda: latent.MultisetCCA(BLOCKS, 1, shrinkage)

    X, _ = planted(100)
    assert latent._agreement(make(0.0)().fit(X).scores(X))[0] > 0.99
    assert latent.held_out(make(0.0), X)[:, 0].mean() < 0.4
    assert latent.held_out(make(0.5), X)[:, 0].mean() > 0.8


def test_three_blocks_share_one_component():
    blocks = (40, 30, 20)
    X, shared = planted(120, blocks)
    model = latent.MultisetCCA(blocks, 2).fit(X)
    for scores in model.scores(X):
        assert abs(np.corrcoef(scores[:, 0], shared)[0, 1]) > 0.85
    found = latent.held_out(lambda: latent.MultisetCCA(blocks, 2), X).mean(0)
    assert found[0] > 0.7 > 0.2 > abs(found[1])


@pytest.mark.parametrize("linked", [False, True])
def test_joint_ica_separates_two_joint_sources(linked):
    rng = np.random.default_rng(1)
    blocks = (150, 100)
    maps = rng.laplace(size=(2, 250)) ** 3
    maps /= maps.std(1, keepdims=True)
    loading = rng.standard_normal((80, 2)) * [1.0, 0.7]
    X = loading @ maps + 0.5 * rng.standard_normal((80, 250))
    model = latent.JointICA(blocks, 2, linked=linked, restarts=4).fit(X)
    found = np.concatenate(model.maps_, axis=1)
    # columns are z-scored: compare with what the sources look like then
    r = np.abs(np.corrcoef(found, maps / X.std(0))[:2, 2:])
    assert r.max(1).min() > 0.8 and set(r.argmax(1)) == {0, 1}
    assert (model.stability_ > 0.9).all()
    mixed = model.transform(X)
    assert np.abs(np.corrcoef(mixed.T, loading.T)[: mixed.shape[1], mixed.shape[1] :]).max(1).min() > 0.9
    # held out: each block's own loading of the same component agree
    assert (
        latent.held_out(lambda: latent.JointICA(blocks, 2, linked=linked, restarts=1), X, repeats=1)[0].min()
        > 0.7
    )


def test_similarity_fusion_finds_groups_that_no_block_shows_alone():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], 30)
    # the first block tells group 0 from the rest, the second group 2
    X = rng.standard_normal((90, 60))
    X[:, :30] += 1.2 * (group == 0)[:, None]
    X[:, 30:] += 1.2 * (group == 2)[:, None]
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    model = latent.SimilarityFusion((30, 30), 2).fit(X)
    np.testing.assert_allclose(model.network_, model.network_.T)
    labels = KMeans(3, n_init=10, random_state=0).fit_predict(model.embedding_)
    assert adjusted_rand_score(group, labels) > 0.9
    alone = latent.SimilarityFusion((30,), 2).fit(X[:, :30])
    assert (
        adjusted_rand_score(group, KMeans(3, n_init=10, random_state=0).fit_predict(alone.embedding_)) < 0.7
    )
    # a new person lands among their own
    new = rng.standard_normal((30, 60))
    new[:, 30:] += 1.2
    centres = np.stack([model.embedding_[group == g].mean(0) for g in range(3)])
    placed = np.linalg.norm(model.transform(new)[:, None] - centres, axis=2).argmin(1)
    assert (placed == 2).mean() > 0.9


def test_description_gives_every_guard_and_points_at_the_planted_columns():
    blocks = (30, 20)
    X, _ = planted(80, blocks)
    components, weights = latent.describe(
        lambda: latent.PLSCorrelation(blocks, 2), X, permutations=49, bootstraps=60, halves=10, repeats=3
    )
    first, second = components.to_dict("records")
    assert (
        first["p"] == 0.02
        and first["r_held_out"] > 0.7
        and first["split_half"] > first["split_half_null"] + 0.3
    )
    assert second["p"] > 0.05 and second["r_in_sample"] > 0.4 and abs(second["r_held_out"]) < 0.3
    ratio = weights[weights["component"] == 1].set_index("column")["bootstrap_ratio"].abs()
    true = [*range(10), *range(30, 40)]
    assert (ratio[true] > 3).mean() > 0.9 and (ratio.drop(true) > 3).mean() < 0.1


def test_p_of_noise_is_even_and_groups_stay_together():
    blocks, p = (8, 6), []
    for seed in range(40):
        found, _ = latent.describe(
            lambda: latent.PLSCorrelation(blocks, 1), noise(30, blocks, seed), permutations=19, bootstraps=0, halves=1,
            folds=3, repeats=1, seed=seed,
        )  # fmt: skip
        p.append(found["p"][0])
    assert 0.3 < np.mean(p) < 0.7 and np.mean(np.array(p) <= 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 40)
    groups = np.repeat(np.arange(10), 3)
    for test in latent._folds(30, groups, 4, np.random.default_rng(0)):
        assert not set(groups[test]) & set(np.delete(groups, test))
