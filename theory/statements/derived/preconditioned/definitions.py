"""Definitions for derivations about preconditioned rules: the step in vectors of a block, its energies and their factors.

The certificate of a block (s, xi, a, b), its rho, omega, theta and c, and the product of thetas have the index of the block.
Quantities that count steps from t0, the step whose state a bound reads, are told apart from those that count from 0: see COUNTED.
"""

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.running.certificates import Certificate, Polynomial, coefficients
from quadsim.theory.running.preconditioner import preconditioned_form
from quadsim.theory.statements.as_run.preconditioned.frame import PRECONDITIONED
from quadsim.theory.statements.derived.signs.definitions import Signs
from quadsim.theory.statements.derived.vectors import Letters as V
from quadsim.theory.statements.derived.vectors import Modes, form, transposed
from quadsim.theory.statements.named import gap_l
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import SumIn, SumOver, Symbol

__all__ = ["CONSTANT", "DEFINITIONS", "LEVELS", "NEEDS", "NEXT", "SPEAKS_OF", "START", "STEPS", "Run"]


class Run:
    """Quantities of a preconditioned run that no bound reads; indices and `next` as in `definitions.Q`."""

    memory = sp.Symbol("memory", nonnegative=True)
    """beta of the mean of the gradients; 0 without one."""
    E_l, E_next_l = sp.symbols("E_l E_next_l", nonnegative=True)
    """e'He + memory (g - m)'H^-1(g - m)."""
    E_i, E_next_i = sp.symbols("E_i E_next_i", nonnegative=True)
    """The part of mode i in E_l: y^2 + memory d^2."""
    s_l, xi_l = sp.symbols("s_l xi_l", real=True)
    a_l, b_l = sp.symbols("a_l b_l", nonnegative=True)
    """The certificate."""
    V_l, V_next_l, V_start_l = sp.symbols("V_l V_next_l V_start_l", real=True)
    """V of the certificate at t, t + 1 and t0."""
    rest_l, rest_next_l = sp.symbols("rest_l rest_next_l", real=True)
    """The terms of V without the preconditioner, at t and t + 1."""
    z_last_l, g_last_l, z_step_l, g_step_l = sp.symbols("zBz_last_l gBg_last_l zBz_step_l gBg_step_l", nonnegative=True)
    """z'Bz and g'Bg at t, with B of the step to t (last) and of the step from t to t + 1 (step)."""
    z_i, g_i = sp.symbols("zeta_i gamma_i", real=True)
    B_last_i, B_i = sp.symbols("B_last_i B_i", positive=True)
    """Coordinates of z and g at t, and the diagonals of both preconditioners."""
    rho_l, omega_l = sp.symbols("rho_l omega_l", positive=True)
    theta_l, product_l = sp.symbols("theta_l product_l", nonnegative=True)
    """The factor of V from t to t + 1, and the product of those from t0 to t."""
    f_uu_i, f_ud_i, f_dd_i = sp.symbols("f_uu_i f_ud_i f_dd_i", real=True)
    """The entries of theta R(tau) - N(tau)."""
    end_l, first_l, norm_l = sp.symbols("end_l first_l norm_l", nonnegative=True)
    """|Phi y_0|^2, |y_0|^2 and the largest eigenvalue of Phi'Phi."""
    floor_l = sp.Symbol("floor_l", positive=True)
    """c with V >= c |y|^2 at t."""
    low_l, high_l = sp.symbols("last_tau_low_l last_tau_high_l", positive=True)
    """The extreme eigenvalues of S B S, with B of the step to t."""
    yy_low_l, yd_low_l, dd_low_l, yy_high_l, yd_high_l, dd_high_l = sp.symbols(
        "yy_low_l yd_low_l dd_low_l yy_high_l yd_high_l dd_high_l", real=True
    )
    """The entries of V of a mode in (y, d) at both."""
    share_i = sp.Symbol("share_i", nonnegative=True)
    """The share w of the larger one in an eigenvalue (1 - w) low + w high."""
    V_i, above_low_i, above_high_i = sp.symbols("V_mode_i above_low_i above_high_i", real=True)
    """V of a mode at t; V - c y^2 of it with each of the extreme eigenvalues in place of its own."""


_EPS1 = Symbol.eps1
_MEMORY = (1 - _EPS1) / (1 + _EPS1)
_CERTIFICATE = Certificate(Run.s_l, Run.xi_l, Run.a_l, Run.b_l)


