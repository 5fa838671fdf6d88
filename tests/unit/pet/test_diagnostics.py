"""Tests of neurobraid.pet.diagnostics."""

import itertools

import numpy as np
import pandas as pd
import pytest

from neurobraid.pet import diagnostics


def test_runs_test_against_all_orders():
    """Exact: every order of four positive and three negative residuals is as likely as any other."""
    orders = sorted(set(itertools.permutations([1.0] * 4 + [-1.0] * 3)))
    counts = np.array([1 + sum(a != b for a, b in itertools.pairwise(o)) for o in orders])
    for order, runs in zip(orders, counts, strict=True):
        expected = min(1.0, 2 * min((counts <= runs).mean(), (counts >= runs).mean()))
        assert diagnostics.runs_test([order])[0] == pytest.approx(expected)


def test_runs_test_has_its_level_and_finds_a_trend():
    rng = np.random.default_rng(0)
    p = diagnostics.runs_test(rng.standard_normal((4000, 33)))
    assert 0.02 < (p < 0.05).mean() < 0.06
    assert diagnostics.runs_test([np.linspace(-1, 1, 20)])[0] < 1e-4
    assert np.isnan(diagnostics.runs_test([np.ones(20), np.full(20, np.nan)])).all()


def test_undetermined_parameters_and_reasons():
    table = pd.DataFrame(
        {
            "R1": [1.0, 1.0, np.nan, 1.0],
            "R1_se": [0.1, 0.6, np.nan, 0.1],
            "BPND": [0.01, 2.0, np.nan, 2.0],
            "BPND_se": [0.2, 2.0, np.nan, 0.1],
        }
    )
    flags = [(np.array([False, False, False, True]), "k2a at lower bound")]
    out = diagnostics.assess(table, np.ones((4, 3)), ["R1", "BPND"], "BPND", flags)
    # nothing binds in the first: its BPND of 0.01 +- 0.2 is a measurement
    assert list(out["undetermined"]) == ["none", "R1,BPND", "none", "none"]
    assert list(out["flag"]) == [
        "ok",
        "standard error above 50 % of 1 + BPND",
        "no data",
        "k2a at lower bound",
    ]
