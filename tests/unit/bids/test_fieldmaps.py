"""Which field map serves which BOLD run, why a run has none, and what becomes of maps that nobody reads."""

import json

import pytest
from trees import SHAPE, TR, TREES, VOLUMES, tree, write_image, write_tree

from neurobraid.bids.check import FIELDMAP_UNITS, check_structure, validate
from neurobraid.bids.fieldmaps import (
    NO_FIELDMAP,
    choose_fieldmaps,
    find_fieldmaps,
    intended_path,
    missing_fieldmaps,
    obstacle,
    unused_reason,
)
from neurobraid.bids.pairing import build_index
from neurobraid.bids.table import build_scan_table, open_dataset
from neurobraid.bold import fieldmap as bold_fieldmap
from neurobraid.study import open_study

PHASE = {"EchoTime1": 0.00492, "EchoTime2": 0.00738}
RUN = {"RepetitionTime": TR, "TaskName": "rest", "PhaseEncodingDirection": "j", "TotalReadoutTime": 0.05}
BOLD = "sub-01/func/sub-01_task-rest_bold"


def small(*images, **files):
    """One participant without session with a T1w, one BOLD run, the images named, and JSON files by stem."""
    content = {f"{BOLD}.json": RUN}
    for stem, extra in files.items():
        name = f"sub-01_{stem}" if stem != "bold" else None
        path = f"sub-01/fmap/{name}.json" if name else f"{BOLD}.json"
        content[path] = extra if name else {**RUN, **extra}
    content = {path: {k: v for k, v in c.items() if v is not None} for path, c in content.items()}
    return {"participants": {"01": ["T1w", "task-rest_bold", *images]}, "files": content}


def only(root, **options):
    index = build_index(root, **options)
    assert len(index.fieldmaps) == 1
    return index.fieldmaps.iloc[0].to_dict()


def names(row):
    return [path.rpartition("_")[2].partition(".")[0] for path in row["paths"].split(";")]


INTENDED = {"IntendedFor": "func/sub-01_task-rest_bold.nii.gz"}


@pytest.mark.parametrize(
    "written",
    [
        "func/sub-01_task-rest_bold.nii.gz",
        ["func/sub-01_task-other_bold.nii.gz", "./func/sub-01_task-rest_bold.nii.gz"],
        "bids::sub-01/func/sub-01_task-rest_bold.nii.gz",
        ["sub-01/func/sub-01_task-rest_bold.nii"],
    ],
)
def test_intended_for_as_text_list_and_uri(tmp_path, written):
    spec = small("phasediff", "magnitude1", phasediff={**PHASE, "IntendedFor": written})
    row = only(write_tree(spec, tmp_path))
    assert (row["method"], names(row)) == ("phasediff", ["phasediff", "magnitude1"])
    # no space for `magnitude2.json` that does not exist; both own sidecars, least specific first
    assert row["sidecars"].split(";")[0] == "sub-01/fmap/sub-01_phasediff.json"


def test_a_uri_of_another_dataset_names_nothing():
    assert intended_path("bids:other:sub-01/func/x_bold.nii.gz", "sub-01") is None


@pytest.mark.parametrize("source", ["pepper", ["salt", "pepper"]])
@pytest.mark.parametrize("identifier", ["pepper", ["pepper", "thyme"]])
def test_identifier_counts_before_intended_for(tmp_path, source, identifier):
    spec = small(
        "run-1_phasediff", "run-1_magnitude1", "run-2_fieldmap", "run-2_magnitude",
        bold={"B0FieldSource": source},
        **{
            "run-1_phasediff": {**PHASE, **INTENDED},
            "run-2_fieldmap": {"Units": "Hz", "B0FieldIdentifier": identifier},
        },
    )  # fmt: skip
    row = only(write_tree(spec, tmp_path))
    assert (row["method"], names(row)) == ("direct", ["fieldmap", "magnitude"])
    assert row["reason"] == "B0FieldSource leads to sub-01_run-2"


def test_the_run_of_another_echo_is_the_same_run(tmp_path):
    spec = small(
        "phasediff",
        "magnitude1",
        phasediff={**PHASE, "IntendedFor": "func/sub-01_task-rest_echo-1_bold.nii.gz"},
    )
    spec["participants"]["01"] = [
        "T1w",
        *(f"task-rest_echo-{n}_bold" for n in (1, 2)),
        "phasediff",
        "magnitude1",
    ]
    del spec["files"][f"{BOLD}.json"]
    spec["files"]["task-rest_bold.json"] = RUN
    assert only(write_tree(spec, tmp_path))["method"] == "phasediff"


