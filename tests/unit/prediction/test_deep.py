"""Networks on planted truth: what a linear model cannot see, missing modalities, whole groups, the same bytes."""

import sys

import numpy as np
import pytest

from neurobraid.errors import InputError
from neurobraid.prediction.deep import DeepPath, explain, held_out, require_torch
from neurobraid.prediction.estimators import ridge_path
from neurobraid.prediction.metrics import auc


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed (extra [deep])")


def maps(seed, people=240, edge=8, amplitude=2.5, effect="xor"):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    grid = np.indices((edge,) * 3).reshape(3, -1)
    centers = np.array([[2, 4, 4], [6, 4, 4]])
    blobs = np.exp(-((grid - centers[:, :, None]) ** 2).sum(axis=1) / (2 * 1.5**2))
    signs = rng.permutation(np.repeat([[-1, -1], [-1, 1], [1, -1], [1, 1]], people // 4, axis=0))
    noise = np.array([gaussian_filter(rng.normal(size=(edge,) * 3), 1.0).ravel() for _ in signs])
    y = (signs[:, 0] * signs[:, 1] if effect == "xor" else signs[:, 0]).astype(float)
    return noise / noise.std() + amplitude * signs @ blobs, y, blobs


def test_without_torch_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"conv1d, but PyTorch is not installed.*neurobraid\[deep\]"):
        require_torch("conv1d")
    with pytest.raises(InputError, match="extra \\[deep\\]"):
        DeepPath("conv3d", shape=(2, 2, 2)).fit(np.zeros((4, 8)), np.array([1.0, -1, 1, -1]))


def test_convolutions_see_the_product_of_two_blobs_and_a_line_does_not(torch):
    X, y, _ = maps(1)
    train, test = np.arange(180), np.arange(180, 240)
    model = DeepPath("conv3d", shape=(8, 8, 8)).fit(X[train], y[train])
    assert auc(y[test], model.scores(X[test])[:, 0]) > 0.8
    weights, _ = ridge_path(X[train] - X[train].mean(axis=0), y[train], (0.1,))
    assert auc(y[test], X[test] @ weights[:, 0]) < 0.7
    # four blocks 8-16-32-64 and a small head
    assert 50_000 < sum(a.size for a in model.weights_[0]) < 120_000
    proba = model.predict_proba(X[test])
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(np.argsort(proba[:, 1]), np.argsort(model.scores(X[test])[:, 0]))


def test_same_input_same_weights_and_settings_of_torch_stay_as_they_were(torch):
    X, y, _ = maps(2, people=40, edge=8)
    threads, random = torch.get_num_threads(), torch.random.get_rng_state()
    deterministic = torch.are_deterministic_algorithms_enabled()
    one = DeepPath(shape=(8, 8, 8), epochs=2).fit(X, y)
    torch.manual_seed(99)
    two = DeepPath(shape=(8, 8, 8), epochs=2).fit(X, y)
    other = DeepPath(shape=(8, 8, 8), epochs=2, seed=1).fit(X, y)
    assert one.digest_ == two.digest_ != other.digest_
    np.testing.assert_array_equal(one.scores(X), two.scores(X))
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    DeepPath(shape=(8, 8, 8), epochs=1).fit(X, y)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.random.set_rng_state(random)


def test_rows_that_stop_training_are_whole_groups_of_every_class():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 3)
    y = np.where(np.repeat(rng.permutation(30) % 3 == 0, 3), 1.0, -1.0)
    out = held_out(y, groups, "classification", 4)
    assert 0.1 < out.mean() < 0.3
    assert not set(groups[out]) & set(groups[~out])
    assert np.unique(y[out]).size == 2
    # the inner folds of a model serve as groups
    assert np.unique(held_out(y, np.arange(90) % 4, "classification", 4)).size == 2
    assert not held_out(y, np.zeros(90), "classification", 4).any()
    assert held_out(rng.normal(size=90), groups, "regression", 4).any()


def series(seed, people=120, volumes=60, regions=5):
    """Two regions that go together in one class and against each other in the other; every mean is zero."""
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(people) % 2, 1.0, -1.0)
    X = rng.normal(size=(people, volumes, regions))
    X[:, :, 1] = 0.8 * y[:, None] * X[:, :, 0] + 0.6 * X[:, :, 1]
    lengths = rng.integers(40, volumes + 1, people)
    for one, length in zip(X, lengths, strict=True):
        one[length:] = np.nan
    return X.reshape(people, -1), y


@pytest.mark.parametrize("network", ["conv1d", "lstm"])
def test_series_networks_see_a_correlation_and_never_the_padding(torch, network):
    X, y = series(3)
    model = DeepPath(network, shape=(60, 5), learning_rate=1e-2).fit(X[:90], y[:90])
    assert auc(y[90:], model.scores(X[90:])[:, 0]) > 0.8
    # a censored volume in the middle is left out; an absent region counts as flat
    shorter = X[90:].reshape(30, 60, 5)
    moved = np.concatenate([shorter[:, :10], np.full((30, 1, 5), np.nan), shorter[:, 10:59]], axis=1)
    whole = np.where(np.isfinite(shorter[:, 59:]).any(axis=(1, 2)))[0]
    kept = np.setdiff1d(np.arange(30), whole)
    np.testing.assert_allclose(
        model.scores(moved.reshape(30, -1))[kept], model.scores(shorter.reshape(30, -1))[kept], atol=1e-5
    )
    lost = shorter.copy()
    lost[:, :, 4] = np.nan
    assert np.isfinite(model.scores(lost.reshape(30, -1))).all()


