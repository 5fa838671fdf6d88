"""BIDS Stats Models: reading, checking, and the translation of the short form of the config into one.

A model is a graph of nodes, one per level: run, (session,) subject, dataset. Whatever the user wrote, the workflow executes
such a model; the short form of the config becomes one first. Light: no image and no table is opened here.
"""

import fnmatch
import itertools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from neurobraid.errors import InputError, ProblemList

VERSION = "1.0.0"
TRANSFORMER = "pybids-transforms-v1"
SOFTWARE = "neurobraid"
LEVELS = ("run", "session", "subject", "dataset")
TRANSFORMATIONS = (
    "And", "Assign", "Convolve", "Copy", "Delete", "Demean", "DropNA", "Factor", "Filter", "Group", "Lag", "Not", "Or",
    "Orthogonalize", "Product", "Rename", "Replace", "Resample", "Scale", "Select", "Split", "Sum", "Threshold", "ToDense",
)  # fmt: skip
"""What pybids offers (a test keeps this in step)."""
GROUP_TRANSFORMATIONS = ("Factor", "Demean", "Scale")
"""What the dataset level offers: group labels, centred and standardised covariates."""
PREFIX = "trial_type."
SUM_TOLERANCE = 0.01
"""Part of the weights by which a contrast of both signs may miss 0 (thirds are written with four digits)."""

INPUTS = {"subject": "participant_id", "session": "session_id", "run": "run"}
"""Entities by which Input chooses runs besides the task, and their columns in the table of scans."""

CONFOUND_GROUPS = {
    "motion": ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"),
    "tissue": ("csf", "white_matter"),
}
EXPANSIONS = {
    "": [""],
    "d": ["", "_derivative1"],
    "dq": ["", "_derivative1", "_power2", "_derivative1_power2"],
}
CONFOUNDS = {
    "motion6": ("motion", ""), "motion12": ("motion", "d"), "motion24": ("motion", "dq"), "csfwm": ("tissue", ""),
    "csfwm4": ("tissue", "d"), "csfwm8": ("tissue", "dq"),
}  # fmt: skip
STRATEGIES = {
    "simple": ("motion24", "csfwm"),
    "scrubbing": ("motion24", "csfwm8", "motion_outliers"),
}
"""Named like strategies of nilearn's ``load_confounds_strategy`` (its compcor is motion24 and compcor here); drifts are the
model's own cosines."""
OTHER_GROUPS = {
    "compcor": ["a_comp_cor_*"],
    "compcor6": ["a_comp_cor_0[0-5]"],
    "motion_outliers": ["motion_outlier*"],
    "non_steady_state": ["non_steady_state_outlier*"],
    "global_signal4": [f"global_signal{end}" for end in EXPANSIONS["dq"]],
}
OPTIONAL = ("motion_outlier*", "non_steady_state_outlier*")
"""Columns that a run without such volumes does not have."""


def confound_columns(names):
    """Columns (fMRIPrep's names, with wildcards) of confound strategies, groups or columns.

    Parameters
    ----------
    names : list of str

    Returns
    -------
    list of str

    Examples
    --------
    >>> confound_columns(["motion6", "csf"])[-2:]
    ['rot_z', 'csf']
    """
    out = []
    for name in names:
        if name in STRATEGIES:
            out += confound_columns(STRATEGIES[name])
        elif name in CONFOUNDS:
            source, how = CONFOUNDS[name]
            out += [f"{column}{end}" for end in EXPANSIONS[how] for column in CONFOUND_GROUPS[source]]
        else:
            out += OTHER_GROUPS.get(name, [name])
    return list(dict.fromkeys(out))


def label(name):
    """Contrast name as a BIDS label: letters and digits only.

    Examples
    --------
    >>> label("trial_type.face > house")
    'faceHouse'
    """
    words = re.findall(r"[A-Za-z0-9]+", str(name).removeprefix(PREFIX))
    return words[0] + "".join(w[0].upper() + w[1:] for w in words[1:]) if words else ""


def joined(name, further):
    """Name of a contrast of contrasts: ``left`` and ``postVsPre`` are ``leftPostVsPre``."""
    return name + further[0].upper() + further[1:]


