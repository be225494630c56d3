"""sweep: a grid of problems, optimizers and learning rates, in units that fit in memory, to results on disk."""

import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from quadsim.simulator import store
from quadsim.simulator.engines import choose_engine, prepare, simulate
from quadsim.simulator.engines.counting import bin_edges
from quadsim.simulator.engines.job import Job
from quadsim.simulator.histogram import Counted, bins_frame, settings_frame
from quadsim.simulator.memory import memory_text, physical_memory
from quadsim.simulator.results import Results
from quadsim.simulator.statistics import best_counted_rates, best_rates
from quadsim.simulator.sweep_config import (
    FIRST_DECADES,
    POINT_COLUMNS,
    OptimizerSpec,
    Point,
    SweepConfig,
)
from quadsim.simulator.trajectory import Trajectory, recorded_steps

__all__ = ["Estimate", "Judge", "Progress", "check", "estimate", "sweep"]

Judge = Callable[[Trajectory], Mapping[str, NDArray[Any]]]
"""Columns of the summary from a trajectory, each (M, K): `bound_steps`, `verdict`, and what else a theory says."""

Progress = Callable[[int, int, str], None]
"""Called with units done, units known so far, and what runs next."""

MOST_DECADES = 4
"""The grid of learning rates is extended up to this many decades on each side of the natural rate."""
_PROCESS_BYTES = 0.65e9  # Python and the libraries, with a kernel compiled and figures drawn
_UNIT_BYTES = 256e6  # working set of one unit
_MATRICES_ALIVE = 5  # of a problem, while it is made and taken over by an engine; measured, like what follows
_ARRAYS_ALIVE = 12  # of the state's size, in a step
_TILED_ARRAYS = 6  # of the state's size, where a kernel fills up its tiles of settings
_CURVES_ALIVE = 6  # of the recorded gaps, while they are judged
_NUMBERS_PER_PROBLEM = 40
_ROW_BYTES = 750.0  # of the summary, while it is put together
_BIN_BYTES = 1000.0  # of the histogram, likewise
_TALLIED_RUNS = 1 << 25  # in one unit where the device draws and counts, in parts of its own; some seconds


@dataclass(frozen=True)
class _Unit:
    """One call of `simulate`: a pure function of the configuration and these numbers."""

    point: int
    optimizer: int
    exponents: tuple[int, int]  # first and last k of the rates
    seeds: tuple[int, int]  # first problem and how many

    @property
    def key(self) -> str:
        return "_".join(map(str, (self.point, self.optimizer, *self.exponents, *self.seeds)))


@dataclass(frozen=True, eq=False)
class _Curves:
    """Gaps of some problems (first, how many) at the rates `lr`: (problems, rates, recorded steps)."""

    seeds: tuple[int, int]
    lr: NDArray[np.float64]
    gap: NDArray[np.float64]


@dataclass
class _Plan:
    """What has been tried: the k of the rates, alike for all optimizers and points."""

    low: int
    high: int
    pieces: list[tuple[int, int]] = field(default_factory=list)


def sweep(
    config: SweepConfig, judge: Judge | None = None, *, out: Path | None = None, progress: Progress | None = None
) -> Results:
    """Run the whole grid.

    Learning rates are `natural * 10^(k/density)`; the natural rate of a rule at a point comes from the dials (see
    `quadsim.simulator.rules`). All optimizers get grids of equal size, from k = -density to density, extended for all of
    them together by a decade wherever any best rate lies at an edge, up to four decades.

    Args:
        config: the grid.
        judge: adds columns from a theory (bound_steps, verdict, ...); without it they say `not applicable`.
        out: a folder that gets everything, unit by unit, so that an interrupted sweep goes on where it was. None: nothing
            is written.
        progress: called before every unit.

    Returns:
        Results.

    Raises:
        ValueError: a grid too big for memory, or a folder with something else in it.
    """
    check(config)
    if out is not None:
        store.prepare_folder(out, config.to_json())
    began = time.perf_counter()
    density = config.lr_density
    plan = _Plan(-FIRST_DECADES * density, FIRST_DECADES * density)
    pieces = [(plan.low, plan.high)] if config.lr is None else [(0, len(config.lr) - 1)]
    kept: _Rows | _Histograms = (_Rows if config.kept == "rows" else _Histograms)(config, judge, out)
    done, total = 0, 0
    while pieces:
        total += sum(_number_of_units(config, piece) for piece in pieces)
        for unit in (unit for piece in pieces for unit in _units(config, piece)):
            if progress is not None:
                progress(done, total, f"{config.optimizers[unit.optimizer]} at {config.points[unit.point].label}")
            kept.add(unit)
            done += 1
        pieces = [] if config.lr is not None else _extensions(kept.best(), plan, density)
    if progress is not None:
        progress(done, total, "writing")
    results = kept.results(_manifest(config, time.perf_counter() - began))
    if out is not None:
        results.save(out)
        store.remove_units(out)
    return results


