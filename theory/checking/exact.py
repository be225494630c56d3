"""Evaluate problems and theorems in exact arithmetic, for verdicts that floats cannot give (docs/theory.md, section 7).

Two kinds of numbers. A *rational* (`fmpq` of FLINT) is exact. A *ball* (`arb`) is an interval that certainly contains the
value; it is used for eigenvalues and roots that are not rational. A comparison is decided only if the balls do not overlap. Two
overlapping balls stay undecided, however small they are: equality is never decided by balls. `with_doubling` repeats a
computation with more bits until it is decided.

A problem that was given in integers or Fractions is used as it was given. A float problem is read as the rational matrix that its
floats are. Its eigenvalues then differ in the last digits from those that were asked for at its generation, and the statement
is checked for the matrix that was run.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isqrt
from typing import Any

import numpy as np
import sympy as sp
from flint import arb, ctx, fmpq, fmpq_mat

from quadsim.simulator.problems.coupling import inner_sizes
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.theory.statements.quantities import LARGEST_ENUMERATED
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol

__all__ = [
    "ExactProblem",
    "NotExact",
    "as_exact",
    "eigenvalues_of",
    "evaluate_exactly",
    "extremes",
    "is_given_exactly",
    "largest",
    "rational",
    "root",
    "times",
    "values_of",
    "with_doubling",
]

_PRECISIONS = (128, 512, 2048)  # bits of the balls, tried in this order; the last one is the cap


class NotExact(Exception):
    """A rule or a bound needs a value that has no exact form here (a root of the gradient, a mean over a block)."""


@dataclass(frozen=True)
class ExactProblem:
    """One problem in rationals.

    Attributes:
        blocks: H_l of every block, (P_l, P_l).
        initial_error: e_0 = w_0 - w* of every block, P_l entries.
        minimizer: w* of every block, which weight decay feels.
        inside: for every block of H the sizes of the blocks of rules in it; empty: they are the blocks of H.
    """

    blocks: tuple[fmpq_mat, ...]
    initial_error: tuple[tuple[fmpq, ...], ...]
    minimizer: tuple[tuple[fmpq, ...], ...]
    inside: tuple[tuple[int, ...], ...] = ()
    _extremes: dict[int, list[tuple[Any, Any]]] = field(default_factory=dict, compare=False, repr=False)
    _rule_extremes: dict[int, list[tuple[Any, Any]]] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def first_gradient(self) -> tuple[tuple[fmpq, ...], ...]:
        """g_0 = H e_0, for every block P_l entries."""
        return tuple(tuple(times(h, e)) for h, e in zip(self.blocks, self.initial_error, strict=True))

    @cached_property
    def initial_gap(self) -> fmpq:
        """gap_0 = e_0' H e_0 / 2."""
        pairs = zip(self.initial_error, self.first_gradient, strict=True)
        return sum((x * y for e, g in pairs for x, y in zip(e, g, strict=True)), fmpq(0)) / 2

    @property
    def extremes(self) -> list[tuple[Any, Any]]:
        """Smallest and largest eigenvalue of every block: rationals, or balls at the present precision of FLINT.

        Kept by precision, because a ball of 128 bits must not be reused in a computation with 512.
        """
        if ctx.prec not in self._extremes:
            self._extremes[ctx.prec] = [extremes(block) for block in self.blocks]
        return self._extremes[ctx.prec]

    @property
    def rule_sizes(self) -> list[int]:
        """Sizes of the blocks of rules."""
        return [size for sizes in self.inside for size in sizes] or [block.nrows() for block in self.blocks]

    @cached_property
    def diagonal(self) -> list[fmpq_mat]:
        """D: the diagonal blocks of H by the blocks of rules."""
        if not self.inside:
            return list(self.blocks)
        out = []
        for block, sizes in zip(self.blocks, self.inside, strict=True):
            for end, size in zip(itertools.accumulate(sizes), sizes, strict=True):
                own = range(end - size, end)
                out.append(fmpq_mat(size, size, [block[i, j] for i in own for j in own]))
        return out

    @property
    def rule_extremes(self) -> list[tuple[Any, Any]]:
        """Smallest and largest eigenvalue of every block of D, as `extremes`."""
        if not self.inside:
            return self.extremes
        if ctx.prec not in self._rule_extremes:
            self._rule_extremes[ctx.prec] = [extremes(block) for block in self.diagonal]
        return self._rule_extremes[ctx.prec]

    def by_rule(self, vector: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Return the parts of a vector by the blocks of rules, from its parts by the blocks of H."""
        left = iter([x for part in vector for x in part])
        return [[next(left) for _ in range(size)] for size in self.rule_sizes]

    def between(self, *, scaled: bool) -> list[fmpq_mat]:
        """Return H - D (or D^-1 (H - D), with the eigenvalues of D^(-1/2) (H - D) D^(-1/2)) for every block of H with parts."""
        if not self.inside:  # the blocks of rules are those of H: nothing is between them
            return []
        diagonal, out = iter(self.diagonal), []
        for block, sizes in zip(self.blocks, self.inside, strict=True):
            n = block.nrows()
            parts, whole = [next(diagonal) for _ in sizes], fmpq_mat(n, n)
            for end, part in zip(itertools.accumulate(sizes), parts, strict=True):
                begin = end - part.nrows()
                for i in range(begin, end):
                    for j in range(begin, end):
                        whole[i, j] = part[i - begin, j - begin]
            out.append(whole.inv() * block - fmpq_mat(n, n, _identity(n)) if scaled else block - whole)
        return out


def is_given_exactly(problem: BlockQuadratic, index: int) -> bool:
    """Whether problem `index` of a batch has rationals and they are those of its own matrices and start, as floats.

    `dataclasses.replace` can change the matrices or the start and leave `exact` as it was: then the floats count.
    """
    if problem.exact is None:
        return False
    sizes, ends = problem.block_sizes, np.cumsum(problem.block_sizes)
    matrix, error = problem.dense(index)
    if len(problem.exact.blocks) != len(sizes) or len(problem.exact.initial_error) != error.size:
        return False
    for rows, size, end in zip(problem.exact.blocks, sizes, ends, strict=True):
        if len(rows) != size or not np.array_equal(_as_floats(rows), matrix[end - size : end, end - size : end]):
            return False
    return bool(np.array_equal(_as_floats([problem.exact.initial_error])[0], error))


def _as_floats(rows: Sequence[Sequence[Any]]) -> Any:
    return np.array([[float(x) for x in row] for row in rows])


def as_exact(problem: BlockQuadratic, index: int) -> ExactProblem:
    """Return problem `index` of a batch in rationals: as the user gave it, or, for a float problem, as its floats are."""
    sizes = problem.block_sizes
    ends = np.cumsum(sizes)
    if is_given_exactly(problem, index):
        assert problem.exact is not None
        rows: Sequence[Any] = problem.exact.blocks
        start: Sequence[Any] = problem.exact.initial_error
    else:
        matrix, error = problem.dense(index)
        rows = [matrix[e - s : e, e - s : e].tolist() for e, s in zip(ends, sizes, strict=True)]
        start = error.tolist()
    blocks = tuple(
        fmpq_mat(s, s, [rational(x) for row in block for x in row]) for s, block in zip(sizes, rows, strict=True)
    )
    solution = problem.layout.flatten(problem.minimizer)[index].tolist()
    errors, minimizer = (
        tuple(tuple(rational(x) for x in values[e - s : e]) for e, s in zip(ends, sizes, strict=True))
        for values in (start, solution)
    )
    inside = tuple(inner_sizes(problem.rule_blocks, problem.layout)) if problem.partition is not None else ()
    return ExactProblem(blocks, errors, minimizer, inside)


def values_of(
    problem: ExactProblem, settings: Mapping[str, float], wanted: Iterable[sp.Symbol]
) -> dict[sp.Symbol, Any]:
    """Return values of symbols that do not change along a run.

    Args:
        problem: the problem.
        settings: name to value; a float is read as the rational that it is.
        wanted: the symbols.

    Returns:
        Symbol to a rational or a ball; a symbol with an index (as L_l) has a list of them.

    Raises:
        NotExact: a symbol without an exact value.
    """
    out: dict[sp.Symbol, Any] = {}
    for symbol in wanted:
        if symbol in _PER_BLOCK:
            out[symbol] = [_PER_BLOCK[symbol](problem, block) for block in range(len(problem.blocks))]
        elif symbol in _PER_RULE_BLOCK:
            out[symbol] = [_PER_RULE_BLOCK[symbol](problem, block) for block in range(len(problem.rule_sizes))]
        elif symbol in _WHOLE:
            out[symbol] = _WHOLE[symbol](problem)
        elif _SETTINGS.get(symbol) in settings:
            out[symbol] = rational(settings[_SETTINGS[symbol]])
        else:
            raise NotExact(f"no exact value of {symbol}")
    return out


def evaluate_exactly(expression: sp.Expr, values: Mapping[sp.Symbol, Any]) -> Any:
    """Return the value of an expression: a rational if all its parts are, else a ball.

    Args:
        expression: sums, products, powers (integer or half-integer), Abs, Max, Min, exp, log, and Max, Min or sums over an index.
        values: symbol to value, as `values_of` returns them.

    Raises:
        NotExact: a symbol without an exact value, or a function that has none.
    """
    if expression.is_Rational:
        return fmpq(int(expression.p), int(expression.q))
    if expression.is_Float:  # the binary number itself, not its decimal text
        return rational(float(expression))
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
    if isinstance(expression, sp.Abs):
        return abs(arguments[0])
    if isinstance(expression, sp.exp | sp.log):
        return getattr(arb(arguments[0]), expression.func.__name__)()
    if isinstance(expression, sp.Max):
        return largest(arguments)
    if isinstance(expression, sp.Min):
        return -largest([-x for x in arguments])
    raise NotExact(f"no exact value of {expression}")


def with_doubling(compute: Callable[[], Any], decided: Callable[[Any], bool]) -> Any:
    """Call `compute` with 128, 512 and 2048 bits until `decided(value)` holds; return the last value, decided or not.

    The precision of FLINT is restored afterwards.
    """
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
    """Return the maximum, minimum or sum of an expression over the index of its symbols (blocks, or eigenvalues).

    Raises:
        NotExact: no symbol in it has exact values.
    """
    inner, values = expression.args[0], dict(values)
    for nested in inner.atoms(MaxOver, MinOver, SumOver):  # first: it has an index of its own
        value = sp.Dummy()
        values[value] = evaluate_exactly(nested, values)
        inner = inner.subs(nested, value)
    lists = {s: v for s, v in values.items() if s in inner.free_symbols and isinstance(v, list)}
    if not lists:
        raise NotExact(f"no exact value of {', '.join(sorted(map(str, inner.free_symbols)))}")
    count = len(next(iter(lists.values())))
    each = [evaluate_exactly(inner, {**values, **{s: v[i] for s, v in lists.items()}}) for i in range(count)]
    if isinstance(expression, SumOver):
        return sum(each[1:], each[0])
    return largest(each) if isinstance(expression, MaxOver) else -largest([-x for x in each])


def _power(base: Any, exponent: sp.Expr) -> Any:
    if exponent.is_Integer:
        return base ** int(exponent)
    if exponent.is_Rational and exponent.q == 2:
        return root(base) ** int(exponent.p)
    raise NotExact(f"no exact power {exponent}")


def root(value: Any) -> Any:
    """Return the square root: a rational if the value is the square of a rational, else a ball."""
    if isinstance(value, fmpq):
        p, q = int(value.p), int(value.q)
        if p >= 0 and isqrt(p) ** 2 == p and isqrt(q) ** 2 == q:
            return fmpq(isqrt(p), isqrt(q))
        value = arb(value)
    return value.sqrt()


def largest(values: Sequence[Any]) -> Any:
    """Return the maximum: a rational if all values are rational, else a ball that contains the maximum."""
    if all(isinstance(value, fmpq) for value in values):
        return max(values)
    balls = [arb(value) for value in values]
    largest = balls[0]
    for ball in balls[1:]:
        largest = largest.max(ball)
    return largest


def eigenvalues_of(matrix: fmpq_mat) -> list[Any]:
    """Return the eigenvalues, with multiplicity, of a rational matrix whose eigenvalues are known to be real.

    The characteristic polynomial is factored over the rationals. Linear factors give rational eigenvalues, listed first; the
    roots of the other factors are isolated as certified balls. The order is not ascending.
    """
    polynomial = matrix.charpoly().numer()
    exact: list[Any] = []
    balls: list[Any] = []
    for factor, multiplicity in polynomial.factor()[1]:
        if factor.degree() == 1:
            exact += [fmpq(-int(factor[0]), int(factor[1]))] * multiplicity
        else:
            roots: Any = factor.complex_roots()
            balls += [ball.real for ball, _ in roots] * multiplicity
    return exact + balls


def extremes(matrix: fmpq_mat) -> tuple[Any, Any]:
    """Return the smallest and the largest eigenvalue of a symmetric rational matrix: rationals where possible, else balls."""
    values = eigenvalues_of(matrix)

    def extreme(sign: int) -> Any:
        best = sign * largest([sign * v for v in values])
        # A rational eigenvalue that is certainly beyond the balls of all others is the extreme one, exactly. Without this check
        # one irrational eigenvalue in the middle would turn a rational L_l into a ball, and equality could not be decided.
        for value in values:
            others = [arb(v) for v in values if not (isinstance(v, fmpq) and v == value)]
            if isinstance(value, fmpq) and all(sign * other < sign * arb(value) for other in others):
                return value
        return best

    return extreme(-1), extreme(1)


def _all_parts(problem: ExactProblem) -> list[list[tuple[fmpq, fmpq]]]:
    """Return, for every block, pairs of an eigenvalue (with multiplicity) and the part of the gap along its eigenvector.

    The eigenvectors of a multiple eigenvalue can be chosen so that one of them carries the whole part and the others carry 0.

    Raises:
        NotExact: an eigenvalue that is not rational.
    """
    return [_parts(block, error) for block, error in zip(problem.blocks, problem.initial_error, strict=True)]


def _parts(matrix: fmpq_mat, error: Sequence[fmpq]) -> list[tuple[fmpq, fmpq]]:
    factors = matrix.charpoly().numer().factor()[1]
    if any(factor.degree() != 1 for factor, _ in factors):
        raise NotExact("an eigenvalue is not rational")
    found = [(fmpq(-int(factor[0]), int(factor[1])), multiplicity) for factor, multiplicity in factors]
    out = []
    for value, multiplicity in found:
        part = list(error)  # projection on an eigenspace: the product of (H - other)/(value - other) over the others
        for other, _ in found:
            if other != value:
                part = [(y - other * x) / (value - other) for x, y in zip(part, times(matrix, part), strict=True)]
        out.append((value, value * sum((x * x for x in part), fmpq(0)) / 2))
        out += [(value, fmpq(0))] * (multiplicity - 1)
    return out


def _scaled_rows(matrix: fmpq_mat, gradient: Sequence[fmpq]) -> fmpq_mat:
    """Return D^-1 H with D = diag(|g|), which has the eigenvalues of D^(-1/2) H D^(-1/2) but needs no roots.

    Raises:
        NotExact: a coordinate of the gradient that is 0.
    """
    if any(g == 0 for g in gradient):
        raise NotExact("an entry of g_0 is 0")
    n = matrix.nrows()
    return fmpq_mat(n, n, [matrix[i, j] / abs(gradient[i]) for i in range(n) for j in range(n)])


def _diagonal(matrix: fmpq_mat) -> list[fmpq]:
    return [matrix[i, i] for i in range(matrix.nrows())]


def _largest_on_signs(matrix: fmpq_mat) -> fmpq:
    """Return the maximum of s'H s over sign vectors s, by trying all (s and -s give the same value, so half of them).

    Raises:
        NotExact: a block too large to enumerate.
    """
    n = matrix.nrows()
    if n > LARGEST_ENUMERATED:
        raise NotExact(f"signs are enumerated for blocks of at most {LARGEST_ENUMERATED}")
    best = fmpq(0)
    for rest in itertools.product((1, -1), repeat=n - 1):
        signs = [fmpq(s) for s in (1, *rest)]
        best = max(best, sum((s * y for s, y in zip(signs, times(matrix, signs), strict=True)), fmpq(0)))
    return best


def _sum(values: Sequence[Any]) -> Any:
    return sum(values[1:], values[0])


def times(matrix: fmpq_mat, vector: Sequence[fmpq]) -> list[fmpq]:
    """Return matrix times vector, as a list."""
    product = matrix * fmpq_mat(len(vector), 1, list(vector))
    return [product[i, 0] for i in range(len(vector))]


def rational(value: Any) -> fmpq:
    """Return a float, integer or Fraction as the rational that it is: 0.1 becomes 3602879701896397/36028797018963968."""
    numerator, denominator = value.as_integer_ratio()
    return fmpq(int(numerator), int(denominator))


def _largest_eigenvalue(problem: ExactProblem) -> Any:
    return largest([high for _, high in problem.extremes])


def _smallest_eigenvalue(problem: ExactProblem) -> Any:
    return -largest([-low for low, _ in problem.extremes])


def _identity(n: int) -> list[fmpq]:
    return [fmpq(int(i == j)) for i in range(n) for j in range(n)]


def _largest_modulus(problem: ExactProblem, *, scaled: bool) -> Any:
    """Return the largest modulus of an eigenvalue of H - D or of D^-1 (H - D)."""
    ends = [extremes(matrix) for matrix in problem.between(scaled=scaled)]
    return largest([fmpq(0), *(x for low, high in ends for x in (-low, high))])


def _coupled_weighted_smoothness(problem: ExactProblem) -> Any:
    sizes = problem.rule_sizes
    return _sum([fmpq(s, sum(sizes)) * high for s, (_, high) in zip(sizes, problem.rule_extremes, strict=True)])


def _coupled_ratio(reduce: Callable[..., Any]) -> "Callable[[ExactProblem, int], Any]":
    def value(problem: ExactProblem, block: int) -> Any:
        return reduce(map(abs, problem.by_rule(problem.first_gradient)[block])) / problem.rule_extremes[block][1]

    return value


def _weighted_smoothness(problem: ExactProblem) -> Any:
    sizes = [block.nrows() for block in problem.blocks]
    return _sum([fmpq(s, sum(sizes)) * high for s, (_, high) in zip(sizes, problem.extremes, strict=True)])


_SETTINGS = {
    Symbol.eta: "lr",
    Symbol.rate_coupling: "coupling",
    Symbol.momentum: "momentum",
    Symbol.beta1: "beta1",
    Symbol.beta2: "beta2",
}

_PER_BLOCK: dict[sp.Symbol, Callable[[ExactProblem, int], Any]] = {
    Symbol.L_l: lambda problem, block: problem.extremes[block][1],
    Symbol.mu_l: lambda problem, block: problem.extremes[block][0],
    Symbol.kappa_l: lambda problem, block: problem.extremes[block][1] / problem.extremes[block][0],
    Symbol.C1_l: lambda problem, block: min(map(abs, problem.first_gradient[block])) / problem.extremes[block][1],
    Symbol.C2_l: lambda problem, block: max(map(abs, problem.first_gradient[block])) / problem.extremes[block][1],
    Symbol.P_l: lambda problem, block: fmpq(problem.blocks[block].nrows()),
}

_PER_RULE_BLOCK: dict[sp.Symbol, Callable[[ExactProblem, int], Any]] = {
    Symbol.L_D_l: lambda problem, block: problem.rule_extremes[block][1],
    Symbol.mu_D_l: lambda problem, block: problem.rule_extremes[block][0],
    Symbol.kappa_D_l: lambda problem, block: problem.rule_extremes[block][1] / problem.rule_extremes[block][0],
    Symbol.C1_D_l: _coupled_ratio(min),
    Symbol.C2_D_l: _coupled_ratio(max),
}

_WHOLE: dict[sp.Symbol, Callable[[ExactProblem], Any]] = {
    Symbol.L: _largest_eigenvalue,
    Symbol.mu: _smallest_eigenvalue,
    Symbol.kappa: lambda problem: _largest_eigenvalue(problem) / _smallest_eigenvalue(problem),
    Symbol.P: lambda problem: fmpq(sum(block.nrows() for block in problem.blocks)),
    Symbol.Lambda_P: _weighted_smoothness,
    Symbol.Lambda_D: _coupled_weighted_smoothness,
    Symbol.coupling: lambda problem: _largest_modulus(problem, scaled=True),
    Symbol.off_block: lambda problem: _largest_modulus(problem, scaled=False),
    Symbol.nu: lambda problem: 1 / max(x for block in problem.blocks for x in _diagonal(block.inv())),
    Symbol.L_inf: lambda problem: _sum([_largest_on_signs(block) for block in problem.blocks]),
    Symbol.lambda_i: lambda problem: [v for pairs in _all_parts(problem) for v, _ in pairs],
    Symbol.part_i: lambda problem: [q for pairs in _all_parts(problem) for _, q in pairs],
    Symbol.sigma_i: lambda problem: [
        v
        for block, g in zip(problem.blocks, problem.first_gradient, strict=True)
        for v in eigenvalues_of(_scaled_rows(block, g))
    ],
    Symbol.gap_0: lambda problem: problem.initial_gap,
}
