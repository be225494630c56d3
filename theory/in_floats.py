"""A theorem against what a run recorded, in floating point: what lies beyond the rounding budget is flagged."""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.trajectory import Trajectory, divergence_limit
from quadsim.theory.budget import evaluation_budget, growth_budget, one_step_budget, symbol_budget
from quadsim.theory.quantities import evaluate, evaluate_along, sum_of_terms
from quadsim.theory.symbols import Symbol
from quadsim.theory.theorem import Theorem

__all__ = ["STANDARD_ERRORS", "compare_floats"]

Array = NDArray[np.float64]
Found = tuple[NDArray[np.bool_], Array, NDArray[np.int64]]

STANDARD_ERRORS = 4.0
"""A mean this many standard errors off is flagged: once in 16,000 true ones (theory.md section 2)."""

_TINY = 1e-280  # below, float64 loses digits


def compare_floats(theorem: Theorem, trajectory: Trajectory) -> Found:
    """Flag, margin and first flagged step, (M, K) each; only where the theorem applies do they mean anything.

    The margin is the largest ratio of what was seen to the bound (of a lower bound the inverse; of an identity 1 plus the
    largest difference over the size of the terms; of an expectation the standard errors over those allowed).
    """
    if theorem.kind == "expectation":
        return _mean(theorem, trajectory)
    if theorem.is_local:
        return _from_step_to_step(theorem, trajectory)
    if theorem.is_factor:
        return _powers_of_factor(theorem, trajectory)
    return _gap_by_horizon(theorem, trajectory) if theorem.of_gap else _quantity(theorem, trajectory)


def _usable(gap: Array) -> NDArray[np.bool_]:
    return np.asarray((gap > _TINY) & np.isfinite(gap))


def _powers_of_factor(theorem: Theorem, trajectory: Trajectory) -> Found:
    """Logarithms of gap_t/gap_s for consecutive recorded steps against factor^(t-s)."""
    steps, gap = trajectory.steps, trajectory.gap
    usable = _usable(gap[:, :, 1:]) & (gap[:, :, :-1] > _TINY)
    evaluation = evaluation_budget(trajectory)[:, :, None]
    with np.errstate(all="ignore"):
        apart = np.diff(steps).astype(np.float64)
        per_step = np.log1p(-theorem.decrease_on(trajectory))[:, :, None]
        root = np.exp(per_step / 2.0)
        sign = -1.0 if theorem.direction == "lower" else 1.0
        # A factor f allows sqrt(f) + growth for the root of the gap in one step (for a lower bound less growth).
        growth = growth_budget(trajectory, root[:, :, 0])[:, :, None]
        shifted = 2.0 * np.log(root + sign * growth)
        # A closed form takes each step's power anew, so that what rounding does to a factor counts t times, not t - s times.
        counted = steps[1:].astype(np.float64) if trajectory.engine == "closed-form" else apart
        bound, slack = per_step * apart, np.abs(shifted - per_step) * counted + evaluation
        seen = np.log(gap[:, :, 1:]) - np.log(gap[:, :, :-1])
        allowed = per_step[:, :, 0] * float(steps[-1])
        excess = sign * (seen - bound)
        # Where the bound is 0 up to rounding its slack is infinite and there is no ratio to report.
        excess = np.where(np.isinf(slack), np.minimum(excess, 0.0), excess)
    return _verdicts(theorem, trajectory, excess, slack, usable, allowed)


def _gap_by_horizon(theorem: Theorem, trajectory: Trajectory) -> Found:
    """Logarithms of gap_t, or of gap_t/gap_0, against the bound at step t."""
    steps, gap = trajectory.steps, trajectory.gap
    usable = _usable(gap[:, :, 1:])
    evaluation = evaluation_budget(trajectory)[:, :, None]
    with np.errstate(all="ignore"):
        bound = np.stack([theorem.log_bound(trajectory, int(t)) for t in steps[1:]], axis=-1)
        if theorem.rounding is not None:
            slack = theorem.rounding(trajectory)[:, :, 1:] + evaluation
        else:
            slack = np.log1p(2.0 * growth_budget(trajectory)[:, :, None] * steps[1:]) + evaluation
        start = 0.0 if theorem.kind == "identity" else np.log(gap[:, :, :1])
        excess = np.log(gap[:, :, 1:]) - start - bound
        allowed = np.max(bound, axis=-1)
    if theorem.direction != "upper":
        excess = np.abs(excess) if theorem.direction == "equal" else -excess
    return _verdicts(theorem, trajectory, excess, slack, usable, allowed)


