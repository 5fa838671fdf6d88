# Stage report: a page per participant, and the study page with the run record. Pages only show what other stages wrote.

ANAT_FILE = "<derivatives>/{visit}/anat/{scan}"
FUNC_FILE = "<derivatives>/{visit}/func/{scan}"
PET_FILE = "<derivatives>/{visit}/pet/{scan}"
ATLAS_REGIONS = [
    f"<derivatives>/atlases/tpl-{MNI}_atlas-{atlas}_dseg.tsv"
    for atlas in ATLASES
    if not STUDY.listed
]
# tables of the raw dataset that a page reads when they exist
RAW_TABLES = {
    f"participants{ending}": ([path] if BUILTIN or os.path.exists(path) else [])
    for ending in (".tsv", ".json")
    for path in [str(Path(PEOPLE_TABLE).with_suffix(ending))]
}
# what the PET pages show of the models: maps in T1w space by voxel, and the group maps, the first model of each measure
PET_SHOWN = PET_MODELS + PET_PLASMA
PET_SHOWN_MAPS = PET_MAPS + PET_PLASMA_MAPS
PET_GROUP_MAPS = [
    [name for name in PET_SHOWN_MAPS if name.endswith(f"_meas-{measure}")][:1]
    for measure in (
        "BPND",
        "VT",
        "Ki",
        "Kref",
        *(["SUVR"] if PET_SHOWN == ["SUVR"] else []),
    )
]
PET_VALID = PET_MODELS + PET_PLASMA_MAPPED
# curves before the correction for partial volume, which models with a plasma input read
PET_PLAIN = ["desc-preproc"] if PET_PVC != "none" else []
# endings of what the rules of earlier stages make: a page shows the reference before distortion correction, and the
# quality of all scans side by side, where a rule makes them
MADE = [str(path) for made in workflow.rules for path in made.output]
HMC_BOLDREF = any(path.endswith("_desc-hmc_boldref.nii.gz") for path in MADE)
QUALITY_TABLE = any(path.endswith("desc-quality_table.tsv") for path in MADE)

# what a card shows of a model beyond its cross-validation
CARD_FILES = {
    name: {
        "model": (
            f"{DERIVATIVES}/group/model-{name}_model.json" if name in KEPT else []
        ),
        "lockbox": (
            f"{DERIVATIVES}/group/model-{name}_lockbox.json" if name in OPENED else []
        ),
    }
    for name in MODELS
}

