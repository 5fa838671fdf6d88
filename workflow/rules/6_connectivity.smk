# Stage connectivity: regional series without nuisance, matrices, group means.

REST_FILE = "<derivatives>/{visit}/func/{scan}"
REST_REGIONS = f"{REST_FILE}_atlas-{{atlas}}"
REST_MATRIX = f"{REST_REGIONS}_stat-{{measure}}_relmat"
MEAN_MATRIX = "<derivatives>/group/task-{task}_atlas-{atlas}_stat-{measure}_relmat"
GROUP_REGIONS = "<derivatives>/group/task-{task}_atlas-{atlas}"
# strategies are compared on the series before denoising, which are kept only for that
COMPARED = config["connectivity"]["compare_strategies"]
RAW_REGIONS = [f"{REST_REGIONS}_stat-mean_desc-raw_timeseries.tsv"] if COMPARED else []
# what every scan brings to the comparison, by kind, task and atlas
COMPARED_FILES = {
    kind: {
        task: {
            atlas: scans("bold", place(template, atlas=atlas), task=task)
            for atlas in ATLASES
        }
        for task in REST_TASKS
    }
    for kind, template in (
        ("raw", f"{REST_REGIONS}_stat-mean_desc-raw_timeseries.tsv"),
        ("sidecars", f"{REST_REGIONS}_stat-mean_timeseries.json"),
        ("confounds", f"{REST_FILE}_desc-confounds_timeseries.tsv"),
        ("confounds_json", f"{REST_FILE}_desc-confounds_timeseries.json"),
    )
}
# matrices (tsv) and sidecars (json) of all scans, by task and atlas, measure after measure
SCAN_MATRICES = {
    ending: {
        task: {
            atlas: [
                path
                for measure in MEASURES
                for path in scans(
                    "bold",
                    place(f"{REST_MATRIX}.{ending}", atlas=atlas, measure=measure),
                    task=task,
                )
            ]
            for atlas in ATLASES
        }
        for task in REST_TASKS
    }
    for ending in ("tsv", "json")
}


rule connectivity_timeseries:
    """Extract the mean series of every region of an atlas and remove nuisance and frequencies out of band in one fit."""
    input:
        bold=f"{REST_FILE}_space-{MNI}_desc-preproc_bold.nii.gz",
        metadata=f"{REST_FILE}_space-{MNI}_desc-preproc_bold.json",
        mask=f"{REST_FILE}_space-{MNI}_desc-brain_mask.nii.gz",
        confounds=f"{REST_FILE}_desc-confounds_timeseries.tsv",
        confounds_json=f"{REST_FILE}_desc-confounds_timeseries.json",
        atlas_image=f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg.nii.gz",
        atlas_table=f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg.tsv",
    output:
        timeseries=f"{REST_REGIONS}_stat-mean_timeseries.tsv",
        sidecar=f"{REST_REGIONS}_stat-mean_timeseries.json",
        coverage=f"{REST_REGIONS}_stat-coverage_bold.tsv",
        coverage_json=f"{REST_REGIONS}_stat-coverage_bold.json",
        raw=RAW_REGIONS,
    log:
        "logs/connectivity_timeseries/{visit}/{scan}_atlas-{atlas}.log",
    benchmark:
        "logs/benchmarks/connectivity_timeseries/{visit}/{scan}_atlas-{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(400, 12),
        runtime=30,
    params:
        strategy=lookup(dpath="connectivity/strategy", within=config),
        band_hz=lookup(dpath="connectivity/band_hz", within=config),
        own=lookup(dpath="connectivity/strategies", within=config),
        code=code_digest("connectivity"),
    script:
        "../../scripts/connectivity_timeseries.py"


rule connectivity_matrix:
    """Estimate the region-by-region matrices of one scan."""
    input:
        timeseries=f"{REST_REGIONS}_stat-mean_timeseries.tsv",
        sidecar=f"{REST_REGIONS}_stat-mean_timeseries.json",
        coverage=f"{REST_REGIONS}_stat-coverage_bold.tsv",
    output:
        matrices=collect(f"{REST_MATRIX}.tsv", measure=MEASURES, allow_missing=True),
        sidecars=collect(f"{REST_MATRIX}.json", measure=MEASURES, allow_missing=True),
    log:
        "logs/connectivity_matrix/{visit}/{scan}_atlas-{atlas}.log",
    benchmark:
        "logs/benchmarks/connectivity_matrix/{visit}/{scan}_atlas-{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=10,
    params:
        measures=MEASURES,
        min_coverage=lookup(dpath="connectivity/min_coverage", within=config),
        code=code_digest("connectivity"),
    script:
        "../../scripts/connectivity_matrix.py"


rule connectivity_group:
    """Average the matrices of a task: scans to participants, participants to the group."""
    input:
        matrices=lookup(dpath="tsv/{task}/{atlas}", within=SCAN_MATRICES),
        sidecars=lookup(dpath="json/{task}/{atlas}", within=SCAN_MATRICES),
    output:
        matrices=collect(f"{MEAN_MATRIX}.tsv", measure=MEASURES, allow_missing=True),
        sidecars=collect(f"{MEAN_MATRIX}.json", measure=MEASURES, allow_missing=True),
    log:
        "logs/connectivity_group/task-{task}_atlas-{atlas}.log",
    benchmark:
        "logs/benchmarks/connectivity_group/task-{task}_atlas-{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=10,
    params:
        measures=MEASURES,
        code=code_digest("connectivity"),
    script:
        "../../scripts/connectivity_group.py"


