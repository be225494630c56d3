"""A run of a Rule in rationals, from the Rule's own expressions."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy as sp
from flint import fmpq
from sympy.printing.pycode import PythonCodePrinter

from quadsim.simulator.rules.rule import BlockMean, Rule, symbols
from quadsim.theory.checking.exact import ExactProblem, NotExact, rational, root, times

__all__ = ["ExactState", "run_exactly"]

_MOST_BITS = 1 << 17  # a rate of 1/Lambda_G triples the bits with every step: the next one could take minutes

Vector = tuple[tuple[Any, ...], ...]
"""A number for every coordinate, block by block."""


@dataclass(frozen=True)
class ExactState:
    """A run at one step.

    Attributes:
        gradient: g_t.
        gap: gap_t.
        step: what the rule adds next; None where the run ends.
    """

    gradient: Vector
    gap: fmpq
    step: Vector | None


def run_exactly(
    problem: ExactProblem, rule: Rule, settings: Mapping[str, float], steps: int, seconds: float
) -> list[ExactState]:
    """The states at steps 0, 1, ...: as many as the time and 2^17 bits of a gap allow, `steps` + 1 at most.

    Roots are taken where their argument is the square of a rational.

    Raises:
        NotExact: a rule that leaves the rationals (another root, an eigenvalue that is not rational, a mean over a block).
    """
    advance = _compile(rule)
    values = [rational(settings[name]) for name in rule.names]
    deadline = time.monotonic() + seconds
    error: Vector = problem.initial_error
    ends: list[tuple[Any, Any]] = [(None, None)] * len(error)
    if advance.uses_extremes:
        ends = problem.extremes
        if not all(isinstance(x, fmpq) for pair in ends for x in pair):
            raise NotExact(f"{rule.name} needs L_l and mu_l, which are not rational here")
    clocks: tuple[Any, ...] = (fmpq(1),) * len(rule.clocks)
    states: tuple[tuple[Any, ...], ...] | None = None
    out: list[ExactState] = []
    for t in range(steps + 1):
        gradient = tuple(tuple(times(h, e)) for h, e in zip(problem.blocks, error, strict=True))
        gap = sum((x * y for e, g in zip(error, gradient, strict=True) for x, y in zip(e, g, strict=True)), fmpq(0)) / 2
        step: Vector | None = None
        if t < steps and time.monotonic() <= deadline and _bits(gap) <= _MOST_BITS:
            coordinates = [
                (g, e, high, low)
                for gs, es, (low, high) in zip(gradient, error, ends, strict=True)
                for g, e in zip(gs, es, strict=True)
            ]
            flat, states, clocks = advance(coordinates, states, clocks, values)
            numbers = iter(flat)
            step = tuple(tuple(next(numbers) for _ in block) for block in error)
            error = tuple(tuple(x + y for x, y in zip(*pair, strict=True)) for pair in zip(error, step, strict=True))
        out.append(ExactState(gradient, gap, step))
        if step is None:
            break
    return out


def _bits(value: fmpq) -> int:
    return int(value.q).bit_length()


class _Printer(PythonCodePrinter):  # type: ignore[misc]
    """Numbers as rationals; the inherited sign, extremes and absolute value are for floats."""

    def _print_Rational(self, expression: sp.Rational) -> str:
        return f"fmpq({expression.p}, {expression.q})"

    _print_Half = _print_Rational

    def _print_Float(self, expression: sp.Float) -> str:
        numerator, denominator = float(expression).as_integer_ratio()
        return f"fmpq({numerator}, {denominator})"

    def _print_sign(self, expression: sp.Expr) -> str:
        return f"sign({self._print(expression.args[0])})"

    def _print_Ratio(self, expression: sp.Expr) -> str:
        return f"ratio({self._print(expression.args[0])}, {self._print(expression.args[1])})"

    def _print_Pow(self, expression: sp.Expr, **_: Any) -> str:
        base, exponent = self._print(expression.base), expression.exp
        if exponent.is_Integer:
            return f"({base})**({int(exponent)})"
        if exponent.is_Rational and exponent.q == 2:
            return f"(rational_root({base}))**({int(exponent.p)})"
        raise NotExact(f"no rational power: {expression}")


class _ExactRule:
    """The stages of a rule as functions of rationals; see `Rule.stages`."""

    def __init__(self, rule: Rule) -> None:
        stages = rule.stages
        whole = (rule.step, *rule.update.values(), *rule.start.values())
        if any(e.has(BlockMean, sp.exp, sp.log, sp.tanh) for e in (*whole, *rule.clocks.values())):
            raise NotExact(f"{rule.name} has a mean over a block or a function that leaves the rationals")
        self.uses_extremes = any(e.has(symbols.L_l, symbols.mu_l) for e in whole)
        self._keep = tuple(list(rule.update).index(state) for state in rule.states)
        first = (symbols.g, symbols.w, symbols.L_l, symbols.mu_l, symbols.lr, *rule.hyperparameters)
        settings, clocks = (symbols.lr, *rule.hyperparameters), tuple(rule.clocks)
        old, new = (*first, *clocks, *rule.states), (*first, *clocks, *rule.update)
        self._start_totals = _function(first, list(stages.start_totals.values()))
        self._start = _function((*first, *stages.start_totals), list(stages.starts.values()))
        self._clocks = _function((*settings, *clocks), list(rule.clocks.values()))
        self._update_totals = _function(old, list(stages.update_totals.values()))
        self._update = _function((*old, *stages.update_totals), list(stages.updates.values()))
        self._step_totals = _function(new, list(stages.step_totals.values()))
        self._step = _function((*new, *stages.step_totals), [stages.step])

    def __call__(
        self,
        coordinates: Sequence[tuple[Any, ...]],
        states: tuple[tuple[Any, ...], ...] | None,
        clocks: tuple[Any, ...],
        values: Sequence[Any],
    ) -> tuple[list[Any], tuple[tuple[Any, ...], ...], tuple[Any, ...]]:
        """One step: what is added to every coordinate, the new states and clocks."""
        if states is None:
            at_start = [(*x, *values) for x in coordinates]
            totals = _sums(self._start_totals, at_start)
            states = tuple(self._start(*x, *totals) for x in at_start)
        clocks = tuple(self._clocks(*values, *clocks))
        before = [(*x, *values, *clocks, *s) for x, s in zip(coordinates, states, strict=True)]
        totals = _sums(self._update_totals, before)
        updated = [self._update(*arguments, *totals) for arguments in before]
        after = [(*x, *values, *clocks, *s) for x, s in zip(coordinates, updated, strict=True)]
        totals = _sums(self._step_totals, after)
        steps = [fmpq(self._step(*arguments, *totals)[0]) for arguments in after]
        return steps, tuple(tuple(s[i] for i in self._keep) for s in updated), clocks


@lru_cache(maxsize=64)
def _compile(rule: Rule) -> _ExactRule:
    return _ExactRule(rule)


def _sums(function: Callable[..., tuple[Any, ...]], arguments: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(sum(column, fmpq(0)) for column in zip(*(function(*a) for a in arguments), strict=True))


def _function(names: Sequence[sp.Symbol], expressions: Sequence[sp.Expr]) -> Callable[..., tuple[Any, ...]]:
    namespace = {
        "fmpq": fmpq,
        "sign": lambda x: fmpq(int(x > 0) - int(x < 0)),
        "ratio": lambda a, b: fmpq(0) if a == 0 else a / b,
        "rational_root": _rational_root,
        "abs": abs,
        "max": max,
        "min": min,
    }
    printer = _Printer({"fully_qualified_modules": False, "allow_unknown_functions": True})
    out: Callable[..., tuple[Any, ...]] = sp.lambdify(names, tuple(expressions), modules=[namespace], printer=printer)
    return out


def _rational_root(value: Any) -> fmpq:
    found = root(fmpq(value))
    if not isinstance(found, fmpq):
        raise NotExact(f"the root of {value} is not rational")
    return found
