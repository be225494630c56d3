"""Products of the matrices of many instances, as operations of torch that compiled steps on a GPU call.

Their gradients are operations too: autograd would compute the gradient of a transposed matrix, and copy it. Small matrices in
float32 are multiplied by kernels of our own (`gpu_functions`), others by the library of the GPU.

Compiled steps call operations and no `torch.autograd.Function`, which would keep torch from storing compiled code for later
processes.
"""

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F

__all__ = ["lookup", "product", "takes_gelu"]

Tensor = torch.Tensor

_WIDEST = 128  # of a matrix in a kernel of ours
_LARGEST = 4096  # coordinates of one, filled up
_ROWS = 64  # tokens that a program multiplies at once


def takes_gelu(x: Tensor, weight: Tensor) -> bool:
    """Whether `product` should apply the GELU, where it reads inputs: x is (E, N, in), weight (E, out, in) and small."""
    out, into = weight.shape[1:]
    return x.dtype == torch.float32 and out <= _WIDEST and into <= _WIDEST and out * into <= _LARGEST


def _filled(size: int) -> int:
    """Return the power of two to which a size is filled up: 16 at least, the smallest side of a product of matrix units."""
    return max(16, 1 << (size - 1).bit_length())


@cache
def _has_kernels(device: torch.device) -> bool:
    """Whether the kernels run on a device: they need Triton and matrix units that take tf32."""
    if device.type != "cuda" or torch.version.cuda is None or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _by_kernel(x: Tensor, weight: Tensor) -> bool:
    out, into = weight.shape[1:]
    small = takes_gelu(x, weight) and _filled(out) * _filled(into) <= _LARGEST
    return small and x.dtype == weight.dtype and _has_kernels(x.device)


@torch.library.custom_op("quadsim::product", mutates_args=())
def product(x: Tensor, weight: Tensor, gelu: bool = False) -> Tensor:
    """Return inputs (E, N, in), or the GELU of them, times matrices (E, out, in): (E, N, out)."""
    if _by_kernel(x, weight):
        return kernel_product(x, weight, gelu)
    return torch.bmm(F.gelu(x) if gelu else x, weight.transpose(1, 2))


@product.register_fake
def _(x: Tensor, weight: Tensor, gelu: bool = False) -> Tensor:
    return x.new_empty((x.shape[0], x.shape[1], weight.shape[1]))


@torch.library.custom_op("quadsim::product_backward", mutates_args=())
def product_backward(d: Tensor, x: Tensor, weight: Tensor, gelu: bool) -> tuple[Tensor, Tensor]:
    """Return the gradients of inputs and matrices of a product whose result has the gradient d, (E, N, out)."""
    if _by_kernel(x, weight):
        return kernel_product_backward(d, x, weight, gelu)
    back, active = torch.bmm(d, weight), F.gelu(x) if gelu else x
    if gelu:
        back = torch.ops.aten.gelu_backward(back, x.contiguous())
    return back, torch.bmm(d.transpose(1, 2), active)


@product_backward.register_fake
def _(d: Tensor, x: Tensor, weight: Tensor, gelu: bool) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.gelu = inputs
    ctx.save_for_backward(x, weight)


product.register_autograd(
    lambda ctx, d: (*product_backward(d, *ctx.saved_tensors, ctx.gelu), None),
    setup_context=_keep,
)


@torch.library.custom_op("quadsim::lookup", mutates_args=())
def lookup(table: Tensor, inputs: Tensor) -> Tensor:
    """Return rows (E, N, width) of the tables (E, vocabulary, width), those with the numbers `inputs`, (E, N)."""
    if _looks_up(table):
        return kernel_lookup(table, inputs)
    return torch.gather(table, 1, inputs[:, :, None].expand(-1, -1, table.shape[2]))


@lookup.register_fake
def _(table: Tensor, inputs: Tensor) -> Tensor:
    return table.new_empty((*inputs.shape, table.shape[2]))


@torch.library.custom_op("quadsim::lookup_backward", mutates_args=())
def lookup_backward(d: Tensor, table: Tensor, inputs: Tensor) -> Tensor:
    """Return the gradient of the tables of a lookup whose result has the gradient d, (E, N, width).

    It is a product with rows of zeros and a one: atomic additions, torch's way, have another order in every run.
    """
    if _looks_up(table):
        return kernel_lookup_backward(d, table, inputs)
    hot = inputs[:, :, None] == torch.arange(table.shape[1], device=inputs.device)
    return torch.bmm(hot.to(d.dtype).transpose(1, 2), d)


