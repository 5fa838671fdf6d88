"""The page of one participant: figures and tables from the files that the stages wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from neurobraid import __version__
from neurobraid.files import write_json
from neurobraid.reports import figures, run_record, spec
from neurobraid.reports.carpet import carpet
from neurobraid.reports.faces import near_brain
from neurobraid.reports.gather import (
    Inputs,
    entities_of,
    json_of,
    participant_facts,
    plain_table,
    quality_rows,
    quality_warnings,
    scan_of,
    sidecar_of,
    table,
    without_dates,
)
from neurobraid.reports.pages import (
    Cell,
    Fold,
    Gallery,
    Heading,
    Note,
    Numbers,
    Page,
    Section,
    Table,
    number,
    write,
)
from neurobraid.reports.planes import Volume

KINDS = {"T1w": "T1w", "bold": "BOLD", "pet": "PET"}
BP = "BP$_{ND}$"


def write_participant(
    participant: str, inputs: Mapping, *, page, figures_dir, record, config: Mapping
) -> None:
    """Write the page of one participant, its figures, and the checksums of the files behind it.

    Parameters
    ----------
    participant : str
        ``sub-…``.
    inputs : mapping of str to path or list of paths
        Files by kind; every kind may be absent (see ``workflow/rules/9_report.smk``).
    page, figures_dir, record : path-like
        Outputs.
    config : mapping
        The study's settings.
    """
    job = _Participant(participant, Inputs(inputs), Gallery(figures_dir, page), config)
    run_record_ = run_record.checksums(job.inputs.everything())
    sections = []
    for name, title, lead in spec.PARTICIPANT:
        section = Section(name, title, lead)
        if name == "provenance":
            _provenance(section, run_record_)
        else:
            getattr(job, name)(section)
        sections.append(section)
    write_json({"participant_id": participant, "files": run_record_}, record)
    write(
        Page(
            title=participant,
            subtitle=f"Participant report · {config.get('title', 'study')}",
            kind="participant",
            sections=sections,
            links=[("← Study report", "index.html")],
            footer=f"neurobraid {__version__}. Left is shown on the left.",
        ),
        page,
    )


def _provenance(section: Section, files: list[dict]) -> None:
    rows = [[f["file"], number(f["bytes"]), Cell(f["sha256"])] for f in files]
    section.add(
        Note(
            f"Made by neurobraid {__version__} from {len(files)} files. Versions of all software and the settings of the run "
            "are in the study report."
        ),
        Fold(
            "Files behind this page, with SHA-256",
            [Table(["File", "Bytes", "SHA-256"], rows, numeric=("Bytes",), compact=True)],
        ),
    )


class _Participant:
    """Builds the sections of one page; one method per section id."""

    def __init__(self, participant, inputs, gallery, config):
        self.participant, self.inputs, self.gallery, self.config = participant, inputs, gallery, config
        self._volumes = {}

    # ------------------------------------------------------------------ shared

    def setting(self, *keys, default=None):
        """A value of the config, or the default where it is not set."""
        value = self.config
        for key in keys:
            if not isinstance(value, Mapping) or key not in value:
                return default
            value = value[key]
        return value

    def volume(self, path, matrix=None) -> Volume:
        """Read an image once."""
        if path not in self._volumes:
            self._volumes[path] = Volume.read(path)
        volume = self._volumes[path]
        return volume if matrix is None else Volume(volume.data, volume.affine, matrix)

    def mine(self, kind):
        """Rows of an index table that belong to this participant, as text."""
        found = plain_table(self.inputs.find(kind) or next(iter(self.inputs.all(kind)), None))
        if found is None or not len(found):
            return []
        if "participant_id" in found:
            found = found[found["participant_id"] == self.participant]
        else:
            found = found[found["scan"].str.match(rf"{re.escape(self.participant)}(_|$)")]
        return found.to_dict("records")

    def t1w_of(self, suffix, scan):
        """Scan name of the T1w paired with a scan (the only one, if the table does not say)."""
        for row in self.mine("pairing"):
            if row["scan"] == scan and row["suffix"] == suffix and row.get("t1w_scan", "n/a") != "n/a":
                return row["t1w_scan"]
        known = self.inputs.scans("t1w")
        return known[0] if len(known) == 1 else None

    def absent(self, suffix, what):
        """Say why there is nothing: excluded scans with their reasons, or no scan at all."""
        reasons = [
            f"{r['scan']}: {without_dates(r['reason'])}"
            for r in self.mine("exclusions")
            if r["suffix"] == suffix
        ]
        if reasons:
            return Note(
                f"No {what}: every {KINDS[suffix]} scan was left out. " + "; ".join(reasons) + ".", "missing"
            )
        return Note(f"No {what}: there is no {KINDS[suffix]} scan for this participant.", "missing")

    # ---------------------------------------------------------------- sections

    def summary(self, section):
        """Scans, pairing, what participants.tsv says, remarks."""
        scans = self.mine("scans")
        pairing = {(r["suffix"], r["scan"]): r for r in self.mine("pairing")}
        items = []
        for suffix, label in KINDS.items():
            count = sum(r["suffix"] == suffix for r in scans)
            items.append((str(count), f"{label} {'scan' if count == 1 else 'scans'} analysed", ""))
        fd = [v for path in self.inputs.all("confounds") if (v := _median_fd(path)) is not None]
        if fd:
            items.append(
                (number(float(np.median(fd))), "median framewise displacement (mm)", "over BOLD runs")
            )
        kinetics = [t for path in self.inputs.all("srtm") if "BPND" in (t := table(path))]
        if kinetics:
            top = max(kinetics, key=lambda t: t["BPND"].max())
            items.append(
                (
                    number(float(top["BPND"].max())),
                    "highest regional BPND",
                    str(top.loc[top["BPND"].idxmax(), "name"]),
                )
            )
        section.add(Numbers(items))
        descriptions = json_of(next(iter(self.inputs.all("participants_json")), None))
        facts = participant_facts(
            plain_table(next(iter(self.inputs.all("participants")), None)), self.participant, descriptions
        )
        if facts:
            section.add(
                Table(["Characteristic", "Value"], [list(f) for f in facts], "From participants.tsv.")
            )
        rows = []
        for row in scans:
            pair = pairing.get((row["suffix"], row["scan"]), {})
            rule = pair.get("rule", "")
            cross = rule not in ("", "same-session")
            rows.append(
                [
                    row["scan"],
                    KINDS.get(row["suffix"], row["suffix"]),
                    Cell(pair.get("t1w_scan", "–"), tone="" if pair else "mute"),
                    Cell(
                        without_dates(pair.get("reason", "–")),
                        tone="warn" if cross else "mute" if not pair else "",
                    ),
                ]
            )
        if rows:
            section.add(
                Table(
                    ["Scan", "Kind", "Paired T1w", "Why"],
                    rows,
                    "Scans analysed, and the T1w each one is paired with.",
                )
            )
        left = [
            [
                r["scan"] if r["scan"] != "n/a" else r["participant_id"],
                KINDS.get(r["suffix"], r["suffix"]),
                without_dates(r["reason"]),
            ]
            for r in self.mine("exclusions")
        ]
        if left:
            section.add(Table(["Scan", "Kind", "Reason"], left, "Scans left out."))
        for suffix, what in (("bold", "BOLD"), ("pet", "PET")):
            if not any(r["suffix"] == suffix for r in scans):
                section.add(self.absent(suffix, f"{what} results"))

    def anatomy(self, section):
        """Brain mask, tissues, normalisation."""
        scans = self.inputs.scans("t1w")
        if not scans:
            section.add(self.absent("T1w", "anatomy"))
            return
        for scan in scans:
            if len(scans) > 1:
                section.add(Heading(scan))
            t1w, mask, tissue = (self.inputs.find(k, scan) for k in ("t1w", "brain", "dseg"))
            if mask and tissue:
                head = near_brain(self.volume(t1w), self.volume(mask))
                drawn = figures.anatomy(head, self.volume(mask), self.volume(tissue))
                section.add(
                    self.gallery.show(
                        drawn,
                        f"{scan}_T1w_anatomy.png",
                        f"Slices of the T1w of {scan} with the outline of the brain mask, and the same image with tissue classes.",
                        f"{scan}: T1w after bias correction with the outline of the brain mask (above) and tissue classes grey "
                        "matter, white matter and cerebrospinal fluid (below). Slice positions in mm.",
                    )
                )
            normal = self.inputs.find("t1w_mni", scan)
            if normal:
                fixed, edge, inside = _template("T1w", "WM", "brain")
                drawn = figures.normalisation(near_brain(self.volume(normal), inside), fixed, edge)
                section.add(
                    self.gallery.show(
                        drawn,
                        f"{scan}_T1w_normalised.png",
                        f"Slices of the normalised T1w of {scan} above the template, both with the same white-matter outline.",
                        f"{scan}: T1w in template space (above) and the MNI152 template (below). Both carry the outline of the "
                        "template's white matter (probability 0.5).",
                    )
                )
        self._quality(section, "anat_qc", "Quality numbers of the anatomy.")

    def _quality(self, section, kind, caption):
        columns = {scan: json_of(self.inputs.find(kind, scan)) for scan in self.inputs.scans(kind)}
        rows = quality_rows(columns)
        for scan, content in columns.items():
            for text in quality_warnings(content):
                section.add(Note(f"{scan}: {without_dates(text)}", "warn"))
        if rows:
            names = [c.removeprefix(f"{self.participant}_") for c in columns]
            section.add(Table(["Measure", *names], rows, caption, numeric=tuple(names)))

    def bold(self, section):
        """Coregistration and motion of every run."""
        scans = self.inputs.scans("confounds")
        if not scans:
            section.add(self.absent("bold", "BOLD preprocessing"))
            return
        for scan in scans:
            section.add(Heading(scan))
            self._coregistration(
                section, "bold", scan, "boldref", "boldref_xfm", "BOLD reference in T1w space"
            )
            self._motion(section, scan)
        self._quality(section, "bold_qc", "Quality numbers of the BOLD runs.")

    def _coregistration(self, section, suffix, scan, kind, transform, name):
        from neurobraid.images.transforms import read_affines

        moving, matrix = self.inputs.find(kind, scan), self.inputs.find(transform, scan)
        paired = self.t1w_of(suffix, scan)
        t1w, mask, tissue = (
            self.inputs.find(k, paired) if paired else None for k in ("t1w", "brain", "dseg")
        )
        if not all((moving, matrix, t1w, mask, tissue)):
            return
        matter = self.volume(tissue)
        bold = suffix == "bold"
        edge = matter.with_data((matter.data == 2).astype(np.float32)) if bold else self.volume(mask)
        inside = self.volume(mask)
        drawn = figures.registration(
            near_brain(self.volume(moving, read_affines(matrix)[0]), inside),
            near_brain(self.volume(t1w), inside),
            edge,
            self.volume(mask),
            (name, "T1w"),
            "#ffb000" if bold else "#56d4e9",
        )
        what = "white matter" if bold else "brain mask"
        section.add(
            self.gallery.show(
                drawn,
                f"{scan}_{suffix}_coregistration.png",
                f"Slices of the {KINDS[suffix]} reference of {scan} above the T1w, both with the outline of the T1w's {what}.",
                f"{scan}: {KINDS[suffix]} reference image brought to the T1w {paired} (above) and that T1w (below), both with "
                f"the outline of the T1w's {what}. Rigid alignment.",
            )
        )

    def _motion(self, section, scan):
        confounds = table(self.inputs.find("confounds", scan))
        info = sidecar_of(self.inputs, "bold_json", scan) or json_of(self.inputs.find("bold_json", scan))
        raw = self.inputs.find("raw_bold", scan)
        tr, series = info.get("RepetitionTime"), None
        picture = None
        if raw:
            from neurobraid.images import io

            image = io.load(raw)
            tr = tr or float(image.header.get_zooms()[3])
            mask, tissue, matrix = (
                self.inputs.find("bold_mask", scan),
                None,
                self.inputs.find("boldref_xfm", scan),
            )
            paired = self.t1w_of("bold", scan)
            tissue = self.inputs.find("dseg", paired) if paired else None
            if mask and tissue and matrix:
                from neurobraid.images.transforms import read_affines

                # stored integers halve the memory; the carpet is scaled to standard deviations anyway
                series = np.asarray(image.dataobj.get_unscaled())
                to_t1w = np.linalg.inv(read_affines(matrix)[0])
                picture = carpet(series, self.volume(mask), self.volume(tissue, to_t1w))
        tr = float(tr or 1.0)
        count = len(confounds)
        threshold = float(self.setting("bold", "fd_threshold_mm", default=0.5))
        if picture is not None and picture[0].shape[1] != count:
            picture = None
        drawn = figures.motion(
            confounds,
            seconds=np.arange(count) * tr,
            fd_threshold=threshold,
            dvars_threshold=self.setting("bold", "std_dvars_threshold", default=None),
            carpet=picture,
        )
        fd = confounds.get("framewise_displacement")
        share = (
            ""
            if fd is None
            else f" {int((fd > threshold).sum())} of {count} volumes are above {threshold:g} mm."
        )
        tail = (
            " Below, the recorded signal before correction: voxels by tissue, in standard deviations."
            if picture
            else ""
        )
        section.add(
            self.gallery.show(
                drawn,
                f"{scan}_bold_motion.png",
                f"Head motion, framewise displacement, DVARS{' and carpet of voxel signals' if picture else ''} of {scan} over time.",
                f"{scan}: estimated shifts (mm) and turns (degrees), framewise displacement (FD; Power et al. 2012) and "
                f"standardised DVARS; dashed lines are the thresholds of the configuration.{share}{tail}",
            )
        )

    def activation(self, section):
        """Fixed-effects z maps of every contrast."""
        tasks = [record["task"] for record in self.setting("activation", "tasks", default=[]) or []]
        maps = self.inputs.all("activation")
        if not tasks:
            section.add(Note("The configuration models no task.", "missing"))
            return
        if not maps:
            have = {r["task"] for r in self.mine("scans") if r["suffix"] == "bold"}
            lacking = [t for t in tasks if t not in have]
            if not self.inputs.all("confounds"):
                section.add(self.absent("bold", "activation"))
            else:
                section.add(
                    Note(
                        f"No activation: no run of task {', '.join(lacking or tasks)} for this participant.",
                        "missing",
                    )
                )
            return
        threshold = float(self.setting("report", "contrast_threshold_z", default=3.1))
        background = self._mni_background()
        section.add(
            Note(
                f"Thresholds here are for looking only: |z| ≥ {threshold:g}, not corrected for multiple comparisons. "
                "Inference is at the group level, in the study report."
            )
        )
        for path in maps:
            names = entities_of(path)
            task, contrast = names.get("task", "?"), names.get("contrast", "?")
            z = self.volume(path)
            peak = float(np.nanmax(z.data)) if np.isfinite(z.data).any() else float("nan")
            low = float(np.nanmin(z.data)) if np.isfinite(z.data).any() else float("nan")
            drawn = figures.statistic_map(z, background, threshold=threshold)
            section.add(
                self.gallery.show(
                    drawn,
                    f"{self.participant}_task-{task}_contrast-{contrast}_z.png",
                    f"z map of contrast {contrast} of task {task} on axial slices of the normalised T1w.",
                    f"Task {task}, contrast {contrast}: fixed effects over runs, z ≥ {threshold:g} (warm) and z ≤ "
                    f"−{threshold:g} (cold), uncorrected, over this participant's T1w in MNI space; highest z "
                    f"{number(peak, 1)}, lowest {number(low, 1)}. Slice positions in mm (MNI152).",
                )
            )

    def _mni_background(self) -> Volume:
        normal = self.inputs.all("t1w_mni")
        return self.volume(normal[0]) if normal else _template("T1w")[0]

    def connectivity(self, section):
        """Matrices of every resting run."""
        paths = self.inputs.all("relmat")
        if not paths:
            tasks = self.setting("connectivity", "tasks", default=[]) or []
            if not self.inputs.all("confounds"):
                section.add(self.absent("bold", "connectivity"))
            else:
                section.add(
                    Note(
                        f"No connectivity: no run of task {', '.join(tasks) or '(none)'} for this participant.",
                        "missing",
                    )
                )
            return
        for path in paths:
            section.add(matrix_picture(self.inputs, self.gallery, path, scan_of(path), scan_of(path)))
        rows = []
        for path in self.inputs.all("coverage"):
            cover = table(path)
            column = next((c for c in ("coverage", *cover.columns[::-1]) if c in cover), None)
            values = cover[column].astype(float)
            floor = float(self.setting("connectivity", "min_coverage", default=0.5))
            rows.append(
                [
                    scan_of(path),
                    entities_of(path).get("atlas", ""),
                    number(len(values)),
                    number(int((values < floor).sum())),
                    number(100 * float(values.mean()), 1),
                ]
            )
        if rows:
            section.add(
                Table(
                    ["Run", "Atlas", "Regions", "Too little covered", "Mean coverage (%)"],
                    rows,
                    "Coverage of the atlas by the "
                    "BOLD field of view. Regions with too little coverage have no value (grey in the matrices).",
                    numeric=("Regions", "Too little covered", "Mean coverage (%)"),
                )
            )

    def pet(self, section):
        """Motion, coregistration, curves and binding of every PET scan."""
        scans = self.inputs.scans("petref")
        if not scans:
            section.add(self.absent("pet", "PET results"))
            return
        for scan in scans:
            if len(scans) > 1:
                section.add(Heading(scan))
            self._coregistration(section, "pet", scan, "petref", "petref_xfm", "PET reference in T1w space")
            frames, confounds = (
                table(self.inputs.find("pet_frames", scan)),
                table(self.inputs.find("pet_confounds", scan)),
            )
            frames = _frame_columns(frames)
            if frames is not None and confounds is not None and len(frames) == len(confounds):
                section.add(
                    self.gallery.show(
                        figures.pet_motion(frames, confounds),
                        f"{scan}_pet_motion.svg",
                        f"Head motion between PET frames of {scan} over minutes after injection.",
                        f"{scan}: estimated shifts and turns of every frame against the reference (left) and framewise "
                        "displacement between frames (right). Early frames without enough counts take the motion of the first "
                        "later one.",
                    )
                )
            self._curves(section, scan)
            self._binding_map(section, scan)
        self._quality(section, "pet_qc", "Quality numbers of the PET scans.")

    def _curves(self, section, scan):
        for atlas in self.inputs.values("tacs", "seg"):
            curves = table(self.inputs.find("tacs", scan, seg=atlas))
            kinetics = table(self.inputs.find("srtm", scan, seg=atlas))
            modelled = table(self.inputs.find("fits", scan, seg=atlas))
            if curves is None:
                continue
            stem = f"{scan}_seg-{atlas}"
            regions = chosen_curves(curves, kinetics)
            fits = {}
            if modelled is not None:
                fits = {
                    r: modelled[r].to_numpy(float)
                    for r in regions
                    if r in modelled and modelled[r].notna().all()
                }
                if "reference" in modelled:
                    curves = curves[["frame_start", "frame_end", *regions]].assign(
                        reference=modelled["reference"]
                    )
            if regions:
                fitted = (
                    " Lines are the fits of the simplified reference tissue model, points the measured frames."
                    if fits
                    else ""
                )
                section.add(
                    self.gallery.show(
                        figures.tacs(curves, regions=regions, reference="reference", fits=fits),
                        f"{stem}_pet_tacs.svg",
                        f"Time-activity curves of {len(regions)} regions of {scan}{' with model fits' if fits else ''}.",
                        f"{scan}, atlas {atlas}: time-activity curves, decay-corrected to injection, of regions spread over the "
                        f"range of binding.{fitted}",
                    )
                )
            if kinetics is None or "BPND" not in kinetics:
                continue
            indexed = kinetics.set_index("name")
            section.add(
                self.gallery.show(
                    figures.regional_bars(indexed["BPND"], indexed.get("BPND_se"), label=f"{BP} (unitless)"),
                    f"{stem}_pet_bpnd.svg",
                    f"Bars of regional BPND of {scan}, highest thirty regions, with standard errors.",
                    f"{scan}, atlas {atlas}: binding potential BPND (simplified reference tissue model) of the thirty highest "
                    "regions; bars are one standard error of the fit.",
                )
            )
            section.add(Fold(f"All regional estimates, atlas {atlas}", [kinetic_table(kinetics)]))

    def _binding_map(self, section, scan):
        path = self.inputs.find("bpnd_map", scan)
        if path is None:
            return
        values = self.volume(path)
        top = binding_limit(values.data)
        section.add(
            self.gallery.show(
                figures.intensity_map(
                    values, self._mni_background(), label=BP, limits=(0.0, top), show_from=0.1 * top
                ),
                f"{scan}_pet_bpndmap.png",
                f"Map of BPND of {scan} on axial slices of the normalised T1w.",
                f"{scan}: voxelwise BPND (simplified reference tissue model) in MNI space over this participant's T1w; values "
                f"below {number(0.1 * top)} are left transparent. Slice positions in mm (MNI152).",
            )
        )


# ------------------------------------------------------------------------------------------ shared with the study page


def _template(*kinds) -> list[Volume]:
    from neurobraid.images.templates import template

    return [Volume.of(template(kind, 1)) for kind in kinds]


def _median_fd(path) -> float | None:
    values = table(path).get("framewise_displacement")
    return None if values is None or not values.notna().any() else float(values.median())


def _frame_columns(frames):
    """Frame table with ``frame_start`` and ``frame_end`` in s, whatever the two are called."""
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


def chosen_curves(curves, kinetics, count: int = 5) -> list[str]:
    """Regions spread over the range of binding (over the table, where nothing was fitted).

    Parameters
    ----------
    curves : pandas.DataFrame
        One column per region.
    kinetics : pandas.DataFrame or None
        ``name``, ``BPND``, perhaps ``flag``; the reference region's own parts are left out.
    count : int
    """
    regions = [
        c
        for c in curves.columns
        if c not in ("frame_start", "frame_end", "reference") and curves[c].notna().all()
    ]
    if kinetics is not None and "BPND" in kinetics:
        table = kinetics.drop_duplicates("name").set_index("name")
        if "flag" in table:
            table = table[table["flag"] != "reference"]
        binding = table["BPND"].reindex([r for r in regions if r in table.index]).dropna()
        if len(binding):
            # even steps of BPND, not of rank: most regions of a brain bind alike
            chosen: list[str] = []
            for level in np.linspace(binding.max(), binding.min(), count):
                left = binding.drop(chosen)
                if len(left):
                    chosen.append((left - level).abs().idxmin())
            return chosen
    at = np.unique(np.round(np.linspace(0, len(regions) - 1, count)).astype(int)) if regions else []
    return [regions[i] for i in at]


def kinetic_table(kinetics) -> Table:
    """All regional estimates, one row per region."""
    units = {
        "k2": "k2 (1/min)",
        "k2a": "k2a (1/min)",
        "k2prime": "k2′ (1/min)",
        "BPND_se": "SE of BPND",
        "name": "Region",
    }
    columns = [c for c in ("name", "BPND", "BPND_se", "R1", "k2", "k2a", "k2prime", "flag") if c in kinetics]
    rows = []
    for record in kinetics[columns].to_dict("records"):
        row = []
        for column in columns:
            value = record[column]
            row.append(
                ""
                if column == "flag" and value != value
                else number(value, 3)
                if column not in ("name", "flag")
                else str(value)
            )
        rows.append(row)
    heads = [units.get(c, c.capitalize() if c == "flag" else c) for c in columns]
    return Table(
        heads,
        rows,
        numeric=tuple(h for h, c in zip(heads, columns, strict=True) if c not in ("name", "flag")),
        compact=True,
    )


def binding_limit(values: np.ndarray) -> float:
    """Upper end of a BPND colour bar: 99.9th percentile of the positive voxels, to the nearest half."""
    good = values[np.isfinite(values) & (values > 0)]
    top = float(np.percentile(good, 99.9)) if good.size else 1.0
    return max(0.5, round(2 * top) / 2)


def matrix_picture(inputs: Inputs, gallery: Gallery, path, stem: str, what: str):
    """Figure of a region-by-region matrix file, named by atlas and measure."""
    import pandas as pd

    names = entities_of(path)
    atlas, measure = names.get("atlas", "atlas"), names.get("stat", "matrix")
    values = table(path)
    nodes = (
        list(values[values.columns[0]].astype(str))
        if values.columns[0].lower() == "node"
        else list(values.columns)
    )
    numbers = values[[c for c in values.columns if c.lower() != "node"]].to_numpy(float)
    regions = pd.DataFrame({"name": nodes})
    known = table(inputs.find("atlas_tables", atlas=atlas))
    if known is not None:
        known = known.drop_duplicates("name").set_index("name").reindex(nodes).reset_index()
        regions = known
    missing = int(np.isnan(numbers).all(axis=1).sum())
    measures = {
        "pearsoncorrelation": ("Pearson r", "Pearson correlation"),
        "partialcorrelation": ("partial r", "partial correlation"),
    }
    label, long = measures.get(measure, (measure, measure))
    gap = f" {missing} regions without a value are grey." if missing else ""
    return gallery.show(
        figures.matrix(numbers, regions, label=label),
        f"{stem}_atlas-{atlas}_{measure}.png",
        f"Matrix of {long} between {len(nodes)} regions of atlas {atlas}, {what}.",
        f"{what}, atlas {atlas}: {long} between {len(nodes)} regions, ordered by structure and hemisphere, within each from front "
        f"to back.{gap} The diagonal is left out.",
    )
