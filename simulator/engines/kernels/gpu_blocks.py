"""The arrays of a problem on a GPU: copied there in one transfer, and kept for the next run on the same problem."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.engines.kernels.gpu_source import Unit
from quadsim.simulator.problems.quadratic import BlockQuadratic

__all__ = ["ALIGNED", "Blocks", "blocks_of", "on_device", "on_host", "on_its_way"]

ALIGNED = 128
"""Bytes; every array begins at a multiple, so that wide loads are possible."""

_PINNED_BYTES = 1 << 28  # results up to this size are copied through pinned memory, larger ones through ordinary memory
_KEPT_BYTES = 1 << 28  # size up to which the arrays of a problem stay on the device between runs
_TYPES = {np.dtype(name): getattr(torch, name) for name in ("float64", "float32", "int32")}


@dataclass(frozen=True)
class Blocks:
    """The data of a unit on the device, before the first step. A row is one block, or one whole problem (`Unit.whole`).

    Attributes:
        hessian: the matrices of each row one after the other, (rows, ...).
        extremes: largest and smallest eigenvalue of each block, (rows, ..., 2).
        minimizer: w*, (rows, coordinates).
        error: e_0 = w_0 - w*, (rows, coordinates).
        of_blocks: number of each coordinate's block, and 1 over its size, (2, coordinates); for samples of a stream alone.
        index: the two words of each problem's number, (rows, 2); for samples of a stream alone.

    For samples of a stream (`Unit.sampled`), `hessian` holds R = V sqrt(lambda) of the whole problem, (rows, coordinates,
    coordinates), and `extremes` those of each coordinate's block, (rows, coordinates, 2).
    """

    hessian: torch.Tensor
    extremes: torch.Tensor
    minimizer: torch.Tensor
    error: torch.Tensor
    of_blocks: torch.Tensor | None = None
    index: torch.Tensor | None = None


def blocks_of(problem: BlockQuadratic, own: slice, unit: Unit, dtype: torch.dtype, device: torch.device) -> Blocks:
    """Return the data of a unit on the device, copied from the host or kept from an earlier run on the same problem.

    A sweep runs many rules on one problem, and the copy can take longer than the run. Kept data stay valid because the arrays
    of the problem are made read-only.
    """
    index = torch.cuda.current_device() if device.type == "cuda" else -1
    key = (own.start, own.stop, unit, dtype, index)
    kept = _KEPT.get(problem, {})
    if key in kept:
        return kept[key]
    kind = np.dtype(str(dtype).removeprefix("torch."))
    arrays = [(array, kind) for array in (_sampled_arrays if unit.sampled else _arrays_of)(problem, own, unit)]
    if unit.sampled:
        words = problem.index[own].astype("<u8").view("<i4").reshape(-1, 2)
        arrays.append((words, words.dtype))
    blocks = Blocks(*on_device(arrays, device))
    held = [tensor for each in (*kept.values(), blocks) for tensor in vars(each).values() if tensor is not None]
    size = sum(tensor.nbytes for tensor in held)
    if size <= _KEPT_BYTES:
        for group in (problem.hessian, problem.eigenvalues, problem.initial_error, problem.minimizer):
            for array in group.values():
                array.flags.writeable = False  # a later change would not reach the copy on the device
        _KEPT.clear()
        _KEPT[problem] = {**kept, key: blocks}
    return blocks


_KEPT: WeakKeyDictionary[BlockQuadratic, dict[tuple[Any, ...], Blocks]] = WeakKeyDictionary()  # one problem at most


def _arrays_of(problem: BlockQuadratic, own: slice, unit: Unit) -> tuple[NDArray[np.float64], ...]:
    """Return the arrays of `Blocks` on the host, in the order of its fields."""
    if unit.whole:
        position = {block: (size, at) for size, m in problem.layout.groups.items() for at, block in enumerate(m)}
        places = [position[block] for block in range(len(problem.block_sizes))]
        number = own.stop - own.start
        hessian = np.concatenate([problem.hessian[size][own, at].reshape(number, -1) for size, at in places], axis=1)
        extremes = np.stack([problem.block_smoothness[own], problem.block_strong_convexity[own]], axis=-1)
        minimizer = np.concatenate([problem.minimizer[size][own, at] for size, at in places], axis=1)
        error = np.concatenate([problem.initial_error[size][own, at] for size, at in places], axis=1)
    else:
        (size,) = unit.sizes
        hessian = problem.hessian[size][own]
        extremes = problem.extremes[size][own]
        minimizer = problem.minimizer[size][own].reshape(-1, size)
        error = problem.initial_error[size][own].reshape(-1, size)
    return hessian, extremes, minimizer, error


def _sampled_arrays(problem: BlockQuadratic, own: slice, unit: Unit) -> tuple[NDArray[np.float64], ...]:
    """Return the arrays of `Blocks` of whole problems with samples on the host, without the problems' numbers."""
    number, dimension = own.stop - own.start, problem.dimension
    root = np.zeros((number, dimension, dimension))
    for size, positions in problem.layout.positions.items():
        parts = problem.roots[size][own]
        for block, coordinates in enumerate(positions):
            root[:, coordinates[:, None], coordinates] = parts[:, block]
    layout = problem.rule_blocks if unit.divided else problem.layout
    ends = (
        (problem.rule_smoothness, problem.rule_convexity)
        if unit.divided
        else (problem.block_smoothness, problem.block_strong_convexity)
    )
    sizes = np.array(layout.block_sizes)
    of_block = np.repeat(np.arange(sizes.size), sizes)
    extremes = np.stack(ends, axis=-1)[own][:, of_block]
    minimizer, error = (
        layout_of[own] for layout_of in map(problem.layout.flatten, (problem.minimizer, problem.initial_error))
    )
    return root, extremes, minimizer, error, np.stack([of_block, 1.0 / sizes[of_block]])


