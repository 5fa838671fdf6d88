"""Dynamic connectivity in sliding windows, always beside a stationary surrogate.

Windows of a stationary process differ too (Laumann et al. 2017, Cereb Cortex 27:4719; Hindriks et al. 2016, NeuroImage 127:242),
so no number of this module comes without what surrogates of the same spectra and the same static connectivity give.
"""

from pathlib import Path

import numpy as np

from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

WINDOW_S, STEP_S, STATES, SURROGATES, RESTARTS = 45.0, 4.0, 4, 19, 10


def windows(volumes, tr, window_s=WINDOW_S, step_s=STEP_S):
    """First volumes of the windows, and the taper of one: a Hann-edged box whose edges are a third of its length.

    Parameters
    ----------
    volumes : int
    tr : float
        Repetition time in s.
    window_s, step_s : float

    Returns
    -------
    starts : numpy.ndarray of int
    taper : numpy.ndarray, (W,)
        Sums to 1.
    """
    length, step = max(round(window_s / tr), 5), max(round(step_s / tr), 1)
    edge = max(length // 3, 1)
    taper = np.ones(length)
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    taper[:edge], taper[-edge:] = ramp, ramp[::-1]
    return np.arange(0, volumes - length + 1, step), taper / taper.sum()


def sliding(series, starts, taper):
    """Fisher z of every edge in every window.

    Parameters
    ----------
    series : numpy.ndarray, (T, R)
        Finite.
    starts, taper
        From `windows`.

    Returns
    -------
    numpy.ndarray, (W, E)
    """
    from numpy.lib.stride_tricks import sliding_window_view

    parts = sliding_window_view(series, len(taper), axis=0)[starts]
    centred = parts - (parts * taper).sum(-1, keepdims=True)
    scaled = centred * np.sqrt(taper)
    scaled /= np.linalg.norm(scaled, axis=-1, keepdims=True)
    r = scaled @ scaled.transpose(0, 2, 1)
    rows, columns = np.triu_indices(series.shape[1], 1)
    return np.arctanh(np.clip(r[:, rows, columns], -1 + 1e-7, 1 - 1e-7))


def phase_randomised(series, rng):
    """Stationary surrogate with the same spectra and the same cross-spectra.

    One random phase per frequency for all regions (Prichard & Theiler 1994, Phys Rev Lett 73:951).

    Parameters
    ----------
    series : numpy.ndarray, (T, R)
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray, (T, R)
    """
    spectrum = np.fft.rfft(series, axis=0)
    phase = rng.uniform(0, 2 * np.pi, len(spectrum))
    phase[0] = 0.0
    if len(series) % 2 == 0:
        phase[-1] = 0.0
    return np.fft.irfft(spectrum * np.exp(1j * phase)[:, None], len(series), axis=0)


def variability(z):
    """Standard deviation over windows of every edge, (W, E) -> (E,)."""
    return z.std(0)


def kmeans(points, count, *, restarts=RESTARTS, seed=0, rounds=100):
    """Lloyd's algorithm with k-means++ starts, the best of several; deterministic for a seed.

    Parameters
    ----------
    points : numpy.ndarray, (N, E)
    count : int
    restarts, seed, rounds : int

    Returns
    -------
    labels : numpy.ndarray of int, (N,)
        0 is the most frequent state.
    centers : numpy.ndarray, (count, E)
    """
    rng = np.random.default_rng(seed)
    square = (points**2).sum(1)
    best, top = None, np.inf
    for _ in range(restarts):
        centers = points[[rng.integers(len(points))]]
        while len(centers) < count:
            far = np.maximum((square[:, None] - 2 * points @ centers.T + (centers**2).sum(1)).min(1), 0)
            total = far.sum()
            pick = rng.choice(len(points), p=far / total) if total > 0 else rng.integers(len(points))
            centers = np.vstack([centers, points[pick]])
        labels = None
        for _ in range(rounds):
            distance = square[:, None] - 2 * points @ centers.T + (centers**2).sum(1)
            new = distance.argmin(1)
            if labels is not None and (new == labels).all():
                break
            labels = new
            centers = np.stack([
                points[labels == k].mean(0) if (labels == k).any() else points[distance.min(1).argmax()] for k in range(count)
            ])  # fmt: skip
        inertia = float(np.maximum(distance.min(1), 0).sum())
        if inertia < top - 1e-9:
            best, top = (labels, centers), inertia
    labels, centers = best
    order = np.argsort(-np.bincount(labels, minlength=count), kind="stable")
    return np.argsort(order)[labels], centers[order]


def states(labels, count, step_s):
    """Share of time, dwell time and transitions of a sequence of states.

    Parameters
    ----------
    labels : numpy.ndarray of int, (W,)
        In the order of time.
    count : int
    step_s : float
        Between windows, in s.

    Returns
    -------
    dict
        ``occupancy`` (count,), ``dwell_s`` (count,) mean stay (NaN: never there), ``transitions_per_min``.
    """
    change = np.flatnonzero(np.diff(labels)) + 1
    runs = np.split(labels, change)
    dwell = [
        np.mean([len(r) for r in runs if r[0] == k]) * step_s if any(r[0] == k for r in runs) else np.nan
        for k in range(count)
    ]
    return {
        "occupancy": np.bincount(labels, minlength=count) / len(labels),
        "dwell_s": np.array(dwell),
        "transitions_per_min": 60.0 * len(change) / (len(labels) * step_s),
    }


def longest_stretch(series):
    """The longest run of volumes without censoring: windows must not bridge a gap.

    Parameters
    ----------
    series : numpy.ndarray, (T, R)
        NaN rows are censored.

    Returns
    -------
    slice
    """
    kept = np.isfinite(series).any(1)
    edges = np.flatnonzero(np.diff(np.r_[False, kept, False].astype(int))).reshape(-1, 2)
    if not len(edges):
        return slice(0, 0)
    start, stop = max(edges.tolist(), key=lambda e: e[1] - e[0])
    return slice(start, stop)


def one_scan(series, tr, *, window_s=WINDOW_S, step_s=STEP_S, surrogates=SURROGATES, seed=0):
    """Variability of windows of one scan, and of its surrogates.

    Parameters
    ----------
    series : numpy.ndarray, (T, R)
        Regions without NaN outside censored volumes; the longest stretch without censoring is used.
    tr, window_s, step_s : float
        In s.
    surrogates : int
    seed : int

    Returns
    -------
    z : numpy.ndarray, (W, E)
        Windows; empty where fewer than ten fit.
    summary : dict
        ``windows``, ``seconds``, ``variability`` (mean over edges), ``variability_surrogate`` (its mean), ``p`` (share of surrogates
        with as much, the scan itself counted), ``edges_percent`` (edges more variable than in every surrogate; chance gives
        100 / (surrogates + 1)).
    """
    part = series[longest_stretch(series)]
    starts, taper = windows(len(part), tr, window_s, step_s)
    if len(starts) < 10:
        empty = dict.fromkeys(("variability", "variability_surrogate", "p", "edges_percent"), np.nan)
        return np.empty((0, 0)), {"windows": len(starts), "seconds": len(part) * tr, **empty}
    rng = np.random.default_rng(seed)
    z = sliding(part, starts, taper)
    own = variability(z)
    others = np.stack(
        [variability(sliding(phase_randomised(part, rng), starts, taper)) for _ in range(surrogates)]
    )
    means = others.mean(1)
    return z, {
        "windows": len(starts),
        "seconds": len(part) * tr,
        "variability": float(own.mean()),
        "variability_surrogate": float(means.mean()),
        "p": float((1 + (means >= own.mean()).sum()) / (surrogates + 1)),
        "edges_percent": float(100 * (own > others.max(0)).mean()),
    }


def run(inputs, outputs, *, min_coverage):
    """Dynamic connectivity of the scans of a task, each beside its surrogates.

    Parameters
    ----------
    inputs : object with attributes series, sidecars, coverage
        Lists scan by scan.
    outputs : object with attributes table, states, centers, sidecar
    min_coverage : float
        Regions with less in any scan take no part.
    """
    import pandas as pd

    covers = [read_tsv(path, text=["Node"]).set_index("Node")["coverage"] for path in inputs.coverage]
    names = list(covers[0].index)
    used = np.all([c.reindex(names).fillna(0).to_numpy() >= max(min_coverage, 1e-12) for c in covers], 0)
    rows, stacks, surrogate, steps = [], [], [], []
    for path, note in zip(inputs.series, inputs.sidecars, strict=True):
        scan = Path(path).name.split("_atlas-")[0]
        tr = float(read_json(note)["RepetitionTime"])
        series = read_tsv(path)[names].to_numpy(np.float64)[:, used]
        z, found = one_scan(series, tr)
        rows.append({"scan": scan, **found})
        step = max(round(STEP_S / tr), 1) * tr
        if z.size:
            part = series[longest_stretch(series)]
            fake = sliding(phase_randomised(part, np.random.default_rng(1)), *windows(len(part), tr))
            stacks.append((scan, z))
            surrogate.append(fake)
            steps.append(step)
    write_tsv(pd.DataFrame(rows), outputs.table)
    states_rows, centers = [], np.empty((0, 0))
    if stacks:
        labels, centers = kmeans(np.concatenate([z for _, z in stacks]), STATES)
        distance = [((z[:, None] - centers) ** 2).sum(-1).argmin(1) for z in surrogate]
        at = 0
        for (scan, z), fake, step in zip(stacks, distance, steps, strict=True):
            for kind, mine in (("recorded", labels[at : at + len(z)]), ("surrogate", fake)):
                found = states(mine, STATES, step)
                states_rows += [
                    {"scan": scan, "kind": kind, "state": k + 1, "occupancy": found["occupancy"][k], "dwell_s": found["dwell_s"][k],
                     "transitions_per_min": found["transitions_per_min"]}
                    for k in range(STATES)
                ]  # fmt: skip
            at += len(z)
    columns = ["scan", "kind", "state", "occupancy", "dwell_s", "transitions_per_min"]
    write_tsv(pd.DataFrame(states_rows, columns=columns), outputs.states)
    regions = np.asarray(names)[used]
    first, second = np.triu_indices(len(regions), 1)
    edges = pd.DataFrame({"node1": regions[first], "node2": regions[second]})
    for k, center in enumerate(centers):
        edges[f"state{k + 1}"] = center
    write_tsv(edges, outputs.centers, float_format="%.5g")
    content = sidecar(
        "Connectivity in tapered sliding windows. Every number stands beside that of stationary surrogates with the same spectra and the "
        "same static connectivity: only what exceeds them is dynamic. Windows lie in the longest stretch without censored volumes.",
        list(inputs.series), WindowSeconds=WINDOW_S, StepSeconds=STEP_S, Surrogates=SURROGATES, States=STATES, KMeansRestarts=RESTARTS,
        RegionsLeftOut=[n for n, u in zip(names, used, strict=True) if not u], Seed=0,
        EdgesPercentByChance=100.0 / (SURROGATES + 1),
    )  # fmt: skip
    write_json(content, outputs.sidecar)
    log.info("%d scans, %d long enough", len(rows), len(stacks))
