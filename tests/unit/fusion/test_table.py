"""The fusion table: joined by label, nothing missing made up."""

import json

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_tsv
from neurobraid.fusion.schema import COLUMNS
from neurobraid.fusion.table import (
    availability,
    connectivity_rows,
    fusion_table,
    region_table,
    wide,
    write_fusion,
)
from neurobraid.synth import cohort

REGIONS = ["LH_a", "RH_a", "LH_b", "CerebLH_c"]
ATLAS = pd.DataFrame({"index": [3, 700, 12, 5], "name": REGIONS})


def task(folder, person, shift, name="motor", order=(0, 1, 2, 3), value=None):
    rows = [
        {"name": REGIONS[i], "contrast": c, "effect": i + shift + 10 * (c == "right"), "coverage": 1.0}
        for c in ("left", "right")
        for i in order
    ]
    table = pd.DataFrame(rows)
    if value is not None:
        table.loc[table["name"] == value, ["effect", "coverage"]] = [np.nan, 0.0]
    path = folder / f"sub-{person}_task-{name}_atlas-x_stat-effect_bold.tsv"
    write_tsv(table, path)
    return path


def rest(folder, stem, matrix, names=REGIONS, coverage=None, name="rest"):
    path = folder / f"{stem}_task-{name}_atlas-x_stat-pearsoncorrelation_relmat.tsv"
    write_tsv(pd.DataFrame(matrix, index=pd.Index(names, name="Node"), columns=names), path, index=True)
    covered = folder / f"{stem}_task-{name}_atlas-x_stat-coverage_bold.tsv"
    write_tsv(pd.DataFrame({"Node": names, "coverage": coverage or [1.0] * len(names)}), covered)
    return path, covered


def pet(folder, stem, values, flags=None):
    path = folder / f"{stem}_seg-x_model-SRTM_kinpar.tsv"
    table = pd.DataFrame({"name": REGIONS, "BPND": values, "R1": 1.0, "coverage": 0.9})
    table["flag"] = flags or ["ok"] * len(REGIONS)
    write_tsv(table, path)
    return path


def anat(folder, stem, volumes, names=REGIONS):
    path = folder / f"{stem}_seg-x_desc-structure_morph.tsv"
    write_tsv(pd.DataFrame({"name": names, "volume_ml": volumes, "density": 0.5, "coverage": 1.0}), path)
    return path


def correlation(value):
    matrix = np.full((4, 4), value)
    np.fill_diagonal(matrix, 1.0)
    return matrix


def pick(table, person, measure, region):
    rows = table[(table.participant_id == person) & (table.measure == measure) & (table.region == region)]
    assert len(rows) == 1, rows
    return rows.iloc[0]


def test_columns_are_those_of_the_cohort():
    assert tuple(COLUMNS) == cohort.COLUMNS
    assert list(cohort.make_cohort(0, people=24).features.columns) == list(COLUMNS)


def test_joined_by_label_whatever_the_order(tmp_path):
    paths = [task(tmp_path, "02", 100, order=(3, 1, 0, 2)), task(tmp_path, "01", 0)]
    volumes = anat(tmp_path, "sub-02", [4.0, 3.0, 2.0, 1.0], names=REGIONS[::-1])
    table = fusion_table(ATLAS, task=paths, structure=[volumes])
    assert list(table.columns) == list(COLUMNS)
    assert pick(table, "sub-02", "motor_left", "LH_b").value == 102
    assert pick(table, "sub-01", "motor_right", "CerebLH_c").value == 13
    assert pick(table, "sub-02", "volume", "LH_a").value == 1.0
    # atlas order inside every measure
    for _, part in table.groupby(["participant_id", "measure"]):
        assert part.region.tolist() == REGIONS
    assert pick(table, "sub-01", "motor_left", "LH_a").unit == "%"


