"""Measured: a number of an experiment with its sample over independent seeds, its 95% interval and its exact tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from quadsim.simulator.support.statistics import median_interval, quantile

__all__ = [
    "MOST_UNKNOWN",
    "Measured",
    "Scale",
    "holm",
    "measured_median",
    "measured_share",
    "one_sided",
    "paired",
    "power",
    "seeds_needed",
    "shifted",
    "shown_number",
]

Array = NDArray[np.float64]
Scale = Literal["ratio", "difference"]

MOST_UNKNOWN = 0.25
"""Largest share of the seeds that may be without a value (NaN: neither arm reached the target) in a comparison. They count as no
effect in every test, so that they speak against whatever is claimed."""


_ROUNDING = 1e-12
"""Relative and absolute difference to a boundary that is rounding: such a value lies on neither side of it."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A measured number with its uncertainty.

    Attributes:
        name: its name, to which conditions refer.
        value: the number; `inf` for a median of runs that did not reach the target.
        low: lower end of a 95% interval; equal to `value` if nothing is random.
        high: upper end of that interval.
        seeds: number of independent draws; 0 if nothing is random.
        unit: its unit, as "steps"; empty for a pure number.
        statistic: what `value` is of the sample: its median (sign test), its share of ones (binomial test), or `exact`, where
            nothing is random.
        sample: the value of every seed, in the order of the seeds; NaN where a seed has none. Conditions are judged from it.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    seeds: int = 0
    unit: str = ""
    statistic: Literal["median", "share", "exact"] = "exact"
    sample: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for end in ("low", "high"):
            if math.isnan(getattr(self, end)):
                object.__setattr__(
                    self, end, self.value if self.seeds == 0 else {"low": -math.inf, "high": math.inf}[end]
                )

    @property
    def unknown(self) -> float:
        """The share of the seeds that have no value."""
        return float(np.isnan(np.array(self.sample)).mean()) if self.sample else 0.0

    def __str__(self) -> str:
        if math.isnan(self.value) and self.seeds:
            return f"{self.name}: too few of {self.seeds} seeds have a value"
        unit = f" {self.unit}" if self.unit else ""
        ends = f" [{shown_number(self.low)}, {shown_number(self.high)}], n = {self.seeds}" if self.seeds else ""
        return f"{self.name} {shown_number(self.value)}{unit}{ends}"


def measured_median(name: str, values: ArrayLike, unit: str = "") -> Measured:
    """Return the median over independent seeds with its distribution-free 95% interval (infinite below six values).

    Args:
        name: of the number.
        values: one value per independent seed, (n,); NaN where a seed has none, as when neither of two runs reached the target.
            Up to MOST_UNKNOWN of them are left out of median and interval, and count as no effect in a test.
        unit: of the number.
    """
    sample = np.asarray(values, dtype=float).ravel()
    known = sample[~np.isnan(sample)]
    if known.size == 0 or known.size < (1 - MOST_UNKNOWN) * sample.size:
        middle, low, high = np.nan, -np.inf, np.inf
    else:
        middle, (low, high) = float(quantile(known, 0.5)), median_interval(known)
    return Measured(name, middle, low, high, sample.size, unit, "median", tuple(sample.tolist()))


def measured_share(name: str, happened: ArrayLike) -> Measured:
    """Return the share of independent trials with an event, with the exact (Clopper-Pearson) 95% interval."""
    array = np.asarray(happened, dtype=bool).ravel()
    ends = stats.binomtest(int(array.sum()), array.size).proportion_ci(0.95, method="exact")
    sample = tuple(array.astype(float).tolist())
    return Measured(name, float(array.mean()), float(ends.low), float(ends.high), array.size, "", "share", sample)


def paired(name: str, effect: Measured, control: Measured, scale: Scale) -> Measured:
    """Return the contrast of an effect with the same effect at a control, seed by seed: their quotient, or their difference.

    A seed where both are infinite, or both 0 in a quotient, has no contrast (NaN).

    Raises:
        ValueError: a share, or samples that are not of the same seeds.
    """
    if {effect.statistic, control.statistic} != {"median"} or effect.seeds != control.seeds:
        raise ValueError(
            f"{effect.name!r} and its control {control.name!r} must be medians over the same seeds, got {effect.statistic} of "
            f"{effect.seeds} and {control.statistic} of {control.seeds}; measure both with measured_median, in the order of the "
            "seeds."
        )
    ours, theirs = np.array(effect.sample), np.array(control.sample)
    with np.errstate(all="ignore"):
        return measured_median(name, ours / theirs if scale == "ratio" else ours - theirs)


