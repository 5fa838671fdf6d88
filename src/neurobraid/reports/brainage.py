"""The section of the study page on brain age: accuracy of raw predictions, gaps, and what goes with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurobraid.files import read_json
from neurobraid.reports import audit, style
from neurobraid.reports.gather import table
from neurobraid.reports.pages import Cell, Fold, Heading, Note, Prose, Table, number

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Gaps as they are called on the page.
GAPS = {"raw": "raw", "cole": "corrected, Cole", "delange": "corrected, de Lange / Beheshti"}
SCHEMES = {
    "kfold": "random folds",
    "leave-one-site-out": "every site left out once",
    "leave-one-group-out": "every group left out once",
}
ESTIMATORS = {
    "ridge": "ridge regression",
    "kernel-ridge": "kernel ridge regression",
    "gaussian-process": "a Gaussian process",
}
#: Features of the figure of patterns.
DRAWN = 20
CONTROL = "control"


def real(value) -> float:
    """Number from JSON, where missing is ``n/a`` or null."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _p(value) -> str:
    value = real(value)
    return "–" if not np.isfinite(value) else ("< 0.001" if value < 0.001 else number(value, 3))


def ages_figure(rows: pd.DataFrame, bands: list[dict]) -> Figure:
    """Raw prediction against age, and gaps before and after correction against age.

    Parameters
    ----------
    rows : pandas.DataFrame
        ``…_desc-brainage_predictions.tsv``, one row per person or visit.
    bands : list of dict
        Mean gaps by age of the summary.
    """
    age, predicted = rows["age_years"].to_numpy(float), rows["predicted_age_years"].to_numpy(float)
    control = (rows["group"] == CONTROL).to_numpy()
    size = 4 if len(rows) < 300 else 2.5
    with style.look():
        figure = style.new_figure(style.WIDTH, 3.9, layout="constrained")
        left, middle, right = figure.subplots(1, 3)
        low, high = np.nanmin([age, predicted]), np.nanmax([age, predicted])
        left.plot([low, high], [low, high], color=style.SOFT, linestyle=(0, (4, 2)), linewidth=1)
        groups = ((control, style.BLUE, f"{CONTROL}s"), (~control, style.VERMILION, "others"))
        for use, colour, name in groups:
            if use.any():
                left.plot(
                    age[use],
                    predicted[use],
                    "o",
                    color=colour,
                    markersize=size,
                    alpha=0.55,
                    mew=0,
                    label=name,
                )
        if not control.all():
            left.legend(loc="upper left")
        left.set(xlabel="age (years)", ylabel="raw predicted age (years)", title="Held-out, raw")
        middle_of = [b["mean"] for b in bands]
        for axes, key, title in ((middle, "raw", "Raw gap"), (right, "delange", "Gap, de Lange / Beheshti")):
            gap = rows[f"gap_{key}_years"].to_numpy(float)
            for use, colour, _ in groups:
                axes.plot(age[use], gap[use], "o", color=colour, markersize=size, alpha=0.35, mew=0)
            axes.errorbar(
                middle_of, [real(b[key]) for b in bands], yerr=[1.96 * real(b[f"{key}_se"]) for b in bands],
                color=style.INK, marker="s", markersize=5, linewidth=1.4, capsize=2, label="mean by age, 95 %",
            )  # fmt: skip
            axes.axhline(0, color=style.SOFT, linewidth=0.8)
            axes.set(xlabel="age (years)", ylabel="gap (years)", title=title)
            axes.legend(loc="upper right")
        limit = np.nanmax(np.abs(rows[["gap_raw_years", "gap_delange_years"]].to_numpy(float)))
        for axes in (middle, right):
            axes.set_ylim(-1.05 * limit, 1.05 * limit)
        return figure


def pattern_figure(patterns: pd.DataFrame) -> Figure:
    """Features that go with the predicted age most, with their spread over folds.

    Parameters
    ----------
    patterns : pandas.DataFrame
        ``…_desc-brainage_patterns.tsv``, largest first.
    """
    shown = patterns.head(DRAWN)
    place = np.arange(len(shown))
    value, sd = shown["pattern"].to_numpy(float), shown["sd"].to_numpy(float)
    with style.look():
        figure = style.new_figure(style.WIDTH, 0.24 * len(shown) + 0.9, layout="constrained")
        axes = figure.subplots()
        colours = [style.BLUE if v < 0 else style.VERMILION for v in value]
        axes.barh(
            place, value, xerr=sd, color=colours, alpha=0.75, error_kw={"ecolor": style.INK, "elinewidth": 1}
        )
        axes.set_yticks(place, [_feature(n) for n in shown["feature"]])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.axvline(0, color=style.SOFT, linewidth=0.8)
        axes.grid(axis="x")
        axes.set_xlabel("correlation of the feature with the predicted age (mean and SD over folds)")
        return figure


def _feature(name: str) -> str:
    modality, measure, *region = str(name).split(" ")
    return " ".join([*region, f"({measure})" if measure == modality else f"({modality} {measure})"])


