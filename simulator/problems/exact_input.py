"""Read a user's own matrices: check them, convert them to float64, and keep integers and Fractions exactly."""

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.support.arrays import FloatArray, as_float, numbers_of

__all__ = ["ExactQuadratic", "check_labels", "checked_block", "checked_vector", "exact_quadratic", "null_dimensions"]


_ALMOST = 1e-3  # relative asymmetry up to which a matrix counts as a symmetric one with rounding or estimation errors
_ROUNDED = 1e-5  # relative size up to which a negative eigenvalue may come from single precision
_DECIDED_EXACTLY = 100  # largest size of a rational matrix whose rank is decided exactly; some 0.1 s


@dataclass(frozen=True)
class ExactQuadratic:
    """A single problem in rationals, as it was given to `from_blocks`.

    Attributes:
        blocks: every H_l as rows of Fractions.
        initial_error: e_0, length P.
    """

    blocks: tuple[tuple[tuple[Fraction, ...], ...], ...]
    initial_error: tuple[Fraction, ...]

    def joined(self, sizes: Sequence[int]) -> "ExactQuadratic":
        """Return the problem with neighbouring blocks joined to blocks of these sizes, between which H has zeros."""
        left = list(self.blocks)
        out = []
        for size in sizes:
            parts: list[tuple[tuple[Fraction, ...], ...]] = []
            while sum(map(len, parts)) < size:
                parts.append(left.pop(0))
            rows, before = [], 0
            for part in parts:
                after = size - before - len(part)
                rows += [(*(Fraction(0),) * before, *row, *(Fraction(0),) * after) for row in part]
                before += len(part)
            out.append(tuple(rows))
        return ExactQuadratic(tuple(out), self.initial_error)


def checked_block(number: int, block: Any) -> FloatArray:
    """Return one block as a batch (M, P_l, P_l) of float64 matrices that are symmetric to the last bit.

    Raises:
        ValueError: a matrix that is not square, symmetric and finite.
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
    return np.asarray((matrix + np.swapaxes(matrix, 1, 2)) / 2)


def null_dimensions(number: int, block: Any, matrix: FloatArray) -> NDArray[np.int64]:
    """Return the dimension of the null space of every matrix of a block, (M,); 0 for a positive definite one.

    An eigenvalue of at most 4 P_l eps L_l in size counts as 0: below that its sign is rounding, of the entries and of the
    eigensolver (1.5 P_l eps L_l was observed). The rank of integers and Fractions is decided exactly instead, from the signs of
    the coefficients of the characteristic polynomial.

    Args:
        number: position of the block, for the message.
        block: the block as it was given.
        matrix: its symmetric float64 matrices, (M, P_l, P_l).

    Raises:
        ValueError: an indefinite matrix, a matrix of zeros, or a rational matrix whose rank float64 cannot represent.
    """
    eigenvalues = np.linalg.eigvalsh(matrix)
    size, largest = matrix.shape[-1], np.abs(eigenvalues).max(axis=1)
    rounding = 4.0 * size * np.finfo(float).eps * largest
    if np.any(largest == 0.0):
        raise ValueError(
            f"blocks[{number}] must have an eigenvalue above 0, got a matrix of zeros, along which the loss never changes; "
            "leave the block out."
        )
    if np.any(negative := eigenvalues[:, 0] < -rounding):
        worst = int(np.argmin(np.where(negative, eigenvalues[:, 0] / largest, 0.0)))
        _refuse_indefinite(number, float(eigenvalues[worst, 0]), float(largest[worst]))
    found = np.sum(eigenvalues <= rounding[:, None], axis=1)
    if not found.any() or size > _DECIDED_EXACTLY or (rows := _rational_rows(block)) is None:
        return np.asarray(found, dtype=np.int64)
    exact = _null_dimension_exactly(rows)
    if exact is None:
        _refuse_indefinite(number, float(eigenvalues[0, 0]), float(largest[0]))
    if exact < int(found[0]):
        raise ValueError(
            f"blocks[{number}] must have eigenvalues that float64 can tell from 0, got {int(found[0]) - exact} of at most "
            f"{rounding[0]:.3g}, which are not 0 in exact arithmetic; raise them or make them 0."
        )
    return np.array([exact])


def _refuse_indefinite(number: int, smallest: float, largest: float) -> NoReturn:
    """Raise the error of a matrix with a negative eigenvalue; the advice depends on its size.

    Raises:
        ValueError: always.
    """
    relative = -smallest / largest
    advice = (
        "if that is rounding, compute the matrix in float64 or set its negative eigenvalues to 0"
        if relative <= _ROUNDED
        else "for a model use the Gauss-Newton matrix or a point near a minimum, else add a multiple of the identity"
    )
    raise ValueError(
        f"blocks[{number}] must be positive semi-definite, got an indefinite matrix: its smallest eigenvalue is {smallest:.6g}, "
        f"-{relative:.3g} times the largest in size; {advice}."
    )


def _null_dimension_exactly(rows: tuple[tuple[Fraction, ...], ...]) -> int | None:
    """Return the dimension of the null space of a symmetric rational matrix; None if the matrix is indefinite.

    All roots of the characteristic polynomial are real. So none is negative exactly if the signs of its coefficients alternate,
    zeros aside (Descartes), and 0 is a root as often as the lowest coefficients are 0.
    """
    from flint import fmpq, fmpq_mat  # only singular integers need it

    size = len(rows)
    matrix = fmpq_mat(size, size, [fmpq(x.numerator, x.denominator) for row in rows for x in row])
    coefficients = matrix.charpoly().coeffs()
    if any((-1) ** (size - power) * x < 0 for power, x in enumerate(coefficients)):
        return None
    return next(power for power, x in enumerate(coefficients) if x != 0)


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
    start = np.asarray(initial_error, dtype=object)
    if start.ndim != 1 or not all(isinstance(x, numbers.Rational) for x in start):
        return None
    exact = []
    for block in blocks:
        if (given := _rational_rows(block)) is None:
            return None
        exact.append(given)
    for number, rows in enumerate(exact):
        for i, j in np.argwhere(np.tri(len(rows), k=-1)):
            if rows[i][j] != rows[j][i]:
                raise ValueError(
                    f"blocks[{number}] must be symmetric, got {rows[i][j]} at ({i}, {j}) and {rows[j][i]} at ({j}, {i}); "
                    "integers and fractions are kept exactly, so write the same fraction in both places."
                )
    return ExactQuadratic(blocks=tuple(exact), initial_error=tuple(map(_fraction, start)))


def _rational_rows(block: Any) -> tuple[tuple[Fraction, ...], ...] | None:
    """Return one matrix in Fractions if every number is an integer or a rational; else None."""
    array = np.asarray(block, dtype=object)
    if array.ndim != 2 or not all(isinstance(x, numbers.Rational) for x in array.ravel()):
        return None
    return tuple(tuple(map(_fraction, row)) for row in array)


def _fraction(value: Any) -> Fraction:
    return Fraction(int(value.numerator), int(value.denominator))
