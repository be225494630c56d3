"""One change of a statement, a rule, a record or the judge, and the parts of expressions that are changed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sympy as sp

from quadsim.theory.symbols import MaxOver, MinOver, SumOver

__all__ = ["HOLE", "KINDS", "Mutant", "of_node", "part_at", "paths", "replaced", "with_part"]

KINDS = ("bound", "hypothesis", "direction", "quantity", "rule", "generated code", "record", "budget", "prover")
"""What is changed."""


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        kind: one of KINDS.
        of: what is changed: a theorem, a rule or a part of the judge.
        change: the change in words.
        survives: function that returns "" if the change shows; else the argument why it is none, or `HOLE`.
    """

    kind: str
    of: str
    change: str
    survives: Callable[[], str]

    @property
    def name(self) -> str:
        """Kind, subject and change, in a line."""
        return f"{self.kind} of {self.of}: {self.change}"


HOLE = "nothing shows it"
"""What `Mutant.survives` says of a hole."""

_REDUCTIONS = (MaxOver, MinOver, SumOver)


def of_node(node: sp.Basic) -> Iterator[tuple[str, sp.Basic]]:
    """Yield what may stand in the place of a part of an expression."""
    if isinstance(node, sp.Rational):
        for other in dict.fromkeys((node + 1, node - 1, 2 * node, node / 2, -node, node + sp.Rational(1, 100))):
            if other != node:
                yield f"{other} for {node}", other
    if isinstance(node, _REDUCTIONS):
        for over in _REDUCTIONS:
            if not isinstance(node, over):
                yield f"{over.__name__} for {type(node).__name__}", over(node.args[0])
    if isinstance(node, sp.Max | sp.Min):
        other = sp.Min if isinstance(node, sp.Max) else sp.Max
        yield f"{other.__name__} for {type(node).__name__}", other(*node.args, evaluate=False)
        yield f"the sum for {type(node).__name__}", sp.Add(*node.args)
        for i in range(len(node.args)):
            yield f"argument {i} alone", node.args[i]
    if node.is_Add or node.is_Mul:
        for i, argument in enumerate(node.args):
            rest = [x for j, x in enumerate(node.args) if j != i]
            yield f"argument {i} left out", node.func(*rest)
            if node.is_Add:
                yield f"argument {i} with its sign turned", node.func(*rest, -argument)


def paths(expression: sp.Basic) -> Iterator[tuple[int, ...]]:
    """Yield the path of every part of an expression: the positions of arguments that lead to it."""
    yield ()
    for i, argument in enumerate(expression.args):
        for path in paths(argument):
            yield (i, *path)


def part_at(expression: sp.Basic, path: Sequence[int]) -> sp.Basic:
    """Return the part of an expression at a path."""
    for i in path:
        expression = expression.args[i]
    return expression


def with_part(expression: sp.Basic, path: Sequence[int], other: sp.Basic) -> sp.Basic | None:
    """Return the expression with another part at a path; None where that makes no expression."""
    if not path:
        return other
    inner = with_part(expression.args[path[0]], path[1:], other)
    if inner is None:
        return None
    arguments = (inner if i == path[0] else x for i, x in enumerate(expression.args))
    plain = isinstance(expression, sp.Max | sp.Min)  # their evaluation compares all arguments, which takes long
    changed = expression.func(*arguments, evaluate=False) if plain else expression.func(*arguments)
    return None if changed.has(sp.zoo, sp.nan, sp.oo) else changed


@contextmanager
def replaced(table: Any, key: Any, value: Any) -> Iterator[None]:
    """Put a value into a table, or an attribute into a module, for the time of a block."""
    if isinstance(table, dict):
        before = table[key]
        table[key] = value
    else:
        before = vars(table)[key]  # not getattr, which would take a static method out of its class
        setattr(table, key, value)
    try:
        yield
    finally:
        if isinstance(table, dict):
            table[key] = before
        else:
            setattr(table, key, before)
