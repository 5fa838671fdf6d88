"""Stage prediction: declared models with nested, grouped cross-validation."""

from neurobraid.prediction import sources as _sources

MODEL_RECORDS = {record["name"]: record for record in config["prediction"]["models"]}
# A model reads the fusion table of the study, or the cohort that has no images.
MODEL_TABLES = {
    record["name"]: (
        {
            "features": f"{DERIVATIVES}/cohort/desc-cohort_features.tsv",
            "participants": f"{DERIVATIVES}/cohort/participants.tsv",
        }
        if record["table"] == "cohort"
        else {
            "features": (
                f"{DERIVATIVES}/group/atlas-{record['atlas'] or SEGMENTATIONS[0]}_desc-fusion_features.tsv"
                if any(map(_sources.of_table, record["features"]))
                else []
            ),
            "participants": (
                f"{RAW}/participants.tsv"
                if BUILTIN or Path(f"{RAW}/participants.tsv").exists()
                else []
            ),
        }
    )
    for record in config["prediction"]["models"]
}
# features that are not in the table: series of regions and maps of every person, which the job tells apart by their names
checked(
    _sources.check_models,
    config["prediction"]["models"],
    ATLASES,
    SERIES_ATLAS,
    REST_TASKS,
    CONTRASTS,
    PET_BINDING,
)
MODEL_SOURCES = {
    name: {
        "series": [
            path
            for record in model["features"]
            if record["series"] in ATLASES
            for task in REST_TASKS
            if record["task"] in ("", task)
            for ending in ("mean_timeseries", "coverage_bold")
            for path in scans(
                "bold",
                f"{REST_FILE}_atlas-{record['series']}_stat-{ending}.tsv",
                task=task,
            )
        ],
        "adopted": [
            row
            for row in STUDY.series
            if SERIES_ATLAS in [record["series"] for record in model["features"]]
        ],
        "maps": [
            path
            for record in model["features"]
            for path in (
                PERSON_MAPS[record["task"]][record["contrast"]]
                if record["maps"] == "contrast"
                else (
                    pet_scans(
                        f"<derivatives>/{{visit}}/pet/{{scan}}_space-{MNI}_model-{record['model'] or PET_BINDING[0]}_meas-BPND_mimap.nii.gz",
                        imaged=True,
                    )
                    if record["maps"] == "BPND"
                    else (
                        scans(
                            "T1w",
                            f"<derivatives>/{{visit}}/anat/{{scan}}_space-{MNI}_label-GM_desc-modulated_probseg.nii.gz",
                        )
                        if record["maps"]
                        else []
                    )
                )
            )
        ],
    }
    for name, model in MODEL_RECORDS.items()
}


rule prediction_model:
    """Fit one declared model: every modality, their fusion and the baselines on the same folds."""
    input:
        features=lookup(dpath="{model}/features", within=MODEL_TABLES),
        participants=lookup(dpath="{model}/participants", within=MODEL_TABLES),
        series=lookup(dpath="{model}/series", within=MODEL_SOURCES),
        maps=lookup(dpath="{model}/maps", within=MODEL_SOURCES),
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
        mem_mb=memory(1200, 20),
        runtime=60,
    params:
        model=lookup(dpath="{model}", within=MODEL_RECORDS),
        adopted=lookup(dpath="{model}/adopted", within=MODEL_SOURCES),
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
