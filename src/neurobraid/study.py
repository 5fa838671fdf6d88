"""A study as the workflow sees it: checked config, analysed scans, pairing. Light: no image is opened here."""

import contextlib
import copy
import difflib
import math
import os
import re
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from neurobraid.errors import InputError, InputErrors, Problem, ProblemList
from neurobraid.prediction.declared import contradictions

__all__ = ["InputError", "InputErrors", "Study", "check_config", "open_study", "stats_models"]

CONFIG = "config"
RAW = "bids"
OWN, FMRIPREP = "neurobraid", "derivatives/fmriprep"
#: What is taken over of each folder of ``adopt`` but fMRIPrep's, for errors.
PET_FOLDERS = {"petprep": "PETPrep", "petfit": "PETFit", "tacs": "curves", "bloodstream": "bloodstream"}
PLASMA_MODELS = ("1TCM", "2TCM", "2TCMirr", "Logan", "MA1", "Patlak")
SCAN_TABLE = "config/scans.tsv"
#: In place of an atlas in the file names of a study of tables only.
TABLES = "tables"
#: Learners whose score is a weighted sum of features, and kinds of target: what can be kept without anybody's values.
KEPT_ESTIMATORS = ("ridge", "ridge-logistic", "svm", "elastic-net")
KEPT_KINDS = ("classification", "regression")
#: Keys of `neurobraid.connectivity.denoise.STRATEGIES`, which is not imported where a workflow is only planned.
STRATEGIES = (
    "baseline", "simple", "simple+gsr", "scrubbing.5", "scrubbing.5+gsr", "scrubbing.2", "scrubbing.2+gsr", "compcor",
    "compcor6", "aroma",
)  # fmt: skip


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


def _typed(schema, value):
    """Numbers and booleans that came as text: Snakemake hands nested values of ``--config`` over so."""
    kind = schema.get("type")
    if kind == "object" and isinstance(value, dict):
        inner = schema.get("properties", {})
        return {key: _typed(inner.get(key, {}), item) for key, item in value.items()}
    if kind == "array" and isinstance(value, list):
        return [_typed(schema.get("items", {}), item) for item in value]
    if kind == "boolean" and isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower(), value)
    if kind in ("integer", "number") and isinstance(value, str):
        for read in (int, float)[: 1 if kind == "integer" else 2]:
            with contextlib.suppress(ValueError):
                number = read(value)
                return number if math.isfinite(number) else value
    return value


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
    config = _typed(schema, copy.deepcopy(dict(config)))
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
    for section in ("atlases", "activation.tasks", "fusion.voxelwise", "fusion.latent", "prediction.models",
                    "prediction.outcomes", "prediction.brain_age", "prediction.decoding"):  # fmt: skip
        value = config
        for key in section.split("."):
            value = value[key]
        names = [record.get("name", record.get("task")) for record in value]
        for name in sorted({n for n in names if names.count(n) > 1}):
            problems.add(CONFIG, section, f"{name} twice", "every name once", "rename one of the records")
    named = [{r["name"] for r in config["prediction"][key]} for key in ("models", "outcomes")]
    for name in sorted(named[0] & named[1]):
        problems.add(
            CONFIG, "prediction.outcomes", f"{name}, also a model", "another name", "rename the outcome"
        )
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
    _check_strategies(config["connectivity"], problems)
    _check_series(config, problems)
    for n, record in enumerate(config["fusion"]["latent"]):
        if record["method"] == "pls" and len(record["blocks"]) != 2:
            problems.add(
                CONFIG, f"fusion.latent.{n}.blocks", len(record["blocks"]), "2 blocks for pls", "choose mcca for more"
            )  # fmt: skip
    for record in config["prediction"]["models"]:
        for key, *problem in contradictions(record):
            problems.add(CONFIG, f"prediction.models ({record['name']}).{key}", *problem)
    _check_pet(config["pet"], problems)
    _check_kept_models(config["prediction"]["models"], problems)
    if config["pet"]["pvc"] != "none" and any(config["adopt"][key] for key in ("petprep", "petfit", "tacs")):
        problems.add(
            CONFIG, "pet.pvc", config["pet"]["pvc"], "none, where curves of another program are adopted",
            "curves cannot be corrected without the image: adopt corrected ones (adopt.segmentation, e.g. gtmPvcAGTM)",
        )  # fmt: skip
    problems.raise_errors()
    return config


