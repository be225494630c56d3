"""Bounds that survive a coupling of the blocks (docs/theory.md section 10): (1-c) D <= H <= (1+c) D carries those of D over to H.

D has the diagonal blocks of H by the blocks of rules (`BlockQuadratic.rule_blocks`), and c is the smallest number of this kind
(`BlockQuadratic.coupling`). For c = 0 each statement is the one about separate blocks. gd-upper and heavy-ball need no such form:
they are about the extreme eigenvalues of H itself.
"""

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.quantities import evaluate, first_gradient, gradient_condition
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.sign import telescope
from quadsim.theory.statements.steps import EIGENBASIS, SUM_OF_UPPER, concludes, e, equal, inside, lam
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import MaxOver, MinOver, Symbol

__all__ = ["BELOW_ONE", "SURVIVAL", "coupled_block_gd"]

eta, c, b, gap, gap_0, length = (
    Symbol.eta,
    Symbol.coupling,
    Symbol.rate_coupling,
    Symbol.gap,
    Symbol.gap_0,
    Symbol.length,
)
top, bottom, kappa_l, C1_l, C2_l = Symbol.L_D_l, Symbol.mu_D_l, Symbol.kappa_D_l, Symbol.C1_D_l, Symbol.C2_D_l
n1, n2, P, Lambda_G, Lambda_D = Symbol.norm1, Symbol.norm2_squared, Symbol.P, Symbol.Lambda_G, Symbol.Lambda_D

_form, _of_D, _limit = sp.symbols("form_H form_D T", nonnegative=True)
_first, _second, _share = sp.symbols("a_1 a_2 p", nonnegative=True)
_sigma, _low, _high, _s = sp.symbols("sigma a b s", positive=True)
_x, _g = sp.symbols("x g", real=True)
_IN_MODES = "M is symmetric positive definite: in its eigenbasis the gap is 1/2 x'Mx = 1/2 sum_i sigma_i x_i^2"

BELOW_ONE = Hypothesis.of(sp.Lt(c, 1), "c < 1")


def coupled_block_gd() -> Rule:
    """Return block-gd with the rates that are best for the bound under a coupling: eta_l = 2 lr/((1+c) L_l + (1-c) mu_l)."""
    share = sp.Symbol("coupling", nonnegative=True)
    high, low = (1 + share) * rule_symbols.L_l, (1 - share) * rule_symbols.mu_l
    return Rule(
        name="block-gd-at-coupling",
        step=-rule_symbols.lr * 2 / (high + low) * rule_symbols.g,
        hyperparameters={share: 0.0},
        default_lr=1.0,
        summary="Gradient descent with the rate 2/((1+c) L_l + (1-c) mu_l) in block l.",
    )


_AT_COUPLING = coupled_block_gd()


def _after(rule: Rule) -> sp.Expr:
    """Return e after a step of a rule with one rate per block; its hyperparameter, if it has one, is c_rate."""
    values = {rule_symbols.lr: eta, rule_symbols.L_l: top, rule_symbols.mu_l: bottom}
    return advance(rule, e, _g, values={**values, **dict.fromkeys(rule.hyperparameters, b)})[0]


def _rate_of(rule: Rule) -> sp.Expr:
    """Return the rate of block l, by which the rule multiplies -g."""
    return sp.simplify((e - _after(rule)) / _g)


def _between(rule: Rule) -> sp.Expr:
    """Return the factor of the worse end of the interval that holds the spectrum of B^(1/2) H B^(1/2), B = diag(eta_l I)."""
    rate = _rate_of(rule)
    return sp.Max((1 - (1 - c) * MinOver(rate * bottom)) ** 2, (1 - (1 + c) * MaxOver(rate * top)) ** 2)


_SANDWICH = (
    Step(
        sp.Le(_form, (1 + c) * _limit),
        "H <= (1+c) D: what bounds the form of D from above bounds that of H, times 1 + c",
        (sp.Le(_form, (1 + c) * _of_D), sp.Le(_of_D, _limit)),
    ),
    Step(
        sp.Ge(_form, (1 - c) * _limit),
        "H >= (1-c) D: what bounds the form of D from below bounds that of H, times 1 - c",
        (sp.Ge(_form, (1 - c) * _of_D), sp.Ge(_of_D, _limit), sp.Lt(c, 1)),
    ),
    Step(
        sp.Le(_share * _first + (1 - _share) * _second, _limit),
        "the form of D at a unit vector is a weighted mean over the blocks (of two; by induction of all), at most the largest",
        (sp.Le(_share, 1), sp.Le(_first, _limit), sp.Le(_second, _limit)),
    ),
    Step(
        sp.Ge(_share * _first + (1 - _share) * _second, _limit),
        "and at least the smallest",
        (sp.Le(_share, 1), sp.Ge(_first, _limit), sp.Ge(_second, _limit)),
    ),
)


