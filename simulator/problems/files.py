"""Read blocks of a user's own from a file, and write them (`load_problem`, `read_blocks`, `write_blocks`)."""

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.support import store
from quadsim.simulator.support.arrays import array_of, as_float
from quadsim.simulator.support.checks import check_count
from quadsim.simulator.support.memory import memory_text, physical_memory
from quadsim.simulator.support.paths import local_path

__all__ = ["GivenBlocks", "load_problem", "read_blocks", "write_blocks"]

_VECTORS = ("initial_error", "minimizer")
_SUFFIXES = (".npz", ".mtx", ".json")
_MTX = re.compile(rb"%%MatrixMarket[ -~]*\s*(?:%[^\n\0]*\n\s*)*[0-9eE.+\-\s]*[0-9.]\s*")
_COPIES = 5  # of every block, while a problem is created


@dataclass(frozen=True, eq=False)
class GivenBlocks:
    """The content of a file of blocks.

    Attributes:
        blocks: matrices (P_l, P_l) or batches (M, P_l, P_l) of them.
        initial_error: e_0, (P,) or (M, P), in the order of the blocks; None if the file has none.
        minimizer: w*, likewise.
        order: for every coordinate of the blocks its number in the file, (P,).
        partition: how the blocks were found, in words.
    """

    blocks: tuple[Any, ...]
    initial_error: NDArray[Any] | None
    minimizer: NDArray[Any] | None
    order: NDArray[np.int64]
    partition: str

    def problem(
        self,
        initial_error: Any = None,
        minimizer: Any = None,
        *,
        problems: int | None = None,
        seed: int = 0,
        first: int = 0,
    ) -> BlockQuadratic:
        """Create the problems; see `load_problem`.

        Raises:
            ValueError: blocks that are no problem, see `BlockQuadratic.from_blocks`.
        """
        if initial_error is None:
            initial_error = "normal" if self.initial_error is None else self.initial_error
        return BlockQuadratic.from_blocks(
            self.blocks,
            initial_error=initial_error,
            minimizer=self.minimizer if minimizer is None else minimizer,
            problems=problems,
            seed=seed,
            first=first,
        )


def load_problem(
    path: str | PathLike[str],
    *,
    partition: Sequence[int] | None = None,
    initial_error: Any = None,
    minimizer: Any = None,
    problems: int | None = None,
    seed: int = 0,
    first: int = 0,
) -> BlockQuadratic:
    """Create problems from a file of your own matrices.

    - `.npz`: one array per block, in the order of their names with numbers in them read as numbers (`block_0`, `block_1`, ...,
      `block_10`), or an array `matrix`, with or without `partition`; optional arrays `initial_error` and `minimizer`.
    - `.mtx` (MatrixMarket): one matrix.
    - `.json`: `{"blocks": [...]}` or `{"matrix": ..., "partition": [...]}`, with optional `initial_error` and `minimizer`.
      Integers stay exact.

    One matrix without a partition is divided into the connected components of its sparsity pattern: coordinates that no entry
    couples, also not through others, belong to different blocks. Where these are not contiguous the coordinates are reordered
    (`read_blocks(...).order`).

    Args:
        path: the file.
        partition: sizes P_l of the blocks of a single matrix, in the order of its coordinates.
        initial_error: e_0, in the order of the blocks, or a name in `starts.START_LAWS`; None: the file's, or "normal".
        minimizer: w*, in the order of the blocks; None: the file's, or 0.
        problems: M, where starts are drawn; None: 1, or the size of the batches.
        seed: key of the draws.
        first: index of the first problem.

    Raises:
        ValueError: no such file, another format, a partition with entries outside its blocks, or blocks that are no problem.

    Examples:
        >>> from quadsim.simulator import load_problem, simulate
        >>> problem = load_problem("blocks.npz", problems=16)  # doctest: +SKIP
        >>> simulate(problem, "adam", lr=0.01, steps=1000)  # doctest: +SKIP
    """
    return read_blocks(path, partition).problem(initial_error, minimizer, problems=problems, seed=seed, first=first)


