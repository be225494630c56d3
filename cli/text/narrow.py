"""Tables that fit: as wide as they like in a file, never wider than a terminal, and nothing in them cut off."""

import itertools
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

__all__ = ["TextTable", "aligned", "output", "print_table", "text_width", "wrapped"]

_AMPLE = 200  # columns of a file, at least
_SOFT = "\N{SOFT HYPHEN}"


def text_width() -> int | None:
    """Columns that there are for text; None, as many as it takes, in a file or a pipe where COLUMNS does not say it."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "0").strip("0").isdigit():
        return max(shutil.get_terminal_size().columns, 20)
    return None


def output() -> Console:
    """Standard output for tables and text; a file gets no line breaks within a sentence."""
    console = Console(soft_wrap=not sys.stdout.isatty())
    console.width = text_width() or max(_AMPLE, console.width)
    return console


@dataclass(frozen=True)
class TextTable:
    """A table in words.

    Attributes:
        title: of the table.
        headings: of its columns; a soft hyphen in one says where it may be broken.
        left: columns that are set to the left.
        rows: cells; None is a line across, and a row with its first cell alone is a heading of the rows below.
    """

    title: str
    headings: Sequence[str]
    left: Collection[int]
    rows: Sequence[Sequence[str] | None]


def print_table(console: Console, table: TextTable) -> None:
    """Print a table in a box where that fits, in fewer columns where it does not; a file is as wide as the table."""
    room, boxed = text_width(), _boxed(table)
    needed = console.measure(boxed, options=console.options.update(max_width=10_000)).maximum
    if room is None:
        console.width = max(console.width, needed)
    if needed <= console.width:
        console.print(boxed, soft_wrap=False)
        return
    for line in textwrap.wrap(table.title, console.width):
        console.print(line, style="italic", highlight=False)
    heads, lines = _fitted(table, console.width)
    for line in heads:
        console.print(line, style="bold", highlight=False, markup=False, soft_wrap=True)
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _boxed(table: TextTable) -> Table:
    """The widest form."""
    boxed = Table(title=table.title)
    for number, heading in enumerate(table.headings):
        boxed.add_column(
            heading.replace(_SOFT, ""), justify="left" if number in table.left else "right", overflow="fold"
        )
    for row in table.rows:
        if row is None:
            boxed.add_section()
        else:
            boxed.add_row(*row)
    return boxed


def _fitted(table: TextTable, width: int) -> tuple[list[str], list[str]]:
    """Headings and lines of a table in at most `width` columns.

    Headings over several lines come first, as they cost a reader least, then narrow gaps; then cells take several lines, broken
    at spaces, and at last within names. Where not even that is enough, every row becomes a list.
    """
    body = [row for row in table.rows if row is not None and not _is_heading(row)]
    cells: list[tuple[str, ...]] = list(zip(*body, strict=True)) if body else [() for _ in table.headings]
    ways: list[tuple[_Breaks, _Breaks | None]] = [
        (_at_spaces, None),
        (_at_hyphens, None),
        (_at_hyphens, _at_spaces),
        (_at_hyphens, _at_signs),
    ]
    for heads, breaks in ways:
        split = [[text for text, _ in heads(heading)] for heading in table.headings]
        titles = [max(map(len, words)) for words in split]
        full = [max([title, *map(len, own)]) for title, own in zip(titles, cells, strict=True)]
        least = full
        if breaks is not None:
            pieces = [[len(text) for cell in own for text, _ in breaks(cell)] for own in cells]
            least = [max([title, *own]) for title, own in zip(titles, pieces, strict=True)]
        for gap in (2, 1):
            room = width - gap * (len(full) - 1)
            if sum(least) <= room:
                widths = _shrunk(full, least, room)
                height = max(map(len, split))
                lines = [[""] * (height - len(words)) + words for words in split]
                return _rows(lines, table.left, widths, gap), _body(table, breaks or _whole, widths, gap)
    listed = []
    for row in body:
        listed += [
            *filter(None, row[:1]),
            *(f"  {name.replace(_SOFT, '')}: {cell}" for name, cell in zip(table.headings[1:], row[1:], strict=True)),
        ]
    return [], listed


def _body(table: TextTable, breaks: "_Breaks", widths: Sequence[int], gap: int) -> list[str]:
    """The lines below the headings."""
    across = "\N{BOX DRAWINGS LIGHT HORIZONTAL}" * (sum(widths) + gap * (len(widths) - 1))
    lines = [across]
    for row in table.rows:
        if row is None:
            lines.append(across)
        elif _is_heading(row):
            lines.append(row[0])
        else:
            wrapped_cells = [_wrapped_cell(breaks(cell), width) for cell, width in zip(row, widths, strict=True)]
            lines += _rows(wrapped_cells, table.left, widths, gap)
    return lines


def _rows(cells: Sequence[Sequence[str]], left: Collection[int], widths: Sequence[int], gap: int) -> list[str]:
    """Cells that take several lines, side by side."""
    lines = []
    for texts in itertools.zip_longest(*cells, fillvalue=""):
        padded = (
            text.ljust(width) if column in left else text.rjust(width)
            for column, (text, width) in enumerate(zip(texts, widths, strict=True))
        )
        lines.append((" " * gap).join(padded).rstrip())
    return lines


def _shrunk(full: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths that fit: the widest column that can be narrower gives up one character after the other."""
    widths = list(full)
    while sum(widths) > room:
        widest = max((i for i in range(len(widths)) if widths[i] > least[i]), key=lambda i: widths[i])
        widths[widest] -= 1
    return widths


