"""One tidy table of regional features from all modalities, joined by label and never by position."""

import re
from pathlib import Path

import numpy as np

from neurobraid.connectivity.matrix import fisher_z
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.fusion.features import feature_rows
from neurobraid.fusion.schema import (
    COLUMNS,
    MEASURES,
    MODALITIES,
    PET_DETAILS,
    PET_OUTCOMES,
    TASK_UNIT,
    WHOLE,
    in_depth,
    table_schema,
)
from neurobraid.jobs import log
from neurobraid.provenance import bids_uri, sidecar

_KEYS = ["participant_id", "session_id", "region", "modality", "measure", "unit"]
_ENTITY = re.compile(r"(?:^|_)([a-z]+)-([A-Za-z0-9+]+)(?=_)")


def name_entities(path):
    """Entities in a BIDS file name.

    Examples
    --------
    >>> name_entities("x/sub-01_ses-2_task-rest_atlas-a_relmat.tsv")["ses"]
    '2'
    """
    return dict(_ENTITY.findall(Path(path).name))


def _columns(path, table, needed):
    for column in needed:
        if column not in table:
            raise InputError(
                path, "columns", list(table.columns), f"a column {column}", "make the file again"
            )


def _frame(path, region, modality, measure, value, unit, coverage):
    import pandas as pd

    entities = name_entities(path)
    if "sub" not in entities:
        raise InputError(
            path, "file name", Path(path).name, "a name with sub-<label>", "name the file by BIDS"
        )
    return pd.DataFrame(
        {
            "participant_id": f"sub-{entities['sub']}",
            "session_id": pd.Series(
                [f"ses-{entities['ses']}" if "ses" in entities else np.nan] * len(region), dtype="object"
            ),
            "region": np.asarray(region, dtype=object),
            "modality": modality,
            "measure": measure,
            "value": np.asarray(value, dtype=np.float64),
            "unit": unit,
            "coverage": np.asarray(coverage, dtype=np.float64),
            "source": bids_uri(path),
        }
    )[list(COLUMNS)]


def task_rows(path):
    """Contrast effects of one participant's region table (long form: name, contrast, effect, coverage).

    Parameters
    ----------
    path : path-like
        ``sub-x_task-y_atlas-z_stat-effect_bold.tsv``.

    Returns
    -------
    list of pandas.DataFrame
        One per contrast, in the columns of the fusion table.
    """
    table = read_tsv(path, text=("contrast",))
    _columns(path, table, ("name", "contrast", "effect", "coverage"))
    task = name_entities(path).get("task", "task")
    return [
        _frame(path, part["name"], "fmri-task", f"{task}_{name}", part["effect"], TASK_UNIT, part["coverage"])
        for name, part in table.groupby("contrast", sort=True)
    ]


def connectivity_rows(path, coverage=None, *, networks=None, suffix=""):
    """Strength of every region, and the mean connection of every pair of networks, of one matrix.

    Parameters
    ----------
    path : path-like
        ``…_stat-pearsoncorrelation_relmat.tsv``, first column ``Node``.
    coverage : path-like, optional
        ``…_stat-coverage_bold.tsv``: columns ``Node`` and ``coverage``.
    networks : dict of str to str, optional
        Network of every region; edges between networks are added then.
    suffix : str
        Added to the measure (``_<task>`` where a study has several resting tasks).

    Returns
    -------
    list of pandas.DataFrame
    """
    matrix = read_tsv(path, text=("Node",))
    _columns(path, matrix, ("Node",))
    nodes = matrix["Node"].to_list()
    if sorted(nodes) != sorted(c for c in matrix.columns if c != "Node"):
        raise InputError(
            path, "regions", "rows and columns differ", "the same regions twice", "make the file again"
        )
    z = fisher_z(matrix[nodes].to_numpy(dtype=np.float64))
    share = np.where(np.isfinite(z).any(axis=1), 1.0, 0.0)
    if coverage is not None:
        seen = read_tsv(coverage, text=("Node",))
        _columns(coverage, seen, ("Node", "coverage"))
        share = seen.set_index("Node")["coverage"].reindex(nodes).to_numpy(dtype=np.float64)
    valid = np.isfinite(z)
    count = valid.sum(axis=1)
    frames = []
    for measure, part in (("strengthpositive", np.maximum(z, 0)), ("strengthnegative", np.minimum(z, 0))):
        total = np.where(valid, part, 0.0).sum(axis=1)
        strength = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        frames.append(_frame(path, nodes, "fmri-rest", measure + suffix, strength, "z", share))
    if networks:
        names = np.array([networks.get(node, "") for node in nodes], dtype=object)
        listed = [n for n in dict.fromkeys(names) if n and n == n]
        edges, values, shares = [], [], []
        for i, first in enumerate(listed):
            for second in listed[i:]:
                block = z[np.ix_(names == first, names == second)]
                kept = np.isfinite(block)
                edges.append(f"{first}--{second}")
                values.append(block[kept].mean() if kept.any() else np.nan)
                shares.append(np.nanmin([share[names == first].mean(), share[names == second].mean()]))
        frames.append(_frame(path, edges, "fmri-rest", "connectivity" + suffix, values, "z", shares))
    return frames


