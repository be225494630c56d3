"""The closed-form engine: linear rules at a constant learning rate. The cost of a step does not depend on its number.

A *mode* is an eigenvector of H. Along a mode, one step of a linear rule is a small matrix A(lambda) that multiplies the error and
the states of that mode; it is derived from the Rule itself (`Rule.linear_form`). A rule with a frozen preconditioner phi is the
same on phi^(1/2) H phi^(1/2).

- Without memory (gd) A is a number r, and the gap is the sum of `(a_i r_i^t)^2`. It is evaluated as `(a_i exp(t log|r_i|))^2`
  with log|r_i| from log1p: r = 1 - eta lambda rounds to few digits of eta lambda when that is small, and the power would lose
  eight digits at t = 10^9.
- With memory (momentum) A^t is computed by repeated squaring. Eigenvectors of A are never used: at the best momentum the two
  roots of A coincide, A has only one eigenvector, and near there its eigenvectors are numerically useless (docs/theory.md,
  gd-exact).

Hitting times (the first step at which the gap is within the tolerance, and the one from which on it stays there). Without memory
the gap is convex in t, so bisection finds the first passage, and the last one needs no search. With memory the gap may oscillate:
see `_first_passage` and `_last_passage`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.engines.job import Job, Outcome
from quadsim.simulator.rules.rule import Rule, symbols
from quadsim.simulator.runs.trajectory import MEAN_WINDOW, divergence_limit

if TYPE_CHECKING:
    import torch

__all__ = ["run", "why_not"]

Array = NDArray[np.float64]
Matrix = list[list[Array]]
"""A batch of n x n matrices: entry [i][j] is an array over the batch. n is 1 or 2."""
Rows = NDArray[np.bool_] | NDArray[np.int64] | tuple[NDArray[np.int64], ...]
"""An index of a part of a batch."""

_NEWTON_STEPS = 6  # of `_crossing`, which only makes a guess
_NUMBERS_AT_ONCE = 1 << 22  # numbers in memory while a formula is evaluated at many steps (32 MB)
_SEARCHED = 64  # steps before a last passage whose gaps are computed together, at first
_SMALLEST_LEAP = 4  # a leap over fewer than 2^4 steps costs more to justify than it saves


def why_not(job: Job) -> str | None:
    """Return the reason why this engine cannot run a job, as a clause for an error message; None if it can."""
    form = job.rule.linear_form
    if form is None:
        return f"{job.rule.name} is not linear"
    if not job.schedule.is_constant:
        return f"the schedule {job.schedule} is not constant"
    if job.gradient_noise_std != 0.0:
        return "the gradient is noisy"
    if job.dtype_name != "float64":
        return "its formulas are evaluated in float64 only"
    if form.matrix.shape[0] > 2:
        return f"{job.rule.name} keeps {form.matrix.shape[0] - 1} states, and hitting times are bounded for one at most"
    if form.preconditioner is not None:
        starts = [e for e in job.rule.start.values() if e.free_symbols & {symbols.lr, *job.rule.hyperparameters}]
        if starts or form.preconditioner.free_symbols & {symbols.lr, *job.rule.hyperparameters}:
            return f"the preconditioner of {job.rule.name} depends on its settings"
        factors = _preconditioner(job)
        if not np.all(np.isfinite(factors) & (factors > 0.0)):
            return f"the preconditioner of {job.rule.name} is not positive and finite (an entry of the first gradient is 0?)"
    return None


def run(job: Job) -> Outcome:
    """Run all problems under all settings.

    Arrays inside have the shape (M, K, P): problem, setting, mode.

    Returns:
        Outcome with gap (M, K, R), hit (M, K), diverged (M, K) and the observables that were asked for.
    """
    with np.errstate(all="ignore"):  # overflow is divergence, underflow is convergence; both are named afterwards
        modes = _modes(job)
        recursion = _evaluate(job, modes)
        if len(recursion.matrix) == 1:
            return _without_memory(job, modes, recursion)
        return _with_memory(job, modes, recursion)


@dataclass(frozen=True)
class _Modes:
    """The modes of the (preconditioned) blocks.

    Attributes:
        eigenvalues: lambda of every mode, (M, P).
        start: coefficient of e_0 along every mode, (M, P).
        to_error: coefficients (M, K, P) to errors by block size, (M, B_size, P_l, K).
        to_gradient: coefficients (M, K, P) to gradients, likewise.
    """

    eigenvalues: Array
    start: Array
    to_error: Callable[[Array], "dict[int, torch.Tensor]"]
    to_gradient: Callable[[Array], "dict[int, torch.Tensor]"]


@dataclass(frozen=True)
class _Recursion:
    """One step along every mode.

    Attributes:
        matrix: A(lambda), entries (M, K, P).
        increment: first row of A - I, entries (M, K, P): what a step adds to the error. It is evaluated separately because
            A[0][0] = 1 + increment has lost the digits of a small increment.
    """

    matrix: Matrix
    increment: list[Array]


def _modes(job: Job) -> _Modes:
    """Return the modes: those of the problem, or those of phi^(1/2) H_l phi^(1/2) where the rule has a preconditioner phi."""
    problem, layout = job.problem, job.problem.layout
    form = job.rule.linear_form
    assert form is not None
    if form.preconditioner is None:
        values, vectors, start = problem.eigenvalues, problem.eigenvectors, problem.initial_coefficients
        roots = {size: np.ones_like(v) for size, v in values.items()}
    else:
        roots = layout.split(np.sqrt(_preconditioner(job)))
        values, vectors, start = {}, {}, {}
        for size, root in roots.items():
            scaled = root[..., :, None] * problem.hessian[size] * root[..., None, :]
            found, vectors[size] = np.linalg.eigh((scaled + np.swapaxes(scaled, -1, -2)) / 2)
            # phi is positive, so that the null space keeps its dimension (Sylvester): what is found there is rounding.
            values[size] = np.where(problem.eigenvalues[size] == 0.0, 0.0, found)
            back = np.ascontiguousarray(np.swapaxes(vectors[size], -1, -2))
            start[size] = np.matmul(back, (problem.initial_error[size] / root)[..., None])[..., 0]

    def to_coordinates(x: Array, power: int) -> "dict[int, torch.Tensor]":
        """(M, K, P) in the eigenbasis to parts (M, B_size, P_l, K), times phi^(power/2)."""
        import torch  # observables alone need it, and most runs observe the gap

        parts = layout.split(np.swapaxes(x, 1, 2))
        out = {}
        for size, part in parts.items():
            # One product per setting: how a product with all settings at once is rounded depends on their number.
            columns = np.ascontiguousarray(np.swapaxes(part, -1, -2))[..., None]
            errors = np.matmul(vectors[size][:, :, None], columns)[..., 0] * roots[size][:, :, None] ** power
            out[size] = torch.from_numpy(np.ascontiguousarray(np.swapaxes(errors, -1, -2)))
        return out

    flat = layout.flatten(values)
    return _Modes(
        eigenvalues=flat,
        start=layout.flatten(start),
        to_error=lambda x: to_coordinates(x, 1),
        to_gradient=lambda x: to_coordinates(x * flat[:, None], -1),
    )


def _preconditioner(job: Job) -> Array:
    """Return the preconditioner phi at every coordinate, (M, P), from the first gradient; it may be 0 or infinite."""
    problem, rule = job.problem, job.rule
    form = rule.linear_form
    assert form is not None
    assert form.preconditioner is not None
    gradient = {s: np.matmul(problem.hessian[s], problem.initial_error[s][..., None])[..., 0] for s in problem.hessian}
    arguments = (symbols.g, symbols.L_l, symbols.mu_l)
    frozen = {state: rule.start.get(state, sp.S.Zero) for state in form.preconditioner.free_symbols & set(rule.update)}
    function = sp.lambdify(arguments, form.preconditioner.subs(frozen), modules="numpy")
    with np.errstate(all="ignore"):  # `why_not` refuses values that are not finite
        values = function(problem.layout.flatten(gradient), *_per_coordinate(job))
    return np.broadcast_to(values, (problem.problems, problem.dimension)).copy()


def _per_coordinate(job: Job) -> tuple[Array, Array]:
    """Return L_l and mu_l of every coordinate's block, each (M, P)."""
    sizes = job.problem.block_sizes
    return (
        np.repeat(job.problem.block_smoothness, sizes, axis=1),
        np.repeat(job.problem.block_strong_convexity, sizes, axis=1),
    )


