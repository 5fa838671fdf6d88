# Stage bold: everything estimated once per run, then one interpolation to every space.

UNMAPPED = "scan == '{scan}' and method == 'fieldmapless'"


rule bold_motion:
    """Estimate the reference and the head motion of a BOLD run."""
    input:
        bold=raw("bold"),
        validated=ancient("<index>/validation.tsv"),
        sidecars=raw("bold", "sidecars"),
    output:
        boldref="<derivatives>/{visit}/func/{scan}_desc-hmc_boldref.nii.gz",
        boldref_json="<derivatives>/{visit}/func/{scan}_desc-hmc_boldref.json",
        mask="<derivatives>/{visit}/func/{scan}_desc-hmc_mask.nii.gz",
        mask_json="<derivatives>/{visit}/func/{scan}_desc-hmc_mask.json",
        hmc="<derivatives>/{visit}/func/{scan}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
    log:
        "logs/bold_motion/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/bold_motion/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 25),
        runtime=60,
    params:
        code=code_digest("bold"),
    script:
        "../../scripts/bold_motion.py"


rule bold_echoes:
    """Estimate T2* of a multi-echo BOLD run and combine its references."""
    input:
        bold=raw("bold"),
        sidecars=raw("bold", "sidecars"),
        boldref="<derivatives>/{visit}/func/{scan}_desc-hmc_boldref.nii.gz",
        boldref_json="<derivatives>/{visit}/func/{scan}_desc-hmc_boldref.json",
        mask="<derivatives>/{visit}/func/{scan}_desc-hmc_mask.nii.gz",
        hmc="<derivatives>/{visit}/func/{scan}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
    output:
        t2star="<derivatives>/{visit}/func/{scan}_T2starmap.nii.gz",
        t2star_json="<derivatives>/{visit}/func/{scan}_T2starmap.json",
        boldref="<derivatives>/{visit}/func/{scan}_desc-optcom_boldref.nii.gz",
        boldref_json="<derivatives>/{visit}/func/{scan}_desc-optcom_boldref.json",
    log:
        "logs/bold_echoes/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/bold_echoes/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 10),
        runtime=60,
    params:
        code=code_digest("bold"),
    script:
        "../../scripts/bold_echoes.py"


rule bold_fieldmap:
    """Estimate the off-resonance field of a BOLD run, from its field map or by constrained registration."""
    input:
        boldref="<derivatives>/{visit}/func/{scan}_desc-hmc_boldref.nii.gz",
        mask="<derivatives>/{visit}/func/{scan}_desc-hmc_mask.nii.gz",
        sidecars=raw("bold", "sidecars"),
        validated=ancient("<index>/validation.tsv"),
        fieldmap=raw("fieldmap", "paths"),
        fieldmap_sidecars=raw("fieldmap", "sidecars"),
        t1w=branch(
            lookup(query=UNMAPPED, within=STUDY.index.fieldmaps, cols="method"),
            then=anatomy("bold", "desc-preproc_T1w.nii.gz"),
        ),
        brain_mask=branch(
            lookup(query=UNMAPPED, within=STUDY.index.fieldmaps, cols="method"),
            then=anatomy("bold", "desc-brain_mask.nii.gz"),
        ),
        gm=branch(
            lookup(query=UNMAPPED, within=STUDY.index.fieldmaps, cols="method"),
            then=anatomy("bold", "label-GM_probseg.nii.gz"),
        ),
        wm=branch(
            lookup(query=UNMAPPED, within=STUDY.index.fieldmaps, cols="method"),
            then=anatomy("bold", "label-WM_probseg.nii.gz"),
        ),
        csf=branch(
            lookup(query=UNMAPPED, within=STUDY.index.fieldmaps, cols="method"),
            then=anatomy("bold", "label-CSF_probseg.nii.gz"),
        ),
    output:
        fieldmap="<derivatives>/{visit}/func/{scan}_desc-sdc_fieldmap.nii.gz",
        fieldmap_json="<derivatives>/{visit}/func/{scan}_desc-sdc_fieldmap.json",
    log:
        "logs/bold_fieldmap/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/bold_fieldmap/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 25),
        runtime=30,
    params:
        method=STUDY.distortion_method,
        modulate=lookup(dpath="bold/modulate", within=config),
        code=code_digest("bold"),
    script:
        "../../scripts/bold_fieldmap.py"


