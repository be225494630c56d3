"""Rounding budgets: by how much a true statement may seem to fail in floating point. Derived, not picked.

Throughout u is the unit roundoff of the run's dtype and n the size of the largest block.
"""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.trajectory import Trajectory
from quadsim.theory.symbols import Symbol, evaluate, frozen_spectrum, gradient_condition
from quadsim.theory.theorem import Theorem

__all__ = ["evaluation_budget", "growth_budget"]

Array = NDArray[np.float64]


def _unit(trajectory: Trajectory) -> float:
    return float(np.finfo(trajectory.dtype).eps) / 2.0


def _conditioning(theorem: Theorem, trajectory: Trajectory) -> tuple[Array, Array]:
    """Largest eigenvalue and worst block condition of the matrix the recursion runs on, (M, K) or (M, 1)."""
    if "adam-frozen" in theorem.rules:
        sigma = frozen_spectrum(trajectory)
        return sigma.max(axis=-1), np.asarray(sigma.max(axis=-1) / sigma.min(axis=-1))
    if "block-gd" in theorem.rules:
        # In units of each block's own rate the largest eigenvalue is 2 L_l/(L_l+mu_l) <= 2.
        return np.full((trajectory.problems, 1), 2.0), _kappa(trajectory)
    return evaluate(Symbol.L, trajectory)[:, :1], _kappa(trajectory)


def _kappa(trajectory: Trajectory) -> Array:
    """Worst condition number of a block, (M, 1): blocks do not mix, so errors are amplified within one only."""
    problem = trajectory.problem
    return np.asarray((problem.block_smoothness / problem.block_strong_convexity).max(axis=1)[:, None])


def growth_budget(theorem: Theorem, trajectory: Trajectory) -> Array:
    """What rounding can add to the factor sqrt(gap_{t+1}/gap_t) in one step, (M, K).

    With u the unit roundoff and n the largest block: the stored matrix differs from one with the asked eigenvalues by at
    most gamma L, gamma = 8 n^(3/2) u (product of three matrices, the outer two orthogonal to n^(3/2) u; Higham, Accuracy
    and Stability, 2002, section 3.5), which moves 1 - eta lambda by eta L gamma. The step itself is computed with an error
    of at most u (1 + (n+3) sqrt(n) eta L) |e|, as | |H||e| | <= sqrt(n) L |e|, and in the H-norm an error counts up to
    sqrt(kappa_l) times its share of |e|. A frozen preconditioner is known to n u (|H||e_0|)_i/|g_0,i|. The closed form of a
    step t errs by 2 t |log r| units, which is below the same. The steps of a horizon bound are counted the same way.
    """
    unit, n = _unit(trajectory), max(trajectory.problem.block_sizes)
    largest, kappa = _conditioning(theorem, trajectory)
    curvature = np.abs(trajectory.settings["lr"])[None, :] * largest
    matrix = 8.0 * n**1.5 * unit
    if "adam-frozen" in theorem.rules:
        matrix = matrix + n * unit * gradient_condition(trajectory)
    if "heavy-ball" in theorem.rules:
        curvature = curvature + 2.0  # e_{t+1} also holds beta (e_t - e_{t-1}), two more products of about |e|
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(curvature * matrix + np.sqrt(kappa) * unit * (1.0 + (n + 3) * np.sqrt(n) * curvature))


def evaluation_budget(trajectory: Trajectory) -> Array:
    """Relative error of gap_t / gap_s as measured: each is 1/2 e'He with error n u |e||H||e| <= n^(3/2) u kappa_l 2 gap."""
    n, number = max(trajectory.problem.block_sizes), len(trajectory.problem.block_sizes)
    size = 2.0 * (2.0 * n**1.5 + number) * _unit(trajectory)
    return np.asarray(size * _kappa(trajectory) * np.ones(trajectory.status.shape))
