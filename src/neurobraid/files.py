"""Tables and JSON written so that the same content gives the same bytes and a half-written file is never seen."""

import contextlib
import json
import math
import os
import re
from pathlib import Path

ID_COLUMNS = re.compile(r"(^|_)(id|participant|session|run|scan|visit|name|region|task|site)$")


@contextlib.contextmanager
def atomic(path):
    """Yield a temporary path beside `path`; move it over `path` when the block ends well.

    The temporary name keeps the full suffix, because image libraries choose the format by it.

    Parameters
    ----------
    path : path-like

    Yields
    ------
    pathlib.Path
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _plain(value):
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "n/a"
    return value


def write_json(content, path):
    """Write JSON with sorted keys; NaN and infinity become ``"n/a"`` (JSON has no NaN)."""
    text = json.dumps(_plain(content), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path):
    """Read a JSON file (UTF-8, with or without byte order mark)."""
    return json.loads(Path(path).read_text(encoding="utf-8-sig"))


def write_tsv(table, path, *, index=False, float_format="%.9g"):
    """Write a BIDS table: tab-separated, ``n/a`` for missing, Unix line ends.

    Parameters
    ----------
    table : pandas.DataFrame
    path : path-like
    index : bool
        Write the index as the first column (it must have a name then).
    float_format : str
        Nine digits by default: more than any estimate here carries, few enough to be stable.
    """
    with atomic(path) as temporary:
        table.to_csv(
            temporary, sep="\t", index=index, na_rep="n/a", float_format=float_format, lineterminator="\n"
        )


def read_tsv(path, *, text=(), index=None):
    """Read a BIDS table; identifiers stay text (``01`` never becomes 1), ``n/a`` becomes NaN.

    Parameters
    ----------
    path : path-like
    text : iterable of str
        Further columns to keep as text. Columns called or ending in id, participant, session, run, scan,
        visit, name, region, task, site always are.
    index : str, optional
        Column to use as index.

    Returns
    -------
    pandas.DataFrame
    """
    import pandas as pd

    with open(path, encoding="utf-8-sig") as handle:
        header = handle.readline().rstrip("\r\n").split("\t")
    as_text = {c: str for c in header if ID_COLUMNS.search(c) or c in set(text)}
    table = pd.read_csv(
        path, sep="\t", dtype=as_text, na_values=["n/a"], keep_default_na=False, encoding="utf-8-sig"
    )
    return table.set_index(index) if index else table
