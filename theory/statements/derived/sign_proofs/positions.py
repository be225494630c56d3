"""Derivations of sign-distance, sign-diagonal and sign-cycle: where the coordinates are."""

import sympy as sp

from quadsim.theory.statements.derived.graph import CONSTANT_RATE
from quadsim.theory.statements.derived.signs.definitions import Signs
from quadsim.theory.statements.derived.words import Steps, definitions, ge, le, rule, step
from quadsim.theory.statements.named import gap_l, rate
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import MaxOver, SumOver, Symbol

__all__ = ["diagonal", "distance", "on_cycle"]

eta, t, gap = Symbol.eta, Symbol.t, Symbol.gap
g = Signs.gradient_i


def distance() -> Steps:
    """Return the derivation of sign-distance."""
    e, far = Signs.error_i, Symbol.start_i - Symbol.travelled
    least = sp.Max(far, 0) ** 2
    return (
        rule("signs"),
        *definitions("start of a coordinate", "error against gap", "gap by blocks"),
        step("way", ge(sp.Abs(e), far), "rule signs", "start of a coordinate", by="induction"),
        step("far", ge(e**2, least), "way"),
        step("block", le(gap_l, SumOver(gap_l)), by="part"),
        step(
            "of a coordinate",
            ge(gap, least / (2 * Symbol.inverse_i)),
            "far",
            "error against gap",
            "block",
            "gap by blocks",
        ),
        step("every coordinate", ge(gap, MaxOver(least / (2 * Symbol.inverse_i))), "of a coordinate", by="every"),
    )


def diagonal() -> Steps:
    """Return the derivation of sign-diagonal."""
    e, h = Signs.error_i, Symbol.curvature_i
    most = sp.Max(Symbol.start_i - Symbol.travelled, eta)
    return (
        rule("signsgd at a given rate"),
        *definitions("gradient on a diagonal", "gap on a diagonal", "positive definite", "start of a coordinate"),
        step(
            "moves",
            equal(Signs.error_next_i, e - rate * sp.sign(e)),
            "rule signsgd at a given rate",
            "gradient on a diagonal",
            "positive definite",
        ),
        step("way", le(sp.Abs(e), most), "moves", "start of a coordinate", CONSTANT_RATE, by="induction"),
        step("part", le(h * e**2 / 2, h * most**2 / 2), "way"),
        step("the gap", le(gap, SumOver(h * most**2) / 2), "part", "gap on a diagonal", by="sum"),
    )


def on_cycle() -> Steps:
    """Return the derivation of sign-cycle."""
    c, k, z = Signs.multiple, Signs.times, Signs.cycle_i
    half = sp.Rational(1, 2)
    way_back = sp.And(equal(c, k + half - t), le(t, k))
    return (
        rule("signsgd at a given rate"),
        *definitions("maximal signs", "positive definite", "start on the cycle"),
        *definitions("gap of a block by the gradient", "form of the maximal signs", "maximal form", "gap by blocks"),
        step("signs of Hz", sp.Gt(z * Signs.turned_cycle_i, 0, evaluate=False), "maximal signs", "positive definite"),
        step(
            "on the line",
            equal(Signs.error_i, c * eta * z),
            "rule signsgd at a given rate",
            "signs of Hz",
            "maximal signs",
            "start on the cycle",
            CONSTANT_RATE,
            by="induction",
        ),
        step("gradient", equal(g, c * eta * Signs.turned_cycle_i), "on the line", by="linear"),
        step("integers", sp.Or(le(t, k - 1), ge(t, k)), by="fact: integers"),
        step("where", sp.Or(way_back, equal(c**2, half**2)), "integers", by="induction"),
        step("never nearer", ge(c**2, half**2), "where"),
        step(
            "product",
            equal(g * Signs.error_i / 2, c**2 * eta**2 * z * Signs.turned_cycle_i / 2),
            "gradient",
            "on the line",
        ),
        step(
            "block",
            equal(gap_l, c**2 * eta**2 * Signs.cycle_form_l / 2),
            "product",
            "gap of a block by the gradient",
            "form of the maximal signs",
            by="sum in a block",
        ),
        step(
            "blocks", equal(gap, c**2 * eta**2 * Symbol.L_inf / 2), "block", "gap by blocks", "maximal form", by="sum"
        ),
        step("the gap", ge(gap, eta**2 * Symbol.L_inf / 8), "blocks", "never nearer"),
    )
