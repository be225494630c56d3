"""Read a user's own matrices: check them, convert them to float64, and keep integers and Fractions exactly."""

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from quadsim.simulator.support.arrays import FloatArray, as_float, numbers_of

__all__ = ["ExactQuadratic", "check_labels", "checked_block", "checked_vector", "exact_quadratic"]


_ALMOST = 1e-3  # relative asymmetry up to which a matrix counts as a symmetric one with rounding or estimation errors


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
    """Return one block as a batch (M, P_l, P_l) of float64 matrices that are symmetric to the last bit.

    Raises:
        ValueError: a matrix that is not square, not symmetric or not positive definite.
    """
    matrix = numbers_of(f"blocks[{number}]", block)
    if matrix.ndim >= 2 and not np.all(np.isfinite(matrix)) and (advice := _triangle_advice(matrix)):
        raise ValueError(f"blocks[{number}] must be a symmetric matrix, got {advice}.")
    matrix = as_float(f"blocks[{number}]", matrix)
    given = matrix.shape
    matrix = matrix[None] if matrix.ndim == 2 else matrix
    if matrix.ndim != 3 or matrix.shape[1] != matrix.shape[2] or matrix.size == 0:
        raise ValueError(
            f"blocks[{number}] must be a square matrix (P_l, P_l) or a batch (M, P_l, P_l) of them, got shape "
            f"{given}; {'a single matrix goes in a list: [H]' if len(given) == 1 else 'give one matrix per block'}."
        )
    size = matrix.shape[-1]
    # Q diag(lambda) Q' in float64 is symmetric up to the rounding of a sum of P_l products.
    allowed = 4.0 * size * np.finfo(float).eps * np.abs(matrix).max(axis=(1, 2))
    asymmetry = np.abs(matrix - np.swapaxes(matrix, 1, 2)).max(axis=(1, 2))
    if np.any(asymmetry > allowed):
        offending = matrix[asymmetry > allowed]
        if advice := _triangle_advice(offending):
            raise ValueError(f"blocks[{number}] must be a symmetric matrix, got {advice}.")
        relative = (asymmetry / np.abs(matrix).max(axis=(1, 2))).max()
        advice = (
            "use (H + H.T) / 2" if relative <= _ALMOST else "that is more than rounding: look at how the matrix is made"
        )
        raise ValueError(
            f"blocks[{number}] must be symmetric, got a matrix that differs from its transpose by up to "
            f"{asymmetry.max():.3g}; {advice}."
        )
    matrix = (matrix + np.swapaxes(matrix, 1, 2)) / 2
    eigenvalues = np.linalg.eigvalsh(matrix)
    # Below a few P_l u L the sign of an eigenvalue is rounding (of the entries and of the eigensolver; 1.5 was observed).
    if np.any(eigenvalues[:, 0] <= 4.0 * size * np.finfo(float).eps * np.abs(eigenvalues).max(axis=1)):
        raise ValueError(
            f"blocks[{number}] must be positive definite, got smallest eigenvalue {eigenvalues[:, 0].min():.6g}; "
            "add a multiple of the identity or drop the flat directions."
        )
    return matrix


def _triangle_advice(matrices: FloatArray) -> str:
    """Return advice for matrices (..., P, P) with only one triangle filled, for the error message; "" for other matrices.

    LAPACK, SciPy's factorisations and many file formats keep one triangle of a symmetric matrix; in the other there are zeros,
    NaN or, of a correlation or a unit triangular factor, ones.
    """
    size = matrices.shape[-1]
    if size < 2 or matrices.shape[-2] != size:
        return ""
    row, column = np.tril_indices(size, k=-1)
    matrices = matrices.reshape(-1, size, size)
    below, above = matrices[:, row, column], matrices[:, column, row]
    for filled, rest, half, letter in ((below, above, "lower", "L"), (above, below, "upper", "U")):
        if not np.all(np.isfinite(filled)) or not np.any(filled):
            continue
        if np.all(rest == 0.0):
            factor = f"{letter} @ {letter}.T" if half == "lower" else f"{letter}.T @ {letter}"
            return (
                f"the {half} triangle {letter} of one alone; use {letter} + {letter}.T - np.diag(np.diag({letter})), or, if it "
                f"is a Cholesky factor, {factor}"
            )
        keep = f"np.tri{letter.lower()}(H) + np.tri{letter.lower()}(H, {-1 if half == 'lower' else 1}).T"
        if np.all(np.isnan(rest)) or (rest.shape[1] > 1 and np.all(rest == 1.0)):
            other = "NaN" if np.isnan(rest).any() else "1"
            return f"the {half} triangle of one with {other} in all other places; use {keep}"
    return ""


