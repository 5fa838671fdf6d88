"""Bring a PET scan to T1w space in one interpolation."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.resample import resample

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    resample(
        list(snakemake.input.pet),
        snakemake.input.frames,
        snakemake.input.frames_json,
        snakemake.input.hmc,
        snakemake.input.coreg,
        snakemake.input.t1w,
        snakemake.output,
    )
