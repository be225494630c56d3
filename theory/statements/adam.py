"""Theorems about Adam with a frozen preconditioner (docs/theory.md section 3)."""

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.quantities import evaluate, first_gradient, gradient_condition
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import SUM_OF_UPPER, concludes, e, equal, inside
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import MaxOver, MinOver, Symbol

__all__ = ["ADAM"]

eta, kappa_l, C1_l, C2_l, sigma_i = Symbol.eta, Symbol.kappa_l, Symbol.C1_l, Symbol.C2_l, Symbol.sigma_i

_SMALLEST_C1 = MinOver(C1_l)
_SQUARED_RATIO = MaxOver(C2_l**2) / MinOver(C1_l**2)
_SHARP = eta / (C2_l * kappa_l)


def _no_zero(trajectory: Trajectory) -> NDArray[np.bool_]:
    return np.asarray(np.all(first_gradient(trajectory) != 0.0, axis=1)[:, None])


def _rounding(trajectory: Trajectory) -> NDArray[np.float64]:
    """Return the relative error with which min_l C1_l is known: that of L_l (8 n^(3/2) u, see `checking`) plus that of g_0."""
    n, unit = max(trajectory.problem.block_sizes), np.finfo(float).eps / 2
    return np.asarray(8.0 * n**1.5 * unit + n * unit * gradient_condition(trajectory))


def _at_most_smallest(trajectory: Trajectory) -> NDArray[np.bool_]:
    smallest = evaluate(_SMALLEST_C1, trajectory)
    return trajectory.settings["lr"][None, :] <= smallest * (1.0 + _rounding(trajectory))


def _not_too_small(trajectory: Trajectory) -> NDArray[np.bool_]:
    least = evaluate(_SMALLEST_C1**2 / MaxOver(C2_l), trajectory)
    return trajectory.settings["lr"][None, :] >= least * (1.0 - 2.0 * _rounding(trajectory))


def _frozen_factor(sigma: sp.Expr) -> sp.Expr:
    """Return the factor by which a step multiplies D^(1/2) e along an eigenvector of D^(-1/2) H D^(-1/2): g = D sigma e."""
    rule = RULES["adam-frozen"]
    (memory,) = rule.states
    d = sp.Symbol("d", positive=True)
    after, _ = advance(rule, e, d * sigma * e, {memory: d}, {rule_symbols.lr: eta})
    return sp.simplify(after / e)


def _exact() -> tuple[Step, ...]:
    rule = RULES["adam-frozen"]
    (memory,) = rule.states
    g, g0 = sp.symbols("g g_0", real=True)
    d, sigma, x = sp.symbols("d sigma x", positive=True)
    after, memories = advance(rule, e, g, {memory: d}, {rule_symbols.lr: eta})
    return (
        Step(
            equal(rule.start[memory].subs(rule_symbols.g, g0), sp.Abs(g0)), "the rule adam-frozen starts with d = |g_0|"
        ),
        Step(equal(memories[memory], d), "and keeps it"),
        Step(equal(after, e - eta * g / d), "so that a step is e <- e - eta D^-1 H e, D = diag|g_0|"),
        Step(
            equal(sp.sqrt(d) * after, sp.sqrt(d) * e - eta * g / sp.sqrt(d)),
            "in x = D^(1/2) e it is x <- x - eta M x, M = D^(-1/2) H D^(-1/2)",
        ),
        Step(
            "M is symmetric positive definite: in its eigenbasis the gap is 1/2 x'Mx = 1/2 sum_i sigma_i x_i^2",
            "spectral theorem",
        ),
        Step(
            equal(sigma * (x - eta * sigma * x) ** 2 / 2, (1 - eta * sigma) ** 2 * (sigma * x**2 / 2)),
            "each mode's part of the gap is multiplied by (1 - eta sigma)^2",
        ),
        SUM_OF_UPPER,
    )


def _sharpened() -> tuple[Step, ...]:
    s, sigma, top, size = sp.symbols("s sigma L_l G_l", positive=True)  # G_l = max_i |g_0,li|
    kappa, C2 = sp.symbols("kappa_l C2_l", positive=True)
    smallest = sp.Symbol("C1", positive=True)
    return (
        *_exact(),
        Step(
            "sigma_max <= max_l L_l / min_i |g_0,li| = 1 / min_l C1_l and sigma_min >= min_l mu_l / max_i |g_0,li|",
            "Rayleigh quotient",
        ),
        Step(
            equal((top / kappa / size).subs(size, C2 * top), 1 / (kappa * C2)),
            "mu_l / max_i |g_0,li| = 1/(kappa_l C2_l)",
        ),
        Step(sp.Le(eta * sigma, 1), "eta sigma <= 1", (sp.Le(eta, smallest), sp.Le(sigma * smallest, 1))),
        Step(
            equal((1 - eta * s) ** 2 - (1 - eta * sigma) ** 2, eta * (sigma - s) * (2 - eta * sigma - eta * s)),
            "certificate: a smaller eigenvalue contracts less",
        ),
        Step(
            sp.Le((1 - eta * sigma) ** 2, (1 - eta * s) ** 2),
            "so every mode contracts at least as s = min_l 1/(kappa_l C2_l) does",
            (sp.Le(s, sigma), sp.Le(eta * sigma, 1)),
        ),
    )


def _published() -> tuple[Step, ...]:
    x, y = sp.symbols("x y", positive=True)
    kappa, C2, largest, smallest = sp.symbols("kappa_l C2_l C2 C1", positive=True)
    return (
        *_sharpened(),
        Step(
            sp.Ge(eta / (C2 * kappa), 1 / (largest**2 / smallest**2 * kappa)),
            "x_l = eta/(C2_l kappa_l) is at least 1/(r_pub kappa_l)",
            (sp.Ge(eta * largest, smallest**2), sp.Le(C2, largest)),
        ),
        Step(sp.Le((1 - x) ** 2, 1 - y), "and (1 - x)^2 <= 1 - x <= 1 - y", (sp.Le(x, 1), sp.Le(y, x))),
    )


