"""The functions and symbols that the expressions of a rule are made of, beside those of SymPy."""

from typing import Any

import sympy as sp
from sympy.printing.precedence import PRECEDENCE

__all__ = ["COORDINATE", "FUNCTIONS", "NATURAL", "OF_NUMBERS", "BlockMean", "Norm", "Ratio", "Total", "symbols"]


class BlockMean(sp.Function):  # type: ignore[misc]
    """Mean of an expression over the coordinates of the block."""

    nargs = 1

    @classmethod
    def eval(cls, expression: sp.Expr) -> sp.Expr | None:
        """Evaluate the mean of 0."""
        return sp.S.Zero if expression == 0 else None


class Total(sp.Function):  # type: ignore[misc]
    """Sum of an expression over all coordinates of the problem; a rule that has one is *global*."""

    nargs = 1

    @classmethod
    def eval(cls, expression: sp.Expr) -> sp.Expr | None:
        """Evaluate the sum of 0, without which the norm of a zero gradient could not be compared in a Min."""
        return sp.S.Zero if expression == 0 else None


class Ratio(sp.Function):  # type: ignore[misc]
    """The quotient a/b, and 0 wherever a = 0 (also at 0/0), so that a rule does not move where the gradient is 0."""

    nargs = 2
    precedence = PRECEDENCE["Mul"]  # printed as a quotient, so a power of it needs brackets

    @classmethod
    def eval(cls, a: sp.Expr, b: sp.Expr) -> sp.Expr | None:
        """Evaluate a Ratio of numbers."""
        if a.is_zero:
            return sp.S.Zero
        if a.is_number and b.is_number and not b.is_zero:
            return a / b
        return None

    def doit(self, **hints: Any) -> sp.Expr:
        """Return the plain quotient, for algebra where a is not 0."""
        a, b = (argument.doit(**hints) for argument in self.args)
        return a / b

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        quotient = rf"\frac{{{printer.doprint(self.args[0])}}}{{{printer.doprint(self.args[1])}}}"
        return quotient if exp is None else rf"\left({quotient}\right)^{{{exp}}}"

    def _sympystr(self, printer: Any) -> str:
        a, b = (printer.parenthesize(argument, PRECEDENCE["Mul"] + 1) for argument in self.args)
        return f"{a}/{b}"


def Norm(expression: sp.Expr) -> sp.Expr:
    """Euclidean norm of an expression over all coordinates of the problem."""
    return sp.sqrt(Total(expression**2))


class symbols:
    """The symbols that a rule may use beside its own states, clocks and hyperparameters.

    `g` gradient coordinate; `w` iterate coordinate (for weight decay); `lr` learning rate of this step (`eta` in
    `quadsim.theory.symbols`); `L_l`, `mu_l` extreme eigenvalues of the coordinate's block. In `natural_lr` only: `L`, `mu` of
    the whole, `trace` of H, `dimension` P, `error_scale` (typical size of a coordinate of e_0) and `tolerance`.
    """

    g, w = sp.symbols("g w", real=True)
    lr = sp.Symbol("lr", positive=True)
    L_l, mu_l = sp.symbols("L_l mu_l", positive=True)
    L, mu, trace, dimension, error_scale, tolerance = sp.symbols(
        "L mu trace dimension error_scale tolerance", positive=True
    )


COORDINATE = (symbols.g, symbols.w, symbols.lr, symbols.L_l, symbols.mu_l)
NATURAL = (symbols.L, symbols.mu, symbols.trace, symbols.dimension, symbols.error_scale, symbols.tolerance)
FUNCTIONS = (BlockMean, Total, Ratio, sp.Abs, sp.sign, sp.exp, sp.log, sp.tanh, sp.Max, sp.Min)
OF_NUMBERS = tuple(f for f in FUNCTIONS if f not in (BlockMean, Total))
