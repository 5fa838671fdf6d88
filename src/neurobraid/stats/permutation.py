"""Permutation of a general linear model on maps or edges, in parts that add up to exactly one run.

Freedman & Lane 1983 as in Winkler et al. 2014 (NeuroImage 92:381): what the nuisance leaves of the data is
rearranged, and the full model fitted again. Rearrangement `index` depends on the seed and the index alone, and its
statistics on nothing else that is computed beside it; so jobs that share out the indices give the same bits as one.
"""

from dataclasses import dataclass, field

import numpy as np
from numba import njit

from neurobraid.errors import InputError
from neurobraid.stats.graph import Enhancer, clusters

#: The largest cluster-forming p for which the extent of a cluster localises anything.
CLUSTER_FORMING_P = 0.001
#: Relative slack when a rearranged statistic is held against the observed one: equal values rounded in another order.
SLACK = 1e-9
#: Heights at which the curve of p values of a map is read (see `simes_grid`).
CURVE = 400
COLUMNS = ("peak", "tfce", "extent", "mass", "simes")
#: What a part says about its test.
SETTINGS = (
    "Seed", "Permutations", "Complete", "Possible", "Statistic", "DegreesOfFreedom", "Elements", "Fingerprint", "Exchange",
)  # fmt: skip
_BLOCK, _TILE = 16, 256


@dataclass(frozen=True)
class Model:
    """Data and a contrast, reduced to what rearrangements need.

    Attributes
    ----------
    errors : numpy.ndarray, (N, V), float64
        Data without nuisance.
    square : numpy.ndarray, (V,)
        Sum of squares of `errors`.
    basis : numpy.ndarray, (R + Q, N)
        Orthonormal: R directions that are tested, then Q of the nuisance.
    tested : int
        R; with 1 the statistic is t with the sign of the contrast, otherwise F.
    dof : int
        Residual degrees of freedom.
    nuisance : numpy.ndarray, (N, Q)
    fingerprint : str
        Digest of data, design and contrast as given, so that parts of different tests are never merged.
    """

    errors: np.ndarray
    square: np.ndarray
    basis: np.ndarray
    tested: int
    dof: int
    nuisance: np.ndarray
    fingerprint: str

    @property
    def rows(self):
        """People, matrices or images."""
        return len(self.errors)

    @property
    def kind(self):
        """'t' or 'F'."""
        return "t" if self.tested == 1 else "F"

    @property
    def needs_flips(self):
        """Whether the null leaves no constant, so that moving rows says nothing: a test of the mean itself."""
        ones = np.ones(len(self.errors))
        rest = ones - self.nuisance @ (self.nuisance.T @ ones)
        return bool(np.linalg.norm(rest) > 1e-6 * np.sqrt(len(ones)))


@dataclass(frozen=True)
class Incomplete:
    """A test whose elements not everybody has: a `Model` for each set of elements that the same rows have.

    Rearranged is everybody, within blocks; of every rearrangement a model takes what happens among its own rows. So each
    element is tested as if its rows were all there are, and the elements of one rearrangement still belong together, which the
    largest statistic needs.

    Attributes
    ----------
    parts : tuple of tuple of (numpy.ndarray of int, numpy.ndarray of int, Model)
        Elements, rows (ascending), and the model of these.
    blocks : numpy.ndarray of int, (N,)
        All rows, those of a block side by side.
    """

    parts: tuple
    blocks: np.ndarray

    @property
    def rows(self):
        """People, matrices or images."""
        return len(self.blocks)

    @property
    def elements(self):
        """How many are tested."""
        return sum(len(elements) for elements, _, _ in self.parts)

    @property
    def tested(self):
        """Directions of the contrast."""
        return self.parts[0][2].tested

    @property
    def dof(self):
        """The most residual degrees of freedom that an element has."""
        return max(model.dof for _, _, model in self.parts)

    @property
    def kind(self):
        """'t' or 'F'."""
        return self.parts[0][2].kind

    @property
    def needs_flips(self):
        """See `Model.needs_flips`."""
        return any(model.needs_flips for _, _, model in self.parts)

    @property
    def fingerprint(self):
        """Digest of all parts."""
        return digest(*(np.frombuffer(model.fingerprint.encode(), np.uint8) for _, _, model in self.parts), *(
            np.asarray(part, np.int64) for elements, rows, _ in self.parts for part in (elements, rows)
        ))  # fmt: skip

    def within(self, rows, draw):
        """What a rearrangement of everybody is among some rows.

        Parameters
        ----------
        rows : numpy.ndarray of int, (M,)
            Ascending.
        draw : tuple
            Order and signs of everybody; no row leaves its block.

        Returns
        -------
        order : numpy.ndarray of int, (M,)
            Uniform within the blocks where that of everybody is.
        signs : numpy.ndarray of float, (M,)
        """
        order, signs = draw
        place = np.full(self.rows, -1)
        place[rows] = np.arange(len(rows))
        there, taken = place[self.blocks], place[order[self.blocks]]
        inside = np.empty(len(rows), int)
        inside[there[there >= 0]] = taken[taken >= 0]
        return inside, signs[rows]


