"""What the proofs of preconditioned rules share: the step of a rule as e <- e - B m, its modes, sums over modes and blocks.

Nothing is assumed of how the preconditioner B came about: eps, bias correction, maxima and schedules are covered.
"""

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.running.preconditioner import preconditioned_form
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.steps import e, equal, lam

__all__ = ["BLOCKS", "EPS1", "PRECONDITIONED", "SEMIDEFINITE", "beta", "d", "frame", "tau", "u", "y"]

PRECONDITIONED = ("adam", "adamw", "amsgrad", "adam-mini", "rmsprop", "rmsprop-centered", "adagrad", "heavy-ball")
"""Rules whose step is a diagonal preconditioner times a mean of gradients, without weight decay."""

tau, beta = sp.symbols("tau beta", positive=True)
u, d, y = sp.symbols("u d y", real=True)
EPS1 = (1 - beta) / (1 + beta)
_A, _C = sp.symbols("A C", nonnegative=True)
_B, _x, _w = sp.symbols("B x w", real=True)
_p, _q, _r, _t = sp.symbols("p q r t", nonnegative=True)

SEMIDEFINITE = Step(
    sp.Ge(_A * _x**2 + 2 * _B * _x * _w + _C * _w**2, 0),
    "a quadratic form with A, C >= 0 and A C >= B^2 is not negative",
    (sp.Ge(_A * _C, _B**2),),
)
BLOCKS = Step(
    sp.Le(_p + _q, _r + _t),
    "summation: what holds for every mode and block holds for the sum of two, and by induction for all",
    (sp.Le(_p, _r), sp.Le(_q, _t)),
)


def _form_of(name: str) -> Step:
    """Return the proof step that a rule's step is -B m, with B free of the present gradient and mean."""
    rule = RULES[name]
    form = preconditioned_form(rule)
    assert form is not None
    own = {str(symbol): symbol for symbol in rule.hyperparameters}
    decay = {own["weight_decay"]: sp.S.Zero} if "weight_decay" in own else {}
    g = rule_symbols.g
    moved = rule.step.subs(decay).doit()
    mean = form.scale * (form.memory if form.memory is not None else g)
    because = f"a step of the rule {name} is e <- e - B m, with B diagonal and positive"
    given = (*(sp.Lt(clock, 1) for clock in rule.clocks), *(sp.Gt(own[key], 0) for key in ("eps",) if key in own))
    if form.memory is not None:
        because += f" and m <- {form.beta} m + (1 - {form.beta}) g"
        kept = equal(form.scale * rule.update[form.memory], form.beta * mean + (1 - form.beta) * g)
        return Step(sp.And(equal(moved, -form.preconditioner * mean), kept, evaluate=False), because, given)
    return Step(equal(moved, -form.preconditioner * mean), because, given)


def frame(*names: str) -> tuple[Step, ...]:
    """Return the proof steps that lead from the rule to the recursion of a mode: y <- y - tau u, d <- beta d - tau u."""
    m0 = sp.Symbol("m_0", real=True)
    B = sp.Symbol("B", positive=True)
    m1 = beta * m0 + (1 - beta) * lam * e
    yy, dd = sp.sqrt(lam) * e, (lam * e - m0) / sp.sqrt(lam)
    uu = yy - beta * dd
    return (
        *(_form_of(name) for name in names),
        Step(
            equal(m1 / sp.sqrt(lam), uu),
            (
                "with y = H^(1/2) e, d = H^(-1/2) (g - m): H^(-1/2) m_next = u = y - beta d (one coordinate; for a "
                "block the same with the matrices)"
            ),
        ),
        Step(
            equal(sp.sqrt(lam) * (e - B * m1), yy - B * lam * uu),
            "y_next = y - K u with K = H^(1/2) B H^(1/2), block by block",
        ),
        Step(
            equal((lam * (e - B * m1) - m1) / sp.sqrt(lam), beta * dd - B * lam * uu),
            "d_next = beta d - K u",
        ),
        Step(
            (
                "K is symmetric positive definite and has the eigenvalues tau of B^(1/2) H B^(1/2): in its "
                "eigenbasis y_next = y - tau u, d_next = beta d - tau u"
            ),
            "spectral theorem",
        ),
    )
