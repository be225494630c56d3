"""Arrays of a toy problem on a GPU, kept from one run to the next: copying them can take longer than 50 steps."""

from weakref import WeakKeyDictionary

import numpy as np
import torch

from quadsim.simulator.models.problem import ToyProblem

__all__ = ["on_device"]

Tensor = torch.Tensor

_KEPT: WeakKeyDictionary[ToyProblem, dict[tuple[str, torch.dtype, torch.device], Tensor]] = WeakKeyDictionary()
_KEPT_BYTES = 1 << 30  # size up to which the arrays of a problem, of one at most, stay on a device
_OF_DATA = ("inputs", "targets", "share")


def on_device(problem: ToyProblem, name: str, dtype: torch.dtype, device: str | torch.device) -> Tensor:
    """Return an array of a problem on a device: the copy that an earlier run left there, or a new one.

    A kept copy stays valid because the array is made read-only. Nothing may change the copy either.

    Args:
        problem: the batch of problems.
        name: attribute of the problem or, `inputs`, `targets` or `share`, of its data.
        dtype: number type of the copy.
        device: where it lies.
    """
    key, kept = (name, dtype, torch.device(device)), _KEPT.get(problem, {})
    if key in kept:
        return kept[key]
    array = getattr(problem.data if name in _OF_DATA else problem, name)
    made = torch.tensor(np.ascontiguousarray(array), device=device).to(dtype)
    if not kept:
        _KEPT.clear()
    if made.nbytes + sum(tensor.nbytes for tensor in kept.values()) <= _KEPT_BYTES:
        array.flags.writeable = False  # a later change would not reach the copy
        _KEPT[problem] = {**kept, key: made}
    return made
