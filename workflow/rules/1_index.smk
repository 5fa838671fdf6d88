"""Stage index: which scans are analysed, whether they are sound, and the atlases."""

ATLAS_RECORDS = {record["name"]: record for record in config["atlases"]}
ATLAS_FILES = {
    record["name"]: {
        key: [record[key]] for key in ("image", "table") if record["kind"] == "files"
    }
    for record in config["atlases"]
}


rule index_pair:
    """Write the scan table, the pairing with T1w images, who preprocesses what, and the exclusions with their reasons."""
    output:
        scans="<index>/scans.tsv",
        pairing="<index>/pairing.tsv",
        exclusions="<index>/exclusions.tsv",
        preprocessing="<index>/preprocessing.tsv",
        fieldmaps="<index>/fieldmaps.tsv",
        description="<derivatives>/dataset_description.json",
        ignore="<derivatives>/.bidsignore",
    log:
        "logs/index_pair/study.log",
    benchmark:
        "logs/benchmarks/index_pair/study.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=5,
    params:
        tables=STUDY.index.tables(),
        title=lookup(dpath="title", within=config),
        adopted=STUDY.adopted_folders(config),
        code=code_digest("index"),
    script:
        "../../scripts/index_pair.py"


rule index_validate:
    """Read every raw file once; stop with the list of everything that is wrong."""
    input:
        scans="<index>/scans.tsv",
        fieldmaps="<index>/fieldmaps.tsv",
        preprocessing="<index>/preprocessing.tsv",
        description="<raw>/dataset_description.json",
        participants=(
            "<raw>/participants.tsv"
            if BUILTIN or os.path.exists(f"{RAW}/participants.tsv")
            else []
        ),
        raw=STUDY.index.files(RAW),
        pet=STUDY.pet_files(),
    output:
        table="<index>/validation.tsv",
    log:
        "logs/index_validate/study.log",
    benchmark:
        "logs/benchmarks/index_validate/study.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        mem_mb=memory(800),
        runtime=60,
    params:
        options=lookup(dpath="index", within=config),
        event_tasks=[t for t, plan in STATS_MODELS.items() if plan.needs_trial_type],
        given_inputs=STUDY.given_inputs(),
        plasma=STUDY.plasma_models(config),
        adopt=lookup(dpath="adopt", within=SHOWN_CONFIG),
        need_participants=bool(MODELS or config["prediction"]["brain_age"]),
        code=code_digest("index"),
    script:
        "../../scripts/index_validate.py"


rule index_atlas:
    """Bring an atlas to the template grid: built in, the user's files, or fetched by name."""
    input:
        image=lookup(dpath="{atlas}/image", within=ATLAS_FILES, default=[]),
        table=lookup(dpath="{atlas}/table", within=ATLAS_FILES, default=[]),
    output:
        image="<derivatives>/atlases/tpl-MNI152NLin2009aSym_atlas-{atlas}_dseg.nii.gz",
        table="<derivatives>/atlases/tpl-MNI152NLin2009aSym_atlas-{atlas}_dseg.tsv",
        sidecar="<derivatives>/atlases/tpl-MNI152NLin2009aSym_atlas-{atlas}_dseg.json",
    log:
        "logs/index_atlas/{atlas}.log",
    benchmark:
        "logs/benchmarks/index_atlas/{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500),
        runtime=15,
    params:
        record=lookup(dpath="{atlas}", within=ATLAS_RECORDS),
        resolution=2,
        code=code_digest("index"),
    script:
        "../../scripts/index_atlas.py"


rule index:
    """Check the dataset and write its tables and atlases."""
    input:
        "<index>/validation.tsv",
        "<index>/pairing.tsv",
        "<derivatives>/dataset_description.json",
        collect(
            "<derivatives>/atlases/tpl-MNI152NLin2009aSym_atlas-{atlas}_dseg.tsv",
            atlas=ATLASES,
        ),