def test_a_row_of_several_echoes_takes_the_map_of_any_of_them(tmp_path):
    root = write_tree(TREES["phasediff"], tmp_path)
    index = build_index(root)
    records = find_fieldmaps(open_dataset(root), build_scan_table(root))
    scans = index.scans[index.scans["scan"].isin(["sub-01_ses-1_task-motor", "sub-02_task-rest"])].copy()
    bold = scans["suffix"] == "bold"
    scans.loc[bold, "path"] = ";".join(sorted(scans.loc[bold, "path"], reverse=True))
    chosen = choose_fieldmaps(records, scans)
    assert chosen["method"].tolist() == ["phasediff", "phasediff"]
    rest = "sub-01/ses-1/fmap/sub-01_ses-1_run-2_phasediff.nii.gz"
    assert "another field map was taken" in unused_reason(rest, chosen, records, scans, "auto")


def test_of_several_the_own_session_the_lowest_run_and_the_best_kind(tmp_path):
    images = ["run-2_phasediff", "run-10_phasediff", "run-2_fieldmap", "run-2_phase1", "run-2_phase2"]
    spec = {
        "participants": {"01/1": ["T1w", "task-rest_bold", *images], "01/2": ["T1w", "task-rest_bold", "run-1_phasediff"]},
        "files": {"bold.json": RUN},
    }  # fmt: skip
    both = [f"ses-{s}/func/sub-01_ses-{s}_task-rest_bold.nii.gz" for s in (1, 2)]
    for suffix in ("phasediff", "fieldmap", "phase1", "phase2"):
        spec["files"][f"{suffix}.json"] = {"IntendedFor": both}
    chosen = build_index(write_tree(spec, tmp_path)).fieldmaps.set_index("scan")
    first, second = chosen.loc["sub-01_ses-1_task-rest"], chosen.loc["sub-01_ses-2_task-rest"]
    assert first["paths"].endswith("ses-1_run-2_phasediff.nii.gz")
    assert first["reason"] == "IntendedFor leads to sub-01_ses-1_run-2, taken of 3"
    assert second["paths"].endswith("ses-2_run-1_phasediff.nii.gz")


def test_two_phase_images_and_their_four_files(tmp_path):
    images = ["phase1", "phase2", "magnitude1", "magnitude2"]
    spec = small(*images, phase1={"EchoTime": 0.005, **INTENDED}, phase2={"EchoTime": 0.0075})
    root = write_tree(spec, tmp_path)
    row = only(root)
    assert (row["method"], names(row)) == ("phase1phase2", images)
    files = build_index(root).files("bids")
    assert [f for f in files if "/fmap/" in f] and all(
        (root / f.removeprefix("bids/")).is_file() for f in files
    )
    assert "bids/sub-01/fmap/sub-01_phase2.json" in files


@pytest.mark.parametrize(
    ("images", "part"),
    [
        (["dir-PA_epi"], "opposite phase encoding (epi)"),
        (["phase1", "magnitude1"], "incomplete: only magnitude1, phase1"),
    ],
)
def test_unreadable_kinds_say_so(tmp_path, images, part):
    root = write_tree(small(*images, **{images[0]: INTENDED}), tmp_path)
    index = build_index(root)
    assert index.fieldmaps["method"].tolist() == ["none"] and part in index.fieldmaps["reason"].item()
    assert len(index.exclusions) == len(images)
    (warning,) = [p for p in check_structure(root).problems if p.field == "field map"]
    assert warning.level == "warning" and part in str(warning)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"TotalReadoutTime": None}, "neither TotalReadoutTime nor EffectiveEchoSpacing of the run is known"),
        ({"TotalReadoutTime": 45.0}, "TotalReadoutTime of the run is 45.0"),
        ({"PhaseEncodingDirection": None}, "PhaseEncodingDirection of the run is missing"),
        ({"PhaseEncodingDirection": "AP"}, "PhaseEncodingDirection of the run is 'AP'"),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "fieldmapless"])
def test_a_run_without_readout_time_or_direction(tmp_path, change, part, mode):
    root = write_tree(
        small("phasediff", "magnitude1", bold=change, phasediff={**PHASE, **INTENDED}), tmp_path
    )
    index = build_index(root, distortion=mode)
    assert index.fieldmaps["method"].item() == "none" and part in index.fieldmaps["reason"].item()
    (warning,) = [p for p in check_structure(root, distortion=mode).problems if p.field == "field map"]
    assert warning.level == "warning" and part in warning.found
    assert all("not used for sub-01_task-rest" in reason for reason in index.exclusions["reason"])


