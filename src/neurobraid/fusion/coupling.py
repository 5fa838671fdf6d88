"""Coupling of two modalities over regions: within each person, across people, and of the group's mean maps.

Three questions that are often mixed up. *Within* a person: are regions with more of one thing those with more of the
other? *Across* people: does a person with more of one thing in a region have more of the other there? *Mean maps*: is
the group's pattern shared? The first and the last need a null that knows how smooth maps are.
"""

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.fusion.association import FEWEST_REGIONS, map_association
from neurobraid.fusion.nulls import distances, moran_basis, moran_surrogates, on_surface, surface_parcels
from neurobraid.fusion.schema import WHOLE
from neurobraid.fusion.table import wide
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

#: Fewest people for a statistic across people, beyond the covariates.
FEWEST_PEOPLE = 4
#: Measures taken when the config names no pairs: how strongly a region acts, and what its molecules or metabolism are.
FUNCTION = {"fmri-rest": ("strengthpositive",), "fmri-task": None}
MOLECULES = ("BPND", "BPP", "BPF", "VT", "DVR", "Ki", "KI", "Kref", "CMRglc", "SUVR")


def covariate_design(people, names, columns):
    """Columns to take out: an intercept, numbers, and all but one level of every category.

    Parameters
    ----------
    people : pandas.DataFrame or None
        participants.tsv with ``participant_id``.
    names : sequence of str
        Participants, in the order of the rows wanted.
    columns : sequence of str
        Those that are not in `people` are left out and said.

    Returns
    -------
    design : numpy.ndarray, (N, 1 + K), float64
        NaN in the rows of people whose covariate is missing. Columns that are constant over `names` are dropped.
    used : list of str
    """
    import pandas as pd

    parts, used = [np.ones((len(names), 1))], []
    rows = people.set_index("participant_id").reindex(names) if people is not None else None
    for column in columns:
        if rows is None or column not in rows:
            log.warning("covariate %s is not in participants.tsv and is left out", column)
            continue
        numbers = pd.to_numeric(rows[column], errors="coerce")
        if numbers.notna().sum() == rows[column].notna().sum():
            coded = numbers.to_numpy(dtype=np.float64)[:, None]
        else:
            text = rows[column].astype("object")
            levels = sorted(text.dropna().astype(str).unique())[1:]
            coded = np.array([[float(str(v) == level) for level in levels] for v in text], dtype=np.float64)
            coded = coded.reshape(len(names), len(levels))
            coded[text.isna().to_numpy()] = np.nan
        varies = [k for k in range(coded.shape[1]) if len(np.unique(coded[np.isfinite(coded[:, k]), k])) > 1]
        if varies:
            parts.append(coded[:, varies])
            used.append(column)
    return np.concatenate(parts, axis=1), used


def residuals(values, design):
    """What is left of columns (N, R) after regression on a design (N, K)."""
    basis = np.linalg.qr(design)[0]
    return values - basis @ (basis.T @ values)


def _column_r(first, second):
    a, b = first - first.mean(0), second - second.mean(0)
    below = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 1e-12 * len(a), (a * b).sum(0) / below, np.nan)


def _bh(p):
    """Benjamini and Hochberg's adjusted p; NaN stays."""
    out = np.full(p.shape, np.nan)
    good = np.flatnonzero(np.isfinite(p))
    order = good[np.argsort(p[good])]
    steps = p[order] * good.size / np.arange(1, good.size + 1)
    out[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1)
    return out


