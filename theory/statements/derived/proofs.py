"""The derivations of the theorems: from definitions, the rule's step and the hypotheses to the statement itself."""

from collections.abc import Callable, Mapping

import sympy as sp

from quadsim.theory.statements.derived.definitions import AMPLITUDE, Q
from quadsim.theory.statements.derived.words import Steps, definition, definitions, ge, le, rule, step
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol

__all__ = ["DERIVATIONS"]

eta, t, L, mu, kappa, P, Lambda_P, nu = (
    Symbol.eta,
    Symbol.t,
    Symbol.L,
    Symbol.mu,
    Symbol.kappa,
    Symbol.P,
    Symbol.Lambda_P,
    Symbol.nu,
)
L_l, mu_l, kappa_l, C1_l, C2_l = Symbol.L_l, Symbol.mu_l, Symbol.kappa_l, Symbol.C1_l, Symbol.C2_l
lam, sigma, part = Symbol.lambda_i, Symbol.sigma_i, Symbol.part_i
gap, gap_0, gap_next = Symbol.gap, Symbol.gap_0, Symbol.gap_next
n1, n2, length, Lambda_G = Symbol.norm1, Symbol.norm2_squared, Symbol.length, Symbol.Lambda_G
_SIZE = P * Lambda_P
_AT_MOST = "lr <= min_l C1_l"


def _over_modes(factor: sp.Expr, *uses: str) -> Steps:
    """Return the steps from (a factor of every mode)^2 <= factor to gap_next <= factor gap."""
    of_rule = next(label for label in uses if label.startswith("rule "))
    now, after = (lam * x**2 / 2 for x in (Q.error_i, Q.error_next_i))
    return (
        *definitions("gap", "next gap"),
        step("every mode", le(after, factor * now), of_rule, *(u for u in uses if u != of_rule)),
        step("the gap", le(gap_next, factor * gap), "every mode", "gap", "next gap", by="sum"),
    )


def _gd_exact() -> Steps:
    power = (1 - eta * lam) ** t
    return (
        rule("gd"),
        *definitions("gap", "parts"),
        step("every mode", equal(Q.error_i, power * Q.start_i), "rule gd", by="induction"),
        step("parts of the gap", equal(lam * Q.error_i**2 / 2, part * power**2), "every mode", "parts"),
        step("the gap", equal(gap, SumOver(part * power**2)), "parts of the gap", "gap", by="sum"),
    )


def _gd_upper() -> Steps:
    top = sp.Max((1 - eta * mu) ** 2, (1 - eta * L) ** 2)
    return (
        rule("gd"),
        *definitions("eigenvalues"),
        step("worse end", le((1 - eta * lam) ** 2, top), "eigenvalues"),
        *_over_modes(top, "rule gd", "worse end"),
    )


def _block_gd() -> Steps:
    def factor(end: sp.Expr) -> sp.Expr:
        return (1 - 2 * eta * end / (L_l + mu_l)) ** 2

    top = sp.Max(factor(mu_l), factor(L_l))
    return (
        rule("block-gd"),
        *definitions("eigenvalues of a block"),
        step("worse end", le(factor(lam), top), "eigenvalues of a block"),
        step("worst block", le(top, MaxOver(top)), by="extreme"),
        step("worst of all", le(factor(lam), MaxOver(top)), "worse end", "worst block"),
        *_over_modes(MaxOver(top), "rule block-gd", "worst of all"),
    )


def _gradient_lemma() -> Steps:
    return (
        *definitions("gradient step", "Rayleigh of the gradient", "weighted smoothness"),
        step(
            "curvature",
            le(SumOver(Q.gHg_l), Lambda_G * n2),
            "Rayleigh of the gradient",
            "weighted smoothness",
            by="sum",
        ),
        step("lemma", le(gap_next, gap - length * n2 + length**2 / 2 * Lambda_G * n2), "gradient step", "curvature"),
    )


def _sign_lemma() -> Steps:
    return (
        *definitions("sign step", "Rayleigh of the signs", "signs", "mean smoothness"),
        step("block", le(Q.form_l, L_l * Symbol.P_l), "Rayleigh of the signs", "signs"),
        step("curvature", le(SumOver(Q.form_l), _SIZE), "block", "mean smoothness", by="sum"),
        step("lemma", le(gap_next, gap - length * n1 + length**2 / 2 * _SIZE), "sign step", "curvature"),
    )


