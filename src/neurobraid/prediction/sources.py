"""Features of a model that the fusion table does not hold: region series of scans, and maps on a coarse grid.

A record of ``prediction.models[].features[]`` names a ``series`` (an atlas) or ``maps`` instead of a ``modality``. Nothing here
looks at more than one person; what is estimated from people (the tangent reference, fillings, scales) belongs to the pipeline.
"""

from dataclasses import dataclass, field

import numpy as np

from neurobraid.errors import InputError, ProblemList
from neurobraid.files import read_tsv
from neurobraid.jobs import log

CONFIG = "config"
#: What region series become.
SERIES_MEASURES = ("tangent", "correlation", "covariance", "series")
#: Maps in template space, by what they show.
MAPS = ("contrast", "BPND", "GM")
#: Centre of the coarse grid, template millimetres: the middle of the brain.
CENTER_MM = (0.0, -18.0, 4.0)
#: Keys of a features record with their defaults.
RECORD = {
    "name": None, "modality": [], "measure": [], "region": [], "series": "", "task": "", "maps": "", "contrast": "",
    "model": "", "tracer": "", "edge": 32, "spacing_mm": 6.0,
}  # fmt: skip


@dataclass
class Source:
    """One feature set of all people.

    Attributes
    ----------
    view : pandas.DataFrame, (rows, features)
        Index participant_id, or participant_id and session_id; NaN where missing.
    kind : {'tangent', 'edges', 'series', 'maps'}
        Covariances (upper triangles) that want a reference; columns as they are; volumes by regions; voxels.
    shape : tuple of int
        Of one person's features: (regions, regions), (volumes, regions), (x, y, z).
    notes : dict
        For the summary: files, grid, regions.
    """

    view: object
    kind: str
    shape: tuple
    notes: dict = field(default_factory=dict)


def of_table(record):
    """Whether a features record is read from the fusion table."""
    return not (record.get("series") or record.get("maps"))


def check_record(record, where):
    """Fill a features record with its defaults, and refuse what cannot be read.

    Parameters
    ----------
    record : dict
    where : str
        Model, for messages.

    Returns
    -------
    dict

    Raises
    ------
    InputError
    """
    full, name = {**RECORD, **record}, record.get("name")
    given = [key for key in ("modality", "series", "maps") if full[key]]
    if len(given) != 1:
        raise InputError(
            where, f"features of {name}", " and ".join(given) or "nothing", "one of modality, series, maps",
            "name one kind of features in every record",
        )  # fmt: skip
    if full["series"]:
        if not full["measure"]:
            full["measure"] = "tangent"
        if full["measure"] not in SERIES_MEASURES:
            raise InputError(
                where, f"measure of {name}", full["measure"], ", ".join(SERIES_MEASURES), "name one of them"
            )
    elif isinstance(full["measure"], str):
        full["measure"] = [full["measure"]]
    if full["maps"]:
        if full["maps"] not in MAPS:
            raise InputError(where, f"maps of {name}", full["maps"], ", ".join(MAPS), "name one of them")
        needed = ("task", "contrast") if full["maps"] == "contrast" else ()
        for key in needed:
            if not full[key]:
                raise InputError(where, f"{key} of {name}", "missing", f"a {key} of the study", f"add {key}")
    return full


def check_models(models, atlases, adopted, tasks, contrasts, binding):
    """Refuse records that name what the study does not have, all of them at once.

    Parameters
    ----------
    models : list of dict
        ``prediction.models`` with its defaults.
    atlases : list of str
    adopted : str
        Atlas of adopted series; empty: none.
    tasks : list of str
        Resting tasks.
    contrasts : dict of str to sequence of str
        By task.
    binding : list of str
        Kinetic models that measure binding.

    Raises
    ------
    InputErrors
    """
    problems = ProblemList()
    for number, model in enumerate(models):
        for place, record in enumerate(model["features"]):
            where = f"prediction.models.{number}.features.{place}"
            kinds = [key for key in ("modality", "series", "maps") if record.get(key)]
            if len(kinds) != 1:
                problems.add(
                    CONFIG, where, " and ".join(kinds) or "nothing to read", "one of modality, series, maps",
                    "name one kind of features in every record",
                )  # fmt: skip
                continue
            checks = {
                "series": [("series", [*atlases, *([adopted] if adopted else [])])],
                "maps": {
                    "contrast": [
                        ("task", list(contrasts)),
                        ("contrast", list(contrasts.get(record["task"], ()))),
                    ],
                    "BPND": [("model", ["", *binding] if binding else [])],
                }.get(record["maps"], []),
            }.get(kinds[0], [])
            if record["series"] in atlases:
                checks.append(("task", ["", *tasks] if tasks else []))
            for key, options in checks:
                if record[key] not in options:
                    problems.add(
                        CONFIG, f"{where}.{key}", record[key] or "empty",
                        ", ".join(o for o in options if o) or "nothing: the study has none", f"correct {key}",
                    )  # fmt: skip
    problems.raise_errors()


