"""Clusters and threshold-free cluster enhancement on any graph: voxels of a mask, vertices of a surface, edges."""

from dataclasses import dataclass

import numpy as np
from numba import njit

EXTENT = 0.5
HEIGHT = 2.0
#: Steps of nilearn's and fslmaths' TFCE, and the bounds nilearn puts on a step size given in units of the map.
AUTO_STEPS, FEWEST_STEPS, MOST_STEPS = 100, 10, 1000
_OFFSETS = {6: 1, 18: 2, 26: 3}


@dataclass(frozen=True)
class Graph:
    """Which elements touch which, as compressed rows.

    Attributes
    ----------
    start : numpy.ndarray of int32, (V + 1,)
        Neighbours of element v are ``near[start[v]:start[v + 1]]``.
    near : numpy.ndarray of int32, (2 x pairs,)
    """

    start: np.ndarray
    near: np.ndarray

    def __len__(self):
        return len(self.start) - 1


def graph_of_pairs(count, pairs):
    """Graph from a list of pairs.

    Parameters
    ----------
    count : int
        Elements.
    pairs : numpy.ndarray of int, (P, 2)
        Each pair once, in either order; for a mesh the sides of its triangles.

    Returns
    -------
    Graph
    """
    pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
    both = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    start = np.searchsorted(both[:, 0], np.arange(count + 1))
    return Graph(start.astype(np.int32), np.ascontiguousarray(both[:, 1], np.int32))


def graph_of_mask(mask, connectivity=6):
    """Graph of the voxels of a mask, in C order.

    Parameters
    ----------
    mask : numpy.ndarray of bool, (X, Y, Z)
    connectivity : {6, 18, 26}
        Voxels touch at faces, also at edges, also at corners. 6 is what nilearn uses.

    Returns
    -------
    Graph
    """
    if connectivity not in _OFFSETS:
        raise ValueError(f"connectivity is {connectivity}; allowed: 6, 18, 26")
    number = np.full(np.add(mask.shape, 2), -1, np.int64)
    number[1:-1, 1:-1, 1:-1][mask] = np.arange(np.count_nonzero(mask))
    own = number[1:-1, 1:-1, 1:-1][mask]
    x, y, z = (axis + 1 for axis in np.nonzero(mask))
    pairs = []
    for step in np.ndindex(3, 3, 3):
        away = np.array(step) - 1
        if tuple(away) > (0, 0, 0) and np.abs(away).sum() <= _OFFSETS[connectivity]:
            other = number[x + away[0], y + away[1], z + away[2]]
            pairs.append(np.stack([own, other], 1)[other >= 0])
    return graph_of_pairs(len(own), np.concatenate(pairs))


def graph_of_edges(nodes):
    """Graph of the edges of a network: two touch where they share a node, so that clusters are NBS's components.

    Network-based statistic: Zalesky, Fornito & Bullmore 2010, NeuroImage 53:1197. The size of a cluster counts edges.

    Parameters
    ----------
    nodes : int
        Up to some 250: ``nodes^3`` neighbours of 4 bytes are stored.

    Returns
    -------
    Graph
        Of the edges above the diagonal in the order of ``numpy.triu_indices(nodes, 1)``.
    """
    number = np.zeros((nodes, nodes), np.int32)
    rows, columns = np.triu_indices(nodes, 1)
    number[rows, columns] = number[columns, rows] = np.arange(len(rows))
    other = number[~np.eye(nodes, dtype=bool)].reshape(nodes, nodes - 1)
    near = np.concatenate([other[rows], other[columns]], 1)
    # an edge is among those of both its nodes: itself is no neighbour
    near = near[near != np.arange(len(rows))[:, None]].reshape(len(rows), 2 * (nodes - 2))
    start = np.arange(len(rows) + 1, dtype=np.int32) * near.shape[1]
    return Graph(start, np.ascontiguousarray(near.ravel(), np.int32))


@dataclass(frozen=True)
class Network:
    """Edges that touch where they share a node, without the list of neighbours that `graph_of_edges` stores.

    Only `clusters` takes it. Its memory grows with the edges, so it serves atlases of a thousand regions.

    Attributes
    ----------
    nodes : int
    ends : numpy.ndarray of int32, (E, 2)
        Nodes of every edge; any choice of edges.
    """

    nodes: int
    ends: np.ndarray

    def __len__(self):
        return len(self.ends)


