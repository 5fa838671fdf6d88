"""Networks and hidden layers as estimators of declared models: same folds, same audit, same tables."""

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from neurobraid.errors import InputError
from neurobraid.prediction import members, sources
from neurobraid.prediction import model as models
from neurobraid.prediction.estimators import TunedModel, make_pipeline
from neurobraid.synth.cohort import make_cohort

FEW = {"folds": {"outer": 3, "inner": 2}, "repeats": 1}


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed (extra [deep])")


def people(count):
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{n:02d}" for n in range(count)],
            "group": ["patient" if n % 2 else "control" for n in range(count)],
            "age": np.linspace(20, 60, count)[np.random.default_rng(0).permutation(count)],
        }
    )


def declared(features, **more):
    given = {"name": "m", "target": "group", "features": features, "demographics": ["age"], **FEW, **more}
    return models.complete({"permutations": 0, **given})


def checked(found, names):
    summary = found.summary
    assert {c["check"]: c["status"] for c in summary["audit"]["checks"]}[
        "fitted steps that saw test rows"
    ] == "ok"
    assert set(names) <= set(summary["metrics"])
    assert set(found.predictions["feature_set"]) >= set(names)
    # every feature set on the same people
    for name in names:
        part = found.predictions[found.predictions["feature_set"] == name]
        assert sorted(part["participant_id"]) == sorted(set(part["participant_id"]))
    return {name: summary["metrics"][name]["auc"]["mean"] for name in names}


@pytest.mark.parametrize("estimator", ["conv1d", "lstm"])
def test_series_network_beside_ridge_on_a_table(torch, monkeypatch, estimator):
    rng = np.random.default_rng(1)
    scans = []
    for number in range(60):
        values = rng.normal(size=(50, 4))
        values[:, 1] = values[:, 1] * 0.6 + 0.8 * (1 if number % 2 else -1) * values[:, 0]
        scans.append((f"sub-{number:02d}", "", pd.DataFrame(values, columns=list("abcd")), None))
    source = sources.series_source(scans, "series")
    table = pd.DataFrame(
        {
            "participant_id": [f"sub-{n:02d}" for n in range(60)], "session_id": np.nan, "region": "x",
            "modality": "anat", "measure": "volume", "value": rng.normal(size=60), "unit": "mm3", "coverage": 1.0,
            "source": "",
        }
    )  # fmt: skip
    features = [
        {"name": "bold", "series": "toy", "measure": "series"},
        {"name": "size", "modality": ["anat"]},
    ]
    model = declared(features, estimator=estimator, grid=[0.01], permutations=3)
    # a quicker network than the default
    build = members.DeepPath
    monkeypatch.setattr(members, "DeepPath", lambda *a, **k: build(*a, **k, epochs=25, learning_rate=1e-2))
    found = models.fit_model(table, people(60), model, sources={"bold": source})
    scores = checked(found, ["bold", "size", "fused", "demographics"])
    assert scores["bold"] > 0.8
    # the permutation test is ridge on the correlations of the same series, which knows the planted edge
    assert found.summary["permutation"]["observed"]["bold"] > 0.9
    assert any("ridge" in text for text in found.summary["warnings"])
    assert found.summary["chosen"]["bold"] == {"0.01": 3} and "100" not in found.summary["chosen"]["bold"]


def test_convolutions_on_maps(torch, monkeypatch):
    rng = np.random.default_rng(2)
    grid = np.indices((8, 8, 8)).reshape(3, -1)
    blob = np.exp(-((grid - np.array([[3], [4], [4]])) ** 2).sum(axis=0) / 6)
    y = np.where(np.arange(60) % 2, 1.0, -1.0)
    values = rng.normal(size=(60, 512)) + y[:, None] * blob
    values[:, :16] = np.nan
    index = pd.Index([f"sub-{n:02d}" for n in range(60)], name="participant_id")
    columns = [f"voxel {x} {y} {z}" for x, y, z in np.ndindex(8, 8, 8)]
    source = sources.Source(pd.DataFrame(values, index=index, columns=columns), "maps", (8, 8, 8))
    model = declared([{"name": "grey", "maps": "GM"}], estimator="conv3d", confounds=["age"])
    build = members.DeepPath
    monkeypatch.setattr(members, "DeepPath", lambda *a, **k: build(*a, **k, epochs=15, learning_rate=5e-3))
    found = models.fit_model((), people(60), model, sources={"grey": source})
    assert checked(found, ["grey"])["grey"] > 0.8
    # no voxel was dropped: the pattern has them all, empty ones without a value
    top = found.summary["patterns"]["grey"]["features"][0]["name"].split()[1:]
    assert np.linalg.norm(np.array(top, dtype=float) - [3, 4, 4]) < 3


@pytest.mark.parametrize("estimator", ["mlp-dropout", "autoencoder", "som", "rbm", "rbf"])
def test_members_on_the_cohort_with_missing_pet(request, monkeypatch, estimator):
    if estimator in ("mlp-dropout", "autoencoder"):
        request.getfixturevalue("torch")
        build = members.DeepPath
        monkeypatch.setattr(members, "DeepPath", lambda *a, **k: build(*a, **k, epochs=20))
    cohort = make_cohort(3, missing_pet=0.3, effect=2.0)
    features = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]
    model = models.complete(
        {
            "name": "m", "table": "cohort", "target": "diagnosis", "features": features, "estimator": estimator,
            "fusion": ["late", "early"], "missing_modality": "impute", "permutations": 0, **FEW,
        }
    )  # fmt: skip
    found = models.fit_model(cohort.features, cohort.participants, model)
    scores = checked(found, ["fmri", "pet", "fused", "early"])
    # D 2.0 and 1.8: Bayes Phi(sqrt(2.0 ** 2 + 1.8 ** 2) / sqrt 2) = .971 with everybody's PET; ridge reaches .92
    assert scores["early"] > 0.8 and scores["fused"] > 0.8
    assert max(scores.values()) < 0.98


def test_without_torch_a_declared_network_is_refused_before_any_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"mlp-dropout, but PyTorch is not installed"):
        declared([{"name": "x", "modality": ["anat"]}], estimator="mlp-dropout")
    declared([{"name": "x", "modality": ["anat"]}], estimator="som")


class Spy(BaseEstimator):
    """Remembers which groups every fit was handed."""

    needs_groups = True
    seen = []  # noqa: RUF012 (shared by clones on purpose)
    grid = (1.0,)

    def fit(self, X, y, groups=None):
        Spy.seen.append((len(X), None if groups is None else sorted(set(groups.tolist()))))
        return self

    def scores(self, X):
        return X[:, :1]


def test_a_network_is_handed_the_inner_folds_as_groups_and_never_the_one_it_is_scored_on():
    rng = np.random.default_rng(4)
    y, inner = np.where(np.arange(40) % 2, 1.0, -1.0), np.arange(40) // 2 % 4
    Spy.seen.clear()
    TunedModel(make_pipeline({"x": range(3)}, [], Spy(), 0.5)).fit(rng.normal(size=(40, 3)), y, inner)
    expected = [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2], [0, 1, 2, 3]]
    assert [groups for _, groups in Spy.seen] == expected
    assert [people for people, _ in Spy.seen] == [30, 30, 30, 30, 40]