def _norm_of_gradient() -> Steps:
    return (
        *definitions("eigenvalues", "norm", "gap"),
        step("norm of a mode", ge((lam * Q.error_i) ** 2, 2 * mu * (lam * Q.error_i**2 / 2)), "eigenvalues"),
        step("norm against the gap", ge(n2, 2 * mu * gap), "norm of a mode", "norm", "gap", by="sum"),
    )


def _gradient_rate() -> Steps:
    return (
        *_gradient_lemma(),
        *_norm_of_gradient(),
        rule("gd-lambda"),
        step("decrease", le(gap_next, gap - eta * (2 - eta) / (2 * Lambda_G) * n2), "lemma", "rule gd-lambda"),
        step(
            "rate",
            le(gap_next, (1 - eta * (2 - eta) * mu / Lambda_G) * gap),
            "decrease",
            "norm against the gap",
            "lr <= 2",
        ),
    )


def _gradient_rate_uniform() -> Steps:
    block = Symbol.norm2_squared_l
    return (
        *_gradient_rate(),
        *definitions("blocks", "norm by blocks"),
        step("a block's part", le(L_l * block, L * block), "blocks"),
        step(
            "weighted", le(Lambda_G * n2, L * n2), "a block's part", "weighted smoothness", "norm by blocks", by="sum"
        ),
        step("at most L", le(Lambda_G, L), "weighted"),
        step("uniform rate", le(gap_next, (1 - eta * (2 - eta) * mu / L) * gap), "rate", "at most L", "lr <= 2"),
    )


def _sign_rate() -> Steps:
    return (
        *_sign_lemma(),
        *definitions("norm against gap"),
        rule("sign-lambda"),
        step("decrease", le(gap_next, gap - eta * (2 - eta) * n1**2 / (2 * _SIZE)), "lemma", "rule sign-lambda"),
        step("rate", le(gap_next, (1 - eta * (2 - eta) * nu / _SIZE) * gap), "decrease", "norm against gap", "lr <= 2"),
    )


_UP_TO = "lr <= 2 P Lambda_P/L_inf"


def _sign_rate_inf() -> Steps:
    share = 2 - eta * Symbol.L_inf / _SIZE
    return (
        *definitions("sign step", "norm against gap"),
        *definitions("largest form of signs"),
        rule("sign-lambda"),
        step(
            "lemma",
            le(gap_next, gap - length * n1 + length**2 / 2 * Symbol.L_inf),
            "sign step",
            "largest form of signs",
        ),
        step("decrease", le(gap_next, gap - eta * share * n1**2 / (2 * _SIZE)), "lemma", "rule sign-lambda"),
        step("not negative", ge(share, 0), _UP_TO),
        step(
            "rate",
            le(gap_next, (1 - eta * nu / _SIZE * share) * gap),
            "decrease",
            "norm against gap",
            "not negative",
        ),
    )


_STEP_MADE = "for the conclusion: a statement about the steps before t speaks of t >= 1"


def _sign_constant() -> Steps:
    least = Symbol.least_norm1
    fall = eta * least - eta**2 / 2 * _SIZE
    return (
        *_sign_lemma(),
        rule("signsgd"),
        *definitions("least 1-norm", "no gap is negative"),
        *definitions("a step was made", because=_STEP_MADE),
        step("fall", le(gap_next, gap - fall), "lemma", "rule signsgd", "least 1-norm"),
        step("gaps", le(gap, gap_0 - t * fall), "fall", by="induction"),
        step("all together", le(t * fall, gap_0), "gaps", "no gap is negative"),
    )


def _gradient_complexity() -> Steps:
    fall = Symbol.least_norm2_squared / (2 * Symbol.largest_Lambda_G)
    return (
        *_gradient_lemma(),
        rule("gd-lambda"),
        *definitions("least norm", "largest weighted smoothness", "no gap is negative"),
        step("decrease", le(gap_next, gap - eta * (2 - eta) / (2 * Lambda_G) * n2), "lemma", "rule gd-lambda"),
        step("at the best rate", le(gap_next, gap - n2 / (2 * Lambda_G)), "decrease", "lr = 1, the step of the lemma"),
        step("least", ge(n2 / (2 * Lambda_G), fall), "least norm", "largest weighted smoothness"),
        step("fall", le(gap_next, gap - fall), "at the best rate", "least"),
        step("gaps", le(gap, gap_0 - t * fall), "fall", by="induction"),
        step("all together", le(t * fall, gap_0), "gaps", "no gap is negative"),
    )