def kinetic_names(paths):
    """What every kinetic parameter of a study is called.

    Parameters
    ----------
    paths : iterable of path-like
        ``…_model-…_kinpar.tsv``, in the order of the models of the study.

    Returns
    -------
    dict of (str, str) to str
        Model and column to measure: an outcome of the first model that has it keeps its name, so that a study with one
        more model has the same measures as before; further models and all rates add theirs (``BPND_MRTM2``, ``k3_2TCM``).
    """
    found, owners = {}, {}
    for path in paths:
        model = name_entities(path).get("model", "")
        for column in read_tsv(path).columns:
            if column in PET_OUTCOMES:
                owners.setdefault(column, model)
            elif column not in PET_DETAILS:
                continue
            plain = not model or owners.get(column) == model
            found[model, column] = column if plain else f"{column}_{model}"
    return found


def kinetic_rows(path, measures, *, suffix="", names=None):
    """Kinetic parameters of one PET scan.

    Parameters
    ----------
    path : path-like
        ``…_kinpar.tsv`` with the columns ``name``, the measures and, if known, ``coverage`` and ``flag``; values
        whose flag is not ``ok`` become NaN.
    measures : iterable of str
        Of `schema.PET_OUTCOMES` and `schema.PET_DETAILS`; those the file has are taken.
    suffix : str
        Added to the measure (``_<tracer>`` where a study has several tracers).
    names : dict, optional
        From `kinetic_names`; default those of this file alone.

    Returns
    -------
    list of pandas.DataFrame
    """
    table = read_tsv(path)
    _columns(path, table, ("name",))
    share = table["coverage"] if "coverage" in table else np.full(len(table), np.nan)
    # a reference region binds nothing by definition and a flagged fit is no measurement
    good = table["flag"].eq("ok") if "flag" in table else np.ones(len(table), dtype=bool)
    # a rate may be loose where the outcome is not
    loose = table["undetermined"].str.split(",") if "undetermined" in table else None
    names = kinetic_names([path]) if names is None else names
    model = name_entities(path).get("model", "")
    frames = []
    for measure in measures:
        if measure not in table:
            continue
        kept = good
        if loose is not None and measure in PET_DETAILS:
            kept = good & ~loose.map(
                lambda found, measure=measure: isinstance(found, list) and measure in found
            )
        called = names.get((model, measure), measure) + suffix
        unit = MEASURES["pet", measure][0]
        frames.append(_frame(path, table["name"], "pet", called, table[measure].where(kept), unit, share))
    return frames


def kinetic_sources(paths, sidecars, names):
    """Model and partial-volume correction of every measure of PET, for the sidecar.

    Parameters
    ----------
    paths, sidecars : iterable of path-like
        Kinetic tables and their JSON files, matched by name.
    names : dict
        From `kinetic_names`.

    Returns
    -------
    dict of (str, str) to dict
        See `schema.table_schema`; measures of several tracers included.
    """
    beside = {Path(p).name.removesuffix(".json"): p for p in sidecars}
    found, several = {}, _several(paths, "trc")
    for path in paths:
        entities, stem = name_entities(path), Path(path).name.removesuffix(".tsv")
        note = read_json(beside[stem]) if stem in beside else {}
        suffix = f"_{entities.get('trc', 'none')}" if several else ""
        for (model, _), called in names.items():
            if model == entities.get("model", ""):
                entry = found.setdefault(("pet", called + suffix), {"Model": model})
                entry.setdefault("PartialVolumeCorrection", note.get("PartialVolumeCorrection", "not stated"))
    return found


