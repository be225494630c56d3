"""Processes on this machine, through joblib; one for each device where devices are named."""

import multiprocessing
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

from quadsim.simulator.support.devices import check_device
from quadsim.simulator.sweeps.backends import Backend, Function, Lost, usual_workers

__all__ = ["Processes", "check_processes", "why_no_processes"]


def why_no_processes() -> str | None:
    """Why worker processes cannot be started here; None if they can.

    Python's processes share semaphores, which Linux keeps in /dev/shm: a container may have that read-only or full.
    """
    try:
        multiprocessing.get_context("spawn").Lock()
    except (OSError, ImportError) as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


def check_processes(backend: str) -> None:
    """Refuse a backend that starts worker processes on this machine where there can be none.

    Raises:
        ValueError: a system on which processes cannot share anything.
    """
    reason = why_no_processes()
    if reason is not None:
        raise ValueError(
            f"backend {backend} must have semaphores, on Linux a /dev/shm that can be written, got none ({reason}); use "
            "backend serial, or mount /dev/shm with room."
        )


class Processes(Backend):
    """Worker processes of loky, which joblib starts, gives their share of the cores, and uses again.

    Where one is killed, loky ends the others of its pool as well; the next pool goes on with what is missing.
    """

    name = "processes"

    def __init__(self, workers: int | None = None, devices: tuple[str, ...] = ()) -> None:
        for device in devices:
            check_device(device)
        if devices and workers not in (None, len(devices)):
            raise ValueError(
                f"workers must be left out with devices, each of which has one, got {workers} for {len(devices)} devices; "
                "drop one of the two."
            )
        self.devices = devices
        self._workers = len(devices) or workers or usual_workers()
        self._claims = Path()

    @contextmanager
    def started(self, folder: Path) -> Iterator[None]:
        """See `Backend.started`.

        Raises:
            ValueError: a system on which processes cannot share anything.
        """
        check_processes(self.name)
        with tempfile.TemporaryDirectory(prefix="quadsim-devices-") as claims:
            self._claims = Path(claims)
            try:
                yield
            finally:
                get_reusable_executor().shutdown(wait=True, kill_workers=True)

    def run(
        self, function: Function, chunks: Iterable[Any], *, alone: bool = False
    ) -> Iterator[tuple[Any, Any | Lost]]:
        """See `Backend.run`.

        Raises:
            ValueError: workers cannot make out what they are given.
        """
        source = _Source(iter(chunks))
        at_once = 1 if alone else self._workers
        while not source.is_empty:
            # With one job joblib would stay in this process, which a chunk could then kill.
            pool = Parallel(
                n_jobs=max(self._workers, 2),
                backend="loky",
                batch_size=1,
                pre_dispatch=at_once,
                return_as="generator_unordered",
            )
            call = delayed(_on_a_device)
            feed = source.feed()
            try:
                for number, found in pool(
                    call(self.devices, self._claims, function, number, chunk) for number, chunk in feed
                ):
                    yield source.done(number), found
            except TerminatedWorkerError as error:
                reason = f"{type(error).__name__}: a worker process died, killed or out of memory"
                for chunk in source.lost():
                    yield chunk, Lost(reason)
            except BrokenProcessPool as error:
                raise ValueError(
                    "judge and classes of optimizers must be such that worker processes can import them, got one they "
                    f"cannot ({error.__cause__ or error}); put it in a module that is installed, or use backend serial."
                ) from error


class _Source:
    """Chunks to be handed out, and those that are with workers: joblib asks for the next one from a thread of its own."""

    def __init__(self, chunks: Iterator[Any]) -> None:
        self._chunks, self._lock = chunks, threading.Lock()
        self._out: dict[int, Any] = {}
        self._number, self._round = 0, 0
        self.is_empty = False

    def feed(self) -> Iterator[tuple[int, Any]]:
        """Yield every chunk with its number, until there are none or the pool is broken."""
        current = self._round
        while True:
            with self._lock:
                if current != self._round:
                    return
                try:
                    chunk = next(self._chunks)
                except StopIteration:
                    self.is_empty = True
                    return
                number, self._number = self._number, self._number + 1
                self._out[number] = chunk
            yield number, chunk

    def done(self, number: int) -> Any:
        with self._lock:
            return self._out.pop(number)

    def lost(self) -> list[Any]:
        """What was with the workers of a broken pool."""
        with self._lock:
            self._round += 1
            out, self._out = list(self._out.values()), {}
            return out


_claimed: dict[Path, tuple[str, FileLock]] = {}
"""In a worker: the device it has taken, by the folder of the locks; the kernel lets go of it when the process ends."""


def _on_a_device(
    devices: tuple[str, ...], folder: Path, function: Function, number: int, chunk: Any
) -> tuple[int, Any]:
    """In a worker: call the function with the device of this process.

    Of several devices a worker keeps the one it has taken. A single one is taken for a chunk: joblib has two workers
    then, and the other would wait for it forever.
    """
    if not devices:
        return number, function(chunk, None)
    while folder not in _claimed:
        for position, device in enumerate(devices):
            lock = FileLock(folder / f"{position}.lock", timeout=0, thread_local=False)
            with suppress(Timeout):
                lock.acquire()
                _claimed[folder] = (device, lock)
                break
        else:  # a worker that is ending, or has another chunk, holds it still
            time.sleep(0.01)
    device, lock = _claimed[folder]
    try:
        return number, function(chunk, device)
    finally:
        if len(devices) == 1:
            del _claimed[folder]
            lock.release()
