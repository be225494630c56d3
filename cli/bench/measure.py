"""Time ways to do the same work: every round runs all ways in turn, so that other load affects all of them alike."""

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
    """The times of one work with several ways.

    Attributes:
        work: the work.
        seconds: way to the time of every round; the time of the Python loop is scaled up to all runs.
        left_out: way to the reason why it did not run.
        memory: way to its additional peak memory in bytes, if it was measured; NaN if the system does not report it. On a CPU it
            includes the memory of compiling.
        ceilings: the peak rates in every round.
        difference: way to the median relative difference of its last gaps from those of quadsim; NaN if not comparable. On a
            stream it is that of the medians over the problems, as draws differ.
    """

    work: Work
    seconds: Mapping[str, NDArray[np.float64]]
    left_out: Mapping[str, str]
    memory: Mapping[str, float]
    ceilings: tuple[Ceiling, ...]
    difference: Mapping[str, float]

    def ratios(self, way: str) -> NDArray[np.float64]:
        """Return the time of a way over that of quadsim, round by round."""
        ratios: NDArray[np.float64] = self.seconds[way] / self.seconds["ours"]
        return ratios

    @property
    def run_steps(self) -> float:
        """Steps of single runs per second of quadsim, the median over rounds."""
        return float(np.median(self.work.runs * self.work.steps / self.seconds["ours"]))

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of the peak rate of the same round that quadsim reaches, round by round; NaN on a stream, which has none."""
        if self.work.batch:
            return np.full(len(self.ceilings), np.nan)
        most = np.array([c.coordinate_steps(self.work.rule, self.work.block_size) for c in self.ceilings])
        shares: NDArray[np.float64] = self.work.coordinate_steps / self.seconds["ours"] / most
        return shares


@dataclass(frozen=True)
class Slope:
    """The growth of quadsim's time with one number: median seconds at its values, and the slope between logarithms."""

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
        work: the work.
        rounds: number of timed runs of each way, after one run that is not timed (it compiles).
        ways: names in WAYS; that of quadsim is always included.
        memory: whether the peak memory of each way is measured too, on a CPU in a process of its own.
        progress: called with the name of the next part.
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
        difference={
            name: _difference(*_in_law(work, found, results["ours"]))
            for name, found in results.items()
            if name != "ours"
        },
    )


def measure_slope(work: Work, quantity: str, *, doublings: int = 2, rounds: int = 3) -> Slope:
    """Time quadsim at a number and its doubles.

    Args:
        work: the smallest work.
        quantity: `problems`, `settings`, `steps` or `block_size`.
        doublings: number of doublings.
        rounds: number of rounds; each runs all sizes in turn.
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
    """Return the time of 10^9 steps of GD over that of 10^3, (rounds,): the closed form evaluates any step directly."""
    work = Work("gd", 3, 3, problems=problems, settings=settings)

    def run(steps: int) -> Callable[[], Any]:
        return lambda: simulate(work.problem, "gd", lr=work.rates, steps=steps, record=steps, engine="closed-form")

    short, long = run(10**3), run(10**9)
    short(), long()
    return np.array([_seconds(long, "cpu") / _seconds(short, "cpu") for _ in range(rounds)])


def _in_law(work: Work, found: NDArray[np.float64], ours: NDArray[np.float64]) -> tuple[Any, ...]:
    """Return two results to compare, (M, K): themselves, or, where draws differ, their medians over the problems, (1, K)."""
    return tuple(np.median(gaps, axis=0, keepdims=True) if work.batch else gaps for gaps in (found, ours))


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
    """Return the faster of torch with all threads and torch with one; on small tensors several threads can be slower."""
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
    """Return the additional peak memory of a way in a process of its own, in bytes; NaN if the system does not report it.

    In this process, memory that an earlier way has freed would be reused and would not be counted.
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
    """Return the additional peak memory on a GPU; JAX has an allocator of its own, which torch does not measure."""
    if name.startswith("jax"):
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
