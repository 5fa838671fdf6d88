"""Features from series and maps: joined by label, nothing fitted outside the fold, the tangent reference least of all."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurobraid.connectivity.matrix import ledoit_wolf
from neurobraid.connectivity.tangent import displacement, geometric_mean, whitening
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_tsv
from neurobraid.prediction import model as models
from neurobraid.prediction import sources
from neurobraid.prediction.audit import fitted_state, probe_fit
from neurobraid.prediction.dataset import build
from neurobraid.prediction.estimators import TunedModel
from neurobraid.prediction.folds import make_folds
from neurobraid.prediction.permutation import statistics
from neurobraid.prediction.steps import Correlations, prepare
from neurobraid.prediction.tangent import TangentSpace, completed

REGIONS = ["LH_a", "LH_b", "RH_a", "RH_b", "RH_c"]


def scans(people=40, volumes=80, seed=0, effect=0.5):
    """Two regions that go together more in the second class; session ids, a second visit, shuffled order."""
    rng = np.random.default_rng(seed)
    out = []
    for number in range(people):
        mix = np.eye(5) + 0.2
        mix[0, 1] += effect * (number % 2)
        values = rng.normal(size=(volumes, 5)) @ mix.T
        out.append((f"sub-{number:02d}", "ses-2", pd.DataFrame(values, columns=REGIONS), None))
    later = pd.DataFrame(rng.normal(size=(volumes, 5)), columns=REGIONS)
    out.append(("sub-00", "ses-10", later, None))
    return [out[k] for k in rng.permutation(len(out))]


def people_table(count=40):
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{n:02d}" for n in range(count)],
            "group": ["patient" if n % 2 else "control" for n in range(count)],
            "age": np.linspace(20, 60, count),
        }
    )


def declared(measure="tangent", **more):
    record = {"name": "fc", "series": "toy", "task": "rest", "measure": measure}
    given = {"name": "m", "target": "group", "features": [record], "demographics": [], "repeats": 1, **more}
    return models.complete({"permutations": 0, "folds": {"outer": 4, "inner": 3}, **given})


def test_first_visit_counts_regions_join_by_name_and_absent_ones_are_nan():
    given = scans(4)
    name, session, series, _ = given[0]
    given[0] = (name, session, series[REGIONS[::-1]].assign(LH_b=3.0), None)
    low = pd.Series({"RH_c": 0.2}, index=REGIONS).fillna(1.0)
    given[1] = (*given[1][:3], low)
    found = sources.series_source(given, "tangent")
    assert found.shape == (5, 5) and found.kind == "tangent"
    assert list(found.view.index) == [f"sub-{n:02d}" for n in range(4)]
    row = found.view.loc[name]
    lost = {c for c in row.index if "LH_b" in c.split("--")}
    assert set(row.index[row.isna()]) == lost and len(lost) == 5
    thin = found.view.loc[given[1][0]]
    assert thin[[c for c in thin.index if "RH_c" in c.split("--")]].isna().all()
    # whatever the order of columns, an edge is the covariance of the regions in its name
    whole = next(s for s in given[2:] if s[1] == "ses-2")
    z = whole[2] - whole[2].mean()
    expected = ledoit_wolf((z / z.std(ddof=0)).to_numpy())[0]
    values = found.view.loc[whole[0]]
    for edge in values.index:
        a, b = edge.split("--")
        assert values[edge] == pytest.approx(expected[REGIONS.index(a), REGIONS.index(b)])
    visits = sources.series_source(given, "correlation", rows="visit")
    assert visits.view.index.names == ["participant_id", "session_id"]
    assert [s for p, s in visits.view.index if p == "sub-00"] == ["ses-2", "ses-10"]


def test_nobody_with_the_features_is_said_in_words():
    model = declared()
    short = [(n, s, series.iloc[:5], c) for n, s, series, c in scans(6)]
    for given in ([], short):
        found = models.fit_model(
            (), people_table(6), model, sources={"fc": sources.series_source(given, "tangent")}
        )
        assert found.summary["status"] == "UNAVAILABLE"
        assert found.summary["reason"] == "nobody has the features of fc (toy)"
    record = sources.check_record({"name": "v", "maps": "GM", "edge": 8}, "config")
    assert sources.maps_source([], record).view.empty


def test_runs_of_a_visit_are_averaged_or_put_end_to_end():
    (first, second), names = scans(2, volumes=30)[:2], REGIONS
    one, two = first[2].reset_index(drop=True), second[2].reset_index(drop=True)
    one.iloc[4] = np.nan
    given = [("sub-1", "", one, None), ("sub-1", "", two.iloc[:20], None)]
    mean = sources.series_source(given, "correlation").view.iloc[0]
    parts = [np.corrcoef(s.dropna().T)[0, 1] for s in (one, two.iloc[:20])]
    assert mean["LH_a--LH_b"] == pytest.approx(np.mean(np.arctanh(parts)))
    whole = sources.series_source([*given, ("sub-2", "", two, None)], "series")
    assert whole.shape == (49, 5)
    values = whole.view.to_numpy().reshape(2, 49, 5)
    assert np.isfinite(values[0]).all() and np.isnan(values[1, 30:]).all()
    np.testing.assert_allclose(values[0, 29:].mean(axis=0), 0, atol=1e-12)
    assert list(whole.view.columns[:2]) == [f"volume 1 {names[0]}", f"volume 1 {names[1]}"]


def test_tangent_in_the_pipeline_equals_the_function_by_hand_and_never_sees_test_rows():
    source = sources.series_source(scans(), "tangent")
    model = declared()
    data = build((), people_table(), model, sources={"fc": source})
    X, y = data.tables["fc"], data.y
    train, test = np.arange(30), np.arange(30, 40)
    fitted = models._pipeline(data, model, {"fc": range(15)}, []).fit(X[train], y[train])
    ready = fitted[:-1].transform(X[test])

    matrices = np.zeros((40, 5, 5))
    rows, columns = np.triu_indices(5)
    matrices[:, rows, columns] = matrices[:, columns, rows] = X
    white = whitening(geometric_mean(matrices[train], iterations=3))
    vectors = displacement(matrices, white)[:, rows, columns]
    hand = (vectors - vectors[train].mean(0)) / vectors[train].std(0) / np.sqrt(15)
    np.testing.assert_allclose(ready, hand[test], atol=1e-9)
    # the engine of the permutation test makes the same of them
    front = models.fronts(data, model)["fc"]
    np.testing.assert_allclose(prepare(X[train], X[test], 0, 0.5, front=front)[1], ready, atol=1e-12)

    # other people in the test fold, the same reference; and the probe would notice
    folds = make_folds(y, data.groups, kind="classification", outer=4, inner=3, repeats=1)
    _, _, train, test, inside = next(folds.splits())
    fit, table = models._probe(data, folds, model)
    other = table.copy()
    other[test] = table[test[::-1]] * 1.3
    one, two = (f.models_["fc"].pipeline_ for f in (fit(table, y, train), fit(other, y, train)))
    reference = [f.named_steps["blocks"].transformers_[0][1]["front"] for f in (one, two)]
    np.testing.assert_array_equal(reference[0].mean_, reference[1].mean_)
    assert reference[0].n_samples_seen_ == train.size
    assert probe_fit(fit, table, y, train, test)["status"] == "ok"
    # the probe looks at the reference: one step towards other people would show
    states = []
    for rows, part in ((train, inside), (np.arange(40), np.arange(40) % 3)):
        tuned = TunedModel(models._pipeline(data, model, {"fc": range(15)}, []), "classification")
        states.append(fitted_state(tuned.fit(X[rows], y[rows], part).pipeline_))
    (reference,) = [key for key in states[0] if key.endswith("front.mean_")]
    assert not np.allclose(states[0][reference], states[1][reference], atol=1e-6)


def test_model_with_series_scores_the_planted_edge_and_fast_and_plain_engines_agree():
    source = sources.series_source(scans(60, effect=0.6), "tangent")
    model = declared(permutations=9)
    found = models.fit_model((), people_table(60), model, sources={"fc": source})
    summary = found.summary
    assert summary["metrics"]["fc"]["auc"]["mean"] > 0.85
    assert summary["feature_sources"]["fc"]["kind"] == "tangent"
    assert summary["permutation"]["observed"]["fc"] == pytest.approx(summary["metrics"]["fc"]["auc"]["mean"])
    check = {c["check"]: c["status"] for c in summary["audit"]["checks"]}
    assert check["fitted steps that saw test rows"] == "ok"
    assert summary["patterns"]["fc"]["features"][0]["name"] == "LH_a--LH_b"


def test_regions_a_person_lacks_are_filled_by_the_reference_and_stay_positive_definite():
    rng = np.random.default_rng(3)
    mean = np.cov(rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)), rowvar=False)
    own = np.cov(rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)), rowvar=False)
    # a person like the reference gets the reference
    hidden = mean.copy()
    hidden[[1, 4]] = hidden[:, [1, 4]] = np.nan
    np.testing.assert_allclose(completed(hidden[None], mean)[0], mean, atol=1e-9)
    hidden = own.copy()
    hidden[[1, 4]] = hidden[:, [1, 4]] = np.nan
    done = completed(hidden[None], mean)[0]
    kept = [0, 2, 3, 5]
    np.testing.assert_array_equal(done[np.ix_(kept, kept)], own[np.ix_(kept, kept)])
    np.testing.assert_allclose(done, done.T)
    assert np.linalg.eigvalsh(done)[0] > 0
    assert np.isnan(completed(np.full((1, 6, 6), np.nan), mean)).all()


def test_regions_that_few_have_are_dropped_in_the_fold():
    source = sources.series_source(scans(), "tangent")
    X = source.view.to_numpy(copy=True)
    names = list(source.view.columns)
    X[3:, [k for k, n in enumerate(names) if "RH_c" in n.split("--")]] = np.nan
    X[5, [k for k, n in enumerate(names) if "LH_a" in n.split("--")]] = np.nan
    X[6] = np.nan
    step = TangentSpace(min_present=0.5, last=1).fit(np.column_stack([X, np.arange(40.0)]))
    assert [REGIONS.index("RH_c")] == sorted(set(range(5)) - set(step.regions_))
    out = step.transform(np.column_stack([X, np.arange(40.0)]))
    np.testing.assert_array_equal(out[:, -1], np.arange(40.0))
    assert np.isnan(out[6, :-1]).all()
    lost = np.array(["RH_c" in n.split("--") for n in names])
    assert np.isnan(out[:, :-1][:, lost]).all()
    assert np.isfinite(out[5, :-1][~lost]).all()


def test_linear_engine_reads_correlations_of_series():
    source = sources.series_source(scans(60, effect=0.6), "series")
    plain = sources.series_source(scans(60, effect=0.6), "correlation")
    folds = make_folds(
        np.where(np.arange(60) % 2, 1.0, -1.0), np.arange(60).astype(str), kind="classification", repeats=1
    )
    settings = {"confounds": 0, "grid": (1.0,), "kind": "classification", "min_present": 0.5}
    y = np.where(np.arange(60) % 2, 1.0, -1.0)
    fronts = {"x": Correlations(source.shape)}
    one = statistics({"x": source.view.to_numpy()}, y, folds, **settings, fronts=fronts)
    two = statistics({"x": plain.view.to_numpy()}, y, folds, **settings)
    assert one["x"] == pytest.approx(two["x"])


def brain(path, seed, value=0.0):
    rng = np.random.default_rng(seed)
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = [-80, -110, -70]
    values = 5 + 0.1 * rng.normal(size=(40, 46, 38))
    values[18:24, 20:26, 16:22] += value
    values[:4] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)
    return path


def test_maps_on_the_coarse_grid_keep_their_place_and_are_chosen_by_label(tmp_path):
    record = sources.check_record({"name": "v", "maps": "GM", "edge": 24, "spacing_mm": 8.0}, "config")
    paths = [
        brain(tmp_path / f"sub-{n}_space-MNI_label-GM_desc-modulated_probseg.nii.gz", n, 3.0 * (n == 2))
        for n in (2, 1)
    ]
    paths.append(brain(tmp_path / "sub-3_space-MNI_label-WM_probseg.nii.gz", 9))
    found = sources.maps_source(paths, record)
    assert list(found.view.index) == ["sub-1", "sub-2"] and found.shape == (24, 24, 24)
    difference = (found.view.loc["sub-2"] - found.view.loc["sub-1"]).to_numpy().reshape(24, 24, 24)
    _, affine = sources.coarse_grid(24, 8.0)
    np.testing.assert_allclose(affine @ [11.5, 11.5, 11.5, 1], [0, -18, 4, 1])
    peak = np.unravel_index(np.nanargmax(difference), difference.shape)
    blob = np.array([-80 + 4 * 20.5, -110 + 4 * 22.5, -70 + 4 * 18.5])
    assert np.linalg.norm((affine @ [*peak, 1])[:3] - blob) < 8
    assert np.nanmax(difference) == pytest.approx(3.0, abs=0.5)
    # no edge is darkened by the emptiness beside it
    whole = found.view.loc["sub-1"].to_numpy()
    image = nib.load(paths[1])
    values = sources.coarse(image, (24, 24, 24), affine).ravel()
    assert np.nanmin(values) > 4.8
    # beside the slab of zeros: no value for an effect, less of it for grey matter; neither outside the image
    slab = np.isnan(values) & np.isfinite(whole)
    assert slab.sum() > 100 and whole[slab].min() < 0.5
    assert np.isnan(whole).sum() > 100
    wanted = sources.check_record(
        {"name": "c", "maps": "contrast", "task": "motor", "contrast": "left"}, "config"
    )
    names = [
        f"sub-1_task-{t}_space-MNI_contrast-{c}_stat-{s}_statmap.nii.gz"
        for t, c, s in (("motor", "left", "effect"), ("motor", "right", "effect"), ("nback", "left", "effect"),
                        ("motor", "left", "t"))
    ]  # fmt: skip
    assert sources.map_files(names, wanted) == names[:1]
    binding = sources.check_record({"name": "b", "maps": "BPND"}, "config")
    names = [f"sub-1_trc-{t}_space-MNI_model-SRTM_meas-BPND_mimap.nii.gz" for t in ("ps13", "fallypride")]
    with pytest.raises(InputError, match=r"tracer of the features b is empty.*fallypride, ps13"):
        sources.map_files(names, binding)
    assert sources.map_files(names, {**binding, "tracer": "ps13"}) == names[:1]


def test_written_model_reads_its_own_series_by_label(tmp_path):
    people = people_table(24)
    write_tsv(people, tmp_path / "participants.tsv")
    paths = []
    for name, session, series, _ in scans(24, effect=0.8):
        stem = f"{name}_{session}_task-rest_atlas-toy"
        series = series.copy()
        series.iloc[3] = np.nan
        write_tsv(series, tmp_path / f"{stem}_stat-mean_timeseries.tsv")
        write_tsv(
            pd.DataFrame({"Node": REGIONS, "coverage": 1.0}), tmp_path / f"{stem}_stat-coverage_bold.tsv"
        )
        paths += [
            tmp_path / f"{stem}_stat-mean_timeseries.tsv",
            tmp_path / f"{stem}_stat-coverage_bold.tsv",
        ]
    record = {"name": "fc", "series": "toy", "task": "rest", "measure": "tangent"}
    outputs = {
        f"{k}{end}": tmp_path / f"{k}.{kind}"
        for k in ("predictions", "scores", "folds", "importance", "pattern")
        for end, kind in (("", "tsv"), ("_json", "json"))
    } | {"summary": tmp_path / "summary.json"}
    given = {"name": "m", "target": "group", "features": [record], "demographics": ["age"]}
    general = {"permutations": 0, "repeats": 1, "folds": {"outer": 3, "inner": 2}}
    models.write_model([], tmp_path / "participants.tsv", given, outputs, series=paths, **general)
    summary = read_json(tmp_path / "summary.json")
    assert summary["participants"] == 24 and summary["features"] == {"fc": 15}
    assert summary["feature_sources"]["fc"]["regions"] == REGIONS
    assert set(read_tsv(tmp_path / "predictions.tsv")["participant_id"]) == set(people["participant_id"])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"name": "x", "series": "a", "modality": ["pet"]}, "modality and series.*one of modality, series, maps"),
        ({"name": "x"}, "features of x is nothing"),
        ({"name": "x", "series": "a", "measure": "coherence"}, "measure of x is coherence.*tangent, correlation"),
        ({"name": "x", "maps": "FA"}, "maps of x is FA.*contrast, BPND, GM"),
        ({"name": "x", "maps": "contrast", "task": "motor"}, "contrast of x is missing"),
    ],
)  # fmt: skip
def test_records_that_cannot_be_read_are_refused(record, message):
    with pytest.raises(InputError, match=message):
        models.complete({"name": "m", "target": "group", "features": [record]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimator": "conv3d"}, "features is table.*maps for the estimator conv3d"),
        ({"estimator": "lstm"}, "series for the estimator lstm"),
        ({"measure": "series"}, "measure of fc is series.*conv1d or lstm"),
        ({"measure": "series", "estimator": "conv1d", "confounds": ["age"]}, "none with conv1d"),
        ({"measure": "series", "estimator": "conv1d", "fusion": ["early"]}, "late with conv1d"),
    ],
)
def test_networks_without_what_they_read_are_refused(change, message):
    measure = change.pop("measure", "tangent")
    with pytest.raises(InputError, match=message):
        declared(measure, **change)


def test_records_that_name_what_the_study_lacks_are_refused_at_once():
    def model(**record):
        return {"features": [{**sources.RECORD, "name": "x", **record}]}

    study = (["schaefer"], "dk", ["rest"], {"motor": ["left"]}, ["SRTM"])
    good = [
        model(series="schaefer", task="rest"), model(series="dk"), model(modality=["pet"]), model(maps="GM"),
        model(maps="contrast", task="motor", contrast="left"), model(maps="BPND"),
    ]  # fmt: skip
    sources.check_models(good, *study)
    bad = [
        model(series="aal"), model(series="schaefer", task="sleep"), model(maps="contrast", task="motor", contrast="right"),
        model(), model(maps="BPND", model="Logan"),
    ]  # fmt: skip
    with pytest.raises(ValueError) as caught:
        sources.check_models([*good, *bad], *study)
    text = str(caught.value)
    for part in ("series is aal; allowed: schaefer, dk", "task is sleep; allowed: rest", "contrast is right; allowed: left",
                 "features.0 is nothing to read", "model is Logan; allowed: SRTM"):  # fmt: skip
        assert part in text
    with pytest.raises(ValueError, match="the study has none"):
        sources.check_models([model(maps="BPND")], *study[:4], [])
