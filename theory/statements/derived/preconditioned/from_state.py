"""Definitions for adam-from-state: what follows from the state at t0 for every later preconditioner of Adam.

All quantities count from t0 (LATER). With since = t - t0: share = beta2^since, so that v_t >= share v_t0; high_v_i is the
largest v_i that bounds G on the gaps allow; W bounds V of the certificate, whose b is raised to b_l before the step from t.
"""

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.running.preconditioner import preconditioned_form
from quadsim.theory.statements.derived.preconditioned.definitions import MEMORY, Run, v_of_mode
from quadsim.theory.statements.derived.signs.definitions import Signs
from quadsim.theory.statements.derived.vectors import Modes
from quadsim.theory.statements.named import gap_l
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import Symbol

__all__ = [
    "CONSTANT",
    "DEFINITIONS",
    "LATER",
    "LEVELS",
    "NEEDS",
    "NEXT",
    "PREMISES",
    "SPEAKS_OF",
    "START",
    "STEPS",
    "State",
]


class State:
    """Quantities of a run of Adam from a state on."""

    v_i, v_next_i, v_start_i = sp.symbols("v2_i v2_next_i v2_start_i", nonnegative=True)
    """The second moment of a coordinate at t, t + 1 and t0."""
    eps = sp.Symbol("eps", nonnegative=True)
    k1, k1_next = sp.symbols("k1 k1_next", positive=True)
    k2, k2_next, k2_start = sp.symbols("k2 k2_next k2_start", positive=True)
    """1 - beta1^t and 1 - beta2^t, at t, t + 1 and t0."""
    root_i, root_next_i, root_start_i = sp.symbols("root_i root_next_i root_start_i", nonnegative=True)
    """sqrt(v/k2)."""
    D_i, D_next_i, D_start_i = sp.symbols("D2_i D2_next_i D2_start_i", positive=True)
    """sqrt(v/k2) + eps, so that B = lr/(k1 D)."""
    share = sp.Symbol("share", positive=True)
    """beta2^(t - t0)."""
    high_v_i = sp.Symbol("high_v_i", nonnegative=True)
    W_l, gap_here_l, G_l = sp.symbols("W_l gap_here_l G_l_state", real=True)
    """Bounds of V and of the gap, and the gap, which all count from t0."""
    V_own_l = sp.Symbol("V_own_l", real=True)
    """V with the b of the step to t; b_own is that b."""
    V_from_l, gap_from_l = sp.symbols("V_from_l gap_from_l", real=True)
    """V with b = 0, and the gap, at t0."""
    b_own_l = sp.Symbol("b_own_l", nonnegative=True)
    floor_next_l = sp.Symbol("floor_next_l", positive=True)
    rise_l, growth_l, grown_l, slow_l = sp.symbols("rise_l growth_l grown_l slow_l", nonnegative=True)
    """Factors of sqrt(v/k2) down and of v and sqrt(v/k2) up in a step, at most; max_i H_ii/v_t0,i."""
    fall = sp.Symbol("fall", positive=True)
    """f at t + 1: D >= f D_t0."""
    high_root_i, high_D_i = sp.symbols("high_root_i high_D_i", positive=True)
    B_low_i, B_high_i = sp.symbols("B_low_i B_high_i", positive=True)
    low_l, high_l = sp.symbols("lo_l hi_l", positive=True)
    yy_low_l, yd_low_l, dd_low_l, yy_high_l, yd_high_l, dd_high_l = sp.symbols(
        "yy_lo_l yd_lo_l dd_lo_l yy_hi_l yd_hi_l dd_hi_l", real=True
    )
    part_i = sp.Symbol("part_i", nonnegative=True)
    V_next_i, above_low_i, above_high_i = sp.symbols("V_next_mode_i above_lo_i above_hi_i", real=True)


_s, _q, _b1, _b2 = Symbol, State, Symbol.beta1, Symbol.beta2

