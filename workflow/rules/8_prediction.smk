"""Stage prediction: declared models with nested, grouped cross-validation."""

MODEL_RECORDS = {record["name"]: record for record in config["prediction"]["models"]}
# A model reads the fusion table of the study, or the cohort that has no images.
MODEL_TABLES = {
    record["name"]: (
        {
            "features": f"{DERIVATIVES}/cohort/desc-cohort_features.tsv",
            "participants": f"{DERIVATIVES}/cohort/participants.tsv",
            "regions": [],
        }
        if record["table"] == "cohort"
        else {
            "features": f"{DERIVATIVES}/group/atlas-{record['atlas'] or SEGMENTATIONS[0]}_desc-fusion_features.tsv",
            "participants": (
                f"{RAW}/participants.tsv"
                if BUILTIN or Path(f"{RAW}/participants.tsv").exists()
                else []
            ),
            "regions": [
                f"{DERIVATIVES}/atlases/tpl-{MNI}_atlas-{atlas}_dseg.tsv"
                for atlas in [record["atlas"] or SEGMENTATIONS[0]]
                if atlas in ATLASES
            ],
        }
    )
    for record in config["prediction"]["models"]
}
# patterns of models whose regions have a place in the brain
MODEL_ATLASES = {
    record["name"]: record["atlas"] or SEGMENTATIONS[0]
    for record in config["prediction"]["models"]
    if record["table"] == "study" and (record["atlas"] or SEGMENTATIONS[0]) in ATLASES
}
MODEL_MAP = (
    f"<derivatives>/group/space-{MNI}_atlas-{{atlas}}_model-{{model}}_desc-pattern"
)
MODEL_REGIONS = (
    "<derivatives>/group/atlas-{atlas}_model-{model}_desc-patternregions_table"
)


rule prediction_model:
    """Fit one declared model: every modality, their fusion and the baselines on the same folds."""
    input:
        features=lookup(dpath="{model}/features", within=MODEL_TABLES),
        participants=lookup(dpath="{model}/participants", within=MODEL_TABLES),
        regions=lookup(dpath="{model}/regions", within=MODEL_TABLES),
    output:
        predictions="<derivatives>/group/model-{model}_desc-predictions_predictions.tsv",
        predictions_json="<derivatives>/group/model-{model}_desc-predictions_predictions.json",
        scores="<derivatives>/group/model-{model}_scores.tsv",
        scores_json="<derivatives>/group/model-{model}_scores.json",
        folds="<derivatives>/group/model-{model}_folds.tsv",
        folds_json="<derivatives>/group/model-{model}_folds.json",
        importance="<derivatives>/group/model-{model}_desc-importance_table.tsv",
        importance_json="<derivatives>/group/model-{model}_desc-importance_table.json",
        pattern="<derivatives>/group/model-{model}_desc-pattern_table.tsv",
        pattern_json="<derivatives>/group/model-{model}_desc-pattern_table.json",
        summary="<derivatives>/group/model-{model}_summary.json",
    log:
        "logs/prediction_model/{model}.log",
    benchmark:
        "logs/benchmarks/prediction_model/{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 20),
        runtime=60,
    params:
        model=lookup(dpath="{model}", within=MODEL_RECORDS),
        general={
            key: config["prediction"][key]
            for key in ("folds", "repeats", "permutations", "seed")
        },
        code=code_digest("prediction"),
    script:
        "../../scripts/prediction_model.py"


rule prediction_map:
    """Paint the pattern of a model, and what each region is worth to it, into the regions of its atlas."""
    input:
        pattern="<derivatives>/group/model-{model}_desc-pattern_table.tsv",
        importance="<derivatives>/group/model-{model}_desc-importance_table.tsv",
        image=f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg.nii.gz",
        regions=f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg.tsv",
    output:
        map=f"{MODEL_MAP}_statmap.nii.gz",
        sidecar=f"{MODEL_MAP}_statmap.json",
        table=f"{MODEL_REGIONS}.tsv",
        table_json=f"{MODEL_REGIONS}.json",
    log:
        "logs/prediction_map/{model}_{atlas}.log",
    benchmark:
        "logs/benchmarks/prediction_map/{model}_{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(600, 20),
        runtime=15,
    params:
        code=code_digest("prediction"),
    script:
        "../../scripts/prediction_map.py"


rule prediction:
    """Fit all declared models."""
    input:
        collect("<derivatives>/group/model-{model}_summary.json", model=MODELS),
        [
            place(f"{MODEL_MAP}_statmap.nii.gz", model=model, atlas=atlas)
            for model, atlas in MODEL_ATLASES.items()
        ],
