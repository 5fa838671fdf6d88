"""The methods paragraph, from the settings and sidecars of the run, and the papers it leans on.

Only what was done is described: a stage without scans has no sentence. Values come from the config as used (defaults
filled in) and, where a stage decided something itself, from its sidecar.
"""

from __future__ import annotations

from collections.abc import Mapping

from neurobraid.reports import brainage, inference, pet_methods, pet_tables

REFERENCES = {
    "bids": "Gorgolewski KJ et al. (2016). The brain imaging data structure. Scientific Data 3:160044.",
    "snakemake": "Mölder F et al. (2021). Sustainable data analysis with Snakemake. F1000Research 10:33.",
    "fmriprep": "Esteban O et al. (2019). fMRIPrep: a robust preprocessing pipeline for functional MRI. Nature Methods 16:111–116.",
    "n4": "Tustison NJ et al. (2010). N4ITK: improved N3 bias correction. IEEE Trans Med Imaging 29:1310–1320.",
    "template": "Fonov V et al. (2011). Unbiased average age-appropriate atlases for pediatric studies. NeuroImage 54:313–327.",
    "syn": "Avants BB et al. (2008). Symmetric diffeomorphic image registration with cross-correlation. Med Image Anal 12:26–41.",
    "mi": "Mattes D et al. (2003). PET-CT image registration in the chest using free-form deformations. "
    "IEEE Trans Med Imaging 22:120–128.",
    "bbr": "Greve DN, Fischl B (2009). Accurate and robust brain image alignment using boundary-based registration. "
    "NeuroImage 48:63–72.",
    "fd": "Power JD et al. (2012). Spurious but systematic correlations in functional connectivity MRI networks arise from "
    "subject motion. NeuroImage 59:2142–2154.",
    "srtm": "Lammertsma AA, Hume SP (1996). Simplified reference tissue model for PET receptor studies. NeuroImage 4:153–158.",
    "basis": "Gunn RN et al. (1997). Parametric imaging of ligand-receptor binding in PET using a simplified reference region "
    "model. NeuroImage 6:279–287.",
    **inference.REFERENCES,
    "fdr": "Benjamini Y, Hochberg Y (1995). Controlling the false discovery rate. J R Stat Soc B 57:289–300.",
    "denoise": "Wang HT et al. (2024). Continuous evaluation of denoising strategies in resting-state fMRI connectivity. "
    "PLoS Comput Biol 20:e1011942.",
    "moran": "Wagner HH, Dray S (2015). Generating spatially constrained null models for irregularly spaced data using Moran "
    "spectral randomization methods. Methods Ecol Evol 6:1169–1178.",
    "variogram": "Burt JB et al. (2020). Generative modeling of brain maps with spatial autocorrelation. NeuroImage 220:117038.",
    "spin": "Alexander-Bloch AF et al. (2018). On testing for spatial correspondence between maps of human brain structure and "
    "function. NeuroImage 178:540–551.",
    "nulls": "Markello RD, Misic B (2021). Comparing spatial null models for brain maps. NeuroImage 236:118052.",
    "freedman": "Freedman D, Lane D (1983). A nonstochastic interpretation of reported significance levels. "
    "J Bus Econ Stat 1:292–298.",
    "nadeau": "Nadeau C, Bengio Y (2003). Inference for the generalization error. Machine Learning 52:239–281.",
    "bates": "Bates S, Hastie T, Tibshirani R (2024). Cross-validation: what does it estimate and how well does it do it? "
    "J Am Stat Assoc 119:1434–1445.",
    "varoquaux": "Varoquaux G (2018). Cross-validation failure: small sample sizes lead to large error bars. "
    "NeuroImage 180:68–77.",
    **pet_methods.REFERENCES,
}

STRATEGIES = {
    "baseline": "the band-pass filter alone",
    "simple": "24 head-motion regressors with white-matter and cerebrospinal-fluid signals",
    "simple+gsr": "24 head-motion regressors with white-matter, cerebrospinal-fluid and global signals",
    "compcor": "head-motion regressors with anatomical principal components (aCompCor)",
}


def get(settings: Mapping, path: str, default=None):
    """Value at a dotted path of the settings, or the default."""
    value = settings
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return default
        value = value[key]
    return value


