"""Graph measures of a connectivity matrix over a range of densities, against networks of the same degrees."""

from pathlib import Path

import numpy as np
from numba import njit

from neurobraid.connectivity.matrix import read_matrix
from neurobraid.files import write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

DENSITIES = tuple(round(0.10 + 0.02 * k, 2) for k in range(11))
"""Shares of all edges that are kept: 10 to 30 %."""

RESTARTS = 100
"""Runs of the Louvain method whose modularity is averaged."""


NULLS, SWAPS, NODE_RESTARTS = 20, 10, 10


@njit(cache=True, nogil=True)
def _shuffled(count, rng):
    order = np.arange(count)
    for last in range(count - 1, 0, -1):
        other = rng.integers(0, last + 1)
        order[last], order[other] = order[other], order[last]
    return order


@njit(cache=True, nogil=True)
def _louvain_once(positive, negative, resolution, rng):
    """One run of the Louvain method on a signed network; labels 0, 1, ... and the signed modularity.

    Gain of moving a node follows Rubinov & Sporns 2011: negative weights count less than positive ones by v-/(v+ + v-).
    """
    size = positive.shape[0]
    v_plus, v_minus = positive.sum(), negative.sum()
    share_plus = 1.0 / v_plus if v_plus > 0 else 0.0
    share_minus = 1.0 / (v_plus + v_minus) if v_minus > 0 else 0.0
    member = np.arange(size)
    w_plus, w_minus = positive.copy(), negative.copy()
    while True:
        n = w_plus.shape[0]
        k_plus, k_minus = w_plus.sum(1), w_minus.sum(1)
        label = np.arange(n)
        s_plus, s_minus = k_plus.copy(), k_minus.copy()
        moved_any, moving = False, True
        while moving:
            moving = False
            for node in _shuffled(n, rng):
                own = label[node]
                to_plus, to_minus = np.zeros(n), np.zeros(n)
                for other in range(n):
                    if other != node:
                        to_plus[label[other]] += w_plus[node, other]
                        to_minus[label[other]] += w_minus[node, other]
                s_plus[own] -= k_plus[node]
                s_minus[own] -= k_minus[node]
                best, best_gain = own, -1e300
                stay = 0.0
                for group in range(n):
                    gain = 0.0
                    if v_plus > 0:
                        gain += share_plus * (
                            to_plus[group] - resolution * k_plus[node] * s_plus[group] / v_plus
                        )
                    if v_minus > 0:
                        gain -= share_minus * (
                            to_minus[group] - resolution * k_minus[node] * s_minus[group] / v_minus
                        )
                    if group == own:
                        stay = gain
                    if gain > best_gain:
                        best, best_gain = group, gain
                if best_gain <= stay + 1e-12:
                    best = own
                label[node] = best
                s_plus[best] += k_plus[node]
                s_minus[best] += k_minus[node]
                if best != own:
                    moving = True
                    moved_any = True
        # renumber, then merge every group into one node
        new = np.full(n, -1)
        count = 0
        for node in range(n):
            if new[label[node]] < 0:
                new[label[node]] = count
                count += 1
        for node in range(size):
            member[node] = new[label[member[node]]]
        if not moved_any or count == n:
            break
        merged_plus, merged_minus = np.zeros((count, count)), np.zeros((count, count))
        for i in range(n):
            for j in range(n):
                merged_plus[new[label[i]], new[label[j]]] += w_plus[i, j]
                merged_minus[new[label[i]], new[label[j]]] += w_minus[i, j]
        w_plus, w_minus = merged_plus, merged_minus
    k_plus, k_minus = positive.sum(1), negative.sum(1)
    quality = 0.0
    for i in range(size):
        for j in range(size):
            if member[i] == member[j]:
                if v_plus > 0:
                    quality += share_plus * (positive[i, j] - resolution * k_plus[i] * k_plus[j] / v_plus)
                if v_minus > 0:
                    quality -= share_minus * (negative[i, j] - resolution * k_minus[i] * k_minus[j] / v_minus)
    return member, quality


