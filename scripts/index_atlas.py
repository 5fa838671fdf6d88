"""Bring one atlas to the template grid and check it against its table."""

from typing import TYPE_CHECKING

from neurobraid.files import write_json, write_tsv
from neurobraid.images.atlas_sources import prepare_atlas
from neurobraid.images.io import save
from neurobraid.jobs import job_log
from neurobraid.provenance import sidecar

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]) as log:
    labels, affine, table, notes = prepare_atlas(
        snakemake.params.record,
        resolution=snakemake.params.resolution,
        image=next(iter(snakemake.input.image), None),
        table=next(iter(snakemake.input.table), None),
    )
    log.info("%s: %d regions", notes["Name"], len(table))
    for region in notes.get("RegionsLostByResampling", []):
        log.warning("region %s is too small for the grid and has no voxel", region)
    save(labels, affine, snakemake.output.image, dtype="int32")
    write_tsv(table, snakemake.output.table)
    files = [*snakemake.input.image, *snakemake.input.table]
    write_json(
        sidecar("Regions of the atlas on the template grid.", files, **notes), snakemake.output.sidecar
    )
