"""The same run in rationals, for a verdict that floats cannot give (theory.md section 7).

A problem given in integers or Fractions is run as it is; a float problem is read as the exact rational matrix that its floats
are, with its own eigenvalues, not the ones that were asked for. Eigenvalues that are rational are exact; the others are
certified balls (Arb), and a comparison that the balls cannot separate stays undecided: equality is never decided by balls.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
import sympy as sp
from flint import arb, ctx, fmpq, fmpq_mat
from sympy.printing.pycode import PythonCodePrinter

from quadsim.simulator.quadratic import BlockQuadratic
from quadsim.simulator.rule import BlockMean, Rule, symbols
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol

__all__ = ["ExactProblem", "NotExact", "as_exact", "evaluate_exactly", "gaps_of_run", "values_of"]

_PRECISIONS = (128, 512, 2048)  # bits, doubled twice and again: the cap of the balls


class NotExact(Exception):
    """The rule or the bound needs what rationals do not have (a root of the gradient, a sum over the problem)."""


@dataclass(frozen=True)
class ExactProblem:
    """One problem in rationals.

    Attributes:
        blocks: H_l.
        initial_error: e_0 of every block.
    """

    blocks: tuple[fmpq_mat, ...]
    initial_error: tuple[tuple[fmpq, ...], ...]


def as_exact(problem: BlockQuadratic, index: int) -> ExactProblem:
    """Problem `index` of a batch in rationals: as it was given, or else as its floats are."""
    sizes = problem.block_sizes
    ends = np.cumsum(sizes)
    if problem.exact is not None:
        rows: Sequence[Any] = problem.exact.blocks
        start: Sequence[Any] = problem.exact.initial_error
    else:
        matrix, error = problem.dense(index)
        rows = [matrix[e - s : e, e - s : e].tolist() for e, s in zip(ends, sizes, strict=True)]
        start = error.tolist()
    blocks = tuple(
        fmpq_mat(s, s, [_rational(x) for row in block for x in row]) for s, block in zip(sizes, rows, strict=True)
    )
    errors = tuple(tuple(_rational(x) for x in start[e - s : e]) for e, s in zip(ends, sizes, strict=True))
    return ExactProblem(blocks, errors)


def gaps_of_run(
    problem: ExactProblem, rule: Rule, settings: Mapping[str, float], steps: int, seconds: float
) -> list[fmpq]:
    """gap_0, gap_1, ... in rationals, from the Rule's own expressions; as many as the time allows, `steps` + 1 at most.

    Raises:
        NotExact: a rule with a root, a sum over the problem or a mean over a block.
    """
    advance = _rational_function(rule)
    values = [_rational(settings[name]) for name in rule.names]
    deadline = time.monotonic() + seconds
    errors = [list(e) for e in problem.initial_error]
    extremes = [(None, None)] * len(errors) if not _uses_extremes(rule) else [_extremes(h) for h in problem.blocks]
    states: list[list[tuple[Any, ...]]] | None = None
    gaps: list[fmpq] = []
    for t in range(steps + 1):
        gradients = [_times(h, e) for h, e in zip(problem.blocks, errors, strict=True)]
        gaps.append(
            sum((x * y for e, g in zip(errors, gradients, strict=True) for x, y in zip(e, g, strict=True)), fmpq(0)) / 2
        )
        if t == steps or time.monotonic() > deadline:
            break
        coordinates = [
            [(g, e, *ends) for g, e in zip(*block, strict=True)]
            for *block, ends in zip(gradients, errors, extremes, strict=True)
        ]
        if states is None:
            states = [[advance.start(*x, *values) for x in block] for block in coordinates]
        moved = [
            [advance.step(*x, *values, *s) for x, s in zip(*pair, strict=True)]
            for pair in zip(coordinates, states, strict=True)
        ]
        errors = [[e + m[0] for e, m in zip(*pair, strict=True)] for pair in zip(errors, moved, strict=True)]
        states = [[m[1:] for m in block] for block in moved]
    return gaps


def values_of(problem: ExactProblem, settings: Mapping[str, float]) -> dict[sp.Symbol, Any]:
    """Values of the statements' symbols in rationals or balls; symbols with an index have a list."""
    ends = [_extremes(block) for block in problem.blocks]
    gradients = [[abs(g) for g in _times(h, e)] for h, e in zip(problem.blocks, problem.initial_error, strict=True)]
    L, mu = _largest([high for _, high in ends]), -_largest([-low for low, _ in ends])
    out: dict[sp.Symbol, Any] = {
        Symbol.L: L,
        Symbol.mu: mu,
        Symbol.kappa: L / mu,
        Symbol.L_l: [high for _, high in ends],
        Symbol.mu_l: [low for low, _ in ends],
        Symbol.kappa_l: [high / low for low, high in ends],
        Symbol.C1_l: [min(g) / high for g, (_, high) in zip(gradients, ends, strict=True)],
        Symbol.C2_l: [max(g) / high for g, (_, high) in zip(gradients, ends, strict=True)],
        Symbol.eta: _rational(settings["lr"]),
    }
    if "momentum" in settings:
        out[Symbol.momentum] = _rational(settings["momentum"])
    return out


