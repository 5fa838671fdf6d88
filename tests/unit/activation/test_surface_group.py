"""Group level on the surface: against nilearn, against planted truth, hemispheres and participants kept apart."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import surface, surface_group
from neurobraid.activation.group import participants_of
from neurobraid.errors import InputError
from neurobraid.files import read_json
from tests.unit.activation.test_first_level import Paths

PEOPLE = 12
VERTICES = 10242
CENTER = {"L": np.array([-40.0, -20, 50]), "R": np.array([40.0, -20, 50])}


def middle(hemisphere):
    white, pial, _ = surface.load_mesh(hemisphere)
    return (white + pial) / 2


def write(folder, effects, names=None):
    """Maps of participants; (N, 2 V)."""
    names = names or [f"sub-{k:02d}" for k in range(len(effects))]
    out = {"L": [], "R": []}
    for name, row in zip(names, effects, strict=True):
        for half, hemisphere in enumerate("LR"):
            path = folder / f"{name}_task-go_hemi-{hemisphere}_space-fsaverage5_contrast-a_stat-effect_statmap.func.gii"  # fmt: skip
            surface.write_gifti(row[half * VERTICES : (half + 1) * VERTICES], path)
            out[hemisphere].append(path)
    return out


def outputs(folder, stats):
    return Paths(
        maps=[folder / f"group_hemi-{h}_stat-{s}.func.gii" for h in "LR" for s in stats],
        sidecar=folder / "group.json",
    )


@pytest.fixture(scope="module")
def planted():
    """An effect of 1 in a disc of the right hemisphere, of -0.8 in one of the left, in smooth noise."""
    rng = np.random.default_rng(4)
    noise, truth = [], []
    for hemisphere, size in (("L", -0.8), ("R", 1.0)):
        white, pial, faces = surface.load_mesh(hemisphere)
        series = rng.standard_normal((PEOPLE, VERTICES)).astype(np.float32)
        smooth = surface.smooth(series, np.ones(VERTICES, bool), (white + pial) / 2, faces, 8.0)
        noise.append(0.6 * smooth / smooth.std())
        truth.append(size * (np.linalg.norm(middle(hemisphere) - CENTER[hemisphere], axis=1) < 15))
    effects = np.concatenate(noise, axis=1) + np.concatenate(truth)
    effects[:, :40] = 0.0
    effects[3, 40:60] = 0.0
    return effects.astype(np.float32), np.concatenate(truth)


def test_maps_equal_nilearns_second_level(planted, tmp_path):
    from nilearn.glm.second_level import SecondLevelModel
    from nilearn.surface import SurfaceImage

    effects, _ = planted
    maps, _ = surface_group.estimate(effects.astype(np.float64), [f"sub-{k}" for k in range(PEOPLE)])
    meshes = {"left": surface.load_mesh("L"), "right": surface.load_mesh("R")}
    mesh = {side: (white, faces) for side, (white, _, faces) in meshes.items()}
    from nilearn.surface import InMemoryMesh

    mesh = {side: InMemoryMesh(*parts) for side, parts in mesh.items()}
    images = [
        SurfaceImage(mesh, {"left": row[:VERTICES].astype(float), "right": row[VERTICES:].astype(float)})
        for row in effects
    ]
    model = SecondLevelModel().fit(images, design_matrix=pd.DataFrame({"intercept": np.ones(PEOPLE)}))
    theirs = model.compute_contrast("intercept", output_type="all")
    mask = (effects != 0).all(0)
    for ours, name in (("effect", "effect_size"), ("variance", "effect_variance"), ("t", "stat"), ("z", "z_score")):  # fmt: skip
        values = np.concatenate(
            [np.ravel(theirs[name].data.parts["left"]), np.ravel(theirs[name].data.parts["right"])]
        )
        np.testing.assert_allclose(maps[ours][mask], values[mask], rtol=2e-5, atol=1e-7)
        assert not maps[ours][~mask].any()


def test_planted_effects_are_found_in_their_hemispheres(planted, tmp_path):
    effects, truth = planted
    inputs = write(tmp_path, effects)
    stats = ("effect", "variance", "t", "z", "logpmaxt", "logptfce")
    out = outputs(tmp_path, stats)
    files = Paths(left=inputs["L"], right=inputs["R"], participants=[])
    surface_group.run(files, out, "a", permutations=199, seed=3)
    found = [np.asarray(nib.load(p).darrays[0].data) for p in out.maps]
    effect = np.concatenate([found[0], found[len(stats)]])
    for size in (1.0, -0.8):
        assert effect[truth == size].mean() == pytest.approx(size, abs=0.15)
    note = read_json(out.sidecar)
    assert note["VertexCount"] == {"L": VERTICES - 60, "R": VERTICES}
    assert note["Statistics"] == list(stats) and set(note["Units"]) == {*stats, "background"}
    for hemisphere, key in (("R", "MaxZAt"), ("L", "MinZAt")):
        assert np.linalg.norm(np.array(note["Peaks"][hemisphere][key]) - CENTER[hemisphere]) < 18
    tfce = np.concatenate([found[5], found[5 + len(stats)]])
    won = tfce >= -np.log10(0.05)
    assert won[truth > 0].mean() > 0.5 and won[truth < 0].mean() > 0.3
    assert won[(truth == 0)].mean() < 0.02
    family = note["FamilyWise"]["logptfce"]
    z = np.concatenate([found[3], found[3 + len(stats)]])
    assert family["VerticesPositive"] == (won & (z > 0)).sum()
    assert note["Permutation"]["Permutations"] == 199
    assert (
        note["Thresholds"]["fdr"]["VerticesPositive"] > 0 and "vertices" in note["Thresholds"]["fdr"]["Rule"]
    )
    before = [p.read_bytes() for p in out.maps]
    surface_group.run(files, out, "a", permutations=199, seed=3)
    assert before == [p.read_bytes() for p in out.maps], "same input, same bytes"
    surface_group.run(files, outputs(tmp_path, stats[:4]), "a", permutations=0, seed=3)
    assert "FamilyWise" not in read_json(tmp_path / "group.json")


def test_neighbours_are_those_of_the_mesh_and_never_of_the_other_hemisphere():
    mask = np.ones(2 * VERTICES, bool)
    mask[[5, 7, VERTICES + 11]] = False
    near = surface_group.mesh_graph(mask)
    kept = np.flatnonzero(mask)
    faces = surface.load_mesh("R")[2]
    vertex = 300
    wanted = set(faces[(faces == vertex).any(1)].ravel() + VERTICES) - {VERTICES + vertex, VERTICES + 11}
    row = int(np.searchsorted(kept, VERTICES + vertex))
    assert set(kept[near.near[near.start[row] : near.start[row + 1]]]) == wanted
    ends = np.repeat(np.arange(len(kept)), np.diff(near.start))
    assert ((kept[ends] < VERTICES) == (kept[near.near] < VERTICES)).all()


def test_family_wise_error_holds_without_an_effect():
    """60 null studies; more than 8 false alarms at .05 have a chance below .01, none at all one of .05."""
    rng = np.random.default_rng(11)
    chosen = np.concatenate([middle(h)[:, 2] > 60 for h in "LR"])
    alarms = {"logpmaxt": 0, "logptfce": 0}
    for study in range(60):
        effects = np.zeros((10, 2 * VERTICES))
        effects[:, chosen] = rng.standard_normal((10, chosen.sum()))
        maps, _ = surface_group.estimate(
            effects, [f"sub-{k}" for k in range(10)], permutations=99, seed=study
        )
        for name in alarms:
            alarms[name] += maps[name].max() >= -np.log10(0.05) - 1e-9
    assert max(alarms.values()) <= 8, alarms
    assert min(alarms.values()) >= 1, "a test that never errs is too strict"


def test_too_few_people_and_wrong_files_are_said(planted, tmp_path):
    effects, _ = planted
    maps, summary = surface_group.estimate(effects[:2], ["sub-1", "sub-2"], min_participants=3)
    assert summary["Status"] == "unavailable" and "needs 3" in summary["Reason"] and not maps["z"].any()
    inputs = write(tmp_path, effects[:4])
    files = Paths(left=inputs["L"], right=inputs["R"][::-1], participants=[])
    with pytest.raises(InputError, match="both hemispheres of everyone"):
        surface_group.run(files, outputs(tmp_path, ("effect", "variance", "t", "z")), "a")
    surface.write_gifti(np.ones(642), inputs["L"][0])
    with pytest.raises(InputError, match="10242"):
        surface_group.read_maps(inputs["L"])
    with pytest.raises(InputError, match="common vertices"):
        surface_group.estimate(np.zeros((4, 2 * VERTICES)), participants_of(inputs["L"]))


def test_few_flips_are_cautioned(planted):
    effects, _ = planted
    _, summary = surface_group.estimate(effects[:4], [f"sub-{k}" for k in range(4)], permutations=999)
    assert "no p below 0.125" in summary["Caution"] and summary["Permutation"]["Complete"]
