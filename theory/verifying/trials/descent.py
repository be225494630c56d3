"""Samplers of runs of gradient descent and its relatives: with noise, rates by block, momentum, or lr/Lambda_G."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.verifying.draws import Draw, powers
from quadsim.theory.verifying.trials.problems import random_problems
from quadsim.theory.verifying.trials.trial import STEPS

__all__ = [
    "any_rule",
    "block_gd",
    "gd",
    "gd_lambda",
    "gd_stepped",
    "gradient_steps",
    "heavy_ball",
    "momentum",
    "noisy",
    "witness",
]


_NOISES = 20


def gd(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run gd at a rate up to beyond the edge of stability, and at 2/(L + mu)."""
    problem = random_problems(draw, number)
    L, mu = problem.block_smoothness.max(), problem.block_strong_convexity.min()
    engine = str(draw.choice(["auto", "reference"]))
    yield simulate(problem, "gd", lr=[draw.uniform(0.05, 2.3) / L, 2 / (L + mu)], steps=STEPS, engine=engine)


def gd_stepped(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run gd step by step; the closed form would check the statement with itself."""
    problem = random_problems(draw, number)
    rates = draw.uniform(0.05, 2.1, size=2) / problem.block_smoothness.max()
    yield simulate(problem, "gd", lr=rates, steps=STEPS, engine="reference")


def witness(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run gd with the error along one eigenvector of L and one of mu (proportion mu : L), in several blocks or in one."""
    size, scale = int(draw.integers(0, 4)), draw.uniform(0.1, 10.0, size=(number, 1))
    L, mu = np.ones((number, 1)), 10.0 ** -draw.uniform(0.01, 3.0, size=(number, 1))
    between = mu + (L - mu) * draw.uniform(0.1, 0.9, size=(number, size))
    values = np.concatenate([L, between, mu], axis=1)
    start = np.concatenate([mu, np.zeros((number, size)), L], axis=1) * scale
    blocks = [np.einsum("mi,ij->mij", values, np.eye(size + 2))]
    if draw.random() < 0.5:
        blocks = [values[:, i, None, None] for i in range(size + 2)]
    rates = [draw.uniform(0.01, 3.0), draw.uniform(0.5, 1.9)]
    yield simulate(BlockQuadratic.from_blocks(blocks, initial_error=start), "gd", lr=rates, steps=STEPS)


def noisy(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run gd with gradient noise under many draws of it."""
    problem = random_problems(draw, number)
    rate = draw.uniform(0.1, 1.9) / problem.block_smoothness.max()
    noise = powers(draw, -1, 1)
    # A mean needs many draws of the noise: every problem is run under _NOISES of them, which its index keys.
    again = replace(problem.select(list(range(number)) * _NOISES), index=np.arange(number * _NOISES))
    yield simulate(again, "gd", lr=rate, steps=STEPS, gradient_noise_std=noise, record=STEPS // 3)


def block_gd(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run block-gd at its own rates and at multiples of them."""
    yield simulate(random_problems(draw, number), "block-gd", lr=[draw.uniform(0.05, 1.2), 1.0], steps=STEPS)


def heavy_ball(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run heavy-ball at its best rate and momentum."""
    problem = random_problems(draw, number)
    high, low = np.sqrt(problem.block_smoothness.max()), np.sqrt(problem.block_strong_convexity.min())
    momentum = ((high - low) / (high + low)) ** 2
    yield simulate(problem, "heavy-ball", lr=4 / (high + low) ** 2, momentum=momentum, steps=STEPS)


def momentum(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run linear rules with momentum at any rate up to the edge of stability."""
    problem, momentum = random_problems(draw, number), float(draw.uniform(0, 0.97))
    rates = draw.uniform(0.01, 2.0, size=2) * (1 + momentum) / problem.block_smoothness.max()
    rule = str(draw.choice(["heavy-ball", "nesterov"]))
    yield simulate(problem, rule, lr=rates, momentum=momentum, steps=STEPS, engine="reference")


def gradient_steps(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run gd at constant rates and at multiples of 1/Lambda_G."""
    problem, seen = random_problems(draw, number), ["gradient_norm", "Lambda_G"]
    L = problem.block_smoothness.max()
    yield simulate(problem, "gd", lr=draw.uniform(0.05, 3.0, size=1) / L, steps=STEPS, observe=seen)
    yield simulate(problem, "gd-lambda", lr=[1.0, draw.uniform(0.1, 2.0)], steps=STEPS, observe=seen)


def gd_lambda(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run gd-lambda, at 1/Lambda_G and at a multiple of it."""
    seen = ["gradient_norm", "Lambda_G"]
    rates = [1.0, draw.uniform(0.05, 2.0)]
    yield simulate(random_problems(draw, number), "gd-lambda", lr=rates, steps=STEPS, observe=seen)


def any_rule(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run one of six rules, for statements about gradients alone."""
    rule = str(draw.choice(["gd", "signsgd", "adam", "sign-lambda", "heavy-ball", "lion"]))
    problem = random_problems(draw, number)
    rate = 1.0 if rule == "sign-lambda" else powers(draw, -3, 0) / problem.block_smoothness.max()
    seen = ["gradient_norm", "block_gradient_norm", "Lambda_G"]
    yield simulate(problem, rule, lr=rate, steps=STEPS, observe=seen)
