# Stage activation: runs, participants, group. Contrasts belong to a task, so every task has its own rules for runs and
# participants (activation_first_level_<task>, activation_fixed_effects_<task>).

STATISTICS = ["effect", "variance", "t", "z"]
F_STATISTICS = ["effect", "variance", "F", "z"]
# of responses with a temporal derivative also the amplitude of the two
T_STATISTICS = {
    task: [*STATISTICS, *(["amplitude"] if plan.boosted else [])]
    for task, plan in STATS_MODELS.items()
}
MODEL_FILE = "<derivatives>/models/task-{task}_smdl.json"
RUN_FILE = "<derivatives>/{visit}/func/{scan}"
# desc-run: with one run and no session the run and the participant would have the same file name
RUN_MAP = f"{RUN_FILE}_space-{MNI}_contrast-{{contrast}}_stat-{{stat}}_desc-run_statmap.nii.gz"
RUN_NOTE = f"{RUN_FILE}_space-{MNI}_contrast-{{contrast}}_desc-run_statmap.json"
RUN_TABLE = f"{RUN_FILE}_atlas-{{atlas}}_stat-effect_desc-run_bold.tsv"
TRIAL_FILES = [
    f"{RUN_FILE}_space-{MNI}_stat-effect_desc-trials_statmap.nii.gz",
    f"{RUN_FILE}_desc-trials_table.tsv",
    f"{RUN_FILE}_desc-trials_table.json",
]
RUN_SCAN = r"sub-[a-zA-Z0-9]+(_ses-[a-zA-Z0-9]+)?_task-{task}(_[a-z]+-[a-zA-Z0-9]+)*"
PERSON_FILE = "<derivatives>/{participant}/func/{participant}_task-{task}"
PERSON_MAP = f"{PERSON_FILE}_space-{MNI}_contrast-{{contrast}}"
PERSON_TABLE = f"{PERSON_FILE}_atlas-{{atlas}}_stat-effect_bold"
SESSION_FILE = (
    "<derivatives>/{participant}/{session}/func/{participant}_{session}_task-{task}"
)
SESSION_MAP = f"{SESSION_FILE}_space-{MNI}_contrast-{{contrast}}"
SESSION_TABLE = f"{SESSION_FILE}_atlas-{{atlas}}_stat-effect_bold"
SURFACE_MAP = "<derivatives>/{participant}/func/{participant}_task-{task}_hemi-{hemi}_space-fsaverage5_contrast-{contrast}_stat-{stat}_statmap.func.gii"
SURFACE_GROUP = "<derivatives>/group/task-{task}_hemi-{hemi}_space-fsaverage5_contrast-{contrast}_stat-{stat}_statmap.func.gii"
SURFACE_INFERENCE = "<derivatives>/group/task-{task}_hemi-{hemi}_space-fsaverage5_contrast-{contrast}_stat-{stat}_desc-inference_statmap.func.gii"
SURFACE_GROUP_NOTE = (
    "<derivatives>/group/task-{task}_space-fsaverage5_contrast-{contrast}_statmap.json"
)
GROUP_FILE = "<derivatives>/group/task-{task}_contrast-{contrast}"
GROUP_MAP = f"<derivatives>/group/task-{{task}}_space-{MNI}_contrast-{{contrast}}"
ATLAS_FILE = f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg"
# runs of the modelled tasks, as far as a model concerns them
MODELLED = [row for task in CONTRASTS for row in STUDY.scans_of("bold", model=task)]
SESSIONS = {
    (row.task, row.participant_id): {
        other.session_id.removeprefix("ses-")
        for other in STUDY.scans_of(
            "bold", model=row.task, participant_id=row.participant_id
        )
    }
    for row in MODELLED
}
# who has every session that a contrast needs, and who lacks one
HAVING = {
    task: {
        contrast: [
            participant
            for participant in participants_with("bold", model=task)
            if set(plan.sessions_needed(contrast)) <= SESSIONS[task, participant]
        ]
        for contrast in plan.person_names
    }
    for task, plan in STATS_MODELS.items()
}
# effect maps of everyone, by task and contrast
PERSON_MAPS = {
    task: {
        contrast: [
            place(
                f"{PERSON_MAP}_stat-effect_statmap.nii.gz",
                participant=participant,
                task=task,
                contrast=contrast,
            )
            for participant in people
        ]
        for contrast, people in having.items()
    }
    for task, having in HAVING.items()
}
DESIGNS = [
    (task, node)
    for task in group_tasks()
    for node in STATS_MODELS[task].designs
    if STATS_MODELS[task].design_contrasts(node)
]
DESIGN_FILE = "<derivatives>/group/task-{task}_model-{design}"
DESIGN_MAP = f"<derivatives>/group/task-{{task}}_space-{MNI}_model-{{design}}_contrast-{{contrast}}_stat-{{stat}}_statmap.nii.gz"
DESIGN_NOTE = f"<derivatives>/group/task-{{task}}_space-{MNI}_model-{{design}}_contrast-{{contrast}}_statmap.json"
DESIGN_CLUSTERS = f"{DESIGN_FILE}_contrast-{{contrast}}_desc-clusters_table.tsv"
DESIGN_NULL = f"<derivatives>/group/task-{{task}}_space-{MNI}_model-{{design}}_contrast-{{contrast}}_stat-count_desc-null{{part}}_statmap.nii.gz"
DESIGN_INFERENCE_MAP = f"<derivatives>/group/task-{{task}}_space-{MNI}_model-{{design}}_contrast-{{contrast}}_stat-{{stat}}_desc-inference_statmap.nii.gz"
DESIGN_INFERENCE_NOTE = f"<derivatives>/group/task-{{task}}_space-{MNI}_model-{{design}}_contrast-{{contrast}}_desc-inference_statmap.json"
DESIGN_INFERENCE = f"{DESIGN_FILE}_contrast-{{contrast}}_desc-inference"
# tests of the designs by full name: the maps, and the node's own name of the contrast
DESIGN_TESTS = {
    task: {
        node["Name"]: {
            name: {
                "maps": PERSON_MAPS[task][effect],
                "node": node,
                "contrast": contrast,
            }
            for effect, contrast, name in STATS_MODELS[task].applied(node)
        }
        for owner, node in DESIGNS
        if owner == task
    }
    for task, _ in DESIGNS
}
GROUP_TABLE = "<derivatives>/group/task-{task}_atlas-{atlas}_stat-effect_bold"
PERSON_TABLES = {
    task: {
        atlas: [
            place(
                f"{PERSON_TABLE}.tsv", participant=participant, task=task, atlas=atlas
            )
            for participant in participants_with("bold", model=task)
        ]
        for atlas in ATLASES
    }
    for task in CONTRASTS
}
INFERENCE = config["activation"]["inference"]
NULL_PARTS = range(
    1, 1 - -INFERENCE["permutations"] // INFERENCE["permutations_per_job"]
)
INFERENCE_MAPS = ["tdp"] + (
    ["tfce", "logpvoxel", "logpmaxt", "logptfce", "logpextent", "logpmass"]
    if NULL_PARTS
    else []
)

