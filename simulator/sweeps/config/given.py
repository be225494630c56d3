"""A problem of a user's own in a sweep: its blocks, how it is stored in the result folder, and how it is read again."""

import hashlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.files import GivenBlocks, read_blocks, write_blocks
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.problems.spectra import Spectra
from quadsim.simulator.problems.starts import START_LAWS
from quadsim.simulator.support import store
from quadsim.simulator.support.checks import check_choice

__all__ = ["STARTS", "GivenProblem"]

STARTS = (*START_LAWS, "given")
"""How the starts of a given problem are made: drawn by a law, or `given` with the problem."""

FloatArray = NDArray[np.float64]


class GivenProblem:
    """One matrix per block, the same for all seeds; a seed is a draw of the start.

    Two of them are equal if their names and their numbers are.

    Attributes:
        name: of the file, or "given".
        partition: how the blocks were found, in words.
        start: one of STARTS, the law by which starts are made where no other is asked for.
        digest: SHA-256 of all numbers, in hexadecimal digits.
        spectra: for every block its eigenvalues above 0, ascending.
        null_dimensions: for every block the dimension of its null space.
        block_sizes: P_l.
        error: the given e_0, (P,), or None.
    """

    def __init__(self, name: str, partition: str, problem: BlockQuadratic, start: str) -> None:
        places = {int(block): (size, at) for size, m in problem.layout.groups.items() for at, block in enumerate(m)}
        found = [places[block] for block in range(len(problem.block_sizes))]
        self.name, self.partition, self.start = name, partition, start
        self.block_sizes = problem.block_sizes
        self._blocks = [problem.hessian[size][0, at] for size, at in found]
        self._vectors: dict[str, FloatArray] = {"minimizer": problem.layout.flatten(problem.minimizer)[0]}
        if start == "given":
            self._vectors["initial_error"] = problem.layout.flatten(problem.initial_error)[0]
        values = [problem.eigenvalues[size][0, at] for size, at in found]
        self.spectra: Spectra = tuple(v[v > 0.0] for v in values)
        self.null_dimensions = tuple(int(np.sum(v == 0.0)) for v in values)
        numbers = hashlib.sha256(str(self.block_sizes).encode())
        for array in (*self._blocks, *(self._vectors[key] for key in sorted(self._vectors))):
            numbers.update(np.ascontiguousarray(array + 0.0).tobytes())  # + 0.0: no minus zeros
        self.digest = numbers.hexdigest()

    @classmethod
    def of(cls, problem: Any) -> "GivenProblem":
        """Take over problems that were made in Python.

        Raises:
            ValueError: no `BlockQuadratic`, or several problems with different matrices or starts of their own.
        """
        if isinstance(problem, cls):
            return problem
        if not isinstance(problem, BlockQuadratic):
            raise ValueError(
                f"problem must be a BlockQuadratic, got a {type(problem).__name__}; make one with BlockQuadratic.from_blocks."
            )
        law = problem.dials.get("initial_error")
        same = all(np.array_equal(h, np.broadcast_to(h[:1], h.shape)) for h in problem.hessian.values())
        if problem.problems > 1 and not (same and law in START_LAWS):
            raise ValueError(
                f"problem must be one problem, whose start the seeds of a sweep draw, got {problem.problems} of them; give "
                "problem.select([0])."
            )
        return cls("given", f"{len(problem.block_sizes)} given blocks", problem, law if law in START_LAWS else "given")

    @classmethod
    def from_file(cls, path: str | PathLike[str], partition: Any = None) -> "GivenProblem":
        """Read the file of a user; see `load_problem`.

        Raises:
            ValueError: a file that `load_problem` refuses, or one with batches of matrices.
        """
        given = read_blocks(path, partition)
        return cls._of_blocks(Path(path).name, given, given.partition, None)

    @classmethod
    def _of_blocks(cls, name: str, given: GivenBlocks, partition: str, start: str | None) -> "GivenProblem":
        start = start or ("normal" if given.initial_error is None else "given")
        dimension = given.order.size
        error = given.initial_error if start == "given" else np.zeros(dimension)
        problem = given.problem(error)
        if problem.problems > 1:
            raise ValueError(
                f"problem file must hold one matrix per block for a sweep, got batches of {problem.problems} in {name}; save "
                "one of them (quadsim inspect --seeds 1)."
            )
        return cls(name, partition, problem, start)

    @property
    def error(self) -> FloatArray | None:
        """The given e_0, (P,); None where starts are drawn."""
        return self._vectors.get("initial_error")

    @property
    def minimizer(self) -> FloatArray:
        """w*, (P,)."""
        return self._vectors["minimizer"]

    def check_start(self, start: str) -> None:
        """Check that starts can be made in this way.

        Raises:
            ValueError: an unknown law, or one that needs what the problem does not have.
        """
        check_choice("start", start, STARTS)
        if start == "given" and self.error is None:
            raise ValueError(
                f"start given needs an initial_error in {self.name}, got none; add one, or draw it: normal."
            )
        self.problem(start, 1, 0, 0)

    def problem(self, start: str, problems: int, seed: int, first: int) -> BlockQuadratic:
        """Problems `first` to `first + problems - 1`."""
        error: Any = start
        if start == "given":
            assert self.error is not None
            error = np.repeat(self.error[None], problems, axis=0)
        return BlockQuadratic.from_blocks(
            self._blocks, initial_error=error, minimizer=self.minimizer, problems=problems, seed=seed, first=first
        )

    def to_json(self) -> dict[str, Any]:
        """What `config.json` says of it; the numbers are in a file beside it, see `write`."""
        return {"name": self.name, "partition": self.partition, "start": self.start, "sha256": self.digest}

    def write(self, folder: Path) -> None:
        """Write all numbers into a result folder, where `from_folder` finds them."""
        write_blocks(folder / store.PROBLEM, self._blocks, **self._vectors)

    @classmethod
    def from_folder(cls, record: Any, folder: Path | None) -> "GivenProblem":
        """Read the problem of a stored configuration.

        Args:
            record: what `to_json` made.
            folder: the folder of `config.json`, in which `write` wrote.

        Raises:
            ValueError: no such record, no file with the numbers, or a file with others.
        """
        names = ("name", "partition", "start", "sha256")
        if not isinstance(record, Mapping) or any(not isinstance(record.get(name), str) for name in names):
            raise ValueError(
                f"problem of a config must hold {', '.join(names)}, got {str(record)[:80]!r}; repeat the sweep."
            )
        if folder is None or not (folder / store.PROBLEM).is_file():
            raise ValueError(
                f"config with a problem of your own must lie beside its {store.PROBLEM}, got none in "
                f"{'no folder' if folder is None else folder}; keep the two files together."
            )
        given = read_blocks(folder / store.PROBLEM)
        found = cls._of_blocks(record["name"], given, record["partition"], record["start"])
        if found.digest != record["sha256"]:
            raise ValueError(
                f"{store.PROBLEM} must be the one of its config, got one with other numbers in {folder}; restore it."
            )
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GivenProblem) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash((self.name, self.digest))

    def __deepcopy__(self, memo: Any) -> "GivenProblem":
        return self  # nothing in it changes

    def __repr__(self) -> str:
        return f"GivenProblem({self.name}: {self.partition}, sizes {'+'.join(map(str, self.block_sizes))})"
