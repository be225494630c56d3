"""Definitions and derivation of block-scale-invariance: a block that is a multiple of the first has the ratios of the first."""

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp

from quadsim.theory.statements.as_run.invariance import INVARIANT, scaled
from quadsim.theory.statements.derived.signs.definitions import Signs
from quadsim.theory.statements.named import VALUES
from quadsim.theory.statements.proving import prove
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import SumIn, Symbol

__all__ = ["CONSTANT", "DEFINITIONS", "LEVELS", "NEEDS", "NEXT", "SPEAKS_OF", "START", "STEPS", "TURNED", "Scales"]


class Scales:
    """Quantities of a block l beside the same coordinate of the first block, of which it is the multiple c_l."""

    scale_l = sp.Symbol("c_l", positive=True)
    """c_l with H_l = c_l H_1."""
    twin_i, twin_gradient_i, twin_turned_i = sp.symbols("e1_i g1_i He1_i", real=True)
    """The same coordinate of e_t and g_t in the first block, and of H_l times that part of e_t."""
    twin_gap, twin_gap_0 = sp.symbols("gap1 gap1_0", positive=True)
    """Gap of the first block at steps t and 0."""
    apart_l, apart_next_l, apart_0_l = sp.symbols("apart_l apart_next_l apart_0_l", nonnegative=True)
    """How far the block's errors, and its memories over their power of c_l, are from those of the first, at t, t + 1 and 0."""


_s, _q, _b = Symbol, Scales, Signs

START: Mapping[Any, Any] = {_q.twin_gap: _q.twin_gap_0, _q.apart_l: _q.apart_0_l}
NEXT: Mapping[Any, Any] = {_q.apart_l: _q.apart_next_l}
CONSTANT = frozenset([_q.scale_l, _q.twin_gap_0, _q.apart_0_l])
_MULTIPLE = ("every block is a power of two times the first, with the same start",)

DEFINITIONS: Mapping[str, Any] = {
    "same start": equal(_q.apart_0_l, 0),
    "how far from the first": sp.Le(sp.Abs(_b.error_i - _q.twin_i), _q.apart_l, evaluate=False),
    "multiple of the first": equal(_q.twin_turned_i, _q.scale_l * _q.twin_gradient_i),
    "gap of the first": equal(_q.twin_gap, SumIn(_q.twin_gradient_i * _q.twin_i) / 2),
    "largest ratio": equal(_s.ratio_high, VALUES[_s.ratio_high]),
    "smallest ratio": equal(_s.ratio_low, VALUES[_s.ratio_low]),
}
NEEDS: Mapping[str, tuple[str, ...]] = {
    "same start": _MULTIPLE,
    "multiple of the first": _MULTIPLE,
    "gap of the first": _MULTIPLE,
    "rule without a scale": ("eps = 0 and no weight decay",),
}
LEVELS: Mapping[str, int] = {}
SPEAKS_OF: Mapping[str, tuple[str, ...]] = {"rule without a scale": INVARIANT}
TURNED: Mapping[sp.Symbol, sp.Symbol] = {_q.twin_i: _q.twin_turned_i}


def _without_scale(_: str) -> Any:
    """Return that a block stays the multiple of the first that it is: g, memories and step keep their scale in every rule.

    Raises:
        ValueError: one of the rules does not keep it.
    """
    for name in INVARIANT:
        wrong = [step for step in scaled(name) if prove(step).status != "proved"]
        if wrong:
            raise ValueError(f"rule must keep its scale, got {name}: {wrong[0].because} does not hold; leave it out.")
    return sp.Implies(equal(_q.apart_l, 0), equal(_q.apart_next_l, 0))


STEPS: Mapping[str, Callable[[str], Any]] = {"without a scale": _without_scale}
