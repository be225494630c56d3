"""Bounds along a run (docs/theory.md section 9): energies of the blocks, their factors, and the gaps that follow from them.

They read the run's preconditioner, and its error and mean gradient at one step; never a gap of a later step. Functions take one
setting k of a replay; arrays are (M, T + 1, B) for the steps 0, ..., T, with a last axis (C) for certificates.
"""

import numpy as np
from numpy.typing import NDArray

from quadsim.theory.running.certificates import Certificate, certificates_for, factor_near, floor_on
from quadsim.theory.running.preconditioner import Replay, some_at_once

__all__ = [
    "certificate_energies",
    "certificate_factors",
    "certificate_gaps",
    "energies",
    "energy_factors",
    "energy_gaps",
    "span_errors",
    "span_gaps",
    "span_rounding",
]

Array = NDArray[np.float64]

_ROUNDING = 64.0 * float(np.finfo(float).eps)
_ABOVE = 1.0 + _ROUNDING


def energies(replay: Replay, k: int = 0) -> Array:
    """Return E_t = e'He + beta (g - m)'H^-1(g - m) of every block, (M, T + 1, B): twice the gap, plus how far the mean lags."""
    lag = replay.gradient - replay.mean
    found = replay.forms(replay.error, replay.gradient) + replay.beta[None, :, None, None] * replay.inverse_forms(lag)
    return np.asarray(found[:, k])


def energy_factors(replay: Replay, k: int = 0) -> Array:
    """Return max over the ends of tau of 1 - 2 tau + tau^2/eps1, (M, T + 1, B); NaN at step 0.

    The function is convex in tau, so that it is largest at an end. With beta = 0 it is (1 - tau)^2. The ends are widened by the
    error of computed eigenvalues, so that the factor is one of the exact ones.
    """
    beta = float(replay.beta[k])
    eps1 = (1.0 - beta) / (1.0 + beta)
    ends = (tau[:, k] for tau in replay.tau_ends)
    return _ABOVE * np.asarray(np.max([(1.0 - tau) ** 2 + tau**2 * (1.0 / eps1 - 1.0) for tau in ends], axis=0))


def energy_gaps(replay: Replay, k: int = 0, start: int = 0) -> Array:
    """Return bounds on the gap of every block from the energy at a step and its factors, (M, T + 1, B); `inf` before the step."""
    factors = _from(energy_factors(replay, k), start)
    return np.asarray(energies(replay, k)[:, start : start + 1] * factors / 2.0)


def _from(factors: Array, start: int) -> Array:
    """Return the products of the factors from the step after `start` on: 1 at `start`, `inf` before, along axis 1.

    An infinite or undefined factor ends the bound for good: no later factor brings it back.
    """
    out = np.full_like(factors, np.inf)
    out[:, start] = 1.0
    later = np.where(np.isfinite(factors[:, start + 1 :]), np.maximum(factors[:, start + 1 :], 0.0), np.inf)
    with np.errstate(invalid="ignore", over="ignore"):
        product = np.cumprod(later, axis=1)
    over = np.maximum.accumulate(np.isinf(later), axis=1)
    out[:, start + 1 :] = np.where(over | np.isnan(product), np.inf, product)
    return out


def certificate_energies(replay: Replay, certificate: Certificate, k: int = 0) -> tuple[Array, Array]:
    """Return V_t of every block and certificate, (M, T + 1, B, C), and the sum of the moduli of its terms; NaN at step 0."""
    beta = float(replay.beta[k])
    eps1 = (1.0 - beta) / (1.0 + beta)
    middle = eps1 * replay.gradient + (1.0 - eps1) * replay.mean
    terms = [
        replay.forms(replay.error, replay.gradient),
        replay.inverse_forms(replay.gradient - replay.mean),
        replay.inverse_forms(replay.mean),
        replay.forms(middle, replay.preconditioner * middle),
        replay.forms(replay.gradient, replay.preconditioner * replay.gradient),
    ]
    s, xi, a, b = certificate
    weights = (1.0 - s, s, -xi, a / (2.0 * eps1), -b)
    parts = [np.asarray(w) * term[:, k][..., None] for w, term in zip(weights, terms, strict=True)]
    return sum(parts[1:], parts[0]), sum((np.abs(p) for p in parts[1:]), np.abs(parts[0]))


def certificate_factors(replay: Replay, certificate: Certificate, k: int = 0) -> Array:
    """Return theta_t with V_t <= theta_t V_(t-1), (M, T + 1, B, C), valid for the exact eigenvalues tau of the block.

    `inf` where R is not positive definite at one of them, and at the steps 0 and 1, where there is no earlier preconditioner.
    """
    beta = float(replay.beta[k])
    # Ratios are rounded once; a larger rho or omega lowers R, so that the factor is one for the exact ratio, too.
    rise, fall = (ratio[:, k][..., None] * _ABOVE for ratio in (replay.rise, replay.fall))
    spread = replay.tau_error[:, k][..., None]
    out = np.empty((*rise.shape[:-1], np.size(certificate.s)))
    for size, blocks in replay.layout.groups.items():
        for part in some_at_once(out.shape[1], out[:, 0].size):
            taus = [replay.taus[size][:, k, part, :, position, None] for position in range(size)]
            error, rho, omega = (each[:, part][:, :, blocks] for each in (spread, rise, fall))
            out[:, part, blocks] = factor_near(taus, error, beta, certificate, rho, omega)
    return out


