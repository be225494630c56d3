"""Evaluate the observables of a state (norms, gaps of blocks, cosines) from the error and the gradient at all coordinates."""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.heterogeneity import gradient_weighted_smoothness, norm, sign_cosine, sign_stride
from quadsim.simulator.problems.quadratic import BlockQuadratic

__all__ = ["OF_STEPS", "observe"]

Array = NDArray[np.float64]

OF_STEPS = {"step_sign_cosine": sign_cosine, "step_sign_stride": sign_stride}
"""Observables of the step that a rule takes next, to the function of that step and the gradient."""


def observe(name: str, problem: BlockQuadratic, error: Array, gradient: Array, step: Array | None) -> Array:
    """Return an observable: (..., M, K), or with one more axis for a value per block (B) or per coordinate (P).

    Where a run has overflowed the value is inf or NaN, without a warning.

    Args:
        name: a name of `quadsim.simulator.runs.trajectory.OBSERVABLES` except "gap".
        problem: M problems.
        error: e = w - w*, (..., M, K, P).
        gradient: H e, of the same shape.
        step: the step that the rule takes next, of the same shape; only the observables of OF_STEPS need it.
    """
    sizes = problem.rule_blocks.block_sizes
    slices = [slice(int(end - size), int(end)) for end, size in zip(np.cumsum(sizes), sizes, strict=True)]
    with np.errstate(all="ignore"):
        if name == "gradient_norm":
            return norm(gradient)
        if name == "gradient_norm_1":
            return np.asarray(np.sum(np.abs(gradient), axis=-1))
        if name == "Lambda_G":
            return gradient_weighted_smoothness(gradient, sizes, problem.rule_smoothness[:, None])
        if name == "block_gap":
            return np.stack([np.sum(error[..., s] * gradient[..., s], axis=-1) / 2 for s in slices], axis=-1)
        if name == "block_gradient_norm":
            return np.stack([norm(gradient[..., s]) for s in slices], axis=-1)
        if name == "iterate":
            return np.ascontiguousarray(error + problem.layout.flatten(problem.minimizer)[:, None])
        assert name in OF_STEPS, name
        assert step is not None, name
        return OF_STEPS[name](step, gradient)