# ------------------------------------------------------------------ which files


def _entities(path):
    from neurobraid.fusion.table import name_entities

    return name_entities(path)


def _visit(path):
    entities = _entities(path)
    if "sub" not in entities:
        raise InputError(
            path, "file name", str(path).rsplit("/", 1)[-1], "a name with sub-<label>", "name it by BIDS"
        )
    return f"sub-{entities['sub']}", f"ses-{entities['ses']}" if "ses" in entities else ""


def _order(session):
    """ses-2 comes before ses-10."""
    import re

    return re.sub(r"\d+", lambda m: m.group().zfill(8), session)


def by_row(items, rows):
    """Gather what belongs to one row of a model.

    Parameters
    ----------
    items : iterable of tuple of (str, str, object)
        Participant, session, whatever was found.
    rows : {'participant', 'visit'}
        ``participant`` takes the first session, so that a prediction never looks past the first visit.

    Returns
    -------
    dict of tuple of str to list
        Keys (participant,) or (participant, session), sorted.
    """
    gathered = {}
    for person, session, item in items:
        gathered.setdefault((person, session), []).append(item)
    keys = sorted(gathered, key=lambda k: (k[0], _order(k[1])))
    if rows == "visit":
        return {key: gathered[key] for key in keys}
    out = {}
    for key in keys:
        out.setdefault(key[:1], gathered[key])
    return out


def _view(keys, values, columns):
    import pandas as pd

    if not keys:
        return pd.DataFrame(columns=columns, index=pd.Index([], name="participant_id"), dtype=np.float64)
    index = (
        pd.Index([k[0] for k in keys], name="participant_id")
        if keys and len(keys[0]) == 1
        else pd.MultiIndex.from_tuples(keys, names=["participant_id", "session_id"])
    )
    return pd.DataFrame(np.array(values, dtype=np.float64), index=index, columns=columns)


# ------------------------------------------------------------------ series


def covered(series, coverage, min_coverage):
    """Series whose regions are NaN where they are covered too little, constant, or have gaps.

    Parameters
    ----------
    series : pandas.DataFrame, (T, R)
        Censored volumes are NaN throughout.
    coverage : pandas.Series, optional
        By region.
    min_coverage : float

    Returns
    -------
    pandas.DataFrame, (kept volumes, R)
    """
    values = series.to_numpy(dtype=np.float64)
    kept = series[np.isfinite(values).any(axis=1)].astype(np.float64)
    values = kept.to_numpy()
    if not len(kept):
        return kept
    spread = np.ptp(values, axis=0)
    whole = np.isfinite(values).all(axis=0) & (
        spread > 1e-10 * np.maximum(np.abs(values).max(axis=0), 1e-300)
    )
    if coverage is not None:
        whole &= ~(coverage.reindex(series.columns).to_numpy(dtype=np.float64) < min_coverage)
    return kept.where(np.broadcast_to(whole, kept.shape))


