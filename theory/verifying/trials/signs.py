"""Samplers of runs of rules of signs, of runs on multiples of one block, and the run that sign-midpoint excludes."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.running.constants import worst_signs
from quadsim.theory.symbols import Symbol
from quadsim.theory.verifying.draws import Draw, powers
from quadsim.theory.verifying.trials.problems import one_step, random_problems, sign_rates, value_of
from quadsim.theory.verifying.trials.trial import STEPS

__all__ = [
    "SCHEDULES",
    "diagonal_signs",
    "multiples",
    "sign_cycles",
    "sign_lambda",
    "sign_lambda_inf",
    "sign_steps",
    "signs_as_run",
    "signsgd",
    "stiff_at_rest",
]


SCHEDULES = ("constant", "linear", "cosine:warmup=5", "inverse-sqrt")


def sign_steps(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run SignSGD at a constant rate, and sign-lambda."""
    problem, seen = random_problems(draw, number), ["gradient_norm_1"]
    yield simulate(problem, "signsgd", lr=powers(draw, -3, 1), steps=STEPS, observe=seen)
    yield simulate(problem, "sign-lambda", lr=[1.0, draw.uniform(0.1, 2.0)], steps=STEPS, observe=seen)


def sign_lambda(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run sign-lambda at its own rate, and at a multiple of it."""
    rates = [1.0, draw.uniform(0.05, 2.0)]
    yield simulate(random_problems(draw, number), "sign-lambda", lr=rates, steps=STEPS, observe=["gradient_norm_1"])


def sign_lambda_inf(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run sign-lambda, also at the rate that gives steps of length |g|_1/L_inf for one of the problems."""
    problem = random_problems(draw, number)
    probe = one_step(problem)
    best = problem.dimension * value_of(probe, Symbol.Lambda_P)[:, 0] / value_of(probe, Symbol.L_inf)[:, 0]
    yield simulate(problem, "sign-lambda", lr=[1.0, draw.uniform(0.05, 2.5), best.min()], steps=STEPS)


def signsgd(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run SignSGD at rates about the size of the start."""
    problem = random_problems(draw, number)
    scale = np.sqrt(problem.initial_gap.mean() / np.mean(problem.block_smoothness))
    rates = scale * 10.0 ** draw.uniform(-3, 0.5, size=2)
    yield simulate(problem, "signsgd", lr=rates, steps=STEPS, observe=["gradient_norm_1"])


def signs_as_run(rule: str, **options: Any) -> Callable[[Draw, int], Iterator[Trajectory]]:
    """Return a sampler of runs of a rule of signs at constant rates, or by a schedule."""

    def run(draw: Draw, number: int) -> Iterator[Trajectory]:
        problem = random_problems(draw, number)
        own: dict[str, Any] = dict(options)
        schedule = str(draw.choice(own.pop("schedules", ["constant"])))
        if rule == "signum":
            own["momentum"] = float(draw.choice([0.9, draw.uniform(0, 0.97)]))
        if rule == "lion":
            own |= {"beta1": float(draw.uniform(0, 0.97)), "beta2": float(draw.choice([0.99, draw.uniform(0, 0.99)]))}
        yield simulate(problem, rule, lr=sign_rates(draw, problem), steps=STEPS, schedule=schedule, **own)

    return run


def multiples(rules: Sequence[str]) -> Callable[[Draw, int], Iterator[Trajectory]]:
    """Return a sampler of runs on blocks that are powers of two times one block, with the same start."""

    def run(draw: Draw, number: int) -> Iterator[Trajectory]:
        size = 1 if list(rules) == ["adam"] else int(draw.integers(1, 9))
        one = BlockQuadratic.generate(
            1,
            size,
            condition_number=powers(draw, 0, 2) if size > 1 else 1.0,
            problems=number,
            seed=int(draw.integers(2**32)),
        )
        scales = 2.0 ** draw.integers(-10, 11, size=int(draw.integers(2, 5)))
        start = np.concatenate([one.initial_error[size][:, 0]] * scales.size, axis=1)
        problem = BlockQuadratic.from_blocks([c * one.hessian[size][:, 0] for c in scales], initial_error=start)
        rule = str(draw.choice(list(rules)))
        names = {str(name) for name in RULES[rule].hyperparameters}
        options: dict[str, Any] = {name: 0.0 for name in ("eps", "weight_decay") if name in names}
        schedule = str(draw.choice(SCHEDULES))
        rates = sign_rates(draw, problem)
        yield simulate(problem, rule, lr=rates, steps=STEPS, observe=["block_gap"], schedule=schedule, **options)

    return run


def diagonal_signs(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run SignSGD on diagonal Hessians."""
    problem = BlockQuadratic.generate(
        int(draw.integers(2, 5)), int(draw.integers(2, 7)), heterogeneity=powers(draw, 0.01, 3), rotation=0.0,
        condition_number=powers(draw, 0, 3), problems=number, seed=int(draw.integers(2**32)),
    )  # fmt: skip
    yield simulate(problem, "signsgd", lr=sign_rates(draw, problem), steps=STEPS)


def sign_cycles(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run from the starts (k + 1/2) lr s of sign-cycle, with s a maximiser of s'Hs in every block."""
    problem = random_problems(draw, number)
    signs = problem.layout.flatten({size: worst_signs(h) for size, h in problem.hessian.items()})
    rate, times = 2.0 ** int(draw.integers(-8, 3)), draw.integers(0, STEPS, size=(number, 1)) + 0.5
    ends = np.cumsum(problem.block_sizes)
    dense = [problem.dense(m)[0] for m in range(number)]
    blocks = [
        np.stack([h[e - n : e, e - n : e] for h in dense]) for e, n in zip(ends, problem.block_sizes, strict=True)
    ]
    start = BlockQuadratic.from_blocks(blocks, initial_error=times * rate * signs)
    yield simulate(start, "signsgd", lr=rate, steps=STEPS)


def stiff_at_rest() -> Iterator[Trajectory]:
    """Yield the run in rationals that violates sign-midpoint where an entry of the first gradient is 0.

    Coordinates 1 and 2 are stiff. The entry 1 is 0, so that SignSGD leaves coordinate 1 alone in the first step, and the gap at
    the first midpoint knows nothing of it; coordinate 3, which is coupled to it, makes it jump in the second step. From then on
    both stiff coordinates jump between 0 and lr, in turn, and both gaps of two neighbouring steps are about stiff lr^2/2. The
    recursion allows for one of them, 3 stiff lr^2/8 with the jitter: M_l grows with the root of the stiffness alone, as every
    start without a zero pays for coordinate 1 in the first midpoint.
    """
    stiff, start = Fraction(400), Fraction(3, 2)
    hessian = [
        [stiff, Fraction(0), Fraction(1)],
        [Fraction(0), stiff, Fraction(0)],
        [Fraction(1), Fraction(0), Fraction(1)],
    ]
    problem = BlockQuadratic.from_blocks([hessian], initial_error=[-start / stiff, Fraction(-1, 64), start])
    yield simulate(problem, "signsgd", lr=1.0, steps=3, record="all", observe=["iterate"], engine="reference")
