"""adam-from-state: what follows for every later preconditioner of Adam from its state after some steps."""

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.as_run.preconditioned.certificate import certificate
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.steps import equal

__all__ = ["from_state"]

p, s = sp.Symbol("p", nonnegative=True), sp.Symbol("s", real=True)


def from_state() -> tuple[Step, ...]:
    """Return the proof of adam-from-state."""
    rule = RULES["adam"]
    own = {str(symbol): symbol for symbol in rule.hyperparameters}
    _, v = rule.states
    beta2, old, second = own["beta2"], sp.Symbol("v_0", nonnegative=True), sp.Symbol("v_1", nonnegative=True)
    x, larger, part, eps, curvature, gap = sp.symbols("x y r eps H_ii gap", nonnegative=True)
    t, g = sp.symbols("t g", real=True)
    gain, below, above, before = sp.symbols("growth B_old B_new v", positive=True)
    return (
        *certificate(),
        Step(
            sp.Ge(rule.update[v].subs({v: old, rule_symbols.g: g}), beta2 * old),
            "v_(t+1) >= beta2 v_t: D falls by the factor sqrt(beta2) a step at most, up to the corrections",
            (sp.Le(beta2, 1),),
        ),
        Step(
            sp.Le((x + eps) * part, larger + eps),
            "with eps: r x <= y and r <= 1 give r (x + eps) <= y + eps",
            (sp.Le(part * x, larger), sp.Le(part, 1)),
        ),
        Step(
            sp.Le(g**2, curvature * 2 * gap),
            "g_i^2 <= H_ii e'He: the form of H at e - t u_i is not negative for any t",
            (sp.Ge(2 * gap - 2 * t * g + t**2 * curvature, 0), equal(t * curvature, g), sp.Gt(curvature, 0)),
        ),
        Step(
            sp.Le(beta2 * old + (1 - beta2) * g**2, beta2 * old + (1 - beta2) * second),
            "so v_(t+1) is at most what the bounds on the gaps so far allow",
            (sp.Le(g**2, second), sp.Le(beta2, 1)),
        ),
        Step(
            sp.Le((beta2 * before + (1 - beta2) * g**2) / before, beta2 + (1 - beta2) * gain),
            "and v_(t+1)/v_t is at most beta2 + (1-beta2) 2 G_t H_ii/v_t, which bounds omega",
            (sp.Le(g**2, gain * before), sp.Le(beta2, 1)),
        ),
        Step(
            sp.Le(below * x**2, above * x**2),
            (
                "a larger diagonal has the larger form: U >= D gives spec(H^(1/2) U^-1 H^(1/2)) <= spec(H^(1/2) "
                "D^-1 H^(1/2)), eigenvalue by eigenvalue"
            ),
            (sp.Le(below, above),),
        ),
        Step(
            sp.Le((p - s * second) * x**2, (p - s * old) * x**2),
            "V falls with b: raising b between steps, as -b g'Bg, is free (s stands for g'Bg, not negative)",
            (sp.Ge(second, old), sp.Ge(s, 0)),
        ),
    )
