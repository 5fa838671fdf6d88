"""Correct curves and image of a PET scan for partial volume."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.correction import correct

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    correct(
        snakemake.input.pet,
        snakemake.input.frames,
        snakemake.input.frames_json,
        snakemake.input.brain_mask,
        [snakemake.input.grey, snakemake.input.white, snakemake.input.csf],
        snakemake.input.warp,
        list(zip(snakemake.input.atlases, snakemake.input.tables, strict=True)),
        snakemake.input.morph,
        snakemake.output,
        names=snakemake.params.names,
        method=snakemake.params.method,
        psf_mm=snakemake.params.psf_mm,
        iterations=snakemake.params.iterations,
        fuzzy=snakemake.params.masks == "fuzzy",
        reference_regions=snakemake.params.reference_regions,
        gm_threshold=snakemake.params.gm_threshold,
        erode=snakemake.params.erode,
        masks=snakemake.input.masks,
        records=snakemake.params.records,
    )
