"""Layouts of the fused kernels on a GPU: those that are tried, those that were measured, and the one that a run uses.

A layout decides the speed and the last bits of a gap, so it depends on the rule, the block size and the device alone. It changes
only when `gpu_run.tune` stores a measured one in the cache folder.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import lru_cache

import torch

from quadsim.simulator.engines.kernels.gpu_source import Unit, kernel_source, padded
from quadsim.simulator.engines.kernels.lowering import program
from quadsim.simulator.engines.kernels.streams.gpu_source import stream_source
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.support.kept import cache_directory, read_kept, write_kept

__all__ = ["CANDIDATES", "Shape", "candidates", "shape_key", "shape_of", "stored_shapes", "write_shapes"]

_SHAPES = "gpu.shapes"


@dataclass(frozen=True)
class Shape:
    """The layout of a unit on the device. It decides the speed, and the last bits of the gap (the order of a sum).

    Attributes:
        lanes: settings per program for a tile; runs per program for lanes.
        warps: warps per program.
        parts: number of partial sums of a tile's gap. Best is one for every warp that holds coordinates of its own.
        registers: largest number of registers per thread; None leaves it to the compiler.
    """

    lanes: int
    warps: int
    parts: int = 1
    registers: int | None = None


CANDIDATES = {
    16: (Shape(16, 1), Shape(32, 2), Shape(32, 2, 2)),
    32: (Shape(16, 1), Shape(16, 1, registers=168), Shape(32, 2, 2), Shape(64, 4)),
    64: (Shape(16, 2, 2), Shape(64, 4, registers=168), Shape(64, 4), Shape(32, 2, 2), Shape(16, 1)),
    128: (Shape(32, 8, 8), Shape(16, 8, 8), Shape(16, 4, 4)),
}
"""Layouts that `tune` measures, by the padded width of the tile.

Without a measurement the first one is used; at 64, a rule without states uses the second one, as it needs fewer registers.
"""

_SAMPLED = {
    16: (Shape(16, 1), Shape(32, 2), Shape(64, 4)),
    32: (Shape(32, 2), Shape(64, 4), Shape(16, 1), Shape(16, 1, registers=168), Shape(16, 2)),
    64: (Shape(16, 2), Shape(32, 4), Shape(16, 4)),
    128: (Shape(16, 8), Shape(16, 4), Shape(32, 8)),
}
"""The same for tiles of whole problems with samples of a stream."""


def candidates(unit: Unit) -> tuple[Shape, ...]:
    """Return the layouts that are measured for a tile."""
    return (_SAMPLED if unit.sampled else CANDIDATES)[padded(sum(unit.sizes))]


def shape_of(rule: Rule, unit: Unit, dtype: str, device: torch.device, chosen: Mapping[str, Shape]) -> Shape:
    """Return the layout with which a unit runs: a chosen one, else one that was measured, else the first candidate.

    Args:
        rule: the rule that runs.
        unit: blocks that one kernel runs.
        dtype: "float64" or "float32".
        device: where it runs.
        chosen: layouts by `shape_key`, for this run alone.
    """
    if unit.in_lanes:
        return Shape(128, 4)
    pad, stored = padded(sum(unit.sizes)), stored_shapes()
    usual = candidates(unit)[1 if pad == 64 and not unit.sampled and not program(rule).states else 0]
    if not chosen and not stored:
        return usual
    key = shape_key(rule, unit, dtype, device)
    return chosen.get(key) or stored.get(key) or usual


def shape_key(rule: Rule, unit: Unit, dtype: str, device: torch.device) -> str:
    """Return the key under which a measured layout is stored: device, block size, number type, hash of the kernel."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "interpreter"
    source = stream_source(rule, dtype) if unit.sampled else kernel_source(rule, unit.sizes, dtype)
    return f"{name}, {sum(unit.sizes)} coordinates, {dtype}, {hashlib.sha256(source.encode()).hexdigest()[:16]}"


@lru_cache(maxsize=1)
def stored_shapes() -> dict[str, Shape]:
    """Return the layouts that `tune` stored in the cache folder, by `shape_key`."""
    folder = cache_directory()
    content = None if folder is None else read_kept(folder / _SHAPES)
    return {} if content is None else {key: Shape(*values) for key, values in json.loads(content).items()}


def write_shapes(shapes: Mapping[str, Shape]) -> None:
    """Store layouts in the cache folder, where there is one, in place of all stored before."""
    folder = cache_directory()
    if folder is not None:
        write_kept(folder / _SHAPES, json.dumps({key: astuple(shape) for key, shape in shapes.items()}).encode())
    stored_shapes.cache_clear()
