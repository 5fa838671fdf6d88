"""Fit the kinetic models to the regional curves of a PET scan."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.model import model

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    model(
        snakemake.input.tacs,
        snakemake.input.morph,
        snakemake.input.reference,
        snakemake.input.reference_json,
        snakemake.input.frame_weights,
        snakemake.input.frames,
        snakemake.input.frames_json,
        snakemake.output,
        models=snakemake.params.models,
        window_min=snakemake.params.window_min,
        shared=snakemake.input.constants,
        records=snakemake.params.records,
        centiloid=snakemake.params.centiloid,
        weighting=snakemake.params.weighting,
        n=snakemake.params.n,
        k2a=snakemake.params.k2a,
    )