rule connectivity_strategies:
    """Compare denoising strategies on the scans of a task: motion left in the edges, degrees of freedom, reliability."""
    input:
        raw=lookup(dpath="raw/{task}/{atlas}", within=COMPARED_FILES),
        sidecars=lookup(dpath="sidecars/{task}/{atlas}", within=COMPARED_FILES),
        confounds=lookup(dpath="confounds/{task}/{atlas}", within=COMPARED_FILES),
        confounds_json=lookup(
            dpath="confounds_json/{task}/{atlas}", within=COMPARED_FILES
        ),
        atlas_table=f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg.tsv",
        participants=(
            [f"{RAW}/participants.tsv"]
            if BUILTIN or os.path.exists(f"{RAW}/participants.tsv")
            else []
        ),
    output:
        table=f"{GROUP_REGIONS}_desc-strategies_table.tsv",
        sidecar=f"{GROUP_REGIONS}_desc-strategies_table.json",
        scans=f"{GROUP_REGIONS}_desc-strategyscans_table.tsv",
        edges=f"{GROUP_REGIONS}_desc-strategyedges_table.tsv",
        similarity=f"{GROUP_REGIONS}_desc-strategysimilarity_table.tsv",
    log:
        "logs/connectivity_strategies/task-{task}_atlas-{atlas}.log",
    benchmark:
        "logs/benchmarks/connectivity_strategies/task-{task}_atlas-{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(600, 10),
        runtime=120,
    params:
        strategies=COMPARED,
        own=lookup(dpath="connectivity/strategies", within=config),
        band_hz=lookup(dpath="connectivity/band_hz", within=config),
        code=code_digest("connectivity"),
    script:
        "../../scripts/connectivity_strategies.py"


# region series that another program made: batches of scans, because a job costs three seconds before it does anything
SERIES_BATCHES = {
    f"{NUMBER:03d}": STUDY.series[START : START + 64]
    for NUMBER, START in enumerate(range(0, len(STUDY.series), 64), 1)
}
SERIES_ATLAS = STUDY.series[0]["atlas"] if STUDY.series else ""
SERIES_GROUP = f"<derivatives>/group/atlas-{SERIES_ATLAS}"
SERIES_FILES = {
    batch: [
        f"<derivatives>/{row['participant_id']}/"
        + (f"{row['session_id']}/" if row["session_id"] != "n/a" else "")
        + f"func/{row['scan']}_atlas-{SERIES_ATLAS}"
        for row in rows
    ]
    for batch, rows in SERIES_BATCHES.items()
}
SERIES_STEMS = sum(SERIES_FILES.values(), [])


for BATCH, ROWS in SERIES_BATCHES.items():

    rule:
        """Make the matrices of a batch of adopted region series."""
        name:
            f"connectivity_adopt_{BATCH}"
        input:
            series=[f"derivatives/series/{row['path']}" for row in ROWS],
            beside=[
                f"derivatives/series/{row[kind]}"
                for row in ROWS
                for kind in ("coverage", "outliers", "sidecar")
                if row[kind] != "n/a"
            ],
        output:
            matrices=[
                f"{stem}_stat-{measure}_relmat.tsv"
                for stem in SERIES_FILES[BATCH]
                for measure in MEASURES
            ],
            sidecars=[
                f"{stem}_stat-{measure}_relmat.json"
                for stem in SERIES_FILES[BATCH]
                for measure in MEASURES
            ],
            coverage=[
                f"{stem}_stat-coverage_bold.tsv" for stem in SERIES_FILES[BATCH]
            ],
            table=f"{SERIES_GROUP}_desc-batch{BATCH}_table.tsv",
        log:
            f"logs/connectivity_adopt/batch-{BATCH}.log",
        benchmark:
            f"logs/benchmarks/connectivity_adopt/batch-{BATCH}.tsv"
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(400),
            runtime=30,
        params:
            rows=ROWS,
            paths=[row["path"] for row in STUDY.series],
            measures=MEASURES,
            min_coverage=lookup(dpath="connectivity/min_coverage", within=config),
            code=code_digest("connectivity"),
        script:
            "../../scripts/connectivity_adopt.py"


if STUDY.series:

    rule connectivity_adopted:
        """Average the matrices of adopted region series, and list the series with what became of them."""
        input:
            tables=[f"{SERIES_GROUP}_desc-batch{batch}_table.tsv" for batch in SERIES_BATCHES],
            matrices=[
                f"{stem}_stat-{measure}_relmat.tsv"
                for measure in MEASURES
                for stem in SERIES_STEMS
            ],
        output:
            matrices=[f"{SERIES_GROUP}_stat-{measure}_relmat.tsv" for measure in MEASURES],
            sidecars=[
                f"{SERIES_GROUP}_stat-{measure}_relmat.json" for measure in MEASURES
            ],
            table=f"{SERIES_GROUP}_desc-series_table.tsv",
            coverage=f"{SERIES_GROUP}_stat-coverage_bold.tsv",
        log:
            "logs/connectivity_adopted/series.log",
        benchmark:
            "logs/benchmarks/connectivity_adopted/series.tsv"
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(400),
            runtime=30,
        params:
            measures=MEASURES,
            code=code_digest("connectivity"),
        script:
            "../../scripts/connectivity_adopted.py"


rule connectivity:
    """Make the matrices of every resting scan, and group means."""
    input:
        [
            path
            for by_atlas in SCAN_MATRICES["tsv"].values()
            for path in sum(by_atlas.values(), [])
        ],
        collect(f"{MEAN_MATRIX}.tsv", task=REST_TASKS, atlas=ATLASES, measure=MEASURES),
        collect(
            f"{GROUP_REGIONS}_desc-strategies_table.tsv",
            task=REST_TASKS if COMPARED else [],
            atlas=ATLASES,
        ),
        [f"{SERIES_GROUP}_desc-series_table.tsv"] if STUDY.series else [],
