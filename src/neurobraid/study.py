"""A study as the workflow sees it: checked config, analysed scans, pairing. Light: no image is opened here."""

import copy
import difflib
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from neurobraid.errors import InputError, InputErrors, Problem, ProblemList

__all__ = ["InputError", "InputErrors", "Study", "check_config", "open_study"]

CONFIG = "config"
RAW = "bids"
SCAN_TABLE = "config/scans.tsv"


def _fill(schema, value):
    """Give every absent key its default, at every level."""
    kind = schema.get("type")
    if kind == "object" and isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if key not in value and "default" in inner:
                value[key] = copy.deepcopy(inner["default"])
            if key in value:
                _fill(inner, value[key])
    elif kind == "array" and isinstance(value, list):
        for item in value:
            _fill(schema.get("items", {}), item)


def _locate(path):
    return ".".join(str(p) for p in path) or "top level"


def check_config(config, schema_path):
    """Check a config against the schema and fill in the defaults.

    Parameters
    ----------
    config : dict
    schema_path : path-like
        JSON schema in YAML.

    Returns
    -------
    dict
        A copy with every default.

    Raises
    ------
    InputErrors
        All problems at once; an unknown key comes with the nearest known one.
    """
    import yaml
    from jsonschema import Draft202012Validator

    with open(schema_path, encoding="utf-8") as handle:
        schema = yaml.safe_load(handle)
    config = copy.deepcopy(dict(config))
    problems = ProblemList()
    for error in sorted(
        Draft202012Validator(schema).iter_errors(config), key=lambda e: list(map(str, e.path))
    ):
        where = list(error.absolute_path)
        if error.validator == "additionalProperties":
            known = list(error.schema.get("properties", {}))
            for key in sorted(set(error.instance) - set(known)):
                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
                name = _locate([*where, key])
                fix = f"did you mean {_locate([*where, near[0]])}?" if near else "remove the key"
                problems.add(CONFIG, name, "not a known key", ", ".join(known), fix)
        else:
            described = error.schema.get("description", "see config/README.md")
            allowed = (
                error.message if error.validator != "enum" else ", ".join(map(str, error.validator_value))
            )
            problems.add(CONFIG, _locate(where), repr(error.instance), allowed, described)
    problems.raise_errors()
    _fill(schema, config)
    for section in ("atlases", "activation.tasks", "prediction.models"):
        value = config
        for key in section.split("."):
            value = value[key]
        names = [record.get("name", record.get("task")) for record in value]
        for name in sorted({n for n in names if names.count(n) > 1}):
            problems.add(CONFIG, section, f"{name} twice", "every name once", "rename one of the records")
    for n, atlas in enumerate(config["atlases"]):
        needed = {"files": ("image", "table"), "fetch": ("fetcher",)}.get(atlas["kind"], ())
        for key in needed:
            if not atlas.get(key):
                problems.add(
                    CONFIG, f"atlases.{n}.{key}", "missing", f"a value for kind {atlas['kind']}", f"add {key}"
                )
    low, high = config["connectivity"]["band_hz"]
    if low >= high:
        problems.add(
            CONFIG, "connectivity.band_hz", [low, high], "low < high, in Hz", "swap or correct the two"
        )
    _check_pet(config["pet"], problems)
    problems.raise_errors()
    return config


def _check_pet(pet, problems):
    """What the schema cannot say about the keys of PET."""
    windows = {"pet.suvr_window_min": pet["suvr_window_min"]}
    windows |= {
        f"pet.presets.{n}.suvr_window_min": r.get("suvr_window_min") for n, r in enumerate(pet["presets"])
    }
    for field_name, window in windows.items():
        if isinstance(window, list) and window[0] >= window[1]:
            problems.add(CONFIG, field_name, window, "start < end, in min", "swap or correct the two")
    for n, record in enumerate(pet["presets"]):
        if any(str(name).endswith((".nii", ".nii.gz")) for name in record.get("reference") or ()):
            problems.add(
                CONFIG, f"pet.presets.{n}.reference", record["reference"], "names of regions, or a tissue",
                "give a mask in pet.reference",
            )  # fmt: skip
    if pet["pvc"] != "none" and len(pet["psf_fwhm_mm"]) not in (1, 3):
        problems.add(
            CONFIG, "pet.psf_fwhm_mm", pet["psf_fwhm_mm"] or "missing",
            "the scanner's resolution, full width at half maximum in mm: x, y, z, or one for all",
            "measure it or take it from the reconstruction's description (it is never guessed: 1 mm off is 6 to 15 % in "
            "cortex), or set pet.pvc: none",
        )  # fmt: skip
    if ("slope" in pet["centiloid"]) != ("intercept" in pet["centiloid"]):
        problems.add(
            CONFIG, "pet.centiloid", pet["centiloid"], "slope and intercept, or neither", "give both of the equation"
        )  # fmt: skip


