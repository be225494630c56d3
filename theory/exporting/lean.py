"""A sketch of a theorem and its proof for Lean 4 with Mathlib: every step stands as `have ... := by sorry`, to be filled in.

It is not compiled here. Reductions over an index (`SumOver`, `MaxOver`, ...) are left as names, which whoever fills the sketch
defines as sums and suprema over a finite type.
"""

import re
from typing import Any

import sympy as sp
from sympy.printing.str import StrPrinter

from quadsim.theory.statements.derived.graph import derive
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.theorem import Theorem

__all__ = ["lean_sketch"]

_SIGNS = (("positive", "0 < {}"), ("nonnegative", "0 ≤ {}"))
_WORDS = {"==": "=", "<=": "≤", ">=": "≥", "!=": "≠", "<": "<", ">": ">"}


class _Lean(StrPrinter):  # type: ignore[misc]
    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return _name(expr.name)

    def _print_Relational(self, expr: Any) -> str:
        return f"{self._print(expr.lhs)} {_WORDS[expr.rel_op]} {self._print(expr.rhs)}"

    def _print_And(self, expr: Any) -> str:
        return " ∧ ".join(f"({self._print(x)})" for x in expr.args)

    def _print_Or(self, expr: Any) -> str:
        return " \N{LOGICAL OR} ".join(f"({self._print(x)})" for x in expr.args)

    def _print_Implies(self, expr: Any) -> str:
        return " → ".join(f"({self._print(x)})" for x in expr.args)

    def _print_Function(self, expr: Any) -> str:
        return f"{expr.func.__name__} {' '.join(f'({self._print(x)})' for x in expr.args)}"

    _print_Max = _print_Min = _print_Abs = _print_Function

    def _print_Pow(self, expr: Any, rational: bool = False) -> str:
        return str(super()._print_Pow(expr, rational=rational)).replace("**", "^")


def _name(text: str) -> str:
    name = re.sub(r"\W+", "_", text)
    return f"{name}_" if name in ("lambda", "at", "from", "have", "show", "fun") else name


def _lean(expression: Any) -> str:
    return str(_Lean().doprint(expression))


def lean_sketch(theorem: Theorem) -> str:
    """Return a sketch in Lean 4: variables with their signs, hypotheses, the statement, and a `have` for every step.

    Args:
        theorem: the theorem.
    """
    derived = derive(theorem)
    steps = theorem.proof if derived is None else tuple(dict(derived.steps))
    claims = [x for step in steps for x in (step.claim, *step.given) if isinstance(x, sp.Basic)]
    symbols = sorted(set().union(*(x.free_symbols for x in claims)), key=str)
    lines = ["import Mathlib", "", f"-- {theorem.source}"]
    lines.append("-- A sketch: nothing in it is proved, and the reductions over an index are to be defined.")
    lines.append(f"theorem {_name(theorem.name)}")
    names = sorted({_name(symbol.name) for symbol in symbols if symbol.is_commutative})
    lines.append(f"    ({' '.join(names)} : \N{DOUBLE-STRUCK CAPITAL R})")
    for symbol in symbols:
        for sign, text in _SIGNS:
            if getattr(symbol, f"is_{sign}"):
                lines.append(f"    ({_name(symbol.name)}_{sign} : {text.format(_name(symbol.name))})")
                break
    for number, hypothesis in enumerate(theorem.conditions, 1):
        said = "True" if hypothesis.relation is None else _lean(hypothesis.relation)
        lines.append(f"    (hypothesis_{number} : {said})  -- {hypothesis.text}")
    lines.append(f"    : {_lean(theorem.relation_of_values)} := by")
    lines += [_have(number, step) for number, step in enumerate(steps, 1)]
    return "\n".join([*lines, "  sorry"]) + "\n"


def _have(number: int, step: Step) -> str:
    if step.is_cited or any(not s.is_commutative for s in step.claim.free_symbols):
        return f"  -- step {number}: {step.claim}"
    given = "".join(f"({_lean(x)}) → " for x in step.given if isinstance(x, sp.Basic))
    uses = f", from {'; '.join(step.uses)}" if step.uses else ""
    return f"  have step_{number} : {given}{_lean(step.claim)} := by sorry  -- {step.label or step.because}{uses}"