# what the sessions of a participant are made of, where a model has a node for them: by task, participant, session
SESSION_RUNS = {
    task: {
        participant: {
            session: {
                **{
                    f"{kind}_{contrast}": scans(
                        "bold",
                        place(template, contrast=contrast, stat=kind),
                        model=task,
                        participant_id=participant,
                        session_id=session,
                    )
                    for contrast in [*plan.t_names, *plan.f_names]
                    for kind, template in (
                        ("effect", RUN_MAP),
                        ("variance", RUN_MAP),
                        ("amplitude", RUN_MAP),
                        ("sidecar", RUN_NOTE),
                    )
                },
                **{
                    f"regions_{atlas}": scans(
                        "bold",
                        place(RUN_TABLE, atlas=atlas),
                        model=task,
                        participant_id=participant,
                        session_id=session,
                    )
                    for atlas in ATLASES
                },
            }
            for session in sorted(
                {
                    row.session_id
                    for row in STUDY.scans_of(
                        "bold", model=task, participant_id=participant
                    )
                }
                - {"n/a"}
            )
        }
        for participant in participants_with("bold", model=task)
    }
    for task, plan in STATS_MODELS.items()
    if plan.sessions
}
# maps of the surface by task, contrast and hemisphere, where the surface is asked for and a group possible
SURFACE_MAPS = {
    task: {
        contrast: {
            hemi: [
                place(
                    SURFACE_MAP,
                    participant=participant,
                    task=task,
                    hemi=hemi,
                    contrast=contrast,
                    stat="effect",
                )
                for participant in participants_with("bold", model=task)
            ]
            for hemi in ("L", "R")
        }
        for contrast in STATS_MODELS[task].t_names
    }
    for task in group_tasks()
    if config["activation"]["surface"]
}


