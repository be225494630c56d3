"""Run torch operations with one thread each, in several Python threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import TypeVar

import torch

__all__ = ["in_threads", "own_threads"]

ItemT = TypeVar("ItemT")
FoundT = TypeVar("FoundT")

_threads: ContextVar[int | None] = ContextVar("threads", default=None)  # number of Python threads, within `own_threads`


class _Usual:
    """The number of torch threads outside `own_threads`, and the number of callers that are inside now."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._number = self._callers = 0

    def enter(self) -> int:
        with self._lock:
            if self._callers == 0:
                self._number = torch.get_num_threads()
            self._callers += 1
            torch.set_num_threads(1)
            return self._number

    def leave(self) -> None:
        with self._lock:
            self._callers -= 1
            torch.set_num_threads(self._number)


_usual = _Usual()


@contextmanager
def own_threads() -> Iterator[None]:
    """Use one torch thread per operation inside this context; `in_threads` then uses Python threads.

    It may be nested, and entered by several threads at once. Torch's own threads wait for each other after every operation, which
    on a busy machine takes twenty times as long. They also split the matrices of a single instance, which changes its last bits.
    """
    if _threads.get() is not None:  # nested, or in a thread of `in_threads`
        yield
        return
    token = _threads.set(_usual.enter())
    try:
        yield
    finally:
        _threads.reset(token)
        _usual.leave()


def in_threads(work: Callable[[ItemT], FoundT], items: Iterable[ItemT]) -> list[FoundT]:
    """Return `work(item)` for all items, in order,, in as many threads as torch had before `own_threads`."""
    items, threads = list(items), _threads.get() or 1
    if min(threads, len(items)) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads, initializer=_alone) as pool:
        return list(pool.map(work, items))


def _alone() -> None:
    torch.set_num_threads(1)
    _threads.set(1)
