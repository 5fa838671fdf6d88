"""Join the regional features of all participants and modalities into one tidy table."""

from typing import TYPE_CHECKING

from neurobraid.fusion.table import write_fusion
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_fusion(
        snakemake.input.atlas_table,
        snakemake.params.participants,
        snakemake.output,
        records=snakemake.params.records,
        task=snakemake.input.task,
        rest=snakemake.input.rest,
        coverage=snakemake.input.coverage,
        kinetics=snakemake.input.kinetics,
        volumes=snakemake.input.volumes,
        kinetics_json=snakemake.input.kinetics_json,
        structure=snakemake.input.structure,
        brain=snakemake.input.brain,
    )