rule activation_model:
    """Check the models against the events of all runs and the participants; store them as BIDS Stats Models."""
    input:
        validated=ancient("<index>/validation.tsv"),
        events=[f"{RAW}/{row.events}" for row in MODELLED if row.events != "n/a"],
        bold=[f"{RAW}/{row.path.split(';')[0]}" for row in MODELLED],
        participants=(
            "<raw>/participants.tsv"
            if BUILTIN or os.path.exists(f"{RAW}/participants.tsv")
            else []
        ),
    output:
        models=[place(MODEL_FILE, task=task) for task in CONTRASTS],
        table="<index>/models.tsv",
    log:
        "logs/activation_model/study.log",
    benchmark:
        "logs/benchmarks/activation_model/study.tsv"
    # before any image is processed: it stops the study with everything that is wrong with its models
    priority: 100
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=20,
    params:
        models={task: plan.model for task, plan in STATS_MODELS.items()},
        runs=[
            (
                row.scan,
                row.task,
                row.participant_id,
                "" if row.events == "n/a" else f"{RAW}/{row.events}",
            )
            for row in MODELLED
        ],
        min_participants=lookup(
            dpath="activation/group/min_participants", within=config
        ),
        code=code_digest("activation"),
    script:
        "../../scripts/activation_model.py"