def stats_models(config, study):
    """Stats Models of the tasks that the study has runs of; the config then states the tasks of the model.

    Parameters
    ----------
    config : dict
        From `check_config`; its ``activation.tasks`` become those of ``activation.model`` where one is given.
    study : Study

    Returns
    -------
    dict of str to neurobraid.activation.statsmodel.Plan
        By task.

    Raises
    ------
    InputError, InputErrors
        A model that is no valid one; all its problems are listed.
    """
    from neurobraid.activation.statsmodel import chosen_runs, plans_of_config, shown_tasks

    # the built-in study is not there yet when its model is read
    known = (lambda task: _conditions(study, task)) if config["bids"] else None
    plans = plans_of_config(config["activation"], known)
    config["activation"]["tasks"] = shown_tasks(plans)
    _check_decoding(config, plans)
    file = Path(config["activation"].get("model") or "config").name
    for task, plan in plans.items():
        rows = chosen_runs(plan, study.scans_of("bold", task=task), file)
        study.modelled[task] = {row.scan for row in rows}
    return {task: plan for task, plan in plans.items() if study.modelled[task]}


def _conditions(study, task):
    """Conditions in the events of all runs of a task, sorted."""
    import pandas as pd

    found = set()
    for row in study.scans_of("bold", task=task):
        path = Path(RAW, row.events)
        if row.events != "n/a" and path.exists():
            table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
            found |= set(table.get("trial_type", [])) - {"", "n/a"}
    return sorted(found)


def _check_decoding(config, tasks):
    """Decoding reads the single trials of tasks that are modelled; and what the schema cannot say of its keys."""
    problems = ProblemList()
    for n, record in enumerate(config["prediction"]["decoding"]):
        where = f"prediction.decoding.{n}"
        if record["task"] not in tasks:
            fix = "add the task to activation.tasks, or correct the name"
            problems.add(CONFIG, f"{where}.task", record["task"], ", ".join(tasks) or "a modelled task", fix)
        if config["activation"]["trials"] == "none":
            problems.add(
                CONFIG,
                "activation.trials",
                "none",
                "lss or lsa",
                "choose one: decoding reads maps of single trials",
            )
        if record["searchlight_mm"] and (record["source"], record["cv"]) != ("maps", "leave-one-run-out"):
            found = f"{record['source']}, {record['cv']}"
            problems.add(
                CONFIG, f"{where}.searchlight_mm", found, "maps, leave-one-run-out", "set searchlight_mm: 0"
            )
        atlases = [a["name"] for a in config["atlases"]]
        if record["atlas"] and record["atlas"] not in atlases:
            problems.add(
                CONFIG, f"{where}.atlas", record["atlas"], ", ".join(atlases), "name an atlas of the config"
            )
        if record["regions"] and record["source"] == "maps" and not record["atlas"]:
            problems.add(
                CONFIG,
                f"{where}.regions",
                record["regions"],
                "empty without an atlas",
                "name the atlas of the regions",
            )
    problems.raise_errors()


def shown_config(config):
    """The config as a report may show it: where the datasets lie is nobody's business."""
    folders = ("fmriprep", "series", *PET_FOLDERS)
    adopt = {**config["adopt"], **{key: Path(config["adopt"][key]).name for key in folders}}
    return {**config, "bids": Path(config["bids"]).name, "adopt": adopt}


def _check_kept_models(records, problems):
    """Models that are kept must come down to weights, and a lockbox stays shut only under a locked plan."""
    for record in records:
        where = f"prediction.models ({record['name']})"
        # a lockbox is opened with the model that is kept: one that cannot be kept would stay shut for ever
        key = next((key for key in ("save", "open_lockbox", "lockbox") if record[key]), None)
        if key:
            off = "0" if key == "lockbox" else "false"
            for field, allowed in (("estimator", KEPT_ESTIMATORS), ("kind", KEPT_KINDS)):
                if record[field] not in allowed:
                    problems.add(
                        CONFIG, f"{where} {field}", f"{record[field]} with {key}: {str(record[key]).lower()}", ", ".join(allowed),
                        f"choose one of them, or {key}: {off}; others would keep training people's values in the file",
                    )  # fmt: skip
            if not {"late", "early"} & set(record["fusion"]) and len(record["features"]) > 1:
                problems.add(
                    CONFIG, f"{where} fusion", record["fusion"], "late or early among them", "add one, to be kept"
                )  # fmt: skip
        if record["lockbox"] and record["profile"] != "confirmatory":
            problems.add(
                CONFIG, f"{where} lockbox", record["lockbox"], "0 in an exploratory model",
                "choose profile: confirmatory; without a locked plan nothing keeps the lockbox shut",
            )  # fmt: skip
        if record["open_lockbox"] and not record["lockbox"]:
            problems.add(
                CONFIG, f"{where} open_lockbox", "true without a lockbox", "a share of people in lockbox",
                "hold people back before the model is run, or remove the key",
            )  # fmt: skip


