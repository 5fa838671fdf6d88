# Stage pet: frames and motion, resampling, curves, regional models, parametric maps.

# Measures of every model in both spaces, and those in T1w space only.
PET_MEASURES = {
    "SRTM": (["BPND", "R1"], ["k2", "residualvariance"]),
    "SRTM2": (["BPND", "R1"], ["k2", "residualvariance"]),
    "MRTM1": (["BPND", "R1"], ["k2", "residualvariance"]),
    "MRTM2": (["BPND", "R1"], ["k2", "residualvariance"]),
    "refLogan": (["BPND"], ["residualvariance"]),
    "refmlLogan": (["BPND"], ["residualvariance"]),
    "refPatlak": (["Kref"], ["residualvariance"]),
    "SUVR": (["SUVR"], []),
}
PET_PLASMA = [model for model in config["pet"]["models"] if model not in PET_MEASURES]
PET_MODELS = [model for model in config["pet"]["models"] if model in PET_MEASURES]
# Plasma models that are also fitted by voxel, and what their maps show. Rules need an output even where no such model is
# asked for: it is called none, and nothing asks for it.
PET_PLASMA_MEASURES = {"Logan": "VT", "MA1": "VT", "Patlak": "Ki"}
PET_PLASMA_MAPPED = [model for model in PET_PLASMA if model in PET_PLASMA_MEASURES]
PET_PLASMA_MAPS = [
    f"model-{model}_meas-{PET_PLASMA_MEASURES[model]}" for model in PET_PLASMA_MAPPED
]
# Model and measure of every map, in the order in which they are written.
PET_MAPS = [
    f"model-{model}_meas-{measure}"
    for model in PET_MODELS
    for measure in PET_MEASURES[model][0]
]
PET_T1W_MAPS = [
    f"model-{model}_meas-{measure}"
    for model in PET_MODELS
    for measure in PET_MEASURES[model][0] + PET_MEASURES[model][1]
]
# models in the order in which they enter the fusion table: the first that measures something gives it its plain name
PET_FUSED = PET_MODELS + PET_PLASMA
# segmentation of curves that another program made; a rule needs a name even where there are none
PET_ADOPTED = (STUDY.segmentations or ["none"])[0]
# k2' and t*, where a model has them
PET_CONSTANTS = (
    ["<derivatives>/{visit}/pet/{scan}_desc-constants_kinpar.json"]
    if set(PET_MODELS) - {"SRTM", "SUVR"}
    else []
)
# corrected for partial volume: the curves that models read, and the image that maps are made of
PET_PVC = config["pet"]["pvc"]
PET_VOXEL_PVC = PET_PVC if PET_PVC in ("rbv", "iy", "mg") else "none"
PET_CURVES = (
    "desc-preproc" if PET_PVC == "none" else f"pvc-{PET_PVC.upper()}_desc-preproc"
)
PET_IMAGE = (
    "desc-preproc"
    if PET_VOXEL_PVC == "none"
    else f"pvc-{PET_VOXEL_PVC.upper()}_desc-preproc"
)
PET_WEIGHTS = [name for name in [config["pet"]["weights"]] if name.endswith(".tsv")]
PET_MASKS = [
    name for name in config["pet"]["reference"] if name.endswith((".nii", ".nii.gz"))
]
PARTICIPANT_TABLES = [
    f"{RAW}/participants.{kind}"
    for kind in ("tsv", "json")
    if BUILTIN or Path(f"{RAW}/participants.{kind}").exists()
]


