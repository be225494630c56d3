"""Statistics of hitting times in which `inf` (not reached) is an ordinary value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

__all__ = [
    "RateStatistics",
    "best_counted_rates",
    "best_position",
    "best_rates",
    "best_row",
    "bootstrap_counted_ratio",
    "bootstrap_ratio",
    "counted_quantile",
    "effective_steps",
    "median_interval",
    "quantile",
    "rate_statistics",
]

BOOTSTRAP = 4000
"""Resamples: the 2.5% end of an interval then rests on 100 of them."""

_DRAWN = 1 << 22  # numbers of resamples that are in memory at once


def quantile(values: ArrayLike, q: float, axis: int = -1) -> NDArray[np.float64]:
    """Quantile of values that may be `inf`, which interpolation would turn into NaN.

    The average of the two order statistics that share the quantile where there are two (so the 0.5 quantile is the usual
    median), else the one (averaged inverted distribution function; Hyndman and Fan 1996, definition 2).
    """
    ordered = np.moveaxis(np.sort(np.asarray(values, dtype=np.float64), axis=axis), axis, 0)
    low, high = _ranks(q, ordered.shape[0])
    return np.asarray((ordered[low] + ordered[high]) / 2)


def _ranks(q: float, number: int) -> tuple[int, int]:
    """The two order statistics of so many, counted from 0, that share a quantile; often the same one twice."""
    position = q * number
    # Products like 0.9 * 10 must count as whole numbers: their rounding is below 2 units in the last place.
    whole = abs(position - round(position)) <= 2 * np.spacing(position)
    low = round(position) - 1 if whole else int(np.floor(position))
    high = low + 1 if whole else low
    low, high = (min(max(index, 0), number - 1) for index in (low, high))
    return low, high


def median_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the median between two order statistics, valid for independent draws of any distribution (sign test).

    Args:
        values: (S,), may hold `inf`.
        confidence: least probability that the interval holds the median.

    Returns:
        The ends; (-inf, inf) where so few values allow none: fewer than six at 95%.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64).ravel())
    # The r-th smallest and the r-th largest miss the median with probability 2 P(Binomial(S, 1/2) < r).
    r = int(stats.binom.ppf((1 - confidence) / 2, ordered.size, 0.5))
    if 2 * stats.binom.cdf(r - 1, ordered.size, 0.5) > 1 - confidence or r == 0:
        return -np.inf, np.inf
    return float(ordered[r - 1]), float(ordered[-r])


def counted_quantile(edges: ArrayLike, counts: ArrayLike, total: int, q: float) -> NDArray[np.float64]:
    """`quantile` of values of which a histogram is known: each counts as the upper end of its bin, one in no bin as `inf`.

    Args:
        edges: upper ends of the bins, ascending, (bins,).
        counts: values in each bin, (..., bins).
        total: values in all, those in no bin among them; at least 1.
        q: in [0, 1].
    """
    upper = np.append(np.asarray(edges, dtype=np.float64), np.inf)
    upto = np.cumsum(np.asarray(counts), axis=-1)
    low, high = (upper[np.sum(upto <= rank, axis=-1)] for rank in _ranks(q, total))
    return np.asarray((low + high) / 2)


def effective_steps(summary: pd.DataFrame, column: str = "steps_to_tolerance") -> NDArray[np.float64]:
    """Steps to tolerance with `inf` for a run that diverged later: it cannot be said to have solved the problem."""
    steps = summary[column].to_numpy(dtype=np.float64)
    return np.where(summary["status"].to_numpy() == "diverged", np.inf, steps)


def best_rates(summary: pd.DataFrame, carried: Sequence[str]) -> pd.DataFrame:
    """The best learning rate of every optimizer at every point of the grid, and its statistics over the seeds.

    Best: the smallest median steps to tolerance over all seeds; where no rate reaches the tolerance in half of them, the
    smallest median gap at the end (relative to the start). Ties go to the smaller 90% quantile, then to the smaller
    rate. This is hindsight, the same for all optimizers.

    Args:
        summary: a row per run, with point, optimizer, lr, status, steps_to_tolerance, bound_steps, and final_gap and initial_gap
            or, of models, final_loss, initial_loss and steps_to_tolerance_weighted.
        carried: columns that are the same for all runs of a point, to be kept.

    Returns:
        A row per point and optimizer: lr, lr_exponent, steps_median, steps_q10, steps_q90, reached (fraction),
        bound_median (NaN without a theorem, `inf` beyond the run), margin_median (median steps over it), at_edge (of the rates
        that were tried: "low", "high" or ""); of models also loss_median, steps_weighted_median and lr_weighted.
    """
    rows = []
    for (point, optimizer), group in summary.groupby(["point", "optimizer"], sort=False):
        rates = [rate_statistics(float(str(lr)), same) for lr, same in group.groupby("lr", sort=True)]
        what = {"point": point, **{name: group[name].iloc[0] for name in carried}, "optimizer": optimizer}
        position = best_position(rates)
        same = group[group["lr"] == rates[position].lr]
        rows.append(what | best_row(rates, same["lr_exponent"].iloc[0]))
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class RateStatistics:
    """What is told of all runs of an optimizer at one point and rate: enough to choose the best rate and to describe it.

    Attributes:
        lr: the rate.
        rank: the smaller, the better.
        columns: what `best_rates` says of the best rate.
        weighted: of models, median and 90% quantile of the steps on the optimised loss.
    """

    lr: float
    rank: tuple[float, float]
    columns: Mapping[str, float]
    weighted: tuple[float, float] | None = None


def rate_statistics(lr: float, runs: pd.DataFrame) -> RateStatistics:
    """Statistics over the seeds at one rate.

    Args:
        lr: the rate.
        runs: rows of a summary, at this rate; see `best_rates`.
    """
    value = "gap" if "final_gap" in runs else "loss"
    steps = effective_steps(runs)
    end = (runs[f"final_{value}"] / runs[f"initial_{value}"]).fillna(np.inf).to_numpy()
    bound = runs["bound_steps"].to_numpy(dtype=np.float64)
    median, late, last = float(quantile(steps, 0.5)), float(quantile(steps, 0.9)), float(quantile(end, 0.5))
    bounded = float(quantile(bound, 0.5)) if not bool(np.any(np.isnan(bound))) else np.nan
    columns = {
        "steps_median": median,
        "steps_q10": float(quantile(steps, 0.1)),
        "steps_q90": late,
        "reached": float(np.mean(np.isfinite(steps))),
        "diverged": float(np.mean(runs["status"] == "diverged")),
        f"final_{value}_median": last,
        "bound_median": bounded,
        "margin_median": _ratio(median, bounded) if not np.isnan(bounded) else np.nan,
    }
    weighted = None
    if "steps_to_tolerance_weighted" in runs:
        columns["loss_median"] = float(quantile(runs["final_loss"].to_numpy(), 0.5))
        other = effective_steps(runs, "steps_to_tolerance_weighted")
        weighted = (float(quantile(other, 0.5)), float(quantile(other, 0.9)))
    return RateStatistics(lr, (median, late if np.isfinite(median) else last), columns, weighted)


def best_position(rates: Sequence[RateStatistics]) -> int:
    """Which of the rates of an optimizer at a point, in ascending order, is the best."""
    return min(range(len(rates)), key=lambda i: (*rates[i].rank, rates[i].lr))


def best_row(rates: Sequence[RateStatistics], exponent: str) -> dict[str, Any]:
    """The best of the rates of an optimizer at a point, as a row of `best_rates`.

    Args:
        rates: in ascending order.
        exponent: of the best one.
    """
    position = best_position(rates)
    best = rates[position]
    columns = dict(best.columns)
    loss = {"loss_median": columns.pop("loss_median")} if "loss_median" in columns else {}
    edge = "low" if position == 0 else "high" if position == len(rates) - 1 else ""
    row = {"lr": best.lr, "lr_exponent": exponent} | columns | {"rates_tried": len(rates), "at_edge": edge}
    return row | _on_losses(rates, loss)


def _on_losses(rates: Sequence[RateStatistics], loss: Mapping[str, float]) -> dict[str, Any]:
    """Of models: the last unweighted loss at the best rate, and the steps on the optimised loss, at the rate best for that."""
    ranks = {each.lr: each.weighted for each in rates if each.weighted is not None}
    if not ranks:
        return {}
    lr = min(ranks, key=lambda rate: (*ranks[rate], rate))
    edge = {min(ranks): "low", max(ranks): "high"}.get(lr, "") if np.isfinite(ranks[lr][0]) else ""
    return {
        "at_edge_weighted": edge,
        **loss,
        "steps_weighted_median": ranks[lr][0],
        "lr_weighted": lr if np.isfinite(ranks[lr][0]) else np.nan,
    }


def best_counted_rates(settings: pd.DataFrame, carried: Sequence[str]) -> pd.DataFrame:
    """As `best_rates`, as far as a histogram can tell.

    Steps are the upper ends of their bins. Gaps at the end are not known: where no rate reaches the tolerance in half of the
    runs, the best is the one that reaches it most often, then the one that diverges least, then the one nearest to the natural
    rate; where none reaches it at all, no rate is called an edge.

    Args:
        settings: a row per point, optimizer and rate, with converged, running and diverged (runs), steps_median, steps_q10,
            steps_q90, bound_median, lr and lr_exponent.
        carried: columns that are the same for all rows of a point, to be kept.
    """
    rows = []
    for (point, optimizer), group in settings.groupby(["point", "optimizer"], sort=False):
        ordered = group.sort_values("lr").to_dict("records")
        position = min(range(len(ordered)), key=lambda i: _rank_of_rate(ordered[i]))
        row = ordered[position]
        edge = "low" if position == 0 else "high" if position == len(ordered) - 1 else ""
        runs = row["converged"] + row["running"] + row["diverged"]
        rows.append(
            {"point": point, **{name: row[name] for name in carried}, "optimizer": optimizer}
            | {name: row[name] for name in ("lr", "lr_exponent", "steps_median", "steps_q10", "steps_q90")}
            | {
                "reached": row["converged"] / runs,
                "diverged": row["diverged"] / runs,
                "final_gap_median": np.nan,
                "bound_median": row["bound_median"],
                "margin_median": _ratio(row["steps_median"], row["bound_median"]),
                "rates_tried": len(ordered),
                "at_edge": edge if any(each["converged"] for each in ordered) else "",
            }
        )
    return pd.DataFrame(rows)


def _rank_of_rate(row: Mapping[Any, Any]) -> tuple[float, ...]:
    """The smaller, the better."""
    if np.isfinite(row["steps_median"]):
        return row["steps_median"], row["steps_q90"], row["lr"]
    off = abs(float(Fraction(row["lr_exponent"]))) if row["lr_exponent"] else 0.0
    return np.inf, -row["converged"], row["diverged"], off, row["lr"]


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
    generator, resampled = np.random.default_rng(seed), []
    at_once = min(BOOTSTRAP, max(1, _DRAWN // a.size))  # the draws are the same however they are split
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = float(quantile(a, 0.5) / quantile(b, 0.5))
        for begin in range(0, BOOTSTRAP, at_once):
            rows = generator.integers(0, a.size, size=(min(at_once, BOOTSTRAP - begin), a.size))
            resampled.append(quantile(a[rows], 0.5) / quantile(b[rows], 0.5))
    return ratio, *_interval_of(np.concatenate(resampled))


def bootstrap_counted_ratio(
    numerator: ArrayLike, denominator: ArrayLike, edges: ArrayLike, totals: tuple[int, int], seed: int = 0
) -> tuple[float, float, float]:
    """As `bootstrap_ratio` from two histograms, each resampled by itself: a histogram does not know which runs are pairs.

    Args:
        numerator: runs in each bin, (bins,).
        denominator: the same bins.
        edges: upper ends of the bins.
        totals: runs in all of either, those in no bin among them.
        seed: of the resampling.
    """
    generator = np.random.default_rng(seed)
    whole, medians = [], []
    with np.errstate(invalid="ignore", divide="ignore"):
        for counts, total in zip((np.asarray(numerator), np.asarray(denominator)), totals, strict=True):
            shares = np.append(counts, total - counts.sum()) / total
            drawn = generator.multinomial(total, shares, size=BOOTSTRAP)[:, :-1]
            whole.append(float(counted_quantile(edges, counts, total, 0.5)))
            medians.append(counted_quantile(edges, drawn, total, 0.5))
        ratio = np.float64(whole[0]) / np.float64(whole[1])
        return float(ratio), *_interval_of(medians[0] / medians[1])


def _interval_of(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95%."""
    # inf/inf: neither is known; it counts as no change in the interval's ends only if every resample is so.
    known = resampled[~np.isnan(resampled)]
    if known.size == 0:
        return np.nan, np.nan
    return float(quantile(known, 0.025)), float(quantile(known, 0.975))