rule bold_fit:
    """Estimate position to T1w, brain mask and confounds of a BOLD run."""
    input:
        bold=raw("bold"),
        sidecars=raw("bold", "sidecars"),
        boldref="<derivatives>/{visit}/func/{scan}_desc-hmc_boldref.nii.gz",
        boldref_json="<derivatives>/{visit}/func/{scan}_desc-hmc_boldref.json",
        mask="<derivatives>/{visit}/func/{scan}_desc-hmc_mask.nii.gz",
        hmc="<derivatives>/{visit}/func/{scan}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
        fieldmap=fieldmap_of(
            "<derivatives>/{visit}/func/{scan}_desc-sdc_fieldmap.nii.gz",
            "<derivatives>/{visit}/func/{scan}_desc-sdc_fieldmap.json",
        ),
        t2star=echoes_of("<derivatives>/{visit}/func/{scan}_T2starmap.nii.gz"),
        optcom=echoes_of("<derivatives>/{visit}/func/{scan}_desc-optcom_boldref.nii.gz"),
        t1w=anatomy("bold", "desc-preproc_T1w.nii.gz"),
        brain_mask=anatomy("bold", "desc-brain_mask.nii.gz"),
        gm=anatomy("bold", "label-GM_probseg.nii.gz"),
        wm=anatomy("bold", "label-WM_probseg.nii.gz"),
        csf=anatomy("bold", "label-CSF_probseg.nii.gz"),
    output:
        boldref="<derivatives>/{visit}/func/{scan}_desc-coreg_boldref.nii.gz",
        boldref_json="<derivatives>/{visit}/func/{scan}_desc-coreg_boldref.json",
        mask="<derivatives>/{visit}/func/{scan}_desc-brain_mask.nii.gz",
        mask_json="<derivatives>/{visit}/func/{scan}_desc-brain_mask.json",
        coreg="<derivatives>/{visit}/func/{scan}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt",
        confounds="<derivatives>/{visit}/func/{scan}_desc-confounds_timeseries.tsv",
        confounds_json="<derivatives>/{visit}/func/{scan}_desc-confounds_timeseries.json",
        qc="<derivatives>/{visit}/func/{scan}_desc-bold_qc.json",
    log:
        "logs/bold_fit/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/bold_fit/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 25),
        runtime=60,
    params:
        slice_timing=lookup(dpath="bold/slice_timing", within=config),
        slice_time_ref=lookup(dpath="bold/slice_time_ref", within=config),
        fd_threshold_mm=lookup(dpath="bold/fd_threshold_mm", within=config),
        std_dvars_threshold=lookup(dpath="bold/std_dvars_threshold", within=config),
        code=code_digest("bold"),
    script:
        "../../scripts/bold_fit.py"


rule bold_resample:
    """Write a BOLD run in every space through one interpolation of the raw voxels."""
    input:
        bold=raw("bold"),
        sidecars=raw("bold", "sidecars"),
        hmc="<derivatives>/{visit}/func/{scan}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
        hmc_json="<derivatives>/{visit}/func/{scan}_desc-hmc_boldref.json",
        boldref="<derivatives>/{visit}/func/{scan}_desc-coreg_boldref.nii.gz",
        mask="<derivatives>/{visit}/func/{scan}_desc-brain_mask.nii.gz",
        coreg="<derivatives>/{visit}/func/{scan}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt",
        fieldmap=fieldmap_of(
            "<derivatives>/{visit}/func/{scan}_desc-sdc_fieldmap.nii.gz",
            "<derivatives>/{visit}/func/{scan}_desc-sdc_fieldmap.json",
        ),
        t2star=echoes_of("<derivatives>/{visit}/func/{scan}_T2starmap.nii.gz"),
        t1w=anatomy("bold", "desc-preproc_T1w.nii.gz"),
        warp=anatomy("bold", f"from-T1w_to-{MNI}_mode-image_xfm.h5"),
    output:
        bold=collect(
            "<derivatives>/{{visit}}/func/{{scan}}_space-{space}_desc-preproc_bold.nii.gz",
            space=SPACES,
        ),
        bold_json=collect(
            "<derivatives>/{{visit}}/func/{{scan}}_space-{space}_desc-preproc_bold.json",
            space=SPACES,
        ),
        boldref=collect(
            "<derivatives>/{{visit}}/func/{{scan}}_space-{space}_boldref.nii.gz",
            space=SPACES,
        ),
        boldref_json=collect(
            "<derivatives>/{{visit}}/func/{{scan}}_space-{space}_boldref.json",
            space=SPACES,
        ),
        mask=collect(
            "<derivatives>/{{visit}}/func/{{scan}}_space-{space}_desc-brain_mask.nii.gz",
            space=SPACES,
        ),
        mask_json=collect(
            "<derivatives>/{{visit}}/func/{{scan}}_space-{space}_desc-brain_mask.json",
            space=SPACES,
        ),
    log:
        "logs/bold_resample/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/bold_resample/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 25),
        runtime=60,
    params:
        spaces=SPACES,
        resolution_mm=lookup(dpath="bold/resolution", within=config),
        interpolation=lookup(dpath="bold/interpolation", within=config),
        slice_timing=lookup(dpath="bold/slice_timing", within=config),
        slice_time_ref=lookup(dpath="bold/slice_time_ref", within=config),
        code=code_digest("bold"),
    script:
        "../../scripts/bold_resample.py"


