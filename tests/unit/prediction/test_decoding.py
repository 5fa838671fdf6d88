"""Decoding on planted truth: right where there is signal, chance where there is none, groups never torn."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv
from neurobraid.prediction.decode import (
    anova,
    block_means,
    center_groups,
    decode,
    decoding_test,
    group_folds,
    held_out_ridge,
    noise_scale,
    permute_labels,
    searchlight,
)
from neurobraid.prediction.decoding_model import (
    complete,
    fit_decoding,
    group_test,
    read_trials,
    write_decoding,
    write_group,
    write_mean_searchlight,
    write_searchlight,
)
from neurobraid.prediction.folds import Folds, Unavailable

NAMES = ["cat", "face", "house"]


def trials(runs=6, per=4, features=60, strength=1.0, seed=0, informative=8):
    """Responses with run offsets; only the first features tell the conditions."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.repeat(NAMES, per), runs)
    groups = np.repeat([f"run-{k}" for k in range(runs)], 3 * per)
    means = np.zeros((3, features))
    means[:, :informative] = strength * np.random.default_rng(99).normal(size=(3, informative))
    X = rng.normal(size=(labels.size, features)) + means[np.searchsorted(NAMES, labels)]
    return X + 3 * rng.normal(size=(runs, features))[np.repeat(np.arange(runs), 3 * per)], labels, groups


@pytest.mark.parametrize("estimator", ["ridge", "svm", "logistic"])
def test_planted_conditions_are_told_apart_and_settings_come_from_inner_runs(estimator):
    X, labels, runs = trials()
    found = decode(
        center_groups(X, runs),
        labels,
        runs,
        group_folds(runs),
        estimator=estimator,
        features="inner",
        scale=True,
    )
    assert found["accuracy"] > 0.8 and found["auc"] > 0.9
    assert found["confusion"].sum() == labels.size and np.trace(found["confusion"]) > 0.8 * labels.size
    assert [f["group"] for f in found["folds"]] == sorted(set(runs))
    assert all(f["features"] in (10, 20, 50, 60) for f in found["folds"])
    # with the settings of a fold fixed, nothing but its own samples can change its predictions
    other = X.copy()
    other[runs == "run-3"] = 0
    again = decode(
        center_groups(other, runs),
        labels,
        runs,
        group_folds(runs),
        estimator=estimator,
        features="inner",
        scale=True,
    )
    assert (again["predicted"][runs == "run-0"] == found["predicted"][runs == "run-0"]).mean() > 0.6


def test_the_fold_held_out_does_not_choose_its_settings():
    X, labels, runs = trials(strength=0.6)
    folds = group_folds(runs)
    one = decode(X, labels, runs, folds, estimator="ridge", features="inner")["folds"][2]
    changed, moved = X.copy(), labels.copy()
    rows = runs == one["group"]
    changed[rows] = 100 * np.random.default_rng(5).normal(size=(rows.sum(), X.shape[1]))
    moved[rows] = np.roll(labels[rows], 4)
    two = decode(changed, moved, runs, folds, estimator="ridge", features="inner")["folds"][2]
    assert (one["features"], one["regularisation"]) == (two["features"], two["regularisation"])
    assert one["accuracy"] != two["accuracy"]


def test_nothing_gives_chance_with_selection_inside():
    values = []
    for seed in range(8):
        X, labels, runs = trials(strength=0, features=300, seed=seed)
        values.append(decode(center_groups(X, runs), labels, runs, group_folds(runs), estimator="ridge", features="inner")["accuracy"])  # fmt: skip
    # 8 x 72 samples: three SD of chance are 0.06
    assert abs(np.mean(values) - 1 / 3) < 0.06


def test_shuffled_volumes_are_refused():
    X, labels, runs = trials()
    fold = np.random.default_rng(0).permutation(labels.size) % 5
    shuffled = Folds(fold[None], [[np.where(fold == k, -1, np.arange(labels.size) % 3) for k in range(5)]])
    with pytest.raises(InputError, match=r"run run-. is on both sides"):
        decode(X, labels, runs, shuffled)


