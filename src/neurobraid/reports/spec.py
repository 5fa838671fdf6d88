"""The order and wording of the pages: what stands where. Edit here to move, add or drop a section.

Each entry is (id, title, lead). The builders in `participant` and `study` have one function per id.
"""

PARTICIPANT = (
    ("summary", "Summary", ""),
    (
        "anatomy",
        "Anatomy",
        "Check that the outline follows the brain, that the lines meet the tissues, and that nothing jumps between the "
        "normalised image and the template.",
    ),
    (
        "bold",
        "BOLD preprocessing",
        "For every run: alignment to the T1w, head motion, and the signal before and after the confounds are removed.",
    ),
    ("activation", "Task activation", ""),
    ("connectivity", "Functional connectivity", ""),
    (
        "pet",
        "PET",
        "Alignment to the T1w, head motion, the input function, curves with the fits of every model and what they leave over, "
        "regional values with the reasons not to believe some, and maps.",
    ),
    ("provenance", "Provenance", ""),
)

STUDY = (
    ("summary", "Summary", ""),
    ("participants", "Participants", "Who entered, who left and why, and which images belong together."),
    (
        "quality",
        "Data quality",
        "Head motion and quality numbers of every run. Read these before the results.",
    ),
    ("activation", "Group activation", ""),
    ("connectivity", "Group connectivity", ""),
    ("pet", "Group PET", "Scans that stand out first, then outcomes by region."),
    (
        "fusion",
        "Multimodal features",
        "One row per participant, region and measure: what each modality has for whom.",
    ),
    ("coupling", "Coupling of function and molecules", ""),
    ("prediction", "Prediction", ""),
    ("brainage", "Brain age", ""),
    ("decoding", "Decoding", ""),
    (
        "methods",
        "Methods",
        "Written from the settings and sidecars of this run; ready to be adapted for a manuscript.",
    ),
    ("provenance", "Provenance", "What was run, with what, on what."),
)
