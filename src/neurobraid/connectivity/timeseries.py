"""Regional series of one resting scan: extraction with coverage, then denoising."""

import pandas as pd

from neurobraid.bold import nuisance
from neurobraid.connectivity.denoise import denoise, retained, strategy
from neurobraid.errors import InputError
from neurobraid.files import read_json, write_json, write_tsv
from neurobraid.images.atlas import load_atlas, region_means
from neurobraid.images.io import data, load
from neurobraid.images.series import labels_on_grid, read_masked, region_sizes, with_signal
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

LEAST_COVERAGE = 0.1
"""An atlas none of whose regions is covered by more is in another space."""


def extract(bold, mask, atlas_image, atlas_table):
    """Mean series of every region of an atlas.

    Parameters
    ----------
    bold : path-like
        Preprocessed series in the atlas's space.
    mask : path-like
        Brain mask on its grid.
    atlas_image, atlas_table : path-like

    Returns
    -------
    series : numpy.ndarray, (T, R), float64
        In atlas order; NaN for regions without a voxel.
    coverage : numpy.ndarray, (R,)
        Fraction of the region's voxels inside mask and field of view.
    table : pandas.DataFrame
        Regions.

    Raises
    ------
    InputError
        No region lies in the brain: the atlas is in another space.
    """
    brain = data(load(mask)) > 0.5
    values, image = read_masked(bold, brain)
    signal = with_signal(values)
    labels, own, table = load_atlas(atlas_image, atlas_table)
    labels = labels_on_grid(labels, own, brain.shape, image.affine)
    # a column of mask voxels instead of the whole grid: the same means, a fifth of the memory
    column = (-1, 1, 1)
    series, coverage = region_means(
        values.T.reshape(*column, len(values)), labels[brain].reshape(column), table,
        mask=signal.reshape(column), full=region_sizes(labels, table),
    )  # fmt: skip
    if not (coverage > LEAST_COVERAGE).any():
        raise InputError(
            atlas_image, "place", f"no region with more than {100 * LEAST_COVERAGE:.0f} % of its voxels inside the brain mask",
            "an atlas in the space of the series", "bring the atlas to template space, or check the alignment of the scan",
        )  # fmt: skip
    return series, coverage, table


def none_or(threshold):
    """A threshold for a sidecar: the word ``none`` says that there is none, an absent key would not."""
    return "none" if threshold is None else threshold


def run(inputs, outputs, *, strategy_name, band_hz, own=()):
    """Extract and denoise the regional series of a scan and write series, sidecar and coverage.

    Parameters
    ----------
    inputs : object with attributes bold, metadata, mask, confounds, confounds_json, atlas_image, atlas_table
    outputs : object with attributes timeseries, sidecar, coverage, coverage_json, raw
        `raw` is a list: where strategies are compared, the file for the series before denoising.
    strategy_name : str
        Key of `denoise.STRATEGIES` or name of an own one.
    band_hz : sequence of 2 float
    own : list of dict
        Strategies of the config.
    """
    chosen = strategy(strategy_name, own)
    metadata = read_json(inputs.metadata)
    tr = metadata.get("RepetitionTime")
    if not isinstance(tr, int | float) or not tr > 0:
        raise InputError(
            inputs.metadata, "RepetitionTime", tr, "a number of seconds above 0", "add it to the sidecar"
        )
    series, coverage, table = extract(inputs.bold, inputs.mask, inputs.atlas_image, inputs.atlas_table)
    confounds = nuisance.read_confounds(inputs.confounds, len(series))
    confounds = nuisance.one_mask(confounds, read_json(inputs.confounds_json))
    keep = retained(confounds, chosen, file=inputs.confounds)
    regressors = nuisance.select(confounds, list(chosen.groups), inputs.confounds)
    clean, info = denoise(series, regressors, float(tr), band_hz, keep, file=inputs.bold)
    names = table["name"].to_list()
    write_tsv(pd.DataFrame(clean, columns=names), outputs.timeseries)
    for path in outputs.raw:
        write_tsv(pd.DataFrame(series, columns=names), path)
    write_tsv(pd.DataFrame({"Node": names, "coverage": coverage}), outputs.coverage)
    content = sidecar(
        "Fraction of every region's voxels inside brain mask and field of view.",
        [inputs.mask, inputs.atlas_image],
    )
    write_json(content, outputs.coverage_json)
    displacement = confounds.get("framewise_displacement")
    content = sidecar(
        "Mean series of every region after denoising, in percent of the region's mean; censored volumes are n/a, regions "
        "without a voxel too.",
        [inputs.bold, inputs.mask, inputs.confounds, inputs.atlas_image],
        Strategy=strategy_name,
        Confounds=list(regressors.columns),
        BandHz=list(band_hz),
        Filter="cosine regressors in the same fit",
        FramewiseDisplacementThreshold=none_or(chosen.fd_threshold_mm),
        StdDvarsThreshold=none_or(chosen.std_dvars_threshold),
        MinSegmentVolumes=chosen.min_segment if chosen.censors else "none",
        RepetitionTime=float(tr),
        SamplingFrequency=1.0 / float(tr),
        StartTime=metadata.get("StartTime"),
        MeanFramewiseDisplacement=None if displacement is None else float(displacement.mean()),
        MeanFramewiseDisplacementRetained=None if displacement is None else float(displacement[keep].mean()),
        SmoothingFWHMmm=0,
        **info,
    )
    write_json(content, outputs.sidecar)
    log.info(
        "%d regions (%d fully covered), %d of %d volumes kept, %d degrees of freedom",
        len(names), int((coverage > 0.999).sum()), info["NumberOfRetainedVolumes"], len(series),
        info["EffectiveDegreesOfFreedom"],
    )  # fmt: skip
