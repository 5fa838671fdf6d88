"""Latent fusion inside the folds: what modalities share predicts where it should, and nothing is learned from test rows."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.prediction.audit import probe_fit
from neurobraid.prediction.dataset import build
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.latent_fusion import LATENT, LatentBlocks, latent_model
from neurobraid.prediction.model import complete, fit_model, run_folds

FEATURES = [{"name": "pet", "modality": ["pet"]}, {"name": "structure", "modality": ["anat"]}]


def study(people=120, shared=1.0, effect=1.2, seed=0, sizes=(30, 20)):
    """Two modalities with one latent variable in common, which differs between the groups."""
    rng = np.random.default_rng(seed)
    group = np.arange(people) % 2
    latent = rng.normal(size=people) + effect * group
    names = [f"sub-{n:03d}" for n in range(people)]
    parts = []
    for (modality, measure), size in zip((("pet", "BPND"), ("anat", "volume")), sizes, strict=True):
        weights = rng.normal(size=size) * shared
        values = latent[:, None] * weights + 2.0 * rng.normal(size=(people, size))
        parts.append(
            pd.DataFrame(
                {
                    "participant_id": np.repeat(names, size), "session_id": np.nan,
                    "region": np.tile([f"r{k}" for k in range(size)], people), "modality": modality, "measure": measure,
                    "value": values.ravel(), "unit": "1", "coverage": 1.0, "source": "x",
                }
            )
        )  # fmt: skip
    table = pd.concat(parts, ignore_index=True)
    people = pd.DataFrame({"participant_id": names, "dx": np.where(group, "patient", "control"), "age": rng.normal(50, 9, people)})  # fmt: skip
    return table, people


def model(**changes):
    base = {
        "name": "m",
        "target": "dx",
        "features": FEATURES,
        "permutations": 0,
        "repeats": 1,
        "demographics": ["age"],
    }
    return complete({**base, "folds": {"outer": 4, "inner": 3}, **changes})


def folds_of(data, settings):
    return make_folds(
        data.y, data.groups, kind="classification", outer=4, inner=3, repeats=1, seed=settings["seed"]
    )


def aucs(settings, **planted):
    data = build(*study(**planted), settings)
    rows = run_folds(data, folds_of(data, settings), settings)[1]
    table = pd.DataFrame(rows, columns=["set", "repeat", "fold", "metric", "value"])
    return table[table["metric"].eq("auc")].groupby("set")["value"].mean()


@pytest.mark.parametrize("method", list(LATENT))
def test_a_shared_latent_variable_predicts_and_noise_does_not(method):
    settings = model(fusion=["late", method], components=2)
    found = aucs(settings)
    # Phi(1.2 / sqrt 2) = .80 is what the latent variable itself reaches
    assert 0.65 < found[method] < 0.80 + 0.10
    null = [aucs(settings, people=80, effect=0.0, seed=seed)[method] for seed in range(5)]
    assert abs(np.mean(null) - 0.5) < 3 * 0.065 / np.sqrt(5) + 0.02


@pytest.mark.parametrize("method", list(LATENT))
def test_nothing_is_learned_from_the_people_tested(method):
    settings = model(fusion=[method], components=2)
    data = build(*study(people=60), settings)
    X = np.concatenate(list(data.tables.values()), axis=1)
    blocks = {"pet": list(range(30)), "structure": list(range(30, 50))}
    _, _, train, test, _ = next(folds_of(data, settings).splits())
    made = latent_model(method, blocks, [], settings).pipeline
    found = probe_fit(lambda X, y, rows: _fit(made, X, y, rows), X, data.y, train, test)
    assert found["status"] == "ok", found["text"]
    torn = probe_fit(lambda X, y, rows: _fit(made, X, y, np.arange(len(X))), X, data.y, train, test)
    assert torn["status"] == "flag" and any("latent" in step for step in torn["steps"])


def _fit(pipeline, X, y, rows):
    from sklearn.base import clone

    return clone(pipeline).fit(X[rows], y[rows])


def test_the_fused_set_stands_on_the_folds_of_all_others_and_is_compared():
    result = fit_model(*study(people=60), model(fusion=["late", "pcacca"], components=2))
    keys = ["participant_id", "repeat", "fold"]
    parts = [p[keys].reset_index(drop=True) for _, p in result.predictions.groupby("feature_set", sort=False)]
    assert all(part.equals(parts[0]) for part in parts)
    assert result.predictions["feature_set"].iloc[-1] == "pcacca"
    assert any(c["first"] == "pcacca" for c in result.summary["comparisons"])
    assert result.summary["audit"]["checks"]


def test_a_modality_without_usable_features_leaves_the_others_as_they_are():
    settings = model(fusion=["mcca"], components=3)
    data = build(*study(people=40, sizes=(6, 5)), settings)
    X = np.concatenate(list(data.tables.values()), axis=1)
    X[:, 6:] = 1.0
    step = latent_model("mcca", {"pet": range(6), "structure": range(6, 11)}, [], settings).pipeline[0]
    assert isinstance(step, LatentBlocks)
    step.fit(X)
    assert step.latent_ is None and step.transform(X).shape == (40, 6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fusion": ["pls"], "features": [*FEATURES, {"name": "fmri", "modality": ["fmri-rest"]}]}, "3 feature sets"),
        ({"fusion": ["jica"], "features": FEATURES[:1]}, "1 feature sets"),
        ({"fusion": ["mcca"], "features": [FEATURES[0], {"name": "snf", "modality": ["anat"]}]}, "names that are no fusion"),
    ],
)  # fmt: skip
def test_what_a_method_cannot_do_is_refused(changes, said):
    with pytest.raises(InputError, match=said):
        model(**changes)
