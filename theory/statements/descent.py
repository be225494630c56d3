"""Theorems about gradient descent and related rules on quadratics (docs/theory.md section 2)."""

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.statements.named import AT_WITNESS, POLYAK_MOMENTUM
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.quantities import evaluate
from quadsim.theory.statements.recursion import advance, along_eigenvector
from quadsim.theory.statements.steps import EIGENBASIS, SUM_OF_UPPER, concludes, e, equal, inside, lam
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import MaxOver, SumOver, Symbol

__all__ = ["DESCENT"]

eta, L, mu, kappa, t = Symbol.eta, Symbol.L, Symbol.mu, Symbol.kappa, Symbol.t
L_l, mu_l, lambda_i = Symbol.L_l, Symbol.mu_l, Symbol.lambda_i

_RATE = {rule_symbols.lr: eta}
_IN_RANGE = (sp.Le(mu, lam), sp.Le(lam, L))
_rho = (L - mu) / (L + mu)
_any = sp.Symbol("eta", real=True)  # a bound for every real rate
_ANY_RATE = {rule_symbols.lr: _any}


def _gd_factor(eigenvalue: sp.Expr) -> sp.Expr:
    return along_eigenvector(RULES["gd"], _RATE).subs(lam, eigenvalue)


def _block_factor(eigenvalue: sp.Expr) -> sp.Expr:
    values = {**_RATE, rule_symbols.L_l: L_l, rule_symbols.mu_l: mu_l}
    return along_eigenvector(RULES["block-gd"], values).subs(lam, eigenvalue)


def _gd_exact() -> tuple[Step, ...]:
    factor = along_eigenvector(RULES["gd"], _RATE)
    return (
        EIGENBASIS,
        Step(equal(factor, 1 - eta * lam), "the rule gd with g = lambda e multiplies the error by 1 - eta lambda"),
        Step(
            equal(factor * (1 - eta * lam) ** t * e, (1 - eta * lam) ** (t + 1) * e),
            "induction: if e_t = (1 - eta lambda)^t e_0, then the rule gives e_(t+1) = (1 - eta lambda)^(t+1) e_0",
        ),
        Step(
            equal(lam * ((1 - eta * lam) ** t * e) ** 2 / 2, lam * (1 - eta * lam) ** (2 * t) * e**2 / 2),
            "each mode's part of the gap is lambda e_t^2 / 2",
        ),
    )


def _gd_upper() -> tuple[Step, ...]:
    factor = along_eigenvector(RULES["gd"], _ANY_RATE)
    ends = sp.Max((1 - _any * mu) ** 2, (1 - _any * L) ** 2)
    return (
        EIGENBASIS,
        Step(equal(factor, 1 - _any * lam), "the rule gd with g = lambda e multiplies the error by 1 - eta lambda"),
        Step(
            equal(
                (L - lam) * (1 - _any * mu) ** 2 + (lam - mu) * (1 - _any * L) ** 2 - (L - mu) * factor**2,
                _any**2 * (L - mu) * (L - lam) * (lam - mu),
            ),
            "certificate: the squared factor is convex in lambda, so its largest value is at an end",
        ),
        Step(
            sp.Le(factor**2, ends),
            "every mode contracts at least as the worse end does, for every real rate",
            _IN_RANGE,
        ),
        SUM_OF_UPPER,
        Step(
            equal(_rho**2 - factor.subs(_any, 2 / (L + mu)) ** 2, 4 * (L - lam) * (lam - mu) / (L + mu) ** 2),
            "certificate at eta = 2/(L+mu): no mode exceeds rho^2, and the modes of L and mu attain it",
        ),
        Step(
            sp.Ge(ends, _rho**2),
            "no rate has a better bound than eta = 2/(L+mu)",
            (sp.Le(mu, L),),
        ),
    )


