"""Hessian blocks of a small torch module of a user's own, as matrices for `BlockQuadratic.from_blocks` (`blocks_of`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call, grad, jacrev, vjp, vmap

from quadsim.simulator.support.arrays import array_of
from quadsim.simulator.support.checks import check_choice, check_count
from quadsim.simulator.support.memory import memory_text, physical_memory
from quadsim.simulator.support.torch_modes import own_modes

__all__ = ["KINDS", "blocks_of"]

Tensor = torch.Tensor
Array = NDArray[np.float64]

KINDS = ("hessian", "gauss-newton")
"""`hessian`: second derivatives of the loss. `gauss-newton`: J'AJ with J the derivatives of the module's output and A the Hessian
of the loss by that output; positive semi-definite where the loss is convex in the output (Schraudolph 2002)."""

_COPIES = 5  # of a block, while it is computed and checked
_COLUMNS = 64  # columns of a block that are differentiated at once


@own_modes()
def blocks_of(
    module: torch.nn.Module,
    loss: Callable[[Any, Any], Tensor],
    data: tuple[Any, Any],
    *,
    partition: Sequence[int] | None = None,
    kind: str = "hessian",
) -> list[Array]:
    """Return the diagonal blocks of the Hessian of `loss(module(inputs), targets)` at the module's present parameters.

    Everything is evaluated in float64, in the mode (training or evaluation) in which the module is. Parameters that require no
    gradient stay fixed. The blocks are symmetrised: the mean of the computed matrix and its transpose.

    Args:
        module: a torch module with P parameters.
        loss: function from output and targets to one number, as `torch.nn.functional.cross_entropy`.
        data: inputs and targets; the inputs are what the module is called with.
        partition: sizes P_l of the blocks, over all parameters one after the other; None: a block per parameter tensor.
        kind: `hessian` or `gauss-newton`.

    Returns:
        Matrices (P_l, P_l), positive semi-definite up to rounding.

    Raises:
        ValueError: a partition that does not fit, blocks that do not fit in memory, a loss that is no single number, or blocks
            that are indefinite.

    Examples:
        >>> import torch
        >>> from quadsim.simulator import BlockQuadratic, blocks_of
        >>> model, x, y = torch.nn.Linear(3, 1), torch.randn(20, 3), torch.randn(20, 1)
        >>> blocks = blocks_of(model, torch.nn.functional.mse_loss, (x, y))
        >>> problem = BlockQuadratic.from_blocks(blocks, initial_error="normal", problems=16)
        >>> problem.block_sizes
        (3, 1)
    """
    check_choice("kind", kind, KINDS)
    flat = _Flat.of(module, loss, data)
    cuts = _cuts(flat, partition)
    largest = max(end - begin for _, begin, end in cuts)
    outputs = _size_of(flat.output(flat.start)) if kind == "gauss-newton" else 0
    needed = 8.0 * (sum((end - begin) ** 2 for _, begin, end in cuts) + _COPIES * largest**2 + 4 * outputs * largest)
    if needed > physical_memory():
        raise ValueError(
            f"blocks must fit in memory ({memory_text(physical_memory())} here), got blocks of up to {largest} parameters, which "
            f"need {memory_text(needed)}; give a finer partition or a smaller module."
        )
    value = flat.loss(flat.output(flat.start))
    if not isinstance(value, Tensor) or value.ndim:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"loss must return one number, got {shape}; reduce it, as by .mean().")
    found = []
    for _, begin, end in cuts:
        matrix = (flat.hessian if kind == "hessian" else flat.gauss_newton)(begin, end)
        found.append(np.asarray(((matrix + matrix.T) / 2).cpu().numpy(), dtype=np.float64))
    _check_definite(found, [name for name, _, _ in cuts], kind)
    return found


@dataclass(frozen=True, eq=False)
class _Flat:
    """Loss and output of a module as functions of all its parameters in one vector, (P,).

    Attributes:
        names: of the parameter tensors.
        shapes: of the parameter tensors.
        start: the present parameters, (P,), float64.
        output: from parameters (P,) to the output of the module.
        loss: from an output to the loss.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    start: Tensor
    output: Callable[[Tensor], Any]
    loss: Callable[[Any], Tensor]

    @classmethod
    def of(cls, module: torch.nn.Module, loss: Callable[[Any, Any], Tensor], data: Any) -> "_Flat":
        """Take over a module, its loss and data in float64.

        Raises:
            ValueError: no module, no pair of inputs and targets, or a module without parameters to differentiate by.
        """
        if not isinstance(module, torch.nn.Module):
            raise ValueError(f"module must be a torch.nn.Module, got a {type(module).__name__}; give the model.")
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise ValueError(
                f"data must be a pair (inputs, targets), got a {type(data).__name__}; give both in a tuple."
            )
        own = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not own:
            raise ValueError("module must have parameters that require a gradient, got none; set requires_grad.")
        fixed = {n: p for n, p in (*module.named_parameters(), *module.named_buffers()) if n not in own}
        fixed = {name: _double(tensor) for name, tensor in fixed.items()}
        shapes = tuple(p.shape for p in own.values())
        sizes = [p.numel() for p in own.values()]
        inputs, targets = (_double(x) for x in data)

        def output(theta: Tensor) -> Any:
            parts = torch.split(theta, sizes)
            named = {name: part.view(shape) for name, part, shape in zip(own, parts, shapes, strict=True)}
            return functional_call(module, {**fixed, **named}, (inputs,))

        start = torch.cat([_double(p).reshape(-1) for p in own.values()])
        return cls(tuple(own), shapes, start, output, lambda z: loss(z, targets))

    def hessian(self, begin: int, end: int) -> Tensor:
        """Return the block of the coordinates [begin, end), (P_l, P_l)."""

        def of_block(part: Tensor) -> Tensor:
            return self.loss(self.output(self._with(part, begin, end)))

        matrix: Tensor = jacrev(grad(of_block), chunk_size=_COLUMNS)(self.start[begin:end])
        return matrix

    def gauss_newton(self, begin: int, end: int) -> Tensor:
        """Return the same block of the Gauss-Newton matrix, without the Hessian by the output as a matrix."""

        def output(part: Tensor) -> Any:
            return self.output(self._with(part, begin, end))

        # In reverse mode twice, as torch's forward mode compiles with the deprecated TorchScript.
        part = self.start[begin:end]
        at, pull = vjp(output, part)[:2]
        push = vjp(lambda u: pull(u)[0], torch.zeros_like(at))[1]
        curve = vjp(grad(self.loss), at)[1]
        basis = torch.eye(len(part), dtype=part.dtype, device=part.device)
        columns: Tensor = vmap(lambda v: push(v)[0], chunk_size=_COLUMNS)(basis)
        weighted: Tensor = vmap(lambda column: curve(column)[0], chunk_size=_COLUMNS)(columns)
        return columns.reshape(len(part), -1) @ weighted.reshape(len(part), -1).T

    def _with(self, part: Tensor, begin: int, end: int) -> Tensor:
        return torch.cat([self.start[:begin], part, self.start[end:]])


