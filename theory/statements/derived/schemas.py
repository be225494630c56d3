"""The ways in which a step of a derivation follows that are no algebra: sums, extremes, boxes, named facts, one step for all.

Each takes the claim and the claims that the step uses, and returns "" or why the claim does not follow.
"""

import itertools
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import sympy as sp

from quadsim.theory.statements.derived.library import BOXED, CONSTANT, ENERGIES, FORMS, LATER, NEXT, START, TURNED
from quadsim.theory.statements.derived.vectors import in_modes, is_transposed
from quadsim.theory.symbols import REDUCTIONS, MaxOver, MinOver, SumIn, SumOver, Symbol

__all__ = ["FACTS", "SCHEMAS", "combination", "counted_apart", "is_stationary", "turned", "varying"]

_INDICES = ("_l", "_i", "_p")


def is_indexed(expression: sp.Expr, indices: tuple[str, ...] = _INDICES) -> bool:
    """Whether an expression depends on one of these indices: by a symbol with it, outside any reduction over it."""
    for over in sorted(expression.atoms(*REDUCTIONS), key=sp.count_ops, reverse=True):
        # The sum over the coordinates of block l still depends on l.
        expression = expression.xreplace({over: Symbol.gap_0_l if isinstance(over, SumIn) else Symbol.P})
    return any(str(symbol)[-2:] in indices for symbol in expression.free_symbols)


def varying(relation: Any) -> set[sp.Symbol]:
    """Return the symbols of a relation whose value may change from step to step."""
    return {symbol for symbol in relation.free_symbols if symbol not in CONSTANT}


def is_stationary(relation: Any) -> bool:
    """Whether it is known what every symbol of a relation is a step later."""
    return all(symbol in NEXT for symbol in varying(relation))


def counted_apart(relation: Any) -> str:
    """Return why a relation has no start of its own: quantities that are counted from a step t0 and from 0; "" if it has one."""
    later, others = varying(relation) & LATER, varying(relation) - LATER
    return f"{min(later, key=str)} is counted from another step than {min(others, key=str)}" if later and others else ""


def _extreme(claim: Any, given: tuple[Any, ...]) -> str:
    """X <= MaxOver(x) or MinOver(x) <= x, for any x with an index."""
    if isinstance(claim, sp.Ge):
        claim = sp.Le(claim.rhs, claim.lhs, evaluate=False)
    if isinstance(claim, sp.Le):
        low, high = claim.args
        if (isinstance(high, MaxOver) and high.args[0] == low) or (isinstance(low, MinOver) and low.args[0] == high):
            return ""
    return "it is no maximum over, or minimum over, what it is compared with"


def _every(claim: Any, given: tuple[Any, ...]) -> str:
    """From x <= c, x >= c or x = c for every index, with a c that has none: the same for the extremes of x over the index."""
    if len(given) != 1 or claim.func != given[0].func or claim.func not in (sp.Le, sp.Ge, sp.Eq):
        return "it is no relation of the kind of the one that it uses"
    for side, other in ((0, 1), (1, 0)):
        inner, outer = given[0].args[side], claim.args[side]
        constant = given[0].args[other]
        if constant != claim.args[other] or is_indexed(constant) or not is_indexed(inner):
            continue
        # x <= c bounds the largest x; c <= x the smallest; an equation both.
        above = (claim.func == sp.Le) == (side == 0)
        fits = (MaxOver, MinOver) if claim.func == sp.Eq else (MaxOver,) if above else (MinOver,)
        if isinstance(outer, fits) and outer.args[0] == inner:
            return ""
    return "it is not the extreme of what is bounded for every index by a number without one"


def _sum_over(kind: type[sp.Function]) -> Callable[[Any, tuple[Any, ...]], str]:
    """Return the schema of sums over all coordinates or blocks, or over the coordinates of a block."""

    def follows(claim: Any, given: tuple[Any, ...]) -> str:
        """Both sides of the first relation, added up; the other relations are equations that say what a sum is called."""
        wrong = "it is not the sum of what it uses"
        if not given:
            return wrong
        premise, names = given[0], given[1:]
        if premise.func != claim.func or claim.func not in (sp.Le, sp.Ge, sp.Eq):
            return wrong
        if not all(isinstance(name, sp.Eq) for name in names):
            return wrong
        called = {name.lhs: name.rhs for name in names}
        summands: set[sp.Expr] = set()
        for part, whole in zip(premise.args, claim.args, strict=True):
            summed = _terms(kind(part), called, kind)
            if summed is None or summed != _terms(whole, called, kind):
                return wrong
            summands |= set(summed)
        # lambda_i <= L_l for every coordinate does not bound the sum over coordinates by the sum over blocks.
        over = {next((index for index in ("_i", "_p", "_l") if is_indexed(x, (index,))), "") for x in summands}
        return "" if kind is SumIn or len(over) <= 1 else "one side is summed over coordinates, another over blocks"

    return follows