class _Rows:
    """Keeps a row and a gap curve per run."""

    def __init__(self, config: SweepConfig, judge: Judge | None, out: Path | None) -> None:
        self._config, self._judge, self._out = config, judge, out
        self._frames: list[pd.DataFrame] = []
        # Curves without the problems they belong to, whose matrices would fill the memory.
        self._curves: dict[tuple[int, int], list[_Curves]] = {}

    def add(self, unit: _Unit) -> None:
        trajectory = _finished_unit(self._config, unit, self._out)
        self._frames.append(_rows(self._config, unit, trajectory, self._judge))
        curves = _Curves(unit.seeds, trajectory.settings["lr"], trajectory.gap)
        self._curves.setdefault((unit.point, unit.optimizer), []).append(curves)

    def best(self) -> pd.DataFrame:
        self._frames = [pd.concat(self._frames, ignore_index=True)]
        return best_rates(self._frames[0], POINT_COLUMNS)

    def results(self, manifest: dict[str, Any]) -> Results:
        best = self.best()
        summary = _ordered(self._frames.pop(), best)
        return Results(
            config=self._config,
            summary=summary,
            best=best,
            curves=_best_curves(self._config, best, self._curves),
            manifest=manifest,
            folder=self._out,
        )


class _Histograms:
    """Keeps counts alone, added up over the problems."""

    def __init__(self, config: SweepConfig, judge: Judge | None, out: Path | None) -> None:
        self._config, self._judge, self._out = config, judge, out
        self._counted: dict[tuple[int, int, tuple[int, int]], Counted] = {}

    def add(self, unit: _Unit) -> None:
        key = (unit.point, unit.optimizer, unit.exponents)
        found = self._finished(unit)
        self._counted[key] = self._counted[key] + found if key in self._counted else found

    def _finished(self, unit: _Unit) -> Counted:
        """The unit's counts, from disk if an earlier attempt left them there."""
        path = None if self._out is None else store.unit_path(self._out, unit.key, ".npz")
        if path is not None and path.is_file():
            try:
                return Counted.load(path)
            except ValueError:
                path.unlink()
        point, spec = self._config.points[unit.point], self._config.specs[unit.optimizer]
        rates = _rates(self._config, unit)
        counted = _count(self._config, point, spec, rates, unit.seeds, self._config.steps, self._judge)
        if path is not None:
            counted.save(path)
        return counted

    def _bins(self) -> pd.DataFrame:
        """All bins by point, optimizer (as asked) and rate."""
        config = self._config
        parts = []
        for (p, o, exponents), counted in sorted(self._counted.items(), key=lambda item: item[0]):
            unit = _Unit(p, o, exponents, (0, 0))
            columns = {"point": p, **config.points[p].columns, "optimizer": config.optimizers[o]}
            columns |= {"lr": _rates(config, unit), "lr_exponent": _exponents(config, unit)}
            parts.append((columns, counted))
        return bins_frame(parts, bin_edges(config.steps))

    def best(self) -> pd.DataFrame:
        return best_counted_rates(settings_frame(self._bins()), POINT_COLUMNS)

    def results(self, manifest: dict[str, Any]) -> Results:
        return Results.of_histogram(self._config, self._bins(), manifest, self._out)


def check(config: SweepConfig) -> None:
    """Find out before anything runs whether the grid fits in memory and the engine can run every optimizer.

    Raises:
        ValueError: it does not, or cannot.
    """
    _check_memory(config)
    _check_engine(config)


@dataclass(frozen=True)
class Estimate:
    """What a sweep would cost on this machine.

    Attributes:
        runs: number of runs before any extension of the grid.
        seconds: from a few measured steps of every optimizer.
        memory_bytes: of the process: the libraries, the results and one unit of work; on a GPU, memory of the host.
    """

    runs: int
    seconds: float
    memory_bytes: float


