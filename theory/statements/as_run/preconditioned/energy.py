"""adam-local and adam-energy: one step under any preconditioner, without a memory of gradients and with one."""

import sympy as sp

from quadsim.theory.statements.as_run.preconditioned.frame import (
    BLOCKS,
    EPS1,
    PRECONDITIONED,
    SEMIDEFINITE,
    beta,
    d,
    frame,
    tau,
    u,
    y,
)
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.steps import equal

__all__ = ["energy", "local"]


def local() -> tuple[Step, ...]:
    """Return the proof of adam-local."""
    low, high, between = sp.symbols("tau_low tau_high tau_i", positive=True)
    return (
        *frame(*PRECONDITIONED),
        Step(
            equal((y - tau * y) ** 2, (1 - tau) ** 2 * y**2),
            "with beta = 0, u = y: twice the gap is |y|^2, and each mode's part is multiplied by (1 - tau)^2",
        ),
        Step(
            sp.Le((1 - between) ** 2, sp.Max((1 - low) ** 2, (1 - high) ** 2)),
            "which is largest at an end of the spectrum",
            (sp.Le(low, between), sp.Le(between, high)),
        ),
        BLOCKS,
    )


def energy() -> tuple[Step, ...]:
    """Return the proof of adam-energy."""
    theta = 1 - 2 * tau + tau**2 / EPS1
    now = u + beta * d
    difference = sp.expand(theta * (now**2 + beta * d**2) - (now - tau * u) ** 2 - beta * (beta * d - tau * u) ** 2)
    uu, ud, dd = (sp.factor(difference.coeff(u, i).coeff(d, j)) for i, j in ((2, 0), (1, 1), (0, 2)))
    low, high, between = sp.symbols("tau_low tau_high tau_i", positive=True)
    value = theta.subs(tau, between)
    return (
        *frame(*PRECONDITIONED),
        Step(
            equal(uu, beta * (1 + beta) * tau**2 / (1 - beta)),
            (
                "theta E - E_next = A u^2 + 2 B u d + C d^2, E = y^2 + beta d^2, y = u + beta d, with A = beta "
                "(1+beta) tau^2/(1-beta)"
            ),
            (sp.Lt(beta, 1),),
        ),
        Step(
            equal(dd, beta * (1 + beta) * (1 - beta - tau * (2 - tau / EPS1))),
            "and C = beta (1+beta) (1 - beta - tau (2 - tau/eps1))",
            (sp.Lt(beta, 1),),
        ),
        Step(
            equal(sp.simplify(uu * dd - ud**2 / 4), beta**3 * tau**2 * (2 - tau / EPS1) ** 2),
            "certificate: A C - B^2 = beta^3 tau^2 (2 - tau/eps1)^2 >= 0",
            (sp.Lt(beta, 1),),
        ),
        Step(sp.Ge(dd, 0), "C is not negative, for any tau", (sp.Lt(beta, 1),)),
        SEMIDEFINITE,
        Step(
            sp.Le(value, sp.Max(theta.subs(tau, low), theta.subs(tau, high))),
            "theta is convex in tau: largest at an end of the spectrum",
            (sp.Lt(beta, 1), sp.Le(low, between), sp.Le(between, high)),
        ),
        BLOCKS,
        Step(
            equal(y**2 + beta * y**2, (1 + beta) * y**2),
            "at the start m = 0, so d = y and E_0 = (1 + beta) 2 gap_0; and 2 gap <= E at every step",
        ),
    )
