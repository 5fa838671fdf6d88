"""Test one contrast over participants on the cortical surface."""

from typing import TYPE_CHECKING

from neurobraid.activation.surface_group import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(snakemake.input, snakemake.output, snakemake.wildcards.contrast, **snakemake.params.settings)
