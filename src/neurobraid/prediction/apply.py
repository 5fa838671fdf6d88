"""A stored model applied to people of another study: what does not fit is refused, what is unlike training is flagged."""

from pathlib import Path

import numpy as np

from neurobraid.errors import InputError, ProblemList
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.fusion.table import name_entities, wide
from neurobraid.jobs import log
from neurobraid.prediction.dataset import _check_features
from neurobraid.prediction.ood import Novelty, Space
from neurobraid.prediction.store import read_archive, unpack
from neurobraid.provenance import sha256, sidecar

COLUMNS = {
    "participant_id": "Person",
    "session_id": "Visit; n/a where a row is a person",
    "score": "Score, standardised by the training people's inner out-of-fold scores",
    "prediction": "Probability of the second class, or the predicted value in the unit of the target",
    "class": "The more probable class; n/a for a regression",
    "ood_distance": "Distance from the training people in units of the limit that 97.5 % of held-out training people pass",
    "ood_flag": "yes where the distance exceeds 1: the prediction is an extrapolation",
    "outside_share": "Share of the person's features outside the central 98 % of the training people (expected .02)",
    "missing_share": "Share of the model's features without a value, filled with training medians",
    "site_known": "Whether the model was trained on people of this site",
    "outside_range": "Confounds beyond the range of the training people, or with a new category; n/a: none",
}


