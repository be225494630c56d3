"""The fused engine on a GPU: a separable rule, printed for Triton, with a block's numbers in registers through many steps.

What a run gives does not depend on its batch-mates: every lane and tile is computed on its own, in an order that depends on the
block sizes, the type and the tile's layout alone. The layout is fixed for a rule and a block size, unless `tune` is called.
"""

import hashlib
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import astuple, dataclass
from functools import lru_cache, partial
from itertools import accumulate
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.engines.job import Job, Outcome, step_after
from quadsim.simulator.engines.kernels.cache import cache_directory, import_source, read_kept, write_kept
from quadsim.simulator.engines.kernels.gpu_source import Unit, gpu_source, step_names, units_of
from quadsim.simulator.engines.kernels.program import program
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.rule import Rule

__all__ = [
    "CANDIDATES",
    "NEVER",
    "Blocks",
    "Run",
    "Shape",
    "kernel_source",
    "kernels_of",
    "problems_at_once",
    "run",
    "tune",
    "why_not",
]

_SHAPES = "gpu.shapes"
NEVER = 2**31 - 1
"""The step at which something happens that does not."""

_LARGEST_BLOCK = 128
_STEPS = NEVER - 1  # are counted in 32 bits
_COORDINATE_STEPS_AT_ONCE = 1 << 34  # in one launch: some tenths of a second, after which Ctrl-C is noticed
_TABLE_BYTES = 1 << 25  # for what depends on the step alone
_GAP_BYTES = 1 << 27  # for the gaps of every block at every step of a launch
_PINNED_BYTES = 1 << 28  # larger results go through ordinary memory
_KEPT_BYTES = 1 << 28  # of a problem, on the device between runs
_ALIGNED = 128  # bytes
_TYPES = {np.dtype(name): getattr(torch, name) for name in ("float64", "float32", "int32")}
_FOLLOWED = 32  # steps that a program of `follow` looks at together


@lru_cache(maxsize=256)
def kernel_source(rule: Rule, sizes: tuple[int, ...], dtype: str = "float64") -> str:
    """The source that would run a rule on problems with blocks of these sizes."""
    return gpu_source(rule, sizes, dtype=dtype)


def why_not(job: Job) -> str | None:
    """Why this engine cannot run a job whose rule has a program; None if it can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if max(job.problem.block_sizes) > _LARGEST_BLOCK:
        return f"a block has more than {_LARGEST_BLOCK} coordinates"
    return f"it takes at most {_STEPS} steps" if job.steps > _STEPS else None


def run(job: Job) -> Outcome:
    """Run all problems under all settings, as many problems at a time as fit in the device's memory."""
    device = torch.device(job.device)
    kernels = kernels_of(job.rule, job.problem.block_sizes, _name(job.dtype))
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        parts = [_run_of(job, kernels, device, part).outcome() for part in _parts(job, device)]
    return Outcome(
        gap=_joined([part.gap for part in parts]),
        hit=_joined([part.hit for part in parts]),
        stay=_joined([part.stay for part in parts]),
        mean=_joined([part.mean for part in parts]),
        diverged=_joined([part.diverged for part in parts]),
    )


