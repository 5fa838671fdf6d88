"""Feature tables of further modalities (EEG, MEG, fNIRS, CT, diffusion, thickness, blood) with a declared schema.

A table is a TSV with a JSON of the same name beside it. The JSON says what the numbers are::

    {"Regions": "atlas" | "brain" | ["Fz", "Cz", …], "Atlas": "schaefer200",
     "Measures": {"alpha": {"Description": "Relative alpha power", "Units": "1"}}}

``Atlas`` is needed where the regions are those of an atlas. The TSV has ``participant_id``, perhaps ``session_id``, and
one of three forms:

* long: ``region`` (or ``channel``), ``measure``, ``value``, perhaps ``coverage``; one value per row;
* by measure: one column per measure of the whole person (``Regions`` is ``brain``), as in a table of blood markers;
* by region: one column per region or channel, with one measure in the JSON.
"""

import difflib
from pathlib import Path

import numpy as np

from neurobraid.errors import InputError, ProblemList
from neurobraid.files import read_json, read_tsv
from neurobraid.fusion.schema import COLUMNS, MODALITIES, WHOLE
from neurobraid.jobs import log
from neurobraid.provenance import bids_uri

_TEXT = ("participant_id", "session_id", "region", "channel", "measure")
_KEY = ["participant_id", "session_id", "region", "measure"]
#: Problems of one kind that are listed one by one; the rest is counted.
LISTED = 5


def sidecar_of(path):
    """JSON beside a TSV."""
    return Path(path).with_suffix(".json")


def person_of(found, participants):
    """Participant that an identifier means: ``sub-01`` and ``01`` are one label, ``1`` is another.

    Parameters
    ----------
    found : str
        Identifier as written.
    participants : collection of str
        ``sub-<label>`` of everyone in the study.

    Returns
    -------
    person : str or None
        None when the identifier is nobody's.
    near : str
        Whom it may mean: the only participant whose label differs by leading zeros; else empty.
    """
    name = found if found.startswith("sub-") else f"sub-{found}"
    if name in participants:
        return name, ""
    bare = name[4:].lstrip("0")
    near = [p for p in participants if p[4:].lstrip("0") == bare] if bare.isdigit() else []
    return None, near[0] if len(near) == 1 else ""


def _some(problems, path, field, values, allowed, fix):
    """One problem for each of the first values, one more that counts the rest."""
    values = list(dict.fromkeys(values))
    for value in values[:LISTED]:
        problems.add(path, field, value, allowed, fix)
    if len(values) > LISTED:
        problems.add(path, field, f"{len(values) - LISTED} more like these", allowed, fix)


def _schema(path, record, problems):
    """Declared regions, atlas and measures of a table; None when the JSON cannot be used."""
    beside = sidecar_of(path)
    if not beside.is_file():
        problems.add(
            beside, "file", "missing", "a JSON with Regions and Measures beside the table",
            "write it; docs/stages.md shows one",
        )  # fmt: skip
        return None
    try:
        content = read_json(beside)
    except ValueError as error:
        problems.add(beside, "content", f"not JSON ({error})", "valid JSON", "correct the file")
        return None
    count = len(problems.errors)
    regions = content.get("Regions")
    listed = isinstance(regions, list) and all(isinstance(r, str) for r in regions) and len(regions) > 0
    if not (listed or regions in ("atlas", WHOLE)):
        problems.add(
            beside, "Regions", repr(regions), f"atlas, {WHOLE} or a list of channel names", "declare the regions"
        )  # fmt: skip
    if regions == "atlas" and not content.get("Atlas"):
        problems.add(
            beside, "Atlas", "missing", "name of an atlas of the config", "say which atlas the regions are of"
        )
    measures = content.get("Measures")
    if not isinstance(measures, dict) or not measures:
        problems.add(
            beside, "Measures", repr(measures), "names with Description and Units", "declare every measure"
        )  # fmt: skip
    else:
        for name, described in measures.items():
            units = described.get("Units") if isinstance(described, dict) else None
            if not isinstance(units, str) or not units:
                problems.add(
                    beside, f"Measures.{name}.Units", repr(units), "a unit; 1 for a pure number", "declare the unit"
                )  # fmt: skip
    if content.get("Modality", record["modality"]) != record["modality"]:
        problems.add(
            beside, "Modality", content["Modality"], f"{record['modality']}, as in the config",
            "give the table its own modality in fusion.features",
        )  # fmt: skip
    return content if len(problems.errors) == count else None


