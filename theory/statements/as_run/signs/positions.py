"""sign-distance, sign-diagonal and sign-cycle: where the coordinates are, from their speed alone."""

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.as_run.signs.descent import SUM, g, rate, s
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import equal, lam

__all__ = ["cycle", "diagonal", "distance"]


def distance() -> tuple[Step, ...]:
    """Return the proof that no coordinate moves faster than the rate, and what gap that leaves."""
    x, y, q, p = sp.symbols("x y q p", real=True)
    two_gap, way = sp.symbols("two_gap way", nonnegative=True)
    size, x0 = sp.Symbol("a_1", nonnegative=True), sp.Symbol("x_0", real=True)
    steps: list[Step] = []
    for name in ("signsgd", "signum", "lion"):
        own = {str(symbol): symbol for symbol in RULES[name].hyperparameters}
        decay = {own["weight_decay"]: sp.S.Zero} if "weight_decay" in own else {}
        move = RULES[name].step.subs({rule_symbols.lr: rate, **decay})
        (factor,) = move.atoms(sp.sign)
        value = sp.Symbol("z", real=True)
        steps.append(
            Step(
                sp.Le(sp.Abs(move.subs(factor, sp.sign(value))), rate),
                f"a step of the rule {name} moves no coordinate by more than its rate",
            )
        )
    return (
        *steps,
        Step(
            sp.Ge(sp.Abs(y), x0 - size * (way + rate)),
            "induction: |a'e_t| >= |a'e_0| - |a|_1 (eta_0 + ... + eta_(t-1))",
            (sp.Ge(sp.Abs(x), x0 - size * way), sp.Le(sp.Abs(y - x), rate * size)),
        ),
        Step(
            sp.Le(q**2, p * two_gap),
            "(a'e)^2 <= (a'H^-1 a)(e'He): the form of H^-1 at a - x He is not negative",
            (sp.Ge(p - 2 * x * q + x**2 * two_gap, 0), equal(x * two_gap, q), sp.Gt(two_gap, 0)),
        ),
        Step(
            sp.Ge(two_gap * p, q**2),
            "with a the i-th unit vector: 2 gap (H^-1)_ii >= |e_t,i|^2 >= max(|e_0,i| - way, 0)^2",
            (sp.Le(q**2, p * two_gap),),
        ),
    )


def diagonal() -> tuple[Step, ...]:
    """Return the proof of how far a coordinate is from the solution, for a diagonal H."""
    x = sp.Symbol("x", real=True)
    way, first = sp.symbols("way x_0", nonnegative=True)
    after, _ = advance(RULES["signsgd"], x, lam * x, values={rule_symbols.lr: rate})
    return (
        Step(
            equal(after, x - rate * sp.sign(x)),
            "H diagonal: a step of the rule signsgd is e_i <- e_i - eta sign(e_i), as lambda_i > 0",
        ),
        Step(
            sp.Le(sp.Abs(x - rate * sp.sign(x)), sp.Max(first - way - rate, rate)),
            "induction over t: |e_t,i| <= max(|e_0,i| - eta t, eta), as every step lowers a modulus above eta by eta",
            (sp.Le(sp.Abs(x), sp.Max(first - way, rate)),),
        ),
        SUM,
    )


def cycle() -> tuple[Step, ...]:
    """Return the proof that SignSGD stays on a cycle from some starts."""
    h, d = sp.symbols("h d", real=True)
    k = sp.Symbol("k", nonnegative=True)
    after, _ = advance(RULES["signsgd"], (k + sp.Rational(1, 2)) * rate * s, g, values={rule_symbols.lr: rate})
    return (
        Step(
            sp.Ge(s * h, d),
            (
                "s maximises s'Hs: flipping s_i changes it by 4 H_ii - 4 s_i (Hs)_i <= 0, so that s_i (Hs)_i >= "
                "H_ii > 0 and sign(Hs) = s"
            ),
            (sp.Le(4 * d - 4 * s * h, 0),),
        ),
        Step(equal(after, (k + sp.Rational(1, 2)) * rate * s - rate * sp.sign(g)), "a step of the rule signsgd"),
        Step(
            equal((k + sp.Rational(1, 2)) * rate * s - rate * s, (k - sp.Rational(1, 2)) * rate * s),
            (
                "from e = (k + 1/2) eta s, k >= 0, the gradient has the signs s: a step leads to (k - 1/2) eta s, "
                "at last to -(eta/2) s and back, for ever"
            ),
        ),
        Step(
            sp.Ge((k + sp.Rational(1, 2)) ** 2, sp.Rational(1, 4), evaluate=False),
            "so |k + 1/2| is never below 1/2 on the way",
        ),
        Step(
            equal(lam * (rate / 2 * s) ** 2 / 2, rate**2 / 8 * lam * s**2),
            "the gap at (eta/2) s is (eta^2/8) s'Hs = eta^2 S_l/8 in every block",
        ),
        SUM,
    )
