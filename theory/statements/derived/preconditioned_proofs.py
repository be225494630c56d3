"""The derivations of the theorems about preconditioned rules: from the step in vectors of a block to the statement."""

from collections.abc import Callable, Mapping

import sympy as sp

from quadsim.theory.statements.derived.definitions import Q
from quadsim.theory.statements.derived.preconditioned.coordinates import Alone
from quadsim.theory.statements.derived.preconditioned.definitions import Run, v_of_mode
from quadsim.theory.statements.derived.signs.definitions import Signs
from quadsim.theory.statements.derived.vectors import Letters as V
from quadsim.theory.statements.derived.vectors import Modes, transposed
from quadsim.theory.statements.derived.words import Steps, definitions, ge, le, rule, step
from quadsim.theory.statements.named import gap_l
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import MaxOver, MinOver, SumIn, SumOver, Symbol

__all__ = ["PRECONDITIONED_DERIVATIONS", "contraction"]

y, d, u, tau = Modes.y_i, Modes.d_i, Modes.u_i, Modes.tau_i
y_next, d_next = Modes.y_next_i, Modes.d_next_i
memory, eps1 = Run.memory, Symbol.eps1
low, high = Symbol.tau_low_l, Symbol.tau_high_l
gap, gap_0, gap_next, gap_next_l = Symbol.gap, Symbol.gap_0, Symbol.gap_next, Signs.gap_next_l


def _modes_of_a_step() -> Steps:
    """Return the steps from the rule to y_next = y - tau u, d_next = memory d - tau u, y = u + memory d."""
    both = sp.And(equal(y_next, y - tau * (y_next - d_next)), equal(y_next - d_next, y - memory * d), evaluate=False)
    return (
        rule("preconditioned"),
        *definitions("mean in modes"),
        step("modes", both, "rule preconditioned", by="modes", because="in the eigenbasis of S B S"),
        step("new y", equal(y_next, y - tau * u), "modes", "mean in modes"),
        step("new d", equal(d_next, memory * d - tau * u), "modes", "mean in modes", "new y"),
        step("old y", equal(y, u + memory * d), "mean in modes"),
    )


def _worst(of: Callable[[sp.Expr], sp.Expr]) -> tuple[sp.Expr, Steps]:
    """Return the largest value of a convex f at the ends of the spectra of all blocks, and the steps to f(tau) <= it."""
    top = sp.Max(of(low), of(high))
    return MaxOver(top), (
        *definitions("spectrum of the step"),
        step("worse end", le(of(tau), top), "spectrum of the step"),
        step("worst block", le(top, MaxOver(top)), by="extreme"),
        step("worst of all", le(of(tau), MaxOver(top)), "worse end", "worst block"),
    )


def _local() -> Steps:
    top, worst = _worst(lambda x: (1 - x) ** 2)
    return (
        *_modes_of_a_step(),
        *definitions(
            "memory", "no memory", "gap of a block", "next gap of a block", "gap by blocks", "next gap by blocks"
        ),
        step("one mode", equal(y_next, (1 - tau) * y), "new y", "mean in modes", "memory", "no memory"),
        *worst,
        step("every mode", le(y_next**2 / 2, top * (y**2 / 2)), "one mode", "worst of all"),
        step("gap in modes", equal(gap_l, SumIn(y**2 / 2)), "gap of a block", by="modes"),
        step("next gap in modes", equal(gap_next_l, SumIn(y_next**2 / 2)), "next gap of a block", by="modes"),
        step(
            "every block",
            le(gap_next_l, top * gap_l),
            "every mode",
            "gap in modes",
            "next gap in modes",
            by="sum in a block",
        ),
        step("the gap", le(gap_next, top * gap), "every block", "gap by blocks", "next gap by blocks", by="sum"),
    )