@dataclass(frozen=True)
class Plan:
    """What a model asks of the workflow, for one task.

    Attributes
    ----------
    task : str
    model : dict
        The Stats Model.
    contrasts : list of dict
        Of the run: name, test (t or F), rows (list of dict of condition to weight).
    between : list of dict
        Contrasts between sessions, at the subject level: name and weights by session label. Empty: sessions are averaged.
    sessions : bool
        Whether runs are combined within sessions first.
    designs : list of dict
        Dataset nodes other than the plain mean: name, and the node.
    inputs : dict of str to list of str
        Labels of subjects, sessions and runs that the model is for; an entity that is not named is not filtered.
    """

    task: str
    model: dict
    contrasts: list
    between: list = field(default_factory=list)
    sessions: bool = False
    designs: list = field(default_factory=list)
    inputs: dict = field(default_factory=dict)

    @property
    def t_names(self):
        """Contrasts of the run with one row."""
        return [c["name"] for c in self.contrasts if c["test"] == "t"]

    @property
    def f_names(self):
        """F contrasts of the run."""
        return [c["name"] for c in self.contrasts if c["test"] == "F"]

    @property
    def person_names(self):
        """T contrasts of a participant: those of the run, and each of them between sessions."""
        return self.t_names + [joined(name, b["name"]) for b in self.between for name in self.t_names]

    @property
    def boosted(self):
        """Whether responses are modelled with their temporal derivative, so that an amplitude of the two can be told."""
        steps = (node_at(self.model, "run").get("Transformations") or {}).get("Instructions") or []
        found = [s for s in steps if s.get("Name") == "Convolve"]
        return bool(found) and all(
            not s.get("FirDelays") and "true" in (str(s.get("Derivative")).lower(), str(s.get("Dispersion")).lower())
            for s in found
        )  # fmt: skip

    @property
    def run_part(self):
        """The model as far as a run is concerned: a changed group design must not re-run the first level."""
        nodes = [n for n in self.model["Nodes"] if n["Level"].lower() != "dataset"]
        names = {n["Name"] for n in nodes}
        return {
            "Name": self.model.get("Name", self.task),
            "BIDSModelVersion": self.model.get("BIDSModelVersion", VERSION),
            "Input": {"task": [self.task]},
            "Nodes": [
                n
                if n["Level"].lower() == "run"
                else {"Level": n["Level"], "Name": n["Name"], "Model": {"Type": "meta", "X": [1]}}
                for n in nodes
            ],
            "Edges": [e for e in edges_of(self.model) if {e["Source"], e["Destination"]} <= names],
        }

    @property
    def needs_trial_type(self):
        """Whether the run node reads the column trial_type of the events."""
        node = node_at(self.model, "run")
        return PREFIX.rstrip(".") in json.dumps([node.get("Transformations"), node["Model"]["X"]])

    def tests(self, node):
        """Contrasts of a dataset node applied to those of participants: (contrast, full name, test)."""
        return [
            (name, joined(name, c["name"]), c["test"])
            for name in self.design_contrasts(node)
            for c in contrasts_of(node)
        ]

    def applied(self, node):
        """As `tests`: contrast of participants, the node's own contrast, full name of the two together."""
        return [
            (name, c["name"], joined(name, c["name"]))
            for name in self.design_contrasts(node)
            for c in contrasts_of(node)
        ]

    def sessions_needed(self, name):
        """Weights by session of a contrast of participants; empty for one of the run."""
        found = [b["weights"] for b in self.between for run in self.t_names if joined(run, b["name"]) == name]
        return found[0] if found else {}

    def design_contrasts(self, node):
        """Contrasts of participants that a dataset node tests (its edge may filter them)."""
        return filtered(self.model, node["Name"], self.person_names)


def node_at(model, level):
    """First node of a level, or None."""
    return next((n for n in model["Nodes"] if n["Level"].lower() == level), None)


def edges_of(model):
    """Edges of a model; nodes follow one another if it lists none."""
    if "Edges" in model:
        return model["Edges"]
    names = [node["Name"] for node in model["Nodes"]]
    return [{"Source": a, "Destination": b} for a, b in itertools.pairwise(names)]


def filtered(model, destination, names):
    """Contrasts that reach a node, by the filter of the edge that leads to it."""
    for edge in edges_of(model):
        if edge["Destination"] == destination and "contrast" in (chosen := edge.get("Filter") or {}):
            wanted = chosen["contrast"]
            wanted = {label(name) for name in ([wanted] if isinstance(wanted, str) else wanted)}
            return [name for name in names if name in wanted]
    return list(names)


