"""Stage fusion: one tidy table of regional features per atlas, joined by label."""

PET_MORPH = "<derivatives>/{visit}/pet/{scan}_seg-{atlas}_desc-preproc_morph.tsv"
# what each table joins; the segmentation of curves that another program made has PET, and volumes, only
FUSED = {
    atlas: {
        "regions": (
            [f"{DERIVATIVES}/atlases/tpl-{MNI}_atlas-{atlas}_dseg.tsv"]
            if atlas in ATLASES
            else pet_scans(PET_MORPH, atlas)
        ),
        "task": [
            f"{DERIVATIVES}/{participant}/func/{participant}_task-{task}_atlas-{atlas}_stat-effect_bold.tsv"
            for task in CONTRASTS
            for participant in participants_with("bold", model=task)
            if atlas in ATLASES
        ],
        "rest": [
            path
            for task in REST_TASKS
            for path in scans(
                "bold",
                f"<derivatives>/{{visit}}/func/{{scan}}_atlas-{atlas}_stat-pearsoncorrelation_relmat.tsv",
                task=task,
            )
            if "pearsoncorrelation" in MEASURES and atlas in ATLASES
        ],
        "coverage": [
            path
            for task in REST_TASKS
            for path in scans(
                "bold",
                f"<derivatives>/{{visit}}/func/{{scan}}_atlas-{atlas}_stat-coverage_bold.tsv",
                task=task,
            )
            if atlas in ATLASES
        ],
        **{
            kind: [
                path
                for model in PET_FUSED
                for path in pet_scans(
                    f"<derivatives>/{{visit}}/pet/{{scan}}_seg-{{atlas}}_model-{model}_kinpar.{ending}",
                    atlas,
                )
            ]
            for kind, ending in (("kinetics", "tsv"), ("kinetics_json", "json"))
        },
        "volumes": [] if atlas in ATLASES else pet_scans(PET_MORPH, atlas),
        "structure": [
            path
            for path in scans(
                "T1w",
                f"<derivatives>/{{visit}}/anat/{{scan}}_seg-{atlas}_desc-structure_morph.tsv",
            )
            if atlas in ATLASES
        ],
    }
    for atlas in [*ATLASES, *SEGMENTATIONS]
}
# tables of further modalities: everything that is wrong with them is said before the first job
FEATURE_RECORDS = config["fusion"]["features"]
PEOPLE = PARTICIPANTS or STUDY.listed
if FEATURE_RECORDS:
    from neurobraid.fusion import features as _features

    checked(
        _features.check_features,
        FEATURE_RECORDS,
        PEOPLE,
        _features.known_regions(config["atlases"]),
    )


rule fusion_structure:
    """Measure the grey matter of every region in one T1w scan; write the atlas on its grid."""
    input:
        grey="<derivatives>/{visit}/anat/{scan}_label-GM_probseg.nii.gz",
        to_person=f"<derivatives>/{{visit}}/anat/{{scan}}_from-T1w_to-{MNI}_mode-image_xfm.h5",
        to_template=f"<derivatives>/{{visit}}/anat/{{scan}}_from-{MNI}_to-T1w_mode-image_xfm.h5",
        atlas=f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg.nii.gz",
        atlas_table=f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg.tsv",
    output:
        table="<derivatives>/{visit}/anat/{scan}_seg-{atlas}_desc-structure_morph.tsv",
        sidecar="<derivatives>/{visit}/anat/{scan}_seg-{atlas}_desc-structure_morph.json",
        dseg="<derivatives>/{visit}/anat/{scan}_seg-{atlas}_dseg.nii.gz",
        dseg_json="<derivatives>/{visit}/anat/{scan}_seg-{atlas}_dseg.json",
        dseg_tsv="<derivatives>/{visit}/anat/{scan}_seg-{atlas}_dseg.tsv",
    log:
        "logs/fusion_structure/{visit}/{scan}_{atlas}.log",
    benchmark:
        "logs/benchmarks/fusion_structure/{visit}/{scan}_{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 8),
        runtime=15,
    params:
        min_coverage=lookup(dpath="fusion/min_coverage", within=config),
        code=code_digest("fusion"),
    script:
        "../../scripts/fusion_structure.py"


