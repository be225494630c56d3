"""What the rounding of all steps before can add to a gap that is bounded from the start, as `Theorem.rounding` asks for it.

Throughout u is the unit roundoff and n the largest block. A step adds an error of at most c (|e_s| + |e_{s+1}|) in the H-norm,
c = (n + 8) u sqrt(kappa); see `quadsim.theory.checking.budget.one_step_budget`.
"""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.running.modes import mode_factors

__all__ = ["of_modes", "of_steps"]

Array = NDArray[np.float64]

_CONVOLVED = 300  # steps of which every pair is counted


def _of_one_step(trajectory: Trajectory) -> tuple[Array, Array, Array]:
    """Return the error that steps up to each record add to sqrt(2 gap), sqrt(2 gap) itself and the number of steps, (M, K, R).

    Between two records the gap is taken as at most the larger of both.
    """
    problem = trajectory.problem
    kappa = (problem.block_smoothness / problem.block_strong_convexity).max(axis=1)[:, None, None]
    root = np.sqrt(2.0 * np.abs(trajectory.gap))
    apart = np.diff(trajectory.steps, prepend=0).astype(np.float64)
    before = np.concatenate([root[..., :1], root[..., :-1]], axis=-1)
    c = (max(problem.block_sizes) + 8) * float(np.finfo(trajectory.dtype).eps) / 2.0 * np.sqrt(kappa)
    return 2.0 * c * np.maximum(before, root), root, apart


def of_steps(trajectory: Trajectory) -> Array:
    """Return the relative error of recorded gaps that a recursion with a slope of at most 1 bounds, (M, K, R).

    The bound of the next gap rises by no more than that of this one (it is a maximum over all gaps up to it), so what rounding
    adds to the gap in each step adds up.
    """
    with np.errstate(all="ignore"):
        error, root, apart = _of_one_step(trajectory)
        added = np.cumsum(apart * error * (np.maximum(root, np.roll(root, 1, axis=-1)) + error), axis=-1)
        return np.asarray(np.where(trajectory.steps == 0, 0.0, 2.0 * added / root**2))


def of_modes(trajectory: Trajectory) -> Array:
    """Return the relative error of recorded gaps of a linear rule with a memory, (M, K, R).

    What the step to s adds is multiplied by p_{t-s} until t, in every mode, and may be in the memory, too: twice.
    """
    assert trajectory.rule is not None
    with np.errstate(all="ignore"):
        error, root, apart = _of_one_step(trajectory)
        last = int(trajectory.steps[-1])
        if trajectory.steps.size != last + 1 or last > _CONVOLVED:
            spread = _largest_modes(trajectory, trajectory.steps)
            added = np.cumsum(apart * error, axis=-1) * np.maximum.accumulate(spread, axis=-1)
        else:
            spread = _largest_modes(trajectory, np.arange(last + 1))
            added = np.zeros_like(error)
            for s in range(1, last + 1):
                added[..., s:] += error[..., s : s + 1] * spread[..., : last + 1 - s]
        relative = 2.0 * added / root
        return np.asarray(np.where(trajectory.steps == 0, 0.0, 2.0 * relative + relative**2))


def _largest_modes(trajectory: Trajectory, steps: NDArray[np.int64]) -> Array:
    """Return max_i |p_t(lambda_i)| at some steps, (M, K, T)."""
    assert trajectory.rule is not None
    spectrum = trajectory.problem.layout.flatten(trajectory.problem.eigenvalues)
    out = np.empty((*trajectory.status.shape, steps.size))
    for k in range(trajectory.number_of_settings):
        settings = {name: float(values[k]) for name, values in trajectory.settings.items()}
        out[:, k] = np.abs(mode_factors(trajectory.rule, settings, spectrum, int(steps[-1]))).max(axis=1)[:, steps]
    return out