def _schemes(found) -> Table:
    heads = [
        "People split by",
        "MAE (years)",
        "R²",
        "r",
        "r within site",
        "MAE of the mean age",
        "MAE of the site's mean age",
    ]
    rows = [
        [
            SCHEMES.get(s["scheme"], s["scheme"]) + (" (this record)" if s["primary"] else ""),
            *(number(real(s[k])) for k in ("mae", "r2", "r", "within_site_r", "mae_mean_age")),
            Cell(
                number(real(s["mae_site_mean"])),
                tone="warn" if real(s["mae_site_mean"]) <= 1.1 * real(s["mae"]) else "",
            ),
        ]
        for s in found["schemes"]
    ]
    low, high = real(found["accuracy"]["age_low"]), real(found["accuracy"]["age_high"])
    return Table(
        heads, rows,
        f"Accuracy of raw held-out predictions of {number(found['controls'])} controls of {number(low, 1)} to {number(high, 1)} years. R² "
        "by sums of squares against the mean age of the training people. Beside it what needs no brain: the mean age of the "
        "training people, and that of the person's site (for a site left out, of all).",
        numeric=tuple(heads[1:]),
    )  # fmt: skip


def _tests(found) -> Table | None:
    if not found.get("gap_tests"):
        return None
    heads = ["Term", "People", *(f"{name}: years [SE], p" for name in GAPS.values())]
    rows = []
    for one in found["gap_tests"]:
        row = [one["term"], number(one.get("group_people", one["people"])) + (f" of {number(one['people'])}" if "group_people" in one else "")]  # fmt: skip
        for key in GAPS:
            if key not in one:
                row.append("–")
                continue
            p = (
                _p(one[key]["p"])
                if np.isfinite(real(one[key]["p"]))
                else f"{_p(one[key]['p_parametric'])} (t)"
            )
            row.append(
                f"{number(real(one[key]['estimate_years']))} [{number(real(one[key]['se_years']))}], {p}"
            )
        rows.append(row)
    undefined = ""
    if any("cole" not in one for one in found["gap_tests"]):
        undefined = " It is not defined where predictions hardly rise with age (a slope below 0.1)."
    blocks = found["permutations"]["blocks"]
    within = f" within {blocks}" if blocks != "none" else ""
    others = found["settings"]["covariates"]
    site = f", {blocks}" if blocks != "none" else ""
    return Table(
        heads, rows,
        f"Differences in the gap, one row per person. All terms are in one linear model together with age{site}"
        f"{' and ' + ', '.join(others) if others else ''}; p by {number(found['permutations']['count'])} permutations{within} (Freedman and "
        f"Lane). The Cole correction keeps the size of an effect in years; the raw gap and the other correction shrink it.{undefined}",
        numeric=tuple(heads[1:]),
    )  # fmt: skip


def _retest(found) -> list:
    again = found.get("retest")
    if not again:
        return []
    names = {"predicted_age": "raw predicted age", **{f"gap_{k}": f"gap, {v}" for k, v in GAPS.items()}}
    heads = ["Value", "ICC(A,1)", "ICC(C,1) [95 %]", "People"]
    rows = [
        [
            names[key],
            number(real(one["agreement"])),
            f"{number(real(one['consistency']))} [{number(real(one['low']))}, {number(real(one['high']))}]",
            number(one["people"]),
        ]
        for key, one in again["icc"].items()
    ]
    slope = again["within_person_slope"]
    blocks = [
        Table(heads, rows, "Agreement of the first two visits of a person.", numeric=tuple(heads[1:])),
    ]
    if np.isfinite(real(slope["slope"])):
        blocks.append(
            Prose([
                f"Within people the raw predicted age rises by {number(real(slope['slope']))} years per year of their own age (95 % "
                f"{number(real(slope['low']))} to {number(real(slope['high']))}, {number(slope['people'])} people; 1 would be perfect)."
            ])
        )  # fmt: skip
    return blocks


def _bands(found) -> Table:
    heads = ["Age (years)", "People", *(f"mean gap, {name} (years)" for name in GAPS.values())]
    rows = [
        [
            f"{number(real(b['low']), 1)} to {number(real(b['high']), 1)}",
            number(b["people"]),
            *(f"{number(real(b[k]))} [SE {number(real(b[f'{k}_se']))}]" for k in GAPS),
        ]
        for b in found["age_bands"]
    ]
    return Table(
        heads, rows,
        "What bias is left by age: means of fifths of the people. A linear correction leaves a curve where the bias is none "
        "(Zhang et al. 2023).",
        numeric=tuple(heads[1:]), compact=True,
    )  # fmt: skip


def headline(path) -> tuple[str, str, str] | None:
    """Headline number of a brain age for the summary of the page: value, what it is, remark."""
    found = read_json(path)
    if found["status"] == "UNAVAILABLE":
        return None
    own = found["accuracy"]
    return (
        number(real(own["mae"]), 1, "y"),
        f"mean absolute error, brain age {found['name']}",
        f"raw, {SCHEMES.get(found['scheme'], found['scheme'])}; mean age alone {number(real(own['mae_mean_age']), 1, 'y')}",
    )