def _block_steps(rule: Rule) -> tuple[Step, ...]:
    """Return the steps from a rule with one rate per block to the worse end of its spectrum."""
    root = sp.Symbol("b", positive=True)
    rate, below = _rate_of(rule), (sp.Lt(b, 1),) if rule.hyperparameters else ()
    return (
        Step(equal(_after(rule), e - rate * _g), f"a step of {rule.name} is e <- e - eta_l g in block l", below),
        Step(
            equal((e - root**2 * _g) / root, e / root - root * _g),
            "in x = B^(-1/2) e, B = diag(eta_l I), b^2 = eta_l, it is x <- x - M x with M = B^(1/2) H B^(1/2)",
        ),
        Step(_IN_MODES, "spectral theorem"),
        Step(
            equal(_sigma * (_x - _sigma * _x) ** 2 / 2, (1 - _sigma) ** 2 * (_sigma * _x**2 / 2)),
            "each mode's part of the gap is multiplied by (1 - sigma)^2",
        ),
        Step(
            sp.Le(rate * lam * _x**2, rate * top * _x**2),
            "in block l the form of D is sum eta_l lambda x^2 over the modes of D_l, at most eta_l L_l |x_l|^2",
            (sp.Le(lam, top), *below),
        ),
        Step(
            sp.Ge(rate * lam * _x**2, rate * bottom * _x**2),
            "and at least eta_l mu_l |x_l|^2",
            (sp.Ge(lam, bottom), *below),
        ),
        *_SANDWICH,
        Step(
            sp.Le((1 - _sigma) ** 2, sp.Max((1 - _low) ** 2, (1 - _high) ** 2)),
            "so sigma lies in [a, b], a = (1-c) min_l eta_l mu_l, b = (1+c) max_l eta_l L_l, and the worse end bounds every mode",
            (sp.Le(_low, _sigma), sp.Le(_sigma, _high)),
        ),
        SUM_OF_UPPER,
    )


def _block_gd() -> tuple[Step, ...]:
    return _block_steps(RULES["block-gd"])


def _block_gd_best() -> tuple[Step, ...]:
    own, worst = sp.symbols("kappa_l(c_rate) kappa(c_rate)", positive=True)
    rate = _rate_of(_AT_COUPLING).subs(eta, 1)
    stretched = (1 + b) * top / ((1 - b) * bottom)
    return (
        *_block_steps(_AT_COUPLING),
        Step(
            equal((1 - b) * rate * bottom, 2 / (stretched + 1)),
            "c <= c_rate, which may stand for c: at lr = 1 the lower end of block l is 2/(kappa_l(c_rate) + 1), "
            "kappa_l(c_rate) = kappa_l (1+c_rate)/(1-c_rate)",
            (sp.Lt(b, 1),),
        ),
        Step(
            equal((1 + b) * rate * top, 2 * stretched / (stretched + 1)),
            "the upper one 2 kappa_l(c_rate)/(kappa_l(c_rate) + 1)",
            (sp.Lt(b, 1),),
        ),
        Step(
            equal((1 - 2 / (own + 1)) ** 2, (1 - 2 * own / (own + 1)) ** 2),
            "which contract alike: by ((kappa_l(c_rate) - 1)/(kappa_l(c_rate) + 1))^2",
        ),
        Step(
            sp.Le((own - 1) / (own + 1), (worst - 1) / (worst + 1)),
            "and that grows with kappa_l(c_rate), so that the worst block decides",
            (sp.Le(1, own), sp.Le(own, worst)),
        ),
    )


def _frozen_factor(sigma: sp.Expr) -> sp.Expr:
    """Return the factor of a step of adam-frozen on F^(1/2) e along an eigenvector of F^(-1/2) H F^(-1/2): g = F sigma e."""
    rule = RULES["adam-frozen"]
    (memory,) = rule.states
    d = sp.Symbol("d", positive=True)
    after, _ = advance(rule, e, d * sigma * e, {memory: d}, {rule_symbols.lr: eta})
    return sp.simplify(after / e)


