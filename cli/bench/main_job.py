"""Measure the main job, `quadsim sweep --heterogeneity 1,10,100`: processor time until its answer stands, and of all of it.

Seconds of a processor depend less than those of a clock on what else a machine does. Those of the whole are of all processes
together, those until the answer of the process that prints it.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quadsim.cli.text.numbers import spread
from quadsim.simulator.support.kept import CACHE_VARIABLE

__all__ = ["MAIN_JOB", "MainJob", "main_job_text", "measure_main_job"]

MAIN_JOB = ("sweep", "--heterogeneity", "1,10,100")

_MARK = "processor seconds until the answer: "

_MEASURED = f"""
import os, sys
import quadsim.cli.text.stored_table as text
from quadsim.cli import main
shows = text.print_answer
def print_answer(*arguments, **options):
    shows(*arguments, **options)
    sys.stdout.flush()
    print({_MARK!r} + str(sum(os.times()[:4])), file=sys.stderr)
text.print_answer = print_answer
sys.argv = ["quadsim", *sys.argv[1:]]
main()
"""
"""The command in a process of its own."""


@dataclass(frozen=True)
class MainJob:
    """What one run of the main job took.

    Attributes:
        figures: whether figures and report were made.
        first: whether its cache was empty, as in a new installation.
        answer_seconds: processor time of the process that printed the answer, until then. On a machine with an idle core the
            process that draws loads its libraries meanwhile, which is counted in `seconds` alone.
        seconds: processor time of the whole, all processes together.
        wall_seconds: of the whole, by the clock.
    """

    figures: bool
    first: bool
    answer_seconds: float
    seconds: float
    wall_seconds: float


def measure_main_job(rounds: int, progress: Callable[[str], None]) -> list[MainJob]:
    """Run the main job for the first time and then `rounds` times each with and without figures, in turns.

    Args:
        rounds: how often, at least 1.
        progress: is told what begins.
    """
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "cache").mkdir(mode=0o700)
        kinds = [(True, True), *[(figures, False) for _ in range(rounds) for figures in (True, False)]]
        for number, (figures, first) in enumerate(kinds):
            progress(f"main job, {'first run' if first else 'later run'}{'' if figures else ' without figures'}")
            found.append(_run(folder, number, figures=figures, first=first))
    return found


def _run(folder: Path, number: int, *, figures: bool, first: bool) -> MainJob:
    """Run the main job in a process of its own.

    Raises:
        RuntimeError: it failed.
    """
    options = [*MAIN_JOB, "--out", str(folder / str(number)), *([] if figures else ["--no-figures"])]
    before, begin = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", "-c", _MEASURED, *options],
        env={**os.environ, CACHE_VARIABLE: str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - begin, os.times()
    marked = [line for line in done.stderr.splitlines() if line.startswith(_MARK)]
    if done.returncode or len(marked) != 1:
        raise RuntimeError(f"the main job ended with exit code {done.returncode}: {done.stderr.strip()[-300:]}")
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return MainJob(figures, first, float(marked[0].removeprefix(_MARK)), seconds, wall)


def main_job_text(found: list[MainJob]) -> str:
    """Return what was measured, a line for each kind of run."""
    lines = [f"quadsim {' '.join(MAIN_JOB)}"]
    for figures, first in dict.fromkeys((one.figures, one.first) for one in found):
        own = [one for one in found if (one.figures, one.first) == (figures, first)]
        answer, whole, wall = (
            spread(np.array([getattr(one, name) for one in own]))
            for name in ("answer_seconds", "seconds", "wall_seconds")
        )
        kind = f"{'first run' if first else 'later run'}{'' if figures else ' without figures'}"
        lines.append(
            f"{kind}: the answer after {answer} s of processor time; all of it {whole} s, {wall} s by the clock."
        )
    return "\n".join([*lines, "Median of the rounds [least, largest]; of the whole, all processes together."])
