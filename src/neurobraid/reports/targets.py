"""Pictures and words for targets that are neither two classes nor a number: ordered classes, times to an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurobraid.reports import style
from neurobraid.reports.pages import Prose, Table, number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from matplotlib.figure import Figure

#: Name, and value without information, of the metrics of these kinds.
METRICS = {
    "spearman": ("Spearman correlation", 0.0),
    "kappa": ("weighted kappa", 0.0),
    "mae_rank": ("mean absolute error (ranks)", None),
    "cindex": ("Harrell's C", 0.5),
    "ibs": ("integrated Brier score", None),
}
#: What they can be at all.
LIMITS = {
    "spearman": (-1.0, 1.0),
    "kappa": (-1.0, 1.0),
    "mae_rank": (0.0, np.inf),
    "cindex": (0.0, 1.0),
    "ibs": (0.0, 1.0),
}
#: Names of the parts that a kind may lack.
PARTS = {"calibration": "Calibration", "decision_curve": "Decision curve"}


def expected_ranks(
    truth: Sequence[str], predicted: np.ndarray, *, classes: Sequence[str], label: str
) -> Figure:
    """Held-out expected rank of every person by true class.

    Parameters
    ----------
    truth : sequence of str, (N,)
        True classes.
    predicted : (N,) ndarray
        Expected ranks, from 1.
    classes : sequence of str
        In order.
    label : str
        Target.
    """
    truth = np.asarray(truth, dtype=object)
    with style.look():
        figure = style.new_figure(6.4, 3.6, layout="constrained")
        axes = figure.subplots()
        for rank, name in enumerate(classes, start=1):
            mine = np.sort(predicted[truth == name])
            # steps of the golden ratio fill a band evenly, without chance
            spread = ((0.618 * np.arange(len(mine))) % 1 - 0.5) * 0.5
            axes.plot(
                rank + spread, mine, "o", color=style.BLUE, markersize=4, alpha=0.7,
                markeredgecolor="white", markeredgewidth=0.4,
            )  # fmt: skip
            if len(mine):
                axes.plot(
                    [rank - 0.32, rank + 0.32], [np.median(mine)] * 2, color=style.VERMILION, linewidth=1.8
                )
        ticks = range(1, len(classes) + 1)
        axes.plot([1, len(classes)], [1, len(classes)], color=style.SOFT, linestyle=(0, (4, 2)), linewidth=1)
        axes.set_xticks(ticks, classes)
        axes.set_yticks(ticks, [f"{k} {name}" for k, name in zip(ticks, classes, strict=True)])
        axes.set(xlabel=f"true {label}", ylabel="expected rank", xlim=(0.5, len(classes) + 0.5))
        axes.set_ylim(0.8, len(classes) + 0.2)
        axes.grid(axis="y")
        return figure


def risk_curves(groups: Sequence[dict], *, label: str) -> Figure:
    """Kaplan-Meier curves of people by held-out risk.

    Parameters
    ----------
    groups : sequence of dict
        ``group``, ``people``, ``events``, ``times``, ``survival``; from the summary of the model.
    label : str
        Time, with unit where known.
    """
    colours = (style.BLUE, style.ORANGE, style.VERMILION)
    with style.look():
        figure = style.new_figure(6.4, 3.6, layout="constrained")
        axes = figure.subplots()
        for group, colour in zip(groups, colours, strict=False):
            name = f"{group['group']} of risk ({group['people']} people, {group['events']} events)"
            axes.step(group["times"], group["survival"], where="post", color=colour, label=name)
        axes.set(xlabel=label, ylabel="share without the event", ylim=(-0.02, 1.02))
        axes.set_xlim(left=0)
        axes.grid()
        axes.legend(loc="best")
        return figure


def add_predictions(
    section, gallery, model: dict, rows: pd.DataFrame, *, named: str, stem: str, label: str
) -> bool:
    """Add the picture of held-out predictions, if the kind has one of its own.

    Parameters
    ----------
    section : neurobraid.reports.pages.Section
    gallery
        Of the page.
    model : dict
        Summary.
    rows : pandas.DataFrame
        Predictions of the feature set `named`, with ``target``, ``prediction`` and who.
    named, stem, label : str
        Feature set in words, beginning of file names, target in words.

    Returns
    -------
    bool
        False for kinds that are drawn otherwise.
    """
    kind = model.get("settings", {}).get("kind")
    over = " Predictions are averaged over repeats of the cross-validation."
    if kind == "ordinal":
        rows = rows.assign(target=rows["target"].astype(str), session_id=rows["session_id"].fillna(""))
        mean = rows.groupby(["participant_id", "session_id"]).agg(
            target=("target", "first"), prediction=("prediction", "mean")
        )
        figure = expected_ranks(
            mean["target"].to_numpy(),
            mean["prediction"].to_numpy(float),
            classes=model["classes"],
            label=label,
        )
        section.add(
            gallery.show(
                figure,
                f"{stem}_ranks.svg",
                f"Held-out expected ranks by true class of model {model['name']}.",
                f"Model {model['name']}, {named}: held-out expected rank of every participant by true class (1 is "
                f"{model['classes'][0]}), medians in red. The dashed line is a perfect prediction; expected ranks are drawn "
                f"towards the middle the less a model knows.{over}",
            )
        )
        return True
    if kind == "survival":
        if model.get("risk_groups"):
            section.add(
                gallery.show(
                    risk_curves(model["risk_groups"], label=label),
                    f"{stem}_risk.svg",
                    f"Kaplan-Meier curves by held-out risk of model {model['name']}.",
                    f"Model {model['name']}, {named}: share of participants without the event (Kaplan-Meier) by thirds of "
                    "held-out risk. The further apart the curves, the more the model knows; thirds are made after the fact "
                    "and are no rule for anyone.",
                )
            )
        return True
    return False


def remarks(model: dict) -> list[str]:
    """Sentences about what these kinds report, what they lack and why, and on what the intervals rest."""
    settings, texts = model.get("settings", {}), []
    kind, counts = settings.get("kind"), model.get("class_counts") or {}
    if kind == "survival":
        texts.append(
            f"{counts.get('event')} participants had the event, {counts.get('censored')} were observed to the end without "
            "it. Harrell's C is the share of pairs in which the one with the earlier event has the higher risk; the "
            "integrated Brier score is the squared error of predicted survival over time, weighted for censoring (0.25 is a "
            "coin)."
        )
    if kind == "ordinal":
        # keys of JSON are sorted; classes have an order of their own
        shown = ", ".join(f"{name} {counts.get(name, 0)}" for name in model.get("classes", []))
        texts.append(
            f"Participants by class, lowest first: {shown}. The correlation is between score and rank; kappa weighs a miss by "
            "the square of its distance."
        )
    lacks = model.get("not_for_this_kind") or {}
    if kind in ("ordinal", "survival") and lacks:
        texts.append(
            "Not for this kind of target: "
            + "; ".join(f"{PARTS.get(k, k).lower()} ({v})" for k, v in lacks.items())
            + "."
        )
    nested = model.get("nested_intervals")
    if nested and nested.get("status") == "ok":
        first = next(iter(nested["sets"].values()))
        texts.append(
            f"Intervals of the first score are those of nested cross-validation (Bates, Hastie and Tibshirani 2024; "
            f"{first['divisions']} divisions into {first['folds']} folds), about an estimate corrected for the smaller training sets inside; the "
            "others are corrected resampled ones."
        )
    elif nested:
        texts.append(f"Intervals of nested cross-validation were not possible: {nested.get('reason')}.")
    return texts


def add_stacking(section, model: dict, named: Callable[[str], str]) -> None:
    """Add the weights that stacking gave to the modalities, if it was asked for."""
    weights = model.get("stacking_weights")
    if not weights:
        return
    heads = ["Feature set", "Weight", "Smallest", "Largest"]
    rows = [[named(name), *(number(w[k]) for k in ("mean", "low", "high"))] for name, w in weights.items()]
    section.add(
        Table(
            heads,
            rows,
            "Weight of each modality's score in the stacked model, of 1 in all: mean, smallest and largest over folds. "
            "Learned from inner out-of-fold scores.",
            numeric=tuple(heads[1:]),
        )
    )


def add_remarks(section, model: dict) -> None:
    """Add `remarks` as prose."""
    texts = remarks(model)
    if texts:
        section.add(Prose(texts))
