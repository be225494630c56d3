"""Run a Rule in rationals, from the Rule's own expressions, so that the run that is checked follows the formula that is proved.

Where a rule takes a root that is not rational the run goes on in balls, which certainly contain the exact numbers.

No engine is used: an engine's arithmetic cannot check itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy as sp
from flint import arb, ctx, fmpq, fmpq_mat
from sympy.printing.pycode import PythonCodePrinter

from quadsim.simulator.rules.functions import BlockMean, symbols
from quadsim.simulator.rules.rule import Rule
from quadsim.theory.checking.effort import Effort
from quadsim.theory.checking.exact import ExactProblem, NotExact, largest, rational, root, times

__all__ = ["ExactState", "product_of", "run_exactly", "sign_of"]

_MOST_BITS = 1 << 17  # of a gap; with lr = 1/Lambda_G every step triples the bits, and one more could take minutes

_BITS = 1024  # of a ball

Vector = tuple[tuple[Any, ...], ...]
"""A number for every coordinate, block by block."""


@dataclass(frozen=True)
class ExactState:
    """The state of a run at one step t.

    Attributes:
        gradient: g_t, block by block.
        gap: gap_t.
        error: e_t, block by block.
        step: the step that the rule adds to the iterate next; None at the end of the run.
    """

    gradient: Vector
    gap: Any
    error: Vector
    step: Vector | None


def run_exactly(
    problem: ExactProblem,
    rule: Rule,
    settings: Mapping[str, float],
    steps: int,
    effort: Effort | None = None,
    rates: Sequence[fmpq] | None = None,
) -> list[ExactState]:
    """Run a rule on one problem in rationals.

    The number of digits grows with every step, so a run ends early when its effort is spent or a gap has more than 2^17 bits. A
    square root of a number that is not the square of a rational is a ball of 1024 bits, and so is what follows from it.

    Args:
        problem: the problem.
        rule: the rule.
        settings: name to value; a float is read as the rational that it is.
        steps: number of steps.
        effort: the operations that are left; None: the default.
        rates: the rate of every step; None: `lr` of the settings at every step.

    Returns:
        The states at steps 0, 1, ..., at most `steps` + 1 of them.

    Raises:
        NotExact: a rule that needs other irrational numbers (an eigenvalue, exp), a mean over a block, or the sign of a ball
            around 0.
    """
    before = ctx.prec
    ctx.prec = _BITS
    try:
        every = [rational(settings["lr"])] * steps if rates is None else rates
        return _run(problem, rule, settings, every[:steps], Effort() if effort is None else effort)
    finally:
        ctx.prec = before


def _run(
    problem: ExactProblem, rule: Rule, settings: Mapping[str, float], rates: Sequence[fmpq], effort: Effort
) -> list[ExactState]:
    advance, steps = _compile(rule), len(rates)
    others = [rational(settings[name]) for name in rule.names if name != "lr"]
    products = sum(block.nrows() ** 2 + 8 * block.nrows() for block in problem.blocks)
    error: Vector = problem.initial_error
    ends: list[tuple[Any, Any]] = [(None, None)] * sum(map(len, error))
    if advance.uses_extremes:
        extremes = problem.rule_extremes
        if not all(isinstance(x, fmpq) for pair in extremes for x in pair):
            raise NotExact(f"{rule.name} needs L_l and mu_l, which are not rational here")
        ends = [pair for size, pair in zip(problem.rule_sizes, extremes, strict=True) for _ in range(size)]
    clocks: tuple[Any, ...] = (fmpq(1),) * len(rule.clocks)
    states: tuple[tuple[Any, ...], ...] | None = None
    out: list[ExactState] = []
    for t in range(steps + 1):
        gradient = tuple(tuple(product_of(h, e)) for h, e in zip(problem.blocks, error, strict=True))
        gap = sum((x * y for e, g in zip(error, gradient, strict=True) for x, y in zip(e, g, strict=True)), fmpq(0)) / 2
        step: Vector | None = None
        at = error
        words = 1 + _bits(gap) // 64
        # A product of rationals of n words, brought to lowest terms, takes some n^1.5 steps.
        if t < steps and words <= _MOST_BITS // 64 and effort.spend(products * words**1.5):
            flat_vectors = ([x for part in parts for x in part] for parts in (gradient, error, problem.minimizer))
            coordinates = [
                (g, e + solution, high, low) for g, e, solution, (low, high) in zip(*flat_vectors, ends, strict=True)
            ]
            flat, states, clocks = advance(coordinates, states, clocks, [rates[t], *others])
            numbers = iter(flat)
            step = tuple(tuple(next(numbers) for _ in block) for block in error)
            error = tuple(tuple(x + y for x, y in zip(*pair, strict=True)) for pair in zip(error, step, strict=True))
        out.append(ExactState(gradient, gap, at, step))
        if step is None:
            break
    return out


def _bits(value: Any) -> int:
    return int(value.q).bit_length() if isinstance(value, fmpq) else _BITS


def product_of(matrix: fmpq_mat, vector: Sequence[Any]) -> list[Any]:
    """Return matrix times a vector of rationals or balls, as a list."""
    if all(isinstance(x, fmpq) for x in vector):
        return list(times(matrix, vector))
    size = len(vector)
    return [sum((matrix[i, j] * vector[j] for j in range(size)), fmpq(0)) for i in range(size)]


def sign_of(value: Any) -> fmpq:
    """Return the sign of a rational or a ball.

    Raises:
        NotExact: a ball around 0.
    """
    if isinstance(value, arb) and value.contains(0) and not value == 0:
        raise NotExact("the sign of a ball around 0 is not known")
    return fmpq(int(value > 0) - int(value < 0))


def _ratio(a: Any, b: Any) -> Any:
    """Return a/b, and 0 where a is 0; see `Ratio`.

    Raises:
        NotExact: a ball around 0 as the divisor.
    """
    if isinstance(a, fmpq) and a == 0:
        return fmpq(0)
    if isinstance(b, arb) and b.contains(0):
        raise NotExact("a divisor is a ball around 0")
    return a / b


class _Printer(PythonCodePrinter):  # type: ignore[misc]
    """Prints constants as rationals, and sign, Ratio and roots as the functions of `_function`."""

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
            return f"(square_root({base}))**({int(exponent.p)})"
        raise NotExact(f"no rational power: {expression}")


class _ExactRule:
    """The stages of a rule (`Rule.stages`) as functions of rationals: start, clocks, update, step, with sums before each."""

    def __init__(self, rule: Rule) -> None:
        stages = rule.stages
        whole = (rule.step, *rule.update.values(), *rule.start.values())
        if any(e.has(BlockMean, sp.exp, sp.log, sp.tanh) for e in (*whole, *rule.clocks.values())):
            raise NotExact(f"{rule.name} has a mean over a block or a function with irrational values")
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
        """Evaluate one step.

        Args:
            coordinates: (g, w, L_l, mu_l) of every coordinate of the problem.
            states: states of every coordinate; None before the first step.
            clocks: clocks before the step.
            values: values of `rule.names`.

        Returns:
            The step of every coordinate, the new states of every coordinate, and the new clocks.
        """
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
        steps = [self._step(*arguments, *totals)[0] + fmpq(0) for arguments in after]
        return steps, tuple(tuple(s[i] for i in self._keep) for s in updated), clocks


@lru_cache(maxsize=64)
def _compile(rule: Rule) -> _ExactRule:
    return _ExactRule(rule)


def _sums(function: Callable[..., tuple[Any, ...]], arguments: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the sums of the function's values over all coordinates."""
    return tuple(sum(column, fmpq(0)) for column in zip(*(function(*a) for a in arguments), strict=True))


def _function(names: Sequence[sp.Symbol], expressions: Sequence[sp.Expr]) -> Callable[..., tuple[Any, ...]]:
    namespace = {
        "fmpq": fmpq,
        "sign": sign_of,
        "ratio": _ratio,
        "square_root": lambda x: root(x if isinstance(x, arb) else fmpq(x)),
        "abs": abs,
        "max": lambda *values: largest([x + fmpq(0) for x in values]),
        "min": lambda *values: -largest([-x + fmpq(0) for x in values]),
    }
    printer = _Printer({"fully_qualified_modules": False, "allow_unknown_functions": True})
    out: Callable[..., tuple[Any, ...]] = sp.lambdify(names, tuple(expressions), modules=[namespace], printer=printer)
    return out
