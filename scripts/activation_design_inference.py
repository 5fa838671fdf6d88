"""Hold one map of a group design against every way to control error."""

from typing import TYPE_CHECKING

from neurobraid.activation.designinference import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(
        snakemake.params.test["node"],
        snakemake.params.test["contrast"],
        snakemake.input,
        snakemake.output,
        snakemake.wildcards.contrast,
        **snakemake.params.settings,
    )
