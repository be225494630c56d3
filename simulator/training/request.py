"""The checked request of a training run: its arguments, the engine that takes it, and the memory it needs."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.engines.stacks.cpu_run import why_not as why_not_fused_on_a_cpu
from quadsim.simulator.engines.stacks.run import why_not as why_not_fused
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.rules.catalogue import resolve_rule
from quadsim.simulator.rules.functions import symbols
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.schedules import Schedule, resolve_schedule
from quadsim.simulator.rules.settings_first import check_settings
from quadsim.simulator.runs.trajectory import recorded_steps
from quadsim.simulator.support.checks import check_choice, check_count, check_interval
from quadsim.simulator.support.devices import check_device, resolve_dtype
from quadsim.simulator.support.memory import memory_text, physical_memory
from quadsim.simulator.training.stepping import check_compile, why_not_compiled

__all__ = ["Request", "check_trainable", "checked_request", "chunk_bytes", "most_at_once", "schedule_bytes"]

ENGINES = ("fused", "stack")

_LOG = logging.getLogger("quadsim")

TOKENS_AT_ONCE = 16_000
"""Tokens of all instances of a chunk on a CPU: more do not fit in its caches; with fewer, Python takes most of the time."""

# Estimates of memory, in arrays that exist at the same time.
_ARRAYS_ALIVE = 12  # arrays of the size of the parameters, in a step
_ACTIVATIONS_ALIVE = 40  # arrays of the size of one activation, between the forward and the backward pass
_FACTORS_ALIVE = 5  # arrays of the schedule, while its factors are computed
_SNAPSHOTS_ALIVE = 3  # parameters, gradient and update
_WORTH_COMPILING = 1 << 25  # tokens of all instances in all steps: as single operations they take a second on a GPU


@dataclass(frozen=True, eq=False)
class Request:
    """A checked request to `train`; `record` holds the steps at which losses are kept, (R,)."""

    problem: ToyProblem
    rule: Rule
    settings: dict[str, NDArray[np.float64]]
    steps: int
    schedule: Schedule
    record: NDArray[np.int64]
    tolerance: float
    stop: bool
    snapshots: tuple[int, ...]
    every: int
    partition: Partition
    dtype: torch.dtype
    device: str
    compile: bool
    clip: float | None
    engine: str = "stack"

    @property
    def shape(self) -> tuple[int, int]:
        """(M, K)."""
        return self.problem.problems, self.settings["lr"].size

    @property
    def target(self) -> float:
        """The loss at which a run has converged."""
        return self.tolerance * self.problem.guess_loss

    @property
    def tests(self) -> bool:
        """Whether there are test data."""
        return self.problem.test_data is not None

    @cached_property
    def factors(self) -> NDArray[np.float64]:
        """The schedule's factors of the learning rate, (steps,)."""
        return self.schedule.factors(self.steps)


