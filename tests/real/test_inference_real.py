"""Group inference on 30 people of Wager et al. 2008: places, counts, sides, and what each method finds."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.activation import inference
from neurobraid.stats import permutation
from neurobraid.stats.exchange import exchange

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def emotion(real_data):
    folder = real_data / "wager2008-emotion-regulation"
    if not folder.is_dir():
        pytest.skip("wager2008-emotion-regulation is not there")
    paths = sorted(folder.glob("sub-*/*stat-effect_statmap.nii.gz"))
    people = pd.read_csv(folder / "participants.tsv", sep="\t").set_index("participant_id")
    return paths, people.loc[[path.name[:6] for path in paths]]


def places_of(mask, affine):
    return np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]


def test_largest_t_counts_and_what_each_method_finds(emotion):
    model, effect, mask, affine = inference.read_group(emotion[0])
    t = permutation.statistic(model)
    assert (len(t), (t > 2.756).sum(), (t > 3.659).sum()) == (75919, 4582, 1685)
    assert t.max() == pytest.approx(7.25, abs=0.005)
    assert np.linalg.norm(places_of(mask, affine)[t.argmax()] - [-7, 24, 54]) < 2
    null = permutation.null(
        model, exchange(30, permute=False, flip=True), 0, 199, tests=inference._tests(model, mask, 0.001)
    )
    _, methods, table, _ = inference.infer(model, effect, mask, affine, null=null, cluster_voxels=10)
    found = methods.set_index("method")
    assert found.loc["uncorrected", "voxels_positive"] == 1685
    # the dependence of neighbours makes the largest t kinder than Bonferroni, TFCE kinder than the largest t
    assert (
        found.loc["bonferroni", "voxels_positive"] < found.loc["maxt", "voxels_positive"] < found.loc["tfce", "voxels_positive"]
    )  # fmt: skip
    assert found.loc["fdr", "true_discoveries_permutation"] > found.loc["fdr", "true_discoveries"] > 0
    first = table.iloc[0]
    assert np.linalg.norm(first[["x", "y", "z"]].to_numpy(float) - [-7, 24, 54]) < 2
    assert first["p_extent"] == first["p_mass"] == first["peak_p_maxt"] == pytest.approx(1 / 200)
    assert 0.2 < first["tdp"] < first["tdp_permutation"] <= 1


def test_covariate_lies_on_the_right_and_survives_permutation(emotion):
    """The contrast of a region in the right prefrontal cortex must come back there, r = .99 at (52, 24, 23)."""
    paths, people = emotion
    r = np.corrcoef(people["rvlpfc_contrast"], people["reappraisal_success"])[0, 1]
    assert r == pytest.approx(0.308, abs=5e-4)
    design = np.column_stack([np.ones(30), people["rvlpfc_contrast"]])
    model, _, mask, affine = inference.read_group(paths, design, [0.0, 1.0])
    t = permutation.statistic(model)
    correlation = t / np.sqrt(t**2 + model.dof)
    places = places_of(mask, affine)
    right, left = (np.linalg.norm(places - [side * 52, 24, 23], axis=1).argmin() for side in (1, -1))
    assert correlation[right] == pytest.approx(0.99, abs=0.005)
    # everything correlates with everything between people; the mirrored place must be far behind all the same
    assert t[right] > 3 * t[left]
    assert places[t.argmax()][0] > 0
    allowed = inference.allowed(model, list(people.index))
    assert not allowed.flips
    null = permutation.null(model, allowed, 0, 199)
    assert permutation.corrected(t, null.values["peak"])[right] == pytest.approx(1 / 200)
