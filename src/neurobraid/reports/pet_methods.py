"""The PET paragraphs of the methods, from the sidecars of the models that were fitted.

Values are those that the stage wrote, not those of the config: where a setting was ``auto`` the text tells what came of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

#: papers whose title, journal, volume and pages were looked up
REFERENCES = {
    "srtm2": "Wu Y, Carson RE (2002). Noise reduction in the simplified reference tissue model for neuroreceptor functional imaging. "
    "J Cereb Blood Flow Metab 22:1440–1452.",
    "mrtm": "Ichise M et al. (2003). Linearized reference tissue parametric imaging methods: application to [11C]DASB positron "
    "emission tomography studies of the serotonin transporter in human brain. J Cereb Blood Flow Metab 23:1096–1112.",
    "reflogan": "Logan J et al. (1996). Distribution volume ratios without blood sampling from graphical analysis of PET data. "
    "J Cereb Blood Flow Metab 16:834–840.",
    "mllogan": "Turkheimer FE et al. (2003). A linear wavelet filter for parametric imaging with dynamic PET. "
    "IEEE Trans Med Imaging 22:289–301.",
    "refpatlak": "Patlak CS, Blasberg RG (1985). Graphical evaluation of blood-to-brain transfer constants from multiple-time uptake "
    "data. Generalizations. J Cereb Blood Flow Metab 5:584–590.",
    "compartments": "Gunn RN, Gunn SR, Cunningham VJ (2001). Positron emission tomography compartmental models. "
    "J Cereb Blood Flow Metab 21:635–652.",
    "varpro": "Golub GH, Pereyra V (1973). The differentiation of pseudo-inverses and nonlinear least squares problems whose variables "
    "separate. SIAM J Numer Anal 10:413–432.",
    "logan": "Logan J et al. (1990). Graphical analysis of reversible radioligand binding from time-activity measurements applied to "
    "[N-11C-methyl]-(-)-cocaine PET studies in human subjects. J Cereb Blood Flow Metab 10:740–747.",
    "ma1": "Ichise M et al. (2002). Strategies to improve neuroreceptor parameter estimation by linear regression analysis. "
    "J Cereb Blood Flow Metab 22:1271–1281.",
    "patlak": "Patlak CS, Blasberg RG, Fenstermacher JD (1983). Graphical evaluation of blood-to-brain transfer constants from "
    "multiple-time uptake data. J Cereb Blood Flow Metab 3:1–7.",
    "gtm": "Rousset OG, Ma Y, Evans AC (1998). Correction for partial volume effects in PET: principle and validation. "
    "J Nucl Med 39:904–911.",
    "labbe": "Labbé C et al. (1998). Absolute PET quantification with correction for partial volume effects within cerebral structures. "
    "In: Quantitative Functional Brain Imaging with Positron Emission Tomography. Academic Press, San Diego.",
    "rbv": "Thomas BA et al. (2011). The importance of appropriate partial volume correction for PET quantification in Alzheimer's "
    "disease. Eur J Nucl Med Mol Imaging 38:1104–1119.",
    "iy": "Erlandsson K et al. (2012). A review of partial volume correction techniques for emission tomography and their applications "
    "in neurology, cardiology and oncology. Phys Med Biol 57:R119–R159.",
    "mg": "Müller-Gärtner HW et al. (1992). Measurement of radiotracer concentration in brain gray matter using positron emission "
    "tomography: MRI-based correction for partial volume effects. J Cereb Blood Flow Metab 12:571–583.",
    "centiloid": "Klunk WE et al. (2015). The Centiloid Project: standardizing quantitative amyloid plaque estimation by PET. "
    "Alzheimers Dement 11:1–15.",
}

#: model: outcome, name in the text, keys of the papers
PHRASES = {
    "SRTM": (
        "binding potential BPND and relative delivery R1",
        "the simplified reference tissue model",
        ("srtm",),
    ),
    "SRTM2": ("BPND and R1", "SRTM2, which has one k2′ for the scan", ("srtm2",)),
    "MRTM1": ("BPND and R1", "the multilinear reference tissue model MRTM1", ("mrtm",)),
    "MRTM2": ("BPND and R1", "MRTM2, which has one k2′ for the scan", ("mrtm",)),
    "refLogan": ("BPND", "the reference Logan plot with its k2′ term", ("reflogan",)),
    "refmlLogan": ("BPND", "the multilinear form of the reference Logan plot", ("reflogan", "mllogan")),
    "refPatlak": ("the net influx Kref", "the reference Patlak plot", ("refpatlak",)),
    "1TCM": ("the distribution volume VT", "the one-tissue compartment model", ("compartments", "varpro")),
    "2TCM": ("VT", "the reversible two-tissue compartment model", ("compartments", "varpro")),
    "2TCMirr": (
        "the net influx Ki",
        "the irreversible two-tissue compartment model",
        ("compartments", "varpro"),
    ),
    "Logan": ("VT", "the Logan plot", ("logan",)),
    "MA1": ("VT", "the multilinear analysis MA1", ("ma1",)),
    "Patlak": ("the net influx Ki", "the Patlak plot", ("patlak",)),
}
REFERENCE_MODELS = ("SRTM", "SRTM2", "MRTM1", "MRTM2", "refLogan", "refmlLogan", "refPatlak")
COMPARTMENTS = ("1TCM", "2TCM", "2TCMirr")
PVC = {
    "gtm": ("the geometric transfer matrix", ("gtm",)),
    "labbe": ("least squares on the blurred masks (Labbé)", ("labbe",)),
    "rbv": ("region-based voxel-wise correction", ("rbv",)),
    "iy": ("iterative Yang", ("iy",)),
    "mg": ("the method of Müller-Gärtner", ("mg",)),
}


def words(values: Sequence) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    values = [str(v) for v in values]
    return values[0] if len(values) == 1 else ", ".join(values[:-1]) + " and " + values[-1] if values else ""


def spread(values, digits: int = 3) -> str:
    """Median of numbers, with their range where they differ: ``0.15`` or ``0.15 (0.14 to 0.16)``.

    Examples
    --------
    >>> spread([0.15, 0.15]), spread([0.14, 0.15, 0.16])
    ('0.15', '0.15 (0.14 to 0.16)')
    """
    known = [float(v) for v in values if isinstance(v, int | float) and np.isfinite(v)]
    if not known:
        return "n/a"
    low, middle, high = (f"{v:.{digits}g}" for v in (min(known), float(np.median(known)), max(known)))
    return middle if low == high else f"{middle} ({low} to {high})"


def reference(settings: Mapping, notes: Sequence[Mapping]) -> str:
    """Sentence on the reference region.

    Parameters
    ----------
    settings : mapping
        ``pet`` of the config.
    notes : sequence of mapping
        Sidecars of the reference curves; without any the config is told.
    """
    asked = list(settings.get("reference", []))
    if not notes:
        return f"The reference region was {words(asked)}." if asked else ""
    told = []
    for names in dict.fromkeys(tuple(map(str, n.get("ReferenceRegions", []))) for n in notes):
        mine = [n for n in notes if tuple(map(str, n.get("ReferenceRegions", []))) == names]
        source = str(mine[0].get("ReferenceAtlas", ""))
        what = words(names) if len(names) <= 4 else f"{len(names)} regions of atlas {source}"
        if source == "mask":
            what = "the mask " + words(n.rpartition("/")[2] for n in names)
        elif asked and asked != ["auto"] and tuple(asked) != names and source not in ("mask", "tissue"):
            what = f"{words(asked)} ({what})"
        if any(n.get("RestrictedToGreyMatter") for n in mine):
            what += f", restricted to a grey-matter probability above {spread(_values(mine, 'GreyMatterThreshold'))}"
        voxels = [n["ErosionVoxels"] for n in mine if n.get("ErosionVoxels")]
        if voxels:
            what += f", eroded by {spread(voxels)} voxels"
        volumes = [v / 1000 for v in _values(mine, "VolumeMm3") if isinstance(v, int | float)]
        told.append(what + (f", {spread(volumes)} mL" if volumes else ""))
    return f"The reference region was {'; in other scans '.join(told)}."


def kinetics(pairs: Sequence[tuple[str, Mapping]], cite, settings: Mapping | None = None) -> str:
    """Sentences on the models.

    Parameters
    ----------
    pairs : sequence of (str, mapping)
        Model and sidecar of every kinetic table.
    cite : callable
        ``cite(key, text)`` returns the text with the number of the paper.
    settings : mapping, optional
        ``pet`` of the config.

    Returns
    -------
    str
        Empty where no model was fitted.
    """
    notes: dict[str, list[Mapping]] = {}
    for model, note in pairs:
        notes.setdefault(model, []).append(note)
    done = {
        m: [n for n in told if "not available" not in str(n.get("Description", ""))]
        for m, told in notes.items()
    }
    text = [_reference_models(done, cite), _plasma_models(done, cite), _suvr(done, cite)]
    never = [m for m in (*PHRASES, "SUVR") if m in notes and not done[m]]
    for model in never:
        reason = str(notes[model][0].get("Description", "")).partition("not available: ")[2]
        text.append(f"{model} was asked for but could not be fitted to any scan ({reason}).")
    fitted = [m for m in PHRASES if done.get(m)]
    if fitted:
        weights = dict.fromkeys(str(n["Weights"]) for m in fitted for n in done[m] if "Weights" in n)
        plain = [w for w in weights if not w.startswith("none in the fit")]
        if plain:
            text.append(f"Frames were weighted by {words(plain)}; the graphical plots are unweighted.")
        text.append(
            "Estimates were flagged, and left out of all group tables, where a rate reached the end of its range, a standard error exceeded "
            "half of the value, or the curve turned negative; every table gives the reason, and a runs test of the residuals."
        )
    return " ".join(part for part in text if part)


def _phrase(model, cite) -> str:
    _, name, papers = PHRASES[model]
    for key in papers:
        name = cite(key, name)
    return name


def _values(notes, key):
    return [n[key] for n in notes if key in n]


def _starts(done, models) -> str:
    """t* of the models that have one."""
    told = []
    for model in models:
        values = [v for v in _values(done[model], "TStarMin") if isinstance(v, int | float) and v > 0]
        if values:
            told.append(f"{spread(values)} min for {model}")
    return words(told)


def _reference_models(done, cite) -> str:
    mine = [m for m in REFERENCE_MODELS if done.get(m)]
    if not mine:
        return ""
    parts = [f"{PHRASES[m][0]} by {_phrase(m, cite)}" for m in mine]
    text = f"Per region and per voxel were estimated {'; '.join(parts)}."
    basis = [m for m in ("SRTM", "SRTM2") if m in mine]
    if basis:
        low, high = done[basis[0]][0].get("BasisRange1PerMin", [0.006, 0.6])
        count = done[basis[0]][0].get("BasisFunctions", 128)
        text += f" {words(basis)} used {count} {cite('basis', 'basis functions')} (k2a {low:g} to {high:g} per min)."
    shared = [n for m in mine for n in done[m] if isinstance(n.get("K2Prime1PerMin"), int | float)]
    if shared:
        # one value per scan, whatever the number of models and atlases
        values = sorted({float(n["K2Prime1PerMin"]) for n in shared})
        source = next((str(n["K2PrimeSource"]) for n in shared if n.get("K2PrimeSource")), "")
        text += f" k2′ was {spread(values)} per min ({source})."
    starts = _starts(done, mine)
    if starts:
        text += f" The linear plots start at t* = {starts}."
    return text


def _plasma_models(done, cite) -> str:
    mine = [m for m in (*COMPARTMENTS, "Logan", "MA1", "Patlak") if done.get(m)]
    if not mine:
        return ""
    parts = [f"{PHRASES[m][0]} by {_phrase(m, cite)}" for m in mine]
    text = f"With the arterial input function were estimated {'; '.join(parts)}."
    fractions = {
        kind: dict.fromkeys(
            str(n["BloodFraction"])
            for m in mine
            for n in done[m]
            if "BloodFraction" in n and (m in COMPARTMENTS) == kind
        )
        for kind in (True, False)
    }
    if list(fractions[True]) == list(fractions[False]):
        told = [(True, "all of them")]
    else:
        told = [(True, "the compartment models"), (False, "the linear models")]
    for kind, what in told:
        if fractions[kind]:
            how = words([v if v == "fitted" else f"{float(v):g}" for v in fractions[kind]])
            text += f" The fraction of blood in tissue was {how} in {what}."
    starts = _starts(done, [m for m in mine if m not in COMPARTMENTS])
    if starts:
        text += f" The linear models start at t* = {starts}."
    glucose = [n for m in mine for n in done[m] if "LumpedConstant" in n]
    if glucose:
        text += (
            f" The metabolic rate of glucose followed from Ki with the plasma glucose of each scan and a lumped constant of "
            f"{spread(_values(glucose, 'LumpedConstant'))}."
        )
    return text


def _suvr(done, cite) -> str:
    notes = done.get("SUVR") or []
    windows = dict.fromkeys(tuple(n["WindowMin"]) for n in notes if isinstance(n.get("WindowMin"), list))
    if not windows:
        return ""
    told = words([f"{a:g} to {b:g} min" for a, b in windows])
    source = next((str(n["WindowSource"]) for n in notes if n.get("WindowSource")), "")
    how = "as configured" if source in ("config", "") else source
    text = f"SUVR was taken from {told} after injection ({how})."
    if any("CentiloidSlope" in n for n in notes):
        note = next(n for n in notes if "CentiloidSlope" in n)
        text += (
            f" {cite('centiloid', 'Centiloids')} are {note['CentiloidSlope']:.2f} SUVR {note['CentiloidIntercept']:+.2f} "
            f"(calibration: {note.get('CentiloidCalibration')})."
        )
    return text


def blood(notes: Sequence[Mapping]) -> str:
    """Sentence on the input functions.

    Parameters
    ----------
    notes : sequence of mapping
        Sidecars of the input functions.
    """
    made = [n for n in notes if n.get("Missing") is None]
    if not notes:
        return ""
    if not made:
        return " No scan had arterial blood from which an input function could be made."
    models = dict.fromkeys(str(n.get("ParentFractionModel", "n/a")) for n in made)
    ratio = dict.fromkeys(str(n.get("PlasmaOverBlood", "n/a")) for n in made)
    delays = [float(n["DelaySeconds"]) for n in made if isinstance(n.get("DelaySeconds"), int | float)]
    how = {"fit": "fitted to the whole-brain curve", "given": "as configured"}
    sources = words(dict.fromkeys(how.get(str(n.get("DelaySource")), "n/a") for n in made))
    return (
        f" Arterial input functions of {len(made)} {'scan' if len(made) == 1 else 'scans'} were made from blood samples decay-corrected to "
        f"injection: parent fraction {words(models)}, plasma to whole blood {words(ratio)}, delay {spread(delays)} s ({sources})."
    )


def partial_volume(settings: Mapping, curves: Sequence[Mapping], cite) -> str:
    """Sentence on the correction for partial volume.

    Parameters
    ----------
    settings : mapping
        ``pet`` of the config.
    curves : sequence of mapping
        Sidecars of the curves that the models read.
    cite : callable
    """
    done = [n for n in curves if n.get("PartialVolumeCorrection", "none") != "none"]
    method = done[0]["PartialVolumeCorrection"] if done else settings.get("pvc", "none")
    if method not in PVC:
        return " No partial-volume correction was applied."
    name, papers = PVC[method]
    for key in papers:
        name = cite(key, name)
    widths = done[0].get("PointSpreadFWHMmm") if done else settings.get("psf_fwhm_mm", [])
    text = (
        f" Activity was corrected for partial volume by {name} with a point spread of {' x '.join(f'{float(w):g}' for w in widths)} mm "
        "(full width at half maximum"
    )
    if done:
        masks = {"fuzzy": "tissue fractions", "hard": "whole points"}.get(str(done[0].get("Masks")), "")
        rounds = f"{done[0]['Iterations']} iterations, " if "Iterations" in done[0] else ""
        numbers = spread(_values(done, "ConditionNumber"))
        text += f"; {rounds}masks of {masks}, condition number {numbers}"
    text += ")"
    text += "; maps were not corrected" if method in ("gtm", "labbe") else ""
    if any(m in settings.get("models", []) for m in (*COMPARTMENTS, "Logan", "MA1", "Patlak")):
        text += "; models with a plasma input read the curves without that correction"
    return text + "."