def _joined(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@lru_cache(maxsize=256)
def kernels_of(rule: Rule, block_sizes: tuple[int, ...], dtype: str) -> ModuleType:
    """The module of kernels for a rule on such problems."""
    return import_source(kernel_source(rule, block_sizes, dtype), "gpu")


@dataclass(frozen=True)
class Shape:
    """How a unit is laid out on the device.

    Attributes:
        lanes: settings in a program, or runs where a unit is in lanes.
        warps: that run a program.
        parts: into which the coordinates of a tile are dealt for its gap; best one for every warp that has its own ones.
        registers: of a thread at most.
    """

    lanes: int
    warps: int
    parts: int = 1
    registers: int | None = None


def _parts(job: Job, device: torch.device) -> Iterator[slice]:
    """Problems at a time."""
    problems = job.problem.problems
    at_once = problems_at_once(job, device, problems)
    for begin in range(0, problems, at_once):
        yield slice(begin, min(begin + at_once, problems))


def problems_at_once(job: Job, device: torch.device, problems: int) -> int:
    """How many of so many problems fit: half of the free memory for numbers that stay, the rest for what comes and goes."""
    whole, problem = program(job.rule), job.problem
    values = problem.dimension * (1 + len(whole.states)) + len(problem.block_sizes) * len(whole.block_states)
    each = job.number_of_settings * (8 * values + 64) + 16 * sum(size**2 for size in problem.block_sizes)
    return max(1, min(problems, _free_memory(device, problems * each) // 2 // each))


def _free_memory(device: torch.device, needed: int) -> int:
    """Bytes, or all there are where few are needed; what torch keeps for later use counts as free."""
    if device.type != "cuda":
        return 1 << 30
    total = int(torch.cuda.get_device_properties(device).total_memory)
    if needed < total // 64:  # the question itself takes a while
        return total
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


@dataclass(frozen=True)
class Blocks:
    """What a unit's rows start from, on the device: a row is a block, or a whole problem.

    Attributes:
        hessian: (rows, ...), the matrices of a row one after the other.
        extremes: largest and smallest eigenvalue of each block, (rows, ..., 2).
        minimizer: (rows, coordinates).
        error: (rows, coordinates).
    """

    hessian: torch.Tensor
    extremes: torch.Tensor
    minimizer: torch.Tensor
    error: torch.Tensor


def _blocks_of(problem: BlockQuadratic, own: slice, unit: Unit, dtype: torch.dtype, device: torch.device) -> Blocks:
    """From the host, or as an earlier run on the same problem left them on the device: the way takes time."""
    index = torch.cuda.current_device() if device.type == "cuda" else -1
    key = (own.start, own.stop, unit, dtype, index)
    kept = _KEPT.get(problem, {})
    if key in kept:
        return kept[key]
    arrays = _arrays_of(problem, own, unit)
    kind = np.dtype(_name(dtype))
    blocks = Blocks(*_on_device([(array, kind) for array in arrays], device))
    size = sum(tensor.nbytes for each in (*kept.values(), blocks) for tensor in vars(each).values())
    if size <= _KEPT_BYTES:
        for group in (problem.hessian, problem.eigenvalues, problem.initial_error, problem.minimizer):
            for array in group.values():
                array.flags.writeable = False  # what is written there would not be noticed
        _KEPT.clear()
        _KEPT[problem] = {**kept, key: blocks}
    return blocks


_KEPT: WeakKeyDictionary[BlockQuadratic, dict[tuple[Any, ...], Blocks]] = WeakKeyDictionary()  # one problem at most


def _arrays_of(problem: BlockQuadratic, own: slice, unit: Unit) -> tuple[NDArray[np.float64], ...]:
    """What `Blocks` are made of."""
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
        extremes = problem.eigenvalues[size][own][..., [-1, 0]]
        minimizer = problem.minimizer[size][own].reshape(-1, size)
        error = problem.initial_error[size][own].reshape(-1, size)
    return hessian, extremes, minimizer, error


def _on_device(arrays: Sequence[tuple[NDArray[Any], np.dtype[Any]]], device: torch.device) -> list[torch.Tensor]:
    """Copies of the given types, in one transfer that nobody waits for; each begins where wide loads may."""
    sizes = [array.size * kind.itemsize for array, kind in arrays]
    *begins, end = accumulate((-(-size // _ALIGNED) * _ALIGNED for size in sizes), initial=0)
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


class _Part:
    """The arrays of one unit: all blocks of one size, or all problems whole."""

    def __init__(self, unit: Unit, shape: Shape, blocks: Blocks, slots: torch.Tensor) -> None:
        self.unit, self.shape, self.blocks, self.slots = unit, shape, blocks, slots
        self.rows = blocks.error.shape[0]
        self.error = self.states = self.block_states = slots


class Run:
    """The arrays of some of the problems on the device, and the launches of the kernels."""

    def __init__(
        self,
        job: Job,
        kernels: ModuleType,
        device: torch.device,
        problems: int,
        blocks: Callable[[Unit], Blocks],
        shapes: Mapping[str, Shape] | None = None,
    ) -> None:
        self._job, self._kernels, self._device = job, kernels, device
        self._program = program(job.rule)
        self._problems = problems
        self._values = _values_of(job.rule)
        self._starts_at_zero = all(value == 0 for value in self._program.started.values())
        units = units_of(job.problem.block_sizes)
        settings = job.number_of_settings
        chosen = [_shape(job.rule, unit, _name(job.dtype), device, shapes or {}) for unit in units]
        multiple = max([shape.lanes for unit, shape in zip(units, chosen, strict=True) if not unit.in_lanes], default=1)
        self._width = -(-settings // multiple) * multiple
        # Settings beyond the last one are copies of it: every column does the same work.
        own = np.array([job.settings[name] for name in job.rule.names])
        own = own[:, np.minimum(np.arange(self._width), settings - 1)]
        self._columns = self._problems * self._width
        # Where the gaps of each block begin among those of its problem, by block and then part of the block.
        parts = {unit.sizes[0]: shape.parts for unit, shape in zip(units, chosen, strict=True)}
        ends = np.cumsum([parts[size] for size in job.problem.block_sizes if not units[0].whole])
        self._slots, self._blocks = np.append(0, ends)[:-1].astype(np.int32), int(ends[-1]) if ends.size else 0
        # The factors are of all steps and one more: the gap after the last is wanted, and the step after it is not looked at.
        factors = np.append(job.schedule.factors(job.steps), 0.0)
        groups = job.problem.layout.groups
        of_unit = [self._slots if unit.whole else self._slots[groups[unit.sizes[0]]] for unit in units]
        tables = [(array, np.dtype(np.float64)) for array in (own, factors, np.array([job.tolerance]))]
        self._settings, self._factors, self._tolerance, *slots = _on_device(
            tables + [(places, np.dtype(np.int32)) for places in of_unit], device
        )
        self._parts = [self._part(*each) for each in zip(units, chosen, map(blocks, units), slots, strict=True)]
        self._clocks = torch.ones((len(self._program.clocks), self._width), dtype=torch.float64, device=device)
        self._below = torch.empty(self._columns, dtype=torch.float64, device=device)
        self._limit = torch.empty_like(self._below)
        aligned = -(-self._columns // _ALIGNED) * _ALIGNED
        self._found = torch.full((3, aligned), NEVER, dtype=torch.int32, device=device)[:, : self._columns]
        self._hit, self._above, self._diverged = self._found
        self._above.fill_(-1)
        self._gaps = torch.empty(0, dtype=job.dtype, device=device)
        self._whole = self._parts[0].unit.whole

    def _part(self, unit: Unit, shape: Shape, blocks: Blocks, slots: torch.Tensor) -> _Part:
        rows, dimension = blocks.error.shape
        part = _Part(unit, shape, blocks, slots)
        own = torch.contiguous_format
        if unit.in_lanes:
            part.error = blocks.error.T[:, :, None].expand(-1, -1, self._width).clone(memory_format=own)
        else:
            part.error = blocks.error[:, None, :].expand(-1, self._width, -1).clone(memory_format=own)
        count, whole = rows * self._width, self._program
        for name, states, places in (
            ("states", whole.states, dimension),
            ("block_states", whole.block_states, len(unit.sizes)),
        ):
            shape_of = (len(states), places * count)
            make = torch.zeros if self._starts_at_zero else torch.empty
            setattr(part, name, make(shape_of, dtype=self._job.dtype, device=self._device))
        return part

    def seconds(self) -> float:
        """Run everything, for the time it takes."""
        torch.cuda.synchronize(self._device)
        begin = time.perf_counter()
        self.outcome()
        return time.perf_counter() - begin

    def found(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run everything and record nothing.

        Returns:
            On the device, each (problems, settings): the first hit (NEVER where there is none), the last step above the
            tolerance (-1 where there is none) and the first divergence (NEVER).
        """
        slots = torch.full((self._job.steps + 1,), -1, dtype=torch.int32, device=self._device)
        self._begin()
        self._steps(0, self._job.steps + 1, slots, self._below)
        shape = (self._problems, self._width)
        settings = self._job.number_of_settings
        hit, above, diverged = (each.view(shape)[:, :settings] for each in self._found)
        return hit, above, diverged

    def _begin(self) -> None:
        for part in self._parts:
            if part.unit.whole or not self._starts_at_zero:
                self._launch(part, "start", self._tolerance, self._below, self._limit)

    def outcome(self) -> Outcome:
        """Run everything."""
        job, settings = self._job, self._job.number_of_settings
        total, number = job.steps + 1, job.record.size
        each = 8 * self._columns
        at_once = max(1, min(number, _free_memory(self._device, number * each) // 4 // each))
        shape = (self._problems, settings, number)
        gap = None if at_once == number else np.empty(shape)
        self._begin()
        begin = 0
        for first in range(0, number, at_once):
            steps = job.record[first : first + at_once]
            end = total if first + at_once >= number else int(steps[-1]) + 1
            places = np.full(total, -1, dtype=np.int32)
            places[steps] = np.arange(steps.size, dtype=np.int32)
            (slots,) = _on_device([(places, places.dtype)], self._device)
            records = torch.empty((steps.size, self._columns), dtype=torch.float64, device=self._device)
            self._steps(begin, end, slots, records)
            seen = records.view(-1, self._problems, self._width)[:, :, :settings].permute(1, 2, 0)
            if gap is not None:
                gap[:, :, first : first + at_once] = _on_host(seen)
            begin = end
        found = self._found.view(3, self._problems, self._width)[:, :, :settings]
        if gap is None:  # three ints take the place of two more gaps of each run, less one int: one transfer
            runs = shape[0] * shape[1]
            both = torch.empty((number + 2) * runs, dtype=torch.float64, device=self._device)
            both[: number * runs].view(shape).copy_(seen)
            both[number * runs :].view(torch.int32)[: 3 * runs].view(found.shape).copy_(found)
            host = _on_host(both)
            gap = host[: number * runs].reshape(shape)
            found_steps = host[number * runs :].view(np.int32)[: 3 * runs].reshape(found.shape)
        else:
            found_steps = _on_host(found)
        hit, last_above, diverged = found_steps
        return Outcome(
            gap=gap,
            hit=np.where(hit == NEVER, np.inf, hit),
            stay=step_after(last_above, job.steps),
            mean=np.full(hit.shape, np.nan),
            diverged=np.where(diverged == NEVER, np.inf, diverged),
        )

    def _steps(self, begin: int, end: int, slots: torch.Tensor, records: torch.Tensor) -> None:
        """Launch steps `begin` to `end`, never many launches ahead of the device: a wait in the driver hears no Ctrl-C."""
        table_steps = max(1, _TABLE_BYTES // (self._width * max(self._values, 1) * 8))
        steps = max(1, _COORDINATE_STEPS_AT_ONCE // (self._columns * self._job.problem.dimension))
        if not self._whole:
            steps = max(1, min(steps, _GAP_BYTES // (self._columns * self._blocks * 8)))
        running: list[Any] = []
        for first in range(begin, end, table_steps):
            last = min(first + table_steps, end)
            table = self._table(first, last)
            for at in range(first, last, steps):
                count = min(steps, last - at)
                self._advance(at, count, table[(at - first) :], slots, records)
                if self._device.type == "cuda" and at + count < end:
                    running.append(torch.cuda.Event())  # type: ignore[no-untyped-call]
                    running[-1].record()
                    if len(running) > 2:
                        running.pop(0).synchronize()

    def _table(self, first: int, last: int) -> torch.Tensor:
        """What depends on the step alone, for steps `first` to `last`: (steps, values, settings)."""
        steps, width, lanes = last - first, self._width, 128
        clocks = torch.empty((steps, len(self._program.clocks), width), dtype=torch.float64, device=self._device)
        if self._program.clocks:
            grid = (-(-width // 32),)
            self._kernels.clocks_[grid](self._settings, self._clocks, clocks, steps, width, LANES_=32, num_warps=1)
        table = torch.empty((steps, self._values, width), dtype=self._job.dtype, device=self._device)
        grid = (-(-steps * width // lanes),)
        self._kernels.steps_[grid](
            self._settings, self._factors[first:last], clocks, table, steps, width, LANES_=lanes, num_warps=4
        )
        return table

    def _advance(self, begin: int, steps: int, table: torch.Tensor, slots: torch.Tensor, records: torch.Tensor) -> None:
        if self._whole:
            (part,) = self._parts
            self._launch(
                part,
                "advance",
                table,
                begin,
                steps,
                slots,
                self._below,
                self._limit,
                self._hit,
                self._above,
                self._diverged,
                records,
            )
            return
        from quadsim.simulator.engines.kernels.gpu_functions import follow, limits

        count = steps * self._columns * self._blocks
        if self._gaps.numel() < count:
            self._gaps = torch.empty(count, dtype=self._job.dtype, device=self._device)
        for part in self._parts:
            self._launch(part, "advance", table, steps, self._gaps, part.slots, part.slots.numel(), self._blocks)
        lanes = 128
        columns = -(-self._columns // lanes)
        sizes = (self._blocks, self._width, self._columns)
        if begin == 0:
            limits[(columns,)](self._gaps, *sizes, self._tolerance, self._below, self._limit, LANES_=lanes, num_warps=4)
        follow[(columns, -(-steps // _FOLLOWED))](
            self._gaps, *sizes, begin, steps, slots, self._below, self._limit, self._hit, self._above, self._diverged,
            records, STEPS_=_FOLLOWED, LANES_=lanes, num_warps=4,
        )  # fmt: skip

    def _launch(self, part: _Part, what: str, *arguments: Any) -> None:
        kernel = getattr(self._kernels, f"{what}_{part.unit.name}_")
        if what == "start" and not part.unit.whole:
            arguments = ()
        lanes, own = part.shape.lanes, part.blocks
        if part.unit.in_lanes:
            programs = -(-part.rows * self._width // lanes)
            constants = {"LANES_": lanes}
        else:
            (size,) = part.unit.sizes
            programs = part.rows * self._width // lanes
            constants = {"SIZE_": size, "PAD_": _pad(size), "LANES_": lanes}
            if what == "advance":
                constants["PARTS_"] = part.shape.parts
        kernel[(programs,)](
            own.hessian, own.extremes, own.minimizer, self._settings, part.error, part.states, part.block_states,
            part.rows, self._width, *arguments, **constants, num_warps=part.shape.warps, maxnreg=part.shape.registers,
        )  # fmt: skip


def _run_of(
    job: Job, kernels: ModuleType, device: torch.device, own: slice, shapes: Mapping[str, Shape] | None = None
) -> Run:
    blocks = partial(_blocks_of, job.problem, own, dtype=job.dtype, device=device)
    return Run(job, kernels, device, own.stop - own.start, blocks, shapes)


def tune(job: Job) -> dict[str, Shape]:
    """Measure the layouts of a job's tiles on its device and keep the fastest for later runs, in the cache folder.

    Runs themselves never measure: which layout they use, and with it the last bits of their gaps, changes by this call alone.

    Returns:
        Unit to the layout that is now used.
    """
    device, sizes, dtype = torch.device(job.device), job.problem.block_sizes, _name(job.dtype)
    kernels = kernels_of(job.rule, sizes, dtype)
    own = slice(0, job.problem.problems)
    best: dict[str, Shape] = {}
    with torch.cuda.device(device):
        for unit in units_of(sizes):
            if unit.in_lanes:
                continue
            times = {}
            for shape in CANDIDATES[_pad(unit.sizes[0])]:
                chosen = {**best, _key(job.rule, unit, dtype, device): shape}
                runs = [_run_of(job, kernels, device, own, chosen) for _ in range(3)]
                times[shape] = min(run.seconds() for run in runs)
            best[_key(job.rule, unit, dtype, device)] = min(times, key=times.__getitem__)
    _write_shapes({**_stored_shapes(), **best})
    return best


CANDIDATES = {
    16: (Shape(16, 1), Shape(32, 2), Shape(32, 2, 2)),
    32: (Shape(16, 1), Shape(16, 1, registers=168), Shape(32, 2, 2), Shape(64, 4)),
    64: (Shape(16, 2, 2), Shape(64, 4, registers=168), Shape(64, 4), Shape(32, 2, 2), Shape(16, 1)),
    128: (Shape(32, 8, 8), Shape(16, 8, 8), Shape(16, 4, 4)),
}
"""Layouts that `tune` tries, by the size that a tile is filled up to; the first is used where nothing was measured (the second
at 64 for a rule without states, whose registers have room for it)."""


def _shape(rule: Rule, unit: Unit, dtype: str, device: torch.device, chosen: Mapping[str, Shape]) -> Shape:
    if unit.in_lanes:
        return Shape(128, 4)
    pad, stored = _pad(unit.sizes[0]), _stored_shapes()
    usual = CANDIDATES[pad][1 if pad == 64 and not program(rule).states else 0]
    if not chosen and not stored:
        return usual
    key = _key(rule, unit, dtype, device)
    return chosen.get(key) or stored.get(key) or usual


@lru_cache(maxsize=256)
def _values_of(rule: Rule) -> int:
    """How many numbers the blocks need of a step."""
    return len(step_names(program(rule)))


def _key(rule: Rule, unit: Unit, dtype: str, device: torch.device) -> str:
    """What a measured layout holds for: the device, the kernel and the size of its blocks."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "interpreter"
    source = hashlib.sha256(kernel_source(rule, unit.sizes, dtype).encode()).hexdigest()[:16]
    return f"{name}, {unit.sizes[0]} coordinates, {dtype}, {source}"


@lru_cache(maxsize=1)
def _stored_shapes() -> dict[str, Shape]:
    folder = cache_directory()
    content = None if folder is None else read_kept(folder / _SHAPES)
    return {} if content is None else {key: Shape(*values) for key, values in json.loads(content).items()}


def _write_shapes(shapes: Mapping[str, Shape]) -> None:
    folder = cache_directory()
    if folder is not None:
        write_kept(folder / _SHAPES, json.dumps({key: astuple(shape) for key, shape in shapes.items()}).encode())
    _stored_shapes.cache_clear()


def _pad(size: int) -> int:
    """What a tile is filled up to."""
    return max(16, 1 << (size - 1).bit_length())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _on_host(tensor: torch.Tensor) -> NDArray[Any]:
    """A copy in ordinary memory, through pinned memory where it is not too large."""
    if tensor.device.type != "cuda":
        return np.array(tensor.numpy())
    tensor = tensor.contiguous()
    if tensor.numel() * 8 > _PINNED_BYTES:
        return np.asarray(tensor.cpu().numpy())
    out = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return np.asarray(out.copy_(tensor).numpy())