def _long(path, table, schema, problems):
    """Bring the three forms to one: participant_id, session_id, region, measure, value, coverage."""
    import pandas as pd

    measures, regions = schema["Measures"], schema["Regions"]
    table = table.rename(columns={"channel": "region"}) if "region" not in table else table
    keys = [c for c in ("participant_id", "session_id") if c in table]
    if "value" in table:
        if "region" not in table and regions == WHOLE:
            table = table.assign(region=WHOLE)
        if "measure" not in table and len(measures) == 1:
            table = table.assign(measure=next(iter(measures)))
        for column in ("region", "measure"):
            if column not in table:
                problems.add(path, "columns", list(table.columns), f"a column {column}", f"add {column}")
                return None
        out = table
    else:
        columns = [c for c in table if c not in keys]
        by_region = regions != WHOLE
        if by_region and len(measures) != 1:
            problems.add(
                path, "columns", list(table.columns)[:8], "region, measure and value where there are several measures",
                "write the table in long form",
            )  # fmt: skip
            return None
        allowed = regions if isinstance(regions, list) else (None if by_region else list(measures))
        unknown = [c for c in columns if allowed is not None and c not in allowed]
        absent = [m for m in measures if m not in table] if not by_region else []
        _some(
            problems,
            path,
            "column",
            unknown,
            "a column that the JSON declares",
            "declare it, or drop the column",
        )
        _some(
            problems, path, "columns", [f"{m} missing" for m in absent], "every measure that the JSON declares",
            "add the column, or drop the measure",
        )  # fmt: skip
        out = table.melt(
            id_vars=keys,
            value_vars=[c for c in columns if c not in unknown],
            var_name="region" if by_region else "measure",
            value_name="value",
        )
        out = out.assign(measure=next(iter(measures))) if by_region else out.assign(region=WHOLE)
    if "session_id" not in out:
        out = out.assign(session_id=pd.Series(np.nan, index=out.index, dtype="object"))
    if "coverage" not in out:
        out = out.assign(coverage=np.nan)
    return out[[*_KEY, "value", "coverage"]].reset_index(drop=True)


