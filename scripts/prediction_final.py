"""Refit a model on everybody outside the lockbox and write it."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.prediction.final import write_final

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_final(
        snakemake.input.features,
        snakemake.input.participants,
        snakemake.input.summary,
        snakemake.params.model,
        snakemake.output,
        atlas=snakemake.input.get("atlas"),
        plan=snakemake.input.get("plan"),
        code=snakemake.params.code,
        **snakemake.params.general,
    )
