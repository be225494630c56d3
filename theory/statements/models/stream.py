"""Gradient descent on a stream of samples: moments of the error, and the floor of the gap in the mean."""

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.models.toy_models import of_part
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import concludes, e, equal
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import Symbol

__all__ = ["STREAM"]

_lam, _p, _gap, _v, _b, _eta = (
    Symbol.eigenvalue,
    Symbol.square,
    Symbol.mean_gap,
    Symbol.label_noise,
    Symbol.samples,
    Symbol.eta,
)
_NEXT = (1 - _eta * _lam) ** 2 * _p + _eta**2 / _b * (_lam**2 * _p + _lam * (2 * _gap + _v**2))
_c = Symbol.trace_rate
_FLOOR = _v**2 * _c / (2 * (1 - _c))


def _moments() -> tuple[Step, ...]:
    g, second, squares = rule_symbols.g, sp.Symbol("E_g_squared", nonnegative=True), sp.Symbol("n", positive=True)
    after, _ = advance(RULES["gd"], e, g, values={rule_symbols.lr: _eta})
    one = _lam**2 * _p + _lam * (2 * _gap + _v**2)
    return (
        Step("E (x'Sx) xx' = 2 HSH + tr(HS) H for x ~ N(0, H) and a symmetric S", "Isserlis' theorem"),
        Step(
            equal(2 * _lam**2 * _p + _lam * (2 * _gap + _v**2) - _lam**2 * _p, one),
            "one sample's gradient x (x'e - v xi), with S = E ee', has along an eigenvector the mean lambda e_i and the variance "
            "2 lambda^2 p + lambda (tr(HS) + v^2) - lambda^2 p, as xi is independent of x; tr(HS) is twice the mean gap",
        ),
        Step(
            equal(squares * one / squares**2, one / squares),
            "the mean of b independent samples has that variance over b",
        ),
        Step(equal(after**2, e**2 - 2 * _eta * e * g + _eta**2 * g**2), "one step of the rule gd, squared"),
        Step(
            equal(
                (_p - 2 * _eta * _lam * _p + _eta**2 * second).subs(second, _lam**2 * _p + one / _b),
                _NEXT,
            ),
            "in the mean: E e_i g_i = lambda p, and E g_i^2 = lambda^2 p + the variance",
        ),
    )


def _floor() -> tuple[Step, ...]:
    s = sp.Symbol("s", nonnegative=True)
    x = _eta * _lam
    own = (1 - x) ** 2 + x**2 / _b
    return (
        Step(
            equal(1 - own, x * (2 * _b - x * (_b + 1)) / _b),
            "1 - a_i for the factor a_i of p_i alone in sgd-moments",
        ),
        Step(
            equal(_lam * (_eta**2 / _b * _lam) * (2 * _b - x * (_b + 1)), x * (1 - own)),
            "at the fixed point p_i (1 - a_i) = (eta^2/b) lambda_i (s + v^2), s = sum_j lambda_j p_j, so that lambda_i p_i = "
            "eta lambda_i/(2b - eta lambda_i (b+1)) (s + v^2)",
        ),
        Step(
            equal(s, _v**2 * _c / (1 - _c)),
            "summed over i, s = c (s + v^2), and E gap is s/2",
            (equal(s, _c * (s + _v**2)), sp.Lt(_c, 1)),
        ),
    )


STREAM = (
    Theorem(
        name="sgd-moments",
        rules=("gd on a stream",),
        kind="expectation",
        direction="equal",
        quantity=Symbol.square_next,
        bound=_NEXT,
        statement=(
            r"p_i(t+1) = (1 - \eta\lambda_i)^2 p_i + \frac{\eta^2}{b}\Big(\lambda_i^2 p_i + \lambda_i"
            r" \big(\textstyle\sum_j \lambda_j p_j + v^2\big)\Big),\quad p_i(t) = \mathbb E e_i(t)^2,"
            r"\ \mathbb E\Delta_t = \tfrac12 \sum_i \lambda_i p_i(t)"
        ),
        tight="always, in the mean",
        argument=_moments,
        conclusion=lambda bound: concludes(bound, _NEXT),
        hypotheses=(of_part("x ~ N(0, H); batches of b fresh samples; label noise of variance v^2, independent of x"),),
        source="Derived here; the fourth moments after Isserlis (1918).",
    ),
    Theorem(
        name="sgd-floor",
        rules=("gd on a stream",),
        kind="expectation",
        direction="equal",
        quantity=Symbol.floor,
        bound=_FLOOR,
        statement=(
            r"\lim_t \mathbb E\Delta_t = \frac{v^2 c}{2(1-c)},\quad c = \sum_i \frac{\eta\lambda_i}{2b - \eta\lambda_i(b+1)}"
            r"\quad \big(\eta < \tfrac{2b}{(b+1)L},\ c < 1\big)"
        ),
        tight="always, in the mean",
        argument=_floor,
        conclusion=lambda bound: concludes(bound, _FLOOR, (sp.Lt(_c, 1),)),
        hypotheses=(of_part("as in sgd-moments, at a rate at which gradient descent is stable in mean square: c < 1"),),
        source="Derived here.",
    ),
)
"""Statements about gradient descent on a stream."""
