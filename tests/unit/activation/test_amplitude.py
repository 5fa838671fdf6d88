"""Amplitude of response and derivative: planted latency, what noise adds, and its way through runs to participants."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import amplitude, first_level, fixed, glm, statsmodel
from neurobraid.activation import design as designs
from neurobraid.files import read_json, read_tsv
from tests.unit.activation.test_first_level import Paths

TR, T = 2.0, 160
NAMES = ("a", "diff")
CONTRASTS = [{"name": "a", "weights": {"a": 1}}, {"name": "diff", "weights": {"a": 1, "b": -1}}]
PSC = {"a": 1.0, "b": 0.5}
SHIFTS = (-1.0, 0.0, 1.0, 2.0)
"""Latency of both responses, s, in four slabs of the image."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("late")
    rng = np.random.default_rng(2)
    times = np.arange(T) * TR
    onsets = np.cumsum(rng.uniform(5, 12, 40))
    onsets = onsets[onsets < times[-1] - 20]
    kinds = rng.permutation(np.resize(["a", "b"], len(onsets)))
    percent = np.zeros((8, 6, 6, T))
    height = designs.response_peak([0.0], [2.0])
    for slab, shift in enumerate(SHIFTS):
        for kind, size in PSC.items():
            own = onsets[kinds == kind] + shift
            percent[2 * slab : 2 * slab + 2] += size * designs.regressor(times, own, np.full(len(own), 2.0)) / height  # fmt: skip
    percent += 0.02 * rng.standard_normal(percent.shape)
    nib.save(
        nib.Nifti1Image((900 * (1 + percent / 100)).astype(np.float32), np.diag([3.0, 3, 3, 1])),
        folder / "bold.nii.gz",
    )
    nib.save(nib.Nifti1Image(np.ones((8, 6, 6), np.uint8), np.diag([3.0, 3, 3, 1])), folder / "mask.nii.gz")
    labels = np.repeat(np.arange(1, 5), 2)[:, None, None] * np.ones((1, 6, 6), int)
    nib.save(nib.Nifti1Image(labels.astype(np.int32), np.diag([3.0, 3, 3, 1])), folder / "atlas.nii.gz")
    pd.DataFrame({"index": range(1, 5), "name": list("WXYZ")}).to_csv(
        folder / "atlas.tsv", sep="\t", index=False
    )
    pd.DataFrame({"onset": onsets, "duration": 2.0, "trial_type": kinds}).to_csv(
        folder / "events.tsv", sep="\t", index=False
    )
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    pd.DataFrame(rng.standard_normal((T, 6)), columns=names).to_csv(
        folder / "confounds.tsv", sep="\t", index=False
    )
    (folder / "bold.json").write_text('{"RepetitionTime": 2.0, "StartTime": 0.0}')
    inputs = Paths(
        bold=folder / "bold.nii.gz", mask=folder / "mask.nii.gz", metadata=folder / "bold.json",
        confounds=folder / "confounds.tsv", events=[folder / "events.tsv"], atlas_images=[folder / "atlas.nii.gz"],
        atlas_tables=[folder / "atlas.tsv"],
    )  # fmt: skip
    return folder, inputs


def outputs(folder, level, stats):
    stem = folder / level / "sub-01_task-x"
    return Paths(
        maps=[f"{stem}_contrast-{n}_stat-{s}_statmap.nii.gz" for n in NAMES for s in stats],
        sidecars=[f"{stem}_contrast-{n}_statmap.json" for n in NAMES], design=f"{stem}_design.tsv",
        design_json=f"{stem}_design.json", regions=[f"{stem}_atlas-a_bold.tsv"], region_sidecars=[f"{stem}_atlas-a_bold.json"],
    )  # fmt: skip


STATS = ("effect", "variance", "t", "z", "amplitude")
SETTINGS = {"smoothing_mm": 0, "high_pass_hz": 0.01, "confound_names": ["motion6"]}


@pytest.fixture(scope="module")
def made(run):
    folder, inputs = run
    out = outputs(folder, "run", STATS)
    first_level.run(inputs, out, CONTRASTS, ["a"], hrf="spm + derivative", **SETTINGS)
    return out


def slabs(path):
    return nib.load(path).get_fdata().reshape(4, -1).mean(1)


def test_a_late_response_keeps_its_amplitude_where_the_plain_estimate_loses(made):
    # a condition loses 0 to 3 %; a difference of two has the errors of both
    for row, size, most in ((0, PSC["a"], 0.03), (1, PSC["a"] - PSC["b"], 0.05)):
        plain, both = slabs(made.maps[5 * row]) / size, slabs(made.maps[5 * row + 4]) / size
        assert plain[1] == pytest.approx(1, abs=0.02) and both[1] == pytest.approx(1, abs=0.02)
        late = [0, 2, 3]
        assert (plain[late] < 0.95).all(), "the plain estimate is too small"
        assert (abs(1 - both[late]) < abs(1 - plain[late])).all()
        assert both[[0, 2]] == pytest.approx([1, 1], abs=most)
    plain, both = slabs(made.maps[0]), slabs(made.maps[4])
    assert plain[3] < 0.6 and both[3] > 0.8, (
        "two seconds are too much for either, by far for the plain estimate"
    )
    note = read_json(made.sidecars[0])
    assert "Calhoun" in note["AmplitudeNote"] and "amplitude" in note["Units"]
    table = read_tsv(made.regions[0], text=["contrast"]).set_index(["contrast", "name"])
    assert table.loc[("a", "Y"), "amplitude"] == pytest.approx(1.0, abs=0.03)
    assert table.loc[("a", "Y"), "effect"] < 0.93


