"""Maps of the group against maps of others: receptors, genes, metabolism, with nulls as smooth as the group's own map.

A reference map is an image in the atlas's space, or a table of the regions of one atlas, declared with its unit and its
source. Every measure of the fusion table has a mean map of the group; its correlation with a reference map is judged against
surrogates of the group's map, and several reference maps together by dominance analysis.
"""

from pathlib import Path

import numpy as np

from neurobraid.errors import InputError, ProblemList
from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.fusion.association import FEWEST_REGIONS, MOST_MAPS, explained
from neurobraid.fusion.nulls import surface_parcels, surrogate_maps
from neurobraid.fusion.schema import WHOLE
from neurobraid.fusion.table import wide
from neurobraid.jobs import log
from neurobraid.provenance import bids_uri, sidecar
from neurobraid.stats.discovery import benjamini_hochberg

#: Endings of images; everything else is read as a table.
IMAGES = (".nii", ".nii.gz")
#: Measures of the group that are compared where the config names none.
FUNCTION = ("strengthpositive",)
MOLECULES = ("BPND", "VT", "Ki", "Kref", "CMRglc", "SUVR")
#: Share of the participants who must have a region for the group to have it.
SHARE = 0.5


def is_image(path):
    """Whether a reference map is an image."""
    return str(path).endswith(IMAGES)


def check_maps(records, atlases):
    """Check declared reference maps before any work; all problems come together.

    Parameters
    ----------
    records : list of mapping
        ``name``, ``path``, ``unit``, ``source`` and, of a table, ``atlas``.
    atlases : mapping of str to list of str or None
        Region names of every atlas; None where they are not known before the run.

    Raises
    ------
    InputErrors
        A file is missing, a name is twice, a table has no values, an unknown or a doubled region, or names no atlas.
    """
    problems, seen = ProblemList(), set()
    for record in records:
        path = Path(record["path"])
        if record["name"] in seen:
            problems.add(
                "config", "fusion.maps.name", f"{record['name']} twice", "different names", "rename one"
            )
        seen.add(record["name"])
        if not path.is_file():
            problems.add(path, "file", "missing", "a map", f"correct fusion.maps.path of {record['name']}")
            continue
        if is_image(path):
            continue
        if record["atlas"] not in atlases:
            found = record["atlas"] or "missing"
            problems.add(
                "config", f"fusion.maps.atlas of {record['name']}", found, ", ".join(atlases),
                "name the atlas whose regions the table has",
            )  # fmt: skip
            continue
        _table(record, atlases[record["atlas"]], problems)
    problems.raise_errors()


def check_react(wanted, records):
    """Refuse names in ``fusion.react.maps`` that are no declared images.

    Parameters
    ----------
    wanted : list of str
    records : list of mapping
        ``fusion.maps``.

    Raises
    ------
    InputErrors
    """
    problems = ProblemList()
    images = [record["name"] for record in records if is_image(record["path"])]
    for name in wanted:
        if name not in images:
            found = f"{name}, a table" if name in [r["name"] for r in records] else name
            problems.add(
                "config", "fusion.react.maps", found, ", ".join(images) or "an image among fusion.maps",
                "name images of fusion.maps: every voxel needs a value",
            )  # fmt: skip
    problems.raise_errors()


def _table(record, regions, problems):
    """Values by region of a table; problems are added."""
    import pandas as pd

    path = record["path"]
    table = read_tsv(path, text=("region",))
    for column in ("region", "value"):
        if column not in table:
            problems.add(path, "columns", list(table.columns)[:8], f"a column {column}", f"add {column}")
            return None
    values = pd.to_numeric(table["value"], errors="coerce")
    wrong = table.loc[values.isna() & table["value"].notna() | np.isinf(values), "value"]
    if len(wrong):
        problems.add(path, "value", wrong.iloc[0], "a finite number or n/a", "correct the value")
    if table["region"].duplicated().any():
        twice = table.loc[table["region"].duplicated(), "region"].iloc[0]
        problems.add(path, "region", f"{twice} twice", "every region once", "drop the wrong row")
    unknown = [r for r in table["region"] if regions is not None and r not in set(regions)]
    if unknown:
        problems.add(
            path, "region", unknown[0], f"a region of atlas {record['atlas']} ({len(regions)} names)", "correct the name",
        )  # fmt: skip
    return table.assign(value=values)


