"""Check a theorem on one run in exact arithmetic: verified, refuted or undecided.

The check repeats the run in rationals (`run_exactly`) and compares every step with the bound. It is the judge of cases where
floats cannot decide, such as a bound that holds with equality. "Undecided" always comes with its reason; it is never an error.

Order of the checks in `compare_exactly`: a hypothesis that fails in exact arithmetic means that the theorem says nothing about
this run; a float run that is not the exact run up to rounding means that a verdict on the exact run says nothing about it;
only then the bound is compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp
from flint import arb, fmpq

from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import Trajectory, divergence_limit
from quadsim.theory.checking.budget import evaluation_budget, growth_budget, spectral_radius
from quadsim.theory.checking.effort import Effort
from quadsim.theory.checking.exact import (
    ExactProblem,
    NotExact,
    as_exact,
    evaluate_exactly,
    largest,
    rational,
    root,
    values_of,
    with_doubling,
)
from quadsim.theory.checking.exact_recursions import CONSTANTS, recursions_at
from quadsim.theory.checking.exact_run import ExactState, run_exactly
from quadsim.theory.checking.exact_states import ALONG, ExactRun
from quadsim.theory.checking.records import censored_below
from quadsim.theory.running.meanings import rates_of
from quadsim.theory.statements.quantities import GEOMETRIES, LENGTHS, MEANINGS, canonical_name
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import Symbol

__all__ = ["Exact", "compare_exactly"]


@dataclass(frozen=True)
class Exact:
    """A verdict of exact arithmetic.

    Attributes:
        verdict: "verified", "refuted" or "undecided".
        step: the first step that violates the statement; -1 unless refuted.
        reason: both sides of the violated statement, or the reason why it is undecided.
        assumed: hypotheses that are not certified for this instance, separated by "; ".
        unlike: the first recorded gap that is not, up to rounding, the one of the exact run; "" if all are.
        outside: whether a hypothesis, which holds up to rounding, fails in exact arithmetic: the theorem says nothing here.
    """

    verdict: str
    step: int = -1
    reason: str = ""
    assumed: str = ""
    unlike: str = ""
    outside: bool = False


def compare_exactly(theorem: Theorem, trajectory: Trajectory, m: int, k: int, effort: Effort) -> Exact:
    """Check a theorem on problem m under setting k of a trajectory, at every step, in exact arithmetic.

    A statement is `refuted` only if every hypothesis is certified: on an instance that may lie outside the hypotheses a
    violation says nothing.

    Args:
        theorem: the theorem.
        trajectory: the float run; its problem, rule, settings and number of steps are used.
        m: index of the problem.
        k: index of the setting.
        effort: the operations that are left, of which this check takes its part.
    """
    open_ = [hypothesis.text for hypothesis in theorem.conditions]

    def undecided(reason: str) -> Exact:
        return Exact("undecided", reason=reason, assumed="; ".join(open_))

    if effort.left <= 0.0:
        return undecided("no effort was left for exact arithmetic")
    if theorem.kind == "expectation":
        return undecided("a mean over draws of the noise has no exact check")
    if trajectory.rule is None:
        return undecided(f"{trajectory.optimizer} is a class, with no rule whose steps exact arithmetic could repeat")
    settings = {name: float(values[k]) for name, values in trajectory.settings.items()}
    problem, steps = as_exact(trajectory.problem, m), int(trajectory.steps[-1])
    # As engines have them: the product of rate and factor, rounded.
    rates = [rational(rate) for rate in rates_of(trajectory)[k].tolist()]
    try:
        certain = {hypothesis.text: _certified(hypothesis, problem, settings) for hypothesis in theorem.conditions}
        failing = next((text for text, holds in certain.items() if holds is False), "")
        if failing:
            reason = f"in exact arithmetic a hypothesis fails by a rounding: {failing}"
            return replace(undecided(reason), outside=True)
        open_ = [text for text, holds in certain.items() if holds is None]
        states = run_exactly(problem, trajectory.rule, settings, steps, effort, rates)
        unlike = _differs(trajectory, m, k, [state.gap for state in states])
        if unlike and trajectory.rule.is_linear:
            return undecided(unlike)
        found = _compare(
            _specialised(theorem, trajectory.rule), ExactRun(problem, trajectory.rule, settings, states), steps, rates
        )
    except NotExact as error:
        return undecided(str(error))
    if found.verdict == "refuted" and open_:
        return undecided(f"it would be violated ({found.reason}), but no exact check certifies that {open_[0]}")
    return replace(found, assumed="; ".join(open_), unlike=unlike)


def _specialised(theorem: Theorem, rule: Rule) -> Theorem:
    """Return the theorem with the length of this rule's step in place of the symbol."""
    name = canonical_name(rule)
    known = {Symbol.length: LENGTHS.get(name)}
    known |= dict(zip((Symbol.dual_norm, Symbol.norm_smoothness), GEOMETRIES.get(name, ()), strict=False))
    used = {symbol: value for symbol, value in known.items() if symbol in theorem.bound.free_symbols}
    return replace(theorem, bound=theorem.bound.subs(used)) if used else theorem


