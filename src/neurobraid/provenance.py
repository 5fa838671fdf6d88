"""Sidecars: what a derivative was made from, with which settings and by which version."""

import hashlib
from pathlib import Path

from neurobraid import __version__

RAW, DERIVATIVES = "bids", "results/derivatives"
#: Folders of other programs inside ``derivatives`` of a study.
ADOPTED = ("fmriprep", "petprep", "petfit", "tacs", "bloodstream")

BIDSIGNORE = (
    "".join(
        f"*_{suffix}.*\n"
        for suffix in (
            "mimap",
            "tacs",
            "kinpar",
            "inputfunction",
            "relmat",
            "morph",
            "statmap",
            "timeseries",
            "bold",
            "design",
            "table",
            "summary",
            "qc",
            "weights",
            "features",
            "predictions",
            "scores",
            "folds",
            "xfm",
            "pet",
            "petref",
            "boldref",
            "boldmap",
            "T2starmap",
            "desc-validity_mask",
            "fieldmap",
        )
    )
    + "atlases\ngroup\ncohort\ntrial\nmodels\n"  # no slash: the validator then passes the folders themselves, too
)
"""Suffixes and folders that the BIDS schema has no name for yet."""


def bids_uri(path, *, raw=RAW, derivatives=DERIVATIVES):
    """Turn a study-relative path into a BIDS URI.

    Parameters
    ----------
    path : path-like
        Path relative to the study.

    Returns
    -------
    str
        ``bids:raw:…`` for the raw dataset and ``bids:fmriprep:…``, ``bids:petprep:…`` for adopted derivatives (the links
        are declared in the derivatives' description),
        ``bids::…`` for neurobraid's own derivatives, the bare file name for anything else, so that no
        absolute path is ever written.

    Examples
    --------
    >>> bids_uri("bids/sub-01/anat/sub-01_T1w.nii.gz")
    'bids:raw:sub-01/anat/sub-01_T1w.nii.gz'
    >>> bids_uri("results/derivatives/sub-01/anat/sub-01_dseg.nii.gz")
    'bids::sub-01/anat/sub-01_dseg.nii.gz'
    """
    text = Path(path).as_posix()
    if text.startswith(f"{derivatives}/"):
        return "bids::" + text[len(derivatives) + 1 :]
    if text.startswith(f"{raw}/"):
        return "bids:raw:" + text[len(raw) + 1 :]
    if len(parts := text.split("/", 2)) == 3 and parts[0] == "derivatives" and parts[1] in ADOPTED:
        return f"bids:{parts[1]}:{parts[2]}"
    return Path(path).name


def sidecar(description, sources=(), **fields):
    """Compose the JSON that stands beside a derivative.

    Parameters
    ----------
    description : str
        One sentence: what this file is.
    sources : iterable of path-like
        Files it was made from, relative to the study.
    **fields
        Every setting that shaped the result, in BIDS terms where there is one.

    Returns
    -------
    dict
    """
    content = {"Description": description, "NeurobraidVersion": __version__}
    if sources:
        content["Sources"] = [bids_uri(s) for s in sources]
    content.update({k: v for k, v in fields.items() if v is not None})
    return content


def dataset_description(name, *, adopted=()):
    """Content of the derivatives' ``dataset_description.json``.

    Parameters
    ----------
    name : str
        Title of the study.
    adopted : dict of str to str
        Name of a dataset of derivatives that the study takes over, to its link inside the study.

    Returns
    -------
    dict
        The raw dataset is linked by a relative path, so that a moved study stays valid.
    """
    links = {"raw": "../../bids"} | {key: f"../../{link}" for key, link in dict(adopted).items()}
    return {
        "Name": f"{name}: derivatives",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "neurobraid", "Version": __version__}],
        "DatasetLinks": links,
        "SourceDatasets": [{"URL": f"bids:{link}:"} for link in links],
    }


def sha256(path):
    """SHA-256 of a file's bytes as hexadecimal text."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def compare_trees(first, second):
    """Compare two folders file by file.

    Parameters
    ----------
    first, second : path-like

    Returns
    -------
    list of (str, str)
        Status (``same``, ``different``, ``only in one``) and path relative to the folders, sorted by path.
    """
    first, second = Path(first), Path(second)
    names = [
        {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()} for root in (first, second)
    ]
    rows = []
    for name in sorted(names[0] | names[1]):
        if name not in names[0] or name not in names[1]:
            rows.append(("only in one", name))
        else:
            equal = sha256(first / name) == sha256(second / name)
            rows.append(("same" if equal else "different", name))
    return rows
