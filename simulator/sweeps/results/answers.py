"""The answer of a sweep in words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quadsim.simulator.runs.status import STATUSES
from quadsim.simulator.support.statistics import bootstrap_counted_ratio, bootstrap_ratio, effective_steps

__all__ = ["answer", "counted_answer", "optimised_answer"]

_Medians = Mapping[tuple[Any, Any], float]
"""(point, optimizer) to the median of the steps."""

_Ratio = Callable[[tuple[Any, Any], tuple[Any, Any]], tuple[float, float, float]]
"""Ratio of the medians at two (point, optimizer), and the ends of its interval."""


def answer(runs: pd.DataFrame, best: pd.DataFrame, point: str, steps: int, value: str = "gap") -> str:
    """The result in words: how each optimizer's steps grow, and who needs the fewest where.

    Args:
        runs: rows of the summary at the best rates.
        best: rows of `best_rates`, for the same points.
        point: the column along which the comparison goes (`heterogeneity`, or `case`).
        steps: length of the runs.
        value: what the optimizers decrease, X of the column `final_X_median`.
    """
    table = {
        key: effective_steps(group.sort_values("seed")) for key, group in runs.groupby([point, "optimizer"], sort=False)
    }
    return _in_words(best, point, steps, lambda above, below: bootstrap_ratio(table[above], table[below]), value)


def optimised_answer(summary: pd.DataFrame, best: pd.DataFrame, point: str, steps: int) -> str:
    """Of models, in words: how the steps grow on the loss that is optimised, each rule at a best rate of its own.

    Args:
        summary: rows of the summary at all rates.
        best: rows of `best_rates`, for the same points, with steps_weighted_median and lr_weighted.
        point: as in `answer`.
        steps: as in `answer`.
    """
    values = list(dict.fromkeys(best[point]))
    if len(values) < 2:
        return ""
    rows = {(row[point], row["optimizer"]): row for row in best.to_dict("records")}
    medians = {key: row["steps_weighted_median"] for key, row in rows.items()}

    def ratio(above: tuple[Any, Any], below: tuple[Any, Any]) -> tuple[float, float, float]:
        taken = []
        for key in (above, below):
            row = rows[key]
            same = summary[summary["point"].eq(row["point"]) & summary["optimizer"].eq(row["optimizer"])]
            same = same[same["lr"].eq(row["lr_weighted"])].sort_values("seed")
            taken.append(effective_steps(same, "steps_to_tolerance_weighted"))
        return bootstrap_ratio(taken[0], taken[1])

    growth: list[str] = []
    for name in dict.fromkeys(best["optimizer"]):
        first = not any(" times the steps at " in text for text in growth)
        growth.append(_growth(name, values, medians, ratio, steps, first=first))
    return f"On the loss that is optimised, at rates that are best for it: {'; '.join(growth)}."


def counted_answer(bins: pd.DataFrame, best: pd.DataFrame, point: str, steps: int, value: str = "gap") -> str:
    """As `answer`, from histograms at the best rates; intervals are not paired, see `bootstrap_counted_ratio`.

    Args:
        bins: a row per point, optimizer and bin at the best rates, with up_to, runs, converged, not_reached and
            diverged.
        best: rows of `best_counted_rates`, for the same points.
        point: as in `answer`.
        steps: as in `answer`.
        value: as in `answer`.
    """
    table = {key: group for key, group in bins.groupby([point, "optimizer"], sort=False)}

    def ratio(above: tuple[Any, Any], below: tuple[Any, Any]) -> tuple[float, float, float]:
        a, b = table[above], table[below]
        totals = [int(group[list(STATUSES)].iloc[0].sum()) for group in (a, b)]
        return bootstrap_counted_ratio(a["runs"], b["runs"], a["up_to"], (totals[0], totals[1]))

    return _in_words(best, point, steps, ratio, value)


def _in_words(best: pd.DataFrame, point: str, steps: int, ratio: _Ratio, what: str) -> str:
    values = list(dict.fromkeys(best[point]))
    optimizers = list(dict.fromkeys(best["optimizer"]))
    medians = {(row[point], row["optimizer"]): row["steps_median"] for row in best.to_dict("records")}
    sentences = []
    if len(values) > 1:
        growth: list[str] = []
        for name in optimizers:
            first = not any(" times the steps at " in text for text in growth)
            growth.append(_growth(name, values, medians, ratio, steps, first=first))
        sentences.append("; ".join(growth) + ".")
    ends = {(row[point], row["optimizer"]): row.get(f"final_{what}_median", np.nan) for row in best.to_dict("records")}
    sentences += [
        _fewest(value, optimizers, medians, ratio, steps) + _lowest(value, optimizers, medians, ends, what)
        for value in values
    ]
    return " ".join(sentences)


def _growth(name: str, values: Sequence[object], medians: _Medians, ratio: _Ratio, steps: int, first: bool) -> str:
    low, high = values[0], values[-1]
    missed = [_text(value) for value in (low, high) if not np.isfinite(medians[value, name])]
    if missed:
        return f"{name} does not reach the tolerance within {steps} steps at {' and '.join(missed)}"
    if medians[low, name] == 0.0:
        later = f"{medians[high, name]:g} steps at {_text(high)}"
        return f"{name} is within the tolerance from the start at {_text(low)} and needs {later}"
    times, lower, upper = ratio((high, name), (low, name))
    where = f" times the steps at {_text(high)} that it needs at {_text(low)}" if first else ""
    interval = _interval(lower, upper)
    return f"{name} needs {_number(times)}{where} ({interval})" if first else f"{name} {_number(times)} ({interval})"


def _fewest(value: object, optimizers: Sequence[str], table: _Medians, ratio: _Ratio, steps: int) -> str:
    medians = {name: table[value, name] for name in optimizers}
    order = sorted(optimizers, key=lambda name: medians[name])
    where = f"At {_text(value)}"
    if not np.isfinite(medians[order[0]]):
        return f"{where} no optimizer reaches the tolerance within {steps} steps."
    if medians[order[0]] == 0.0:
        there = [name for name in order if medians[name] == 0.0]
        return f"{where} the start is within the tolerance already ({', '.join(there)})."
    text = f"{where} {order[0]} needs the fewest steps ({medians[order[0]]:g})"
    if len(order) == 1:
        return text + "."
    second = order[1]
    if not np.isfinite(medians[second]):
        return f"{text}; no other reaches the tolerance."
    times, lower, upper = ratio((value, second), (value, order[0]))
    if lower <= 1.0:
        return f"{text}, but {second} ({medians[second]:g}) cannot be told from it (ratio: {_interval(lower, upper)})."
    return f"{text}, {_number(times)} times fewer than {second} ({_interval(lower, upper)})."


def _lowest(
    value: object, optimizers: Sequence[str], table: _Medians, ends: Mapping[tuple[Any, Any], float], what: str
) -> str:
    """Where no optimizer reaches the tolerance: who came furthest, if that is known."""
    last = {name: ends[value, name] for name in optimizers if np.isfinite(ends[value, name])}
    if not last or any(np.isfinite(table[value, name]) for name in optimizers):
        return ""
    name = min(last, key=lambda each: last[each])
    return f" The lowest {what} at the end is that of {name} ({last[name]:.3g} of the start, median)."


def _interval(lower: float, upper: float) -> str:
    return f"95% bootstrap {_number(lower)}-{_number(upper)}"


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float | int | np.floating | np.integer) else str(value)


def _number(value: float) -> str:
    """Two digits below 10, whole numbers above: more would not survive another draw."""
    if not np.isfinite(value):
        return str(value)
    if value >= 10 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"