def words(values) -> str:
    """Join words: ``a``, ``a and b``, ``a, b and c``.

    Examples
    --------
    >>> words(["GM", "WM", "CSF"])
    'GM, WM and CSF'
    """
    values = [str(v) for v in values]
    return values[0] if len(values) == 1 else ", ".join(values[:-1]) + " and " + values[-1] if values else ""


def span(values) -> str:
    """Range of numbers as ``2`` or ``1.5 to 2.2``, without trailing zeros."""
    values = sorted({float(v) for v in values})
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"


def paragraphs(settings: Mapping, facts: Mapping) -> tuple[list[tuple[str, str]], list[str]]:
    """Write the methods.

    Parameters
    ----------
    settings : mapping
        Config as used.
    facts : mapping
        ``counts`` (scans by suffix), ``participants`` (int), ``software`` (versions), ``tr`` (list of s),
        ``slice_timing`` (set of bool), ``bold_tasks``, ``tracers``, ``group_n`` (by task), ``pet_frames`` (list of int),
        ``reference`` (sidecars of the reference curves), ``kinetics`` (model and sidecar of every kinetic table), ``curves`` and ``input`` (sidecars of
        the curves and input functions), ``models`` (prediction summaries), ``preprocessing`` (rows of the table that says who
        preprocessed which scan). Missing keys mean: not part of this study.

    Returns
    -------
    list of (heading, text), list of str
        Paragraphs, and the references they use in order.
    """
    used: list[str] = []

    def cite(key: str, text: str) -> str:
        if key not in used:
            used.append(key)
        return f"{text} [{used.index(key) + 1}]"

    counts = facts.get("counts", {})
    software = facts.get("software", {})
    out = []

    n = facts.get("participants", 0)
    parts = [
        f"{counts[k]} {label}"
        for k, label in (("T1w", "T1-weighted"), ("bold", "BOLD"), ("pet", "PET"))
        if counts.get(k)
    ]
    told = f"{words(parts)} scans" if parts else "tables only"
    text = (
        f"Data of {n} participant{'s' if n != 1 else ''} ({told}) organised as {cite('bids', 'BIDS')} were "
        f"processed with neurobraid {software.get('neurobraid', '')} (Python {software.get('python', '')}), a "
        f"{cite('snakemake', 'Snakemake')} {software.get('snakemake', '')} workflow."
    )
    if counts.get("bold") or counts.get("pet"):
        text += (
            " Every BOLD and PET scan was paired with the T1w of the same session, or else with the nearest one within "
            f"{get(settings, 'index.max_days', 365)} days; scans without such a T1w were excluded."
        )
    out.append(("Data and software", text))

    made = facts.get("preprocessing") or []
    theirs = {
        s: {r["scan"] for r in made if r["source"] == "fmriprep" and r["suffix"] == s}
        for s in ("T1w", "bold")
    }
    if any(theirs.values()):
        out.append(("Derivatives taken over", _adopted(settings, made, cite)))
    if counts.get("T1w", 0) > len(theirs["T1w"]):
        resolution = get(settings, "anat.resolution", 2)
        first = (
            f"T1w images were corrected for intensity non-uniformity with {cite('n4', 'N4')}, "
            if get(settings, "anat.n4", True)
            else "T1w images were "
        )
        quality = get(settings, "anat.quality", "standard")
        space = cite("template", "MNI152 (2009a, symmetric) template")
        how = cite("syn", "symmetric diffeomorphic registration") + f" (preset “{quality}”)"
        out.append(
            (
                "Anatomy",
                f"{_others(theirs['T1w'])}{first}brain-extracted, segmented into grey matter, white matter and cerebrospinal fluid, and normalised to "
                f"the {space} by affine and {how}; images in template space "
                f"have {resolution:g} mm voxels.",
            )
        )
    if counts.get("bold", 0) > len(theirs["bold"]):
        out.append(("BOLD preprocessing", _others(theirs["bold"]) + _bold(settings, facts, cite)))
    if facts.get("group_n") or facts.get("activation"):
        out.append(("Task activation", _activation(settings, facts, cite)))
    if facts.get("connectivity"):
        out.append(("Functional connectivity", _connectivity(settings, facts, cite)))
    if counts.get("pet"):
        out.append(("PET", _pet(settings, facts, cite)))
    if facts.get("coupling"):
        out.append(("Coupling of function and molecules", _coupling(settings, facts, cite)))
    if facts.get("models"):
        out.append(("Prediction", prediction(facts, cite)))
    if facts.get("brainage"):
        out.append(("Brain age", brainage.paragraph(facts["brainage"])))
    return out, [REFERENCES[key] for key in used]


