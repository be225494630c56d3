"""The reference engine: runs every rule, in batched torch operations, one step after the other.

It is the oracle of the other engines: it runs the readable torch function of the rule, without cutting, reordering or compiling
anything. It is also the only engine with every gradient oracle and every observable. On a GPU a long run is captured in a CUDA
graph of the same operations, which changes no bit.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import sympy as sp
import torch

from quadsim.simulator.engines.job import Job, Outcome, step_after
from quadsim.simulator.engines.observables import OF_STEPS, Observer
from quadsim.simulator.engines.torch_rule import compile_torch
from quadsim.simulator.problems.layout import BlockLayout
from quadsim.simulator.problems.oracles import FULL, Full, Stream
from quadsim.simulator.runs.trajectory import MEAN_WINDOW, divergence_limit
from quadsim.simulator.support.draws import Purpose, normals

__all__ = ["Follower", "Product", "run", "threads_for", "why_not"]

_PRODUCTS_FOR_THREADS = 100_000_000  # multiply-adds in one step: some ten milliseconds for one core
_BUFFER = 64  # steps whose gaps are compared with the limits together
_CAPTURED = 32  # steps in a CUDA graph
_CACHE_LINE = 64  # bytes; torch allocates tensors at multiples of this


def why_not(job: Job) -> str | None:
    """Return None: this engine can run every job."""
    return None


def run(job: Job) -> Outcome:
    """Run all problems under all settings; errors are tensors (M, B_size, P_l, K).

    Returns:
        Outcome with gap (M, K, R), hit (M, K), diverged (M, K) and the observables that were asked for.
    """
    with threads_for(job):
        return _run(job)


@contextmanager
def threads_for(job: Job) -> Iterator[None]:
    """Use one thread of torch while the steps are small.

    Torch's threads wait for each other at the end of every operation, thousands of times per second here. If another process uses
    one of the cores, each wait can cost a time slice of the operating system (measured: up to a hundred times slower with 2
    threads than with 1).
    """
    sizes = job.problem.block_sizes
    products = job.problem.problems * job.number_of_settings * sum(size**2 for size in sizes)
    before = torch.get_num_threads()
    torch.set_num_threads(1 if products < _PRODUCTS_FOR_THREADS else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(job: Job) -> Outcome:
    if _can_be_captured(job):
        return _run_captured(job)
    problem, batch = job.problem, _Batch(job)
    factors, observer = job.schedule.factors(job.steps), Observer(problem)
    follow = Follower(problem.problems, job.number_of_settings, job)
    records = {int(step): r for r, step in enumerate(job.record)}
    observed = {name: [] for name in job.observe if name != "gap"}  # type: dict[str, list[np.ndarray]]
    for t in range(job.steps + 1):
        gradient = batch.gradient()
        follow.see(t, batch.twice_gap(gradient))
        recording = bool(observed) and t in records
        if t == job.steps and not any(name in OF_STEPS for name in observed):
            step = None
        else:
            seen = batch.seen(gradient, t)
            # The step after the last one is not taken, only observed (its cosine with the gradient), so any factor will do.
            step = batch.step(seen, float(factors[min(t, job.steps - 1)]))
        if recording:
            for name, values in observed.items():
                values.append(observer(name, batch.error, gradient, step))
        if t < job.steps and step is not None:
            batch.move(step)
    return Outcome(
        gap=follow.gap,
        hit=follow.hit,
        stay=follow.stay,
        mean=follow.mean,
        diverged=follow.diverged,
        observed={name: np.stack(values, axis=2) for name, values in observed.items()},
    )


def _can_be_captured(job: Job) -> bool:
    """Whether the steps can be captured in a CUDA graph: they may read nothing from the host.

    Noise is drawn on the host, observables are computed on the host, and Max, Min or a step without symbols create tensors there.
    """
    rule = job.rule
    expressions = (rule.step, *rule.update.values(), *rule.clocks.values())
    return (
        job.device != "cpu"
        and job.observe == ("gap",)
        and job.oracle == FULL
        and job.steps >= 2 * _CAPTURED
        and not any(e.has(sp.Max, sp.Min) for e in expressions)
        and bool(rule.step.free_symbols)
    )


def _run_captured(job: Job) -> Outcome:
    """Run the job as a CUDA graph of `_CAPTURED` steps that is launched repeatedly.

    The graph holds the operations of `_run`, so the results have the same bits; it saves the launches from Python, which take
    longer than the operations. A graph reads and writes fixed memory: every pass ends by copying the new errors, states and
    clocks back to the tensors that it began with.
    """
    with torch.cuda.device(job.device):
        batch = _Batch(job)
        batch.start(batch.gradient())
        first = [tensor.clone() for tensor in batch.tensors]
        total = job.steps + 1
        factors = np.zeros(-(-total // _CAPTURED) * _CAPTURED)
        factors[: job.steps] = job.schedule.factors(job.steps)
        all_factors = batch.wide(factors).view(-1, _CAPTURED)
        own_factors = all_factors[0].clone()
        shape = (_CAPTURED, job.problem.problems, job.number_of_settings)
        gaps = torch.empty(shape, dtype=job.dtype, device=job.device)

        def some_steps() -> None:
            own = batch.tensors
            for t in range(_CAPTURED):
                gradient = batch.gradient()
                gaps[t] = batch.twice_gap(gradient)
                batch.move(batch.step(gradient, own_factors[t]))
            for tensor, value in zip(own, batch.tensors, strict=True):
                tensor.copy_(value)
            batch.tensors = own

        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # the first call of a library allocates memory, which must not be captured
            some_steps()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            some_steps()
        for tensor, value in zip(batch.tensors, first, strict=True):
            tensor.copy_(value)
        follow = Follower(job.problem.problems, job.number_of_settings, job)
        for begin in range(0, total, _CAPTURED):
            own_factors.copy_(all_factors[begin // _CAPTURED])
            graph.replay()
            for t, twice_gap in enumerate(gaps.cpu()[: total - begin]):
                follow.see(begin + t, twice_gap)
        return Outcome(follow.gap, follow.hit, follow.stay, follow.mean, follow.diverged)


class _Batch:
    """Errors, states and clocks of all runs, and the operations of one step. Tensors by block size: (M, B_size, P_l, K).

    Products are by the blocks of H; the rule sees those of `rule_blocks`, where it makes a difference.
    """

    def __init__(self, job: Job) -> None:
        problem = job.problem
        self._job, self._rule = job, compile_torch(job.rule)
        self.sizes = tuple(problem.layout.groups)
        self._product = {size: Product(self.tensor(problem.hessian[size])) for size in self.sizes}
        is_divided = problem.partition is not None and job.rule.uses_blocks
        blocks, extremes = (
            (problem.rule_blocks, problem.rule_extremes) if is_divided else (problem.layout, problem.extremes)
        )
        self._regrouped = _Regrouped(problem.layout, blocks, job.device) if is_divided else None
        self._smoothness = {size: self.tensor(extremes[size][..., :1, None]) for size in blocks.groups}
        self._convexity = {size: self.tensor(extremes[size][..., 1:, None]) for size in blocks.groups}
        self._root = (
            {} if job.oracle == FULL else {size: Product(self.tensor(problem.roots[size])) for size in self.sizes}
        )
        self._minimizer = {size: self.tensor(problem.minimizer[size][..., None]) for size in self.sizes}
        start = {size: self.tensor(problem.initial_error[size][..., None]) for size in self.sizes}
        self.error = {size: e.expand(-1, -1, -1, job.number_of_settings).contiguous() for size, e in start.items()}
        self._settings = {name: self.wide(values) for name, values in job.settings.items()}
        self._rate = self._settings["lr"]
        self._clocks = self._rule.start_clocks(self._settings)
        self._states: list[list[torch.Tensor]] | None = None

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """Return a copy in the job's number type on its device."""
        return self.wide(array).to(self._job.dtype)

    def wide(self, array: np.ndarray) -> torch.Tensor:
        """Return a copy in float64 on the job's device, for settings: they are rounded only after the rule has used them."""
        return torch.from_numpy(np.array(array, dtype=np.float64)).to(device=self._job.device)

    def gradient(self) -> dict[int, torch.Tensor]:
        """Return the gradient H e, by block size."""
        return {size: self._product[size](self.error[size]) for size in self.sizes}

    def seen(self, gradient: dict[int, torch.Tensor], t: int) -> dict[int, torch.Tensor]:
        """Return the gradient that the rule is given at step t, from the one of the full batch."""
        oracle, problem = self._job.oracle, self._job.problem
        if isinstance(oracle, Full):
            return gradient
        if isinstance(oracle, Stream):
            return self._of_samples(oracle, t)
        draws = normals(problem.seed, problem.index, Purpose.NOISE, t, problem.dimension) * oracle.std
        noise = {size: self.tensor(part[..., None]) for size, part in problem.layout.split(draws).items()}
        if oracle.law == "hessian":
            noise = {size: self._root[size](part) for size, part in noise.items()}
        return {size: g + noise[size] for size, g in gradient.items()}

    def _of_samples(self, oracle: Stream, t: int) -> dict[int, torch.Tensor]:
        """Return X'(Xe - v xi)/b for the samples of step t; the residual of a sample couples the blocks."""
        seed, index = self._job.problem.seed, self._job.problem.index
        z = oracle.features(seed, index, t, self._job.problem.dimension)
        parts = self._job.problem.layout.split(z.reshape(-1, z.shape[-1]))
        x = {}
        for size in self.sizes:
            part = self.tensor(parts[size].reshape(*z.shape[:2], -1, size))  # (M, b, B_size, P_l)
            x[size] = self._root[size](part.permute(0, 2, 3, 1))  # (M, B_size, P_l, b)
        products = [Product(x[size].transpose(-1, -2))(self.error[size]).sum(dim=1) for size in self.sizes]
        residual = sum(products[1:], products[0]) - self.tensor(oracle.label_errors(seed, index, t)[..., None])
        return {size: Product(x[size])(residual[:, None] / oracle.batch) for size in self.sizes}

    def twice_gap(self, gradient: dict[int, torch.Tensor]) -> "torch.Tensor | int":
        """Return twice the gap, e'He, (M, K)."""
        return sum((self.error[size] * gradient[size]).sum(dim=(1, 2)) for size in self.sizes)

    def start(self, seen: dict[int, torch.Tensor]) -> None:
        """Give the states their first values, from the first gradient `seen`."""
        self._states = self._rule.start(self._parts(seen), self._settings)

    def step(self, seen: dict[int, torch.Tensor], factor: "float | torch.Tensor") -> dict[int, torch.Tensor]:
        """Advance states and clocks by one step.

        Args:
            seen: the gradient that the rule gets (with noise, if there is any), by block size.
            factor: the schedule's factor of this step.

        Returns:
            The step, which `move` adds to the errors, by block size.
        """
        if self._states is None:
            self.start(seen)
        assert self._states is not None
        self._settings["lr"] = self._rate * factor
        steps, self._states, self._clocks = self._rule.advance(
            self._parts(seen), self._states, self._clocks, self._settings
        )
        if self._regrouped is not None:
            steps = self._regrouped.back(steps, next(iter(self.error.values())).shape[-1])
        return {size: s.broadcast_to(self.error[size].shape) for size, s in zip(self.sizes, steps, strict=True)}

    def move(self, step: dict[int, torch.Tensor]) -> None:
        """Add the step to the errors."""
        self.error = {size: self.error[size] + step[size] for size in self.sizes}

    def _parts(self, seen: dict[int, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        uses_iterate = self._job.rule.uses_iterate
        iterate = {
            size: self.error[size] + self._minimizer[size] if uses_iterate else self.error[size] for size in self.sizes
        }
        if self._regrouped is not None:
            seen, iterate = self._regrouped(seen), self._regrouped(iterate)
        return [
            {"g": g, "w": iterate[size], "L_l": self._smoothness[size], "mu_l": self._convexity[size]}
            for size, g in seen.items()
        ]

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All tensors that a step changes: errors, clocks, states."""
        states = self._states or []
        return [*self.error.values(), *self._clocks, *(state for part in states for state in part)]

    @tensors.setter
    def tensors(self, values: list[torch.Tensor]) -> None:
        left = iter(values)
        self.error = {size: next(left) for size in self.sizes}
        self._clocks = [next(left) for _ in self._clocks]
        self._states = [[next(left) for _ in part] for part in self._states or []]


class _Regrouped:
    """Tensors by the blocks of H as tensors by the blocks of a rule, and back."""

    def __init__(self, layout: BlockLayout, blocks: BlockLayout, device: str) -> None:
        def tensors(positions: Mapping[int, np.ndarray]) -> dict[int, torch.Tensor]:
            return {size: torch.from_numpy(at).to(device=device) for size, at in positions.items()}

        self._dimension, self._of_H, self._of_rule = (
            layout.dimension,
            tensors(layout.positions),
            tensors(blocks.positions),
        )

    def __call__(self, parts: Mapping[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """Return tensors (M, B_size, P_l, K) by the blocks of the rule."""
        return self._regroup(parts, self._of_H, self._of_rule)

    def back(self, parts: list[torch.Tensor], settings: int) -> list[torch.Tensor]:
        """Return the parts of the rule, in the order of its sizes, by the blocks of H; K is the number of settings."""
        problems = parts[0].shape[0]
        whole = {
            size: part.broadcast_to((problems, *at.shape, settings))
            for (size, at), part in zip(self._of_rule.items(), parts, strict=True)
        }
        return list(self._regroup(whole, self._of_rule, self._of_H).values())

    def _regroup(
        self, parts: Mapping[int, torch.Tensor], of: dict[int, torch.Tensor], to: dict[int, torch.Tensor]
    ) -> dict[int, torch.Tensor]:
        first = next(iter(parts.values()))
        flat = first.new_empty((first.shape[0], self._dimension, first.shape[-1]))
        for size, at in of.items():
            flat[:, at] = parts[size]
        return {size: flat[:, at] for size, at in to.items()}


class Product:
    """Products of stacks of matrices, as H_l e_l for all problems at once, with the same bits for a problem in every batch.

    The rounding of a product in MKL depends on the memory address of the matrices modulo a cache line, and on whether there is
    one matrix or several. So blocks are padded with zeros to whole cache lines, and a single block is multiplied twice.

    Args:
        left: left factors, (M, B, n, k).
    """

    def __init__(self, left: torch.Tensor) -> None:
        line = _CACHE_LINE // left.element_size()
        self._shape, self._zeros = left.shape, -left.shape[-1] % line
        copies = 2 if left.shape[0] * left.shape[1] == 1 else 1
        self._left = torch.nn.functional.pad(left, (0, self._zeros, 0, -left.shape[-2] % line)).repeat(copies, 1, 1, 1)

    def __call__(self, right: torch.Tensor) -> torch.Tensor:
        """Return the products with (M, B, k, m), or with (M, 1, k, m) for all of the B, as (M, B, n, m)."""
        problems, blocks, rows, _ = self._shape
        padded = torch.nn.functional.pad(right, (0, 0, 0, self._zeros))  # a copy, and so at the start of a line
        padded = padded.expand(self._left.shape[0], blocks, -1, -1)
        return torch.matmul(self._left, padded)[:problems, :, :rows]


class Follower:
    """Follows the gap at every step: keeps the recorded gaps, hits of the tolerance and the first divergence.

    Gaps are collected in a buffer and compared with the limits `_BUFFER` steps at a time, as each comparison has a fixed cost.
    A NaN gap counts as a divergence: the comparison is `not (gap <= limit)`.

    Args:
        problems: number of problems, M.
        settings: number of settings, K.
        job: the request; its steps, record and tolerance are used.

    Attributes:
        gap: recorded gaps, (M, K, R).
        hit: first step within the tolerance, (M, K); `inf` if there is none so far.
        stay, mean: see `Outcome`.
        diverged: first step above the limit of divergence, (M, K); `inf` if there is none so far.
    """

    def __init__(self, problems: int, settings: int, job: Job) -> None:
        self._job = job
        self._buffer = np.empty((_BUFFER, problems, settings))
        self._begin = 0
        self._filled = 0
        self._start: np.ndarray | None = None
        self._position = 0
        self.gap = np.empty((problems, settings, job.record.size))
        self.hit = np.full((problems, settings), np.inf)
        self.diverged = np.full((problems, settings), np.inf)
        self.mean = np.full((problems, settings), np.inf)
        self._last_above = np.full((problems, settings), -1)
        self._window_sum = np.zeros((problems, settings))

    @property
    def stay(self) -> np.ndarray:
        """`Outcome.stay`, once the last step was noted."""
        return step_after(self._last_above, self._job.steps)

    def see(self, t: int, twice_gap: "torch.Tensor | int") -> None:
        """Record the gaps of step t. Steps must come in order, from 0 to the last one, none left out.

        Args:
            t: the step.
            twice_gap: e'He, (M, K).
        """
        assert isinstance(twice_gap, torch.Tensor)
        self._buffer[self._filled] = twice_gap.cpu().numpy()
        self._filled += 1
        if self._filled == _BUFFER or t == self._job.steps:
            self._flush()

    def _flush(self) -> None:
        gaps = self._buffer[: self._filled] / 2.0
        if self._start is None:
            self._start = gaps[0].copy()
        within = gaps <= self._job.tolerance * self._start
        for first, reached in (
            (self.hit, within),
            (self.diverged, ~(gaps <= divergence_limit(self._start))),
        ):
            step = np.where(reached.any(axis=0), self._begin + reached.argmax(axis=0), np.inf)
            np.minimum(first, step, out=first)
        self._follow_windows(gaps)
        end = self._begin + self._filled
        last = end - 1 - np.argmax(~within[::-1], axis=0)  # argmax gives the first of the reversed steps
        self._last_above = np.where(within.all(axis=0), self._last_above, last)
        while self._position < self._job.record.size and self._job.record[self._position] < end:
            self.gap[:, :, self._position] = gaps[self._job.record[self._position] - self._begin]
            self._position += 1
        self._begin, self._filled = end, 0

    def _follow_windows(self, gaps: np.ndarray) -> None:
        """Sum the gaps of every window in the order of its steps, as the kernels do; step 0 is in none."""
        assert self._start is not None
        with np.errstate(over="ignore"):  # the sum of a run that diverges may overflow: such a window is not low
            for t, gap in enumerate(gaps, self._begin):
                self._window_sum += gap
                if t % MEAN_WINDOW == 0:
                    if t:
                        low = self._window_sum / MEAN_WINDOW <= self._job.tolerance * self._start
                        self.mean = np.where(low, np.minimum(self.mean, t), self.mean)
                    self._window_sum[:] = 0.0
