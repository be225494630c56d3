"""Evaluate the Hessian of toy models by products H v, by differentiating the gradient once more.

Everything is float64, whatever the number type of training: in float32 the largest eigenvalue is wrong by percents near a
minimum. The loss is the optimised loss on the data of the stack (all data, unless `Stack.rows` selected some), as a function
of the stored parameters; `quadsim.simulator.curvature.block_spectra` explains what these are under the dial `reparametrisation`.

Instances are evaluated one after the other, so the Hessian of an instance does not depend on the others of the stack.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.stack import Stack
from quadsim.simulator.support.arrays import numbers_of
from quadsim.simulator.support.threads import in_threads, own_threads
from quadsim.simulator.support.torch_modes import own_modes

__all__ = [
    "OneInstance",
    "Progress",
    "as_points",
    "gradient",
    "hessian_products",
    "no_progress",
]

Tensor = torch.Tensor
Array = NDArray[np.float64]

TOKENS_AT_ONCE = 16_000
"""Tokens times columns of one product on a CPU: about 16 kB each at width 16; more columns at once are not faster."""
_ON_DEVICE = 32  # factor for a GPU


@own_modes()
@own_threads()
def gradient(stack: Stack, theta: ArrayLike | Tensor) -> Array:
    """Return the gradient of the optimised loss, (E, P), in float64.

    It is the derivative by the stored parameters. Not to be confused with what the rule gets in training: under the dial
    `reparametrisation` in its mode `gradient` that is diag(s^2) times this gradient.

    Args:
        stack: E instances.
        theta: parameters, (E, P).

    Raises:
        ValueError: a shape that does not fit.
    """
    points = as_points(stack, theta)
    stack = _in_float64(stack)
    points = points.requires_grad_()
    (found,) = torch.autograd.grad(stack.losses(points)[0].sum(), points)
    return np.asarray(found.cpu().numpy())


@own_modes()
@own_threads()
def hessian_products(stack: Stack, theta: ArrayLike | Tensor, tangents: ArrayLike | Tensor) -> Array:
    """Return Hessian-vector products H v of every instance, in float64.

    Args:
        stack: E instances.
        theta: parameters, (E, P).
        tangents: the vectors v, n for every instance, (n, E, P).

    Returns:
        H v, (n, E, P).

    Raises:
        ValueError: a shape that does not fit.
    """
    points, vectors = as_points(stack, theta), torch.from_numpy(np.array(numbers_of("tangents", tangents)))
    if vectors.ndim != 3 or vectors.shape[1:] != points.shape:
        raise ValueError(
            f"tangents must have the shape (n, {', '.join(map(str, points.shape))}), got {tuple(vectors.shape)}; give one for "
            "every instance."
        )
    out = np.empty(vectors.shape)
    for e in range(stack.instances):
        one = OneInstance.of(stack, points, e)
        for begin in range(0, vectors.shape[0], one.at_once):
            chunk = slice(begin, begin + one.at_once)
            out[chunk, e] = one.products(vectors[chunk, e])
    return out


Progress = Callable[[int], None]
"""A function that is called with the number of Hessian columns that were just finished; it may be called from any thread."""


def no_progress(columns: int) -> None:
    """Ignore the progress."""


class OneInstance:
    """The Hessian of one instance, as products and blocks.

    Args:
        stack: one instance.
        theta: its parameters, (1, P).
        narrow: whether products with a block differentiate by the tensors of that block alone (see `span`). It takes half of the
            time; the sums are taken in another order, so that the last bits differ.

    Attributes:
        dimension: number of parameters, P.
        at_once: number of columns that one backward pass evaluates.
    """

    def __init__(self, stack: Stack, theta: Tensor, *, narrow: bool = False) -> None:
        self._stack, self._theta, self._narrow = stack, theta, narrow
        self._kept: tuple[tuple[int, int], Tensor, Tensor] | None = None
        self.dimension = int(theta.shape[1])
        tokens = max(stack.problem.copies * stack.targets.shape[1] * stack.problem.task.shape.tokens, 1)
        most = TOKENS_AT_ONCE * (1 if theta.device.type == "cpu" else _ON_DEVICE)
        self.at_once = int(np.clip(most // tokens, 1, self.dimension))

    @classmethod
    def of(cls, stack: Stack, points: Tensor, number: int, *, narrow: bool = False) -> "OneInstance":
        """Return instance `number` of a stack at the parameters `points`, (E, P)."""
        at = torch.tensor([number], device=points.device)
        return cls(_in_float64(stack.select(at)), points[at], narrow=narrow)

    def products(self, tangents: Tensor) -> Array:
        """Return H v for all vectors v (n, P): the derivative of g'v, in one batched backward pass.

        Not in forward mode: torch's levels of forward differentiation are shared by all threads, and the columns of a Hessian are
        evaluated in several.
        """
        return self._backward(*self._graph((0, self.dimension)), tangents)

    def span(self, bounds: tuple[int, int]) -> tuple[int, int]:
        """Return the range (begin, end) of parameters by which a product with the block `bounds` differentiates.

        All parameters, or if `narrow` the smallest range of whole tensors that contains the block.
        """
        # The tensors of a copy do not lie side by side with those of the others.
        if not self._narrow or self._stack.problem.copies > 1:
            return 0, self.dimension
        ends = np.cumsum([p.size for p in self._stack.problem.parameters])
        first, last = np.searchsorted(ends, [bounds[0] + 1, bounds[1]])
        return int(ends[first] - self._stack.problem.parameters[first].size), int(ends[last])

    def product(self, tangent: Tensor, span: tuple[int, int]) -> Array:
        """Return the coordinates of a span of H v for one vector v that is 0 elsewhere; both are (end - begin,).

        The graph of the gradient is kept for the next call with the same span (Lanczos needs many).
        """
        if self._kept is None or self._kept[0] != span:
            self._kept = span, *self._graph(span)
        return np.asarray(self._backward(*self._kept[1:], tangent[None], keep=True)[0])

    def _graph(self, span: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return the parameters of a span, (1, n), and the gradient by them alone, as a function of them alone.

        What lies below the span in the network is then a constant, which autograd passes over, and no derivative by the tensors
        of other spans is computed: for deep networks half of the work.
        """
        begin, end = span
        point = self._theta[:, begin:end].clone().requires_grad_()
        if (begin, end) == (0, self.dimension):
            loss = self._stack.losses(point)[0].sum()
        else:
            ends = np.cumsum([p.size for p in self._stack.problem.parameters]).tolist()
            ranges = zip([0, *ends], ends, strict=False)
            pieces = [
                point[:, a - begin : b - begin].clone() if begin <= a < end else self._theta[:, a:b].clone()
                for a, b in ranges
            ]
            loss = self._stack.losses(pieces)[0].sum()
        (slope,) = torch.autograd.grad(loss, point, create_graph=True)
        return point, slope

    @staticmethod
    def _backward(point: Tensor, slope: Tensor, tangents: Tensor, keep: bool = False) -> Array:
        along = tangents.to(point.device)[:, None]
        if along.shape[0] == 1:
            (found,) = torch.autograd.grad(slope, point, along[0], retain_graph=keep)
            return np.asarray(found.cpu().numpy())
        (found,) = torch.autograd.grad(slope, point, along, is_grads_batched=True)
        return np.asarray(found[:, 0].cpu().numpy(), dtype=np.float64)

    def blocks(self, cut: Partition, numbers: Sequence[int], progress: Progress = no_progress) -> dict[int, Array]:
        """Return diagonal blocks of the Hessian, as computed (not symmetrised).

        Args:
            cut: the partition.
            numbers: the blocks that are wanted.
            progress: called with the number of columns that were just finished.

        Returns:
            Number of a block to its matrix (P_l, P_l), with column j of the Hessian in row j.
        """
        out = {b: np.empty((cut.sizes[b], cut.sizes[b])) for b in numbers}
        of_span: dict[tuple[int, int], list[int]] = {}
        for b in numbers:
            of_span.setdefault(self.span(cut.ranges[b]), []).append(b)

        def fill(task: tuple[tuple[int, int], NDArray[np.int64]]) -> None:
            span, chunk = task
            tangents = torch.zeros(chunk.size, span[1] - span[0], dtype=torch.float64, device="cpu")
            tangents[torch.from_numpy(np.arange(chunk.size)), torch.from_numpy(chunk - span[0])] = 1.0
            columns, of = self._backward(*self._graph(span), tangents), cut.block_of[chunk]
            for b in np.unique(of).tolist():
                (begin, end), mine = cut.ranges[b], of == b
                out[b][chunk[mine] - begin] = columns[mine, begin - span[0] : end - span[0]]
            progress(chunk.size)

        tasks = []
        for span, blocks in of_span.items():
            wanted = np.flatnonzero(np.isin(cut.block_of, blocks))
            tasks += [(span, wanted[i : i + self.at_once]) for i in range(0, wanted.size, self.at_once)]
        in_threads(fill, tasks)
        return out

    def within(self, bounds: tuple[int, int]) -> "_Within":
        """Return the product with the diagonal block of the coordinates `bounds` = (begin, end)."""
        return _Within(self, bounds)


