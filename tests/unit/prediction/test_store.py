"""Stored models: the same numbers as in the cross-validation, nobody inside, nothing run, and nothing foreign applied."""

import json
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest

from neurobraid.cli import main
from neurobraid.errors import InputError, InputErrors
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.prediction import final, steps, store
from neurobraid.prediction.apply import COLUMNS, StoredModel, predict_study
from neurobraid.prediction.dataset import build
from neurobraid.prediction.final import describe, fit_main, write_final
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.metrics import auc
from neurobraid.prediction.model import complete, fit_model, run_folds
from neurobraid.synth.cohort import make_cohort

FEATURES = [
    {"name": "fmri", "modality": ["fmri-rest"]},
    {"name": "pet", "modality": ["pet"]},
    {"name": "structure", "modality": ["anat"]},
]


def model(**changes):
    base = {"name": "m", "table": "cohort", "target": "diagnosis", "permutations": 0, "repeats": 1}
    return complete({**base, "features": FEATURES, **changes})


def halves(cohort):
    """Every other person: two studies of one population, with other identifiers in the second."""
    people = cohort.participants
    first = people.iloc[::2].reset_index(drop=True)
    second = people.iloc[1::2].reset_index(drop=True)
    tables = [
        cohort.features[cohort.features["participant_id"].isin(part["participant_id"])].reset_index(drop=True)
        for part in (first, second)
    ]
    return (tables[0], first), (tables[1], second)


def kept(features, participants, settings, path, main_set="fused", **more):
    summary = {"status": "OK", "main_set": main_set, "folds": {"sha256": "0" * 64}}
    header, arrays = describe(features, participants, settings, summary, **more)
    store.write_archive(header, arrays, path)
    return path


@pytest.fixture(scope="module")
def studies():
    return halves(make_cohort(0, people=480, site_shift=0.5, age_effect=0.3))


