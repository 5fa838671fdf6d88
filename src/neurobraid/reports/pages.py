"""What a report page is made of, and how it becomes HTML.

A page is a list of sections; a section is a list of blocks (numbers, picture, table, note, ...). Builders fill blocks,
the templates in ``templates/`` give them their shape. All text is escaped by the template engine, whatever file it
came from, and loses absolute paths on the way (`private`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from neurobraid.files import atomic
from neurobraid.reports import style

TEMPLATES = Path(__file__).with_name("templates")
NOT_AVAILABLE = "n/a"

_PATH = re.compile(r"(?<![\w.<:/])(?:/[^\s/'\"<>,;]+){2,}/?|\b[A-Za-z]:\\[^\s'\"<>,;]+|~(?:/[^\s/'\"<>,;]+)+")


def private(text: str) -> str:
    """Replace absolute paths by their last part, so that no machine or user name reaches a page.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Examples
    --------
    >>> private("read /data/ada/study/a.tsv and bids/sub-01")
    'read …/a.tsv and bids/sub-01'
    """
    return _PATH.sub(lambda m: "…/" + re.split(r"[\\/]", m.group().rstrip("/"))[-1], text)


def number(value, digits: int = 2, unit: str = "") -> str:
    """Write a number for people: fixed decimals, true minus sign, ``n/a`` for missing.

    Parameters
    ----------
    value : float or str or None
        Text that is no number is returned as it is.
    digits : int
        Decimals; integers get none.
    unit : str

    Examples
    --------
    >>> number(-0.1234), number(12), number(float("nan")), number(3.14159, 3, "mm")
    ('−0.12', '12', 'n/a', '3.142 mm')
    """
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, bool):
        return "yes" if value else "no"
    try:
        real = float(value)
    except (TypeError, ValueError):
        return str(value)
    if real != real:
        return NOT_AVAILABLE
    if real in (float("inf"), float("-inf")):
        return "∞" if real > 0 else "−∞"
    whole = real == int(real) and not isinstance(value, float)
    text = f"{int(real):,}" if whole else f"{real:,.{digits}f}"
    if not whole and float(text.replace(",", "")) == 0 and real != 0:
        text = f"{real:.1e}"
    return text.replace("-", "\N{MINUS SIGN}") + (f" {unit}" if unit else "")


@dataclass(frozen=True)
class Cell:
    """One cell of a table: text, perhaps a link, a tone (``good``, ``warn``, ``bad``, ``mute``), a remark below in small."""

    text: str
    href: str = ""
    tone: str = ""
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure file shown with caption and alternative text."""

    file: str
    alt: str
    caption: str
    width: int
    height: int
    kind: str = "picture"


