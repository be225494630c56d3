"""Engines: implementations that run a rule on a batch of problems, behind one function `simulate`.

`closed-form` evaluates linear rules at any step directly, `fused` runs one generated kernel for all steps, `reference` runs one
step after the other in torch. Each engine is a module with `why_not(job)`, the reason why it cannot run a job, and `run(job)`.
"""

import importlib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.engines.job import Job, Outcome
from quadsim.simulator.engines.number_range import check_range
from quadsim.simulator.problems.oracles import FULL, Additive, Oracle, Stream, batch_of, resolve_oracle
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.catalogue import resolve_rule
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.schedules import Schedule, resolve_schedule
from quadsim.simulator.rules.settings_first import check_settings
from quadsim.simulator.runs.status import statuses_of
from quadsim.simulator.runs.trajectory import OBSERVABLES, Trajectory, recorded_steps
from quadsim.simulator.support.arrays import numbers_of
from quadsim.simulator.support.checks import check_choice, check_count, check_interval
from quadsim.simulator.support.devices import check_device, dtype_name
from quadsim.simulator.support.memory import memory_text, physical_memory
from quadsim.simulator.support.torch_modes import own_modes

if TYPE_CHECKING:
    import torch

__all__ = ["ENGINES", "Engine", "choose_engine", "grid", "prepare", "simulate", "simulate_optimizer"]


@dataclass(frozen=True)
class Engine:
    """An engine, whose module is imported when it is first asked: the reference engine needs torch.

    Attributes:
        module: name of a module of this package with the functions `why_not` and `run`.
    """

    module: str

    def why_not(self, job: Job) -> str | None:
        """Return the reason why it cannot run a job, as a clause for an error message; None if it can."""
        reason: str | None = self._loaded().why_not(job)
        return reason

    def run(self, job: Job) -> Outcome:
        """Run a job for which `why_not` is None."""
        outcome: Outcome = self._loaded().run(job)
        return outcome

    def _loaded(self) -> Any:
        return importlib.import_module(f"{__name__}.{self.module}")


ENGINES: Mapping[str, Engine] = {
    "closed-form": Engine("closed_form"),
    "fused": Engine("fused"),
    "reference": Engine("reference"),
}
"""Name of each engine to the engine, in the order in which the engine "auto" tries them."""


@own_modes()
def simulate(
    problem: BlockQuadratic,
    rule: Rule | str,
    *,
    lr: ArrayLike | None = None,
    steps: int,
    schedule: Schedule | str | None = None,
    record: str | int = "all",
    observe: Iterable[str] = ("gap",),
    tolerance: float = 1e-6,
    engine: str = "auto",
    dtype: "torch.dtype | str" = "float64",
    device: str = "cpu",
    oracle: Oracle | str | None = None,
    gradient_noise_std: float = 0.0,
    **hyperparameters: ArrayLike,
) -> Trajectory:
    """Run a rule on every problem of a batch under every setting.

    Args:
        problem: M problems.
        rule: a Rule or its name in RULES.
        lr: learning rate, a number or a sequence; may be left out for a rule that has a default.
        steps: number of steps.
        schedule: factors that multiply the learning rate, as `cosine:warmup=100`; None is constant.
        record: which steps are recorded: "all", "log" (20 per decade) or a number n for every n-th step. Step 0 and the last step
            are always recorded.
        observe: names from OBSERVABLES; the gap is always recorded.
        tolerance: a run has converged when its gap is at most this fraction of the gap at the start; in (0, 1).
        engine: "auto" (the first engine that can run the request), "closed-form", "fused" or "reference".
        dtype: "float64" or "float32", or the type of torch.
        device: "cpu", "cuda" or "cuda:N".
        oracle: what gradient the rule is given: `full` (the default), `additive:std=0.1` or `stream:batch=8:label_noise=0.1`
            (see `quadsim.simulator.problems.oracles`). Draws depend on (seed, problem, step, sample), so they are the same for
            all settings. The gap is always that of the iterate itself.
        gradient_noise_std: s, another form of `additive:std=s`.
        **hyperparameters: of the rule; numbers or sequences. Sequences, the learning rates included, have one common length
            K and are zipped; `grid` makes products.

    Returns:
        Trajectory with gap (M, K, R) by problem, setting and recorded step. A run that diverges has the status "diverged"; it
        raises no error.

    Raises:
        ValueError: an argument out of range, an engine that cannot run the rule, or numbers that the dtype cannot hold: a gap
            at the start that overflows or that times the tolerance is below the smallest normal number (also where it is 0
            though the error is not), or a setting that is rounded to an end its range excludes.

    Examples:
        >>> problem = BlockQuadratic.generate(heterogeneity=100, problems=2)
        >>> run = simulate(problem, "gd", lr=[0.01, 0.02], steps=1000, record="log")
        >>> run.gap.shape[:2], run.engine
        ((2, 2), 'closed-form')
    """
    job = prepare(
        problem, rule, lr=lr, steps=steps, schedule=schedule, record=record, observe=observe, tolerance=tolerance,
        dtype=dtype, device=device, oracle=_one_oracle(oracle, gradient_noise_std), **hyperparameters,
    )  # fmt: skip
    name = choose_engine(engine, job)
    return as_trajectory(job, ENGINES[name].run(job), job.rule.name, job.rule, name)


