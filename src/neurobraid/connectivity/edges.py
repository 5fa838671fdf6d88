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

MIN_PEOPLE = 3


def permute(size, count, *, blocks=None, seed=0):
    """Orders of people for permutations: within blocks only.

    Parameters
    ----------
    size : int
        People.
    count : int
    blocks : sequence, optional
        Label of everybody (site, family): people are exchanged within their block.
    seed : int

    Yields
    ------
    numpy.ndarray of int, (size,)
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, int) if blocks is None else np.unique(np.asarray(blocks), return_inverse=True)[1]
    groups = [np.flatnonzero(labels == k) for k in range(labels.max() + 1)]
    for _ in range(count):
        order = np.arange(size)
        for group in groups:
            order[group] = rng.permutation(group)
        yield order


def fit(z, variable, nuisance):
    """T of one variable at every edge, given nuisance variables.

    Parameters
    ----------
    z : numpy.ndarray, (N, E)
        Finite.
    variable : numpy.ndarray, (N,)
    nuisance : numpy.ndarray, (N, k)
        With the constant.

    Returns
    -------
    effect, t : numpy.ndarray, (E,)
        Change of z per unit of the variable.
    dof : int
    """
    basis = np.linalg.qr(nuisance)[0]
    x = variable - basis @ (basis.T @ variable)
    y = z - basis @ (basis.T @ z)
    square = x @ x
    effect = x @ y / square
    dof = len(z) - nuisance.shape[1] - 1
    rest = ((y - np.outer(x, effect)) ** 2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = effect / np.sqrt(rest / dof / square)
    return effect, t, dof


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


def components(t, size, threshold):
    """Connected parts of the network of edges beyond a threshold, of either sign apart.

    Parameters
    ----------
    t : numpy.ndarray, (E,)
    size : int
        Regions.
    threshold : float

    Returns
    -------
    labels : numpy.ndarray of int, (E,)
        0: not beyond; the sign of the label is that of the effect.
    sizes : dict of int to int
        Edges of each part.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = np.triu_indices(size, 1)
    labels, sizes, number = np.zeros(len(t), int), {}, 0
    for sign in (1, -1):
        beyond = np.flatnonzero(sign * np.nan_to_num(t) > threshold)
        if not len(beyond):
            continue
        graph = coo_array((np.ones(len(beyond)), (rows[beyond], columns[beyond])), shape=(size, size))
        part = connected_components(graph, directed=False)[1][rows[beyond]]
        for which in np.unique(part):
            number += 1
            mine = beyond[part == which]
            labels[mine] = sign * number
            sizes[sign * number] = len(mine)
    return labels, sizes


def compare(z, x, nuisance, size, *, blocks=None, permutations=999, threshold=3.1, seed=0):
    r"""Test one variable at every edge.

    Parameters
    ----------
    z : numpy.ndarray, (N, E)
        Fisher z; edges that anybody lacks are not tested.
    x : numpy.ndarray, (N,)
    nuisance : numpy.ndarray, (N, k)
    size : int
        Regions.
    blocks : sequence, optional
        See `permute`.
    permutations : int
        0: no network-based statistic.
    threshold : float
        On \\|t\\|, for the network-based statistic (Zalesky et al. 2010, NeuroImage 53:1197).
    seed : int

    Returns
    -------
    table : pandas.DataFrame
        Edge by edge: ``effect`` (z per unit), ``t``, ``p``, ``p_fdr``, ``p_max`` (family-wise by the largest \\|t\\|), ``component``,
        ``component_edges``, ``p_component``.
    info : dict
        ``DegreesOfFreedom``, ``EdgesTested``.
    """
    from scipy import stats

    tested = np.isfinite(z).all(0)
    if not tested.any():
        raise InputError(
            "matrices", "edges that everybody has", 0, "1 or more", "leave out people with little coverage"
        )
    effect, t = np.full(z.shape[1], np.nan), np.full(z.shape[1], np.nan)
    effect[tested], t[tested], dof = fit(z[:, tested], x, nuisance)
    p = 2 * stats.t.sf(np.abs(t), dof)
    labels, sizes = components(t, size, threshold)
    table = pd.DataFrame({"effect": effect, "t": t, "p": p, "p_fdr": false_discovery(p)})
    table["component"] = labels
    table["component_edges"] = [sizes.get(k, 0) for k in labels]
    table["p_max"], table["p_component"] = np.nan, np.nan
    if permutations:
        # Freedman and Lane 1983: residuals of the nuisance model change places, the fitted nuisance stays
        basis = np.linalg.qr(nuisance)[0]
        fitted = basis @ (basis.T @ z[:, tested])
        rest = z[:, tested] - fitted
        largest, tops = np.empty(permutations), np.empty(permutations)
        full = np.full(z.shape[1], np.nan)
        for k, order in enumerate(permute(len(z), permutations, blocks=blocks, seed=seed)):
            full[tested] = fit(fitted + rest[order], x, nuisance)[1]
            largest[k] = np.nanmax(np.abs(full))
            tops[k] = max(components(full, size, threshold)[1].values(), default=0)
        ordered = np.sort(largest)
        beaten = permutations - np.searchsorted(ordered, np.abs(t[tested]) - 1e-9)
        table.loc[tested, "p_max"] = (1 + beaten) / (1 + permutations)
        for label, edges in sizes.items():
            table.loc[labels == label, "p_component"] = (1 + (tops >= edges).sum()) / (1 + permutations)
    return table, {"DegreesOfFreedom": int(dof), "EdgesTested": int(tested.sum())}


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
    minutes = [float(read_json(path)["CleanMinutes"]) for path in inputs.sidecars]
    _, people, _ = average(matrices, participants_of, minutes, bounded=measure in BOUNDED)
    names = list(matrices[0].index)
    table = read_tsv(inputs.participants, text=read_header(inputs.participants))
    who = list(people)
    covariates = list(record["covariates"])
    if "mean_fd_mm" in covariates:
        motion = pd.Series(
            [float(read_json(p).get("MeanFramewiseDisplacement", np.nan)) for p in inputs.sidecars]
        )
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
    blocks = None
    if record.get("block"):
        blocks = table.set_index("participant_id").reindex([who[k] for k in rows])[record["block"]].to_numpy()
    found, info = compare(
        z, x, nuisance, len(names), blocks=blocks, permutations=record["permutations"], threshold=record["threshold_t"],
        seed=record["seed"],
    )  # fmt: skip
    first, second = edge_names(names)
    found.insert(0, "node1", first)
    found.insert(1, "node2", second)
    write_tsv(found, outputs.table, float_format="%.6g")
    content = sidecar(
        "A linear model at every edge of the participants' matrices. p: two-sided, uncorrected; p_fdr: Benjamini-Hochberg; p_max and "
        "p_component: family-wise, by permutation of residuals within blocks (Freedman and Lane 1983).",
        [*inputs.matrices, inputs.participants], Measure=measure, Variable=record["variable"], Positive=words, Covariates=covariates,
        Block=record.get("block") or "none", Permutations=record["permutations"], ComponentThresholdT=record["threshold_t"],
        Seed=record["seed"], NumberOfParticipants=len(rows), LeftOut=[p for k, p in enumerate(who) if k not in set(rows)], **info,
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