def _others(theirs) -> str:
    """Opening of a paragraph that does not hold for adopted scans."""
    return "This holds for the scans that were not taken over from fMRIPrep. " if theirs else ""


def _people(scans, limit: int = 12) -> str:
    """Participants of scans, in words; only their number where there are many."""
    names = list(dict.fromkeys(scan.split("_")[0] for scan in scans))
    return words(names) if len(names) <= limit else f"{len(names)} participants"


def _adopted(settings, made, cite) -> str:
    """Whose scans come from fMRIPrep, with its version, and what was done to them here."""
    told, kinds = [], {"T1w": "T1-weighted", "bold": "BOLD"}
    versions = dict.fromkeys(r["version"] for r in made if r["source"] == "fmriprep")
    for version in versions:
        mine = [r for r in made if r["source"] == "fmriprep" and r["version"] == version]
        parts = [
            f"{sum(r['suffix'] == s for r in mine)} {label}"
            for s, label in kinds.items()
            if any(r["suffix"] == s for r in mine)
        ]
        name = cite("fmriprep", "fMRIPrep") + ("" if version == "n/a" else f", version {version}")
        told.append(
            f"{words(parts)} scans of {_people(r['scan'] for r in mine)} were preprocessed with {name}."
        )
    text = " ".join(told)
    own = [r for r in made if r["source"] != "fmriprep" and r["suffix"] in kinds]
    if own:
        text += f" The other {len(own)} T1-weighted and BOLD scans ({_people(r['scan'] for r in own)}) were preprocessed as follows."
    return (
        text
        + " fMRIPrep normalises to MNI152NLin2009cAsym; in every participant that space was registered to the "
        + cite("template", "MNI152 (2009a, symmetric) template")
        + " with its normalised T1w (affine and "
        + cite("syn", "symmetric diffeomorphic registration")
        + f", preset “{get(settings, 'anat.quality', 'standard')}”). Adopted T1w images were interpolated once; adopted BOLD series, "
        f"already interpolated by fMRIPrep, once more to {get(settings, 'bold.resolution', 3):g} mm in template space. Confounds are "
        "fMRIPrep's."
    )


def _bold(settings, facts, cite) -> str:
    tr = f" (repetition time {span(facts['tr'])} s)" if facts.get("tr") else ""
    timing = facts.get("slice_timing", set())
    slices = {
        frozenset(
            {True}
        ): f" Slice timing was corrected to {get(settings, 'bold.slice_time_ref', 0.5):g} of the repetition time.",
        frozenset({False}): " Slice timing was not corrected.",
        frozenset(
            {True, False}
        ): " Slice timing was corrected where slice times were known; elsewhere it was not.",
    }.get(frozenset(timing), "")
    register = cite("mi", "mutual information")
    if "boundary" in facts.get("coregistration", ()):
        register += ", refined by " + cite("bbr", "boundary-based registration")
    return (
        f"BOLD series{tr} were realigned to a reference volume by rigid least-squares registration, and the reference was "
        f"registered to the T1w by a rigid transform ({register}).{slices} All transforms were applied "
        f"in one {get(settings, 'bold.interpolation', 'cubic')} interpolation, at {get(settings, 'bold.resolution', 3):g} mm in "
        f"template space. Volumes with a {cite('fd', 'framewise displacement')} above "
        f"{get(settings, 'bold.fd_threshold_mm', 0.5):g} mm or a standardised DVARS above "
        f"{get(settings, 'bold.std_dvars_threshold', 1.5):g} were flagged as motion outliers."
    )