def structure_rows(path):
    """Grey-matter volume and density of one T1w scan (``…_seg-…_desc-structure_morph.tsv``)."""
    table = read_tsv(path)
    _columns(path, table, ("name", "volume_ml", "density", "coverage"))
    return [
        _frame(path, table["name"], "anat", "volume", table["volume_ml"], "mL", table["coverage"]),
        _frame(path, table["name"], "anat", "density", table["density"], "1", table["coverage"]),
    ]


def brain_rows(path):
    """Total intracranial volume of one T1w scan (``…_desc-brain_morph.tsv``)."""
    table = read_tsv(path)
    _columns(path, table, ("name", "volume_ml"))
    whole = table[table["name"] == WHOLE]
    unit = MEASURES["anat", "tiv"][0]
    return [_frame(path, whole["name"], "anat", "tiv", whole["volume_ml"], unit, np.full(len(whole), np.nan))]


def volume_rows(path):
    """Volume of every region of the segmentation that PET curves came with (``…_desc-preproc_morph.tsv``)."""
    table = read_tsv(path)
    _columns(path, table, ("name", "volume_mm3", "coverage"))
    known = table[table["volume_mm3"].notna()]
    unit = MEASURES["anat", "regionvolume"][0]
    return [
        _frame(
            path, known["name"], "anat", "regionvolume", known["volume_mm3"] / 1000, unit, known["coverage"]
        )
    ]


def region_table(paths):
    """Regions of a fusion table: those of the atlas, or all that any scan has, in the order of their first sight.

    Parameters
    ----------
    paths : path-like or list of path-like
        The atlas's table, or region tables of scans whose regions may differ.

    Returns
    -------
    pandas.DataFrame
        ``name`` and, of an atlas, its other columns.
    """
    import pandas as pd

    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    if len(paths) == 1:
        return read_tsv(paths[0], text=("name", "network"))
    names = dict.fromkeys(name for path in paths for name in read_tsv(path, text=("name",))["name"])
    return pd.DataFrame({"name": list(names)})


def _several(paths, entity):
    return len({name_entities(p).get(entity) for p in paths}) > 1


def fusion_table(
    atlas,
    *,
    task=(),
    rest=(),
    coverage=(),
    kinetics=(),
    structure=(),
    brain=(),
    volumes=(),
    features=(),
    pet_measures=(*PET_OUTCOMES, *PET_DETAILS),
):
    """Join the region tables of all modalities by region name.

    A scan that does not exist gives no rows; a region that was not covered gives a row with an empty value.
    Runs of one session are averaged (mean of the values, smallest coverage, all sources).

    Parameters
    ----------
    atlas : pandas.DataFrame
        Region table: ``name``, optionally ``network``.
    task : iterable of path-like
        Region tables of contrasts, one per participant and task.
    rest, coverage : iterable of path-like
        Correlation matrices, and the coverage tables of the same scans (matched by name, not by position).
    kinetics : iterable of path-like
        Kinetic parameters per region, in the order of the models of the study; see `kinetic_names`.
    structure : iterable of path-like
        Grey matter per region.
    brain : iterable of path-like
        Volumes of the whole brain.
    volumes : iterable of path-like
        Region tables of PET curves that another program made (``…_morph.tsv``).
    features : iterable of pandas.DataFrame
        Rows of further modalities, from `neurobraid.fusion.features.feature_rows`; their regions may be channels.
    pet_measures : iterable of str

    Returns
    -------
    pandas.DataFrame
        The columns of `neurobraid.fusion.schema.COLUMNS`, sorted by participant, session, modality, measure
        and the atlas's order of regions.

    Raises
    ------
    InputError
        A file lacks a column, or a region is not in the atlas.
    """
    import pandas as pd

    task, rest, kinetics, structure = list(task), list(rest), list(kinetics), list(structure)
    names = atlas["name"].to_list()
    networks = None
    if "network" in atlas:
        networks = {n: w for n, w in zip(names, atlas["network"], strict=True) if isinstance(w, str)}
    seen = {Path(p).name.split("_stat-")[0]: p for p in coverage}
    frames = []
    for path in task:
        frames += task_rows(path)
    tag = "task" if _several(rest, "task") else None
    for path in rest:
        suffix = f"_{name_entities(path)[tag]}" if tag else ""
        share = seen.get(Path(path).name.split("_stat-")[0])
        frames += connectivity_rows(path, share, networks=networks, suffix=suffix)
    tag = "trc" if _several(kinetics, "trc") else None
    called = kinetic_names(kinetics)
    for path in kinetics:
        suffix = f"_{name_entities(path).get('trc', 'none')}" if tag else ""
        frames += kinetic_rows(path, pet_measures, suffix=suffix, names=called)
    for path in structure:
        frames += structure_rows(path)
    for path in brain:
        frames += brain_rows(path)
    for path in volumes:
        frames += volume_rows(path)
    for frame in frames:
        unknown = [r for r in frame["region"] if r not in {*names, WHOLE} and "--" not in r]
        if unknown:
            raise InputError(
                frame["source"].iloc[0].split(":")[-1],
                "region",
                unknown[0],
                f"a region of the atlas ({len(names)} names)",
                "make the table again with this atlas",
            )
    frames += list(features)
    if not frames:
        return _empty()
    table = pd.concat([f for f in frames if len(f)], ignore_index=True)
    joined = table.groupby(_KEYS, sort=False, dropna=False).agg(
        value=("value", "mean"), coverage=("coverage", "min"), source=("source", _sources)
    )
    table = joined.reset_index()[list(COLUMNS)]
    place = {name: number for number, name in enumerate(names)}
    order = pd.DataFrame(
        {
            "a": table["participant_id"],
            "b": table["session_id"].fillna(""),
            "c": table["modality"].map({m: n for n, m in enumerate(modalities_of(table))}),
            "d": table["measure"],
            "e": table["region"].map(place).fillna(len(names)),
            "f": table["region"],
        }
    )
    return table.iloc[order.sort_values(list("abcdef"), kind="stable").index].reset_index(drop=True)


