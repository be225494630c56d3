"""Tables that fit: as wide as they like in a file, never wider than a terminal, and nothing in them cut off."""

import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

__all__ = ["aligned", "output", "print_table", "text_width", "titled", "wrapped"]

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


def titled(
    title: str, headings: Sequence[str], left: Collection[int], rows: Sequence[Sequence[str] | None]
) -> Callable[[int], Table]:
    """A table in three forms, from the widest to the narrowest; None among the rows is a line across.

    Headings over several lines come first, as they cost a reader least; cells are broken only where that is not enough.
    """

    def make(form: int) -> Table:
        narrow, narrowest = form >= 1, form >= 2
        table = Table(title=title)
        if narrow:
            table = Table(title=title, box=box.HORIZONTALS, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        for number, heading in enumerate(headings):
            text = heading.replace(" ", "\n") if narrow else heading
            table.add_column(text, justify="left" if number in left else "right", overflow="fold")
        for row in rows:
            if row is None:
                table.add_section()
            else:
                table.add_row(*(map(_broken, row) if narrowest else row))
        return table

    return make


def print_table(console: Console, make: Callable[[int], Table]) -> None:
    """Print the widest form of a table that fits, the narrowest where none does; a file is as wide as the table."""
    room = text_width()
    for form in (0, 1):
        table = make(form)
        needed = console.measure(table, options=console.options.update(max_width=10_000)).maximum
        if room is None:
            console.width = max(console.width, needed)
        if needed <= console.width:
            break
    else:
        table = make(2)
    console.print(table, soft_wrap=False)


def _broken(cell: str) -> str:
    """A cell over several lines: a range at its dash, what is in brackets, and the options of an optimizer."""
    lines = (
        cell
        .replace(" - ", " -\n")
        .replace(" (", "\n(")
        .replace(" / ", " /\n")
        .replace("no theorem", "no\ntheorem")
        .replace("see below", "see\nbelow")
    )
    return lines if ": " in lines else lines.replace(":", ":\n")


def aligned(rows: Sequence[Sequence[str]], left: Collection[int]) -> list[str]:
    """Lines of a table whose first row is the headings; a soft hyphen in one says where it may be broken.

    Where the columns do not fit, headings take several lines, then gaps shrink, and at last every row becomes a list.
    """
    width = text_width()
    headings, body = [cell.replace(_SOFT, "") for cell in rows[0]], [list(row) for row in rows[1:]]
    wide = _lines([headings], body, left, "  ")
    if width is None or _longest(wide) <= width:
        return wide
    split = [cell.replace(_SOFT, "-\n").replace(" ", "\n").split("\n") for cell in rows[0]]
    height = max(map(len, split))
    heads = [[([""] * (height - len(words)) + words)[i] for words in split] for i in range(height)]
    for gap in ("  ", " "):
        narrow = _lines(heads, body, left, gap)
        if _longest(narrow) <= width:
            return narrow
    listed = []
    for row in body:
        listed += [row[0], *(f"  {name}: {cell}" for name, cell in zip(headings[1:], row[1:], strict=True))]
    return listed


def _lines(heads: list[list[str]], body: list[list[str]], left: Collection[int], gap: str) -> list[str]:
    rows = heads + body
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        gap.join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _longest(lines: list[str]) -> int:
    return max(map(len, lines), default=0)


def wrapped(text: str, indent: int = 0) -> str:
    """A line of text at the width there is, lines after the first indented."""
    width = text_width()
    if width is None or len(text) <= width:
        return text
    room = indent if indent < width // 2 else 2
    return textwrap.fill(text, width, subsequent_indent=" " * room, break_long_words=False, break_on_hyphens=False)
