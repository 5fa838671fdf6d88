"""Write the card of a model."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.reports.card import write_card

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]) as log:
    write_card(
        snakemake.input.summary,
        snakemake.output.page,
        snakemake.output.card,
        snakemake.output.figures,
        model=snakemake.input.get("model"),
        lockbox=snakemake.input.get("lockbox"),
    )
    log.info("card written")
