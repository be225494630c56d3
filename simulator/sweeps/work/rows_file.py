"""The file of a chunk of rows: a column for everything that is recorded of a run, rate by rate.

NumPy alone writes and reads it: importing pandas and pyarrow, and making their arrays, takes a fifth of the time until a sweep
of usual size has its table, which needs neither.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RowsFile", "rows_content"]

_HEADER = 8  # bytes of the length of the header


def rows_content(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the content of a file: the length of a header, the header as JSON, and the columns.

    Args:
        columns: name to numbers or texts (None: nothing), (K, M) for K rates and M problems, or (K, M, R) for curves.

    Raises:
        TypeError: a column of something else.
    """
    header, parts, place = [], list[bytes](), 0
    for name, values in columns.items():
        entry: dict[str, Any] = {"name": name}
        numbers = values
        if values.dtype.kind in "OU":
            entry["texts"], numbers = _texts(name, values)
        part = np.ascontiguousarray(numbers).tobytes()
        header.append(entry | {"dtype": numbers.dtype.str, "shape": values.shape, "place": place})
        parts.append(part)
        place += len(part)
    text = json.dumps(header).encode()
    return b"".join([len(text).to_bytes(_HEADER, "little"), text, *parts])


def _texts(name: str, values: NDArray[Any]) -> tuple[list[str | None], NDArray[np.int32]]:
    """Return the texts of a column, each once, and which of them every run has.

    Raises:
        TypeError: something that is no text.
    """
    known: dict[str | None, int] = {}
    codes = np.fromiter((known.setdefault(text, len(known)) for text in values.ravel().tolist()), np.int32, values.size)
    for text in known:
        if not isinstance(text, str | None):
            raise TypeError(
                f"column {name} must hold numbers or texts, got {text!r}; have the judge return one of these."
            )
    return list(known), codes.reshape(values.shape)


@dataclass(frozen=True)
class _Column:
    """Where a column lies, and what one rate of it is."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    place: int
    bytes: int
    texts: NDArray[Any] | None

    @classmethod
    def of(cls, entry: Mapping[str, Any], begin: int) -> "_Column":
        """From an entry of a header; columns begin at `begin`."""
        dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"][1:])
        texts = np.array(entry["texts"], dtype=object) if "texts" in entry else None
        return cls(dtype, shape, begin + entry["place"], math.prod(shape) * dtype.itemsize, texts)


class RowsFile:
    """A file that `rows_content` made. No more of it is read than is asked for, and it is open only meanwhile.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_HEADER), "little")
            header = json.loads(file.read(length))
        self._columns = {entry["name"]: _Column.of(entry, _HEADER + length) for entry in header}

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        """Name of every column to its type; that of texts is `object`."""
        return {name: np.dtype(object) if own.texts is not None else own.dtype for name, own in self._columns.items()}

    def at(self, rate: int, names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return columns at one of the rates.

        Args:
            rate: its position.
            names: columns that are wanted; those that are not there are left out. None: all.

        Returns:
            Name to values, (M,), or (M, R) for curves.
        """
        found = {}
        with self.path.open("rb") as file:
            for name in self._columns if names is None else names:
                own = self._columns.get(name)
                if own is None:
                    continue
                file.seek(own.place + rate * own.bytes)
                values = np.frombuffer(file.read(own.bytes), own.dtype).reshape(own.shape)
                found[name] = values if own.texts is None else own.texts[values]
        return found
