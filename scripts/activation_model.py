"""Check the activation models of the study against all events and participants, and store them as BIDS Stats Models."""

from typing import TYPE_CHECKING

from neurobraid.activation.modelcheck import run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    runs = [
        {"scan": scan, "task": task, "participant_id": person, "bold": bold, "events": events}
        for (scan, task, person, events), bold in zip(
            snakemake.params.runs, snakemake.input.bold, strict=True
        )
    ]
    run(
        snakemake.params.models,
        runs,
        snakemake.input.participants,
        snakemake.output,
        min_participants=snakemake.params.min_participants,
    )
