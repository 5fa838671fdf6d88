"""Combine the task runs and sessions of one participant."""

from typing import TYPE_CHECKING

from neurobraid.activation.fixed import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run(
        {
            contrast: {
                kind: list(files)
                for kind in ("effect", "variance", "sidecar", "amplitude")
                if (files := snakemake.input.get(f"{kind}_{contrast}"))
            }
            for contrast in snakemake.params.contrasts
        },
        {atlas: list(snakemake.input[f"regions_{atlas}"]) for atlas in snakemake.params.atlases},
        snakemake.output,
        contrasts_between=snakemake.params.between,
        within_sessions=snakemake.params.within_sessions,
    )