def estimate(config: SweepConfig) -> Estimate:
    """Time and memory of a sweep, from short runs of the first unit of every point and optimizer."""
    check(config)
    rates = config.lr or [10.0 ** (k / config.lr_density) for k in _first_range(config)]
    seconds = 0.0
    for point in config.points:
        for spec in config.specs:
            natural = 1.0 if config.lr else point.natural_lr(spec, config.tolerance)
            chosen = [natural * rate for rate in rates]
            units = _parts(config, point, spec, len(rates))
            seeds = (0, min(units.step, config.seeds))
            short = min(200, config.steps)
            _try(config, point, spec, chosen, seeds, 1)  # compilation is paid once, not per unit
            begin = time.perf_counter()
            engine = _try(config, point, spec, chosen, seeds, short)
            spent = time.perf_counter() - begin
            seconds += spent * len(units) * (1.0 if engine == "closed-form" else config.steps / short)
    return Estimate(config.runs, seconds, _memory(config))


def _try(
    config: SweepConfig, point: Point, spec: OptimizerSpec, rates: list[float], seeds: tuple[int, int], steps: int
) -> str:
    """Run a unit, shortened, and keep nothing but the engine's name."""
    if config.kept == "rows":
        return _run(config, point, spec, rates, seeds, steps).engine
    return str(_count(config, point, spec, rates, seeds, steps, None).engine[0])


def _count(
    config: SweepConfig,
    point: Point,
    spec: OptimizerSpec,
    rates: list[float],
    seeds: tuple[int, int],
    steps: int,
    judge: Judge | None,
) -> Counted:
    """Counts of one unit: of problems drawn on the device where that can be, which leaves nothing to judge."""
    if not _is_tallied(config, point, spec):
        trajectory = _run(config, point, spec, rates, seeds, steps)
        return Counted.of_trajectory(trajectory, None if judge is None else judge(trajectory))
    from quadsim.simulator.engines.tally import tally

    first, number = seeds
    dials = {name: point.dials[name] for name in ("blocks", "block_size", "heterogeneity", "mode", "condition_number")}
    hyperparameters: dict[str, Any] = dict(spec.hyperparameters)
    found = tally(
        spec.rule,
        lr=rates,
        steps=steps,
        problems=number,
        seed=config.seed,
        first=first,
        schedule=_schedule(config, steps),
        tolerance=config.tolerance,
        dtype=config.dtype,
        device=config.device,
        **dials,
        **hyperparameters,
    )
    return Counted.of_tally(found, "fused")


def _is_tallied(config: SweepConfig, point: Point, spec: OptimizerSpec) -> bool:
    """Whether the device draws the problems and counts their runs."""
    if config.kept == "rows" or config.device == "cpu" or config.engine not in ("auto", "fused") or config.case:
        return False
    dials = point.dials
    if dials["rotation"] != 1.0 or dials["gradient_heterogeneity"] is not None or dials["alignment"] is not None:
        return False
    from quadsim.simulator.engines.tally import why_not

    return why_not(_job(config, point, spec)) is None


def _schedule(config: SweepConfig, steps: int) -> str:
    """The configuration's; a run shorter than that (an estimate) goes without warm-up."""
    return config.schedule if steps == config.steps else config.schedule.partition(":")[0]


def _run(
    config: SweepConfig, point: Point, spec: OptimizerSpec, rates: list[float], seeds: tuple[int, int], steps: int
) -> Trajectory:
    """One call of `simulate`."""
    first, number = seeds
    hyperparameters: dict[str, Any] = dict(spec.hyperparameters)
    return simulate(
        point.problem(number, config.seed, first),
        spec.rule,
        lr=rates,
        steps=steps,
        schedule=_schedule(config, steps),
        record="log",
        tolerance=config.tolerance,
        engine=config.engine,
        dtype=config.dtype,
        device=config.device,
        **hyperparameters,
    )


def _check_engine(config: SweepConfig) -> None:
    if config.engine == "auto":
        return
    for point in config.points:
        for spec in config.specs:
            choose_engine(config.engine, _job(config, point, spec))


def _job(config: SweepConfig, point: Point, spec: OptimizerSpec) -> Job:
    """One problem of a point under one rate, for questions about engines."""
    return prepare(
        point.problem(1, config.seed),
        spec.rule,
        lr=1.0,
        steps=config.steps,
        schedule=config.schedule,
        record="log",
        dtype=config.dtype,
        device=config.device,
    )


