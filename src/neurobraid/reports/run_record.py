"""What was run: software versions, settings, and checksums of the files, without host, user, date or absolute path."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from neurobraid import __version__
from neurobraid.provenance import bids_uri, sha256
from neurobraid.reports.pages import private

#: Distributions whose versions can change a result.
SOFTWARE = (
    "snakemake",
    "numpy",
    "scipy",
    "pandas",
    "nibabel",
    "nilearn",
    "scikit-learn",
    "SimpleITK",
    "dipy",
    "numba",
    "pybids",
    "matplotlib",
    "jinja2",
    "antspyx",
)


def versions(names: Iterable[str] = SOFTWARE) -> dict[str, str]:
    """Versions of neurobraid, Python and the installed ones of the named distributions."""
    found = {"neurobraid": __version__, "python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def label(path) -> str:
    """Name of a file in the record: a BIDS URI for raw data and derivatives, else the path relative to the study.

    Examples
    --------
    >>> label("results/index/scans.tsv"), label("/data/ada/x.tsv")
    ('results/index/scans.tsv', 'x.tsv')
    """
    text = Path(path).as_posix()
    uri = bids_uri(text)
    if uri.startswith("bids:"):
        return uri
    return Path(path).name if Path(path).is_absolute() or text.startswith("..") else text


def checksums(paths: Iterable) -> list[dict]:
    """SHA-256 and size of files, sorted by label.

    Parameters
    ----------
    paths : iterable of path-like
        Files that are not there are left out (an input that a study does not have).

    Returns
    -------
    list of dict
        ``file``, ``bytes``, ``sha256``.
    """
    found = {}
    for path in paths:
        here = Path(path)
        if here.is_file():
            found[label(path)] = {"file": label(path), "bytes": here.stat().st_size, "sha256": sha256(here)}
    return [found[name] for name in sorted(found)]


def clean_config(value):
    """Settings with absolute paths reduced to their last part."""
    if isinstance(value, Mapping):
        return {str(k): clean_config(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean_config(v) for v in value]
    return private(value) if isinstance(value, str) else value


def record(config: Mapping, files: list[dict]) -> dict:
    """The whole record of a study.

    Parameters
    ----------
    config : mapping
        As used, defaults filled in.
    files : list of dict
        See `checksums`.
    """
    unique = {f["file"]: f for f in files}
    return {
        "software": versions(),
        "config": clean_config(config),
        "files": [unique[n] for n in sorted(unique)],
    }