for TASK, PLAN in STATS_MODELS.items():

    rule:
        """Model one run: maps of every contrast, the design, and effects of every region."""
        name:
            f"activation_first_level_{TASK}"
        input:
            bold=f"{RUN_FILE}_space-{MNI}_desc-preproc_bold.nii.gz",
            metadata=f"{RUN_FILE}_space-{MNI}_desc-preproc_bold.json",
            mask=f"{RUN_FILE}_space-{MNI}_desc-brain_mask.nii.gz",
            confounds=f"{RUN_FILE}_desc-confounds_timeseries.tsv",
            events=raw("bold", "events"),
            checked=ancient(place(MODEL_FILE, task=TASK)),
            atlas_images=collect(f"{ATLAS_FILE}.nii.gz", atlas=ATLASES),
            atlas_tables=collect(f"{ATLAS_FILE}.tsv", atlas=ATLASES),
        output:
            maps=[
                place(RUN_MAP, contrast=c["name"], stat=stat)
                for c in PLAN.contrasts
                for stat in (T_STATISTICS[TASK] if c["test"] == "t" else F_STATISTICS)
            ],
            sidecars=[place(RUN_NOTE, contrast=c["name"]) for c in PLAN.contrasts],
            design=f"{RUN_FILE}_desc-glm_design.tsv",
            design_json=f"{RUN_FILE}_desc-glm_design.json",
            whiteness=f"{RUN_FILE}_desc-whiteness_table.tsv",
            whiteness_json=f"{RUN_FILE}_desc-whiteness_table.json",
            trials=TRIAL_FILES if config["activation"]["trials"] != "none" else [],
            regions=collect(RUN_TABLE, atlas=ATLASES, allow_missing=True),
        log:
            "logs/activation_first_level/{visit}/{scan}.log",
        benchmark:
            "logs/benchmarks/activation_first_level/{visit}/{scan}.tsv"
        wildcard_constraints:
            scan=RUN_SCAN.replace("{task}", TASK),
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(400, 12),
            runtime=60,
        params:
            model=PLAN.run_part,
            atlases=ATLASES,
            noise_model=lookup(dpath="activation/noise_model", within=config),
            high_pass_hz=lookup(dpath="activation/high_pass_hz", within=config),
            smoothing_mm=lookup(dpath="activation/smoothing_mm", within=config),
            drift=lookup(dpath="activation/drift", within=config),
            scrub=lookup(dpath="activation/scrub", within=config),
            trials=lookup(dpath="activation/trials", within=config),
            code=code_digest("activation"),
        script:
            "../../scripts/activation_first_level.py"

    rule:
        """Combine the runs and sessions of one participant."""
        name:
            f"activation_fixed_effects_{TASK}"
        input:
            **{
                f"{stat}_{contrast}": participant_scans(
                    "bold", place(RUN_MAP, contrast=contrast, stat=stat), model=TASK
                )
                for contrast in [*PLAN.t_names, *PLAN.f_names]
                for stat in ("effect", "variance")
            },
            **{
                f"amplitude_{contrast}": participant_scans(
                    "bold",
                    place(RUN_MAP, contrast=contrast, stat="amplitude"),
                    model=TASK,
                )
                for contrast in PLAN.t_names
                if PLAN.boosted
            },
            **{
                f"sidecar_{contrast}": participant_scans(
                    "bold", place(RUN_NOTE, contrast=contrast), model=TASK
                )
                for contrast in [*PLAN.t_names, *PLAN.f_names]
            },
            **{
                f"regions_{atlas}": participant_scans(
                    "bold", place(RUN_TABLE, atlas=atlas), model=TASK
                )
                for atlas in ATLASES
            },
        output:
            maps=[
                *[
                    place(
                        f"{PERSON_MAP}_stat-{stat}_statmap.nii.gz", contrast=contrast
                    )
                    for contrast in PLAN.person_names
                    for stat in (
                        T_STATISTICS[TASK] if contrast in PLAN.t_names else STATISTICS
                    )
                ],
                *collect(
                    f"{PERSON_MAP}_stat-{{stat}}_statmap.nii.gz",
                    contrast=PLAN.f_names,
                    stat=F_STATISTICS,
                    allow_missing=True,
                ),
            ],
            sidecars=collect(
                f"{PERSON_MAP}_statmap.json",
                contrast=[*PLAN.person_names, *PLAN.f_names],
                allow_missing=True,
            ),
            regions=collect(f"{PERSON_TABLE}.tsv", atlas=ATLASES, allow_missing=True),
            region_sidecars=collect(
                f"{PERSON_TABLE}.json", atlas=ATLASES, allow_missing=True
            ),
        log:
            "logs/activation_fixed_effects/{participant}_task-{task}.log",
        benchmark:
            "logs/benchmarks/activation_fixed_effects/{participant}_task-{task}.tsv"
        wildcard_constraints:
            task=TASK,
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(400, 12),
            runtime=20,
        params:
            contrasts=[*PLAN.t_names, *PLAN.f_names],
            between=PLAN.between,
            within_sessions=PLAN.sessions,
            atlases=ATLASES,
            code=code_digest("activation"),
        script:
            "../../scripts/activation_fixed_effects.py"

    rule:
        """Combine the runs of one session of a participant."""
        name:
            f"activation_sessions_{TASK}"
        input:
            **{
                f"{kind}_{contrast}": lookup(
                    dpath=f"{TASK}/{{participant}}/{{session}}/{kind}_{contrast}",
                    within=SESSION_RUNS,
                )
                for contrast in [*PLAN.t_names, *PLAN.f_names]
                for kind in ("effect", "variance", "sidecar", "amplitude")
                if kind != "amplitude" or (PLAN.boosted and contrast in PLAN.t_names)
            },
            **{
                f"regions_{atlas}": lookup(
                    dpath=f"{TASK}/{{participant}}/{{session}}/regions_{atlas}",
                    within=SESSION_RUNS,
                )
                for atlas in ATLASES
            },
        output:
            maps=[
                place(f"{SESSION_MAP}_stat-{stat}_statmap.nii.gz", contrast=contrast)
                for names, stats in (
                    (PLAN.t_names, T_STATISTICS[TASK]),
                    (PLAN.f_names, F_STATISTICS),
                )
                for contrast in names
                for stat in stats
            ],
            sidecars=[
                place(f"{SESSION_MAP}_statmap.json", contrast=contrast)
                for contrast in [*PLAN.t_names, *PLAN.f_names]
            ],
            regions=collect(f"{SESSION_TABLE}.tsv", atlas=ATLASES, allow_missing=True),
            region_sidecars=collect(
                f"{SESSION_TABLE}.json", atlas=ATLASES, allow_missing=True
            ),
        log:
            "logs/activation_sessions/{participant}_{session}_task-{task}.log",
        benchmark:
            "logs/benchmarks/activation_sessions/{participant}_{session}_task-{task}.tsv"
        wildcard_constraints:
            task=TASK,
            participant=r"sub-[a-zA-Z0-9+]+",
            session=r"ses-[a-zA-Z0-9+]+",
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(400, 12),
            runtime=20,
        params:
            contrasts=[*PLAN.t_names, *PLAN.f_names],
            atlases=ATLASES,
            code=code_digest("activation"),
        script:
            "../../scripts/activation_sessions.py"

    rule:
        """Model all runs of one participant on the cortical surface."""
        name:
            f"activation_surface_{TASK}"
        input:
            bold=participant_scans(
                "bold", f"{RUN_FILE}_space-{MNI}_desc-preproc_bold.nii.gz", model=TASK
            ),
            mask=participant_scans(
                "bold", f"{RUN_FILE}_space-{MNI}_desc-brain_mask.nii.gz", model=TASK
            ),
            metadata=participant_scans(
                "bold", f"{RUN_FILE}_space-{MNI}_desc-preproc_bold.json", model=TASK
            ),
            confounds=participant_scans(
                "bold", f"{RUN_FILE}_desc-confounds_timeseries.tsv", model=TASK
            ),
            events=participant_scans("bold", "{events}", model=TASK),
            checked=ancient(place(MODEL_FILE, task=TASK)),
        output:
            maps=collect(
                SURFACE_MAP,
                contrast=PLAN.t_names,
                hemi=["L", "R"],
                stat=STATISTICS,
                allow_missing=True,
            ),
            sidecar=f"{PERSON_FILE}_space-fsaverage5_statmap.json",
        log:
            "logs/activation_surface/{participant}_task-{task}.log",
        benchmark:
            "logs/benchmarks/activation_surface/{participant}_task-{task}.tsv"
        wildcard_constraints:
            task=TASK,
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(800, 12),
            runtime=60,
        params:
            model=PLAN.run_part,
            settings={
                key: config["activation"][key]
                for key in (
                    "noise_model",
                    "high_pass_hz",
                    "smoothing_mm",
                    "drift",
                    "scrub",
                )
            },
            code=code_digest("activation"),
        script:
            "../../scripts/activation_surface.py"