def test_missing_is_absent_or_empty_never_zero(tmp_path):
    paths = [task(tmp_path, "01", 0, value="RH_a"), task(tmp_path, "02", 0)]
    table = fusion_table(ATLAS, task=paths, kinetics=[pet(tmp_path, "sub-02", [1.0, 2.0, np.nan, 0.0])])
    assert np.isnan(pick(table, "sub-01", "motor_left", "RH_a").value)
    assert table[(table.participant_id == "sub-01") & (table.modality == "pet")].empty
    assert np.isnan(pick(table, "sub-02", "BPND", "LH_b").value)
    listed = availability(table, ["sub-01", "sub-02", "sub-03"]).set_index(["participant_id", "modality"])
    assert listed.loc[("sub-01", "pet"), "available"] == "no"
    assert listed.loc[("sub-02", "pet"), "available"] == "yes"
    assert (listed.loc["sub-03", "available"] == "no").all()
    assert listed.loc[("sub-01", "fmri-task"), "regions"] == 3


def test_flagged_fits_are_no_measurements(tmp_path):
    path = pet(tmp_path, "sub-02", [1.0, 2.0, 9.0, 0.0], flags=["ok", "ok", "at bound", "reference"])
    table = fusion_table(ATLAS, kinetics=[path])
    found = table[table.measure == "BPND"].value.to_numpy()
    np.testing.assert_array_equal(np.isfinite(found), [True, True, False, False])


def test_runs_of_a_session_are_averaged_and_sessions_kept(tmp_path):
    made = [
        rest(tmp_path, "sub-01_ses-1_run-1", correlation(0.2)),
        rest(tmp_path, "sub-01_ses-1_run-2", correlation(0.4), coverage=[1.0, 0.6, 1.0, 1.0]),
        rest(tmp_path, "sub-01_ses-2", correlation(-0.3)),
    ]
    # coverage tables belong to scans by name: hand them over in another order
    table = fusion_table(ATLAS, rest=[m[0] for m in made], coverage=[m[1] for m in made][::-1])
    first = table[(table.session_id == "ses-1") & (table.measure == "strengthpositive")].set_index("region")
    assert first.loc["LH_a", "value"] == pytest.approx((np.arctanh(0.2) + np.arctanh(0.4)) / 2)
    assert first.loc["RH_a", "coverage"] == 0.6
    assert len(first.loc["LH_a", "source"].split(" ")) == 2
    second = table[(table.session_id == "ses-2") & (table.measure == "strengthnegative")]
    np.testing.assert_allclose(second["value"], np.arctanh(-0.3))


def test_strength_leaves_uncovered_regions_out(tmp_path):
    matrix = correlation(0.5)
    matrix[0, 1] = matrix[1, 0] = -0.25
    matrix[3, :] = matrix[:, 3] = np.nan
    path, covered = rest(tmp_path, "sub-01", matrix, coverage=[1.0, 1.0, 1.0, 0.0])
    positive, negative = connectivity_rows(path, covered)
    z = np.arctanh([0.5, -0.25])
    np.testing.assert_allclose(positive["value"], [z[0] / 2, z[0] / 2, z[0], np.nan])
    np.testing.assert_allclose(negative["value"], [z[1] / 2, z[1] / 2, 0.0, np.nan])


def test_network_edges(tmp_path):
    matrix = correlation(0.1)
    matrix[0, 2] = matrix[2, 0] = 0.6
    path, covered = rest(tmp_path, "sub-01", matrix)
    atlas = ATLAS.assign(network=["V", "V", "D", "D"])
    table = fusion_table(atlas, rest=[path], coverage=[covered])
    edges = table[table.measure == "connectivity"].set_index("region")["value"]
    assert sorted(edges.index) == ["D--D", "V--D", "V--V"]
    assert edges["V--D"] == pytest.approx((np.arctanh(0.6) + 3 * np.arctanh(0.1)) / 4)
    assert edges["V--V"] == pytest.approx(np.arctanh(0.1))