def test_permutations_move_labels_within_runs_only():
    X, labels, runs = trials(per=2)
    rng = np.random.default_rng(0)
    moved = permute_labels(labels, runs, rng)
    for run in np.unique(runs):
        assert sorted(moved[runs == run]) == sorted(labels[runs == run])
    assert (moved != labels).any()
    settings = {"estimator": "ridge", "features": 10}
    found = decoding_test(
        center_groups(X, runs), labels, runs, group_folds(runs), count=39, seed=1, **settings
    )
    assert found["p"] == 1 / 40 and abs(found["null_mean"] - 1 / 3) < 0.08
    X, labels, runs = trials(per=2, strength=0)
    assert decoding_test(X, labels, runs, group_folds(runs), count=39, seed=1, **settings)["p"] > 0.05


def test_few_runs_and_lost_conditions():
    X, labels, runs = trials(runs=2)
    found = decode(
        center_groups(X, runs), labels, runs, group_folds(runs), estimator="ridge", features="inner"
    )
    assert [f["features"] for f in found["folds"]] == [60, 60] and found["accuracy"] > 0.5
    with pytest.raises(Unavailable):
        group_folds(np.repeat("run-0", 5))
    only = labels.copy()
    only[(labels == "cat") & (runs == "run-0")] = "face"
    with pytest.raises(InputError, match="cat outside run run-1"):
        decode(X, only, runs, group_folds(runs))


def test_block_means_and_anova_equal_their_plain_forms():
    from sklearn.feature_selection import f_classif

    X, labels, runs = trials()
    means, kinds, where = block_means(X, labels, runs)
    assert len(means) == 18
    np.testing.assert_allclose(means[4], X[(labels == kinds[4]) & (runs == where[4])].mean(axis=0))
    codes = np.searchsorted(NAMES, labels)
    np.testing.assert_allclose(anova(X, codes, 3), f_classif(X, codes)[0], rtol=1e-9)
    X[:, 5] = 2.0
    assert anova(X, codes, 3)[5] == 0


def test_held_out_ridge_equals_fitting_again():
    X, labels, runs = trials(features=9)
    codes, place = np.searchsorted(NAMES, labels), np.searchsorted(np.unique(runs), runs)
    kernel = (X @ X.T)[None]
    got = held_out_ridge(kernel, codes, 3, place, 0.3)[0]
    unit = np.trace(kernel[0]) / len(X)
    full = kernel[0] / unit + 10.0
    hot = np.where(codes[:, None] == np.arange(3), 1.0, -1.0)
    for run in np.unique(place):
        train, test = place != run, place == run
        weights = np.linalg.solve(full[np.ix_(train, train)] + 0.3 * np.eye(train.sum()), hot[train])
        np.testing.assert_allclose(got[test], full[np.ix_(test, train)] @ weights, atol=1e-8)


def test_searchlight_finds_the_place():
    rng = np.random.default_rng(0)
    shape = (9, 8, 7)
    positions = np.argwhere(np.ones(shape)) * 3.0
    _, labels, runs = trials()
    X = rng.normal(size=(labels.size, len(positions)))
    inside = np.linalg.norm(positions - [9, 9, 9], axis=1) <= 4
    X[:, inside] += 1.5 * rng.normal(size=(3, inside.sum()))[np.searchsorted(NAMES, labels)]
    accuracy, sizes = searchlight(center_groups(X, runs), labels, runs, positions, radius=4.0)
    assert np.linalg.norm(positions[accuracy.argmax()] - [9, 9, 9]) <= 6 and accuracy.max() > 0.8
    far = np.linalg.norm(positions - [9, 9, 9], axis=1) > 9
    assert abs(accuracy[far].mean() - 1 / 3) < 0.05 and sizes.max() == 7