def _verdicts(
    theorem: Theorem, trajectory: Trajectory, excess: Array, slack: Array, usable: NDArray[np.bool_], allowed: Array
) -> Found:
    """From logarithms. A run that diverged violates an upper bound that never allowed the gap to grow so far."""
    steps, gap = trajectory.steps, trajectory.gap
    violates = usable & ~(excess <= slack)
    flagged = violates.any(axis=-1)
    first = np.where(flagged, steps[1:][violates.argmax(axis=-1)], -1)
    with np.errstate(over="ignore"):
        margin = np.exp(np.max(np.where(usable, excess, -np.inf), axis=-1))
    if theorem.direction == "upper":
        with np.errstate(divide="ignore"):
            factor = np.log(divergence_limit(gap[:, :, 0]) / gap[:, :, 0])
        escaped = (trajectory.status == "diverged") & (allowed < factor)
        first = np.where(escaped & ~flagged, steps[np.isinf(gap).argmax(axis=-1)], first)
        flagged, margin = flagged | escaped, np.where(escaped, np.inf, margin)
    return np.asarray(flagged), margin, first


def _from_step_to_step(theorem: Theorem, trajectory: Trajectory) -> Found:
    """gap_{t+1} against bound(w_t) gap_t, where both steps are recorded."""
    steps, gap = trajectory.steps, trajectory.gap
    before, after = gap[:, :, :-1], gap[:, :, 1:]
    usable = _usable(before) & _usable(after) & (np.diff(steps) == 1)
    sign = -1.0 if theorem.direction == "lower" else 1.0
    with np.errstate(all="ignore"):
        factor = evaluate_along(theorem.bound, trajectory)[:, :, :-1]
        usable &= np.isfinite(factor)
        terms = sum_of_terms(theorem.bound, trajectory)[:, :, :-1]
        known = symbol_budget(trajectory)[:, :, None] * (terms + 2.0) * before
        slack = known + one_step_budget(trajectory, before, after)
        excess = sign * (after - factor * before)
        if theorem.direction == "equal":
            excess = np.abs(excess)
        violates = usable & ~(excess <= slack)
        # A bound that is 0 up to rounding has no ratio: what exceeds it is measured against the gap before.
        floor = np.maximum(np.abs(factor), known / before)
        ratio = after / before / floor if sign > 0 else floor * before / after
        margin = np.max(np.where(usable, ratio, -np.inf), axis=-1)
    flagged = violates.any(axis=-1)
    return flagged, margin, np.where(flagged, steps[1:][violates.argmax(axis=-1)], -1)


def _quantity(theorem: Theorem, trajectory: Trajectory) -> Found:
    """Another quantity than the gap against its bound, at every recorded step where both are defined."""
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
            ratio = 1.0 + excess / terms
        else:
            ratio = seen / bound if sign > 0 else bound / seen
    violates = usable & ~(excess <= slack)
    flagged = np.asarray(violates.any(axis=-1))
    margin = np.max(np.where(usable, ratio, -np.inf), axis=-1)
    return flagged, margin, np.where(flagged, trajectory.steps[violates.argmax(axis=-1)], -1)


def _mean(theorem: Theorem, trajectory: Trajectory) -> Found:
    """The mean over the problems at the last recorded step, one look for each setting; all problems share its outcome."""
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
    flagged: NDArray[np.bool_] = np.asarray(errors > STANDARD_ERRORS) | np.isnan(errors)
    return flagged, errors / STANDARD_ERRORS, np.where(flagged, last, -1)
