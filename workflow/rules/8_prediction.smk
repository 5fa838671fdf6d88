"""Stage prediction: declared models with nested, grouped cross-validation."""

# keeping a model or opening its lockbox changes no cross-validation
MODEL_RECORDS = {
    record["name"]: {
        key: value
        for key, value in record.items()
        if key not in ("save", "open_lockbox", "reopen")
    }
    for record in config["prediction"]["models"]
}
KEPT_RECORDS = {record["name"]: record for record in config["prediction"]["models"]}
GENERAL = {
    key: config["prediction"][key]
    for key in ("folds", "repeats", "permutations", "seed")
}
# A confirmatory model runs as `neurobraid plan` locked it; without a lock its job says so.
PLAN_LOCK = "config/plan.yaml"
LOCKED = PLAN_LOCK if Path(PLAN_LOCK).exists() else []
CONFIRMATORY = [n for n, r in KEPT_RECORDS.items() if r["profile"] == "confirmatory"]
OPENED = [n for n, r in KEPT_RECORDS.items() if r["open_lockbox"]]
KEPT = [n for n, r in KEPT_RECORDS.items() if r["save"] or r["open_lockbox"]]
# A model reads the fusion table of the study, or the cohort that has no images.
MODEL_TABLES = {
    record["name"]: (
        {
            "features": f"{DERIVATIVES}/cohort/desc-cohort_features.tsv",
            "participants": f"{DERIVATIVES}/cohort/participants.tsv",
        }
        if record["table"] == "cohort"
        else {
            "features": f"{DERIVATIVES}/group/atlas-{record['atlas'] or SEGMENTATIONS[0]}_desc-fusion_features.tsv",
            "participants": (
                f"{RAW}/participants.tsv"
                if BUILTIN or Path(f"{RAW}/participants.tsv").exists()
                else []
            ),
        }
    )
    for record in config["prediction"]["models"]
}
for record in config["prediction"]["models"]:
    ATLAS = record["atlas"] or SEGMENTATIONS[0]
    OWN_ATLAS = record["table"] != "cohort" and ATLAS in ATLASES
    MODEL_TABLES[record["name"]] |= {
        "plan": LOCKED if record["profile"] == "confirmatory" else [],
        "atlas": (
            f"{DERIVATIVES}/atlases/tpl-{MNI}_atlas-{ATLAS}_dseg.tsv"
            if OWN_ATLAS
            else []
        ),
    }


rule prediction_plan:
    """Write the plan of a confirmatory model as it is now, which `neurobraid plan` locks."""
    input:
        features=lookup(dpath="{model}/features", within=MODEL_TABLES),
        participants=lookup(dpath="{model}/participants", within=MODEL_TABLES),
    output:
        plan="<derivatives>/group/model-{model}_plan.yaml",
    log:
        "logs/prediction_plan/{model}.log",
    benchmark:
        "logs/benchmarks/prediction_plan/{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500, 10),
        runtime=10,
    params:
        model=lookup(dpath="{model}", within=MODEL_RECORDS),
        general=GENERAL,
        code=code_digest("prediction"),
    script:
        "../../scripts/prediction_plan.py"


rule prediction_plans:
    """Write the plans of all confirmatory models."""
    input:
        collect("<derivatives>/group/model-{model}_plan.yaml", model=CONFIRMATORY),


rule prediction_model:
    """Fit one declared model: every modality, their fusion and the baselines on the same folds."""
    input:
        features=lookup(dpath="{model}/features", within=MODEL_TABLES),
        participants=lookup(dpath="{model}/participants", within=MODEL_TABLES),
        plan=lookup(dpath="{model}/plan", within=MODEL_TABLES),
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
        general=GENERAL,
        code=code_digest("prediction"),
    script:
        "../../scripts/prediction_model.py"


rule prediction_final:
    """Refit a model that is kept on everybody outside the lockbox, and write it in a form that runs nothing."""
    input:
        features=lookup(dpath="{model}/features", within=MODEL_TABLES),
        participants=lookup(dpath="{model}/participants", within=MODEL_TABLES),
        atlas=lookup(dpath="{model}/atlas", within=MODEL_TABLES),
        plan=lookup(dpath="{model}/plan", within=MODEL_TABLES),
        summary="<derivatives>/group/model-{model}_summary.json",
    output:
        model="<derivatives>/group/model-{model}_model.zip",
        model_json="<derivatives>/group/model-{model}_model.json",
    log:
        "logs/prediction_final/{model}.log",
    benchmark:
        "logs/benchmarks/prediction_final/{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 20),
        runtime=30,
    params:
        model=lookup(dpath="{model}", within=MODEL_RECORDS),
        general=GENERAL,
        code=code_digest("prediction"),
    script:
        "../../scripts/prediction_final.py"


rule prediction_lockbox:
    """Apply the model of a locked plan to the people held back; the study keeps the record of every opening."""
    input:
        features=lookup(dpath="{model}/features", within=MODEL_TABLES),
        participants=lookup(dpath="{model}/participants", within=MODEL_TABLES),
        plan=lookup(dpath="{model}/plan", within=MODEL_TABLES),
        summary="<derivatives>/group/model-{model}_summary.json",
        model="<derivatives>/group/model-{model}_model.zip",
    output:
        lockbox="<derivatives>/group/model-{model}_lockbox.json",
        predictions="<derivatives>/group/model-{model}_desc-lockbox_predictions.tsv",
        predictions_json="<derivatives>/group/model-{model}_desc-lockbox_predictions.json",
    log:
        "logs/prediction_lockbox/{model}.log",
    benchmark:
        "logs/benchmarks/prediction_lockbox/{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 10),
        runtime=15,
    params:
        model=lookup(dpath="{model}", within=KEPT_RECORDS),
        general=GENERAL,
        code=code_digest("prediction"),
    script:
        "../../scripts/prediction_lockbox.py"


rule prediction:
    """Fit all declared models, and write those that are kept."""
    input:
        collect("<derivatives>/group/model-{model}_summary.json", model=MODELS),
        collect("<derivatives>/group/model-{model}_model.json", model=KEPT),
        collect("<derivatives>/group/model-{model}_lockbox.json", model=OPENED),