def _energy() -> Steps:
    top, worst = _worst(_theta)
    mode, mode_next = Run.E_i, Run.E_next_i
    return (
        *_modes_of_a_step(),
        *definitions("memory", "energy", "next energy", "ratio of energies", "energy of a mode", "next energy of a mode"),
        step(
            "a mode",
            ge(_theta(tau) * mode, mode_next),
            "new y", "new d", "old y", "memory", "energy of a mode", "next energy of a mode",
            by="form",
            because="theta E - E_next is a form in (u, d) with A C - B^2 = beta^3 tau^2 (2 - tau/eps1)^2",
        ),
        *worst,
        step("every mode", le(mode_next, top * mode), "a mode", "worst of all"),
        step("energy in modes", equal(Run.E_l, SumIn(y**2 + memory * d**2)), "energy", by="modes"),
        step("next energy in modes", equal(Run.E_next_l, SumIn(y_next**2 + memory * d_next**2)), "next energy", by="modes"),
        step(
            "every block",
            le(Run.E_next_l, top * Run.E_l),
            "every mode", "energy in modes", "next energy in modes", "energy of a mode", "next energy of a mode",
            by="sum in a block",
        ),
        step("ratio", le(Symbol.energy_ratio_l, top), "every block", "ratio of energies"),
        step("all ratios", le(MaxOver(Symbol.energy_ratio_l), top), "ratio", by="every"),
    )  # fmt: skip


def _theta(x: sp.Expr) -> sp.Expr:
    return 1 - 2 * x + x**2 / eps1


def contraction(theta: str = "theta", limits: str = "rise and fall") -> Steps:
    """Return the steps to V_next <= theta V of a block.

    Args:
        theta: label of what says that theta R - N is positive semi-definite.
        limits: label of what says that B of the step is at most rho B_last, and B_last at most omega B.
    """
    k, b = Run.a_l / (2 * eps1), Run.b_l
    rest, middle = v_of_mode(y, d, sp.S.Zero), eps1 * y + (1 - eps1) * (y - d)
    old = rest + k * tau / Run.rho_l * middle**2 - b * Run.omega_l * tau * y**2
    new = v_of_mode(y_next, d_next, tau)
    difference = Run.f_uu_i * u**2 + 2 * Run.f_ud_i * u * d + Run.f_dd_i * d**2
    below = Run.rest_l + k / Run.rho_l * Run.z_step_l - b * Run.omega_l * Run.g_step_l
    return (
        *_modes_of_a_step(),
        *definitions("memory", "theta R - N", "V", "rest of V", "next V", "z'Bz of the step", "g'Bg of the step"),
        step(
            "theta R - N in (u, d)",
            equal(Run.theta_l * old - new, difference),
            "new y", "new d", "old y", "memory", "theta R - N",
        ),
        step(
            "a mode",
            ge(Run.theta_l * old, new),
            "theta R - N in (u, d)", theta,
            by="form",
            because="theta R - N is positive semi-definite",
        ),
        step("rest in modes", equal(Run.rest_l, SumIn(rest)), "rest of V", by="modes"),
        step("z'Bz in modes", equal(Run.z_step_l, SumIn(tau * middle**2)), "z'Bz of the step", by="modes"),
        step("g'Bg in modes", equal(Run.g_step_l, SumIn(tau * y**2)), "g'Bg of the step", by="modes"),
        step("next V in modes", equal(Run.V_next_l, SumIn(new)), "next V", by="modes"),
        step(
            "every block",
            ge(Run.theta_l * below, Run.V_next_l),
            "a mode", "rest in modes", "z'Bz in modes", "g'Bg in modes", "next V in modes",
            by="sum in a block",
        ),
        *_old_and_new(limits),
        step("below V", le(below, Run.V_l), "V", "rise of z'Bz", "fall of g'Bg"),
        step("contraction", le(Run.V_next_l, Run.theta_l * Run.V_l), "every block", "below V"),
    )  # fmt: skip


