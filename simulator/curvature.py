"""Curvature of toy models: products with the Hessian, its diagonal blocks and their spectra, and what lies off them.

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

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import eigsh

from quadsim.simulator.checks import check_count
from quadsim.simulator.memory import memory_text
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.problem import Stack
from quadsim.simulator.quadrature import quadrature

__all__ = [
    "LARGEST_BLOCK",
    "LARGEST_WHOLE",
    "BlockHessians",
    "BlockSpectra",
    "OffBlock",
    "block_hessians",
    "block_spectra",
    "gradient",
    "hessian_products",
    "off_block",
    "off_block_of",
    "whole_hessian",
]

Tensor = torch.Tensor
Array = NDArray[np.float64]

LARGEST_BLOCK = 1024
"""Parameters of the largest block whose eigenvalues are exact by default: all modules of the default models."""
LARGEST_WHOLE = 10_000
"""Parameters of the largest Hessian that is written out: 800 MB, and as much again for its symmetric part."""

TOKENS_AT_ONCE = 16_000
"""Tokens times columns of a product on a CPU: about 16 kB each at width 16, and no gain beyond."""
_ON_DEVICE = 32  # times as many on a GPU
_DENSE_NORM = 1000  # up to this size the spectral norm is taken from all eigenvalues


def gradient(stack: Stack, theta: ArrayLike | Tensor) -> Array:
    """Gradient of the optimised loss, (E, P), unscaled in every mode."""
    points = _points(stack, theta)
    stack = _in_float64(stack)
    points = points.requires_grad_()
    (found,) = torch.autograd.grad(stack.losses(points)[0].sum(), points)
    return np.asarray(found.cpu().numpy())


def hessian_products(stack: Stack, theta: ArrayLike | Tensor, tangents: ArrayLike | Tensor) -> Array:
    """H v of every instance, by differentiating the gradient once more.

    Args:
        stack: E instances.
        theta: parameters, (E, P).
        tangents: v, (n, E, P).

    Returns:
        (n, E, P).

    Raises:
        ValueError: a shape that does not fit.
    """
    points, vectors = _points(stack, theta), torch.as_tensor(tangents, dtype=torch.float64).cpu()
    if vectors.ndim != 3 or vectors.shape[1:] != points.shape:
        raise ValueError(
            f"tangents must have the shape (n, {', '.join(map(str, points.shape))}), got {tuple(vectors.shape)}; give one for "
            "every instance."
        )
    out = np.empty(vectors.shape)
    for e in range(stack.instances):
        one = _One.of(stack, points, e)
        for begin in range(0, vectors.shape[0], one.at_once):
            chunk = slice(begin, begin + one.at_once)
            out[chunk, e] = one.products(vectors[chunk, e])
    return out


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

    def spectra(self) -> "BlockSpectra":
        """Eigenvalues of every block."""
        values = tuple(_eigenvalues(self.blocks))
        return BlockSpectra(
            partition=self.partition,
            nodes=values,
            weights=tuple(np.full(v.shape, 1.0 / v.shape[1]) for v in values),
            exact=np.ones(len(values), dtype=bool),
            asymmetry=self.asymmetry,
        )


@dataclass(frozen=True, eq=False)
class BlockSpectra:
    """Spectra of the blocks of E instances, as nodes with weights.

    Attributes:
        partition: what the blocks are.
        nodes: of every block, (E, n_l), ascending: all P_l eigenvalues of an exact one; else the nodes of a quadrature, of which
            the extreme ones approach the extreme eigenvalues from within. NaN fills up a row with fewer.
        weights: of every block, (E, n_l), with the sum 1; 1/P_l for an exact one; 0 where a node is NaN.
        exact: whether the nodes are the eigenvalues, (B,).
        asymmetry: as in BlockHessians, of the exact blocks, (E,).
    """

    partition: Partition
    nodes: tuple[Array, ...]
    weights: tuple[Array, ...]
    exact: NDArray[np.bool_]
    asymmetry: Array

    @cached_property
    def largest(self) -> Array:
        """Largest eigenvalue of every block, (E, B)."""
        return np.stack([np.nanmax(nodes, axis=1) for nodes in self.nodes], axis=1)

    @cached_property
    def smallest(self) -> Array:
        """Smallest eigenvalue of every block, (E, B); negative where the loss curves down."""
        return np.stack([np.nanmin(nodes, axis=1) for nodes in self.nodes], axis=1)

    @property
    def smoothness(self) -> Array:
        """L_l = max(largest eigenvalue, 0), (E, B)."""
        return np.maximum(self.largest, 0.0)

    @property
    def spectral_norm(self) -> Array:
        """Largest modulus of an eigenvalue, (E, B)."""
        return np.maximum(np.abs(self.largest), np.abs(self.smallest))


def block_hessians(stack: Stack, theta: ArrayLike | Tensor, partition: str | Partition = "module") -> BlockHessians:
    """All diagonal blocks, written out: E sum_l P_l^2 numbers.

    Args:
        stack: E instances.
        theta: parameters, (E, P).
        partition: blocks, or their name in PARTITIONS.

    Raises:
        ValueError: a shape that does not fit, or an unknown partition.
    """
    points, blocks = _points(stack, theta), _partition(stack, partition)
    numbers = range(len(blocks.sizes))
    found = [_symmetric(_One.of(stack, points, e).blocks(blocks, numbers)) for e in range(stack.instances)]
    return BlockHessians(
        partition=blocks,
        blocks=tuple(np.stack([matrices[b] for matrices, _ in found]) for b in numbers),
        asymmetry=np.array([asymmetry for _, asymmetry in found]),
    )


def block_spectra(
    stack: Stack,
    theta: ArrayLike | Tensor,
    partition: str | Partition = "module",
    *,
    largest: int = LARGEST_BLOCK,
    nodes: int = 80,
    runs: int = 10,
    seed: int = 0,
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

    Raises:
        ValueError: a value out of range, a shape that does not fit, or a larger block without the extra `curvature`.
    """
    points, cut = _points(stack, theta), _partition(stack, partition)
    largest = check_count("largest", largest)
    exact = np.array([size <= largest for size in cut.sizes])
    found: list[list[tuple[Array, Array]]] = []
    asymmetry = np.zeros(stack.instances)
    for e in range(stack.instances):
        one = _One.of(stack, points, e)
        small = np.flatnonzero(exact).tolist()
        matrices, asymmetry[e] = _symmetric(one.blocks(cut, small))
        spectra = dict(zip(small, _eigenvalues(matrices.values()), strict=True))
        pairs = {b: (values, np.full(values.size, 1.0 / values.size)) for b, values in spectra.items()}
        for b in np.flatnonzero(~exact).tolist():
            pairs[b] = quadrature(one.within(cut.ranges[b]), cut.sizes[b], nodes=nodes, runs=runs, seed=seed)
        found.append([pairs[b] for b in range(len(cut.sizes))])
    joined = [[_filled([each[b][i] for each in found], fill) for b in range(len(cut.sizes))] for i, fill in _FILLS]
    return BlockSpectra(cut, tuple(joined[0]), tuple(joined[1]), exact, asymmetry)


