"""Comparison of optimizers at their best rates: ratios of medians with intervals, leaders, and momentum alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.status import STATUSES
from quadsim.simulator.support.statistics import (
    middle_95,
    resampled_counted_medians,
    resampled_medians,
)
from quadsim.simulator.sweeps.results.crossover import Crossover, crossover

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ENOUGH_SEEDS",
    "TIE",
    "Comparison",
    "Draw",
    "Group",
    "Key",
    "Lead",
    "Ratio",
    "draws_of_bins",
    "draws_of_rows",
]

TIE = 1.1
"""Optimizers whose medians differ by less than this factor tie."""

ENOUGH_SEEDS = 6
"""Below, no interval is given: a 95% bootstrap interval of a ratio of medians covers 0% at one seed, 89% at four, 92% at six,
97% at sixteen (800 samples of lognormal steps)."""

Key = tuple[int, str]
"""A point, and the text of an optimizer."""

Draw = Callable[[Key], NDArray[np.float64]]
"""Resampled medians of the steps of a point and optimizer."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of two medians with its 95% bootstrap interval; ends that are NaN are not known."""

    value: float
    low: float
    high: float

    @property
    def is_certain(self) -> bool:
        """Whether the interval lies on one side of 1."""
        return self.low > 1.0 or self.high < 1.0


@dataclass(frozen=True)
class Lead:
    """Who needs the fewest steps at a point.

    Attributes:
        point: the point.
        ahead: the optimizer with the smallest median, and those that tie with it; none where no optimizer reaches the tolerance.
        next: the optimizer with the smallest median of the others, `""` where there is none.
        unsure: those of the others, by their medians, whose ratio to the first has an interval that contains 1; none where no
            intervals are known.
    """

    point: int
    ahead: tuple[str, ...]
    next: str
    unsure: tuple[str, ...] = ()

    @property
    def is_certain(self) -> bool:
        """Whether no interval of a ratio to another optimizer contains 1."""
        return not self.unsure


class Comparison:
    """The optimizers of some points, each at its best setting and rate.

    Args:
        best: rows of `best_of`.
        axis: the column along which points are compared.
        seeds: problems behind every median.
        steps: length of the runs.
        draw: resampled medians of a (point, optimizer), see `resampled_medians`.
        column: the medians in `best`.
        value: what the optimizers decrease, X of the column `final_X_median`.
    """

    def __init__(
        self,
        best: Sequence[Mapping[str, Any]],
        axis: str,
        seeds: int,
        steps: int,
        draw: Draw,
        column: str = "steps_median",
        value: str = "gap",
    ) -> None:
        self.seeds, self.steps = seeds, steps
        self.values: dict[int, Any] = {row["point"]: row[axis] for row in best}
        self.medians: dict[Key, float] = {(row["point"], row["optimizer"]): row[column] for row in best}
        self.reached: dict[Key, float] = {(row["point"], row["optimizer"]): row["reached"] for row in best}
        end = f"final_{value}_median"
        self.ends: dict[Key, float] = {(row["point"], row["optimizer"]): row.get(end, np.nan) for row in best}
        self._draw, self._drawn = draw, dict[Key, NDArray[np.float64]]()

    @property
    def points(self) -> list[int]:
        """The points in order."""
        return list(self.values)

    @property
    def has_intervals(self) -> bool:
        """Whether there are enough seeds for intervals."""
        return self.seeds >= ENOUGH_SEEDS

    def drawn(self, key: Key) -> NDArray[np.float64]:
        """Resampled medians, computed once."""
        if key not in self._drawn:
            self._drawn[key] = self._draw(key)
        return self._drawn[key]

    def ratio(self, above: Key, below: Key) -> Ratio:
        """The median of one over that of the other; `inf` over `inf` is NaN."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(np.float64(self.medians[above]) / np.float64(self.medians[below]))
            if not self.has_intervals:
                return Ratio(value, np.nan, np.nan)
            return Ratio(value, *middle_95(self.drawn(above) / self.drawn(below)))

    def lead(self, point: int, optimizers: Sequence[str]) -> Lead:
        """Who needs the fewest steps of these."""
        medians = {name: self.medians[point, name] for name in optimizers}
        order = sorted(optimizers, key=lambda name: medians[name])
        least = medians[order[0]]
        if not np.isfinite(least):
            return Lead(point, (), "")
        ahead = tuple(name for name in optimizers if medians[name] <= TIE * least)
        others = [name for name in order if name not in ahead]
        if not others:
            return Lead(point, ahead, "")
        # Not only the next one: of an optimizer that half of the problems stop, the median says little, and its interval all.
        known = others if self.has_intervals else []
        unsure = tuple(name for name in known if not self.ratio((point, name), (point, order[0])).low > 1.0)
        return Lead(point, ahead, others[0], unsure)

    def crossover(self, first: str, second: str, factor: float = 1.0) -> Crossover:
        """Where the second comes to stay ahead of the first, see `crossover`; the values of the points ascend."""
        keys = [[(point, name) for point in self.points] for name in (first, second)]
        medians = [[self.medians[key] for key in each] for each in keys]
        drawn = None
        if self.has_intervals:
            a, b = (np.array([self.drawn(key) for key in each]) for each in keys)
            drawn = (a, b)
        dial = [self.values[point] for point in self.points]
        return crossover(dial, medians[0], medians[1], drawn, self.steps, factor)


@dataclass(frozen=True, eq=False)
class Group:
    """The points that differ along the axis of comparison alone.

    Attributes:
        label: the values of the other dials, `alignment -1`; empty where they have one value each.
        comparison: the optimizers at these points.
    """

    label: str
    comparison: Comparison


def draws_of_rows(steps: Mapping[Key, NDArray[np.float64]], sample: int = 0) -> Draw:
    """Resampled medians of the runs at the best rates; the same resample of problems for all optimizers and points.

    Args:
        steps: for every point and optimizer the effective steps of its runs in the order of the seeds, (S,).
        sample: number of a sample; those of other problems need another one, else they are resampled in pairs.
    """
    return lambda key: resampled_medians(steps[key], sample)


def draws_of_bins(bins: "pd.DataFrame", keys: Sequence[Key], column: str = "runs", sample: int = 0) -> Draw:
    """As `draws_of_rows`, from histograms at the best rates, which do not tell which runs are of one problem.

    Args:
        bins: a row per point, optimizer and bin at the best rates, with up_to, converged, running and diverged.
        keys: points and optimizers that are compared, in order.
        column: the runs in every bin.
        sample: see `draws_of_rows`.
    """
    table = {(int(str(p)), str(o)): own for (p, o), own in bins.groupby(["point", "optimizer"], sort=False)}
    numbers = {key: number for number, key in enumerate(keys)}

    def draw(key: Key) -> NDArray[np.float64]:
        own = table[key]
        total = int(own[list(STATUSES)].iloc[0].sum())
        return resampled_counted_medians(own[column], own["up_to"], total, numbers[key] + sample * len(keys))

    return draw