def across_people(first, second, design, *, permutations=999, seed=0):
    """Partial correlation of two modalities over people, region by region.

    Parameters
    ----------
    first, second : numpy.ndarray, (N, R)
        NaN where missing.
    design : numpy.ndarray, (N, K)
        Covariates with an intercept, full rank.
    permutations : int
        Of the residuals of `second` (Freedman & Lane 1983); the largest absolute t over regions gives p corrected for the family.
        Regions that somebody lacks take no part in it.
    seed : int

    Returns
    -------
    dict of str to numpy.ndarray, (R,)
        ``n``, ``df`` (n - 2 - covariates), ``r``, ``p`` (two-sided, parametric), ``p_fdr``, ``p_fwe``.
    """
    from scipy import stats

    kept = np.isfinite(design).all(1)
    first, second, design = (np.asarray(a, np.float64)[kept] for a in (first, second, design))
    regions = first.shape[1]
    good = np.isfinite(first) & np.isfinite(second)
    number, r, df = good.sum(0), np.full(regions, np.nan), np.zeros(regions)
    # regions that the same people have are one computation
    for pattern in np.unique(good.T, axis=0):
        where = np.flatnonzero((pattern == good.T).all(1))
        used = design[pattern]
        free = pattern.sum() - 1 - (np.linalg.matrix_rank(used) if pattern.any() else 1)
        df[where] = free
        if free >= 2:
            r[where] = _column_r(*(residuals(v[pattern][:, where], used) for v in (first, second)))
    with np.errstate(invalid="ignore", divide="ignore"):
        t = r * np.sqrt(df / np.maximum(1 - r**2, 1e-15))
    p = np.where(np.isfinite(t), 2 * stats.t.sf(np.abs(t), np.maximum(df, 1)), np.nan)
    family = np.isfinite(t) & good.all(0)
    p_fwe = np.full(regions, np.nan)
    if family.any() and permutations:
        free = df[family][0]
        a, b = (residuals(v[:, family], design) for v in (first, second))
        rng, hits = np.random.default_rng(seed), np.ones(family.sum())
        for _ in range(permutations):
            found = _column_r(a, residuals(b[rng.permutation(len(b))], design))
            largest = np.nanmax(np.abs(found * np.sqrt(free / np.maximum(1 - found**2, 1e-15))))
            hits += largest >= np.abs(t[family]) - 1e-9
        p_fwe[family] = hits / (1 + permutations)
    return {"n": number, "df": df, "r": r, "p": p, "p_fdr": _bh(p), "p_fwe": p_fwe}


def within_person(first, second, points, *, surrogates=999, seed=0, null="moran", parcels=None):
    """Correlation over regions of two modalities, person by person, against surrogates of the first.

    Parameters
    ----------
    first, second : numpy.ndarray, (N, R)
        NaN where missing.
    points : numpy.ndarray, (R, 3)
        mm.
    surrogates : int
    seed : int
    null : {'moran', 'variogram', 'spin'}
    parcels : dict, optional
        For spins, which leave out regions below the cortex.

    Returns
    -------
    dict of str to numpy.ndarray, (N,)
        ``regions``, ``r`` (NaN with fewer than 8 regions), ``p`` (two-sided), ``null_95`` (size of r that 5 % of smooth maps
        that have nothing to do with one another exceed).
    """
    count = len(first)
    out = {"regions": np.zeros(count, int), "r": np.full(count, np.nan), "p": np.full(count, np.nan)}
    out["null_95"] = np.full(count, np.nan)
    bases = {}
    for n in range(count):
        kept = np.isfinite(first[n]) & np.isfinite(second[n])
        out["regions"][n] = kept.sum()
        if kept.sum() < FEWEST_REGIONS:
            continue
        if null != "moran":
            try:
                one = map_association(
                    first[n], second[n], points=points, null=null, count=surrogates, seed=seed + n, parcels=parcels
                )  # fmt: skip
            except ValueError:
                # too little cortex for spins
                continue
            for name in out:
                out[name][n] = one[name]
            continue
        key = kept.tobytes()
        if key not in bases:
            bases[key] = moran_basis(distances(points[kept]))
        x, y = first[n, kept], second[n, kept]
        drawn = np.vstack([x, moran_surrogates(x, bases[key], surrogates, seed + n)]).T
        found = _column_r(drawn, np.repeat(y[:, None], drawn.shape[1], axis=1))
        if not np.isfinite(found[0]):
            continue
        out["r"][n] = found[0]
        out["p"][n] = (1 + (np.abs(found[1:]) >= abs(found[0]) - 1e-12).sum()) / (1 + surrogates)
        out["null_95"][n] = np.percentile(np.abs(found[1:]), 95)
    return out


