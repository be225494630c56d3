"""Expressions of a Rule as text, and the expressions again from the text, without running anything that the text says.

The grammar is small, and `ExpressionReader` walks it by recursive descent:

    sum      = ["-"] product { ("+" | "-") product }
    product  = power { "*" power }
    power    = atom [ "**" atom ]
    atom     = number | name | function "(" sum { "," sum } ")" | "(" sum ")"
    number   = 12 | 2/3 | 0x1.999999999999ap-4

A minus before a product belongs to its first factor if that is a number, else it is a factor -1. A whole number, a quotient of
two and a double in hexadecimal are exact. Names are those of `symbols` and those that the document of the rule declares, each
with its SymPy assumptions; a function is one that a Rule may use, or `sqrt`. Sums and products keep the order and the brackets
of the text and nothing is evaluated, so that the tree that was written is the tree that is read.

No name is looked up anywhere but in the tables here, and depth and powers of numbers are limited, since SymPy evaluates
`10**10**10` when it is asked for anything.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import sympy as sp

from quadsim.simulator.rules.functions import BlockMean, Ratio, Total, symbols
from quadsim.simulator.rules.rule import Rule

__all__ = ["IDENTIFIER", "KNOWN", "MOST_ENTRIES", "RESERVED", "ExpressionReader", "ExpressionWriter", "refusal"]

_MOST_DEPTH = 60  # brackets and calls within each other
MOST_ENTRIES = 200  # states, clocks or hyperparameters
_MOST_EXPONENT = 100
_FUNCTIONS: dict[str, type] = {
    f.__name__: f for f in (BlockMean, Total, Ratio, sp.Abs, sp.sign, sp.exp, sp.log, sp.tanh, sp.Max, sp.Min)
}
_ARGUMENTS = {"Ratio": (2, 2), "Max": (2, 100), "Min": (2, 100)}  # at least and at most; one for all others
_CONSTANTS: dict[str, sp.Expr] = {"pi": sp.pi, "E": sp.E}
KNOWN: dict[str, sp.Symbol] = {str(s): s for s in vars(symbols).values() if isinstance(s, sp.Symbol)}
RESERVED = {*_FUNCTIONS, *_CONSTANTS, *KNOWN, "sqrt"}
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}")
_TOKEN = re.compile(
    r"\s*(?:(?P<double>0x[01](?:\.[0-9a-f]{1,13})?p[+-][0-9]{1,4})(?![\w.])"
    r"|(?P<number>[0-9]{1,40}(?:/[0-9]{1,40})?)(?![\w./])|(?P<name>[A-Za-z][A-Za-z0-9_]{0,59})|(?P<sign>\*\*|[-+*(),]))",
    re.ASCII,
)


class ExpressionWriter:
    """Prints the expressions of one rule; symbols with names that the grammar cannot hold get others."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._aliases: dict[sp.Symbol, str] = {}
        self.declared: dict[str, dict[str, Any]] = {}

    def alias(self, symbol: sp.Symbol) -> str:
        """What the document calls a symbol; declares it where that is new."""
        name = str(symbol)
        if KNOWN.get(name) == symbol:
            return name
        if symbol not in self._aliases:
            if type(symbol) is not sp.Symbol:
                raise self._refusal(f"symbols made by sympy.Symbol, got {name} of the class {type(symbol).__name__}")
            free = IDENTIFIER.fullmatch(name) and name not in RESERVED and name not in self.declared
            tried = (f"symbol{number}" for number in range(len(self.declared), MOST_ENTRIES * 5))
            alias = name if free else next(a for a in tried if a not in self.declared)
            self._aliases[symbol] = alias
            self.declared[alias] = {"name": name, "assumptions": _assumptions(symbol)}
        return self._aliases[symbol]

    def text(self, expression: sp.Expr) -> str:
        """The expression in the grammar."""
        if isinstance(expression, sp.Add):
            first, *others = map(self._term, expression.args)
            return first + "".join(f" - {t[1:]}" if t.startswith("-") else f" + {t}" for t in others)
        return self._term(expression)

    def _term(self, expression: sp.Expr) -> str:
        if isinstance(expression, sp.Mul):
            first, *others = expression.args
            if first is sp.S.NegativeOne and not others[0].is_Number:
                return "-" + "*".join(map(self._power, others))
            start = f"-{self._power(-first)}" if first.is_Number and first.is_negative else self._power(first)
            return "*".join([start, *map(self._power, others)])
        if expression.is_Number and expression.is_negative:
            return f"-{self._atom(-expression)}"
        return self._power(expression)

    def _power(self, expression: sp.Expr) -> str:
        if isinstance(expression, sp.Pow) and expression.exp is not sp.S.Half:
            base, exponent = map(self._atom, expression.args)
            base = (
                f"({base})" if "/" in base and expression.base.is_Number else base
            )  # to a human 2/3**x is another number
            return f"{base}**{exponent}"
        return self._atom(expression)

    def _atom(self, expression: sp.Expr) -> str:
        if expression.is_Symbol:
            return self.alias(expression)
        if isinstance(expression, sp.Rational) and not expression.is_negative and expression.is_finite:
            return str(expression)
        if (
            isinstance(expression, sp.Float)
            and not expression.is_negative
            and sp.Float(float(expression)) == expression
        ):
            return float(expression).hex()
        for name, constant in _CONSTANTS.items():
            if expression is constant:
                return name
        if isinstance(expression, sp.Pow) and expression.exp is sp.S.Half:
            return f"sqrt({self.text(expression.base)})"
        function = type(expression).__name__
        if type(expression) in _FUNCTIONS.values():
            return f"{function}({', '.join(map(self.text, expression.args))})"
        if isinstance(expression, sp.Add | sp.Mul | sp.Pow) or (expression.is_Number and expression.is_negative):
            return f"({self.text(expression)})"
        raise self._refusal(f"exact numbers, doubles and {', '.join(_FUNCTIONS)}, got {expression!s:.60} ({function})")

    def _refusal(self, allowed_and_got: str) -> ValueError:
        return ValueError(
            f"rule {self._rule.name!r} must be made of {allowed_and_got}, to be stored as text; write it with these."
        )


