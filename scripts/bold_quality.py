"""Gather the quality of every T1w and BOLD scan in one table and mark the outliers."""

from typing import TYPE_CHECKING

from neurobraid.bold.group_quality import write_quality
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_quality(snakemake.input.anat_qc, snakemake.input.bold_qc, snakemake.output)