rule activation_permutation:
    """Compute one part of the permutations of a contrast: largest statistics, TFCE, cluster extent and mass."""
    input:
        effect=lookup(dpath="{task}/{contrast}", within=PERSON_MAPS),
        participants=(
            ["<raw>/participants.tsv"]
            if INFERENCE["units"] or INFERENCE["blocks"]
            else []
        ),
    output:
        null=temp(f"{GROUP_FILE}_desc-null{{part}}_permutations.tsv"),
        reached=temp(f"{GROUP_MAP}_stat-count_desc-null{{part}}_statmap.nii.gz"),
        sidecar=temp(f"{GROUP_FILE}_desc-null{{part}}_permutations.json"),
    log:
        "logs/activation_permutation/task-{task}_contrast-{contrast}_part-{part}.log",
    benchmark:
        "logs/benchmarks/activation_permutation/task-{task}_contrast-{contrast}_part-{part}.tsv"
    wildcard_constraints:
        part=r"\d+",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 60),
        runtime=120,
    params:
        settings=lookup(dpath="activation/inference", within=config),
        code=code_digest("activation"),
    script:
        "../../scripts/activation_permutation.py"


rule activation_inference:
    """Hold one group map against every way to control error, side by side, with bounds on what must be true."""
    input:
        effect=lookup(dpath="{task}/{contrast}", within=PERSON_MAPS),
        null=collect(
            f"{GROUP_FILE}_desc-null{{part}}_permutations.tsv",
            part=NULL_PARTS,
            allow_missing=True,
        ),
        reached=collect(
            f"{GROUP_MAP}_stat-count_desc-null{{part}}_statmap.nii.gz",
            part=NULL_PARTS,
            allow_missing=True,
        ),
        notes=collect(
            f"{GROUP_FILE}_desc-null{{part}}_permutations.json",
            part=NULL_PARTS,
            allow_missing=True,
        ),
        atlas_image=place(f"{ATLAS_FILE}.nii.gz", atlas=ATLASES[0]),
        atlas_table=place(f"{ATLAS_FILE}.tsv", atlas=ATLASES[0]),
    output:
        maps=collect(
            f"{GROUP_MAP}_stat-{{stat}}_desc-inference_statmap.nii.gz",
            stat=INFERENCE_MAPS,
            allow_missing=True,
        ),
        sidecar=f"{GROUP_MAP}_desc-inference_statmap.json",
        methods=f"{GROUP_FILE}_desc-inference_methods.tsv",
        clusters=f"{GROUP_FILE}_desc-inference_clusters.tsv",
        summary=f"{GROUP_FILE}_desc-inference_summary.json",
    log:
        "logs/activation_inference/task-{task}_contrast-{contrast}.log",
    benchmark:
        "logs/benchmarks/activation_inference/task-{task}_contrast-{contrast}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 60),
        runtime=30,
    params:
        settings={
            **{
                key: config["activation"]["group"][key]
                for key in ("alpha", "cluster_voxels", "min_participants")
            },
            **{
                key: INFERENCE[key] for key in ("cluster_forming_p", "units", "blocks")
            },
        },
        code=code_digest("activation"),
    script:
        "../../scripts/activation_inference.py"


