"""Make the maps of one resting scan by voxel."""

from typing import TYPE_CHECKING

from neurobraid.connectivity.maps import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(
        snakemake.input,
        snakemake.output,
        kinds=snakemake.params.maps,
        seeds=snakemake.params.seeds,
        strategy_name=snakemake.params.strategy,
        own=snakemake.params.own,
        band_hz=snakemake.params.band_hz,
        smoothing_mm=snakemake.params.smoothing_mm,
    )
