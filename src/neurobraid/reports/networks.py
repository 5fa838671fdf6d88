"""The part of the study page on edges compared between people, graphs, gradients and dynamics."""

from __future__ import annotations

import numpy as np

from neurobraid.reports import figures, style
from neurobraid.reports.gather import entities_of, sidecar_of, table
from neurobraid.reports.pages import Heading, Note, Table, number

LISTED = 15
CURVES = (
    ("gamma", "clustering, relative to random"),
    ("lambda", "path length, relative to random"),
    ("sigma", "small-world index"),
    ("modularity", "modularity (Q)"),
)


def curves_figure(group, scans):
    """Graph measures over density: every scan as a thin line, the group's matrix as a thick one.

    Parameters
    ----------
    group, scans : pandas.DataFrame
        Rows of ``…_desc-graph_table.tsv`` with a density.
    """
    with style.look():
        figure = style.new_figure(style.WIDTH, 2.5, layout="constrained")
        for axis, (key, label) in zip(figure.subplots(1, 4), CURVES, strict=True):
            for _, one in scans.groupby("scan", sort=False):
                axis.plot(100 * one["density"], one[key], color=style.SKY, linewidth=0.6, alpha=0.7)
            axis.plot(100 * group["density"], group[key], color=style.BLUE, linewidth=2)
            if key in ("gamma", "lambda", "sigma"):
                axis.axhline(1, color=style.SOFT, linestyle=(0, (4, 2)), linewidth=0.8)
            axis.set_xlabel("edges kept (%)")
            axis.set_ylabel(label)
        return figure


def gradients_figure(gradients):
    """First against second gradient, one dot per region.

    Parameters
    ----------
    gradients : pandas.DataFrame
        ``…_desc-gradients_table.tsv``, joined with hemisphere and structure of the regions.
    """
    with style.look():
        figure = style.new_figure(5.2, 3.8, layout="constrained")
        axis = figure.subplots()
        kinds = gradients["structure"].fillna("region").astype(str)
        for name, colour in zip(dict.fromkeys(kinds), style.CYCLE, strict=False):
            mine = kinds == name
            axis.plot(
                gradients.loc[mine, "gradient1"],
                gradients.loc[mine, "gradient2"],
                "o",
                color=colour,
                markersize=4,
                label=name,
            )
        axis.set_xlabel("gradient 1 (arbitrary unit)")
        axis.set_ylabel("gradient 2 (arbitrary unit)")
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return figure


def dynamic_figure(found):
    """Variability of the windows of every scan beside that of its surrogates.

    Parameters
    ----------
    found : pandas.DataFrame
        Rows of ``…_desc-dynamic_table.tsv`` with a value.
    """
    with style.look():
        figure = style.new_figure(style.WIDTH, 2.6, layout="constrained")
        axis = figure.subplots()
        at = np.arange(len(found))
        axis.vlines(at, found["variability_surrogate"], found["variability"], color=style.LINE, linewidth=2)
        axis.plot(
            at,
            found["variability_surrogate"],
            "_",
            color=style.VERMILION,
            markersize=10,
            label="stationary surrogates (mean)",
        )
        axis.plot(at, found["variability"], "o", color=style.BLUE, markersize=4, label="recorded")
        axis.set_xlabel("scan, in the order of the table")
        axis.set_ylabel("SD over windows (Fisher z)")
        axis.set_xlim(-1, len(found))
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return figure


def _places(path):
    found = entities_of(path)
    # adopted series need not have a task
    labels = {key: found[key] for key in ("task", "atlas") if key in found}
    stem = "_".join(["study", *(f"{key}-{value}" for key, value in labels.items())])
    return labels, stem, ", ".join(f"{key} {value}" for key, value in labels.items())


def _regions(inputs, labels):
    """Table of the atlas, or None: adopted series bring none."""
    path = inputs.find("atlas_tables", atlas=labels["atlas"])
    return table(path) if path else None


def _by_mass(row):
    """P of a component by its mass, where the table has it."""
    mass = row.get("p_component_mass", np.nan)
    return f", by mass {number(mass, 3)}" if mass == mass else ""