def _standard(series):
    values = series.to_numpy(dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return (values - values.mean(axis=0)) / values.std(axis=0)


def series_source(scans, measure, *, rows="participant", min_coverage=0.5, minimum=10):
    """Features from region series.

    Parameters
    ----------
    scans : iterable of tuple of (str, str, pandas.DataFrame, pandas.Series or None)
        Participant, session, series (T, R), coverage by region. Regions are joined by name.
    measure : {'tangent', 'covariance', 'correlation', 'series'}
        Shrunk (Ledoit-Wolf) covariance of standardised series, upper triangle, for ``tangent`` and ``covariance``; Fisher z of
        Pearson correlations; the standardised series themselves, runs of a visit one after the other, padded with NaN.
    rows : {'participant', 'visit'}
    min_coverage : float
        Coverage below which a region counts as missing.
    minimum : int
        Scans with fewer usable volumes are left out.

    Returns
    -------
    Source
        Covariances and correlations of several runs of a visit are averaged.
    """
    from neurobraid.connectivity.matrix import ledoit_wolf, pearson

    loaded, regions = [], []
    for person, session, series, coverage in scans:
        part = covered(series, coverage, min_coverage)
        regions.extend(r for r in part.columns if r not in regions)
        if len(part) >= minimum and np.isfinite(part.to_numpy()).any():
            loaded.append((person, session, part))
    count = len(regions)
    gathered = by_row(loaded, rows)
    place = {region: k for k, region in enumerate(regions)}
    if measure == "series":
        runs = {k: [_standard(p.reindex(columns=regions)) for p in parts] for k, parts in gathered.items()}
        longest = max((sum(map(len, parts)) for parts in runs.values()), default=0)
        values = np.full((len(runs), longest, count), np.nan)
        for row, parts in enumerate(runs.values()):
            joined = np.concatenate(parts)
            values[row, : len(joined)] = joined
        columns = [f"volume {t + 1} {region}" for t in range(longest) for region in regions]
        view = _view(list(gathered), values.reshape(len(values), -1), columns)
        return Source(view, "series", (longest, count), {"regions": regions, "volumes": longest})
    offset = 1 if measure == "correlation" else 0
    upper = np.triu_indices(count, offset)
    values = []
    for parts in gathered.values():
        matrices = np.full((len(parts), count, count), np.nan)
        for matrix, part in zip(matrices, parts, strict=True):
            there = part.columns[np.isfinite(part.to_numpy()).all(axis=0)]
            where = [place[region] for region in there]
            z = _standard(part[there])
            if measure == "correlation":
                r = np.clip(pearson(z), -0.999999, 0.999999)
                matrix[np.ix_(where, where)] = np.arctanh(r)
            else:
                matrix[np.ix_(where, where)] = ledoit_wolf(z)[0]
        known = np.isfinite(matrices)
        total = np.where(known, matrices, 0.0).sum(axis=0)
        values.append(np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)[upper])
    columns = [f"{regions[a]}--{regions[b]}" for a, b in zip(*upper, strict=True)]
    view = _view(list(gathered), np.reshape(values, (len(values), len(columns))), columns)
    kind = "tangent" if measure == "tangent" else "edges"
    return Source(view, kind, (count, count), {"regions": regions})


def own_scans(paths, atlas, task):
    """Series that the stage connectivity wrote, with their coverage.

    Parameters
    ----------
    paths : iterable of path-like
        ``…_task-x_atlas-y_stat-mean_timeseries.tsv`` and ``…_stat-coverage_bold.tsv`` of any task and atlas.
    atlas, task : str
        Which to take; an empty task takes all.

    Yields
    ------
    tuple
        See `series_source`.
    """
    chosen = [
        str(p) for p in paths
        if _entities(p).get("atlas") == atlas and task in ("", _entities(p).get("task"))
    ]  # fmt: skip
    seen = {p for p in chosen if p.endswith("_stat-coverage_bold.tsv")}
    for path in sorted(p for p in chosen if p.endswith("_stat-mean_timeseries.tsv")):
        person, session = _visit(path)
        beside = path.replace("_stat-mean_timeseries.tsv", "_stat-coverage_bold.tsv")
        coverage = None
        if beside in seen:
            coverage = read_tsv(beside, text=("Node",)).set_index("Node")["coverage"]
        yield person, session, read_tsv(path), coverage


def adopted_scans(root, rows, task):
    """Series that another program made.

    Parameters
    ----------
    root : path-like
        Their folder.
    rows : iterable of dict
        Of `neurobraid.bids.series.find_series`.
    task : str
        Empty: all.

    Yields
    ------
    tuple
        See `series_source`. A scan that cannot be read, or of which there is a matrix only, is left out here as it is of the
        matrices; the study's table of series gives the reason.
    """
    from neurobraid.bids.series import MATRIX, read_series

    for row in rows:
        if task in ("", row["task"]) and row.get("kind") != MATRIX:
            try:
                series, info = read_series(root, row)
            except InputError as error:
                log.warning("%s is left out: %s", row["path"], error)
                continue
            session = "" if row["session_id"] in ("n/a", "") else row["session_id"]
            yield row["participant_id"], session, series, info["coverage"]


# ------------------------------------------------------------------ maps


def coarse_grid(edge, spacing_mm):
    """Shape and affine of the box on which maps are compared: ``edge`` voxels along every axis around the brain's middle."""
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = np.array(CENTER_MM) - spacing_mm * (edge - 1) / 2
    return (edge,) * 3, affine