def _gd_lower() -> tuple[Step, ...]:
    p, q = mu / (L + mu), L / (L + mu)
    on_L, on_mu = (along_eigenvector(RULES["gd"], _ANY_RATE).subs(lam, x) for x in (L, mu))
    r1, r2, x, y, share = sp.symbols("r1 r2 x y p", nonnegative=True)
    a, b, c, m = sp.symbols("a b c m", positive=True)
    return (
        EIGENBASIS,
        Step(
            equal(L * mu**2 / (L * mu**2 + mu * L**2), p),
            "at the witness e_L = mu, e_mu = L the share of the gap on L is p = mu/(L+mu)",
        ),
        Step(
            equal(p * on_L**2 + q * on_mu**2 - _rho**2, L * mu * (_any - 2 / (L + mu)) ** 2),
            "certificate: the first step's ratio exceeds rho^2 by a square, for every real rate",
        ),
        Step(
            equal(
                (share * r1**2 * x + (1 - share) * r2**2 * y) * (share * x + (1 - share) * y)
                - (share * r1 * x + (1 - share) * r2 * y) ** 2,
                share * (1 - share) * x * y * (r1 - r2) ** 2,
            ),
            "certificate: gap_(t+2) gap_t - gap_(t+1)^2 >= 0 at a constant rate",
        ),
        Step(
            sp.Ge(c, m * b),
            "so the ratio of successive gaps never falls: from gap_(t+1) >= F gap_t follows gap_(t+2) >= F gap_(t+1)",
            (sp.Ge(b, m * a), sp.Ge(a * c, b**2)),
        ),
        Step(equal((1 - 2 / (L / mu + 1)) ** 2, _rho**2), "the factor in terms of kappa = L/mu"),
        Step(
            sp.Or(sp.Ne(on_L, 0), sp.Ne(on_mu, 0)),
            "the gap stays positive: no rate takes both modes to 0 (L > mu)",
            (sp.Gt(L, mu),),
        ),
    )


def _block_gd() -> tuple[Step, ...]:
    values = {**_ANY_RATE, rule_symbols.L_l: L, rule_symbols.mu_l: mu}
    factor = along_eigenvector(RULES["block-gd"], values)
    rate = 2 * _any / (L + mu)
    return (
        EIGENBASIS,
        Step(
            equal(factor, 1 - rate * lam),
            "the rule block-gd multiplies the error by 1 - eta_l lambda, eta_l = 2 eta/(L_l+mu_l)",
        ),
        Step(
            sp.Le(factor**2, sp.Max((1 - rate * mu) ** 2, (1 - rate * L) ** 2)),
            "gd-upper inside block l, whose eigenvalues lie between mu_l and L_l",
            _IN_RANGE,
        ),
        SUM_OF_UPPER,
        Step(
            equal(sp.Max((1 - rate * mu) ** 2, (1 - rate * L) ** 2).subs(_any, 1).simplify(), _rho**2),
            "at eta = 1 the factor of block l is ((kappa_l - 1)/(kappa_l + 1))^2",
        ),
    )