def evaluate_exactly(expression: sp.Expr, values: Mapping[sp.Symbol, Any]) -> Any:
    """An expression's value as a rational, or as a ball where an eigenvalue or a root is not rational.

    Raises:
        NotExact: a symbol without an exact value, or a function that has none.
    """
    if expression.is_Rational:
        return fmpq(int(expression.p), int(expression.q))
    if expression.is_Symbol:
        if expression not in values:
            raise NotExact(f"no exact value of {expression}")
        return values[expression]
    if isinstance(expression, MaxOver | MinOver | SumOver):
        return _over_index(expression, values)
    arguments = [evaluate_exactly(argument, values) for argument in expression.args if not expression.is_Pow]
    if expression.is_Add:
        return sum(arguments[1:], arguments[0])
    if expression.is_Mul:
        product = arguments[0]
        for argument in arguments[1:]:
            product = product * argument
        return product
    if expression.is_Pow:
        return _power(evaluate_exactly(expression.base, values), expression.exp)
    if isinstance(expression, sp.Max):
        return _largest(arguments)
    if isinstance(expression, sp.Min):
        return -_largest([-x for x in arguments])
    raise NotExact(f"no exact value of {expression}")


def with_doubling(compute: Callable[[], Any], decided: Callable[[Any], bool]) -> Any:
    """Compute with more and more bits until `decided`, up to the cap; the last value either way."""
    before = ctx.prec
    try:
        for ctx.prec in _PRECISIONS:
            value = compute()
            if decided(value):
                break
        return value
    finally:
        ctx.prec = before


def _over_index(expression: sp.Expr, values: Mapping[sp.Symbol, Any]) -> Any:
    inner, values = expression.args[0], dict(values)
    for nested in inner.atoms(MaxOver, MinOver, SumOver):  # a number by itself: it has its own index
        value = sp.Dummy()
        values[value] = evaluate_exactly(nested, values)
        inner = inner.subs(nested, value)
    lists = {s: v for s, v in values.items() if s in inner.free_symbols and isinstance(v, list)}
    count = len(next(iter(lists.values())))
    each = [evaluate_exactly(inner, {**values, **{s: v[i] for s, v in lists.items()}}) for i in range(count)]
    if isinstance(expression, SumOver):
        return sum(each[1:], each[0])
    return _largest(each) if isinstance(expression, MaxOver) else -_largest([-x for x in each])


def _power(base: Any, exponent: sp.Expr) -> Any:
    if exponent.is_Integer:
        return base ** int(exponent)
    if exponent.is_Rational and exponent.q == 2:
        return _root(base) ** int(exponent.p)
    raise NotExact(f"no exact power {exponent}")


