"""Average the matrices of a task over scans and participants."""

from typing import TYPE_CHECKING

from neurobraid.connectivity.group import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(snakemake.input, snakemake.output, snakemake.params.measures)