def read_blocks(path: str | PathLike[str], partition: Sequence[int] | None = None) -> GivenBlocks:
    """Read the blocks of a file; `load_problem` says what the file may hold.

    Raises:
        ValueError: no such file, another format, or a partition that does not fit.
    """
    file = local_path("problem file", path)
    if file.suffix not in _SUFFIXES:
        raise ValueError(f"problem file must end in {', '.join(_SUFFIXES)}, got {file.name}; save the blocks as .npz.")
    if not file.is_file():
        raise ValueError(f"problem file must exist, got {file}; check the name.")
    try:
        content = {".npz": _read_npz, ".mtx": _read_mtx, ".json": _read_json}[file.suffix](file)
    except (OSError, ValueError, OverflowError, MemoryError, RecursionError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f"problem file must be a readable {file.suffix} file, got {file.name} ({reason}); write it again."
        ) from error
    vectors = {name: array_of(name, content.pop(name)) for name in _VECTORS if name in content}
    sizes = content.pop("partition", None) if partition is None else partition
    content.pop("partition", None)
    if "matrix" not in content and len(content) == 1 and sizes is not None:
        content = {"matrix": next(iter(content.values()))}
    if "matrix" in content:
        return _of_matrix(content["matrix"], sizes, vectors)
    if sizes is not None:
        raise ValueError(
            f"partition must come with a single matrix, got {len(content)} blocks in {file.name}; leave the partition out."
        )
    blocks = tuple(content[name] for name in sorted(content, key=_natural))
    if not blocks:
        raise ValueError(
            f"problem file must hold at least one block, got none in {file.name}; add arrays block_0, block_1, ..."
        )
    shapes = [array_of(f"blocks[{number}]", block).shape for number, block in enumerate(blocks)]
    dimension = sum(shape[-1] if shape else 0 for shape in shapes)
    return GivenBlocks(
        blocks,
        vectors.get("initial_error"),
        vectors.get("minimizer"),
        np.arange(dimension),
        f"{len(blocks)} given blocks",
    )


def write_blocks(path: Path, blocks: Sequence[NDArray[np.float64]], **vectors: NDArray[np.float64]) -> None:
    """Write blocks as `.npz`, which `load_problem` reads again.

    Args:
        path: the file.
        blocks: matrices (P_l, P_l) or batches (M, P_l, P_l).
        **vectors: `initial_error` and `minimizer`, where there are any.
    """
    content = io.BytesIO()
    arrays = {f"block_{number}": block for number, block in enumerate(blocks)} | vectors
    np.savez(content, allow_pickle=False, **arrays)
    store.write_bytes(path, content.getbuffer())


def _read_npz(file: Path) -> dict[str, Any]:
    content = io.BytesIO(file.read_bytes())
    try:
        with zipfile.ZipFile(content) as archive:
            return {entry.filename.removesuffix(".npy"): _array_in(archive, entry) for entry in archive.infolist()}
    # Damaged bytes have a dozen kinds of errors in zipfile, zlib and NumPy, with advice of their own.
    except Exception as error:
        raise ValueError("it is no archive of arrays of numbers, or a part of it is missing or damaged") from error