rule activation_regions:
    """Gather the effects of regions over the participants of a task."""
    input:
        **{
            atlas: lookup(dpath=f"{{task}}/{atlas}", within=PERSON_TABLES)
            for atlas in ATLASES
        },
    output:
        tables=collect(
            f"{GROUP_TABLE}.tsv",
            atlas=ATLASES,
            allow_missing=True,
        ),
        sidecars=collect(
            f"{GROUP_TABLE}.json",
            atlas=ATLASES,
            allow_missing=True,
        ),
    log:
        "logs/activation_regions/task-{task}.log",
    benchmark:
        "logs/benchmarks/activation_regions/task-{task}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=10,
    params:
        atlases=ATLASES,
        min_participants=lookup(
            dpath="activation/group/min_participants", within=config
        ),
        code=code_digest("activation"),
    script:
        "../../scripts/activation_regions.py"


for TASK, NODE in DESIGNS:
    CHOSEN = STATS_MODELS[TASK].design_contrasts(NODE)
    TESTS = STATS_MODELS[TASK].tests(NODE)
    WHICH = f"{TASK}_{NODE['Name']}"

    rule:
        """Estimate one group design for every contrast of participants: maps, clusters, the design itself."""
        name:
            f"activation_design_{WHICH}"
        input:
            **{
                f"{stat}_{contrast}": [
                    path.replace("_stat-effect_", f"_stat-{stat}_")
                    for path in PERSON_MAPS[TASK][contrast]
                ]
                for contrast in CHOSEN
                for stat in ("effect", "variance")
            },
            participants=(
                "<raw>/participants.tsv"
                if BUILTIN or os.path.exists(f"{RAW}/participants.tsv")
                else []
            ),
            atlas_image=place(f"{ATLAS_FILE}.nii.gz", atlas=ATLASES[0]),
            atlas_table=place(f"{ATLAS_FILE}.tsv", atlas=ATLASES[0]),
        output:
            maps=[
                place(DESIGN_MAP, contrast=name, stat=stat)
                for _, name, test in TESTS
                for stat in (STATISTICS if test == "t" else F_STATISTICS)
            ],
            sidecars=[place(DESIGN_NOTE, contrast=name) for _, name, _ in TESTS],
            clusters=[place(DESIGN_CLUSTERS, contrast=name) for _, name, _ in TESTS],
            design=f"{DESIGN_FILE}_desc-group_design.tsv",
            summary=f"{DESIGN_FILE}_desc-group_summary.json",
        log:
            "logs/activation_design/task-{task}_model-{design}.log",
        benchmark:
            "logs/benchmarks/activation_design/task-{task}_model-{design}.tsv"
        wildcard_constraints:
            task=TASK,
            design=NODE["Name"],
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(800, 60),
            runtime=60,
        params:
            node=NODE,
            contrasts=CHOSEN,
            without={
                contrast: [
                    (participant, "lacks a session of the contrast")
                    for participant in participants_with("bold", model=TASK)
                    if participant not in HAVING[TASK][contrast]
                ]
                for contrast in CHOSEN
            },
            settings=lookup(dpath="activation/group", within=config),
            code=code_digest("activation"),
        script:
            "../../scripts/activation_design.py"


