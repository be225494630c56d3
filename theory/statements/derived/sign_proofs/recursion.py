"""Derivations of sign-constant-gap and sign-constant-steps."""

import sympy as sp

from quadsim.theory.statements.derived.graph import CONSTANT_RATE
from quadsim.theory.statements.derived.sign_proofs.descent import along_step, hull, largest_form, norm_against_gap
from quadsim.theory.statements.derived.signs.definitions import Signs
from quadsim.theory.statements.derived.words import Steps, definitions, ge, le, rule, step
from quadsim.theory.statements.named import gap_l, rate
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import MinOver, SumOver, Symbol

__all__ = ["constant_gap", "constant_steps"]

eta, t, gap = Symbol.eta, Symbol.t, Symbol.gap
S_l, nu_l, u_l = Symbol.S_l, Symbol.nu_l, Symbol.u_l
d, g, n1 = Signs.move_i, Signs.gradient_i, Signs.norm1_l
x, after, first, target = Signs.root_l, Signs.root_next_l, Signs.root_0_l, Symbol.target_l
pole, a = Signs.pole_l, Signs.speed_l
_CONCLUSIVE = "for the conclusion"


def _along_signs() -> Steps:
    return (
        rule("signsgd at a given rate"),
        step("moves", equal(d, sp.sign(g)), "rule signsgd at a given rate"),
        *along_step("rule signsgd at a given rate"),
        *definitions("direction along the gradient"),
        step("coordinate", equal(d * g, sp.Abs(g)), "moves"),
    )


def _descent() -> Steps:
    """Return the steps to gap_next <= gap - eta sqrt(2 nu gap) + eta^2 S/2 in a block, for SignSGD."""
    return (
        *_along_signs(),
        *largest_form(),
        *norm_against_gap(),
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
            "direction along the gradient",
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


def constant_gap() -> Steps:
    """Return the derivation of sign-constant-gap."""
    return (
        *_descent(),
        step("hull", hull(u_l, S_l, rate), because="u -> max(0, u - k sqrt(u)) bounds x - k sqrt(x) for every x <= u"),
        step("every block", le(gap_l, u_l), "fall", "hull", by="induction"),
        *definitions("gap by blocks"),
        step("the gap", le(gap, SumOver(u_l)), "every block", "gap by blocks", by="sum"),
    )


def _psi(y: sp.Expr) -> sp.Expr:
    """Return Psi(y) = y + x* ln(y - x*), which falls by a at least in every step."""
    return y + pole * sp.log(y - pole)


def _psi_falls() -> Steps:
    """Return the steps to a <= Psi(x) - Psi(x_next), for two steps before t."""
    ratio = (after - pole) / (x - pole)
    return (
        *_descent(),
        *definitions(
            "root of the gap", "start of the root", "constants of the steps", "target", "target above the plateau"
        ),
        *definitions(
            "a step was made", because=f"{_CONCLUSIVE}: a statement about the steps before t speaks of t >= 1"
        ),
        step(
            "recursion",
            le(after**2, x**2 - 2 * a * (x - pole)),
            "fall",
            "root of the gap",
            "constants of the steps",
            CONSTANT_RATE,
        ),
        step("target a step later", le(target, after), "target", by="next"),
        step("above the pole", sp.Lt(pole, x, evaluate=False), "target", "target above the plateau"),
        step(
            "and after",
            sp.Lt(pole, after, evaluate=False),
            "target a step later",
            "target above the plateau",
        ),
        step("tangent", le(after, x - a * (x - pole) / x), "recursion", "above the pole"),
        step("ratio", le((after - x) / (x - pole), -a / x), "tangent", "above the pole"),
        step(
            "logarithm",
            le(sp.log(ratio), ratio - 1),
            "above the pole",
            "and after",
            by="fact: tangent of the logarithm",
        ),
        step(
            "difference",
            equal(sp.log(ratio), sp.log(after - pole) - sp.log(x - pole)),
            "above the pole",
            "and after",
            by="fact: logarithm of a quotient",
        ),
        step(
            "Psi falls",
            le(a, _psi(x) - _psi(after)),
            "logarithm",
            "difference",
            "tangent",
            "above the pole",
            "and after",
        ),
    )


def _until_the_target() -> Steps:
    """Return the steps to a (t - 1) <= Psi(x_0) - Psi(x_T): the step before t is not within the target."""
    return (
        step(
            "start above the pole", sp.Lt(pole, first, evaluate=False), "above the pole", "a step was made", by="start"
        ),
        step(
            "sum of the falls",
            le(a * t, _psi(first) - _psi(x)),
            "Psi falls",
            "above the pole",
            "and after",
            "start above the pole",
            by="induction",
        ),
        step(
            "monotone",
            le(sp.log(target - pole), sp.log(x - pole)),
            "target",
            "target above the plateau",
            by="fact: the logarithm rises",
        ),
        step(
            "until the target",
            le(a * t, _psi(first) - _psi(target)),
            "sum of the falls",
            "monotone",
            "target",
            "target above the plateau",
            "start above the pole",
            "above the pole",
            because="as long as the block is not within its target",
        ),
        step(
            "the step before",
            le(a * (t - 1), _psi(first) - _psi(target)),
            "until the target",
            "a step was made",
            by="last",
        ),
    )


def constant_steps() -> Steps:
    """Return the derivation of sign-constant-steps."""
    x_star, x_0 = eta * S_l / (2 * sp.sqrt(2 * nu_l)), sp.sqrt(Symbol.gap_0_l)
    time = x_0 - target + x_star * sp.log((x_0 - x_star) / (target - x_star))
    written = 1 + time / (eta * sp.sqrt(nu_l / 2))
    return (
        *_psi_falls(),
        *_until_the_target(),
        step(
            "quotient",
            equal(sp.log((first - pole) / (target - pole)), sp.log(first - pole) - sp.log(target - pole)),
            "start above the pole",
            "target above the plateau",
            by="fact: logarithm of a quotient",
        ),
        step(
            "steps",
            le(t, 1 + (first - target + pole * sp.log((first - pole) / (target - pole))) / a),
            "the step before",
            "quotient",
            "start above the pole",
            "target above the plateau",
        ),
        step(
            "defined",
            sp.And(sp.Lt(x_star, target, evaluate=False), sp.Lt(x_star, x_0, evaluate=False)),
            "target above the plateau",
            "start above the pole",
            "constants of the steps",
            "start of the root",
            because=f"{_CONCLUSIVE}: the logarithm is that of a positive number",
        ),
        step("in a block", le(t, written), "steps", "constants of the steps", "start of the root", "defined"),
        step("every block", le(t, MinOver(written)), "in a block", by="every"),
    )
