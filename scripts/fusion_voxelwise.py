"""Regress the contrast maps of all participants on their own binding maps, voxel by voxel."""

from typing import TYPE_CHECKING

from neurobraid.fusion.maps import write_voxelwise
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_voxelwise(
        snakemake.input.targets,
        snakemake.input.regressors,
        snakemake.input.participants,
        snakemake.params.record,
        snakemake.output,
    )
