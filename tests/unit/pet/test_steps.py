"""The five steps of a scan on files, as the rules call them."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.images.io import save
from neurobraid.images.resample import resample_image
from neurobraid.images.templates import grid, template
from neurobraid.images.transforms import Warp, write_warp
from neurobraid.pet import constants, fit, inputfunction, maps, model, plasma, resample, tacs

from . import phantom
from .curves import plasma as feng

WINDOW = (30, 60)
MODELS = ["SRTM", "SUVR", "SRTM2", "MRTM1", "MRTM2", "refLogan", "refmlLogan", "refPatlak"]


def sidecar(timing, **changes):
    base = {
        "Units": "Bq/mL", "TracerRadionuclide": "C11", "TracerName": "test", "ScanStart": 20, "InjectionStart": -10,
        "FrameTimesStart": (timing.start - 10).tolist(), "FrameDuration": timing.duration.tolist(),
        "ImageDecayCorrected": True, "ImageDecayCorrectionTime": 20, "InjectedRadioactivity": 10.0,
        "InjectedRadioactivityUnits": "mCi",
    }  # fmt: skip
    base.update(ScanStart=base["FrameTimesStart"][0])
    return {k: v for k, v in {**base, **changes}.items() if v is not None}


@pytest.fixture(scope="module")
def anatomy(tmp_path_factory):
    """Files of the anat stage for the phantom, whose T1w space is template space; an atlas of three regions."""
    folder = tmp_path_factory.mktemp("anat")
    classes, t1w, brain, affine = phantom.tissues()
    paths = {name: folder / f"{name}.nii.gz" for name in ("t1w", "brain", "grey", "white", "csf", "atlas")}
    save(t1w, affine, paths["t1w"])
    save(brain, affine, paths["brain"])
    for name, values in zip(("grey", "white", "csf"), classes, strict=True):
        save(values, affine, paths[name])
    shape, target = grid(2)
    grey = np.asarray(template("GM", 2).dataobj) > 0.5
    y = (np.arange(shape[1]) * target[1, 1] + target[1, 3])[None, :, None]
    labels = np.where(grey & (y > 40), 300, np.where(grey & (y < -50), 7, 0)).astype(np.int32)
    save(labels, target, paths["atlas"], dtype=np.int32)
    paths["table"] = folder / "atlas.tsv"
    rows = {
        "index": [300, 12, 7],
        "name": ["front", "absent", "back"],
        "structure": ["cortex", "cortex", "cerebellum"],
    }
    write_tsv(pd.DataFrame(rows), paths["table"])
    paths["warp"] = folder / "warp.h5"
    write_warp(Warp(np.eye(4), np.zeros((3, 3, 3, 3), np.float32), np.diag([60.0, 60, 60, 1])), paths["warp"])
    paths["participants"] = folder / "participants.tsv"
    write_tsv(pd.DataFrame({"participant_id": ["sub-01"], "body_weight": [74.0]}), paths["participants"])
    return {name: str(path) for name, path in paths.items()}


def run(folder, pet, side, anatomy):
    """All steps of one scan (lists: of several runs); returns the paths they wrote."""
    names = {
        "fit": (
            "frames",
            "frames_json",
            "petref",
            "petref_json",
            "hmc",
            "coreg",
            "confounds",
            "confounds_json",
            "qc",
            "uncorrected",
            "uncorrected_json",
            "profiles",
        ),
        "resample": ("pet", "pet_json"),
    }
    ending = dict.fromkeys(("petref", "pet", "uncorrected"), ".nii.gz")
    a = anatomy
    out = {step: {n: folder / f"{n}{ending.get(n, '.out')}" for n in each} for step, each in names.items()}
    pets, sides = (list(v) if isinstance(v, list) else [v] for v in (pet, side))
    fit.fit(
        pets, sides, a["t1w"], a["brain"], [a["grey"], a["white"], a["csf"]], out["fit"],
        participant="sub-01", participants=[a["participants"]],
    )  # fmt: skip
    f = out["fit"]
    resample.resample(pets, f["frames"], f["frames_json"], f["hmc"], f["coreg"], a["t1w"], out["resample"])
    t = out["tacs"] = {n: folder / f"{n}.out" for n in ("reference", "reference_json", "weights")}
    t.update({n: [folder / f"{n}.out"] for n in ("tacs", "tacs_json", "morph")})
    tacs.extract(
        out["resample"]["pet"], f["frames"], f["frames_json"], a["brain"], a["grey"], a["warp"],
        [(a["atlas"], a["table"])], t, names=["three"], reference_regions=["cerebellum"],
    )  # fmt: skip
    m = out["model"] = {n: [folder / f"{n}_{k}.out" for k in MODELS] for n in ("kinpar", "kinpar_json")}
    m["fits"] = [folder / f"fits_{k}.out" for k in MODELS if k != "SUVR"]
    m["plots"] = [folder / f"plots_{k}.out" for k in ("refLogan", "refPatlak")]
    shared = (t["reference"], t["reference_json"], t["weights"], f["frames"], f["frames_json"])
    out["constants"] = folder / "constants.out"
    constants.estimate(t["tacs"], t["morph"], *shared, out["constants"], models=MODELS)
    same = {"models": MODELS, "window_min": WINDOW, "shared": [out["constants"]]}
    model.model(t["tacs"][0], t["morph"][0], *shared, m, **same)
    p = out["maps"] = {n: [] for n in maps.OUTPUTS}
    for k in MODELS:
        for measure in (*maps.MEASURES[k], *maps.DETAILS[k]):
            p["native"].append(folder / f"native_{k}_{measure}.nii.gz")
            p["native_json"].append(folder / f"native_{k}_{measure}.out")
        for measure in maps.MEASURES[k]:
            p["template"].append(folder / f"template_{k}_{measure}.nii.gz")
            p["template_json"].append(folder / f"template_{k}_{measure}.out")
        for n in ("valid", "template_valid"):
            p[n].append(folder / f"{n}_{k}.nii.gz")
            p[f"{n}_json"].append(folder / f"{n}_{k}.out")
    maps.write_maps(out["resample"]["pet"], a["brain"], a["warp"], *shared, p, resolution=4.0, **same)
    return out


@pytest.fixture(scope="module")
def moving(tmp_path_factory, anatomy):
    """A moving scan in Bq/mL, corrected to 30 s after the injection."""
    folder = tmp_path_factory.mktemp("moving")
    timing = phantom.frames()
    late = type(timing)(timing.start + 30, timing.end + 30, timing.decay, 1.0, 20.364)
    poses = phantom.poses()
    series = phantom.scan(poses, np.eye(4), noise=0.03)
    decay = 2 ** (-30 / (20.364 * 60))
    save(1000 * decay * series, phantom.AFFINE, folder / "pet.nii.gz")
    write_json(sidecar(late, ImageDecayCorrectionTime=20), folder / "pet.json")
    return run(folder, folder / "pet.nii.gz", folder / "pet.json", anatomy), late, series


def test_units_times_and_decay_reach_the_curves(moving):
    out, late, series = moving
    table = read_tsv(out["tacs"]["tacs"][0])
    np.testing.assert_allclose(table["frame_start"], late.start)
    assert list(table.columns) == ["frame_start", "frame_end", "front", "absent", "back"]
    assert table["absent"].isna().all()
    # activity where it is highest in the last frame, kBq/mL at injection, within partial volume
    assert 0.5 < table["front"].iloc[-1] / np.percentile(series[..., -1], 99.5) < 1.0
    morph = read_tsv(out["tacs"]["morph"][0])
    assert morph["coverage"].tolist() == [1, 0, 1]
    assert morph["volume_mm3"][0] > 1e4
    weights = read_tsv(out["tacs"]["weights"])
    assert weights["weight"].mean() == pytest.approx(1.0)


def tissue_share(anatomy):
    """Activity of ``back`` relative to pure tissue without binding."""
    volume, (classes, _, _, affine) = phantom.volume(), phantom.tissues()
    atlas = nib.load(anatomy["atlas"])
    labels = resample_image((np.asarray(atlas.dataobj), atlas.affine), volume.shape, affine, order=0)
    return volume[(classes[0] > 0.5) & (labels == 7)].mean()


def expected_binding(anatomy):
    """What a perfect analysis without partial-volume correction finds in ``front``."""
    volume, (classes, _, _, affine) = phantom.volume(), phantom.tissues()
    atlas = nib.load(anatomy["atlas"])
    labels = resample_image((np.asarray(atlas.dataobj), atlas.affine), volume.shape, affine, order=0)
    inside = classes[0] > 0.5
    return volume[inside & (labels == 300)].mean() / volume[inside & (labels == 7)].mean() - 1


def test_parameters(moving, anatomy):
    out, *_ = moving
    srtm, suvr = (read_tsv(path) for path in out["model"]["kinpar"][:2])
    assert list(srtm["name"]) == list(suvr["name"]) == ["front", "absent", "back"]
    expected = expected_binding(anatomy)
    # planted 1; the point spread mixes in white matter and CSF, which do not bind
    assert 0.5 < expected < 0.9
    # voxels of 5 mm sample a point spread of 6 mm poorly: interpolation takes some of the contrast
    assert srtm["BPND"][0] == pytest.approx(expected, rel=0.1)
    assert abs(srtm["BPND"][2]) < 0.02
    assert list(srtm["flag"]) == ["ok", "no data", "reference"]
    assert suvr["SUVR"][2] == pytest.approx(1.0)
    assert suvr["SUVR"][0] > 1.5
    assert suvr["SUV"][0] / suvr["SUV"][2] == pytest.approx(suvr["SUVR"][0])
    activity = read_tsv(out["tacs"]["tacs"][0])["back"].iloc[-6:].mean()
    assert suvr["SUV"][2] == pytest.approx(activity * 74 / 370, rel=0.1)
    fits, curves = read_tsv(out["model"]["fits"][0]), read_tsv(out["tacs"]["tacs"][0])
    assert np.abs(fits["front"] / curves["front"] - 1)[6:].max() < 0.1


def test_sidecars_say_what_was_done(moving):
    out, timing, series = moving
    srtm, suvr = (read_json(path) for path in out["model"]["kinpar_json"][:2])
    assert srtm["ReferenceRegions"] == ["back"]
    assert srtm["BasisFunctions"] == 128
    assert srtm["HalfLifeMin"] == 20.364
    assert suvr["WindowMin"] == [30, 60]
    assert suvr["WindowCoverage"] == 1.0
    assert suvr["InjectedRadioactivityMBq"] == pytest.approx(370)
    pet = read_json(out["resample"]["pet_json"])
    assert (pet["Units"], pet["InjectionStart"], pet["ImageDecayCorrectionTime"]) == ("kBq/mL", 0, 0)
    qc = read_json(out["fit"]["qc"])
    assert qc["max_displacement_mm"] > 1
    assert qc["brain_suv_mean"] > 0
    assert qc["coreg_score"] > qc["coreg_null_max"] > qc["coreg_null_mean"] > 0
    assert qc["coreg_above_null"] > 5
    before, after = (np.asarray(nib.load(out["fit"][n]).dataobj) for n in ("uncorrected", "petref"))
    # the same frames as in the reference, as they were recorded
    late = np.array(read_json(out["fit"]["uncorrected_json"])["FramesAveraged"])
    assert late.tolist() == read_json(out["fit"]["petref_json"])["FramesAveraged"]
    np.testing.assert_allclose(
        before, np.average(series[..., late], axis=3, weights=timing.duration[late]), rtol=2e-3, atol=0.02
    )
    assert np.abs(before - after).max() > 1.0
    lines = read_tsv(out["fit"]["profiles"])
    assert sorted(lines["correction"].unique()) == ["after", "before"]
    assert sum(c.startswith("frame_") for c in lines) == len(read_tsv(out["fit"]["frames"]))


def test_maps_agree_with_the_regions(moving, anatomy):
    out, *_ = moving
    srtm = read_tsv(out["model"]["kinpar"][0])
    bpnd = nib.load(out["maps"]["template"][0])
    values, labels = np.asarray(bpnd.dataobj), np.asarray(nib.load(anatomy["atlas"]).dataobj)[::2, ::2, ::2]
    front = values[: labels.shape[0], : labels.shape[1], : labels.shape[2]][(labels == 300)]
    assert np.median(front[front != 0]) == pytest.approx(srtm["BPND"][0], abs=0.12)
    note = read_json(out["maps"]["template_json"][0])
    assert note["SpatialReference"] == "MNI152NLin2009aSym"
    assert note["VoxelsFitted"] > 5000


def test_all_models_agree(moving):
    """One tissue compartment, right k2': every model measures the same binding; maps follow their regions."""
    out, *_ = moving
    found = read_json(out["constants"])
    assert found["K2PrimeRegions"] == ["front"]
    assert found["K2Prime1PerMin"] > 0
    tables = dict(zip(MODELS, (read_tsv(path) for path in out["model"]["kinpar"]), strict=True))
    expected = tables["SRTM"]["BPND"][0]
    for name in ("SRTM2", "MRTM1", "MRTM2", "refLogan", "refmlLogan"):
        table = tables[name]
        assert list(table["flag"][1:]) in (
            ["no data", "reference"],
            ["no data", "collinear with the reference"],
        )
        assert table["flag"][0] == "ok"
        assert table["BPND"][0] == pytest.approx(expected, abs=0.05), name
        assert 0 < table["BPND_se"][0] < 0.2
        index = [path.stem for path in out["maps"]["native_json"]].index(f"native_{name}_BPND")
        note = read_json(out["maps"]["native_json"][index])
        # three free parameters where little is bound: MRTM1 leaves half of the noisy voxels without a k2a
        least = 0.4 if name == "MRTM1" else 0.6
        assert note["VoxelsFitted"] >= note["VoxelsValid"] > least * note["VoxelsInside"], name
        if name != "MRTM1":
            assert note["K2Prime1PerMin"] == found["K2Prime1PerMin"]
        values = np.asarray(nib.load(out["maps"]["native"][index]).dataobj)
        valid = np.asarray(nib.load(out["maps"]["valid"][MODELS.index(name)]).dataobj) > 0
        srtm = np.asarray(nib.load(out["maps"]["native"][0]).dataobj)
        assert np.abs(np.median((values - srtm)[valid & (srtm != 0)])) < 0.05, name
    note = read_json(out["model"]["kinpar_json"][MODELS.index("refLogan")])
    assert note["TStarMin"] == found["TStarMin"]["refLogan"]
    assert note["TStarMaxResidual"] <= 0.1
    plot = read_tsv(out["model"]["plots"][0])
    line = plot[(plot["name"] == "front") & (plot["used"] == 1)]
    slope, intercept = np.polyfit(line["x"], line["y"], 1)
    assert slope - 1 == pytest.approx(tables["refLogan"]["BPND"][0], abs=1e-5)
    assert intercept == pytest.approx(tables["refLogan"]["intercept"][0], rel=1e-4)
    assert len(line) >= 5