# ------------------------------------------------------------------------------------------- the short form


def translate(activation, record):
    """Translate the short form of the config into a Stats Model.

    Parameters
    ----------
    activation : dict
        Section ``activation`` of a checked config.
    record : dict
        One of its tasks.

    Returns
    -------
    dict
    """
    shape, *extras = [part.strip() for part in activation["hrf"].split("+")]
    convolve = {"Name": "Convolve", "Input": [f"{PREFIX}*"], "Model": shape}
    convolve |= {extra.capitalize(): True for extra in extras}
    convolve |= {"FirDelays": list(range(activation["fir_delays"]))} if activation.get("fir_delays") else {}
    software = {
        "NoiseModel": activation["noise_model"],
        "SmoothingFWHMmm": activation["smoothing_mm"],
        "Drift": activation.get("drift", "cosine"),
        "Scrub": activation.get("scrub") or None,
    }
    run = {
        "Level": "Run",
        "Name": "run",
        "GroupBy": ["run", "session", "subject"],
        "Transformations": {
            "Transformer": TRANSFORMER,
            "Instructions": [{"Name": "Factor", "Input": ["trial_type"]}, convolve],
        },
        "Model": {
            "Type": "glm",
            "X": [f"{PREFIX}*", *confound_columns(activation["confounds"]), "non_steady_state_outlier*", 1],
            "Options": {"HighPassFilterCutoffHz": activation["high_pass_hz"]},
            "Software": {SOFTWARE: {k: v for k, v in software.items() if v is not None}},
        },
        "Contrasts": [_contrast(c, PREFIX) for c in record["contrasts"]],
    }
    subject = {
        "Level": "Subject",
        "Name": "subject",
        "GroupBy": ["subject", "contrast"],
        "Model": {"Type": "meta", "X": [1]},
        "DummyContrasts": {"Test": "t"},
    }
    between = [
        c for c in activation.get("between_sessions") or [] if c.get("task", record["task"]) == record["task"]
    ]
    if between:
        subject["Transformations"] = {
            "Transformer": TRANSFORMER,
            "Instructions": [{"Name": "Factor", "Input": ["session"]}],
        }
        subject["Model"] = {"Type": "glm", "X": ["session.*"]}
        subject["Contrasts"] = [_contrast(c, "session.") for c in between]
    nodes, edges = [run, subject], [{"Source": "run", "Destination": "subject"}]
    mean = {
        "Level": "Dataset", "Name": "dataset", "GroupBy": ["contrast"], "Model": {"Type": "glm", "X": [1]},
        "DummyContrasts": {"Test": "t"},
    }  # fmt: skip
    nodes.append(mean)
    edges.append({"Source": "subject", "Destination": "dataset"})
    for design in activation.get("designs") or []:
        if design.get("task", record["task"]) != record["task"]:
            continue
        nodes.append(_design(design))
        edge = {"Source": "subject", "Destination": design["name"]}
        if design.get("contrasts"):
            edge["Filter"] = {"contrast": list(design["contrasts"])}
        edges.append(edge)
    return {
        "Name": record["task"],
        "BIDSModelVersion": VERSION,
        "Description": f"Translated from the config of the study (activation, task {record['task']}).",
        "Input": {"task": [record["task"]]},
        "Nodes": nodes,
        "Edges": edges,
    }


def _contrast(record, prefix):
    """Contrast of the short form as one of a node."""
    rows = record["rows"] if record.get("rows") else [record["weights"]]
    names = list(dict.fromkeys(condition for row in rows for condition in row))
    weights = [[row.get(condition, 0) for condition in names] for row in rows]
    test = record.get("test", "F" if record.get("rows") else "t")
    return {
        "Name": record["name"],
        "ConditionList": [f"{prefix}{name}" for name in names],
        "Weights": weights if test == "F" else weights[0],
        "Test": test,
    }


