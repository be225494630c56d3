"""Map blocks of different sizes to the coordinates of a problem, and convert between flat arrays and arrays by block size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BlockLayout"]


@dataclass(frozen=True)
class BlockLayout:
    """Contiguous blocks of coordinates. Blocks of equal size are stored in one array, so that operations run on all of them.

    Attributes:
        block_sizes: P_l of every block, in the order of the coordinates.
    """

    block_sizes: tuple[int, ...]

    @property
    def dimension(self) -> int:
        """P, the number of coordinates."""
        return sum(self.block_sizes)

    @cached_property
    def groups(self) -> dict[int, NDArray[np.int64]]:
        """Maps a block size to the indices of the blocks of that size, (B_size,)."""
        sizes = np.array(self.block_sizes)
        return {int(size): np.flatnonzero(sizes == size) for size in dict.fromkeys(self.block_sizes)}

    @cached_property
    def positions(self) -> dict[int, NDArray[np.int64]]:
        """Maps a block size to the coordinates of the blocks of that size, (B_size, P_size)."""
        begins = np.concatenate([[0], np.cumsum(self.block_sizes)[:-1]])
        return {size: begins[blocks][:, None] + np.arange(size) for size, blocks in self.groups.items()}

    def flatten(self, groups: Mapping[int, NDArray[Any]]) -> NDArray[Any]:
        """Convert arrays (M, B_size, P_size, ...) by block size to one array (M, P, ...)."""
        first = next(iter(groups.values()))
        out = np.empty((first.shape[0], self.dimension, *first.shape[3:]), dtype=first.dtype)
        for size, positions in self.positions.items():
            out[:, positions] = groups[size]
        return out

    def split(self, flat: NDArray[Any]) -> dict[int, NDArray[Any]]:
        """Convert one array (M, P, ...) to contiguous arrays (M, B_size, P_size, ...) by block size."""
        return {size: np.ascontiguousarray(flat[:, positions]) for size, positions in self.positions.items()}

    def join_blocks(self, groups: Mapping[int, NDArray[Any]]) -> NDArray[Any]:
        """Convert arrays (M, B_size, ...) with one entry per block to one array (M, B, ...) in block order."""
        first = next(iter(groups.values()))
        out = np.empty((first.shape[0], len(self.block_sizes), *first.shape[2:]), dtype=first.dtype)
        for size, blocks in self.groups.items():
            out[:, blocks] = groups[size]
        return out

    def group(self, blocks: Sequence[NDArray[Any]]) -> dict[int, NDArray[Any]]:
        """Convert a list of arrays (M, ...), one per block, to arrays (M, B_size, ...) by block size."""
        return {size: np.stack([blocks[b] for b in members], axis=1) for size, members in self.groups.items()}
