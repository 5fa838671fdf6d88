"""Fit one declared brain age: raw accuracy of controls, gaps with both corrections, and tests of gaps."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.prediction.brain_age_model import write_brain_age

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_brain_age(
        snakemake.input.features,
        snakemake.input.participants,
        snakemake.params.record,
        snakemake.output,
        **snakemake.params.general,
    )
