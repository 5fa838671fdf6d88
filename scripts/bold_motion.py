"""Estimate the reference and the head motion of one BOLD run."""

from typing import TYPE_CHECKING

from neurobraid.bold.motion import motion_run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    motion_run(snakemake.input.bold, snakemake.input.sidecars, dict(snakemake.output.items()))
