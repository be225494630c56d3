"""Runs sweeps in forks of one process that has everything loaded, so that many can be killed in little time.

A line of JSON in: what `run` is given. Lines out: the number of the process, then how it ended.
"""

import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

WRITES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def kill_at(moment: int, folder: str) -> list[int]:
    """Be killed as something is about to be opened, renamed, made or removed in the folder for the n-th time; or count."""
    seen = [0]

    def hook(event: str, arguments: tuple) -> None:
        if event in WRITES and folder in str(arguments[0]):
            seen[0] += 1
            if seen[0] == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return seen


def run(
    folder: str,
    config: dict,
    unit_bytes: float,
    moment: int = 0,
    after: float | None = None,
    largest: int = 0,
    user: int = 0,
    hold: bool = False,
    count: str = "",
) -> None:
    """A sweep; killed at a moment or after so many seconds, with files of so many bytes at most, as another user; or it never ends."""
    from quadsim.simulator import SweepConfig, sweep
    from quadsim.simulator.sweeps.work import quadratics as work
    from quadsim.theory import judge

    work.UNIT_BYTES = unit_bytes
    seen = kill_at(moment, folder) if moment or count else [0]
    if after is not None:
        killer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL))
        killer.daemon = True
        killer.start()
    if largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    if hold:
        left, real = iter(range(3)), work.simulate_optimizer
        work.simulate_optimizer = lambda *a, **o: real(*a, **o) if next(left, None) is not None else time.sleep(600)
    if user and os.getuid() == 0:
        os.setuid(user)
    sweep(SweepConfig(**config), judge, out=Path(folder))
    if count:
        Path(count).write_text(str(seen[0]))


if __name__ == "__main__":
    from quadsim.simulator.figures import sweep_figures as figures

    # Drawing takes most of the time of a small sweep.
    figures.save_figures = lambda results, folder, **_: folder.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as anywhere
    ):  # in the closed form, which starts no threads that a fork would miss
        grid = {"optimizers": ("gd", "heavy-ball"), "heterogeneity": (2,), "lr": (0.1,), "seeds": 2, "steps": 9}
        run(f"{anywhere}/a", grid, 1e9)
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                run(**json.loads(line))
            except ValueError as error:
                print(error, file=sys.stderr, flush=True)
                os._exit(2)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
