"""Measure how connectivity varies over time, and in stationary surrogates."""

from typing import TYPE_CHECKING

from neurobraid.connectivity.dynamic import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(
        snakemake.input,
        snakemake.output,
        min_coverage=snakemake.params.min_coverage,
    )
