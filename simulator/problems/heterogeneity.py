"""Measure how unequal the blocks of a parameter vector are: spread of gradient norms, and curvature weighted by gradients.

Coordinates are on the last axis, with any number of leading axes. Blocks are contiguous and given by their sizes, (B,). Sums
are float64, after division by the largest entry, so that squares neither overflow nor vanish.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Spread",
    "block_gradient_norms",
    "cosine",
    "gradient_weighted_smoothness",
    "norm",
    "sign_cosine",
    "size_weighted_smoothness",
    "smoothness_covariance",
    "spread",
]

Array = NDArray[np.float64]


def norm(x: Array) -> Array:
    """Return the Euclidean norm along the last axis, (...)."""
    scale = _largest(x)
    return np.asarray(scale * np.sqrt(np.sum(np.square(x / scale[..., None]), axis=-1)))


def cosine(a: Array, b: Array) -> Array:
    """Return the cosine of the angle between two vectors on the last axis, (...); NaN where one of them is 0."""
    a, b = a / _largest(a)[..., None], b / _largest(b)[..., None]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sum(a * b, axis=-1) / (np.sqrt(np.sum(a**2, axis=-1)) * np.sqrt(np.sum(b**2, axis=-1))))


def sign_cosine(update: Array, gradient: Array) -> Array:
    """Return the cosine of the angle between a rule's step and the sign step -sign(g), (...); NaN where either is 0."""
    return cosine(update, -np.sign(gradient))


def sign_stride(update: Array, gradient: Array) -> Array:
    """Return the length of a rule's step over that of the sign step, |update|_2 / |sign(g)|_2, (...); NaN where g is 0.

    A step is -a sign(g) if and only if its `sign_cosine` is 1 and its stride is a.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(norm(update) / norm(np.sign(gradient)))


def block_gradient_norms(gradient: Array, sizes: Sequence[int]) -> Array:
    """Return |g_l|/sqrt(P_l), the root mean square of the gradient in each block: (..., P) to (..., B).

    Raises:
        ValueError: sizes that do not add up to P.
    """
    norms = np.stack([norm(gradient[..., s]) for s in _slices(gradient, sizes)], axis=-1)
    return np.asarray(norms / np.sqrt(np.asarray(sizes)))


@dataclass(frozen=True, eq=False)
class Spread:
    """Measures of how unequal B values of at least 0 are. Each measure has the shape (...).

    Attributes:
        ratio: largest over smallest value; NaN if a value is 0.
        log_std: standard deviation of the natural logarithms (divided by B, not B - 1); NaN if a value is 0.
        gini: sum_ij |x_i - x_j| / (2 B^2 mean), from 0 (all equal) to 1 - 1/B (only one is not 0); NaN if all are 0.
        variation: standard deviation (divided by B) over mean; NaN if all are 0.
    """

    ratio: Array
    log_std: Array
    gini: Array
    variation: Array


def spread(values: Array) -> Spread:
    """Return the measures of values (..., B), at least 0; if a value is not finite, all measures are NaN."""
    values = np.where(np.all(np.isfinite(values), axis=-1, keepdims=True), values, np.nan)
    number = values.shape[-1]
    positive = np.where(np.min(values, axis=-1, keepdims=True) > 0.0, values, np.nan)
    scaled = values / _largest(values)[..., None]
    mean = np.mean(scaled, axis=-1)
    mean = np.where(mean > 0.0, mean, np.nan)
    rank = 2.0 * np.arange(1, number + 1) - number - 1.0
    return Spread(
        ratio=np.max(positive, axis=-1) / np.min(positive, axis=-1),
        log_std=np.std(np.log(positive), axis=-1),
        gini=np.sum(rank * np.sort(scaled, axis=-1), axis=-1) / (number**2 * mean),
        variation=np.std(scaled, axis=-1) / mean,
    )


def gradient_weighted_smoothness(gradient: Array, sizes: Sequence[int], smoothness: Array) -> Array:
    """Return Lambda_G = sum_l |g_l|^2/|g|^2 L_l (docs/theory.md, section 1), (...); NaN at g = 0.

    Args:
        gradient: (..., P).
        sizes: P_l.
        smoothness: L_l, (..., B) or broadcastable.

    Raises:
        ValueError: sizes that do not add up to P.
    """
    squares = _block_squares(gradient, sizes)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sum(squares * smoothness, axis=-1) / np.sum(squares, axis=-1))


def size_weighted_smoothness(sizes: Sequence[int], smoothness: Array) -> Array:
    """Return Lambda_P = sum_l (P_l/P) L_l (docs/theory.md, section 1): (..., B) to (...)."""
    return np.asarray(np.sum(smoothness * (np.asarray(sizes) / sum(sizes)), axis=-1))


def smoothness_covariance(gradient: Array, sizes: Sequence[int], smoothness: Array) -> Array:
    """Return Lambda_G - Lambda_P as the covariance Cov_pi(u_l, L_l) (covariance-identity), (...).

    Here pi_l = P_l/P and u_l = (|g_l|^2/P_l)/(|g|^2/P).

    The difference would lose its digits where both are close; the covariance keeps them. NaN at g = 0.

    Args:
        gradient: (..., P).
        sizes: P_l.
        smoothness: L_l, (..., B) or broadcastable.

    Raises:
        ValueError: sizes that do not add up to P.
    """
    share = np.asarray(sizes) / sum(sizes)
    squares = _block_squares(gradient, sizes)
    with np.errstate(invalid="ignore"):
        u = squares / np.sum(squares, axis=-1, keepdims=True) / share
    mean = size_weighted_smoothness(sizes, smoothness)[..., None]
    return np.asarray(np.sum(share * (u - 1.0) * (smoothness - mean), axis=-1))


def _largest(x: Array) -> Array:
    """Return the largest modulus along the last axis, or 1 where all are 0. Divided by it, no square overflows or vanishes."""
    largest = np.max(np.abs(x), axis=-1)
    return np.where(largest == 0.0, 1.0, largest)


def _slices(x: Array, sizes: Sequence[int]) -> list[slice]:
    ends = list(accumulate(sizes))
    if ends[-1] != x.shape[-1]:
        raise ValueError(
            f"block sizes must add up to the number of coordinates ({x.shape[-1]}), got {ends[-1]}; use the partition of this "
            "problem."
        )
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _block_squares(x: Array, sizes: Sequence[int]) -> Array:
    """Return the sum of squares in every block, up to a common factor, (..., B)."""
    scaled = np.square(x / _largest(x)[..., None])
    return np.stack([np.sum(scaled[..., s], axis=-1) for s in _slices(x, sizes)], axis=-1)
