"""Compute one part of the permutations of a contrast."""

from typing import TYPE_CHECKING

from neurobraid.activation.inference import permute
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    permute(snakemake.input, snakemake.output, int(snakemake.wildcards.part), **snakemake.params.settings)
