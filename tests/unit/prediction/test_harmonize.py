"""Harmonisation: the published equations, planted site effects, unseen sites, and the post-hoc test."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline as plain_pipeline

from neurobraid.errors import InputError
from neurobraid.prediction.estimators import RidgePath, make_pipeline, pipeline_scores
from neurobraid.prediction.harmonize import HarmonizeTable, SiteHarmonizer, posthoc_confounds
from neurobraid.prediction.steps import prepare


def plant(n=240, p=30, sites=4, seed=0, age_slope=0.05):
    """Features with a shift and a scale per site, and an age slope that must survive."""
    rng = np.random.default_rng(seed)
    site = np.array([f"s{k}" for k in np.arange(n) % sites])
    number = np.arange(n) % sites
    # age differs by site, so that a harmonisation without the covariate would eat part of the slope
    age = 45 + 6 * (number - 1.5) + rng.normal(0, 10, n)
    shift, scale = rng.normal(0, 1, (sites, p)), np.exp(0.3 * rng.normal(size=(sites, p)))
    clean = age_slope * (age - 45)[:, None] + rng.normal(size=(n, p)) * scale[number]
    return clean + shift[number] + 10.0, site, age[:, None], shift, scale


def by_hand(X, site, covariates):
    """ComBat written down a second time, one feature and one site at a time, from the paper's equations."""
    names = sorted(set(site))
    p = X.shape[1]
    design = np.column_stack([(site == s).astype(float) for s in names] + [covariates - covariates.mean(0)])
    out = np.empty_like(X)
    z, keep = np.empty_like(X), []
    for v in range(p):
        fit = LinearRegression(fit_intercept=False).fit(design, X[:, v])
        alpha = sum(np.mean(site == s) * fit.coef_[k] for k, s in enumerate(names))
        sigma = np.sqrt(np.mean((X[:, v] - fit.predict(design)) ** 2))
        stand = alpha + (covariates - covariates.mean(0)) @ fit.coef_[len(names) :]
        z[:, v] = (X[:, v] - stand) / sigma
        keep.append((stand, sigma))
    for s in names:
        rows = np.flatnonzero(site == s)
        g = np.array([z[rows, v].mean() for v in range(p)])
        d = np.array([z[rows, v].var(ddof=1) for v in range(p)])
        g_bar, t2, m, s2 = g.mean(), g.var(ddof=1), d.mean(), d.var(ddof=1)
        a, b = (2 * s2 + m * m) / s2, (m * s2 + m**3) / s2
        for v in range(p):
            g_new, d_new = g[v], d[v]
            for _ in range(500):
                g_new = (t2 * rows.size * g[v] + d_new * g_bar) / (t2 * rows.size + d_new)
                d_new = (0.5 * np.sum((z[rows, v] - g_new) ** 2) + b) / (rows.size / 2 + a - 1)
            stand, sigma = keep[v]
            out[rows, v] = (z[rows, v] - g_new) / np.sqrt(d_new) * sigma + stand[rows]
    return out


def test_equals_an_independent_computation():
    X, site, age, *_ = plant(n=60, p=8)
    done = SiteHarmonizer().fit(X, site=site, covariates=age).transform(X, site=site, covariates=age)
    np.testing.assert_allclose(done, by_hand(X, site, age), atol=1e-5)


def test_planted_shift_and_scale_are_estimated_and_the_age_slope_stays():
    X, site, age, shift, scale = plant(n=2000)
    fitted = SiteHarmonizer().fit(X, site=site, covariates=age)
    found = fitted.shift_ * fitted.sigma_
    np.testing.assert_allclose(found - found.mean(0), shift - shift.mean(0), atol=0.25)
    ratio = np.sqrt(fitted.scale_) * fitted.sigma_
    assert np.corrcoef(ratio.ravel(), scale.ravel())[0, 1] > 0.98
    clean = fitted.transform(X, site=site, covariates=age)
    slope = LinearRegression().fit(age, clean).coef_.mean()
    assert abs(slope / 0.05 - 1) < 0.05


def test_the_site_of_held_out_people_can_no_longer_be_told_and_could_before():
    X, site, age, *_ = plant(n=800)
    train = np.arange(800) % 40 < 20
    fitted = SiteHarmonizer().fit(X[train], site=site[train], covariates=age[train])
    clean = fitted.transform(X, site=site, covariates=age)
    scores = {}
    for name, values in (("raw", X), ("clean", clean)):
        # age differs by site by construction: take it out, or it alone tells the site
        values = values - LinearRegression().fit(age[train], values[train]).predict(age)
        values = (values - values[train].mean(0)) / values[train].std(0)
        scores[name] = (
            LogisticRegression(C=0.01).fit(values[train], site[train]).score(values[~train], site[~train])
        )
    assert scores["raw"] > 0.8
    assert abs(scores["clean"] - 0.25) < 0.07


def test_every_policy_for_an_unseen_site():
    X, site, age, *_ = plant(n=400)
    seen = site != "s3"
    new = ~seen
    settings = {"site": site[new], "covariates": age[new]}

    def fit(unseen):
        return SiteHarmonizer(unseen).fit(X[seen], site=site[seen], covariates=age[seen])

    with pytest.raises(InputError, match="s3"):
        fit("error").transform(X[new], **settings)
    np.testing.assert_array_equal(fit("none").transform(X[new], **settings), X[new])
    before = np.abs(X[new].mean(0) - X[seen].mean(0)).mean()
    reference = np.zeros(new.sum(), dtype=bool)
    reference[:40] = True
    for unseen, extra in (("reference", {"reference": reference}), ("unlabelled", {})):
        done = fit(unseen).transform(X[new], **settings, **extra)
        residual = done - fit(unseen).transform(X[seen], site=site[seen], covariates=age[seen]).mean(0)
        shift = residual[~reference].mean(0) - 0.05 * (age[new][~reference].mean() - age[seen].mean())
        assert np.abs(shift).mean() < 0.35 * before, unseen
    with pytest.raises(InputError, match="at least 5"):
        fit("reference").transform(X[new], **settings, reference=np.zeros(new.sum(), dtype=bool))
    with pytest.raises(InputError, match="unseen"):
        fit("guess")


