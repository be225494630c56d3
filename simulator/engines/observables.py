"""Compute the observables of a step (norms, block gaps, cosines), with the same code for every engine."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.runs.observables import OF_STEPS, observe

__all__ = ["OF_STEPS", "Observer"]

Parts = Mapping[int, torch.Tensor]
"""Block size to a tensor (M, B_size, P_l, K)."""


class Observer:
    """Computes observables of one step from errors, gradients and the step that follows, all as `Parts`.

    Args:
        problem: M problems.
    """

    def __init__(self, problem: BlockQuadratic) -> None:
        self._problem = problem

    def __call__(self, name: str, error: Parts, gradient: Parts, step: Parts | None) -> NDArray[np.float64]:
        """Return one observable: (M, K), (M, K, B) for a value per block, or (M, K, P) for a value per coordinate.

        Args:
            name: a name of OBSERVABLES except "gap".
            error: e = w - w*.
            gradient: H e.
            step: the step that the rule takes next; only those of OF_STEPS need it.
        """
        following = None if step is None else self._flat(step)
        return observe(name, self._problem, self._flat(error), self._flat(gradient), following)

    def _flat(self, parts: Parts) -> NDArray[np.float64]:
        """Return the values of all coordinates, (M, K, P), as a view of (M, P, K)."""
        flat = self._problem.layout.flatten({size: part.double().cpu().numpy() for size, part in parts.items()})
        return np.moveaxis(flat, 1, -1)
