"""Write the page of one model."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.reports.model import write_model_page

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]) as log:
    write_model_page(
        dict(snakemake.input.items()),
        page=snakemake.output.page,
        figures_dir=snakemake.output.figures,
        record=snakemake.output.record,
        config=snakemake.params.config,
    )
    log.info("page of model %s written", snakemake.wildcards.model)
