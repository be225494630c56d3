"""Couple the blocks of a Hessian by a dial, and divide the coordinates into other blocks than those of the Hessian.

`H = D^(1/2) (I + c O) D^(1/2)`: D is block-diagonal, O is symmetric with zero diagonal blocks and spectral norm 1. So
`(1-c) D <= H <= (1+c) D`, and the diagonal blocks of H are those of D (docs/theory.md section 10).

A *partition* is the division into blocks that a rule and a theorem use (the mean of adam-mini, the rate of block-gd). It need
not be the division into which the Hessian falls.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.layout import BlockLayout
from quadsim.simulator.support.checks import check_choice, check_interval
from quadsim.simulator.support.draws import Purpose, normals

if TYPE_CHECKING:
    from quadsim.simulator.problems.quadratic import BlockQuadratic

__all__ = [
    "PARTITIONS",
    "check_coupling",
    "check_partition",
    "coupled_hessian",
    "dense_blocks",
    "diagonal_blocks",
    "diagonal_extremes",
    "inner_sizes",
    "joined_blocks",
    "off_block_norm",
    "partition_sizes",
    "smallest_coupling",
]

FloatArray = NDArray[np.float64]

PARTITIONS = ("hessian", "finer", "coarser", "shifted")
"""Partitions by name: `hessian` (the blocks of the problem), `finer` (every block is halved), `coarser` (neighbours are merged
in pairs), `shifted` (every boundary between two blocks moves to the middle of the second one)."""


def check_coupling(coupling: Any, sizes: Sequence[int]) -> float:
    """Return the coupling c as a float.

    Raises:
        ValueError: a value that is not in [0, 1), or a coupling of a problem of one block.
    """
    value = check_interval("coupling", coupling, 0.0, 1.0, high_open=True)
    if value > 0.0 and len(sizes) == 1:
        raise ValueError(f"coupling must be 0 with one block, got {value:g}; use 2 blocks or more.")
    return value


def check_partition(partition: Any, sizes: Sequence[int]) -> str:
    """Return the name of a partition that differs from the blocks, unless it is `hessian`.

    Raises:
        ValueError: an unknown name, or a partition that these blocks do not have.
    """
    name = check_choice("partition", partition, PARTITIONS)
    partition_sizes(name, sizes)
    return name


def partition_sizes(partition: str, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the block sizes of a partition, in the order of the coordinates.

    Args:
        partition: a name of PARTITIONS.
        sizes: P_l of the blocks from which it is made.

    Raises:
        ValueError: a partition that does not differ from the blocks, as `coarser` of one block.

    Examples:
        >>> [partition_sizes(name, (8, 8, 8, 8)) for name in ("finer", "coarser", "shifted")]
        [(4, 4, 4, 4, 4, 4, 4, 4), (16, 16), (12, 8, 8, 4)]
    """
    sizes = tuple(sizes)
    if partition == "hessian":
        return sizes
    found = {"finer": _finer, "coarser": _coarser, "shifted": _shifted}[partition](sizes)
    if found == sizes:
        needs = "a block of 2 coordinates or more" if partition == "finer" else "2 blocks or more"
        if partition == "shifted" and len(sizes) > 1:
            needs = "a block of 2 coordinates or more after the first one"
        shown = "+".join(map(str, sizes)) if len(sizes) <= 12 else f"{len(sizes)} blocks"
        raise ValueError(
            f"partition {partition} must differ from the blocks, which takes {needs}, got {shown}; use partition hessian."
        )
    return found