def _response(hrf) -> str:
    shape, *extras = [part.strip() for part in str(hrf).split("+")]
    if shape == "fir":
        return "a finite impulse response"
    more = {"derivative": "temporal", "dispersion": "dispersion"}
    named = words([more[e] for e in extras])
    return f"the {shape.upper()} haemodynamic response" + (f" with {named} derivative" if extras else "")


def _noise(model) -> str:
    if model == "ols":
        return "independent noise"
    if model == "auto":
        return "autoregressive noise (of first order for repetition times of 1.5 s or more, of third order below)"
    names = {"1": "first", "2": "second", "3": "third", "4": "fourth", "5": "fifth", "6": "sixth"}
    return f"{names.get(str(model)[2:], str(model)[2:])}-order autoregressive noise"


def _designs(settings) -> str:
    """Sentences about scrubbing, contrasts between sessions and group designs."""
    text = ""
    limits = get(settings, "activation.scrub", {}) or {}
    if limits:
        parts = [f"a framewise displacement above {limits['fd_mm']:g} mm"] if "fd_mm" in limits else []
        parts += [f"a standardised DVARS above {limits['std_dvars']:g}"] if "std_dvars" in limits else []
        text += f" Volumes with {' or '.join(parts)} got a regressor of their own (scrubbing)."
    if between := get(settings, "activation.between_sessions", []):
        names = words([record["name"] for record in between])
        text += f" Sessions of a participant were contrasted before the group level ({names})."
    for design in get(settings, "activation.designs", []) or []:
        columns = [design["groups"]] if design.get("groups") else []
        columns += [f"{name} (centred)" for name in design.get("covariates") or []]
        how = "mixed effects with the first-level variances (restricted maximum likelihood, errors of Knapp and Hartung)"
        how = how if design.get("estimator") == "mixed" else "least squares"
        text += f" Group design {design['name']} modelled {words(columns) or 'the mean'} by {how}."
    return text


def _activation(settings, facts, cite) -> str:
    tasks = []
    for record in get(settings, "activation.tasks", []):
        if record["task"] not in facts.get("activation", facts.get("group_n", {})):
            continue
        names = []
        for contrast in record["contrasts"]:
            rows = contrast.get("rows") or [contrast.get("weights") or {}]
            sums = [" ".join(f"{w:+g}·{c}".replace("-", "−") for c, w in row.items()) for row in rows]
            test = "F test of " if len(rows) > 1 else ""
            names.append(f"{contrast['name']} ({test}{', '.join(sums)})")
        tasks.append(f"task {record['task']} (contrasts {words(names)})")
    noise = _noise(get(settings, "activation.noise_model", "auto"))
    smoothing = get(settings, "activation.smoothing_mm", 0)
    smooth = f"smoothed to {smoothing:g} mm (FWHM of the kernel) and " if smoothing else ""
    text = (
        f"General linear models were fitted to each run of {words(tasks)}: series were {smooth}modelled with "
        f"{_response(get(settings, 'activation.hrf', 'spm'))}, cosine drifts above "
        f"{1 / get(settings, 'activation.high_pass_hz', 1 / 128):.0f} s, the confounds "
        f"{words(get(settings, 'activation.confounds', []))}, and {noise}. Runs were combined by fixed effects."
    )
    if get(settings, "activation.model", ""):
        text = (
            f"General linear models of {words(tasks)} followed the BIDS Stats Model stored with the results (folder models); "
            f"series were {smooth}modelled run by run, and runs were combined by fixed effects."
        )
    text += _designs(settings)
    group = get(settings, "activation.group", {})
    if facts.get("group_n"):
        many = words(f"{n} participants for {task}" for task, n in facts["group_n"].items())
        rule = {
            "fdr": cite("fdr", f"a false discovery rate of {group.get('alpha', 0.05):g}"),
            "bonferroni": f"a family-wise error of {group.get('alpha', 0.05):g} (Bonferroni)",
            "fpr": f"p < {group.get('alpha', 0.05):g} per voxel, not corrected",
        }.get(group.get("height_control", "fdr"))
        text += (
            f" Contrasts were tested against zero over participants ({many}), two-sided, with {rule}; clusters of fewer than "
            f"{group.get('cluster_voxels', 10)} voxels are not listed."
        )
        text += inference.methods_text(get(settings, "activation.inference", {}), cite)
    if get(settings, "activation.surface", False):
        text += (
            " Series were also sampled between the white and pial surfaces of fsaverage5, smoothed along the surface and modelled in the "
            "same way"
        )
        text += (
            "; contrasts were tested at every vertex, both hemispheres together."
            if facts.get("group_n")
            else "."
        )
    return text


