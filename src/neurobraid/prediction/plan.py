"""A confirmatory analysis is planned, locked, and then run: what was locked cannot change without saying so.

A plan holds every setting of a model that shapes its result, who is held back in the lockbox, and digests of the code and
of the data. The lock is a file of the study (``config/plan.yaml``) that people write and keep; results never contain it.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import atomic, read_tsv
from neurobraid.jobs import log
from neurobraid.prediction.dataset import build
from neurobraid.prediction.folds import Unavailable, strata

FORMAT = 1
#: Where the lock of a study lies, relative to the study.
LOCK = "config/plan.yaml"
#: Keys of a model's record that do not shape its result.
FREE = ("name", "save", "reopen", "open_lockbox")
HEAD = """\
# Locked plan of the confirmatory models of this study: written by `neurobraid plan`, not to be edited.
# A change of the configuration, the code or the data afterwards stops these models, and names what changed.
"""


def digest(content):
    """SHA-256 of plain content, whatever the order of its keys.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _hash(*parts):
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray) and part.dtype.kind == "f":
            # one bit pattern for missing values and one zero
            clean = np.where(np.isnan(part), np.nan, part + 0.0)
            blob = repr(part.shape).encode() + np.ascontiguousarray(clean).astype("<f8").tobytes()
        else:
            blob = json.dumps(np.asarray(part).tolist(), ensure_ascii=False).encode()
        found.update(hashlib.sha256(blob).digest())
    return found.hexdigest()


def data_digests(data):
    """Digests of what a model reads, by part, so that a change can be named.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset

    Returns
    -------
    dict of str to str
        ``rows`` (people, visits, groups, sites, families), ``features``, ``target``, ``covariates`` (confounds,
        columns of the harmonisation, demographics). The order of rows in the tables does not matter.
    """
    names = sorted(data.tables)
    width = {name: data.tables[name].shape[1] - data.last for name in names}
    families = data.participants if data.families is None else data.families
    first = data.tables[names[0]]
    return {
        "rows": _hash(data.participants, data.sessions, data.groups, data.sites, families),
        "features": _hash(*(part for n in names for part in (data.names[n], data.tables[n][:, : width[n]]))),
        "target": _hash(data.y, np.array(data.classes, dtype=str)),
        "covariates": _hash(first[:, width[names[0]] :], data.demographics),
    }


def _together(data, by_site):
    """Number of the group of each row: people, families and the model's groups that share anyone are one."""
    columns = [data.participants]
    if data.families is not None:
        columns.append(data.families)
    if not by_site:
        columns.append(data.groups)
    label = np.arange(data.y.size)
    while True:
        before = label.copy()
        for column in columns:
            place = np.unique(column, return_inverse=True)[1]
            lowest = np.full(place.max() + 1, label.size)
            np.minimum.at(lowest, place, label)
            label = lowest[place]
        if np.array_equal(before, label):
            return label


def choose_lockbox(data, model):
    """People held back, stratified by class (or fifth of the target) and site, whole families at a time.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    model : dict
        ``lockbox`` (share of people), ``kind``, ``groups``, ``site``, ``seed``.

    Returns
    -------
    list of str
        Sorted. Reference people of the harmonisation are never held back.

    Raises
    ------
    InputError
        The share leaves a class without people on one side.
    """
    if not model["lockbox"]:
        return []
    label = _together(data, model["groups"] == model["site"])
    codes = strata(data.y, model["kind"], folds=5)
    place = np.unique(data.sites, return_inverse=True)[1] * (codes.max() + 1) + codes
    rng = np.random.default_rng([model["seed"], 20260719])
    can = np.ones(data.y.size, dtype=bool) if data.reference is None else ~data.reference
    chosen, debt = [], 0.0
    for stratum in np.unique(place):
        # a group counts for the stratum of its first row
        groups = [g for g in np.unique(label) if place[label == g][0] == stratum and can[label == g].all()]
        wanted = model["lockbox"] * len(groups) + debt
        count = min(len(groups), int(np.floor(wanted + 0.5)))
        # what rounding takes from one stratum the next gives back
        debt = wanted - count
        chosen += [groups[k] for k in rng.permutation(len(groups))[:count]]
    held = np.isin(label, chosen)
    for side, words in ((held, "inside"), (~held & can, "outside")):
        few = np.unique(data.participants[side]).size
        single = model["kind"] == "classification" and np.unique(data.y[side]).size < 2
        if few < 4 or single:
            raise InputError(
                "config",
                f"prediction.models ({model['name']}) lockbox",
                f"{model['lockbox']} (leaves {few} people{' of one class' if single else ''} {words})",
                "at least four people of both classes on each side",
                "choose another share, or leave the lockbox out",
            )
    return sorted(set(data.participants[held].tolist()))


