"""Train toy models (`train`): one rule, all problems and settings at once, as a stack of instances.

An *instance* is one problem under one setting. Instances are split into chunks; every chunk runs by itself, on a CPU in a
thread of its own. Within a chunk, steps run in stretches without a decision in between; after a stretch, instances that have
converged or diverged are dropped (`Stepper.select`), so that late steps cost less.

On a CPU the losses of an instance have the same bits whatever else is in its chunk: a chunk holds only
instances with equally many sequences, so none is padded to the length of another.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.engines.stacks.cpu_run import why_not as why_not_fused_on_a_cpu
from quadsim.simulator.engines.stacks.run import FusedSteps
from quadsim.simulator.engines.stacks.run import instances_that_fit as instances_that_fit_fused
from quadsim.simulator.engines.stacks.run import why_not as why_not_fused
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.rules.catalogue import resolve_rule
from quadsim.simulator.rules.functions import symbols
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.schedules import Schedule, resolve_schedule
from quadsim.simulator.rules.settings_first import check_settings
from quadsim.simulator.runs.status import statuses_of
from quadsim.simulator.runs.training_run import DIVERGED_ABOVE, Snapshots, TrainingRun
from quadsim.simulator.runs.trajectory import recorded_steps
from quadsim.simulator.support.checks import check_choice, check_count, check_interval
from quadsim.simulator.support.devices import check_device, resolve_dtype
from quadsim.simulator.support.memory import memory_text, physical_memory
from quadsim.simulator.support.threads import in_threads, own_threads
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.simulator.training.stepping import (
    Stepper,
    check_compile,
    instances_that_fit,
    together,
    why_not_compiled,
)

__all__ = ["check_trainable", "chunk_bytes", "schedule_bytes", "train"]

ENGINES = ("fused", "stack")

_LOG = logging.getLogger("quadsim")

TOKENS_AT_ONCE = 16_000
"""Tokens of all instances of a chunk on a CPU: more do not fit in its caches; with fewer, Python takes most of the time."""

# Estimates of memory, in arrays that exist at the same time.
_ARRAYS_ALIVE = 12  # arrays of the size of the parameters, in a step
_ACTIVATIONS_ALIVE = 40  # arrays of the size of one activation, between the forward and the backward pass
_FACTORS_ALIVE = 5  # arrays of the schedule, while its factors are computed
_SNAPSHOTS_ALIVE = 3  # parameters, gradient and update
_STRETCH = 8  # steps between two checks for instances that have finished
_WORTH_COMPILING = 1 << 25  # tokens of all instances in all steps: as single operations they take a second on a GPU


@own_modes()
def train(
    problem: ToyProblem,
    rule: Rule | str,
    *,
    lr: ArrayLike | None = None,
    steps: int,
    schedule: Schedule | str | None = None,
    record: str | int = "log",
    tolerance: float = 0.1,
    stop: bool = True,
    snapshots: Iterable[int] = (),
    evaluate_every: int = 10,
    partition: str = "module",
    dtype: torch.dtype | str = torch.float32,
    device: str = "cpu",
    compile: bool | None = None,
    engine: str = "auto",
    clip: float | None = None,
    **hyperparameters: ArrayLike,
) -> TrainingRun:
    """Train every problem of a batch under every setting.

    On a CPU the result of an instance (a problem under a setting) has the same bits whatever other instances run.

    Args:
        problem: M problems.
        rule: a Rule or its name in RULES. A rule that needs the curvature of blocks (L_l, mu_l) is refused.
        lr: learning rate, a number or a sequence.
        steps: largest number of steps.
        schedule: factors that multiply the learning rate, as `cosine:warmup=100`; None is constant.
        record: which steps are recorded: "all", "log" (20 per decade) or a number n for every n-th step. Step 0 and the last step
            are always recorded.
        tolerance: a run has converged when its loss is at most this times ln(classes), the loss of a uniform guess; in (0, 1).
        stop: whether a run ends once both its losses (unweighted and optimised) have reached that target. Whether it would have
            stayed there is then not known (`steps_to_stay` is NaN); with False every run goes on to the last step.
        snapshots: steps at which parameters, gradient and update are stored; if there are any, no run stops early.
        evaluate_every: with mini-batches, the losses on all data are evaluated at every step that is a multiple of this.
        partition: name of the partition into blocks, for a rule that averages over its block (adam-mini, lamb).
        dtype: torch.float32 or torch.float64.
        device: "cpu", "cuda" or "cuda:N".
        compile: whether torch.compile fuses the operations of a step. Compiling takes some ten seconds, once for a model, task
            and rule: the code is kept in the cache folder. None: on a GPU, for long runs of the engine stack.
        engine: "auto" (fused where it can run the request; on a CPU in float32 alone), "fused" (one generated GPU kernel takes
            many steps in a launch; on a CPU one kernel computes the gradients of a step) or "stack" (operations of torch).
        clip: largest norm of the gradient of an instance (all its parameters together); a longer one is scaled down to it before
            any rule sees it, as by torch.nn.utils.clip_grad_norm_. None: gradients are not clipped.
        **hyperparameters: of the rule; see `simulate`.

    Returns:
        TrainingRun with loss (M, K, R) by problem, setting and recorded step. If the task has test data, test loss and accuracy
        are recorded at the same steps.

    Raises:
        ValueError: an argument out of range, a rule that cannot run, or a run that does not fit in memory.

    Examples:
        >>> from quadsim.simulator.models.mlp import MLP
        >>> toys = ToyProblem.generate(MLP(width=8), "token-map", heterogeneity=[1, 10], problems=2)
        >>> train(toys, "adam", lr=[0.01, 0.1], steps=20).final_loss.shape
        (4, 2)
    """
    job = _prepare(
        problem, rule, lr=lr, steps=steps, schedule=schedule, record=record, tolerance=tolerance, stop=stop,
        snapshots=snapshots, evaluate_every=evaluate_every, partition=partition, dtype=dtype, device=device,
        compile=compile, engine=engine, clip=clip, **hyperparameters,
    )  # fmt: skip
    return _gather(job, _in_chunks(job))


def _prepare(
    problem: ToyProblem, rule: Rule | str, *, lr: ArrayLike | None, steps: int, schedule: Schedule | str | None,
    record: str | int, tolerance: float, stop: bool, snapshots: Iterable[int], evaluate_every: int, partition: str,
    dtype: torch.dtype | str, device: str, compile: bool | None, engine: str, clip: float | None,
    **hyperparameters: ArrayLike,
) -> "_Job":  # fmt: skip
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
    job = _Job(
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


def _is_compiled(job: "_Job") -> bool:
    """Whether a job is compiled that does not say so: the steps on a GPU are worth it, and torch can compile there."""
    if job.device == "cpu" or job.engine != "stack":
        return False
    if job.shape[0] * job.shape[1] * job.steps * job.problem.tokens_per_step < _WORTH_COMPILING:
        return False
    reason = why_not_compiled(job.device)
    if reason is not None:
        _LOG.warning("training runs without torch.compile, which would be faster: %s", reason)
    return reason is None


def _choose_engine(engine: str, job: "_Job") -> str:
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
        instances = min(instances, torch.get_num_threads() * _most_at_once(problem))
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


def _most_at_once(problem: ToyProblem) -> int:
    return max(1, TOKENS_AT_ONCE // problem.tokens_per_step)


@dataclass(frozen=True, eq=False)
class _Job:
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
        return self.tolerance * self.problem.guess_loss

    @property
    def tests(self) -> bool:
        """Whether there are test data."""
        return self.problem.test_data is not None

    @cached_property
    def factors(self) -> NDArray[np.float64]:
        """The schedule's factors of the learning rate, (steps,)."""
        return self.schedule.factors(self.steps)


