"""Compute statistics of hitting times, in which `inf` (tolerance not reached) is an ordinary value."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "chosen_half",
    "counted_quantile",
    "effective_steps",
    "judged_half",
    "median_interval",
    "middle_95",
    "quantile",
    "quantiles",
    "resampled_counted_medians",
    "resampled_medians",
]

BOOTSTRAP = 4000
"""Number of bootstrap resamples: 100 of them are beyond each end of a 95% interval."""

_DRAWN = 1 << 22  # numbers of resamples that are in memory at once


def chosen_half(seeds: int) -> list[int]:
    """Return the seeds on which settings and rates are chosen where they are judged on others: the even-numbered ones."""
    return list(range(0, seeds, 2))


def judged_half(seeds: int) -> list[int]:
    """Return the seeds on which what was chosen on the others is judged: the odd-numbered ones."""
    return list(range(1, seeds, 2))


def quantile(values: ArrayLike, q: float, axis: int = -1) -> NDArray[np.float64]:
    """Return a quantile of values that may be `inf`; interpolation would turn them into NaN.

    The average of the two order statistics that share the quantile where there are two (so the 0.5 quantile is the usual
    median), else the one (averaged inverted distribution function; Hyndman and Fan 1996, definition 2).
    """
    return quantiles(values, (q,), axis)[0]


def quantiles(values: ArrayLike, qs: Sequence[float], axis: int = -1) -> list[NDArray[np.float64]]:
    """Return the `quantile` of values for each of several q, from values that are sorted once."""
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=axis)
    if axis not in (-1, ordered.ndim - 1):
        ordered = np.moveaxis(ordered, axis, -1)
    ranks = [_ranks(q, ordered.shape[-1]) for q in qs]
    return [np.asarray((ordered[..., low] + ordered[..., high]) / 2) for low, high in ranks]


def _ranks(q: float, number: int) -> tuple[int, int]:
    """Return the two order statistics, counted from 0, whose mean is a quantile; often both are the same."""
    position = q * number
    # Products like 0.9 * 10 must count as whole numbers: their rounding is below 2 units in the last place.
    whole = abs(position - round(position)) <= 2 * np.spacing(position)
    low = round(position) - 1 if whole else int(np.floor(position))
    high = low + 1 if whole else low
    low, high = (min(max(index, 0), number - 1) for index in (low, high))
    return low, high


def median_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Return a confidence interval of the median between two order statistics, valid for any distribution (sign test).

    Args:
        values: (S,), may hold `inf`.
        confidence: smallest probability that the interval contains the median.

    Returns:
        Lower and upper end; (-inf, inf) if there are too few values (fewer than six at 95%).
    """
    from scipy import stats  # takes a second to import, and a sweep does not need it

    ordered = np.sort(np.asarray(values, dtype=np.float64).ravel())
    # The r-th smallest and the r-th largest miss the median with probability 2 P(Binomial(S, 1/2) < r).
    r = int(stats.binom.ppf((1 - confidence) / 2, ordered.size, 0.5))
    if 2 * stats.binom.cdf(r - 1, ordered.size, 0.5) > 1 - confidence or r == 0:
        return -np.inf, np.inf
    return float(ordered[r - 1]), float(ordered[-r])


def counted_quantile(edges: ArrayLike, counts: ArrayLike, total: int, q: float) -> NDArray[np.float64]:
    """Return `quantile` from a histogram: each value counts as the upper end of its bin, a value in no bin as `inf`.

    Args:
        edges: upper ends of the bins, ascending, (bins,).
        counts: number of values in each bin, (..., bins).
        total: number of all values, those in no bin included; at least 1.
        q: in [0, 1].
    """
    upper = np.append(np.asarray(edges, dtype=np.float64), np.inf)
    upto = np.cumsum(np.asarray(counts), axis=-1)
    low, high = (upper[np.sum(upto <= rank, axis=-1)] for rank in _ranks(q, total))
    return np.asarray((low + high) / 2)


def effective_steps(
    summary: "pd.DataFrame | Mapping[str, NDArray[Any]]", column: str = "steps_to_tolerance"
) -> NDArray[np.float64]:
    """Return steps to tolerance, with `inf` for a run that diverged afterwards: it has not solved the problem."""
    steps = np.asarray(summary[column], dtype=np.float64)
    return np.where(np.asarray(summary["status"]) == "diverged", np.inf, steps)


def resampled_medians(values: ArrayLike, seed: int = 0) -> NDArray[np.float64]:
    """The median of every bootstrap resample.

    Samples of one size that are resampled with one `seed` are resampled in pairs: entry i of both results comes from the same
    positions (the same problems), so that their quotient has the spread of a paired comparison.

    Args:
        values: (S,), may hold `inf`.
        seed: of the resampling.

    Returns:
        (BOOTSTRAP,).
    """
    sample = np.asarray(values, dtype=np.float64)
    generator, medians = np.random.default_rng(seed), []
    at_once = min(BOOTSTRAP, max(1, _DRAWN // sample.size))  # the draws are the same however they are split
    for begin in range(0, BOOTSTRAP, at_once):
        rows = generator.integers(0, sample.size, size=(min(at_once, BOOTSTRAP - begin), sample.size))
        medians.append(quantile(sample[rows], 0.5))
    return np.concatenate(medians)


def resampled_counted_medians(counts: ArrayLike, edges: ArrayLike, total: int, seed: int) -> NDArray[np.float64]:
    """As `resampled_medians` from a histogram, which does not know which runs are pairs: samples need seeds of their own.

    Args:
        counts: runs in each bin, (bins,).
        edges: upper ends of the bins.
        total: runs in all, those in no bin among them.
        seed: of the resampling.
    """
    found = np.asarray(counts)
    shares = np.append(found, total - found.sum()) / total
    drawn = np.random.default_rng(seed).multinomial(total, shares, size=BOOTSTRAP)[:, :-1]
    return counted_quantile(edges, drawn, total, 0.5)


def middle_95(resampled: ArrayLike) -> tuple[float, float]:
    """The ends of the middle 95% of resampled values, without those that are NaN; NaN where all are."""
    values = np.asarray(resampled, dtype=np.float64)
    known = values[~np.isnan(values)]
    if known.size == 0:
        return np.nan, np.nan
    return float(quantile(known, 0.025)), float(quantile(known, 0.975))