def test_tasks_and_tracers_are_never_averaged_together(tmp_path):
    made = [
        rest(tmp_path, "sub-01", correlation(0.2)),
        rest(tmp_path, "sub-01", correlation(0.6), name="movie"),
    ]
    tracers = [pet(tmp_path, "sub-01_trc-RAC", [1.0] * 4), pet(tmp_path, "sub-01_trc-FDG", [3.0] * 4)]
    table = fusion_table(ATLAS, rest=[m[0] for m in made], coverage=[m[1] for m in made], kinetics=tracers)
    assert pick(table, "sub-01", "strengthpositive_movie", "LH_a").value == pytest.approx(np.arctanh(0.6))
    assert pick(table, "sub-01", "BPND_RAC", "LH_a").value == 1.0
    assert pick(table, "sub-01", "BPND_FDG", "LH_a").value == 3.0


def test_unknown_region_is_refused(tmp_path):
    path = anat(tmp_path, "sub-01", [1.0, 2.0, 3.0, 4.0], names=["LH_a", "RH_a", "LH_b", "LH_zzz"])
    with pytest.raises(InputError, match="LH_zzz"):
        fusion_table(ATLAS, structure=[path])


def test_wide_takes_the_first_session_that_has_the_measure(tmp_path):
    made = [
        rest(tmp_path, "sub-01_ses-10", correlation(0.5)),
        rest(tmp_path, "sub-01_ses-2", correlation(0.1)),
        rest(tmp_path, "sub-02_ses-10", correlation(0.3)),
    ]
    table = fusion_table(
        ATLAS,
        rest=[m[0] for m in made],
        coverage=[m[1] for m in made],
        structure=[anat(tmp_path, "sub-03", [1, 2, 3, 4])],
    )
    people = wide(table, ["fmri-rest"], measure=["strengthpositive"])
    assert people.index.tolist() == ["sub-01", "sub-02"]
    assert people.loc["sub-01"].to_numpy() == pytest.approx(np.arctanh(0.1))
    assert people.shape[1] == 4
    visits = wide(table, ["fmri-rest"], measure=["strengthpositive"], rows="visit")
    assert len(visits) == 3
    assert wide(table.sample(frac=1, random_state=0), ["fmri-rest"], rows="visit").equals(
        wide(table, ["fmri-rest"], rows="visit")
    )


def test_wide_leaves_badly_covered_regions_out(tmp_path):
    path, covered = rest(tmp_path, "sub-01", correlation(0.2), coverage=[1.0, 0.3, 0.6, 1.0])
    other, seen = rest(tmp_path, "sub-02", correlation(0.2))
    table = fusion_table(ATLAS, rest=[path, other], coverage=[covered, seen])
    view = wide(table, ["fmri-rest"], measure=["strengthpositive"], min_coverage=0.5)
    assert np.isnan(view.loc["sub-01", "fmri-rest strengthpositive RH_a"])
    assert np.isfinite(view.loc["sub-02"]).all()
    assert np.isfinite(view.loc["sub-01"]).sum() == 3


def test_written_with_schema_and_twice_the_same(tmp_path):
    write_tsv(ATLAS, tmp_path / "atlas.tsv")
    structure = [anat(tmp_path, "sub-01", [1.0, 2.0, 3.0, 4.0])]
    digests = []
    for turn in ("a", "b"):
        names = ("features", "schema", "wide", "wide_json", "availability", "availability_json")
        outputs = {n: tmp_path / turn / n for n in names}
        write_fusion(tmp_path / "atlas.tsv", ["sub-01", "sub-02"], outputs, structure=structure)
        digests.append([outputs[n].read_bytes() for n in names])
    assert digests[0] == digests[1]
    schema = read_json(tmp_path / "a/schema")
    assert set(schema["Columns"]) == set(COLUMNS)
    assert schema["Measures"]["anat volume"]["Units"] == "mL"
    assert len(read_tsv(tmp_path / "a/availability")) == 8


def test_nothing_at_all_gives_an_empty_table(tmp_path):
    table = fusion_table(ATLAS)
    assert list(table.columns) == list(COLUMNS)
    assert table.empty
    assert (availability(table, ["sub-01"])["available"] == "no").all()


