"""The page of one participant: figures and tables from the files that the stages wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from neurobraid import __version__
from neurobraid.bids.entities import natural
from neurobraid.errors import InputError
from neurobraid.files import write_json
from neurobraid.images.atlas import networks
from neurobraid.reports import figures, interactive, noise, pet_pages, run_record, spec, style, surfaces
from neurobraid.reports.carpet import pick_voxels, scaled, signals, spread, temporal_snr
from neurobraid.reports.gather import (
    Inputs,
    entities_of,
    json_of,
    participant_facts,
    plain_table,
    preprocessed_by,
    quality_rows,
    quality_warnings,
    scan_of,
    sidecar_of,
    table,
    without_dates,
)
from neurobraid.reports.measures import FOLDED
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
from neurobraid.reports.planes import Volume, distance_from

KINDS = {"T1w": "T1w", "bold": "BOLD", "pet": "PET"}
SHOWN = "Parts more than 12 mm from the brain are left out, so that no face is shown."
#: slow drifts that the second carpet is without, Hz
CARPET_HIGH_PASS_HZ = 0.008


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
            _provenance(section, run_record_, job.gallery.bytes)
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


def _provenance(section: Section, files: list[dict], weight: int) -> None:
    rows = [[f["file"], number(f["bytes"]), Cell(f["sha256"])] for f in files]
    section.add(
        Note(
            f"Made by neurobraid {__version__} from {len(files)} files. Versions of all software and the settings of the run "
            f"are in the study report. The figures of this page take {number(round(weight / 1e6, 1), 1)} MB."
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
        self._volumes, self._near = {}, {}

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

    def near(self, path) -> Volume:
        """Distance from a brain mask, mm: figures show a head only near its brain."""
        if path not in self._near:
            self._near[path] = distance_from(self.volume(path))
        return self._near[path]

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
        kinetics = next(
            (t for path in self.inputs.all("kinpar") if pet_pages.outcome(t := table(path))), None
        )
        main = None if kinetics is None else pet_pages.outcome(kinetics)
        if main is not None and kinetics[main].notna().any():
            at = kinetics[main].idxmax()
            items.append(
                (
                    number(float(kinetics.loc[at, main])),
                    f"highest regional {main}",
                    str(kinetics.loc[at, "name"]),
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
        made = {(r["suffix"], r["scan"]): r for r in self.mine("preprocessing")}
        rows = []
        for row in scans:
            pair = pairing.get((row["suffix"], row["scan"]), {})
            maker = made.get((row["suffix"], row["scan"]))
            rule = pair.get("rule", "")
            cross = rule not in ("", "same-session", "not-needed")
            rows.append(
                [
                    row["scan"],
                    KINDS.get(row["suffix"], row["suffix"]),
                    Cell(pair.get("t1w_scan", "–"), tone="" if pair else "mute"),
                    Cell(
                        without_dates(pair.get("reason", "–")),
                        tone="warn" if cross else "mute" if not pair else "",
                    ),
                    # no row: nothing of PET is adopted in this study
                    preprocessed_by(maker or {"source": "neurobraid"}),
                ]
            )
        if rows:
            section.add(
                Table(
                    ["Scan", "Kind", "Paired T1w", "Why", "Preprocessed by"],
                    rows,
                    "Scans analysed, the T1w each one is paired with, and who preprocessed it.",
                )
            )
        if any(r["source"] != "neurobraid" for r in made.values()):
            own = [r for r in made.values() if r["source"] == "neurobraid"]
            for row in own:
                section.add(Note(f"{row['scan']} was preprocessed here: {without_dates(row['reason'])}."))
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
            if t1w and mask:
                section.add(
                    self.gallery.show(
                        figures.brain_outline(self.volume(t1w), self.volume(mask), self.near(mask)),
                        f"{scan}_T1w_mask.png",
                        f"Axial, coronal and sagittal slices of the T1w of {scan} with the outline of the brain mask.",
                        f"{scan}: T1w after bias correction with the outline of the brain mask. {SHOWN} Slice positions in mm.",
                    )
                )
            if t1w and mask and tissue:
                drawn = figures.tissue_outlines(
                    self.volume(t1w), self.volume(mask), self.volume(tissue), self.near(mask)
                )
                section.add(
                    self.gallery.show(
                        drawn,
                        f"{scan}_T1w_tissues.png",
                        f"Axial, coronal and sagittal slices of the T1w of {scan} with the outlines of grey matter, white matter "
                        "and cerebrospinal fluid.",
                        f"{scan}: the same T1w with the outlines of the most probable tissue: grey matter (GM), white matter (WM) "
                        "and cerebrospinal fluid (CSF). Slice positions in mm.",
                    )
                )
            normal = self.inputs.find("t1w_mni", scan)
            if normal:
                drawn = figures.normalisation(
                    self.volume(normal), *_template("T1w", "WM"), distance_from(template_brain())
                )
                section.add(
                    self.gallery.flicker(
                        drawn,
                        f"{scan}_T1w_normalised",
                        ("participant", "template"),
                        ("T1w in template space", "MNI152 template"),
                        f"Axial, coronal and sagittal slices of {scan} with the outline of the template's white matter.",
                        f"{scan}: T1w in template space, and the MNI152 template. Both carry the outline of the template's white "
                        "matter (probability 0.5). Slice positions in mm (MNI152).",
                    )
                )
        self._quality(section, "anat_qc", "Quality numbers of the anatomy")

    def _quality(self, section, kind, caption):
        kinds = (kind,) if isinstance(kind, str) else kind
        columns = {
            scan: {key: value for k in kinds for key, value in json_of(self.inputs.find(k, scan)).items()}
            for scan in self.inputs.scans(kinds[0])
        }
        for scan, content in columns.items():
            for text in quality_warnings(content):
                section.add(Note(f"{scan}: {without_dates(text)}", "warn"))
        # a run's name may break between its entities, not within one
        names = [
            c.removeprefix(f"{self.participant}_").replace("-", "\N{NON-BREAKING HYPHEN}").replace("_", " ")
            for c in columns
        ]
        heads, groups = ["Measure", *names], quality_rows(columns)
        folded = groups.pop(FOLDED, None)
        rows = [row for group, found in groups.items() for row in ([Cell(group)], *found)]
        if rows:
            remark = " Below each measure its key in the quality file, which is that of MRIQC where it has the metric."
            section.add(Table(heads, rows, f"{caption}.{remark}", numeric=tuple(names)))
        if folded:
            block = Table(heads, folded, numeric=tuple(names), compact=True)
            section.add(Fold(f"{caption}: settings and counts", [block]))

    def bold(self, section):
        """Coregistration and motion of every run."""
        scans = self.inputs.scans("confounds")
        if not scans:
            section.add(self.absent("bold", "BOLD preprocessing"))
            return
        for scan in scans:
            section.add(Heading(scan))
            self._coregistration(section, scan)
            self._distortion(section, scan)
            self._motion(section, scan)
        self._quality(section, "bold_qc", "Quality numbers of the BOLD runs")

    def _anatomy_of(self, suffix, scan):
        """T1w name and the files T1w, brain mask and tissue that go with a scan; None where one is missing."""
        paired = self.t1w_of(suffix, scan)
        files = [self.inputs.find(k, paired) if paired else None for k in ("t1w", "brain", "dseg")]
        return (paired, *files) if all(files) else None

    def _tissue_edges(self, tissue):
        labels = self.volume(tissue)
        return [
            ("pial surface", style.SKY, figures.labelled(labels, 1, 2)),
            ("white matter", style.ORANGE, figures.labelled(labels, 2)),
        ]

    def _coregistration(self, section, scan):
        from neurobraid.images.transforms import read_affines

        moving, matrix = self.inputs.find("boldref", scan), self.inputs.find("boldref_xfm", scan)
        anatomy = self._anatomy_of("bold", scan)
        if not all((moving, matrix, anatomy)):
            return
        paired, t1w, mask, tissue = anatomy
        to_scan = read_affines(matrix)[0]
        own = self.inputs.find("bold_mask", scan)
        extra = [("BOLD brain mask", style.LIME, self.volume(own, to_scan))] if own else []
        what = "the white matter and the pial surface of the T1w"
        tail = (
            "; the T1w also that of the BOLD brain mask, which leaves out what has no BOLD signal"
            if own
            else ""
        )
        drawn = figures.registration(
            self.volume(moving, to_scan),
            self.volume(t1w),
            ("BOLD reference in T1w space", "T1w"),
            self._tissue_edges(tissue),
            self.volume(mask),
            self.near(mask),
            extra,
        )
        section.add(
            self.gallery.flicker(
                drawn,
                f"{scan}_bold_coregistration",
                ("reference", "T1w"),
                ("BOLD reference", "T1w"),
                f"Axial, coronal and sagittal slices of {scan} with the outline of {what}.",
                f"{scan}: BOLD reference image in the space of the T1w {paired}, and that T1w. Both carry the outline "
                f"of {what}{tail}. Rigid alignment; slice positions in mm.",
            )
        )

    def _distortion(self, section, scan):
        """The reference before and after the correction of susceptibility distortion, where there was one."""
        from neurobraid.images.transforms import read_affines

        method = json_of(self.inputs.find("bold_qc", scan)).get("sdc_method")
        before, after = self.inputs.find("boldref_hmc", scan), self.inputs.find("boldref", scan)
        matrix, anatomy = self.inputs.find("boldref_xfm", scan), self._anatomy_of("bold", scan)
        if method in (None, "", "none", "None", "n/a") or not all((before, after, matrix, anatomy)):
            return
        _, _, mask, tissue = anatomy
        to_scan = read_affines(matrix)[0]
        drawn = figures.registration(
            self.volume(before, to_scan),
            self.volume(after, to_scan),
            ("BOLD reference before distortion correction", "BOLD reference after distortion correction"),
            self._tissue_edges(tissue),
            self.volume(mask),
            self.near(mask),
        )
        section.add(
            self.gallery.flicker(
                drawn,
                f"{scan}_bold_distortion",
                ("before", "after"),
                ("Before correction", "After correction"),
                f"Axial, coronal and sagittal slices of the BOLD reference of {scan} with the outlines of white matter and pial "
                "surface of the T1w.",
                f"{scan}: BOLD reference before and after the correction of susceptibility distortion ({method}), both in the "
                "space of the T1w with the outlines of its white matter and its pial surface. Slice positions in mm.",
            )
        )

    def _motion(self, section, scan):
        path = self.inputs.find("confounds", scan)
        confounds = table(path)
        info = sidecar_of(self.inputs, "bold_json", scan) or json_of(self.inputs.find("bold_json", scan))
        count = len(confounds)
        run = self._recorded(scan, count)
        tr = float(info.get("RepetitionTime") or (run and run["tr"]) or 1.0)
        carpets, tissue, tail = self._carpets(scan, run, confounds, tr, path) if run else ([], None, "")
        threshold = float(self.setting("bold", "fd_threshold_mm", default=0.5))
        drawn = figures.motion(
            confounds,
            seconds=np.arange(count) * tr,
            fd_threshold=threshold,
            dvars_threshold=self.setting("bold", "std_dvars_threshold", default=None),
            carpets=carpets,
            tissue=tissue,
        )
        fd = confounds.get("framewise_displacement")
        share = (
            ""
            if fd is None
            else f" {int((fd > threshold).sum())} of {count} volumes are above {threshold:g} mm."
        )
        section.add(
            self.gallery.show(
                drawn,
                f"{scan}_bold_motion.png",
                f"Head shifts and turns, framewise displacement, DVARS, global signal{' and carpets of voxel signals' if carpets else ''} "
                f"of {scan} over time.",
                f"{scan}: estimated shifts and turns about x (left to right), y and z, framewise displacement (FD; Power et al. "
                "2012), standardised DVARS, and mean signal of the brain; dashed lines are the thresholds of the "
                f"configuration.{share}{tail}",
            )
        )
        if run:
            self._tsnr(section, scan, run)

    def _recorded(self, scan, count):
        """Raw run with its mask and transform, if all are there and fit each other."""
        from neurobraid.images import io
        from neurobraid.images.transforms import read_affines

        raw, echo = self.inputs.find("raw_bold", scan), None
        if raw is None:
            raw, echo = self.inputs.middle_echo("raw_bold", scan)
        mask, matrix = (self.inputs.find(k, scan) for k in ("bold_mask", "boldref_xfm"))
        anatomy = self._anatomy_of("bold", scan)
        if not all((raw, mask, matrix, anatomy)):
            return None
        image = io.load(raw)
        if (
            len(image.shape) != 4
            or image.shape[3] != count
            or image.shape[:3] != self.volume(mask).data.shape
            or count < 3
        ):
            return None
        confounds = table(self.inputs.find("confounds", scan))
        early = [c for c in confounds if c.startswith("non_steady_state_outlier")]
        slope, offset = image.dataobj.slope or 1.0, image.dataobj.inter or 0.0
        return {
            "echo": echo,
            # stored integers halve the memory; what is shown does not depend on their scale
            "series": np.asarray(image.dataobj.get_unscaled()),
            "offset": float(offset / slope),
            "tr": float(image.header.get_zooms()[3]),
            "mask": self.volume(mask),
            "matrix": read_affines(matrix)[0],
            "anatomy": anatomy,
            "keep": ~(confounds[early].to_numpy(float) > 0).any(axis=1) if early else np.ones(count, bool),
        }

    def _carpets(self, scan, run, confounds, tr, path):
        """Carpets before and after, tissue of their rows, and the sentences about them."""
        from neurobraid.bold.nuisance import cosine_basis, select
        from neurobraid.connectivity.denoise import strategy
        from neurobraid.images.transforms import read_affines

        mask, keep, anatomy = run["mask"], run["keep"], run["anatomy"]
        picked = pick_voxels(mask, self.volume(anatomy[3], np.linalg.inv(run["matrix"])))
        if picked is None or keep.sum() < 3:
            return [], None, ""
        voxels, tissue = picked
        recorded = signals(run["series"], voxels)
        # one scale for both pictures: standard deviations of the recorded signal
        unit = spread(recorded, keep)
        before = scaled(recorded, unit, keep)
        of_echo = f" of echo {run['echo']}" if run["echo"] else ""
        tail = f" Below, the recorded signal{of_echo} of voxels by tissue, in standard deviations without linear trend"
        name = self.setting("connectivity", "strategy", default="simple")
        chosen = strategy(name, self.setting("connectivity", "strategies", default=[]))
        groups = list(chosen.groups)
        hmc = self.inputs.find("hmc", scan)
        try:
            regressors = select(confounds, groups, path).to_numpy(float)
            motion = read_affines(hmc) if hmc else None
        except InputError:
            # confounds of other software may lack columns: then there is no picture of what they explain
            return [("Recorded signal", before)], tissue, f"{tail}."
        basis = cosine_basis(len(confounds), tr, CARPET_HIGH_PASS_HZ).to_numpy()
        regressors = np.column_stack([regressors, basis])
        fits = keep.sum() > regressors.shape[1] + 2
        if not fits or (motion is not None and len(motion) != len(confounds)):
            return [("Recorded signal", before)], tissue, f"{tail}."
        after = scaled(signals(run["series"], voxels, mask.affine, motion), unit, keep, regressors)
        what = {"motion24": "24 motion parameters", "csfwm": "CSF and white-matter signals",
                "csfwm8": "CSF and white-matter signals with their expansions", "global_signal": "global signal",
                "compcor": "CompCor components"}  # fmt: skip
        listed = ", ".join(what.get(g, g) for g in groups)
        censored = "Volumes that the strategy leaves out are kept here. " if chosen.censors else ""
        listed = f"{listed} and cosines" if listed else "cosines"
        lost = 100 * (1 - float(after[:, keep].var() / max(before[:, keep].var(), 1e-12)))
        done = "realigned (linear interpolation) and " if motion is not None else ""
        tail += (
            f"; and the same voxels {done}without the confounds of the connectivity strategy {name} ({listed} up to "
            f"{CARPET_HIGH_PASS_HZ:g} Hz; {regressors.shape[1]} regressors for {int(keep.sum())} volumes), on the same grey scale. "
            f"{censored}The variance shown falls by {number(lost, 0)} %."
        )
        return [("Recorded signal", before), (f"After regression of confounds ({name})", after)], tissue, tail

    def _tsnr(self, section, scan, run):
        mask = run["mask"]
        of_echo = f" of echo {run['echo']}" if run["echo"] else ""
        values = temporal_snr(run["series"], mask.data > 0.5, run["keep"], run["offset"])
        if not np.isfinite(values).any():
            return
        section.add(
            self.gallery.show(
                figures.signal_map(
                    Volume(values, mask.affine, run["matrix"]), self.volume(run["anatomy"][2]), label="tSNR"
                ),
                f"{scan}_bold_tsnr.png",
                f"Axial slices of the temporal signal-to-noise ratio of {scan}.",
                f"{scan}: temporal signal-to-noise ratio of the recorded signal{of_echo}, before motion correction (mean by standard "
                f"deviation around the linear trend), in the space of the T1w; median {number(float(np.nanmedian(values)), 1)}. "
                "Holes and stripes show lost signal, spikes and slices that drop out. Slice positions in mm.",
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
        background, near = self._mni_background()
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
            drawn = figures.statistic_map(z, background, near, threshold=threshold)
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
            if self.setting("report", "interactive", default="group") == "all":
                section.add(
                    interactive.map_link(
                        self.gallery, z, f"task-{task}_contrast-{contrast}_z.html", threshold=threshold,
                        title=f"Task {task}, contrast {contrast}, one participant",
                        what=f"Task {task}, contrast {contrast}, one participant: fixed effects over runs.",
                        rule="for the eye, not corrected for multiple comparisons",
                    )
                )  # fmt: skip

        self._surfaces(section, threshold)
        self._whiteness(section)

    def _surfaces(self, section, threshold):
        """The same contrasts on the cortical surface, where they were asked for."""
        for path in dict.fromkeys(self.inputs.all("surface_maps")):
            names = entities_of(path)
            if names.get("hemi") != "L":
                continue
            task, contrast = names.get("task", "?"), names.get("contrast", "?")
            both = {
                hemi: surfaces.read_gifti(
                    self.inputs.find("surface_maps", task=task, contrast=contrast, hemi=hemi)
                )
                for hemi in surfaces.HEMISPHERES
            }
            section.add(
                self.gallery.show(
                    surfaces.statistic_surface(both, threshold=threshold),
                    f"{self.participant}_task-{task}_contrast-{contrast}_surface_z.png",
                    f"z map of contrast {contrast} of task {task} on four views of the inflated cortical surface.",
                    f"Task {task}, contrast {contrast}, modelled on the cortical surface (fsaverage5, inflated): fixed effects over "
                    f"runs, z ≥ {threshold:g} (warm) and z ≤ −{threshold:g} (cold), uncorrected.",
                )
            )

    def _whiteness(self, section):
        """What the noise model left in the residuals, run by run."""
        for path in self.inputs.all("whiteness"):
            numbers, scan = table(path), scan_of(path)
            model = sidecar_of(self.inputs, "whiteness", scan).get("NoiseModel", "")
            value, lag, tissue = noise.largest(numbers)
            word = noise.TISSUES[tissue][0]
            if abs(value) > noise.LARGE:
                section.add(
                    Note(
                        f"{scan}: the residuals are not white ({number(value, 2)} off at lag {lag} in {word}): error "
                        "bars may be too small; try a higher order (activation.noise_model).",
                        "warn",
                    )
                )
            section.add(
                self.gallery.show(
                    noise.whiteness(numbers, label=model),
                    f"{scan}_whiteness.png",
                    f"Autocorrelation of the residuals of {scan} by lag for grey matter, white matter and CSF.",
                    f"{scan}: autocorrelation of the first level's residuals, mean over the voxels of a tissue (of the template), "
                    f"before and after whitening by the noise model ({model}). After whitening it should be that of white noise "
                    f"under this design (slightly below 0, by what the regressors took out); furthest off is "
                    f"{number(value, 2)} at lag {lag} in {word}.",
                )
            )

    def _mni_background(self) -> tuple[Volume, Volume]:
        """Anatomy in template space, and the distance from the template's brain."""
        normal = self.inputs.all("t1w_mni")
        return self.volume(normal[0]) if normal else _template("T1w")[0], distance_from(template_brain())

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
        """Registration, motion, input function, curves with fits, parameters and maps of every PET scan."""
        scans = sorted({*self.inputs.scans("petref"), *self.inputs.scans("pet_frames")}, key=natural)
        if not scans:
            section.add(self.absent("pet", "PET results"))
            return
        for scan in scans:
            if len(scans) > 1:
                section.add(Heading(scan))
            pet_pages.Scan(self, scan).show(section)
        self._quality(section, ("pet_qc", "curves_qc"), "Quality numbers of the PET scans")


