"""Group inference by every method: planted clusters, parts on disk, columns of participants, refusals."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from neurobraid.activation import inference
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_tsv
from neurobraid.images.io import data, load, save
from neurobraid.reports import inference as page
from neurobraid.reports.gather import Inputs
from neurobraid.stats import permutation
from neurobraid.stats.exchange import column_labels, exchange

SHAPE, PEOPLE = (13, 14, 12), 14
AFFINE = np.array([[-3.0, 0, 0, 18], [0, 3, 0, -20], [0, 0, 4, -16], [0, 0, 0, 1]])
SETTINGS = {"permutations": 60, "permutations_per_job": 25, "seed": 4, "cluster_forming_p": 0.001}


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group")
    rng = np.random.default_rng(1)
    noise = ndimage.gaussian_filter(rng.standard_normal((PEOPLE, *SHAPE)), (0, 1, 1, 1))
    noise /= noise.std()
    truth = np.zeros(SHAPE)
    truth[2:6, 3:8, 4:8], truth[8:11, 9:12, 2:6] = 2.0, -2.0
    paths = []
    for number, values in enumerate(noise + truth):
        values[0] = 0
        values[12, 13, number % 4] = np.nan
        paths.append(folder / f"sub-{number:02d}_task-x_contrast-c_stat-effect_statmap.nii.gz")
        save(values, AFFINE, paths[-1])
    labels = np.zeros(SHAPE, np.int32)
    labels[:, :8], labels[:, 8:] = 300, 70000
    save(labels, AFFINE, folder / "atlas.nii.gz", dtype=np.int32)
    write_tsv(pd.DataFrame({"index": [70000, 300], "name": ["Back", "Front"]}), folder / "atlas.tsv")
    people = [f"sub-{n:02d}" for n in range(PEOPLE)]
    table = pd.DataFrame({"participant_id": people[::-1], "family": [f"f{n // 2}" for n in range(PEOPLE)]})
    table["hole"] = ["n/a", *["1"] * (PEOPLE - 1)]
    write_tsv(table, folder / "participants.tsv")
    return SimpleNamespace(folder=folder, paths=paths, truth=truth, people=people)


def test_every_method_finds_both_clusters_and_says_how_much_is_true(group):
    model, effect, mask, affine = inference.read_group(group.paths)
    assert mask.sum() == 12 * 14 * 12 - 4
    null = permutation.null(
        model, exchange(PEOPLE, permute=False, flip=True), 0, 199, tests=inference._tests(model, mask, 0.001)
    )
    maps, methods, table, summary = inference.infer(
        model, effect, mask, affine, null=null, cluster_voxels=5,
        atlas=(group.folder / "atlas.nii.gz", group.folder / "atlas.tsv"),
    )  # fmt: skip
    assert set(maps) == {*inference.MAPS, *inference.PERMUTATION_MAPS}
    found = methods.set_index("method")
    assert (
        found.loc[["fdr", "maxt", "tfce", "extent", "mass"], ["voxels_positive", "voxels_negative"]] > 20
    ).all(None)
    assert found.loc["tfce", "voxels_positive"] > found.loc["maxt", "voxels_positive"]
    active = (group.truth != 0)[mask]
    for method in found.index.drop("uncorrected"):
        assert found.loc[method, "true_discoveries"] <= active.sum()
        assert found.loc[method, "true_discoveries_permutation"] <= active.sum()
    main = table[table["n_voxels"].notna()]
    assert np.sign(main["peak_z"]).to_list() == [1, -1]
    assert main["region"].to_list() == ["Front", "Back"]
    np.testing.assert_allclose(main["mean_effect"], [2, -2], atol=0.4)
    assert (main[["p_extent", "p_mass", "peak_p_maxt", "peak_p_tfce"]] <= 0.05).all(None)
    assert ((main["tdp"] > 0) & (main["tdp"] <= 1)).all()
    assert table.loc[table["n_voxels"].isna(), ["p_extent", "tdp"]].isna().all(None)
    # maps and tables tell the same story
    spot = tuple(np.rint(np.linalg.inv(AFFINE) @ [*main[["x", "y", "z"]].iloc[1], 1])[:3].astype(int))
    assert maps["tdp"][spot] == pytest.approx(main["tdp"].iloc[1], abs=1e-6)
    assert maps["logpmass"][spot] == pytest.approx(-np.log10(main["p_mass"].iloc[1]), abs=1e-5)
    assert (maps["logpvoxel"] >= maps["logpmaxt"]).all()
    assert maps["logpvoxel"][spot] == pytest.approx(np.log10(200), abs=1e-5)
    assert (maps["tfce"][group.truth < 0].mean() < 0) and (maps["tfce"][0] == 0).all()
    assert summary["Permutation"]["Scheme"] == "sign flips"


def test_uncorrected_row_and_clusters_without_permutations(group):
    model, effect, mask, affine = inference.read_group(group.paths)
    maps, methods, table, summary = inference.infer(model, effect, mask, affine)
    assert set(maps) == set(inference.MAPS)
    assert methods["method"].to_list() == ["uncorrected", "fdr", "bonferroni", "allvoxels"]
    assert methods["true_discoveries_permutation"].isna().all()
    assert table[["p_extent", "peak_p_maxt", "peak_p_tfce"]].isna().all(None)
    over = methods.set_index("method").loc["uncorrected", ["voxels_positive", "voxels_negative"]].sum()
    # clusters are formed at the same height, single voxels included
    assert table["n_voxels"].sum() == over
    assert "Permutation" not in summary


def files(group, name, part=""):
    root = group.folder / name
    root.mkdir(exist_ok=True)
    return SimpleNamespace(
        null=root / f"null{part}.tsv",
        reached=root / f"reached{part}.nii.gz",
        sidecar=root / f"null{part}.json",
    )


def test_parts_on_disk_merge_to_one_run_and_the_page_shows_it(group):
    inputs = SimpleNamespace(effect=group.paths, participants=[group.folder / "participants.tsv"])
    parts = [files(group, "parts", n) for n in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        inference.permute(inputs, part, number, **SETTINGS, units="family")
    model, _, mask, _ = inference.read_group(group.paths)
    rows = read_tsv(inputs.participants[0], text=["family"], index="participant_id")
    family = column_labels(rows, group.people, "family", setting="activation.inference")
    assert family == [f"f{(PEOPLE - 1 - n) // 2}" for n in range(PEOPLE)]
    merged = permutation.merge([inference.read_part(p.null, p.reached, p.sidecar, mask) for p in parts])
    whole = permutation.null(
        model, exchange(PEOPLE, permute=False, flip=True, units=family), 4, 60,
        tests=inference._tests(model, mask, 0.001),
    )  # fmt: skip
    for name in permutation.COLUMNS:
        np.testing.assert_array_equal(merged.values[name], whole.values[name])
    np.testing.assert_array_equal(merged.reached, whole.reached)
    stem = group.folder / "task-x_contrast-c_desc-inference"
    maps = [*inference.MAPS, *inference.PERMUTATION_MAPS]
    outputs = SimpleNamespace(
        maps=[group.folder / f"{name}.nii.gz" for name in maps], methods=f"{stem}_methods.tsv",
        clusters=f"{stem}_clusters.tsv", summary=f"{stem}_summary.json", sidecar=group.folder / "statmap.json",
    )  # fmt: skip
    given = SimpleNamespace(
        effect=group.paths, null=[p.null for p in parts], reached=[p.reached for p in parts],
        notes=[p.sidecar for p in parts], atlas_image=group.folder / "atlas.nii.gz", atlas_table=group.folder / "atlas.tsv",
    )  # fmt: skip
    inference.run(
        given, outputs, "c", alpha=0.05, cluster_forming_p=0.001, cluster_voxels=5, units="family", blocks=""
    )
    content = read_json(outputs.summary)
    assert content["Permutation"]["Permutations"] == 60
    assert content["ExchangeUnits"] == "family"
    assert data(load(outputs.maps[1])).any()
    shown = []
    files_of_page = {
        "inference_methods": outputs.methods,
        "inference_clusters": outputs.clusters,
        "inference": outputs.summary,
    }
    page.show(SimpleNamespace(add=shown.append), Inputs(files_of_page), "x", "c")
    assert shown[0].rows[-1][0].text == "all tested voxels"
    assert len(shown[0].rows) == len(read_tsv(outputs.methods)) == 8
    assert "60 rearrangements by sign flips" in shown[0].note
    assert len(shown[1].blocks[0].rows) == 2
    missing = []
    page.show(SimpleNamespace(add=missing.append), Inputs({}), "x", "c")
    assert missing == []
    # parts of another contrast are not taken for this one's
    given.effect = group.paths[:-1]
    with pytest.raises(InputError, match="other maps"):
        inference.run(given, outputs, "c", alpha=0.05, cluster_forming_p=0.001, cluster_voxels=5)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_people_give_empty_outputs_and_the_reason(group, count, tmp_path):
    paths = group.paths[:count]
    part = SimpleNamespace(
        null=tmp_path / "n.tsv", reached=tmp_path / "r.nii.gz", sidecar=tmp_path / "n.json"
    )
    inference.permute(SimpleNamespace(effect=paths, participants=[]), part, 1, **SETTINGS)
    maps = [tmp_path / f"{n}.nii.gz" for n in (*inference.MAPS, *inference.PERMUTATION_MAPS)]
    outputs = SimpleNamespace(
        maps=maps, methods=tmp_path / "m.tsv", clusters=tmp_path / "c.tsv", summary=tmp_path / "s.json",
        sidecar=tmp_path / "w.json",
    )  # fmt: skip
    given = SimpleNamespace(
        effect=paths, null=[part.null], reached=[part.reached], notes=[part.sidecar],
        atlas_image=group.folder / "atlas.nii.gz", atlas_table=group.folder / "atlas.tsv",
    )  # fmt: skip
    inference.run(
        given, outputs, "c", alpha=0.05, cluster_forming_p=0.001, cluster_voxels=5, min_participants=3
    )
    assert f"{count} participant(s)" in read_json(outputs.summary)["Reason"]
    assert not any(data(load(path)).any() for path in maps)
    shown = []
    page.show(SimpleNamespace(add=shown.append), Inputs({"inference_methods": "", "inference": ""}), "x", "c")
    assert read_tsv(outputs.methods).empty
    assert shown == []


def test_two_groups_are_permuted_and_few_people_are_told_what_they_cannot_find(group):
    design = np.column_stack([np.ones(PEOPLE), np.arange(PEOPLE) % 2, np.linspace(-1, 1, PEOPLE)])
    model, effect, mask, affine = inference.read_group(group.paths, design, [0, 1, 0])
    allowed = inference.allowed(model, group.people)
    assert allowed.groups
    assert not allowed.flips
    expected = np.linalg.lstsq(design, np.stack([data(load(p))[mask] for p in group.paths]), rcond=None)[0][1]
    np.testing.assert_allclose(effect, expected, atol=1e-5)
    model, effect, mask, affine = inference.read_group(group.paths[:4])
    allowed = inference.allowed(model, group.people[:4])
    null = permutation.null(model, allowed, 0, 500, tests=inference._tests(model, mask, 0.001))
    *_, summary = inference.infer(model, effect, mask, affine, null=null)
    assert summary["Permutation"]["Complete"]
    assert summary["Permutation"]["SmallestP"] == 2 / 16
    assert "cannot find anything" in summary["Note"]


def test_f_test_over_two_contrasts(group):
    design = np.column_stack([np.ones(PEOPLE), np.arange(PEOPLE) % 2, np.linspace(-1, 1, PEOPLE)])
    model, effect, mask, affine = inference.read_group(group.paths, design, [[1, 0, 0], [0, 1, 0]])
    assert np.isnan(effect).all()
    _, methods, table, _ = inference.infer(model, effect, mask, affine, cluster_voxels=5)
    assert methods["voxels_negative"].eq(0).all()
    assert methods.set_index("method").loc["fdr", "voxels_positive"] > 50
    assert table["peak_z"].gt(0).all()
    assert table["mean_effect"].isna().all()


@pytest.mark.parametrize(("column", "match"), [("site", "participant_id|family"), ("hole", "sub-13")])
def test_columns_that_do_not_serve_are_named(group, column, match):
    model, *_ = inference.read_group(group.paths)
    with pytest.raises(InputError, match=match):
        inference.allowed(model, group.people, group.folder / "participants.tsv", units=column)


def test_a_lax_cluster_forming_threshold_is_refused(group):
    model, effect, mask, affine = inference.read_group(group.paths)
    with pytest.raises(InputError, match="one cluster spans many regions"):
        inference.infer(model, effect, mask, affine, cluster_forming_p=0.01)


def test_thresholds_are_written_for_people():
    shown = [
        page._height(v, u)
        for v, u in ((1.836e11, "TFCE"), (2.0, "voxels"), (81.5, "F x voxels"), (np.nan, "F"))
    ]
    assert shown == ["1.84 × 10¹¹ TFCE", "2 voxels", "81.50 F × voxels", ""]
