"""The Hessian of toy models by products: float64, whatever the dtype of training, of the optimised loss.

In float32 the largest eigenvalue is off by percents near a minimum. The loss is that on the data of the stack (all of them,
unless `Stack.rows` picked some), in the parameters that are stored; see `quadsim.simulator.curvature` for what these are under
the dial `reparametrisation`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.given import numbers_of
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.stack import Stack
from quadsim.simulator.threads import in_threads, own_threads
from quadsim.simulator.torch_modes import own_modes

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
"""Tokens times columns of a product on a CPU: about 16 kB each at width 16, and no gain beyond."""
_ON_DEVICE = 32  # times as many on a GPU


@own_modes()
@own_threads()
def gradient(stack: Stack, theta: ArrayLike | Tensor) -> Array:
    """Gradient of the optimised loss, (E, P), unscaled in every mode."""
    points = as_points(stack, theta)
    stack = _in_float64(stack)
    points = points.requires_grad_()
    (found,) = torch.autograd.grad(stack.losses(points)[0].sum(), points)
    return np.asarray(found.cpu().numpy())


@own_modes()
@own_threads()
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
"""Called with the number of columns of a Hessian that are done; from any thread."""


def no_progress(columns: int) -> None:
    """Say nothing."""


class OneInstance:
    """One instance: the columns of its Hessian."""

    def __init__(self, stack: Stack, theta: Tensor) -> None:
        self._stack, self._theta = stack, theta
        self._kept: tuple[Tensor, Tensor] | None = None
        self.dimension = int(theta.shape[1])
        tokens = max(stack.problem.copies * stack.targets.shape[1] * stack.problem.task.shape.tokens, 1)
        most = TOKENS_AT_ONCE * (1 if theta.device.type == "cpu" else _ON_DEVICE)
        self.at_once = int(np.clip(most // tokens, 1, self.dimension))

    @classmethod
    def of(cls, stack: Stack, points: Tensor, number: int) -> "OneInstance":
        """Number `number` of a stack at points (E, P)."""
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
        return np.asarray(self._backward(*self._kept, tangent[None], keep=True)[0])

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
        return np.asarray(found[:, 0].cpu().numpy(), dtype=np.float64)

    def blocks(self, cut: Partition, numbers: Sequence[int], progress: Progress = no_progress) -> dict[int, Array]:
        """The asked blocks by their number, as computed: some columns at a time, each in a row."""
        out = {b: np.empty((cut.sizes[b], cut.sizes[b])) for b in numbers}
        wanted = np.flatnonzero(np.isin(cut.block_of, numbers))

        def fill(chunk: NDArray[np.int64]) -> None:
            tangents = torch.zeros(chunk.size, self.dimension, dtype=torch.float64, device="cpu")
            tangents[torch.from_numpy(np.arange(chunk.size)), torch.from_numpy(chunk)] = 1.0
            columns, of = self.products(tangents), cut.block_of[chunk]
            for b in np.unique(of).tolist():
                (begin, end), mine = cut.ranges[b], of == b
                out[b][chunk[mine] - begin] = columns[mine, begin:end]
            progress(chunk.size)

        in_threads(fill, [wanted[i : i + self.at_once] for i in range(0, wanted.size, self.at_once)])
        return out

    def within(self, bounds: tuple[int, int]) -> "_Within":
        """The product with the diagonal block of these coordinates."""
        return _Within(self, bounds)


@dataclass(frozen=True, eq=False)
class _Within:
    """The product with one diagonal block, of vectors (P_l,)."""

    one: OneInstance
    bounds: tuple[int, int]

    def __call__(self, v: Tensor) -> Tensor:
        begin, end = self.bounds
        tangent = torch.zeros(self.one.dimension, dtype=torch.float64, device="cpu")
        tangent[begin:end] = v
        return torch.from_numpy(self.one.product(tangent)[begin:end].copy())


def as_points(stack: Stack, theta: ArrayLike | Tensor) -> Tensor:
    """Parameters (E, P) in float64 where the stack is.

    Raises:
        ValueError: another shape.
    """
    values = np.array(numbers_of("theta", theta))
    # A tensor stays in torch's memory, which begins at a multiple of 64 bytes: the last bits of products depend on it.
    points = torch.tensor(values, device="cpu") if isinstance(theta, Tensor) else torch.from_numpy(values)
    points = points.to(stack.weights.device)
    if points.shape != (stack.instances, stack.problem.dimension):
        raise ValueError(
            f"theta must have the shape ({stack.instances}, {stack.problem.dimension}), got {tuple(points.shape)}; give a row an "
            "instance."
        )
    return points


def _in_float64(stack: Stack) -> Stack:
    """Weights and features of a float32 stack stay rounded to float32; `ToyProblem.stack` makes exact ones."""
    held = {f.name: getattr(stack, f.name) for f in fields(stack)}
    floating: dict[str, Any] = {n: v.double() for n, v in held.items() if torch.is_tensor(v) and v.is_floating_point()}
    return replace(stack, **floating)
