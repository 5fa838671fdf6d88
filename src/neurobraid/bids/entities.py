"""BIDS file names: take them apart, put them together, say what is wrong with them.

The order of the entities is a data file (``entities.tsv``): the order of the BIDS schema, with the entities that BIDS
has not settled (transforms, models, contrasts) between ``label`` and ``desc``, so that ``desc`` stays last.
"""

import csv
import difflib
import re
from dataclasses import dataclass
from pathlib import Path

with open(Path(__file__).with_name("entities.tsv"), encoding="utf-8", newline="") as _handle:
    ENTITIES = {row["key"]: row for row in csv.DictReader(_handle, delimiter="\t")}

ORDER = tuple(ENTITIES)
RAW_KEYS = tuple(key for key, row in ENTITIES.items() if row["raw"] == "yes")
#: Entities that BIDS allows in the names of T1w, BOLD and PET images (``chunk`` parts of a field of view are not read).
SCAN_KEYS = ("sub", "ses", "task", "acq", "ce", "trc", "rec", "dir", "run", "echo", "part")
_RANK = {key: rank for rank, key in enumerate(ORDER)}
_FORMAT = {"label": re.compile(r"[0-9A-Za-z+]+"), "index": re.compile(r"[0-9]+")}
_SUFFIX = re.compile(r"[0-9A-Za-z]+")

#: Regular expression of `{visit}`, for Snakemake's wildcard constraints.
VISIT_PATTERN = r"sub-[0-9A-Za-z+]+(?:/ses-[0-9A-Za-z+]+)?"
#: Regular expression of `{scan}`: raw entities only, so that it can never swallow ``_space-…`` or ``_desc-…``.
SCAN_PATTERN = r"sub-[0-9A-Za-z+]+(?:_(?:" + "|".join(SCAN_KEYS[1:]) + r")-[0-9A-Za-z+]+)*"


@dataclass(frozen=True)
class Name:
    """A BIDS file name taken apart.

    Attributes
    ----------
    entities : dict
        Key to label, both text, in the order of the name.
    suffix : str
        For example ``bold``.
    extension : str
        With the leading dot, for example ``.nii.gz``; may be empty.
    """

    entities: dict
    suffix: str
    extension: str = ""

    @property
    def scan(self):
        """The name without suffix and extension: ``sub-01_task-rest``."""
        return "_".join(f"{key}-{label}" for key, label in self.entities.items())

    @property
    def visit(self):
        """``sub-x`` or ``sub-x/ses-y``, or None for a name without participant."""
        if "sub" not in self.entities:
            return None
        visit = f"sub-{self.entities['sub']}"
        return f"{visit}/ses-{self.entities['ses']}" if "ses" in self.entities else visit


def parse(name):
    """Take a BIDS file name apart.

    Parameters
    ----------
    name : str
        File name without folder.

    Returns
    -------
    Name

    Raises
    ------
    ValueError
        When the name is not ``key-label[_key-label…]_suffix[.extension]`` with unique keys.

    Examples
    --------
    >>> name = parse("sub-01_task-rest_run-2_bold.nii.gz")
    >>> name.entities, name.suffix, name.extension
    ({'sub': '01', 'task': 'rest', 'run': '2'}, 'bold', '.nii.gz')
    """
    stem, dot, extension = name.partition(".")
    *pairs, suffix = stem.split("_")
    if not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"the last part of {name!r} is not a suffix such as 'bold' or 'pet'")
    entities = {}
    for pair in pairs:
        key, dash, label = pair.partition("-")
        if not dash or not key or not _FORMAT["label"].fullmatch(label):
            raise ValueError(f"the part {pair!r} of {name!r} is not key-label with letters and digits")
        if key in entities:
            raise ValueError(f"the key {key!r} occurs twice in {name!r}")
        entities[key] = label
    return Name(entities, suffix, dot + extension)


