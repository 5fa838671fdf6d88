"""Gather the effects of regions over the participants of a task."""

from typing import TYPE_CHECKING

from neurobraid.activation.designed import run_regions
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run_regions(
        {atlas: list(snakemake.input[atlas]) for atlas in snakemake.params.atlases},
        snakemake.output,
        min_participants=snakemake.params.min_participants,
    )
