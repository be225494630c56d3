"""Compute the diagonal blocks of the Hessian of toy models, and their spectra.

Everything is float64, whatever the number type of training: in float32 the largest eigenvalue is wrong by percents near a
minimum. The Hessian is that of the optimised loss on the data of the stack (all data, unless `Stack.rows` selected some), by
the stored parameters. Under the dial `reparametrisation` this has two meanings. In the mode `parameter` the stored parameters
are the phi_b that the rule trains. In the mode `gradient` they are the blocks themselves; the rule then gets diag(s^2) g,
which is not the gradient of any loss. Its Jacobian diag(s^2) H is not symmetric, but has the eigenvalues of the phi's Hessian
diag(s) H diag(s).

Eigenvalues may be negative, so two numbers must not be confused:

- `smoothness` L_l = max(largest eigenvalue, 0). A descent lemma needs this one: u'Hu <= L |u|^2.
- `spectral_norm` = largest modulus of an eigenvalue. It bounds |Hu|, and measures the entries outside the blocks.

Instances are evaluated one after the other, many columns of a Hessian at once, so none depends on the others of the stack.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.curvature.hessian import OneInstance, Progress, as_points, no_progress
from quadsim.simulator.curvature.lanczos import quadrature
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.stack import Stack
from quadsim.simulator.support.checks import check_count
from quadsim.simulator.support.memory import memory_text
from quadsim.simulator.support.threads import in_threads, own_threads
from quadsim.simulator.support.torch_modes import own_modes

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
"""Largest number of parameters of a block with exact eigenvalues, by default: enough for all modules of the default models."""
LARGEST_WHOLE = 10_000
"""Largest number of parameters for a whole Hessian: it needs 800 MB, and as much again for its symmetric part."""


@dataclass(frozen=True, eq=False)
class BlockHessians:
    """Diagonal blocks of the Hessian of E instances.

    Attributes:
        partition: the blocks.
        blocks: for every block its matrices, (E, P_l, P_l). They are symmetric: the mean of the computed matrix and its
            transpose.
        asymmetry: largest |H - H'| within the blocks over the largest |H|, before the symmetrisation, (E,): a measure of the
            rounding of the products.
    """

    partition: Partition
    blocks: tuple[Array, ...]
    asymmetry: Array

    @own_modes()
    @own_threads()
    def spectra(self) -> "BlockSpectra":
        """Return the eigenvalues of every block, as exact spectra."""
        return BlockSpectra.exactly(self.partition, eigenvalues(self.blocks), self.asymmetry)


@dataclass(frozen=True, eq=False)
class BlockSpectra:
    """Spectra of the blocks of E instances, as nodes with weights.

    Attributes:
        partition: the blocks.
        nodes: for every block an array (E, n_l), ascending. For an exact block these are all P_l eigenvalues; for another one the
            nodes of a quadrature, whose extreme ones approach the extreme eigenvalues from within. Rows with fewer nodes are
            filled up with NaN; a block that is not finite has only NaN.
        weights: for every block an array (E, n_l) with the sum 1: 1/P_l for an exact block; 0 where a node is NaN.
        exact: whether the nodes of a block are its eigenvalues, (B,).
        asymmetry: as in BlockHessians, over the exact blocks, (E,).
    """

    partition: Partition
    nodes: tuple[Array, ...]
    weights: tuple[Array, ...]
    exact: NDArray[np.bool_]
    asymmetry: Array

    @classmethod
    def exactly(cls, partition: Partition, values: Sequence[Array], asymmetry: Array) -> "BlockSpectra":
        """Return exact spectra.

        Args:
            partition: the blocks.
            values: for every block all its eigenvalues, ascending, (E, P_l).
            asymmetry: as in BlockHessians, (E,).
        """
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
    """Compute all diagonal blocks as matrices; they need E * sum_l P_l^2 numbers in memory.

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
    """Compute the spectra of all diagonal blocks; the matrices of only one instance are in memory at a time.

    Args:
        stack: E instances.
        theta: parameters, (E, P).
        partition: blocks, or their name in PARTITIONS.
        largest: largest number of parameters of a block with exact eigenvalues. The spectra of larger blocks are estimated by
            stochastic Lanczos quadrature, with which distances between spectra come out too large (see `jensen_shannon`).
        nodes: nodes per run of the quadrature.
        runs: runs of the quadrature, each from another random vector.
        seed: seed of those vectors.
        progress: called with the number of columns of exact blocks that were just finished.

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
    """Compute whole Hessians, not only diagonal blocks.

    Args:
        stack: E instances.
        theta: parameters, (E, P).
        largest: largest number of parameters that is allowed.

    Returns:
        The Hessians (E, P, P), symmetrised as in BlockHessians, and their asymmetry (E,).

    Raises:
        ValueError: more than `largest` parameters, or a shape that does not fit.
    """
    points = as_points(stack, theta)
    check_whole(stack, largest)
    everything = Partition("whole", ("whole",), (stack.problem.dimension,))
    found = block_hessians(stack, points, everything)
    return found.blocks[0], found.asymmetry


def eigenvalues(matrices: Iterable[Array]) -> list[Array]:
    """Return the eigenvalues of symmetric matrices, ascending; NaN for a matrix that is not finite.

    Args:
        matrices: matrices (..., n, n), each possibly of another size.

    Returns:
        One array (..., n) for each.
    """

    def of(matrix: Array) -> Array:
        finite = np.all(np.isfinite(matrix), axis=(-2, -1))
        values = torch.linalg.eigvalsh(torch.from_numpy(np.where(finite[..., None, None], matrix, 0.0))).numpy()
        return np.where(finite[..., None], values, np.nan)

    return in_threads(of, matrices)


_FILLS = ((0, np.nan), (1, 0.0))


def _filled(rows: list[Array], fill: float) -> Array:
    """Return rows of different lengths as one array, padded with `fill`."""
    out = np.full((len(rows), max(row.size for row in rows)), fill)
    for i, row in enumerate(rows):
        out[i, : row.size] = row
    return out


def symmetric(matrices: dict[int, Array]) -> tuple[dict[int, Array], float]:
    """Return the mean of each matrix and its transpose, and the largest difference of the two over the largest entry."""
    with np.errstate(invalid="ignore"):
        difference = max((float(np.abs(m - m.T).max()) for m in matrices.values()), default=0.0)
        scale = max((float(np.abs(m).max()) for m in matrices.values()), default=0.0)
        return {b: (m + m.T) / 2 for b, m in matrices.items()}, float(np.divide(difference, scale)) if scale else 0.0


def partition_of(stack: Stack, partition: str | Partition) -> Partition:
    """Return a partition from its name in PARTITIONS; a Partition is checked and returned.

    Raises:
        ValueError: an unknown name, or a partition of another number of parameters.
    """
    cut = stack.problem.partition(partition) if isinstance(partition, str) else partition
    if sum(cut.sizes) != stack.problem.dimension:
        raise ValueError(
            f"partition must have {stack.problem.dimension} coordinates, got {sum(cut.sizes)}; use the problem's own."
        )
    return cut


def check_whole(stack: Stack, largest: int) -> None:
    """Check that a whole Hessian is not too large.

    Raises:
        ValueError: more than `largest` parameters.
    """
    size = stack.problem.dimension
    if size > check_count("largest", largest):
        raise ValueError(
            f"a whole Hessian must have at most {largest} parameters, got {size} ({memory_text(8.0 * size**2)} each); raise "
            "largest or use a smaller model."
        )