def _heavy_ball() -> tuple[Step, ...]:
    rule = RULES["heavy-ball"]
    (memory,) = rule.states
    (beta,) = rule.hyperparameters
    alpha, previous = sp.Symbol("alpha", positive=True), sp.Symbol("e_previous", real=True)
    # One step back e_t = e_(t-1) - alpha m, so the memory is m = (e_(t-1) - e_t)/alpha; from rest it is 0.
    values = {rule_symbols.lr: alpha}
    after, memories = advance(rule, e, lam * e, {memory: (previous - e) / alpha}, values)
    q, s, x = sp.symbols("q s x", positive=True)
    step, root = 4 / (q + s) ** 2, (s - q) / (s + q)
    U, V = sp.symbols("U V", real=True)  # U_t and U_(t-1)
    n, b = sp.symbols("t b", nonnegative=True)
    cosine = sp.Symbol("c", real=True)
    first, second = sp.symbols("U_t U_previous", real=True)
    return (
        EIGENBASIS,
        Step(
            equal(after, e - alpha * lam * e + beta * (e - previous)),
            "the rule heavy-ball with m = (e_(t-1) - e_t)/alpha is e_(t+1) = e_t - alpha H e_t + beta (e_t - e_(t-1))",
        ),
        Step(equal(memories[memory], (e - after) / alpha), "and its memory keeps that form"),
        Step(
            equal(
                (1 + root**2 - step * x**2) ** 2 - 4 * root**2,
                16 * (x - q) * (x + q) * (x - s) * (x + s) / (q + s) ** 4,
            ),
            "certificate: x = sqrt(lambda), q = sqrt(mu), s = sqrt(L); the discriminant of the characteristic polynomial",
        ),
        Step(
            sp.Le((1 + root**2 - step * x**2) ** 2, 4 * root**2),
            "so 1 + beta - alpha lambda = 2 b c with |c| <= 1: all roots have modulus b",
            (sp.Le(q, x), sp.Le(x, s)),
        ),
        Step(
            equal(
                2 * b * cosine * (first - b * second) - b**2 * (second - b * (2 * cosine * second - first)) / b,
                b * ((2 * cosine * first - second) - b * first),
            ),
            "induction: with U_(t+1) = 2 c U_t - U_(t-1), e_t = b^t (U_t - b U_(t-1)) e_0 solves the recursion",
        ),
        Step(
            equal(b * (2 * cosine - b), 1 - alpha * lam),
            "its start: U_0 = 1, U_1 = 2 c, U_(-1) = 0 give e_0 and, from rest, e_1 = (1 - alpha lambda) e_0",
            (equal(1 + b**2 - alpha * lam, 2 * b * cosine),),
        ),
        Step("|U_t(c)| <= t + 1 for |c| <= 1", "bound on Chebyshev polynomials of the second kind"),
        Step(
            sp.Le((U - b * V) ** 2, (1 + n * (1 + b)) ** 2),
            "hence |e_t| <= b^t (1 + t (1 + b)) |e_0| in every mode",
            (sp.Le(U, n + 1), sp.Le(-n - 1, U), sp.Le(V, n), sp.Le(-n, V)),
        ),
        SUM_OF_UPPER,
    )


def _gd_noise() -> tuple[Step, ...]:
    noise = sp.Symbol("xi", real=True)  # the noise along an eigenvector: mean 0, variance s^2, independent of e_t
    std, r, start, level = sp.symbols("s r M C", nonnegative=True)
    after, _ = advance(RULES["gd"], e, lam * e + noise, values=_RATE)
    return (
        EIGENBASIS,
        Step(
            equal(after**2, (1 - eta * lam) ** 2 * e**2 - 2 * eta * (1 - eta * lam) * e * noise + eta**2 * noise**2),
            "the rule gd with g = lambda e + xi; noise s^2 I is s^2 I in the eigenbasis too, and E xi = 0, E xi^2 = s^2 leave "
            "E e_(t+1)^2 = (1 - eta lambda)^2 E e_t^2 + eta^2 s^2",
        ),
        Step(
            equal(
                r**2 * (start * r ** (2 * t) + level * (1 - r ** (2 * t))) + (1 - r**2) * level,
                start * r ** (2 * t + 2) + level * (1 - r ** (2 * t + 2)),
            ),
            "induction, with r = 1 - eta lambda: E e_t^2 = r^(2t) e_0^2 + C (1 - r^(2t)), where (1 - r^2) C = eta^2 s^2",
        ),
        Step(
            equal(
                lam / 2 * (eta**2 * std**2 / (1 - (1 - eta * lam) ** 2)),
                eta * std**2 / (2 * (2 - eta * lam)),
            ),
            "so each mode's part of E gap tends to eta s^2/(2 (2 - eta lambda))",
            (sp.Lt(eta * L, 2), sp.Le(lam, L)),
        ),
        Step(
            sp.Lt((1 - eta * lam) ** 2, 1),
            "as 0 < eta lambda < 2",
            (sp.Lt(eta * L, 2), sp.Le(lam, L)),
        ),
    )


_ALPHA = 4 / (sp.sqrt(L) + sp.sqrt(mu)) ** 2
_ROOT_BETA = (sp.sqrt(L) - sp.sqrt(mu)) / (sp.sqrt(L) + sp.sqrt(mu))


_POWER = (1 - eta * lambda_i) ** (2 * t)
_LEVEL = eta * Symbol.noise_std**2 * (1 - _POWER) / (2 - eta * lambda_i)  # lambda_i times the variance of e_i(t)