def _edges(inputs, gallery, path):
    labels, stem, where = _places(path)
    name = entities_of(path).get("contrast", "")
    found, note = table(path), sidecar_of(inputs, "edges", contrast=name, **labels)
    nodes = list(dict.fromkeys([*found["node1"], *found["node2"]]))
    at = {node: k for k, node in enumerate(nodes)}
    values = np.full((len(nodes), len(nodes)), np.nan)
    rows, columns = found["node1"].map(at).to_numpy(), found["node2"].map(at).to_numpy()
    values[rows, columns] = values[columns, rows] = found["t"].to_numpy(float)
    regions = _regions(inputs, labels)
    import pandas as pd

    frame = pd.DataFrame({"name": nodes})
    if regions is not None:
        frame = regions.drop_duplicates("name").set_index("name").reindex(nodes).reset_index()
    passed = int((found["p_fdr"] < 0.05).sum())
    covariates = ", ".join(note.get("Covariates") or []) or "none"
    about = (
        f"{name}: {note.get('NumberOfParticipants', 'n/a')} participants, covariates {covariates}; positive: "
        f"{note.get('Positive', '')}. {passed} of {note.get('EdgesTested', len(found))} edges at a false discovery rate of 0.05"
    )
    tested, whole = note.get("EdgesTested", len(found)), note.get("EdgesOfEverybody")
    if whole is not None and (whole < tested or tested < len(found)):
        about += (
            f". {number(tested - whole)} edges are tested among the people who have them ({100 * note.get('MinPresent', 0):.0f} % or more); "
            f"{number(len(found) - tested)} are not tested"
        )
    out = [
        Heading(f"Edges compared: {name}, {where}"),
        gallery.show(
            figures.matrix(values, frame, label="t"), f"{stem}_contrast-{name}_edges.png", f"Matrix of t of the comparison {name}.",
            f"t of every edge, not thresholded. {about}.",
        ),
    ]  # fmt: skip
    parts = found[found["component"] != 0].drop_duplicates("component")
    made = note.get("Permutation", {})
    sizes = [
        f"{number(int(row['component_edges']))} edge{'s' if row['component_edges'] > 1 else ''}"
        + (f" (p = {number(row['p_component'], 3)}{_by_mass(row)})" if made else "")
        for row in parts.sort_values("component_edges", ascending=False).head(5).to_dict("records")
    ]
    if sizes:
        block = note.get("Block", "none")
        within = "" if block == "none" else f" within {block}"
        everything = ", all there are" if made.get("Complete") else ""
        how = (
            f"; p is family-wise, from {number(made.get('Permutations'))} permutations{within}{everything}. A component is significant as "
            "a whole; its single edges are not."
            if made
            else "; without permutations they have no p (connectivity.edges, permutations)."
        )
        height = number(float(note.get("ComponentThresholdT", 0)), 1)
        out.append(
            Note(f"Largest connected components of edges with |t| > {height}: {'; '.join(sizes)}{how}")
        )
    best = found.reindex(found["p"].sort_values(kind="stable").index).head(LISTED)
    rows = [
        [
            r["node1"],
            r["node2"],
            number(r["effect"], 3),
            number(r["t"], 2),
            number(r["p"], 4),
            number(r["p_fdr"], 3),
            number(r["p_max"], 3),
        ]
        for r in best.to_dict("records")
    ]
    heads = ["Region", "Region ", "Effect (z)", "t", "p", "p FDR", "p max-t"]
    out.append(
        Table(
            heads, rows, f"The {len(rows)} edges with the smallest p.", numeric=tuple(heads[2:]), compact=True
        )
    )
    return out


