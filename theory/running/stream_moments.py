"""Second moments of linear rules on gradients from a stream of samples: the exact mean of the gap at any step.

Along eigenvector i of H a linear rule moves y = (e_i, its states) to A(lambda_i) y + n zeta_i, where zeta_i is the gradient less
its mean. Given the iterate, zeta has the mean 0 and the covariance (H S H + tr(HS) H + v^2 H)/b with S = e e' (Isserlis' theorem
for the fourth moments of x ~ N(0, H)), so that its diagonal in the eigenbasis is closed in p_i = E e_i^2:

    E zeta_i^2 = (lambda_i^2 p_i + lambda_i (sum_j lambda_j p_j + v^2))/b.

The moments E y y' of all modes, symmetric and stacked, follow one affine recursion; its powers give any step. For gd it is
`p_i' = (1 - eta lambda_i)^2 p_i + (eta^2/b)(lambda_i^2 p_i + lambda_i (sum_j lambda_j p_j + v^2))`.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import Stream
from quadsim.simulator.rules.functions import symbols
from quadsim.simulator.rules.rule import Rule

__all__ = ["Moments", "critical_batch", "largest_stable_rate", "sign_step_gap", "stream_trace", "why_no_moments"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of one rule under one setting on one problem.

    Attributes:
        rule: a linear rule of which `why_no_moments` says nothing.
        settings: `lr` and every hyperparameter.
        eigenvalues: lambda_i, (P,), 0 or more.
        oracle: the stream.

    Raises:
        ValueError: another rule.
    """

    rule: Rule
    settings: dict[str, float]
    eigenvalues: Array
    oracle: Stream

    @cached_property
    def recursion(self) -> tuple[Array, Array]:
        """(M, c) of m' = M m + c, with the moments of mode i at the places i r to (i + 1) r, r = n (n + 1)/2.

        The first moment of a mode is p_i.
        """
        matrix, into = _modes(self.rule, self.settings, self.eigenvalues)
        pairs = [(a, b) for a in range(into.size) for b in range(a, into.size)]
        number, modes = len(pairs), self.eigenvalues.size
        alone = np.empty((modes, number, number))
        for row, (a, b) in enumerate(pairs):
            for column, (c, d) in enumerate(pairs):
                alone[:, row, column] = matrix[:, a, c] * matrix[:, b, d]
                if c != d:  # E y_c y_d stands for both orders
                    alone[:, row, column] += matrix[:, a, d] * matrix[:, b, c]
        kick = np.array([into[a] * into[b] for a, b in pairs]) / self.oracle.batch
        lam = self.eigenvalues
        whole = np.zeros((modes, number, modes, number))
        whole[range(modes), :, range(modes), :] = alone
        first = whole[:, :, :, 0]
        first += lam[:, None, None] * kick[None, :, None] * lam[None, None, :]
        first[range(modes), :, range(modes)] += (lam**2)[:, None] * kick
        constant = self.oracle.label_noise**2 * lam[:, None] * kick
        return whole.reshape(modes * number, modes * number), constant.reshape(-1)

    def gaps(self, squares: Array, steps: NDArray[np.int64]) -> Array:
        """Return E gap at steps in ascending order, (R,); infinite where it overflows.

        Args:
            squares: E e_i(0)^2, (P,).
            steps: the steps.
        """
        matrix, constant = self.recursion
        each = constant.size // self.eigenvalues.size
        power = np.zeros((constant.size + 1, constant.size + 1))
        power[:-1, :-1], power[:-1, -1], power[-1, -1] = matrix, constant, 1.0
        powers, state = [power], np.append(np.zeros(constant.size), 1.0)
        state[:-1:each] = squares
        out, at = np.empty(steps.size), 0
        with np.errstate(over="ignore", invalid="ignore"):
            for r, step in enumerate(steps.tolist()):
                for bit in range(int(step - at).bit_length()):
                    if bit == len(powers):
                        powers.append(powers[-1] @ powers[-1])
                    if (step - at) >> bit & 1:
                        state = powers[bit] @ state
                at = step
                out[r] = self.eigenvalues @ state[:-1:each] / 2.0
        return np.where(np.isnan(out), np.inf, out)

    @cached_property
    def radius(self) -> float:
        """Spectral radius of the recursion: the moments are stable if and only if it is below 1."""
        return float(np.abs(np.linalg.eigvals(self.recursion[0])).max())

    @cached_property
    def floor(self) -> float:
        """Limit of E gap: 0 without noise of the labels, infinite where the moments are not stable."""
        if not self.radius < 1.0:
            return np.inf
        matrix, constant = self.recursion
        each = constant.size // self.eigenvalues.size
        limit = np.linalg.solve(np.eye(constant.size) - matrix, constant)
        return float(self.eigenvalues @ limit[::each] / 2.0)


