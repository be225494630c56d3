"""What a sweep keeps of its runs: a row and curves for each, or counts alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from quadsim.simulator import store
from quadsim.simulator.engines.counting import bin_edges
from quadsim.simulator.histogram import Counted, bins_frame, settings_frame
from quadsim.simulator.results import Results
from quadsim.simulator.statistics import best_counted_rates, best_rates
from quadsim.simulator.sweep_grid import SweepGrid
from quadsim.simulator.sweep_units import Unit, exponents_of, rates_of
from quadsim.simulator.sweep_work import Columns, Judge, Work
from quadsim.simulator.trajectory import recorded_steps

__all__ = ["KeptHistograms", "KeptRows"]

AnyWork = Work[Any, Any, Any]


@dataclass(frozen=True, eq=False)
class _Curves:
    """Curves by name of some problems (first, how many) at the rates `lr`: (problems, rates, recorded steps)."""

    seeds: tuple[int, int]
    lr: NDArray[np.float64]
    values: Columns


class KeptRows:
    """Keeps a row and the curves of every run."""

    def __init__(self, work: AnyWork, judge: Judge | None, out: Path | None) -> None:
        self._work, self._judge, self._out = work, judge, out
        self._frames: list[pd.DataFrame] = []
        # Curves without the problems they belong to, whose matrices would fill the memory.
        self._curves: dict[tuple[int, int], list[_Curves]] = {}

    def add(self, unit: Unit) -> None:
        """Run a unit, or read what an earlier attempt left of it."""
        run = self._finished(unit)
        self._frames.append(_rows(self._work, unit, run, self._judge))
        curves = _Curves(unit.seeds, run.settings["lr"], self._work.recorded(run))
        self._curves.setdefault((unit.point, unit.optimizer), []).append(curves)

    def _finished(self, unit: Unit) -> Any:
        """The unit's run, from disk if it is there."""
        config = self._work.config
        point, spec = config.points[unit.point], config.specs[unit.optimizer]
        path = None if self._out is None else store.unit_path(self._out, unit.key)
        if path is not None and (kept := store.sealed_unit(path)) is not None:
            return self._work.load(kept, point, spec, unit.seeds)
        run = self._work.run(point, spec, rates_of(config, unit), unit.seeds, config.steps)
        if path is not None:
            run.save(path)
            store.seal_unit(path)
        return run

    def best(self) -> pd.DataFrame:
        """The best rates so far."""
        self._frames = [pd.concat(self._frames, ignore_index=True)]
        return best_rates(self._frames[0], self._work.config.point_columns)

    def results(self, manifest: dict[str, Any]) -> Results:
        """Everything, put together."""
        best = self.best()
        summary = _ordered(self._frames.pop(), best)
        return Results(
            config=self._work.config,
            summary=summary,
            best=best,
            curves=_best_curves(self._work, best, self._curves),
            manifest=manifest,
            folder=self._out,
        )


class KeptHistograms:
    """Keeps counts alone, added up over the problems."""

    def __init__(self, work: AnyWork, judge: Judge | None, out: Path | None) -> None:
        self._work, self._judge, self._out = work, judge, out
        self._counted: dict[tuple[int, int, tuple[int, int]], Counted] = {}

    def add(self, unit: Unit) -> None:
        """Count a unit, or read what an earlier attempt left of it."""
        key = (unit.point, unit.optimizer, unit.exponents)
        found = self._finished(unit)
        self._counted[key] = self._counted[key] + found if key in self._counted else found

    def _finished(self, unit: Unit) -> Counted:
        """The unit's counts, from disk if they are there."""
        config = self._work.config
        path = None if self._out is None else store.unit_path(self._out, unit.key, ".npz")
        if path is not None and (kept := store.sealed_unit(path)) is not None:
            return Counted.load(kept)
        point, spec = config.points[unit.point], config.specs[unit.optimizer]
        rates = rates_of(config, unit)
        counted = self._work.count(point, spec, rates, unit.seeds, config.steps, self._judge)
        if path is not None:
            counted.save(path)
            store.seal_unit(path)
        return counted

    def _bins(self) -> pd.DataFrame:
        """All bins by point, optimizer (as asked) and rate."""
        config: SweepGrid = self._work.config
        parts = []
        for (p, o, exponents), counted in sorted(self._counted.items(), key=lambda item: item[0]):
            unit = Unit(p, o, exponents, (0, 0))
            columns = {"point": p, **config.points[p].columns, "optimizer": config.optimizers[o]}
            columns |= {"lr": rates_of(config, unit), "lr_exponent": exponents_of(config, unit)}
            parts.append((columns, counted))
        return bins_frame(parts, bin_edges(config.steps))

    def best(self) -> pd.DataFrame:
        """The best rates so far."""
        return best_counted_rates(settings_frame(self._bins()), self._work.config.point_columns)

    def results(self, manifest: dict[str, Any]) -> Results:
        """Everything, put together."""
        return Results.of_histogram(self._work.config, self._bins(), manifest, self._out)


