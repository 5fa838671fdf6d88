"""What is planted in the brain: activation blobs, networks, binding. Everything in template coordinates."""

import numpy as np
import pandas as pd

BLOBS = (
    # name, x, y, z (mm), radius (mm), left hand, right hand: signal change in % of baseline at the plateau
    ("motor-R", 40, -24, 54, 11.0, 1.30, 0.10),
    ("motor-L", -40, -24, 54, 11.0, 0.10, 1.30),
    ("cerebellum-L", -22, -54, -24, 10.0, 0.90, 0.00),
    ("cerebellum-R", 22, -54, -24, 10.0, 0.00, 0.90),
    ("supplementary-motor", 0, -6, 60, 10.0, 0.80, 0.80),
    ("visual", 0, -86, 4, 13.0, 0.60, 0.60),
    ("putamen-R", 27, -2, 4, 8.0, 0.55, 0.00),
    ("putamen-L", -27, -2, 4, 8.0, 0.00, 0.55),
)

CONTRASTS = {
    "left": (1.0, 0.0),
    "right": (0.0, 1.0),
    "leftVsRight": (1.0, -1.0),
    "motor": (0.5, 0.5),
}
"""Contrasts whose true maps are stored: weights of (left, right)."""

_SEEDS = {
    "visual": ((10, -88, -4), (32, -84, -13), (18, -91, 15), (14, -61, -2), (12, -78, 38)),
    "motor": ((42, -26, 54), (59, -19, 35), (16, -38, 67), (49, -21, 13), (16, -6, 65)),
    "attention": ((16, -62, 58), (50, -68, 8), (28, -4, 54), (42, -62, -19)),
    "salience": ((40, 2, 2), (6, 4, 36), (57, -48, 29), (55, 10, 20)),
    "limbic": ((38, 2, -40), (25, -8, -22), (10, 38, -19), (36, 20, -20), (10, 12, -14)),
    "control": ((40, 32, 34), (40, 50, -8), (40, -52, 50), (42, 6, 48), (30, 54, 18)),
    "default": ((6, 50, 14), (8, -60, 22), (40, -74, 34), (59, -19, -19), (14, 20, 57), (8, -34, 40)),
}
_DEEP, _CEREBELLUM = "subcortex", "cerebellum"
NETWORKS = (*_SEEDS, _DEEP, _CEREBELLUM)

# Correlation of the networks' courses; pairs not named are independent.
_COUPLING = {
    ("visual", "motor"): 0.38,
    ("visual", "attention"): 0.56,
    ("motor", "attention"): 0.44,
    ("motor", "salience"): 0.44,
    ("motor", "cerebellum"): 0.38,
    ("attention", "salience"): 0.44,
    ("attention", "default"): -0.56,
    ("salience", "default"): -0.38,
    ("salience", "control"): 0.25,
    ("control", "default"): -0.25,
    ("control", "attention"): 0.38,
    ("limbic", "default"): 0.44,
    ("limbic", "subcortex"): 0.31,
    ("subcortex", "salience"): 0.38,
    ("visual", "default"): -0.31,
}
LOADING, LOADING_SD = 0.85, 0.10


def activation(points, condition, factors=None):
    """Planted signal change at template points.

    Parameters
    ----------
    points : numpy.ndarray, (N, 3)
        Template coordinates in mm.
    condition : {0, 1}
        Left or right hand.
    factors : numpy.ndarray, (B,), optional
        A person's factor for each of `BLOBS`; default 1, the group.

    Returns
    -------
    numpy.ndarray, (N,), float32
        Percent of baseline.
    """
    points = np.asarray(points, np.float32)
    out = np.zeros(len(points), np.float32)
    for number, (_, x, y, z, radius, *effects) in enumerate(BLOBS):
        near = np.flatnonzero(np.abs(points - np.array([x, y, z], np.float32)).max(1) < 1.7 * radius)
        distance = (((points[near] - np.array([x, y, z], np.float32)) / radius) ** 2).sum(1)
        size = effects[condition] * (1.0 if factors is None else factors[number])
        # flat in the middle, down to half at 0.84 radius, gone at 1.3
        out[near] += np.float32(size) * np.exp(-(distance**2) * np.float32(1.4))
    return out


