"""Derivation of sign-midpoint: from midpoint to midpoint, only coordinates that keep their sign move."""

import sympy as sp

from quadsim.theory.statements.derived.graph import CONSTANT_RATE
from quadsim.theory.statements.derived.sign_proofs.descent import along_step, largest_form
from quadsim.theory.statements.derived.signs.definitions import Signs
from quadsim.theory.statements.derived.words import Steps, definition, definitions, ge, le, rule, step
from quadsim.theory.statements.named import fall, gap_l
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import SumIn, SumOver, Symbol

__all__ = ["midpoint"]

eta, gap = Symbol.eta, Symbol.gap
S_l, nu_l = Symbol.S_l, Symbol.nu_l
d, g = Signs.move_i, Signs.gradient_i


def _midpoint_move() -> Steps:
    """Return the steps to W_next = W - eta u'z + (eta^2/2) u'Hu: from midpoint to midpoint, and what u is made of."""
    u, z, h = Signs.mean_move_i, Signs.middle_gradient_i, Signs.turned_i
    return (
        rule("signsgd at a given rate"),
        step("moves", equal(d, sp.sign(g)), "rule signsgd at a given rate"),
        *along_step("rule signsgd at a given rate"),
        *definitions("midpoint", "mean of two moves", "no zero"),
        step("moves later", equal(Signs.next_move_i, sp.sign(Signs.gradient_next_i)), "moves", by="next"),
        step("no zero later", sp.Ne(Signs.gradient_next_i, 0, evaluate=False), "no zero", by="next"),
        step(
            "midpoint later",
            equal(Signs.middle_next_i, Signs.error_next_i - eta / 2 * Signs.next_move_i),
            "midpoint",
            by="next",
        ),
        step(
            "from midpoint to midpoint",
            equal(Signs.middle_next_i, Signs.middle_i - eta * u),
            "midpoint",
            "midpoint later",
            "mean of two moves",
            "step",
            CONSTANT_RATE,
        ),
        step(
            "block along midpoints",
            equal(Signs.middle_next_l, Signs.middle_l - eta * SumIn(z * u) + eta**2 / 2 * Signs.mean_form_l),
            "from midpoint to midpoint",
            by="quadratic",
        ),
        step("gradient at the midpoint", equal(z, g - eta / 2 * h), "midpoint", by="linear"),
        step("signs", sp.Or(equal(d, 1), equal(d, -1)), "moves", "no zero"),
        step(
            "part of the signs",
            sp.Or(equal(u, d), equal(u, 0)),
            "moves",
            "moves later",
            "no zero",
            "no zero later",
            "mean of two moves",
        ),
    )


def _midpoint_coordinates() -> Steps:
    """Return the steps on z = (eta/2)|h| x + y: x lies in the box, and u'z is what y and the kept signs give."""
    u, z, h, x, y = Signs.mean_move_i, Signs.middle_gradient_i, Signs.turned_i, Signs.box_i, Signs.beyond_i
    kept, changed = g * Signs.gradient_next_i > 0, g * Signs.gradient_next_i < 0
    along = equal(z * u, sp.Abs(y) + eta / 2 * (sp.Abs(u) * sp.Abs(h)))
    about = ("gradient at the midpoint", "gradient along its step", "no zero", "no zero later", CONSTANT_RATE)
    return (
        *definitions("part in the box", "part beyond it", "1-norm beyond it", "kept coordinates"),
        step("box", sp.And(le(-1, x), le(x, 1)), "part in the box", *about),
        step(
            "kept sign",
            sp.Implies(kept, sp.And(equal(u, sp.sign(z)), le(eta / 2 * sp.Abs(h), sp.Abs(z)))),
            "moves",
            "moves later",
            "mean of two moves",
            *about,
        ),
        step("changed sign", sp.Implies(changed, equal(u, 0)), "moves", "moves later", "mean of two moves", *about),
        step("one of both", sp.Or(kept, changed), "no zero", "no zero later"),
        step(
            "coordinate where kept",
            sp.Implies(kept, along),
            "kept sign",
            "part in the box",
            "part beyond it",
        ),
        step(
            "coordinate where changed",
            sp.Implies(changed, along),
            "changed sign",
            "part in the box",
            "part beyond it",
        ),
        step("coordinate", along, "one of both", "coordinate where kept", "coordinate where changed"),
        step(
            "along midpoints",
            equal(SumIn(z * u), Signs.beyond_l + eta / 2 * Signs.kept_l),
            "coordinate",
            "1-norm beyond it",
            "kept coordinates",
            by="sum in a block",
        ),
    )


