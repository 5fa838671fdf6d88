"""Region series and matrices that another program made: one reader for XCP-D, giga-connectome, C-PAC and plain tables.

What tells the programs apart is small: how the atlas is called in the name (``atlas-`` or ``seg-``), whether there is a
header, and which files stand beside the series. Only names are read to find the files; a series is read when it is used.
Where a scan has a correlation matrix but no series, the matrix is taken.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from neurobraid.bids.entities import SCAN_KEYS, natural, parse
from neurobraid.errors import InputError
from neurobraid.files import read_json

#: Where the folder is reached inside a study.
LINK = "derivatives/series"
ENDINGS = (".tsv", ".tsv.gz", ".csv", ".1D")
COLUMNS = (
    "scan",
    "participant_id",
    "session_id",
    "task",
    "atlas",
    "path",
    "kind",
    "coverage",
    "outliers",
    "sidecar",
)
SERIES, MATRIX = "series", "matrix"
#: What a matrix must be, in the words of XCP-D (``stat-``) or of giga-connectome (``meas-``).
CORRELATION = "pearsoncorrelation"
MISSING = "n/a"
#: Names of C-PAC's extracts: ``Pitt_0050003_rois_ho.1D``.
_CPAC = re.compile(r"(?:.*_)?(?P<sub>[0-9]{4,})_rois_(?P<atlas>[A-Za-z0-9]+)(?:\.1D|\.csv)$")
#: Statistics of a region that are a series of its values; others (coverage, alff) are not.
_MEANS = (None, "mean", "median")


def _entry(root, path):
    """Row of one file, or None where its name is not that of a region series."""
    relative = path.relative_to(root)
    cpac, kind = _CPAC.match(path.name), SERIES
    if cpac:
        entities, atlas = {"sub": cpac["sub"]}, cpac["atlas"]
    else:
        try:
            name = parse(path.name)
        except ValueError:
            return None
        entities = name.entities
        if (
            name.suffix not in ("timeseries", "relmat")
            or name.extension not in ENDINGS
            or "sub" not in entities
        ):
            return None
        atlas = entities.get("atlas") or entities.get("seg")
        if name.suffix == "relmat":
            kind = MATRIX
            fits = (entities.get("stat") or entities.get("meas", "")).lower() == CORRELATION
        else:
            fits = entities.get("stat") in _MEANS
        if atlas is None or not fits:
            return None
        scale = entities.get("scale")
        atlas = re.sub(r"[^A-Za-z0-9]", "", atlas + (f"scale{scale}" if scale else ""))
    scan = "_".join(f"{key}-{entities[key]}" for key in SCAN_KEYS if key in entities)
    return dict.fromkeys(COLUMNS, MISSING) | {
        "scan": scan,
        "participant_id": f"sub-{entities['sub']}",
        "session_id": f"ses-{entities['ses']}" if "ses" in entities else MISSING,
        "task": entities.get("task", MISSING),
        "atlas": atlas,
        "path": relative.as_posix(),
        "kind": kind,
    }


def _beside(root, folder, rows):
    """Coverage, outliers and sidecar of the series of one folder."""
    by_scan = {}
    for path in sorted(folder.iterdir()):
        try:
            name = parse(path.name)
        except ValueError:
            continue
        raw = "_".join(f"{k}-{name.entities[k]}" for k in SCAN_KEYS if k in name.entities)
        by_scan.setdefault(raw, []).append((path, name))
    for row in rows:
        own = Path(row["path"]).name
        stem = own[: -len(next(e for e in ENDINGS if own.endswith(e)))]
        for path, name in by_scan.get(row["scan"], []):
            atlas = name.entities.get("atlas") or name.entities.get("seg")
            found = path.relative_to(root).as_posix()
            # XCP-D has called it _coverage, _stat-coverage_bold and _desc-coverage_bold
            covers = "coverage" in (name.suffix, name.entities.get("stat"), name.entities.get("desc"))
            if covers and name.extension == ".tsv" and atlas == row["atlas"]:
                row["coverage"] = found
            elif name.suffix == "outliers" and name.extension == ".tsv":
                row["outliers"] = found
            elif path.name == f"{stem}.json" or (
                row["sidecar"] == MISSING
                and name.suffix in ("bold", "timeseries")
                and name.extension == ".json"
                and name.entities.get("desc") in ("denoised", "preproc")
            ):
                row["sidecar"] = found


def find_series(root, atlas=""):
    """List the region series of a folder, and the correlation matrices of scans without a series.

    Parameters
    ----------
    root : path-like
    atlas : str
        Only those of one atlas; empty: all, which must be of one atlas then.

    Returns
    -------
    pandas.DataFrame of str
        Columns `COLUMNS`; paths relative to `root`, ``n/a`` where there is none; ``kind`` is series or matrix. One row per
        scan, in natural order.

    Raises
    ------
    InputError
        No series, several atlases, or two series of one scan.
    """
    root = Path(root)
    rows, folders = [], {}
    for path in sorted(root.rglob("*")):
        if path.name.endswith(ENDINGS) and (row := _entry(root, path)):
            rows.append(row)
    present = sorted({row["atlas"] for row in rows}, key=natural)
    if atlas:
        rows = [row for row in rows if row["atlas"] == atlas]
    if not rows:
        what = f"none of atlas {atlas} (there are: {', '.join(present)})" if present else "none"
        raise InputError(
            LINK, "region series", what, "sub-*_atlas-*_timeseries.tsv and the like",
            "correct adopt.series or adopt.series_atlas",
        )  # fmt: skip
    if len(present) > 1 and not atlas:
        raise InputError(
            LINK, "atlases", ", ".join(present), "one at a time", "name one of them in adopt.series_atlas"
        )
    with_series = {row["scan"] for row in rows if row["kind"] == SERIES}
    rows = [row for row in rows if row["kind"] == SERIES or row["scan"] not in with_series]
    doubled = {}
    for row in rows:
        doubled.setdefault(row["scan"], []).append(row["path"])
        folders.setdefault((root / row["path"]).parent, []).append(row)
    for scan, paths in doubled.items():
        if len(paths) > 1:
            raise InputError(
                paths[1], "scan", f"{scan} twice", "one series, or one matrix, of every scan",
                f"keep one denoising, space or resolution of each scan in the folder (also there: {paths[0]})",
            )  # fmt: skip
    for folder, mine in folders.items():
        _beside(root, folder, mine)
    table = pd.DataFrame(rows)[list(COLUMNS)]
    order = sorted(range(len(table)), key=lambda k: natural(table["scan"][k]))
    return table.iloc[order].reset_index(drop=True)


def read_table(path):
    """Read a region series whatever its form.

    Parameters
    ----------
    path : path-like
        Tab, comma or blank separated; with a header, a commented header (``#1 #2``, AFNI's and C-PAC's), or none.

    Returns
    -------
    pandas.DataFrame, (T, R), float64
        Regions as named in the file; ``roi1`` ... where it has no header. Empty cells and ``n/a`` are NaN.

    Raises
    ------
    InputError
        Empty, ragged, text among the numbers, or two regions of one name.
    """
    import gzip

    path = Path(path)
    opener = gzip.open if path.name.endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as handle:
            lines = [line.rstrip("\r\n") for line in handle if line.strip()]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(
            path, "file", f"cannot be read ({error})", "a table", "copy the file again"
        ) from None
    if not lines:
        raise InputError(path, "file", "empty", "a table of volumes by regions", "copy the file again")
    header, has_header, separator = _header(lines)
    body = [line for line in lines[has_header:] if not line.startswith("#")]
    if len(set(header)) < len(header):
        double = next(name for name in header if header.count(name) > 1)
        raise InputError(path, "regions", f"{double} twice", "every region once", "rename the column")
    rows = [line.split(separator) for line in body]
    ragged = next((k for k, row in enumerate(rows) if len(row) != len(header)), None)
    if ragged is not None:
        raise InputError(
            path,
            f"row {ragged + 1}",
            f"{len(rows[ragged])} values",
            f"{len(header)} (regions)",
            "make the file again",
        )
    try:
        values = np.array([[_value(c) for c in row] for row in rows], np.float64).reshape(-1, len(header))
    except ValueError as error:
        raise InputError(path, "values", str(error), "numbers or n/a", "correct the file") from None
    return pd.DataFrame(values, columns=header)


def _header(lines):
    """Regions named in the first lines of a table, whether the first line is a header, and what separates the cells."""
    first = lines[0]
    separator = "\t" if "\t" in first else "," if "," in first else None
    cells = [c.strip() for c in first.lstrip("#").strip(" ").split(separator)]
    if first.startswith("#"):
        cells = [c.lstrip("#") for c in cells]
    elif all(_number(c) for c in cells) and not _looks_like_labels(cells, lines[1:2], separator):
        return [f"roi{k + 1}" for k in range(len(cells))], 0, separator
    return [_region(name, k) for k, name in enumerate(cells)], 1, separator


def region_names(root, paths):
    """Every region that any of the series has.

    Parameters
    ----------
    root : path-like
    paths : list of str
        Below `root`; of each only the first two lines are read.

    Returns
    -------
    list of str
        In the order of the longest header; regions that it lacks follow. A program that leaves out regions without data would
        otherwise shift the columns of some people.
    """
    import gzip

    headers = {}
    for path in paths:
        opener = gzip.open if str(path).endswith(".gz") else open
        try:
            with opener(Path(root) / path, "rt", encoding="utf-8-sig") as handle:
                lines = [
                    line
                    for line in (handle.readline().rstrip("\r\n"), handle.readline().rstrip("\r\n"))
                    if line
                ]
        except (OSError, EOFError, UnicodeDecodeError):
            continue
        if lines:
            names = _header(lines)[0]
            headers.setdefault(tuple(names[1:] if _first_is_label(names) else names))
    longest = max(headers, key=len, default=())
    return list(dict.fromkeys([*longest, *(name for header in headers for name in header)]))


#: First column of a matrix: names of the rows. ``column1`` is a cell without text.
_LABEL = ("Node", "node", "name", "column1")


def _first_is_label(names):
    return bool(names) and names[0] in _LABEL


def read_correlations(path):
    """Read a correlation matrix of another program.

    Parameters
    ----------
    path : path-like
        Tab or comma separated, region names in the header; with or without a first column of names.

    Returns
    -------
    pandas.DataFrame, (R, R), float64
        Symmetric, unit diagonal; a region without data (n/a, or 0 with every other) is NaN throughout.

    Raises
    ------
    InputError
        See `read_table`; not square, other names in rows than in columns, not symmetric, values beyond 1.
    """
    path = Path(path)
    with open(path, encoding="utf-8-sig") as handle:
        lines = [line.rstrip("\r\n") for line in handle if line.strip()]
    names, _, separator = _header(lines) if lines else ([], 0, "\t")
    if _first_is_label(names):
        body = [line.split(separator) for line in lines[1:]]
        rows = [_region(row[0].strip(), k) for k, row in enumerate(body)]
        names = names[1:]
        if rows != names:
            odd = next((r for r, n in zip(rows, names, strict=False) if r != n), f"{len(rows)} rows")
            raise InputError(
                path, "rows", odd, "the regions of the header, in its order", "make the file again"
            )
        try:
            values = np.array([[_value(c) for c in row[1:]] for row in body], np.float64).reshape(
                len(body), -1
            )
        except ValueError as error:
            raise InputError(path, "values", str(error), "numbers or n/a", "correct the file") from None
    else:
        table = read_table(path)
        names, values = list(table), table.to_numpy()
    size = len(names)
    if values.shape != (size, size):
        raise InputError(
            path, "shape", f"{values.shape[0]} rows, {values.shape[1]} columns", f"{size} x {size}", "make the file again"
        )  # fmt: skip
    off = values[~np.eye(size, dtype=bool)]
    gap = np.nanmax(np.abs(values - values.T), initial=0.0)
    if gap > 1e-3:
        raise InputError(path, "matrix", f"values that differ by {gap:.3g} across the diagonal", "symmetric", "make it again")  # fmt: skip
    if np.nanmax(np.abs(off), initial=0.0) > 1 + 1e-6:
        raise InputError(
            path, "values", f"{np.nanmax(np.abs(off)):.3g}", "-1 to 1", "give correlations, not Fisher z or covariances"
        )  # fmt: skip
    values = np.clip((values + values.T) / 2, -1, 1)
    np.fill_diagonal(values, np.nan)
    lost = ~(np.isfinite(values) & (values != 0)).any(1)
    values[lost] = values[:, lost] = np.nan
    np.fill_diagonal(values, np.where(lost, np.nan, 1.0))
    return pd.DataFrame(values, index=names, columns=names)


def _number(text):
    try:
        float(text)
    except ValueError:
        return text.lower() in ("n/a", "nan", "")
    return True


def _value(text):
    text = text.strip()
    return np.nan if text.lower() in ("", "n/a", "nan") else float(text)


def _looks_like_labels(cells, next_line, separator):
    """Whether a first row of numbers is a header of atlas labels: whole, distinct and without decimals, unlike the next row."""
    whole = all(re.fullmatch(r"[0-9]+", c) for c in cells)
    below = next_line[0].split(separator) if next_line else []
    return whole and len(set(cells)) == len(cells) and any("." in c or "e" in c.lower() for c in below)


def _region(name, position):
    """A column's name as a region's: numbers get a word before them, so that no table takes them for values."""
    return f"roi{name}" if re.fullmatch(r"[0-9.]+", name) else name or f"column{position + 1}"


def read_series(root, row):
    """Read one series with what stands beside it.

    Parameters
    ----------
    root : path-like
    row : mapping
        Of `find_series`.

    Returns
    -------
    series : pandas.DataFrame, (T, R)
        Volumes that the other program censored are NaN.
    info : dict
        ``coverage`` (pandas.Series by region, or None), ``tr`` (s, or None), ``censored`` (volumes marked as outliers),
        ``mean_fd_mm`` (or None).
    """
    root = Path(root)
    series = read_table(root / row["path"])
    info = {"coverage": None, "tr": None, "censored": 0, "mean_fd_mm": None}
    if row["sidecar"] != MISSING:
        notes = read_json(root / row["sidecar"])
        rate = notes.get("SamplingFrequency")
        tr = notes.get("RepetitionTime")
        tr = 1.0 / rate if tr is None and isinstance(rate, int | float) and rate > 0 else tr
        info["tr"] = float(tr) if isinstance(tr, int | float) and tr > 0 else None
        fd = notes.get("MeanFramewiseDisplacement")
        info["mean_fd_mm"] = float(fd) if isinstance(fd, int | float) else None
    if row["outliers"] != MISSING:
        listed = read_table(root / row["outliers"])
        marked = (
            listed["framewise_displacement"].to_numpy() > 0 if "framewise_displacement" in listed else None
        )
        if marked is not None and len(marked) == len(series):
            # interpolated output: the volumes are there, but hold no data
            series.loc[marked] = np.nan
            info["censored"] = int(marked.sum())
        elif marked is not None and (~marked).sum() == len(series):
            info["censored"] = int(marked.sum())
        elif marked is not None:
            raise InputError(
                row["outliers"], "rows", f"{len(marked)}, of them {int((~marked).sum())} kept", f"{len(series)} (volumes of the series)",
                "give the outliers of this series",
            )  # fmt: skip
    if row["coverage"] != MISSING:
        table = pd.read_csv(root / row["coverage"], sep="\t", na_values=["n/a"], dtype={0: str})
        table.columns = [str(c) for c in table.columns]
        key = next((c for c in ("Node", "name", "label", "index") if c in table), table.columns[0])
        column = next((c for c in ("coverage", "parcel_coverage") if c in table), table.columns[-1])
        names = [_region(str(n), k) for k, n in enumerate(table[key])]
        info["coverage"] = pd.Series(table[column].to_numpy(np.float64), index=names)
    return series, info
