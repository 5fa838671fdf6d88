"""The lockbox: people whom nothing has seen, opened once, with a record that stays with the study.

The record (``config/openings.tsv``) is a file of the study, like the lock of the plan, and no result: it may hold a
date, results may not. Each line carries the digest of the line before, so that a line that is changed or taken out of the
middle shows.
"""

import contextlib
import datetime
import hashlib
from pathlib import Path

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.prediction.apply import COLUMNS, StoredModel
from neurobraid.prediction.dataset import build
from neurobraid.prediction.metrics import auc, classification_metrics, regression_metrics
from neurobraid.prediction.plan import confirm, digest
from neurobraid.provenance import sha256, sidecar

#: Where the record lies, relative to the study.
OPENINGS = "config/openings.tsv"
FIELDS = (
    "number",
    "date",
    "model",
    "target",
    "people",
    "lockbox",
    "plan",
    "code",
    "data",
    "stored",
    "reason",
    "chain",
)
#: What makes two openings the same: nothing new can be learned from the second.
SAME = ("model", "target", "lockbox", "plan", "code", "data", "stored")
DRAWS = 2000


def _chain(before, row):
    content = "\t".join([before, *(row[field] for field in FIELDS[:-1])])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def read_openings(text):
    """Lines of the record.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of dict

    Raises
    ------
    InputError
        A line was changed, added by hand, or taken out.
    """
    lines = text.splitlines()
    if not lines:
        return []

    def changed(number):
        return InputError(
            OPENINGS, f"line {number}", "changed after it was written", "the record as it was written",
            "restore the file: it is the record of what was seen",
        )  # fmt: skip

    rows, before = [], ""
    if lines[0].split("\t") != list(FIELDS) or not text.endswith("\n"):
        raise changed(0)
    for number, line in enumerate(lines[1:], 1):
        cells = line.split("\t")
        row = dict(zip(FIELDS, cells, strict=False))
        if len(cells) != len(FIELDS) or row["number"] != str(number) or row["chain"] != _chain(before, row):
            raise changed(number)
        before = row["chain"]
        rows.append(row)
    return rows