def whole_hessian(stack: Stack, theta: ArrayLike | Tensor, *, largest: int = LARGEST_WHOLE) -> tuple[Array, Array]:
    """The Hessians (E, P, P), symmetric as in BlockHessians, and their asymmetry (E,).

    Raises:
        ValueError: more than `largest` parameters, or a shape that does not fit.
    """
    points = _points(stack, theta)
    _check_whole(stack, largest)
    everything = Partition("whole", ("whole",), (stack.problem.dimension,))
    found = block_hessians(stack, points, everything)
    return found.blocks[0], found.asymmetry


@dataclass(frozen=True, eq=False)
class OffBlock:
    """How much of the Hessian the diagonal blocks leave out, (E,) each.

    Attributes:
        spectral: |H - blkdiag(H)| / |H| in the spectral norm.
        frobenius: the same in the Frobenius norm.
        whole_over_block: |H| / max_l |H_l| in the spectral norm, at least 1: by so much a block-diagonal picture can understate
            curvature.
    """

    spectral: Array
    frobenius: Array
    whole_over_block: Array


def off_block(
    stack: Stack, theta: ArrayLike | Tensor, partition: str | Partition = "module", *, largest: int = LARGEST_WHOLE
) -> OffBlock:
    """From the whole Hessian of one instance after the other.

    Args:
        stack: E instances.
        theta: parameters, (E, P).
        partition: blocks, or their name in PARTITIONS.
        largest: number of parameters from which the whole is too large.

    Raises:
        ValueError: more than `largest` parameters, a shape that does not fit, or an unknown partition.
    """
    points, cut = _points(stack, theta), _partition(stack, partition)
    _check_whole(stack, largest)
    everything = Partition("whole", ("whole",), (stack.problem.dimension,))
    values = np.empty((3, stack.instances))
    for e in range(stack.instances):
        matrices, _ = _symmetric(_One.of(stack, points, e).blocks(everything, [0]))
        values[:, e] = off_block_of(matrices[0], cut)
    return OffBlock(*values)