def _sign_complexity() -> Steps:
    fall = Symbol.least_norm1**2 / (2 * _SIZE)
    return (
        *_sign_lemma(),
        rule("sign-lambda"),
        *definitions("least 1-norm", "no gap is negative"),
        step("decrease", le(gap_next, gap - eta * (2 - eta) * n1**2 / (2 * _SIZE)), "lemma", "rule sign-lambda"),
        step("at the best rate", le(gap_next, gap - n1**2 / (2 * _SIZE)), "decrease", "lr = 1, the step of the lemma"),
        step("least", ge(n1**2 / (2 * _SIZE), fall), "least 1-norm"),
        step("fall", le(gap_next, gap - fall), "at the best rate", "least"),
        step("gaps", le(gap, gap_0 - t * fall), "fall", by="induction"),
        step("all together", le(t * fall, gap_0), "gaps", "no gap is negative"),
    )


def _over_scaled_modes(factor: sp.Expr, *uses: str) -> Steps:
    now, after = (sigma * x**2 / 2 for x in (Q.scaled_i, Q.scaled_next_i))
    return (
        *definitions("gap in scaled modes", "next gap in scaled modes"),
        step("every mode", le(after, factor * now), "rule adam-frozen", *uses),
        step(
            "the gap",
            le(gap_next, factor * gap),
            "every mode",
            "gap in scaled modes",
            "next gap in scaled modes",
            by="sum",
        ),
    )


def _frozen_exact() -> Steps:
    factor = (1 - eta * sigma) ** 2
    return (
        rule("adam-frozen"),
        step("worst mode", le(factor, MaxOver(factor)), by="extreme"),
        *_over_scaled_modes(MaxOver(factor), "worst mode"),
    )


def _frozen_ends() -> Steps:
    """Return the steps to eta/(C2_l kappa_l) <= eta sigma_i <= 1."""
    return (
        rule("adam-frozen"),
        *definitions("scaled eigenvalues"),
        step(
            "range",
            sp.And(le(eta / (C2_l * kappa_l), eta * sigma), le(eta * sigma, 1)),
            "scaled eigenvalues",
            _AT_MOST,
        ),
    )


def _frozen() -> Steps:
    sharp = (1 - eta / (C2_l * kappa_l)) ** 2
    return (
        *_frozen_ends(),
        step("of a block", le((1 - eta * sigma) ** 2, sharp), "range"),
        step("worst block", le(sharp, MaxOver(sharp)), by="extreme"),
        step("worst of all", le((1 - eta * sigma) ** 2, MaxOver(sharp)), "of a block", "worst block"),
        *_over_scaled_modes(MaxOver(sharp), "worst of all"),
    )


def _frozen_published() -> Steps:
    ratio = MaxOver(C2_l**2) / MinOver(C1_l**2)
    block = 1 - 1 / (ratio * kappa_l)
    return (
        *_frozen_ends(),
        *definitions("squares of constants"),
        step("largest C2", le(C2_l, MaxOver(C2_l)), by="extreme"),
        step(
            "not too small",
            ge(eta / (C2_l * kappa_l), MinOver(C1_l) ** 2 / (MaxOver(C2_l) ** 2 * kappa_l)),
            "lr >= min_l C1_l^2 / max_l C2_l",
            "largest C2",
        ),
        step("of a block", le((1 - eta * sigma) ** 2, 1 - eta / (C2_l * kappa_l)), "range"),
        step("published", le((1 - eta * sigma) ** 2, block), "of a block", "not too small", "squares of constants"),
        step("worst block", le(block, MaxOver(block)), by="extreme"),
        step("worst of all", le((1 - eta * sigma) ** 2, MaxOver(block)), "published", "worst block"),
        *_over_scaled_modes(MaxOver(block), "worst of all"),
    )


