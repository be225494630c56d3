"""A Rule as a document of JSON, and the Rule again from the document, without running anything that the document says.

Its expressions are text in the grammar of `expression_text`. A document may come from somebody else: it is text in, data out, and
its size is limited.
"""

import json
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import sympy as sp

from quadsim.simulator.rules.expression_text import (
    IDENTIFIER,
    KNOWN,
    MOST_ENTRIES,
    RESERVED,
    ExpressionReader,
    ExpressionWriter,
    refusal,
)
from quadsim.simulator.rules.rule import Hyperparameter, Rule

__all__ = ["rule_from_document", "rule_from_text", "rule_to_document", "rule_to_text"]

_FORMAT = 1
_MOST_TEXT = 20_000  # characters of an expression, or of a name or a sentence

_ASSUMPTIONS = frozenset(sp.Symbol("x", positive=True, integer=True, even=True).assumptions0) | {
    "algebraic", "antihermitian", "composite", "noninteger", "odd", "prime", "transcendental", "irrational",
}  # fmt: skip


# Writing.


def rule_to_document(rule: Rule) -> dict[str, Any]:
    """The rule as numbers, text, lists and mappings that JSON holds; see `rule_from_document`.

    Raises:
        ValueError: something that a document cannot hold, such as a number of more than double precision or an unprintable name.
    """
    own = ExpressionWriter(rule)

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
        raise ValueError(refusal("a mapping of JSON", type(document).__name__)) from error
    return rule_from_text(text)


@lru_cache(maxsize=256)
def rule_from_text(text: str) -> Rule:
    """The rule of a document in JSON; the same object for the same text, so that what was compiled for it is found again.

    Raises:
        ValueError: see `rule_from_document`.
    """
    if not isinstance(text, str) or len(text) > 50 * _MOST_TEXT:
        raise ValueError(refusal(f"text of at most {50 * _MOST_TEXT} characters", type(text).__name__))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(refusal("JSON", text)) from error
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
            raise ValueError(
                refusal(f"format {_FORMAT}", document["format"], "use the version of quadsim that wrote it")
            )
        self._symbols = dict(KNOWN)
        declared = document["symbols"]
        if not isinstance(declared, dict) or len(declared) > 5 * MOST_ENTRIES:
            raise ValueError(refusal("symbols as a mapping", declared))
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
        if not IDENTIFIER.fullmatch(alias) or alias in RESERVED:
            raise ValueError(refusal("symbols with names of letters, digits and _ that are not taken", alias))
        assumptions = own["assumptions"]
        known = isinstance(assumptions, dict) and all(
            key in _ASSUMPTIONS and isinstance(value, bool) for key, value in assumptions.items()
        )
        if not known:
            raise ValueError(refusal(f"assumptions of {alias} that SymPy knows, each true or false", assumptions))
        try:
            self._symbols[alias] = sp.Symbol(_line("name of a symbol", own["name"]), **assumptions)
        except sp.core.facts.InconsistentAssumptions as error:
            raise ValueError(
                refusal(f"assumptions of {alias} that do not contradict each other", assumptions)
            ) from error

    def _expressions(self, key: str) -> dict[sp.Symbol, sp.Expr]:
        return self._pairs(key, self._expression)

    def _pairs(self, key: str, read: Any) -> dict[sp.Symbol, Any]:
        entries = self._document[key]
        if not isinstance(entries, list) or len(entries) > MOST_ENTRIES:
            raise ValueError(refusal(f"{key} as a list of at most {MOST_ENTRIES} pairs", entries))
        out: dict[sp.Symbol, Any] = {}
        for entry in entries:
            if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str)):
                raise ValueError(refusal(f"{key} as pairs of a symbol and its value", entry))
            symbol = self._symbols.get(entry[0])
            if symbol is None or symbol in out:
                raise ValueError(refusal(f"{key} with a declared symbol each, once", entry[0]))
            out[symbol] = read(f"{key} of {entry[0]}", entry[1])
        return out

    def _expression(self, what: str, text: Any) -> sp.Expr:
        if not isinstance(text, str) or len(text) > _MOST_TEXT:
            raise ValueError(refusal(f"{what} as text of at most {_MOST_TEXT} characters", text))
        return ExpressionReader(what, text, self._symbols).whole()


def _range(what: str, own: Any) -> Hyperparameter:
    own = _with_keys(what, own, _RANGE_KEYS)
    low, high = own["low"], own["high"]
    for key in ("low_open", "high_open"):
        if not isinstance(own[key], bool):
            raise ValueError(refusal(f"{key} of {what} as true or false", own[key]))
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
            refusal(
                f"{what} with the keys {', '.join(keys)}",
                ", ".join(map(str, mapping)) if isinstance(mapping, dict) else mapping,
            )
        )
    return mapping


def _line(what: str, text: Any) -> str:
    if not isinstance(text, str) or len(text) > _MOST_TEXT or not text.isprintable():
        raise ValueError(refusal(f"{what} as one line of printable text", text))
    return text


def _double(what: str, number: Any) -> float:
    if (
        not isinstance(number, float | int)
        or isinstance(number, bool)
        or not abs(number) < math.inf
        or abs(number) > 1e308
    ):
        raise ValueError(refusal(f"{what} as a finite number", number))
    return float(number)