def sign_flip(values, *, count=9999, seed=0):
    """Two-sided p that the mean of independent values is zero, by flipping their signs; exact for up to 13 values.

    Parameters
    ----------
    values : numpy.ndarray, (N,)
        Finite.

    Returns
    -------
    float
        NaN for fewer than 3 values.
    """
    values = np.asarray(values, np.float64)
    size = values.size
    if size < 3:
        return np.nan
    if size <= 13:
        signs = 1.0 - 2.0 * ((np.arange(1 << size)[:, None] >> np.arange(size)) & 1)
        return float((np.abs(signs @ values) >= abs(values.sum()) - 1e-12).mean())
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(count, size))
    return float((1 + (np.abs(signs @ values) >= abs(values.sum()) - 1e-12).sum()) / (1 + count))


def _filled(table, names):
    """Persons by regions of one measure, in atlas order, from the wide view's columns."""
    table = table.rename(columns=lambda c: c.split(" ", 2)[2])
    return table.reindex(columns=names)


def measures_of(table, pairs=()):
    """Pairs of measures to couple.

    Parameters
    ----------
    table : pandas.DataFrame
        Fusion table.
    pairs : iterable of mapping
        ``first`` and ``second``, each ``<modality> <measure>``; none: every measure of function with every measure of
        binding or metabolism, and with SUVR where a tracer has no other.

    Returns
    -------
    list of (str, str)

    Raises
    ------
    InputError
        A measure is not in the table.
    """
    found = table[table["region"] != WHOLE].groupby(["modality", "measure"], sort=True).size().index
    known = {f"{modality} {measure}": (modality, measure.split("_")[0]) for modality, measure in found}
    if pairs:
        for pair in pairs:
            for side in ("first", "second"):
                if pair[side] not in known:
                    raise InputError(
                        "config", f"fusion.coupling.pairs.{side}", pair[side], ", ".join(known) or "nothing was measured",
                        "name a modality and a measure of the fusion table",
                    )  # fmt: skip
        return [(pair["first"], pair["second"]) for pair in pairs]
    function = [k for k, (m, base) in known.items() if m in FUNCTION and base in (FUNCTION[m] or (base,))]
    molecules = [k for k, (m, base) in known.items() if m == "pet" and base in MOLECULES]
    # an uptake ratio says no more than binding of the same tracer
    bound = {k.partition("_")[2] for k in molecules if not k.startswith("pet SUVR")}
    molecules = [k for k in molecules if not (k.startswith("pet SUVR") and k.partition("_")[2] in bound)]
    # the same measure by another model (BPND_RAC and BPND_SRTM2_RAC) asks nothing new
    parts = {k: set(k.split("_")) for k in molecules}
    molecules = [k for k in molecules if not any(parts[other] < parts[k] for other in molecules)]
    return [(a, b) for b in molecules for a in function]


