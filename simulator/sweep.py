"""sweep: a grid of problems, optimizers and learning rates, in units that fit in memory, to results on disk."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from quadsim.simulator import store
from quadsim.simulator.model_sweep import ModelSweepConfig
from quadsim.simulator.model_work import ModelWork
from quadsim.simulator.provenance import provenance
from quadsim.simulator.quadratic_work import QuadraticWork
from quadsim.simulator.results import Results
from quadsim.simulator.sweep_config import SweepConfig
from quadsim.simulator.sweep_grid import FIRST_DECADES, OptimizerSpec, SweepGrid
from quadsim.simulator.sweep_rows import KeptHistograms, KeptRows
from quadsim.simulator.sweep_units import first_range, number_of_units, units_of
from quadsim.simulator.sweep_work import Judge, Work

__all__ = ["Estimate", "Judge", "Progress", "check", "estimate", "sweep", "work_of"]

Progress = Callable[[int, int, str], None]
"""Called with units done, units known so far, and what runs next."""

MOST_DECADES = 4
"""The grid of learning rates is extended up to this many decades on each side of the natural rate."""


@dataclass
class _Plan:
    """What has been tried: the k of the rates, alike for all optimizers and points."""

    low: int
    high: int


def work_of(config: SweepGrid) -> Work[Any, Any, Any]:
    """What runs the units of a configuration.

    Raises:
        TypeError: a configuration of no known kind.
    """
    if isinstance(config, SweepConfig):
        return QuadraticWork(config)
    if isinstance(config, ModelSweepConfig):
        return ModelWork(config)
    raise TypeError(f"config must be a SweepConfig or a ModelSweepConfig, got {type(config).__name__}; make one.")


def sweep(
    config: SweepGrid, judge: Judge | None = None, *, out: Path | None = None, progress: Progress | None = None
) -> Results:
    """Run the whole grid.

    Learning rates are `natural * 10^(k/density)`; the natural rate of a rule at a point comes from the dials (see
    `quadsim.simulator.rules`). All optimizers get grids of equal size, from k = -density to density, extended for all of
    them together by a decade wherever any best rate lies at an edge, up to four decades.

    Args:
        config: the grid, a SweepConfig (quadratics) or a ModelSweepConfig (toy models).
        judge: adds columns from a theory (bound_steps, verdict, ...); without it they say `not applicable`.
        out: a folder that gets everything, unit by unit, so that an interrupted sweep goes on where it was. None: nothing
            is written.
        progress: called before every unit.

    Returns:
        Results.

    Raises:
        ValueError: a grid too big for memory, or a folder with something else in it.
    """
    work = work_of(config)
    work.check()
    if out is not None:
        store.prepare_folder(out, config.to_json())
    began = time.perf_counter()
    density = config.lr_density
    plan = _Plan(-FIRST_DECADES * density, FIRST_DECADES * density)
    pieces = [(plan.low, plan.high)] if config.lr is None else [(0, len(config.lr) - 1)]
    kept = (KeptRows if config.kept == "rows" else KeptHistograms)(work, judge, out)
    done, total = 0, 0
    while pieces:
        total += sum(number_of_units(work, piece) for piece in pieces)
        for unit in (unit for piece in pieces for unit in units_of(work, piece)):
            if progress is not None:
                progress(done, total, f"{config.optimizers[unit.optimizer]} at {config.points[unit.point].label}")
            kept.add(unit)
            done += 1
        pieces = [] if config.lr is not None else _extensions(kept.best(), plan, density)
    if progress is not None:
        progress(done, total, "writing")
    seconds = time.perf_counter() - began
    results = kept.results(provenance(seconds, device=config.device, dtype=config.dtype, seed=config.seed))
    if out is not None:
        results.save(out)
        store.remove_units(out)
    return results


def check(config: SweepGrid) -> None:
    """Find out before anything runs whether the grid fits in memory and every optimizer can run.

    Raises:
        ValueError: it does not, or cannot.
    """
    work_of(config).check()


@dataclass(frozen=True)
class Estimate:
    """What a sweep would cost on this machine.

    Attributes:
        runs: number of runs before any extension of the grid.
        seconds: from a few measured steps of every optimizer; at most, where runs stop once they have reached their target.
        memory_bytes: of the process: the libraries, the results and one unit of work; on a GPU, memory of the host.
    """

    runs: int
    seconds: float
    memory_bytes: float


def estimate(config: SweepGrid) -> Estimate:
    """Time and memory of a sweep, from short runs of the first unit of every point and optimizer."""
    work = work_of(config)
    work.check()
    rates = config.lr or [10.0 ** float(config.exponent(k)) for k in first_range(config)]
    seconds = 0.0
    for point in config.points:
        for spec in config.specs:
            natural = 1.0 if config.lr else point.natural_lr(spec, config.tolerance)
            chosen = [natural * rate for rate in rates]
            units = work.firsts(point, spec, len(rates))
            seeds = (0, min(units.step, config.seeds))
            short = min(work.short_run, config.steps)
            _try(work, point, spec, chosen, seeds, 1)  # compilation is paid once, not per unit
            begin = time.perf_counter()
            engine = _try(work, point, spec, chosen, seeds, short)
            spent = time.perf_counter() - begin
            seconds += spent * len(units) * (1.0 if engine == "closed-form" else config.steps / short)
    return Estimate(config.runs, seconds, work.memory())


def _try(
    work: Work[Any, Any, Any], point: Any, spec: OptimizerSpec, rates: list[float], seeds: tuple[int, int], steps: int
) -> str:
    """Run a unit, shortened, and keep nothing but the engine's name."""
    if work.config.kept == "rows":
        return str(work.run(point, spec, rates, seeds, steps).engine)
    return str(work.count(point, spec, rates, seeds, steps, None).engine[0])


def _extensions(best: pd.DataFrame, plan: _Plan, density: int) -> list[tuple[int, int]]:
    """New ranges of k for all optimizers, where any best rate lies at an edge that may still move."""
    pieces = []
    if (best["at_edge"] == "low").any() and plan.low > -MOST_DECADES * density:
        pieces.append((plan.low - density, plan.low - 1))
        plan.low -= density
    if (best["at_edge"] == "high").any() and plan.high < MOST_DECADES * density:
        pieces.append((plan.high + 1, plan.high + density))
        plan.high += density
    return pieces
