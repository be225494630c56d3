"""What the proofs on sign steps share: the step as algebra, the gap along it, the monotone hull, the sum over blocks."""

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.sign import norm_against_gap
from quadsim.theory.statements.steps import EIGENBASIS, e, equal, lam

__all__ = ["HULL", "SUM", "descent", "expansion", "g", "rate", "s"]

rate = sp.Symbol("eta_t", positive=True)
s, g = sp.symbols("s g", real=True)
_x, _y, _S, _nu, _n1, _next = sp.symbols("x y S nu norm1_g gap_next", nonnegative=True)
_k = sp.Symbol("k", nonnegative=True)
_a, _b, _c, _d = sp.symbols("a b c d", real=True)
SUM = Step(
    sp.Le(_a + _c, _b + _d),
    "summation: what holds for every block holds for the sum of two blocks, and by induction for all",
    (sp.Le(_a, _b), sp.Le(_c, _d)),
)


def expansion(x: sp.Symbol = e) -> Step:
    """Return the proof step of the gap along e <- e - eta s, mode by mode."""
    return Step(
        equal(lam * (x - rate * s) ** 2 / 2, lam * x**2 / 2 - rate * s * lam * x + rate**2 / 2 * lam * s**2),
        "each mode, with x and s the parts of e and of the signs on it: gap_next = gap - eta s'g + (eta^2/2) s'Hs",
    )


def descent() -> tuple[Step, ...]:
    """Return the proof steps of gap_next <= gap - eta sqrt(2 nu gap) + eta^2 S/2 in a block."""
    after, _ = advance(RULES["signsgd"], e, g, values={rule_symbols.lr: rate})
    p, q, z = sp.Symbol("p", nonnegative=True), sp.Symbol("q", real=True), sp.Symbol("z", real=True)
    return (
        EIGENBASIS,
        Step(
            equal(after, e - rate * sp.sign(g)),
            "a step of the rule signsgd is e <- e - eta s, s = sign(g), in every block alone",
        ),
        expansion(),
        Step(equal(sp.sign(g) * g, sp.Abs(g)), "s'g = |g|_1, coordinate by coordinate"),
        Step(
            sp.Le(p * z**2 + q * z, sp.Max(p + q, p - q)),
            (
                "s'Hs <= S_l: by definition for signs +-1; in a coordinate whose sign is 0 a convex function is "
                "largest at an end"
            ),
            (sp.Le(z, 1), sp.Ge(z, -1)),
        ),
        *norm_against_gap(),
        Step(
            sp.Le(_next, _x**2 - rate * sp.sqrt(2 * _nu) * _x + rate**2 * _S / 2),
            "with x = sqrt(gap): gap_next <= x^2 - eta sqrt(2 nu) x + eta^2 S/2",
            (sp.Le(_next, _x**2 - rate * _n1 + rate**2 / 2 * _S), sp.Ge(_n1**2, 2 * _nu * _x**2)),
        ),
    )


HULL = Step(
    sp.Le(_x**2 - _k * _x, sp.Max(0, _y**2 - _k * _y)),
    (
        "induction over t: with k = eta_t sqrt(2 nu), u -> max(0, u - k sqrt(u)) + eta_t^2 S/2 bounds the next gap "
        "for every gap <= u"
    ),
    (sp.Le(_x, _y),),
)
