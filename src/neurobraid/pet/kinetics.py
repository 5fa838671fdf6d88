"""Kinetics of a whole derivatives tree without images: PETPrep or PETFit tables and blood to tables of parameters."""

import logging
import re
from pathlib import Path

import numpy as np

from neurobraid.bids.entities import compose
from neurobraid.errors import InputError, InputErrors
from neurobraid.files import read_json, read_tsv, write_json, write_tsv
from neurobraid.pet import adopt, constants, doubts, inputfunction, plasma, tables
from neurobraid.pet import model as reference_models
from neurobraid.pet.fit import participant_weight
from neurobraid.pet.frames import Sidecar
from neurobraid.provenance import sidecar

log = logging.getLogger("neurobraid")

MODELS = (*reference_models.MODELS, *plasma.MODELS)


def run(
    source, out, *, models, raw="", bloodstream="", segmentation="", reference=(), groups=None, unit=None, nuclide="",
    end_min=None, options=None,
):  # fmt: skip
    """Fit models to every scan of a derivatives tree and write a table of all of them.

    Parameters
    ----------
    source : path-like
        Folder of PETPrep or PETFit, or of tables named like theirs.
    out : path-like
        Folder that gets, per scan, curves, region table, frames, reference, weights, input function and a ``_kinpar.tsv``
        per model, named as the workflow names them; ``group/desc-kinetics_table.tsv`` with all values; and
        ``group/desc-kinetics_qc.tsv`` with what was converted or is doubtful.
    models : list of str
        Of `MODELS`.
    raw : path-like
        Raw PET-BIDS dataset with sidecars, blood and participants; empty: the folder that holds ``derivatives/``, if any.
    bloodstream : path-like
        Folder of bloodstream; its input functions come before raw blood.
    segmentation : str
        Only this ``seg-``.
    reference : list of str
        See `adopt.reference_rows`; default the grey matter of the cerebellum.
    groups : dict
        See `tables.combine`.
    unit, nuclide : str
        Of tables that have no sidecar.
    end_min : float, optional
        Leave out frames that end later, min after injection, so that scans of different length can be compared: VT from
        graphical models rises with the length of a scan.
    options : dict
        Settings of the config's section ``pet`` that differ from the default.

    Returns
    -------
    pandas.DataFrame
        The group table.

    Raises
    ------
    InputErrors
        Of all scans together.
    InputError
        No tables.
    """
    import pandas as pd

    source, out = Path(source), Path(out)
    unknown = [name for name in models if name not in MODELS]
    if unknown:
        raise InputError(
            "command", "models", ", ".join(unknown), ", ".join(MODELS), "take names from the list"
        )
    raw = Path(raw) if raw else _raw_of(source)
    defaults = {"TracerRadionuclide": nuclide} if nuclide else {}
    problems, scans = [], []
    found = tables.find_tables(source, segmentation)
    if not found:
        raise InputError(
            source.name,
            "tables",
            "none",
            "_tacs.tsv or seg-…_timeseries.tsv",
            "name the folder of PETPrep or PETFit",
        )
    for path in found:
        try:
            if path.name.endswith(tables.COMBINED):
                scans += tables.read_combined(path)
            else:
                scans.append(tables.read_table(path, raw, unit=unit, defaults=defaults))
        except InputError as error:
            problems.append(error.problem)
    seen = {}
    for curves in scans:
        key = (curves.scan, curves.segmentation)
        curves = curves if end_min is None else tables.until(curves, end_min)
        if key in seen:
            problems.append(
                InputError(
                    curves.sources[0],
                    "scan",
                    f"{curves.scan} twice",
                    "every scan once",
                    "give --seg, or remove one",
                ).problem
            )
        seen[key] = curves
    if problems:
        raise InputErrors(problems)
    inputs = _bloodstream(bloodstream)
    every, notes = [], []
    for curves in seen.values():
        try:
            values, messages = _scan(
                curves, out, models, raw, inputs, list(reference), groups or {}, dict(options or {})
            )
        except InputError as error:
            problems.append(error.problem)
            continue
        every.append(values)
        notes += [
            {"scan": curves.scan, "segmentation": curves.segmentation, "note": text} for text in messages
        ]
    if problems:
        raise InputErrors(problems)
    table = pd.concat(every, ignore_index=True)
    write_tsv(table, out / "group" / "desc-kinetics_table.tsv")
    write_tsv(
        pd.DataFrame(notes, columns=["scan", "segmentation", "note"]), out / "group" / "desc-kinetics_qc.tsv"
    )
    write_json(
        sidecar(
            "Parameters of all scans, regions and models", [],
            Columns={"flag": "ok, or why the value is not to be believed", "se": "standard error, first order"},
            Models=list(models), Scans=len(seen),
        ),
        out / "group" / "desc-kinetics_table.json",
    )  # fmt: skip
    return table


