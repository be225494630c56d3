"""Samplers of short runs on problems in rationals, which meet the hypotheses of a theorem."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.running.constants import worst_signs
from quadsim.theory.statements.adam_cycle import adam_on_orbit
from quadsim.theory.symbols import Symbol
from quadsim.theory.verifying.draws import Draw, dyadic, fraction
from quadsim.theory.verifying.trials.problems import one_step, rational_problem, value_of

__all__ = [
    "rational",
    "rational_adam",
    "rational_against_gd",
    "rational_cycle",
    "rational_diagonal",
    "rational_frozen",
    "rational_heavy_ball",
    "rational_multiples",
    "rational_orbit",
    "rational_scalars",
    "rational_witness",
]


def rational(
    rule: str, steps: int = 10, low: float = 0.1, high: float = 1.9, **options: Any
) -> Callable[[Draw], Trajectory]:
    """Return a sampler of rational runs; rates are relative to 1/L, or to 1 for a rule that sets its own rate."""

    def run(draw: Draw) -> Trajectory:
        problem = rational_problem(draw)
        scale = 1.0 if rule in ("block-gd", "gd-lambda", "sign-lambda") else 1.0 / problem.block_smoothness.max()
        rate = 1.0 if low == high else dyadic(draw.uniform(low, high) * scale)
        return simulate(problem, rule, lr=rate, steps=steps, **options)

    return run


def rational_witness(draw: Draw) -> Trajectory:
    """Run gd in rationals from the witness of gd-lower."""
    L, mu = sorted([fraction(draw) + 1, fraction(draw) / 10], reverse=True)
    scale = fraction(draw)
    problem = BlockQuadratic.from_blocks([[[L]], [[(L + mu) / 2]], [[mu]]], initial_error=[mu * scale, 0, L * scale])
    return simulate(problem, "gd", lr=dyadic(float(draw.uniform(0.1, 2.5) / L)), steps=10)


def rational_heavy_ball(draw: Draw) -> Trajectory:
    """Run heavy-ball in rationals, with sqrt L + sqrt mu a power of two, so that rate and momentum are exact floats."""
    low = Fraction(int(draw.integers(1, 8)), 8)
    high = 2 - low
    spectrum = [high**2, low**2, (high**2 + low**2) / 2]
    problem = rational_problem(draw, spectrum=spectrum)
    ends = (problem.block_smoothness.max(), problem.block_strong_convexity.min())
    if not np.allclose(ends, (float(high**2), float(low**2)), rtol=1e-9):
        return rational_heavy_ball(draw)
    return simulate(problem, "heavy-ball", lr=1.0, momentum=float(((high - low) / 2) ** 2), steps=10)


def rational_frozen(draw: Draw) -> Trajectory:
    """Run frozen Adam in rationals at about min_l C1_l."""
    while True:
        problem = rational_problem(draw)
        probe = one_step(problem)
        smallest = value_of(probe, Symbol.C1_l).min()
        if smallest > 0.0:
            return simulate(problem, "adam-frozen", lr=dyadic(float(smallest)), steps=10)


def rational_against_gd(draw: Draw) -> Trajectory:
    """Run rational problems with blocks of one coordinate and gradients proportional to L_l."""
    values = [fraction(draw), fraction(draw) * 30, fraction(draw)]
    start = [int(draw.choice([-1, 1])) * (1 + Fraction(int(draw.integers(0, 3)), 8)) for _ in values]
    return simulate(
        BlockQuadratic.from_blocks([[[v]] for v in values], initial_error=start), "adam-frozen", lr=1.0, steps=10
    )


def rational_orbit(draw: Draw) -> Trajectory:
    """Run Adam in rationals on its orbit of period 2."""
    beta1, rate = Fraction(int(draw.integers(0, 8)), 8), Fraction(int(draw.integers(1, 9)), 4)
    values = [fraction(draw) for _ in range(int(draw.integers(1, 4)))]
    amplitude = rate * (1 - beta1) / (2 * (1 + beta1))
    start = [amplitude * int(draw.choice([-1, 1])) for _ in values]
    problem = BlockQuadratic.from_blocks([[[v]] for v in values], initial_error=start)
    beta2 = int(draw.integers(1, 16)) / 16
    return simulate(problem, adam_on_orbit(), lr=float(rate), beta1=float(beta1), beta2=beta2, eps=0.0, steps=6)


def rational_diagonal(draw: Draw) -> Trajectory:
    """Run SignSGD in rationals on blocks of one coordinate."""
    values = [fraction(draw) for _ in range(int(draw.integers(2, 5)))]
    start = [fraction(draw) * int(draw.choice([-1, 1])) for _ in values]
    problem = BlockQuadratic.from_blocks([[[v]] for v in values], initial_error=start)
    return simulate(problem, "signsgd", lr=dyadic(float(draw.uniform(0.05, 1.0))), steps=10)


def rational_cycle(draw: Draw) -> Trajectory:
    """Run from (k + 1/2) lr s in rationals, with lr a power of two."""
    problem = rational_problem(draw)
    assert problem.exact is not None
    signs = problem.layout.flatten({size: worst_signs(h) for size, h in problem.hessian.items()})[0]
    rate = Fraction(1, 2 ** int(draw.integers(0, 4)))
    start = [rate * Fraction(2 * int(draw.integers(0, 6)) + 1, 2)] * len(signs)
    start = [start[0] * int(s) for s in signs]
    again = BlockQuadratic.from_blocks(list(problem.exact.blocks), initial_error=start)
    return simulate(again, "signsgd", lr=float(rate), steps=10)


def rational_multiples(draw: Draw) -> Trajectory:
    """Run a rule of signs on two multiples of one rational block, by powers of two, from the same start."""
    one = rational_problem(draw)
    assert one.exact is not None
    block, size = one.exact.blocks[0], len(one.exact.blocks[0])
    scale = 2 ** int(draw.integers(1, 5))
    start = [*one.exact.initial_error[:size]] * 2
    both = BlockQuadratic.from_blocks([block, [[scale * x for x in row] for row in block]], initial_error=start)
    rule = str(draw.choice(["signsgd", "signum"]))
    return simulate(both, rule, lr=dyadic(float(draw.uniform(0.05, 1.0))), steps=10, observe=["block_gap"])


def rational_scalars(draw: Draw) -> Trajectory:
    """Run Adam with beta2 = 0, whose root is rational, on blocks of one with one modulus of the start."""
    values, start = [fraction(draw) for _ in range(3)], fraction(draw)
    signs = [start * int(draw.choice([-1, 1])) for _ in values]
    problem = BlockQuadratic.from_blocks([[[v]] for v in values], initial_error=signs)
    settings: dict[str, Any] = {"beta1": float(draw.choice([0.0, 0.5])), "beta2": 0.0, "eps": 0.0}
    return simulate(
        problem, "adam", lr=dyadic(float(draw.uniform(0.05, 0.5))), steps=6, observe=["block_gap"], **settings
    )


def rational_adam(beta1: float) -> Callable[[Draw], Trajectory]:
    """Return a sampler of short runs of Adam on rational problems, with no 0 in the first gradient; its roots are balls."""

    def run(draw: Draw) -> Trajectory:
        while True:
            problem = rational_problem(draw)
            if all((h @ e[..., None] != 0.0).all() for h, e in _stiffness_and_start(problem)):
                break
        rate = dyadic(float(draw.uniform(0.05, 0.5)) / problem.block_smoothness.max())
        settings: dict[str, Any] = {"beta1": beta1, "beta2": 0.75, "eps": 0.125}
        return simulate(problem, "adam", lr=rate, steps=5, observe=["iterate"], **settings)

    return run


def _stiffness_and_start(problem: BlockQuadratic) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return ((problem.hessian[size], problem.initial_error[size]) for size in problem.hessian)