def read_maps(records, atlas, image, table):
    """Regional values of every reference map that belongs to an atlas.

    Parameters
    ----------
    records : list of mapping
    atlas : str
        Name of the atlas; tables of another are left out.
    image : path-like
        Labels of the atlas.
    table : pandas.DataFrame
        Its regions.

    Returns
    -------
    pandas.DataFrame
        ``region``, ``map``, ``value`` (NaN where the map has none), ``unit``, ``coverage`` (0 to 1; NaN of a table).
    """
    import pandas as pd

    from neurobraid.images.atlas import parcellate_map
    from neurobraid.images.io import load

    parts, names = [], table["name"].to_list()
    for record in records:
        if is_image(record["path"]):
            found = parcellate_map(load(record["path"]), load(image), table)
            values, coverage = found["value"].to_numpy(), found["coverage"].to_numpy()
        elif record["atlas"] == atlas:
            problems = ProblemList()
            rows = _table(record, names, problems)
            problems.raise_errors()
            values = rows.set_index("region")["value"].reindex(names).to_numpy(np.float64)
            coverage = np.full(len(names), np.nan)
        else:
            continue
        parts.append(
            pd.DataFrame(
                {"region": names, "map": record["name"], "value": values, "unit": record["unit"], "coverage": coverage}
            )
        )  # fmt: skip
    columns = ["region", "map", "value", "unit", "coverage"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def group_maps(table, names, wanted=(), min_coverage=0.5):
    """Mean map of the group of every measure.

    Parameters
    ----------
    table : pandas.DataFrame
        Fusion table.
    names : sequence of str
        Regions of the atlas.
    wanted : sequence of str
        ``<modality> <measure>``. Empty: contrasts, positive connectivity strength, binding or metabolism, density of
        grey matter.
    min_coverage : float

    Returns
    -------
    dict of str to (numpy.ndarray, str, int)
        Mean over the first session of every participant, (R,), NaN where fewer than half have the region; unit; people.

    Raises
    ------
    InputError
        A measure is not in the table.
    """
    rows = table[(table["region"] != WHOLE) & table["region"].isin(names)]
    units = rows.drop_duplicates(["modality", "measure"])
    known = {
        f"{m} {k}": u for m, k, u in zip(units["modality"], units["measure"], units["unit"], strict=True)
    }
    for name in wanted:
        if name not in known:
            raise InputError(
                "config", "fusion.association.measures", name, ", ".join(known) or "nothing was measured",
                "name a modality and a measure of the fusion table",
            )  # fmt: skip
    if not wanted:
        kept = {"fmri-task": None, "fmri-rest": FUNCTION, "pet": MOLECULES, "anat": ("density",)}
        wanted = [
            name
            for name in known
            for modality, measure in [name.split(" ", 1)]
            if modality in kept and (kept[modality] is None or measure.split("_")[0] in kept[modality])
        ]
    found = {}
    for name in wanted:
        modality, measure = name.split(" ", 1)
        view = wide(rows, [modality], measure=[measure], min_coverage=min_coverage)
        view = view.rename(columns=lambda c: c.split(" ", 2)[2]).reindex(columns=names)
        values = view.to_numpy(np.float64)
        finite = np.isfinite(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(finite, values, 0).sum(0) / finite.sum(0)
        found[name] = (np.where(finite.mean(0) >= SHARE, mean, np.nan), known[name], len(view))
    return found


def spin_reason(parcels, values):
    """Why a map cannot be spun, else None.

    Parameters
    ----------
    parcels : dict of str to numpy.ndarray
        See `neurobraid.fusion.nulls.surface_parcels`.
    values : numpy.ndarray, (R,)
    """
    cortical = np.unique(np.concatenate(list(parcels.values())))
    cortical = cortical[cortical >= 0]
    count = int(np.isfinite(values[cortical]).sum())
    if count < FEWEST_REGIONS:
        return (
            f"spins move the cortex only: {count} regions with a value lie on the surface fsaverage5, at least "
            f"{FEWEST_REGIONS} are needed"
        )
    return None


def against_maps(values, maps, drawn, method="pearson"):
    """One map against several with the same surrogates.

    Parameters
    ----------
    values : numpy.ndarray, (R,)
    maps : numpy.ndarray, (P, R)
    drawn : numpy.ndarray, (M, R)
        Surrogates of `values`; NaN where they have no value.
    method : {'pearson', 'spearman'}

    Returns
    -------
    list of dict
        ``regions``, ``r``, ``p`` (two-sided, (1 + b) / (1 + M)), ``p_parametric``, ``null_sd``, ``surrogates``; r NaN with
        fewer than 8 regions.
    """
    from scipy import stats

    out = []
    everywhere = np.isfinite(drawn).any(axis=0) if len(drawn) else np.zeros(values.size, bool)
    for other in maps:
        kept = np.isfinite(values) & np.isfinite(other) & everywhere
        size = int(kept.sum())
        row = dict.fromkeys(("r", "p", "p_parametric", "null_sd"), np.nan) | {
            "regions": size,
            "surrogates": 0,
        }
        out.append(row)
        if size < FEWEST_REGIONS or np.ptp(values[kept]) == 0 or np.ptp(other[kept]) == 0:
            continue
        r = _pair(values[kept], other[kept], method)
        null = np.array([_masked(one[kept], other[kept], method) for one in drawn])
        null = null[np.isfinite(null)]
        t = abs(r) * np.sqrt((size - 2) / max(1 - r * r, 1e-300))
        row |= {
            "r": r,
            "p": float((1 + (np.abs(null) >= abs(r) - 1e-12).sum()) / (1 + null.size)),
            "p_parametric": float(2 * stats.t.sf(t, size - 2)),
            "null_sd": float(null.std()) if null.size else np.nan,
            "surrogates": int(null.size),
        }
    return out


def _pair(first, second, method):
    from scipy.stats import rankdata

    if method == "spearman":
        first, second = rankdata(first), rankdata(second)
    first, second = first - first.mean(), second - second.mean()
    below = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / below) if below > 0 else np.nan


def _masked(first, second, method):
    """Correlation over the regions that a surrogate has; a spin leaves some on the medial wall."""
    good = np.isfinite(first)
    return _pair(first[good], second[good], method) if good.sum() >= FEWEST_REGIONS else np.nan


def associate(
    targets, maps, points, *, nulls=("moran",), method="pearson", surrogates=999, seed=1, parcels=None
):
    """Every map of the group against every reference map.

    Parameters
    ----------
    targets : dict of str to numpy.ndarray, (R,)
    maps : dict of str to numpy.ndarray, (R,)
    points : numpy.ndarray, (R, 3)
        Centres of the regions, mm.
    nulls : sequence of {'moran', 'variogram', 'spin'}
    method : {'pearson', 'spearman'}
    surrogates, seed : int
    parcels : dict, optional
        For spins.

    Returns
    -------
    table : pandas.DataFrame
        One row per target, null and map; ``p_fdr`` is adjusted over the maps of a target and null.
    dominance : pandas.DataFrame
        One row per target and map; see `neurobraid.fusion.association.dominance`.
    fits : dict of str to dict
        R² of all maps together with its Moran p, or ``reason``.
    reasons : list of str
        What was not possible.
    """
    import pandas as pd

    rows, parts, fits, reasons = [], [], {}, []
    names, stack = list(maps), np.array(list(maps.values())).reshape(len(maps), -1)
    for target, values in targets.items():
        if np.isfinite(values).sum() < FEWEST_REGIONS:
            reasons.append(f"{target}: fewer than {FEWEST_REGIONS} regions have a group mean")
            continue
        for null in nulls:
            why = spin_reason(parcels, values) if null == "spin" else None
            if why:
                reasons.append(f"{target}: {why}")
                continue
            drawn = surrogate_maps(values, null, surrogates, seed, points=points, parcels=parcels)
            found = pd.DataFrame(against_maps(values, stack, drawn, method))
            found.insert(0, "measure", target)
            found.insert(1, "map", names)
            found.insert(2, "null", null)
            found["p_fdr"] = np.nan
            tested = found["p"].notna().to_numpy()
            if tested.any():
                found.loc[tested, "p_fdr"] = benjamini_hochberg(found.loc[tested, "p"].to_numpy())
            rows.append(found)
        if len(names) < 2:
            continue
        try:
            if len(names) > MOST_MAPS:
                raise ValueError(f"{len(names)} maps; dominance analysis takes at most {MOST_MAPS}")
            table, fit = explained(stack.T, values, points=points, count=surrogates, seed=seed)
        except (ValueError, np.linalg.LinAlgError) as error:
            fits[target] = {"reason": str(error)}
            continue
        parts.append(table.drop(columns="name").assign(measure=target, map=names))
        fits[target] = fit
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=list(TABLE))
    dominance = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(DOMINANCE))
    return table[list(TABLE)], dominance[list(DOMINANCE)], fits, reasons


