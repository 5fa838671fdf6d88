"""The PET part of the pages: every model, what it leaves over, the reasons not to believe it, and who stands out."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.reports import methods, pet_figures, pet_methods, pet_pages, pet_study
from neurobraid.reports.gather import Inputs
from neurobraid.reports.measures import MEASURES
from neurobraid.reports.pages import Gallery, Section
from neurobraid.reports.participant import _Participant
from neurobraid.reports.planes import Volume

from .conftest import AFFINE, NASTY, REGIONS, SHAPE, _json, _table
from .test_pages import check, person_page, study_page

#: what the page shows of other stages
WITHOUT = ("confounds", "activation", "relmat", "coverage", "t1w_mni", "anat_qc")
PET = Path("results/derivatives/sub-01/pet")
STEM = "sub-01_trc-RAC"


def kinpar(model, values, **notes):
    """Kinetic table and sidecar of a model of the small study."""
    table = _table({"name": REGIONS, **values}, PET / f"{STEM}_seg-mini_model-{model}_kinpar.tsv")
    return table, _json(notes, PET / f"{STEM}_seg-mini_model-{model}_kinpar.json")


@pytest.fixture
def rich(study):
    """Inputs of sub-01 with a graphical model, two plasma models, blood and a correction for partial volume."""
    person = {k: v for k, v in study[0].items() if "bold" not in k and k not in WITHOUT}
    curves = read_tsv(person["tacs"])
    frames = curves[["frame_start", "frame_end"]]
    tables = [
        (person["kinpar"], person["kinpar_json"]),
        kinpar(
            "refLogan",
            {"BPND": [0.25, 9.0, 2.4], "BPND_se": [0.02, 8.0, 0.05], "intercept": [-1.0, -1.0, -5.0], "runs_p": [0.01, 0.6, 0.7],
             "flag": ["ok", f"standard error above 50 % {NASTY}", "ok"], "undetermined": ["none", "BPND", "none"]},
            TStarMin=15.0, Units={"BPND": "1", "intercept": "min"}, K2Prime1PerMin=0.157, K2PrimeSource="median of MRTM1 over regions",
            ReferenceRegions=["CerebLH_c"], PartialVolumeCorrection="iy",
        ),
        kinpar(
            "2TCM",
            {"K1": [0.1, 0.1, 0.09], "VT": [4.0, 4.5, 9.0], "VT_se": [0.1, 0.1, 0.2], "flag": ["ok", "ok", "ok"]},
            Units={"VT": "mL/cm3", "K1": "mL/cm3/min"}, BloodFraction=0.05, PartialVolumeCorrection="none",
        ),
        kinpar(
            "Logan", {"VT": [4.1, 4.4, 8.8], "VT_se": [0.1, 0.1, 0.2], "intercept": [-3.0, -3, -9], "flag": ["ok"] * 3},
            Units={"VT": "mL/cm3", "intercept": "min"}, TStarMin=20.0, BloodFraction=0.05,
        ),
    ]  # fmt: skip
    fits = [person["fits"]]
    for model in ("refLogan", "2TCM", "Logan"):
        fits.append(
            _table(
                {**frames, **{r: curves[r] * 1.01 for r in REGIONS}},
                PET / f"{STEM}_seg-mini_model-{model}_desc-fit_tacs.tsv",
            )
        )
    points = {
        "name": np.repeat(REGIONS, 4), "frame_start": np.tile(frames["frame_start"], 3), "frame_end": np.tile(frames["frame_end"], 3),
        "x": np.tile([10.0, 20, 30, 40], 3), "y": np.tile([12.0, 24, 36, 48], 3), "used": np.tile([0, 0, 1, 1], 3),
    }  # fmt: skip
    plots = [
        _table(points, PET / f"{STEM}_seg-mini_model-{m}_desc-plot_table.tsv") for m in ("refLogan", "Logan")
    ]
    corrected = curves.copy()
    corrected[REGIONS] *= 2.0
    corrected["LH_a"] *= 2.0
    t = np.array([0.0, 30, 60, 600, 3600])
    person.update(
        kinpar=[t for t, _ in tables],
        kinpar_json=[j for _, j in tables],
        fits=fits,
        plots=plots,
        tacs=_table(corrected, PET / f"{STEM}_seg-mini_pvc-IY_desc-preproc_tacs.tsv"),
        tacs_plain=person["tacs"],
        tacs_json=_json(
            {"PartialVolumeCorrection": "iy", "PointSpreadFWHMmm": [5.5, 6, 7], "ConditionNumber": 12.345},
            PET / f"{STEM}_seg-mini_pvc-IY_desc-preproc_tacs.json",
        ),
        reference=_table({"reference": [8.0] * 4}, PET / f"{STEM}_label-reference_pvc-IY_desc-preproc_tacs.tsv"),
        reference_plain=_table({"reference": [4.0] * 4}, PET / f"{STEM}_label-reference_desc-preproc_tacs.tsv"),
        inputfunction=_table(
            {"time": t, "whole_blood_radioactivity": [0.0, 30, 12, 4, 2], "plasma_radioactivity": [0.0, 40, 15, 5, 3],
             "metabolite_parent_fraction": [1, 0.95, 0.9, 0.6, 0.3], "AIF": [0, 38, 13.5, 3, 0.9]},
            PET / f"{STEM}_inputfunction.tsv",
        ),
        inputfunction_json=_json(
            {"DelaySeconds": 7.0, "DelaySource": "fit", "ParentFractionModel": "hill", "Messages": [f"odd tube {NASTY}"], "Missing": None},
            PET / f"{STEM}_inputfunction.json",
        ),
        samples=_table(
            {"time": [37.0, 607.0], "recording": ["manual"] * 2, "plasma_radioactivity": [40.0, 5.0],
             "metabolite_parent_fraction": [np.nan, 0.6]},
            PET / f"{STEM}_desc-samples_timeseries.tsv",
        ),
        pet_qc=_json(
            {"frames": 4, "warnings": [], "coreg_score": 0.7, "coreg_null_mean": 0.16, "coreg_null_max": 0.23, "coreg_above_null": 17.0,
             "brain_suv_mean": 1.9},
            PET / f"{STEM}_desc-pet_qc.json",
        ),
    )  # fmt: skip
    return person


def test_every_model_is_shown_with_its_residuals_and_reasons(rich, config):
    read = check(person_page(rich, config))
    files = [image["src"].rpartition("/")[2] for image in read.images]
    for ending in (
        "referencefits.svg", "plasmafits.svg", "plots.svg", "input.svg", "partialvolume.svg", "profiles.png", "referencemaps.png",
        "motioncorrection_before.png", "motioncorrection_after.png", "pet_coregistration_reference.png", "pet_coregistration_T1w.png",
        "bpnd.svg", "vt.svg",
    ):  # fmt: skip
        assert sum(f.endswith(ending) for f in files) == 1, ending
    text = read.text
    assert "the curves of SRTM, refLogan (lines), and what they leave over" in text
    assert "the curves of 2TCM, Logan (lines)" in text
    assert "refLogan from 15.0 min" in text
    assert "Logan from 20.0 min" in text
    assert "0.250 ± 0.02" in text or "0.25 ± 0.02" in text
    assert "standard error above 50 %" in text
    assert "not determined: BPND" in text
    assert "1 of 3" in text, "one region's residuals are in runs"
    assert "k2′ = 0.157 per min (median of MRTM1 over regions)" in text
    assert "VT (mL/cm3)" in text
    assert "5.5 × 6 × 7 mm full width at half maximum, condition number 12.3" in text
    assert "A delay of 7 s (fitted to the whole-brain curve) was taken off" in text
    assert "Parent fraction: hill" in text
    assert "odd tube" in text
    assert "at most 0.230. The alignment is far better than any wrong orientation" in text
    # frames whose middle lies in the second half, by duration; the correction multiplied LH_a by 4 and its reference by 2
    weights = pet_pages._late_weights(read_tsv(rich["tacs_plain"]))
    assert weights == pytest.approx([0, 0, 0, 1])
    assert "LH_a 6.00 24.00 300.0 1.500 3.000" in text
    # text from files is escaped, figures stay small
    assert NASTY not in Path("results/reports/sub-01.html").read_text()
    assert sum(p.stat().st_size for p in Path("results/reports/figures/sub-01").iterdir()) < 4e6
    assert "usual for FDG: 3 to 12" in text, "numbers have a meaning in plain words"


def blocks(inputs, config, *parts):
    """Blocks that some parts of the scan add to a page, and the files of their pictures."""
    job = _Participant(
        "sub-01", Inputs(inputs), Gallery("results/reports/figures", "results/reports/x.html"), config
    )
    section, scan = Section("pet", "PET"), pet_pages.Scan(job, STEM)
    for part in parts:
        getattr(scan, part)(section)
    return section.blocks


def texts(made):
    return " ".join(getattr(b, "text", "") + getattr(b, "caption", "") for b in made)


def test_poor_registration_is_said(rich, config):
    path = Path(rich["pet_qc"])
    content = {**json.loads(path.read_text()), "coreg_score": 0.2, "coreg_above_null": 1.0}
    path.write_text(json.dumps(content))
    assert "A wrong orientation scores nearly as well" in texts(blocks(rich, config, "registration"))


def test_scan_without_blood_says_why_plasma_models_have_no_value(rich, config):
    inputs = {k: v for k, v in rich.items() if k not in ("inputfunction", "inputfunction_json", "samples")}
    heading, note = blocks(inputs, config, "input_function")
    assert heading.text == "Arterial input function"
    assert note.tone == "missing"
    assert note.text == "No input function: the scan has no blood. 2TCM, Logan have no value here."


def test_static_scan_has_no_motion_figures(study, config):
    inputs = dict(study[0])
    _table({"frame_start": [3000.0], "frame_end": [4200.0]}, Path(inputs["pet_frames"]))
    _table({"trans_x": [0.0], "framewise_displacement": [np.nan]}, Path(inputs["pet_confounds"]))
    (note,) = blocks(inputs, config, "motion")
    assert "A scan of one frame has no motion" in note.text


def test_gaps_and_large_displacements_are_marked_in_the_frame_table(study, config):
    inputs = dict(study[0])
    _table({"frame_start": [0.0, 600, 2400], "frame_end": [600.0, 1200, 3000]}, Path(inputs["pet_frames"]))
    _table(
        {"trans_x": [0.0] * 3, "framewise_displacement": [np.nan, 0.2, 4.5]}, Path(inputs["pet_confounds"])
    )
    (fold,) = blocks(inputs, config, "frame_table")
    rows = fold.blocks[0].cells()
    assert [c.text for c in rows[1]] == ["1", "10.00", "20.00", "600", "", "0.20"]
    assert [c.text for c in rows[2]] == ["2", "40.00", "50.00", "600", "20.0 min gap before", "4.50"]
    assert [c.tone for c in rows[2]][-2:] == ["warn", "warn"]


def test_flags_are_grouped_by_reason():
    table = pd.DataFrame(
        {
            "name": [f"r{n}" for n in range(9)],
            "flag": ["ok", "reference", *["k2a at upper bound"] * 6, "no data"],
        }
    )
    assert pet_pages.flag_rows(table, 2) == [
        ("k2a at upper bound", 6, "r2, r3 and 4 more"),
        ("no data", 1, "r8"),
    ]
    assert pet_pages.flag_rows(table.assign(flag="no blood"))[0][2] == "all"
    assert pet_pages.flag_rows(table.drop(columns="flag")) == []


def test_parameter_table_has_units_errors_and_marks_what_is_flagged():
    table = pd.DataFrame(
        {"name": ["a", "b"], "VT": [4.0, np.nan], "VT_se": [0.123, np.nan], "k2": [0.1, np.nan], "residual_sd": [0.5, np.nan],
         "flag": ["ok", "no data"], "undetermined": ["k2", "none"], "coverage": [1, 0.2]}
    )  # fmt: skip
    shown = pet_pages.parameter_table(table, {"VT": "mL/cm3", "k2": "1/min", "residual_sd": "kBq/mL"})
    assert shown.columns == [
        "Region",
        "VT (mL/cm3)",
        "k2 (1/min)",
        "Residual SD (kBq/mL)",
        "Coverage",
        "Flag",
    ]
    first, second = shown.cells()
    assert [c.text for c in first] == ["a", "4 ± 0.12", "0.1", "0.5", "1", "ok"]
    assert first[-1].note == "not determined: k2"
    assert second[1].text == "n/a"
    assert (first[-1].tone, second[-1].tone) == ("", "warn")


def lines_of(figure, axes):
    return [line for line in figure.axes[axes].lines if len(line.get_xdata()) > 2]


def test_residuals_are_measured_minus_fit_on_one_scale():
    minutes = np.array([1.0, 5, 20, 40])
    measured = np.array([1.0, 4, 3, 2])
    figure = pet_figures.tac_fits(
        minutes,
        [("a", measured, {"SRTM": measured - 0.5, "refLogan": np.array([np.nan, np.nan, 3.25, 2])})],
        models=["SRTM", "refLogan"],
        tstars={"refLogan": 15.0},
    )
    first, second = lines_of(figure, 1)
    assert first.get_ydata() == pytest.approx([0.5] * 4)
    assert second.get_ydata()[2:] == pytest.approx([-0.25, 0])
    assert np.isnan(second.get_ydata()[:2]).all()
    assert "kBq/mL" in figure.axes[0].get_ylabel()
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["measured", "SRTM", "refLogan"]
    assert any(np.allclose(line.get_xdata(), 15.0) for line in figure.axes[0].lines)


def test_line_of_a_plot_runs_over_the_points_used():
    points = pd.DataFrame({"x": [1.0, 2, 3, 4], "y": [9.0, 5, 7, 9], "used": [0, 1, 1, 1]})
    figure = pet_figures.graphical([("refLogan", "x (min)", "y (min)", 12.5, [("a", points, 2.0, 1.0)])])
    early, used, line = figure.axes[0].lines
    assert list(early.get_xdata()) == [1.0]
    assert list(used.get_xdata()) == [2.0, 3.0, 4.0]
    assert list(line.get_xdata()) == [2.0, 4.0]
    assert list(line.get_ydata()) == [5.0, 9.0]
    assert "t* = 12.5 min" in figure.axes[0].get_title(loc="left")


def test_samples_are_drawn_where_the_brain_saw_them():
    table = pd.DataFrame(
        {"time": [0.0, 60, 3600], "whole_blood_radioactivity": [0.0, 20, 2], "plasma_radioactivity": [0.0, 30, 3], "AIF": [0.0, 25, 1],
         "metabolite_parent_fraction": [1.0, 0.8, 0.3]}
    )  # fmt: skip
    samples = pd.DataFrame(
        {"time": [90.0], "plasma_radioactivity": [30.0], "metabolite_parent_fraction": [0.8]}
    )
    figure = pet_figures.input_function(table, samples, delay_s=30.0, end_min=60)
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [list(d.get_xdata()) for d in dots] == [[1.0]]
    labels = [t.get_text() for t in figure.axes[1].get_yticklabels()]
    assert "1" in labels and "20" in labels
    assert not any("10^" in text for text in labels)


def test_edges_lie_where_activity_falls_to_half():
    mask = np.zeros(SHAPE, np.float32)
    mask[4:12, 4:15, 3:11] = 1
    activity = 6.0 * mask
    activity[7:9, 8:10, 6:8] = 30.0
    outer, hot = pet_figures.edge_levels(Volume(activity, AFFINE, np.eye(4)), Volume(mask, AFFINE))
    assert outer == pytest.approx(3.0)
    assert 6.0 < hot < 30.0


def test_invalid_voxels_have_a_colour_of_their_own():
    mask = np.zeros(SHAPE, np.float32)
    mask[3:13, 3:16, 3:12] = 1
    valid = mask.copy()
    valid[8:] = 0
    whole, brain = Volume(2 * mask, AFFINE), Volume(mask, AFFINE)
    near = Volume(np.zeros(SHAPE, np.float32), AFFINE)

    def painted(second):
        figure = pet_figures.parametric_maps(
            [("SRTM, BPND", whole, second, "BP", (0.0, 3.0))], brain, brain, near, count=3
        )
        images = figure.axes[0].images
        return [int(np.isfinite(np.ma.filled(i.get_array().astype(float), np.nan)).sum()) for i in images[2:]]

    assert painted(None) == []
    (half,) = painted(Volume(valid, AFFINE))
    (none,) = painted(Volume(mask, AFFINE))
    assert half > 100
    assert none == 0
    assert pet_figures.scale_of([whole], [brain]) == (0.0, 2.0)


# ------------------------------------------------------------------------------------------------------------ the study


def quality_rows(out=3):
    rows = []
    for n in range(7):
        rows.append(
            {"bids_name": f"sub-{n:02d}_trc-RAC_pet", "participant_id": f"sub-{n:02d}", "session_id": "n/a", "tracer": "raclopride",
             "site": "North" if n < 5 else "South", "scanner": f"HR {NASTY}", "warnings": 0, "fd_max_mm": 1.0 + 0.1 * n + 9 * (n == out),
             "tail_noise": 0.03, "flags": "n/a" if n >= 5 else "fd_max_mm" if n == out else "none",
             "outlier": "n/a" if n >= 5 else "true" if n == out else "false"}
        )  # fmt: skip
    return rows


def test_group_page_names_who_stands_out_by_site_and_scanner(study, config):
    path = Path("results/derivatives/group/desc-petquality_table.tsv")
    write_tsv(pd.DataFrame(quality_rows()), path)
    write_json({"FlagLimit": 3.0}, path.with_suffix(".json"))
    read = check(study_page(study[1], config, pet_quality=str(path)))
    assert any(image["src"].endswith("study_quality_pet.svg") for image in read.images)
    assert "PET scans that stand out: 1 of 7" in read.text
    assert "Largest FD between frames (mm): 10.30 (median 1.20)" in read.text, "the median of its own site"
    assert "sub-03.html#pet" in read.links
    assert "too few to judge" in read.text
    assert "2 of 7 PET scans belong to a tracer, site and scanner with too few scans" in read.text
    assert "North" in read.text and "South" in read.text
    write_tsv(pd.DataFrame(quality_rows(out=9)), path)
    text = check(study_page(study[1], config, pet_quality=str(path))).text
    assert "No PET scan stands out among those of its tracer, site and scanner" in text


def test_group_outcomes_leave_flagged_regions_out(rich, study, config):
    inputs = {**study[1], "kinpar": rich["kinpar"], "kinpar_json": rich["kinpar_json"]}
    drawn = {}

    def keep(values, **kwargs):
        drawn[kwargs["label"]] = values
        return original(values, **kwargs)

    original = pet_study.figures.regional_box
    try:
        pet_study.figures.regional_box = keep
        read = check(study_page(inputs, config))
    finally:
        pet_study.figures.regional_box = original
    assert set(drawn) == {"BP$_{ND}$ (unitless)", "V$_{T}$ (mL/cm³)"}
    assert drawn["BP$_{ND}$ (unitless)"].loc[STEM, "SubLH_b"] == 2.5
    assert "Outcomes of every model, atlas mini" in read.text
    # three regions of refLogan, one of them flagged
    assert re.search(r"refLogan reference Logan plot BPND 1 of 1 33\.3", read.text)
    assert "2TCM" in read.text


def test_letters_go_on_after_z():
    assert pet_study.letters(27)[-1] == "AA"


# ---------------------------------------------------------------------------------------------------------- the methods


def sentences(pairs, settings=None, **facts):
    config = {"pet": {"models": [m for m, _ in pairs], "reference": ["cerebellum"], **(settings or {})}}
    texts, references = methods.paragraphs(
        config, {"participants": 1, "software": {}, "counts": {"pet": 1}, "kinetics": pairs, **facts}
    )
    return dict(texts)["PET"], references


def test_methods_tell_the_values_really_used():
    pairs = [
        ("SRTM", {"BasisFunctions": 99, "BasisRange1PerMin": [0.01, 0.5], "Weights": "frame duration"}),
        ("refLogan", {"TStarMin": 12.5, "K2Prime1PerMin": 0.161, "K2PrimeSource": "median of MRTM1"}),
        ("refLogan", {"TStarMin": 20.0, "K2Prime1PerMin": 0.142, "K2PrimeSource": "median of MRTM1"}),
        ("2TCM", {"BloodFraction": "fitted"}),
        ("Logan", {"BloodFraction": 0.05, "TStarMin": 33.0}),
        ("SUVR", {"WindowMin": [50, 70], "WindowSource": "shipped preset"}),
        ("Patlak", {"Description": "Regional parameters, Patlak; not available: the scan has no blood"}),
    ]
    text, references = sentences(
        pairs,
        {"pvc": "iy"},
        curves=[
            {"PartialVolumeCorrection": "iy", "PointSpreadFWHMmm": [5, 5, 6.5], "Iterations": 7, "ConditionNumber": 21.6, "Masks": "fuzzy"}
        ],
        input=[{"Missing": None, "ParentFractionModel": "hill", "PlasmaOverBlood": "linear", "DelaySeconds": 4.0, "DelaySource": "fit"}],
        reference=[
            {"ReferenceRegions": ["a", "b"], "ReferenceAtlas": "mini", "GreyMatterThreshold": 0.6, "RestrictedToGreyMatter": True,
             "ErosionVoxels": 2, "VolumeMm3": 30500.0}
        ],
    )  # fmt: skip
    for words in (
        "99 basis functions", "k2a 0.01 to 0.5 per min", "k2′ was 0.151 (0.142 to 0.161) per min", "16.2 min (12.5 to 20) for refLogan",
        "fitted in the compartment models", "0.05 in the linear models", "33 min for Logan", "50 to 70 min after injection",
        "Patlak was asked for but could not be fitted to any scan (the scan has no blood)", "iterative Yang", "5 x 5 x 6.5 mm",
        "7 iterations", "condition number 21.6", "parent fraction hill", "delay 4 s", "eroded by 2 voxels", "above 0.6", "30.5 mL",
        "models with a plasma input read the curves without that correction",
    ):  # fmt: skip
        assert words.replace("16.2 min (", "16.2 (").replace(" to 20) for", " to 20) min for") in text, words
    cited = {int(n) for n in re.findall(r"\[(\d+)\]", text)}
    assert max(cited) <= len(references)
    joined = " ".join(references)
    for paper in (
        "Lammertsma",
        "Gunn RN et al. (1997)",
        "Logan J et al. (1996)",
        "Logan J et al. (1990)",
        "Golub",
        "Erlandsson",
    ):
        assert paper in joined, paper
    for paper in ("Patlak", "Rousset", "Ichise", "Klunk"):
        assert paper not in joined, "only what was done is cited"


def test_methods_do_not_claim_grey_matter_for_a_mask():
    text = pet_methods.reference(
        {"reference": ["masks/pons.nii.gz"]},
        [
            {
                "ReferenceRegions": ["masks/pons.nii.gz"],
                "ReferenceAtlas": "mask",
                "RestrictedToGreyMatter": False,
                "GreyMatterThreshold": 0.5,
            }
        ],
    )
    assert text == "The reference region was the mask pons.nii.gz."


def test_every_model_has_a_sentence_and_every_paper_is_listed():
    assert set(pet_methods.PHRASES) | {"SUVR"} == set(pet_pages.MODELS)
    for _, _, papers in pet_methods.PHRASES.values():
        assert set(papers) <= set(methods.REFERENCES)
    for _, papers in pet_methods.PVC.values():
        assert set(papers) <= set(methods.REFERENCES)
    assert set(pet_pages.PVC_METHODS) == set(pet_methods.PVC)


def test_every_number_of_pet_quality_has_a_meaning():
    from neurobraid.pet.quality import METRICS

    for name in METRICS:
        assert name in MEASURES, name
        assert len(MEASURES[name].meaning) > 15, name


def test_names_of_models_are_those_of_the_stages():
    from neurobraid.fusion import schema
    from neurobraid.pet import model, plasma

    assert set(pet_pages.MODELS) == {*model.MODELS, *plasma.MODELS} == set(schema.PET_MODELS)
    assert set(pet_pages.PLASMA) == set(plasma.MODELS)
