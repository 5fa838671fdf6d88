"""The PET part of a participant's page: one function per block, from the files that the PET stage wrote."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from neurobraid.reports import figures, pet_figures, style
from neurobraid.reports.gather import json_of, table, without_dates
from neurobraid.reports.pages import Cell, Fold, Heading, Note, Table, number

#: models in words, in the order of the pages
MODELS = {
    "SRTM": "simplified reference tissue model",
    "SRTM2": "simplified reference tissue model with one k2′",
    "MRTM1": "multilinear reference tissue model",
    "MRTM2": "multilinear reference tissue model with one k2′",
    "refLogan": "reference Logan plot",
    "refmlLogan": "multilinear reference Logan",
    "refPatlak": "reference Patlak plot",
    "SUVR": "ratio of standardised uptake values",
    "1TCM": "one-tissue compartment model",
    "2TCM": "two-tissue compartment model",
    "2TCMirr": "irreversible two-tissue compartment model",
    "Logan": "Logan plot",
    "MA1": "multilinear analysis MA1",
    "Patlak": "Patlak plot",
}
PLASMA = ("1TCM", "2TCM", "2TCMirr", "Logan", "MA1", "Patlak")

#: what a model is fitted for: the first of these that its table has
OUTCOMES = ("BPND", "VT", "Ki", "Kref", "SUVR")
#: outcomes and delivery in the letters of the field, for axes
SYMBOLS = {
    "BPND": "BP$_{ND}$",
    "VT": "V$_{T}$ (mL/cm³)",
    "Ki": "K$_{i}$ (mL/cm³/min)",
    "Kref": "K$_{ref}$ (1/min)",
    "SUVR": "SUVR",
    "R1": "R$_{1}$",
}
UNITLESS = ("BPND", "SUVR", "R1")
#: parameters in plain text, for headings
NAMES = {
    "k2prime": "k2′",
    "residual_sd": "Residual SD",
    "runs_p": "Runs p",
    "coverage": "Coverage",
    "centiloid": "Centiloid",
}
NOT_PARAMETERS = ("name", "flag", "undetermined", "coverage", "max_residual", "residual_sd", "runs_p")
FINE = ("ok", "reference")

#: axes of the plots of graphical models
AXES = {
    "refLogan": ("(∫R dt + R/k2′) / C (min)", "∫C dt / C (min)"),
    "refPatlak": ("∫R dt / R (min)", "C / R"),
    "Logan": ("∫Cp dt / C (min)", "∫C dt / C (min)"),
    "MA1": ("∫Cp dt / C (min)", "∫C dt / C (min)"),
    "Patlak": ("∫Cp dt / Cp (min)", "C / Cp (mL/cm³)"),
}
#: slope of the line of a plot from the table's parameter
SLOPES = {
    "refLogan": ("BPND", 1.0),
    "refPatlak": ("Kref", 0.0),
    "Logan": ("VT", 0.0),
    "MA1": ("VT", 0.0),
    "Patlak": ("Ki", 0.0),
}
PVC_METHODS = {
    "gtm": "geometric transfer matrix",
    "labbe": "Labbé",
    "rbv": "region-based voxel-wise",
    "iy": "iterative Yang",
    "mg": "Müller-Gärtner",
}
SHOWN = 4
#: coverage from which a region counts as seen
FULL = 0.995
FD_LIMIT_MM = 3.0
#: runs of residuals less likely than this are counted
RUNS_P = 0.05


def significant(value, digits: int = 3) -> str:
    """A number with significant digits, true minus sign, ``n/a`` for missing.

    Examples
    --------
    >>> significant(0.012345), significant(12.345), significant(float("nan")), significant(-1e-5)
    ('0.0123', '12.3', 'n/a', '−1e−05')
    """
    try:
        real = float(value)
    except (TypeError, ValueError):
        return "n/a"
    if real != real:
        return "n/a"
    if abs(real) >= 10**digits:
        return number(real, 0)
    return f"{real:.{digits}g}".replace("-", "\N{MINUS SIGN}")


def by(measure: str, model: str) -> str:
    """A measure and how it was made: ``BPND by SRTM (simplified reference tissue model)``.

    Examples
    --------
    >>> by("SUVR", "SUVR")
    'SUVR (ratio of standardised uptake values)'
    """
    how = MODELS.get(model, model)
    return f"{measure} ({how})" if measure == model else f"{measure} by {model} ({how})"


def outcome(columns) -> str | None:
    """What a model was fitted for, from the columns of its table."""
    return next((name for name in OUTCOMES if name in columns), None)


def in_order(models) -> list[str]:
    """Models in the order of `MODELS`, others last."""
    known = list(MODELS)
    return sorted(dict.fromkeys(models), key=lambda m: known.index(m) if m in known else len(known))


def parameters(kinetics) -> list[str]:
    """Columns of a table of a model that are parameters, standard errors left out."""
    return [c for c in kinetics if c not in NOT_PARAMETERS and not c.endswith("_se")]


def parameter_table(kinetics, units: Mapping | None = None, caption: str = "") -> Table:
    """All estimates of a model, one row per region: value ± standard error, runs test, and why not to believe it.

    Parameters
    ----------
    kinetics : pandas.DataFrame
        ``…_kinpar.tsv``.
    units : mapping, optional
        Unit of each parameter.
    caption : str
    """
    columns = parameters(kinetics)
    more = [c for c in ("residual_sd", "runs_p") if c in kinetics]
    if "coverage" in kinetics and (kinetics["coverage"] < FULL).any():
        more.append("coverage")
    heads = ["Region"]
    for column in (*columns, *more):
        unit = str((units or {}).get(column, "1"))
        heads.append(NAMES.get(column, column) + ("" if unit in ("1", "") else f" ({unit})"))
    rows = []
    for record in kinetics.to_dict("records"):
        row = [str(record["name"])]
        for column in columns:
            error = record.get(f"{column}_se", np.nan)
            shown = significant(record[column])
            row.append(shown if error != error or shown == "n/a" else f"{shown} ± {significant(error, 2)}")
        row += [significant(record[c]) for c in more]
        flag = record.get("flag", "")
        flag = "" if flag != flag else str(flag)
        loose = record.get("undetermined", "none")
        note = "" if loose in ("none", "") or loose != loose else f"not determined: {loose}"
        row.append(Cell(without_dates(flag), tone="" if flag in FINE else "warn", note=note))
        rows.append(row)
    return Table([*heads, "Flag"], rows, caption, numeric=tuple(heads[1:]), compact=True)


def flag_rows(kinetics, limit: int = 6) -> list[tuple[str, int, str]]:
    """Reasons not to believe regions of one model: (reason, number of regions, their names).

    Parameters
    ----------
    kinetics : pandas.DataFrame
    limit : int
        Names that are written out.
    """
    if "flag" not in kinetics:
        return []
    found = []
    bad = kinetics[~kinetics["flag"].isin(FINE) & kinetics["flag"].notna()]
    for reason, rows in bad.groupby("flag", sort=True):
        names = [str(n) for n in rows["name"]]
        text = ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
        found.append((str(reason), len(names), "all" if len(names) == len(kinetics) else text))
    return found


class Scan:
    """Blocks of one PET scan on a participant's page.

    Parameters
    ----------
    page : neurobraid.reports.participant._Participant
        Gives inputs, gallery, volumes and the paired anatomy.
    name : str
        Scan.
    """

    def __init__(self, page, name: str):
        self.page, self.name = page, name
        self.inputs, self.gallery = page.inputs, page.gallery
        self.frames = frame_columns(table(self.find("pet_frames")))
        self.quality = {**json_of(self.find("pet_qc")), **json_of(self.find("curves_qc"))}

    def find(self, kind, **entities):
        """File of a kind of this scan."""
        return self.inputs.find(kind, self.name, **entities)

    def confounds(self):
        """Motion of every frame; of adopted curves that are cut short, of the frames that are left."""
        found = table(self.find("pet_confounds"))
        adopted = not str(self.quality.get("preprocessed_by", "neurobraid")).startswith("neurobraid")
        if adopted and found is not None and self.frames is not None and len(found) > len(self.frames):
            return found.iloc[: len(self.frames)]
        return found

    def models(self, atlas) -> list[str]:
        """Models with a table for an atlas."""
        paths = [p for p in self.inputs.values("kinpar", "model") if self.find("kinpar", seg=atlas, model=p)]
        return in_order(paths)

    def show(self, section) -> None:
        """Add every block."""
        self.registration(section)
        self.motion(section)
        self.frame_table(section)
        self.input_function(section)
        for atlas in self.inputs.values("tacs", "seg"):
            self.regions(section, atlas)
        self.maps(section)

    # ----------------------------------------------------------------------------------------- registration and motion

    def _to_scan(self):
        from neurobraid.images.transforms import read_affines

        matrix = self.find("petref_xfm")
        return read_affines(matrix)[0] if matrix else None

    def registration(self, section):
        """PET and T1w under each other's edges, with the score and its null."""
        moving, matrix, anatomy = (
            self.find("petref"),
            self._to_scan(),
            self.page._anatomy_of("pet", self.name),
        )
        if moving is None or matrix is None or anatomy is None:
            return
        paired, t1w, mask, tissue = anatomy
        reference = self.page.volume(moving, matrix)
        brain = self.page.volume(mask)
        outer, hot = pet_figures.edge_levels(reference, brain)
        labels = self.page.volume(tissue)
        drawn = pet_figures.both_ways(
            reference,
            self.page.volume(t1w),
            ("PET reference in T1w space, edges of the T1w", "T1w, edges of the PET"),
            [
                ("brain mask of the T1w", style.SKY, brain),
                ("white matter of the T1w", style.LIME, figures.labelled(labels, 2)),
            ],
            [("edge of the PET", style.ORANGE, outer), ("high uptake of the PET", style.VERMILION, hot)],
            brain,
            self.page.near(mask),
        )
        section.add(
            self.gallery.flicker(
                drawn,
                f"{self.name}_pet_coregistration",
                ("reference", "T1w"),
                ("PET with edges of the T1w", "T1w with edges of the PET"),
                f"Axial, coronal and sagittal slices of {self.name} with the edges of the other image.",
                f"{self.name}: PET reference in the space of the T1w {paired} under the edges of the T1w, and that T1w under lines "
                f"of equal activity of the PET ({number(outer, 1)} and {number(hot, 1)} kBq/mL). Rigid alignment; slice positions "
                f"in mm. {self._score()}",
            )
        )

    def _score(self) -> str:
        score, null, best, above = (
            self.quality.get(f"coreg_{key}") for key in ("score", "null_mean", "null_max", "above_null")
        )
        if not all(isinstance(v, int | float) for v in (score, null, best, above)):
            return ""
        verdict = (
            "The alignment is far better than any wrong orientation."
            if score > best and above > 5
            else "A wrong orientation scores nearly as well: look at the alignment before believing anything below."
        )
        return (
            f"Mutual information {number(score, 3)}; turned to 23 wrong orientations the same head has {number(null, 3)} on "
            f"average and at most {number(best, 3)}. {verdict}"
        )

    def motion(self, section):
        """The reference before and after the correction, profiles through the head, and the estimated motion."""
        confounds = self.confounds()
        fitting = confounds is not None and self.frames is not None and len(confounds) == len(self.frames)
        if fitting and len(confounds) < 2:
            section.add(Note("A scan of one frame has no motion between frames to be corrected."))
            return
        before, after, matrix = self.find("uncorrected"), self.find("petref"), self._to_scan()
        anatomy = self.page._anatomy_of("pet", self.name)
        if before and after and matrix is not None and anatomy:
            _, _, mask, _ = anatomy
            brain = self.page.volume(mask)
            drawn = figures.registration(
                self.page.volume(before, matrix),
                self.page.volume(after, matrix),
                ("Mean of the frames as recorded", "Mean of the frames with their motion taken out"),
                [("brain mask of the T1w", style.SKY, brain)],
                brain,
                self.page.near(mask),
            )
            section.add(
                self.gallery.flicker(
                    drawn,
                    f"{self.name}_pet_motioncorrection",
                    ("before", "after"),
                    ("Before correction", "After correction"),
                    f"Axial, coronal and sagittal slices of the mean PET image of {self.name} before and after motion correction.",
                    f"{self.name}: duration-weighted mean of the frames before and after the correction of motion between them, in "
                    "the space of the T1w with the outline of its brain mask. Motion blurs the first; slice positions in mm.",
                )
            )
        fd = None if not fitting else confounds.get("framewise_displacement")
        drawn_from = table(self.find("profiles"))
        if drawn_from is not None and self.frames is not None:
            section.add(
                self.gallery.show(
                    pet_figures.motion_profiles(
                        drawn_from, self.frames, None if fd is None else fd.to_numpy(float)
                    ),
                    f"{self.name}_pet_profiles.png",
                    f"Activity along three lines through the head in every frame of {self.name}, before and after motion correction.",
                    f"{self.name}: activity along three lines through the middle of the brain, one column per frame (each on its own "
                    "grey scale), before (top) and after (middle) the correction of motion, and framewise displacement (FD, bottom). "
                    "The head's edges jump where it moved; after the correction they run straight.",
                )
            )
        if fitting:
            section.add(
                self.gallery.show(
                    figures.pet_motion(self.frames, confounds),
                    f"{self.name}_pet_motion.svg",
                    f"Head motion between PET frames of {self.name} over minutes after injection.",
                    f"{self.name}: estimated shifts and turns of every frame against the reference (left) and framewise displacement "
                    f"between frames (right){self._estimated_by()}. Motion is corrected after reconstruction: a mismatch with the "
                    "attenuation map remains.",
                )
            )

    def _estimated_by(self) -> str:
        program = str(self.quality.get("preprocessed_by", "neurobraid"))
        if program.startswith("neurobraid"):
            return ". Early frames without enough counts take the motion of the first later one"
        return f", as estimated by {program}"

    def frame_table(self, section):
        """Every frame with its times, folded away."""
        if self.frames is None:
            return
        confounds = self.confounds()
        fd = None if confounds is None else confounds.get("framewise_displacement")
        weights = table(self.find("pet_weights"))
        start, end = (self.frames[c].to_numpy(float) / 60 for c in ("frame_start", "frame_end"))
        gaps = np.append(0.0, start[1:] - end[:-1])
        rows = []
        for n in range(len(self.frames)):
            row = [str(n), number(start[n], 2), number(end[n], 2), number(60 * (end[n] - start[n]), 0)]
            row.append(Cell(f"{gaps[n]:.1f} min gap before", tone="warn") if gaps[n] > 1e-3 else "")
            if fd is not None and len(fd) == len(self.frames):
                far = float(fd.iloc[n]) > FD_LIMIT_MM
                row.append(Cell(number(float(fd.iloc[n])), tone="warn" if far else ""))
            if weights is not None and "weight" in weights and len(weights) == len(self.frames):
                row.append(number(float(weights["weight"].iloc[n]), 3))
            rows.append(row)
        heads = ["Frame", "Start (min)", "End (min)", "Duration (s)", "Gap", "FD (mm)", "Weight in the fits"]
        heads = heads[: len(rows[0])] if rows else heads
        if rows and fd is None and len(rows[0]) == 6:
            heads[5] = "Weight in the fits"
        caption = f"Frames of {self.name}, times after injection. Marked: displacement above {FD_LIMIT_MM:g} mm, and gaps."
        section.add(
            Fold(
                f"Frame table, {len(rows)} {'frame' if len(rows) == 1 else 'frames'}",
                [Table(heads, rows, caption, numeric=tuple(h for h in heads if h != "Gap"), compact=True)],
            )
        )

    # -------------------------------------------------------------------------------------------------- input function

    def input_function(self, section):
        """Plasma, whole blood and parent fraction, or why there is none although a model asks for it."""
        wanted = [m for m in self.inputs.values("kinpar", "model") if m in PLASMA]
        found, notes = table(self.find("inputfunction")), json_of(self.find("inputfunction_json"))
        if not wanted:
            return
        section.add(Heading("Arterial input function"))
        if found is None or not len(found):
            reason = notes.get("Missing") or "the scan has no blood"
            section.add(
                Note(
                    f"No input function: {reason}. {', '.join(in_order(wanted))} have no value here.",
                    "missing",
                )
            )
            return
        end = (
            float(self.frames["frame_end"].iloc[-1]) / 60
            if self.frames is not None
            else found["time"].max() / 60
        )
        delay = notes.get("DelaySeconds")
        delay = float(delay) if isinstance(delay, int | float) else 0.0
        model = str(notes.get("ParentFractionModel", "n/a"))
        origin = {"fit": "fitted to the whole-brain curve", "given": "as configured"}.get(
            str(notes.get("DelaySource")), ""
        )
        section.add(
            self.gallery.show(
                pet_figures.input_function(found, table(self.find("samples")), delay_s=delay, end_min=end),
                f"{self.name}_pet_input.svg",
                f"Whole blood, plasma and metabolite-corrected plasma of {self.name} over time, and the parent fraction.",
                f"{self.name}: arterial blood, decay-corrected to injection: whole blood, plasma, and the parent tracer in plasma that "
                "is the input of the models; points are samples, lines what the models were given. Parent fraction: "
                f"{model}. A delay of {number(delay, 0)} s ({origin}) was taken off the recording.",
            )
        )
        if notes.get("DelayFlag"):
            section.add(Note(f"Delay {notes['DelayFlag']}.", "warn"))
        remarks = [without_dates(str(text)) for text in notes.get("Messages", [])]
        if remarks:
            section.add(Note(f"Remarks on the blood: {'; '.join(remarks)}."))

    # ---------------------------------------------------------------------------------------------------------- regions

    def regions(self, section, atlas):
        """Everything by region of one atlas."""
        curves, plain = (table(self.find(kind, seg=atlas)) for kind in ("tacs", "tacs_plain"))
        if curves is None:
            return
        models = self.models(atlas)
        tables = {m: table(self.find("kinpar", seg=atlas, model=m)) for m in models}
        notes = {m: json_of(self.find("kinpar_json", seg=atlas, model=m)) for m in models}
        section.add(Heading(f"Regions of atlas {atlas}"))
        first = next((tables[m] for m in models if outcome(tables[m]) is not None), None)
        chosen = chosen_curves(curves, first)
        self._fits(section, atlas, chosen, curves, plain if plain is not None else curves, tables, notes)
        self._plots(section, atlas, chosen, tables, notes)
        self._overview(section, atlas, tables, notes)
        self._bars(section, atlas, tables, notes)
        self._flags(section, tables)
        blocks = [
            parameter_table(
                kinetics,
                notes[model].get("Units"),
                f"{model}, atlas {atlas}: value ± standard error of the fit.",
            )
            for model, kinetics in tables.items()
        ]
        if blocks:
            section.add(Fold(f"All regional estimates, atlas {atlas}: {', '.join(tables)}", blocks))
        self._partial_volume(section, atlas, curves, plain)

    def _fits(self, section, atlas, chosen, curves, plain, tables, notes):
        dynamic = {m: table(self.find("fits", seg=atlas, model=m)) for m in tables}
        dynamic = {m: f for m, f in dynamic.items() if f is not None}
        if not chosen:
            return
        minutes = pet_figures.minutes_of(curves)
        for plasma, word in ((False, "reference-tissue"), (True, "plasma-input")):
            mine = [m for m in dynamic if (m in PLASMA) == plasma and _any_fit(dynamic[m], chosen)]
            if not mine and (plasma or dynamic):
                continue
            measured = plain if plasma else curves
            panels = [
                (
                    r,
                    measured[r].to_numpy(float),
                    {m: dynamic[m][r].to_numpy(float) for m in mine if r in dynamic[m]},
                )
                for r in chosen
                if r in measured
            ]
            reference = next(
                (dynamic[m]["reference"].to_numpy(float) for m in mine if "reference" in dynamic[m]), None
            )
            tstars = {m: _tstar(notes[m]) for m in mine}
            told = "; ".join(f"{m} from {v:.1f} min" for m, v in tstars.items() if v > 0)
            pvc = str(notes[mine[0]].get("PartialVolumeCorrection", "none")) if mine else "none"
            corrected = (
                f" Curves are corrected for partial volume ({PVC_METHODS.get(pvc, pvc)})."
                if pvc != "none"
                else ""
            )
            fitted = (
                f"the curves of {', '.join(mine)} (lines), and what they leave over (below)"
                if mine
                else "no model was fitted to them"
            )
            section.add(
                self.gallery.show(
                    pet_figures.tac_fits(minutes, panels, models=mine, reference=reference, tstars=tstars),
                    f"{self.name}_seg-{atlas}_pet_{'plasma' if plasma else 'reference'}fits.svg",
                    f"Time-activity curves of {len(panels)} regions of {self.name} with fits of {word} models and residuals.",
                    f"{self.name}, atlas {atlas}: time-activity curves, decay-corrected to injection (points), of regions spread over "
                    f"the range of the first model; {fitted}. "
                    + (f"Dotted: t*, {told}. " if told else "")
                    + "Residuals that stay on one side of zero say that the model does not describe the curve."
                    + corrected,
                )
            )

    def _plots(self, section, atlas, chosen, tables, notes):
        panels = []
        for model, kinetics in tables.items():
            points = table(self.find("plots", seg=atlas, model=model))
            if points is None or not len(points) or model not in AXES:
                continue
            indexed = kinetics.drop_duplicates("name").set_index("name")
            column, shift = SLOPES[model]
            lines = []
            for region in chosen[:SHOWN]:
                mine = points[points["name"] == region]
                if len(mine) and region in indexed.index:
                    slope = float(indexed.loc[region, column]) + shift
                    lines.append((region, mine, slope, float(indexed.loc[region].get("intercept", np.nan))))
            if lines:
                panels.append((model, *AXES[model], _tstar(notes[model]), lines))
        if panels:
            section.add(
                self.gallery.show(
                    pet_figures.graphical(panels),
                    f"{self.name}_seg-{atlas}_pet_plots.svg",
                    f"Plots of {', '.join(p[0] for p in panels)} of {self.name} with their straight lines.",
                    f"{self.name}, atlas {atlas}: plots of the models that read a slope from a straight line. Full points are at or "
                    "after t*, from where the line is fitted; open ones are not used. C is the tissue curve, R the reference region, "
                    "Cp the parent tracer in plasma. A curve among the full points means that t* is too early.",
                )
            )

    def _overview(self, section, atlas, tables, notes):
        rows = []
        for model, kinetics in tables.items():
            main = outcome(kinetics)
            if main is None:
                continue
            values = kinetics[main].astype(float)
            fitted = int(values.notna().sum())
            flagged = sum(count for _, count, _ in flag_rows(kinetics))
            whole = values.abs() + (1.0 if main == "BPND" else 0.0)
            errors = kinetics.get(f"{main}_se")
            share = None if errors is None else 100 * float((errors / whole.where(whole > 0)).median())
            runs = kinetics.get("runs_p")
            tested = 0 if runs is None else int(runs.notna().sum())
            start = _tstar(notes[model])
            rows.append(
                [
                    Cell(model, note=MODELS.get(model, "")),
                    main,
                    str(fitted),
                    Cell(str(flagged), tone="warn" if flagged else ""),
                    "–" if share is None or share != share else number(share, 1),
                    "–" if not tested else f"{int((runs < RUNS_P).sum())} of {tested}",
                    number(start, 1) if start > 0 else "–",
                    PVC_METHODS.get(pvc := str(notes[model].get("PartialVolumeCorrection", "none")), pvc),
                ]
            )
        if rows:
            heads = [
                "Model", "Outcome", "Regions with a value", "Flagged", "Median SE (%)", "Residuals in runs", "t* (min)", "Partial volume",
            ]  # fmt: skip
            section.add(
                Table(
                    heads,
                    rows,
                    f"Models at a glance, atlas {atlas}.",
                    numeric=tuple(heads[2:7]),
                    note=f"SE: standard error of the outcome (for BPND of 1 + BPND). Residuals in runs: regions whose residuals keep one "
                    f"sign longer than chance allows (p < {RUNS_P:g}); about one in twenty does by chance, many more mean that the model "
                    f"does not describe the tracer. {self._shared(notes)}",
                )
            )

    def _shared(self, notes) -> str:
        """What all models of the scan were given, in a sentence."""
        told = []
        first = next((n for n in notes.values() if n.get("ReferenceRegions")), {})
        names = list(first.get("ReferenceRegions", []))
        if names:
            listed = ", ".join(map(str, names)) if len(names) <= 4 else f"{len(names)} regions of the atlas"
            told.append(f"Reference region: {listed}.")
        k2 = next(
            (n["K2Prime1PerMin"] for n in notes.values() if isinstance(n.get("K2Prime1PerMin"), float)), None
        )
        if k2 is not None:
            source = next((n.get("K2PrimeSource") for n in notes.values() if n.get("K2PrimeSource")), "")
            told.append(f"k2′ = {significant(k2)} per min ({source}).")
        window = notes.get("SUVR", {}).get("WindowMin")
        if isinstance(window, list):
            told.append(f"SUVR window {window[0]:g} to {window[1]:g} min after injection.")
        blood = next((n["BloodFraction"] for n in notes.values() if "BloodFraction" in n), None)
        if blood is not None:
            told.append(
                f"Fraction of blood in tissue: {blood if isinstance(blood, str) else f'{float(blood):g}'}."
            )
        return " ".join(told)

    def _bars(self, section, atlas, tables, notes):
        seen = set()
        for model, kinetics in tables.items():
            main = outcome(kinetics)
            if main is None or main in seen or not kinetics[main].notna().any():
                continue
            # a ratio of uptake beside binding or volume would show the same order of regions once more
            if main == "SUVR" and set(tables) - {"SUVR"}:
                continue
            seen.add(main)
            indexed = kinetics.drop_duplicates("name").set_index("name")
            label = SYMBOLS[main] + (" (unitless)" if main in UNITLESS else "")
            errors = indexed.get(f"{main}_se")
            bars = "; bars are one standard error of the fit" if errors is not None else ""
            section.add(
                self.gallery.show(
                    figures.regional_bars(indexed[main], errors, label=label),
                    f"{self.name}_seg-{atlas}_pet_{main.lower()}.svg",
                    f"Bars of regional {main} of {self.name}, highest thirty regions.",
                    f"{self.name}, atlas {atlas}: {by(main, model)} of the thirty highest regions{bars}.",
                )
            )

    def _flags(self, section, tables):
        rows = []
        for model, kinetics in tables.items():
            for reason, count, names in flag_rows(kinetics):
                rows.append(
                    [model, Cell(without_dates(reason), tone="text"), str(count), Cell(names, tone="text")]
                )
        if rows:
            block = Table(
                ["Model", "Why not to believe the value", "Regions", "Which"],
                rows,
                "Flagged regions and the reason. Their values stay in the tables below, but not in the fusion table.",
                numeric=("Regions",),
            )
            section.add(
                block if len(rows) <= 15 else Fold(f"{len(rows)} reasons not to believe a value", [block])
            )
        elif tables:
            section.add(Note("No region of any model is flagged."))

    def _partial_volume(self, section, atlas, curves, plain):
        notes = json_of(self.find("tacs_json", seg=atlas))
        method = notes.get("PartialVolumeCorrection", "none")
        if method in ("none", None) or plain is None:
            return
        names = [c for c in curves if c not in ("frame_start", "frame_end") and c in plain]
        weights = _late_weights(curves)
        below = {k: table(self.find(k)) for k in ("reference", "reference_plain")}
        ratios = {}
        for key, values, kind in (("before", plain, "reference_plain"), ("after", curves, "reference")):
            unit = 1.0 if below[kind] is None else float(weights @ below[kind]["reference"].to_numpy(float))
            ratios[key] = values[names].T @ weights
            ratios[f"{key} ratio"] = ratios[key] / unit
        psf = " × ".join(f"{float(v):g}" for v in notes.get("PointSpreadFWHMmm", []))
        condition = notes.get("ConditionNumber")
        word = PVC_METHODS.get(method, str(method))
        tail = f"{self.name}, atlas {atlas}: "
        section.add(
            self.gallery.show(
                pet_figures.before_and_after(
                    ratios["before ratio"],
                    ratios["after ratio"],
                    label="late activity over that of\nthe reference region",
                    names=("as measured", f"corrected ({word})"),
                ),
                f"{self.name}_seg-{atlas}_pet_partialvolume.svg",
                f"Regional activity of {self.name} relative to the reference region before and after partial-volume correction.",
                f"{tail}mean activity in the second half of the scan over that of the reference region, before and after the correction "
                f"for partial volume ({word}, point spread {psf} mm full width at half maximum, condition number "
                f"{significant(condition)}); the thirty highest regions. A large condition number multiplies noise; a point spread 1 mm "
                "off changes cortical values by 6 to 15 %.",
            )
        )
        rows = []
        for region in names:
            first, last = float(ratios["before"][region]), float(ratios["after"][region])
            change = 100 * (last / first - 1) if first else np.nan
            rows.append(
                [
                    region,
                    number(first, 2),
                    number(last, 2),
                    number(change, 1),
                    number(float(ratios["before ratio"][region]), 3),
                    number(float(ratios["after ratio"][region]), 3),
                ]
            )
        heads = [
            "Region", "Before (kBq/mL)", "After (kBq/mL)", "Change (%)", "Over reference, before", "Over reference, after",
        ]  # fmt: skip
        caption = f"{tail}mean activity in the second half of the scan before and after partial-volume correction ({word})."
        block = Table(heads, rows, caption, numeric=tuple(heads[1:]), compact=True)
        section.add(Fold(f"Partial-volume correction by region, atlas {atlas}", [block]))

    # ------------------------------------------------------------------------------------------------------------- maps

    def maps(self, section):
        """Parametric maps of every model with the voxels that are not to be believed."""
        from neurobraid.reports.gather import entities_of, scan_of

        anatomy = self.page._anatomy_of("pet", self.name)
        if anatomy is None:
            return
        _, t1w, mask, _ = anatomy
        found = []
        for path in self.inputs.all("pet_maps"):
            names = entities_of(path)
            if scan_of(path) == self.name and names.get("meas") in SYMBOLS:
                # delivery looks the same by every model
                if names["meas"] == "R1" and any(f[1] == "R1" for f in found):
                    continue
                valid = self.find("pet_valid", model=names["model"])
                found.append(
                    (names["model"], names["meas"], self.page.volume(path), valid and self.page.volume(valid))
                )
        order = in_order(m for m, *_ in found)
        found.sort(key=lambda f: (list(SYMBOLS).index(f[1]) if f[1] in SYMBOLS else 9, order.index(f[0])))
        for plasma, word in ((False, "reference-tissue models"), (True, "models with a plasma input")):
            mine = [f for f in found if (f[0] in PLASMA) == plasma and (f[2].data != 0).any()]
            if not mine:
                continue
            limits = {}
            for measure in dict.fromkeys(f[1] for f in mine):
                same = [f for f in mine if f[1] == measure]
                limits[measure] = pet_figures.scale_of([f[2] for f in same], [f[3] for f in same])
            rows = [
                (
                    measure if measure == model else f"{model}, {measure}",
                    values,
                    valid,
                    SYMBOLS[measure].split(" (")[0],
                    limits[measure],
                )
                for model, measure, values, valid in mine
            ]
            shares = []
            for model, valid in {f[0]: f for f in mine}.items():
                if valid[3] is not None:
                    fitted = valid[2].data != 0
                    good = fitted & (valid[3].data > 0.5)
                    shares.append(f"{model} {number(100 * good.sum() / max(fitted.sum(), 1), 1)} %")
            units = "; ".join(
                f"{m} in {SYMBOLS[m].split(' (')[1].rstrip(')')}" for m in limits if " (" in SYMBOLS[m]
            )
            section.add(
                self.gallery.show(
                    pet_figures.parametric_maps(
                        rows, self.page.volume(t1w), self.page.volume(mask), self.page.near(mask)
                    ),
                    f"{self.name}_pet_{'plasma' if plasma else 'reference'}maps.png",
                    f"Parametric maps of {self.name} by {word} on axial slices of the T1w, with voxels not to be believed.",
                    f"{self.name}: maps fitted voxel by voxel by {word}, over the T1w{f' ({units})' if units else ''}. Turquoise: "
                    "voxels whose fit is not to be believed (a rate at the end of its range); grey: no value, or next to nothing. Voxels "
                    "to be believed, of those with a value: "
                    f"{', '.join(shares) or 'not recorded'}. Slice positions in mm.",
                )
            )


