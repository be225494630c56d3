"""The section of a sweep's report about theory: the theorems of each optimizer, and their bounds against the runs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from quadsim.cli.pages.page import Block, Cell, Column, Items, Section, Table, Text, Verdict
from quadsim.cli.pages.theorem_card import anchor, kept_card, known_theorems
from quadsim.cli.pages.words import margin_text
from quadsim.cli.text.guarantee_table import GUARANTEES_TITLE, guarantee_cells, guarantee_headings, place_text
from quadsim.cli.text.means_table import means_notes, means_tables
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.sweeps.results.guaranteed import guarantee_notes, guarantee_rows
from quadsim.simulator.sweeps.results.results import Results
from quadsim.theory.checking.comparison import CONTRADICTION, FOREIGN, VERDICTS
from quadsim.theory.checking.judge import BOUND_OF_RULE

__all__ = ["bounds_section", "theorem_columns"]

_MOST_AGAINST = 5
_MOST_OTHERS = 3
"""Theorems of other things that a cell names: more of them would make a tall row of a narrow page."""
_COUNTED = "verdict_"


@dataclass(frozen=True)
class _Found:
    """The bounds of one optimizer against its runs: the theorems, runs by verdict, and the largest margin."""

    spec: OptimizerSpec
    theorems: tuple[str, ...]
    counts: dict[str, int]
    worst: float

    @property
    def checked(self) -> int:
        return sum(count for word, count in self.counts.items() if word != "not applicable")

    def verdict(self) -> tuple[Verdict, str]:
        """The verdict, and its reason."""
        counts, of = self.counts, f"{self.checked:,} runs"
        if not self.checked:
            return Verdict("no bound", "none"), self._why_none()
        if counts["refuted"]:
            return Verdict("refuted", "bad"), f"{counts['refuted']:,} of {of} lie above it, in exact arithmetic"
        if counts[CONTRADICTION]:
            return Verdict(
                CONTRADICTION, "bad"
            ), f"floats and exact arithmetic differ on {counts[CONTRADICTION]:,} of {of}"
        if counts[FOREIGN]:
            return Verdict(FOREIGN, "bad"), f"the records of {counts[FOREIGN]:,} of {of} are not what the rule does"
        if counts["undecided"]:
            return Verdict(
                "undecided", "open"
            ), f"{counts['undecided']:,} of {of} cannot be told from it within rounding"
        exact = f", {counts['verified']:,} of them in exact arithmetic" if counts["verified"] else ""
        left = f"; it does not speak of {counts['not applicable']:,} others" if counts["not applicable"] else ""
        return Verdict("holds", "good"), f"no step of {of} lies above it{exact}{left}"

    def _why_none(self) -> str:
        names = BOUND_OF_RULE.get(self.spec.optimizer.name)
        if names:
            if not sum(self.counts.values()):
                return "bounds were not checked on these runs"
            wanted = " or ".join(
                f"{n} ({'; '.join(known_theorems()[n]['conditions']) or 'constant rate'})" for n in names
            )
            return f"the hypotheses do not hold on these runs: {wanted}"
        others = [name for name, of in known_theorems().items() if self.spec.optimizer.name in of["rules"]]
        named = ", ".join(others[:_MOST_OTHERS])
        more = f" and {len(others) - _MOST_OTHERS} more" if len(others) > _MOST_OTHERS else ""
        about = f"; of other things: {named}{more} (quadsim theorems NAME)" if others else ""
        return f"no theorem here bounds the steps of {self.spec.optimizer.name} at every rate{about}"


def _theorems_at(results: Results) -> dict[tuple[int, str], list[str]]:
    """Return the names of the theorems that apply to the best runs, by point and optimizer."""
    runs = results.tables.best_runs
    return {
        (int(str(point)), str(optimizer)): _names(rows["theorem"])
        for (point, optimizer), rows in runs.groupby(["point", "optimizer"], sort=False)
    }


def _theorem_cell(names: Sequence[str]) -> Cell:
    """Return a cell with names of theorems, with links to the cards of known ones."""
    return Cell(links=tuple((name, anchor(name) if name in known_theorems() else "") for name in names))


def theorem_columns(results: Results) -> list[tuple[Column, Callable[[Mapping[Any, Any]], Cell]]]:
    """Return the column of theorems in the table of best rates, with the function that fills its cells."""
    theorems = _theorems_at(results)

    def cell(row: Mapping[Any, Any]) -> Cell:
        names = theorems.get((int(row["point"]), str(row["optimizer"])), [])
        return _theorem_cell(names) if names else Cell("no theorem")

    return [(Column("theorem"), cell)]


def bounds_section(results: Results) -> Section:
    """Return the section: a table of all optimizers, and a card for every theorem."""
    found = [_found(results, spec) for spec in results.config.specs]
    names = [name for name in dict.fromkeys(name for one in found for name in one.theorems) if name in known_theorems()]
    columns = (
        Column("optimizer"),
        Column("theorem"),
        Column("verdict"),
        Column("runs checked", True),
        Column("worst margin", True),
        Column("why", wide=True),
    )
    table = Table(
        f"Bounds on all {results.runs:,} runs, at every rate",
        columns,
        tuple(_row(one) for one in found),
        "Margin: what was seen over the bound, at the worst step; 1 is the bound itself. Verified: in exact arithmetic; holds: "
        "in floating point, within a budget for rounding that is derived.",
    )
    guaranteed = guarantee_rows(results)
    names += [
        name for name in dict.fromkeys(guaranteed.get("theorem", ())) if name in known_theorems() and name not in names
    ]
    blocks: list[Block] = [table, *_against(results), *_guaranteed(results, guaranteed), *_means(results)]
    blocks += [kept_card(name) for name in names]
    return Section("Bounds", tuple(blocks))


def _guaranteed(results: Results, rows: pd.DataFrame) -> list[Block]:
    """Return the table of bounds at guaranteed rates and along runs, and the reasons why some problems have none."""
    if not len(rows):
        return []
    points = results.best.drop_duplicates("point").set_index("point").to_dict("index")
    columns = tuple(Column(name, position > 3) for position, name in enumerate(guarantee_headings(results)))
    cells = tuple(
        (Cell(place_text(results.config, points[row["point"]])), *map(Cell, guarantee_cells(row, results.config.steps)))
        for row in rows.to_dict("records")
    )
    why = guarantee_notes(results)
    note = (
        "Of the optimizers that no theorem bounds at their best rates. From the start: the bound is known before the run, at the "
        "rate that makes the largest bound of the problems smallest; a run at that rate was added. Along the run: it reads "
        "the preconditioner of the run at the best rate, and no gap. Falling rate: the same, of an added run whose rate falls "
        "linearly to 0 in the given steps; at a constant rate a memoryless preconditioner lets modes grow near the end."
    )
    table = Table(GUARANTEES_TITLE, columns, cells, note)
    reasons: list[Block] = [Text("Where a bound does not speak of all problems:"), Items(tuple(why))] if why else []
    return [table, *reasons]


def _means(results: Results) -> list[Block]:
    """Return the table of means on streams."""
    tables = means_tables(results)
    if not tables:
        return []
    columns = tuple(Column(name, position > 2) for position, name in enumerate(tables[0].headings))
    cells = tuple(tuple(map(Cell, row)) for row in tables[0].rows if row is not None)
    return [Table(tables[0].title, columns, cells, means_notes(results)[0])]


def _row(found: _Found) -> tuple[Cell, ...]:
    verdict, why = found.verdict()
    return (
        Cell(found.spec.label),
        _theorem_cell(found.theorems),
        Cell(verdict.word, verdict=verdict),
        Cell(f"{found.checked:,}", float(found.checked)),
        Cell("" if math.isnan(found.worst) else margin_text(found.worst), found.worst),
        Cell(why),
    )


def _found(results: Results, spec: OptimizerSpec) -> _Found:
    columns = ["theorem", "verdict", "margin"] if results.histogram is None else None
    rows = results.tables.rows({results.tables.setting_column: [spec.label]}, columns)
    if results.histogram is None:
        words = rows["verdict"].value_counts()
        counts = {word: int(words.get(word, 0)) for word in VERDICTS}
        margins = rows.loc[rows["verdict"] != "not applicable", "margin"]
    else:
        counted = {word: _COUNTED + word.replace(" ", "_") for word in VERDICTS}
        counts = {word: int(rows[name].sum()) if name in rows else 0 for word, name in counted.items()}
        margins = rows["margin_worst"] if "margin_worst" in rows else pd.Series(dtype=float)
    worst = float(margins.max()) if len(margins) else math.nan
    return _Found(spec, tuple(_names(rows["theorem"])), counts, worst if sum(counts.values()) else math.nan)


def _names(column: Any) -> list[str]:
    return list(dict.fromkeys(name for joined in column.unique() for name in str(joined).split()))


def _against(results: Results) -> list[Block]:
    """Return the first runs that violate a bound or are undecided."""
    if results.histogram is not None:
        return []
    rows = results.tables.rows({"verdict": ["refuted", "undecided", FOREIGN, CONTRADICTION]})
    axis = results.config.axis
    said = [
        f"{row['optimizer']} at {row[axis]}, seed {row['seed']}, lr {row['lr']:.6g}: {row['verdict']} by {row['theorem']}, "
        f"margin {margin_text(float(row['margin']))}"
        for row in rows.head(_MOST_AGAINST).to_dict("records")
    ]
    if not said:
        return []
    more = f" (the first {_MOST_AGAINST} of {len(rows):,})" if len(rows) > _MOST_AGAINST else ""
    return [Text(f"Runs that speak against a bound, or that are not decided{more}:"), Items(tuple(said))]
