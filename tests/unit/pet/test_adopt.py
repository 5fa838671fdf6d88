"""Curves that another program made, as the workflow takes them over: planted values, words, refusals."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.pet import adopt, inputfunction

START = np.array([0.0, 60, 120, 300, 600, 1200, 2400])
END = np.array([60.0, 120, 300, 600, 1200, 2400, 3600])
NAMES = ["ctx-lh-a", "ctx-rh-a", "Left-Cerebellum-Cortex", "Right-Cerebellum-Cortex", "Brain-Stem"]
LEVEL = np.array([0.1, 4, 8, 7, 6, 5, 4])
SIDE = {
    "Units": "Bq/mL", "TracerRadionuclide": "C11", "TracerName": "MC1", "InjectionStart": 0, "ImageDecayCorrected": True,
    "ImageDecayCorrectionTime": 0, "InjectedRadioactivity": 400, "InjectedRadioactivityUnits": "MBq",
    "FrameTimesStart": START.tolist(), "FrameDuration": (END - START).tolist(),
}  # fmt: skip
KEYS = (
    "frames",
    "frames_json",
    "tacs",
    "tacs_json",
    "morph",
    "weights",
    "reference",
    "reference_json",
    "qc",
    "curves_qc",
)


def table(**changes):
    curves = {name: 1000 * scale * LEVEL for name, scale in zip(NAMES, (2, 4, 1, 2, 1.5), strict=True)}
    return pd.DataFrame({"frame_start": START, "frame_end": END, **curves, **changes})


def run(home, rows=None, fields=None, volumes=(1.0, 3, 1, 3, 2), **options):
    home.mkdir(exist_ok=True)
    path, side = home / "sub-01/pet/sub-01_seg-gtm_desc-preproc_tacs.tsv", home / "sub-01_pet.json"
    write_tsv(table() if rows is None else rows, path)
    write_json({**SIDE, **(fields or {})}, side)
    morph = home / "sub-01/anat/sub-01_seg-gtm_morph.tsv"
    write_tsv(pd.DataFrame({"name": NAMES, "volume-mm3": volumes}), morph)
    people = home / "participants.tsv"
    write_tsv(pd.DataFrame({"participant_id": ["sub-01"], "weight": [80.0]}), people)
    out = {key: home / f"out_{key}.{'json' if key.endswith(('json', 'qc')) else 'tsv'}" for key in KEYS}
    adopt.adopt(
        [path, morph], [side], out, visit="sub-01", scan="sub-01", segmentation="gtm", participants=[people], **options
    )  # fmt: skip
    return out


def test_everything_that_later_steps_read_is_there_in_our_units(tmp_path):
    groups = [{"name": "cortex", "regions": ["ctx-*"]}]
    out = run(tmp_path, groups=groups, program="PETPrep 0.0.3")
    curves = read_tsv(out["tacs"])
    assert curves["cortex"].to_numpy() == pytest.approx((2 * 1 + 4 * 3) / 4 * LEVEL)
    reference = read_tsv(out["reference"])["reference"].to_numpy()
    assert reference == pytest.approx((1 * 1 + 2 * 3) / 4 * LEVEL)
    notes = read_json(out["reference_json"])
    assert notes["ReferenceRegions"] == NAMES[2:4] and notes["VolumeMm3"] == 4.0
    morph = read_tsv(out["morph"]).set_index("name")
    assert morph.loc["cortex", "volume_mm3"] == 4 and morph.loc["ctx-lh-a", "hemisphere"] == "L"
    frames = read_json(out["frames_json"])
    assert frames["HalfLifeMin"] == pytest.approx(20.364) and frames["InjectedRadioactivityMBq"] == 400
    assert frames["TracerName"] == "MC1" and frames["BodyWeightKg"] == 80
    qc = read_json(out["qc"])
    brain = np.average((2 * 1 + 4 * 3 + 1 * 1 + 2 * 3 + 1.5 * 2) / 10 * LEVEL, weights=END - START)
    assert qc["brain_suv_mean"] == pytest.approx(brain * 80 / 400)
    assert qc["preprocessed_by"] == "PETPrep 0.0.3" and qc["warnings"] == [] and qc["frames"] == 7
    measured = read_json(out["curves_qc"])
    assert measured["asymmetry_max"] == pytest.approx(2 / 3) and measured["reference_volume_mm3"] == 4


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (["cerebellum"], [2, 3]),
        (["wholecerebellum"], [2, 3]),
        (["Brain-Stem"], [4]),
        (["ctx-*"], [0, 1]),
        (["brain-stem", "left-*"], [2, 4]),
        (["pons"], []),
        (["ctx-*", "nothing"], []),
    ],
)
def test_words_and_patterns_of_the_reference(wanted, rows):
    assert adopt.reference_rows(NAMES, wanted) == rows


def test_reference_that_is_not_there_or_out_of_the_field_of_view(tmp_path):
    with pytest.raises(InputError, match=r"no region pons"):
        run(tmp_path, reference=["pons"])
    rows = table()
    rows.loc[3:, "Right-Cerebellum-Cortex"] = np.nan
    with pytest.raises(InputError, match="outside the field of view"):
        run(tmp_path, rows)


def test_region_without_a_voxel_has_no_coverage_and_hurts_nobody(tmp_path):
    out = run(tmp_path, table(**{"Brain-Stem": np.nan}))
    assert read_tsv(out["morph"]).set_index("name")["coverage"].to_dict()["Brain-Stem"] == 0
    assert read_json(out["curves_qc"])["regions_without_curve"] == 1
    assert read_tsv(out["weights"])["brain"].notna().all()


def test_lost_and_negative_frames_are_told(tmp_path):
    rows = table()
    rows.loc[4, NAMES] = 0.0
    assert "empty" in " ".join(read_json(run(tmp_path, rows)["qc"])["warnings"])
    rows.loc[4, NAMES] = -3000.0
    assert "negative" in " ".join(read_json(run(tmp_path, rows)["qc"])["warnings"])


def test_a_dose_that_cannot_be_right_gives_no_suv(tmp_path):
    out = run(tmp_path, fields={"InjectedRadioactivity": 400000, "InjectedRadioactivityUnits": "Bq"})
    qc, frames = read_json(out["qc"]), read_json(out["frames_json"])
    assert "likely kBq" in qc["warnings"][0] and not isinstance(qc["brain_suv_mean"], float)
    assert (
        not isinstance(frames["InjectedRadioactivityMBq"], float)
        and "kBq" in frames["InjectedRadioactivityDoubt"]
    )


def test_late_frames_are_left_out_on_request(tmp_path):
    out = run(tmp_path, end_min=40)
    assert read_tsv(out["frames"])["frame_end_s"].max() == 2400 and len(read_tsv(out["tacs"])) == 6
    assert "1 frames after 40 min left out" in " ".join(read_json(out["qc"])["notes"])
    with pytest.raises(InputError, match=r"frames until 0\.5 min"):
        run(tmp_path, end_min=0.5)


def test_curves_corrected_to_scan_start_are_referred_to_injection(tmp_path):
    out = run(tmp_path, fields={"ImageDecayCorrectionTime": 20.364 * 60})
    assert read_tsv(out["tacs"])["Brain-Stem"].to_numpy() == pytest.approx(2 * 1.5 * LEVEL)


def test_unknown_tracer_where_the_reference_is_automatic(tmp_path):
    with pytest.raises(InputError, match="TracerName"):
        run(tmp_path, fields={"TracerName": "nonsense-17"}, reference=["auto"])


def test_one_scan_of_petfit(tmp_path):
    rows = []
    for sub, scale in (("01", 1.0), ("02", 2.0)):
        for region in ("cortex", "cerebellum"):
            for start, end, value in zip(START, END, scale * LEVEL, strict=True):
                rows.append(
                    {"sub": sub, "segmentation": "seg-gtm", "pet": f"sub-{sub}", "region": region, "volume_mm3": 1.0,
                     "frame_start": start, "frame_end": end, "TAC": value}
                )  # fmt: skip
    path = tmp_path / "desc-combinedregions_tacs.tsv"
    write_tsv(pd.DataFrame(rows), path)
    curves, _ = adopt.read_curves([path], [], {"sub": "02"}, "gtm", nuclide="F18")
    assert curves.values[0] == pytest.approx(2 * LEVEL) and curves.frames.half_life_min == 109.77
    with pytest.raises(InputError, match="sub-03"):
        adopt.read_curves([path], [], {"sub": "03"}, "gtm")


def test_input_function_of_bloodstream_is_taken_over(tmp_path):
    path = tmp_path / "sub-01_inputfunction.tsv"
    rows = {"time": [0.0, 1, 2], "AIF": [0.0, 2000, 1000], "whole_blood_radioactivity": [0.0, 1000, 500]}
    write_tsv(pd.DataFrame(rows), path)
    unit = {"Units": "Bq"}
    write_json(
        {"time": {"Units": "min"}, "AIF": unit, "whole_blood_radioactivity": unit}, path.with_suffix(".json")
    )
    out = {"inputfunction": tmp_path / "o.tsv", "inputfunction_json": tmp_path / "o.json"}
    inputfunction.write_scan([], [], [], None, None, None, out, participant="sub-01", given=[path])
    table_ = read_tsv(out["inputfunction"])
    assert table_["time"].tolist() == [0, 60, 120] and table_["AIF"].tolist() == [0, 2, 1]
    assert inputfunction.load_input(out["inputfunction"], out["inputfunction_json"])[1] == ""