def _midpoint_forms() -> Steps:
    """Return the steps to |y|_1 >= sqrt(nu) (sqrt(2W) - (eta/2) R)."""
    y, size, form_y = Signs.beyond_i, Signs.beyond_l, Signs.beyond_form_l
    R, W = Signs.radius_l, Signs.middle_l
    bound = sp.sqrt(form_y / nu_l)
    return (
        *definitions("largest in the box", "midpoint in two parts", "form beyond it", "lifted against form"),
        *definitions("smallest inverse"),
        step("part of it", le(Signs.box_form_l, R**2), "largest in the box", "box", by="vertices"),
        step("lifted", le(nu_l * Signs.lifted_i**2, form_y), "lifted against form", "smallest inverse"),
        step("root of the lifted", le(sp.Abs(Signs.lifted_i), bound), "lifted"),
        step("product", le(y * Signs.lifted_i, sp.Abs(y) * bound), "root of the lifted"),
        step("Hoelder", le(form_y, size * bound), "product", "form beyond it", "1-norm beyond it", by="sum in a block"),
        step("form of the rest", le(sp.sqrt(nu_l) * sp.sqrt(form_y), size), "Hoelder"),
        step(
            "product of parts",
            le(Signs.parts_l, eta / 2 * R * sp.sqrt(form_y)),
            "midpoint in two parts",
            "part of it",
        ),
        step(
            "triangle",
            le(sp.sqrt(2 * W), eta / 2 * R + sp.sqrt(form_y)),
            "midpoint in two parts",
            "product of parts",
            "part of it",
        ),
        step(
            "1-norm",
            ge(size, sp.sqrt(nu_l) * (sp.sqrt(2 * W) - eta / 2 * R)),
            "triangle",
            "form of the rest",
        ),
    )


def midpoint() -> Steps:
    """Return the derivation of sign-midpoint."""
    W, after, w_l, R = Signs.middle_l, Signs.middle_next_l, Symbol.w_l, Signs.radius_l
    jitter = eta**2 * S_l / 8
    lower = W - eta * sp.sqrt(2 * nu_l * W) + eta**2 * Symbol.M_l / 2
    return (
        *_midpoint_move(),
        *_midpoint_coordinates(),
        *_midpoint_forms(),
        definition("largest on subsets", "signs", "part of the signs"),
        definition("midpoint constant", "signs"),
        step(
            "descent",
            le(after, W - eta * Signs.beyond_l + eta**2 / 2 * Signs.subset_l),
            "block along midpoints",
            "along midpoints",
            "largest on subsets",
        ),
        step(
            "with R",
            le(after, W - eta * sp.sqrt(nu_l) * sp.sqrt(2 * W) + eta**2 / 2 * (sp.sqrt(nu_l) * R + Signs.subset_l)),
            "descent",
            "1-norm",
        ),
        step("fall", le(after, lower), "with R", "midpoint constant"),
        step("hull", sp.Implies(le(W, w_l), le(lower, fall(w_l, Symbol.M_l, eta)))),
        step("every midpoint", le(W, w_l), "fall", "hull", by="induction"),
        *largest_form(),
        step(
            "half a step",
            equal(W, gap_l - eta / 2 * SumIn(d * g) + eta**2 / 8 * Signs.form_l),
            "midpoint",
            by="quadratic",
        ),
        step(
            "mean of two gaps",
            le((gap_l + Signs.gap_next_l) / 2, w_l + jitter),
            "half a step",
            "block along its step",
            "form",
            "every midpoint",
            CONSTANT_RATE,
        ),
        *definitions("gap by blocks", "smaller gap"),
        step("gap by blocks later", equal(Symbol.gap_next, SumOver(Signs.gap_next_l)), "gap by blocks", by="next"),
        step(
            "mean of both",
            le((gap + Symbol.gap_next) / 2, SumOver(w_l + jitter)),
            "mean of two gaps",
            "gap by blocks",
            "gap by blocks later",
            by="sum",
        ),
        step("the smaller one", le(Symbol.smaller_gap, SumOver(w_l + jitter)), "mean of both", "smaller gap"),
    )
