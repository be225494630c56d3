"""A cluster of dask.distributed: one that runs already, or one of its own on this machine."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from quadsim.simulator.sweeps.backends import Backend, Function, Lost, usual_workers

__all__ = ["DaskCluster"]


class DaskCluster(Backend):
    """Workers of a Dask scheduler. They must see the folder of the sweep under the same path.

    The scheduler gives the chunk of a worker that died to another one by itself.
    """

    name = "dask"

    def __init__(self, workers: int | None = None, scheduler: str | None = None) -> None:
        if scheduler is not None and workers is not None:
            raise ValueError(
                "workers must be left out with scheduler, which has its own, got both; drop one of the two."
            )
        self._workers, self._scheduler = workers or usual_workers(), scheduler
        self._client: Any = None

    @contextmanager
    def started(self, folder: Path) -> Iterator[None]:
        """See `Backend.started`.

        Raises:
            ValueError: no scheduler answers, it has no workers, or none can be started.
        """
        from distributed import Client
        from distributed.comm import parse_address
        from distributed.comm.registry import get_backend

        # No client becomes the default of this process, which belongs to the user. An unknown scheme is refused before there is
        # a client, as one that cannot even begin to connect takes a minute to close.
        with ExitStack() as stack:
            if self._scheduler is None:
                cluster = stack.enter_context(_own_cluster(self._workers))
                self._client = stack.enter_context(Client(cluster, set_as_default=False))
            else:
                try:
                    get_backend(parse_address(self._scheduler)[0])
                    self._client = stack.enter_context(Client(self._scheduler, timeout=10, set_as_default=False))
                    self._client.wait_for_workers(1, timeout=60)
                except (OSError, ValueError) as error:
                    raise ValueError(
                        "scheduler must be the address of a Dask scheduler with workers, as tcp://host:8786, got "
                        f"{self._scheduler!r} ({error}); start one with dask scheduler, or leave it out."
                    ) from error
            yield

    def run(
        self, function: Function, chunks: Iterable[Any], *, alone: bool = False
    ) -> Iterator[tuple[Any, Any | Lost]]:
        """See `Backend.run`."""
        from distributed import as_completed

        source = iter(chunks)
        at_once = 1 if alone else 2 * max(1, sum(self._client.nthreads().values()))
        out: dict[Any, Any] = {}
        waiting = as_completed(loop=self._client.loop)

        def hand_out() -> None:
            for chunk in source:
                future = self._client.submit(function, chunk, None, pure=False)
                out[future] = chunk
                waiting.add(future)
                return

        for _ in range(at_once):
            hand_out()
        while out:
            future = next(waiting)
            chunk = out.pop(future)
            if future.status == "finished":
                found = future.result()
            else:
                found = Lost(
                    f"{type(future.exception()).__name__}: {future.exception()}"
                    if future.status == "error"
                    else future.status
                )
            hand_out()
            yield chunk, found


def _own_cluster(workers: int) -> Any:
    """A cluster on this machine; a worker that dies while it starts takes the start along, so that it is tried again.

    Raises:
        ValueError: it does not start.
    """
    from distributed import LocalCluster

    from quadsim.simulator.sweeps.backends.processes import check_processes

    check_processes("dask")  # without semaphores every worker dies as it starts, however few there are

    share = str(max(1, usual_workers() // workers))
    threads = {name: share for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    attempts = 3
    while True:
        try:
            return LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=":0", env=threads, silence_logs="CRITICAL"
            )
        except RuntimeError as error:
            attempts -= 1
            if not attempts:
                raise ValueError(
                    f"workers of dask must start, got {error} three times with {workers}; use fewer workers."
                ) from error
