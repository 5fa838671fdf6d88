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
        snakemake.params.contrasts,
        snakemake.params.atlases,
        hrf=snakemake.params.hrf,
        noise_model=snakemake.params.noise_model,
        high_pass_hz=snakemake.params.high_pass_hz,
        smoothing_mm=snakemake.params.smoothing_mm,
        confound_names=snakemake.params.confounds,
    )
