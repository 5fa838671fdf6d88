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
