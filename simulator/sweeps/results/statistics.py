"""The best setting and learning rate of every optimizer at every point of a grid, and its statistics over the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from quadsim.simulator.support.statistics import effective_steps, quantile
from quadsim.simulator.sweeps.config.grid import SweepGrid

__all__ = [
    "KEYS",
    "RateStatistics",
    "best_at_edge",
    "best_counted_of",
    "best_counted_rates",
    "best_of",
    "best_position",
    "best_rates",
    "best_row",
    "edge_of",
    "rate_statistics",
    "statistics_columns",
]

KEYS = ["point", "optimizer", "setting", "lr"]
"""Columns that say what was run on every seed."""


def best_rates(summary: pd.DataFrame, carried: Sequence[str], value: str = "gap") -> pd.DataFrame:
    """The best setting and learning rate of every optimizer at every point of the grid, and its statistics over the seeds.

    Best: the smallest median steps to tolerance over all seeds; where no rate reaches the tolerance in half of them, the
    smallest median gap at the end (relative to the start). Ties go to the smaller 90% quantile, then to the setting listed
    first, then to the smaller rate. This is hindsight, the same for all optimizers.

    Args:
        summary: a row per run, with point, optimizer, setting (absent: the optimizer), lr, status, steps_to_tolerance,
            bound_steps, initial_X and final_X, and, of models, steps_to_tolerance_weighted.
        carried: columns that are the same for all runs of a point, to be kept.
        value: X, what the optimizers decrease (see `Family.value`).

    Returns:
        A row per point and optimizer: setting, lr, lr_exponent, steps_median, steps_q10, steps_q90, reached (fraction),
        bound_median (NaN without a theorem, `inf` beyond the run), margin_median (median steps over it), rates_tried (of each
        setting), settings_tried, at_edge (of the rates that were tried: "low", "high" or ""); of models also loss_median,
        steps_weighted_median and lr_weighted.
    """
    rows = []
    frame = summary if "setting" in summary else summary.assign(setting=summary["optimizer"])
    for (point, optimizer), group in frame.groupby(["point", "optimizer"], sort=False):
        tried = []
        for setting, same in group.groupby("setting", sort=False):
            tried += [
                rate_statistics(str(setting), float(str(lr)), runs["lr_exponent"].iloc[0], runs, value)
                for lr, runs in same.groupby("lr", sort=True)
            ]
        what = {"point": point, **{name: group[name].iloc[0] for name in carried}, "optimizer": optimizer}
        rows.append(what | best_row(tried))
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class RateStatistics:
    """Statistics of all runs of a setting at one point and rate: enough to choose the best rate and to describe it.

    Attributes:
        setting: label of the setting.
        lr: the rate.
        exponent: of the rate, see `exponents_of`.
        rank: the smaller, the better.
        columns: what `best_rates` says of the best rate.
        weighted: of models, median and 90% quantile of the steps on the optimised loss.
    """

    setting: str
    lr: float
    exponent: str
    rank: tuple[float, float]
    columns: Mapping[str, float]
    weighted: tuple[float, float] | None = None


def rate_statistics(setting: str, lr: float, exponent: str, runs: pd.DataFrame, value: str) -> RateStatistics:
    """Statistics over the seeds at one rate.

    Args:
        setting: label of the setting.
        lr: the rate.
        exponent: of the rate.
        runs: rows of a summary, of this setting and rate; see `best_rates`.
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
    rank = (median, late if np.isfinite(median) else last)
    return RateStatistics(setting, lr, exponent, rank, columns, weighted)


def best_position(tried: Sequence[RateStatistics]) -> int:
    """The position of the best among settings in the order listed, the rates of each in ascending order."""
    return min(range(len(tried)), key=lambda i: tried[i].rank)  # of equals the first


def edge_of(rates: Sequence[float], lr: float) -> str:
    """`low` or `high` where a rate is the smallest or the largest of those tried, else the empty text."""
    return "low" if lr == min(rates) else "high" if lr == max(rates) else ""


def best_at_edge(tried: Sequence[RateStatistics]) -> set[str]:
    """The edges at which the best rate of any setting lies, `low` or `high`: a better one may exist beyond them."""
    edges = set()
    for setting in {each.setting for each in tried}:
        own = [each for each in tried if each.setting == setting]
        edges.add(edge_of([each.lr for each in own], own[best_position(own)].lr))
    return edges - {""}


