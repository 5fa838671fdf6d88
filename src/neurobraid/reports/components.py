"""The part of the study page that shows the networks of the whole group: ICA or a dictionary. It only shows what was written."""

from __future__ import annotations

import numpy as np

from neurobraid.reports import figures
from neurobraid.reports.gather import Inputs, entities_of, sidecar_of
from neurobraid.reports.pages import Fold, Gallery, Heading, Prose, number
from neurobraid.reports.planes import Cut, Volume

#: Smallest size shown, in standard deviations of a map over the voxels.
THRESHOLD = 2.0
#: More components than this stand in a fold.
LONG = 6


def blocks(inputs: Inputs, gallery: Gallery, background: tuple[Volume, Volume]) -> list:
    """Pictures of the components of every task; empty where none were made.

    Parameters
    ----------
    inputs : Inputs
        Kind ``components``: images with one volume per component.
    gallery : Gallery
    background : (Volume, Volume)
        Anatomy, and distance from the brain.

    Returns
    -------
    list
    """
    from neurobraid.images import io

    made = []
    for path in inputs.all("components"):
        task = entities_of(path).get("task", "?")
        note = sidecar_of(inputs, "components", task=task)
        image = io.load(path)
        values = np.asarray(image.dataobj, np.float32)
        values = values.reshape(*values.shape[:3], -1)
        pictures = []
        for k in range(values.shape[3]):
            volume = Volume(values[..., k], np.asarray(image.affine, float))
            place = np.unravel_index(np.argmax(np.abs(volume.data)), volume.data.shape)
            at = (volume.affine @ [*place, 1])[:3]
            peak = float(volume.data[place])
            where = ", ".join(f"{v:.0f}" for v in at).replace("-", "\N{MINUS SIGN}")
            pictures.append(
                gallery.show(
                    figures.statistic_map(
                        volume, *background, threshold=THRESHOLD, label="SD", cuts=[Cut(a, float(v)) for a, v in zip("xyz", at, strict=True)]
                    ),
                    f"study_task-{task}_component{k + 1:02d}.png",
                    f"Component {k + 1} of task {task} on three slices of the template through its largest value.",
                    f"Component {k + 1} of {values.shape[3]}, task {task}: largest value {number(peak, 1)} SD at {where} mm. Colours: {THRESHOLD:g} SD of "
                    "the map over voxels or more in size, a threshold for the eye. Underlay: MNI152 template; positions in mm.",
                )
            )  # fmt: skip
        text = (
            f"{note.get('Method', 'Decomposition')}: {len(pictures)} components of {note.get('NumberOfScans', '?')} scans of task {task} "
            f"(strategy {note.get('Strategy', '?')}, smoothed by {note.get('SmoothingFWHMmm', '?')} mm, seed {note.get('Seed', '?')}). The sign of a "
            "component is a convention. Series and maps of every scan, by dual regression, are among the derivatives; components of head motion "
            "and vessels are not sorted out."
        )
        made += [Heading(f"Networks of the whole group, task {task}"), Prose([text])]
        made += (
            pictures
            if len(pictures) <= LONG
            else [Fold(f"All {len(pictures)} components of task {task}", pictures)]
        )
    return made
