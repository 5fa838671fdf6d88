"""Average the searchlight maps of all participants."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.prediction.decoding_model import write_mean_searchlight

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_mean_searchlight(
        snakemake.input.maps,
        snakemake.params.record,
        snakemake.output,
    )