@dataclass(frozen=True)
class Study:
    """Scans of a study and their pairing.

    Attributes
    ----------
    index : neurobraid.bids.pairing.Index
        Analysed scans, pairing, and exclusions with their reasons.
    warnings : list of neurobraid.errors.Problem
        What is odd about the dataset without stopping it.
    """

    index: object
    warnings: list = field(default_factory=list)
    _rows: dict = field(default_factory=dict, repr=False)
    _t1w: dict = field(default_factory=dict, repr=False)

    def __post_init__(self):
        for row in self.index.scans.itertuples(index=False):
            self._rows[row.suffix, row.scan] = row
        for row in self.index.pairing.itertuples(index=False):
            self._t1w[row.suffix, row.scan] = (row.t1w_visit, row.t1w_scan)

    @property
    def participants(self):
        """Analysed participants, ``sub-…``, in table order."""
        return list(dict.fromkeys(row.participant_id for row in self._rows.values()))

    def scans_of(self, suffix, **filters):
        """Rows of the analysed scans of one kind (T1w, bold, pet), filtered by column values."""
        rows = [row for row in self._rows.values() if row.suffix == suffix]
        return [row for row in rows if all(getattr(row, k) == v for k, v in filters.items())]

    def row(self, suffix, scan):
        """One scan as a dict.

        Raises
        ------
        InputError
            The scan is not analysed; names the nearest one that is.
        """
        if (suffix, scan) not in self._rows:
            known = [name for kind, name in self._rows if kind == suffix]
            near = difflib.get_close_matches(scan, known, n=1)
            fix = f"did you mean {near[0]}?" if near else "see results/index/scans.tsv and exclusions.tsv"
            raise InputError("scan table", f"{suffix} scan", scan, "a scan of the study", fix)
        return self._rows[suffix, scan]._asdict()

    def t1w(self, suffix, scan):
        """Visit and scan name of the T1w paired with a scan."""
        self.row(suffix, scan)
        return self._t1w[suffix, scan]


def _link(dataset, link):
    """Reach the dataset as ``bids`` inside the study, so that no absolute path enters a rule."""
    target = Path(dataset)
    if not target.is_dir():
        raise InputError(
            CONFIG, "bids", dataset, "an existing BIDS folder", "correct the path (relative to the study)"
        )
    link = Path(link)
    if link.is_symlink():
        if link.resolve() == target.resolve():
            return
        link.unlink()
    elif link.exists():
        if link.resolve() == target.resolve():
            return
        raise InputError(link, "file", "a folder is in the way", "a link to the dataset", "move or remove it")
    # as the user wrote it: a relative path stays relative, so that study and dataset can move together
    link.symlink_to(dataset, target_is_directory=True)


def _stored_index(link, config, table_path):
    """Index of a real dataset: made once, then read from the study's own reviewable table."""
    from neurobraid.bids import pairing
    from neurobraid.bids.check import check_structure
    from neurobraid.bids.table import make_table, open_dataset, read_scan_table, scan_rows
    from neurobraid.files import read_json, write_json, write_tsv

    notes = table_path.with_suffix(".json")
    warnings = []
    if not (table_path.exists() and notes.exists()):
        tree = open_dataset(link)
        table = make_table(scan_rows(tree))
        tasks = [record["task"] for record in config["activation"]["tasks"]]
        models = bool(config["prediction"]["models"])
        problems = check_structure(link, config["index"], event_tasks=tasks, need_participants=models)
        problems.raise_errors()
        dates = {path: day.isoformat() for path, day in pairing.read_dates(link, table).items()}
        others = pairing.unanalysed(tree, set(table["path"]))
        warnings = [vars(problem) for problem in problems.warnings]
        write_json(
            {"dates": dates, "not_analysed": others, "warnings": warnings, "bids": config["bids"]}, notes
        )
        write_tsv(table, table_path)
    stored = read_json(notes)
    if stored["bids"] != config["bids"]:
        raise InputError(
            table_path,
            "dataset",
            stored["bids"],
            config["bids"],
            f"delete {table_path} to index the other dataset",
        )
    dates = {path: date.fromisoformat(day) for path, day in stored["dates"].items()}
    table = read_scan_table(table_path)
    index = pairing.index_from_table(table, config["index"], dates, stored["not_analysed"])
    return index, [Problem(**warning) for warning in stored["warnings"]]


def dataset_changes(link=RAW, table_path=SCAN_TABLE):
    """Scans that came or went since the scan table was made.

    Returns
    -------
    str
        Empty if nothing changed (or there is no stored table); else one sentence with the way to refresh.
    """
    from neurobraid.bids.table import open_dataset, read_scan_table, scan_rows

    if not Path(table_path).exists():
        return ""
    stored = set(read_scan_table(table_path)["path"])
    present = {row["path"] for row in scan_rows(open_dataset(link))}
    if stored == present:
        return ""
    return (
        f"The dataset has changed since {table_path} was made: {len(present - stored)} scans new, "
        f"{len(stored - present)} gone. Delete the file to index again."
    )


def open_study(config):
    """Index the dataset of a config, or read the index made before.

    Parameters
    ----------
    config : dict
        From `check_config`.

    Returns
    -------
    Study

    Raises
    ------
    InputError, InputErrors
        The dataset is not there, is not BIDS, or has problems; all of them are listed.
    """
    if config["bids"]:
        _link(config["bids"], RAW)
        return Study(*_stored_index(RAW, config, Path(SCAN_TABLE)))
    from neurobraid.bids.pairing import index_from_table
    from neurobraid.synth.design import scan_dates, scan_table

    if Path(RAW).is_symlink():
        Path(RAW).unlink()
    which = (config["synth"]["size"], config["synth"]["seed"])
    return Study(index_from_table(scan_table(*which), config["index"], scan_dates(*which)))
