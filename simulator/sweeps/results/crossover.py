"""The crossover of two optimizers: the value of a dial from which on one stays ahead of the other."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.support.statistics import middle_95

__all__ = ["Crossover", "crossover"]

Outcome = Literal["found", "beyond the grid", "no crossover in the grid", "not distinguishable"]


@dataclass(frozen=True)
class Crossover:
    """The value of a dial from which on the second of two optimizers stays ahead of the first.

    Attributes:
        outcome: `found`: the estimate lies in the grid. `beyond the grid`: it does not, but the interval reaches into the
            grid. `no crossover in the grid`: one of the two is ahead everywhere, in 95% of the resamples too.
            `not distinguishable`: the interval covers the whole grid and more on both sides.
        at: the estimate; 0 where the second is ahead in the whole grid, `inf` where it is at no end of it.
        low: lower end of the 95% interval, likewise; NaN without resamples.
        high: upper end.
    """

    outcome: Outcome
    at: float
    low: float
    high: float


def crossover(
    dial: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    drawn: tuple[ArrayLike, ArrayLike] | None,
    steps: float,
    factor: float = 1.0,
) -> Crossover:
    """Estimate where the second of two optimizers comes to stay ahead of the first.

    Between neighbouring points of the grid, the logarithm of the steps is interpolated linearly in the logarithm of the dial.
    Where a median was not reached, it counts as the length of the runs, so that an estimate next to such a point is a bound.

    Args:
        dial: ascending values, positive, (n,).
        first: median steps of the first optimizer at every value, (n,), may hold `inf`.
        second: those of the second.
        drawn: resampled medians of both, (n, R) each, resampled in pairs where problems are shared; None: no interval.
        steps: length of the runs.
        factor: by how much the second has to be ahead: at `factor` times fewer steps it counts as ahead.
    """
    x = np.log(np.asarray(dial, dtype=np.float64))
    at = float(np.exp(_from_where(x, _lead(first, second, steps, factor)[:, None])[0]))
    if drawn is None:
        inside = bool(0.0 < at < np.inf)
        return Crossover("found" if inside else "no crossover in the grid", at, np.nan, np.nan)
    with np.errstate(invalid="ignore"):
        ends = middle_95(_from_where(x, _lead(*drawn, steps, factor)))
    # A quantile that falls between -inf and inf is NaN: that end of the interval is not in the grid.
    low, high = (float(np.exp(end)) for end in np.where(np.isnan(ends), (-np.inf, np.inf), ends))
    outcome: Outcome
    if low == 0.0 and high == np.inf:
        outcome = "not distinguishable"
    elif 0.0 < at < np.inf:
        outcome = "found"
    elif low == high:
        outcome = "no crossover in the grid"
    else:
        outcome = "beyond the grid"
    return Crossover(outcome, at, low, high)


def _lead(first: ArrayLike, second: ArrayLike, steps: float, factor: float) -> NDArray[np.float64]:
    """The logarithm of the ratio of steps, less that of the factor: positive where the second is ahead."""
    a, b = (np.clip(np.asarray(one, dtype=np.float64), 1.0, steps) for one in (first, second))
    return np.asarray(np.log(a) - np.log(b) - np.log(factor))


def _from_where(x: NDArray[np.float64], lead: NDArray[np.float64]) -> NDArray[np.float64]:
    """For every column of `lead`, (n, R), the x from which on it is positive: -inf if everywhere, `inf` if not at the end."""
    ahead = lead > 0.0
    # The first position of the run of positive entries that ends with the last one; n where the last is not positive.
    begin = x.size - np.cumprod(ahead[::-1], axis=0).sum(axis=0)
    out = np.full(lead.shape[1], np.inf)
    out[begin == 0] = -np.inf
    columns = np.flatnonzero((begin > 0) & (begin < x.size))
    after = begin[columns]
    below, above = lead[after - 1, columns], lead[after, columns]
    share = -below / (above - below)
    out[columns] = x[after - 1] + share * (x[after] - x[after - 1])
    return out
