"""The words in which derivations are written: definitions, steps of rules, and steps that follow from others."""

from typing import Any

import sympy as sp

from quadsim.theory.statements.derived.library import DEFINITIONS, NEEDS, step_of_rule
from quadsim.theory.statements.proving import Step

__all__ = ["Steps", "definition", "definitions", "ge", "le", "rule", "step"]

Steps = tuple[Step, ...]


def le(left: sp.Expr, right: sp.Expr) -> sp.Le:
    """Return left <= right, unevaluated."""
    return sp.Le(left, right, evaluate=False)


def ge(left: sp.Expr, right: sp.Expr) -> sp.Ge:
    """Return left >= right, unevaluated."""
    return sp.Ge(left, right, evaluate=False)


def definitions(*labels: str, because: str = "by definition") -> Steps:
    """Return the steps that state definitions."""
    return tuple(
        Step(DEFINITIONS[label], because, label=label, uses=NEEDS.get(label, ()), by="definition") for label in labels
    )


def definition(label: str, *uses: str) -> Step:
    """Return the step that states a definition which holds only where the claims of the steps `uses` do."""
    return Step(DEFINITIONS[label], "by definition", label=label, uses=(*NEEDS.get(label, ()), *uses), by="definition")


def rule(name: str) -> Step:
    """Return the step that states the step of a rule."""
    label = f"rule {name}"
    return Step(step_of_rule(name), f"the step of the rule {name}", label=label, uses=NEEDS.get(label, ()), by="rule")


def step(label: str, claim: Any, *uses: str, by: str = "", because: str = "") -> Step:
    """Return a step that follows from those with the labels `uses`."""
    return Step(claim, because or label, label=label, uses=uses, by=by)
