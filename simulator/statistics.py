"""Statistics of hitting times in which `inf` (not reached) is an ordinary value, and the answer in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

__all__ = ["answer", "best_rates", "bootstrap_ratio", "effective_steps", "quantile"]

_Steps = Mapping[tuple[Any, Any], NDArray[np.float64]]
"""(point, optimizer) to the steps of all seeds."""

BOOTSTRAP = 4000
"""Resamples: the 2.5% end of an interval then rests on 100 of them."""


def quantile(values: ArrayLike, q: float, axis: int = -1) -> NDArray[np.float64]:
    """Quantile of values that may be `inf`, which interpolation would turn into NaN.

    The average of the two order statistics that share the quantile where there are two (so the 0.5 quantile is the usual
    median), else the one (averaged inverted distribution function; Hyndman and Fan 1996, definition 2).
    """
    ordered = np.moveaxis(np.sort(np.asarray(values, dtype=np.float64), axis=axis), axis, 0)
    number = ordered.shape[0]
    position = q * number
    # Products like 0.9 * 10 must count as whole numbers: their rounding is below 2 units in the last place.
    whole = abs(position - round(position)) <= 2 * np.spacing(position)
    low = round(position) - 1 if whole else int(np.floor(position))
    high = low + 1 if whole else low
    low, high = (min(max(index, 0), number - 1) for index in (low, high))
    return np.asarray((ordered[low] + ordered[high]) / 2)


def effective_steps(summary: pd.DataFrame) -> NDArray[np.float64]:
    """Steps to tolerance with `inf` for a run that diverged later: it cannot be said to have solved the problem."""
    steps = summary["steps_to_tolerance"].to_numpy(dtype=np.float64)
    return np.where(summary["status"].to_numpy() == "diverged", np.inf, steps)


def best_rates(summary: pd.DataFrame, carried: Sequence[str]) -> pd.DataFrame:
    """The best learning rate of every optimizer at every point of the grid, and its statistics over the seeds.

    Best: the smallest median steps to tolerance over all seeds; where no rate reaches the tolerance in half of them, the
    smallest median gap at the end (relative to the start). Ties go to the smaller 90% quantile, then to the smaller
    rate. This is hindsight, the same for all optimizers.

    Args:
        summary: a row per run, with point, optimizer, lr, status, steps_to_tolerance, final_gap, initial_gap, bound_steps.
        carried: columns that are the same for all runs of a point, to be kept.

    Returns:
        A row per point and optimizer: lr, lr_exponent, steps_median, steps_q10, steps_q90, reached (fraction),
        bound_median (NaN without a theorem, `inf` beyond the run), margin_median (median steps over it), at_edge (of the rates
        that were tried: "low", "high" or "").
    """
    runs = summary.assign(effective=effective_steps(summary), end=summary["final_gap"] / summary["initial_gap"])
    rows = []
    for (point, optimizer), group in runs.groupby(["point", "optimizer"], sort=False):
        rates = []
        for lr, same in group.groupby("lr", sort=True):
            steps, end = same["effective"].to_numpy(), same["end"].fillna(np.inf).to_numpy()
            median = float(quantile(steps, 0.5))
            tie = float(quantile(steps, 0.9)) if np.isfinite(median) else float(quantile(end, 0.5))
            rates.append((median, tie, float(str(lr)), same))
        position = min(range(len(rates)), key=lambda i: rates[i][:3])
        median, _, lr, same = rates[position]
        steps, bound = same["effective"].to_numpy(), same["bound_steps"].to_numpy(dtype=np.float64)
        has_bound = not bool(np.any(np.isnan(bound)))
        edge = "low" if position == 0 else "high" if position == len(rates) - 1 else ""
        rows.append(
            {"point": point, **{name: group[name].iloc[0] for name in carried}, "optimizer": optimizer}
            | {
                "lr": lr,
                "lr_exponent": same["lr_exponent"].iloc[0],
                "steps_median": median,
                "steps_q10": float(quantile(steps, 0.1)),
                "steps_q90": float(quantile(steps, 0.9)),
                "reached": float(np.mean(np.isfinite(steps))),
                "diverged": float(np.mean(same["status"] == "diverged")),
                "final_gap_median": float(quantile(same["end"].fillna(np.inf).to_numpy(), 0.5)),
                "bound_median": float(quantile(bound, 0.5)) if has_bound else np.nan,
                "margin_median": _ratio(median, float(quantile(bound, 0.5))) if has_bound else np.nan,
                "rates_tried": len(rates),
                "at_edge": edge,
            }
        )
    return pd.DataFrame(rows)


def _ratio(a: float, b: float) -> float:
    """a/b, NaN where neither is known."""
    return a / b if np.isfinite(a) or np.isfinite(b) else np.nan


def bootstrap_ratio(numerator: ArrayLike, denominator: ArrayLike, seed: int = 0) -> tuple[float, float, float]:
    """Ratio of two medians over the same seeds, with its 95% bootstrap interval (seeds resampled in pairs).

    Args:
        numerator: (S,), may hold `inf`.
        denominator: (S,), the same seeds.
        seed: of the resampling.

    Returns:
        Ratio, lower and upper end; NaN where both medians are `inf`.
    """
    a, b = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    rows = np.random.default_rng(seed).integers(0, a.size, size=(BOOTSTRAP, a.size))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = float(quantile(a, 0.5) / quantile(b, 0.5))
        resampled = quantile(a[rows], 0.5) / quantile(b[rows], 0.5)
    # inf/inf: neither is known; it counts as no change in the interval's ends only if every resample is so.
    known = resampled[~np.isnan(resampled)]
    if known.size == 0:
        return ratio, np.nan, np.nan
    return ratio, float(quantile(known, 0.025)), float(quantile(known, 0.975))


def answer(runs: pd.DataFrame, best: pd.DataFrame, point: str, steps: int) -> str:
    """The result in words: how each optimizer's steps grow, and who needs the fewest where.

    Args:
        runs: rows of the summary at the best rates.
        best: rows of `best_rates`, for the same points.
        point: the column along which the comparison goes (`heterogeneity`, or `case`).
        steps: length of the runs.
    """
    values = list(dict.fromkeys(best[point]))
    optimizers = list(dict.fromkeys(best["optimizer"]))
    table = {
        (value, optimizer): effective_steps(group.sort_values("seed"))
        for (value, optimizer), group in runs.groupby([point, "optimizer"], sort=False)
    }
    sentences = []
    if len(values) > 1:
        growth: list[str] = []
        for name in optimizers:
            first = not any(" times the steps at " in text for text in growth)
            growth.append(_growth(name, values, table, steps, first=first))
        sentences.append("; ".join(growth) + ".")
    sentences += [_fewest(value, optimizers, table, steps) for value in values]
    return " ".join(sentences)


def _growth(name: str, values: Sequence[object], table: _Steps, steps: int, first: bool) -> str:
    low, high = values[0], values[-1]
    before, after = table[low, name], table[high, name]
    missed = [_text(value) for value, found in ((low, before), (high, after)) if not np.isfinite(quantile(found, 0.5))]
    if missed:
        return f"{name} does not reach the tolerance within {steps} steps at {' and '.join(missed)}"
    ratio, lower, upper = bootstrap_ratio(after, before)
    where = f" times the steps at {_text(high)} that it needs at {_text(low)}" if first else ""
    interval = _interval(lower, upper)
    return f"{name} needs {_number(ratio)}{where} ({interval})" if first else f"{name} {_number(ratio)} ({interval})"


def _fewest(value: object, optimizers: Sequence[str], table: _Steps, steps: int) -> str:
    medians = {name: float(quantile(table[value, name], 0.5)) for name in optimizers}
    order = sorted(optimizers, key=lambda name: medians[name])
    where = f"At {_text(value)}"
    if not np.isfinite(medians[order[0]]):
        return f"{where} no optimizer reaches the tolerance within {steps} steps."
    text = f"{where} {order[0]} needs the fewest steps ({medians[order[0]]:g})"
    if len(order) == 1:
        return text + "."
    second = order[1]
    if not np.isfinite(medians[second]):
        return f"{text}; no other reaches the tolerance."
    ratio, lower, upper = bootstrap_ratio(table[value, second], table[value, order[0]])
    if lower <= 1.0:
        return f"{text}, but {second} ({medians[second]:g}) cannot be told from it (ratio: {_interval(lower, upper)})."
    return f"{text}, {_number(ratio)} times fewer than {second} ({_interval(lower, upper)})."


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
