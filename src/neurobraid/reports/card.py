"""The card of a model: what it is for, what it was made from, how well it did, and what speaks against it. Names nobody."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from neurobraid import __version__
from neurobraid.files import read_json, write_json
from neurobraid.provenance import sidecar
from neurobraid.reports import figures, run_record
from neurobraid.reports.pages import (
    Cell,
    Flow,
    Fold,
    Gallery,
    Heading,
    Note,
    Numbers,
    Page,
    Prose,
    Section,
    Table,
    number,
    write,
)
from neurobraid.reports.study import FEATURE_SETS, METRICS, interval, of_set, plural, real

USE = (
    "Research on groups: to test whether these measures carry information about the target, in people like those of "
    "the study. It is not for clinical use: it is no diagnosis, no prognosis and no reason for or against a treatment of "
    "anybody."
)
#: Checks of the audit whose texts may name people.
CHECKS = ("near-duplicate rows", "unusually similar rows", "rows of one")
#: People below which numbers of a model show that it runs and little else.
FEW = 100


def card(summary, stored=None, box=None):
    """Content of a card, from what the stage prediction wrote.

    Parameters
    ----------
    summary : dict
        ``model-…_summary.json``.
    stored : dict, optional
        Sidecar of the stored model.
    box : dict, optional
        ``model-…_lockbox.json``.

    Returns
    -------
    dict
        Plain JSON; no participant is in it. Texts of the audit that could name people are left out.
    """
    settings = summary.get("settings", {})
    kept = (stored or {}).get("Model", {})
    fitted = summary.get("status") != "UNAVAILABLE"
    main = summary.get("main_set")
    primary = summary.get("primary_metric")
    content = {
        "name": summary["name"],
        "status": summary.get("status"),
        "reason": summary.get("reason", ""),
        "intended_use": USE,
        "target": {
            "column": settings.get("target"),
            "kind": settings.get("kind"),
            "classes": summary.get("classes", []),
        },
        "data": {
            "table": settings.get("table"),
            "participants": summary.get("participants"),
            "class_counts": summary.get("class_counts", {}),
            "flow": summary.get("flow", []),
            "folds": summary.get("folds"),
        },
        "features": summary.get("features", {}),
        "units": {k: v for record in kept.get("features", []) for k, v in record["units"].items()},
        "settings": settings,
        "chosen": summary.get("chosen", {}),
        "primary_metric": primary,
        "main_set": main,
        "interval": summary.get("interval"),
        "metrics": summary.get("metrics", {}),
        "permutation": summary.get("permutation"),
        "added_value": summary.get("added_value"),
        "calibration": summary.get("calibration"),
        "slices": summary.get("slices", []),
        "confounds_posthoc": summary.get("posthoc_confounds"),
        "audit": [
            {key: check.get(key) for key in ("check", "status", "value", "limit")}
            | {"text": None if check["check"].startswith(CHECKS) else check.get("text")}
            for check in (summary.get("audit") or {}).get("checks", [])
        ],
        "harmonisation": _harmonisation(settings, summary),
        "out_of_distribution": summary.get("ood"),
        "plan": summary.get("plan"),
        "profile": settings.get("profile"),
        "lockbox": box
        and {
            key: box[key]
            for key in (
                "People",
                "Rows",
                "ClassCounts",
                "Metrics",
                "P",
                "Opening",
                "CrossValidation",
                "UnlikeTraining",
            )
        },
        "stored": {
            "sha256": stored["Sha256"],
            "training": kept.get("training"),
            "atlas": kept.get("atlas"),
            "code": kept.get("code"),
            "versions": kept.get("versions"),
        }
        if stored and fitted
        else None,
        "versions": run_record.versions(("numpy", "scipy", "pandas", "scikit-learn")),
    }
    content["limits"] = limits(content) if fitted else []
    return content


def _harmonisation(settings, summary):
    wanted = settings.get("harmonize")
    if not wanted:
        return None
    fitted = summary.get("harmonization") or {}
    methods = sorted({part.get("method", "") for part in fitted.values() if isinstance(part, dict)})
    return {
        "method": methods[0] if methods else "",
        "unseen": wanted["unseen"],
        "covariates": wanted.get("covariates", []),
        "transductive": wanted["unseen"] == "unlabelled",
    }


def limits(content):
    """What speaks against a model, in sentences; from the numbers of the card.

    Parameters
    ----------
    content : dict
        From `card`.

    Returns
    -------
    list of str
    """
    out = []
    settings, metric = content["settings"], content["primary_metric"]
    people = int(content["data"]["participants"] or 0)
    label, chance = METRICS.get(metric, (metric, None))[:2]
    if people < FEW:
        out.append(
            f"{people} participants: accuracy estimates from fewer than {FEW} people are off by ten points or more "
            "(Varoquaux 2018). The numbers show that the model runs."
        )
    elif people < 500:
        out.append(
            f"{people} participants: which features matter is not stable below about 500 people (Chen et al. 2023), "
            "though scores may be."
        )
    main = content["metrics"].get(content["main_set"], {}).get(metric)
    if main and chance is not None:
        _, low, high = interval(main, metric)
        if np.isfinite(low) and low <= chance <= high:
            out.append(f"The interval of {label} includes {chance:g}: compatible with no information at all.")
    flags = [c["check"] for c in content["audit"] if c["status"] == "flag"]
    if flags:
        out.append(
            f"The leakage audit found what could explain the score besides the brain: {'; '.join(flags)}."
        )
    harmonised = content["harmonisation"]
    if harmonised and harmonised["transductive"]:
        out.append(
            "Unseen sites are harmonised from the people who are tested, without their labels (transductive): scores "
            "hold for whole groups of a site, not for a person who comes alone."
        )
    slope = real((content["calibration"] or {}).get("slope"))
    if np.isfinite(slope) and not 0.7 <= slope <= 1.4:
        word = "too extreme" if slope < 1 else "too timid"
        out.append(
            f"Probabilities are {word} (calibration slope {number(slope)}): do not read them as risks."
        )
    if content["profile"] != "confirmatory":
        out.append("Exploratory: no plan was locked before the model was run.")
    elif not content["lockbox"]:
        out.append("Confirmatory by cross-validation; no lockbox was opened.")
    plan = content["plan"] or {}
    if plan.get("replaced"):
        reasons = "; ".join(entry["reason"] for entry in plan["replaced"])
        out.append(f"The plan was locked anew {plural(len(plan['replaced']), 'time')}: {reasons}.")
    if content["lockbox"] and content["lockbox"]["Opening"]["Number"] > 1:
        reasons = "; ".join(content["lockbox"]["Opening"]["Reasons"])
        out.append(
            f"The lockbox was opened {content['lockbox']['Opening']['Number']} times ({reasons}): its score is no longer "
            "that of people whom nobody had looked at."
        )
    if settings.get("table") == "cohort":
        out.append("The people are invented: the built-in table-only cohort.")
    out.append(
        "Scores hold for people like those of the study: same scanners, tracers, preprocessing, age range and share of classes."
    )
    return out


def write_card(summary, page, content, figures_dir, *, model=(), lockbox=()):
    """Write the card of one model as a page and as JSON.

    Parameters
    ----------
    summary : path-like
    page, content, figures_dir : path-like
        HTML page, JSON, folder of its figures.
    model, lockbox : path-like, optional
        Sidecar of the stored model, result of the lockbox.
    """
    stored, box = (read_json(path) if path else None for path in (model, lockbox))
    found = card(read_json(summary), stored, box)
    sources = [p for p in (summary, model, lockbox) if p]
    write_json(sidecar("Card of one predictive model.", sources, **found), content)
    gallery = Gallery(figures_dir, page)
    sections = _Card(found, gallery).sections()
    goal = found["target"]["column"]
    write(
        Page(
            title=f"Model card: {found['name']}",
            subtitle=f"Predicts {goal}. For research on groups, not for clinical use.",
            kind="card",
            sections=sections,
            links=[
                ("Study report", "index.html#prediction"),
                ("Page of the model", f"model-{found['name']}.html"),
                ("This card as JSON", _beside(content, page)),
            ],
            footer=f"neurobraid {__version__}. This card names nobody.",
        ),
        page,
    )


def _beside(path, page):
    """Link from a page to a file elsewhere in the study."""
    return Path(os.path.relpath(path, Path(page).parent)).as_posix()


def _source(record):
    """What a feature set is made of: modalities of the table, series of an atlas, or maps."""
    if record.get("series"):
        return f"series of {record['series']}"
    if record.get("maps"):
        return f"maps ({record['maps']})"
    return ", ".join(record.get("modality") or [])


def _measures(record):
    named = record.get("measure") or []
    return named if isinstance(named, str) else ", ".join(named) or "all"


class _Card:
    """Builds the sections of a card."""

    def __init__(self, content, gallery):
        self.c, self.gallery = content, gallery
        self.metric = content["primary_metric"]
        self.label, self.chance = METRICS.get(self.metric, (self.metric, None))[:2]

    def sections(self):
        """All sections in order."""
        out = [self._use()]
        if self.c["status"] == "UNAVAILABLE":
            return out
        return [
            *out, self._performance(), self._data(), self._learner(), self._subgroups(), self._audit(),
            self._distance(), self._plan(), self._provenance(),
        ]  # fmt: skip

    @staticmethod
    def _named(name):
        return FEATURE_SETS.get(name, name)

    def _value(self, score, metric=None):
        mean, low, high = interval(score, metric or self.metric)
        return number(mean) + (f" [{number(low)}, {number(high)}]" if np.isfinite(low) else "")

    def _use(self):
        c = self.c
        section = Section("use", "Intended use and limits")
        section.add(Note(c["intended_use"], "warn"))
        if c["status"] == "UNAVAILABLE":
            return section.add(Note(f"Not fitted: {c['reason']}.", "missing"))
        main, box = c["metrics"][c["main_set"]][self.metric], c["lockbox"]
        mean, low, high = interval(main, self.metric)
        span = f"95 % interval {number(low)} to {number(high)}" if np.isfinite(low) else ""
        items = [(number(mean), f"{self.label}, cross-validated", span)]
        if box:
            found = box["Metrics"][self.metric]
            items.append(
                (
                    number(real(found["value"])),
                    f"{self.label}, lockbox",
                    f"95 % interval {number(real(found['low']))} to {number(real(found['high']))}",
                )
            )
        p = of_set((c["permutation"] or {}).get("p"), c["main_set"])
        if np.isfinite(p):
            items.append(
                (number(p, 3), "permutation p", plural(int(c["permutation"]["count"]), "permutation"))
            )
        items.append(
            (number(c["data"]["participants"]), "participants", self._counts(c["data"]["class_counts"]))
        )
        flags = sum(check["status"] == "flag" for check in c["audit"])
        items.append((str(flags), "flags of the audit", f"{len(c['audit'])} checks"))
        return section.add(Numbers(items), Heading("Limits"), Prose(c["limits"], numbered=True))

    @staticmethod
    def _digest(value):
        """The start of a digest; all of it is in the JSON, and shown when pointed at."""
        return Cell(value[:16], title=value)

    @staticmethod
    def _counts(counts):
        return ", ".join(f"{count} {name}" for name, count in counts.items())

    def _performance(self):
        c, section = self.c, Section("performance", "Performance")
        metrics = c["metrics"]
        order = [n for n in metrics if n not in FEATURE_SETS]
        order += [n for n in FEATURE_SETS if n in metrics and n not in ("demographics", "dummy")]
        order += [n for n in ("demographics", "dummy") if n in metrics]
        rows = [
            {
                "name": self._named(n),
                **dict(
                    zip(("value", "low", "high"), interval(metrics[n][self.metric], self.metric), strict=True)
                ),
                "kind": "baseline" if n in ("dummy", "demographics") else "model",
            }
            for n in order
            if self.metric in metrics[n]
        ]
        if c["lockbox"]:
            found = c["lockbox"]["Metrics"][self.metric]
            values = {key: real(found[key]) for key in ("value", "low", "high")}
            rows.append({"name": "lockbox", **values, "kind": "model"})
        section.add(
            self.gallery.show(
                figures.scores(rows, label=self.label, chance=self.chance),
                "card_scores.svg",
                f"{self.label} of {len(rows)} feature sets with 95 % intervals.",
                f"{self.label} of every feature set on identical folds, mean over folds with its 95 % interval "
                f"({c['interval']}). Diamonds are baselines."
                + (" The lockbox holds people whom nothing had seen." if c["lockbox"] else ""),
            )
        )
        kinds = [m for m in METRICS if any(m in metrics[n] for n in order)]
        heads = ["Feature set", *(METRICS[m][0] for m in kinds)]
        body = [
            [self._named(n), *(self._value(metrics[n][m], m) if m in metrics[n] else "–" for m in kinds)]
            for n in order
        ]
        section.add(
            Table(heads, body, "Cross-validated scores with 95 % intervals.", numeric=tuple(heads[1:]))
        )
        found = c["calibration"]
        if found:
            heads = ["Slope", "Intercept", "Brier score"]
            values = [number(real(found[key]), 3) for key in ("slope", "intercept", "brier")]
            section.add(
                Table(
                    heads, [values],
                    "Calibration of held-out probabilities: slope 1 and intercept 0 are perfect, a slope below 1 is too extreme.",
                    numeric=tuple(heads),
                )
            )  # fmt: skip
        added = c["added_value"] or []
        if added:
            heads = ["Added", "To", f"Difference in {self.label} [95 %]", "p"]
            body = [
                [
                    ", ".join(map(self._named, one["added"])),
                    ", ".join(map(self._named, one["to"])),
                    f"{number(real(one['difference']), 3)} [{number(real(one['low']))}, {number(real(one['high']))}]",
                    number(real(one["p"]), 3),
                ]
                for one in added
            ]
            text = "What each kind of data adds on the same folds; corrected resampled t-test."
            section.add(Table(heads, body, text, numeric=tuple(heads[2:])))
        return section

    def _data(self):
        c, section = self.c, Section("data", "Data and exclusions")
        flow, steps, before = c["data"]["flow"], [], None
        for step in flow:
            left = int(step["left"])
            lost = [f"{before - left} left out"] if before is not None and left < before else []
            steps.append((str(left), step["step"], lost))
            before = left
        if steps:
            section.add(Flow(steps))
        folds = c["data"]["folds"]
        rows = [
            ["Classes", self._counts(c["data"]["class_counts"]) or "a number"],
            ["Splits", str(c["settings"].get("splits", "kfold"))],
            ["Rows kept together", str(c["settings"].get("groups"))],
            [
                "Folds",
                f"{folds['outer']} outer, {folds['inner']} inner, {plural(int(folds['repeats']), 'repeat')}",
            ],
            ["Digest of the folds", self._digest(folds["sha256"])],
        ]
        return section.add(Table(["What", "Value"], rows, "Data and splits.", compact=True))

    def _learner(self):
        c, section = self.c, Section("learner", "Features and learner")
        s = c["settings"]
        records = {record["name"]: record for record in s.get("features", [])}
        rows = [
            [
                name,
                _source(records.get(name, {})),
                _measures(records.get(name, {})),
                number(count),
                ", ".join(f"{float(k):g} ({v}x)" for k, v in c["chosen"].get(name, {}).items()) or "–",
            ]
            for name, count in c["features"].items()
        ]
        section.add(
            Table(
                ["Feature set", "Modality", "Measures", "Features", "Chosen by inner folds"],
                rows,
                "Feature sets, and the value of the grid that inner folds chose in how many outer folds.",
                numeric=("Features",),
            )
        )
        harmonised = c["harmonisation"]
        text = "none"
        if harmonised:
            text = f"{harmonised['method']}; preserved: {', '.join(harmonised['covariates']) or 'nothing'}"
            text += f"; a site without training people: {harmonised['unseen']}"
            text += " (transductive)" if harmonised["transductive"] else ""
        section.add(
            Table(
                ["Setting", "Value"],
                [
                    ["Learner", str(s.get("estimator"))],
                    ["Grid", ", ".join(f"{v:g}" for v in s.get("grid", []))],
                    ["Fusion", ", ".join(s.get("fusion", []))],
                    ["Missing modalities", str(s.get("missing_modality"))],
                    ["Confounds removed in the fold", ", ".join(s.get("confounds", [])) or "none"],
                    ["Harmonisation in the fold", text],
                    ["Seed", str(s.get("seed"))],
                ],
                "Settings.",
                compact=True,
            )
        )
        if harmonised and harmonised["transductive"]:
            section.add(
                Note("Unseen sites are harmonised from the people tested, without their labels.", "warn")
            )
        return section

    def _subgroups(self):
        section = Section(
            "subgroups", "Subgroups", "Held-out scores of groups of people, given these models."
        )
        rows = [
            [
                f"{s['column']}: {s['level']}",
                number(s["people"]),
                number(real(s["value"]))
                + (
                    f" [{number(real(s['low']))}, {number(real(s['high']))}]"
                    if np.isfinite(real(s["low"]))
                    else ""
                ),
            ]
            for s in self.c["slices"]
        ]
        if not rows:
            return section.add(
                Note("No site, age or sex is known by which people could be grouped.", "missing")
            )
        # regressions report another score by group than in all
        metric = self.c["slices"][0].get("metric", self.metric)
        heads = ["Group", "People", METRICS.get(metric, (metric,))[0]]
        return section.add(Table(heads, rows, "Scores with bootstrap intervals.", numeric=tuple(heads[1:])))

    def _audit(self):
        section = Section("audit", "Leakage audit")
        checks = self.c["audit"]
        flags = [check for check in checks if check["status"] == "flag"]
        if flags:
            section.add(
                Note(
                    "Look at these before believing the score: " + "; ".join(f["check"] for f in flags) + ".",
                    "warn",
                )
            )
        rows = [
            [
                Cell(c["check"][:1].upper() + c["check"][1:], note=c["text"] or self._unnamed(c["status"])),
                Cell(
                    {
                        "ok": "nothing\N{NO-BREAK SPACE}found",
                        "flag": "look\N{NO-BREAK SPACE}at\N{NO-BREAK SPACE}this",
                    }.get(c["status"], c["status"]),
                    tone={"ok": "good", "flag": "bad"}.get(c["status"], "mute"),
                ),
                number(real(c["value"])) if c["value"] is not None else "–",
            ]
            for c in checks
        ]
        heads = ["Check", "Result", "Value"]
        return section.add(Table(heads, rows, "Every check of the audit.", numeric=("Value",)))

    @staticmethod
    def _unnamed(status):
        return "Who they are is on the study page." if status == "flag" else "None."

    def _distance(self):
        found = self.c["out_of_distribution"]
        section = Section(
            "distance",
            "People unlike the training people",
            "Distance in the space that the learner sees: within the leading components of the training people, and from them. "
            "The limit lets 97.5 % of held-out training people pass.",
        )
        if not found or not found["people"]:
            return section.add(Note("Not estimated.", "missing"))
        share = f"{number(100 * real(found['share']), 1)} %"
        section.add(
            Prose(
                [
                    f"In the outer folds {found['flagged']} of {found['people']} people ({share}) are beyond the limit; {number(100 * real(found['expected']), 1)} % are expected where folds are alike."
                ]
            )
        )
        sites = any(part["site"] for part in found["folds"])
        heads = ["Outer fold", *(["Site"] if sites else []), "People", "Beyond the limit"]
        rows = [
            [
                str(p["fold"]),
                *([p["site"] or "several"] if sites else []),
                number(p["people"]),
                number(p["flagged"]),
            ]
            for p in found["folds"]
        ]
        return section.add(
            Fold("By outer fold", [Table(heads, rows, "Distance by outer fold.", numeric=tuple(heads[-2:]))])
        )

    def _plan(self):
        c, section = self.c, Section("plan", "Plan and lockbox")
        plan, box = c["plan"], c["lockbox"]
        if not plan:
            return section.add(
                Note(
                    "Exploratory: no plan was locked before the run, and nobody was held back in a lockbox.",
                    "info",
                )
            )
        rows = [
            ["Plan", self._digest(plan["digest"])],
            ["Code", self._digest(plan["code"])],
            *[[f"Data: {part}", self._digest(value)] for part, value in plan["data"].items()],
            ["Lockbox", f"{plan['lockbox']['people']} people" if plan["lockbox"]["people"] else "none"],
        ]
        section.add(
            Note("The plan was locked before the run, and settings, code and data agreed with it."),
            Table(["What", "Digest"], rows, "The locked plan.", compact=True),
        )
        for entry in plan["replaced"]:
            section.add(Note(f"Locked anew: {entry['reason']} ({entry['changes']}).", "warn"))
        if not box:
            if plan["lockbox"]["people"]:
                section.add(Note("The lockbox is shut.", "info"))
            return section
        opening = box["Opening"]
        if opening["Number"] > 1:
            text = f"Opened {opening['Number']} times. Reasons: {'; '.join(opening['Reasons'])}."
            section.add(Note(text, "warn"))
        heads = ["Metric", "Lockbox", "Cross-validation"]
        main = c["metrics"][c["main_set"]]
        body = [
            [
                METRICS.get(name, (name,))[0],
                f"{number(real(value['value']))} [{number(real(value['low']))}, {number(real(value['high']))}]",
                self._value(main[name], name) if name in main else "–",
            ]
            for name, value in box["Metrics"].items()
        ]
        section.add(
            Table(
                heads, body,
                f"Score of the {box['People']} people of the lockbox ({self._counts(box['ClassCounts']) or 'a number'}) "
                f"beside the cross-validation of the others; permutation p {number(real(box['P']), 3)}; "
                f"{box['UnlikeTraining']} of them unlike the training people.",
                numeric=tuple(heads[1:]),
            )
        )  # fmt: skip
        return section

    def _provenance(self):
        c, section = self.c, Section("provenance", "Stored model and versions")
        stored = c["stored"]
        if stored:
            training = stored["training"]
            atlas = stored["atlas"] or {}
            rows = [
                ["SHA-256 of the file", self._digest(stored["sha256"])],
                [
                    "Trained on",
                    f"{training['people']} people ({self._counts(training['class_counts']) or 'a number'})",
                ],
                [
                    "Atlas",
                    f"{atlas['name']} {atlas['sha256'][:12]}" if atlas else "none: a table without an atlas",
                ],
                ["Code", self._digest(str(stored["code"]))],
                *[[f"{name} at training", version] for name, version in stored["versions"].items()],
            ]
            section.add(
                Table(["What", "Value"], rows, "The stored model, for `neurobraid predict`.", compact=True)
            )
        else:
            section.add(Note("The model is not stored (save: false).", "info"))
        section.add(
            Table(
                ["Software", "Version"], [[k, v] for k, v in c["versions"].items()], "Software.", compact=True
            )
        )
        return section