def _graph(inputs, gallery, path):
    _, stem, where = _places(path)
    found = table(path)
    with_density = found[found["density"].notna()]
    group = with_density[with_density["scan"] == "group"]
    area = found[found["density"].isna()].set_index("scan")
    heads = ["Matrix", "γ", "λ", "σ", "Modularity Q", "Global efficiency", "Rich club"]
    keys = ["gamma", "lambda", "sigma", "modularity", "global_efficiency", "rich_club"]
    people = area.drop(index="group", errors="ignore")
    rows = (
        [["group mean matrix", *[number(area.loc["group", k]) for k in keys]]]
        if "group" in area.index
        else []
    )
    rows.append(
        [
            f"scans (n = {len(people)}), mean ± SD",
            *[f"{number(people[k].mean())} ± {number(people[k].std())}" for k in keys],
        ]
    )
    return [
        Heading(f"Graph measures: {where}"),
        gallery.show(
            curves_figure(group, with_density[with_density["scan"] != "group"]), f"{stem}_graph.svg",
            "Curves of graph measures over density.",
            "Graph measures over the share of edges kept, strongest positive edges first. Thick: mean matrix; thin: scans. Dashed: random "
            "networks in which every region has as many edges. Path length counts pairs with a way between them and means little at densities "
            "where the network falls apart (column components of the table). Measures of a mean matrix are not the mean of the measures.",
        ),
        Table(heads, rows, "Area under the curve divided by the range of densities (10 to 30 %).", numeric=tuple(heads[1:])),
    ]  # fmt: skip


def _gradients(inputs, gallery, path):
    labels, stem, where = _places(path)
    found, note = table(path), sidecar_of(inputs, "gradients", **labels)
    regions = _regions(inputs, labels)
    if regions is not None and "structure" in regions:
        found = found.merge(
            regions.drop_duplicates("name")[["name", "structure"]],
            left_on="Node",
            right_on="name",
            how="left",
        )
    else:
        found["structure"] = "region"
    values = ", ".join(number(float(v)) for v in note.get("Eigenvalues", []))
    return [
        Heading(f"Gradients: {where}"),
        gallery.show(
            gradients_figure(found), f"{stem}_gradients.svg", "Scatter plot of the first two gradients.",
            f"First two gradients of the mean matrix (diffusion map, strongest "
            f"{number(100 * (1 - float(note.get('Sparsity', 0.9))), 0)} % of each row), one dot per region. Eigenvalues: {values}. "
            f"{len(note.get('RegionsLeftOut', []))} regions that somebody lacks are left out.",
        ),
    ]  # fmt: skip


def _dynamic(inputs, gallery, path):
    labels, stem, where = _places(path)
    found, note = table(path), sidecar_of(inputs, "dynamic", **labels)
    ok = found[found["variability"].notna()]
    out = [Heading(f"Dynamic connectivity: {where}")]
    if not len(ok):
        return [
            *out,
            Note(
                "No scan has a stretch without censored volumes that is long enough for ten windows.",
                "missing",
            ),
        ]
    share = 100 * float((ok["p"] <= 0.05).mean())
    out.append(gallery.show(
        dynamic_figure(ok), f"{stem}_dynamic.svg", "Variability over windows of every scan beside that of its surrogates.",
        f"Standard deviation over windows of {number(float(note.get('WindowSeconds', 0)), 0)} s, mean over edges, beside "
        f"{note.get('Surrogates', 0)} stationary surrogates of the same spectra and the same mean connectivity. In {number(share, 0)} % of "
        f"{len(ok)} scans p ≤ 0.05; chance gives 5 %. What lies at the red marks is not dynamic; what exceeds them can also be motion that is left.",
    ))  # fmt: skip
    return out


def blocks(inputs, gallery) -> list:
    """Blocks for every comparison, graph table, gradient table and dynamic table there is.

    Parameters
    ----------
    inputs : neurobraid.reports.gather.Inputs
        Kinds ``edges``, ``graph``, ``gradients``, ``dynamic``, ``atlas_tables``.
    gallery : neurobraid.reports.pages.Gallery
    """
    out = []
    for kind, make in (
        ("edges", _edges),
        ("graph", _graph),
        ("gradients", _gradients),
        ("dynamic", _dynamic),
    ):
        for path in inputs.all(kind):
            out.extend(make(inputs, gallery, path))
    return out