def _raw_of(source):
    """The dataset around ``derivatives/``, or None."""
    for parent in [source, *source.resolve().parents]:
        if parent.name == "derivatives" and (parent.parent / "dataset_description.json").exists():
            return parent.parent
    return None


def _bloodstream(folder):
    """Input functions of bloodstream by scan entities."""
    found = {}
    if not folder:
        return found
    for path in sorted(Path(folder).rglob("*_inputfunction.tsv")):
        key = tuple(tables.scan_entities(path).items())
        if key in found:
            raise InputError(
                path, "scan", "has two input functions", "one", f"keep one of {found[key].name}, {path.name}"
            )
        found[key] = path
    return found


def raw_blood(path, raw):
    """Raw blood tables of the scan that a table of curves belongs to."""
    wanted = tables.scan_entities(path)
    folder = Path(raw).joinpath(*[f"{k}-{wanted[k]}" for k in ("sub", "ses") if k in wanted], "pet")
    return [p for p in sorted(folder.glob("*_blood.tsv")) if tables.scan_entities(p) == wanted]


def _scan(curves, out, models, raw, inputs, patterns, groups, options):
    """Write one scan; returns its rows of the group table and messages."""
    own = [name for name in models if name in plasma.MODELS]
    others = [name for name in models if name not in plasma.MODELS]
    home = out / curves.visit / "pet"

    def place(suffix, extension, **more):
        return home / compose({**curves.entities, **more}, suffix, extension)

    seg = re.sub(r"[^0-9a-zA-Z]", "", curves.segmentation)
    messages = list(curves.messages)
    side = tables.raw_sidecar(curves.sources[0], raw) if raw else None
    fields = read_json(side) if side else {}
    problem = doubts.dose_problem(fields, side) if fields else ""
    if problem:
        messages.append(problem)
    frames, frames_json = (place("timeseries", e, desc="frames") for e in (".tsv", ".json"))
    tacs, tacs_json = (place("tacs", e, seg=seg, desc="preproc") for e in (".tsv", ".json"))
    morph, weight = place("morph", ".tsv", seg=seg, desc="preproc"), place("weights", ".tsv", desc="weights")
    written = {
        "frames": frames, "frames_json": frames_json, "tacs": tacs, "tacs_json": tacs_json, "morph": morph, "weights": weight,
    }  # fmt: skip
    _, weighting = adopt.write_curves(
        curves, written, fields=fields, weight_kg=_body_weight(raw, curves.entities["sub"]), groups=groups,
        weighting=options.get("weights", "decay_counts"),
    )  # fmt: skip
    rows = adopt.reference_rows(curves.names, patterns or ["cerebellum"])
    tables_out = []
    if others and not rows:
        messages.append(f"no reference region: {', '.join(others)} not fitted")
    elif others:
        paths = [
            tacs,
            morph,
            *(place("tacs", e, label="reference", desc="preproc") for e in (".tsv", ".json")),
        ]
        adopt.write_reference(curves, rows, paths[2:])
        shared = []
        if set(others) & set(reference_models.SHARED):
            shared = [place("kinpar", ".json", desc="constants")]
            constants.estimate(
                [tacs], [morph], *paths[2:], weight, frames, frames_json, shared[0], models=others,
                **{k: options[k] for k in ("k2prime", "tstar_min", "mrtm_tstar_min", "integrals") if k in options},
            )  # fmt: skip
        files = {
            key: [place("kinpar", e, seg=seg, model=m) for m in others]
            for key, e in (("kinpar", ".tsv"), ("kinpar_json", ".json"))
        }
        files["fits"] = [place("tacs", ".tsv", seg=seg, model=m, desc="fit") for m in others if m != "SUVR"]
        files["plots"] = [
            place("table", ".tsv", seg=seg, model=m, desc="plot")
            for m in others
            if m in ("refLogan", "refPatlak")
        ]
        reference_models.model(
            *paths, weight, frames, frames_json, files, models=others, shared=shared, weighting=weighting,
            window_min=options.get("suvr_window_min", (40, 60)),
        )  # fmt: skip
        tables_out += list(zip(others, files["kinpar"], strict=True))
    if own:
        given = _input(curves, raw, inputs, fields, place, frames, frames_json, weight, options, messages)
        files = {
            key: [place("kinpar", e, seg=seg, model=m) for m in own]
            for key, e in (("kinpar", ".tsv"), ("kinpar_json", ".json"))
        }
        files["fits"] = [place("tacs", ".tsv", seg=seg, model=m, desc="fit") for m in own]
        plasma.model(
            tacs, morph, weight, frames, frames_json, given, files, models=own, weighting=weighting,
            **{k: options[k] for k in ("vb", "tstar_min", "integrals", "lumped_constant") if k in options},
        )  # fmt: skip
        tables_out += list(zip(own, files["kinpar"], strict=True))
        doubt = read_json(files["kinpar_json"][0]).get("Doubt")
        messages += [doubt] if doubt else []
    for text in messages:
        log.info("%s: %s", curves.scan, text)
    return _rows(curves, tables_out), messages