def couple(
    table,
    atlas,
    people=None,
    *,
    pairs=(),
    covariates=(),
    permutations=999,
    surrogates=999,
    min_coverage=0.5,
    seed=1,
    spatial_null="moran",
    parcels=None,
):
    """Couple every pair of measures within people, across people and in the mean maps.

    Parameters
    ----------
    table : pandas.DataFrame
        Fusion table.
    atlas : pandas.DataFrame
        Columns name, x, y, z (mm).
    people : pandas.DataFrame, optional
        participants.tsv.
    pairs, covariates : see `measures_of`, `covariate_design`
    permutations, surrogates, seed : int
    min_coverage : float
    spatial_null : {'moran', 'variogram', 'spin'}
        Surrogates of maps.
    parcels : dict, optional
        For spins.

    Returns
    -------
    regional : pandas.DataFrame
        One row per pair and region.
    personal : pandas.DataFrame
        One row per pair and participant.
    summary : list of dict
        One per pair.
    """
    import pandas as pd

    names, points = atlas["name"].to_list(), atlas[["x", "y", "z"]].to_numpy(np.float64)
    units = table.drop_duplicates(["modality", "measure"])
    units = {
        f"{m} {k}": u for m, k, u in zip(units["modality"], units["measure"], units["unit"], strict=True)
    }
    regional, personal, summary = [], [], []
    for first, second in measures_of(table, pairs):
        views = []
        for name in (first, second):
            modality, measure = name.split(" ", 1)
            views.append(
                _filled(wide(table, [modality], measure=[measure], min_coverage=min_coverage), names)
            )
        who = [p for p in views[0].index if p in set(views[1].index)]
        pair = {"First": first, "Second": second, "Participants": len(who)}
        if not who:
            summary.append(pair | {"Reason": "nobody has both measures"})
            continue
        a, b = (v.reindex(who).to_numpy(np.float64) for v in views)
        own = within_person(
            a, b, points, surrogates=surrogates, seed=seed, null=spatial_null, parcels=parcels
        )
        personal.append(pd.DataFrame({"participant_id": who, "first": first, "second": second, **own}))
        r = own["r"][np.isfinite(own["r"])]
        z = np.arctanh(np.clip(r, -0.999999, 0.999999))
        pair["WithinPeople"] = {
            "People": int(r.size),
            "MeanR": float(np.tanh(z.mean())) if r.size else np.nan,
            "PSignFlip": sign_flip(z, seed=seed),
            "PeopleBelow05": int((own["p"] <= 0.05).sum()),
        }
        enough = (np.isfinite(a) & np.isfinite(b)).mean(0) >= 0.5
        with np.errstate(invalid="ignore"):
            means = [
                np.where(enough, np.nansum(v, 0) / np.maximum(np.isfinite(v).sum(0), 1), np.nan)
                for v in (a, b)
            ]
        if spatial_null == "spin":
            enough &= on_surface(parcels, len(names))
        if enough.sum() >= FEWEST_REGIONS:
            found = map_association(
                *means, points=points, null=spatial_null, count=surrogates, seed=seed, parcels=parcels
            )
            pair["MeanMaps"] = {
                "Regions": found["regions"], "R": found["r"], "PSpatial": found["p"],
                "PParametric": found["p_parametric"], "NullSD": found["null_sd"],
            }  # fmt: skip
        elif spatial_null == "spin":
            pair["Reason"] = (
                f"spins move the cortex only, and only {enough.sum()} regions of it have both measures"
            )
        design, used = covariate_design(people, who, covariates)
        pair["Covariates"] = used
        complete = np.isfinite(design).all(1)
        if complete.sum() < design.shape[1] + FEWEST_PEOPLE:
            pair["Reason"] = (
                f"no statistic across people: {complete.sum()} people with both measures and the covariates, at least "
                f"{design.shape[1] + FEWEST_PEOPLE} are needed"
            )
            empty = np.full(len(names), np.nan)
            stats = {
                "n": (np.isfinite(a) & np.isfinite(b)).sum(0),
                **dict.fromkeys(("df", "r", "p", "p_fdr", "p_fwe"), empty),
            }
        else:
            stats = across_people(a, b, design, permutations=permutations, seed=seed)
            pair["AcrossPeople"] = {
                "RegionsFWE05": int((stats["p_fwe"] <= 0.05).sum()),
                "RegionsFDR05": int((stats["p_fdr"] <= 0.05).sum()),
                "MedianR": float(np.nanmedian(stats["r"])) if np.isfinite(stats["r"]).any() else np.nan,
            }
        regional.append(
            pd.DataFrame(
                {
                    "first": first, "second": second, "region": names, "mean_first": means[0], "unit_first": units[first],
                    "mean_second": means[1], "unit_second": units[second], **stats,
                }
            )
        )  # fmt: skip
        summary.append(pair)
    columns = ["first", "second", "region", "mean_first", "unit_first", "mean_second", "unit_second"]
    columns += ["n", "df", "r", "p", "p_fdr", "p_fwe"]
    regional = pd.concat(regional, ignore_index=True) if regional else pd.DataFrame(columns=columns)
    shown = ["participant_id", "first", "second", "regions", "r", "p", "null_95"]
    personal = pd.concat(personal, ignore_index=True) if personal else pd.DataFrame(columns=shown)
    return regional[columns], personal[shown], summary