def settings_of(model):
    """Settings of a completed record that shape its result, with the primary metric."""
    from neurobraid.prediction.model import PRIMARY

    found = {key: value for key, value in model.items() if key not in FREE}
    return json.loads(json.dumps({**found, "primary_metric": PRIMARY.get(model["kind"], "n/a")}))


def make_plan(features, participants, model, *, code, file="participants.tsv"):
    """The plan of one model as it is now.

    Parameters
    ----------
    features, participants : pandas.DataFrame
        Everybody.
    model : dict
        From `neurobraid.prediction.model.complete`.
    code : str
        Digest of the code of the stage.
    file : str

    Returns
    -------
    dict
        ``name``, ``settings``, ``lockbox`` (people, sha256), ``digests`` (plan, code, data).

    Raises
    ------
    InputError
        The model cannot be fitted with this study.
    """
    try:
        data = build(features, participants, model, file=file)
    except Unavailable as reason:
        raise InputError(
            file,
            f"model {model['name']}",
            reason,
            "people to be modelled",
            "lock the plan when the data are there",
        ) from None
    people = choose_lockbox(data, model)
    plan = {
        "name": model["name"],
        "settings": settings_of(model),
        "lockbox": {"people": people, "sha256": digest(people)},
    }
    return {**plan, "digests": {"plan": digest(plan), "code": code, "data": data_digests(data)}}


# ------------------------------------------------------------------------------------ files


def _dump(content, path):
    import yaml

    with atomic(path) as temporary:
        text = yaml.safe_dump(content, sort_keys=True, allow_unicode=True, width=110)
        temporary.write_text(HEAD + text, encoding="utf-8")


def read_plans(path):
    """Locked plans of a study.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict of str to dict
        By name of the model.
    list of dict
        Locks that were replaced: ``name``, ``reason``, ``digest``.

    Raises
    ------
    InputError
        No such plan file, or one that was edited by hand.
    """
    import yaml

    name = Path(path).as_posix()
    name = LOCK if name.endswith(LOCK) else Path(path).name
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        plans, replaced = {plan["name"]: plan for plan in content["models"]}, content["replaced"]
        if content["format"] != FORMAT:
            raise InputError(name, "format", content["format"], FORMAT, "lock the plan with this version")
        for key, plan in plans.items():
            found = {part: plan[part] for part in ("name", "settings", "lockbox")}
            if (
                plan["digests"]["plan"] != digest(found)
                or digest(plan["lockbox"]["people"]) != plan["lockbox"]["sha256"]
            ):
                raise InputError(
                    name, f"plan of {key}", "edited after it was locked", "the file as `neurobraid plan` wrote it",
                    "restore it, or lock anew with a reason",
                )  # fmt: skip
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            name,
            "content",
            f"not a plan ({type(error).__name__})",
            "a file of `neurobraid plan`",
            "restore it",
        ) from None
    return plans, replaced


def write_plan(features, participants, model, output, *, code, **general):
    """Write the plan of one model as it is now: what `neurobraid plan` would lock.

    Parameters
    ----------
    features, participants, output : path-like
    model : dict
        Record of ``prediction.models``.
    code : str
    **general
        See `neurobraid.prediction.model.complete`.
    """
    from neurobraid.prediction.model import complete

    full = complete(model, **general)
    table = read_tsv(features, text=("modality", "measure", "unit", "source"))
    name = str(participants).rsplit("/", 1)[-1]
    plan = make_plan(table, read_tsv(participants), full, code=code, file=name)
    _dump({"format": FORMAT, "models": [plan], "replaced": []}, output)
    log.info(
        "%s: plan %s, %d in the lockbox",
        full["name"],
        plan["digests"]["plan"],
        len(plan["lockbox"]["people"]),
    )


