# Stage synth: the built-in PET/MR study, raw BIDS with known truth (only when no dataset is given), and the cohort of tables.

if BUILTIN:

    rule synth_dataset:
        """Describe the built-in study: participants, shared sidecars, the atlas and the truth of the group."""
        output:
            description="<raw>/dataset_description.json",
            readme="<raw>/README",
            participants="<raw>/participants.tsv",
            participants_json="<raw>/participants.json",
            sessions="<raw>/sub-03/sub-03_sessions.tsv",
            motor="<raw>/task-motor_bold.json",
            rest="<raw>/task-rest_bold.json",
            truth="<raw>/derivatives/truth/dataset_description.json",
            atlas="<raw>/derivatives/truth/tpl-MNI152NLin2009aSym_atlas-braid100_dseg.nii.gz",
            atlas_table="<raw>/derivatives/truth/tpl-MNI152NLin2009aSym_atlas-braid100_dseg.tsv",
            activation="<raw>/derivatives/truth/atlas-braid100_desc-activation_truth.tsv",
            activation_json="<raw>/derivatives/truth/atlas-braid100_desc-activation_truth.json",
            kinetics="<raw>/derivatives/truth/atlas-braid100_desc-binding_truth.tsv",
            networks="<raw>/derivatives/truth/atlas-braid100_desc-networks_truth.tsv",
            map_left="<raw>/derivatives/truth/task-motor_space-MNI152NLin2009aSym_contrast-left_desc-psc_statmap.nii.gz",
            map_right="<raw>/derivatives/truth/task-motor_space-MNI152NLin2009aSym_contrast-right_desc-psc_statmap.nii.gz",
            map_leftVsRight="<raw>/derivatives/truth/task-motor_space-MNI152NLin2009aSym_contrast-leftVsRight_desc-psc_statmap.nii.gz",
            map_motor="<raw>/derivatives/truth/task-motor_space-MNI152NLin2009aSym_contrast-motor_desc-psc_statmap.nii.gz",
        log:
            "logs/synth_dataset/study.log",
        benchmark:
            "logs/benchmarks/synth_dataset/study.tsv"
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(1000),
            runtime=10,
        params:
            size=lookup(dpath="synth/size", within=config),
            seed=lookup(dpath="synth/seed", within=config),
            code=code_digest("synth"),
        script:
            "../../scripts/synth_dataset.py"

    rule synth_anat:
        """Make a T1-weighted scan: a template brain in a person's shape inside a drawn head."""
        output:
            image="<raw>/{visit}/anat/{scan}_T1w.nii.gz",
            sidecar="<raw>/{visit}/anat/{scan}_T1w.json",
            dseg="<raw>/derivatives/truth/{visit}/anat/{scan}_dseg.nii.gz",
            to_mni="<raw>/derivatives/truth/{visit}/anat/{scan}_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm.h5",
            to_t1w="<raw>/derivatives/truth/{visit}/anat/{scan}_from-MNI152NLin2009aSym_to-T1w_mode-image_xfm.h5",
            truth="<raw>/derivatives/truth/{visit}/anat/{scan}_desc-truth_T1w.json",
        log:
            "logs/synth_anat/{visit}/{scan}.log",
        benchmark:
            "logs/benchmarks/synth_anat/{visit}/{scan}.tsv"
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(1000),
            runtime=10,
        params:
            size=lookup(dpath="synth/size", within=config),
            seed=lookup(dpath="synth/seed", within=config),
            code=code_digest("synth"),
        script:
            "../../scripts/synth_anat.py"

    rule synth_task:
        """Make a run of the motor task with planted activation."""
        output:
            image="<raw>/{visit}/func/{scan}_bold.nii.gz",
            sidecar="<raw>/{visit}/func/{scan}_bold.json",
            events="<raw>/{visit}/func/{scan}_events.tsv",
            motion="<raw>/derivatives/truth/{visit}/func/{scan}_desc-truth_motion.tsv",
            hmc="<raw>/derivatives/truth/{visit}/func/{scan}_from-orig_to-boldref_mode-image_desc-truth_xfm.txt",
            coreg="<raw>/derivatives/truth/{visit}/func/{scan}_from-boldref_to-T1w_mode-image_desc-truth_xfm.txt",
            truth="<raw>/derivatives/truth/{visit}/func/{scan}_desc-truth_motion.json",
        log:
            "logs/synth_task/{visit}/{scan}.log",
        benchmark:
            "logs/benchmarks/synth_task/{visit}/{scan}.tsv"
        wildcard_constraints:
            scan=r"sub-[a-zA-Z0-9]+(_ses-[a-zA-Z0-9]+)?_task-motor(_run-[0-9]+)?",
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(1200),
            runtime=10,
        params:
            size=lookup(dpath="synth/size", within=config),
            seed=lookup(dpath="synth/seed", within=config),
            code=code_digest("synth"),
        script:
            "../../scripts/synth_task.py"

    rule synth_rest:
        """Make a resting scan with planted networks."""
        input:
            atlas="<raw>/derivatives/truth/tpl-MNI152NLin2009aSym_atlas-braid100_dseg.nii.gz",
            atlas_table="<raw>/derivatives/truth/tpl-MNI152NLin2009aSym_atlas-braid100_dseg.tsv",
        output:
            image="<raw>/{visit}/func/{scan}_bold.nii.gz",
            sidecar="<raw>/{visit}/func/{scan}_bold.json",
            motion="<raw>/derivatives/truth/{visit}/func/{scan}_desc-truth_motion.tsv",
            hmc="<raw>/derivatives/truth/{visit}/func/{scan}_from-orig_to-boldref_mode-image_desc-truth_xfm.txt",
            coreg="<raw>/derivatives/truth/{visit}/func/{scan}_from-boldref_to-T1w_mode-image_desc-truth_xfm.txt",
            truth="<raw>/derivatives/truth/{visit}/func/{scan}_desc-truth_motion.json",
            planted="<raw>/derivatives/truth/{visit}/func/{scan}_atlas-braid100_desc-planted_relmat.tsv",
            realised="<raw>/derivatives/truth/{visit}/func/{scan}_atlas-braid100_desc-realised_relmat.tsv",
        log:
            "logs/synth_rest/{visit}/{scan}.log",
        benchmark:
            "logs/benchmarks/synth_rest/{visit}/{scan}.tsv"
        wildcard_constraints:
            scan=r"sub-[a-zA-Z0-9]+(_ses-[a-zA-Z0-9]+)?_task-rest(_run-[0-9]+)?",
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(1200),
            runtime=10,
        params:
            size=lookup(dpath="synth/size", within=config),
            seed=lookup(dpath="synth/seed", within=config),
            code=code_digest("synth"),
        script:
            "../../scripts/synth_rest.py"

    rule synth_pet:
        """Make a dynamic PET scan from exact kinetics."""
        input:
            atlas="<raw>/derivatives/truth/tpl-MNI152NLin2009aSym_atlas-braid100_dseg.nii.gz",
            atlas_table="<raw>/derivatives/truth/tpl-MNI152NLin2009aSym_atlas-braid100_dseg.tsv",
        output:
            image="<raw>/{visit}/pet/{scan}_pet.nii.gz",
            sidecar="<raw>/{visit}/pet/{scan}_pet.json",
            motion="<raw>/derivatives/truth/{visit}/pet/{scan}_desc-truth_motion.tsv",
            hmc="<raw>/derivatives/truth/{visit}/pet/{scan}_from-orig_to-petref_mode-image_desc-truth_xfm.txt",
            coreg="<raw>/derivatives/truth/{visit}/pet/{scan}_from-petref_to-T1w_mode-image_desc-truth_xfm.txt",
            kinetics="<raw>/derivatives/truth/{visit}/pet/{scan}_atlas-braid100_desc-truth_kinpar.tsv",
            tacs="<raw>/derivatives/truth/{visit}/pet/{scan}_atlas-braid100_desc-truth_tacs.tsv",
            truth="<raw>/derivatives/truth/{visit}/pet/{scan}_desc-truth_motion.json",
        log:
            "logs/synth_pet/{visit}/{scan}.log",
        benchmark:
            "logs/benchmarks/synth_pet/{visit}/{scan}.tsv"
        conda:
            "../../envs/environment.yaml"
        threads: 1
        resources:
            mem_mb=memory(1000),
            runtime=10,
        params:
            size=lookup(dpath="synth/size", within=config),
            seed=lookup(dpath="synth/seed", within=config),
            code=code_digest("synth"),
        script:
            "../../scripts/synth_pet.py"