def _wrapped_cell(pieces: Sequence[tuple[str, str]], width: int) -> list[str]:
    lines = [""]
    for text, glue in pieces:
        longer = f"{lines[-1]}{glue}{text}" if lines[-1] else text
        if len(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(text)
    return lines


def _is_heading(row: Sequence[str]) -> bool:
    return bool(row[0]) and not any(row[1:])


_Breaks = Callable[[str], list[tuple[str, str]]]
"""Divides a text into pieces, each with what stands before it where it follows another one on its line."""


def _whole(text: str) -> list[tuple[str, str]]:
    return [(text, "")]


def _at_spaces(text: str) -> list[tuple[str, str]]:
    """Words; a comparison sign stays with its number, and a dash with what precedes it."""
    words = re.findall(r"(?:(?:>=?|<=?) )?\S+(?: -(?= ))?", text.replace(_SOFT, ""))
    return [(word, " ") for word in words] or [("", "")]


def _at_hyphens(heading: str) -> list[tuple[str, str]]:
    """Words of a heading, and their parts at soft hyphens."""
    softened = heading.replace("heterogeneity", f"hetero{_SOFT}geneity")  # longer than all that stands below it
    return [(word, "") for word in softened.replace(_SOFT, "-\n").replace(" ", "\n").split("\n")]


def _at_signs(text: str) -> list[tuple[str, str]]:
    """Words, and their parts after a colon, a slash or the hyphen of a name."""
    out = []
    for word, glue in _at_spaces(text):
        first, *rest = re.split(r"(?<=[^\s][:/])(?=\S)|(?<=[a-zA-Z]{2}-)(?=[a-zA-Z])", word)
        out += [(first, glue), *((part, "") for part in rest)]
    return out


def aligned(rows: Sequence[Sequence[str]], left: Collection[int]) -> list[str]:
    """Lines of a table whose first row is the headings; a soft hyphen in one says where it may be broken.

    Where the columns do not fit, headings take several lines, then gaps shrink, and at last every row becomes a list.
    """
    width = text_width()
    headings, body = [cell.replace(_SOFT, "") for cell in rows[0]], [list(row) for row in rows[1:]]
    wide = _lines([headings], body, left, 2)
    if width is None or _longest(wide) <= width:
        return wide
    split = [cell.replace(_SOFT, "-\n").replace(" ", "\n").split("\n") for cell in rows[0]]
    height = max(map(len, split))
    heads = [[([""] * (height - len(words)) + words)[i] for words in split] for i in range(height)]
    for gap in (2, 1):
        narrow = _lines(heads, body, left, gap)
        if _longest(narrow) <= width:
            return narrow
    listed = []
    for row in body:
        listed += [
            *filter(None, row[:1]),
            *(f"  {name}: {cell}" for name, cell in zip(headings[1:], row[1:], strict=True)),
        ]
    return listed


def _lines(heads: list[list[str]], body: list[list[str]], left: Collection[int], gap: int) -> list[str]:
    rows = heads + body
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [line for row in rows for line in _rows([[cell] for cell in row], left, widths, gap)]


def _longest(lines: list[str]) -> int:
    return max(map(len, lines), default=0)


def wrapped(text: str, indent: int = 0) -> str:
    """A line of text at the width there is, lines after the first indented."""
    width = text_width()
    if width is None or len(text) <= width:
        return text
    room = indent if indent < width // 2 else 2
    return textwrap.fill(text, width, subsequent_indent=" " * room, break_long_words=False, break_on_hyphens=False)
