"""Theorems that compare gradient steps with sign steps (docs/theory.md section 4): descent lemmas, rates, complexities.

After Tomihari and Sato, arXiv 2502.00213, in the form derived here for block-diagonal quadratics. `length` is the factor by
which a step multiplies -g or -sign(g): the learning rate, or that of the rules gd-lambda and sign-lambda.
"""

import numpy as np
import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import Total
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.quantities import LARGEST_ENUMERATED
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import EIGENBASIS, concludes, e, equal, lam
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import Symbol

__all__ = ["SIGN", "norm_against_gap", "telescope"]

eta, P, Lambda_P, mu, L, nu, t = (
    Symbol.eta,
    Symbol.P,
    Symbol.Lambda_P,
    Symbol.mu,
    Symbol.L,
    Symbol.nu,
    Symbol.t,
)
gap, gap_0, n1, n2, Lambda_G, length = (
    Symbol.gap,
    Symbol.gap_0,
    Symbol.norm1,
    Symbol.norm2_squared,
    Symbol.Lambda_G,
    Symbol.length,
)
_SIZE = P * Lambda_P
_step = sp.Symbol("eta_t", nonnegative=True)
_next = sp.Symbol("gap_next", nonnegative=True)


def _with_totals(name: str, totals: dict[sp.Expr, sp.Expr]) -> sp.Expr:
    """Return the step of a rule as a function of g, with the given values for its sums over the problem."""
    expression = RULES[name].step.subs({Total(inner): value for inner, value in totals.items()})
    return expression.subs(rule_symbols.lr, eta).doit()


def _gradient_lemma() -> tuple[Step, ...]:
    g = rule_symbols.g
    after, _ = advance(RULES["gd"], e, lam * e, values={rule_symbols.lr: eta})
    top, z = sp.Symbol("L_l", positive=True), sp.Symbol("z", real=True)
    return (
        EIGENBASIS,
        Step(equal(after, e - eta * lam * e), "a step of the rule gd is e <- e - eta g, and g = lambda e in each mode"),
        Step(
            equal(
                _with_totals("gd-lambda", {g**2: n2, rule_symbols.L_l * g**2: Lambda_G * n2}),
                -(eta / Lambda_G) * g,
            ),
            "a step of the rule gd-lambda is the same with eta/Lambda_G, as sum L_l |g_l|^2 = Lambda_G |g|^2",
        ),
        Step(
            equal(
                lam * (e - _step * lam * e) ** 2 / 2,
                lam * e**2 / 2 - _step * (lam * e) ** 2 + _step**2 / 2 * lam * (lam * e) ** 2,
            ),
            "each mode: gap_next = gap - eta |g|^2 + (eta^2/2) g'Hg",
        ),
        Step(
            sp.Le(lam * z**2, top * z**2),
            "g_l'H_l g_l <= L_l |g_l|^2, mode by mode: L_l |g_l|^2 - g_l'H_l g_l = sum (L_l - lambda) z^2",
            (sp.Le(lam, top),),
        ),
        _SUMMED,
        Step(
            equal(
                _step * n2 - _step**2 / 2 * Lambda_G * n2,
                n2 / (2 * Lambda_G) - Lambda_G * n2 / 2 * (_step - 1 / Lambda_G) ** 2,
            ),
            "completing the square: the decrease is largest at eta = 1/Lambda_G, and there |g|^2/(2 Lambda_G)",
        ),
    )


_a, _b, _c, _d = sp.symbols("a b c d", real=True)
_SUMMED = Step(
    sp.Le(_a + _c, _b + _d),
    "summation: what holds for every part holds for the sum of two, and by induction for the sum over modes and blocks",
    (sp.Le(_a, _b), sp.Le(_c, _d)),
)