def _check_strategies(connectivity, problems):
    """Names of denoising strategies: shipped ones and those of the config."""
    own = [record["name"] for record in connectivity["strategies"]]
    known = [*STRATEGIES, *own]
    for name in sorted({n for n in own if own.count(n) > 1 or n in STRATEGIES}):
        problems.add(
            CONFIG, "connectivity.strategies", f"{name} twice", "a name of its own", "rename the strategy"
        )
    asked = {"strategy": [connectivity["strategy"]], "compare_strategies": connectivity["compare_strategies"]}
    for key, names in asked.items():
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                fix = f"did you mean {near[0]}?" if near else "choose one of these or define it in strategies"
                problems.add(CONFIG, f"connectivity.{key}", name, ", ".join(known), fix)
    for n, seed in enumerate(connectivity["seeds"]):
        if ("mm" in seed) == ("region" in seed):
            problems.add(
                CONFIG, f"connectivity.seeds.{n}", sorted(seed), "region or mm, one of them", "give the seed one place"
            )  # fmt: skip
    needing = [name for name in ("graph", "gradients") if name in connectivity["networks"]]
    needing += ["edges"] if connectivity["edges"] else []
    if needing and "pearsoncorrelation" not in connectivity["measures"]:
        problems.add(
            CONFIG, "connectivity.measures", connectivity["measures"], "pearsoncorrelation among them",
            f"add it: {', '.join(needing)} read these matrices",
        )  # fmt: skip
    for section in ("seeds", "edges"):
        names = [record["name"] for record in connectivity[section]]
        for name in sorted({n for n in names if names.count(n) > 1}):
            problems.add(
                CONFIG,
                f"connectivity.{section}",
                f"{name} twice",
                "every name once",
                "rename one of the records",
            )


