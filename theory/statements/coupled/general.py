"""Descent in any norm, and Tomihari and Sato's statements in their own generality (docs/theory.md section 10).

Theirs are about any twice differentiable f on a region where the Hessian is rho-Lipschitz and its part off the diagonal blocks
has spectral norm delta at most. A quadratic has rho = 0, so that runs check the share of delta; on a network `quadsim inspect`
reports delta/Lambda_G along training, which says whether the theorems speak of it at all.
"""

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import Total
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.sign import telescope
from quadsim.theory.statements.steps import EIGENBASIS, concludes, e, equal, lam
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import MinOver, Symbol

__all__ = ["GENERAL"]

eta, c, delta, gap, gap_0, length = (
    Symbol.eta,
    Symbol.coupling,
    Symbol.off_block,
    Symbol.gap,
    Symbol.gap_0,
    Symbol.length,
)
n1, n2, P, L, L_l = Symbol.norm1, Symbol.norm2_squared, Symbol.P, Symbol.L, Symbol.L_D_l
Lambda_G, Lambda_D, dual, S = Symbol.Lambda_G, Symbol.Lambda_D, Symbol.dual_norm, Symbol.norm_smoothness

_x, _y, _d = sp.symbols("x y d", real=True)
_step, _norm, _form = sp.symbols("eta_t q form", nonnegative=True)
_now = sp.Symbol("gap", nonnegative=True)


def _descent(largest: sp.Expr, because: str) -> Step:
    """Return the step from a bound of d'Hd to a bound of the gap after a step eta_t along d, with g'd = q."""
    return Step(
        sp.Le(_now - _step * _norm + _step**2 / 2 * _form, _now - _step * _norm + _step**2 / 2 * largest),
        because,
        (sp.Le(_form, largest),),
    )


def _steepest() -> tuple[Step, ...]:
    g, part, size = rule_symbols.g, sp.Symbol("x_d", real=True), sp.Symbol("n", positive=True)
    after, _ = advance(RULES["signsgd"], e, g, values={rule_symbols.lr: eta})
    normalized = RULES["normalized-gd"].step.subs(Total(g**2), size**2).subs(rule_symbols.lr, eta).doit()
    limit, smooth = sp.symbols("S T", nonnegative=True)
    return (
        EIGENBASIS,
        Step(equal(after, e - eta * sp.sign(g)), "a step of signsgd is e <- e - eta d with d = sign(g)"),
        Step(equal(normalized, -eta * g / size), "a step of normalized-gd is the same with d = g/|g|_2"),
        Step(
            sp.Le(_x * _d, sp.Abs(_x)),
            "|d|_inf <= 1 gives g'd <= |g|_1, coordinate by coordinate",
            (sp.Le(_d, 1), sp.Ge(_d, -1)),
        ),
        Step(equal(sp.sign(g) * g, sp.Abs(g)), "which d = sign(g) attains"),
        Step(
            sp.Le(_x * _d, (_x**2 / size + size * _d**2) / 2),
            "|d|_2 <= 1 gives g'd <= (|g|_2^2/n + n |d|_2^2)/2 <= |g|_2 at n = |g|_2, and so within each of several blocks: "
            "g'd <= sum_l |g_l|_2 where |d_l|_2 <= 1 for all l",
        ),
        Step(equal(size**2 / size, size), "which d = g/|g|_2 attains: g'g/|g|_2 = |g|_2"),
        Step(
            equal(
                lam * (_x - _step * part) ** 2 / 2,
                lam * _x**2 / 2 - _step * part * (lam * _x) + _step**2 / 2 * lam * part**2,
            ),
            "each mode, with x and x_d the parts of e and d: gap_next = gap - eta g'd + (eta^2/2) d'Hd",
        ),
        _descent(limit, "d'Hd <= S, the smoothness in this norm: gap_next <= gap - eta |g|_* + (eta^2/2) S"),
        Step(
            equal(_step * dual - _step**2 / 2 * S, dual**2 / (2 * S) - S / 2 * (_step - dual / S) ** 2),
            "completing the square: the decrease is largest at eta = |g|_*/S, and there |g|_*^2/(2 S)",
        ),
        Step(
            equal(
                _step * n2 - _step**2 / 2 * Lambda_G * n2, (_step * size) * size - (_step * size) ** 2 / 2 * Lambda_G
            ),
            "gradient-descent-lemma follows: a step eta g is one of length eta |g|_2 along g/|g|_2, where d'Hd <= Lambda_G",
            (equal(n2, size**2),),
        ),
        Step(
            sp.Le(smooth, (1 + c) * limit),
            "with a coupling d'Hd <= (1+c) d'Dd, which gives the lemmas with (1+c) Lambda",
            (sp.Le(smooth, (1 + c) * _form), sp.Le(_form, limit)),
        ),
        Step(
            sp.Le(L_l * _d**2, L_l),
            "sign-descent-lemma follows: where |d_i| <= 1, d'Dd <= sum_l L_l |d_l|_2^2 <= sum_l L_l P_l = P Lambda_P; and where "
            "|d_l|_2 <= 1 for all l, d'Dd <= sum_l L_l",
            (sp.Le(_d, 1), sp.Ge(_d, -1)),
        ),
    )


