"""Expressions of proofs as JSON: nested lists, names of symbols and integers; the names are declared with their assumptions."""

from typing import Any

import sympy as sp

from quadsim.simulator.rules.rule import Ratio
from quadsim.theory.symbols import REDUCTIONS, Invertible

__all__ = ["Names"]

_WORDS: dict[type, str] = {
    **{sp.Add: "+", sp.Mul: "*", sp.Pow: "^", sp.And: "and", sp.Or: "or", sp.Implies: "implies"},
    **{sp.Eq: "==", sp.Ne: "!=", sp.Le: "<=", sp.Ge: ">=", sp.Lt: "<", sp.Gt: ">"},
    **{sp.exp: "exp", sp.log: "log", sp.Abs: "Abs", sp.sign: "sign", sp.Max: "Max", sp.Min: "Min", sp.asin: "asin"},
    **{kind: kind.__name__ for kind in (*REDUCTIONS, Ratio)},
}
_ASSUMED = ("commutative", "integer", "positive", "nonnegative", "nonzero", "real")


class Names:
    """The names of a document: every symbol has one, and symbols with equal names but other assumptions have different ones.

    Attributes:
        declared: name to its assumptions.
    """

    def __init__(self) -> None:
        self._names: dict[sp.Symbol, str] = {}
        self.declared: dict[str, dict[str, bool]] = {}

    @property
    def known(self) -> tuple[sp.Symbol, ...]:
        """The symbols that have names."""
        return tuple(self._names)

    def write(self, expression: Any) -> Any:
        """Return an expression as JSON.

        Raises:
            ValueError: a floating-point number or a function that the format does not have.
        """
        if expression is sp.true or expression is True:
            return ["true"]
        if expression.is_Symbol:
            return self.name(expression)
        if expression.is_Integer:
            return int(expression)
        if expression.is_Rational:
            return ["/", int(expression.p), int(expression.q)]
        if expression is sp.pi:
            return ["pi"]
        if expression.func not in _WORDS:
            raise ValueError(f"an exported expression may use {', '.join(_WORDS.values())}, got {expression.func}.")
        return [_WORDS[expression.func], *(self.write(argument) for argument in expression.args)]

    def name(self, symbol: sp.Symbol) -> str:
        """Return the name of a symbol, which is declared if it is new."""
        if symbol not in self._names:
            name, number = symbol.name, 2
            while name in self.declared:
                name, number = _numbered(symbol.name, number), number + 1
            self._names[symbol] = name
            self.declared[name] = _assumptions(symbol)
        return self._names[symbol]


def _numbered(name: str, number: int) -> str:
    """Return another name; the index at its end stays there."""
    stem, index = (name[:-2], name[-2:]) if name[-2:] in ("_l", "_i", "_p") else (name, "")
    return f"{stem}({number}){index}"


def _assumptions(symbol: sp.Symbol) -> dict[str, bool]:
    """Return the fewest assumptions with which a symbol is the same one."""
    if isinstance(symbol, Invertible):
        return {"commutative": False, "invertible": True}
    known = symbol.assumptions0
    if known.get("word"):
        return {}
    out = {name: known[name] for name in _ASSUMED if name in known}
    for name in reversed(_ASSUMED):
        fewer = {key: value for key, value in out.items() if key != name}
        if sp.Symbol(symbol.name, **fewer).assumptions0 == known:
            out = fewer
    return out or {"real": True}  # an identity of polynomials holds of all numbers if it does of the real ones
