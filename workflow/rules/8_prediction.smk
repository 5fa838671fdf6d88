"""Stage prediction: declared models with nested, grouped cross-validation."""

from neurobraid.prediction import sources as _sources

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
OUTCOME_RECORDS = {
    record["name"]: record for record in config["prediction"]["outcomes"]
}
# sessions tables of the dataset and their sidecars, for what looks at several visits
SESSION_TABLES = [
    str(path)
    for path in [Path(RAW, "sessions.json")]
    + [
        Path(RAW, person, f"{person}_sessions.{kind}")
        for person in PARTICIPANTS
        for kind in ("tsv", "json")
    ]
    if not BUILTIN and path.exists()
]
# A model or an outcome reads the fusion table of the study, or one of the built-in tables that have no images.
BUILTIN_TABLES = {
    name: {
        "features": f"{DERIVATIVES}/{name}/desc-{name}_features.tsv",
        "participants": f"{DERIVATIVES}/{name}/participants.tsv",
        "sessions": sessions,
        "regions": [],
    }
    for name, sessions in {
        "cohort": [],
        "trial": [
            f"{DERIVATIVES}/trial/sessions.tsv",
            f"{DERIVATIVES}/trial/sessions.json",
        ],
    }.items()
}
MODEL_TABLES = {
    record["name"]: dict(
        BUILTIN_TABLES.get(record["table"])
        or {
            "features": (
                f"{DERIVATIVES}/group/atlas-{record['atlas'] or SEGMENTATIONS[0]}_desc-fusion_features.tsv"
                if any(map(_sources.of_table, record["features"]))
                else []
            ),
            "participants": (
                PEOPLE_TABLE if BUILTIN or Path(PEOPLE_TABLE).exists() else []
            ),
            # a study of region series alone has no atlas image
            "regions": [
                f"{DERIVATIVES}/atlases/tpl-{MNI}_atlas-{atlas}_dseg.tsv"
                for atlas in [record["atlas"] or SEGMENTATIONS[0]]
                if atlas in ATLASES and not SERIES_ONLY
            ],
            # a model by visit may have its target, or a covariate, in the sessions tables
            "sessions": (
                SESSION_TABLES
                if record.get("visits")
                or "outcome" in record
                or record.get("rows") == "visit"
                else []
            ),
        }
    )
    for record in [*MODEL_RECORDS.values(), *OUTCOME_RECORDS.values()]
}
# patterns of models whose regions have a place in the brain
MODEL_ATLASES = {
    record["name"]: record["atlas"] or SEGMENTATIONS[0]
    for record in config["prediction"]["models"]
    if record["table"] == "study"
    and (record["atlas"] or SEGMENTATIONS[0]) in ATLASES
    and not SERIES_ONLY
}
MODEL_MAP = (
    f"<derivatives>/group/space-{MNI}_atlas-{{atlas}}_model-{{model}}_desc-pattern"
)
MODEL_REGIONS = (
    "<derivatives>/group/atlas-{atlas}_model-{model}_desc-patternregions_table"
)
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
for record in config["prediction"]["models"]:
    ATLAS = record["atlas"] or SEGMENTATIONS[0]
    OWN_ATLAS = record["table"] == "study" and ATLAS in ATLASES
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
        regions=lookup(dpath="{model}/regions", within=MODEL_TABLES),
        sessions=lookup(dpath="{model}/sessions", within=MODEL_TABLES),
        plan=lookup(dpath="{model}/plan", within=MODEL_TABLES),
        series=lookup(dpath="{model}/series", within=MODEL_SOURCES),
        maps=lookup(dpath="{model}/maps", within=MODEL_SOURCES),
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
        mem_mb=memory(1200, 20),
        runtime=60,
    params:
        model=lookup(dpath="{model}", within=MODEL_RECORDS),
        adopted=lookup(dpath="{model}/adopted", within=MODEL_SOURCES),
        general=GENERAL,
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


rule prediction_outcome:
    """Analyse one declared outcome over time: response where there is an untreated arm, otherwise prognosis."""
    input:
        features=lookup(dpath="{model}/features", within=MODEL_TABLES),
        participants=lookup(dpath="{model}/participants", within=MODEL_TABLES),
        sessions=lookup(dpath="{model}/sessions", within=MODEL_TABLES),
    output:
        people="<derivatives>/group/model-{model}_desc-outcome_table.tsv",
        people_json="<derivatives>/group/model-{model}_desc-outcome_table.json",
        contrasts="<derivatives>/group/model-{model}_desc-contrasts_table.tsv",
        contrasts_json="<derivatives>/group/model-{model}_desc-contrasts_table.json",
        summary="<derivatives>/group/model-{model}_desc-outcome_summary.json",
    log:
        "logs/prediction_outcome/{model}.log",
    benchmark:
        "logs/benchmarks/prediction_outcome/{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 20),
        runtime=60,
    params:
        record=lookup(dpath="{model}", within=OUTCOME_RECORDS),
        general={key: config["prediction"][key] for key in ("folds", "repeats", "seed")},
        code=code_digest("prediction"),
    script:
        "../../scripts/prediction_outcome.py"


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
    """Fit all declared models, brain ages and decoders, analyse outcomes, and write the models that are kept."""
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
        [
            place(f"{MODEL_MAP}_statmap.nii.gz", model=model, atlas=atlas)
            for model, atlas in MODEL_ATLASES.items()
        ],
        collect(
            "<derivatives>/group/model-{model}_desc-outcome_summary.json",
            model=OUTCOME_RECORDS,
        ),
        collect("<derivatives>/group/model-{model}_model.json", model=KEPT),
        collect("<derivatives>/group/model-{model}_lockbox.json", model=OPENED),
