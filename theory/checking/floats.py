"""Compare a theorem with the recorded steps of a run in floating point, and flag violations beyond the rounding budget.

A comparison *tests* a claim only if it could fail. It tests nothing if what rounding can do is more than a tenth of what is
claimed, if the claim lies below the gaps that the number type can hold (a censored gap is only known to be small), if the claim
is about a ratio and a gap is 0 or has overflowed, or if the bound is NaN.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import Trajectory, divergence_limit
from quadsim.theory.checking.budget import (
    evaluation_budget,
    growth_budget,
    is_over_Lambda_G,
    one_step_budget,
    path_budget,
    spectral_radius,
    symbol_budgets,
)
from quadsim.theory.checking.records import censored_below
from quadsim.theory.running.values import canonical_name, smallest_eigenvalue
from quadsim.theory.statements.theorem import Theorem

__all__ = ["HIDDEN", "MOST_SLACK", "OBSTACLES", "STANDARD_ERRORS", "Compared", "compare_floats"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

STANDARD_ERRORS = 4.0
"""Number of standard errors beyond which a mean is flagged: once in 16,000 if it is true (docs/theory.md section 2). Of several
means each may be further off, so that all of them together are flagged as seldom."""

MOST_SLACK = 0.1
"""Largest share of a claim that rounding may take up: a comparison with a larger one could hide a claim that is false."""

OBSTACLES = (
    "",
    "the theorem says nothing at the recorded steps (a side of the claim has no value)",
    "what rounding can do is more than a tenth of the claim",
    "gaps of 0, below what the number type can hold or beyond overflow",
)
"""Why none of the comparisons of a run could have failed, by number; 0: some could."""

HIDDEN = 2
"""Position in OBSTACLES of a claim that rounding hides."""


@dataclass(frozen=True, eq=False)
class Compared:
    """The result of a comparison in floats; arrays are (M, K). Entries have no meaning where the theorem does not apply.

    Attributes:
        tested: whether any comparison could have failed.
        flagged: whether one did fail, beyond the rounding budget.
        margin: largest ratio of the observed quantity to the bound. For a lower bound it is the inverse; for an identity 1 plus
            the largest difference over the size of the terms; for an expectation the standard errors over those allowed.
        step: first flagged step; -1 if there is none.
        recorded: number of comparisons that the records would allow.
        compared: number of comparisons that could have failed.
        undefined: first step at which the bound has no value although the gaps have; -1 if there is none.
        slack: largest share of a claim that rounding may take up, over the comparisons that could have failed.
        noticed: relative size of an error of a record that would have been flagged, (M, K, recorded); infinite where the
            comparison could not have failed.
        obstacle: position in OBSTACLES of the reason why nothing was tested; 0 where something was.
        clear: whether the claim holds by more than the rounding budget, (M, K, recorded): in exact arithmetic it cannot fail
            there, unless the budget or a constant is wrong.
        steps: the step of every comparison, (recorded,).
    """

    tested: Mask
    flagged: Mask
    margin: Array
    step: NDArray[np.int64]
    recorded: int
    compared: NDArray[np.int64]
    undefined: NDArray[np.int64]
    slack: Array
    noticed: Array
    obstacle: NDArray[np.int64]
    clear: Mask
    steps: NDArray[np.int64]


def compare_floats(
    theorem: Theorem, trajectory: Trajectory, known_to: Array | None = None, *, errors: float = STANDARD_ERRORS
) -> Compared:
    """Compare a theorem with the recorded steps of a run in floating point.

    Args:
        theorem: the statement.
        trajectory: the run.
        known_to: relative error of every gap that was made again from the rule (`Records.noticed`), (M, K, R), for statements
            whose two sides are both gaps of the run; None: that of their evaluation alone.
        errors: number of standard errors beyond which a mean is flagged.
    """
    if theorem.kind == "expectation":
        return _mean(theorem, trajectory, errors)
    if theorem.is_local:
        return _from_step_to_step(theorem, trajectory)
    if theorem.is_factor:
        return _powers_of_factor(theorem, trajectory)
    return _gap_by_horizon(theorem, trajectory) if theorem.of_gap else _quantity(theorem, trajectory, known_to)


@dataclass(frozen=True, eq=False)
class _Single:
    """Single comparisons, (M, K, steps): which are known, could have failed and did fail, with ratio, share and noticed size."""

    known: Mask
    informative: Mask
    violates: Mask
    undefined: Mask
    ratio: Array
    share: Array
    noticed: Array
    steps: NDArray[np.int64]
    clear: Mask

    def together(self) -> Compared:
        """Return the result over all steps."""
        flagged = np.asarray(self.violates.any(axis=-1))
        could = self.known & self.informative
        counted = could | self.violates
        margin = np.max(np.where(self.known | self.violates, self.ratio, -np.inf), axis=-1, initial=-np.inf)

        def first(mask: Mask) -> NDArray[np.int64]:
            return np.where(mask.any(axis=-1), self.steps[mask.argmax(axis=-1)], -1)

        return Compared(
            tested=np.asarray(could.any(axis=-1)) | flagged,
            flagged=flagged,
            margin=margin,
            step=first(self.violates),
            recorded=self.steps.size,
            compared=np.asarray(counted.sum(axis=-1)),
            undefined=first(self.undefined),
            slack=np.max(np.where(could, self.share, 0.0), axis=-1, initial=0.0),
            noticed=np.where(counted, self.noticed, np.inf),
            obstacle=np.where(could.any(axis=-1) | flagged, 0, self._obstacle()),
            clear=could & self.clear & ~self.violates,
            steps=self.steps,
        )

    def _obstacle(self) -> NDArray[np.int64]:
        """Return the position in OBSTACLES of what stands against a comparison, if none could have failed, (M, K)."""
        wide = (self.known & ~(self.share > MOST_SLACK)).any(axis=-1)
        return np.where(self.known.any(axis=-1), np.where(wide, 3, 2), 1)


def _powers_of_factor(theorem: Theorem, trajectory: Trajectory) -> Compared:
    """Compare the logarithms of gap_t/gap_s, for consecutive recorded steps, with those of factor^(t-s)."""
    steps, gap = trajectory.steps, trajectory.gap
    before, after = gap[:, :, :-1], gap[:, :, 1:]
    sign = -1.0 if theorem.direction == "lower" else 1.0
    with np.errstate(all="ignore"):
        apart = np.diff(steps).astype(np.float64)
        decrease = theorem.decrease_on(trajectory)
        # A small factor loses its digits in 1 - factor, a factor close to 1 in the factor itself.
        small = decrease > 0.5
        factor = _factor(theorem, trajectory) if small.any() else 1.0 - decrease
        per_step = np.where(small, np.log(factor), np.log1p(-decrease))[:, :, None]
        root = np.exp(per_step / 2.0)
        # A factor f allows sqrt(f) + growth for the root of the gap in one step (for a lower bound less growth).
        growth = growth_budget(trajectory, root[:, :, 0])
        if trajectory.rule is None or not trajectory.rule.is_linear:
            # For a linear rule the growth holds what the constants of the factor are off by; else they pay for themselves.
            from quadsim.theory.statements.quantities import relative_error

            known_to = relative_error(theorem.bound, symbol_budgets(trajectory))
            growth = growth + known_to * np.abs(decrease) / np.maximum(root[:, :, 0], 1e-300) / 2.0
        shifted = 2.0 * np.log(np.maximum(root + sign * growth[:, :, None], 0.0))
        # A closed form evaluates the power of each step separately: the rounding of a factor counts t times, not t - s times.
        counted = steps[1:].astype(np.float64) if trajectory.engine == "closed-form" else apart
        bound = per_step * apart
        limit = np.where(np.isinf(per_step), shifted * apart, bound + (shifted - per_step) * counted)
        usable = (before > censored_below(trajectory)) & np.isfinite(before) & _squares_are_held(trajectory)[:, :, :-1]
        start = np.where(usable, before, np.nan)
    found = _logarithms(theorem, trajectory, start, after, bound, limit, steps[1:], apart, np.abs(bound))
    return replace(found, clear=found.clear & (apart == 1.0))  # over several steps one of them may fail


def _factor(theorem: Theorem, trajectory: Trajectory) -> Array:
    """Return the factor of a step, (M, K)."""
    from quadsim.theory.statements.quantities import evaluate

    return evaluate(theorem.bound, trajectory)


def _gap_by_horizon(theorem: Theorem, trajectory: Trajectory) -> Compared:
    """Compare the logarithm of gap_t, or of gap_t/gap_0, with that of the bound at step t."""
    from quadsim.theory.symbols import Symbol

    steps, gap = trajectory.steps, trajectory.gap
    with np.errstate(all="ignore"):
        first = gap[:, :, :1]
        start = np.where(first > 0.0, first, np.nan) if theorem.quantity != Symbol.gap else np.ones_like(first)
        bound = _log_bounds(theorem, trajectory)
        limit = _horizon_limit(theorem, trajectory, bound, np.log(first / start))
    spread = np.broadcast_to(start, gap.shape)
    moduli = _moduli_of_logarithms(theorem, trajectory)
    apart = np.maximum(steps, 1).astype(np.float64)
    return _logarithms(theorem, trajectory, spread, gap, bound, limit, steps, apart, moduli)


def _moduli_of_logarithms(theorem: Theorem, trajectory: Trajectory) -> Array:
    """Return the sum of the moduli of the logarithms that make up that of the bound, (M, K, R): they may cancel in it."""
    import sympy as sp

    from quadsim.theory.statements.quantities import evaluate_along

    moduli = sp.Add(*(sp.Abs(term) for term in sp.Add.make_args(theorem.log_of_bound)))
    found = evaluate_along(moduli, trajectory, trajectory.steps)
    return np.where(np.isfinite(found), found, 0.0)


def _horizon_limit(theorem: Theorem, trajectory: Trajectory, bound: Array, log_start: Array) -> Array:
    """Return the logarithm of the bound at every recorded step, moved by what rounding can do until then.

    With rho the spectral radius of the recursion, each step adds growth to it: |e_t| is off by at most
    ((rho + growth)^t - rho^t) |e_0|, and the root of the gap likewise. This is relative to rho, not to 1, and it does not
    vanish where the bound does. For heavy-ball, whose powers grow like t rho^t, it is relative to the bound.
    """
    sign = -1.0 if theorem.direction == "lower" else 1.0
    steps = trajectory.steps.astype(np.float64)
    if theorem.rounding is not None:
        return bound + sign * theorem.rounding(trajectory)
    growth = np.broadcast_to(growth_budget(trajectory), trajectory.status.shape)[:, :, None]
    radius = spectral_radius(trajectory)
    if radius is None:
        return bound + sign * np.log1p(2.0 * growth * steps)
    rho = radius[:, :, None]
    if canonical_name(trajectory.rule) == "heavy-ball":
        relative = 2.0 * steps * np.log1p(growth / rho)
        vanishing = 2.0 * (steps * np.log(growth) + np.log1p(2.0 * steps))  # at rho = 0
        return np.where(steps == 0.0, bound, np.where(rho > 0.0, bound + sign * relative, vanishing))
    power = steps * np.log1p(growth / rho)
    added = np.where(rho > 0.0, steps * np.log(rho) + np.log(np.expm1(power)), steps * np.log(growth)) + log_start / 2.0
    added = np.where(steps == 0.0, -np.inf, added)
    if sign > 0:
        return np.asarray(2.0 * np.logaddexp(bound / 2.0, added))
    return np.asarray(bound + 2.0 * np.log1p(-np.minimum(np.exp(added - bound / 2.0), 1.0)))


def _log_bounds(theorem: Theorem, trajectory: Trajectory) -> Array:
    """Return the logarithm of the bound at every recorded step, (M, K, R), without powers of t, a few steps at a time."""
    from quadsim.theory.statements.quantities import evaluate_along

    logarithm = theorem.log_of_bound
    at_once = max(1, int(1e7 / (trajectory.gap[:, :, 0].size * trajectory.problem.dimension)))
    out = np.empty(trajectory.gap.shape)
    for begin in range(0, trajectory.steps.size, at_once):
        part = slice(begin, begin + at_once)
        out[:, :, part] = evaluate_along(logarithm, trajectory, trajectory.steps[part])
    return out


def _logarithm_of_ratio(after: Array, before: Array) -> Array:
    """Return log(after/before): from the difference where they are close, so that no digit is lost to the size of either."""
    ratio = after / before
    close = np.abs(ratio - 1.0) < 0.5
    plain = np.where((ratio > 0.0) & np.isfinite(ratio), np.log(ratio), np.log(after) - np.log(before))
    return np.where(close, np.log1p((after - before) / before), plain)


def _logarithms(
    theorem: Theorem,
    trajectory: Trajectory,
    before: Array,
    after: Array,
    bound: Array,
    limit: Array,
    steps: NDArray[np.int64],
    apart: Array,
    moduli: Array,
) -> Compared:
    """Compare log(after/before) with `bound`, which rounding in the run moves to `limit`; NaN in `before`: not compared.

    `moduli` is the sum of the moduli of the logarithms in the bound, each of which is rounded.
    """
    direction, unit = theorem.direction, float(np.finfo(float).eps)
    floor = censored_below(trajectory)
    with np.errstate(all="ignore"):
        seen = _logarithm_of_ratio(after, before)
        # The evaluation of both gaps, and of both logarithms.
        blur = evaluation_budget(trajectory)[:, :, None] + unit * (2.0 + moduli)
        blur = np.where(np.isfinite(bound), blur, evaluation_budget(trajectory)[:, :, None] + 2.0 * unit)
        limit = limit + np.where(direction == "lower", -blur, blur)
        usable = ~np.isnan(before)
        known = usable & ~np.isnan(bound) & ~np.isnan(limit)
        undefined = usable & np.isnan(bound)
        small, large = after <= floor, np.isinf(after)
        slack = np.where(limit == bound, 0.0, np.abs(limit - bound))
        most = np.log(divergence_limit(trajectory.gap[:, :, 0]))[:, :, None] - np.log(
            before
        )  # what a diverged run has passed
        least = np.log(floor) - np.log(before)  # a smaller gap is only known to be smaller
        over = np.where(large, limit < most, ~small & (seen > limit))
        share = _share(bound, limit, slack, apart, direction)
        if direction == "upper":
            violates = over
            # A gap below the floor bears out what would be flagged above the floor, and tests nothing else.
            informative = (share <= MOST_SLACK) & ~large & (~small | (limit > least))
            excess = np.where(small | large, -np.inf, seen - np.where(np.isinf(bound), limit, bound))
            noticed = np.where(small, np.exp(limit - least), np.exp(limit - seen)) - 1.0
        else:
            low = bound - slack
            under = np.where(small, low > least, ~large & (seen < low))
            violates = under if direction == "lower" else under | over
            informative = (share <= MOST_SLACK) & ~small & (~large | (direction == "lower"))
            excess = bound - seen if direction == "lower" else np.abs(seen - bound)
            excess = np.where(large, -np.inf if direction == "lower" else np.inf, excess)
            noticed = np.where(large, np.inf, seen - low if direction == "lower" else slack + np.abs(seen - bound))
            noticed = -np.expm1(-noticed)
        ratio = np.where(violates & large, np.inf, np.exp(excess))
        clear = {"upper": seen < bound - slack, "lower": seen > bound + slack}.get(direction, np.zeros_like(known))
        clear &= ~small & ~large
    # The start may violate a claim about gap_t; if it does not, the run is not tested by that.
    informative = np.asarray(informative) & ((steps > 0) | (steps.size == 1))
    return _Single(known, informative, known & violates, undefined, ratio, share, noticed, steps, clear).together()


def _share(bound: Array, limit: Array, slack: Array, apart: Array, direction: str) -> Array:
    """Return the share of a claim that rounding takes up.

    An upper bound below 1 claims a decrease per step, 1 - factor; rounding turns it into another factor. A bound of 1 or more,
    a lower bound and an identity claim a value: the share is the relative error of that.
    """
    relative = np.where(np.isinf(bound), np.where(direction == "upper", 0.0, np.inf), np.expm1(slack))
    if direction != "upper":
        return np.asarray(relative)
    claimed = -np.expm1(bound / apart)
    lost = np.exp(limit / apart) - np.exp(bound / apart)
    return np.asarray(np.where(bound < 0.0, lost / claimed, relative))


def _from_step_to_step(theorem: Theorem, trajectory: Trajectory) -> Compared:
    """Compare gap_{t+1} with bound(w_t) gap_t, where both steps are recorded."""
    from quadsim.theory.statements.quantities import evaluate_along, sum_of_terms
    from quadsim.theory.symbols import Symbol

    steps, gap = trajectory.steps, trajectory.gap
    before, after = gap[:, :, :-1], gap[:, :, 1:]
    sign = -1.0 if theorem.direction == "lower" else 1.0
    floor = censored_below(trajectory)
    with np.errstate(all="ignore"):
        factor = evaluate_along(theorem.bound, trajectory)[:, :, :-1]
        usable = (
            (before > floor) & np.isfinite(before) & (np.diff(steps) == 1) & _squares_are_held(trajectory)[:, :, :-1]
        )
        known = usable & np.isfinite(factor)
        budgets = symbol_budgets(trajectory)
        _, error = sum_of_terms(theorem.bound, trajectory, budgets)
        blurred = (error[:, :, :-1] + 2.0 * budgets[Symbol.gap][..., None]) * before
        large = np.isinf(after)
        limit = divergence_limit(gap[:, :, 0])[:, :, None]
        seen = np.where(large, limit, after)
        slack = blurred + one_step_budget(trajectory, before, seen)
        excess = sign * (seen - factor * before)
        if theorem.direction == "equal":
            excess = np.abs(excess)
        violates = known & (excess > slack) & ~(large & (sign < 0))
        claimed = np.where((factor < 1.0) & (sign > 0), 1.0 - factor, np.abs(factor)) * before
        share = slack / claimed
        informative = (share <= MOST_SLACK) & ((after > floor) | (factor * before > floor))
        # A bound that is 0 up to rounding has no ratio: what exceeds it is measured against the gap before.
        least = np.maximum(np.abs(factor), blurred / before)
        ratio = seen / before / least if sign > 0 else least * before / seen
        noticed = (slack - excess if theorem.direction != "equal" else slack + excess) / seen
        # A gap of 0 has no ratio, and the solution is left by no step: nothing is claimed there.
        undefined = usable & ~np.isfinite(factor) & (np.diff(steps) == 1)
        clear = (excess < -slack) & (theorem.direction != "equal")
    return _Single(known & ~large, informative, violates, undefined, ratio, share, noticed, steps[1:], clear).together()


def _squares_are_held(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Return whether the number type certainly holds the squares that a rule adds up at every recorded step, (M, K, R).

    A step of length lr/Lambda_G divides sum_l L_l |g_l|^2 by |g|^2, which are at least 2 mu^2 and 2 mu times the gap.
    """
    if not is_over_Lambda_G(trajectory.rule):
        return np.ones(trajectory.gap.shape, dtype=bool)
    low = smallest_eigenvalue(trajectory)[..., None]
    with np.errstate(all="ignore"):
        return np.asarray(2.0 * low * np.minimum(low, 1.0) * trajectory.gap > censored_below(trajectory))


