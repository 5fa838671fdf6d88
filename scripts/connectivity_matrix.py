"""Estimate the region-by-region matrices of one scan."""

from typing import TYPE_CHECKING

from neurobraid.connectivity.matrix import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(
        snakemake.input,
        snakemake.output,
        snakemake.params.measures,
        min_coverage=snakemake.params.min_coverage,
    )