def off_block_of(hessian: Array, partition: Partition) -> tuple[float, float, float]:
    """The three measures of OffBlock for one symmetric matrix (P, P); NaN where it is 0."""
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


class _One:
    """One instance: the columns of its Hessian."""

    def __init__(self, stack: Stack, theta: Tensor) -> None:
        self._stack, self._theta = stack, theta
        self._kept: tuple[Tensor, Tensor] | None = None
        self.dimension = int(theta.shape[1])
        tokens = max(stack.problem.copies * stack.targets.shape[1] * stack.problem.task.shape.tokens, 1)
        most = TOKENS_AT_ONCE * (1 if theta.device.type == "cpu" else _ON_DEVICE)
        self.at_once = int(np.clip(most // tokens, 1, self.dimension))

    @classmethod
    def of(cls, stack: Stack, points: Tensor, number: int) -> "_One":
        at = torch.tensor([number], device=points.device)
        return cls(_in_float64(stack.select(at)), points[at])

    def products(self, tangents: Tensor) -> Array:
        """H v of (n, P): the derivative of g'v, for all v in one backward pass.

        Forward mode would do as well, but its levels are shared by all threads.
        """
        return self._backward(*self._graph(), tangents)

    def product(self, tangent: Tensor) -> Array:
        """H v of (P,), from a graph that is kept for the next one."""
        if self._kept is None:
            self._kept = self._graph()
        return self._backward(*self._kept, tangent[None], keep=True)[0]

    def _graph(self) -> tuple[Tensor, Tensor]:
        point = self._theta.clone().requires_grad_()
        loss = self._stack.losses(point)[0].sum()
        (slope,) = torch.autograd.grad(loss, point, create_graph=True)
        return point, slope

    @staticmethod
    def _backward(point: Tensor, slope: Tensor, tangents: Tensor, keep: bool = False) -> Array:
        along = tangents.to(point.device)[:, None]
        if along.shape[0] == 1:
            (found,) = torch.autograd.grad(slope, point, along[0], retain_graph=keep)
            return np.asarray(found.cpu().numpy())
        (found,) = torch.autograd.grad(slope, point, along, is_grads_batched=True)
        return np.asarray(found[:, 0].cpu().numpy())

    def blocks(self, cut: Partition, numbers: Sequence[int]) -> dict[int, Array]:
        """The asked blocks by their number, as computed: some columns at a time, each in a row."""
        out = {b: np.empty((cut.sizes[b], cut.sizes[b])) for b in numbers}
        wanted = np.flatnonzero(np.isin(cut.block_of, numbers))

        def fill(chunk: NDArray[np.int64]) -> None:
            tangents = torch.zeros(chunk.size, self.dimension, dtype=torch.float64)
            tangents[torch.arange(chunk.size), torch.from_numpy(chunk)] = 1.0
            columns, of = self.products(tangents), cut.block_of[chunk]
            for b in np.unique(of).tolist():
                (begin, end), mine = cut.ranges[b], of == b
                out[b][chunk[mine] - begin] = columns[mine, begin:end]

        _in_threads(fill, [wanted[i : i + self.at_once] for i in range(0, wanted.size, self.at_once)])
        return out

    def within(self, bounds: tuple[int, int]) -> "_Within":
        return _Within(self, bounds)


@dataclass(frozen=True, eq=False)
class _Within:
    """The product with one diagonal block, of vectors (P_l,)."""

    one: _One
    bounds: tuple[int, int]

    def __call__(self, v: Tensor) -> Tensor:
        begin, end = self.bounds
        tangent = torch.zeros(self.one.dimension, dtype=torch.float64)
        tangent[begin:end] = v
        return torch.from_numpy(self.one.product(tangent)[begin:end].copy())


def _in_threads(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Work on all items, in threads of our own with one thread within each operation: those of torch wait for each other."""
    items, threads = list(items), torch.get_num_threads()
    if min(threads, len(items)) < 2:
        return [work(item) for item in items]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(threads)


def _eigenvalues(matrices: Iterable[Array]) -> list[Array]:
    """Of symmetric matrices or batches of them, ascending."""
    return _in_threads(lambda m: torch.linalg.eigvalsh(torch.from_numpy(m)).numpy(), matrices)


_FILLS = ((0, np.nan), (1, 0.0))


def _filled(rows: list[Array], fill: float) -> Array:
    """Rows of different lengths to one array."""
    out = np.full((len(rows), max(row.size for row in rows)), fill)
    for i, row in enumerate(rows):
        out[i, : row.size] = row
    return out


def _symmetric(matrices: dict[int, Array]) -> tuple[dict[int, Array], float]:
    """The mean of each matrix and its transpose, and the largest difference of the two over the largest entry."""
    difference = max((float(np.abs(m - m.T).max()) for m in matrices.values()), default=0.0)
    scale = max((float(np.abs(m).max()) for m in matrices.values()), default=0.0)
    return {b: (m + m.T) / 2 for b, m in matrices.items()}, difference / scale if scale else 0.0


def _spectral_norm(matrix: Array) -> float:
    """Largest modulus of an eigenvalue of a symmetric matrix; by Lanczos to rounding where it is large."""
    if not np.any(matrix):
        return 0.0
    if matrix.shape[0] <= _DENSE_NORM:
        return float(np.abs(_eigenvalues([matrix])[0]).max())
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])  # a fixed start: the same number every time
    return float(np.abs(eigsh(matrix, k=1, which="LM", v0=start, return_eigenvectors=False))[0])


def _points(stack: Stack, theta: ArrayLike | Tensor) -> Tensor:
    points = torch.as_tensor(theta).detach().to(device=stack.weights.device, dtype=torch.float64)
    if points.shape != (stack.instances, stack.problem.dimension):
        raise ValueError(
            f"theta must have the shape ({stack.instances}, {stack.problem.dimension}), got {tuple(points.shape)}; give a row an "
            "instance."
        )
    return points


def _partition(stack: Stack, partition: str | Partition) -> Partition:
    cut = stack.problem.partition(partition) if isinstance(partition, str) else partition
    if sum(cut.sizes) != stack.problem.dimension:
        raise ValueError(
            f"partition must have {stack.problem.dimension} coordinates, got {sum(cut.sizes)}; use the problem's own."
        )
    return cut


def _check_whole(stack: Stack, largest: int) -> None:
    size = stack.problem.dimension
    if size > check_count("largest", largest):
        raise ValueError(
            f"a whole Hessian must have at most {largest} parameters, got {size} ({memory_text(8.0 * size**2)} each); raise "
            "largest or use a smaller model."
        )


def _in_float64(stack: Stack) -> Stack:
    """Weights and features of a float32 stack stay rounded to float32; `ToyProblem.stack` makes exact ones."""
    held = {f.name: getattr(stack, f.name) for f in fields(stack)}
    return replace(stack, **{n: v.double() for n, v in held.items() if torch.is_tensor(v) and v.is_floating_point()})
