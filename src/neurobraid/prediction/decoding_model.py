"""One declared decoding from maps of single trials to accuracies: within people by runs, across people, and of the group."""

from pathlib import Path

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.prediction.decode import (
    block_means,
    center_groups,
    decode,
    decoding_test,
    group_folds,
    searchlight,
)
from neurobraid.prediction.folds import Unavailable
from neurobraid.provenance import sidecar

#: Every key of a record of ``prediction.decoding`` with its default; the schema says the same.
DEFAULTS = {
    "name": None,
    "task": None,
    "conditions": [],
    "source": "maps",
    "atlas": "",
    "regions": [],
    "cv": "leave-one-run-out",
    "estimator": "ridge",
    "selection": "anova",
    "block_average": True,
    "permutations": 199,
    "searchlight_mm": 0,
    "seed": 1,
}
#: Arrangements of labels below which a permutation test cannot reach a p of .01.
FEW = 100
FOLD_COLUMNS = {
    "group": "Run, or participant, that was held out",
    "samples": "Samples tested: trials, or averages of the trials of a condition",
    "accuracy": "Share classified correctly",
    "balanced_accuracy": "Mean over conditions of the share classified correctly",
    "auc": "Area under the curve, one condition against the rest, mean over conditions; n/a where one side has no sample",
    "features": "Features used; with selection, the number that classified most of the inner test runs",
    "regularisation": "Chosen by inner runs: ridge penalty in units of the mean eigenvalue, or C, with samples of mean squared length 1",
}  # fmt: skip
PERSON_COLUMNS = {
    "participant_id": "Person",
    "status": "OK, or UNAVAILABLE",
    "runs": "Runs held out, each once",
    "samples": "Samples",
    "accuracy": "Mean over folds of the share classified correctly",
    "balanced_accuracy": "Mean over folds of the mean over conditions",
    "auc": "Mean over folds of the one-against-the-rest area under the curve",
    "chance": "Balanced accuracy of a guess: one over the number of conditions",
    "p": "Permutation of labels within runs, everything fitted again, one-sided; n/a without permutations",
}


def complete(record, **general):
    """Fill a record with the defaults; `general` holds the seed of the stage."""
    where = f"config: prediction.decoding ({record.get('name')})"
    for key in sorted(set(record) - set(DEFAULTS)):
        raise InputError(where, "key", key, ", ".join(DEFAULTS), "remove or correct the key")
    full = {**DEFAULTS, **{k: v for k, v in general.items() if k in DEFAULTS}, **record}
    if len(set(full["conditions"])) < 2:
        raise InputError(where, "conditions", full["conditions"], "two or more", "name values of trial_type")
    if full["searchlight_mm"] and (full["source"], full["cv"]) != ("maps", "leave-one-run-out"):
        found = f"{full['source']}, {full['cv']}"
        raise InputError(where, "searchlight_mm", found, "maps, leave-one-run-out", "set searchlight_mm: 0")
    return full