def _finished_unit(config: SweepConfig, unit: _Unit, out: Path | None) -> Trajectory:
    """The unit's trajectory, from disk if an earlier attempt left it there."""
    path = None if out is None else store.unit_path(out, unit.key)
    if path is not None and path.is_file():
        try:
            return Trajectory.load(path)
        except ValueError:
            path.unlink()  # damaged since it was written whole: it is worth no more than the time to run it again
    point, spec = config.points[unit.point], config.specs[unit.optimizer]
    trajectory = _run(config, point, spec, _rates(config, unit), unit.seeds, config.steps)
    if path is not None:
        trajectory.save(path)
    return trajectory


def _rates(config: SweepConfig, unit: _Unit) -> list[float]:
    first, last = unit.exponents
    if config.lr is not None:
        return list(config.lr)
    natural = config.points[unit.point].natural_lr(config.specs[unit.optimizer], config.tolerance)
    return [natural * 10.0 ** float(config.exponent(k)) for k in range(first, last + 1)]


def _exponents(config: SweepConfig, unit: _Unit) -> list[str]:
    """Of the rates, exactly; empty where rates were given."""
    first, last = unit.exponents
    return ["" if config.lr is not None else str(config.exponent(k)) for k in range(first, last + 1)]


def _units(config: SweepConfig, piece: tuple[int, int]) -> Iterator[_Unit]:
    for p, point in enumerate(config.points):
        for o, spec in enumerate(config.specs):
            firsts = _parts(config, point, spec, piece[1] - piece[0] + 1)
            for first in firsts:
                yield _Unit(p, o, piece, (first, min(firsts.step, config.seeds - first)))


def _number_of_units(config: SweepConfig, piece: tuple[int, int]) -> int:
    rates = piece[1] - piece[0] + 1
    return sum(len(_parts(config, point, spec, rates)) for point in config.points for spec in config.specs)


