"""What is wrong with a study's models, found before any image is processed: events of all runs, and group designs."""

import numpy as np
import pandas as pd

from neurobraid.activation import groupdesign, statsmodel, transforms
from neurobraid.activation.designed import without_sessions
from neurobraid.activation.first_level import contrast_rows
from neurobraid.activation.fixed import sessions_of
from neurobraid.bold import nuisance
from neurobraid.errors import InputError, ProblemList
from neurobraid.files import write_json, write_tsv
from neurobraid.images.io import load
from neurobraid.jobs import log

COLUMNS = ["scan", "task", "volumes", "repetition_time_s", "regressors", "events", "status"]


def placeholder(node, n_volumes):
    """Confounds table with the columns that a run node names, before there is one.

    Parameters
    ----------
    node : dict
    n_volumes : int

    Returns
    -------
    pandas.DataFrame, (n_volumes, columns)
        Noise, so that no column is a combination of others; a wildcard stands for one column.
    """
    steps = (node.get("Transformations") or {}).get("Instructions") or []
    used = [name for s in steps for name in _listed(s.get("Input") or [])]
    names = [entry for entry in [*node["Model"]["X"], *used] if isinstance(entry, str)]
    made = {c for s in steps for c in _listed(s.get("Output") or [])}
    columns = []
    for name in names:
        if name in statsmodel.OPTIONAL or name.startswith(statsmodel.PREFIX) or name in made:
            continue
        if name.startswith(("a_comp_cor", "c_comp_cor", "w_comp_cor", "t_comp_cor")):
            name = name.split("*")[0].split("[")[0].rstrip("0123456789") + "00"
        elif (
            any(c in name for c in "*?[")
            or name.removesuffix("_power2").removesuffix("_derivative1") not in KNOWN_CONFOUNDS
        ):
            continue
        columns.append(name)
    columns = list(dict.fromkeys(columns))
    values = np.random.default_rng(0).standard_normal((n_volumes, len(columns)))
    return pd.DataFrame(values, columns=columns)


KNOWN_CONFOUNDS = (
    *nuisance.MOTION, "csf", "white_matter", "csf_wm", "global_signal", "framewise_displacement", "dvars", "std_dvars",
    "rmsd", "tcompcor",
)  # fmt: skip
"""Columns of a confounds table that are made later; anything else that a model names must be in the events."""


def _listed(value):
    return [value] if isinstance(value, str) else list(value)


def check_run(plan, bold, events, *, high_pass_hz=1 / 128):
    """Build the task part of a run's design and every contrast of it.

    Parameters
    ----------
    plan : statsmodel.Plan
    bold : path-like
        Raw series: number of volumes and repetition time are read from its header.
    events : path-like
    high_pass_hz : float
        Of the config.

    Returns
    -------
    dict
        A row of the table of runs (`COLUMNS`), without scan and status.

    Raises
    ------
    InputError
        What is wrong.
    """
    from neurobraid.activation import design as designs

    image = load(bold)
    n_volumes, tr = image.shape[3], float(image.header.get_zooms()[3])
    node = statsmodel.node_at(plan.model, "run")
    chosen = transforms.settings_of(plan.model, {"high_pass_hz": high_pass_hz, "drift": "cosine"})
    frame_times = np.arange(n_volumes) * tr
    part = transforms.run_model(node, events, placeholder(node, n_volumes), frame_times)
    design, _ = designs.assemble(
        frame_times, part.task, drift=chosen["drift"], high_pass_hz=chosen["high_pass_hz"],
        confounds=part.confounds, intercept=part.intercept,
    )  # fmt: skip
    contrast_rows(design, part.task, plan.contrasts)
    return {
        "task": plan.task, "volumes": n_volumes, "repetition_time_s": round(tr, 6), "regressors": design.shape[1],
        "events": sum(part.task.counts.values()),
    }  # fmt: skip