def network(nodes, chosen=None):
    """Network of the edges above the diagonal.

    Parameters
    ----------
    nodes : int
    chosen : numpy.ndarray of bool, (nodes x (nodes - 1) / 2,), optional
        Edges that take part, in the order of ``numpy.triu_indices(nodes, 1)``.

    Returns
    -------
    Network
    """
    ends = np.stack(np.triu_indices(nodes, 1), 1).astype(np.int32)
    return Network(nodes, ends if chosen is None else np.ascontiguousarray(ends[chosen]))


@njit(cache=True, nogil=True)
def _root(join, v):
    while join[v] != v:
        join[v] = join[join[v]]
        v = join[v]
    return v


@njit(cache=True, nogil=True)
def _enhance(order, area, start, near, power, join, parent, size, out):
    """Fill `out` for the elements in `order` (lowest first).

    area[v] is the integral of height^H from 0 to v's height. Elements join from the highest down; each becomes the
    root of what it touches, so an element's parent is where its component last grew, and between the two heights the
    extent was constant: the integral is a sum over the way to the lowest root.
    """
    for i in range(len(order) - 1, -1, -1):
        v = order[i]
        join[v] = v
        parent[v] = v
        total = 1
        for k in range(start[v], start[v + 1]):
            u = near[k]
            if join[u] >= 0:
                u = _root(join, u)
                if u != v:
                    join[u] = v
                    parent[u] = v
                    total += size[u]
        size[v] = total
    top = 0.0
    for i in range(len(order)):
        v = order[i]
        p = parent[v]
        if p == v:
            out[v] = power[size[v]] * area[v]
        else:
            out[v] = out[p] + power[size[v]] * (area[v] - area[p])
        top = max(top, out[v])
    for i in range(len(order)):
        join[order[i]] = -1
    return top


@njit(cache=True, nogil=True)
def _levels(values, sign, limits, level, count):
    """Number of thresholds each value reaches; how many elements reach how many."""
    steps = len(limits)
    width = limits[0]
    count[:] = 0
    for v in range(len(values)):
        height = sign * values[v]
        k = 0
        if height >= width:
            k = min(int(height / width), steps)
            # the thresholds are rounded numbers: division may be one off
            while k < steps and limits[k] <= height:
                k += 1
            while k > 0 and limits[k - 1] > height:
                k -= 1
        level[v] = k
        count[k] += 1


@njit(cache=True, nogil=True)
def _stepped(values, sign, limits, sums, start, near, power, work, area, out):
    """TFCE as a sum over thresholds: only the order of levels matters, which counting sorts."""
    level, join, parent, size, order = work
    count = np.empty(len(limits) + 1, np.int64)
    _levels(values, sign, limits, level, count)
    place = np.empty(len(count), np.int64)
    place[0] = 0
    total = 0
    for k in range(1, len(count)):
        place[k] = total
        total += count[k]
    for v in range(len(values)):
        k = level[v]
        if k > 0:
            order[place[k]] = v
            place[k] += 1
            area[v] = sums[k]
    return _enhance(order[:total], area, start, near, power, join, parent, size, out)


@njit(cache=True, nogil=True)
def _exact(values, sign, height, start, near, power, work, area, out):
    """TFCE as an integral: elements in the order of their height."""
    _, join, parent, size, order = work
    total = 0
    for v in range(len(values)):
        if sign * values[v] > 0:
            order[total] = v
            total += 1
    heights = np.empty(total)
    for i in range(total):
        heights[i] = sign * values[order[i]]
    ranks = np.argsort(heights, kind="mergesort")
    ordered = np.empty(total, np.int32)
    for i in range(total):
        v = order[ranks[i]]
        ordered[i] = v
        h = heights[ranks[i]]
        area[v] = h * h * h / 3.0 if height == 2.0 else h ** (height + 1.0) / (height + 1.0)
    return _enhance(ordered, area, start, near, power, join, parent, size, out)