def _old_and_new(limits: str) -> Steps:
    """Return the steps from the diagonals of two preconditioners to their forms."""
    rho, omega, z, g = Run.rho_l, Run.omega_l, Run.z_i, Run.g_i
    return (
        *definitions("z'Bz in coordinates", "g'Bg in coordinates"),
        *definitions("last z'Bz in coordinates", "last g'Bg in coordinates"),
        step("rise of a coordinate", le(Run.B_i * z**2, rho * (Run.B_last_i * z**2)), limits),
        step("fall of a coordinate", le(Run.B_last_i * g**2, omega * (Run.B_i * g**2)), limits),
        step(
            "rise of z'Bz",
            le(Run.z_step_l, rho * Run.z_last_l),
            "rise of a coordinate", "z'Bz in coordinates", "last z'Bz in coordinates",
            by="sum in a block",
        ),
        step(
            "fall of g'Bg",
            le(Run.g_last_l, omega * Run.g_step_l),
            "fall of a coordinate", "g'Bg in coordinates", "last g'Bg in coordinates",
            by="sum in a block",
        ),
    )  # fmt: skip


def _certificate() -> Steps:
    ratio = Symbol.certified_ratio_l
    return (
        *definitions("theta", "rise and fall"),
        *contraction(),
        *definitions("certified ratio"),
        step("ratio", le(ratio, 1), "contraction", "certified ratio"),
        step("all ratios", le(MaxOver(ratio), 1), "ratio", by="every"),
    )


def _floor() -> Steps:
    """Return the steps to 2 c gap <= V of a block."""
    y, d, eigenvalue = Modes.last_y_i, Modes.last_d_i, Modes.last_tau_i
    rest, middle = v_of_mode(y, d, sp.S.Zero), eps1 * y + (1 - eps1) * (y - d)
    return (
        *definitions("spectrum of the last step", "V at the ends", "floor", "V of a mode", "V above the floor"),
        *definitions("gap of a block", "z'Bz of the last step", "g'Bg of the last step"),
        step("low end", ge(Run.above_low_i, 0), "V above the floor", "floor", by="form"),
        step("high end", ge(Run.above_high_i, 0), "V above the floor", "floor", by="form"),
        step(
            "affine",
            equal(Run.V_i, Run.floor_l * y**2 + (1 - Run.share_i) * Run.above_low_i + Run.share_i * Run.above_high_i),
            "V of a mode", "V above the floor", "V at the ends", "spectrum of the last step",
        ),
        step("floor of a mode", ge(Run.V_i, Run.floor_l * y**2), "affine", "low end", "high end", "spectrum of the last step"),
        step("gap in modes", equal(gap_l, SumIn(y**2 / 2)), "gap of a block", by="modes"),
        step("last rest in modes", equal(Run.rest_l, SumIn(rest)), "rest of V", by="modes"),
        step("last z'Bz in modes", equal(Run.z_last_l, SumIn(eigenvalue * middle**2)), "z'Bz of the last step", by="modes"),
        step("last g'Bg in modes", equal(Run.g_last_l, SumIn(eigenvalue * y**2)), "g'Bg of the last step", by="modes"),
        step(
            "floor of a block",
            ge(Run.V_l, 2 * Run.floor_l * gap_l),
            "floor of a mode", "V", "V of a mode", "gap in modes",
            "last rest in modes", "last z'Bz in modes", "last g'Bg in modes",
            by="sum in a block",
        ),
    )  # fmt: skip


def _certificate_gap() -> Steps:
    return (
        *definitions("theta", "rise and fall"),
        *contraction(),
        *_floor(),
        step("all steps", le(Run.V_l, Run.product_l * Run.V_start_l), "contraction", by="induction"),
        *definitions("certified bound", "gap by blocks"),
        step("every block's gap", le(gap_l, Symbol.certified_l), "all steps", "floor of a block", "certified bound"),
        step("the gap", le(gap, SumOver(Symbol.certified_l)), "every block's gap", "gap by blocks", by="sum"),
    )


