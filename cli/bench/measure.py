"""Timing: all ways take turns within every round, so that what else the machine does meets all of them alike."""

import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.cli.bench.ceilings import Ceiling, measure_ceiling
from quadsim.cli.bench.ways import LOOPED_RUNS, WAYS, Work, why_not
from quadsim.simulator.engines import simulate

__all__ = ["Comparison", "Slope", "compare", "compare_closed_form", "measure_slope"]

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """One work through several ways.

    Attributes:
        work: what was run.
        seconds: way to the time of every round; of the Python loop, scaled up to all runs.
        left_out: way to the reason why it did not run.
        memory: way to the peak memory beyond what was there before, in bytes, where it was asked for; NaN where it cannot be
            told. On a CPU it holds what compiling takes.
        ceilings: of every round.
        difference: way to the median relative difference of its last gaps from ours; NaN where they cannot be compared.
    """

    work: Work
    seconds: Mapping[str, NDArray[np.float64]]
    left_out: Mapping[str, str]
    memory: Mapping[str, float]
    ceilings: tuple[Ceiling, ...]
    difference: Mapping[str, float]

    def ratios(self, way: str) -> NDArray[np.float64]:
        """Its time over ours, round by round."""
        ratios: NDArray[np.float64] = self.seconds[way] / self.seconds["ours"]
        return ratios

    @property
    def run_steps(self) -> float:
        """Ours: steps of single runs a second, median."""
        return float(np.median(self.work.runs * self.work.steps / self.seconds["ours"]))

    @property
    def shares(self) -> NDArray[np.float64]:
        """Ours: share of the ceiling measured in the same round."""
        most = np.array([c.coordinate_steps(self.work.rule, self.work.block_size) for c in self.ceilings])
        shares: NDArray[np.float64] = self.work.coordinate_steps / self.seconds["ours"] / most
        return shares


@dataclass(frozen=True)
class Slope:
    """How the time of ours grows with one number: medians of seconds at its values, and the slope between logarithms."""

    quantity: str
    values: tuple[int, ...]
    seconds: tuple[float, ...]
    slope: float


def compare(
    work: Work,
    *,
    rounds: int = 5,
    ways: Iterable[str] = tuple(WAYS),
    memory: bool = False,
    progress: Progress = lambda text: None,
) -> Comparison:
    """Time every way that can do the work.

    Args:
        work: what to run.
        rounds: how often each way runs, after one run that is not timed (it compiles).
        ways: names in WAYS; ours is always among them.
        memory: also measure each way's peak memory, on a CPU in a process of its own.
        progress: told what comes next.
    """
    names = [name for name in WAYS if name in {*ways, "ours"}]
    left_out = {name: reason for name in names if (reason := why_not(name, work)) is not None}
    prepared: dict[str, Callable[[], NDArray[np.float64]]] = {}
    results, peaks = {}, {}
    for name in names:
        if name in left_out:
            continue
        progress(f"{work.name}: {name}, first run")
        prepared[name] = WAYS[name](work)
        results[name] = prepared[name]()  # compiles
        if memory:
            progress(f"{work.name}: {name}, memory")
            peaks[name] = _own_process_peak(name, work) if work.device == "cpu" else _device_peak(name, prepared[name])
    seconds: dict[str, list[float]] = {name: [] for name in prepared}
    ceilings = []
    for number in range(rounds):
        progress(f"{work.name}: round {number + 1} of {rounds}")
        ceilings.append(measure_ceiling(work.dtype, work.device))
        for name, run in prepared.items():
            seconds[name].append(
                _best_of_threads(run, work.device) if name == "torch batched" else _seconds(run, work.device)
            )
    scale = {"torch.optim loop": work.runs / LOOPED_RUNS}
    return Comparison(
        work=work,
        seconds={name: np.array(times) * scale.get(name, 1.0) for name, times in seconds.items()},
        left_out=left_out,
        memory=peaks,
        ceilings=tuple(ceilings),
        difference={name: _difference(found, results["ours"]) for name, found in results.items() if name != "ours"},
    )