rule pet_fit:
    """Read frames, units and decay of a PET scan; estimate its motion and its position to T1w."""
    input:
        pet=raw("pet"),
        validated=ancient("<index>/validation.tsv"),
        sidecars=raw("pet", "sidecars"),
        participants=PARTICIPANT_TABLES,
        sessions=sessions_tables,
        t1w=anatomy("pet", "desc-preproc_T1w.nii.gz"),
        brain_mask=anatomy("pet", "desc-brain_mask.nii.gz"),
        grey=anatomy("pet", "label-GM_probseg.nii.gz"),
        white=anatomy("pet", "label-WM_probseg.nii.gz"),
        csf=anatomy("pet", "label-CSF_probseg.nii.gz"),
    output:
        frames="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.tsv",
        frames_json="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.json",
        petref="<derivatives>/{visit}/pet/{scan}_petref.nii.gz",
        petref_json="<derivatives>/{visit}/pet/{scan}_petref.json",
        uncorrected="<derivatives>/{visit}/pet/{scan}_desc-uncorrected_petref.nii.gz",
        uncorrected_json="<derivatives>/{visit}/pet/{scan}_desc-uncorrected_petref.json",
        profiles="<derivatives>/{visit}/pet/{scan}_desc-profiles_table.tsv",
        hmc="<derivatives>/{visit}/pet/{scan}_from-orig_to-petref_mode-image_desc-hmc_xfm.txt",
        coreg="<derivatives>/{visit}/pet/{scan}_from-petref_to-T1w_mode-image_desc-coreg_xfm.txt",
        confounds="<derivatives>/{visit}/pet/{scan}_desc-confounds_timeseries.tsv",
        confounds_json="<derivatives>/{visit}/pet/{scan}_desc-confounds_timeseries.json",
        qc="<derivatives>/{visit}/pet/{scan}_desc-pet_qc.json",
    log:
        "logs/pet_fit/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/pet_fit/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 12),
        runtime=60,
    params:
        fwhm_mm=lookup(dpath="pet/motion_fwhm_mm", within=config),
        start_min=lookup(dpath="pet/motion_start_min", within=config),
        code=code_digest("pet"),
    script:
        "../../scripts/pet_fit.py"


rule pet_resample:
    """Bring a PET scan to T1w space in one interpolation, as kBq/mL decay-corrected to injection."""
    input:
        pet=raw("pet"),
        frames="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.tsv",
        frames_json="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.json",
        hmc="<derivatives>/{visit}/pet/{scan}_from-orig_to-petref_mode-image_desc-hmc_xfm.txt",
        coreg="<derivatives>/{visit}/pet/{scan}_from-petref_to-T1w_mode-image_desc-coreg_xfm.txt",
        t1w=anatomy("pet", "desc-preproc_T1w.nii.gz"),
    output:
        pet="<derivatives>/{visit}/pet/{scan}_space-T1w_desc-preproc_pet.nii.gz",
        pet_json="<derivatives>/{visit}/pet/{scan}_space-T1w_desc-preproc_pet.json",
    log:
        "logs/pet_resample/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/pet_resample/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 12),
        runtime=60,
    params:
        code=code_digest("pet"),
    script:
        "../../scripts/pet_resample.py"


rule pet_tacs:
    """Extract time-activity curves of all atlases, of the reference region and of the brain."""
    input:
        pet="<derivatives>/{visit}/pet/{scan}_space-T1w_desc-preproc_pet.nii.gz",
        frames="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.tsv",
        frames_json="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.json",
        brain_mask=anatomy("pet", "desc-brain_mask.nii.gz"),
        grey=anatomy("pet", "label-GM_probseg.nii.gz"),
        white=anatomy("pet", "label-WM_probseg.nii.gz"),
        warp=anatomy("pet", f"from-{MNI}_to-T1w_mode-image_xfm.h5"),
        atlases=collect(
            "<derivatives>/atlases/tpl-{mni}_atlas-{atlas}_dseg.nii.gz",
            mni=MNI,
            atlas=ATLASES,
        ),
        tables=collect(
            "<derivatives>/atlases/tpl-{mni}_atlas-{atlas}_dseg.tsv",
            mni=MNI,
            atlas=ATLASES,
        ),
        masks=PET_MASKS,
        frame_weights=PET_WEIGHTS,
    output:
        tacs=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{atlas}_desc-preproc_tacs.tsv",
            atlas=ATLASES,
        ),
        tacs_json=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{atlas}_desc-preproc_tacs.json",
            atlas=ATLASES,
        ),
        morph=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{atlas}_desc-preproc_morph.tsv",
            atlas=ATLASES,
        ),
        reference="<derivatives>/{visit}/pet/{scan}_label-reference_desc-preproc_tacs.tsv",
        reference_json="<derivatives>/{visit}/pet/{scan}_label-reference_desc-preproc_tacs.json",
        weights="<derivatives>/{visit}/pet/{scan}_desc-weights_weights.tsv",
    log:
        "logs/pet_tacs/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/pet_tacs/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 12),
        runtime=60,
    params:
        names=ATLASES,
        reference_regions=lookup(dpath="pet/reference", within=config),
        erode=lookup(dpath="pet/reference_erosion_voxels", within=config),
        records=lookup(dpath="pet/presets", within=config),
        gm_threshold=lookup(dpath="pet/gm_threshold", within=config),
        weighting=lookup(dpath="pet/weights", within=config),
        code=code_digest("pet"),
    script:
        "../../scripts/pet_tacs.py"