@njit(cache=True, nogil=True)
def _louvain(positive, negative, resolution, restarts, rng):
    best, top, total = np.zeros(positive.shape[0], np.int64), -1e300, 0.0
    for _ in range(restarts):
        member, quality = _louvain_once(positive, negative, resolution, rng)
        total += quality
        if quality > top + 1e-12:
            best, top = member, quality
    return best, top, total / restarts


def louvain(matrix, *, resolution=1.0, restarts=RESTARTS, seed=0):
    """Communities of a signed network by the Louvain method.

    Blondel et al. 2008 (J Stat Mech P10008) with the modularity Q* of Rubinov and Sporns 2011 (NeuroImage 56:2068).

    Parameters
    ----------
    matrix : numpy.ndarray, (R, R)
        Symmetric, finite; the diagonal is not used.
    resolution : float
        Above 1: smaller communities.
    restarts : int
    seed : int

    Returns
    -------
    labels : numpy.ndarray of int, (R,)
        1, 2, ... of the best run, in the order of their first region.
    best : float
        Its modularity.
    mean : float
        Modularity averaged over the runs.
    """
    values = np.array(matrix, np.float64)
    np.fill_diagonal(values, 0.0)
    labels, best, mean = _louvain(
        np.maximum(values, 0), np.maximum(-values, 0), resolution, restarts, np.random.default_rng(seed)
    )
    return labels + 1, float(best), float(mean)


def threshold(matrix, density):
    """Keep the strongest positive edges of a matrix.

    Parameters
    ----------
    matrix : numpy.ndarray, (R, R)
        Symmetric, finite.
    density : float
        Share of all edges, 0 to 1; fewer are kept where fewer are positive.

    Returns
    -------
    numpy.ndarray, (R, R)
        Zero where no edge is kept; ties go to the edge that comes first.
    """
    size = len(matrix)
    rows, columns = np.triu_indices(size, 1)
    values = matrix[rows, columns]
    count = round(density * len(values))
    order = np.argsort(-values, kind="stable")[:count]
    order = order[values[order] > 0]
    out = np.zeros((size, size))
    out[rows[order], columns[order]] = values[order]
    return out + out.T


@njit(cache=True, nogil=True)
def distances(adjacency):
    """Steps between nodes of a binary network by breadth-first search, (R, R); infinity where there is no way."""
    size = adjacency.shape[0]
    out = np.full((size, size), np.inf)
    queue = np.empty(size, np.int64)
    for start in range(size):
        out[start, start] = 0.0
        queue[0], head, tail = start, 0, 1
        while head < tail:
            node = queue[head]
            head += 1
            for other in range(size):
                if adjacency[node, other] and out[start, other] == np.inf:
                    out[start, other] = out[start, node] + 1.0
                    queue[tail] = other
                    tail += 1
    return out


@njit(cache=True, nogil=True)
def _betweenness(adjacency):
    """Brandes 2001 (J Math Sociol 25:163), unnormalised, every pair counted once."""
    size = adjacency.shape[0]
    out = np.zeros(size)
    for start in range(size):
        paths, far = np.zeros(size), np.full(size, -1)
        paths[start], far[start] = 1.0, 0
        queue = np.empty(size, np.int64)
        queue[0], head, tail = start, 0, 1
        while head < tail:
            node = queue[head]
            head += 1
            for other in range(size):
                if adjacency[node, other]:
                    if far[other] < 0:
                        far[other] = far[node] + 1
                        queue[tail] = other
                        tail += 1
                    if far[other] == far[node] + 1:
                        paths[other] += paths[node]
        depend = np.zeros(size)
        for at in range(tail - 1, 0, -1):
            node = queue[at]
            for other in range(size):
                if adjacency[node, other] and far[other] == far[node] - 1:
                    depend[other] += paths[other] / paths[node] * (1.0 + depend[node])
            out[node] += depend[node]
    return out / 2.0


