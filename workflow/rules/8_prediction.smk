"""Stage prediction: declared models with nested, grouped cross-validation."""

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


rule prediction_model:
    """Fit one declared model: every modality, their fusion and the baselines on the same folds."""
    input:
        features=lookup(dpath="{model}/features", within=MODEL_TABLES),
        participants=lookup(dpath="{model}/participants", within=MODEL_TABLES),
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


# Brain ages read the same tables as models, and perhaps the age at every visit.
AGE_RECORDS = {record["name"]: record for record in config["prediction"]["brain_age"]}
AGE_TABLES = {
    name: {
        "features": (
            f"{DERIVATIVES}/cohort/desc-cohort_features.tsv"
            if record["table"] == "cohort"
            else f"{DERIVATIVES}/group/atlas-{record['atlas'] or SEGMENTATIONS[0]}_desc-fusion_features.tsv"
        ),
        "participants": (
            f"{DERIVATIVES}/cohort/participants.tsv"
            if record["table"] == "cohort"
            else (
                f"{RAW}/participants.tsv"
                if BUILTIN or Path(f"{RAW}/participants.tsv").exists()
                else []
            )
        ),
        "visits": [record["visits"]] if record["visits"] else [],
    }
    for name, record in AGE_RECORDS.items()
}
AGE_FILE = "<derivatives>/group/model-{model}_desc-brainage"


rule prediction_brainage:
    """Predict the age of everybody from models of controls; correct the bias of gaps, and test them within site."""
    input:
        features=lookup(dpath="{model}/features", within=AGE_TABLES),
        participants=lookup(dpath="{model}/participants", within=AGE_TABLES),
        visits=lookup(dpath="{model}/visits", within=AGE_TABLES),
    output:
        table=f"{AGE_FILE}_predictions.tsv",
        table_json=f"{AGE_FILE}_predictions.json",
        folds=f"{AGE_FILE}_folds.tsv",
        folds_json=f"{AGE_FILE}_folds.json",
        patterns=f"{AGE_FILE}_patterns.tsv",
        patterns_json=f"{AGE_FILE}_patterns.json",
        summary=f"{AGE_FILE}_summary.json",
    log:
        "logs/prediction_brainage/{model}.log",
    benchmark:
        "logs/benchmarks/prediction_brainage/{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 20),
        runtime=60,
    params:
        record=lookup(dpath="{model}", within=AGE_RECORDS),
        general={key: config["prediction"][key] for key in ("folds", "seed")},
        code=code_digest("prediction"),
    script:
        "../../scripts/prediction_brainage.py"


# Decoding of tasks that the study has runs of, from the maps of single trials of all runs of a person.
DECODING_RECORDS = {
    record["name"]: record
    for record in config["prediction"]["decoding"]
    if record["task"] in CONTRASTS
}
DECODING_PEOPLE = {
    name: participants_with("bold", task=record["task"])
    for name, record in DECODING_RECORDS.items()
}
DECODING_ATLAS = {
    name: (
        collect(
            f"{ATLAS_FILE}.{{ending}}",
            atlas=record["atlas"] or ATLASES[0],
            ending=["nii.gz", "tsv"],
        )
        if record["atlas"] or record["source"] == "regions"
        else []
    )
    for name, record in DECODING_RECORDS.items()
}
DECODED = "<derivatives>/{participant}/func/{participant}_task-{task}_model-{model}_desc-decoding"
DECODED_MAP = f"<derivatives>/{{participant}}/func/{{participant}}_task-{{task}}_space-{MNI}_model-{{model}}_stat-accuracy_statmap"
DECODED_GROUP = "<derivatives>/group/task-{task}_model-{model}_desc-decoding"
DECODED_GROUP_MAP = f"<derivatives>/group/task-{{task}}_space-{MNI}_model-{{model}}_stat-accuracy_statmap"
# what the group reads: summaries of people, or the trials of everybody; and the maps of people
DECODING_FILES = {
    name: {
        "summaries": [
            place(
                f"{DECODED}_summary.json",
                participant=person,
                task=record["task"],
                model=name,
            )
            for person in DECODING_PEOPLE[name]
            if record["cv"] == "leave-one-run-out"
        ],
        "maps": [
            place(
                f"{DECODED_MAP}.nii.gz",
                participant=person,
                task=record["task"],
                model=name,
            )
            for person in DECODING_PEOPLE[name]
            if record["searchlight_mm"]
        ],
        **{
            kind: [
                path
                for path in scans("bold", template, task=record["task"])
                if record["cv"] == "leave-one-person-out"
            ]
            for kind, template in zip(("images", "tables"), TRIAL_FILES)
        },
    }
    for name, record in DECODING_RECORDS.items()
}
SEARCHED = [name for name, r in DECODING_RECORDS.items() if r["searchlight_mm"]]


