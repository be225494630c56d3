"""Compare a theorem with the recorded steps of a run in floating point, and flag violations beyond the rounding budget.

A comparison *tests* a claim only if it could fail. It tests nothing if the claimed decrease is smaller than the budget, if the
claim is about a ratio and a gap is 0 or has overflowed, or if the bound is NaN.
"""

from dataclasses import dataclass

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import Trajectory, divergence_limit
from quadsim.theory.checking.budget import evaluation_budget, growth_budget, one_step_budget, symbol_budget
from quadsim.theory.statements.quantities import evaluate, evaluate_along, sum_of_terms
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import Symbol

__all__ = ["STANDARD_ERRORS", "Compared", "compare_floats"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

STANDARD_ERRORS = 4.0
"""Number of standard errors beyond which a mean is flagged: once in 16,000 if it is true (docs/theory.md section 2)."""

_TINY = 1e-280  # below, float64 loses digits


@dataclass(frozen=True, eq=False)
class Compared:
    """The result of a comparison in floats; arrays are (M, K). Entries have no meaning where the theorem does not apply.

    Attributes:
        tested: whether any comparison could have failed.
        flagged: whether one did fail, beyond the rounding budget.
        margin: largest ratio of the observed quantity to the bound. For a lower bound it is the inverse; for an identity 1 plus
            the largest difference over the size of the terms; for an expectation the standard errors over those allowed.
        step: first flagged step; -1 if there is none.
    """

    tested: Mask
    flagged: Mask
    margin: Array
    step: NDArray[np.int64]


def compare_floats(theorem: Theorem, trajectory: Trajectory) -> Compared:
    """Compare a theorem with the recorded steps of a run in floating point."""
    if theorem.kind == "expectation":
        return _mean(theorem, trajectory)
    if theorem.is_local:
        return _from_step_to_step(theorem, trajectory)
    if theorem.is_factor:
        return _powers_of_factor(theorem, trajectory)
    return _gap_by_horizon(theorem, trajectory) if theorem.of_gap else _quantity(theorem, trajectory)


def _compared(usable: Mask, informative: Mask, violates: Mask, ratio: Array, steps: NDArray[np.int64]) -> Compared:
    """Return the result from single comparisons (M, K, steps)."""
    flagged = np.asarray(violates.any(axis=-1))
    margin = np.max(np.where(usable | violates, ratio, -np.inf), axis=-1)
    first = np.where(flagged, steps[violates.argmax(axis=-1)], -1)
    return Compared(np.asarray((usable & informative).any(axis=-1)) | flagged, flagged, margin, first)


def _powers_of_factor(theorem: Theorem, trajectory: Trajectory) -> Compared:
    """Compare the logarithms of gap_t/gap_s, for consecutive recorded steps, with those of factor^(t-s)."""
    steps, gap = trajectory.steps, trajectory.gap
    before, after = gap[:, :, :-1], gap[:, :, 1:]
    evaluation = evaluation_budget(trajectory)[:, :, None]
    sign = -1.0 if theorem.direction == "lower" else 1.0
    with np.errstate(all="ignore"):
        apart = np.diff(steps).astype(np.float64)
        per_step = np.log1p(-theorem.decrease_on(trajectory))[:, :, None]
        root = np.exp(per_step / 2.0)
        # A factor f allows sqrt(f) + growth for the root of the gap in one step (for a lower bound less growth).
        growth = growth_budget(trajectory, root[:, :, 0])[:, :, None]
        shifted = 2.0 * np.log(np.maximum(root + sign * growth, 0.0))
        # A closed form evaluates the power of each step separately: the rounding of a factor counts t times, not t - s times.
        counted = steps[1:].astype(np.float64) if trajectory.engine == "closed-form" else apart
        bound = per_step * apart
        limit = (
            np.where(np.isinf(per_step), shifted * apart, bound + (shifted - per_step) * counted) + sign * evaluation
        )
        start = np.where((before > _TINY) & np.isfinite(before), np.log(before), np.nan)
    return _logarithms(theorem, trajectory, start, after, bound, limit, steps[1:])


def _gap_by_horizon(theorem: Theorem, trajectory: Trajectory) -> Compared:
    """Compare the logarithm of gap_t, or of gap_t/gap_0, with that of the bound at step t."""
    steps, gap = trajectory.steps, trajectory.gap
    sign = -1.0 if theorem.direction == "lower" else 1.0
    with np.errstate(all="ignore"):
        bound = _log_bounds(theorem, trajectory)
        if theorem.rounding is not None:
            slack = theorem.rounding(trajectory)
        else:
            slack = np.log1p(2.0 * growth_budget(trajectory)[:, :, None] * steps)
        slack = slack + evaluation_budget(trajectory)[:, :, None]
        first = gap[:, :, :1]
        start = np.where(first > 0.0, np.log(first), np.nan) if theorem.quantity != Symbol.gap else np.zeros_like(first)
    found = _logarithms(theorem, trajectory, start, gap, bound, bound + sign * slack, steps)
    if steps.size == 1:
        return found
    # The start may violate a claim; if it does not, the run is not tested by that.
    later = _logarithms(
        theorem, trajectory, start, gap[:, :, 1:], bound[:, :, 1:], (bound + sign * slack)[:, :, 1:], steps[1:]
    )
    return Compared(
        later.tested | found.flagged, found.flagged, np.where(found.flagged, found.margin, later.margin), found.step
    )


def _log_bounds(theorem: Theorem, trajectory: Trajectory) -> Array:
    """Return the logarithm of the bound at every recorded step, (M, K, R), without powers of t, a few steps at a time."""
    logarithm = sp.expand_log(sp.log(theorem.bound), force=True)
    at_once = max(1, int(1e7 / (trajectory.gap[:, :, 0].size * trajectory.problem.dimension)))
    out = np.empty(trajectory.gap.shape)
    for begin in range(0, trajectory.steps.size, at_once):
        part = slice(begin, begin + at_once)
        out[:, :, part] = evaluate_along(logarithm, trajectory, trajectory.steps[part])
    return out


def _logarithms(
    theorem: Theorem,
    trajectory: Trajectory,
    start: Array,
    after: Array,
    bound: Array,
    limit: Array,
    steps: NDArray[np.int64],
) -> Compared:
    """Compare log(after) - start with `bound`, which rounding moves to `limit`."""
    direction = theorem.direction
    with np.errstate(all="ignore"):
        seen = np.log(after) - start
        known = ~np.isnan(start) & ~np.isnan(bound)
        small, large = after <= _TINY, np.isinf(after)
        slack = np.abs(limit - bound)
        most = np.log(divergence_limit(trajectory.gap[:, :, 0]))[:, :, None] - start  # what a diverged run has passed
        least = np.log(_TINY) - start
        over = np.where(large, limit < most, ~small & (seen > limit))
        if direction == "upper":
            violates, usable = over, ~large
            informative = small | np.where(bound < 0.0, limit < 0.0, slack < 1.0)
            excess = np.where(small, -np.inf, seen - np.where(np.isinf(bound), limit, bound))
        else:
            floor = bound - slack
            under = np.where(small, floor > least, ~large & (seen < floor))
            violates, usable = (under, ~small) if direction == "lower" else (under | over, ~small & ~large)
            informative = slack < 1.0
            excess = bound - seen if direction == "lower" else np.abs(seen - bound)
            excess = np.where(large, -np.inf if direction == "lower" else np.inf, excess)
        ratio = np.where(violates & large, np.inf, np.exp(excess))
    return _compared(known & usable, np.asarray(informative), known & violates, ratio, steps)


def _from_step_to_step(theorem: Theorem, trajectory: Trajectory) -> Compared:
    """Compare gap_{t+1} with bound(w_t) gap_t, where both steps are recorded."""
    steps, gap = trajectory.steps, trajectory.gap
    before, after = gap[:, :, :-1], gap[:, :, 1:]
    sign = -1.0 if theorem.direction == "lower" else 1.0
    with np.errstate(all="ignore"):
        factor = evaluate_along(theorem.bound, trajectory)[:, :, :-1]
        known = (before > _TINY) & np.isfinite(before) & np.isfinite(factor) & (np.diff(steps) == 1)
        terms = sum_of_terms(theorem.bound, trajectory)[:, :, :-1]
        blurred = symbol_budget(trajectory)[:, :, None] * (terms + 2.0) * before
        large = np.isinf(after)
        limit = divergence_limit(gap[:, :, 0])[:, :, None]
        seen = np.where(large, limit, after)
        slack = blurred + one_step_budget(trajectory, before, seen)
        excess = sign * (seen - factor * before)
        if theorem.direction == "equal":
            excess = np.abs(excess)
        violates = known & (excess > slack) & ~(large & (sign < 0))
        informative = slack < np.where(factor < 1.0, 1.0 - factor, np.abs(factor)) * before
        # A bound that is 0 up to rounding has no ratio: what exceeds it is measured against the gap before.
        floor = np.maximum(np.abs(factor), blurred / before)
        ratio = seen / before / floor if sign > 0 else floor * before / seen
    return _compared(known & ~large, informative, violates, ratio, steps[1:])


def _quantity(theorem: Theorem, trajectory: Trajectory) -> Compared:
    """Compare a quantity other than the gap with its bound, at every recorded step where both are defined."""
    assert theorem.quantity is not None
    sign = -1.0 if theorem.direction == "lower" else 1.0
    with np.errstate(all="ignore"):
        seen, bound = (evaluate_along(x, trajectory) for x in (theorem.quantity, theorem.bound))
        usable = np.isfinite(seen) & np.isfinite(bound)
        terms = sum_of_terms(theorem.quantity, trajectory) + sum_of_terms(theorem.bound, trajectory)
        slack = symbol_budget(trajectory)[:, :, None] * terms
        excess = sign * (seen - bound)
        if theorem.direction == "equal":
            excess = np.abs(excess)
            ratio, informative = 1.0 + excess / terms, slack < terms
        else:
            ratio = seen / bound if sign > 0 else bound / seen
            informative = slack < np.maximum(np.abs(seen), np.abs(bound))
    return _compared(usable, informative, usable & (excess > slack), ratio, trajectory.steps)


def _mean(theorem: Theorem, trajectory: Trajectory) -> Compared:
    """Compare the mean over the problems at the last recorded step, once per setting; all problems share the result."""
    assert theorem.quantity is not None
    assert theorem.variance is not None
    last = int(trajectory.steps[-1])
    seen = evaluate_along(theorem.quantity, trajectory)[:, :, -1]
    expected = evaluate(theorem.bound.subs(Symbol.t, last), trajectory)
    variance = evaluate(theorem.variance.subs(Symbol.t, last), trajectory)
    with np.errstate(all="ignore"):
        errors = (np.sum(seen - expected, axis=0) / np.sqrt(np.sum(variance, axis=0)))[None, :]
    if theorem.direction == "equal":
        errors = np.abs(errors)
    elif theorem.direction == "lower":
        errors = -errors
    errors = np.broadcast_to(errors, trajectory.status.shape)
    flagged = np.asarray(errors > STANDARD_ERRORS)
    return Compared(~np.isnan(errors), flagged, errors / STANDARD_ERRORS, np.where(flagged, last, -1))
