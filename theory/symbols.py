"""Symbols of the statements, and reductions over their index; `quantities` defines their meanings and values."""

from typing import Any

import sympy as sp

__all__ = ["REDUCTIONS", "Invertible", "MaxOver", "MinOver", "SumIn", "SumOver", "Symbol"]


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
        ends = {str(s)[-2:] for s in self.free_symbols}
        index = "l" if "_l" in ends else r"{i,j}" if "_p" in ends else "i"
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


class SumIn(_Over):
    """Sum over the coordinates of a block: it has the index l of the block. Derivations use it, bounds do not."""

    symbol = r"\sum"


REDUCTIONS = (MaxOver, MinOver, SumOver, SumIn)


class Invertible(sp.Symbol):  # type: ignore[misc]
    """A letter for a matrix with an inverse, in derivations that multiply matrices and vectors."""


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
    # blocks of rules that H couples: D holds the diagonal blocks of H
    coupling, off_block, rate_coupling = sp.symbols("c delta c_rate", nonnegative=True)
    L_D_l, mu_D_l, kappa_D_l, C1_D_l, C2_D_l = sp.symbols("L_D_l mu_D_l kappa_D_l C1_D_l C2_D_l", positive=True)
    Lambda_D = sp.Symbol("Lambda_D", positive=True)
    dual_norm, norm_smoothness = sp.symbols("norm_dual_g S_norm", positive=True)
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
    stride = sp.Symbol("stride", nonnegative=True)
    # sign steps at a rate that is given: constants of blocks and coordinates, and recursions
    S_l, nu_l, M_l = sp.symbols("S_l nu_l M_l", positive=True)
    gap_0_l = sp.Symbol("gap_0_l", nonnegative=True)
    target_l = sp.Symbol("x_T_l", positive=True)
    u_l, v_l, w_l = sp.symbols("u_l v_l w_l", nonnegative=True)
    smaller_gap = sp.Symbol("smaller_gap", nonnegative=True)
    travelled = sp.Symbol("travelled", nonnegative=True)
    start_i, curvature_i = sp.symbols("x_i h_i", nonnegative=True)
    inverse_i = sp.Symbol("a_i", positive=True)
    ratio_high, ratio_low = sp.symbols("r_high r_low", nonnegative=True)
    # a preconditioned run: B_t of the step to t, its spectrum with a block, and the energies of blocks
    tau_low_l, tau_high_l = sp.symbols("tau_low_l tau_high_l", positive=True)
    eps1 = sp.Symbol("epsilon1", positive=True)
    energy_ratio_l, certified_ratio_l = sp.symbols("E_ratio_l V_ratio_l", nonnegative=True)
    least_ratio = sp.Symbol("q_rho", nonnegative=True)
    certified_l, span_l, from_state_l, mode_i = sp.symbols("G_l Phi_l F_l p_i", nonnegative=True)
    # a softmax head
    classes, batch, features = sp.symbols("C b n", positive=True, integer=True)
    drift = sp.Symbol("s_drift", real=True)
    tie = sp.Symbol("p_tie", nonnegative=True)
    growth = sp.Symbol("growth", nonnegative=True)
    # parts of toy models, and memories of gradients
    along_layer_norm = sp.Symbol("v_J_v", real=True)
    part_across, part_along, eps_model = sp.symbols("v_across v_along eps_model", nonnegative=True)
    variance = sp.Symbol("q", positive=True)
    softmax_norm, most_mixed = sp.symbols("norm_softmax a_mixed", nonnegative=True)
    row_share, row_ratio = sp.symbols("share_of_rows ratio_of_rows", nonnegative=True)
    memory_spread, memory_errors = sp.symbols("v_less_m_squared EMA_errors", nonnegative=True)
    sigma = sp.Symbol("sigma", positive=True)
    largest_rate = sp.Symbol("eta_max", positive=True)
    # linear rules on a stream
    samples = sp.Symbol("b_stream", positive=True, integer=True)
    label_noise, square, mean_gap = sp.symbols("v_labels p E_gap", nonnegative=True)
    square_next, trace_rate, floor = sp.symbols("p_next c_eta E_gap_end", real=True)
    eigenvalue = sp.Symbol("lambda", positive=True)
    trace_momentum = sp.Symbol("c_eta_beta", real=True)
    total_gap, memory_square = sp.symbols("E_gap_total E_mm", nonnegative=True)
    memory_cross, along, along_next = sp.symbols("E_em k_along E_along_next", real=True)
    # a sign step on one sample
    signed_next, arcsine_form, mean_gradient_i, alignment_i = sp.symbols(
        "E_gap_signed arcsine_form He_i rho_i", real=True
    )