def _certified(hypothesis: Hypothesis, problem: ExactProblem, settings: Mapping[str, float]) -> bool | None:
    """Return whether a hypothesis holds in exact arithmetic; None where that is not known (overlapping balls, no exact form)."""
    if hypothesis.exactly is not None:
        return hypothesis.exactly(problem, settings)
    relation = hypothesis.relation
    if relation is None:
        return None
    try:
        difference = with_doubling(
            lambda: evaluate_exactly(relation.lhs - relation.rhs, values_of(problem, settings, relation.free_symbols)),
            lambda value: isinstance(value, fmpq) or bool(value > 0) or bool(value < 0),
        )
    except (NotExact, ZeroDivisionError):
        return None
    exact = isinstance(difference, fmpq)
    zero = exact and difference == 0
    above, below = bool(difference > 0), bool(difference < 0)
    holds: dict[type, tuple[bool, bool]] = {  # certainly holds, certainly fails
        sp.Le: (below or zero, above),
        sp.Lt: (below, above or zero),
        sp.Ge: (above or zero, below),
        sp.Gt: (above, below or zero),
        sp.Eq: (zero, above or below),
        sp.Ne: (above or below, zero),
    }
    yes, no = holds[relation.func]
    return True if yes else False if no else None


def _differs(trajectory: Trajectory, m: int, k: int, gaps: Sequence[fmpq]) -> str:
    """Return a description of the first recorded gap that is not the exact one up to rounding, or "".

    If there is one, an exact verdict would not be about the float run. The comparison is relative to the exact gap, down to
    where the number type has no relative precision. For a rule with a sign, one coordinate near 0 may get the other sign by
    rounding, and from there on two correct runs differ: such a run is not verified.
    """
    growth = float(np.broadcast_to(growth_budget(trajectory), trajectory.status.shape)[m, k])
    radius = spectral_radius(trajectory)
    rho = None if radius is None else float(np.broadcast_to(radius, trajectory.status.shape)[m, k])
    evaluation = float(evaluation_budget(trajectory)[m, k])
    start, floor = _as_float(gaps[0]), censored_below(trajectory)
    largest = start
    for step, seen in zip(trajectory.steps.tolist(), trajectory.gap[m, k].tolist(), strict=True):
        if step >= len(gaps):
            return f"exact arithmetic got to step {len(gaps) - 1} of {int(trajectory.steps[-1])}"
        exact = _as_float(gaps[step])
        largest = max(largest, exact)
        root = np.sqrt(exact)
        # Rounding adds an error of at most growth * |e| at each step. It shrinks by the spectral radius, where that is known.
        with np.errstate(all="ignore"):
            if rho is None:
                added = growth * step * np.sqrt(largest)
            elif rho > 0.0:
                added = rho**step * np.expm1(step * np.log1p(growth / rho)) * (1.0 + 2.0 * step) * np.sqrt(start)
            else:
                added = growth**step * np.sqrt(start) * (step > 0)
            allowed = 2.0 * root * added + added**2 + evaluation * exact
        if exact < floor and added**2 < floor:
            close = seen <= floor
        elif exact <= added**2:  # a gap that is nothing but the rounding of the run
            close = seen <= allowed
        else:
            close = abs(seen - exact) <= min(allowed, exact / 2.0) if np.isfinite(seen) else False
        if not np.isfinite(seen) and exact >= float(divergence_limit(trajectory.gap[m, k, 0])):
            continue
        if not close:
            return f"the run is not its rule's: at step {step} its gap is {seen:.17g}, in exact arithmetic {exact:.17g}"
    return ""