def best_row(tried: Sequence[RateStatistics]) -> dict[str, Any]:
    """The best of the settings and rates of an optimizer at a point, as a row of `best_rates`.

    Args:
        tried: settings in the order listed, the rates of each in ascending order.
    """
    best = tried[best_position(tried)]
    columns = dict(best.columns)
    loss = {"loss_median": columns.pop("loss_median")} if "loss_median" in columns else {}
    rates = [each.lr for each in tried if each.setting == best.setting]
    row = {"setting": best.setting, "lr": best.lr, "lr_exponent": best.exponent} | columns
    row |= {"rates_tried": len(rates), "settings_tried": len({each.setting for each in tried})}
    row["at_edge"] = edge_of(rates, best.lr)
    return row | _on_losses(tried, loss)


def _on_losses(tried: Sequence[RateStatistics], loss: Mapping[str, float]) -> dict[str, Any]:
    """Of models: the last unweighted loss at the best rate, and the steps on the optimised loss, at what is best for that."""
    ranked = [(each.weighted, i) for i, each in enumerate(tried) if each.weighted is not None]
    if not ranked:
        return {}
    (median, _), position = min(ranked)
    best, known = tried[position], np.isfinite(median)
    rates = [each.lr for each in tried if each.setting == best.setting]
    return {
        "at_edge_weighted": edge_of(rates, best.lr) if known else "",
        **loss,
        "steps_weighted_median": median,
        "lr_weighted": best.lr if known else np.nan,
        "setting_weighted": best.setting,
    }


def best_counted_rates(settings: pd.DataFrame, carried: Sequence[str]) -> pd.DataFrame:
    """As `best_rates`, as far as a histogram can tell.

    Steps are the upper ends of their bins. Gaps at the end are not known: where no rate reaches the tolerance in half of the
    runs, the best is the one that reaches it most often, then the one that diverges least, then the one nearest to the natural
    rate; where none reaches it at all, no rate is called an edge.

    Args:
        settings: a row per point, optimizer, setting (absent: the optimizer) and rate, with converged, running and diverged
            (runs), steps_median, steps_q10, steps_q90, bound_median, lr and lr_exponent.
        carried: columns that are the same for all rows of a point, to be kept.
    """
    rows = []
    frame = settings if "setting" in settings else settings.assign(setting=settings["optimizer"])
    for (point, optimizer), group in frame.groupby(["point", "optimizer"], sort=False):
        every = group.to_dict("records")
        row = min(every, key=_rank_of_rate)
        own = [each["lr"] for each in every if each["setting"] == row["setting"]]
        runs = row["converged"] + row["running"] + row["diverged"]
        rows.append(
            {"point": point, **{name: row[name] for name in carried}, "optimizer": optimizer}
            | {name: row[name] for name in ("setting", "lr", "lr_exponent", "steps_median", "steps_q10", "steps_q90")}
            | {
                "reached": row["converged"] / runs,
                "diverged": row["diverged"] / runs,
                "final_gap_median": np.nan,
                "bound_median": row["bound_median"],
                "margin_median": _ratio(row["steps_median"], row["bound_median"]),
                "rates_tried": len(own),
                "settings_tried": len({each["setting"] for each in every}),
                "at_edge": edge_of(own, row["lr"]) if any(each["converged"] for each in every) else "",
            }
        )
    return pd.DataFrame(rows)


def best_counted_of(config: SweepGrid, settings: pd.DataFrame) -> pd.DataFrame:
    """`best_counted_rates` of a grid, with the family of every optimizer."""
    best = best_counted_rates(settings, config.point_columns)
    families = {optimizer.text: optimizer.family for optimizer in config.swept}
    best.insert(best.columns.get_loc("optimizer") + 1, "family", best["optimizer"].map(families))
    return best


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


def best_of(config: SweepGrid, found: Mapping[tuple[int, int], Sequence[RateStatistics]]) -> pd.DataFrame:
    """A row per point and optimizer, as `best_rates` makes it, with the family of the optimizer.

    Args:
        config: the grid.
        found: for (point, optimizer) the statistics of its settings and rates, see `best_row`.
    """
    rows = []
    for (p, o), tried in sorted(found.items()):
        columns = config.points[p].columns
        own = {name: columns[name] for name in config.point_columns}
        optimizer = config.swept[o]
        rows.append({"point": p, **own, "optimizer": optimizer.text, "family": optimizer.family} | best_row(tried))
    return pd.DataFrame(rows)
