"""Harmonisation of sites inside the fold, with a stated policy for a site that training never saw.

ComBat (Johnson, Li & Rabinovic 2007, Biostatistics 8:118; Fortin et al. 2018, NeuroImage 167:104): every site has a
shift and a scale per feature, estimated together over features by empirical Bayes. CovBat (Chen et al. 2022, Hum Brain
Mapp 43:1179) goes on to the covariance: what ComBat leaves is taken apart into principal components of the training
people, and every site's scores on them get the mean and the variance of all. The target never takes part: a
target that is preserved needs the label of the person tested (Nieto et al. 2024, arXiv 2410.19643).
"""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from neurobraid.errors import InputError
from neurobraid.files import read_json, write_json

#: What to do with a site that the training people do not have.
UNSEEN = ("error", "none", "reference", "unlabelled")
#: ``combat``: shift and scale; ``covbat``: covariance between features too.
METHODS = ("combat", "covbat")
#: Share of the variance whose principal components CovBat harmonises.
EXPLAINED = 0.95
#: Fewest rows from which shift and scale of an unseen site are estimated.
LEAST = 5


def _posterior(z, shrink):
    """Shift and scale (variance) of one site over all features.

    Parameters
    ----------
    z : numpy.ndarray, (people of the site, features)
        Standardised by the pooled model.
    shrink : bool

    Returns
    -------
    shift, scale : numpy.ndarray, (features,)
    """
    n, p = z.shape
    shift = z.mean(axis=0)
    scale = z.var(axis=0, ddof=1) if n > 1 else np.ones(p)
    scale = np.where(scale > 1e-12, scale, 1.0)
    if not shrink or p < 2 or n < 2:
        return shift, scale
    center, spread = shift.mean(), shift.var(ddof=1)
    mean, variance = scale.mean(), scale.var(ddof=1)
    if spread < 1e-12 or variance < 1e-12:
        return shift, scale
    # moments of the inverse gamma prior
    a = (2 * variance + mean**2) / variance
    b = (mean * variance + mean**3) / variance
    observed, squares, sums = shift, np.sum(z**2, axis=0), np.sum(z, axis=0)
    for _ in range(200):
        new = (spread * n * observed + scale * center) / (spread * n + scale)
        rest = squares - 2 * new * sums + n * new**2
        wide = (0.5 * rest + b) / (0.5 * n + a - 1)
        change = max(
            np.max(np.abs(new - shift) / np.maximum(np.abs(shift), 1e-9)),
            np.max(np.abs(wide - scale) / scale),
        )
        shift, scale = new, wide
        if change < 1e-6:
            break
    return shift, scale


