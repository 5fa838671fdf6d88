"""Group inference side by side: what each way to control error finds in the same map, and how much of it must be true."""

import numpy as np
import pandas as pd

from neurobraid.activation.glm import t_to_z
from neurobraid.activation.group import CLUSTER_COLUMNS, clusters, participants_of, two_sided_z
from neurobraid.activation.maps import read_stack
from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.images.atlas import load_atlas
from neurobraid.images.io import data, load, save
from neurobraid.images.series import labels_on_grid
from neurobraid.images.transforms import apply_affine
from neurobraid.jobs import log
from neurobraid.provenance import sidecar
from neurobraid.stats import discovery, graph, permutation
from neurobraid.stats.exchange import column_labels, exchange

#: With fewer people nothing can be tested, whatever the config says.
FEWEST = 2
#: Maps of every study, and those that permutations add; names are the values of the entity stat.
MAPS, PERMUTATION_MAPS = ("tdp",), ("tfce", "logpvoxel", "logpmaxt", "logptfce", "logpextent", "logpmass")
UNITS = {
    "tdp": "lower bound on the share of true discoveries in the voxel's cluster (confidence 1 - Alpha)",
    "tfce": "threshold-free cluster enhancement of t, integral with extent^0.5 height^2, extent in voxels",
    "logpvoxel": "-log10 of the voxel's own p by permutation, not corrected",
    "logpmaxt": "-log10 of the family-wise p of the voxel, largest |t| of the map",
    "logptfce": "-log10 of the family-wise p of the voxel's TFCE",
    "logpextent": "-log10 of the family-wise p of the extent of the voxel's cluster",
    "logpmass": "-log10 of the family-wise p of the mass of the voxel's cluster",
    "background": "0 outside the tested voxels; for cluster statistics, outside clusters",
}
EXTRA_COLUMNS = [
    "peak_p_fdr", "peak_p_maxt", "peak_p_tfce", "p_extent", "cluster_mass", "p_mass", "tdp", "tdp_permutation",
]  # fmt: skip
METHOD_COLUMNS = [
    "method", "controls", "threshold", "unit", "voxels_positive", "voxels_negative", "n_clusters", "true_discoveries",
    "true_discoveries_permutation",
]  # fmt: skip


def read_group(paths, design=None, contrast=None):
    """Read effect maps and set up the test.

    Parameters
    ----------
    paths : list of path-like
        One effect map per participant.
    design : numpy.ndarray, (N, P), optional
        Without: a constant, so that the mean is tested.
    contrast : numpy.ndarray, (P,) or (R, P), optional

    Returns
    -------
    model : neurobraid.stats.permutation.Model
    effect : numpy.ndarray, (V,)
        Contrast of the estimates; NaN for an F test.
    mask : numpy.ndarray of bool, (X, Y, Z)
        Voxels with a value in every participant.
    affine : numpy.ndarray, (4, 4)

    Raises
    ------
    InputError
        Maps on different grids or without a common voxel; see also `permutation.prepare`.
    """
    stack, affine = read_stack(paths)
    mask = (stack != 0).all(0)
    if not mask.any():
        raise InputError(
            paths[0], "common voxels", "none", "maps that overlap", "check normalisation and masks"
        )
    design = np.ones((len(stack), 1)) if design is None else np.asarray(design, np.float64)
    contrast = np.atleast_2d(np.ones((1, 1)) if contrast is None else contrast)
    inside = stack[:, mask]
    model = permutation.prepare(inside, design, contrast)
    effect = np.full(inside.shape[1], np.nan)
    if len(contrast) == 1:
        effect = (contrast @ np.linalg.pinv(design))[0] @ inside
    return model, effect, mask, affine


def allowed(model, people, table="", *, units="", blocks=""):
    """Rearrangements that the null hypothesis allows.

    Parameters
    ----------
    model : neurobraid.stats.permutation.Model
    people : list of str
        Participant of every row.
    table : path-like
        participants.tsv.
    units, blocks : str
        Columns; see `neurobraid.stats.exchange.exchange`.

    Returns
    -------
    neurobraid.stats.exchange.Exchange
        Sign flips for a test of the mean, permutations otherwise.
    """
    flip = model.needs_flips
    wanted = [column for column in (units, blocks) if column]
    rows = read_tsv(table, text=wanted, index="participant_id") if wanted else None
    setting = "activation.inference"
    return exchange(
        len(people), permute=not flip, flip=flip, units=column_labels(rows, people, units, setting=setting),
        blocks=None if flip else column_labels(rows, people, blocks, setting=setting),
    )  # fmt: skip