def _rows(work: AnyWork, unit: Unit, run: Any, judge: Judge | None) -> pd.DataFrame:
    """A row per run of the unit."""
    config, shape = work.config, run.steps_to_tolerance.shape
    point, spec = config.points[unit.point], config.specs[unit.optimizer]

    def per_run(values: Any, axis: int | None = None) -> NDArray[Any]:
        array = np.asarray(values)
        if axis is not None:
            array = np.expand_dims(array, 1 - axis)
        return np.broadcast_to(array, shape).ravel()

    columns: dict[str, Any] = {"point": per_run(unit.point)}
    columns |= {name: per_run(value) for name, value in point.columns.items()}
    columns |= {
        "seed": per_run(run.problem.index, 0),
        "optimizer": per_run(spec.label),
        "lr": per_run(run.settings["lr"], 1),
        "lr_exponent": per_run(exponents_of(config, unit), 1),
        "status": run.status.ravel(),
        "steps_to_tolerance": run.steps_to_tolerance.ravel(),
    }
    columns |= {name: values.ravel() for name, values in work.columns(run).items()}
    columns |= {"theorem": per_run(""), "bound_steps": per_run(np.nan), "bound_rate": per_run(np.nan)}
    columns |= {"margin": per_run(np.nan), "verdict": per_run("not applicable")}
    if judge is not None:
        columns |= {name: per_run(values) for name, values in judge(run).items()}
    columns["engine"] = per_run(run.engine)
    return pd.DataFrame(columns)


def _ordered(summary: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """Rows by point, optimizer (as asked), rate and seed, with a mark at the best rate."""
    keys = ["point", "optimizer", "lr"]
    marked = summary.merge(best[keys].assign(best_lr=True), on=keys, how="left", validate="many_to_one")
    marked["best_lr"] = marked["best_lr"].eq(True)
    order = {name: i for i, name in enumerate(dict.fromkeys(summary["optimizer"]))}
    marked = marked.assign(_order=marked["optimizer"].map(order))
    return marked.sort_values(["point", "_order", "lr", "seed"], ignore_index=True).drop(columns="_order")


def _best_curves(work: AnyWork, best: pd.DataFrame, curves: dict[tuple[int, int], list[_Curves]]) -> xr.Dataset:
    """Curves at the best rates: point x optimizer x seed x step, with what each point is as coordinates."""
    config: SweepGrid = work.config
    steps = recorded_steps(config.steps, "log")
    shape = (len(config.points), len(config.specs), config.seeds, steps.size)
    kept = {name: np.full(shape, np.nan) for name in work.curves}
    rates: NDArray[np.float64] = np.full(shape[:2], np.nan)
    chosen = {(row["point"], row["optimizer"]): row["lr"] for row in best.to_dict("records")}
    for (p, o), parts in curves.items():
        rates[p, o] = chosen[p, config.optimizers[o]]
        for part in parts:
            position = np.flatnonzero(part.lr == rates[p, o])
            if position.size:
                first, number = part.seeds
                for name, array in kept.items():
                    array[p, o, first : first + number] = part.values[name][:, position[0]]
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
    axes = ("point", "optimizer", "seed", "step")
    return xr.Dataset({name: (axes, array) for name, array in kept.items()}, coords=coordinates)
