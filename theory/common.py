"""Steps and symbols that several proofs share."""

import sympy as sp

from quadsim.theory.proving import Step

__all__ = ["EIGENBASIS", "SUM_OF_UPPER", "e", "equal", "lam"]

e = sp.Symbol("e", real=True)
lam = sp.Symbol("lambda", positive=True)


def equal(left: sp.Expr, right: sp.Expr) -> sp.Eq:
    """An equation that stays one: SymPy would turn an obvious one into `True`, which nobody can read."""
    return sp.Eq(left, right, evaluate=False)


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
