"""Why sign steps and Adam do not see the scales of blocks, and what GD needs in comparison (docs/theory.md sections 2, 8, 9)."""

from collections.abc import Mapping

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import BlockMean, Ratio
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.statements.as_run.records import as_run
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance, along_eigenvector
from quadsim.theory.statements.steps import EIGENBASIS, e, equal, lam
from quadsim.theory.statements.theorem import Hypothesis
from quadsim.theory.symbols import Symbol

__all__ = ["INVARIANCE", "INVARIANT", "scaled"]

INVARIANT = (
    "signsgd",
    "signum",
    "lion",
    "adam",
    "adamw",
    "amsgrad",
    "adam-mini",
    "rmsprop",
    "rmsprop-centered",
    "adam-frozen",
)
"""Rules that do not see the scale of a block, with eps = 0."""

_c = sp.Symbol("c", positive=True)
_g = sp.Symbol("g", real=True)


_mean_square = sp.Symbol("q", positive=True)  # mean of g_i^2 over a block
_k1, _k2 = sp.symbols("k_1 k_2", positive=True)  # 1 - beta1^t and 1 - beta2^t
_BELOW_ONE = tuple(sp.Lt(beta, 1) for beta in list(RULES["adam"].hyperparameters)[:2])


def scaled(name: str) -> tuple[Step, ...]:
    """Return the proof steps that a rule moves alike when g is scaled by c, and its states keep their scale."""
    rule = RULES[name]
    own = {str(symbol): symbol for symbol in rule.hyperparameters}
    values = {own[key]: sp.S.Zero for key in ("eps", "weight_decay") if key in own}
    values |= {clock: 1 - left for clock, left in zip(rule.clocks, (_k1, _k2), strict=False)}
    squares = ("v", "v_max")
    old = {state: sp.Symbol(f"{state}_0", positive=True) for state in rule.states}
    new = {state: (_c**2 if str(state) in squares else _c) * value for state, value in old.items()}
    start, gradient = sp.Symbol("e", real=True), sp.Symbol("g", positive=True)
    one, kept = advance(rule, start, gradient, old, values)
    other, larger = advance(rule, start, _c * gradient, new, values)
    claims = [equal(_factored(other), _factored(one))]
    claims += [
        equal(_factored(larger[s]), _factored((_c**2 if str(s) in squares else _c) * kept[s])) for s in rule.states
    ]
    given = tuple(relation for relation in _BELOW_ONE if relation.lhs in own.values())
    if name == "rmsprop-centered":  # with eps = 0 it has a step only where the variance is positive
        given += tuple(sp.Gt(variance, 0) for variance in claims[0].atoms(sp.Max))
    starts = tuple(
        Step(
            equal(
                first.subs(rule_symbols.g, _c * gradient),
                (_c**2 if str(s) in squares else _c) * first.subs(rule_symbols.g, gradient),
            ),
            f"{name}: the state {s} has its scale at the start, too",
        )
        for s, first in rule.start.items()
    )
    return starts + tuple(
        Step(
            claim,
            f"{name}: with c g for g, c m for m and c^2 v for v (eps = 0; g, m > 0) "
            + ("the step is the same" if number == 0 else f"and the state {rule.states[number - 1]} keeps its scale"),
            given,
        )
        for number, claim in enumerate(claims)
    )


def _factored(expression: sp.Expr) -> sp.Expr:
    """Return an expression with c taken out of signs, means and maxima; the rest is left to the prover."""

    def mean(inner: sp.Expr) -> sp.Expr:
        """The mean of g_i^2 over the block as a positive number, times c^2 where every g_i is scaled."""
        return _c**2 * _mean_square if inner.has(_c) else _mean_square

    out = expression.replace(sp.sign, lambda x: sp.sign(sp.expand(x / _c if x.has(_c) else x)))
    out = out.replace(BlockMean, mean)
    out = out.replace(Ratio, lambda x, y: x / y)
    return out.replace(
        sp.Max,
        lambda *x: (
            _c**2 * sp.Max(*(sp.expand(y / _c**2) for y in x))
            if any(y.has(_c) for y in x)
            else sp.Max(*map(sp.expand, x))
        ),
    )


