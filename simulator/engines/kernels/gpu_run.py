"""Run the fused engine on a GPU: launch the kernels of `gpu_source`, which keep a block's numbers in registers for many steps.

The result of a run does not depend on the other runs of the batch. Every lane and tile is evaluated on its own, in an order that
depends on the block sizes, the number type and the layout of the tile (`Shape`) alone. The layout is fixed for a rule and a block
size until `tune` is called, and `tune` is never called by a run.

Three limits on memory and time decide how the work is cut, and none of them changes a result: as many problems at a time as fit
(`problems_at_once`), as many steps per launch that Ctrl-C still works, and as many recorded steps at a time as fit.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.engines.job import Job, Outcome, step_after
from quadsim.simulator.engines.kernels.cache import import_source
from quadsim.simulator.engines.kernels.gpu_blocks import ALIGNED, Blocks, blocks_of, on_device, on_host
from quadsim.simulator.engines.kernels.gpu_shapes import (
    Shape,
    candidates,
    shape_key,
    shape_of,
    stored_shapes,
    write_shapes,
)
from quadsim.simulator.engines.kernels.gpu_source import Unit, kernel_source, padded, step_names, units_of
from quadsim.simulator.engines.kernels.lowering import program
from quadsim.simulator.engines.kernels.streams.gpu_draws import Draws, bytes_per_step
from quadsim.simulator.engines.kernels.streams.gpu_source import BATCH_AT_ONCE, is_halved, stream_source
from quadsim.simulator.problems.oracles import Stream
from quadsim.simulator.rules.rule import Rule

__all__ = [
    "NEVER",
    "Run",
    "kernel_source",
    "kernels_of",
    "problems_at_once",
    "run",
    "tune",
    "why_not",
]

NEVER = 2**31 - 1
"""The step number that stands for "it never happened"; the same number as `gpu_functions.NEVER`, which needs Triton."""

_LARGEST_BLOCK = 128
_STEPS = NEVER - 1  # largest number of steps: kernels count them in 32 bits
_COORDINATE_STEPS_AT_ONCE = 1 << 34  # coordinates times steps per launch: tenths of a second, so that Ctrl-C works
_TABLE_BYTES = 1 << 25  # size of the table of values that depend on settings and the step alone
_GAP_BYTES = 1 << 26  # size of the gaps of every block at every step of a launch; those of two launches are kept
_HELD_UP_TO = 32  # padded width of a tile whose Hessian fits in the registers of a warp
_FOLLOWED = 32  # steps per program of the kernel `follow`


def why_not(job: Job) -> str | None:
    """Return the reason why this engine cannot run a job, as a clause for an error message; None if it can.

    The job's rule must have a program (`why_no_program` is None).
    """
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if isinstance(job.oracle, Stream):
        if job.problem.dimension > _LARGEST_BLOCK:
            return f"on a GPU it takes samples of a stream for at most {_LARGEST_BLOCK} coordinates"
    elif job.problem.partition is not None and job.rule.uses_blocks:
        return f"on a GPU it gives {job.rule.name} the blocks of the Hessian, not others (coupling, partition)"
    if max(job.problem.block_sizes) > _LARGEST_BLOCK:
        return f"a block has more than {_LARGEST_BLOCK} coordinates"
    return f"it takes at most {_STEPS} steps" if job.steps > _STEPS else None


def run(job: Job) -> Outcome:
    """Run all problems under all settings, as many problems at a time as fit in the memory of the device.

    Returns:
        Outcome with gap (M, K, R), hit (M, K) and diverged (M, K).
    """
    device, kernels = torch.device(job.device), _kernels(job)
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
    """Return the module of kernels for a rule on these block sizes; Triton compiles a kernel at its first launch."""
    return import_source(kernel_source(rule, block_sizes, dtype), "gpu")


def _kernels(job: Job) -> ModuleType:
    if isinstance(job.oracle, Stream):
        return import_source(stream_source(job.rule, job.dtype_name), "gpu")
    return kernels_of(job.rule, job.problem.block_sizes, job.dtype_name)


def _units(job: Job) -> tuple[Unit, ...]:
    sizes = job.problem.block_sizes
    if not isinstance(job.oracle, Stream):
        return units_of(sizes)
    divided = job.problem.partition is not None and job.rule.uses_blocks
    return (Unit(sizes, whole=True, sampled=True, divided=divided),)


def _parts(job: Job, device: torch.device) -> Iterator[slice]:
    """Yield the ranges of problems that run together."""
    problems = job.problem.problems
    at_once = problems_at_once(job, device, problems)
    for begin in range(0, problems, at_once):
        yield slice(begin, min(begin + at_once, problems))


def problems_at_once(job: Job, device: torch.device, problems: int) -> int:
    """Return how many of `problems` problems run at a time on the device, at least 1.

    Half of the free memory is for arrays that stay through the run (errors, states, Hessians); the other half is for tables, gaps
    and records.

    Args:
        job: the request; its rule, settings and block sizes give the bytes per problem.
        device: a torch device.
        problems: how many problems there are.
    """
    whole, problem = program(job.rule), job.problem
    values = problem.dimension * (1 + len(whole.states)) + len(problem.block_sizes) * len(whole.block_states)
    each = job.number_of_settings * (8 * values + 64) + 16 * sum(size**2 for size in problem.block_sizes)
    if isinstance(job.oracle, Stream):
        each += 8 * problem.dimension * (problem.dimension + job.number_of_settings * len(whole.block_states))
        each += bytes_per_step(job.oracle, problem.dimension)
    return max(1, min(problems, _free_memory(device, problems * each) // 2 // each))


def _free_memory(device: torch.device, needed: int) -> int:
    """Return the free bytes of the device; memory that torch has reserved and does not use counts as free.

    Where little is needed the whole memory is returned instead, because the query takes longer than a small run.
    """
    if device.type != "cuda":
        return 1 << 30
    total = int(torch.cuda.get_device_properties(device).total_memory)
    if needed < total // 64:
        return total
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


class _Part:
    """The arrays of one unit on the device: errors, states and the places where its gaps are written."""

    def __init__(self, unit: Unit, shape: Shape, blocks: Blocks, slots: torch.Tensor) -> None:
        self.unit, self.shape, self.blocks, self.slots = unit, shape, blocks, slots
        self.rows = blocks.error.shape[0]
        self.error = self.states = self.block_states = slots


class Run:
    """The arrays of some of the problems on the device, and the launches of the kernels. Use a Run once: it has no reset.

    Args:
        job: the request.
        kernels: the module of `kernels_of`.
        device: a torch device.
        problems: how many problems run.
        blocks: function from a unit to its data.
        shapes: layouts by `shape_key`, for `tune`; None uses the stored layout or the default.
    """

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
        units = _units(job)
        settings = job.number_of_settings
        chosen = [shape_of(job.rule, unit, job.dtype_name, device, shapes or {}) for unit in units]
        multiple = max([shape.lanes for unit, shape in zip(units, chosen, strict=True) if not unit.in_lanes], default=1)
        self._width = -(-settings // multiple) * multiple
        # The width is filled up to whole tiles with copies of the last setting. Zeros could make a NaN or a divergence that is
        # slow; a copy is always as harmless as the setting itself. The results of the copies are cut off at the end.
        own = np.array([job.settings[name] for name in job.rule.names])
        own = own[:, np.minimum(np.arange(self._width), settings - 1)]
        self._columns = self._problems * self._width
        # Where the gaps of each block begin among those of its problem, by block and then part of the block.
        parts = {unit.sizes[0]: shape.parts for unit, shape in zip(units, chosen, strict=True)}
        ends = np.cumsum([parts[size] for size in job.problem.block_sizes if not units[0].whole])
        self._slots, self._blocks = np.append(0, ends)[:-1].astype(np.int32), int(ends[-1]) if ends.size else 0
        # A kernel evaluates the gap before it takes the step, so the gap after the last step needs one step more, whose result is
        # not used; its learning rate is 0.
        factors = np.append(job.schedule.factors(job.steps), 0.0)
        groups = job.problem.layout.groups
        of_unit = [self._slots if unit.whole else self._slots[groups[unit.sizes[0]]] for unit in units]
        tables = [(array, np.dtype(np.float64)) for array in (own, factors, np.array([job.tolerance]))]
        self._settings, self._factors, self._tolerance, *slots = on_device(
            tables + [(places, np.dtype(np.int32)) for places in of_unit], device
        )
        self._parts = [self._part(*each) for each in zip(units, chosen, map(blocks, units), slots, strict=True)]
        self._clocks = torch.ones((len(self._program.clocks), self._width), dtype=torch.float64, device=device)
        self._below = torch.empty(self._columns, dtype=torch.float64, device=device)
        self._limit = torch.empty_like(self._below)
        aligned = -(-self._columns // ALIGNED) * ALIGNED
        self._found = torch.full((4, aligned), NEVER, dtype=torch.int32, device=device)[:, : self._columns]
        self._hit, self._above, self._diverged, self._mean = self._found
        self._above.fill_(-1)
        self._gaps = [torch.empty(0, dtype=job.dtype, device=device)] * 2
        self._followed: list[torch.cuda.Event | None] = [None, None]  # when the gaps were read that are there
        self._turn = 0
        self._side: torch.cuda.Stream | None = None
        self._whole = self._parts[0].unit.whole
        self._draws = None
        if units[0].sampled:
            self._draws = Draws(job, self._parts[0].blocks, device)
            self._window = torch.zeros_like(self._below)

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
            ("block_states", whole.block_states, dimension if unit.sampled else len(unit.sizes)),
        ):
            shape_of = (len(states), places * count)
            make = torch.zeros if self._starts_at_zero else torch.empty
            setattr(part, name, make(shape_of, dtype=self._job.dtype, device=self._device))
        return part

    def seconds(self) -> float:
        """Run all steps and return the seconds that they took."""
        torch.cuda.synchronize(self._device)
        begin = time.perf_counter()
        self.outcome()
        return time.perf_counter() - begin

    def found(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run all steps without recording gaps.

        Returns:
            On the device, each (problems, settings): the first hit (NEVER where there is none), the last step above the
            tolerance (-1 where there is none) and the first divergence (NEVER).
        """
        slots = torch.full((self._job.steps + 1,), -1, dtype=torch.int32, device=self._device)
        self._begin()
        self._steps(0, self._job.steps + 1, slots, self._below)
        shape = (self._problems, self._width)
        settings = self._job.number_of_settings
        hit, above, diverged = (each.view(shape)[:, :settings] for each in self._found[:3])
        return hit, above, diverged

    def _begin(self) -> None:
        if self._draws is not None:
            self._draws.draw(0, 1)
        for part in self._parts:
            if part.unit.whole or not self._starts_at_zero:
                self._launch(part, "start", self._tolerance, self._below, self._limit)

    def outcome(self) -> Outcome:
        """Run all steps and record.

        Records that do not fit on the device are copied to the host in parts, between which the run pauses.
        """
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
            (slots,) = on_device([(places, places.dtype)], self._device)
            records = torch.empty((steps.size, self._columns), dtype=torch.float64, device=self._device)
            self._steps(begin, end, slots, records)
            seen = records.view(-1, self._problems, self._width)[:, :, :settings].permute(1, 2, 0)
            if gap is not None:
                gap[:, :, first : first + at_once] = on_host(seen)
            begin = end
        found = self._found.view(4, self._problems, self._width)[:, :, :settings]
        if gap is None:  # four ints take the place of two more gaps of each run: one transfer
            runs = shape[0] * shape[1]
            both = torch.empty((number + 2) * runs, dtype=torch.float64, device=self._device)
            both[: number * runs].view(shape).copy_(seen)
            both[number * runs :].view(torch.int32).view(found.shape).copy_(found)
            host = on_host(both)
            gap = host[: number * runs].reshape(shape)
            found_steps = host[number * runs :].view(np.int32).reshape(found.shape)
        else:
            found_steps = on_host(found)
        hit, last_above, diverged, mean = found_steps
        return Outcome(
            gap=gap,
            hit=np.where(hit == NEVER, np.inf, hit),
            stay=step_after(last_above, job.steps),
            mean=np.full(hit.shape, np.nan) if self._draws is None else np.where(mean == NEVER, np.inf, mean),
            diverged=np.where(diverged == NEVER, np.inf, diverged),
        )

    def _steps(self, begin: int, end: int, slots: torch.Tensor, records: torch.Tensor) -> None:
        """Launch steps `begin` to `end`.

        Launches return before the kernels run. Only two may wait at a time: once the queue of the driver is full, a launch
        blocks inside the driver, where Ctrl-C is not noticed.
        """
        table_steps = max(1, _TABLE_BYTES // (self._width * max(self._values, 1) * 8))
        steps = max(1, _COORDINATE_STEPS_AT_ONCE // (self._columns * self._job.problem.dimension))
        if not self._whole:
            steps = max(1, min(steps, _GAP_BYTES // (self._columns * self._blocks * 8)))
            if self._device.type == "cuda" and end - begin > steps and self._side is None:
                self._side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        if self._draws is not None:
            steps = min(steps, self._draws.steps)
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
        if self._side is not None:
            torch.cuda.current_stream().wait_stream(self._side)

    def _table(self, first: int, last: int) -> torch.Tensor:
        """Return the values that depend on settings and the step alone: (steps `first` to `last`, values, settings)."""
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
            means: tuple[torch.Tensor, ...] = ()
            if self._draws is not None:
                self._draws.draw(begin, steps)
                means = (self._mean, self._window)
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
                *means,
            )
            return
        # Gaps are followed on a stream of their own, while the next launch writes those of its steps to other memory.
        self._turn = 1 - self._turn
        count = steps * self._columns * self._blocks
        if self._gaps[self._turn].numel() < count:
            self._gaps[self._turn] = torch.empty(count, dtype=self._job.dtype, device=self._device)
        gaps, followed = self._gaps[self._turn], self._followed[self._turn]
        if followed is not None:
            torch.cuda.current_stream().wait_event(followed)
        for part in self._parts:
            self._launch(part, "advance", table, steps, gaps, part.slots, part.slots.numel(), self._blocks)
        if self._side is None:
            self._follow(begin, steps, gaps, slots, records)
            return
        self._side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._side):
            self._follow(begin, steps, gaps, slots, records)
            self._followed[self._turn] = self._side.record_event()

    def _follow(self, begin: int, steps: int, gaps: torch.Tensor, slots: torch.Tensor, records: torch.Tensor) -> None:
        """Launch the kernels that read the gaps of steps `begin` to `begin + steps`."""
        from quadsim.simulator.engines.kernels.gpu_functions import follow, limits

        lanes = 128
        columns = -(-self._columns // lanes)
        sizes = (self._blocks, self._width, self._columns)
        if begin == 0:
            limits[(columns,)](gaps, *sizes, self._tolerance, self._below, self._limit, LANES_=lanes, num_warps=4)
        follow[(columns, -(-steps // _FOLLOWED))](
            gaps, *sizes, begin, steps, slots, self._below, self._limit, self._hit, self._above, self._diverged,
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
            size = sum(part.unit.sizes)
            programs = part.rows * self._width // lanes
            constants = {"SIZE_": size, "PAD_": padded(size), "LANES_": lanes}
            if self._draws is not None:
                batch = self._draws.batch
                arguments = (own.of_blocks, self._draws.samples, self._draws.labels, batch, *arguments)
                constants["CHUNKS_"] = -(-batch // BATCH_AT_ONCE)
                constants["TAKEN_"] = BATCH_AT_ONCE if batch > BATCH_AT_ONCE // 2 else BATCH_AT_ONCE // 2
                constants["HALVED_"] = is_halved(self._job.problem.block_sizes, padded(size))
                layout = self._job.problem.rule_blocks if part.unit.divided else self._job.problem.layout
                constants["BLOCKS_"] = len(layout.block_sizes)
            elif what == "advance":
                constants["PARTS_"] = part.shape.parts
                constants["HELD_"] = part.shape.warps == 1 and padded(size) <= _HELD_UP_TO
        kernel[(programs,)](
            own.hessian, own.extremes, own.minimizer, self._settings, part.error, part.states, part.block_states,
            part.rows, self._width, *arguments, **constants, num_warps=part.shape.warps, maxnreg=part.shape.registers,
        )  # fmt: skip


def _run_of(
    job: Job, kernels: ModuleType, device: torch.device, own: slice, shapes: Mapping[str, Shape] | None = None
) -> Run:
    blocks = partial(blocks_of, job.problem, own, dtype=job.dtype, device=device)
    return Run(job, kernels, device, own.stop - own.start, blocks, shapes)


def tune(job: Job) -> dict[str, Shape]:
    """Measure the candidate layouts of a job's tiles on its device and store the fastest in the cache folder for later runs.

    A run never measures by itself: the layout changes the last bits of the gaps, and a result must not depend on the load of the
    device. Only this call changes the layout.

    Args:
        job: the request whose tiles are measured; units in lanes have one layout.

    Returns:
        Key of each tile (device, block size, number type, kernel) to the layout that is used from now on.
    """
    device, dtype, kernels = torch.device(job.device), job.dtype_name, _kernels(job)
    own = slice(0, job.problem.problems)
    best: dict[str, Shape] = {}
    with torch.cuda.device(device):
        for unit in _units(job):
            if unit.in_lanes:
                continue
            times = {}
            for shape in candidates(unit):
                chosen = {**best, shape_key(job.rule, unit, dtype, device): shape}
                runs = [_run_of(job, kernels, device, own, chosen) for _ in range(3)]
                times[shape] = min(run.seconds() for run in runs)
            best[shape_key(job.rule, unit, dtype, device)] = min(times, key=times.__getitem__)
    write_shapes({**stored_shapes(), **best})
    return best


@lru_cache(maxsize=256)
def _values_of(rule: Rule) -> int:
    """Return the number of values that the blocks read of a step."""
    return len(step_names(program(rule)))
