"""sweep: a grid of problems, optimizers and learning rates, in chunks that fit in memory, to results on disk."""

import logging
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.runs.guaranteed import Guarantor
from quadsim.simulator.runs.judged import Judge
from quadsim.simulator.support import store
from quadsim.simulator.support.paths import local_path
from quadsim.simulator.support.provenance import provenance
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.simulator.sweeps.backends import Backend, Serial
from quadsim.simulator.sweeps.config.grid import FIRST_DECADES, MOST_DECADES, SweepGrid
from quadsim.simulator.sweeps.results.integrity import checksums
from quadsim.simulator.sweeps.results.results import Results
from quadsim.simulator.sweeps.results.tables import Tables
from quadsim.simulator.sweeps.run.folder import (
    JOBS,
    UNITS,
    has_finished,
    locked_folder,
    remove_leftovers,
    restored,
    writable,
)
from quadsim.simulator.sweeps.run.presenting import Presenter, present_as_installed
from quadsim.simulator.sweeps.run.rows import KeptRows
from quadsim.simulator.sweeps.run.runner import ChunkRunner, Progress, UnfinishedError
from quadsim.simulator.sweeps.work.chunk import producer_of, work_of
from quadsim.simulator.sweeps.work.units import Known, Unit, first_range, units_of
from quadsim.simulator.sweeps.work.work import Work

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.run.counts import KeptHistograms
    from quadsim.simulator.sweeps.work.stored import Stored

__all__ = [
    "Estimate",
    "Judge",
    "OnTable",
    "Progress",
    "UnfinishedError",
    "check",
    "check_devices",
    "estimate",
    "finish_sweep",
    "present_results",
    "sweep",
    "work_of",
]

_log = logging.getLogger("quadsim")

LEFT_OUT = "left out as asked for; quadsim report makes them and the report"
"""What a manifest says of figures that were not asked for."""

OnTable = Callable[[Results], object]
"""Takes results whose table and answer are known, see `sweep`."""


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
    present: Presenter | None = present_as_installed,
    figures: bool = True,
    guarantor: Guarantor | None = None,
    on_answer: OnTable | None = None,
    on_table: OnTable | None = None,
) -> Results:
    """Run the whole grid.

    Learning rates are `natural * 10^(k/density)`; the natural rate of a rule at a point comes from the dials (see
    `quadsim.simulator.rules.catalogue`). All optimizers get grids of equal size, from k = -density to density, extended for
    all of them together by a decade wherever any best rate lies at an edge, up to four decades.

    The grid is run in chunks, which go to disk as they are finished and are put together there, so that memory does not grow
    with the number of runs. On an unfinished folder it goes on where it stopped; what was damaged there is run again.

    Args:
        config: the grid, a SweepConfig (quadratics) or a ModelSweepConfig (toy models).
        judge: adds columns from a theory (bound_steps, verdict, ...); without it they say `not applicable`.
        out: a folder that gets everything. None: a temporary one, which goes with the results.
        progress: called when a chunk begins and when it ends.
        backend: where chunks run, see `quadsim.simulator.sweeps.backends.resolve_backend`; None: in this process. The results
            are the same, bit for bit on CPUs and on GPUs of one kind.
        present: draws figures and writes a report in `out`, where it does not hold them; None: nothing does. Where that fails, a
            warning is logged and the results, which are finished by then, are returned.
        figures: False: figures and report are left out, which the manifest says; the sweep is finished without them, and
            `quadsim report` makes them.
        guarantor: says, of every optimizer that no theorem bounds at its best rate, at which rate one does, or what one says
            along the run (`quadsim.theory.guarantees`); further runs that this takes are added, no other changes.
        on_answer: called with the results as soon as table and answer are known, where the sweep is run in a folder: rows of
            a CPU are not written yet, so that these, `Results.answers` and `Results.notes` are all that can be asked for.
        on_table: called with the results once their table is written, and before curves are written and the guarantor is asked,
            where the sweep is run in a folder. What it draws into the folder of figures stays.

    Returns:
        Results.

    Raises:
        ValueError: a grid too big for memory, or a folder with something else in it, in use, or without room.
        UnfinishedError: a chunk failed three times; the others are finished.
    """
    work = work_of(config)
    work.check()
    run_on = backend or Serial()
    check_devices(config, run_on)
    if out is None:
        return _in_temporary_folder(work, judge, progress, run_on, guarantor)
    out = local_path("out", out)
    found = None
    if not has_finished(out, config.to_json()):
        with locked_folder(out, config.to_json()):
            if not restored(out, config.to_json()):
                how: dict[str, Any] = {"figures": figures, "guarantor": guarantor}
                how |= {"on_answer": on_answer, "on_table": on_table}
                found = finish_sweep(work, judge, out, out, progress, run_on, **how)
    if found is None:
        remove_leftovers(out)
        found = Results.load(out)
    if present is not None and figures:
        present_results(found, present)
    return found


