"""Couple function with binding or metabolism within people, across people, and in the group's mean maps."""

from typing import TYPE_CHECKING

from neurobraid.fusion.coupling import write_coupling
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_coupling(
        snakemake.input.features,
        snakemake.input.atlas_table,
        snakemake.input.participants,
        snakemake.output,
        atlas_image=snakemake.input.atlas_image,
        contrasts=snakemake.input.contrasts,
        binding=snakemake.input.binding,
        **snakemake.params.settings,
    )
