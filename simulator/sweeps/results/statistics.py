"""The best learning rate of every optimizer at every point of a grid, and its statistics over the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from quadsim.simulator.runs.status import DIVERGED, STATUSES
from quadsim.simulator.support.statistics import effective_steps, quantile
from quadsim.simulator.sweeps.config.grid import SweepGrid

__all__ = [
    "RateStatistics",
    "best_counted_rates",
    "best_of",
    "best_position",
    "best_rates",
    "best_row",
    "rate_statistics",
    "statistics_columns",
]


def best_rates(summary: pd.DataFrame, carried: Sequence[str], value: str = "gap") -> pd.DataFrame:
    """The best learning rate of every optimizer at every point of the grid, and its statistics over the seeds.

    Best: the smallest median steps to tolerance over all seeds; where no rate reaches the tolerance in half of them, the
    smallest median gap at the end (relative to the start). Ties go to the smaller 90% quantile, then to the smaller
    rate. This is hindsight, the same for all optimizers.

    Args:
        summary: a row per run, with point, optimizer, lr, status, steps_to_tolerance, bound_steps, initial_X and final_X, and,
            of models, steps_to_tolerance_weighted.
        carried: columns that are the same for all runs of a point, to be kept.
        value: X, what the optimizers decrease (see `Family.value`).

    Returns:
        A row per point and optimizer: lr, lr_exponent, steps_median, steps_q10, steps_q90, reached (fraction),
        bound_median (NaN without a theorem, `inf` beyond the run), margin_median (median steps over it), at_edge (of the rates
        that were tried: "low", "high" or ""); of models also loss_median, steps_weighted_median and lr_weighted.
    """
    rows = []
    for (point, optimizer), group in summary.groupby(["point", "optimizer"], sort=False):
        rates = [rate_statistics(float(str(lr)), same, value) for lr, same in group.groupby("lr", sort=True)]
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


def rate_statistics(lr: float, runs: pd.DataFrame, value: str) -> RateStatistics:
    """Statistics over the seeds at one rate.

    Args:
        lr: the rate.
        runs: rows of a summary, at this rate; see `best_rates`.
        value: as in `best_rates`.
    """
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
        "diverged": float(np.mean(runs["status"] == DIVERGED)),
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
        settings: a row per point, optimizer and rate, with converged, not_reached and diverged (runs), steps_median,
            steps_q10, steps_q90, bound_median, lr and lr_exponent.
        carried: columns that are the same for all rows of a point, to be kept.
    """
    rows = []
    for (point, optimizer), group in settings.groupby(["point", "optimizer"], sort=False):
        ordered = group.sort_values("lr").to_dict("records")
        position = min(range(len(ordered)), key=lambda i: _rank_of_rate(ordered[i]))
        row = ordered[position]
        edge = "low" if position == 0 else "high" if position == len(ordered) - 1 else ""
        runs = sum(row[name] for name in STATUSES)
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


def statistics_columns(value: str) -> tuple[str, ...]:
    """Columns that `rate_statistics` reads, where they are there.

    Args:
        value: as in `best_rates`.
    """
    steps = ("steps_to_tolerance", "steps_to_tolerance_weighted", "bound_steps")
    return ("status", *steps, f"initial_{value}", f"final_{value}")


def best_of(
    config: SweepGrid, found: dict[tuple[int, int], tuple[list[RateStatistics], dict[float, str]]]
) -> pd.DataFrame:
    """A row per point and optimizer, as `best_rates` makes it.

    Args:
        config: the grid.
        found: for (point, optimizer) the statistics of its rates in ascending order, and the exponent of each.
    """
    rows = []
    for (p, o), (rates, exponents) in sorted(found.items()):
        row = best_row(rates, "")
        row["lr_exponent"] = exponents[row["lr"]]
        columns = config.points[p].columns
        own = {name: columns[name] for name in config.point_columns}
        rows.append({"point": p, **own, "optimizer": config.specs[o].label} | row)
    return pd.DataFrame(rows)