def rewired(adjacency, swaps, seed):
    """Random network in which every node has as many edges as before.

    Pairs of edges a-b and c-d become a-d and c-b where neither exists (Maslov & Sneppen 2002, Science 296:910).

    Parameters
    ----------
    adjacency : numpy.ndarray of bool, (R, R)
    swaps : int
        Attempts per edge.
    seed : int

    Returns
    -------
    numpy.ndarray of bool, (R, R)
    """
    return _rewired(np.ascontiguousarray(adjacency, bool), swaps, np.random.default_rng(seed))


@njit(cache=True, nogil=True)
def _rewired(adjacency, swaps, rng):
    size = adjacency.shape[0]
    out = adjacency.copy()
    total = 0
    for i in range(size):
        for j in range(i + 1, size):
            total += out[i, j]
    first, second = np.empty(total, np.int64), np.empty(total, np.int64)
    at = 0
    for i in range(size):
        for j in range(i + 1, size):
            if out[i, j]:
                first[at], second[at] = i, j
                at += 1
    for _ in range(swaps * total):
        e, f = rng.integers(0, total), rng.integers(0, total)
        a, b, c, d = first[e], second[e], first[f], second[f]
        if rng.random() < 0.5:
            c, d = d, c
        if a in (c, d) or b in (c, d) or out[a, d] or out[c, b]:
            continue
        out[a, b] = out[b, a] = out[c, d] = out[d, c] = False
        out[a, d] = out[d, a] = out[c, b] = out[b, c] = True
        first[e], second[e], first[f], second[f] = a, d, c, b
    return out


def clustering(weights):
    """Clustering coefficient of every node, weighted after Onnela et al. 2005 (Phys Rev E 71:065103).

    Parameters
    ----------
    weights : numpy.ndarray, (R, R)
        Not negative, symmetric, zero diagonal; a binary network gives the binary coefficient.

    Returns
    -------
    numpy.ndarray, (R,)
        0 for nodes with fewer than two neighbours.
    """
    top = weights.max()
    root = np.cbrt(weights / top) if top > 0 else np.zeros_like(weights)
    triangles = np.einsum("ij,jk,ki->i", root, root, root, optimize=True)
    degree = (weights > 0).sum(1)
    pairs = degree * (degree - 1.0)
    return np.divide(triangles, pairs, out=np.zeros(len(weights)), where=pairs > 0)


def _mean_inverse(steps):
    size = len(steps)
    if size < 2:
        return 0.0
    off = ~np.eye(size, dtype=bool)
    return float((1.0 / steps[off]).mean())


def local_efficiency(adjacency):
    """Efficiency among the neighbours of every node (Latora & Marchiori 2001, Phys Rev Lett 87:198701), (R,)."""
    out = np.zeros(len(adjacency))
    for node in range(len(adjacency)):
        near = np.flatnonzero(adjacency[node])
        out[node] = _mean_inverse(distances(adjacency[np.ix_(near, near)]))
    return out


def participation(weights, labels):
    """Participation coefficient and within-module degree z (Guimera & Amaral 2005, Nature 433:895).

    Parameters
    ----------
    weights : numpy.ndarray, (R, R)
        Not negative.
    labels : numpy.ndarray of int, (R,)

    Returns
    -------
    coefficient, z : numpy.ndarray, (R,)
        0 for nodes without edges, or in modules whose nodes are all alike.
    """
    strength = weights.sum(1)
    shares = np.stack([weights[:, labels == group].sum(1) for group in np.unique(labels)], 1)
    ratio = np.divide(shares, strength[:, None], out=np.zeros_like(shares), where=strength[:, None] > 0)
    coefficient = np.where(strength > 0, 1.0 - (ratio**2).sum(1), 0.0)
    z = np.zeros(len(labels))
    for group in np.unique(labels):
        inside = labels == group
        own = weights[np.ix_(inside, inside)].sum(1)
        spread = own.std()
        z[inside] = (own - own.mean()) / spread if spread > 0 else 0.0
    return coefficient, z