# ------------------------------------------------------------------------------------------ shared with the study page


def _template(*kinds) -> list[Volume]:
    from neurobraid.images.templates import template

    return [Volume.of(template(kind, 1)) for kind in kinds]


def template_brain() -> Volume:
    """Brain mask of the template, coarse enough to be quick."""
    from neurobraid.images.templates import template

    return Volume.of(template("brain", 2.0))


def _median_fd(path) -> float | None:
    values = table(path).get("framewise_displacement")
    return None if values is None or not values.notna().any() else float(values.median())


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
        "covariance": ("covariance (%²)", "covariance"),
        "laggedcorrelation": ("r at best lag", "correlation at the best lag"),
        "coherence": ("coherence", "magnitude-squared coherence"),
    }
    label, long = measures.get(measure, (measure, measure))
    grey = "1 region without a value is" if missing == 1 else f"{missing} regions without a value are"
    gap = f" {grey} grey." if missing else ""
    order = "in the order of their table"
    if known is not None:
        by = "structure" if networks(known) is None else "network"
        order = f"ordered by {by} and hemisphere, within each from front to back"
    return gallery.show(
        figures.matrix(numbers, regions, label=label),
        f"{stem}_atlas-{atlas}_{measure}.png",
        f"Matrix of {long} between {len(nodes)} regions of atlas {atlas}, {what}.",
        f"{what}, atlas {atlas}: {long} between {len(nodes)} regions, {order}.{gap} The diagonal is left out.",
    )
