"""A study as the workflow sees it: checked config, analysed scans, pairing. Light: no image is opened here."""

import copy
import difflib
from dataclasses import dataclass, field
from pathlib import Path

from neurobraid.errors import InputError, InputErrors, ProblemList

__all__ = ["InputError", "InputErrors", "Study", "check_config", "open_study"]

CONFIG = "config"


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
    for error in sorted(Draft202012Validator(schema).iter_errors(config), key=lambda e: list(map(str, e.path))):
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
            allowed = error.message if error.validator != "enum" else ", ".join(map(str, error.validator_value))
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
                problems.add(CONFIG, f"atlases.{n}.{key}", "missing", f"a value for kind {atlas['kind']}", f"add {key}")
    low, high = config["connectivity"]["band_hz"]
    if low >= high:
        problems.add(CONFIG, "connectivity.band_hz", [low, high], "low < high, in Hz", "swap or correct the two")
    start, end = config["pet"]["suvr_window_min"]
    if start >= end:
        problems.add(CONFIG, "pet.suvr_window_min", [start, end], "start < end, in min", "swap or correct the two")
    problems.raise_errors()
    return config


@dataclass(frozen=True)
class Study:
    """Scans of a study and their pairing.

    Attributes
    ----------
    table : pandas.DataFrame
        Every scan of the dataset (columns of `neurobraid.bids.table`).
    pairing : pandas.DataFrame
        T1w scan per BOLD and PET scan.
    exclusions : pandas.DataFrame
        Scans and participants that are not analysed, with the reason.
    """

    table: object
    pairing: object
    exclusions: object
    _rows: dict = field(default_factory=dict, repr=False)
    _t1w: dict = field(default_factory=dict, repr=False)

    def __post_init__(self):
        excluded = set(zip(self.exclusions["suffix"], self.exclusions["scan"], strict=True))
        for row in self.table.itertuples(index=False):
            if (row.suffix, row.scan) not in excluded:
                self._rows[row.suffix, row.scan] = row
        for row in self.pairing.itertuples(index=False):
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
        raise InputError(CONFIG, "bids", dataset, "an existing BIDS folder", "correct the path (relative to the study)")
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