def test_reference_region_outside_the_field_of_view(moving, anatomy, tmp_path):
    out, *_ = moving
    a, f = anatomy, out["fit"]
    t = {n: tmp_path / n for n in ("reference", "reference_json", "weights")}
    t.update({n: [tmp_path / n] for n in ("tacs", "tacs_json", "morph")})
    with pytest.raises(InputError, match="0 % inside the field of view") as error:
        tacs.extract(
            out["resample"]["pet"], f["frames"], f["frames_json"], a["brain"], a["grey"], a["warp"],
            [(a["atlas"], a["table"])], t, names=["three"], reference_regions=["absent"],
        )  # fmt: skip
    assert error.value.problem.field == "reference region"
    assert not t["reference"].exists()


def test_static_scan_gives_suvr_and_says_why_there_is_no_srtm(tmp_path, anatomy):
    timing = phantom.frames()
    series = phantom.scan(np.tile(np.eye(4), (26, 1, 1)), np.eye(4))
    late = timing.start >= 1800
    static = series[..., late] @ (timing.duration[late] / timing.duration[late].sum()).astype(np.float32)
    save(static, phantom.AFFINE, tmp_path / "pet.nii.gz")
    fields = sidecar(timing, FrameTimesStart=1790.0, FrameDuration=1800.0, ScanStart=1790, Units="kBq/mL")
    write_json({**fields, "ImageDecayCorrectionTime": -10}, tmp_path / "pet.json")
    out = run(tmp_path, tmp_path / "pet.nii.gz", tmp_path / "pet.json", anatomy)
    srtm, suvr = (read_tsv(path) for path in out["model"]["kinpar"][:2])
    assert srtm["BPND"].isna().all()
    assert srtm["flag"][0].startswith("1 frames")
    assert suvr["SUVR"][0] > 1.5
    assert "not available" in read_json(out["model"]["kinpar_json"][0])["Description"]
    assert "at least 6" in read_json(out["maps"]["native_json"][0])["Missing"]
    assert (np.asarray(nib.load(out["maps"]["template"][0]).dataobj) == 0).all()
    for name in ("SRTM2", "refLogan", "refPatlak"):
        table = read_tsv(out["model"]["kinpar"][MODELS.index(name)])
        assert table.drop(columns=["name", "undetermined", "flag", "coverage"]).isna().all(axis=None)
        assert ("frame" in table["flag"][0]) or ("no t*" in table["flag"][0]), table["flag"][0]
        assert not np.asarray(nib.load(out["maps"]["valid"][MODELS.index(name)]).dataobj).any()
    assert read_json(out["constants"])["K2Prime1PerMin"] == "n/a"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"FrameTimesStart": None}, "FrameTimesStart"),
        ({"FrameTimesStart": [0.0] * 26}, "FrameTimesStart[1]"),
        ({"Units": "furlongs"}, "Units"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, anatomy, changes, field):
    save(np.ones((*phantom.SHAPE, 26), np.float32), phantom.AFFINE, tmp_path / "pet.nii.gz")
    write_json(sidecar(phantom.frames(), **changes), tmp_path / "sub-01_pet.json")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError) as error:
        run(tmp_path, tmp_path / "pet.nii.gz", tmp_path / "sub-01_pet.json", anatomy)
    assert error.value.problem.field == field
    assert error.value.problem.file.endswith("sub-01_pet.json")
    assert sorted(tmp_path.iterdir()) == before