TABLE = {
    "measure": "Map of the group: modality and measure of the fusion table",
    "map": "Reference map",
    "null": "Surrogates: moran (Moran spectral randomisation), variogram (Burt et al. 2020) or spin (fsaverage5, cortex only)",
    "regions": "Regions with a value in both",
    "r": "Correlation over regions",
    "p": "Two-sided p against surrogates of the group's map",
    "p_fdr": "p adjusted over the maps of a measure and null (Benjamini and Hochberg)",
    "p_parametric": "p that takes regions for independent, for comparison only",
    "null_sd": "Standard deviation of r over the surrogates",
    "surrogates": "Surrogates with a correlation",
}
DOMINANCE = {
    "measure": TABLE["measure"],
    "map": "Reference map",
    "total": "General dominance: mean gain in R² over all subsets of maps; sums to R²",
    "share": "Share of the R² of all maps",
    "alone": "R² of this map by itself",
    "last": "Gain in R² when all other maps are there",
}
MAPS = {
    "region": "Region of the atlas",
    "map": "Reference map",
    "value": "Mean of the region; n/a where the map has no value",
    "unit": "Unit",
    "coverage": "Share of the region with a value; n/a of a table",
}


def write_association(
    features, atlas_image, atlas_table, records, outputs, *, atlas, settings, min_coverage=0.5
):
    """Compare the group's maps with the declared reference maps and write the tables.

    Parameters
    ----------
    features : path-like
        Fusion table.
    atlas_image, atlas_table : path-like
    records : list of mapping
        ``fusion.maps`` with defaults.
    outputs : mapping
        ``table``, ``dominance``, ``maps``, each with ``…_json``.
    atlas : str
        Name of the atlas.
    settings : mapping
        ``fusion.association`` with defaults.
    min_coverage : float
    """
    from neurobraid.images.io import data, load

    table = read_tsv(features, text=("unit", "measure", "modality"))
    regions = read_tsv(atlas_table, text=("name",))
    points, names = regions[["x", "y", "z"]].to_numpy(np.float64), regions["name"].to_list()
    own = read_maps(records, atlas, atlas_image, regions)
    maps = {
        n: p.set_index("region")["value"].reindex(names).to_numpy(np.float64)
        for n, p in own.groupby("map", sort=False)
    }
    group = group_maps(table, names, settings["measures"], min_coverage)
    parcels = None
    if "spin" in settings["nulls"]:
        labels = load(atlas_image)
        parcels = surface_parcels(data(labels).astype(int), np.asarray(labels.affine, float), regions)
    keys = ("nulls", "method", "surrogates", "seed")
    found, dominance, fits, reasons = associate(
        {name: values for name, (values, *_) in group.items()}, maps, points, parcels=parcels,
        **{key: settings[key] for key in keys},
    )  # fmt: skip
    for reason in reasons:
        log.warning("%s", reason)
    used = [r for r in records if r["name"] in maps]
    sources = [features, atlas_table, *(r["path"] for r in used)]
    noted = {
        "Atlas": atlas,
        "Maps": {
            r["name"]: {"Units": r["unit"], "Source": r["source"], "File": bids_uri(r["path"])} for r in used
        },
        "Measures": {
            name: {"Units": unit, "Participants": people} for name, (_, unit, people) in group.items()
        },
        **{key[:1].upper() + key[1:]: settings[key] for key in keys},
        "MinimumCoverage": min_coverage,
        "NotPossible": reasons or None,
    }
    for key, frame, columns, text in (
        ("table", found, TABLE, "Maps of the group against reference maps."),
        ("dominance", dominance, DOMINANCE, "How much of a map of the group each reference map explains (Azen and Budescu 2003)."),
        ("maps", own, MAPS, "Regional values of the reference maps."),
    ):  # fmt: skip
        write_tsv(frame, outputs[key])
        more = {"Fits": fits} if key == "dominance" else {}
        write_json(sidecar(text, sources, Columns=columns, **noted, **more), outputs[f"{key}_json"])
    log.info(
        "%d maps of the group, %d reference maps, %s", len(group), len(maps), ", ".join(settings["nulls"])
    )
