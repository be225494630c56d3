"""How expressions are written in LaTeX."""

from typing import Any

from sympy.printing.latex import LatexPrinter

__all__ = ["MinusLast"]


class MinusLast(LatexPrinter):  # type: ignore[misc]
    """SymPy's printer of LaTeX, but with 1 - x in place of -x + 1."""

    def _as_ordered_terms(self, expression: Any, order: Any = None) -> Any:
        terms = super()._as_ordered_terms(expression, order=order)
        return sorted(terms, key=lambda term: bool(term.could_extract_minus_sign()))
