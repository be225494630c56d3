"""Read arrays of any library (NumPy, torch, pandas, xarray, SymPy), or refuse them with a one-line error.

An array is refused if NumPy would silently change its values: masked, sparse, quantised or complex arrays, text, None.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = [
    "FloatArray",
    "array_of",
    "as_float",
    "is_masked_array",
    "is_tensor",
    "list_of",
    "numbers_of",
    "plain",
    "positions_of",
]

FloatArray = NDArray[np.float64]


def as_float(name: str, values: Any) -> FloatArray:
    """Return finite numbers as a float64 array.

    Raises:
        ValueError: values that are not numbers, or not finite.
    """
    array = numbers_of(name, values)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite, got NaN or inf; remove them.")
    return array


def numbers_of(name: str, values: Any) -> FloatArray:
    """Return real numbers as a float64 array; NaN and infinities are allowed.

    Accepts numbers, nested sequences, iterators, and the arrays of NumPy, torch (detached, from any device), pandas, xarray and
    SymPy. An integer or rational that float64 cannot represent is rounded.

    Raises:
        ValueError: values that are no rectangular array of real numbers, or of which NumPy would lose a part.
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
    """Return an argument as a NumPy array of its own number type; see `plain`.

    Raises:
        ValueError: no rectangular array, or an array whose values NumPy would change.
    """
    values = plain(name, values)
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        reason = "rows differ in length" if "inhomogeneous" in str(error) else " ".join(str(error).split())
        _refuse(name, values, f"give a rectangular array ({reason})")


def positions_of(name: str, values: Any, count: int, low: int = 0) -> NDArray[np.int64]:
    """Return indices of problems, whole numbers in [low, count), (n,) with n >= 1.

    Raises:
        ValueError: no index, truth values (which NumPy would read as a mask), fractions, or an index out of range.
    """
    array = np.atleast_1d(array_of(name, values))
    if array.dtype.kind == "b":
        raise ValueError(f"{name} must be indices of problems, got truth values; use np.flatnonzero(...) of them.")
    whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and bool(np.all(array == np.floor(array))))
    if array.ndim != 1 or not array.size or not whole or array.min() < low or array.max() >= count:
        raise ValueError(
            f"{name} must be whole numbers from {low} to {count - 1}, got {values!r}; give at least one of these."
        )
    return array.astype(np.int64)


def list_of(name: str, values: Any, what: str) -> list[Any]:
    """Return several arrays as a list, from any iterable except one array, a mapping or text.

    Args:
        name: name of the argument, for the message.
        values: the argument.
        what: what one entry is, for the message, as "matrix".

    Raises:
        ValueError: an argument that is no list of arrays.
    """
    kind = type(values).__name__
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping | set | frozenset):
        raise ValueError(f"{name} must be a list with one {what} per block, got a {kind}; give a list: [...].")
    # A data frame would run over the names of its columns, and a matrix over its rows or its entries.
    rows = _module_of(values) in ("pandas", "scipy", "sympy")
    if rows or getattr(values, "ndim", 1) == 0 or (what == "matrix" and getattr(values, "ndim", 1) == 2):
        raise ValueError(
            f"{name} must be a list with one {what} per block, got a single {kind}; put it in a list: [...]."
        )
    return list(values)


def plain(name: str, values: Any) -> Any:
    """Return a form that NumPy reads without changing a value: tensors detached, iterators as lists, all else unchanged.

    Raises:
        ValueError: an array whose values NumPy would change (masked, sparse, quantised, without values).
    """
    if isinstance(values, float | int | str | np.generic):
        return values
    if is_masked_array(values):
        if np.ma.getmaskarray(values).any():
            raise ValueError(
                f"{name} must not have masked entries, got {int(np.ma.getmaskarray(values).sum())} of them; fill them "
                "(.filled(...)) or drop them."
            )
        return np.ma.getdata(values)
    if isinstance(values, np.ndarray):
        return values
    if is_tensor(values):
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


def is_masked_array(values: Any) -> bool:
    """Whether a value is a masked array of NumPy, whose module is not imported for the answer: that takes 10 ms."""
    masked = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(values, masked.MaskedArray)


def is_tensor(values: Any) -> bool:
    """Whether a value is a torch tensor. Torch is not imported for the answer: if it is not loaded, there are no tensors."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def _of_tensor(name: str, tensor: "torch.Tensor") -> Any:
    """Return the numbers of a tensor as a NumPy array; bfloat16 and float16 become float32, which holds them exactly.

    Raises:
        ValueError: a tensor without dense numbers (sparse, quantised, on the meta device).
    """
    if tensor.is_nested:
        raise ValueError(f"{name} must be a rectangular array, got a nested tensor; give its parts one by one.")
    if str(tensor.layout) != "torch.strided":
        raise ValueError(f"{name} must be a dense array, got a tensor of layout {tensor.layout}; use .to_dense().")
    if tensor.is_quantized:
        raise ValueError(f"{name} must hold numbers of full precision, got a quantised tensor; use .dequantize().")
    if tensor.is_meta:
        raise ValueError(
            f"{name} must hold numbers, got a tensor on the device meta, which has none; create it on the cpu."
        )
    found = tensor.detach().cpu().resolve_conj().resolve_neg()
    if found.is_floating_point() and found.element_size() < 4:
        found = found.float()
    try:
        return found.numpy()
    except RuntimeError as error:  # inside a transformation of torch.func, or a fake tensor
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
        ValueError: an entry that is no number.
    """
    for at, x in np.ndenumerate(array):
        wrong = x is None or is_masked_array(x) or isinstance(x, bool | np.bool_ | str | bytes)
        if wrong or _is_missing(x):
            place = f" at {at[0] if len(at) == 1 else at}" if at else ""
            raise ValueError(f"{name} must hold numbers, got {x!r}{place}; give a number in every place.")
        if isinstance(x, list | tuple):
            raise ValueError(
                f"{name} must be a rectangular array, got rows of different lengths; make them equally long."
            )
        if isinstance(x, complex | np.complexfloating):
            _refuse(name, array.tolist(), _complex_advice(np.array([y for y in array.ravel()], dtype=complex)))


def _is_missing(x: Any) -> bool:
    """Whether a value is pandas' NA; pandas is not imported for the answer."""
    return type(x).__name__ in ("NAType", "NaTType")


def _complex_advice(array: NDArray[Any]) -> str:
    largest = float(np.abs(array.imag).max(initial=0.0))
    if largest == 0.0:
        return "real numbers only: the imaginary parts are all 0, so use .real"
    return f"real numbers only: imaginary parts reach {largest:.3g}"


def _refuse(name: str, values: Any, advice: str) -> NoReturn:
    """Raise the error that names the argument, its kind and what to do.

    Raises:
        ValueError: always.
    """
    text = " ".join(repr(values).split())  # on one line, and not too long a one
    text = text if len(text) <= 80 else f"{text[:77]}..."
    raise ValueError(f"{name} must hold numbers, got {text}; {advice}.") from None


def _module_of(values: Any) -> str:
    """Return the name of the package that defines the class of a value, without importing it."""
    return type(values).__module__.partition(".")[0]


def _has_extension(values: Any) -> bool:
    """Whether a pandas object has a dtype with NA, which NumPy would convert to an array of objects."""
    dtypes: Any = getattr(values, "dtypes", None)
    several = list(dtypes) if hasattr(dtypes, "__iter__") else [getattr(values, "dtype", None)]
    return any(not isinstance(kind, np.dtype) for kind in several)
