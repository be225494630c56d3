"""Measure the peak rates of a machine: matrix products, and square roots with a division."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from quadsim.simulator.support.devices import resolve_dtype

__all__ = ["Ceiling", "measure_ceiling"]

_CPU_SIZE, _GPU_SIZE = 2048, 8192  # of the matrices
_LANES = 512  # numbers that a thread takes roots of again and again: they stay in its nearest cache


@dataclass(frozen=True)
class Ceiling:
    """Peak rates of a device for one number type.

    Attributes:
        product_flops: floating-point operations per second of a large matrix product.
        roots: square roots with a division per second.
    """

    product_flops: float
    roots: float

    def coordinate_steps(self, rule: str, block_size: int) -> float:
        """Return the largest possible coordinate-steps per second: one row of the product each, and for Adam one root."""
        return 1.0 / (2.0 * block_size / self.product_flops + (1.0 / self.roots if rule == "adam" else 0.0))


def measure_ceiling(dtype: str, device: str) -> Ceiling:
    """Measure both rates of a device once, in less than a second."""
    kind = resolve_dtype(dtype)
    size = _CPU_SIZE if device == "cpu" else _GPU_SIZE
    a, b = (torch.randn(size, size, dtype=kind, device=device) for _ in range(2))
    product = 2.0 * size**3 / _seconds(lambda: a @ b, device)
    return Ceiling(product, _roots_on_cpu(dtype) if device == "cpu" else _roots_on_gpu(kind, device))


def _seconds(function: Any, device: str) -> float:
    """Return the fastest of three times: a ceiling that other load lowered would make the shares too large."""
    times = []
    for _ in range(4):
        begin = time.perf_counter()
        function()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def _roots_on_cpu(dtype: str, repeats: int = 50_000) -> float:
    import numba

    # Contraction alone changes no exceptional case; error_model numpy leaves out checks that would stop vectorisation.
    @numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})  # type: ignore[untyped-decorator]
    def work(x: Any, y: Any, repeats: int) -> None:
        small = x.dtype.type(1e-8)
        for _ in range(repeats):
            for k in range(x.size):
                x[k] = y[k] / (np.sqrt(x[k]) + small)

    threads = numba.get_num_threads()
    generator = np.random.default_rng(0)
    data = [(generator.random(_LANES) + 0.5).astype(dtype) for _ in range(threads)]
    pairs = [(x, x.copy()) for x in data]
    work(*pairs[0], 1)
    with ThreadPoolExecutor(threads) as pool:

        def all_of_them() -> None:
            list(pool.map(lambda pair: work(*pair, repeats), pairs))

        return float(threads * _LANES * repeats / _seconds(all_of_them, "cpu"))


def _roots_on_gpu(dtype: torch.dtype, device: str) -> float:
    from quadsim.cli.bench.gpu_roots import roots_with_division

    return roots_with_division(dtype, device)