def check_study(plans, runs, participants=None, *, file="participants.tsv", min_participants=3):
    """Check all models of a study against all its runs and participants.

    Parameters
    ----------
    plans : dict of str to statsmodel.Plan
        By task.
    runs : list of dict
        scan, task, participant_id, bold, events (path or empty).
    participants : path-like, optional
        ``participants.tsv``.
    file : str
        Named in errors.
    min_participants : int
        Fewest for a group statistic.

    Returns
    -------
    table : pandas.DataFrame
        `COLUMNS`, one row per run.
    problems : ProblemList
        Errors, and warnings (mixed repetition times, unusual weights).
    """
    problems, rows = ProblemList(), []
    for run in runs:
        plan = plans[run["task"]]
        row = {"scan": run["scan"], "task": run["task"], "status": "ok"}
        try:
            if not run["events"]:
                raise InputError(
                    run["bold"], "events", "no events file", "an events.tsv beside the run",
                    "add it, or take the task off the models",
                )  # fmt: skip
            row |= check_run(plan, run["bold"], run["events"])
        except InputError as error:
            problems.extend([error.problem])
            row["status"] = str(error.problem)
        rows.append(row)
    table = pd.DataFrame(rows, columns=COLUMNS)
    for task, part in table.groupby("task", sort=True):
        times = sorted(part["repetition_time_s"].dropna().unique())
        if len(times) > 1:
            problems.add(
                "bold", f"RepetitionTime of task {task}", ", ".join(f"{t:g}" for t in times), "one for all runs",
                "nothing to do: every run is modelled with its own", level="warning",
            )  # fmt: skip
    known = groupdesign.read_participants(participants) if participants else pd.DataFrame()
    for plan in plans.values():
        problems.extend(statsmodel.check_model(plan.model, f"model of task {plan.task}").warnings)
        _check_group(
            plan, [r for r in runs if r["task"] == plan.task], known, file, min_participants, problems
        )
    return table, problems


def _check_group(plan, runs, participants, file, min_participants, problems):
    sessions = {}
    for run in runs:
        sessions.setdefault(run["participant_id"], []).extend(sessions_of([run["scan"] + "_bold"]))
    people = list(sessions)
    for record in plan.between:
        lacking = without_sessions(people, sessions, record["weights"])
        for person, reason in lacking:
            problems.add(
                "bold", f"{person}, contrast {record['name']}", reason, "every session of the contrast",
                "nothing to do: left out of the group and listed there", level="warning",
            )  # fmt: skip
        if len(lacking) == len(people):
            problems.add(
                "bold", f"sessions of contrast {record['name']}", "nobody has all of them",
                ", ".join(sorted({s for found in sessions.values() for s in found})),
                "correct the session labels",
            )  # fmt: skip
    for node in plan.designs:
        if len(people) < min_participants:
            problems.add(
                "participants", f"design {node['Name']}", f"{len(people)} participant(s) with task {plan.task}",
                f"{min_participants} or more (activation.group.min_participants)", "leave the design out",
            )  # fmt: skip
            continue
        try:
            design = groupdesign.build(node, participants, people, file=file)
        except InputError as error:
            problems.extend([error.problem])
            continue
        for row in design.missing:
            problems.add(
                file, f"{row['participant_id']}, design {node['Name']}", row["reason"], "a value",
                "add it, or accept that the participant is left out (it is listed)", level="warning",
            )  # fmt: skip


def run(plans, runs, participants, outputs, **settings):
    """Check the models of a study; write them and the table of runs, or stop with everything that is wrong.

    Parameters
    ----------
    plans : dict of str to dict
        Stats Model by task.
    runs : list of dict
        See `check_study`.
    participants : path-like or list of path-like
        ``participants.tsv``, or an empty list.
    outputs : object with attributes models, table
        Models in the order of `plans`.
    **settings
        See `check_study`.
    """
    made = {task: _plan_of(task, model) for task, model in plans.items()}
    path = participants if isinstance(participants, str) else next(iter(participants), None)
    table, problems = check_study(made, runs, path, **settings)
    for problem in problems.warnings:
        log.warning("%s", problem)
    problems.raise_errors()
    for model, path in zip(plans.values(), outputs.models, strict=True):
        write_json(model, path)
    write_tsv(table, outputs.table)


def _plan_of(task, model):
    return next(plan for plan in statsmodel.plans(model) if plan.task == task)