# kind of file, kind of scan, template, filters: a page gets what its participant has
PAGE_RECORDS = [
    ("t1w", "T1w", f"{ANAT_FILE}_desc-preproc_T1w.nii.gz", {}),
    ("brain", "T1w", f"{ANAT_FILE}_desc-brain_mask.nii.gz", {}),
    ("dseg", "T1w", f"{ANAT_FILE}_dseg.nii.gz", {}),
    ("t1w_mni", "T1w", f"{ANAT_FILE}_space-{MNI}_desc-preproc_T1w.nii.gz", {}),
    ("anat_qc", "T1w", f"{ANAT_FILE}_desc-anat_qc.json", {}),
    ("boldref", "bold", f"{FUNC_FILE}_desc-coreg_boldref.nii.gz", {}),
    (
        "boldref_xfm",
        "bold",
        f"{FUNC_FILE}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt",
        {},
    ),
    *(
        [("boldref_hmc", "bold", f"{FUNC_FILE}_desc-hmc_boldref.nii.gz", {})]
        if HMC_BOLDREF
        else []
    ),
    (
        "hmc",
        "bold",
        f"{FUNC_FILE}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
        {},
    ),
    ("bold_mask", "bold", f"{FUNC_FILE}_desc-brain_mask.nii.gz", {}),
    ("bold_json", "bold", f"{FUNC_FILE}_space-{MNI}_desc-preproc_bold.json", {}),
    ("confounds", "bold", f"{FUNC_FILE}_desc-confounds_timeseries.tsv", {}),
    ("bold_qc", "bold", f"{FUNC_FILE}_desc-bold_qc.json", {}),
    ("pet_frames", "pet", f"{PET_FILE}_desc-frames_timeseries.tsv", {}),
    ("pet_qc", "pet", f"{PET_FILE}_desc-pet_qc.json", {}),
    *(
        (
            "activation",
            "bold",
            f"<derivatives>/{{participant}}/func/{{participant}}_task-{task}_space-{MNI}_contrast-{contrast}_stat-z_statmap.nii.gz",
            {"model": task},
        )
        for task in CONTRASTS
        for contrast in CONTRASTS[task]
    ),
    *(
        (
            "surface_maps",
            "bold",
            place(SURFACE_MAP, task=task, contrast=contrast, stat="z", hemi=hemi),
            {"model": task},
        )
        for task, plan in STATS_MODELS.items()
        if config["activation"]["surface"]
        for contrast in plan.t_names
        for hemi in ("L", "R")
    ),
    *(
        ("whiteness", "bold", f"{FUNC_FILE}_desc-whiteness_table.tsv", {"model": task})
        for task in CONTRASTS
    ),
    *(
        (
            "relmat",
            "bold",
            f"{FUNC_FILE}_atlas-{atlas}_stat-{measure}_relmat.tsv",
            {"task": task},
        )
        for task in REST_TASKS
        for atlas in ATLASES
        for measure in MEASURES
    ),
    *(
        (
            "coverage",
            "bold",
            f"{FUNC_FILE}_atlas-{atlas}_stat-coverage_bold.tsv",
            {"task": task},
        )
        for task in REST_TASKS
        for atlas in ATLASES
    ),
]
# of PET scans, only with an image, or only with blood: kind of file, template, and which scans
PET_RECORDS = [
    ("petref", f"{PET_FILE}_petref.nii.gz", {"imaged": True}),
    (
        "petref_xfm",
        f"{PET_FILE}_from-petref_to-T1w_mode-image_desc-coreg_xfm.txt",
        {"imaged": True},
    ),
    (
        "pet_confounds",
        f"{PET_FILE}_desc-confounds_timeseries.tsv",
        {"imaged": True},
    ),
    (
        "uncorrected",
        f"{PET_FILE}_desc-uncorrected_petref.nii.gz",
        {"imaged": True},
    ),
    ("profiles", f"{PET_FILE}_desc-profiles_table.tsv", {"imaged": True}),
    ("curves_qc", f"{PET_FILE}_desc-curves_qc.json", {}),
    ("pet_weights", f"{PET_FILE}_desc-weights_weights.tsv", {}),
    ("reference", f"{PET_FILE}_label-reference_{PET_CURVES}_tacs.tsv", {}),
    # what the region is made of is told where its curve is drawn, before any correction
    ("reference_json", f"{PET_FILE}_label-reference_desc-preproc_tacs.json", {}),
    ("tacs", f"{PET_FILE}_seg-{{atlas}}_{PET_CURVES}_tacs.tsv", {}),
    ("tacs_json", f"{PET_FILE}_seg-{{atlas}}_{PET_CURVES}_tacs.json", {}),
    *(
        (kind, f"{PET_FILE}_{what}_{curves}_tacs.tsv", {})
        for curves in PET_PLAIN
        for kind, what in (
            ("reference_plain", "label-reference"),
            ("tacs_plain", "seg-{atlas}"),
        )
    ),
    *(
        (kind, f"{PET_FILE}_seg-{{atlas}}_model-{model}_{ending}", {})
        for model in PET_SHOWN
        for kind, ending, models in (
            ("kinpar", "kinpar.tsv", PET_SHOWN),
            ("kinpar_json", "kinpar.json", PET_SHOWN),
            ("fits", "desc-fit_tacs.tsv", [m for m in PET_SHOWN if m != "SUVR"]),
            (
                "plots",
                "desc-plot_table.tsv",
                ["refLogan", "refPatlak", *PET_PLASMA_MAPPED],
            ),
        )
        if model in models
    ),
    *(
        ("pet_maps", f"{PET_FILE}_space-T1w_{name}_mimap.nii.gz", {"imaged": True})
        for name in PET_SHOWN_MAPS
    ),
    *(
        (
            "pet_valid",
            f"{PET_FILE}_space-T1w_model-{model}_desc-validity_mask.nii.gz",
            {"imaged": True},
        )
        for model in PET_VALID
    ),
    *(
        (
            "group_maps",
            f"{PET_FILE}_space-{MNI}_{name}_mimap.nii.gz",
            {"imaged": True},
        )
        for names in PET_GROUP_MAPS
        for name in names
    ),
    *(
        (kind, f"{PET_FILE}_{ending}", {"blood": True})
        for model in PET_PLASMA[:1]
        for kind, ending in (
            ("inputfunction", "inputfunction.tsv"),
            ("inputfunction_json", "inputfunction.json"),
            ("samples", "desc-samples_timeseries.tsv"),
        )
    ),
]
PAGE_KINDS = dict.fromkeys(
    [
        "raw_t1w",
        "raw_bold",
        "raw_pet",
        "boldref_hmc",
        "reference_plain",
        "tacs_plain",
        "fits",
        "plots",
        "inputfunction",
        "inputfunction_json",
        "samples",
        "group_maps",
    ]
    + ["activation", "whiteness", "surface_maps", "relmat", "coverage"]
    + [kind for kind, *_ in PAGE_RECORDS + PET_RECORDS]
)
PAGE_FILES = {
    participant: {kind: [] for kind in PAGE_KINDS} for participant in PARTICIPANTS
}
for SUFFIX in ("T1w", "bold", "pet"):
    for ROW in STUDY.scans_of(SUFFIX):
        PAGE_FILES[ROW.participant_id][f"raw_{SUFFIX.lower()}"] += [
            f"{RAW}/{NAME}"
            for NAME in ROW.path.split(";")
            if SUFFIX != "pet" or STUDY.is_imaged(ROW.scan)
        ]
