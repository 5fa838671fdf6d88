"""PET scans: clock, decay and kinetics as the truth files say."""

import numpy as np
import pytest

from neurobraid.files import read_json, read_tsv
from neurobraid.images.io import data, load
from neurobraid.images.resample import sample
from neurobraid.images.transforms import apply_affine, read_affines, read_warp
from neurobraid.synth import plants
from neurobraid.synth.pet import frame_motion, spread_labels, timing

SCANS = ("sub-01", "sub-05")


def test_both_clocks_tell_the_same_story():
    for site in "AB":
        clock = timing(site)
        starts = np.array(clock["FrameTimesStart"])
        assert len(starts) == 26
        assert starts[0] == clock["ScanStart"]
        np.testing.assert_allclose(starts[1:], starts[:-1] + clock["FrameDuration"][:-1])
        assert sum(clock["FrameDuration"]) == 3600
        assert clock["ScanStart"] > clock["InjectionStart"]
        assert clock["ImageDecayCorrectionTime"] != clock["InjectionStart"]
    assert timing("A")["InjectionStart"] < 0 == timing("B")["InjectionStart"]


def test_frames_move_from_the_middle_outwards():
    motion = frame_motion(np.random.default_rng(1))
    assert motion.shape == (26, 6)
    assert (~motion.any(1)).sum() == 1
    assert 0.3 < np.abs(motion[:, :3]).max() < 12


def test_labels_spread_to_the_nearest_region():
    labels = np.zeros((20, 12, 10), np.int32)
    labels[3, 5, 5], labels[15, 5, 5] = 7, 300
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    points = np.array([[8.0, 10, 10], [28.0, 10, 10], [6.0, 10, 10], [38.0, 22, 18]])
    region, gap = spread_labels(labels, affine, points, reach=5.0)
    assert region.tolist() == [7, 300, 7, 0]
    np.testing.assert_allclose(gap[:3], [2, 2, 0])


def test_no_binding_in_the_reference_and_much_in_the_striatum(tiny):
    table = read_tsv(tiny.shared["atlas_table"])
    person = {"age": 45, "diagnosis": "control"}
    control = plants.binding(table, person, None)
    patient = plants.binding(table, person | {"diagnosis": "patient"}, None)
    older = plants.binding(table, person | {"age": 55}, None)
    cerebellum = (table["structure"] == "cerebellum").to_numpy()
    assert (control["BPND"][cerebellum] == 0).all()
    assert (control["BPND"][~cerebellum] > 0.1).all()
    cortex = (table["structure"] == "cortex").to_numpy()
    assert control["BPND"][cortex].between(0.1, 0.5).all()
    striatum = control["BPND"] > 2
    assert 4 <= striatum.sum() <= 8
    np.testing.assert_allclose(patient["BPND"][striatum], 0.85 * control["BPND"][striatum])
    np.testing.assert_allclose(older["BPND"], 0.94 * control["BPND"])


@pytest.mark.parametrize("person", SCANS)
def test_stored_activity_is_the_truth_decayed_to_the_scan_start(tiny, person):
    """Region means of the raw image, corrected from its stated reference time to injection, follow the truth."""
    out = tiny.files(f"{person}_trc-RAC", "pet")
    image, fields = load(out["image"]), read_json(out["sidecar"])
    assert fields["Units"] == "Bq/mL"
    assert image.shape[3] == len(fields["FrameTimesStart"])
    truth, poses = read_tsv(out["tacs"]), read_affines(out["hmc"])
    start = np.array(fields["FrameTimesStart"]) - fields["InjectionStart"]
    np.testing.assert_allclose(truth["frame_start"], start)
    delay = (fields["ImageDecayCorrectionTime"] - fields["InjectionStart"]) / 60
    factor = 2 ** (delay / 20.364)
    table, atlas = read_tsv(tiny.shared["atlas_table"]), load(tiny.shared["atlas"])
    labels = data(atlas, np.int32)
    chosen = np.isin(labels, table.loc[table["structure"] != "cortex", "index"])
    points = apply_affine(atlas.affine, np.argwhere(chosen))
    world = read_warp(tiny.files(person, "T1w")["to_mni"]).apply(points)
    to_pet = read_affines(out["coreg"])[0]
    series = data(image)
    ratios = []
    for f in range(8, 26):
        ijk = apply_affine(np.linalg.inv(image.affine) @ poses[f] @ to_pet, world)
        values = np.bincount(labels[chosen], sample(series[..., f], ijk, 1), 101)[1:]
        counts = np.bincount(labels[chosen], minlength=101)[1:]
        known = counts > 100
        true = truth[table["name"]].to_numpy(float)[f][known] * 1e3
        ratios.append(np.mean(values[known] / counts[known] * factor / true))
    # linear interpolation of 6 mm voxels blurs the edges of the brain a little further
    assert np.all(np.abs(np.array(ratios) - 0.97) < 0.05)


def test_sidecar_states_what_pet_bids_requires(tiny):
    required = [
        "Manufacturer",
        "ManufacturersModelName",
        "Units",
        "TracerName",
        "TracerRadionuclide",
        "InjectedRadioactivity",
        "InjectedRadioactivityUnits",
        "InjectedMass",
        "InjectedMassUnits",
        "SpecificRadioactivity",
        "SpecificRadioactivityUnits",
        "ModeOfAdministration",
        "TimeZero",
        "ScanStart",
        "InjectionStart",
        "FrameTimesStart",
        "FrameDuration",
        "AcquisitionMode",
        "ImageDecayCorrected",
        "ImageDecayCorrectionTime",
        "ReconMethodName",
        "ReconMethodParameterLabels",
        "ReconFilterType",
        "ReconFilterSize",
        "AttenuationCorrection",
    ]
    for person in SCANS:
        assert set(required) <= set(read_json(tiny.files(f"{person}_trc-RAC", "pet")["sidecar"]))


def test_resolution_limited_truth_lies_between_neighbours(tiny):
    truth = read_tsv(tiny.files("sub-01_trc-RAC", "pet")["kinetics"])
    high = truth["BPND"] > 1.5
    assert (truth["BPND_psf"][high] < truth["BPND"][high]).all()
    assert (truth["BPND_psf"][high] > 0.6 * truth["BPND"][high]).all()
    assert truth.loc[truth["BPND"] == 0, "BPND_psf"].abs().mean() < 0.06
    np.testing.assert_allclose(truth["k2"], truth["R1"] * truth["k2prime"], rtol=1e-6)