class SiteHarmonizer(TransformerMixin, BaseEstimator):
    """Take shift and scale of the site out of every feature.

    Parameters
    ----------
    unseen : {'error', 'none', 'reference', 'unlabelled'}
        A site that training did not see: refuse; leave its values as they are (the grand mean stands for it);
        estimate it from reference rows of that site, which must not be tested; or estimate it from the rows
        themselves without labels, which looks at the people tested (transductive) and is named by the audit.
    shrink : bool
        Empirical Bayes over features; otherwise every feature for itself.
    method : {'combat', 'covbat'}

    Attributes
    ----------
    sites_ : list of str
    alpha_, sigma_ : numpy.ndarray, (features,)
        Grand mean and pooled residual SD.
    center_ : numpy.ndarray, (covariates,)
    beta_ : numpy.ndarray, (covariates, features)
        Effects that stay in the data.
    shift_, scale_ : numpy.ndarray, (sites, features)
        Shift in units of `sigma_`, and variance ratio.
    middle_ : numpy.ndarray, (features,)
        CovBat: mean of what ComBat leaves, in units of `sigma_`.
    components_ : numpy.ndarray, (components, features)
    component_shift_, component_scale_ : numpy.ndarray, (sites, components)
        Mean, and SD over that of all people, of every site's scores.
    n_samples_seen_ : int
    """

    # sites and covariates reach `fit` and `transform` through scikit-learn's metadata routing
    __metadata_request__fit = {"site": True, "covariates": True}  # noqa: RUF012
    __metadata_request__fit_transform = {"site": True, "covariates": True}  # noqa: RUF012
    __metadata_request__transform = {"site": True, "covariates": True, "reference": True}  # noqa: RUF012

    def __init__(self, unseen="error", shrink=True, method="combat"):
        self.unseen = unseen
        self.shrink = shrink
        self.method = method

    def fit(self, X, y=None, *, site, covariates=None):
        """Estimate the model from training people.

        Parameters
        ----------
        X : numpy.ndarray, (people, features)
            Without missing values.
        y : object
            Not used, on purpose.
        site : sequence, (people,)
        covariates : numpy.ndarray, (people, covariates), optional
            Effects to preserve, such as age and sex; never the target.

        Raises
        ------
        InputError
            An unknown policy, or missing values.
        """
        if self.unseen not in UNSEEN:
            raise InputError("SiteHarmonizer", "unseen", self.unseen, ", ".join(UNSEEN), "choose a policy")
        if self.method not in METHODS:
            raise InputError("SiteHarmonizer", "method", self.method, ", ".join(METHODS), "choose a method")
        X, covariates = _checked(X, covariates)
        site = np.asarray(site, dtype=str)
        self.sites_ = sorted(set(site.tolist()))
        self.n_samples_seen_ = len(X)
        member = (site[:, None] == np.array(self.sites_)).astype(np.float64)
        self.center_ = covariates.mean(axis=0)
        design = np.concatenate([member, covariates - self.center_], axis=1)
        effects = np.linalg.lstsq(design, X, rcond=1e-9)[0]
        count = len(self.sites_)
        self.alpha_ = (member.sum(axis=0) / len(X)) @ effects[:count]
        self.beta_ = effects[count:]
        spread = np.sqrt(np.mean((X - design @ effects) ** 2, axis=0))
        self.sigma_ = np.where(spread > 1e-12, spread, 1.0)
        z = self._standard(X, covariates)
        pairs = [_posterior(z[site == name], self.shrink) for name in self.sites_]
        self.shift_ = np.array([shift for shift, _ in pairs])
        self.scale_ = np.array([scale for _, scale in pairs])
        if self.method == "covbat":
            place = np.searchsorted(self.sites_, site)
            self._fit_components((z - self.shift_[place]) / np.sqrt(self.scale_[place]), site)
        return self

    def _fit_components(self, clean, site):
        """Principal components of what ComBat leaves, and every site's scores on them."""
        self.middle_ = clean.mean(axis=0)
        _, values, rows = np.linalg.svd(clean - self.middle_, full_matrices=False)
        share = np.cumsum(values**2) / max(np.sum(values**2), 1e-300)
        count = min(
            int(np.searchsorted(share, EXPLAINED) + 1), int(np.sum(values > 1e-9 * max(values[0], 1e-300)))
        )
        # the sign of a component is arbitrary: its largest weight is positive
        rows = rows[:count]
        largest = np.abs(rows).argmax(axis=1) if count else np.empty(0, dtype=int)
        self.components_ = rows * np.where(rows[np.arange(count), largest] < 0, -1.0, 1.0)[:, None]
        scores = (clean - self.middle_) @ self.components_.T
        self.spread_ = np.sqrt(np.mean(scores**2, axis=0))
        pairs = [self._component_site(scores[site == name]) for name in self.sites_]
        self.component_shift_ = np.array([shift for shift, _ in pairs]).reshape(len(self.sites_), count)
        self.component_scale_ = np.array([scale for _, scale in pairs]).reshape(len(self.sites_), count)

    def _component_site(self, scores):
        """Mean of a site's scores, and their SD over that of all; 1 where it cannot be told."""
        if len(scores) < 2 or not scores.shape[1]:
            return scores.mean(axis=0) if len(scores) else np.zeros(scores.shape[1]), np.ones(scores.shape[1])
        scale = scores.std(axis=0) / np.where(self.spread_ > 1e-12, self.spread_, 1.0)
        return scores.mean(axis=0), np.where(scale > 1e-6, scale, 1.0)

    def fit_transform(self, X, y=None, *, site, covariates=None):
        """Fit and transform the same people; see `fit`."""
        return self.fit(X, y, site=site, covariates=covariates).transform(X, site=site, covariates=covariates)

    def _standard(self, X, covariates):
        return (X - self.alpha_ - (covariates - self.center_) @ self.beta_) / self.sigma_

    def transform(self, X, *, site, covariates=None, reference=None):
        """Harmonised values, (people, features).

        Parameters
        ----------
        X, site, covariates
            As in `fit`.
        reference : numpy.ndarray of bool, (people,), optional
            Rows from which the policy ``reference`` may estimate an unseen site.

        Raises
        ------
        InputError
            An unseen site under ``error``, or fewer than five rows to estimate it from.
        """
        X, covariates = _checked(X, covariates)
        site = np.asarray(site, dtype=str)
        z, out = self._standard(X, covariates), X.copy()
        for name in np.unique(site):
            rows = site == name
            if name in self.sites_:
                place = self.sites_.index(name)
                shift, scale = self.shift_[place], self.scale_[place]
            elif self.unseen == "none":
                continue
            else:
                place = None
                used = self._unseen(name, rows, reference)
                shift, scale = _posterior(z[used], self.shrink)
            clean = (z[rows] - shift) / np.sqrt(scale)
            if self.method == "covbat":
                if place is None:
                    own = self._component_site(self._scores((z[used] - shift) / np.sqrt(scale)))
                else:
                    own = self.component_shift_[place], self.component_scale_[place]
                scores = self._scores(clean)
                clean = clean + ((scores - own[0]) / own[1] - scores) @ self.components_
            out[rows] = clean * self.sigma_ + self.alpha_ + (covariates[rows] - self.center_) @ self.beta_
        return out

    def _scores(self, clean):
        return (clean - self.middle_) @ self.components_.T

    def _unseen(self, name, rows, reference):
        """Rows from which an unseen site is estimated."""
        if self.unseen == "error":
            raise InputError(
                "participants.tsv",
                "site",
                name,
                f"a site of the training people ({', '.join(self.sites_)})",
                "choose harmonize.unseen: none, reference or unlabelled",
            )
        if self.unseen == "reference":
            rows = rows & (
                np.zeros(len(rows), dtype=bool) if reference is None else np.asarray(reference, dtype=bool)
            )
        if rows.sum() < LEAST:
            raise InputError(
                "participants.tsv",
                f"rows of the unseen site {name}",
                int(rows.sum()),
                f"at least {LEAST} {'reference ' if self.unseen == 'reference' else ''}rows",
                "mark more reference people, or choose harmonize.unseen: none",
            )
        return rows

    def parameters(self):
        """The fitted model as plain numbers, for a JSON file; see `save`."""
        arrays = ("alpha_", "sigma_", "center_", "beta_", "shift_", "scale_")
        name = "ComBat, empirical Bayes" if self.shrink else "location and scale"
        if self.method == "covbat":
            arrays += ("middle_", "components_", "component_shift_", "component_scale_", "spread_")
            name = f"CovBat after {name}"
        return {
            "method": name,
            "harmonization": self.method,
            "unseen": self.unseen,
            "shrink": self.shrink,
            "sites": self.sites_,
            "n_samples_seen": self.n_samples_seen_,
            **{name.rstrip("_"): getattr(self, name).tolist() for name in arrays},
        }

    def save(self, path):
        """Write the fitted model as JSON."""
        write_json(self.parameters(), path)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        SiteHarmonizer
        """
        found = read_json(path)
        out = cls(found["unseen"], found["shrink"], found.get("harmonization", "combat"))
        out.sites_, out.n_samples_seen_ = found["sites"], found["n_samples_seen"]
        for name in ("alpha", "sigma", "center", "shift", "scale"):
            setattr(out, f"{name}_", np.array(found[name], dtype=np.float64))
        if out.method == "covbat":
            for name in ("middle", "component_shift", "component_scale", "spread"):
                setattr(out, f"{name}_", np.array(found[name], dtype=np.float64))
            rows = np.array(found["components"], dtype=np.float64)
            out.components_ = rows.reshape(out.spread_.size, out.alpha_.size)
        out.beta_ = np.array(found["beta"], dtype=np.float64).reshape(out.center_.size, out.alpha_.size)
        return out


def _checked(X, covariates):
    X = np.asarray(X, dtype=np.float64)
    covariates = np.empty((len(X), 0)) if covariates is None else np.asarray(covariates, dtype=np.float64)
    for name, values in (("features", X), ("covariates", covariates)):
        if not np.isfinite(values).all():
            raise InputError(
                "SiteHarmonizer",
                name,
                "missing values",
                "finite numbers",
                "fill them before, inside the fold",
            )
    return X, covariates


class HarmonizeTable(TransformerMixin, BaseEstimator):
    """`SiteHarmonizer` on the table of a model, whose last columns hold what it needs.

    Columns: features, covariates, reference (0 or 1), site (code), confounds. The covariates, reference and site
    are dropped afterwards.

    Parameters
    ----------
    confounds, covariates : int
        Number of columns.
    unseen : str
        See `SiteHarmonizer`.
    names : tuple of str
        Names of the site codes, for messages.
    method : str
        See `SiteHarmonizer`.
    """

    def __init__(self, confounds=0, covariates=0, unseen="error", names=(), method="combat"):
        self.confounds = confounds
        self.covariates = covariates
        self.unseen = unseen
        self.names = names
        self.method = method

    def _parts(self, X):
        p = X.shape[1] - self.confounds - self.covariates - 2
        site = np.array([self.names[int(code)] for code in X[:, p + self.covariates + 1]])
        return (
            X[:, :p],
            X[:, p : p + self.covariates],
            X[:, p + self.covariates] > 0,
            site,
            X[:, -self.confounds :][:, : self.confounds],
        )

    def fit(self, X, y=None):
        """Fit on the training people."""
        features, covariates, _, site, _ = self._parts(X)
        step = SiteHarmonizer(self.unseen, method=self.method)
        self.harmonizer_ = step.fit(features, site=site, covariates=covariates)
        self.n_samples_seen_ = len(X)
        return self

    def transform(self, X):
        """Harmonised features and the confounds."""
        features, covariates, reference, site, confounds = self._parts(X)
        clean = self.harmonizer_.transform(features, site=site, covariates=covariates, reference=reference)
        return np.concatenate([clean, confounds], axis=1)


def posthoc_confounds(y, prediction, confounds, kind):
    """How much of a held-out prediction the confounds could explain (Dinga et al. 2020, bioRxiv 2020.08.17.255034).

    Parameters
    ----------
    y, prediction : numpy.ndarray, (people,)
        Target (classes as -1 and 1) and held-out score, one row per person.
    confounds : numpy.ndarray, (people, confounds)
        Missing values take the column's mean.
    kind : {'classification', 'regression'}

    Returns
    -------
    dict
        Explained shares of the target (R2; deviance explained for classes): ``prediction``, ``confounds``, ``both``,
        ``unique`` to the prediction (both minus confounds), ``shared``; p of the unique part (likelihood ratio),
        ``people``. A prediction that only reads confounds has ``unique`` near zero.
    """
    from scipy.stats import chi2

    keep = np.isfinite(prediction) & np.isfinite(y)
    y, prediction = y[keep], prediction[keep, None]
    confounds = np.where(np.isfinite(confounds[keep]), confounds[keep], np.nan)
    confounds = confounds[:, np.isfinite(confounds).any(axis=0)]
    confounds = (
        np.where(np.isfinite(confounds), confounds, np.nanmean(confounds, axis=0))
        if confounds.size
        else confounds
    )
    score = _deviance_explained if kind == "classification" else _variance_explained
    alone, nuisance = score(y, prediction), score(y, confounds)
    both = score(y, np.concatenate([prediction, confounds], axis=1))
    unique = {name: max(both[name] - nuisance[name], 0.0) for name in ("share", "statistic")}
    return {
        "prediction": alone["share"],
        "confounds": nuisance["share"],
        "both": both["share"],
        "unique": unique["share"],
        "shared": alone["share"] - unique["share"],
        "p": float(chi2.sf(unique["statistic"], 1)),
        "people": int(y.size),
    }


def _design(columns, n):
    spread = columns.std(axis=0) if columns.size else np.zeros(0)
    use = columns[:, spread > 1e-12]
    use = (use - use.mean(axis=0)) / use.std(axis=0) if use.size else np.empty((n, 0))
    # an orthonormal basis makes collinear confounds harmless
    u, s, _ = np.linalg.svd(use, full_matrices=False)
    return np.concatenate(
        [np.ones((n, 1)), u[:, s > 1e-9 * max(s.max(initial=0.0), 1e-300)] * np.sqrt(n)], axis=1
    )


def _variance_explained(y, columns):
    design = _design(columns, y.size)
    rest = np.sum((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2)
    total = np.sum((y - y.mean()) ** 2)
    if total <= 0:
        return {"share": np.nan, "statistic": np.nan}
    return {"share": float(1 - rest / total), "statistic": float(-y.size * np.log(max(rest / total, 1e-300)))}


def _deviance_explained(y, columns):
    positive = y > 0
    design = _design(columns, y.size)
    weights = np.zeros(design.shape[1])
    # a very weak ridge keeps separated classes finite
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (positive - p) - 1e-4 * weights
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-4 * np.eye(weights.size)
        step = np.linalg.solve(hessian, gradient)
        weights = weights + step
        if np.abs(step).max() < 1e-9:
            break
    p = np.clip(1 / (1 + np.exp(-np.clip(design @ weights, -30, 30))), 1e-12, 1 - 1e-12)
    fitted = np.sum(np.log(np.where(positive, p, 1 - p)))
    share = positive.mean()
    if not 0 < share < 1:
        return {"share": np.nan, "statistic": np.nan}
    null = y.size * (share * np.log(share) + (1 - share) * np.log(1 - share))
    return {"share": float(1 - fitted / null), "statistic": float(2 * (fitted - null))}