def partition(design, contrast):
    """Split the space of a design into what a contrast tests and nuisance, orthogonal to one another.

    Parameters
    ----------
    design : numpy.ndarray, (N, P)
    contrast : numpy.ndarray, (P,) or (R, P)

    Returns
    -------
    tested : numpy.ndarray, (N, R)
    nuisance : numpy.ndarray, (N, P - R)

    Raises
    ------
    InputError
        Rank-deficient design, empty or redundant contrast, no residual degree of freedom.
    """
    design = np.asarray(design, np.float64)
    contrast = np.atleast_2d(np.asarray(contrast, np.float64))
    n, p = design.shape
    if contrast.shape[1] != p:
        raise InputError(
            "contrast", "weights", contrast.shape[1], f"{p}, one per column of the design", "complete it"
        )
    rank = np.linalg.matrix_rank(design)
    if rank < p:
        raise InputError(
            "design", "rank", rank, f"{p} independent columns", "remove a column that others add up to"
        )
    if n <= p:
        raise InputError("design", "rows", n, f"more than {p} columns", "use fewer columns or more rows")
    if np.linalg.matrix_rank(contrast) < len(contrast):
        raise InputError("contrast", "rows", "dependent or zero", "independent rows", "remove a row")
    tested = design @ np.linalg.solve(design.T @ design, contrast.T)
    # the null hypothesis leaves the coefficients that the contrast maps to 0
    return tested, design @ np.linalg.svd(contrast)[2][len(contrast) :].T


