"""Tests of neurobraid.pet.constants, and of what neurobraid.pet.model refuses."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.pet import constants, model, weights

from .curves import pair
from .test_linear_models import long_frames, noisy

BINDING = {"putamen": 3.0, "caudate": 2.6, "thalamus": 0.5, "cortex": 0.1, "cerebellum": 0.0}


@pytest.fixture
def scan(tmp_path):
    """Curves of five regions with one k2' of 0.1 and noise of 2 %, as the stage writes them; two atlases."""
    at = long_frames()
    reference, target = pair(at.start, at.end, 1.0, 0.1, 1.5)
    curves = {}
    for i, (name, bpnd) in enumerate(BINDING.items()):
        R1 = 1.0 if name == "cerebellum" else 0.8 + 0.1 * i
        _, clean = pair(at.start, at.end, R1, 0.1 * R1, bpnd)
        curves[name] = noisy(clean, at, 0.02, 1, seed=i)[0][0] if bpnd else reference
    times = pd.DataFrame({"frame_start": at.start, "frame_end": at.end})
    paths = {
        n: tmp_path / n for n in ("reference", "reference_json", "weights", "frames", "frames_json", "out")
    }
    write_tsv(times.assign(reference=reference), paths["reference"])
    write_json({"ReferenceRegions": ["cerebellum"], "ReferenceAtlas": "one"}, paths["reference_json"])
    write_tsv(times.assign(brain=target, weight=weights.decay_counts(at, target)), paths["weights"])
    write_tsv(at.table(), paths["frames"])
    write_json({"HalfLifeMin": 20.364}, paths["frames_json"])
    paths["tacs"], paths["morph"] = [], []
    for atlas, names in (("one", list(BINDING)), ("two", ["putamen", "cortex"])):
        paths["tacs"].append(tmp_path / f"{atlas}_tacs")
        paths["morph"].append(tmp_path / f"{atlas}_morph")
        write_tsv(times.assign(**{n: curves[n] for n in names}), paths["tacs"][-1])
        write_tsv(pd.DataFrame({"name": names, "coverage": 1.0}), paths["morph"][-1])
    return paths


def run(scan, **changes):
    shared = [scan[n] for n in ("reference", "reference_json", "weights", "frames", "frames_json")]
    constants.estimate(
        scan["tacs"], scan["morph"], *shared, scan["out"],
        **{"models": ["MRTM2", "refLogan", "refmlLogan", "SRTM"], **changes},
    )  # fmt: skip
    return read_json(scan["out"])


def change(scan, name, frame, value):
    """Write a value into a frame of every region's curve, or of the reference's."""
    for path in scan["tacs"] if name == "tacs" else [scan[name]]:
        table = read_tsv(path)
        table.loc[frame, table.columns[2:]] = value
        write_tsv(table, path)


def test_k2prime_comes_from_regions_that_bind(scan):
    found = run(scan)
    assert found["K2PrimeRegions"] == ["putamen", "caudate"]
    assert found["K2Prime1PerMin"] == pytest.approx(0.1, rel=0.15)
    assert len(found["K2PrimeSEByRegion1PerMin"]) == 2
    assert found["TStarMin"]["MRTM2"] == 0
    assert 0 < found["TStarMin"]["refLogan"] < 60
    assert found["TStarMaxResidual"]["refLogan"] <= 0.1
    assert found["TStarRegions"] == ["putamen", "caudate"]


def test_k2prime_given_or_from_named_regions(scan):
    given = run(scan, k2prime=0.12, tstar_min=40)
    assert (given["K2Prime1PerMin"], given["K2PrimeSource"]) == (0.12, "given")
    assert given["TStarMin"] == {"MRTM2": 0.0, "refLogan": 40.0, "refmlLogan": 40.0}
    named = run(scan, k2prime={"regions": ["caudate"]}, mrtm_tstar_min=10)
    assert named["K2PrimeRegions"] == ["caudate"]
    assert named["TStarMin"]["MRTM2"] == 10
    with pytest.raises(InputError, match=r"did you mean putamen\?"):
        run(scan, k2prime={"regions": ["putamin"]})


def test_models_without_k2prime_need_none(scan):
    found = run(scan, models=["refPatlak", "MRTM1"])
    assert "K2Prime1PerMin" not in found
    assert set(found["TStarMin"]) == {"refPatlak", "MRTM1"}


def fit(scan, names, **changes):
    """Tables by model after `constants.estimate`."""
    run(scan, models=names, **changes)
    folder = scan["out"].parent
    out = {k: [folder / f"{k}_{n}" for n in names] for k in ("kinpar", "kinpar_json")}
    out["fits"] = [folder / f"fits_{n}" for n in names if n != "SUVR"]
    out["plots"] = [folder / f"plots_{n}" for n in names if n in ("refLogan", "refPatlak")]
    shared = [scan[n] for n in ("reference", "reference_json", "weights", "frames", "frames_json")]
    model.model(
        scan["tacs"][0], scan["morph"][0], *shared, out,
        models=names, window_min=(40, 60), shared=[scan["out"]],
    )  # fmt: skip
    return {n: read_tsv(path).set_index("name") for n, path in zip(names, out["kinpar"], strict=True)}