for KIND, TEMPLATE, WHICH in PET_RECORDS:
    for PATH in pet_scans(TEMPLATE, **WHICH):
        PAGE_FILES[Path(PATH).name.split("_")[0]][KIND].append(PATH)
for PATH in STUDY.all_adopted("confounds"):
    PAGE_FILES[Path(PATH).name.split("_")[0]]["pet_confounds"].append(PATH)
for KIND, SUFFIX, TEMPLATE, FILTERS in PAGE_RECORDS:
    for ROW, PATH in zip(
        STUDY.scans_of(SUFFIX, **FILTERS), scans(SUFFIX, TEMPLATE, **FILTERS)
    ):
        PAGE_FILES[ROW.participant_id][KIND].append(PATH)


# what the page of a model shows besides its tables: maps of models whose regions have a place, units of the participants
MODEL_PAGES = {
    record["name"]: {
        **{
            kind: [
                place(
                    f"{MODEL_MAP}_statmap.{ending}",
                    model=record["name"],
                    atlas=MODEL_ATLASES[record["name"]],
                )
                for _ in [0]
                if record["name"] in MODEL_ATLASES
            ]
            for kind, ending in (("maps", "nii.gz"), ("maps_json", "json"))
        },
        "participants_json": (
            [f"{DERIVATIVES}/cohort/participants.json"]
            if record["table"] == "cohort"
            else RAW_TABLES["participants.json"]
        ),
    }
    for record in config["prediction"]["models"]
}


