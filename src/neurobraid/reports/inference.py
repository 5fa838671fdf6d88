"""The part of the study page that sets the methods of group inference side by side. It only shows what was written."""

from __future__ import annotations

import math
from collections.abc import Mapping

from neurobraid.reports.gather import Inputs, json_of, table
from neurobraid.reports.pages import Cell, Fold, Note, Table, number

NAMES = {
    "uncorrected": "voxels, uncorrected",
    "fdr": "voxels, false discovery rate",
    "bonferroni": "voxels, Bonferroni",
    "maxt": "voxels, largest statistic, permutation",
    "tfce": "TFCE, permutation",
    "extent": "cluster extent, permutation",
    "mass": "cluster mass, permutation",
    "allvoxels": "all tested voxels",
}
LISTED = 15
REFERENCES = {
    "ari": "Rosenblatt JD et al. (2018). All-resolutions inference for brain imaging. NeuroImage 181:786–796.",
    "flane": "Winkler AM et al. (2014). Permutation inference for the general linear model. NeuroImage 92:381–397.",
    "tfce": "Smith SM, Nichols TE (2009). Threshold-free cluster enhancement. NeuroImage 44:83–98.",
}
_CLUSTERS = {
    "cluster_id": ("Cluster", None), "x": ("x", 0), "y": ("y", 0), "z": ("z", 0), "n_voxels": ("Voxels", 0),
    "peak_z": ("Peak z", 2), "mean_effect": ("Mean effect", 3), "peak_p_fdr": ("p FDR", 3), "peak_p_maxt": ("p max", 3),
    "peak_p_tfce": ("p TFCE", 3), "p_extent": ("p extent", 3), "p_mass": ("p mass", 3), "tdp": ("True, at least", 2),
    "tdp_permutation": ("by permutation", 2), "region": ("Region at the peak", None),
}  # fmt: skip


def _cell(value, digits):
    missing = value is None or value != value
    if digits is None:
        return "" if missing else str(value)
    if missing:
        return ""
    return f"< {10**-digits:g}" if digits == 3 and 0 < value < 10**-digits else number(float(value), digits)


