"""Apply the model of a locked plan to the people held back."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.prediction.lockbox import write_lockbox

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_lockbox(
        snakemake.input.features,
        snakemake.input.participants,
        snakemake.input.model,
        snakemake.input.summary,
        snakemake.params.model,
        snakemake.output,
        plan=snakemake.input.get("plan"),
        code=snakemake.params.code,
        **snakemake.params.general,
    )