def _against_gd() -> tuple[Step, ...]:
    x, kappa, C2, block, top = sp.symbols("x kappa C2_l kappa_l C2", positive=True)
    most = sp.Symbol("kappa_max", positive=True)
    return (
        *_sharpened(),
        Step(
            sp.Ge(eta / (C2 * block), 2 / (kappa + 1)),
            "x_l = eta/(C2_l kappa_l) is at least 2/(kappa + 1)",
            (sp.Le(top * most, eta * (kappa + 1) / 2), sp.Le(C2, top), sp.Le(block, most)),
        ),
        Step(
            sp.Le((1 - x) ** 2, (1 - 2 / (kappa + 1)) ** 2),
            "so every block's factor (1 - x_l)^2 is at most rho^2, which by gd-lower no constant rate of GD beats on its witness",
            (sp.Ge(x, 2 / (kappa + 1)), sp.Le(x, 1)),
        ),
    )


_NO_ZERO = Hypothesis(
    "no entry of g_0 is 0",
    _no_zero,
    seen=lambda run: {"zeros": np.sum(first_gradient(run) == 0.0, axis=1)[:, None]},
    exactly=lambda problem, settings: all(g != 0 for block in problem.first_gradient for g in block),
)
_AT_MOST = Hypothesis("lr <= min_l C1_l", _at_most_smallest, sp.Le(eta, _SMALLEST_C1))
_FROM_Z = "After Zhang et al., arXiv 2402.16788, Theorem 1"

ADAM = (
    Theorem(
        name="adam-frozen-published",
        rules=("adam-frozen",),
        statement=(
            r"f(w_{t+1}) - f^* \le \max_l\Big(1 - \frac{1}{r_{pub}\kappa_l}\Big)(f(w_t) - f^*),\quad"
            r" r_{pub} = \frac{\max_l C_{2,l}^2}{\min_l C_{1,l}^2}"
        ),
        hypotheses=(
            _NO_ZERO,
            _AT_MOST,
            # The published step is min_l C1_l; the bound holds as long as eta/(C2_l kappa_l) >= 1/(r_pub kappa_l).
            Hypothesis("lr >= min_l C1_l^2 / max_l C2_l", _not_too_small, sp.Ge(eta, _SMALLEST_C1**2 / MaxOver(C2_l))),
        ),
        kind="per step",
        direction="upper",
        bound=MaxOver(1 - 1 / (_SQUARED_RATIO * kappa_l)),
        tight="where r_pub = 1 and H is a multiple of the identity: both sides are 0",
        argument=_published,
        conclusion=lambda bound: concludes(inside(bound), 1 - 1 / (_SQUARED_RATIO * kappa_l)),
        source=f"{_FROM_Z}, in the form derived here.",
    ),
    Theorem(
        name="adam-frozen",
        rules=("adam-frozen",),
        statement=r"f(w_{t+1}) - f^* \le \max_l\Big(1 - \frac{\eta}{C_{2,l}\kappa_l}\Big)^2 (f(w_t) - f^*)",
        hypotheses=(_NO_ZERO, _AT_MOST),
        kind="per step",
        direction="upper",
        bound=MaxOver((1 - _SHARP) ** 2),
        tight="where all |g_0,i| are equal and H is a multiple of the identity",
        argument=_sharpened,
        conclusion=lambda bound: concludes(inside(bound), _frozen_factor(1 / (kappa_l * C2_l)) ** 2),
        source=f"{_FROM_Z}, sharpened here.",
    ),
    Theorem(
        name="adam-frozen-exact",
        rules=("adam-frozen",),
        statement=r"f(w_{t+1}) - f^* \le \max_i (1 - \eta\sigma_i)^2 (f(w_t) - f^*)",
        hypotheses=(_NO_ZERO,),
        kind="per step",
        direction="upper",
        bound=MaxOver((1 - eta * sigma_i) ** 2),
        tight="asymptotically: the worst case for this D = diag|g_0|",
        argument=_exact,
        conclusion=lambda bound: concludes(inside(bound), _frozen_factor(sigma_i) ** 2),
        source=f"{_FROM_Z}; the worst-case factor, derived here.",
    ),
    Theorem(
        name="adam-vs-gd",
        rules=("adam-frozen",),
        statement=(
            r"r \max_l\kappa_l \le \frac{\kappa+1}{2}\ \Rightarrow\ f(w_{t+1}) - f^* \le \Big(1 - \frac{2}{\kappa+1}\Big)^2"
            r" (f(w_t) - f^*),\quad r = \frac{\max_l C_{2,l}}{\eta}"
        ),
        hypotheses=(
            _NO_ZERO,
            _AT_MOST,
            Hypothesis.of(
                sp.Le(MaxOver(C2_l) * MaxOver(kappa_l), eta * (Symbol.kappa + 1) / 2),
                "r max_l kappa_l <= (kappa + 1)/2 with r = max_l C2_l/lr",
            ),
        ),
        bound=(1 - 2 / (Symbol.kappa + 1)) ** 2,
        argument=_against_gd,
        conclusion=lambda bound: concludes(
            bound.subs(Symbol.kappa, Symbol.L / Symbol.mu), ((Symbol.L - Symbol.mu) / (Symbol.L + Symbol.mu)) ** 2
        ),
        source=(
            f"{_FROM_Z}, against Proposition 1; derived here. Sufficient only; it sets a bound for one against the worst case of "
            "the other. The looser condition r max kappa_l <= kappa in circulation is false."
        ),
    ),
)