def _tests(model, mask, cluster_forming_p):
    height = permutation.forming_height(model, cluster_forming_p)
    return permutation.Tests(graph.graph_of_mask(mask), height, {})


def permute(
    inputs,
    outputs,
    part,
    *,
    permutations,
    permutations_per_job,
    seed,
    cluster_forming_p,
    units="",
    blocks="",
    design=None,
    contrast=None,
):
    """Compute one part of a permutation test and write it.

    Parameters
    ----------
    inputs : object with attributes effect, participants
        participants: a list, empty where a dataset has no table.
    outputs : object with attributes null, reached, sidecar
        Table of the largest statistics; count per voxel; settings.
    part : int
        From 1: which rearrangements, so many per job.
    permutations, permutations_per_job, seed : int
    cluster_forming_p : float
    units, blocks : str
        See `allowed`.
    design, contrast
        See `read_group`.
    """
    start = (part - 1) * permutations_per_job + 1
    paths = list(inputs.effect)
    if len(paths) < FEWEST:
        stack, affine = read_stack(paths)
        write_tsv(pd.DataFrame(columns=["index", *permutation.COLUMNS]), outputs.null)
        save(np.zeros(stack.shape[1:]), affine, outputs.reached, dtype=np.int32)
        write_json(
            sidecar("No permutation of one participant.", paths, Status="unavailable"), outputs.sidecar
        )
        return
    model, _, mask, affine = read_group(paths, design, contrast)
    people = participants_of(paths)
    table = next(iter(inputs.participants), "")
    found = permutation.null(
        model, allowed(model, people, table, units=units, blocks=blocks), seed, permutations,
        start=start, stop=start + permutations_per_job, tests=_tests(model, mask, cluster_forming_p),
    )  # fmt: skip
    # 17 digits bring a float back to the bit: parts must merge to what one run gives
    write_tsv(pd.DataFrame({"index": found.index, **found.values}), outputs.null, float_format="%.17g")
    reached = np.zeros(mask.shape, np.int32)
    reached[mask] = found.reached
    save(reached, affine, outputs.reached, dtype=np.int32)
    note = "Largest statistics of rearrangements of the data, one part of a permutation test."
    write_json(sidecar(note, paths, **found.settings, FirstIndex=start), outputs.sidecar)
    log.info("%d rearrangements from %d of %d", len(found.index), start, found.settings["Permutations"])


def read_part(null, reached, note, mask):
    """Read what `permute` wrote.

    Parameters
    ----------
    null, reached, note : path-like
    mask : numpy.ndarray of bool, (X, Y, Z)

    Returns
    -------
    neurobraid.stats.permutation.Null
    """
    table = pd.read_csv(null, sep="\t", na_values=["n/a"], float_precision="round_trip")
    content = read_json(note)
    return permutation.Null(
        table["index"].to_numpy(np.int64), {name: table[name].to_numpy(np.float64) for name in permutation.COLUMNS},
        data(load(reached), np.int64)[mask], {name: content[name] for name in permutation.SETTINGS},
    )  # fmt: skip


def critical(peaks, alpha):
    """Value a statistic must exceed for a family-wise p of at most `alpha`; infinity if none can be that small."""
    allowed_above = int(np.floor(alpha * (len(peaks) + 1) * (1 + 1e-12))) - 1
    return float(np.sort(peaks)[::-1][allowed_above]) if allowed_above >= 0 else np.inf


