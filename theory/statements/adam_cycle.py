"""Theorems about limit cycles of Adam and of its limit, sign descent (docs/theory.md section 3)."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import Ratio
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.quantities import same_rule
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import concludes, e, equal, lam
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import SumOver, Symbol

__all__ = ["CYCLE", "adam_on_orbit"]

eta, beta1, beta2 = Symbol.eta, Symbol.beta1, Symbol.beta2
_AMPLITUDE = eta * (1 - beta1) / (2 * (1 + beta1))


def adam_on_orbit() -> Rule:
    """Return Adam without bias correction, with the moments at the start as on its period-2 orbit.

    It is derived from the rule adam: with the clocks p1 = p2 = 0 the corrections are 1. On the orbit m_t =
    (1-beta1)/(1+beta1) g_t, so before the first step m is the negative of that, and v = g^2.
    """
    adam = RULES["adam"]
    m, v = adam.states
    b1 = next(h for h in adam.hyperparameters if str(h) == "beta1")
    g = rule_symbols.g
    return replace(
        adam,
        name="adam-on-orbit",
        clocks={},
        step=adam.step.subs(dict.fromkeys(adam.clocks, 0)),
        start={m: -(1 - b1) / (1 + b1) * g, v: g**2},
        summary="Adam without bias correction, started on its period-2 orbit.",
        source="docs/theory.md section 3, adam-cycle.",
    )


def _hyperparameters(rule: Rule) -> dict[str, sp.Symbol]:
    return {str(symbol): symbol for symbol in rule.hyperparameters}


def _cycle() -> tuple[Step, ...]:
    rule = adam_on_orbit()
    m, v = rule.states
    b1, b2, eps = (_hyperparameters(rule)[name] for name in ("beta1", "beta2", "eps"))
    # c = (1-beta1)/(1+beta1) in (0, 1]: roots of squares then stay plain.
    c = sp.Symbol("c", positive=True)
    memory = (1 - c) / (1 + c)
    a = eta * c / 2
    values = {rule_symbols.lr: eta, b1: memory, b2: beta2, eps: sp.S.Zero}
    after, states = advance(rule, a, lam * a, {m: -c * lam * a, v: (lam * a) ** 2}, values)
    z = sp.Symbol("z")
    jury = 1 - 3 * beta1 - 3 * beta1 * beta2 + beta1**2 * beta2
    a2, a1, a0 = 1 - beta1 - 3 * beta2, 3 * beta1 + beta2 - beta1 * beta2, -beta1 * beta2
    width, x = sp.symbols("eta a", positive=True)
    sign_after, _ = advance(RULES["signsgd"], x, lam * x, values={rule_symbols.lr: width})
    back, _ = advance(RULES["signsgd"], x - width, -lam * (width - x), values={rule_symbols.lr: width})
    positive = sp.Symbol("h", positive=True)  # eta - a
    return (
        Step(equal((1 - memory) / (1 + memory), c), "c = (1-beta1)/(1+beta1), so that the amplitude is a = eta c/2"),
        Step(equal(after, -a), "one step of Adam without bias correction takes e = a, m = -c g, v = g^2 to e = -a"),
        Step(
            equal(states[m], c * lam * a), "with m = c g, so that a second step, the mirror image, leads back: period 2"
        ),
        Step(equal(states[v], (lam * a) ** 2), "and v unchanged"),
        *_corrected(),
        Step(
            equal(lam * _AMPLITUDE**2 / 2, lam * (-_AMPLITUDE) ** 2 / 2), "the gap on it is lambda a^2/2 at both ends"
        ),
        Step(
            equal(_linearised(rule, z), z**3 + a2 * z**2 + a1 * z + a0),
            "the linearisation at the orbit, from the rule, has this characteristic polynomial (after a reflection)",
        ),
        Step(
            equal((1 - a0**2) - (a1 - a0 * a2), (1 - beta2) * jury),
            "Jury's last quantity factors: its sign is that of 1 - 3 beta1 - 3 beta1 beta2 + beta1^2 beta2, negative from "
            "beta1 = 1/3 on",
        ),
        Step(
            sp.Le(jury, 0),
            "which is not positive for any beta1 >= 1/3",
            (sp.Ge(beta1, sp.Rational(1, 3)), sp.Le(beta1, 1), sp.Le(beta2, 1)),
        ),
        Step(
            sp.And(equal(sign_after, x - width), equal(back.subs(width, x + positive), x)),
            "SignSGD: from 0 < a < eta a step leads to a - eta < 0 and the next one back",
        ),
        Step(
            sp.And(
                sp.Ge(sp.Max(x**2, (width - x) ** 2), width**2 / 4), sp.Lt(sp.Max(x**2, (width - x) ** 2), width**2)
            ),
            "the larger of its two gaps lies in [lambda eta^2/8, lambda eta^2/2)",
            (sp.Lt(x, width),),
        ),
    )


def _corrected() -> tuple[Step, ...]:
    """Return the proof steps for beta1 = 0, where the orbit is also one of Adam with bias correction, from its usual start."""
    adam = RULES["adam"]
    m, v = adam.states
    b1, b2, eps = (_hyperparameters(adam)[name] for name in ("beta1", "beta2", "eps"))
    p1, p2 = adam.clocks
    last, rest = sp.Symbol("p", nonnegative=True), sp.Symbol("h", positive=True)  # beta2^(t-1), and 1 - beta2^t
    power = 1 - rest
    a = eta / 2
    before = (lam * a) ** 2 * (1 - last)
    values = {rule_symbols.lr: eta, b1: sp.S.Zero, b2: beta2, eps: sp.S.Zero, p2: beta2 * last}
    _, states = advance(adam, a, lam * a, {m: sp.Symbol("m", real=True), v: before}, values)
    here = {rule_symbols.lr: eta, m: lam * a, v: (lam * a) ** 2 * rest, p1: 0, p2: power, eps: 0}
    return (
        Step(
            equal(states[v], (lam * a) ** 2 * (1 - beta2 * last)),
            "with beta1 = 0 and bias correction: if v = g^2 (1 - beta2^(t-1)) before a step, then v = g^2 (1 - beta2^t) after",
        ),
        Step(equal(states[m], lam * a), "and m = g, with p1 = 0"),
        Step(
            equal(a + adam.step.subs(here).doit(), -a),
            "so that the corrected v is g^2 at every t, and the rule's step leads from a to -a",
        ),
    )


def _linearised(rule: Rule, z: sp.Symbol) -> sp.Expr:
    """Return the characteristic polynomial of one step followed by a reflection of e and m, linearised at the orbit."""
    m, v = rule.states
    b1, b2, eps = (_hyperparameters(rule)[name] for name in ("beta1", "beta2", "eps"))
    position, memory, square = sp.symbols("e m v", positive=True)
    values = {rule_symbols.lr: eta, b1: beta1, b2: beta2, eps: sp.S.Zero}
    after, states = advance(rule, position, lam * position, {m: memory, v: square}, values)
    point = {
        position: _AMPLITUDE,
        memory: -(1 - beta1) / (1 + beta1) * lam * _AMPLITUDE,
        square: (lam * _AMPLITUDE) ** 2,
    }
    step = sp.Matrix([-after, -states[m], states[v]])
    root = sp.Symbol("R", positive=True)
    # The root of v at the orbit is lambda a: put in by hand, as SymPy does not know that 1 - beta1 is positive.
    jacobian = step.jacobian([position, memory, square])
    at_orbit = jacobian.applyfunc(
        lambda x: sp.simplify(
            x
            .subs(states[v], root**2)
            .subs(beta2 * square + (1 - beta2) * lam**2 * position**2, root**2)
            .subs(point)
            .subs(root, lam * _AMPLITUDE)
        )
    )
    return sp.simplify((z * sp.eye(3) - at_orbit).det())


def _is_sign() -> tuple[Step, ...]:
    adam = RULES["adam"]
    b1, b2, eps = (_hyperparameters(adam)[name] for name in ("beta1", "beta2", "eps"))
    g = sp.Symbol("g", real=True)
    values = {rule_symbols.lr: eta, b1: sp.S.Zero, b2: sp.S.Zero, eps: sp.S.Zero}
    after, _ = advance(adam, e, g, values=values)
    other, _ = advance(RULES["signsgd"], e, g, values={rule_symbols.lr: eta})
    m, _ = adam.states
    (quotient,) = adam.step.atoms(Ratio)
    mean, _ = quotient.args
    corrected = tuple(sp.Lt(clock, 1) for clock in adam.clocks)
    return (
        Step(
            equal(after, e - eta * g / sp.Abs(g)),
            "with beta1 = beta2 = 0 and eps = 0 a step of the rule adam is -eta g/|g|, where g is not 0",
            (sp.Ne(g, 0),),
        ),
        Step(equal(other, e - eta * sp.sign(g)), "a step of the rule signsgd is -eta sign(g)"),
        Step(sp.Eq(g / sp.Abs(g), sp.sign(g), evaluate=False), "the same where g is not 0", (sp.Ne(g, 0),)),
        Step(equal(other, e), "where g = 0 signsgd does not move", (sp.Eq(g, 0),)),
        Step(
            equal(adam.step, -rule_symbols.lr * quotient),
            "nor does adam, whose step is -eta times a quotient that counts as 0 where its numerator is 0,",
            corrected,
        ),
        Step(equal(mean, 0), "as its numerator is where m = g = 0", (sp.Eq(m, 0), *corrected)),
    )


def _largest_off_diagonal(trajectory: Trajectory) -> NDArray[np.float64]:
    problem = trajectory.problem
    off = [np.abs(h * (1 - np.eye(size))).max(axis=(1, 2, 3)) for size, h in problem.hessian.items()]
    return np.asarray(np.max(off, axis=0)[:, None])


def _is_diagonal(trajectory: Trajectory) -> NDArray[np.bool_]:
    return np.asarray(_largest_off_diagonal(trajectory) == 0.0)


def _starts_seen(trajectory: Trajectory) -> dict[str, NDArray[np.float64]]:
    b1, rate = trajectory.settings["beta1"], trajectory.settings["lr"]
    start = np.abs(trajectory.problem.layout.flatten(trajectory.problem.initial_error))[:, None]
    return {
        "for the smallest": start.min(axis=-1),
        "for the largest": start.max(axis=-1),
        "wanted": (rate * (1 - b1) / (2 * (1 + b1)))[None, :],
    }


def _starts_on_orbit(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Whether |e_0,i| = eta (1-beta1)/(2 (1+beta1)) for every i, up to the rounding of the formula and of the start."""
    b1, rate = trajectory.settings["beta1"], trajectory.settings["lr"]
    start = np.abs(trajectory.problem.layout.flatten(trajectory.problem.initial_error))[:, None]
    wanted = (rate * (1 - b1) / (2 * (1 + b1)))[None, :, None]
    return np.asarray(np.all(np.abs(start - wanted) <= 4 * np.finfo(float).eps * wanted, axis=-1))


