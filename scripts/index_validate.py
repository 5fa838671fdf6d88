"""Check names, tables, sidecars and every voxel of the raw files; report all problems at once."""

from pathlib import Path
from typing import TYPE_CHECKING

from neurobraid.bids.blood_check import pet_problems
from neurobraid.bids.check import report_progress, validate
from neurobraid.bids.table import read_scan_table
from neurobraid.files import write_tsv
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]) as log:
    raw, scans = Path(snakemake.input.description).parent, read_scan_table(snakemake.input.scans)
    table, problems = validate(
        raw,
        scans,
        fieldmaps=read_scan_table(snakemake.input.fieldmaps),
        options=snakemake.params.options,
        event_tasks=snakemake.params.event_tasks,
        need_participants=snakemake.params.need_participants,
        workers=snakemake.threads,
        progress=report_progress(log),
        further=pet_problems(
            raw,
            scans,
            read_scan_table(snakemake.input.preprocessing),
            inputs=snakemake.params.given_inputs,
            plasma=snakemake.params.plasma,
            adopt=snakemake.params.adopt,
        ),
    )
    for problem in problems.warnings:
        log.warning("%s", problem)
    problems.raise_errors()
    write_tsv(table, snakemake.output.table)
