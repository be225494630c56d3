"""Partition the parameters of a model into blocks, in three nested ways."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.models.base import Parameter
from quadsim.simulator.support.checks import check_choice

__all__ = ["PARTITIONS", "Partition", "partition"]

PARTITIONS = ("layer", "module", "unit")
"""Names of the partitions, from coarse to fine: `layer` (embedding, each layer, head), `module` (embed, pos, q, k, v, o, w1,
w2, each norm's gain, head), `unit` (as `module`, but each row of embed, pos and head is a block: one token, position or
class)."""


@dataclass(frozen=True)
class Partition:
    """Blocks of contiguous coordinates.

    Attributes:
        name: one of PARTITIONS.
        labels: of the blocks, (B,).
        sizes: P_l of the blocks, (B,).
    """

    name: str
    labels: tuple[str, ...]
    sizes: tuple[int, ...]

    @cached_property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """For every block its first coordinate and the one after its last."""
        ends = list(itertools.accumulate(self.sizes))
        return tuple(zip([0, *ends], ends, strict=False))

    @cached_property
    def block_of(self) -> NDArray[np.int64]:
        """Index of the block of every coordinate, (P,)."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


def partition(parameters: Sequence[Parameter], name: str, copies: int = 1) -> Partition:
    """Return the partition of a model with these parameters; its copies follow one after the other.

    Raises:
        ValueError: an unknown partition.
    """
    check_choice("partition", name, PARTITIONS)
    cut = {"layer": _layers, "module": _modules, "unit": _units}[name]
    one = list(cut(parameters))
    prefixes = [f"copy{i}." for i in range(copies)] if copies > 1 else [""]
    blocks = [(prefix + label, size) for prefix in prefixes for label, size in one]
    return Partition(name, tuple(label for label, _ in blocks), tuple(size for _, size in blocks))


def _layers(parameters: Sequence[Parameter]) -> Iterator[tuple[str, int]]:
    for layer, group in itertools.groupby(parameters, key=lambda p: p.layer):
        yield layer, sum(p.size for p in group)


def _modules(parameters: Sequence[Parameter]) -> Iterator[tuple[str, int]]:
    for p in parameters:
        for part in p.parts or (p.name,):
            yield part, p.size // max(len(p.parts), 1)


def _units(parameters: Sequence[Parameter]) -> Iterator[tuple[str, int]]:
    for p in parameters:
        if p.by_row:
            for row in range(p.shape[0]):
                yield f"{p.name}[{row}]", p.size // p.shape[0]
        else:
            yield from _modules([p])
