"""Make one run of the motor task of the built-in study."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.synth.bold import write_task

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_task(
        snakemake.wildcards.scan,
        snakemake.output,
        size=snakemake.params.size,
        seed=snakemake.params.seed,
    )
