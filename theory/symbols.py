"""Symbols of the statements, and reductions over their index; `quantities` defines their meanings and values."""

from typing import Any

import sympy as sp

__all__ = ["MaxOver", "MinOver", "SumOver", "Symbol"]


class _Over(sp.Function):  # type: ignore[misc]
    """A reduction over the index of the symbols inside: l (blocks) or i (coordinates)."""

    nargs = 1
    symbol = ""

    def _eval_is_real(self) -> bool | None:
        return self.args[0].is_real  # type: ignore[no-any-return]

    def _eval_is_positive(self) -> bool | None:
        return True if self.args[0].is_positive else None

    def _eval_is_nonnegative(self) -> bool | None:
        return True if self.args[0].is_nonnegative else None

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        index = "l" if any(str(s).endswith("_l") for s in self.free_symbols) else "i"
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"{self.symbol}_{index} \left[{printer.doprint(self.args[0])}\right]{power}"


class MaxOver(_Over):
    """Maximum over blocks or coordinates."""

    symbol = r"\max"


class MinOver(_Over):
    """Minimum over blocks or coordinates."""

    symbol = r"\min"


class SumOver(_Over):
    """Sum over blocks or coordinates."""

    symbol = r"\sum"


class Symbol:
    """The namespace of the symbols; `quantities.MEANINGS` has the meaning of each and its value on a run.

    An index `_l` runs over blocks, `_i` over coordinates. `eta` is the learning rate, the setting `lr` of runs and the symbol
    `lr` of rules. Symbols that change along the run have a value at every recorded step; a bound with such a symbol is
    compared only between consecutive steps.
    """

    t = sp.Symbol("t", integer=True, nonnegative=True)
    # settings
    eta = sp.Symbol("eta", positive=True)
    momentum, beta1, beta2 = sp.symbols("beta beta1 beta2", nonnegative=True)
    noise_std = sp.Symbol("s", nonnegative=True)
    # the problem
    L, mu, kappa, P, Lambda_P, nu, L_inf = sp.symbols("L mu kappa P Lambda_P nu L_inf", positive=True)
    L_l, mu_l, kappa_l, C1_l, C2_l, P_l = sp.symbols("L_l mu_l kappa_l C1_l C2_l P_l", positive=True)
    lambda_i, sigma_i = sp.symbols("lambda_i sigma_i", positive=True)
    part_i = sp.Symbol("q_i", nonnegative=True)
    # a state of the run
    gap, gap_0, gap_next = sp.symbols("gap gap_0 gap_next", positive=True)
    norm1, norm2_squared = sp.symbols("norm1_g norm2_g_squared", positive=True)
    norm2_squared_l = sp.Symbol("norm2_g_squared_l", nonnegative=True)
    Lambda_G = sp.Symbol("Lambda_G", positive=True)
    length = sp.Symbol("eta_t", positive=True)
    least_norm1, least_norm2_squared, largest_Lambda_G = sp.symbols(
        "least_norm1_g least_norm2_g_squared largest_Lambda_G", positive=True
    )
    cosine = sp.Symbol("cosine", real=True)
    # a softmax head
    classes, batch, features = sp.symbols("C b n", positive=True, integer=True)
    drift = sp.Symbol("s_drift", real=True)
    tie = sp.Symbol("p_tie", nonnegative=True)
    growth = sp.Symbol("growth", nonnegative=True)