@dataclass(frozen=True, eq=False)
class _Within:
    """A function that multiplies one diagonal block by a vector (P_l,)."""

    one: OneInstance
    bounds: tuple[int, int]

    def __call__(self, v: Tensor) -> Tensor:
        span = self.one.span(self.bounds)
        begin, end = self.bounds[0] - span[0], self.bounds[1] - span[0]
        tangent = torch.zeros(span[1] - span[0], dtype=torch.float64, device="cpu")
        tangent[begin:end] = v
        return torch.from_numpy(self.one.product(tangent, span)[begin:end].copy())


def as_points(stack: Stack, theta: ArrayLike | Tensor) -> Tensor:
    """Return parameters (E, P) as a float64 tensor on the device of the stack.

    Raises:
        ValueError: another shape than (E, P).
    """
    values = np.array(numbers_of("theta", theta))
    # A tensor stays in memory that torch allocated, at a multiple of 64 bytes: the last bits of products depend on the address.
    points = torch.tensor(values, device="cpu") if isinstance(theta, Tensor) else torch.from_numpy(values)
    points = points.to(stack.weights.device)
    if points.shape != (stack.instances, stack.problem.dimension):
        raise ValueError(
            f"theta must have the shape ({stack.instances}, {stack.problem.dimension}), got {tuple(points.shape)}; give one row "
            "per instance."
        )
    return points


def _in_float64(stack: Stack) -> Stack:
    """Return the stack in float64. Its weights and features keep the values that they had, also those rounded to float32.

    For unrounded data, create the stack in float64 (`ToyProblem.stack`).
    """
    held = {f.name: getattr(stack, f.name) for f in fields(stack)}
    floating: dict[str, Any] = {n: v.double() for n, v in held.items() if torch.is_tensor(v) and v.is_floating_point()}
    return replace(stack, **floating)