rule activation_design_permutation:
    """Compute one part of the permutations of a contrast of a group design: largest statistics, TFCE, cluster extent and mass."""
    input:
        effect=lookup(dpath="{task}/{design}/{contrast}/maps", within=DESIGN_TESTS),
        participants=(
            ["<raw>/participants.tsv"]
            if BUILTIN or os.path.exists(f"{RAW}/participants.tsv")
            else []
        ),
    output:
        null=temp(
            f"{DESIGN_FILE}_contrast-{{contrast}}_desc-null{{part}}_permutations.tsv"
        ),
        reached=temp(DESIGN_NULL),
        sidecar=temp(
            f"{DESIGN_FILE}_contrast-{{contrast}}_desc-null{{part}}_permutations.json"
        ),
    log:
        "logs/activation_design_permutation/task-{task}_model-{design}_contrast-{contrast}_part-{part}.log",
    benchmark:
        "logs/benchmarks/activation_design_permutation/task-{task}_model-{design}_contrast-{contrast}_part-{part}.tsv"
    wildcard_constraints:
        part=r"\d+",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 60),
        runtime=120,
    params:
        test=lookup(dpath="{task}/{design}/{contrast}", within=DESIGN_TESTS),
        settings=lookup(dpath="activation/inference", within=config),
        code=code_digest("activation"),
    script:
        "../../scripts/activation_design_permutation.py"


rule activation_design_inference:
    """Hold one map of a group design against every way to control error, side by side, with bounds on what must be true."""
    input:
        effect=lookup(dpath="{task}/{design}/{contrast}/maps", within=DESIGN_TESTS),
        participants=(
            ["<raw>/participants.tsv"]
            if BUILTIN or os.path.exists(f"{RAW}/participants.tsv")
            else []
        ),
        null=collect(
            f"{DESIGN_FILE}_contrast-{{contrast}}_desc-null{{part}}_permutations.tsv",
            part=NULL_PARTS,
            allow_missing=True,
        ),
        reached=collect(
            DESIGN_NULL,
            part=NULL_PARTS,
            allow_missing=True,
        ),
        notes=collect(
            f"{DESIGN_FILE}_contrast-{{contrast}}_desc-null{{part}}_permutations.json",
            part=NULL_PARTS,
            allow_missing=True,
        ),
        atlas_image=place(f"{ATLAS_FILE}.nii.gz", atlas=ATLASES[0]),
        atlas_table=place(f"{ATLAS_FILE}.tsv", atlas=ATLASES[0]),
    output:
        maps=collect(
            DESIGN_INFERENCE_MAP,
            stat=INFERENCE_MAPS,
            allow_missing=True,
        ),
        sidecar=DESIGN_INFERENCE_NOTE,
        methods=f"{DESIGN_INFERENCE}_methods.tsv",
        clusters=f"{DESIGN_INFERENCE}_clusters.tsv",
        summary=f"{DESIGN_INFERENCE}_summary.json",
    log:
        "logs/activation_design_inference/task-{task}_model-{design}_contrast-{contrast}.log",
    benchmark:
        "logs/benchmarks/activation_design_inference/task-{task}_model-{design}_contrast-{contrast}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 60),
        runtime=30,
    params:
        test=lookup(dpath="{task}/{design}/{contrast}", within=DESIGN_TESTS),
        settings={
            **{
                key: config["activation"]["group"][key]
                for key in ("alpha", "cluster_voxels", "min_participants")
            },
            **{
                key: INFERENCE[key] for key in ("cluster_forming_p", "units", "blocks")
            },
        },
        code=code_digest("activation"),
    script:
        "../../scripts/activation_design_inference.py"


rule activation_group:
    """Test one contrast over participants: maps, thresholds, clusters."""
    input:
        effect=lookup(dpath="{task}/{contrast}", within=PERSON_MAPS),
        atlas_image=place(f"{ATLAS_FILE}.nii.gz", atlas=ATLASES[0]),
        atlas_table=place(f"{ATLAS_FILE}.tsv", atlas=ATLASES[0]),
    output:
        maps=collect(
            f"{GROUP_MAP}_stat-{{stat}}_statmap.nii.gz",
            stat=STATISTICS,
            allow_missing=True,
        ),
        sidecar=f"{GROUP_MAP}_statmap.json",
        clusters=f"{GROUP_FILE}_desc-clusters_table.tsv",
        thresholds=f"{GROUP_FILE}_desc-thresholds_summary.json",
    log:
        "logs/activation_group/task-{task}_contrast-{contrast}.log",
    benchmark:
        "logs/benchmarks/activation_group/task-{task}_contrast-{contrast}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 60),
        runtime=30,
    params:
        settings=lookup(dpath="activation/group", within=config),
        code=code_digest("activation"),
    script:
        "../../scripts/activation_group.py"