START: Mapping[Any, Any] = {
    _q.v_i: _q.v_start_i,
    _q.high_v_i: _q.v_start_i,
    _q.share: 1,
    _q.k2: _q.k2_start,
    _q.W_l: _q.V_from_l,
    _q.V_own_l: _q.V_from_l,
    _q.gap_here_l: _q.gap_from_l,
    _q.G_l: _q.gap_from_l,
}
NEXT: Mapping[Any, Any] = {
    _q.v_i: _q.v_next_i,
    _q.high_v_i: _b2 * _q.high_v_i + (1 - _b2) * 2 * _s.curvature_i * _q.G_l,
    _q.share: _b2 * _q.share,
    _q.k2: _q.k2_next,
    _q.W_l: Run.theta_l * _q.W_l,
    _q.V_own_l: Run.V_next_l,
    _q.gap_here_l: Signs.gap_next_l,
    _q.G_l: Run.theta_l * _q.W_l / (2 * _q.floor_next_l),
}
LATER = frozenset(START)
CONSTANT = frozenset([_q.v_start_i, _q.eps, _q.k2_start, _q.V_from_l, _q.gap_from_l])


def _le(left: Any, right: Any) -> Any:
    return sp.Le(left, right, evaluate=False)


def _ends() -> Any:
    """Return the entries of V of a mode at both ends of the interval of its eigenvalue."""
    y, d, out = Modes.y_next_i, Modes.d_next_i, []
    for end, names in (
        (_q.low_l, (_q.yy_low_l, _q.yd_low_l, _q.dd_low_l)),
        (_q.high_l, (_q.yy_high_l, _q.yd_high_l, _q.dd_high_l)),
    ):
        found = sp.Poly(sp.expand(v_of_mode(y, d, end)), y, d)
        entries = (found.coeff_monomial(y**2), found.coeff_monomial(y * d) / 2, found.coeff_monomial(d**2))
        out += [equal(name, entry) for name, entry in zip(names, entries, strict=True)]
    return sp.And(*out, evaluate=False)


def _above(yy: sp.Expr, yd: sp.Expr, dd: sp.Expr) -> sp.Expr:
    y, d = Modes.y_next_i, Modes.d_next_i
    return (yy - _q.floor_next_l) * y**2 + 2 * yd * y * d + dd * d**2


INSIDE = (_le(_q.low_l, Modes.tau_i), _le(Modes.tau_i, _q.high_l))

