"""Expressions of SymPy as NumPy functions, by way of their source, which can be kept."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sympy as sp

__all__ = ["function_of", "source_of"]


def source_of(
    names: "Sequence[sp.Symbol]",
    expressions: "Sequence[sp.Expr]",
    *,
    cse: bool = True,
    others: dict[str, Callable[..., Any]] | None = None,
) -> str:
    """Return the source of a function of the names that returns the expressions as a tuple, printed by `sympy.lambdify`.

    Args:
        names: the arguments.
        expressions: what it returns.
        cse: whether parts that occur more than once are evaluated once.
        others: further functions that it may call, by name.
    """
    import inspect

    import sympy as sp

    return inspect.getsource(sp.lambdify(names, tuple(expressions), modules=[others or {}, "numpy"], cse=cse))


def function_of(source: str, others: dict[str, Callable[..., Any]] | None = None) -> Callable[..., Any]:
    """Return the function of a source of `source_of`.

    Args:
        source: its text; it is run.
        others: further functions that it may call, by name.
    """
    space: dict[str, Any] = {}
    # The names that `lambdify` prints.
    exec("from functools import reduce\nfrom numpy import *\nfrom numpy.linalg import *", space)
    space |= others or {}
    exec(compile(source, "<expression>", "exec"), space)
    function: Callable[..., Any] = space["_lambdifygenerated"]
    return function