def test_echo_spacing_is_enough():
    assert obstacle({"PhaseEncodingDirection": "i-", "EffectiveEchoSpacing": 0.0005}) == ""
    assert "EffectiveEchoSpacing" in obstacle({"PhaseEncodingDirection": "i-", "EffectiveEchoSpacing": 0.5})


def test_what_the_config_asks_for(tmp_path):
    root = write_tree(TREES["phasediff"], tmp_path)
    methods = {}
    for mode in ("auto", "fieldmap", "fieldmapless", "none"):
        index = build_index(root, distortion=mode)
        methods[mode] = index.fieldmaps.set_index("scan")["method"].to_dict()
    mapped = {"sub-01_ses-1_task-motor": "phasediff", "sub-01_ses-1_task-rest": "phasediff"}
    bare = ("sub-02_task-motor", "sub-02_task-rest")
    assert methods["auto"] == methods["fieldmap"] == mapped | dict.fromkeys(bare, "none")
    assert methods["fieldmapless"] == mapped | dict.fromkeys(bare, "fieldmapless")
    assert set(methods["none"].values()) == {"none"}
    chosen = build_index(root).fieldmaps.set_index("scan")
    assert names(chosen.loc["sub-01_ses-1_task-motor"]) == ["phasediff", "magnitude1", "magnitude2"]
    assert "run-2_phasediff" in chosen.loc["sub-01_ses-1_task-rest", "paths"]
    assert chosen.loc["sub-02_task-rest", "reason"] == NO_FIELDMAP
    error = missing_fieldmaps(build_index(root, distortion="fieldmap").fieldmaps)
    assert "sub-02_task-motor (and 1 more) has none" in str(error)
    assert missing_fieldmaps(build_index(root, {"participants": ["01"]}).fieldmaps) is None


def test_used_images_are_no_exclusions_and_unused_ones_say_why(tmp_path):
    root = write_tree(TREES["phasediff"], tmp_path)
    assert not [p for p in build_index(root).exclusions["path"] if "/fmap/" in p]
    off = build_index(root, distortion="none").exclusions
    assert set(off.loc[off["path"].str.contains("/fmap/"), "reason"]) == {
        "bold.distortion is none: field maps are not used"
    }
    one = build_index(root, {"tasks": ["rest"]}).exclusions
    reasons = one[one["path"].str.contains("/fmap/")].set_index("path")["reason"]
    assert set(reasons) == {"it names no analysed BOLD run (B0FieldIdentifier, IntendedFor)"}
    assert len(reasons) == 3


def test_the_stored_index_keeps_field_maps(tmp_path, monkeypatch):
    from neurobraid.study import check_config

    schema = bold_fieldmap.__file__.split("/src/")[0] + "/workflow/schemas/config.schema.yaml"
    write_tree(TREES["phasediff"], tmp_path / "raw")
    (tmp_path / "study/config").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "study")
    config = check_config({"bids": "../raw"}, schema)
    first = open_study(config)
    assert first.has_fieldmap("sub-01_ses-1_task-rest") and not first.has_fieldmap("sub-02_task-rest")
    # nothing of the dataset is read again, not even its sidecars
    for path in (tmp_path / "raw").rglob("*.json"):
        path.write_text("{")
    again = open_study(config)
    assert again.index.tables() == first.index.tables()
    assert again.fieldmap("sub-01_ses-1_task-motor")["method"] == "phasediff"
    other = open_study(check_config({"bids": "../raw", "bold": {"distortion": "fieldmapless"}}, schema))
    assert other.fieldmap("sub-02_task-rest")["method"] == "fieldmapless"
    with pytest.raises(ValueError, match="a field map for every BOLD run"):
        open_study(check_config({"bids": "../raw", "bold": {"distortion": "fieldmap"}}, schema))
    built_in = open_study(check_config({}, schema))
    assert set(built_in.index.fieldmaps["method"]) == {"none"}
    assert len(built_in.index.fieldmaps) == len(built_in.scans_of("bold"))


# --- bad input ---------------------------------------------------------------------------------------------------


def problems(root):
    return [p for p in check_structure(root).problems if "fmap" in p.file or "fmap" in p.found]


def one(root, *parts, level="error"):
    (problem,) = problems(root)
    assert problem.level == level
    for part in parts:
        assert part in str(problem), str(problem)


@pytest.mark.parametrize(
    ("sidecar", "parts"),
    [
        ({"EchoTime1": 0.005}, ["sub-01_phasediff.json: EchoTime2 is missing"]),
        ({"EchoTime1": 0.005, "EchoTime2": 0.005}, ["EchoTime2 is 0.005, the same as the first echo"]),
        ({"EchoTime1": 0.005, "EchoTime2": 7.38}, ["EchoTime2 is 7.38", "divide by 1000"]),
        ({"EchoTime1": 0.005, "EchoTime2": "7 ms"}, ["EchoTime2 is '7 ms'"]),
    ],
)
def test_echo_times(tmp_path, sidecar, parts):
    one(write_tree(small("phasediff", "magnitude1", phasediff={**sidecar, **INTENDED}), tmp_path), *parts)


