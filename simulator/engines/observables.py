"""Quantities of a state, the same for every engine."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.quadratic import BlockQuadratic

__all__ = ["Observer"]

Parts = Mapping[int, torch.Tensor]
"""Block size to a tensor (M, B_size, P_l, K)."""


class Observer:
    """Computes observables of one step from errors, gradients and the step about to be taken, all as `Parts`."""

    def __init__(self, problem: BlockQuadratic) -> None:
        self._problem = problem

    def __call__(self, name: str, error: Parts, gradient: Parts, step: Parts | None) -> NDArray[np.float64]:
        """One observable, (M, K), (M, K, B) or (M, K, P); inf or NaN, without a warning, where the run has overflowed."""
        with np.errstate(all="ignore"):
            return self._observe(name, error, gradient, step)

    def _observe(self, name: str, error: Parts, gradient: Parts, step: Parts | None) -> NDArray[np.float64]:
        e, g = self._flat(error), self._flat(gradient)
        if name == "gradient_norm":
            return _norm(g)
        if name == "gradient_norm_1":
            return np.asarray(np.sum(np.abs(g), axis=1))
        if name == "Lambda_G":
            return self._gradient_weighted_smoothness(g)
        if name == "block_gap":
            return np.stack([np.sum(e[:, s] * g[:, s], axis=1) / 2 for s in self._slices()], axis=-1)
        if name == "block_gradient_norm":
            return np.stack([_norm(g[:, s]) for s in self._slices()], axis=-1)
        if name == "iterate":
            w = e + self._problem.layout.flatten(self._problem.minimizer)[:, :, None]
            return np.ascontiguousarray(np.swapaxes(w, 1, 2))
        assert name == "step_sign_cosine", name
        assert step is not None, name
        return _cosine(self._flat(step), -np.sign(g))

    def _flat(self, parts: Parts) -> NDArray[np.float64]:
        return self._problem.layout.flatten({size: part.double().cpu().numpy() for size, part in parts.items()})

    def _slices(self) -> list[slice]:
        ends = np.cumsum(self._problem.block_sizes)
        return [slice(int(end - size), int(end)) for end, size in zip(ends, self._problem.block_sizes, strict=True)]

    def _gradient_weighted_smoothness(self, g: NDArray[np.float64]) -> NDArray[np.float64]:
        """Lambda_G = sum_l |g_l|^2 / |g|^2 L_l, NaN at g = 0."""
        scaled = np.square(g / _largest(g)[:, None])
        weights = np.stack([np.sum(scaled[:, s], axis=1) for s in self._slices()], axis=-1)
        return np.asarray(np.sum(weights * self._problem.block_smoothness[:, None], axis=-1) / np.sum(weights, axis=-1))


def _largest(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest modulus along the coordinates, 1 where all are 0: dividing by it keeps squares from underflow."""
    largest = np.max(np.abs(x), axis=1)
    return np.where(largest == 0.0, 1.0, largest)


def _norm(x: NDArray[np.float64]) -> NDArray[np.float64]:
    scale = _largest(x)
    return np.asarray(scale * np.sqrt(np.sum(np.square(x / scale[:, None]), axis=1)))


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine of the angle along the coordinates, NaN where a side is 0."""
    a, b = a / _largest(a)[:, None], b / _largest(b)[:, None]
    return np.asarray(np.sum(a * b, axis=1) / (np.sqrt(np.sum(a**2, axis=1)) * np.sqrt(np.sum(b**2, axis=1))))
