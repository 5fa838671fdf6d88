"""The whole workflow on a real recording: raw BOLD and T1w to activation, connectivity and report, without PET."""

import numpy as np
import pytest
import yaml

from neurobraid.files import read_tsv
from neurobraid.images.io import data, load
from neurobraid.images.transforms import apply_affine
from tests.workflow.helpers import ROOT, snakemake

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def localizer(real_data, tmp_path_factory):
    """The small version of the localizer, analysed with the example's settings and the README's 8 mm."""
    home = tmp_path_factory.mktemp("localizer")
    config = yaml.safe_load((ROOT / "config/examples/task-localizer/config.yaml").read_text())
    config["anat"]["quality"] = "fast"
    config["bold"]["resolution"] = 3
    config["activation"]["smoothing_mm"] = 8
    config["bids"] = str(real_data / "studyforrest-localizer-small")
    (home / "config").mkdir()
    (home / "config/config.yaml").write_text(yaml.safe_dump(config))
    done = snakemake("--cores", 2, "--directory", home)
    return home, done


def peak(home, contrast, box):
    """Largest z inside a box of MNI mm, and where."""
    folder = home / "results/derivatives/sub-02/func"
    (path,) = folder.glob(f"sub-02_task-objectcategories_*contrast-{contrast}_stat-z_statmap.nii.gz")
    image = load(path)
    values = data(image)
    points = apply_affine(image.affine, np.argwhere(np.isfinite(values)))
    inside = np.all((points >= np.array(box)[:, 0]) & (points <= np.array(box)[:, 1]), axis=1)
    flat = values[np.isfinite(values)]
    best = np.argmax(np.where(inside, flat, -np.inf))
    return flat[best], points[best]


@pytest.mark.parametrize(
    ("contrast", "expected", "box"),
    [
        # z of the data's README; boxes: ventral temporal lobe of the right, parahippocampal region of the left side
        ("face", 5.9, [(20, 60), (-90, -25), (-35, 5)]),
        ("scene", 8.3, [(-45, -10), (-65, -15), (-30, 5)]),
    ],
)
def test_peaks_have_the_published_height(localizer, contrast, expected, box):
    z, where = peak(localizer[0], contrast, box)
    assert abs(z - expected) <= 0.25 * expected, (z, where)


def test_page_and_matrix_exist_and_nothing_complains(localizer):
    home, done = localizer
    page = (home / "results/reports/sub-02.html").read_text()
    assert "no PET" in page or "No PET" in page
    (path,) = (home / "results/derivatives/sub-02/func").glob("*_stat-pearsoncorrelation_relmat.tsv")
    matrix = read_tsv(path, index="Node")
    assert matrix.shape == (100, 100) and np.isfinite(matrix.to_numpy(float)).sum() > 5000
    assert "FAILED" not in done.stderr and "Traceback" not in done.stderr
    assert not list((home / "results/derivatives").rglob("*_pet.*"))


def test_group_statistics_are_skipped_with_the_reason(localizer):
    home, _ = localizer
    assert not list((home / "results/derivatives/group").glob("task-*_stat-z_*"))
    assert "at least 3" in (home / "results/reports/index.html").read_text()
