"""Gather the quality of every PET scan in one table and mark the outliers."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.quality import write_quality

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_quality(
        list(zip(snakemake.input.fitted, snakemake.input.curves, strict=True)),
        snakemake.output.table,
        snakemake.output.sidecar,
    )
