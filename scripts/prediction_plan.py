"""Write the plan of a confirmatory model as it is now."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.prediction.plan import write_plan

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_plan(
        snakemake.input.features,
        snakemake.input.participants,
        snakemake.params.model,
        snakemake.output.plan,
        code=snakemake.params.code,
        **snakemake.params.general,
    )
