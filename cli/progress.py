"""Show progress on stderr: as a bar in a terminal, as lines at intervals in a file or a pipe."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["progress_bar"]

LINE_EVERY = 30.0
"""Seconds between two lines if stderr is not a terminal."""


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """Yield a function of (done, total, text) that updates the bar; with `quiet` it does nothing.

    Without a terminal a line is written every LINE_EVERY seconds, also if nothing has changed: a log without new lines looks
    like a process that hangs.
    """
    console = Console(stderr=True)
    if quiet:
        yield lambda done, total, text: None
    elif not console.is_terminal:
        with _lines() as move:
            yield move
    else:
        with _bar(console) as move:
            yield move


@contextmanager
def _lines() -> Iterator[Callable[[int, int, str], None]]:
    began, over, state = time.monotonic(), threading.Event(), [""]

    def move(done: int, total: int, text: str) -> None:
        state[0] = f": {done:,} of {total:,}, {text}" if text else f": {done:,} of {total:,}"

    def report() -> None:
        while not over.wait(LINE_EVERY):
            print(f"Running for {_duration(time.monotonic() - began)}{state[0]}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield move
    finally:
        over.set()
        thread.join()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[int, int, str], None]]:
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

        yield move
