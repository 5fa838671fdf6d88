"""Reference maps: what is declared wrongly is refused, a planted likeness is found, an unrelated smooth map is not."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputErrors
from neurobraid.files import read_json, read_tsv, write_tsv
from neurobraid.fusion import reference_maps as rm
from neurobraid.fusion.association import map_association
from neurobraid.fusion.nulls import distances, on_surface, surrogate_maps
from neurobraid.images.atlas import default_parcellation


@pytest.fixture(scope="module")
def atlas():
    labels, affine, table = default_parcellation(4.0)
    return labels, affine, table


def smooth(points, seed, width=25.0):
    covariance = np.exp(-(distances(points) ** 2) / (2 * width**2)) + 1e-6 * np.eye(len(points))
    return np.linalg.cholesky(covariance) @ np.random.default_rng(seed).standard_normal(len(points))


def test_every_null_finds_a_planted_likeness_and_names_the_regions_it_used(atlas):
    _, _, table = atlas
    points = table[["x", "y", "z"]].to_numpy(float)
    own, noise = smooth(points, 1), np.random.default_rng(0).standard_normal(len(points))
    target = own + 0.3 * noise
    target[:3] = np.nan
    maps = {"like": own, "other": smooth(points, 3), "gap": np.where(np.arange(len(own)) < 95, np.nan, own)}
    # half of the regions on the surface
    parcels = {"left": np.arange(0, len(own), 2).repeat(60), "right": np.full(5000, -1)}
    parcels = {k: np.resize(v, 10242) for k, v in parcels.items()}
    found, dominance, fits, reasons = rm.associate(
        {"pet BPND": target}, maps, points, nulls=("moran", "variogram", "spin"), surrogates=99, parcels=parcels
    )  # fmt: skip
    keyed = found.set_index(["null", "map"])
    for null in ("moran", "variogram"):
        assert keyed.loc[(null, "like"), "p"] == 0.01 and keyed.loc[(null, "like"), "p_fdr"] == 0.02
        assert keyed.loc[(null, "like"), "regions"] == len(own) - 3
        assert keyed.loc[(null, "like"), "r"] == pytest.approx(np.corrcoef(target[3:], own[3:])[0, 1])
        assert np.isnan(keyed.loc[(null, "gap"), "r"]) and keyed.loc[(null, "gap"), "regions"] == 5
    assert keyed.loc[("spin", "like"), "regions"] == len(own[::2]) - 2, "spins use the cortex only"
    assert not reasons
    # the map with a gap leaves too few regions for three maps
    assert dominance.empty or fits["pet BPND"]["regions"] < 10
    _, dominance, fits, _ = rm.associate(
        {"pet BPND": target}, {k: maps[k] for k in ("like", "other")}, points, surrogates=99
    )
    assert dominance["total"].sum() == pytest.approx(fits["pet BPND"]["r2"])
    assert dominance.set_index("map").loc["like", "share"] > 0.7 and fits["pet BPND"]["p"] == 0.01


def test_unrelated_smooth_maps_are_rarely_called_alike(atlas):
    points = atlas[2][["x", "y", "z"]].to_numpy(float)
    p, textbook = [], []
    for seed in range(80):
        drawn = surrogate_maps(target := smooth(points, 1000 + seed), "moran", 199, seed, points=points)
        row = rm.against_maps(target, smooth(points, 5000 + seed)[None], drawn)[0]
        p.append(row["p"] <= 0.05)
        textbook.append(row["p_parametric"] <= 0.05)
    assert np.mean(p) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 80)
    assert np.mean(textbook) > 0.12


def test_surrogates_keep_gaps_and_spins_need_the_cortex(atlas):
    points = atlas[2][["x", "y", "z"]].to_numpy(float)
    values = smooth(points, 2)
    values[[4, 9]] = np.nan
    for null in ("moran", "variogram"):
        drawn = surrogate_maps(values, null, 5, 1, points=points)
        assert np.isnan(drawn[:, [4, 9]]).all() and np.isfinite(np.delete(drawn, [4, 9], 1)).all()
        assert np.array_equal(drawn, surrogate_maps(values, null, 5, 1, points=points), equal_nan=True)
    parcels = {"left": np.full(10242, -1), "right": np.full(10242, -1)}
    parcels["left"][:700] = np.repeat(np.arange(7), 100)
    assert "7 regions with a value" not in (rm.spin_reason(parcels, values) or "")
    assert "6 regions with a value" in rm.spin_reason(parcels, values)
    assert on_surface(parcels, 9).tolist() == [True] * 7 + [False] * 2
    with pytest.raises(ValueError, match="6 regions have a value"):
        map_association(values, values, points=points, null="spin", count=9, parcels=parcels)
    with pytest.raises(ValueError, match="need the regions"):
        surrogate_maps(values, "spin", 5)


def test_everything_wrong_with_declared_maps_is_said_at_once(tmp_path):
    write_tsv(pd.DataFrame({"region": ["a", "a", "zz"], "value": ["1", "x", "2"]}), tmp_path / "m.tsv")
    write_tsv(pd.DataFrame({"name": ["a"], "value": [1.0]}), tmp_path / "n.tsv")
    records = [
        {"name": "one", "path": str(tmp_path / "none.nii.gz"), "unit": "1", "source": "s", "atlas": ""},
        {"name": "two", "path": str(tmp_path / "m.tsv"), "unit": "1", "source": "s", "atlas": "mine"},
        {"name": "two", "path": str(tmp_path / "n.tsv"), "unit": "1", "source": "s", "atlas": "mine"},
        {"name": "three", "path": str(tmp_path / "m.tsv"), "unit": "1", "source": "s", "atlas": "theirs"},
    ]
    with pytest.raises(InputErrors) as caught:
        rm.check_maps(records, {"mine": ["a", "b"]})
    text = str(caught.value)
    for said in ("none.nii.gz", "two twice", "value is x", "a twice", "zz", "a column region", "theirs"):
        assert said in text, said
    with pytest.raises(InputErrors, match="two, a table"):
        rm.check_react(["two"], records)


def test_a_study_is_compared_with_an_image_and_a_table(tmp_path, atlas):
    labels, affine, table = atlas
    points, names = table[["x", "y", "z"]].to_numpy(float), table["name"].to_list()
    own = smooth(points, 1) + 5
    nib.save(nib.Nifti1Image(labels.astype(np.int16), affine), tmp_path / "atlas.nii.gz")
    write_tsv(table, tmp_path / "atlas.tsv")
    volume = np.zeros(labels.shape, np.float32)
    for index, value in zip(table["index"], own, strict=True):
        volume[labels == index] = value
    nib.save(nib.Nifti1Image(volume, affine), tmp_path / "receptor.nii.gz")
    write_tsv(pd.DataFrame({"region": names[::-1], "value": smooth(points, 3)[::-1]}), tmp_path / "gene.tsv")
    rng = np.random.default_rng(0)
    rows = [
        (f"sub-{n}", np.nan, name, "pet", "BPND", own[k] + 0.3 * rng.normal(), "1", 1.0, "x")
        for n in range(6)
        for k, name in enumerate(names)
    ]
    columns = ["participant_id", "session_id", "region", "modality", "measure", "value", "unit", "coverage", "source"]  # fmt: skip
    write_tsv(pd.DataFrame(rows, columns=columns), tmp_path / "features.tsv")
    records = [
        {"name": "receptor", "path": str(tmp_path / "receptor.nii.gz"), "unit": "BPND", "source": "A 2001", "atlas": ""},
        {"name": "gene", "path": str(tmp_path / "gene.tsv"), "unit": "log2", "source": "B 2002", "atlas": "mine"},
        {"name": "elsewhere", "path": str(tmp_path / "gene.tsv"), "unit": "log2", "source": "B 2002", "atlas": "other"},
    ]  # fmt: skip
    outputs = {
        f"{k}{e}": tmp_path / f"out-{k}.{t}"
        for k in ("table", "dominance", "maps")
        for e, t in (("", "tsv"), ("_json", "json"))
    }
    settings = {"measures": [], "nulls": ["moran"], "method": "pearson", "surrogates": 99, "seed": 1}
    rm.write_association(
        tmp_path / "features.tsv", tmp_path / "atlas.nii.gz", tmp_path / "atlas.tsv", records, outputs, atlas="mine",
        settings=settings,
    )  # fmt: skip
    found = read_tsv(outputs["table"]).set_index("map")
    assert list(found.index) == ["receptor", "gene"] and found.loc["receptor", "p_fdr"] <= 0.02
    assert found.loc["receptor", "r"] > 0.95
    about = read_json(outputs["table_json"])
    assert about["Maps"]["receptor"]["Source"] == "A 2001" and about["Maps"]["gene"]["Units"] == "log2"
    kept = read_tsv(outputs["maps"])
    by_region = kept[kept["map"].eq("gene")].set_index("region")["value"]
    assert by_region[names[0]] == pytest.approx(smooth(points, 3)[0]), "joined by name, not by order"
    again = {k: v.with_name("again-" + v.name) for k, v in outputs.items()}
    rm.write_association(
        tmp_path / "features.tsv", tmp_path / "atlas.nii.gz", tmp_path / "atlas.tsv", records, again, atlas="mine",
        settings=settings,
    )  # fmt: skip
    assert all(outputs[k].read_bytes() == again[k].read_bytes() for k in outputs)
