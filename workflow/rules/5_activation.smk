# Stage activation: runs, participants, group. Contrasts belong to a task, so every task has its own rules for runs and
# participants (activation_first_level_<task>, activation_fixed_effects_<task>).

STATISTICS = ["effect", "variance", "t", "z"]
RUN_FILE = "<derivatives>/{visit}/func/{scan}"
# desc-run: with one run and no session the run and the participant would have the same file name
RUN_MAP = f"{RUN_FILE}_space-{MNI}_contrast-{{contrast}}_stat-{{stat}}_desc-run_statmap.nii.gz"
RUN_NOTE = f"{RUN_FILE}_space-{MNI}_contrast-{{contrast}}_desc-run_statmap.json"
RUN_TABLE = f"{RUN_FILE}_atlas-{{atlas}}_stat-effect_desc-run_bold.tsv"
RUN_SCAN = r"sub-[a-zA-Z0-9]+(_ses-[a-zA-Z0-9]+)?_task-{task}(_[a-z]+-[a-zA-Z0-9]+)*"
PERSON_FILE = "<derivatives>/{participant}/func/{participant}_task-{task}"
PERSON_MAP = f"{PERSON_FILE}_space-{MNI}_contrast-{{contrast}}"
PERSON_TABLE = f"{PERSON_FILE}_atlas-{{atlas}}_stat-effect_bold"
GROUP_FILE = "<derivatives>/group/task-{task}_contrast-{contrast}"
GROUP_MAP = f"<derivatives>/group/task-{{task}}_space-{MNI}_contrast-{{contrast}}"
ATLAS_FILE = f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg"
TASK_RECORDS = {record["task"]: record for record in config["activation"]["tasks"]}
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
            for participant in participants_with("bold", task=task)
        ]
        for contrast in CONTRASTS[task]
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


for TASK, NAMES in CONTRASTS.items():

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
            atlas_images=collect(f"{ATLAS_FILE}.nii.gz", atlas=ATLASES),
            atlas_tables=collect(f"{ATLAS_FILE}.tsv", atlas=ATLASES),
        output:
            maps=collect(RUN_MAP, contrast=NAMES, stat=STATISTICS, allow_missing=True),
            sidecars=collect(RUN_NOTE, contrast=NAMES, allow_missing=True),
            design=f"{RUN_FILE}_desc-glm_design.tsv",
            design_json=f"{RUN_FILE}_desc-glm_design.json",
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
            contrasts=lookup(dpath=f"{TASK}/contrasts", within=TASK_RECORDS),
            atlases=ATLASES,
            hrf=lookup(dpath="activation/hrf", within=config),
            noise_model=lookup(dpath="activation/noise_model", within=config),
            high_pass_hz=lookup(dpath="activation/high_pass_hz", within=config),
            smoothing_mm=lookup(dpath="activation/smoothing_mm", within=config),
            confounds=lookup(dpath="activation/confounds", within=config),
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
                    "bold", place(RUN_MAP, contrast=contrast, stat=stat)
                )
                for contrast in NAMES
                for stat in ("effect", "variance")
            },
            **{
                f"sidecar_{contrast}": participant_scans(
                    "bold", place(RUN_NOTE, contrast=contrast)
                )
                for contrast in NAMES
            },
            **{
                f"regions_{atlas}": participant_scans(
                    "bold", place(RUN_TABLE, atlas=atlas)
                )
                for atlas in ATLASES
            },
        output:
            maps=collect(
                f"{PERSON_MAP}_stat-{{stat}}_statmap.nii.gz",
                contrast=NAMES,
                stat=STATISTICS,
                allow_missing=True,
            ),
            sidecars=collect(
                f"{PERSON_MAP}_statmap.json", contrast=NAMES, allow_missing=True
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
            contrasts=NAMES,
            atlases=ATLASES,
            code=code_digest("activation"),
        script:
            "../../scripts/activation_fixed_effects.py"


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


rule activation_first_level:
    """Model every run of every task."""
    input:
        [
            path
            for task in CONTRASTS
            for path in scans("bold", f"{RUN_FILE}_desc-glm_design.tsv", task=task)
        ],


rule activation_fixed_effects:
    """Combine runs and sessions of every participant and task."""
    input:
        [
            place(
                f"{PERSON_TABLE}.tsv", participant=participant, task=task, atlas=atlas
            )
            for task in CONTRASTS
            for participant in participants_with("bold", task=task)
            for atlas in ATLASES
        ],


rule activation:
    """Make the maps and region tables of every participant, and group statistics where there are enough people."""
    input:
        rules.activation_fixed_effects.input,
        [
            place(path, task=task, contrast=name)
            for task in group_tasks()
            for name in CONTRASTS[task]
            for path in (
                f"{GROUP_FILE}_desc-thresholds_summary.json",
                f"{GROUP_FILE}_desc-inference_summary.json",
            )
        ],
