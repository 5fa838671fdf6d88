"""Decompose the scans of a task into networks."""

from typing import TYPE_CHECKING

from neurobraid.connectivity.components import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(
        snakemake.input,
        snakemake.output,
        count=snakemake.params.components["number"],
        method=snakemake.params.components["method"],
        seed=snakemake.params.components["seed"],
        strategy_name=snakemake.params.strategy,
        own=snakemake.params.own,
        band_hz=snakemake.params.band_hz,
        smoothing_mm=snakemake.params.smoothing_mm,
    )