def _connectivity(settings, facts, cite) -> str:
    band = get(settings, "connectivity.band_hz", [0.01, 0.1])
    strategy = get(settings, "connectivity.strategy", "simple")
    plain = STRATEGIES.get(
        strategy,
        "head-motion regressors and scrubbing of motion outliers" if "scrub" in strategy else strategy,
    )
    for record in get(settings, "connectivity.strategies", []) or []:
        if record["name"] == strategy:
            plain = f"defined for this study: {words(record['confounds'])}"
    measures = {
        "pearsoncorrelation": "Pearson correlation", "partialcorrelation": "partial correlation",
        "laggedcorrelation": "correlation at the best lag",
    }  # fmt: skip
    kinds = words(measures.get(m, m) for m in get(settings, "connectivity.measures", []))
    return (
        f"Regional series of {words(f'task {t}' for t in facts['connectivity'])} were averaged over the regions of atlas "
        f"{words(a['name'] for a in get(settings, 'atlases', []))} and denoised in one regression with the strategy “{strategy}” "
        f"({plain}; {cite('denoise', 'named as in the benchmark')}), band {band[0]:g} to {band[1]:g} Hz. Matrices hold the {kinds} "
        f"of all pairs of regions covered to at least {100 * get(settings, 'connectivity.min_coverage', 0.5):.0f} %."
        f"{_further(settings)}"
    )


def _further(settings) -> str:
    """Sentences on what was asked for beside the matrices."""
    said = []
    compared = get(settings, "connectivity.compare_strategies", [])
    if compared:
        said.append(
            f"The strategies {words(compared)} were compared on the same series by QC-FC, degrees of freedom and reliability."
        )
    maps = [
        *get(settings, "connectivity.maps", []),
        *(f"seed {s['name']}" for s in get(settings, "connectivity.seeds", [])),
    ]
    if maps:
        width = get(settings, "connectivity.maps_smoothing_mm", 6)
        said.append(f"Maps by voxel ({words(maps)}) were smoothed by {width:g} mm.")
    notes = {
        "graph": "graph measures over 10 to 30 % of the edges, relative to 20 random networks of the same degrees",
        "gradients": "gradients by diffusion maps, participants aligned to the group by Procrustes rotation",
        "dynamic": "connectivity in sliding windows of 45 s, beside 19 phase-randomised surrogates",
    }
    networks = [notes[name] for name in get(settings, "connectivity.networks", [])]
    if networks:
        said.append(f"Further measures: {'; '.join(networks)}.")
    for record in get(settings, "connectivity.edges", []):
        covariates = words(record.get("covariates", [])) or "none"
        said.append(
            f"The effect of {record['variable']} was tested at every edge (linear model, covariates: {covariates}; false discovery rate, and "
            f"{record.get('permutations', 0)} permutations for family-wise p of edges and of components beyond |t| > "
            f"{record.get('threshold_t', 3.1):g})."
        )
    return "".join(f" {sentence}" for sentence in said)


