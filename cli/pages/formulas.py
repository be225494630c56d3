"""Convert formulas of the theorems to MathML, which browsers draw. Text of a result folder is never converted."""

import re
from functools import cache
from typing import Any

import latex2mathml.converter
from markupsafe import Markup, escape

from quadsim.simulator.rules.printing import MinusLast
from quadsim.theory import Theorem
from quadsim.theory.symbols import Symbol

__all__ = ["as_checked", "claims_of", "mathml", "statement", "symbols_of"]

_NAMES = {
    str(symbol): name
    for symbol, name in {
        Symbol.gap: r"\Delta_t",
        Symbol.gap_0: r"\Delta_0",
        Symbol.gap_next: r"\Delta_{t+1}",
        Symbol.momentum: r"\beta",
        Symbol.norm1: r"\|g_t\|_1",
        Symbol.norm2_squared: r"\|g_t\|_2^2",
        Symbol.norm2_squared_l: r"\|g_{t,l}\|_2^2",
        Symbol.least_norm1: r"\min_{s<t} \|g_s\|_1",
        Symbol.least_norm2_squared: r"\min_{s<t} \|g_s\|_2^2",
        Symbol.largest_Lambda_G: r"\max_{s<t} \Lambda_G(w_s)",
        Symbol.L_inf: r"L_\infty",
        Symbol.C1_l: r"C_{1,l}",
        Symbol.C2_l: r"C_{2,l}",
        Symbol.cosine: r"\cos(w_{t+1}-w_t, -\mathrm{sign}\, g_t)",
        Symbol.growth: r"\|V_t - V_0\|_F^2",
        Symbol.drift: "s",
        Symbol.tie: r"p_{\mathrm{tie}}",
    }.items()
} | {"momentum": r"\beta"}
"""Names of symbols to their MathML. The key is the name, as proofs use symbols with other assumptions."""

_WORDS = re.compile(r"\\text\{[^{}]*\}")

_TIGHT = re.compile(r"<mo([^>]*)>(&#x0007C;|&#x02016;|&#x0002F;)</mo>")
"""Bars, double bars and slashes, around which MathML puts the space of a relation and TeX none."""

_CARRY_A_POWER = ("_2^2", "_F^2", "{s<t}")


class _Printer(MinusLast):
    """The printer of statements with names of its own, expectations, and brackets around a power that is raised to a power."""

    def _print_Symbol(self, expression: Any, style: str = "plain") -> str:
        return _NAMES.get(expression.name) or str(super()._print_Symbol(expression, style))

    def _print_Function(self, expression: Any, exp: Any = None) -> str:
        if expression.func.__name__ == "E":
            return rf"\mathbb{{E}}\left[{self.doprint(expression.args[0])}\right]"
        return str(super()._print_Function(expression, exp))

    def _print_Pow(self, expression: Any) -> str:
        name = _NAMES.get(str(expression.base), "")
        if expression.exp.is_Integer and expression.exp > 1 and any(part in name for part in _CARRY_A_POWER):
            return rf"\left({name}\right)^{{{expression.exp}}}"
        return str(super()._print_Pow(expression))


def _latex(expression: Any) -> str:
    return str(_Printer().doprint(expression))


@cache
def mathml(latex: str, *, block: bool = False) -> Markup:
    """Return an expression as MathML."""
    plain = latex.replace(r"\_", "_").replace(r"\%", "%")  # LaTeX has to mark them in words, MathML shows the mark
    plain = _WORDS.sub(lambda words: str(escape(words[0])), plain)  # the converter escapes formulas, but not words
    converted = latex2mathml.converter.convert(plain, display="block" if block else "inline")
    return Markup(_TIGHT.sub(r'<mo\1 lspace="0" rspace="0">\2</mo>', converted))


def statement(theorem: Theorem) -> Markup:
    """Return the statement of a theorem as MathML."""
    return mathml(theorem.statement, block=True)


def as_checked(theorem: Theorem) -> Markup:
    """Return the relation with which runs are compared, from the SymPy object itself, as MathML."""
    return mathml(_latex(theorem.relation), block=True)


def symbols_of(theorem: Theorem) -> tuple[tuple[Markup, str], ...]:
    """Return every symbol of that relation with its meaning."""
    return tuple((mathml(_latex(symbol)), text) for symbol, text in theorem.symbols.items())


def claims_of(theorem: Theorem) -> dict[str, Markup]:
    """Return the claims of the proof's steps as MathML, by their text."""
    return {
        str(step.claim): mathml(_latex(step.claim), block=True)
        for step in theorem.proof
        if not isinstance(step.claim, str)
    }