def _design(design):
    """Dataset node of a group design of the short form."""
    group, covariates = design.get("groups"), list(design.get("covariates") or [])
    steps = [{"Name": "Factor", "Input": [group]}] if group else []
    steps += [{"Name": "Demean", "Input": covariates}] if covariates else []
    contrasts = []
    for record in design["tests"]:
        made = _contrast(record, "")
        made["ConditionList"] = [
            name if name in covariates else 1 if name == "mean" and not group else f"{group}.{name}"
            for name in made["ConditionList"]
        ]
        contrasts.append(made)
    return {
        "Level": "Dataset",
        "Name": design["name"],
        "GroupBy": ["contrast"],
        "Transformations": {"Transformer": TRANSFORMER, "Instructions": steps},
        "Model": {
            "Type": "glm",
            "X": [f"{group}.*" if group else 1, *covariates],
            "Software": {SOFTWARE: {"Estimator": design.get("estimator", "ols")}},
        },
        "Contrasts": contrasts,
    }


# ------------------------------------------------------------------------------------------- reading


def with_dummies(model, trial_types):
    """Replace wildcards of the run's dummy contrasts by the conditions that the events have.

    The names of contrasts are names of files, so they must be known before a run is modelled. Wildcards stand for levels of
    ``trial_type`` (after Factor of it); others stay, and the check of the model says so.

    Parameters
    ----------
    model : dict
    trial_types : callable
        Task label to its conditions.

    Returns
    -------
    dict
        The model, or a copy with ``DummyContrasts.Contrasts`` listed.
    """
    try:
        tasks, node = model["Input"]["task"], node_at(model, "run")
        dummy, x, steps = node["DummyContrasts"], node["Model"]["X"], node["Transformations"]["Instructions"]
        patterns = (
            dummy.get("Contrasts")
            or dummy.get("Conditions")
            or [c for c in convolved_columns(node) if c in x]
        )
        factors = [c for s in steps if s["Name"] == "Factor" for c in _listed(s["Input"])]
    except (KeyError, TypeError, AttributeError):
        return model
    if "trial_type" not in factors or not any(_is_pattern(p) and p.startswith(PREFIX) for p in patterns):
        return model
    found = list(dict.fromkeys(name for task in _listed(tasks) for name in trial_types(task)))
    columns = []
    for pattern in patterns:
        if _is_pattern(pattern) and pattern.startswith(PREFIX):
            # nothing matches: the pattern stays and is named by the check
            columns += fnmatch.filter([PREFIX + name for name in found], pattern) or [pattern]
        else:
            columns.append(pattern)
    dummy = {k: v for k, v in dummy.items() if k != "Conditions"} | {
        "Contrasts": list(dict.fromkeys(columns))
    }
    nodes = [n | {"DummyContrasts": dummy} if n is node else n for n in model["Nodes"]]
    return model | {"Nodes": nodes}


def _is_pattern(name):
    return isinstance(name, str) and any(c in name for c in "*?[")


def _listed(value):
    return [value] if isinstance(value, str) else list(value)


