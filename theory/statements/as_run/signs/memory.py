"""signum-gap and lion-gap: the sign of a mean of gradients, which is a few steps old."""

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.as_run.signs.descent import HULL, SUM, expansion, g, rate
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.sign import norm_against_gap
from quadsim.theory.statements.steps import EIGENBASIS, e, equal

__all__ = ["with_memory"]

_n1, _next = sp.symbols("norm1_g gap_next", nonnegative=True)
_m = sp.Symbol("m", real=True)
_a, _b = sp.symbols("a b", real=True)


def with_memory(rule: str) -> tuple[Step, ...]:
    """Return the proof for a sign of a mean of gradients, which is at most A steps old on average."""
    own = {str(symbol): symbol for symbol in RULES[rule].hyperparameters}
    values = {rule_symbols.lr: rate} | ({own["weight_decay"]: sp.S.Zero} if "weight_decay" in own else {})
    memory, new = sp.Symbol("m_0", real=True), sp.Symbol("q", real=True)
    (state,) = RULES[rule].states
    after, _ = advance(RULES[rule], e, g, {state: memory}, values)
    (sign,) = after.atoms(sp.sign)
    mean = sign.args[0]
    size, age, off, bound = sp.symbols("S A E ab", nonnegative=True)
    d1, d2, rr, ss = sp.symbols("d_1 d_2 rHr sHs", nonnegative=True)
    x = sp.Symbol("x", real=True)
    return (
        EIGENBASIS,
        Step(
            equal(after, e - rate * sp.sign(mean)),
            (
                f"a step of the rule {rule} is e <- e - eta s with s = sign({mean}), a mean of gradients with "
                f"positive weights"
            ),
        ),
        expansion(),
        Step(
            sp.Ge(sp.sign(_m) * g, sp.Abs(g) - 2 * sp.Abs(g - _m)),
            "coordinate by coordinate: sign(m) g >= |g| - 2 |g - m|, for m the mean divided by the sum of its weights",
        ),
        Step(
            sp.Le(sp.Abs(_a - _b), d1 + d2),
            "|g_t - g_j|_1 is at most the sum of |g_(k+1) - g_k|_1 = eta |H s_k|_1 over the steps between",
            (sp.Le(sp.Abs(_a - x), d1), sp.Le(sp.Abs(x - _b), d2)),
        ),
        Step(
            sp.Le(bound, size),
            "|Hs|_1 = r'Hs for r = sign(Hs), and (r'Hs)^2 <= r'Hr s'Hs <= S^2",
            (sp.Le(bound**2, rr * ss), sp.Le(rr, size), sp.Le(ss, size)),
        ),
        *_ages(rule),
        Step(
            sp.Le(_next, new - rate * _n1 + rate**2 / 2 * size * (1 + 4 * age)),
            "gap_next <= gap - eta |g|_1 + (eta^2/2) S (1 + 4 A): S_l (1 + 4 A) stands in place of S_l",
            (sp.Le(_next, new - rate * (_n1 - 2 * off) + rate**2 / 2 * size), sp.Le(off, rate * size * age)),
        ),
        *norm_against_gap(),
        HULL,
        SUM,
    )


def _ages(rule: str) -> tuple[Step, ...]:
    """Return the steps on the mean age of the gradients, relative to the sum W of the weights, by induction over t."""
    beta1, beta2, age, total = sp.symbols("beta1 beta2 A W", nonnegative=True)
    own = beta1 if rule == "signum" else beta2
    memory = Step(
        sp.Le(own * total * (age + 1), own / (1 - own) * (own * total + 1 - own)),
        (
            f"mean age of the memory, from W_next = {own} W + 1 - {own}: A_next = {own} W (A + 1)/W_next <= "
            f"{own}/(1-{own})"
        ),
        (sp.Lt(own, 1), sp.Le(age, own / (1 - own)), sp.Le(total, 1)),
    )
    if rule == "signum":
        return (memory,)
    mix = Step(
        sp.Le(beta1 * total * (age + 1), beta1 / (1 - beta2) * (beta1 * total + 1 - beta1)),
        (
            "of the mix of beta1 times the memory, one step older, and 1 - beta1 times g: beta1 W (A + 1)/(beta1 W "
            "+ 1 - beta1)"
        ),
        (sp.Lt(beta2, 1), sp.Le(beta1, 1), sp.Le(age, beta2 / (1 - beta2)), sp.Le(total, 1)),
    )
    return memory, mix
