"""Later passages of runs with memory: the step from which on the gap stays within the tolerance, and the first low window.

The search comes from the end of the run: an envelope of the gap, found by halving, bounds the last passage from above.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.engines.closed_form.matrices import NUMBERS_AT_ONCE, Array, Matrix, Powers, Weights, apply
from quadsim.simulator.engines.job import Job
from quadsim.simulator.runs.trajectory import MEAN_WINDOW

__all__ = ["later_passages"]

_SEARCHED = 64  # steps before a last passage whose gaps are computed together, at first


def later_passages(
    matrix: Matrix, start: Array, weights: Weights, final: Array, hit: Array, diverged: Array, job: Job
) -> tuple[Array, Array]:
    """`Outcome.stay` and `Outcome.mean` of runs with memory, from their final gaps, first hits and divergence, each (M, K).

    Some runs at a time, so that the gaps of a window of steps of all of them fit in memory.
    """
    threshold = job.tolerance * weights.gap(start)
    stay, mean = np.where(final <= threshold, hit, np.inf), np.full(hit.shape, np.inf)
    have_hit = np.argwhere(np.isfinite(hit))
    at_once = max(1, NUMBERS_AT_ONCE // (start.shape[-1] * _SEARCHED))
    for begin in range(0, len(have_hit), at_once):
        own = tuple(have_hit[begin : begin + at_once].T)
        powers = Powers([[entry[own] for entry in row] for row in matrix])
        some = _Orbit(powers, start[own], weights.select(own), threshold[own])
        may_leave = np.flatnonzero(np.isfinite(stay[own]))
        stays = stay[own]
        stays[may_leave] = _last_passages(some.select(may_leave), stays[may_leave], job.steps)
        stay[own] = stays
        # The first window that begins where the run stays, or less than W steps later, is low throughout, and ends less than 2 W
        # steps later. What has diverged is not followed.
        ends = np.minimum(np.minimum(stays + 2 * MEAN_WINDOW, diverged[own]), job.steps)
        mean[own] = _first_low_window(some, hit[own], ends)
    return stay, mean


@dataclass(frozen=True)
class _Orbit:
    """Some runs, whose gaps are compared with thresholds: arrays (rows, P), thresholds (rows,)."""

    powers: Powers
    start: Array
    weights: Weights
    threshold: Array

    def select(self, rows: NDArray[np.int64]) -> "_Orbit":
        """Some of the runs."""
        return _Orbit(self.powers.select(rows), self.start[rows], self.weights.select(rows), self.threshold[rows])

    @property
    def states(self) -> list[Array]:
        """At step 0."""
        return [self.start, *(np.zeros_like(self.start) for _ in self.powers.of(1)[1:])]

    def gaps(self, begin: Array, steps: int) -> Array:
        """Gaps (rows, steps) from a step of every row's own on, (rows,).

        The states of 2^j steps and A^(2^j) give those of 2^(j+1).
        """
        wide = [state[:, None] for state in self.powers.run_to(self.states, begin)]
        while wide[0].shape[1] < steps:
            number = wide[0].shape[1]
            matrix = [[entry[:, None] for entry in row] for row in self.powers.of(number)]
            wide = [np.concatenate(pair, axis=1)[:, :steps] for pair in zip(wide, apply(matrix, wide), strict=True)]
        return self.weights.map(lambda array: array[:, None]).gap(wide[0])


def _wider(window: int, rows: int, coordinates: int) -> int:
    """Twice as many steps, as far as their numbers fit."""
    return max(window, min(2 * window, NUMBERS_AT_ONCE // (coordinates * max(rows, 1))))


def _last_passages(orbit: _Orbit, hit: Array, steps: int) -> Array:
    """First steps from which on the gap is at most the threshold up to the last step, (rows,).

    Args:
        orbit: runs whose gap is at most the threshold at the last step.
        hit: first step at which it is, (rows,).
        steps: the last step.

    The search comes from the end. First, by halving, a step from which on an envelope of the gap is below the threshold for the
    rest of the run (`_envelope`): so the gap is, and the last passage lies before. From there the gaps of all steps are computed,
    backwards in windows, until one is above the threshold. The envelope leads the last passage by a share of a period or of
    the time in which the gap falls to a half, not by a share of the run: 10^9 steps cost 30 halvings.
    """
    last = _last_open(orbit, steps)
    out, rows, window = hit.copy(), np.flatnonzero(last >= hit), _SEARCHED
    end = last[rows]
    while rows.size:
        some = orbit.select(rows)
        begin = np.maximum(end - window + 1.0, hit[rows])  # the gap is above the threshold at hit - 1
        at = begin[:, None] + np.arange(window)
        above = ~(some.gaps(begin, window) <= some.threshold[:, None]) & (at <= end[:, None])
        found = above.any(axis=-1)
        after = begin + window - np.argmax(above[:, ::-1], axis=-1)  # the step after the last one above
        out[rows[found]] = after[found]
        going = ~found & (begin > hit[rows])
        rows, end = rows[going], begin[going] - 1.0
        window = _wider(window, rows.size, orbit.start.shape[-1])
    return out


def _first_low_window(orbit: _Orbit, hit: Array, ends: Array) -> Array:
    """Last step of the first window over which the mean gap is at most the threshold, `inf` if none, (rows,).

    Such a window holds a step at which the gap is that low, so the search begins where the first of them, `hit`, lies; no
    window that ends after `ends` is looked at. Both are (rows,).
    """
    out, rows = np.full(hit.shape, np.inf), np.arange(hit.size)
    begin, window = np.maximum(np.ceil(hit / MEAN_WINDOW) - 1.0, 0.0) * MEAN_WINDOW, 2 * MEAN_WINDOW
    while True:
        going = begin + MEAN_WINDOW <= ends[rows]
        rows, begin = rows[going], begin[going]
        if not rows.size:
            return out
        some = orbit.select(rows)
        means = np.mean(some.gaps(begin + 1.0, window).reshape(rows.size, -1, MEAN_WINDOW), axis=-1)
        last = begin[:, None] + MEAN_WINDOW * np.arange(1, means.shape[1] + 1)
        low = (means <= some.threshold[:, None]) & (last <= ends[rows, None])
        found = low.any(axis=-1)
        out[rows[found]] = last[found, np.argmax(low[found], axis=-1)]
        rows, begin = rows[~found], begin[~found] + window
        window = _wider(window, rows.size, orbit.start.shape[-1]) // MEAN_WINDOW * MEAN_WINDOW


def _last_open(orbit: _Orbit, steps: int) -> Array:
    """A step (rows,) after which the envelope keeps the gap at most at `threshold`; `steps` - 1 where none is found.

    Steps are added from the largest power of two down, wherever the envelope is not yet low after them. The one after the
    result was seen to be low, or is the last step.
    """
    states, powers, t = orbit.states, orbit.powers, np.zeros(orbit.threshold.shape)
    for bit in reversed(range(steps.bit_length())):
        after = t + float(1 << bit)
        moved = apply(powers.of(1 << bit), states)
        bound = orbit.weights.gap(_envelope(powers, moved, np.maximum(steps - after, 0.0)))
        is_open = (after < steps) & ~(bound <= orbit.threshold)
        t = np.where(is_open, after, t)
        states = [np.where(is_open[:, None], new, old) for new, old in zip(moved, states, strict=True)]
    return t


def _envelope(powers: Powers, states: list[Array], left: Array) -> Array:
    """Bounds (rows, P) of every mode |x_k| over the next `left` steps k, (rows,).

    A mode obeys x_(k+2) = trace x_(k+1) - determinant x_k. With the roots r1, r2 (|r1| >= |r2|) it is a r1^k + b r2^k, so that
    |x_k| <= |a| |r1|^k + |b| |r2|^k; on a pair rho e^(+-i phi) the two add up to an amplitude sqrt(x_0^2 + c^2) rho^k with
    c = (x_1/rho - x_0 cos phi) / sin phi. Where the roots (nearly) meet, a and b cancel, and

        |x_k| <= rho^k |x_0| + k rho^(k-1) |x_1 - q x_0|    with q = r1, or trace/2 on a pair,

    serves, as k rho^(k-1) <= 1 + rho + ... + rho^(k-1) <= 1/(1 - rho).
    """
    one = powers.of(1)
    x, y = states[0], apply(one, states)[0]
    trace, determinant = one[0][0] + one[1][1], one[0][0] * one[1][1] - one[0][1] * one[1][0]
    discriminant = trace**2 - 4.0 * determinant
    is_real, root = discriminant >= 0.0, np.sqrt(np.abs(discriminant))
    first = np.where(trace < 0.0, trace - root, trace + root) / 2.0
    second = trace - first
    rho = np.where(is_real, np.abs(first), np.sqrt(np.abs(determinant)))
    left = left[:, None]
    growth = np.maximum(1.0, rho) ** left
    # On a pair, 2 rho sin phi = root. A state x carries some units of rounding, which the differences below multiply.
    rounding = 8.0 * np.finfo(float).eps * (np.abs(x) * np.maximum(1.0, np.abs(trace)) + np.abs(y))
    b = (np.abs(first * x - y) + rounding) / root
    c = 2.0 * (np.abs(y - x * trace / 2.0) + rounding) / root
    apart = np.where(
        is_real, growth * (np.abs(x) + b) + np.maximum(1.0, np.abs(second)) ** left * b, growth * np.hypot(x, c)
    )
    difference = np.abs(y - np.where(is_real, first, trace / 2.0) * x) + rounding
    together = growth * (np.abs(x) + np.where(rho < 1.0, np.minimum(left, 1.0 / (1.0 - rho)), left) * difference)
    bound = np.fmin(apart, together)
    return np.where((x == 0.0) & (y == 0.0), 0.0, np.where(np.isnan(bound), np.inf, bound * (1.0 + 1e-9)))
