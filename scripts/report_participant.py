"""Write the page of one participant."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.reports.participant import write_participant

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]) as log:
    write_participant(
        snakemake.wildcards.participant,
        dict(snakemake.input.items()),
        page=snakemake.output.page,
        figures_dir=snakemake.output.figures,
        record=snakemake.output.record,
        config=snakemake.params.config,
    )
    log.info("page of %s written", snakemake.wildcards.participant)
