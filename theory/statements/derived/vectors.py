"""Vectors and matrices of a block as letters that do not commute, and their coordinates in an eigenbasis (schema `modes`).

A preconditioned step speaks of the root S = H_l^(1/2), which is symmetric and invertible, and of a diagonal, positive B. Then
K = S B S is symmetric and positive definite: it has an orthonormal basis of eigenvectors, and its eigenvalues are those of
B^(1/2) H_l B^(1/2), as those of X Y and Y X are the same. In that basis a form x'K^n z is the sum over the modes of
tau^n x_i z_i, and a vector K^n x has the coordinates tau^n x_i. The rest is
multiplication of letters.

Letters: e_t and m_t are written by y = S e and d = S^-1 (g - m), g = S^2 e, so that e = S^-1 y and m = S (y - d).
"""

from collections.abc import Mapping
from typing import Any

import sympy as sp

from quadsim.theory.symbols import REDUCTIONS, Invertible, SumIn, Symbol

__all__ = ["Letters", "Modes", "form", "in_modes", "is_transposed", "transposed"]


class Letters:
    """Vectors (e, m and those of the next step; y, d of an eigenbasis) and matrices of the block l."""

    e, m, e_next, m_next = sp.symbols("e m e_next m_next", commutative=False)
    """The error and the mean of the gradients, before and after the step from t to t + 1."""
    S = Invertible("S", commutative=False)
    """H_l^(1/2), which has an inverse."""
    B, B_last = sp.symbols("B B_last", commutative=False)
    """The preconditioner of the step from t to t + 1; that of the step to t."""
    y, d, y_next, d_next, K = sp.symbols("y d y_next d_next K", commutative=False)
    """H^(1/2) e and H^(-1/2) (g - m), before and after the step; S B S or S B_last S."""
    y_0, Phi, Psi = sp.symbols("y_0 Phi Psi", commutative=False)
    """y at step 0, and the matrices that take it to y and to d, which the preconditioners alone determine."""


class Modes:
    """Coordinates of y and d in the eigenbasis of K, and its eigenvalues."""

    y_i, d_i, y_next_i, d_next_i, u_i = sp.symbols("mode_y_i mode_d_i mode_y_next_i mode_d_next_i mode_u_i", real=True)
    tau_i = sp.Symbol("tau_i", positive=True)
    """In the eigenbasis of S B S, B of the step from t to t + 1; u = y - memory d."""
    last_y_i, last_d_i = sp.symbols("last_mode_y_i last_mode_d_i", real=True)
    last_tau_i = sp.Symbol("last_tau_i", positive=True)
    """Those of e_t and m_t in the eigenbasis of S B_last S, B_last of the step to t."""


_VECTORS = (
    Letters.e,
    Letters.m,
    Letters.e_next,
    Letters.m_next,
    Letters.y,
    Letters.d,
    Letters.y_next,
    Letters.d_next,
    Letters.y_0,
)
_TRANSPOSED = {v: sp.Symbol(f"{v}'", commutative=False) for v in _VECTORS}
_MATRICES = {Letters.Phi: sp.Symbol("Phi'", commutative=False)}
_SYMMETRIC = (Letters.S, Letters.B, Letters.B_last, Letters.K)

_STEP: Mapping[Any, Any] = {
    Letters.y: Modes.y_i,
    Letters.d: Modes.d_i,
    Letters.y_next: Modes.y_next_i,
    Letters.d_next: Modes.d_next_i,
    Letters.K: Modes.tau_i,
}
_LAST: Mapping[Any, Any] = {Letters.y: Modes.last_y_i, Letters.d: Modes.last_d_i, Letters.K: Modes.last_tau_i}


def transposed(expression: sp.Expr) -> sp.Expr:
    """Return the transpose of a vector: its letters in the opposite order, each transposed.

    Raises:
        ValueError: an expression that is no sum of matrices times one vector.
    """
    matrices = {**dict(zip(_SYMMETRIC, _SYMMETRIC, strict=True)), **_MATRICES}
    out = sp.S.Zero
    for term in sp.Add.make_args(sp.expand(expression)):
        scalars, letters = term.args_cnc()
        powers = [x.as_base_exp() for x in letters[:-1]]
        if not letters or letters[-1] not in _TRANSPOSED or any(base not in matrices for base, _ in powers):
            raise ValueError(f"a vector must be matrices times one of {', '.join(map(str, _VECTORS))}, got {term}.")
        turned = [matrices[base] ** power for base, power in reversed(powers)]
        out += sp.Mul(*scalars, _TRANSPOSED[letters[-1]], *turned)
    return out