def read_model(path, trial_types=None):
    """Read a ``*_smdl.json`` and check it.

    Parameters
    ----------
    path : path-like
    trial_types : callable, optional
        See `plans_of_config`.

    Returns
    -------
    dict

    Raises
    ------
    InputError, InputErrors
        No JSON, or everything that is wrong with the model, at once.
    """
    name = Path(path).name
    try:
        model = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(
            "config", "activation.model", path, "an existing file", "correct the path (relative to the study)"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(name, "content", error, "JSON", "correct the file") from None
    if trial_types is not None:
        model = with_dummies(model, trial_types)
    check_model(model, name).raise_errors()
    return model


def check_model(model, file="model"):
    """Everything that is wrong with a Stats Model as far as the model itself tells.

    Parameters
    ----------
    model : dict
    file : str
        Named in errors.

    Returns
    -------
    ProblemList
        Errors, and warnings for what is only unusual.
    """
    problems = ProblemList()
    if not isinstance(model, dict) or not isinstance(model.get("Nodes"), list) or not model["Nodes"]:
        problems.add(file, "Nodes", "missing", "a list of nodes", "write a BIDS Stats Model")
        return problems
    tasks = (model.get("Input") or {}).get("task")
    if not tasks:
        problems.add(file, "Input.task", "missing", "task labels", "name the tasks that the model is for")
    for key in sorted(set(model.get("Input") or {}) - {"task", *INPUTS}):
        problems.add(
            file, f"Input.{key}", "not supported", ", ".join(("task", *INPUTS)),
            "choose scans by these, or by the section index of the config",
        )  # fmt: skip
    names = [node.get("Name") for node in model["Nodes"]]
    for name in sorted({str(n) for n in names if names.count(n) > 1}):
        problems.add(file, "Nodes.Name", f"{name} twice", "every name once", "rename a node")
    levels = [str(node.get("Level", "")).lower() for node in model["Nodes"]]
    for level, name in zip(levels, names, strict=True):
        if level not in LEVELS:
            problems.add(file, f"{name}.Level", level, ", ".join(LEVELS), "correct the level")
    for level, most in (("run", 1), ("session", 1), ("subject", 1)):
        if levels.count(level) > most or (level == "run" and not levels.count(level)):
            problems.add(
                file, "Nodes", f"{levels.count(level)} of level {level}", "one", "keep one such node"
            )
    for edge in model.get("Edges", []):
        for end in ("Source", "Destination"):
            if edge.get(end) not in names:
                problems.add(
                    file, f"Edges.{end}", edge.get(end), ", ".join(map(str, names)), "name an existing node"
                )
    for node, level in zip(model["Nodes"], levels, strict=True):
        _check_node(node, level, file, problems)
    if not problems.errors:
        _check_names(model, file, problems)
    return problems


def _check_node(node, level, file, problems):
    """Problems of one node."""
    name = node.get("Name", "?")
    content = node.get("Model") or {}
    if content.get("Type") not in ("glm", "meta"):
        problems.add(file, f"{name}.Model.Type", content.get("Type"), "glm, meta", "correct the type")
    if "Formula" in content:
        problems.add(file, f"{name}.Model.Formula", "not supported", "X", "list the columns in X")
    x = content.get("X")
    if not isinstance(x, list) or not x:
        problems.add(file, f"{name}.Model.X", x, "a list of columns", "list the columns of the design")
        return
    steps = node.get("Transformations") or {}
    if steps and steps.get("Transformer") != TRANSFORMER:
        problems.add(
            file, f"{name}.Transformations.Transformer", steps.get("Transformer"), TRANSFORMER, "use this one"
        )
    allowed = TRANSFORMATIONS if level == "run" else GROUP_TRANSFORMATIONS
    for step in steps.get("Instructions") or []:
        if step.get("Name") not in allowed:
            problems.add(
                file, f"{name}.Transformations", step.get("Name"), ", ".join(allowed), "use one of these"
            )
    for contrast in node.get("Contrasts") or []:
        _check_contrast(contrast, name, x, level, file, problems)


def _check_contrast(contrast, node, x, level, file, problems):
    where = f"{node}.Contrasts.{contrast.get('Name', '?')}"
    conditions, weights = contrast.get("ConditionList"), contrast.get("Weights")
    if contrast.get("Test") not in ("t", "F"):
        problems.add(file, f"{where}.Test", contrast.get("Test"), "t, F", "state the test")
        return
    if not label(contrast.get("Name", "")):
        problems.add(file, f"{where}.Name", contrast.get("Name"), "letters and digits", "name the contrast")
        return
    rows = weights if contrast["Test"] == "F" else [weights]
    rows = [rows] if contrast["Test"] == "F" and weights and not isinstance(weights[0], list) else rows
    if not conditions or not rows or any(len(row or ()) != len(conditions) for row in rows):
        problems.add(
            file, f"{where}.Weights", weights, f"{len(conditions or ())} weight(s), one per condition",
            "give ConditionList and Weights of one length",
        )  # fmt: skip
        return
    for condition in conditions:
        if not any(
            condition == entry
            or (
                isinstance(entry, str)
                and isinstance(condition, str)
                and fnmatch.fnmatchcase(condition.split("_delay_")[0], entry)
            )
            for entry in x
        ):
            problems.add(
                file, f"{where}.ConditionList", condition, ", ".join(map(str, x)), "weight columns of X"
            )
    for row in rows:
        row = [_number(w) for w in row]
        if None in row or not any(row):
            problems.add(
                file, f"{where}.Weights", weights, "numbers, one of them not 0", "correct the weights"
            )
            return
        total, size = sum(row), sum(map(abs, row))
        if min(row) < 0 < max(row) and abs(total) > SUM_TOLERANCE * size:
            problems.add(
                file, f"{where}.Weights", f"{weights} (sum {total:g})", "weights of both signs that sum to 0",
                "balance the weights: otherwise the contrast also tests the mean response",
            )  # fmt: skip
        elif contrast["Test"] == "t" and level == "run" and min(row) >= 0 and abs(total - 1) > SUM_TOLERANCE:
            problems.add(
                file, f"{where}.Weights", f"{weights} (sum {total:g})", "a sum of 1",
                f"divide by {total:g} if the effect should be the mean response in percent", level="warning",
            )  # fmt: skip


def _number(value):
    """Weights may be written as fractions (``"1/3"``)."""
    from fractions import Fraction

    try:
        return float(Fraction(value)) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None


def _check_names(model, file, problems):
    """Contrasts whose labels coincide, dummy contrasts that cannot be named before the data are read."""
    for node in model["Nodes"]:
        try:
            names = [c["name"] for c in contrasts_of(node, file)]
        except InputError as error:
            problems.extend([error.problem])
            continue
        for name in sorted({n for n in names if names.count(n) > 1}):
            problems.add(
                file, f"{node['Name']}.Contrasts", f"{name} twice (letters and digits count)",
                "every name once", "rename a contrast",
            )  # fmt: skip
        if node["Level"].lower() == "run" and not names:
            problems.add(file, f"{node['Name']}.Contrasts", "none", "one or more", "add a contrast")


def contrasts_of(node, file="model"):
    """Contrasts of a node, dummy contrasts included.

    Parameters
    ----------
    node : dict
    file : str
        Named in errors.

    Returns
    -------
    list of dict
        name (a BIDS label), test, rows (list of dict of column to weight; ``trial_type.`` is taken off).
    """
    out = []
    for contrast in node.get("Contrasts") or []:
        weights = contrast["Weights"]
        rows = weights if contrast["Test"] == "F" and isinstance(weights[0], list) else [weights]
        names = [str(c).removeprefix(PREFIX) for c in contrast["ConditionList"]]
        rows = [{n: _number(w) for n, w in zip(names, row, strict=True) if _number(w)} for row in rows]
        out.append({"name": label(contrast["Name"]), "test": contrast["Test"], "rows": rows})
    dummy = node.get("DummyContrasts")
    level = node["Level"].lower()
    if dummy and (level == "run" or (level == "dataset" and not is_mean(node))):
        columns = dummy.get("Contrasts") or dummy.get("Conditions")
        if not columns:
            x = node["Model"]["X"]
            columns = [c for c in convolved_columns(node) if c in x] if level == "run" else list(map(str, x))
        open_ones = [c for c in map(str, columns) if _is_pattern(c)]
        if open_ones:
            raise InputError(
                file, f"{node['Name']}.DummyContrasts.Contrasts", ", ".join(open_ones),
                "column names, or wildcards that match conditions of the events (trial_type.*)",
                "list the conditions, or correct the pattern",
            )  # fmt: skip
        for column in columns:
            name = column.removeprefix(PREFIX)
            out.append(
                {
                    "name": "mean" if column == "1" else label(column),
                    "test": dummy.get("Test", "t"),
                    "rows": [{name: 1.0}],
                }
            )
    return out


def convolved_columns(node):
    """Inputs of the node's convolutions."""
    steps = (node.get("Transformations") or {}).get("Instructions") or []
    out = []
    for step in steps:
        if step["Name"] == "Convolve":
            given = step["Input"]
            out += [given] if isinstance(given, str) else given
    return out


def is_mean(node):
    """Whether a node only passes on or averages what reaches it."""
    return node["Model"]["X"] == [1] and not node.get("Contrasts")


def plans(model, file="model"):
    """What a model asks of the workflow, per task.

    Parameters
    ----------
    model : dict
        Checked.
    file : str
        Named in errors.

    Returns
    -------
    list of Plan
    """
    tasks = model["Input"]["task"]
    run, subject = node_at(model, "run"), node_at(model, "subject")
    between = []
    if subject is not None and not is_mean(subject):
        between = [
            {"name": c["name"], "weights": {k.removeprefix("session."): w for k, w in c["rows"][0].items()}}
            for c in contrasts_of(subject, file)
        ]
    contrasts = contrasts_of(run, file)
    reached = subject or node_at(model, "session")
    passed = filtered(model, reached["Name"], [c["name"] for c in contrasts]) if reached else None
    if passed is not None:
        contrasts = [c for c in contrasts if c["name"] in passed]
    designs = [n for n in model["Nodes"] if n["Level"].lower() == "dataset" and not is_mean(n)]
    inputs = {
        key: _labels(model["Input"][key]) for key in INPUTS if model["Input"].get(key) not in (None, [])
    }
    return [
        Plan(task, model, contrasts, between, node_at(model, "session") is not None, designs, inputs)
        for task in ([tasks] if isinstance(tasks, str) else tasks)
    ]


def _labels(given):
    """Labels of an entity as texts without their key: ``sub-01`` and ``01`` are one."""
    given = given if isinstance(given, list) else [given]
    return [re.sub(r"^(sub|ses|run)-", "", str(value)) for value in given]


def same_label(key, wanted, found):
    """Whether a label of Input is that of a scan. Runs may be numbers, as in JSON; other labels are texts.

    Examples
    --------
    >>> same_label("run", "1", "01"), same_label("run", "1", "10"), same_label("subject", "1", "01")
    (True, False, False)
    """
    return wanted == found or (key == "run" and found.isdigit() and wanted == str(int(found)))


def chosen_runs(plan, rows, file="model"):
    """Runs of a task that a model is for.

    Parameters
    ----------
    plan : Plan
    rows : sequence of object with attributes scan, participant_id, session_id, run
        Runs of the plan's task.
    file : str
        Named in errors.

    Returns
    -------
    list
        Of `rows`, in their order.

    Raises
    ------
    InputErrors
        A label that no run of the task has, or no run left; all at once.
    """
    problems, kept = ProblemList(), list(rows)
    for key, wanted in plan.inputs.items():
        column = INPUTS[key]
        labels = {id(row): _labels(getattr(row, column))[0] for row in rows}
        known = sorted(set(labels.values()) - {"n/a"})
        for label_ in wanted:
            if not any(same_label(key, label_, found) for found in known):
                problems.add(
                    file, f"Input.{key}", label_, ", ".join(known) or f"no {key} at all", f"name a {key} of task {plan.task}"
                )  # fmt: skip
        kept = [row for row in kept if any(same_label(key, w, labels[id(row)]) for w in wanted)]
    if rows and not kept and not problems.errors:
        problems.add(
            file, "Input", f"no run of task {plan.task} left", "one or more", "loosen subject, session or run"
        )
    problems.raise_errors()
    return kept


def plans_of_config(activation, trial_types=None):
    """Plans of a study: of its Stats Model, or of the short form translated into one per task.

    Parameters
    ----------
    activation : dict
        Section ``activation`` of a checked config.
    trial_types : callable, optional
        Conditions that the events of a task have, by task; needed for dummy contrasts with wildcards.

    Returns
    -------
    dict of str to Plan
        By task.

    Raises
    ------
    InputError, InputErrors
        The model, or the short form, is wrong; all problems at once.
    """
    if activation.get("model"):
        if activation["tasks"]:
            raise InputError(
                "config", "activation.tasks", "tasks beside a model", "tasks or model",
                "remove activation.tasks: the tasks are those of the model",
            )  # fmt: skip
        path = activation["model"]
        return {plan.task: plan for plan in plans(read_model(path, trial_types), Path(path).name)}
    problems, found = ProblemList(), {}
    for record in activation["tasks"]:
        model = translate(activation, record)
        found_here = check_model(model, f"config: activation, task {record['task']}")
        problems.extend(found_here)
        if not found_here.errors:
            found |= {plan.task: plan for plan in plans(model)}
    problems.raise_errors()
    return found


def shown_tasks(plans):
    """The tasks as the short form would state them, for reports.

    Parameters
    ----------
    plans : dict of str to Plan

    Returns
    -------
    list of dict
        task, contrasts (name and weights; t contrasts of participants).
    """
    out = []
    for plan in plans.values():
        weights = {c["name"]: c["rows"][0] for c in plan.contrasts if c["test"] == "t"}
        weights |= {joined(name, b["name"]): weights[name] for b in plan.between for name in plan.t_names}
        out.append(
            {"task": plan.task, "contrasts": [{"name": n, "weights": weights[n]} for n in plan.person_names]}
        )
    return out
