"""Show progress on stderr: as a bar in a terminal, as lines at intervals in a file or a pipe."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Shown", "progress_bar"]

LINE_EVERY = 30.0
"""Seconds between two lines if stderr is not a terminal."""


class Shown:
    """Progress as it is shown; called with (done, total, text), it shows them.

    Args:
        move: shows them.
        bar: the bar in a terminal, if there is one.
    """

    def __init__(self, move: Callable[[int, int, str], None], bar: "Progress | None" = None) -> None:
        self._move, self._bar = move, bar

    def __call__(self, done: int, total: int, text: str) -> None:
        """Show how many of how many are done."""
        self._move(done, total, text)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Within it there is no bar, which would take the lines that are printed for its own."""
        if self._bar is not None:
            self._bar.stop()
        yield
        if self._bar is not None:
            self._bar.start()


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Shown]:
    """Yield what shows progress; with `quiet` it does nothing.

    Without a terminal a line is written every LINE_EVERY seconds, also if nothing has changed: a log without new lines looks
    like a process that hangs.
    """
    console = Console(stderr=True)
    if quiet:
        yield Shown(lambda done, total, text: None)
    elif not console.is_terminal:
        with _lines() as move:
            yield move
    else:
        with _bar(console) as move:
            yield move


@contextmanager
def _lines() -> Iterator[Shown]:
    began, over, state = time.monotonic(), threading.Event(), [""]

    def move(done: int, total: int, text: str) -> None:
        state[0] = f": {done:,} of {total:,}, {text}" if text else f": {done:,} of {total:,}"

    def report() -> None:
        while not over.wait(LINE_EVERY):
            print(f"Running for {_duration(time.monotonic() - began)}{state[0]}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield Shown(move)
    finally:
        over.set()
        thread.join()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


@contextmanager
def _bar(console: Console) -> Iterator[Shown]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def move(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=text)

        yield Shown(move, bar)
