"""Extract the time-activity curves of a PET scan."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.tacs import extract

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    extract(
        snakemake.input.pet,
        snakemake.input.frames,
        snakemake.input.frames_json,
        snakemake.input.brain_mask,
        snakemake.input.grey,
        snakemake.input.warp,
        list(zip(snakemake.input.atlases, snakemake.input.tables, strict=True)),
        snakemake.output,
        names=snakemake.params.names,
        reference_regions=snakemake.params.reference_regions,
        gm_threshold=snakemake.params.gm_threshold,
        weighting=snakemake.params.weighting,
        erode=snakemake.params.erode,
        masks=snakemake.input.masks,
        white=snakemake.input.white,
        records=snakemake.params.records,
    )
