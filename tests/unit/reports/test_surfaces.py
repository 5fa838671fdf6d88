"""Surface pictures: what faces the viewer, what is coloured."""

import numpy as np
import pytest

from neurobraid.reports import noise, surfaces


def sphere():
    from nilearn.datasets import load_fsaverage

    part = load_fsaverage("fsaverage5")["sphere"].parts["left"]
    return np.asarray(part.coordinates), np.asarray(part.faces)


def test_only_the_near_side_is_drawn_and_the_front_is_where_it_belongs():
    points, faces = sphere()
    for side in (-1, 1):
        corners, chosen = surfaces.projected(points, faces, side)
        seen = points[faces[chosen]].mean(1)
        assert (side * seen[:, 0] > -5).all() and 0.4 < len(chosen) / len(faces) < 0.6
        assert (np.diff(side * seen[:, 0]) >= -1e-9).all(), "the nearest last"
        front = corners.mean(1)[seen[:, 1] > 60]
        assert (side * front[:, 0] > 0).all(), "seen from the left the front is left"


def test_colours_start_at_the_threshold_and_keep_their_sign():
    values = np.array([0.0, 2.9, 3.2, 9.0, -3.2, -9.0])
    colours = surfaces.colours_of(values, np.array([1.0, -1, 1, 1, 1, 1]), 3.0, 6.0)
    grey = (colours[:, 0] == colours[:, 1]) & (colours[:, 1] == colours[:, 2])
    assert grey.tolist() == [True, True, False, False, False, False]
    assert colours[0, 0] < colours[1, 0], "sulci are darker"
    assert colours[2, 0] > colours[2, 2] and colours[4, 2] > colours[4, 0], "warm positive, cold negative"


def test_figures_are_drawn():
    maps = {h: np.where(np.arange(10242) % 7 == 0, 5.0, 0.0) for h in "LR"}
    assert len(surfaces.statistic_surface(maps, threshold=3.1).axes) == 5
    import pandas as pd

    rows = [(t, lag, 0.3 / lag, 0.02, 10) for t in ("brain", "GM", "WM", "CSF") for lag in range(1, 6)]
    table = pd.DataFrame(
        rows, columns=["tissue", "lag", "autocorrelation_ols", "autocorrelation_whitened", "n_voxels"]
    )
    table["expected_if_white"] = -0.05
    table.loc[(table["tissue"] == "WM") & (table["lag"] == 2), "autocorrelation_whitened"] = -0.2
    assert noise.largest(table) == (pytest.approx(-0.15), 2, "WM")
    assert len(noise.whiteness(table, label="ar1").axes) == 2


def test_group_surface_says_what_survives(tmp_path):
    from neurobraid.activation.surface import write_gifti
    from neurobraid.files import write_json
    from neurobraid.reports import surface_group
    from neurobraid.reports.gather import Inputs
    from neurobraid.reports.pages import Gallery, Section

    stem = "task-go_{}space-fsaverage5_contrast-a_{}statmap"
    maps = []
    for hemi in "LR":
        maps.append(tmp_path / f"{stem.format(f'hemi-{hemi}_', 'stat-z_')}.func.gii")
        write_gifti(np.where(np.arange(10242) < 50, 6.5 if hemi == "L" else -7.25, 0.0), maps[-1])
    note = {
        "Status": "available", "NumberOfParticipants": 12, "Mesh": "fsaverage5", "Alpha": 0.05,
        "VertexCount": {"L": 10000, "R": 9000},
        "Thresholds": {"fdr": {"Rule": "false discovery rate 0.05", "Z": 3.5}, "uncorrected": {"Rule": "p < 0.001 per vertex", "Z": 3.29}},
        "FamilyWise": {"logpmaxt": {"VerticesPositive": 40, "VerticesNegative": 41}, "logptfce": {"VerticesPositive": 50, "VerticesNegative": 51}},
        "Permutation": {"Permutations": 4095},
    }  # fmt: skip
    beside = tmp_path / f"{stem.format('', '')}.json"
    gallery = Gallery(tmp_path / "figures", tmp_path / "index.html")
    inputs = Inputs({"surface_group": maps, "surface_notes": [beside]})

    def blocks(content):
        write_json(content, beside)
        section = Section("a", "a")
        surface_group.show(section, inputs, gallery, "go", "a")
        return section.blocks

    (picture,) = blocks(note)
    for text in ("|z| ≥ 3.50 (false", "largest |z| 7.2", "TFCE: 50 vertices positive, 51 negative", "4,095 sign", "10,000 vertices left"):  # fmt: skip
        assert text in picture.caption
    note["Thresholds"]["fdr"]["Z"] = None
    caution, picture = blocks(note)
    assert "No vertex survives" in caution.text and "|z| ≥ 3.29 (p < 0.001" in picture.caption
    (missing,) = blocks({"Status": "unavailable", "Reason": "2 participants"})
    assert missing.tone == "missing"
    inputs = Inputs({})
    assert blocks(note) == []
