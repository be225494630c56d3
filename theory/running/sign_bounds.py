"""Bounds for sign steps at a given rate, block by block (docs/theory.md section 8): recursion, steps, and the guaranteed rate.

A bound is made of three numbers of every block: nu_l, the size S_l (sign-constant-gap), M_l (sign-midpoint) or S_l (1 + 4 A)
(signum-gap, lion-gap, with the mean age A of the gradients in the memory), and the potential at the start. For `DescentForm`
the potential is the gap, or the gap at the midpoint of a step, to which a jitter of eta^2 S_l/8 is added.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.theory.running.constants import inverse_diagonal, midpoint_smoothness, one_norm_convexity, sign_smoothness

__all__ = [
    "DescentForm",
    "block_gaps",
    "curve",
    "distance_steps",
    "gap_form",
    "guaranteed_rate",
    "midpoint_form",
    "recursion",
]

Array = NDArray[np.float64]

_TRIED = 121
_DIGITS = 3


@dataclass(frozen=True, eq=False)
class DescentForm:
    """A recursion u -> u - eta sqrt(2 nu u) + eta^2 size/2 of a potential of every block; arrays are (M, B).

    Attributes:
        nu: nu_l.
        size: S_l, or what stands for it.
        jitter: the gap is at most the potential plus eta^2 jitter; 0 where the potential is the gap.
        start: function from the rates (K,) to the potential at the start, (M, K, B).
        delay: 1 where the bound is of the smaller one of two neighbouring gaps, so that it is reached a step later; else 0.
        goal: what the gap has to fall to, (M,).
    """

    nu: Array
    size: Array
    jitter: Array
    start: "Start"
    delay: int
    goal: Array

    @property
    def plateau(self) -> Array:
        """The plateau max(S^2/(8 nu), S/2), in units of eta^2, (M, B): below it the recursion guarantees nothing."""
        return np.asarray(np.maximum(self.size**2 / (8.0 * self.nu), self.size / 2.0))

    @property
    def largest_rate(self) -> Array:
        """The rate from which on the plateaus of the blocks add up to the goal or more, (M,)."""
        return np.asarray(np.sqrt(self.goal / (self.plateau + self.jitter).sum(axis=-1)))

    def steps(self, rates: Array) -> Array:
        """Return the steps after which the gap is at most the goal, (M, K), by sign-constant-steps; `inf` where it says nothing.

        The goal is divided among the blocks in proportion to their plateaus; the slowest block decides.
        """
        rate = np.asarray(rates)[None, :, None]
        nu, size = self.nu[:, None], self.size[:, None]
        goal = self.goal[:, None] - rate[..., 0] ** 2 * self.jitter.sum(axis=-1)[:, None]
        share = (self.plateau / self.plateau.sum(axis=-1, keepdims=True))[:, None]
        known = rate[..., 0] < self.largest_rate[:, None]
        target = np.sqrt(share * np.where(known, goal, 1.0)[..., None])
        pole, speed = rate * size / (2.0 * np.sqrt(2.0 * nu)), rate * np.sqrt(nu / 2.0)
        first = np.sqrt(self.start(np.asarray(rates)))
        with np.errstate(divide="ignore", invalid="ignore"):
            time = (first - target + pole * np.log((first - pole) / (target - pole))) / speed
        each = np.where(first > target, np.ceil(np.maximum(time, 0.0)), 0.0)
        return np.where(known, each.max(axis=-1) + self.delay, np.inf)


class Start:
    """The potential of every block at the start, as a function of the rate: of e_0, or of e_0 - (eta/2) sign(g_0).

    Args:
        problem: M problems.
        midpoint: whether the potential is that of the midpoint of the first step.
    """

    def __init__(self, problem: BlockQuadratic, *, midpoint: bool = False) -> None:
        self._problem, self._midpoint = problem, midpoint

    def __call__(self, rates: Array) -> Array:
        """Return the potential for the rates (K,), (M, K, B)."""
        problem = self._problem
        parts = {}
        for size, matrices in problem.hessian.items():
            error = problem.initial_error[size][:, :, None]
            if self._midpoint:
                signs = np.sign(error @ matrices)
                error = error - rates[:, None] / 2.0 * signs
            else:
                error = np.broadcast_to(error, (*error.shape[:2], rates.size, size))
            parts[size] = np.sum(error * (error @ matrices), axis=-1) / 2.0
        return np.moveaxis(problem.layout.join_blocks(parts), 1, -1)


def block_gaps(problem: BlockQuadratic) -> Array:
    """Return the gap of every block at the start, (M, B)."""
    return Start(problem)(np.zeros(1))[:, 0]


def gap_form(problem: BlockQuadratic, tolerance: float, age: float = 0.0) -> DescentForm:
    """Return the form of sign-constant-gap, or with the mean age of the gradients in a memory that of signum-gap and lion-gap."""
    size = sign_smoothness(problem) * (1.0 + 4.0 * age)
    goal = tolerance * problem.initial_gap
    return DescentForm(one_norm_convexity(problem), size, np.zeros_like(size), Start(problem), 0, goal)


def midpoint_form(problem: BlockQuadratic, tolerance: float) -> DescentForm:
    """Return the form of sign-midpoint, for SignSGD."""
    goal = tolerance * problem.initial_gap
    start = Start(problem, midpoint=True)
    size, jitter = midpoint_smoothness(problem), sign_smoothness(problem) / 8.0
    return DescentForm(one_norm_convexity(problem), size, jitter, start, 1, goal)


def guaranteed_rate(form: DescentForm) -> float:
    """Return the rate, the same for all problems, at which the largest of their guaranteed steps is smallest.

    It is rounded down to three digits. The steps are a smooth function of the rate with one minimum, below the rate at which the
    plateau is the goal; they are scanned on a grid that is refined twice.

    Args:
        form: the recursion.
    """
    top = float(form.largest_rate.min())
    low, high = top / 1000.0, top * (1.0 - 1e-6)
    for _ in range(3):
        rates = np.geomspace(low, high, _TRIED)
        worst = form.steps(rates).max(axis=0)
        best = int(worst.argmin())
        low, high = float(rates[max(best - 1, 0)]), float(rates[min(best + 1, _TRIED - 1)])
    exponent = np.floor(np.log10(rates[best])) - (_DIGITS - 1)
    return float(np.floor(rates[best] / 10.0**exponent) * 10.0**exponent)


def recursion(start: Array, nu: Array, size: Array, rates: Array) -> Array:
    """Return u_0, ..., u_T of u_(t+1) = max(0, u_t - eta_t sqrt(2 nu u_t)) + eta_t^2 size/2, (..., T + 1).

    The max is needed: x^2 - k x does not rise with x on all of [0, x_t], and where it does not, it is at most 0 on [0, k].

    Args:
        start: u_0, (...).
        nu: nu_l, (...).
        size: S_l or what stands for it, (...).
        rates: eta_0, ..., eta_(T-1), (..., T).
    """
    steps = rates.shape[-1]
    out = np.empty((*np.broadcast_shapes(start.shape, nu.shape, size.shape, rates.shape[:-1]), steps + 1))
    out[..., 0] = start
    slope = np.sqrt(2.0 * nu)
    for t in range(steps):
        rate = rates[..., t]
        fall = rate * slope * np.sqrt(out[..., t])
        out[..., t + 1] = np.maximum(out[..., t] - fall, 0.0) + rate**2 * size / 2.0
    return out


def curve(form: DescentForm, rate: float, steps: NDArray[np.int64]) -> Array:
    """Return the bound on the gap at these steps, (M, R), at a constant rate, by sign-constant-steps.

    sqrt(potential) is at most the x at which the number of steps of the theorem is t; it is found by bisection, for all
    steps at once. The recursion, which is a little smaller, would take every step.

    Args:
        form: the recursion.
        rate: the rate.
        steps: t.
    """
    nu, size = form.nu[:, None], form.size[:, None]
    pole, speed = rate * size / (2.0 * np.sqrt(2.0 * nu)), rate * np.sqrt(nu / 2.0)
    first = np.sqrt(form.start(np.array([rate])))
    floor = rate * np.sqrt(form.plateau)[:, None]
    low, high = (
        np.broadcast_to(x, (first.shape[0], steps.size, first.shape[2])) for x in (floor, np.maximum(first, floor))
    )
    time = speed * np.maximum(steps - form.delay, 0)[None, :, None]
    for _ in range(60):
        middle = (low + high) / 2.0
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = (first - middle) + pole * np.log((first - pole) / (middle - pole))
        late = ~(needed <= time)
        low, high = np.where(late, middle, low), np.where(late, high, middle)
    return np.asarray((high**2 + (rate**2 * form.jitter)[:, None]).sum(axis=-1))


def distance_steps(problem: BlockQuadratic, rates: Array, tolerance: float) -> Array:
    """Return a number of steps before which no rule that moves no coordinate by more than the rate reaches the tolerance, (M, K).

    The theorem sign-distance: max_i (|e_0,i| - sqrt(2 (H^-1)_ii tolerance gap_0))/eta.
    """
    start = np.abs(problem.layout.flatten(problem.initial_error))
    within = np.sqrt(2.0 * inverse_diagonal(problem) * tolerance * problem.initial_gap[:, None])
    return np.asarray(np.maximum((start - within).max(axis=1), 0.0)[:, None] / np.asarray(rates)[None, :])