def test_intracranial_volume_is_a_row_of_the_whole_brain(tmp_path):
    path = tmp_path / "sub-01_ses-2_desc-brain_morph.tsv"
    write_tsv(pd.DataFrame({"name": ["brain", "GM"], "volume_ml": [1500.0, 700.0]}), path)
    table = fusion_table(
        ATLAS, structure=[anat(tmp_path, "sub-01_ses-2", [1.0, 2.0, 3.0, 4.0])], brain=[path]
    )
    row = table[table["measure"] == "tiv"].iloc[0]
    assert (row["region"], row["value"], row["unit"], row["session_id"]) == ("brain", 1500.0, "mL", "ses-2")
    assert (table["measure"] == "tiv").sum() == 1


def test_curves_of_another_program_make_a_table_of_their_own(tmp_path):
    paths, kinpars = [], []
    for person, names in (("01", ["b", "a"]), ("02", ["a", "c"])):
        path = tmp_path / f"sub-{person}_seg-gtm_desc-preproc_morph.tsv"
        write_tsv(pd.DataFrame({"name": names, "volume_mm3": [1500.0, np.nan], "coverage": 1.0}), path)
        paths.append(path)
        kinpar = tmp_path / f"sub-{person}_seg-gtm_model-Logan_kinpar.tsv"
        write_tsv(
            pd.DataFrame({"name": names, "VT": [2.0, 3.0], "coverage": 1.0, "flag": ["ok", "doubt"]}), kinpar
        )
        kinpars.append(kinpar)
    regions = region_table(paths)
    assert regions["name"].tolist() == ["b", "a", "c"]
    table = fusion_table(regions, kinetics=kinpars, volumes=paths)
    volume = table[table["measure"] == "regionvolume"]
    assert volume["value"].tolist() == [1.5, 1.5] and set(volume["unit"]) == {"mL"}
    vt = table[table["measure"] == "VT"].set_index(["participant_id", "region"])["value"]
    assert vt["sub-01", "b"] == 2.0 and np.isnan(vt["sub-01", "a"]) and set(table["unit"]) == {"mL", "mL/cm3"}


def kinetic(folder, stem, model, pvc="none", **values):
    path = folder / f"{stem}_seg-x_model-{model}_kinpar.tsv"
    table = pd.DataFrame({"name": REGIONS, "coverage": 1.0, "flag": "ok", **values})
    write_tsv(table, path)
    path.with_suffix(".json").write_text(json.dumps({"PartialVolumeCorrection": pvc}))
    return path


def models(folder, stem="sub-01"):
    """A study with two reference-tissue models, two plasma models, and uptake, in the order of its config."""
    loose = ["none", "k3,k4", "none", "none"]
    return [
        kinetic(folder, stem, "SRTM", "iy", BPND=1.0, BPND_se=0.1, R1=0.9, k2=0.1, k2a=0.05, k2prime=0.11),
        kinetic(folder, stem, "MRTM2", "iy", BPND=1.1, R1=0.8, k2=0.2),
        kinetic(
            folder,
            stem,
            "2TCM",
            K1=0.1,
            k2=0.2,
            k3=[0.05, 9.0, 0.05, 0.05],
            k4=0.02,
            VT=4.0,
            vB=0.04,
            undetermined=loose,
        ),
        kinetic(folder, stem, "Patlak", Ki=0.03, CMRglc=24.0, intercept=0.5),
        kinetic(folder, stem, "SUVR", SUVR=1.5, SUV=2.5, centiloid=40.0),
    ]


UNITS = {
    "BPND": "1", "R1": "1", "k2_SRTM": "1/min", "k2a_SRTM": "1/min", "k2prime_SRTM": "1/min", "BPND_MRTM2": "1", "R1_MRTM2": "1",
    "k2_MRTM2": "1/min", "K1_2TCM": "mL/cm3/min", "k2_2TCM": "1/min", "k3_2TCM": "1/min", "k4_2TCM": "1/min", "VT": "mL/cm3",
    "vB_2TCM": "1", "Ki": "mL/cm3/min", "CMRglc": "umol/100 mL/min", "SUVR": "1", "SUV": "g/mL", "centiloid": "CL",
}  # fmt: skip