@contextlib.contextmanager
def _held(path):
    """The record opened for reading and appending, by one process at a time."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8", newline="\n") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle


def record_opening(path, entry, *, reopen="", today=None):
    """Write that a lockbox is opened, before anything in it is looked at.

    Parameters
    ----------
    path : path-like
        The record; made if absent, only ever appended to.
    entry : dict of str to str
        The fields `SAME` and ``people``.
    reopen : str
        Why the same people are looked at again.
    today : datetime.date, optional

    Returns
    -------
    number : int
        How many times these people or this model were opened, this time included.
    reasons : list of str
        Reasons of the reopenings up to this one.

    Raises
    ------
    InputError
        A second opening without a reason: of the same model, or of the same people for the same target under a plan
        that has changed. The same model on the same data with the same code is no second opening.
    """
    path = Path(path)
    with _held(path) as handle:
        handle.seek(0)
        rows = read_openings(handle.read())

        def related(row):
            alike = row["lockbox"] == entry["lockbox"] and row["target"] == entry["target"]
            return row["model"] == entry["model"] or alike

        past = [row for row in rows if related(row)]
        for place, row in enumerate(past):
            if all(row[field] == entry[field] for field in SAME):
                kept = [r["reason"] for r in past[: place + 1] if r["reason"] != "n/a"]
                return place + 1, kept
        reason = " ".join(reopen.split())
        if past and not reason:
            last = past[-1]
            differs = [f"{f}: was {last[f][:12]}, is {entry[f][:12]}" for f in SAME if last[f] != entry[f]]
            raise InputError(
                OPENINGS, f"lockbox of {entry['model']}", f"opened already ({len(past)}x; {'; '.join(differs)})",
                "one opening", 'report the first result, or set reopen: "reason", which stays on record and on the card',
            )  # fmt: skip
        day = (today or datetime.datetime.now(datetime.UTC).date()).isoformat()
        row = {**entry, "number": str(len(rows) + 1), "date": day, "reason": reason if past else "n/a"}
        row["chain"] = _chain(rows[-1]["chain"] if rows else "", row)
        if not rows:
            handle.seek(0)
            if not handle.read():
                handle.write("\t".join(FIELDS) + "\n")
        handle.write("\t".join(row[field] for field in FIELDS) + "\n")
        handle.flush()
    return len(past) + 1, [r["reason"] for r in [*past, row] if r["reason"] != "n/a"]


def auc_interval(y, scores):
    """95 % interval of an AUC by the variance of DeLong et al. (1988, Biometrics 44:837), on the logit scale.

    Parameters
    ----------
    y : numpy.ndarray, (people,)
        -1 and 1, both present.
    scores : numpy.ndarray, (people,)

    Returns
    -------
    low, high : float
        NaN with fewer than two people of a class. With few people a percentile bootstrap is too narrow: it held the
        true AUC in 92 % of simulated boxes of 40.
    """
    second, first = scores[y > 0], scores[y < 0]
    if min(second.size, first.size) < 2:
        return np.nan, np.nan
    wins = (second[:, None] > first) + 0.5 * (second[:, None] == first)
    least = 0.5 / wins.size
    area = float(np.clip(wins.mean(), least, 1 - least))
    variance = wins.mean(axis=1).var(ddof=1) / second.size + wins.mean(axis=0).var(ddof=1) / first.size
    # all in order: as if half a pair were not
    spread = np.sqrt(max(variance, least * (1 - area))) / (area * (1 - area))
    middle = np.log(area / (1 - area))
    low, high = (1 / (1 + np.exp(-(middle + side * 1.959964 * spread))) for side in (-1, 1))
    return float(low), float(high)


def score(y, found, kind, base, *, groups, seed=0):
    """Metrics of the people of the lockbox with intervals, given the model.

    Intervals are percentiles of a bootstrap over groups; that of an AUC of single people is by `auc_interval`.

    Parameters
    ----------
    y : numpy.ndarray, (rows,)
    found : pandas.DataFrame
        ``score`` and ``prediction``, rows as in `y`.
    kind : {'classification', 'regression'}
    base : float
        Share of the second class, or mean, of the training people.
    groups : numpy.ndarray of str, (rows,)
        Rows that are drawn together.
    seed : int

    Returns
    -------
    dict of str to dict
        ``value``, ``low``, ``high`` (95 %).
    float
        One-sided p of the primary metric with the labels of groups permuted, (1 + b) / (1 + draws).
    """
    raw, predicted = found["score"].to_numpy(float), found["prediction"].to_numpy(float)

    def measure(rows):
        if kind == "classification":
            return classification_metrics(y[rows], raw[rows], predicted[rows], base)
        return regression_metrics(y[rows], predicted[rows], base)

    rng = np.random.default_rng([seed, 7])
    names = np.unique(groups)
    members = [np.flatnonzero(groups == name) for name in names]
    observed = measure(np.arange(y.size))
    drawn = {metric: [] for metric in observed}
    for _ in range(DRAWS):
        rows = np.concatenate([members[k] for k in rng.integers(0, len(members), len(members))])
        if kind == "classification" and np.unique(y[rows]).size < 2:
            continue
        for metric, value in measure(rows).items():
            drawn[metric].append(value)
    out = {}
    for metric, value in observed.items():
        values = np.array(drawn[metric], dtype=float)
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, [0.025, 0.975]) if values.size else (np.nan, np.nan)
        if metric == "auc" and len(members) == y.size:
            low, high = auc_interval(y, raw)
        out[metric] = {"value": float(value), "low": float(low), "high": float(high)}

    def statistic(target):
        if kind == "classification":
            return auc(target, raw)
        return -float(np.mean((target - predicted) ** 2))

    # one value per group changes places; groups of several rows keep theirs
    beyond, best = 1, statistic(y)
    sizes = np.array([m.size for m in members])
    for _ in range(DRAWS):
        moved = y.copy()
        for size in np.unique(sizes):
            some = np.flatnonzero(sizes == size)
            for to, origin in zip(some, rng.permutation(some), strict=True):
                moved[members[to]] = y[members[origin]]
        beyond += statistic(moved) >= best - 1e-12
    return out, beyond / (1 + DRAWS)


def write_lockbox(
    features, participants, stored, summary, model, outputs, *, plan, code, openings=OPENINGS, **general
):
    """Open the lockbox of a confirmatory model: apply the stored model to the people held back, once.

    Parameters
    ----------
    features, participants, stored, summary : path-like
        Fusion table, ``participants.tsv``, the stored model of the people outside, the summary of their
        cross-validation.
    model : dict
        Record of ``prediction.models``.
    outputs : mapping
        Paths ``lockbox`` (JSON), ``predictions`` (TSV), ``predictions_json``.
    plan : path-like
        The lock.
    code : str
    openings : path-like
        The record of openings.
    **general
        See `neurobraid.prediction.model.complete`.

    Raises
    ------
    InputError
        The plan does not agree, the model is not there, or the lockbox was opened before.
    """
    from neurobraid.prediction.model import PRIMARY, complete

    full = complete(model, **general)
    people = read_tsv(participants)
    table = read_tsv(features, text=("modality", "measure", "unit", "source"))
    file = str(participants).rsplit("/", 1)[-1]
    locked = confirm(table, people, full, plan=plan or None, code=code, file=file)
    held = set(locked["lockbox"]["people"])
    kept = StoredModel(stored)
    data = build(table, people, full, file=file)
    entry = {
        "model": full["name"],
        "target": full["target"],
        "people": str(len(held)),
        "lockbox": locked["lockbox"]["sha256"],
        "plan": locked["digests"]["plan"],
        "code": code,
        "data": digest(locked["digests"]["data"]),
        "stored": sha256(stored),
    }
    number, reasons = record_opening(openings, entry, reopen=full["reopen"])
    inside = np.isin(data.participants, sorted(held))
    found = kept.predict(
        table[table["participant_id"].isin(held)].reset_index(drop=True),
        people[people["participant_id"].isin(held)].reset_index(drop=True),
        atlas=kept.header["atlas"],
    )
    keys = [f"{p} {s}" for p, s in zip(found["participant_id"], found["session_id"].fillna(""), strict=True)]
    rows = [f"{p} {s}" for p, s in zip(data.participants[inside], data.sessions[inside], strict=True)]
    found = found.set_index(np.array(keys, dtype=object)).reindex(rows).reset_index(drop=True)
    y = data.y[inside]
    counted = found["prediction"].notna().to_numpy()
    groups = np.where(
        data.groups[inside] == data.sites[inside], data.participants[inside], data.groups[inside]
    )
    base = kept.header["training"]["target_mean"]
    values, p = score(
        y[counted], found[counted], full["kind"], base, groups=groups[counted], seed=full["seed"]
    )
    outer = read_json(summary)
    primary = PRIMARY[full["kind"]]
    content = {
        "Name": full["name"],
        "Primary": primary,
        "People": len(held),
        "Rows": int(counted.sum()),
        "ClassCounts": {c: int(np.sum(y[counted] == v)) for c, v in zip(data.classes, (-1, 1), strict=False)},
        "Metrics": values,
        "P": p,
        "CrossValidation": outer["metrics"][kept.header["main_set"]][primary],
        "FeatureSet": kept.header["main_set"],
        "Opening": {"Number": number, "Reasons": reasons},
        "Plan": entry["plan"],
        "Code": code,
        "Data": entry["data"],
        "Stored": entry["stored"],
        "UnlikeTraining": int((found["ood_flag"] == "yes").sum()),
    }
    sources = [features, participants, stored, summary]
    write_json(
        sidecar("Score of the people of the lockbox, whom the model never saw.", sources, **content),
        outputs["lockbox"],
    )
    truth = np.where(y > 0, data.classes[1], data.classes[0]) if data.classes else y
    found.insert(2, "target", truth)
    write_tsv(found, outputs["predictions"])
    described = {"target": "True class or value", **COLUMNS}
    write_json(
        sidecar(
            "Predictions for the people of the lockbox.", sources,
            Columns={name: {"Description": text} for name, text in described.items()},
        ),
        outputs["predictions_json"],
    )  # fmt: skip
    log.info("%s: opening %d, %s %.3f", full["name"], number, primary, values[primary]["value"])