def read_trials(images, tables, record, *, atlas=None):
    """Responses to the trials of the conditions, in all runs.

    Parameters
    ----------
    images, tables : list of path-like
        ``…_desc-trials_statmap.nii.gz`` and ``…_desc-trials_table.tsv`` of every run, in the same order.
    record : dict
        From `complete`.
    atlas : tuple of (path-like, path-like), optional
        Label image and table: regions whose means are features, or whose voxels are.

    Returns
    -------
    X : numpy.ndarray, (trials, features)
        Percent signal change.
    labels, runs : numpy.ndarray of str, (trials,)
        ``runs``: name of the scan.
    voxels : numpy.ndarray of bool, (X, Y, Z), or None
        Where the features come from; None for regions.
    affine : numpy.ndarray, (4, 4)

    Raises
    ------
    InputError
        A condition that no run has, images on different grids, a region that the atlas has not.
    """
    from neurobraid.images.io import load

    opened = [load(path) for path in images]
    first = opened[0]
    for path, image in zip(images, opened, strict=True):
        if image.shape[:3] != first.shape[:3] or not np.allclose(image.affine, first.affine, atol=1e-3):
            raise InputError(
                path,
                "grid",
                image.shape[:3],
                f"that of the first run, {first.shape[:3]}",
                "make the maps again",
            )
    listed = [read_tsv(path, text=("trial_type",)) for path in tables]
    wanted = [table["trial_type"].isin(record["conditions"]).to_numpy() for table in listed]
    found = {c for table in listed for c in table["trial_type"].unique()}
    lost = [c for c in record["conditions"] if c not in found]
    if lost:
        raise InputError(
            Path(tables[0]).name, "trial_type", f"no {lost[0]} in any run", ", ".join(sorted(found)), "correct prediction.decoding"
        )  # fmt: skip
    data = [np.asarray(image.dataobj, dtype=np.float32) for image in opened]
    # outside the brain mask of a run every trial is exactly 0
    brain = np.logical_and.reduce([np.isfinite(d).all(axis=-1) & (d != 0).any(axis=-1) for d in data])
    names = np.concatenate(
        [np.full(w.sum(), Path(p).name.split("_space-")[0]) for p, w in zip(images, wanted, strict=True)]
    )
    labels = np.concatenate([t["trial_type"].to_numpy(str)[w] for t, w in zip(listed, wanted, strict=True)])
    kept = [d[..., w] for d, w in zip(data, wanted, strict=True)]
    if atlas is None:
        return (
            np.concatenate([d[brain].T for d in kept]).astype(np.float64),
            labels,
            names,
            brain,
            first.affine,
        )
    index, table, place = _regions(atlas, record, first)
    if record["source"] == "maps":
        chosen = brain & np.isin(place, index)
        return (
            np.concatenate([d[chosen].T for d in kept]).astype(np.float64),
            labels,
            names,
            chosen,
            first.affine,
        )
    from neurobraid.images.atlas import region_means

    means = np.concatenate([region_means(d, place, table, mask=brain)[0] for d in kept])
    return means[:, np.isfinite(means).all(axis=0)], labels, names, None, first.affine


def _regions(atlas, record, image):
    from neurobraid.images.atlas import load_atlas
    from neurobraid.images.series import labels_on_grid

    labels, affine, table = load_atlas(*atlas)
    unknown = [r for r in record["regions"] if r not in set(table["name"])]
    if unknown:
        raise InputError(
            f"config: prediction.decoding ({record['name']})", "regions", unknown[0], f"regions of {Path(atlas[1]).name}",
            "correct the name",
        )  # fmt: skip
    if record["regions"]:
        table = table[table["name"].isin(record["regions"])].reset_index(drop=True)
    return table["index"].to_numpy(), table, labels_on_grid(labels, affine, image.shape[:3], image.affine)


def fit_decoding(X, labels, groups, record, *, column="run", file="trials"):
    """Decode, and test by permutation.

    Parameters
    ----------
    X : numpy.ndarray, (samples, features)
    labels, groups : numpy.ndarray of str, (samples,)
    record : dict
        From `complete`.
    column, file : str
        For messages.

    Returns
    -------
    dict
        status, reason; see `neurobraid.prediction.decode.decode`, with chance (1 / conditions), permutation (or None), notes.
    """
    samples, names, where = X, labels, groups
    if record["block_average"]:
        samples, names, where = block_means(X, labels, groups)
    notes = []
    counts = np.array(
        [[np.sum((where == g) & (names == c)) for c in np.unique(names)] for g in np.unique(where)]
    )
    if np.any(counts != counts[0]):
        notes.append(
            f"Conditions are not equally frequent in every {column}: the mean of the {column}, which is taken out, depends on them."
        )
    try:
        folds = group_folds(where)
        if X.shape[1] < 2:
            raise Unavailable(f"{X.shape[1]} features with data in every run")
    except Unavailable as reason:
        return {"status": "UNAVAILABLE", "reason": str(reason), "conditions": record["conditions"]}
    if len(folds.inner[0]) < 3:
        notes.append(
            f"With two {column}s nothing is left to choose settings from: all features, middle regularisation."
        )
    possible = _arrangements(names, where)
    if record["permutations"] and possible < FEW:
        notes.append(
            f"Labels can be arranged in {possible} ways only, so p says little: use more runs, or block_average: false."
        )
    settings = {
        "features": "inner" if record["selection"] == "anova" else 0,
        "scale": True,
        "file": file,
        "column": column,
    }
    centred = center_groups(samples, where)
    found = decode(centred, names, where, folds, estimator=record["estimator"], **settings)
    permuted = None
    if record["permutations"]:
        permuted = decoding_test(
            centred,
            names,
            where,
            folds,
            count=record["permutations"],
            seed=record["seed"],
            estimator="ridge",
            **settings,
        )
        if record["estimator"] != "ridge":
            notes.append("The permutation test uses ridge for the real and for the permuted labels.")
    return {
        "status": "OK",
        "reason": "",
        **{k: found[k] for k in ("accuracy", "balanced_accuracy", "auc", "folds", "conditions", "confusion")},
        "chance": 1 / len(found["conditions"]),
        "commonest": found["chance"],
        "samples": len(names),
        "features": int(X.shape[1]),
        "groups": len(folds.inner[0]),
        "permutation": permuted,
        "notes": notes,
    }