def coarse(image, shape, affine, *, zero_is_empty=True):
    """A map on the coarse grid: smoothed to the new voxels without drawing in what is outside, then interpolated.

    Parameters
    ----------
    image : nibabel image
        Template space; NaN marks voxels without a value.
    shape : tuple of int
    affine : numpy.ndarray, (4, 4)
    zero_is_empty : bool
        0 marks them too. Of grey matter, 0 is a value: there is none.

    Returns
    -------
    numpy.ndarray, shape
        NaN where less than half of the neighbourhood has a value.
    """
    import nibabel as nib

    from neurobraid.images.io import data
    from neurobraid.images.resample import resample_image
    from neurobraid.images.smooth import gaussian_matrix

    values = data(image, np.float64).reshape(image.shape[:3])
    inside = np.isfinite(values) & ((values != 0) | (not zero_is_empty))
    spacing = float(np.abs(np.diag(affine)[0]))
    size = np.sqrt((image.affine[:3, :3] ** 2).sum(axis=0))
    out = []
    for part in (np.where(inside, values, 0.0), inside.astype(np.float64)):
        for axis, edge in enumerate(size):
            if spacing > edge:
                kernel = gaussian_matrix(part.shape[axis], spacing / edge)
                part = np.moveaxis(np.tensordot(kernel, part, axes=(1, axis)), 0, axis)
        smooth = nib.Nifti1Image(part.astype(np.float32), image.affine)
        out.append(np.asarray(resample_image(smooth, shape, affine, fill=0.0), dtype=np.float64))
    total, share = out
    return np.where(share >= 0.5, total / np.maximum(share, 1e-6), np.nan)


def map_files(paths, record):
    """Those files that a features record asks for, by the labels in their names."""
    wanted = {"contrast": "stat-effect", "BPND": "meas-BPND", "GM": "label-GM"}[record["maps"]]
    keys = {"task": "task", "contrast": "contrast", "model": "model", "tracer": "trc"}
    out = []
    for path in sorted(map(str, paths)):
        entities, name = _entities(path), path.rsplit("/", 1)[-1]
        if f"_{wanted}_" in name and all(
            not record[key] or entities.get(entity) == record[key] for key, entity in keys.items()
        ):
            out.append(path)
    for key in ("model", "tracer"):
        found = sorted({_entities(path).get(keys[key], "") for path in out})
        if len(found) > 1:
            raise InputError(
                CONFIG,
                f"{key} of the features {record['name']}",
                "empty",
                ", ".join(found),
                f"name one {key}",
            )
    return out


def maps_source(paths, record, *, rows="participant"):
    """Features from maps in template space.

    Parameters
    ----------
    paths : iterable of path-like
        NIfTI files of every person; those of the record are chosen by `map_files`.
    record : dict
        From `check_record`.
    rows : {'participant', 'visit'}

    Returns
    -------
    Source
        Runs of a visit are averaged.
    """
    from neurobraid.images.io import load

    chosen = map_files(paths, record)
    shape, affine = coarse_grid(record["edge"], record["spacing_mm"])
    gathered = by_row(((*_visit(path), path) for path in chosen), rows)
    values = []
    for files in gathered.values():
        empty = record["maps"] != "GM"
        stack = np.array([coarse(load(path), shape, affine, zero_is_empty=empty) for path in files])
        known = np.isfinite(stack)
        mean = np.where(known, stack, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        values.append(np.where(known.any(axis=0), mean, np.nan).ravel())
    columns = [f"voxel {x} {y} {z}" for x, y, z in np.ndindex(*shape)]
    view = _view(list(gathered), np.reshape(values, (len(values), len(columns))), columns)
    notes = {
        "shape": list(shape), "affine": affine.tolist(), "spacing_mm": record["spacing_mm"],
        "filter": f"Gaussian of FWHM {record['spacing_mm']:g} mm inside the map, linear interpolation",
    }  # fmt: skip
    return Source(view, "maps", shape, notes)


def read_sources(model, *, series=(), adopted=(), root="derivatives/series", maps=()):
    """All feature sets of a model that are not in the fusion table.

    Parameters
    ----------
    model : dict
        From `neurobraid.prediction.model.complete`.
    series, maps : iterable of path-like
        Files of all records; every record takes its own by the labels in the names.
    adopted : iterable of dict
        Rows of `neurobraid.bids.series.find_series`, of one atlas.
    root : path-like
        Folder of the adopted series.

    Returns
    -------
    dict of str to Source
    """
    out = {}
    for record in model["features"]:
        if record["series"]:
            rows = [row for row in adopted if row["atlas"] == record["series"]]
            scans = [
                *own_scans(series, record["series"], record["task"]),
                *adopted_scans(root, rows, record["task"]),
            ]
            out[record["name"]] = series_source(
                scans, record["measure"], rows=model["rows"], min_coverage=model["min_coverage"]
            )
        elif record["maps"]:
            out[record["name"]] = maps_source(maps, record, rows=model["rows"])
    return out
