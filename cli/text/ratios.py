"""The table of `quadsim compare`, for the terminal and the report."""

from typing import Any

import numpy as np

from quadsim.cli.text.narrow import TextTable, output, print_table
from quadsim.cli.text.sweep_columns import steps_text
from quadsim.simulator.support.paths import shown
from quadsim.simulator.sweeps.results.side_by_side import NAMES, SideBySide

__all__ = ["difference_lines", "print_ratios", "ratio_headings", "ratio_rows"]


def ratio_headings(compared: SideBySide) -> list[str]:
    """Headings of the table."""
    first = compared.sweeps[0]
    facets = [name.replace("_", " ") for name in first.facets if name in compared.table]
    return [
        " / ".join(first.config.compared),
        *facets,
        "optimizer",
        "sweep",
        "steps A",
        "steps",
        "ratio to A",
        "95% interval",
    ]


def ratio_rows(compared: SideBySide) -> list[tuple[str, ...]]:
    """Cells of the table as text."""
    first = compared.sweeps[0]
    columns = [first.config.axis, *(name for name in first.facets if name in compared.table)]
    most = {name: each.config.steps for name, each in zip(NAMES, compared.sweeps, strict=False)}
    return [
        (
            *(_plain(row[name]) for name in columns),
            row["optimizer"],
            row["sweep"],
            steps_text(row["steps_A"], most["A"]),
            steps_text(row["steps"], most[row["sweep"]]),
            _ratio(row["ratio"]),
            "" if np.isnan(row["low"]) else f"{_ratio(row['low'])} - {_ratio(row['high'])}",
        )
        for row in compared.table.to_dict("records")
    ]


def difference_lines(compared: SideBySide) -> list[str]:
    """Return one line for each sweep: in which entries its configuration differs from that of A."""
    out = []
    for name, found in zip(NAMES[1:], compared.differences, strict=False):
        said = "; ".join(f"{entry.replace('_', ' ')}: A {a}, {name} {b}" for entry, (a, b) in found.items())
        out.append(f"A and {name} differ in {said}." if said else f"A and {name} have the same configuration.")
    return out


def print_ratios(compared: SideBySide) -> None:
    """Table, answer, differences and notes."""
    console = output()
    print_table(console, _table(compared))
    for name, each in zip(NAMES, compared.sweeps, strict=False):
        console.print(f"{name}: {shown(each.folder) if each.folder else ''}", highlight=False)
    for text in (compared.answer, *difference_lines(compared), " ".join(compared.notes)):
        console.print(text, highlight=False)


def _table(compared: SideBySide) -> TextTable:
    headings, rows = ratio_headings(compared), ratio_rows(compared)
    left = range(headings.index("sweep") + 1)
    title = f"Median steps until {compared.sweeps[0].config.criterion}, each at its best rate"
    return TextTable(title, headings, left, rows)


def _ratio(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3g}"


def _plain(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
