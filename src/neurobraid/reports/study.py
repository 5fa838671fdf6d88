"""The study page: who was studied, whether the data are sound, what was found, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from neurobraid import __version__
from neurobraid.files import read_json, write_json
from neurobraid.fusion.schema import in_depth
from neurobraid.reports import (
    audit,
    circle,
    components,
    connectome,
    figures,
    inference,
    interactive,
    methods,
    networks,
    pet_study,
    run_record,
    spec,
    strategies,
    surface_group,
    targets,
)
from neurobraid.reports.brainage import add_brain_age, headline
from neurobraid.reports.coupling import add_coupling
from neurobraid.reports.decoding import add_decoding
from neurobraid.reports.gather import (
    LABELS,
    NOT_QUALITY,
    Inputs,
    entities_of,
    flat,
    json_of,
    plain_table,
    preprocessed_by,
    scan_of,
    sidecar_of,
    spell,
    table,
    without_dates,
)
from neurobraid.reports.map_association import add_maps
from neurobraid.reports.measures import MEASURES, ORDER, PARTS, feature
from neurobraid.reports.outcome import add_outcomes, visits_in_words
from neurobraid.reports.pages import (
    Cell,
    Code,
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
from neurobraid.reports.participant import (
    KINDS,
    _template,
    matrix_picture,
    template_brain,
)
from neurobraid.reports.planes import Volume, distance_from

FEATURE_SETS = {
    "dummy": "no information (dummy)",
    "demographics": "demographics only",
    "fused": "all modalities (late fusion)",
    "early": "all modalities (early fusion)",
    "stacking": "all modalities (stacking)",
    "pls": "what two modalities share (PLS)",
    "pcacca": "what modalities share (PCA + CCA)",
    "mcca": "what modalities share (multi-set CCA)",
    "jica": "what modalities share (joint ICA)",
    "mccajica": "what modalities share (mCCA + jICA)",
    "snf": "similarity network fusion",
}
FUSIONS = ("fused", "early", "stacking")
BASELINES = ("demographics", "dummy")
METRICS = {
    "auc": ("AUC", 0.5),
    "balanced_accuracy": ("balanced accuracy", 0.5),
    "brier": ("Brier score", None),
    "mae": ("mean absolute error", None),
    "r2": ("R²", 0.0),
    "r": ("correlation r", None),
    **targets.METRICS,
}
#: What a metric can be at all; a symmetric interval of a small study may reach beyond.
LIMITS = {
    "auc": (0.0, 1.0),
    "balanced_accuracy": (0.0, 1.0),
    "brier": (0.0, 1.0),
    "mae": (0.0, np.inf),
    "r2": (-np.inf, 1.0),
    "r": (-1.0, 1.0),
    **targets.LIMITS,
}
SMALL = 30
#: people beyond whom a grid of them cannot be read
MANY_PEOPLE = 150
#: Sections that a study without images has not, and those that are there where the configuration asks for them.
NEED_IMAGES = ("quality", "activation", "connectivity", "pet", "coupling")
WHERE_ASKED = ("brainage", "decoding")
LISTED_CLUSTERS = 25
CHECK_SHARE = 20.0
#: rows of a table beyond which it is folded
LONG = 15


def write_study(inputs: Mapping, *, page, figures_dir, record, config: Mapping) -> None:
    """Write the study page, its figures and the run record.

    Parameters
    ----------
    inputs : mapping of str to path or list of paths
        Files by kind; every kind may be absent (see ``workflow/rules/9_report.smk``).
    page, figures_dir, record : path-like
        Outputs.
    config : mapping
        The study's settings.
    """
    files = Inputs(inputs)
    job = _Study(files, Gallery(figures_dir, page), config)
    own = {*files.all("records"), *files.all("model_pages"), *files.all("cards")}
    checked = run_record.checksums(p for p in files.everything() if p not in own)
    for path in files.all("records"):
        checked.extend(read_json(path)["files"])
    job.record = run_record.record(config, checked)
    sections = []
    for name, title, lead in spec.STUDY:
        section = Section(name, title, lead)
        if job.tables_only and name in NEED_IMAGES:
            continue
        getattr(job, name)(section)
        if section.blocks or name not in WHERE_ASKED:
            sections.append(section)
    write_json(job.record, record)
    write(
        Page(
            title=str(config.get("title") or "Study report"),
            subtitle=job.subtitle(),
            kind="study",
            sections=sections,
            footer=f"neurobraid {__version__}. Left is shown on the left. Positions are in mm (MNI152).",
        ),
        page,
    )


def real(value) -> float:
    """Number from JSON, where missing is ``n/a`` or null."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _p(value: float) -> str:
    """``p = 0.041``, or ``p < 0.001``."""
    return "p < 0.001" if value < 0.001 else f"p = {number(value, 3)}"


def of_set(values, name: str) -> float:
    """Entry of one feature set where a quantity is given by feature set, else the quantity itself."""
    return real(values.get(name) if isinstance(values, Mapping) else values)


def interval(score: Mapping, metric: str) -> tuple[float, float, float]:
    """Mean and interval of a score, the interval cut to what the metric can be."""
    low, high = LIMITS.get(metric, (-np.inf, np.inf))
    mean, bottom, top = (real(score[key]) for key in ("mean", "low", "high"))
    return (
        mean,
        max(bottom, low) if np.isfinite(bottom) else bottom,
        min(top, high) if np.isfinite(top) else top,
    )


def _short(name: str) -> str:
    """What tells a scan from the others of its kind: ``sub-02_task-rest_run-1_bold`` -> ``02 run-1``."""
    parts = [p for p in name.split("_")[:-1] if not p.startswith("task-")]
    return " ".join([parts[0].removeprefix("sub-"), *parts[1:]])