def paragraph(summaries: list[dict]) -> str:
    """Methods of brain age, from the settings that were used."""
    told = []
    for found in summaries:
        if found["status"] == "UNAVAILABLE":
            continue
        settings = found["settings"]
        told.append(
            f"Brain age {found['name']} was predicted from {number(sum(found['features'].values()))} features with "
            f"{ESTIMATORS.get(settings['estimator'], settings['estimator'])} trained on {number(found['controls'])} controls, with "
            f"{SCHEMES.get(found['scheme'], found['scheme'])} ({number(found['folds']['outer'])} folds) and all settings chosen by inner "
            "folds."
        )
    if not told:
        return "No brain age could be estimated; the reasons are given in its section."
    return (
        " ".join(told)
        + " Accuracy is that of raw held-out predictions. Gaps were corrected for the dependence on age by lines fitted to inner held-out "
        "predictions of the training controls of each fold (Cole et al. 2018; de Lange et al. 2019; Beheshti et al. 2019) and compared "
        "with age and the covariates named in the table, by permutation of residuals within site (Freedman & Lane 1983)."
    )


def add_brain_age(study, section) -> None:
    """Add every declared brain age.

    Parameters
    ----------
    study : neurobraid.reports.study._Study
    section : neurobraid.reports.pages.Section
    """
    for path in study.inputs.all("brainage"):
        found = read_json(path)
        name = found["name"]
        section.add(Heading(f"Brain age {name}"))
        if found["status"] == "UNAVAILABLE":
            section.add(Note(f"Not fitted: {found['reason']}.", "missing"))
            continue
        own, settings = found["accuracy"], found["settings"]
        interval = own["mae_interval"]
        known = np.isfinite(real(interval["low"]))
        text = (
            f"Age was predicted from {number(sum(found['features'].values()))} features by "
            f"{ESTIMATORS.get(settings['estimator'], settings['estimator'])}, trained on {number(found['controls'])} controls, with "
            f"{SCHEMES.get(found['scheme'], found['scheme'])}. The raw prediction misses by {number(real(own['mae']))} years on average"
            + (f" (mean over folds {number(real(interval['mean']))}, 95 % {number(max(real(interval['low']), 0.0))} to {number(real(interval['high']))})" if known else "")
            + f"; guessing the mean age misses by {number(real(own['mae_mean_age']))}. Errors depend on the range of ages: compare "
            "them only with studies of the same range."
        )  # fmt: skip
        section.add(Prose([text]), _schemes(found))
        if real(own["r2"]) <= 0:
            section.add(
                Note(
                    "The prediction is no better than guessing the mean age: its gaps say nothing about brains.",
                    "warn",
                )
            )
        rows = table(study.inputs.find("brainage_table", model=name))
        keys = ["participant_id", "session_id", "group"]
        rows = rows.groupby(keys, dropna=False, sort=True).mean(numeric_only=True).reset_index()
        section.add(
            study.gallery.show(
                ages_figure(rows, found["age_bands"]),
                f"study_brainage-{name}_ages.png",
                f"Predicted age and gaps of brain age {name} against age.",
                f"Brain age {name}: raw held-out predictions with the line of identity (left); raw gaps, which fall with age by "
                "regression to the mean (middle); gaps after a correction that contains the true age (right). Squares: means by age "
                "with 95 % intervals.",
            )
        )
        line = found["bias_line"]
        section.add(
            Note(
                f"Gaps are corrected by lines of age (mean slope {number(real(line['slope']))}, intercept "
                f"{number(real(line['intercept_years']), 1)} years) that were fitted to held-out predictions of the training controls of "
                "every fold. No accuracy of corrected predictions is given: they contain the true age, and noise would look accurate "
                "(Butler et al. 2021, de Lange et al. 2022)."
            )
        )
        if found.get("gap_tests_reason"):
            section.add(Note(f"Gaps are not compared: {found['gap_tests_reason']}.", "missing"))
        section.add(*[block for block in (_tests(found), *_retest(found)) if block is not None])
        section.add(Fold("Gaps by age", [_bands(found)]))
        patterns = table(study.inputs.find("brainage_patterns", model=name))
        shown = found["patterns"]
        caution = (
            ""
            if shown["reliable"]
            else " With fewer than 500 people such patterns are unreliable (Chen et al. 2023)."
        )
        section.add(
            study.gallery.show(
                pattern_figure(patterns),
                f"study_brainage-{name}_patterns.svg",
                f"Features that go with the predicted age of brain age {name}.",
                f"Brain age {name}: the {min(DRAWN, len(patterns))} features of {len(patterns)} that go with the predicted age most (Haufe "
                f"patterns). Patterns of different folds correlate {number(real(shown['stability']))} on average.{caution}",
            )
        )
        audit.add(section, {"audit": found["audit"]}, str, "MAE")
