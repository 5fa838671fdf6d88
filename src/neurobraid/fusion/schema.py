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
    ("anat", "volume"): ("mL", "Grey-matter volume"),
    ("anat", "density"): ("1", "Mean grey-matter probability"),
    ("anat", "tiv"): (
        "mL",
        "Total intracranial volume: the brain mask, CSF inside the skull's hull included",
    ),
}

TASK_UNIT = "%"
TASK_DESCRIPTION = "Effect of the contrast in percent signal change, task and contrast joined by _"


def table_schema(measures=(), described_elsewhere=None):
    """Sidecar fields that describe the table.

    Parameters
    ----------
    measures : iterable of tuple of str
        (modality, measure, unit) present in the table.
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
        described[f"{modality} {measure}"] = {"Description": text, "Units": unit}
    return {
        "Columns": {name: {"Description": text, "Type": kind} for name, (text, kind) in COLUMNS.items()},
        "Measures": described,
    }
