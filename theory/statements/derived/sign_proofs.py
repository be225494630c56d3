"""The derivations of the theorems about sign steps at a rate that is given (`quadsim.theory.statements.as_run.signs`)."""

from collections.abc import Callable, Mapping

import sympy as sp

from quadsim.theory.statements.derived.signs import Signs
from quadsim.theory.statements.derived.words import Steps, definitions, ge, le, rule, step
from quadsim.theory.statements.named import fall, gap_l, rate
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import SumOver, Symbol

__all__ = ["SIGN_DERIVATIONS"]

eta, t, gap = Symbol.eta, Symbol.t, Symbol.gap
S_l, nu_l, u_l = Symbol.S_l, Symbol.nu_l, Symbol.u_l
d, g = Signs.move_i, Signs.gradient_i
n1 = Signs.norm1_l


def _largest_form() -> Steps:
    """Return the steps to d'Hd <= S_l, for a d whose entries are signs or 0, by the step "moves"."""
    form = Symbol.curvature_i * d**2 + 2 * Signs.rest_i * d + Signs.others_i
    return (
        *definitions("largest on signs", "positive definite"),
        step("box", sp.And(le(-1, d), le(d, 1)), "moves"),
        step("convex", le(form, sp.Max(form.subs(d, 1), form.subs(d, -1))), "box", "positive definite"),
        step("form", le(Signs.form_l, S_l), "largest on signs", "convex", "box", by="vertices"),
    )


def _norm_against_gap() -> Steps:
    """Return the steps to |g|_1^2 >= 2 nu gap in a block."""
    two_gap = 2 * gap_l
    bound = sp.sqrt(2 * gap_l / nu_l)
    e = Signs.error_i
    return (
        *definitions("gap of a block by the gradient", "error against gap", "smallest inverse", "1-norm of a block"),
        step("error of a coordinate", le(nu_l * e**2, two_gap), "error against gap", "smallest inverse"),
        step("root of it", le(sp.Abs(e), bound), "error of a coordinate"),
        step("part", le(g * e / 2, sp.Abs(g) * bound / 2), "root of it"),
        step(
            "Hoelder",
            le(gap_l, n1 * bound / 2),
            "part",
            "gap of a block by the gradient",
            "1-norm of a block",
            by="sum in a block",
        ),
        step("norm against the gap", ge(n1**2, 2 * nu_l * gap_l), "Hoelder"),
    )


def _along_signs() -> Steps:
    return (
        rule("signsgd at a given rate"),
        step("moves", equal(d, sp.sign(g)), "rule signsgd at a given rate"),
        *definitions("direction along the gradient", "block along its step"),
        step("coordinate", equal(d * g, sp.Abs(g)), "moves"),
    )


def _descent() -> Steps:
    """Return the steps to gap_next <= gap - eta sqrt(2 nu gap) + eta^2 S/2 in a block, for SignSGD."""
    return (
        *_along_signs(),
        *_largest_form(),
        *_norm_against_gap(),
        step(
            "steepest",
            equal(Signs.along_l, n1),
            "coordinate",
            "direction along the gradient",
            "1-norm of a block",
            by="sum in a block",
        ),
        step(
            "descent",
            le(Signs.gap_next_l, gap_l - rate * n1 + rate**2 * S_l / 2),
            "block along its step",
            "steepest",
            "form",
        ),
        step("1-norm", ge(n1, sp.sqrt(2 * nu_l * gap_l)), "norm against the gap"),
        step(
            "fall",
            le(Signs.gap_next_l, gap_l - rate * sp.sqrt(2 * nu_l * gap_l) + rate**2 * S_l / 2),
            "descent",
            "1-norm",
        ),
    )


def _hull(u: sp.Symbol, size: sp.Expr, r: sp.Symbol) -> sp.Implies:
    lower = gap_l - r * sp.sqrt(2 * nu_l * gap_l) + r**2 * size / 2
    return sp.Implies(le(gap_l, u), le(lower, fall(u, size, r)))


def _constant_gap() -> Steps:
    return (
        *_descent(),
        step("hull", _hull(u_l, S_l, rate), because="u -> max(0, u - k sqrt(u)) bounds x - k sqrt(x) for every x <= u"),
        step("every block", le(gap_l, u_l), "fall", "hull", by="induction"),
        *definitions("gap by blocks"),
        step("the gap", le(gap, SumOver(u_l)), "every block", "gap by blocks", by="sum"),
    )


SIGN_DERIVATIONS: Mapping[str, Callable[[], Steps]] = {
    "sign-constant-gap": _constant_gap,
}
"""Name of a theorem to its derivation."""
