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


rule report_participant:
    """Write the page of one participant with its figures and the checksums of the files behind it."""
    input:
        scans="<index>/scans.tsv",
        pairing="<index>/pairing.tsv",
        exclusions="<index>/exclusions.tsv",
        participants=RAW_TABLES["participants.tsv"],
        participants_json=RAW_TABLES["participants.json"],
        atlas_tables=ATLAS_REGIONS,
        raw_t1w=collect(
            "<raw>/{path}",
            path=lookup(
                query="participant_id == '{participant}' and suffix == 'T1w'",
                cols="path",
                within=STUDY.index.scans,
            ),
        ),
        raw_bold=collect(
            "<raw>/{path}",
            path=lookup(
                query="participant_id == '{participant}' and suffix == 'bold'",
                cols="path",
                within=STUDY.index.scans,
            ),
        ),
        raw_pet=collect(
            "<raw>/{path}",
            path=lookup(
                query="participant_id == '{participant}' and suffix == 'pet'",
                cols="path",
                within=STUDY.index.scans,
            ),
        ),
        t1w=participant_scans("T1w", f"{ANAT_FILE}_desc-preproc_T1w.nii.gz"),
        brain=participant_scans("T1w", f"{ANAT_FILE}_desc-brain_mask.nii.gz"),
        dseg=participant_scans("T1w", f"{ANAT_FILE}_dseg.nii.gz"),
        t1w_mni=participant_scans(
            "T1w", f"{ANAT_FILE}_space-{MNI}_desc-preproc_T1w.nii.gz"
        ),
        anat_qc=participant_scans("T1w", f"{ANAT_FILE}_desc-anat_qc.json"),
        boldref=participant_scans("bold", f"{FUNC_FILE}_desc-coreg_boldref.nii.gz"),
        boldref_xfm=participant_scans(
            "bold", f"{FUNC_FILE}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt"
        ),
        bold_mask=participant_scans("bold", f"{FUNC_FILE}_desc-brain_mask.nii.gz"),
        bold_json=participant_scans(
            "bold", f"{FUNC_FILE}_space-{MNI}_desc-preproc_bold.json"
        ),
        confounds=participant_scans(
            "bold", f"{FUNC_FILE}_desc-confounds_timeseries.tsv"
        ),
        bold_qc=participant_scans("bold", f"{FUNC_FILE}_desc-bold_qc.json"),
        activation=[
            participant_scans(
                "bold",
                f"<derivatives>/{{participant}}/func/{{participant}}_task-{task}_space-{MNI}_contrast-{contrast}_stat-z_statmap.nii.gz",
                task=task,
            )
            for task in CONTRASTS
            for contrast in CONTRASTS[task]
        ],
        relmat=[
            participant_scans(
                "bold",
                f"{FUNC_FILE}_atlas-{atlas}_stat-{measure}_relmat.tsv",
                task=task,
            )
            for task in REST_TASKS
            for atlas in ATLASES
            for measure in MEASURES
        ],
        coverage=[
            participant_scans(
                "bold", f"{FUNC_FILE}_atlas-{atlas}_stat-coverage_bold.tsv", task=task
            )
            for task in REST_TASKS
            for atlas in ATLASES
        ],
        petref=participant_scans("pet", f"{PET_FILE}_petref.nii.gz"),
        petref_xfm=participant_scans(
            "pet", f"{PET_FILE}_from-petref_to-T1w_mode-image_desc-coreg_xfm.txt"
        ),
        pet_frames=participant_scans("pet", f"{PET_FILE}_desc-frames_timeseries.tsv"),
        pet_confounds=participant_scans(
            "pet", f"{PET_FILE}_desc-confounds_timeseries.tsv"
        ),
        pet_qc=participant_scans("pet", f"{PET_FILE}_desc-pet_qc.json"),
        tacs=[
            participant_scans("pet", f"{PET_FILE}_seg-{atlas}_desc-preproc_tacs.tsv")
            for atlas in ATLASES
        ],
        srtm=[
            participant_scans(
                "pet", f"{PET_FILE}_seg-{atlas}_model-{model}_kinpar.tsv"
            )
            for atlas in ATLASES
            for model in SRTM
        ],
        fits=[
            participant_scans(
                "pet", f"{PET_FILE}_seg-{atlas}_model-{model}_desc-fit_tacs.tsv"
            )
            for atlas in ATLASES
            for model in SRTM
        ],
        bpnd_map=[
            participant_scans(
                "pet",
                f"{PET_FILE}_space-{MNI}_model-{model}_meas-BPND_mimap.nii.gz",
            )
            for model in SRTM
        ],
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
        config=config,
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
        validation="<index>/validation.tsv",
        participants=RAW_TABLES["participants.tsv"],
        participants_json=RAW_TABLES["participants.json"],
        atlas_tables=ATLAS_REGIONS,
        anat_qc=scans("T1w", f"{ANAT_FILE}_desc-anat_qc.json"),
        confounds=scans("bold", f"{FUNC_FILE}_desc-confounds_timeseries.tsv"),
        bold_json=scans("bold", f"{FUNC_FILE}_space-{MNI}_desc-preproc_bold.json"),
        bold_qc=scans("bold", f"{FUNC_FILE}_desc-bold_qc.json"),
        pet_qc=scans("pet", f"{PET_FILE}_desc-pet_qc.json"),
        group_z=[
            f"<derivatives>/group/task-{task}_contrast-{contrast}_space-{MNI}_stat-z_statmap.nii.gz"
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
        srtm=[
            path
            for atlas in ATLASES
            for model in SRTM
            for path in scans(
                "pet", f"{PET_FILE}_seg-{atlas}_model-{model}_kinpar.tsv"
            )
        ],
        srtm_json=[
            path
            for atlas in ATLASES
            for model in SRTM
            for path in scans(
                "pet", f"{PET_FILE}_seg-{atlas}_model-{model}_kinpar.json"
            )
        ],
        bpnd_maps=[
            path
            for model in SRTM
            for path in scans(
                "pet",
                f"{PET_FILE}_space-{MNI}_model-{model}_meas-BPND_mimap.nii.gz",
            )
        ],
        features=collect(
            "<derivatives>/group/atlas-{atlas}_desc-fusion_features.tsv", atlas=ATLASES
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
        config=config,
        code=code_digest("reports"),
    script:
        "../../scripts/report_study.py"


rule report:
    """Make every page."""
    input:
        "<reports>/index.html",
