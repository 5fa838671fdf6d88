"""Estimate a group design (groups, covariates, F tests) for every contrast of participants."""

from typing import TYPE_CHECKING

from neurobraid.activation.designed import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(
        snakemake.params.node,
        snakemake.params.contrasts,
        snakemake.input,
        snakemake.output,
        without=snakemake.params.without,
        **snakemake.params.settings,
    )
