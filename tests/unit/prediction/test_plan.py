"""The lock of a plan and the lockbox: what changes is named, who is held back is seen by nothing, and opened once."""

import numpy as np
import pandas as pd
import pytest
import yaml

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.prediction import estimators, harmonize, lockbox, permutation, steps
from neurobraid.prediction.dataset import build
from neurobraid.prediction.final import write_final
from neurobraid.prediction.lockbox import read_openings, write_lockbox
from neurobraid.prediction.model import complete, fit_model, write_model
from neurobraid.prediction.plan import choose_lockbox, lock, make_plan, read_plans, write_plan
from neurobraid.prediction.store import read_archive
from neurobraid.synth.cohort import make_cohort

FEATURES = [{"name": "fmri", "modality": ["fmri-rest"]}, {"name": "pet", "modality": ["pet"]}]
NAMES = ("predictions", "scores", "folds", "importance", "pattern")


def record(**changes):
    base = {
        "name": "m",
        "table": "cohort",
        "target": "diagnosis",
        "features": FEATURES,
        "profile": "confirmatory",
    }
    base |= {
        "lockbox": 0.25,
        "repeats": 1,
        "permutations": 3,
        "confounds": ["age"],
        "folds": {"outer": 3, "inner": 3},
    }
    return {**base, **changes}


class Study:
    """A folder with tables, and the jobs of the rules run by hand."""

    def __init__(self, folder, cohort, code="0123456789abcdef"):
        self.folder, self.code = folder, code
        folder.mkdir(parents=True)
        self.lock = folder / "config/plan.yaml"
        self.write(cohort.features, cohort.participants)

    def write(self, features=None, participants=None):
        for name, table in (("features", features), ("participants", participants)):
            if table is not None:
                write_tsv(table, self.path(f"{name}.tsv"))

    def path(self, name):
        return self.folder / name

    @property
    def tables(self):
        return self.path("features.tsv"), self.path("participants.tsv")

    def plan(self, reason="", **changes):
        write_plan(*self.tables, record(**changes), self.path("model-m_plan.yaml"), code=self.code)
        return lock([self.path("model-m_plan.yaml")], self.lock, reason=reason)

    def fit(self, **changes):
        made = {f"{n}{end}": self.path(n + end) for n in NAMES for end in ("", "_json")}
        made["summary"] = self.path("summary.json")
        lock_file = self.lock if self.lock.exists() else None
        write_model(*self.tables, record(**changes), made, plan=lock_file, code=self.code)
        return read_json(made["summary"])

    def keep(self, **changes):
        made = {"model": self.path("m_model.zip"), "model_json": self.path("m_model.json")}
        write_final(
            *self.tables, self.path("summary.json"), record(**changes), made, plan=self.lock, code=self.code
        )
        return made["model"]

    def open(self, **changes):
        made = {n: self.path(f"lockbox_{n}") for n in ("lockbox", "predictions", "predictions_json")}
        write_lockbox(
            *self.tables, self.path("m_model.zip"), self.path("summary.json"), record(**changes), made, plan=self.lock,
            code=self.code, openings=self.path("config/openings.tsv"),
        )  # fmt: skip
        return read_json(made["lockbox"])

    @property
    def openings(self):
        return self.path("config/openings.tsv").read_text()

    @property
    def held(self):
        return read_plans(self.lock)[0]["m"]["lockbox"]["people"]


@pytest.fixture(scope="module")
def cohort():
    return make_cohort(0, people=160, families=0.3)


@pytest.fixture
def study(tmp_path, cohort):
    return Study(tmp_path / "study", cohort)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cohort):
    """Planned, fitted, kept, opened; tests that use it change nothing in it."""
    made = Study(tmp_path_factory.mktemp("whole") / "study", cohort)
    made.plan()
    made.summary = made.fit()
    made.keep()
    made.box = made.open()
    return made


# ------------------------------------------------------------------ who is held back