class _Map:
    """One tested map and the bounds that hold for any part of it."""

    def __init__(self, model, mask, alpha, null=None):
        self.model, self.mask, self.alpha, self.null = model, mask, alpha, null
        self.values = permutation.statistic(model)
        self.p = permutation.tail(self.values, model)
        self.z = t_to_z(self.values, model.dof) if model.kind == "t" else np.abs(_z_of(self.p))
        self.graph = graph.graph_of_mask(mask)
        self.hommel = discovery.hommel(self.p, alpha)
        self.scale = None
        if null is not None:
            self.grid = permutation.simes_grid(model)
            own = permutation.simes(self.values, self.grid)
            self.scale = discovery.calibrated(np.append(null.values["simes"], own), alpha)

    def bounds(self, inside):
        """True discoveries among the chosen voxels, at least: by Simes' inequality, by permutation (or NaN)."""
        simes = discovery.simes_bound(self.p[inside], self.hommel, self.alpha)
        if self.scale is None:
            return simes, np.nan
        return simes, discovery.permutation_bound(
            self.values[inside], self.grid, len(self.values), self.scale
        )

    def line(self, method, controls, threshold, unit, found):
        """Row of the table of methods."""
        positive = found & (self.values > 0)
        signed = np.where(found, np.sign(self.values), 0.0)
        count = len(graph.clusters(signed, self.graph, 0.5)[1])
        row = (
            method, controls, threshold if np.isfinite(threshold) else np.nan, unit, int(positive.sum()),
            int(found.sum() - positive.sum()), count, *self.bounds(found),
        )  # fmt: skip
        return dict(zip(METHOD_COLUMNS, row, strict=True))

    def image(self, values, dtype=np.float32):
        """Values of the tested voxels as a map."""
        out = np.zeros(self.mask.shape, dtype)
        out[self.mask] = values
        return out


def _z_of(p):
    from scipy.special import ndtri

    return ndtri(np.maximum(p, 1e-310) / 2.0)


