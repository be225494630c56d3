"""Bounds from a state after a few steps, which read nothing of the run after it (docs/theory.md section 9, adam-from-state).

From the error, the mean gradient and the second moment of Adam at a step t0, every later preconditioner is enclosed: D_t falls by
the factor beta2 a step at most, and grows as the bounded gaps allow, as g_i^2 <= H_ii e'He. The certificates then hold for all
tau of an interval, by Bernstein coefficients.
"""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.theory.running.certificates import Certificate, certificates_for, factor_on, floor_on
from quadsim.theory.running.preconditioner import eigenvalue_error

__all__ = ["from_state_gaps"]

Array = NDArray[np.float64]


class _Enclosure:
    """Of the preconditioner of one group of blocks of equal size, step by step: bounds of tau, rho and omega."""

    def __init__(
        self, hessian: Array, second: Array, t0: int, lr: Array, beta1: float, beta2: float, eps: float
    ) -> None:
        self._hessian, self._v, self._t0 = hessian[:, None], second[:, None], t0
        self._lr, self._beta1, self._beta2, self._eps = lr, beta1, beta2, eps
        self._curvature = np.einsum("...ii->...i", hessian)[:, None]
        start = np.sqrt(second / (1.0 - beta2**t0)) + eps
        root = np.sqrt(lr / (1.0 - beta1**t0) / start)
        scaled = hessian * root[..., :, None] * root[..., None, :]
        self._error = eigenvalue_error(hessian.shape[-1])
        self._top = np.linalg.eigvalsh(scaled)[..., -1][:, None] * (1.0 + self._error)
        self._grown: Array | float = 0.0  # (1-beta2) sum of beta2^(t-1-j) 2 G_j
        with np.errstate(divide="ignore"):
            self._slowest = (self._curvature / self._v).max(axis=-1)

    def at(self, t: int, gaps: Array) -> tuple[Array, Array, Array, Array]:
        """Return low and high of tau, rho and omega for the step to t, (M, C, B), from bounds on the gaps at t - 1."""
        beta1, beta2, since = self._beta1, self._beta2, t - self._t0
        self._grown = beta2 * self._grown + (1.0 - beta2) * 2.0 * gaps
        largest = (
            np.sqrt((beta2**since * self._v + self._curvature * self._grown[..., None]) / (1.0 - beta2**t)) + self._eps
        )
        root = np.sqrt(self._lr[:, None] / (1.0 - beta1**t) / largest)
        scaled = self._hessian * root[..., :, None] * root[..., None, :]
        values = np.linalg.eigvalsh(scaled)
        low = np.maximum(values[..., 0] - self._error * values[..., -1], 1e-16)
        fall = np.sqrt(beta2**since * (1.0 - beta2**self._t0) / (1.0 - beta2**t))
        base = (1.0 - beta1 ** (t - 1)) / (1.0 - beta1**t)
        high = np.broadcast_to(self._top * (1.0 - beta1**self._t0) / (1.0 - beta1**t) / fall * (1.0 + 1e-9), low.shape)
        rho = base * np.sqrt((1.0 - beta2**t) / (beta2 * (1.0 - beta2 ** (t - 1))))
        with np.errstate(all="ignore"):
            growth = beta2 + (1.0 - beta2) * 2.0 * gaps * self._slowest / beta2 ** (since - 1)
            omega = np.maximum(1.0, np.sqrt(growth * (1.0 - beta2 ** (t - 1)) / (1.0 - beta2**t))) / base
        return np.minimum(low, high), high, np.full(low.shape, rho), omega