def read_features(record, participants, atlases, problems):
    """Read and check one declared feature table.

    Parameters
    ----------
    record : mapping
        ``path`` and ``modality``.
    participants : collection of str
    atlases : mapping of str to list of str or None
        Region names of every atlas of the study; None where they are not known yet.
    problems : neurobraid.errors.ProblemList
        Gets everything that is wrong.

    Returns
    -------
    table : pandas.DataFrame or None
        Columns participant_id, session_id, region, measure, value (float64), coverage, unit.
    schema : dict or None
        The JSON.
    """
    import pandas as pd

    path = Path(record["path"])
    if not path.is_file():
        problems.add(path, "file", "missing", "a table", "correct fusion.features.path")
        return None, None
    schema = _schema(path, record, problems)
    table = read_tsv(path, text=_TEXT)
    if "participant_id" not in table:
        problems.add(
            path, "columns", list(table.columns)[:8], "a column participant_id", "add participant_id"
        )
        return None, None
    if schema is None or (table := _long(path, table, schema, problems)) is None:
        return None, None

    table = table.assign(participant_id=_people(path, table["participant_id"], participants, problems))
    known = table["participant_id"].notna()
    if len(table) and not known.any() and not problems.errors:
        problems.add(
            path, "participant_id", "nobody of the study", f"for example {min(participants, default='sub-01')}",
            "use the identifiers of participants.tsv",
        )  # fmt: skip
    session = table["session_id"].astype("object")
    bad = [s for s in session.dropna() if not str(s).startswith("ses-")]
    session = session.where(session.isna(), "ses-" + session.astype(str).str.removeprefix("ses-"))
    if bad:
        log.info("%s: session_id %s is read as ses-%s", path.name, bad[0], bad[0])
    table = table.assign(session_id=session)

    _some(
        problems, path, "measure", [m for m in table["measure"] if m not in schema["Measures"]],
        ", ".join(schema["Measures"]), "declare it in the JSON, or correct the name",
    )  # fmt: skip
    _regions(path, table["region"], schema, atlases, problems)
    numbers = pd.to_numeric(table["value"], errors="coerce")
    text = table["value"].notna() & numbers.isna()
    _some(
        problems, path, "value", table.loc[text, "value"].astype(str), "a number or n/a", "correct the value"
    )
    infinite = np.isinf(numbers.to_numpy(dtype=np.float64))
    _some(
        problems, path, "value",
        [f"{r.value} of {r.participant_id}, {r.region}, {r.measure}" for r in table[infinite].itertuples()],
        "a finite number, or n/a where it is missing", "mend the step that made the table",
    )  # fmt: skip
    share = pd.to_numeric(table["coverage"], errors="coerce")
    wrong = table["coverage"].notna() & ~share.between(0, 1)
    _some(
        problems,
        path,
        "coverage",
        table.loc[wrong, "coverage"].astype(str),
        "0 to 1",
        "give the share of the region",
    )
    double = known & table.duplicated(_KEY, keep=False)
    _some(
        problems, path, "rows",
        [
            f"{r.participant_id}, {r.session_id if r.session_id == r.session_id else 'no session'}, {r.region}, {r.measure} twice"
            for r in table[double].itertuples()
        ],
        "one row per participant, session, region and measure",
        "drop the wrong row (sub-01 and 01 are the same participant)",
    )  # fmt: skip
    table = table.assign(
        value=numbers.astype("float64"),
        coverage=share.astype("float64"),
        unit=[(schema["Measures"].get(m) or {}).get("Units") for m in table["measure"]],
    )
    return table[known].reset_index(drop=True), schema


def _people(path, found, participants, problems):
    """Participants of identifiers; None for people outside the study, who are counted in the log."""
    participants = set(participants)
    meant, misread, outside = {}, [], []
    for name in found.dropna().unique():
        meant[name], near = person_of(name, participants)
        if meant[name] is None and near:
            misread.append(f"{name} (meant: {near}?)")
        elif meant[name] is None:
            outside.append(name)
    example = min(participants, default="sub-01")
    if found.isna().any():
        problems.add(
            path, "participant_id", "n/a", f"for example {example}", "give every row its participant"
        )
    _some(
        problems, path, "participant_id", misread, f"the identifiers of the study, for example {example} or {example[4:]}",
        "write identifiers as text with their zeros (a spreadsheet drops them)",
    )  # fmt: skip
    if outside:
        log.info("%s: %d participants are not in the study, their rows are left out", path.name, len(outside))
    return found.map(meant)


def _regions(path, found, schema, atlases, problems):
    """Say which regions are not those that were declared."""
    regions = schema["Regions"]
    if regions == "atlas":
        if schema["Atlas"] not in atlases:
            problems.add(
                sidecar_of(path), "Atlas", schema["Atlas"], ", ".join(atlases), "use an atlas of the config, or add it"
            )  # fmt: skip
            return
        regions = atlases[schema["Atlas"]]
        if regions is None:
            return
    else:
        regions = [WHOLE] if regions == WHOLE else regions
    allowed = {*regions, WHOLE}
    unknown = [r for r in dict.fromkeys(found.astype(str)) if r not in allowed]
    near = difflib.get_close_matches(unknown[0], list(allowed), n=1) if unknown else []
    fix = f"did you mean {near[0]}?" if near else "correct the name, or declare it"
    _some(problems, path, "region", unknown, f"one of {len(regions)} declared regions", fix)