def _gradient(error: sp.Expr) -> sp.Expr:
    return V.S**2 * error


def _middle(error: sp.Expr, mean: sp.Expr) -> sp.Expr:
    return _EPS1 * _gradient(error) + (1 - _EPS1) * mean


def _energy(error: sp.Expr, mean: sp.Expr) -> sp.Expr:
    lag = _gradient(error) - mean
    return form(error, V.S**2, error) + Run.memory * form(lag, V.S**-2, lag)


def _rest(error: sp.Expr, mean: sp.Expr) -> sp.Expr:
    lag = _gradient(error) - mean
    own, lags = form(error, V.S**2, error), form(lag, V.S**-2, lag)
    return (1 - Run.s_l) * own + Run.s_l * lags - Run.xi_l * form(mean, V.S**-2, mean)


def _of_middle(error: sp.Expr, mean: sp.Expr, matrix: sp.Expr) -> sp.Expr:
    middle = _middle(error, mean)
    return form(middle, matrix, middle)


def _of_gradient(error: sp.Expr, matrix: sp.Expr) -> sp.Expr:
    return form(_gradient(error), matrix, _gradient(error))


def _value(polynomial: Polynomial) -> sp.Expr:
    return sum(c * Modes.tau_i**k for k, c in enumerate(polynomial))


def _entries() -> Any:
    """Return theta R(tau) - N(tau), entry by entry, from the polynomials that runs are evaluated with."""
    old, new = coefficients(_MEMORY, _CERTIFICATE, Run.rho_l, Run.omega_l)
    entries = (Run.f_uu_i, Run.f_ud_i, Run.f_dd_i)
    return sp.And(
        *(equal(f, Run.theta_l * _value(r) - _value(n)) for f, r, n in zip(entries, old, new, strict=True)),
        evaluate=False,
    )


def v_of_mode(y: sp.Expr, d: sp.Expr, eigenvalue: sp.Expr) -> sp.Expr:
    """Return V of a mode with the coordinates y and d."""
    z = _EPS1 * y + (1 - _EPS1) * (y - d)
    own = (1 - Run.s_l) * y**2 + Run.s_l * d**2 - Run.xi_l * (y - d) ** 2
    return own + Run.a_l / (2 * _EPS1) * eigenvalue * z**2 - Run.b_l * eigenvalue * y**2


def _at_the_ends() -> Any:
    """Return the entries of V of a mode at both ends of the spectrum."""
    y, d = Modes.last_y_i, Modes.last_d_i
    out = []
    for end, names in (
        (Run.low_l, (Run.yy_low_l, Run.yd_low_l, Run.dd_low_l)),
        (Run.high_l, (Run.yy_high_l, Run.yd_high_l, Run.dd_high_l)),
    ):
        found = sp.Poly(sp.expand(v_of_mode(y, d, end)), y, d)
        entries = (found.coeff_monomial(y**2), found.coeff_monomial(y * d) / 2, found.coeff_monomial(d**2))
        out += [equal(name, entry) for name, entry in zip(names, entries, strict=True)]
    return sp.And(*out, evaluate=False)


def _above(yy: sp.Expr, yd: sp.Expr, dd: sp.Expr) -> sp.Expr:
    y, d = Modes.last_y_i, Modes.last_d_i
    return (yy - Run.floor_l) * y**2 + 2 * yd * y * d + dd * d**2


