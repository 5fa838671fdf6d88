"""Read the frames of a PET scan and estimate its motion and its position to T1w."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.fit import fit

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    fit(
        list(snakemake.input.pet),
        snakemake.input.sidecars,
        snakemake.input.t1w,
        snakemake.input.brain_mask,
        [snakemake.input.grey, snakemake.input.white, snakemake.input.csf],
        snakemake.output,
        participant=snakemake.wildcards.visit.split("/")[0],
        session=snakemake.wildcards.visit.partition("/")[2],
        participants=[*snakemake.input.participants, *snakemake.input.sessions],
        fwhm_mm=snakemake.params.fwhm_mm,
        start_min=snakemake.params.start_min,
    )
