"""Curves of PETPrep and PETFit without images: dialects, traps, and kinetics of a whole tree."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from neurobraid.cli import main
from neurobraid.errors import InputError, InputErrors
from neurobraid.files import read_json, read_tsv, write_tsv
from neurobraid.pet import kinetics, tables
from neurobraid.pet.inputfunction import COLUMNS

from . import published
from .curves import DURATIONS, STARTS, one_tissue, two_tissue

SIDE = {"Units": "Bq/mL", "TracerRadionuclide": "C11"}
ENDS = STARTS + DURATIONS
RATES = {"K1": 0.3, "k2": 0.3, "k3": 0.03, "k4": 0.1}
VT = 0.3 / 0.3 * 1.3


def wide(scale=1000.0, names=("frame_start", "frame_end")):
    """Two cortical regions alike, and a cerebellum without binding."""
    cortex = scale * two_tissue(STARTS, ENDS, **RATES)
    cerebellum = scale * one_tissue(STARTS, ENDS, 0.3, 0.3)
    return pd.DataFrame(
        {
            names[0]: STARTS, names[1]: ENDS, "ctx-lh-a": cortex, "ctx-rh-a": cortex,
            "Left-Cerebellum-Cortex": cerebellum, "CSF": 0.1 * cortex,
        }
    )  # fmt: skip


def put(folder, name, table, side=None):
    folder.mkdir(parents=True, exist_ok=True)
    write_tsv(table, folder / name, float_format="%.12g")
    if side is not None:
        (folder / name).with_suffix(".json").write_text(json.dumps(side))
    return folder / name


def bloodstream(folder, scan="sub-01"):
    given = published.exact_input()
    keep = np.unique(np.searchsorted(given.time, np.arange(0, 63, 1 / 60)))
    t, level = given.time[keep], given.plasma[keep]
    content = dict(zip(COLUMNS, (t * 60, level, level, np.ones_like(t), level), strict=True))
    units = {name: {"Units": "kBq"} for name in COLUMNS[1:]}
    return put(folder, f"{scan}_inputfunction.tsv", pd.DataFrame(content), {**units, "time": {"Units": "s"}})


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("sub-01_desc-preproc_seg-gtm_tacs.tsv", ("frame_start", "frame_end")),
        ("sub-01_seg-gtm_desc-preproc_tacs.tsv", ("frame_start", "frame_end")),
        ("sub-01_desc-preproc_seg-gtm_timeseries.tsv", ("FrameTimesStart", "FrameTimesEnd")),
    ],
)
def test_dialects_of_petprep(tmp_path, name, columns):
    put(tmp_path / "sub-01/pet", name, wide(names=columns), SIDE)
    put(tmp_path / "sub-01/pet", "sub-01_desc-confounds_timeseries.tsv", wide(names=columns))
    put(tmp_path / "sub-01/pet", "sub-01_label-semiovale_desc-preproc_tacs.tsv", wide(names=columns), SIDE)
    volume = {
        "index": [1, 2, 3],
        "name": ["ctx-lh-a", "ctx-rh-a", "Left-Cerebellum-Cortex"],
        "volume-mm3": [1.0, 3, 5],
    }
    put(tmp_path / "sub-01/anat", "sub-01_desc-preproc_seg-gtm_morph.tsv", pd.DataFrame(volume))
    found = tables.find_tables(tmp_path)
    assert [p.name for p in found] == [name]
    curves = tables.read_table(found[0])
    assert curves.scan == "sub-01" and curves.segmentation == "gtm" and curves.names[0] == "ctx-lh-a"
    assert curves.values[0] == pytest.approx(two_tissue(STARTS, ENDS, **RATES), rel=1e-9)
    assert curves.volumes[:3].tolist() == [1, 3, 5] and np.isnan(curves.volumes[3])
    assert "Bq/mL" in curves.messages[0]


def test_bare_table_needs_a_unit_and_a_nuclide(tmp_path):
    path = put(tmp_path, "sub-01_tacs.tsv", wide(1.0))
    with pytest.raises(InputError, match="Units"):
        tables.read_table(path)
    curves = tables.read_table(path, unit="kBq/mL", defaults={"TracerRadionuclide": "F18"})
    assert curves.frames.half_life_min == 109.77 and curves.values[0].max() == pytest.approx(
        wide(1.0)["ctx-lh-a"].max()
    )


def test_table_and_sidecar_of_different_scans(tmp_path):
    path = put(tmp_path, "sub-01_tacs.tsv", wide(), {**SIDE, "FrameTimesStart": (STARTS / 60).tolist()})
    with pytest.raises(InputError, match="minutes"):
        tables.read_table(path)
    path = put(tmp_path, "sub-02_tacs.tsv", wide().drop(columns="frame_end"), SIDE)
    with pytest.raises(InputError, match="frame_end or FrameTimesEnd"):
        tables.read_table(path)


def test_petfit_combined_regions(tmp_path):
    rows = []
    for pet, scale in (("sub-01_ses-a", 1.0), ("sub-01_ses-b", 2.0)):
        for region in ("cortex", "cerebellum"):
            for start, end, value in zip(STARTS, ENDS, wide(scale)["ctx-lh-a"], strict=True):
                rows.append(
                    {
                        "sub": "01", "ses": pet[-1], "segmentation": "seg-gtm", "pet": pet, "region": region,
                        "volume_mm3": 10.0, "frame_start": start, "frame_end": end, "TAC": value,
                    }
                )  # fmt: skip
    path = put(tmp_path, "desc-combinedregions_tacs.tsv", pd.DataFrame(rows))
    assert tables.find_tables(tmp_path) == [path]
    first, second = tables.read_combined(path)
    assert (
        first.scan == "sub-01_ses-a"
        and second.visit == "sub-01/ses-b"
        and first.names == ["cortex", "cerebellum"]
    )
    assert second.values[1] == pytest.approx(2 * first.values[0])
    with pytest.raises(InputError, match="not the same"):
        tables.read_combined(put(tmp_path, "desc-combinedregions_tacs.tsv", pd.DataFrame(rows[:-1])))


def test_groups_are_weighted_by_volume():
    curves = np.array([[1.0], [4.0], [9.0]])
    out, volumes, names = tables.combine(
        curves, np.array([1.0, 2.0, 1.0]), ["ctx-a", "ctx-b", "x"], {"cortex": ["ctx-*"]}
    )
    assert out[-1] == pytest.approx(3.0) and volumes[-1] == 3 and names[-1] == "cortex"
    with pytest.raises(InputError, match="patterns"):
        tables.combine(curves, volumes[:3], ["a", "b", "c"], {"g": ["nothing*"]})


def test_a_tree_becomes_tables(tmp_path, capsys):
    home = tmp_path / "petprep/sub-01/pet"
    put(home, "sub-01_desc-preproc_seg-gtm_tacs.tsv", wide(), SIDE)
    put(tmp_path / "petprep/sub-02/pet", "sub-02_desc-preproc_seg-gtm_tacs.tsv", wide(), SIDE)
    bloodstream(tmp_path / "blood/sub-01/pet")
    arguments = [
        "kinetics",
        tmp_path / "petprep",
        tmp_path / "out",
        "--models",
        "2TCM",
        "Logan",
        "SRTM",
        "SUVR",
    ]
    arguments += [
        "--bloodstream",
        tmp_path / "blood",
        "--vb",
        "0",
        "--tstar-min",
        "30",
        "--combine",
        "cortex=ctx-*",
    ]
    assert main([str(a) for a in arguments]) == 0
    assert "2 scans" in capsys.readouterr().out
    table = read_tsv(tmp_path / "out/group/desc-kinetics_table.tsv").set_index(
        ["scan", "region", "model", "parameter"]
    )
    for model, within in (("2TCM", 1e-3), ("Logan", 5e-3)):
        assert table.loc[("sub-01", "cortex", model, "VT"), "value"] == pytest.approx(VT, rel=within)
        assert table.loc[("sub-01", "Left-Cerebellum-Cortex", model, "VT"), "value"] == pytest.approx(
            1.0, rel=5e-3
        )
        assert np.isnan(table.loc[("sub-02", "cortex", model, "VT"), "value"])
        assert table.loc[("sub-02", "cortex", model, "VT"), "flag"] == "the scan has no blood"
    assert table.loc[("sub-02", "cortex", "SRTM", "BPND"), "value"] == pytest.approx(0.3, abs=0.05)
    kept = sorted(p.name for p in (tmp_path / "out/sub-01/pet").iterdir())
    assert "sub-01_seg-gtm_model-2TCM_kinpar.tsv" in kept and "sub-01_inputfunction.tsv" in kept
    notes = read_tsv(tmp_path / "out/group/desc-kinetics_qc.tsv")
    assert notes["note"].str.contains("no blood").sum() == 1


def test_problems_of_all_scans_come_together(tmp_path, capsys):
    put(tmp_path / "p/sub-01/pet", "sub-01_seg-gtm_tacs.tsv", wide())
    put(tmp_path / "p/sub-02/pet", "sub-02_seg-gtm_tacs.tsv", wide(), {**SIDE, "Units": "SUV"})
    with pytest.raises(InputErrors, match="2 problems"):
        kinetics.run(tmp_path / "p", tmp_path / "out", models=["Logan"])
    assert main(["kinetics", str(tmp_path / "p"), str(tmp_path / "o"), "--models", "3TCM"]) == 1
    assert "3TCM" in capsys.readouterr().err
    with pytest.raises(InputError, match="tables"):
        kinetics.run(tmp_path / "nothing", tmp_path / "out", models=["Logan"])


@pytest.fixture(scope="module")
def mc1(real_data, tmp_path_factory):
    """Logan and MA1 of all scans over the 90 minutes that all of them have."""
    out = tmp_path_factory.mktemp("mc1")
    return published.mc1(real_data, out), out


@pytest.mark.parametrize("model", ["Logan", "MA1"])
def test_celecoxib_blocks_cox2_in_cortex(mc1, model):
    ratios = mc1[0].loc[model].unstack("session_id")
    mean = ratios.mean()
    assert mean["ses-baseline"] == pytest.approx(1.27, abs=0.03)
    assert mean["ses-blocked"] == pytest.approx(0.99, abs=0.04)
    assert mean["ses-test"] == pytest.approx(1.27, abs=0.03)
    assert mean["ses-retest"] == pytest.approx(1.28, abs=0.03)
    both = ratios[["ses-baseline", "ses-blocked"]].dropna()
    assert len(both) == 6 and (both["ses-blocked"] < both["ses-baseline"]).all()


def test_traps_of_real_blood_are_reported(mc1):
    notes = read_tsv(mc1[1] / "group/desc-kinetics_qc.tsv")
    said = notes.groupby("scan")["note"].apply(" | ".join)
    assert said.str.contains("the unit is likely kBq").all() and len(said) == 32
    assert said.str.contains("in kBq/mL, the image in Bq/mL: both converted").sum() >= 29
    assert "kBq/mL where its sidecar says Bq/mL" in said["sub-01_ses-blocked"]
    assert "strictly increasing" in said["sub-13_ses-retest"] and "less than 75 %" in said["sub-13_ses-test"]
    table = read_tsv(mc1[1] / "group/desc-kinetics_table.tsv")
    wrong = table[table["scan"].eq("sub-01_ses-blocked")]
    assert not wrong["flag"].eq("ok").any(), "a thousandfold VT is not passed on as good"
    assert table[table["scan"].eq("sub-13_ses-test")]["value"].isna().all()
    missing = read_json(mc1[1] / "sub-13/ses-test/pet/sub-13_ses-test_inputfunction.json")
    assert "45.5 min" in missing["Missing"]


def test_blood_with_the_unit_mended_gives_a_plausible_volume(real_data, tmp_path):
    source = real_data / "ds004869-pet-mc1"
    for name in ("derivatives/petprep/sub-01", "sub-01"):
        shutil.copytree(source / name, tmp_path / name)
    (tmp_path / "dataset_description.json").write_text("{}")
    side = tmp_path / "sub-01/ses-blocked/pet/sub-01_ses-blocked_recording-manual_blood.json"
    side.write_text(side.read_text().replace('"Bq/mL"', '"kBq/mL"'))
    table = kinetics.run(
        tmp_path / "derivatives/petprep",
        tmp_path / "out",
        models=["2TCM"],
        groups={"cortex": ["ctx-*"]},
        end_min=90.0,
    )
    found = table[table["region"].eq("cortex") & table["parameter"].eq("VT")].set_index("session_id")
    assert found["flag"].eq("ok").all() and 1.0 < found.loc["ses-blocked", "value"] < 3.0