def certificate_gaps(replay: Replay, k: int = 0, start: int = 1, certificate: Certificate | None = None) -> Array:
    """Return bounds on the gap of every block from V at a step, (M, T + 1, B): of all certificates the best; `inf` before it.

    gap_t <= V_start theta_(start+1) ... theta_t / (2 c_t). There is no statement (`inf`) from a certificate whose V is not
    positive at the start, whose R fails to be positive definite at any step, or whose floor c is not positive.

    Args:
        replay: the run.
        k: the setting.
        start: a step, 1 or more.
        certificate: the energies that are tried; None: `certificates_for` the memory of the run.
    """
    beta = float(replay.beta[k])
    chosen = certificates_for(beta) if certificate is None else certificate
    value, moduli = certificate_energies(replay, chosen, k)
    ends = _block_spectra(replay)
    condition = ends[..., 1] / ends[..., 0]
    first = value[:, start] + _ROUNDING * condition[:, :, None] * moduli[:, start]
    positive = value[:, start] > _ROUNDING * condition[:, :, None] * moduli[:, start]
    product = _from(certificate_factors(replay, chosen, k), start)
    low, high = (tau[:, k][..., None] for tau in replay.tau_ends)
    floor = floor_on(low, high, beta, chosen)
    with np.errstate(all="ignore"):
        gaps = first[:, None] * product / (2.0 * floor)
    known = positive[:, None] & (floor > 0.0) & np.isfinite(gaps)
    return np.asarray(np.min(np.where(known, gaps, np.inf), axis=-1))


def _block_spectra(replay: Replay) -> Array:
    """Return the smallest and the largest eigenvalue of every block, (M, B, 2)."""
    out = np.empty((replay.error.shape[0], len(replay.layout.block_sizes), 2))
    for size, blocks in replay.layout.groups.items():
        values = replay.eigenvalues[size]
        out[:, blocks] = np.stack([values.min(axis=-1), values.max(axis=-1)], axis=-1)
    return out


def span_gaps(replay: Replay, k: int = 0, start: int = 0) -> Array:
    """Return bounds on the gap of every block from the whole of the run's preconditioners, (M, T + 1, B); `inf` before the start.

    With y = H^(1/2) e and d = H^(-1/2) (g - m) a step is linear: u = y - beta d, y <- y - K u, d <- beta d - K u, where
    K = H^(1/2) B H^(1/2). The bound is the largest singular value of the product of these steps, squared, times |y|^2 at step 0
    (where m = 0 and d = y), or |y|^2 + |d|^2 at a later start: what the worst start of the block would do under the same
    preconditioners.
    """
    beta = float(replay.beta[k])
    out = np.full(replay.smallest_tau[:, k].shape, np.inf)
    for size, positions in replay.layout.positions.items():
        turned = replay.eigenvectors[size] * np.sqrt(replay.eigenvalues[size])[:, :, None]
        diagonal = replay.preconditioner[:, k][..., positions]
        y = np.einsum("mbij,mbi->mbj", turned, replay.error[:, k, start][..., positions])
        lag = (replay.gradient - replay.mean)[:, k, start][..., positions]
        d = np.einsum("mbij,mbi->mbj", replay.eigenvectors[size], lag) / np.sqrt(replay.eigenvalues[size])
        if start == 0:
            squares, first = np.sum(y**2, axis=-1), np.concatenate([np.eye(size)] * 2)
        else:
            squares, first = np.sum(y**2, axis=-1) + np.sum(d**2, axis=-1), np.eye(2 * size)
        norms = _norms(turned, diagonal, beta, first, start)
        out[:, start:, replay.layout.groups[size]] = norms * squares[:, None] / 2.0 * (1.0 + 1e-9)
    return np.where(np.isfinite(out), out, np.inf)


def _norms(turned: Array, diagonal: Array, beta: float, first: Array, start: int) -> Array:
    """Return the squared norms of the upper halves of the products of the steps after `start`, (M, T + 1 - start, B)."""
    size = turned.shape[-1]
    state = np.broadcast_to(first, (*turned.shape[:2], *first.shape))
    upper = [state[:, :, :size]]
    with np.errstate(all="ignore"):
        for t in range(start + 1, diagonal.shape[1]):
            step = np.swapaxes(turned, -1, -2) @ (diagonal[:, t, :, :, None] * turned)
            y, d = state[:, :, :size], beta * state[:, :, size:]
            move = step @ (y - d)
            state = np.concatenate([y - move, d - move], axis=2)
            upper.append(state[:, :, :size])
        every = np.stack(upper, axis=1)
        known = np.asarray(np.isfinite(every).all(axis=(-1, -2)))
        values = np.linalg.norm(np.where(known[..., None, None], every, 0.0), ord=2, axis=(-2, -1)) ** 2
    return np.asarray(np.where(known, values, np.inf))


