"""Fixed effects, group statistics, thresholds and clusters."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import fixed, group
from neurobraid.errors import InputError
from neurobraid.images.io import save

SHAPE = (9, 10, 11)
AFFINE = np.array([[3.0, 0, 0, -12], [0, 3, 0, -20], [0, 0, 4, -16], [0, 0, 0, 1]])


def test_fixed_effects_equal_nilearn():
    from nilearn.glm.contrasts import _compute_fixed_effects_params

    rng = np.random.default_rng(0)
    effects, variances = rng.standard_normal((3, 50)), rng.uniform(0.5, 2, (3, 50))
    ours = fixed.combine(effects, variances, [90, 80, 70])
    theirs = _compute_fixed_effects_params(effects, variances, False, [90, 80, 70])
    np.testing.assert_allclose(ours[0], theirs[0].ravel())
    np.testing.assert_allclose(ours[1], theirs[1].ravel())
    np.testing.assert_allclose(ours[2], theirs[2].ravel())
    np.testing.assert_allclose(ours[3], theirs[3].ravel(), atol=1e-6)


def test_one_run_passes_and_a_run_without_data_does_not_count():
    effect, variance, _, _, dof = fixed.combine([[2.0, 0.0], [4.0, 3.0]], [[1.0, 0.0], [1.0, 4.0]], [50, 60])
    np.testing.assert_allclose(effect, [3.0, 3.0])
    np.testing.assert_allclose(variance, [0.5, 4.0])
    np.testing.assert_allclose(dof, [110, 60])
    alone = fixed.combine([[2.0, 0.0]], [[1.0, 0.0]], [50])
    np.testing.assert_allclose(alone[0], [2.0, 0.0])
    np.testing.assert_allclose(alone[2], [2.0, 0.0])
    assert alone[3][1] == 0


def test_region_tables_are_joined_by_name_and_keep_missing_regions():
    def table(order, effects):
        rows = [(300, "C", 0.0), (7, "A", 1.0), (255, "B", 1.0)]
        frame = pd.DataFrame(rows, columns=["index", "name", "coverage"])
        frame = frame.assign(
            hemisphere="L", contrast="left", effect=effects, variance=[np.nan, 1.0, 1.0], dof=50, n_voxels=9
        )
        return frame.iloc[order]

    out = fixed.combine_regions([table([0, 1, 2], [np.nan, 1.0, 2.0]), table([2, 0, 1], [np.nan, 3.0, 4.0])])
    assert out["name"].to_list() == ["C", "A", "B"]
    np.testing.assert_allclose(out["effect"], [np.nan, 2.0, 3.0])
    np.testing.assert_allclose(out["se"], [np.nan, np.sqrt(0.5), np.sqrt(0.5)])
    assert out["coverage"].to_list() == [0.0, 1.0, 1.0]
    assert out["n_runs"].to_list() == [0, 2, 2]


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    rng = np.random.default_rng(1)
    paths = []
    for number in range(12):
        values = rng.standard_normal(SHAPE).astype(np.float32)
        values[2:5, 3:6, 4:7] += 4.0
        values[6:8, 7:9, 1:3] -= 4.0
        values[0] = 0
        values[8, 9, number % 3] = np.nan
        paths.append(folder / f"sub-{number:02d}_task-x_contrast-c_stat-effect_statmap.nii.gz")
        save(values, AFFINE, paths[-1])
    return paths


def test_one_sample_equals_nilearn(maps):
    from nilearn.glm.second_level import SecondLevelModel

    result, affine, _, summary = group.estimate(maps)
    mask = result["effect"] != 0
    assert mask.sum() == summary["VoxelCount"] == (SHAPE[0] - 1) * 10 * 11 - 3
    image = nib.Nifti1Image(mask.astype(np.uint8), affine)
    model = SecondLevelModel(mask_img=image).fit(
        [nib.Nifti1Image(np.nan_to_num(nib.load(p).get_fdata()), affine) for p in maps],
        design_matrix=pd.DataFrame({"intercept": np.ones(12)}),
    )
    theirs = model.compute_contrast("intercept", output_type="all")
    for stat, key, tolerance in (
        ("effect", "effect_size", 1e-5), ("variance", "effect_variance", 1e-5), ("t", "stat", 1e-3), ("z", "z_score", 1e-3),
    ):  # fmt: skip
        np.testing.assert_allclose(
            result[stat][mask], theirs[key].get_fdata()[mask], atol=tolerance, rtol=1e-4
        )


def test_thresholds_equal_nilearn():
    from nilearn.glm import threshold_stats_img

    rng = np.random.default_rng(2)
    z = rng.standard_normal(SHAPE)
    z[2:5, 3:6, 4:7] += 5
    image = nib.Nifti1Image(z, AFFINE)
    mask = nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE)
    for name, control, alpha in (
        ("fdr", "fdr", 0.05),
        ("bonferroni", "bonferroni", 0.05),
        ("uncorrected", "fpr", 0.001),
    ):
        _, theirs = threshold_stats_img(
            image, mask_img=mask, alpha=alpha, height_control=control, two_sided=True
        )
        ours = group.thresholds(z.ravel(), 0.05)[name]
        over = np.abs(z) >= ours["Z"]
        assert over.sum() == (np.abs(z) > theirs).sum() == ours["VoxelsPositive"] + ours["VoxelsNegative"]


def test_no_survivor_gives_an_empty_table_and_no_threshold():
    z = np.random.default_rng(3).standard_normal(SHAPE) * 0.5
    assert group.thresholds(z.ravel(), 0.05)["fdr"]["Z"] is None
    assert list(group.clusters(z, AFFINE, np.inf)) == group.CLUSTER_COLUMNS


def test_clusters_carry_place_size_sign_and_region(maps, tmp_path):
    labels = np.zeros(SHAPE, np.int32)
    labels[:, :5], labels[:, 5:] = 300, 70000
    table = pd.DataFrame({"index": [70000, 300], "name": ["Back", "Front"]})
    save(labels, AFFINE, tmp_path / "atlas.nii.gz", dtype=np.int32)
    table.to_csv(tmp_path / "atlas.tsv", sep="\t", index=False)
    *_, found, summary = group.estimate(
        maps, cluster_voxels=5, atlas=(tmp_path / "atlas.nii.gz", tmp_path / "atlas.tsv")
    )
    main = found[found["n_voxels"].notna()]
    assert len(main) == summary["ClusterCount"] == 2
    assert np.sign(main["peak_z"]).to_list() == [1, -1]
    np.testing.assert_allclose(main["cluster_size_mm3"], main["n_voxels"] * 36)
    assert main["n_voxels"].iloc[0] == pytest.approx(27, abs=3)
    peak = np.rint(np.linalg.inv(AFFINE) @ [*main[["x", "y", "z"]].iloc[0], 1])[:3]
    assert ((peak >= [2, 3, 4]) & (peak <= [4, 5, 6])).all()
    assert main["region"].iloc[1] == "Back"
    assert main["region_overlap"].iloc[1].startswith("Back")
    assert main["mean_effect"].iloc[0] == pytest.approx(4, abs=0.5)


def test_clusters_equal_nilearn(maps):
    from nilearn.reporting import get_clusters_table

    result, affine, _, summary = group.estimate(maps)
    height = summary["ClusterThresholdZ"]
    ours = group.clusters(result["z"], affine, height)
    image = nib.Nifti1Image(result["z"].astype(np.float32), affine)
    theirs = get_clusters_table(image, height - 1e-5, two_sided=True)
    theirs = theirs[pd.to_numeric(theirs["Cluster Size (mm3)"], errors="coerce").notna()]
    main = ours[ours["n_voxels"].notna()]
    assert len(theirs) == len(main)
    np.testing.assert_allclose(
        np.sort(main["cluster_size_mm3"].to_numpy(float)),
        np.sort(theirs["Cluster Size (mm3)"].to_numpy(float)),
        atol=1,
    )
    np.testing.assert_allclose(
        np.sort(main["peak_z"].to_numpy(float)), np.sort(theirs["Peak Stat"].to_numpy(float)), atol=1e-3
    )


def test_too_few_participants_say_so(maps):
    result, _, table, summary = group.estimate(maps[:2])
    assert summary["Status"] == "unavailable"
    assert "2 participant(s)" in summary["Reason"]
    assert not result["z"].any()
    assert table.empty


def test_maps_on_different_grids_are_refused(maps, tmp_path):
    odd = tmp_path / "sub-99_statmap.nii.gz"
    save(np.ones(SHAPE), AFFINE * [[1], [1], [1.1], [1]], odd)
    with pytest.raises(InputError, match="one grid"):
        group.estimate([*maps[:3], odd])


def test_error_rate_and_false_discovery_on_null_groups():
    rng = np.random.default_rng(4)
    *_, z, mask = group.one_sample(rng.standard_normal((10, 40000)))
    assert (np.abs(z[mask]) > 3.2905).mean() == pytest.approx(0.001, abs=0.0006)
    assert z.std() == pytest.approx(1, abs=0.02)
