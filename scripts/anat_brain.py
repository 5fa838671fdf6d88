"""Write the bias-corrected T1w of one scan and its brain mask."""

from typing import TYPE_CHECKING

from neurobraid.anat.steps import extract
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    extract(
        list(snakemake.input.t1w),
        snakemake.output,
        n4=snakemake.params.n4,
        user_mask=snakemake.input.get("mask"),
    )
