"""Estimate k2' of the reference and t* of the linear models of a PET scan."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.constants import estimate

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    estimate(
        snakemake.input.tacs,
        snakemake.input.morph,
        snakemake.input.reference,
        snakemake.input.reference_json,
        snakemake.input.frame_weights,
        snakemake.input.frames,
        snakemake.input.frames_json,
        snakemake.output.constants,
        models=snakemake.params.models,
        k2prime=snakemake.params.k2prime,
        tstar_min=snakemake.params.tstar_min,
        mrtm_tstar_min=snakemake.params.mrtm_tstar_min,
        integrals=snakemake.params.integrals,
    )
