"""The leakage audit, the nested comparison and the post-hoc test of a model on the study page."""

import numpy as np

from neurobraid.reports.pages import Fold, Heading, Note, Prose, Table, number
from neurobraid.reports.targets import METRICS


def add(section, model, named, label):
    """Add what a model's summary says about added value and leakage.

    Parameters
    ----------
    section : neurobraid.reports.pages.Section
    model : dict
        Summary of the stage prediction; what it lacks is left out.
    named : callable
        Readable name of a feature set.
    label : str
        Readable name of the primary metric.
    """
    if model.get("added_value"):
        section.add(_added(model, named, label))
    if model.get("posthoc_confounds"):
        section.add(_posthoc(model["posthoc_confounds"], named))
    if model.get("slices"):
        section.add(_slices(model["slices"]))
    if model.get("audit"):
        _audit(section, model["audit"], label)


#: Score of subgroups in words.
WORDS = {"auc": "AUC", "mae": "Mean absolute error", **{k: v[0] for k, v in METRICS.items()}}


def real(value):
    """Number from JSON, where missing is ``n/a`` or null."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _range(found, digits=2):
    low, high = real(found.get("low")), real(found.get("high"))
    return f" [{number(low, digits)}, {number(high, digits)}]" if np.isfinite(low) else ""


def _p(value):
    value = real(value)
    return "–" if not np.isfinite(value) else number(value, 3)


def _added(model, named, label):
    heads = ["Added", "To", f"{label} without", f"{label} with", "Difference [95 %]", "p", "Permutation p"]
    rows = [
        [
            ", ".join(named(n) for n in one["added"]),
            ", ".join(named(n) for n in one["to"]),
            number(real(one["without"]["mean"])),
            number(real(one["with"]["mean"])),
            number(real(one["difference"]), 3) + _range(one, 3),
            _p(one["p"]),
            _p(one["permutation_p"]),
        ]
        for one in model["added_value"]
    ]
    return Table(
        heads,
        rows,
        "What does each kind of data add? The same folds and learner with and without it, scores averaged after "
        "standardisation. p by the corrected resampled t-test (two-sided); permutation p with only the added data "
        "permuted (one-sided).",
        numeric=tuple(heads[2:]),
    )


def _posthoc(found, named):
    heads = ["Feature set", "Explained", "by confounds", "by both", "Unique to the prediction", "p"]
    rows = [
        [
            named(name),
            *(number(real(one[k]), 3) for k in ("prediction", "confounds", "both", "unique")),
            _p(one["p"]),
        ]
        for name, one in found["sets"].items()
    ]
    return Table(
        heads,
        rows,
        "Share of the target explained by held-out predictions and by what may disturb them "
        f"({', '.join(found['columns'])}), after the fact (Dinga et al. 2020).",
        numeric=tuple(heads[1:]),
    )


def _slices(found):
    # regressions report another score by group than in all
    heads = ["Group", "People", WORDS.get(found[0]["metric"], found[0]["metric"])]
    rows = [
        [f"{s['column']}: {s['level']}", str(s["people"]), number(real(s["value"])) + _range(s)]
        for s in found
    ]
    return Fold(
        "Scores of subgroups",
        [
            Table(
                heads,
                rows,
                "Held-out scores of subgroups with bootstrap intervals, given these models.",
                numeric=tuple(heads[1:]),
            )
        ],
    )


def _told(checks):
    """What a reader must know even when nothing was found: the control of a flexible learner."""
    texts = [c["text"] for c in checks if c.get("shown") and c["status"] != "flag"]
    head = (
        "A learner that is no weighted sum can read back what the removal of confounds writes into features: "
    )
    return [Prose([head + " ".join(texts)])] if texts else []


def _audit(section, audit, label):
    flags = [c for c in audit["checks"] if c["status"] == "flag"]
    section.add(Heading("Leakage audit"))
    if flags:
        text = "The audit names what could explain this score besides the brain: "
        section.add(Note(text + "; ".join(c["check"] for c in flags) + ".", "warn"))
        section.add(Prose([f"{c['check'][:1].upper()}{c['check'][1:]}: {c['text']}" for c in flags]))
    else:
        section.add(Prose([f"{len(audit['checks'])} checks, none of which found anything."]))
    section.add(*_told(audit["checks"]))
    schemes = audit.get("schemes") or {}
    if schemes.get("leave_one_site_out") is not None:
        heads = [f"{label} within the pool", "with every site left out once", "among people of one site"]
        keys = ("within_pool", "leave_one_site_out", "within_site")
        section.add(
            Table(
                heads,
                [[number(real(schemes.get(k))) for k in keys]],
                "Three ways to split.",
                numeric=tuple(heads),
            )
        )
    heads = ["Check", "Result", "Value", "Limit", "What was found"]
    rows = [
        [
            c["check"][:1].upper() + c["check"][1:],
            {"ok": "nothing found", "flag": "look at this"}.get(c["status"], c["status"]),
            number(real(c["value"])) if c["value"] is not None else "–",
            number(real(c["limit"])) if c["limit"] is not None else "–",
            c["text"],
        ]
        for c in audit["checks"]
    ]
    section.add(
        Fold(
            "All checks of the audit",
            [Table(heads, rows, "Every check of the audit.", numeric=("Value", "Limit"))],
        )
    )
