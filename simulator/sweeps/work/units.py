"""Units of work: what a sweep runs one after the other, and which learning rates they have."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from quadsim.simulator.sweeps.config.grid import FIRST_DECADES, SweepGrid
from quadsim.simulator.sweeps.work.work import Work

__all__ = ["Unit", "exponents_of", "first_range", "number_of_units", "rates_of", "units_of"]


@dataclass(frozen=True)
class Unit:
    """One call of the engine: a pure function of the configuration and these numbers.

    Attributes:
        point: which.
        optimizer: which of `SweepGrid.specs`, a setting of an optimizer.
        exponents: first and last k of the rates.
        seeds: first problem and how many.
    """

    point: int
    optimizer: int
    exponents: tuple[int, int]
    seeds: tuple[int, int]

    @property
    def key(self) -> str:
        """A name for a file."""
        return "_".join(map(str, (self.point, self.optimizer, *self.exponents, *self.seeds)))


def rates_of(config: SweepGrid, unit: Unit) -> list[float]:
    """Learning rates of a unit: natural * 10^(k/density), or the ones given."""
    first, last = unit.exponents
    if config.lr is not None:
        return list(config.lr)
    natural = config.points[unit.point].natural_lr(config.specs[unit.optimizer], config.tolerance)
    return config.rates(natural, range(first, last + 1))


def exponents_of(config: SweepGrid, unit: Unit) -> list[str]:
    """Of the rates, exactly; empty where rates were given."""
    first, last = unit.exponents
    return ["" if config.lr is not None else str(config.exponent(k)) for k in range(first, last + 1)]


def units_of(work: Work[Any, Any, Any], piece: tuple[int, int]) -> Iterator[Unit]:
    """All units of a range of k."""
    config = work.config
    for p, point in enumerate(config.points):
        for o, spec in enumerate(config.specs):
            firsts = work.firsts(point, spec, piece[1] - piece[0] + 1)
            for first in firsts:
                yield Unit(p, o, piece, (first, min(firsts.step, config.seeds - first)))


def number_of_units(work: Work[Any, Any, Any], piece: tuple[int, int]) -> int:
    """How many `units_of` yields."""
    rates = piece[1] - piece[0] + 1
    points, specs = work.config.points, work.config.specs
    return sum(len(work.firsts(point, spec, rates)) for point in points for spec in specs)


def first_range(config: SweepGrid) -> range:
    """The k of the rates that are tried first."""
    return range(-FIRST_DECADES * config.lr_density, FIRST_DECADES * config.lr_density + 1)
