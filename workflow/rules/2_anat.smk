# Stage anat: brain mask, tissues and normalisation of every T1w scan.

TISSUES = ["GM", "WM", "CSF"]


rule anat_brain:
    """Turn a T1w to RAS, correct its intensity bias and find the brain."""
    input:
        t1w=raw("T1w"),
        validated=ancient("<index>/validation.tsv"),
        mask=config["anat"]["mask"] or [],
    output:
        t1w="<derivatives>/{visit}/anat/{scan}_desc-preproc_T1w.nii.gz",
        t1w_json="<derivatives>/{visit}/anat/{scan}_desc-preproc_T1w.json",
        mask="<derivatives>/{visit}/anat/{scan}_desc-brain_mask.nii.gz",
        mask_json="<derivatives>/{visit}/anat/{scan}_desc-brain_mask.json",
    log:
        "logs/anat_brain/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/anat_brain/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 60),
        runtime=30,
    params:
        n4=lookup(dpath="anat/n4", within=config),
        code=code_digest("anat"),
    script:
        "../../scripts/anat_brain.py"


rule anat_mean:
    """Average the T1w sessions of a participant without bias to one of them, and register the mean."""
    input:
        t1w=participant_scans(
            "T1w", "<derivatives>/{visit}/anat/{scan}_desc-preproc_T1w.nii.gz"
        ),
        mask=participant_scans(
            "T1w", "<derivatives>/{visit}/anat/{scan}_desc-brain_mask.nii.gz"
        ),
    output:
        mean="<derivatives>/{participant}/anat/{participant}_desc-mean_T1w.nii.gz",
        mean_json="<derivatives>/{participant}/anat/{participant}_desc-mean_T1w.json",
        mask="<derivatives>/{participant}/anat/{participant}_desc-mean_mask.nii.gz",
        mask_json="<derivatives>/{participant}/anat/{participant}_desc-mean_mask.json",
        transforms="<derivatives>/{participant}/anat/{participant}_from-T1w_to-mean_mode-image_xfm.json",
        forward=f"<derivatives>/{{participant}}/anat/{{participant}}_from-mean_to-{MNI}_mode-image_xfm.h5",
        inverse=f"<derivatives>/{{participant}}/anat/{{participant}}_from-{MNI}_to-mean_mode-image_xfm.h5",
    log:
        "logs/anat_mean/{participant}.log",
    benchmark:
        "logs/benchmarks/anat_mean/{participant}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 40),
        runtime=60,
    params:
        scans=participant_scans("T1w", "{scan}"),
        quality=lookup(dpath="anat/quality", within=config),
        code=code_digest("anat"),
    script:
        "../../scripts/anat_mean.py"