def measure_slope(work: Work, quantity: str, *, doublings: int = 2, rounds: int = 3) -> Slope:
    """Time ours at a number and its doubles.

    Args:
        work: the smallest.
        quantity: `problems`, `settings`, `steps` or `block_size`.
        doublings: how many.
        rounds: all sizes take turns so often.
    """
    values = tuple(getattr(work, quantity) * 2**k for k in range(doublings + 1))
    runs = [WAYS["ours"](replace(work, **{quantity: value})) for value in values]
    for run in runs:
        run()
    times = np.array([[_seconds(run, work.device) for run in runs] for _ in range(rounds)])
    medians = np.median(times, axis=0)
    slope = float(np.polyfit(np.log(values), np.log(medians), 1)[0])
    return Slope(quantity, values, tuple(medians.tolist()), slope)


def compare_closed_form(*, rounds: int = 5, problems: int = 32, settings: int = 64) -> NDArray[np.float64]:
    """Time of 10^9 steps of GD over that of 10^3, round by round, (rounds,): the closed form takes any step at once."""
    work = Work("gd", 3, 3, problems=problems, settings=settings)

    def run(steps: int) -> Callable[[], Any]:
        return lambda: simulate(work.problem, "gd", lr=work.rates, steps=steps, record=steps, engine="closed-form")

    short, long = run(10**3), run(10**9)
    short(), long()
    return np.array([_seconds(long, "cpu") / _seconds(short, "cpu") for _ in range(rounds)])


def _seconds(run: Callable[[], Any], device: str) -> float:
    gc.collect()
    if device != "cpu":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _best_of_threads(run: Callable[[], Any], device: str) -> float:
    """Torch with all its threads or with one, whichever is faster: on small tensors threads can cost more than they bring."""
    times = [_seconds(run, device)]
    threads = torch.get_num_threads()
    if device == "cpu" and threads > 1:
        torch.set_num_threads(1)
        try:
            times.append(_seconds(run, device))
        finally:
            torch.set_num_threads(threads)
    return min(times)


def _own_process_peak(name: str, work: Work) -> float:
    """Peak resident memory that a way adds in a process of its own, in bytes; NaN where the system does not say.

    In this process what an earlier way has freed would be used again and not be seen.
    """
    code = (
        "import json, sys; from quadsim.cli.bench.ways import WAYS, Work\n"
        "import quadsim.simulator.engines.kernels.cpu_run, scipy.linalg\n"
        "work = Work(**json.loads(sys.argv[2])); work.problem\n"
        "if sys.argv[1] == 'jax scan': import jax, optax; jax.numpy.zeros(1)\n"
        # The high-water mark since this program began; getrusage would count what its parent had.
        "peak = lambda: int(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1])\n"
        "before = peak(); WAYS[sys.argv[1]](work)(); print(peak() - before)"
    )
    found = subprocess.run([sys.executable, "-c", code, name, json.dumps(asdict(work))], capture_output=True, text=True)
    return (
        float(found.stdout.split()[-1]) * 1024.0 if found.returncode == 0 and sys.platform == "linux" else float("nan")
    )


def _device_peak(name: str, run: Callable[[], Any]) -> float:
    """Peak memory on a GPU beyond what was there before; JAX has an allocator of its own that torch does not see."""
    if name == "jax scan":
        return float("nan")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return float(torch.cuda.max_memory_allocated() - before)


def _difference(theirs: NDArray[np.float64], ours: NDArray[np.float64]) -> float:
    part = ours[: theirs.shape[0], : theirs.shape[1]]
    if theirs.shape[0] < ours.shape[0] and theirs.shape[0] != 1:
        return float("nan")
    with np.errstate(all="ignore"):
        return float(np.median(np.abs(theirs / part - 1.0)))