def test_rows_tested_change_nothing_unless_the_policy_is_transductive():
    X, site, age, *_ = plant(n=200)
    fitted = SiteHarmonizer("none").fit(X[:100], site=site[:100], covariates=age[:100])
    crowd = X[100:].copy()
    crowd[1:] *= 100
    alone = fitted.transform(X[100:101], site=site[100:101], covariates=age[100:101])
    many = fitted.transform(crowd, site=site[100:], covariates=age[100:])
    np.testing.assert_allclose(many[:1], alone)


def test_parameters_survive_a_json_file(tmp_path):
    X, site, age, *_ = plant(n=80, p=5)
    fitted = SiteHarmonizer("none").fit(X, site=site, covariates=age)
    fitted.save(tmp_path / "site.json")
    again = SiteHarmonizer.load(tmp_path / "site.json")
    assert again.parameters() == fitted.parameters()
    np.testing.assert_array_equal(
        again.transform(X, site=site, covariates=age), fitted.transform(X, site=site, covariates=age)
    )


def test_one_person_per_site_one_feature_one_site():
    X = np.arange(12.0).reshape(6, 2) ** 1.3
    for site in (list("abcdef"), ["a"] * 6):
        assert np.isfinite(SiteHarmonizer().fit(X, site=site).transform(X, site=site)).all()
    assert np.isfinite(
        SiteHarmonizer().fit(X[:, :1], site=list("aabbcc")).transform(X[:, :1], site=list("aabbcc"))
    ).all()
    with pytest.raises(InputError, match="missing"):
        SiteHarmonizer().fit(np.array([[np.nan], [1.0]]), site=["a", "b"])


def test_site_reaches_the_step_through_scikit_learn():
    X, site, age, *_ = plant(n=80, p=5)
    with config_context(enable_metadata_routing=True):
        pipeline = plain_pipeline(SiteHarmonizer(), LinearRegression())
        pipeline.fit(X, age[:, 0], site=site)
        clean = SiteHarmonizer().fit(X, site=site).transform(X, site=site)
        direct = LinearRegression().fit(clean, age[:, 0]).predict(clean)
        np.testing.assert_allclose(pipeline.predict(X, site=site), direct)


def test_pipeline_and_fast_preparation_agree_with_harmonisation_and_indicators():
    X, site, age, *_ = plant(n=90, p=6)
    rng = np.random.default_rng(3)
    X[rng.random(X.shape) < 0.1] = np.nan
    X[::9] = np.nan
    y = np.where(rng.random(90) < 0.5, 1.0, -1.0)
    names = tuple(sorted(set(site)))
    codes = np.array([names.index(s) for s in site], dtype=float)
    table = np.column_stack([X, age, np.zeros(90), codes, rng.normal(size=(90, 2))])
    harmonize = {"covariates": 1, "unseen": "error", "names": names}
    grid = (10.0, 0.1)
    pipeline = make_pipeline(
        {"a": list(range(6))}, list(range(6, 11)), RidgePath(grid), 0.5, harmonize=harmonize, indicator=True
    ).fit(table[:60], y[:60])
    train, test = prepare(table[:60], table[60:], 2, 0.5, harmonize, True)
    assert train.shape == (60, 7)
    direct = RidgePath(grid).fit(train, y[:60]).scores(test)
    np.testing.assert_allclose(pipeline_scores(pipeline, table[60:]), direct, atol=1e-12)
    step = HarmonizeTable(2, **harmonize)
    assert step.fit(np.nan_to_num(table)).transform(np.nan_to_num(table)).shape == (90, 8)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_posthoc_names_a_prediction_that_only_reads_the_confound(kind):
    rng = np.random.default_rng(4)
    confound, brain = rng.normal(size=(2, 400))
    y = confound + brain + rng.normal(size=400)
    y = np.where(y > 0, 1.0, -1.0) if kind == "classification" else y
    fooled = posthoc_confounds(y, confound + 0.3 * rng.normal(size=400), confound[:, None], kind)
    honest = posthoc_confounds(y, brain + 0.3 * rng.normal(size=400), confound[:, None], kind)
    assert fooled["prediction"] > 0.15
    assert fooled["unique"] < 0.02
    assert fooled["p"] > 0.001
    assert honest["unique"] > 0.15
    assert honest["p"] < 1e-8
    assert honest["people"] == 400


def test_posthoc_against_scikit_learn():
    rng = np.random.default_rng(5)
    confounds, noise = rng.normal(size=(150, 2)), rng.normal(size=150)
    y = confounds[:, 0] + noise
    found = posthoc_confounds(y, noise, np.column_stack([confounds, confounds[:, 0]]), "regression")
    both = np.column_stack([confounds, noise])
    assert found["both"] == pytest.approx(LinearRegression().fit(both, y).score(both, y))
    labels = np.where(y > 0, 1.0, -1.0)
    model = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(confounds, labels)
    p = model.predict_proba(confounds)[:, 1]
    share = np.mean(labels > 0)
    null = share * np.log(share) + (1 - share) * np.log(1 - share)
    expected = 1 - np.mean(np.log(np.where(labels > 0, p, 1 - p))) / null
    assert posthoc_confounds(labels, noise, confounds, "classification")["confounds"] == pytest.approx(
        expected, abs=1e-4
    )
