"""Take over one BOLD run that fMRIPrep has preprocessed, in every requested space."""

from typing import TYPE_CHECKING

from neurobraid.bold.adopt import adopt_run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    adopt_run(
        dict(snakemake.input.items()),
        dict(snakemake.output.items()),
        spaces=snakemake.params.spaces,
        resolution=snakemake.params.resolution_mm,
        interpolation=snakemake.params.interpolation,
        fd_threshold=snakemake.params.fd_threshold_mm,
    )
