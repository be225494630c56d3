"""Curvature of toy models: the diagonal blocks of the Hessian and their spectra.

Everything is float64, whatever the dtype of training: in float32 the largest eigenvalue is off by percents near a minimum. The
Hessian is that of the optimised loss on the data of the stack (all of them, unless `Stack.rows` picked some), in the parameters
that are stored. Under the dial `reparametrisation` in its mode `parameter` these are the phi_b that the rule trains. In the
mode `gradient` they are the blocks themselves: the rule then sees diag(s^2) g, which is no gradient of the loss, and its own
Jacobian diag(s^2) H is not symmetric; it has the eigenvalues of the phi's Hessian diag(s) H diag(s).

Eigenvalues may be negative, so two numbers are named apart:

- `smoothness` L_l = max(largest eigenvalue, 0): what a descent lemma needs, as u'Hu <= L |u|^2;
- `spectral_norm` = largest modulus of an eigenvalue: what bounds |Hu|, and how much there is off the blocks.

Instances are worked on one after the other, with many columns of a Hessian at once: so none depends on its batch-mates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.checks import check_count
from quadsim.simulator.hessian import OneInstance, Progress, as_points, no_progress
from quadsim.simulator.memory import memory_text
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.stack import Stack
from quadsim.simulator.quadrature import quadrature
from quadsim.simulator.threads import in_threads, own_threads
from quadsim.simulator.torch_modes import own_modes

__all__ = [
    "LARGEST_BLOCK",
    "LARGEST_WHOLE",
    "BlockHessians",
    "BlockSpectra",
    "block_hessians",
    "block_spectra",
    "check_whole",
    "eigenvalues",
    "partition_of",
    "symmetric",
    "whole_hessian",
]

Tensor = torch.Tensor
Array = NDArray[np.float64]

LARGEST_BLOCK = 1024
"""Parameters of the largest block whose eigenvalues are exact by default: all modules of the default models."""
LARGEST_WHOLE = 10_000
"""Parameters of the largest Hessian that is written out: 800 MB, and as much again for its symmetric part."""


@dataclass(frozen=True, eq=False)
class BlockHessians:
    """Diagonal blocks of the Hessian of E instances.

    Attributes:
        partition: what the blocks are.
        blocks: of every block the matrices, (E, P_l, P_l): symmetric, the mean of what was computed and its transpose.
        asymmetry: largest |H - H'| within the blocks over the largest |H|, before that, (E,): the rounding of the products.
    """

    partition: Partition
    blocks: tuple[Array, ...]
    asymmetry: Array

    @own_modes()
    @own_threads()
    def spectra(self) -> "BlockSpectra":
        """Eigenvalues of every block."""
        return BlockSpectra.exactly(self.partition, eigenvalues(self.blocks), self.asymmetry)


@dataclass(frozen=True, eq=False)
class BlockSpectra:
    """Spectra of the blocks of E instances, as nodes with weights.

    Attributes:
        partition: what the blocks are.
        nodes: of every block, (E, n_l), ascending: all P_l eigenvalues of an exact one; else the nodes of a quadrature, of which
            the extreme ones approach the extreme eigenvalues from within. NaN fills up a row with fewer nodes, and the row of a
            block that is not finite.
        weights: of every block, (E, n_l), with the sum 1; 1/P_l for an exact one; 0 where a node is NaN.
        exact: whether the nodes are the eigenvalues, (B,).
        asymmetry: as in BlockHessians, of the exact blocks, (E,).
    """

    partition: Partition
    nodes: tuple[Array, ...]
    weights: tuple[Array, ...]
    exact: NDArray[np.bool_]
    asymmetry: Array

    @classmethod
    def exactly(cls, partition: Partition, values: Sequence[Array], asymmetry: Array) -> "BlockSpectra":
        """From all eigenvalues of every block, (E, P_l)."""
        weights = tuple(np.full(v.shape, 1.0 / v.shape[1]) for v in values)
        return cls(partition, tuple(values), weights, np.ones(len(values), dtype=bool), asymmetry)

    @cached_property
    def largest(self) -> Array:
        """Largest eigenvalue of every block, (E, B)."""
        return np.stack([np.fmax.reduce(nodes, axis=1) for nodes in self.nodes], axis=1)

    @cached_property
    def smallest(self) -> Array:
        """Smallest eigenvalue of every block, (E, B); negative where the loss curves down."""
        return np.stack([np.fmin.reduce(nodes, axis=1) for nodes in self.nodes], axis=1)

    @property
    def smoothness(self) -> Array:
        """L_l = max(largest eigenvalue, 0), (E, B)."""
        return np.maximum(self.largest, 0.0)

    @property
    def spectral_norm(self) -> Array:
        """Largest modulus of an eigenvalue, (E, B)."""
        return np.maximum(np.abs(self.largest), np.abs(self.smallest))


@own_modes()
@own_threads()
def block_hessians(stack: Stack, theta: ArrayLike | Tensor, partition: str | Partition = "module") -> BlockHessians:
    """All diagonal blocks, written out: E sum_l P_l^2 numbers.

    Args:
        stack: E instances.
        theta: parameters, (E, P).
        partition: blocks, or their name in PARTITIONS.

    Raises:
        ValueError: a shape that does not fit, or an unknown partition.
    """
    points, blocks = as_points(stack, theta), partition_of(stack, partition)
    numbers = range(len(blocks.sizes))
    found = [symmetric(OneInstance.of(stack, points, e).blocks(blocks, numbers)) for e in range(stack.instances)]
    return BlockHessians(
        partition=blocks,
        blocks=tuple(np.stack([matrices[b] for matrices, _ in found]) for b in numbers),
        asymmetry=np.array([asymmetry for _, asymmetry in found]),
    )


@own_modes()
@own_threads()
def block_spectra(
    stack: Stack,
    theta: ArrayLike | Tensor,
    partition: str | Partition = "module",
    *,
    largest: int = LARGEST_BLOCK,
    nodes: int = 80,
    runs: int = 10,
    seed: int = 0,
    progress: Progress = no_progress,
) -> BlockSpectra:
    """Spectra of all diagonal blocks; only one instance's matrices are held at a time.

    Args:
        stack: E instances.
        theta: parameters, (E, P).
        partition: blocks, or their name in PARTITIONS.
        largest: blocks of up to so many parameters have exact eigenvalues. Others are estimated by stochastic Lanczos quadrature,
            whose distances between spectra come out too large (see `jensen_shannon`).
        nodes: of one run of the quadrature.
        runs: of the quadrature, each from another random vector.
        seed: of those vectors.
        progress: told of columns of the exact blocks that are done; E times their sizes in all.

    Raises:
        ValueError: a value out of range, a shape that does not fit, or a larger block without the extra `curvature`.
    """
    points, cut = as_points(stack, theta), partition_of(stack, partition)
    largest = check_count("largest", largest)
    exact = np.array([size <= largest for size in cut.sizes])
    found: list[list[tuple[Array, Array]]] = []
    asymmetry = np.zeros(stack.instances)
    for e in range(stack.instances):
        one = OneInstance.of(stack, points, e)
        small = np.flatnonzero(exact).tolist()
        matrices, asymmetry[e] = symmetric(one.blocks(cut, small, progress))
        spectra = dict(zip(small, eigenvalues(matrices.values()), strict=True))
        pairs = {b: (values, np.full(values.size, 1.0 / values.size)) for b, values in spectra.items()}
        for b in np.flatnonzero(~exact).tolist():
            pairs[b] = quadrature(one.within(cut.ranges[b]), cut.sizes[b], nodes=nodes, runs=runs, seed=seed)
        found.append([pairs[b] for b in range(len(cut.sizes))])
    joined = [[_filled([each[b][i] for each in found], fill) for b in range(len(cut.sizes))] for i, fill in _FILLS]
    return BlockSpectra(cut, tuple(joined[0]), tuple(joined[1]), exact, asymmetry)


@own_modes()
@own_threads()
def whole_hessian(stack: Stack, theta: ArrayLike | Tensor, *, largest: int = LARGEST_WHOLE) -> tuple[Array, Array]:
    """The Hessians (E, P, P), symmetric as in BlockHessians, and their asymmetry (E,).

    Raises:
        ValueError: more than `largest` parameters, or a shape that does not fit.
    """
    points = as_points(stack, theta)
    check_whole(stack, largest)
    everything = Partition("whole", ("whole",), (stack.problem.dimension,))
    found = block_hessians(stack, points, everything)
    return found.blocks[0], found.asymmetry


def eigenvalues(matrices: Iterable[Array]) -> list[Array]:
    """Of symmetric matrices or batches of them, ascending; NaN where a matrix is not finite."""

    def of(matrix: Array) -> Array:
        finite = np.all(np.isfinite(matrix), axis=(-2, -1))
        values = torch.linalg.eigvalsh(torch.from_numpy(np.where(finite[..., None, None], matrix, 0.0))).numpy()
        return np.where(finite[..., None], values, np.nan)

    return in_threads(of, matrices)


_FILLS = ((0, np.nan), (1, 0.0))


def _filled(rows: list[Array], fill: float) -> Array:
    """Rows of different lengths to one array."""
    out = np.full((len(rows), max(row.size for row in rows)), fill)
    for i, row in enumerate(rows):
        out[i, : row.size] = row
    return out


def symmetric(matrices: dict[int, Array]) -> tuple[dict[int, Array], float]:
    """The mean of each matrix and its transpose, and the largest difference of the two over the largest entry."""
    with np.errstate(invalid="ignore"):
        difference = max((float(np.abs(m - m.T).max()) for m in matrices.values()), default=0.0)
        scale = max((float(np.abs(m).max()) for m in matrices.values()), default=0.0)
        return {b: (m + m.T) / 2 for b, m in matrices.items()}, float(np.divide(difference, scale)) if scale else 0.0


def partition_of(stack: Stack, partition: str | Partition) -> Partition:
    """The blocks from their name.

    Raises:
        ValueError: an unknown name, or blocks of another problem.
    """
    cut = stack.problem.partition(partition) if isinstance(partition, str) else partition
    if sum(cut.sizes) != stack.problem.dimension:
        raise ValueError(
            f"partition must have {stack.problem.dimension} coordinates, got {sum(cut.sizes)}; use the problem's own."
        )
    return cut


def check_whole(stack: Stack, largest: int) -> None:
    """Refuse a Hessian that is too large to be written out.

    Raises:
        ValueError: more than `largest` parameters.
    """
    size = stack.problem.dimension
    if size > check_count("largest", largest):
        raise ValueError(
            f"a whole Hessian must have at most {largest} parameters, got {size} ({memory_text(8.0 * size**2)} each); raise "
            "largest or use a smaller model."
        )
