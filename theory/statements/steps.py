"""Proof steps and symbols that several proofs share."""

from typing import Any

import sympy as sp

from quadsim.theory.statements.proving import Step
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol

__all__ = ["EIGENBASIS", "NEVER", "SUM_OF_UPPER", "concludes", "e", "equal", "inside", "lam"]

e = sp.Symbol("e", real=True)
lam = sp.Symbol("lambda", positive=True)


def equal(left: sp.Expr, right: sp.Expr) -> sp.Eq:
    """Return an unevaluated equation; SymPy would replace an obvious one by `True`, which a reader cannot check."""
    return sp.Eq(left, right, evaluate=False)


NEVER = equal(Symbol.t, Symbol.t + 1)
"""A claim that does not hold, for a proof that ends before its first step."""


def inside(expression: sp.Expr) -> sp.Expr:
    """Return the expression inside a reduction over an index."""
    return expression.args[0] if isinstance(expression, MaxOver | MinOver | SumOver) else expression


def concludes(bound: sp.Expr, proved: sp.Expr, given: tuple[Any, ...] = ()) -> Step:
    """Return the last step of a proof: the bound that is evaluated on runs equals the bound that was proved."""
    text = "conclusion: the bound that runs are held against is the one that was proved"
    if not (
        bound.free_symbols or proved.free_symbols
    ):  # two numbers: of the gap, so that the claim speaks of a quantity
        bound, proved = bound * Symbol.gap, proved * Symbol.gap
    return Step(equal(bound, proved), text, given)


_a, _b, _c, _d, _factor = sp.symbols("a b c d F", nonnegative=True)

EIGENBASIS = Step(
    "a symmetric H has an orthonormal basis of eigenvectors, block by block; in it the gap is 1/2 sum_i lambda_i e_i^2",
    "spectral theorem",
)

SUM_OF_UPPER = Step(
    sp.Le(_a + _c, _factor * (_b + _d)),
    "summation: if every mode's part of the gap is multiplied by F at most, so is a sum of two parts, and by induction the gap",
    (sp.Le(_a, _factor * _b), sp.Le(_c, _factor * _d)),
)