def digest(*arrays):
    """Sixteen hexadecimal digits that change with any value of the arrays."""
    import hashlib

    found = hashlib.sha256()
    for array in arrays:
        found.update(repr(np.shape(array)).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def prepare(data, design, contrast):
    """Reduce data, design and contrast to what rearrangements need.

    Parameters
    ----------
    data : numpy.ndarray, (N, V)
        One row per image, matrix or person; finite.
    design : numpy.ndarray, (N, P)
    contrast : numpy.ndarray, (P,) or (R, P)

    Returns
    -------
    Model

    Raises
    ------
    InputError
        See `partition`; values that are not finite.
    """
    data = np.asarray(data, np.float64)
    if not np.isfinite(data).all():
        raise InputError("data", "values", "not finite", "finite numbers", "test only what everyone has")
    tested, nuisance = partition(design, contrast)
    if len(data) != len(tested):
        raise InputError("data", "rows", len(data), f"{len(tested)}, as the design", "give one row per image")
    nuisance = np.linalg.qr(nuisance)[0]
    directions, triangle = np.linalg.qr(tested)
    directions *= np.sign(np.diag(triangle))
    errors = data - nuisance @ (nuisance.T @ data)
    return Model(
        np.ascontiguousarray(errors), np.einsum("nv,nv->v", errors, errors),
        np.ascontiguousarray(np.concatenate([directions, nuisance], 1).T), tested.shape[1],
        len(data) - np.shape(design)[1], nuisance,
        digest(data, np.asarray(design, np.float64), np.atleast_2d(np.asarray(contrast, np.float64))),
    )  # fmt: skip


def _of_rows(design, contrast, rows):
    """Design and contrast of some rows; nuisance that only the others have (a site, say) is no column of it."""
    if len(rows) == len(design):
        return design, contrast
    contrast = np.atleast_2d(np.asarray(contrast, np.float64))
    # coefficients are those that the contrast reads, and the rest, which it does not see
    rest = design[rows] @ np.linalg.svd(contrast)[2][len(contrast) :].T
    u, size, _ = np.linalg.svd(rest, full_matrices=False)
    kept = u[:, size > 1e-10 * max(size.max(initial=0.0), 1e-300)]
    columns = np.column_stack([design[rows] @ np.linalg.pinv(contrast), kept])
    return columns, np.eye(len(contrast), columns.shape[1])


def prepare_incomplete(data, design, contrast, *, blocks=None, least=0.5):
    """`prepare` for data that not everybody has.

    Parameters
    ----------
    data : numpy.ndarray, (N, V)
        NaN where somebody has no value.
    design : numpy.ndarray, (N, P)
    contrast : numpy.ndarray, (P,) or (R, P)
    blocks : sequence, (N,), optional
        Rows of one label change places among themselves only, see `exchange.exchange`; without units of several rows.
    least : float
        Share of rows that must have an element.

    Returns
    -------
    model : Model or Incomplete
        `Model` where everybody has every element that is tested.
    tested : numpy.ndarray of bool, (V,)
        Elements that enough rows have, and whose rows still tell the columns of the design apart.

    Raises
    ------
    InputError
        The design of all rows is no design (see `partition`); no element is left.
    """
    data, design = np.asarray(data, np.float64), np.asarray(design, np.float64)
    partition(design, contrast)
    have = np.isfinite(data)
    tested = have.sum(0) >= max(least * len(data), 1)
    patterns, which = np.unique(have[:, tested], axis=1, return_inverse=True)
    places, parts = np.flatnonzero(tested), []
    for k, pattern in enumerate(patterns.T):
        own, rows = np.flatnonzero(which.ravel() == k), np.flatnonzero(pattern)
        part = data[np.ix_(rows, places[own])]
        try:
            model = prepare(part, *_of_rows(design, contrast, rows))
        except InputError:
            tested[places[own]] = False  # these rows are all of one group, or too few
            continue
        parts.append((places[own], rows, model))
    if not parts:
        raise InputError(
            "data", "elements to test", 0, f"some that {100 * least:g} % of the rows have", "leave out rows with little coverage"
        )  # fmt: skip
    number = np.cumsum(tested) - 1
    if len(parts) == 1 and len(parts[0][1]) == len(data):
        return parts[0][2], tested
    labels = np.zeros(len(data)) if blocks is None else np.asarray(blocks).astype(str)
    together = np.argsort(labels, kind="stable")
    return Incomplete(tuple((number[elements], *rest) for elements, *rest in parts), together), tested


@njit(cache=True, nogil=True)
def _statistics(weights, errors, square, tested, dof, out):
    """T or F of every rearrangement and element.

    weights: (K, R + Q, N), the basis with rows rearranged. Sums run over N in one order for every element, so the
    result does not depend on how many rearrangements or elements are computed together (a BLAS product may).
    """
    count, width, n = weights.shape
    elements = errors.shape[1]
    sums = np.empty((width, _TILE))
    for low in range(0, elements, _TILE):
        size = min(_TILE, elements - low)
        for k in range(count):
            for r in range(width):
                line = sums[r]
                for v in range(size):
                    line[v] = 0.0
                for i in range(n):
                    w = weights[k, r, i]
                    row = errors[i, low : low + size]
                    for v in range(size):
                        line[v] += w * row[v]
            for v in range(size):
                explained, rest = 0.0, square[low + v]
                for r in range(tested):
                    explained += sums[r, v] * sums[r, v]
                for r in range(tested, width):
                    rest -= sums[r, v] * sums[r, v]
                rest -= explained
                if rest > 1e-13 * square[low + v]:
                    if tested == 1:
                        out[k, low + v] = sums[0, v] * np.sqrt(dof / rest)
                    else:
                        out[k, low + v] = explained / tested * dof / rest
                else:
                    out[k, low + v] = 0.0


def statistic(model, draws=None):
    """Statistic of the data as they are, or of rearrangements.

    Parameters
    ----------
    model : Model or Incomplete
    draws : list of (order, signs), optional
        See `exchange.Exchange.draw`.

    Returns
    -------
    numpy.ndarray, (V,) or (len(draws), V)
        0 where nothing is left of the data.
    """
    identity = (np.arange(model.rows), np.ones(model.rows))
    if isinstance(model, Incomplete):
        out = np.empty((len(draws or [0]), model.elements))
        for elements, rows, own in model.parts:
            out[:, elements] = statistic(own, [model.within(rows, draw) for draw in draws or [identity]])
        return out if draws else out[0]
    weights = np.empty((len(draws or [0]), *model.basis.shape))
    for k, (order, signs) in enumerate(draws or [identity]):
        weights[k][:, order] = model.basis * signs
    out = np.empty((len(weights), model.errors.shape[1]))
    _statistics(weights, model.errors, model.square, model.tested, model.dof, out)
    return out if draws else out[0]


def tail(values, model):
    """P of a statistic by its parametric distribution, two-sided for t."""
    from scipy.special import fdtrc, stdtr

    if isinstance(model, Incomplete):
        out = np.empty(len(values))
        for elements, _, own in model.parts:
            out[elements] = tail(values[elements], own)
        return out
    if model.kind == "t":
        return 2.0 * stdtr(model.dof, -np.abs(values))
    return fdtrc(model.tested, model.dof, np.maximum(values, 0.0))


def forming_height(model, p):
    """Height of a cluster-forming p, two-sided for t.

    Raises
    ------
    InputError
        p above .001: clusters then form by chance so easily that their extent says little, and the error rates of
        extent tests were wrong in real data (Eklund et al. 2016, PNAS 113:7900; Woo et al. 2014, NeuroImage 91:412).
    """
    from scipy.special import fdtri, stdtrit

    if not 0 < p <= CLUSTER_FORMING_P:
        raise InputError(
            "config", "cluster_forming_p", p, f"above 0, at most {CLUSTER_FORMING_P:g}",
            "use 0.001 or less: with a laxer threshold one cluster spans many regions and the test is not reliable",
        )  # fmt: skip
    if model.kind == "t":
        return float(stdtrit(model.dof, 1.0 - p / 2.0))
    return float(fdtri(model.tested, model.dof, 1.0 - p))


@dataclass(frozen=True)
class Tests:
    """What is computed of every rearrangement besides the largest statistic.

    Attributes
    ----------
    graph : Graph, optional
        Needed for clusters and TFCE.
    height : float, optional
        Cluster-forming height; none: no clusters.
    tfce : dict, optional
        Settings of `graph.Enhancer`; none: no TFCE.
    """

    graph: object = None
    height: float | None = None
    tfce: dict | None = None


@dataclass(frozen=True)
class Null:
    """Statistics of a set of rearrangements.

    Attributes
    ----------
    index : numpy.ndarray of int, (K,)
        Sorted; 0 is never among them.
    values : dict of str to numpy.ndarray, (K,)
        peak: largest |t| or F; tfce, extent, mass: largest of the map; simes: see `simes_grid`. NaN: not computed.
    reached : numpy.ndarray of int64, (V,)
        Rearrangements in which an element reached its own observed statistic.
    settings : dict
        Must be equal for parts that are merged.
    """

    index: np.ndarray
    values: dict
    reached: np.ndarray
    settings: dict = field(default_factory=dict)


def simes_grid(model):
    """Heights at which p values are compared with their ranks, and their p.

    Returns
    -------
    heights, p : numpy.ndarray, (CURVE,)
        p falls from .5 to 1e-12 in even steps of its logarithm.
    """
    from scipy.special import fdtri, stdtrit

    p = np.geomspace(0.5, 1e-12, CURVE)
    if model.kind == "t":
        return -stdtrit(model.dof, p / 2.0), p
    return fdtri(model.tested, model.dof, 1.0 - p), p


@njit(cache=True, nogil=True)
def _reached(values, heights, counts):
    """Number of |values| at or above each of the rising heights."""
    counts[:] = 0
    last = len(heights)
    for v in range(len(values)):
        size = abs(values[v])
        if size >= heights[0]:
            low, high = 0, last
            while high - low > 1:
                middle = (low + high) // 2
                if heights[middle] <= size:
                    low = middle
                else:
                    high = middle
            counts[low] += 1
    for g in range(last - 2, -1, -1):
        counts[g] += counts[g + 1]


def simes(values, grid):
    """Smallest ``V p(h) / number at or above h`` over the heights of a grid: how far Simes' line had to drop.

    Parameters
    ----------
    values : numpy.ndarray, (V,)
    grid : tuple
        From `simes_grid`.
    """
    counts = np.empty(len(grid[0]), np.int64)
    _reached(values, grid[0], counts)
    some = counts > 0
    return float((len(values) * grid[1][some] / counts[some]).min()) if some.any() else np.inf


def largest(values, tests, grid, enhancer, work):
    """The row of `COLUMNS` of one map."""
    row = [np.abs(values).max(), np.nan, np.nan, np.nan, simes(values, grid)]
    two_sided = bool((values < 0).any())
    if enhancer is not None:
        row[1] = enhancer(values, two_sided=two_sided, out=work)[1]
    if tests.height is not None:
        _, sizes, masses = clusters(values, tests.graph, tests.height, two_sided=two_sided)
        row[2], row[3] = (sizes.max(), masses.max()) if len(sizes) else (0.0, 0.0)
    return row


def null(model, allowed, seed, count, *, start=1, stop=None, tests=None):
    """Statistics of the rearrangements `start` to `stop` - 1 of a test with `count` of them.

    Parameters
    ----------
    model : Model or Incomplete
    allowed : neurobraid.stats.exchange.Exchange
    seed : int
    count : int
        Rearrangements of the whole test, indices 1 to `count`. If there are no more than that, all of them are taken,
        each once.
    start, stop : int
        Part to compute.
    tests : Tests, optional

    Returns
    -------
    Null

    Raises
    ------
    InputError
        The test needs sign flips (`Model.needs_flips`) and none are allowed.
    """
    if model.needs_flips and not allowed.flips:
        raise InputError(
            "exchangeability",
            "sign flips",
            "off",
            "on, for a test of the mean",
            "moving rows leaves the mean as it is",
        )
    if allowed.rows != model.rows:
        raise InputError("exchangeability", "rows", allowed.rows, model.rows, "describe every row")
    tests = tests or Tests()
    complete = allowed.possible <= count + 1
    total = allowed.possible - 1 if complete else count
    stop = total + 1 if stop is None else min(stop, total + 1)
    observed = np.abs(statistic(model))
    needed = observed * (1.0 - SLACK)
    grid = simes_grid(model)
    enhancer = Enhancer(tests.graph, **tests.tfce) if tests.tfce is not None else None
    work = np.empty(len(observed))
    index = np.arange(max(start, 1), max(stop, start, 1))
    rows, reached = np.empty((len(index), len(COLUMNS))), np.zeros(len(observed), np.int64)
    for low in range(0, len(index), _BLOCK):
        part = index[low : low + _BLOCK]
        draws = [allowed.nth(int(i)) if complete else allowed.draw(seed, int(i)) for i in part]
        for k, values in enumerate(statistic(model, draws)):
            reached += np.abs(values) >= needed
            rows[low + k] = largest(values, tests, grid, enhancer, work)
    settings = (
        int(seed), int(total), bool(complete), int(allowed.possible), model.kind, int(model.dof), len(observed),
        model.fingerprint, allowed.key,
    )  # fmt: skip
    return Null(
        index,
        dict(zip(COLUMNS, rows.T.copy(), strict=True)),
        reached,
        dict(zip(SETTINGS, settings, strict=True)),
    )


def merge(parts):
    """Join parts of one test; any division of the indices gives the same bits.

    Parameters
    ----------
    parts : sequence of Null

    Returns
    -------
    Null

    Raises
    ------
    InputError
        Parts of different tests; an index twice or missing.
    """
    parts = sorted((p for p in parts if len(p.index)), key=lambda part: part.index[0])
    if not parts:
        raise InputError(
            "permutations", "parts", "none", "at least one", "run the parts of the permutation test"
        )
    for part in parts[1:]:
        if part.settings != parts[0].settings:
            raise InputError(
                "permutations",
                "settings",
                "different",
                "one test",
                "run all parts with the same settings and data",
            )
    index = np.concatenate([part.index for part in parts])
    wanted = np.arange(1, parts[0].settings.get("Permutations", len(index)) + 1)
    if len(index) != len(wanted) or (index != wanted).any():
        raise InputError(
            "permutations",
            "indices",
            f"{len(index)} of them",
            f"each of 1 to {len(wanted)} once",
            "run the missing parts",
        )
    values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
    return Null(index, values, sum(part.reached for part in parts), parts[0].settings)


def corrected(observed, peaks):
    """Family-wise p: the share of rearrangements whose largest value reaches an observed one.

    Parameters
    ----------
    observed : numpy.ndarray
    peaks : numpy.ndarray, (K,)
        Largest value of every rearrangement, without the data as they are.

    Returns
    -------
    numpy.ndarray
        ``(1 + b) / (1 + K)`` (Phipson & Smyth 2010): the data count as one rearrangement.
    """
    peaks = np.sort(peaks)
    below = np.searchsorted(peaks, np.abs(observed) * (1.0 - SLACK), side="left")
    return (1.0 + len(peaks) - below) / (1.0 + len(peaks))


def uncorrected(part):
    """P of every element by itself from a merged `Null`."""
    return (1.0 + part.reached) / (1.0 + len(part.index))
