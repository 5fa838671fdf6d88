"""Fit the models with a plasma input to the regional curves of a PET scan."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.plasma import model

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    model(
        snakemake.input.tacs,
        snakemake.input.morph,
        snakemake.input.frame_weights,
        snakemake.input.frames,
        snakemake.input.frames_json,
        snakemake.input.inputfunction,
        snakemake.output,
        models=snakemake.params.models,
        vb=snakemake.params.vb,
        tstar_min=snakemake.params.tstar_min,
        integrals=snakemake.params.integrals,
        lumped_constant=snakemake.params.lumped_constant,
        weighting=snakemake.params.weighting,
        curves_json=snakemake.input.tacs_json,
    )