def _as_float(value: Any) -> float:
    """Return a rational, or the middle of a ball, as a float; infinite where it is out of range."""
    if isinstance(value, arb):
        return float(value.mid())
    try:
        return int(value.p) / int(value.q)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _compare(theorem: Theorem, run: ExactRun, steps: int, rates: Sequence[fmpq]) -> Exact:
    """Compare every step with the bound, in rationals, or in balls that get more bits until they decide.

    With more bits all steps are compared again, as every ball has become smaller.
    """
    assert theorem.quantity is not None
    problem, settings, states = run.problem, run.settings, run.states
    quantity = Symbol.gap_next if theorem.is_factor else theorem.quantity
    # A local factor has the gap in its divisor; expanded, it cancels, and a gap of 0 causes no division by 0.
    bound = sp.expand(theorem.bound * Symbol.gap) if theorem.is_local else theorem.bound
    wanted = quantity.free_symbols | bound.free_symbols | ({Symbol.gap} if theorem.is_factor else set())
    fixed = {
        s for s in wanted if s not in _OF_STATE and s not in ALONG and not (s in MEANINGS and MEANINGS[s].of_state)
    }
    # A statement about the steps before t has nothing to say at t = 0.
    first = 1 if wanted & _LOOKING_BACK or theorem.kind == "complexity" else 0
    last = len(states) - 1 if theorem.is_factor or wanted & {Symbol.cosine, Symbol.stride} else len(states)

    def sweep() -> tuple[str, int, str]:
        values = values_of(problem, settings, fixed - set(CONSTANTS))
        values |= {s: CONSTANTS[s](problem) for s in fixed & set(CONSTANTS)}
        factor = evaluate_exactly(theorem.bound, values) if theorem.is_factor and not theorem.is_local else None
        verdict = "nothing"
        for t in range(first, last):
            here = values | _values_at(t, states, wanted, problem)
            here |= recursions_at(t, problem, settings, wanted, run.rule, rates)
            here |= {symbol: run.value(symbol, t) for symbol in wanted & set(ALONG)}
            if not _defined(here):
                continue
            try:
                if factor is not None:
                    left, right = here[Symbol.gap_next], factor * here[Symbol.gap]
                else:
                    left, right = (evaluate_exactly(x.subs(Symbol.t, t), here) for x in (quantity, bound))
            except ZeroDivisionError:  # 0/0 at the solution: the statement says nothing there
                continue
            satisfied, violated = _sides(left, right, theorem.direction)
            if violated:
                sides = f"{quantity} = {_text(left)}, {_RELATION[theorem.direction]} {_text(right)} claimed"
                return "refuted", t + 1 if theorem.is_factor else t, sides
            verdict = "undecided" if not satisfied else "verified" if verdict == "nothing" else verdict
        return verdict, -1, ""

    verdict, step, sides = with_doubling(sweep, lambda found: found[0] != "undecided")
    if verdict == "verified" and len(states) <= steps:
        reached = f"exact arithmetic got to step {len(states) - 1} of {steps}"
        return Exact("undecided", reason=f"{reached} before its effort was spent or its digits ran out")
    if verdict == "nothing":
        return Exact("undecided", reason="the statement says nothing at any step of the exact run")
    if verdict == "undecided":
        return Exact(verdict, reason="balls of 2048 bits still overlap the bound (equality is never decided by balls)")
    return Exact(verdict, step, sides)


_RELATION = {"upper": "at most", "lower": "at least", "equal": "equal to"}
_LONGEST = 40  # characters; a longer rational is reported as a float


def _text(value: Any) -> str:
    if len(str(value)) <= _LONGEST:
        return str(value)
    if isinstance(value, fmpq):
        return f"{_as_float(value):.17g}"
    return str(value.str(17, radius=False))


