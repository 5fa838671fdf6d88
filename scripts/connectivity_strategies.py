"""Compare denoising strategies on the scans of a task."""

from typing import TYPE_CHECKING

from neurobraid.connectivity.strategies import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(
        snakemake.input,
        snakemake.output,
        names=snakemake.params.strategies,
        band_hz=snakemake.params.band_hz,
        min_coverage=snakemake.params.min_coverage,
        own=snakemake.params.own,
    )