def simulate_optimizer(
    problem: BlockQuadratic,
    spec: OptimizerSpec,
    *,
    lr: ArrayLike,
    steps: int,
    engine: str = "auto",
    **arguments: Any,
) -> Trajectory:
    """Run what a spec names: a rule by `simulate`, a torch class by `baseline.simulate_torch`.

    Args:
        problem: M problems.
        spec: optimizer and hyperparameters.
        lr: learning rate, a number or a sequence (K,).
        steps: how many.
        engine: as in `simulate`; a torch class has its own and takes "auto" alone.
        **arguments: schedule (where the spec has none of its own), record, observe,
            tolerance, dtype, device and (of a rule) oracle, as in `simulate`.

    Raises:
        ValueError: an argument out of range, an engine that cannot run it, a class of which only the record is known, or a
            half-life in samples (`beta2_samples`) without a batch.
    """
    oracle = resolve_oracle(arguments.get("oracle"))
    if spec.schedule is not None:
        arguments["schedule"] = spec.schedule
    hyperparameters: dict[str, Any] = dict(spec.at_batch(batch_of(oracle)).hyperparameters)
    if isinstance(spec.optimizer, Rule):
        return simulate(problem, spec.optimizer, lr=lr, steps=steps, engine=engine, **arguments, **hyperparameters)
    if engine != "auto":
        raise ValueError(
            f"engine for the torch class {spec.optimizer.name} must be auto, got {engine!r}; use engine auto."
        )
    arguments.pop("oracle", None)
    if oracle != FULL:
        raise ValueError(f"oracle of a torch class must be full, got {oracle}; use a rule.")
    from quadsim.simulator.engines.baseline import simulate_torch

    options = spec.optimizer.options(hyperparameters)
    return simulate_torch(problem, spec.optimizer.check_loaded(), lr=lr, steps=steps, **arguments, **options)


def prepare(
    problem: BlockQuadratic,
    rule: Rule | str,
    *,
    lr: ArrayLike | None,
    steps: int,
    schedule: Schedule | str | None = None,
    record: str | int = "all",
    observe: Iterable[str] = ("gap",),
    tolerance: float = 1e-6,
    dtype: "torch.dtype | str" = "float64",
    device: str = "cpu",
    oracle: Oracle | str | None = None,
    **hyperparameters: ArrayLike,
) -> Job:
    """Return the arguments of `simulate`, checked, as a Job; nothing runs.

    Raises:
        ValueError: an argument out of range.
    """
    rule = resolve_rule(rule)
    steps = check_count("steps", steps)
    if isinstance(observe, str):
        observe = (observe,)
    settings = rule.settings(lr, **hyperparameters)
    _check_record(steps, record, problem.problems * settings["lr"].size)
    job = Job(
        problem=problem,
        rule=rule,
        settings=settings,
        steps=steps,
        schedule=resolve_schedule(schedule),
        record=recorded_steps(steps, record),
        observe=tuple(dict.fromkeys(check_choice("observe", name, OBSERVABLES) for name in observe)),
        tolerance=check_interval("tolerance", tolerance, 0.0, 1.0, low_open=True, high_open=True),
        dtype_name=dtype_name(dtype),
        device=check_device(device),
        oracle=resolve_oracle(oracle),
    )
    job.schedule.check(steps)
    if isinstance(job.oracle, Stream):
        job.oracle.check_dimension(problem.dimension)
    check_settings(rule, settings, job.dtype_name)
    check_range(problem, rule, job.tolerance, job.dtype_name)
    return job


