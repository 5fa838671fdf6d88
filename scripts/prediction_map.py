"""Paint the pattern of a model into the regions of its atlas."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.prediction.maps import write_map

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_map(
        snakemake.input.pattern,
        snakemake.input.importance,
        snakemake.input.image,
        snakemake.input.regions,
        snakemake.output,
    )