class StoredModel:
    """A model read from its file.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    header : dict
        See `neurobraid.prediction.final.describe`.

    Raises
    ------
    InputError
        The file is damaged, of another version, or holds no fitted model.
    """

    def __init__(self, path):
        self.file = Path(path).name
        self.header, self._arrays = read_archive(path)
        header = self.header
        if header.get("status") == "UNAVAILABLE":
            raise InputError(
                self.file,
                "status",
                f"UNAVAILABLE ({header.get('reason')})",
                "a fitted model",
                "use another model",
            )
        try:
            self._members = {}
            for name, member in header["members"].items():
                self._members[name] = {
                    "blocks": {
                        block: [unpack(step, self._arrays) for step in steps]
                        for block, steps in member["blocks"].items()
                    },
                    "after": [unpack(step, self._arrays) for step in member["after"]],
                    "estimator": unpack(member["estimator"], self._arrays),
                    "calibrator": unpack(member["calibrator"], self._arrays),
                    "score": member["score"],
                }
            fusion = header["fusion"]
            self._fusion = fusion and {**fusion, "calibrator": unpack(fusion["calibrator"], self._arrays)}
            found = header["novelty"]
            self._novelty = Novelty(
                {n: Space(*(self._arrays[k] for k in s["arrays"])) for n, s in found["spaces"].items()},
                {n: np.array(s["scales"]) for n, s in found["spaces"].items()},
                found["limit"],
                found["held_out"],
            )
            self._ordinary = {r["name"]: [self._arrays[k] for k in r["ordinary"]] for r in header["features"]}
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise InputError(
                self.file, "content", f"not understood ({error})", "a model of this version",
                "write the model again with this version of neurobraid",
            ) from None  # fmt: skip

    # ------------------------------------------------------------------ checks

    def check(self, features, participants, *, atlas=None):
        """Refuse tables that are not of the model's kind; all problems at once.

        Parameters
        ----------
        features : pandas.DataFrame
        participants : pandas.DataFrame or None
        atlas : dict, optional
            ``name`` and ``sha256`` as far as they are known.

        Returns
        -------
        dict of str to pandas.DataFrame
            Table of every feature set, columns as in training.

        Raises
        ------
        InputErrors
        """
        header, problems = self.header, ProblemList()
        own = header["atlas"] or {}
        for key in ("name", "sha256"):
            if (atlas or {}).get(key) and own.get(key) and atlas[key] != own[key]:
                problems.add(
                    "fusion table", f"atlas {key}", atlas[key], f"{own[key]}, on which {header['name']} was trained",
                    "make the fusion table with the same atlas",
                )  # fmt: skip
        keys = ["participant_id", "session_id", "region", "modality", "measure"]
        twice = features[features.duplicated(keys)]
        if len(twice):
            row = twice.iloc[0]
            problems.add(
                "fusion table", f"{row['modality']} {row['measure']} {row['region']} of {row['participant_id']}", "twice",
                "every value once", "take each value from one table",
            )  # fmt: skip
            problems.raise_errors()
        views = {record["name"]: self._view(record, features, problems) for record in header["features"]}
        needed = [e["column"] for e in [*header["confounds"], *self._covariates]]
        if header["harmonize"]:
            needed.append(header["site"] or "site")
            if header["harmonize"]["unseen"] == "reference":
                needed.append(header["harmonize"]["reference"])
        here = list(participants.columns) if participants is not None else []
        for column in dict.fromkeys(n for n in needed if n not in here):
            problems.add(
                "participants.tsv", "column", f"{column} missing", f"the columns {', '.join(dict.fromkeys(needed))}",
                "give --participants with the columns that the model was trained with",
            )  # fmt: skip
        if participants is not None:
            known = participants["participant_id"]
            for person in known[known.duplicated()].unique()[:5]:
                problems.add(
                    "participants.tsv", "participant_id", f"{person} twice", "every participant once", "remove the extra row"
                )  # fmt: skip
            for entry in [*header["confounds"], *self._covariates]:
                self._check_column(entry, participants, problems)
        problems.raise_errors()
        return views

    @property
    def _covariates(self):
        return self.header["harmonize"]["covariates"] if self.header["harmonize"] else []

    def _view(self, record, features, problems):
        units = features[["modality", "measure", "unit"]].drop_duplicates()
        for key, unit in record["units"].items():
            modality, measure = key.split(" ", 1)
            part = units[units["modality"].eq(modality) & units["measure"].eq(measure)]
            found = sorted({u if u == u else "n/a" for u in part["unit"]})
            if len(found) > 1 or (found and found[0] != unit):
                problems.add(
                    "fusion table", f"unit of {key}", ", ".join(found), unit, f"convert the values to {unit}"
                )
        # a table without the modality has no rows, which is a missing modality and no other feature set
        view = wide(
            features, record["modality"], measure=record["measure"], region=record["region"],
            rows=self.header["rows"], min_coverage=self.header["min_coverage"],
        )  # fmt: skip
        columns = record["columns"]
        lacking = [c for c in columns if c not in view]
        absent = len(lacking) == len(columns) and not features["modality"].isin(record["modality"]).any()
        if absent and self.header["missing_modality"] == "complete":
            problems.add(
                "fusion table", "modality", f"no {', '.join(record['modality'])}", "every modality of the model",
                "add the table of this modality",
            )  # fmt: skip
        elif lacking and not absent:
            other = [c for c in view if c not in set(columns)]
            more = f"; the table has instead {', '.join(other[:3])}" if other else ""
            problems.add(
                "fusion table", f"features of {record['name']}",
                f"{len(lacking)} of {len(columns)} missing for everybody ({', '.join(lacking[:3])}"
                f"{' …' if len(lacking) > 3 else ''}{more})",
                f"the features that {self.header['name']} was trained on",
                "make the fusion table with the same atlas, measures and tasks",
            )  # fmt: skip
        return view.reindex(columns=columns)

    @staticmethod
    def _check_column(entry, participants, problems):
        import pandas as pd

        column = entry["column"]
        if entry["levels"] is not None or column not in participants:
            return
        numbers = pd.to_numeric(participants[column], errors="coerce")
        wrong = participants[column][numbers.isna() & participants[column].notna()]
        if len(wrong):
            problems.add(
                "participants.tsv",
                column,
                wrong.iloc[0],
                "a number or n/a, as in training",
                "correct the column",
            )

    # ------------------------------------------------------------------ numbers

    def _code(self, people, entries, n):
        """Confounds or covariates as in training, (rows, columns), and what lies outside for each row."""
        import pandas as pd

        parts, outside = [np.empty((n, 0))], [[] for _ in range(n)]
        for entry in entries:
            values = people[entry["column"]]
            missing = values.isna().to_numpy()
            if entry["levels"] is None:
                numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
                odd = (numbers < entry["low"]) | (numbers > entry["high"])
                parts.append(numbers[:, None])
            else:
                text = values.astype(str).to_numpy()
                coded = (text[:, None] == np.array(entry["levels"], dtype=str)).astype(np.float64)
                odd = ~coded.any(axis=1) & ~missing
                coded[missing] = np.nan
                parts.append(coded)
            for row in np.flatnonzero(odd):
                outside[row].append(entry["column"])
        return np.concatenate(parts, axis=1), outside

    def _tables(self, views, index, people):
        """Tables of the feature sets, laid out as in training, the reference rows, sites, and what lies outside."""
        header, n = self.header, len(index)
        confounds, outside = self._code(people, header["confounds"], n)
        sites = np.full(n, "", dtype=object)
        if header["site"] and people is not None and header["site"] in people:
            sites = people[header["site"]].fillna("n/a").to_numpy().astype(str)
        before, reference, names = np.empty((n, 0)), np.zeros(n, dtype=bool), ()
        if header["harmonize"]:
            covariates, beyond = self._code(people, self._covariates, n)
            outside = [sorted({*a, *b}) for a, b in zip(outside, beyond, strict=True)]
            if header["harmonize"]["unseen"] == "reference":
                column = people[header["harmonize"]["reference"]].astype(str).str.lower()
                reference = column.isin(["1", "1.0", "true", "yes"]).to_numpy()
            names = (*header["sites"], *sorted(set(sites.tolist()) - set(header["sites"])))
            codes = np.array([names.index(s) for s in sites], dtype=np.float64)
            before = np.concatenate(
                [covariates, reference[:, None].astype(np.float64), codes[:, None]], axis=1
            )
        tables = {
            name: np.concatenate([v.reindex(index).to_numpy(dtype=np.float64), before, confounds], axis=1)
            for name, v in views.items()
        }
        return tables, reference, sites, outside, names

    def _prepare(self, member, tables, rows, names, ready):
        """Features of some rows as the estimator sees them; those of each block are kept for the distance."""
        parts = []
        for block, steps in member["blocks"].items():
            values = tables[block][rows]
            for step in steps:
                if hasattr(step, "names"):
                    # sites of the new study follow those of training
                    step.names = names
                values = step.transform(values)
            ready[block] = np.full((len(tables[block]), values.shape[1]), np.nan)
            ready[block][rows] = values
            parts.append(values)
        values = np.concatenate(parts, axis=1)
        for step in member["after"]:
            values = step.transform(values)
        return values

    def predict(self, features, participants=None, *, atlas=None):
        """Predictions for the people of another study.

        Parameters
        ----------
        features : pandas.DataFrame
            Fusion table.
        participants : pandas.DataFrame, optional
            Needed where the model has confounds or harmonises sites.
        atlas : dict, optional
            See `check`.

        Returns
        -------
        pandas.DataFrame
            Columns `COLUMNS`. People without the modalities that the model needs have n/a; reference people of
            the harmonisation, from whom a new site is estimated, are left out.

        Raises
        ------
        InputError or InputErrors
        """
        import pandas as pd

        header = self.header
        if participants is not None:
            _check_features(
                features, participants.drop_duplicates("participant_id").set_index("participant_id")
            )
        elif np.isinf(features["value"].to_numpy(dtype=np.float64)).any():
            raise InputError(
                "fusion table",
                "value",
                "infinite",
                "finite numbers or n/a",
                "find the division by zero, or write n/a",
            )
        views = self.check(features, participants, atlas=atlas)
        index = None
        for view in views.values():
            index = view.index if index is None else index.union(view.index)
        index = index.sort_values()
        ids = index.get_level_values("participant_id").to_numpy(dtype=object)
        people = None
        if participants is not None:
            known = np.isin(ids, participants["participant_id"].to_numpy(dtype=object))
            if (~known).any():
                log.warning(
                    "%d rows of people who are not in participants.tsv are left out", int((~known).sum())
                )
            index, ids = index[known], ids[known]
            people = participants.set_index("participant_id", drop=False).loc[ids]
        if not len(index):
            raise InputError(
                "fusion table", "participants", "none", "people with the model's features",
                "check the identifiers and the modalities of the table",
            )  # fmt: skip
        tables, reference, sites, outside, names = self._tables(views, index, people)
        raw, prediction, ready = self._score(tables, names, len(index), views)
        mean, spread = (self._fusion or next(iter(self._members.values())))["score"]
        distance = self._novelty.distance(ready)
        unknown, beyond = np.zeros(len(index)), np.zeros(len(index))
        total, seen = 0, np.zeros(len(index))
        for name, view in views.items():
            values = view.reindex(index).to_numpy(dtype=np.float64)
            low, high = self._ordinary[name]
            finite = np.isfinite(values)
            unknown += (~finite).sum(axis=1)
            with np.errstate(invalid="ignore"):
                beyond += (finite & ((values < low) | (values > high))).sum(axis=1)
            seen += finite.sum(axis=1)
            total += values.shape[1]
        fine = np.isfinite(raw)
        sessions = (
            index.get_level_values("session_id").to_numpy(dtype=object)
            if header["rows"] == "visit"
            else np.full(len(ids), "", object)
        )
        classes = header["classes"]
        named = np.where(prediction >= 0.5, classes[1], classes[0]).astype(object) if classes else None
        out = pd.DataFrame(
            {
                "participant_id": ids,
                "session_id": pd.Series(sessions, dtype=object).replace("", np.nan),
                "score": (raw - mean) / spread,
                "prediction": prediction,
                "class": pd.Series(
                    np.where(fine, named, None) if classes else [None] * len(ids), dtype=object
                ),
                "ood_distance": np.where(fine, distance, np.nan),
                "ood_flag": np.where(~fine, None, np.where(distance > 1, "yes", "no")),
                "outside_share": beyond / np.maximum(seen, 1),
                "missing_share": unknown / max(total, 1),
                "site_known": [
                    None if not s else "yes" if s in header["sites"] else "no" for s in sites.tolist()
                ],
                "outside_range": [", ".join(o) or None for o in outside],
            }
        )
        return out[~reference].reset_index(drop=True)[list(COLUMNS)]

    def _score(self, tables, names, n, views):
        header = self.header
        impute = header["missing_modality"] == "impute"
        available = {}
        for name, view in views.items():
            columns = len(view.columns)
            available[name] = np.isfinite(tables[name][:, :columns]).any(axis=1) | impute
        whole = np.all(list(available.values()), axis=0)
        needed = header["missing_modality"] == "complete"
        ready, total, count = {}, np.zeros(n), np.zeros(n)
        single = np.full(n, np.nan)
        for name, member in self._members.items():
            there = available.get(name, np.any(list(available.values()), axis=0))
            rows = np.flatnonzero(there & whole if needed else there)
            if not rows.size:
                for block in member["blocks"]:
                    kept = len(self._novelty.spaces[block].mean) if block in self._novelty.spaces else 0
                    ready[block] = np.full((n, kept), np.nan)
                continue
            X = self._prepare(member, tables, rows, names, ready)
            single[rows] = member["estimator"].scores(X)[:, 0]
            if self._fusion:
                mean, spread = self._fusion["standard"][name]
                total[rows] += (single[rows] - mean) / spread
                count[rows] += 1
        if not self._fusion:
            calibrator = next(iter(self._members.values()))["calibrator"]
            return single, np.where(np.isfinite(single), calibrator.apply(single), np.nan), ready
        raw = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return (
            raw,
            np.where(np.isfinite(raw), self._fusion["calibrator"].apply(raw), np.nan),
            ready,
        )