class Enhancer:
    """Threshold-free cluster enhancement, ready for many maps of one graph.

    Smith & Nichols 2009 (NeuroImage 44:83): ``sum over thresholds h of extent(h)^E h^H dh``. As the integral, computed
    exactly: the extent changes only where an element joins, and a union-find over the sorted elements visits every
    such place once. Or with the thresholds of nilearn and fslmaths: multiples of a step, not multiplied by dh.

    Parameters
    ----------
    graph : Graph
    extent, height : float
        E and H.
    dh : None, 'auto' or float
        None: the integral. 'auto': 100 steps to the map's largest absolute value. A number: about that step, between
        10 and 1,000 of them.
    """

    def __init__(self, graph, *, extent=EXTENT, height=HEIGHT, dh=None):
        count = len(graph)
        self.graph, self.height, self.dh = graph, float(height), dh
        self._power = np.arange(count + 1, dtype=np.float64) ** extent
        self._work = (
            np.zeros(count, np.int32), np.full(count, -1, np.int32),
            *(np.zeros(count, np.int32) for _ in range(3)),
        )  # fmt: skip
        self._area = np.zeros(count)

    def __call__(self, values, *, two_sided=True, out=None):
        """Enhance one map.

        Parameters
        ----------
        values : numpy.ndarray, (V,), float64
        two_sided : bool
            Also enhance negative values (the result is negative there); otherwise they become 0.
        out : numpy.ndarray, (V,), float64, optional

        Returns
        -------
        out : numpy.ndarray, (V,)
        largest : float
            Largest absolute value.
        """
        values = np.ascontiguousarray(values, np.float64)
        out = np.empty(len(values)) if out is None else out
        out[:] = 0.0
        limits = sums = None
        if self.dh is not None:
            top = float(np.abs(values).max() if two_sided else values.max()) if len(values) else 0.0
            if top <= 0:
                return out, 0.0
            steps = AUTO_STEPS if self.dh == "auto" else round(top / self.dh)
            limits = np.linspace(0, top, min(max(steps, FEWEST_STEPS), MOST_STEPS) + 1)[1:]
            sums = np.concatenate([[0.0], np.cumsum(limits**self.height)])
        largest, start, near = 0.0, self.graph.start, self.graph.near
        for sign in (1.0, -1.0) if two_sided else (1.0,):
            part = out if sign > 0 else np.zeros(len(values))
            if limits is None:
                best = _exact(
                    values, sign, self.height, start, near, self._power, self._work, self._area, part
                )
            else:
                best = _stepped(
                    values, sign, limits, sums, start, near, self._power, self._work, self._area, part
                )
            if sign < 0:
                out -= part
            largest = max(largest, best)
        return out, largest


@njit(cache=True, nogil=True)
def _clusters(values, sign, threshold, start, near, label, first, stack, sizes, masses):
    count = first
    for seed in range(len(values)):
        if label[seed] or not sign * values[seed] > threshold:
            continue
        count += 1
        label[seed] = count
        stack[0] = seed
        waiting, size, mass = 1, 0, 0.0
        while waiting:
            waiting -= 1
            v = stack[waiting]
            size += 1
            mass += sign * values[v] - threshold
            for k in range(start[v], start[v + 1]):
                u = near[k]
                if label[u] == 0 and sign * values[u] > threshold:
                    label[u] = count
                    stack[waiting] = u
                    waiting += 1
        sizes[count] = size
        masses[count] = mass
    return count


@njit(cache=True, nogil=True)
def _components(values, sign, threshold, nodes, ends, label, first, sizes, masses):
    """As `_clusters` for edges: nodes join along the edges above the threshold; numbers by the first edge."""
    join, number = np.arange(nodes), np.zeros(nodes, np.int32)
    for e in range(len(values)):
        if sign * values[e] > threshold:
            join[_root(join, ends[e, 0])] = _root(join, ends[e, 1])
    count = first
    for e in range(len(values)):
        if sign * values[e] > threshold:
            root = _root(join, ends[e, 0])
            if number[root] == 0:
                count += 1
                number[root] = count
            label[e] = number[root]
            sizes[label[e]] += 1
            masses[label[e]] += sign * values[e] - threshold
    return count


def clusters(values, graph, threshold, *, two_sided=True):
    """Connected elements above a threshold.

    Parameters
    ----------
    values : numpy.ndarray, (V,), float64
    graph : Graph or Network
    threshold : float
        Elements must exceed it; of the other sign, fall below its negative. The signs never share a cluster.
    two_sided : bool

    Returns
    -------
    label : numpy.ndarray of int32, (V,)
        0 outside; clusters from 1, positive ones first.
    sizes : numpy.ndarray of int64, (clusters,)
        Elements of cluster 1, 2, …
    masses : numpy.ndarray, (clusters,)
        Sum of what exceeds the threshold.
    """
    values = np.ascontiguousarray(values, np.float64)
    label, stack = np.zeros(len(values), np.int32), np.empty(len(values), np.int32)
    sizes, masses = np.zeros(len(values) + 1, np.int64), np.zeros(len(values) + 1)
    count = 0
    for sign in (1.0, -1.0) if two_sided else (1.0,):
        if isinstance(graph, Network):
            count = _components(values, sign, threshold, graph.nodes, graph.ends, label, count, sizes, masses)
        else:
            count = _clusters(
                values, sign, threshold, graph.start, graph.near, label, count, stack, sizes, masses
            )
    return label, sizes[1 : count + 1], masses[1 : count + 1]