def test_missing_echo_times_may_stand_beside_the_magnitudes(tmp_path):
    spec = small(
        "phasediff", "magnitude1", "magnitude2", phasediff=INTENDED,
        magnitude1={"EchoTime": 0.00492}, magnitude2={"EchoTime": 0.00738},
    )  # fmt: skip
    assert problems(write_tree(spec, tmp_path)) == []


def test_echo_times_of_two_phase_images(tmp_path):
    spec = small("phase1", "phase2", "magnitude1", phase1={"EchoTime": 0.005, **INTENDED}, phase2={})
    one(write_tree(spec, tmp_path), "sub-01_phase2.json: EchoTime is missing")


@pytest.mark.parametrize("units", [None, "hertz", "ppm"])
def test_units_of_a_direct_map(tmp_path, units):
    root = write_tree(small("fieldmap", "magnitude", fieldmap={"Units": units, **INTENDED}), tmp_path)
    one(root, "Units is " + ("missing" if units is None else repr(units)), "Hz, rad/s, T")
    assert tuple(bold_fieldmap.UNITS) == FIELDMAP_UNITS


def test_magnitude_of_another_shape(tmp_path):
    root = write_tree(small("phasediff", "magnitude1", phasediff={**PHASE, **INTENDED}), tmp_path)
    write_image(root / "sub-01/fmap/sub-01_magnitude1.nii.gz", shape=(SHAPE[0] + 1, *SHAPE[1:]))
    one(root, "sub-01_magnitude1.nii.gz: dimensions is 6 x 6 x 7; allowed: 5 x 6 x 7")


def test_a_map_on_another_grid_than_the_run_is_fine(tmp_path):
    root = write_tree(small("phasediff", "magnitude1", phasediff={**PHASE, **INTENDED}), tmp_path)
    for suffix in ("phasediff", "magnitude1"):
        write_image(root / f"sub-01/fmap/sub-01_{suffix}.nii.gz", shape=(8, 9, 4))
    assert problems(root) == []


def test_four_dimensions(tmp_path):
    root = write_tree(small("fieldmap", fieldmap={"Units": "Hz", **INTENDED}), tmp_path)
    write_image(root / "sub-01/fmap/sub-01_fieldmap.nii.gz", shape=(*SHAPE, VOLUMES))
    one(root, "dimensions is 5 x 6 x 7 x 12; allowed: 3D")


def test_intended_for_a_run_that_is_not_there(tmp_path):
    wrong = {"IntendedFor": ["func/sub-01_task-rset_bold.nii.gz", INTENDED["IntendedFor"]]}
    root = write_tree(small("phasediff", "magnitude1", phasediff={**PHASE, **wrong}), tmp_path)
    one(root, "IntendedFor is func/sub-01_task-rset_bold.nii.gz", "did you mean", level="warning")
    assert only(root)["method"] == "phasediff"


def test_a_broken_sidecar_is_a_warning_and_the_run_stays_uncorrected(tmp_path):
    root = write_tree(small("phasediff", "magnitude1", phasediff={**PHASE, **INTENDED}), tmp_path)
    (root / "sub-01/fmap/sub-01_phasediff.json").write_text("{")
    one(root, "not valid JSON", level="warning")
    assert only(root)["method"] == "none"


def test_every_voxel_of_a_field_map_is_read(tmp_path):
    root = write_tree(small("phasediff", "magnitude1", phasediff={**PHASE, **INTENDED}), tmp_path)
    image = root / "sub-01/fmap/sub-01_phasediff.nii.gz"
    index = build_index(root)
    table, found = validate(root, index.scans, fieldmaps=index.fieldmaps)
    assert found.errors == [] and "sub-01/fmap/sub-01_phasediff.nii.gz" in set(table["file"])
    image.write_bytes(image.read_bytes()[:-40])
    _, found = validate(root, index.scans, fieldmaps=index.fieldmaps)
    assert [p.file for p in found.errors] == ["sub-01/fmap/sub-01_phasediff.nii.gz"]


def test_records_are_plain_text(tmp_path):
    root = write_tree(tree("phasediff"), tmp_path)
    records = find_fieldmaps(open_dataset(root), build_scan_table(root))
    assert json.loads(json.dumps(records)) == records
    assert all(isinstance(v, str) for record in records for v in record.values())
