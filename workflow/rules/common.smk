"""Shared by all rule files, package on the path, checked config, scan table, input functions."""

import collections
import functools
import os
import sys
from pathlib import Path

REPOSITORY = (
    Path(str(workflow.current_basedir.get_path_or_uri(secret_free=True)))
    .resolve()
    .parents[1]
)
SOURCE = REPOSITORY / "src"
sys.path.insert(0, str(SOURCE))
import neurobraid
from neurobraid import jobs
from neurobraid import study as _study

if Path(neurobraid.__file__).resolve().parents[1] != SOURCE:
    raise WorkflowError(
        f"neurobraid was imported from another place than this clone: {neurobraid.__file__}"
    )

jobs.set_environment(SOURCE)

RAW, DERIVATIVES = "bids", "results/derivatives"
INDEX, REPORTS = "results/index", "results/reports"
MNI = "MNI152NLin2009aSym"


def checked(make, *arguments):
    """Call a function of the package; its input errors end the run with their own words, no traceback."""
    try:
        return make(*arguments)
    except (_study.InputError, _study.InputErrors) as error:
        raise WorkflowError(str(error))


config = checked(
    _study.check_config, config, REPOSITORY / "workflow/schemas/config.schema.yaml"
)
SERIES_ONLY = bool(config["adopt"]["series"]) and not config["bids"]
BUILTIN = not config["bids"] and not SERIES_ONLY
STUDY = checked(_study.open_study, config)
PARTICIPANTS = STUDY.participants
ATLASES = [record["name"] for record in config["atlases"]]
# segmentation of PET curves that another program made: they have no atlas image
SEGMENTATIONS = STUDY.tables_of(ATLASES)
MEASURES = config["connectivity"]["measures"]
SPACES = config["bold"]["spaces"]
# what is asked of every task: its Stats Model, and the contrasts of participants
STATS_MODELS = checked(_study.stats_models, config, STUDY)
CONTRASTS = {task: plan.person_names for task, plan in STATS_MODELS.items()}
REST_TASKS = [
    task
    for task in config["connectivity"]["tasks"]
    if STUDY.scans_of("bold", task=task)
]
MODELS = [record["name"] for record in config["prediction"]["models"]]


SHOWN_CONFIG = _study.shown_config(config)


def place(template, **wildcards):
    """Fill path roots and the wildcards given; others stay for Snakemake."""
    roots = {"raw": RAW, "derivatives": DERIVATIVES, "index": INDEX, "reports": REPORTS}
    for name, root in roots.items():
        template = template.replace(f"<{name}>", root)
    for name, value in wildcards.items():
        template = template.replace(f"{{{name}}}", str(value))
    return template


def raw(suffix, field="path"):
    """Input function: raw file (or sidecars, events) of the scan in the wildcards; "fieldmap": of its field map."""

    def find(wildcards):
        scan = wildcards.scan
        row = STUDY.fieldmap(scan) if suffix == "fieldmap" else STUDY.row(suffix, scan)
        return [f"{RAW}/{name}" for name in row[field].split(";") if name != "n/a"]

    return find


def anatomy(suffix, ending):
    """Input function: a derivative of the T1w scan that the pairing table gives this scan."""

    def find(wildcards):
        visit, t1w = STUDY.t1w(suffix, wildcards.scan)
        return f"{DERIVATIVES}/{visit}/anat/{t1w}_{ending}"

    return find


def only_if(holds, *templates):
    """Input function: files of the wildcards' scan, none where a test of the study fails."""

    def find(wildcards):
        wanted = templates if holds(wildcards.scan) else ()
        return [place(path, **dict(wildcards)) for path in wanted]

    return find


fieldmap_of = functools.partial(only_if, STUDY.has_fieldmap)
echoes_of = functools.partial(only_if, STUDY.has_echoes)


def sessions_tables(wildcards):
    """Input function: the participant's sessions table and its sidecar, where a dataset has them."""
    folder = Path(RAW, wildcards.visit.split("/")[0])
    found = [folder / f"{folder.name}_sessions.{kind}" for kind in ("tsv", "json")]
    return [str(path) for path in found if not BUILTIN and path.exists()]