def _double(value: Any) -> Any:
    """Return a tensor detached and, if it is floating point, in float64; anything else unchanged."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().double() if value.is_floating_point() else value.detach()


def _size_of(output: Any) -> int:
    """Return the number of entries of an output.

    Raises:
        ValueError: an output that is no single tensor.
    """
    if not isinstance(output, Tensor):
        raise ValueError(
            f"output of the module must be one tensor for gauss-newton, got a {type(output).__name__}; wrap the module."
        )
    return output.numel()


def _cuts(flat: _Flat, partition: Sequence[int] | None) -> list[tuple[str, int, int]]:
    """Return name, first coordinate and end of every block.

    Raises:
        ValueError: sizes that do not add up to the number of parameters.
    """
    if partition is None:
        names, sizes = list(flat.names), [shape.numel() for shape in flat.shapes]
    else:
        given = np.atleast_1d(array_of("partition", partition)).tolist()
        sizes = [check_count("partition", size) for size in given]
        names = [f"block {number}" for number in range(len(sizes))]
        if sum(sizes) != flat.start.numel():
            raise ValueError(
                f"partition must add up to the number of parameters ({flat.start.numel()}), got {sum(sizes)}; correct the sizes."
            )
    ends = np.cumsum(sizes).tolist()
    return [(name, end - size, end) for name, size, end in zip(names, sizes, ends, strict=True)]


def _check_definite(blocks: list[Array], names: list[str], kind: str) -> None:
    """Check that the blocks are finite and positive semi-definite, by the rule of `BlockQuadratic.from_blocks`.

    Raises:
        ValueError: blocks that are not; the message names them.
    """
    negative = []
    for name, matrix in zip(names, blocks, strict=True):
        if not np.all(np.isfinite(matrix)):
            raise ValueError(f"block {name} must be finite, got NaN or inf; look at the parameters and the data.")
        values = np.linalg.eigvalsh(matrix)
        largest = np.abs(values).max()
        if values[0] < -4.0 * len(values) * np.finfo(float).eps * largest:
            negative.append(f"{name} ({values[0] / largest:.2g} times the largest)")
    if negative:
        advice = (
            'use kind="gauss-newton", or parameters nearer to a minimum'
            if kind == "hessian"
            else "the loss must be convex in the output"
        )
        shown = ", ".join(negative[:3]) + (f" and {len(negative) - 3} more" if len(negative) > 3 else "")
        raise ValueError(
            f"blocks must be positive semi-definite, got {len(negative)} of {len(blocks)} with a negative eigenvalue: {shown}; "
            f"{advice}."
        )