rule pet_pvc:
    """Correct the curves of all atlases and of the reference region for partial volume, and the image where asked for."""
    input:
        pet="<derivatives>/{visit}/pet/{scan}_space-T1w_desc-preproc_pet.nii.gz",
        frames="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.tsv",
        frames_json="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.json",
        brain_mask=anatomy("pet", "desc-brain_mask.nii.gz"),
        grey=anatomy("pet", "label-GM_probseg.nii.gz"),
        white=anatomy("pet", "label-WM_probseg.nii.gz"),
        csf=anatomy("pet", "label-CSF_probseg.nii.gz"),
        warp=anatomy("pet", f"from-{MNI}_to-T1w_mode-image_xfm.h5"),
        atlases=collect(
            "<derivatives>/atlases/tpl-{mni}_atlas-{atlas}_dseg.nii.gz",
            mni=MNI,
            atlas=ATLASES,
        ),
        tables=collect(
            "<derivatives>/atlases/tpl-{mni}_atlas-{atlas}_dseg.tsv",
            mni=MNI,
            atlas=ATLASES,
        ),
        morph=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{atlas}_desc-preproc_morph.tsv",
            atlas=ATLASES,
        ),
        masks=PET_MASKS,
    output:
        tacs=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{atlas}_pvc-{{pvc}}_desc-preproc_tacs.tsv",
            atlas=ATLASES,
        ),
        tacs_json=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{atlas}_pvc-{{pvc}}_desc-preproc_tacs.json",
            atlas=ATLASES,
        ),
        reference="<derivatives>/{visit}/pet/{scan}_label-reference_pvc-{pvc}_desc-preproc_tacs.tsv",
        reference_json="<derivatives>/{visit}/pet/{scan}_label-reference_pvc-{pvc}_desc-preproc_tacs.json",
        pet=[
            "<derivatives>/{visit}/pet/{scan}_space-T1w_pvc-{pvc}_desc-preproc_pet.nii.gz"
            for name in [PET_VOXEL_PVC]
            if name != "none"
        ],
        pet_json=[
            "<derivatives>/{visit}/pet/{scan}_space-T1w_pvc-{pvc}_desc-preproc_pet.json"
            for name in [PET_VOXEL_PVC]
            if name != "none"
        ],
    log:
        "logs/pet_pvc/{visit}/{scan}_{pvc}.log",
    benchmark:
        "logs/benchmarks/pet_pvc/{visit}/{scan}_{pvc}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1500, 16),
        runtime=60,
    params:
        names=ATLASES,
        method=lookup(dpath="pet/pvc", within=config),
        psf_mm=lookup(dpath="pet/psf_fwhm_mm", within=config),
        iterations=lookup(dpath="pet/pvc_iterations", within=config),
        masks=lookup(dpath="pet/pvc_masks", within=config),
        reference_regions=lookup(dpath="pet/reference", within=config),
        erode=lookup(dpath="pet/reference_erosion_voxels", within=config),
        records=lookup(dpath="pet/presets", within=config),
        gm_threshold=lookup(dpath="pet/gm_threshold", within=config),
        code=code_digest("pet"),
    script:
        "../../scripts/pet_pvc.py"