def _sign_lemma() -> tuple[Step, ...]:
    g, s, top = rule_symbols.g, sp.Symbol("s", real=True), sp.Symbol("L_l", positive=True)
    x = sp.Symbol("x", real=True)
    after, _ = advance(RULES["signsgd"], e, g, values={rule_symbols.lr: eta})
    return (
        EIGENBASIS,
        Step(equal(after, e - eta * sp.sign(g)), "a step of the rule signsgd is e <- e - eta s, s = sign(g)"),
        Step(
            equal(
                _with_totals("sign-lambda", {sp.Abs(g): n1, rule_symbols.L_l: _SIZE}),
                -(eta * n1 / _SIZE) * sp.sign(g),
            ),
            "a step of the rule sign-lambda is the same with eta |g|_1/(P Lambda_P), as sum_i L_l(i) = P Lambda_P",
        ),
        Step(
            equal(lam * (x - _step * s) ** 2 / 2, lam * x**2 / 2 - _step * s * (lam * x) + _step**2 / 2 * lam * s**2),
            "each mode, with x and s the parts of e and sign(g) on it: gap_next = gap - eta s'g + (eta^2/2) s'Hs",
        ),
        Step(equal(sp.sign(g) * g, sp.Abs(g)), "s'g = |g|_1, coordinate by coordinate"),
        Step("s_l'H_l s_l <= L_l |s_l|^2", "Rayleigh quotient"),
        Step(
            sp.Le(top * sp.sign(g) ** 2, top),
            "and |s_l|^2 <= P_l, as sign(g)^2 <= 1 in every coordinate (0 where g is 0)",
        ),
        _SUMMED,
        Step(
            equal(
                _step * n1 - _step**2 / 2 * _SIZE,
                n1**2 / (2 * _SIZE) - _SIZE / 2 * (_step - n1 / _SIZE) ** 2,
            ),
            "completing the square: the decrease is largest at eta = |g|_1/(P Lambda_P), and there |g|_1^2/(2 P Lambda_P)",
        ),
    )


def telescope() -> tuple[Step, ...]:
    """Return the proof steps from a smallest decrease per step to a number of steps."""
    start, now, d, steps = sp.symbols("gap_0 gap d t", nonnegative=True)
    return (
        Step(
            sp.Le(_next, start - (steps + 1) * d),
            "induction: if gap_t <= gap_0 - t d and a step decreases by d at least, then gap_(t+1) <= gap_0 - (t+1) d",
            (sp.Le(now, start - steps * d), sp.Le(_next, now - d)),
        ),
        Step(
            sp.Le(steps, start / d),
            "gaps are not negative: t <= gap_0/d",
            (sp.Le(0, start - steps * d), sp.Gt(d, 0)),
        ),
    )


def _gradient_complexity() -> tuple[Step, ...]:
    smallest, largest, now, here = sp.symbols(
        "least_norm2_g_squared largest_Lambda_G norm2_g_squared Lambda_G", positive=True
    )
    x, y = sp.symbols("x y", nonnegative=True)
    return (
        *_gradient_lemma(),
        Step(
            sp.Ge(now / (2 * here), smallest / (2 * largest)),
            "every step before t decreases the gap by (min |g|^2)/(2 max Lambda_G) at least, and min |g|^2 > P delta^2",
            (sp.Ge(now, smallest), sp.Le(here, largest)),
        ),
        *telescope(),
        Step(
            sp.Le((x + y) ** 2, 2 * (x**2 + y**2)),
            "|g|_1 <= sqrt(P) |g|_2 (two coordinates; by induction all), so the bound holds for |g|_1 <= P delta too",
        ),
    )


def _sign_complexity() -> tuple[Step, ...]:
    smallest, now = sp.symbols("least_norm1_g norm1_g", positive=True)
    size = sp.Symbol("S", positive=True)
    return (
        *_sign_lemma(),
        Step(
            sp.Ge(now**2 / (2 * size), smallest**2 / (2 * size)),
            "every step before t decreases the gap by (min |g|_1)^2/(2 P Lambda_P) at least, and min |g|_1 > P delta",
            (sp.Ge(now, smallest),),
        ),
        *telescope(),
    )