def read_features(paths):
    """Fusion tables of one study, one below the other.

    Parameters
    ----------
    paths : iterable of path-like

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    InputError
        A table is missing, or lacks a column.
    """
    import pandas as pd

    parts = []
    for path in paths:
        _there(path)
        table = read_tsv(path, text=("modality", "measure", "unit", "source"))
        needed = (
            "participant_id",
            "session_id",
            "region",
            "modality",
            "measure",
            "value",
            "unit",
            "coverage",
        )
        for column in needed:
            if column not in table:
                raise InputError(
                    Path(path).name, "column", f"{column} missing", ", ".join(needed),
                    "give the tidy fusion table (desc-fusion_features.tsv)",
                )  # fmt: skip
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _there(path):
    if not Path(path).is_file():
        raise InputError(Path(path).name, "file", "missing", "a table", "check the path")


def predict_study(model, features, output, *, participants=None, atlas=None):
    """Apply a stored model to the tables of another study and write the predictions with their sidecar.

    Parameters
    ----------
    model : path-like
        ``…_model.zip``; a sidecar beside it, if there is one, must have its checksum.
    features : list of path-like
        Fusion tables.
    output : path-like
        ``.tsv``; a ``.json`` is written beside it.
    participants : path-like, optional
    atlas : path-like, optional
        Region table of the fusion table's atlas; without it only the atlas's name is compared.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    InputError or InputErrors
    """
    model, output = Path(model), Path(output)
    if output.suffix != ".tsv":
        raise InputError(output.name, "output", output.suffix or "no ending", ".tsv", "name a table")
    for path in (participants, atlas):
        if path:
            _there(path)
    stored = StoredModel(model)
    beside = model.with_suffix(".json")
    digest = sha256(model)
    if beside.is_file() and read_json(beside).get("Sha256", digest) != digest:
        raise InputError(
            model.name,
            "SHA-256",
            digest,
            f"that of {beside.name}",
            "get both files again from where they were made",
        )
    names = {name_entities(p).get("atlas", "") for p in features} - {""}
    found = {"name": names.pop() if len(names) == 1 else "", "sha256": sha256(atlas) if atlas else ""}
    people = read_tsv(participants) if participants else None
    table = stored.predict(read_features(features), people, atlas=found)
    write_tsv(table, output)
    header = stored.header
    write_json(
        sidecar(
            f"Predictions of {header['target']} by the stored model {header['name']}.",
            [Path(p).name for p in (*features, *([participants] if participants else []), model)],
            Columns={name: {"Description": text} for name, text in COLUMNS.items()},
            Model={
                "Name": header["name"],
                "Sha256": digest,
                "Target": header["target"],
                "Classes": header["classes"],
                "TrainingPeople": header["training"]["people"],
                "Manifest": header["training"]["manifest"],
                "NeurobraidVersion": header["versions"]["neurobraid"],
            },
            UnseenSite=header["harmonize"]["unseen"] if header["harmonize"] else None,
            Use="Research only; not for clinical use.",
        ),
        output.with_suffix(".json"),
    )
    return table
