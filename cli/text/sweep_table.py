"""The table and the words that a sweep prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from quadsim.cli.text.guarantee_table import guarantee_tables, place_text, point_text
from quadsim.cli.text.means_table import means_notes, means_tables
from quadsim.cli.text.stored_table import (
    Printed,
    PrintedAnswer,
    PrintedTable,
    print_answer,
    print_bounds,
    print_files,
)
from quadsim.cli.text.sweep_columns import (
    ExtraColumn,
    choice_columns,
    criterion_columns,
    extra_columns,
    size_text,
    steps_text,
)
from quadsim.simulator.rules.momentum import FAMILY_WORDS
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.guaranteed import guarantee_notes
from quadsim.simulator.sweeps.results.results import Results

__all__ = ["print_results", "printed_answer_of", "printed_of"]


def print_results(results: Results, *, quiet: bool) -> None:
    """Table, answer, how rates were chosen, and where the files are; with `quiet` the answer alone."""
    printed = printed_of(results)
    print_answer(printed, quiet=quiet)
    print_bounds(printed, quiet=quiet)
    if results.folder is not None and not quiet:
        print_files(printed, results.folder)


def printed_answer_of(results: Results) -> PrintedAnswer:
    """What a sweep prints as soon as its runs are finished, as plain data."""
    tables = [*(_table(results, label, best) for label, best in results.grouped_rows), *_tails(results)]
    return PrintedAnswer(tables, results.answers, results.notes)


def printed_of(results: Results) -> Printed:
    """All that a sweep prints, as plain data."""
    return Printed(
        **vars(printed_answer_of(results)),
        bounds=[*guarantee_tables(results), *means_tables(results)],
        certified=[results.certified] if results.certified else [],
        bounds_notes=[*guarantee_notes(results), *means_notes(results)],
        files=[store.REPORT, *results.files],
        figures=list(results.figures),
        document=results.to_json(),
    )


_SMALLEST_TAIL = 1000
"""Runs of a row from which on its tail is told."""


def _tails(results: Results) -> list[PrintedTable]:
    """Return the table of the 1 - delta quantiles of the steps at the best rates; none where rows were kept or runs are few."""
    tails = results.tails
    if tails is None or not len(tails) or tails["runs"].max() < _SMALLEST_TAIL:
        return []
    config = results.config
    points = {int(row["point"]): row for row in results.best_rows}
    rows: list[list[str] | None] = []
    for (number, optimizer), same in tails[tails["best_lr"]].groupby(["point", "optimizer"], sort=False):
        point = points[int(str(number))]
        name = place_text(config, point)
        for place, row in enumerate(same.to_dict("records")):
            low, high = (steps_text(row[end], config.steps) for end in ("steps_low", "steps_high"))
            first = [name, str(optimizer), f"{row['runs']:,}"] if place == 0 else ["", "", ""]
            rows.append([*first, f"{row['chance']:g}", steps_text(row["steps"], config.steps), f"{low} - {high}"])
    headings = [" / ".join(config.compared), "optimizer", "runs", "delta", "steps (at most)", "95%"]
    return [PrintedTable("Steps that all but a share delta of the runs need, at the best rates", headings, rows)]


def _table(results: Results, label: str, best: Sequence[Mapping[str, Any]]) -> PrintedTable:
    config = results.config
    title = f"Steps until {config.criterion} ({size_text(config)})"
    most = "" if results.histogram is None else " (at most)"
    columns = (*criterion_columns(config, results.best_rows), *choice_columns(config), *extra_columns(results))
    shared = (" / ".join(config.compared), "optimizer", "best lr", f"median steps{most}", f"10-90%{most}")
    headings = [*shared, *(column.heading for column in columns)]
    rows: list[list[str] | None] = []
    for family in config.families:
        if len(config.families) > 1:
            rows += [None] if rows else []
            rows.append([FAMILY_WORDS[family], *("" for _ in headings[1:])])
        rows += _family_rows(config, [row for row in best if row["family"] == family], columns)
    return PrintedTable(f"{title}; {label}" if label else title, headings, rows)


def _family_rows(
    config: SweepGrid, best: Sequence[Mapping[str, Any]], columns: tuple[ExtraColumn, ...]
) -> list[list[str] | None]:
    """Rows of one family, a line between points."""
    rows: list[list[str] | None] = []
    last = None
    for row in best:
        if row["point"] != last:
            rows.append(None)
        rows.append([
            point_text(row, config.axis) if row["point"] != last else "",
            row["setting"],
            f"{row['lr']:.3g}" + (" (edge)" if row["at_edge"] else ""),
            steps_text(row["steps_median"], config.steps),
            _range_text(row["steps_q10"], row["steps_q90"], config.steps),
            *(column.text(row, config.steps) for column in columns),
        ])
        last = row["point"]
    return rows if len(config.families) > 1 else rows[1:]


def _range_text(low: float, high: float, most: int) -> str:
    """A range of steps; its ends once where they are the same."""
    ends = dict.fromkeys(steps_text(end, most) for end in (low, high))
    return " - ".join(ends)
