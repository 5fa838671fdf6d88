"""Average the matrices of adopted region series and list the series."""

from typing import TYPE_CHECKING

from neurobraid.connectivity.adopted import run_group
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run_group(snakemake.input, snakemake.output, snakemake.params.measures)