def test_runs_are_averaged_and_a_plain_response_has_no_amplitude(run, made):
    folder, inputs = run
    out = outputs(folder, "person", STATS)
    files = {
        name: {kind: [made.maps[5 * row + at]] * 2 for at, kind in enumerate(STATS) if kind not in ("t", "z")}
        | {"sidecar": [made.sidecars[row]] * 2}
        for row, name in enumerate(NAMES)
    }
    fixed.run(files, {"a": made.regions * 2}, out)
    np.testing.assert_allclose(slabs(out.maps[4]), slabs(made.maps[4]), rtol=1e-5)
    assert "mean over runs" in read_json(out.sidecars[0])["AmplitudeNote"]
    one, two = (read_tsv(p.regions[0], text=["contrast"])["amplitude"] for p in (made, out))
    np.testing.assert_allclose(one, two, rtol=1e-6)
    assert "amplitude" in read_json(out.region_sidecars[0])["Units"]
    plain = outputs(folder, "plain", STATS[:4])
    first_level.run(inputs, plain, CONTRASTS, ["a"], hrf="spm", **SETTINGS)
    assert "AmplitudeNote" not in read_json(plain.sidecars[0])
    assert "amplitude" not in read_tsv(plain.regions[0], text=["contrast"])


def test_mean_of_runs_leaves_out_what_is_missing_and_may_go_by_session():
    amplitudes = np.array([[1.0, 2.0], [3.0, 5.0], [8.0, 9.0]])
    variances = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert fixed.mean_amplitude(amplitudes, variances).tolist() == [4.0, 2.0]
    assert fixed.mean_amplitude(amplitudes, variances, ["1", "1", "2"]).tolist() == [5.0, 2.0]
    assert np.isnan(fixed.mean_amplitude(amplitudes, 0 * variances, None, np.nan)).all()


def test_noise_makes_it_too_large_by_what_the_docstring_says():
    """A response without latency in white noise; 4000 voxels; t of 3.5, 7 and nothing."""
    rng = np.random.default_rng(5)
    times = np.arange(T) * TR
    onsets = np.cumsum(rng.uniform(6, 14, 30))
    columns, _ = designs.event_columns(times, onsets, np.full(30, 2.0), "spm + derivative", name="a")
    design = pd.DataFrame(columns).assign(constant=1.0)
    vectors, recipe = amplitude.parts(design, [{"name": "a", "test": "t", "rows": [{"a": 1.0}]}])
    values = design.to_numpy()
    error = np.sqrt(np.linalg.inv(values.T @ values)[0, 0])
    for t in (0.0, 3.5, 7.0):
        size = t * error
        series = size * design["a"].to_numpy()[:, None] + rng.standard_normal((T, 4000))
        fitted = glm.fit(series.astype(np.float32), design.to_numpy(), vectors, "ols")
        found = amplitude.amplitudes(fitted.effect, recipe, {"a": [1.0]}, design)["a"]
        if not t:
            assert abs(found.mean()) < 4 * found.std() / np.sqrt(4000), "the sign is as often wrong as right"
            continue
        assert found.mean() / fitted.effect[0].mean() - 1 == pytest.approx(1 / (2 * t**2), rel=0.2)


def test_derivatives_are_brought_to_the_norm_of_the_response():
    # the constant takes the means out: norms of 2 and 4 are left
    columns = {"a": [1.0, 3.0, 1.0, 3.0], "a_derivative": [0.0, 0.0, 4.0, 4.0], "rt": [1.0, -1, -1, 1]}
    design = pd.DataFrame(columns).assign(constant=1.0)
    rows = [{"a": 1.0, "rt": -2.0}]
    vectors, recipe = amplitude.parts(
        design, [{"name": "c", "test": "t", "rows": rows}, {"name": "f", "test": "F", "rows": rows}]
    )
    assert np.allclose(vectors, np.eye(4)[:3]) and list(recipe) == ["c"]
    assert amplitude.norm_ratio(design, "a") == pytest.approx(2)
    found = amplitude.amplitudes(np.array([[-3.0], [2.0], [1.0]]), recipe, {"c": [0.5]}, design)
    assert found["c"] == pytest.approx([0.5 * (-5.0 - 2.0)])
    series = np.random.default_rng(0).standard_normal((50, 2))
    white = amplitude.whitened(series, [0.3, 0.1])
    np.testing.assert_allclose(white, series[2:] - 0.3 * series[1:-1] - 0.1 * series[:-2])


@pytest.mark.parametrize(
    ("hrf", "boosted"),
    [("spm", False), ("glover + derivative", True), ("spm + derivative + dispersion", True), ("fir", False)],
)
def test_models_with_a_derivative_are_known_before_the_data(hrf, boosted):
    model = first_level.as_model(
        CONTRASTS, hrf=hrf, confounds=[], noise_model="ar1", smoothing_mm=0, high_pass_hz=0.01
    )
    (plan,) = statsmodel.plans(model)
    assert plan.boosted is boosted
