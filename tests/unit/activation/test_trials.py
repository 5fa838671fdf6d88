"""Single-trial responses against planted ones."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import design as designs
from neurobraid.activation import trials
from neurobraid.errors import InputError

TIMES = np.arange(300) * 1.5


def planted(gap, seed=0, n=30):
    rng = np.random.default_rng(seed)
    onsets = 5 + np.arange(n) * gap + rng.uniform(0, 0.5, n)
    table = pd.DataFrame(
        {"onset": onsets, "duration": 1.0, "trial_type": np.resize(["face", "house", "face"], n)}
    )
    heights = rng.uniform(0.5, 1.5, n)
    peak = designs.response_peak([0.0], [1.0])
    series = sum(
        h / peak * designs.regressor(TIMES, [o], [1.0]) for o, h in zip(onsets, heights, strict=True)
    )
    return table, heights, series


NUISANCE = np.column_stack(
    [np.ones(300), np.cos(np.pi * np.arange(300) / 300), np.random.default_rng(8).standard_normal(300)]
)


def test_one_model_gives_back_every_trial():
    table, heights, series = planted(14.0)
    weights, listed = trials.trial_weights(TIMES, table, NUISANCE, method="lsa")
    found = trials.trial_effects(
        (series[:, None] + NUISANCE @ [[3.0], [2.0], [1.0]]).astype(np.float32), weights
    )
    np.testing.assert_allclose(found[:, 0], heights, rtol=1e-4)
    assert list(listed["trial_type"]) == list(table["trial_type"]) and (listed["variance_factor"] > 0).all()


def test_separate_models_are_steadier_where_trials_are_close():
    """Mumford et al. 2012: with short gaps the separate models beat the one model in noise."""
    table, heights, series = planted(2.0, n=80)
    noise = 0.5 * np.random.default_rng(1).standard_normal((300, 400))
    data = (series[:, None] + noise).astype(np.float32)
    r = {}
    for method in trials.METHODS:
        weights, _ = trials.trial_weights(TIMES, table, NUISANCE, method=method)
        found = trials.trial_effects(data, weights)
        r[method] = np.mean([np.corrcoef(heights, column)[0, 1] for column in found.T])
    assert r["lss"] > r["lsa"] + 0.02


def test_lss_is_one_model_per_trial():
    table, _, series = planted(6.0, n=20)
    weights, _ = trials.trial_weights(TIMES, table, NUISANCE, method="lss")
    noise = np.random.default_rng(2).standard_normal(300)
    peak = designs.response_peak([0.0], [1.0])
    for n in (0, 7):
        columns = [designs.regressor(TIMES, table["onset"].iloc[[n]], [1.0])]
        for name in ("face", "house"):
            rest = table[(table["trial_type"] == name) & (np.arange(20) != n)]
            columns.append(designs.regressor(TIMES, rest["onset"], rest["duration"]))
        x = np.column_stack([*columns, NUISANCE])
        beta = np.linalg.lstsq(x, series + noise, rcond=None)[0][0]
        assert weights[n] @ (series + noise) == pytest.approx(beta * peak, rel=1e-6)


def test_trials_that_cannot_be_told_apart():
    table, *_ = planted(14.0)
    twice = pd.concat([table, table.iloc[:1]])
    with pytest.raises(InputError, match="tell apart"):
        trials.trial_weights(TIMES, twice, NUISANCE, method="lsa")
    with pytest.raises(InputError, match="lsa or lss"):
        trials.trial_weights(TIMES, table, NUISANCE, hrf="fir")
