"""A row and curves for every run: finished chunks put together, with one learning rate in memory at a time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.statistics import (
    BestSteps,
    RateStatistics,
    Reading,
    best_at_edge,
    best_of,
    rate_statistics,
    steps_by_seed,
)
from quadsim.simulator.sweeps.run.rate import Chosen, Rate
from quadsim.simulator.sweeps.work.chunk import AnyWork
from quadsim.simulator.sweeps.work.rows_file import RowsFile
from quadsim.simulator.sweeps.work.units import Known, Unit, exponents_of, rates_of, split_seeds

__all__ = ["KeptRows"]


def _chosen(best: Iterable[Mapping[str, Any]]) -> Chosen:
    return {(row["point"], row["optimizer"]): (row["setting"], row["lr"]) for row in best}


def _joined(parts: Iterable[tuple[Unit, dict[str, NDArray[Any]]]]) -> dict[str, NDArray[Any]]:
    """Columns of all problems from those of chunks, of which all have the same."""
    found = [columns for _, columns in parts]
    return {name: np.concatenate([columns[name] for columns in found]) for name in found[0]}


class KeptRows:
    """Puts a row and the curves of every run together."""

    def __init__(self, work: AnyWork, known: Known | None = None) -> None:
        self._work, self._known = work, known
        self._rates: dict[tuple[int, int], list[Rate]] = {}

    def take(self, units: Iterable[Unit], paths: dict[str, Path]) -> None:
        """Take in finished chunks: all of a range of exponents, those of a point and optimizer one after the other."""
        config, parts = self._work.config, list[tuple[Unit, RowsFile]]()
        for unit in units:
            if parts and (unit.point, unit.optimizer) != (parts[0][0].point, parts[0][0].optimizer):
                self._take(config, tuple(parts))
                parts = []
            parts.append((unit, RowsFile(paths[unit.key])))
        self._take(config, tuple(parts))

    def _take(self, config: SweepGrid, parts: tuple[tuple[Unit, RowsFile], ...]) -> None:
        unit = parts[0][0]
        found = self._rates.setdefault((unit.point, unit.optimizer), [])
        reading = Reading.of(config)
        piece = min(each.exponents[0] for each, _ in parts), max(each.exponents[1] for each, _ in parts)
        whole = replace(unit, exponents=piece)
        each = zip(range(piece[0], piece[1] + 1), rates_of(config, whole), exponents_of(config, whole), strict=True)
        for k, lr, exponent in each:
            own = [part for part in parts if part[0].exponents[0] <= k <= part[0].exponents[1]]
            own.sort(key=lambda part: part[0].seeds)
            runs = _joined((part, file.at(k - part.exponents[0], reading.columns)) for part, file in own)
            label = config.specs[unit.optimizer].label
            found.append(Rate(k, piece, tuple(own), rate_statistics(label, lr, exponent, runs, reading)))
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
                    own = [part for part in rate.parts if not part[0].stored] + [(unit, RowsFile(paths[unit.key]))]
                    own.sort(key=lambda part: part[0].seeds)
                    rates[number] = replace(rate, parts=tuple(own))

    def best(self, folder: Path) -> list[dict[str, Any]]:
        """Rows of the best rates, see `best_of`."""
        return self._best()

    def _best(self) -> list[dict[str, Any]]:
        return best_of(self._work.config, self._tried())

    def steps(self, best: Iterable[Mapping[str, Any]]) -> BestSteps:
        """Steps of the runs at the best rates, which `best` returned: what the answer needs of single runs."""
        config = self._work.config
        reading, wanted = Reading.of(config), dict[tuple[int, str, str, float], set[str]]()
        for row in best:
            for name, (setting, lr) in reading.described(row).items():
                wanted.setdefault((row["point"], row["optimizer"], setting, lr), set()).add(name)
        found: dict[tuple[int, str, str, float, str], NDArray[np.float64]] = {}
        for p, s, rate in self._ordered():
            tried = rate.statistics
            key = (p, config.swept[config.optimizer_of[s]].text, tried.setting, tried.lr)
            if key in wanted:
                runs = _joined(rate.parts_at(["seed", "status", *sorted(wanted[key])]))
                found |= {(*key, name): steps_by_seed(runs, name, config.reported) for name in wanted[key]}
        return found

    def write(self, folder: Path, best: Iterable[Mapping[str, Any]]) -> None:
        """Write the summary, in which the best rates are marked."""
        from quadsim.simulator.sweeps.run.rows_writer import write_summary

        config, chosen = self._work.config, _chosen(best)
        store.write_whole(folder / store.SUMMARY, lambda path: write_summary(path, config, self._ordered(), chosen))

    def write_curves(self, folder: Path, best: Iterable[Mapping[str, Any]]) -> None:
        """Write the curves at the best rates."""
        from quadsim.simulator.sweeps.run.rows_writer import write_curves

        config, chosen, names = self._work.config, _chosen(best), self._work.curves
        store.write_whole(
            folder / store.CURVES, lambda path: write_curves(path, config, self._ordered(), chosen, names)
        )

    def _ordered(self) -> Iterator[tuple[int, int, Rate]]:
        """Point, position in `SweepGrid.specs` and rate, by point, setting (as listed) and size of the rate."""
        for p, s in sorted(self._rates):
            for rate in self._rates[p, s]:
                yield p, s, rate
