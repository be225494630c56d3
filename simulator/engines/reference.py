"""The reference engine: every rule, batched torch, one step at a time. The oracle for the other engines."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from quadsim.simulator.draws import Purpose, normals
from quadsim.simulator.engines.job import Job, Outcome
from quadsim.simulator.engines.observables import Observer
from quadsim.simulator.engines.torch_rule import compile_torch
from quadsim.simulator.trajectory import divergence_limit

__all__ = ["Follower", "run", "why_not"]

_PRODUCTS_FOR_THREADS = 100_000_000  # in one step: some ten milliseconds for one core
_BUFFER = 64  # steps whose gaps are looked at together
_CACHE_LINE = 64  # bytes; torch starts its tensors at a multiple of this


def why_not(job: Job) -> str | None:
    """Why this engine cannot run the job; None if it can."""
    return None


def run(job: Job) -> Outcome:
    """Run all problems under all settings; errors are tensors (M, B_size, P_l, K)."""
    with _threads_for(job):
        return _run(job)


@contextmanager
def _threads_for(job: Job) -> Iterator[None]:
    """One thread where a step is small.

    Threads meet at the end of every operation, thousands of times a second here; where another process wants a core too, each
    of these meetings can cost a time slice (measured: up to a hundred times slower with 2 threads than with 1).
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
    problem = job.problem

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array, dtype=np.float64)).to(device=job.device, dtype=job.dtype)

    number, settings_number = problem.problems, job.number_of_settings
    sizes = tuple(problem.layout.groups)
    product = {size: _Product(tensor(problem.hessian[size])) for size in sizes}
    smoothness = {size: tensor(problem.eigenvalues[size][..., -1:, None]) for size in sizes}
    convexity = {size: tensor(problem.eigenvalues[size][..., :1, None]) for size in sizes}
    minimizer = {size: tensor(problem.minimizer[size][..., None]) for size in sizes}
    error = {
        size: tensor(problem.initial_error[size][..., None]).expand(-1, -1, -1, settings_number).contiguous()
        for size in sizes
    }
    settings = {name: tensor(values) for name, values in job.settings.items()}
    rate, factors = settings["lr"], job.schedule.factors(job.steps)
    rule, observer = compile_torch(job.rule), Observer(problem)
    uses_iterate = job.rule.uses_iterate
    clocks = rule.start_clocks(settings)
    states: list[list[torch.Tensor]] | None = None

    follow = Follower(number, settings_number, job)
    records = {int(step): r for r, step in enumerate(job.record)}
    observed = {name: [] for name in job.observe if name != "gap"}  # type: dict[str, list[np.ndarray]]
    for t in range(job.steps + 1):
        gradient = {size: product[size](error[size]) for size in sizes}
        follow.see(t, sum((error[size] * gradient[size]).sum(dim=(1, 2)) for size in sizes))
        recording = bool(observed) and t in records
        if t == job.steps and "step_sign_cosine" not in observed:
            step = None
        else:
            seen = gradient if job.gradient_noise_std == 0.0 else _with_noise(job, gradient, t)
            parts = [
                {
                    "g": seen[size],
                    "w": error[size] + minimizer[size] if uses_iterate else error[size],
                    "L_l": smoothness[size],
                    "mu_l": convexity[size],
                }
                for size in sizes
            ]
            if states is None:
                states = rule.start(parts, settings)
            # The step after the last one is only looked at, so any factor serves; its direction does not depend on it.
            settings["lr"] = rate * float(factors[min(t, job.steps - 1)])
            steps, states, clocks = rule.advance(parts, states, clocks, settings)
            step = {size: s.broadcast_to(error[size].shape) for size, s in zip(sizes, steps, strict=True)}
        if recording:
            for name, values in observed.items():
                values.append(observer(name, error, gradient, step))
        if t < job.steps and step is not None:
            error = {size: error[size] + step[size] for size in sizes}
    return Outcome(
        gap=follow.gap,
        hit=follow.hit,
        diverged=follow.diverged,
        observed={name: np.stack(values, axis=2) for name, values in observed.items()},
    )


def _with_noise(job: Job, gradient: dict[int, torch.Tensor], t: int) -> dict[int, torch.Tensor]:
    """The gradient plus noise drawn for (seed, problem, step), the same for all settings."""
    problem = job.problem
    draws = normals(problem.seed, problem.index, Purpose.NOISE, t, problem.dimension) * job.gradient_noise_std
    parts = problem.layout.split(draws)
    return {
        size: g + torch.from_numpy(parts[size]).to(device=g.device, dtype=g.dtype)[..., None]
        for size, g in gradient.items()
    }


class _Product:
    """H_l e_l for all problems at once, with the same bits for a problem in any batch.

    How MKL rounds a product depends on the memory address of the matrices modulo a cache line, and on whether there is one
    or more of them. So blocks are filled up with zeros to whole lines, and a lone one is multiplied twice.
    """

    def __init__(self, hessian: torch.Tensor) -> None:
        self._size = hessian.shape[-1]
        self._zeros = -self._size % (_CACHE_LINE // hessian.element_size())
        copies = 2 if hessian.shape[0] * hessian.shape[1] == 1 else 1
        self._hessian = torch.nn.functional.pad(hessian, (0, self._zeros, 0, self._zeros)).repeat(copies, 1, 1, 1)

    def __call__(self, error: torch.Tensor) -> torch.Tensor:
        """Shapes: (M, B_size, P_l, K) to the same."""
        padded = torch.nn.functional.pad(error, (0, 0, 0, self._zeros))  # a copy, and so at the start of a line
        problems = error.shape[0]
        return torch.matmul(self._hessian, padded.expand(self._hessian.shape[0], -1, -1, -1))[
            :problems, :, : self._size
        ]


class Follower:
    """Follows the gap at every step: what is recorded, the first hit of the tolerance and the first divergence."""

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

    def see(self, t: int, twice_gap: "torch.Tensor | int") -> None:
        """Note the gaps of step t; `twice_gap` is e'He, (M, K)."""
        assert isinstance(twice_gap, torch.Tensor)
        self._buffer[self._filled] = twice_gap.cpu().numpy()
        self._filled += 1
        if self._filled == _BUFFER or t == self._job.steps:
            self._flush()

    def _flush(self) -> None:
        gaps = self._buffer[: self._filled] / 2.0
        if self._start is None:
            self._start = gaps[0].copy()
        for first, reached in (
            (self.hit, gaps <= self._job.tolerance * self._start),
            (self.diverged, ~(gaps <= divergence_limit(self._start))),
        ):
            step = np.where(reached.any(axis=0), self._begin + reached.argmax(axis=0), np.inf)
            np.minimum(first, step, out=first)
        end = self._begin + self._filled
        while self._position < self._job.record.size and self._job.record[self._position] < end:
            self.gap[:, :, self._position] = gaps[self._job.record[self._position] - self._begin]
            self._position += 1
        self._begin, self._filled = end, 0