def _arrangements(labels, groups):
    """Number of ways in which labels can change places within groups, at most `FEW`."""
    from math import factorial

    total = 1
    for group in np.unique(groups):
        counts = np.unique(labels[groups == group], return_counts=True)[1].tolist()
        ways = factorial(sum(counts))
        for count in counts:
            ways //= factorial(count)
        total = min(total * ways, FEW)
    return total


def _write(found, record, outputs, sources, text):
    import pandas as pd

    rows = pd.DataFrame(found.get("folds", []), columns=list(FOLD_COLUMNS))
    write_tsv(rows, outputs["folds"])
    write_json(
        sidecar(
            "One row per group held out.",
            sources,
            Columns={c: {"Description": d} for c, d in FOLD_COLUMNS.items()},
        ),
        outputs["folds_json"],
    )
    conditions = found["conditions"]
    table = pd.DataFrame(found.get("confusion", []), columns=conditions if "confusion" in found else None)
    if "confusion" in found:
        table.insert(0, "true", conditions)
    else:
        table = pd.DataFrame(columns=["true", *conditions])
    write_tsv(table, outputs["confusion"])
    write_json(
        sidecar(
            "Samples by true condition (rows) and predicted condition (columns), over all groups held out.", sources,
            Columns={"true": {"Description": "True condition"}, **{c: {"Description": f"Samples taken for {c}"} for c in conditions}},
        ),
        outputs["confusion_json"],
    )  # fmt: skip
    summary = {k: v for k, v in found.items() if k not in ("folds", "confusion")}
    write_json(sidecar(text, sources, name=record["name"], settings=record, **summary), outputs["summary"])
    score = found.get("balanced_accuracy", np.nan)
    log.info("%s: %s %s balanced accuracy %.3f", record["name"], found["status"], found["reason"], score)


def write_decoding(images, tables, atlas, record, outputs, **general):
    """Decode the runs of one participant and write folds, confusion matrix and summary.

    Parameters
    ----------
    images, tables : list of path-like
        Maps and tables of single trials of every run of the task.
    atlas : sequence of path-like
        Label image and table, or nothing.
    record : dict
        One of ``prediction.decoding``.
    outputs : mapping
        Paths ``folds``, ``confusion``, each with ``…_json``, and ``summary``.
    **general
        See `complete`.
    """
    record = complete(record, **general)
    X, labels, runs, _, _ = read_trials(images, tables, record, atlas=tuple(atlas) or None)
    found = fit_decoding(X, labels, runs, record, file=Path(tables[0]).name)
    sources = [*images, *tables, *atlas]
    _write(found, record, outputs, sources, "Decoding of one participant, runs held out whole.")


