"""sweep: a grid of problems, optimizers and learning rates, in chunks that fit in memory, to results on disk."""

import logging
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from quadsim.simulator import store
from quadsim.simulator.backends import Backend, Serial
from quadsim.simulator.paths import local_path
from quadsim.simulator.provenance import provenance
from quadsim.simulator.results import Results
from quadsim.simulator.sweep_chunks import work_of
from quadsim.simulator.sweep_counts import KeptHistograms
from quadsim.simulator.sweep_folder import (
    JOBS,
    UNITS,
    checksums,
    has_finished,
    locked_folder,
    remove_leftovers,
    restored,
    writable,
)
from quadsim.simulator.sweep_grid import FIRST_DECADES, OptimizerSpec, SweepGrid
from quadsim.simulator.sweep_rows import KeptRows
from quadsim.simulator.sweep_run import ChunkRunner, Progress, UnfinishedError
from quadsim.simulator.sweep_units import Unit, first_range, number_of_units, units_of
from quadsim.simulator.sweep_work import Judge, Work
from quadsim.simulator.tables import Tables
from quadsim.simulator.torch_modes import own_modes

__all__ = ["Estimate", "Judge", "Progress", "UnfinishedError", "check", "draw_missing", "estimate", "sweep", "work_of"]

_log = logging.getLogger("quadsim")

MOST_DECADES = 4
"""The grid of learning rates is extended up to this many decades on each side of the natural rate."""


@dataclass
class _Plan:
    """What has been tried: the k of the rates, alike for all optimizers and points."""

    low: int
    high: int


@own_modes()
def sweep(
    config: SweepGrid,
    judge: Judge | None = None,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    backend: Backend | None = None,
    figures: bool = True,
) -> Results:
    """Run the whole grid.

    Learning rates are `natural * 10^(k/density)`; the natural rate of a rule at a point comes from the dials (see
    `quadsim.simulator.rules`). All optimizers get grids of equal size, from k = -density to density, extended for all of
    them together by a decade wherever any best rate lies at an edge, up to four decades.

    The grid is run in chunks, which go to disk as they are finished and are put together there, so that memory does not grow
    with the number of runs. On an unfinished folder it goes on where it stopped; what was damaged there is run again.

    Args:
        config: the grid, a SweepConfig (quadratics) or a ModelSweepConfig (toy models).
        judge: adds columns from a theory (bound_steps, verdict, ...); without it they say `not applicable`.
        out: a folder that gets everything. None: a temporary one, which goes with the results.
        progress: called when a chunk begins and when it ends.
        backend: where chunks run, see `quadsim.simulator.backends.resolve_backend`; None: in this process. The results are the
            same, bit for bit on CPUs and on GPUs of one kind.
        figures: whether to draw those that the folder does not hold. Where drawing fails, a warning is logged and the results,
            which are finished by then, are returned.

    Returns:
        Results.

    Raises:
        ValueError: a grid too big for memory, or a folder with something else in it, in use, or without room.
        UnfinishedError: a chunk failed three times; the others are finished.
    """
    work = work_of(config)
    work.check()
    run_on = backend or Serial()
    kind = config.device.partition(":")[0]
    for device in run_on.devices:
        if device.partition(":")[0] != kind:
            raise ValueError(
                f"devices must be of the kind of device, got {device} with {config.device}; name one kind in both."
            )
    if out is None:
        folder = Path(tempfile.mkdtemp(prefix="quadsim-sweep-"))
        try:
            with locked_folder(folder, config.to_json()):
                results = _sweep(work, judge, folder, None, progress, run_on)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(results.tables, shutil.rmtree, folder, ignore_errors=True)
        return results
    out = local_path("out", out)
    found = None
    if not has_finished(out, config.to_json()):
        with locked_folder(out, config.to_json()):
            if not restored(out, config.to_json()):
                found = _sweep(work, judge, out, out, progress, run_on)
    if found is None:
        remove_leftovers(out)
        found = Results.load(out)
    if figures:
        try:
            draw_missing(found)
        except Exception as error:  # whatever it is: the work is done, and its results are returned
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            _log.warning(
                "the figures of %s could not be drawn (%s); the results are finished, and `quadsim report` draws them.",
                out,
                reason,
            )
    return found


def draw_missing(results: Results) -> bool:
    """Draw the figures of a stored sweep where its folder does not hold them; whether it had to be done.

    Raises:
        ValueError: a folder that another process works on, or that cannot be written.
    """
    if results.folder is None or results.has_figures:
        return False
    with locked_folder(results.folder, results.config.to_json()):
        results.save_figures(results.folder)
    return True


def _sweep(
    work: Work[Any, Any, Any],
    judge: Judge | None,
    folder: Path,
    out: Path | None,
    progress: Progress | None,
    backend: Backend,
) -> Results:
    """Run what is missing and put the whole together."""
    config = work.config
    began = time.perf_counter()
    density = config.lr_density
    plan = _Plan(-FIRST_DECADES * density, FIRST_DECADES * density)
    pieces = [(plan.low, plan.high)] if config.lr is None else [(0, len(config.lr) - 1)]
    kept = (KeptRows if config.kept == "rows" else KeptHistograms)(work)
    with writable(out or folder):
        (folder / UNITS).mkdir(exist_ok=True)
        (folder / JOBS).mkdir(exist_ok=True)
    with backend.started((folder / JOBS).resolve()):
        runner = ChunkRunner(config, judge, folder.resolve(), out, backend, progress)
        while pieces:
            number = sum(number_of_units(work, piece) for piece in pieces)
            runner.finish(_units(work, pieces), number)
            for piece in pieces:
                kept.take(units_of(work, piece), runner.paths)
            pieces = [] if config.lr is not None else _extensions(kept.best(), plan, density)
    runner.say("writing")
    with writable(out or folder):
        kept.write(folder)
        seconds = time.perf_counter() - began
        manifest = provenance(seconds, device=config.device, dtype=config.dtype, seed=config.seed)
        manifest["files"] = checksums(folder)
        # What an earlier run drew says nothing of these tables.
        shutil.rmtree(folder / store.FIGURES, ignore_errors=True)
        (folder / store.REPORT).unlink(missing_ok=True)
        if out is not None:
            store.write_json(folder / store.MANIFEST, manifest)
    remove_leftovers(folder)
    return Results(config, Tables(folder, config), manifest, out)


def _units(work: Work[Any, Any, Any], pieces: list[tuple[int, int]]) -> Iterator[Unit]:
    for piece in pieces:
        yield from units_of(work, piece)


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
        memory_bytes: of the process: the libraries, what is kept and one unit of work; on a GPU, memory of the host.
        disk_bytes: of the folder while it is not finished, at most.
    """

    runs: int
    seconds: float
    memory_bytes: float
    disk_bytes: float


@own_modes()
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
    return Estimate(config.runs, seconds, work.memory(), work.disk())


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
