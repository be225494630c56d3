"""The parts of a report page, and its rendering to one self-contained HTML file."""

import base64
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import jinja2
from markupsafe import Markup

from quadsim.simulator.support import store

__all__ = [
    "Block",
    "Card",
    "Cell",
    "Code",
    "Column",
    "Details",
    "Facts",
    "Formula",
    "Items",
    "Page",
    "Picture",
    "Section",
    "Table",
    "Text",
    "Verdict",
    "file_text",
    "rendered",
    "write_page",
]

SIGNS = {"good": "✓", "part": "~", "bad": "✗", "open": "?", "none": "\N{EN DASH}"}
"""The sign before the word of a verdict, so that the verdict does not depend on colour."""


@dataclass(frozen=True)
class Verdict:
    """A verdict: a word, with a sign and a colour of the same meaning.

    Attributes:
        word: the verdict itself.
        tone: one of SIGNS.
    """

    word: str
    tone: str

    @property
    def sign(self) -> str:
        """The sign before the word."""
        return SIGNS[self.tone]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Items:
    """A list."""

    kind: ClassVar[str] = "items"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Pairs of a name and a text; both may be formulas."""

    kind: ClassVar[str] = "facts"
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Code:
    """Text that a reader copies, as commands."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Formula:
    """A formula in MathML. Only `formulas` creates it; any other text is escaped."""

    kind: ClassVar[str] = "formula"
    mathml: Markup


@dataclass(frozen=True)
class Picture:
    """A PNG inside the page.

    Attributes:
        data: the bytes of the PNG file.
        width: width in pixels.
        height: height in pixels.
        alt: description for readers who cannot see it.
        caption: text below it.
    """

    kind: ClassVar[str] = "picture"
    data: bytes
    width: int
    height: int
    alt: str
    caption: str = ""

    @property
    def uri(self) -> str:
        """The file as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.data).decode("ascii")

    @property
    def is_wide(self) -> bool:
        """Whether a phone shows it in parts, as its letters would be too small when shown whole."""
        return self.width > 1500


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: the text.
        value: the number by which a column is sorted; `inf` and NaN (missing) are last in both directions.
        verdict: a verdict instead of the text.
        links: words with ids on the page, instead of the text; a word with an empty id is not a link.
    """

    text: str = ""
    value: float = math.nan
    verdict: Verdict | None = None
    links: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """The value for the page's script."""
        return "" if math.isnan(self.value) else repr(float(self.value))


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: the heading.
        numeric: whether its cells are numbers.
        wide: whether its cells are sentences, which may be broken into lines.
    """

    name: str
    numeric: bool = False
    wide: bool = False

    @property
    def look(self) -> str:
        """The class of its cells."""
        return "number" if self.numeric else "wide" if self.wide else ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by its headings.

    Attributes:
        caption: text above it.
        columns: the columns.
        rows: the cells, row by row.
        note: text below it.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Details:
    """A part that opens on a click; in print it is open."""

    kind: ClassVar[str] = "details"
    summary: str
    blocks: "tuple[Block, ...]"


@dataclass(frozen=True)
class Card:
    """A part with a heading, a verdict and an id for links."""

    kind: ClassVar[str] = "card"
    title: str
    blocks: "tuple[Block, ...]"
    id: str = ""
    verdict: Verdict | None = None
    aside: str = ""


Block = Text | Items | Facts | Code | Formula | Picture | Table | Details | Card


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: the question.
        kicker: text above the title: the command and the kind of result.
        lead: the answer in sentences.
        more: the answer in detail.
        sections: the sections, in reading order.
        foot: text at the end.
    """

    title: str
    kicker: str
    lead: tuple[str, ...]
    sections: tuple[Section, ...]
    more: tuple[str, ...] = ()
    foot: str = ""

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks, also those inside other blocks."""
        waiting: list[Block] = [block for section in self.sections for block in section.blocks]
        while waiting:
            block = waiting.pop(0)
            yield block
            waiting = [*(block.blocks if isinstance(block, Details | Card) else ()), *waiting]

    def html(self) -> str:
        """Return the HTML. All text but MathML is escaped, and the content policy forbids everything from outside the file."""
        return rendered("page.html", file_text("page.css"), file_text("page.js"), page=self)


def rendered(template: str, style: str, script: str, **values: object) -> str:
    """Return the HTML of a template, whose content policy allows its own style and script alone.

    Args:
        template: name of a file beside this one.
        style: the CSS.
        script: the JavaScript.
        **values: what else the template uses; all text is escaped.
    """
    inside = {"style": Markup(style), "script": Markup(script)}
    hashes = {"style_hash": _hash(style), "script_hash": _hash(script)}
    return load_template(template).render(**inside, **hashes, **values)


def load_template(name: str) -> jinja2.Template:
    """Return a template, which is compiled once."""
    return _environment().get_template(name)


def write_page(page: Page, folder: Path) -> Path:
    """Write the report of a folder."""
    path = folder / store.REPORT
    content = page.html()

    def write(temporary: Path) -> None:
        temporary.write_text(content, encoding="utf-8", newline="\n")

    store.write_whole(path, write)
    return path


@cache
def file_text(name: str) -> str:
    """Return the text of a file of the package: a template, a style or a script.

    Args:
        name: its path from the folder of this module.
    """
    return files("quadsim.cli.pages").joinpath(name).read_text(encoding="utf-8").strip()


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(file_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _hash(text: str) -> str:
    """Return the hash of a script for the page's content policy, which then allows this script only."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
