"""A row and curves for every run: finished chunks put together on disk, with one learning rate in memory at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import recorded_steps
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.statistics import (
    RateStatistics,
    Reading,
    best_at_edge,
    best_of,
    rate_statistics,
)
from quadsim.simulator.sweeps.work.chunk import CURVE, AnyWork, read_rates
from quadsim.simulator.sweeps.work.units import Known, Unit, exponents_of, rates_of, split_seeds

__all__ = ["KeptRows"]


_GROUP = 1 << 17
"""Rows of the summary that are written together."""

_MOST_MAPPED = 4096
"""Batches that may wait as parts of mapped files: each is a mapping, of which a process may have some 65,000 on Linux."""


@dataclass(frozen=True)
class _Rate:
    """One rate of a setting at a point.

    Attributes:
        k: of its exponent.
        piece: first and last k of the rates that ran with it.
        parts: the chunks that hold its problems, in order, with their files.
        statistics: of all problems.
    """

    k: int
    piece: tuple[int, int]
    parts: tuple[tuple[Unit, Path], ...]
    statistics: RateStatistics

    def batches(self) -> Iterator[tuple[Unit, pa.RecordBatch]]:
        """Rows, chunk by chunk."""
        for unit, path in self.parts:
            for batch in _batches(unit, path, self.k):
                yield unit, batch


def _batches(unit: Unit, path: Path, k: int) -> Iterator[pa.RecordBatch]:
    index = k - unit.exponents[0]
    yield from read_rates(path, range(index, index + 1))


_Chosen = dict[tuple[int, str], tuple[str, float]]
"""(point, optimizer) to its best setting and rate."""


def _chosen(best: pd.DataFrame) -> _Chosen:
    return {
        (row["point"], row["optimizer"]): (row["setting"], row["lr"])
        for row in best[["point", "optimizer", "setting", "lr"]].to_dict("records")
    }


class KeptRows:
    """Puts a row and the curves of every run together."""

    def __init__(self, work: AnyWork, known: Known | None = None) -> None:
        self._work, self._known = work, known
        self._rates: dict[tuple[int, int], list[_Rate]] = {}

    def take(self, units: Iterable[Unit], paths: dict[str, Path]) -> None:
        """Take in finished chunks: all of a range of exponents, those of a point and optimizer one after the other."""
        config, parts = self._work.config, list[tuple[Unit, Path]]()
        for unit in units:
            if parts and (unit.point, unit.optimizer) != (parts[0][0].point, parts[0][0].optimizer):
                self._take(config, tuple(parts))
                parts = []
            parts.append((unit, paths[unit.key]))
        self._take(config, tuple(parts))

    def _take(self, config: SweepGrid, parts: tuple[tuple[Unit, Path], ...]) -> None:
        unit = parts[0][0]
        found = self._rates.setdefault((unit.point, unit.optimizer), [])
        reading = Reading.of(config)
        piece = min(each.exponents[0] for each, _ in parts), max(each.exponents[1] for each, _ in parts)
        whole = replace(unit, exponents=piece)
        each = zip(range(piece[0], piece[1] + 1), rates_of(config, whole), exponents_of(config, whole), strict=True)
        for k, lr, exponent in each:
            own = [part for part in parts if part[0].exponents[0] <= k <= part[0].exponents[1]]
            own.sort(key=lambda part: part[0].seeds)
            batches = [batch for part, path in own for batch in _batches(part, path, k)]
            runs = {name: _joined(batches, name) for name in reading.columns if name in batches[0].schema.names}
            label = config.specs[unit.optimizer].label
            found.append(_Rate(k, piece, tuple(own), rate_statistics(label, lr, exponent, runs, reading)))
        found.sort(key=lambda rate: rate.statistics.lr)

    def edges(self) -> set[str]:
        """See `best_at_edge`, over all points and optimizers."""
        return set().union(*(best_at_edge(tried) for tried in self._tried().values()))

    def _tried(self) -> dict[tuple[int, int], list[RateStatistics]]:
        """For (point, optimizer) the statistics of its settings and rates, see `best_row`."""
        found: dict[tuple[int, int], list[RateStatistics]] = {}
        for p, s, rate in self._ordered():
            found.setdefault((p, self._work.config.optimizer_of[s]), []).append(rate.statistics)
        return found

    def without_curves(self) -> list[Unit]:
        """Chunks that have to be run for their curves: a rate is the best now that was not in the sweep that is extended."""
        if self._known is None:
            return []
        config, known, chosen, out = self._work.config, self._known, _chosen(self._best()), list[Unit]()
        for p, s, rate in self._ordered():
            wanted = chosen[p, config.swept[config.optimizer_of[s]].text]
            stored = any(unit.stored for unit, _ in rate.parts) and known.curves.get((p, s)) != rate.k
            if stored and wanted == (rate.statistics.setting, rate.statistics.lr):
                exponents = rate.piece if (p, s) in known.together else (rate.k, rate.k)
                out += split_seeds(self._work, Unit(p, s, exponents, (0, known.seeds)))
        return out

    def take_curves(self, units: Iterable[Unit], paths: dict[str, Path]) -> None:
        """Put chunks of `without_curves`, now finished, in place of those without curves."""
        for unit in units:
            rates = self._rates[unit.point, unit.optimizer]
            for number, rate in enumerate(rates):
                if unit.exponents[0] <= rate.k <= unit.exponents[1]:
                    own = [part for part in rate.parts if not part[0].stored] + [(unit, paths[unit.key])]
                    own.sort(key=lambda part: part[0].seeds)
                    rates[number] = replace(rate, parts=tuple(own))

    def _best(self) -> pd.DataFrame:
        return best_of(self._work.config, self._tried())

    def write(self, folder: Path) -> pd.DataFrame:
        """Write the summary, and return the rows of the best rates."""
        best = self._best()
        chosen = _chosen(best)
        store.write_whole(folder / store.SUMMARY, lambda path: self._write_summary(path, chosen))
        return best

    def write_curves(self, folder: Path, best: pd.DataFrame) -> None:
        """Write the curves at the best rates, which `write` returned."""
        chosen = _chosen(best)
        store.write_whole(folder / store.CURVES, lambda path: self._write_curves(path, chosen))

    def _ordered(self) -> Iterator[tuple[int, int, _Rate]]:
        """Point, position in `SweepGrid.specs` and rate, by point, setting (as listed) and size of the rate."""
        for p, s in sorted(self._rates):
            for rate in self._rates[p, s]:
                yield p, s, rate

    def _write_summary(self, path: Path, chosen: _Chosen) -> None:
        """Rows by point, setting (as listed), rate and seed, with a mark at the best setting and rate."""
        config = self._work.config
        columns = pd.DataFrame([point.columns for point in config.points]).to_dict("list")
        points = {str(name): pa.array(list(values), from_pandas=True) for name, values in columns.items()}
        schema = self._schema(points)
        with store.parquet_writer(path, schema) as writer:
            waiting: list[pa.Table] = []
            number, of_point = 0, None
            for p, s, rate in self._ordered():
                optimizer, tried = config.swept[config.optimizer_of[s]], rate.statistics
                if of_point is None or p != of_point.number:
                    of_point = _PointColumns(
                        p, {"point": pa.scalar(p, pa.int64())} | {n: v[p] for n, v in points.items()}
                    )
                own = {"optimizer": pa.scalar(optimizer.text), "setting": pa.scalar(tried.setting)}
                own |= {"family": pa.scalar(optimizer.family)}
                own |= {"lr": pa.scalar(tried.lr), "lr_exponent": pa.scalar(tried.exponent)}
                own["best_lr"] = pa.scalar(chosen[p, optimizer.text] == (tried.setting, tried.lr))
                for _, batch in rate.batches():
                    waiting.append(_widened(batch, of_point, own, schema))
                    number += batch.num_rows
                    if number >= _GROUP:
                        # Groups of one size, so that the file does not depend on how the problems were divided into chunks.
                        whole = pa.concat_tables(waiting).combine_chunks()
                        full = number // _GROUP * _GROUP
                        writer.write_table(whole.slice(0, full), row_group_size=_GROUP)
                        waiting, number = [whole.slice(full).combine_chunks()], number - full
                    elif len(waiting) >= _MOST_MAPPED:
                        waiting = [pa.concat_tables(waiting).combine_chunks()]  # a copy: no file is mapped for it
            if number:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())

    def _schema(self, points: dict[str, pa.Array]) -> pa.Schema:
        """Of the summary: a judge may say different things of different optimizers."""
        found: dict[pa.Schema, None] = {}
        for *_, rate in self._ordered():
            for _, path in rate.parts:
                with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
                    found[reader.schema] = None
        runs = pa.unify_schemas(list(found), promote_options="permissive")
        own = [field for field in runs if not field.name.startswith(CURVE) and field.name != "seed"]
        fields = [pa.field("point", pa.int64()), *(pa.field(name, values.type) for name, values in points.items())]
        fields += [pa.field("seed", pa.int64())]
        fields += [pa.field(name, pa.string()) for name in ("optimizer", "setting", "family")]
        fields += [pa.field("lr", pa.float64()), pa.field("lr_exponent", pa.string())]
        return pa.schema([*fields, *own, pa.field("best_lr", pa.bool_())])

    def _write_curves(self, path: Path, chosen: _Chosen) -> None:
        """Curves at the best rates: point x optimizer x seed x step, with what each point is as coordinates."""
        config = self._work.config
        coordinates = _coordinates(config)
        best = [[chosen[p, optimizer.text] for optimizer in config.swept] for p in range(len(config.points))]
        axes = ("point", "optimizer", "seed", "step")
        coordinates["lr"] = (axes[:2], np.array([[lr for _, lr in row] for row in best]))
        coordinates["setting"] = (axes[:2], np.array([[setting for setting, _ in row] for row in best], dtype=object))
        sizes = (len(config.points), len(config.swept), config.seeds, len(coordinates["step"][1]))
        with store.netcdf_writer(path, dict(zip(axes, sizes, strict=True)), coordinates) as file:
            arrays = {name: file.create_variable(name, axes, np.dtype("float64")) for name in self._work.curves}
            for p, s, rate in self._ordered():
                o = config.optimizer_of[s]
                if (rate.statistics.setting, rate.statistics.lr) != best[p][o]:
                    continue
                for unit, batch in rate.batches():
                    first, number = unit.seeds
                    for name, array in arrays.items():
                        values = batch.column(CURVE + name).flatten().to_numpy().reshape(number, -1)
                        array[p, o, first : first + number, :] = values


def _joined(batches: Sequence[pa.RecordBatch], name: str) -> NDArray[Any]:
    """A column of all batches, (rows,)."""
    return np.concatenate([batch.column(name).to_numpy(zero_copy_only=False) for batch in batches])


class _PointColumns:
    """Columns that are the same for all runs of a point: made once for all its rates, which have the same number of rows.

    Args:
        number: of the point.
        values: name to value.
    """

    def __init__(self, number: int, values: dict[str, pa.Scalar]) -> None:
        self.number, self.values = number, values
        self._made: dict[tuple[str, int], pa.Array] = {}

    def column(self, field: pa.Field, rows: int) -> pa.Array:
        """A column of so many rows."""
        key = field.name, rows
        if key not in self._made:
            self._made[key] = pa.repeat(self.values[field.name], rows).cast(field.type)
        return self._made[key]


def _widened(batch: pa.RecordBatch, of_point: _PointColumns, own: dict[str, pa.Scalar], schema: pa.Schema) -> pa.Table:
    """Rows with what is the same for all of them."""
    number = batch.num_rows
    arrays = []
    for field in schema:
        if field.name in of_point.values:
            arrays.append(of_point.column(field, number))
        elif field.name in own:
            arrays.append(pa.repeat(own[field.name], number).cast(field.type))
        elif field.name in batch.schema.names:
            arrays.append(batch.column(field.name).cast(field.type))
        else:
            arrays.append(pa.nulls(number, field.type))
    return pa.table(arrays, schema=schema)


def _coordinates(config: SweepGrid) -> dict[str, Any]:
    columns = pd.DataFrame([point.columns for point in config.points])
    out: dict[str, Any] = {
        "optimizer": ("optimizer", np.array(config.optimizers, dtype=object)),
        "seed": ("seed", np.arange(config.seeds)),
        "step": ("step", recorded_steps(config.steps, "log")),
    }
    for name in columns.columns:
        values: NDArray[Any] = columns[name].to_numpy()
        text = values.dtype == object or str(values.dtype).startswith("str")
        out[name] = ("point", np.array([str(v) for v in values], dtype=object) if text else values)
    return out
