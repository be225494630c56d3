"""Any torch.optim class on a problem, for comparison: one optimizer object per problem and setting."""

from collections.abc import Callable, Iterable
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
    """Run a class from torch.optim, every block a parameter of its own.

    Slow (a Python loop over problems and settings), but it runs what a user has today, block-wise optimizers included. The
    parameters are the iterates e + w*, the gradients H e.

    Args:
        problem: M problems.
        optimizer: a class whose `step` needs no closure, or a callable that makes one from parameters and `lr`, as
            `functools.partial(torch.optim.SGD, momentum=0.9)`.
        lr: learning rate, a number or a sequence (K,).
        steps: how many.
        record: as in `simulate`.
        observe: as in `simulate`, without step_sign_cosine.
        tolerance: as in `simulate`.
        dtype: as in `simulate`.
        device: as in `simulate`.
        **options: passed to the class as they are, as `betas=(0.9, 0.99)`.

    Returns:
        Trajectory with `rule` None and the name of the class that ran as `optimizer`.

    Raises:
        ValueError: an argument out of range, or a start whose gaps the dtype cannot hold (see `simulate`).
    """
    steps = check_count("steps", steps)
    if isinstance(observe, str):
        observe = (observe,)
    allowed = [name for name in OBSERVABLES if name != "step_sign_cosine"]
    job = Job(
        problem=problem,
        rule=RULES["gd"],  # not run: an outcome needs settings, not a rule
        settings={"lr": LEARNING_RATE.check("lr", lr)},
        steps=steps,
        schedule=Schedule(),
        record=recorded_steps(steps, record),
        observe=tuple(check_choice("observe", name, allowed) for name in observe),
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

    def stack(part: str) -> np.ndarray:
        return np.concatenate([np.concatenate([getattr(o, part) for o in row], axis=1) for row in outcomes])

    observed = {
        seen: np.concatenate([np.concatenate([o.observed[seen] for o in row], axis=1) for row in outcomes])
        for seen in outcomes[0][0].observed
    }
    outcome = Outcome(stack("gap"), stack("hit"), stack("stay"), stack("mean"), stack("diverged"), observed)
    return as_trajectory(job, outcome, name, None, "reference")


def _check_optimizer(
    optimizer: Callable[..., torch.optim.Optimizer], lr: float, options: dict[str, Any], job: Job
) -> str:
    """Make one optimizer on one parameter before anything is run; the name of its class.

    Raises:
        ValueError: something that makes no optimizer with these options, or one whose step needs a closure.
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
            "look at its arguments."
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
            f"optimizer must take steps without a closure, got {name}, whose step needs {needed[0]}; use another."
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
    """One problem at one rate; parts are (1, B_size, P_l, 1)."""

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