def files(folder, person, runs=4, strength=1.0, seed=0):
    """Maps of single trials of one person: unequal axes, one corner outside the brain, a third condition unused."""
    rng = np.random.default_rng(seed)
    images, tables = [], []
    for run in range(1, runs + 1):
        labels = rng.permutation(np.repeat([*NAMES, "rest"], 3))
        data = rng.normal(size=(5, 4, 3, labels.size)) + rng.normal(size=(5, 4, 3, 1))
        data[1, 1, :, labels == "face"] += strength
        data[3, 2, :, labels == "house"] += strength
        data[0, 0] = 0
        stem = folder / f"{person}_task-view_run-{run}"
        images.append(f"{stem}_space-MNI_stat-effect_desc-trials_statmap.nii.gz")
        tables.append(f"{stem}_desc-trials_table.tsv")
        nib.save(nib.Nifti1Image(data.astype(np.float32), np.diag([4.0, 4, 4, 1])), images[-1])
        pd.DataFrame({"onset": np.arange(labels.size) * 8.0, "duration": 2.0, "trial_type": labels}).to_csv(
            tables[-1], sep="\t", index=False
        )
    return images, tables


def outputs(folder, stem, *keys):
    ending = {"folds": "tsv", "confusion": "tsv", "people": "tsv"}
    found = {k: folder / f"{stem}_{k}.{e}" for k, e in ending.items() if k in keys}
    found |= {f"{k}_json": folder / f"{stem}_{k}.json" for k in list(found)}
    return found | {"summary": folder / f"{stem}_summary.json"}


def test_people_and_the_group_from_files_to_files(tmp_path):
    record = {
        "name": "view",
        "task": "view",
        "conditions": ["face", "house"],
        "permutations": 19,
        "searchlight_mm": 5,
    }
    summaries, maps, people, every = [], [], [], [[], []]
    for number in range(5):
        person = f"sub-{number:02d}"
        images, tables = files(tmp_path, person, runs=1 if number == 4 else 4, strength=2.0, seed=number)
        every[0] += images
        every[1] += tables
        out = outputs(tmp_path, person, "folds", "confusion")
        write_decoding(images, tables, [], record, out, seed=3)
        searched = {"map": tmp_path / f"{person}_acc.nii.gz", "map_json": tmp_path / f"{person}_acc.json"}
        write_searchlight(images, tables, [], record, searched)
        summaries.append(str(out["summary"]))
        maps.append(searched["map"])
        people.append(person)
    one = read_json(summaries[0])
    assert one["status"] == "OK" and one["groups"] == 4 and one["samples"] == 8 and one["features"] == 57
    assert one["permutation"]["count"] == 19 and one["balanced_accuracy"] > 0.7
    assert read_json(summaries[4])["status"] == "UNAVAILABLE"
    group = outputs(tmp_path, "group", "folds", "confusion", "people")
    write_group(summaries, record, group, participants=people)
    summary, table = read_json(group["summary"]), read_tsv(group["people"])
    assert summary["people"] == 4 and summary["left_out"] == 1 and summary["test"]["dof"] == 3
    assert summary["test"]["mean"] == pytest.approx(table["balanced_accuracy"].mean())
    assert table["status"].to_list() == ["OK"] * 4 + ["UNAVAILABLE"]
    confusion = read_tsv(group["confusion"], text=("true",)).set_index("true")
    assert confusion.to_numpy().sum() == 32 and list(confusion) == ["face", "house"]
    mean = {"map": tmp_path / "mean.nii.gz", "map_json": tmp_path / "mean.json"}
    write_mean_searchlight(maps, record, mean)
    values = nib.load(mean["map"]).get_fdata()
    assert values[0, 0, 0] == 0 and values[1, 1, 1] > 0.7 and read_json(mean["map_json"])["People"] == 4
    # across people: the same effect everywhere, every person held out once
    across = {**record, "cv": "leave-one-person-out", "searchlight_mm": 0, "permutations": 0}
    write_group([], across, group, images=every[0], tables=every[1])
    found, table = read_json(group["summary"]), read_tsv(group["people"])
    assert found["groups"] == 5 and sorted(table["participant_id"]) == people
    assert found["balanced_accuracy"] > 0.7


