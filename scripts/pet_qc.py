"""Write the numbers of quality of a PET scan that its curves tell."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.quality import scan_quality
from neurobraid.pet.resample import read_frame_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    scan_quality(
        snakemake.input.pet,
        snakemake.input.brain_mask,
        *read_frame_table(snakemake.input.frames, snakemake.input.frames_json),
        snakemake.input.reference,
        snakemake.input.reference_json,
        snakemake.input.tacs,
        list(zip(snakemake.input.tables, snakemake.input.morph, strict=True)),
        snakemake.input.qc,
        snakemake.output.qc,
    )
