"""The best setting and learning rate of every optimizer at every point of a grid, and its statistics over the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.status import DIVERGED, STATUSES
from quadsim.simulator.support.statistics import effective_steps, quantile, quantiles
from quadsim.simulator.sweeps.config.families import family_of
from quadsim.simulator.sweeps.config.grid import UNTIL, SweepGrid

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "KEYS",
    "BestSteps",
    "RateStatistics",
    "Reading",
    "best_at_edge",
    "best_counted_of",
    "best_counted_rates",
    "best_of",
    "best_position",
    "best_rates",
    "best_row",
    "edge_of",
    "rate_statistics",
    "steps_by_seed",
]

KEYS = ["point", "optimizer", "setting", "lr"]
"""Columns that say what was run on every seed."""


BestSteps = Mapping[tuple[int, str, str, float, str], NDArray[np.float64]]
"""Point, optimizer, setting, rate and column to the effective steps of the reported seeds, see `steps_by_seed`."""


@dataclass(frozen=True)
class Reading:
    """How runs are judged: what counts as solved, and on which seeds is chosen and reported.

    Attributes:
        value: X of the columns initial_X and final_X: what the optimizers decrease (see `Family.value`).
        until: see `SweepGrid.until`.
        halves: whether the best is chosen on the even-numbered seeds and statistics are those of the odd-numbered ones.
    """

    value: str = "gap"
    until: str = "first"
    halves: bool = False

    @classmethod
    def of(cls, config: SweepGrid) -> "Reading":
        """The one of a configuration."""
        return cls(family_of(config).value, config.until, config.select_on == "half")

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that `rate_statistics` reads, where they are there."""
        steps = (*UNTIL.values(), "steps_to_tolerance_weighted", "steps_to_stay_weighted", "bound_steps")
        return ("seed", "status", *steps, f"initial_{self.value}", f"final_{self.value}")

    @property
    def weighted(self) -> str:
        """Of models, the column of the steps on the optimised loss."""
        return f"{UNTIL[self.until]}_weighted"

    def described(self, row: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
        """Columns of steps of which a row of `best_of` has the median, each with the setting and the rate it is of."""
        found = {UNTIL[self.until]: (row["setting"], row["lr"])}
        if np.isfinite(row.get("lr_weighted", np.nan)):
            found[self.weighted] = (row["setting_weighted"], row["lr_weighted"])
        return found


def best_rates(summary: "pd.DataFrame", carried: Sequence[str], reading: Reading | None = None) -> "pd.DataFrame":
    """The best setting and learning rate of every optimizer at every point of the grid, and its statistics over the seeds.

    Best: the smallest median steps until the criterion over all seeds (see `Reading`); where no rate meets it in half of them,
    the smallest median gap at the end (relative to the start). Ties go to the smaller 90% quantile, then to the setting
    listed first, then to the smaller rate. This is hindsight, the same for all optimizers, unless `Reading.halves`.

    Args:
        summary: a row per run, with point, optimizer, setting (absent: the optimizer), lr, status, steps_to_tolerance,
            bound_steps, initial_X and final_X, and, of models, steps_to_tolerance_weighted.
        carried: columns that are the same for all runs of a point, to be kept.
        reading: how runs are judged.

    Returns:
        A row per point and optimizer: setting, lr, lr_exponent, steps_median, steps_q10, steps_q90 (until the criterion),
        steps_first_median, steps_stay_median (NaN where not recorded), reached (fraction), bound_median (NaN without a
        theorem, `inf` beyond the run), margin_median (median steps of the first crossing over it), rates_tried (of each
        setting), settings_tried, at_edge (of the rates that were tried: "low", "high" or ""); of models also loss_median,
        steps_weighted_median, lr_weighted and setting_weighted.
    """
    import pandas as pd

    rows = []
    frame = summary if "setting" in summary else summary.assign(setting=summary["optimizer"])
    for (point, optimizer), group in frame.groupby(["point", "optimizer"], sort=False):
        tried = []
        for setting, same in group.groupby("setting", sort=False):
            tried += [
                rate_statistics(str(setting), float(str(lr)), runs["lr_exponent"].iloc[0], runs, reading or Reading())
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
        weighted_rank: of models, the same for the steps on the optimised loss: their median and 90% quantile.
        weighted_median: of models, their median over the seeds that are reported.
    """

    setting: str
    lr: float
    exponent: str
    rank: tuple[float, float]
    columns: Mapping[str, float]
    weighted_rank: tuple[float, float] | None = None
    weighted_median: float = np.nan


def rate_statistics(
    setting: str, lr: float, exponent: str, runs: "pd.DataFrame | Mapping[str, NDArray[Any]]", reading: Reading
) -> RateStatistics:
    """Statistics over the seeds at one rate.

    Args:
        setting: label of the setting.
        lr: the rate.
        exponent: of the rate.
        runs: rows of a summary, of this setting and rate; see `best_rates`. Or their columns, name to values (S,).
        reading: as in `best_rates`.
    """
    # The columns are taken out of a table once: this is done for every rate of a sweep, and pandas would take most of the time.
    chosen = reported = known = {name: np.asarray(runs[name]) for name in reading.columns if name in runs}
    rank, columns = _described(known, reading)
    if reading.halves:
        odd = known["seed"] % 2 == 1
        chosen, reported = ({name: values[own] for name, values in known.items()} for own in (~odd, odd))
        (rank, _), (_, columns) = _described(chosen, reading), _described(reported, reading)
    if reading.weighted not in known:
        return RateStatistics(setting, lr, exponent, rank, columns)
    first, second = (effective_steps(part, reading.weighted) for part in (chosen, reported))
    weighted_rank = (float(quantile(first, 0.5)), float(quantile(first, 0.9)))
    return RateStatistics(setting, lr, exponent, rank, columns, weighted_rank, float(quantile(second, 0.5)))


def _described(runs: Mapping[str, NDArray[Any]], reading: Reading) -> tuple[tuple[float, float], dict[str, float]]:
    """The rank of a rate on these runs, and what `best_rates` says of them."""
    value = reading.value
    diverged = runs["status"] == DIVERGED
    names = {UNTIL[reading.until], UNTIL["first"], UNTIL["stays"]} & set(runs)
    known = {name: runs[name].astype(np.float64) for name in names}
    steps = np.where(diverged, np.inf, known[UNTIL[reading.until]])
    first_gap, last_gap = (runs[f"{name}_{value}"].astype(np.float64) for name in ("initial", "final"))
    with np.errstate(all="ignore"):
        end = last_gap / first_gap
    end[np.isnan(end)] = np.inf
    bound = runs["bound_steps"].astype(np.float64)
    early, median, late = map(float, quantiles(steps, (0.1, 0.5, 0.9)))
    last = float(quantile(end, 0.5))
    bounded = float(quantile(bound, 0.5)) if not bool(np.any(np.isnan(bound))) else np.nan
    first, stay = (_median(known.get(UNTIL[name]), diverged) for name in ("first", "stays"))
    columns = {
        "steps_median": median,
        "steps_q10": early,
        "steps_q90": late,
        "steps_first_median": first,
        "steps_stay_median": stay,
        "reached": float(np.mean(np.isfinite(steps))),
        "diverged": float(np.mean(diverged)),
        f"final_{value}_median": last,
        "bound_median": bounded,
        "margin_median": _ratio(first, bounded) if not np.isnan(bounded) else np.nan,
    }
    if reading.weighted in runs:
        columns["loss_median"] = float(quantile(runs["final_loss"], 0.5))
    return (median, late if np.isfinite(median) else last), columns


def _median(steps: NDArray[np.float64] | None, diverged: NDArray[np.bool_]) -> float:
    """The median of steps, with `inf` for runs that diverged; NaN where steps were not recorded."""
    if steps is None or bool(np.isnan(steps).any()):
        return float("nan")
    return float(quantile(np.where(diverged, np.inf, steps), 0.5))


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
    ranked = [(each.weighted_rank, i) for i, each in enumerate(tried) if each.weighted_rank is not None]
    if not ranked:
        return {}
    (median, _), position = min(ranked)
    best, known = tried[position], np.isfinite(median)
    rates = [each.lr for each in tried if each.setting == best.setting]
    return {
        "at_edge_weighted": edge_of(rates, best.lr) if known else "",
        **loss,
        "steps_weighted_median": best.weighted_median,
        "lr_weighted": best.lr if known else np.nan,
        "setting_weighted": best.setting,
    }


def best_counted_rates(settings: "pd.DataFrame", carried: Sequence[str]) -> "pd.DataFrame":
    """As `best_rates`, as far as a histogram can tell.

    Steps are the upper ends of their bins. Gaps at the end are not known: where no rate reaches the tolerance in half of the
    runs, the best is the one that reaches it most often, then the one that diverges least, then the one nearest to the natural
    rate; where none reaches it at all, no rate is called an edge.

    Args:
        settings: a row per point, optimizer, setting (absent: the optimizer) and rate, with converged, not_reached, diverged
            and solved (runs), steps_median, steps_q10, steps_q90, bound_median, lr and lr_exponent.
        carried: columns that are the same for all rows of a point, to be kept.
    """
    import pandas as pd

    rows = []
    frame = settings if "setting" in settings else settings.assign(setting=settings["optimizer"])
    for (point, optimizer), group in frame.groupby(["point", "optimizer"], sort=False):
        every = group.to_dict("records")
        row = min(every, key=_rank_of_rate)
        own = [each["lr"] for each in every if each["setting"] == row["setting"]]
        runs = sum(row[name] for name in STATUSES)
        rows.append(
            {"point": point, **{name: row[name] for name in carried}, "optimizer": optimizer}
            | {name: row[name] for name in ("setting", "lr", "lr_exponent", "steps_median", "steps_q10", "steps_q90")}
            | {
                "steps_first_median": row["steps_first_median"],
                "steps_stay_median": row["steps_stay_median"],
                "reached": row["solved"] / runs,
                "diverged": row["diverged"] / runs,
                "final_gap_median": np.nan,
                "bound_median": row["bound_median"],
                "margin_median": _ratio(row["steps_first_median"], row["bound_median"]),
                "rates_tried": len(own),
                "settings_tried": len({each["setting"] for each in every}),
                "at_edge": edge_of(own, row["lr"]) if any(each["solved"] for each in every) else "",
            }
        )
    return pd.DataFrame(rows)


def best_counted_of(config: SweepGrid, settings: "pd.DataFrame") -> "pd.DataFrame":
    """`best_counted_rates` of a grid, with the family of every optimizer."""
    best = best_counted_rates(settings, config.point_columns)
    families = {optimizer.text: optimizer.family for optimizer in config.swept}
    best.insert(list(best.columns).index("optimizer") + 1, "family", best["optimizer"].map(families))
    return best


def _rank_of_rate(row: Mapping[Any, Any]) -> tuple[float, ...]:
    """The smaller, the better."""
    if np.isfinite(row["steps_median"]):
        return row["steps_median"], row["steps_q90"], row["lr"]
    off = abs(float(Fraction(row["lr_exponent"]))) if row["lr_exponent"] else 0.0
    return np.inf, -row["solved"], row["diverged"], off, row["lr"]


def _ratio(a: float, b: float) -> float:
    """a/b, NaN where neither is known."""
    return a / b if np.isfinite(a) or np.isfinite(b) else np.nan


def best_of(config: SweepGrid, found: Mapping[tuple[int, int], Sequence[RateStatistics]]) -> list[dict[str, Any]]:
    """A row per point and optimizer, as `best_rates` makes it, with the family of the optimizer.

    Args:
        config: the grid.
        found: for (point, optimizer) the statistics of its settings and rates, see `best_row`.

    Returns:
        Rows as those of a table that pandas makes of them: a column of numbers has one type, and NaN where there is nothing.
    """
    rows: list[dict[str, Any]] = []
    for (p, o), tried in sorted(found.items()):
        columns = config.points[p].columns
        own = {name: columns[name] for name in config.point_columns}
        optimizer = config.swept[o]
        rows.append({"point": p, **own, "optimizer": optimizer.text, "family": optimizer.family} | best_row(tried))
    names = list(dict.fromkeys(name for row in rows for name in row))
    each = {name: _of_one_type([row.get(name) for row in rows]) for name in names}
    return [{name: each[name][i] for name in names} for i in range(len(rows))]


def _of_one_type(values: list[Any]) -> list[Any]:
    """A column of a table."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    types = {type(value) for value in plain}
    if types <= {int, float, type(None)} and types & {int, float} and types != {int}:
        return [np.nan if value is None else float(value) for value in plain]
    if types == {str, type(None)}:
        return [np.nan if value is None else value for value in plain]
    return plain


def steps_by_seed(runs: Mapping[str, NDArray[Any]], column: str, reported: Sequence[int]) -> NDArray[np.float64]:
    """Effective steps of the reported seeds, in their order.

    Args:
        runs: columns of the runs at one rate: seed, status and the steps, (S,) each.
        column: the steps.
        reported: seeds of which statistics are given.
    """
    wanted = np.isin(runs["seed"], np.asarray(reported))
    order = np.argsort(runs["seed"][wanted], kind="stable")
    return np.asarray(effective_steps(runs, column)[wanted][order])