def _check_series(config, problems):
    """What a study of region series alone can and cannot do."""
    people, alone = config["adopt"]["participants"], config["adopt"]["series"] and not config["bids"]
    if people and not alone:
        problems.add(
            CONFIG, "adopt.participants", people, "empty, but in a study of region series alone",
            "leave it out: the dataset has its own participants.tsv",
        )  # fmt: skip
    if not alone:
        return
    if people and not Path(people).is_file():
        problems.add(
            CONFIG, "adopt.participants", people, "a file below the study folder", "correct the path"
        )
    asked = {
        "connectivity.edges": config["connectivity"]["edges"],
        "prediction.models": config["prediction"]["models"],
    }
    needing = [key for key, records in asked.items() if records]
    if needing and not people:
        problems.add(
            CONFIG, "adopt.participants", "empty", f"participants.tsv, for {' and '.join(needing)}",
            "name the table of the people who are compared",
        )  # fmt: skip
    for key in ("outcomes", "brain_age", "decoding"):
        if config["prediction"][key]:
            problems.add(
                CONFIG, f"prediction.{key}", f"{len(config['prediction'][key])} records", "empty in a study of region series alone",
                "take them out, or declare prediction.models of the series",
            )  # fmt: skip
    for record in config["prediction"]["models"]:
        for one in record["features"]:
            if record["table"] == "study" and not one["series"]:
                problems.add(
                    CONFIG, f"prediction.models ({record['name']}).features ({one['name']})", "no series",
                    "series, in a study of region series alone", "name the atlas of the adopted series",
                )  # fmt: skip
    if "dynamic" in config["connectivity"]["networks"]:
        problems.add(
            CONFIG, "connectivity.networks", "dynamic", "graph, gradients, for series of another program",
            "take dynamic out: whether their volumes follow each other is not known",
        )  # fmt: skip


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
        Analysed scans, pairing, field maps, and exclusions with their reasons.
    warnings : list of neurobraid.errors.Problem
        What is odd about the dataset without stopping it.
    pet : dict
        PET results of other programs that are taken over: see `neurobraid.bids.pet_tables.read_derivatives`; or empty.
    series : list of dict
        Region series that another program made: see `neurobraid.bids.series.find_series`.
    listed : list of str
        People of a study of tables only (``index.tables_only``), as participants.tsv lists them; else empty.
    modelled : dict of str to set of str
        Scans of each task that its Stats Model is for; see `stats_models`.
    """

    index: object
    warnings: list = field(default_factory=list)
    pet: dict = field(default_factory=dict)
    _rows: dict = field(default_factory=dict, repr=False)
    _t1w: dict = field(default_factory=dict, repr=False)
    _adopted: dict = field(default_factory=dict, repr=False)
    _fieldmaps: dict = field(default_factory=dict, repr=False)
    series: list = field(default_factory=list)
    listed: list = field(default_factory=list)
    modelled: dict = field(default_factory=dict)

    def __post_init__(self):
        for row in self.index.scans.itertuples(index=False):
            self._rows[row.suffix, row.scan] = row
        for row in self.index.pairing.itertuples(index=False):
            self._t1w[row.suffix, row.scan] = (row.t1w_visit, row.t1w_scan)
        if getattr(self.index, "preprocessing", None) is not None:
            from neurobraid.bids.fmriprep import files_of

            for row in self.index.preprocessing.itertuples(index=False):
                if row.source != OWN:
                    self._adopted[row.suffix, row.scan] = files_of(row.files)
        if (fieldmaps := getattr(self.index, "fieldmaps", None)) is not None:
            self._fieldmaps.update({row.scan: row for row in fieldmaps.itertuples(index=False)})

    @property
    def participants(self):
        """Analysed participants, ``sub-…``, in table order."""
        return list(dict.fromkeys(row.participant_id for row in self._rows.values()))

    def scans_of(self, suffix, *, model=None, **filters):
        """Rows of the analysed scans of one kind (T1w, bold, pet), filtered by column values; `model`: runs of a task's model."""
        rows = [row for row in self._rows.values() if row.suffix == suffix]
        if model is not None:
            chosen = self.modelled.get(model, ())
            rows = [row for row in rows if row.task == model and row.scan in chosen]
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

    def blood(self, scan):
        """Arterial blood tables of a PET scan, relative to the dataset, each followed by its sidecar.

        None in the built-in study, which has no blood.
        """
        runs = [Path(path) for path in self.row("pet", scan)["path"].split(";")]
        # runs of one injection have blood each, or together
        names = dict.fromkeys([scan, *(run.name.rpartition("_")[0] for run in runs)])
        folder = Path(RAW, runs[0].parent)
        tables = [table for name in names for table in sorted(folder.glob(f"{name}_recording-*_blood.tsv"))]
        sides = [table.with_suffix(".json") for table in tables]
        found = [file for pair in zip(tables, sides, strict=True) for file in pair if file.exists()]
        return [file.relative_to(RAW).as_posix() for file in found]

    def blood_files(self):
        """Input function: `blood` of the scan in the wildcards, relative to the study."""

        def find(wildcards):
            return [f"{RAW}/{path}" for path in self.blood(wildcards.scan)]

        return find

    def given_input(self, scan):
        """Input function of a PET scan that bloodstream made, with its sidecar, relative to the study; or none."""
        return list(self.pet.get("inputs", {}).get(scan, ()))

    def given_input_files(self):
        """Input function: `given_input` of the scan in the wildcards."""

        def find(wildcards):
            return self.given_input(wildcards.scan)

        return find

    def has_input(self, scan):
        """Whether a PET scan has arterial blood or an input function ready made."""
        return bool(self.given_input(scan) or self.blood(scan))

    def given_inputs(self):
        """Analysed PET scans to their `given_input`, those that have one."""
        return {row.scan: given for row in self.scans_of("pet") if (given := self.given_input(row.scan))}

    def plasma_models(self, config):
        """Models of the config that need arterial plasma, where a PET scan has any."""
        if not any(self.has_input(row.scan) for row in self.scans_of("pet")):
            return []
        return [name for name in config["pet"]["models"] if name in PLASMA_MODELS]

    def adopted_folders(self, config):
        """Links in `derivatives` of the folders that are taken over, by key of the config's section ``adopt``."""
        return {key: f"derivatives/{key}" for key in ("fmriprep", *PET_FOLDERS) if config["adopt"][key]}

    @property
    def segmentations(self):
        """Segmentation of the curves that other programs made, in a list; empty where none are adopted."""
        return [name for name in [self.pet.get("segmentation", "")] if name]

    def tables_of(self, atlases):
        """Atlases and segmentations that have a table of features: no atlas where a study has no image."""
        if self.listed:
            return [TABLES]
        imaged = any(suffix != "pet" or self.is_imaged(scan) for suffix, scan in self._rows)
        return list(
            dict.fromkeys([*(atlases if imaged or not self.segmentations else []), *self.segmentations])
        )

    def pet_rows(self, *, imaged=False, blood=False):
        """Rows of the PET scans, on request only of those with curves made here or with arterial blood."""
        return [
            row
            for row in self.scans_of("pet")
            if (self.is_imaged(row.scan) or not imaged) and (self.has_input(row.scan) or not blood)
        ]

    def is_imaged(self, scan):
        """Whether the curves of a PET scan are made here, from its image."""
        return ("pet", scan) not in self._adopted

    def atlases(self, scan, names):
        """Atlases in which a PET scan has curves: those of the study, or the segmentation of the other program."""
        return list(names) if self.is_imaged(scan) else self.segmentations

    def pet_files(self):
        """Every table, sidecar and blood file of PET scans that the validation reads, relative to the study."""
        found = {}
        for row in self.scans_of("pet"):
            given = self.given_input(row.scan) or [f"{RAW}/{path}" for path in self.blood(row.scan)]
            tables = [
                path
                for role, path in self._adopted.get(("pet", row.scan), {}).items()
                if role in ("table", "table_json")
            ]
            found.update(dict.fromkeys([*tables, *given]))
        return list(found)

    def input_function(self, template):
        """Input function: arterial input function and sidecar of the scan in the wildcards; nothing without blood.

        Parameters
        ----------
        template : str
            Path without extension, with ``{visit}`` and ``{scan}``.
        """

        def find(wildcards):
            if not self.has_input(wildcards.scan):
                return []
            path = template.format(visit=wildcards.visit, scan=wildcards.scan)
            return [f"{path}.tsv", f"{path}.json"]

        return find

    def t1w(self, suffix, scan):
        """Visit and scan name of the T1w paired with a scan."""
        self.row(suffix, scan)
        return self._t1w[suffix, scan]

    def has_echoes(self, scan):
        """Whether a BOLD scan is a run of several echoes."""
        return ";" in self.row("bold", scan)["path"]

    def fieldmap(self, scan):
        """How the distortion of a BOLD scan is corrected, as a dict: method, paths, sidecars, reason."""
        self.row("bold", scan)
        return self._fieldmaps[scan]._asdict()

    def distortion_method(self, wildcards):
        """Param function: how the distortion of the BOLD scan in the wildcards is corrected (`lookup` would give a list)."""
        return self.fieldmap(wildcards.scan)["method"]

    def has_fieldmap(self, scan):
        """Whether the distortion of a BOLD scan is corrected, by a field map or by constrained registration."""
        return scan in self._fieldmaps and self._fieldmaps[scan].method != "none"

    def adopted_pattern(self, suffix):
        """Regular expression of the scans of one kind that another program preprocessed; else it matches nothing."""
        return "|".join(re.escape(scan) for kind, scan in self._adopted if kind == suffix) or "(?!)"

    def adopted_files(self, *roles):
        """Input function: files of another program in any of some roles, for the PET scan in the wildcards."""

        def find(wildcards):
            files = self._adopted["pet", wildcards.scan]
            return [files[role] for role in roles if role in files]

        return find

    def all_adopted(self, role):
        """Files of another program in a role, of every PET scan that has one."""
        return [
            files[role] for (suffix, _), files in self._adopted.items() if suffix == "pet" and role in files
        ]

    def adopted_by(self):
        """Input function: who made the curves of the PET scan in the wildcards, in words."""
        from neurobraid.bids.pet_tables import PROGRAMS

        made = {row.scan: row for row in self.index.preprocessing.itertuples() if row.suffix == "pet"}

        def find(wildcards):
            row = made[wildcards.scan]
            return PROGRAMS[row.source] + ("" if row.version == "n/a" else f" {row.version}")

        return find

    def adopted_file(self, suffix, role, *, of_t1w=False):
        """Input function: fMRIPrep's file in a role for the scan in the wildcards.

        Parameters
        ----------
        suffix : {'T1w', 'bold'}
            Kind of the scan in the wildcards.
        role : str
            See `neurobraid.bids.fmriprep`.
        of_t1w : bool
            The file of the T1w that the scan is paired with.

        Returns
        -------
        callable
            Wildcards to a path relative to the study, or to an empty list where fMRIPrep has no such file.
        """

        def find(wildcards):
            kind, scan = ("T1w", self.t1w(suffix, wildcards.scan)[1]) if of_t1w else (suffix, wildcards.scan)
            path = self._adopted[kind, scan].get(role)
            return f"{FMRIPREP}/{path}" if path else []

        return find


