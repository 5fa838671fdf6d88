"""Group comparison of edges: a linear model at every edge, false discovery rate, and the network-based statistic."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from neurobraid.connectivity.group import average
from neurobraid.connectivity.matrix import BOUNDED, fisher_z, read_matrix
from neurobraid.connectivity.strategies import edge_names, false_discovery, upper
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.provenance import sidecar
from neurobraid.stats import permutation
from neurobraid.stats.exchange import column_labels, exchange
from neurobraid.stats.graph import clusters, network

MIN_PEOPLE = 3


def fit(z, variable, nuisance, *, blocks=None, least=1.0):
    """Linear model of one variable at every edge, given nuisance variables.

    Parameters
    ----------
    z : numpy.ndarray, (N, E)
        NaN where somebody lacks an edge.
    variable : numpy.ndarray, (N,)
    nuisance : numpy.ndarray, (N, k)
        With the constant.
    blocks : sequence, optional
    least : float
        See `neurobraid.stats.permutation.prepare_incomplete`.

    Returns
    -------
    effect : numpy.ndarray, (T,)
        Change of z per unit of the variable, of the edges that are tested.
    model : neurobraid.stats.permutation.Model or Incomplete
        Its `statistic` is t of the variable.
    tested : numpy.ndarray of bool, (E,)
    """
    matrix = np.column_stack([variable, nuisance])
    contrast = np.eye(matrix.shape[1])[0]
    model, tested = permutation.prepare_incomplete(z, matrix, contrast, blocks=blocks, least=least)
    if isinstance(model, permutation.Model):
        return np.linalg.pinv(matrix)[0] @ z[:, tested], model, tested
    effect, places = np.empty(tested.sum()), np.flatnonzero(tested)
    for elements, rows, _ in model.parts:
        effect[elements] = np.linalg.pinv(matrix[rows])[0] @ z[np.ix_(rows, places[elements])]
    return effect, model, tested


def design(participants, people, variable, covariates):
    """Variable and nuisance columns for a list of people.

    Parameters
    ----------
    participants : pandas.DataFrame
        ``participants.tsv`` as text.
    people : list of str
    variable : str
        Column: numbers, or two groups (the first in the alphabet is the reference).
    covariates : list of str
        Columns: numbers are centred, words become indicators.

    Returns
    -------
    x : numpy.ndarray, (N,)
    nuisance : numpy.ndarray, (N, k)
    rows : list of int
        People with every value.
    words : str
        What a positive effect means.

    Raises
    ------
    InputError
        Column missing, constant variable, more than two groups, or the variable is a combination of covariates.
    """
    table = participants.set_index("participant_id").reindex(people)
    for name in (variable, *covariates):
        if name not in table:
            raise InputError(
                "participants.tsv",
                "columns",
                f"no {name}",
                ", ".join(table.columns),
                "correct connectivity.edges",
            )
    text = table[list(dict.fromkeys([variable, *covariates]))].replace({"n/a": None, "": None})
    rows = np.flatnonzero(text.notna().all(axis=1))
    if len(rows) < MIN_PEOPLE + len(covariates):
        raise InputError(
            "participants.tsv", f"people with {', '.join(text)}", len(rows), f"{MIN_PEOPLE + len(covariates)} or more", "complete the table"
        )  # fmt: skip
    text = text.iloc[rows]
    values = pd.to_numeric(text[variable], errors="coerce")
    words = f"more with more {variable}"
    if values.isna().any():
        levels = sorted(text[variable].unique())
        if len(levels) != 2:
            raise InputError(
                "participants.tsv", variable, f"{len(levels)} groups ({', '.join(map(str, levels[:5]))})", "numbers or two groups",
                "choose another variable, or leave the other groups out by index.participants",
            )  # fmt: skip
        values = (text[variable] == levels[1]).astype(float)
        words = f"more in {levels[1]} than in {levels[0]}"
    x = values.to_numpy(np.float64)
    columns = [np.ones(len(rows))]
    for name in covariates:
        numbers = pd.to_numeric(text[name], errors="coerce")
        if numbers.notna().all():
            columns.append(numbers.to_numpy() - numbers.mean())
        else:
            columns += [
                (text[name] == level).astype(float).to_numpy() for level in sorted(text[name].unique())[1:]
            ]
    nuisance = np.column_stack(columns)
    basis = np.linalg.qr(nuisance)[0]
    if np.linalg.norm(x - basis @ (basis.T @ x)) < 1e-8 * max(np.linalg.norm(x), 1):
        raise InputError(
            "participants.tsv", variable, f"constant or a combination of {', '.join(covariates) or 'nothing'}", "a variable that varies",
            "choose another variable or fewer covariates",
        )  # fmt: skip
    return x, nuisance, rows.tolist(), words


def compare(z, x, nuisance, size, *, blocks=None, permutations=999, threshold=3.1, seed=0, min_present=0.5):
    r"""Test one variable at every edge.

    Parameters
    ----------
    z : numpy.ndarray, (N, E)
        Fisher z; NaN where somebody lacks an edge, which is then tested among those who have it.
    x : numpy.ndarray, (N,)
    nuisance : numpy.ndarray, (N, k)
    size : int
        Regions.
    blocks : sequence, optional
        Label of everybody (site, family): people change places within their block only.
    permutations : int
        0: no family-wise p.
    threshold : float
        On \\|t\\|, for the network-based statistic (Zalesky et al. 2010, NeuroImage 53:1197). It may lie below the height of
        p = .001 that is asked of clusters of voxels: a component is claimed as a whole, and its size needs no smoothness.
    seed : int
    min_present : float
        Share of people who must have an edge that is tested.

    Returns
    -------
    table : pandas.DataFrame
        Edge by edge: ``participants`` who have it, ``effect`` (z per unit), ``t``, ``p``, ``p_fdr``, ``component`` (its number with the sign of the effect,
        0: below the threshold), ``component_edges``, ``p_max`` (family-wise by the largest \\|t\\|), ``p_component`` (by the
        number of edges), ``component_mass`` (sum of \\|t\\| above the threshold), ``p_component_mass``.
    info : dict
        ``DegreesOfFreedom`` (two numbers where they differ: fewest, most), ``EdgesTested``, ``EdgesOfEverybody`` and with permutations ``Permutation``: settings of
        `neurobraid.stats.permutation`.

    Raises
    ------
    InputError
        No edge that enough people have; columns that cannot be told apart; nobody to change places with.
    """
    have = np.isfinite(z).sum(0)
    if not (have >= min_present * len(z)).any():
        raise InputError(
            "matrices", f"edges that {100 * min_present:g} % of the people have", 0, "1 or more", "leave out people with little coverage"
        )  # fmt: skip
    effect, model, tested = fit(z, x, nuisance, blocks=blocks, least=min_present)
    t = permutation.statistic(model)
    p = permutation.tail(t, model)
    parts = network(size, tested)
    number, edges, masses = clusters(t, parts, threshold)
    inside = number > 0
    own = number[inside] - 1
    found = pd.DataFrame({"effect": effect, "t": t, "p": p, "p_fdr": false_discovery(p)})
    found["component"] = np.where(t < 0, -number, number)
    found["component_edges"] = np.append(0, edges)[number]
    for name in ("p_max", "p_component", "component_mass", "p_component_mass"):
        found[name] = np.nan
    found.loc[inside, "component_mass"] = masses[own]
    several = sorted({own.dof for _, _, own in getattr(model, "parts", ())})
    info = {
        "DegreesOfFreedom": [several[0], several[-1]] if len(several) > 1 else model.dof,
        "EdgesTested": int(tested.sum()), "EdgesOfEverybody": int((have == len(z)).sum()),
    }  # fmt: skip
    if permutations:
        null = permutation.null(
            model, exchange(len(z), blocks=blocks), seed, permutations,
            tests=permutation.Tests(parts, threshold),
        )  # fmt: skip
        found["p_max"] = permutation.corrected(t, null.values["peak"])
        found.loc[inside, "p_component"] = permutation.corrected(edges, null.values["extent"])[own]
        found.loc[inside, "p_component_mass"] = permutation.corrected(masses, null.values["mass"])[own]
        info["Permutation"] = null.settings
    table = found.set_index(np.flatnonzero(tested)).reindex(range(len(tested)))
    for name in ("component", "component_edges"):
        table[name] = table[name].fillna(0).astype(int)
    table.insert(0, "participants", have)
    return table, info


def run(inputs, outputs, *, record, measure="pearsoncorrelation"):
    """Test one declared comparison on the matrices of a task.

    Parameters
    ----------
    inputs : object with attributes matrices, sidecars, participants
    outputs : object with attributes table, sidecar
    record : dict
        ``name``, ``variable``, ``covariates``, ``block``, ``permutations``, ``threshold_t``, ``seed``.
    measure : str
        Of the matrices.
    """
    participants_of = [re.match(r"sub-[A-Za-z0-9+]+", Path(path).name)[0] for path in inputs.matrices]
    matrices = [read_matrix(path) for path in inputs.matrices]
    minutes = [read_json(path).get("CleanMinutes") for path in inputs.sidecars]
    if any(m is None for m in minutes):  # adopted matrices do not all say it
        minutes = [1.0] * len(minutes)
    _, people, _ = average(matrices, participants_of, minutes, bounded=measure in BOUNDED)
    names = list(matrices[0].index)
    table = read_tsv(inputs.participants, text=read_header(inputs.participants))
    # a scan that could not be used has an empty matrix: nobody else must lose edges for it
    empty = [person for person, matrix in people.items() if matrix.isna().all(axis=None)]
    who = [person for person in people if person not in empty]
    covariates = list(record["covariates"])
    if "mean_fd_mm" in covariates:
        said = [read_json(p).get("MeanFramewiseDisplacement") for p in inputs.sidecars]
        motion = pd.Series([np.nan if fd is None else float(fd) for fd in said])
        by = motion.groupby(pd.Series(participants_of)).mean()
        table["mean_fd_mm"] = table["participant_id"].map(by)
    x, nuisance, rows, words = design(table, who, record["variable"], covariates)
    z = np.stack(
        [
            upper(
                fisher_z(people[who[k]].to_numpy(copy=True))
                if measure in BOUNDED
                else people[who[k]].to_numpy()
            )
            for k in rows
        ]
    )
    blocks = column_labels(
        table.set_index("participant_id"), [who[k] for k in rows], record.get("block"),
        setting="connectivity.edges",
    )  # fmt: skip
    found, info = compare(
        z, x, nuisance, len(names), blocks=blocks, permutations=record["permutations"], threshold=record["threshold_t"],
        seed=record["seed"], min_present=record.get("min_present", 0.5),
    )  # fmt: skip
    first, second = edge_names(names)
    found.insert(0, "node1", first)
    found.insert(1, "node2", second)
    write_tsv(found, outputs.table, float_format="%.6g")
    content = sidecar(
        "A linear model at every edge of the participants' matrices, of those who have the edge. p: two-sided, uncorrected; p_fdr: Benjamini-Hochberg; p_max (the "
        "edge's |t|), p_component (edges of its component) and p_component_mass (sum of |t| above the threshold): family-wise, by "
        "permutation of residuals within blocks (Freedman and Lane 1983). Components are the network-based statistic, of either sign "
        "apart; their threshold may be lower than p = .001, the limit for clusters of voxels, because a component is claimed as a "
        "whole and its null comes from the permutations alone, not from random field theory.",
        [*inputs.matrices, inputs.participants], Measure=measure, Variable=record["variable"], Positive=words, Covariates=covariates,
        Block=record.get("block") or "none", Permutations=record["permutations"], ComponentThresholdT=record["threshold_t"],
        Seed=record["seed"], MinPresent=record.get("min_present", 0.5), NumberOfParticipants=len(rows), LeftOut=[*(p for k, p in enumerate(who) if k not in set(rows)), *empty], **info,
    )  # fmt: skip
    write_json(content, outputs.sidecar)
    log.info(
        "%s: %d participants, %d edges with FDR < .05",
        record["name"],
        len(rows),
        int((found["p_fdr"] < 0.05).sum()),
    )


def read_header(path):
    """Columns of a table: all of participants.tsv is read as text here, numbers are told apart later."""
    with open(path, encoding="utf-8-sig") as handle:
        return handle.readline().rstrip("\r\n").split("\t")
