"""Map the gradients of connectivity of the group and of every participant."""

from typing import TYPE_CHECKING

from neurobraid.connectivity.gradients import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(
        snakemake.input,
        snakemake.output,
    )