rule report_participant:
    """Write the page of one participant with its figures and the checksums of the files behind it."""
    input:
        scans="<index>/scans.tsv",
        pairing="<index>/pairing.tsv",
        exclusions="<index>/exclusions.tsv",
        preprocessing="<index>/preprocessing.tsv",
        participants=RAW_TABLES["participants.tsv"],
        participants_json=RAW_TABLES["participants.json"],
        atlas_tables=ATLAS_REGIONS,
        raw_t1w=lookup(dpath="{participant}/raw_t1w", within=PAGE_FILES),
        raw_bold=lookup(dpath="{participant}/raw_bold", within=PAGE_FILES),
        raw_pet=lookup(dpath="{participant}/raw_pet", within=PAGE_FILES),
        t1w=lookup(dpath="{participant}/t1w", within=PAGE_FILES),
        brain=lookup(dpath="{participant}/brain", within=PAGE_FILES),
        dseg=lookup(dpath="{participant}/dseg", within=PAGE_FILES),
        t1w_mni=lookup(dpath="{participant}/t1w_mni", within=PAGE_FILES),
        anat_qc=lookup(dpath="{participant}/anat_qc", within=PAGE_FILES),
        boldref=lookup(dpath="{participant}/boldref", within=PAGE_FILES),
        boldref_xfm=lookup(dpath="{participant}/boldref_xfm", within=PAGE_FILES),
        boldref_hmc=lookup(dpath="{participant}/boldref_hmc", within=PAGE_FILES),
        hmc=lookup(dpath="{participant}/hmc", within=PAGE_FILES),
        bold_mask=lookup(dpath="{participant}/bold_mask", within=PAGE_FILES),
        bold_json=lookup(dpath="{participant}/bold_json", within=PAGE_FILES),
        confounds=lookup(dpath="{participant}/confounds", within=PAGE_FILES),
        bold_qc=lookup(dpath="{participant}/bold_qc", within=PAGE_FILES),
        activation=lookup(dpath="{participant}/activation", within=PAGE_FILES),
        whiteness=lookup(dpath="{participant}/whiteness", within=PAGE_FILES),
        surface_maps=lookup(dpath="{participant}/surface_maps", within=PAGE_FILES),
        relmat=lookup(dpath="{participant}/relmat", within=PAGE_FILES),
        coverage=lookup(dpath="{participant}/coverage", within=PAGE_FILES),
        petref=lookup(dpath="{participant}/petref", within=PAGE_FILES),
        petref_xfm=lookup(dpath="{participant}/petref_xfm", within=PAGE_FILES),
        pet_frames=lookup(dpath="{participant}/pet_frames", within=PAGE_FILES),
        pet_confounds=lookup(dpath="{participant}/pet_confounds", within=PAGE_FILES),
        pet_qc=lookup(dpath="{participant}/pet_qc", within=PAGE_FILES),
        curves_qc=lookup(dpath="{participant}/curves_qc", within=PAGE_FILES),
        uncorrected=lookup(dpath="{participant}/uncorrected", within=PAGE_FILES),
        profiles=lookup(dpath="{participant}/profiles", within=PAGE_FILES),
        pet_weights=lookup(dpath="{participant}/pet_weights", within=PAGE_FILES),
        reference=lookup(dpath="{participant}/reference", within=PAGE_FILES),
        reference_plain=lookup(dpath="{participant}/reference_plain", within=PAGE_FILES),
        tacs=lookup(dpath="{participant}/tacs", within=PAGE_FILES),
        tacs_json=lookup(dpath="{participant}/tacs_json", within=PAGE_FILES),
        tacs_plain=lookup(dpath="{participant}/tacs_plain", within=PAGE_FILES),
        kinpar=lookup(dpath="{participant}/kinpar", within=PAGE_FILES),
        kinpar_json=lookup(dpath="{participant}/kinpar_json", within=PAGE_FILES),
        fits=lookup(dpath="{participant}/fits", within=PAGE_FILES),
        plots=lookup(dpath="{participant}/plots", within=PAGE_FILES),
        inputfunction=lookup(dpath="{participant}/inputfunction", within=PAGE_FILES),
        inputfunction_json=lookup(
            dpath="{participant}/inputfunction_json", within=PAGE_FILES
        ),
        samples=lookup(dpath="{participant}/samples", within=PAGE_FILES),
        pet_maps=lookup(dpath="{participant}/pet_maps", within=PAGE_FILES),
        pet_valid=lookup(dpath="{participant}/pet_valid", within=PAGE_FILES),
    output:
        page="<reports>/{participant}.html",
        figures=report(
            directory("<reports>/figures/{participant}"),
            patterns=["{figure}.png", "{figure}.svg"],
            caption="../report/participant_figure.rst",
            category="Participants",
            subcategory="{participant}",
            labels={"figure": "{figure}"},
        ),
        record="<reports>/provenance/{participant}.json",
    log:
        "logs/report_participant/{participant}.log",
    benchmark:
        "logs/benchmarks/report_participant/{participant}.tsv"
    # region series alone have pages of their own kind
    wildcard_constraints:
        participant="none" if SERIES_ONLY else r"sub-[a-zA-Z0-9+]+",
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(900, 3),
        runtime=15,
    params:
        config=SHOWN_CONFIG,
        code=code_digest("reports"),
    script:
        "../../scripts/report_participant.py"


