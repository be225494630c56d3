"""Quantities that a bound only names, written out: recursions, values, and what they are made of.

Derivations use these expressions and statements print them, so that the symbol in a bound, the LaTeX of a statement and the
derivation cannot differ. Tests hold the numbers of `quadsim.theory.running` against them.
"""

from collections.abc import Mapping

import sympy as sp

from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol

__all__ = [
    "AGES",
    "AT_WITNESS",
    "PAIRS",
    "POLYAK_MOMENTUM",
    "RECURSIONS",
    "VALUES",
    "age",
    "fall",
    "gap_l",
    "middle_0_l",
    "rate",
]

_s = Symbol

rate = sp.Symbol("rate_t", positive=True)
"""The rate of the step at t, under any schedule."""

age = sp.Symbol("A", nonnegative=True)
"""A bound on the mean age of the gradients in the memory of a sign rule."""

middle_0_l = sp.Symbol("middle_0_l", nonnegative=True)
"""Gap of block l at the midpoint of the first step."""

gap_l = sp.Symbol("gap_l", nonnegative=True)
"""Gap of block l at step t."""


class PAIRS:
    """Quantities of a pair of eigenvalues, index `_p`: lambda_i >= lambda_j, and the shares of gap_0 on both."""

    high_p, low_p = sp.symbols("lambda_high_p lambda_low_p", positive=True)
    share_high_p, share_low_p = sp.symbols("q_high_p q_low_p", nonnegative=True)


def fall(u: sp.Symbol, size: sp.Expr, step: sp.Symbol) -> sp.Expr:
    """Return u at the next step: max(0, u - step sqrt(2 nu_l u)) + step^2 size/2."""
    return sp.Max(0, u - step * sp.sqrt(2 * _s.nu_l * u)) + step**2 * size / 2


RECURSIONS: Mapping[sp.Symbol, tuple[sp.Expr, sp.Expr]] = {
    _s.u_l: (_s.gap_0_l, fall(_s.u_l, _s.S_l, rate)),
    _s.v_l: (_s.gap_0_l, fall(_s.v_l, _s.S_l * (1 + 4 * age), _s.eta)),
    _s.w_l: (middle_0_l, fall(_s.w_l, _s.M_l, _s.eta)),
    _s.travelled: (sp.S.Zero, _s.travelled + rate),
}
"""Symbol to its value at step 0, and at step t + 1 as an expression in its value at step t."""

VALUES: Mapping[sp.Symbol, sp.Expr] = {
    _s.least_ratio: MaxOver(
        sp.Min(PAIRS.share_high_p, PAIRS.share_low_p)
        * ((PAIRS.high_p - PAIRS.low_p) / (PAIRS.high_p + PAIRS.low_p)) ** (2 * _s.t)
    ),
    _s.trace_rate: SumOver(_s.eta * _s.lambda_i / (2 * _s.samples - _s.eta * _s.lambda_i * (_s.samples + 1))),
    _s.trace_momentum: SumOver(
        _s.eta
        * _s.lambda_i
        * (1 + _s.momentum)
        / (
            _s.samples * (1 - _s.momentum) * (2 * (1 + _s.momentum) - _s.eta * _s.lambda_i)
            - _s.eta * _s.lambda_i * (1 + _s.momentum)
        )
    ),
    _s.smaller_gap: sp.Min(_s.gap, _s.gap_next),
    _s.ratio_high: MaxOver(gap_l / _s.gap_0_l),
    _s.ratio_low: MinOver(gap_l / _s.gap_0_l),
}
"""Symbol to its value at step t."""

AGES: Mapping[str, sp.Expr] = {
    "signum": _s.momentum / (1 - _s.momentum),
    "lion": _s.beta1 / (1 - _s.beta2),
}
"""Rule to the age of its gradients."""


def _part_at(end: sp.Symbol) -> sp.Expr:
    """Return the part of the gap on the eigenvectors of L or of mu, if there are no others."""
    other = _s.mu if end == _s.L else _s.L
    return SumOver(_s.part_i * (_s.lambda_i - other) / (end - other))


AT_WITNESS = sp.Eq(
    SumOver(_s.part_i * (_s.lambda_i - _s.mu) * (_s.L - _s.lambda_i))
    + (_part_at(_s.L) * _s.L - _part_at(_s.mu) * _s.mu) ** 2,
    0,
    evaluate=False,
)
"""The error sits on one eigenvector of L and one of mu: the parts of the gap are to each other as mu to L, without others."""

POLYAK_MOMENTUM = ((sp.sqrt(_s.L) - sp.sqrt(_s.mu)) / (sp.sqrt(_s.L) + sp.sqrt(_s.mu))) ** 2
