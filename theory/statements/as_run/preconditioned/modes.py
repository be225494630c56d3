"""adam-span and linear-modes: many steps as one linear map, of a block under its preconditioners, and of a mode without one."""

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.as_run.preconditioned.frame import BLOCKS, PRECONDITIONED, beta, d, frame, y
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import e, equal, lam

__all__ = ["modes", "span"]

q = sp.Symbol("q", nonnegative=True)


def span() -> tuple[Step, ...]:
    """Return the proof of adam-span."""
    norm, start, end = sp.symbols("norm_squared start end", nonnegative=True)
    return (
        *frame(*PRECONDITIONED),
        Step(
            equal(y, y + 0 * d),
            (
                "(y, d) <- (y - K u, beta d - K u), u = y - beta d, is linear: t steps are a product Phi of "
                "matrices that the preconditioners alone determine"
            ),
        ),
        Step(
            (
                "|Phi_y x|^2 <= lambda_max(Phi_y'Phi_y) |x|^2 for the rows Phi_y of y and x = y_0, as m_0 = 0 gives "
                "d_0 = y_0"
            ),
            "Rayleigh quotient",
        ),
        Step(
            sp.Le(end / 2, norm * (start / 2)),
            "twice the gap is |y|^2: gap_t <= |Phi_y|^2 gap_0, block by block",
            (sp.Le(end, norm * start),),
        ),
        BLOCKS,
    )


def modes() -> tuple[Step, ...]:
    """Return the proof of linear-modes."""
    steps: list[Step] = []
    for name in ("heavy-ball", "nesterov"):
        rule = RULES[name]
        form = rule.linear_form
        assert form is not None
        (state,) = rule.states
        m0 = sp.Symbol("m_0", real=True)
        after, states = advance(rule, e, form.eigenvalue * e, {state: m0})
        row = form.matrix * sp.Matrix([e, m0])
        steps += [
            Step(equal(after, row[0]), f"{name} on an eigenvector is linear in (e, m): the first row"),
            Step(equal(states[state], row[1]), "and the second"),
        ]  # fmt: skip
    own = RULES["heavy-ball"].linear_form
    (momentum,) = RULES["heavy-ball"].hyperparameters
    assert own is not None
    z, eta = sp.Symbol("z"), sp.Symbol("eta", positive=True)
    trace = 1 + beta - eta * own.eigenvalue
    top, value = sp.symbols("p_max p_i", nonnegative=True)
    return (
        Step(
            (
                "a symmetric H has an orthonormal basis of eigenvectors, block by block; in it the gap is 1/2 sum_i "
                "lambda_i e_i^2"
            ),
            "spectral theorem",
        ),
        *steps,
        Step(
            equal(lam * (value * e) ** 2 / 2, value**2 * (lam * e**2 / 2)),
            (
                "from m = 0 the error on an eigenvector is p_t(lambda_i) e_i(0): its part of the gap is multiplied "
                "by p_t^2"
            ),
        ),
        Step(sp.Le(value**2 * q, top**2 * q), "by at most the largest of these", (sp.Le(value, top),)),
        BLOCKS,
        Step(
            equal(
                (own.matrix - z * sp.eye(2)).det(),
                z**2 - trace.subs({eta: rule_symbols.lr, beta: momentum}) * z + momentum,
            ),
            "heavy-ball: the characteristic polynomial of a mode is z^2 - (1 + beta - eta lambda) z + beta",
        ),
        Step(
            sp.And(sp.Gt(1 + trace + beta, 0), sp.Gt(1 - trace + beta, 0)),
            (
                "its roots lie in the unit disc (Jury) iff beta < 1 and eta lambda < 2(1+beta): the edge tau = eta "
                "lambda/(1-beta) < 2(1+beta)/(1-beta) of frozen Adam"
            ),
            (sp.Lt(beta, 1), sp.Lt(eta * own.eigenvalue, 2 * (1 + beta))),
        ),
    )