def _memories_fit(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Whether the moments start on the orbit: by the rule's start, or by beta1 = 0, where the bias correction does it."""
    own = trajectory.rule is not None and same_rule(trajectory.rule, adam_on_orbit())
    return np.asarray(own | (trajectory.settings["beta1"] == 0.0))[None, :]


def _without_eps(trajectory: Trajectory) -> NDArray[np.bool_]:
    return np.asarray(trajectory.settings["eps"] == 0.0)[None, :]


def _orbit_rounding(trajectory: Trajectory) -> NDArray[np.float64]:
    """Return the relative error of the recorded gaps, (M, K, R).

    In units of a, lambda a and (lambda a)^2 a step of (e, m, v) is the same for every coordinate. Its matrix J, linearised at
    the orbit, carries a rounding error of at most 16 units a step (the start included) on: after t steps |e| is off by at most
    16 u sum_{s<=t} |J^s| in the maximum norm, and the gap, a sum of squares, by twice that and the square of it.
    """
    b1, b2 = trajectory.settings["beta1"], trajectory.settings["beta2"]
    unit = float(np.finfo(trajectory.dtype).eps) / 2
    last = int(trajectory.steps[-1])
    out = np.zeros(trajectory.gap.shape)
    for k, (x, y) in enumerate(zip(b1.tolist(), b2.tolist(), strict=True)):
        c = (1 - x) / (1 + x)
        # v' = y v + (1-y) e^2, m' = x m + (1-x) e, e' = e - 2 m'/(c sqrt(v')), at (1, -c, 1).
        jacobian = np.array([
            [1 - 2 * (1 - x) / c + 2 * (1 - y), -2 * x / c, y],
            [1 - x, x, 0.0],
            [2 * (1 - y), 0.0, y],
        ])
        power, total, sums = np.eye(3), 0.0, []
        for _ in range(last + 1):
            total += float(np.abs(power).sum(axis=1).max())
            sums.append(total)
            power = jacobian @ np.diag([-1.0, -1.0, 1.0]) @ power
        error = 16 * unit * np.array(sums)[trajectory.steps]
        out[:, k] = 2 * error + error**2
    return out


def _exactly_diagonal(problem: Any, settings: Mapping[str, float]) -> bool:
    return all(h[i, j] == 0 for h in problem.blocks for i in range(h.nrows()) for j in range(i))


def _exactly_on_orbit(problem: Any, settings: Mapping[str, float]) -> bool:
    b1, rate = (Fraction(settings[name]) for name in ("beta1", "lr"))
    wanted = rate * (1 - b1) / (2 * (1 + b1))
    starts = [abs(x) for block in problem.initial_error for x in block]
    return all(Fraction(int(x.p), int(x.q)) == wanted for x in starts)


_WITHOUT_EPS = Hypothesis(
    "eps = 0",
    _without_eps,
    seen=lambda run: {"for eps": run.settings["eps"][None, :]},
    exactly=lambda problem, settings: settings["eps"] == 0.0,
)

CYCLE = (
    Theorem(
        name="adam-cycle",
        rules=("adam", "adam-on-orbit"),
        own_rules=(adam_on_orbit(),),
        statement=(
            r"H \text{ diagonal},\ |e_{0,i}| = a = \frac{\eta(1-\beta_1)}{2(1+\beta_1)}\ \Rightarrow\ e_t = (-1)^t e_0,\quad"
            r" f(w_t) - f^* = \tfrac12 a^2 \sum_i \lambda_i"
        ),
        hypotheses=(
            _WITHOUT_EPS,
            Hypothesis(
                "H is diagonal",
                _is_diagonal,
                seen=lambda run: {"off it": _largest_off_diagonal(run)},
                exactly=_exactly_diagonal,
            ),
            Hypothesis(
                "every |e_0,i| is lr (1-beta1)/(2 (1+beta1))",
                _starts_on_orbit,
                seen=_starts_seen,
                exactly=_exactly_on_orbit,
            ),
            Hypothesis(
                "no bias correction and memories on the orbit (adam-on-orbit), or beta1 = 0",
                _memories_fit,
                seen=lambda run: {"for beta1": run.settings["beta1"][None, :]},
                # A run of the rule adam-on-orbit is told from one of adam by its expressions, in `holds`, which is exact.
                exactly=lambda problem, settings: True,
            ),
        ),
        kind="identity",
        direction="equal",
        bound=SumOver(Symbol.lambda_i) * _AMPLITUDE**2 / 2,
        rounding=_orbit_rounding,
        tight="always, on the orbit; it is no lower bound along other trajectories",
        argument=_cycle,
        conclusion=lambda bound: concludes(
            bound.subs(SumOver(Symbol.lambda_i), lam), lam * (eta * (1 - beta1) / (2 * (1 + beta1))) ** 2 / 2
        ),
        source="After Zhang et al., arXiv 2402.16788 (no convergence at a constant rate), in the exact form derived here.",
    ),
    Theorem(
        name="adam-is-sign",
        rules=("adam",),
        hypotheses=(
            _WITHOUT_EPS,
            Hypothesis.of(sp.Eq(beta1, 0, evaluate=False), "beta1 = 0"),
            Hypothesis.of(sp.Eq(beta2, 0, evaluate=False), "beta2 = 0"),
        ),
        kind="identity",
        direction="equal",
        quantity=Symbol.cosine - sp.Abs(Symbol.stride / eta - 1),
        bound=sp.S.One,
        tight="always",
        argument=_is_sign,
        source="Classical (Bernstein et al., arXiv 1802.04434), in the form derived here. Both angle and length are checked.",
    ),
)