rule synth_cohort:
    """Draw the cohort of feature tables with known group differences (no images)."""
    output:
        features="<derivatives>/cohort/desc-cohort_features.tsv",
        features_json="<derivatives>/cohort/desc-cohort_features.json",
        participants="<derivatives>/cohort/participants.tsv",
        participants_json="<derivatives>/cohort/participants.json",
        truth="<derivatives>/cohort/truth.json",
    log:
        "logs/synth_cohort/cohort.log",
    benchmark:
        "logs/benchmarks/synth_cohort/cohort.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(300),
        runtime=5,
    params:
        seed=lookup(dpath="synth/seed", within=config),
        settings=lookup(dpath="synth/cohort", within=config),
        code=code_digest("synth"),
    script:
        "../../scripts/synth_cohort.py"


rule synth_trial:
    """Draw the trial of feature tables with several visits, two arms and planted slopes and effects (no images)."""
    output:
        features="<derivatives>/trial/desc-trial_features.tsv",
        features_json="<derivatives>/trial/desc-trial_features.json",
        participants="<derivatives>/trial/participants.tsv",
        participants_json="<derivatives>/trial/participants.json",
        sessions="<derivatives>/trial/sessions.tsv",
        sessions_json="<derivatives>/trial/sessions.json",
        truth="<derivatives>/trial/truth.json",
    log:
        "logs/synth_trial/trial.log",
    benchmark:
        "logs/benchmarks/synth_trial/trial.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(300),
        runtime=5,
    params:
        seed=lookup(dpath="synth/seed", within=config),
        settings=lookup(dpath="synth/trial", within=config),
        code=code_digest("synth"),
    script:
        "../../scripts/synth_trial.py"
