"""The config is checked whole, with the fix in the message, and filled with defaults."""

from pathlib import Path

import pytest

from neurobraid.errors import InputErrors
from neurobraid.study import check_config

SCHEMA = Path(__file__).resolve().parents[2] / "workflow/schemas/config.schema.yaml"


def test_empty_config_gets_every_default():
    config = check_config({}, SCHEMA)
    assert config["bids"] == "" and config["bold"]["fd_threshold_mm"] == 0.5
    assert config["activation"]["group"]["alpha"] == 0.05
    assert config["atlases"] == [{"name": "braid100", "kind": "builtin", "parameters": {}}]


def test_unknown_keys_name_the_nearest_known_one_all_at_once():
    with pytest.raises(InputErrors) as caught:
        check_config({"connectivity": {"measurs": ["pearsoncorrelation"]}, "bolt": {}}, SCHEMA)
    text = str(caught.value)
    assert "config: connectivity.measurs is not a known key" in text
    assert "did you mean connectivity.measures?" in text and "did you mean bold?" in text
    assert text.startswith("2 problems")


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"anat": {"quality": "best"}}, ["anat.quality is 'best'", "fast, standard"]),
        ({"bold": {"resolution": -1}}, ["bold.resolution is -1"]),
        ({"atlases": []}, ["atlases"]),
        ({"atlases": [{"name": "a"}, {"name": "a"}]}, ["a twice"]),
        (
            {"atlases": [{"name": "a", "kind": "files"}]},
            ["atlases.0.image is missing", "atlases.0.table is missing"],
        ),
        ({"connectivity": {"band_hz": [0.1, 0.01]}}, ["connectivity.band_hz", "low < high"]),
        ({"atlases": [{"name": "a_b"}]}, ["atlases.0.name is 'a_b'"]),
    ],
)
def test_bad_values_are_named(config, parts):
    with pytest.raises(InputErrors) as caught:
        check_config(config, SCHEMA)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_models_that_contradict_themselves_are_named_all_at_once_and_before_any_work():
    base = {"target": "x", "features": [{"name": "pet", "modality": ["pet"]}]}
    models = [
        {**base, "name": "a", "kind": "survival"},
        {**base, "name": "b", "kind": "ordinal", "classes": ["low", "high"]},
        {**base, "name": "c", "kind": "regression", "estimator": "ridge-logistic"},
        {**base, "name": "d", "intervals": "bates", "estimator": "mlp"},
        {**base, "name": "e", "estimator": "random-forest", "grid": [2]},
    ]
    bold = {"name": "bold", "series": "braid100", "measure": "series"}
    grey, pet = {"name": "grey", "maps": "GM"}, base["features"][0]
    models += [
        {
            **base,
            "name": "g",
            "kind": "ordinal",
            "classes": ["1", "2", "3"],
            "fusion": ["mcca"],
            "features": [pet, grey],
        },
        {**base, "name": "h", "estimator": "conv3d"},
        {**base, "name": "i", "features": [bold]},
        {
            **base,
            "name": "j",
            "features": [bold],
            "estimator": "lstm",
            "confounds": ["age"],
            "fusion": ["early"],
        },
        {**base, "name": "k", "features": [grey], "visits": {"use": "change"}},
        {**base, "name": "l", "rows": "visit", "visits": {"use": "change"}},
        {**base, "name": "n", "features": [{**pet, "name": "fused"}]},
        {**base, "name": "o", "kind": "survival", "event": "died", "lockbox": 0.2, "profile": "confirmatory"},
        {**base, "name": "p", "estimator": "kernel-sum", "save": True},
    ]
    with pytest.raises(InputErrors) as caught:
        check_config({"prediction": {"models": models}}, SCHEMA)
    text = str(caught.value)
    assert text.startswith("15 problems")
    for part in ("(a).event", "(b).classes", "(c).estimator", "(d).intervals", "(e).grid", "(g).fusion (mcca)", "(h).features",
                 "(i).measure of bold", "(j).confounds", "(j).fusion", "(k).visits", "(l).rows", "(n).features", "(o) kind",
                 "(p) estimator"):  # fmt: skip
        assert f"prediction.models {part}" in text, part
    check_config(
        {"prediction": {"models": [{**base, "name": "f", "kind": "survival", "event": "died"}]}}, SCHEMA
    )


