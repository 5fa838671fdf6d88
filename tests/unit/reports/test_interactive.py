"""Pages to click through: closed to the outside, the same bytes, the voxels and edges that were meant."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from neurobraid.files import write_tsv
from neurobraid.images.templates import template
from neurobraid.reports import interactive
from neurobraid.reports.gather import Inputs
from neurobraid.reports.pages import Gallery
from neurobraid.reports.planes import Volume
from tests.unit.reports.test_pages import check, person_page, study_page

BOUND = 6e6
THRESHOLD = 3.25


class Addresses(HTMLParser):
    """Every address that a tag names, the policy, and the text outside scripts."""

    def __init__(self, html):
        super().__init__()
        self.found, self.policy, self.text, self.inside = [], None, [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.inside = tag
        self.found += [
            v for k, v in attrs.items() if k in ("src", "href", "action", "srcset", "data", "poster")
        ]
        if attrs.get("http-equiv") == "Content-Security-Policy":
            self.policy = attrs["content"]

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text.append(data)


def closed(html):
    """What a browser may fetch for the page: nothing but what it holds."""
    read = Addresses(html)
    assert all(a.startswith("data:") or a.startswith("../") for a in read.found), [a[:60] for a in read.found]
    directives = dict(part.strip().split(" ", 1) for part in read.policy.split(";"))
    assert directives["default-src"] == "'none'" and directives["form-action"] == "'none'"
    assert not re.search(r"https?:|\*", read.policy)
    assert html.index("Content-Security-Policy") < html.index("<script"), (
        "the policy comes before what it governs"
    )
    assert not re.search(r"@import|url\(\s*['\"]?(?:https?:)?//", html)
    assert len(html.encode()) < BOUND
    return read


@pytest.fixture
def statistic():
    brain = template("brain", 2.0)
    mask = np.asarray(brain.dataobj) > 0
    z = np.where(mask, np.random.default_rng(0).normal(size=mask.shape) * 1.5, 0).astype(np.float32)
    z[40, 60, 50], z[60, 50, 40] = THRESHOLD, -9.0
    return Volume(z, brain.affine)


def made(tmp_path, statistic, name="map.html"):
    gallery = Gallery(tmp_path / "figures/study", tmp_path / "index.html")
    link = interactive.map_link(
        gallery, statistic, name, threshold=THRESHOLD, title="Contrast </script><b>left</b>",
        what="Group of /data/secret/x (n = 12).", rule="FDR 0.05",
    )  # fmt: skip
    return link, (tmp_path / link.href).read_text()


def shown_voxels(html):
    """Voxels of the 2 mm grid with a colour: the picture holds the sagittal slices as tiles in rows, the last unused."""
    sprite = re.search(r'id="overlayImg"[^>]*src="data:image/png;base64,([^"]+)"', html, re.S)[1]
    opaque = np.asarray(Image.open(io.BytesIO(base64.b64decode(sprite))).convert("RGBA"))[..., 3] > 0
    slices, wide, high = template("T1w", 2.0).shape
    tiles = opaque.reshape(opaque.shape[0] // high, high, opaque.shape[1] // wide, wide).swapaxes(1, 2)
    return tiles.reshape(-1, high, wide)[:slices]


def test_map_is_closed_to_the_outside_and_says_what_is_shown(tmp_path, statistic):
    link, html = made(tmp_path, statistic)
    read = closed(html)
    assert link.href == "figures/study/map.html" and "../../index.html" in read.found
    text = " ".join(read.text)
    assert (
        f"|z| ≥ {THRESHOLD:.2f} (FDR 0.05)" in text and "z has no unit" in text and "MNI152 template" in text
    )
    assert "</script><b>" not in html and "/data/secret" not in html
    assert made(tmp_path, statistic)[1] == html, "the same map gives the same bytes"


def test_map_shows_every_voxel_that_reaches_the_threshold_and_no_other(tmp_path, statistic):
    _, html = made(tmp_path, statistic)
    wanted = np.abs(statistic.data) >= THRESHOLD
    assert (shown_voxels(html).sum((1, 2)) == wanted.sum((1, 2))).all()
    assert wanted[40, 60, 50], "a value at the threshold reaches it"
    # the cross hair begins at the largest size, on either side of 0: voxel (60, 50, 40)
    at = statistic.affine @ [60, 50, 40, 1]
    said = " ".join(Addresses(html).text)
    assert f"9.0 at {at[0]:.0f}, {at[1]:.0f}, {at[2]:.0f} mm".replace("-", "−") in said


def test_map_on_a_coarser_grid_keeps_its_values(tmp_path):
    affine = np.diag([8.0, 8, 8, 1])
    affine[:3, 3] = [-72, -104, -64]
    z = np.zeros((19, 23, 19), np.float32)
    z[5, 10, 12] = 5.0
    _, html = made(tmp_path, Volume(z, affine))
    # one voxel of 8 mm is 4 x 4 x 4 of 2 mm: not blurred
    assert shown_voxels(html).sum() == 64


def test_connectome_holds_the_strongest_edges_between_the_right_places(tmp_path):
    rng = np.random.default_rng(1)
    regions = pd.DataFrame(rng.uniform(-50, 50, (20, 3)).round(1), columns=["x", "y", "z"]).assign(
        name=[f"r{k}" for k in range(20)], index=range(20)
    )
    # the atlas lists the regions in another order than the matrix
    write_tsv(
        regions.sample(frac=1, random_state=3),
        tmp_path / "tpl-x_atlas-mini_dseg.tsv",
    )
    r = np.zeros((20, 20))
    r[2, 7] = r[7, 2] = 0.9
    r[3, 11] = r[11, 3] = -0.5
    r[5] = r[:, 5] = np.nan
    rest = np.isfinite(r) & (r == 0)
    r[rest] = 0.01
    np.fill_diagonal(r, 1)
    path = tmp_path / "task-rest_atlas-mini_stat-pearsoncorrelation_relmat.tsv"
    write_tsv(pd.DataFrame(r, regions["name"], regions["name"]).rename_axis("Node"), path, index=True)
    gallery = Gallery(tmp_path / "figures", tmp_path / "index.html")
    inputs = Inputs({"atlas_tables": [tmp_path / "tpl-x_atlas-mini_dseg.tsv"]})
    link = interactive.connectome_link(inputs, gallery, path, "study", "Mean over 9 participants")
    html = (tmp_path / link.href).read_text()
    read = closed(html)
    text = " ".join(read.text)
    assert (
        "5 strongest of 171 edges" in text and "Pearson r (no unit)" in text and "../index.html" in read.found
    )

    def numbers(name):
        raw = re.search(rf'"_{name}": "([^"]*)"', html)[1]
        return np.frombuffer(base64.b64decode(raw), "<f4")

    ends = np.stack([numbers(f"con_{a}") for a in "xyz"], -1).reshape(-1, 3, 3)[:, :2]
    weights = numbers("con_w").reshape(-1, 3)[:, 0]
    (first,) = np.flatnonzero(np.isclose(weights, 0.9))[:1]
    want = regions.loc[[2, 7], ["x", "y", "z"]].to_numpy()
    assert np.allclose(np.sort(ends[first], 0), np.sort(want, 0), atol=1e-3)
    assert np.isclose(weights, -0.5).any()
    interactive.connectome_link(inputs, gallery, path, "study", "Mean over 9 participants")
    assert (tmp_path / link.href).read_text() == html, "the same matrix gives the same bytes"
    assert "sendDataToCloud" in re.search(r"modeBarButtonsToRemove: \[[^]]*\]", html)[0]
    assert interactive.connectome_link(Inputs({}), gallery, path, "study", "Mean") is None


@pytest.mark.parametrize(
    ("asked", "whose", "count"),
    [(None, "group", 1), (None, "person", 0), ("all", "person", 1), ("none", "group", 0)],
)
def test_settings_say_whose_maps_get_a_page(study, config, asked, whose, count):
    if asked:
        config["report"]["interactive"] = asked
    page = study_page(study[1], config) if whose == "group" else person_page(study[0], config)
    links = [a for a in check(page).links if a.endswith("_z.html")]
    assert len(links) == count
    for link in links:
        html = (page.parent / link).read_text()
        # the way back to a participant's page has the participant's label, as that page's own name has
        assert "sub-01" not in html.replace('href="../../sub-01.html"', "") and "Ada L." not in html
        closed(html)


def test_viewer_of_another_form_is_refused():
    with pytest.raises(RuntimeError, match="another form"):
        interactive._framed("<html><p>x</p></html>", title="t", caption="c", back="b", hint="h")
