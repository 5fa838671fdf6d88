"""CovBat: a second computation, planted covariance of sites, unseen sites, and the file of parameters."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from neurobraid.errors import InputError
from neurobraid.prediction.estimators import RidgePath, make_pipeline, pipeline_scores
from neurobraid.prediction.harmonize import HarmonizeTable, SiteHarmonizer
from neurobraid.prediction.model import complete, fit_model
from neurobraid.prediction.steps import prepare
from neurobraid.synth.cohort import make_cohort


def plant(n=900, p=12, sites=3, seed=0, age_slope=0.05):
    """Features that sites shift and scale, and that sites let go together in other directions."""
    rng = np.random.default_rng(seed)
    number = np.arange(n) % sites
    site = np.array([f"s{k}" for k in number])
    age = 45 + 4 * (number - 1) + rng.normal(0, 10, n)
    X = rng.normal(size=(n, p)) + 1.2 * rng.normal(size=(n, 1)) * np.linspace(1, 0.2, p)
    for k in range(sites):
        # a direction whose variance is this site's own
        direction = np.zeros(p)
        first = 4 * k % (p - 3)
        direction[first : first + 4] = [0.5, -0.5, 0.5, -0.5]
        X[number == k] += 2.0 * rng.normal(size=(np.sum(number == k), 1)) * direction
    X = X + rng.normal(size=(sites, p))[number] + age_slope * (age - 45)[:, None]
    return X, site, age[:, None]


def covariances(X, site, age):
    """Distance of the sites' correlation matrices from each other, covariate taken out."""
    design = np.column_stack([np.ones(len(X)), age])
    clean = X - design @ np.linalg.lstsq(design, X, rcond=None)[0]
    found = [np.corrcoef(clean[site == s].T) for s in sorted(set(site))]
    return max(np.abs(a - b).max() for a in found for b in found)


def test_equals_a_second_computation():
    X, site, age = plant(n=120, p=8)
    use = {"site": site, "covariates": age}
    fitted = SiteHarmonizer(method="covbat").fit(X, **use)
    combat = SiteHarmonizer().fit(X, **use)
    # residuals of ComBat, standardised, without the part that is to stay
    kept = combat.alpha_ + (age - age.mean(0)) @ combat.beta_
    clean = (combat.transform(X, **use) - kept) / combat.sigma_
    pca = PCA(0.95, svd_solver="full").fit(clean)
    scores = pca.transform(clean)
    for s in sorted(set(site)):
        rows = site == s
        scores[rows] = (
            (scores[rows] - scores[rows].mean(0)) / scores[rows].std(0) * pca.transform(clean).std(0)
        )
    left = clean - pca.inverse_transform(pca.transform(clean))
    expected = (pca.inverse_transform(scores) + left) * combat.sigma_ + kept
    np.testing.assert_allclose(fitted.transform(X, **use), expected, atol=1e-8)


def test_planted_covariance_goes_and_the_age_slope_stays_and_combat_leaves_it():
    X, site, age = plant(n=3000)
    train = np.arange(3000) % 30 < 15
    gap = {"raw": covariances(X[~train], site[~train], age[~train])}
    for method in ("combat", "covbat"):
        step = SiteHarmonizer(method=method).fit(X[train], site=site[train], covariates=age[train])
        done = step.transform(X[~train], site=site[~train], covariates=age[~train])
        gap[method] = covariances(done, site[~train], age[~train])
        design = np.column_stack([np.ones(len(done)), age[~train]])
        slope = np.linalg.lstsq(design, done, rcond=None)[0][1].mean()
        assert abs(slope / 0.05 - 1) < 0.1, method
    # 500 people per site: a correlation has an SE of .045, the largest of 66 differences about .2
    assert gap["combat"] > 0.8 * gap["raw"] > 0.3
    assert gap["covbat"] < 0.6 * gap["combat"]


