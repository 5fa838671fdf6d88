"""Register one brain to the template and segment its tissues."""

from typing import TYPE_CHECKING

from neurobraid.anat.longitudinal import read_session
from neurobraid.anat.steps import to_template
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    mean = snakemake.input.mean
    to_template(
        snakemake.input.t1w,
        snakemake.input.mask,
        snakemake.input.mask_json,
        snakemake.output,
        quality=snakemake.params.quality,
        resolution=snakemake.params.resolution,
        warps=read_session(snakemake.wildcards.scan, *mean) if mean else None,
    )
