"""Estimate position to T1w, brain mask and confounds of one BOLD run."""

from typing import TYPE_CHECKING

from neurobraid.bold.fit import fit_run
from neurobraid.jobs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    fit_run(
        snakemake.input.bold,
        snakemake.input.sidecars,
        {
            "boldref": snakemake.input.boldref,
            "boldref_json": snakemake.input.boldref_json,
            "mask": snakemake.input.mask,
            "hmc": snakemake.input.hmc,
        },
        {
            "t1w": snakemake.input.t1w,
            "mask": snakemake.input.brain_mask,
            "gm": snakemake.input.gm,
            "wm": snakemake.input.wm,
            "csf": snakemake.input.csf,
        },
        dict(snakemake.output.items()),
        slice_timing_enabled=snakemake.params.slice_timing,
        slice_time_ref=snakemake.params.slice_time_ref,
        fd_threshold=snakemake.params.fd_threshold_mm,
        dvars_threshold=snakemake.params.std_dvars_threshold,
    )
