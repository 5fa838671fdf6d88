"""Analyse one declared outcome over time, with and without adjustment for its value at baseline."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.prediction.outcome import write_outcome

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_outcome(
        snakemake.input.features,
        snakemake.input.participants,
        list(snakemake.input.get("sessions", [])),
        snakemake.params.record,
        snakemake.output,
        **snakemake.params.general,
    )