def test_the_lockbox_is_stratified_and_keeps_families_together(cohort):
    settings = complete(record())
    data = build(cohort.features, cohort.participants, settings)
    held = choose_lockbox(data, settings)
    people = cohort.participants.assign(held=cohort.participants["participant_id"].isin(held))
    assert abs(len(held) / len(people) - 0.25) < 0.03
    assert people.groupby("family_id")["held"].nunique().eq(1).all()
    assert people["family_id"].value_counts().gt(1).any(), "the cohort has families"
    parts = people.groupby(["site", "diagnosis"])["held"].mean()
    # a stratum has about 20 people: a family more or less is .05 to .1
    assert (parts - 0.25).abs().max() < 0.13
    assert held == choose_lockbox(data, settings)
    assert held != choose_lockbox(data, complete(record(seed=2)))
    mixed = build(cohort.features, cohort.participants.sample(frac=1, random_state=0), settings)
    assert held == choose_lockbox(mixed, settings)


def test_sites_as_groups_are_not_held_back_whole(cohort):
    settings = complete(record(groups="site"))
    data = build(cohort.features, cohort.participants, settings)
    held = cohort.participants["participant_id"].isin(choose_lockbox(data, settings))
    assert cohort.participants["site"][held].nunique() == 4 == cohort.participants["site"][~held].nunique()


def test_a_share_that_leaves_nobody_is_refused(cohort):
    few = cohort.participants.head(12)
    with pytest.raises(InputError, match=r"lockbox is 0\.05"):
        make_plan(cohort.features, few, complete(record(lockbox=0.05)), code="")


def test_a_lockbox_needs_a_locked_plan():
    with pytest.raises(InputError, match="profile: confirmatory"):
        complete(record(profile="exploratory"))


# ------------------------------------------------------------------ the lock


def test_no_plan_no_confirmatory_run(study):
    with pytest.raises(InputError, match="missing; allowed: a locked plan"):
        study.fit()
    assert not study.path("summary.json").exists()
    assert study.fit(profile="exploratory", lockbox=0)["status"] == "OK"


def test_the_same_again_and_harmless_keys_change_nothing(study):
    study.plan()
    first = study.lock.read_bytes()
    assert "unchanged" in study.plan()[0]
    assert "unchanged" in study.plan(save=True, open_lockbox=True, reopen="because")[0]
    assert study.lock.read_bytes() == first
    features, participants = (read_tsv(p) for p in study.tables)
    # other columns, other order: not what the model reads
    study.write(features.sample(frac=1, random_state=1), participants.assign(comment="x").iloc[::-1])
    assert "unchanged" in study.plan()[0]


def changed_data(study, part):
    features, participants = (read_tsv(p) for p in study.tables)
    if part == "features":
        features.loc[features.index[features["modality"] == "pet"][0], "value"] += 1e-6
    elif part == "target":
        person = participants.index[0]
        other = {"patient": "control", "control": "patient"}
        participants.loc[person, "diagnosis"] = other[participants.loc[person, "diagnosis"]]
    elif part == "covariates":
        participants.loc[3, "age"] += 1
    else:
        participants.loc[4, "site"] = "elsewhere"
    study.write(features, participants)


@pytest.mark.parametrize("part", ["features", "target", "covariates", "rows"])
def test_changed_data_stop_the_run_and_are_named(study, part):
    study.plan()
    changed_data(study, part)
    with pytest.raises(InputError, match=rf"data \({part}\): was [0-9a-f]{{12}}, is [0-9a-f]{{12}}"):
        study.fit()
    assert not study.path("summary.json").exists()


def test_changed_settings_and_code_are_named_together(study):
    study.plan()
    study.code = "fedcba9876543210"
    with pytest.raises(InputError) as caught:
        study.fit(permutations=5, estimator="svm")
    for words in (
        "estimator: was ridge, is svm",
        "permutations: was 3, is 5",
        "code: was 0123456789ab, is fedcba987654",
    ):
        assert words in str(caught.value)
    assert "grid: was" in str(caught.value)
    with pytest.raises(InputError, match="lockbox: was"):
        study.fit(seed=9)