def covariance_network(values, design=None, *, bootstraps=0, seed=0):
    """Covariance network of a group: correlation over people between every two regions (Horwitz et al. 1984).

    Parameters
    ----------
    values : numpy.ndarray, (N, R)
        NaN where missing.
    design : numpy.ndarray, (N, K), optional
        Covariates with an intercept; people who lack one are left out.
    bootstraps : int
        People drawn with replacement, for the spread of every connection.
    seed : int

    Returns
    -------
    r : numpy.ndarray, (R, R)
        Unit diagonal; NaN rows for regions that somebody lacks or that do not vary.
    spread : numpy.ndarray, (R, R) or None
        Standard deviation over bootstraps.
    """
    values = np.asarray(values, np.float64)
    design = np.ones((len(values), 1)) if design is None else design
    kept = np.isfinite(design).all(1)
    values, design = values[kept], design[kept]
    whole = np.isfinite(values).all(0)
    out = np.full((values.shape[1],) * 2, np.nan)
    if len(values) < design.shape[1] + FEWEST_PEOPLE - 1:
        return out, None
    whole[whole] &= values[:, whole].std(0) > 0
    at = np.ix_(whole, whole)

    def network(rows):
        left = residuals(values[rows][:, whole], design[rows])
        norm = np.linalg.norm(left, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (left / norm).T @ (left / norm)

    everyone = np.arange(len(values))
    out[at] = network(everyone)
    if not bootstraps:
        return out, None
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(bootstraps):
        rows = rng.choice(everyone, everyone.size)
        if np.linalg.matrix_rank(design[rows]) == design.shape[1]:
            drawn.append(network(rows))
    spread = np.full(out.shape, np.nan)
    spread[at] = np.nanstd(drawn, axis=0)
    return out, spread


def perturbation_network(reference, person):
    """What one person changes in the covariance network of a reference group (Liu et al. 2016, Nucleic Acids Res 44:e164).

    Parameters
    ----------
    reference : numpy.ndarray, (N, R)
        People of the reference group, the person not among them; no missing values.
    person : numpy.ndarray, (R,)

    Returns
    -------
    numpy.ndarray, (R, R)
        z of every connection, (r with the person - r) (N - 1) / (1 - r²); NaN on the diagonal.
    """
    before = np.corrcoef(reference.T)
    after = np.corrcoef(np.vstack([reference, person]).T)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (after - before) * (len(reference) - 1) / (1 - before**2)
    np.fill_diagonal(z, np.nan)
    return z


def individual_network(values, labels, index, *, bins=128, fewest=10):
    """Similarity network of one person: how alike the values of the voxels of two regions are distributed.

    One minus the Jensen-Shannon distance (base 2) between the regions' densities (Gaussian kernel, Scott's width).

    Parameters
    ----------
    values : numpy.ndarray
        A PET map; voxels that are not finite do not count.
    labels : numpy.ndarray of int, same shape
    index : sequence of int
        Labels of the regions, in order.
    bins : int
        Places at which the densities are compared, over the range of all regions.
    fewest : int
        Fewest voxels of a region.

    Returns
    -------
    numpy.ndarray, (R, R)
        0 (nothing shared) to 1 (same distribution); NaN rows for regions with too few voxels.
    """
    values, labels = np.asarray(values, np.float64).ravel(), np.asarray(labels).ravel()
    good = np.isfinite(values)
    values, labels = values[good], labels[good]
    order = np.argsort(labels, kind="stable")
    edges = [np.searchsorted(labels[order], (i, i + 1)) for i in index]
    parts = [values[order[low:high]] for low, high in edges]
    everything = np.concatenate([p for p in parts if p.size >= fewest] or [np.zeros(1)])
    low, high = everything.min(), everything.max()
    grid = np.linspace(low, high, bins)
    step = grid[1] - grid[0] or 1.0
    density = np.full((len(parts), bins), np.nan)
    for n, part in enumerate(parts):
        if part.size < fewest:
            continue
        width = max(part.std() * part.size**-0.2, step)
        counts = np.bincount(np.clip(np.rint((part - low) / step).astype(int), 0, bins - 1), minlength=bins)
        kernel = np.exp(-0.5 * ((grid[:, None] - grid) / width) ** 2)
        density[n] = kernel @ counts
        density[n] /= density[n].sum()
    out = np.full((len(parts),) * 2, np.nan)
    tiny = np.finfo(float).tiny
    own = (density * np.log2(np.maximum(density, tiny))).sum(1)
    for n in range(len(parts)):
        middle = (density[n] + density) / 2
        mixed = (middle * np.log2(np.maximum(middle, tiny))).sum(1)
        out[n] = 1 - np.sqrt(np.clip((own[n] + own) / 2 - mixed, 0, 1))
    return out


def deviation(values, names):
    """How far every person departs from the covariance network of all others.

    Parameters
    ----------
    values : numpy.ndarray, (N, R)
    names : sequence of str
        Participants.

    Returns
    -------
    pandas.DataFrame
        ``participant_id``, ``connections``, ``mean_z`` (mean size of z), ``share`` (of connections beyond 1.96). Empty for
        fewer than 5 people.
    """
    import pandas as pd

    whole = np.isfinite(values).all(0)
    whole[whole] &= values[:, whole].std(0) > 0
    rows = []
    if len(values) > FEWEST_PEOPLE and whole.sum() > 1:
        upper = np.triu_indices(whole.sum(), 1)
        for n, name in enumerate(names):
            z = np.abs(perturbation_network(np.delete(values, n, 0)[:, whole], values[n, whole])[upper])
            z = z[np.isfinite(z)]
            rows.append((name, z.size, z.mean(), (z > 1.96).mean()))
    return pd.DataFrame(rows, columns=["participant_id", "connections", "mean_z", "share"])


NULL_WORDS = {
    "moran": "Moran spectral randomisation (singleton procedure)",
    "variogram": "variogram-matched surrogates (Burt et al. 2020)",
    "spin": "spins on fsaverage5, cortex only",
}
_COLUMNS = {
    "first": "First measure: modality and measure of the fusion table",
    "second": "Second measure",
    "region": "Region",
    "mean_first": "Mean of the first measure over the people with both, where at least half have the region",
    "unit_first": "Unit of the first measure",
    "mean_second": "Mean of the second measure",
    "unit_second": "Unit of the second measure",
    "n": "People with both measures in the region (and every covariate, where r is given)",
    "df": "Degrees of freedom: n - 2 - covariates",
    "r": "Partial correlation over people",
    "p": "Two-sided parametric p",
    "p_fdr": "p adjusted over regions (Benjamini and Hochberg)",
    "p_fwe": "p of the largest absolute t over regions under permutation; n/a where somebody lacks the region",
}
_PERSONAL = {
    "participant_id": "Person",
    "first": _COLUMNS["first"],
    "second": _COLUMNS["second"],
    "regions": "Regions with both measures",
    "r": "Correlation over regions",
    "p": "Two-sided p against surrogate maps of the same smoothness",
    "null_95": "Size of r that 5 % of such surrogates exceed",
}


def write_coupling(
    features, atlas_table, participants, outputs, *, atlas_image=None, contrasts=(), binding=(), block_mm=12.0,
    **settings,
):  # fmt: skip
    """Couple the modalities of one atlas and write the tables.

    Parameters
    ----------
    features : path-like
        Fusion table.
    atlas_table : path-like
        ``…_dseg.tsv`` with name, x, y, z.
    participants : path-like or None
        participants.tsv.
    outputs : mapping
        ``regional``, ``regional_json``, ``personal``, ``personal_json``, ``network``, ``network_json``, ``summary``.
    atlas_image : path-like, optional
        Labels in template space, for spins and for the coupling by voxel.
    contrasts, binding : list of path-like
        Maps of the participants in template space; see `neurobraid.fusion.voxel_coupling.person_voxels`.
    block_mm : float
        Edge of the cubes whose means give the coupling by voxel its p, mm.
    **settings
        Keywords of `couple`.
    """
    import pandas as pd

    from neurobraid.fusion import voxel_coupling
    from neurobraid.images.io import data, load

    table = read_tsv(features, text=("unit", "measure", "modality"))
    atlas = read_tsv(atlas_table, text=("name",))
    people = read_tsv(participants) if participants else None
    parcels = None
    if settings.get("spatial_null") == "spin":
        labels = load(atlas_image)
        parcels = surface_parcels(data(labels).astype(int), np.asarray(labels.affine, float), atlas)
    regional, personal, summary = couple(table, atlas, people, parcels=parcels, **settings)
    by_voxel = bool(contrasts and binding)
    if by_voxel:
        kind = "variogram" if settings.get("spatial_null") == "variogram" else "moran"
        personal = voxel_coupling.person_voxels(
            personal, contrasts, binding, atlas_image, width_mm=block_mm, null=kind,
            surrogates=settings["surrogates"], seed=settings["seed"],
        )  # fmt: skip
    sources = [features, atlas_table, *([participants] if participants else [])]
    noted = {
        "Covariates": list(settings.get("covariates", ())),
        "Permutations": settings.get("permutations"),
        "Surrogates": settings.get("surrogates"),
        "SpatialNull": NULL_WORDS[settings.get("spatial_null", "moran")] + " of the first measure",
        "Sessions": "the first session of each participant that has the measure",
        "MinimumCoverage": settings.get("min_coverage"),
        "Seed": settings.get("seed"),
    }
    write_tsv(regional, outputs["regional"])
    write_json(
        sidecar(
            "Coupling of two modalities across people, region by region.", sources, Columns=_COLUMNS, **noted
        ),
        outputs["regional_json"],
    )
    write_tsv(personal, outputs["personal"])
    write_json(
        sidecar(
            "Coupling of two modalities over the regions of each person.",
            sources,
            Columns=_PERSONAL | (voxel_coupling.COLUMNS if by_voxel else {}),
            BlockWidthMm=block_mm if by_voxel else None,
            **noted,
        ),
        outputs["personal_json"],
    )
    names = atlas["name"].to_list()
    second = next((pair["Second"] for pair in summary if pair["Participants"]), None)
    matrix, count, about = np.full((len(names),) * 2, np.nan), 0, {}
    if second is not None:
        modality, measure = second.split(" ", 1)
        view = _filled(
            wide(table, [modality], measure=[measure], min_coverage=settings["min_coverage"]), names
        )
        design, used = covariate_design(people, list(view.index), settings["covariates"])
        kept = np.isfinite(design).all(1)
        matrix, _ = covariance_network(view.to_numpy(np.float64), design)
        count = int(kept.sum())
        about = {"Measure": second, "Participants": count, "CovariatesUsed": used}
        about["Deviation"] = deviation(view.to_numpy(np.float64), list(view.index)).to_dict("records")
    write_tsv(
        pd.DataFrame(matrix, index=pd.Index(names, name="Node"), columns=names),
        outputs["network"],
        index=True,
    )
    write_json(
        sidecar(
            "Covariance network: correlation over people between every two regions, covariates taken out. Deviation: how far "
            "each person departs from the network of all others.",
            sources,
            **about,
            **noted,
        ),
        outputs["network_json"],
    )
    write_json(sidecar("Coupling of modalities.", sources, Pairs=summary, **noted), outputs["summary"])
    log.info("%d pairs of measures", len(summary))
