"""A user's own arrays and matrices: read from any library, checked, as floats, and exactly where they are given exactly."""

import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = [
    "ExactQuadratic",
    "array_of",
    "as_float",
    "check_labels",
    "checked_block",
    "checked_vector",
    "exact_quadratic",
    "list_of",
    "numbers_of",
    "plain",
    "positions_of",
]

FloatArray = NDArray[np.float64]

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
    """One block as a batch (M, P_l, P_l) of float64 matrices, symmetric to the last bit.

    Raises:
        ValueError: not square, not symmetric or not positive definite.
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
            f"{given}; {'a single matrix goes in a list: [H]' if len(given) == 1 else 'give one matrix a block'}."
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
    # Below a few P_l u L an eigenvalue's sign is rounding (of the entries, and of the eigensolver; 1.5 was seen).
    if np.any(eigenvalues[:, 0] <= 4.0 * size * np.finfo(float).eps * np.abs(eigenvalues).max(axis=1)):
        raise ValueError(
            f"blocks[{number}] must be positive definite, got smallest eigenvalue {eigenvalues[:, 0].min():.6g}; "
            "add a multiple of the identity or drop the flat directions."
        )
    return matrix


def _triangle_advice(matrices: FloatArray) -> str:
    """What to say of matrices (..., P, P) of which only one triangle is filled; empty if they are something else.

    LAPACK, scipy's factorisations and many file formats keep one triangle of a symmetric matrix; in the other there are zeros,
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
    """Refuse labelled arrays (pandas, xarray) whose labels stand in different orders: by position they would be mixed up.

    Args:
        blocks: matrices as they came.
        vectors: name to a vector of the whole problem, as it came.

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
    """Labels along the axes of a data frame, a series or a labelled array; None where there are none."""
    if hasattr(matrix, "iloc") and hasattr(matrix, "index"):
        return list(matrix.index), list(matrix.columns) if hasattr(matrix, "columns") else None
    dims, indexes = getattr(matrix, "dims", None), getattr(matrix, "indexes", None)
    if isinstance(dims, tuple) and 1 <= len(dims) <= 2 and indexes is not None:
        found = [list(indexes[dim]) if dim in indexes else None for dim in dims]
        return found[0], found[1] if len(found) == 2 else None
    return None, None


def checked_vector(name: str, vector: Any, dimension: int) -> FloatArray:
    """A vector of the problem as a batch (M, P).

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

    Takes numbers, nested sequences, iterators, and the arrays of NumPy, torch (detached, from any device), pandas, xarray and
    SymPy. An integer or rational that float64 does not hold is rounded.

    Raises:
        ValueError: not a rectangular array of real numbers, or one of which a part would be lost.
    """
    array = array_of(name, values)
    if array.dtype.kind == "c":
        _refuse(name, values, _complex_advice(array))
    if array.dtype.kind == "O":
        _check_objects(name, array)
    elif array.dtype.kind not in "iuf":
        _refuse(name, values, f"give {_NO_NUMBERS.get(array.dtype.kind, f'numbers, not {array.dtype}')}")
    try:
        with np.errstate(over="ignore"):  # a number that float64 does not reach becomes inf, and is refused as that
            return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        _refuse(name, values, f"give a rectangular array ({' '.join(str(error).split())})")


def array_of(name: str, values: Any) -> NDArray[Any]:
    """What came as a NumPy array of whatever it holds; see `plain`.

    Raises:
        ValueError: not a rectangular array, or one that NumPy reads as something else.
    """
    values = plain(name, values)
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        reason = "rows differ in length" if "inhomogeneous" in str(error) else " ".join(str(error).split())
        _refuse(name, values, f"give a rectangular array ({reason})")


def positions_of(name: str, values: Any, count: int, low: int = 0) -> NDArray[np.int64]:
    """Whole numbers in [low, count) that pick problems, (n,), at least one.

    Raises:
        ValueError: none, truth values, or a number out of range; it would be rounded or taken for another one.
    """
    array = np.atleast_1d(array_of(name, values))
    if array.dtype.kind == "b":
        raise ValueError(f"{name} must be numbers of problems, got truth values; use np.flatnonzero(...) of them.")
    whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and bool(np.all(array == np.floor(array))))
    if array.ndim != 1 or not array.size or not whole or array.min() < low or array.max() >= count:
        raise ValueError(f"{name} must be in [{low}, {count}), got {values!r}; give at least one of these.")
    return array.astype(np.int64)


def list_of(name: str, values: Any, what: str) -> list[Any]:
    """Several arrays as a list, from any iterable but one array, a mapping or text.

    Args:
        name: argument as the user knows it.
        values: what came.
        what: what there is one of for every entry, as `matrix`.

    Raises:
        ValueError: something that is no list of arrays.
    """
    kind = type(values).__name__
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping | set | frozenset):
        raise ValueError(f"{name} must be a list with one {what} a block, got a {kind}; give a list: [...].")
    # A data frame would run over the names of its columns, and a matrix over its rows or its entries.
    rows = _module_of(values) in ("pandas", "scipy", "sympy")
    if rows or getattr(values, "ndim", 1) == 0 or (what == "matrix" and getattr(values, "ndim", 1) == 2):
        raise ValueError(
            f"{name} must be a list with one {what} a block, got a single {kind}; put it in a list: [...]."
        )
    return list(values)


def plain(name: str, values: Any) -> Any:
    """What NumPy can read without losing a part: tensors detached, iterators as lists, the rest as it is.

    Raises:
        ValueError: an array that NumPy reads as something else (masked, sparse, quantised, without values).
    """
    if isinstance(values, float | int | str | np.generic):
        return values
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.getmaskarray(values).any():
            raise ValueError(
                f"{name} must not have masked entries, got {int(np.ma.getmaskarray(values).sum())} of them; fill them "
                "(.filled(...)) or drop them."
            )
        return np.ma.getdata(values)
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, torch.Tensor):
        return _of_tensor(name, values)
    if _module_of(values) == "scipy" and hasattr(values, "toarray"):
        raise ValueError(f"{name} must be a dense array, got a sparse {type(values).__name__}; use .toarray().")
    if isinstance(values, Mapping | set | frozenset):
        raise ValueError(
            f"{name} must be a rectangular array of numbers, got a {type(values).__name__}, which has no order of its own; give "
            "a list."
        )
    if isinstance(values, Sequence | Iterator) and not isinstance(values, bytes):
        return [plain(name, item) for item in values]
    if _module_of(values) == "pandas" and hasattr(values, "isna"):
        return values.to_numpy(dtype=object, na_value=np.nan) if _has_extension(values) else values.to_numpy()
    return values


def _of_tensor(name: str, tensor: torch.Tensor) -> Any:
    """The numbers of a tensor; bfloat16 and float16 are exact in float32.

    Raises:
        ValueError: a tensor that has no dense numbers.
    """
    if tensor.is_nested:
        raise ValueError(f"{name} must be a rectangular array, got a nested tensor; give its parts one by one.")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} must be a dense array, got a tensor of layout {tensor.layout}; use .to_dense().")
    if tensor.is_quantized:
        raise ValueError(f"{name} must hold numbers of full precision, got a quantised tensor; use .dequantize().")
    if tensor.is_meta:
        raise ValueError(
            f"{name} must hold numbers, got a tensor on the device meta, which has none; make it on a cpu."
        )
    found = tensor.detach().cpu().resolve_conj().resolve_neg()
    if found.is_floating_point() and found.element_size() < 4:
        found = found.float()
    try:
        return found.numpy()
    except RuntimeError as error:  # of a transformation of torch.func, or a tensor that only stands for one
        raise ValueError(
            f"{name} must hold numbers, got a tensor without any here ({' '.join(str(error).split())})."
        ) from None


_NO_NUMBERS = {
    "b": "numbers, not truth values (.astype(float) if they are meant as 0 and 1)",
    "U": "numbers, not text",
    "S": "numbers, not text",
    "M": "numbers, not dates",
    "m": "numbers, not time spans",
    "V": "one field of the records (as array['name'])",
}


def _check_objects(name: str, array: NDArray[Any]) -> None:
    """Check that an object array holds numbers only: NumPy would read None as NaN and the text '1' as 1.

    Raises:
        ValueError: something else among them.
    """
    for at, x in np.ndenumerate(array):
        wrong = x is None or x is np.ma.masked or isinstance(x, bool | np.bool_ | str | bytes)
        if wrong or _is_missing(x):
            place = f" at {at[0] if len(at) == 1 else at}" if at else ""
            raise ValueError(f"{name} must hold numbers, got {x!r}{place}; give a number in every place.")
        if isinstance(x, list | tuple):
            raise ValueError(f"{name} must be a rectangular array, got rows of different lengths; fill them up.")
        if isinstance(x, complex | np.complexfloating):
            _refuse(name, array.tolist(), _complex_advice(np.array([y for y in array.ravel()], dtype=complex)))


def _is_missing(x: Any) -> bool:
    """Whether it is pandas' NA, without loading pandas."""
    return type(x).__name__ in ("NAType", "NaTType")


