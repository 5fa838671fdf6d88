"""Weight the connectivity of one resting scan by receptor maps (REACT)."""

from typing import TYPE_CHECKING

from neurobraid.fusion.react import write_react
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_react(
        snakemake.input,
        snakemake.output,
        snakemake.params.records,
        strategy_name=snakemake.params.strategy,
        band_hz=snakemake.params.band_hz,
        smoothing_mm=snakemake.params.smoothing_mm,
        strategies=snakemake.params.own,
    )