def _finer(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(part for size in sizes for part in (size - size // 2, size // 2) if part)


def _coarser(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sum(sizes[begin : begin + 2]) for begin in range(0, len(sizes), 2))


def _shifted(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Boundaries move, none is added: the number of blocks stays, so that this is the effect of wrong places alone."""
    moved = [0, *(size // 2 for size in sizes[1:]), 0]
    return tuple(size + after - before for size, before, after in zip(sizes, moved[:-1], moved[1:], strict=True))


def dense_blocks(layout: BlockLayout, groups: Mapping[int, FloatArray]) -> FloatArray:
    """Return block-diagonal matrices (M, P, P) from their blocks by size, (M, B_size, P_l, P_l)."""
    first = next(iter(groups.values()))
    out = np.zeros((first.shape[0], layout.dimension, layout.dimension))
    for size, positions in layout.positions.items():
        for block, coordinates in enumerate(positions):
            out[:, coordinates[:, None], coordinates] = groups[size][:, block]
    return out


def coupled_hessian(
    seed: int,
    index: NDArray[np.int64],
    layout: BlockLayout,
    hessian: Mapping[int, FloatArray],
    eigenvalues: Mapping[int, FloatArray],
    eigenvectors: Mapping[int, FloatArray],
    coupling: float,
) -> FloatArray:
    """Return `D^(1/2) (I + c O) D^(1/2)` for every problem, (M, P, P); its diagonal blocks have the bits of those of D.

    The entries of O outside the diagonal blocks are independent standard normal numbers, drawn from (seed, problem), divided
    by the spectral norm of the whole.

    Args:
        seed: key of the draws.
        index: problem indices, (M,).
        layout: the blocks of D, two or more.
        hessian: the blocks of D by size, (M, B_size, P_l, P_l).
        eigenvalues: their eigenvalues, (M, B_size, P_l).
        eigenvectors: their eigenvectors in columns, (M, B_size, P_l, P_l).
        coupling: c, in [0, 1).
    """
    size = layout.dimension
    rows, columns = np.triu_indices(size, 1)
    block = np.repeat(np.arange(len(layout.block_sizes)), layout.block_sizes)
    draws = normals(seed, index, Purpose.COUPLING, 0, rows.size)
    off = np.zeros((index.size, size, size))
    off[:, rows, columns] = np.where(block[rows] == block[columns], 0.0, draws)
    off += np.swapaxes(off, -1, -2)
    off /= np.abs(np.linalg.eigvalsh(off)[:, [0, -1]]).max(axis=1)[:, None, None]
    roots = {
        s: (vectors * np.sqrt(eigenvalues[s])[..., None, :]) @ np.ascontiguousarray(np.swapaxes(vectors, -1, -2))
        for s, vectors in eigenvectors.items()
    }
    root = dense_blocks(layout, roots)
    between = coupling * np.matmul(np.matmul(root, off), np.ascontiguousarray(np.swapaxes(root, -1, -2)))
    between = (between + np.swapaxes(between, -1, -2)) / 2
    return np.where(block[:, None] == block, dense_blocks(layout, hessian), between)


def inner_sizes(partition: BlockLayout, layout: BlockLayout) -> list[tuple[int, ...]]:
    """Return, for every block of H, the sizes of the blocks of a partition that lie within it.

    Examples:
        >>> inner_sizes(BlockLayout((4, 4, 2, 6)), BlockLayout((8, 8)))
        [(4, 4), (2, 6)]
    """
    left = list(partition.block_sizes)
    out = []
    for size in layout.block_sizes:
        inside: list[int] = []
        while sum(inside) < size:
            inside.append(left.pop(0))
        out.append(tuple(inside))
    return out


def joined_blocks(partition: BlockLayout, layout: BlockLayout) -> BlockLayout:
    """Return the smallest blocks that are unions of blocks of both: within these, products and rules stay.

    Examples:
        >>> joined_blocks(BlockLayout((16, 16)), BlockLayout((8, 8, 8, 8))).block_sizes
        (16, 16)
        >>> joined_blocks(BlockLayout((12, 8, 8, 4)), BlockLayout((8, 8, 8, 8))).block_sizes
        (32,)
    """
    ends = sorted(set(np.cumsum(partition.block_sizes).tolist()) & set(np.cumsum(layout.block_sizes).tolist()))
    return BlockLayout(tuple(end - begin for begin, end in zip([0, *ends[:-1]], ends, strict=True)))


def diagonal_extremes(
    partition: BlockLayout, layout: BlockLayout, hessian: Mapping[int, FloatArray]
) -> dict[int, FloatArray]:
    """Return L_l and mu_l of the diagonal blocks of H by a partition, by the size of its blocks, (M, B_size, 2).

    Args:
        partition: blocks, each of which lies within a block of H.
        layout: the blocks of H.
        hessian: block size to H_l, (M, B_size, P_l, P_l).
    """
    blocks = diagonal_blocks(partition, layout, hessian)
    out = {}
    for size, matrices in partition.group(blocks).items():
        values = np.linalg.eigvalsh(matrices)
        out[size] = np.stack([values[..., -1], values[..., 0]], axis=-1)
    return out


def diagonal_blocks(partition: BlockLayout, layout: BlockLayout, hessian: Mapping[int, FloatArray]) -> list[FloatArray]:
    """Return the diagonal blocks of H by a partition, (M, P_l, P_l) for each, in the order of the coordinates."""
    places = {int(b): (size, at) for size, members in layout.groups.items() for at, b in enumerate(members)}
    out = []
    for outer, sizes in enumerate(inner_sizes(partition, layout)):
        group, at = places[outer]
        for end, size in zip(np.cumsum(sizes), sizes, strict=True):
            own = slice(end - size, end)
            out.append(hessian[group][:, at, own, own])
    return out


def off_block_norm(problem: "BlockQuadratic") -> FloatArray:
    """Return the spectral norm of H - D, (M,), D the diagonal blocks of H by the blocks that rules see; 0 without others."""
    layout = problem.layout
    out = np.zeros(problem.problems)
    whole = diagonal_blocks(layout, layout, problem.hessian)
    for sizes, matrix in zip(inner_sizes(problem.rule_blocks, layout), whole, strict=True):
        if len(sizes) > 1:
            block = np.repeat(np.arange(len(sizes)), sizes)
            ends = np.linalg.eigvalsh(np.where(block[:, None] == block, 0.0, matrix))[:, [0, -1]]
            out = np.maximum(out, np.abs(ends).max(axis=1))
    return out


def smallest_coupling(partition: BlockLayout, layout: BlockLayout, hessian: Mapping[int, FloatArray]) -> FloatArray:
    """Return the smallest c with `(1-c) D <= H <= (1+c) D`, (M,), D the diagonal blocks of H by the partition.

    It is the largest modulus of an eigenvalue of `D^(-1/2) (H - D) D^(-1/2)`, rounded up: what the theorems say for one c they
    say for every larger one. It is 0 where the partition has the blocks of H, and infinite where D is singular.

    Args:
        partition: blocks, each of which lies within a block of H.
        layout: the blocks of H.
        hessian: block size to H_l, (M, B_size, P_l, P_l).
    """
    whole = next(iter(hessian.values())).shape[0]
    out = np.zeros(whole)
    roots, worst = [], np.ones(whole)
    for matrices in diagonal_blocks(partition, layout, hessian):
        values, vectors = np.linalg.eigh(matrices)
        positive = values[:, 0] > 0.0
        safe = np.where(positive[:, None], values, 1.0)
        worst = np.maximum(worst, np.where(positive, safe[:, -1] / safe[:, 0], np.inf))
        roots.append((vectors / np.sqrt(safe)[:, None, :]) @ np.swapaxes(vectors, -1, -2))
    finite = np.isfinite(worst)
    outer_blocks = diagonal_blocks(layout, layout, hessian)
    for sizes, matrix in zip(inner_sizes(partition, layout), outer_blocks, strict=True):
        own, roots_inside, roots = BlockLayout(sizes), roots[: len(sizes)], roots[len(sizes) :]
        if len(sizes) == 1:
            continue
        root = dense_blocks(own, own.group(roots_inside))
        block = np.repeat(np.arange(len(sizes)), sizes)
        scaled = root @ np.where(block[:, None] == block, 0.0, matrix) @ root
        found = np.abs(np.linalg.eigvalsh((scaled + np.swapaxes(scaled, -1, -2)) / 2)[:, [0, -1]]).max(axis=1)
        out = np.where(finite, np.maximum(out, found), np.inf)
    # An entry of H is known to u of itself, and the roots of D magnify that by the condition number of its blocks.
    unit = np.finfo(float).eps / 2
    coupled = out > 0.0  # 0 stays 0, where D is singular and its condition number infinite, too
    return np.asarray(out * (1.0 + 8.0 * layout.dimension**1.5 * unit * np.where(coupled, worst, 1.0)))