def _height(value, unit):
    """Threshold with its unit: whole numbers without decimals, large ones in powers of ten."""
    if value != value:
        return ""
    if abs(value) >= 1e6:
        power = math.floor(math.log10(abs(value)))
        raised = str(power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{number(value / 10**power, 2)} × 10{raised} {unit}"
    return f"{number(int(value) if float(value).is_integer() else value, 2)} {unit}".replace(" x ", " × ")


def _rows(frame, columns):
    return [[_cell(line[c], columns[c][1]) for c in columns] for line in frame.to_dict("records")]


def methods_table(methods, task: str, name: str, content: Mapping) -> Table:
    """What every method finds.

    Parameters
    ----------
    methods : pandas.DataFrame
        ``*_desc-inference_methods.tsv``.
    task, name : str
        Task and contrast.
    content : mapping
        ``*_desc-inference_summary.json``.

    Returns
    -------
    Table
    """
    by_permutation = methods["true_discoveries_permutation"].notna().any()
    heads = ["Method", "Threshold", "Voxels +", "Voxels −", "Clusters", "True, at least"]
    heads += ["by permutation"] if by_permutation else []
    rows = []
    for line in methods.to_dict("records"):
        shown = _height(line["threshold"], line["unit"])
        row = [Cell(NAMES.get(line["method"], line["method"]), note=line["controls"]), shown]
        if line["method"] == "allvoxels":
            row += ["", "", ""]
        else:
            row += [number(int(line[c])) for c in ("voxels_positive", "voxels_negative", "n_clusters")]
        row.append(number(int(line["true_discoveries"])))
        if by_permutation:
            row.append(_cell(line["true_discoveries_permutation"], 0))
        rows.append(row)
    confidence = 1 - float(content.get("Alpha", 0.05))
    how = content.get("Permutation", {})
    note = (
        f"True, at least: voxels among those found that must be truly active, with confidence {confidence:.0%} for all rows "
        "and all clusters together (all-resolution inference). Methods are listed for comparison: choose one before looking."
    )
    if how:
        note += (
            f" {number(how.get('Permutations'))} rearrangements by {how.get('Scheme')}, seed {how.get('Seed')}"
            f"{', all there are' if how.get('Complete') else ''}; smallest possible p {number(how.get('SmallestP'), 4)}."
        )
    else:
        note += " Largest-statistic, TFCE and cluster tests need permutations (activation.inference.permutations)."
    return Table(
        heads,
        rows,
        f"What each method finds, task {task}, contrast {name}.",
        numeric=tuple(heads[1:]),
        note=note,
    )


def clusters_table(clusters, task: str, name: str, content: Mapping) -> Table | None:
    """Clusters with every method's probability; None without clusters.

    Parameters
    ----------
    clusters : pandas.DataFrame
        ``*_desc-inference_clusters.tsv``.
    task, name, content
        See `methods_table`.
    """
    main = clusters[clusters["n_voxels"].notna()]
    if not len(main):
        return None
    columns = {c: v for c, v in _CLUSTERS.items() if c in main and (v[1] is None or main[c].notna().any())}
    more = len(main) - LISTED
    return Table(
        [v[0] for v in columns.values()],
        _rows(main.head(LISTED), columns),
        f"Clusters formed at p < {float(content.get('ClusterFormingP', 0.001)):g} (two-sided), task {task}, contrast {name}.",
        numeric=tuple(v[0] for v in columns.values() if v[1] is not None),
        note="p FDR, p max and p TFCE are those of the peak; positions in mm (MNI152). True, at least: share of the cluster."
        + (f" {more} further clusters are in the table among the derivatives." if more > 0 else ""),
        compact=True,
    )


def show(section, inputs: Inputs, task: str, name: str, design: str | None = None) -> None:
    """Add the comparison of methods to a section; nothing where it was not made.

    Parameters
    ----------
    section : neurobraid.reports.pages.Section
    inputs : Inputs
        Kinds ``inference_methods``, ``inference_clusters``, ``inference``.
    task, name : str
        Task and contrast.
    design : str, optional
        Group design that the contrast belongs to; the kinds then begin with ``design_``.
    """
    which = {"task": task, "contrast": name} | ({"model": design} if design else {})
    start = "design_" if design else ""
    methods = table(inputs.find(f"{start}inference_methods", **which))
    if methods is None or not len(methods):
        return
    content = json_of(inputs.find(f"{start}inference", **which))
    section.add(methods_table(methods, task, name, content))
    if content.get("EstimatorNote"):
        section.add(Note(f"Table above: {content['EstimatorNote']}."))
    if content.get("Note"):
        section.add(Note(f"{content['Note']}.", "warn"))
    clusters = table(inputs.find(f"{start}inference_clusters", **which))
    found = None if clusters is None else clusters_table(clusters, task, name, content)
    if found is not None:
        section.add(Fold(f"Clusters of contrast {name} with the probability each method gives them", [found]))


def methods_text(settings: Mapping, cite) -> str:
    """Sentences on the inference beyond voxel thresholds, for the methods paragraph.

    Parameters
    ----------
    settings : mapping
        ``activation.inference`` of the config.
    cite : callable
        ``cite(key, text)`` returns the text with the number of the reference.

    Returns
    -------
    str
        With a leading space.
    """
    forming = f"p < {float(settings.get('cluster_forming_p', 0.001)):g}"
    text = (
        f" Lower bounds on the share of true discoveries in clusters formed at {forming} came from "
        f"{cite('ari', 'all-resolution inference')}."
    )
    count = settings.get("permutations", 0)
    if count:
        together = f", members of one {settings['units']} together" if settings.get("units") else ""
        within = f", within {settings['blocks']}" if settings.get("blocks") else ""
        text += (
            f" Family-wise error was controlled by {count:,} {cite('flane', 'rearrangements of the data')} (sign flips for a "
            f"mean{together}{within}; seed {settings.get('seed', 0)}) for the largest t, "
            f"{cite('tfce', 'threshold-free cluster enhancement')} (E = 0.5, H = 2, exact integral), and extent and mass of the "
            "clusters."
        )
    return text
