"""Print the bounds and hypotheses of theorems as JavaScript, for the page of `quadsim explore`.

The values of the symbols are computed in `bounds.js`.
"""

from collections.abc import Iterator, Sequence

import sympy as sp

from quadsim.simulator.engines.javascript import JavaScriptPrinter, quoted
from quadsim.simulator.rules.rule import Rule
from quadsim.theory import THEOREMS, Hypothesis, Theorem
from quadsim.theory.checking.judge import BOUND_OF_RULE
from quadsim.theory.statements.quantities import MEANINGS, canonical_name
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol

__all__ = ["bounds_of", "bounds_source"]

_UPPER = BOUND_OF_RULE | {
    "heavy-ball": (*BOUND_OF_RULE["heavy-ball"], "linear-modes"),
    "nesterov": ("linear-modes",),
    "signsgd": ("sign-constant-gap",),
    "signum": ("signum-gap",),
    "lion": ("lion-gap",),
}
_LOWER = {"gd": ("gd-lower-start",), "sgd": ("gd-lower-start",)} | dict.fromkeys(
    ("signsgd", "signum", "lion"), ("sign-distance",)
)

_CONSTANT = frozenset([
    "L",
    "mu",
    "P",
    "Lambda_P",
    "nu",
    "L_inf",
    "gap_0",
    "L_l",
    "mu_l",
    "kappa_l",
    "P_l",
    "C1_l",
    "C2_l",
    "nu_l",
    "S_l",
    "sigma_i",
    "lambda_i",
    "x_i",
    "a_i",
])
_ALONG = frozenset({"u_l", "v_l", "p_i", "travelled", "q_rho"})

_CONDITIONS = {
    "no entry of g_0 is 0": "v.g_0.every((g) => g !== 0)",
    "blocks of at most 12 coordinates, whose signs are enumerated": "true",
    "no weight decay": "!(v.setting.weight_decay > 0)",
}
"""Hypotheses that are no relation, by their text; the blocks of the page have three coordinates."""

_RELATIONS = {sp.Le: "atMost({0}, {1})", sp.Ge: "atMost({1}, {0})", sp.Eq: "equal({0}, {1})"}


class _Printer(JavaScriptPrinter):
    """Prints a bound in the symbols of `quadsim.theory.symbols`, with the values of `v` and the step `t`."""

    def __init__(self) -> None:
        names = {symbol: f"v.setting.{MEANINGS[symbol].setting}" for symbol in MEANINGS if MEANINGS[symbol].setting}
        for symbol in MEANINGS:
            if str(symbol) in _CONSTANT | _ALONG:
                names[symbol] = f"v.{symbol}[j]" if str(symbol)[-2:] in ("_l", "_i") else f"v.{symbol}"
        super().__init__(names | {Symbol.t: "t"})

    def _print_Function(self, expression: sp.Expr) -> str:
        kind = {MaxOver: "maxOver", MinOver: "minOver", SumOver: "sumOver"}.get(type(expression))
        if kind is None:
            return super()._print_Function(expression)
        number = "v.B" if any(str(s).endswith("_l") for s in expression.free_symbols) else "v.P"
        return f"{kind}({number}, (j) => {self._print(expression.args[0])})"

    _print_MaxOver = _print_MinOver = _print_SumOver = _print_Function


def bounds_of(rule: Rule) -> dict[str, list[str]]:
    """Return the names of the theorems of the page that bound a rule's gap, under `upper` and `lower`, in order of preference."""
    name = canonical_name(rule)
    return {
        side: [theorem for theorem in table.get(name, ()) if _is_printable(THEOREMS[theorem])]
        for side, table in (("upper", _UPPER), ("lower", _LOWER))
    }


def _is_printable(theorem: Theorem) -> bool:
    """Whether the page has values for all symbols; it has none for problems whose blocks are coupled."""
    known = {*_CONSTANT, *_ALONG, "t"}
    return all(str(s) in known or MEANINGS[s].setting for s in theorem.bound.free_symbols)


def bounds_source(rules: Sequence[Rule]) -> str:
    """Return the source of `BOUNDS`, an object with the theorems that `bounds_of` names for these rules.

    Raises:
        ValueError: a hypothesis that the page cannot evaluate.
    """
    names = dict.fromkeys(name for rule in rules for side in bounds_of(rule).values() for name in side)
    lines = [line for name in names for line in _entry(THEOREMS[name])]
    return "\n".join(["const BOUNDS = {", *lines, "};"]) + "\n"


def _entry(theorem: Theorem) -> Iterator[str]:
    along = sorted(str(s) for s in theorem.bound.free_symbols if str(s) in _ALONG)
    yield f"  {quoted(theorem.name)}: {{"
    yield f"    kind: {quoted(theorem.kind)}, direction: {quoted(theorem.direction)}, along: {quoted(along)},"
    yield f"    relative: {quoted(theorem.quantity == Symbol.gap / Symbol.gap_0)},"
    yield f"    value: (v, t) => {_Printer().doprint(theorem.bound)},"
    yield "    conditions: ["
    for hypothesis in theorem.hypotheses:
        assert isinstance(hypothesis, Hypothesis)  # a Theorem converts relations
        yield f"      {{ text: {quoted(hypothesis.text)}, holds: (v) => {_condition(hypothesis)} }},"
    yield "    ],"
    yield "  },"


def _condition(hypothesis: Hypothesis) -> str:
    relation = hypothesis.relation
    if relation is not None and relation.func in _RELATIONS:
        return _RELATIONS[relation.func].format(*map(_Printer().doprint, (relation.lhs, relation.rhs)))
    if hypothesis.text not in _CONDITIONS:
        raise ValueError(
            f"a hypothesis of the page must be a relation with <=, >= or =, or one of {', '.join(_CONDITIONS)}, got "
            f"{hypothesis.text!r}; add its JavaScript to the table."
        )
    return _CONDITIONS[hypothesis.text]
