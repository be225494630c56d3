"""Measure how much of a Hessian lies outside its diagonal blocks: the error of a block-diagonal model of the curvature."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import eigsh

from quadsim.simulator.curvature.block_spectra import (
    LARGEST_WHOLE,
    BlockSpectra,
    check_whole,
    eigenvalues,
    partition_of,
    symmetric,
)
from quadsim.simulator.curvature.hessian import OneInstance, Progress, as_points, no_progress
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.stack import Stack
from quadsim.simulator.support.threads import own_threads
from quadsim.simulator.support.torch_modes import own_modes

__all__ = ["OffBlock", "coupling_of", "off_block", "off_block_of", "spectra_and_off_block"]

Array = NDArray[np.float64]

_DENSE_NORM = 1000  # up to this size the spectral norm is computed from all eigenvalues, above it by Lanczos


@dataclass(frozen=True, eq=False)
class OffBlock:
    """The part of the Hessian outside its diagonal blocks, for E instances, each attribute (E,).

    Attributes:
        spectral: |H - blkdiag(H)| / |H| in the spectral norm.
        frobenius: the same ratio in the Frobenius norm.
        whole_over_block: |H| / max_l |H_l| in the spectral norm, at least 1: the factor by which a block-diagonal model may
            underestimate the curvature.
        delta: |H - blkdiag(H)| in the spectral norm.
        coupling: smallest c with -c D <= H - D <= c D, D = blkdiag(H), on the part where D is positive; see `coupling_of`.
        positive_share: share of the dimensions in which D is positive.
    """

    spectral: Array
    frobenius: Array
    whole_over_block: Array
    delta: Array
    coupling: Array
    positive_share: Array


@own_modes()
def off_block(
    stack: Stack,
    theta: ArrayLike | torch.Tensor,
    partition: str | Partition = "module",
    *,
    largest: int = LARGEST_WHOLE,
) -> OffBlock:
    """Measure the part of the Hessian outside its diagonal blocks, from the whole Hessian of one instance after the other.

    Args:
        stack: E instances.
        theta: parameters, (E, P).
        partition: blocks, or their name in PARTITIONS.
        largest: largest number of parameters that is allowed.

    Raises:
        ValueError: more than `largest` parameters, a shape that does not fit, or an unknown partition.
    """
    return spectra_and_off_block(stack, theta, partition, largest=largest, spectra=False)[1]


@own_modes()
@own_threads()
def spectra_and_off_block(
    stack: Stack,
    theta: ArrayLike | torch.Tensor,
    partition: str | Partition = "module",
    *,
    largest: int = LARGEST_WHOLE,
    spectra: bool = True,
    progress: Progress = no_progress,
) -> tuple[BlockSpectra | None, OffBlock]:
    """Compute the spectra of the blocks and the part outside them from one whole Hessian; all spectra are exact.

    Args:
        stack: E instances.
        theta: parameters, (E, P).
        partition: blocks, or their name in PARTITIONS.
        largest: largest number of parameters that is allowed.
        spectra: whether the spectra are computed.
        progress: called with the number of columns that were just finished; E P in total.

    Returns:
        The spectra (None unless `spectra`) and the part outside the blocks.

    Raises:
        ValueError: as in `off_block`.
    """
    points, cut = as_points(stack, theta), partition_of(stack, partition)
    check_whole(stack, largest)
    everything = Partition("whole", ("whole",), (stack.problem.dimension,))
    values, asymmetry = np.empty((6, stack.instances)), np.empty(stack.instances)
    found: list[list[Array]] = []
    for e in range(stack.instances):
        matrices, asymmetry[e] = symmetric(OneInstance.of(stack, points, e).blocks(everything, [0], progress))
        values[:3, e], values[3:, e] = off_block_of(matrices[0], cut), coupling_of(matrices[0], cut)
        if spectra:
            found.append(eigenvalues(matrices[0][begin:end, begin:end] for begin, end in cut.ranges))
    if not spectra:
        return None, OffBlock(*values)
    return BlockSpectra.exactly(cut, [np.stack(rows) for rows in zip(*found, strict=True)], asymmetry), OffBlock(
        *values
    )


def off_block_of(hessian: Array, partition: Partition) -> tuple[float, float, float]:
    """Return the three measures of OffBlock for one symmetric matrix (P, P); NaN for a matrix that is 0 or not finite.

    If only the diagonal blocks are 0 the measures are 1, 1 and inf.
    """
    if not np.all(np.isfinite(hessian)):
        return np.nan, np.nan, np.nan
    rest = hessian.copy()
    block = 0.0
    for begin, end in partition.ranges:
        block = max(block, _spectral_norm(hessian[begin:end, begin:end]))
        rest[begin:end, begin:end] = 0.0
    whole = _spectral_norm(hessian)
    if block == 0.0:
        return (np.nan, np.nan, np.nan) if whole == 0.0 else (1.0, 1.0, np.inf)
    frobenius = float(np.linalg.norm(rest) / np.linalg.norm(hessian))
    return _spectral_norm(rest) / whole, frobenius, whole / block


def coupling_of(hessian: Array, partition: Partition) -> tuple[float, float, float]:
    """Return delta, the smallest c, and the share of dimensions on which c was computed, for one symmetric matrix (P, P).

    A network's D = blkdiag(H) has eigenvalues below 0 and some that are 0, where no multiple of D bounds anything. So c is that
    of the part where D is positive: the largest modulus of an eigenvalue of `D^(-1/2) (H - D) D^(-1/2)` between the eigenvectors
    of D with eigenvalues above P eps |D|. Where it exceeds 1, the block-diagonal picture guarantees nothing.

    Args:
        hessian: H.
        partition: the blocks.

    Returns:
        delta = |H - D| in the spectral norm; c, NaN where D has no positive part; the share, from 0 to 1. All are NaN for a
        matrix that is not finite.
    """
    if not np.all(np.isfinite(hessian)):
        return np.nan, np.nan, np.nan
    rest, kept = hessian.copy(), []
    pairs = []
    for begin, end in partition.ranges:
        rest[begin:end, begin:end] = 0.0
        pairs.append(np.linalg.eigh(hessian[begin:end, begin:end]))
    delta = _spectral_norm(rest)
    level = hessian.shape[0] * np.finfo(float).eps * max(float(np.abs(values).max()) for values, _ in pairs)
    for (begin, end), (values, vectors) in zip(partition.ranges, pairs, strict=True):
        positive = values > level
        columns = np.zeros((hessian.shape[0], int(positive.sum())))
        columns[begin:end] = vectors[:, positive] / np.sqrt(values[positive])
        kept.append(columns)
    basis = np.concatenate(kept, axis=1)
    share = basis.shape[1] / hessian.shape[0]
    if not share:
        return delta, np.nan, 0.0
    scaled = basis.T @ rest @ basis
    return delta, _spectral_norm((scaled + scaled.T) / 2.0), share


def _spectral_norm(matrix: Array) -> float:
    """Return the largest modulus of an eigenvalue of a symmetric matrix, for a large one by Lanczos, up to rounding."""
    if not np.any(matrix):
        return 0.0
    if matrix.shape[0] <= _DENSE_NORM:
        return float(np.abs(eigenvalues([matrix])[0]).max())
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])  # a fixed start: the result is reproducible
    return float(np.abs(eigsh(matrix, k=1, which="LM", v0=start, return_eigenvectors=False))[0])