def blob_factors(rng):
    """A person's strength of each blob: common offset (SD 0.15) and own part (SD 0.3), at least 0.2."""
    return np.clip(1 + rng.normal(0, 0.15) + rng.normal(0, 0.3, len(BLOBS)), 0.2, None)


def networks(table):
    """Network of every region of an atlas: the nearest seed; deep grey matter and cerebellum by structure.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns x, y, z, structure.

    Returns
    -------
    list of str
    """
    names = [name for name, seeds in _SEEDS.items() for _ in seeds]
    seeds = np.array([seed for group in _SEEDS.values() for seed in group], float)
    points = np.array(table[["x", "y", "z"]], float)
    points[:, 0] = np.abs(points[:, 0])
    nearest = ((points[:, None] - seeds[None]) ** 2).sum(-1).argmin(1)
    chosen = [names[n] for n in nearest]
    own = {"subcortex": _DEEP, "cerebellum": _CEREBELLUM}
    return [own.get(structure, name) for structure, name in zip(table["structure"], chosen, strict=True)]


def network_covariance(table, rng, *, patient=False):
    """Planted correlation between regions of one person: a factor model.

    Parameters
    ----------
    table : pandas.DataFrame
        The atlas.
    rng : numpy.random.Generator, optional
        Source of the individual deviation of the loadings (SD `LOADING_SD`); None gives the group.
    patient : bool
        Patients: default and control networks are less anticorrelated, salience loads less.

    Returns
    -------
    numpy.ndarray, (R, R)
        Unit diagonal, positive definite.
    """
    phi = np.eye(len(NETWORKS))
    for (a, b), value in _COUPLING.items():
        if patient and {a, b} == {"control", "default"}:
            value = 0.10
        i, j = NETWORKS.index(a), NETWORKS.index(b)
        phi[i, j] = phi[j, i] = value
    membership = np.array([NETWORKS.index(name) for name in networks(table)])
    loading = np.full(len(table), LOADING)
    if patient:
        loading[membership == NETWORKS.index("salience")] -= 0.10
    if rng is not None:
        loading = loading + rng.normal(0, LOADING_SD, len(table))
    loading = np.clip(loading, 0.3, 0.97)
    covariance = loading[:, None] * phi[np.ix_(membership, membership)] * loading[None]
    np.fill_diagonal(covariance, 1.0)
    return covariance


def binding(table, person, rng):
    """Kinetic parameters of every region of one person.

    Parameters
    ----------
    table : pandas.DataFrame
        The atlas.
    person : mapping
        age (years), diagnosis.
    rng : numpy.random.Generator, optional
        Individual deviation; None gives the group.

    Returns
    -------
    pandas.DataFrame
        index, name, BPND, R1; rows as `table`. High in striatum, low in cortex, none in the cerebellum (the
        reference region). -6 % per decade of age, -15 % in the striatum of patients.
    """
    x, y, z = (table[c].to_numpy(float) for c in "xyz")
    deep = (table["structure"] == "subcortex").to_numpy()
    cerebellum = (table["structure"] == "cerebellum").to_numpy()
    striatum = deep & (y > -5)
    # a smooth pattern of the cortex, the same in everybody
    pattern = np.sin(np.abs(x) / 17.0 + 0.4) * np.cos(y / 31.0) * np.cos(z / 27.0)
    bp = 0.30 + 0.12 * pattern
    bp[deep] = 0.85
    bp[striatum] = 2.6 + 0.35 * (np.abs(x[striatum]) > 18)
    r1 = 0.95 + 0.10 * np.cos(y / 40.0) * np.sin(z / 30.0 + 1.0)
    r1[striatum] = 1.08
    if rng is not None:
        bp = bp * (1 + rng.normal(0, 0.06)) * (1 + rng.normal(0, 0.04, len(bp)))
        r1 = r1 * (1 + rng.normal(0, 0.03, len(r1)))
    bp = bp * (1 - 0.06 * (person["age"] - 45) / 10)
    if person["diagnosis"] == "patient":
        bp = np.where(striatum, 0.85 * bp, bp)
    return pd.DataFrame(
        {
            "index": table["index"].to_numpy(),
            "name": table["name"].to_numpy(),
            "BPND": np.where(cerebellum, 0.0, bp),
            "R1": np.where(cerebellum, 1.0, r1),
        }
    )
