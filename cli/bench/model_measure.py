"""Time ways to train models: every round runs all ways in turn, as in `measure.py`."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.cli.bench.measure import _best_of_threads, _device_peak, _seconds
from quadsim.cli.bench.model_ways import LOOPED_INSTANCES, MODEL_WAYS, ModelWork, why_not_model

__all__ = ["ModelComparison", "compare_models"]


@dataclass(frozen=True)
class ModelComparison:
    """The times of one training work with several ways.

    Attributes:
        work: the work.
        seconds: way to the time of every round; the time of the Python loop is scaled up to all instances.
        left_out: way to the reason why it did not run.
        memory: way to its additional peak memory in bytes; NaN if the system does not report it.
        difference: way to the largest relative difference of its first losses from those of quadsim.
    """

    work: ModelWork
    seconds: Mapping[str, NDArray[np.float64]]
    left_out: Mapping[str, str]
    memory: Mapping[str, float]
    difference: Mapping[str, float]

    def speed(self, way: str) -> NDArray[np.float64]:
        """Return the time of the loop over modules divided by that of this way, round by round."""
        ratios: NDArray[np.float64] = self.seconds["module loop"] / self.seconds[way]
        return ratios

    def instance_steps(self, way: str) -> float:
        """Return the steps of single instances per second, the median over rounds."""
        return float(np.median(self.work.instances * self.work.steps / self.seconds[way]))


def compare_models(
    work: ModelWork,
    *,
    rounds: int = 5,
    ways: Iterable[str] = tuple(MODEL_WAYS),
    progress: Callable[[str], None] = lambda text: None,
) -> ModelComparison:
    """Time every way that can do the work, after one run of each that is not timed (it compiles).

    Args:
        work: the work.
        rounds: number of timed runs of each way.
        ways: names in MODEL_WAYS; quadsim and the loop are always included.
        progress: called with the name of the next part.
    """
    names = [name for name in MODEL_WAYS if name in {*ways, "ours", "module loop"}]
    left_out = {name: reason for name in names if (reason := why_not_model(name, work)) is not None}
    prepared: dict[str, Callable[[], Any]] = {}
    losses, peaks = {}, {}
    for name in (name for name in names if name not in left_out):
        progress(f"{work.name}: {name}, first run")
        prepared[name] = MODEL_WAYS[name](work)
        losses[name] = prepared[name]()
        peaks[name] = _own_process_peak(name, work) if work.device == "cpu" else _peak(name, prepared[name])
    seconds: dict[str, list[float]] = {name: [] for name in prepared}
    for number in range(rounds):
        progress(f"{work.name}: round {number + 1} of {rounds}")
        for name, run in prepared.items():
            time = _best_of_threads if name in _TORCH_WAYS else _seconds
            seconds[name].append(time(run, work.device))
    few = min(LOOPED_INSTANCES, work.instances)
    scale = {"module loop": work.instances / few}
    return ModelComparison(
        work=work,
        seconds={name: np.array(times) * scale.get(name, 1.0) for name, times in seconds.items()},
        left_out=left_out,
        memory=peaks,
        difference={
            name: float(np.max(np.abs(found[:few, :_EARLY] / losses["ours"][:few, :_EARLY] - 1.0)))
            for name, found in losses.items()
            if name != "ours"
        },
    )


_TORCH_WAYS = ("module loop", "vmap(grad)")  # with one thread or all, whichever is faster
_EARLY = 10  # steps whose losses are compared: later ones part by rounding


def _peak(name: str, run: Callable[[], Any]) -> float:
    torch.cuda.empty_cache()
    return _device_peak(name, run)


def _own_process_peak(name: str, work: ModelWork) -> float:
    """Return the additional peak memory of a way in a process of its own, in bytes; NaN if the system does not report it."""
    code = (
        "import json, sys; from quadsim.cli.bench.model_ways import MODEL_WAYS, ModelWork\n"
        "import quadsim.simulator.engines.kernels.cpu_run\n"
        "if sys.argv[1] == 'jax': import jax, optax; jax.numpy.zeros(1)\n"
        "work = ModelWork(**json.loads(sys.argv[2])); work.problem\n"
        "peak = lambda: int(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1])\n"
        "before = peak(); MODEL_WAYS[sys.argv[1]](work)(); print(peak() - before)"
    )
    found = subprocess.run([sys.executable, "-c", code, name, json.dumps(asdict(work))], capture_output=True, text=True)
    known = found.returncode == 0 and sys.platform == "linux"
    return float(found.stdout.split()[-1]) * 1024.0 if known else float("nan")
