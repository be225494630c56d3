"""A part of finished results, some optimizers and points, as results of their own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.config.sameness import point_key
from quadsim.simulator.sweeps.results.integrity import checksums
from quadsim.simulator.sweeps.results.results import Results

__all__ = ["PART", "write_part"]

PART = "only.json"
"""The file by which the folder of a part is known: the folder of the whole, and what was chosen."""


def write_part(whole: Results, config: SweepGrid, only: Mapping[str, Sequence[str]], folder: Path) -> Results:
    """Write the rows (or counts) and curves of some optimizers and points to a folder, as they are.

    Best rates and settings stay those of the whole, whose grid of learning rates may be wider than that of a sweep of the part.

    Args:
        whole: the results, in a folder.
        config: what `narrowed` made of their configuration.
        only: what was asked for.
        folder: that gets the files.

    Returns:
        The part.
    """
    before = {point_key(point): p for p, point in enumerate(whole.config.points)}
    points = [before[point_key(point)] for point in config.points]
    number = {old: new for new, old in enumerate(points)}
    texts = [one.text for one in config.swept]
    store.write_json(
        folder / PART, {"of": str(whole.folder), "only": {name: list(values) for name, values in only.items()}}
    )
    store.write_json(folder / store.CONFIG, config.to_json())
    bins = whole.histogram
    if bins is None:
        _write_rows(whole, number, texts, folder / store.SUMMARY)
        curves = whole.curves
        assert curves is not None  # rows are kept with curves
        every = [one.text for one in whole.config.swept]
        chosen = [every.index(text) for text in texts]
        store.write_dataset(folder / store.CURVES, curves.isel(point=points, optimizer=chosen))
        told = whole.guarantees
        if told is not None:
            told = told[told["point"].isin(points) & told["optimizer"].isin(texts)]
            told = told.assign(point=told["point"].map(number)).sort_values("point", kind="stable")
            store.write_frame(folder / store.GUARANTEES, told)
    else:
        kept = bins[bins["point"].isin(points) & bins["optimizer"].isin(texts)]
        kept = kept.assign(point=kept["point"].map(number)).sort_values("point", kind="stable")
        store.write_frame(folder / store.HISTOGRAM, kept)
    manifest: dict[str, Any] = {**whole.manifest, "part_of": str(whole.folder), "files": checksums(folder)}
    store.write_json(folder / store.MANIFEST, manifest)
    return Results.load(folder)


def _write_rows(whole: Results, number: Mapping[int, int], texts: list[str], path: Path) -> None:
    """The rows of the summary with new numbers of the points, group by group."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def write(temporary: Path) -> None:
        with store.parquet_reader(whole.tables.folder / store.SUMMARY) as file:
            schema = file.schema_arrow
            at = schema.names.index("point")
            with store.parquet_writer(temporary, schema) as writer:
                for batch in file.iter_batches():
                    table = pa.Table.from_batches([batch])
                    wanted = pc.and_(
                        pc.is_in(table["point"], pa.array(list(number), pa.int64())),
                        pc.is_in(table["optimizer"], pa.array(texts)),
                    )
                    table = table.filter(wanted)
                    new = np.array([number[old] for old in table["point"].to_pylist()], dtype=np.int64)
                    writer.write_table(table.set_column(at, schema.field("point"), pa.array(new)))

    store.write_whole(path, write)