def _terms(
    expression: sp.Expr, called: Mapping[sp.Expr, sp.Expr], kind: type[sp.Function]
) -> dict[sp.Expr, sp.Expr] | None:
    """Return a sum of sums as summand to coefficient without an index, zeros left out; None for any other expression."""
    indices = ("_i",) if kind is SumIn else _INDICES
    out: dict[sp.Expr, sp.Expr] = {}
    # Extremes are left as they are: expanded inside, two that are equal may look different.
    atoms = {over: _letter(over) for over in expression.atoms(MaxOver, MinOver)}
    expression = expression.xreplace(atoms)
    for name, value in sorted(called.items(), key=lambda item: -sp.count_ops(item[0])):
        # A product may be called by a sum, as P Lambda_P.
        expression = expression.xreplace({name: value}) if name.is_Symbol else expression.subs(name, value)
    for term in sp.Add.make_args(sp.expand(expression)):
        sums = [x for x in sp.Mul.make_args(term) if isinstance(x, kind)]
        if len(sums) != 1:
            if term != 0:
                return None
            continue
        outside = sp.Mul(*(x for x in sp.Mul.make_args(term) if x is not sums[0]))
        if is_indexed(outside, indices):
            return None
        for inner in sp.Add.make_args(sp.expand(sums[0].args[0])):
            free = [x for x in sp.Mul.make_args(inner) if not is_indexed(x, indices)]
            summand = sp.Mul(*(x for x in sp.Mul.make_args(inner) if is_indexed(x, indices)))
            out[summand] = sp.expand(out.get(summand, sp.S.Zero) + outside * sp.Mul(*free))
    return {summand: factor for summand, factor in out.items() if factor != 0}


@lru_cache(maxsize=1024)
def _letter(over: sp.Expr) -> sp.Dummy:
    """Return the letter of an extreme, which no symbol can be."""
    return sp.Dummy("extreme", real=True)


def _vertices(claim: Any, given: tuple[Any, ...]) -> str:
    """A form that is convex in every coordinate, bounded at all vectors of signs, has the bound in the whole box [-1, 1]^P.

    Coordinate by coordinate: the others kept, whatever they are, it is largest at an end, so that some vector of signs has a form
    as large. It uses the bound at the vectors of signs, and that the vector lies in the box.
    """
    if len(given) != 2 or not isinstance(claim, sp.Le) or claim.lhs not in BOXED:
        return "it is not an upper bound of a form of a vector, from two claims"
    at_vertex, coordinate, form, free = BOXED[claim.lhs]
    bounded, box = given
    if varying(claim.rhs) - free:
        return "the bound may depend on the vector"
    if bounded != claim.func(at_vertex, claim.rhs, evaluate=False):
        return "the first claim is not the same bound at all vectors of signs"
    powers = sp.Poly(form, coordinate)
    if powers.degree() > 2 or not powers.nth(2).is_nonnegative:
        return "the form is not convex in every coordinate"
    inside = sp.And(sp.Le(-1, coordinate, evaluate=False), sp.Le(coordinate, 1, evaluate=False))
    return "" if box == inside else "the second claim is not that every coordinate lies in [-1, 1]"


