"""Make the arterial input function of a PET scan."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.inputfunction import write_scan

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_scan(
        snakemake.input.blood,
        snakemake.input.sidecars,
        snakemake.input.participants,
        snakemake.input.frames,
        snakemake.input.frames_json,
        snakemake.input.frame_weights,
        snakemake.output,
        participant=snakemake.wildcards.visit.split("/")[0],
        given=snakemake.input.given,
        delay=snakemake.params.delay,
        parent_model=snakemake.params.parent_model,
        interpolation=snakemake.params.interpolation,
        decay_corrected=snakemake.params.decay_corrected,
    )
