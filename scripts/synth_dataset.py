"""Write what belongs to the whole built-in study."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.synth.dataset import write_dataset

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_dataset(
        snakemake.output,
        size=snakemake.params.size,
        seed=snakemake.params.seed,
    )