def _invariance() -> tuple[Step, ...]:
    w1, w2, r1, r2, top = sp.symbols("w_1 w_2 r_1 r_2 r", nonnegative=True)
    x = sp.Symbol("x", real=True)
    return (
        Step(
            equal(sp.sign(_c * x), sp.sign(x)),
            "sign(c x) = sign(x) for c > 0: the sign of g, m and e does not enter below",
        ),
        *(step for name in INVARIANT for step in scaled(name)),
        Step(
            equal(_c * lam * e**2 / 2, _c * (lam * e**2 / 2)),
            "so with c_l H_l for H_l and the same e_0 the gradient of the block is c_l g_l at every step and the errors"
            " are the same; the gap of the block is c_l times what it was, and gap_l,t/gap_l,0 does not depend on c_l",
        ),
        Step(
            sp.Le(w1 * r1 + w2 * r2, top * (w1 + w2)),
            (
                "gap_t/gap_0 is a mean of the ratios of the blocks with the weights c_l gap_l,0 (two blocks; by "
                "induction all)"
            ),
            (sp.Le(r1, top), sp.Le(r2, top)),
        ),
    )


def _diagonal() -> tuple[Step, ...]:
    rule = RULES["adam"]
    own = {str(symbol): symbol for symbol in rule.hyperparameters}
    p1, p2 = rule.clocks
    m, v = rule.states
    eta = sp.Symbol("eta", positive=True)
    values = {
        own["eps"]: sp.S.Zero,
        rule_symbols.lr: eta,
        p1: 1 - _k1,
        p2: 1 - _k2,
    }
    start, m0, v0 = sp.symbols("e_t m_0 v_0", positive=True)
    one, _ = advance(rule, start, start, {m: m0, v: v0}, values)
    curved, _ = advance(rule, start, lam * start, {m: lam * m0, v: lam**2 * v0}, values)
    large, _ = advance(rule, _c * start, _c * start, {m: _c * m0, v: _c**2 * v0}, {**values, rule_symbols.lr: _c * eta})
    return (
        Step(
            equal(_factored(curved), _factored(one)),
            "one coordinate, eps = 0: with lambda e for g, lambda m and lambda^2 v, lambda drops out of the step",
            _BELOW_ONE,
        ),
        Step(
            equal(_factored(large), _factored(_c * one)),
            "and with c e for e and c eta for eta everything is c times as large: e_t/e_0 depends on eta/|e_0| alone",
            _BELOW_ONE,
        ),
        Step(
            equal(lam * (start * m0) ** 2 / 2, m0**2 * (lam * start**2 / 2)),
            "the gap of a coordinate is X_t^2 times its gap at the start (m_0 stands for X_t)",
        ),
    )


def _from_start() -> tuple[Step, ...]:
    L, mu, r = sp.symbols("lambda_i lambda_j r", positive=True)
    eta = sp.Symbol("eta", real=True)
    x, y = sp.symbols("x y", nonnegative=True)
    share, other, rest, q = sp.symbols("q_i q_j rest q", nonnegative=True)
    factor = along_eigenvector(RULES["gd"], {rule_symbols.lr: Symbol.eta})
    return (
        EIGENBASIS,
        Step(
            equal(factor, 1 - Symbol.eta * lam),
            "the rule gd multiplies the error on an eigenvector by 1 - eta lambda, at every step",
        ),
        Step(
            sp.Ge(r * (L + mu), L - mu),
            (
                "if both |1 - eta lambda_i| and |1 - eta lambda_j| are at most r, then r >= (lambda_i - "
                "lambda_j)/(lambda_i + lambda_j), for every real eta"
            ),
            (sp.Le(1 - eta * mu, r), sp.Le(eta * L - 1, r), sp.Ge(L, mu)),
        ),
        Step(
            sp.Ge(share * x + other * y + rest, q * sp.Max(x, y)),
            (
                "gap_t/gap_0 >= q_i (1 - eta lambda_i)^(2t) + q_j (1 - eta lambda_j)^(2t), at least min(q_i, q_j) "
                "times the larger one"
            ),
            (sp.Le(q, share), sp.Le(q, other)),
        ),
    )


