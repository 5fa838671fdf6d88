"""Compare the group's maps with reference maps, with spatial nulls and dominance analysis."""

from typing import TYPE_CHECKING

from neurobraid.fusion.reference_maps import write_association
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_association(
        snakemake.input.features,
        snakemake.input.atlas_image,
        snakemake.input.atlas_table,
        snakemake.params.records,
        snakemake.output,
        atlas=snakemake.wildcards.atlas,
        settings=snakemake.params.settings,
        min_coverage=snakemake.params.min_coverage,
    )
