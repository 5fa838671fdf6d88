"""Draw the table-only trial with several visits and two arms."""

from typing import TYPE_CHECKING

from neurobraid.jobs import job_log
from neurobraid.synth.trial import make_trial, write_trial

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_trial(make_trial(snakemake.params.seed, **snakemake.params.settings), snakemake.output)