def test_a_plan_edited_by_hand_is_found(study):
    study.plan()
    text = study.lock.read_text()
    content = yaml.safe_load(text)
    content["models"][0]["settings"]["permutations"] = 5
    study.lock.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="edited after it was locked"):
        study.fit(permutations=5)
    content = yaml.safe_load(text)
    content["models"][0]["lockbox"]["people"].pop()
    study.lock.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="edited after it was locked"):
        study.fit()
    study.lock.write_text("nothing: [")
    with pytest.raises(InputError, match="not a plan"):
        study.fit()


def test_a_plan_is_replaced_only_with_a_reason_that_stays(study):
    study.plan()
    with pytest.raises(InputError, match="permutations: was 3, is 4"):
        study.plan(permutations=4)
    study.plan(reason="  the reviewer asked ", permutations=4)
    found = study.fit(permutations=4)["plan"]
    assert found["replaced"][0]["reason"] == "the reviewer asked"
    assert found["replaced"][0]["changes"] == "permutations: was 3, is 4"
    assert found["digest"] == read_plans(study.lock)[0]["m"]["digests"]["plan"]


# ------------------------------------------------------------------ nothing sees the lockbox


def test_nothing_is_fitted_on_people_of_the_lockbox(tmp_path, cohort, monkeypatch):
    """Their values are far from all others: whatever is handed to a fit is searched for them."""
    study = Study(tmp_path / "study", cohort)
    changes = {
        "harmonize": {"covariates": ["age"], "unseen": "none"},
        "fusion": ["late", "early"],
        "learning_curve": True,
    }
    study.plan(**changes)
    features = read_tsv(study.tables[0])
    inside = features["participant_id"].isin(study.held)
    assert 0.2 < inside.mean() < 0.3
    features.loc[inside, "value"] = 1e5 + np.arange(inside.sum())
    study.write(features)
    study.plan(reason="marked", **changes)
    seen = {}

    def watched(where, name, function):
        def call(*arguments, **named):
            for value in [*arguments, *named.values()]:
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    seen[name] = max(seen.get(name, 0.0), float(np.nanmax(np.abs(value), initial=0.0)))
            return function(*arguments, **named)

        monkeypatch.setattr(where, name.split(".")[-1], call)

    for cls in (
        steps.KeepCovered, steps.FillMedian, steps.ConfoundRemover, steps.Standardize, harmonize.SiteHarmonizer,
        estimators.RidgePath, estimators.Calibrator, estimators.TunedModel,
    ):  # fmt: skip
        watched(cls, f"{cls.__name__}.fit", cls.fit)
    watched(permutation, "prepare", permutation.prepare)
    watched(permutation, "ridge_path", permutation.ridge_path)
    study.fit(**changes)
    study.keep(**changes)
    assert {"KeepCovered.fit", "SiteHarmonizer.fit", "RidgePath.fit", "prepare", "ridge_path"} <= set(seen)
    assert max(seen.values()) < 1e4, seen
    # the watch works: without the plan the marked people are everywhere
    study.fit(profile="exploratory", lockbox=0, **changes)
    assert min(seen[n] for n in ("KeepCovered.fit", "SiteHarmonizer.fit", "prepare")) > 1e4


def test_the_lockbox_changes_no_number_of_the_development(tmp_path, cohort, whole):
    study = Study(tmp_path / "study", cohort)
    study.plan()
    features = read_tsv(study.tables[0])
    inside = features["participant_id"].isin(study.held)
    features.loc[inside, "value"] = -features.loc[inside, "value"]
    study.write(features)
    study.plan(reason="other values inside")
    summary = study.fit()
    for name in NAMES:
        assert study.path(name).read_bytes() == whole.path(name).read_bytes()
    assert {k: v for k, v in summary.items() if k != "plan"} == {
        k: v for k, v in whole.summary.items() if k != "plan"
    }
    assert study.keep().read_bytes() == whole.path("m_model.zip").read_bytes()
    tested = set(read_tsv(study.path("folds"))["participant_id"])
    assert not tested & set(study.held) and len(tested) + len(study.held) == 160
    assert summary["flow"][1] == {"step": "outside the lockbox", "left": 160 - len(study.held)}


