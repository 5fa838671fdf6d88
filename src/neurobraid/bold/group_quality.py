"""One table of the quality of every scan of a study, and which scans stand out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neurobraid.bids.entities import compose, parse
from neurobraid.files import read_json, write_json, write_tsv
from neurobraid.images.outliers import LIMIT, NEEDED, add_flags, flag_outliers
from neurobraid.provenance import sidecar

#: Column: (bad direction: 1 high, -1 low, 0 neither; unit; meaning). The names are MRIQC's where it has them.
METRICS = {
    "fd_mean": (1, "mm", "Mean framewise displacement"),
    "fd_max": (1, "mm", "Largest framewise displacement"),
    "fd_num": (1, "volumes", "Volumes above the threshold of framewise displacement"),
    "fd_perc": (1, "%", "Share of volumes above the threshold of framewise displacement"),
    "dvars_std": (1, "", "Mean standardised DVARS"),
    "dvars_nstd": (1, "", "Mean DVARS of a run whose median is 1000"),
    "dvars_vstd": (1, "", "Mean DVARS standardised voxel by voxel"),
    "tsnr": (-1, "", "Median temporal signal to noise"),
    "gcor": (1, "", "Mean correlation of all pairs of voxels"),
    "aor": (1, "", "Mean share of outlying voxels per volume"),
    "aqi": (1, "", "Mean of one minus the rank correlation of a volume with the median volume"),
    "gsr_x": (1, "", "Ghost to signal ratio along x"),
    "gsr_y": (1, "", "Ghost to signal ratio along y"),
    "snr": (-1, "", "Signal to noise inside the brain"),
    "efc": (1, "", "Entropy focus criterion"),
    "fber": (-1, "", "Foreground to background energy ratio"),
    "fwhm_avg": (1, "voxels", "Mean smoothness"),
    "fwhm_x": (1, "voxels", "Smoothness along x"),
    "fwhm_y": (1, "voxels", "Smoothness along y"),
    "fwhm_z": (1, "voxels", "Smoothness along z"),
    "cjv": (1, "", "Coefficient of joint variation of grey and white matter"),
    "cnr": (-1, "", "Contrast to noise of grey and white matter"),
    "snr_gm": (-1, "", "Signal to noise of grey matter"),
    "snr_wm": (-1, "", "Signal to noise of white matter"),
    "snr_csf": (-1, "", "Signal to noise of cerebrospinal fluid"),
    "snr_total": (-1, "", "Mean signal to noise of the tissues"),
    "snrd_gm": (-1, "", "Signal of grey matter to noise in air"),
    "snrd_wm": (-1, "", "Signal of white matter to noise in air"),
    "snrd_csf": (-1, "", "Signal of cerebrospinal fluid to noise in air"),
    "snrd_total": (-1, "", "Mean signal of the tissues to noise in air"),
    "wm2max": (0, "", "White matter over the 99.95th percentile of the image"),
    "icvs_gm": (0, "", "Grey matter as share of the intracranial volume"),
    "icvs_wm": (0, "", "White matter as share of the intracranial volume"),
    "icvs_csf": (0, "", "Cerebrospinal fluid as share of the intracranial volume"),
    "volume_brain_mask_ml": (0, "mL", "Volume of the brain mask of the T1w"),
    "mask_agreement_dice": (-1, "", "Overlap of the brain by intensity with that of the template"),
    "registration_correlation": (-1, "", "Correlation of the normalised T1w with the template"),
    "coreg_dice": (-1, "", "Overlap of the brain masks of BOLD and T1w"),
    "coreg_mi": (-1, "", "Mutual information of BOLD and T1w"),
    "bbr_cost": (1, "", "Cost of the boundary-based registration"),
}


def quality_table(files):
    """Quality of every scan, one row per scan.

    Parameters
    ----------
    files : iterable of (str, path-like)
        Suffix of the scan (``T1w``, ``bold``) and its quality file.

    Returns
    -------
    pandas.DataFrame
        ``bids_name``, ``participant_id``, ``session_id``, ``suffix``, ``task`` and those of `METRICS` that any scan
        has, in that order; NaN where a scan has none. Rows in the order of the files.
    """
    import pandas as pd

    rows = []
    for suffix, path in files:
        keys = {k: v for k, v in parse(Path(path).name).entities.items() if k != "desc"}
        content = read_json(path)
        rows.append(
            {
                "bids_name": compose(keys, suffix),
                "participant_id": f"sub-{keys['sub']}",
                "session_id": f"ses-{keys['ses']}" if "ses" in keys else np.nan,
                "suffix": suffix,
                "task": keys.get("task", np.nan),
                **{name: _number(content.get(name)) for name in METRICS},
            }
        )
    named = ["bids_name", "participant_id", "session_id", "suffix", "task"]
    table = pd.DataFrame(rows, columns=[*named, *METRICS])
    return table[[c for c in table if c in named or table[c].notna().any()]]


def _number(value):
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan


def flag(table, limit=LIMIT, needed=NEEDED):
    """Mark the scans that are worse than the others of their suffix and task: see `images.outliers.flag_outliers`."""
    directions = {name: direction for name, (direction, _, _) in METRICS.items()}
    return flag_outliers(table, ["suffix", "task"], directions, _kind, limit=limit, needed=needed)


def _kind(parts):
    return " of task ".join(parts)


def write_quality(anat, bold, output):
    """Write the table of the quality of all scans.

    Parameters
    ----------
    anat, bold : list of path-like
        ``*_desc-anat_qc.json`` and ``*_desc-bold_qc.json``; either may be empty.
    output : object with attributes ``table``, ``sidecar``
    """
    table = quality_table([*(("T1w", path) for path in anat), *(("bold", path) for path in bold)])
    flags, notes = flag(table)
    table = add_flags(table, flags, notes)
    described = {
        "bids_name": {"Description": "Name of the raw scan without extension"},
        "participant_id": {"Description": "Participant"},
        "session_id": {"Description": "Session"},
        "suffix": {"Description": "Kind of scan"},
        "task": {"Description": "Task of a BOLD run"},
        "flags": {
            "Description": "Measures that are worse than in the other scans of this suffix and task; none; or n/a where "
            "these are too few"
        },
        "outlier": {"Description": "Whether any measure is flagged", "Levels": ["true", "false", "n/a"]},
    }
    for name, (direction, unit, text) in METRICS.items():
        better = {1: "lower is better", -1: "higher is better", 0: "never flagged"}[direction]
        described[name] = {"Description": f"{text}; {better}"} | ({"Units": unit} if unit else {})
    write_tsv(table, output.table)
    write_json(
        sidecar(
            "Quality of every scan of the study, named and defined as in MRIQC.",
            [*anat, *bold],
            FlagLimit=LIMIT,
            FlagScale="1.4826 * median absolute deviation from the median, within suffix and task",
            FlagScansNeeded=NEEDED,
            Notes=notes,
            **{name: described[name] for name in table},
        ),
        output.sidecar,
    )
