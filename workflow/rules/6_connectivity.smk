# Stage connectivity: regional series without nuisance, matrices, group means.

REST_FILE = "<derivatives>/{visit}/func/{scan}"
REST_REGIONS = f"{REST_FILE}_atlas-{{atlas}}"
REST_MATRIX = f"{REST_REGIONS}_stat-{{measure}}_relmat"
MEAN_MATRIX = "<derivatives>/group/task-{task}_atlas-{atlas}_stat-{measure}_relmat"
GROUP_REGIONS = "<derivatives>/group/task-{task}_atlas-{atlas}"
# whose matrices a group analysis reads: of a task and atlas, or of adopted series, which may have no task
GROUP_NETWORK = "<derivatives>/group/{network}"
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
        ("series", f"{REST_REGIONS}_stat-mean_timeseries.tsv"),
        ("coverage", f"{REST_REGIONS}_stat-coverage_bold.tsv"),
    )
}
REST_SCANS = {
    kind: {task: scans("bold", template, task=task) for task in REST_TASKS}
    for kind, template in (
        ("bold", f"{REST_FILE}_space-{MNI}_desc-preproc_bold.nii.gz"),
        ("metadata", f"{REST_FILE}_space-{MNI}_desc-preproc_bold.json"),
        ("masks", f"{REST_FILE}_space-{MNI}_desc-brain_mask.nii.gz"),
        ("confounds", f"{REST_FILE}_desc-confounds_timeseries.tsv"),
        ("confounds_json", f"{REST_FILE}_desc-confounds_timeseries.json"),
    )
}
MAP_NAMES = [f"stat-{kind}" for kind in config["connectivity"]["maps"]] + [
    f"stat-z_desc-{seed['name']}Seed" for seed in config["connectivity"]["seeds"]
] or ["stat-none"]
FIRST_ATLAS = (ATLASES or ["none"])[0]
EDGE_RECORDS = {record["name"]: record for record in config["connectivity"]["edges"]}
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
NETWORK_KINDS = [
    kind for kind in config["connectivity"]["networks"] if kind != "dynamic"
]
# the table of people who are compared
PEOPLE_TABLE = config["adopt"]["participants"] or f"{RAW}/participants.tsv"
PEARSON_MATRICES, PEARSON_SIDECARS = (
    {
        **{
            f"task-{task}_atlas-{atlas}": scans(
                "bold",
                place(
                    f"{REST_MATRIX}.{ending}",
                    atlas=atlas,
                    measure="pearsoncorrelation",
                ),
                task=task,
            )
            for task in REST_TASKS
            for atlas in ATLASES
        },
        **{
            f"atlas-{SERIES_ATLAS}": [
                f"{stem}_stat-pearsoncorrelation_relmat.{ending}"
                for stem in SERIES_STEMS
            ]
            for _ in STUDY.series[:1]
            if "pearsoncorrelation" in MEASURES
        },
    }
    for ending in ("tsv", "json")
)
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
        coverage=lookup(dpath="coverage/{task}/{atlas}", within=COMPARED_FILES),
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
        min_coverage=lookup(dpath="connectivity/min_coverage", within=config),
        own=lookup(dpath="connectivity/strategies", within=config),
        band_hz=lookup(dpath="connectivity/band_hz", within=config),
        code=code_digest("connectivity"),
    script:
        "../../scripts/connectivity_strategies.py"


