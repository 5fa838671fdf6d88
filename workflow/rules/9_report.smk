# Stage report: a page per participant, and the study page with the run record. Pages only show what other stages wrote.

ANAT_FILE = "<derivatives>/{visit}/anat/{scan}"
FUNC_FILE = "<derivatives>/{visit}/func/{scan}"
PET_FILE = "<derivatives>/{visit}/pet/{scan}"
ATLAS_REGIONS = [
    f"<derivatives>/atlases/tpl-{MNI}_atlas-{atlas}_dseg.tsv" for atlas in ATLASES
]
# tables of the raw dataset that a page reads when they exist
RAW_TABLES = {
    name: ([f"<raw>/{name}"] if BUILTIN or os.path.exists(f"{RAW}/{name}") else [])
    for name in ("participants.tsv", "participants.json")
}
# scans whose kinetics are modelled; without SRTM there is no binding to show
SRTM = ["SRTM"] if "SRTM" in config["pet"]["models"] else []
# endings of what the rules of earlier stages make: a page shows the reference before distortion correction, and the
# quality of all scans side by side, where a rule makes them
MADE = [str(path) for made in workflow.rules for path in made.output]
HMC_BOLDREF = any(path.endswith("_desc-hmc_boldref.nii.gz") for path in MADE)
QUALITY_TABLE = any(path.endswith("desc-quality_table.tsv") for path in MADE)


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
    ("petref", "pet", f"{PET_FILE}_petref.nii.gz", {}),
    (
        "petref_xfm",
        "pet",
        f"{PET_FILE}_from-petref_to-T1w_mode-image_desc-coreg_xfm.txt",
        {},
    ),
    ("pet_frames", "pet", f"{PET_FILE}_desc-frames_timeseries.tsv", {}),
    ("pet_confounds", "pet", f"{PET_FILE}_desc-confounds_timeseries.tsv", {}),
    ("pet_qc", "pet", f"{PET_FILE}_desc-pet_qc.json", {}),
    *(
        ("tacs", "pet", f"{PET_FILE}_seg-{atlas}_{PET_CURVES}_tacs.tsv", {})
        for atlas in ATLASES
    ),
    *(
        (kind, "pet", f"{PET_FILE}_seg-{atlas}_model-{model}_{ending}", {})
        for model in SRTM
        for atlas in ATLASES
        for kind, ending in (
            ("srtm", "kinpar.tsv"),
            ("srtm_json", "kinpar.json"),
            ("fits", "desc-fit_tacs.tsv"),
        )
    ),
    *(
        (
            "bpnd_map",
            "pet",
            f"{PET_FILE}_space-{MNI}_model-{model}_meas-BPND_mimap.nii.gz",
            {},
        )
        for model in SRTM
    ),
    *(
        (
            "activation",
            "bold",
            f"<derivatives>/{{participant}}/func/{{participant}}_task-{task}_space-{MNI}_contrast-{contrast}_stat-z_statmap.nii.gz",
            {"task": task},
        )
        for task in CONTRASTS
        for contrast in CONTRASTS[task]
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
PAGE_KINDS = dict.fromkeys(
    [
        "raw_t1w",
        "raw_bold",
        "raw_pet",
        "boldref_hmc",
        "tacs",
        "srtm",
        "srtm_json",
        "fits",
        "bpnd_map",
    ]
    + ["activation", "relmat", "coverage"]
    + [kind for kind, *_ in PAGE_RECORDS]
)
PAGE_FILES = {
    participant: {kind: [] for kind in PAGE_KINDS} for participant in PARTICIPANTS
}
for SUFFIX in ("T1w", "bold", "pet"):
    for ROW in STUDY.scans_of(SUFFIX):
        PAGE_FILES[ROW.participant_id][f"raw_{SUFFIX.lower()}"] += [
            f"{RAW}/{NAME}" for NAME in ROW.path.split(";")
        ]
for KIND, SUFFIX, TEMPLATE, FILTERS in PAGE_RECORDS:
    for ROW, PATH in zip(
        STUDY.scans_of(SUFFIX, **FILTERS), scans(SUFFIX, TEMPLATE, **FILTERS)
    ):
        PAGE_FILES[ROW.participant_id][KIND].append(PATH)


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
        relmat=lookup(dpath="{participant}/relmat", within=PAGE_FILES),
        coverage=lookup(dpath="{participant}/coverage", within=PAGE_FILES),
        petref=lookup(dpath="{participant}/petref", within=PAGE_FILES),
        petref_xfm=lookup(dpath="{participant}/petref_xfm", within=PAGE_FILES),
        pet_frames=lookup(dpath="{participant}/pet_frames", within=PAGE_FILES),
        pet_confounds=lookup(dpath="{participant}/pet_confounds", within=PAGE_FILES),
        pet_qc=lookup(dpath="{participant}/pet_qc", within=PAGE_FILES),
        tacs=lookup(dpath="{participant}/tacs", within=PAGE_FILES),
        srtm=lookup(dpath="{participant}/srtm", within=PAGE_FILES),
        fits=lookup(dpath="{participant}/fits", within=PAGE_FILES),
        bpnd_map=lookup(dpath="{participant}/bpnd_map", within=PAGE_FILES),
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


rule report_study:
    """Write the study page with group results, methods and the record of the whole run."""
    input:
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
        quality=["<derivatives>/group/desc-quality_table.tsv"] if QUALITY_TABLE else [],
        group_z=[
            f"<derivatives>/group/task-{task}_space-{MNI}_contrast-{contrast}_stat-z_statmap.nii.gz"
            for task in group_tasks()
            for contrast in CONTRASTS[task]
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
        srtm=[path for files in PAGE_FILES.values() for path in files["srtm"]],
        srtm_json=[path for files in PAGE_FILES.values() for path in files["srtm_json"]],
        bpnd_maps=[path for files in PAGE_FILES.values() for path in files["bpnd_map"]],
        features=collect(
            "<derivatives>/group/atlas-{atlas}_desc-fusion_features.tsv", atlas=ATLASES
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
        predictions=collect(
            "<derivatives>/group/model-{model}_desc-predictions_predictions.tsv",
            model=MODELS,
        ),
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


rule report:
    """Make every page."""
    input:
        "<reports>/index.html",
        collect("<reports>/{participant}.html", participant=PARTICIPANTS),


rule participants:
    """Make the page of every participant, without group results."""
    input:
        collect("<reports>/{participant}.html", participant=PARTICIPANTS),
