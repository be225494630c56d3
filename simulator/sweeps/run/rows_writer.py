"""Writing what finished chunks hold: the summary with a row for every run, and the curves at the best rates.

pandas and pyarrow are imported here and not in `rows`: the table of a sweep is printed before its files are written.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import recorded_steps
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.run.rate import Chosen, Rate
from quadsim.simulator.sweeps.work.chunk import CURVE
from quadsim.simulator.sweeps.work.rows_file import RowsFile

__all__ = ["write_curves", "write_summary"]

_GROUP = 1 << 17
"""Rows of the summary that are written together."""

_PIECES = 4096
"""Pieces of one rate each that wait before they are joined: a table of many small pieces is slow."""

Ordered = Iterable[tuple[int, int, Rate]]
"""Point, position in `SweepGrid.specs` and rate, in the order of the summary."""


def write_summary(path: Path, config: SweepGrid, rates: Ordered, chosen: Chosen) -> None:
    """Write rows by point, setting (as listed), rate and seed, with a mark at the best setting and rate.

    Args:
        path: the file.
        config: the grid.
        rates: all of them.
        chosen: the best.
    """
    rates = list(rates)
    columns = pd.DataFrame([point.columns for point in config.points]).to_dict("list")
    points = {str(name): pa.array(list(values), from_pandas=True) for name, values in columns.items()}
    schema = _schema(points, rates)
    with store.parquet_writer(path, schema) as writer:
        waiting: list[pa.Table] = []
        number, of_point = 0, None
        for p, s, rate in rates:
            optimizer, tried = config.swept[config.optimizer_of[s]], rate.statistics
            if of_point is None or p != of_point.number:
                of_point = _PointColumns(p, {"point": pa.scalar(p, pa.int64())} | {n: v[p] for n, v in points.items()})
            own = {"optimizer": pa.scalar(optimizer.text), "setting": pa.scalar(tried.setting)}
            own |= {"family": pa.scalar(optimizer.family)}
            own |= {"lr": pa.scalar(tried.lr), "lr_exponent": pa.scalar(tried.exponent)}
            own["best_lr"] = pa.scalar(chosen[p, optimizer.text] == (tried.setting, tried.lr))
            for unit, runs in rate.parts_at(schema.names):
                waiting.append(_widened(runs, unit.seeds[1], of_point, own, schema))
                number += unit.seeds[1]
                if number >= _GROUP:
                    # Groups of one size, so that the file does not depend on how the problems were divided into chunks.
                    whole = pa.concat_tables(waiting).combine_chunks()
                    full = number // _GROUP * _GROUP
                    writer.write_table(whole.slice(0, full), row_group_size=_GROUP)
                    waiting, number = [whole.slice(full).combine_chunks()], number - full
                elif len(waiting) >= _PIECES:
                    waiting = [pa.concat_tables(waiting).combine_chunks()]
        if number:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())


def _schema(points: dict[str, pa.Array], rates: Ordered) -> pa.Schema:
    """Of the summary: a judge may say different things of different optimizers."""
    found: dict[pa.Schema, None] = {}
    for *_, rate in rates:
        for _, file in rate.parts:
            found[_schema_of(file)] = None
    runs = pa.unify_schemas(list(found), promote_options="permissive")
    own = [field for field in runs if field.name != "seed"]
    fields = [pa.field("point", pa.int64()), *(pa.field(name, values.type) for name, values in points.items())]
    fields += [pa.field("seed", pa.int64())]
    fields += [pa.field(name, pa.string()) for name in ("optimizer", "setting", "family")]
    fields += [pa.field("lr", pa.float64()), pa.field("lr_exponent", pa.string())]
    return pa.schema([*fields, *own, pa.field("best_lr", pa.bool_())])


def _schema_of(file: RowsFile) -> pa.Schema:
    """Of the columns of a chunk, without its curves."""
    types = {name: dtype for name, dtype in file.dtypes.items() if not name.startswith(CURVE)}
    return pa.schema([(name, _arrow_type(dtype)) for name, dtype in types.items()])


def _arrow_type(dtype: np.dtype[Any]) -> pa.DataType:
    return pa.string() if dtype.hasobject else pa.from_numpy_dtype(dtype)


def write_curves(path: Path, config: SweepGrid, rates: Ordered, chosen: Chosen, names: Iterable[str]) -> None:
    """Write curves at the best rates: point x optimizer x seed x step, with what each point is as coordinates.

    Args:
        path: the file.
        config: the grid.
        rates: all of them.
        chosen: the best.
        names: of the curves.
    """
    coordinates = _coordinates(config)
    best = [[chosen[p, optimizer.text] for optimizer in config.swept] for p in range(len(config.points))]
    axes = ("point", "optimizer", "seed", "step")
    coordinates["lr"] = (axes[:2], np.array([[lr for _, lr in row] for row in best]))
    coordinates["setting"] = (axes[:2], np.array([[setting for setting, _ in row] for row in best], dtype=object))
    sizes = (len(config.points), len(config.swept), config.seeds, len(coordinates["step"][1]))
    with store.netcdf_writer(path, dict(zip(axes, sizes, strict=True)), coordinates) as file:
        arrays = {name: file.create_variable(name, axes, np.dtype("float64")) for name in names}
        for p, s, rate in rates:
            o = config.optimizer_of[s]
            if (rate.statistics.setting, rate.statistics.lr) != best[p][o]:
                continue
            for unit, curves in rate.parts_at([CURVE + name for name in arrays]):
                first, number = unit.seeds
                for name, array in arrays.items():
                    array[p, o, first : first + number, :] = curves[CURVE + name]


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


def _widened(
    runs: Mapping[str, NDArray[Any]],
    number: int,
    of_point: _PointColumns,
    own: Mapping[str, pa.Scalar],
    schema: pa.Schema,
) -> pa.Table:
    """Rows with what is the same for all of them."""
    arrays = []
    for field in schema:
        if field.name in of_point.values:
            arrays.append(of_point.column(field, number))
        elif field.name in own:
            arrays.append(pa.repeat(own[field.name], number).cast(field.type))
        elif field.name in runs:
            arrays.append(pa.array(runs[field.name]).cast(field.type))
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