rule fusion_table:
    """Join the regional features of all participants and modalities into one tidy table."""
    input:
        atlas_table=lookup(dpath="{atlas}/regions", within=FUSED),
        task=lookup(dpath="{atlas}/task", within=FUSED),
        rest=lookup(dpath="{atlas}/rest", within=FUSED),
        coverage=lookup(dpath="{atlas}/coverage", within=FUSED),
        kinetics=lookup(dpath="{atlas}/kinetics", within=FUSED),
        kinetics_json=lookup(dpath="{atlas}/kinetics_json", within=FUSED),
        volumes=lookup(dpath="{atlas}/volumes", within=FUSED),
        structure=lookup(dpath="{atlas}/structure", within=FUSED),
        brain=scans("T1w", "<derivatives>/{visit}/anat/{scan}_desc-brain_morph.tsv"),
        further=[
            path
            for record in FEATURE_RECORDS
            for path in (
                record["path"],
                str(Path(record["path"]).with_suffix(".json")),
            )
        ],
    output:
        features="<derivatives>/group/atlas-{atlas}_desc-fusion_features.tsv",
        schema="<derivatives>/group/atlas-{atlas}_desc-fusion_features.json",
        wide="<derivatives>/group/atlas-{atlas}_desc-wide_features.tsv",
        wide_json="<derivatives>/group/atlas-{atlas}_desc-wide_features.json",
        availability="<derivatives>/group/atlas-{atlas}_desc-availability_table.tsv",
        availability_json="<derivatives>/group/atlas-{atlas}_desc-availability_table.json",
    log:
        "logs/fusion_table/{atlas}.log",
    benchmark:
        "logs/benchmarks/fusion_table/{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(500, 20),
        runtime=30,
    params:
        participants=PEOPLE,
        records=FEATURE_RECORDS,
        code=code_digest("fusion"),
    script:
        "../../scripts/fusion_table.py"


# coupling needs PET and fMRI; who has both is for the job to say
COUPLED = (
    ATLASES
    if config["fusion"]["coupling"]["enabled"]
    and PET_FUSED
    and STUDY.scans_of("pet")
    and (CONTRASTS or REST_TASKS)
    else []
)


PET_BINDING = [model for model in PET_MODELS if "BPND" in PET_MEASURES[model][0]]
# the first model that measures binding; uptake where none does
BINDING_MAPS = [
    place(
        f"<derivatives>/{{visit}}/pet/{{scan}}_space-{MNI}_model-{model}_meas-{PET_MEASURES[model][0][0]}_mimap.nii.gz",
        visit=row.visit,
        scan=row.scan,
    )
    for model in (PET_BINDING or PET_MODELS)[:1]
    for row in STUDY.pet_rows(imaged=True)
]
# what coupling by voxel reads: contrasts and connectivity strength, and binding, of the same people
COUPLED_FUNCTION = [
    path
    for having in PERSON_MAPS.values()
    for paths in having.values()
    for path in paths
] + [
    path
    for task in REST_TASKS
    if "strength" in config["connectivity"]["maps"]
    for path in scans(
        "bold", f"{REST_FILE}_space-{MNI}_stat-strength_boldmap.nii.gz", task=task
    )
]


rule fusion_coupling:
    """Couple function with binding or metabolism: within people, across people, and in the group's mean maps."""
    input:
        features="<derivatives>/group/atlas-{atlas}_desc-fusion_features.tsv",
        atlas_table=f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg.tsv",
        atlas_image=f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg.nii.gz",
        contrasts=COUPLED_FUNCTION if BINDING_MAPS else [],
        binding=BINDING_MAPS if COUPLED_FUNCTION else [],
        participants=(
            f"{RAW}/participants.tsv"
            if BUILTIN or Path(f"{RAW}/participants.tsv").exists()
            else []
        ),
    output:
        regional="<derivatives>/group/atlas-{atlas}_desc-coupling_table.tsv",
        regional_json="<derivatives>/group/atlas-{atlas}_desc-coupling_table.json",
        personal="<derivatives>/group/atlas-{atlas}_desc-personcoupling_table.tsv",
        personal_json="<derivatives>/group/atlas-{atlas}_desc-personcoupling_table.json",
        network="<derivatives>/group/atlas-{atlas}_desc-petcovariance_relmat.tsv",
        network_json="<derivatives>/group/atlas-{atlas}_desc-petcovariance_relmat.json",
        summary="<derivatives>/group/atlas-{atlas}_desc-coupling_summary.json",
    log:
        "logs/fusion_coupling/{atlas}.log",
    benchmark:
        "logs/benchmarks/fusion_coupling/{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 20),
        runtime=60,
    params:
        settings={
            "min_coverage": config["fusion"]["min_coverage"],
            **{
                key: value
                for key, value in config["fusion"]["coupling"].items()
                if key != "enabled"
            },
        },
        code=code_digest("fusion"),
    script:
        "../../scripts/fusion_coupling.py"


