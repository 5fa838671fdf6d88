"""The section of the study page on decoding: accuracy by person against chance, confusion matrix, searchlight map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurobraid.files import read_json
from neurobraid.reports import figures, style
from neurobraid.reports.gather import entities_of, table
from neurobraid.reports.pages import Cell, Fold, Heading, Note, Prose, Table, number
from neurobraid.reports.planes import Volume

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ESTIMATORS = {
    "ridge": "ridge regression",
    "svm": "a linear support vector machine",
    "logistic": "logistic regression",
}
#: Rows of the table of people beyond which it is folded.
LONG = 15


def real(value) -> float:
    """Number from JSON, where missing is ``n/a`` or null."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def confusion_figure(confusion: pd.DataFrame) -> Figure:
    """Share of the samples of each true condition that were taken for each condition.

    Parameters
    ----------
    confusion : pandas.DataFrame
        ``…_desc-decoding_confusion.tsv``: column ``true``, then one column per condition, in samples.
    """
    names = confusion["true"].astype(str).tolist()
    counts = confusion[names].to_numpy(float)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.2 + 0.42 * len(names)
    with style.look():
        figure = style.new_figure(size + 1.6, size + 0.4, layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.ndindex(*share.shape):
            if counts[i, j]:
                colour = "white" if share[i, j] > 0.55 else style.INK
                axes.text(j, i, f"{share[i, j]:.2f}", ha="center", va="center", fontsize=8, color=colour)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted condition", ylabel="true condition")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        figure.colorbar(image, ax=axes, label="share of the true condition", shrink=0.8)
        return figure


def accuracy_figure(rows: pd.DataFrame, chance: float, unit: str) -> Figure:
    """Balanced accuracy of every person or group held out, with the line of chance.

    Parameters
    ----------
    rows : pandas.DataFrame
        Columns ``name`` and ``balanced_accuracy``.
    chance : float
    unit : str
        What a dot is.
    """
    values = np.sort(rows["balanced_accuracy"].to_numpy(float))
    values = values[np.isfinite(values)]
    with style.look():
        figure = style.new_figure(6.0, 3.0, layout="constrained")
        axes = figure.subplots()
        place = np.arange(1, values.size + 1)
        axes.plot(place, values, "o", color=style.BLUE, markersize=6, markeredgecolor="white")
        axes.axhline(values.mean(), color=style.BLUE, linewidth=1, label=f"mean {values.mean():.2f}")
        axes.axhline(
            chance, color=style.VERMILION, linewidth=1, linestyle=(0, (4, 2)), label=f"chance {chance:.2f}"
        )
        axes.set(xlabel=f"{unit}, in order of accuracy", ylabel="balanced accuracy", ylim=(-0.03, 1.03))
        axes.set_xticks(place if values.size <= 20 else [])
        axes.grid(axis="y")
        axes.legend(loc="lower right", framealpha=0.9, frameon=True)
        return figure


def _p(value) -> str:
    value = real(value)
    return "–" if not np.isfinite(value) else ("< 0.001" if value < 0.001 else number(value, 3))


def _words(found, settings, people) -> str:
    within = settings["cv"] == "leave-one-run-out"
    what = "averages of the trials of a condition" if settings["block_average"] else "single trials"
    source = "voxels" if settings["source"] == "maps" else "regions"
    chosen = (
        f" {source[:1].upper()}{source[1:]} were selected by analysis of variance inside the fold, and their number was chosen by "
        "inner folds."
        if settings["selection"] == "anova"
        and not any("nothing is left" in n for n in found.get("notes", []))
        else ""
    )
    who = (
        f"within {people} participant{'s' if people != 1 else ''}"
        if within
        else f"across {found['groups']} participants"
    )
    text = (
        f"{len(found['conditions'])} conditions of task {settings['task']} ({', '.join(found['conditions'])}) were told apart {who} by "
        f"{ESTIMATORS[settings['estimator']]} from {what}, with every {'run' if within else 'participant'} held out whole.{chosen} The "
        f"balanced accuracy is {number(real(found['balanced_accuracy']))} (a guess: {number(real(found['chance']))}), the area under the "
        f"curve of one condition against the rest {number(real(found['auc']))}."
    )
    test = found.get("test")
    if test:
        text += (
            f" Over participants the mean is {number(real(test['mean']))} (95 % {number(real(test['low']))} to {number(real(test['high']))}; "
            f"t({test['dof']}) = {number(real(test['t']))}, p = {_p(test['p_t'])}; sign flips p = {_p(test['p_flip'])}), which says that some "
            "people carry information, not that most do (Allefeld et al. 2016)."
        )
    permuted = found.get("permutation")
    if permuted:
        text += (
            f" With labels permuted within {'runs' if within else 'participants'} {permuted['count']} times, everything fitted again, the "
            f"mean was {number(real(permuted['null_mean']))}; p = {_p(permuted['p'])}."
        )
    return text


def add_decoding(study, section) -> None:
    """Add every declared decoding.

    Parameters
    ----------
    study : neurobraid.reports.study._Study
    section : neurobraid.reports.pages.Section
    """
    for path in study.inputs.all("decoding_summary"):
        found = read_json(path)
        name, settings = found["name"], found["settings"]
        task = entities_of(path)["task"]
        section.add(Heading(f"Decoding {name}"))
        people = table(study.inputs.find("decoding_people", task=task, model=name))
        if found["status"] == "UNAVAILABLE":
            section.add(Note(f"Not possible: {found['reason']}.", "missing"))
            continue
        good = people[people["status"] == "OK"]
        section.add(Prose([_words(found, settings, len(good))]))
        for text in found.get("notes", []):
            section.add(Note(text, "warn"))
        if found.get("left_out"):
            section.add(
                Note(
                    f"Left out: {found['left_out']} of {len(people)} participants, with too few runs or features.",
                    "warn",
                )
            )
        within = settings["cv"] == "leave-one-run-out"
        if len(good) > 1:
            rows, unit = good.rename(columns={"participant_id": "name"}), "participants"
        else:
            rows = table(study.inputs.find("decoding_folds", task=task, model=name)).rename(
                columns={"group": "name"}
            )
            unit = "runs"
        chance = real(found["chance"])
        section.add(
            study.gallery.show(
                accuracy_figure(rows, chance, unit),
                f"study_decoding-{name}_accuracy.svg",
                f"Balanced accuracy of {len(rows)} {unit} in decoding {name}.",
                f"Decoding {name}: balanced accuracy of every {'participant' if unit == 'participants' else 'run held out'}; dashed: a guess.",
            ),
            study.gallery.show(
                confusion_figure(table(study.inputs.find("decoding_confusion", task=task, model=name))),
                f"study_decoding-{name}_confusion.svg",
                f"Confusion matrix of decoding {name}.",
                f"Decoding {name}: share of the held-out samples of each true condition (rows) that were taken for each condition (columns), "
                f"{number(found['samples'])} samples{' of all participants' if len(good) > 1 else ''}.",
            ),
        )
        heads = [
            "Participant",
            *(["Runs"] if within else []),
            "Samples",
            "Accuracy",
            "Balanced accuracy",
            "AUC",
            *(["p"] if within else []),
        ]
        body = [
            [
                row.participant_id,
                *([number(row.runs, 0)] if within else []),
                number(row.samples, 0),
                *(number(real(v)) for v in (row.accuracy, row.balanced_accuracy, row.auc)),
                *([Cell(_p(row.p))] if within else []),
            ]
            for row in people.itertuples()
        ]
        block = Table(
            heads, body,
            f"Decoding {name} by participant; a guess has balanced accuracy {number(chance)}"
            + (", p by permutation of labels within runs (ridge, one-sided)." if within else "."),
            numeric=tuple(heads[1:]),
        )  # fmt: skip
        section.add(block if len(body) <= LONG else Fold(f"All {len(body)} participants", [block]))
        image = study.inputs.find("searchlight", task=task, model=name)
        if image is not None:
            _searchlight(study, section, name, image, chance, settings)


def _searchlight(study, section, name, image, chance, settings):
    volume = Volume.read(image)
    if not (volume.data > chance).any():
        section.add(
            Note("Nowhere does the searchlight tell the conditions apart better than a guess.", "missing")
        )
        return
    section.add(
        study.gallery.show(
            figures.intensity_map(
                volume,
                *study._background(),
                label="accuracy",
                limits=(chance, max(float(volume.data.max()), chance + 0.05)),
            ),
            f"study_decoding-{name}_searchlight.png",
            f"Searchlight map of decoding {name} on axial slices of the template.",
            f"Decoding {name}: balanced accuracy in spheres of {number(settings['searchlight_mm'], 0)} mm (ridge, runs held out whole), mean over "
            f"participants, shown from {number(chance)}, the value of a guess; not tested and not corrected. Underlay: MNI152 template; slice "
            "positions in mm.",
        )
    )
