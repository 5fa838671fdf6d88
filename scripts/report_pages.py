"""Write the pages of some participants of a study of region series."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.reports.series import write_pages

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]) as log:
    write_pages(
        dict(snakemake.input.items()),
        pages=snakemake.output.pages,
        figures=snakemake.output.figures,
        config=snakemake.params.config,
    )
    log.info("%d pages written", len(snakemake.output.pages))
