"""Fit Logan, MA1 and Patlak voxel by voxel and write the maps in T1w and template space."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.plasma import write_maps

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_maps(
        snakemake.input.pet,
        snakemake.input.brain_mask,
        snakemake.input.warp,
        snakemake.input.frame_weights,
        snakemake.input.frames,
        snakemake.input.frames_json,
        snakemake.input.inputfunction,
        snakemake.output,
        models=snakemake.params.models,
        vb=snakemake.params.vb,
        tstar_min=snakemake.params.tstar_min,
        integrals=snakemake.params.integrals,
        resolution=snakemake.params.resolution,
        pet_json=snakemake.input.pet_json,
    )
