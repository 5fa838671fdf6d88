"""Take over the anatomy that fMRIPrep made of one T1w."""

from typing import TYPE_CHECKING

from neurobraid.anat.adopt import adopt
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    adopt(
        dict(snakemake.input.items()),
        snakemake.output,
        resolution=snakemake.params.resolution,
        quality=snakemake.params.quality,
    )