def _parts(config: SweepConfig, point: Point, spec: OptimizerSpec, rates: int) -> range:
    """The first problem of every unit; a range, as there may be very many."""
    if not _is_tallied(config, point, spec):
        return _chunks(config, point, rates)
    return range(0, config.seeds, max(1, _TALLIED_RUNS // rates))


def _chunks(config: SweepConfig, point: Point, rates: int) -> range:
    """The first of so many problems that their working set stays within the limit."""
    each = _problem_bytes(config, point, rates)
    return range(0, config.seeds, int(min(config.seeds, max(1, _UNIT_BYTES // each))))


def _problem_bytes(config: SweepConfig, point: Point, rates: int) -> float:
    sizes = point.block_sizes
    tiles = next((tile for tile in (8, 16) if rates <= tile), -(-rates // 32) * 32)
    states = sum(sizes) * max(_ARRAYS_ALIVE * rates, _TILED_ARRAYS * tiles)
    curves = _CURVES_ALIVE * rates * recorded_steps(config.steps, "log").size
    return 8.0 * (_MATRICES_ALIVE * sum(size**2 for size in sizes) + states + curves + _NUMBERS_PER_PROBLEM)


def _first_range(config: SweepConfig) -> range:
    return range(-FIRST_DECADES * config.lr_density, FIRST_DECADES * config.lr_density + 1)


def _memory(config: SweepConfig) -> float:
    """Bytes of the process: libraries, what is kept, and one unit's working set."""
    records = recorded_steps(config.steps, "log").size
    settings = config.runs // config.seeds
    rates = settings // (len(config.points) * len(config.specs))
    units = max(_problem_bytes(config, point, rates) for point in config.points)
    if config.kept == "rows":  # the curves at the best rates are there twice for a moment
        kept = config.runs * (8.0 * records * (1.0 + 1.0 / rates) + _ROW_BYTES)
    else:
        kept = settings * records * _BIN_BYTES
    return _PROCESS_BYTES + kept + max(units, min(_UNIT_BYTES, units * config.seeds))


def _check_memory(config: SweepConfig) -> None:
    needed, available = _memory(config), physical_memory()
    if needed > available:
        fewer = "fewer seeds, values or learning rates, or smaller blocks"
        if config.kept == "rows":
            fewer = f"--keep quantiles, which keeps counts and histograms alone, or {fewer}"
        raise ValueError(
            f"grid must fit in memory ({memory_text(available)} here), got one that needs about {memory_text(needed)} for "
            f"{config.runs:,} runs; use {fewer}."
        )


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


def _rows(config: SweepConfig, unit: _Unit, trajectory: Trajectory, judge: Judge | None) -> pd.DataFrame:
    """A row per run of the unit."""
    shape = trajectory.steps_to_tolerance.shape
    point, spec = config.points[unit.point], config.specs[unit.optimizer]

    def per_run(values: Any, axis: int | None = None) -> NDArray[Any]:
        array = np.asarray(values)
        if axis is not None:
            array = np.expand_dims(array, 1 - axis)
        return np.broadcast_to(array, shape).ravel()

    exponents = _exponents(config, unit)
    initial, final = trajectory.gap[:, :, 0], trajectory.gap[:, :, -1]
    columns: dict[str, Any] = {"point": per_run(unit.point)}
    columns |= {name: per_run(value) for name, value in point.columns.items()}
    columns |= {
        "seed": per_run(trajectory.problem.index, 0),
        "optimizer": per_run(spec.label),
        "lr": per_run(trajectory.settings["lr"], 1),
        "lr_exponent": per_run(exponents, 1),
        "status": trajectory.status.ravel(),
        "steps_to_tolerance": trajectory.steps_to_tolerance.ravel(),
        "initial_gap": initial.ravel(),
        "final_gap": final.ravel(),
        "empirical_rate": _empirical_rate(trajectory).ravel(),
    }
    columns |= {"theorem": per_run(""), "bound_steps": per_run(np.nan), "bound_rate": per_run(np.nan)}
    columns |= {"margin": per_run(np.nan), "verdict": per_run("not applicable")}
    if judge is not None:
        columns |= {name: per_run(values) for name, values in judge(trajectory).items()}
    columns["engine"] = per_run(trajectory.engine)
    return pd.DataFrame(columns)


def _empirical_rate(trajectory: Trajectory) -> NDArray[np.float64]:
    """Factor per step: tolerance^(1/steps) where the tolerance was reached, else (final/initial gap)^(1/steps)."""
    steps, last = trajectory.steps_to_tolerance, float(trajectory.steps[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.exp(np.log(trajectory.gap[:, :, -1] / trajectory.gap[:, :, 0]) / last)
        return np.asarray(np.where(np.isfinite(steps), trajectory.tolerance ** (1.0 / steps), whole))


def _ordered(summary: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """Rows by point, optimizer (as asked), rate and seed, with a mark at the best rate."""
    keys = ["point", "optimizer", "lr"]
    marked = summary.merge(best[keys].assign(best_lr=True), on=keys, how="left", validate="many_to_one")
    marked["best_lr"] = marked["best_lr"].eq(True)
    order = {name: i for i, name in enumerate(dict.fromkeys(summary["optimizer"]))}
    marked = marked.assign(_order=marked["optimizer"].map(order))
    return marked.sort_values(["point", "_order", "lr", "seed"], ignore_index=True).drop(columns="_order")


def _best_curves(config: SweepConfig, best: pd.DataFrame, curves: dict[tuple[int, int], list[_Curves]]) -> xr.Dataset:
    """Gap curves at the best rates: point x optimizer x seed x step, with what each point is as coordinates."""
    steps = recorded_steps(config.steps, "log")
    gap = np.full((len(config.points), len(config.specs), config.seeds, steps.size), np.nan)
    rates = np.full(gap.shape[:2], np.nan)
    chosen = {(row["point"], row["optimizer"]): row["lr"] for row in best.to_dict("records")}
    for (p, o), parts in curves.items():
        rates[p, o] = chosen[p, config.optimizers[o]]
        for part in parts:
            position = np.flatnonzero(part.lr == rates[p, o])
            if position.size:
                first, number = part.seeds
                gap[p, o, first : first + number] = part.gap[:, position[0]]
    columns = pd.DataFrame([point.columns for point in config.points])
    coordinates: dict[str, Any] = {
        "optimizer": list(config.optimizers),
        "seed": np.arange(config.seeds),
        "step": steps,
        "lr": (("point", "optimizer"), rates),
    }
    for name in columns.columns:
        values = columns[name].to_numpy()
        text = values.dtype == object or str(values.dtype).startswith("str")
        coordinates[name] = ("point", np.array([str(v) for v in values], dtype=object) if text else values)
    return xr.Dataset({"gap": (("point", "optimizer", "seed", "step"), gap)}, coords=coordinates)


def _manifest(config: SweepConfig, seconds: float) -> dict[str, Any]:
    packages = ("quadsim", "torch", "numpy", "sympy", "pandas", "xarray")
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "platform": platform.platform(),
        "device": config.device,
        "dtype": config.dtype,
        "seed": config.seed,
        "wall_seconds": round(seconds, 3),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
