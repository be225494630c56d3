"""Random problems over the whole range of dials, small ones in rationals, and what samplers ask of a problem."""

from fractions import Fraction
from typing import Any

import numpy as np

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.statements.quantities import MEANINGS
from quadsim.theory.verifying.draws import Draw, fraction, powers, product, rational_rotation

__all__ = ["one_step", "random_problems", "rational_problem", "sign_rates", "value_of"]


def random_problems(draw: Draw, problems: int) -> BlockQuadratic:
    """Draw a batch whose dials are random over their whole range: blocks, sizes, heterogeneity, rotation, gradient, ..."""
    blocks = int(draw.integers(1, 7))
    sizes = [int(s) for s in draw.integers(1, 9, size=blocks)]
    if draw.random() < 0.5:
        sizes = [sizes[0]] * blocks
    dials: dict[str, Any] = {"block_size": sizes, "problems": problems, "seed": int(draw.integers(2**32))}
    dials["rotation"] = float(draw.choice([0.0, draw.random(), 1.0]))
    within = powers(draw, 0, 3) if max(sizes) > 1 else 1.0
    if blocks == 1:
        return BlockQuadratic.generate(blocks, condition_number=within, **dials)
    if len(set(sizes)) == 1 and sizes[0] > 1 and draw.random() < 0.3:
        whole = powers(draw, 0.5, 4)
        sorted_ratio = whole ** (1 - (sizes[0] - 1) / (sum(sizes) - 1))
        return BlockQuadratic.generate(
            blocks,
            mode="arrange",
            condition_number=whole,
            heterogeneity=sorted_ratio ** (0.95 * draw.random()),
            **dials,
        )
    heterogeneity = powers(draw, 0.01, 4)
    if draw.random() < 0.5:
        dials["gradient_heterogeneity"] = powers(draw, 0.01, 2)
        if draw.random() < 0.7:
            alignment = draw.uniform(-1, 1) if blocks > 2 else draw.choice([-1.0, 1.0])
            dials["alignment"] = float(alignment)
    return BlockQuadratic.generate(blocks, heterogeneity=heterogeneity, condition_number=within, **dials)


def rational_problem(draw: Draw, *, largest_block: int = 3, spectrum: list[Fraction] | None = None) -> BlockQuadratic:
    """Draw one problem in rationals: rational eigenvalues, rational rotations, and a rational start in every coordinate.

    Args:
        draw: generator of random numbers.
        largest_block: largest size of the two blocks.
        spectrum: eigenvalues to choose from; by default random fractions.
    """
    blocks = []
    for _ in range(2):
        size = int(draw.integers(1, largest_block + 1))
        values = [
            fraction(draw) if spectrum is None else spectrum[int(draw.integers(len(spectrum)))] for _ in range(size)
        ]
        q = rational_rotation(draw, size)
        scaled = [[x * v for x, v in zip(row, values, strict=True)] for row in q]
        blocks.append(product(scaled, [list(column) for column in zip(*q, strict=True)]))
    number = sum(len(block) for block in blocks)
    start = [fraction(draw) * int(draw.choice([-1, 1])) for _ in range(number)]
    return BlockQuadratic.from_blocks(blocks, initial_error=start)


def value_of(run: Trajectory, symbol: Any) -> np.ndarray:
    """Return the value of a symbol on every problem, from a run under one setting."""
    value = np.asarray(MEANINGS[symbol].value(run))
    return value.reshape(value.shape[0], -1)


def one_step(problem: BlockQuadratic) -> Trajectory:
    """Return a run of one step, for the values of symbols on a problem."""
    return simulate(problem, "adam-frozen", lr=1e-300, steps=1)


def sign_rates(draw: Draw, problem: BlockQuadratic) -> np.ndarray:
    """Draw rates from far below the size of the start, where sign steps converge for long, to above it, where they jitter."""
    largest = max(float(np.abs(errors).max()) for errors in problem.initial_error.values())
    return np.asarray(largest * 10.0 ** draw.uniform(-3, 0.3, size=2))
