"""Derive rounding budgets: the largest amount by which a true statement may seem to fail in floating point.

Throughout u is the unit roundoff of the run's dtype and n the size of the largest block.
"""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.statements.quantities import evaluate, frozen_spectrum, gradient_condition
from quadsim.theory.symbols import Symbol

__all__ = ["evaluation_budget", "growth_budget", "one_step_budget", "symbol_budget"]

Array = NDArray[np.float64]
_LINEAR = ("gd", "sgd", "heavy-ball", "block-gd", "adam-frozen")


def _unit(trajectory: Trajectory) -> float:
    return float(np.finfo(trajectory.dtype).eps) / 2.0


def _conditioning(trajectory: Trajectory) -> tuple[Array, Array]:
    """Return the largest eigenvalue and the worst block condition number of the recursion's matrix, (M, K) or (M, 1)."""
    name = "" if trajectory.rule is None else trajectory.rule.name
    if name == "adam-frozen":
        sigma = frozen_spectrum(trajectory)
        return sigma.max(axis=-1), np.asarray(sigma.max(axis=-1) / sigma.min(axis=-1))
    if name == "block-gd":
        # In units of each block's own rate the largest eigenvalue is 2 L_l/(L_l+mu_l) <= 2.
        return np.full((trajectory.problems, 1), 2.0), _kappa(trajectory)
    return evaluate(Symbol.L, trajectory)[:, :1], _kappa(trajectory)


def _kappa(trajectory: Trajectory) -> Array:
    """Return the worst condition number of a block, (M, 1): blocks do not mix, so errors grow within a block only."""
    problem = trajectory.problem
    return np.asarray((problem.block_smoothness / problem.block_strong_convexity).max(axis=1)[:, None])


def growth_budget(trajectory: Trajectory, root: Array | float = 1.0) -> Array:
    """Return what rounding can add to the factor sqrt(gap_{t+1}/gap_t) in one step, (M, K); `root` is the factor itself.

    With u the unit roundoff and n the largest block: the stored matrix differs from one with the exact eigenvalues by at
    most gamma L, gamma = 8 n^(3/2) u (product of three matrices, the outer two orthogonal to n^(3/2) u; Higham, Accuracy
    and Stability, 2002, section 3.5), which moves 1 - eta lambda by eta L gamma. The step itself is computed with an error
    of at most u (1 + (n+3) sqrt(n) eta L) |e|, as | |H||e| | <= sqrt(n) L |e|, and in the H-norm an error counts up to
    sqrt(kappa_l) times its share of |e|. A frozen preconditioner is known to n u (|H||e_0|)_i/|g_0,i|. The steps of a
    horizon bound, and the powers of a closed form, are counted the same way.

    For a rule that is not linear see `one_step_budget`: its error of c = (n+8) u sqrt(kappa) times |e_t| + |e_{t+1}| in the
    H-norm adds at most 2 c max(1, root) for c <= 1/2, and a factor of symbols known to e is itself known to 4 e.
    """
    name = "" if trajectory.rule is None else trajectory.rule.name
    if name not in _LINEAR:
        c = (max(trajectory.problem.block_sizes) + 8) * _unit(trajectory) * np.sqrt(_kappa(trajectory))
        return np.asarray((2.0 * c + 4.0 * symbol_budget(trajectory)) * np.maximum(1.0, root))
    unit, n = _unit(trajectory), max(trajectory.problem.block_sizes)
    largest, kappa = _conditioning(trajectory)
    curvature = np.abs(trajectory.settings["lr"])[None, :] * largest
    matrix = 8.0 * n**1.5 * unit
    if name == "adam-frozen":
        matrix = matrix + n * unit * gradient_condition(trajectory)
    if name == "heavy-ball":
        curvature = curvature + 2.0  # e_{t+1} also holds beta (e_t - e_{t-1}), two more products of about |e|
        # The rate and the momentum are rounded too. At a double root of the recursion a discriminant known to 16 u makes a
        # modulus known to half its root.
        matrix = matrix + np.sqrt(16.0 * unit) / 2.0 / np.maximum(curvature, 1.0)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(curvature * matrix + np.sqrt(kappa) * unit * (1.0 + (n + 3) * np.sqrt(n) * curvature))


def evaluation_budget(trajectory: Trajectory) -> Array:
    """Return the relative error of a measured gap_t / gap_s: each gap has the error n u |e||H||e| <= n^(3/2) u kappa_l 2 gap."""
    n, number = max(trajectory.problem.block_sizes), len(trajectory.problem.block_sizes)
    size = 2.0 * (2.0 * n**1.5 + number) * _unit(trajectory)
    return np.asarray(size * _kappa(trajectory) * np.ones(trajectory.status.shape))


def symbol_budget(trajectory: Trajectory) -> Array:
    """Return the relative error with which every symbol of a statement is known on a run, (M, 1).

    With kappa the worst block condition and P, B the numbers of coordinates and blocks: a gradient is computed with an error
    of n^(3/2) u L_l |e_l| <= n^(3/2) u kappa |g_l| in 2-norm and sqrt(n) times that in 1-norm, a square has twice its relative
    error, Lambda_G two squares. The stored matrix differs by 8 n^(3/2) u L_l from one with the exact eigenvalues, so that mu_l
    and the inverse are known to 8 n^(3/2) u kappa, and the largest diagonal entry of the inverse, at least a share 1/n of its
    norm, to n times that: the largest of all, which 16 n^(5/2) u kappa covers twice. Sums add at most a unit a term.
    """
    n, number = max(trajectory.problem.block_sizes), len(trajectory.problem.block_sizes)
    sums = 4.0 * (trajectory.problem.dimension + number)
    return np.asarray((16.0 * n**2.5 * _kappa(trajectory) + sums) * _unit(trajectory))


def one_step_budget(trajectory: Trajectory, before: Array, after: Array) -> Array:
    """Return what rounding can add to gap_{t+1} in one step from a given state, (M, K, R), for gaps before and after.

    Every rule here adds to each coordinate a step that is known to (n+8) units of itself, and rounds the sum: an error of at
    most (n+8) u (|e_t| + |e_{t+1}|), coordinate by coordinate, as the step is their difference. In the H-norm it counts up to
    sqrt(kappa_l) times, and the gap is half the square of that norm. A sign taken of a coordinate that is itself rounding is
    in the error of |g|_1.
    """
    n = max(trajectory.problem.block_sizes)
    with np.errstate(all="ignore"):
        error = (
            (n + 8) * _unit(trajectory) * np.sqrt(_kappa(trajectory))[:, :, None] * (np.sqrt(before) + np.sqrt(after))
        )
        return np.asarray(error * (2.0 * np.sqrt(after) + error))