def _one_oracle(oracle: Oracle | str | None, gradient_noise_std: float) -> Oracle:
    """Return the oracle that two arguments name.

    Raises:
        ValueError: a standard deviation below 0, or both.
    """
    std = check_interval("gradient_noise_std", gradient_noise_std, 0.0)
    if not std:
        return resolve_oracle(oracle)
    if oracle is not None:
        raise ValueError(
            f"oracle must not be given beside gradient_noise_std, got {oracle} and {std:g}; use oracle='additive:std={std:g}'."
        )
    return Additive(std)


def _check_record(steps: int, record: str | int, runs: int) -> None:
    """Check that the records of a run fit in memory, before they are allocated.

    Raises:
        ValueError: the records need more than the physical memory.
    """
    every = record if isinstance(record, int) and record >= 1 else 1
    needed = 8.0 * runs * (steps // every + 1)
    if record != "log" and needed > physical_memory():
        raise ValueError(
            f"record must fit in memory ({memory_text(physical_memory())} here), got record={record!r}, which needs "
            f'{memory_text(needed)}; use record="log" or a whole number of steps between records.'
        )


def as_trajectory(job: Job, outcome: Outcome, optimizer: str, rule: Rule | None, engine: str) -> Trajectory:
    """Return the Trajectory of a job: the status of every run, and gaps that are infinite from the divergence on.

    After its divergence a run may return below the tolerance by chance (or by overflow), so a hit that is not earlier than the
    divergence does not count. A NaN gap counts as divergence too.

    Args:
        job: the request that was run.
        outcome: the result of an engine.
        optimizer: the name to report.
        rule: the rule that was run; None for a torch optimizer.
        engine: the name of the engine.
    """
    gap = outcome.gap
    divergence = outcome.diverged
    if np.isnan(gap.max()):  # of inf - inf: that an engine notices it by itself is not relied on
        unknown = np.isnan(gap)
        first = np.where(unknown.any(axis=-1), job.record[unknown.argmax(axis=-1)], np.inf)
        divergence = np.minimum(divergence, first)
    diverged = np.isfinite(divergence)
    if diverged.any():
        gap[diverged] = np.where(job.record >= divergence[diverged][:, None], np.inf, gap[diverged])
    hit = np.where(outcome.hit >= divergence, np.inf, outcome.hit)
    stay = np.where(diverged, np.inf, outcome.stay)
    mean = np.where(outcome.mean >= divergence, np.inf, outcome.mean)
    status = statuses_of(np.isfinite(hit), diverged)
    return Trajectory(
        problem=job.problem,
        optimizer=optimizer,
        rule=rule,
        settings=job.settings,
        schedule=job.schedule,
        steps=job.record,
        gap=gap,
        steps_to_tolerance=hit,
        steps_to_stay=stay,
        steps_to_mean=mean,
        status=status,
        tolerance=job.tolerance,
        observed=outcome.observed,
        oracle=job.oracle,
        engine=engine,
        dtype=job.dtype_name,
        device=job.device,
    )


def grid(**axes: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Return all combinations of several settings, as sequences of one common length for `simulate`.

    Args:
        **axes: name of a setting to its values, a number or a sequence.

    Returns:
        Name to values, (K,), with K the product of the lengths; the last axis varies fastest.

    Examples:
        >>> {name: values.tolist() for name, values in grid(lr=[0.1, 0.2], beta1=[0.0, 0.9]).items()}
        {'lr': [0.1, 0.1, 0.2, 0.2], 'beta1': [0.0, 0.9, 0.0, 0.9]}
    """
    rows = list(itertools.product(*(np.atleast_1d(numbers_of(name, values)) for name, values in axes.items())))
    return {name: np.array([row[i] for row in rows]) for i, name in enumerate(axes)}


def choose_engine(engine: str, job: Job) -> str:
    """Return the name of the engine that runs a job; "auto" chooses the first one that can.

    Raises:
        ValueError: an unknown engine, or an engine that cannot run the job.
    """
    check_choice("engine", engine, ("auto", *ENGINES))
    if engine == "auto":  # one by one: asking an engine may load its libraries
        return next(name for name, one in ENGINES.items() if one.why_not(job) is None)
    if ENGINES[engine].why_not(job) is not None:
        reasons = {name: one.why_not(job) for name, one in ENGINES.items()}
        usable = [name for name, reason in reasons.items() if reason is None]
        raise ValueError(
            f"engine for {job.rule.name} must be one of {', '.join(['auto', *usable])} here, got {engine!r} ({reasons[engine]}); "
            f"use engine {usable[0]}."
        )
    return engine
