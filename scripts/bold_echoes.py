"""Estimate T2* of one multi-echo BOLD run and combine its references."""

from typing import TYPE_CHECKING

from neurobraid.bold.echoes import echoes_run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    echoes_run(
        snakemake.input.bold,
        snakemake.input.sidecars,
        {name: snakemake.input[name] for name in ("boldref", "boldref_json", "mask", "hmc")},
        dict(snakemake.output.items()),
    )
