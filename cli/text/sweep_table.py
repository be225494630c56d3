"""The table and the words that a sweep prints."""

from collections.abc import Callable
from typing import Any

from rich.table import Table

from quadsim.cli.text.narrow import output, print_table, titled
from quadsim.cli.text.sweep_columns import ExtraColumn, choice_columns, criterion_columns, extra_columns, steps_text
from quadsim.simulator.rules.momentum import FAMILY_WORDS
from quadsim.simulator.support import store
from quadsim.simulator.support.paths import shown
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.results import Results

__all__ = ["point_text", "print_results"]


def print_results(results: Results, *, quiet: bool) -> None:
    """Table, answer, how rates were chosen, and where the files are; with `quiet` the answer alone."""
    console = output()
    if not quiet:
        for label, _, best in results.groups():
            print_table(console, _table(results, label, best))
    for sentence in results.answers:
        console.print(sentence, highlight=False)
    if quiet:
        return
    console.print(" ".join(results.notes), highlight=False)
    if results.folder is not None:
        names = [name for name in (store.REPORT, *results.files) if (results.folder / name).exists()]
        console.print(f"Files: {shown(results.folder)}/ ({', '.join(names)})", highlight=False)


def _table(results: Results, label: str, best: Any) -> Callable[[int], Table]:
    config = results.config
    size = f"{len(config.reported)} problems a row, at most {config.steps} steps"
    title = f"Steps until {config.criterion} ({size})"
    most = "" if results.histogram is None else " (at most)"
    columns = (*criterion_columns(config, results.best), *choice_columns(config), *extra_columns(config))
    shared = (" / ".join(config.compared), "optimizer", "best lr", f"median steps{most}", f"10-90%{most}")
    headings = (*shared, *(column.heading for column in columns))
    rows: list[tuple[str, ...] | None] = []
    for family in config.families:
        if len(config.families) > 1:
            rows += [None] if rows else []
            rows.append((FAMILY_WORDS[family], *("" for _ in headings[1:])))
        rows += _family_rows(config, best[best["family"] == family], columns)
    return titled(f"{title}; {label}" if label else title, headings, (0, 1), rows)


def _family_rows(config: SweepGrid, best: Any, columns: tuple[ExtraColumn, ...]) -> list[tuple[str, ...] | None]:
    """Rows of one family, a line between points."""
    rows: list[tuple[str, ...] | None] = []
    last = None
    for row in best.to_dict("records"):
        if row["point"] != last:
            rows.append(None)
        rows.append((
            point_text(row, config.axis) if row["point"] != last else "",
            row["setting"],
            f"{row['lr']:.3g}" + (" (edge)" if row["at_edge"] else ""),
            steps_text(row["steps_median"], config.steps),
            f"{steps_text(row['steps_q10'], config.steps)} - {steps_text(row['steps_q90'], config.steps)}",
            *(column.text(row, config.steps) for column in columns),
        ))
        last = row["point"]
    return rows if len(config.families) > 1 else rows[1:]


def point_text(row: dict[Any, Any], name: str) -> str:
    """A point on the axis of comparison, with what was achieved where that is not what was asked."""
    asked = row[name]
    if isinstance(asked, str):
        return f"{asked} (c = {row['heterogeneity_achieved']:.4g})" if "heterogeneity_achieved" in row else asked
    achieved = row.get(f"{name}_achieved", asked)
    return f"{asked:g}" if abs(achieved / asked - 1.0) < 1e-9 else f"{asked:g} (got {achieved:.4g})"
