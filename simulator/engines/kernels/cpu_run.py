"""Run the fused engine on a CPU: compile the kernel of `cpu_source` with Numba and call it from several threads.

A job of the kernel is one problem under one tile of settings; or, packed, as many pairs of problem and setting as a tile has
lanes. Jobs are independent, so the result does not depend on how they are spread over threads and calls. Neither the number of
settings per tile nor packing changes anything: lanes do not interact.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict
from functools import lru_cache, partial
from math import gcd, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.engines.job import Job, Outcome, step_after
from quadsim.simulator.engines.kernels.cache import say_if_new
from quadsim.simulator.engines.kernels.machine import CompiledModule, made_with_vectors, native_lanes, number_of_threads
from quadsim.simulator.engines.kernels.program import STRETCH, CpuKernel, variant
from quadsim.simulator.engines.kernels.streams.sampling import Sampler
from quadsim.simulator.problems.coupling import inner_sizes
from quadsim.simulator.problems.oracles import Stream
from quadsim.simulator.rules.rule import Rule

__all__ = ["kernel_source", "run"]

_TABLE_BYTES = 1 << 25  # size of the table of values that depend on settings and the step alone
_PRODUCTS_AT_ONCE = 1 << 31  # multiply-adds in one call of the kernel: a tenth of a second, so that Ctrl-C is noticed
_DRAWN_BYTES = 1 << 24  # of samples, in one call of the kernel
_PACKED_LANES = 8  # pairs of problem and setting in a packed job, see `_is_packed`
_PACKED_BLOCK = 8  # size of a block, at most
_PACKED_BYTES = 1 << 14  # of the matrices of a packed job: they stay in the first cache, beside errors and states
_PACKED_TIME = 0.9  # of a packed job, over that of as many lanes in tiles of their own; measured, at most
_CALLS_PER_THREAD = 16  # so that a thread that finishes early finds more to do


def kernel_source(rule: Rule, sizes: tuple[int, ...], dtype: str = "float64") -> str:
    """Return the source of the kernel that runs a rule; nothing is compiled.

    Args:
        rule: a rule for which `why_no_program` is None.
        sizes: the block sizes of the problems.
        dtype: "float64" or "float32".
    """
    from quadsim.simulator.engines.kernels.cpu_source import cpu_source  # prints the rule's expressions

    return cpu_source(rule, sizes, dtype=dtype, lanes=_lanes(dtype))


def run(job: Job) -> Outcome:
    """Run all problems under all settings, one problem and one tile of settings at a time.

    The number of threads is Numba's (`numba.set_num_threads`, NUMBA_NUM_THREADS); the result does not depend on it.

    Returns:
        Outcome with gap (M, K, R), hit (M, K) and diverged (M, K).
    """
    dtype = job.dtype_name
    lanes = _lanes(dtype)
    divided = job.problem.partition is not None and job.rule.uses_blocks
    sizes = (job.problem.rule_blocks if divided else job.problem.layout).block_sizes
    variants = tuple(sorted({variant(size) for size in sizes}))
    sampled = isinstance(job.oracle, Stream)
    packed = not divided and not sampled and _is_packed(job, np.dtype(dtype), lanes)
    lanes = _PACKED_LANES if packed else lanes * _vectors(job.number_of_settings, lanes) if sampled else lanes
    kernel, compiled = _kernel(job.rule, variants, dtype, lanes, divided=divided, sampled=sampled, packed=packed)
    return _Run(job, kernel, compiled, np.dtype(dtype), lanes, divided=divided, packed=packed).outcome()


def _is_packed(job: Job, dtype: np.dtype[Any], lanes: int) -> bool:
    """Return whether every lane takes a problem of its own, which is faster for small blocks.

    A step of a small block is a short chain of operations of which each waits for the one before it; the several vectors of a
    packed job fill these waits, and no lane is left without work where the number of settings is not a multiple of the lanes.
    Measured on 3 blocks of 3 and 4 of 8 (AMD EPYC with AVX2, 9 settings of 16 problems, 10,000 steps): tiles of one vector take
    1.3 to 1.7 times as long. With few jobs for many threads, tiles are faster by the clock.
    """
    problems, settings, sizes = job.problem.problems, job.number_of_settings, job.problem.block_sizes
    if max(sizes) > _PACKED_BLOCK or sum(size**2 for size in sizes) * _PACKED_LANES * dtype.itemsize > _PACKED_BYTES:
        return False
    threads = number_of_threads()
    packed = -(-problems * settings // _PACKED_LANES)
    tiles = problems * -(-settings // lanes)
    return -(-packed // threads) * _PACKED_TIME * _PACKED_LANES <= -(-tiles // threads) * lanes


def _vectors(settings: int, lanes: int) -> int:
    """Return how many vectors of `lanes` settings a tile of a stream holds: two, unless one of them would be without work.

    A tile reads the samples of a step once for all of its settings, and the sums of two vectors fill each other's waits. Measured
    on 4 blocks of 8, b = 8, 64 settings (AMD EPYC with AVX2): Adam takes 1.23 times as long with one vector and 1.2 times with
    four, GD 1.4 and 1.3 times.
    """
    return 1 if -(-settings // lanes) % 2 else 2


def _lanes(dtype: str) -> int:
    """Return the settings per tile: as many as fit in one of this processor's widest vectors.

    A tile of several vectors would use each loaded entry of the Hessian for more settings, but its accumulators and states
    no longer fit in registers. Measured on blocks of 8, 30 and 64 with 64 settings (AMD EPYC with AVX-512, numba 0.68.1): two
    vectors take 1.1 to 1.6 times as long for Adam and 1.8 to 2.3 times for SignSGD, four 1.5 to 2.6 times. One width also means
    one kernel to compile for grids of any size.
    """
    return native_lanes(dtype)


@lru_cache(maxsize=256)
def _kernel(
    rule: Rule, variants: tuple[int, ...], dtype: str, lanes: int, *, divided: bool, sampled: bool, packed: bool
) -> tuple[CpuKernel, CompiledModule]:
    what: dict[str, Any] = {"dtype": dtype, "lanes": lanes, "divided": divided, "sampled": sampled, "packed": packed}
    kernel = CpuKernel(**rule.fact(f"kernel {variants} {what}", partial(_derive_kernel, rule, variants, what)))
    module = CompiledModule(f"{kernel.source}\n# Made with {made_with_vectors()}\n", "cpu", ("steps_", "run_"))
    say_if_new(module.__file__, f"{rule.name} for blocks of this size")
    return kernel, module


def _derive_kernel(rule: Rule, variants: tuple[int, ...], what: dict[str, Any]) -> dict[str, Any]:
    from quadsim.simulator.engines.kernels.cpu_source import cpu_kernel

    return asdict(cpu_kernel(rule, variants, **what))


class _Run:
    """The arrays of one run, and the calls of the kernel.

    Shapes: errors (jobs, 2, P, lanes), on a stream (jobs, 1, P, lanes), states (jobs, states, P, lanes), clocks
    (tiles, clocks, lanes). Everything that a job
    writes is in rows of its own, so that threads need no lock. Job j has the settings of tile j mod tiles. Packed, its lane i
    runs pair j * lanes + i of problem and setting, where the pairs of a problem follow each other.
    """

    def __init__(
        self,
        job: Job,
        kernel: CpuKernel,
        compiled: Any,
        dtype: np.dtype[Any],
        lanes: int,
        *,
        divided: bool,
        packed: bool,
    ) -> None:
        problem, settings = job.problem, job.number_of_settings
        self._job, self._kernel, self._dtype, self._lanes = job, compiled, dtype, lanes
        self._problem_of: NDArray[np.int64] | None = None
        # The last tile is filled up with copies of the last setting, or the last job with runs of the last problem; their results
        # are cut off at the end.
        if packed:
            self._jobs = -(-problem.problems * settings // lanes)
            self._tiles = min(self._jobs, settings // gcd(settings, lanes))
            pairs = np.arange(self._jobs * lanes).reshape(self._jobs, lanes)
            self._problem_of = np.minimum(pairs // settings, problem.problems - 1)
            chosen = np.arange(self._tiles * lanes) % settings
        else:
            self._tiles = -(-settings // lanes)
            self._jobs = problem.problems * self._tiles
            chosen = np.minimum(np.arange(self._tiles * lanes), settings - 1)
        self._dimension = problem.dimension
        self._take_blocks(divided=divided)
        own = np.array([job.settings[name] for name in job.rule.names])
        padded = own[:, chosen]
        self._settings = self._aligned((self._tiles, len(own), lanes), np.dtype(np.float64))
        self._settings[:] = np.swapaxes(padded.reshape(len(own), self._tiles, lanes), 0, 1)

        blocks = len(self._sizes)
        self._clocks = self._aligned((self._tiles, kernel.clocks, lanes), np.dtype(np.float64))
        self._clocks[:] = 1.0
        places = 1 if self._sampler is not None else 2  # gradients of samples are made of residuals, not of errors
        self._error = self._aligned((self._jobs, places, self._dimension, lanes))
        errors = problem.layout.flatten(problem.initial_error)
        if packed:
            self._error[:, 0] = self._by_lane(errors)
        else:
            self._error[:, 0] = np.repeat(errors, self._tiles, axis=0)[..., None]
        self._states = self._aligned((self._jobs, len(kernel.states), self._dimension, lanes))
        self._block_states = self._aligned((self._jobs, len(kernel.block_states), blocks, lanes))
        for starts, kept in ((kernel.states, self._states), (kernel.block_states, self._block_states)):
            for index, start in enumerate(starts):
                if start is not None:
                    kept[:, index] = start
        self._below, self._limit = np.empty((2, self._jobs * lanes))
        self._hit, self._mean, self._diverged = np.full((3, self._jobs * lanes), np.inf)
        self._window = np.zeros(self._jobs * lanes)
        self._last_above = np.full(self._jobs * lanes, -1.0)
        self._done = np.zeros(self._jobs, dtype=np.bool_)
        self._gap = np.empty((problem.problems, job.number_of_settings, job.record.size))
        self._values = kernel.step_values

    def _take_blocks(self, *, divided: bool) -> None:
        """Lay out the matrices, and where the blocks of the rule begin in them."""
        job, problem = self._job, self._job.problem
        outer = np.array(problem.block_sizes)
        entries = np.concatenate([[0], np.cumsum(outer**2)])[:-1]
        self._products = int(np.sum(outer**2))
        self._divided = divided

        # A gradient of samples is made with x = R z; a triangular root, for the gap, takes the place of H (`streams`).
        self._sampler = None
        if isinstance(job.oracle, Stream):
            self._sampler = Sampler(problem, job.oracle, self._dtype)
        matrices = problem.hessian
        if self._sampler is not None:
            matrices = problem.triangular_roots
        self._hessian = self._aligned((problem.problems, self._products))
        for size, members in problem.layout.groups.items():
            for position, block in enumerate(members):
                begin = entries[block]
                self._hessian[:, begin : begin + size**2] = matrices[size][:, position].reshape(-1, size**2)
        self._sizes = sizes = np.array((problem.rule_blocks if divided else problem.layout).block_sizes)
        self._coordinates = np.concatenate([[0], np.cumsum(sizes)])[:-1]
        self._entries = entries
        if divided or self._sampler is not None:  # where the rows of a block of the rule begin within the block of H
            inside = inner_sizes(problem.rule_blocks, problem.layout) if divided else [(size,) for size in outer]
            rows = [np.concatenate([[0], np.cumsum(own)[:-1]]) for own in inside]
            self._entries = np.concatenate([e + r * w for e, r, w in zip(entries, rows, outer, strict=True)])
            self._outers, self._widths = np.concatenate([[0], np.cumsum([len(own) for own in inside])]), outer
        ends = (
            (problem.rule_smoothness, problem.rule_convexity)
            if divided
            else (problem.block_smoothness, problem.block_strong_convexity)
        )
        self._extremes = np.stack(ends, axis=-1).astype(self._dtype)
        self._minimizer = problem.layout.flatten(problem.minimizer).astype(self._dtype)
        if self._problem_of is not None:
            self._hessian, self._extremes, self._minimizer = map(
                self._by_lane, (self._hessian, self._extremes, self._minimizer)
            )

    def _by_lane(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return what is known of every problem, (problems, ...), for the lanes of packed jobs: (jobs, ..., lanes)."""
        assert self._problem_of is not None
        out = self._aligned((self._jobs, *values.shape[1:], self._lanes), values.dtype)
        out[:] = np.moveaxis(values[self._problem_of], 1, -1)
        return out

    def _aligned(self, shape: tuple[int, ...], dtype: np.dtype[Any] | None = None) -> NDArray[Any]:
        """Return an uninitialised array (by default in the run's type) that begins at a cache line: no vector spans two."""
        dtype = dtype or self._dtype
        count, width = prod(shape), dtype.itemsize
        raw = np.empty(count + 64 // width, dtype=dtype)
        begin = -raw.ctypes.data % 64 // width
        return raw[begin : begin + count].reshape(shape)

    def outcome(self) -> Outcome:
        """Run all steps and return gaps, first hits and first divergences."""
        job = self._job
        # The kernel evaluates the gap before it takes the step, so the gap after the last step needs one step more, whose result
        # is not used; its learning rate is 0.
        total = job.steps + 1
        factors = np.append(job.schedule.factors(job.steps), 0.0)
        threads = max(1, min(number_of_threads(), self._jobs))
        ranges, steps = self._parts(threads)
        with _Workers(threads) as workers:
            for begin in range(0, total, steps):
                self._advance(begin, min(steps, total - begin), factors, ranges, workers)
                if self._done.all():
                    break
        return Outcome(
            gap=self._gap,
            hit=self._per_run(self._hit),
            stay=step_after(self._per_run(self._last_above), job.steps),
            mean=self._per_run(self._mean),
            diverged=self._per_run(self._diverged),
        )

    def _per_run(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a number of every lane, (jobs * lanes,), by problem and setting."""
        problems, settings = self._job.problem.problems, self._job.number_of_settings
        if self._problem_of is not None:
            return values[: problems * settings].reshape(problems, settings)
        return values.reshape(problems, self._tiles * self._lanes)[:, :settings]

    def _parts(self, threads: int) -> tuple[list[tuple[int, int]], int]:
        """The ranges of jobs, and the number of steps, of which a call of the kernel takes one."""
        products = self._products * self._lanes
        number, each = self._jobs, 1
        if isinstance(self._job.oracle, Stream):  # a problem's draws are made once, for all of its tiles
            products = 2 * (products + self._job.oracle.batch * self._dimension * self._lanes)
            number, each = self._job.problem.problems, self._tiles
        calls = max(
            threads * _CALLS_PER_THREAD if threads > 1 else 1, products * self._jobs * STRETCH // _PRODUCTS_AT_ONCE
        )
        if self._sampler is not None:
            calls = max(calls, -(-number * self._sampler.bytes_per_step * STRETCH // _DRAWN_BYTES))
        ranges = [(first * each, last * each) for first, last in _ranges(number, calls)]
        longest = max(last - first for first, last in ranges)
        steps = min(
            _PRODUCTS_AT_ONCE // (products * longest),
            _TABLE_BYTES // (self._tiles * max(self._values, 1) * self._lanes * self._dtype.itemsize),
        )
        steps = max(1, steps // STRETCH) * STRETCH
        if self._sampler is None:
            return ranges, steps
        fit = _DRAWN_BYTES // (self._sampler.bytes_per_step * -(-longest // each))
        return ranges, min(steps, max(1, fit))  # a batch that is larger than the buffer gets what it needs

    def _advance(
        self, begin: int, steps: int, factors: NDArray[Any], ranges: list[tuple[int, int]], workers: "_Workers"
    ) -> None:
        """Advance all jobs by `steps` steps from step `begin` on."""
        job, lanes = self._job, self._lanes
        table = self._aligned((self._tiles, steps, self._values, lanes)).ravel()
        own = factors[begin : begin + steps]
        settings, clocks = self._settings.ravel(), self._clocks.ravel()
        gap = self._gap if self._problem_of is None else self._gap.reshape(1, -1, job.record.size)
        workers.all(
            lambda tile: self._kernel.steps_(tile, own, settings, clocks, table), [(t,) for t in range(self._tiles)]
        )
        record_at = int(np.searchsorted(job.record, begin))

        def call(first: int, last: int) -> None:
            if self._done[first:last].all():
                return
            gradient = self._aligned((int(self._sizes.max()) * lanes,))
            sums = self._aligned((STRETCH * lanes,))
            extra: tuple[Any, ...] = ()
            if self._sampler is not None:
                drawn = first // self._tiles
                draws = self._sampler.draw(drawn, -(-last // self._tiles), begin, steps)
                rooms = self._aligned((2 * self._sampler.batch * lanes,)), self._aligned((lanes,))
                extra = (self._outers, self._widths, drawn, *draws, *rooms)
            self._kernel.run_(
                first, last, begin, steps, job.record, record_at, job.tolerance, self._tiles, self._dimension,
                self._sizes, self._coordinates, self._entries,
                *((self._outers, self._widths) if self._divided and self._sampler is None else ()),
                self._hessian.ravel(), self._extremes.ravel(), self._minimizer.ravel(), settings, table, self._error.ravel(),
                self._states.ravel(), self._block_states.ravel(), gradient, sums, self._below, self._limit, self._hit,
                self._last_above, self._window, self._mean, self._diverged, self._done, gap, *extra,
            )  # fmt: skip

        workers.all(call, ranges)


def _ranges(number: int, parts: int) -> Iterator[tuple[int, int]]:
    """Yield `number` jobs as at most `parts` contiguous ranges (first, last) of nearly equal size."""
    parts = min(parts, number)
    for part in range(parts):
        yield number * part // parts, number * (part + 1) // parts


class _Workers:
    """The caller's thread and helper threads, which call a kernel that releases Python's global lock.

    Python threads are used, not Numba's parallel loops: these need a threading layer, and of the layers one cannot be used from
    two threads at once and another fails after a fork. The caller's thread also works: if it only waited, the operating
    system might put all helpers on one core.
    """

    def __init__(self, threads: int) -> None:
        self._helpers = threads - 1
        self._pool = ThreadPoolExecutor(self._helpers) if self._helpers else None

    def __enter__(self) -> "_Workers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def all(self, function: Callable[..., None], arguments: Sequence[tuple[int, ...]]) -> None:
        """Call `function` with each of the arguments and return when all calls are done; the first error is raised again."""
        waiting = deque(arguments)

        def work() -> None:
            while True:
                try:
                    argument = waiting.popleft()
                except IndexError:
                    return
                function(*argument)

        helpers = min(self._helpers, len(arguments) - 1)
        futures = [self._pool.submit(work) for _ in range(helpers)] if self._pool is not None else []
        try:
            work()
        finally:
            waiting.clear()  # after an error or Ctrl-C the helpers finish their present call and start no other
            wait(futures)
        for future in futures:
            future.result()
