"""What derivations on sign steps share: the gap of a block along a step, S_l, nu_l, and the monotone hull."""

import sympy as sp

from quadsim.theory.statements.derived.library import BOXED
from quadsim.theory.statements.derived.signs.definitions import Signs
from quadsim.theory.statements.derived.words import Steps, definitions, ge, le, step
from quadsim.theory.statements.named import fall, gap_l, rate
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import SumIn, Symbol

__all__ = ["along_step", "hull", "largest_form", "norm_against_gap"]

S_l, nu_l = Symbol.S_l, Symbol.nu_l
d, g, n1 = Signs.move_i, Signs.gradient_i, Signs.norm1_l


def largest_form(form_l: sp.Symbol = Signs.form_l, moves: str = "moves", name: str = "form") -> Steps:
    """Return the steps to d'Hd <= S_l, for a d whose entries are signs or 0 by the step `moves`."""
    z, box = BOXED[form_l][1], f"box of the {name}"
    return (
        *definitions("largest on signs"),
        step(box, sp.And(le(-1, z), le(z, 1)), moves),
        step(name, le(form_l, S_l), "largest on signs", box, by="vertices"),
    )


def norm_against_gap() -> Steps:
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


def along_step(rule_label: str) -> Steps:
    """Return the steps to the gap of a block along the rule's step, and how its gradient moves."""
    return (
        step("step", equal(Signs.error_next_i, Signs.error_i - rate * d), rule_label),
        step(
            "block along its step",
            equal(Signs.gap_next_l, gap_l - rate * SumIn(d * g) + rate**2 / 2 * Signs.form_l),
            "step",
            by="quadratic",
        ),
        step("gradient along its step", equal(Signs.gradient_next_i, g - rate * Signs.turned_i), "step", by="linear"),
    )


def hull(u: sp.Symbol, size: sp.Expr, r: sp.Symbol) -> sp.Implies:
    """Return that u at the next step bounds x - k sqrt(x) + r^2 size/2 for every gap x <= u."""
    lower = gap_l - r * sp.sqrt(2 * nu_l * gap_l) + r**2 * size / 2
    return sp.Implies(le(gap_l, u), le(lower, fall(u, size, r)))