def form(left: sp.Expr, matrix: sp.Expr, right: sp.Expr) -> sp.Expr:
    """Return left' matrix right."""
    return sp.expand(transposed(left) * matrix * right)


def in_modes(claim: Any, given: tuple[Any, ...]) -> str:
    """What an equation says with the letters of a block, in coordinates of an eigenbasis.

    An equation x_l = form becomes x_l = SumIn(its modes); one between vectors becomes that of their coordinates. The
    eigenbasis is that of S B_last S if the claim speaks of its coordinates or eigenvalues (`last_`), else that of S B S.
    """
    claims = claim.args if isinstance(claim, sp.And) else (claim,)
    equations = [part for x in given for part in (x.args if isinstance(x, sp.And) else (x,))]
    fits = all(any(_is_mode(part, equation) for equation in equations) for part in claims)
    return "" if fits else "these are not the coordinates, in an eigenbasis, of what it uses"


def is_transposed(claim: Any, given: tuple[Any, ...]) -> str:
    """An equation between vectors, transposed on both sides."""
    try:
        turned = [[transposed(side) for side in x.args] for x in given if isinstance(x, sp.Eq)]
    except ValueError as error:
        return str(error)
    same = isinstance(claim, sp.Eq) and [sp.expand(side) for side in claim.args] in turned
    return "" if same else "it is not the transpose of what it uses"


def _is_mode(claim: Any, given: Any) -> bool:
    if not (isinstance(claim, sp.Eq) and isinstance(given, sp.Eq)):
        return False
    names = _LAST if claim.free_symbols & {Modes.last_tau_i, Modes.last_y_i, Modes.last_d_i} else _STEP
    if given.lhs.is_commutative:
        inside = _in_modes(given.rhs, names, vector=False)
        return (
            given.lhs == claim.lhs
            and isinstance(claim.rhs, SumIn)
            and inside is not None
            and sp.expand(inside - claim.rhs.args[0]) == 0
        )
    difference = given.lhs - given.rhs
    for left in (sp.S.One, Letters.S, Letters.S**-1):
        inside = _in_modes(left * difference, names, vector=True)
        if inside is not None:
            return bool(sp.expand(inside - (claim.lhs - claim.rhs)) == 0)
    return False


def _in_modes(expression: sp.Expr, names: Mapping[Any, Any], *, vector: bool) -> sp.Expr | None:
    """Return a form or a vector in coordinates of an eigenbasis; None if letters are left that have none."""
    root, inverse = Letters.S, Letters.S**-1
    own = Letters.B if names is _STEP else Letters.B_last
    plain = {
        Letters.e: inverse * Letters.y,
        Letters.m: root * (Letters.y - Letters.d),
        Letters.e_next: inverse * Letters.y_next,
        Letters.m_next: root * (Letters.y_next - Letters.d_next),
    }
    values = plain | {_TRANSPOSED[v]: transposed(x) for v, x in plain.items()} | {own: inverse * Letters.K * inverse}
    out = sp.S.Zero
    for term in sp.Add.make_args(sp.expand(sp.expand(expression).xreplace(values))):
        scalars, letters = term.args_cnc()
        first, last = (None, letters[-1:]) if vector else (letters[:1], letters[-1:])
        between = letters[:-1] if vector else letters[1:-1]
        known = {_TRANSPOSED[v]: v for v in names if v in _TRANSPOSED}
        ends = [*(known.get(x) for x in first or ()), *last]
        if len(ends) != (1 if vector else 2) or any(x not in names or x == Letters.K for x in ends):
            return None
        powers = [x.as_base_exp() for x in between]
        if any(base != Letters.K or not power.is_Integer for base, power in powers):
            return None
        if any(str(s).endswith("_i") or s == Symbol.t for x in scalars for s in x.free_symbols):
            return None  # a factor that is another one in each mode is no scalar
        if any(x.atoms(*REDUCTIONS) for x in scalars):
            return None
        out += sp.Mul(*scalars, *(names[base] ** power for base, power in powers), *(names[x] for x in ends))
    return out