def _array_in(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    """Read one array of an archive; np.load would take its bytes for those of another format where the first ones are damaged."""
    with archive.open(entry) as content:
        return np.lib.format.read_array(content, allow_pickle=False)


def _read_mtx(file: Path) -> dict[str, Any]:
    import scipy.io

    # SciPy ends the whole process where it meets a zero byte or the end of the file within a number, and takes "2.5e-" for 2.5.
    content = file.read_bytes()
    if not _MTX.fullmatch(content):
        raise ValueError("it is no header %%MatrixMarket with lines of numbers, or a part of it is missing or damaged")
    return {"matrix": scipy.io.mmread(io.BytesIO(content + b"\n"), spmatrix=False)}


def _read_json(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text(encoding="utf-8"))
    known = {"blocks", "matrix", "partition", *_VECTORS}
    if not isinstance(content, dict) or ("blocks" in content) == ("matrix" in content) or not set(content) <= known:
        found = ", ".join(content) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise ValueError(f'it must be {{"blocks": [...]}} or {{"matrix": ..., "partition": [...]}}, got {found}')
    if "blocks" in content:
        blocks = content.pop("blocks")
        if not isinstance(blocks, list):
            raise ValueError(f"blocks must be a list of matrices, got a {type(blocks).__name__}")
        content |= {f"block_{number}": block for number, block in enumerate(blocks)}
    return content


def _natural(name: str) -> list[Any]:
    """Return a key by which block_2 comes before block_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _of_matrix(given: Any, sizes: Any, vectors: Mapping[str, NDArray[Any]]) -> GivenBlocks:
    """Divide one matrix into blocks, by a partition or by the connected components of its sparsity pattern.

    Raises:
        ValueError: a matrix that is not square, too large blocks, a partition that does not fit, or entries outside of it.
    """
    import scipy.sparse.csgraph

    matrix = given if scipy.sparse.issparse(given) else array_of("matrix", given)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.shape[0]:
        raise ValueError(f"matrix must be square, (P, P), got shape {matrix.shape}; give a symmetric matrix.")
    dimension = matrix.shape[0]
    pattern = scipy.sparse.csr_array(matrix != 0)
    if sizes is None:
        number, labels = scipy.sparse.csgraph.connected_components(pattern, directed=False)
        words = f"{number} connected component{'s' * (number > 1)} of the sparsity pattern"
    else:
        own = np.atleast_1d(array_of("partition", sizes)).tolist()
        counts = [check_count("partition", size) for size in own]
        if sum(counts) != dimension:
            raise ValueError(
                f"partition must add up to the number of coordinates ({dimension}), got {sum(counts)}; correct the sizes."
            )
        number, labels = len(counts), np.repeat(np.arange(len(counts)), counts)
        words = f"{number} block{'s' * (number > 1)} of the given partition"
    needed = 8.0 * _COPIES * float(np.sum(np.bincount(labels).astype(float) ** 2))
    if needed > physical_memory():
        raise ValueError(
            f"blocks must fit in memory ({memory_text(physical_memory())} here), got blocks that need {memory_text(needed)} "
            f"(the largest has {int(np.bincount(labels).max())} coordinates); use smaller blocks."
        )
    _check_outside(matrix, pattern, labels)
    order = np.argsort(labels, kind="stable")
    places = np.split(order, np.cumsum(np.bincount(labels))[:-1])
    rows: Any = scipy.sparse.csr_array(matrix) if scipy.sparse.issparse(matrix) else matrix
    blocks = [rows[own][:, own] for own in places]
    dense = tuple(block.toarray() if scipy.sparse.issparse(block) else block for block in blocks)
    moved = {name: x[..., order] for name, x in vectors.items() if x.shape[-1:] == (dimension,)}
    kept = {**vectors, **moved}
    return GivenBlocks(dense, kept.get("initial_error"), kept.get("minimizer"), order, words)


def _check_outside(matrix: Any, pattern: Any, labels: NDArray[Any]) -> None:
    """Check that no entry is outside the blocks, up to rounding.

    Raises:
        ValueError: entries outside the blocks.
    """
    import scipy.sparse

    row, column = pattern.nonzero()
    entries = as_float(
        "matrix", scipy.sparse.csr_array(matrix)[row, column] if scipy.sparse.issparse(matrix) else matrix[row, column]
    )
    outside = np.where(labels[row] == labels[column], 0.0, entries)
    largest = np.abs(entries).max(initial=0.0)
    if largest == 0.0:
        return
    share = float(np.linalg.norm(outside / largest) / np.linalg.norm(entries / largest))
    if share > 4.0 * labels.size * np.finfo(float).eps:
        raise ValueError(
            f"partition must hold all of the matrix, got {share:.3g} of its Frobenius norm outside the blocks; merge the blocks "
            "that are coupled, or leave the partition out (coupled blocks cannot be simulated)."
        )
