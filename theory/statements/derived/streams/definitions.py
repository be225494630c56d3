"""Definitions and steps of rules from which derivations about streams start; each is true in the mean over the draws.

They carry what is probability and no algebra: the fourth moments of normal samples (Isserlis), the independence of the samples
of a batch and of a step, the signs of jointly normal numbers (Sheppard), and that sums over all steps and limits satisfy the
recursion.
"""

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp

from quadsim.theory.statements.models.stream import (
    CALM,
    GD,
    HEAVY_BALL,
    OF_STREAM,
    STABLE,
    after_step,
    denominator,
)
from quadsim.theory.statements.models.stream_signs import ONE_SAMPLE, SIGNS
from quadsim.theory.statements.named import VALUES
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import SumOver, Symbol

__all__ = [
    "CONSTANT", "DEFINITIONS", "LEVELS", "MEANS", "NEEDS", "NEXT", "ORACLES", "SPEAKS_OF", "START", "STEPS", "Streams",
]  # fmt: skip

_s = Symbol


class Streams:
    """Quantities of derivations about streams; an index `_i` or `_p` as in `Symbol`."""

    one, second = sp.symbols("E_gg_one E_gg", nonnegative=True)
    """E g_i^2 of one sample's gradient along an eigenvector, and of that of a batch."""
    square_i, memory_i = sp.symbols("p_end_i r_end_i", nonnegative=True)
    cross_i = sp.Symbol("q_end_i", real=True)
    """Limits of E e_i^2, E m_i^2 and E e_i m_i, or their sums over all steps."""
    start_i = sp.Symbol("p_start_i", nonnegative=True)
    """e_i(0)^2."""
    second_i = sp.Symbol("E_gg_i", nonnegative=True)
    """E g_i^2, likewise at the end or summed."""
    drive = sp.Symbol("drive", nonnegative=True)
    """sum_j lambda_j E e_j^2 + v^2, likewise; it is what the modes have in common."""
    sign_i = sp.Symbol("E_sign_i", real=True)
    """E sign(g_i)."""
    entry_p, angle_p, signs_p = sp.symbols("H_p corr_p E_signs_p", real=True)
    """H_ij, its correlation, and E sign(g_i) sign(g_j) of a pair of coordinates."""
    pulled, form = sp.symbols("E_gs E_sHs", real=True)
    """E (He)'s and E s'Hs for s = sign(g)."""


_q = Streams
_x = _s.eta * _s.lambda_i
_GD = denominator(_x, sp.S.Zero)
_HB = denominator(_x, _s.momentum)

