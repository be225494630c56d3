"""Expressions of SymPy as NumPy functions, by way of their source, which can be kept."""

from collections.abc import Callable, Sequence
from functools import reduce
from types import CodeType
from typing import TYPE_CHECKING, Any

import numpy as np

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
    code = compile(source, "<expression>", "exec")
    (body,) = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    space: dict[str, Any] = {"reduce": reduce, **(others or {})}
    for name in body.co_names:  # one by one: `import *` would import all of NumPy's packages
        if name not in space and (found := getattr(np, name, getattr(np.linalg, name, None))) is not None:
            space[name] = found
    exec(code, space)
    function: Callable[..., Any] = space["_lambdifygenerated"]
    return function