def _root(value: Any) -> Any:
    """The root, a rational where the value is the square of one."""
    if isinstance(value, fmpq):
        p, q = int(value.p), int(value.q)
        if p >= 0 and isqrt(p) ** 2 == p and isqrt(q) ** 2 == q:
            return fmpq(isqrt(p), isqrt(q))
        value = arb(value)
    return value.sqrt()


def _largest(values: Sequence[Any]) -> Any:
    """Maximum of rationals, or a ball that holds the maximum."""
    if all(isinstance(value, fmpq) for value in values):
        return max(values)
    balls = [arb(value) for value in values]
    largest = balls[0]
    for ball in balls[1:]:
        largest = largest.max(ball)
    return largest


def _extremes(matrix: fmpq_mat) -> tuple[Any, Any]:
    """Smallest and largest eigenvalue of a symmetric rational matrix: rationals where they are, else certified balls."""
    polynomial = matrix.charpoly().numer()
    rational = {fmpq(-int(f[0]), int(f[1])) for f, _ in polynomial.factor()[1] if f.degree() == 1}
    roots: Any = polynomial.complex_roots()
    balls = [root.real for root, _ in roots]
    low, high = -_largest([-b for b in balls]), _largest(balls)

    def exact(ball: Any) -> Any:
        # A rational root inside the ball is the eigenvalue if no other root's ball touches it.
        inside = [r for r in rational if not (ball < arb(r) or ball > arb(r))]
        touching = sum(1 for b in balls if b.overlaps(ball))
        return inside[0] if len(inside) == 1 and touching == 1 else ball

    return exact(low), exact(high)


def _times(matrix: fmpq_mat, vector: Sequence[fmpq]) -> list[fmpq]:
    product = matrix * fmpq_mat(len(vector), 1, list(vector))
    return [product[i, 0] for i in range(len(vector))]


def _rational(value: Any) -> fmpq:
    numerator, denominator = value.as_integer_ratio()
    return fmpq(int(numerator), int(denominator))


class _Printer(PythonCodePrinter):  # type: ignore[misc]
    """Numbers as rationals; the inherited sign and absolute value are for floats."""

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
        if not expression.exp.is_Integer:
            raise NotExact(f"no rational root: {expression}")
        return f"({self._print(expression.base)})**({int(expression.exp)})"


@dataclass(frozen=True)
class _Advance:
    start: Callable[..., tuple[Any, ...]]
    step: Callable[..., tuple[Any, ...]]


def _uses_extremes(rule: Rule) -> bool:
    return any(e.has(symbols.L_l, symbols.mu_l) for e in (rule.step, *rule.update.values()))


def _rational_function(rule: Rule) -> _Advance:
    if rule.is_global or rule.clocks or any(e.has(BlockMean) for e in (rule.step, *rule.update.values())):
        raise NotExact(f"{rule.name} has no rational form here")
    arguments = (symbols.g, symbols.w, symbols.L_l, symbols.mu_l, symbols.lr, *rule.hyperparameters)
    namespace = {"fmpq": fmpq, "sign": _sign, "ratio": _ratio, "abs": abs}
    step = rule.step.subs(dict(rule.update), simultaneous=True)

    def function(names: Sequence[sp.Symbol], expressions: Sequence[sp.Expr]) -> Callable[..., tuple[Any, ...]]:
        printer = _Printer({"fully_qualified_modules": False, "allow_unknown_functions": True})
        out: Callable[..., tuple[Any, ...]] = sp.lambdify(
            names, tuple(expressions), modules=[namespace], printer=printer
        )
        return out

    return _Advance(
        function(arguments, [rule.start.get(s, sp.S.Zero) for s in rule.states]),
        function((*arguments, *rule.states), [step, *(rule.update[s] for s in rule.states)]),
    )


def _sign(value: fmpq) -> int:
    return int(value > 0) - int(value < 0)


def _ratio(a: fmpq, b: fmpq) -> fmpq:
    return fmpq(0) if a == 0 else a / b
