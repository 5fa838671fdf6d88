"""Map how well the conditions are told apart around every voxel of one participant."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.prediction.decoding_model import write_searchlight

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_searchlight(
        snakemake.input.images,
        snakemake.input.tables,
        snakemake.input.atlas,
        snakemake.params.record,
        snakemake.output,
        **snakemake.params.general,
    )
