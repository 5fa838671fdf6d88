"""The comparison of strategies and the connectome on the study page."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.files import write_json, write_tsv
from neurobraid.reports import connectome, strategies
from neurobraid.reports.gather import Inputs
from neurobraid.reports.pages import Gallery, Page, Section, render

NAMES = ["baseline", "simple", "scrubbing.5"]


@pytest.fixture
def compared(tmp_path):
    rng = np.random.default_rng(0)
    stem = tmp_path / "group/task-rest_atlas-mini"
    table = pd.DataFrame({
        "strategy": NAMES, "participants": [9, 9, 7], "qcfc_participants": [9, 9, 7], "qcfc_median_abs": [0.41, 0.29, 0.26],
        "qcfc_expected": [0.28, 0.28, 0.34], "qcfc_edges_percent": [30.0, 7, 4], "qcfc_edges_fdr_percent": [12.0, 0, 0],
        "distance_dependence": [-0.3, -0.2, 0.01], "dof_lost_percent": [60.0, 70, 80], "regressors": [1.0, 27, 57],
        "filter_regressors": [80.0, 80, 80], "censored_percent": [0.0, 0, 12], "clean_minutes": [8.0, 8, 7],
        "modularity": [0.2, 0.4, 0.41], "modularity_fd_r": [-0.4, 0, 0], "split_half_r": [0.6, 0.7, np.nan],
        "split_half_icc": [0.3, 0.4, 0.4], "participants_stringent": 5, "participants_minimal": 8,
    })  # fmt: skip
    write_tsv(table, f"{stem}_desc-strategies_table.tsv")
    note = {
        "NumberOfParticipants": 9, "Covariates": ["age"], "BandHz": [0.01, 0.1],
        "Strategies": {
            "baseline": {"Confounds": [], "FramewiseDisplacementThreshold": None, "StdDvarsThreshold": None, "MinSegmentVolumes": None},
            "scrubbing.5": {"Confounds": ["motion24", "csfwm8"], "FramewiseDisplacementThreshold": 0.5, "StdDvarsThreshold": None, "MinSegmentVolumes": 5},
        },
    }  # fmt: skip
    write_json(note, f"{stem}_desc-strategies_table.json")
    edges = {"node1": list("aab"), "node2": list("bcc"), "distance_mm": [20.0, 60, 90]}
    many = pd.concat(
        [pd.DataFrame({**edges, **{n: rng.uniform(-1, 1, 3) for n in NAMES}}) for _ in range(40)]
    )
    write_tsv(many.assign(distance_mm=rng.uniform(10, 150, 120)), f"{stem}_desc-strategyedges_table.tsv")
    write_tsv(
        pd.DataFrame(np.eye(3), NAMES, NAMES).rename_axis("strategy"),
        f"{stem}_desc-strategysimilarity_table.tsv",
        index=True,
    )
    scans = pd.DataFrame({
        "participant_id": "sub-1", "scan": "sub-1_task-rest", "strategy": NAMES, "used": ["yes", "yes", "no"],
        "reason": ["n/a", "n/a", "4 degrees of freedom, fewer than 20"],
    })  # fmt: skip
    write_tsv(scans, f"{stem}_desc-strategyscans_table.tsv")
    kinds = {
        "strategies": "strategies",
        "strategy_edges": "strategyedges",
        "strategy_similarity": "strategysimilarity",
        "strategy_scans": "strategyscans",
    }
    return Inputs({k: [f"{stem}_desc-{v}_table.tsv"] for k, v in kinds.items()}), tmp_path


def test_page_says_what_each_strategy_costs_and_who_was_left_out(compared):
    inputs, folder = compared
    gallery = Gallery(folder / "figures", folder / "index.html")
    section = Section("connectivity", "Connectivity").add(*strategies.blocks(inputs, gallery))
    html = render(Page("t", "s", "study", [section]))
    for text in (
        "With 9 participants", "covariates: age", "5 participants meet the stringent", "4 degrees of freedom, fewer than 20", "0.50 mm",
        "5 volumes", "outside 0.01 to 0.1 Hz", "rewards strong censoring", "−0.30", "motion24, csfwm8",
    ):  # fmt: skip
        assert text in html, text
    made = sorted(p.name for p in (folder / "figures").iterdir())
    assert made == [
        "study_task-rest_atlas-mini_strategies.svg", "study_task-rest_atlas-mini_strategies_distance.png",
        "study_task-rest_atlas-mini_strategies_similarity.svg",
    ]  # fmt: skip
    before = {p.name: p.read_bytes() for p in (folder / "figures").iterdir()}
    strategies.blocks(inputs, gallery)
    assert before == {p.name: p.read_bytes() for p in (folder / "figures").iterdir()}
    tones = next(b for b in section.blocks if b.kind == "table").cells()
    assert [row[2].tone for row in tones] == ["warn", "good", "good"]


def test_nothing_compared_leaves_nothing():
    assert strategies.blocks(Inputs({}), None) == []


def test_figures_label_their_axes(compared):
    inputs, _ = compared
    table = pd.read_csv(inputs.all("strategies")[0], sep="\t")
    labels = [axis.get_xlabel() for axis in strategies.summary_figure(table, 9).axes]
    assert "degrees of freedom lost (%)" in labels and "median |QC-FC| (r)" in labels
    edges = pd.read_csv(inputs.all("strategy_edges")[0], sep="\t")
    axes = strategies.distance_figure(edges, NAMES).axes
    assert axes[0].get_ylabel() == "QC-FC (r)" and axes[0].get_xlabel() == "distance (mm)"


def test_strongest_edges_and_their_threshold():
    values = np.zeros((30, 30))
    values[0, 1] = values[1, 0] = -0.9
    values[2, 3] = values[3, 2] = 0.5
    rows, columns, limit = connectome.strongest(values, share=1.0)
    assert list(zip(rows, columns, strict=True)) == [(2, 3), (0, 1)] and limit == 0.5
    values[:, 5] = values[5] = np.nan
    assert len(connectome.strongest(values, share=0.5)[0]) == 1
    assert np.isnan(connectome.strongest(np.zeros((3, 3)))[2])


def test_connectome_is_drawn_from_three_sides_with_its_threshold(tmp_path):
    rng = np.random.default_rng(1)
    regions = pd.DataFrame(rng.uniform(-50, 50, (20, 3)), columns=["x", "y", "z"]).assign(
        name=[f"r{k}" for k in range(20)], index=range(20)
    )
    write_tsv(regions, tmp_path / "tpl-x_atlas-mini_dseg.tsv")
    r = np.corrcoef(rng.standard_normal((20, 60)))
    r[4] = r[:, 4] = np.nan
    path = tmp_path / "task-rest_atlas-mini_stat-pearsoncorrelation_relmat.tsv"
    write_tsv(pd.DataFrame(r, regions["name"], regions["name"]).rename_axis("Node"), path, index=True)
    gallery = Gallery(tmp_path / "figures", tmp_path / "index.html")
    picture = connectome.block(
        Inputs({"atlas_tables": [tmp_path / "tpl-x_atlas-mini_dseg.tsv"]}), gallery, path, "study", "Mean"
    )
    # 19 regions have 171 edges: 3 % are 5
    assert "the 5 strongest of 171 edges, |r| ≥ " in picture.caption and "not a test" in picture.caption
    assert (tmp_path / "figures/study_atlas-mini_connectome.png").stat().st_size > 5000
    assert connectome.block(Inputs({}), gallery, path, "study", "Mean") is None
    other = tmp_path / "task-rest_atlas-mini_stat-partialcorrelation_relmat.tsv"
    assert connectome.block(Inputs({"atlas_tables": []}), gallery, other, "study", "Mean") is None
