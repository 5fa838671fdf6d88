"""Write a copy of one T1w without the face."""

from typing import TYPE_CHECKING

from neurobraid.anat.deface import write_defaced
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_defaced(
        snakemake.input.t1w,
        snakemake.input.mask,
        snakemake.input.forward,
        snakemake.output.t1w,
        snakemake.output.sidecar,
    )
