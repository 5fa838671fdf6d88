"""Measure the grey matter of every region of an atlas in one T1w scan."""

from typing import TYPE_CHECKING

from neurobraid.fusion.structure import write_structure
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_structure(
        snakemake.input.grey,
        snakemake.input.to_person,
        snakemake.input.to_template,
        snakemake.input.atlas,
        snakemake.input.atlas_table,
        snakemake.output,
        min_coverage=snakemake.params.min_coverage,
    )
