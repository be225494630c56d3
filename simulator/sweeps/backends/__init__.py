"""Where the chunks of a sweep run: in this process, in processes beside it, on a SLURM cluster or on a Dask cluster.

A backend only hands out work and says what came of it. What a chunk is, whether it is done already, how often a failed one is
tried again and how chunks are put together is the same for all of them (`quadsim.simulator.sweeps.run.runner`).
"""

import importlib.util
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quadsim.simulator.support.checks import check_choice, check_workers

__all__ = ["BACKENDS", "Backend", "Function", "Lost", "Serial", "resolve_backend", "usual_workers"]

BACKENDS = ("serial", "processes", "slurm", "dask")

Function = Callable[[Any, str | None], Any]
"""What is called with a chunk and the device it has to use (None: the configuration's). It can be pickled, returns plain
data and raises nothing that belongs to a chunk."""


@dataclass(frozen=True)
class Lost:
    """What stands in for the result of a chunk whose worker died.

    Attributes:
        reason: what is known of it.
    """

    reason: str


class Backend(ABC):
    """Hands chunks to workers."""

    name: str
    devices: tuple[str, ...] = ()
    """What workers use in place of the configuration's device."""

    @contextmanager
    def started(self, folder: Path) -> Iterator[None]:
        """What `run` needs to be called within: pools and connections.

        Args:
            folder: for files of its own; all workers see it.
        """
        yield

    @abstractmethod
    def run(
        self, function: Function, chunks: Iterable[Any], *, alone: bool = False
    ) -> Iterator[tuple[Any, Any | Lost]]:
        """Call the function on every chunk, and give each back with its result as soon as it is there.

        Args:
            function: see `Function`.
            chunks: taken one by one as workers become free, so that there may be more than fit in memory.
            alone: at most one chunk at a time, so that one which kills its worker takes no other with it.
        """


class Serial(Backend):
    """In this process, one after the other."""

    name = "serial"

    def run(
        self, function: Function, chunks: Iterable[Any], *, alone: bool = False
    ) -> Iterator[tuple[Any, Any | Lost]]:
        """See `Backend.run`."""
        for chunk in chunks:
            yield chunk, function(chunk, None)


def resolve_backend(
    name: str = "serial",
    *,
    workers: int | None = None,
    devices: Sequence[str] = (),
    scheduler: str | None = None,
    slurm: Mapping[str, Any] | None = None,
) -> Backend:
    """A backend from its name and what it may be told.

    Args:
        name: of BACKENDS.
        workers: how many at a time; None: as many as there are cores or, with `slurm`, 100.
        devices: of `processes`: one worker for each, which uses that device.
        scheduler: of `dask`: address of a running scheduler; None: a cluster of its own on this machine.
        slurm: of `slurm`: parameters of submitit (`partition`, `time`, `gpus_per_node`, ...), and `cluster`: `slurm`, `local`
            or `debug`.

    Raises:
        ValueError: an unknown name, an option that belongs to another backend, or a package that is missing.
    """
    check_choice("backend", name, BACKENDS)
    if workers is not None:
        check_workers(workers)
    for option, value, owners in (
        ("workers", workers, ("processes", "slurm", "dask")),
        ("devices", devices, ("processes",)),
        ("scheduler", scheduler, ("dask",)),
        ("slurm", slurm, ("slurm",)),
    ):
        if value and name not in owners:
            raise ValueError(
                f"{option} must go with backend {' or '.join(owners)}, got it with {name}; drop it or name that backend."
            )
    if name == "processes":
        from quadsim.simulator.sweeps.backends.processes import Processes

        return Processes(workers, tuple(devices))
    if name == "slurm":
        _require("submitit", "slurm")
        from quadsim.simulator.sweeps.backends.slurm import Slurm

        return Slurm(workers, dict(slurm or {}))
    if name == "dask":
        _require("distributed", "dask")
        from quadsim.simulator.sweeps.backends.dask_cluster import DaskCluster

        return DaskCluster(workers, scheduler)
    return Serial()


def _require(package: str, name: str) -> None:
    """Find out whether an optional package is there.

    Raises:
        ValueError: it is not.
    """
    if importlib.util.find_spec(package) is None:
        raise ValueError(
            f"backend {name} must have the package {package}, got an installation without it; pip install 'quadsim[{name}]'."
        )


def usual_workers() -> int:
    """As many as there are cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
