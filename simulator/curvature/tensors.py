"""Measure gradients and curvature tensor by tensor: weight matrices alone, raw norms, and rows within and across tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from quadsim.simulator.curvature.block_spectra import eigenvalues, symmetric
from quadsim.simulator.curvature.hessian import OneInstance, as_points, gradient
from quadsim.simulator.curvature.inspection import place_of_block
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.models.stack import Stack
from quadsim.simulator.problems.heterogeneity import block_gradient_norms
from quadsim.simulator.support.checks import check_choice, check_count
from quadsim.simulator.support.threads import in_threads, own_threads
from quadsim.simulator.support.torch_modes import own_modes

__all__ = ["RowShares", "gradient_table", "largest_eigenvalues", "row_shares", "weight_matrices"]

Array = NDArray[np.float64]

_DENSE = 150  # up to this many parameters the largest eigenvalue is computed from the matrix, above it by Lanczos
_TOLERANCE = 1e-5  # of Lanczos, relative


def weight_matrices(
    problem: ToyProblem, *, layers: Sequence[int] | None = None, number: int | None = None
) -> tuple[str, ...]:
    """Return the blocks of the partition `module` that are weight matrices: no gains of norms, no positions and no head.

    Zhang et al. (arXiv 2402.16788) sample such blocks: of GPT-2 the token embedding, and q, k, v, o and both matrices of the
    network of layers 0, 3, 7 and 11. Blocks of all copies of a model count.

    Args:
        problem: M problems.
        layers: depths of the layers whose matrices count, as (0, 3); None: all layers. The embedding always counts.
        number: how many of the blocks are kept, evenly spaced in depth, so that models are compared with equally many; None: all.

    Raises:
        ValueError: a layer that the model does not have, or fewer blocks than wanted.
    """
    names = list(dict.fromkeys(p.layer for p in problem.parameters if p.layer not in ("embedding", "head")))
    chosen = names
    if layers is not None:
        chosen = [check_choice("layer", f"layer{check_count('layers', i, 0)}", names) for i in layers]
    kept = [p for p in problem.parameters if p.std is not None and p.name not in ("pos", "head")]
    kept = [p for p in kept if p.layer in (*chosen, "embedding")]
    one = [name for p in kept for name in p.parts or (p.name,)]
    copies = [f"copy{i}." for i in range(problem.copies)] if problem.copies > 1 else [""]
    labels = [prefix + name for prefix in copies for name in one]
    if number is None:
        return tuple(labels)
    if check_count("number", number) > len(labels):
        raise ValueError(
            f"number must be at most the number of weight matrices ({len(labels)}), got {number}; use fewer."
        )
    return tuple(labels[round(i)] for i in np.linspace(0, len(labels) - 1, number).tolist())


@own_modes()
@own_threads()
def largest_eigenvalues(
    stack: Stack,
    theta: ArrayLike | torch.Tensor,
    blocks: Sequence[str],
    partition: str = "module",
    *,
    modulus: bool = False,
) -> Array:
    """Compute the largest eigenvalue of some diagonal blocks of the Hessian, (E, number of blocks).

    Of a large block only products with vectors are needed (Lanczos, relative error about 1e-5), so that models are allowed whose
    exact spectra would take too long. `spectral_heterogeneity.log_deviation` of the result is the measure `sd-largest` on these
    blocks.

    Args:
        stack: E instances.
        theta: parameters, (E, P).
        blocks: labels of the partition, as those of `weight_matrices`.
        partition: `layer`, `module` or `unit`.
        modulus: whether the largest modulus is returned instead (the spectral norm of the block). The largest eigenvalue itself
            can be negative at a start, for example of an embedding before batch norm, and has no logarithm then.

    Raises:
        ValueError: an unknown block or partition, or a shape that does not fit.
    """
    points, cut = as_points(stack, theta), stack.problem.partition(partition)
    numbers = [cut.labels.index(check_choice("block", label, cut.labels)) for label in blocks]
    small = [b for b in dict.fromkeys(numbers) if cut.sizes[b] <= _DENSE]
    out = np.full((stack.instances, len(numbers)), np.nan)
    for e in range(stack.instances):
        one = OneInstance.of(stack, points, e, narrow=True)
        dense = symmetric(one.blocks(cut, small))[0] if small else {}
        spectra = zip(small, eigenvalues(dense.values()), strict=True)
        found = {b: float((np.abs(values) if modulus else values).max()) for b, values in spectra}
        for b in dict.fromkeys(numbers):
            if b not in found:
                found[b] = _by_lanczos(one, cut.ranges[b], modulus)
        out[e] = [found[b] for b in numbers]
    return out


def _by_lanczos(one: OneInstance, bounds: tuple[int, int], modulus: bool) -> float:
    """Return the largest eigenvalue of a block, or the largest modulus of one; NaN where a product is not finite."""
    size, within = bounds[1] - bounds[0], one.within(bounds)
    start = np.random.default_rng(0).standard_normal(size)  # a fixed start: the result is reproducible

    def product(v: NDArray[np.float64]) -> Array:
        return within(torch.from_numpy(np.array(v).ravel())).numpy()

    first = product(start)
    if not np.isfinite(first).all():
        return float("nan")
    if not first.any():
        return 0.0
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    which = "LM" if modulus else "LA"
    found = eigsh(operator, k=1, which=which, v0=start, tol=_TOLERANCE, return_eigenvectors=False)
    return float(np.abs(found[0]) if modulus else found[0])


@own_modes()
def gradient_table(problem: ToyProblem, theta: Array | None = None, partition: str = "module") -> pd.DataFrame:
    """Return the gradient of every tensor on all data: its norm, and its norm per sqrt(P).

    Args:
        problem: M problems.
        theta: parameters, (M, P); None: the start.
        partition: `layer`, `module` (a row per tensor, with q, k and v apart) or `unit`.

    Returns:
        One row per problem and block, with index, block, depth (0 is the embedding), kind (as `q`), size, `norm` = |g_l| and
        `per_root` = |g_l|/sqrt(P_l).

    Raises:
        ValueError: an unknown partition, or a shape that does not fit.
    """
    cut, layers = problem.partition(partition), problem.partition("layer").labels
    norms = block_gradient_norms(gradient(problem.stack(), problem.start if theta is None else theta), cut.sizes)
    plain = tuple(dict.fromkeys(label.partition(".")[2] if label.startswith("copy") else label for label in layers))
    places = [place_of_block(label, plain) for label in cut.labels]
    number = problem.problems
    return pd.DataFrame({
        "index": np.repeat(problem.index, len(cut.sizes)),
        "heterogeneity": np.repeat(problem.heterogeneity, len(cut.sizes)),
        "block": np.tile(cut.labels, number),
        "depth": np.tile([depth for depth, _ in places], number),
        "kind": np.tile([kind for _, kind in places], number),
        "size": np.tile(cut.sizes, number),
        "norm": (norms * np.sqrt(cut.sizes)).ravel(),
        "per_root": norms.ravel(),
    })


@dataclass(frozen=True, eq=False)
class RowShares:
    """How much of a Hessian lies off the blocks of single rows (neurons, tokens, classes), for E instances.

    Attributes:
        tensors: names of the parameter tensors, (B,).
        within: of each tensor's own block H_bb, the share of its |H_bb|_F^2 off the row blocks, (E, B); NaN for a block of zeros.
        across: share of the whole |H|_F^2 between different tensors, (E,).
        total: share of the whole |H|_F^2 off the row blocks, within and across tensors together, (E,).
    """

    tensors: tuple[str, ...]
    within: Array
    across: Array
    total: Array

    def to_frame(self) -> pd.DataFrame:
        """Return one row per instance and tensor: instance, tensor, within, across, total."""
        number = len(self.tensors)
        return pd.DataFrame({
            "instance": np.repeat(np.arange(self.across.size), number),
            "tensor": np.tile(self.tensors, self.across.size),
            "within": self.within.ravel(),
            "across": np.repeat(self.across, number),
            "total": np.repeat(self.total, number),
        })


@own_modes()
@own_threads()
def row_shares(
    stack: Stack, theta: ArrayLike | torch.Tensor, *, columns: int | None = None, seed: int = 0
) -> RowShares:
    """Measure the Hessian off the blocks of single rows, within each tensor and across tensors apart.

    A row holds the incoming weights of a neuron, a class (head) or a token (embedding); in an embedding of features it is the
    column of a channel; a gain is one block. No Hessian is stored: its columns are evaluated and their squares added up.

    Args:
        stack: E instances of one copy each.
        theta: parameters, (E, P).
        columns: largest number of columns of a tensor that are evaluated, drawn at random, which makes the sums of squares
            unbiased estimates; None: all columns, with exact sums.
        seed: seed of that draw.

    Raises:
        ValueError: several copies, or a shape that does not fit.
    """
    problem, points = stack.problem, as_points(stack, theta)
    if problem.copies > 1:
        raise ValueError(
            f"row shares need a problem of one copy, got {problem.copies}; use another dial than separable."
        )
    most = None if columns is None else check_count("columns", columns)
    number = len(problem.parameters)
    sums = np.zeros((3, stack.instances, number))  # in the same row, in the same tensor, in all
    for e in range(stack.instances):
        one, rng = OneInstance.of(stack, points, e), np.random.default_rng((seed, e))
        for b, (begin, rows) in enumerate(_rows_of(stack)):
            at = np.arange(rows.size)
            if most is not None and rows.size > most:
                at = np.sort(rng.choice(rows.size, most, replace=False))
            sums[:, e, b] = _squares(one, begin, rows, at) * (rows.size / at.size)
    row, tensor, whole = sums
    within = np.divide(np.maximum(tensor - row, 0.0), tensor, out=np.full_like(row, np.nan), where=tensor > 0.0)
    everything = np.where(whole.sum(axis=1) > 0.0, whole.sum(axis=1), np.nan)
    across, total = (np.maximum(1.0 - part.sum(axis=1) / everything, 0.0) for part in (tensor, row))
    return RowShares(tuple(p.name for p in problem.parameters), within, across, total)


def _rows_of(stack: Stack) -> list[tuple[int, NDArray[np.int64]]]:
    """Return of every tensor its first coordinate and the row of each coordinate."""
    found = []
    parameters = stack.problem.parameters
    for p, end in zip(parameters, accumulate(p.size for p in parameters), strict=True):
        place = np.arange(p.size)
        by_feature = p.name == "embed" and stack.inputs.is_floating_point()  # there a channel is a column
        rows = place % p.shape[1] if by_feature else place // p.shape[-1]
        found.append((end - p.size, rows))
    return found


def _squares(one: OneInstance, begin: int, rows: NDArray[np.int64], at: NDArray[np.int64]) -> Array:
    """Return the sums of squares of columns of the Hessian: in the row of the column, in its tensor, and in all.

    Args:
        one: the instance.
        begin: first coordinate of the tensor.
        rows: row of each of its coordinates.
        at: the columns, counted within the tensor.
    """

    def of(chunk: NDArray[np.int64]) -> Array:
        tangents = torch.zeros(chunk.size, one.dimension, dtype=torch.float64, device="cpu")
        tangents[torch.arange(chunk.size), torch.from_numpy(begin + chunk)] = 1.0
        squares = np.square(one.products(tangents))
        own = squares[:, begin : begin + rows.size]
        return np.array([own[rows[chunk][:, None] == rows].sum(), own.sum(), squares.sum()])

    parts = in_threads(of, [at[i : i + one.at_once] for i in range(0, at.size, one.at_once)])
    return np.asarray(np.sum(parts, axis=0))
