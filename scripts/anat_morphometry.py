"""Write the volumes of one T1w scan and its modulated grey-matter map."""

from typing import TYPE_CHECKING

from neurobraid.anat.morphometry import write_morphometry
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_morphometry(
        snakemake.input.mask,
        list(snakemake.input.probseg),
        snakemake.input.forward,
        snakemake.output,
        resolution=snakemake.params.resolution,
    )