# maps of others: receptors, genes, PET; everything that is wrong with them is said before the first job
MAP_RECORDS = config["fusion"]["maps"]
if MAP_RECORDS:
    from neurobraid.fusion import features as _features, reference_maps as _maps

    checked(_maps.check_maps, MAP_RECORDS, _features.known_regions(config["atlases"]))
COMPARED_ATLASES = ATLASES if MAP_RECORDS else []


rule fusion_maps:
    """Compare the group's maps with reference maps: spatial nulls, FDR over maps, dominance analysis."""
    input:
        features="<derivatives>/group/atlas-{atlas}_desc-fusion_features.tsv",
        atlas_image=f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg.nii.gz",
        atlas_table=f"<derivatives>/atlases/tpl-{MNI}_atlas-{{atlas}}_dseg.tsv",
        maps=[record["path"] for record in MAP_RECORDS],
    output:
        table="<derivatives>/group/atlas-{atlas}_desc-mapassociation_table.tsv",
        table_json="<derivatives>/group/atlas-{atlas}_desc-mapassociation_table.json",
        dominance="<derivatives>/group/atlas-{atlas}_desc-mapdominance_table.tsv",
        dominance_json="<derivatives>/group/atlas-{atlas}_desc-mapdominance_table.json",
        maps="<derivatives>/group/atlas-{atlas}_desc-referencemaps_table.tsv",
        maps_json="<derivatives>/group/atlas-{atlas}_desc-referencemaps_table.json",
    log:
        "logs/fusion_maps/{atlas}.log",
    benchmark:
        "logs/benchmarks/fusion_maps/{atlas}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 20),
        runtime=60,
    params:
        records=MAP_RECORDS,
        settings=lookup(dpath="fusion/association", within=config),
        min_coverage=lookup(dpath="fusion/min_coverage", within=config),
        code=code_digest("fusion"),
    script:
        "../../scripts/fusion_maps.py"


# receptor-weighted connectivity: maps of others by name, and the participant's own binding
REACT = config["fusion"]["react"]
REACT_RECORDS = [record for record in MAP_RECORDS if record["name"] in REACT["maps"]]
REACT_OWN = {
    row.scan: [
        path
        for other, path in zip(STUDY.pet_rows(imaged=True), BINDING_MAPS)
        if other.participant_id == row.participant_id and REACT["own"]
    ][:1]
    for task in REST_TASKS
    for row in STUDY.scans_of("bold", task=task)
}
REACT_FILE = f"<derivatives>/{{visit}}/func/{{scan}}_space-{MNI}_stat-react_boldmap"
REACT_FILES = [
    place(f"{REACT_FILE}.nii.gz", visit=row.visit, scan=row.scan)
    for task in REST_TASKS
    for row in STUDY.scans_of("bold", task=task)
    if REACT_RECORDS or REACT_OWN[row.scan]
]
if REACT["maps"]:
    checked(_maps.check_react, REACT["maps"], MAP_RECORDS)


rule fusion_react:
    """Weight the connectivity of one resting scan by receptor maps, of others or the participant's own (REACT)."""
    input:
        bold=f"<derivatives>/{{visit}}/func/{{scan}}_space-{MNI}_desc-preproc_bold.nii.gz",
        metadata=f"<derivatives>/{{visit}}/func/{{scan}}_space-{MNI}_desc-preproc_bold.json",
        mask=f"<derivatives>/{{visit}}/func/{{scan}}_space-{MNI}_desc-brain_mask.nii.gz",
        confounds="<derivatives>/{visit}/func/{scan}_desc-confounds_timeseries.tsv",
        confounds_json="<derivatives>/{visit}/func/{scan}_desc-confounds_timeseries.json",
        maps=[record["path"] for record in REACT_RECORDS],
        own=lookup(dpath="{scan}", within=REACT_OWN),
    output:
        weights=f"{REACT_FILE}.nii.gz",
        weights_json=f"{REACT_FILE}.json",
        courses="<derivatives>/{visit}/func/{scan}_desc-react_timeseries.tsv",
        courses_json="<derivatives>/{visit}/func/{scan}_desc-react_timeseries.json",
    log:
        "logs/fusion_react/{visit}/{scan}.log",
    benchmark:
        "logs/benchmarks/fusion_react/{visit}/{scan}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(600, 40),
        runtime=30,
    params:
        records=REACT_RECORDS,
        smoothing_mm=REACT["smoothing_mm"],
        strategy=lookup(dpath="connectivity/strategy", within=config),
        own=lookup(dpath="connectivity/strategies", within=config),
        band_hz=lookup(dpath="connectivity/band_hz", within=config),
        code=code_digest("fusion"),
    script:
        "../../scripts/fusion_react.py"