def _quantity(theorem: Theorem, trajectory: Trajectory, known_to: Array | None) -> Compared:
    """Compare a quantity other than the gap with its bound, at every recorded step where both are defined."""
    from quadsim.theory.statements.quantities import evaluate_along, relative_error, sum_of_terms
    from quadsim.theory.symbols import Symbol

    assert theorem.quantity is not None
    sign = -1.0 if theorem.direction == "lower" else 1.0
    with np.errstate(all="ignore"):
        seen, bound = (evaluate_along(x, trajectory) for x in (theorem.quantity, theorem.bound))
        usable = np.isfinite(seen) & np.isfinite(bound)
        budgets = symbol_budgets(trajectory)
        (first, first_error), (second, second_error) = (
            sum_of_terms(x, trajectory, budgets) for x in (theorem.quantity, theorem.bound)
        )
        terms, errors = first + second, first_error + second_error
        if Symbol.energy_ratio_l in theorem.quantity.free_symbols:
            # What the terms of its bound lose where they cancel is in `energy_rounding`, with the error that the taus have here.
            pairs = ((theorem.quantity, seen), (theorem.bound, bound))
            errors = sum((relative_error(x, budgets)[..., None] * np.abs(value) for x, value in pairs), np.zeros(()))
        slack = errors + _on_the_way(theorem, trajectory, seen)
        if theorem.rounding is not None:
            slack = slack + theorem.rounding(trajectory) * np.abs(seen)
        if known_to is not None and theorem.quantity == Symbol.ratio_high:
            # Blocks that move alike: what rounding does to the run's gap, it does to the ratio of every block.
            slack = slack + known_to * terms
        excess = sign * (seen - bound)
        if theorem.direction == "equal":
            excess = np.abs(excess)
            ratio, claimed = 1.0 + excess / terms, terms
            noticed = (slack + excess) / np.abs(seen)
        else:
            ratio = seen / bound if sign > 0 else bound / seen
            claimed = np.maximum(np.abs(seen), np.abs(bound))
            noticed = (slack - excess) / np.abs(seen)
        share = slack / claimed
        looking_back = {Symbol.least_norm1, Symbol.least_norm2_squared, Symbol.largest_Lambda_G}
        looks_back = theorem.kind == "complexity" or bool(
            looking_back & (theorem.bound + theorem.quantity).free_symbols
        )
        undefined = np.isfinite(seen) & ~np.isfinite(bound) & ~(looks_back & (trajectory.steps == 0))
        undefined &= not theorem.of_state
        # Below the floor a gap is only known to be small: it bears an upper bound out; a lower one is compared with the floor.
        floor = np.zeros((1, 1, 1))
        if theorem.quantity in (Symbol.gap, Symbol.smaller_gap):
            floor = np.full((1, 1, 1), censored_below(trajectory))
        if theorem.quantity == Symbol.gap / Symbol.gap_0:
            floor = censored_below(trajectory) / trajectory.gap[:, :, :1]
        small = (seen <= floor) & (floor > 0.0)
        excess = np.where(small, -np.inf if sign > 0 else bound - floor, excess)
    violates, clear = usable & (excess > slack), (excess < -slack) & (theorem.direction != "equal")
    informative = (share <= MOST_SLACK) & ~(small & (bound <= floor))
    clear &= ~small
    return _Single(usable, informative, violates, undefined, ratio, share, noticed, trajectory.steps, clear).together()