def _against_gd() -> Steps:
    rho = (1 - 2 / (kappa + 1)) ** 2
    return (
        *_frozen_ends(),
        step("largest C2", le(C2_l, MaxOver(C2_l)), by="extreme"),
        step("largest condition", le(kappa_l, MaxOver(kappa_l)), by="extreme"),
        step("product", le(C2_l * kappa_l, MaxOver(C2_l) * MaxOver(kappa_l)), "largest C2", "largest condition"),
        step(
            "at least",
            ge(eta / (C2_l * kappa_l), 2 / (kappa + 1)),
            "product",
            "r max_l kappa_l <= (kappa + 1)/2 with r = max_l C2_l/lr",
        ),
        step("factor", le((1 - eta * sigma) ** 2, rho), "range", "at least"),
        *_over_scaled_modes(rho, "factor"),
    )


def _covariance() -> Steps:
    size, block = Symbol.P_l, Symbol.norm2_squared_l
    term = size / P * (block * P / (size * n2) - 1) * (L_l - Lambda_P)
    parts = block * L_l / n2 - Lambda_P * block / n2 - size * L_l / P + Lambda_P * size / P
    summed = (
        SumOver(L_l * block) / n2
        - Lambda_P * SumOver(block) / n2
        - SumOver(size * L_l) / P
        + Lambda_P * SumOver(size) / P
    )
    return (
        *definitions("norm by blocks", "sizes", "weighted smoothness", "mean smoothness"),
        step("a block", equal(term, parts)),
        step("all blocks", equal(SumOver(term), summed), "a block", by="sum"),
        step(
            "covariance",
            equal(Lambda_G - Lambda_P, SumOver(term)),
            "all blocks",
            "norm by blocks",
            "sizes",
            "weighted smoothness",
            "mean smoothness",
        ),
    )


def _gd_lower() -> Steps:
    F = (1 - 2 / (kappa + 1)) ** 2
    a, b, r, q = Q.on_L, Q.on_mu, Q.ratio_L, Q.ratio_mu
    return (
        rule("gd at both ends"),
        *definitions("both ends", "witness", "condition"),
        step(
            "first ratio",
            ge(mu * r + L * q, F * (mu + L)),
            "rule gd at both ends",
            "condition",
            because="the first step's ratio exceeds F by a square, for every rate",
        ),
        step("first step", ge(Q.gap_1, F * gap_0), "witness", "first ratio"),
        step(
            "convex",
            ge((r**2 * a + q**2 * b) * (a + b), (r * a + q * b) ** 2),
            because="the ratio of successive gaps never falls at a constant rate: the difference is a b (r_L - r_mu)^2",
        ),
        step("convex gaps", ge(Q.gap_after * gap, gap_next**2), "convex", "both ends"),
        step("every step", ge(gap_next, F * gap), "first step", "convex gaps", by="induction"),
    )


def _gd_noise() -> Steps:
    power = (1 - eta * lam) ** (2 * t)
    level = eta * Symbol.noise_std**2 / (lam * (2 - eta * lam))
    return (
        rule("gd with noise"),
        *definitions("mean gap", "parts", "eigenvalues"),
        step(
            "stable modes",
            sp.Lt(eta * lam, 2, evaluate=False),
            "0 < lr L < 2",
            "eigenvalues",
            because="for the conclusion: every mode is stable, so that no divisor is 0",
        ),
        step(
            "every mode",
            equal(Q.mean_square_i, power * Q.start_i**2 + level * (1 - power)),
            "rule gd with noise",
            "stable modes",
            by="induction",
        ),
        step(
            "parts of the gap",
            equal(lam * Q.mean_square_i / 2, part * power + lam * level * (1 - power) / 2),
            "every mode",
            "parts",
            "stable modes",
        ),
        step(
            "the gap",
            equal(gap, SumOver(part * power + lam * level * (1 - power) / 2)),
            "parts of the gap",
            "mean gap",
            by="sum",
        ),
    )


