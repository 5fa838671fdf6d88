"""Write which scans are analysed, which T1w each is paired with, and why the others are left out."""

from typing import TYPE_CHECKING

from neurobraid.files import atomic, write_json
from neurobraid.jobs import job_log
from neurobraid.provenance import BIDSIGNORE, dataset_description

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]) as log:
    for name, text in snakemake.params.tables.items():
        with atomic(snakemake.output[name]) as temporary:
            temporary.write_text(text, encoding="utf-8")
        log.info("%s: %d rows", name, text.count("\n") - 1)
    about = dataset_description(snakemake.params.title, adopted=snakemake.params.adopted)
    write_json(about, snakemake.output.description)
    with atomic(snakemake.output.ignore) as temporary:
        temporary.write_text(BIDSIGNORE, encoding="utf-8")