# ------------------------------------------------------------------ opened once


def test_the_score_of_the_lockbox(whole, cohort):
    box = whole.box
    assert box["People"] == len(whole.held) == box["Rows"]
    table = read_tsv(whole.path("lockbox_predictions"))
    assert sorted(table["participant_id"]) == whole.held
    truth = cohort.participants.set_index("participant_id").loc[table["participant_id"], "diagnosis"]
    assert truth.tolist() == table["target"].tolist()
    from neurobraid.prediction.metrics import auc

    y = np.where(table["target"] == "patient", 1.0, -1.0)
    found = box["Metrics"]["auc"]
    assert found["value"] == pytest.approx(auc(y, table["score"].to_numpy()))
    assert found["low"] < found["value"] < found["high"]
    # 40 people: SD of an AUC about .08
    assert abs(found["value"] - box["CrossValidation"]["mean"]) < 0.25
    assert box["P"] < 0.05 and box["Opening"] == {"Number": 1, "Reasons": []}
    for person in whole.held:
        assert person not in whole.openings


def test_the_interval_of_the_lockbox_covers_and_its_p_is_uniform(monkeypatch):
    """Scores of a known AUC: 95 % intervals hold it in 95 % of boxes, and no effect gives p <= .05 in 5 %."""
    monkeypatch.setattr(lockbox, "DRAWS", 99)
    rng = np.random.default_rng(4)
    y = np.r_[-np.ones(20), np.ones(20)]
    groups = np.arange(40).astype(str)
    covered = 0
    for _ in range(1000):
        # AUC Phi(1 / sqrt 2) = .760
        low, high = lockbox.auc_interval(y, rng.normal(size=40) + (y > 0))
        covered += low <= 0.760 <= high
    assert 930 <= covered <= 970
    small = 0
    for _ in range(60):
        raw = rng.normal(size=40)
        found = pd.DataFrame({"score": raw, "prediction": 1 / (1 + np.exp(-raw))})
        small += lockbox.score(y, found, "classification", 0.5, groups=groups)[1] <= 0.05
    # 3 of 60 expected, SD 1.7
    assert small <= 8
    perfect = lockbox.auc_interval(y, y)
    assert 0.8 < perfect[0] < perfect[1] <= 1


def test_the_same_opening_again_is_no_opening(whole):
    record_before, box = whole.openings, whole.path("lockbox_lockbox").read_bytes()
    whole.path("lockbox_lockbox").unlink()
    whole.open()
    assert whole.openings == record_before
    assert whole.path("lockbox_lockbox").read_bytes() == box
    assert len(read_openings(record_before)) == 1


@pytest.fixture
def opened(tmp_path, cohort):
    made = Study(tmp_path / "opened", cohort)
    made.plan()
    made.fit()
    made.keep()
    made.open()
    return made


def test_a_second_opening_is_refused_unless_a_reason_is_given(opened):
    opened.plan(reason="another number of permutations", permutations=4)
    opened.fit(permutations=4)
    opened.keep(permutations=4)
    before = opened.openings
    opened.path("lockbox_lockbox").unlink()
    with pytest.raises(InputError, match=r"opened already \(1x; plan: was"):
        opened.open(permutations=4)
    assert opened.openings == before and not opened.path("lockbox_lockbox").exists()
    box = opened.open(permutations=4, reopen="the journal\nwants it")
    assert box["Opening"] == {"Number": 2, "Reasons": ["the journal wants it"]}
    assert opened.openings.startswith(before), "the record is only appended to"
    assert len(read_openings(opened.openings)) == 2
    # and the first result can be made again as it was
    opened.plan(reason="back")
    opened.fit()
    opened.keep()
    assert opened.open()["Opening"] == {"Number": 1, "Reasons": []}
    assert len(read_openings(opened.openings)) == 2


