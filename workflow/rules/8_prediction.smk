"""Stage prediction: declared models with nested, grouped cross-validation."""

MODEL_RECORDS = {record["name"]: record for record in config["prediction"]["models"]}
# A model reads the fusion table of the study, or the cohort that has no images.
MODEL_TABLES = {
    record["name"]: (
        {
            "features": f"{DERIVATIVES}/cohort/desc-cohort_features.tsv",
            "participants": f"{DERIVATIVES}/cohort/participants.tsv",
            "sessions": [],
        }
        if record["table"] == "cohort"
        else {
            "features": f"{DERIVATIVES}/group/atlas-{record['atlas'] or SEGMENTATIONS[0]}_desc-fusion_features.tsv",
            "participants": (
                f"{RAW}/participants.tsv"
                if BUILTIN or Path(f"{RAW}/participants.tsv").exists()
                else []
            ),
            # a model by visit may have its target, or a covariate, in the sessions tables
            "sessions": [
                str(path)
                for person in PARTICIPANTS
                for path in [Path(RAW, person, f"{person}_sessions.tsv")]
                if record["rows"] == "visit" and not BUILTIN and path.exists()
            ],
        }
    )
    for record in config["prediction"]["models"]
}


rule prediction_model:
    """Fit one declared model: every modality, their fusion and the baselines on the same folds."""
    input:
        features=lookup(dpath="{model}/features", within=MODEL_TABLES),
        participants=lookup(dpath="{model}/participants", within=MODEL_TABLES),
        sessions=lookup(dpath="{model}/sessions", within=MODEL_TABLES),
    output:
        predictions="<derivatives>/group/model-{model}_desc-predictions_predictions.tsv",
        predictions_json="<derivatives>/group/model-{model}_desc-predictions_predictions.json",
        scores="<derivatives>/group/model-{model}_scores.tsv",
        scores_json="<derivatives>/group/model-{model}_scores.json",
        folds="<derivatives>/group/model-{model}_folds.tsv",
        folds_json="<derivatives>/group/model-{model}_folds.json",
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


rule prediction:
    """Fit all declared models."""
    input:
        collect("<derivatives>/group/model-{model}_summary.json", model=MODELS),
