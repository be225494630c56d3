"""Derivations of block-scale-invariance and gd-lower-start: ratios of gaps."""

import sympy as sp

from quadsim.theory.statements.derived.signs.definitions import Signs
from quadsim.theory.statements.derived.signs.pairs import Pairs
from quadsim.theory.statements.derived.signs.scales import Scales
from quadsim.theory.statements.derived.words import Steps, definitions, ge, rule, step
from quadsim.theory.statements.named import gap_l
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import MaxOver, MinOver, Symbol

__all__ = ["from_start", "invariance"]

eta, t, gap = Symbol.eta, Symbol.t, Symbol.gap
g = Signs.gradient_i


def invariance() -> Steps:
    """Return the derivation of block-scale-invariance."""
    q = Scales
    ratio, same = gap_l / Symbol.gap_0_l, q.twin_gap / q.twin_gap_0
    return (
        rule("without a scale"),
        *definitions("same start", "how far from the first", "multiple of the first", "gap of the first"),
        *definitions("gap of a block by the gradient", "largest ratio", "smallest ratio"),
        step("never apart", equal(q.apart_l, 0), "rule without a scale", "same start", by="induction"),
        step("same error", equal(Signs.error_i, q.twin_i), "never apart", "how far from the first"),
        step("its gradient", equal(g, q.twin_turned_i), "same error", by="linear"),
        step(
            "product",
            equal(g * Signs.error_i / 2, q.scale_l * q.twin_gradient_i * q.twin_i / 2),
            "its gradient",
            "same error",
            "multiple of the first",
        ),
        step(
            "block",
            equal(gap_l, q.scale_l * q.twin_gap),
            "product",
            "gap of a block by the gradient",
            "gap of the first",
            by="sum in a block",
        ),
        step("block at the start", equal(Symbol.gap_0_l, q.scale_l * q.twin_gap_0), "block", by="start"),
        step("ratio", equal(ratio, same), "block", "block at the start"),
        step("largest", equal(MaxOver(ratio), same), "ratio", by="every"),
        step("smallest", equal(MinOver(ratio), same), "ratio", by="every"),
        step(
            "both",
            equal(Symbol.ratio_high, Symbol.ratio_low),
            "largest",
            "smallest",
            "largest ratio",
            "smallest ratio",
        ),
    )


def from_start() -> Steps:
    """Return the derivation of gd-lower-start."""
    q = Pairs
    high, low = (1 - eta * q.high_p) ** 2, (1 - eta * q.low_p) ** 2
    moved = "rule gd on two eigenvalues"
    least = sp.Min(q.share_high_p, q.share_low_p)
    ratio = (q.high_p - q.low_p) / (q.high_p + q.low_p)
    return (
        rule("gd on two eigenvalues"),
        *definitions("pair", "how far apart", "parts on two eigenvalues", "shares", "least ratio"),
        step(
            "one of both",
            sp.Or(ge(high, q.apart_p**2), ge(low, q.apart_p**2)),
            "pair",
            "how far apart",
            because="for every rate one of both modes is slow",
        ),
        step(
            "on the larger",
            sp.Implies(ge(high, q.apart_p**2), ge(q.on_high_p, q.power_p * q.first_high_p)),
            moved,
            by="induction",
        ),
        step(
            "on the smaller",
            sp.Implies(ge(low, q.apart_p**2), ge(q.on_low_p, q.power_p * q.first_low_p)),
            moved,
            by="induction",
        ),
        step(
            "the slow one",
            ge(gap, q.power_p * sp.Min(q.first_high_p, q.first_low_p)),
            "one of both",
            "on the larger",
            "on the smaller",
            "parts on two eigenvalues",
        ),
        step("relative", ge(gap / Symbol.gap_0, least * q.power_p), "the slow one", "shares"),
        step("power", equal(q.power_p, q.apart_p ** (2 * t)), by="induction"),
        step("of a pair", ge(gap / Symbol.gap_0, least * ratio ** (2 * t)), "relative", "power", "how far apart"),
        step("every pair", ge(gap / Symbol.gap_0, MaxOver(least * ratio ** (2 * t))), "of a pair", by="every"),
        step("least", ge(gap / Symbol.gap_0, Symbol.least_ratio), "every pair", "least ratio"),
    )