rule pet_qc:
    """Measure what the curves of a PET scan tell of its quality, stability of the reference, noise, asymmetry."""
    input:
        pet="<derivatives>/{visit}/pet/{scan}_space-T1w_desc-preproc_pet.nii.gz",
        frames="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.tsv",
        frames_json="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.json",
        brain_mask=anatomy("pet", "desc-brain_mask.nii.gz"),
        qc="<derivatives>/{visit}/pet/{scan}_desc-pet_qc.json",
        reference="<derivatives>/{visit}/pet/{scan}_label-reference_desc-preproc_tacs.tsv",
        reference_json="<derivatives>/{visit}/pet/{scan}_label-reference_desc-preproc_tacs.json",
        tacs=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{atlas}_desc-preproc_tacs.tsv",
            atlas=ATLASES,
        ),
        morph=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{atlas}_desc-preproc_morph.tsv",
            atlas=ATLASES,
        ),
        tables=collect(
            "<derivatives>/atlases/tpl-{mni}_atlas-{atlas}_dseg.tsv",
            mni=MNI,
            atlas=ATLASES,
        ),
    output:
        qc="<derivatives>/{visit}/pet/{scan}_desc-curves_qc.json",
    log:
        "logs/pet_qc/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/pet_qc/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 12),
        runtime=20,
    params:
        code=code_digest("pet"),
    script:
        "../../scripts/pet_qc.py"


rule pet_quality:
    """Gather the quality of every PET scan in one table and mark the outliers."""
    input:
        fitted=scans("pet", "<derivatives>/{visit}/pet/{scan}_desc-pet_qc.json"),
        curves=scans("pet", "<derivatives>/{visit}/pet/{scan}_desc-curves_qc.json"),
    output:
        table="<derivatives>/group/desc-petquality_table.tsv",
        sidecar="<derivatives>/group/desc-petquality_table.json",
    log:
        "logs/pet_quality/study.log",
    benchmark:
        "logs/benchmarks/pet_quality/study.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=10,
    params:
        code=code_digest("pet"),
    script:
        "../../scripts/pet_quality.py"


rule pet_adopt:
    """Take over the curves of a PET scan that another program made, with frames, reference, weights and quality."""
    input:
        tables=STUDY.adopted_files("table", "table_json", "morph"),
        confounds=STUDY.adopted_files("confounds"),
        validated=ancient("<index>/validation.tsv"),
        sidecars=raw("pet", "sidecars"),
        participants=PARTICIPANT_TABLES,
        sessions=sessions_tables,
        frame_weights=PET_WEIGHTS,
    output:
        frames="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.tsv",
        frames_json="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.json",
        tacs=f"<derivatives>/{{visit}}/pet/{{scan}}_seg-{PET_ADOPTED}_desc-preproc_tacs.tsv",
        tacs_json=f"<derivatives>/{{visit}}/pet/{{scan}}_seg-{PET_ADOPTED}_desc-preproc_tacs.json",
        morph=f"<derivatives>/{{visit}}/pet/{{scan}}_seg-{PET_ADOPTED}_desc-preproc_morph.tsv",
        reference="<derivatives>/{visit}/pet/{scan}_label-reference_desc-preproc_tacs.tsv",
        reference_json="<derivatives>/{visit}/pet/{scan}_label-reference_desc-preproc_tacs.json",
        weights="<derivatives>/{visit}/pet/{scan}_desc-weights_weights.tsv",
        qc="<derivatives>/{visit}/pet/{scan}_desc-pet_qc.json",
        curves_qc="<derivatives>/{visit}/pet/{scan}_desc-curves_qc.json",
    log:
        "logs/pet_adopt/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/pet_adopt/{visit}/{scan}.tsv"
    wildcard_constraints:
        scan=STUDY.adopted_pattern("pet"),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=10,
    params:
        segmentation=PET_ADOPTED,
        program=STUDY.adopted_by(),
        reference_regions=lookup(dpath="pet/reference", within=config),
        records=lookup(dpath="pet/presets", within=config),
        weighting=lookup(dpath="pet/weights", within=config),
        groups=lookup(dpath="adopt/regions", within=config),
        end_min=lookup(dpath="adopt/end_min", within=config),
        units=lookup(dpath="adopt/units", within=config),
        nuclide=lookup(dpath="adopt/nuclide", within=config),
        code=code_digest("pet"),
    script:
        "../../scripts/pet_adopt.py"


