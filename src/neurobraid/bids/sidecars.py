"""The BIDS inheritance principle: which JSON and events files apply to an image, and what they say together."""

import fnmatch
import json
import os
from pathlib import Path

from neurobraid.bids.entities import natural, parse
from neurobraid.errors import InputError


class Tree:
    """File names of a raw dataset, read once.

    Only the dataset's own levels are walked (root, ``sub-*``, ``ses-*``, one level of data types); ``derivatives``,
    ``sourcedata``, ``code`` and hidden folders are never entered.

    Parameters
    ----------
    root : path-like
        BIDS root.

    Attributes
    ----------
    files : dict of str to list of str
        Folder relative to the root (``""`` is the root) to sorted file names.
    folders : list of str
        Labels of the participants that have a folder, without ``sub-``, sorted.
    """

    def __init__(self, root):
        self.root = Path(root)
        self.files = {}
        self.folders = []
        self._patterns = self._ignored_patterns()
        self._parsed = {}
        self._walk(os.fspath(self.root), "", 0)
        self.folders.sort(key=natural)

    def _ignored_patterns(self):
        path = self.root / ".bidsignore"
        if not path.is_file():
            return []
        lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
        return [line.strip("/") for line in lines if line and not line.startswith("#")]

    def _ignored(self, relative):
        return any(
            fnmatch.fnmatch(relative, p) or fnmatch.fnmatch(relative.rpartition("/")[2], p)
            for p in self._patterns
        )

    def _walk(self, folder, relative, depth):
        names = self.files.setdefault(relative, [])
        below = []
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                inside = f"{relative}/{name}" if relative else name
                if self._patterns and self._ignored(inside):
                    continue
                if entry.is_dir():
                    # depth 0 holds participants; 1 sessions and data types; 2 data types of a session
                    wanted = name.startswith("sub-") if depth == 0 else "." not in name
                    if depth == 2 and not relative.rpartition("/")[2].startswith("ses-"):
                        wanted = False
                    if wanted and depth < 3:
                        below.append((entry.path, inside))
                        if depth == 0:
                            self.folders.append(name[4:])
                else:
                    names.append(name)
        names.sort()
        for path, inside in sorted(below):
            self._walk(path, inside, depth + 1)

    def candidates(self, folder, suffix, extension):
        """Parsed names in one folder that end in ``suffix + extension``, least specific first.

        Returns
        -------
        list of (frozenset of (key, label), str)
        """
        key = (folder, suffix, extension)
        if key not in self._parsed:
            end = suffix + extension
            found = []
            for name in self.files.get(folder, ()):
                if name == end or name.endswith("_" + end):
                    try:
                        found.append((frozenset(parse(name).entities.items()), name))
                    except ValueError:
                        continue
            self._parsed[key] = sorted(found, key=lambda item: (len(item[0]), item[1]))
        return self._parsed[key]

    def applicable(self, path, extension=".json", suffix=None):
        """Files that apply to an image by the inheritance principle, least specific first.

        A file applies when it lies in the folder of the image or above, has the same suffix, and all its entities
        are entities of the image.

        Parameters
        ----------
        path : str
            Image, relative to the root, with forward slashes.
        extension : str
        suffix : str, optional
            Other suffix than the image's, for example ``events``.

        Returns
        -------
        list of str
            Paths relative to the root; the last one wins.
        """
        folder, _, name = path.rpartition("/")
        parsed = parse(name)
        suffix = suffix or parsed.suffix
        mine = set(parsed.entities.items())
        levels = [""]
        for part in folder.split("/") if folder else []:
            levels.append(f"{levels[-1]}/{part}" if levels[-1] else part)
        return [
            f"{level}/{other}" if level else other
            for level in levels
            for entities, other in self.candidates(level, suffix, extension)
            if entities <= mine
        ]


def applying(sidecars, image):
    """Those of a run's sidecars that apply to one of its images.

    Parameters
    ----------
    sidecars : iterable of path-like
        Files that apply to at least one image of the run, least specific first.
    image : path-like

    Returns
    -------
    list of path-like
        In the order given. A sidecar of ``echo-2`` does not apply to the image of ``echo-1``.
    """
    mine = _entities(image)
    return [path for path in sidecars if _entities(path) <= mine]


def _entities(path):
    return set(parse(os.fspath(path).replace(os.sep, "/").rpartition("/")[2]).entities.items())


def read_sidecar(root, relative):
    """Read one JSON file of a dataset.

    Parameters
    ----------
    root : path-like
    relative : str
        Path below `root`.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        When the file is no JSON object; the message names line and column.
    """
    path = Path(root) / relative
    allowed = "a JSON object { ... }"
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        found = f"not valid JSON ({error.msg}, line {error.lineno}, column {error.colno})"
        raise InputError(relative, "content", found, allowed, "correct that line") from error
    except UnicodeDecodeError as error:
        fix = "save the file as UTF-8"
        raise InputError(relative, "content", "not UTF-8 text", allowed, fix) from error
    except OSError as error:
        found = f"not readable ({error.strerror})"
        fix = "restore the file (datalad: `datalad get`) or its read permission"
        raise InputError(relative, "file", found, "a readable file", fix) from error
    if not isinstance(content, dict):
        raise InputError(relative, "content", f"a JSON {type(content).__name__}", allowed, "write an object")
    return content


def metadata(root, sidecars):
    """Merge the sidecars of an image: a more specific file overrides single keys of a less specific one.

    Parameters
    ----------
    root : path-like
        BIDS root.
    sidecars : str or iterable of str
        Relative paths, least specific first; the text of the scan table's column (``;`` between paths) is accepted.

    Returns
    -------
    dict
    """
    if isinstance(sidecars, str):
        sidecars = [] if sidecars == "n/a" else sidecars.split(";")
    merged = {}
    for relative in sidecars:
        merged.update(read_sidecar(root, relative))
    return merged
