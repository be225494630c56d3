"""A Triton kernel that only evaluates square roots and quotients, for the peak rate of a GPU."""

import time

import torch
import triton
import triton.language as tl

__all__ = ["roots_with_division"]

_LANES, _STEPS = 1024, 2000


@triton.jit
def _roots(x_, steps_, N: tl.constexpr):
    n = tl.program_id(0) * N + tl.arange(0, N)
    x = tl.load(x_ + n)
    v = x * x
    for _ in range(steps_):
        v = v * 0.999 + 0.25
        x = x + v / (tl.sqrt(v) + 0.5)
    tl.store(x_ + n, x)


def roots_with_division(dtype: torch.dtype, device: str) -> float:
    """Return the square roots with a division per second, on all multiprocessors at once."""
    programs = 16 * torch.cuda.get_device_properties(device).multi_processor_count
    x = torch.rand(programs * _LANES, dtype=dtype, device=device)
    _roots[(programs,)](x, 1, _LANES, num_warps=4)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    _roots[(programs,)](x, _STEPS, _LANES, num_warps=4)
    torch.cuda.synchronize()
    return float(x.numel() * _STEPS / (time.perf_counter() - begin))
