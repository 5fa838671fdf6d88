"""Write the study page of a study of region series."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.reports.series import write_study

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]) as log:
    write_study(
        {kind: files for kind, files in snakemake.input.items() if kind != "pages"},
        page=snakemake.output.page,
        figures_dir=snakemake.output.figures,
        record=snakemake.output.record,
        config=snakemake.params.config,
    )
    log.info("study page written")
