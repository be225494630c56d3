"""Columns that the table of a sweep has for one family of problems, in the terminal and in the report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quadsim.simulator.sweeps.config.families import family_of, imported
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.results import Results

__all__ = [
    "BOUNDS",
    "OPTIMISED",
    "ExtraColumn",
    "choice_columns",
    "criterion_columns",
    "extra_columns",
    "size_text",
    "steps_text",
]

Row = Mapping[Any, Any]
"""A row of `Results.best`."""


@dataclass(frozen=True)
class ExtraColumn:
    """A column of the table of best rates.

    Attributes:
        heading: its name.
        number: what the report sorts by; NaN where there is nothing, which the report leaves empty.
        text: what it says of a row, given the length of the runs.
    """

    heading: str
    number: Callable[[Row], float]
    text: Callable[[Row, int], str]


def steps_text(value: float, most: int) -> str:
    """A number of steps; one that was not reached within `most` says so."""
    return f"> {most}" if np.isinf(value) else f"{value:g}"


def size_text(config: SweepGrid) -> str:
    """How many problems a row of the table tells of, and how long their runs are."""
    problems = len(config.reported)
    return f"{problems:,} problem{'s' * (problems > 1)} a row, at most {config.steps} steps"


UNBOUNDED, BELOW = "no theorem", "see below"
"""What the table of best rates says of a row without a bound: alone, and where a table of other bounds follows."""


def extra_columns(results: Results) -> tuple[ExtraColumn, ...]:
    """Those of the family of a sweep."""
    path = family_of(results.config).table_columns
    found: tuple[ExtraColumn, ...] = () if path is None else imported(path)
    others = results.awaits_bounds or results.guarantees is not None
    found = tuple(map(_pointing, found)) if others else found
    if not any(row.get("batch", "full") != "full" for row in results.best_rows):
        return found
    config: Any = results.config
    limits = _limits(results) if all(hasattr(point, "oracle") for point in config.points) else ()
    return (_samples(results), *limits, *found)


_MOST_PROBLEMS = 16
"""Problems of a point over which the median of its limits is taken."""


def _limits(results: Results) -> tuple[ExtraColumn, ...]:
    """The exact floor of the mean gap, over the gap at the start, and the critical batch at the best rate of each row."""
    from quadsim.theory.verifying.stream_guarantees import stream_limits

    config: Any = results.config
    specs = {spec.label: spec for spec in config.specs}
    seeds = [int(seed) for seed in config.reported[:_MOST_PROBLEMS]]
    known: dict[tuple[int, str], tuple[float, float]] = {}
    for row in (row for row in results.best_rows if row["batch"] != "full"):
        point = config.points[row["point"]]
        problem = point.problem(seeds[-1] + 1, config.seed).select(seeds)
        found = stream_limits(problem, specs[str(row["setting"])], float(row["lr"]), point.oracle, config.schedule)
        known[row["point"], row["optimizer"]] = found

    def column(heading: str, place: int, word: str) -> ExtraColumn:
        def number(row: Row) -> float:
            return known.get((row["point"], row["optimizer"]), (np.nan, np.nan))[place]

        def text(row: Row, _: int) -> str:
            value = number(row)
            return "" if np.isnan(value) else word if np.isinf(value) else f"{value:.3g}"

        return ExtraColumn(heading, number, text)

    return column("mean floor", 0, "unstable"), column("critical batch", 1, "none")


def _pointing(column: ExtraColumn) -> ExtraColumn:
    """The column with a pointer to the table of other bounds, where it has none."""

    def text(row: Row, steps: int) -> str:
        said = column.text(row, steps)
        return BELOW if said == UNBOUNDED else said

    return replace(column, text=text)


def choice_columns(config: SweepGrid) -> tuple[ExtraColumn, ...]:
    """What was tried for every row, where optimizers list several settings: settings times rates."""
    if all(len(optimizer.settings) == 1 for optimizer in config.swept):
        return ()
    return (
        ExtraColumn(
            "tried",
            lambda row: float(row["settings_tried"] * row["rates_tried"]),
            lambda row, _: f"{row['settings_tried']} x {row['rates_tried']}",
        ),
    )


def criterion_columns(config: SweepGrid, best: Sequence[Row]) -> tuple[ExtraColumn, ...]:
    """The steps of the criterion that was not asked for, where its median differs by more than 10% in any row.

    Args:
        config: the grid.
        best: see `Results.best_rows`.
    """
    names = {"first": "first crossing", "stays": "to stay"}
    found = []
    for until, column in _MEDIANS.items():
        if until != config.until and any(_differs(row, column) for row in best):
            found.append(_other_criterion(names[until], column))
    return tuple(found)


_MEDIANS = {"first": "steps_first_median", "stays": "steps_stay_median"}


def _other_criterion(heading: str, column: str) -> ExtraColumn:
    return ExtraColumn(
        heading,
        lambda row: float(row[column]) if _differs(row, column) else float("nan"),
        lambda row, steps: steps_text(row[column], steps) if _differs(row, column) else "",
    )


def _differs(row: Row, column: str) -> bool:
    """Whether the median of the other criterion is known and differs by more than 10%."""
    asked, other = float(row["steps_median"]), float(row[column])
    if np.isnan(other) or asked == other:
        return False
    return bool(np.isinf(other) or np.isinf(asked) or abs(other - asked) > 0.1 * asked)


def _samples(results: Results) -> ExtraColumn:
    """Samples until the median of the steps: the steps times the batch.

    With the full batch a step of a toy model sees every sequence; one of a quadratic sees the Hessian, and no samples.
    """
    config: Any = results.config

    def batch(row: Row) -> float:
        if row["batch"] != "full":
            return float(row["batch"])
        example = getattr(config.points[row["point"]], "example", None)
        return np.nan if example is None else float(example.task.size)

    def text(row: Row, steps: int) -> str:
        each = batch(row)
        return "" if np.isnan(each) else steps_text(float(row["steps_median"]) * each, steps * int(each))

    return ExtraColumn("samples", lambda row: float(row["steps_median"]) * batch(row), text)


def _three_digits(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3g}"


def _bound(row: Row, steps: int) -> str:
    return UNBOUNDED if np.isnan(row["bound_median"]) else steps_text(row["bound_median"], steps)


def _margin(row: Row) -> float:
    return float("nan") if np.isinf(row["bound_median"]) else float(row["margin_median"])


BOUNDS = (
    ExtraColumn("bound", lambda row: float(row["bound_median"]), _bound),
    ExtraColumn("steps / bound", _margin, lambda row, _: "" if np.isnan(_margin(row)) else f"{_margin(row):.2f}"),
)
"""Of quadratics: the steps that a theorem allows."""

OPTIMISED = (
    ExtraColumn("last loss", lambda row: float(row["loss_median"]), lambda row, _: f"{row['loss_median']:.3g}"),
    ExtraColumn(
        "on optimised loss",
        lambda row: float(row["steps_weighted_median"]),
        lambda row, steps: steps_text(row["steps_weighted_median"], steps),
    ),
    ExtraColumn("at lr", lambda row: float(row["lr_weighted"]), lambda row, _: _three_digits(row["lr_weighted"])),
)
"""Of toy models, whose steps no theorem bounds: the steps on the loss that is optimised."""