@dataclass(frozen=True)
class Flicker:
    """Two figure files of one size in one place, shown in turn: what moves between them is not aligned.

    Without scripts: the picture flickers while it is pointed at or when "Flicker" is chosen, and stands still for readers
    who prefer reduced motion; on paper the two stand below each other.
    """

    id: str
    files: tuple[str, str]
    names: tuple[str, str]
    alt: str
    caption: str
    width: int
    height: int
    kind: str = "flicker"


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings; columns named in ``numeric`` are set right. A row of one cell heads a group of rows."""

    columns: list[str]
    rows: list[list]
    caption: str = ""
    numeric: tuple[str, ...] = ()
    note: str = ""
    compact: bool = False
    kind: str = "table"

    def cells(self) -> list[list[Cell]]:
        """Rows with every entry as a `Cell`."""
        return [[c if isinstance(c, Cell) else Cell(str(c)) for c in row] for row in self.rows]


@dataclass(frozen=True)
class Note:
    """A remark: ``info``, ``warn`` (read before believing) or ``missing`` (why there is nothing here)."""

    text: str
    tone: str = "info"
    kind: str = "note"


@dataclass(frozen=True)
class Prose:
    """Paragraphs, or a numbered list."""

    paragraphs: list[str]
    numbered: bool = False
    kind: str = "prose"


@dataclass(frozen=True)
class Numbers:
    """Headline numbers: (value, what it is, remark)."""

    items: list[tuple[str, str, str]]
    kind: str = "numbers"


@dataclass(frozen=True)
class Flow:
    """Steps from everyone to those analysed: (count, label, [why others left])."""

    steps: list[tuple[str, str, list[str]]]
    kind: str = "flow"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Fold:
    """Blocks behind a line that opens on a click."""

    title: str
    blocks: list
    kind: str = "fold"


@dataclass(frozen=True)
class Link:
    """A line that leads to a page of its own, with a remark on what is there."""

    text: str
    href: str
    remark: str = ""
    kind: str = "link"


@dataclass(frozen=True)
class Code:
    """Text in fixed width."""

    text: str
    kind: str = "code"


@dataclass
class Section:
    """One part of a page."""

    id: str
    title: str
    lead: str = ""
    blocks: list = field(default_factory=list)

    def add(self, *blocks) -> Section:
        """Append blocks; None is left out."""
        self.blocks.extend(block for block in blocks if block is not None)
        return self


@dataclass
class Page:
    """A whole page."""

    title: str
    subtitle: str
    kind: str
    sections: list[Section]
    links: list[tuple[str, str]] = field(default_factory=list)
    footer: str = ""


class Gallery:
    """Saves the figures of a page and numbers them in the order of the page.

    Parameters
    ----------
    folder : path-like
        Where the files go.
    page : path-like
        The page that shows them; links are relative to it.

    Attributes
    ----------
    bytes : int
        Size of all figures saved so far.
    """

    def __init__(self, folder, page):
        self.folder = Path(folder)
        self.page = Path(page)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.bytes = 0

    def show(self, figure, name: str, alt: str, caption: str) -> Picture:
        """Save a figure as ``name`` (with extension) and return the block that shows it."""
        path = style.save(figure, self.folder / name)
        width, height = (round(side * style.DPI) for side in figure.get_size_inches())
        return Picture(self._link(path), alt, caption, width, height)

    def flicker(self, pair, name: str, parts, names, alt: str, caption: str) -> Flicker:
        """Save two figures of one size and return the block that shows them in turn.

        Parameters
        ----------
        pair : (Figure, Figure)
        name : str
            Start of the file names, without extension.
        parts : (str, str)
            Ends of the file names: ``<name>_<part>.png``.
        names : (str, str)
            What the buttons say.
        alt, caption : str
        """
        paths = [
            style.save(figure, self.folder / f"{name}_{part}.png")
            for figure, part in zip(pair, parts, strict=True)
        ]
        width, height = (round(side * style.DPI) for side in pair[0].get_size_inches())
        files = tuple(self._link(path) for path in paths)
        return Flicker(name, files, tuple(names), alt, caption, width, height)

    def extra(self, make, name: str, text: str, remark: str = "") -> Link:
        """Write a page of its own among the figures and return the line that leads to it.

        Parameters
        ----------
        make : callable
            Called with ``back``, the address of the report from there; returns HTML.
        name : str
            File name.
        text, remark : str
            Of the line.
        """
        path = self.folder / name
        up = len(self.folder.resolve().relative_to(self.page.resolve().parent).parts)
        html = make(back="../" * up + self.page.name)
        with atomic(path) as temporary:
            temporary.write_text(html, encoding="utf-8")
        return Link(text, self._link(path), remark)

    def _link(self, path) -> str:
        self.bytes += path.stat().st_size
        return path.resolve().relative_to(self.page.resolve().parent).as_posix()


def _final(value):
    from markupsafe import Markup

    if isinstance(value, str) and not isinstance(value, Markup):
        return private(value)
    return value


def environment():
    """Template engine with escaping always on and unknown names an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_final,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(page: Page) -> str:
    """Return the HTML of a page."""
    from markupsafe import Markup

    css = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return environment().get_template("page.html").render(page=page, css=css)


def write(page: Page, path) -> None:
    """Render a page and write it whole or not at all."""
    text = render(page)
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