def check_devices(config: SweepGrid, backend: Backend) -> None:
    """Check that a backend runs on devices of the kind that the configuration names.

    Raises:
        ValueError: it has one of another kind.
    """
    kind = config.device.partition(":")[0]
    for device in backend.devices:
        if device.partition(":")[0] != kind:
            raise ValueError(
                f"devices must be of the kind of device, got {device} with {config.device}; name one kind in both."
            )


def _in_temporary_folder(
    work: Work[Any, Any, Any],
    judge: Judge | None,
    progress: Progress | None,
    backend: Backend,
    guarantor: Guarantor | None,
) -> Results:
    """Run everything in a folder that is removed with the results."""
    folder = Path(tempfile.mkdtemp(prefix="quadsim-sweep-"))
    try:
        with locked_folder(folder, work.config.to_json()):
            results = finish_sweep(work, judge, folder, None, progress, backend, guarantor=guarantor)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(results.tables, shutil.rmtree, folder, ignore_errors=True)
    return results


def present_results(results: Results, present: Presenter) -> None:
    """Draw figures and write a report; where that fails, log a warning."""
    try:
        present(results)
    except Exception as error:  # whatever it is: the work is done, and its results are returned
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        _log.warning(
            "figures and report of %s could not be made (%s); the results are finished, and `quadsim report` makes them.",
            results.folder,
            reason,
        )


def finish_sweep(
    work: Work[Any, Any, Any],
    judge: Judge | None,
    folder: Path,
    out: Path | None,
    progress: Progress | None,
    backend: Backend,
    stored: "Stored | None" = None,
    *,
    figures: bool = True,
    guarantor: Guarantor | None = None,
    on_answer: OnTable | None = None,
    on_table: OnTable | None = None,
) -> Results:
    """Run what is missing and put the whole together.

    Args:
        work: what runs the chunks.
        judge: see `sweep`.
        folder: that gets everything.
        out: how messages call it; None where it is a temporary one.
        progress: see `sweep`.
        backend: where chunks run.
        stored: runs of an earlier sweep, which are not run again.
        figures: see `sweep`.
        guarantor: see `sweep`.
        on_answer: see `sweep`.
        on_table: see `sweep`.
    """
    config = work.config
    began = time.perf_counter()
    known = None if stored is None else stored.known
    kept = _kept(work, known)
    with writable(out or folder):
        (folder / UNITS).mkdir(exist_ok=True)
        (folder / JOBS).mkdir(exist_ok=True)
        config.write_files(folder)  # before the first chunk: a worker reads them
    with backend.started((folder / JOBS).resolve()):
        runner = ChunkRunner(config, judge, folder.resolve(), out, backend, progress)
        _run_chunks(work, runner, kept, known, lambda unit: _provide(stored, unit, folder, judge))
        if again := kept.without_curves():
            runner.finish(again, len(again))
            kept.take_curves(again, runner.paths)
    runner.say("writing")
    guarantor = guarantor if config.kept == "rows" else None
    later = config.device == "cpu"  # a note on runs of a GPU reads all rows
    with writable(out or folder):
        _remove_made(folder)
        best = kept.best(folder)
        if not later:
            kept.write(folder, best)
    tables = Tables(folder, config, best, kept.steps(best))
    early = Results(config, tables, {}, out, awaits_bounds=guarantor is not None)
    if on_answer is not None and out is not None:
        on_answer(early)
    if later:
        with writable(out or folder):
            kept.write(folder, best)
    if on_table is not None and out is not None:
        on_table(early)
    with writable(out or folder):
        kept.write_curves(folder, best)
        if guarantor is not None:
            from quadsim.simulator.sweeps.run.guarantees import write_guarantees

            runner.say("bounds")
            write_guarantees(folder, config, tables.best, guarantor)
        manifest = _manifest(config, judge, folder, time.perf_counter() - began, figures=figures)
        if out is not None:
            store.write_json(folder / store.MANIFEST, manifest)
    remove_leftovers(folder)
    return Results(config, tables, manifest, out)