def modalities_of(table):
    """The workflow's own modalities, then those that feature tables brought, by name."""
    return [*MODALITIES, *sorted(set(table["modality"]) - set(MODALITIES))]


def _empty():
    import pandas as pd

    return pd.DataFrame(
        {c: pd.Series(dtype="float64" if c in ("value", "coverage") else "object") for c in COLUMNS}
    )


def _sources(values):
    return " ".join(sorted(set(values)))


def availability(table, participants):
    """Who has which modality.

    Parameters
    ----------
    table : pandas.DataFrame
        Fusion table.
    participants : iterable of str
        Everyone in the study, also those without a single scan.

    Returns
    -------
    pandas.DataFrame
        One row per participant and modality: participant_id, modality, available, sessions, measures,
        regions (with a value), mean_coverage. Never a zero in place of a missing value.
    """
    import pandas as pd

    rows = []
    everyone = sorted(set(participants) | set(table["participant_id"]))
    parts = dict(list(table.groupby(["participant_id", "modality"], sort=False)))
    for person in everyone:
        for modality in modalities_of(table):
            part = parts.get((person, modality))
            filled = part[part["value"].notna()] if part is not None else None
            has = filled is not None and len(filled) > 0
            rows.append(
                {
                    "participant_id": person,
                    "modality": modality,
                    "available": "yes" if has else "no",
                    "sessions": filled["session_id"].nunique(dropna=False) if has else 0,
                    "measures": filled["measure"].nunique() if has else 0,
                    "regions": filled["region"].nunique() if has else 0,
                    "mean_coverage": part["coverage"].mean() if has else np.nan,
                }
            )
    return pd.DataFrame(rows)


def wide(table, modality, *, measure=(), region=(), rows="participant", min_coverage=0.5):
    """Table for a model: one row per person (or visit), one column per feature.

    Parameters
    ----------
    table : pandas.DataFrame
        Fusion table.
    modality, measure, region : iterable of str
        What to take; an empty list takes all. Rates and outcomes of further kinetic models (`schema.in_depth`) are
        taken only when their measure is named: a prediction does not change because one more model was fitted.
    rows : {'participant', 'visit'}
        ``participant`` takes each person's first session that has the measure, so that a prediction never
        looks past the first visit; ``visit`` makes one row per person and session.
    min_coverage : float
        Values of regions covered less become NaN. A region without a known coverage is kept.

    Returns
    -------
    pandas.DataFrame
        Index participant_id (or participant_id, session_id), sorted; columns ``modality measure region``.
        A person without the modality has no row.
    """
    part = table[table["modality"].isin(list(modality))] if modality else table
    if not measure:
        deep = {name: in_depth("pet", name) for name in part["measure"].unique()}
        part = part[~(part["modality"].eq("pet") & part["measure"].map(deep).astype(bool))]
    for column, wanted in (("measure", measure), ("region", region)):
        if wanted:
            part = part[part[column].isin(list(wanted))]
    part = part.assign(
        session_id=part["session_id"].astype("object").where(part["session_id"].notna(), ""),
        value=part["value"].where(~(part["coverage"] < min_coverage)),
        feature=part["modality"].astype(str)
        + " "
        + part["measure"].astype(str)
        + " "
        + part["region"].astype(str),
    )
    part = part[part["value"].notna()]
    if rows == "participant":
        # ses-2 comes before ses-10
        rank = part["session_id"].str.replace(r"\d+", lambda m: m.group().zfill(8), regex=True)
        first = rank.groupby([part[c] for c in ("participant_id", "modality", "measure")]).transform("min")
        part = part[rank == first]
        index = ["participant_id"]
    else:
        index = ["participant_id", "session_id"]
    order = list(dict.fromkeys(part["feature"]))
    return (
        part.pivot(index=index, columns="feature", values="value").reindex(columns=sorted(order)).sort_index()
    )


