"""The table of `quadsim compare`, for the terminal and the report."""

from collections.abc import Mapping
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
            _ratio_text(row, most["A"], most[row["sweep"]]),
            _interval_text(row["low"], row["high"]),
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


def _ratio_text(row: Mapping[Any, Any], most_a: int, most: int) -> str:
    """The ratio; where one sweep does not reach its tolerance, what the length of its runs says of it."""
    ratio = row["ratio"]
    if np.isnan(ratio):
        return ""
    if np.isinf(ratio):
        return f"over {most / row['steps_A']:.3g}" if row["steps_A"] > 0.0 else ""
    return f"below {row['steps'] / most_a:.3g}" if np.isinf(row["steps_A"]) else f"{ratio:.3g}"


def _interval_text(low: float, high: float) -> str:
    """The interval of a ratio; an end at which one of the two does not reach its tolerance is no number."""
    if np.isnan(low):
        return ""
    if not low > 0.0:
        return f"below {high:.3g}" if np.isfinite(high) else "not known"
    return f"{low:.3g} - {high:.3g}" if np.isfinite(high) else f"above {low:.3g}"


def _plain(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
