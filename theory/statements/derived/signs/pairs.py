"""Definitions and derivation of gd-lower-start: what GD at any constant rate leaves on two eigenvalues of H."""

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.named import PAIRS, VALUES
from quadsim.theory.statements.recursion import along_eigenvector
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import Symbol

__all__ = ["CONSTANT", "DEFINITIONS", "LEVELS", "NEEDS", "NEXT", "SPEAKS_OF", "START", "STEPS", "Pairs"]


class Pairs(PAIRS):
    """Quantities of two eigenvalues along a run of GD, index `_p`."""

    on_high_p, on_low_p = sp.symbols("gap_high_p gap_low_p", nonnegative=True)
    """Part of gap_t on the whole eigenspace of each."""
    next_high_p, next_low_p = sp.symbols("gap_next_high_p gap_next_low_p", nonnegative=True)
    """The same of gap_(t+1)."""
    first_high_p, first_low_p = sp.symbols("gap_0_high_p gap_0_low_p", nonnegative=True)
    """The same of gap_0."""
    apart_p = sp.Symbol("apart_p", nonnegative=True)
    """(lambda_high - lambda_low)/(lambda_high + lambda_low)."""
    power_p = sp.Symbol("power_p", nonnegative=True)
    """apart^(2t)."""


_s, _q = Symbol, Pairs

START: Mapping[Any, Any] = {_q.on_high_p: _q.first_high_p, _q.on_low_p: _q.first_low_p, _q.power_p: 1}
NEXT: Mapping[Any, Any] = {
    _q.on_high_p: _q.next_high_p,
    _q.on_low_p: _q.next_low_p,
    _q.power_p: _q.apart_p**2 * _q.power_p,
}
CONSTANT = frozenset([
    _q.high_p,
    _q.low_p,
    _q.share_high_p,
    _q.share_low_p,
    _q.first_high_p,
    _q.first_low_p,
    _q.apart_p,
])

DEFINITIONS: Mapping[str, Any] = {
    "pair": sp.Le(_q.low_p, _q.high_p, evaluate=False),
    "parts on two eigenvalues": sp.And(
        sp.Ge(_s.gap, _q.on_high_p, evaluate=False), sp.Ge(_s.gap, _q.on_low_p, evaluate=False)
    ),
    "shares": sp.And(
        equal(_q.first_high_p, _q.share_high_p * _s.gap_0), equal(_q.first_low_p, _q.share_low_p * _s.gap_0)
    ),
    "how far apart": equal(_q.apart_p, (_q.high_p - _q.low_p) / (_q.high_p + _q.low_p)),
    "least ratio": equal(_s.least_ratio, VALUES[_s.least_ratio]),
}
NEEDS: Mapping[str, tuple[str, ...]] = {}
LEVELS: Mapping[str, int] = {}
SPEAKS_OF: Mapping[str, tuple[str, ...]] = {"rule gd on two eigenvalues": ("gd", "sgd")}


def _on_two(_: str) -> Any:
    factor, eigenvalue = along_eigenvector(RULES["gd"], {rule_symbols.lr: _s.eta}), sp.Symbol("lambda", positive=True)
    at_high, at_low = (factor.subs(eigenvalue, end) ** 2 for end in (_q.high_p, _q.low_p))
    return sp.And(equal(_q.next_high_p, at_high * _q.on_high_p), equal(_q.next_low_p, at_low * _q.on_low_p))


STEPS: Mapping[str, Callable[[str], Any]] = {"gd on two eigenvalues": _on_two}