ruleorder: pet_adopt > pet_fit
ruleorder: pet_adopt > pet_tacs
ruleorder: pet_adopt > pet_qc


rule pet_constants:
    """Estimate what all regions and voxels of a scan share: k2' of the reference, t* of the linear models."""
    input:
        tacs=of_scan(
            f"<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_{PET_CURVES}_tacs.tsv"
        ),
        morph=of_scan(
            "<derivatives>/{visit}/pet/{scan}_seg-{atlas}_desc-preproc_morph.tsv"
        ),
        reference=f"<derivatives>/{{visit}}/pet/{{scan}}_label-reference_{PET_CURVES}_tacs.tsv",
        reference_json=f"<derivatives>/{{visit}}/pet/{{scan}}_label-reference_{PET_CURVES}_tacs.json",
        frame_weights="<derivatives>/{visit}/pet/{scan}_desc-weights_weights.tsv",
        frames="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.tsv",
        frames_json="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.json",
    output:
        constants="<derivatives>/{visit}/pet/{scan}_desc-constants_kinpar.json",
    log:
        "logs/pet_constants/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/pet_constants/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=20,
    params:
        models=PET_MODELS,
        k2prime=lookup(dpath="pet/k2prime", within=config),
        tstar_min=lookup(dpath="pet/tstar_min", within=config),
        mrtm_tstar_min=lookup(dpath="pet/mrtm_tstar_min", within=config),
        integrals=lookup(dpath="pet/integrals", within=config),
        code=code_digest("pet"),
    script:
        "../../scripts/pet_constants.py"


rule pet_model:
    """Fit the kinetic models to the regional curves of an atlas."""
    input:
        tacs=f"<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_{PET_CURVES}_tacs.tsv",
        morph="<derivatives>/{visit}/pet/{scan}_seg-{atlas}_desc-preproc_morph.tsv",
        reference=f"<derivatives>/{{visit}}/pet/{{scan}}_label-reference_{PET_CURVES}_tacs.tsv",
        reference_json=f"<derivatives>/{{visit}}/pet/{{scan}}_label-reference_{PET_CURVES}_tacs.json",
        frame_weights="<derivatives>/{visit}/pet/{scan}_desc-weights_weights.tsv",
        frames="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.tsv",
        frames_json="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.json",
        constants=PET_CONSTANTS,
    output:
        kinpar=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_model-{model}_kinpar.tsv",
            model=PET_MODELS,
        ),
        kinpar_json=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_model-{model}_kinpar.json",
            model=PET_MODELS,
        ),
        fits=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_model-{model}_desc-fit_tacs.tsv",
            model=[model for model in PET_MODELS if model != "SUVR"],
        ),
        plots=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_model-{model}_desc-plot_table.tsv",
            model=[
                model for model in PET_MODELS if model in ("refLogan", "refPatlak")
            ],
        ),
    log:
        "logs/pet_model/{visit}/{scan}_{atlas}.log",
    benchmark:
        "logs/benchmarks/pet_model/{visit}/{scan}_{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=20,
    params:
        models=PET_MODELS,
        weighting=lookup(dpath="pet/weights", within=config),
        centiloid=lookup(dpath="pet/centiloid", within=config),
        window_min=lookup(dpath="pet/suvr_window_min", within=config),
        records=lookup(dpath="pet/presets", within=config),
        n=lookup(dpath="pet/n_basis", within=config),
        k2a=lookup(dpath="pet/k2a_range_per_min", within=config),
        code=code_digest("pet"),
    script:
        "../../scripts/pet_model.py"


