"""Linear rules on a stream of samples: moments of the error, when they are stable, and the floor of the gap in the mean.

Along eigenvector i of H the second moments of the error and of the memory follow an affine recursion in which the modes meet
through the mean gap alone. Summed over all steps, or at its fixed point, it is one equation for each mode,

    lambda_i p_i D(x_i) = s x_i (1 + beta) + ..., x_i = eta lambda_i, D(x) = b (1 - beta)(2 (1 + beta) - x) - x (1 + beta),

which summed over i is one equation for the mean gap: that is where c(eta) = sum_i x_i (1 + beta)/D(x_i) comes from. Gradient
descent has beta = 0.
"""

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.models.toy_models import of_part
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import concludes, e, equal
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import SumOver, Symbol

__all__ = [
    "CALM", "GD", "HEAVY_BALL", "OF_STREAM", "STABLE", "STREAM", "after_step", "denominator", "share",
]  # fmt: skip

_lam, _p, _gap, _v, _b, _eta, _beta = (
    Symbol.eigenvalue,
    Symbol.square,
    Symbol.mean_gap,
    Symbol.label_noise,
    Symbol.samples,
    Symbol.eta,
    Symbol.momentum,
)

GD, HEAVY_BALL = "gd on a stream", "heavy-ball on a stream"
OF_STREAM = "x ~ N(0, H); batches of b fresh samples; label noise of variance v^2, independent of x"
STABLE = (
    "stable in mean square, which is so if and only if c < 1, beta < 1 and every D_i > 0, "
    "D_i = b (1-beta)(2 (1+beta) - lr lambda_i) - lr lambda_i (1+beta), beta = 0 for gd"
)
CALM = "no noise of the labels"


def denominator(x: sp.Expr, momentum: sp.Expr) -> sp.Expr:
    """Return D(x) of a mode, x = eta lambda; for gradient descent 2b - x (b + 1)."""
    if momentum == 0:
        return 2 * _b - x * (_b + 1)
    return _b * (1 - momentum) * (2 * (1 + momentum) - x) - x * (1 + momentum)


def share(x: sp.Expr, momentum: sp.Expr) -> sp.Expr:
    """Return the summand of c: x (1 + beta)/D(x)."""
    return x * (1 + momentum) / denominator(x, momentum)


def after_step(rule: str, along: sp.Expr, second: sp.Expr, lam: sp.Expr, moments: tuple[sp.Expr, ...]) -> sp.Expr:
    """Return E (e' + k m')^2 after a step of gd or heavy-ball, from the Rule.

    Args:
        rule: its name.
        along: k; of gd 0.
        second: E g^2.
        lam: lambda, so that E g e = lambda E e^2 and E g m = lambda E e m.
        moments: E e^2, of heavy-ball also E e m and E m^2.
    """
    of_rule, g, m = RULES[rule], sp.Symbol("g", real=True), sp.Symbol("m", real=True)
    values: dict[sp.Symbol, sp.Expr] = {rule_symbols.lr: _eta} | dict.fromkeys(of_rule.hyperparameters, _beta)
    after, states = advance(of_rule, e, g, dict.fromkeys(of_rule.states, m), values)
    whole = sp.expand((after + along * sum(states.values())) ** 2)
    p, q, r = (*moments, sp.S.Zero, sp.S.Zero)[:3]
    means = {(2, 0, 0): p, (1, 1, 0): q, (0, 2, 0): r, (1, 0, 1): lam * p, (0, 1, 1): lam * q, (0, 0, 2): second}
    return sp.Add(*(factor * means[powers] for powers, factor in sp.Poly(whole, e, m, g).terms()))


_VARIANCE = _lam**2 * _p + _lam * (2 * _gap + _v**2)
_SECOND = _lam**2 * _p + _VARIANCE / _b
_NEXT = (1 - _eta * _lam) ** 2 * _p + _eta**2 / _b * _VARIANCE
_q, _r, _k = Symbol.memory_cross, Symbol.memory_square, Symbol.along
_KEPT = _beta**2 * _r + 2 * _beta * _lam * _q + _SECOND  # E m'^2
_CROSSED = _beta * _q + _lam * _p - _eta * _KEPT  # E e'm'
_MOVED = _p - 2 * _eta * _beta * _q - 2 * _eta * _lam * _p + _eta**2 * _KEPT  # E e'^2
_ALONG_NEXT = _MOVED + 2 * _k * _CROSSED + _k**2 * _KEPT


def _of_gradient() -> tuple[Step, ...]:
    squares = sp.Symbol("n", positive=True)
    return (
        Step("E (x'Sx) xx' = 2 HSH + tr(HS) H for x ~ N(0, H) and a symmetric S", "Isserlis' theorem"),
        Step(
            equal(2 * _lam**2 * _p + _lam * (2 * _gap + _v**2) - _lam**2 * _p, _VARIANCE),
            "one sample's gradient x (x'e - v xi), with S = E ee', has along an eigenvector the mean lambda e_i and the variance "
            "2 lambda^2 p + lambda (tr(HS) + v^2) - lambda^2 p, as xi is independent of x; tr(HS) is twice the mean gap",
        ),
        Step(
            equal(squares * _VARIANCE / squares**2, _VARIANCE / squares),
            "the mean of b independent samples has that variance over b, and its product with what is known before the step "
            "(e, m) the mean lambda e times that",
        ),
    )


