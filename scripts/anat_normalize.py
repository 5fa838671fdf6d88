"""Register one brain to the template and segment its tissues."""

from typing import TYPE_CHECKING

from neurobraid.anat.steps import to_template
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    to_template(
        snakemake.input.t1w,
        snakemake.input.mask,
        snakemake.input.mask_json,
        snakemake.output,
        quality=snakemake.params.quality,
        resolution=snakemake.params.resolution,
    )