rule report_model:
    """Write the page of one model with its figures and the checksums of the files behind it."""
    input:
        summary="<derivatives>/group/model-{model}_summary.json",
        predictions="<derivatives>/group/model-{model}_desc-predictions_predictions.tsv",
        importance="<derivatives>/group/model-{model}_desc-importance_table.tsv",
        pattern="<derivatives>/group/model-{model}_desc-pattern_table.tsv",
        maps=lookup(dpath="{model}/maps", within=MODEL_PAGES),
        maps_json=lookup(dpath="{model}/maps_json", within=MODEL_PAGES),
        atlas_tables=lookup(dpath="{model}/regions", within=MODEL_TABLES),
        participants_json=lookup(dpath="{model}/participants_json", within=MODEL_PAGES),
    output:
        page="<reports>/model-{model}.html",
        figures=report(
            directory("<reports>/figures/model-{model}"),
            patterns=["{figure}.png", "{figure}.svg"],
            caption="../report/model_figure.rst",
            category="Models",
            subcategory="{model}",
            labels={"figure": "{figure}"},
        ),
        record="<reports>/provenance/model-{model}.json",
    log:
        "logs/report_model/{model}.log",
    benchmark:
        "logs/benchmarks/report_model/{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(900, 3),
        runtime=15,
    params:
        config=SHOWN_CONFIG,
        code=code_digest("reports"),
    script:
        "../../scripts/report_model.py"


rule report_card:
    """Write the card of a model: what it is for, how well it did, and what speaks against it."""
    input:
        summary="<derivatives>/group/model-{model}_summary.json",
        model=lookup(dpath="{model}/model", within=CARD_FILES),
        lockbox=lookup(dpath="{model}/lockbox", within=CARD_FILES),
    output:
        page="<reports>/card-{model}.html",
        card="<derivatives>/group/model-{model}_card.json",
        figures=directory("<reports>/figures/card-{model}"),
    log:
        "logs/report_card/{model}.log",
    benchmark:
        "logs/benchmarks/report_card/{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(600),
        runtime=10,
    params:
        code=code_digest("reports"),
    script:
        "../../scripts/report_card.py"


