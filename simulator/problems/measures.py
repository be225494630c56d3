"""What is measured on a batch of quadratics: the range of its numbers, and the values that its dials really have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from quadsim.simulator.problems.quadratic import BlockQuadratic

__all__ = ["Scales", "achieved_dials", "scales_of"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scales:
    """The largest and smallest numbers of a batch, to check that the number type of a run can hold them.

    Attributes:
        smallest_eigenvalue: smallest eigenvalue that is not 0, of all blocks of all problems.
        largest_eigenvalue: largest eigenvalue of all blocks of all problems.
        error: smallest and largest modulus of the entries of e_0 that are not 0; (0, 0) if all are 0.
        minimizer: the same for w*.
        moving: whether the start differs from the solution, (M,).
        gap: 1/2 e_0'H e_0, evaluated in an order that overflows only if the gap does, (M,).
        products: the larger of |e_0| |H e_0|, which bounds the terms of the gap, and L |e_0|, which bounds the terms of H e_0,
            (M,).
        squared_gradient: |H e_0|^2, (M,).
        null_part: sum over the blocks of L_l |n_l|^2, with n_l the part of e_0 in the null space of H_l, (M,): what rounding
            multiplies by eps in the gap.
    """

    smallest_eigenvalue: float
    largest_eigenvalue: float
    error: tuple[float, float]
    minimizer: tuple[float, float]
    moving: NDArray[np.bool_]
    gap: FloatArray
    products: FloatArray
    squared_gradient: FloatArray
    null_part: FloatArray


def scales_of(problem: "BlockQuadratic") -> Scales:
    """Return the largest and smallest numbers of a batch; inf or 0 where they are out of the range of float64."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        gradient = {s: problem.eigenvalues[s] * c for s, c in problem.initial_coefficients.items()}
        gap = sum(np.sum(g * problem.initial_coefficients[s] / 2, axis=(1, 2)) for s, g in gradient.items())
        squares = sum(np.sum(g * g, axis=(1, 2)) for g in gradient.values())
        start = _safe_norm(problem.initial_coefficients)
        largest = np.max([values[..., -1].max(axis=1) for values in problem.eigenvalues.values()], axis=0)
        products = np.maximum(start * _safe_norm(gradient), largest * start)
        null_part = sum(
            np.sum(np.where(problem.eigenvalues[s] == 0.0, problem.extremes[s][..., :1] * c * c, 0.0), axis=(1, 2))
            for s, c in problem.initial_coefficients.items()
        )
    return Scales(
        smallest_eigenvalue=min(float(both[..., 1].min()) for both in problem.extremes.values()),
        largest_eigenvalue=max(float(both[..., 0].max()) for both in problem.extremes.values()),
        error=_extent(problem.initial_error),
        minimizer=_extent(problem.minimizer),
        moving=np.any([np.any(e != 0.0, axis=(1, 2)) for e in problem.initial_error.values()], axis=0),
        gap=np.asarray(gap),
        products=products,
        squared_gradient=np.asarray(squares),
        null_part=np.asarray(null_part),
    )


def achieved_dials(problem: "BlockQuadratic") -> dict[str, FloatArray]:
    """Return the values of the dials that a batch really has, see `BlockQuadratic.achieved`."""
    smoothness, convexity = problem.rule_smoothness, problem.rule_convexity
    gradient = {size: problem.eigenvalues[size] * c for size, c in problem.initial_coefficients.items()}
    if problem.partition is not None:  # the length of a part of a block of H needs coordinates
        turned = {s: np.matmul(problem.eigenvectors[s], g[..., None])[..., 0] for s, g in gradient.items()}
        gradient = problem.partition.split(problem.layout.flatten(turned))
    norms = problem.rule_blocks.join_blocks({size: np.sqrt(np.mean(g**2, axis=-1)) for size, g in gradient.items()})
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "heterogeneity": smoothness.max(axis=1) / smoothness.min(axis=1),
            "condition_number": problem.block_smoothness.max(axis=1) / problem.block_strong_convexity.min(axis=1),
            "block_condition_number": smoothness / convexity,
            "gradient_heterogeneity": norms.max(axis=1) / norms.min(axis=1),
            "alignment": _correlation(np.log(smoothness), np.log(norms)),
        }


def _safe_norm(groups: Mapping[int, FloatArray]) -> FloatArray:
    """Return the norm of every problem's coordinates, (M,), without squares that overflow."""
    flat = np.concatenate([array.reshape(array.shape[0], -1) for array in groups.values()], axis=1)
    largest = np.abs(flat).max(axis=1)
    scale = np.where(largest > 0.0, largest, 1.0)
    return np.asarray(np.sqrt(np.sum((flat / scale[:, None]) ** 2, axis=1)) * scale)


def _extent(groups: Mapping[int, FloatArray]) -> tuple[float, float]:
    """Return the smallest and largest modulus of the entries that are not 0."""
    sizes = [np.abs(array[array != 0.0]) for array in groups.values()]
    return (
        min((float(x.min()) for x in sizes if x.size), default=0.0),
        max((float(x.max()) for x in sizes if x.size), default=0.0),
    )


def _correlation(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the Pearson correlation of logarithms along the last axis; NaN where one side varies by rounding only."""
    constant = np.minimum(np.ptp(a, axis=-1), np.ptp(b, axis=-1)) < 1e-12
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    correlation = np.sum(a * b, axis=-1) / np.sqrt(np.sum(a**2, axis=-1) * np.sum(b**2, axis=-1))
    return np.where(constant, np.nan, correlation)