rule pet_maps:
    """Fit the models voxel by voxel in T1w space and bring the maps to template space."""
    input:
        pet=f"<derivatives>/{{visit}}/pet/{{scan}}_space-T1w_{PET_IMAGE}_pet.nii.gz",
        brain_mask=anatomy("pet", "desc-brain_mask.nii.gz"),
        warp=anatomy("pet", f"from-T1w_to-{MNI}_mode-image_xfm.h5"),
        reference=f"<derivatives>/{{visit}}/pet/{{scan}}_label-reference_{PET_IMAGE}_tacs.tsv",
        reference_json=f"<derivatives>/{{visit}}/pet/{{scan}}_label-reference_{PET_IMAGE}_tacs.json",
        frame_weights="<derivatives>/{visit}/pet/{scan}_desc-weights_weights.tsv",
        frames="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.tsv",
        frames_json="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.json",
        constants=PET_CONSTANTS,
    output:
        native=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-T1w_{map}_mimap.nii.gz",
            map=PET_T1W_MAPS,
        ),
        native_json=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-T1w_{map}_mimap.json",
            map=PET_T1W_MAPS,
        ),
        template=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-{mni}_{map}_mimap.nii.gz",
            mni=MNI,
            map=PET_MAPS,
        ),
        template_json=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-{mni}_{map}_mimap.json",
            mni=MNI,
            map=PET_MAPS,
        ),
        valid=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-T1w_model-{model}_desc-validity_mask.nii.gz",
            model=PET_MODELS,
        ),
        valid_json=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-T1w_model-{model}_desc-validity_mask.json",
            model=PET_MODELS,
        ),
        template_valid=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-{mni}_model-{model}_desc-validity_mask.nii.gz",
            mni=MNI,
            model=PET_MODELS,
        ),
        template_valid_json=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-{mni}_model-{model}_desc-validity_mask.json",
            mni=MNI,
            model=PET_MODELS,
        ),
    log:
        "logs/pet_maps/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/pet_maps/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 12),
        runtime=60,
    params:
        models=PET_MODELS,
        weighting=lookup(dpath="pet/weights", within=config),
        window_min=lookup(dpath="pet/suvr_window_min", within=config),
        records=lookup(dpath="pet/presets", within=config),
        n=lookup(dpath="pet/n_basis", within=config),
        k2a=lookup(dpath="pet/k2a_range_per_min", within=config),
        resolution=lookup(dpath="anat/resolution", within=config),
        code=code_digest("pet"),
    script:
        "../../scripts/pet_maps.py"


rule pet_input:
    """Make the arterial input function of a scan from its blood: parent fraction, interpolation, delay."""
    input:
        blood=STUDY.blood_files(),
        given=STUDY.given_input_files(),
        validated=ancient("<index>/validation.tsv"),
        sidecars=raw("pet", "sidecars"),
        participants=PARTICIPANT_TABLES,
        frames="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.tsv",
        frames_json="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.json",
        frame_weights="<derivatives>/{visit}/pet/{scan}_desc-weights_weights.tsv",
    output:
        inputfunction="<derivatives>/{visit}/pet/{scan}_inputfunction.tsv",
        inputfunction_json="<derivatives>/{visit}/pet/{scan}_inputfunction.json",
        samples="<derivatives>/{visit}/pet/{scan}_desc-samples_timeseries.tsv",
    log:
        "logs/pet_input/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/pet_input/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500),
        runtime=20,
    params:
        delay=lookup(dpath="pet/plasma/delay_s", within=config),
        parent_model=lookup(dpath="pet/plasma/parent_model", within=config),
        interpolation=lookup(dpath="pet/plasma/interpolation", within=config),
        decay_corrected=lookup(dpath="pet/plasma/decay_corrected", within=config),
        code=code_digest("pet"),
    script:
        "../../scripts/pet_input.py"


rule pet_plasma:
    """Fit the models with a plasma input to the regional curves of an atlas."""
    input:
        tacs=f"<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_{PET_CURVES}_tacs.tsv",
        tacs_json=f"<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_{PET_CURVES}_tacs.json",
        morph="<derivatives>/{visit}/pet/{scan}_seg-{atlas}_desc-preproc_morph.tsv",
        frame_weights="<derivatives>/{visit}/pet/{scan}_desc-weights_weights.tsv",
        frames="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.tsv",
        frames_json="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.json",
        inputfunction=STUDY.input_function(
            f"{DERIVATIVES}/{{visit}}/pet/{{scan}}_inputfunction"
        ),
    output:
        kinpar=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_model-{model}_kinpar.tsv",
            model=PET_PLASMA or ["none"],
        ),
        kinpar_json=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_model-{model}_kinpar.json",
            model=PET_PLASMA or ["none"],
        ),
        fits=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_model-{model}_desc-fit_tacs.tsv",
            model=PET_PLASMA or ["none"],
        ),
        plots=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_model-{model}_desc-plot_table.tsv",
            model=PET_PLASMA_MAPPED,
        ),
    log:
        "logs/pet_plasma/{visit}/{scan}_{atlas}.log",
    benchmark:
        "logs/benchmarks/pet_plasma/{visit}/{scan}_{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800),
        runtime=20,
    params:
        models=PET_PLASMA,
        vb=lookup(dpath="pet/plasma/vb", within=config),
        tstar_min=lookup(dpath="pet/tstar_min", within=config),
        integrals=lookup(dpath="pet/integrals", within=config),
        lumped_constant=lookup(dpath="pet/plasma/lumped_constant", within=config),
        weighting=lookup(dpath="pet/weights", within=config),
        code=code_digest("pet"),
    script:
        "../../scripts/pet_plasma.py"