DEFINITIONS: Mapping[str, Any] = {
    "one sample": equal(
        _q.one, 2 * _s.eigenvalue**2 * _s.square + _s.eigenvalue * (2 * _s.mean_gap + _s.label_noise**2)
    ),
    "a batch": equal(_q.second, _s.eigenvalue**2 * _s.square + (_q.one - _s.eigenvalue**2 * _s.square) / _s.samples),
    "a batch at rest": equal(
        _q.second_i, _s.lambda_i**2 * _q.square_i + (_s.lambda_i**2 * _q.square_i + _s.lambda_i * _q.drive) / _s.samples
    ),
    "floor of the gap": equal(_s.floor, SumOver(_s.lambda_i * _q.square_i / 2)),
    "sum of the gaps": equal(_s.total_gap, SumOver(_s.lambda_i * _q.square_i / 2)),
    "drive at rest": equal(_q.drive, 2 * _s.floor + _s.label_noise**2),
    "drive in sum": equal(_q.drive, 2 * _s.total_gap),
    "start in parts": equal(_s.part_i, _s.lambda_i * _q.start_i / 2),
    "c": equal(_s.trace_rate, VALUES[_s.trace_rate]),
    "c with momentum": equal(_s.trace_momentum, VALUES[_s.trace_momentum]),
    "stable": sp.And(sp.Gt(_GD, 0, evaluate=False), sp.Lt(_s.trace_rate, 1, evaluate=False)),
    "stable with momentum": sp.And(sp.Gt(_HB, 0, evaluate=False), sp.Lt(_s.trace_momentum, 1, evaluate=False)),
    # A sign step on one sample.
    "gap after signs": equal(
        _s.signed_next,
        _s.gap - _s.eta * _q.pulled + _s.eta**2 / 2 * _q.form,
    ),
    "sum along the gradient": equal(_q.pulled, SumOver(_s.mean_gradient_i * _q.sign_i)),
    "sum over pairs": equal(_q.form, SumOver(_q.entry_p * _q.signs_p)),
    "signs of a gradient": equal(_q.sign_i, 2 / sp.pi * sp.asin(_s.alignment_i)),
    "signs of a pair": equal(_q.signs_p, 2 / sp.pi * sp.asin(_q.angle_p)),
    "arcsines": equal(_s.arcsine_form, SumOver(_q.entry_p * sp.asin(_q.angle_p))),
}
"""Label to formula."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "one sample": (OF_STREAM,),
    "a batch": (OF_STREAM,),
    "a batch at rest": (OF_STREAM,),
    "floor of the gap": (STABLE,),
    "sum of the gaps": (STABLE,),
    "drive in sum": (CALM,),
    "stable": (STABLE,),
    "stable with momentum": (STABLE,),
    "gap after signs": (ONE_SAMPLE,),
    "signs of a gradient": (ONE_SAMPLE,),
    "signs of a pair": (ONE_SAMPLE,),
}
"""Label of a definition to the hypotheses without which it says nothing."""


def _one_step(name: str) -> Any:
    """Return E e'^2 of gd, or E (e' + k m')^2 of heavy-ball."""
    if name.startswith("gd"):
        after = after_step("gd", sp.S.Zero, _q.second, _s.eigenvalue, (_s.square,))
        return equal(_s.square_next, after)
    moments = (_s.square, _s.memory_cross, _s.memory_square)
    return equal(_s.along_next, after_step("heavy-ball", _s.along, _q.second, _s.eigenvalue, moments))


def _at_the_end(start: sp.Expr) -> Callable[[str], Any]:
    """Return the recursion of all moments of a mode at its fixed point, or summed over all steps from a start.

    Summed, what stands at t + 1 on the left is the sum less the start, E e_0^2; a memory starts at 0.
    """

    def moments(name: str) -> Any:
        if name.startswith("gd"):
            after = after_step("gd", sp.S.Zero, _q.second_i, _s.lambda_i, (_q.square_i,))
            return equal(_q.square_i - start, after)
        own, k = (_q.square_i, _q.cross_i, _q.memory_i), sp.Symbol("k", real=True)
        after = sp.Poly(after_step("heavy-ball", k, _q.second_i, _s.lambda_i, own), k)
        return sp.And(
            equal(_q.square_i - start, after.nth(0)),
            equal(2 * _q.cross_i, after.nth(1)),
            equal(_q.memory_i, after.nth(2)),
        )

    return moments


STEPS: Mapping[str, Callable[[str], Any]] = {
    "gd on a stream": _one_step,
    "heavy-ball on a stream": _one_step,
    "gd on a stream, at the end": _at_the_end(sp.S.Zero),
    "heavy-ball on a stream, at the end": _at_the_end(sp.S.Zero),
    "gd on a stream, summed": _at_the_end(_q.start_i),
    "heavy-ball on a stream, summed": _at_the_end(_q.start_i),
}
"""What the step of a rule is called, to the function that works it out."""

SPEAKS_OF: Mapping[str, tuple[str, ...]] = {
    **{f"rule {name}": (GD if name.startswith("gd") else HEAVY_BALL,) for name in STEPS},
    "gap after signs": (SIGNS,),
}
"""Label to the names of the rules of which it holds."""

ORACLES: Mapping[str, str] = dict.fromkeys([*DEFINITIONS, *SPEAKS_OF], "stream")
"""Label to the oracle of gradients that it speaks of."""

MEANS = frozenset(ORACLES)
"""Labels that speak of means over the draws."""

START: Mapping[Any, Any] = {}
NEXT: Mapping[Any, Any] = {}
LEVELS: Mapping[str, int] = {}
CONSTANT = frozenset(
    {value for name, value in vars(Streams).items() if isinstance(value, sp.Symbol)}
    | {_s.trace_rate, _s.trace_momentum, _s.floor, _s.total_gap}
)
"""Quantities that do not change along a run."""