def rich_club(adjacency):
    """Density of edges among nodes of more than k edges, for every k from 1 to the highest degree less one.

    Colizza et al. 2006 (Nat Phys 2:110).

    Returns
    -------
    numpy.ndarray, (K,)
        NaN where fewer than two such nodes exist.
    """
    degree = adjacency.sum(1)
    out = []
    for k in range(1, int(degree.max(initial=1))):
        rich = np.flatnonzero(degree > k)
        n = len(rich)
        out.append(adjacency[np.ix_(rich, rich)].sum() / (n * (n - 1)) if n > 1 else np.nan)
    return np.array(out)


def _global(adjacency):
    steps = distances(adjacency)
    off = ~np.eye(len(steps), dtype=bool)
    reached = steps[off & np.isfinite(steps)]
    return {
        "clustering": float(clustering(adjacency.astype(float)).mean()),
        "path_length": float(reached.mean()) if reached.size else np.nan,
        "global_efficiency": _mean_inverse(steps),
        "transitivity": _transitivity(adjacency),
    }


def _transitivity(adjacency):
    a = adjacency.astype(float)
    paths = (a @ a).sum() - np.trace(a @ a)
    return float(np.trace(a @ a @ a) / paths) if paths > 0 else 0.0


def measure(matrix, *, densities=DENSITIES, nulls=NULLS, swaps=SWAPS, restarts=NODE_RESTARTS, seed=0):
    """Measure a network at every density.

    Parameters
    ----------
    matrix : pandas.DataFrame, (R, R)
        Correlations; regions that are n/a throughout take no part.
    densities : sequence of float
    nulls : int
        Random networks of the same degrees per density.
    swaps : int
        Attempts per edge in each of them.
    restarts : int
        Runs of the Louvain method per density.
    seed : int

    Returns
    -------
    table : pandas.DataFrame
        One row per density: ``density`` (that is reached), ``clustering``, ``path_length`` (steps, pairs with a way between
        them), ``global_efficiency``, ``local_efficiency``, ``transitivity``, ``modularity``, ``assortativity``, ``components``;
        ``…_null`` is the mean over random networks of the same degrees, ``gamma``, ``lambda`` and ``sigma`` are clustering and
        path length relative to it and their ratio (Humphries & Gurney 2008, PLoS ONE 3:e2051), ``rich_club`` the largest
        rich-club density relative to it. The last row, with density n/a, is the area under each curve divided by the range.
    nodes : pandas.DataFrame
        One row per region, area under the curve over density divided by the range: ``degree``, ``strength``, ``clustering``,
        ``local_efficiency``, ``betweenness`` (share of all pairs), ``eigenvector``, ``participation``, ``within_module_z``;
        and from the whole signed matrix ``strength_positive`` and ``strength_negative``. NaN for regions without data.
    """
    import pandas as pd

    values = matrix.to_numpy(np.float64).copy()
    np.fill_diagonal(values, np.nan)
    used = np.isfinite(values).any(1)
    part = np.nan_to_num(values[np.ix_(used, used)])
    n = len(part)
    rows, nodal = [], []
    for step, density in enumerate(densities):
        weights = threshold(part, density)
        adjacency = weights > 0
        found = _global(adjacency)
        steps = distances(adjacency)
        labels, best, _ = louvain(weights, restarts=restarts, seed=seed)
        degree = adjacency.sum(1).astype(float)
        local = local_efficiency(adjacency)
        club = rich_club(adjacency)
        random, random_club = [], []
        for k in range(nulls):
            other = rewired(adjacency, swaps, seed + 1000 * step + k)
            random.append(_global(other))
            random_club.append(rich_club(other))
        null = {key: float(np.mean([r[key] for r in random])) if nulls else np.nan for key in found}
        gamma = found["clustering"] / null["clustering"] if null["clustering"] else np.nan
        path = found["path_length"] / null["path_length"] if null["path_length"] else np.nan
        ratio = np.nan
        if nulls and len(club):
            with np.errstate(invalid="ignore", divide="ignore"):
                curve = club / np.mean(random_club, 0)
            ratio = float(np.nanmax(curve)) if np.isfinite(curve).any() else np.nan
        ends = np.argwhere(adjacency)
        mixed = np.corrcoef(degree[ends].T)[0, 1] if len(ends) and degree[ends].std() > 0 else np.nan
        groups = {frozenset(np.flatnonzero(np.isfinite(row)).tolist()) for row in steps}
        rows.append({
            "density": adjacency.sum() / (n * (n - 1)), **found, "local_efficiency": float(local.mean()), "modularity": best,
            "assortativity": float(mixed), "components": len(groups),
            **{f"{key}_null": value for key, value in null.items()},
            "gamma": gamma, "lambda": path, "sigma": gamma / path if path else np.nan, "rich_club": ratio,
        })  # fmt: skip
        leading = np.abs(np.linalg.eigh(adjacency.astype(float))[1][:, -1])
        coefficient, z = participation(weights, labels)
        nodal.append(np.stack([
            degree, weights.sum(1), clustering(weights), local,
            _betweenness(adjacency) / max((n - 1) * (n - 2) / 2, 1), leading, coefficient, z,
        ]))  # fmt: skip
    table = pd.DataFrame(rows)
    reached = table["density"].to_numpy()
    area = {key: _area(table[key].to_numpy(), reached) for key in table.columns.drop("density")}
    table = pd.concat([table, pd.DataFrame([{"density": np.nan, **area}])], ignore_index=True)
    names = [
        "degree", "strength", "clustering", "local_efficiency", "betweenness", "eigenvector", "participation",
        "within_module_z",
    ]  # fmt: skip
    filled = np.full((len(names), len(values)), np.nan)
    filled[:, used] = _area(np.stack(nodal), reached)
    nodes = pd.DataFrame(filled.T, index=matrix.index, columns=names)
    signed = np.where(np.isfinite(values), values, 0.0)
    nodes["strength_positive"] = np.where(used, np.maximum(signed, 0).sum(1), np.nan)
    nodes["strength_negative"] = np.where(used, np.minimum(signed, 0).sum(1), np.nan)
    return table, nodes


