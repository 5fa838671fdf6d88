"""Extract and denoise the regional series of one resting scan."""

from typing import TYPE_CHECKING

from neurobraid.connectivity.timeseries import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(
        snakemake.input,
        snakemake.output,
        strategy_name=snakemake.params.strategy,
        band_hz=snakemake.params.band_hz,
        own=snakemake.params.own,
    )
