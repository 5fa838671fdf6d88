"""What a fusion table holds: its columns, modalities, measures and units. One place, read by writer and reader."""

#: Column name to (description, data type).
COLUMNS = {
    "participant_id": ("Person, as in participants.tsv", "string"),
    "session_id": (
        "Session of the scan; n/a when the dataset has none or the value spans sessions",
        "string",
    ),
    "region": (
        "Region of the atlas, channel of a feature table, two networks joined by -- for an edge, or brain for all",
        "string",
    ),
    "modality": ("fmri-task, fmri-rest, pet, anat, or that of a feature table", "string"),
    "measure": ("What was measured; see Measures", "string"),
    "value": ("The value; n/a where the region was not covered", "number"),
    "unit": ("Unit of the value; 1 for a pure number", "string"),
    "coverage": ("Share of the region's voxels that held data, 0 to 1", "number"),
    "source": ("BIDS URIs of the files the value comes from, separated by spaces", "string"),
}

#: Region of a value that belongs to the brain as a whole.
WHOLE = "brain"

#: Modality to a sentence.
MODALITIES = {
    "fmri-task": "Task activation",
    "fmri-rest": "Functional connectivity",
    "pet": "PET kinetics and uptake",
    "anat": "Grey-matter structure",
}

#: (modality, measure) to (unit, description). Contrast effects are open: any name is allowed for fmri-task.
MEASURES = {
    ("fmri-rest", "strengthpositive"): (
        "z",
        "Mean over the other covered regions of the positive part of the Fisher z correlation",
    ),
    ("fmri-rest", "strengthnegative"): (
        "z",
        "Mean over the other covered regions of the negative part of the Fisher z correlation",
    ),
    ("fmri-rest", "connectivity"): ("z", "Mean Fisher z correlation between the regions of two networks"),
    ("pet", "BPND"): ("1", "Non-displaceable binding potential"),
    ("pet", "R1"): ("1", "Relative delivery"),
    ("pet", "SUVR"): ("1", "Standardised uptake value ratio to the reference region"),
    ("anat", "regionvolume"): ("mL", "Volume of the region in the segmentation that PET curves came with"),
    ("pet", "VT"): ("mL/cm3", "Total distribution volume"),
    ("pet", "Ki"): ("mL/cm3/min", "Net influx from plasma"),
    ("pet", "Kref"): ("1/min", "Net influx relative to the reference region"),
    ("pet", "CMRglc"): ("umol/100 mL/min", "Metabolic rate of glucose"),
    ("pet", "centiloid"): ("CL", "Centiloid"),
    ("pet", "SUV"): ("g/mL", "Standardised uptake value by body weight"),
    ("pet", "K1"): ("mL/cm3/min", "Delivery from plasma"),
    ("pet", "k2"): ("1/min", "Efflux of free tracer"),
    ("pet", "k2a"): ("1/min", "Apparent efflux, k2/(1 + BPND)"),
    ("pet", "k2prime"): ("1/min", "Efflux of the reference region"),
    ("pet", "k3"): ("1/min", "Rate of binding or trapping"),
    ("pet", "k4"): ("1/min", "Rate of release"),
    ("pet", "vB"): ("1", "Fraction of blood in tissue"),
    ("anat", "volume"): ("mL", "Grey-matter volume"),
    ("anat", "density"): ("1", "Mean grey-matter probability"),
    ("anat", "tiv"): (
        "mL",
        "Total intracranial volume: the brain mask, CSF inside the skull's hull included",
    ),
}

#: Outcomes of kinetic models: the first model of a study that has one gives it its plain name, others add theirs.
PET_OUTCOMES = ("BPND", "R1", "VT", "Ki", "Kref", "CMRglc", "SUVR", "SUV", "centiloid")
#: Rates and further parameters: they carry the name of their model.
PET_DETAILS = ("K1", "k2", "k2a", "k2prime", "k3", "k4", "vB")
#: Kinetic models, as they are called in file names and measures.
PET_MODELS = (
    "SRTM", "SRTM2", "MRTM1", "MRTM2", "refLogan", "refmlLogan", "refPatlak", "SUVR", "1TCM", "2TCM", "2TCMirr", "Logan", "MA1",
    "Patlak",
)  # fmt: skip


def in_depth(modality, measure):
    """Whether a measure is a rate, or an outcome by a further model: taken by a prediction only when it is named.

    Examples
    --------
    >>> in_depth("pet", "BPND"), in_depth("pet", "BPND_MRTM2_RAC"), in_depth("pet", "k2_SRTM"), in_depth("anat", "k2")
    (False, True, True, False)
    """
    base, *rest = measure.split("_")
    if modality != "pet":
        return False
    return base in (*PET_DETAILS, "SUV") or any(part in PET_MODELS for part in rest)


TASK_UNIT = "%"
TASK_DESCRIPTION = "Effect of the contrast in percent signal change, task and contrast joined by _"


def table_schema(measures=(), about=None, described_elsewhere=None):
    """Sidecar fields that describe the table.

    Parameters
    ----------
    measures : iterable of tuple of str
        (modality, measure, unit) present in the table.
    about : dict of (str, str) to dict, optional
        Further fields by modality and measure: the model of a kinetic parameter and the correction behind it.
    described_elsewhere : mapping of (str, str) to str, optional
        Descriptions that feature tables of further modalities bring, by (modality, measure).

    Returns
    -------
    dict
        ``Columns`` and ``Measures``.
    """
    described = {}
    for modality, measure, unit in sorted(set(measures)):
        base = measure.split("_")[0]
        known = MEASURES.get((modality, measure)) or MEASURES.get((modality, base))
        text = known[1] if known else (described_elsewhere or {}).get((modality, measure), TASK_DESCRIPTION)
        more = (about or {}).get((modality, measure), {})
        described[f"{modality} {measure}"] = {"Description": text, "Units": unit, **more}
    return {
        "Columns": {name: {"Description": text, "Type": kind} for name, (text, kind) in COLUMNS.items()},
        "Measures": described,
    }
