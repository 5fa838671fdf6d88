"""Quality numbers by the key that a stage writes: heading, decimals, group, and what the number says.

Keys of image-quality metrics are those of MRIQC (Esteban et al. 2017, PLoS ONE 12:e0184661) where it has the metric.
"""

from __future__ import annotations

from dataclasses import dataclass

#: order of the groups on a page; measures of the last are settings and counts, folded away
GROUPS = (
    "Head motion",
    "Signal",
    "Registration",
    "Brain and tissue",
    "Tracer",
    "Other measures",
    "Settings and counts",
)
OTHER, FOLDED = GROUPS[-2:]


@dataclass(frozen=True)
class Measure:
    """How one number is shown.

    Attributes
    ----------
    label : str
        Heading, with unit.
    digits : int
        Decimals.
    group : str
        One of `GROUPS`.
    meaning : str
        What it says, and which way is good.
    """

    label: str
    digits: int
    group: str = OTHER
    meaning: str = ""


_MOTION = {
    "fd_mean": (
        "Mean FD (mm)",
        3,
        "framewise displacement (Power et al. 2012), mean over volumes; lower is better",
    ),
    "mean_fd": (
        "Mean FD (mm)",
        3,
        "framewise displacement (Power et al. 2012), mean over volumes; lower is better",
    ),
    "median_fd": ("Median FD (mm)", 3, "framewise displacement, median over volumes"),
    "fd_max": ("Largest FD (mm)", 2, "largest framewise displacement"),
    "max_fd": ("Largest FD (mm)", 2, "largest framewise displacement"),
    "fd_num": (
        "Volumes above the FD threshold",
        0,
        "volumes with more framewise displacement than the threshold",
    ),
    "fd_perc": ("Volumes above the FD threshold (%)", 1, "the same as a share of the run"),
    "dvars_std": (
        "Standardised DVARS",
        2,
        "change of the signal from volume to volume, by its expectation (Nichols 2017); 1 without artefact",
    ),
    "dvars_nstd": ("DVARS, not standardised", 1, "the same for a run whose median is 1000"),
    "dvars_vstd": ("DVARS, voxelwise standardised", 2, "the same, every voxel by its own noise"),
    "aor": (
        "Outlier ratio",
        4,
        "mean share of outlier voxels per volume (AFNI 3dToutcount); lower is better",
    ),
    "aqi": (
        "Quality index",
        4,
        "mean distance of volumes to the median volume (AFNI 3dTqual); lower is better",
    ),
    "fd_mean_mm": ("Mean FD between frames (mm)", 3, "framewise displacement from frame to frame, mean"),
    "fd_max_mm": ("Largest FD between frames (mm)", 2, "largest framewise displacement between frames"),
    "max_displacement_mm": ("Largest displacement (mm)", 2, "largest displacement from the reference frame"),
}
_SIGNAL = {
    "tsnr": (
        "Temporal SNR",
        1,
        "mean by standard deviation over time, median over the brain; higher is better",
    ),
    "tsnr_median": (
        "Temporal SNR",
        1,
        "mean by standard deviation over time, median over the brain; higher is better",
    ),
    "snr": ("SNR", 2, "mean by standard deviation within the brain; higher is better"),
    "snr_gm": ("SNR, grey matter", 2, "mean by standard deviation within the tissue; higher is better"),
    "snr_wm": ("SNR, white matter", 2, "mean by standard deviation within the tissue; higher is better"),
    "snr_csf": (
        "SNR, cerebrospinal fluid",
        2,
        "mean by standard deviation within the tissue; higher is better",
    ),
    "snr_total": ("SNR, mean of tissues", 2, "mean of the tissues' SNR; higher is better"),
    "snrd_gm": (
        "SNR against air, grey matter",
        1,
        "signal of the tissue by the noise in air (Dietrich et al. 2007)",
    ),
    "snrd_wm": ("SNR against air, white matter", 1, "signal of the tissue by the noise in air"),
    "snrd_csf": ("SNR against air, CSF", 1, "signal of the tissue by the noise in air"),
    "snrd_total": (
        "SNR against air, mean of tissues",
        1,
        "mean of the tissues' SNR against air; higher is better",
    ),
    "cnr": ("Contrast to noise", 2, "difference of grey and white matter by the noise; higher is better"),
    "cjv": (
        "Coefficient of joint variation",
        3,
        "spread of grey and white matter by their distance (Ganzetti et al. 2016); lower is better",
    ),
    "gcor": ("Global correlation", 3, "mean correlation of all pairs of voxels (Saad et al. 2013)"),
    "efc": (
        "Entropy focus criterion",
        3,
        "entropy of the intensities, raised by ghosts and blurring (Atkinson et al. 1997); lower is better",
    ),
    "fber": ("Foreground to background energy", 1, "energy of the head by that of the air; higher is better"),
    "gsr_x": (
        "Ghost to signal, x",
        3,
        "signal of the ghost by that of the brain, phase encoding x; lower is better",
    ),
    "gsr_y": (
        "Ghost to signal, y",
        3,
        "signal of the ghost by that of the brain, phase encoding y; lower is better",
    ),
    "fwhm_avg": (
        "Smoothness (voxels)",
        2,
        "full width at half maximum of the spatial correlation, mean of the axes",
    ),
    "fwhm_x": ("Smoothness along x (voxels)", 2, "full width at half maximum of the spatial correlation"),
    "fwhm_y": ("Smoothness along y (voxels)", 2, "full width at half maximum of the spatial correlation"),
    "fwhm_z": ("Smoothness along z (voxels)", 2, "full width at half maximum of the spatial correlation"),
    "inu_med": ("Bias field, median", 3, "median of the estimated bias field in the brain; 1 without bias"),
    "inu_range": ("Bias field, range", 3, "5th to 95th percentile of the bias field; lower is better"),
    "wm2max": ("White matter to maximum", 3, "median white matter by the 99.95th percentile of the image"),
}
_REGISTRATION = {
    "template_correction_mean_mm": ("Shift between fMRIPrep's template and ours, mean (mm)", 2),
    "template_correction_max_mm": ("Shift between fMRIPrep's template and ours, largest (mm)", 2),
    "composition_error_mm": ("Loss by joining two transforms, 99th percentile (mm)", 3),
    "inverse_error_mm": ("There and back through the transforms (mm)", 3),
    "coreg_method": (
        "Registration to the T1w",
        0,
        "boundary: refined on the white-matter surface; else the first alignment",
    ),
    "coreg_dice": (
        "Overlap of BOLD and T1w brain (Dice)",
        3,
        "two brain masks in one place; above about 0.85 is usual",
    ),
    "coreg_mi": ("Mutual information with the T1w", 3, "higher is better, comparable within a study only"),
    "coreg_mutual_information": (
        "Mutual information with the T1w",
        3,
        "higher is better, comparable within a study only",
    ),
    "bbr_contrast_percent": (
        "Contrast across the WM edge (%)",
        1,
        "grey minus white matter along the surface; higher is better",
    ),
    "bbr_cost": (
        "Boundary cost",
        3,
        "cost of boundary-based registration (Greve and Fischl 2009); lower is better",
    ),
    "bbr_cost_initial": ("Boundary cost before refinement", 3, "the same for the alignment it started from"),
    "sdc_method": ("Distortion correction", 0, "how susceptibility distortion was corrected"),
    "sdc_shift_p95_mm": (
        "Distortion, 95th percentile (mm)",
        2,
        "shift along the phase-encoding axis in the brain",
    ),
    "brain_in_fov": ("Share of the brain in the field of view", 3, "1: the whole brain was recorded"),
    "registration_correlation": (
        "Correlation with the template",
        3,
        "normalised T1w and template within the brain",
    ),
}
_TISSUE = {
    "volume_brain_mask_ml": ("Brain mask (mL)", 0, "usual for adults: 1,100 to 1,900 mL"),
    "volume_gm_ml": ("Grey matter (mL)", 0, "sum of the tissue probability"),
    "volume_wm_ml": ("White matter (mL)", 0, "sum of the tissue probability"),
    "volume_csf_ml": ("Cerebrospinal fluid (mL)", 0, "sum of the tissue probability"),
    "icvs_gm": ("Share of grey matter", 3, "of the intracranial volume"),
    "icvs_wm": ("Share of white matter", 3, "of the intracranial volume"),
    "icvs_csf": ("Share of CSF", 3, "of the intracranial volume"),
    "volume_tiv_ml": ("Total intracranial volume (mL)", 0, "grey and white matter and cerebrospinal fluid"),
    "mask_volume_ml": ("BOLD brain mask (mL)", 0, "T1w brain mask where the BOLD image has signal"),
    "mask_plausible": ("Brain mask plausible", 0, "no: look at the outline before using this participant"),
    "mask_agreement_dice": (
        "Agreement of two brain masks (Dice)",
        3,
        "mask by intensity and mask by the template",
    ),
    "rotation_to_template_deg": (
        "Rotation of the head to the template (degrees)",
        1,
        "as the header has the head; above 90 the header is wrong",
    ),
}
_TRACER = {
    "brain_suv_mean": ("Mean SUV of the brain", 2, "standardised uptake value over the scan"),
}
_SETTINGS = {
    "PreprocessedBy": ("Preprocessed by", 0),
    "sdc_method": ("Susceptibility distortion", 0),
    "echoes": ("Echoes", 0),
    "fd_threshold_mm": ("FD threshold (mm)", 2),
    "repetition_time": ("Repetition time (s)", 3),
    "volumes": ("Volumes", 0),
    "non_steady_state_volumes": ("Volumes not in steady state", 0),
    "reference_volume": ("Reference volume (from 0)", 0),
    "slice_timing_corrected": ("Slice timing corrected", 0),
    "bbr_points": ("Points of the boundary", 0),
    "noise_mask_voxels CSF": ("Voxels of the CSF signal", 0),
    "noise_mask_voxels WM": ("Voxels of the white-matter signal", 0),
    "noise_mask_thresholds CSF": ("Smallest share of CSF for its signal", 2),
    "noise_mask_thresholds WM": ("Smallest share of white matter for its signal", 2),
    "mask_source": ("Source of the brain mask", 0),
    "volume_brain_rough_ml": ("Brain mask before refinement (mL)", 0),
    "registration_quality": ("Normalisation preset", 0),
    "units_found": ("Unit in the file", 0),
    "frames": ("Frames", 0),
    "reference_first": ("First frame of the reference", 0),
    "reference_last": ("Last frame of the reference", 0),
}

MEASURES: dict[str, Measure] = {
    key: Measure(entry[0], entry[1], group, *entry[2:])
    for group, entries in zip(
        (*GROUPS[:5], FOLDED), (_MOTION, _SIGNAL, _REGISTRATION, _TISSUE, _TRACER, _SETTINGS), strict=True
    )
    for key, entry in entries.items()
}

#: parts of another measure, left out where measures of all scans are drawn side by side
PARTS = frozenset(
    {"fd_num", "fd_max", "dvars_nstd", "fwhm_x", "fwhm_y", "fwhm_z"}
    | {f"{kind}_{tissue}" for kind in ("snr", "snrd", "icvs") for tissue in ("gm", "wm", "csf")}
)

ORDER = {key: place for place, key in enumerate(MEASURES)}