def _area(curve, densities):
    """Area under a curve over density divided by the range of densities: a mean that does not depend on one threshold."""
    span = densities[-1] - densities[0]
    return curve.mean(0) if span <= 0 else np.trapezoid(curve, densities, axis=0) / span


def run(inputs, outputs):
    """Measure the matrices of a task and write two tables with their sidecar.

    Parameters
    ----------
    inputs : object with attributes matrices, group
    outputs : object with attributes table, nodes, sidecar
    """
    import pandas as pd

    tables, nodes = [], []
    for path in [inputs.group, *inputs.matrices]:
        name = Path(path).name
        label = name.split("_atlas-")[0] if name.startswith("sub-") else "group"
        matrix = read_matrix(path)
        if matrix.isna().all(axis=None):
            log.warning("%s: no data, no graph", label)
            continue
        table, regions = measure(matrix)
        tables.append(table.assign(scan=label))
        nodes.append(regions.rename_axis("Node").reset_index().assign(scan=label))
    for found, path in ((tables, outputs.table), (nodes, outputs.nodes)):
        joined = pd.concat(found, ignore_index=True)
        write_tsv(joined[["scan", *joined.columns.drop("scan")]], path, float_format="%.6g")
    content = sidecar(
        "Graph measures of the strongest positive edges, by density; the row of a scan with density n/a is the area under the curve "
        "divided by the range of densities. Columns ending in _null are means of random networks in which every region has as many "
        "edges as before (Maslov and Sneppen 2002).",
        [inputs.group, *inputs.matrices], Densities=list(DENSITIES), RandomNetworks=NULLS, SwapsPerEdge=SWAPS, LouvainRestarts=NODE_RESTARTS,
        Seed=0,
    )  # fmt: skip
    write_json(content, outputs.sidecar)
    log.info("%d scans", len(inputs.matrices))
