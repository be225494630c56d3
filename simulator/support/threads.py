"""Threads of our own around operations of one thread each."""

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

_threads: ContextVar[int | None] = ContextVar("threads", default=None)  # how many are ours, within `own_threads`


class _Usual:
    """How many threads torch has where nobody has changed it, and how many callers have it changed now."""

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
    """One thread within each operation, and threads of our own around them.

    It may be nested, and entered by several threads at once. Those of torch wait for each other after every operation, which on
    a busy machine takes twenty times as long; and they split the matrices of an instance that is alone.
    """
    if _threads.get() is not None:  # nested, or within a thread of ours
        yield
        return
    token = _threads.set(_usual.enter())
    try:
        yield
    finally:
        _threads.reset(token)
        _usual.leave()


def in_threads(work: Callable[[ItemT], FoundT], items: Iterable[ItemT]) -> list[FoundT]:
    """Work on all items, in as many threads as torch had before `own_threads`."""
    items, threads = list(items), _threads.get() or 1
    if min(threads, len(items)) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads, initializer=_alone) as pool:
        return list(pool.map(work, items))


def _alone() -> None:
    torch.set_num_threads(1)
    _threads.set(1)