rule connectivity_maps:
    """Make the maps of one resting scan by voxel: ReHo, ALFF, fALFF, VMHC, seeds."""
    input:
        bold=f"{REST_FILE}_space-{MNI}_desc-preproc_bold.nii.gz",
        metadata=f"{REST_FILE}_space-{MNI}_desc-preproc_bold.json",
        mask=f"{REST_FILE}_space-{MNI}_desc-brain_mask.nii.gz",
        confounds=f"{REST_FILE}_desc-confounds_timeseries.tsv",
        confounds_json=f"{REST_FILE}_desc-confounds_timeseries.json",
        atlas_image=f"<derivatives>/atlases/tpl-{MNI}_atlas-{FIRST_ATLAS}_dseg.nii.gz",
        atlas_table=f"<derivatives>/atlases/tpl-{MNI}_atlas-{FIRST_ATLAS}_dseg.tsv",
    output:
        maps=[f"{REST_FILE}_space-{MNI}_{name}_boldmap.nii.gz" for name in MAP_NAMES],
        sidecars=[f"{REST_FILE}_space-{MNI}_{name}_boldmap.json" for name in MAP_NAMES],
    log:
        "logs/connectivity_maps/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/connectivity_maps/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(600, 40),
        runtime=60,
    params:
        maps=lookup(dpath="connectivity/maps", within=config),
        seeds=lookup(dpath="connectivity/seeds", within=config),
        smoothing_mm=lookup(dpath="connectivity/maps_smoothing_mm", within=config),
        strategy=lookup(dpath="connectivity/strategy", within=config),
        own=lookup(dpath="connectivity/strategies", within=config),
        band_hz=lookup(dpath="connectivity/band_hz", within=config),
        code=code_digest("connectivity"),
    script:
        "../../scripts/connectivity_maps.py"


rule connectivity_graph:
    """Measure the graphs of every scan and of the group over a range of densities, against networks of the same degrees."""
    input:
        matrices=lookup(dpath="{network}", within=PEARSON_MATRICES),
        group=f"{GROUP_NETWORK}_stat-pearsoncorrelation_relmat.tsv",
    output:
        table=f"{GROUP_NETWORK}_desc-graph_table.tsv",
        nodes=f"{GROUP_NETWORK}_desc-graphnodes_table.tsv",
        sidecar=f"{GROUP_NETWORK}_desc-graph_table.json",
    log:
        "logs/connectivity_graph/{network}.log",
    benchmark:
        "logs/benchmarks/connectivity_graph/{network}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=240,
    params:
        code=code_digest("connectivity"),
    script:
        "../../scripts/connectivity_graph.py"


rule connectivity_gradients:
    """Map the gradients of the group's connectivity and align those of every participant."""
    input:
        matrices=lookup(dpath="{network}", within=PEARSON_MATRICES),
    output:
        group=f"{GROUP_NETWORK}_desc-gradients_table.tsv",
        people=f"{GROUP_NETWORK}_desc-gradientpeople_table.tsv",
        sidecar=f"{GROUP_NETWORK}_desc-gradients_table.json",
    log:
        "logs/connectivity_gradients/{network}.log",
    benchmark:
        "logs/benchmarks/connectivity_gradients/{network}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500, 20),
        runtime=60,
    params:
        code=code_digest("connectivity"),
    script:
        "../../scripts/connectivity_gradients.py"


rule connectivity_dynamic:
    """Measure how connectivity varies over time in every scan, and in stationary surrogates of it."""
    input:
        series=lookup(dpath="series/{task}/{atlas}", within=COMPARED_FILES),
        sidecars=lookup(dpath="sidecars/{task}/{atlas}", within=COMPARED_FILES),
        coverage=lookup(dpath="coverage/{task}/{atlas}", within=COMPARED_FILES),
    output:
        table=f"{GROUP_REGIONS}_desc-dynamic_table.tsv",
        states=f"{GROUP_REGIONS}_desc-dynamicstates_table.tsv",
        centers=f"{GROUP_REGIONS}_desc-dynamicedges_table.tsv",
        sidecar=f"{GROUP_REGIONS}_desc-dynamic_table.json",
    log:
        "logs/connectivity_dynamic/task-{task}_atlas-{atlas}.log",
    benchmark:
        "logs/benchmarks/connectivity_dynamic/task-{task}_atlas-{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 40),
        runtime=120,
    params:
        min_coverage=lookup(dpath="connectivity/min_coverage", within=config),
        code=code_digest("connectivity"),
    script:
        "../../scripts/connectivity_dynamic.py"


