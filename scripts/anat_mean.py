"""Write the unbiased mean of one participant's T1w sessions and its way to the template."""

from typing import TYPE_CHECKING

from neurobraid.anat.longitudinal import write_mean
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_mean(
        list(snakemake.params.scans),
        list(snakemake.input.t1w),
        list(snakemake.input.mask),
        snakemake.output,
        quality=snakemake.params.quality,
    )
