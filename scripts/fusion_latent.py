"""Find what modalities have in common over participants, with every guard against a chance finding."""

from typing import TYPE_CHECKING

from neurobraid.fusion.analysis import write_latent
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_latent(
        snakemake.input.features,
        snakemake.input.participants,
        snakemake.params.record,
        snakemake.output,
        min_coverage=snakemake.params.min_coverage,
    )