def one_sided(measured: Measured, at: float) -> tuple[float, float]:
    """Return the p-values against "not above `at`" and against "not below `at`": exact sign test, or exact binomial test.

    A seed at `at` itself, or without a value, counts against both; at it is what differs from it by rounding alone, as a rank
    correlation of 1/2 or a quotient of two rates of a grid.
    """
    sample = np.array(measured.sample)
    n = sample.size
    if measured.statistic == "share":
        ones, at = int(sample.sum()), min(max(at, 0.0), 1.0)
        return _at_least(ones, n, at), float(special.bdtr(ones, n, at))
    tied = np.isclose(sample, at, rtol=_ROUNDING, atol=_ROUNDING)
    above, below = int(((sample > at) & ~tied).sum()), int(((sample < at) & ~tied).sum())
    return _at_least(above, n, 0.5), _at_least(below, n, 0.5)


def power(measured: Measured, *, boundary: float, target: float, scale: Scale, level: float) -> float:
    """Return the probability that the test against `boundary` at a two-sided `level` rejects towards `target`, if that is true.

    For a share it is exact. For a median it is exact given the probability q that a seed lies beyond the boundary; q is that of
    the sample moved (on its scale) so that its median is the target: (k + 1/2)/(n + 1) with k moved seeds beyond, which is never
    0 or 1. So the sample gives its spread alone: a sample of the same spread about any other median has the same power.

    As an estimate from n seeds it scatters. Its mean lies below the true power where that is .6 or more (at n = 40 and a true
    power of .92 the mean is .86), so that only a true power well above LEAST_POWER passes it regularly: plan for .95. A seed
    without a value, or at 0 on the scale ratio, cannot be moved and counts as on the wrong side.

    Returns:
        The power; NaN where the sample has no finite median (or, on the scale ratio, no positive one) to move.
    """
    n = measured.seeds
    up = target > boundary
    if measured.statistic == "share":
        counts = np.arange(n + 1)
        tails = stats.binom.sf(counts - 1, n, boundary) if up else stats.binom.cdf(counts, n, boundary)
        return float(stats.binom.pmf(counts[2 * tails <= level], n, target).sum())
    moved = shifted(measured, target, scale)
    if moved is None:
        return math.nan
    beyond = int((moved > boundary).sum() if up else (moved < boundary).sum())
    q = (beyond + 0.5) / (n + 1)
    enough = _least_that_rejects(n, level)
    return 0.0 if enough is None else _at_least(enough, n, q)


@lru_cache(maxsize=1024)  # conditions with as many seeds beyond have the same estimate
def seeds_needed(strength: float, *, seeds: int, level: float, wanted: float, most: int = 10_000) -> int | None:
    """Return the number of seeds with which the sign test of a median would have the power that is wanted.

    The spread is that of the sample from which `power` made its estimate: the estimate and the number of seeds give the
    probability q that a seed lies beyond the boundary, and q does not depend on the number of seeds.

    Args:
        strength: an estimate of `power` for a median.
        seeds: number of seeds of that sample.
        level: two-sided level of the test.
        wanted: power.
        most: largest number that is tried.

    Returns:
        The smallest number, at least `seeds`; None where no number up to `most` is enough (q is at most 1/2, or near it), or
        where so few seeds can reject nothing, so that the estimate is 0 whatever the spread.
    """
    enough = _least_that_rejects(seeds, level)
    if enough is None or not 0.0 < strength < 1.0:
        return None
    q = float(special.betaincinv(enough, seeds - enough + 1, strength))  # P(at least k of n) = I_q(k, n - k + 1)
    if q <= 0.5:
        return None
    n = np.arange(seeds, most + 1)
    sufficient = n[stats.binom.sf(_rejecting(level, most)[seeds:] - 1, n, q) >= wanted]
    return int(sufficient[0]) if sufficient.size else None


@lru_cache(maxsize=32)
def _rejecting(level: float, most: int) -> Array:
    """For 0 to `most` seeds the least number on one side that the two-sided sign test rejects at: its tail is at most level/2."""
    return np.asarray(stats.binom.isf(level / 2, np.arange(most + 1), 0.5) + 1)


def _least_that_rejects(n: int, level: float) -> int | None:
    """The least number of seeds on one side that the two-sided sign test of n seeds rejects at; None: not even all n."""
    counts = np.arange(n + 1)
    enough = counts[2 * special.bdtrc(counts - 1.0, n, 0.5) <= level]
    return int(enough[0]) if enough.size else None


def _at_least(count: int, number: int, probability: float) -> float:
    """The probability of at least so many events in independent trials."""
    return float(special.bdtrc(count - 1.0, number, probability))


def shifted(measured: Measured, median: float, scale: Scale) -> Array | None:
    """Return the sample moved, on its scale, so that its median is `median`; None where the median cannot be moved."""
    if not math.isfinite(measured.value) or (scale == "ratio" and measured.value <= 0):
        return None
    sample = np.array(measured.sample)
    return sample * (median / measured.value) if scale == "ratio" else sample + (median - measured.value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted by Holm (1979): all at most alpha are significant with a familywise error of alpha."""
    order = np.argsort(p_values, kind="stable")
    adjusted, least = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = least
    return adjusted


def shown_number(value: float) -> str:
    """Return a number with four digits."""
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.3g}"