def _on_the_way(theorem: Theorem, trajectory: Trajectory, seen: Array) -> Array:
    """Return by how much the rounding of all steps so far moves a gap that is compared with a bound of its start, (M, K, R)."""
    from quadsim.theory.symbols import Symbol

    assert theorem.quantity is not None
    if Symbol.energy_ratio_l in theorem.quantity.free_symbols:
        from quadsim.theory.running.run_rounding import energy_rounding

        return energy_rounding(trajectory)
    if not theorem.quantity.free_symbols & {Symbol.gap, Symbol.smaller_gap}:
        return np.zeros(trajectory.gap.shape)
    scale = trajectory.gap[:, :, :1] if theorem.quantity == Symbol.gap / Symbol.gap_0 else 1.0
    root = path_budget(trajectory, theorem.bound.free_symbols)
    return np.asarray((2.0 * np.sqrt(seen * scale) + root) * root / scale)


def _mean(theorem: Theorem, trajectory: Trajectory, most: float) -> Compared:
    """Compare means and second moments over the problems at every recorded step; all problems of a setting share the result.

    The differences d_m = seen - expected count with the weights expected/variance, at which a relative error of the expectation
    shows most. With them the mean must be 0 within the standard errors that the variance implies, and the mean of
    d_m^2/variance - 1 must be 0 within those of its own sample, as no fourth moment is claimed. A true statement is flagged
    by each as seldom as one normal number is beyond `most` standard errors, over all steps: with 4 once in 16,000 settings
    (docs/theory.md section 2 has measured rates). Rounding, which a mean over many draws can show, moves both by what it does
    to d_m.
    """
    from quadsim.theory.statements.quantities import evaluate, evaluate_along
    from quadsim.theory.symbols import Symbol

    assert theorem.quantity is not None
    assert theorem.variance is not None
    steps = trajectory.steps[1:] if trajectory.steps.size > 1 else trajectory.steps
    seen = evaluate_along(theorem.quantity, trajectory)[:, :, -steps.size :]
    expected, variance = (
        np.stack([evaluate(x.subs(Symbol.t, int(t)), trajectory, kind=np.longdouble) for t in steps], axis=-1)
        for x in (theorem.bound, theorem.variance)
    )
    counted = theorem.applies(trajectory)[..., None]
    with np.errstate(all="ignore"):
        difference, information = seen - expected, expected**2 / variance
        counted = counted & np.isfinite(difference) & (variance > 0.0) & np.isfinite(information)

        def total(values: Array) -> Array:
            return np.asarray(np.sum(np.where(counted, values, 0.0), axis=0))

        rounding = _rounding_of_mean(trajectory, steps, seen)
        mean = total(difference * expected / variance) / np.sqrt(total(information))
        blur = total(rounding * expected / variance) / np.sqrt(total(information))
        excess = difference**2 / variance - 1.0
        second = total(excess) / np.sqrt(total(excess**2))
        blurs = total((2.0 * np.abs(difference) + rounding) * rounding / variance) / np.sqrt(total(excess**2))
        share = _allowed_errors(steps.size, most) / np.sqrt(total(information))
        both = np.maximum(np.abs(mean) - blur, np.abs(second) - blurs)
        errors = np.maximum({"equal": both, "upper": mean - blur, "lower": -mean - blur}[theorem.direction], 0.0)
        hidden = ~(np.maximum(blur, blurs) <= _allowed_errors(steps.size, most))
    shape = (*trajectory.status.shape, steps.size)
    errors, share, hidden = (
        np.broadcast_to(x[None], shape) for x in (errors / _allowed_errors(steps.size, most), share, hidden)
    )
    return _Single(
        known=~np.isnan(errors),
        informative=~hidden,
        violates=np.asarray(errors > 1.0),
        undefined=np.zeros(shape, dtype=bool),
        ratio=errors,
        share=share,
        noticed=2.0 * share,
        steps=steps,
        clear=np.zeros(shape, dtype=bool),
    ).together()


def _rounding_of_mean(trajectory: Trajectory, steps: NDArray[np.int64], seen: Array) -> Array:
    """Return what rounding can do to a gap, (M, K, R): its evaluation, and at every step the growth of the largest error."""
    growth = np.broadcast_to(growth_budget(trajectory), trajectory.status.shape)[..., None]
    largest = np.maximum.accumulate(trajectory.gap, axis=-1)[..., -steps.size :]
    root = growth * steps * np.sqrt(largest)
    return np.asarray(evaluation_budget(trajectory)[..., None] * seen + (2.0 * np.sqrt(seen) + root) * root)


def _allowed_errors(steps: int, most: float) -> float:
    """Return the number of standard errors that one of `steps` comparisons may have, so that all have the level of `most`."""
    from scipy.stats import norm  # takes a second to import, and a sweep does not need it

    return float(norm.isf(norm.sf(most) / steps))