_rho, _length = sp.symbols("rho h", nonnegative=True)
_along, _s, _t = sp.symbols("h'Hh s t", real=True)
_TAYLOR = (
    Step(
        equal(
            sp.integrate(sp.integrate(_along + _rho * _t * _length**3, (_t, 0, _s)), (_s, 0, 1)),
            _along / 2 + _rho * _length**3 / 6,
        ),
        "the Hessian is rho-Lipschitz: the second derivative of f(w + t h) in t is at most h'Hh + rho t |h|^3; integrated twice, "
        "f(w + h) <= f + g'h + h'Hh/2 + rho |h|^3/6",
    ),
    Step(
        sp.Le(_form, _norm + delta * _length**2),
        "|H - D|_2 <= delta: h'Hh <= h'Dh + delta |h|^2, with h'Dh <= q",
        (sp.Le(_form, _y + delta * _length**2), sp.Le(_y, _norm)),
    ),
)


def _gradient_general() -> tuple[Step, ...]:
    size = sp.Symbol("n", positive=True)
    after, _ = advance(RULES["gd"], e, rule_symbols.g, values={rule_symbols.lr: eta})
    return (
        Step(equal(after, e - eta * rule_symbols.g), "a step of gd is h = -eta g"),
        *_TAYLOR,
        Step(
            equal(
                -_step * size**2
                + (_step**2 * (Lambda_G * size**2) + delta * (_step * size) ** 2) / 2
                + _rho * (_step * size) ** 3 / 6,
                -_step * size**2 + _step**2 / 2 * (Lambda_G + delta) * size**2 + _rho * _step**3 / 6 * size**3,
            ),
            "with g'Dg <= sum_l L_l |g_l|^2 = Lambda_G |g|^2: "
            "f - eta |g|^2 + (eta^2/2)(Lambda_G + delta)|g|^2 + (rho eta^3/6)|g|^3",
        ),
    )


def _sign_general() -> tuple[Step, ...]:
    root, size = sp.symbols("p n", positive=True)  # p = sqrt(P), n = |g|_1
    after, _ = advance(RULES["signsgd"], e, rule_symbols.g, values={rule_symbols.lr: eta})
    return (
        Step(equal(after, e - eta * sp.sign(rule_symbols.g)), "a step of signsgd is h = -eta sign(g)"),
        *_TAYLOR,
        Step(sp.Le(sp.sign(rule_symbols.g) ** 2, 1), "|sign(g)|_2^2 <= P, coordinate by coordinate"),
        Step(
            equal(
                -_step * size
                + (_step**2 * (root**2 * Lambda_D) + delta * _step**2 * root**2) / 2
                + _rho * (_step * root) ** 3 / 6,
                -_step * size + _step**2 / 2 * root**2 * (Lambda_D + delta) + _rho * _step**3 / 6 * root**3,
            ),
            "with s'Ds <= sum_l L_l P_l = P Lambda_P, p = sqrt(P): "
            "f - eta |g|_1 + (eta^2/2) P (Lambda_P + delta) + (rho eta^3/6) p^3",
        ),
    )