@lru_cache(maxsize=1024)
def _assumptions_of(symbol: sp.Symbol) -> tuple[tuple[str, bool], ...]:
    """The fewest assumptions that make the symbol: those that no others imply."""
    implied_last = ("real", "nonnegative", "nonpositive", "negative", "positive")
    left = dict(
        sorted(
            symbol.assumptions0.items(), key=lambda item: implied_last.index(item[0]) if item[0] in implied_last else -1
        )
    )
    for name in list(left):
        fewer = {key: value for key, value in left.items() if key != name}
        if sp.Symbol(symbol.name, **fewer) == symbol:
            left = fewer
    return tuple(left.items())


def _assumptions(symbol: sp.Symbol) -> dict[str, bool]:
    return dict(_assumptions_of(symbol))


class ExpressionReader:
    """Reads one expression by the grammar at the top."""

    def __init__(self, what: str, text: str, names: Mapping[str, sp.Symbol]) -> None:
        self._what, self._text, self._names = what, text, names
        self._at, self._depth, self._kind, self._token = 0, 0, "", ""
        self._next()

    def whole(self) -> sp.Expr:
        """The expression that is the whole text."""
        found = self._sum()
        if self._kind != "end":
            raise self._error("an operator or the end")
        return found

    def _next(self) -> None:
        if not self._text[self._at :].strip():
            self._kind, self._token = "end", "the end"
            return
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            self._token = self._text[self._at :].strip()[:20]
            raise self._error("numbers, declared names, functions and + - * ** ( ) ,")
        self._at, self._kind = match.end(), str(match.lastgroup)
        self._token = match[self._kind]

    def _takes(self, *signs: str) -> str:
        """The sign that stands here, and go on behind it; empty for any other."""
        if self._kind != "sign" or self._token not in signs:
            return ""
        sign = self._token
        self._next()
        return sign

    def _sum(self) -> sp.Expr:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise self._error(f"at most {_MOST_DEPTH} brackets within each other")
        terms = [self._product(self._takes("-"))]
        while sign := self._takes("+", "-"):
            terms.append(self._product(sign))
        self._depth -= 1
        return terms[0] if len(terms) == 1 else sp.Add(*terms, evaluate=False)

    def _product(self, sign: str) -> sp.Expr:
        factors = [self._power()]
        while self._takes("*"):
            factors.append(self._power())
        if sign == "-" and factors[0].is_Number:
            factors[0] = -factors[0]
        elif sign == "-":
            factors.insert(0, sp.S.NegativeOne)
        return factors[0] if len(factors) == 1 else sp.Mul(*factors, evaluate=False)

    def _power(self) -> sp.Expr:
        base = self._atom()
        return self._to(base, self._atom()) if self._takes("**") else base

    def _to(self, base: sp.Expr, exponent: sp.Expr) -> sp.Expr:
        """A power, unless evaluating it could take long."""
        if not exponent.free_symbols and not (exponent.is_Number and abs(exponent) <= _MOST_EXPONENT):
            raise self._error(f"exponents that are numbers of at most {_MOST_EXPONENT}, or hold a symbol")
        if not base.free_symbols and not (base.is_Number or base in _CONSTANTS.values()):
            raise self._error("powers of a plain number or of a symbol")
        if exponent.has(sp.Pow) and any(not power.exp.is_Number for power in exponent.atoms(sp.Pow)):
            raise self._error("no powers with a power as their exponent")
        return sp.Pow(base, exponent, evaluate=False)

    def _atom(self) -> sp.Expr:
        kind, token = self._kind, self._token
        if self._takes("("):
            inner = self._sum()
            self._expect(")")
            return inner
        if kind == "number":
            self._next()
            numerator, _, denominator = token.partition("/")
            if denominator and not int(denominator):
                raise self._error("denominators that are not 0")
            return sp.Rational(int(numerator), int(denominator or 1))
        if kind == "double":
            self._next()
            return sp.Float(float.fromhex(token))
        if kind != "name":
            raise self._error("a number, a name or a bracket")
        self._next()
        if self._takes("("):
            return self._call(token)
        found = self._names.get(token, _CONSTANTS.get(token))
        if found is None:
            raise self._error("declared names", token)
        return found

    def _call(self, name: str) -> sp.Expr:
        arguments = [self._sum()]
        while self._takes(","):
            arguments.append(self._sum())
        self._expect(")")
        low, high = _ARGUMENTS.get(name, (1, 1))
        if name not in _FUNCTIONS and name != "sqrt":
            raise self._error(f"the functions sqrt, {', '.join(_FUNCTIONS)}", name)
        if not low <= len(arguments) <= high:
            raise self._error(f"{name} with {low} argument{'s' * (low > 1)}", str(len(arguments)))
        if name == "sqrt":
            return self._to(arguments[0], sp.S.Half)
        # exp(exp(100)) and sums of such: nothing else here makes huge numbers of small ones.
        if any(not a.free_symbols and a.has(sp.exp, *[sp.Pow] * (name == "exp")) for a in arguments):
            raise self._error("no exp of powers of numbers, nor a function of exp of a number", name)
        return _FUNCTIONS[name](*arguments, evaluate=False)

    def _expect(self, sign: str) -> None:
        if not self._takes(sign):
            raise self._error(sign)

    def _error(self, allowed: str, got: str | None = None) -> ValueError:
        return ValueError(
            refusal(
                f"{self._what} with {allowed}",
                self._token if got is None else got,
                "see the grammar of expression_text",
            )
        )


def refusal(allowed: str, got: Any, fix: str = "write it with rule_to_document") -> str:
    """Return the message that refuses a document of a rule: what it must have, what it has, what to do."""
    shown = repr(got)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"document of a rule must have {allowed}, got {shown}; {fix}."