rule report_study:
    """Write the study page with group results, methods and the record of the whole run."""
    input:
        **{
            kind: [
                f"<derivatives>/group/task-{task}_contrast-{contrast}_desc-inference_{ending}"
                for task in group_tasks()
                for contrast in CONTRASTS[task]
            ]
            for kind, ending in (
                ("inference_methods", "methods.tsv"),
                ("inference_clusters", "clusters.tsv"),
                ("inference", "summary.json"),
            )
        },
        **{
            f"design_{kind}": [
                place(
                    f"{DESIGN_INFERENCE}_{ending}",
                    task=task,
                    design=node["Name"],
                    contrast=name,
                )
                for task, node in DESIGNS
                for name in DESIGN_TESTS[task][node["Name"]]
                if NULL_PARTS
            ]
            for kind, ending in (
                ("inference_methods", "methods.tsv"),
                ("inference_clusters", "clusters.tsv"),
                ("inference", "summary.json"),
            )
        },
        **{
            kind: [
                f"<derivatives>/group/task-{task}_atlas-{atlas}_desc-{what}_table.tsv"
                for task in REST_TASKS
                if COMPARED and group_possible("bold", task)
                for atlas in ATLASES
            ]
            for kind, what in (
                ("strategies", "strategies"),
                ("strategy_edges", "strategyedges"),
                ("strategy_similarity", "strategysimilarity"),
                ("strategy_scans", "strategyscans"),
            )
        },
        **{
            kind: [
                f"<derivatives>/group/task-{task}_atlas-{atlas}_desc-{kind}_table.tsv"
                for task in REST_TASKS
                if kind in config["connectivity"]["networks"]
                and group_possible("bold", task)
                for atlas in ATLASES
            ]
            for kind in ("graph", "gradients", "dynamic")
        },
        **{
            f"decoding_{kind}": [
                place(
                    f"{DECODED_GROUP}_{ending}",
                    task=record["task"],
                    model=name,
                )
                for name, record in DECODING_RECORDS.items()
            ]
            for kind, ending in (
                ("summary", "summary.json"),
                ("confusion", "confusion.tsv"),
                ("people", "people.tsv"),
                ("folds", "folds.tsv"),
            )
        },
        edges=[
            f"<derivatives>/group/task-{task}_atlas-{atlas}_contrast-{contrast}_desc-edges_table.tsv"
            for task in REST_TASKS
            if group_possible("bold", task)
            for atlas in ATLASES
            for contrast in EDGE_RECORDS
        ],
        components=[
            f"<derivatives>/group/task-{task}_space-{MNI}_desc-components_boldmap.nii.gz"
            for task in REST_TASKS
            if config["connectivity"]["components"]["number"]
        ],
        pages=collect("<reports>/{participant}.html", participant=PARTICIPANTS),
        records=collect(
            "<reports>/provenance/{participant}.json", participant=PARTICIPANTS
        ),
        scans="<index>/scans.tsv",
        pairing="<index>/pairing.tsv",
        exclusions="<index>/exclusions.tsv",
        preprocessing="<index>/preprocessing.tsv",
        validation="<index>/validation.tsv",
        participants=RAW_TABLES["participants.tsv"],
        participants_json=RAW_TABLES["participants.json"],
        atlas_tables=ATLAS_REGIONS,
        anat_qc=[path for files in PAGE_FILES.values() for path in files["anat_qc"]],
        confounds=[path for files in PAGE_FILES.values() for path in files["confounds"]],
        bold_json=[path for files in PAGE_FILES.values() for path in files["bold_json"]],
        bold_qc=[path for files in PAGE_FILES.values() for path in files["bold_qc"]],
        pet_qc=[path for files in PAGE_FILES.values() for path in files["pet_qc"]],
        quality=(
            ["<derivatives>/group/desc-quality_table.tsv"]
            if QUALITY_TABLE and not STUDY.listed
            else []
        ),
        group_z=[
            f"<derivatives>/group/task-{task}_space-{MNI}_contrast-{contrast}_stat-z_statmap.nii.gz"
            for task in group_tasks()
            for contrast in CONTRASTS[task]
        ],
        surface_group=[
            place(SURFACE_GROUP, task=task, contrast=contrast, stat="z", hemi=hemi)
            for task in SURFACE_MAPS
            for contrast in SURFACE_MAPS[task]
            for hemi in ("L", "R")
        ],
        surface_notes=[
            place(SURFACE_GROUP_NOTE, task=task, contrast=contrast)
            for task in SURFACE_MAPS
            for contrast in SURFACE_MAPS[task]
        ],
        design_z=[
            place(DESIGN_MAP, task=task, design=node["Name"], contrast=name, stat="z")
            for task, node in DESIGNS
            for _, name, _ in STATS_MODELS[task].tests(node)
        ],
        design_notes=[
            place(DESIGN_NOTE, task=task, design=node["Name"], contrast=name)
            for task, node in DESIGNS
            for _, name, _ in STATS_MODELS[task].tests(node)
        ],
        design_clusters=[
            place(DESIGN_CLUSTERS, task=task, design=node["Name"], contrast=name)
            for task, node in DESIGNS
            for _, name, _ in STATS_MODELS[task].tests(node)
        ],
        design_tables=[
            place(
                f"{DESIGN_FILE}_desc-group_design.tsv", task=task, design=node["Name"]
            )
            for task, node in DESIGNS
        ],
        clusters=[
            f"<derivatives>/group/task-{task}_contrast-{contrast}_desc-clusters_table.tsv"
            for task in group_tasks()
            for contrast in CONTRASTS[task]
        ],
        thresholds=[
            f"<derivatives>/group/task-{task}_contrast-{contrast}_desc-thresholds_summary.json"
            for task in group_tasks()
            for contrast in CONTRASTS[task]
        ],
        group_relmat=[
            f"<derivatives>/group/task-{task}_atlas-{atlas}_stat-{measure}_relmat.tsv"
            for task in REST_TASKS
            if group_possible("bold", task)
            for atlas in ATLASES
            for measure in MEASURES
        ],
        kinpar=[path for files in PAGE_FILES.values() for path in files["kinpar"]],
        kinpar_json=[
            path for files in PAGE_FILES.values() for path in files["kinpar_json"]
        ],
        tacs_json=[path for files in PAGE_FILES.values() for path in files["tacs_json"]],
        reference_json=[
            path for files in PAGE_FILES.values() for path in files["reference_json"]
        ],
        inputfunction_json=[
            path
            for files in PAGE_FILES.values()
            for path in files["inputfunction_json"]
        ],
        group_maps=[
            path for files in PAGE_FILES.values() for path in files["group_maps"]
        ],
        pet_quality=[
            "<derivatives>/group/desc-petquality_table.tsv"
            for suffix in ["pet"]
            if participants_with(suffix)
        ],
        features=collect(
            "<derivatives>/group/atlas-{atlas}_desc-fusion_features.tsv",
            atlas=SEGMENTATIONS,
        ),
        coupling=collect(
            "<derivatives>/group/atlas-{atlas}_desc-coupling_summary.json",
            atlas=COUPLED,
        ),
        coupling_table=collect(
            "<derivatives>/group/atlas-{atlas}_desc-coupling_table.tsv", atlas=COUPLED
        ),
        person_coupling=collect(
            "<derivatives>/group/atlas-{atlas}_desc-personcoupling_table.tsv",
            atlas=COUPLED,
        ),
        map_association=collect(
            "<derivatives>/group/atlas-{atlas}_desc-mapassociation_table.tsv",
            atlas=COMPARED_ATLASES,
        ),
        map_dominance=collect(
            "<derivatives>/group/atlas-{atlas}_desc-mapdominance_table.tsv",
            atlas=COMPARED_ATLASES,
        ),
        react=[path.replace(".nii.gz", ".json") for path in REACT_FILES],
        voxelwise=collect(
            f"<derivatives>/group/space-{MNI}_model-{{model}}_stat-t_statmap.nii.gz",
            model=VOXELWISE_RECORDS,
        ),
        latent=collect(
            "<derivatives>/group/model-{model}_desc-latent_table.tsv",
            model=LATENT_RECORDS,
        ),
        pet_covariance=collect(
            "<derivatives>/group/atlas-{atlas}_desc-petcovariance_relmat.tsv",
            atlas=COUPLED,
        ),
        summaries=collect(
            "<derivatives>/group/model-{model}_summary.json", model=MODELS
        ),
        model_pages=collect("<reports>/model-{model}.html", model=MODELS),
        cards=collect("<reports>/card-{model}.html", model=MODELS),
        predictions=collect(
            "<derivatives>/group/model-{model}_desc-predictions_predictions.tsv",
            model=MODELS,
        ),
        outcomes=collect(
            "<derivatives>/group/model-{model}_desc-outcome_summary.json",
            model=OUTCOME_RECORDS,
        ),
        contrasts=collect(
            "<derivatives>/group/model-{model}_desc-contrasts_table.tsv",
            model=OUTCOME_RECORDS,
        ),
        brainage=collect(f"{AGE_FILE}_summary.json", model=AGE_RECORDS),
        brainage_table=collect(f"{AGE_FILE}_predictions.tsv", model=AGE_RECORDS),
        brainage_patterns=collect(f"{AGE_FILE}_patterns.tsv", model=AGE_RECORDS),
        searchlight=[
            place(
                f"{DECODED_GROUP_MAP}.nii.gz",
                task=DECODING_RECORDS[name]["task"],
                model=name,
            )
            for name in SEARCHED
        ],
    output:
        page="<reports>/index.html",
        figures=report(
            directory("<reports>/figures/study"),
            patterns=["{figure}.png", "{figure}.svg"],
            caption="../report/study_figure.rst",
            category="Study",
            labels={"figure": "{figure}"},
        ),
        record=report(
            "<reports>/provenance.json",
            caption="../report/provenance.rst",
            category="Provenance",
        ),
    log:
        "logs/report_study/study.log",
    benchmark:
        "logs/benchmarks/report_study/study.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1200, 4),
        runtime=30,
    params:
        config=SHOWN_CONFIG,
        code=code_digest("reports"),
    script:
        "../../scripts/report_study.py"


