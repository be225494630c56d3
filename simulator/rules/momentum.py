"""Momentum, derived from a rule: whether it keeps a mean of past gradients, and what is left of it without one.

Optimizers are compared like with like: a rule with momentum has a memory that helps on ill-conditioned problems whatever else
the rule does, so that gradient descent is compared with Adam at beta1 = 0, and heavy ball with Adam.
"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Literal

from quadsim.simulator.rules.rule import Rule

if TYPE_CHECKING:
    import sympy as sp

__all__ = ["FAMILY_WORDS", "MomentumFamily", "has_momentum", "momentum_family", "without_momentum"]

MomentumFamily = Literal["plain", "momentum"]

FAMILY_WORDS: dict[MomentumFamily, str] = {"plain": "without momentum", "momentum": "with momentum"}
"""The two families as a reader is told of them, in the order of tables and figures."""

_Values = tuple[tuple[str, float], ...]


def has_momentum(rule: Rule, hyperparameters: Mapping[str, float]) -> bool:
    """Whether a rule, at these hyperparameters, still moves the iterate where the current gradient is zero.

    Then its step remembers past gradients, as that of heavy ball, signum, lion and Adam does. A memory that only scales the step
    (the second moment of Adam or RMSprop) moves nothing at a zero gradient. What is left where the states are zero, too, is
    weight decay, which remembers no gradient: it does not count.

    Args:
        rule: the optimizer.
        hyperparameters: those that are not at their defaults.
    """
    return _moves_alone(rule, _complete(rule, hyperparameters))


def momentum_family(rule: Rule, hyperparameters: Mapping[str, float]) -> MomentumFamily:
    """The family within which an optimizer is compared: `momentum` if `has_momentum`, else `plain`."""
    return "momentum" if has_momentum(rule, hyperparameters) else "plain"


def without_momentum(rule: Rule, hyperparameters: Mapping[str, float]) -> str:
    """What a rule computes once its momentum is set to zero, in a form that can be compared.

    Two settings whose forms are equal differ by momentum alone: gd and heavy-ball, signsgd and signum (or lion without weight
    decay), adam:beta1=0 and adam.

    Returns:
        As text, the step of one iteration in the gradient and the old states, and the updates of the states that it reads. The
        form of a rule whose momentum no single hyperparameter turns off equals that of no other rule.
    """
    values = _complete(rule, hyperparameters)
    if not _moves_alone(rule, values):
        return _form(rule, values)
    for name, _ in values:
        off = tuple((key, 0.0 if key == name else value) for key, value in values)
        if not _moves_alone(rule, off):
            return _form(rule, off)
    return repr((rule.name, *values))


def _complete(rule: Rule, hyperparameters: Mapping[str, float]) -> _Values:
    """All hyperparameters, those that are not given at their defaults."""
    return tuple((name, float(hyperparameters.get(name, own.default))) for name, own in rule.ranges.items())


def _moves_alone(rule: Rule, values: _Values) -> bool:
    return bool(rule.fact(f"moves without a gradient at {values}", partial(_derive_moves_alone, rule, values)))


def _derive_moves_alone(rule: Rule, values: _Values) -> bool:
    import sympy as sp

    from quadsim.simulator.rules.functions import symbols

    if not rule.update:
        return False
    step, updates = _one_step(rule, values)
    alone = step.xreplace({symbols.g: sp.S.Zero})
    return bool(alone - alone.xreplace(dict.fromkeys(updates, sp.S.Zero)) != 0)


def _form(rule: Rule, values: _Values) -> str:
    return str(rule.fact(f"form at {values}", partial(_derive_form, rule, values)))


def _derive_form(rule: Rule, values: _Values) -> str:
    """Two are equal if and only if the expressions are, with the assumptions of their symbols."""
    import sympy as sp

    step, updates = _one_step(rule, values)
    read = step.free_symbols
    while True:  # a state that is read may be updated from others
        more = read.union(*(updates[state].free_symbols for state in updates if state in read))
        if more == read:
            break
        read = more
    kept = {state: update for state, update in updates.items() if state in read}
    starts = {state: rule.start[state] for state in kept if state in rule.start}
    return str(sp.srepr((step, *sorted(kept.items(), key=str), *sorted(starts.items(), key=str))))


def _one_step(rule: Rule, values: _Values) -> "tuple[sp.Expr, dict[sp.Symbol, sp.Expr]]":
    """The step in the old states and clocks, and the updates, at these hyperparameters.

    A hyperparameter that is 0 is put in as the exact 0, which removes what it multiplies.
    """
    import sympy as sp

    given = dict(values)
    numbers = {s: sp.Float(given[str(s)]) if given[str(s)] else sp.S.Zero for s in rule.hyperparameters}
    # Symbols alone are replaced, all at once: `subs` does the same and takes five times as long.
    clocks = {clock: update.xreplace(numbers) for clock, update in rule.clocks.items()}
    updates = {state: update.xreplace(numbers).xreplace(clocks) for state, update in rule.update.items()}
    step = rule.step.xreplace(numbers).xreplace({**clocks, **updates})
    return step, updates
