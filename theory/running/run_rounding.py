"""What rounding on the way can do to what theorems on preconditioned rules say of a run (docs/theory.md sections 7 and 9)."""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.running.energy import energies, span_errors
from quadsim.theory.running.preconditioner import Replay, disturbed_preconditioners, eigenvalue_error
from quadsim.theory.running.run_values import replay_of

__all__ = ["energy_rounding", "span_path"]

Array = NDArray[np.float64]


def _units(trajectory: Trajectory) -> tuple[float, Array, Array]:
    """Return u of the run's number type, the sizes of the blocks, (B,), and their condition numbers, (M, 1, 1, B)."""
    problem = trajectory.problem
    kappa = (problem.block_smoothness / problem.block_strong_convexity)[:, None, None]
    return float(np.finfo(trajectory.dtype).eps) / 2.0, np.array(problem.block_sizes, dtype=np.float64), kappa


def _tau_rounding(trajectory: Trajectory, seen: Replay) -> Array:
    """Return the relative error of the taus of every block, (M, K, T + 1, B), of the step from t - 1 to t.

    Eigenvalues are computed; the matrix of a run in float32 is rounded, to n u; and the preconditioner that the engine had is
    known to twice what the disturbed ones are off.
    """
    unit, sizes, _ = _units(trajectory)
    with np.errstate(all="ignore"):
        off = [np.abs(b / seen.preconditioner - 1.0) for b in disturbed_preconditioners(trajectory, seen)]
    ends = np.cumsum(trajectory.problem.block_sizes)
    parts = [slice(int(e - s), int(e)) for e, s in zip(ends, trajectory.problem.block_sizes, strict=True)]
    most = np.stack([np.max([x[..., p].max(axis=-1) for x in off], axis=0) for p in parts], axis=-1)
    own = np.array([eigenvalue_error(int(size)) for size in sizes]) + sizes * unit
    return np.asarray(np.where(np.isfinite(seen.preconditioner).all(axis=-1, keepdims=True), 2.0 * most, 0.0) + own)


def energy_rounding(trajectory: Trajectory) -> Array:
    """Return by how much rounding may move E_(t+1)/E_t, less its bound, of any block, (M, K, T + 1).

    One step from a given state: the root of E_(t+1) is off by ((n + 8) kappa^(1/2) + n^(3/2) kappa) u times the roots of E_t and
    E_(t+1), the error of a step and of a gradient in the norms of E. The bound 1 - 2 tau + tau^2/eps1 moves by its derivative
    times the error of tau, and the square of that; its three terms are rounded, and cancel near tau = 1. Infinite where an
    energy is below what the number type holds.
    """
    seen = replay_of(trajectory)
    unit, sizes, kappa = _units(trajectory)
    every = np.stack([energies(seen, k) for k in range(seen.beta.size)], axis=1)
    kind = np.finfo(trajectory.dtype)
    out = np.full(every.shape, np.nan)
    eps1 = ((1.0 - seen.beta) / (1.0 + seen.beta))[None, :, None, None]
    with np.errstate(all="ignore"):
        root = np.sqrt(every[:, :, 1:] / every[:, :, :-1])
        error = ((sizes + 8.0) * np.sqrt(kappa) + sizes**1.5 * kappa) * unit * (1.0 + root)
        moved = error * (2.0 * root + error)
        relative = _tau_rounding(trajectory, seen)[:, :, 1:]
        for tau in (seen.smallest_tau[:, :, 1:], seen.largest_tau[:, :, 1:]):
            off = relative * seen.largest_tau[:, :, 1:]
            moved = moved + 2.0 * np.abs(tau / eps1 - 1.0) * off + off**2 / eps1
            moved = moved + 2.0 * float(np.finfo(float).eps) * (1.0 + 2.0 * tau + tau**2 / eps1)
        lost = every[:, :, 1:] <= 2.0 * float(kind.tiny) / float(kind.eps)
        out[:, :, :-1] = np.where(lost, np.inf, moved)
    return np.asarray(out.max(axis=-1))


def span_path(trajectory: Trajectory) -> Array:
    """Return what rounding on the way adds to the root of gap_t under the run's preconditioners, (M, K, R); see `span_errors`."""
    seen = replay_of(trajectory)
    unit, _, _ = _units(trajectory)
    relative = _tau_rounding(trajectory, seen)
    found = [span_errors(seen, relative[:, k], unit, k) for k in range(seen.beta.size)]
    return np.asarray(np.stack(found, axis=1)[:, :, trajectory.steps])