def test_another_name_for_the_model_opens_nothing(opened):
    for changes in ({"name": "renamed"}, {"name": "other", "estimator": "ridge-logistic", "grid": [0.1]}):
        write_plan(*opened.tables, record(**changes), opened.path("model-x_plan.yaml"), code=opened.code)
        lock([opened.path("model-x_plan.yaml")], opened.lock)
        opened.fit(**changes)
        opened.keep(**changes)
        with pytest.raises(InputError, match="opened already"):
            opened.open(**changes)


def test_changed_code_or_data_cannot_open_the_box(opened):
    opened.code = "fedcba9876543210"
    with pytest.raises(InputError, match="code: was"):
        opened.open()
    opened.code = "0123456789abcdef"
    changed_data(opened, "target")
    with pytest.raises(InputError, match=r"data \(target\)"):
        opened.open()
    assert len(read_openings(opened.openings)) == 1


def test_a_record_that_was_changed_is_refused(opened):
    path = opened.path("config/openings.tsv")
    text = opened.openings
    lines = text.splitlines()
    for bent in (
        text.replace("\tdiagnosis\t", "\tage\t"),
        text + lines[1] + "\n",
        text.replace("\n1\t", "\n2\t"),
        text.rstrip("\n"),
        "\n".join(lines[1:]) + "\n",
    ):
        assert bent != text
        path.write_text(bent)
        with pytest.raises(InputError, match="changed after it was written"):
            opened.open()
    path.write_text(text)
    assert opened.open()["Opening"]["Number"] == 1


def test_the_date_is_in_the_record_only(whole):
    import datetime

    row = read_openings(whole.openings)[0]
    datetime.date.fromisoformat(row["date"])
    for path in whole.folder.rglob("*"):
        if path.is_file() and path.name != "openings.tsv" and path.suffix != ".zip":
            assert row["date"] not in path.read_text(), path.name


def test_a_regression_has_a_lockbox_too(tmp_path, cohort):
    study = Study(tmp_path / "study", cohort)
    changes = {"target": "score", "kind": "regression", "save": True}
    study.plan(**changes)
    study.fit(**changes)
    study.keep(**changes)
    box = study.open(**changes)
    table = read_tsv(study.path("lockbox_predictions"))
    header = read_archive(study.path("m_model.zip"))[0]
    mean = header["training"]["target_mean"]
    rest = np.sum((table["target"] - table["prediction"]) ** 2) / np.sum((table["target"] - mean) ** 2)
    assert box["Metrics"]["r2"]["value"] == pytest.approx(1 - rest)
    assert set(box["Metrics"]) == {"mae", "r2", "r"}


def test_distance_is_reported_by_the_cross_validation(cohort):
    settings = complete(record(profile="exploratory", lockbox=0, permutations=0))
    found = fit_model(cohort.features, cohort.participants, settings).summary["ood"]
    assert found["people"] == 160 and len(found["folds"]) == 3
    # 2.5 % of 160 is 4, SD 2; limits come from 128 people and have their own error
    assert found["flagged"] <= 14 and found["share"] == found["flagged"] / 160
    shifted = make_cohort(0, people=160, site_shift=3.0)
    away = complete(
        record(
            profile="exploratory",
            lockbox=0,
            permutations=0,
            groups="site",
            confounds=[],
            folds={"outer": 4, "inner": 3},
        )
    )
    parts = fit_model(shifted.features, shifted.participants, away).summary["ood"]
    # inner folds leave sites out as well: the limit allows for what sites differ in (2.5 % of 160, and four sites)
    assert parts["share"] < 0.2
    assert {p["site"] for p in parts["folds"]} == set(shifted.participants["site"])


def test_summary_json_can_be_written(whole, tmp_path):
    write_json(whole.summary, tmp_path / "again.json")
    assert read_json(tmp_path / "again.json")["plan"]["lockbox"]["people"] == len(whole.held)
