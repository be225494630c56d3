"""Counts alone: finished chunks added up over the problems."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from quadsim.simulator.engines.counting import bin_edges
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.results.histogram import Counted, bins_frame, mark_best, settings_frame
from quadsim.simulator.sweeps.results.statistics import best_counted_of, best_counted_rates
from quadsim.simulator.sweeps.work.chunk import AnyWork
from quadsim.simulator.sweeps.work.units import Unit, exponents_of, rates_of

__all__ = ["KeptHistograms"]


class KeptHistograms:
    """Keeps counts, added up over the problems."""

    def __init__(self, work: AnyWork) -> None:
        self._work = work
        self._counted: dict[tuple[int, int, tuple[int, int]], Counted] = {}

    def take(self, units: Iterable[Unit], paths: dict[str, Path]) -> None:
        """Take in finished chunks, in the order given."""
        for unit in units:
            key = (unit.point, unit.optimizer, unit.exponents)
            found = Counted.from_bytes(paths[unit.key].read_bytes())
            self._counted[key] = self._counted[key] + found if key in self._counted else found

    def _bins(self) -> pd.DataFrame:
        """All bins by point, setting (as listed) and rate."""
        config = self._work.config
        parts = []
        for (p, o, exponents), counted in sorted(self._counted.items(), key=lambda item: item[0]):
            unit = Unit(p, o, exponents, (0, 0))
            optimizer = config.swept[config.optimizer_of[o]]
            columns = {"point": p, **config.points[p].columns, "optimizer": optimizer.text}
            columns |= {"setting": config.specs[o].label, "family": optimizer.family}
            columns |= {"lr": rates_of(config, unit), "lr_exponent": exponents_of(config, unit)}
            parts.append((columns, counted))
        return bins_frame(parts, bin_edges(config.steps))

    def edges(self) -> set[str]:
        """See `best_at_edge`, over all points and optimizers."""
        frame = settings_frame(self._bins(), self._work.config.until)
        each = best_counted_rates(frame.assign(optimizer=frame["optimizer"] + frame["setting"]), ())
        return set(each["at_edge"]) - {""}

    def write(self, folder: Path) -> None:
        """Write the histogram."""
        bins = self._bins()
        best = best_counted_of(self._work.config, settings_frame(bins, self._work.config.until))
        store.write_frame(folder / store.HISTOGRAM, mark_best(bins, best))
