"""Make the matrices of a batch of region series that another program made."""

from typing import TYPE_CHECKING

from neurobraid.bids.series import LINK
from neurobraid.connectivity.adopted import run_batch
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    run_batch(
        snakemake.output,
        root=LINK,
        rows=snakemake.params.rows,
        paths=snakemake.params.paths,
        measures=snakemake.params.measures,
        min_coverage=snakemake.params.min_coverage,
    )