def _gradient_six() -> tuple[Step, ...]:
    size, top = sp.symbols("n Lambda", positive=True)
    return (
        *_gradient_general(),
        Step(
            sp.Le((top + delta) / (2 * top**2) * size**2, 2 * size**2 / (3 * top)),
            "at eta = 1/Lambda_G the second term is at most 2 |g|^2/(3 Lambda_G), as delta <= Lambda_G/3",
            (sp.Le(3 * delta, top),),
        ),
        Step(
            sp.Le(_rho * size**3 / (6 * top**3), size**2 / (6 * top)),
            "and the third at most |g|^2/(6 Lambda_G), as rho |g| <= Lambda_G^2",
            (sp.Le(_rho * size, top**2),),
        ),
        Step(
            equal(-(size**2) / top + 2 * size**2 / (3 * top) + size**2 / (6 * top), -(size**2) / (6 * top)),
            "together the step decreases f by |g|^2/(6 Lambda_G) at least",
        ),
    )


def _sign_six() -> tuple[Step, ...]:
    size, top, root = sp.symbols("n Lambda p", positive=True)
    return (
        *_sign_general(),
        Step(
            sp.Le(size**2 * (top + delta) / (2 * root**2 * top**2), 2 * size**2 / (3 * root**2 * top)),
            "at eta = |g|_1/(P Lambda_P) the second term is at most 2 |g|_1^2/(3 P Lambda_P), as delta <= Lambda_P/3",
            (sp.Le(3 * delta, top),),
        ),
        Step(
            sp.Le(_rho * size**3 / (6 * root**3 * top**3), size**2 / (6 * root**2 * top)),
            "and the third at most |g|_1^2/(6 P Lambda_P), as rho |g|_1 <= sqrt(P) Lambda_P^2",
            (sp.Le(_rho * size, root * top**2),),
        ),
        Step(
            equal(
                -(size**2) / (root**2 * top) + 2 * size**2 / (3 * root**2 * top) + size**2 / (6 * root**2 * top),
                -(size**2) / (6 * root**2 * top),
            ),
            "together the step decreases f by |g|_1^2/(6 P Lambda_P) at least",
        ),
    )


def _gradient_complexity() -> tuple[Step, ...]:
    smallest, largest, now, here = sp.symbols(
        "least_norm2_g_squared largest_Lambda_G norm2_g_squared Lambda_G", positive=True
    )
    return (
        *_gradient_six(),
        Step(
            sp.Ge(now / (6 * here), smallest / (6 * largest)),
            "every step before t decreases f by (min |g|^2)/(6 max Lambda_G) at least",
            (sp.Ge(now, smallest), sp.Le(here, largest)),
        ),
        *telescope(),
        Step(
            sp.Le((_x + _y) ** 2, 2 * (_x**2 + _y**2)),
            "|g|_1 <= sqrt(P) |g|_2 (two coordinates; by induction all), so the bound holds for |g|_1 <= P eps too",
        ),
    )


def _sign_complexity() -> tuple[Step, ...]:
    smallest, now, size = sp.symbols("least_norm1_g norm1_g S", positive=True)
    return (
        *_sign_six(),
        Step(
            sp.Ge(now**2 / (6 * size), smallest**2 / (6 * size)),
            "every step before t decreases f by (min |g|_1)^2/(6 S) at least, S = P Lambda_P",
            (sp.Ge(now, smallest),),
        ),
        *telescope(),
    )


_SOURCE = (
    "Tomihari and Sato, arXiv 2502.00213, in their generality, with the constant 6 re-derived here; checked on quadratics, where "
    "rho = 0"
)
_REGION = r"\text{Hess } f \ \rho\text{-Lipschitz},\ |H - \mathrm{blkdiag} H|_2 \le \delta \Rightarrow "
_AT_ONE = Hypothesis.of(sp.Eq(eta, 1, evaluate=False), "lr = 1, the step of the lemma")
_SMALL_FOR_G = Hypothesis.of(sp.Le(3 * delta, MinOver(L_l)), "delta <= min_l L_l/3, which is at most Lambda_G/3")
_SMALL_FOR_P = Hypothesis.of(sp.Le(3 * delta, Lambda_D), "delta <= Lambda_P/3")

