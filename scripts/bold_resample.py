"""Write one BOLD run in every requested space through one interpolation of its raw voxels."""

from typing import TYPE_CHECKING

from neurobraid.bold.resample import resample_run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    resample_run(
        snakemake.input.bold,
        snakemake.input.sidecars,
        {name: snakemake.input[name] for name in ("boldref", "mask", "hmc", "hmc_json", "coreg")},
        snakemake.input.t1w,
        snakemake.input.warp,
        dict(snakemake.output.items()),
        spaces=snakemake.params.spaces,
        resolution=snakemake.params.resolution_mm,
        interpolation=snakemake.params.interpolation,
        fieldmap=snakemake.input.fieldmap,
        combined=snakemake.input.t2star,
        slice_timing_enabled=snakemake.params.slice_timing,
        slice_time_ref=snakemake.params.slice_time_ref,
    )