def _link(dataset, link, key="bids", what="BIDS"):
    """Reach a dataset by a link inside the study, so that no absolute path enters a rule."""
    target = Path(dataset)
    if not target.is_dir():
        raise InputError(
            CONFIG, key, dataset, f"an existing {what} folder", "correct the path (relative to the study)"
        )
    link = Path(link)
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        if link.resolve() == target.resolve():
            return
        link.unlink()
    elif link.exists():
        if link.resolve() == target.resolve():
            return
        raise InputError(link, "file", "a folder is in the way", "a link to the dataset", "move or remove it")
    # as the user wrote it: a relative path stays relative, so that study and dataset can move together
    seen_from_link = dataset if Path(dataset).is_absolute() else os.path.relpath(dataset, link.parent)
    link.symlink_to(seen_from_link, target_is_directory=True)


def _adopt(config, stored, table):
    """What fMRIPrep's derivatives hold: looked up once, then read from the notes beside the scan table.

    Returns
    -------
    found : dict or None
        From `neurobraid.bids.fmriprep.read_derivatives`; None where nothing is to be adopted.
    looked_up : bool
        The notes are to be written again.
    """
    from neurobraid.bids import fmriprep

    folder = config["adopt"]["fmriprep"]
    if not folder:
        if Path(FMRIPREP).is_symlink():
            Path(FMRIPREP).unlink()
        return None, bool(stored.pop("adopt", None))
    _link(folder, FMRIPREP, "adopt.fmriprep", "fMRIPrep")
    if stored.get("adopt", {}).get("folder") == folder:
        return stored["adopt"], False
    stored["adopt"] = {"folder": folder, **fmriprep.read_derivatives(FMRIPREP, RAW, table)}
    return stored["adopt"], True