DEFINITIONS: Mapping[str, Any] = {
    "second memory": sp.Lt(_b2, 1, evaluate=False),
    "roots": sp.And(
        equal(_q.root_i**2 * _q.k2, _q.v_i),
        equal(_q.root_next_i**2 * _q.k2_next, _q.v_next_i),
        equal(_q.root_start_i**2 * _q.k2_start, _q.v_start_i),
    ),
    "denominators": sp.And(
        equal(_q.D_i, _q.root_i + _q.eps),
        equal(_q.D_next_i, _q.root_next_i + _q.eps),
        equal(_q.D_start_i, _q.root_start_i + _q.eps),
    ),
    "gradient against gap": _le(Run.g_i**2, 2 * gap_l * _s.curvature_i),  # Cauchy-Schwarz in H
    "the same gap": equal(_q.gap_here_l, gap_l),
    "slowest": _le(_s.curvature_i, _q.slow_l * _q.v_start_i),
    "factor of the fall of v": equal(_q.rise_l**2 * (_b2 * _q.k2), _q.k2_next),
    "rho": equal(Run.rho_l * _q.k1_next, _q.k1 * _q.rise_l),
    "growth factor": equal(_q.growth_l * _q.share, _b2 * _q.share + (1 - _b2) * 2 * _q.G_l * _q.slow_l),
    "factor of the growth of v": sp.And(
        sp.Ge(_q.grown_l, 1, evaluate=False), sp.Ge(_q.grown_l**2 * _q.k2_next, _q.growth_l * _q.k2, evaluate=False)
    ),
    "omega": equal(Run.omega_l * _q.k1, _q.k1_next * _q.grown_l),
    "f": equal(_q.fall**2 * _q.k2_next, _b2 * _q.share * _q.k2_start),
    "largest denominator": sp.And(
        equal(_q.high_root_i**2 * _q.k2_next, _b2 * _q.high_v_i + (1 - _b2) * 2 * _s.curvature_i * _q.G_l),
        equal(_q.high_D_i, _q.high_root_i + _q.eps),
    ),
    "B from below": equal(_q.B_low_i * (_q.k1_next * _q.high_D_i), _s.eta),
    "B from above": equal(_q.B_high_i * (_q.k1_next * (_q.fall * _q.D_start_i)), _s.eta),
    # A larger diagonal has larger eigenvalues of S B S.
    "spectrum from below": INSIDE[0],
    "spectrum from above": INSIDE[1],
    "theta on the interval": sp.And(
        sp.Ge(Run.f_uu_i, 0, evaluate=False),
        sp.Ge(Run.f_dd_i, 0, evaluate=False),
        sp.Ge(Run.f_uu_i * Run.f_dd_i, Run.f_ud_i**2, evaluate=False),
    ),
    "share of the interval": sp.And(
        equal(Modes.tau_i, (1 - _q.part_i) * _q.low_l + _q.part_i * _q.high_l), _le(_q.part_i, 1)
    ),
    "b is raised": _le(_q.b_own_l, Run.b_l),
    "V with its own b": equal(
        _q.V_own_l, Run.rest_l + Run.a_l / (2 * _s.eps1) * Run.z_last_l - _q.b_own_l * Run.g_last_l
    ),
    "V at the ends of the interval": _ends(),
    "floor on the interval": sp.And(
        sp.Gt(_q.dd_low_l, 0, evaluate=False),
        sp.Gt(_q.dd_high_l, 0, evaluate=False),
        _le(_q.floor_next_l, _q.yy_low_l - _q.yd_low_l**2 / _q.dd_low_l),
        _le(_q.floor_next_l, _q.yy_high_l - _q.yd_high_l**2 / _q.dd_high_l),
    ),
    "next V of a mode": equal(_q.V_next_i, v_of_mode(Modes.y_next_i, Modes.d_next_i, Modes.tau_i)),
    "next V above the floor": sp.And(
        equal(_q.above_low_i, _above(_q.yy_low_l, _q.yd_low_l, _q.dd_low_l)),
        equal(_q.above_high_i, _above(_q.yy_high_l, _q.yd_high_l, _q.dd_high_l)),
    ),
    "bound from the state": equal(_s.from_state_l, _q.G_l),
}
PREMISES: Mapping[str, tuple[Any, ...]] = {
    "spectrum from below": (_le(_q.B_low_i, Run.B_i),),
    "spectrum from above": (_le(Run.B_i, _q.B_high_i),),
    "theta on the interval": INSIDE,
    "share of the interval": INSIDE,
}
NEEDS: Mapping[str, tuple[str, ...]] = {
    "rule adam with both memories": ("lr is constant",),
    "bound from the state": (MEMORY,),
}
SPEAKS_OF: Mapping[str, tuple[str, ...]] = {"rule adam with both memories": ("adam",)}
LEVELS: Mapping[str, int] = {}


def _both_memories(_: str) -> Any:
    """Return how the second moment, the corrections and B of Adam move from t to t + 1.

    Raises:
        ValueError: the rule has another step.
    """
    rule = RULES["adam"]
    _m, v = rule.states
    b1, b2, eps = rule.hyperparameters
    p1, p2 = rule.clocks
    found = preconditioned_form(rule)
    if found is None:
        raise ValueError("rule must step along a preconditioned mean, got adam with another step.")
    moved = sp.expand(rule.update[v] - b2 * v - (1 - b2) * rule_symbols.g**2)
    clocks = [sp.expand(rule.clocks[p] - b * p) for p, b in ((p1, b1), (p2, b2))]
    here = {rule_symbols.lr: _s.eta, p1: 1 - _q.k1, p2: 1 - _q.k2, eps: _q.eps, v: _q.root_i**2 * _q.k2}
    own = found.preconditioner.subs(here, simultaneous=True) - _s.eta / (_q.k1 * (_q.root_i + _q.eps))
    if moved != 0 or any(clocks) or rule.start or sp.simplify(sp.powdenest(sp.simplify(own), force=True)) != 0:
        raise ValueError("rule must keep a mean of squares with a corrected root, got adam with another step.")
    return sp.And(
        equal(_q.v_next_i, _b2 * _q.v_i + (1 - _b2) * Run.g_i**2),
        equal(Run.B_i * (_q.k1_next * _q.D_next_i), _s.eta),
        equal(Run.B_last_i * (_q.k1 * _q.D_i), _s.eta),
        equal(_q.k2_next, 1 - _b2 + _b2 * _q.k2),
    )


STEPS: Mapping[str, Callable[[str], Any]] = {"adam with both memories": _both_memories}
