"""Make one T1-weighted scan of the built-in study."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.synth.anatomy import write_t1w

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_t1w(
        snakemake.wildcards.scan,
        snakemake.output,
        size=snakemake.params.size,
        seed=snakemake.params.seed,
    )
