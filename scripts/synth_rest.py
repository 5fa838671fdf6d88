"""Make one resting scan of the built-in study."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.synth.bold import write_rest

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_rest(
        snakemake.wildcards.scan,
        snakemake.input,
        snakemake.output,
        size=snakemake.params.size,
        seed=snakemake.params.seed,
    )