def stream_trace(eigenvalues: Array, lr: Any, batch: Any, momentum: float = 0.0) -> Array:
    """Return c = sum_i x_i (1 + beta)/D(x_i), x_i = eta lambda_i, D(x) = b (1 - beta)(2 (1 + beta) - x) - x (1 + beta).

    It is infinite where a D(x_i) is not above 0. Heavy-ball with momentum beta (gradient descent: 0) on a stream is stable in
    mean square if and only if c < 1, and its floor is then v^2 c/(2 (1 - c)) (sgd-stability, heavy-ball-stability).

    Args:
        eigenvalues: lambda_i, (..., P).
        lr: eta, of a shape that broadcasts against (...).
        batch: b, likewise.
        momentum: beta, in [0, 1).
    """
    step = np.asarray(lr)[..., None] * eigenvalues
    batch = np.asarray(batch, dtype=float)[..., None]
    left = batch * (1.0 - momentum) * (2.0 * (1.0 + momentum) - step) - step * (1.0 + momentum)
    with np.errstate(divide="ignore"):
        share = step * (1.0 + momentum) / np.where(left > 0.0, left, np.inf)
    return np.where((left > 0.0).all(axis=-1), share.sum(axis=-1), np.inf)


def largest_stable_rate(eigenvalues: Array, batch: float, momentum: float = 0.0) -> float:
    """Return the rate at which c(eta) = 1: a stream is stable in mean square below it and not from it on.

    Args:
        eigenvalues: lambda_i, (P,).
        batch: b; infinite for the full batch.
        momentum: beta of heavy-ball.
    """
    top = float(eigenvalues.max())
    if np.isinf(batch):
        return 2.0 * (1.0 + momentum) / top
    low, high = 0.0, 2.0 * batch * (1.0 - momentum**2) / ((batch * (1.0 - momentum) + 1.0 + momentum) * top)
    while True:  # c rises from 0 to infinity between them
        middle = (low + high) / 2.0
        if middle in (low, high):
            return low
        stable = stream_trace(eigenvalues, middle, batch, momentum) < 1.0
        low, high = (middle, high) if stable else (low, middle)


def critical_batch(eigenvalues: Array, lr: float, trace: float = 0.5, momentum: float = 0.0) -> float:
    """Return the smallest batch with c(eta) <= trace; infinite if the full batch is not stable either.

    At c = 1/2 the floor v^2 c/(2 (1 - c)) is v^2/2, the loss that the noise of the labels itself leaves.

    Args:
        eigenvalues: lambda_i, (P,).
        lr: eta.
        trace: the limit of c.
        momentum: beta of heavy-ball.
    """
    high = 1.0
    while stream_trace(eigenvalues, lr, high, momentum) > trace:
        high *= 2.0
        if high > 2.0**40:
            return np.inf
    low = high / 2.0
    while high - low > 1.0:
        middle = np.floor((low + high) / 2.0)
        low, high = (middle, high) if stream_trace(eigenvalues, lr, middle, momentum) > trace else (low, middle)
    return float(np.ceil(high))


def sign_step_gap(hessian: Array, error: Array, lr: float, label_noise: float) -> float:
    """Return E gap after a step -eta sign(g) on one sample of a stream with normal noise, from a given error (sign-one-step).

    Args:
        hessian: H, (P, P), with a diagonal above 0.
        error: e, (P,).
        lr: eta.
        label_noise: v.
    """
    gradient, scale = hessian @ error, np.sqrt(np.diag(hessian))
    residual = np.sqrt(error @ gradient + label_noise**2)
    along = gradient @ np.arcsin(np.clip(gradient / (scale * residual), -1.0, 1.0)) if residual > 0.0 else 0.0
    spread = np.sum(hessian * np.arcsin(np.clip(hessian / np.outer(scale, scale), -1.0, 1.0)))
    return float(error @ gradient / 2.0 - 2.0 * lr / np.pi * along + lr**2 / np.pi * spread)


def why_no_moments(rule: Rule) -> str:
    """Return why the moments of a rule are not known on a stream, in words that follow its name; empty where they are."""
    form = rule.linear_form
    if form is None:
        return "it is not one linear map at every step, from states of 0"
    if form.preconditioner is not None:
        return "it has a preconditioner"
    if form.matrix.free_symbols - {form.eigenvalue, symbols.lr, *rule.hyperparameters}:
        return "it treats blocks differently"  # as block-gd, by the L_l of every block
    return "its states do not start at 0" if rule.start else ""


def _modes(rule: Rule, settings: dict[str, float], eigenvalues: Array) -> tuple[Array, Array]:
    """Return A of every mode, (P, n, n), and n, by which the gradient enters, (n,)."""
    names, matrix, into = _lambdified(rule)
    values = [settings[name] for name in names]
    rows = matrix(eigenvalues, *values)
    stacked = [[np.broadcast_to(entry, eigenvalues.shape) for entry in row] for row in rows]
    return np.moveaxis(np.array(stacked), -1, 0), np.array([float(entry) for entry in into(*values)])


@lru_cache(maxsize=32)
def _lambdified(rule: Rule) -> tuple[tuple[str, ...], Any, Any]:
    why = why_no_moments(rule)
    if why:
        raise ValueError(
            f"rule must have moments on a stream that are known, got {rule.name}: {why}; use gd or heavy-ball."
        )
    form = rule.linear_form
    assert form is not None
    names = (symbols.lr, *rule.hyperparameters)
    into = form.matrix[:, 0].diff(form.eigenvalue)  # A is linear in lambda: e enters the gradient as lambda e
    assert not into.free_symbols & {form.eigenvalue}
    return (
        tuple(map(str, names)),
        sp.lambdify((form.eigenvalue, *names), form.matrix.tolist(), modules="numpy"),
        sp.lambdify(names, list(into), modules="numpy"),
    )