rule anat_normalize:
    """Register a brain to the template, segment its tissues and write both in template space."""
    input:
        t1w="<derivatives>/{visit}/anat/{scan}_desc-preproc_T1w.nii.gz",
        mask="<derivatives>/{visit}/anat/{scan}_desc-brain_mask.nii.gz",
        mask_json="<derivatives>/{visit}/anat/{scan}_desc-brain_mask.json",
        mean=mean_of_sessions,
    output:
        forward=f"<derivatives>/{{visit}}/anat/{{scan}}_from-T1w_to-{MNI}_mode-image_xfm.h5",
        inverse=f"<derivatives>/{{visit}}/anat/{{scan}}_from-{MNI}_to-T1w_mode-image_xfm.h5",
        dseg="<derivatives>/{visit}/anat/{scan}_dseg.nii.gz",
        dseg_json="<derivatives>/{visit}/anat/{scan}_dseg.json",
        probseg=collect(
            "<derivatives>/{{visit}}/anat/{{scan}}_label-{tissue}_probseg.nii.gz",
            tissue=TISSUES,
        ),
        probseg_json=collect(
            "<derivatives>/{{visit}}/anat/{{scan}}_label-{tissue}_probseg.json",
            tissue=TISSUES,
        ),
        mni_t1w=f"<derivatives>/{{visit}}/anat/{{scan}}_space-{MNI}_desc-preproc_T1w.nii.gz",
        mni_t1w_json=f"<derivatives>/{{visit}}/anat/{{scan}}_space-{MNI}_desc-preproc_T1w.json",
        mni_mask=f"<derivatives>/{{visit}}/anat/{{scan}}_space-{MNI}_desc-brain_mask.nii.gz",
        mni_mask_json=f"<derivatives>/{{visit}}/anat/{{scan}}_space-{MNI}_desc-brain_mask.json",
        mni_probseg=collect(
            "<derivatives>/{{visit}}/anat/{{scan}}_space-{mni}_label-{tissue}_probseg.nii.gz",
            mni=MNI,
            tissue=TISSUES,
        ),
        mni_probseg_json=collect(
            "<derivatives>/{{visit}}/anat/{{scan}}_space-{mni}_label-{tissue}_probseg.json",
            mni=MNI,
            tissue=TISSUES,
        ),
        qc="<derivatives>/{visit}/anat/{scan}_desc-anat_qc.json",
    log:
        "logs/anat_normalize/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/anat_normalize/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 20),
        runtime=60,
    params:
        quality=lookup(dpath="anat/quality", within=config),
        resolution=lookup(dpath="anat/resolution", within=config),
        code=code_digest("anat"),
    script:
        "../../scripts/anat_normalize.py"


rule anat_morphometry:
    """Write the volumes of brain and tissues, and the grey-matter map modulated by the Jacobian."""
    input:
        mask="<derivatives>/{visit}/anat/{scan}_desc-brain_mask.nii.gz",
        probseg=collect(
            "<derivatives>/{{visit}}/anat/{{scan}}_label-{tissue}_probseg.nii.gz",
            tissue=TISSUES,
        ),
        forward=f"<derivatives>/{{visit}}/anat/{{scan}}_from-T1w_to-{MNI}_mode-image_xfm.h5",
    output:
        modulated=f"<derivatives>/{{visit}}/anat/{{scan}}_space-{MNI}_label-GM_desc-modulated_probseg.nii.gz",
        modulated_json=f"<derivatives>/{{visit}}/anat/{{scan}}_space-{MNI}_label-GM_desc-modulated_probseg.json",
        table="<derivatives>/{visit}/anat/{scan}_desc-brain_morph.tsv",
        table_json="<derivatives>/{visit}/anat/{scan}_desc-brain_morph.json",
    log:
        "logs/anat_morphometry/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/anat_morphometry/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 20),
        runtime=15,
    params:
        resolution=lookup(dpath="anat/resolution", within=config),
        code=code_digest("anat"),
    script:
        "../../scripts/anat_morphometry.py"


rule anat_deface:
    """Write a copy of a T1w without the face, for sharing."""
    input:
        t1w="<derivatives>/{visit}/anat/{scan}_desc-preproc_T1w.nii.gz",
        mask="<derivatives>/{visit}/anat/{scan}_desc-brain_mask.nii.gz",
        forward=f"<derivatives>/{{visit}}/anat/{{scan}}_from-T1w_to-{MNI}_mode-image_xfm.h5",
    output:
        t1w="<derivatives>/{visit}/anat/{scan}_desc-defaced_T1w.nii.gz",
        sidecar="<derivatives>/{visit}/anat/{scan}_desc-defaced_T1w.json",
    log:
        "logs/anat_deface/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/anat_deface/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 40),
        runtime=15,
    params:
        code=code_digest("anat"),
    script:
        "../../scripts/anat_deface.py"