def compose(entities, suffix, extension=""):
    """Put a BIDS file name together, entities in schema order.

    Parameters
    ----------
    entities : mapping of str to str
        Entries whose label is None or empty are left out.
    suffix : str
    extension : str

    Returns
    -------
    str

    Raises
    ------
    ValueError
        For an unknown key or a label with characters that BIDS does not allow.

    Examples
    --------
    >>> compose({"desc": "preproc", "sub": "01", "space": "T1w", "run": "2"}, "bold", ".nii.gz")
    'sub-01_run-2_space-T1w_desc-preproc_bold.nii.gz'
    """
    given = {key: str(label) for key, label in entities.items() if label not in (None, "")}
    unknown = sorted(set(given) - set(ORDER))
    if unknown:
        raise ValueError(f"unknown BIDS entity {unknown[0]!r}; allowed: {', '.join(ORDER)}")
    for key, label in given.items():
        kind = ENTITIES[key]["format"]
        if not _FORMAT[kind].fullmatch(label):
            allowed = "digits" if kind == "index" else "letters and digits"
            raise ValueError(f"{key}-{label}: the label may only hold {allowed}")
    if not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"suffix {suffix!r} may only hold letters and digits")
    parts = [f"{key}-{given[key]}" for key in ORDER if key in given]
    return "_".join([*parts, suffix]) + extension


def name_problems(name, *, raw=False):
    """Say what is wrong with a file name.

    Parameters
    ----------
    name : str
        File name without folder.
    raw : bool
        Also refuse entities that only derivatives carry.

    Returns
    -------
    list of tuple (found, allowed, fix)
        Empty for a good name.

    Examples
    --------
    >>> name_problems("sub-01_run-1_task-rest_bold.nii.gz")[0][2]
    'rename to sub-01_task-rest_run-1_bold.nii.gz'
    """
    try:
        parsed = parse(name)
    except ValueError as error:
        return [(str(error), "key-label[_key-label...]_suffix.extension", "rename or list it in .bidsignore")]
    problems = []
    keys = list(parsed.entities)
    for key in keys:
        if key not in ENTITIES:
            guess = suggest(key, ORDER)
            fix = f"did you mean {guess!r}?" if guess else "rename or list it in .bidsignore"
            problems.append((f"unknown entity {key!r}", ", ".join(RAW_KEYS if raw else ORDER), fix))
        elif raw and ENTITIES[key]["raw"] != "yes":
            problems.append(
                (f"entity {key!r} of a derivative", "raw entities", "move it to derivatives/ or .bidsignore")
            )
        elif ENTITIES[key]["format"] == "index" and not parsed.entities[key].isdigit():
            problems.append((f"{key}-{parsed.entities[key]}", f"{key}-<number>", "rename with a number"))
    if not problems and keys != sorted(keys, key=_RANK.__getitem__):
        right = compose(parsed.entities, parsed.suffix, parsed.extension)
        problems.append(("entities out of order", "the order of the BIDS schema", f"rename to {right}"))
    return problems


def without_echo(scan):
    """Name of the run that an echo belongs to.

    Examples
    --------
    >>> without_echo("sub-01_task-rest_run-1_echo-2_part-mag")
    'sub-01_task-rest_run-1_part-mag'
    """
    return re.sub(r"_echo-[0-9]+(?=_|$)", "", scan)


def natural(text):
    """Sort key that orders ``run-2`` before ``run-10`` and missing labels first."""
    return [(0, int(p), p) if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", text) if p]


def suggest(label, labels):
    """The entry of `labels` that a mistyped `label` most likely meant.

    ``1`` means ``01`` and ``sub-01`` means ``01`` before any likeness of letters counts.

    Parameters
    ----------
    label : str
    labels : iterable of str

    Returns
    -------
    str or None
    """
    labels = list(labels)

    def plain(text):
        tail = re.sub(r"^(sub|ses|task|run|trc)-", "", str(text)).lower()
        return re.sub(r"\d+", lambda m: str(int(m.group())), tail)

    for other in labels:
        if plain(other) == plain(label):
            return other
    close = difflib.get_close_matches(str(label), [str(x) for x in labels], n=1, cutoff=0.6)
    return close[0] if close else None
