"""What gradient descent needs from a given start at every constant rate (docs/theory.md section 2, gd-lower-start)."""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.quadratic import BlockQuadratic

__all__ = ["gd_least_ratio", "gd_least_steps", "pairs"]

Array = NDArray[np.float64]

_SAME = 1e-9  # relative difference of eigenvalues that count as one


def pairs(problem: BlockQuadratic) -> tuple[Array, Array]:
    """Return, for every pair of eigenvalues, the smaller share of gap_0 on the two, and ln((k-1)/(k+1)), k their ratio.

    The shares on equal eigenvalues are added up: GD multiplies them by the same factor.

    Returns:
        Two arrays (M, P, P); the logarithm is -inf where the two eigenvalues are equal.
    """
    values, start = (problem.layout.flatten(x) for x in (problem.eigenvalues, problem.initial_coefficients))
    parts = values * start**2
    same = np.abs(values[:, :, None] - values[:, None]) <= _SAME * values[:, None]
    share = np.einsum("mij,mj->mi", same.astype(np.float64), parts) / parts.sum(axis=1, keepdims=True)
    smaller = np.minimum(share[:, :, None], share[:, None])
    with np.errstate(divide="ignore"):
        apart = np.where(
            same, 0.0, np.abs(values[:, :, None] - values[:, None]) / (values[:, :, None] + values[:, None])
        )
        return smaller, np.log(apart)


def gd_least_steps(problem: BlockQuadratic, tolerance: float) -> Array:
    """Return a number of steps below which GD at no constant rate reaches the tolerance from this start, (M,)."""
    share, logarithm = pairs(problem)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(np.isfinite(logarithm), np.log(share / tolerance) / (-2.0 * logarithm), 0.0)
    return np.asarray(np.ceil(np.maximum(steps.max(axis=(1, 2)) * (1.0 - 1e-9), 0.0)))


def gd_least_ratio(problem: BlockQuadratic, steps: NDArray[np.int64]) -> Array:
    """Return the lower bound on gap_t/gap_0 at these steps, for every constant rate, (M, R)."""
    share, logarithm = pairs(problem)
    out = np.empty((problem.problems, steps.size))
    for r, t in enumerate(steps.tolist()):
        with np.errstate(invalid="ignore"):
            out[:, r] = (share * np.exp(2.0 * t * logarithm)).max(axis=(1, 2)) if t else np.nan
    return out
