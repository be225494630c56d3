"""Chunks of a sweep that is extended, made of the tables of the smaller one instead of being run."""

from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.config.sameness import point_key
from quadsim.simulator.sweeps.results.histogram import Counted
from quadsim.simulator.sweeps.results.results import Results
from quadsim.simulator.sweeps.work.chunk import CURVE, AnyWork, chunk_suffix
from quadsim.simulator.sweeps.work.rows_file import rows_content
from quadsim.simulator.sweeps.work.sealed import seal
from quadsim.simulator.sweeps.work.units import Known, Unit

__all__ = ["Stored"]

_ALONE = ("closed-form", "fused", "stack")
"""Engines whose run at one rate is bit for bit the same whichever other rates run with it. The others multiply matrices for all
rates at once, where a product with one column is rounded differently."""

_SCALE = ["point", "optimizer", "setting", "lr"]


class Stored:
    """What a finished sweep holds of a larger one.

    Args:
        work: what runs the larger one.
        old: the results of the smaller one.
    """

    def __init__(self, work: AnyWork, old: Results) -> None:
        self._work, self._old = work, old

    @cached_property
    def _same(self) -> dict[tuple[int, int], tuple[int, str, str]]:
        """For (point, setting) of the larger sweep: point, optimizer and setting of the smaller one that are the same."""
        new, old = self._work.config, self._old.config
        points = {point_key(point): p for p, point in enumerate(old.points)}
        settings = [(spec, one.text) for one in old.swept for spec in one.settings]
        found = {}
        for p, point in enumerate(new.points):
            for s, spec in enumerate(new.specs):
                texts = [text for known, text in settings if known == spec]
                if texts and point_key(point) in points:
                    found[p, s] = (points[point_key(point)], texts[0], spec.label)
        return found

    @cached_property
    def known(self) -> Known:
        """Which runs there are."""
        tried = self._tried()
        rates: dict[tuple[int, int], frozenset[int]] = {}
        curves: dict[tuple[int, int], int] = {}
        together = set()
        groups = {key: group for key, group in tried.groupby(_SCALE[:3], sort=False)}
        for pair, key in self._same.items():
            rows = groups[key]
            found = {self._k(pair, row): row for row in rows.to_dict("records")}
            known = {k: row for k, row in found.items() if k is not None}
            rates[pair] = frozenset(known)
            best = [k for k, row in known.items() if row["best_lr"] and self._old.histogram is None]
            if best:
                curves[pair] = best[0]
            if not set(rows["engine"]) <= set(_ALONE):
                together.add(pair)
        return Known(self._old.config.seeds, rates, curves, frozenset(together))

    def _tried(self) -> pd.DataFrame:
        """A row per point, setting and rate."""
        columns = [*_SCALE, "lr_exponent", "engine", "best_lr"]
        bins = self._old.histogram
        if bins is not None:
            rows: pd.DataFrame = bins[bins["up_to"] == bins["up_to"].min()]
            return rows[columns]
        path = self._old.tables.folder / store.SUMMARY
        return store.read_frame(path, columns=columns, filters=[("seed", "==", 0)])

    def _k(self, pair: tuple[int, int], row: dict[Any, Any]) -> int | None:
        """The k of a rate in the larger sweep; None where that does not have it."""
        config: SweepGrid = self._work.config
        lr = float(row["lr"])
        if config.lr is not None:
            return config.lr.index(lr) if lr in config.lr else None
        k = Fraction(row["lr_exponent"]) * config.lr_density
        return int(k) if k.denominator == 1 else None

    def provide(self, unit: Unit, folder: Path, producer: str) -> None:
        """Write a chunk that is stored, as `ChunkFunction` would after a run; curves only at a rate where they are known."""
        point, optimizer, setting = self._same[unit.point, unit.optimizer]
        frame = self._tried_here(unit)
        if self._old.histogram is not None:
            bins = self._old.histogram
            same = (bins["point"] == point) & (bins["optimizer"] == optimizer) & (bins["setting"] == setting)
            content = Counted.of_bins(bins[same & bins["lr"].isin(frame)]).to_bytes()
        else:
            only = [
                ("point", "==", point),
                ("optimizer", "==", optimizer),
                ("setting", "==", setting),
                ("lr", "in", frame),
            ]
            content = rows_content(self._rows(unit, only, (point, optimizer)))
        seal(folder, unit.key, chunk_suffix(self._work.config), content, producer)

    def _tried_here(self, unit: Unit) -> list[float]:
        """The rates of a unit, as they are stored."""
        key = self._same[unit.point, unit.optimizer]
        first, last = unit.exponents
        rows = self._by_setting[key]
        ks = {self._k((unit.point, unit.optimizer), row): row["lr"] for row in rows}
        return [float(ks[k]) for k in range(first, last + 1)]

    @cached_property
    def _by_setting(self) -> dict[Any, list[dict[Any, Any]]]:
        return {key: group.to_dict("records") for key, group in self._tried().groupby(_SCALE[:3], sort=False)}

    def _rows(self, unit: Unit, only: list[Any], curves_of: tuple[int, str]) -> dict[str, NDArray[Any]]:
        """Columns of the summary without those that say what was run, (rates, problems), and curves where they are known."""
        config = self._old.config
        import pyarrow.parquet as pq

        with (self._old.tables.folder / store.SUMMARY).open("rb") as file:
            table = pq.read_table(file, filters=only)
        own = {"point", *config.points[0].columns, "optimizer", "setting", "family", "lr", "lr_exponent", "best_lr"}
        # A column of nothing is one that these runs did not have.
        names = [name for name in table.schema.names if name not in own and table[name].null_count < table.num_rows]
        found = {name: table[name].to_numpy().reshape(-1, unit.seeds[1]) for name in names}
        k = self.known.curves.get((unit.point, unit.optimizer))
        if unit.exponents == (k, k):
            curves = self._old.curves
            assert curves is not None  # rows are kept with curves
            o = [one.text for one in config.swept].index(curves_of[1])
            for name in self._work.curves:
                found[CURVE + name] = np.asarray(curves[name][curves_of[0], o].values, dtype=np.float64)[None]
        return found
