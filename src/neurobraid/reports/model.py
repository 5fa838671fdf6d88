"""The page of one model: who is in it, how well it predicts whom, what it rests on, and what the audit found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neurobraid import __version__
from neurobraid.files import read_json, write_json
from neurobraid.reports import audit, connectome, figures, model_figures, run_record, targets
from neurobraid.reports.gather import Inputs, json_of, sidecar_of, table
from neurobraid.reports.pages import (
    Cell,
    Fold,
    Gallery,
    Note,
    Numbers,
    Page,
    Prose,
    Section,
    Table,
    number,
    write,
)
from neurobraid.reports.participant import _template, template_brain
from neurobraid.reports.planes import Volume, distance_from
from neurobraid.reports.study import (
    BASELINES,
    FEATURE_SETS,
    METRICS,
    in_words,
    interval,
    main_set,
    of_set,
    real,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Section ids, titles and leads, in order.
SECTIONS = (
    ("summary", "Summary", ""),
    ("people", "People and splits", "From everyone to those in the model, and who was tested on whom."),
    ("performance", "Performance", "All feature sets and baselines on identical folds."),
    ("predictions", "Predictions", ""),
    ("added", "What each kind of data adds", ""),
    ("learning", "How many people it needs", ""),
    ("groups", "For whom it works", ""),
    ("rests", "What it rests on", ""),
    ("audit", "Leakage audit", "What could explain the score besides the brain."),
    ("choices", "Settings", ""),
)
#: Regions of a set drawn in the figure of importance.
DRAWN = 12
#: Different values of a map above which the stronger half is shown, and the share of the largest from which on otherwise.
FEW, LEAST = 20, 0.1


def write_model_page(inputs: Mapping, *, page, figures_dir, record, config: Mapping) -> None:
    """Write the page of one model, its figures and the checksums of the files behind it.

    Parameters
    ----------
    inputs : mapping of str to path or list of paths
        ``summary``, ``predictions``, ``importance``, ``pattern``; ``maps``, ``map_tables``, ``atlas_tables`` and
        ``participants_json`` where there are any.
    page, figures_dir, record : path-like
        Outputs.
    config : mapping
        The study's settings.
    """
    files = Inputs(inputs)
    job = _Model(files, Gallery(figures_dir, page), config)
    checked = run_record.checksums(files.everything())
    sections = []
    for name, title, lead in SECTIONS:
        section = Section(name, title, lead)
        if name in ("summary", "people", "choices") or job.fitted:
            getattr(job, name)(section)
        if section.blocks:
            sections.append(section)
    write_json({"model": job.name, "files": checked}, record)
    write(
        Page(
            title=f"Model {job.name}",
            subtitle=f"{job.goal()} · {config.get('title') or 'study'}",
            kind="model",
            sections=sections,
            links=[("← Study report", "index.html")],
            footer=f"neurobraid {__version__}. Left is shown on the left. Positions are in mm (MNI152). A research result, not for "
            "clinical use.",
        ),
        page,
    )


def _named(name: str) -> str:
    return FEATURE_SETS.get(name, name)


def _ranged(mean, low, high, digits=2) -> str:
    return number(mean, digits) + (
        f" [{number(low, digits)}, {number(high, digits)}]" if np.isfinite(low) and np.isfinite(high) else ""
    )


class _Model:
    """Builds the sections of a model's page; one method per section id."""

    def __init__(self, inputs, gallery, config):
        self.inputs, self.gallery, self.config = inputs, gallery, config
        self.model = read_json(inputs.all("summary")[0])
        self.name, self.settings = self.model["name"], self.model.get("settings", {})
        self.main = main_set(self.model)
        self.fitted = self.main is not None
        self.primary = self.model.get("primary_metric", "")
        self.label, self.chance = METRICS.get(self.primary, (self.primary, None))
        self.classes = [str(c) for c in self.model.get("classes") or []]
        self.stem = f"model-{self.name}"

    def goal(self) -> str:
        """What is predicted from what."""
        sets = ", ".join(record["name"] for record in self.settings.get("features", []))
        target = self._with_unit(str(self.settings.get("target", "")))
        kinds = f" ({self.classes[1]} against {self.classes[0]})" if len(self.classes) == 2 else ""
        return f"{target}{kinds} from {sets}"

    def _with_unit(self, column):
        path = next(iter(self.inputs.all("participants_json")), None)
        found = json_of(path).get(column, {}) if path else {}
        unit = found.get("Units") if isinstance(found, dict) else None
        return f"{column} ({unit})" if unit else column

    def _score(self, name):
        return interval(self.model["metrics"][name][self.primary], self.primary)

    # ----------------------------------------------------------------- summary

    def summary(self, section):
        """Headline numbers, the result in words, and what to know first."""
        model = self.model
        if not self.fitted:
            section.add(Note(f"Not fitted: {model.get('reason')}.", "missing"))
            return
        mean, low, high = self._score(self.main)
        items = [(number(int(model["participants"])), "people", _counts(model))]
        items.append(
            (
                number(mean),
                f"{self.label}, {_named(self.main)}",
                f"95 % interval {number(low)} to {number(high)}",
            )
        )
        p = of_set((model.get("permutation") or {}).get("p"), self.main)
        if np.isfinite(p):
            items.append(
                (number(p, 3), "permutation p", f"{model['permutation']['count']} permutations with refit")
            )
        schemes = (model.get("audit") or {}).get("schemes") or {}
        lost = real(schemes.get("leave_one_site_out"))
        if np.isfinite(lost):
            items.append((number(lost), f"{self.label} on sites left out", ""))
        flags = (model.get("audit") or {}).get("flags") or []
        items.append((str(len(flags)), "found by the audit", "read them first" if flags else "nothing"))
        section.add(Numbers(items), Prose([in_words(model, self.main, self.label, self.chance)]))
        targets.add_remarks(section, model)
        if self.settings.get("table") == "cohort":
            section.add(
                Note(
                    f"This model reads the built-in table of {model.get('participants')} invented people, not the participants of "
                    "this study: it shows what the models can do with enough people."
                )
            )
        if model.get("reason"):
            section.add(Note(model["reason"], "warn"))
        for text in model.get("warnings", []):
            section.add(Note(text, "warn"))
        if flags:
            section.add(
                Note(
                    "The audit names what could explain this score besides the brain: "
                    + "; ".join(flags)
                    + ".",
                    "warn",
                )
            )

    # ------------------------------------------------------------------ people

    def people(self, section):
        """Cohort flow diagram and splits."""
        model = self.model
        steps = [(str(s["step"]), int(s["left"])) for s in model.get("flow") or []]
        if steps:
            counts = model.get("class_counts") or {}
            last = [f"{number(int(n))} {name}" for name, n in counts.items()]
            if self.fitted and not last:
                last = [f"{number(int(model['rows']))} rows in the model"]
            section.add(
                self.gallery.show(
                    model_figures.flow(steps, last),
                    f"{self.stem}_flow.svg",
                    f"Flow of people: {'; '.join(f'{n} {w}' for w, n in steps)}.",
                    f"Model {self.name}: people from the table to the model; on the right how many left and why. "
                    + ("Below: rows of every class." if counts else ""),
                )
            )
        if not self.fitted:
            return
        folds, settings = model["folds"], self.settings
        scheme = {
            "kfold": "repeated folds of whole groups, stratified",
            "leave-one-group-out": "every group left out once",
            "within-site": "training and test people of one site",
        }.get(settings.get("splits"), settings.get("splits"))
        rows = [
            ["Scheme", scheme],
            ["Groups that stay together, at both levels", settings.get("groups", "")],
            ["Outer folds (test) and repeats", f"{folds['outer']} folds, {folds['repeats']} times"],
            ["Inner folds (tuning, calibration, fusion)", str(folds["inner"])],
            ["Removed from the features, inside the fold", ", ".join(settings.get("confounds") or []) or "nothing"],
            ["Sites harmonised inside the fold", "yes, unseen: " + settings["harmonize"]["unseen"] if settings.get("harmonize") else "no"],
            ["People without a modality", settings.get("missing_modality", "")],
            ["Estimator", settings.get("estimator", "")],
            ["Split manifest, SHA-256", Cell(folds["sha256"][:16] + "…", title=folds["sha256"])],
        ]  # fmt: skip
        section.add(Table(["Split", "Choice"], rows, "How people were split."))

    # ------------------------------------------------------------- performance

    def performance(self, section):
        """All feature sets: figure, table, comparisons, permutation."""
        model, metrics = self.model, self.model["metrics"]
        order = [n for n in metrics if n not in FEATURE_SETS]
        order += [n for n in FEATURE_SETS if n in metrics and n not in BASELINES]
        order += [n for n in BASELINES if n in metrics]
        rows = [
            {
                "name": _named(n),
                **dict(zip(("value", "low", "high"), self._score(n), strict=True)),
                "kind": "baseline" if n in ("dummy", "demographics") else "model",
            }
            for n in order
            if self.primary in metrics[n]
        ]
        section.add(
            self.gallery.show(
                figures.scores(rows, label=self.label, chance=self.chance),
                f"{self.stem}_scores.svg",
                f"{self.label} of {len(rows)} feature sets with 95 % intervals.",
                f"{self.label} of every feature set on identical folds, mean over folds with its interval "
                f"({model.get('interval', 'corrected resampled, 95 %')}), cut to what the score can be. Diamonds are baselines.",
            )
        )
        kinds = [m for m in METRICS if any(m in metrics[n] for n in order)]
        kinds += sorted({m for n in order for m in metrics[n]} - set(METRICS))
        tested = isinstance((model.get("permutation") or {}).get("p"), dict)
        heads = ["Feature set", "Features", *(METRICS.get(m, (m,))[0] for m in kinds)] + [
            "Permutation p"
        ] * tested
        body = []
        for n in order:
            row = [
                _named(n),
                number(model.get("features", {}).get(n)) if n in model.get("features", {}) else "–",
            ]
            row += [_ranged(*interval(metrics[n][m], m)) if m in metrics[n] else "–" for m in kinds]
            if tested:
                p = model["permutation"]["p"]
                row.append(number(of_set(p, n), 3) if n in p else "–")
            body.append(row)
        section.add(Table(heads, body, "Mean over folds with 95 % interval.", numeric=tuple(heads[1:])))
        targets.add_stacking(section, model, _named)
        if model.get("comparisons"):
            heads = ["Comparison", f"Difference in {self.label} [95 %]", "p"]
            rows = [
                [
                    f"{_named(c['first'])} against {_named(c['second'])}",
                    _ranged(real(c["difference"]), real(c.get("low")), real(c.get("high")), 3),
                    number(real(c["p"]), 3),
                ]
                for c in model["comparisons"]
            ]
            words = "Does one feature set predict better than another? Corrected resampled t-test on identical folds (two-sided)."
            section.add(Table(heads, rows, words, numeric=tuple(heads[1:])))
        self._null(section)
        if model.get("posthoc_confounds"):
            section.add(audit._posthoc(model["posthoc_confounds"], _named))

    def _null(self, section):
        permuted = self.model.get("permutation") or {}
        null = np.array([real(v) for v in permuted.get("null") or []])
        observed = of_set(permuted.get("observed"), self.main)
        if np.isfinite(null).sum() < 3 or not np.isfinite(observed):
            return
        p = of_set(permuted.get("p"), self.main)
        section.add(
            self.gallery.show(
                model_figures.null_distribution(null, observed, label=self.label, chance=self.chance),
                f"{self.stem}_permutation.svg",
                f"Histogram of {len(null)} scores with permuted labels and the real score, {number(observed)}.",
                f"{_named(self.main)}: mean {self.label} over folds of {permuted['count']} studies in which "
                f"{'labels' if permuted['moved'] == 'labels' else 'the features of people'} changed places "
                f"{'within ' + permuted['blocks'] if permuted['blocks'] != 'none' else 'freely'}, every fold tuned and fitted again "
                f"({permuted['learner']}); p = {number(p, 3)}, one-sided. Their mean is {number(float(np.nanmean(null)))}.",
            )
        )

    # ------------------------------------------------------------- predictions

    def predictions(self, section):
        """ROC and precision, calibration and net benefit; or predicted against true."""
        rows = table(self.inputs.find("predictions"))
        rows = rows[rows["feature_set"] == self.main] if rows is not None else None
        if rows is None or not len(rows):
            return
        rows = rows.assign(session_id=rows["session_id"].astype(object).fillna(""))
        label = self._with_unit(str(self.settings.get("target", "target")))
        if targets.add_predictions(
            section, self.gallery, self.model, rows, named=_named(self.main), stem=self.stem, label=label
        ):
            return
        mean = rows.groupby(["participant_id", "session_id"]).agg(
            target=("target", "first"), prediction=("prediction", "mean")
        )
        if len(self.classes) == 2:
            self._classes(section, mean)
            return
        if not np.isfinite([real(v) for v in mean["target"]]).all():
            return
        section.add(
            self.gallery.show(
                figures.predicted_against_true(
                    mean["target"].to_numpy(float),
                    mean["prediction"].to_numpy(float),
                    label=label,
                ),
                f"{self.stem}_predicted.svg",
                f"Held-out predictions against true {self.settings.get('target')}.",
                f"{_named(self.main)}: held-out prediction against the true value of every person, averaged over repeats; the dashed "
                "line is identity. Predictions of a noisy model lie towards the mean: that is no error of the figure.",
            )
        )

    def _classes(self, section, mean):
        model, positive = self.model, self.classes[1]
        if model.get("curves"):
            section.add(
                self.gallery.show(
                    model_figures.roc_and_precision(model["curves"], positive=positive),
                    f"{self.stem}_roc.svg",
                    "ROC curve and precision-recall curve of held-out scores.",
                    f"{_named(self.main)}: held-out scores of all people, averaged over repeats after standardisation within each "
                    f"fold. Area under the ROC curve {number(real(model['curves']['auc']))}; average precision "
                    f"{number(real(model['curves']['average_precision']))} at a prevalence of "
                    f"{number(real(model['curves']['prevalence']))}. Pooled over folds, and so not the same as the mean over folds above.",
                )
            )
        truth = (mean["target"].astype(str) == positive).to_numpy()
        section.add(
            self.gallery.show(
                figures.calibration(
                    truth, mean["prediction"].to_numpy(float), positive=positive, negative=self.classes[0]
                ),
                f"{self.stem}_calibration.svg",
                "Calibration and held-out probabilities.",
                f"{_named(self.main)}: observed share of {positive} against predicted probability with 95 % Wilson intervals (left), "
                "and held-out probabilities of every person (right), averaged over repeats.",
            )
        )
        found = model.get("calibration")
        if found:
            heads = ["Slope", "Intercept", "Brier score", "People"]
            row = [number(real(found[k])) for k in ("slope", "intercept")]
            row += [number(real(found["brier"]), 3), number(int(found["people"]))]
            words = (
                "Calibration of held-out probabilities: slope 1 and intercept 0 are perfect; a slope below 1 means too extreme, above 1 "
                "too cautious. A Brier score of prevalence times its complement is a guess."
            )
            section.add(Table(heads, [row], words, numeric=tuple(heads)))
        if model.get("decision_curve"):
            section.add(
                self.gallery.show(
                    model_figures.decision(model["decision_curve"], positive=positive),
                    f"{self.stem}_decision.svg",
                    "Decision curve: net benefit by threshold.",
                    f"Net benefit of acting on the predicted probability of {positive} (Vickers and Elkin 2006), against acting on "
                    "everybody and on nobody: true positives less false positives weighted by the odds of the threshold. It holds at the "
                    "prevalence of this study only.",
                )
            )

    # ------------------------------------------------------------- added value

    def added(self, section):
        """Nested comparison of modalities."""
        asked = self.model.get("added_value") or []
        if not asked:
            return
        rows = []
        for one in asked:
            added, to = (", ".join(_named(n) for n in one[k]) for k in ("added", "to"))
            p = real(one["permutation_p"])
            rows.append(
                {
                    "name": f"{added} added to {to}",
                    "value": real(one["difference"]),
                    "low": real(one["low"]),
                    "high": real(one["high"]),
                    "remark": f"permutation p = {number(p, 3)}" if np.isfinite(p) else "",
                }
            )
        section.add(
            self.gallery.show(
                model_figures.forest(rows, label=f"gain in {self.label}", line=0.0, words="adds nothing"),
                f"{self.stem}_added.svg",
                "; ".join(f"{r['name']}: {number(r['value'], 3)}" for r in rows) + ".",
                f"Gain in {self.label} with and without each kind of data on the same folds, mean over folds with the corrected 95 % "
                "interval.",
            ),
            audit._added(self.model, _named, self.label),
        )

    # ---------------------------------------------------------------- learning

    def learning(self, section):
        """Learning curve."""
        curve = self.model.get("learning_curve")
        if not curve:
            section.add(
                Note(
                    "No learning curve was asked for (learning_curve: true in the model's record).", "missing"
                )
            )
            return
        points = curve["points"]
        if curve.get("ceiling") is None:
            words = "The score does not rise with the number of people over this range, so that no number needed can be given."
        else:
            words = (
                f"With {number(points[-1]['people'], 0)} training people the score is {number(points[-1]['score'])}; the fit runs to "
                f"{number(curve['ceiling'])}. Half of what is left would take about {number(round(curve['needed'], -1), 0)} training "
                "people. A fit through few points: an order of magnitude, no more."
            )
        section.add(
            self.gallery.show(
                model_figures.learning(curve, label=self.label, chance=self.chance),
                f"{self.stem}_learning.svg",
                f"{self.label} against the number of training people.",
                f"{self.label} on the same test folds with fewer people in training, mean over folds with the corrected 95 % interval, "
                "and the fit ceiling − b n^−c (ridge"
                f"{', late fusion' if len(self.settings.get('features') or []) > 1 else ''}).",
            ),
            Prose([words]),
        )

    # ------------------------------------------------------------------ groups

    def groups(self, section):
        """Scores of subgroups."""
        found = self.model.get("slices") or []
        if not found:
            return
        metric = str(found[0].get("metric", self.primary))
        label, chance = METRICS.get(metric, (metric, None))
        rows = [
            {
                "group": str(s["column"]),
                "name": str(s["level"]),
                "value": real(s["value"]),
                "low": real(s["low"]),
                "high": real(s["high"]),
                "remark": f"n = {s['people']}",
            }
            for s in _by_band(found)
        ]
        section.add(
            self.gallery.show(
                model_figures.forest(
                    rows, label=label, line=chance, words="no information" if chance is not None else ""
                ),
                f"{self.stem}_groups.svg",
                f"{label} of {len(rows)} subgroups.",
                f"{_named(self.main)}: {label} of held-out predictions within subgroups, with bootstrap 95 % intervals given these "
                "models. Groups below ten people are left out. Intervals that overlap are no proof that a model is fair.",
            ),
            audit._slices(found),
        )

    # ------------------------------------------------------------------- rests

    def rests(self, section):
        """Importance, patterns and maps."""
        found = self.model.get("importance") or {}
        if found.get("note"):
            section.add(Note(found["note"], "warn"))
        importance, pattern = (table(self.inputs.find(kind)) for kind in ("importance", "pattern"))
        if importance is not None and importance["drop"].notna().any():
            self._importance(section, importance, found)
        if pattern is not None and len(pattern):
            self._patterns(section, pattern)
        self._maps(section)

    def _importance(self, section, importance, found):
        rows, conditional = [], importance["conditional_drop"].notna().any()
        for (level, name), part in importance.groupby(["level", "feature_set"], sort=False):
            if level == "modality":
                heading = "modality"
            else:
                heading = f"{level}s, {'all feature sets' if name == 'all' else name}"
            # a region of several sets is drawn once, with all of them
            if (
                level != "modality"
                and name != "all"
                and (importance["level"].eq(level) & importance["feature_set"].eq("all")).any()
            ):
                both = importance[importance["level"].eq(level) & importance["feature_set"].eq("all")]["name"]
                if part["name"].isin(both).mean() > 0.5:
                    continue
            for row in part.head(DRAWN).to_dict("records"):
                rows.append(
                    {
                        "group": heading,
                        "name": str(row["name"]),
                        **{
                            k: float(row[c]) for k, c in (("value", "drop"), ("low", "low"), ("high", "high"))
                        },
                        "second": tuple(float(row[f"conditional_{c}"]) for c in ("drop", "low", "high"))
                        if conditional
                        else None,
                        "remark": f"{int(row['features'])} column{'s' if row['features'] > 1 else ''}",
                    }
                )
        more = (
            " Hollow: only what the rest of the features does not predict permuted, which is what the group alone knows."
            if conditional
            else ""
        )
        section.add(
            self.gallery.show(
                model_figures.forest(
                    rows, label=f"loss of {self.label}", line=0.0, words="rests on nothing here"
                ),
                f"{self.stem}_importance.svg",
                f"Loss of {self.label} when a modality, network or region is permuted.",
                f"{_named(found.get('feature_set', self.main))}: loss of {self.label} when the columns of a group change places "
                f"{found.get('permuted', '')} ({found.get('repeats')} times in every fold, no refit), mean over folds with the "
                f"corrected 95 % interval; the first {DRAWN} of each kind. Features that say the same share their importance, so that a "
                f"small loss does not mean that a region knows nothing.{more}",
            )
        )
        columns = [c for c in ("drop", "conditional_drop") if importance[c].notna().any()]
        heads = [
            "Level",
            "Feature set",
            "Group",
            "Columns",
            *(("Loss [95 %]", "Conditional loss [95 %]")[: len(columns)]),
        ]
        body = []
        for row in importance.to_dict("records"):
            values = [
                _ranged(*(float(row[k]) for k in keys), 3)
                for keys in (
                    ("drop", "low", "high"),
                    ("conditional_drop", "conditional_low", "conditional_high"),
                )[: len(columns)]
            ]
            body.append(
                [
                    str(row["level"]),
                    str(row["feature_set"]),
                    str(row["name"]),
                    number(int(row["features"])),
                    *values,
                ]
            )
        body, cut = body[:150], len(body)
        note = (
            f"The first {len(body)} of {cut}; the file desc-importance_table.tsv has all."
            if cut > len(body)
            else ""
        )
        words = f"Loss of {self.label} by group."
        section.add(
            Fold(
                "Loss of every group",
                [Table(heads, body, words, numeric=tuple(heads[3:]), note=note, compact=True)],
            )
        )

    def _patterns(self, section, pattern):
        stated = self.model.get("patterns") or {}
        heads = [
            "Feature set",
            "Agreement over folds (r)",
            "of permuted labels",
            "p",
            "Features with corrected p ≤ 0.05",
        ]
        rows, panels = [], []
        for name, part in pattern.groupby("feature_set", sort=False):
            one = stated.get(name) or {}
            clear = int((part["p_fwe"] <= 0.05).sum())
            rows.append(
                [_named(str(name)), number(real(one.get("stability"))), number(real(one.get("null_stability"))),
                 number(real(one.get("stability_p")), 3), f"{clear} of {len(part)}" if part["p_fwe"].notna().any() else "–"]
            )  # fmt: skip
            several = part[["modality", "measure"]].drop_duplicates().shape[0] > 1
            panels.append(
                (
                    str(name),
                    [
                        {
                            "name": f"{r['measure']} {r['region']}" if several else r["region"],
                            "pattern": float(r["pattern"]),
                            "p_fwe": float(r["p_fwe"]),
                        }
                        for r in _clear_first(part).head(DRAWN).to_dict("records")
                    ],
                )
            )
        panels = [p for p in panels if p[1]]
        if not panels:
            return
        nulls = max(
            (int(real(one.get("nulls"))) for one in stated.values() if np.isfinite(real(one.get("nulls")))),
            default=0,
        )
        section.add(
            self.gallery.show(
                model_figures.patterns(panels),
                f"{self.stem}_patterns.svg",
                "The largest patterns of every feature set.",
                f"Haufe pattern (Haufe 2014): correlation of a feature with the score of its feature set among training people, mean over "
                f"folds; the {DRAWN} largest, those beyond chance first. A weight would not say this: it can be large where a feature only cancels noise. "
                + (
                    f"Stars and full colour: corrected p ≤ 0.05 against {nulls} models with labels permuted within blocks (largest z of "
                    "the set)."
                    if nulls
                    else "No null models were asked for."
                ),
            ),
            Table(
                heads, rows,
                "How well patterns agree between folds. Folds share most of their people, so that patterns of shuffled labels agree too: "
                "compare the two.",
                numeric=tuple(heads[1:]),
            ),
        )  # fmt: skip
        self._pairs(section, pattern)

    def _pairs(self, section, pattern):
        """Patterns of features that are pairs: a matrix of networks, or a connectome where ends have places."""
        for name, part in pattern.groupby("feature_set", sort=False):
            part = part[part["region"].astype(str).str.contains("--", regex=False) & part["pattern"].notna()]
            if len(part) < 3:
                continue
            ends = part["region"].astype(str).str.split("--", n=1, expand=True)
            names = list(dict.fromkeys([*ends[0], *ends[1]]))
            place = {n: k for k, n in enumerate(names)}
            values = np.full((len(names), len(names)), np.nan)
            rows, columns = ends[0].map(place).to_numpy(), ends[1].map(place).to_numpy()
            values[rows, columns] = values[columns, rows] = part["pattern"].to_numpy(float)
            places = self._places(names)
            if places is not None:
                first, _, limit = connectome.strongest(values)
                picture = connectome.figure(values, places, label="pattern (r)")
                words = (
                    f"{name}: the {len(first)} strongest of {len(part)} edges, |pattern| ≥ {number(limit)}; a threshold for the eye, "
                    "not a test. Red edges are stronger where the score is higher. Left is on the left, from behind and from above."
                )
                section.add(
                    self.gallery.show(
                        picture,
                        f"{self.stem}_set-{name}_connectome.png",
                        f"Pattern of {name} in a glass brain.",
                        words,
                    )
                )
            elif len(names) <= 40:
                picture = model_figures.pairs(names, values, label="pattern (r)")
                words = f"{name}: Haufe pattern of every pair; red where it is higher with a higher score. Grey: no such feature."
                section.add(
                    self.gallery.show(
                        picture, f"{self.stem}_set-{name}_pairs.svg", f"Pattern of {name} by pair.", words
                    )
                )

    def _places(self, names):
        """Coordinates of regions, or None unless the atlas knows all of them."""
        for path in self.inputs.all("atlas_tables"):
            known = table(path)
            if known is None or not {"name", "x", "y", "z"} <= set(known):
                continue
            found = (
                known.drop_duplicates("name")
                .assign(name=lambda t: t["name"].astype(str))
                .set_index("name")
                .reindex(names)
            )
            if np.isfinite(found[["x", "y", "z"]].to_numpy(float)).all():
                return found
        return None

    def _maps(self, section):
        from neurobraid.images.io import data, load

        path = next(iter(self.inputs.all("maps")), None)
        if path is None:
            return
        image = load(path)
        values = data(image)
        volumes = sidecar_of(self.inputs, "maps").get("Volumes", [])
        together = any(v["Statistic"] == "drop" and v["FeatureSet"] == "all" for v in volumes)
        for one in volumes:
            shown = values[..., one["Volume"]]
            sizes = np.unique(np.abs(shown[np.isfinite(shown)]))
            sizes = sizes[sizes > 0]
            if not sizes.size:
                continue
            drop = one["Statistic"] == "drop"
            if drop and together and one["FeatureSet"] != "all":
                continue
            # regions without a value worth a colour stay out, and the ends of the grey part of the bar stay apart
            threshold = float(np.median(sizes)) if sizes.size > FEW else LEAST * float(sizes[-1])
            what = "loss" if drop else "pattern (r)"
            name = str(one["FeatureSet"])
            about = (
                f"{name}, {one['Modality']} {one['Measure']}"
                if not drop
                else ("all feature sets" if name == "all" else name)
            )
            measure = "" if drop else f"_{one['Measure']}"
            picture = figures.statistic_map(
                Volume(np.nan_to_num(shown), np.asarray(image.affine, float)),
                _template("T1w")[0],
                distance_from(template_brain()),
                threshold=threshold,
                label=what,
                limit=float(sizes[-1]),
            )
            half = f"{'the stronger half of the ' if sizes.size > FEW else ''}regions from {number(threshold, 3)} on"
            meaning = (
                f"loss of {self.label} when the region is permuted; blue where the score rose"
                if drop
                else "Haufe pattern; warm where the feature is higher with a higher score. A region of pairs has the mean of its pairs"
            )
            section.add(
                self.gallery.show(
                    picture,
                    f"{self.stem}_set-{name}{measure}_{one['Statistic']}.png",
                    f"Map of the {one['Statistic']} of {about}.",
                    f"{about}: {meaning}. Shown: {half}; a threshold for the eye, not a test. Colour bar: {what}. Axial cuts, mm (MNI152).",
                )
            )

    # ------------------------------------------------------------------- audit

    def audit(self, section):
        """All checks, those that found something first."""
        found = self.model.get("audit")
        if not found:
            return
        rank = {"flag": 0, "not possible": 2}
        checks = sorted(found["checks"], key=lambda c: rank.get(c["status"], 1))
        flags = [c for c in checks if c["status"] == "flag"]
        if flags:
            section.add(Note("Found: " + "; ".join(c["check"] for c in flags) + ".", "warn"))
        else:
            section.add(Note(f"{len(checks)} checks, none of which found anything."))
        schemes = found.get("schemes") or {}
        if schemes.get("leave_one_site_out") is not None:
            heads = [
                f"{self.label} within the pool",
                "with every site left out once",
                "among people of one site",
            ]
            row = [number(real(schemes.get(k))) for k in ("within_pool", "leave_one_site_out", "within_site")]
            section.add(Table(heads, [row], "Three ways to split.", numeric=tuple(heads)))
        tones = {
            "ok": ("clear", "good"),
            "flag": ("found", "warn"),
            "not possible": ("not tried", "mute"),
        }
        rows = []
        for c in checks:
            words, tone = tones.get(c["status"], (c["status"], ""))
            value = number(c["value"]) if c["value"] is not None else "–"
            if c["limit"] is not None:
                value += f" (limit {number(c['limit'])})"
            rows.append([c["check"][:1].upper() + c["check"][1:], Cell(words, tone=tone), value, c["text"]])
        heads = ["Check", "Result", "Value", "What was found"]
        words = "Every check of the audit. A flag does not prove a leak: it names what else could explain the score."
        section.add(Table(heads, rows, words, numeric=("Value",)))

    # ---------------------------------------------------------------- settings

    def choices(self, section):
        """Every setting of the model."""
        sets = [
            [r["name"], *(_flat(r.get(k)) for k in ("modality", "measure", "region"))]
            for r in self.settings.get("features", [])
        ]
        section.add(
            Table(["Feature set", "Modality", "Measure", "Region"], sets, "Feature sets; – takes all.")
        )
        rows = [[str(k), _flat(v)] for k, v in sorted(self.settings.items()) if k != "features"]
        section.add(Fold("All settings of the model", [Table(["Setting", "Value"], rows, compact=True)]))


def _flat(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_flat(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_flat(v) for v in value) or "–"
    return "–" if value in ("", None) else number(value, 4) if isinstance(value, float) else str(value)


def _clear_first(part):
    """Features of a set with a pattern, those with corrected p up to 0.05 first."""
    known = part[part["pattern"].notna()]
    return known.iloc[np.argsort(~(known["p_fwe"] <= 0.05).to_numpy(), kind="stable")]


def _by_band(found) -> list:
    """Subgroups with columns as they come and bands of a number from low to high."""
    place = {column: k for k, column in enumerate(dict.fromkeys(s["column"] for s in found))}
    rank = {"below": 0, "above": 2}
    return sorted(found, key=lambda s: (place[s["column"]], rank.get(str(s["level"]).split(" ")[0], 1)))


def _counts(model) -> str:
    return ", ".join(f"{n} {c}" for c, n in (model.get("class_counts") or {}).items())
