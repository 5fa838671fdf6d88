"""Group designs against statsmodels-like algebra, mixed effects against truth, and every wrong table."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from neurobraid.activation import designed, groupdesign, mixed, statsmodel
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_tsv
from tests.unit.activation.test_first_level import Paths

PEOPLE = [f"sub-{n:02d}" for n in range(1, 13)]


def table(**columns):
    rng = np.random.default_rng(0)
    base = {"age": rng.uniform(20, 60, 12).round(1), "diagnosis": ["patient", "control", "control"] * 4}
    return pd.DataFrame(base | columns, index=pd.Index(PEOPLE, name="participant_id"))


def node_of(**design):
    design = {"name": "d", "tests": [{"name": "diff", "weights": {"patient": 1, "control": -1}}]} | design
    settings = {"hrf": "spm", "noise_model": "ar1", "smoothing_mm": 0, "confounds": [], "high_pass_hz": 0.01}
    record = {"task": "t", "contrasts": [{"name": "left", "weights": {"left": 1}}]}
    model = statsmodel.translate(settings | {"designs": [design]}, record)
    statsmodel.check_model(model).raise_errors()
    return statsmodel.plans(model)[0].designs[0]


TWO_SAMPLE = {"groups": "diagnosis", "covariates": ["age"]}


def test_two_samples_with_a_covariate_equal_least_squares():
    design = groupdesign.build(node_of(**TWO_SAMPLE), table(), PEOPLE)
    assert list(design.matrix) == ["diagnosis.control", "diagnosis.patient", "age"]
    assert design.sizes == {"control": 8, "patient": 4} and design.missing == []
    assert abs(design.matrix["age"].mean()) < 1e-12, "centred within the sample"
    y = np.random.default_rng(1).standard_normal((12, 30))
    effect, variance, t, _ = mixed.ordinary(y, design.matrix.to_numpy()).t_contrast(design.contrast("diff"))
    # the textbook with intercept and dummy coding gives the same difference and the same t
    x = np.column_stack([np.ones(12), table()["diagnosis"] == "patient", table()["age"]]).astype(float)
    beta, square, *_ = np.linalg.lstsq(x, y, rcond=None)
    error = np.sqrt(np.linalg.inv(x.T @ x)[1, 1] * square / 9)
    np.testing.assert_allclose(effect, beta[1], rtol=1e-9)
    np.testing.assert_allclose(t, beta[1] / error, rtol=1e-9)
    np.testing.assert_allclose(variance, error**2, rtol=1e-9)


def test_two_samples_without_covariate_are_the_t_test():
    design = groupdesign.build(node_of(groups="diagnosis"), table(), PEOPLE)
    y = np.random.default_rng(2).standard_normal((12, 20))
    *_, t, _ = mixed.ordinary(y, design.matrix.to_numpy()).t_contrast(design.contrast("diff"))
    patient = (table()["diagnosis"] == "patient").to_numpy()
    np.testing.assert_allclose(t, stats.ttest_ind(y[patient], y[~patient]).statistic, rtol=1e-9)


def test_f_over_groups_is_the_analysis_of_variance():
    labels = ["a", "b", "c"] * 4
    rows = [{"a": 1, "b": -1}, {"b": 1, "c": -1}]
    node = node_of(groups="site", tests=[{"name": "any", "rows": rows}])
    design = groupdesign.build(node, table(site=labels), PEOPLE)
    y = np.random.default_rng(3).standard_normal((12, 15))
    *_, f, z = mixed.ordinary(y, design.matrix.to_numpy()).f_contrast(design.contrast("any"))
    groups = [y[np.array(labels) == s] for s in "abc"]
    wanted = stats.f_oneway(*groups)
    np.testing.assert_allclose(f, wanted.statistic, rtol=1e-8)
    np.testing.assert_allclose(stats.norm.sf(z), wanted.pvalue, rtol=1e-6)


def test_missing_values_are_listed_and_groups_of_numbers_are_labels():
    known = table(group=[1.0, 2.0] * 6)
    known.loc["sub-03", "age"] = np.nan
    known = known.drop("sub-12")
    node = node_of(groups="group", covariates=["age"], tests=[{"name": "diff", "weights": {"1": 1, "2": -1}}])
    design = groupdesign.build(node, known, PEOPLE, without=[("sub-13", "no run")])
    assert len(design.matrix) == 10 and design.sizes == {"1": 5, "2": 5}
    assert {row["participant_id"]: row["reason"] for row in design.missing} == {
        "sub-13": "no run", "sub-03": "no age in participants.tsv", "sub-12": "no group, age in participants.tsv",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("design", "columns", "text"),
    [
        ({"covariates": ["weight"], "tests": [{"name": "w", "weights": {"weight": 1}}]}, {}, "weight (design d)"),
        ({"covariates": ["age"], "tests": [{"name": "a", "weights": {"age": 1}}]}, {"age": 40.0}, "every participant"),
        ({"covariates": ["age"], "tests": [{"name": "a", "weights": {"age": 1}}]}, {"age": ["old"] * 12}, "a number"),
        (TWO_SAMPLE, {"diagnosis": ["patient"] * 2 + ["control"] * 10}, "2 participant(s) with patient"),
        (TWO_SAMPLE, {"diagnosis": "patient"}, "only patient"),
        ({"groups": "diagnosis", "tests": [{"name": "x", "weights": {"patients": 1, "control": -1}}]}, {}, "diagnosis.patients"),
    ],
)  # fmt: skip
def test_wrong_tables_and_tests(design, columns, text):
    with pytest.raises(InputError) as error:
        groupdesign.build(node_of(**design), table(**columns), PEOPLE)
    assert text in str(error.value)


def test_too_few_for_the_columns():
    node = node_of(covariates=["age"], tests=[{"name": "a", "weights": {"age": 1}}])
    with pytest.raises(InputError, match="2 participants"):
        groupdesign.build(node, table(), PEOPLE[:2])


def simulated(seed, n=20, voxels=4000, tau=0.6, effect=0.0, spread=(0.05, 2.0)):
    """Participants whose first level is of very different quality."""
    rng = np.random.default_rng(seed)
    s2 = np.repeat(spread, n // 2)[:, None] * rng.uniform(0.8, 1.2, (n, voxels))
    y = effect + tau * rng.standard_normal((n, voxels)) + np.sqrt(s2) * rng.standard_normal((n, voxels))
    return y, s2


def test_mixed_effects_keep_their_error_rate_and_find_the_variance():
    x = np.ones((20, 1))
    # variances that differ 5-fold, 40-fold
    for spread in ((0.2, 1.0), (0.05, 2.0)):
        y, s2 = simulated(0, spread=spread)
        fitted = mixed.mixed(y, s2, x)
        *_, z = fitted.t_contrast([1.0])
        assert 0.04 < (np.abs(z) > 1.96).mean() < 0.067
    assert np.median(fitted.between) == pytest.approx(0.36, rel=0.1)
    # without the adjustment of Knapp and Hartung the test is too liberal
    *_, loose = mixed.mixed(y, s2, x, adjust=False).t_contrast([1.0])
    assert (np.abs(loose) > 1.96).mean() > (np.abs(z) > 1.96).mean()


def test_mixed_effects_gain_where_runs_are_of_uneven_quality_only():
    for spread, gain in (((0.05, 2.0), 1.15), ((0.3, 0.3), 0.97)):
        y, s2 = simulated(1, effect=0.5, spread=spread)
        x = np.ones((20, 1))
        power = [
            (e.t_contrast([1.0])[3] > 3.09).mean() for e in (mixed.mixed(y, s2, x), mixed.ordinary(y, x))
        ]
        assert power[0] > gain * power[1]
    # equal variances: the weights are equal, and so is everything else
    s2[:] = 0.3
    fitted = mixed.mixed(y, s2, x)
    a, b = fitted.t_contrast([1.0]), mixed.ordinary(y, x).t_contrast([1.0])
    np.testing.assert_allclose(a[0], b[0], rtol=1e-9)
    differ = fitted.between > 0
    assert differ.mean() > 0.9
    np.testing.assert_allclose(a[2][differ], b[2][differ], rtol=1e-5)


def test_restricted_likelihood_is_at_its_maximum():
    y, s2 = simulated(2, n=14, voxels=30)
    x = np.column_stack([np.ones(14), np.linspace(-1, 1, 14)])
    fitted = mixed.mixed(y, s2, x)

    def likelihood(tau2, v):
        w = 1 / (s2[:, v] + tau2)
        information = x.T @ (w[:, None] * x)
        b = np.linalg.solve(information, x.T @ (w * y[:, v]))
        r = y[:, v] - x @ b
        return 0.5 * (np.log(w).sum() - np.linalg.slogdet(information)[1] - (w * r * r).sum())

    for v in range(30):
        best = likelihood(fitted.between[v], v)
        for other in (max(fitted.between[v] - 0.02, 0), fitted.between[v] + 0.02):
            assert best >= likelihood(other, v) - 1e-9


@pytest.fixture
def people(tmp_path):
    rng = np.random.default_rng(5)
    known = table()
    old = (known["age"] - known["age"].mean()).to_numpy()
    effects, variances = [], []
    for n, person in enumerate(PEOPLE):
        volume = 0.5 + 0.2 * rng.standard_normal((6, 7, 5))
        volume[2:5, 2:5, 1:4] += 0.08 * old[n]
        if n == 4:
            volume[0] = 0
        for stat, values, paths in (
            ("effect", volume, effects),
            ("variance", np.full(volume.shape, 0.02), variances),
        ):
            path = tmp_path / f"{person}_task-t_contrast-left_stat-{stat}_statmap.nii.gz"
            nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([3.0, 3, 3, 1])), path)
            paths.append(str(path))
    labels = np.ones((6, 7, 5), np.int32)
    nib.save(nib.Nifti1Image(labels, np.diag([3.0, 3, 3, 1])), tmp_path / "atlas.nii.gz")
    write_tsv(pd.DataFrame({"index": [1], "name": ["all"], "hemisphere": ["L"]}), tmp_path / "atlas.tsv")
    known = known.astype({"age": object})
    known.loc["sub-02", "age"] = "n/a"
    write_tsv(known.reset_index(), tmp_path / "participants.tsv")
    return tmp_path, effects, variances


@pytest.mark.parametrize("estimator", ["ols", "mixed"])
def test_files_of_a_design(people, estimator):
    folder, effects, variances = people
    node = node_of(covariates=["age"], estimator=estimator,
                   tests=[{"name": "age", "weights": {"age": 1}}, {"name": "both", "rows": [{"mean": 1}, {"age": 1}]}])  # fmt: skip
    names = ["leftAge", "leftBoth"]
    outputs = Paths(
        maps=[folder / f"{n}_{s}.nii.gz" for n, third in zip(names, "tF", strict=True) for s in ("effect", "variance", third, "z")],
        sidecars=[folder / f"{n}.json" for n in names], clusters=[folder / f"{n}.tsv" for n in names],
        design=folder / "design.tsv", summary=folder / "summary.json",
    )  # fmt: skip
    inputs = {"effect_left": effects, "variance_left": variances, "participants": str(folder / "participants.tsv"),
              "atlas_image": folder / "atlas.nii.gz", "atlas_table": folder / "atlas.tsv"}  # fmt: skip
    designed.run(node, ["left"], inputs, outputs, without={"left": [("sub-13", "no run")]}, cluster_voxels=3)
    z = nib.load(outputs.maps[3]).get_fdata()
    slope = nib.load(outputs.maps[0]).get_fdata()
    assert slope[2:5, 2:5, 1:4].mean() == pytest.approx(0.08, rel=0.15)
    assert (z[2:5, 2:5, 1:4] > 3).mean() > 0.9 and not z[0].any()
    summary = read_json(outputs.summary)["Contrasts"]["left"]
    assert [row["participant_id"] for row in summary["Missing"]] == ["sub-13", "sub-02"]
    assert summary["VoxelCount"] == 5 * 7 * 5 and summary["VoxelsInAnyParticipant"] == 6 * 7 * 5
    assert summary["VoxelsByParticipant"]["sub-05"] == 5 * 7 * 5
    assert read_tsv(outputs.design)["age"].mean() == pytest.approx(0, abs=1e-7)
    assert read_json(outputs.sidecars[1])["Test"] == "F" and summary["Estimator"] == estimator
    assert nib.load(outputs.maps[4]).shape == (6, 7, 5, 2) and nib.load(outputs.maps[5]).shape == (6, 7, 5, 3)
    assert len(read_tsv(outputs.clusters[0])) >= 1


def test_region_table_of_the_group(tmp_path):
    paths = []
    rng = np.random.default_rng(0)
    values = 0.4 + 0.2 * rng.standard_normal((5, 2))
    values[3, 1] = np.nan
    for n in range(5):
        part = pd.DataFrame(
            {"index": [7, 300], "name": ["A", "B"], "hemisphere": ["L", "R"], "contrast": "01"}
        )
        part = part.assign(effect=values[n], coverage=[1.0, 0.5], tsnr=[60.0, 40.0])
        write_tsv(part, tmp_path / f"sub-{n}.tsv")
        paths.append(tmp_path / f"sub-{n}.tsv")
    out = designed.region_table(paths).set_index("name")
    assert out.loc["A", "t"] == pytest.approx(stats.ttest_1samp(values[:, 0], 0).statistic, rel=1e-6)
    assert out.loc["B", "n_participants"] == 4 and out.loc["B", "n_missing"] == 1
    assert out.loc["B", "se"] == pytest.approx(np.nanstd(values[:, 1], ddof=1) / 2, rel=1e-6)
    assert out.loc["A", "tsnr"] == 60 and out.loc["A", "contrast"] == "01"
    few = designed.region_table(paths[:2]).set_index("name")
    assert np.isnan(few.loc["A", "t"]) and np.isfinite(few.loc["A", "effect"])