rule connectivity_components:
    """Decompose the scans of a task into networks, and find each of them again in every scan."""
    input:
        bold=lookup(dpath="bold/{task}", within=REST_SCANS),
        metadata=lookup(dpath="metadata/{task}", within=REST_SCANS),
        masks=lookup(dpath="masks/{task}", within=REST_SCANS),
        confounds=lookup(dpath="confounds/{task}", within=REST_SCANS),
        confounds_json=lookup(dpath="confounds_json/{task}", within=REST_SCANS),
    output:
        maps=f"<derivatives>/group/task-{{task}}_space-{MNI}_desc-components_boldmap.nii.gz",
        sidecar=f"<derivatives>/group/task-{{task}}_space-{MNI}_desc-components_boldmap.json",
        folder=directory("<derivatives>/group/task-{task}_components"),
    log:
        "logs/connectivity_components/task-{task}.log",
    benchmark:
        "logs/benchmarks/connectivity_components/task-{task}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 8),
        runtime=240,
    params:
        components=lookup(dpath="connectivity/components", within=config),
        smoothing_mm=lookup(dpath="connectivity/maps_smoothing_mm", within=config),
        strategy=lookup(dpath="connectivity/strategy", within=config),
        own=lookup(dpath="connectivity/strategies", within=config),
        band_hz=lookup(dpath="connectivity/band_hz", within=config),
        code=code_digest("connectivity"),
    script:
        "../../scripts/connectivity_components.py"


rule connectivity_edges:
    """Compare the edges of all participants: a linear model at every edge, FDR, network-based statistic."""
    input:
        matrices=lookup(dpath="{network}", within=PEARSON_MATRICES),
        sidecars=lookup(dpath="{network}", within=PEARSON_SIDECARS),
        participants=PEOPLE_TABLE,
    output:
        table=f"{GROUP_NETWORK}_contrast-{{contrast}}_desc-edges_table.tsv",
        sidecar=f"{GROUP_NETWORK}_contrast-{{contrast}}_desc-edges_table.json",
    log:
        "logs/connectivity_edges/{network}_contrast-{contrast}.log",
    benchmark:
        "logs/benchmarks/connectivity_edges/{network}_contrast-{contrast}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(600, 10),
        runtime=240,
    params:
        record=lookup(dpath="{contrast}", within=EDGE_RECORDS),
        code=code_digest("connectivity"),
    script:
        "../../scripts/connectivity_edges.py"


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
            coverage=[f"{stem}_stat-coverage_bold.tsv" for stem in SERIES_FILES[BATCH]],
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


rule connectivity_adopt:
    """Make the matrices of every series that another program made."""
    input:
        [f"{SERIES_GROUP}_desc-batch{batch}_table.tsv" for batch in SERIES_BATCHES],


if STUDY.series:

    rule connectivity_adopted:
        """Average the matrices of adopted region series, and list the series with what became of them."""
        input:
            tables=[
                f"{SERIES_GROUP}_desc-batch{batch}_table.tsv"
                for batch in SERIES_BATCHES
            ],
            matrices=[
                f"{stem}_stat-{measure}_relmat.tsv"
                for measure in MEASURES
                for stem in SERIES_STEMS
            ],
        output:
            matrices=[
                f"{SERIES_GROUP}_stat-{measure}_relmat.tsv" for measure in MEASURES
            ],
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
        [
            path
            for task in REST_TASKS
            for name in MAP_NAMES
            if name != "stat-none"
            for path in scans(
                "bold", f"{REST_FILE}_space-{MNI}_{name}_boldmap.nii.gz", task=task
            )
        ],
        collect(
            f"{GROUP_REGIONS}_desc-dynamic_table.tsv",
            task=REST_TASKS if "dynamic" in config["connectivity"]["networks"] else [],
            atlas=ATLASES,
        ),
        collect(
            f"{GROUP_NETWORK}_desc-{{kind}}_table.tsv",
            network=PEARSON_MATRICES,
            kind=NETWORK_KINDS,
        ),
        collect(
            f"{GROUP_NETWORK}_contrast-{{contrast}}_desc-edges_table.tsv",
            network=PEARSON_MATRICES,
            contrast=EDGE_RECORDS,
        ),
        collect(
            f"<derivatives>/group/task-{{task}}_space-{MNI}_desc-components_boldmap.nii.gz",
            task=REST_TASKS if config["connectivity"]["components"]["number"] else [],
        ),
