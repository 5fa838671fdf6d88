"""neurobraid: from raw BIDS fMRI and PET/MR to a study report, in nine stages."""

from snakemake.utils import min_version

min_version("9.20")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


pathvars:
    raw="bids",
    derivatives="results/derivatives",
    index="results/index",
    reports="results/reports",


wildcard_constraints:
    participant=r"sub-[a-zA-Z0-9+]+",
    visit=r"sub-[a-zA-Z0-9+]+(/ses-[a-zA-Z0-9+]+)?",
    scan=r"sub-[a-zA-Z0-9+]+(_(ses|task|acq|ce|trc|rec|dir|run|echo|part)-[a-zA-Z0-9+]+)*",
    space=r"[a-zA-Z0-9]+",
    atlas=r"[a-zA-Z0-9]+",
    task=r"[a-zA-Z0-9]+",
    contrast=r"[a-zA-Z0-9]+",
    measure=r"[a-zA-Z0-9]+",
    network=r"(task-[a-zA-Z0-9]+_)?atlas-[a-zA-Z0-9]+",
    model=r"[a-zA-Z0-9]+",


include: "workflow/rules/planning.smk"
include: "workflow/rules/common.smk"


rule all:
    """The study page, every participant's page, and every file of every stage."""
    default_target: True
    input:
        every_stage,


include: "workflow/rules/0_synth.smk"
include: "workflow/rules/1_index.smk"
include: "workflow/rules/2_anat.smk"
include: "workflow/rules/3_bold.smk"
include: "workflow/rules/4_pet.smk"
include: "workflow/rules/5_activation.smk"
include: "workflow/rules/6_connectivity.smk"
include: "workflow/rules/7_fusion.smk"
include: "workflow/rules/8_prediction.smk"
include: "workflow/rules/9_report.smk"