rule activation_surface_group:
    """Test one contrast over participants on the cortical surface, both hemispheres as one map."""
    input:
        left=lookup(dpath="{task}/{contrast}/L", within=SURFACE_MAPS),
        right=lookup(dpath="{task}/{contrast}/R", within=SURFACE_MAPS),
        participants=(
            ["<raw>/participants.tsv"]
            if INFERENCE["units"] or INFERENCE["blocks"]
            else []
        ),
    output:
        maps=[
            place(template, hemi=hemi, stat=stat)
            for hemi in ("L", "R")
            for template, stats in (
                (SURFACE_GROUP, STATISTICS),
                (SURFACE_INFERENCE, ["logpmaxt", "logptfce"] if NULL_PARTS else []),
            )
            for stat in stats
        ],
        sidecar=SURFACE_GROUP_NOTE,
    log:
        "logs/activation_surface_group/task-{task}_contrast-{contrast}.log",
    benchmark:
        "logs/benchmarks/activation_surface_group/task-{task}_contrast-{contrast}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 4),
        runtime=120,
    params:
        settings={
            **{
                key: config["activation"]["group"][key]
                for key in ("alpha", "min_participants")
            },
            **{
                key: INFERENCE[key]
                for key in ("permutations", "seed", "units", "blocks")
            },
        },
        code=code_digest("activation"),
    script:
        "../../scripts/activation_surface_group.py"


rule activation_first_level:
    """Model every run of every task."""
    input:
        [
            path
            for task in CONTRASTS
            for path in scans("bold", f"{RUN_FILE}_desc-glm_design.tsv", model=task)
        ],


rule activation_fixed_effects:
    """Combine runs and sessions of every participant and task."""
    input:
        [
            place(
                f"{PERSON_TABLE}.tsv", participant=participant, task=task, atlas=atlas
            )
            for task in CONTRASTS
            for participant in participants_with("bold", model=task)
            for atlas in ATLASES
        ],


rule activation_sessions:
    """Combine the runs of every session, where a model has a node for sessions."""
    input:
        [
            place(
                f"{SESSION_TABLE}.tsv",
                participant=participant,
                session=session,
                task=task,
                atlas=atlas,
            )
            for task, people in SESSION_RUNS.items()
            for participant, sessions in people.items()
            for session in sessions
            for atlas in ATLASES
        ],


rule activation_surface:
    """Model every participant's runs on the cortical surface, where it is asked for."""
    input:
        [
            place(
                f"{PERSON_FILE}_space-fsaverage5_statmap.json",
                participant=participant,
                task=task,
            )
            for task in CONTRASTS
            for participant in participants_with("bold", model=task)
            if config["activation"]["surface"]
        ],


rule activation_design:
    """Estimate every group design of every task."""
    input:
        [
            place(
                f"{DESIGN_FILE}_desc-group_summary.json",
                task=task,
                design=node["Name"],
            )
            for task, node in DESIGNS
        ],


rule activation:
    """Make the maps and region tables of every participant, and group statistics where there are enough people."""
    input:
        rules.activation_fixed_effects.input,
        rules.activation_sessions.input,
        [
            place(path, task=task, contrast=name)
            for task in group_tasks()
            for name in CONTRASTS[task]
            for path in (
                f"{GROUP_FILE}_desc-thresholds_summary.json",
                f"{GROUP_FILE}_desc-inference_summary.json",
            )
        ],
        rules.activation_surface.input,
        [
            place(SURFACE_GROUP_NOTE, task=task, contrast=contrast)
            for task in SURFACE_MAPS
            for contrast in SURFACE_MAPS[task]
        ],
        [
            place(f"{GROUP_TABLE}.tsv", task=task, atlas=atlas)
            for task in group_tasks()
            for atlas in ATLASES
        ],
        rules.activation_design.input,
        [
            place(
                f"{DESIGN_INFERENCE}_summary.json",
                task=task,
                design=node["Name"],
                contrast=name,
            )
            for task, node in DESIGNS
            for name in DESIGN_TESTS[task][node["Name"]]
            if NULL_PARTS
        ],