rule prediction_decoding:
    """Decode the conditions of a task in one participant, with whole runs held out."""
    input:
        images=participant_scans("bold", TRIAL_FILES[0]),
        tables=participant_scans("bold", TRIAL_FILES[1]),
        atlas=lookup(dpath="{model}", within=DECODING_ATLAS),
    output:
        folds=f"{DECODED}_folds.tsv",
        folds_json=f"{DECODED}_folds.json",
        confusion=f"{DECODED}_confusion.tsv",
        confusion_json=f"{DECODED}_confusion.json",
        summary=f"{DECODED}_summary.json",
    log:
        "logs/prediction_decoding/{participant}_task-{task}_model-{model}.log",
    benchmark:
        "logs/benchmarks/prediction_decoding/{participant}_task-{task}_model-{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 12),
        runtime=120,
    params:
        record=lookup(dpath="{model}", within=DECODING_RECORDS),
        general={"seed": config["prediction"]["seed"]},
        code=code_digest("prediction"),
    script:
        "../../scripts/prediction_decoding.py"


rule prediction_searchlight:
    """Map how well the conditions are told apart in a sphere around every voxel of one participant."""
    input:
        images=participant_scans("bold", TRIAL_FILES[0]),
        tables=participant_scans("bold", TRIAL_FILES[1]),
        atlas=lookup(dpath="{model}", within=DECODING_ATLAS),
    output:
        map=f"{DECODED_MAP}.nii.gz",
        map_json=f"{DECODED_MAP}.json",
    log:
        "logs/prediction_searchlight/{participant}_task-{task}_model-{model}.log",
    benchmark:
        "logs/benchmarks/prediction_searchlight/{participant}_task-{task}_model-{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 12),
        runtime=120,
    params:
        record=lookup(dpath="{model}", within=DECODING_RECORDS),
        general={"seed": config["prediction"]["seed"]},
        code=code_digest("prediction"),
    script:
        "../../scripts/prediction_searchlight.py"


rule prediction_decodinggroup:
    """Hold the accuracies of all participants against chance, or decode across participants."""
    input:
        summaries=lookup(dpath="{model}/summaries", within=DECODING_FILES),
        images=lookup(dpath="{model}/images", within=DECODING_FILES),
        tables=lookup(dpath="{model}/tables", within=DECODING_FILES),
        atlas=lookup(dpath="{model}", within=DECODING_ATLAS),
    output:
        people=f"{DECODED_GROUP}_people.tsv",
        people_json=f"{DECODED_GROUP}_people.json",
        folds=f"{DECODED_GROUP}_folds.tsv",
        folds_json=f"{DECODED_GROUP}_folds.json",
        confusion=f"{DECODED_GROUP}_confusion.tsv",
        confusion_json=f"{DECODED_GROUP}_confusion.json",
        summary=f"{DECODED_GROUP}_summary.json",
    log:
        "logs/prediction_decodinggroup/task-{task}_model-{model}.log",
    benchmark:
        "logs/benchmarks/prediction_decodinggroup/task-{task}_model-{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 12),
        runtime=120,
    params:
        record=lookup(dpath="{model}", within=DECODING_RECORDS),
        participants=lookup(dpath="{model}", within=DECODING_PEOPLE),
        general={"seed": config["prediction"]["seed"]},
        code=code_digest("prediction"),
    script:
        "../../scripts/prediction_decodinggroup.py"


rule prediction_searchlightgroup:
    """Average the searchlight maps of all participants."""
    input:
        maps=lookup(dpath="{model}/maps", within=DECODING_FILES),
    output:
        map=f"{DECODED_GROUP_MAP}.nii.gz",
        map_json=f"{DECODED_GROUP_MAP}.json",
    log:
        "logs/prediction_searchlightgroup/task-{task}_model-{model}.log",
    benchmark:
        "logs/benchmarks/prediction_searchlightgroup/task-{task}_model-{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(600, 20),
        runtime=20,
    params:
        record=lookup(dpath="{model}", within=DECODING_RECORDS),
        code=code_digest("prediction"),
    script:
        "../../scripts/prediction_searchlightgroup.py"


rule prediction:
    """Fit all declared models."""
    input:
        collect(f"{AGE_FILE}_summary.json", model=AGE_RECORDS),
        [
            place(f"{DECODED_GROUP}_summary.json", task=record["task"], model=name)
            for name, record in DECODING_RECORDS.items()
        ],
        [
            place(
                f"{DECODED_GROUP_MAP}.nii.gz",
                task=DECODING_RECORDS[name]["task"],
                model=name,
            )
            for name in SEARCHED
        ],
        collect("<derivatives>/group/model-{model}_summary.json", model=MODELS),
