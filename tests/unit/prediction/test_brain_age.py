"""Brain age, decoding and tangent space on planted truth."""

import numpy as np
import pytest

from neurobraid.errors import InputError
from neurobraid.prediction.brain_age import accuracy, adjusted_gap, bias_line, gaps, refuse_corrected
from neurobraid.prediction.decode import decode
from neurobraid.prediction.estimators import ridge_path
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.tangent import TangentSpace


def ages(n=900, gap=5.0, signal=True, seed=0):
    """Held-out predictions of a ridge model; every third person is a patient whose brain is `gap` years older."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 80, n)
    patient = np.arange(n) % 3 == 0
    brain = age + gap * patient
    X = (brain[:, None] - 50) / 17 * signal * 0.4 + rng.normal(size=(n, 12))
    predicted = np.full(n, np.nan)
    fold = np.arange(n) % 5
    for k in range(5):
        train = (fold != k) & ~patient
        mean = X[train].mean(0)
        weights, intercept = ridge_path(X[train] - mean, age[train], (0.1,), "regression")
        predicted[fold == k] = (X[fold == k] - mean) @ weights[:, 0] + intercept[0]
    return age, predicted, patient


def test_a_planted_gap_is_found_after_correction_and_shrunk_before():
    age, predicted, patient = ages()
    half = np.arange(age.size) % 2 == 0
    found = gaps(age[~half], predicted[~half], bias_line(age[half & ~patient], predicted[half & ~patient]))
    shown = {
        name: adjusted_gap(values, patient[~half].astype(float), age[~half][:, None])
        for name, values in found.items()
    }
    assert shown["cole"]["difference"] == pytest.approx(5.0, abs=2.5 * shown["cole"]["se"])
    assert shown["raw"]["difference"] < shown["cole"]["difference"]
    assert shown["raw"]["difference"] == pytest.approx(shown["delange"]["difference"])
    assert abs(np.corrcoef(found["delange"][~patient[~half]], age[~half][~patient[~half]])[0, 1]) < 0.15
    assert abs(np.corrcoef(found["raw"], age[~half])[0, 1]) > 0.3


def test_noise_looks_accurate_after_correction_and_is_refused():
    age, predicted, patient = ages(signal=False, gap=0)
    line = bias_line(age[~patient], predicted[~patient])
    corrected = age + gaps(age, predicted, line)["delange"]
    assert accuracy(age, predicted, age.mean())["r2"] < 0.02
    assert accuracy(age, corrected, age.mean())["r2"] > 0.8
    refuse_corrected(age, predicted, predicted)
    with pytest.raises(InputError, match="raw predictions"):
        refuse_corrected(age, predicted, corrected)
    with pytest.raises(InputError, match="controls"):
        bias_line(age[:2], predicted[:2])


def test_runs_are_left_out_whole_and_shuffled_volumes_are_refused():
    rng = np.random.default_rng(0)
    runs = np.repeat([f"{k:02d}" for k in range(20)], 24)
    labels = np.tile(np.repeat(["face", "house", "shoe"], 8), 20)
    # neighbouring volumes resemble each other within a run; nothing tells the conditions over runs
    X = np.repeat(rng.normal(size=(60, 200)), 8, axis=0) + 0.5 * rng.normal(size=(480, 200))
    y = np.zeros(480)
    honest = make_folds(y, runs, kind="regression", inner=2, scheme="leave-one-group-out")
    found = decode(X, labels, runs, honest, estimator="ridge", features=10)
    # 60 independent blocks: three SD of chance
    assert abs(found["accuracy"] - 1 / 3) < 0.19
    assert found["chance"] == pytest.approx(1 / 3)
    shuffled = make_folds(
        rng.normal(size=480), np.arange(480).astype(str), kind="regression", outer=6, repeats=1
    )
    assert decode(X, labels, np.arange(480).astype(str), shuffled, estimator="ridge")["accuracy"] > 0.9
    with pytest.raises(InputError, match=r"run .. is on both sides"):
        decode(X, labels, runs, shuffled, features=10)


def test_tangent_space_of_the_reference_is_zero_and_affine_invariant():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(30, 5, 20))
    matrices = a @ np.swapaxes(a, 1, 2) / 20
    rows, columns = np.triu_indices(5)
    fitted = TangentSpace(iterations=20).fit(matrices[:, rows, columns])
    out = fitted.transform(matrices[:, rows, columns])
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-6)
    reference = np.linalg.inv(fitted.whitening_ @ fitted.whitening_)
    np.testing.assert_allclose(fitted.transform(reference[rows, columns][None]), 0, atol=1e-9)
    # distances do not depend on how regions are mixed
    mix = rng.normal(size=(5, 5))
    other = mix @ matrices @ mix.T
    again = TangentSpace(iterations=20).fit(other[:, rows, columns]).transform(other[:, rows, columns])
    np.testing.assert_allclose(np.linalg.norm(again, axis=1), np.linalg.norm(out, axis=1), rtol=1e-5)
