"""One learning rate of a setting at a point: the finished chunks that hold its runs, and their statistics."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from quadsim.simulator.sweeps.results.statistics import RateStatistics
from quadsim.simulator.sweeps.work.rows_file import RowsFile
from quadsim.simulator.sweeps.work.units import Unit

__all__ = ["Chosen", "Rate"]


@dataclass(frozen=True)
class Rate:
    """One rate of a setting at a point.

    Attributes:
        k: of its exponent.
        piece: first and last k of the rates that ran with it.
        parts: the chunks that hold its problems, in order, with their files.
        statistics: of all problems.
    """

    k: int
    piece: tuple[int, int]
    parts: tuple[tuple[Unit, RowsFile], ...]
    statistics: RateStatistics

    def parts_at(self, names: Iterable[str] | None = None) -> Iterator[tuple[Unit, dict[str, NDArray[Any]]]]:
        """Columns at this rate, chunk by chunk, see `RowsFile.at`."""
        for unit, file in self.parts:
            yield unit, file.at(self.k - unit.exponents[0], names)


Chosen = Mapping[tuple[int, str], tuple[str, float]]
"""(point, optimizer) to its best setting and rate."""
