"""Take over the curves of one PET scan that another program made."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.pet.adopt import adopt

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    adopt(
        snakemake.input.tables,
        snakemake.input.sidecars,
        snakemake.output,
        visit=snakemake.wildcards.visit,
        scan=snakemake.wildcards.scan,
        segmentation=snakemake.params.segmentation,
        reference=snakemake.params.reference_regions,
        records=snakemake.params.records,
        groups=snakemake.params.groups,
        weighting=snakemake.params.weighting,
        end_min=snakemake.params.end_min,
        units=snakemake.params.units,
        nuclide=snakemake.params.nuclide,
        participants=[*snakemake.input.participants, *snakemake.input.sessions],
        confounds=snakemake.input.confounds,
        program=snakemake.params.program,
    )
