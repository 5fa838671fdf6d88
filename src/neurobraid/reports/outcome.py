"""Outcomes over time on the study page: response to treatment where there was an untreated arm, prognosis otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurobraid.files import read_json, read_tsv
from neurobraid.reports import style
from neurobraid.reports.audit import real
from neurobraid.reports.pages import Fold, Heading, Note, Prose, Table, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure

#: Markers drawn in a figure; the table has all.
SHOWN = 20
WAYS = {"unadjusted": "as it stands", "adjusted": "adjusted for baseline"}
USES = {
    "baseline": "values at the baseline visit",
    "change": "change from baseline to follow-up",
    "annualised": "change per year of the gap between visits",
    "slope": "slope over all visits, drawn towards the mean slope of the training people by how little a person's visits say",
    "normative": "z of the change, given baseline and gap, by the training controls",
}


def visits_in_words(visits) -> str:
    """What a model made of several visits, as a sentence."""
    text = f"Features are the {USES.get(visits['use'], visits['use'])} ({visits['people']} people"
    if visits.get("visits_per_person"):
        text += f", {number(real(visits['visits_per_person']), 1)} visits each"
    if visits.get("gap_median_years"):
        low, high = (number(real(visits[k]), 1) for k in ("gap_low_years", "gap_high_years"))
        text += f", {number(real(visits['gap_median_years']), 1)} years apart, {low} to {high}"
    if visits.get("without"):
        text += f"; {visits['without']} more lack the visits"
    fitted = ", fitted on training people of every fold" if visits.get("fitted_in_fold") else ""
    clock = (
        "the order of sessions"
        if visits["unit"] == "order of sessions"
        else f"{visits['time']}, in {visits['unit']}s"
    )
    return f"{text}{fitted}). Times: {clock}."


def contrast_figure(table: pd.DataFrame, *, label: str) -> Figure:
    """Estimate of every marker with its interval, as it stands and adjusted.

    Parameters
    ----------
    table : pandas.DataFrame
        ``marker``, ``adjusted`` (yes, no), ``estimate``, ``low``, ``high``, ``t``; the largest |t| are drawn.
    label : str
        Axis label with unit.
    """
    adjusted = table[table["adjusted"] == "yes"].set_index("marker")
    plain = table[table["adjusted"] == "no"].set_index("marker")
    order = adjusted["t"].abs().sort_values(ascending=False, kind="stable").dropna().index[:SHOWN]
    with style.look():
        figure = style.new_figure(style.WIDTH, 0.27 * len(order) + 1.1, layout="constrained")
        axes = figure.subplots()
        for part, shift, colour, name in (
            (plain, -0.16, style.ORANGE, WAYS["unadjusted"]),
            (adjusted, 0.16, style.BLUE, WAYS["adjusted"]),
        ):
            rows = part.reindex(order)
            y = np.arange(len(order)) + shift
            axes.hlines(y, rows["low"], rows["high"], color=colour, linewidth=1.8, alpha=0.6)
            axes.plot(
                rows["estimate"], y, "o", color=colour, markersize=4.5, markeredgecolor="white", label=name
            )
        axes.axvline(0, color=style.SOFT, linewidth=0.8)
        axes.set_yticks(range(len(order)), order)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_xlabel(label)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.2)
        return figure


def uplift_figure(curves: dict[str, Sequence[dict]], *, unit: str) -> Figure:
    """Gain per person against the share treated, the best first.

    Parameters
    ----------
    curves : dict of str to list of dict
        Name to points ``share``, ``gain``, ``random``.
    unit : str
        Of the outcome.
    """
    with style.look():
        figure = style.new_figure(6.4, 3.8, layout="constrained")
        axes = figure.subplots()
        colours = {"unadjusted": style.ORANGE, "adjusted": style.BLUE}
        for way, points in curves.items():
            share = [100 * real(p["share"]) for p in points]
            axes.plot(share, [real(p["gain"]) for p in points], color=colours[way], label=WAYS[way])
            # one line for both: the adjusted mean effect
            if way == list(curves)[-1]:
                axes.plot(
                    share, [real(p["random"]) for p in points], color=style.SOFT, linestyle=(0, (4, 2)), linewidth=1,
                    label="treated at random (adjusted)",
                )  # fmt: skip
        axes.set(
            xlabel="treated (% of people, largest predicted benefit first)",
            ylabel=f"gain per person ({unit})",
        )
        axes.set_xlim(0, 100)
        axes.grid()
        axes.legend(loc="lower right")
        return figure


def _range(found, digits=2) -> str:
    low, high = real(found.get("low")), real(found.get("high"))
    return f" [{number(low, digits)}, {number(high, digits)}]" if np.isfinite(low) else ""


def _in_order(sets):
    """Feature sets by name, all of them together last."""
    return sorted(sets.items(), key=lambda item: (item[0] == "all", item[0]))


def _p(value) -> str:
    value = real(value)
    return "–" if not np.isfinite(value) else ("< 0.001" if value < 0.001 else number(value, 3))


def _equals(value) -> str:
    text = _p(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def add_outcomes(job, section) -> None:
    """Add every declared outcome to the section.

    Parameters
    ----------
    job : object
        Builder of the study page, with ``inputs`` and ``gallery``.
    section : neurobraid.reports.pages.Section
    """
    for path in job.inputs.all("outcomes"):
        summary = read_json(path)
        table = job.inputs.find("contrasts", model=summary["name"])
        _outcome(job.gallery, section, summary, read_tsv(table, text=("marker",)) if table else None)


def _outcome(gallery, section, summary, table) -> None:
    settings, response = summary.get("settings", {}), summary["analysis"] == "response"
    unit = summary.get("unit") or "units of the outcome"
    if settings.get("per_year"):
        unit += " per year"
    word = "Response to treatment" if response else "Prognosis"
    section.add(Heading(f"{word} {summary['name']}: change of {settings.get('outcome', '')}"))
    if summary.get("status") == "UNAVAILABLE":
        section.add(Note(f"Not analysed: {summary.get('reason')}.", "missing"))
        return
    if settings.get("table") == "trial":
        section.add(
            Note(
                f"This analysis reads the built-in trial of {summary['participants']} invented people, not the participants of "
                "this study."
            )
        )
    if summary.get("note"):
        section.add(Note(summary["note"], "warn"))
    if summary.get("reason"):
        section.add(Note(summary["reason"], "warn"))
    flags = [c for c in summary["checks"] if c["status"] == "flag"]
    for check in flags:
        section.add(Note(f"{check['check'][:1].upper()}{check['check'][1:]}: {check['text']}", "warn"))
    section.add(Prose(_words(summary, unit, response)))
    if response:
        section.add(_response_table(summary, unit))
    section.add(_prognosis_table(summary, response))
    stem = f"study_model-{summary['name']}"
    main = "all" if "all" in summary["prognosis"] else next(iter(summary["prognosis"]))
    if table is not None and table["t"].notna().any():
        what = "difference of the effect" if response else "difference of the change"
        section.add(
            gallery.show(
                contrast_figure(table, label=f"{what} per SD of the marker ({unit})"),
                f"{stem}_contrasts.svg",
                f"Estimates of {min(SHOWN, table['marker'].nunique())} markers with 95 % intervals.",
                f"{summary['name']}, every marker by itself: {what} per SD of the marker with 95 % intervals, the largest |t| of "
                f"{table['marker'].nunique()} markers; orange as it stands, blue with the baseline value of the outcome in the "
                "model.",
            )
        )
    if response:
        curves = {way: summary["response"][main][way]["curve"] for way in WAYS}
        section.add(
            gallery.show(
                uplift_figure(curves, unit=unit),
                f"{stem}_uplift.svg",
                "Gain per person against the share of people treated.",
                f"{summary['name']}: gain in outcome per person (up is better) if the people with the largest held-out predicted "
                "benefit are treated first. The area above the dashed line is what the markers are worth.",
            )
        )
    section.add(*_folds(summary, table))


def _words(summary, unit, response) -> list[str]:
    arms, changes = summary["arms"], summary["mean_change"]
    gap = real(summary.get("gap_median_years"))
    apart = f" {number(gap, 1)} years apart (median)" if np.isfinite(gap) else ""
    text = f"{summary['participants']} people with the outcome at baseline and follow-up{apart}"
    if not response:
        return [f"{text}; mean change {number(real(changes['one arm']))} {unit}."]
    text += (
        f": {arms['treated']} treated, {arms['control']} not. Mean change {number(real(changes['treated']))} and "
        f"{number(real(changes['control']))} {unit}. "
    )
    effect = summary["average_effect"]["adjusted"]
    text += f"Mean effect of treatment, adjusted for the baseline value: {number(real(effect['mean']))}{_range(effect)} {unit}."
    main = "all" if "all" in summary["response"] else next(iter(summary["response"]))
    found = summary["response"][main]["adjusted"]
    better = real(found["p"]) <= 0.05
    second = (
        f"Held-out predicted effects of single people {'go' if better else 'do not reliably go'} with the effects there are "
        f"(interaction of arm and prediction, {_equals(found['p'])}, adjusted). Treating the people with the largest predicted "
        f"benefit first gains {number(real(found['auuc']['mean']))}{_range(found['auuc'])} {unit} per person over treating at "
        "random (area between the curves)."
    )
    return [text, second]


def _response_table(summary, unit) -> Table:
    heads = [
        "Markers",
        "Analysis",
        "Effect on predicted effect",
        "p",
        f"Gain over random ({unit})",
        "p of gain",
    ]
    rows = []
    for name, ways in _in_order(summary["response"]):
        for way in WAYS:
            found = ways[way]
            rows.append(
                [
                    "all markers" if name == "all" else name,
                    WAYS[way],
                    number(real(found["slope"])) + _range(found),
                    _p(found["p"]),
                    number(real(found["auuc"]["mean"])) + _range(found["auuc"]),
                    _p(found["auuc"]["p"]),
                ]
            )
    return Table(
        heads,
        rows,
        "Does a marker tell whom treatment helps? Slope of the effect on the held-out predicted effect (1: sizes are right, 0: no "
        "relation; interval by resampling people, given these models) and area between the curve of gain and treating at random "
        "(corrected interval over folds). One-sided p with arms drawn anew within sites.",
        numeric=tuple(heads[2:]),
    )


def _prognosis_table(summary, response) -> Table:
    heads = ["Markers", "Analysis", "R² without markers", "R² with", "Gain", "p"]
    rows = []
    for name, ways in _in_order(summary["prognosis"]):
        for way in WAYS:
            found = ways[way]
            rows.append(
                [
                    "all markers" if name == "all" else name,
                    WAYS[way],
                    number(real(found["without"]["mean"]), 3),
                    number(real(found["with"]["mean"]), 3),
                    number(real(found["gain"]["mean"]), 3) + _range(found["gain"], 3),
                    _p(found["p"]),
                ]
            )
    arm = ", the arm" if response else ""
    return Table(
        heads,
        rows,
        f"Do markers tell the course? Held-out R² of the change: site, covariates{arm} and, where adjusted, the baseline value, "
        "without and with markers. What predicts only the change as it stands follows the baseline value (regression to the "
        "mean).",
        numeric=tuple(heads[2:]),
    )


def _folds(summary, table) -> list:
    out = []
    if table is not None and len(table):
        heads = ["Marker", "Analysis", "Estimate per SD [95 %]", "t", "p", "p over all markers"]
        rows = [
            [
                row["marker"],
                WAYS["adjusted" if row["adjusted"] == "yes" else "unadjusted"],
                number(real(row["estimate"])) + _range(row),
                number(real(row["t"])),
                _p(row["p"]),
                _p(row["p_fwe"]),
            ]
            for _, row in table.iterrows()
        ]
        out.append(Fold("Every marker by itself", [Table(heads, rows, "Two-sided p by permutation within arm and site.",
                                                         numeric=tuple(heads[2:]))]))  # fmt: skip
    heads = ["Check", "Result", "What was found"]
    words = {"ok": "nothing found", "flag": "look at this"}
    rows = [[c["check"], words.get(c["status"], c["status"]), c["text"]] for c in summary["checks"]]
    out.append(Fold("Checks", [Table(heads, rows, "Checks of this analysis.")]))
    steps = [[s["step"][:1].upper() + s["step"][1:], str(s["left"])] for s in summary["flow"]]
    heads = ["Step", "Participants left"]
    out.append(
        Fold(
            "From all participants to those in the analysis",
            [Table(heads, steps, numeric=("Participants left",))],
        )
    )
    return out
