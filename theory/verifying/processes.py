"""Share work among processes: functions of this module's callers that are known by name, with arguments that are plain data."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from quadsim.simulator.support.checks import check_workers
from quadsim.simulator.sweeps.backends.processes import why_no_processes

__all__ = ["in_processes"]

_log = logging.getLogger(__name__)

T = TypeVar("T")


def in_processes(function: Callable[..., T], tasks: Iterable[tuple[Any, ...]], workers: int) -> Iterator[T]:
    """Yield the results of a function for every tuple of arguments, in their order.

    With one worker everything is computed in this process. Otherwise a worker takes one task at a time and uses one thread.

    Args:
        function: a function at the top of a module, so that a process finds it by its name.
        tasks: its arguments.
        workers: number of processes.

    Raises:
        ValueError: fewer than one worker.
    """
    alone = check_workers(workers) == 1
    if not alone and (reason := why_no_processes()) is not None:
        _log.warning("worker processes cannot be started here (%s); everything runs in this process.", reason)
        alone = True
    if alone:
        yield from (function(*arguments) for arguments in tasks)
        return
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped")  # it is replaced where its memory has grown
        yield from Parallel(n_jobs=workers, return_as="generator", batch_size=1, pre_dispatch=2 * workers)(
            delayed(function)(*arguments) for arguments in tasks
        )