def _adam_frozen() -> tuple[Step, ...]:
    rule = RULES["adam-frozen"]
    (memory,) = rule.states
    g0 = sp.Symbol("g_0", real=True)
    d, least, smallest, size = sp.symbols("d d_min C1 G_l", positive=True)
    after, memories = advance(rule, e, _g, {memory: d}, {rule_symbols.lr: eta})
    return (
        Step(
            equal(rule.start[memory].subs(rule_symbols.g, g0), sp.Abs(g0)), "the rule adam-frozen starts with d = |g_0|"
        ),
        Step(equal(memories[memory], d), "and keeps it"),
        Step(
            equal(after, e - eta * _g / d),
            "so that a step is e <- e - eta F^-1 H e, F = diag|g_0|, g_0 = H e_0 of the whole H",
        ),
        Step(
            equal(sp.sqrt(d) * after, sp.sqrt(d) * e - eta * _g / sp.sqrt(d)),
            "in x = F^(1/2) e it is x <- x - eta M x, M = F^(-1/2) H F^(-1/2)",
        ),
        Step(_IN_MODES, "spectral theorem"),
        Step(
            equal(_sigma * (_x - eta * _sigma * _x) ** 2 / 2, (1 - eta * _sigma) ** 2 * (_sigma * _x**2 / 2)),
            "each mode's part of the gap is multiplied by (1 - eta sigma)^2",
        ),
        Step(
            sp.Le(lam * _x**2, top * _x**2),
            "y_l'D_l y_l <= L_l |y_l|^2 for y = F^(-1/2) v, mode by mode of D_l (and >= mu_l |y_l|^2 likewise)",
            (sp.Le(lam, top),),
        ),
        Step(
            sp.Le(_x**2 / d, _x**2 / least),
            "|y_l|^2 = sum v_i^2/|g_0,i| <= |v_l|^2/min_i |g_0,li| (and at least over the largest): the form of D is at most "
            "1/min_l C1_l and at least min_l mu_l/max_i |g_0,li|",
            (sp.Le(least, d),),
        ),
        Step(
            equal((top / kappa_l / size).subs(size, C2_l * top), 1 / (kappa_l * C2_l)),
            "mu_l/max_i |g_0,li| = 1/(kappa_l C2_l)",
        ),
        *_SANDWICH,
        Step(
            sp.Le(eta * _sigma, 1),
            "so sigma <= (1+c)/min_l C1_l, and eta sigma <= 1",
            (sp.Le(eta * (1 + c), smallest), sp.Le(_sigma * smallest, 1 + c)),
        ),
        Step(
            sp.Le((1 - eta * _sigma) ** 2, (1 - eta * _s) ** 2),
            "and every mode contracts at least as s = (1-c) min_l 1/(kappa_l C2_l) does",
            (sp.Le(_s, _sigma), sp.Le(eta * _sigma, 1)),
        ),
        SUM_OF_UPPER,
    )


_step, _norm, _square = sp.symbols("eta_t q form", nonnegative=True)


def _gradient_lemma() -> tuple[Step, ...]:
    after, _ = advance(RULES["gd"], e, lam * e, values={rule_symbols.lr: eta})
    limit = sp.Symbol("T", nonnegative=True)
    return (
        EIGENBASIS,
        Step(equal(after, e - eta * lam * e), "a step of the rule gd is e <- e - eta g"),
        Step(
            equal(
                lam * (e - _step * lam * e) ** 2 / 2,
                lam * e**2 / 2 - _step * (lam * e) ** 2 + _step**2 / 2 * lam * (lam * e) ** 2,
            ),
            "each mode of H: gap_next = gap - eta |g|^2 + (eta^2/2) g'Hg",
        ),
        Step(
            sp.Le(lam * _x**2, top * _x**2),
            "g_l'D_l g_l <= L_l |g_l|^2, mode by mode of D_l, so g'Dg <= T = sum_l L_l |g_l|^2 = Lambda_G |g|^2",
            (sp.Le(lam, top),),
        ),
        _SANDWICH[0],
        _descent((1 + c) * limit, "eta |g|^2 - (eta^2/2)(1+c) Lambda_G |g|^2"),
        Step(
            equal(
                _step * n2 - _step**2 / 2 * (1 + c) * Lambda_G * n2,
                n2 / (2 * (1 + c) * Lambda_G) - (1 + c) * Lambda_G * n2 / 2 * (_step - 1 / ((1 + c) * Lambda_G)) ** 2,
            ),
            "completing the square: it is largest at eta = 1/((1+c) Lambda_G), and there |g|^2/(2 (1+c) Lambda_G)",
        ),
    )


