"""What a worker does: one chunk of a sweep, from the configuration and its numbers to a sealed file."""

import errno
import traceback
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.rules.optimizer_file import make_known
from quadsim.simulator.rules.torch_classes import TorchOptimizer
from quadsim.simulator.runs.judged import Judge, judged
from quadsim.simulator.support.provenance import producer
from quadsim.simulator.sweeps.config.families import config_from_json, family_of, imported
from quadsim.simulator.sweeps.config.grid import UNTIL, SweepGrid
from quadsim.simulator.sweeps.work.rows_file import rows_content
from quadsim.simulator.sweeps.work.sealed import seal
from quadsim.simulator.sweeps.work.units import Unit, rates_of
from quadsim.simulator.sweeps.work.work import Work

__all__ = ["CURVE", "ChunkFunction", "Outcome", "chunk_suffix", "producer_of", "work_of"]

CURVE = "curve:"
"""Before the name of a curve among the columns of a chunk."""

AnyWork = Work[Any, Any, Any]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EFBIG}
"""What another attempt would meet again."""


@dataclass(frozen=True)
class Outcome:
    """What became of a chunk.

    Attributes:
        path: its file; None where there is none.
        error: the traceback of what went wrong in it.
        no_room: why its file could not be written: then no other can be either.
    """

    path: Path | None = None
    error: str = ""
    no_room: str = ""


@dataclass(frozen=True)
class ChunkFunction:
    """Runs chunks, in any process that sees the folder.

    Attributes:
        config: the configuration as it is stored: a worker makes its own from it.
        judge: see `sweep`; goes to a worker by its name, or whole where it has none that can be imported.
        folder: of the sealed files, in that of the configuration.
        producer: see `producer_of`.
        classes: classes of optimizers that a worker cannot import by a name in the configuration, see `portable`.
    """

    config: str
    judge: Judge | None
    folder: Path
    producer: str
    classes: tuple[TorchOptimizer, ...] = ()

    def __call__(self, unit: Unit, device: str | None = None) -> Outcome:
        """Run one chunk and write it; whatever goes wrong is in what comes back.

        Args:
            unit: which.
            device: used in place of the configuration's.
        """
        try:
            if producer_of(self.judge) != self.producer:
                return Outcome(
                    error=f"the worker has {producer_of(self.judge)}, the sweep {self.producer}; install the same one."
                )
            make_known(self.classes)
            work = work_of(_config(self.config, self.folder.parent, device))
            content = _content(work, unit, self.judge)
        except Exception:
            return Outcome(error=traceback.format_exc())
        try:
            return Outcome(seal(self.folder, unit.key, chunk_suffix(work.config), content, self.producer))
        except OSError as error:
            if error.errno in _NO_ROOM:
                return Outcome(no_room=str(error))
            return Outcome(error=traceback.format_exc())  # a file system of a network may do better next time


def work_of(config: SweepGrid) -> AnyWork:
    """What runs the units of a configuration.

    Raises:
        TypeError: a configuration of no registered family.
    """
    work: AnyWork = imported(family_of(config).work)(config)
    return work


def producer_of(judge: Judge | None) -> str:
    """What chunks depend on beside the configuration: the code that runs, what it computes with, and the judge."""
    name = (
        "" if judge is None else f" judged by {judge.__module__}.{getattr(judge, '__qualname__', type(judge).__name__)}"
    )
    return f"{producer()}{name}"


def chunk_suffix(config: SweepGrid) -> str:
    """Of the files of chunks."""
    return ".rows" if config.kept == "rows" else ".npz"


@lru_cache(maxsize=4)
def _config(text: str, folder: Path, device: str | None) -> SweepGrid:
    """The configuration of a worker, read once."""
    import json

    config = config_from_json(json.loads(text), folder)
    return config if device is None else replace(config, device=device)


def _content(work: AnyWork, unit: Unit, judge: Judge | None) -> bytes:
    """The file of a chunk: counts, or a row and the curves of every run."""
    config = work.config
    point, spec = config.points[unit.point], config.specs[unit.optimizer]
    rates = rates_of(config, unit)
    if config.kept != "rows":
        return bytes(work.count(point, spec, rates, unit.seeds, config.steps, judge).to_bytes())
    run = work.run(point, spec, rates, unit.seeds, config.steps)
    return _rows(work, run, judge)


def _rows(work: AnyWork, run: Any, judge: Judge | None) -> bytes:
    """The file of a run's rows and curves."""
    shape = run.steps_to_tolerance.shape

    def per_run(values: Any) -> NDArray[Any]:
        return np.broadcast_to(np.asarray(values), shape)

    columns: dict[str, NDArray[Any]] = {
        "seed": np.broadcast_to(np.asarray(run.problem.index)[:, None], shape),
        "status": run.status,
    }
    columns |= {UNTIL[name]: getattr(run, UNTIL[name]) for name in work.config.criteria}
    columns |= dict(work.columns(run))
    columns |= judged(judge, run)
    columns["engine"] = per_run(run.engine)
    columns |= {CURVE + name: np.asarray(values, dtype=np.float64) for name, values in work.recorded(run).items()}
    return rows_content({name: np.swapaxes(values, 0, 1) for name, values in columns.items()})