def atlas_files(folder):
    """Two regions, labels above 255 and not in the order of the table, on a grid of half the voxel size."""
    labels = np.zeros((10, 8, 6), np.int32)
    labels[2:4, 2:4] = 700
    labels[6:8, 4:6] = 300
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -1
    nib.save(nib.Nifti1Image(labels, affine), folder / "atlas_dseg.nii.gz")
    table = pd.DataFrame({"index": [300, 700], "name": ["back", "front"], "hemisphere": ["L", "R"]})
    table.to_csv(folder / "atlas_dseg.tsv", sep="\t", index=False)
    return folder / "atlas_dseg.nii.gz", folder / "atlas_dseg.tsv"


def test_regions_are_features_or_a_mask(tmp_path):
    images, tables = files(tmp_path, "sub-01", strength=3.0)
    atlas = atlas_files(tmp_path)
    base = {"name": "x", "task": "view", "conditions": ["face", "house"]}
    X, labels, runs, voxels, _ = read_trials(
        images, tables, complete({**base, "source": "regions"}), atlas=atlas
    )
    assert X.shape == (24, 2) and voxels is None and np.unique(runs).size == 4
    centred = center_groups(X, runs)
    # columns in the order of the table: back answers to houses, front to faces
    assert centred[labels == "house", 0].mean() > 1 > centred[labels == "face", 0].mean()
    assert centred[labels == "face", 1].mean() > 1 > centred[labels == "house", 1].mean()
    X, _, _, voxels, _ = read_trials(images, tables, complete({**base, "regions": ["front"]}), atlas=atlas)
    assert X.shape == (24, 3) and np.argwhere(voxels)[:, :2].tolist() == [[1, 1]] * 3
    with pytest.raises(InputError, match="regions is front1"):
        read_trials(images, tables, complete({**base, "regions": ["front1"]}), atlas=atlas)


def test_the_scale_of_noise_keeps_the_effect():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 40)
    X = rng.normal(size=(80, 3)) * [1, 5, 1]
    X[codes == 1, 0] += 20
    np.testing.assert_allclose(noise_scale(X, codes), [1, 5, 1], rtol=0.2)
    # one sample of each condition: nothing is known about the noise
    assert (noise_scale(X[[0, 41]], codes[[0, 41]]) == 1).all()


def test_too_few_arrangements_are_told():
    X, labels, runs = trials(runs=2, per=2)
    record = complete(
        {"name": "x", "task": "view", "conditions": NAMES, "permutations": 5, "selection": "none"}
    )
    found = fit_decoding(X, labels, runs, record)
    assert found["samples"] == 6 and any("36 ways only" in note for note in found["notes"])
    found = fit_decoding(X, labels, runs, {**record, "block_average": False})
    assert found["samples"] == 12 and not any("ways only" in note for note in found["notes"])


def test_bad_input_of_decoding_is_named(tmp_path):
    images, tables = files(tmp_path, "sub-01", runs=2)
    record = complete({"name": "x", "task": "view", "conditions": ["face", "dog"]})
    with pytest.raises(InputError, match="no dog in any run"):
        read_trials(images, tables, record)
    other = nib.load(images[0])
    nib.save(nib.Nifti1Image(other.get_fdata()[:4], other.affine), images[0])
    with pytest.raises(InputError, match="grid"):
        read_trials(images, tables, complete({"name": "x", "task": "view", "conditions": ["face", "cat"]}))
    with pytest.raises(InputError, match="two or more"):
        complete({"name": "x", "conditions": ["face"]})
    with pytest.raises(InputError, match="searchlight_mm"):
        complete({"name": "x", "conditions": NAMES, "searchlight_mm": 8, "source": "regions"})


def test_the_group_is_held_against_chance():
    rng = np.random.default_rng(0)
    hits = [group_test(0.5 + 0.1 * rng.normal(size=12), 0.5, seed=1, count=499) for _ in range(60)]
    for key in ("p_t", "p_flip"):
        assert np.mean([h[key] <= 0.05 for h in hits]) <= 0.15
    strong = group_test(0.7 + 0.05 * rng.normal(size=12), 0.5, seed=1)
    assert strong["p_flip"] < 0.01 and strong["p_t"] < 0.001 and strong["low"] > 0.6
    assert group_test([0.5, 0.6], 0.5, seed=1) is None