def test_schema_and_package_name_the_same_choices():
    import yaml

    from neurobraid.prediction import declared
    from neurobraid.prediction.harmonize import METHODS
    from neurobraid.prediction.kinds import PRIMARY
    from neurobraid.prediction.model import ALL_GRIDS, DEFAULTS

    keys = yaml.safe_load(SCHEMA.read_text())["properties"]["prediction"]["properties"]["models"]["items"][
        "properties"
    ]
    assert keys["estimator"]["enum"] == list(declared.ALLOWED)
    assert set(declared.ALLOWED) == set(ALL_GRIDS)
    assert keys["kind"]["enum"] == list(PRIMARY)
    assert keys["fusion"]["items"]["enum"] == list(declared.FUSIONS)
    assert keys["kernels"]["items"]["enum"] == list(declared.KERNELS)
    assert keys["harmonize"]["properties"]["method"]["enum"] == list(METHODS)
    for key in ("event", "kernels", "intervals", "estimator", "kind", "fusion"):
        assert keys[key]["default"] == DEFAULTS[key], key


def test_every_key_of_the_schema_is_text():
    """YAML reads ``null``, ``yes`` or ``on`` as values, which no script could take as a keyword."""
    import yaml

    def walk(schema):
        for key, inner in schema.get("properties", {}).items():
            assert isinstance(key, str), (key, inner)
            walk(inner)
        walk(schema["items"]) if "items" in schema else None

    walk(yaml.safe_load(SCHEMA.read_text()))


def test_config_given_is_not_changed():
    given = {"anat": {}}
    check_config(given, SCHEMA)
    assert given == {"anat": {}}


def test_numbers_of_the_command_line_are_numbers_and_names_stay_text():
    given = {
        "connectivity": {"min_coverage": "0.4", "band_hz": ["0.02", "0.1"]}, "bold": {"fd_threshold_mm": "0.3"},
        "activation": {"group": {"min_participants": "4"}}, "fusion": {"coupling": {"enabled": "false"}},
        "index": {"participants": ["01"]},
    }  # fmt: skip
    config = check_config(given, SCHEMA)
    assert config["connectivity"]["min_coverage"] == 0.4 and config["connectivity"]["band_hz"] == [0.02, 0.1]
    assert config["activation"]["group"]["min_participants"] == 4
    assert config["fusion"]["coupling"]["enabled"] is False and config["index"]["participants"] == ["01"]
    for wrong in (
        {"bold": {"fd_threshold_mm": "much"}},
        {"activation": {"group": {"min_participants": "2.5"}}},
    ):
        with pytest.raises(InputErrors):
            check_config(wrong, SCHEMA)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"lockbox": 0.2}, ["lockbox is 0.2", "profile: confirmatory"]),
        ({"open_lockbox": True, "profile": "confirmatory"}, ["true without a lockbox"]),
        ({"lockbox": 0.9, "profile": "confirmatory"}, ["prediction.models.0.lockbox", "0.9"]),
    ],
)
def test_a_lockbox_without_a_plan_stops_before_work(changes, parts):
    model = {"name": "m", "target": "t", "features": [{"name": "pet", "modality": ["pet"]}], **changes}
    with pytest.raises(InputErrors) as caught:
        check_config({"prediction": {"models": [model]}}, SCHEMA)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_models_that_cannot_be_kept_are_named_before_work():
    from neurobraid.errors import ProblemList
    from neurobraid.prediction import final
    from neurobraid.study import KEPT_KINDS, _check_kept_models

    assert KEPT_KINDS == final.KINDS
    problems = ProblemList()
    record = {
        "name": "m",
        "save": True,
        "open_lockbox": False,
        "lockbox": 0,
        "profile": "exploratory",
        "fusion": ["late"],
    }
    record |= {"features": [1, 2], "estimator": "random-forest", "kind": "survival"}
    _check_kept_models([record, {**record, "save": False}], problems)
    assert [p.field for p in problems.errors] == [
        "prediction.models (m) estimator",
        "prediction.models (m) kind",
    ]
