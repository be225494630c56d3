"""Split the weights of the head into the part that all classes share and the rest, and compute their norms."""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.problems.heterogeneity import norm
from quadsim.simulator.support.arrays import numbers_of

__all__ = ["HeadNorms", "head_norms"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeadNorms:
    """Frobenius norms of the two parts of the head's weights, all copies together: |V|^2 = common^2 + centred^2.

    Attributes:
        common: sqrt(C) times the norm of the mean class row, which cancels in the softmax, (E,).
        centred: norm of the rest, (E,).
    """

    common: Array
    centred: Array


def head_norms(problem: ToyProblem, theta: ArrayLike, which: ArrayLike | None = None) -> HeadNorms:
    """Return the norms of the two parts of the head at parameters theta, (E, P), in the weights that the model uses.

    Under the dial `reparametrisation` in its mode `parameter` these weights are s_b phi_b. For a difference theta_t - theta_0 the
    norms are the growth of each part (head-drift).

    Args:
        problem: M problems.
        theta: parameters or a difference of them, (E, P).
        which: the problem of every instance, (E,); None: every problem once.

    Raises:
        ValueError: a shape that does not fit.
    """
    theta = numbers_of("theta", theta)
    chosen = np.arange(problem.problems) if which is None else np.asarray(which)
    if theta.shape != (chosen.size, problem.dimension):
        raise ValueError(
            f"theta must have the shape ({chosen.size}, {problem.dimension}), got {theta.shape}; give one row per instance."
        )
    if problem.block_scales is not None and problem.mode == "parameter":
        theta = theta * problem.block_scales[chosen]
    names = [p.name for p in problem.parameters]
    ends = list(accumulate(p.size for p in problem.parameters))
    head = problem.parameters[names.index("head")]
    end = ends[names.index("head")]
    each = theta.reshape(chosen.size, problem.copies, -1)[:, :, end - head.size : end]
    rows = each.reshape(chosen.size, problem.copies, *head.shape)
    mean = rows.mean(axis=2, keepdims=True)
    common = np.sqrt(head.shape[0]) * norm(mean.reshape(chosen.size, -1))
    return HeadNorms(common, norm((rows - mean).reshape(chosen.size, -1)))
