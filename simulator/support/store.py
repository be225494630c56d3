"""Read and write the files of a result folder.

Every file is written under a temporary name and then renamed, so that a run that is killed leaves only complete files.
"""

import hashlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5netcdf
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
    import xarray as xr

__all__ = [
    "CONFIG",
    "CURVES",
    "FIGURES",
    "GUARANTEES",
    "HISTOGRAM",
    "MANIFEST",
    "PARTIAL",
    "PROBLEM",
    "REPORT",
    "SUMMARY",
    "TABLE",
    "checksum",
    "is_finished",
    "json_text",
    "netcdf_writer",
    "open_dataset",
    "parquet_reader",
    "parquet_writer",
    "read_frame",
    "read_json",
    "write_bytes",
    "write_csv",
    "write_dataset",
    "write_frame",
    "write_json",
    "write_whole",
]

CONFIG, MANIFEST, SUMMARY, HISTOGRAM, CURVES, FIGURES, REPORT = (
    "config.json",
    "manifest.json",
    "summary.parquet",
    "histogram.parquet",
    "trajectories.nc",
    "figures",
    "report.html",
)
_DEEPEST = 30
GUARANTEES = "guarantees.parquet"
"""Bounds at rates that a theory guarantees, and along runs at the best rates."""
PROBLEM = "problem.npz"
"""The blocks of a problem of a user's own, beside the configuration that names them."""
TABLE = "table.json"
"""What the command that ran the sweep printed; only a command writes it."""
PARTIAL = ".partial-"
"""Part of the name of a file that is being written."""


def write_whole(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Write a file under a temporary name and rename it.

    Args:
        path: the final name.
        write: function that writes to the path that it gets.
        durable: whether the content must be on the disk before the name. Not needed for a file with a checksum.
    """
    # Of its own: several processes may write the same file.
    temporary = path.with_name(f"{path.stem}{PARTIAL}{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        write(temporary)
        if durable:
            _sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    if os.name != "posix" and path.is_dir():
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write bytes to a file; not durable, so the file or its name must contain a checksum."""
    write_whole(path, lambda temporary: _write(temporary, content), durable=False)


def _write(path: Path, content: bytes | memoryview) -> None:
    path.write_bytes(content)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write one JSON document."""
    write_whole(path, lambda temporary: _write(temporary, json_text(content).encode()))


def json_text(content: Any) -> str:
    """Return the text of a JSON document, as it is stored."""
    return json.dumps(content, indent=2) + "\n"


# Tables and datasets are written and read here alone. pandas, pyarrow and xarray take a path whose text has the form of an
# address ("run:1/a.parquet", "a::b/c.nc") for one on another machine; an open file, or an absolute path, is neither.


def write_frame(path: Path, frame: "pd.DataFrame") -> None:
    """Write a table as Parquet."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            frame.to_parquet(file, index=False)

    write_whole(path, write)


def write_csv(path: Path, frame: "pd.DataFrame") -> None:
    """Write a table as CSV; every number has the digits that give the same number again."""
    write_whole(path, lambda temporary: _write(temporary, frame.to_csv(index=False, lineterminator="\n").encode()))


def read_frame(path: Path, **options: Any) -> "pd.DataFrame":
    """Read a table from Parquet; the options are those of `pandas.read_parquet`."""
    import pandas as pd

    with path.open("rb") as file:
        return pd.read_parquet(file, **options)


@contextmanager
def parquet_writer(path: Path, schema: "pa.Schema") -> "Iterator[pq.ParquetWriter]":
    """Open a Parquet file for writing in pieces."""
    import pyarrow.parquet as pq

    with path.open("wb") as file, pq.ParquetWriter(file, schema) as writer:
        yield writer


@contextmanager
def parquet_reader(path: Path) -> "Iterator[pq.ParquetFile]":
    """Open a Parquet file for reading in pieces."""
    import pyarrow.parquet as pq

    with path.open("rb") as file, pq.ParquetFile(file) as reader:
        yield reader


@contextmanager
def netcdf_writer(
    path: Path, sizes: Mapping[str, int], coordinates: "Mapping[str, tuple[Any, np.ndarray]]"
) -> "Iterator[h5netcdf.File]":
    """Open a NetCDF file for writing variables in pieces; its axes and coordinates are written first, as xarray writes them.

    xarray would do for the coordinates, but importing it, and Dask with it, takes longer than the whole file.

    Args:
        path: the file.
        sizes: axis to its length.
        coordinates: name to the axis or axes and the values: whole numbers, floats, or text as an array of objects.
    """
    import h5netcdf
    import h5py
    import numpy as np

    with h5netcdf.File(path.absolute(), "w") as file:
        file.dimensions = dict(sizes)
        for name, (axes, values) in coordinates.items():
            own = (axes,) if isinstance(axes, str) else tuple(axes)
            dtype = h5py.string_dtype() if values.dtype == object else values.dtype
            fill = {"fillvalue": np.nan} if values.dtype.kind == "f" else {}  # by which xarray knows what is missing
            file.create_variable(name, own, dtype, data=values, **fill)
        file.attrs["coordinates"] = " ".join(sorted(set(coordinates) - set(sizes)))
        yield file


def _without_dask() -> AbstractContextManager[Any]:
    """Keep xarray from asking a Dask cluster of the user for the lock of a file that only this process writes.

    xarray takes the lock from the default client of Dask wherever there is one, and that cluster may be gone.
    """
    if sys.modules.get("dask") is None:
        return nullcontext()
    import dask

    setting: AbstractContextManager[Any] = dask.config.set(scheduler="synchronous")
    return setting


def write_dataset(path: Path, dataset: "xr.Dataset") -> None:
    """Write a Dataset as NetCDF."""

    def write(temporary: Path) -> None:
        with _without_dask():
            dataset.to_netcdf(temporary.absolute(), engine="h5netcdf")

    write_whole(path, write)


def open_dataset(path: Path) -> "xr.Dataset":
    """Open a Dataset from NetCDF; its arrays are read when they are used."""
    import xarray as xr

    return xr.open_dataset(path.absolute(), engine="h5netcdf")


def read_json(path: Path, what: str, fix: str = "give a config.json that a sweep wrote") -> Any:
    """Read untrusted JSON.

    Raises:
        ValueError: a file that cannot be read, is not JSON, is nested too deeply, or contains text that cannot be written again.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _check_depth(content)
        json.dumps(content, ensure_ascii=False).encode("utf-8")
    except OSError as error:
        raise ValueError(f"{what} must be a readable file, got {path} ({error}); {fix}.") from error
    except (ValueError, RecursionError) as error:  # of JSON and of Unicode among them
        raise ValueError(f"{what} must be JSON, got {path} ({error}); {fix}.") from error
    return content


def _check_depth(content: Any) -> None:
    """Check the depth of a document, because functions that walk through it recurse.

    Raises:
        ValueError: lists and objects that are nested deeper than in any document that quadsim writes.
    """
    level = [content]
    for _ in range(_DEEPEST):
        level = [
            item
            for one in level
            if isinstance(one, (dict, list))
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {_DEEPEST} levels")


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished sweep; its manifest is written last.

    Raises:
        ValueError: a name that the file system does not accept.
    """
    try:
        return (folder / MANIFEST).is_file()
    except OSError as error:  # for example a name that is too long
        raise ValueError(
            f"out must be the name of a folder, got {folder.name[:80]} ({error.strerror}); choose another."
        ) from error
