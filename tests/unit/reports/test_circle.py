"""The circle: every region once, left on the left, networks together, the edges that were meant."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.files import write_tsv
from neurobraid.images.atlas import networks
from neurobraid.reports import circle
from neurobraid.reports.figures import region_order
from neurobraid.reports.gather import Inputs
from neurobraid.reports.pages import Gallery


def regions(count=114, midline=2, seed=0):
    """Regions of seven networks in shuffled order, with more of them on the left than on the right."""
    rng = np.random.default_rng(seed)
    side = ["L"] * (count // 2) + ["R"] * (count - count // 2 - midline) + [""] * midline
    x = [{"L": -30.0, "R": 30.0, "": 0.0}[s] for s in side]
    table = pd.DataFrame(
        {
            "name": [f"7Networks_{s or 'M'}H_Net_{k}" for k, s in enumerate(side)],
            "hemisphere": [s or "n/a" for s in side],
            "x": x,
            "y": rng.uniform(-90, 60, count).round(1),
            "z": 0.0,
            "network": [f"net{k % 7}" for k in range(count)],
        }
    )
    return table.sample(frac=1, random_state=seed, ignore_index=True)


@pytest.mark.parametrize("midline", [0, 3])
def test_places_are_apart_left_is_left_and_networks_are_together(midline):
    table = regions(midline=midline)
    side = circle.sides(table)
    angles, blocks = circle.places(table["network"], side, table["y"])
    gaps = np.diff(np.sort(angles))
    assert len(angles) == len(table) and gaps.min() > 1.0
    x = circle._point(angles, 1.0)[:, 0]
    assert (x[side == "L"] < 0).all() and (x[side == "R"] > 0).all()
    assert np.abs(((angles[side == ""] - 180 + 180) % 360) - 180).max(initial=0) < 20
    for name, start, end in blocks:
        inside = (angles > start) & (angles < end)
        assert inside.any() and set(table.loc[inside, "network"]) == {name}
    assert sum(((angles > a) & (angles < b)).sum() for _, a, b in blocks) == len(table)
    # the same network begins at the same height on both sides, and from front to back
    one = table["network"].to_numpy() == "net3"
    for which, step in (("L", -1), ("R", 1)):
        mine = one & (side == which)
        order = np.argsort(step * angles[mine])
        assert (np.diff(table["y"].to_numpy()[mine][order]) <= 0).all()


def test_side_comes_from_the_column_else_from_the_place():
    table = pd.DataFrame({"hemisphere": ["L", "n/a", "n/a", "n/a"], "x": [5.0, -20.0, 20.0, 0.5]})
    assert circle.sides(table).tolist() == ["L", "L", "R", ""]
    assert circle.sides(table.drop(columns="hemisphere")).tolist() == ["R", "L", "R", ""]


def test_figure_draws_the_strongest_edges_between_their_regions():
    table = regions()
    values = np.full((len(table), len(table)), 0.01)
    values[3, 50] = values[50, 3] = 0.9
    values[7] = values[:, 7] = np.nan
    figure = circle.figure(values, table, table["network"], label="Pearson r")
    axes = figure.axes[0]
    arcs = [p for p in axes.patches if type(p).__name__ == "PathPatch"]
    rows, _, _ = circle.strongest(values)
    assert len(arcs) == len(rows)
    angles, _ = circle.places(table["network"], circle.sides(table), table["y"])
    strongest = arcs[-1].get_path().vertices
    assert np.allclose(strongest[[0, 2]], circle._point(angles[[3, 50]], 0.945)) or np.allclose(
        strongest[[2, 0]], circle._point(angles[[3, 50]], 0.945)
    )
    written = [t for t in axes.texts if t.get_text().startswith(("LH_", "RH_", "MH_"))]
    assert len(written) == 114 and min(t.get_fontsize() for t in written) >= 5
    assert figure.axes[1].get_ylabel() == "Pearson r"
    assert {t.get_text() for t in figure.legends[0].texts} == {f"net{k}" for k in range(7)}
    many = regions(count=400, midline=0)
    big = circle.figure(np.ones((400, 400)), many, many["network"])
    assert not [t for t in big.axes[0].texts if "_Net_" in t.get_text()], (
        "names that would overlap are left out"
    )


def test_block_writes_threshold_and_same_bytes(tmp_path):
    table = regions(count=30, midline=0)
    write_tsv(table.assign(index=range(30)), tmp_path / "tpl-x_atlas-mini_dseg.tsv")
    r = np.corrcoef(np.random.default_rng(0).normal(size=(30, 80)))
    names = table["name"].sample(frac=1, random_state=5)
    path = tmp_path / "task-rest_atlas-mini_stat-pearsoncorrelation_relmat.tsv"
    write_tsv(pd.DataFrame(r, names, names).rename_axis("Node"), path, index=True)
    gallery = Gallery(tmp_path / "figures", tmp_path / "index.html")
    inputs = Inputs({"atlas_tables": [tmp_path / "tpl-x_atlas-mini_dseg.tsv"]})
    picture = circle.block(inputs, gallery, path, "study", "Mean")
    for text in ("13 strongest of 435 edges, |r| ≥ 0.", "by network", "not a test"):
        assert text in picture.caption
    before = (tmp_path / picture.file).read_bytes()
    circle.block(inputs, gallery, path, "study", "Mean")
    assert (tmp_path / picture.file).read_bytes() == before
    assert circle.block(Inputs({}), gallery, path, "study", "Mean") is None


def test_networks_come_from_the_table_or_from_the_names_and_order_the_matrix():
    table = pd.DataFrame(
        {
            "name": ["7Networks_RH_Vis_1", "7Networks_LH_Vis_1", "7Networks_LH_Default_PFC_1", "x"],
            "hemisphere": ["R", "L", "L", "L"],
            "structure": ["cortex", "cortex", "cortex", "subcortex"],
        }
    )
    assert networks(table).tolist() == ["Vis", "Vis", "Default", "n/a"]
    order, blocks = region_order(table)
    assert order.tolist() == [1, 0, 2, 3]
    assert blocks == [("L Vis", 1), ("R Vis", 1), ("L Default", 1), ("L subcortex", 1)]
    assert networks(table.assign(network=["a", "b", None, "n/a"])).tolist() == ["a", "b", "n/a", "n/a"]
    assert networks(table[3:]) is None