def from_state_gaps(
    problem: BlockQuadratic,
    state: tuple[Array, Array, Array],
    t0: int,
    steps: int,
    *,
    lr: float | Array,
    beta1: float,
    beta2: float,
    eps: float,
    certificate: Certificate | None = None,
) -> Array:
    """Return bounds on the gap of every block at the steps t0, ..., T of Adam from its state at t0 alone, (M, T + 1 - t0, B).

    `inf` where no certificate is left. Before every step b is raised towards its value as omega falls: a larger b lowers V, so
    that this is free.

    Args:
        problem: M problems.
        state: error, mean gradient and second moment at t0, each (M, P).
        t0: a step, 1 or more.
        steps: T.
        lr: learning rate, constant along a run; one for all problems, or one for each, (M,).
        beta1: memory of the mean gradient, in (0, 1).
        beta2: memory of the second moment, in (0, 1).
        eps: added to the root.
        certificate: the energies that are tried; None: `certificates_for` beta1.
    """
    chosen = certificates_for(beta1) if certificate is None else certificate
    out = np.full((problem.problems, steps + 1 - t0, len(problem.block_sizes)), np.inf)
    for size, positions in problem.layout.positions.items():
        # Sums over entries that lie apart in memory are added up in another order than over neighbours: the bits of a bound must
        # not depend on how the state of its run was stored beside others.
        parts = [np.ascontiguousarray(x[:, positions]) for x in state]
        found = _of_group(problem.hessian[size], parts, t0, steps, (lr, beta1, beta2, eps), chosen)
        out[:, :, problem.layout.groups[size]] = found
    return out


def _of_group(
    hessian: Array,
    state: list[Array],
    t0: int,
    steps: int,
    settings: tuple[float | Array, float, float, float],
    chosen: Certificate,
) -> Array:
    error, mean, second = state
    lr, beta1, beta2, eps = settings
    rates = np.broadcast_to(np.reshape(lr, (-1, 1, 1)), (error.shape[0], 1, 1))
    enclosure = _Enclosure(hessian, second, t0, rates, beta1, beta2, eps)
    s, xi, a, top = (np.asarray(x)[None, :, None] for x in chosen)
    shape = (error.shape[0], s.shape[1], error.shape[1])
    b = np.zeros(shape)
    value = _energy(
        hessian, error, mean, rates / (1.0 - beta1**t0) / (np.sqrt(second / (1.0 - beta2**t0)) + eps), beta1, s, xi, a
    )
    gradient = np.einsum("mbij,mbj->mbi", hessian, error)
    gaps = np.broadcast_to(np.sum(error * gradient, axis=-1)[:, None] / 2.0, shape)
    value = np.where(value > 0.0, value, np.inf)
    out = [gaps.min(axis=1)]
    for t in range(t0 + 1, steps + 1):
        with np.errstate(all="ignore"):
            known = np.where(np.isfinite(gaps), gaps, 1e300)
            low, high, rho, omega = enclosure.at(t, known)
            b = np.maximum(b, np.where(np.isfinite(omega), top / (1.0 + 2.0 * (omega - 1.0)), 0.0))
            own = Certificate(s, xi, a, b)
            value = value * factor_on(low, high, beta1, own, rho, omega)
            floor = floor_on(low, high, beta1, own)
            gaps = np.where(
                (floor > 0.0) & np.isfinite(value), value / (2.0 * np.where(floor > 0.0, floor, 1.0)), np.inf
            )
        out.append(gaps.min(axis=1))
        if np.isinf(out[-1]).all():
            break
    found = np.full((error.shape[0], steps + 1 - t0, error.shape[1]), np.inf)
    found[:, : len(out)] = np.stack(out, axis=1)
    return found


def _energy(
    hessian: Array, error: Array, mean: Array, diagonal: Array, beta1: float, s: Array, xi: Array, a: Array
) -> Array:
    """Return V at b = 0, (M, C, B)."""
    eps1 = (1.0 - beta1) / (1.0 + beta1)
    gradient = np.einsum("mbij,mbj->mbi", hessian, error)
    lag, middle = gradient - mean, eps1 * gradient + (1.0 - eps1) * mean

    def inverse(x: Array) -> Array:
        return np.asarray(np.sum(x * np.linalg.solve(hessian, x[..., None])[..., 0], axis=-1)[:, None])

    own = np.sum(error * gradient, axis=-1)[:, None]
    weighted = np.sum(middle**2 * diagonal, axis=-1)[:, None]
    return np.asarray((1.0 - s) * own + s * inverse(lag) - xi * inverse(mean) + a / (2.0 * eps1) * weighted)