DEFINITIONS: Mapping[str, Any] = {
    "memory": sp.And(equal(Run.memory, _MEMORY), sp.Le(_EPS1, 1, evaluate=False)),
    "no memory": equal(_EPS1, 1),
    "mean in modes": equal(Modes.u_i, Modes.y_i - Run.memory * Modes.d_i),
    # Gaps and energies of a block, in its vectors.
    "next gap by blocks": equal(Symbol.gap_next, SumOver(Signs.gap_next_l)),
    "first gap by blocks": equal(Symbol.gap_0, SumOver(Symbol.gap_0_l)),
    "gap of a block": equal(gap_l, form(V.e, V.S**2, V.e) / 2),
    "next gap of a block": equal(Signs.gap_next_l, form(V.e_next, V.S**2, V.e_next) / 2),
    "spectrum of the step": sp.And(
        sp.Le(Symbol.tau_low_l, Modes.tau_i, evaluate=False), sp.Le(Modes.tau_i, Symbol.tau_high_l, evaluate=False)
    ),
    "energy": equal(Run.E_l, _energy(V.e, V.m)),
    "next energy": equal(Run.E_next_l, _energy(V.e_next, V.m_next)),
    "energy of a mode": equal(Run.E_i, Modes.y_i**2 + Run.memory * Modes.d_i**2),
    "next energy of a mode": equal(Run.E_next_i, Modes.y_next_i**2 + Run.memory * Modes.d_next_i**2),
    "ratio of energies": sp.And(
        equal(Symbol.energy_ratio_l * Run.E_l, Run.E_next_l), sp.Gt(Run.E_l, 0, evaluate=False)
    ),
    # V of a certificate: terms without the preconditioner, and two forms of it, which is diagonal.
    "V": equal(Run.V_l, Run.rest_l + Run.a_l / (2 * _EPS1) * Run.z_last_l - Run.b_l * Run.g_last_l),
    "rest of V": equal(Run.rest_l, _rest(V.e, V.m)),
    "next V": equal(
        Run.V_next_l,
        _rest(V.e_next, V.m_next)
        + Run.a_l / (2 * _EPS1) * _of_middle(V.e_next, V.m_next, V.B)
        - Run.b_l * _of_gradient(V.e_next, V.B),
    ),
    "z'Bz of the step": equal(Run.z_step_l, _of_middle(V.e, V.m, V.B)),
    "g'Bg of the step": equal(Run.g_step_l, _of_gradient(V.e, V.B)),
    "z'Bz of the last step": equal(Run.z_last_l, _of_middle(V.e, V.m, V.B_last)),
    "g'Bg of the last step": equal(Run.g_last_l, _of_gradient(V.e, V.B_last)),
    "z'Bz in coordinates": equal(Run.z_step_l, SumIn(Run.B_i * Run.z_i**2)),
    "g'Bg in coordinates": equal(Run.g_step_l, SumIn(Run.B_i * Run.g_i**2)),
    "last z'Bz in coordinates": equal(Run.z_last_l, SumIn(Run.B_last_i * Run.z_i**2)),
    "last g'Bg in coordinates": equal(Run.g_last_l, SumIn(Run.B_last_i * Run.g_i**2)),
    "rise and fall": sp.And(
        sp.Le(Run.B_i, Run.rho_l * Run.B_last_i, evaluate=False),
        sp.Le(Run.B_last_i, Run.omega_l * Run.B_i, evaluate=False),
    ),
    "theta R - N": _entries(),
    "theta": sp.And(
        sp.Ge(Run.f_uu_i, 0, evaluate=False),
        sp.Ge(Run.f_dd_i, 0, evaluate=False),
        sp.Ge(Run.f_uu_i * Run.f_dd_i, Run.f_ud_i**2, evaluate=False),
    ),
    # The floor c of V, which is affine in the eigenvalue of a mode.
    "V at the ends": _at_the_ends(),
    "floor": sp.And(
        sp.Gt(Run.dd_low_l, 0, evaluate=False),
        sp.Gt(Run.dd_high_l, 0, evaluate=False),
        sp.Le(Run.floor_l, Run.yy_low_l - Run.yd_low_l**2 / Run.dd_low_l, evaluate=False),
        sp.Le(Run.floor_l, Run.yy_high_l - Run.yd_high_l**2 / Run.dd_high_l, evaluate=False),
    ),
    "spectrum of the last step": sp.And(
        equal(Modes.last_tau_i, (1 - Run.share_i) * Run.low_l + Run.share_i * Run.high_l),
        sp.Le(Run.share_i, 1, evaluate=False),
    ),
    "V of a mode": equal(Run.V_i, v_of_mode(Modes.last_y_i, Modes.last_d_i, Modes.last_tau_i)),
    "V above the floor": sp.And(
        equal(Run.above_low_i, _above(Run.yy_low_l, Run.yd_low_l, Run.dd_low_l)),
        equal(Run.above_high_i, _above(Run.yy_high_l, Run.yd_high_l, Run.dd_high_l)),
    ),
    "certified bound": equal(Symbol.certified_l, Run.product_l * Run.V_start_l / (2 * Run.floor_l)),
    # Many steps as one matrix.
    "y and d": sp.And(
        equal(V.y, V.S * V.e),
        equal(V.d, V.S * V.e - V.S**-1 * V.m),
        equal(V.K, V.S * V.B * V.S),
        equal(transposed(V.y), transposed(V.S * V.e)),
        evaluate=False,
    ),
    "next y and d": sp.And(
        equal(V.y_next, V.S * V.e_next), equal(V.d_next, V.S * V.e_next - V.S**-1 * V.m_next), evaluate=False
    ),
    "first gap of a block": equal(Symbol.gap_0_l, Run.first_l / 2),
    "square at the start": equal(Run.first_l, transposed(V.y_0) * V.y_0),
    "square at t": equal(Run.end_l, transposed(V.Phi * V.y_0) * V.Phi * V.y_0),
    "largest singular value": sp.Le(Run.end_l, Run.norm_l * Run.first_l, evaluate=False),  # Rayleigh quotient
    "span": equal(Symbol.span_l, Run.norm_l * Symbol.gap_0_l),
    "certified ratio": sp.And(
        equal(Symbol.certified_ratio_l * (Run.theta_l * Run.V_l), Run.V_next_l),
        sp.Gt(Run.theta_l, 0, evaluate=False),
        sp.Gt(Run.V_l, 0, evaluate=False),
    ),
}
FORM = "the step is a diagonal preconditioner times a mean of gradients: no weight decay"
NO_MEMORY, MEMORY = "no memory of gradients (beta1 = 0)", "a memory of gradients (beta1 > 0)"