def write_searchlight(images, tables, atlas, record, outputs, **general):
    """Map of the balanced accuracy in a sphere around every voxel of one participant, runs held out whole.

    Parameters
    ----------
    images, tables, atlas, record, **general
        See `write_decoding`.
    outputs : mapping
        Paths ``map``, ``map_json``.

    Raises
    ------
    InputError
        A condition occurs in one run only, or there is only one run: no map can be made.
    """
    from neurobraid.images.io import save

    record = complete(record, **general)
    X, labels, runs, voxels, affine = read_trials(images, tables, record, atlas=tuple(atlas) or None)
    samples, names, where = block_means(X, labels, runs) if record["block_average"] else (X, labels, runs)
    values, sizes, few = np.zeros(voxels.shape, dtype=np.float32), np.zeros(1, dtype=int), True
    # every condition in two runs or more, or it has no training sample when its run is held out
    if all(np.unique(where[names == c]).size > 1 for c in record["conditions"]):
        positions = np.argwhere(voxels) @ affine[:3, :3].T + affine[:3, 3]
        few = False
        values[voxels], sizes = searchlight(
            center_groups(samples, where), names, where, positions, radius=record["searchlight_mm"]
        )
    save(values, affine, outputs["map"])
    write_json(
        sidecar(
            "Balanced accuracy of a searchlight: ridge regression in a sphere around every voxel, runs held out whole.",
            [*images, *tables, *atlas], Units="1", Chance=1 / len(record["conditions"]), RadiusMm=record["searchlight_mm"],
            VoxelsPerSphere={"median": int(np.median(sizes)), "smallest": int(sizes.min())},
            Penalty=0.1, PenaltyNote="in units of the mean squared length of a sample; the same in every sphere",
            Outside="0 where no voxel has data" + (", here everywhere: a condition is in one run only" if few else ""),
        ),
        outputs["map_json"],
    )  # fmt: skip


def write_mean_searchlight(maps, record, outputs):
    """Mean of the searchlight maps of all participants who have one.

    Parameters
    ----------
    maps : list of path-like
    record : dict
    outputs : mapping
        Paths ``map``, ``map_json``.
    """
    from neurobraid.images.io import load, save

    opened = {path: load(path) for path in maps}
    values = {path: np.asarray(image.dataobj, dtype=np.float32) for path, image in opened.items()}
    use = [path for path in maps if (values[path] > 0).any()] or list(maps)
    stack = np.stack([values[path] for path in use])
    seen = (stack > 0).all(axis=0)
    save(np.where(seen, stack.mean(axis=0), 0).astype(np.float32), opened[use[0]].affine, outputs["map"])
    write_json(
        sidecar(
            "Mean over people of the balanced accuracy of a searchlight.", use, Units="1", Chance=1 / len(record["conditions"]),
            RadiusMm=record["searchlight_mm"], People=len(use), Outside="0 where a person has no data",
        ),
        outputs["map_json"],
    )  # fmt: skip


def group_test(values, chance, *, seed, count=9999):
    """Mean over people against chance, by t and by sign flips of the differences.

    Parameters
    ----------
    values : numpy.ndarray, (people,)
        Balanced accuracy.
    chance : float
    seed, count : int

    Returns
    -------
    dict
        mean, low, high (95 %, t), t, dof, p_t and p_flip, two-sided; None with fewer than three people. It says whether anybody
        carries information, not that most people do (Allefeld et al. 2016, NeuroImage 141:378).
    """
    from scipy.stats import t as student

    from neurobraid.stats.exchange import exchange
    from neurobraid.stats.permutation import null, prepare, uncorrected

    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size < 3:
        return None
    n, error = values.size, values.std(ddof=1) / np.sqrt(values.size)
    out = {"people": int(n), "mean": float(values.mean()), "chance": float(chance), "dof": int(n - 1)}
    half = student.ppf(0.975, n - 1) * error
    out |= {"low": float(values.mean() - half), "high": float(values.mean() + half)}
    if error == 0:
        return {**out, "t": np.nan, "p_t": np.nan, "p_flip": np.nan}
    value = float((values.mean() - chance) / error)
    model = prepare((values - chance)[:, None], np.ones((n, 1)), np.ones(1))
    flips = null(model, exchange(n, permute=False, flip=True), seed, count)
    return {
        **out,
        "t": value,
        "p_t": float(2 * student.sf(abs(value), n - 1)),
        "p_flip": float(uncorrected(flips)[0]),
    }


