"""Group level on the cortical surface: one-sample test of a contrast at every vertex, both hemispheres as one map."""

from functools import cache

import nibabel as nib
import numpy as np

from neurobraid.activation import group, inference, surface
from neurobraid.activation.maps import STATS, UNITS
from neurobraid.errors import InputError
from neurobraid.files import write_json
from neurobraid.jobs import log
from neurobraid.provenance import sidecar
from neurobraid.stats import graph, permutation

PERMUTATION_MAPS = ("logpmaxt", "logptfce")
MAP_UNITS = UNITS | {
    "variance": "sampling variance of the mean over participants, (percent signal change)^2",
    "background": "0 means a vertex without a value in some participant",
    "logpmaxt": "-log10 of the family-wise p of the vertex, largest |t| of both hemispheres",
    "logptfce": "-log10 of the family-wise p of the vertex's TFCE, extent counted in vertices of the mesh",
}


def read_maps(paths):
    """Read maps of one hemisphere.

    Parameters
    ----------
    paths : list of path-like
        GIFTI, one per participant.

    Returns
    -------
    numpy.ndarray, (N, V), float64
        0 where not covered.

    Raises
    ------
    InputError
        A map on another mesh than fsaverage5.
    """
    found = []
    size = None
    for path in paths:
        values = np.asarray(nib.load(path).darrays[0].data, np.float64)
        size = size or len(surface.load_mesh("L")[0])
        if values.shape != (size,):
            raise InputError(
                path, "vertices", values.shape, f"{size} ({surface.MESH})", "run activation_surface again"
            )
        found.append(np.nan_to_num(values))
    return np.stack(found)


@cache
def _sides(hemisphere):
    """Pairs of neighbouring vertices of a hemisphere, each once though a side belongs to two triangles."""
    faces = surface.load_mesh(hemisphere)[2]
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.unique(np.sort(sides, axis=1), axis=0)


def mesh_graph(mask):
    """Which vertices of a mask are neighbours, within each hemisphere.

    Parameters
    ----------
    mask : numpy.ndarray of bool, (2 V,)
        Left hemisphere, then right.

    Returns
    -------
    neurobraid.stats.graph.Graph
        Of the vertices of the mask, in their order.
    """
    half = len(mask) // 2
    place = np.full(len(mask), -1)
    place[mask] = np.arange(mask.sum())
    pairs = []
    for shift, hemisphere in ((0, "L"), (half, "R")):
        sides = _sides(hemisphere) + shift
        pairs.append(place[sides[mask[sides].all(1)]])
    return graph.graph_of_pairs(int(mask.sum()), np.concatenate(pairs))


def peaks(z, mask):
    """Where the largest and smallest z of each hemisphere lie.

    Parameters
    ----------
    z : numpy.ndarray, (2 V,)
    mask : numpy.ndarray of bool, (2 V,)

    Returns
    -------
    dict of str to dict
        By hemisphere: MaxZ, MaxZAt, MinZ, MinZAt (MNI mm, half way between white and pial surface).
    """
    found, half = {}, len(z) // 2
    for at, hemisphere in enumerate(surface.HEMISPHERES):
        part = slice(at * half, (at + 1) * half)
        inside = np.flatnonzero(mask[part])
        if not len(inside):
            continue
        white, pial, _ = surface.load_mesh(hemisphere)
        own = z[part][inside]
        row = {}
        for name, which in (("Max", np.argmax(own)), ("Min", np.argmin(own))):
            vertex = inside[which]
            row[f"{name}Z"] = float(own[which])
            row[f"{name}ZAt"] = ((white[vertex] + pial[vertex]) / 2).round(1)
        found[hemisphere] = row
    return found


