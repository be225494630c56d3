"""Derive the recursion of a Rule on a quadratic, as algebra.

Every proof starts from these functions. They substitute into the expressions of the Rule itself, the same ones from which the
kernels are printed, so the recursion that is proved is the recursion that runs.
"""

from collections.abc import Mapping

import sympy as sp

from quadsim.simulator.rules.functions import symbols
from quadsim.simulator.rules.rule import Rule

__all__ = ["advance", "along_eigenvector"]


def advance(
    rule: Rule,
    error: sp.Expr,
    gradient: sp.Expr,
    states: Mapping[sp.Symbol, sp.Expr] | None = None,
    values: Mapping[sp.Symbol, sp.Expr] | None = None,
) -> tuple[sp.Expr, dict[sp.Symbol, sp.Expr]]:
    """Return one step of a rule on one coordinate, as algebra.

    Substitutions are simultaneous and in the order of a run: clocks, then states (from their old values), then the step (from the
    new values). A sequential substitution would replace a state inside an already updated one.

    Args:
        rule: a rule without sums over the whole problem (or with their values in `values`).
        error: e of one coordinate (or along one eigenvector, for a linear rule).
        gradient: g of the same coordinate.
        states: value of each state before the step; a state that is left out has the rule's start.
        values: values of learning rate, hyperparameters, clocks, L_l and mu_l. A clock that has a value here does not advance.

    Returns:
        The next error, and the next value of each state.

    Examples:
        >>> from quadsim.simulator.rules.catalogue import RULES
        >>> e, g = sp.symbols("e g", real=True)
        >>> advance(RULES["signsgd"], e, g)
        (e - lr*sign(g), {})
    """
    values = dict(values or {})
    here = {symbols.g: gradient, symbols.w: error, **values}
    clocks = {clock: e.subs(values, simultaneous=True) for clock, e in rule.clocks.items() if clock not in values}
    old = {s: rule.start.get(s, sp.S.Zero).subs(here, simultaneous=True) for s in rule.states} | dict(states or {})
    updated = {s: e.subs({**here, **clocks, **old}, simultaneous=True) for s, e in rule.update.items()}
    step = rule.step.subs({**here, **clocks, **updated}, simultaneous=True).doit()
    return error + step, updated


def along_eigenvector(rule: Rule, values: Mapping[sp.Symbol, sp.Expr] | None = None) -> sp.Expr:
    """Return the factor by which one step multiplies the error along an eigenvector, for a linear rule without memory.

    The factor is in lr, the hyperparameters and `lambda`, the eigenvalue.

    Args:
        rule: the rule.
        values: values of learning rate and hyperparameters, as in `advance`.

    Raises:
        ValueError: a rule that does not multiply the error by a factor.

    Examples:
        >>> from quadsim.simulator.rules.catalogue import RULES
        >>> along_eigenvector(RULES["gd"])
        -lambda*lr + 1
    """
    e, eigenvalue = sp.Symbol("e", real=True), sp.Symbol("lambda", positive=True)
    after, _ = advance(rule, e, eigenvalue * e, values=values)
    factor = sp.simplify(after / e)
    if factor.has(e):
        raise ValueError(
            f"rule must multiply the error by a factor, got {rule.name} with {factor}; prove it otherwise."
        )
    return factor
