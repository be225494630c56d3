"""Run any torch.optim class on quadratics, for comparison: one optimizer object per problem and setting."""

from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from quadsim.simulator.engines import as_trajectory
from quadsim.simulator.engines.job import Job, Outcome
from quadsim.simulator.engines.number_range import check_range
from quadsim.simulator.engines.observables import Observer
from quadsim.simulator.engines.reference import Follower
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import LEARNING_RATE
from quadsim.simulator.rules.schedules import Schedule
from quadsim.simulator.runs.trajectory import OBSERVABLES, Trajectory, recorded_steps
from quadsim.simulator.support.checks import check_choice, check_count, check_interval
from quadsim.simulator.support.devices import check_device, resolve_dtype
from quadsim.simulator.support.torch_modes import own_modes

__all__ = ["simulate_torch"]


@own_modes()
def simulate_torch(
    problem: BlockQuadratic,
    optimizer: Callable[..., torch.optim.Optimizer],
    *,
    lr: ArrayLike,
    steps: int,
    record: str | int = "all",
    observe: Iterable[str] = ("gap",),
    tolerance: float = 1e-6,
    dtype: torch.dtype | str = torch.float64,
    device: str = "cpu",
    **options: Any,
) -> Trajectory:
    """Run a class of torch.optim on every problem of a batch under every learning rate.

    Each block is a parameter tensor of its own, so that block-wise optimizers work. The parameters are the iterates w = e + w*,
    and the gradients are H e. This is slow (a Python loop over problems and settings), but it runs the optimizer that a user has,
    not a rule of this package.

    Args:
        problem: M problems.
        optimizer: a class whose `step` needs no closure, or a callable that makes one from parameters and `lr`, as
            `functools.partial(torch.optim.SGD, momentum=0.9)`.
        lr: learning rate, a number or a sequence (K,).
        steps: number of steps.
        record: as in `simulate`.
        observe: as in `simulate`, without step_sign_cosine.
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
        schedule=Schedule(),
        record=recorded_steps(steps, record),
        observe=_observable(observe),
        tolerance=check_interval("tolerance", tolerance, 0.0, 1.0, low_open=True, high_open=True),
        dtype=resolve_dtype(dtype),
        device=check_device(device),
    )
    check_range(problem, None, job.tolerance, job.dtype_name)
    name = _check_optimizer(optimizer, float(job.settings["lr"][0]), options, job)
    outcomes = [
        [_run_one(job, problem.select([m]), optimizer, float(rate), options) for rate in job.settings["lr"]]
        for m in range(problem.problems)
    ]
    return as_trajectory(job, _joined(outcomes), name, None, "reference")


def _joined(outcomes: Sequence[Sequence[Outcome]]) -> Outcome:
    """One outcome of all, from those of each problem (a row) and setting."""

    def joined(rows: Iterable[list[np.ndarray]]) -> np.ndarray:
        return np.concatenate([np.concatenate(row, axis=1) for row in rows])

    return Outcome(
        joined([one.gap for one in row] for row in outcomes),
        joined([one.hit for one in row] for row in outcomes),
        joined([one.stay for one in row] for row in outcomes),
        joined([one.mean for one in row] for row in outcomes),
        joined([one.diverged for one in row] for row in outcomes),
        {name: joined([one.observed[name] for one in row] for row in outcomes) for name in outcomes[0][0].observed},
    )


def _observable(names: Iterable[str]) -> tuple[str, ...]:
    """What is to be observed: of a class from torch the step is not known before it is taken.

    Raises:
        ValueError: something else.
    """
    allowed = [name for name in OBSERVABLES if name != "step_sign_cosine"]
    return tuple(check_choice("observe", name, allowed) for name in ((names,) if isinstance(names, str) else names))


def _check_optimizer(
    optimizer: Callable[..., torch.optim.Optimizer], lr: float, options: dict[str, Any], job: Job
) -> str:
    """Construct one optimizer on one parameter and take one step, before anything runs; return the name of its class.

    Raises:
        ValueError: a callable that returns no optimizer with these options, or an optimizer whose step needs a closure.
    """
    if not callable(optimizer):
        kind = type(optimizer).__name__
        what = f"the name {optimizer!r}" if isinstance(optimizer, str) else f"an object of the class {kind}"
        fix = "its class, as torch.optim.Adam" if isinstance(optimizer, str | torch.optim.Optimizer) else "a class"
        raise ValueError(f"optimizer must be a class or a callable that makes an optimizer, got {what}; give {fix}.")
    parameter = torch.zeros(1, dtype=job.dtype, device=job.device, requires_grad=True)
    try:
        made = optimizer([parameter], lr=lr, **options)
    except TypeError as error:
        raise ValueError(
            f"optimizer must make one from a list of parameters, lr and the given options, got {' '.join(str(error).split())}; "
            "check them against the arguments of the class."
        ) from error
    name = type(made).__name__
    step = getattr(made, "step", None)
    if not callable(step):
        raise ValueError(
            f"optimizer must make an object with a method step, got a {name}; give a class of torch.optim."
        )
    needed = [p.name for p in signature(step).parameters.values() if p.default is p.empty and p.kind < p.VAR_POSITIONAL]
    if needed:
        raise ValueError(
            f"optimizer must take steps without a closure, got {name}, whose step needs {needed[0]}; use another optimizer."
        )
    parameter.grad = torch.ones_like(parameter)
    try:
        step()
    except RuntimeError as error:  # as of one that wants sparse gradients
        raise ValueError(
            f"optimizer must step on dense gradients, got {name}: {' '.join(str(error).split())}"
        ) from error
    return name


def _run_one(
    job: Job,
    problem: BlockQuadratic,
    optimizer: Callable[..., torch.optim.Optimizer],
    lr: float,
    options: dict[str, Any],
) -> Outcome:
    """Run one problem at one learning rate; arrays of blocks have the shape (1, B_size, P_l, 1)."""

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(device=job.device, dtype=job.dtype)

    layout = problem.layout
    blocks = [(size, b) for size, members in layout.groups.items() for b in range(members.size)]
    hessian = {size: tensor(h) for size, h in problem.hessian.items()}
    center = {size: tensor(w)[..., None] for size, w in problem.minimizer.items()}
    start = {size: tensor(e)[..., None] + center[size] for size, e in problem.initial_error.items()}
    parameters = [start[size][0, b, :, 0].clone().requires_grad_() for size, b in blocks]
    stepper = optimizer(parameters, lr=lr, **options)
    follow, observer = Follower(1, 1, job), Observer(problem)
    observed: dict[str, list[np.ndarray]] = {name: [] for name in job.observe if name != "gap"}
    recorded = set(job.record.tolist())
    for t in range(job.steps + 1):
        error = {
            size: torch.stack([p.detach() for p, (s, _) in zip(parameters, blocks, strict=True) if s == size])[
                None, :, :, None
            ]
            - center[size]
            for size in layout.groups
        }
        gradient = {size: torch.matmul(hessian[size], error[size]) for size in layout.groups}
        follow.see(t, sum((error[size] * gradient[size]).sum(dim=(1, 2)) for size in layout.groups))
        if t in recorded:
            for name, values in observed.items():
                values.append(observer(name, error, gradient, None))
        if t < job.steps:
            for parameter, (size, b) in zip(parameters, blocks, strict=True):
                parameter.grad = gradient[size][0, b, :, 0].clone()
            stepper.step()
    return Outcome(
        follow.gap,
        follow.hit,
        follow.stay,
        follow.mean,
        follow.diverged,
        {name: np.stack(values, axis=2) for name, values in observed.items()},
    )
