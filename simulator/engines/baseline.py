"""Run any torch.optim class on quadratics: all runs in one optimizer object where the class allows it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from quadsim.simulator.engines import as_trajectory
from quadsim.simulator.engines.job import Job, Outcome
from quadsim.simulator.engines.number_range import check_range
from quadsim.simulator.engines.observables import OF_STEPS, Observer
from quadsim.simulator.engines.reference import Follower, Product, threads_for
from quadsim.simulator.problems.coupling import inner_sizes
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import LEARNING_RATE
from quadsim.simulator.rules.schedules import Schedule, resolve_schedule
from quadsim.simulator.rules.torch_classes import check_optimizer
from quadsim.simulator.runs.trajectory import OBSERVABLES, Trajectory, recorded_steps
from quadsim.simulator.support.checks import check_choice, check_count, check_interval
from quadsim.simulator.support.devices import check_device, dtype_name
from quadsim.simulator.support.torch_modes import own_modes

__all__ = ["ARRANGEMENTS", "simulate_torch"]

ARRANGEMENTS = ("elementwise", "block by block", "run by run")
"""How runs share optimizer objects, the fastest first. `elementwise`: one object, one parameter for every learning rate, which
holds all problems; right for a class that treats every coordinate alone. `block by block`: one object, in which every block of
every problem is a parameter; right for a class that treats every parameter alone. `run by run`: an object for every problem
and learning rate, as a user has it, and right for all."""

_PROBED_STEPS = 10
_Make = Callable[..., torch.optim.Optimizer]


@own_modes()
def simulate_torch(
    problem: BlockQuadratic,
    optimizer: Callable[..., torch.optim.Optimizer],
    *,
    lr: ArrayLike,
    steps: int,
    schedule: Schedule | str | None = None,
    record: str | int = "all",
    observe: Iterable[str] = ("gap",),
    tolerance: float = 1e-6,
    dtype: torch.dtype | str = "float64",
    device: str = "cpu",
    **options: Any,
) -> Trajectory:
    """Run a class of torch.optim on every problem of a batch under every learning rate.

    The parameters are the iterates e + w*, the gradients H e. All runs step together in one optimizer object where a trial
    shows that the class acts on every coordinate, or on every parameter, alone: in the trial and in the first steps of
    two problems it must do what objects of their own do, else every run gets its own. `Trajectory.engine` says which
    (`torch, elementwise` and so on; see ARRANGEMENTS).

    Args:
        problem: M problems.
        optimizer: a class whose `step` needs no closure, or a callable that makes one from parameters and `lr`, as
            `functools.partial(torch.optim.SGD, momentum=0.9)`.
        lr: learning rate, a number or a sequence (K,).
        steps: number of steps.
        schedule: as in `simulate`; it sets the `lr` of the parameter groups before every step.
        record: as in `simulate`.
        observe: as in `simulate`, without those of steps, step_sign_cosine and step_sign_stride.
        tolerance: as in `simulate`.
        dtype: as in `simulate`.
        device: as in `simulate`.
        **options: further arguments of the class, passed unchanged, as `betas=(0.9, 0.99)`.

    Returns:
        Trajectory with `rule` None and the name of the class that ran as `optimizer`.

    Raises:
        ValueError: an argument out of range, or a start whose gaps the dtype cannot hold (see `simulate`).
    """
    steps = check_count("steps", steps)
    job = Job(
        problem=problem,
        rule=RULES["gd"],  # not run: an outcome needs settings, not a rule
        settings={"lr": LEARNING_RATE.check("lr", lr)},
        steps=steps,
        schedule=resolve_schedule(schedule),
        record=recorded_steps(steps, record),
        observe=_observable(observe),
        tolerance=check_interval("tolerance", tolerance, 0.0, 1.0, low_open=True, high_open=True),
        dtype_name=dtype_name(dtype),
        device=check_device(device),
    )
    job.schedule.check(steps)
    check_range(problem, None, job.tolerance, job.dtype_name)
    name = check_optimizer(optimizer, float(job.settings["lr"][0]), options, job.dtype, job.device)

    def make(parameters: Any, lr: float) -> torch.optim.Optimizer:
        return optimizer(parameters, lr=lr, **options)

    with threads_for(job):
        arrangement = _arrangement(job, make)
        outcome = _run(job, make, arrangement)
    return as_trajectory(job, outcome, name, None, f"torch, {arrangement}")


def _observable(names: Iterable[str]) -> tuple[str, ...]:
    """What is to be observed: of a class from torch the step is not known before it is taken.

    Raises:
        ValueError: something else.
    """
    allowed = [name for name in OBSERVABLES if name not in OF_STEPS]
    return tuple(check_choice("observe", name, allowed) for name in ((names,) if isinstance(names, str) else names))


# Runs. Iterates and gradients of all are one tensor (K, M, P) each, and the parameters of the optimizers are views of it, so that
# nothing is gathered or copied between a step and the next gradient. The coordinates are in the order of the layout's groups.


def _run(job: Job, make: _Make, arrangement: str) -> Outcome:
    quadratics, observer = _Quadratics(job), Observer(job.problem)
    iterate = quadratics.start()
    stepper = _Stepper(arrangement, make, job.settings["lr"], iterate, quadratics.blocks)
    follow = Follower(job.problem.problems, job.number_of_settings, job)
    observed: dict[str, list[np.ndarray]] = {name: [] for name in job.observe if name != "gap"}
    recorded, factors = set(job.record.tolist()), job.schedule.factors(job.steps)
    for t in range(job.steps + 1):
        error, gradient = quadratics.parts(iterate)
        follow.see(t, sum((error[size] * g).sum(dim=(1, 2)) for size, g in gradient.items()))
        if t in recorded:
            for name, values in observed.items():
                values.append(observer(name, error, gradient, None))
        if t < job.steps:
            quadratics.flatten(gradient, stepper.gradient)
            stepper.step(float(factors[t]))
    return Outcome(
        follow.gap,
        follow.hit,
        follow.stay,
        follow.mean,
        follow.diverged,
        {name: np.stack(values, axis=2) for name, values in observed.items()},
    )


class _Quadratics:
    """Gradients of the problems of a job at iterates (K, M, P)."""

    def __init__(self, job: Job) -> None:
        problem = job.problem
        self._start, self._settings = problem.initial_error, job.number_of_settings
        self._problems = problem.problems

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.array(array)).to(device=job.device, dtype=job.dtype)

        groups = problem.layout.groups
        self._product = {size: Product(tensor(problem.hessian[size])) for size in groups}
        self._center = self._joined({size: tensor(problem.minimizer[size]) for size in groups})
        self._error = self._joined({size: tensor(problem.initial_error[size]) for size in groups})
        ends = np.cumsum([size * members.size for size, members in groups.items()])
        self._spans = {
            size: slice(int(end) - size * members.size, int(end))
            for (size, members), end in zip(groups.items(), ends, strict=True)
        }
        inside = inner_sizes(problem.rule_blocks, problem.layout)  # a tensor of parameters is a block of rules
        sizes = [size for members in groups.values() for block in members for size in inside[block]]
        self.blocks = [slice(int(end) - size, int(end)) for end, size in zip(np.cumsum(sizes), sizes, strict=True)]

    def _joined(self, parts: Mapping[int, torch.Tensor]) -> torch.Tensor:
        return torch.cat([part.reshape(self._problems, -1) for part in parts.values()], dim=1)

    def start(self) -> torch.Tensor:
        """Iterates before the first step, (K, M, P)."""
        return (self._error + self._center).repeat(self._settings, 1, 1)

    def parts(self, iterate: torch.Tensor) -> tuple[dict[int, torch.Tensor], dict[int, torch.Tensor]]:
        """Errors and gradients by block size, (M, B_size, P_l, K) each."""
        whole = iterate - self._center
        error = {size: _by_block(whole[:, :, span], size).permute(1, 2, 3, 0) for size, span in self._spans.items()}
        return error, {size: self._product[size](e) for size, e in error.items()}

    def flatten(self, parts: Mapping[int, torch.Tensor], out: torch.Tensor) -> None:
        """Parts by block size into (K, M, P)."""
        for size, span in self._spans.items():
            _by_block(out[:, :, span], size).copy_(parts[size].permute(3, 0, 1, 2))


def _by_block(part: torch.Tensor, size: int) -> torch.Tensor:
    """(K, M, B_size P_l) as (K, M, B_size, P_l), without a copy."""
    return part.view(*part.shape[:2], -1, size)


class _Stepper:
    """Optimizers whose parameters are views of all iterates (K, M, P).

    Args:
        arrangement: one of ARRANGEMENTS.
        make: makes an optimizer from parameters (or groups of them) and `lr`.
        rates: learning rates, (K,).
        iterate: moved by every step.
        blocks: where the blocks lie along the last axis.
    """

    def __init__(
        self, arrangement: str, make: _Make, rates: np.ndarray, iterate: torch.Tensor, blocks: list[slice]
    ) -> None:
        self.gradient = torch.zeros_like(iterate)
        settings, problems = range(iterate.shape[0]), range(iterate.shape[1])
        self._views: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

        def parameters(k: int, chosen: Iterable[int]) -> list[torch.Tensor]:
            whole = arrangement == "elementwise"
            where: list[Any] = [k] if whole else [(k, m, block) for m in chosen for block in blocks]
            out = []
            for at in where:
                view, gradient = (x[at].view(-1) for x in (iterate, self.gradient))
                out.append(view.detach().requires_grad_())
                self._views.append((out[-1], view, gradient))
            return out

        if arrangement == "run by run":
            self._optimizers = [make(parameters(k, [m]), float(rates[k])) for k in settings for m in problems]
        else:
            groups = [{"params": parameters(k, problems), "lr": float(rates[k])} for k in settings]
            self._optimizers = [make(groups, float(rates[0]))]
        self._rates = [
            (group, group["lr"]) for optimizer in self._optimizers for group in optimizer.param_groups if "lr" in group
        ]
        self._factor = 1.0

    def step(self, factor: float) -> None:
        """Take a step along the present gradients."""
        if factor != self._factor:
            self._factor = factor
            for group, rate in self._rates:
                group["lr"] = rate * factor
        for parameter, _, gradient in self._views:
            parameter.grad = gradient
        for optimizer in self._optimizers:
            optimizer.step()
        for parameter, view, _ in self._views:
            if parameter.data_ptr() != view.data_ptr():  # the class put another tensor in its place
                view.copy_(parameter.detach())
                parameter.data = view


# Which arrangement.


def _arrangement(job: Job, make: _Make) -> str:
    """The fastest arrangement that does what an optimizer for every run does."""
    *shared, alone = ARRANGEMENTS
    if job.problem.problems * job.number_of_settings == 1:
        return alone
    ends = sorted({0, job.number_of_settings - 1})
    few = Job(
        problem=job.problem.select(sorted({0, job.problem.problems - 1})),
        rule=job.rule,
        settings={"lr": job.settings["lr"][ends]},
        steps=min(job.steps, _PROBED_STEPS),
        schedule=Schedule(),
        record=recorded_steps(min(job.steps, _PROBED_STEPS), "all"),
        observe=(),
        tolerance=job.tolerance,
        dtype_name=job.dtype_name,
        device=job.device,
    )
    expected = [_drawn(few, make, alone), _run(few, make, alone).gap]
    for arrangement in shared:
        try:
            found = [_drawn(few, make, arrangement), _run(few, make, arrangement).gap]
        except Exception:  # whatever a class of somebody else's raises where its parameters come in groups
            continue
        rtol = 1e-12 if job.dtype == torch.float64 else 1e-5
        pairs = zip(found, expected, strict=True)
        if all(np.allclose(ours, theirs, rtol=rtol, atol=0.0, equal_nan=True) for ours, theirs in pairs):
            return arrangement
    return alone


def _drawn(job: Job, make: _Make, arrangement: str) -> np.ndarray:
    """Iterates (T, K, M, P) on drawn gradients, some huge and some tiny: what couples coordinates, such as a norm, shows."""
    rng = np.random.default_rng(0)
    problems, rates, blocks = 2, job.settings["lr"], [slice(0, 3), slice(3, 4), slice(4, 6)]
    shape = (rates.size, problems, blocks[-1].stop)
    scales = 10.0 ** rng.uniform(-8.0, 4.0, (_PROBED_STEPS, rates.size, problems, 1))
    gradients = rng.standard_normal((_PROBED_STEPS, *shape)) * scales
    iterate = torch.from_numpy(rng.standard_normal(shape)).to(device=job.device, dtype=job.dtype)
    stepper = _Stepper(arrangement, make, rates, iterate, blocks)
    seen = []
    for gradient in gradients:
        stepper.gradient.copy_(torch.from_numpy(gradient))
        stepper.step(1.0)
        seen.append(iterate.double().cpu().numpy().copy())  # what a tensor of the CPU would share
    return np.stack(seen)