GENERAL = (
    Theorem(
        name="steepest-descent-lemma",
        rules=("normalized-gd", "signsgd"),
        statement=(
            r"f(w - \eta d) \le f(w) - \eta |g|_* + \tfrac{\eta^2}{2} S,\quad"
            r" |g|_* = \max_{|d|\le1} g'd = g'd,\ S = \max_{|d|\le1} d'Hd"
        ),
        bound=1 - length * dual / gap + length**2 * S / (2 * gap),
        tight="where d attains S; best at eta = |g|_*/S",
        argument=_steepest,
        conclusion=lambda bound: concludes(bound * gap, gap - length * dual + length**2 / 2 * S),
        source=(
            "Steepest descent in a norm, in the form derived here: |g|_2 with L, |g|_1 with L_inf, sum_l |g_l|_2 with the "
            "maximum over unit block vectors. gradient-descent-lemma and sign-descent-lemma follow from it."
        ),
    ),
    Theorem(
        name="gradient-descent-lemma-general",
        rules=("gd", "sgd", "gd-lambda"),
        statement=_REGION
        + r"f(w - \eta g) \le f - \eta |g|_2^2 + \tfrac{\eta^2}{2}(\Lambda_G + \delta)|g|_2^2 + \tfrac{\rho\eta^3}{6}|g|_2^3",
        any_partition=True,
        bound=1 - length * n2 / gap + length**2 * (Lambda_G + delta) * n2 / (2 * gap),
        tight="for delta = rho = 0, where it is gradient-descent-lemma",
        argument=_gradient_general,
        conclusion=lambda bound: concludes(bound * gap, gap - length * n2 + length**2 / 2 * (Lambda_G + delta) * n2),
        source=f"{_SOURCE}.",
    ),
    Theorem(
        name="sign-descent-lemma-general",
        rules=("signsgd", "sign-lambda"),
        statement=_REGION
        + (
            r"f(w - \eta\,\mathrm{sign}\,g) \le f - \eta |g|_1 + \tfrac{\eta^2}{2} P (\Lambda_P + \delta)"
            r" + \tfrac{\rho\eta^3}{6} P^{3/2}"
        ),
        any_partition=True,
        bound=1 - length * n1 / gap + length**2 * P * (Lambda_D + delta) / (2 * gap),
        tight="for delta = rho = 0, where it is sign-descent-lemma",
        argument=_sign_general,
        conclusion=lambda bound: concludes(bound * gap, gap - length * n1 + length**2 / 2 * P * (Lambda_D + delta)),
        source=f"{_SOURCE}.",
    ),
    Theorem(
        name="gradient-complexity-general",
        rules=("gd-lambda",),
        statement=(
            r"\delta \le \tfrac{\Lambda_G}{3},\ \rho |g_t|_2 \le \Lambda_G^2 \Rightarrow"
            r" T = \min\{t \ge 1: |g_t|_2 \le \sqrt P\,\epsilon\}"
            r" \le \frac{6 (f(w_0) - f^*) \max_{t<T} \Lambda_G(w_t)}{P\epsilon^2}"
        ),
        hypotheses=(_AT_ONE, _SMALL_FOR_G),
        kind="complexity",
        any_partition=True,
        bound=6 * gap_0 * Symbol.largest_Lambda_G / Symbol.least_norm2_squared,
        argument=_gradient_complexity,
        conclusion=lambda bound: concludes(bound, gap_0 / (Symbol.least_norm2_squared / (6 * Symbol.largest_Lambda_G))),
        source=f"{_SOURCE}. Checked for all eps at once.",
    ),
    Theorem(
        name="sign-complexity-general",
        rules=("sign-lambda",),
        statement=(
            r"\delta \le \tfrac{\Lambda_P}{3},\ \rho |g_t|_1 \le \sqrt P \Lambda_P^2 \Rightarrow"
            r" T = \min\{t \ge 1: |g_t|_1 \le P\epsilon\}"
            r" \le \frac{6 (f(w_0) - f^*) \Lambda_P}{P\epsilon^2}"
        ),
        hypotheses=(_AT_ONE, _SMALL_FOR_P),
        kind="complexity",
        any_partition=True,
        bound=6 * gap_0 * P * Lambda_D / Symbol.least_norm1**2,
        argument=_sign_complexity,
        conclusion=lambda bound: concludes(bound, gap_0 / (Symbol.least_norm1**2 / (6 * P * Lambda_D))),
        source=f"{_SOURCE}. Checked for all eps at once.",
    ),
)