def check_features(records, participants, atlases):
    """Check every declared feature table before any work; all problems come together.

    Parameters
    ----------
    records : list of mapping
        ``path`` and ``modality`` of every table.
    participants : collection of str
        ``sub-<label>`` of everyone in the study.
    atlases : mapping of str to list of str or None
        Region names of every atlas; None where they are not known before the run.

    Returns
    -------
    list of (mapping, pandas.DataFrame, dict)
        Record, table and JSON of each.

    Raises
    ------
    InputErrors
        A file is missing or malformed; an identifier in another form, a doubled row, a value that is not finite, an
        unknown region; one measure of a modality in two units or in two tables for the same person.
    """
    problems, read, units, rows = ProblemList(), [], {}, {}
    for record in records:
        if record["modality"] in MODALITIES:
            problems.add(
                "config", "fusion.features.modality", record["modality"], "a name the workflow does not use itself",
                "choose another, for example eeg or dwi",
            )  # fmt: skip
        table, schema = read_features(record, participants, atlases, problems)
        if table is None:
            continue
        read.append((record, table, schema))
        scope = schema.get("Atlas") if schema["Regions"] == "atlas" else ""
        for measure, described in schema["Measures"].items():
            known, unit = units.setdefault(
                (record["modality"], measure), (record["path"], described["Units"])
            )
            if described["Units"] != unit:
                problems.add(
                    record["path"], f"unit of {record['modality']} {measure}", described["Units"],
                    f"{unit}, as in {Path(known).name}", "convert one of the tables, or name the measures apart",
                )  # fmt: skip
        twice = []
        for key in zip(*[table[c].fillna("").astype(str) for c in _KEY], strict=True):
            known = rows.setdefault((record["modality"], scope, *key), record["path"])
            if known != record["path"]:
                twice.append(f"{', '.join(part for part in key if part)} also in {Path(known).name}")
        _some(
            problems,
            record["path"],
            "rows",
            twice,
            "every value in one table",
            "drop it from one of the tables",
        )
    problems.raise_errors()
    return read


def feature_rows(records, participants, atlas, names):
    """Rows of the fusion table from the feature tables that belong to one atlas.

    Parameters
    ----------
    records : list of mapping
    participants : collection of str
    atlas : str
        Name of the atlas. Tables of another atlas are left out; those of channels or of the whole person belong to every
        atlas.
    names : list of str
        Regions of the atlas.

    Returns
    -------
    frames : list of pandas.DataFrame
        In the columns of `neurobraid.fusion.schema.COLUMNS`.
    described : dict of (str, str) to str
        Description of every (modality, measure).
    regions : dict of str to list of str
        Modality to the channels it declares.

    Raises
    ------
    InputErrors
        See `check_features`.
    """
    frames, described, channels = [], {}, {}
    others = {s.get("Atlas") for r in records if (s := _peek(r))} - {None}
    read = check_features(records, participants, dict.fromkeys(others) | {atlas: names})
    for record, table, schema in read:
        if schema["Regions"] == "atlas" and schema["Atlas"] != atlas:
            continue
        if isinstance(schema["Regions"], list):
            channels.setdefault(record["modality"], []).extend(schema["Regions"])
        for measure, about in schema["Measures"].items():
            described[record["modality"], measure] = about.get("Description", measure)
        frames.append(
            table.assign(modality=record["modality"], source=bids_uri(record["path"]))[list(COLUMNS)]
        )
    return frames, described, channels


def _peek(record):
    """The JSON of a table, or nothing where it cannot be read: `check_features` says why."""
    try:
        content = read_json(sidecar_of(record["path"]))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def known_regions(atlases):
    """Region names of the atlases whose table the user gave; None for the others.

    Parameters
    ----------
    atlases : list of mapping
        Atlas records of the config.

    Returns
    -------
    dict of str to list of str or None

    Raises
    ------
    InputError
        The table of an atlas has no column ``name``.
    """
    known = {}
    for record in atlases:
        path = record.get("table")
        if record["kind"] != "files" or not path or not Path(path).is_file():
            known[record["name"]] = None
            continue
        table = read_tsv(path, text=("name",))
        if "name" not in table:
            raise InputError(
                path, "columns", list(table.columns), "a column name", "add the names of the regions"
            )
        known[record["name"]] = table["name"].to_list()
    return known