def _gradient_rate() -> tuple[Step, ...]:
    square = sp.Symbol("norm2_g_squared", nonnegative=True)
    now = sp.Symbol("gap", nonnegative=True)
    return (
        *_gradient_lemma(),
        Step(
            sp.Ge((lam * e) ** 2, 2 * mu * (lam * e**2 / 2)),
            "|g|^2 >= 2 mu gap, mode by mode",
            (sp.Le(mu, lam),),
        ),
        _SUMMED,
        Step(
            equal(
                (_step * n2 - _step**2 / 2 * Lambda_G * n2).subs(_step, eta / Lambda_G),
                eta * (2 - eta) * n2 / (2 * Lambda_G),
            ),
            "at eta_t = eta/Lambda_G the decrease is eta (2 - eta) |g|^2/(2 Lambda_G)",
        ),
        Step(
            sp.Ge(eta * (2 - eta) * square / (2 * Lambda_G), eta * (2 - eta) * mu / Lambda_G * now),
            "so at least eta (2 - eta) (mu/Lambda_G) gap",
            (sp.Ge(square, 2 * mu * now), sp.Le(eta, 2)),
        ),
    )


def _gradient_rate_uniform() -> tuple[Step, ...]:
    share, other, top = sp.symbols("p L_l L_k", nonnegative=True)
    return (
        *_gradient_rate(),
        Step(
            sp.Le(share * top + (1 - share) * other, L),
            "Lambda_G is a weighted mean of the L_l (of two; by induction of all), so at most L",
            (sp.Le(share, 1), sp.Le(top, L), sp.Le(other, L)),
        ),
        Step(
            sp.Le(1 - eta * (2 - eta) * mu / Lambda_G, 1 - eta * (2 - eta) * mu / L),
            "and the factor is at most the one with L",
            (sp.Le(Lambda_G, L), sp.Le(eta, 2)),
        ),
    )


def norm_against_gap() -> tuple[Step, ...]:
    """Return the proof steps of |g|_1^2 >= 2 nu gap."""
    a, b, c = sp.symbols("A_ii A_jj A_ij", real=True)
    top = sp.Symbol("A_max", positive=True)
    x, y = sp.symbols("x y", real=True)
    now, norm = sp.symbols("gap norm1_g", nonnegative=True)
    return (
        Step(
            "gap = 1/2 g'Ag with A = H^-1, which is symmetric positive definite, with 1/lambda on the eigenvectors of H",
            "spectral theorem",
        ),
        Step(
            sp.Ge(a * b - c**2, 0),
            "|A_ij| <= sqrt(A_ii A_jj): the quadratic form on coordinates i, j, taken at (A_jj, -A_ij), is not negative",
            (sp.Ge(a * b**2 - 2 * c**2 * b + b * c**2, 0), sp.Gt(b, 0)),
        ),
        Step(
            sp.Le(c**2, top**2),
            "so |A_ij| <= max_i A_ii = 1/nu",
            (sp.Ge(a * b - c**2, 0), sp.Le(a, top), sp.Le(b, top), sp.Ge(a, 0), sp.Ge(b, 0)),
        ),
        Step(
            sp.Le(c * x * y, top * sp.Abs(x) * sp.Abs(y)),
            "each term of g'Ag is at most (1/nu) |g_i| |g_j|; summed over i and j: 2 gap <= |g|_1^2/nu",
            (sp.Le(c, top), sp.Ge(c, -top)),
        ),
        _SUMMED,
        Step(
            sp.Ge(norm**2, 2 * nu * now),
            "that is |g|_1^2 >= 2 nu gap",
            (sp.Le(2 * now, norm**2 / nu),),
        ),
    )


