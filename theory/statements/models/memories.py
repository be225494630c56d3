"""Adam's memories at equal betas, and the stability edge of frozen Adam with momentum (docs/theory.md section 10)."""

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.models.toy_models import of_part
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import concludes, equal
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import Symbol

__all__ = ["MEMORIES", "frozen_mode"]

_beta = Symbol.beta1


def frozen_mode() -> tuple[sp.Matrix, tuple[sp.Symbol, ...]]:
    """Return the matrix of (e, m) to the next in a mode of frozen Adam with momentum, and its symbols (eta sigma, beta1).

    The memory m is that of Adam's Rule, the step is -eta m: the denominator is frozen and part of sigma, and there is no bias
    correction. m is in units of sigma e.
    """
    x, beta = sp.Symbol("eta sigma", positive=True), sp.Symbol("beta1", nonnegative=True)
    adam = RULES["adam"]
    memory, _ = adam.states
    own = next(h for h in adam.hyperparameters if str(h) == "beta1")
    e, m = sp.symbols("e m", real=True)
    after = adam.update[memory].subs({rule_symbols.g: e, memory: m, own: beta}, simultaneous=True)
    return sp.Matrix([e - x * after, after]).jacobian([e, m]), (x, beta)


def _equal_betas() -> tuple[Step, ...]:
    adam = RULES["adam"]
    m, v = adam.states
    own = {str(h): h for h in adam.hyperparameters}
    g, beta, misses = rule_symbols.g, Symbol.beta1, Symbol.memory_errors
    _, after = advance(adam, sp.Symbol("e", real=True), g, {m: m, v: v}, {own["beta1"]: beta, own["beta2"]: beta})
    return (
        Step(
            equal(after[v] - after[m] ** 2, beta * (v - m**2) + beta * (1 - beta) * (m - g) ** 2),
            "one step of the rule adam with beta2 = beta1: v - m^2 has the memory beta1 of beta1 (m - g)^2, m before the step",
        ),
        Step(
            equal(
                beta * (beta * misses) + beta * (1 - beta) * (m - g) ** 2,
                beta * (beta * misses + (1 - beta) * (m - g) ** 2),
            ),
            "induction from 0 = 0 at the start: beta1 times the mean of (m - g)^2 with the same weights obeys the same recursion",
        ),
    )


def _edge() -> tuple[Step, ...]:
    matrix, (x, beta) = frozen_mode()
    z, c, d = sp.Symbol("z", real=True), sp.Symbol("c", real=True), sp.Symbol("d", real=True)
    real, imag = sp.symbols("z_r z_i", real=True)
    trace = 1 + beta - (1 - beta) * x
    edge = 2 * (1 + beta) / (1 - beta)
    below = (sp.Lt(beta, 1),)
    return (
        Step(
            equal((sp.eye(2) * z - matrix).det(), z**2 - trace * z + beta),
            "characteristic polynomial of a mode of (e, m), from the rule's own memory: p(z) = z^2 - T z + beta1",
        ),
        Step(
            sp.Lt(sp.Abs(z), 1),
            "a real root of z^2 - T z + beta1 lies inside the unit circle if |T| < 1 + beta1 and 0 <= beta1 < 1",
            (equal(z**2 - c * z + d, 0), sp.Lt(c, 1 + d), sp.Lt(-1 - d, c), sp.Lt(d, 1), sp.Ge(d, 0)),
        ),
        Step(
            equal(real**2 + imag**2, d),
            "a pair of complex roots has the square modulus beta1, below 1",
            (equal(real**2 - imag**2 - c * real + d, 0), equal(2 * real * imag - c * imag, 0), sp.Ne(imag, 0)),
        ),
        Step(
            sp.Le(1 + c + d, 0),
            "if T <= -(1 + beta1), then p(-1) <= 0 and p rises to infinity on the left: there is a real root at or below -1",
            (sp.Le(c, -1 - d),),
        ),
        Step(sp.Lt(trace, 1 + beta), "T < 1 + beta1 always, as eta sigma > 0", below),
        Step(
            sp.Gt(trace, -1 - beta), "T > -(1 + beta1) below the edge eta sigma = 2 (1 + beta1)/(1 - beta1)",
            (*below, sp.Lt(x * (1 - beta), 2 * (1 + beta))),
        ),
        Step(
            sp.Le(trace, -1 - beta), "and not from the edge on",
            (*below, sp.Ge(x * (1 - beta), 2 * (1 + beta))),
        ),
        Step(equal(edge * (1 - beta), 2 * (1 + beta)), "the edge itself", below),
    )  # fmt: skip


MEMORIES = (
    Theorem(
        name="adam-equal-betas",
        rules=("memories of adam",),
        kind="identity",
        direction="equal",
        quantity=Symbol.memory_spread,
        bound=_beta * Symbol.memory_errors,
        statement=(
            r"\beta_1 = \beta_2 = \beta:\ v_t - m_t^2 = \beta\, \mathrm{EMA}_\beta\big[(m_{t-1} - g_t)^2\big],"
            r"\ \mathrm{EMA}_\beta[a]_t = (1-\beta) \sum_{s \le t} \beta^{t-s} a_s"
        ),
        tight="always, for any gradients",
        argument=_equal_betas,
        conclusion=lambda bound: concludes(bound, _beta * Symbol.memory_errors),
        hypotheses=(Hypothesis.of(sp.Eq(Symbol.beta1, Symbol.beta2), "beta1 = beta2"),),
        source="After Orvieto and Gower, arXiv 2505.21829, in the form derived here.",
    ),
    Theorem(
        name="frozen-momentum-edge",
        rules=("a mode of frozen Adam with momentum",),
        kind="identity",
        direction="equal",
        quantity=Symbol.largest_rate,
        bound=2 * (1 + _beta) / ((1 - _beta) * Symbol.sigma),
        statement=(
            r"\text{a mode } \sigma \text{ of frozen Adam with momentum is stable} \iff"
            r" \eta\sigma < \frac{2(1+\beta_1)}{1-\beta_1}"
        ),
        tight="always: it is a condition for both directions",
        argument=_edge,
        conclusion=lambda bound: concludes(bound, 2 * (1 + _beta) / ((1 - _beta) * Symbol.sigma), (sp.Lt(_beta, 1),)),
        hypotheses=(of_part("the denominator is frozen, 0 <= beta1 < 1, and momentum has no bias correction"),),
        source="Derived here; after Cohen et al., arXiv 2207.14484.",
    ),
)
"""Statements about Adam's memories."""