def _proportional(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Whether every block is a multiple of the first, with the same start: M problems, (M, 1)."""
    problem = trajectory.problem
    if len(problem.hessian) != 1:
        return np.zeros((problem.problems, 1), dtype=bool)
    ((size, matrices),) = problem.hessian.items()
    scale = np.einsum("mbii->mb", matrices)
    unit = matrices / scale[..., None, None]
    start = problem.initial_error[size]
    alike = np.abs(unit - unit[:, :1]).max(axis=(1, 2, 3)) <= 1e-15
    return np.asarray((alike & (start == start[:, :1]).all(axis=(1, 2)))[:, None])


def _sizes_seen(trajectory: Trajectory) -> Mapping[str, NDArray[np.float64]]:
    sizes = trajectory.problem.block_sizes
    return {"in the smallest block": np.array(float(min(sizes))), "in the largest": np.array(float(max(sizes)))}


_PROPORTIONAL = Hypothesis(
    "every block is a power of two times the first, with the same start", _proportional, seen=_sizes_seen
)
_NO_EPS = Hypothesis(
    "eps = 0 and no weight decay",
    lambda run: np.asarray(
        (run.settings.get("eps", np.zeros(1)) == 0.0) & (run.settings.get("weight_decay", np.zeros(1)) == 0.0)
    )[None, :],
    seen=lambda run: {"for eps": run.settings.get("eps", np.zeros(1))[None, :]},
)


def _apart(trajectory: Trajectory) -> NDArray[np.float64]:
    """Return max_i |e_0,i| - min_i |e_0,i|, (M, 1)."""
    start = trajectory.problem.layout.flatten(trajectory.problem.initial_error)
    return np.asarray(np.ptp(np.abs(start), axis=1)[:, None])


_SCALARS = Hypothesis(
    "H is diagonal, in blocks of one, with one |e_0,i| for all coordinates",
    lambda run: np.asarray((max(run.problem.block_sizes) == 1) & (_apart(run) == 0.0)),
    seen=lambda run: {
        "in the largest block": np.array(max(run.problem.block_sizes)),
        "between the largest and the smallest |e_0,i|": _apart(run),
    },
)
INVARIANCE = (
    as_run(
        "block-scale-invariance",
        INVARIANT,
        Symbol.ratio_low,
        _invariance,
        kind="identity",
        quantity=Symbol.ratio_high,
        any_schedule=True,
        hypotheses=(_NO_EPS, _PROPORTIONAL),
        direction="equal",
        tight="always; bit for bit where the c_l are powers of two",
        source=(
            "Derived here: the exact form of 'adaptive methods do not see Hessian heterogeneity'. Checked "
            "within one run: blocks that"
            " are multiples of each other, with the same start, have the same ratios of gaps. GD has no such "
            "property (gd-lower-start)."
        ),
    ),
    as_run(
        "adam-diagonal",
        ("adam",),
        Symbol.ratio_low,
        _diagonal,
        kind="identity",
        quantity=Symbol.ratio_high,
        any_schedule=True,
        statement=(
            r"H \text{ diagonal},\ \varepsilon = 0 \Rightarrow e_{t,i} = e_{0,i} X_t(\eta/|e_{0,i}|),\quad "
            r"f(w_t) - f^* = \tfrac12\sum_i \lambda_i"
            r" e_{0,i}^2 X_t(\eta/|e_{0,i}|)^2,\quad X_t \text{ free of } \lambda"
        ),
        hypotheses=(_NO_EPS, _SCALARS),
        direction="equal",
        tight="always",
        source=(
            "Derived here. Checked where all |e_0,i| are one number: then every coordinate has the same ratio of gaps, whatever"
            " its eigenvalue."
        ),
    ),
    as_run(
        "gd-lower-start",
        ("gd", "sgd"),
        Symbol.least_ratio,
        _from_start,
        quantity=None,
        direction="lower",
        tight=".89 to .97 of the steps of GD at its best rate",
        source=(
            "Classical in kind, derived here for every start, not only the witness of gd-lower. So T >= "
            "ln(q/tol)/(2 ln((k+1)/(k-1))) at every"
            " constant rate. Shares on equal eigenvalues are added up."
        ),
    ),
)