@lru_cache(maxsize=64)
def _compiled(rule: Rule) -> Callable[..., tuple[Any, ...]]:
    """Return the entries of A(lambda) and of its increment as one NumPy function."""
    form = rule.linear_form
    assert form is not None
    arguments = (form.eigenvalue, symbols.L_l, symbols.mu_l, symbols.lr, *rule.hyperparameters)
    function: Callable[..., tuple[Any, ...]] = sp.lambdify(
        arguments, (*form.matrix, *form.increment), modules="numpy", cse=True
    )
    return function


def _evaluate(job: Job, modes: _Modes) -> _Recursion:
    """Return A(lambda) for every problem, setting and mode."""
    form = job.rule.linear_form
    assert form is not None
    n = form.matrix.shape[0]
    settings = [job.settings[name][None, :, None] for name in job.rule.names]
    per_coordinate = [x[:, None] for x in _per_coordinate(job)]
    shape = (job.problem.problems, job.number_of_settings, job.problem.dimension)
    entries = _compiled(job.rule)(modes.eigenvalues[:, None], *per_coordinate, *settings)
    arrays = [np.broadcast_to(entry, shape).astype(np.float64) for entry in entries]
    return _Recursion([arrays[i * n : (i + 1) * n] for i in range(n)], arrays[n * n :])


