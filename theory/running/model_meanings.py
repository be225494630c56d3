"""Meanings of the symbols that only parts of models, memories and streams have: no run gives them a value."""

from collections.abc import Mapping

import sympy as sp

from quadsim.theory.symbols import Symbol as _s

__all__ = ["MODEL_MEANINGS", "OFF_RUNS"]

MODEL_MEANINGS: Mapping[sp.Symbol, str] = {
    _s.along_layer_norm: "v'Jv of the Jacobian J of layer norm at x (width d, gain 1), for a vector v",
    _s.part_across: "squared length of the part of v that is orthogonal to 1 and to x~ = x - mean(x), 0 or more",
    _s.part_along: "squared length of the part of v along x~, 0 or more",
    _s.variance: "|x~|^2/d, the variance of the entries of x, above 0",
    _s.eps_model: "epsilon of the layer norm, 1e-5 in the models here, 0 or more",
    _s.softmax_norm: "|diag(a) - aa'|_2 of a probability vector a, the Jacobian of softmax where its output is a",
    _s.most_mixed: "max_i a_i (1 - a_i), from 0 (one-hot) to 1/4",
    _s.row_share: "share of |H_vv|_F^2 off the blocks of single rows, H_vv the Hessian in the output matrix",
    _s.row_ratio: "E (v_i'Mv_j)^2 / E (v_i'Mv_i)^2 for i != j, M = I - 11'/C, v_i the columns of the output matrix",
    _s.memory_spread: "v_t - m_t^2 of one coordinate, without bias corrections",
    _s.memory_errors: "(1-beta1) sum_s beta1^(t-s) (m_{s-1} - g_s)^2, a mean with the weights of m",
    _s.sigma: "an eigenvalue of D^(-1/2) H D^(-1/2), D the frozen denominator, above 0",
    _s.largest_rate: "the rate below which the mode is stable, and from which on it is not",
    _s.samples: "samples of a step, at least 1",
    _s.label_noise: "standard deviation of the labels around x'w*, 0 or more",
    _s.eigenvalue: "an eigenvalue of H, above 0",
    _s.square: "E e_i(t)^2 along its eigenvector, 0 or more",
    _s.square_next: "E e_i(t+1)^2",
    _s.mean_gap: "E gap_t, half of sum_j lambda_j E e_j(t)^2",
    _s.trace_rate: "c(eta) = sum_i eta lambda_i/(2b - eta lambda_i (b+1)), below 1",
    _s.trace_momentum: "c(eta, beta) = sum_i eta lambda_i (1+beta)/D_i of heavy-ball (docs/theory.md section 11), below 1",
    _s.floor: "limit of E gap_t",
    _s.total_gap: "sum over all steps t >= 0 of E gap_t, without noise of the labels",
    _s.memory_cross: "E e_i(t) m_i(t), m the memory of heavy-ball",
    _s.memory_square: "E m_i(t)^2, 0 or more",
    _s.along: "any number k",
    _s.along_next: "E (e_i(t+1) + k m_i(t+1))^2",
    _s.signed_next: "E gap_{t+1} after the step -eta sign(g) on one sample, from a given e",
    _s.mean_gradient_i: "(He)_i, coordinate i of the gradient's mean",
    _s.alignment_i: "(He)_i/sqrt(H_ii (e'He + v^2)), the correlation of coordinate i of the sample with its residual",
    _s.arcsine_form: "sum_ij H_ij arcsin(H_ij/sqrt(H_ii H_jj))",
}
"""Symbol to its meaning, with the range."""

OFF_RUNS = frozenset({_s.growth, *MODEL_MEANINGS})
"""Quantities without a value on a run; statements about them are checked on instances of their own."""