def on_device(arrays: Sequence[tuple[NDArray[Any], np.dtype[Any]]], device: torch.device) -> list[torch.Tensor]:
    """Return copies of arrays in the given types on the device, sent in one asynchronous transfer.

    One transfer, as each has a fixed cost; every array begins at a multiple of `ALIGNED` bytes.
    """
    sizes = [array.size * kind.itemsize for array, kind in arrays]
    *begins, end = accumulate((-(-size // ALIGNED) * ALIGNED for size in sizes), initial=0)
    pinned = device.type == "cuda" and end <= _PINNED_BYTES
    buffer = torch.empty(end, dtype=torch.uint8, pin_memory=pinned)
    host = buffer.numpy()
    for (array, kind), begin, size in zip(arrays, begins, sizes, strict=True):
        host[begin : begin + size].view(kind).reshape(array.shape)[...] = array
    whole = buffer.to(device, non_blocking=True)
    return [
        whole[begin : begin + size].view(_TYPES[kind]).view(array.shape)
        for (array, kind), begin, size in zip(arrays, begins, sizes, strict=True)
    ]


def on_host(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a copy on the host, through pinned memory (which is faster) up to `_PINNED_BYTES`."""
    return on_its_way(tensor)()


def on_its_way(tensor: torch.Tensor) -> Callable[[], NDArray[Any]]:
    """Start a copy to the host as `on_host` does; the result is a function that waits for it and returns it."""
    if tensor.device.type != "cuda":
        copy = np.array(tensor.numpy())
        return lambda: copy
    tensor = tensor.contiguous()
    if tensor.numel() * 8 > _PINNED_BYTES:
        return lambda: np.asarray(tensor.cpu().numpy())
    out = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    with torch.cuda.device(tensor.device):
        out.copy_(tensor, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()

    def wait() -> NDArray[Any]:
        done.synchronize()
        return np.asarray(out.numpy())

    return wait
