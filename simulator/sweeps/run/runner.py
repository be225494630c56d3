"""Getting chunks done: what is missing is run by a backend, what fails is tried again, what is damaged is run anew."""

import json
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from quadsim.simulator.rules.optimizer_file import portable
from quadsim.simulator.rules.torch_classes import TorchOptimizer
from quadsim.simulator.runs.judged import Judge
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.backends import Backend, Lost
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.run.folder import FAILURES, UNITS, no_room, writable
from quadsim.simulator.sweeps.work.chunk import ChunkFunction, Outcome, producer_of
from quadsim.simulator.sweeps.work.sealed import SealedFiles
from quadsim.simulator.sweeps.work.units import Unit

__all__ = ["ATTEMPTS", "ChunkRunner", "Progress", "UnfinishedError"]

ATTEMPTS = 3
"""How often a chunk is run before it counts as failed; the last time alone."""

_NAMED = 5

Progress = Callable[[int, int, str], None]
"""Called with chunks done, chunks known so far, and what runs; perhaps from a thread."""


class UnfinishedError(RuntimeError):
    """Some chunks of a sweep failed, the others are done."""


class ChunkRunner:
    """Runs the chunks of one sweep.

    Args:
        config: the grid.
        judge: see `sweep`.
        folder: of the sweep, as workers see it.
        name: of the folder, for messages.
        backend: a started one.
        progress: see `Progress`.
    """

    def __init__(
        self,
        config: SweepGrid,
        judge: Judge | None,
        folder: Path,
        name: Path | None,
        backend: Backend,
        progress: Progress | None,
    ) -> None:
        self._config, self._folder, self._name, self._backend = config, folder, name, backend
        producer = producer_of(judge)
        optimizers = [one.optimizer for one in config.own_optimizers]
        classes = portable(one for one in optimizers if isinstance(one, TorchOptimizer))
        self._function = ChunkFunction(json.dumps(config.to_json()), judge, folder / UNITS, producer, classes)
        self._files = SealedFiles(folder / UNITS, producer)
        self._progress, self._lock = progress, threading.Lock()
        self._done = self._total = 0
        self.paths: dict[str, Path] = {}

    def look(self) -> None:
        """See which chunks there are now."""
        self._files.look()

    def finish(self, units: Iterable[Unit], number: int) -> None:
        """Run all that is missing; then `paths` has the file of every one by its key.

        Args:
            units: the chunks.
            number: how many there are.

        Raises:
            UnfinishedError: some failed three times; the others are done.
            ValueError: the folder cannot be written.
        """
        self._total += number
        missing: Iterable[Unit] = units
        failed: dict[Unit, str] = {}
        for attempt in range(ATTEMPTS):
            failed = dict(self._try(missing, alone=attempt == ATTEMPTS - 1))
            if not failed:
                return
            missing = list(failed)
            self._files.look()
        self._report(failed)

    def _try(self, units: Iterable[Unit], *, alone: bool) -> Iterator[tuple[Unit, str]]:
        """Run what is missing once; gives what failed, with the reason.

        Raises:
            ValueError: the folder cannot be written.
        """
        for unit, found in self._backend.run(self._function, self._missing(units), alone=alone):
            if isinstance(found, Lost):
                yield unit, found.reason
                continue
            outcome: Outcome = found
            if outcome.no_room:
                raise ValueError(no_room(self._name or self._folder, outcome.no_room))
            if outcome.path is None:
                yield unit, outcome.error
            elif self._files.is_whole(outcome.path):
                self._is_done(unit, outcome.path)
            else:
                yield unit, f"{outcome.path} is not as it was written"

    def _missing(self, units: Iterable[Unit]) -> Iterator[Unit]:
        """Chunks without a whole file; perhaps in a thread of the backend."""
        for unit in units:
            found = self._files.get(unit.key)
            if found is not None:
                self._is_done(unit, found)
            else:
                self._say(unit)
                yield unit

    def _is_done(self, unit: Unit, path: Path) -> None:
        with self._lock:
            self.paths[unit.key] = path
            self._done += 1
        self._say(unit)

    def _say(self, unit: Unit) -> None:
        if self._progress is not None:
            label = f"{self._config.specs[unit.optimizer].label} at {self._config.points[unit.point].label}"
            with self._lock:
                self._progress(self._done, self._total, label)

    def say(self, what: str) -> None:
        """Tell what is done after the chunks."""
        if self._progress is not None:
            self._progress(self._done, self._total, what)

    def _report(self, failed: dict[Unit, str]) -> None:
        """Write the tracebacks.

        Raises:
            UnfinishedError: always.
        """
        last = next(iter(failed.values())).strip().splitlines()[-1]
        names = [unit.key for unit in failed]
        some = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        where = ""
        if self._name is not None:
            folder = self._folder / FAILURES
            with writable(self._name):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                for unit, text in failed.items():
                    store.write_bytes(folder / f"{unit.key}.txt", text.encode())
            where = f" (tracebacks in {self._name / FAILURES})"
        raise UnfinishedError(
            f"{len(failed)} of {self._total} chunks failed {ATTEMPTS} times: {some}{where}; the first with: {last}; the rest is "
            "finished, and the same command tries them again."
        )