def _descent(largest: sp.Expr, words: str) -> Step:
    """Return the step from a bound of d'Hd to a bound of the next gap, for a step eta_t along d with g'd = q."""
    now = sp.Symbol("gap", nonnegative=True)
    return Step(
        sp.Le(now - _step * _norm + _step**2 / 2 * _square, now - _step * _norm + _step**2 / 2 * largest),
        f"so the decrease is at least {words}",
        (sp.Le(_square, largest),),
    )


def _sign_lemma() -> tuple[Step, ...]:
    g, s, limit = rule_symbols.g, sp.Symbol("s", real=True), sp.Symbol("T", nonnegative=True)
    after, _ = advance(RULES["signsgd"], e, g, values={rule_symbols.lr: eta})
    size = P * Lambda_D
    return (
        EIGENBASIS,
        Step(equal(after, e - eta * sp.sign(g)), "a step of the rule signsgd is e <- e - eta s, s = sign(g)"),
        Step(
            equal(
                lam * (_x - _step * s) ** 2 / 2, lam * _x**2 / 2 - _step * s * (lam * _x) + _step**2 / 2 * lam * s**2
            ),
            "each mode of H, with x and s the parts of e and sign(g) on it: gap_next = gap - eta s'g + (eta^2/2) s'Hs",
        ),
        Step(equal(sp.sign(g) * g, sp.Abs(g)), "s'g = |g|_1, coordinate by coordinate"),
        Step(sp.Le(lam * s**2, top * s**2), "s_l'D_l s_l <= L_l |s_l|^2, mode by mode of D_l", (sp.Le(lam, top),)),
        Step(sp.Le(top * sp.sign(g) ** 2, top), "and |s_l|^2 <= P_l: s'Ds <= T = sum_l P_l L_l = P Lambda_P(D)"),
        _SANDWICH[0],
        _descent((1 + c) * limit, "eta |g|_1 - (eta^2/2)(1+c) P Lambda_P(D)"),
        Step(
            equal(
                _step * n1 - _step**2 / 2 * (1 + c) * size,
                n1**2 / (2 * (1 + c) * size) - (1 + c) * size / 2 * (_step - n1 / ((1 + c) * size)) ** 2,
            ),
            "completing the square: it is largest at |g|_1/((1+c) P Lambda_P(D)), and there |g|_1^2/(2 (1+c) P Lambda_P(D))",
        ),
    )


_SHARE = eta * (1 - eta * (1 + c) / 2)
_k = sp.Symbol("k", positive=True)


def _gradient_complexity() -> tuple[Step, ...]:
    smallest, largest, now, here = sp.symbols(
        "least_norm2_g_squared largest_Lambda_G norm2_g_squared Lambda_G", positive=True
    )
    decrease = _step * n2 - _step**2 / 2 * (1 + c) * Lambda_G * n2
    return (
        *_gradient_lemma(),
        Step(
            equal(decrease.subs(_step, eta / Lambda_G), _SHARE * n2 / Lambda_G),
            "gd-lambda takes the step eta/Lambda_G, whose decrease is k |g|^2/Lambda_G with k = eta (1 - eta (1+c)/2)",
        ),
        Step(
            sp.Ge(_k * now / here, _k * smallest / largest),
            "every step before t decreases the gap by k (min |g|^2)/max Lambda_G at least",
            (sp.Ge(now, smallest), sp.Le(here, largest)),
        ),
        *telescope(),
    )


def _sign_complexity() -> tuple[Step, ...]:
    smallest, now, size = sp.symbols("least_norm1_g norm1_g S", positive=True)
    decrease = _step * n1 - _step**2 / 2 * (1 + c) * P * Lambda_D
    return (
        *_sign_lemma(),
        Step(
            equal(decrease.subs(_step, eta * n1 / (P * Lambda_D)), _SHARE * n1**2 / (P * Lambda_D)),
            "sign-lambda takes the step eta |g|_1/S, S = P Lambda_P(D), whose decrease is k |g|_1^2/S, k = eta (1 - eta (1+c)/2)",
        ),
        Step(
            sp.Ge(_k * now**2 / size, _k * smallest**2 / size),
            "every step before t decreases the gap by k (min |g|_1)^2/S at least",
            (sp.Ge(now, smallest),),
        ),
        *telescope(),
    )


