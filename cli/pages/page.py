"""A page: what a report is made of, and its rendering to one HTML file that needs nothing else."""

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
    "write_page",
]

SIGNS = {"good": "✓", "part": "~", "bad": "✗", "open": "?", "none": "\N{EN DASH}"}
"""The sign before a verdict's word, so that it reads without colour."""


@dataclass(frozen=True)
class Verdict:
    """A word, with a sign and a colour that say the same.

    Attributes:
        word: the verdict itself.
        tone: one of SIGNS.
    """

    word: str
    tone: str

    @property
    def sign(self) -> str:
        """What stands before the word."""
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
    """Pairs of a name and what there is to say; a name may be a formula, so may what is said."""

    kind: ClassVar[str] = "facts"
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Code:
    """Text to be copied, as commands."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Formula:
    """MathML, made by `formulas` alone: a plain text in its place would be shown as text."""

    kind: ClassVar[str] = "formula"
    mathml: Markup


@dataclass(frozen=True)
class Picture:
    """A PNG inside the page.

    Attributes:
        data: the file.
        width: in pixels.
        height: in pixels.
        alt: what it shows, for those who cannot see it.
        caption: below it.
    """

    kind: ClassVar[str] = "picture"
    data: bytes
    width: int
    height: int
    alt: str
    caption: str = ""

    @property
    def uri(self) -> str:
        """The file as an address."""
        return "data:image/png;base64," + base64.b64encode(self.data).decode("ascii")

    @property
    def is_wide(self) -> bool:
        """Whether a phone shows a part of it at a time, as letters would be too small to read."""
        return self.width > 1500


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: what stands there.
        value: what a column of numbers is sorted by: `inf` and NaN (missing) come last whichever way.
        verdict: in place of the text.
        links: in place of the text, words and the ids on the page that they lead to; an empty id leads nowhere.
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
    """A heading.

    Attributes:
        name: the heading.
        numeric: whether its cells are numbers.
        wide: whether its cells are sentences, which may break.
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
        caption: above it.
        columns: the headings.
        rows: the cells.
        note: below it.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Details:
    """What opens on a click; in print it is open."""

    kind: ClassVar[str] = "details"
    summary: str
    blocks: "tuple[Block, ...]"


@dataclass(frozen=True)
class Card:
    """A part with a heading of its own, a verdict and a place to link to."""

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
        title: what was asked.
        kicker: above the title: which command, what kind of result.
        lead: the answer in sentences.
        more: the same in detail.
        sections: the rest, in reading order.
        foot: at the very end.
    """

    title: str
    kicker: str
    lead: tuple[str, ...]
    sections: tuple[Section, ...]
    more: tuple[str, ...] = ()
    foot: str = ""

    def blocks(self) -> Iterator[Block]:
        """All blocks, those inside others too."""
        waiting: list[Block] = [block for section in self.sections for block in section.blocks]
        while waiting:
            block = waiting.pop(0)
            yield block
            waiting = [*(block.blocks if isinstance(block, Details | Card) else ()), *waiting]

    def html(self) -> str:
        """The file. Everything but MathML is escaped, and the policy lets nothing in but what is inside."""
        style, script = _text("page.css"), _text("page.js")
        return _template().render(
            page=self, style=Markup(style), script=Markup(script), style_hash=_hash(style), script_hash=_hash(script)
        )


def write_page(page: Page, folder: Path) -> Path:
    """Write the report of a folder."""
    path = folder / store.REPORT
    content = page.html()

    def write(temporary: Path) -> None:
        temporary.write_text(content, encoding="utf-8", newline="\n")

    store.write_whole(path, write)
    return path


@cache
def _text(name: str) -> str:
    return files("quadsim.cli.pages").joinpath(name).read_text(encoding="utf-8").strip()


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _hash(text: str) -> str:
    """For the page's policy, which then runs this text and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
