"""Fit the models voxel by voxel and write the maps in T1w and template space."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.maps import write_maps

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_maps(
        snakemake.input.pet,
        snakemake.input.brain_mask,
        snakemake.input.warp,
        snakemake.input.reference,
        snakemake.input.reference_json,
        snakemake.input.frame_weights,
        snakemake.input.frames,
        snakemake.input.frames_json,
        snakemake.output,
        models=snakemake.params.models,
        window_min=snakemake.params.window_min,
        shared=snakemake.input.constants,
        records=snakemake.params.records,
        weighting=snakemake.params.weighting,
        n=snakemake.params.n,
        k2a=snakemake.params.k2a,
        resolution=snakemake.params.resolution,
    )
