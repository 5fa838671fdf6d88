"""Quality numbers by the key that a stage writes: heading, decimals, group, and what the number says.

Keys of image-quality metrics are those of MRIQC (Esteban et al. 2017, PLoS ONE 12:e0184661) where it has the metric.
"""

from __future__ import annotations

from dataclasses import dataclass

from neurobraid.fusion.schema import MEASURES as FUSED
from neurobraid.fusion.schema import MODALITIES, PET_MODELS, TASK_DESCRIPTION

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
    "max_displacement_mm": (
        "Largest displacement (mm)",
        2,
        "how far any point of the brain was from its place in the reference; beyond a voxel, look at the profiles",
    ),
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
    "coreg_score": (
        "Registration score",
        3,
        "mutual information of PET and T1w in the final position, nats; it says little without its null",
    ),
    "coreg_null_mean": (
        "The same by chance, mean",
        3,
        "score of the same head in 23 wrong orientations: what no alignment at all gives",
    ),
    "coreg_null_max": (
        "The same by chance, best",
        3,
        "best of the wrong orientations; the score must be well above",
    ),
    "coreg_above_null": (
        "Score above chance (SD)",
        1,
        "distance from the mean by chance in standard deviations of the wrong orientations; below about 5: look at the overlay",
    ),
    "coreg_refinement_mm": (
        "Refinement of the registration (mm)",
        2,
        "what the second step, by tissue, moved the brain; usually 1 to 2 mm, above 4 mm it is not used",
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
    "brain_suv_mean": (
        "Mean SUV of the brain (g/mL)",
        2,
        "uptake by body weight and dose; usual for FDG: 3 to 12. Off by 1000: kBq taken for Bq; by 37: nCi; n/a: no dose or weight",
    ),
    "injected_mbq": ("Injected radioactivity (MBq)", 1, "as the sidecar says, after conversion of its unit"),
    "body_weight_kg": (
        "Body weight (kg)",
        1,
        "of the session where it was measured, else of the participant",
    ),
    "reference_suv_tail": (
        "SUV of the reference region (g/mL)",
        2,
        "mean in the second half of the scan; people of one tracer should be alike",
    ),
    "reference_volume_mm3": (
        "Volume of the reference region (mm³)",
        0,
        "small regions are noisy, and every value by region carries their noise",
    ),
    "reference_coverage": (
        "Reference region in the field of view",
        3,
        "share of it that was seen; below 1 a cerebellum is cut off at the edge of the scanner",
    ),
    "reference_tail_cv": (
        "Scatter of the reference curve",
        3,
        "around a straight line in the second half of the scan, by its mean; lower is better, jumps are motion",
    ),
    "reference_tail_slope_percent_per_min": (
        "Slope of the reference curve (%/min)",
        2,
        "in the second half of the scan; unlike others of the tracer: spill-in, binding or a wrong decay correction",
    ),
    "tail_noise": (
        "Noise of a voxel at the end",
        3,
        "between the last two frames, by the mean of the brain; grows with fewer counts; lower is better",
    ),
    "regions_without_curve": ("Regions without a curve", 0, "less than half of the region was seen"),
    "asymmetry_max": (
        "Largest left-right difference",
        3,
        "of a region and its counterpart by their mean; large ones are disease, motion or misalignment",
    ),
    "first_frame_start_min": (
        "Start of the first frame (min)",
        2,
        "after injection; kinetics need the first minutes",
    ),
    "last_frame_end_min": ("End of the last frame (min)", 2, "after injection"),
    "gap_min": ("Gaps between frames (min)", 2, "time that was not scanned, such as a break"),
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
    "tracer": ("Tracer", 0),
    "scanner": ("Scanner", 0),
    "site": ("Site", 0),
    "asymmetry_region": ("Region of the largest left-right difference", 0),
    "decay_correction_found": ("Decay correction in the file", 0),
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


def feature(modality: str, measure: str) -> str:
    """What a measure of the fusion table is, in words.

    Parameters
    ----------
    modality : str
    measure : str
        As in the table: the model of a kinetic parameter and the tracer follow its name.

    Examples
    --------
    >>> feature("pet", "VT_2TCM_PBR28")
    'Total distribution volume, by 2TCM, tracer or task PBR28'
    >>> feature("anat", "volume")
    'Grey-matter volume'
    """
    base, *rest = measure.split("_")
    known = FUSED.get((modality, base))
    if known is None:
        return TASK_DESCRIPTION if modality in MODALITIES else "From a feature table"
    models = [part for part in rest if part in PET_MODELS and modality == "pet"]
    others = [part for part in rest if part not in models]
    text = known[1] + "".join(f", by {model}" for model in models)
    return text + (f", tracer or task {'_'.join(others)}" if others else "")