def _close(value: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a value equals a formula up to its rounding: a dozen operations, each within half a unit in the last place."""
    return np.abs(value - wanted) <= 12 * np.finfo(float).eps * np.abs(wanted)


def _at_witness(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Whether the error is along one eigenvector of L and one of mu, in the proportion mu : L."""
    problem = trajectory.problem
    values = problem.layout.flatten(problem.eigenvalues)
    start = np.abs(problem.layout.flatten(problem.initial_coefficients))
    out = np.zeros(problem.problems, dtype=bool)
    for m in range(problem.problems):
        used = np.flatnonzero(start[m])
        if used.size == 2:
            high, low = sorted(used, key=lambda i: -values[m, i])
            ends = values[m, high] == values[m].max() and values[m, low] == values[m].min()
            out[m] = ends and bool(_close(start[m, high] * values[m, high], start[m, low] * values[m, low]))
    return out[:, None]


def _eigenvectors_used(run: Trajectory) -> NDArray[np.int64]:
    used: NDArray[np.int64] = np.count_nonzero(run.problem.layout.flatten(run.problem.initial_coefficients), axis=1)
    return used[:, None]


def _needed(name: str, wanted: sp.Expr, run: Trajectory) -> dict[str, NDArray[np.float64]]:
    """Return the value of a setting and the value that a theorem needs."""
    return {f"for {name}": run.settings[name][None, :], f"needed for {name}": evaluate(wanted, run)}


DESCENT = (
    Theorem(
        name="gd-exact",
        rules=("gd", "sgd"),
        statement=r"f(w_t) - f^* = \tfrac12 \sum_i \lambda_i (1 - \eta\lambda_i)^{2t} c_i^2",
        kind="identity",
        direction="equal",
        bound=SumOver(Symbol.part_i * (1 - eta * lambda_i) ** (2 * t)),
        tight="always",
        argument=_gd_exact,
        conclusion=lambda bound: concludes(inside(bound), Symbol.part_i * _gd_factor(lambda_i) ** (2 * t)),
        source="Classical; for example Nesterov, Lectures on Convex Optimization (2018), in the form derived here.",
    ),
    Theorem(
        name="gd-upper",
        rules=("gd", "sgd"),
        statement=r"f(w_{t+1}) - f^* \le \max\{(1-\eta\mu)^2, (1-\eta L)^2\}\,(f(w_t) - f^*)",
        kind="per step",
        direction="upper",
        bound=sp.Max((1 - eta * mu) ** 2, (1 - eta * L) ** 2),
        tight="at eta = 2/(L+mu), for errors in the eigenspaces of mu and L",
        argument=_gd_upper,
        conclusion=lambda bound: concludes(bound, sp.Max(*(_gd_factor(end) ** 2 for end in (mu, L)))),
        source="Classical, in the form derived here (docs/theory.md section 2).",
    ),
    Theorem(
        name="gd-lower",
        rules=("gd", "sgd"),
        statement=r"\exists H, e_0\ \forall \eta, t:\ f(w_{t+1}) - f^* \ge \Big(1 - \frac{2}{\kappa+1}\Big)^2 (f(w_t) - f^*)",
        hypotheses=(
            Hypothesis.of(sp.Gt(L, mu), "L > mu"),
            Hypothesis(
                "the error sits on one eigenvector of L and one of mu, in the proportion mu : L",
                _at_witness,
                AT_WITNESS,
                lambda run: {"eigenvectors in the error": _eigenvectors_used(run)},
            ),
        ),
        kind="existence",
        direction="lower",
        bound=(1 - 2 / (kappa + 1)) ** 2,
        tight="at eta = 2/(L+mu), at every step",
        argument=_gd_lower,
        conclusion=lambda bound: concludes(bound.subs(kappa, L / mu), _rho**2),
        source="After Zhang et al., arXiv 2402.16788, Proposition 1, in the squared form derived here.",
    ),
    Theorem(
        name="block-gd",
        rules=("block-gd",),
        statement=(
            r"f(w_{t+1}) - f^* \le \max_l \max\{(1-\eta_l\mu_l)^2, (1-\eta_l L_l)^2\}\,(f(w_t) - f^*),\quad"
            r" \eta_l = \frac{2\eta}{L_l+\mu_l}"
        ),
        kind="per step",
        direction="upper",
        bound=MaxOver(sp.Max((1 - 2 * eta * mu_l / (L_l + mu_l)) ** 2, (1 - 2 * eta * L_l / (L_l + mu_l)) ** 2)),
        tight="at eta = 1, for errors in the extreme eigenspaces of the block with the largest kappa_l",
        argument=_block_gd,
        conclusion=lambda bound: concludes(inside(bound), sp.Max(*(_block_factor(end) ** 2 for end in (mu_l, L_l)))),
        source="gd-upper block by block, in the form derived here; at eta = 1 the factor is max_l ((kappa_l-1)/(kappa_l+1))^2.",
    ),
    Theorem(
        name="heavy-ball",
        rules=("heavy-ball",),
        statement=(
            r"f(w_t) - f^* \le \beta^t\,(1 + t(1+b))^2\,(f(w_0) - f^*),\quad \alpha = \frac{4}{(\sqrt L+\sqrt\mu)^2},"
            r"\ b = \sqrt\beta = \frac{\sqrt L-\sqrt\mu}{\sqrt L+\sqrt\mu}"
        ),
        hypotheses=(
            Hypothesis(
                "lr = 4/(sqrt L + sqrt mu)^2",
                lambda run: _close(run.settings["lr"], evaluate(_ALPHA, run)),
                sp.Eq(eta, _ALPHA, evaluate=False),
                lambda run: _needed("lr", _ALPHA, run) | _needed("momentum", _ROOT_BETA**2, run),
            ),
            Hypothesis(
                "momentum = ((sqrt L - sqrt mu)/(sqrt L + sqrt mu))^2",
                lambda run: _close(run.settings["momentum"], evaluate(_ROOT_BETA**2, run)),
                sp.Eq(Symbol.momentum, POLYAK_MOMENTUM, evaluate=False),
                lambda run: _needed("momentum", _ROOT_BETA**2, run),
            ),
        ),
        kind="horizon",
        direction="upper",
        bound=_ROOT_BETA ** (2 * t) * (1 + t * (1 + _ROOT_BETA)) ** 2,
        tight="for errors in the eigenspace of L",
        argument=_heavy_ball,
        conclusion=lambda bound: concludes(bound, (_ROOT_BETA**t * (1 + t * (1 + _ROOT_BETA))) ** 2),
        source="After Polyak (1964), in the finite-time form derived here (Chebyshev polynomials of the second kind).",
    ),
    Theorem(
        name="gd-noise",
        rules=("gd", "sgd"),
        statement=(
            r"\mathbb E[f(w_t) - f^*] = \sum_i q_i r_i^{2t} + \frac{\eta s^2}{2} \sum_i \frac{1 - r_i^{2t}}{2 - \eta\lambda_i},"
            r"\quad r_i = 1 - \eta\lambda_i,\ q_i = \tfrac12 \lambda_i c_i^2"
        ),
        hypotheses=(
            Hypothesis.of(sp.Lt(eta * L, 2), "0 < lr L < 2"),
            Hypothesis.of(sp.Gt(Symbol.noise_std, 0), "noise"),
        ),
        kind="expectation",
        direction="equal",
        bound=SumOver(Symbol.part_i * _POWER + _LEVEL / 2),
        # Modes are independent and normal: the square of one with mean m and variance v varies by 2 v^2 + 4 m^2 v.
        variance=SumOver(_LEVEL**2 / 2 + 2 * Symbol.part_i * _POWER * _LEVEL),
        oracle="additive",
        tight="always, in the mean",
        argument=_gd_noise,
        conclusion=lambda bound: concludes(
            inside(bound),
            # lambda/2 times r^(2t) e_0^2 + C (1 - r^(2t)), with lambda e_0^2/2 = q and (1 - r^2) C = eta^2 s^2
            Symbol.part_i * _gd_factor(lambda_i) ** (2 * t)
            + lambda_i
            / 2
            * (eta**2 * Symbol.noise_std**2 / (1 - _gd_factor(lambda_i) ** 2))
            * (1 - _gd_factor(lambda_i) ** (2 * t)),
            (sp.Lt(eta * L, 2), sp.Le(lambda_i, L)),
        ),
        source="An extension derived here: zero-mean noise of covariance s^2 I, independent of the iterate.",
    ),
)
