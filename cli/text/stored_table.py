"""What a sweep prints, as plain data: printed when the sweep finishes, and stored beside its results.

The same command on a finished folder prints what is stored. This module imports no library that computes, so that this takes a
fraction of a second.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from quadsim.cli.text.narrow import TextTable, output, print_table
from quadsim.simulator.support import store
from quadsim.simulator.support.paths import shown as shown_path
from quadsim.simulator.support.provenance import source_digest
from quadsim.simulator.sweeps.results.integrity import damaged_files, has_figures, place_of

__all__ = [
    "Printed",
    "PrintedAnswer",
    "PrintedTable",
    "print_answer",
    "print_bounds",
    "print_files",
    "question_of",
    "read_printed",
    "write_printed",
]


@dataclass(frozen=True)
class PrintedTable:
    """One table in words.

    Attributes:
        title: of the table.
        headings: of its columns.
        rows: cells; None is a line across, and a row with its first cell alone is a heading of the rows below.
        left: columns that are set to the left.
    """

    title: str
    headings: list[str]
    rows: list[list[str] | None]
    left: list[int] = field(default_factory=lambda: [0, 1])


@dataclass(frozen=True)
class PrintedAnswer:
    """What a sweep prints as soon as its runs are finished.

    Attributes:
        tables: one for every combination of the dials that are not compared.
        answers: the result in words.
        notes: what a reader of the answer has to know.
    """

    tables: list[PrintedTable]
    answers: list[str]
    notes: list[str]


@dataclass(frozen=True)
class Printed(PrintedAnswer):
    """All that a sweep prints.

    Attributes:
        bounds: tables of bounds, which are known after the answer.
        certified: sentences on them.
        bounds_notes: what a reader of these has to know.
        files: what the folder may hold, the report first.
        figures: names of the figures.
        document: what --json prints.
    """

    bounds: list[PrintedTable]
    certified: list[str]
    bounds_notes: list[str]
    files: list[str]
    figures: list[str]
    document: dict[str, Any]


def print_answer(printed: PrintedAnswer, *, quiet: bool) -> None:
    """Print tables, answer, and how rates were chosen; with `quiet` the answer alone."""
    _print_part(printed.tables, printed.answers, printed.notes, quiet=quiet)


def print_bounds(printed: Printed, *, quiet: bool) -> None:
    """Print the tables of bounds with their sentences and notes; with `quiet` the sentences alone."""
    _print_part(printed.bounds, printed.certified, printed.bounds_notes, quiet=quiet)


def _print_part(tables: list[PrintedTable], sentences: list[str], notes: list[str], *, quiet: bool) -> None:
    console = output()
    if not quiet:
        for table in tables:
            print_table(console, TextTable(table.title, table.headings, table.left, table.rows))
    for sentence in sentences:
        console.print(sentence, highlight=False)
    if notes and not quiet:
        console.print(" ".join(notes), highlight=False)


def print_files(printed: Printed, folder: Path) -> None:
    """Print where the files are, those that are there."""
    names = [name for name in printed.files if (folder / name).exists()]
    output().print(f"Files: {shown_path(folder)}/ ({', '.join(names)})", highlight=False)


def question_of(options: Mapping[str, Any]) -> str:
    """What a command asks for: its options, as they were read, and the code that says what they mean and words the answer."""
    wording = [path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(json.dumps([source_digest(), wording, options], sort_keys=True).encode()).hexdigest()


def write_printed(folder: Path, question: str, printed: Printed) -> None:
    """Store what was printed, with checksums of itself and of the manifest, which holds those of the results.

    Args:
        folder: of a finished sweep.
        question: see `question_of`.
        printed: what was printed.
    """
    content = {"question": question, "manifest": store.checksum(folder / store.MANIFEST), "printed": asdict(printed)}
    store.write_json(folder / store.TABLE, {**content, "checksum": _checksum(content)})


def read_printed(folder: Path, question: str | None, *, figures: bool) -> Printed | None:
    """What the finished sweep in a folder printed.

    Args:
        folder: a folder that may hold a finished sweep.
        question: see `question_of`; None: any, where the configuration is known to be that of the folder.
        figures: whether the folder has to hold its figures and report.

    Returns:
        None where the folder holds no finished sweep, another one, an extension that has not taken the place of the
        earlier results yet, one that was printed by other code, or anything that is not as
        it was written: then the results themselves have to be read.
    """
    if not (folder / store.TABLE).is_file() or not store.is_finished(folder) or place_of(folder) != folder:
        return None
    try:
        content = store.read_json(folder / store.TABLE, "the stored table")
    except ValueError:  # damaged: the results are read instead, and the command goes on as if it were not there
        return None
    if not isinstance(content, dict) or content.pop("checksum", None) != _checksum(content):
        return None
    if question is not None and content["question"] != question:
        return None
    if content["manifest"] != store.checksum(folder / store.MANIFEST) or damaged_files(folder):
        return None
    stored = content["printed"]
    tables = {name: [PrintedTable(**table) for table in stored[name]] for name in ("tables", "bounds")}
    printed = Printed(**stored | tables)
    if figures and not (has_figures(folder, printed.figures) and (folder / store.REPORT).is_file()):
        return None
    return printed


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