def _input(curves, raw, inputs, fields, place, frames, frames_json, weight, options, messages):
    """Input function of a scan: bloodstream's, or made from raw blood; nothing without either."""
    target = [place("inputfunction", e) for e in (".tsv", ".json")]
    key = tuple(curves.entities.items())
    if key in inputs:
        inputfunction.take_over(inputs[key], target)
        messages.append(f"input function of {inputs[key].name}")
        return target
    blood = raw_blood(curves.sources[0], raw) if raw else []
    if not blood:
        messages.append("the scan has no blood")
        return []
    injection = Sidecar(fields, "PET sidecar").number("InjectionStart", "write it", required=False) or 0.0
    try:
        inputfunction.write_inputfunction(
            blood, frames, frames_json, weight, dict(zip(("inputfunction", "inputfunction_json"), target, strict=True)),
            injection_s=injection, image_unit=fields.get("Units"),
            **{k: options[k] for k in ("delay", "parent_model", "interpolation", "decay_corrected") if k in options},
        )  # fmt: skip
    except InputError as error:
        # one scan's blood does not take the plasma models from the others
        inputfunction.write_missing(blood, target, str(error).replace(f"{blood[0].parent}/", ""))
    notes = read_json(target[1])
    messages += [*notes.get("Messages", []), *filter(None, [notes.get("Missing")])]
    return target


def _body_weight(raw, participant):
    if raw is None:
        return np.nan
    files = [raw / f"participants.{e}" for e in ("tsv", "json")]
    return participant_weight([f for f in files if f.exists()], f"sub-{participant}")


def _rows(curves, found):
    """Long table of one scan."""
    import pandas as pd

    out = []
    for model, path in found:
        table = read_tsv(path)
        skipped = {"name", "flag", "undetermined", "coverage", "residual_sd", "max_residual", "runs_p"}
        for name in [c for c in table if c not in skipped and not c.endswith("_se")]:
            out.append(
                pd.DataFrame(
                    {
                        "participant_id": f"sub-{curves.entities['sub']}",
                        "session_id": f"ses-{curves.entities['ses']}" if "ses" in curves.entities else "n/a",
                        "scan": curves.scan,
                        "segmentation": curves.segmentation,
                        "region": table["name"],
                        "model": model,
                        "parameter": name,
                        "value": table[name],
                        "se": table.get(f"{name}_se", np.nan),
                        "flag": table["flag"],
                    }
                )
            )
    return pd.concat(out, ignore_index=True) if out else pd.DataFrame()