def test_every_parameter_of_every_model_has_its_own_name_and_unit(tmp_path):
    table = fusion_table(ATLAS, kinetics=models(tmp_path))
    assert dict(zip(table["measure"], table["unit"], strict=True)) == UNITS
    # two models are never averaged: the first keeps the plain name
    assert pick(table, "sub-01", "BPND", "LH_a").value == 1.0
    assert pick(table, "sub-01", "BPND_MRTM2", "LH_a").value == 1.1
    assert pick(table, "sub-01", "k2_2TCM", "LH_a").value == 0.2
    assert "model-2TCM" in pick(table, "sub-01", "VT", "LH_a").source


def test_one_more_model_changes_no_name(tmp_path):
    paths = models(tmp_path)
    alone = set(fusion_table(ATLAS, kinetics=[paths[0], paths[4]])["measure"])
    assert alone < set(fusion_table(ATLAS, kinetics=paths)["measure"])
    assert {"BPND", "R1", "SUVR"} < alone


def test_a_rate_that_is_not_determined_is_no_measurement_but_its_outcome_is(tmp_path):
    table = fusion_table(ATLAS, kinetics=models(tmp_path))
    assert np.isnan(pick(table, "sub-01", "k3_2TCM", "RH_a").value)
    assert np.isnan(pick(table, "sub-01", "k4_2TCM", "RH_a").value)
    assert pick(table, "sub-01", "VT", "RH_a").value == 4.0
    assert pick(table, "sub-01", "k3_2TCM", "LH_b").value == 0.05


def test_models_and_tracers_are_told_apart(tmp_path):
    paths = [*models(tmp_path, "sub-01_trc-RAC"), *models(tmp_path, "sub-01_trc-FDG")]
    paths = sorted(
        paths,
        key=lambda p: [m in p.name for m in ("SUVR", "Patlak", "2TCM", "MRTM2", "SRTM")].index(True),
        reverse=True,
    )
    names = set(fusion_table(ATLAS, kinetics=paths)["measure"])
    assert names == {f"{name}_{tracer}" for name in UNITS for tracer in ("RAC", "FDG")}


def test_a_prediction_takes_rates_and_further_models_only_by_name(tmp_path):
    table = fusion_table(ATLAS, kinetics=models(tmp_path))
    taken = {c.split(" ")[1] for c in wide(table, ["pet"]).columns}
    assert taken == {"BPND", "R1", "VT", "Ki", "CMRglc", "SUVR", "centiloid"}
    named = wide(table, ["pet"], measure=["k3_2TCM", "BPND_MRTM2"])
    assert {c.split(" ")[1] for c in named.columns} == {"k3_2TCM", "BPND_MRTM2"}


def test_the_sidecar_tells_model_and_correction(tmp_path):
    write_tsv(ATLAS, tmp_path / "atlas.tsv")
    paths = models(tmp_path)
    outputs = {
        n: tmp_path / "out" / n
        for n in ("features", "schema", "wide", "wide_json", "availability", "availability_json")
    }
    write_fusion(
        tmp_path / "atlas.tsv", ["sub-01"], outputs, kinetics=paths, kinetics_json=[p.with_suffix(".json") for p in paths[::-1]]
    )  # fmt: skip
    measures = read_json(outputs["schema"])["Measures"]
    assert measures["pet BPND"]["PartialVolumeCorrection"] == "iy"
    assert measures["pet BPND"]["Model"] == "SRTM"
    assert measures["pet VT"]["PartialVolumeCorrection"] == "none"
    assert measures["pet VT"]["Units"] == "mL/cm3"
    assert measures["pet BPND_MRTM2"]["Model"] == "MRTM2"
    assert measures["pet k3_2TCM"]["Description"] == "Rate of binding or trapping"
