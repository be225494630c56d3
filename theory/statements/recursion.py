"""What a Rule does to a quadratic, as algebra: proofs start here, so that what is proved is the code that runs."""

from collections.abc import Mapping

import sympy as sp

from quadsim.simulator.rules.rule import Rule, symbols

__all__ = ["advance", "along_eigenvector"]


def advance(
    rule: Rule,
    error: sp.Expr,
    gradient: sp.Expr,
    states: Mapping[sp.Symbol, sp.Expr] | None = None,
    values: Mapping[sp.Symbol, sp.Expr] | None = None,
) -> tuple[sp.Expr, dict[sp.Symbol, sp.Expr]]:
    """One step of a rule, from its own expressions.

    Args:
        rule: a rule without whole-problem sums (or with their values in `values`).
        error: e of one coordinate (or along one eigenvector, for a linear rule).
        gradient: g there.
        states: value of each state before the step; the rule's start where it is left out.
        values: put in for learning rate, hyperparameters, clocks, L_l and mu_l.

    Returns:
        The next error, and the next value of each state.
    """
    values = dict(values or {})
    here = {symbols.g: gradient, symbols.w: error, **values}
    clocks = {clock: e.subs(values, simultaneous=True) for clock, e in rule.clocks.items() if clock not in values}
    old = {s: rule.start.get(s, sp.S.Zero).subs(here, simultaneous=True) for s in rule.states} | dict(states or {})
    updated = {s: e.subs({**here, **clocks, **old}, simultaneous=True) for s, e in rule.update.items()}
    step = rule.step.subs({**here, **clocks, **updated}, simultaneous=True).doit()
    return error + step, updated


def along_eigenvector(rule: Rule, values: Mapping[sp.Symbol, sp.Expr] | None = None) -> sp.Expr:
    """The factor by which one step multiplies the error along an eigenvector, for a linear rule without memory.

    Raises:
        ValueError: a rule that does not multiply the error by a factor.
    """
    e, eigenvalue = sp.Symbol("e", real=True), sp.Symbol("lambda", positive=True)
    after, _ = advance(rule, e, eigenvalue * e, values=values)
    factor = sp.simplify(after / e)
    if factor.has(e):
        raise ValueError(
            f"rule must multiply the error by a factor, got {rule.name} with {factor}; prove it otherwise."
        )
    return factor
