"""Measure the graphs of every scan and of the group."""

from typing import TYPE_CHECKING

from neurobraid.connectivity.graph import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(
        snakemake.input,
        snakemake.output,
    )