@lookup_backward.register_fake
def _(d: Tensor, table: Tensor, inputs: Tensor) -> Tensor:
    return table.new_empty(table.shape)


lookup.register_autograd(
    lambda ctx, d: (lookup_backward(d, *ctx.saved_tensors), None),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


def _looks_up(table: Tensor) -> bool:
    return table.dtype == torch.float32 and table.shape[2] <= _WIDEST and _has_kernels(table.device)


# The kernels on tensors on a GPU, or on a CPU under Triton's interpreter.


def kernel_product(x: Tensor, weight: Tensor, gelu: bool) -> Tensor:
    """Return `product` by the kernel of Triton."""
    from quadsim.simulator.models import gpu_functions

    x, weight, sizes = x.contiguous(), _matrices(weight), _sizes(x, weight)
    y = x.new_empty((*x.shape[:2], weight.shape[1]))
    grid = (x.shape[0], -(-x.shape[1] // sizes["BN"]))
    warps = 2 if sizes["BI"] * sizes["BO"] <= 1024 and not gelu else 4
    gpu_functions.product[grid](x, weight, y, weight.stride(0), **sizes, GELU=gelu, num_warps=warps)
    return y


def kernel_product_backward(d: Tensor, x: Tensor, weight: Tensor, gelu: bool) -> tuple[Tensor, Tensor]:
    """Return `product_backward` by the kernel of Triton."""
    from quadsim.simulator.models import gpu_functions

    d, x, weight, sizes = d.contiguous(), x.contiguous(), _matrices(weight), _sizes(x, weight)
    if gelu:
        sizes["BN"] = min(sizes["BN"], 32 if sizes["BI"] <= 64 else 16)  # else there are too few registers
    dx, dweight = x.new_empty(x.shape), weight.new_empty(weight.shape)
    longest = max(sizes["BI"], sizes["BO"])
    warps = 1 if longest == 16 else 2 if longest == 32 else 4
    gpu_functions.product_backward[x.shape[:1]](
        d, x, weight, dx, dweight, weight.stride(0), **sizes, GELU=gelu, num_warps=warps
    )
    return dx, dweight


def kernel_lookup(table: Tensor, inputs: Tensor) -> Tensor:
    """Return `lookup` by the kernel of Triton."""
    from quadsim.simulator.models import gpu_functions

    table, inputs, sizes = _matrices(table), inputs.contiguous(), _lookup_sizes(table, inputs)
    y = table.new_empty((*inputs.shape, table.shape[2]))
    grid = (table.shape[0], -(-inputs.shape[1] // sizes["BN"]))
    gpu_functions.lookup[grid](table, inputs, y, table.stride(0), **sizes, num_warps=2)
    return y


def kernel_lookup_backward(d: Tensor, table: Tensor, inputs: Tensor) -> Tensor:
    """Return `lookup_backward` by the kernel of Triton."""
    from quadsim.simulator.models import gpu_functions

    d, inputs, sizes = d.contiguous(), inputs.contiguous(), _lookup_sizes(table, inputs)
    rows = min(_ROWS, _filled(table.shape[1]))
    dtable = table.new_empty(table.shape)
    grid = (table.shape[0], -(-table.shape[1] // rows))
    gpu_functions.lookup_backward[grid](d, inputs, dtable, **sizes, BV=rows, num_warps=4)
    return dtable


def _matrices(weight: Tensor) -> Tensor:
    """Return the same matrices, (E, out, in), each of them in one piece of memory, but not next to each other."""
    return weight if weight.stride()[1:] == (weight.shape[2], 1) else weight.contiguous()


def _sizes(x: Tensor, weight: Tensor) -> dict[str, int]:
    """Return the constants of the kernels of a product."""
    (rows, into), out = x.shape[1:], weight.shape[1]
    return {"N": rows, "IN": into, "OUT": out, "BN": min(_ROWS, _filled(rows)), "BI": _filled(into), "BO": _filled(out)}


def _lookup_sizes(table: Tensor, inputs: Tensor) -> dict[str, int]:
    rows, width, number = *table.shape[1:], inputs.shape[1]
    return {"N": number, "V": rows, "IN": width, "BN": min(_ROWS, _filled(number)), "BI": _filled(width)}