def plasma_run(folder, out, anatomy, given):
    """Regional plasma models and maps of a scan with or without an input function."""
    f, t = out["fit"], out["tacs"]
    models = list(plasma.MODELS)
    o = {n: [folder / f"{n}_{k}.out" for k in models] for n in ("kinpar", "kinpar_json", "fits")}
    o["plots"] = [folder / f"plots_{k}.out" for k in plasma.MAPPED]
    shared = (t["weights"], f["frames"], f["frames_json"], given)
    side = folder / "corrected.json"
    write_json({"PartialVolumeCorrection": "gtm", "PointSpreadFWHMmm": [6.0, 6.0, 6.0]}, side)
    plasma.model(
        t["tacs"][0], t["morph"][0], *shared, o, models=models, vb=0.0, tstar_min=30.0, curves_json=side
    )
    mapped = list(plasma.MAPPED)
    m = {n: [folder / f"{n}_{k}.nii.gz" for k in mapped] for n in ("native", "template", "valid")}
    m.update(
        {f"{n}_json": [folder / f"{n}_{k}.out" for k in mapped] for n in ("native", "template", "valid")}
    )
    plasma.write_maps(
        out["resample"]["pet"], anatomy["brain"], anatomy["warp"], *shared, m, models=mapped, vb=0.0, tstar_min=30.0,
        resolution=4.0, pet_json=side,
    )  # fmt: skip
    # results tell what was done to the curves and the image they are of
    for path in (*o["kinpar_json"], *m["native_json"], *m["template_json"]):
        assert read_json(path)["PartialVolumeCorrection"] == "gtm"
    tables = {k: read_tsv(path).set_index("name") for k, path in zip(models, o["kinpar"], strict=True)}
    return tables, {k: read_json(path) for k, path in zip(models, o["kinpar_json"], strict=True)}, m