def _run_chunks(
    work: Work[Any, Any, Any],
    runner: ChunkRunner,
    kept: "KeptRows | KeptHistograms",
    known: Known | None,
    provide: Callable[[Unit], None],
) -> None:
    """Run the first grid of learning rates, and extend it as long as a best rate lies at an edge that may move."""
    config = work.config
    density = config.lr_density
    plan = _Plan(-FIRST_DECADES * density, FIRST_DECADES * density)
    pieces = [(plan.low, plan.high)] if config.lr is None else [(0, len(config.lr) - 1)]
    while pieces:
        number = 0
        for unit in _units(work, pieces, known):
            number += 1
            provide(unit)
        runner.look()
        runner.finish(_units(work, pieces, known), number)
        for piece in pieces:
            kept.take(units_of(work, piece, known), runner.paths)
        pieces = [] if config.lr is not None else _extensions(kept.edges(), plan, density)


def _provide(stored: "Stored | None", unit: Unit, folder: Path, judge: Judge | None) -> None:
    """Write a chunk that an earlier sweep holds."""
    if stored is not None and unit.stored:
        stored.provide(unit, folder / UNITS, producer_of(judge))


def _kept(work: Work[Any, Any, Any], known: Known | None) -> "KeptRows | KeptHistograms":
    """What takes in finished chunks."""
    if work.config.kept == "rows":
        return KeptRows(work, known)
    from quadsim.simulator.sweeps.run.counts import KeptHistograms  # imports pandas, which rows do not need

    return KeptHistograms(work, known)


def _remove_made(folder: Path) -> None:
    """Remove what an earlier run made of its tables: it says nothing of those that are written now."""
    shutil.rmtree(folder / store.FIGURES, ignore_errors=True)
    for name in (store.REPORT, store.TABLE, store.GUARANTEES):
        (folder / name).unlink(missing_ok=True)


def _manifest(config: SweepGrid, judge: Judge | None, folder: Path, seconds: float, *, figures: bool) -> dict[str, Any]:
    """Return the manifest of a folder whose results are all written."""
    manifest = provenance(seconds, device=config.device, dtype=config.dtype, seed=config.seed)
    manifest |= {"producer": producer_of(judge), "files": checksums(folder)}
    return manifest if figures else manifest | {"figures": LEFT_OUT}


def _units(work: Work[Any, Any, Any], pieces: list[tuple[int, int]], known: Known | None) -> Iterator[Unit]:
    for piece in pieces:
        yield from units_of(work, piece, known)


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
    seconds = 0.0
    for point in config.points:
        for spec in config.specs:
            natural = point.natural_lr(spec, config.tolerance)
            chosen = list(config.lr or config.rates(natural, first_range(config)))
            units = work.firsts(point, spec, len(chosen))
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


def _extensions(edges: set[str], plan: _Plan, density: int) -> list[tuple[int, int]]:
    """New ranges of k for all optimizers, where the best rate of any setting lies at an edge that may still move."""
    pieces = []
    if "low" in edges and plan.low > -MOST_DECADES * density:
        pieces.append((plan.low - density, plan.low - 1))
        plan.low -= density
    if "high" in edges and plan.high < MOST_DECADES * density:
        pieces.append((plan.high + 1, plan.high + density))
        plan.high += density
    return pieces
