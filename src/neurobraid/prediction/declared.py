"""What the keys of one declared model may be together; light, so that a config is refused before any work."""

from neurobraid.errors import InputError

#: Kinds of target that every estimator can be asked for.
ALLOWED = {
    "ridge": ("classification", "regression", "ordinal", "survival"),
    "ridge-logistic": ("classification", "ordinal", "survival"),
    "svm": ("classification", "regression"),
    "elastic-net": ("classification", "regression"),
    "random-forest": ("classification", "regression"),
    "gradient-boosting": ("classification", "regression"),
    "gaussian-process": ("classification", "regression"),
    "mlp": ("classification", "regression"),
    "kernel-sum": ("classification", "regression"),
    **dict.fromkeys(
        ("som", "rbm", "rbf", "mlp-dropout", "autoencoder", "conv3d", "conv1d", "lstm"),
        ("classification", "regression"),
    ),
}
KERNELS = ("linear", "rbf")
LATENT = ("pls", "pcacca", "mcca", "jica", "mccajica", "snf")
FUSIONS = ("late", "early", "stacking", *LATENT)
#: Names of tables' rows that no feature set may have.
RESERVED = ("fused", "early", "stacking", "dummy", "demographics")
#: What a network reads: maps (x, y, z), series (volumes, regions), or a table.
INPUT = {
    "conv3d": "maps",
    "conv1d": "series",
    "lstm": "series",
    "mlp-dropout": "table",
    "autoencoder": "table",
}


def estimators(kind):
    """Names of the estimators that a kind of target may have."""
    return tuple(name for name, kinds in ALLOWED.items() if kind in kinds)


def merged(record, defaults, general, where):
    """Fill a record: defaults, then the stage's own settings, then the record; ``folds`` key by key.

    Parameters
    ----------
    record, defaults, general : dict
        General settings that are None are as if not given.
    where : str
        Place of the record, for the error.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        The record has a key that the defaults do not.
    """
    unknown = sorted(set(record) - set(defaults))
    if unknown:
        raise InputError(where, "key", unknown[0], ", ".join(defaults), "remove or correct the key")
    given = {k: v for k, v in general.items() if v is not None}
    folds = {**defaults["folds"], **(given.get("folds") or {}), **(record.get("folds") or {})}
    return {**defaults, **given, **record, "folds": folds}


def contradictions(model):
    """Keys of a model that cannot stand together.

    Parameters
    ----------
    model : dict
        One record of ``prediction.models`` with its defaults.

    Yields
    ------
    key, found, allowed, fix : str
    """
    kind, name, grid = model["kind"], model["estimator"], model["grid"]
    if name not in estimators(kind):
        yield "estimator", name, f"{', '.join(estimators(kind))} for kind {kind}", "choose one of them"
    if kind == "survival" and not model["event"]:
        yield "event", "missing", "a column of 0 and 1 (1: the event was seen)", "name the column in event"
    if kind != "survival" and model["event"]:
        yield "event", model["event"], "kind: survival", "remove event, or choose the kind"
    classes = [str(c) for c in model["classes"]]
    if kind == "ordinal" and (len(classes) < 3 or len(set(classes)) < len(classes)):
        yield "classes", classes, "three or more different classes, lowest first", "name them in order"
    wrong = [one for one in model["fusion"] if one not in FUSIONS]
    if wrong:
        yield "fusion", wrong[0], ", ".join(FUSIONS), "choose one or more of them"
    unknown = [k for k in model["kernels"] if k not in KERNELS]
    if unknown or not model["kernels"]:
        yield "kernels", unknown or "none", ", ".join(KERNELS), "choose one of them, or both"
    if name == "gradient-boosting" and any(value < 1 or value % 1 for value in grid):
        yield "grid", grid, "whole numbers of rounds", "correct the grid"
    if name in ("random-forest", "elastic-net") and any(value >= 1 for value in grid):
        yield "grid", grid, f"a share below 1 for {name}", "correct the grid"
    further = [one["name"] for one in model["features"] if one.get("series") or one.get("maps")]
    for key in ("save", "profile"):
        asked = model[key] if key == "save" else model[key] == "confirmatory"
        if asked and (further or model.get("visits")):
            what = f"features {', '.join(further)} that are no table" if further else "several visits"
            yield (
                key,
                model[key],
                f"{'false' if key == 'save' else 'exploratory'} with {what}",
                "change either",
            )
    if further and model.get("visits"):
        yield (
            "visits", f"given with features {', '.join(further)} that are no table", "features of the fusion table",
            "series and maps are of the first session: leave them or visits out",
        )  # fmt: skip
    if model.get("visits") and model["rows"] == "visit":
        yield "rows", "visit", "participant", "visits make one row of each person's visits"
    yield from _names(model)
    yield from _latent(model)
    yield from _member(model)
    # nested intervals need many refits: only of ridge, on folds that can be drawn again
    if model["intervals"] == "bates" and (name != "ridge" or model["splits"] != "kfold"):
        found = f"bates with estimator {name} and splits {model['splits']}"
        yield (
            "intervals", found, "estimator ridge and splits kfold for bates", "choose them, or intervals: nadeau-bengio",
        )  # fmt: skip


def _names(model):
    """Feature sets stand beside fusions and baselines in every table."""
    names = [record.get("name") for record in model["features"]]
    if not names or len(set(names)) < len(names) or set(names) & set(RESERVED):
        yield "features", names, f"different names, none of {', '.join(sorted(RESERVED))}", "rename them"


def _latent(model):
    """What a latent method cannot do: PLS of more than two modalities, any of one, other kinds than ridge predicts."""
    asked = [name for name in model["fusion"] if name in LATENT]
    names = [record.get("name") for record in model["features"]]
    if not asked:
        return
    key = f"fusion ({', '.join(asked)})"
    if len(names) < 2 or ("pls" in asked and len(names) != 2):
        allowed = "two feature sets for pls, two or more for the others"
        yield key, f"{len(names)} feature sets", allowed, "change either"
    if set(names) & set(LATENT):
        yield "features", sorted(set(names) & set(LATENT)), "names that are no fusion", "rename them"
    if model["kind"] not in ("classification", "regression"):
        found = f"kind {model['kind']}"
        yield key, found, "classification or regression", "take late or early fusion"


def _reads(record):
    """What the features of a record are to a network: maps, series or a table."""
    return "maps" if record.get("maps") else "series" if record.get("measure") == "series" else "table"


def _member(model):
    """Networks without what they read, and steps that have no meaning for series."""
    member, kinds = model["estimator"], [_reads(record) for record in model["features"]]
    wanted = INPUT.get(member, "table")
    if member in INPUT and wanted not in kinds:
        yield (
            "features", ", ".join(sorted(set(kinds))), f"{wanted} for the estimator {member}",
            {"maps": "add a record with maps", "series": "add a record with series and measure: series",
             "table": "choose another estimator"}[wanted],
        )  # fmt: skip
    for record, kind in zip(model["features"], kinds, strict=True):
        if kind == "series" and wanted != "series":
            yield (
                f"measure of {record['name']}", "series", "tangent, correlation or covariance",
                "choose another measure, or the estimator conv1d or lstm",
            )  # fmt: skip
    if wanted == "series" and (model["confounds"] or model.get("harmonize")):
        yield (
            "confounds" if model["confounds"] else "harmonize", "given", f"none with {member}",
            "remove it: a time point of one person is not the time point of another",
        )  # fmt: skip
    if wanted != "table" and "early" in model["fusion"]:
        yield "fusion", "early", f"late with {member}", "leave early out"