def check_labels(blocks: Sequence[Any], vectors: Mapping[str, Any]) -> None:
    """Refuse labelled arrays (pandas, xarray) whose labels are in different orders: entries are matched by position.

    Args:
        blocks: matrices as the user gave them.
        vectors: name to a vector of the whole problem, as the user gave it.

    Raises:
        ValueError: a matrix whose rows and columns, or a vector that with the matrices, has the same labels in another order;
            or a matrix with different labels on rows and columns.
    """
    coordinates: list[Any] = []
    for number, block in enumerate(blocks):
        rows, columns = _labels(block)
        coordinates += [None] if columns is None else columns
        if rows is None or columns is None or rows == columns or len(rows) != len(columns):
            continue
        shown = f"got rows {_short(rows)} and columns {_short(columns)}"
        if sorted(map(str, rows)) == sorted(map(str, columns)):
            raise ValueError(
                f"blocks[{number}] must have its rows in the order of its columns, {shown}; reindex the rows."
            )
        if list(range(len(rows))) not in (rows, columns):  # else one side has no labels of its own
            raise ValueError(
                f"blocks[{number}] must have the same labels on rows and columns, {shown}; reindex it, or give .to_numpy()."
            )
    for name, vector in vectors.items():
        rows, columns = _labels(vector)
        own = rows if columns is None else columns
        if own is not None and own != coordinates and sorted(map(str, own)) == sorted(map(str, coordinates)):
            raise ValueError(
                f"{name} must have its labels in the order of the blocks, got {_short(own)} for "
                f"{_short(coordinates)}; reindex it."
            )


def _labels(matrix: Any) -> tuple[list[Any] | None, list[Any] | None]:
    """Return the labels along the axes of a data frame, a series or a labelled array; None for an array without labels."""
    if hasattr(matrix, "iloc") and hasattr(matrix, "index"):
        return list(matrix.index), list(matrix.columns) if hasattr(matrix, "columns") else None
    dims, indexes = getattr(matrix, "dims", None), getattr(matrix, "indexes", None)
    if isinstance(dims, tuple) and 1 <= len(dims) <= 2 and indexes is not None:
        found = [list(indexes[dim]) if dim in indexes else None for dim in dims]
        return found[0], found[1] if len(found) == 2 else None
    return None, None


def checked_vector(name: str, vector: Any, dimension: int) -> FloatArray:
    """Return a vector of the problem as a batch (M, P).

    Raises:
        ValueError: numbers that are not finite, or another shape.
    """
    array = as_float(name, vector)
    given = array.shape
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] != dimension or array.size == 0:
        raise ValueError(
            f"{name} must have shape ({dimension},) or (M, {dimension}), got {given}; give one entry for every "
            "coordinate of the blocks."
        )
    return array


def _short(labels: list[Any]) -> str:
    text = ", ".join(map(str, labels))
    return text if len(text) <= 40 else f"{text[:37]}..."


def exact_quadratic(blocks: Sequence[Any], initial_error: Any) -> ExactQuadratic | None:
    """Return the problem in Fractions if every number is an integer or a rational; else None.

    Raises:
        ValueError: a matrix that is not exactly symmetric, even if float64 cannot represent the difference.
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
