"""The schema `form`: a quadratic form in two variables is not negative where its entries and its determinant are not."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sympy as sp

__all__ = ["forms_in", "positive_form"]

Prove = Callable[[Any], bool]


def positive_form(claim: Any, equations: Mapping[sp.Expr, sp.Expr], proves: Prove) -> str:
    """Return why a claim that a quadratic form in two variables is not negative does not follow; "" if it does.

    A u^2 + 2 B u d + C d^2 is not negative for any u and d if and only if A >= 0, C >= 0 and A C >= B^2. Each of the three must
    be proved; equations for the difference itself, or for symbols in it, are put in first.

    Args:
        claim: left <= right or left >= right, whose difference is the form.
        equations: the difference, or a symbol, to what it equals.
        proves: function from a relation to whether it follows.
    """
    if not isinstance(claim, sp.Ge | sp.Le):
        return "a form must be compared by <= or >="
    difference = claim.lhs - claim.rhs if isinstance(claim, sp.Ge) else claim.rhs - claim.lhs
    difference = equations.get(difference, difference)
    symbols = {name: value for name, value in equations.items() if name.is_Symbol}
    for _ in symbols:
        difference = difference.xreplace(symbols)
    for pair, (A, B, C) in forms_in(sp.expand(difference)):
        wanted = (A, C, A * C - B**2)
        if all(proves(sp.Ge(x, 0, evaluate=False)) for x in wanted if not x.is_nonnegative):
            return ""
        return f"the form in {pair[0]} and {pair[1]} is not known to be positive semi-definite"
    return "it is no quadratic form in two variables"


def forms_in(difference: sp.Expr) -> Iterator[tuple[tuple[sp.Symbol, sp.Symbol], tuple[sp.Expr, sp.Expr, sp.Expr]]]:
    """Yield the pairs of coordinates of any sign in which an expression is a quadratic form, with its entries A, B and C."""
    coordinates = (
        s for s in difference.free_symbols if s.is_real and s.is_nonnegative is None and str(s).endswith("_i")
    )
    free = sorted(coordinates, key=str)
    for pair in itertools.combinations(free, 2):
        if not difference.is_polynomial(*pair):
            continue
        found = sp.Poly(difference, *pair)
        if found.monoms() and all(sum(powers) == 2 for powers in found.monoms()):
            u, d = pair
            yield pair, (found.coeff_monomial(u**2), found.coeff_monomial(u * d) / 2, found.coeff_monomial(d**2))