def estimate(effects, people, *, alpha=0.05, min_participants=3, permutations=0, seed=0, table="", units="", blocks=""):  # fmt: skip
    """Test one contrast over participants.

    Parameters
    ----------
    effects : numpy.ndarray, (N, 2 V)
        Effects of participants, left hemisphere then right; 0 where not covered.
    people : list of str
        Participant of every row.
    alpha : float
    min_participants : int
        With fewer the maps are empty and the summary says why.
    permutations, seed : int
        Sign flips for the largest |t| and TFCE; 0: none.
    table : path-like
        participants.tsv, for `units` and `blocks`.
    units, blocks : str
        See `neurobraid.activation.inference.allowed`.

    Returns
    -------
    maps : dict of str to numpy.ndarray, (2 V,)
        `maps.STATS`, and `PERMUTATION_MAPS` with permutations.
    summary : dict
    """
    names = [*STATS, *(PERMUTATION_MAPS if permutations else ())]
    summary = {"Participants": list(people), "NumberOfParticipants": len(people), "Alpha": alpha}
    if len(people) < max(min_participants, 2):
        reason = f"{len(people)} participant(s); a group statistic needs {min_participants}"
        log.warning("group statistic not available: %s", reason)
        empty = {name: np.zeros(effects.shape[1], np.float32) for name in names}
        return empty, summary | {"Status": "unavailable", "Reason": reason}
    *values, mask = group.one_sample(effects)
    maps = dict(zip(STATS, values, strict=True))
    if not mask.any():
        raise InputError(
            people[0], "common vertices", "none", "maps that overlap", "check normalisation and masks"
        )
    found = group.thresholds(maps["z"][mask], alpha)
    # a count per vertex, whatever the rule of volumes calls it
    found = {
        name: {key.replace("Voxels", "Vertices"): value for key, value in rule.items()}
        | {"Rule": rule["Rule"].replace("voxels", "vertices").replace("voxel", "vertex")}
        for name, rule in found.items()
    }
    half = effects.shape[1] // 2
    summary |= {
        "Status": "available",
        "DegreesOfFreedom": len(people) - 1,
        "VertexCount": {h: int(mask[k * half : (k + 1) * half].sum()) for k, h in enumerate(surface.HEMISPHERES)},
        "Thresholds": found,
        "Peaks": peaks(maps["z"], mask),
        "Note": "vertices with an estimate in every participant; two-sided tests; both hemispheres are one family of tests",
    }  # fmt: skip
    if permutations:
        summary |= _permuted(
            maps, effects[:, mask], mask, people, alpha, permutations, seed, table, units, blocks
        )
    return maps, summary


def _permuted(maps, inside, mask, people, alpha, permutations, seed, table, units, blocks):
    """Add the maps of family-wise p; return what the sidecar says of them."""
    model = permutation.prepare(inside, np.ones((len(inside), 1)), np.ones((1, 1)))
    near = mesh_graph(mask)
    allowed = inference.allowed(model, people, table, units=units, blocks=blocks)
    null = permutation.null(model, allowed, seed, permutations, tests=permutation.Tests(near, None, {}))
    observed = permutation.statistic(model)
    tfce = graph.Enhancer(near)(observed)[0]
    counts = {}
    for name, values, key in (("logpmaxt", observed, "peak"), ("logptfce", tfce, "tfce")):
        p = permutation.corrected(values, null.values[key])
        maps[name] = np.zeros(len(mask))
        maps[name][mask] = -np.log10(p)
        counts[name] = {
            "VerticesPositive": int(((p <= alpha) & (observed > 0)).sum()),
            "VerticesNegative": int(((p <= alpha) & (observed < 0)).sum()),
            "Critical": inference.critical(null.values[key], alpha),
        }
    # all signs flipped at once give the same |t|
    least = (2 if null.settings["Complete"] else 1) / (len(null.index) + 1)
    found = {
        "Permutation": null.settings | {"Scheme": "sign flips", "SmallestP": least},
        "FamilyWise": counts,
    }
    if least > alpha:
        found["Caution"] = (
            f"{len(null.index) + 1} sign flips: no p below {least:.3g} is possible, so nothing can be found at {alpha:g}"
        )
        log.warning("%s", found["Caution"])
    return found


def run(inputs, outputs, name, **settings):
    """Test one contrast on the surface and write maps and sidecar.

    Parameters
    ----------
    inputs : object with attributes left, right, participants
        Effect maps of all participants by hemisphere; participants: a list, empty without units and blocks.
    outputs : object with attributes maps, sidecar
        Maps by hemisphere (L, R), each in the order of `maps.STATS` and `PERMUTATION_MAPS`.
    name : str
        Name of the contrast.
    **settings
        See `estimate`.

    Raises
    ------
    InputError
        The two hemispheres are not of the same participants.
    """
    sides = {hemisphere: list(getattr(inputs, key)) for hemisphere, key in (("L", "left"), ("R", "right"))}
    people = group.participants_of(sides["L"])
    if group.participants_of(sides["R"]) != people:
        raise InputError(
            sides["R"][0], "participants", group.participants_of(sides["R"]), people, "give both hemispheres of everyone"
        )  # fmt: skip
    effects = np.concatenate([read_maps(paths) for paths in sides.values()], axis=1)
    maps, summary = estimate(effects, people, table=next(iter(inputs.participants), ""), **settings)
    half = effects.shape[1] // 2
    every = [
        values[k * half : (k + 1) * half] for k in range(len(surface.HEMISPHERES)) for values in maps.values()
    ]
    for values, path in zip(every, outputs.maps, strict=True):
        surface.write_gifti(values, path)
    note = "One-sample test of a contrast over participants on the cortical surface."
    units = {key: MAP_UNITS[key] for key in (*maps, "background")}
    write_json(
        sidecar(
            note,
            sides["L"] + sides["R"],
            Contrast=name,
            Mesh=surface.MESH,
            Statistics=list(maps),
            Units=units,
            **summary,
        ),
        outputs.sidecar,
    )
    log.info("%s: %d participants on %s", name, len(people), surface.MESH)