def _without_memory(job: Job, modes: _Modes, recursion: _Recursion) -> Outcome:
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
    at_once = max(1, _NUMBERS_AT_ONCE // amplitude.size)
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
    return Outcome(gaps, hit, stay, mean, diverged, _observe(job, modes, states()))


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


def _with_memory(job: Job, modes: _Modes, recursion: _Recursion) -> Outcome:
    """Run a rule with one state: go from one recorded step to the next by powers of A, then find the first passages."""
    shape = recursion.increment[0].shape
    start = np.broadcast_to(modes.start[:, None], shape)
    absent = start == 0.0  # a mode that starts at 0 stays 0; its matrix may overflow, and 0 * inf is NaN
    matrix = [[np.where(absent, 0.0, entry) for entry in row] for row in recursion.matrix]
    weights = _Weights.of(np.broadcast_to(modes.eigenvalues[:, None], shape))
    states = [start, *(np.zeros(shape) for _ in matrix[1:])]
    observing = any(name != "gap" for name in job.observe)
    kept: list[tuple[Array, Array]] = []
    gaps = np.empty((*shape[:2], job.record.size))
    powers = _Powers(matrix)
    for r, t in enumerate(job.record.tolist()):
        if r:
            states = _apply(powers.of(t - int(job.record[r - 1])), states)
        gaps[:, :, r] = weights.gap(states[0])
        if observing:
            moves = [a * x for a, x in zip(recursion.increment, states, strict=True)]
            kept.append((states[0], np.sum(moves, axis=0)))
    initial = gaps[:, :, 0]
    limit = divergence_limit(initial)
    hit, diverged = _first_passage(matrix, start, weights, job.tolerance * initial, limit, job.steps)
    seen = ~(gaps <= limit[:, :, None])
    recorded = np.where(seen.any(axis=-1), job.record[seen.argmax(axis=-1)], np.inf)
    diverged = np.minimum(diverged, recorded)
    stay, mean = _later_passages(matrix, start, weights, gaps[:, :, -1], hit, diverged, job)
    return Outcome(gaps, hit, stay, mean, diverged, _observe(job, modes, iter(kept)))


def _first_passage(
    matrix: Matrix, start: Array, whole: "_Weights", threshold: Array, limit: Array, steps: int
) -> tuple[Array, Array]:
    """Return the first step at which the gap is at most `threshold`, and the first at which it is above `limit`.

    The gap may oscillate, so bisection could miss a passage: every step must be excluded by evaluation or by proof. All runs
    advance together. They leap over 2^j steps where no run can reach its threshold on the way. The proof: sqrt(2 gap) is the
    H-norm of the error, so it falls by at most the sum of the H-norms of the moves (the changes of the error from step to step).

    Even and odd steps are bounded separately: a mode with a root near -1 changes its sign at every step and has large moves, but
    moves slowly from one even step to the next. The moves u_k of one mode over two steps obey the recursion of A^2. With its
    roots r1 >= r2 >= 0, or rho e^(+-i phi) if they are complex, induction on k gives

        |u_k| <= max(1, |r1|)^k (|u_0| + min(k, 1/(r1 - r2)) |u_1 - r1 u_0|),
        |u_k| <= max(1, rho)^k (|u_0| + min(k, 1/sin phi) |u_1/rho - u_0 cos phi|).

    A run that has reached its threshold or its limit leaves the batch. A leap may pass over a divergence unseen between two
    evaluations only if the gap has returned below the limit at its end; the caller adds the divergences at recorded steps.

    Args:
        matrix: A(lambda), entries (M, K, P).
        start: coefficients of e_0, (M, K, P).
        whole: eigenvalues, (M, K, P).
        threshold: gap to reach, (M, K).
        limit: gap above which a run has diverged, (M, K).
        steps: largest step.

    Returns:
        Hit and divergence, each (M, K); `inf` where it never happens. A run stops at whichever is first.
    """
    shape = threshold.shape
    rows = np.arange(threshold.size)
    hit, diverged = np.full(threshold.size, np.inf), np.full(threshold.size, np.inf)

    def flat(array: Array) -> Array:
        return np.ascontiguousarray(array.reshape(-1, array.shape[-1]))

    low, high = threshold.ravel(), limit.ravel()
    weights, states = whole.map(flat), [flat(start), *(np.zeros_like(flat(start)) for _ in matrix[1:])]
    powers = _Powers([[flat(entry) for entry in row] for row in matrix])

    t, leap = 0, 0
    while rows.size:
        gap = weights.gap(states[0])
        is_low, is_high = gap <= low, ~(gap <= high)
        hit[rows[is_low]], diverged[rows[is_high & ~is_low]] = t, t
        stay = ~(is_low | is_high)
        if not stay.all():
            rows, low, high, weights = rows[stay], low[stay], high[stay], weights.select(stay)
            states, powers = [x[stay] for x in states], powers.select(stay)
        if t >= steps or not rows.size:
            break
        leap = min(leap, int(np.log2(steps - t)))
        while leap >= _SMALLEST_LEAP and not _may_leap(powers, states, weights, low, 1 << (leap - 1)):
            leap = leap - 2 if leap > _SMALLEST_LEAP + 1 else 0
        if leap >= _SMALLEST_LEAP:
            states, t = _apply(powers.of(1 << leap), states), t + (1 << leap)
            leap += 1
        else:
            states, t = _apply(powers.of(1), states), t + 1
            leap = _SMALLEST_LEAP if t % (1 << _SMALLEST_LEAP) == 0 else 0
    return hit.reshape(shape), diverged.reshape(shape)


def _may_leap(powers: "_Powers", states: list[Array], weights: "_Weights", threshold: Array, moves: int) -> bool:
    """Whether it is proved that no run reaches its threshold within 2 * `moves` steps; see `_first_passage`.

    NaN (0/0 in a bound, an overflow) makes the last comparison false: then no leap is taken, which is slow but never wrong.
    """
    two = powers.of(2)
    trace, determinant = two[0][0] + two[1][1], two[0][0] * two[1][1] - two[0][1] * two[1][0]
    discriminant = trace**2 - 4.0 * determinant
    # Real roots of A^2 are squares of real roots of A, so r1 = (trace + root)/2 >= r2 >= 0.
    root = np.sqrt(np.maximum(discriminant, 0.0))
    real = discriminant >= 0.0
    modulus = np.where(real, (trace + root) / 2.0, np.sqrt(np.maximum(determinant, 0.0)))
    sine = np.sqrt(np.maximum(1.0 - (trace / (2.0 * modulus)) ** 2, 0.0))
    amplification = np.minimum(float(moves), np.where(real, 1.0 / root, 1.0 / sine))
    growth = np.maximum(1.0, modulus) ** moves
    for parity in (0, 1):
        y0 = states if parity == 0 else _apply(powers.of(1), states)
        y1 = _apply(two, y0)
        y2 = _apply(two, y1)
        first, second = y1[0] - y0[0], y2[0] - y1[0]
        change = np.where(real, second - modulus * first, second / modulus - first * trace / (2.0 * modulus))
        move = growth * (np.abs(first) + amplification * np.abs(change))
        # The bound must hold in floating point too: each difference above carries at most 8 units of rounding of the three
        # positions that it is made from. Without this term a mode that has nearly stopped would seem to move less than it does.
        rounding = np.finfo(float).eps * 4.0 * (np.abs(y0[0]) + np.abs(y1[0]) + np.abs(y2[0])) * (1.0 + amplification)
        move = np.where(y0[0] == 0.0, np.where(move > 0.0, move, 0.0), move + growth * rounding)
        longest = moves * np.sqrt(2.0 * weights.gap(move))
        if not np.all(np.sqrt(2.0 * weights.gap(y0[0])) - longest > np.sqrt(2.0 * threshold)):
            return False
    return True


def _later_passages(
    matrix: Matrix, start: Array, weights: "_Weights", final: Array, hit: Array, diverged: Array, job: Job
) -> tuple[Array, Array]:
    """`Outcome.stay` and `Outcome.mean` of runs with memory, from their final gaps, first hits and divergence, each (M, K).

    Some runs at a time, so that the gaps of a window of steps of all of them fit in memory.
    """
    threshold = job.tolerance * weights.gap(start)
    stay, mean = np.where(final <= threshold, hit, np.inf), np.full(hit.shape, np.inf)
    have_hit = np.argwhere(np.isfinite(hit))
    at_once = max(1, _NUMBERS_AT_ONCE // (start.shape[-1] * _SEARCHED))
    for begin in range(0, len(have_hit), at_once):
        own = tuple(have_hit[begin : begin + at_once].T)
        powers = _Powers([[entry[own] for entry in row] for row in matrix])
        some = _Orbit(powers, start[own], weights.select(own), threshold[own])
        may_leave = np.flatnonzero(np.isfinite(stay[own]))
        stays = stay[own]
        stays[may_leave] = _last_passage(some.select(may_leave), stays[may_leave], job.steps)
        stay[own] = stays
        # The first window that begins where the run stays, or less than W steps later, is low throughout, and ends less than 2 W
        # steps later. What has diverged is not followed.
        ends = np.minimum(np.minimum(stays + 2 * MEAN_WINDOW, diverged[own]), job.steps)
        mean[own] = _first_low_window(some, hit[own], ends)
    return stay, mean


@dataclass(frozen=True)
class _Orbit:
    """Some runs, whose gaps are compared with thresholds: arrays (rows, P), thresholds (rows,)."""

    powers: "_Powers"
    start: Array
    weights: "_Weights"
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
            wide = [np.concatenate(pair, axis=1)[:, :steps] for pair in zip(wide, _apply(matrix, wide), strict=True)]
        return self.weights.map(lambda array: array[:, None]).gap(wide[0])


def _wider(window: int, rows: int, coordinates: int) -> int:
    """Twice as many steps, as far as their numbers fit."""
    return max(window, min(2 * window, _NUMBERS_AT_ONCE // (coordinates * max(rows, 1))))


def _last_passage(orbit: _Orbit, hit: Array, steps: int) -> Array:
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
        moved = _apply(powers.of(1 << bit), states)
        bound = orbit.weights.gap(_envelope(powers, moved, np.maximum(steps - after, 0.0)))
        is_open = (after < steps) & ~(bound <= orbit.threshold)
        t = np.where(is_open, after, t)
        states = [np.where(is_open[:, None], new, old) for new, old in zip(moved, states, strict=True)]
    return t


def _envelope(powers: "_Powers", states: list[Array], left: Array) -> Array:
    """Bounds (rows, P) of every mode |x_k| over the next `left` steps k, (rows,).

    A mode obeys x_(k+2) = trace x_(k+1) - determinant x_k. With the roots r1, r2 (|r1| >= |r2|) it is a r1^k + b r2^k, so that
    |x_k| <= |a| |r1|^k + |b| |r2|^k; on a pair rho e^(+-i phi) the two add up to an amplitude sqrt(x_0^2 + c^2) rho^k with
    c = (x_1/rho - x_0 cos phi) / sin phi. Where the roots (nearly) meet, a and b cancel, and

        |x_k| <= rho^k |x_0| + k rho^(k-1) |x_1 - q x_0|    with q = r1, or trace/2 on a pair,

    serves, as k rho^(k-1) <= 1 + rho + ... + rho^(k-1) <= 1/(1 - rho).
    """
    one = powers.of(1)
    x, y = states[0], _apply(one, states)[0]
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


@dataclass(frozen=True)
class _Weights:
    """Eigenvalues in two factors, lambda = rest * scale^2, where scale is a power of two.

    The gap is the sum of lambda x^2 / 2. With a small lambda, x^2 alone may overflow although lambda x^2 does not. A sum of
    rest * (scale x)^2 has the same bits, as a power of two does not round, and overflows only where the gap does.
    """

    rest: Array
    scale: Array

    @classmethod
    def of(cls, eigenvalues: Array) -> "_Weights":
        """Return the two factors of eigenvalues."""
        exponents = np.frexp(eigenvalues)[1] // 2
        return cls(np.ldexp(eigenvalues, -2 * exponents), np.ldexp(1.0, exponents))

    def gap(self, x: Array) -> Array:
        """Return the gap of modes with the coefficients x, summed over the last axis."""
        return np.asarray(np.sum(self.rest * (x * self.scale) ** 2, axis=-1) / 2.0)

    def map(self, function: Callable[[Array], Array]) -> "_Weights":
        """Return the weights with `function` applied to both factors (a reshaping)."""
        return _Weights(function(self.rest), function(self.scale))

    def select(self, rows: Rows) -> "_Weights":
        """Return the weights of some rows of the batch."""
        return _Weights(self.rest[rows], self.scale[rows])


def _apply(matrix: Matrix, states: list[Array]) -> list[Array]:
    """Return matrix times states; the error is the first state."""
    return [sum((a * x for a, x in zip(row[1:], states[1:], strict=True)), row[0] * states[0]) for row in matrix]


class _Powers:
    """Powers of a batch of small matrices by repeated squaring.

    The squares A, A^2, A^4, ... are kept, as is the last power: records that are equally far apart ask for the same power.
    """

    def __init__(self, matrix: Matrix, squares: list[Matrix] | None = None) -> None:
        self._squares = squares or [matrix]
        self._last: tuple[int, Matrix] = (1, matrix)

    def of(self, exponent: int) -> Matrix:
        """Return A^exponent; the exponent must be at least 1."""
        if self._last[0] == exponent:
            return self._last[1]
        out: Matrix | None = None
        for bit in range(exponent.bit_length()):
            if bit == len(self._squares):
                self._squares.append(_compose(self._squares[-1], self._squares[-1]))
            if exponent >> bit & 1:
                out = self._squares[bit] if out is None else _compose(self._squares[bit], out)
        assert out is not None
        self._last = (exponent, out)
        return out

    def run_to(self, states: list[Array], steps: Array) -> list[Array]:
        """Return the states after a number of steps of every row's own, (rows,)."""
        whole = steps.astype(np.int64)
        for bit in range(int(whole.max()).bit_length()):
            moves = (whole >> bit & 1).astype(bool)[:, None]
            moved = _apply(self.of(1 << bit), states)
            states = [np.where(moves, new, old) for new, old in zip(moved, states, strict=True)]
        return states

    def select(self, rows: Rows) -> "_Powers":
        """Return the powers of some rows of the batch."""
        chosen = [[[entry[rows] for entry in row] for row in square] for square in self._squares]
        return _Powers(chosen[0], chosen)


def _compose(a: Matrix, b: Matrix) -> Matrix:
    """Return the product a b."""
    columns = list(zip(*b, strict=True))
    return [
        [sum((x * y for x, y in zip(row[1:], column[1:], strict=True)), row[0] * column[0]) for column in columns]
        for row in a
    ]


def _observe(job: Job, modes: _Modes, states: Iterator[tuple[Array, Array]]) -> dict[str, Array]:
    """Return the observables (M, K, R, ...) from the coefficients of the modes and their increments at the recorded steps."""
    names = [name for name in job.observe if name != "gap"]
    if not names:
        return {}
    from quadsim.simulator.engines.observables import Observer

    observer = Observer(job.problem)
    columns: dict[str, list[Array]] = {name: [] for name in names}
    for x, increment in states:
        error, gradient, step = modes.to_error(x), modes.to_gradient(x), modes.to_error(increment)
        for name in names:
            columns[name].append(observer(name, error, gradient, step))
    return {name: np.stack(values, axis=2) for name, values in columns.items()}
