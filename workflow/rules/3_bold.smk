# Stage bold: everything estimated once per run, then one interpolation to every space.

UNMAPPED = "scan == '{scan}' and method == 'fieldmapless'"


rule bold_fit:
    """Estimate reference, head motion, position to T1w, brain mask and confounds of a BOLD run."""
    input:
        bold=raw("bold"),
        validated=ancient("<index>/validation.tsv"),
        sidecars=raw("bold", "sidecars"),
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
        hmc="<derivatives>/{visit}/func/{scan}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
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
        boldref="<derivatives>/{visit}/func/{scan}_desc-coreg_boldref.nii.gz",
        mask="<derivatives>/{visit}/func/{scan}_desc-brain_mask.nii.gz",
        hmc="<derivatives>/{visit}/func/{scan}_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt",
        coreg="<derivatives>/{visit}/func/{scan}_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt",
        qc="<derivatives>/{visit}/func/{scan}_desc-bold_qc.json",
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
        method=lookup(
            query="scan == '{scan}'", within=STUDY.index.fieldmaps, cols="method"
        ),
        modulate=lookup(dpath="bold/modulate", within=config),
        code=code_digest("bold"),
    script:
        "../../scripts/bold_fieldmap.py"


rule bold:
    """Preprocess every BOLD run into every space."""
    input:
        [
            path
            for space in SPACES
            for path in scans(
                "bold",
                f"<derivatives>/{{visit}}/func/{{scan}}_space-{space}_desc-preproc_bold.nii.gz",
            )
        ],
