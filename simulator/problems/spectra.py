"""Compute the eigenvalues of each block from the dials.

Two modes (docs/theory.md section 1). `scale`: every block has the same shape of spectrum and a scale of its own, so more
heterogeneity also means a larger condition number of the whole. `arrange`: the set of all eigenvalues is fixed, only their
assignment to blocks changes; gradient descent behaves the same for every assignment.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.support.checks import check_choice, check_ratio

__all__ = [
    "CASES",
    "DEFAULT_CONDITION_NUMBER",
    "MODES",
    "Spectra",
    "arranged_spectra",
    "case_spectra",
    "extreme_eigenvalues",
    "heterogeneity_of",
    "scaled_spectra",
    "spectra_from_dials",
]

Spectra = tuple[NDArray[np.float64], ...]
"""Ascending eigenvalues of every block, in block order; entry l has shape (P_l,)."""

MODES = ("scale", "arrange")
DEFAULT_CONDITION_NUMBER = {"scale": 10.0, "arrange": 5000.0}

_CASES: dict[str, Sequence[Sequence[int]] | None] = {
    "heterogeneous": ((1, 2, 3), (99, 100, 101), (4998, 4999, 5000)),
    "homogeneous": ((1, 99, 4998), (2, 100, 4999), (3, 101, 5000)),
    "transformer-like": None,
    "cnn-like": None,
}
CASES = tuple(_CASES)


def spectra_from_dials(
    block_sizes: Sequence[int], heterogeneity: float, mode: str, condition_number: float | None
) -> Spectra:
    """Return the spectra of the blocks for the heterogeneity c = max L_l / min L_l.

    Args:
        block_sizes: P_l of every block.
        heterogeneity: c, at least 1.
        mode: `scale` or `arrange`.
        condition_number: of each block in `scale` (default 10; a block of one coordinate has 1), of the whole in `arrange`
            (default 5000).

    Raises:
        ValueError: a dial out of range, or dials that contradict each other.
    """
    check_choice("mode", mode, MODES)
    heterogeneity = check_ratio("heterogeneity", heterogeneity)
    if condition_number is None:
        condition_number = DEFAULT_CONDITION_NUMBER[mode]
        if max(block_sizes) == 1 and (mode == "scale" or len(block_sizes) == 1):
            condition_number = 1.0
    else:
        condition_number = check_ratio("condition number", condition_number)
    if len(block_sizes) == 1 and heterogeneity != 1.0:
        raise ValueError(
            f"heterogeneity must be 1 with one block, got {heterogeneity:g}; use 2 blocks or more, or heterogeneity 1."
        )
    build = scaled_spectra if mode == "scale" else arranged_spectra
    return build(block_sizes, heterogeneity, condition_number)


def scaled_spectra(block_sizes: Sequence[int], heterogeneity: float, condition_number: float) -> Spectra:
    """Return the spectra of mode `scale`: geometric from 1/kappa_block to 1, times c^(l/(B-1)) for block l = 0..B-1.

    A block of one coordinate has the eigenvalue 1 times its scale, and so the condition number 1.

    Raises:
        ValueError: a condition number above 1 where every block has one coordinate.
    """
    if max(block_sizes) == 1 and condition_number != 1.0:
        raise ValueError(
            f"condition number of a block must be 1 where every block has size 1, got {condition_number:g}; "
            "use larger blocks or condition number 1."
        )
    last = max(len(block_sizes) - 1, 1)
    scales = [heterogeneity ** (block / last) for block in range(len(block_sizes))]
    return tuple(scale * geometric(condition_number, size) for scale, size in zip(scales, block_sizes, strict=True))


def arranged_spectra(block_sizes: Sequence[int], heterogeneity: float, condition_number: float) -> Spectra:
    """Return the spectra of mode `arrange`: P eigenvalues, geometric from 1/kappa to 1, assigned to the blocks.

    The family: slot j = 1..P_l of block l has the key `(1-t) j/P_l + t (P_1+..+P_(l-1)+j)/P`, and the eigenvalues go to
    the slots in the order of their keys (ties by block). At t = 0 every block spans the range (interleaved: smallest c);
    at t = 1 the spectrum is cut into pieces (sorted: largest c). The first block always has the smallest L_l, and its last
    slot only falls in rank as t grows, so c grows with t. Only finitely many c occur; the nearest one in log scale is used.

    Raises:
        ValueError: a heterogeneity above the sorted arrangement's, or a condition number above 1 with one coordinate.
    """
    total = sum(block_sizes)
    if total == 1 and condition_number != 1.0:
        raise ValueError(
            f"condition number must be 1 with one coordinate, got {condition_number:g}; use larger blocks or 1."
        )
    eigenvalues = geometric(condition_number, total)
    ranks_and_t = _reachable_ranks(block_sizes)
    ratios = np.array([eigenvalues[-1] / eigenvalues[rank] for rank, _ in ranks_and_t])
    lowest, highest = float(ratios.min()), float(ratios.max())
    if heterogeneity > highest * (1.0 + total * np.finfo(float).eps):
        raise ValueError(
            f"heterogeneity in mode arrange must be from {lowest:.4g} (interleaved; 1 also means this) to {highest:.4g} "
            f"(sorted) for these blocks and condition number, got {heterogeneity:g}; lower it, or raise the condition "
            "number."
        )
    nearest = int(np.argmin(np.abs(np.log(ratios) - math.log(heterogeneity))))
    owners = _owners(block_sizes, ranks_and_t[nearest][1])
    return tuple(eigenvalues[owners == block] for block in range(len(block_sizes)))


def case_spectra(name: str) -> Spectra:
    """Return the spectra of one of the four named cases, after Zhang et al. (arXiv 2402.16788), section 3.

    `heterogeneous` and `homogeneous` hold the same nine eigenvalues. `transformer-like` and `cnn-like` are four 30x30
    blocks over the same 120 eigenvalues, geometric from 1 to 5000: sorted (very different spectra) and interleaved (similar
    ones). The spectra of the paper were sampled from trained networks; these have the same design, not the same numbers.

    Raises:
        ValueError: an unknown name.
    """
    check_choice("case", name, CASES)
    blocks = _CASES[name]
    if blocks is not None:
        return tuple(np.array(block, dtype=np.float64) for block in blocks)
    eigenvalues = 5000.0 * geometric(5000.0, 120)
    owners = _owners((30,) * 4, Fraction(int(name == "transformer-like")))
    return tuple(eigenvalues[owners == block] for block in range(4))


def heterogeneity_of(spectra: Spectra) -> float:
    """Return the heterogeneity c = max L_l / min L_l."""
    largest = [float(spectrum[-1]) for spectrum in spectra]
    return max(largest) / min(largest)


def extreme_eigenvalues(spectra: Spectra) -> tuple[float, float]:
    """Return L and mu, the largest and the smallest eigenvalue of the whole."""
    return max(float(s[-1]) for s in spectra), min(float(s[0]) for s in spectra)


def geometric(ratio: float, count: int) -> NDArray[np.float64]:
    """Return `count` numbers from 1/ratio to 1 with equal quotients; only 1 if `count` is 1."""
    if count == 1:
        return np.ones(1)
    return np.array([ratio ** (j / (count - 1) - 1.0) for j in range(count)])


def _keys(block_sizes: Sequence[int], t: Fraction) -> list[tuple[Fraction, int]]:
    total = sum(block_sizes)
    keys: list[tuple[Fraction, int]] = []
    begin = 0
    for block, size in enumerate(block_sizes):
        keys += [((1 - t) * Fraction(j, size) + t * Fraction(begin + j, total), block) for j in range(1, size + 1)]
        begin += size
    return keys


def _owners(block_sizes: Sequence[int], t: Fraction) -> NDArray[np.int64]:
    """Return the block of each eigenvalue (in ascending order of eigenvalues) at position t of the family."""
    return np.array([block for _, block in sorted(_keys(block_sizes, t))])


def _reachable_ranks(block_sizes: Sequence[int]) -> list[tuple[int, Fraction]]:
    """Return every rank that the first block's largest eigenvalue has along the family, with a t at which it has it.

    The rank falls by one where a slot of another block that was below crosses above; between two crossings it is constant, and t
    is their middle. Keys are linear in t, so each slot crosses once at most.
    """
    first = block_sizes[0]
    start, end = _keys(block_sizes, Fraction(0)), _keys(block_sizes, Fraction(1))
    top_start, top_end = start[first - 1][0], end[first - 1][0]
    crossings: list[Fraction] = []
    rank = 0
    for (at_start, block), (at_end, _) in zip(start, end, strict=True):
        if block == 0:
            rank += 1
        elif at_start < top_start:
            rank += 1
            crossings.append((top_start - at_start) / ((top_start - at_start) + (at_end - top_end)))
    crossings.sort()
    edges = [Fraction(0), *crossings, Fraction(1)]
    reachable = [(rank - 1, Fraction(0))]
    for count, (left, right) in enumerate(pairwise(edges[1:]), start=1):
        if left < right:
            reachable.append((rank - 1 - count, Fraction(1) if right == 1 else (left + right) / 2))
    assert reachable[-1][0] == first - 1, reachable  # t = 1 gives the first block the smallest eigenvalues
    return reachable
