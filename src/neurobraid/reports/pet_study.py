"""The group PET section of the study page: quality of the scans by site and scanner, and outcomes by region."""

from __future__ import annotations

import numpy as np

from neurobraid.reports import figures, pet_figures, pet_tables
from neurobraid.reports.gather import entities_of, plain_table, scan_of, sidecar_of, spell, table
from neurobraid.reports.measures import MEASURES, ORDER
from neurobraid.reports.pages import Cell, Fold, Heading, Note, Table, number
from neurobraid.reports.pet_pages import (
    MODELS,
    SYMBOLS,
    UNITLESS,
    by,
    flag_rows,
    in_order,
    outcome,
    significant,
)
from neurobraid.reports.planes import Volume

#: what a group of scans was scanned with, columns of the table of quality
KIND = ("tracer", "site", "scanner")
IDENTITY = ("bids_name", "participant_id", "session_id", *KIND, "warnings", "flags", "outlier")
#: rows of a table beyond which it is folded
LONG = 15


def letters(count: int) -> list[str]:
    """Short names of groups: A, B … Z, AA, AB …

    Examples
    --------
    >>> letters(2), letters(28)[-2:]
    (['A', 'B'], ['AA', 'AB'])
    """
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [("" if n < 26 else alphabet[n // 26 - 1]) + alphabet[n % 26] for n in range(count)]


def _label(metric: str) -> tuple[str, int]:
    known = MEASURES.get(metric)
    return (known.label, known.digits) if known else (spell(metric), 3)


def _short(name: str) -> str:
    """``sub-02_ses-1_trc-RAC_pet`` -> ``02 ses-1``: the tracer is the group's."""
    parts = [p for p in name.split("_")[:-1] if not p.startswith("trc-")]
    return " ".join([parts[0].removeprefix("sub-"), *parts[1:]])


def quality(section, study) -> None:
    """Quality of every PET scan, by tracer, site and scanner, and who stands out.

    Parameters
    ----------
    section : neurobraid.reports.pages.Section
    study : neurobraid.reports.study._Study
    """
    path = next(iter(study.inputs.all("pet_quality")), None)
    found = table(path)
    if found is None or not len(found):
        return
    texts = plain_table(path)
    section.add(Heading("Quality of the PET scans"))
    kinds = list(dict.fromkeys(zip(*(texts[c] for c in KIND), strict=True)))
    short = dict(zip(kinds, letters(len(kinds)), strict=True))
    mine = [short[kind] for kind in zip(*(texts[c] for c in KIND), strict=True)]
    flags = [set() if names in ("n/a", "none", "") else set(names.split(";")) for names in texts["flags"]]
    metrics = sorted(
        (c for c in found if c not in IDENTITY and found[c].notna().any()),
        key=lambda c: ORDER.get(c, len(ORDER)),
    )
    panels, same = [], []
    for metric in metrics:
        if found[metric].nunique() == 1 and len(found) > 1:
            same.append(
                f"{_label(metric)[0]} ({number(float(found[metric].dropna().iloc[0]), _label(metric)[1])})"
            )
            continue
        groups = []
        for letter in short.values():
            rows = [n for n, m in enumerate(mine) if m == letter]
            names = [_short(texts["bids_name"][n]) if metric in flags[n] else "" for n in rows]
            groups.append((letter, found[metric].to_numpy(float)[rows], names))
        panels.append((_label(metric)[0], groups))
    limit = sidecar_of(study.inputs, "pet_quality").get("FlagLimit", 3)
    if panels:
        section.add(
            study.gallery.show(
                figures.quality_strips(panels),
                "study_quality_pet.svg",
                f"Boxes and points of {len(panels)} quality measures of the PET scans by tracer, site and scanner.",
                f"Quality of {len(found)} PET scans by tracer, site and scanner (letters, see the table below): boxes to the quartiles, "
                "whiskers to the farthest value within one and a half box heights, one point per scan. Named in orange: scans that "
                "stand out among those of their own tracer, site and scanner."
                + (f" The same in every scan: {', '.join(same)}." if same else ""),
            )
        )
    rows = []
    for kind, letter in short.items():
        here = [n for n, m in enumerate(mine) if m == letter]
        judged = any(texts["flags"][n] != "n/a" for n in here)
        out = sum(bool(flags[n]) for n in here)
        rows.append(
            [
                letter,
                *(part if part not in ("", "n/a") else "not stated" for part in kind),
                str(len(here)),
                Cell(
                    str(out) if judged else "too few to judge",
                    tone="warn" if out else "" if judged else "mute",
                ),
            ]
        )
    section.add(
        Table(
            ["Group", "Tracer", "Site", "Scanner", "Scans", "Stand out"],
            rows,
            "Tracer, site and scanner of the PET scans.",
            numeric=("Scans",),
        )
    )
    _outliers(section, found, texts, mine, flags, limit)
    _numbers(section, found, texts, metrics, flags)


def _outliers(section, found, texts, mine, flags, limit):
    rows = []
    for n in (n for n, names in enumerate(flags) if names):
        mates = np.array([m == mine[n] for m in mine])
        said = []
        for metric in sorted(flags[n] & set(found), key=lambda c: ORDER.get(c, len(ORDER))):
            label, digits = _label(metric)
            middle = float(found.loc[mates, metric].median())
            said.append(
                f"{label}: {number(float(found[metric][n]), digits)} (median {number(middle, digits)})"
            )
        name = Cell(texts["bids_name"][n], href=f"{texts['participant_id'][n]}.html#pet")
        rows.append([name, mine[n], Cell("; ".join(said), tone="text")])
    if rows:
        block = Table(
            ["Scan", "Group", "What stands out"],
            rows,
            f"PET scans that stand out: {len(rows)} of {len(texts)}.",
            note=f"More than {limit:g} robust standard deviations from the median of the scans of the same tracer, site and scanner, "
            "in the bad direction. Look at their pages before leaving them in or out.",
        )
        section.add(
            block if len(rows) <= LONG else Fold(f"All {len(rows)} PET scans that stand out", [block])
        )
    elif any(names != "n/a" for names in texts["flags"]):
        section.add(Note("No PET scan stands out among those of its tracer, site and scanner."))
    few = sum(names == "n/a" for names in texts["flags"])
    if few:
        section.add(
            Note(
                f"{few} of {len(texts)} PET scans belong to a tracer, site and scanner with too few scans: nobody can stand out there."
            )
        )


def _numbers(section, found, texts, metrics, flags):
    heads = ["Scan", *(_label(m)[0] for m in metrics)]
    rows = []
    for n in range(len(found)):
        row = [Cell(texts["bids_name"][n], href=f"{texts['participant_id'][n]}.html#pet")]
        row += [
            Cell(number(float(found[m][n]), _label(m)[1]), tone="warn" if m in flags[n] else "")
            for m in metrics
        ]
        rows.append(row)
    meanings = [[_label(m)[0], MEASURES[m].meaning] for m in metrics if m in MEASURES and MEASURES[m].meaning]
    blocks = [Table(heads, rows, "Every number.", numeric=tuple(heads[1:]), compact=True)]
    if meanings:
        blocks.append(Table(["Measure", "What it says"], meanings, "What the numbers mean.", compact=True))
    section.add(Fold(f"All quality numbers of {len(found)} PET scans", blocks))


def outcomes(section, study, scans, name: str, tag: str) -> None:
    """Group maps and regional outcomes of the scans of one tracer.

    Parameters
    ----------
    section, study
        See `quality`.
    scans : set of str
    name : str
        Of the tracer, for captions.
    tag : str
        Of the tracer, for file names: empty where a study has one without a name.
    """
    for measure in SYMBOLS:
        _map(section, study, scans, name, tag, measure)
    for atlas in study.inputs.values("kinpar", "seg"):
        _regional(section, study, scans, atlas, name, tag)
    added = [record["name"] for record in study.setting("adopt.regions", []) or []]
    pet_tables.added_regions(section, study.inputs, scans, added)


def _map(section, study, scans, name, tag, measure):
    paths = [
        p
        for p in study.inputs.all("group_maps")
        if scan_of(p) in scans and entities_of(p).get("meas") == measure
    ]
    if not paths:
        return
    total, count, volume = None, None, None
    for path in paths:
        volume = Volume.read(path)
        # zero means that the voxel has no value
        good = np.isfinite(volume.data) & (volume.data != 0)
        total = np.where(good, volume.data, 0.0) + (0 if total is None else total)
        count = good.astype(int) + (0 if count is None else count)
    enough = count >= max(1, len(paths) / 2)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan, np.float32), where=enough)
    if not np.isfinite(mean).any():
        section.add(Note(f"No map of {measure}: no scan has a value ({name}).", "missing"))
        return
    shown = volume.with_data(mean.astype(np.float32))
    limits = pet_figures.scale_of([shown], [None])
    model = entities_of(paths[0]).get("model", "")
    start = 0.1 * limits[1]
    section.add(
        study.gallery.show(
            figures.intensity_map(
                shown,
                *study._background(),
                label=SYMBOLS[measure].split(" (")[0],
                limits=limits,
                show_from=start,
            ),
            f"study_{tag}pet_{measure.lower()}.png",
            f"Mean {measure} over {len(paths)} scans on fourteen axial slices of the template.",
            f"Mean {SYMBOLS[measure].replace('$', '').replace('_{', '').replace('}', '')} over {len(paths)} "
            f"{'scan' if len(paths) == 1 else 'scans'} ({name}; {MODELS.get(model, model)}). Values below {significant(start, 2)} are "
            "transparent. Underlay: MNI152 template; slice positions in mm.",
        )
    )


def _regional(section, study, scans, atlas, name, tag):
    import pandas as pd

    tables = {}
    for path in study.inputs.all("kinpar"):
        here = entities_of(path)
        if here.get("seg") == atlas and scan_of(path) in scans:
            tables.setdefault(here.get("model", ""), {})[scan_of(path)] = table(path)
    rows, drawn = [], set()
    for model in in_order(tables):
        main = next((m for t in tables[model].values() if (m := outcome(t)) is not None), None)
        if main is None:
            continue
        values = {}
        for scan, kinetics in tables[model].items():
            if main in kinetics:
                good = kinetics.drop_duplicates("name").set_index("name")
                # what a model flags is no measurement; the reference region binds nothing by definition
                fine = good["flag"].isin(["ok"]) if "flag" in good else pd.Series(True, index=good.index)
                values[scan] = good[main].astype(float).where(fine)
        frame = pd.DataFrame(values).T
        flagged = sum(count for t in tables[model].values() for _, count, _ in flag_rows(t))
        total = sum(len(t) for t in tables[model].values())
        have = int(frame.notna().any(axis=1).sum())
        regional = frame.median()
        rows.append(
            [
                Cell(model, note=MODELS.get(model, "")),
                main,
                f"{have} of {len(frame)}",
                number(100 * flagged / total if total else float("nan"), 1),
                significant(regional.median()),
                f"{significant(regional.min())} to {significant(regional.max())}" if have else "n/a",
                number(100 * float((frame.std() / frame.mean().abs()).median()), 1) if have > 1 else "–",
            ]
        )
        if not have:
            section.add(
                Note(
                    f"Atlas {atlas}, {model}: no region has an estimate of {main}; the reasons are in the kinetic tables.",
                    "warn",
                )
            )
            continue
        lost = [scan for scan in frame.index if not frame.loc[scan].notna().any()]
        if lost:
            section.add(Note(f"{model}, {atlas}: no believable {main} in {', '.join(lost)}.", "warn"))
        if main not in drawn:
            drawn.add(main)
            section.add(
                study.gallery.show(
                    figures.regional_box(
                        frame, label=SYMBOLS[main] + (" (unitless)" if main in UNITLESS else "")
                    ),
                    f"study_{tag}seg-{atlas}_{main.lower()}.svg",
                    f"Boxes of {main} over {len(frame)} scans for the regions with the highest medians.",
                    f"Regional {by(main, model)} over {have} {'scan' if have == 1 else 'scans'} ({name}, atlas {atlas}), the thirty regions "
                    "with the highest medians: boxes to the quartiles, whiskers to the extremes, one point per scan. Flagged regions are "
                    "left out.",
                )
            )
    if rows:
        heads = [
            "Model", "Outcome", "Scans with a value", "Flagged (%)", "Median", "Regions", "Spread between people (%)",
        ]  # fmt: skip
        section.add(
            Table(
                heads,
                rows,
                f"Outcomes of every model, atlas {atlas} ({name}).",
                numeric=tuple(heads[2:]),
                note="Median and range of the regional medians over scans; spread: median over regions of the standard deviation between "
                "scans over their mean.",
            )
        )
