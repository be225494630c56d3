"""A user's own matrices: checked, as floats, and exactly where they are given exactly."""

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ExactQuadratic", "as_float", "checked_block", "checked_vector", "exact_quadratic", "numbers_of"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ExactQuadratic:
    """A single problem in rationals, as it was given to `from_blocks`.

    Attributes:
        blocks: every H_l as rows of Fractions.
        initial_error: e_0, length P.
    """

    blocks: tuple[tuple[tuple[Fraction, ...], ...], ...]
    initial_error: tuple[Fraction, ...]


def checked_block(number: int, block: Any) -> FloatArray:
    """One block as a batch (M, P_l, P_l) of float64 matrices, symmetric to the last bit.

    Raises:
        ValueError: not square, not symmetric or not positive definite.
    """
    matrix = as_float(f"blocks[{number}]", block)
    matrix = matrix[None] if matrix.ndim == 2 else matrix
    if matrix.ndim != 3 or matrix.shape[1] != matrix.shape[2] or matrix.size == 0:
        raise ValueError(
            f"blocks[{number}] must be a square matrix (P_l, P_l) or a batch (M, P_l, P_l) of them, got shape "
            f"{np.shape(block)}; give one matrix a block."
        )
    size = matrix.shape[-1]
    # Q diag(lambda) Q' in float64 is symmetric up to the rounding of a sum of P_l products.
    allowed = 4.0 * size * np.finfo(float).eps * np.abs(matrix).max(axis=(1, 2))
    asymmetry = np.abs(matrix - np.swapaxes(matrix, 1, 2)).max(axis=(1, 2))
    if np.any(asymmetry > allowed):
        raise ValueError(
            f"blocks[{number}] must be symmetric, got a matrix that differs from its transpose by up to "
            f"{asymmetry.max():.3g}; use (H + H.T) / 2."
        )
    matrix = (matrix + np.swapaxes(matrix, 1, 2)) / 2
    eigenvalues = np.linalg.eigvalsh(matrix)
    # Below a few P_l u L an eigenvalue's sign is rounding (of the entries, and of the eigensolver; 1.5 was seen).
    if np.any(eigenvalues[:, 0] <= 4.0 * size * np.finfo(float).eps * np.abs(eigenvalues).max(axis=1)):
        raise ValueError(
            f"blocks[{number}] must be positive definite, got smallest eigenvalue {eigenvalues[:, 0].min():.6g}; "
            "add a multiple of the identity or drop the flat directions."
        )
    return matrix


def checked_vector(name: str, vector: Any, dimension: int) -> FloatArray:
    """A vector of the problem as a batch (M, P).

    Raises:
        ValueError: numbers that are not finite, or another shape.
    """
    array = as_float(name, vector)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] != dimension or array.size == 0:
        raise ValueError(
            f"{name} must have shape ({dimension},) or (M, {dimension}), got {np.shape(vector)}; give one entry for every "
            "coordinate of the blocks."
        )
    return array


def as_float(name: str, values: Any) -> FloatArray:
    """Finite numbers as a float64 array.

    Raises:
        ValueError: not numbers, or not finite.
    """
    array = numbers_of(name, values)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite, got NaN or inf; remove them.")
    return array


def numbers_of(name: str, values: Any) -> FloatArray:
    """Real numbers as a float64 array; NaN and infinities are let through.

    Raises:
        ValueError: not a rectangular array of real numbers.
    """
    try:
        # numpy would drop an imaginary part with a warning only
        reason = "real numbers only" if np.iscomplexobj(values) else ""
        array = np.zeros(0) if reason else np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error)
    if reason:
        text = " ".join(repr(values).split())  # on one line, and not too long a one
        text = text if len(text) <= 80 else f"{text[:77]}..."
        raise ValueError(f"{name} must hold numbers, got {text}; give a rectangular array ({reason}).")
    return array


def exact_quadratic(blocks: Sequence[Any], initial_error: Any) -> ExactQuadratic | None:
    """The problem in Fractions if every number is an integer or a rational, else None.

    Raises:
        ValueError: entries that differ from their mirror images, be it by less than float64 can tell.
    """
    arrays = [np.asarray(block, dtype=object) for block in blocks]
    start = np.asarray(initial_error, dtype=object)
    numbers_given = [x for array in (*arrays, start) for x in array.ravel()]
    if start.ndim != 1 or any(array.ndim != 2 for array in arrays):
        return None
    if not all(isinstance(x, numbers.Rational) for x in numbers_given):
        return None
    exact = tuple(tuple(tuple(map(_fraction, row)) for row in array) for array in arrays)
    for number, rows in enumerate(exact):
        for i, j in np.argwhere(np.tri(len(rows), k=-1)):
            if rows[i][j] != rows[j][i]:
                raise ValueError(
                    f"blocks[{number}] must be symmetric, got {rows[i][j]} at ({i}, {j}) and {rows[j][i]} at ({j}, {i}); "
                    "integers and fractions are kept exactly, so write the same fraction in both places."
                )
    return ExactQuadratic(blocks=exact, initial_error=tuple(map(_fraction, start)))


def _fraction(value: Any) -> Fraction:
    return Fraction(int(value.numerator), int(value.denominator))