@pytest.fixture(scope="module")
def archive(studies, tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "model-m_model.zip"
    return kept(*studies[0], model(confounds=["site", "age"]), path)


CASES = {
    "late": ({"confounds": ["site", "age"]}, "fused"),
    "early": ({"confounds": ["site", "age"], "fusion": ["early"]}, "early"),
    "single": ({"features": FEATURES[1:2]}, "pet"),
    "imputed": ({"missing_modality": "impute"}, "fused"),
    "available": ({"missing_modality": "available"}, "fused"),
    "harmonised": ({"harmonize": {"covariates": ["age"], "unseen": "none"}}, "fused"),
    "logistic": ({"estimator": "ridge-logistic", "grid": [0.01, 1.0]}, "fused"),
    "svm": ({"estimator": "svm", "grid": [0.01, 1.0]}, "fused"),
    "regression": ({"kind": "regression", "target": "score", "confounds": ["sex"]}, "fused"),
    "svr": ({"kind": "regression", "target": "score", "estimator": "svm", "grid": [0.01, 1.0]}, "fused"),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_stored_model_gives_the_out_of_fold_numbers_of_the_cross_validation(case, tmp_path, monkeypatch):
    """Trained on an outer fold's training people, stored, read, applied: the same as the fold's predictions."""
    changes, main_set = CASES[case]
    cohort = make_cohort(
        2, people=120, site_shift=0.5, missing_pet=0.15 if "missing_modality" in changes else 0.0
    )
    cohort.features.loc[::17, "value"] = np.nan
    settings = model(**changes)
    data = build(cohort.features, cohort.participants, settings)
    folds = make_folds(
        data.y, data.groups, kind=settings["kind"], site=data.sites, outer=3, inner=3, repeats=1
    )
    predictions = run_folds(data, folds, settings)[0]
    _, _, train, test, inside = next(folds.splits())
    expected = {r: (s, p) for name, _, fold, r, s, p in predictions if name == main_set and fold == 1}

    monkeypatch.setattr(final, "inner_folds", lambda *_, **__: inside)
    chosen = cohort.participants[cohort.participants["participant_id"].isin(data.participants[train])]
    table = cohort.features[cohort.features["participant_id"].isin(chosen["participant_id"])]
    path = kept(table, chosen, settings, tmp_path / "m.zip", main_set)
    others = cohort.participants[cohort.participants["participant_id"].isin(data.participants[test])]
    table = cohort.features[cohort.features["participant_id"].isin(others["participant_id"])]
    found = StoredModel(path).predict(table, others).set_index("participant_id")
    assert len(expected) == len(test)
    for row, (score, prediction) in expected.items():
        person = found.loc[data.participants[row]]
        assert person["score"] == pytest.approx(score, abs=1e-8)
        assert person["prediction"] == pytest.approx(prediction, abs=1e-8)


def test_a_new_study_is_predicted_as_well_as_the_cross_validation_says(studies, archive):
    features, participants = studies[1]
    found = StoredModel(archive).predict(features, participants)
    assert list(found) == list(COLUMNS)
    truth = participants.set_index("participant_id").loc[found["participant_id"], "diagnosis"].to_numpy()
    y = np.where(truth == "patient", 1.0, -1.0)
    within = fit_model(*studies[0], model(confounds=["site", "age"])).summary["metrics"]["fused"]["auc"][
        "mean"
    ]
    # one study of 240: the SD of an AUC near .8 is .03
    assert abs(auc(y, found["score"].to_numpy()) - within) < 0.09
    assert found["prediction"].between(0, 1).all()
    assert ((found["prediction"] >= 0.5) == (found["class"] == "patient")).all()
    assert (found["missing_share"] == 0).all() and (found["site_known"] == "yes").all()
    assert found["outside_share"].mean() == pytest.approx(0.02, abs=0.01)


def test_people_like_those_of_training_are_rarely_flagged_and_shifted_ones_are(studies, archive):
    features, participants = studies[1]
    stored = StoredModel(archive)
    alike = stored.predict(features, participants)
    # expected 2.5 % of 240, six people; two SD of the count, and of the limit's own error, is 2.5 + 4.5 %
    assert np.mean(alike["ood_flag"] == "yes") < 0.07
    odd = features.copy()
    chosen = participants["participant_id"].iloc[:40]
    rows = odd["participant_id"].isin(chosen) & odd["modality"].eq("pet")
    odd.loc[rows, "value"] *= 1.6
    moved = stored.predict(odd, participants).set_index("participant_id")
    assert (moved.loc[chosen, "ood_flag"] == "yes").all()
    rest = moved.drop(chosen)
    same = alike.set_index("participant_id").loc[rest.index]
    pd.testing.assert_series_equal(rest["ood_distance"], same["ood_distance"])


def test_noise_of_another_shape_is_far_even_where_every_value_is_ordinary(studies, archive):
    features, participants = studies[1]
    odd = features[features["participant_id"] == participants["participant_id"].iloc[0]].copy()
    training = studies[0][0]
    middle = training.groupby(["modality", "measure", "region"])["value"].agg(["mean", "std"])
    place = pd.MultiIndex.from_frame(odd[["modality", "measure", "region"]])
    signs = np.where(np.arange(len(odd)) % 2, 1.9, -1.9)
    odd["value"] = middle["mean"].loc[place].to_numpy() + signs * middle["std"].loc[place].to_numpy()
    found = StoredModel(archive).predict(odd, participants.iloc[:1]).iloc[0]
    assert found["outside_share"] < 0.05 and found["ood_flag"] == "yes"


def test_same_model_same_bytes_and_nobody_inside(studies, archive, tmp_path):
    (features, participants), _ = studies
    mixed = kept(
        features.sample(frac=1, random_state=1), participants.sample(frac=1, random_state=2),
        model(confounds=["site", "age"]), tmp_path / "again.zip",
    )  # fmt: skip
    assert mixed.read_bytes() == archive.read_bytes()
    with zipfile.ZipFile(archive) as found:
        content = b"".join(found.read(name) for name in found.namelist())
        assert {entry.date_time for entry in found.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert b"sub-" not in content and b"pickle" not in content
    # no row of anybody, raw or as the estimator sees it
    _, arrays = store.read_archive(archive)
    table = build(features, participants, model(confounds=["site", "age"])).tables["pet"][:, :34]
    for array in arrays:
        if array.dtype.kind == "f" and array.ndim and array.shape[-1] == 34:
            flat = array.reshape(-1, 34)
            assert not np.isclose(flat[:, None, :], table[None], atol=1e-9).all(axis=2).any()


@pytest.mark.parametrize("estimator", ["svm", "ridge-logistic"])
def test_a_stored_svm_has_no_support_vectors(studies, tmp_path, estimator):
    (features, participants), _ = studies
    settings = model(estimator=estimator, grid=[0.1], features=FEATURES[1:2])
    path = kept(features, participants, settings, tmp_path / "svm.zip", "pet")
    header, arrays = store.read_archive(path)
    assert header["members"]["pet"]["estimator"]["step"] == "Linear"
    assert max(a.size for a in arrays) < len(participants) * 34


def test_an_estimator_without_weights_is_refused(studies, tmp_path, monkeypatch):
    from sklearn.svm import SVC

    from neurobraid.prediction.estimators import GridPath

    monkeypatch.setattr(GridPath, "_make", lambda self, c: SVC(kernel="rbf", C=c))
    (features, participants), _ = studies
    settings = model(estimator="svm", grid=[1.0], features=FEATURES[1:2])
    with pytest.raises(InputError, match="set save: false"):
        kept(features, participants, settings, tmp_path / "rbf.zip", "pet")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ what is refused


def refused(archive, features, participants, *words, **more):
    with pytest.raises((InputError, InputErrors)) as caught:
        StoredModel(archive).predict(features, participants, **more)
    for word in words:
        assert word in str(caught.value), (word, str(caught.value))


def test_another_feature_set_unit_or_atlas_is_refused_in_one_go(studies, archive):
    features, participants = studies[1]
    other = features.copy()
    other["region"] = other["region"].str.replace("LH_Region", "Left")
    other.loc[other["modality"] == "anat", "unit"] = "mm3"
    refused(
        archive, other, participants.drop(columns="age"), "features of pet",
        "17 of 34 missing", "Left01", "unit of anat volume is mm3; allowed: mL", "age missing",
    )  # fmt: skip


def test_another_atlas_is_refused(studies, tmp_path):
    (features, participants), (new, others) = studies
    own = {"name": "braid100", "sha256": "a" * 64}
    path = kept(features, participants, model(), tmp_path / "atlas.zip", atlas=own)
    refused(path, new, others, "atlas name is schaefer", atlas={"name": "schaefer", "sha256": ""})
    refused(path, new, others, "atlas sha256 is bbb", atlas={"name": "braid100", "sha256": "b" * 64})
    assert len(StoredModel(path).predict(new, others, atlas=own)) == len(others)


def test_tables_in_two_units_twice_the_same_value_and_no_modality(studies, archive):
    features, participants = studies[1]
    two = features.copy()
    two.loc[two.index[two["modality"] == "pet"][:5], "unit"] = "kBq"
    refused(archive, two, participants, "unit of pet BPND is 1, kBq")
    refused(archive, pd.concat([features, features.head(3)]), participants, "twice", "every value once")
    refused(
        archive,
        features[features["modality"] != "pet"],
        participants,
        "no pet",
        "every modality of the model",
    )


def test_other_identifiers_infinite_values_and_double_people(studies, archive):
    features, participants = studies[1]
    bare = participants.assign(participant_id=participants["participant_id"].str.removeprefix("sub-"))
    refused(archive, features, bare, "participant_id", "write identifiers the same way")
    wrong = features.copy()
    wrong.loc[3, "value"] = np.inf
    refused(archive, wrong, participants, "infinite")
    refused(archive, features, pd.concat([participants, participants.head(1)]), "twice")
    refused(archive, features, None, "site missing", "give --participants")


def test_a_new_site_follows_the_policy_of_the_model(studies, tmp_path):
    (features, participants), (new, others) = studies
    moved = others.assign(site=others["site"].replace({others["site"].iloc[0]: "elsewhere"}))
    for unseen in ("error", "none", "unlabelled"):
        settings = model(harmonize={"unseen": unseen, "covariates": ["age"]})
        path = kept(features, participants, settings, tmp_path / f"{unseen}.zip")
        if unseen == "error":
            refused(path, new, moved, "elsewhere", "harmonize.unseen")
            continue
        found = StoredModel(path).predict(new, moved).set_index("participant_id")
        away = moved.set_index("participant_id").loc[found.index, "site"].eq("elsewhere")
        assert (found["site_known"].eq("no") == away).all() and away.sum() > 30
        known = StoredModel(path).predict(new, others).set_index("participant_id")
        assert np.allclose(found.loc[~away, "score"], known.loc[~away, "score"])
        assert not np.allclose(found.loc[away, "score"], known.loc[away, "score"])
        assert np.isfinite(found["score"]).all()


def test_reference_people_of_a_new_site_are_used_and_not_scored(studies, tmp_path):
    (features, participants), (new, others) = studies
    path = kept(
        features, participants.assign(ref="no"),
        model(harmonize={"unseen": "reference", "reference": "ref"}), tmp_path / "reference.zip",
    )  # fmt: skip
    site = others["site"].iloc[0]
    moved = others.assign(site=others["site"].replace({site: "elsewhere"}), ref="no")
    refused(path, new, moved, "rows of the unseen site elsewhere")
    pool = moved.index[(moved["site"] == "elsewhere") & (moved["diagnosis"] == "control")]
    moved.loc[pool, "ref"] = "yes"
    found = StoredModel(path).predict(new, moved)
    assert len(found) == len(moved) - len(pool)
    assert not set(found["participant_id"]) & set(moved.loc[pool, "participant_id"])


def test_missing_values_new_categories_and_ranges_are_said(studies, archive):
    features, participants = studies[1]
    person, other = participants["participant_id"].iloc[:2]
    few = features.copy()
    few.loc[(few["participant_id"] == person) & (few["region"] == "LH_Region01"), "value"] = np.nan
    people = participants.copy()
    people.loc[0, "age"] = 103.0
    people.loc[1, "age"] = np.nan
    people.loc[1, "site"] = "elsewhere"
    found = StoredModel(archive).predict(few, people).set_index("participant_id")
    assert found.loc[person, "missing_share"] == pytest.approx(2 / 89)
    assert found.loc[person, "outside_range"] == "age" and found.loc[other, "outside_range"] == "site"
    assert np.isfinite(found["prediction"]).all()
    # without PET the model of people with every modality says nothing
    some = features[~((features["participant_id"] == person) & (features["modality"] == "pet"))]
    found = StoredModel(archive).predict(some, participants).set_index("participant_id")
    assert np.isnan(found.loc[person, "prediction"]) and found.loc[person, ["class", "ood_flag"]].isna().all()
    assert found.drop(person)["prediction"].notna().all()


class Boom:
    """An object that leaves a trace when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_is_not_opened(tmp_path):
    trace = tmp_path / "trace"
    for protocol in range(5):
        path = tmp_path / f"{protocol}_model.zip"
        path.write_bytes(pickle.dumps(Boom(trace), protocol=protocol))
        with pytest.raises(InputError, match=r"pickle|no whole archive"):
            store.read_archive(path)
    # an array of objects inside a well-formed archive is a pickle, too
    path = tmp_path / "objects_model.zip"
    with pytest.raises(ValueError, match="Object arrays"):
        store.write_archive({}, [np.array([Boom(trace)], dtype=object)], path)
    inner = tmp_path / "x.npy"
    np.save(inner, np.array([Boom(trace)], dtype=object), allow_pickle=True)
    forged(path, {"model.json": json.dumps({"format": 1}).encode(), "arrays/0000.npy": inner.read_bytes()})
    with pytest.raises(InputError, match="arrays cannot be read"):
        store.read_archive(path)
    assert not trace.exists()


def forged(path, members):
    """An archive with right checksums, as somebody would make who knows the layout."""
    import hashlib

    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    with zipfile.ZipFile(path, "w") as out:
        for name, content in {**members, "digest.json": json.dumps(digests).encode()}.items():
            out.writestr(name, content)


def members(archive):
    with zipfile.ZipFile(archive) as found:
        return {name: found.read(name) for name in found.namelist() if name != "digest.json"}


def test_truncated_changed_and_foreign_files_are_refused(archive, tmp_path):
    whole = archive.read_bytes()
    path = tmp_path / "x_model.zip"
    for cut in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="stored model"):
            store.read_archive(path)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 150):
        bent = bytearray(whole)
        bent[place] ^= 0x55
        path.write_bytes(bytes(bent))
        try:
            header, arrays = store.read_archive(path)
        except InputError:
            continue
        # a byte that carries nothing (a date, a reserved field) may differ; the content may not
        original = store.read_archive(archive)
        assert header == original[0]
        assert all(
            np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            for a, b in zip(arrays, original[1], strict=True)
        )
    with pytest.raises(InputError, match="missing"):
        store.read_archive(tmp_path / "none_model.zip")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("version", lambda h: h | {"format": 2}, "format is 2"),
        ("step", lambda h: bend(h, "step", "os.system"), "unknown step"),
        ("setting", lambda h: bend(h, "settings", {"call": "x"}), "other values"),
        (
            "array",
            lambda h: bend(h, "fitted", {"weights_": {"array": 999}, "intercept_": 0.0}),
            "not understood",
        ),
        ("content", lambda h: {"format": 1}, "not understood"),
    ],
)
def test_a_forged_file_can_name_nothing_but_known_steps(archive, tmp_path, name, change, words):
    content = members(archive)
    header = change(json.loads(content["model.json"]))
    path = tmp_path / f"{name}_model.zip"
    forged(path, {**content, "model.json": json.dumps(header).encode()})
    with pytest.raises(InputError, match=words):
        StoredModel(path)


def bend(header, key, value):
    header["members"]["pet"]["estimator"][key] = value
    return header


def test_only_listed_classes_can_be_packed():
    with pytest.raises(TypeError, match="not among the steps"):
        store.pack(Boom("x"), [])
    from sklearn.preprocessing import StandardScaler

    with pytest.raises(TypeError, match="not among the steps"):
        store.pack(StandardScaler(), [])
    # a value that this version does not know would be lost on the way
    step = steps.Standardize().fit(np.eye(3))
    step.shrinkage_ = 0.5
    with pytest.raises(TypeError, match="holds shrinkage_"):
        store.pack(step, [])
    for name, (module, settings, _) in store.STEPS.items():
        made = getattr(__import__(module, fromlist=[name]), name)
        assert set(settings) <= {"kind", "linear", *made().get_params()} if name != "Calibrator" else True


# ------------------------------------------------------------------ files and command


def written(folder, features, participants, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.tsv" for name in ("features", "participants")}
    write_tsv(features, paths["features"])
    write_tsv(participants, paths["participants"])
    record = {
        "name": "m",
        "table": "cohort",
        "target": "diagnosis",
        "features": FEATURES,
        "repeats": 1,
        **changes,
    }
    summary = fit_model(
        read_tsv(paths["features"]), read_tsv(paths["participants"]), complete({**record, "permutations": 0})
    ).summary
    write_json(summary, folder / "summary.json")
    outputs = {"model": folder / "model-m_model.zip", "model_json": folder / "model-m_model.json"}
    write_final(
        paths["features"],
        paths["participants"],
        folder / "summary.json",
        record,
        outputs,
        code="abc",
        permutations=0,
    )
    return paths, outputs, summary


def test_the_command_writes_a_table_and_its_sidecar(studies, tmp_path, capsys):
    (features, participants), (new, others) = studies
    _, outputs, summary = written(tmp_path / "a", features, participants, confounds=["age"])
    note = read_json(outputs["model_json"])
    assert note["Model"]["training"]["manifest"] == summary["folds"]["sha256"]
    assert note["Model"]["code"] == "abc" and "sub-" not in json.dumps(note)
    assert note["Model"]["features"][1]["units"] == {"pet BPND": "1"}
    write_tsv(new[new["modality"] != "pet"], tmp_path / "mr.tsv")
    write_tsv(new[new["modality"] == "pet"], tmp_path / "pet.tsv")
    write_tsv(others, tmp_path / "people.tsv")
    call = [
        "predict",
        "--model",
        str(outputs["model"]),
        "--features",
        str(tmp_path / "mr.tsv"),
        str(tmp_path / "pet.tsv"),
    ]
    call += ["--participants", str(tmp_path / "people.tsv"), "--output", str(tmp_path / "out.tsv")]
    assert main(call) == 0
    assert "not for clinical use" in capsys.readouterr().out
    table = read_tsv(tmp_path / "out.tsv")
    assert list(table) == list(COLUMNS) and len(table) == len(others)
    about = read_json(tmp_path / "out.json")
    assert set(about["Columns"]) == set(COLUMNS) and str(tmp_path) not in json.dumps(about)
    first = (tmp_path / "out.tsv").read_bytes()
    assert main(call) == 0 and (tmp_path / "out.tsv").read_bytes() == first
    for odd in ("none.tsv", "m.json"):
        wrong = [str(tmp_path / odd) if part.endswith("mr.tsv") else part for part in call]
        assert main(wrong) == 1 and f"{odd}: file is missing" in capsys.readouterr().err
    # another file under the sidecar's name
    write_json({**note, "Sha256": "0" * 64}, outputs["model_json"])
    assert main(call) == 1
    assert "SHA-256" in capsys.readouterr().err


def test_a_model_that_was_not_fitted_is_kept_as_such_and_refused(studies, tmp_path):
    (features, participants), _ = studies
    few = participants.head(6)
    _, outputs, summary = written(tmp_path / "b", features, few)
    assert summary["status"] == "UNAVAILABLE"
    with pytest.raises(InputError, match="UNAVAILABLE"):
        predict_study(outputs["model"], [tmp_path / "b/features.tsv"], tmp_path / "out.tsv")
    assert not (tmp_path / "out.tsv").exists()


def test_main_members_are_those_of_the_fusion(studies):
    (features, participants), _ = studies
    settings = model()
    data = build(features, participants, settings)
    rows = np.arange(data.y.size)
    fitted, fused = fit_main(data, settings, rows, rows % 3, "fused")
    assert list(fitted) == ["fmri", "pet", "structure"] and fused is not None
    fitted, fused = fit_main(data, settings, rows, rows % 3, "pet")
    assert list(fitted) == ["pet"] and fused is None
