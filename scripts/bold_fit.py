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
        {name: snakemake.input[name] for name in ("boldref", "boldref_json", "mask", "hmc")},
        {name: snakemake.input[name] for name in ("t1w", "gm", "wm", "csf")}
        | {"mask": snakemake.input.brain_mask},
        dict(snakemake.output.items()),
        fieldmap=snakemake.input.fieldmap,
        combined=[*snakemake.input.t2star, *snakemake.input.optcom],
        slice_timing_enabled=snakemake.params.slice_timing,
        slice_time_ref=snakemake.params.slice_time_ref,
        fd_threshold=snakemake.params.fd_threshold_mm,
        dvars_threshold=snakemake.params.std_dvars_threshold,
    )
