"""Units of work: what a sweep runs one after the other, and which learning rates they have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from quadsim.simulator.sweeps.config.grid import FIRST_DECADES, SweepGrid
from quadsim.simulator.sweeps.work.work import Work

__all__ = ["Known", "Unit", "exponents_of", "first_range", "rates_of", "split_seeds", "units_of"]


@dataclass(frozen=True)
class Unit:
    """One call of the engine: a pure function of the configuration and these numbers.

    Attributes:
        point: which.
        optimizer: which of `SweepGrid.specs`, a setting of an optimizer.
        exponents: first and last k of the rates.
        seeds: first problem and how many.
        stored: whether its rows come from a finished sweep that is extended; their curves may be missing there.
    """

    point: int
    optimizer: int
    exponents: tuple[int, int]
    seeds: tuple[int, int]
    stored: bool = False

    @property
    def key(self) -> str:
        """The name of the file of this chunk, without suffix."""
        numbers = "_".join(map(str, (self.point, self.optimizer, *self.exponents, *self.seeds)))
        return f"{numbers}_stored" if self.stored else numbers


@dataclass(frozen=True)
class Known:
    """The runs of a sweep that a smaller, finished one holds: the first problems under some of the rates.

    Attributes:
        seeds: how many problems it holds.
        rates: for (point, position in `SweepGrid.specs`) the k of the rates.
        curves: likewise the k of the one rate whose curves are stored, where there is one.
        together: the pairs of point and setting whose last bits depend on which rates run together (see TOGETHER).
    """

    seeds: int
    rates: Mapping[tuple[int, int], frozenset[int]]
    curves: Mapping[tuple[int, int], int]
    together: frozenset[tuple[int, int]]

    def segments(self, point: int, optimizer: int, piece: tuple[int, int]) -> list[tuple[int, int, bool]]:
        """A range of k as parts (first, last, whether stored); the rate with curves is a part of its own.

        Where rates must run together, it is stored as a whole or not at all.
        """
        pair = (point, optimizer)
        every, curve = range(piece[0], piece[1] + 1), self.curves.get(pair)
        known = self.rates.get(pair, frozenset())
        if pair in self.together and not known.issuperset(every):
            known = frozenset()
        parts: list[tuple[int, int, bool]] = []
        for k in every:
            stored = k in known
            joined = parts and parts[-1][2] == stored and not (stored and curve in (k, k - 1))
            parts[-1:] = [(parts[-1][0], k, stored)] if joined else [*parts[-1:], (k, k, stored)]
        return parts


def rates_of(config: SweepGrid, unit: Unit) -> list[float]:
    """Learning rates of a unit: natural * 10^(k/density), or the ones given."""
    first, last = unit.exponents
    if config.lr is not None:
        return list(config.lr[first : last + 1])
    natural = config.points[unit.point].natural_lr(config.specs[unit.optimizer], config.tolerance)
    return config.rates(natural, range(first, last + 1))


def exponents_of(config: SweepGrid, unit: Unit) -> list[str]:
    """Of the rates, exactly; empty where rates were given."""
    first, last = unit.exponents
    return ["" if config.lr is not None else str(config.exponent(k)) for k in range(first, last + 1)]


def units_of(work: Work[Any, Any, Any], piece: tuple[int, int], known: Known | None = None) -> Iterator[Unit]:
    """All units of a range of k, those of a point and setting one after the other.

    Args:
        work: what runs them.
        piece: first and last k.
        known: runs that are stored: they are units of their own, and the others are divided around them.
    """
    config = work.config
    for p in range(len(config.points)):
        for o in range(len(config.specs)):
            parts = [] if known is None else known.segments(p, o, piece)
            begin = 0
            if known is not None and any(stored for *_, stored in parts):
                begin = known.seeds
                for first, last, stored in parts:
                    if stored:
                        yield Unit(p, o, (first, last), (0, begin), stored=True)
                    else:
                        yield from split_seeds(work, Unit(p, o, (first, last), (0, begin)))
            if begin < config.seeds:
                yield from split_seeds(work, Unit(p, o, piece, (begin, config.seeds - begin)))


def split_seeds(work: Work[Any, Any, Any], unit: Unit) -> Iterator[Unit]:
    """Units of a size that fits in memory in place of a larger one."""
    config, (begin, number) = work.config, unit.seeds
    rates = unit.exponents[1] - unit.exponents[0] + 1
    step = work.firsts(config.points[unit.point], config.specs[unit.optimizer], rates).step
    for first in range(begin, begin + number, step):
        yield replace(unit, seeds=(first, min(step, begin + number - first)))


def first_range(config: SweepGrid) -> range:
    """The k of the rates that are tried first."""
    return range(-FIRST_DECADES * config.lr_density, FIRST_DECADES * config.lr_density + 1)
