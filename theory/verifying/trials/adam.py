"""Samplers of runs of rules with a preconditioner: frozen Adam, Adam on its orbit, and Adam and its relatives as they are run."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.statements.adam_cycle import adam_on_orbit
from quadsim.theory.symbols import Symbol
from quadsim.theory.verifying.draws import Draw, powers
from quadsim.theory.verifying.trials.problems import one_step, random_problems, sign_rates, value_of
from quadsim.theory.verifying.trials.signs import SCHEDULES
from quadsim.theory.verifying.trials.trial import STEPS

__all__ = [
    "OF_STEPS",
    "adam_frozen",
    "adam_frozen_any",
    "adam_slowly",
    "even_gradient",
    "memoryless_adam",
    "orbits",
    "preconditioned",
]


OF_STEPS = ["step_sign_cosine", "step_sign_stride"]


def adam_frozen(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run frozen Adam at rates up to the smallest min_l C1_l of the batch, and at each problem's own rate for a few."""
    problem = random_problems(draw, number)
    smallest = value_of(one_step(problem), Symbol.C1_l).min(axis=1)
    rates = [smallest.min(), *draw.choice(smallest, size=3), smallest.max()]
    yield simulate(problem, "adam-frozen", lr=rates, steps=STEPS)


def adam_frozen_any(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run frozen Adam at rates up to the one where the stiffest mode diverges."""
    problem = random_problems(draw, number)
    largest = value_of(one_step(problem), Symbol.sigma_i).max(axis=1)
    yield simulate(problem, "adam-frozen", lr=draw.uniform(0.1, 2.2) / draw.choice(largest, size=2), steps=STEPS)


def even_gradient(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run on well-conditioned blocks with very different scales and gradients proportional to L_l: r max kappa_l is small."""
    sizes = tuple(int(s) for s in draw.integers(1, 4, size=int(draw.integers(2, 5))))
    problem = BlockQuadratic.generate(
        len(sizes),
        sizes,
        heterogeneity=powers(draw, 1, 4),
        condition_number=powers(draw, 0, 0.5) if max(sizes) > 1 else 1.0,
        problems=number,
        seed=int(draw.integers(2**32)),
    )
    smoothness = np.repeat(problem.block_smoothness, sizes, axis=1)
    spread = draw.uniform(1.0, 1.5, size=(number, sum(sizes))) * draw.choice([-1.0, 1.0], size=(number, sum(sizes)))
    spread /= np.abs(spread).min(axis=1, keepdims=True) * (1 - 1e-9)  # min_l C1_l is 1, and a little more
    gradient = problem.layout.split(smoothness * spread)
    error = {s: np.linalg.solve(problem.hessian[s], gradient[s][..., None])[..., 0] for s in problem.hessian}
    ends = np.cumsum(sizes)
    dense = [problem.dense(m)[0] for m in range(number)]
    blocks = [np.stack([h[e - s : e, e - s : e] for h in dense]) for e, s in zip(ends, sizes, strict=True)]
    yield simulate(
        BlockQuadratic.from_blocks(blocks, initial_error=problem.layout.flatten(error)),
        "adam-frozen",
        lr=1.0,
        steps=STEPS,
    )


def orbits(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run Adam on its orbit of period 2, in every coordinate, at the rates and memories of adam-cycle."""
    size, rate = int(draw.integers(1, 9)), powers(draw, -2, 1)
    values = 10.0 ** draw.uniform(-3, 3, size=(number, size))
    beta1, beta2 = float(draw.choice([0.0, draw.uniform(0, 0.95)])), float(draw.uniform(0.1, 0.999))
    amplitude = rate * (1 - beta1) / (2 * (1 + beta1))
    start = amplitude * draw.choice([-1.0, 1.0], size=(number, size))
    problem = BlockQuadratic.from_blocks([values[:, i, None, None] for i in range(size)], initial_error=start)
    rule: Any = "adam" if beta1 == 0.0 and draw.random() < 0.5 else adam_on_orbit()
    # Short runs where the orbit repels, as rounding errors then grow with every step.
    steps = STEPS if 1 - 3 * beta1 - 3 * beta1 * beta2 + beta1**2 * beta2 > 0 else 8
    yield simulate(problem, rule, lr=rate, beta1=beta1, beta2=beta2, eps=0.0, steps=steps)


def memoryless_adam(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run Adam without memories and with eps = 0, whose step is that of SignSGD."""
    problem, rate = random_problems(draw, number), powers(draw, -3, 0)
    yield simulate(problem, "adam", lr=rate, beta1=0, beta2=0, eps=0, steps=STEPS, observe=OF_STEPS)


def preconditioned(*, memory: bool | None = None) -> Callable[[Draw, int], Iterator[Trajectory]]:
    """Return a sampler of runs of preconditioned rules as they are run: memories, eps, schedules and rates over four decades.

    Args:
        memory: whether the rule has a memory of gradients; None: either.
    """

    def run(draw: Draw, number: int) -> Iterator[Trajectory]:
        problem = random_problems(draw, number)
        without = ["rmsprop", "rmsprop-centered", "adagrad"]
        rule = str(draw.choice(["adam", "amsgrad", "adam-mini", "adamw", *([] if memory else without)]))
        options: dict[str, Any] = {"eps": float(draw.choice([0.0, 1e-8, 1e-3]))}
        if rule not in without:
            beta1 = float(draw.choice([0.9, 0.5, draw.uniform(0.05, 0.97)]))
            options["beta1"] = beta1 if memory or (memory is None and draw.random() < 0.7) else 0.0
        if rule != "adagrad":
            options["beta2"] = float(draw.choice([0.999, 0.99, 0.95, draw.uniform(0.1, 0.9999)]))
        if rule == "adamw":
            options["weight_decay"] = 0.0
        schedule = str(draw.choice(["constant", *SCHEDULES]))
        rates = sign_rates(draw, problem) * 10.0 ** draw.uniform(-1, 0)
        yield simulate(problem, rule, lr=rates, steps=STEPS, observe=["iterate"], schedule=schedule, **options)

    return run


def adam_slowly(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run Adam with slow memories on small blocks, where a bound from an early state has a chance."""
    problem = BlockQuadratic.generate(
        int(draw.integers(2, 4)), int(draw.integers(2, 4)), heterogeneity=powers(draw, 0.01, 2), problems=number,
        condition_number=powers(draw, 0.01, 0.5), seed=int(draw.integers(2**32)),
    )  # fmt: skip
    beta1, beta2 = float(draw.choice([0.9, 0.8, 0.5])), float(draw.choice([0.999, 0.9999, 0.99]))
    rates = sign_rates(draw, problem) * 10.0 ** draw.uniform(-1, 0)
    eps = float(draw.choice([0.0, 1e-8, 1e-3]))
    yield simulate(problem, "adam", lr=rates, beta1=beta1, beta2=beta2, eps=eps, steps=STEPS, observe=["iterate"])
