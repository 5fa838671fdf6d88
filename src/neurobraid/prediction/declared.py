"""What the keys of one declared model may be together; light, so that a config is refused before any work."""

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
FUSIONS = ("late", "early", "stacking", "pls", "pcacca", "mcca", "jica", "mccajica", "snf")


def estimators(kind):
    """Names of the estimators that a kind of target may have."""
    return tuple(name for name, kinds in ALLOWED.items() if kind in kinds)


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
    # nested intervals need many refits: only of ridge, on folds that can be drawn again
    if model["intervals"] == "bates" and (name != "ridge" or model["splits"] != "kfold"):
        found = f"bates with estimator {name} and splits {model['splits']}"
        yield (
            "intervals", found, "estimator ridge and splits kfold for bates", "choose them, or intervals: nadeau-bengio",
        )  # fmt: skip