def test_every_policy_for_an_unseen_site():
    X, site, age = plant()
    seen, new = site != "s2", site == "s2"
    # the new site differs along a component that the training people have: others it cannot know
    X[new] += 3 * np.random.default_rng(5).normal(size=(new.sum(), 1)) * np.linspace(1, 0.2, 12)
    there = {"site": site[new], "covariates": age[new]}

    def fit(unseen):
        step = SiteHarmonizer(unseen, method="covbat")
        return step.fit(X[seen], site=site[seen], covariates=age[seen])

    with pytest.raises(InputError, match="s2"):
        fit("error").transform(X[new], **there)
    np.testing.assert_array_equal(fit("none").transform(X[new], **there), X[new])
    reference = np.arange(new.sum()) < 150
    clean = fit("reference").transform(X[seen], site=site[seen], covariates=age[seen])
    before = np.abs(np.corrcoef(X[new].T) - np.corrcoef(clean.T)).mean()
    for unseen, extra in (("reference", {"reference": reference}), ("unlabelled", {})):
        done = fit(unseen).transform(X[new], **there, **extra)[~reference]
        after = np.abs(np.corrcoef(done.T) - np.corrcoef(clean.T)).mean()
        assert after < 0.5 * before, unseen
        shift = done.mean(0) - clean.mean(0) - 0.05 * (age[new][~reference].mean() - age[seen].mean())
        assert np.abs(shift).mean() < 0.25, unseen
    # people tested change nothing unless the policy looks at them
    crowd = X[new].copy()
    crowd[200:] *= 50
    few = {"site": site[new], "covariates": age[new], "reference": reference}
    one, two = (fit("reference").transform(v, **few)[150:200] for v in (X[new], crowd))
    np.testing.assert_allclose(one, two)


def test_parameters_survive_a_json_file_and_old_files_are_read(tmp_path):
    X, site, age = plant(n=90, p=6)
    fitted = SiteHarmonizer("none", method="covbat").fit(X, site=site, covariates=age)
    fitted.save(tmp_path / "site.json")
    again = SiteHarmonizer.load(tmp_path / "site.json")
    assert again.parameters() == fitted.parameters()
    np.testing.assert_array_equal(
        again.transform(X, site=site, covariates=age), fitted.transform(X, site=site, covariates=age)
    )
    with pytest.raises(InputError, match="longcombat"):
        SiteHarmonizer(method="longcombat").fit(X, site=site)


def test_small_and_odd_tables():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(6, 2))
    for site in (list("abcdef"), ["a"] * 6, list("aabbbb")):
        done = SiteHarmonizer(method="covbat").fit(X, site=site).transform(X, site=site)
        assert np.isfinite(done).all()
    one = SiteHarmonizer(method="covbat").fit(X[:, :1], site=list("aabbcc"))
    assert np.isfinite(one.transform(X[:, :1], site=list("aabbcc"))).all()
    flat = np.ones((6, 3))
    np.testing.assert_allclose(
        SiteHarmonizer(method="covbat").fit(flat, site=list("aabbcc")).transform(flat, site=list("aabbcc")),
        flat,
    )


def test_in_the_pipeline_and_in_the_fast_preparation():
    X, site, age = plant(n=120, p=6)
    rng = np.random.default_rng(3)
    y = np.where(rng.random(120) < 0.5, 1.0, -1.0)
    names = tuple(sorted(set(site)))
    codes = np.array([names.index(s) for s in site], dtype=float)
    table = np.column_stack([X, age, np.zeros(120), codes, rng.normal(size=(120, 2))])
    harmonize = {"covariates": 1, "unseen": "error", "names": names, "method": "covbat"}
    grid = (10.0, 0.1)
    pipeline = make_pipeline(
        {"a": list(range(6))}, list(range(6, 11)), RidgePath(grid), 0.5, harmonize=harmonize
    )
    train, test = prepare(table[:80], table[80:], 2, 0.5, harmonize)
    direct = RidgePath(grid).fit(train, y[:80]).scores(test)
    found = pipeline_scores(pipeline.fit(table[:80], y[:80]), table[80:])
    np.testing.assert_allclose(found, direct, atol=1e-12)
    plain = HarmonizeTable(2, **{**harmonize, "method": "combat"}).fit(table).transform(table)
    assert np.abs(plain - HarmonizeTable(2, **harmonize).fit(table).transform(table)).max() > 0.05


def test_a_model_asks_for_it_and_keeps_its_parameters():
    cohort = make_cohort(0, people=120, site_shift=0.5)
    base = {
        "name": "m", "table": "cohort", "target": "diagnosis", "permutations": 0, "repeats": 1, "demographics": [],
        "features": [{"name": "pet", "modality": ["pet"]}], "folds": {"inner": 3},
    }  # fmt: skip
    settings = complete({**base, "harmonize": {"method": "covbat", "covariates": ["age"]}})
    summary = fit_model(cohort.features, cohort.participants, settings).summary
    kept = summary["harmonization"]["pet"]
    assert kept["method"] == "CovBat after ComBat, empirical Bayes"
    assert len(kept["components"][0]) == 34
    assert len(kept["component_scale"]) == 4
    assert "fitted steps that saw test rows" not in summary["audit"]["flags"]
    with pytest.raises(InputError, match="cobat"):
        complete({**base, "harmonize": {"method": "cobat"}})
