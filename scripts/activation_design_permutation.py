"""Compute one part of the permutations of a contrast of a group design."""

from typing import TYPE_CHECKING

from neurobraid.activation.designinference import permute
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    permute(
        snakemake.params.test["node"],
        snakemake.params.test["contrast"],
        snakemake.input,
        snakemake.output,
        int(snakemake.wildcards.part),
        **snakemake.params.settings,
    )
