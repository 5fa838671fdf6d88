"""Targets of a visit: everybody is his own control, pairs stay together, labels move within a person."""

import numpy as np
import pandas as pd
import pytest

from neurobraid.errors import InputError, InputErrors
from neurobraid.files import read_json, write_tsv
from neurobraid.prediction.audit import target_like
from neurobraid.prediction.dataset import build
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.model import complete, fit_model, write_model
from neurobraid.prediction.permutation import exchange_units, permutation_test, permuted_rows
from neurobraid.prediction.timeline import read_sessions
from neurobraid.prediction.visit_targets import (
    arrangements,
    exchangeable,
    few_arrangements,
    join_sessions,
    refuse_columns_of_visits,
)

FEATURES = [{"name": "pet", "modality": ["pet"]}, {"name": "structure", "modality": ["anat"]}]
SESSIONS = ("ses-baseline", "ses-blocked")


def study(people=12, effect=-1.5, seed=0):
    """Fusion table of two visits: binding differs between people and falls in the second, volumes are of the person."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(people):
        person, level, volumes = f"sub-{n + 1:02d}", rng.normal(0, 1, 8), rng.normal(5, 1, 8)
        for k, session in enumerate(SESSIONS):
            binding = level + 0.4 * rng.normal(size=8) + k * effect * (np.arange(8) < 4)
            for modality, measure, unit, values in (
                ("pet", "BPND", "1", binding), ("anat", "regionvolume", "mL", volumes)
            ):  # fmt: skip
                rows += [
                    (person, session, f"r{r}", modality, measure, v, unit, 1.0, "x")
                    for r, v in enumerate(values)
                ]
    columns = ["participant_id", "session_id", "region", "modality", "measure", "value", "unit", "coverage", "source"]  # fmt: skip
    table = pd.DataFrame(rows, columns=columns)
    names = sorted(table["participant_id"].unique())
    people = pd.DataFrame({"participant_id": names, "age": rng.normal(40, 9, len(names)), "sex": ["F", "M"] * (len(names) // 2)})  # fmt: skip
    return table, people


def model(**changes):
    return complete(
        {
            "name": "m", "target": "session_id", "classes": list(SESSIONS), "rows": "visit", "features": FEATURES,
            "splits": "leave-one-group-out", "permutations": 0, "min_participants": 4, **changes,
        }
    )  # fmt: skip


@pytest.mark.parametrize("asked", [{"save": True}, {"profile": "confirmatory"}])
def test_columns_of_a_visit_are_in_no_plan_and_in_no_model_that_is_kept(asked):
    visits = pd.DataFrame({"participant_id": ["sub-01"], "session_id": ["ses-1"], "age": [40.0]})
    with pytest.raises(InputError, match="session_id, age of the sessions tables"):
        refuse_columns_of_visits(model(**asked), visits)
    of_people = model(target="group", classes=["a", "b"], demographics=["sex"], **asked)
    refuse_columns_of_visits(of_people, visits)


def mean(result, name):
    return result.summary["metrics"][name]["auc"]["mean"]


def test_what_is_the_same_at_both_visits_is_exactly_chance_and_a_real_change_is_found():
    result = fit_model(*study(people=8), model(permutations=59))
    assert mean(result, "pet") > 0.9
    assert mean(result, "structure") == mean(result, "demographics") == 0.5
    permuted = result.summary["permutation"]
    assert permuted["units"] == "visit" and permuted["blocks"] == "participant_id"
    assert permuted["p"]["pet"] <= 0.05 and permuted["p"]["structure"] == 1
    assert permuted["movable"] == 16
    held = result.folds
    for _, fold in held.groupby(["repeat", "fold"]):
        tested = set(fold.loc[fold["role"] == "test", "participant_id"])
        assert not tested & set(fold.loc[fold["role"] == "train", "participant_id"])
        inside = fold[fold["role"] == "train"].groupby("participant_id")["inner_fold"].nunique()
        assert inside.eq(1).all(), "a pair of visits was split inside the training people"
    assert not any("both sides" in name for name in result.summary["audit"]["flags"])


def test_a_column_of_the_sessions_tables_is_the_same_target(tmp_path):
    table, people = study()
    paths = []
    for person in people["participant_id"]:
        path = tmp_path / person / f"{person}_sessions.tsv"
        path.parent.mkdir()
        # another order than that of the visits, and one session without images
        rows = {"session_id": ["ses-blocked", "ses-baseline", "ses-later"], "drug": ["yes", "no", "no"]}
        write_tsv(pd.DataFrame(rows), path)
        paths.append(path)
    write_tsv(people, tmp_path / "participants.tsv")
    write_tsv(table, tmp_path / "features.tsv")
    outputs = {
        f"{name}{end}": tmp_path / f"{name}.{kind}"
        for name in ("predictions", "scores", "folds", "importance", "pattern")
        for end, kind in (("", "tsv"), ("_json", "json"))
    } | {"summary": tmp_path / "summary.json"}
    record = {k: v for k, v in model().items() if k not in ("harmonize", "grid")}
    record |= {"target": "drug", "classes": ["no", "yes"]}
    write_model(tmp_path / "features.tsv", tmp_path / "participants.tsv", record, outputs, sessions=paths)
    found = read_json(outputs["summary"])
    by_label = fit_model(table, people, model()).summary
    assert found["class_counts"] == {"no": 12, "yes": 12}
    assert found["metrics"]["pet"]["auc"]["mean"] == by_label["metrics"]["pet"]["auc"]["mean"]
    with pytest.raises(InputError, match="needs rows: visit"):
        fit_model(table, people, model(target="drug", classes=["no", "yes"], rows="participant"))


def test_groups_that_would_split_a_person_are_refused():
    with pytest.raises(InputError, match="session_id of sub-01") as caught:
        fit_model(*study(), model(groups="session_id", splits="kfold"))
    assert "one group per participant" in str(caught.value)


def test_a_target_of_the_person_is_still_one_class_per_person():
    table, people = study()
    settings = model(target="sex", classes=["F", "M"], demographics=["age"], splits="kfold")
    data = build(table, people, settings)
    assert not data.within
    units, blocks = exchangeable(data, data.groups, data.sites)
    assert units is data.groups and blocks is data.sites


def test_labels_move_within_a_person_only():
    data = build(*study(people=6), model())
    units, blocks = exchangeable(data, data.groups, data.sites)
    gathered = exchange_units(units, blocks)
    rng, moved = np.random.default_rng(0), 0
    for _ in range(50):
        rows = permuted_rows(gathered, data.y.size, rng)
        assert (data.participants[rows] == data.participants).all()
        moved += (rows != np.arange(data.y.size)).any()
    assert moved > 40
    assert arrangements(units, blocks) == 64
    assert "only 64 ways" in few_arrangements(units, blocks, "classification")
    assert "0.031" in few_arrangements(units, blocks, "classification")
    assert few_arrangements(np.arange(12).astype(str), np.full(12, "all"), "classification") is None
    warned = fit_model(*study(people=6), model(permutations=9)).summary["warnings"]
    assert any("only 64 ways" in text for text in warned)


def test_p_holds_where_people_differ_and_visits_do_not():
    p = []
    for seed in range(30):
        settings = model(seed=seed, features=FEATURES[:1])
        data = build(*study(people=6, effect=0.0, seed=seed), settings)
        folds = make_folds(
            data.y, data.groups, kind="classification", inner=3, repeats=1, scheme="leave-one-group-out"
        )
        done = permutation_test(
            data.tables, data.y, folds, *exchangeable(data, data.groups, data.sites), count=19, seed=seed,
            confounds=0, grid=(1.0,), kind="classification", min_present=0.5,
        )  # fmt: skip
        p.append(done["p"]["pet"])
    # three standard errors above 5 %
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 30)
    assert np.mean(p) > 0.3


def test_a_perfect_feature_of_few_rows_is_told_and_of_many_is_flagged():
    rng = np.random.default_rng(0)
    for pairs, status in ((6, "ok"), (30, "flag")):
        y = np.tile([-1.0, 1.0], pairs)
        table = np.column_stack([y + 0.01 * rng.normal(size=y.size), rng.normal(size=(y.size, 99))])
        found = target_like({"x": table}, {"x": [f"r{n}" for n in range(100)]}, y, "classification")
        assert found["value"] == 1 and found["status"] == status
    assert "chance" not in found["text"]


def test_a_value_of_the_visit_comes_before_that_of_the_person():
    people = pd.DataFrame({"participant_id": ["sub-1", "sub-1", "sub-2"], "weight": [70.0, 70.0, 60.0]})
    visits = pd.DataFrame(
        {"participant_id": ["sub-1", "sub-1"], "session_id": ["ses-b", "ses-a"], "weight": [np.nan, 72.0]}
    )
    joined = join_sessions(people, ["ses-a", "ses-b", "ses-a"], visits)
    assert joined["weight"].tolist() == [72.0, 70.0, 60.0]
    assert joined["session_id"].tolist() == ["ses-a", "ses-b", "ses-a"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [({"visit": ["a"]}, "a column session_id"), ({"session_id": ["ses-a", "a"]}, "ses-a of sub-1 twice")],
)
def test_sessions_tables_that_cannot_be_joined_are_refused(tmp_path, rows, said):
    path = tmp_path / "sub-1_sessions.tsv"
    write_tsv(pd.DataFrame(rows), path)
    with pytest.raises(InputErrors, match=said):
        read_sessions([path])