# pages of a study of region series: batches of participants, because a page takes less time than the start of a job
SERIES_PEOPLE = list(dict.fromkeys(row["participant_id"] for row in STUDY.series))
SERIES_PAGES = {
    f"{NUMBER:03d}": SERIES_PEOPLE[START : START + 64]
    for NUMBER, START in enumerate(range(0, len(SERIES_PEOPLE), 64), 1)
    if SERIES_ONLY
}

for BATCH, PEOPLE in SERIES_PAGES.items():

    rule:
        """Write the pages of a batch of participants of a study of region series: matrices, coverage, what was not used."""
        name:
            f"report_pages_{BATCH}"
        input:
            series_table=f"{SERIES_GROUP}_desc-series_table.tsv",
            relmat=[
                f"{stem}_stat-{measure}_relmat.tsv"
                for stem in SERIES_STEMS
                for measure in MEASURES
                if stem.split("/")[1] in PEOPLE
            ],
            coverage=[
                f"{stem}_stat-coverage_bold.tsv"
                for stem in SERIES_STEMS
                if stem.split("/")[1] in PEOPLE
            ],
        output:
            pages=[f"<reports>/{person}.html" for person in PEOPLE],
            figures=[directory(f"<reports>/figures/{person}") for person in PEOPLE],
        log:
            f"logs/report_pages/batch-{BATCH}.log",
        benchmark:
            f"logs/benchmarks/report_pages/batch-{BATCH}.tsv"
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(900),
            runtime=60,
        params:
            config=SHOWN_CONFIG,
            code=code_digest("reports"),
        script:
            "../../scripts/report_pages.py"