def _sign_rate() -> tuple[Step, ...]:
    size = sp.Symbol("S", positive=True)
    now, norm = sp.symbols("gap norm1_g", nonnegative=True)
    return (
        *_sign_lemma(),
        *norm_against_gap(),
        Step(
            equal(
                (_step * norm - _step**2 / 2 * size).subs(_step, eta * norm / size),
                eta * (2 - eta) * norm**2 / (2 * size),
            ),
            "with S = P Lambda_P, at eta_t = eta |g|_1/S the decrease is eta (2 - eta) |g|_1^2/(2 S)",
        ),
        Step(
            sp.Ge(eta * (2 - eta) * norm**2 / (2 * size), eta * (2 - eta) * nu / size * now),
            "so at least eta (2 - eta) (nu/S) gap",
            (sp.Ge(norm**2, 2 * nu * now), sp.Le(eta, 2)),
        ),
    )


def _sign_rate_inf() -> tuple[Step, ...]:
    size, form = sp.symbols("S L_inf", positive=True)
    now, norm = sp.symbols("gap norm1_g", nonnegative=True)
    factor = 1 - eta * nu / size * (2 - eta * form / size)
    return (
        *_sign_lemma(),
        *norm_against_gap(),
        Step(
            equal(
                (_step * norm - _step**2 / 2 * form).subs(_step, eta * norm / size),
                norm**2 / (2 * size) * eta * (2 - eta * form / size),
            ),
            "s'Hs <= L_inf by definition (a sign that is 0 lies between -1 and 1, and a convex function is largest at an end)",
        ),
        Step(
            sp.Ge(
                norm**2 / (2 * size) * eta * (2 - eta * form / size), eta * nu / size * (2 - eta * form / size) * now
            ),
            "so the decrease is at least eta (nu/S) (2 - eta L_inf/S) gap",
            (sp.Ge(norm**2, 2 * nu * now), sp.Le(eta * form, 2 * size)),
        ),
        Step(
            equal(factor.subs(eta, size / form), 1 - nu / form),
            "at eta = S/L_inf, the step |g|_1/L_inf, the factor is 1 - nu/L_inf",
        ),
    )


def _sign_constant() -> tuple[Step, ...]:
    start, now, size, norm, least = sp.symbols("gap_0 gap S norm1_g least_norm1_g", nonnegative=True)
    steps, rate = sp.symbols("t eta", positive=True)
    return (
        *_sign_lemma(),
        Step(
            sp.Le(_next, start - (steps + 1) * (rate * least - rate**2 / 2 * size)),
            "induction: gap_(t+1) <= gap_0 - (t+1) (eta min |g|_1 - (eta^2/2) P Lambda_P)",
            (
                sp.Le(now, start - steps * (rate * least - rate**2 / 2 * size)),
                sp.Le(_next, now - rate * norm + rate**2 / 2 * size),
                sp.Le(least, norm),
            ),
        ),
        Step(
            sp.Le(least, start / (rate * steps) + rate * size / 2),
            "gaps are not negative",
            (sp.Le(0, start - steps * (rate * least - rate**2 / 2 * size)),),
        ),
        Step(
            equal(
                gap_0 / (eta * Symbol.t) + eta * _SIZE / 2 - sp.sqrt(2 * gap_0 * _SIZE / Symbol.t),
                _SIZE / (2 * eta) * (eta - sp.sqrt(2 * gap_0 / (Symbol.t * _SIZE))) ** 2,
            ),
            "the bound is smallest at eta = sqrt(2 gap_0/(T P Lambda_P)): it exceeds its value there by a square",
            (sp.Ge(Symbol.t, 1),),
        ),
    )


_FROM_T = "After Tomihari and Sato, arXiv 2502.00213"
_DERIVED = f"{_FROM_T}, in the form derived here for block-diagonal quadratics."
_AT_BEST = Hypothesis.of(sp.Eq(eta, 1, evaluate=False), "lr = 1, the step of the lemma")
_RATE_RANGE = Hypothesis.of(sp.Le(eta, 2), "lr <= 2")

