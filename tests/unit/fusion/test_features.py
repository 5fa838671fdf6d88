"""Feature tables of further modalities: declared, checked before any work, joined by label."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputErrors
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.fusion import features
from neurobraid.fusion.table import write_fusion

PEOPLE = ["sub-01", "sub-02", "sub-10"]
ATLAS = {"x": ["LH_a", "RH_a", "LH_b"]}
UNITS = {"alpha": {"Description": "Relative alpha power", "Units": "1"}}


def declare(folder, name, table, **schema):
    path = folder / f"{name}.tsv"
    write_tsv(pd.DataFrame(table), path)
    write_json({"Regions": "brain", "Measures": UNITS} | schema, path.with_suffix(".json"))
    return {"path": str(path), "modality": name.split("_")[0]}


def found(records, people=PEOPLE, atlases=ATLAS):
    with pytest.raises(InputErrors) as caught:
        features.check_features(records, people, atlases)
    return [str(p) for p in caught.value.problems]


def test_three_forms_give_the_same_rows(tmp_path):
    long = {
        "participant_id": ["sub-02", "sub-02", "sub-01", "sub-01"],
        "channel": ["Cz", "Fz", "Fz", "Cz"],
        "measure": "alpha",
        "value": [4.0, 3.0, 1.0, 2.0],
    }
    wide = {"participant_id": ["01", "02"], "Fz": [1.0, 3.0], "Cz": [2.0, 4.0]}
    tables = [
        declare(tmp_path, "eeg", long, Regions=["Fz", "Cz"]),
        declare(tmp_path, "meg", wide, Regions=["Fz", "Cz"]),
    ]
    read = features.check_features(tables, PEOPLE, ATLAS)
    values = [t.set_index(["participant_id", "region"])["value"].sort_index() for _, t, _ in read]
    pd.testing.assert_series_equal(*values)
    assert values[0]["sub-02", "Cz"] == 4.0
    blood = declare(
        tmp_path, "blood", {"participant_id": ["sub-10"], "crp": [1.5]}, Measures={"crp": {"Units": "mg/L"}}
    )
    [(_, table, _)] = features.check_features([blood], PEOPLE, ATLAS)
    assert table.iloc[0][["region", "measure", "value", "unit"]].tolist() == ["brain", "crp", 1.5, "mg/L"]


def test_an_identifier_without_its_zeros_is_refused_with_the_likely_person(tmp_path):
    record = declare(tmp_path, "eeg", {"participant_id": ["1", "sub-02", "10", "sub-77"], "alpha": 1.0})
    problems = found([record])
    assert len(problems) == 1 and "1 (meant: sub-01?)" in problems[0] and "zeros" in problems[0]
    # where labels have no zeros, 1 is a label like any other
    assert features.person_of("1", {"sub-1"}) == ("sub-1", "")
    assert features.person_of("1", {"sub-01", "sub-001"}) == (None, "")


def test_two_forms_of_one_person_are_a_doubled_row(tmp_path):
    record = declare(
        tmp_path, "eeg", {"participant_id": ["01", "sub-01", "sub-02"], "alpha": [1.0, 2.0, 3.0]}
    )
    assert any("sub-01, no session, brain, alpha twice" in p for p in found([record]))


def test_all_problems_come_at_once(tmp_path):
    thickness = declare(
        tmp_path,
        "dwi",
        {
            "participant_id": PEOPLE,
            "region": ["LH_a", "RH_a", "LH_bb"],
            "measure": "fa",
            "value": [0.1, np.inf, 0.3],
        },
        Regions="atlas",
        Atlas="x",
        Measures={"fa": {"Units": "1"}},
    )
    unit = declare(tmp_path, "eeg_1", {"participant_id": PEOPLE[:2], "alpha": 1.0})
    other = declare(
        tmp_path, "eeg_2", {"participant_id": PEOPLE[1:], "alpha": 1.0}, Measures={"alpha": {"Units": "uV^2"}}
    )
    undeclared = declare(tmp_path, "ct", {"participant_id": PEOPLE, "alpha": 1.0}, Measures={"alpha": {}})
    gone = {"path": str(tmp_path / "gone.tsv"), "modality": "meg"}
    taken = declare(tmp_path, "pet", {"participant_id": PEOPLE, "alpha": 1.0})
    text = "\n".join(found([thickness, unit, other, undeclared, gone, taken]))
    for part in (
        "inf of sub-02, RH_a, fa",
        "LH_bb",
        "did you mean LH_b?",
        "unit of eeg alpha is uV^2; allowed: 1, as in eeg_1.tsv",
        "sub-02, brain, alpha also in eeg_1.tsv",
        "Measures.alpha.Units",
        "gone.tsv: file is missing",
        "fusion.features.modality is pet",
    ):
        assert part in text, part


def test_a_table_without_json_or_with_nobody_is_refused(tmp_path):
    lone = declare(tmp_path, "eeg", {"participant_id": ["sub-01"], "alpha": 1.0})
    features.sidecar_of(lone["path"]).unlink()
    assert "JSON" in found([lone])[0]
    strangers = declare(tmp_path, "meg", {"participant_id": ["sub-x"], "alpha": 1.0})
    assert "nobody of the study" in found([strangers])[0]
    words = declare(tmp_path, "ct", {"participant_id": ["sub-01"], "alpha": ["high"]})
    assert "value is high" in found([words])[0]
    atlas = declare(tmp_path, "dwi", {"participant_id": ["sub-01"], "LH_a": 1.0}, Regions="atlas", Atlas="y")
    assert "Atlas is y; allowed: x" in found([atlas])[0]


def test_rows_join_the_tidy_table_and_its_wide_view(tmp_path):
    atlas = tmp_path / "tpl-m_atlas-x_dseg.tsv"
    write_tsv(pd.DataFrame({"index": [1, 2, 3], "name": ATLAS["x"]}), atlas)
    records = [
        declare(tmp_path, "eeg", {"participant_id": PEOPLE, "Fz": [1.0, np.nan, 3.0]}, Regions=["Fz"]),
        declare(
            tmp_path,
            "dwi",
            {"participant_id": ["sub-01", "sub-02"], "session_id": ["ses-1", "2"], "RH_a": [0.5, 0.4]},
            Regions="atlas",
            Atlas="x",
            Measures={"fa": {"Description": "Fractional anisotropy", "Units": "1"}},
        ),
        declare(tmp_path, "ct", {"participant_id": PEOPLE, "Q": 1.0}, Regions="atlas", Atlas="other",
                Measures={"hu": {"Units": "HU"}}),
    ]  # fmt: skip
    names = ("features", "schema", "wide", "wide_json", "availability", "availability_json")
    out = {n: tmp_path / f"{n}.{'json' if 'json' in n or n == 'schema' else 'tsv'}" for n in names}
    write_fusion(atlas, PEOPLE, out, records=records)
    table = read_tsv(out["features"], text=("unit",))
    assert set(table["modality"]) == {"eeg", "dwi"}
    assert set(table["source"]) == {"dwi.tsv", "eeg.tsv"}
    schema = read_json(out["schema"])
    assert schema["Measures"]["dwi fa"] == {"Description": "Fractional anisotropy", "Units": "1"}
    assert schema["Channels"] == {"eeg": ["Fz"]}
    wide = read_tsv(out["wide"], index="participant_id")
    assert list(wide.columns) == ["session_id", "dwi fa RH_a", "eeg alpha Fz"]
    assert wide.loc[["sub-02"], "dwi fa RH_a"].dropna().tolist() == [0.4]
    assert "ses-2" in wide.loc[["sub-02"], "session_id"].tolist()
    seen = read_tsv(out["availability"]).set_index(["participant_id", "modality"])["available"]
    assert seen["sub-01", "eeg"] == "yes" and seen["sub-02", "eeg"] == "no" and seen["sub-01", "pet"] == "no"