rule report_pages:
    """Make the page of every participant of a study of region series."""
    input:
        [
            f"<reports>/{person}.html"
            for people in SERIES_PAGES.values()
            for person in people
        ],


if SERIES_ONLY:

    ruleorder: report_series > report_study

    rule report_series:
        """Write the study page of a study of region series: what was read, mean matrices, regions that people lack."""
        input:
            **{kind: f"{SERIES_GROUP}_desc-{kind}_table.tsv" for kind in NETWORK_KINDS},
            pages=[f"<reports>/{person}.html" for person in SERIES_PEOPLE],
            series_table=f"{SERIES_GROUP}_desc-series_table.tsv",
            group_relmat=[
                f"{SERIES_GROUP}_stat-{measure}_relmat.tsv" for measure in MEASURES
            ],
            group_sidecars=[
                f"{SERIES_GROUP}_stat-{measure}_relmat.json" for measure in MEASURES
            ],
            group_coverage=f"{SERIES_GROUP}_stat-coverage_bold.tsv",
            edges=[
                f"{SERIES_GROUP}_contrast-{contrast}_desc-edges_table.tsv"
                for contrast in EDGE_RECORDS
            ],
            relmat=[
                f"{stem}_stat-{measure}_relmat.tsv"
                for stem in SERIES_STEMS
                for measure in MEASURES
            ],
            coverage=[f"{stem}_stat-coverage_bold.tsv" for stem in SERIES_STEMS],
            summaries=collect(
                "<derivatives>/group/model-{model}_summary.json", model=MODELS
            ),
            model_pages=collect("<reports>/model-{model}.html", model=MODELS),
            cards=collect("<reports>/card-{model}.html", model=MODELS),
            predictions=collect(
                "<derivatives>/group/model-{model}_desc-predictions_predictions.tsv",
                model=MODELS,
            ),
        output:
            page="<reports>/index.html",
            figures=report(
                directory("<reports>/figures/study"),
                patterns=["{figure}.png"],
                caption="../report/study_figure.rst",
                category="Study",
                labels={"figure": "{figure}"},
            ),
            record=report(
                "<reports>/provenance.json",
                caption="../report/provenance.rst",
                category="Provenance",
            ),
        log:
            "logs/report_series/series.log",
        benchmark:
            "logs/benchmarks/report_series/series.tsv"
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(900),
            runtime=30,
        params:
            config=SHOWN_CONFIG,
            code=code_digest("reports"),
        script:
            "../../scripts/report_series.py"


rule report:
    """Make every page."""
    input:
        "<reports>/index.html",
        collect("<reports>/{participant}.html", participant=PARTICIPANTS),
        collect(
            "<reports>/{kind}-{model}.html",
            kind=["model", "card"],
            model=MODELS,
        ),


rule participants:
    """Make the page of every participant, without group results."""
    input:
        collect("<reports>/{participant}.html", participant=PARTICIPANTS),
