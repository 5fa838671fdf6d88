"""Summarise decoding over participants, or decode across them."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.prediction.decoding_model import write_group

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_group(
        snakemake.input.summaries,
        snakemake.params.record,
        snakemake.output,
        images=snakemake.input.images,
        tables=snakemake.input.tables,
        atlas=snakemake.input.atlas,
        participants=snakemake.params.participants,
        **snakemake.params.general,
    )
