"""Rules without states, as gd: A(lambda) is a number r, and the gap is the sum of `(a_i r_i^t)^2` over the modes.

It is evaluated as `(a_i exp(t log|r_i|))^2` with log|r_i| from log1p: r = 1 - eta lambda rounds to few digits of eta lambda when
that is small, and the power would lose eight digits at t = 10^9.

The gap is convex in t, so bisection finds the first step at which it is within the tolerance, and the last passage needs no
search.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.engines.closed_form.matrices import NUMBERS_AT_ONCE, Array
from quadsim.simulator.engines.closed_form.modes import Modes, Recursion, observe_modes
from quadsim.simulator.engines.job import Job, Outcome
from quadsim.simulator.runs.trajectory import MEAN_WINDOW, divergence_limit

__all__ = ["run_without_memory"]

_NEWTON_STEPS = 6  # of `_crossing`, which only makes a guess


def run_without_memory(job: Job, modes: Modes, recursion: Recursion) -> Outcome:
    """Run a rule without states: every mode is multiplied by r = 1 + increment at each step."""
    increment = recursion.increment[0]
    start = np.broadcast_to(modes.start[:, None], increment.shape)
    # The square root of a mode's part of the gap, not the part itself: a start of 1e-170 still moves, although its gap
    # underflows.
    amplitude = np.broadcast_to((np.sqrt(modes.eigenvalues / 2) * np.abs(modes.start))[:, None], increment.shape)
    # log|1 + x|, also for x < -1, where |1 + x| = 1 + (-2 - x). At r = 0 it is -inf: exp(t * -inf) = 0 is the right value for
    # t >= 1. A mode with amplitude 0 gets 0 in place of -inf or inf, as 0 * inf would be NaN.
    log_modulus = np.where(increment > -1.0, np.log1p(increment), np.log1p(-2.0 - increment))
    log_modulus = np.where(amplitude == 0.0, 0.0, log_modulus)

    gap = _SumOfModes(amplitude, log_modulus)
    initial = np.sum(np.square(amplitude), axis=-1)
    gaps = np.empty((*initial.shape, job.record.size))
    gaps[:, :, 0] = initial
    at_once = max(1, NUMBERS_AT_ONCE // amplitude.size)
    for begin in range(1, job.record.size, at_once):
        chosen = slice(begin, begin + at_once)
        gaps[:, :, chosen] = gap(job.record[chosen].astype(np.float64))

    # The gap is a sum of exponentials in t, hence convex for t >= 1. So "at most the threshold, or no longer falling" is false up
    # to some step and true from there on, and bisection applies; likewise "above the limit of divergence". If the first such
    # step is one where the gap stopped falling above the threshold, the tolerance is never reached.
    threshold, limit = job.tolerance * initial, divergence_limit(initial)
    parts = 2.0 * np.log(amplitude)
    settled = _bisect(
        lambda t: (gap.at(t) <= threshold) | (gap.at(t, slope=True) >= 0.0),
        initial.shape,
        job.steps,
        _crossing(parts, 2.0 * log_modulus, np.log(threshold), -1.0, job.steps),
    )
    hit = np.where(gap.at(np.minimum(settled, job.steps)) <= threshold, settled, np.inf)
    hit = np.where(initial <= threshold, 0.0, hit)
    diverged = _bisect(
        lambda t: ~(gap.at(t) <= limit),
        initial.shape,
        job.steps,
        _crossing(parts, 2.0 * log_modulus, np.log(limit), 1.0, job.steps),
    )

    def states() -> Iterator[tuple[Array, Array]]:
        for t in job.record.tolist():
            sign = np.where((increment < -1.0) & (t % 2 == 1), -1.0, 1.0)
            x = start * sign * (np.exp(t * log_modulus) if t else 1.0)
            yield x, increment * x

    # A convex gap that is low at `hit` and at the last step is low at every step between: it stays from `hit` on. (At t = 0 the
    # formula leaves out the modes with r = 0, which add to the gap; so a low gap there means a low value of the formula.)
    stay = np.where(gap.at(np.full(initial.shape, float(job.steps))) <= threshold, hit, np.inf)
    mean = _first_low_mean(gap, threshold, hit, job.steps)
    return Outcome(gaps, hit, stay, mean, diverged, observe_modes(job, modes, states()))


@dataclass(frozen=True)
class _SumOfModes:
    """The function sum (a_i exp(t log|r_i|))^2 of t; a_i and log|r_i| are (M, K, P), with 0 for the log where a_i is 0."""

    amplitude: Array
    log_modulus: Array

    def __call__(self, t: Array, slope: bool = False) -> Array:
        """The value, or half its derivative in t, at t of shape (R,) or (M, K, R)."""
        terms = np.square(self.amplitude[:, :, None] * np.exp(t[..., None] * self.log_modulus[:, :, None]))
        if slope:
            terms = np.where(terms == 0.0, 0.0, terms * self.log_modulus[:, :, None])
        return np.asarray(np.sum(terms, axis=-1))

    def at(self, t: Array, slope: bool = False) -> Array:
        """Likewise, at one t for each run, (M, K)."""
        return self(t[:, :, None], slope)[:, :, 0]


def _first_low_mean(gap: _SumOfModes, threshold: Array, hit: Array, steps: int) -> Array:
    """Last step of the first window over which the mean gap is at most `threshold`, `inf` if none, (M, K).

    The mean over window n = 1, 2, ... is such a sum again: sum (b_i r_i^(W (n - 1)))^2 with b_i^2 = a_i^2 mean_j r_i^(2j). So it
    is convex in n and found by bisection, near the window in which the gap itself is first low.
    """
    number = steps // MEAN_WINDOW
    if number == 0:
        return np.full(hit.shape, np.inf)
    powers = sum(np.exp(2.0 * j * gap.log_modulus) for j in range(1, MEAN_WINDOW + 1))
    amplitude = gap.amplitude * np.sqrt(powers / MEAN_WINDOW)
    mean = _SumOfModes(amplitude, np.where(amplitude == 0.0, 0.0, MEAN_WINDOW * gap.log_modulus))
    settled = _bisect(
        lambda n: (mean.at(n - 1.0) <= threshold) | (mean.at(n - 1.0, slope=True) >= 0.0),
        hit.shape,
        number,
        np.ceil(hit / MEAN_WINDOW),
    )
    return np.where(mean.at(np.minimum(settled, number) - 1.0) <= threshold, settled * MEAN_WINDOW, np.inf)


def _crossing(parts: Array, slopes: Array, level: Array, sign: float, steps: int) -> Array:
    """Return a guess of the t in [1, steps] at which log sum exp(parts + t slopes) passes `level`, (M, K).

    The function is convex in t. Newton's method starts where one term alone passes the level and then approaches the crossing
    from one side, in a few steps however large t is. For a run that never passes, the guess is any number in the range.

    Args:
        parts: logarithm of every mode's part of the gap at t = 0, (M, K, P).
        slopes: its change per step, (M, K, P).
        level: logarithm of the threshold, (M, K).
        sign: -1 for a crossing from above, 1 for a crossing from below.
        steps: largest t.
    """
    own = np.where(sign * slopes > 0.0, (level[:, :, None] - parts) / slopes, 1.0)
    t = np.clip(np.nanmax(own, axis=-1) if sign < 0 else np.nanmin(own, axis=-1), 1.0, steps)
    for _ in range(_NEWTON_STEPS):
        logs = parts + t[:, :, None] * slopes
        top = np.max(logs, axis=-1)
        weights = np.exp(logs - top[:, :, None])
        whole = np.sum(weights, axis=-1)
        slope = np.sum(np.where(weights == 0.0, 0.0, weights * slopes), axis=-1) / whole
        moved = t + (level - top - np.log(whole)) / slope
        t = np.where((sign * slope > 0.0) & np.isfinite(moved), np.clip(moved, 1.0, steps), t)
    return np.asarray(t)


def _bisect(reached: Callable[[Array], NDArray[np.bool_]], shape: tuple[int, ...], steps: int, guess: Array) -> Array:
    """Return the first t in [1, steps] at which `reached` holds, (M, K); `inf` where it never does.

    `reached` must be false up to some t and true from there on. A guess that is right to one step saves nearly all evaluations; a
    wrong guess does not change the result.
    """
    low, high = np.ones(shape), np.full(shape, float(steps))
    found = reached(high)
    if not found.any():
        return np.full(shape, np.inf)
    for near in (np.floor(guess) - 1.0, np.floor(guess) + 2.0):
        inside = (near > low) & (near < high)
        is_reached = reached(np.where(inside, near, low))
        low = np.where(inside & ~is_reached, near + 1.0, low)
        high = np.where(inside & is_reached, near, high)
    low = np.where(found, low, high)  # no search for runs that never reach it
    while np.any(low < high):
        middle = np.floor((low + high) / 2)
        is_reached = reached(middle)
        low, high = np.where(is_reached, low, np.minimum(middle + 1, high)), np.where(is_reached, middle, high)
    return np.where(found, low, np.inf)
