"""Draw the figures of a sweep in a second process, which loads what it needs while the first one computes bounds.

Loading the libraries of figures and drawing takes as long as these, and the second core has nothing to do. The process is a
fresh one: a fork would inherit the threads of BLAS and of the kernels.
"""

import gc
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["GARBAGE", "Drawer", "allow_second_process", "drawer", "has_idle_core"]

_START = "from quadsim.cli.drawing import main; main()"

GARBAGE = 50_000
"""Objects made before Python looks for cycles among them: it would do so hundreds of times while libraries are imported."""

_allowed = [False]


def allow_second_process() -> None:
    """Allow `drawer` to start a process: this one is a command, and no process of somebody else that calls a command."""
    _allowed[0] = True


class Drawer:
    """A process that waits for the folder of a finished sweep, draws, and ends. It also ends where this one does.

    Attributes:
        is_asked: whether it was asked to `finish`.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self.is_asked = False

    def start(self) -> "subprocess.Popen[str]":
        """Start the process, unless it has been started, and let it load its libraries."""
        if self._process is not None:
            return self._process
        # -P: a module of the user's in the working directory does not stand in for one of a library. A group of its own: Ctrl-C
        # goes to the first process alone, which ends this one; it would print a traceback while Python starts.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        return self._process

    def begin(self, folder: Path, style: str) -> None:
        """Draw what can be drawn before the bounds of the sweep in the folder are known, and do not wait for it."""
        self._ask(folder, style, finished=False)

    def _ask(self, folder: Path, style: str, *, finished: bool) -> None:
        pipe = self.start().stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps({"folder": str(folder), "style": style, "finished": finished}) + "\n")
            pipe.flush()
        except BrokenPipeError:  # it has ended: `draw` reports what it said, or its exit code
            pass

    def finish(self, folder: Path, style: str) -> None:
        """Draw the figures that the folder of a finished sweep does not hold, and do not wait for them; see `wait`."""
        self.is_asked = True
        self._ask(folder, style, finished=True)

    def wait(self) -> str | None:
        """Wait until everything is drawn that `finish` asked for.

        Returns:
            What went wrong, in words; None if nothing did.
        """
        process = self.start()
        assert process.stdout is not None
        said = process.stdout.read().splitlines()
        code = process.wait()
        if code or not said:
            return f"the process that draws ended with exit code {code}"
        error: str | None = json.loads(said[-1])["error"]
        return error

    def close(self) -> None:
        """End the process, if it has been started."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


_LOAD = Path("/proc/loadavg")


def has_idle_core() -> bool:
    """Return whether a core of this machine has nothing to do now, as Linux tells; elsewhere it is not known, and False.

    The average load of a minute would not tell: it counts what has ended just before.
    """
    from quadsim.simulator.sweeps.backends import usual_workers

    try:
        running, _, _ = _LOAD.read_text().split()[3].partition("/")
    except OSError:  # no such file, or a sandbox that hides it
        return False
    return int(running) < usual_workers()  # this process runs, too


@contextmanager
def drawer(wanted: bool) -> Iterator[Drawer | None]:
    """A process that draws, not started yet; None where there is to be none, or where it would only take turns with this one."""
    from quadsim.simulator.sweeps.backends import usual_workers

    if not (wanted and _allowed[0] and usual_workers() > 1):
        yield None
        return
    found = Drawer()
    try:
        yield found
    finally:
        found.close()


def main() -> None:
    """In the second process: load, wait for a folder, draw."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    # From the start: loading takes seconds, and would go on as long where the first process has been killed.
    threading.Thread(target=_end_with_the_first, args=(lines,), daemon=True).start()
    gc.set_threshold(GARBAGE)
    draw = _loaded()
    finished, error = False, None
    while not finished and error is None:
        asked = json.loads(lines.get())
        finished = asked["finished"]
        try:
            draw(Path(asked["folder"]), asked["style"], finished)
        except Exception as problem:  # whatever it is, the first process reports it
            error = f"{type(problem).__name__}: {problem}"
    print(json.dumps({"error": error}), flush=True)
    os._exit(0)  # the thread waits for the first process, which waits for this one


def _end_with_the_first(lines: "queue.SimpleQueue[str]") -> None:
    """Hand on what the first process asks for, until it has ended, however it did: then nobody waits for the figures."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(1)


def _loaded() -> Callable[[Path, str, bool], None]:
    """What draws, with its libraries loaded; it is told whether the sweep is finished, or its bounds are still computed."""
    # Where Dask is installed, xarray imports all of it to recognise its arrays, of which there are none here. An entry without a
    # module has Python and xarray find none.
    sys.modules.setdefault("dask", None)  # type: ignore[arg-type]
    import matplotlib.artist
    import xarray

    # While it is imported, Matplotlib writes the properties of every class of artists into its documentation, from that of
    # their methods. This takes a tenth of the time of loading, and nobody reads it here.
    matplotlib.artist.kwdoc = lambda artist: ""
    from quadsim.cli.pages import draw_figures
    from quadsim.simulator.figures.style import chosen_style
    from quadsim.simulator.figures.sweep_figures import save_first_figures
    from quadsim.simulator.sweeps.results.results import Results

    # A data set imports what else is installed for its arrays.
    xarray.Dataset({"nothing": ("place", [0.0])})
    drawn: list[str] = []
    before: list[Results] = []

    def draw(folder: Path, style: str, finished: bool) -> None:
        with chosen_style(style):
            if finished:
                draw_figures(Results.load(folder, *before), drawn)
            else:
                before.append(Results.unfinished(folder))
                drawn.extend(save_first_figures(before[0]))

    return draw
