"""Learning rates that are chosen on half of the seeds and judged on the others, as `--select-on half` does in a sweep."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.support.statistics import chosen_half, judged_half, quantile

__all__ = ["BestOfHalf", "at_best_of_half", "best_column", "judged_half"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BestOfHalf:
    """The best rate of the even-numbered seeds, and what the odd-numbered seeds give at it.

    Attributes:
        column: the place of the rate in the grid.
        values: at that rate, for the judged seeds alone, (seeds // 2,).
        edge: whether the rate is the first or the last of the grid.
    """

    column: int
    values: Array
    edge: bool


def at_best_of_half(values: ArrayLike, then: ArrayLike | None = None) -> BestOfHalf:
    """Choose the rate with the smallest median over the even-numbered seeds, and return what the odd-numbered ones give.

    Args:
        values: what is to be small, as steps or a loss, (seeds, rates); NaN (a run without a value) counts as `inf`.
        then: decides among rates with equal medians, as the final loss where no run reached the target, (seeds, rates).

    Raises:
        ValueError: fewer than two seeds.
    """
    table = _known(values)
    if table.shape[0] < 2:
        raise ValueError(f"seeds must be at least 2 to choose on half of them, got {table.shape[0]}; give more.")
    even, odd = chosen_half(table.shape[0]), judged_half(table.shape[0])
    column = best_column(table[even], _known(table if then is None else then)[even])
    return BestOfHalf(column, table[odd, column], column in (0, table.shape[1] - 1))


def best_column(values: ArrayLike, then: ArrayLike | None = None) -> int:
    """Return the place of the rate with the smallest median over all seeds that are given; see `at_best_of_half`."""
    table = _known(values)
    ties = quantile(_known(table if then is None else then), 0.5, axis=0)
    return int(np.lexsort((ties, quantile(table, 0.5, axis=0)))[0])


def _known(values: ArrayLike) -> Array:
    table = np.asarray(values, dtype=float)
    return np.where(np.isnan(table), np.inf, table)