rule anat_adopt:
    """Take over the anatomy of a T1w that fMRIPrep has preprocessed, and bring it to our template."""
    input:
        t1w=STUDY.adopted_file("T1w", "t1w"),
        mask=STUDY.adopted_file("T1w", "mask"),
        gm=STUDY.adopted_file("T1w", "gm"),
        wm=STUDY.adopted_file("T1w", "wm"),
        csf=STUDY.adopted_file("T1w", "csf"),
        forward=STUDY.adopted_file("T1w", "forward"),
        inverse=STUDY.adopted_file("T1w", "inverse"),
        description="derivatives/fmriprep/dataset_description.json",
        validated=ancient("<index>/validation.tsv"),
    output:
        t1w="<derivatives>/{visit}/anat/{scan}_desc-preproc_T1w.nii.gz",
        t1w_json="<derivatives>/{visit}/anat/{scan}_desc-preproc_T1w.json",
        mask="<derivatives>/{visit}/anat/{scan}_desc-brain_mask.nii.gz",
        mask_json="<derivatives>/{visit}/anat/{scan}_desc-brain_mask.json",
        correction=f"<derivatives>/{{visit}}/anat/{{scan}}_from-MNI152NLin2009cAsym_to-{MNI}_mode-image_xfm.h5",
        forward=f"<derivatives>/{{visit}}/anat/{{scan}}_from-T1w_to-{MNI}_mode-image_xfm.h5",
        inverse=f"<derivatives>/{{visit}}/anat/{{scan}}_from-{MNI}_to-T1w_mode-image_xfm.h5",
        dseg="<derivatives>/{visit}/anat/{scan}_dseg.nii.gz",
        dseg_json="<derivatives>/{visit}/anat/{scan}_dseg.json",
        probseg=collect(
            "<derivatives>/{{visit}}/anat/{{scan}}_label-{tissue}_probseg.nii.gz",
            tissue=TISSUES,
        ),
        probseg_json=collect(
            "<derivatives>/{{visit}}/anat/{{scan}}_label-{tissue}_probseg.json",
            tissue=TISSUES,
        ),
        mni_t1w=f"<derivatives>/{{visit}}/anat/{{scan}}_space-{MNI}_desc-preproc_T1w.nii.gz",
        mni_t1w_json=f"<derivatives>/{{visit}}/anat/{{scan}}_space-{MNI}_desc-preproc_T1w.json",
        mni_mask=f"<derivatives>/{{visit}}/anat/{{scan}}_space-{MNI}_desc-brain_mask.nii.gz",
        mni_mask_json=f"<derivatives>/{{visit}}/anat/{{scan}}_space-{MNI}_desc-brain_mask.json",
        mni_probseg=collect(
            "<derivatives>/{{visit}}/anat/{{scan}}_space-{mni}_label-{tissue}_probseg.nii.gz",
            mni=MNI,
            tissue=TISSUES,
        ),
        mni_probseg_json=collect(
            "<derivatives>/{{visit}}/anat/{{scan}}_space-{mni}_label-{tissue}_probseg.json",
            mni=MNI,
            tissue=TISSUES,
        ),
        qc="<derivatives>/{visit}/anat/{scan}_desc-anat_qc.json",
    log:
        "logs/anat_adopt/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/anat_adopt/{visit}/{scan}.tsv"
    wildcard_constraints:
        scan=STUDY.adopted_pattern("T1w"),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 20),
        runtime=60,
    params:
        resolution=lookup(dpath="anat/resolution", within=config),
        quality=lookup(dpath="anat/quality", within=config),
        code=code_digest("anat"),
    script:
        "../../scripts/anat_adopt.py"


ruleorder: anat_adopt > anat_brain
ruleorder: anat_adopt > anat_normalize


rule anat:
    """Everything of stage anat."""
    input:
        scans("T1w", "<derivatives>/{visit}/anat/{scan}_desc-anat_qc.json"),
        scans("T1w", "<derivatives>/{visit}/anat/{scan}_desc-brain_morph.tsv"),
        (
            scans("T1w", "<derivatives>/{visit}/anat/{scan}_desc-defaced_T1w.nii.gz")
            if config["anat"]["deface"]
            else []
        ),