def plural(count: int, word: str) -> str:
    """``1 scan``, ``2 scans``."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def main_set(model):
    """Feature set a model stands for: as its summary says; in an older one the fusion, or the first."""
    metrics = model.get("metrics") or {}
    if model.get("main_set") in metrics:
        return model["main_set"]
    first = [n for n in FUSIONS if n in metrics]
    others = [n for n in metrics if n not in ("dummy", "demographics")]
    return next(iter(first + others), None)


def in_words(model, main, label, chance) -> str:
    """Result of a model in one sentence or two."""
    mean, low, high = interval(model["metrics"][main][model["primary_metric"]], model["primary_metric"])
    classes = model.get("classes") or []
    goal = (
        f"separate {classes[1]} from {classes[0]}"
        if len(classes) == 2
        else f"predict {model.get('settings', {}).get('target')}"
    )
    named = FEATURE_SETS.get(main, main)
    text = f"With {plural(int(model.get('participants', 0)), 'participant')}, features of {named} {goal} with {label} {number(mean)}"
    text += f" (95 % interval {number(low)} to {number(high)}). " if np.isfinite(low) else ". "
    if chance is not None and np.isfinite(low):
        if low <= chance <= high:
            text += (
                f"The interval includes {chance:g}, so the data are compatible with no information at all. "
            )
        elif low > chance:
            text += f"The interval lies above {chance:g}, the value of a guess. "
        else:
            text += f"The interval lies below {chance:g}: worse than a guess, which points to a confound or to chance. "
    permuted = model.get("permutation") or {}
    p, null = of_set(permuted.get("p"), main), of_set(permuted.get("null_mean"), main)
    if np.isfinite(p):
        smallest = 1 / (int(permuted["count"]) + 1)
        least = (
            f", the smallest that {permuted['count']} permutations can give" if p <= smallest * 1.001 else ""
        )
        whose = " of each person's visits" if permuted.get("units") == "visit" else ""
        text += f"With the labels{whose} permuted {permuted['count']} times the mean was {number(null)}; {_p(p)}{least}."
    elif permuted:
        text += "The permutation test has no result for these features."
    return text


class _Study:
    """Builds the sections of the study page; one method per section id."""

    def __init__(self, inputs, gallery, config):
        self.inputs, self.gallery, self.config = inputs, gallery, config
        self.record: dict = {}
        self.scans = self._rows("scans")
        self.excluded = self._rows("exclusions")
        self.pairing = self._rows("pairing")
        self.preprocessing = self._rows("preprocessing")
        self.tables_only = bool(self.setting("index.tables_only", False))
        people = self._rows("participants") if self.tables_only else self.scans
        self.people = list(dict.fromkeys(row["participant_id"] for row in people))
        self.models = [read_json(path) for path in inputs.all("summaries")]
        self._confounds = {scan_of(p): p for p in inputs.all("confounds")}

    def _rows(self, kind):
        path = next(iter(self.inputs.all(kind)), None)
        found = plain_table(path)
        return [] if found is None else found.to_dict("records")

    def setting(self, path, default=None):
        """Value of the config at a dotted path."""
        return methods.get(self.config, path, default)

    def of(self, suffix, **filters):
        """Analysed scans of a kind."""
        return [r for r in self.scans if r["suffix"] == suffix and all(r[k] == v for k, v in filters.items())]

    def who(self, suffix, **filters):
        """Participants who have such a scan."""
        return list(dict.fromkeys(r["participant_id"] for r in self.of(suffix, **filters)))

    def subtitle(self) -> str:
        """One line under the title."""
        kinds = [KINDS[s] for s in ("T1w", "bold", "pet") if self.of(s)] or ["tables only"]
        return f"Study report · {plural(len(self.people), 'participant')} · {methods.words(kinds)}"

    def _with_unit(self, column: str) -> str:
        """A column of participants.tsv with its unit from the JSON beside it, for an axis."""
        described = json_of(next(iter(self.inputs.all("participants_json")), None)).get(column, {})
        unit = described.get("Units") if isinstance(described, Mapping) else None
        return f"{column} ({unit})" if unit else column

    # ----------------------------------------------------------------- summary

    def summary(self, section):
        """Headline numbers and what to know first."""
        items = [(str(len(self.people)), "participants analysed", "")]
        for suffix, label in KINDS.items():
            if self.of(suffix):
                people = len(self.who(suffix))
                items.append(
                    (str(len(self.of(suffix))), f"{label} scans", f"of {plural(people, 'participant')}")
                )
        left = [r for r in self.excluded if r.get("rule") != "not-analysed"]
        items.append((str(len(left)), "exclusions", "with reasons below" if left else ""))
        fd = [float(np.nanmedian(v)) for v in self._fd().values() if np.isfinite(v).any()]
        if fd:
            items.append(
                (number(float(np.median(fd))), "median FD (mm)", f"runs {min(fd):.2f} to {max(fd):.2f}")
            )
        for path in self.inputs.all("thresholds"):
            content = read_json(path)
            if content.get("Status") == "available":
                contrast = content.get("Contrast", entities_of(path).get("contrast", ""))
                items.append(
                    (
                        str(content.get("ClusterCount", 0)),
                        f"clusters, contrast {contrast}",
                        f"n = {content['NumberOfParticipants']}",
                    )
                )
        for model in self.models:
            main = main_set(model)
            if main:
                metric = model["primary_metric"]
                mean, low, high = interval(model["metrics"][main][metric], metric)
                label, _ = METRICS.get(metric, (metric, None))
                remark = f"95 % interval {number(low)} to {number(high)}" if np.isfinite(low) else ""
                items.append((number(mean), f"{label}, model {model['name']}", remark))
        items += [item for path in self.inputs.all("brainage") if (item := headline(path))]
        section.add(Numbers(items))
        for text in self._cautions():
            section.add(Note(text, "warn"))

    def _cautions(self):
        out = []
        if not self.setting("bids", "x"):
            out.append("These are data of the built-in synthetic study: its people and effects are invented.")
        n = len(self.people)
        if n == 1:
            out.append(
                "There is one participant: group statistics, group matrices and predictive models are left out."
            )
        elif n < SMALL:
            out.append(
                f"With {n} participants, group results are imprecise and effect sizes of significant findings tend to be too "
                "large. Read them as a check of the pipeline or as a pilot."
            )
        flagged = [s for s, share in self._above().items() if share > CHECK_SHARE]
        if flagged:
            out.append(
                f"{plural(len(flagged), 'run')} with more than {CHECK_SHARE:g} % of volumes above the motion threshold: "
                f"{', '.join(flagged)}."
            )
        return out

    def _fd(self) -> dict[str, np.ndarray]:
        if not hasattr(self, "_fd_cache"):
            self._fd_cache = {}
            for scan, path in self._confounds.items():
                values = table(path).get("framewise_displacement")
                self._fd_cache[scan] = np.array([np.nan]) if values is None else values.to_numpy(float)
        return self._fd_cache

    def _above(self) -> dict[str, float]:
        limit = float(self.setting("bold.fd_threshold_mm", 0.5))
        return {
            s: 100.0 * float(np.mean(v[np.isfinite(v)] > limit))
            for s, v in self._fd().items()
            if np.isfinite(v).any()
        }

    # ------------------------------------------------------------ participants

    def participants(self, section):
        """Flow, who has what, pairing, exclusions."""
        section.add(Flow(self._flow()))
        if self.tables_only:
            section.add(Note("The study has no images: all that is known of people came in tables."))
            self._characteristics(section)
            return
        tasks = list(dict.fromkeys(r["task"] for r in self.of("bold")))
        tracers = list(dict.fromkeys(r["trc"] for r in self.of("pet")))
        columns = [("T1w", "T1w", {})]
        columns += [(f"BOLD {t}" if t != "n/a" else "BOLD", "bold", {"task": t}) for t in tasks]
        columns += [(f"PET {t}" if t != "n/a" else "PET", "pet", {"trc": t}) for t in tracers] or [
            ("PET", "pet", {})
        ]
        fd = self._fd()
        rows = []
        for person in self.people:
            row = [Cell(person, href=f"{person}.html")]
            for _, suffix, filters in columns:
                count = len(self.of(suffix, participant_id=person, **filters))
                row.append(Cell(str(count) if count else "–", tone="" if count else "mute"))
            sessions = {r["session_id"] for r in self.scans if r["participant_id"] == person} - {"n/a"}
            row.append(Cell(str(len(sessions)) if sessions else "–", tone="" if sessions else "mute"))
            mine = [
                np.nanmedian(v) for s, v in fd.items() if s.split("_")[0] == person and np.isfinite(v).any()
            ]
            row.append(number(float(np.median(mine))) if mine else Cell("–", tone="mute"))
            rows.append(row)
        heads = ["Participant", *(c[0] for c in columns), "Sessions", "Median FD (mm)"]
        section.add(
            Table(
                heads,
                rows,
                "Scans analysed by participant; the name leads to the participant's page.",
                numeric=tuple(heads[1:]),
            )
        )
        self._characteristics(section)
        rows = [
            [
                r["participant_id"],
                Cell(r["scan"] if r["scan"] != "n/a" else "–"),
                KINDS.get(r["suffix"], r["suffix"] if r["suffix"] != "n/a" else "–"),
                without_dates(r["reason"]),
            ]
            for r in self.excluded
        ]
        if rows:
            block = Table(["Participant", "Scan", "Kind", "Reason"], rows, "Scans and participants left out.")
            section.add(block if len(rows) <= 15 else Fold(f"All {len(rows)} exclusions", [block]))
        else:
            section.add(Note("Nothing was excluded."))
        cross = [r for r in self.pairing if r["rule"] not in ("same-session", "excluded", "not-needed")]
        if cross:
            section.add(
                Note(
                    f"{plural(len(cross), 'scan')} paired with a T1w of another session: "
                    + "; ".join(f"{r['scan']} with {r['t1w_scan']}" for r in cross[:8])
                    + ("…" if len(cross) > 8 else ".")
                )
            )
        rows = [
            [
                r["scan"],
                KINDS.get(r["suffix"], r["suffix"]),
                Cell(r["t1w_scan"] if r["t1w_scan"] != "n/a" else "–"),
                Cell(
                    r["rule"],
                    tone="bad" if r["rule"] == "excluded" else "" if r["rule"] == "same-session" else "warn",
                ),
                Cell(r["days"] if r["days"] != "n/a" else "–"),
                without_dates(r["reason"]),
            ]
            for r in self.pairing
        ]
        if rows:
            block = Table(
                ["Scan", "Kind", "Paired T1w", "Rule", "Days apart", "Why"], rows, "Pairing of BOLD and PET scans with T1w scans.",
                numeric=("Days apart",), compact=True,
            )  # fmt: skip
            section.add(Fold(f"Pairing of all {plural(len(rows), 'BOLD and PET scan')}", [block]))
        self._preprocessing(section)
        validation = self._rows("validation")
        if validation:
            heads = list(validation[0])
            block = Table(
                [h.replace("_", " ").capitalize() for h in heads],
                [[without_dates(r[h]) for h in heads] for r in validation],
                "What the check of the raw data found.",
                compact=True,
            )
            section.add(Fold(f"Check of the raw data, {plural(len(validation), 'line')}", [block]))

    def _preprocessing(self, section):
        """Who preprocessed whose scans, where derivatives of other programs were taken over."""
        if not any(r["source"] != "neurobraid" for r in self.preprocessing):
            return
        people = {}
        pet = ("pet",) if any(r["suffix"] == "pet" for r in self.preprocessing) else ()
        for row in self.preprocessing:
            people.setdefault(row["scan"].split("_")[0], {}).setdefault(preprocessed_by(row), []).append(row)
        rows = []
        for person in (p for p in self.people if p in people):
            for maker, made in people[person].items():
                counts = [
                    plural(sum(r["suffix"] == s for r in made), f"{KINDS[s]} scan")
                    for s in ("T1w", "bold", *pet)
                ]
                reasons = dict.fromkeys(
                    without_dates(r["reason"]) for r in made if r["source"] == "neurobraid"
                )
                name = Cell(person, href=f"{person}.html")
                rows.append([name, maker, *counts, Cell("; ".join(reasons) or "–")])
        kinds = ["T1w", "BOLD", *(KINDS[s] for s in pet)]
        heads = ["Participant", "Preprocessed by", *kinds, "Why not adopted"]
        table = Table(heads, rows, f"Who preprocessed the {methods.words(kinds)} scans of each participant.")
        section.add(
            table
            if len(rows) <= 20
            else Fold(f"Who preprocessed {plural(len(rows), 'participant')}", [table])
        )

    def _flow(self):
        gone = {}
        for row in self.excluded:
            if row["participant_id"] not in self.people:
                gone.setdefault(row["participant_id"], []).append(without_dates(row["reason"]))
        people = self._rows("participants")
        known = {r.get("participant_id") for r in people} | set(self.people) | set(gone)
        reasons = {}
        for person, why in sorted(gone.items()):
            reasons.setdefault(why[0], []).append(person)
        told = [
            f"{plural(len(who), 'participant')} left out: {why} ({', '.join(who)})"
            for why, who in reasons.items()
        ]
        unexplained = sorted(p for p in known - set(self.people) - set(gone) if p)
        if unexplained:
            told.append(f"{plural(len(unexplained), 'participant')} not selected by the configuration")
        steps = [
            (str(len(known)), "participants in the dataset", told),
            (str(len(self.people)), "analysed", []),
        ]
        both = [p for p in self.who("bold") if p in self.who("pet")]
        modalities = []
        for suffix, label in (("bold", "BOLD"), ("pet", "PET")):
            if not self.of(suffix):
                continue
            without = [p for p in self.people if p not in self.who(suffix)]
            lost = f" ({', '.join(without[:6])}{'…' if len(without) > 6 else ''} without)" if without else ""
            modalities.append(f"{len(self.who(suffix))} with {label}{lost}")
        if self.of("bold") and self.of("pet"):
            steps[-1] = (steps[-1][0], "analysed", modalities)
            steps.append((str(len(both)), "with both BOLD and PET", []))
        elif modalities:
            steps[-1] = (steps[-1][0], "analysed", modalities)
        return steps

    def _characteristics(self, section):
        path = next(iter(self.inputs.all("participants")), None)
        people = plain_table(path)
        if people is None or "participant_id" not in people:
            return
        import pandas as pd

        people = people[people["participant_id"].isin(self.people)]
        groups = {"All": people}
        split = next(
            (c for c in ("diagnosis", "group", "site") if c in people and 1 < people[c].nunique() <= 6), None
        )
        if split:
            groups.update({str(k): v for k, v in people.groupby(split)})
        rows = [["Participants", *(str(len(g)) for g in groups.values())]]
        for column in ("age", "sex", "site", "body_weight", "clinical_score"):
            if column not in people:
                continue
            values = {k: pd.to_numeric(g[column], errors="coerce") for k, g in groups.items()}
            label = methods_label(column)
            if values["All"].notna().any():
                rows.append(
                    [
                        f"{label}, mean (SD)",
                        *(
                            f"{v.mean():.1f} ({v.std():.1f})" if v.notna().sum() > 1 else "–"
                            for v in values.values()
                        ),
                    ]
                )
            else:
                levels = sorted(x for x in people[column].unique() if x != "n/a")
                if 1 <= len(levels) <= 6 and column != split:
                    rows.append(
                        [
                            f"{label}: {' / '.join(levels)}",
                            *(
                                " / ".join(str((g[column] == x).sum()) for x in levels)
                                for g in groups.values()
                            ),
                        ]
                    )
        if len(rows) > 1:
            heads = ["", *(k if k == "All" else f"{methods_label(split)}: {k}" for k in groups)]
            section.add(
                Table(heads, rows, "Who the participants are (participants.tsv).", numeric=tuple(heads[1:]))
            )

    # ----------------------------------------------------------------- quality

    def quality(self, section):
        """Motion and quality numbers."""
        fd = self._fd()
        limit = float(self.setting("bold.fd_threshold_mm", 0.5))
        if fd:
            runs = [
                (
                    s.split("_")[0].removeprefix("sub-"),
                    f"task-{entities_of(self._confounds[s]).get('task', '?')}",
                    v,
                )
                for s, v in fd.items()
            ]
            section.add(
                self.gallery.show(
                    figures.fd_distribution(runs, limit),
                    "study_motion.svg",
                    "Boxes of framewise displacement of every BOLD run by participant.",
                    "Framewise displacement of every BOLD run: boxes to the quartiles, whiskers to the 5th and 95th percentile, points "
                    f"above the threshold of {limit:g} mm (dashed). Points beyond the axis lie on its upper edge, with the largest value "
                    "of the run written above.",
                )
            )
        self._side_by_side(section)
        self._bold_table(section)
        self._scan_table(
            section,
            "pet_qc",
            "PET",
            (
                "fd_mean_mm",
                "fd_max_mm",
                "max_displacement_mm",
                "coreg_mutual_information",
                "brain_in_fov",
                "brain_suv_mean",
            ),
        )
        self._scan_table(
            section,
            "anat_qc",
            "T1w",
            (
                "volume_brain_mask_ml",
                "volume_gm_ml",
                "volume_wm_ml",
                "volume_csf_ml",
                "cjv",
                "registration_correlation",
            ),
        )
        if not fd and not self.inputs.all("pet_qc"):
            section.add(Note("There is no BOLD or PET scan whose quality could be shown.", "missing"))

    def _side_by_side(self, section):
        """Every measure of every scan, and who stands out, from the table that the workflow wrote."""
        path = next(iter(self.inputs.all("quality")), None)
        found = table(path)
        if found is None or not len(found):
            return
        texts = plain_table(path)
        tasks = texts["task"] if "task" in texts else texts["suffix"].where(False, "n/a")
        kinds = texts["suffix"].map(lambda s: KINDS.get(s, s)).where(tasks == "n/a", tasks)
        flags = [
            set() if names in ("n/a", "none", "") else set(names.split(";"))
            for names in texts.get("flags", [""] * len(texts))
        ]
        fixed = {"bids_name", "participant_id", "session_id", "suffix", "task", "flags", "outlier"}
        metrics = sorted(
            (c for c in found if c not in fixed and found[c].notna().any()),
            key=lambda c: ORDER.get(c, len(ORDER)),
        )
        for suffix in dict.fromkeys(texts["suffix"]):
            rows = np.flatnonzero(texts["suffix"] == suffix)
            named = set().union(*(flags[n] for n in rows))
            shown = [m for m in metrics if m not in PARTS or m in named]
            shown = [m for m in shown if found[m].iloc[rows].notna().any()]
            panels = []
            for metric in shown:
                label = MEASURES[metric].label if metric in MEASURES else spell(metric)
                groups = []
                for kind in dict.fromkeys(kinds.iloc[rows]):
                    mine = [n for n in rows if kinds.iloc[n] == kind]
                    names = [_short(texts["bids_name"][n]) if metric in flags[n] else "" for n in mine]
                    groups.append((kind, found[metric].to_numpy(float)[mine], names))
                panels.append((label, groups))
            if panels:
                word = KINDS.get(suffix, suffix)
                section.add(
                    self.gallery.show(
                        figures.quality_strips(panels),
                        f"study_quality_{suffix}.svg",
                        f"Boxes and points of {len(panels)} quality measures of the {word} scans.",
                        f"Quality of {plural(len(rows), word + ' scan')}: boxes to the quartiles, whiskers to the farthest "
                        "value within one and a half box heights, one point per scan. Named in orange: scans that stand out in the bad direction.",
                    )
                )
        self._flagged(section, found, texts, kinds, flags)

    def _flagged(self, section, found, texts, kinds, flags):
        rows = []
        for n in (n for n, names in enumerate(flags) if names):
            mates = (kinds == kinds.iloc[n]).to_numpy()
            said = []
            for metric in sorted(flags[n] & set(found), key=lambda c: ORDER.get(c, len(ORDER))):
                known = MEASURES.get(metric)
                label, digits = (known.label, known.digits) if known else (spell(metric), 3)
                middle = float(found.loc[mates, metric].median())
                said.append(
                    f"{label}: {number(float(found[metric][n]), digits)} (median {number(middle, digits)})"
                )
            anchor = {"bold": "bold", "pet": "pet"}.get(texts["suffix"][n], "anatomy")
            name = Cell(texts["bids_name"][n], href=f"{texts['participant_id'][n]}.html#{anchor}")
            rows.append([name, kinds.iloc[n], Cell("; ".join(said), tone="text")])
        limit = sidecar_of(self.inputs, "quality").get("FlagLimit", 3)
        few = sum(names == "n/a" for names in texts.get("flags", []))
        tail = f" {plural(few, 'scan')} of kinds with too few scans cannot be judged." if few else ""
        if rows:
            block = Table(
                ["Scan", "Kind", "What stands out"],
                rows,
                f"Scans that stand out: {len(rows)} of {len(texts)}.",
                note=f"More than {limit:g} robust standard deviations from the median of scans of the same kind, in the bad "
                f"direction. Look at their pages before leaving them in or out.{tail}",
            )
            section.add(
                block if len(rows) <= LONG else Fold(f"All {len(rows)} scans that stand out", [block])
            )
        else:
            section.add(Note(f"No scan stands out among those of its kind.{tail}"))

    def _bold_table(self, section):
        above, fd = self._above(), self._fd()
        rows = []
        for scan, values in fd.items():
            content = read_json(path) if (path := self.inputs.find("bold_qc", scan)) else {}
            share = above.get(scan, float("nan"))
            flagged = share > CHECK_SHARE
            rows.append(
                [
                    Cell(scan, href=f"{scan.split('_')[0]}.html#bold"),
                    str(len(values)),
                    number(float(np.nanmean(values)) if np.isfinite(values).any() else float("nan"), 3),
                    number(float(np.nanmax(values)) if np.isfinite(values).any() else float("nan")),
                    Cell(number(share, 1), tone="warn" if flagged else ""),
                    number(real(content.get("dvars_std"))),
                    number(real(content.get("tsnr")), 1),
                    Cell("check" if flagged else "ok", tone="warn" if flagged else "good"),
                ]
            )
        if rows:
            heads = [
                "Run",
                "Volumes",
                "Mean FD (mm)",
                "Largest FD (mm)",
                "Above threshold (%)",
                "Std. DVARS",
                "tSNR",
                "Motion",
            ]
            caption = f"Quality of the BOLD runs. “check”: more than {CHECK_SHARE:g} % of volumes above the FD threshold."
            block = Table(heads, rows, caption, numeric=tuple(heads[1:-1]), compact=len(rows) > 20)
            section.add(
                block if len(rows) <= LONG else Fold(f"Quality of all {len(rows)} BOLD runs", [block])
            )

    def _scan_table(self, section, kind, label, wanted):
        contents = {scan: read_json(self.inputs.find(kind, scan)) for scan in self.inputs.scans(kind)}
        if not contents:
            return
        values = {
            scan: {k: v for k, v in flat(c).items() if isinstance(v, int | float) and not isinstance(v, bool)}
            for scan, c in contents.items()
        }
        keys = [
            k
            for k in dict.fromkeys(k for v in values.values() for k in v)
            if not any(w in k.lower() for w in NOT_QUALITY)
        ]
        keys = [k for k in (wanted or keys) if k in keys][:8] or keys[:8]
        if not keys:
            return
        heads = [f"{label} scan", *(LABELS.get(k, (spell(k), None))[0] for k in keys)]
        rows = []
        for scan, mine in values.items():
            anchor = {"PET": "pet", "T1w": "anatomy"}[label]
            row = [Cell(scan, href=f"{scan.split('_')[0]}.html#{anchor}")]
            for key in keys:
                digits = LABELS.get(key, ("", None))[1]
                row.append(number(real(mine.get(key)), 2 if digits is None else digits))
            rows.append(row)
        caption = f"Quality of the {label} scans. Which of them stand out among their kind is said apart."
        block = Table(heads, rows, caption, numeric=tuple(heads[1:]), compact=len(rows) > 20)
        section.add(
            block if len(rows) <= LONG else Fold(f"Quality of all {len(rows)} {label} scans", [block])
        )

    # -------------------------------------------------------------- activation

    def activation(self, section):
        """Group maps with clusters, or why there are none."""
        tasks = self.setting("activation.tasks", []) or []
        if not tasks:
            section.add(Note("The configuration models no task.", "missing"))
            return
        need = self.setting("activation.group.min_participants", 3)
        for record in tasks:
            task = record["task"]
            people = len(self.who("bold", task=task))
            for contrast in record["contrasts"]:
                name = contrast["name"]
                path = self.inputs.find("group_z", task=task, contrast=name)
                limits = self.inputs.find("thresholds", task=task, contrast=name)
                content = read_json(limits) if limits else {}
                section.add(Heading(f"Task {task}, contrast {name}"))
                if path is None or content.get("Status") == "unavailable":
                    reason = (
                        content.get("Reason") or f"{plural(people, 'participant')} with a run of task {task}"
                    )
                    if people < need:
                        reason += (
                            f"; a group statistic needs at least {need} (activation.group.min_participants)"
                        )
                    section.add(Note(f"No group statistic: {reason}.", "missing"))
                    continue
                self._group_map(section, task, name, path, content)
                inference.show(section, self.inputs, task, name)
                surface_group.show(section, self.inputs, self.gallery, task, name)
        self._designs(section)

    def _group_map(self, section, task, name, path, content):
        z = Volume.read(path)
        n = content.get("NumberOfParticipants", "?")
        rules = content.get("Thresholds", {})
        control = content.get("HeightControl", "")
        height = real(content.get("ClusterThresholdZ"))
        rule = rules.get(control, {}).get("Rule", f"{control} {content.get('Alpha', '')}".strip())
        shown = height
        if not np.isfinite(height):
            shown = real(rules.get("uncorrected", {}).get("Z", 3.29))
            section.add(
                Note(
                    f"No voxel survives the threshold ({rule}). The map shows |z| ≥ {shown:.2f}, p < 0.001 uncorrected, "
                    "for orientation only.",
                    "warn",
                )
            )
            rule = "p < 0.001 per voxel, not corrected"
        peak = float(np.nanmax(z.data)) if z.data.size else float("nan")
        section.add(
            self.gallery.show(
                figures.statistic_map(z, *self._background(), threshold=shown),
                f"study_task-{task}_contrast-{name}_z.png",
                f"Group z map of contrast {name} of task {task} on fourteen axial slices of the template.",
                f"Group activation, task {task}, contrast {name} (n = {n}; one-sample test, two-sided). Colours: |z| ≥ "
                f"{shown:.2f} ({rule}), warm positive, cold negative; highest z {number(peak, 1)}. Underlay: MNI152 template; "
                "slice positions in mm.",
            )
        )
        self._look_through(
            section, z, f"study_task-{task}_contrast-{name}_z.html", shown, f"Task {task}, contrast {name}",
            f"Group activation, task {task}, contrast {name} (n = {n}; one-sample test, two-sided).", rule,
        )  # fmt: skip
        clusters = table(self.inputs.find("clusters", task=task, contrast=name))
        if clusters is None or not np.isfinite(height):
            return
        if not len(clusters):
            section.add(
                Note(
                    f"No cluster of at least {content.get('ClusterMinVoxels', 'the required')} voxels survives the threshold."
                )
            )
            return
        section.add(self._cluster_table(clusters, task, name, content))

    def _cluster_table(self, clusters, task, name, content):
        columns = {
            "cluster_id": ("Cluster", None), "x": ("x", 0), "y": ("y", 0), "z": ("z", 0), "peak_z": ("Peak z", 2),
            "peak_effect": ("Peak effect", 3), "cluster_size_mm3": ("Size (mm³)", 0), "n_voxels": ("Voxels", 0),
            "region": ("Region at the peak", None), "region_overlap": ("Overlap with regions", None),
        }  # fmt: skip
        have = [c for c in columns if c in clusters]
        rows = []
        for line in clusters[have].head(LISTED_CLUSTERS).to_dict("records"):
            row = []
            for column in have:
                value, digits = line[column], columns[column][1]
                missing = value is None or value != value
                if digits is None:
                    text = "" if missing else str(value)
                    parts = text.split("; ")
                    row.append("; ".join(parts[:3]) + ("…" if len(parts) > 3 else ""))
                else:
                    row.append("" if missing else number(float(value), digits))
            rows.append(row)
        heads = [columns[c][0] for c in have]
        more = len(clusters) - LISTED_CLUSTERS
        note = "Positions in mm (MNI152). Letters mark further peaks of a cluster. Cluster size is listed, not tested."
        return Table(
            heads,
            rows,
            f"Clusters of task {task}, contrast {name}, |z| ≥ {number(real(content.get('ClusterThresholdZ')))}.",
            numeric=tuple(columns[c][0] for c in have if columns[c][1] is not None),
            note=note
            + (f" {more} further lines are in the table among the derivatives." if more > 0 else ""),
            compact=len(rows) > 12,
        )

    def _designs(self, section):
        """Maps of group designs with groups or covariates, and who is not in them."""
        for path in self.inputs.all("design_z"):
            names = entities_of(path)
            task, design, contrast = (names.get(k, "?") for k in ("task", "model", "contrast"))
            note = read_json(self.inputs.find("design_notes", task=task, model=design, contrast=contrast))
            z, rules = Volume.read(path), note.get("Thresholds", {})
            height = real(note.get("ClusterThresholdZ"))
            survives = np.isfinite(height)
            shown = height if survives else real(rules.get("uncorrected", {}).get("Z", 3.29))
            rule = rules.get("fdr" if survives else "uncorrected", {}).get("Rule", "")
            section.add(Heading(f"Design {design}, task {task}, contrast {contrast}"))
            if not survives:
                section.add(
                    Note(f"No voxel survives the threshold; shown: |z| ≥ {shown:.2f}, {rule}.", "warn")
                )
            sizes = note.get("GroupSizes") or {}
            people = methods.words(f"{n} with {label}" for label, n in sizes.items()) or str(
                len(note["Participants"])
            )
            weights = note["Weights"] if isinstance(note["Weights"], list) else [note["Weights"]]
            rows = "; ".join(
                ", ".join(f"{w:+g} {c}".replace("-", "−") for c, w in row.items() if w) for row in weights
            )
            section.add(
                self.gallery.show(
                    figures.statistic_map(z, *self._background(), threshold=shown),
                    f"study_task-{task}_model-{design}_contrast-{contrast}_z.png",
                    f"Group z map of contrast {contrast} under design {design} on fourteen axial slices of the template.",
                    f"Design {design}, task {task}, contrast {contrast} ({note['Test']} test of {rows}; n = {people}; "
                    f"{note['EstimatorNote']}). Colours: |z| ≥ {shown:.2f} ({rule}); highest z "
                    f"{number(float(np.nanmax(z.data)), 1)}. Underlay: MNI152 template; slice positions in mm.",
                )
            )
            self._look_through(
                section, z, f"study_task-{task}_model-{design}_contrast-{contrast}_z.html", shown,
                f"Design {design}, task {task}, contrast {contrast}",
                f"Design {design}, task {task}, contrast {contrast} ({note['Test']} test of {rows}; n = {people}).", rule,
            )  # fmt: skip
            clusters = table(self.inputs.find("design_clusters", task=task, model=design, contrast=contrast))
            if survives and clusters is not None and len(clusters):
                section.add(self._cluster_table(clusters, task, contrast, note))
            inference.show(section, self.inputs, task, contrast, design)
            if note.get("Missing"):
                text = "; ".join(f"{row['participant_id']}: {row['reason']}" for row in note["Missing"])
                section.add(Note(f"Not in design {design}: {text}.", "missing"))
        for path in self.inputs.all("design_tables"):
            section.add(self._design_table(path))

    @staticmethod
    def _design_table(path):
        """The columns of a group design, participant by participant."""
        names, frame = entities_of(path), table(path)
        heads = ["Participant", *frame.columns[1:]]
        rows = [
            [str(row[0]), *(number(int(v) if float(v).is_integer() else v, 2) for v in row[1:])]
            for row in frame.itertuples(index=False)
        ]
        caption = f"Design {names.get('model')} of task {names.get('task')}, as it was estimated (covariates after centring or scaling)."
        block = Table(heads, rows, caption, numeric=tuple(heads[1:]), compact=len(rows) > 12)
        return Fold(f"Columns of design {names.get('model')}, task {names.get('task')}", [block])

    def _interactive(self) -> bool:
        return self.setting("report.interactive", "group") != "none"

    def _look_through(self, section, z, name, threshold, title, what, rule):
        """A page to click through a map, where the settings ask for it."""
        if self._interactive():
            section.add(
                interactive.map_link(
                    self.gallery, z, name, threshold=threshold, title=title, what=what, rule=rule
                )
            )

    def _background(self) -> tuple[Volume, Volume]:
        if not hasattr(self, "_template"):
            self._template = _template("T1w")[0], distance_from(template_brain())
        return self._template

    # ------------------------------------------------------------ connectivity

    def connectivity(self, section):
        """Group mean matrices."""
        paths = self.inputs.all("group_relmat")
        tasks = list(self.setting("connectivity.tasks", []) or [])
        if not paths:
            if not any(self.of("bold", task=t) for t in tasks):
                section.add(
                    Note(f"No run of task {', '.join(tasks) or '(none in the configuration)'}.", "missing")
                )
            else:
                need = self.setting("activation.group.min_participants", 3)
                n = len({p for t in tasks for p in self.who("bold", task=t)})
                section.add(
                    Note(
                        f"No group matrix: {plural(n, 'participant')} with a resting run; a mean needs at least {need}.",
                        "missing",
                    )
                )
            return
        section.add(*strategies.blocks(self.inputs, self.gallery))
        for path in paths:
            names = entities_of(path)
            task = names.get("task", "?")
            n = len(self.who("bold", task=task))
            section.add(
                matrix_picture(
                    self.inputs,
                    self.gallery,
                    path,
                    f"study_task-{task}",
                    f"Mean over {plural(n, 'participant')} of task {task}",
                )
            )
            mean = f"Mean over {plural(n, 'participant')} of task {task}"
            which = (self.inputs, self.gallery, path, f"study_task-{task}", mean)
            section.add(connectome.block(*which))
            if self._interactive():
                section.add(interactive.connectome_link(*which))
            section.add(circle.block(*which))
        section.add(*networks.blocks(self.inputs, self.gallery))
        if self.inputs.all("components"):
            section.add(*components.blocks(self.inputs, self.gallery, self._background()))
        section.add(
            Note(
                "Connectivity is sensitive to head motion. Compare participants only with motion as a covariate, and look at the "
                "runs marked in the section on data quality."
            )
        )

    # --------------------------------------------------------------------- PET

    def pet(self, section):
        """Quality of the scans by site and scanner, group maps, outcomes by region."""
        if not self.of("pet"):
            section.add(Note("This study has no PET scan.", "missing"))
            return
        pet_study.quality(section, self)
        tracers = list(dict.fromkeys(r["trc"] for r in self.of("pet")))
        for tracer in tracers:
            mine = {r["scan"] for r in self.of("pet", trc=tracer)}
            known = tracer != "n/a"
            name = f"tracer {tracer}" if known else "PET"
            section.add(Heading(f"Outcomes, {name}" if len(tracers) > 1 else "Outcomes"))
            pet_study.outcomes(section, self, mine, name, f"trc-{tracer.replace('/', '')}_" if known else "")
        if not self.inputs.all("kinpar"):
            section.add(Note("No kinetic table was made.", "missing"))

    # ------------------------------------------------------------------ fusion

    def fusion(self, section):
        """Which features exist for whom."""
        paths = self.inputs.all("features")
        if not paths:
            section.add(Note("No feature table was made.", "missing"))
            return
        for path in paths:
            atlas = entities_of(path).get("atlas", "")
            features = table(path)
            if not len(features):
                section.add(Note(f"The feature table of atlas {atlas} is empty.", "missing"))
                continue
            pairs = features[["modality", "measure"]].drop_duplicates().itertuples(index=False, name=None)
            about = {f"{modality} · {measure}": feature(modality, measure) for modality, measure in pairs}
            pairs = (name.split(" · ", 1) for name in about)
            deep = {" · ".join(pair) for pair in pairs if in_depth(*pair)}
            features["measure"] = features["modality"].astype(str) + " · " + features["measure"].astype(str)
            filled = (
                features[~features["measure"].isin(deep)]
                .assign(filled=features["value"].notna())
                .groupby(["participant_id", "measure"])["filled"]
                .mean()
                .unstack()
            )
            filled = filled.reindex([p for p in self.people if p in filled.index] or filled.index)
            filled = filled.reindex([*filled.index, *(p for p in self.people if p not in filled.index)])
            picture = (
                self.gallery.show(
                    figures.availability(filled),
                    f"study_atlas-{atlas}_availability.png",
                    f"Grid of participants by measure for atlas {atlas}: share of regions with a value.",
                    f"Features of atlas {atlas}: share of regions with a value by participant and measure; grey where the participant has "
                    "no such data. Missing values stay missing: they are never replaced by zero.",
                )
                if len(filled) <= MANY_PEOPLE
                else None
            )
            section.add(picture)
            summary = features.groupby("measure", sort=True).agg(
                people=("participant_id", "nunique"),
                regions=("region", "nunique"),
                middle=("value", "mean"),
                spread=("value", "std"),
            )
            units = (
                features.drop_duplicates("measure").set_index("measure")["unit"] if "unit" in features else {}
            )
            rows = [
                [
                    Cell(r.Index, note=about[r.Index]),
                    str(r.people),
                    str(r.regions),
                    Cell("–" if (u := str(units.get(r.Index, ""))) in ("1", "nan", "") else u),
                    number(r.middle, 3),
                    number(r.spread, 3),
                ]
                for r in summary.itertuples()
            ]
            heads = ["Modality · measure", "Participants", "Regions", "Unit", "Mean", "SD"]
            numeric = ("Participants", "Regions", "Mean", "SD")
            main = [row for row in rows if row[0].text not in deep]
            more = [row for row in rows if row[0].text in deep]
            named = "" if self.tables_only else f" of atlas {atlas}"
            caption = f"Measures in the feature table{named}, over participants and regions."
            section.add(Table(heads, main, caption, numeric=numeric))
            if more:
                caption = (
                    f"Rates, and outcomes of further kinetic models, in the feature table of atlas {atlas}. A prediction takes them only "
                    "where its configuration names them."
                )
                block = Table(heads, more, caption, numeric=numeric, compact=True)
                section.add(Fold(f"{len(more)} further measures of PET, atlas {atlas}", [block]))

    def coupling(self, section):
        """How function goes with binding or metabolism."""
        add_coupling(self, section)
        add_maps(self, section)

    # -------------------------------------------------------------- prediction

    def prediction(self, section):
        """Every declared model."""
        if not self.models and not self.inputs.all("outcomes"):
            why = "The configuration declares no predictive model (prediction.models)."
            if len(self.people) < 2:
                why = (
                    "Predictive models need several participants; this study has "
                    + str(len(self.people))
                    + "."
                )
            section.add(Note(why, "missing"))
            return
        section.add(self._models())
        for model in self.models:
            settings = model.get("settings", {})
            section.add(Heading(f"Model {model['name']}: {settings.get('target', '')}"))
            if model.get("status") == "UNAVAILABLE":
                section.add(Note(f"Not fitted: {model.get('reason')}.", "missing"))
                continue
            if settings.get("table") in ("cohort", "trial"):
                text = (
                    f"This model reads the built-in table of {model.get('participants')} invented people, not the participants "
                    "of this study: it shows what the models can do with enough people."
                )
                section.add(Note(text))
            if model.get("reason"):
                section.add(Note(model["reason"], "warn"))
            for text in model.get("warnings", []):
                section.add(Note(text, "warn"))
            if model.get("visits"):
                section.add(Prose([visits_in_words(model["visits"])]))
            self._model(section, model, settings)
            label = METRICS.get(model["primary_metric"], (model["primary_metric"],))[0]
            audit.add(section, model, lambda name: FEATURE_SETS.get(name, name), label)
        add_outcomes(self, section)

    def _models(self):
        """Every model in one line, with its page and its card."""
        files = [str(p).rsplit("/", 1)[-1] for p in self.inputs.all("model_pages")]
        pages = {file.removeprefix("model-").removesuffix(".html"): file for file in files}
        cards = {str(p).rsplit("/", 1)[-1] for p in self.inputs.all("cards")}
        if not pages:
            return None
        rows = []
        for model in self.models:
            main, name = main_set(model), model["name"]
            score = "–"
            if main:
                primary = model["primary_metric"]
                mean, low, high = interval(model["metrics"][main][primary], primary)
                score = f"{METRICS.get(primary, (primary,))[0]} {number(mean)}"
                score += f" [{number(low)}, {number(high)}]" if np.isfinite(low) else ""
            flags = (model.get("audit") or {}).get("flags") or []
            rows.append(
                [
                    Cell(name, href=pages.get(name, "")),
                    str(model.get("settings", {}).get("target", "")),
                    number(model.get("participants")) if model.get("participants") else "–",
                    score,
                    Cell("; ".join(flags) or "nothing", tone="warn" if flags else ""),
                    Cell("card", href=f"card-{name}.html") if f"card-{name}.html" in cards else "–",
                ]
            )
        heads = ["Model", "Target", "People", "Score [95 %]", "Found by the audit", "Model card"]
        about = "All models; each has a page of its own, and a card: use, limits, data, scores, checks."
        return Table(heads, rows, about, numeric=("People",))

    def _model(self, section, model, settings):
        metrics, primary = model["metrics"], model["primary_metric"]
        label, chance = METRICS.get(primary, (primary, None))
        main = main_set(model)
        order = [n for n in metrics if n not in FEATURE_SETS]
        order += [n for n in FEATURE_SETS if n in metrics and n not in BASELINES]
        order += [n for n in BASELINES if n in metrics]
        section.add(Prose([in_words(model, main, label, chance)]))
        targets.add_remarks(section, model)
        rows = [
            {
                "name": FEATURE_SETS.get(n, n),
                **dict(zip(("value", "low", "high"), interval(metrics[n][primary], primary), strict=True)),
                "kind": "baseline" if n in ("dummy", "demographics") else "model",
            }
            for n in order
            if primary in metrics[n]
        ]
        stem = f"study_model-{model['name']}"
        nested = (model.get("nested_intervals") or {}).get("status") == "ok"
        section.add(
            self.gallery.show(
                figures.scores(rows, label=label, chance=chance),
                f"{stem}_scores.svg",
                f"{label} of {len(rows)} feature sets of model {model['name']} with 95 % intervals.",
                f"Model {model['name']}: {label} of every feature set on identical folds, mean over folds with "
                f"{'nested' if nested else 'the corrected'} 95 % interval{'s' if nested else ''} "
                f"({'Bates et al. 2024' if nested else 'Nadeau and Bengio 2003'}), cut to what the score can be. Diamonds are baselines.",
            )
        )
        kinds = [m for m in METRICS if any(m in metrics[n] for n in order)]
        permuted = model.get("permutation") or {}
        tested = isinstance(permuted.get("p"), Mapping)
        heads = [
            "Feature set",
            "Features",
            *(METRICS[m][0] for m in kinds),
            *(["Permutation p"] if tested else []),
        ]
        body = []
        for n in order:
            row = [
                FEATURE_SETS.get(n, n),
                number(model.get("features", {}).get(n)) if n in model.get("features", {}) else "–",
            ]
            for m in kinds:
                value = metrics[n].get(m)
                if value is None:
                    row.append("–")
                    continue
                mean, low, high = interval(value, m)
                row.append(number(mean) + (f" [{number(low)}, {number(high)}]" if np.isfinite(low) else ""))
            if tested:
                row.append(number(of_set(permuted["p"], n), 3) if n in permuted["p"] else "–")
            body.append(row)
        section.add(
            Table(
                heads,
                body,
                f"Model {model['name']}: mean over folds with 95 % interval.",
                numeric=tuple(heads[1:]),
            )
        )
        targets.add_stacking(section, model, lambda name: FEATURE_SETS.get(name, name))
        self._predictions(section, model, settings, main, stem)
        if model.get("comparisons"):
            rows = [
                [f"{FEATURE_SETS.get(c['first'], c['first'])} against {FEATURE_SETS.get(c['second'], c['second'])}",
                 number(real(c["difference"]), 3), number(real(c["t"])), _p(real(c["p"])).removeprefix("p = ").removeprefix("p ")]
                for c in model["comparisons"]
            ]  # fmt: skip
            heads = ["Comparison", f"Difference in {label}", "t", "p"]
            section.add(
                Table(
                    heads,
                    rows,
                    "Does one feature set predict better than another? Corrected resampled t-test on identical folds.",
                    numeric=tuple(heads[1:]),
                )
            )
        flow = [
            [f"{step['step'][:1].upper()}{step['step'][1:]}", str(step["left"])]
            for step in model.get("flow", [])
        ]
        if flow:
            section.add(
                Fold(
                    "From all participants to those in the model",
                    [Table(["Step", "Participants left"], flow, numeric=("Participants left",))],
                )
            )

    def _predictions(self, section, model, settings, main, stem):
        path = self.inputs.find("predictions", model=model["name"])
        if path is None or main is None:
            return
        rows = table(path)
        rows = rows[rows["feature_set"] == main]
        if not len(rows):
            return
        rows = rows.assign(session_id=rows["session_id"].astype(object).fillna(""))
        classes = model.get("classes") or []
        label = self._with_unit(str(settings.get("target", "target")))
        shown = FEATURE_SETS.get(main, main)
        if targets.add_predictions(section, self.gallery, model, rows, named=shown, stem=stem, label=label):
            return
        if len(classes) == 2:
            rows = rows.assign(target=rows["target"].astype(str))
        mean = rows.groupby(["participant_id", "session_id"]).agg(
            target=("target", "first"), prediction=("prediction", "mean")
        )
        named = FEATURE_SETS.get(main, main)
        over = " Predictions are averaged over repeats of the cross-validation."
        if len(classes) == 2:
            truth = (mean["target"] == str(classes[1])).to_numpy()
            section.add(
                self.gallery.show(
                    figures.calibration(
                        truth,
                        mean["prediction"].to_numpy(float),
                        positive=str(classes[1]),
                        negative=str(classes[0]),
                    ),
                    f"{stem}_calibration.svg",
                    f"Calibration and held-out probabilities of model {model['name']}.",
                    f"Model {model['name']}, {named}: observed share of {classes[1]} against predicted probability, with 95 % Wilson "
                    f"intervals (left), and held-out probabilities of every participant (right).{over}",
                )
            )
        else:
            section.add(
                self.gallery.show(
                    figures.predicted_against_true(
                        mean["target"].to_numpy(float),
                        mean["prediction"].to_numpy(float),
                        label=self._with_unit(str(settings.get("target", "target"))),
                    ),
                    f"{stem}_predicted.svg",
                    f"Held-out predictions against true {settings.get('target')}.",
                    f"Model {model['name']}, {named}: held-out prediction against the true value of every participant; the dashed line is "
                    f"identity.{over}",
                )
            )

    def brainage(self, section):
        """Every declared brain age."""
        add_brain_age(self, section)

    def decoding(self, section):
        """Every declared decoding."""
        add_decoding(self, section)

    # ----------------------------------------------------------------- methods

    def methods(self, section):
        """Paragraphs and references."""
        texts, references = methods.paragraphs(self.config, self._facts())
        for heading, text in texts:
            section.add(Heading(heading), Prose([text]))
        section.add(Heading("References"), Prose(references, numbered=True))

    def _facts(self):
        sidecars = [read_json(p) for p in self.inputs.all("bold_json")]
        tasks = [r["task"] for r in self.setting("activation.tasks", []) or []]
        rest = [t for t in self.setting("connectivity.tasks", []) or [] if self.of("bold", task=t)]
        pet = [(entities_of(p).get("model", ""), read_json(p)) for p in self.inputs.all("kinpar_json")]
        return {
            "participants": len(self.people),
            "counts": {s: len(self.of(s)) for s in KINDS},
            "software": self.record.get("software", {}),
            "tr": [s["RepetitionTime"] for s in sidecars if "RepetitionTime" in s],
            "slice_timing": {
                bool(s["SliceTimingCorrected"])
                for s in sidecars
                if "SliceTimingCorrected" in s and "PreprocessedBy" not in s
            },
            "activation": {t: len(self.who("bold", task=t)) for t in tasks if self.of("bold", task=t)},
            "group_n": {
                t: len(self.who("bold", task=t))
                for t in tasks
                if self.inputs.find("group_z", task=t) is not None
            },
            "connectivity": rest,
            "tracers": [t for t in dict.fromkeys(r["trc"] for r in self.of("pet")) if t != "n/a"],
            "pet_frames": [
                q["frames"]
                for q in map(read_json, self.inputs.all("pet_qc"))
                if isinstance(q.get("frames"), int)
            ],
            "coregistration": {
                q["coreg_method"] for q in map(read_json, self.inputs.all("bold_qc")) if q.get("coreg_method")
            },
            "reference": [read_json(p) for p in self.inputs.all("reference_json")],
            "kinetics": pet,
            "curves": [read_json(p) for p in self.inputs.all("tacs_json")],
            "input": [read_json(p) for p in self.inputs.all("inputfunction_json")],
            "models": self.models,
            "brainage": [read_json(p) for p in self.inputs.all("brainage")],
            "coupling": [
                pair
                for path in self.inputs.all("coupling")
                for pair in read_json(path)["Pairs"]
                if pair["Participants"]
            ],
            "preprocessing": self.preprocessing,
        }

    # -------------------------------------------------------------- provenance

    def provenance(self, section):
        """Software, settings, checksums."""
        record = self.record
        section.add(
            Note(
                f"{plural(len(record['files']), 'file')} with SHA-256, the software and the settings are also in provenance.json beside "
                "this page. The record holds no host, user, date or absolute path, so two runs can be compared byte by byte."
            ),
            Table(
                ["Software", "Version"],
                [[k, v] for k, v in record["software"].items()],
                "Software versions.",
                compact=True,
            ),
            Fold(
                "Settings as used",
                [Code(json.dumps(record["config"], indent=2, sort_keys=True, ensure_ascii=False))],
            ),
            Fold(
                f"Checksums of {plural(len(record['files']), 'file')}",
                [
                    Table(
                        ["File", "Bytes", "SHA-256"],
                        [[f["file"], number(f["bytes"]), f["sha256"]] for f in record["files"]],
                        numeric=("Bytes",),
                        compact=True,
                    )
                ],
            ),
        )


def methods_label(column: str) -> str:
    """Column of participants.tsv in words."""
    return {"body_weight": "Body weight (kg)", "clinical_score": "Clinical score", "age": "Age (years)"}.get(
        column, column.capitalize()
    )
