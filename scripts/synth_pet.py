"""Make one PET scan of the built-in study."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.synth.pet import write_pet

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_pet(
        snakemake.wildcards.scan,
        snakemake.input,
        snakemake.output,
        size=snakemake.params.size,
        seed=snakemake.params.seed,
    )