def test_modality_dropout_leaves_something_to_say_about_people_without_a_modality(torch):
    rng = np.random.default_rng(5)
    y = np.where(np.arange(300) % 2, 1.0, -1.0)
    X = rng.normal(size=(300, 20))
    X[:, :10] += 0.5 * y[:, None]
    X[:, 10:] += 0.35 * y[:, None]
    X[200:250, :10] = np.nan
    model = DeepPath("mlp-dropout", modalities=(10, 10)).fit(X[:200], y[:200])
    score = model.scores(X)[:, 0]
    # Bayes for the second modality alone: Phi(2 * .35 * sqrt(10) / sqrt 2) = .94
    assert auc(y[200:250], score[200:250]) > 0.8
    assert auc(y[250:], score[250:]) > 0.9
    # training people may lack one as well
    X[:60, 10:] = np.nan
    again = DeepPath("mlp-dropout", modalities=(10, 10)).fit(X[:200], y[:200])
    assert auc(y[250:], again.scores(X[250:])[:, 0]) > 0.9


def test_autoencoder_keeps_the_factor_that_many_features_share(torch):
    rng = np.random.default_rng(6)
    y = np.where(np.arange(200) % 2, 1.0, -1.0)
    factor = y + 0.7 * rng.normal(size=200)
    X = factor[:, None] * rng.uniform(0.5, 1, 30) + rng.normal(size=(200, 30))
    model = DeepPath("autoencoder", grid=(1.0, 0.1), codes=4).fit(X[:150], y[:150])
    found = model.scores(X[150:])
    assert found.shape == (50, 2)
    # the factor itself has AUC Phi(2 / (.7 sqrt 2)) = .978
    assert auc(y[150:], found[:, 0]) > 0.9


def test_regression_and_a_constant_target(torch):
    rng = np.random.default_rng(7)
    X = rng.normal(size=(200, 6))
    y = 50 + 10 * X[:, 0] + 3 * rng.normal(size=200)
    model = DeepPath("mlp-dropout", "regression").fit(X[:150], y[:150])
    error = np.mean((model.scores(X[150:])[:, 0] - y[150:]) ** 2)
    assert error < 0.5 * y[150:].var()
    with pytest.raises(ValueError, match="classification"):
        model.predict_proba(X)
    flat = DeepPath("mlp-dropout", "regression", grid=(0.1, 1.0)).fit(X, np.full(200, 3.0))
    np.testing.assert_array_equal(flat.scores(X[:4]), np.full((4, 2), 3.0))
    with pytest.raises(ValueError, match="shape"):
        DeepPath("conv3d", shape=(2, 2, 2)).fit(X, y)


def test_occlusion_finds_the_planted_blob_and_shuffled_labels_do_not(torch):
    X, y, blobs = maps(8, people=120, edge=8, effect="linear")
    splits = [(np.arange(80), np.arange(80, 120)), (np.arange(40, 120), np.arange(40))]
    estimator = DeepPath("conv3d", shape=(8, 8, 8), epochs=12, patience=6)
    found = explain(estimator, X, y, splits, (8, 8, 8), nulls=3, size=4, step=2)
    inside = blobs[0].reshape(8, 8, 8)
    top = np.unravel_index(found["map"].argmax(), found["map"].shape)
    assert np.linalg.norm(np.array(top) - [2, 4, 4]) <= 2.5
    assert found["z"][inside > 0.5].mean() > 3
    assert abs(found["z"][inside < 0.02].mean()) < 2
    assert found["p_fwe"][top] == pytest.approx(1 / 4)
    assert found["p_fwe"].min() >= 1 / 4


def test_a_member_learns_nothing_from_rows_it_was_not_given(torch):
    from neurobraid.prediction.audit import probe_fit
    from neurobraid.prediction.estimators import make_pipeline

    rng = np.random.default_rng(9)
    X, y = rng.normal(size=(60, 8)), np.where(np.arange(60) % 2, 1.0, -1.0)

    def fit(values, target, train):
        estimator = DeepPath("mlp-dropout", epochs=3)
        return make_pipeline({"x": range(8)}, [], estimator, 0.5).fit(values[train], target[train])

    found = probe_fit(fit, X, y, np.arange(45), np.arange(45, 60))
    assert found["status"] == "ok"

    def leaky(values, target, train):
        return make_pipeline({"x": range(8)}, [], DeepPath("mlp-dropout", epochs=3), 0.5).fit(values, target)

    assert "estimator" in probe_fit(leaky, X, y, np.arange(45), np.arange(45, 60))["steps"]