def _moments() -> tuple[Step, ...]:
    return (
        *_of_gradient(),
        Step(
            equal(after_step("gd", sp.S.Zero, _SECOND, _lam, (_p,)), _NEXT),
            "one step of the rule gd, squared, in the mean: E e_i g_i = lambda p, and E g_i^2 = lambda^2 p + the variance",
        ),
    )


def _moments_with_memory() -> tuple[Step, ...]:
    return (
        *_of_gradient(),
        Step(
            equal(after_step("heavy-ball", _k, _SECOND, _lam, (_p, _q, _r)), _ALONG_NEXT),
            "one step of the rule heavy-ball, e' + k m' squared, in the mean: E e g = lambda p, E m g = lambda E e m",
        ),
    )


def _floor(momentum: sp.Expr, trace: sp.Symbol) -> tuple[Step, ...]:
    s = sp.Symbol("s", nonnegative=True)
    x, D = _eta * _lam, denominator(_eta * _lam, momentum)
    return (
        *_fixed_point(momentum),
        Step(
            equal(_lam * _p, share(x, momentum) * (s + _v**2)),
            "so that lambda_i p_i = x (1+beta)/D (s + v^2)",
            (equal(_lam * _p * D, x * (1 + momentum) * (s + _v**2)), sp.Gt(D, 0)),
        ),
        Step(
            equal(s, _v**2 * trace / (1 - trace)),
            "summed over i, s = c (s + v^2), and E gap is s/2",
            (equal(s, trace * (s + _v**2)), sp.Lt(trace, 1)),
        ),
    )


def _fixed_point(momentum: sp.Expr) -> tuple[Step, ...]:
    """Return the steps to lambda p D = x (1 + beta)(s + v^2) at the fixed point, s = sum_j lambda_j p_j."""
    s = 2 * _gap + _v**2
    x = _eta * _lam
    if momentum == 0:
        own = (1 - x) ** 2 + x**2 / _b
        return (
            Step(
                equal(1 - own, x * denominator(x, momentum) / _b),
                "1 - a_i for the factor a_i of p_i alone in sgd-moments",
            ),
            Step(
                equal(_lam * _p * denominator(x, momentum), x * s),
                "at the fixed point p_i (1 - a_i) = (eta^2/b) lambda_i (s + v^2)",
                (equal(_p * x * denominator(x, momentum) / _b, _eta**2 / _b * _lam * s),),
            ),
        )
    noise = (_lam**2 * _p + _lam * s) / _b
    return (
        Step(
            equal(_q, -_eta * _r / 2),
            "at the fixed point E m^2 stands in E e^2 and E e m: 2 beta q + 2 lambda p = eta r, (1 - beta) q = lambda p - eta r",
            (equal(2 * _beta * _q + 2 * _lam * _p, _eta * _r), equal((1 - _beta) * _q, _lam * _p - _eta * _r)),
        ),
        Step(
            equal(_lam * _p, (1 + _beta) * _eta * _r / 2),
            "put back",
            (equal(2 * _beta * _q + 2 * _lam * _p, _eta * _r), equal(_q, -_eta * _r / 2)),
        ),
        Step(
            equal(
                sp.expand((1 - _beta**2 + _beta * x) * _r - x * (1 + _beta) * _r / 2),
                sp.expand((1 - _beta) * (2 * (1 + _beta) - x) * _r / 2),
            ),
            "r = beta^2 r + 2 beta lambda q + lambda^2 p + noise with these: (1-beta)(2 (1+beta) - x) r/2 = noise",
        ),
        Step(
            equal(_lam * _p * denominator(x, momentum), x * (1 + _beta) * s),
            "so that lambda p D = x (1 + beta)(s + v^2)",
            (
                equal(_lam * _p, (1 + _beta) * _eta * _r / 2),
                equal((1 - _beta) * (2 * (1 + _beta) - x) * _r / 2, noise),
            ),
        ),
    )


def _stability(momentum: sp.Expr, trace: sp.Symbol) -> tuple[Step, ...]:
    total, part, whole, own = sp.symbols("T A T_n sum_p", positive=True)
    x = sp.Symbol("x", positive=True)
    D, start = denominator(x, momentum), sp.Symbol("q", positive=True)
    swing = (1 - momentum) ** 2 * (1 + momentum) + 2 * momentum * x
    one = equal(own * x * D, 2 * (_b * start * swing + total * x**2 * (1 + momentum)))
    known = (sp.Lt(momentum, 1),) if momentum != 0 else ()
    return (
        Step(
            sp.Gt(D, 0),
            "the moments stable: their sums over all steps are finite, and summed over t the recursion is one equation for each "
            "mode, with the mode's own sum on the left: so D > 0",
            (one, *known),
        ),
        Step(
            sp.Lt(trace, 1),
            "divided by x D and summed over i: T = A + c T with A > 0, so that c < 1",
            (equal(total, part + trace * total),),
        ),
        Step(
            sp.Le(whole, part / (1 - trace)),
            "conversely, with D > 0 and c < 1: a mode's square is that of the full batch plus the noise of every earlier step "
            "times the square of what the rule makes of a kick, so that sums up to any n satisfy T_n <= A + c T_n and stay "
            "bounded; the moments are sums of powers, and those of a bounded sum go to 0",
            (sp.Le(whole, part + trace * whole), sp.Lt(trace, 1)),
        ),
        Step(
            equal(total, part / (1 - trace)),
            "the sum itself",
            (equal(total, part + trace * total), sp.Lt(trace, 1)),
        ),
    )


