"""Model one task run: maps of every contrast, the design, and effects of every region."""

from typing import TYPE_CHECKING

from neurobraid.activation.first_level import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(
        snakemake.input,
        snakemake.output,
        snakemake.params.model,
        snakemake.params.atlases,
        noise_model=snakemake.params.noise_model,
        drift=snakemake.params.drift,
        high_pass_hz=snakemake.params.high_pass_hz,
        smoothing_mm=snakemake.params.smoothing_mm,
        scrub=snakemake.params.scrub,
        trials=snakemake.params.trials,
    )
