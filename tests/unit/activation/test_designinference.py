"""Permutation inference on group designs: a planted slope, parts on disk, participants in another order than the table."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from neurobraid.activation import designinference, inference
from neurobraid.activation.designed import estimate
from neurobraid.activation.groupdesign import read_participants
from neurobraid.files import read_json, read_tsv, write_tsv
from neurobraid.images.io import data, load, save

SHAPE, PEOPLE = (9, 10, 8), 20
AFFINE = np.diag([-3.0, 3, 4, 1])
SETTINGS = {"permutations": 60, "permutations_per_job": 35, "seed": 4, "cluster_forming_p": 0.001}
NODE = {
    "Level": "Dataset", "Name": "ages", "GroupBy": ["contrast"],
    "Transformations": {"Transformer": "pybids-transforms-v1", "Instructions": [{"Name": "Demean", "Input": ["age"]}]},
    "Model": {"Type": "glm", "X": [1, "age"]},
    "Contrasts": [
        {"Name": "age", "ConditionList": ["age"], "Weights": [1], "Test": "t"},
        {"Name": "any", "ConditionList": [1, "age"], "Weights": [[1, 0], [0, 1]], "Test": "F"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("design")
    rng = np.random.default_rng(3)
    age = rng.permutation(np.linspace(20, 60, PEOPLE))
    noise = ndimage.gaussian_filter(rng.standard_normal((PEOPLE, *SHAPE)), (0, 1, 1, 1))
    slope = np.zeros(SHAPE)
    slope[2:5, 3:7, 2:6] = 0.1
    maps = noise / noise.std() + 3.0 + slope * (age - age.mean())[:, None, None, None]
    people = [f"sub-{n:02d}" for n in range(PEOPLE)]
    for kind, values in (("effect", maps), ("variance", np.ones_like(maps))):
        for person, own in zip(people, values, strict=True):
            save(own, AFFINE, folder / f"{person}_task-x_contrast-c_stat-{kind}_statmap.nii.gz")
    order = rng.permutation(PEOPLE)
    table = pd.DataFrame({"participant_id": [people[k] for k in order], "age": age[order].astype(object)})
    # the fifth has no age: the design leaves the person out
    table.loc[table["participant_id"] == people[4], "age"] = "n/a"
    write_tsv(table, folder / "participants.tsv")
    save(np.ones(SHAPE), AFFINE, folder / "atlas.nii.gz", dtype=np.int32)
    write_tsv(pd.DataFrame({"index": [1], "name": ["All"]}), folder / "atlas.tsv")
    effect = sorted(folder.glob("sub-*_stat-effect_*"))
    return SimpleNamespace(
        folder=folder, effect=effect, participants=[folder / "participants.tsv"], slope=slope, people=people
    )


def whole_test(study, contrast, name):
    folder = study.folder / name
    folder.mkdir()
    parts = []
    for part in (1, 2):
        parts.append(
            SimpleNamespace(
                null=folder / f"n{part}.tsv",
                reached=folder / f"r{part}.nii.gz",
                sidecar=folder / f"n{part}.json",
            )
        )
        designinference.permute(NODE, contrast, study, parts[-1], part, **SETTINGS)
    outputs = SimpleNamespace(
        maps=[folder / f"{m}.nii.gz" for m in (*inference.MAPS, *inference.PERMUTATION_MAPS)],
        methods=folder / "methods.tsv", clusters=folder / "clusters.tsv", summary=folder / "summary.json",
        sidecar=folder / "statmap.json",
    )  # fmt: skip
    inputs = SimpleNamespace(
        effect=study.effect, participants=study.participants, null=[p.null for p in parts],
        reached=[p.reached for p in parts], notes=[p.sidecar for p in parts],
        atlas_image=study.folder / "atlas.nii.gz", atlas_table=study.folder / "atlas.tsv",
    )  # fmt: skip
    designinference.run(
        NODE, contrast, inputs, outputs, name, alpha=0.05, cluster_forming_p=0.001, cluster_voxels=1
    )
    return outputs, pd.concat([read_tsv(p.null) for p in parts])


def test_a_planted_slope_is_found_where_it_is(study):
    outputs, null = whole_test(study, "age", "cAge")
    assert null["index"].to_list() == list(range(1, 61))
    content = read_json(outputs.summary)
    assert content["Permutation"]["Scheme"] == "permutation of residuals (Freedman-Lane)"
    assert content["Permutation"]["Permutations"] == 60 and content["DegreesOfFreedom"] == PEOPLE - 3
    assert content["Design"] == "ages" and content["Weights"] == [{"mean": 0.0, "age": 1.0}]
    assert [row["participant_id"] for row in content["Missing"]] == ["sub-04"]
    assert content["Participants"] == [p for p in study.people if p != "sub-04"]
    found = dict(zip((*inference.MAPS, *inference.PERMUTATION_MAPS), map(load, outputs.maps), strict=True))
    passed = data(found["logptfce"]) >= -np.log10(0.05)
    planted = study.slope > 0
    # TFCE reaches a voxel beyond the edge; the strong mean that all voxels share is no slope
    assert passed[planted].mean() > 0.9 and passed[~ndimage.binary_dilation(planted)].mean() < 0.02
    methods = read_tsv(outputs.methods).set_index("method")
    assert methods.loc["maxt", "voxels_positive"] > 10 and methods.loc["maxt", "voxels_negative"] == 0


def test_statistics_are_those_of_the_maps_of_the_design(study):
    table = read_participants(study.participants[0])
    variance = [str(p).replace("stat-effect", "stat-variance") for p in study.effect]
    maps, _, design, _ = estimate(NODE, table, study.effect, variance)
    paths, own, rows = designinference.tested(NODE, "age", study)
    assert [p.name[:6] for p in paths] == list(design.matrix.index)
    model, effect, mask, _ = inference.read_group(paths, own.matrix.to_numpy(), rows)
    np.testing.assert_allclose(
        inference.permutation.statistic(model), maps["age"]["t"][mask], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(effect, maps["age"]["effect"][mask], rtol=1e-4, atol=1e-6)


def test_an_f_test_of_the_mean_flips_signs(study):
    outputs, _ = whole_test(study, "any", "cAny")
    content = read_json(outputs.summary)
    assert content["Statistic"] == "F" and content["Permutation"]["Scheme"] == "sign flips"
    assert read_tsv(outputs.methods).set_index("method").loc["maxt", "voxels_positive"] > 600


def test_the_smallest_p_of_all_sign_flips_counts_the_mirrored_data(study):
    paths, design, rows = designinference.tested(NODE, "any", study)
    keep = [0, 3, 5, 8, 11, 13]
    model, effect, mask, affine = inference.read_group(
        [paths[k] for k in keep], design.matrix.to_numpy()[keep], rows
    )
    null = inference.permutation.null(
        model,
        inference.exchange(6, permute=False, flip=True),
        0,
        100,
        tests=inference._tests(model, mask, 0.001),
    )
    _, _, _, summary = inference.infer(model, effect, mask, affine, null=null)
    assert summary["Permutation"]["Complete"] and len(null.index) == 63
    assert summary["Permutation"]["SmallestP"] == 2 / 64
    assert (
        inference.permutation.corrected(
            np.abs(inference.permutation.statistic(model)).max(), null.values["peak"]
        )
        >= 2 / 64
    )
