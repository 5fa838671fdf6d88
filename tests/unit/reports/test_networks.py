"""Edges, graphs, gradients and dynamics on the study page: from the files their jobs write."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from neurobraid.connectivity import dynamic, edges, gradients, graph, matrix
from neurobraid.files import write_json, write_tsv
from neurobraid.reports import networks
from neurobraid.reports.gather import Inputs
from neurobraid.reports.pages import Gallery, Page, Section, render

SIZE, PEOPLE = 24, 8


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    rng = np.random.default_rng(0)
    regions = pd.DataFrame(rng.uniform(-50, 50, (SIZE, 3)), columns=["x", "y", "z"])
    regions["name"] = [f"{'LR'[k % 2]}H_{k}" for k in range(SIZE)]
    regions["hemisphere"], regions["structure"], regions["index"] = (
        list("LR") * (SIZE // 2),
        "cortex",
        range(1, SIZE + 1),
    )
    write_tsv(regions, folder / "tpl-x_atlas-mini_dseg.tsv")
    paths, notes, series, covers = [], [], [], []
    axis = np.linspace(0, 1, SIZE)
    root = np.linalg.cholesky(np.exp(-((axis[:, None] - axis) ** 2) / 0.1) + 0.2 * np.eye(SIZE))
    for k in range(PEOPLE):
        stem = folder / f"sub-{k}_task-rest_atlas-mini"
        table = pd.DataFrame(rng.standard_normal((120, SIZE)) @ root.T, columns=regions["name"])
        table.iloc[:, 1] += (k % 2) * 2 * table.iloc[:, 20]
        write_tsv(table, f"{stem}_stat-mean_timeseries.tsv")
        matrix.write_matrix(
            matrix.estimate(table, "pearsoncorrelation")[0], f"{stem}_stat-pearsoncorrelation_relmat.tsv"
        )
        write_json({"CleanMinutes": 4.0, "RepetitionTime": 2.0}, f"{stem}.json")
        write_tsv(pd.DataFrame({"Node": regions["name"], "coverage": 1.0}), f"{stem}_cov.tsv")
        series.append(f"{stem}_stat-mean_timeseries.tsv")
        paths.append(f"{stem}_stat-pearsoncorrelation_relmat.tsv")
        notes.append(f"{stem}.json")
        covers.append(f"{stem}_cov.tsv")
    write_tsv(
        pd.DataFrame(
            {"participant_id": [f"sub-{k}" for k in range(PEOPLE)], "group": ["a", "b"] * (PEOPLE // 2)}
        ),
        folder / "p.tsv",
    )
    start = folder / "task-rest_atlas-mini"
    out = {kind: f"{start}_desc-{kind}_table.tsv" for kind in ("graph", "gradients", "dynamic")}
    out["edges"] = f"{start}_contrast-groups_desc-edges_table.tsv"

    def beside(kind, **more):
        return SimpleNamespace(sidecar=out[kind].replace(".tsv", ".json"), **more)

    mean = folder / "task-rest_atlas-mini_stat-pearsoncorrelation_relmat.tsv"
    mean.write_bytes(Path(paths[2]).read_bytes())
    graph.run(
        SimpleNamespace(matrices=paths[:2], group=mean),
        beside("graph", table=out["graph"], nodes=folder / "n.tsv"),
    )
    gradients.run(
        SimpleNamespace(matrices=paths), beside("gradients", group=out["gradients"], people=folder / "gp.tsv")
    )
    dynamic.run(
        SimpleNamespace(series=series[:3], sidecars=notes[:3], coverage=covers[:3]),
        beside("dynamic", table=out["dynamic"], states=folder / "s.tsv", centers=folder / "c.tsv"), min_coverage=0.5,
    )  # fmt: skip
    record = {
        "name": "groups",
        "variable": "group",
        "covariates": [],
        "permutations": 49,
        "threshold_t": 4.0,
        "seed": 0,
    }
    edges.run(
        SimpleNamespace(matrices=paths, sidecars=notes, participants=folder / "p.tsv"),
        beside("edges", table=out["edges"]),
        record=record,
    )
    return out, folder


def test_jobs_write_tables_that_fit_each_other(made):
    out, folder = made
    nodes = pd.read_csv(folder / "n.tsv", sep="\t")
    assert set(nodes["scan"]) == {"group", "sub-0_task-rest", "sub-1_task-rest"} and len(nodes) == 3 * SIZE
    people = pd.read_csv(folder / "gp.tsv", sep="\t")
    assert len(people) == PEOPLE * SIZE
    group = pd.read_csv(out["gradients"], sep="\t")
    assert abs(np.corrcoef(group["gradient1"], np.arange(SIZE))[0, 1]) > 0.8, "the planted axis"
    states = pd.read_csv(folder / "s.tsv", sep="\t")
    assert set(states["kind"]) == {"recorded", "surrogate"}
    np.testing.assert_allclose(states.groupby(["scan", "kind"])["occupancy"].sum(), 1)
    table = pd.read_csv(out["edges"], sep="\t").set_index(["node1", "node2"])
    assert table.loc[("RH_1", "LH_20"), "t"] > 5 and table.loc[("RH_1", "LH_20"), "p_fdr"] < 0.05


def test_page_shows_them_with_their_settings(made):
    out, folder = made
    inputs = Inputs(
        {**{k: [v] for k, v in out.items()}, "atlas_tables": [folder / "tpl-x_atlas-mini_dseg.tsv"]}
    )
    gallery = Gallery(folder / "figures", folder / "index.html")
    html = render(Page("t", "s", "study", [Section("c", "C").add(*networks.blocks(inputs, gallery))]))
    for text in (
        "Edges compared: groups", "8 participants, covariates none; positive: more in b than in a", "|t| &gt; 4.0", "49 permutations",
        "RH_1", "Area under the curve", "19 stationary surrogates", "windows of 45 s", "not dynamic", "diffusion map",
    ):  # fmt: skip
        assert text in html, text
    assert len(list((folder / "figures").iterdir())) == 4


def test_nothing_there_leaves_nothing():
    assert networks.blocks(Inputs({}), None) == []
