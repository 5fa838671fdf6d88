"""Write the pages of a study of region series."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.reports.series import write_series

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]) as log:
    write_series(
        dict(snakemake.input.items()),
        page=snakemake.output.page,
        pages=snakemake.output.pages,
        figures_dir=snakemake.output.figures,
        record=snakemake.output.record,
        config=snakemake.params.config,
    )
    log.info("study page and pages of participants written")
