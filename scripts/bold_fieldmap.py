"""Write the off-resonance field of one BOLD run, from its field map or by constrained registration."""

from typing import TYPE_CHECKING

from neurobraid.bold.fieldmap import write_fieldmap
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    write_fieldmap(
        snakemake.params.method,
        snakemake.input.boldref,
        snakemake.input.mask,
        snakemake.input.sidecars,
        dict(snakemake.output.items()),
        paths=snakemake.input.fieldmap,
        fieldmap_sidecars=snakemake.input.fieldmap_sidecars,
        anatomy={
            name: snakemake.input[name]
            for name in ("t1w", "brain_mask", "gm", "wm", "csf")
            if snakemake.input[name]
        },
        modulate=snakemake.params.modulate,
    )