def _heavy_ball() -> Steps:
    b, x, U, V, c = Q.root, Q.angle_i, Q.U_i, Q.V_i, Q.start_i
    modes = sp.And(equal(Q.error_i, b**t * (U - b * V) * c), equal(Q.previous_i, b**t * (V - b * (2 * x * V - U)) * c))
    growth = (1 + t * (1 + b)) ** 2
    return (
        *definitions("eigenvalues", "root of beta", because="for the conclusion, and by definition"),
        step(
            "discriminant",
            le((1 + b**2 - eta * lam) ** 2, 4 * b**2),
            "eigenvalues",
            "root of beta",
            "lr = 4/(sqrt L + sqrt mu)^2",
        ),
        rule("heavy-ball"),
        definition("angle of a mode", "discriminant"),
        definition("Chebyshev", "angle of a mode"),
        *definitions("gap", "parts", "gap at the start"),
        step("trace", equal(eta * lam, 1 + b**2 - 2 * b * x), "angle of a mode"),
        step("every mode", modes, "rule heavy-ball", "trace", by="induction"),
        step("polynomial", le((U - b * V) ** 2, growth), "Chebyshev"),
        step(
            "parts of the gap",
            equal(lam * Q.error_i**2 / 2, b ** (2 * t) * (U - b * V) ** 2 * part),
            "every mode",
            "parts",
        ),
        step("at most", le(lam * Q.error_i**2 / 2, b ** (2 * t) * growth * part), "parts of the gap", "polynomial"),
        step("the gap", le(gap, b ** (2 * t) * growth * gap_0), "at most", "gap", "gap at the start", by="sum"),
    )


def _cycle() -> Steps:
    return (
        rule("adam on its orbit"),
        *definitions("gap", "start on the orbit"),
        step(
            "every coordinate",
            equal(Q.error_i**2, AMPLITUDE**2),
            "rule adam on its orbit",
            "start on the orbit",
            by="induction",
        ),
        step("parts of the gap", equal(lam * Q.error_i**2 / 2, lam * AMPLITUDE**2 / 2), "every coordinate"),
        step("the gap", equal(gap, SumOver(lam) * AMPLITUDE**2 / 2), "parts of the gap", "gap", by="sum"),
    )


def _is_sign() -> Steps:
    return (
        rule("adam without memory"),
        *definitions("cosine", "inner product", "square of the step", "square of the signs"),
        step("along", equal(-Q.step_i * Q.sign_i, eta * Q.sign_i**2), "rule adam without memory"),
        step("squared", equal(Q.step_i**2, eta**2 * Q.sign_i**2), "rule adam without memory"),
        step("inner", equal(Q.inner, eta * Q.signs), "along", "inner product", "square of the signs", by="sum"),
        step(
            "square",
            equal(Q.square, eta**2 * Q.signs),
            "squared",
            "square of the step",
            "square of the signs",
            by="sum",
        ),
        step("angle", equal(Symbol.cosine, 1), "cosine", "inner", "square"),
        *definitions("stride"),
        step("length", equal(Symbol.stride, eta), "stride", "square"),
        step(
            "angle and length",
            equal(Symbol.cosine - sp.Abs(Symbol.stride / eta - 1), 1),
            "angle",
            "length",
            because="a cosine is 1 at most, so that the difference is 1 only where the step is -eta sign(g)",
        ),
    )


def _head() -> Steps:
    s, tie = Symbol.drift, Symbol.tie
    return (
        *definitions("walk", "growth"),
        step("mean", equal(Q.mean, -t * s), "walk", by="induction"),
        step("second moment", equal(Q.second, t**2 * s**2 + t * (1 - tie - s**2)), "walk", "mean", by="induction"),
        step(
            "all rows and features",
            equal(Symbol.growth, Symbol.classes * Symbol.features * eta**2 * (t**2 * s**2 + t * (1 - tie - s**2))),
            "growth",
            "second moment",
        ),
    )


DERIVATIONS: Mapping[str, Callable[[], Steps]] = {
    "gd-exact": _gd_exact,
    "gd-upper": _gd_upper,
    "gd-lower": _gd_lower,
    "gd-noise": _gd_noise,
    "heavy-ball": _heavy_ball,
    "block-gd": _block_gd,
    "adam-frozen-published": _frozen_published,
    "adam-frozen": _frozen,
    "adam-frozen-exact": _frozen_exact,
    "adam-vs-gd": _against_gd,
    "adam-cycle": _cycle,
    "adam-is-sign": _is_sign,
    "head-drift": _head,
    "gradient-descent-lemma": _gradient_lemma,
    "sign-descent-lemma": _sign_lemma,
    "gradient-complexity": _gradient_complexity,
    "sign-complexity": _sign_complexity,
    "covariance-identity": _covariance,
    "gradient-rate": _gradient_rate,
    "gradient-rate-uniform": _gradient_rate_uniform,
    "sign-rate": _sign_rate,
    "sign-rate-inf": _sign_rate_inf,
    "sign-constant": _sign_constant,
}
"""Name of a theorem to its derivation."""
