"""Judge means over draws by confidence, with a stated rate of error over all comparisons that are made.

Each comparison is of the mean of N independent numbers with its expectation, in standard errors. With n comparisons in a whole
sweep and an error rate alpha over all of them, each gets alpha/n (Bonferroni), of which the law of Student's t with N - 1 degrees
of freedom uses one half. The other half is for the skewness gamma of the numbers: by the first term of Edgeworth's expansion,
skewness adds gamma k (2k^2 + 1)/(6 sqrt N) times the chance itself, which must be 1 at most. Where it is more, N runs do not
tell, and the verdict is `undecided`: heavy tails cannot refute a true statement by chance.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.support.checks import check_count, check_interval

__all__ = ["ERROR_RATE", "JudgedMeans", "MeanSums"]

Array = NDArray[np.float64]

ERROR_RATE = 1e-6
"""Largest chance that any true expectation of a whole sweep is refuted."""

_POWER = 0.95


@dataclass(frozen=True, eq=False)
class JudgedMeans:
    """Means over runs against what is expected, one for each comparison; all arrays have one shape.

    Attributes:
        runs: N, number of independent runs.
        errors: distance of the mean from the expectation, in standard errors, with its sign.
        allowed: how many standard errors are allowed.
        relative_error: one standard error over the expectation.
        noticed: smallest relative error of the expectation that would have been seen in 95 of 100 cases.
        verdict: `holds`, `refuted`, or `undecided` where the runs are too few for their tails, or some did not stay finite.
        wanted: number of runs from which on the skewness that was seen would leave a verdict; NaN where runs did not stay finite.
    """

    runs: int
    errors: Array
    allowed: float
    relative_error: Array
    noticed: Array
    verdict: NDArray[np.str_]
    wanted: Array


@dataclass(eq=False)
class MeanSums:
    """Sums of powers of runs over what is expected, from which means are judged; runs are added in parts, in bounded memory.

    Attributes:
        expected: the expectations, above 0, of any shape.
    """

    expected: Array
    _runs: int = 0
    _sums: list[Array] = field(default_factory=list)

    def add(self, values: Any) -> Self:
        """Add runs.

        Args:
            values: their values, (runs, *shape of the expectations).
        """
        with np.errstate(all="ignore"):  # a run that diverged has no finite value, and its comparison is undecided
            ratio = np.asarray(values, dtype=np.float64) / self.expected - 1.0
            sums = [np.sum(ratio**power, axis=0) for power in (1, 2, 3)]
        self._runs += ratio.shape[0]
        self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)] if self._sums else sums
        return self

    def judge(self, comparisons: int | None = None, error_rate: float = ERROR_RATE) -> JudgedMeans:
        """Return the verdicts.

        Args:
            comparisons: number of comparisons of the whole sweep that share the error rate; None: those of these means.
            error_rate: largest chance that any true expectation among them is refuted.

        Raises:
            ValueError: fewer than two runs, or a number out of range.
        """
        from scipy.stats import norm  # takes a second to import, and a sweep does not need it
        from scipy.stats import t as student

        check_count("runs", self._runs, 2)
        error_rate = check_interval("error rate", error_rate, 0.0, 1.0, low_open=True, high_open=True)
        comparisons = self.expected.size if comparisons is None else check_count("comparisons", comparisons)
        allowed = float(student.isf(error_rate / comparisons / 4.0, self._runs - 1))  # one half of it, on two sides
        with np.errstate(all="ignore"):
            mean, square, cube = (total / self._runs for total in self._sums)
            spread = np.sqrt(np.maximum(square - mean**2, 0.0) * self._runs / (self._runs - 1))
            error = spread / np.sqrt(self._runs)
            errors = np.where(mean == 0.0, 0.0, mean / error)
            skewness = np.where(spread > 0.0, (cube - 3.0 * mean * square + 2.0 * mean**3) / spread**3, 0.0)
            added = np.abs(skewness) * _by_skewness(allowed) / np.sqrt(self._runs)
            noticed = (allowed + float(student.isf(1.0 - _POWER, self._runs - 1))) * error
        known = np.isfinite(errors) & (added <= 1.0)
        verdict = np.where(known, np.where(np.abs(errors) <= allowed, "holds", "refuted"), "undecided")
        # What skewness adds falls as 1/sqrt N. So many runs have normal tails: Student's at a few would ask for far too many.
        enough = (skewness * _by_skewness(float(norm.isf(error_rate / comparisons / 4.0)))) ** 2
        wanted = np.where(np.isfinite(added), enough, np.nan)
        return JudgedMeans(self._runs, errors, allowed, error, noticed, verdict, wanted)

    def __add__(self, other: Self) -> Self:
        """Return the sums over the runs of both, for the same expectations."""
        sums = [a + b for a, b in zip(self._sums, other._sums, strict=True)]
        return type(self)(self.expected, self._runs + other._runs, sums)


def _by_skewness(allowed: float) -> float:
    """Return what skewness adds to the chance of a deviation, over that chance, times sqrt N over the skewness (Edgeworth)."""
    return allowed * (2.0 * allowed**2 + 1.0) / 6.0