KINETIC = [name for name in model.MODELS if name != "SUVR"]


def test_parameters_of_every_model(scan):
    tables = fit(scan, list(model.MODELS))
    for name in ("SRTM", "SRTM2", "MRTM1", "MRTM2", "refLogan", "refmlLogan"):
        table = tables[name]
        for region in ("putamen", "caudate", "thalamus"):
            assert table.loc[region, "flag"] == "ok", (name, region)
            error = abs(table.loc[region, "BPND"] - BINDING[region])
            assert error < 4 * table.loc[region, "BPND_se"] + 0.02 * BINDING[region], (name, region)
        assert list(table.columns[:-3])[-1] == "runs_p"
    assert tables["MRTM2"].loc["cerebellum", "flag"] == "reference"
    assert tables["refPatlak"]["Kref"].notna().all()
    assert tables["SUVR"].loc["putamen", "SUVR"] > 2
    note = read_json(scan["out"].parent / "kinpar_json_MRTM2")
    assert note["Units"] == {"R1": "1", "R1_se": "1", "k2": "1/min", "k2_se": "1/min", "k2a": "1/min", "k2a_se": "1/min",
                             "BPND": "1", "BPND_se": "1", "residual_sd": "kBq/mL"}  # fmt: skip
    assert note["K2PrimeRegions"] == ["putamen", "caudate"]


@pytest.mark.parametrize(
    ("frame", "value", "words"),
    [
        (25, np.nan, "no value in frame 25 (45.0 to 50.0 min)"),
        (25, 0.0, "no activity in frame 25 (45.0 to 50.0 min)"),
        (25, -2.0, "no activity in frame 25"),
        (slice(None), 0.0, "no activity"),
    ],
)
def test_lost_frame_of_the_reference_refuses_every_model(scan, frame, value, words):
    change(scan, "reference", frame, value)
    for name, table in fit(scan, list(model.MODELS)).items():
        assert table["flag"].str.contains("no activity|no value|k2'|t\\*", regex=True).all(), (
            name,
            table["flag"],
        )
        if name in ("SRTM", "MRTM1"):
            assert words in table["flag"].iloc[0]
        assert table.select_dtypes("number").drop(columns="coverage").isna().all(axis=None)


def test_noise_before_the_tracer_arrives_is_no_loss(scan):
    change(scan, "reference", slice(0, 1), [-0.2])
    assert fit(scan, ["SRTM", "MRTM1"])["MRTM1"].loc["putamen", "flag"] == "ok"


def test_lost_frame_of_a_region_flags_that_region(scan):
    table = read_tsv(scan["tacs"][0])
    table.loc[20, "caudate"] = np.nan
    table.loc[28:, "thalamus"] = -3.0
    write_tsv(table, scan["tacs"][0])
    for name, found in fit(scan, KINETIC, k2prime=0.1, tstar_min=30).items():
        assert found.loc["caudate", "flag"] == "no data", name
        assert found.loc["thalamus", "flag"] != "ok", name
        assert found.loc["putamen", "flag"] == "ok", name


def test_tstar_beyond_the_scan_and_too_few_frames(scan):
    tables = fit(scan, ["SRTM", "refLogan", "refPatlak"], k2prime=0.1, tstar_min=200)
    assert (tables["SRTM"].loc["putamen", "flag"]) == "ok"
    for name in ("refLogan", "refPatlak"):
        assert tables[name]["flag"].str.contains("t\\* = 200 min .the scan ends 85.0 min", regex=True).all()
    for path in [*scan["tacs"], scan["reference"], scan["weights"], scan["frames"]]:
        write_tsv(read_tsv(path).iloc[:4], path)
    for name, table in fit(scan, KINETIC).items():
        assert table["flag"].str.contains("frames|k2'|t\\*", regex=True).all(), (name, list(table["flag"]))


def test_region_without_a_voxel(scan):
    for path in scan["tacs"]:
        table = read_tsv(path)
        table["cortex"] = np.nan
        write_tsv(table, path)
    for name, table in fit(scan, list(model.MODELS)).items():
        assert table.loc["cortex", "flag"] == "no data", name
        assert table.loc["putamen", "flag"] == "ok", name


def test_weights_from_a_table(tmp_path):
    at = long_frames()
    path = tmp_path / "w.tsv"
    write_tsv(pd.DataFrame({"weight": np.r_[0.0, np.full(32, 3.0)]}), path)
    found = weights.from_name(str(path), at, None)
    assert found.mean() == pytest.approx(1)
    assert found[0] == 0
    assert "w.tsv" in weights.describe(str(path))
    for content, field in (
        ({"w": np.ones(33)}, "columns"),
        ({"weight": np.ones(5)}, "rows"),
        ({"weight": np.full(33, -1.0)}, "weight"),
        ({"weight": np.zeros(33)}, "weight"),
    ):
        write_tsv(pd.DataFrame(content), path)
        with pytest.raises(InputError) as error:
            weights.from_name(str(path), at, None)
        assert error.value.problem.field == field
    with pytest.raises(ValueError, match="decay_counts, duration, uniform"):
        weights.from_name("thiele", at, None)
