"""Hypotheses of theorems about sign steps that a run is asked about: blocks, the diagonal, zeros of gradients, the cycle."""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.running.constants import LARGEST_ENUMERATED, worst_signs
from quadsim.theory.statements.theorem import Hypothesis

__all__ = ["ENUMERATED", "IS_DIAGONAL", "NEVER_ZERO", "ON_CYCLE"]


def _largest_off_diagonal(trajectory: Trajectory) -> NDArray[np.float64]:
    off = [np.abs(h * (1 - np.eye(size))).max(axis=(1, 2, 3)) for size, h in trajectory.problem.hessian.items()]
    return np.asarray(np.max(off, axis=0)[:, None])


def _zeros(trajectory: Trajectory) -> NDArray[np.float64]:
    """Return the number of entries of gradients that are exactly 0, over all steps, (M, K)."""
    problem = trajectory.problem
    error = trajectory.observed["iterate"] - problem.layout.flatten(problem.minimizer)[:, None, None]
    out = np.zeros(trajectory.status.shape)
    for size, positions in problem.layout.positions.items():
        gradient = np.einsum("mbij,mktbj->mktbi", problem.hessian[size], error[..., positions])
        out += np.sum(gradient == 0.0, axis=(2, 3, 4))
    return out


def _start_over_rate(trajectory: Trajectory) -> NDArray[np.float64]:
    """Return |e_0,0| / eta, (M, K)."""
    start = np.abs(trajectory.problem.layout.flatten(trajectory.problem.initial_error))[:, :1]
    return np.asarray(start / trajectory.settings["lr"][None, :])


def _on_cycle(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Whether e_0 = (k + 1/2) eta s in every block, with s a maximiser of s'Hs and one integer k >= 0, up to rounding."""
    problem, rate = trajectory.problem, trajectory.settings["lr"][None, :]
    out = np.ones(trajectory.status.shape, dtype=bool)
    if max(problem.block_sizes) > LARGEST_ENUMERATED:
        return ~out
    start = np.abs(problem.layout.flatten(problem.initial_error))[:, None]
    times = start[..., 0] / rate - 0.5
    out &= np.abs(times - np.round(times)) <= 1e-9 * (1.0 + np.abs(times))
    out &= (np.abs(start - start[..., :1]) <= 1e-12 * start).all(axis=-1)
    for size, matrices in problem.hessian.items():
        signs = np.sign(problem.initial_error[size])
        form = np.einsum("mbi,mbij,mbj->mb", signs, matrices, signs)
        best = worst_signs(matrices)
        most = np.einsum("mbi,mbij,mbj->mb", best, matrices, best)
        out &= (form >= most * (1.0 - 1e-12)).all(axis=1)[:, None]
    return out


ENUMERATED = Hypothesis(
    f"blocks of at most {LARGEST_ENUMERATED} coordinates, whose signs are enumerated",
    lambda run: np.array(max(run.problem.block_sizes) <= LARGEST_ENUMERATED),
    seen=lambda run: {"in the largest": np.array(max(run.problem.block_sizes))},
)
IS_DIAGONAL = Hypothesis(
    "H is diagonal",
    lambda run: np.asarray(_largest_off_diagonal(run) == 0.0),
    seen=lambda run: {"off it": _largest_off_diagonal(run)},
)
NEVER_ZERO = Hypothesis(
    "no entry of a gradient is exactly 0 along the run",
    lambda run: np.asarray(_zeros(run) == 0.0),
    seen=lambda run: {"entries are": _zeros(run)},
)
ON_CYCLE = Hypothesis(
    "e_0 = (k + 1/2) lr s in every block, s a maximiser of s'H_l s, k >= 0 an integer",
    _on_cycle,
    seen=lambda run: {"times lr is the first coordinate": _start_over_rate(run)},
)
