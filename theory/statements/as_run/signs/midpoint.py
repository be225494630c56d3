"""sign-midpoint: the recursion of the gap at the midpoint of a step, whose constant is smaller."""

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.as_run.signs.descent import HULL, SUM, g, rate, s
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.sign import norm_against_gap
from quadsim.theory.statements.steps import EIGENBASIS, e, equal, lam
from quadsim.theory.symbols import Symbol

__all__ = ["midpoint"]

_a, _b, _c, _d = sp.symbols("a b c d", real=True)


def _midpoint_signs() -> tuple[Step, ...]:
    """Return the steps on the coordinates: those that keep their sign, and those that change it."""
    h, z, after, s2 = sp.symbols("h z g_next s_next", real=True)
    step, _ = advance(RULES["signsgd"], e, g, values={rule_symbols.lr: rate})
    half = rate / 2
    own = (equal(z, (g + after) / 2), equal(after, g - rate * h))
    return (
        EIGENBASIS,
        Step(equal(step, e - rate * sp.sign(g)), "a step of the rule signsgd is e <- e - eta s, s = sign(g)"),
        Step(
            equal((e - rate * s) - half * s2, (e - half * s) - rate * (s + s2) / 2),
            "m = e - (eta/2) s is the middle of a step: m_next = m - eta u, u = (s + s_next)/2",
        ),
        Step(
            equal(g - half * h, (g + (g - rate * h)) / 2),
            "its gradient is z = Hm = (g + g_next)/2, with h = Hs, g_next = g - eta h",
        ),
        Step(
            sp.And(sp.Le(half * sp.Abs(h), sp.Abs(z)), sp.Gt(z * g, 0)),
            "a coordinate that keeps its sign has u = s, u z = |z| >= (eta/2)|h|",
            (*own, sp.Gt(g * after, 0)),
        ),
        Step(
            sp.Le(sp.Abs(z), half * sp.Abs(h)),
            "one that changes it has u = 0 and |z| <= (eta/2)|h|",
            (*own, sp.Lt(g * after, 0)),
        ),
    )


def _midpoint_split() -> tuple[Step, ...]:
    """Return the steps on the gradient at the midpoint, divided into two parts."""
    u = sp.Symbol("u", real=True)
    x, cross = sp.symbols("x c", real=True)
    p, q = sp.symbols("p q", nonnegative=True)
    first, second, norm = sp.symbols("|zeta| |delta| n", nonnegative=True)
    moved, form = sp.symbols("sum_A_h uHu", real=True)
    half = rate / 2
    return (
        Step(
            equal(lam * (x - rate * u) ** 2 / 2, lam * x**2 / 2 - rate * u * lam * x + rate**2 / 2 * lam * u**2),
            "mode by mode, with W the gap at m: W_next = W - eta u'z + (eta^2/2) u'Hu",
        ),
        Step(
            equal(-rate * (half * moved + norm) + rate**2 / 2 * form, -rate * norm + rate**2 / 2 * (form - moved)),
            (
                "split z = zeta + delta, |zeta_i| <= (eta/2)|h_i|, delta on the set A of kept signs alone: u'z = "
                "(eta/2) sum_A |h_i| + |delta|_1"
            ),
        ),
        Step(
            sp.Le(cross**2, p * q),
            "Cauchy-Schwarz in the norm of H^-1: the form at zeta + x delta is not negative for x = -c/q",
            (sp.Ge(p + 2 * x * cross + x**2 * q, 0), equal(x * q, -cross), sp.Gt(q, 0)),
        ),
        Step(
            sp.Le(p + 2 * cross + q, (first + second) ** 2),
            "triangle inequality in it: |zeta + delta| <= |zeta| + |delta|",
            (sp.Le(cross**2, p * q), equal(first**2, p), equal(second**2, q)),
        ),
    )


def _midpoint_recursion() -> tuple[Step, ...]:
    """Return the steps that lead to the recursion."""
    w, W2, kept, root, R, Q = sp.symbols("w W_next delta root_nu R Q", nonnegative=True)
    norm = sp.Symbol("n", nonnegative=True)
    half = rate / 2
    return (
        *norm_against_gap(),
        Step(
            sp.Ge(kept, root * (sp.sqrt(2) * w - half * R)),
            (
                "|zeta| <= (eta/2) R and |delta| <= |delta|_1/sqrt(nu), so sqrt(2W) = |z| gives |delta|_1 >= "
                "sqrt(nu)(sqrt(2W) - (eta/2)R)"
            ),
            (sp.Le(sp.sqrt(2) * w, half * R + norm), sp.Ge(kept, root * norm)),
        ),
        Step(
            sp.Le(W2, w**2 - rate * root * sp.sqrt(2) * w + rate**2 / 2 * (root * R + Q)),
            "so W_next <= W - eta sqrt(2 nu W) + (eta^2/2)(sqrt(nu) R + Q), and M_l is the largest of sqrt(nu) R + Q",
            (sp.Le(W2, w**2 - rate * kept + rate**2 / 2 * Q), sp.Ge(kept, root * (sp.sqrt(2) * w - half * R))),
        ),
        HULL,
    )


def _midpoint_gap() -> tuple[Step, ...]:
    """Return the steps from the midpoint to the gaps, and the constants of large blocks."""
    u = sp.Symbol("u", real=True)
    size = sp.Symbol("S", nonnegative=True)
    p, q = sp.symbols("p q", nonnegative=True)
    norm = sp.Symbol("n", nonnegative=True)
    return (
        Step(
            equal(
                lam * ((e + (e - rate * s)) / 2) ** 2 / 2,
                (lam * e**2 / 2 + lam * (e - rate * s) ** 2 / 2) / 2 - rate**2 / 8 * lam * s**2,
            ),
            "W = (gap + gap_next)/2 - (eta^2/8) s'Hs",
        ),
        Step(
            sp.Le(sp.Min(_a, _b), _c + size / 8),
            "so the smaller one of gap_t and gap_(t+1) is at most W + eta^2 S/8 (S stands for eta^2 S)",
            (equal(_c, (_a + _b) / 2 - _d / 8), sp.Le(_d, size)),
        ),
        SUM,
        Step(
            equal(-4 * u * lam * (s - u), lam * (2 * u - s) ** 2 - lam * s**2),
            (
                "for large blocks: Q <= u'H(u - s) = ((2u-s)'H(2u-s) - s'Hs)/4 <= S/4, as |2u - s| <= 1 in every "
                "coordinate"
            ),
        ),
        Step(
            sp.Le(p, q * size),
            "and R^2 <= |Hs|^2/mu <= (L/mu) s'Hs <= kappa S, so that M <= sqrt(nu kappa S) + S/4",
            (sp.Le(p * Symbol.mu, norm), sp.Le(norm, Symbol.L * size), equal(q * Symbol.mu, Symbol.L)),
        ),
    )


def midpoint() -> tuple[Step, ...]:
    """Return the proof of the recursion of the midpoint."""
    return (*_midpoint_signs(), *_midpoint_split(), *_midpoint_recursion(), *_midpoint_gap())