class _Found:
    """The results of E instances so far. The first axis of a pair is (unweighted loss, optimised loss).

    Attributes:
        losses: losses at recorded steps, (2, E, R); NaN where not reached yet.
        hit: first step with a loss within the tolerance, (2, E); `inf` if there is none.
        diverged: first step with a loss above the limit of divergence or NaN, (E,); `inf` if there is none.
        stopped: last step that the instance ran, (E,).
        last: losses at that step, (2, E).
        snapshots: parameters, gradient and update at the steps of the snapshots, (3, E, steps, P).
        tests: loss and accuracy on the test data at recorded steps, (2, E, R); NaN where not reached, or without test data.
    """

    def __init__(self, job: _Job, instances: int) -> None:
        self._job = job
        self.hit = np.full((2, instances), np.inf)
        self.stay = np.full((2, instances), np.inf)
        self.diverged = np.full(instances, np.inf)
        self.stopped = np.full(instances, job.steps)
        self.last = np.full((2, instances), np.inf)
        self.snapshots = np.full((3, instances, len(job.snapshots), job.problem.dimension), np.nan)
        self.tests = np.full((2, instances, job.record.size if job.tests else 0), np.nan)
        self._limit = np.full((2, instances), np.inf)
        self._place = {int(step): r for r, step in enumerate(job.record)}

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        # Made when the first losses arrive: on a GPU, the first steps run while this memory is filled.
        return np.full((2, self.stopped.size, self._job.record.size), np.nan)

    def see(self, t: int, at: NDArray[np.int64], losses: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Add the losses at steps t, t + 1, ...; those after the step at which an instance ends do not count.

        Args:
            t: the first step.
            at: indices of the instances.
            losses: their losses, (steps, 2, instances).

        Returns:
            Whether each of the instances continues, (instances,).
        """
        if t == 0:
            scale = np.maximum(losses[0], self._job.problem.guess_loss)
            self._limit[:, at] = np.where(np.isfinite(scale), DIVERGED_ABOVE * scale, 0.0)
        ended = np.zeros(at.size, dtype=bool)
        # Most instances neither reach the target nor diverge in a stretch: two passes over the losses tell them from the rest.
        above = (losses.min(axis=0) > self._job.target) & (losses.max(axis=0) <= self._limit[:, at])
        plain = above.all(axis=0)
        if plain.all():
            self._add(t, at, losses)
        elif plain.any():
            self._add(t, at[plain], losses[:, :, plain])
        if not plain.all():
            ended[~plain] = self._judge(t, at[~plain], losses[:, :, ~plain])
        return ~ended

    def _add(self, t: int, at: NDArray[np.int64], losses: NDArray[np.float64]) -> None:
        """Add losses of instances of which none ends and none reaches the target."""
        self.stay[:, at] = np.inf
        self.last[:, at] = losses[-1]
        self._record(t, at, losses)

    def _record(self, t: int, at: NDArray[np.int64], losses: NDArray[np.float64]) -> None:
        """Store the losses of the recorded steps among t, t + 1, ..."""
        first, end = np.searchsorted(self._job.record, [t, t + losses.shape[0]])
        if first < end:
            rows = self._job.record[first:end] - t
            seen = losses if rows.size == losses.shape[0] else losses[rows]
            where = slice(None) if at.size == self.losses.shape[1] else at
            self.losses[:, where, first:end] = seen.transpose(1, 2, 0)

    def _judge(self, t: int, at: NDArray[np.int64], losses: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Add losses of instances of which some end or reach the target, and return whether each one ends."""
        lost = ~np.all(losses <= self._limit[:, at], axis=1)
        within = (losses <= self._job.target) & ~lost[:, None]
        ends = lost
        if self._job.stop:
            reached = np.logical_or.accumulate(within, axis=0) | np.isfinite(self.hit[:, at])
            ends = lost | np.all(reached, axis=1)
        ended, number = ends.any(axis=0), losses.shape[0]
        final = np.where(ended, ends.argmax(axis=0), number - 1)  # last step that counts
        counts = np.arange(number)[:, None] <= final
        self.hit[:, at] = np.minimum(self.hit[:, at], _first(within & counts[:, None], t))
        self.diverged[at] = np.minimum(self.diverged[at], _first(lost & counts, t))
        outside = (~within & counts[:, None])[::-1]
        last = np.where(
            outside.any(axis=0), number - 1 - outside.argmax(axis=0), -1
        )  # last step with a loss above the target
        stay = np.where(last < 0, np.minimum(self.stay[:, at], t), t + last + 1.0)
        self.stay[:, at] = np.where(last == final, np.inf, stay)
        each = np.arange(at.size)
        self.last[:, at] = np.where(lost[final, each], np.inf, losses[final, :, each].T)
        self._record(t, at, np.where(counts[:, None], losses, np.nan))
        self.stopped[at[ended]] = t + final[ended]
        return np.asarray(ended)

    def test(self, t: int, at: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Add loss and accuracy on the test data, (2, instances), of the instances `at` at a recorded step."""
        self.tests[:, at, self._place[t]] = values


def _first(true: NDArray[np.bool_], t: int) -> NDArray[np.float64]:
    """Return t plus the first index along the first axis that is true; `inf` if there is none."""
    return np.where(true.any(axis=0), t + true.argmax(axis=0), np.inf)


def _in_chunks(job: _Job) -> _Found:
    """Run all instances in chunks. Instances are ordered by problem and then setting (the setting varies fastest)."""
    total = job.shape[0] * job.shape[1]
    found = _Found(job, total)
    if job.device != "cpu":
        fit = (
            instances_that_fit_fused(job.problem, len(job.rule.states), job.device)
            if job.engine == "fused"
            else _fit(job)
        )
        for chunk in np.array_split(np.arange(total), -(-total // min(total, fit))):
            _run(job, chunk, found)
        return found
    workers = torch.get_num_threads()
    most = min(_most_at_once(job.problem), -(-total // workers))
    chunks = []
    # A chunk holds only instances with equally many sequences. Padding an instance to the length of another would change the
    # order of its sums, and with it the last bits of its losses.
    sequences = np.repeat(job.problem.sequences, job.shape[1])
    for number in np.unique(sequences):
        alike = np.flatnonzero(sequences == number)
        chunks += np.array_split(alike, -(-alike.size // most))
    _ = (
        job.factors,
        job.problem.start,
        job.problem.weights,
        job.problem.test_data,
        found.losses,
    )  # computed here once, not in every thread
    with own_threads():
        in_threads(lambda chunk: _run(job, chunk, found), chunks)
    return found


def _fit(job: _Job) -> int:
    return instances_that_fit(job.problem, job.dtype, job.device, len(job.rule.states))


class _Chunk:
    """The instances of a chunk that have not been dropped, and the stretches whose losses are not judged yet.

    Attributes:
        alive: indices of the instances.
    """

    def __init__(self, found: _Found, instances: NDArray[np.int64]) -> None:
        self._found, self.alive = found, instances
        self._going = np.zeros(found.stopped.size, dtype=bool)
        self._going[instances] = True
        self._waiting: list[tuple[int, NDArray[np.int64], Callable[[], NDArray[np.float64]]]] = []

    @property
    def going(self) -> NDArray[np.bool_]:
        """Whether each of the instances that have not been dropped continues."""
        return self._going[self.alive]

    def add(self, t: int, read: Callable[[], NDArray[np.float64]]) -> None:
        """Add the losses of a stretch of all that are alive; `read` waits for those at steps t, t + 1, ..., (steps, 2, alive)."""
        self._waiting.append((t, self.alive, read))

    def judge(self, *, but: int = 0) -> int:
        """Judge what was added, except for the last `but` stretches, and return how many instances continue."""
        while len(self._waiting) > but:
            t, at, read = self._waiting.pop(0)
            losses, left = read(), self._going[at]
            self._going[at[left]] = self._found.see(t, at[left], losses if left.all() else losses[:, :, left])
        return int(self.going.sum())

    def drop(self) -> NDArray[np.int64]:
        """Drop the instances that have ended, and return the positions of the others."""
        going = self.going
        self.alive = self.alive[going]
        return np.flatnonzero(going)


def _run(job: _Job, instances: NDArray[np.int64], found: _Found) -> None:
    """Run the instances of a chunk and write their results to `found`."""
    problems, settings = np.divmod(instances, job.shape[1])
    stepper = _stepper(job, problems, settings, _STRETCH if job.problem.task.batch is None else together(job.every))
    _take_steps(job, _Chunk(found, instances), stepper, found)
    if isinstance(stepper, Stepper):
        stepper.keep()


def _take_steps(job: _Job, chunk: _Chunk, stepper: Stepper | FusedSteps, found: _Found) -> None:
    """Take all steps of a chunk and judge their losses.

    Two cases. Without mini-batches every step evaluates the losses on all data anyway, so they come with the stretch (`losses`).
    With mini-batches the losses on all data are extra work, done every `job.every` steps (`stepper.look`), and stretches end
    there.

    On a GPU the next stretch is launched before the losses of the last one are judged: instances that have ended take some steps
    more, which do not count.
    """
    every_step = job.problem.task.batch is None  # no mini-batches: the losses of a step are the losses on all data
    tested = set(job.record.tolist()) if job.tests else set()
    ahead = int(job.device != "cpu")
    t = 0
    while True:
        kept = t in job.snapshots
        if (kept or t == job.steps) if every_step else (t % job.every == 0 or t == job.steps):
            chunk.add(t, _one_step(stepper.look()))
        if (kept or t in tested or t == job.steps or not every_step) and not chunk.judge():
            return
        if t in tested:
            assert isinstance(stepper, Stepper)
            found.test(t, chunk.alive[chunk.going], stepper.test()[:, chunk.going])
        if kept:
            _keep(job, t, chunk, stepper, found)
        if t == job.steps:
            return
        if kept:
            t += 1
            continue
        stops = [step for step in (*job.snapshots, *tested) if step > t]
        end = min(t + stepper.longest, job.steps, *stops)
        if not every_step:
            end = min(end, (t // job.every + 1) * job.every)
        losses = stepper.stretch(t, job.factors[t:end])
        if every_step:
            chunk.add(t, losses)
        t = end
        left = chunk.judge(but=ahead)
        if not left:
            return
        if stepper.worth_dropping(left):
            stepper.select(chunk.drop())


def _one_step(look: Callable[[], NDArray[np.float64]]) -> Callable[[], NDArray[np.float64]]:
    """Return what reads the losses of one step, (2, E), as those of a stretch, (1, 2, E)."""
    return lambda: look()[None]


def _keep(job: _Job, t: int, chunk: _Chunk, stepper: Stepper | FusedSteps, found: _Found) -> None:
    """Take step t and write its snapshot to `found`."""
    assert isinstance(stepper, Stepper)
    kept = stepper.kept_step(t, float(job.factors[min(t, job.steps - 1)]))
    for i, values in enumerate(kept):
        own = values.double().cpu().numpy()[chunk.going]
        found.snapshots[i, chunk.alive[chunk.going], job.snapshots.index(t)] = own


def _stepper(job: _Job, which: NDArray[np.int64], setting: NDArray[np.int64], length: int) -> Stepper | FusedSteps:
    """Return what takes the steps of the instances with these problems and settings, `length` steps without a decision."""
    if job.engine == "fused" and job.device != "cpu":
        return FusedSteps(job.problem, which, job.rule, job.settings, setting, job.device)
    make = Stepper if job.device == "cpu" else Stepper.of
    return make(
        job.problem,
        which,
        job.rule,
        {name: values[setting] for name, values in job.settings.items()},
        job.partition,
        stretch=length,
        dtype=job.dtype,
        device=job.device,
        compile=job.compile,
        clip=job.clip,
        fused=job.engine == "fused",
    )


def _gather(job: _Job, found: _Found) -> TrainingRun:
    """Return the TrainingRun: statuses, and losses that are infinite from the divergence on."""
    diverged = np.isfinite(found.diverged)
    losses, tests, lost = found.losses, found.tests, np.flatnonzero(diverged)
    after = job.record >= found.diverged[lost, None]
    losses[:, lost] = np.where(after, np.inf, losses[:, lost])
    if job.tests:
        tests[:, lost] = np.where(after, np.nan, tests[:, lost])
    hit = np.where(found.hit >= found.diverged, np.inf, found.hit)
    stay = np.where(diverged, np.inf, np.where(found.stopped < job.steps, np.nan, found.stay))
    status = statuses_of(np.isfinite(hit[0]), diverged)

    def to_shape(x: NDArray[Any]) -> NDArray[Any]:
        return x.reshape(*job.shape, *x.shape[1:])

    kept = [to_shape(x) for x in found.snapshots]
    return TrainingRun(
        problem=job.problem,
        optimizer=job.rule.name,
        rule=job.rule,
        settings=job.settings,
        schedule=job.schedule,
        steps=job.record,
        loss=to_shape(losses[0]),
        loss_weighted=to_shape(losses[1]),
        steps_to_tolerance=to_shape(hit[0]),
        steps_to_tolerance_weighted=to_shape(hit[1]),
        steps_to_stay=to_shape(stay[0]),
        steps_to_stay_weighted=to_shape(stay[1]),
        status=to_shape(status),
        stopped=to_shape(found.stopped),
        final_loss=to_shape(found.last[0]),
        final_loss_weighted=to_shape(found.last[1]),
        tolerance=job.tolerance,
        test_loss=to_shape(tests[0]) if job.tests else None,
        test_accuracy=to_shape(tests[1]) if job.tests else None,
        clip=job.clip,
        evaluated_every=job.every,
        snapshots=Snapshots(np.array(job.snapshots), kept[0], kept[1], kept[2]) if job.snapshots else None,
        dtype=str(job.dtype).removeprefix("torch."),
        device=job.device,
        engine=job.engine,
    )
