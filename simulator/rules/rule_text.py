"""A Rule as a document of JSON, and the Rule again from the document, without running anything that the document says.

Expressions are text in a small grammar, which `_Reader` walks by recursive descent:

    sum      = ["-"] product { ("+" | "-") product }
    product  = power { "*" power }
    power    = atom [ "**" atom ]
    atom     = number | name | function "(" sum { "," sum } ")" | "(" sum ")"
    number   = 12 | 2/3 | 0x1.999999999999ap-4

A minus before a product belongs to its first factor if that is a number, else it is a factor -1. A whole number, a quotient of
two and a double in hexadecimal are exact. Names are those of `symbols` and those that the document declares, each with its
SymPy assumptions; a function is one that a Rule may use, or `sqrt`. Sums and products keep the order and the brackets of the
text and nothing is evaluated, so that the tree that was written is the tree that is read.

A document may come from somebody else. It is text in, data out: no name of it is looked up anywhere but in the tables here,
and its size, its depth and its powers of numbers are limited, since SymPy evaluates `10**10**10` when it is asked for anything.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import sympy as sp

from quadsim.simulator.rules.rule import BlockMean, Hyperparameter, Ratio, Rule, Total, symbols

__all__ = ["rule_from_document", "rule_from_text", "rule_to_document", "rule_to_text"]

_FORMAT = 1
_MOST_TEXT = 20_000  # characters of an expression, or of a name or a sentence
_MOST_DEPTH = 60  # brackets and calls within each other
_MOST_ENTRIES = 200  # states, clocks or hyperparameters
_MOST_EXPONENT = 100

_FUNCTIONS: dict[str, type] = {
    f.__name__: f for f in (BlockMean, Total, Ratio, sp.Abs, sp.sign, sp.exp, sp.log, sp.tanh, sp.Max, sp.Min)
}
_ARGUMENTS = {"Ratio": (2, 2), "Max": (2, 100), "Min": (2, 100)}  # at least and at most; one for all others
_CONSTANTS: dict[str, sp.Expr] = {"pi": sp.pi, "E": sp.E}
_KNOWN: dict[str, sp.Symbol] = {str(s): s for s in vars(symbols).values() if isinstance(s, sp.Symbol)}
_RESERVED = {*_FUNCTIONS, *_CONSTANTS, *_KNOWN, "sqrt"}
_ASSUMPTIONS = frozenset(sp.Symbol("x", positive=True, integer=True, even=True).assumptions0) | {
    "algebraic", "antihermitian", "composite", "noninteger", "odd", "prime", "transcendental", "irrational",
}  # fmt: skip
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,59}")
_TOKEN = re.compile(
    r"\s*(?:(?P<double>0x[01](?:\.[0-9a-f]{1,13})?p[+-][0-9]{1,4})(?![\w.])"
    r"|(?P<number>[0-9]{1,40}(?:/[0-9]{1,40})?)(?![\w./])|(?P<name>[A-Za-z][A-Za-z0-9_]{0,59})|(?P<sign>\*\*|[-+*(),]))",
    re.ASCII,
)


# Writing.


def rule_to_document(rule: Rule) -> dict[str, Any]:
    """The rule as numbers, text, lists and mappings that JSON holds; see `rule_from_document`.

    Raises:
        ValueError: something that a document cannot hold, such as a number of more than double precision or an unprintable name.
    """
    own = _Names(rule)

    def pairs(entries: Mapping[sp.Symbol, sp.Expr]) -> list[list[str]]:
        return [[own.alias(symbol), own.text(value)] for symbol, value in entries.items()]

    document = {
        "format": _FORMAT,
        "name": rule.name,
        "clocks": pairs(rule.clocks),
        "start": pairs(rule.start),
        "update": pairs(rule.update),
        "step": own.text(rule.step),
        "hyperparameters": [[own.alias(s), _range_document(h)] for s, h in rule.hyperparameters.items()],
        "natural_lr": own.text(rule.natural_lr),
        "default_lr": None if rule.default_lr is None else float(rule.default_lr),
        "summary": rule.summary,
        "source": rule.source,
        "symbols": own.declared,
    }
    read = rule_from_document(document)
    parts = (
        "name",
        "clocks",
        "start",
        "update",
        "step",
        "hyperparameters",
        "natural_lr",
        "default_lr",
        "summary",
        "source",
    )
    if changed := [part for part in parts if getattr(read, part) != getattr(rule, part)]:
        raise ValueError(
            f"rule {rule.name!r} must be the same when it is read again, got another {changed[0]}; write its expressions "
            "without evaluate=False."
        )
    return document


def rule_to_text(rule: Rule) -> str:
    """`rule_to_document` as one line of JSON.

    Raises:
        ValueError: see `rule_to_document`.
    """
    return json.dumps(rule_to_document(rule), allow_nan=False)


def _range_document(own: Hyperparameter) -> dict[str, Any]:
    return {
        "default": float(own.default),
        "low": None if math.isinf(own.low) else float(own.low),
        "high": None if math.isinf(own.high) else float(own.high),
        "low_open": bool(own.low_open),
        "high_open": bool(own.high_open),
        "meaning": own.meaning,
    }


class _Names:
    """Prints the expressions of one rule; symbols with names that the grammar cannot hold get others."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._aliases: dict[sp.Symbol, str] = {}
        self.declared: dict[str, dict[str, Any]] = {}

    def alias(self, symbol: sp.Symbol) -> str:
        """What the document calls a symbol; declares it where that is new."""
        name = str(symbol)
        if _KNOWN.get(name) == symbol:
            return name
        if symbol not in self._aliases:
            if type(symbol) is not sp.Symbol:
                raise self._refusal(f"symbols made by sympy.Symbol, got {name} of the class {type(symbol).__name__}")
            free = _IDENTIFIER.fullmatch(name) and name not in _RESERVED and name not in self.declared
            tried = (f"symbol{number}" for number in range(len(self.declared), _MOST_ENTRIES * 5))
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