def checked_request(
    problem: ToyProblem, rule: Rule | str, *, lr: ArrayLike | None, steps: int, schedule: Schedule | str | None,
    record: str | int, tolerance: float, stop: bool, snapshots: Iterable[int], evaluate_every: int, partition: str,
    dtype: torch.dtype | str, device: str, compile: bool | None, engine: str, clip: float | None,
    **hyperparameters: ArrayLike,
) -> Request:  # fmt: skip
    """Check the arguments of `train` and gather them, without running anything.

    Raises:
        ValueError: an argument out of range, a rule that cannot run, or a run that does not fit in memory.
    """
    rule = resolve_rule(rule)
    check_trainable(rule)
    steps = check_count("steps", steps)
    chosen = sorted({check_count("snapshots", t, 0) for t in snapshots})
    if chosen and chosen[-1] > steps:
        raise ValueError(f"snapshots must be at most the number of steps ({steps}), got {chosen[-1]}; run longer.")
    settings = rule.settings(lr, **hyperparameters)
    _check_memory(problem, settings["lr"].size, steps, len(chosen), dtype, device)
    every = 1 if problem.task.batch is None else check_count("evaluate_every", evaluate_every)
    looked_at = np.unique(np.minimum(-(-recorded_steps(steps, record) // every) * every, steps))
    job = Request(
        problem=problem,
        rule=rule,
        settings=settings,
        steps=steps,
        schedule=resolve_schedule(schedule),
        record=looked_at,
        tolerance=check_interval("tolerance", tolerance, 0.0, 1.0, low_open=True, high_open=True),
        stop=stop and not chosen,
        snapshots=tuple(chosen),
        every=every,
        partition=problem.partition(partition),
        dtype=resolve_dtype(dtype),
        device=check_device(device),
        compile=bool(compile),
        clip=None if clip is None else check_interval("clip", clip, 0.0, low_open=True),
    )
    job.schedule.check(steps)
    check_settings(rule, settings, str(job.dtype).removeprefix("torch."))
    job = replace(job, engine=_choose_engine(engine, job))
    if compile:
        check_compile(job.device)
    return replace(job, compile=_is_compiled(job)) if compile is None else job


def _is_compiled(job: Request) -> bool:
    """Whether a job is compiled that does not say so: the steps on a GPU are worth it, and torch can compile there."""
    if job.device == "cpu" or job.engine != "stack":
        return False
    if job.shape[0] * job.shape[1] * job.steps * job.problem.tokens_per_step < _WORTH_COMPILING:
        return False
    reason = why_not_compiled(job.device)
    if reason is not None:
        _LOG.warning("training runs without torch.compile, which would be faster: %s", reason)
    return reason is None


def _choose_engine(engine: str, job: Request) -> str:
    """Return the name of the engine that trains; "auto" chooses the fused one where it can run the job.

    Raises:
        ValueError: an unknown engine, or the fused one where it cannot run the job.
    """
    check_choice("engine", engine, ("auto", *ENGINES))
    on_cpu = job.device == "cpu"
    if engine == "stack" or (engine == "auto" and on_cpu and job.dtype != torch.float32):
        return "stack"
    if on_cpu:
        reason = why_not_fused_on_a_cpu(job.problem)
    else:
        reason = why_not_fused(job.problem, job.rule, job.dtype, job.device)
        if job.snapshots:
            reason = "it keeps no snapshots"
        if job.tests:
            reason = "it evaluates no test data"
        if job.clip is not None:
            reason = "it does not clip gradients"
    if job.compile:
        reason = "torch.compile is asked for, which compiles the operations of the engine stack"
    if reason is None:
        return "fused"
    if engine == "fused":
        raise ValueError(f"engine must be auto or stack here, got 'fused' ({reason}); use engine auto.")
    return "stack"


def check_trainable(rule: Rule) -> None:
    """Check that a rule can run on models.

    Raises:
        ValueError: a rule that needs the curvature of blocks (L_l, mu_l).
    """
    used = {symbols.L_l, symbols.mu_l}
    expressions = (rule.step, *rule.update.values(), *rule.start.values())
    if any(e.free_symbols & used for e in expressions):
        raise ValueError(
            f"optimizer for a model must not need the curvature of blocks, got {rule.name}, whose formula has L_l or mu_l; "
            "use it on quadratics, or gd with a grid of rates here."
        )


def chunk_bytes(problem: ToyProblem, instances: int, dtype: torch.dtype | str, device: str) -> float:
    """Return an estimate of the bytes that `instances` instances need while they are trained.

    It counts data, parameters, states and the activations that a backward pass keeps. On a CPU, only as many instances count as
    run at the same time.
    """
    if device == "cpu":
        instances = min(instances, torch.get_num_threads() * most_at_once(problem))
    width = max(p.shape[-1] for p in problem.parameters)
    kept = _ARRAYS_ALIVE * problem.dimension + _ACTIVATIONS_ALIVE * problem.tokens_per_step * (width + problem.classes)
    return instances * (float(resolve_dtype(dtype).itemsize) * kept + problem.data_bytes)


def schedule_bytes(steps: int) -> float:
    """Return the bytes that the factors of a schedule of `steps` steps need while they are computed."""
    return 8.0 * _FACTORS_ALIVE * steps


def _check_memory(
    problem: ToyProblem, settings: int, steps: int, snapshots: int, dtype: torch.dtype | str, device: str
) -> None:
    """Check that a run fits in memory, before anything large is allocated.

    Raises:
        ValueError: the run needs more than the physical memory.
    """
    instances, available = problem.problems * settings, physical_memory()
    needed = schedule_bytes(steps) + 8.0 * _SNAPSHOTS_ALIVE * snapshots * instances * problem.dimension
    if device == "cpu":  # on a GPU as many instances go together as fit
        needed += chunk_bytes(problem, instances, dtype, device)
    if needed > available:
        raise ValueError(
            f"training must fit in memory ({memory_text(available)} here), got {instances:,} instances of "
            f"{problem.dimension:,} parameters, {steps:,} steps and {snapshots} snapshots, which need about "
            f"{memory_text(needed)}; use fewer of them."
        )


def most_at_once(problem: ToyProblem) -> int:
    """Return how many instances go together in a chunk on a CPU, at most."""
    return max(1, TOKENS_AT_ONCE // problem.tokens_per_step)