def _complex_advice(array: NDArray[Any]) -> str:
    largest = float(np.abs(array.imag).max(initial=0.0))
    if largest == 0.0:
        return "real numbers only: the imaginary parts are all 0, so use .real"
    return f"real numbers only: imaginary parts reach {largest:.3g}"


def _refuse(name: str, values: Any, advice: str) -> NoReturn:
    """Say what came and what to do.

    Raises:
        ValueError: always.
    """
    text = " ".join(repr(values).split())  # on one line, and not too long a one
    text = text if len(text) <= 80 else f"{text[:77]}..."
    raise ValueError(f"{name} must hold numbers, got {text}; {advice}.") from None


def _module_of(values: Any) -> str:
    """The package of a class, which need not be imported for this."""
    return type(values).__module__.partition(".")[0]


def _has_extension(values: Any) -> bool:
    """Whether a pandas object has a dtype that can hold NA, of which NumPy makes objects."""
    dtypes: Any = getattr(values, "dtypes", None)
    several = list(dtypes) if hasattr(dtypes, "__iter__") else [getattr(values, "dtype", None)]
    return any(not isinstance(kind, np.dtype) for kind in several)


def _short(labels: list[Any]) -> str:
    text = ", ".join(map(str, labels))
    return text if len(text) <= 40 else f"{text[:37]}..."


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
