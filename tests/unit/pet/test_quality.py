"""Quality numbers of PET scans and the table of a study."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.files import read_json, read_tsv, write_json
from neurobraid.pet import quality

from . import phantom
from .curves import pair

TIMING = phantom.frames()


def test_stability_tells_scatter_from_washout():
    late = quality.tail(TIMING)
    assert 4 <= late.sum() < len(late)
    line = 10 - 0.05 * (TIMING.mid / 60)
    cv, slope = quality.stability(line, TIMING)
    assert cv == pytest.approx(0, abs=1e-9)
    assert slope == pytest.approx(
        -100 * 0.05 / np.average(line[late], weights=TIMING.duration[late]), rel=1e-6
    )
    rng = np.random.default_rng(0)
    noisy = [
        quality.stability(line * (1 + 0.04 * rng.standard_normal(len(line))), TIMING)[0] for _ in range(400)
    ]
    assert np.sqrt(np.mean(np.square(noisy))) == pytest.approx(0.04, rel=0.1)
    assert np.isnan(
        quality.stability(line[-3:], type(TIMING)(TIMING.start[-3:], TIMING.end[-3:], np.ones(3)))
    ).all()
    broken = line.copy()
    broken[-2] = np.nan
    assert np.isnan(quality.stability(broken, TIMING)).all()


def test_tail_noise_is_that_of_a_voxel():
    rng = np.random.default_rng(1)
    shape = (17, 19, 23)
    structure = 5 + rng.random(shape)
    series = np.stack([structure * f for f in (1.0, 0.9, 0.8)], -1)
    series += 0.3 * rng.standard_normal(series.shape) * np.array([1, 1, 1])
    brain = np.ones(shape, bool)
    expected = 0.3 / structure.mean() * np.sqrt(0.5 * (1 / 0.9**2 + 1 / 0.8**2))
    assert quality.tail_noise(series.astype(np.float32), brain) == pytest.approx(expected, rel=0.05)
    assert np.isnan(quality.tail_noise(series[..., :1], brain))
    assert np.isnan(quality.tail_noise(series, ~brain))


def test_asymmetry_names_the_region():
    table = pd.DataFrame(
        {
            "name": ["LH_-42_3_5", "LH_-20_9_-4", "RH_20_9_-4", "RH_42_3_5", "Vermis"],
            "hemisphere": ["L", "L", "R", "R", "n/a"],
        }
    )
    values = {"LH_-42_3_5": 5.0, "RH_42_3_5": 5.2, "LH_-20_9_-4": 9.0, "RH_20_9_-4": 11.0, "Vermis": 3.0}
    curves = pd.DataFrame({name: [value] * 3 for name, value in values.items()})
    value, region = quality.asymmetry(curves, table, np.ones(3, bool))
    assert (value, region) == (pytest.approx(0.2), "LH_-20_9_-4")
    assert quality._homologue("Left-Putamen", "L") == quality._homologue("Right-Putamen", "R")
    assert quality._homologue("ctx-lh-insula", "L") == quality._homologue("ctx-rh-insula", "R")
    assert np.isnan(quality.asymmetry(curves, table.drop(columns="hemisphere"), np.ones(3, bool))[0])


def test_numbers_of_a_scan():
    reference, target = pair(TIMING.start, TIMING.end, 1.0, 0.1, 1.0)
    series = np.tile(target.astype(np.float32), (5, 6, 7, 1))
    names = pd.DataFrame({"name": ["a", "b"], "hemisphere": ["n/a", "n/a"], "coverage": [1.0, 0.3]})
    found = quality.curve_quality(
        series, np.ones((5, 6, 7), bool), TIMING, reference, {"volume_mm3": 9e3, "coverage": 0.97},
        [(pd.DataFrame({"a": target, "b": target}), names)], dose_mbq=370, weight_kg=74,
    )  # fmt: skip
    assert set(found) - {"asymmetry_region"} <= set(quality.METRICS)
    assert found["regions_without_curve"] == 1
    late = quality.tail(TIMING)
    mean = np.average(reference[late], weights=TIMING.duration[late])
    assert found["reference_suv_tail"] == pytest.approx(mean * 74 / 370)
    assert found["reference_coverage"] == 0.97
    assert found["reference_tail_slope_percent_per_min"] < 0
    assert found["tail_noise"] == pytest.approx(0, abs=1e-6)


def write(folder, scan, **numbers):
    first, second = folder / f"{scan}_desc-pet_qc.json", folder / f"{scan}_desc-curves_qc.json"
    base = {
        "tracer": "[11C]raclopride",
        "scanner": "Make Model",
        "site": "A",
        "warnings": [],
        "fd_mean_mm": 0.2,
    }
    write_json(base | {k: v for k, v in numbers.items() if k in base}, first)
    write_json({k: v for k, v in numbers.items() if k not in base}, second)
    return [first, second]


def test_outliers_by_site_and_scanner(tmp_path):
    rng = np.random.default_rng(2)
    files = []
    for i in range(8):
        files.append(
            write(
                tmp_path,
                f"sub-{i:02d}_ses-1",
                fd_mean_mm=0.2 + 0.01 * rng.random(),
                reference_tail_cv=0.02 + 0.001 * i,
            )
        )
    # another site moves more: no outlier among its own
    for i in range(8, 14):
        files.append(
            write(
                tmp_path,
                f"sub-{i}_ses-1",
                site="B",
                fd_mean_mm=0.9 + 0.05 * rng.random(),
                reference_tail_cv=0.05,
            )
        )
    files.append(write(tmp_path, "sub-20_ses-1", fd_mean_mm=0.6, reference_tail_cv=0.2, warnings=["a", "b"]))
    files.append(write(tmp_path, "sub-21", tracer="n/a", site="n/a", scanner="n/a"))
    quality.write_quality(files, tmp_path / "t.tsv", tmp_path / "t.json")
    table = read_tsv(tmp_path / "t.tsv").set_index("bids_name")
    assert table.loc["sub-20_ses-1_pet", "flags"] == "fd_mean_mm;reference_tail_cv"
    assert table.loc["sub-20_ses-1_pet", "warnings"] == 2
    flagged = table[table["outlier"].astype(str).str.lower() == "true"]
    assert list(flagged.index) == ["sub-20_ses-1_pet"]
    assert pd.isna(table.loc["sub-21_pet", "flags"])
    assert "max_displacement_mm" not in table
    note = read_json(tmp_path / "t.json")
    assert any("1 scans, fewer than 5" in text for text in note["Notes"])
    assert note["fd_mean_mm"]["Units"] == "mm"
    assert set(table.reset_index().columns) <= set(note)