def _no_zero(trajectory: Trajectory) -> NDArray[np.bool_]:
    return np.asarray(np.all(first_gradient(trajectory) != 0.0, axis=1)[:, None])


def _at_most_smallest(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Whether lr <= min_l C1_l/(1+c), up to what rounding leaves unknown of L_l (8 n^(3/2) u) and of g_0."""
    n, unit = trajectory.problem.dimension, np.finfo(float).eps / 2
    allowed = 1.0 + 8.0 * n**1.5 * unit + n * unit * gradient_condition(trajectory)
    return np.asarray(trajectory.settings["lr"][None, :] <= evaluate(_LARGEST_RATE, trajectory) * allowed)


_LARGEST_RATE = MinOver(C1_l) / (1 + c)
_NO_ZERO = Hypothesis(
    "no entry of g_0 is 0",
    _no_zero,
    seen=lambda run: {"zeros": np.sum(first_gradient(run) == 0.0, axis=1)[:, None]},
    exactly=lambda problem, settings: all(g != 0 for block in problem.first_gradient for g in block),
)
_SHARP = eta * (1 - c) / (C2_l * kappa_l)
_STRETCHED = kappa_l * (1 + b) / (1 - b)
_FALLS = Hypothesis.of(sp.Lt(eta * (1 + c), 2), "lr < 2/(1+c)")
_SOURCE = "An extension derived here: what holds for the diagonal blocks D holds for H with (1-c) D <= H <= (1+c) D"
_AFTER_T = "After Tomihari and Sato, arXiv 2502.00213, in the form derived here for blocks that are coupled"

SURVIVAL = (
    Theorem(
        name="block-gd-coupled",
        rules=("block-gd",),
        statement=(
            r"f(w_{t+1}) - f^* \le \max\{(1-a)^2, (1-b)^2\}\,(f(w_t) - f^*),\quad a = (1-c)\min_l \eta_l\mu_l,"
            r"\ b = (1+c)\max_l \eta_l L_l,\ \eta_l = \frac{2\eta}{L_l+\mu_l}"
        ),
        hypotheses=(BELOW_ONE,),
        any_partition=True,
        bound=_between(RULES["block-gd"]),
        tight="for c = 0, where it is block-gd",
        argument=_block_gd,
        conclusion=lambda bound: concludes(bound, _between(RULES["block-gd"])),
        source=f"{_SOURCE}.",
    ),
    Theorem(
        name="block-gd-at-coupling",
        own_rules=(_AT_COUPLING,),
        statement=(
            r"f(w_{t+1}) - f^* \le \max_l\Big(\frac{\kappa_l(c')-1}{\kappa_l(c')+1}\Big)^2 (f(w_t) - f^*),\quad"
            r" \kappa_l(c') = \kappa_l\frac{1+c'}{1-c'},\ \eta_l = \frac{2}{(1+c')L_l + (1-c')\mu_l},\ c \le c' < 1"
        ),
        hypotheses=(
            Hypothesis.of(sp.Le(c, b), "c <= c_rate, the coupling that the rates allow for"),
            Hypothesis.of(sp.Lt(b, 1), "c_rate < 1"),
            Hypothesis.of(sp.Eq(eta, 1, evaluate=False), "lr = 1"),
        ),
        any_partition=True,
        bound=MaxOver(((_STRETCHED - 1) / (_STRETCHED + 1)) ** 2),
        tight="where e lies in the extreme eigenspaces of B^(1/2) H B^(1/2) and b = c",
        argument=_block_gd_best,
        conclusion=lambda bound: concludes(
            inside(bound),
            (1 - (1 - b) * _rate_of(_AT_COUPLING).subs(eta, 1) * bottom).subs(top, kappa_l * bottom) ** 2,
            (sp.Lt(b, 1),),
        ),
        source=f"{_SOURCE}.",
    ),
    Theorem(
        name="adam-frozen-coupled",
        rules=("adam-frozen",),
        statement=(
            r"f(w_{t+1}) - f^* \le \max_l\Big(1 - \frac{\eta(1-c)}{C_{2,l}\kappa_l}\Big)^2 (f(w_t) - f^*),\quad"
            r" \eta \le \frac{\min_l C_{1,l}}{1+c}"
        ),
        hypotheses=(
            _NO_ZERO,
            BELOW_ONE,
            Hypothesis("lr <= min_l C1_l/(1+c)", _at_most_smallest, sp.Le(eta, _LARGEST_RATE)),
        ),
        any_partition=True,
        bound=MaxOver((1 - _SHARP) ** 2),
        tight="for c = 0, where it is adam-frozen",
        argument=_adam_frozen,
        conclusion=lambda bound: concludes(inside(bound), _frozen_factor((1 - c) / (kappa_l * C2_l)) ** 2),
        source=f"After Zhang et al., arXiv 2402.16788, Theorem 1. {_SOURCE}; g_0 is that of the coupled problem.",
    ),
    Theorem(
        name="gradient-descent-lemma-coupled",
        rules=("gd", "sgd", "gd-lambda"),
        statement=r"f(w - \eta g) \le f(w) - \eta |g|_2^2 + \tfrac{\eta^2}{2} (1+c)\Lambda_G(w) |g|_2^2",
        any_partition=True,
        bound=1 - length * n2 / gap + length**2 * (1 + c) * Lambda_G * n2 / (2 * gap),
        tight="for c = 0 as gradient-descent-lemma; best at eta = 1/((1+c) Lambda_G)",
        argument=_gradient_lemma,
        conclusion=lambda bound: concludes(bound * gap, gap - length * n2 + length**2 / 2 * (1 + c) * Lambda_G * n2),
        source=f"{_AFTER_T}.",
    ),
    Theorem(
        name="sign-descent-lemma-coupled",
        rules=("signsgd", "sign-lambda"),
        statement=r"f(w - \eta\,\mathrm{sign}\,g) \le f(w) - \eta |g|_1 + \tfrac{\eta^2}{2} (1+c) P \Lambda_P",
        any_partition=True,
        bound=1 - length * n1 / gap + length**2 * (1 + c) * P * Lambda_D / (2 * gap),
        tight="for c = 0 as sign-descent-lemma; best at |g|_1/((1+c) P Lambda_P)",
        argument=_sign_lemma,
        conclusion=lambda bound: concludes(bound * gap, gap - length * n1 + length**2 / 2 * (1 + c) * (P * Lambda_D)),
        source=f"{_AFTER_T}.",
    ),
    Theorem(
        name="gradient-complexity-coupled",
        rules=("gd-lambda",),
        statement=(
            r"T = \min\{t \ge 1: |g_t|_2 \le \sqrt P\,\delta\} \le \frac{(f(w_0) - f^*) \max_{t<T} \Lambda_G(w_t)}"
            r"{\eta(1 - \eta(1+c)/2) P\delta^2}\quad\text{for every } \delta \text{ with } |g_0|_2 > \sqrt P\,\delta"
        ),
        hypotheses=(_FALLS,),
        kind="complexity",
        any_partition=True,
        bound=gap_0 * Symbol.largest_Lambda_G / (_SHARE * Symbol.least_norm2_squared),
        argument=_gradient_complexity,
        conclusion=lambda bound: concludes(
            bound,
            gap_0 / (_SHARE * Symbol.least_norm2_squared / Symbol.largest_Lambda_G),
            (sp.Lt(eta * (1 + c), 2),),
        ),
        source=f"{_AFTER_T}. At lr = 1/(1+c) the constant is 2 (1+c).",
    ),
    Theorem(
        name="sign-complexity-coupled",
        rules=("sign-lambda",),
        statement=(
            r"T = \min\{t \ge 1: |g_t|_1 \le P\delta\} \le \frac{(f(w_0) - f^*) \Lambda_P}{\eta(1 - \eta(1+c)/2) P\delta^2}"
            r"\quad\text{for every } \delta \text{ with } |g_0|_1 > P\delta"
        ),
        hypotheses=(_FALLS,),
        kind="complexity",
        any_partition=True,
        bound=gap_0 * P * Lambda_D / (_SHARE * Symbol.least_norm1**2),
        argument=_sign_complexity,
        conclusion=lambda bound: concludes(
            bound, gap_0 / (_SHARE * Symbol.least_norm1**2 / (P * Lambda_D)), (sp.Lt(eta * (1 + c), 2),)
        ),
        source=f"{_AFTER_T}. At lr = 1/(1+c) the constant is 2 (1+c).",
    ),
)
