"""Arrays as users have them, from any library: read as what they hold, or refused in one line."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["FloatArray", "array_of", "as_float", "list_of", "numbers_of", "plain", "positions_of"]

FloatArray = NDArray[np.float64]


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
    if _is_tensor(values):
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


def _is_tensor(values: Any) -> bool:
    """Whether it is a tensor of torch, which need not be imported for this: without it there are none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def _of_tensor(name: str, tensor: "torch.Tensor") -> Any:
    """The numbers of a tensor; bfloat16 and float16 are exact in float32.

    Raises:
        ValueError: a tensor that has no dense numbers.
    """
    if tensor.is_nested:
        raise ValueError(f"{name} must be a rectangular array, got a nested tensor; give its parts one by one.")
    if str(tensor.layout) != "torch.strided":
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