def _adopt_pet(config, stored, tree, table):
    """What other programs made of PET: looked up once, then read from the notes beside the scan table.

    Returns
    -------
    found : dict
        From `neurobraid.bids.pet_tables.read_derivatives`; empty where nothing is to be adopted.
    looked_up : bool
        The notes are to be written again.
    """
    from neurobraid.bids import pet_tables

    asked = {key: config["adopt"][key] for key in (*PET_FOLDERS, "segmentation")}
    folders = {}
    for key, program in PET_FOLDERS.items():
        link = pet_tables.LINKS[key]
        if asked[key]:
            _link(asked[key], link, f"adopt.{key}", program)
            folders[key] = link
        elif Path(link).is_symlink():
            Path(link).unlink()
    if not folders:
        return {}, bool(stored.pop("adopt_pet", None))
    if stored.get("adopt_pet", {}).get("asked") == asked:
        return stored["adopt_pet"], False
    tree = tree or _tree()
    found = pet_tables.read_derivatives(folders, tree, table, asked["segmentation"])
    stored["adopt_pet"] = {"asked": asked, **found}
    return stored["adopt_pet"], True


def _tree():
    from neurobraid.bids.table import open_dataset

    return open_dataset(RAW)


def _all_there(preprocessing):
    """Refuse an adopted file that has gone: the scan would silently be preprocessed here instead."""
    from neurobraid.bids.fmriprep import files_of

    problems = ProblemList()
    for row in preprocessing.itertuples(index=False):
        for path in files_of(row.files).values():
            full = path if row.suffix == "pet" else f"{FMRIPREP}/{path}"
            if not Path(full).exists():
                fix = f"restore it, or delete {SCAN_TABLE} to look through the derivatives again"
                problems.add(full, "file", "missing", "the file adopted before", fix)
    problems.raise_errors()