def _span() -> Steps:
    move = V.K * (V.y - memory * V.d)
    every = sp.And(equal(V.y, V.Phi * V.y_0), equal(V.d, V.Psi * V.y_0), evaluate=False)
    return (
        rule("preconditioned"),
        *definitions("y and d", "next y and d", "gap of a block", "first gap of a block", "gap by blocks", "span"),
        *definitions("square at the start", "square at t", "largest singular value"),
        step("step of y", equal(V.y_next, V.y - move), "rule preconditioned", "y and d", "next y and d"),
        step("step of d", equal(V.d_next, memory * V.d - move), "rule preconditioned", "y and d", "next y and d"),
        step("all steps", every, "step of y", "step of d", by="induction"),
        step("y at t", equal(V.y, V.Phi * V.y_0), "all steps"),
        step("y' at t", equal(transposed(V.y), transposed(V.Phi * V.y_0)), "y at t", by="transposed"),
        step("gap by y", equal(gap_l, transposed(V.y) * V.y / 2), "gap of a block", "y and d"),
        step("gap by the start", equal(gap_l, Run.end_l / 2), "gap by y", "y at t", "y' at t", "square at t"),
        step(
            "every block",
            le(gap_l, Symbol.span_l),
            "gap by the start", "largest singular value", "first gap of a block", "span",
        ),
        step("the gap", le(gap, SumOver(Symbol.span_l)), "every block", "gap by blocks", by="sum"),
    )  # fmt: skip


def _linear_modes() -> Steps:
    e, m, c, part, top = Q.error_i, Alone.memory_i, Q.start_i, Symbol.part_i, MaxOver(Symbol.mode_i**2)
    every = sp.And(equal(e, Alone.power_i * c), equal(m, Alone.memory_power_i * c))
    return (
        rule("linear along an eigenvector"),
        *definitions("gap", "parts", "gap at the start", "modulus of a power"),
        step("every mode", every, "rule linear along an eigenvector", by="induction"),
        step("error of a mode", equal(e, Alone.power_i * c), "every mode"),
        step("part of a mode", equal(Symbol.lambda_i * e**2 / 2, Alone.power_i**2 * part), "error of a mode", "parts"),
        step("square", equal(Symbol.mode_i**2, Alone.power_i**2), "modulus of a power"),
        step("largest", le(Symbol.mode_i**2, top), by="extreme"),
        step("at most", le(Symbol.lambda_i * e**2 / 2, top * part), "part of a mode", "square", "largest"),
        step("the gap", le(gap, top * gap_0), "at most", "gap", "gap at the start", by="sum"),
    )


def _diagonal() -> Steps:
    c, lam, X = Signs.first_i, Symbol.lambda_i, Alone.X
    every = sp.And(
        equal(Signs.error_i, c * X),
        equal(Alone.mean_i, lam * c * Alone.X_mean),
        equal(Alone.square_i, (lam * c) ** 2 * Alone.X_square),
    )
    ratio = gap_l / Symbol.gap_0_l
    return (
        rule("adam on a coordinate"),
        *definitions("blocks of one", "one size", "largest ratio", "smallest ratio"),
        step("every coordinate", every, "rule adam on a coordinate", by="induction"),
        step("error", equal(Signs.error_i, c * X), "every coordinate"),
        step("every ratio", equal(ratio, X**2), "error", "blocks of one", "one size"),
        step("the largest", equal(MaxOver(ratio), X**2), "every ratio", by="every"),
        step("the smallest", equal(MinOver(ratio), X**2), "every ratio", by="every"),
        step(
            "all alike",
            equal(Symbol.ratio_high, Symbol.ratio_low),
            "the largest", "the smallest", "largest ratio", "smallest ratio",
        ),
    )  # fmt: skip


PRECONDITIONED_DERIVATIONS: Mapping[str, Callable[[], Steps]] = {
    "adam-local": _local,
    "adam-energy": _energy,
    "adam-certificate": _certificate,
    "adam-certificate-gap": _certificate_gap,
    "adam-span": _span,
    "linear-modes": _linear_modes,
    "adam-diagonal": _diagonal,
}
"""Name of a theorem to its derivation."""
