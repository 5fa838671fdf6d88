"""Draw the table-only cohort with known group differences."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.synth.cohort import make_cohort, write_cohort

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_cohort(make_cohort(snakemake.params.seed, **snakemake.params.settings), snakemake.output)
