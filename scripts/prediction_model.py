"""Fit one declared model with nested grouped cross-validation and a permutation test."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.prediction.model import write_model

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_model(
        snakemake.input.features,
        snakemake.input.participants,
        snakemake.params.model,
        snakemake.output,
        regions=next(iter(snakemake.input.regions), None),
        sessions=list(snakemake.input.get("sessions", [])),
        plan=snakemake.input.get("plan"),
        code=snakemake.params.code,
        series=snakemake.input.series,
        maps=snakemake.input.maps,
        adopted=snakemake.params.adopted,
        **snakemake.params.general,
    )
