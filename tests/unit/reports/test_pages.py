"""Pages: what is said, what is escaped, what is never shown."""

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neurobraid.files import read_tsv, write_tsv
from neurobraid.images.transforms import write_affines
from neurobraid.reports.pages import Cell, Note, Page, Section, Table, number, private, render
from neurobraid.reports.participant import write_participant
from neurobraid.reports.study import write_study

REPORTS = Path("results/reports")


class Reader(HTMLParser):
    """Collects tags, images, links and text; fails on tags that do not match."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.links, self.ids, self.open, self.text = [], [], [], [], [], []
        self.feed(text)
        self.text = re.sub(r"\s+", " ", " ".join(self.text))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attrs)
        if tag == "a":
            self.links.append(attrs["href"])
        if "id" in attrs:
            self.ids.append(attrs["id"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def person_page(inputs, config, participant="sub-01"):
    page, record = REPORTS / f"{participant}.html", REPORTS / f"provenance/{participant}.json"
    write_participant(
        participant,
        inputs,
        page=page,
        figures_dir=REPORTS / f"figures/{participant}",
        record=record,
        config=config,
    )
    return page


def study_page(inputs, config, **more):
    page = REPORTS / "index.html"
    write_study(
        {**inputs, **more},
        page=page,
        figures_dir=REPORTS / "figures/study",
        record=REPORTS / "provenance.json",
        config=config,
    )
    return page


def check(page):
    """What every page must be: well formed, closed to the outside, with figures that exist and are described."""
    source = page.read_text()
    read = Reader(source)
    assert not read.open
    assert "script" not in read.tags
    assert "<script" not in source
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", source)
    assert len(read.ids) == len(set(read.ids))
    for image in read.images:
        assert (page.parent / image["src"]).is_file()
        assert len(image["alt"]) > 20
    for target in read.links:
        if target.startswith("#"):
            assert target[1:] in read.ids
    for secret in ("/home/", "/data/secret", "Ada L.", "2021-03-04", str(Path.cwd())):
        assert secret not in source
    return read


def test_participant_page_shows_everything(study, config):
    read = check(person_page(study[0], config))
    # mask, tissues, normalised twice; two runs with reference and T1w, motion, tSNR; then activation, matrix and PET with
    # both ways, before and after, profiles, motion, curves, bars and maps
    assert len(read.images) == 23
    assert "> 89 year" in read.text
    assert 'alert("x")' in read.text
    assert "1 of 12 volumes are above 0.5 mm" in read.text
    assert "sub-01_trc-RAC: starts late" in read.text
    assert "1 region without a value is grey" in read.text
    assert "index.html" in read.links
    assert "confounds of the connectivity strategy" not in read.text, "the table lacks the tissue signals"
    assert "Head motion" in read.text
    assert "fd_mean_mm" in read.text, "keys of the quality file stand beside their meaning"


def first_run(inputs):
    """Inputs of the first BOLD run alone."""
    kinds = ("raw_bold", "boldref", "boldref_xfm", "bold_mask", "bold_json", "confounds", "bold_qc")
    shared = ("scans", "pairing", "exclusions", "t1w", "brain", "dseg")
    return {**{k: inputs[k] for k in shared}, **{k: inputs[k][:1] for k in kinds}}


def test_carpet_after_regression_says_what_was_removed(study, config):
    inputs = first_run(study[0])
    (path,) = inputs["confounds"]
    table = read_tsv(path)
    for column in ("csf", "white_matter", "global_signal"):
        table[column] = 100 + np.random.default_rng(5).standard_normal(len(table))
    write_tsv(table, path)
    motion = path.replace("desc-confounds_timeseries.tsv", "from-orig_to-boldref_mode-image_desc-hmc_xfm.txt")
    write_affines(np.tile(np.eye(4), (len(table), 1, 1)), motion)
    config["connectivity"]["strategy"] = "baseline"
    text = check(person_page({**inputs, "hmc": motion}, config)).text
    assert (
        "realigned (linear interpolation) and without the confounds of the connectivity strategy baseline"
        in text
    )
    # 24 motion parameters for 12 volumes: nothing would be left, so nothing is shown
    config["connectivity"]["strategy"] = "simple"
    assert "strategy simple" not in check(person_page({**inputs, "hmc": motion}, config)).text


def test_distortion_is_shown_where_it_was_corrected(study, config):
    inputs = first_run(study[0])
    (after,), (quality,) = inputs["boldref"], inputs["bold_qc"]
    inputs["boldref_hmc"] = after.replace("desc-coreg", "desc-hmc")
    Path(inputs["boldref_hmc"]).write_bytes(Path(after).read_bytes())
    assert "susceptibility distortion" not in check(person_page(inputs, config)).text
    content = {**json.loads(Path(quality).read_text()), "sdc_method": "phasediff"}
    Path(quality).write_text(json.dumps(content))
    read = check(person_page(inputs, config))
    assert read.text.count("after the correction of susceptibility distortion (phasediff)") == 1
    assert sum("distortion" in image["src"] for image in read.images) == 2


def test_two_pictures_in_turn_need_no_script_and_stand_still_on_request(study, config):
    page = person_page(first_run(study[0]), config)
    source = page.read_text()
    assert source.count('class="flicker"') == 1
    assert "prefers-reduced-motion" in source
    for block in re.findall(r'<div class="pair".*?</div>', source, re.S):
        files = re.findall(r'src="([^"]+)"', block)
        assert len(files) == 2
        sizes = {Image.open(page.parent / file).size for file in files}
        assert len(sizes) == 1, "two sizes would jump by themselves"
        alts = re.findall(r'alt="([^"]+)"', block)
        assert alts[0] != alts[1]


def test_participant_page_without_scans_says_why(study, config):
    shared = {k: study[0][k] for k in ("scans", "pairing", "exclusions", "participants", "atlas_tables")}
    read = check(person_page(shared, config, "sub-02"))
    assert not read.images
    assert "there is no BOLD scan for this participant" in read.text
    assert "every PET scan was left out. sub-02_trc-RAC: listed in index.exclude" in read.text
    assert "…/list.txt" in read.text


def test_participant_without_the_task(study, config):
    inputs = {k: v for k, v in study[0].items() if k != "activation"}
    config["activation"]["tasks"][0]["task"] = "faces"
    assert "no run of task faces for this participant" in check(person_page(inputs, config)).text


def test_pages_are_the_same_bytes_each_time(study, config):
    def digests():
        person_page(study[0], config)
        study_page(study[1], config, records=[str(REPORTS / "provenance/sub-01.json")])
        files = [p for p in REPORTS.rglob("*") if p.is_file()]
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    first = digests()
    assert len(first) > 20
    assert digests() == first


def test_study_page_shows_everything(study, config):
    person_page(study[0], config)
    read = check(study_page(study[1], config, records=[str(REPORTS / "provenance/sub-01.json")]))
    assert len(read.images) == 8
    assert "sub-01.html" in read.links
    assert "1 participant left out: the folder holds no T1w, BOLD or PET image (sub-03)" in read.text
    assert "|z| ≥ 2.50" in read.text
    assert "0.80 [0.40, 1.00]" in read.text, "an AUC has no interval beyond 1"
    assert "p = 0.040" in read.text
    assert "repetition time 1.5 s" in read.text
    assert "Slice timing was not corrected" in read.text
    assert "1·left" in read.text
    assert "−1·right" in read.text
    record = json.loads((REPORTS / "provenance.json").read_text())
    assert record["config"]["bids"] == "…/bids"
    listed = {f["file"]: f["sha256"] for f in record["files"]}
    raw = hashlib.sha256(Path("bids/sub-01/anat/sub-01_T1w.nii.gz").read_bytes()).hexdigest()
    assert listed["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"] == raw


def test_quality_of_all_scans_names_who_stands_out(study, config, tmp_path):
    import pandas as pd

    people = [f"sub-{n:02d}" for n in range(1, 7)]
    rows = [
        {"bids_name": f"{p}_task-rest_bold", "participant_id": p, "session_id": "n/a", "suffix": "bold", "task": "rest",
         "fd_mean": 0.1 + 0.01 * n + (n == 3), "tsnr": 60.0 + n, "snr_gm": np.nan, "novel": 2.0 * n,
         "flags": "fd_mean;novel" if n == 3 else "none", "outlier": "true" if n == 3 else "false"}
        for n, p in enumerate(people)
    ]  # fmt: skip
    rows += [
        {"bids_name": f"{p}_T1w", "participant_id": p, "session_id": "n/a", "suffix": "T1w", "task": "n/a", "snr_gm": 12.0,
         "flags": "n/a", "outlier": "n/a"}
        for p in people[:2]
    ]  # fmt: skip
    path = Path("results/derivatives/group/desc-quality_table.tsv")
    write_tsv(pd.DataFrame(rows), path)
    path.with_suffix(".json").write_text(json.dumps({"FlagLimit": 2.5}))
    shared = {k: study[1][k] for k in ("scans", "pairing", "exclusions")}
    page = study_page(shared, config, quality=str(path))
    read = check(page)
    assert [i["src"].rpartition("/")[2] for i in read.images if "quality" in i["src"]] == [
        "study_quality_bold.svg"
    ]
    assert "Scans that stand out: 1 of 8" in read.text
    assert "Mean FD (mm): 1.130 (median 0.130); Novel: 6.000 (median 5.000)" in read.text
    assert "More than 2.5 robust standard deviations" in read.text
    assert "2 scans of kinds with too few scans cannot be judged" in read.text
    assert "sub-04.html#bold" in read.links
    for row in rows:
        row["flags"] = "none"
    write_tsv(pd.DataFrame(rows), path)
    assert "No scan stands out" in check(study_page(shared, config, quality=str(path))).text


def test_study_of_one_participant_says_why_group_stages_are_missing(study, config):
    inputs = {
        k: v
        for k, v in study[1].items()
        if not k.startswith("group_") and k not in ("clusters", "thresholds", "summaries")
    }
    table = read_tsv(inputs["scans"])
    write_tsv(table[table["participant_id"] == "sub-01"], inputs["scans"])
    read = check(study_page(inputs, config))
    assert (
        "There is one participant: group statistics, group matrices and predictive models are left out"
        in read.text
    )
    assert "1 participant with a run of task motor; a group statistic needs at least 3" in read.text
    assert "1 participant with a resting run; a mean needs at least 3" in read.text
    assert "this study has 1" in read.text


def test_study_without_pet_or_bold(study, config):
    inputs = {k: study[1][k] for k in ("scans", "pairing", "exclusions", "anat_qc")}
    table = read_tsv(inputs["scans"])
    write_tsv(table[table["suffix"] == "T1w"], inputs["scans"])
    read = check(study_page(inputs, config))
    assert "This study has no PET scan" in read.text
    methods = read.text.split("Methods", 2)[2].split("References")[0]
    assert "BPND" not in methods
    assert "BOLD series" not in methods


def test_nothing_survives_is_said(study, config):
    path = study[1]["thresholds"]
    content = json.loads(Path(path).read_text())
    content["ClusterThresholdZ"] = None
    Path(path).write_text(json.dumps(content))
    assert "No voxel survives the threshold" in check(study_page(study[1], config)).text


def test_everything_in_a_page_is_escaped():
    nasty = "<img src=x onerror=alert(1)>"
    table = Table(
        ["a", nasty],
        [[nasty, Cell(nasty, href='x" onclick="y', title=nasty, note=nasty)]],
        caption=nasty,
        note=nasty,
    )
    source = render(
        Page(nasty, nasty, "study", [Section("s", nasty, nasty, [table, Note(nasty)])], [(nasty, "x")], nasty)
    )
    assert "<img" not in source
    assert 'onclick="y' not in source
    assert source.count("&lt;img") == 18


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("read /data/ada/study/a.tsv now", "read …/a.tsv now"),
        (r"C:\Users\ada\x.nii", "…/x.nii"),
        ("~/study/x.tsv", "…/x.tsv"),
        (
            "bids/sub-01/anat/x.nii.gz and 1/min and mm / degrees",
            "bids/sub-01/anat/x.nii.gz and 1/min and mm / degrees",
        ),
        ("bids::sub-01/anat/x.json", "bids::sub-01/anat/x.json"),
    ],
)
def test_private(text, expected):
    assert private(text) == expected


def test_number_keeps_small_values_visible():
    assert number(0.0004) == "4.0e−04"
    assert number(float("nan")) == "n/a"
    assert number(1234567) == "1,234,567"
    assert number("text") == "text"


def test_models_are_listed_with_their_pages(study, config):
    inputs = study[1]
    page = study_page(inputs, config, model_pages=[str(REPORTS / "model-diag.html")])
    assert "model-diag.html" in Reader(page.read_text()).links
    assert "each has a page of its own" in page.read_text()
    files = {f["file"] for f in json.loads((REPORTS / "provenance.json").read_text())["files"]}
    assert not [f for f in files if f.endswith(".html")]
