"""Compute the observables of a step (norms, block gaps, cosines), with the same code for every engine."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.problems.heterogeneity import gradient_weighted_smoothness, norm, sign_cosine, sign_stride
from quadsim.simulator.problems.quadratic import BlockQuadratic

__all__ = ["OF_STEPS", "Observer"]

Parts = Mapping[int, torch.Tensor]
"""Block size to a tensor (M, B_size, P_l, K)."""


OF_STEPS = {"step_sign_cosine": sign_cosine, "step_sign_stride": sign_stride}
"""Observables of the step that a rule takes next, to the function of that step and the gradient."""


class Observer:
    """Computes observables of one step from errors, gradients and the step that follows, all as `Parts`.

    Args:
        problem: M problems.
    """

    def __init__(self, problem: BlockQuadratic) -> None:
        self._problem = problem

    def __call__(self, name: str, error: Parts, gradient: Parts, step: Parts | None) -> NDArray[np.float64]:
        """Return one observable: (M, K), (M, K, B) for a value per block, or (M, K, P) for a value per coordinate.

        Where a run has overflowed the value is inf or NaN, without a warning.

        Args:
            name: a name of OBSERVABLES except "gap".
            error: e = w - w*.
            gradient: H e.
            step: the step that the rule takes next; only those of OF_STEPS need it.
        """
        with np.errstate(all="ignore"):
            return self._observe(name, error, gradient, step)

    def _observe(self, name: str, error: Parts, gradient: Parts, step: Parts | None) -> NDArray[np.float64]:
        e, g = self._flat(error), self._flat(gradient)
        sizes = self._problem.rule_blocks.block_sizes
        if name == "gradient_norm":
            return norm(g)
        if name == "gradient_norm_1":
            return np.asarray(np.sum(np.abs(g), axis=-1))
        if name == "Lambda_G":
            return gradient_weighted_smoothness(g, sizes, self._problem.rule_smoothness[:, None])
        if name == "block_gap":
            return np.stack([np.sum(e[..., s] * g[..., s], axis=-1) / 2 for s in self._slices()], axis=-1)
        if name == "block_gradient_norm":
            return np.stack([norm(g[..., s]) for s in self._slices()], axis=-1)
        if name == "iterate":
            return np.ascontiguousarray(e + self._problem.layout.flatten(self._problem.minimizer)[:, None])
        assert name in OF_STEPS, name
        assert step is not None, name
        return OF_STEPS[name](self._flat(step), g)

    def _flat(self, parts: Parts) -> NDArray[np.float64]:
        """Return the values of all coordinates, (M, K, P), as a view of (M, P, K)."""
        flat = self._problem.layout.flatten({size: part.double().cpu().numpy() for size, part in parts.items()})
        return np.moveaxis(flat, 1, -1)

    def _slices(self) -> list[slice]:
        sizes = self._problem.rule_blocks.block_sizes
        return [slice(int(end - size), int(end)) for end, size in zip(np.cumsum(sizes), sizes, strict=True)]