def _pet(settings, facts, cite) -> str:
    tracers = f" ({words(facts['tracers'])})" if facts.get("tracers") else ""
    frames = f" in {span(facts['pet_frames'])} frames" if facts.get("pet_frames") else ""
    adopted = pet_tables.adopted_words(facts.get("preprocessing") or [], _people)
    theirs = [
        r
        for r in facts.get("preprocessing") or []
        if r["suffix"] == "pet" and r["source"] in pet_tables.PROGRAMS
    ]
    own = len(theirs) < facts.get("counts", {}).get("pet", 1)
    text = (
        f"PET scans{tracers}{frames} were converted to kBq/mL decay-corrected to injection, corrected for motion between frames "
        f"(rigid, on images smoothed to {get(settings, 'pet.motion_fwhm_mm', 8):g} mm; frames before "
        f"{get(settings, 'pet.motion_start_min', 2):g} min took the motion of the first later frame) and registered to the T1w. "
    )
    if adopted:
        text = f"{adopted} The other {text}" if own else f"{adopted} "
    text += pet_methods.reference(get(settings, "pet", {}), facts.get("reference") or [])
    pairs = facts.get("kinetics")
    if pairs is None:
        pairs = [(model, _planned(settings)) for model in get(settings, "pet.models", [])]
    # in the order of the text, so that the papers are numbered as they are read
    if own:
        text += pet_methods.partial_volume(get(settings, "pet", {}), facts.get("curves") or [], cite)
    text += pet_methods.blood(facts.get("input") or [])
    return f"{text} {pet_methods.kinetics(pairs, cite)}".strip()


def _planned(settings) -> dict:
    """What sidecars would say, from the settings, where there are none."""
    window = get(settings, "pet.suvr_window_min", [30, 60])
    return {
        "BasisFunctions": get(settings, "pet.n_basis", 128),
        "BasisRange1PerMin": get(settings, "pet.k2a_range_per_min", [0.006, 0.6]),
        "WindowMin": window if window != "auto" else None,
        "WindowSource": "config",
    }


def _null(settings, cite) -> str:
    """How surrogates of maps were made."""
    kind = get(settings, "fusion.coupling.spatial_null", "moran")
    words_of = {
        "moran": "Moran spectral randomisation",
        "variogram": "variogram matching",
        "spin": "spins on fsaverage5, cortex only",
    }
    return cite(kind, words_of[kind])


def _coupling(settings, facts, cite) -> str:
    with_covariates = sorted({c for pair in facts["coupling"] for c in pair.get("Covariates") or []})
    text = (
        "Function and binding or metabolism were compared by region. Mean maps, and the maps of each participant, were correlated over "
        f"regions and judged against {get(settings, 'fusion.coupling.surrogates', 999)} surrogates of the same smoothness "
        f"({_null(settings, cite)}), because {cite('nulls', 'tests that take regions for independent')} "
        "find far too much."
    )
    if any(pair.get("AcrossPeople") for pair in facts["coupling"]):
        count = get(settings, "fusion.coupling.permutations", 999)
        without = f", without {words(with_covariates)}" if with_covariates else ""
        text += (
            f" Across participants the two were correlated in each region{without}; p were corrected over regions by {count} "
            f"{cite('freedman', 'permutations of the residuals')}."
        )
    return text


def prediction(facts, cite) -> str:
    """How models were fitted and judged: ``models`` of the facts (summaries), and a function that cites a reference."""
    told = []
    for summary in facts["models"]:
        settings, folds = summary.get("settings", {}), summary.get("folds", {})
        if not folds:
            continue
        permuted = summary.get("permutation") or {}
        test = (
            f", and a permutation test with {permuted['count']} permutations" if permuted.get("count") else ""
        )
        told.append(
            f"Model {summary['name']} predicted {settings.get('target')} ({settings.get('kind')}) of {summary.get('participants')} "
            f"participants from {words(summary.get('features', {}))} with {settings.get('estimator')}, in nested cross-validation "
            f"({folds.get('repeats')} × {folds.get('outer')} outer and {folds.get('inner')} inner folds, grouped by "
            f"{settings.get('groups')}){test}."
        )
    if not told:
        return "No model could be fitted; the reasons are given in the section on prediction."
    return (
        " ".join(told)
        + _nested(facts["models"], cite)
        + " Imputation, scaling, confound removal, fusion and the choice of hyperparameters were fitted on the training part of each "
        f"fold only. Intervals are {cite('nadeau', 'corrected resampled')} 95 % intervals; small samples make them wide "
        f"[{_number(cite, 'varoquaux')}]."
    )


def _nested(models, cite) -> str:
    names = [m["name"] for m in models if (m.get("nested_intervals") or {}).get("status") == "ok"]
    if not names:
        return ""
    return f" The interval of the main score of {words(names)} is that of {cite('bates', 'nested cross-validation')}."


def _number(cite, key) -> str:
    return cite(key, "").strip().strip("[]")