SIGN = (
    Theorem(
        name="gradient-descent-lemma",
        rules=("gd", "sgd", "gd-lambda"),
        statement=r"f(w - \eta g) \le f(w) - \eta |g|_2^2 + \tfrac{\eta^2}{2} \Lambda_G(w) |g|_2^2",
        kind="per step",
        bound=1 - length * n2 / gap + length**2 * Lambda_G * n2 / (2 * gap),
        tight="where the gradient of every block lies in its eigenspace of L_l; best at eta = 1/Lambda_G",
        argument=_gradient_lemma,
        conclusion=lambda bound: concludes(bound * gap, gap - length * n2 + length**2 / 2 * Lambda_G * n2),
        source=_DERIVED,
    ),
    Theorem(
        name="sign-descent-lemma",
        rules=("signsgd", "sign-lambda"),
        statement=r"f(w - \eta\,\mathrm{sign}\,g) \le f(w) - \eta |g|_1 + \tfrac{\eta^2}{2} P \Lambda_P",
        kind="per step",
        bound=1 - length * n1 / gap + length**2 * _SIZE / (2 * gap),
        tight="where sign(g_l) lies in the eigenspace of L_l in every block, as in blocks of one; best at |g|_1/(P Lambda_P)",
        argument=_sign_lemma,
        conclusion=lambda bound: concludes(bound * gap, gap - length * n1 + length**2 / 2 * (P * Lambda_P)),
        source=_DERIVED,
    ),
    Theorem(
        name="gradient-complexity",
        rules=("gd-lambda",),
        statement=(
            r"T = \min\{t \ge 1: |g_t|_2 \le \sqrt P\,\delta\} \le \frac{2 (f(w_0) - f^*) \max_{t<T} \Lambda_G(w_t)}{P\delta^2}"
            r"\quad\text{for every } \delta \text{ with } |g_0|_2 > \sqrt P\,\delta"
        ),
        hypotheses=(_AT_BEST,),
        kind="complexity",
        bound=2 * gap_0 * Symbol.largest_Lambda_G / Symbol.least_norm2_squared,
        argument=_gradient_complexity,
        conclusion=lambda bound: concludes(bound, gap_0 / (Symbol.least_norm2_squared / (2 * Symbol.largest_Lambda_G))),
        source=f"{_DERIVED} Checked for all delta at once: no step before t is within delta as long as P delta^2 < min |g|_2^2.",
    ),
    Theorem(
        name="sign-complexity",
        rules=("sign-lambda",),
        statement=(
            r"T = \min\{t \ge 1: |g_t|_1 \le P\delta\} \le \frac{2 (f(w_0) - f^*) \Lambda_P}{P\delta^2}"
            r"\quad\text{for every } \delta \text{ with } |g_0|_1 > P\delta"
        ),
        hypotheses=(_AT_BEST,),
        kind="complexity",
        bound=2 * gap_0 * _SIZE / Symbol.least_norm1**2,
        argument=_sign_complexity,
        conclusion=lambda bound: concludes(bound, gap_0 / (Symbol.least_norm1**2 / (2 * P * Lambda_P))),
        source=f"{_DERIVED} Checked for all delta at once: no step before t is within delta as long as P delta < min |g|_1.",
    ),
    Theorem(
        name="gradient-rate",
        rules=("gd-lambda",),
        statement=r"f(w_{t+1}) - f^* \le \Big(1 - \eta(2-\eta)\frac{\mu}{\Lambda_G(w_t)}\Big)(f(w_t) - f^*)",
        hypotheses=(_RATE_RANGE,),
        kind="per step",
        bound=1 - eta * (2 - eta) * mu / Lambda_G,
        tight="for H a multiple of the identity",
        argument=_gradient_rate,
        conclusion=lambda bound: concludes(bound * gap, gap - eta * (2 - eta) * mu / Lambda_G * gap),
        source=f"{_FROM_T}; the rate is an extension derived here. At lr = 1 the factor is 1 - mu/Lambda_G.",
    ),
    Theorem(
        name="gradient-rate-uniform",
        rules=("gd-lambda",),
        statement=r"f(w_{t+1}) - f^* \le \Big(1 - \eta(2-\eta)\frac{\mu}{L}\Big)(f(w_t) - f^*)",
        hypotheses=(_RATE_RANGE,),
        kind="per step",
        bound=1 - eta * (2 - eta) * mu / L,
        tight="for H a multiple of the identity",
        argument=_gradient_rate_uniform,
        conclusion=lambda bound: concludes(bound * gap, gap - eta * (2 - eta) * mu / L * gap),
        source="gradient-rate with Lambda_G <= L, which needs nothing that a sweep does not record.",
    ),
    Theorem(
        name="sign-rate",
        rules=("sign-lambda",),
        statement=(
            r"f(w_{t+1}) - f^* \le \Big(1 - \eta(2-\eta)\frac{\nu}{P\Lambda_P}\Big)(f(w_t) - f^*),\quad"
            r" \nu = \frac{1}{\max_i (H^{-1})_{ii}}"
        ),
        hypotheses=(_RATE_RANGE,),
        kind="per step",
        bound=1 - eta * (2 - eta) * nu / _SIZE,
        tight="for one coordinate",
        argument=_sign_rate,
        conclusion=lambda bound: concludes(bound * gap, gap - eta * (2 - eta) * nu / (P * Lambda_P) * gap),
        source=f"{_FROM_T}; the rate is an extension derived here. At lr = 1 the factor is 1 - nu/(P Lambda_P).",
    ),
    Theorem(
        name="sign-rate-inf",
        rules=("sign-lambda",),
        statement=(
            r"f(w_{t+1}) - f^* \le \Big(1 - \eta\frac{\nu}{P\Lambda_P}\Big(2 - \eta\frac{L_\infty}{P\Lambda_P}\Big)\Big)"
            r"(f(w_t) - f^*),\quad L_\infty = \sum_l \max_{s \in \{-1,1\}^{P_l}} s'H_l s"
        ),
        hypotheses=(
            Hypothesis(
                f"blocks of at most {LARGEST_ENUMERATED} coordinates, whose signs are enumerated",
                lambda run: np.array(max(run.problem.block_sizes) <= LARGEST_ENUMERATED),
                seen=lambda run: {"in the largest": np.array(max(run.problem.block_sizes))},
                exactly=lambda problem, settings: all(b.nrows() <= LARGEST_ENUMERATED for b in problem.blocks),
            ),
            Hypothesis.of(sp.Le(eta * Symbol.L_inf, 2 * _SIZE), "lr <= 2 P Lambda_P/L_inf"),
        ),
        kind="per step",
        bound=1 - eta * nu / _SIZE * (2 - eta * Symbol.L_inf / _SIZE),
        tight="for one coordinate",
        argument=_sign_rate_inf,
        conclusion=lambda bound: concludes(
            bound * gap, gap - eta * nu / (P * Lambda_P) * (2 - eta * Symbol.L_inf / (P * Lambda_P)) * gap
        ),
        source=f"{_FROM_T}; an extension derived here. At lr = P Lambda_P/L_inf the factor is 1 - nu/L_inf.",
    ),
    Theorem(
        name="sign-constant",
        rules=("signsgd",),
        statement=r"\min_{t<T} |g_t|_1 \le \frac{f(w_0) - f^*}{\eta T} + \frac{\eta P \Lambda_P}{2}",
        kind="horizon",
        quantity=Symbol.least_norm1,
        bound=gap_0 / (eta * t) + eta * _SIZE / 2,
        argument=_sign_constant,
        conclusion=lambda bound: concludes(bound, (gap_0 + t * eta**2 * P * Lambda_P / 2) / (eta * t), (sp.Ge(t, 1),)),
        source=f"{_DERIVED} The rate that minimises the bound is sqrt(2 gap_0/(T P Lambda_P)).",
    ),
)