def _flat(given: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(part for x in given for part in (x.args if isinstance(x, sp.And) else (x,)))


def combination(expression: sp.Expr) -> dict[sp.Symbol, sp.Expr] | None:
    """Return an expression as a sum of vectors, vector to factor without an index; None for any other expression."""
    out: dict[sp.Symbol, sp.Expr] = {}
    for term in sp.Add.make_args(sp.expand(expression)):
        vectors = [factor for factor in sp.Mul.make_args(term) if factor in TURNED]
        if len(vectors) != 1 or is_indexed(term / vectors[0]):
            return None
        out[vectors[0]] = out.get(vectors[0], sp.S.Zero) + term / vectors[0]
    return out


def turned(relation: Any) -> tuple[Any, ...]:
    """Return H x = a H y + b H z where a relation says x = a y + b z for every coordinate, with factors that have no index."""
    if not isinstance(relation, sp.Eq) or relation.lhs not in TURNED:
        return ()
    parts = combination(relation.rhs)
    if not parts:
        return ()
    return (sp.Eq(TURNED[relation.lhs], sp.Add(*(a * TURNED[z] for z, a in parts.items())), evaluate=False),)


def _linear(claim: Any, given: tuple[Any, ...]) -> str:
    """From x = a y + b z for every coordinate: H x = a H y + b H z."""
    for relation in _flat(given):
        for image in turned(relation):
            if isinstance(claim, sp.Eq) and claim.lhs == image.lhs and sp.expand(claim.rhs - image.rhs) == 0:
                return ""
    return "it is not the image by H of a combination of vectors"


def _quadratic(claim: Any, given: tuple[Any, ...]) -> str:
    """From x = y + a p for every coordinate: x'Hx/2 = y'Hy/2 + a p'Hy + a^2/2 p'Hp, in every block."""
    wrong = "it is not the form of H at a vector and a multiple of another"
    if not isinstance(claim, sp.Eq):
        return wrong
    for relation in _flat(given):
        parts = combination(relation.rhs) if isinstance(relation, sp.Eq) and relation.lhs in ENERGIES else None
        if not parts or claim.lhs != ENERGIES[relation.lhs] or len(parts) != 2:
            continue
        for y, p in itertools.permutations(parts):
            if parts[y] == 1 and y in ENERGIES and p in FORMS:
                a = parts[p]
                whole = ENERGIES[y] + a * SumIn(TURNED[y] * p) + a**2 / 2 * FORMS[p]
                if sp.expand(claim.rhs - whole) == 0:
                    return ""
    return wrong


def _next(claim: Any, given: tuple[Any, ...]) -> str:
    """A claim for every step, a step later."""
    if len(given) != 1 or not is_stationary(given[0]):
        return "it is not known what every symbol of it is a step later"
    return "" if claim == given[0].subs(NEXT, simultaneous=True) else "it is not what it uses, a step later"


def _part(claim: Any, given: tuple[Any, ...]) -> str:
    """A part of a sum: x <= SumOver(x) for an x that is not negative."""
    if isinstance(claim, sp.Le) and isinstance(claim.rhs, SumOver) and claim.rhs.args[0] == claim.lhs:
        return "" if claim.lhs.is_nonnegative else "a part of it may be negative"
    return "it is no part of a sum and that sum"


def _at_start(claim: Any, given: tuple[Any, ...]) -> str:
    """The first claim, for every step, at step 0."""
    if not given or varying(given[0]) - set(START):
        return "it is not known what every symbol of it is at step 0"
    if wrong := counted_apart(given[0]):
        return wrong
    same = claim == given[0].subs(START, simultaneous=True)
    return "" if same else "it is not what it uses, at step 0"


def _last(claim: Any, given: tuple[Any, ...]) -> str:
    """A claim in t for every step before t, at the step t - 1; it also uses t >= 1."""
    if len(given) != 2 or given[1] != sp.Ge(Symbol.t, 1, evaluate=False):
        return "a step before t needs t >= 1"
    if varying(given[0]) - {Symbol.t}:
        return f"{', '.join(map(str, varying(given[0]) - {Symbol.t}))} changes from step to step"
    same = claim == given[0].subs(Symbol.t, Symbol.t - 1)
    return "" if same else "it is not what it uses, at the step before t"


def _tangent(claim: Any) -> tuple[Any, ...] | None:
    """Ln u <= u - 1 for u > 0."""
    if isinstance(claim, sp.Le) and isinstance(claim.lhs, sp.log) and claim.rhs == claim.lhs.args[0] - 1:
        return (sp.Gt(claim.lhs.args[0], 0, evaluate=False),)
    return None


def _rising(claim: Any) -> tuple[Any, ...] | None:
    """An instance of: ln u <= ln v for 0 < u <= v."""
    if isinstance(claim, sp.Le) and isinstance(claim.lhs, sp.log) and isinstance(claim.rhs, sp.log):
        low, high = claim.lhs.args[0], claim.rhs.args[0]
        return (sp.Gt(low, 0, evaluate=False), sp.Le(low, high, evaluate=False))
    return None


def _quotient(claim: Any) -> tuple[Any, ...] | None:
    """An instance of: ln(u/v) = ln u - ln v for u, v > 0."""
    if not isinstance(claim, sp.Eq) or not isinstance(claim.lhs, sp.log):
        return None
    parts = sp.Add.make_args(claim.rhs)
    above = [x.args[0] for x in parts if isinstance(x, sp.log)]
    below = [(-x).args[0] for x in parts if isinstance(-x, sp.log)]
    if len(parts) != 2 or len(above) != 1 or len(below) != 1 or claim.lhs.args[0] != above[0] / below[0]:
        return None
    return (sp.Gt(above[0], 0, evaluate=False), sp.Gt(below[0], 0, evaluate=False))


def _integers(claim: Any) -> tuple[Any, ...] | None:
    """A <= b or a >= b + 1, for integers a and b."""
    if not isinstance(claim, sp.Or) or len(claim.args) != 2:
        return None
    low = [x for x in claim.args if isinstance(x, sp.Le)]
    high = [x for x in claim.args if isinstance(x, sp.Ge)]
    if len(low) != 1 or len(high) != 1 or low[0].lhs != high[0].lhs or high[0].rhs != low[0].rhs + 1:
        return None
    return () if low[0].lhs.is_integer and low[0].rhs.is_integer else None


FACTS: Mapping[str, Callable[[Any], tuple[Any, ...] | None]] = {
    "fact: tangent of the logarithm": _tangent,
    "fact: logarithm of a quotient": _quotient,
    "fact: the logarithm rises": _rising,
    "fact: integers": _integers,
}
"""Named facts as schemas: from a claim to the conditions under which it is an instance, which are proved; None if it is none."""

SCHEMAS: Mapping[str, Callable[[Any, tuple[Any, ...]], str]] = {
    "extreme": _extreme,
    "every": _every,
    "sum": _sum_over(SumOver),
    "sum in a block": _sum_over(SumIn),
    "vertices": _vertices,
    "modes": in_modes,
    "transposed": is_transposed,
    "linear": _linear,
    "quadratic": _quadratic,
    "next": _next,
    "part": _part,
    "start": _at_start,
    "last": _last,
}