def test_plasma_models_of_a_scan_with_blood(moving, anatomy, tmp_path):
    """Blood on the clock of TimeZero, 10 s after the injection; the tracer arrives 30 s after it."""
    out, *_ = moving
    f, t = out["fit"], out["tacs"]
    seconds = np.concatenate([np.arange(0, 180, 3), np.arange(180, 3700, 60)])
    level = feng(seconds / 60) * 2 ** (-10 / (20.364 * 60))
    blood = tmp_path / "sub-01_recording-manual_blood.tsv"
    columns = {
        "time": seconds + 20.0,
        "plasma_radioactivity": 1000 * level,
        "whole_blood_radioactivity": 1000 * level,
    }
    write_tsv(pd.DataFrame(columns), blood)
    unit = {"Units": "Bq/mL"}
    side = {"PlasmaAvail": True, "WholeBloodAvail": True, "MetaboliteAvail": False, "time": {"Units": "s"}}
    write_json(
        {**side, "plasma_radioactivity": unit, "whole_blood_radioactivity": unit}, blood.with_suffix(".json")
    )
    pet = tmp_path / "pet.json"
    write_json({"InjectionStart": -10, "Units": "Bq/mL"}, pet)
    people = tmp_path / "participants.tsv"
    write_tsv(pd.DataFrame({"participant_id": ["sub-01"], "plasma_glucose_mmol_l": [5.0]}), people)
    given = {
        "inputfunction": tmp_path / "in.tsv",
        "inputfunction_json": tmp_path / "in.json",
        "samples": tmp_path / "samples.tsv",
    }
    inputfunction.write_scan(
        [blood, blood.with_suffix(".json")], [pet], [people], f["frames"], f["frames_json"], t["weights"], given,
        participant="sub-01",
    )  # fmt: skip
    notes = read_json(given["inputfunction_json"])
    assert abs(notes["DelaySeconds"]) <= 3 and notes["GlucoseMmolPerL"] == 5.0
    tables, sides, m = plasma_run(tmp_path, out, anatomy, list(given.values())[:2])
    measured = read_tsv(given["samples"])
    after = measured[measured["time"] > 0]
    # s after the injection, kBq/mL corrected to it
    assert measured["time"].iloc[-1] == pytest.approx(seconds[-1] + 30)
    assert after["plasma_radioactivity"].max() == pytest.approx(feng(seconds / 60).max(), rel=0.01)
    assert measured["metabolite_parent_fraction"].isna().all()
    plot = read_tsv(tmp_path / "plots_Logan.out")
    line = plot[(plot["name"] == "front") & (plot["used"] == 1)]
    slope, intercept = np.polyfit(line["x"], line["y"], 1)
    assert slope == pytest.approx(tables["Logan"].loc["front", "VT"], rel=1e-5)
    assert intercept == pytest.approx(tables["Logan"].loc["front", "intercept"], rel=1e-4)
    srtm = read_tsv(out["model"]["kinpar"][0])
    for name in ("1TCM", "2TCM", "Logan", "MA1"):
        ratio = tables[name].loc["front", "VT"] / tables[name].loc["back", "VT"]
        assert ratio == pytest.approx(1 + srtm["BPND"][0], rel=0.05), name
        assert tables[name].loc["absent", "flag"] == "no data"
    assert tables["1TCM"]["k2"]["back"] == pytest.approx(0.1, rel=0.03)
    # planted 0.1, times the share of tissue that the point spread leaves in the region
    assert tables["1TCM"]["K1"]["back"] == pytest.approx(0.1 * tissue_share(anatomy), rel=0.1)
    assert tables["Patlak"]["CMRglc"]["front"] == pytest.approx(
        tables["Patlak"]["Ki"]["front"] * 5 / 0.65 * 100
    )
    assert sides["2TCM"]["Units"]["VT"] == "mL/cm3" and sides["Logan"]["TStarMin"] == 30
    values = np.asarray(nib.load(m["template"][0]).dataobj)
    labels = np.asarray(nib.load(anatomy["atlas"]).dataobj)[::2, ::2, ::2]
    front = values[: labels.shape[0], : labels.shape[1], : labels.shape[2]][labels == 300]
    assert np.median(front[front != 0]) == pytest.approx(tables["Logan"].loc["front", "VT"], abs=0.15)
    assert np.asarray(nib.load(m["valid"][1]).dataobj).sum() > 5000


def test_plasma_models_of_a_scan_without_blood(moving, anatomy, tmp_path):
    tables, sides, m = plasma_run(tmp_path, moving[0], anatomy, [])
    assert not len(read_tsv(tmp_path / "plots_Patlak.out"))
    for name, table in tables.items():
        assert table["flag"].eq("the scan has no blood").all() and table.iloc[:, 0].isna().all(), name
        assert "no blood" in sides[name]["Description"]
    assert not np.asarray(nib.load(m["native"][0]).dataobj).any()
    assert read_json(m["native_json"][0])["Missing"] == "the scan has no blood"