rule pet_plasma_maps:
    """Fit Logan, MA1 and Patlak voxel by voxel in T1w space and bring the maps to template space."""
    input:
        pet=f"<derivatives>/{{visit}}/pet/{{scan}}_space-T1w_{PET_IMAGE}_pet.nii.gz",
        pet_json=f"<derivatives>/{{visit}}/pet/{{scan}}_space-T1w_{PET_IMAGE}_pet.json",
        brain_mask=anatomy("pet", "desc-brain_mask.nii.gz"),
        warp=anatomy("pet", f"from-T1w_to-{MNI}_mode-image_xfm.h5"),
        frame_weights="<derivatives>/{visit}/pet/{scan}_desc-weights_weights.tsv",
        frames="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.tsv",
        frames_json="<derivatives>/{visit}/pet/{scan}_desc-frames_timeseries.json",
        inputfunction=STUDY.input_function(
            f"{DERIVATIVES}/{{visit}}/pet/{{scan}}_inputfunction"
        ),
    output:
        native=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-T1w_{map}_mimap.nii.gz",
            map=PET_PLASMA_MAPS or ["model-none_meas-none"],
        ),
        native_json=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-T1w_{map}_mimap.json",
            map=PET_PLASMA_MAPS or ["model-none_meas-none"],
        ),
        template=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-{mni}_{map}_mimap.nii.gz",
            mni=MNI,
            map=PET_PLASMA_MAPS or ["model-none_meas-none"],
        ),
        template_json=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-{mni}_{map}_mimap.json",
            mni=MNI,
            map=PET_PLASMA_MAPS or ["model-none_meas-none"],
        ),
        valid=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-T1w_model-{model}_desc-validity_mask.nii.gz",
            model=PET_PLASMA_MAPPED or ["none"],
        ),
        valid_json=collect(
            "<derivatives>/{{visit}}/pet/{{scan}}_space-T1w_model-{model}_desc-validity_mask.json",
            model=PET_PLASMA_MAPPED or ["none"],
        ),
    log:
        "logs/pet_plasma_maps/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/pet_plasma_maps/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 12),
        runtime=60,
    params:
        models=PET_PLASMA_MAPPED,
        vb=lookup(dpath="pet/plasma/vb", within=config),
        tstar_min=lookup(dpath="pet/tstar_min", within=config),
        integrals=lookup(dpath="pet/integrals", within=config),
        resolution=lookup(dpath="anat/resolution", within=config),
        code=code_digest("pet"),
    script:
        "../../scripts/pet_plasma_maps.py"


rule pet:
    """Make curves, regional parameters and maps of every PET scan, and gather their quality."""
    input:
        [
            path
            for model in PET_MODELS + PET_PLASMA
            for path in pet_scans(
                f"<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_model-{model}_kinpar.tsv",
            )
        ],
        [
            path
            for name in PET_MAPS + PET_PLASMA_MAPS
            for path in pet_scans(
                f"<derivatives>/{{visit}}/pet/{{scan}}_space-{MNI}_{name}_mimap.nii.gz",
                imaged=True,
            )
        ],
        [
            "<derivatives>/group/desc-petquality_table.tsv"
            for suffix in ["pet"]
            if participants_with(suffix)
        ],
