"""Print an expression of a `Program` as Python source, for Numba, Triton or torch.

A module of generated source holds such expressions, the loops around them, and a definition of every name in `FUNCTIONS`.
"""

import re
from collections.abc import Mapping
from functools import partial, reduce
from typing import Any

import sympy as sp
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.pycode import PythonCodePrinter

from quadsim.simulator.rules.functions import Ratio
from quadsim.simulator.rules.rule import Rule

__all__ = ["FUNCTIONS", "ExpressionPrinter", "label"]

FUNCTIONS: Mapping[type, str] = {
    Ratio: "ratio",  # a/b, and 0 wherever a == 0
    sp.sign: "sign",  # 0 at 0 and at NaN
    sp.Abs: "absolute",
    sp.exp: "exp",
    sp.log: "log",
    sp.tanh: "tanh",
    sp.Max: "maximum",  # of two; NaN where either is
    sp.Min: "minimum",
}
"""The functions that every printed module defines, beside `sqrt` and `power`: class of the SymPy node to name in the source."""


def label(rule: Rule) -> str:
    """Return the rule's name in a form that is safe inside the docstring of generated source.

    A rule may come from a user and have any name. A quote or a line break would end the string literal and the rest of the name
    would run as code, so every character but letters, digits, `-` and `_` becomes `?`, and the name is cut at 60 characters.
    """
    return re.sub(r"[^A-Za-z0-9_-]", "?", rule.name)[:60]


class ExpressionPrinter(PythonCodePrinter):  # type: ignore[misc]
    """Prints an expression of a Program as Python source, which Numba or Triton then compiles.

    Sums, products, quotients and powers up to 4 are printed as operators. Everything else is a call of `sqrt`, `power` or a
    function of `FUNCTIONS`, which the printed module defines. A subclass changes `number` (a constant), `call` (a function call)
    or `_print_Symbol` (a name).
    """

    def __init__(self) -> None:
        super().__init__({"fully_qualified_modules": False, "allow_unknown_functions": True})

    def number(self, value: float) -> str:
        """Return the source of a constant; by default a float literal with all its digits."""
        return repr(value)

    def _print(self, expression: Any, **settings: Any) -> str:
        if isinstance(expression, sp.Expr) and expression.is_number:
            value = float(expression)
            return f"({self.number(value)})" if value < 0.0 else self.number(value)
        return str(super()._print(expression, **settings))

    def parenthesize(self, item: Any, level: int, strict: bool = False) -> str:
        """Return the source of `item`, in brackets where it binds less tightly than `level`; a call never needs them."""
        return (
            self._print(item) if isinstance(item, tuple(FUNCTIONS)) else str(super().parenthesize(item, level, strict))
        )

    def call(self, function: str, *arguments: str) -> str:
        """Return the source of a call of `sqrt`, `power` or a function of FUNCTIONS."""
        return f"{function}({', '.join(arguments)})"

    def _print_Pow(self, expression: sp.Expr, **_: Any) -> str:
        base, exponent = expression.args
        if exponent == sp.S.Half:
            return self.call("sqrt", self._print(base))
        if exponent.is_number and exponent.is_negative:
            return f"({self.number(1.0)}/{self.parenthesize(base**-exponent, PRECEDENCE['Pow'])})"
        if exponent.is_Integer and exponent <= 4:
            return "(" + "*".join([self.parenthesize(base, PRECEDENCE["Pow"])] * int(exponent)) + ")"
        return self.call("power", self._print(base), self._print(exponent))

    def _print_Function(self, expression: sp.Expr) -> str:
        return self.call(FUNCTIONS[type(expression)], *map(self._print, expression.args))

    _print_sign = _print_Abs = _print_Ratio = _print_exp = _print_log = _print_tanh = _print_Function

    def _print_Max(self, expression: sp.Expr) -> str:
        return reduce(partial(self.call, FUNCTIONS[type(expression)]), map(self._print, expression.args))

    _print_Min = _print_Max
