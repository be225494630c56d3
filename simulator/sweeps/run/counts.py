"""Counts alone: finished chunks added up over the problems."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadsim.simulator.engines.counting import bin_edges
from quadsim.simulator.support import store
from quadsim.simulator.support.records import records_of
from quadsim.simulator.sweeps.results.histogram import Counted, bins_frame, mark_best, settings_frame
from quadsim.simulator.sweeps.results.statistics import best_counted_of, best_counted_rates
from quadsim.simulator.sweeps.work.chunk import AnyWork
from quadsim.simulator.sweeps.work.units import Known, Unit, exponents_of, rates_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KeptHistograms"]


class KeptHistograms:
    """Keeps counts, added up over the problems."""

    def __init__(self, work: AnyWork, known: Known | None = None) -> None:
        self._work = work
        self._counted: dict[tuple[int, int, int], Counted] = {}

    def take(self, units: Iterable[Unit], paths: dict[str, Path]) -> None:
        """Take in finished chunks, in the order given."""
        for unit in units:
            found = Counted.from_bytes(paths[unit.key].read_bytes())
            for index, k in enumerate(range(unit.exponents[0], unit.exponents[1] + 1)):
                key, own = (unit.point, unit.optimizer, k), found.at(index)
                self._counted[key] = self._counted[key] + own if key in self._counted else own

    def without_curves(self) -> list[Unit]:
        """Counts have no curves."""
        return []

    def take_curves(self, units: Iterable[Unit], paths: dict[str, Path]) -> None:
        """Counts have no curves."""

    def _grouped(self) -> list[tuple[tuple[int, int], list[int]]]:
        """(Point, setting) with its k in order."""
        found: dict[tuple[int, int], list[int]] = {}
        for p, o, k in sorted(self._counted):
            found.setdefault((p, o), []).append(k)
        return list(found.items())

    def _bins(self) -> "pd.DataFrame":
        """All bins by point, setting (as listed) and rate."""
        config = self._work.config
        parts = []
        for (p, o), ks in self._grouped():
            unit = Unit(p, o, (ks[0], ks[-1]), (0, 0))
            optimizer = config.swept[config.optimizer_of[o]]
            columns = {"point": p, **config.points[p].columns, "optimizer": optimizer.text}
            columns |= {"setting": config.specs[o].label, "family": optimizer.family}
            columns |= {"lr": rates_of(config, unit), "lr_exponent": exponents_of(config, unit)}
            parts.append((columns, Counted.joined([self._counted[p, o, k] for k in ks])))
        return bins_frame(parts, bin_edges(config.steps))

    def edges(self) -> set[str]:
        """See `best_at_edge`, over all points and optimizers."""
        frame = settings_frame(self._bins(), self._work.config.until)
        each = best_counted_rates(frame.assign(optimizer=frame["optimizer"] + frame["setting"]), ())
        return set(each["at_edge"]) - {""}

    def best(self, folder: Path) -> list[dict[str, Any]]:
        """Write the histogram, of which the answer needs more than the best rates, and return the rows of these."""
        bins = self._bins()
        best = best_counted_of(self._work.config, settings_frame(bins, self._work.config.until))
        store.write_frame(folder / store.HISTOGRAM, mark_best(bins, best))
        return records_of(best)

    def steps(self, best: object) -> None:
        """Counts have no single runs."""

    def write(self, folder: Path, best: object) -> None:
        """All is written, see `best`."""

    def write_curves(self, folder: Path, best: object) -> None:
        """Counts have no curves."""