# Reading.


def rule_from_document(document: Any) -> Rule:
    """The rule that `rule_to_document` wrote. Nothing of the document is run.

    Args:
        document: a mapping as read from JSON; it may come from anybody.

    Returns:
        Rule with the same name, expressions, ranges and words.

    Raises:
        ValueError: anything else, in one line.
    """
    try:
        text = json.dumps(document, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(_bad("a mapping of JSON", type(document).__name__)) from error
    return rule_from_text(text)


@lru_cache(maxsize=256)
def rule_from_text(text: str) -> Rule:
    """The rule of a document in JSON; the same object for the same text, so that what was compiled for it is found again.

    Raises:
        ValueError: see `rule_from_document`.
    """
    if not isinstance(text, str) or len(text) > 50 * _MOST_TEXT:
        raise ValueError(_bad(f"text of at most {50 * _MOST_TEXT} characters", type(text).__name__))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(_bad("JSON", text)) from error
    return _Document(document).rule()


_KEYS = (
    "format", "name", "clocks", "start", "update", "step", "hyperparameters", "natural_lr", "default_lr", "summary", "source",
    "symbols",
)  # fmt: skip
_RANGE_KEYS = ("default", "low", "high", "low_open", "high_open", "meaning")


class _Document:
    """A parsed document on its way to a Rule."""

    def __init__(self, document: Any) -> None:
        self._document = _with_keys("document of a rule", document, _KEYS)
        if document["format"] != _FORMAT or isinstance(document["format"], bool):
            raise ValueError(_bad(f"format {_FORMAT}", document["format"], "use the version of quadsim that wrote it"))
        self._symbols = dict(_KNOWN)
        declared = document["symbols"]
        if not isinstance(declared, dict) or len(declared) > 5 * _MOST_ENTRIES:
            raise ValueError(_bad("symbols as a mapping", declared))
        for alias, own in declared.items():
            self._declare(alias, _with_keys(f"symbol {alias!r}", own, ("name", "assumptions")))

    def rule(self) -> Rule:
        """The Rule.

        Raises:
            ValueError: not one.
        """
        document = self._document
        clocks, start, update = (self._expressions(key) for key in ("clocks", "start", "update"))
        rate = document["default_lr"]
        return Rule(
            name=_line("name", document["name"]),
            clocks=clocks,
            start=start,
            update=update,
            step=self._expression("step", document["step"]),
            hyperparameters=self._pairs("hyperparameters", _range),
            natural_lr=self._expression("natural_lr", document["natural_lr"]),
            default_lr=None if rate is None else _double("default_lr", rate),
            summary=_line("summary", document["summary"]),
            source=_line("source", document["source"]),
        )

    def _declare(self, alias: str, own: Mapping[str, Any]) -> None:
        if not _IDENTIFIER.fullmatch(alias) or alias in _RESERVED:
            raise ValueError(_bad("symbols with names of letters, digits and _ that are not taken", alias))
        assumptions = own["assumptions"]
        known = isinstance(assumptions, dict) and all(
            key in _ASSUMPTIONS and isinstance(value, bool) for key, value in assumptions.items()
        )
        if not known:
            raise ValueError(_bad(f"assumptions of {alias} that SymPy knows, each true or false", assumptions))
        try:
            self._symbols[alias] = sp.Symbol(_line("name of a symbol", own["name"]), **assumptions)
        except sp.core.facts.InconsistentAssumptions as error:
            raise ValueError(_bad(f"assumptions of {alias} that do not contradict each other", assumptions)) from error

    def _expressions(self, key: str) -> dict[sp.Symbol, sp.Expr]:
        return self._pairs(key, self._expression)

    def _pairs(self, key: str, read: Any) -> dict[sp.Symbol, Any]:
        entries = self._document[key]
        if not isinstance(entries, list) or len(entries) > _MOST_ENTRIES:
            raise ValueError(_bad(f"{key} as a list of at most {_MOST_ENTRIES} pairs", entries))
        out: dict[sp.Symbol, Any] = {}
        for entry in entries:
            if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
                raise ValueError(_bad(f"{key} as pairs of a symbol and its value", entry))
            symbol = self._symbols.get(entry[0])
            if symbol is None or symbol in out:
                raise ValueError(_bad(f"{key} with a declared symbol each, once", entry[0]))
            out[symbol] = read(f"{key} of {entry[0]}", entry[1])
        return out

    def _expression(self, what: str, text: Any) -> sp.Expr:
        if not isinstance(text, str) or len(text) > _MOST_TEXT:
            raise ValueError(_bad(f"{what} as text of at most {_MOST_TEXT} characters", text))
        return _Reader(what, text, self._symbols).whole()


class _Reader:
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
            _bad(f"{self._what} with {allowed}", self._token if got is None else got, "see the grammar of rule_text")
        )


