"""Changed rules, against the derivations that speak of them, and runs of changed rules under the name of the true one."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import Rule
from quadsim.theory.checking.comparison import check
from quadsim.theory.statements.derived.graph import derive
from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.verifying.mutants.mutant import HOLE, Mutant, of_node, part_at, paths, replaced, with_part
from quadsim.theory.verifying.mutants.runs import ANY, OTHERS, THEOREM_OF, run_of

__all__ = ["of_rules"]


def _changed_rules(rule: Rule) -> Iterator[tuple[str, Rule]]:
    for part in ("update", "start"):
        for state, expression in getattr(rule, part).items():
            for text, other in _parts_changed(expression):
                yield f"{part} of {state}: {text}", _with_part(rule, part, {**getattr(rule, part), state: other})
    for text, other in _parts_changed(rule.step):
        yield f"step: {text}", replace(rule, step=other)


def _with_part(rule: Rule, part: str, value: Any) -> Rule:
    changes: dict[str, Any] = {part: value}
    return replace(rule, **changes)


def _parts_changed(expression: sp.Expr) -> Iterator[tuple[str, sp.Expr]]:
    for path in paths(expression):
        node = part_at(expression, path)
        for text, other in of_node(node):
            changed = with_part(expression, path, other)
            if changed is not None and changed != expression and not changed.has(sp.zoo, sp.nan, sp.oo, sp.I):
                yield f"{text} at {'.'.join(map(str, path)) or 'the top'}", changed


def _safely(make: Callable[[], Iterator[tuple[str, Rule]]]) -> Iterator[tuple[str, Rule]]:
    """Yield the changed rules that are rules."""
    found = make()
    while True:
        try:
            yield next(found)
        except StopIteration:
            return
        except (ValueError, TypeError, ZeroDivisionError):
            continue


def of_rules() -> Iterator[Mutant]:
    """Yield changes of rules, and of the code that is made from them."""
    for name, theorem in THEOREM_OF.items():
        for change, rule in _safely(partial(_changed_rules, RULES[name])):
            yield _rule(name, change, rule, theorem)
            yield _code(name, change, rule)
    for name in OTHERS:
        for change, rule in _safely(partial(_changed_rules, RULES[name])):
            yield _code(name, change, rule)


def _rule(name: str, change: str, rule: Rule, theorem: str) -> Mutant:
    def survives() -> str:
        with replaced(RULES, name, rule):
            derived = derive(THEOREMS[theorem])
        if derived is None or not derived.holds:
            return ""
        return f"{theorem} is derived of it too"

    return Mutant("rule", name, change, survives)


def _code(name: str, change: str, rule: Rule) -> Mutant:
    """A kernel with a fault does what another rule does, under the name of this one."""

    def survives() -> str:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # as of complex numbers
                run = run_of(name, rule)
        except (ValueError, TypeError, KeyError, RuntimeError, UserWarning):
            return ""  # it does not even run
        honest = run_of(name, RULES[name])
        verdict = check(ANY, replace(run, rule=RULES[name])).verdict
        if np.any(verdict == "not the rule's run"):
            return ""
        apart = np.nanmax(np.abs(run.gap - honest.gap) / honest.gap)
        return f"its gaps are those of the rule, up to {apart:.1g}" if apart < 1e-9 else HOLE

    return Mutant("generated code", name, change, survives)