def frame_columns(frames):
    """Frame table with ``frame_start`` and ``frame_end`` in s, whatever the two are called; None where it has neither."""
    if frames is None:
        return None
    names = {
        "start": "frame_start",
        "end": "frame_end",
        "frame_start_s": "frame_start",
        "frame_end_s": "frame_end",
    }
    frames = frames.rename(columns={k: v for k, v in names.items() if k in frames and v not in frames})
    return frames if {"frame_start", "frame_end"} <= set(frames.columns) else None


def chosen_curves(curves, kinetics, count: int = SHOWN) -> list[str]:
    """Regions spread over the range of the outcome (over the table, where nothing was fitted).

    Parameters
    ----------
    curves : pandas.DataFrame
        One column per region.
    kinetics : pandas.DataFrame or None
        ``name``, an outcome (`OUTCOMES`), perhaps ``flag``; the reference region's own parts are left out.
    count : int
    """
    regions = [
        c
        for c in curves.columns
        if c not in ("frame_start", "frame_end", "reference") and curves[c].notna().all()
    ]
    main = None if kinetics is None else outcome(kinetics)
    if main is not None:
        rows = kinetics.drop_duplicates("name").set_index("name")
        if "flag" in rows:
            rows = rows[rows["flag"] != "reference"]
        values = rows[main].reindex([r for r in regions if r in rows.index]).dropna()
        if len(values):
            # even steps of the outcome, not of rank: most regions of a brain bind alike
            chosen: list[str] = []
            for level in np.linspace(values.max(), values.min(), count):
                left = values.drop(chosen)
                if len(left):
                    chosen.append((left - level).abs().idxmin())
            return chosen
    at = np.unique(np.round(np.linspace(0, len(regions) - 1, count)).astype(int)) if regions else []
    return [regions[i] for i in at]


def _tstar(notes: Mapping) -> float:
    value = notes.get("TStarMin")
    return float(value) if isinstance(value, int | float) else 0.0


def _any_fit(fits, regions) -> bool:
    return any(r in fits and fits[r].notna().any() for r in regions)


def _late_weights(curves) -> np.ndarray:
    """Weights of the frames whose middle lies in the second half of the scan, by duration, sum 1."""
    start, end = curves["frame_start"].to_numpy(float), curves["frame_end"].to_numpy(float)
    late = (start + end) / 2 >= start[0] + 0.5 * (end[-1] - start[0])
    late[-1] = True
    duration = np.where(late, end - start, 0.0)
    return duration / duration.sum()