def _index_options(config):
    """What decides which images are read: the section ``index``, and whether T1w runs are averaged."""
    return {**config["index"], "average": config["anat"]["average"]}


def _stored_index(link, config, table_path):
    """Index of a real dataset: made once, then read from the study's own reviewable table."""
    from neurobraid.bids import pairing, pet_tables
    from neurobraid.bids.check import check_structure
    from neurobraid.bids.fieldmaps import find_fieldmaps
    from neurobraid.bids.fmriprep import decide
    from neurobraid.bids.injections import find_injections
    from neurobraid.bids.table import make_table, open_dataset, read_scan_table, scan_rows
    from neurobraid.files import read_json, write_json, write_tsv

    notes = table_path.with_suffix(".json")
    tree, warnings, stored = None, [], {}
    if not (table_path.exists() and notes.exists()):
        tree = open_dataset(link)
        table = make_table(scan_rows(tree))
        tasks = [record["task"] for record in config["activation"]["tasks"]]
        models = bool(config["prediction"]["models"] or config["prediction"]["brain_age"])
        pet, _ = _adopt_pet(config, stored, tree, table)
        problems = check_structure(
            link,
            _index_options(config),
            event_tasks=tasks,
            need_participants=models,
            distortion=config["bold"]["distortion"],
            pet=pet,
        )
        problems.raise_errors()
        dates = {path: day.isoformat() for path, day in pairing.read_dates(link, table).items()}
        others = pairing.unanalysed(tree, set(table["path"]))
        warnings = [vars(problem) for problem in problems.warnings]
        content = {
            "dates": dates,
            "not_analysed": others,
            "fieldmaps": find_fieldmaps(tree, table),
            "injections": find_injections(tree, table),
            "warnings": warnings,
            "bids": config["bids"],
            **stored,
        }
        write_json(content, notes)
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
    found, looked_up = _adopt(config, stored, table)
    pet, looked_up_pet = _adopt_pet(config, stored, tree, table)
    looked_up = looked_up or looked_up_pet
    others = pet_tables.others_left([*stored["not_analysed"], *(found or {}).get("without_raw", [])], pet)
    if "fieldmaps" not in stored:  # indexed by a version that did not read field maps
        stored["fieldmaps"] = find_fieldmaps(open_dataset(link), table)
        looked_up = True
    if "injections" not in stored:  # ... or that did not join PET runs
        stored["injections"] = find_injections(open_dataset(link), table)
        looked_up = True
    index = pairing.index_from_table(
        pet_tables.with_scans(table, pet), _index_options(config), dates, others, stored["fieldmaps"],
        config["bold"]["distortion"], stored["injections"], pet_tables.adopted(pet),
    )  # fmt: skip
    made = pet_tables.decide(decide(index.scans, index.pairing, found), index.scans, pet)
    index = replace(index, preprocessing=made)
    _all_there(index.preprocessing)
    if looked_up:
        write_json(stored, notes)
    warnings = [*stored["warnings"], *(found or {}).get("warnings", [])]
    return index, [Problem(**warning) for warning in warnings], pet


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
        The dataset is not there, is not BIDS, or has problems; all of them are listed. Or the config demands field maps
        (``bold.distortion: fieldmap``) and a run has none.
    """
    from neurobraid.bids.fieldmaps import missing_fieldmaps

    study = _with_series(_open(config), config)
    if config["bold"]["distortion"] == "fieldmap" and (error := missing_fieldmaps(study.index.fieldmaps)):
        raise error
    return study


def _with_series(study, config):
    """The study with the region series of ``adopt.series``."""
    folder = config["adopt"]["series"]
    from neurobraid.bids.series import LINK, find_series

    if not folder:
        if Path(LINK).is_symlink():
            Path(LINK).unlink()
        return study
    _link(folder, LINK, "adopt.series", "region series")
    found = find_series(LINK, config["adopt"]["series_atlas"]).to_dict("records")
    atlas = found[0]["atlas"]
    if atlas in [record["name"] for record in config["atlases"]]:
        raise InputError(
            CONFIG, "atlases", f"{atlas}, which is also the atlas of the adopted series", "another name", "rename the atlas of the config"
        )  # fmt: skip
    return replace(study, series=found)


def _tables_only(config):
    """A study without images: people from participants.tsv, features from the tables of ``fusion.features``."""
    import csv

    from neurobraid.bids.fmriprep import decide
    from neurobraid.bids.pairing import index_from_table
    from neurobraid.bids.table import make_table
    from neurobraid.files import read_json

    problems = ProblemList()
    if not config["bids"]:
        fix = "give the folder, or leave index.tables_only out"
        problems.add(CONFIG, "bids", "empty", "a folder with participants.tsv", fix)
    if not config["fusion"]["features"]:
        fix = "declare the tables; docs/stages.md shows one"
        problems.add(CONFIG, "fusion.features", "empty", "one table or more where there are no images", fix)
    for record in config["fusion"]["features"]:
        beside = Path(record["path"]).with_suffix(".json")
        if beside.is_file() and read_json(beside).get("Regions") == "atlas":
            fix = "list the names of the regions"
            problems.add(beside, "Regions", "atlas", "brain or a list of names: no atlas image is used", fix)
    problems.raise_errors()
    _link(config["bids"], RAW)
    images = sorted(path.name for path in Path(RAW).glob("sub-*") if path.is_dir())
    if images:
        problems.add(
            RAW, "folder", f"{images[0]} and {len(images) - 1} more", "no sub-* in a study of tables only",
            "set index.tables_only: false to analyse the images, or point bids at a folder without",
        )  # fmt: skip
    description = Path(RAW, "dataset_description.json")
    if not description.is_file():
        fix = 'write it; the least is {"Name": "...", "BIDSVersion": "1.8.0"}'
        problems.add(description, "file", "missing", "the description of a dataset", fix)
    table = Path(RAW, "participants.tsv")
    if not table.is_file():
        problems.add(
            table, "file", "missing", "a table with column participant_id", "write one row per participant"
        )
        problems.raise_errors()
    with open(table, encoding="utf-8-sig", newline="") as handle:
        people = [row.get("participant_id") for row in csv.DictReader(handle, delimiter="\t")]
    wrong = [p for p in people if not re.fullmatch(r"sub-[a-zA-Z0-9+]+", p or "")]
    if wrong or not people:
        found = wrong[0] if people else "nobody"
        problems.add(table, "participant_id", found, "sub-<label> in every row", "name the participants")
    for person in (
        sorted({p for p in people if people.count(p) > 1}) if len(set(people)) < len(people) else ()
    ):
        problems.add(
            table, "participant_id", f"{person} twice", "every participant once", "remove the extra row"
        )
    problems.raise_errors()
    index = index_from_table(make_table([]), {**_index_options(config), "participants": [], "exclude": []})
    return Study(replace(index, preprocessing=decide(index.scans, index.pairing)), listed=people)


def _open(config):
    if config["index"]["tables_only"]:
        return _tables_only(config)
    if config["bids"]:
        _link(config["bids"], RAW)
        return Study(*_stored_index(RAW, config, Path(SCAN_TABLE)))
    for key in ("fmriprep", *PET_FOLDERS):
        if config["adopt"][key]:
            raise InputError(
                CONFIG, f"adopt.{key}", config["adopt"][key], "empty for the built-in study",
                "set bids to the raw dataset the derivatives were made from",
            )  # fmt: skip
    from neurobraid.bids.fmriprep import decide
    from neurobraid.bids.pairing import index_from_table

    if config["adopt"]["series"]:
        from neurobraid.bids.table import make_table

        # nothing but region series: no scan is preprocessed here
        index = index_from_table(
            make_table([]), {**_index_options(config), "participants": [], "exclude": []}
        )
        return Study(replace(index, preprocessing=decide(index.scans, index.pairing)))
    from neurobraid.synth.design import scan_dates, scan_table

    if Path(RAW).is_symlink():
        Path(RAW).unlink()
    which = (config["synth"]["size"], config["synth"]["seed"])
    index = index_from_table(scan_table(*which), _index_options(config), scan_dates(*which))
    return Study(replace(index, preprocessing=decide(index.scans, index.pairing)))