def write_fusion(atlas_table, participants, outputs, *, kinetics_json=(), records=(), **inputs):
    """Make and write the fusion table, its sidecar, the wide view and the table of availability.

    Parameters
    ----------
    atlas_table : path-like or list of path-like
        ``…_dseg.tsv``; see `region_table`.
    participants : list of str
        Everyone in the study.
    outputs : mapping
        Paths ``features``, ``schema``, ``wide``, ``wide_json``, ``availability``, ``availability_json``.
    kinetics_json : iterable of path-like
        Sidecars of the kinetic tables, which tell whether their curves were corrected for partial volume.
    records : list of mapping
        Feature tables of further modalities (``path``, ``modality``).
    **inputs
        See `fusion_table`.
    """
    atlas = region_table(atlas_table)
    # a study of tables only has no atlas: its regions are those that the tables declare
    first = atlas_table if isinstance(atlas_table, str | Path) else next(iter(atlas_table), "")
    labels = name_entities(first)
    name = labels.get("atlas", labels.get("seg", ""))
    rows, described, channels = feature_rows(list(records), participants, name, atlas["name"].to_list())
    table = fusion_table(atlas, features=rows, **inputs)
    write_tsv(table, outputs["features"])
    present = table[["modality", "measure", "unit"]].drop_duplicates().itertuples(index=False, name=None)
    sources = sorted(str(path) for paths in inputs.values() for path in paths)
    sources += [str(record["path"]) for record in records]
    kinetics = list(inputs.get("kinetics", ()))
    about = kinetic_sources(kinetics, kinetics_json, kinetic_names(kinetics))
    write_json(
        sidecar(
            "Regional features of all modalities, one value per row, joined by region name.",
            sources,
            **table_schema(present, about, described),
            Channels=channels or None,
        ),
        outputs["schema"],
    )
    _write_wide(table, outputs)
    write_tsv(availability(table, participants), outputs["availability"])
    write_json(
        {
            "participant_id": {"Description": "Person, as in participants.tsv"},
            "modality": {
                "Description": "Modality",
                "Levels": {m: MODALITIES.get(m, f"{m} (feature table)") for m in modalities_of(table)},
            },
            "available": {
                "Description": "Whether any region has a value",
                "Levels": {"yes": "yes", "no": "no"},
            },
            "sessions": {"Description": "Number of sessions with a value"},
            "measures": {"Description": "Number of measures with a value"},
            "regions": {"Description": "Number of regions with a value"},
            "mean_coverage": {"Description": "Mean share of a region's voxels that held data, 0 to 1"},
        },
        outputs["availability_json"],
    )
    log.info("%d rows, %d participants", len(table), table["participant_id"].nunique())


def _write_wide(table, outputs):
    """One row per participant and session, one column per feature, beside the tidy table."""
    visits = wide(table, [], rows="visit", min_coverage=0.0) if len(table) else None
    if visits is None:
        write_tsv(table[["participant_id", "session_id"]], outputs["wide"])
    else:
        flat = visits.reset_index()
        write_tsv(flat.assign(session_id=flat["session_id"].replace("", np.nan)), outputs["wide"])
    units = table.drop_duplicates(["modality", "measure"])
    write_json(
        sidecar(
            "The fusion table with one row per participant and session and one column per feature, in alphabetical order.",
            [outputs["features"]],
            Columns={
                "participant_id": "Person, as in participants.tsv",
                "session_id": "Session of the scan; n/a when the dataset has none or the value spans sessions",
                "<modality> <measure> <region>": "One feature; n/a where it is missing",
            },
            Units={
                f"{m} {k}": u
                for m, k, u in zip(units["modality"], units["measure"], units["unit"], strict=True)
            },
        ),
        outputs["wide_json"],
    )
