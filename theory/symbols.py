"""Symbols of the statements, each with its meaning, its range and its value on a run.

A value has the axes (problem, setting), and one more for blocks or coordinates where the symbol has an index. Values come from
the problem's data and the settings alone, never from an engine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.trajectory import Trajectory

__all__ = [
    "MaxOver",
    "MinOver",
    "SumOver",
    "Symbol",
    "evaluate",
    "first_gradient",
    "frozen_spectrum",
    "gradient_condition",
]

Array = NDArray[np.float64]


class _Over(sp.Function):  # type: ignore[misc]
    """A reduction over the index of the symbols inside: l (blocks) or i (coordinates)."""

    nargs = 1
    symbol = ""

    def _latex(self, printer: Any) -> str:
        index = "l" if any(str(s).endswith("_l") for s in self.free_symbols) else "i"
        return rf"{self.symbol}_{index} \left[{printer.doprint(self.args[0])}\right]"


class MaxOver(_Over):
    """Maximum over blocks or coordinates."""

    symbol = r"\max"


class MinOver(_Over):
    """Minimum over blocks or coordinates."""

    symbol = r"\min"


class SumOver(_Over):
    """Sum over blocks or coordinates."""

    symbol = r"\sum"


@dataclass(frozen=True)
class _Meaning:
    text: str
    value: Callable[[Trajectory], Array]


class Symbol:
    """Namespace of the symbols; `MEANINGS` says what each is."""

    t = sp.Symbol("t", integer=True, nonnegative=True)
    eta, L, mu, kappa = sp.symbols("eta L mu kappa", positive=True)
    rho = sp.Symbol("rho", nonnegative=True)
    momentum = sp.Symbol("beta", nonnegative=True)
    L_l, mu_l, kappa_l, C1_l, C2_l = sp.symbols("L_l mu_l kappa_l C1_l C2_l", positive=True)
    lambda_i, sigma_i = sp.symbols("lambda_i sigma_i", positive=True)
    c_i = sp.Symbol("c_i", real=True)


def first_gradient(trajectory: Trajectory) -> Array:
    """g_0 = H e_0, (M, P)."""
    problem = trajectory.problem
    groups = {s: np.matmul(problem.hessian[s], problem.initial_error[s][..., None])[..., 0] for s in problem.hessian}
    return problem.layout.flatten(groups)


def gradient_condition(trajectory: Trajectory) -> Array:
    """max_i (|H||e_0|)_i / |g_0,i|, (M, 1): how many units of rounding the smallest entries of g_0 carry."""
    problem = trajectory.problem
    moduli = {
        size: np.matmul(np.abs(problem.hessian[size]), np.abs(problem.initial_error[size])[..., None])[..., 0]
        for size in problem.hessian
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = problem.layout.flatten(moduli) / np.abs(first_gradient(trajectory))
    return np.asarray(np.max(ratios, axis=1)[:, None])


def _per_block(trajectory: Trajectory, reduce: Callable[..., Array]) -> Array:
    """A reduction of |g_0| over each block, (M, 1, B)."""
    modulus = np.abs(first_gradient(trajectory))
    ends = np.cumsum(trajectory.problem.block_sizes)
    begins = ends - np.array(trajectory.problem.block_sizes)
    return np.stack([reduce(modulus[:, b:e], axis=1) for b, e in zip(begins, ends, strict=True)], axis=-1)[:, None]


def frozen_spectrum(trajectory: Trajectory) -> Array:
    """Eigenvalues of D^(-1/2) H D^(-1/2) with D = diag|g_0|, (M, 1, P); infinite where an entry of g_0 is 0."""
    problem = trajectory.problem
    roots = problem.layout.split(np.sqrt(np.abs(first_gradient(trajectory))))
    values = {}
    for size, root in roots.items():
        safe = np.where(root == 0.0, 1.0, root)
        scaled = problem.hessian[size] / safe[..., :, None] / safe[..., None, :]
        values[size] = np.linalg.eigvalsh((scaled + np.swapaxes(scaled, -1, -2)) / 2)
        values[size] = np.where((root == 0.0).any(axis=-1, keepdims=True), np.inf, values[size])
    return problem.layout.flatten(values)[:, None]


def _whole(reduce: Callable[..., Array], name: str) -> Callable[[Trajectory], Array]:
    def value(trajectory: Trajectory) -> Array:
        return reduce(getattr(trajectory.problem, name), axis=1)[:, None]

    return value


def _setting(name: str) -> Callable[[Trajectory], Array]:
    def value(trajectory: Trajectory) -> Array:
        return trajectory.settings[name][None, :]

    return value


_L = _whole(np.max, "block_smoothness")
_mu = _whole(np.min, "block_strong_convexity")

MEANINGS: dict[sp.Symbol, _Meaning] = {
    Symbol.eta: _Meaning("learning rate", _setting("lr")),
    Symbol.momentum: _Meaning("momentum, in [0, 1)", _setting("momentum")),
    Symbol.L: _Meaning("largest eigenvalue of H", _L),
    Symbol.mu: _Meaning("smallest eigenvalue of H, positive", _mu),
    Symbol.kappa: _Meaning("condition number L/mu of H", lambda t: _L(t) / _mu(t)),
    Symbol.L_l: _Meaning("largest eigenvalue of block l", lambda t: t.problem.block_smoothness[:, None]),
    Symbol.mu_l: _Meaning("smallest eigenvalue of block l", lambda t: t.problem.block_strong_convexity[:, None]),
    Symbol.kappa_l: _Meaning(
        "condition number L_l/mu_l of block l",
        lambda t: (t.problem.block_smoothness / t.problem.block_strong_convexity)[:, None],
    ),
    Symbol.C1_l: _Meaning(
        "smallest |g_0,li| of block l over L_l", lambda t: _per_block(t, np.min) / t.problem.block_smoothness[:, None]
    ),
    Symbol.C2_l: _Meaning(
        "largest |g_0,li| of block l over L_l", lambda t: _per_block(t, np.max) / t.problem.block_smoothness[:, None]
    ),
    Symbol.lambda_i: _Meaning(
        "eigenvalues of H, by block", lambda t: t.problem.layout.flatten(t.problem.eigenvalues)[:, None]
    ),
    Symbol.sigma_i: _Meaning("eigenvalues of D^(-1/2) H D^(-1/2), D = diag|g_0|", frozen_spectrum),
    Symbol.c_i: _Meaning(
        "coefficients of e_0 on the eigenvectors",
        lambda t: t.problem.layout.flatten(t.problem.initial_coefficients)[:, None],
    ),
}

_REDUCTIONS = {
    "MaxOver": lambda x: np.max(x, axis=-1, keepdims=True),
    "MinOver": lambda x: np.min(x, axis=-1, keepdims=True),
    "SumOver": lambda x: np.sum(x, axis=-1, keepdims=True),
}


def evaluate(expression: sp.Expr, trajectory: Trajectory) -> Array:
    """The value of a statement's expression on every problem and setting, (M, K).

    Raises:
        ValueError: a symbol without a meaning on a run.
    """
    symbols = sorted(expression.free_symbols, key=str)
    for symbol in symbols:
        if symbol not in MEANINGS:
            raise ValueError(f"symbol must be one of {', '.join(map(str, MEANINGS))}, got {symbol}; use these.")
    function = sp.lambdify(symbols, expression, modules=[_REDUCTIONS, "numpy"])
    values = [MEANINGS[symbol].value(trajectory) for symbol in symbols]
    with np.errstate(all="ignore"):
        value = np.asarray(function(*(v if v.ndim == 3 else v[..., None] for v in values)))
    shape = trajectory.steps_to_tolerance.shape
    return np.broadcast_to(value, (*shape, 1))[..., 0].astype(np.float64)
