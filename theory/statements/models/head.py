"""The drift of a linear softmax head under SignSGD (docs/theory.md section 5, after Tomihari and Sato)."""

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from math import comb

import numpy as np
import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import concludes, e, equal
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import Symbol

__all__ = ["HEAD", "drift", "moments_of_walk", "step_distribution"]

C, b, n, s, tie, t, eta = (
    Symbol.classes,
    Symbol.batch,
    Symbol.features,
    Symbol.drift,
    Symbol.tie,
    Symbol.t,
    Symbol.eta,
)


def drift(classes: int, batch: int) -> tuple[Fraction, Fraction]:
    """Return P(k < b/C) - P(k > b/C) and P(k = b/C) for k ~ Binomial(b, 1/C), exactly."""
    p = Fraction(1, classes)
    weights = [comb(batch, k) * p**k * (1 - p) ** (batch - k) for k in range(batch + 1)]
    below = sum((w for k, w in enumerate(weights) if k * classes < batch), Fraction(0))
    at = sum((w for k, w in enumerate(weights) if k * classes == batch), Fraction(0))
    return below - (1 - below - at), at


@lru_cache(maxsize=1024)
def step_distribution(classes: int, batch: int, rule: str = "signsgd") -> Mapping[Fraction, Fraction]:
    """Return the changes of a class row's weight in one step at rate 1 with their probabilities, from the Rule itself.

    The row's gradient along a feature that all samples share, at uniform predictions, is 1/C - k/b.
    """
    p = Fraction(1, classes)
    out: dict[Fraction, Fraction] = {}
    for k in range(batch + 1):
        gradient = sp.Rational(1, classes) - sp.Rational(k, batch)
        moved = RULES[rule].step.subs({rule_symbols.g: gradient, rule_symbols.lr: 1})
        key = Fraction(int(moved.p), int(moved.q))
        out[key] = out.get(key, Fraction(0)) + comb(batch, k) * p**k * (1 - p) ** (batch - k)
    return out


def moments_of_walk(distribution: Mapping[Fraction, Fraction], steps: int) -> tuple[Fraction, Fraction]:
    """Return mean and second moment of a sum of `steps` independent steps, from the distribution of the sum."""
    walk = {Fraction(0): Fraction(1)}
    for _ in range(steps):
        longer: dict[Fraction, Fraction] = {}
        for place, weight in walk.items():
            for move, chance in distribution.items():
                longer[place + move] = longer.get(place + move, Fraction(0)) + weight * chance
        walk = longer
    mean = sum((place * weight for place, weight in walk.items()), Fraction(0))
    return mean, sum((place**2 * weight for place, weight in walk.items()), Fraction(0))


def _proof() -> tuple[Step, ...]:
    count = sp.Symbol("k", integer=True, nonnegative=True)
    empty, step = sp.symbols("p_0 x", real=True)
    g = rule_symbols.g
    after, _ = advance(RULES["signsgd"], e, g, values={rule_symbols.lr: eta})
    number, size, hits = sp.symbols("C b k", real=True)
    fall = sp.Symbol("ln(C/(C-1))", positive=True)
    zero = sp.Mul(-sp.log(2) / fall, fall, evaluate=False)
    return (
        Step(
            equal((b - count) / b * (1 / C) + count / b * (1 / C - 1), 1 / C - count / b),
            "at uniform predictions the row's gradient along a shared feature is the mean over the batch of 1/C - [label = c]",
        ),
        Step(
            equal(after, e - eta * sp.sign(g)),
            "a step of the rule signsgd is -eta sign(g): -eta if k < b/C, +eta if k > b/C",
        ),
        Step(
            "labels are drawn independently: k ~ Binomial(b, 1/C), and P(k = 0) = (1 - 1/C)^b",
            "central facts on binomials",
        ),
        Step(
            sp.Gt(hits, size / number),
            "for b < C every k >= 1 is above b/C, so that P(k < b/C) = P(k = 0) = p_0",
            (sp.Ge(hits, 1), sp.Gt(size, 0), sp.Lt(size, number)),
        ),
        Step(equal(empty - (1 - empty), 2 * empty - 1), "s = 2 (1 - 1/C)^b - 1 for b < C"),
        Step(
            equal(2 * sp.exp(zero, evaluate=False) - 1, 0),
            "which is 0 at b = ln 2/ln(C/(C-1)), as (1 - 1/C)^b = exp(-b ln(C/(C-1))), and falls with b",
        ),
        Step(
            equal(
                (t**2 * s**2 + t * (1 - tie - s**2)) + 2 * (t * s) * s + (1 - tie),
                (t + 1) ** 2 * s**2 + (t + 1) * (1 - tie - s**2),
            ),
            "induction in units of eta: steps are independent, E x = -s and E x^2 = 1 - P(tie), so that "
            "E X_(t+1)^2 = E X_t^2 + 2 (-t s)(-s) + 1 - P(tie)",
        ),
        Step(
            equal(C * n * step**2, n * (C * step**2)), "summed over C rows and n shared features, which all move alike"
        ),
    )


THEOREM = Theorem(
    name="head-drift",
    rules=("signsgd on a softmax head",),
    statement=(
        r"\mathbb E|V_t - V_0|_F^2 = C n \eta^2 \big(t^2 s^2 + t(1 - P(k = b/C) - s^2)\big),\quad"
        r" s = P(k < b/C) - P(k > b/C),\ k \sim \mathrm{Bin}(b, 1/C)"
    ),
    kind="expectation",
    direction="equal",
    quantity=Symbol.growth,
    bound=C * n * eta**2 * (t**2 * s**2 + t * (1 - tie - s**2)),
    tight="always, in the mean, for uniform predictions",
    argument=_proof,
    conclusion=lambda bound: concludes(bound, C * n * (eta**2 * (t * s) ** 2 + eta**2 * t * (1 - tie - s**2))),
    hypotheses=(
        Hypothesis(
            "predictions are uniform, labels equally frequent and drawn independently",
            lambda run: np.zeros((1, 1), dtype=bool),  # of a head, never of a run on a quadratic
        ),
    ),
    source="After Tomihari and Sato, arXiv 2502.00213, in the form derived here.",
)

HEAD = (THEOREM,)