def write_group(summaries, record, outputs, *, images=(), tables=(), atlas=(), participants=(), **general):
    """Summary over people: accuracies against chance; or decoding across people.

    Parameters
    ----------
    summaries : list of path-like
        Of every participant, for ``cv: leave-one-run-out``.
    record : dict
    outputs : mapping
        Paths ``people``, ``people_json``, ``folds``, ``folds_json``, ``confusion``, ``confusion_json``, ``summary``.
    images, tables, atlas : list of path-like
        Single trials of everybody, for ``cv: leave-one-person-out``.
    participants : list of str
        In the order of `summaries`.
    **general
        See `complete`.
    """
    import pandas as pd

    record = complete(record, **general)
    chance = 1 / len(record["conditions"])
    if record["cv"] == "leave-one-person-out":
        X, labels, runs, _, _ = read_trials(images, tables, record, atlas=tuple(atlas) or None)
        people = np.array([run.split("_")[0] for run in runs])
        found = fit_decoding(X, labels, people, record, column="participant", file="trials of everybody")
        _write(found, record, outputs, [*images, *tables], "Decoding across people, each held out whole.")
        rows = [
            {
                "participant_id": f["group"],
                "status": "OK",
                "chance": chance,
                **{k: f[k] for k in f if k in PERSON_COLUMNS},
            }
            for f in found.get("folds", [])
        ]
    else:
        each = [read_json(path) for path in summaries]
        found = _together(each, summaries, record)
        _write(found, record, outputs, summaries, "Decoding within people, summary over people.")
        rows = [
            {
                "participant_id": person,
                "status": one["status"],
                "runs": one.get("groups"),
                "p": (one.get("permutation") or {}).get("p"),
                **{k: one.get(k) for k in ("samples", "accuracy", "balanced_accuracy", "auc", "chance")},
            }
            for person, one in zip(participants, each, strict=True)
        ]
    write_tsv(pd.DataFrame(rows, columns=list(PERSON_COLUMNS)), outputs["people"])
    content = sidecar(
        "One row per person.",
        summaries or images,
        Columns={c: {"Description": d} for c, d in PERSON_COLUMNS.items()},
    )
    write_json(content, outputs["people_json"])


def _together(each, summaries, record):
    """Folds and confusion of all people joined, and the test of the mean."""
    good = [one for one in each if one["status"] == "OK"]
    if not good:
        reasons = sorted({one["reason"] for one in each})
        return {"status": "UNAVAILABLE", "reason": "; ".join(reasons), "conditions": record["conditions"]}
    conditions = good[0]["conditions"]
    confusion, folds = np.zeros((len(conditions), len(conditions)), dtype=int), []
    for path, one in zip(summaries, each, strict=True):
        if one["status"] != "OK":
            continue
        stem = str(path).removesuffix("_summary.json")
        table = read_tsv(f"{stem}_confusion.tsv", text=("true",)).set_index("true")
        confusion += table.loc[conditions, conditions].to_numpy(dtype=int)
        folds += read_tsv(f"{stem}_folds.tsv", text=("group",)).to_dict("records")
    values = {
        k: [float(one[k]) for one in good if one[k] != "n/a"]
        for k in ("accuracy", "balanced_accuracy", "auc")
    }
    return {
        "status": "OK",
        "reason": "",
        **{k: float(np.mean(v)) if v else np.nan for k, v in values.items()},
        "folds": folds,
        "conditions": conditions,
        "confusion": confusion,
        "chance": 1 / len(conditions),
        "samples": int(sum(one["samples"] for one in good)),
        "people": len(good),
        "left_out": len(each) - len(good),
        "test": group_test(values["balanced_accuracy"], 1 / len(conditions), seed=record["seed"]),
        "notes": sorted({note for one in good for note in one["notes"]}),
    }