rule bold_adopt:
    """Take over a BOLD run that fMRIPrep has preprocessed, and bring it to every space."""
    input:
        bold=STUDY.adopted_file("bold", "bold"),
        bold_json=STUDY.adopted_file("bold", "bold_json"),
        mask=STUDY.adopted_file("bold", "mask"),
        boldref=STUDY.adopted_file("bold", "boldref"),
        native_ref=STUDY.adopted_file("bold", "native_ref"),
        native_mask=STUDY.adopted_file("bold", "native_mask"),
        coreg=STUDY.adopted_file("bold", "coreg"),
        confounds=STUDY.adopted_file("bold", "confounds"),
        confounds_json=STUDY.adopted_file("bold", "confounds_json"),
        to_t1w=STUDY.adopted_file("bold", "inverse", of_t1w=True),
        description="derivatives/fmriprep/dataset_description.json",
        raw=raw("bold"),
        sidecars=raw("bold", "sidecars"),
        validated=ancient("<index>/validation.tsv"),
        t1w=anatomy("bold", "desc-preproc_T1w.nii.gz"),
        t1w_mask=anatomy("bold", "desc-brain_mask.nii.gz"),
        warp=anatomy("bold", f"from-T1w_to-{MNI}_mode-image_xfm.h5"),
        correction=anatomy(
            "bold", f"from-MNI152NLin2009cAsym_to-{MNI}_mode-image_xfm.h5"
        ),
    output:
        native_ref="<derivatives>/{visit}/func/{scan}_desc-coreg_boldref.nii.gz",
        native_ref_json="<derivatives>/{visit}/func/{scan}_desc-coreg_boldref.json",
        native_mask="<derivatives>/{visit}/func/{scan}_desc-brain_mask.nii.gz",
        native_mask_json="<derivatives>/{visit}/func/{scan}_desc-brain_mask.json",
        coreg="<derivatives>/{visit}/func/{scan}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt",
        confounds="<derivatives>/{visit}/func/{scan}_desc-confounds_timeseries.tsv",
        confounds_json="<derivatives>/{visit}/func/{scan}_desc-confounds_timeseries.json",
        qc="<derivatives>/{visit}/func/{scan}_desc-bold_qc.json",
        bold=collect(
            "<derivatives>/{{visit}}/func/{{scan}}_space-{space}_desc-preproc_bold.nii.gz",
            space=SPACES,
        ),
        bold_json=collect(
            "<derivatives>/{{visit}}/func/{{scan}}_space-{space}_desc-preproc_bold.json",
            space=SPACES,
        ),
        boldref=collect(
            "<derivatives>/{{visit}}/func/{{scan}}_space-{space}_boldref.nii.gz",
            space=SPACES,
        ),
        boldref_json=collect(
            "<derivatives>/{{visit}}/func/{{scan}}_space-{space}_boldref.json",
            space=SPACES,
        ),
        mask=collect(
            "<derivatives>/{{visit}}/func/{{scan}}_space-{space}_desc-brain_mask.nii.gz",
            space=SPACES,
        ),
        mask_json=collect(
            "<derivatives>/{{visit}}/func/{{scan}}_space-{space}_desc-brain_mask.json",
            space=SPACES,
        ),
    log:
        "logs/bold_adopt/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/bold_adopt/{visit}/{scan}.tsv"
    wildcard_constraints:
        scan=STUDY.adopted_pattern("bold"),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 3),
        runtime=60,
    params:
        spaces=SPACES,
        resolution_mm=lookup(dpath="bold/resolution", within=config),
        interpolation=lookup(dpath="bold/interpolation", within=config),
        fd_threshold_mm=lookup(dpath="bold/fd_threshold_mm", within=config),
        code=code_digest("bold"),
    script:
        "../../scripts/bold_adopt.py"


ruleorder: bold_adopt > bold_fit
ruleorder: bold_adopt > bold_resample


rule bold:
    """Preprocess every BOLD run into every space, and gather the quality of every scan."""
    input:
        [
            path
            for space in SPACES
            for path in scans(
                "bold",
                f"<derivatives>/{{visit}}/func/{{scan}}_space-{space}_desc-preproc_bold.nii.gz",
            )
        ],
        "<derivatives>/group/desc-quality_table.tsv",


rule bold_quality:
    """Gather the quality of every T1w and BOLD scan in one table and mark the outliers."""
    input:
        anat_qc=scans("T1w", "<derivatives>/{visit}/anat/{scan}_desc-anat_qc.json"),
        bold_qc=scans("bold", "<derivatives>/{visit}/func/{scan}_desc-bold_qc.json"),
    output:
        table="<derivatives>/group/desc-quality_table.tsv",
        sidecar="<derivatives>/group/desc-quality_table.json",
    log:
        "logs/bold_quality/study.log",
    benchmark:
        "logs/benchmarks/bold_quality/study.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=10,
    params:
        code=code_digest("bold"),
    script:
        "../../scripts/bold_quality.py"