def scans(suffix, template, **filters):
    """Fill a template for every analysed scan of a kind, in table order."""
    return [
        place(
            template,
            visit=row.visit,
            scan=row.scan,
            participant=row.participant_id,
            task=row.task,
            events=f"{RAW}/{row.events}",
        )
        for row in STUDY.scans_of(suffix, **filters)
    ]


def pet_scans(template, atlas=None, **only):
    """Fill a template for PET scans (see `Study.pet_rows`) and each of their atlases, or the one given."""
    return [
        place(template, visit=row.visit, scan=row.scan, atlas=name)
        for row in STUDY.pet_rows(**only)
        for name in (STUDY.atlases(row.scan, ATLASES) if "{atlas}" in template else [0])
        if atlas in (None, name)
    ]


def of_scan(template):
    """Input function: a template filled for every atlas of the PET scan in the wildcards."""

    def find(wildcards):
        names = STUDY.atlases(wildcards.scan, ATLASES)
        return [place(template, **dict(wildcards), atlas=name) for name in names]

    return find


def participant_scans(suffix, template, **filters):
    """Input function: a template filled for the scans of the wildcards' participant (and task)."""

    def find(wildcards):
        wanted = {**filters, "participant_id": wildcards.participant}
        if "task" in wildcards.keys():
            wanted["task"] = wildcards.task
        return [
            place(path, **dict(wildcards)) for path in scans(suffix, template, **wanted)
        ]

    return find


def mean_of_sessions(wildcards):
    """Input function: transforms and warps of the mean of a participant's T1w sessions; none for one session."""
    person = STUDY.row("T1w", wildcards.scan)["participant_id"]
    several = len(STUDY.scans_of("T1w", participant_id=person)) > 1
    if not several or config["anat"]["longitudinal"] == "sessionwise":
        return []
    stem = f"{DERIVATIVES}/{person}/anat/{person}"
    ways = (f"mean_to-{MNI}_mode-image_xfm.h5", f"{MNI}_to-mean_mode-image_xfm.h5")
    return [f"{stem}_from-{end}" for end in ("T1w_to-mean_mode-image_xfm.json", *ways)]


def participants_with(suffix, **filters):
    """Participants who have an analysed scan of a kind."""
    found = {row.participant_id for row in STUDY.scans_of(suffix, **filters)}
    return [participant for participant in PARTICIPANTS if participant in found]


def task_record(wildcards):
    """The activation task of the wildcards, as the config declares it."""
    task = getattr(wildcards, "task", None) or STUDY.row("bold", wildcards.scan)["task"]
    return next(
        record for record in config["activation"]["tasks"] if record["task"] == task
    )


def group_possible(suffix, task=None, model=None):
    """Whether enough participants have such a scan for a group statistic."""
    filters = {k: v for k, v in (("task", task), ("model", model)) if v}
    return (
        len(participants_with(suffix, **filters))
        >= config["activation"]["group"]["min_participants"]
    )


def group_tasks():
    """Tasks with a group statistic."""
    return [task for task in CONTRASTS if group_possible("bold", model=task)]


def memory(base, per_input=0.0):
    """Memory in MB from a base and the input's size; half as much again at each attempt."""

    def need(wildcards, input, attempt):
        size = input.size_mb if per_input else 0
        return int((base + per_input * size) * (1 + 0.5 * (attempt - 1)))

    return need


def every_stage(wildcards):
    """Input function: what the target rule of each stage asks for."""
    stages = (
        "index",
        "anat",
        "bold",
        "pet",
        "activation",
        "connectivity",
        "fusion",
        "prediction",
        "report",
    )
    if SERIES_ONLY or STUDY.listed:
        # region series alone: their matrices, and models of them
        alone = ("connectivity", "prediction", "report")
        stages = alone if SERIES_ONLY else stages[6:]
    return [path for stage in stages for path in getattr(rules, stage).input]


@functools.cache
def code_digest(stage):
    """Digest of the modules a stage runs: Snakemake itself only watches the script."""
    return jobs.code_digest(REPOSITORY, stage)


onstart:
    jobs.start_plan(
        collections.Counter(
            Path(str(job.rule.script)).stem
            for job in workflow.dag.needrun_jobs()
            if job.rule.script
        )
    )