LATENT_RECORDS = {record["name"]: record for record in config["fusion"]["latent"]}
LATENT_ATLAS = {
    name: record["atlas"] or SEGMENTATIONS[0] for name, record in LATENT_RECORDS.items()
}
LATENT_TABLES = {
    name: f"{DERIVATIVES}/group/atlas-{atlas}_desc-fusion_features.tsv"
    for name, atlas in LATENT_ATLAS.items()
}


rule fusion_latent:
    """Find what modalities have in common over participants, with permutation, bootstrap, halves and held-out people."""
    input:
        features=lookup(dpath="{model}", within=LATENT_TABLES),
        participants=(
            f"{RAW}/participants.tsv"
            if BUILTIN or Path(f"{RAW}/participants.tsv").exists()
            else []
        ),
    output:
        components="<derivatives>/group/model-{model}_desc-latent_table.tsv",
        components_json="<derivatives>/group/model-{model}_desc-latent_table.json",
        weights="<derivatives>/group/model-{model}_desc-latentweights_table.tsv",
        weights_json="<derivatives>/group/model-{model}_desc-latentweights_table.json",
    log:
        "logs/fusion_latent/{model}.log",
    benchmark:
        "logs/benchmarks/fusion_latent/{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(800, 20),
        runtime=120,
    params:
        record=lookup(dpath="{model}", within=LATENT_RECORDS),
        min_coverage=lookup(dpath="fusion/min_coverage", within=config),
        code=code_digest("fusion"),
    script:
        "../../scripts/fusion_latent.py"


# contrast on binding: where the task, the contrast and a model that measures binding exist
VOXELWISE_RECORDS = {
    record["name"]: record
    for record in config["fusion"]["voxelwise"]
    if record["contrast"] in CONTRASTS.get(record["task"], [])
    and PET_BINDING
    and STUDY.scans_of("pet")
}
VOXELWISE_FILES = {
    name: {
        "targets": PERSON_MAPS[record["task"]][record["contrast"]],
        "regressors": [
            place(
                f"<derivatives>/{{visit}}/pet/{{scan}}_space-{MNI}_model-{PET_BINDING[0]}_meas-BPND_mimap.nii.gz",
                visit=row.visit,
                scan=row.scan,
            )
            for row in STUDY.pet_rows(imaged=True)
            if record["tracer"] in ("", row.trc)
        ],
    }
    for name, record in VOXELWISE_RECORDS.items()
}


rule fusion_voxelwise:
    """Regress a contrast on each participant's own binding at every voxel, with p corrected by permutation."""
    input:
        targets=lookup(dpath="{model}/targets", within=VOXELWISE_FILES),
        regressors=lookup(dpath="{model}/regressors", within=VOXELWISE_FILES),
        participants=(
            f"{RAW}/participants.tsv"
            if BUILTIN or Path(f"{RAW}/participants.tsv").exists()
            else []
        ),
    output:
        effect=f"<derivatives>/group/space-{MNI}_model-{{model}}_stat-effect_statmap.nii.gz",
        t=f"<derivatives>/group/space-{MNI}_model-{{model}}_stat-t_statmap.nii.gz",
        logp=f"<derivatives>/group/space-{MNI}_model-{{model}}_stat-logpmaxt_statmap.nii.gz",
        sidecar=f"<derivatives>/group/space-{MNI}_model-{{model}}_statmap.json",
    log:
        "logs/fusion_voxelwise/{model}.log",
    benchmark:
        "logs/benchmarks/fusion_voxelwise/{model}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000, 20),
        runtime=120,
    params:
        record=lookup(dpath="{model}", within=VOXELWISE_RECORDS),
        code=code_digest("fusion"),
    script:
        "../../scripts/fusion_voxelwise.py"


rule fusion:
    """Make the fusion tables of all atlases, and their coupling."""
    input:
        collect(
            "<derivatives>/group/atlas-{atlas}_desc-{name}.tsv",
            atlas=SEGMENTATIONS,
            name=["fusion_features", "wide_features", "availability_table"],
        ),
        collect(
            "<derivatives>/group/atlas-{atlas}_desc-coupling_summary.json",
            atlas=COUPLED,
        ),
        collect(
            "<derivatives>/group/atlas-{atlas}_desc-mapassociation_table.tsv",
            atlas=COMPARED_ATLASES,
        ),
        REACT_FILES,
        collect(
            "<derivatives>/group/model-{model}_desc-latent_table.tsv",
            model=LATENT_RECORDS,
        ),
        collect(
            f"<derivatives>/group/space-{MNI}_model-{{model}}_stat-t_statmap.nii.gz",
            model=VOXELWISE_RECORDS,
        ),