def _range(what: str, own: Any) -> Hyperparameter:
    own = _with_keys(what, own, _RANGE_KEYS)
    low, high = own["low"], own["high"]
    for key in ("low_open", "high_open"):
        if not isinstance(own[key], bool):
            raise ValueError(_bad(f"{key} of {what} as true or false", own[key]))
    return Hyperparameter(
        _double(f"default of {what}", own["default"]),
        -math.inf if low is None else _double(f"low of {what}", low),
        math.inf if high is None else _double(f"high of {what}", high),
        own["low_open"],
        own["high_open"],
        _line(f"meaning of {what}", own["meaning"]),
    )


def _with_keys(what: str, mapping: Any, keys: Iterable[str]) -> dict[str, Any]:
    if not isinstance(mapping, dict) or set(mapping) != set(keys):
        raise ValueError(
            _bad(
                f"{what} with the keys {', '.join(keys)}",
                ", ".join(map(str, mapping)) if isinstance(mapping, dict) else mapping,
            )
        )
    return mapping


def _line(what: str, text: Any) -> str:
    if not isinstance(text, str) or len(text) > _MOST_TEXT or not text.isprintable():
        raise ValueError(_bad(f"{what} as one line of printable text", text))
    return text


def _double(what: str, number: Any) -> float:
    if (
        not isinstance(number, float | int)
        or isinstance(number, bool)
        or not abs(number) < math.inf
        or abs(number) > 1e308
    ):
        raise ValueError(_bad(f"{what} as a finite number", number))
    return float(number)


def _bad(allowed: str, got: Any, fix: str = "write it with rule_to_document") -> str:
    shown = repr(got)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"document of a rule must have {allowed}, got {shown}; {fix}."
