"""Changed statements: bounds, hypotheses, directions and quantities of the theorems that have a derivation."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import sympy as sp

from quadsim.theory.statements.derived.graph import concludes, derive
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import Symbol
from quadsim.theory.verifying.mutants.mutant import Mutant, of_node, part_at, paths, with_part

__all__ = ["of_statements"]

_SWAPPED = (
    (Symbol.L, Symbol.mu),
    (Symbol.L_l, Symbol.mu_l),
    (Symbol.Lambda_G, Symbol.Lambda_P),
    (Symbol.Lambda_G, Symbol.L),
    (Symbol.Lambda_P, Symbol.L),
    (Symbol.mu, Symbol.nu),
    (Symbol.C1_l, Symbol.C2_l),
    (Symbol.kappa_l, Symbol.P_l),
    (Symbol.lambda_i, Symbol.sigma_i),
    (Symbol.norm1, Symbol.norm2_squared),
    (Symbol.L_inf, Symbol.L),
    (Symbol.drift, Symbol.tie),
    (Symbol.beta1, Symbol.beta2),
    (Symbol.classes, Symbol.features),
    (Symbol.least_norm1, Symbol.least_norm2_squared),
)
_SCALES = tuple(sp.Rational(*pair) for pair in ((1, 2), (9, 10), (99, 100), (999, 1000), (1001, 1000), (2, 1)))


def of_statements() -> Iterator[Mutant]:
    """Yield changes of statements."""
    for theorem in THEOREMS.values():
        if theorem.derivation is None:
            continue
        bounds = dict.fromkeys(_changed(theorem.bound))
        for change, bound in bounds:
            yield _statement("bound", theorem, change, {"bound": bound})
        for position, hypothesis in enumerate(theorem.conditions):
            rest = tuple(h for i, h in enumerate(theorem.conditions) if i != position)
            yield _statement("hypothesis", theorem, f"without {hypothesis.text}", {"hypotheses": rest})
        for direction in sorted({"upper", "lower", "equal"} - {theorem.direction}):
            yield _statement("direction", theorem, f"{direction} for {theorem.direction}", {"direction": direction})
        if not theorem.is_factor:
            for change, quantity in dict.fromkeys(_changed(theorem.quantity)):
                yield _statement("quantity", theorem, change, {"quantity": quantity})


@lru_cache(maxsize=64)
def _steps(name: str) -> tuple[Step, ...]:
    derivation = THEOREMS[name].derivation
    return () if derivation is None else derivation()


def _statement(kind: str, theorem: Theorem, change: str, changes: Mapping[str, Any]) -> Mutant:
    def survives() -> str:
        try:
            mutant = replace(theorem, **changes, statement="")
        except ValueError:
            return ""  # it is not even a statement
        if kind == "hypothesis":
            derived = derive(mutant)
            if derived is None or not derived.holds:
                return ""
            return "the statement does not rest on it, by its derivation"
        if not concludes(mutant, _steps(theorem.name)):
            return ""
        return "it is derived too: no stronger than the theorem, or the same"

    return Mutant(kind, theorem.name, change, survives)


def _changed(expression: sp.Expr) -> Iterator[tuple[str, sp.Expr]]:
    """Yield changes of an expression, in words, with the changed expression."""
    for factor in _SCALES:
        yield f"times {factor}", factor * expression
    for small in (sp.Rational(1, 1000), sp.Rational(-1, 1000)):
        yield f"plus {small}", expression + small
    for a, b in _SWAPPED:
        for old, new in ((a, b), (b, a)):
            if old in expression.free_symbols:
                yield f"{new} for {old}", _everywhere(expression, old, new)
    for symbol in sorted(expression.free_symbols, key=str):
        others = (2 * symbol, symbol / 2, symbol + 1) if symbol != Symbol.t else (2 * symbol, symbol + 1, symbol - 1)
        for other in others:
            yield f"{other} for {symbol}", expression.subs(symbol, other)
    for path in paths(expression):
        node = part_at(expression, path)
        for text, other in of_node(node):
            changed = with_part(expression, path, other)
            if changed is not None and changed != expression:
                yield f"{text} at {'.'.join(map(str, path)) or 'the top'}", changed


def _everywhere(expression: sp.Expr, old: sp.Symbol, new: sp.Symbol) -> sp.Expr:
    return expression.xreplace({old: new})