def _total(momentum: sp.Expr, trace: sp.Symbol) -> sp.Expr:
    """Return the sum of E gap over all steps: A/(1 - c)."""
    x = _eta * Symbol.lambda_i
    swing = (1 - momentum) ** 2 * (1 + momentum) + 2 * momentum * x
    return SumOver(_b * Symbol.part_i * swing / (x * denominator(x, momentum))) / (1 - trace)


def _calm(momentum: sp.Expr, trace: sp.Symbol) -> tuple[sp.Basic, ...]:
    """Return what makes the sum of E gap defined."""
    return (sp.Lt(trace, 1), sp.Gt(denominator(_eta * Symbol.lambda_i, momentum), 0))


def _limit(trace: sp.Symbol) -> sp.Expr:
    return _v**2 * trace / (2 * (1 - trace))


_c, _c_beta = Symbol.trace_rate, Symbol.trace_momentum
_PART, _WITH = of_part(OF_STREAM), of_part(STABLE)
_HERE = "Derived here; the fourth moments after Isserlis (1918)."

STREAM = (
    Theorem(
        name="sgd-moments",
        rules=(GD,),
        kind="expectation",
        direction="equal",
        quantity=Symbol.square_next,
        bound=_NEXT,
        oracle="stream",
        tight="always, in the mean",
        argument=_moments,
        conclusion=lambda bound: concludes(bound, _NEXT),
        hypotheses=(_PART,),
        source=_HERE,
    ),
    Theorem(
        name="sgd-stability",
        rules=(GD,),
        kind="expectation",
        direction="equal",
        quantity=Symbol.total_gap,
        bound=_total(sp.S.Zero, _c),
        oracle="stream",
        tight="always, in the mean: the sum is finite if and only if the rate is stable, D > 0 and c < 1",
        argument=lambda: _stability(sp.S.Zero, _c),
        conclusion=lambda bound: concludes(bound, _total(sp.S.Zero, _c), _calm(sp.S.Zero, _c)),
        hypotheses=(_PART, of_part(CALM), _WITH),
        source="Derived here.",
    ),
    Theorem(
        name="sgd-floor",
        rules=(GD,),
        kind="expectation",
        direction="equal",
        quantity=Symbol.floor,
        bound=_limit(_c),
        oracle="stream",
        tight="always, in the mean",
        argument=lambda: _floor(sp.S.Zero, _c),
        conclusion=lambda bound: concludes(bound, _limit(_c), (sp.Lt(_c, 1),)),
        hypotheses=(_PART, _WITH),
        source="Derived here.",
    ),
    Theorem(
        name="heavy-ball-moments",
        rules=(HEAVY_BALL,),
        kind="expectation",
        direction="equal",
        quantity=Symbol.along_next,
        bound=_ALONG_NEXT,
        oracle="stream",
        tight="always, in the mean, for every k: at k = 0 it is E e^2, and its coefficients are E e m and E m^2",
        argument=_moments_with_memory,
        conclusion=lambda bound: concludes(bound, _ALONG_NEXT),
        hypotheses=(_PART,),
        source=_HERE,
    ),
    Theorem(
        name="heavy-ball-stability",
        rules=(HEAVY_BALL,),
        kind="expectation",
        direction="equal",
        quantity=Symbol.total_gap,
        bound=_total(_beta, _c_beta),
        oracle="stream",
        tight="always, in the mean: the sum is finite if and only if the rate is stable, D > 0 and c < 1",
        argument=lambda: _stability(_beta, _c_beta),
        conclusion=lambda bound: concludes(bound, _total(_beta, _c_beta), _calm(_beta, _c_beta)),
        hypotheses=(_PART, of_part(CALM), _WITH),
        source="Derived here.",
    ),
    Theorem(
        name="heavy-ball-floor",
        rules=(HEAVY_BALL,),
        kind="expectation",
        direction="equal",
        quantity=Symbol.floor,
        bound=_limit(_c_beta),
        oracle="stream",
        tight="always, in the mean",
        argument=lambda: _floor(_beta, _c_beta),
        conclusion=lambda bound: concludes(bound, _limit(_c_beta), (sp.Lt(_c_beta, 1),)),
        hypotheses=(_PART, _WITH),
        source="Derived here.",
    ),
)
"""Statements about gradient descent and heavy-ball on a stream."""