def _sides(left: Any, right: Any, direction: str) -> tuple[bool, bool]:
    """Return whether the claim certainly holds and whether it is certainly violated; both are false where balls overlap."""
    if not (isinstance(left, fmpq) and isinstance(right, fmpq)):
        left, right = arb(left), arb(right)
        if direction == "equal":
            return False, not bool(left.overlaps(right))
    if direction == "equal":
        return left == right, left != right
    if direction == "lower":
        left, right = right, left
    return bool(left <= right), bool(left > right)


_LOOKING_BACK = {Symbol.least_norm1, Symbol.least_norm2_squared, Symbol.largest_Lambda_G}
_OF_STATE = {Symbol.gap_next, Symbol.t}


def _values_at(
    t: int,
    states: Sequence[ExactState],
    wanted: set[sp.Symbol],
    problem: ExactProblem,
) -> dict[sp.Symbol, Any]:
    """Return the values at step t of symbols that change along a run; None for an undefined value (Lambda_G at g = 0)."""
    out: dict[sp.Symbol, Any] = {}
    for symbol in wanted:
        if symbol == Symbol.gap_next:
            out[symbol] = states[t + 1].gap
        elif symbol in _VALUES:
            out[symbol] = _VALUES[symbol](states[t], problem)
        elif symbol in _BACK:
            inner, reduce = _BACK[symbol]
            past = [_VALUES[inner](state, problem) for state in states[:t]]
            out[symbol] = None if any(value is None for value in past) else reduce(past)
    return out


def _defined(values: Mapping[sp.Symbol, Any]) -> bool:
    return all(value is not None for value in values.values())


def _norm2_squared_by_block(state: ExactState, problem: ExactProblem) -> list[fmpq]:
    return [sum((x * x for x in block), fmpq(0)) for block in problem.by_rule(state.gradient)]


def _Lambda_G(state: ExactState, problem: ExactProblem) -> Any:
    norms = _norm2_squared_by_block(state, problem)
    whole = sum(norms, fmpq(0))
    if whole == 0:
        return None
    terms = [norm / whole * high for norm, (_, high) in zip(norms, problem.rule_extremes, strict=True)]
    return sum(terms[1:], terms[0])


def _cosine(state: ExactState, problem: ExactProblem) -> Any:
    """Return the cosine of the angle between the step and -sign(g); None for a step of length 0."""
    assert state.step is not None
    steps = [x for block in state.step for x in block]
    signs = [fmpq(int(g < 0) - int(g > 0)) for block in state.gradient for g in block]
    inner = sum((x * s for x, s in zip(steps, signs, strict=True)), fmpq(0))
    sizes = sum((x * x for x in steps), fmpq(0)) * sum((s * s for s in signs), fmpq(0))
    return None if sizes == 0 else inner / root(sizes)


def _stride(state: ExactState, problem: ExactProblem) -> Any:
    """Return the length of the step over that of sign(g); None where g is 0."""
    assert state.step is not None
    square = sum((x * x for block in state.step for x in block), fmpq(0))
    signs = sum(g != 0 for block in state.gradient for g in block)
    return None if signs == 0 else root(square / signs)


_VALUES: dict[sp.Symbol, Callable[[ExactState, ExactProblem], Any]] = {
    Symbol.gap: lambda state, _: state.gap,
    Symbol.norm1: lambda state, _: sum((abs(x) for block in state.gradient for x in block), fmpq(0)),
    Symbol.norm2_squared: lambda state, problem: sum(_norm2_squared_by_block(state, problem), fmpq(0)),
    Symbol.norm2_squared_l: _norm2_squared_by_block,
    Symbol.Lambda_G: _Lambda_G,
    Symbol.cosine: _cosine,
    Symbol.stride: _stride,
}


def _least(values: Sequence[Any]) -> Any:
    return -largest([-value for value in values])


_BACK: dict[sp.Symbol, tuple[sp.Symbol, Callable[[Sequence[Any]], Any]]] = {
    Symbol.least_norm1: (Symbol.norm1, _least),
    Symbol.least_norm2_squared: (Symbol.norm2_squared, _least),
    Symbol.largest_Lambda_G: (Symbol.Lambda_G, largest),
}
