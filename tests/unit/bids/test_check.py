"""Bad input: every case gives one clear error naming file, field, found, allowed and fix; good input gives none."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest
from trees import PET_SIDECAR, SHAPE, TR, TREES, VOLUMES, nifti_bytes, tree, write_image, write_tree

from neurobraid.bids.check import (
    ACTIVITY_UNITS,
    check_content,
    check_structure,
    image_errors,
    known_unit,
    read_header,
    validate,
)
from neurobraid.bids.pairing import build_index
from neurobraid.bids.table import build_scan_table
from neurobraid.errors import InputError, InputErrors
from neurobraid.pet import units as pet_units

BOLD = "sub-01/func/sub-01_task-motor_bold"
EVENTS = "sub-01/func/sub-01_task-motor_events.tsv"
PET = "sub-01/pet/sub-01_trc-RAC_pet"
T1W = "sub-01/anat/sub-01_T1w"
SERIES = (*SHAPE, VOLUMES)
LENGTH = VOLUMES * TR


@pytest.fixture
def root(tmp_path):
    return write_tree(TREES["no_sessions"], tmp_path / "bids")


def only(problems, *parts, level="error"):
    """The single problem, with these parts in its message."""
    assert len(problems.problems) == 1, [str(p) for p in problems.problems]
    problem = problems.problems[0]
    assert problem.level == level
    for field in ("file", "field", "found", "allowed", "fix"):
        assert getattr(problem, field), field
    for part in parts:
        assert part in str(problem)
    assert "/tmp" not in str(problem)
    return problem


def edit(root, sidecar, **changes):
    path = root / f"{sidecar}.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v != "DELETE"}))


def structure(root, **options):
    return check_structure(root, event_tasks=["motor"], **options)


def content(root, path, suffix="bold"):
    return image_errors(root, {"path": path, "suffix": suffix})


# --- good input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TREES)
def test_good_trees_have_no_problem(name, tmp_path):
    root = write_tree(TREES[name], tmp_path)
    assert structure(root, need_participants=True).errors == []
    scans = build_index(root).scans
    table, problems = validate(root, scans, event_tasks=["motor"], need_participants=True)
    assert problems.errors == []
    assert set(table["file"]) >= {path for joined in scans["path"] for path in joined.split(";")}


@pytest.mark.parametrize("folder", ["studyforrest-localizer", "studyforrest-localizer-small"])
def test_real_recordings_pass(real_data, folder):
    root = real_data / folder
    seen = []
    scans = build_index(root).scans
    table, problems = validate(
        root,
        scans,
        event_tasks=["objectcategories"],
        need_participants=True,
        progress=lambda *a: seen.append(a),
    )
    assert problems.problems == []
    assert list(table["level"]) == ["ok", "ok"]
    assert [s[:2] for s in seen] == [(1, 2), (2, 2)]


# --- the dataset ------------------------------------------------------------------------------------------------


def test_missing_dataset(tmp_path):
    only(check_structure(tmp_path / "nothing"), "nothing: dataset is missing", "ln -s")


def test_dataset_is_a_file(tmp_path):
    (tmp_path / "x.tar").write_text("")
    only(check_structure(tmp_path / "x.tar"), "dataset is a file")


def test_not_bids(tmp_path):
    (tmp_path / "sub-01").mkdir()
    only(
        check_structure(tmp_path),
        "dataset_description.json: file is missing (not a BIDS dataset)",
        '"BIDSVersion"',
    )


def test_folder_above_the_dataset(tmp_path):
    write_tree(TREES["one_participant"], tmp_path / "ds001")
    only(check_structure(tmp_path), "not a BIDS dataset", "/ds001, which has one")


def test_derivatives_instead_of_raw(root):
    (root / "dataset_description.json").write_text('{"Name": "x", "DatasetType": "derivative"}')
    only(check_structure(root), "DatasetType is derivative; allowed: raw", "point at the raw dataset")


def test_broken_description(root):
    (root / "dataset_description.json").write_text("{")
    only(check_structure(root), "dataset_description.json: content is not valid JSON")


def test_no_participants(tmp_path):
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    only(check_structure(tmp_path), "participants is no folder sub-*")


def test_nothing_to_analyse(tmp_path):
    root = write_tree({"participants": {"01": ["T2w"]}}, tmp_path)
    problems = check_structure(root)
    assert any("no T1w, BOLD or PET image" in str(p) for p in problems.errors)


def test_unknown_filter_is_reported_with_the_rest(root):
    edit(root, BOLD, RepetitionTime=1.0)
    problems = structure(root, options={"participants": ["1"]})
    assert [p.field for p in problems.errors] == ["index.participants", "RepetitionTime"]
    assert "did you mean '01'?" in problems.errors[0].fix


# --- participants.tsv -------------------------------------------------------------------------------------------

HEADER = ("participant_id", "age")
ROWS = [HEADER, ("sub-01", 30), ("sub-02", 31), ("sub-03", 32)]


def participants(tmp_path, rows):
    return write_tree(tree("no_sessions", participants_tsv=rows), tmp_path)


def test_row_without_data_is_a_warning_and_an_exclusion(tmp_path):
    root = participants(tmp_path, [*ROWS, ("sub-77", 40)])
    for needed in (True, False):
        only(structure(root, need_participants=needed), "participants.tsv: participant_id is sub-77, which has no data",
             level="warning")  # fmt: skip
    assert list(build_index(root).exclusions["participant_id"]) == ["sub-77"]


@pytest.mark.parametrize(("needed", "level"), [(True, "error"), (False, "warning")])
def test_data_without_row(tmp_path, needed, level):
    root = participants(tmp_path, ROWS[:-1])
    only(
        structure(root, need_participants=needed),
        "no row for the folder sub-03",
        "add a row sub-03",
        level=level,
    )


@pytest.mark.parametrize("written", ["sub-1", "01", "1"])
def test_01_is_not_1(tmp_path, written):
    root = participants(tmp_path, [HEADER, (written, 30), *ROWS[2:]])
    only(structure(root, need_participants=True), f"participant_id is {written};", "did you mean sub-01?")


def test_folders_that_differ_only_by_zeros(tmp_path):
    root = write_tree({"participants": {"1": ["T1w"], "01": ["T1w"]}}, tmp_path)
    only(check_structure(root), "sub-", "beside sub-", level="warning")


def test_doubled_row_and_ragged_line(tmp_path):
    root = participants(tmp_path, [*ROWS, ("sub-03", 33), ("sub-02",)])
    found = [str(p) for p in structure(root, need_participants=True).errors]
    assert any("sub-03 twice" in text for text in found)
    assert any("line 6 is 1 cells; allowed: 2 cells" in text for text in found)


def test_participants_with_commas(tmp_path):
    root = participants(tmp_path, "participant_id,age\nsub-01,30\n")
    only(structure(root, need_participants=True), "columns is commas", "tab-separated")


@pytest.mark.parametrize(("needed", "level"), [(True, "error"), (False, "warning")])
def test_no_participants_table(tmp_path, needed, level):
    root = participants(tmp_path, None)
    only(structure(root, need_participants=needed), "participants.tsv: file is missing", level=level)


# --- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "sub-02_task-rest_bold.nii.gz",
            ["sub-02; allowed: sub-01 (its folder)", "sub-01_task-rest_bold.nii.gz"],
        ),
        ("sub-1_task-x_bold.nii.gz", ["file name is sub-1;", "rename it to sub-01_task-x_bold.nii.gz"]),
        ("sub-01_run-1_task-x_bold.nii.gz", ["out of order", "rename to sub-01_task-x_run-1_bold.nii.gz"]),
        ("sub-01_task-x_bold_old.nii.gz", ["'bold'", ".bidsignore"]),
        ("sub-01_bold.nii.gz", ["no task entity", "task-rest"]),
        ("sub-01_task-x_space-T1w_bold.nii.gz", ["derivative"]),
    ],
)
def test_wrong_names(root, name, parts):
    write_image(root / "sub-01/func" / name, shape=SERIES)
    problems = structure(root)
    # some of these names are also read as scans, and have their own problems
    problems.problems = [p for p in problems.problems if p.field == "file name"]
    only(problems, "sub-01/func/" + name, *parts)


def test_image_in_the_wrong_folder(root):
    write_image(root / "sub-01/anat/sub-01_task-x_bold.nii.gz", shape=SERIES)
    only(structure(root), "folder is anat; allowed: func", level="warning")


# --- images -----------------------------------------------------------------------------------------------------


def test_3d_bold(root):
    write_image(root / f"{BOLD}.nii.gz", shape=SHAPE)
    only(
        structure(root),
        f"{BOLD}.nii.gz: dimensions is 3D (5 x 6 x 7)",
        "4D with two or more volumes",
        "_sbref",
    )


def test_one_volume_bold(root):
    write_image(root / f"{BOLD}.nii.gz", shape=(*SHAPE, 1))
    problems = structure(root)
    assert problems.errors[0].found == "one volume (5 x 6 x 7 x 1)"


def test_4d_t1w(root):
    write_image(root / f"{T1W}.nii.gz", shape=(*SHAPE, 3))
    only(structure(root), f"{T1W}.nii.gz: dimensions is 5 x 6 x 7 x 3; allowed: 3D")
    write_image(root / f"{T1W}.nii.gz", shape=(*SHAPE, 1))
    assert structure(root).problems == []


def test_zero_voxel_size(root):
    write_image(root / f"{T1W}.nii.gz", zooms=(1.0, 0.0, 1.0))
    only(structure(root), "voxel size along j is 0 mm")


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda p: p.write_bytes(b""), "empty (0 bytes)"),
        (
            lambda p: p.write_bytes(b"not an image at all" * 50),
            "damaged at its beginning (Not a gzipped file",
        ),
        (lambda p: p.write_bytes(gzip.compress(b"short")), "not a NIfTI image ("),
        (lambda p: p.write_bytes(gzip.compress(bytes(1000))), "not a NIfTI image ("),
        (lambda p: p.write_bytes(p.read_bytes()[:40]), "damaged at its beginning (Compressed file ended"),
        (lambda p: (p.unlink(), p.symlink_to(".git/annex/objects/gone")), "a broken link"),
    ],
)
def test_files_that_are_no_images(root, make, found):
    make(root / f"{BOLD}.nii.gz")
    problem = only(structure(root), f"{BOLD}.nii.gz: file is {found}")
    # the second depth says the same once
    _, problems = validate(root, build_index(root).scans, event_tasks=["motor"])
    assert [str(p) for p in problems.errors] == [str(problem)]


def test_missing_image_is_not_in_the_table_but_named_when_it_vanishes(root):
    scans = build_scan_table(root)
    (root / f"{BOLD}.nii.gz").unlink()
    only(structure(root, scans=scans), "file is missing", "datalad get")


# --- repetition time --------------------------------------------------------------------------------------------


def test_tr_disagreement(root):
    edit(root, BOLD, RepetitionTime=2.5)
    only(structure(root), f"{BOLD}.json: RepetitionTime is 2.5 s in the sidecar and 2 s in the header of",
         "the same within 1 ms", "scanner protocol")  # fmt: skip


@pytest.mark.parametrize(("tr", "count"), [(2.0009, 0), (2.0011, 1), (1.9989, 1)])
def test_tr_tolerance_is_a_millisecond(root, tr, count):
    edit(root, BOLD, RepetitionTime=tr)
    assert len(structure(root).errors) == count
    assert structure(root, options={"tr_tolerance_s": 0.01}).errors == []


@pytest.mark.parametrize(("unit", "value"), [("msec", 2000.0), ("usec", 2e6), ("sec", 2.0), ("unknown", 2.0)])
def test_header_units_of_time(root, unit, value):
    write_image(root / f"{BOLD}.nii.gz", shape=SERIES, tr=value, unit=unit)
    assert structure(root).problems == []
    assert read_header(root / f"{BOLD}.nii.gz")["tr"] == pytest.approx(2.0)


def test_header_without_tr_is_no_disagreement(root):
    write_image(root / f"{BOLD}.nii.gz", shape=SERIES, tr=0.0)
    assert structure(root).problems == []


def test_unset_unit_is_said(root):
    write_image(root / f"{BOLD}.nii.gz", shape=SERIES, tr=2000.0, unit="unknown")
    only(structure(root), "2000 s in the header", "whose time unit is not set")


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("DELETE", ["RepetitionTime is missing", 'add "RepetitionTime": 2']),
        (2000, ["RepetitionTime is 2000", "write 2: the unit is seconds"]),
        ("2.0", ["RepetitionTime is '2.0'"]),
        (0, ["RepetitionTime is 0"]),
        (True, ["RepetitionTime is True"]),
    ],
)
def test_tr_in_the_sidecar(root, value, parts):
    edit(root, BOLD, RepetitionTime=value)
    only(structure(root), f"{BOLD}.json", *parts)


def test_no_sidecar_at_all_names_the_file_to_write(root):
    (root / f"{BOLD}.json").unlink()
    only(structure(root), f"{BOLD}.json: RepetitionTime is missing")


def test_inherited_value_is_blamed_on_the_file_it_stands_in(tmp_path):
    root = write_tree(TREES["inherited"], tmp_path)
    (root / "bold.json").write_text('{"RepetitionTime": 3.0}')
    found = structure(root).errors
    assert {p.file for p in found} == {"bold.json"}
    assert len(found) == 4


def test_same_folder_contradiction_is_a_warning(tmp_path):
    root = write_tree(
        tree(
            "inherited",
            files={**TREES["inherited"]["files"], "bold.json": {"TaskName": "x", "RepetitionTime": 2.0}},
        ),
        tmp_path,
    )
    problems = structure(root)
    assert problems.errors == []
    assert any("TaskName is 'motor' here and 'x' in bold.json" in str(p) for p in problems.warnings)


def test_broken_json_is_one_error_beside_the_others(root):
    (root / f"{PET}.json").write_text('{"Units": "Bq/mL"')
    edit(root, BOLD, RepetitionTime=9.0)
    texts = [str(p) for p in structure(root).errors]
    assert any(f"{PET}.json: content is not valid JSON" in t for t in texts)
    assert any("RepetitionTime is 9 s" in t for t in texts)


@pytest.mark.parametrize(
    ("timing", "found"),
    [
        ([0.0, 0.5], "2 times for 7 slices"),
        ([0, 285, 570, 855, 1140, 1425, 1710], "0 to 1710"),
        ([0, 0.3, 0.6, 0.9, 1.2, 1.5, 2.3], "0 to 2.3"),
        (0.3, "not a list of numbers"),
    ],
)
def test_slice_timing(root, timing, found):
    edit(root, BOLD, SliceTiming=timing)
    only(structure(root), f"SliceTiming is {found}")


def test_good_slice_timing(root):
    edit(root, BOLD, SliceTiming=[i * 2 / 7 for i in range(7)])
    assert structure(root).problems == []
    edit(root, BOLD, SliceTiming=[0.0, 0.3, 0.6, 0.9, 1.2], SliceEncodingDirection="i-")
    assert structure(root).problems == []


# --- events -----------------------------------------------------------------------------------------------------


def write_events(root, text):
    (root / EVENTS).write_text(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "onset\tduration\n1\t1\n",
            ["columns is onset, duration (missing trial_type)", "add the column trial_type"],
        ),
        ("Onset\tduration\ttrial_type\n1\t1\ta\n", ["missing onset", "rename the column Onset"]),
        ("onset,duration,trial_type\n1,1,a\n", ["separate the columns by tabs"]),
        ("", ["columns is none"]),
        ("onset\tduration\ttrial_type\n", ["rows is no event"]),
        ("onset\tduration\ttrial_type\n-3\t1\ta\n2\t1\ta\n", ["onset is -3 s in line 2;", ">= 0 s"]),
        ("onset\tduration\ttrial_type\n1\t-1\ta\n", ["duration is -1 s in line 2"]),
        ("onset\tduration\ttrial_type\n1\tn/a\ta\nx\t1\ta\n", None),
        (
            "onset\tduration\ttrial_type\n1\t1\ta\n99\t1\ta\n",
            [f"onset is up to 99 s in line 3; allowed: below {LENGTH:g} s"],
        ),
        (f"onset\tduration\ttrial_type\n{LENGTH:g}\t0\ta\n", [f"up to {LENGTH:g} s in line 2"]),
        ("onset\tduration\ttrial_type\n12028\t1\ta\n", ["divide by 1000: the unit is seconds"]),
        ("onset\tduration\ttrial_type\n1\t1\n", ["another number of cells in line 2"]),
    ],
)
def test_events(root, text, parts):
    write_events(root, text)
    problems = structure(root)
    if parts is None:
        assert [(p.field, p.found) for p in problems.errors] == [
            ("onset", "not a number in line 3"),
            ("duration", "not a number in line 2"),
        ]
    else:
        only(problems, EVENTS, *parts)


def test_many_wrong_lines_are_one_problem(root):
    write_events(root, "onset\tduration\ttrial_type\n" + "-1\t1\ta\n" * 8)
    only(structure(root), "-1 s in lines 2, 3, 4, 5, 6, ... (8 lines)")


def test_event_that_outlasts_the_scan_is_a_warning(root):
    write_events(root, f"onset\tduration\ttrial_type\n{LENGTH - 1:g}\t30\ta\n")
    only(structure(root), f"an event until {LENGTH + 29:g} s", f"end by {LENGTH:g} s", level="warning")


def test_events_missing_for_a_modelled_task(root):
    (root / EVENTS).unlink()
    only(structure(root), f"{EVENTS}: file is missing", "take task motor out of activation.tasks")
    assert check_structure(root).problems == []


def test_windows_line_ends_and_byte_order_mark(root):
    (root / EVENTS).write_bytes(b"\xef\xbb\xbfonset\tduration\ttrial_type\r\n1.5\t2\tleft\r\n")
    assert structure(root).problems == []


# --- PET --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"FrameTimesStart": "DELETE"}, ["FrameTimesStart is missing", "one number per frame"]),
        ({"FrameDuration": "DELETE"}, ["FrameDuration is missing"]),
        ({"Units": "counts"}, ["Units is 'counts'", "Bq/mL", "never guessed"]),
        ({"Units": "mBq/mL"}, ["Units is 'mBq/mL'"]),
        ({"Units": "DELETE"}, ["Units is missing"]),
        ({"TracerRadionuclide": "n/a"}, ["TracerRadionuclide is missing"]),
        ({"InjectionStart": "DELETE"}, ["InjectionStart is missing", "0 when TimeZero is the injection"]),
        ({"ImageDecayCorrected": "true"}, ["ImageDecayCorrected is 'true'"]),
        ({"ImageDecayCorrectionTime": "DELETE"}, ["ImageDecayCorrectionTime is missing"]),
        (
            {"FrameTimesStart": [0, 60, 110, 240]},
            ["FrameTimesStart is frame 2 until 120 s overlapping frame 3 from 110 s", "gaps are allowed"],
        ),
        ({"FrameTimesStart": [60, 0, 120, 240]}, ["overlapping"]),
        ({"FrameDuration": [60, 60, 0, 300]}, ["FrameDuration is 0 s for frame 3"]),
        ({"FrameTimesStart": [0, "1 min", 120, 240]}, ["FrameTimesStart is '1 min'"]),
    ],
)
def test_pet_sidecar(root, changes, parts):
    edit(root, PET, **changes)
    only(structure(root), f"{PET}.json", *parts)


def test_frames_against_volumes(root):
    write_image(root / f"{PET}.nii.gz", shape=(*SHAPE, 5))
    found = structure(root).errors
    assert [p.field for p in found] == ["FrameTimesStart", "FrameDuration"]
    assert "4 frames for 5 volumes" in found[0].found


@pytest.mark.parametrize(("start", "duration"), [(4800, 1200), ([4800], [1200])])
def test_a_3d_pet_image_is_one_frame(root, start, duration):
    write_image(root / f"{PET}.nii.gz", shape=SHAPE)
    edit(root, PET, FrameTimesStart=start, FrameDuration=duration)
    assert structure(root).problems == []


def test_gaps_and_rounding_are_legal(root):
    edit(root, PET, FrameTimesStart=[0, 59.995, 120, 900])
    assert structure(root).problems == []


def test_fields_only_bids_asks_for_are_one_warning(root):
    edit(root, PET, Manufacturer="DELETE", InjectedMass="DELETE")
    only(structure(root), "missing Manufacturer, InjectedMass", level="warning")


def test_keys_in_any_capitals(root):
    values = {k: v for k, v in PET_SIDECAR.items() if k != "InjectedRadioactivityUnits"}
    (root / f"{PET}.json").write_text(json.dumps(values | {"InjectedRadioActivityUnits": "MBq"}))
    assert structure(root).problems == []


def test_units_are_those_the_pet_stage_converts():
    assert set(ACTIVITY_UNITS) == set(pet_units.CONCENTRATION)
    for unit in [
        *ACTIVITY_UNITS,
        "bq/ml",
        "kBq mL^-1",
        "Bq/cm³",
        "µCi/mL",
        "counts",
        "mBq/mL",
        "SUV",
        "Bq",
        "%ID/g",
    ]:
        try:
            pet_units.concentration_factor(unit)
            converts = True
        except InputError:
            converts = False
        assert known_unit(unit) == converts, unit


# --- no T1w -----------------------------------------------------------------------------------------------------


def test_no_t1w_of_one_participant_is_a_warning(root):
    (root / f"{T1W}.nii.gz").unlink()
    only(structure(root), "sub-01: T1w is sub-01 has no usable T1w; left out: sub-01_task-motor_bold",
         "anat/sub-01_", level="warning")  # fmt: skip


def test_no_t1w_at_all_is_an_error(tmp_path):
    root = write_tree({"participants": {"01": ["task-rest_bold"]}}, tmp_path)
    only(structure(root), "T1w is sub-01 has no usable T1w")


# --- whole files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_truncated_gzip(root, share):
    path = root / f"{BOLD}.nii.gz"
    values = np.random.default_rng(1).normal(100, 5, SERIES).astype("f4")
    whole = gzip.compress(nifti_bytes(SERIES, values=values), mtime=0)
    path.write_bytes(whole[: int(len(whole) * share)])
    assert structure(root).errors == []
    problem = only(
        content(root, f"{BOLD}.nii.gz"), f"{BOLD}.nii.gz: voxel data is truncated after", "of 12 volumes"
    )
    assert "copy or convert" in problem.fix


def test_archive_that_ends_in_the_middle_of_the_data(root):
    path = root / f"{BOLD}.nii.gz"
    whole = nifti_bytes(SERIES)
    path.write_bytes(gzip.compress(whole[: 352 + 2 * 210 * 7 + 11]))
    only(content(root, f"{BOLD}.nii.gz"), "voxel data is truncated: 7 of 12 volumes", "5 x 6 x 7 x 12 voxels")


def test_truncated_plain_nifti(root):
    whole = nifti_bytes(SERIES)
    (root / f"{BOLD}.nii").write_bytes(whole[:-10])
    only(content(root, f"{BOLD}.nii"), "truncated: 11 of 12 volumes")


def test_wrong_checksum(root):
    path = root / f"{BOLD}.nii.gz"
    packed = bytearray(path.read_bytes())
    packed[-6] ^= 0xFF
    path.write_bytes(bytes(packed))
    only(content(root, f"{BOLD}.nii.gz"), "voxel data is damaged", "after 12 of 12 volumes")


def values(suffix="bold"):
    shape = SERIES if suffix == "bold" else (*SHAPE, 4)
    return np.random.default_rng(0).normal(100, 5, shape).astype("f4")


def written(root, path, array):
    write_image(root / path, shape=array.shape, values=array)
    return path


def test_nan_volumes(root):
    array = values()
    array[..., 3:6] = np.nan
    path = written(root, f"{BOLD}.nii.gz", array)
    only(content(root, path), "voxel values is the same value, or NaN, in every voxel in volumes 4-6")


def test_constant_volumes(root):
    array = values()
    array[..., [0, 7, 8]] = 0
    path = written(root, f"{BOLD}.nii.gz", array)
    only(content(root, path), "in volumes 1, 8-9", "index.exclude")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_single_nan_voxels(root, value):
    array = values()
    array[0, 0, :2, 5] = value
    path = written(root, f"{BOLD}.nii.gz", array)
    only(content(root, path), "NaN or infinite in up to 2 of 210 voxels in volumes 6")
    array = values("pet")
    array[0, 0, 0] = value
    path = written(root, f"{PET}.nii.gz", array)
    only(content(root, path, "pet"), "in up to 1 of 210 voxels in volumes 1-4", level="warning")


def test_empty_first_pet_frame_is_a_warning_and_empty_pet_an_error(root):
    array = values("pet")
    array[..., 0] = 0
    path = written(root, f"{PET}.nii.gz", array)
    only(content(root, path, "pet"), "in volumes 1", "before the tracer arrives", level="warning")
    path = written(root, f"{PET}.nii.gz", array * 0)
    only(content(root, path, "pet"), "the same value", level="error")


@pytest.mark.parametrize("value", [0, np.nan])
def test_lost_pet_frame_is_an_error(root, value):
    array = values("pet")
    array[..., 2] = value
    path = written(root, f"{PET}.nii.gz", array)
    only(content(root, path, "pet"), "in volumes 3", "restore the image", level="error")


def test_constant_t1w(root):
    path = written(root, f"{T1W}.nii.gz", np.full(SHAPE, 7.0, "f4"))
    only(content(root, path, "T1w"), "the same value, or NaN, in every voxel; allowed: an image")


@pytest.mark.parametrize("endian", "<>")
@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_and_byte_orders(root, version, endian):
    image_class, header_class = getattr(nib, f"Nifti{version}Image"), getattr(nib, f"Nifti{version}Header")
    array = np.arange(np.prod(SERIES), dtype=f"{endian}i2").reshape(SERIES)
    image = image_class(array, np.diag([3.0, 3.5, 4.0, 1.0]), header_class(endianness=endian))
    image.header.set_zooms((3.0, 3.5, 4.0, 2.0))
    image.set_data_dtype(np.int16)
    image.to_filename(root / f"{BOLD}.nii.gz")
    header = read_header(root / f"{BOLD}.nii.gz")
    assert (header["shape"], header["zooms"], header["tr"]) == (SERIES, (3.0, 3.5, 4.0), 2.0)
    assert header["offset"] == (352 if version == 1 else 544)
    assert header["dtype"] == np.dtype(f"{endian}i2")
    assert content(root, f"{BOLD}.nii.gz").problems == []


def test_same_answer_on_one_and_two_workers(root):
    array = values()
    array[..., 2] = np.nan
    written(root, f"{BOLD}.nii.gz", array)
    scans = build_index(root).scans
    one = [r.problems for r in check_content(root, scans)]
    assert one == [r.problems for r in check_content(root, scans, workers=2)]
    assert sum(map(len, one)) == 1


# --- all at once ------------------------------------------------------------------------------------------------


def test_all_problems_are_reported_at_once_and_nothing_is_written(root):
    before = sorted(p for p in root.rglob("*"))
    edit(root, BOLD, RepetitionTime=2.5)
    edit(root, PET, Units="counts")
    (root / "sub-02/func/sub-02_task-motor_events.tsv").write_text("onset\tduration\ttrial_type\n-1\t1\ta\n")
    array = values()
    array[..., 2] = np.nan
    written(root, "sub-03/func/sub-03_task-rest_bold.nii.gz", array)
    table, problems = validate(root, build_index(root).scans, event_tasks=["motor"])
    with pytest.raises(InputErrors) as error:
        problems.raise_errors()
    text = str(error.value)
    assert text.startswith("4 problems found in the input:")
    for part in ("RepetitionTime is 2.5 s", "Units is 'counts'", "onset is -1 s", "in volumes 3"):
        assert part in text
    assert list(table["level"][:4]) == ["error"] * 4
    assert set(table["level"][4:]) == {"ok"}
    assert sorted(p for p in root.rglob("*")) == before


def test_an_excluded_scan_may_be_broken(root):
    (root / f"{BOLD}.nii.gz").write_bytes(b"")
    assert len(structure(root).errors) == 1
    assert structure(root, options={"exclude": ["sub-01_task-motor_bold"]}).errors == []


# --- several echoes ---------------------------------------------------------------------------------------------

ECHO = "sub-01/func/sub-01_task-rest_echo-"


@pytest.fixture
def echoes(tmp_path):
    return write_tree(TREES["multi_echo"], tmp_path / "bids")


@pytest.mark.parametrize(
    ("time", "parts"),
    [
        ("DELETE", ["EchoTime is missing", "add the time of echo 2"]),
        (26, ["EchoTime is 26", "write 0.026: the unit is seconds"]),
        ("0.026", ["EchoTime is '0.026'", "above 0 and below 1"]),
        (0.013, ["0.013 s, after 0.013 s", "echo-1_bold.nii.gz", "number the echoes by their time"]),
    ],
)
def test_echo_times(echoes, time, parts):
    edit(echoes, f"{ECHO}2_bold", EchoTime=time)
    only(structure(echoes), f"{ECHO}2_bold.json", *parts)


def test_echoes_of_different_shape(echoes):
    write_image(echoes / f"{ECHO}3_bold.nii.gz", shape=(*SHAPE, VOLUMES - 2))
    parts = [f"dimensions is 5 x 6 x 7 x {VOLUMES - 2}", f"5 x 6 x 7 x {VOLUMES}", "echo-1_bold.nii.gz"]
    only(structure(echoes), f"{ECHO}3_bold.nii.gz", *parts)


def test_every_echo_is_read_whole(echoes):
    path = echoes / f"{ECHO}2_bold.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    scans = build_index(echoes).scans
    _, problems = validate(echoes, scans, event_tasks=["motor"])
    only(problems, f"{ECHO}2_bold.nii.gz", "truncated")
    assert len(check_content(echoes, scans)) == scans["path"].str.count(";").sum() + len(scans)


def test_a_problem_of_one_echo_is_said_once(echoes):
    edit(echoes, f"{ECHO}2_bold", RepetitionTime="DELETE")
    only(structure(echoes), f"{ECHO}2_bold.json", "RepetitionTime is missing")


def test_events_are_asked_for_once_per_run(echoes):
    only(
        check_structure(echoes, {"participants": ["01"]}, event_tasks=["rest"]), "events.tsv: file is missing"
    )