def infer(
    model,
    effect,
    mask,
    affine,
    *,
    null=None,
    alpha=0.05,
    cluster_forming_p=0.001,
    cluster_voxels=1,
    atlas=None,
):
    """Apply every method to one map.

    Parameters
    ----------
    model, effect, mask, affine
        From `read_group`.
    null : neurobraid.stats.permutation.Null, optional
        All rearrangements; without, the methods that need them are left out.
    alpha : float
    cluster_forming_p : float
        At most .001, two-sided.
    cluster_voxels : int
        Smallest cluster listed.
    atlas : tuple (path-like, path-like), optional
        Label image and table.

    Returns
    -------
    maps : dict of str to numpy.ndarray, (X, Y, Z)
        `MAPS`, and `PERMUTATION_MAPS` with a null.
    methods : pandas.DataFrame
        `METHOD_COLUMNS`: what each method finds; true_discoveries: bounds that hold for all rows together.
    table : pandas.DataFrame
        `CLUSTER_COLUMNS` and `EXTRA_COLUMNS`: clusters at the cluster-forming threshold. Probabilities of the peak
        on every line, of the cluster on its first.
    summary : dict
    """
    one = _Map(model, mask, alpha, null)
    size = np.abs(one.values)
    name = model.kind if model.kind == "F" else "|t|"
    height = permutation.forming_height(model, cluster_forming_p)
    adjusted = discovery.benjamini_hochberg(one.p)
    passed = adjusted <= alpha
    fwe = f"family-wise error {alpha:g}"
    count = len(one.values)
    label, sizes, masses = graph.clusters(one.values, one.graph, height)
    clustered = [one.bounds(label == c) for c in range(1, len(sizes) + 1)]
    share = np.array([[0.0, np.nan], *(np.array(b) / s for b, s in zip(clustered, sizes, strict=True))])
    rows = [
        one.line("uncorrected", f"p < {permutation.CLUSTER_FORMING_P:g} per voxel", *_height(model, permutation.CLUSTER_FORMING_P, name),
                 one.p < permutation.CLUSTER_FORMING_P),
        one.line("fdr", f"false discovery rate {alpha:g}", size[passed].min() if passed.any() else np.inf, name, passed),
        one.line("bonferroni", fwe, *_height(model, alpha / count, name), one.p <= alpha / count),
    ]  # fmt: skip
    maps = {"tdp": one.image(share[label, 0])}
    p_of = {"peak_p_fdr": adjusted, "peak_p_maxt": None, "peak_p_tfce": None}
    p_extent = p_mass = np.full(len(sizes), np.nan)
    if null is not None:
        tfce = graph.Enhancer(one.graph)(one.values)[0]
        p_max = permutation.corrected(one.values, null.values["peak"])
        p_tfce = permutation.corrected(tfce, null.values["tfce"])
        p_extent = permutation.corrected(sizes, null.values["extent"])
        p_mass = permutation.corrected(masses, null.values["mass"])
        p_of |= {"peak_p_maxt": p_max, "peak_p_tfce": p_tfce}
        whole = {
            key: np.append(1.0, values)[label] for key, values in (("extent", p_extent), ("mass", p_mass))
        }
        forming = f"{fwe}, clusters at p < {cluster_forming_p:g}"
        rows += [
            one.line("maxt", fwe, critical(null.values["peak"], alpha), name, p_max <= alpha),
            one.line("tfce", fwe, critical(null.values["tfce"], alpha), "TFCE", p_tfce <= alpha),
            one.line("extent", forming, critical(null.values["extent"], alpha), "voxels", whole["extent"] <= alpha),
            one.line("mass", forming, critical(null.values["mass"], alpha), f"{name} x voxels", whole["mass"] <= alpha),
        ]  # fmt: skip
        maps |= {"tfce": one.image(tfce)} | {
            f"logp{key}": one.image(-np.log10(values) + 0.0)
            for key, values in (
                ("voxel", permutation.uncorrected(null)),
                ("maxt", p_max),
                ("tfce", p_tfce),
                *whole.items(),
            )
        }
    inside = np.ones(count, bool)
    rows.append(one.line("allvoxels", f"true discoveries, confidence {1 - alpha:g}", np.inf, "n/a", inside))
    table = _cluster_table(one, effect, affine, cluster_forming_p, cluster_voxels, atlas)
    where = np.zeros(mask.shape, np.int64)
    where[mask] = np.arange(count)
    spots = where[_voxels(table, affine)]
    for column, values in p_of.items():
        table[column] = np.nan if values is None else values[spots]
    main, own = table["n_voxels"].notna().to_numpy(), label[spots] - 1
    by_cluster = {
        "p_extent": p_extent, "cluster_mass": masses, "p_mass": p_mass, "tdp": share[1:, 0], "tdp_permutation": share[1:, 1],
    }  # fmt: skip
    for column, values in by_cluster.items():
        table[column] = np.where(main, np.append(values, np.nan)[own], np.nan) if len(table) else np.nan
    summary = {
        "NumberOfParticipants": len(model.errors), "Statistic": model.kind, "DegreesOfFreedom": model.dof, "Alpha": alpha,
        "VoxelCount": count, "ClusterFormingP": cluster_forming_p, "ClusterFormingHeight": height,
        "ClusterConnectivity": "faces", "HommelValue": one.hommel, "Methods": [row["method"] for row in rows],
        "TrueDiscoveries": rows[-1]["true_discoveries"],
        "TrueDiscoveriesMethod": "all-resolution inference: Simes' inequality with Hommel's value (Rosenblatt et al. 2018)",
    }  # fmt: skip
    if null is not None:
        # all signs flipped at once give the same |t| and the same F
        mirrored = null.settings["Complete"] and model.needs_flips
        least = (2 if mirrored else 1) / (len(null.index) + 1)
        summary |= {
            "Permutation": null.settings | {
                "Scheme": "sign flips" if model.needs_flips else "permutation of residuals (Freedman-Lane)",
                "SmallestP": least, "Tfce": {"Extent": graph.EXTENT, "Height": graph.HEIGHT, "Steps": "exact integral"},
            },
            "SimesCalibration": one.scale, "TrueDiscoveriesPermutation": rows[-1]["true_discoveries_permutation"],
        }  # fmt: skip
        if least > alpha:
            exist = "exist" if null.settings["Complete"] else "were asked for"
            summary["Note"] = (
                f"{len(null.index) + 1} rearrangements {exist}: no p below {least:.3g} is possible, so the permutation methods "
                f"cannot find anything at {alpha:g}"
            )
            log.warning("%s", summary["Note"])
    return maps, pd.DataFrame(rows, columns=METHOD_COLUMNS), table, summary


def _height(model, p, name):
    from scipy.special import fdtri, stdtrit

    value = -stdtrit(model.dof, p / 2.0) if model.kind == "t" else fdtri(model.tested, model.dof, 1.0 - p)
    return float(value), name


