"""The part of the study page that shows group maps on the cortical surface. It only shows what was written."""

from __future__ import annotations

import numpy as np

from neurobraid.reports import surfaces
from neurobraid.reports.gather import Inputs, json_of
from neurobraid.reports.pages import Gallery, Note, number


def show(section, inputs: Inputs, gallery: Gallery, task: str, contrast: str) -> None:
    """Add the map of a contrast with its thresholds; nothing where it was not made.

    Parameters
    ----------
    section : neurobraid.reports.pages.Section
    inputs : Inputs
        Kinds ``surface_group`` (z maps of both hemispheres) and ``surface_notes`` (their sidecars).
    gallery : Gallery
    task, contrast : str
    """
    note = json_of(inputs.find("surface_notes", task=task, contrast=contrast))
    if not note:
        return
    if note.get("Status") != "available":
        section.add(Note(f"No group statistic on the surface: {note.get('Reason', 'not made')}.", "missing"))
        return
    both = {
        hemi: surfaces.read_gifti(inputs.find("surface_group", task=task, contrast=contrast, hemi=hemi))
        for hemi in surfaces.HEMISPHERES
    }
    rules = note["Thresholds"]
    height = rules["fdr"]["Z"]
    chosen = "fdr" if isinstance(height, int | float) else "uncorrected"
    threshold = float(rules[chosen]["Z"])
    if chosen != "fdr":
        section.add(
            Note(
                f"No vertex survives the threshold ({rules['fdr']['Rule']}). The surface shows |z| ≥ {threshold:.2f}, "
                f"{rules[chosen]['Rule']}, for orientation only.",
                "warn",
            )
        )
    covered = " and ".join(f"{number(n)} vertices {surfaces.HEMISPHERES[h]}" for h, n in note["VertexCount"].items())  # fmt: skip
    family = note.get("FamilyWise", {})
    tested = "".join(
        f" {label}: {number(family[key]['VerticesPositive'])} vertices positive, {number(family[key]['VerticesNegative'])} negative at "
        f"family-wise p ≤ {note['Alpha']:g} ({number(note['Permutation']['Permutations'])} sign flips)."
        for key, label in (("logpmaxt", "Largest |t|"), ("logptfce", "TFCE"))
        if key in family
    )
    highest = max(float(np.max(np.abs(v))) for v in both.values())
    section.add(
        gallery.show(
            surfaces.statistic_surface(both, threshold=threshold),
            f"study_task-{task}_contrast-{contrast}_surface.png",
            f"Group z map of contrast {contrast} of task {task} on the inflated hemispheres from outside and from the middle.",
            f"The same contrast on the cortical surface, task {task}, contrast {contrast} (n = {note['NumberOfParticipants']}; one-sample "
            f"test at every vertex, two-sided; {covered} of {note['Mesh']}, inflated for display). Colours: |z| ≥ {threshold:.2f} "
            f"({rules[chosen]['Rule']}); largest |z| {number(highest, 1)}; z has no unit. Grey: sulci dark.{tested}",
        )
    )
    if note.get("Caution"):
        section.add(Note(f"{note['Caution']}.", "warn"))
