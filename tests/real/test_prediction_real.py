"""Prediction on real recordings reaches what is published, refuses the shuffled split and names the site."""

import importlib.util
from argparse import Namespace
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location(
        "prediction_benchmark", ROOT / "benchmarks" / "prediction.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("part", "folder"),
    [
        ("haxby", "haxby2001-oneslice"),
        ("fcon", "fcon1000-morphometry"),
        ("brainage", "fcon1000-morphometry"),
        ("abide", "abide-cpac-ho"),
    ],
)
def test_published_figures(benchmark, real_data, capsys, part, folder):
    if not (real_data / folder).is_dir():
        pytest.skip(f"{folder} is not among the real recordings")
    benchmark.PARTS[part](Namespace(data=real_data, permutations=19))
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(lines) >= 5
    assert [line for line in lines if line[-1] != "ok"] == []


def test_region_series_through_the_model_reach_the_score_of_tangent_space(benchmark, real_data, capsys):
    if not (real_data / "abide-cpac-ho").is_dir():
        pytest.skip("abide-cpac-ho is not among the real recordings")
    # the benchmark's ten by five folds fit sixty references, this a fifth of them
    benchmark.PARTS["series"](Namespace(data=real_data, folds=(4, 2)))
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    assert [line for line in lines if line[-1] != "ok"] == []