def _cluster_table(one, effect, affine, cluster_forming_p, cluster_voxels, atlas):
    labels = listed = None
    if atlas:
        labels, own, listed = load_atlas(*atlas)
        labels = labels_on_grid(labels, own, one.mask.shape, affine)
    return clusters(
        one.image(one.z, np.float64), affine, two_sided_z(cluster_forming_p),
        effect=one.image(effect) if np.isfinite(effect).all() else None, min_voxels=cluster_voxels,
        labels=labels, table=listed,
    )  # fmt: skip


def _voxels(table, affine):
    """Voxel indices of the places in a cluster table."""
    places = table[["x", "y", "z"]].to_numpy(np.float64).reshape(-1, 3)
    return tuple(np.rint(apply_affine(np.linalg.inv(affine), places)).astype(np.int64).T)


def run(
    inputs,
    outputs,
    name,
    *,
    alpha,
    cluster_forming_p,
    cluster_voxels,
    min_participants=FEWEST,
    units="",
    blocks="",
    design=None,
    contrast=None,
    record=None,
):
    """Apply every method to one contrast and write maps, tables and summary.

    Parameters
    ----------
    inputs : object with attributes effect, null, reached, notes, atlas_image, atlas_table
        null, reached, notes: parts written by `permute`; empty lists without permutations.
    outputs : object with attributes maps, methods, clusters, sidecar, summary
        Maps in the order of `MAPS`, then `PERMUTATION_MAPS`.
    name : str
        Name of the contrast.
    alpha, cluster_forming_p, cluster_voxels
        See `infer`.
    min_participants : int
        With fewer the outputs are empty and the summary says why.
    units, blocks : str
        What the permutations kept together, for the record.
    design, contrast
        See `read_group`.
    record : dict, optional
        Further fields of the summary.
    """
    paths = list(inputs.effect)
    note = "Inference on one contrast, every method on the same map; tests are two-sided."
    if len(paths) < max(min_participants, FEWEST):
        reason = f"{len(paths)} participant(s); a group statistic needs {min_participants}"
        log.warning("group inference not available: %s", reason)
        stack, affine = read_stack(paths)
        for path in outputs.maps:
            save(np.zeros(stack.shape[1:]), affine, path)
        write_tsv(pd.DataFrame(columns=METHOD_COLUMNS), outputs.methods)
        write_tsv(pd.DataFrame(columns=[*CLUSTER_COLUMNS, *EXTRA_COLUMNS]), outputs.clusters)
        content = sidecar(note, paths, Contrast=name, Status="unavailable", Reason=reason)
        write_json(content, outputs.summary)
        write_json(content, outputs.sidecar)
        return
    model, effect, mask, affine = read_group(paths, design, contrast)
    parts = [read_part(*files, mask) for files in zip(inputs.null, inputs.reached, inputs.notes, strict=True)]
    null = permutation.merge(parts) if parts else None
    if null is not None and null.settings["Fingerprint"] != model.fingerprint:
        raise InputError(
            inputs.null[0], "data", "other maps", "the maps of this contrast", "delete the file and run again"
        )
    maps, methods, table, summary = infer(
        model, effect, mask, affine, null=null, alpha=alpha, cluster_forming_p=cluster_forming_p,
        cluster_voxels=cluster_voxels, atlas=(inputs.atlas_image, inputs.atlas_table),
    )  # fmt: skip
    for values, path in zip(maps.values(), outputs.maps, strict=True):
        save(values, affine, path)
    write_tsv(methods, outputs.methods)
    write_tsv(table[[*CLUSTER_COLUMNS, *EXTRA_COLUMNS]], outputs.clusters)
    people = participants_of(paths)
    kept = {"ExchangeUnits": units or None, "ExchangeBlocks": blocks or None} if parts else {}
    content = sidecar(
        note,
        paths,
        Contrast=name,
        Status="available",
        Participants=people,
        **kept,
        **summary,
        **(record or {}),
    )
    write_json(content, outputs.summary)
    units = {key: UNITS[key] for key in [*maps, "background"]}
    write_json(sidecar(note, paths, Contrast=name, Units=units, Alpha=alpha), outputs.sidecar)
    counts = ", ".join(
        f"{row.method} {row.voxels_positive + row.voxels_negative}" for row in methods[:-1].itertuples()
    )
    log.info("%s: voxels found by %s", name, counts)