NEEDS: Mapping[str, tuple[str, ...]] = {
    "rule preconditioned": (FORM,),
    "no memory": (NO_MEMORY,),
    "certified ratio": (MEMORY,),
    "certified bound": (MEMORY,),
}
SPEAKS_OF: Mapping[str, tuple[str, ...]] = {"rule preconditioned": PRECONDITIONED}
LEVELS: Mapping[str, int] = {}
START: Mapping[Any, Any] = {
    Run.V_l: Run.V_start_l,
    Run.product_l: 1,
    V.y: V.y_0,
    V.d: V.y_0,  # m_0 = 0
    V.Phi: 1,
    V.Psi: 1,
}
"""What a quantity is at the step from which it is counted: 0, or t0 for those of LATER."""
NEXT: Mapping[Any, Any] = {
    Run.V_l: Run.V_next_l,
    Run.product_l: Run.theta_l * Run.product_l,
    V.y: V.y_next,
    V.d: V.d_next,
    V.Phi: V.Phi - V.K * (V.Phi - Run.memory * V.Psi),
    V.Psi: Run.memory * V.Psi - V.K * (V.Phi - Run.memory * V.Psi),
}
CONSTANT = frozenset([Run.memory, V.y_0, Run.V_start_l, Run.s_l, Run.xi_l, Run.a_l, Run.b_l])
LATER = frozenset([Run.V_l, Run.product_l])
"""Quantities that are counted from a step t0 of their own: a claim about them by induction starts there."""


def _step(_: str) -> Any:
    """Return e_next = e - B m_next and m_next = memory m + (1 - memory) g, g = H e, which every preconditioned rule does.

    Raises:
        ValueError: a rule with another step, or whose preconditioner depends on the gradient or its mean.
    """
    beta, g = Run.memory, rule_symbols.g
    for name in PRECONDITIONED:
        rule = RULES[name]
        found = preconditioned_form(rule)
        if found is None:
            raise ValueError(f"rule must step along a preconditioned mean, got {name} with another step.")
        decay = {x: sp.S.Zero for x in rule.hyperparameters if str(x) == "weight_decay"}
        mean, moved = g, rule.step.subs(decay).doit()
        if found.memory is not None:
            mean = found.scale * found.memory
            kept = found.scale * rule.update[found.memory] - found.beta * mean - (1 - found.beta) * g
            if sp.simplify(kept) != 0 or rule.start.get(found.memory, 0) != 0:
                raise ValueError(f"rule must keep a mean of gradients from 0, got {name} with another memory.")
        if (
            sp.simplify(moved + found.preconditioner * mean) != 0
            or {g, found.memory} & found.preconditioner.free_symbols
        ):
            raise ValueError(f"rule must step along a preconditioned mean, got {name} with another step.")
    return sp.And(
        equal(V.e_next, V.e - V.B * V.m_next), equal(V.m_next, beta * V.m + (1 - beta) * _gradient(V.e)), evaluate=False
    )


STEPS: Mapping[str, Callable[[str], Any]] = {"preconditioned": _step}