def span_rounding(replay: Replay, ends: NDArray[np.int64], k: int = 0, start: int = 0) -> Array:
    """Return what rounding on the way can add to sqrt(2 gap) of every block at the steps `ends` (M,), (M, B).

    A step rounds its state by some units of its norm, and the steps from there to the end carry the error on: a product of steps
    that shrinks every start may yet magnify, on the way, what rounding puts in. In exact arithmetic it is 0.
    """
    beta = float(replay.beta[k])
    out = np.zeros((ends.size, len(replay.layout.block_sizes)))
    for size, positions in replay.layout.positions.items():
        turned = replay.eigenvectors[size] * np.sqrt(replay.eigenvalues[size])[:, :, None]
        diagonal = replay.preconditioner[:, k][..., positions]
        gap = replay.forms(replay.error, replay.gradient)[:, k][..., replay.layout.groups[size]]
        state = np.sqrt(
            np.maximum(gap, 0.0)
            + replay.inverse_forms(replay.gradient - replay.mean)[:, k][..., replay.layout.groups[size]]
        )
        condition = np.sqrt(replay.eigenvalues[size].max(axis=-1) / replay.eigenvalues[size].min(axis=-1))
        onward = np.zeros((*turned.shape[:2], size, 2 * size))
        found = np.zeros(turned.shape[:2])
        with np.errstate(all="ignore"):
            for t in range(int(ends.max()), start, -1):
                onward[ends == t] = np.eye(size, 2 * size)
                norm = np.sqrt(np.sum(onward**2, axis=(-2, -1)))
                step = np.swapaxes(turned, -1, -2) @ (diagonal[:, t, :, :, None] * turned)
                units = _ROUNDING * size * condition * (1.0 + np.sqrt(np.sum(step**2, axis=(-2, -1))))
                found += np.where((ends >= t)[:, None], norm * units * (state[:, t] + state[:, t - 1]), 0.0)
                y, d = onward[..., :size], onward[..., size:]
                move = (y + d) @ step  # of the row (y, d) through y <- y - K u, d <- beta d - K u, u = y - beta d
                onward = np.concatenate([y - move, beta * d + beta * move], axis=-1)
        out[:, replay.layout.groups[size]] = found
    return np.where(np.isfinite(out), out, np.inf)


def span_errors(replay: Replay, relative: Array, unit: float, k: int = 0) -> Array:
    """Return what rounding on the way can add to the root of gap_t, at every step, (M, T + 1).

    A step rounds y and d by c u (|y| + |d|), c = 16 n kappa^(1/2) (1 + |K|), and its K is known to `relative` alone. The steps
    from there to t carry this on: with C_(t+1) = F C_t F' + (error of the step)^2 I for the matrices F of the steps, and the
    inequality of Cauchy and Schwarz, the errors of t steps add up to at most (t tr C_t)^(1/2) in y, whose square is twice the
    gap.

    Args:
        replay: the run.
        relative: relative error of the preconditioners, (M, T + 1, B).
        unit: unit roundoff of the run's number type.
        k: the setting.
    """
    beta = float(replay.beta[k])
    out = np.zeros(relative.shape)
    lag = replay.inverse_forms(replay.gradient - replay.mean)[:, k]
    every = np.sqrt(np.maximum(replay.forms(replay.error, replay.gradient)[:, k], 0.0) + lag)
    for size, positions in replay.layout.positions.items():
        blocks = replay.layout.groups[size]
        turned = replay.eigenvectors[size] * np.sqrt(replay.eigenvalues[size])[:, :, None]
        diagonal = replay.preconditioner[:, k][..., positions]
        condition = np.sqrt(replay.eigenvalues[size].max(axis=-1) / replay.eigenvalues[size].min(axis=-1))
        state, one = every[..., blocks], np.eye(size)
        gram = np.zeros((*turned.shape[:2], 2 * size, 2 * size))
        step = np.empty_like(gram)
        with np.errstate(all="ignore"):
            for t in range(1, diagonal.shape[1]):
                move = np.swapaxes(turned, -1, -2) @ (diagonal[:, t, :, :, None] * turned)
                step[..., :size, :size], step[..., :size, size:] = one - move, beta * move
                step[..., size:, :size], step[..., size:, size:] = -move, beta * (one + move)
                norm = np.sqrt(np.sum(move**2, axis=(-2, -1)))
                units = 16.0 * size * condition * unit * (1.0 + norm) + relative[:, t][..., blocks] * norm
                error = (units * (state[:, t] + state[:, t - 1])) ** 2
                gram = step @ gram @ np.swapaxes(step, -1, -2) + error[..., None, None] * np.eye(2 * size)
                trace = np.trace(gram[..., :size, :size], axis1=-2, axis2=-1)
                out[:, t, blocks] = np.sqrt(t * trace / 2.0)
    return np.asarray(np.sqrt(np.sum(out**2, axis=-1)))