def changes(locked, current):
    """What differs between two plans of one model, in words.

    Parameters
    ----------
    locked, current : dict
        From `make_plan`.

    Returns
    -------
    list of str
        ``key: was ..., is ...``
    """
    out = []
    before, after = locked["settings"], current["settings"]
    for key in sorted({*before, *after}):
        if before.get(key, "absent") != after.get(key, "absent"):
            out.append(f"{key}: was {before.get(key, 'absent')}, is {after.get(key, 'absent')}")
    for part in sorted({*locked["digests"]["data"], *current["digests"]["data"]}):
        was, now = (plan["digests"]["data"].get(part, "absent") for plan in (locked, current))
        if was != now:
            out.append(f"data ({part}): was {was[:12]}, is {now[:12]}")
    was, now = locked["digests"]["code"], current["digests"]["code"]
    if was != now:
        out.append(f"code: was {was[:12]}, is {now[:12]}")
    if locked["lockbox"]["sha256"] != current["lockbox"]["sha256"]:
        was, now = (
            f"{len(p['lockbox']['people'])} people, {p['lockbox']['sha256'][:12]}" for p in (locked, current)
        )
        out.append(f"lockbox: was {was}, is {now}")
    return out


def lock(proposals, path, *, reason=""):
    """Lock plans: from now on the models of these plans run only as they are.

    Parameters
    ----------
    proposals : list of path-like
        Files of `write_plan`.
    path : path-like
        The lock. Plans of further models that it holds stay.
    reason : str
        Why a plan that is locked already may change; kept in the file and shown with every result.

    Returns
    -------
    list of str
        What was done, a line per model.

    Raises
    ------
    InputError
        A plan is locked already and differs, and no reason is given.
    """
    path = Path(path)
    plans, replaced = read_plans(path) if path.exists() else ({}, [])
    said = []
    for proposal in proposals:
        (name, new), *_ = read_plans(proposal)[0].items()
        old = plans.get(name)
        if old == new:
            said.append(f"{name}: locked already, unchanged")
            continue
        if old is not None:
            differs = "; ".join(changes(old, new))
            if not reason.strip():
                raise InputError(
                    LOCK, f"plan of {name}", f"locked, and it differs now: {differs}", "the plan as it was locked",
                    "restore what changed, or lock anew with --replace \"reason\", which stays on record",
                )  # fmt: skip
            replaced.append(
                {"name": name, "reason": reason.strip(), "digest": old["digests"]["plan"], "changes": differs}
            )
        plans[name] = new
        said.append(
            f"{name}: locked, plan {new['digests']['plan'][:12]}, {len(new['lockbox']['people'])} in the lockbox"
        )
    _dump({"format": FORMAT, "models": [plans[name] for name in sorted(plans)], "replaced": replaced}, path)
    return said


def confirm(features, participants, model, *, plan, code, file="participants.tsv"):
    """The locked plan of a confirmatory model, after everything was found as it was locked.

    Parameters
    ----------
    features, participants : pandas.DataFrame
        Everybody.
    model : dict
    plan : path-like or None
        The lock, if there is one.
    code : str
    file : str

    Returns
    -------
    dict or None
        None for an exploratory model. Else the plan, with ``replaced``: earlier locks of this model.

    Raises
    ------
    InputError
        No locked plan, or settings, code or data have changed: one error that names all changes.
    """
    if model["profile"] != "confirmatory":
        return None
    plans, replaced = read_plans(plan) if plan else ({}, [])
    if model["name"] not in plans:
        raise InputError(
            LOCK, f"plan of {model['name']}", "missing", "a locked plan for a confirmatory model",
            "run `neurobraid plan STUDY` before the model is run, or choose profile: exploratory",
        )  # fmt: skip
    locked = plans[model["name"]]
    found = changes(locked, make_plan(features, participants, model, code=code, file=file))
    if found:
        raise InputError(
            LOCK, f"plan of {model['name']}", "; ".join(found), "what was locked",
            "restore it, or lock anew with `neurobraid plan STUDY --replace \"reason\"`, which stays on record",
        )  # fmt: skip
    return {**locked, "replaced": [entry for entry in replaced if entry["name"] == model["name"]]}


def outside(locked, *tables):
    """Tables without the people of the lockbox (pandas.DataFrame with participant_id); all of them if there is no plan."""
    if locked is None:
        return list(tables)
    away = set(locked["lockbox"]["people"])
    return [t[~t["participant_id"].isin(away)].reset_index(drop=True) for t in tables]


def plan_summary(locked):
    """What summaries and pages say of a plan; nobody is named."""
    return locked and {
        "digest": locked["digests"]["plan"],
        "code": locked["digests"]["code"],
        "data": locked["digests"]["data"],
        "lockbox": {"people": len(locked["lockbox"]["people"]), "sha256": locked["lockbox"]["sha256"]},
        "replaced": locked["replaced"],
    }
